//! The file behind a window.

use super::sys;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// Unit and alignment of released memory: `hpage_pmd_size` of x86-64 and of 4 KiB-page ARM.
///
/// Where shmem uses huge pages, a smaller or unaligned hole is zeroed in place instead of freed, and bytes still
/// queued in sockets turn to zeros with it.
pub const BLOCK: u64 = 2 << 20;

/// A sparse file in memory that only grows; offsets are never reused.
pub struct Memfd {
    file: File,
}

impl Memfd {
    /// An empty file.
    ///
    /// # Errors
    /// When descriptors or memory are short.
    pub fn new() -> io::Result<Self> {
        Ok(Self { file: sys::memfd(c"sluice-window")? })
    }

    /// The file of another process's window.
    pub fn from_fd(file: OwnedFd) -> Self {
        Self { file: File::from(file) }
    }

    /// The file, to be handed to another process.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Its end.
    ///
    /// # Errors
    /// When the kernel cannot say.
    pub fn size(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }

    /// Another file of the same kind, for what is to be learned about it.
    #[cfg(test)]
    pub(super) fn of(file: File) -> Self {
        Self { file }
    }

    /// Writes all of `bytes` at `offset`, which is the present end: the file is never extended ahead of its bytes,
    /// so that a send past the end finds nothing instead of zeros.
    ///
    /// # Errors
    /// When memory is short.
    pub fn append(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Reads exactly `buffer.len()` bytes.
    ///
    /// # Errors
    /// When the range reaches past the end.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// Frees whole blocks `[from, to)`.
    ///
    /// # Errors
    /// Those of `fallocate`; nothing is freed then.
    ///
    /// # Panics
    /// In debug builds when the range is not made of whole blocks.
    pub fn release(&self, from: u64, to: u64) -> io::Result<()> {
        debug_assert!(
            from.is_multiple_of(BLOCK) && to.is_multiple_of(BLOCK) && from <= to,
            "holes are whole aligned blocks"
        );
        if from == to { Ok(()) } else { sys::punch_hole(&self.file, from, to - from) }
    }

    /// Sends up to `count` bytes from `offset` on to a non-blocking socket, zero copy. 0 means nothing is there yet.
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes nothing now, else the socket's error.
    pub fn send(&self, socket: BorrowedFd<'_>, offset: u64, count: usize) -> io::Result<usize> {
        sys::sendfile(socket, &self.file, offset, count)
    }
}
