//! System calls about network namespaces; each concerns the calling thread alone.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

fn checked(outcome: libc::c_int) -> io::Result<()> {
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Puts the calling thread into a network of its own.
pub fn leave_network() -> io::Result<()> {
    // SAFETY: the call takes a plain number.
    checked(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

/// Puts the calling thread into a network somebody else is in.
pub fn join_network(space: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `space` is borrowed.
    checked(unsafe { libc::setns(space.as_raw_fd(), libc::CLONE_NEWNET) })
}
