//! The first process: holds the listening sockets, starts `serve`, passes signals on, upgrades and reaps.
//!
//! It is what systemd or a container runtime knows, as PID 1 in a container. It has one thread, no ring and no runtime,
//! serves nobody, and stays what it is while one `serve` follows another. Everything it waits for is in one poll.
//!
//! To upgrade, it starts the program that is on disk now and puts the `serve` that runs in touch with it. What they do is
//! theirs; it hears the outcome, and ends the new one if the old one goes on. The new one is given the addresses that are
//! wanted by then: those that are listened on already with their sockets.
//!
//! When `serve` ends, so does it, with the same status: starting anew is for whoever started it. Processes that were
//! orphaned below it are reaped and otherwise none of its business.

mod asking;
mod notify;
mod serve;
mod signals;

pub use asking::{AskError, ask};

use crate::handover::cord::{FromServe, hear};
use crate::handover::wire::{Wire, timespec};
use asking::{Asker, Desk};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, WaitOptions, WaitStatus};
use serve::Serve;
use signals::Signals;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Between two looks at what no descriptor tells.
const LOOK: Duration = Duration::from_secs(3600);
/// A word that has begun to come is there at once.
const WORD_TIMEOUT: Duration = Duration::from_secs(5);
/// An upgrade that has no outcome by then has failed. Each of its steps has a deadline of its own, which is shorter.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(120);

/// An address that is listened on.
#[derive(Clone)]
pub struct Listener {
    /// The address as it was asked for.
    pub address: SocketAddr,
    /// One socket per shard; closed with the last who holds them.
    pub sockets: Rc<[OwnedFd]>,
}

/// Answers what is to be listened on from now on, given what there is.
pub type Relisten = Box<dyn Fn(&[Listener]) -> Result<Vec<Listener>, String>>;

/// What it is told.
pub struct Options {
    /// The program to start.
    pub program: PathBuf,
    /// What is listened on, never empty.
    pub listeners: Vec<Listener>,
    /// Asked before each upgrade.
    pub relisten: Relisten,
    /// Where systemd wants to be told of the start; `NOTIFY_SOCKET`.
    pub notify: Option<OsString>,
    /// Where it can be asked for an upgrade.
    pub data_dir: PathBuf,
    /// Called whenever a process serves: from then on this one waits, for weeks.
    pub settled: fn(),
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
    let serve = Serve::start(&options.program, &options.listeners, None)?;
    let mut supervisor =
        Supervisor { options, signals, serve, upgrade: None, retired: Vec::new(), desk: None };
    loop {
        supervisor.wait()?;
        supervisor.hear();
        supervisor.take_signals();
        supervisor.hear_askers();
        if let Some(status) = supervisor.reap() {
            return Ok(status);
        }
        supervisor.check_time();
    }
}

/// A new `serve` that is to take over.
struct Upgrade {
    next: Serve,
    /// What it listens on.
    listeners: Vec<Listener>,
    asker: Option<Asker>,
    deadline: Instant,
}

struct Supervisor {
    options: Options,
    signals: Signals,
    serve: Serve,
    upgrade: Option<Upgrade>,
    /// Those that have handed over and are ending.
    retired: Vec<Serve>,
    /// Where an upgrade is asked for, once `serve` holds the directory.
    desk: Option<Desk>,
}

