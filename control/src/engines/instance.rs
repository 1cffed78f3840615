//! What marks engines as this appliance's, so that two of them on one Docker leave each other's alone.
//!
//! It is kept in the data directory: host names change when a container is re-created, and engines must be found again.

use std::io::{self, Read, Write};
use std::path::Path;

/// Name of the file in the data directory.
const FILE: &str = "instance";

/// The mark kept in `directory`; made when there is none.
///
/// # Errors
/// The directory cannot be made, read or written.
pub fn instance(directory: &Path) -> io::Result<String> {
    let path = directory.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) if is_mark(text.trim()) => return Ok(text.trim().to_owned()),
        Ok(_) => {
            let fault = format!("{} does not hold 16 hexadecimal digits; remove it", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    std::fs::create_dir_all(directory)?;
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mark = format!("{:016x}", u64::from_le_bytes(bytes));
    let mut file = std::fs::File::create(&path)?;
    writeln!(file, "{mark}")?;
    file.sync_all()?;
    Ok(mark)
}

fn is_mark(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that an appliance finds its own engines after a restart, and never takes a damaged mark for another one.
    #[test]
    fn the_mark_is_made_once_and_kept() {
        let directory = std::env::temp_dir().join(format!("sluice-instance-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let first = instance(&directory).unwrap();
        assert!(is_mark(&first));
        assert_eq!(instance(&directory).unwrap(), first);
        std::fs::write(directory.join(FILE), "x\n").unwrap();
        assert_eq!(instance(&directory).unwrap_err().kind(), io::ErrorKind::InvalidData);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
