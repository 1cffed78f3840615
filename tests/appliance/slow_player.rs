//! Players that take nothing: they cost the others nothing, hold little, and are closed in the end.

use crate::common::{SOON, Setup, eventually, until};
use crate::scene::{RATE, checked, engine, first, healthy, watching};
use sluice_bench::engine::ChannelSpec;
use sluice_bench::player::{End, Reading};
use std::time::Duration;

/// Guards: while one player takes nothing, the others are served as if it were not there; it is bounded and closed after
/// the write timeout with that reason.
#[test]
fn a_stalled_player_hurts_only_itself() {
    let rate = 4 * RATE;
    let engine = engine(vec![ChannelSpec::synthetic(0, rate)]);
    let appliance = Setup::with_engines(&[&engine]).env("WRITE_TIMEOUT_S", "6").start();
    let players = watching(5, &appliance, &engine, 0);
    players.iter().for_each(|player| player.forget_gaps());
    let stalled: Vec<_> = (0..3)
        .map(|_| {
            checked(&appliance, &engine, 0)
                .reading(Reading::Stalled(64 << 10))
                .receive_buffer(32 << 10)
                .start()
        })
        .collect();
    for player in &stalled {
        player.wait_decodable(SOON).unwrap();
    }
    let closed = || appliance.metric("sluice_clients_ended_total{reason=\"write_timeout\"");
    until("the stalled players are closed", || closed() >= 3.0);
    for player in &players {
        // A fan-out that waited for a stalled player would make a gap of the write timeout; a tick is 50 ms, the rest is
        // the machine's.
        assert!(player.longest_gap() < Duration::from_secs(3), "{:?}", player.longest_gap());
        assert_eq!((player.end(), player.report().faults_or_losses()), (None, Vec::new()));
    }
    assert_eq!(appliance.json("/proxy/status")["total_clients"], 5);
}

/// Guards: a player whose network is gone, and that acknowledges nothing any more, is removed within the write timeout
/// and keeps no session alive.
#[test]
fn a_vanished_player_is_no_ghost() {
    let (engine, infohash) = (healthy(), first().1);
    let appliance = Setup::with_engines(&[&engine])
        .env("WRITE_TIMEOUT_S", "2")
        .env("PROXY_GRACE_PERIOD", "100ms")
        .start();
    let ghost = checked(&appliance, &engine, 0).receive_buffer(32 << 10).start();
    ghost.wait_decodable(SOON).unwrap();
    ghost.vanish().unwrap();
    until("the ghost is gone", || appliance.json("/proxy/status")["total_clients"] == 0);
    until("its session is stopped", || engine.control().counters(infohash).unwrap().stops == 1);
    assert!(
        appliance.metric("sluice_clients_ended_total{reason=\"client_left\"").abs() < 0.5,
        "it never said so"
    );
}

/// Guards: whoever comes back within the grace period finds the session as it was, without another start.
#[test]
fn leaving_and_coming_back_costs_no_session() {
    let (engine, infohash) = (healthy(), first().1);
    let appliance = Setup::with_engines(&[&engine]).start();
    for _ in 0..3 {
        let player = checked(&appliance, &engine, 0).start();
        player.wait_packets(2000, SOON).unwrap();
        assert_eq!(player.stop().end, Some(End::Left));
        assert_eq!(player.report().faults_or_losses(), Vec::<String>::new());
        until("it has left", || appliance.json("/proxy/status")["total_clients"] == 0);
    }
    let counters = engine.control().counters(infohash).unwrap();
    assert_eq!(
        (counters.opens + counters.reopens, counters.stops, counters.bodies),
        (1, 0, 1),
        "{counters:?}"
    );
    let counters = eventually("then the session is stopped", || {
        engine.control().counters(infohash).ok().filter(|counters| counters.stops > 0)
    });
    assert_eq!(counters.stops, 1);
}
