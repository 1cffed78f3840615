//! What most tests about engines begin with: engines of one broadcast, and players that hold it against what was
//! really broadcast.

use crate::common::{Appliance, SOON, eventually, until};
use sluice_bench::channel::{Id, nth};
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use sluice_bench::player::{Plan, Player, check};

/// Bytes per second of the broadcasts here: enough for the fan-out to have work, little enough for a shared machine.
pub const RATE: u64 = 500_000;

/// An engine that knows these channels.
pub fn engine(channels: Vec<ChannelSpec>) -> Engine {
    Engine::start(Options { channels, ..Options::default() }).expect("the engine starts")
}

/// An engine that knows the first standard channel, healthy.
pub fn healthy() -> Engine {
    engine(vec![ChannelSpec::synthetic(0, RATE)])
}

/// Content id and infohash of that channel.
pub fn first() -> (Id, Id) {
    nth(0)
}

/// A player of channel `n` that compares every packet with the broadcast of this engine.
pub fn checked(appliance: &Appliance, engine: &Engine, n: u32) -> Plan {
    let (id, infohash) = nth(n);
    let reference = engine.control().broadcast(infohash).expect("the engine knows the channel");
    appliance.player(id).check(check::Options { reference: Some(reference), ..check::Options::default() })
}

/// Several such players, once they all play.
pub fn watching(count: usize, appliance: &Appliance, engine: &Engine, n: u32) -> Vec<Player> {
    let players: Vec<Player> = (0..count).map(|_| checked(appliance, engine, n).start()).collect();
    for player in &players {
        player.wait_decodable(SOON).expect("it plays");
        player.wait_more(RATE / 4, SOON).expect("it goes on");
    }
    players
}

/// Which of these engines has a reader of the channel now; waits until exactly one has.
pub fn serving(engines: &[Engine], infohash: Id) -> usize {
    let reading = |engine: &Engine| engine.control().counters(infohash).is_ok_and(|it| it.readers == 1);
    eventually("one engine serves", || {
        let found: Vec<usize> = (0..engines.len()).filter(|n| reading(&engines[*n])).collect();
        (found.len() == 1).then(|| found[0])
    })
}

/// Demands that all players still play, and that whatever they miss was announced to them.
pub fn all_play_on(players: &[Player]) {
    for player in players {
        player.wait_more(RATE, SOON).expect("it plays on");
        assert_eq!(player.end(), None, "nobody was disconnected");
        assert_eq!(player.report().faults(), Vec::<String>::new(), "{}", player.snapshot());
    }
}

/// Waits until nothing is open at the engine, and demands that every session it opened for the channel was stopped
/// exactly once.
pub fn stopped_once_each(engine: &Engine, infohash: Id) {
    let control = engine.control();
    until("every engine session is over", || control.engine_counters().downloads == 0);
    for session in control.sessions().iter().filter(|session| session.infohash == infohash) {
        assert!(session.stops <= 1, "stopped more than once: {session:?}");
    }
    let counters = control.counters(infohash).expect("the engine knows the channel");
    assert_eq!((counters.stops, counters.expiries), (counters.opens, 0), "{counters:?}");
    assert_eq!(counters.readers_max.min(1), counters.readers_max, "one reader at most: {counters:?}");
}
