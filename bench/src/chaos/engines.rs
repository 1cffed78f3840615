//! The engines of a run: they keep their addresses while the process behind each changes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Error, Trouble};
use crate::channel::{Channel, nth};
use crate::engine::{ChannelSpec, Cut, Engine, Options};

/// How long a port may stay taken after its engine was killed.
const REBIND_TIMEOUT: Duration = Duration::from_secs(10);

/// All engines.
pub(super) struct Engines {
    specs: Vec<ChannelSpec>,
    places: Vec<Place>,
}

struct Place {
    addr: SocketAddr,
    /// `None` while it is dead.
    engine: Option<Engine>,
    /// It was out of reach at some time, so that a stop may have missed it.
    was_out_of_reach: bool,
}

/// What the engines that are there at the end tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Books {
    /// Engine sessions opened.
    pub opens: u64,
    /// Of them stopped.
    pub stops: u64,
    /// Sessions that were told to stop more than once.
    pub stopped_twice: u64,
    /// Sessions that nobody stopped, on engines that could always be reached.
    pub left_open: u64,
}

impl Engines {
    pub(super) fn start(count: usize, specs: Vec<ChannelSpec>) -> Result<Self, Error> {
        let places = (0..count).map(|_| {
            let engine = Engine::start(Options { channels: specs.clone(), ..Options::default() })?;
            Ok(Place { addr: engine.addr(), engine: Some(engine), was_out_of_reach: false })
        });
        Ok(Self { places: places.collect::<Result<_, crate::engine::Error>>()?, specs })
    }

    pub(super) fn addrs(&self) -> Vec<SocketAddr> {
        self.places.iter().map(|place| place.addr).collect()
    }

    /// The broadcast of a channel; the same at every engine.
    pub(super) fn broadcast(&self, channel: u32) -> Option<Arc<dyn Channel>> {
        let engine = self.places.iter().find_map(|place| place.engine.as_ref())?;
        engine.control().broadcast(nth(channel).1).ok()
    }

    /// The engine that serves a channel now, or the first that lives.
    fn serving(&self, channel: u32) -> Option<usize> {
        let serves = |place: &Place| {
            let engine = place.engine.as_ref()?;
            engine.control().counters(nth(channel).1).ok().map(|counters| counters.readers > 0)
        };
        let first = || self.places.iter().position(|place| place.engine.is_some());
        self.places.iter().position(|place| serves(place) == Some(true)).or_else(first)
    }

    /// Begins a trouble at the engine that serves the channel; tells which.
    pub(super) fn begin(&mut self, trouble: Trouble, channel: u32) -> Result<Option<usize>, Error> {
        let Some(at) = self.serving(channel) else { return Ok(None) };
        let place = &mut self.places[at];
        place.was_out_of_reach |= trouble.is_out_of_reach();
        if trouble == Trouble::Kill {
            if let Some(engine) = place.engine.take() {
                engine.kill();
            }
            return Ok(Some(at));
        }
        let Some(engine) = &place.engine else { return Ok(None) };
        let (control, id) = (engine.control(), nth(channel).1);
        match trouble {
            Trouble::Reset => drop(control.cut(id, Cut::Reset)?),
            Trouble::Eof => drop(control.cut(id, Cut::Eof)?),
            Trouble::Silence => control.update_faults(id, |faults| faults.starve = true)?,
            Trouble::Slow => {
                control.update_faults(id, |faults| faults.trickle = true)?;
                control.update_engine_faults(|faults| faults.api_delay_ms = 300);
            }
            Trouble::Wedge => {
                control.update_engine_faults(|faults| (faults.hang, faults.stall) = (true, true));
            }
            Trouble::Kill | Trouble::Move | Trouble::Upgrade => {}
        }
        Ok(Some(at))
    }

    /// Ends whatever is wrong with an engine; a dead one is replaced.
    pub(super) fn heal(&mut self, at: usize) -> Result<(), Error> {
        let place = &mut self.places[at];
        match &place.engine {
            Some(engine) => {
                let control = engine.control();
                control.update_engine_faults(|faults| *faults = crate::engine::EngineFaults::default());
                for spec in &self.specs {
                    control.set_faults(spec.infohash, spec.faults.clone())?;
                }
            }
            None => {
                let options =
                    Options { listen: place.addr, channels: self.specs.clone(), ..Options::default() };
                place.engine = Some(restart(&options)?);
                place.was_out_of_reach = false;
            }
        }
        Ok(())
    }

    /// Whether nothing is open at any engine that could always be reached.
    pub(super) fn are_closed(&self) -> bool {
        self.reachable().all(|engine| engine.control().engine_counters().downloads == 0)
    }

    pub(super) fn books(&self) -> Books {
        let mut books = Books::default();
        for place in &self.places {
            let Some(engine) = &place.engine else { continue };
            for session in engine.control().sessions() {
                books.opens += 1;
                books.stops += u64::from(session.stops > 0);
                books.stopped_twice += u64::from(session.stops > 1);
                books.left_open += u64::from(session.stops == 0 && !place.was_out_of_reach);
            }
        }
        books
    }

    fn reachable(&self) -> impl Iterator<Item = &Engine> {
        self.places.iter().filter(|place| !place.was_out_of_reach).filter_map(|place| place.engine.as_ref())
    }
}

/// Starts an engine where one was killed a moment ago.
fn restart(options: &Options) -> Result<Engine, Error> {
    let deadline = Instant::now() + REBIND_TIMEOUT;
    loop {
        match Engine::start(options.clone()) {
            Ok(engine) => return Ok(engine),
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}
