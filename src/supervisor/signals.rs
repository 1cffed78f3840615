//! Signals as something to poll.

use super::{STOPS, UPGRADE};
use rustix::process::Signal;
use signal_hook::low_level::pipe;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What has come.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Signals to end.
    pub(super) stops: Vec<Signal>,
    /// The signal to upgrade.
    pub(super) upgrade: bool,
}

/// Watched signals; readable when one has come.
pub(super) struct Signals {
    pipe: UnixStream,
    stops: [(Signal, Arc<AtomicBool>); STOPS.len()],
    upgrade: Arc<AtomicBool>,
}

impl Signals {
    /// Watches from now on, children's ends included.
    pub(super) fn watch() -> io::Result<Self> {
        let (pipe, written) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        written.set_nonblocking(true)?;
        let stops = STOPS.map(|signal| (signal, Arc::<AtomicBool>::default()));
        let upgrade = Arc::<AtomicBool>::default();
        for (signal, flag) in stops.iter().chain([&(UPGRADE, upgrade.clone())]) {
            // The flag first, so that whoever is woken finds it.
            signal_hook::flag::register(signal.as_raw(), flag.clone())?;
            pipe::register(signal.as_raw(), written.try_clone()?)?;
        }
        pipe::register(Signal::CHILD.as_raw(), written)?;
        Ok(Self { pipe, stops, upgrade })
    }

    /// What has come since the last call; never waits.
    pub(super) fn take(&mut self) -> Taken {
        let mut scrap = [0; 64];
        while matches!(self.pipe.read(&mut scrap), Ok(count) if count > 0) {}
        let has_come = |(signal, flag): &(Signal, Arc<AtomicBool>)| {
            flag.swap(false, Ordering::AcqRel).then_some(*signal)
        };
        let upgrade = self.upgrade.swap(false, Ordering::AcqRel);
        Taken { stops: self.stops.iter().filter_map(has_come).collect(), upgrade }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
