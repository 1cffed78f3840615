//! A `serve` that was started.

use super::{Error, Listener, WORD_TIMEOUT, next_word};
use crate::handover::cord::{FromServe, ToServe, say};
use crate::handover::wire::{Wire, WireError};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// A child process and the way to speak to it.
pub(super) struct Serve {
    pub(super) pid: Pid,
    /// `None` once it is gone.
    pub(super) cord: Option<Wire>,
    /// What it has said before its turn.
    ahead: VecDeque<FromServe>,
}

impl Serve {
    /// Starts one and hands it the listening sockets, and the way to the one it is to take over from.
    ///
    /// The cord is its standard input. It has a process group of its own: a terminal's Ctrl-C reaches it once, through us.
    pub(super) fn start(program: &Path, listeners: &[Listener], old: Option<&Wire>) -> Result<Self, Error> {
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
        let shards = listeners.first().map_or(0, |listener| listener.sockets.len());
        let shards = u16::try_from(shards).unwrap_or(u16::MAX);
        let word = ToServe::Begin { shards, takes_over: old.is_some() };
        let mut fds: Vec<BorrowedFd<'_>> =
            listeners.iter().flat_map(|listener| listener.sockets.iter()).map(AsFd::as_fd).collect();
        fds.extend(old.map(AsFd::as_fd));
        let serve = Self { pid, cord: None, ahead: VecDeque::new() };
        match say(&cord, &word, &fds, Instant::now() + WORD_TIMEOUT) {
            // One that is gone already says why by its status.
            Ok(()) | Err(WireError::Gone) => Ok(Self { cord: Some(cord), ..serve }),
            Err(error) => {
                serve.signal(Signal::KILL);
                Err(error.into())
            }
        }
    }

    /// The next word it says, if it has said one.
    pub(super) fn hear(&mut self) -> Option<FromServe> {
        self.ahead.pop_front().or_else(|| next_word(&mut self.cord))
    }

    /// Takes what it says before its turn, to be heard later.
    pub(super) fn hear_ahead(&mut self) {
        while let Some(word) = next_word(&mut self.cord) {
            self.ahead.push_back(word);
        }
    }

    /// Has it hand everything over to whoever is at the other end.
    pub(super) fn hand_over(&self, old: &Wire) -> Result<(), Error> {
        let cord = self.cord.as_ref().ok_or(WireError::Gone)?;
        Ok(say(cord, &ToServe::HandOver, &[old.as_fd()], Instant::now() + WORD_TIMEOUT)?)
    }

    /// Sends it a signal; one that has ended does not mind.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = kill_process(self.pid, signal) {
            tracing::debug!(%error, "a signal was not delivered");
        }
    }
}
