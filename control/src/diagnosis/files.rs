//! Files that grow to a size and give way to the next: never more than so many, so the whole is bounded.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Name of the file that is written; older ones have a number before the ending, 1 being the newest.
const NAME: &str = "sluice-debug";
const ENDING: &str = "jsonl";
/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Files in all, the one that is written among them: 64 MiB.
const FILES_MAX: usize = 8;

/// The files of one directory.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    open: Option<(File, u64)>,
    bytes_max: u64,
}

impl Files {
    /// Files in this directory, which is made when the first line is written.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, open: None, bytes_max: FILE_BYTES_MAX }
    }

    /// Where they are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Lets go of the file that is open.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Appends whole lines; a file that would become too large gives way to a new one first.
    ///
    /// # Errors
    /// What the file system says. The next call opens the file anew.
    pub(super) fn append(&mut self, lines: &str) -> io::Result<()> {
        let outcome = self.try_append(lines);
        if outcome.is_err() {
            self.open = None;
        }
        outcome
    }

    fn try_append(&mut self, lines: &str) -> io::Result<()> {
        let bytes = lines.len() as u64;
        let (file, written) = match self.open.take() {
            Some(open) => open,
            None => self.open()?,
        };
        let is_full = written > 0 && written + bytes > self.bytes_max;
        let (mut file, written) = match is_full {
            false => (file, written),
            true => {
                self.rotate()?;
                self.open()?
            }
        };
        file.write_all(lines.as_bytes())?;
        self.open = Some((file, written + bytes));
        Ok(())
    }

    fn open(&self) -> io::Result<(File, u64)> {
        fs::create_dir_all(&self.directory)?;
        let file = OpenOptions::new().create(true).append(true).open(self.path(0))?;
        let bytes = file.metadata()?.len();
        Ok((file, bytes))
    }

    /// Every file takes the place of the next older one; the oldest goes.
    fn rotate(&self) -> io::Result<()> {
        for age in (0..FILES_MAX - 1).rev() {
            match fs::rename(self.path(age), self.path(age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, age: usize) -> PathBuf {
        self.directory.join(match age {
            0 => format!("{NAME}.{ENDING}"),
            age => format!("{NAME}.{age}.{ENDING}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: files are bounded in size and number, no line is torn apart, and the newest lines are in the file without a
    /// number; a later start goes on where it was.
    #[test]
    fn files_are_bounded_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("made/when/needed");
        let small = |place: &Path| Files { bytes_max: 100, ..Files::new(place.to_owned()) };
        let mut files = small(&place);
        for n in 0..200 {
            files.append(&format!("{{\"n\":{n:10}}}\n")).unwrap();
            if n % 50 == 0 {
                files = small(&place);
            }
        }
        let mut names: Vec<String> = fs::read_dir(&place)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), FILES_MAX, "{names:?}");
        assert!(names.contains(&"sluice-debug.jsonl".to_owned()), "{names:?}");
        let mut numbers = Vec::new();
        for age in (0..FILES_MAX).rev() {
            let text = fs::read_to_string(files.path(age)).unwrap();
            assert!(text.len() <= 100, "{} bytes", text.len());
            let of = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["n"].as_u64();
            numbers.extend(text.lines().map(|line| of(line).unwrap()));
        }
        let oldest = numbers[0];
        assert_eq!(numbers, (oldest..200).collect::<Vec<_>>(), "lines are missing or out of order");
    }

    /// Guards: a directory that cannot be written is an error each time, and no more than that.
    #[test]
    fn what_cannot_be_written_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a-file");
        fs::write(&file, "").unwrap();
        let mut files = Files::new(file.join("below"));
        assert!(files.append("{}\n").is_err() && files.append("{}\n").is_err());
        let mut files = Files { bytes_max: 1, ..Files::new(directory.path().to_owned()) };
        files.append("longer than a whole file\n").expect("a line is never torn apart");
    }
}
