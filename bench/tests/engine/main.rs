//! The simulated engine through real sockets, one file per group of behaviours.

mod client;
mod exclusivity;
mod faults;
mod hls;
mod http;
mod media;
mod session;
mod side;
mod start;

use sluice_bench::channel::Id;
use sluice_bench::engine::{ChannelSpec, Engine, Options};

/// An engine with three self-checking channels of 8 Mbit/s.
pub(crate) fn engine() -> Engine {
    engine_with(|_| {})
}

pub(crate) fn engine_with(change: impl FnOnce(&mut Options)) -> Engine {
    let channels = (0..3).map(|n| ChannelSpec::synthetic(n, 1_000_000)).collect();
    let mut options = Options { channels, ..Options::default() };
    change(&mut options);
    Engine::start(options).expect("free loopback ports")
}

pub(crate) fn infohash(n: u32) -> Id {
    sluice_bench::channel::nth(n).1
}

pub(crate) fn content_id(n: u32) -> Id {
    sluice_bench::channel::nth(n).0
}
