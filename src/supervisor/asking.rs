//! Asking for an upgrade: a socket in `DATA_DIR`. To connect is to ask; the answer is one line, when there is an outcome.
//!
//! The directory is open to its owner alone, and so is the socket.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAME: &str = "supervisor.sock";
/// Longer than any upgrade takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);

/// Why there was no upgrade.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody can be asked.
    #[error(
        "no supervisor can be asked in DATA_DIR {}: {cause}; is it running, and was it started with the same DATA_DIR?",
        path.display()
    )]
    Nobody {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// There was no answer.
    #[error("the supervisor did not answer: {0}")]
    NoAnswer(#[source] io::Error),
    /// Nothing was changed.
    #[error("not upgraded, everything goes on as before: {0}")]
    Kept(String),
}

/// Asks the supervisor that serves on a directory for an upgrade and waits for the outcome.
///
/// # Errors
/// Why there was none.
pub fn ask(directory: &Path) -> Result<String, AskError> {
    let nobody = |cause| AskError::Nobody { path: directory.to_owned(), cause };
    let mut stream = reached(directory, |path| UnixStream::connect(path)).map_err(nobody)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(AskError::NoAnswer)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(AskError::NoAnswer)?;
    match text.trim().split_once(' ') {
        Some(("upgraded", detail)) => Ok(detail.to_owned()),
        Some(("kept", reason)) => Err(AskError::Kept(reason.to_owned())),
        _ => Err(AskError::NoAnswer(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// The path of a socket is bounded, that of a directory is not: it is reached by its descriptor.
fn reached<T>(directory: &Path, reach: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let directory = std::fs::File::open(directory)?;
    reach(&Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(NAME))
}

/// Where an upgrade is asked for.
pub(super) struct Desk {
    listener: UnixListener,
    path: PathBuf,
}

impl Desk {
    /// Opens it. Whoever holds the directory may take the place of one that was left there.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(NAME);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = reached(directory, |path| UnixListener::bind(path))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path })
    }

    /// Somebody who asks, if anybody does.
    pub(super) fn next(&self) -> Option<Asker> {
        self.listener.accept().ok().map(|(stream, _)| Asker(stream))
    }
}

impl AsFd for Desk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // One that stays is taken for what it is by the next.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Somebody who waits for the outcome.
pub(super) struct Asker(UnixStream);

impl Asker {
    /// Tells it; a fresh socket takes a line without waiting.
    pub(super) fn answer(mut self, outcome: Result<&str, &str>) {
        let line = match outcome {
            Ok(detail) => format!("upgraded {detail}\n"),
            Err(reason) => format!("kept {reason}\n"),
        };
        let told = self.0.set_nonblocking(true).and_then(|()| self.0.write_all(line.as_bytes()));
        if let Err(error) = told {
            tracing::debug!(%error, "who asked did not wait for the outcome");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Guards: whoever asks is told the outcome, at a path of any length, and where nobody serves that is said.
    #[test]
    fn whoever_asks_is_told_the_outcome() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("d".repeat(200));
        std::fs::create_dir(&deep).unwrap();
        assert!(matches!(ask(&deep), Err(AskError::Nobody { .. })));
        for _ in 0..2 {
            let desk = Desk::open(&deep).unwrap();
            assert!(desk.next().is_none());
            for (outcome, is_done) in [(Ok("done"), true), (Err("no"), false)] {
                let asking = thread::spawn({
                    let deep = deep.clone();
                    move || ask(&deep)
                });
                let asker = loop {
                    match desk.next() {
                        Some(asker) => break asker,
                        None => thread::yield_now(),
                    }
                };
                asker.answer(outcome);
                assert_eq!(asking.join().unwrap().is_ok(), is_done);
            }
            // One that was killed leaves its socket behind.
            std::mem::forget(desk);
        }
    }
}
