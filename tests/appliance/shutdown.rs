//! How the appliance stops.

use crate::common::{Appliance, SOON, Setup, eventually};
use crate::scene::{RATE, engine, first, healthy, stopped_once_each, watching};
use crate::sys;
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine};
use sluice_bench::player::{End, Player};
use std::time::Duration;

/// Time for a graceful stop (5 s by rule) on a busy machine.
const GRACEFUL: Duration = Duration::from_secs(10);

/// Guards: on SIGTERM players end with FIN and not with a reset, a start under way is told off, every engine session is
/// stopped exactly once, and the process ends with success within its deadline.
#[test]
fn a_signal_ends_players_and_engine_sessions_in_order() {
    let mut channels: Vec<ChannelSpec> = (0..3).map(|n| ChannelSpec::synthetic(n, RATE)).collect();
    channels[2].prebuffer = Duration::from_secs(60);
    let engine = engine(channels);
    let mut appliance = Setup::with_engines(&[&engine]).start();
    let players: Vec<Player> = (0..2).flat_map(|n| watching(3, &appliance, &engine, n)).collect();
    let waiting = appliance.player(nth(2).0).start();
    eventually("a start is under way", || {
        engine.control().counters(nth(2).1).is_ok_and(|it| it.readers == 1).then_some(())
    });
    let status = appliance.terminate(GRACEFUL);
    assert!(status.success(), "{status}");
    for player in &players {
        assert_eq!(player.wait_end(SOON).unwrap(), End::Eof);
        assert_eq!(player.report().faults_or_losses(), Vec::<String>::new());
    }
    let head = waiting.wait_head(SOON).unwrap();
    assert_eq!(head.status, 503, "{}", String::from_utf8_lossy(&waiting.first_bytes()));
    for n in 0..3 {
        stopped_once_each(&engine, nth(n).1);
        assert_eq!(engine.control().counters(nth(n).1).unwrap().opens, 1);
    }
}

/// Guards: while an engine that does not answer delays the stop, nobody is let in any more: a new player is refused
/// with 503 or not accepted, and never left hanging beyond the end.
#[test]
fn nobody_is_let_in_while_the_appliance_stops() {
    let (engine, mut appliance) = hanging_at_its_stop();
    let players = watching(2, &appliance, &engine, 0);
    sys::signal(appliance.supervisor(), libc::SIGTERM);
    for player in &players {
        assert_eq!(player.wait_end(SOON).unwrap(), End::Eof);
    }
    let late = appliance.player(nth(0).0).start();
    late.wait_end(SOON).unwrap();
    assert_eq!(late.snapshot().status().unwrap_or(503), 503, "{}", late.snapshot());
    appliance.terminate(GRACEFUL);
}

/// Guards: a second signal ends the process at once, engines or not, and the exit status says that it was cut short.
#[test]
fn a_second_signal_stops_at_once() {
    let (engine, mut appliance) = hanging_at_its_stop();
    let players = watching(2, &appliance, &engine, 0);
    sys::signal(appliance.supervisor(), libc::SIGTERM);
    for player in &players {
        assert_eq!(player.wait_end(SOON).unwrap(), End::Eof);
    }
    let status = eventually("another signal ends it", || {
        sys::signal(appliance.supervisor(), libc::SIGTERM);
        appliance.ended()
    });
    assert!(!status.success(), "{status}");
}

/// Guards: told twice of the same stop, as systemd does that signals each process of a unit, it stops in order all the same.
#[test]
fn the_same_signal_twice_is_one_stop() {
    let engine = healthy();
    let mut appliance = Setup::with_engines(&[&engine]).start();
    let players = watching(2, &appliance, &engine, 0);
    sys::signal(appliance.pid(), libc::SIGTERM);
    let status = appliance.terminate(SOON);
    assert!(status.success(), "{status}");
    for player in &players {
        assert_eq!(player.wait_end(SOON).unwrap(), End::Eof);
    }
    stopped_once_each(&engine, first().1);
}

/// An engine that never answers a stop, and an appliance that would give it a minute.
fn hanging_at_its_stop() -> (Engine, Appliance) {
    let mut spec = ChannelSpec::synthetic(0, RATE);
    spec.faults.stop_hang = true;
    let engine = engine(vec![spec]);
    let appliance = Setup::with_engines(&[&engine]).env("SHUTDOWN_TIMEOUT_S", "60").start();
    (engine, appliance)
}
