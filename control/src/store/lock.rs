//! The claim on a data directory: a locked file that says who holds it.
//!
//! The kernel lets go of the lock with the process, however it ends, so a crash leaves nothing to clean up.

use super::Error;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

const NAME: &str = "lock";

/// Held until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Claims the directory.
///
/// # Errors
/// When another process has it, or it cannot be written to.
pub(super) fn claim(directory: &Path) -> Result<Lock, Error> {
    let fault = |cause| Error::Directory { path: directory.to_owned(), cause };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(directory.join(NAME)).map_err(fault)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Who holds it is a courtesy; that it is held is what counts.
            let _ = file.take(32).read_to_string(&mut text);
            return Err(Error::InUse { path: directory.to_owned(), holder: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(cause)) => return Err(fault(cause)),
    }
    // A full disk must not keep the instance from starting for the sake of a courtesy.
    let noted = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| {
        let line = format!("{}\n", std::process::id());
        file.write_all(line.as_bytes())
    });
    if let Err(error) = noted {
        tracing::debug!(%error, "the lock does not say who holds it");
    }
    Ok(Lock { _file: file })
}
