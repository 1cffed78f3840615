//! Pipes for `tee` and `splice`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{checked, counted};

/// Never waits, and moves pages where the kernel can.
const FLAGS: libc::c_uint = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;

/// A pipe of which neither end blocks.
#[derive(Debug)]
pub(crate) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
}

impl Pipe {
    /// # Errors
    /// No descriptors, or no pages that this user may have in pipes.
    pub(crate) fn new() -> io::Result<Self> {
        let mut ends = [0; 2];
        // SAFETY: the kernel writes two descriptors, which belong to nobody else.
        unsafe {
            checked(libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC))?;
            Ok(Self { out: OwnedFd::from_raw_fd(ends[0]), into: OwnedFd::from_raw_fd(ends[1]) })
        }
    }

    /// Takes the pages behind a range of a file in; returns how many bytes.
    ///
    /// # Errors
    /// The pipe is full (`WouldBlock`).
    pub(crate) fn take(&self, file: &File, offset: u64, len: usize) -> io::Result<usize> {
        let mut offset = offset as libc::loff_t;
        let (from, to) = (file.as_raw_fd(), self.into.as_raw_fd());
        // SAFETY: both descriptors are open for the length of the call, and `offset` outlives it.
        counted(unsafe { libc::splice(from, &raw mut offset, to, std::ptr::null_mut(), len, FLAGS) })
    }

    /// Takes in what another pipe holds, which keeps it; returns how many bytes.
    ///
    /// # Errors
    /// This one is full or that one empty (`WouldBlock`).
    pub(crate) fn copy_of(&self, other: &Self, len: usize) -> io::Result<usize> {
        // SAFETY: both descriptors are open for the length of the call.
        counted(unsafe { libc::tee(other.out.as_raw_fd(), self.into.as_raw_fd(), len, FLAGS) })
    }

    /// Gives what it holds to a socket or file; returns how many bytes it took.
    ///
    /// # Errors
    /// It takes nothing now (`WouldBlock`) or ever again.
    pub(crate) fn give(&self, to: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
        let null = std::ptr::null_mut();
        // SAFETY: both descriptors are open for the length of the call; no offsets are passed.
        counted(unsafe { libc::splice(self.out.as_raw_fd(), null, to.as_raw_fd(), null, len, FLAGS) })
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::super::memory_file;
    use super::*;

    /// Guards that a piece of a file reaches two takers through one pipe.
    #[test]
    fn a_pipe_is_copied_and_given() {
        use std::io::{Read, Seek, Write};
        let mut source = memory_file(c"source").expect("memory");
        source.write_all(b"0123456789").expect("written");
        let (first, second) = (Pipe::new().expect("a pipe"), Pipe::new().expect("a pipe"));
        assert_eq!(first.take(&source, 2, 5).expect("taken"), 5);
        assert_eq!(second.copy_of(&first, 5).expect("copied"), 5);
        for pipe in [&first, &second] {
            let mut target = memory_file(c"target").expect("memory");
            assert_eq!(pipe.give(target.as_fd(), 5).expect("given"), 5);
            let mut text = String::new();
            target.rewind().expect("to the start");
            target.read_to_string(&mut text).expect("read");
            assert_eq!(text, "23456");
        }
        assert_eq!(first.give(source.as_fd(), 5).expect_err("empty").kind(), io::ErrorKind::WouldBlock);
    }
}