impl Supervisor {
    /// Waits until something is to be done.
    fn wait(&self) -> Result<(), Error> {
        let mut watched = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let upgrade = self.upgrade.as_ref();
        for serve in [Some(&self.serve), upgrade.map(|upgrade| &upgrade.next)].into_iter().flatten() {
            watched.extend(serve.cord.iter().map(|cord| PollFd::new(cord, PollFlags::IN)));
        }
        watched.extend(self.desk.iter().map(|desk| PollFd::new(desk, PollFlags::IN)));
        let left = upgrade.map(|upgrade| upgrade.deadline.saturating_duration_since(Instant::now()));
        match poll(&mut watched, Some(&timespec(left.unwrap_or(LOOK)))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Error::Wait(error.into())),
        }
    }

    /// Takes what both say. The old one first: what it says decides.
    fn hear(&mut self) {
        while let Some(word) = self.serve.hear() {
            match word {
                FromServe::Serving => self.serves(),
                FromServe::HandedOver => self.followed(),
                FromServe::Kept { reason } => self.upgrade_failed(&reason),
            }
        }
        // That it serves is not asked before the old one has said that it handed over.
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.next.hear_ahead();
        }
    }

    fn serves(&mut self) {
        self.tell_systemd("READY=1");
        (self.options.settled)();
        if self.desk.is_none() {
            match Desk::open(&self.options.data_dir) {
                Ok(desk) => self.desk = Some(desk),
                Err(error) => tracing::warn!(%error, "an upgrade can be asked for by SIGUSR2 only"),
            }
        }
    }

    fn begin_upgrade(&mut self, asker: Option<Asker>) {
        if self.upgrade.is_some() {
            return answer(asker, Err("an upgrade is under way"));
        }
        let program = &self.options.program;
        tracing::info!(program = %program.display(), "upgrading");
        let listeners = match (self.options.relisten)(&self.options.listeners) {
            Ok(listeners) => listeners,
            Err(error) => {
                tracing::error!(error, "the upgrade failed; everything goes on as before");
                return answer(asker, Err(&error));
            }
        };
        let begun = Wire::pair().map_err(|cause| Error::Start { program: program.clone(), cause }).and_then(
            |(old, new)| {
                let next = Serve::start(program, &listeners, Some(&new))?;
                if let Err(error) = self.serve.hand_over(&old) {
                    next.signal(Signal::KILL);
                    return Err(error);
                }
                Ok(next)
            },
        );
        match begun {
            Ok(next) => {
                self.upgrade =
                    Some(Upgrade { next, listeners, asker, deadline: Instant::now() + UPGRADE_TIMEOUT });
            }
            Err(error) => {
                tracing::error!(%error, "the upgrade failed; everything goes on as before");
                answer(asker, Err(&error.to_string()));
            }
        }
    }

    /// The new one serves from now on; the old one ends by itself.
    fn followed(&mut self) {
        let Some(Upgrade { next, listeners, asker, .. }) = self.upgrade.take() else { return };
        let old = std::mem::replace(&mut self.serve, next);
        self.options.listeners = listeners;
        tracing::info!(old = old.pid.as_raw_pid(), new = self.serve.pid.as_raw_pid(), "upgraded");
        answer(asker, Ok(&format!("process {} serves now", self.serve.pid.as_raw_pid())));
        self.retired.push(old);
    }

    fn upgrade_failed(&mut self, reason: &str) {
        let Some(Upgrade { next, asker, .. }) = self.upgrade.take() else { return };
        tracing::error!(reason, "the upgrade failed; everything goes on as before");
        next.signal(Signal::KILL);
        answer(asker, Err(reason));
    }

    fn take_signals(&mut self) {
        let signals = self.signals.take();
        for signal in signals.stops {
            self.tell_systemd("STOPPING=1");
            self.upgrade_failed("the appliance is told to stop");
            self.serve.signal(signal);
        }
        if signals.upgrade {
            self.begin_upgrade(None);
        }
    }

    fn hear_askers(&mut self) {
        while let Some(asker) = self.desk.as_ref().and_then(Desk::next) {
            self.begin_upgrade(Some(asker));
        }
    }

    fn check_time(&mut self) {
        if self.upgrade.as_ref().is_some_and(|upgrade| Instant::now() >= upgrade.deadline) {
            self.upgrade_failed("it came to no end in time");
        }
    }

    /// Reaps whatever has ended; the status to end with once the one that serves is among it.
    fn reap(&mut self) -> Option<u8> {
        loop {
            let (pid, status) = match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(ended)) => ended,
                Err(rustix::io::Errno::INTR) => continue,
                Ok(None) => return None,
                // Nobody is left, so somebody else has reaped it.
                Err(_) => return Some(1),
            };
            if pid == self.serve.pid {
                // It may have said that it handed over just before.
                self.hear();
                if pid == self.serve.pid {
                    self.upgrade_failed("the process that served died");
                    return Some(code(status));
                }
            }
            self.retired.retain(|serve| serve.pid != pid);
            // That a new one is gone, the old one notices and says so.
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

fn answer(asker: Option<Asker>, outcome: Result<&str, &str>) {
    if let Some(asker) = asker {
        asker.answer(outcome);
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

/// Hears one word, if one has come; takes the cord away when nothing more can.
fn next_word(cord: &mut Option<Wire>) -> Option<FromServe> {
    let wire = cord.as_ref().filter(|wire| is_readable(*wire))?;
    match hear::<FromServe>(wire, Instant::now() + WORD_TIMEOUT) {
        Ok(Some((word, _))) => return Some(word),
        // It ends; how, its status tells.
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "cannot hear what was started"),
    }
    *cord = None;
    None
}

/// Signals that end the appliance.
const STOPS: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];
/// The signal that upgrades it.
const UPGRADE: Signal = Signal::USR2;
