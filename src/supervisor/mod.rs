//! The first process: holds the listening sockets, starts `serve`, passes signals on and reaps.
//!
//! It is what systemd or a container runtime knows, as PID 1 in a container. It has one thread, no ring and no runtime,
//! serves nobody, and stays what it is while one `serve` follows another. Everything it waits for is in one poll.
//!
//! When `serve` ends, so does it, with the same status: starting anew is for whoever started it. Processes that were
//! orphaned below it are reaped and otherwise none of its business.

mod notify;
mod serve;
mod signals;

use crate::handover::cord::{FromServe, hear};
use crate::handover::wire::timespec;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, WaitOptions, WaitStatus};
use serve::Serve;
use signals::Signals;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Between two looks at what no descriptor tells.
const LOOK: Duration = Duration::from_secs(3600);
/// A word that has begun to come is there at once.
const WORD_TIMEOUT: Duration = Duration::from_secs(5);

/// What it is told.
pub struct Options {
    /// The program to start.
    pub program: PathBuf,
    /// For each address one listening socket per shard.
    pub listeners: Vec<Vec<OwnedFd>>,
    /// Where systemd wants to be told of the start; `NOTIFY_SOCKET`.
    pub notify: Option<OsString>,
}

/// Why it cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Signals cannot be watched.
    #[error("cannot watch signals: {0}")]
    Signals(#[source] io::Error),
    /// `serve` cannot be started.
    #[error("cannot start {}: {cause}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// `serve` was started and cannot be told what to do.
    #[error("cannot speak to what was started: {0}")]
    Cord(#[from] crate::handover::wire::WireError),
    /// The kernel refuses to wait.
    #[error("cannot wait: {0}")]
    Wait(#[source] io::Error),
}

/// Runs until `serve` has ended, and gives the status to end with.
///
/// # Errors
/// [`Error`]; nothing runs any more then.
pub fn run(options: Options) -> Result<u8, Error> {
    let signals = Signals::watch().map_err(Error::Signals)?;
    let serve = Serve::start(&options.program, &options.listeners)?;
    let mut supervisor = Supervisor { options, signals, serve, is_cord_open: true };
    loop {
        supervisor.wait()?;
        supervisor.hear();
        supervisor.pass_signals_on();
        if let Some(status) = supervisor.reap() {
            return Ok(status);
        }
    }
}

struct Supervisor {
    options: Options,
    signals: Signals,
    serve: Serve,
    is_cord_open: bool,
}

impl Supervisor {
    /// Waits until something is to be done.
    fn wait(&self) -> Result<(), Error> {
        let mut watched = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if self.is_cord_open {
            watched.push(PollFd::from_borrowed_fd(self.serve.cord.as_fd(), PollFlags::IN));
        }
        match poll(&mut watched, Some(&timespec(LOOK))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Error::Wait(error.into())),
        }
    }

    /// Takes what `serve` says.
    fn hear(&mut self) {
        while self.is_cord_open && is_readable(&self.serve.cord) {
            match hear::<FromServe>(&self.serve.cord, Instant::now() + WORD_TIMEOUT) {
                Ok(Some((FromServe::Serving, _))) => self.tell_systemd("READY=1"),
                // It ends; how, its status tells.
                Ok(None) => self.is_cord_open = false,
                Err(error) => {
                    tracing::warn!(%error, "cannot hear what was started");
                    self.is_cord_open = false;
                }
            }
        }
    }

    fn pass_signals_on(&mut self) {
        let signals = self.signals.take();
        for signal in signals.stops {
            self.tell_systemd("STOPPING=1");
            self.serve.signal(signal);
        }
    }

    /// Reaps whatever has ended; the status to end with once `serve` is among it.
    fn reap(&mut self) -> Option<u8> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.serve.pid => return Some(code(status)),
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return None,
                // Nobody is left, so somebody else has reaped it.
                Err(_) => return Some(1),
            }
        }
    }

    fn tell_systemd(&self, what: &str) {
        if let Some(socket) = &self.options.notify
            && let Err(error) = notify::tell(socket, what)
        {
            tracing::warn!(%error, "cannot tell systemd {what}");
        }
    }
}

/// Whether something has come, or the other end is gone.
fn is_readable(what: &impl AsFd) -> bool {
    let mut watched = [PollFd::new(what, PollFlags::IN)];
    poll(&mut watched, Some(&rustix::event::Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// The status as a shell has it.
fn code(status: WaitStatus) -> u8 {
    let by_signal = status.terminating_signal().map(|signal| 128 + signal);
    by_signal.or(status.exit_status()).map_or(1, |code| u8::try_from(code).unwrap_or(1))
}

/// Signals that end the appliance.
const STOPS: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];
