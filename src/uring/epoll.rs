//! The set of players a shard watches for leaving.
//!
//! One epoll set per shard, polled once a slice without waiting, instead of one pending ring operation per player: a
//! player sends nothing after its request, so the only event of interest is that it went away.

use super::sys;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const BATCH: usize = 256;

/// Watched sockets. A closed socket leaves the set by itself.
pub struct LeaverSet {
    set: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl LeaverSet {
    /// An empty set.
    ///
    /// # Errors
    /// When descriptors are short.
    pub fn new() -> io::Result<Self> {
        Ok(Self { set: sys::epoll_create()?, events: vec![libc::epoll_event { events: 0, u64: 0 }; BATCH] })
    }

    /// Watches a socket; `token` is reported when its peer closes or resets. Edge triggered: reported once.
    ///
    /// # Errors
    /// When the kernel's watch limit is reached.
    pub fn watch(&self, socket: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        sys::epoll_add(self.set.as_fd(), socket, libc::EPOLLRDHUP | libc::EPOLLET, token)
    }

    /// Watches a socket no longer; one that is closed need not be told of.
    ///
    /// # Errors
    /// When it is not watched.
    pub fn unwatch(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        sys::epoll_remove(self.set.as_fd(), socket)
    }

    /// Calls `left` with the token of every socket whose peer went away since the last call; never waits.
    pub fn collect(&mut self, mut left: impl FnMut(u64)) {
        loop {
            // The set is ours and the buffer valid, so only an interrupt can fail the call; the next slice asks again.
            let Ok(count) = sys::epoll_poll(self.set.as_fd(), &mut self.events) else { return };
            for event in &self.events[..count] {
                left(event.u64);
            }
            if count < BATCH {
                return;
            }
        }
    }
}
