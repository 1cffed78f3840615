//! One player that leaves takes nothing from another.

use crate::common::{SOON, Setup, until};
use crate::stage::{RATE, checked, engine, engine_with, plays};
use sluice_bench::channel::nth;
use sluice_bench::engine::ChannelSpec;
use std::time::Duration;

/// Guards: two players that look the same (address, agent, stream) are two; when one leaves, in whatever way, the
/// other goes on without a gap. A proxy that made its client ids of address and agent ended both.
#[test]
fn of_two_identical_players_one_may_leave() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).start();
    let start = || checked(&appliance, &engine, 0).header("User-Agent", "TV").start();
    let stays = start();
    for abruptly in [false, true] {
        let twin = start();
        plays(&twin);
        plays(&stays);
        if abruptly {
            twin.reset()
        } else {
            twin.stop()
        };
        until("the twin is gone", || appliance.json("/proxy/status")["total_clients"] == 1);
        // Longer than the grace period: whatever the leaver took along would be missing by now.
        stays.wait_more(3 * RATE, SOON).unwrap();
    }
    stays.stop();
    assert_eq!(stays.report().faults_or_losses(), Vec::<String>::new());
    let counters = engine.control().counters(nth(0).0).unwrap();
    assert_eq!(counters.opens, 1, "{counters:?}");
}

/// Guards: players that wait for a start count. In a proxy the first waiter to leave stopped the stream for the rest.
#[test]
fn of_two_waiting_players_one_may_leave() {
    let slow = ChannelSpec::synthetic(0, RATE).with_prebuffer(Duration::from_secs(3));
    let engine = engine_with(vec![slow]);
    let appliance = Setup::with_engines(&[&engine]).start();
    let waiters: Vec<_> = (0..3).map(|_| checked(&appliance, &engine, 0).start()).collect();
    until("all wait", || appliance.metric("sluice_clients_waiting") == 3.0);
    waiters[0].stop();
    waiters[1].reset();
    until("one waits", || appliance.metric("sluice_clients_waiting") == 1.0);
    plays(&waiters[2]);
    let counters = engine.control().counters(nth(0).0).unwrap();
    assert_eq!((counters.opens, counters.stops), (1, 0), "{counters:?}");
}

/// Guards: a start that nobody waits for any more is given up and its engine session stopped.
#[test]
fn a_start_nobody_waits_for_is_given_up() {
    let slow = ChannelSpec::synthetic(0, RATE).with_prebuffer(Duration::from_secs(60));
    let engine = engine_with(vec![slow]);
    let appliance = Setup::with_engines(&[&engine]).start();
    let waiter = appliance.player(nth(0).0).start();
    until("the engine is asked", || engine.control().counters(nth(0).0).unwrap().opens == 1);
    waiter.stop();
    until("the engine session is stopped", || engine.control().counters(nth(0).0).unwrap().stops == 1);
    until("the session is forgotten", || appliance.json("/proxy/status")["total_sessions"] == 0);
}
