//! Two simulated engines with a few real channels, for trying the appliance without any engine.

use std::net::SocketAddr;
use std::time::Duration;

use crate::channel::Id;
use crate::engine::{ChannelSpec, Engine, Error, Options, Profile};

/// Name, bits per second and delivery of the channels.
const CHANNELS: [(&str, u64, Profile); 4] = [
    ("Sluice One, 2 Mbit/s", 2_000_000, Profile::SMOOTH),
    ("Sluice Two, 4 Mbit/s", 4_000_000, Profile::SMOOTH),
    ("Sluice Three, 8 Mbit/s in pieces", 8_000_000, Profile::PIECES),
    ("Sluice Four, 12 Mbit/s in pieces", 12_000_000, Profile::PIECES),
];
/// A start that is felt, but not waited for.
const PREBUFFER: Duration = Duration::from_millis(300);

/// The running demo; dropping it ends its engines.
pub struct Demo {
    /// Where the engines listen. Both know all channels and serve the same bytes.
    pub engines: Vec<SocketAddr>,
    /// What can be played.
    pub channels: Vec<DemoChannel>,
    /// Kept alive by the demo; their handles allow breaking things on purpose.
    pub running: Vec<Engine>,
}

/// A channel of the demo.
#[derive(Clone, Debug)]
pub struct DemoChannel {
    /// Title with the rate.
    pub name: String,
    /// For `id=`.
    pub content_id: Id,
    /// For `infohash=`.
    pub infohash: Id,
}

/// Starts two engines on free loopback ports.
///
/// # Errors
/// No port or thread can be had.
pub fn start() -> Result<Demo, Error> {
    let specs: Vec<ChannelSpec> = CHANNELS
        .into_iter()
        .zip(0..)
        .map(|((name, bits, profile), n)| ChannelSpec {
            name: name.to_owned(),
            profile,
            prebuffer: PREBUFFER,
            ..ChannelSpec::clip(n, bits / 8)
        })
        .collect();
    let running = (1..=2)
        .map(|seed| Engine::start(Options { channels: specs.clone(), seed, ..Options::default() }))
        .collect::<Result<Vec<_>, _>>()?;
    let channels = specs
        .into_iter()
        .map(|spec| DemoChannel { name: spec.name, content_id: spec.content_id, infohash: spec.infohash })
        .collect();
    Ok(Demo { engines: running.iter().map(Engine::addr).collect(), channels, running })
}
