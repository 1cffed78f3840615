//! Streams on one engine, and streams on several, stay apart.

use crate::common::{Setup, eventually, until};
use crate::stage::{checked, engine, plays};
use sluice_bench::channel::nth;
use sluice_bench::player::Player;

/// Guards: channels started at the same moment on one engine each keep their own bytes. Without a `pid` of their own
/// the sessions of one proxy killed each other on the engine.
#[test]
fn channels_on_one_engine_do_not_collide() {
    let engine = engine(3);
    let appliance = Setup::with_engines(&[&engine]).start();
    let players: Vec<Player> = (0..6).map(|n| checked(&appliance, &engine, n % 3).start()).collect();
    players.iter().for_each(plays);
    for player in &players {
        player.stop();
        assert_eq!(player.report().faults_or_losses(), Vec::<String>::new());
    }
    for n in 0..3 {
        let counters = engine.control().counters(nth(n).0).unwrap();
        assert_eq!((counters.opens, counters.replaced, counters.collisions), (1, 0, 0), "{counters:?}");
    }
    let counters = engine.control().engine_counters();
    assert_eq!((counters.opens_without_pid, counters.pids, counters.pids_reused), (0, 3, 0), "{counters:?}");
}

/// Guards: starts at the same moment land on the engines that were chosen for them, evenly, and what is shown is where
/// they are. A proxy that kept host and port in one shared place sent them to each other's engine.
#[test]
fn concurrent_starts_land_on_the_engines_chosen_for_them() {
    let engines = [engine(4), engine(4)];
    let appliance =
        Setup::with_engines(&[&engines[0], &engines[1]]).env("ACEXY_MAX_STREAMS_PER_ENGINE", "2").start();
    let players: Vec<Player> = (0..4).map(|n| checked(&appliance, &engines[0], n).start()).collect();
    players.iter().for_each(plays);
    for engine in &engines {
        assert_eq!(engine.control().engine_counters().downloads, 2);
    }
    for n in 0..4 {
        // What is shown may be a quarter of a second old.
        let on = eventually("it is shown on one of them", || {
            let shown = appliance.json(&format!("/proxy/sessions/{}", nth(n).0));
            engines.iter().find(|engine| shown["engine_port"] == engine.addr().port())
        });
        let counters = on.control().counters(nth(n).0).unwrap();
        assert_eq!((counters.opens, counters.readers), (1, 1), "channel {n}");
    }
    for player in &players {
        player.stop();
        assert_eq!(player.report().faults_or_losses(), Vec::<String>::new());
    }
    until("all engine sessions are stopped", || {
        engines.iter().all(|engine| engine.control().engine_counters().downloads == 0)
    });
}
