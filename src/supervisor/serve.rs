//! A `serve` that was started.

use super::{Error, WORD_TIMEOUT};
use crate::handover::cord::{ToServe, say};
use crate::handover::wire::Wire;
use rustix::process::{Pid, Signal, kill_process};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// A child process and the way to speak to it.
pub(super) struct Serve {
    pub(super) pid: Pid,
    pub(super) cord: Wire,
}

impl Serve {
    /// Starts one and hands it the listening sockets.
    ///
    /// The cord is its standard input. It has a process group of its own: a terminal's Ctrl-C reaches it once, through us.
    pub(super) fn start(program: &Path, listeners: &[Vec<OwnedFd>]) -> Result<Self, Error> {
        let fault = |cause| Error::Start { program: program.to_owned(), cause };
        let (cord, other) = Wire::pair().map_err(fault)?;
        let child = Command::new(program)
            .args(["serve", "--supervised"])
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::from(other.into_fd()))
            .process_group(0)
            .spawn()
            .map_err(fault)?;
        // Reaped by its number with everybody else; a number is not given anew before that.
        let pid = Pid::from_child(&child);
        let shards = listeners.first().map_or(0, Vec::len);
        let word = ToServe::Begin { shards: u16::try_from(shards).unwrap_or(u16::MAX) };
        let fds: Vec<BorrowedFd<'_>> = listeners.iter().flatten().map(AsFd::as_fd).collect();
        let serve = Self { pid, cord };
        match say(&serve.cord, &word, &fds, Instant::now() + WORD_TIMEOUT) {
            // One that is gone already says why by its status.
            Ok(()) | Err(crate::handover::wire::WireError::Gone) => Ok(serve),
            Err(error) => {
                serve.signal(Signal::KILL);
                Err(error.into())
            }
        }
    }

    /// Sends it a signal; one that has ended does not mind.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = kill_process(self.pid, signal) {
            tracing::debug!(%error, "a signal was not delivered");
        }
    }
}
