//! Players that change channels faster than engines start them.

use crate::common::{Appliance, SOON, Setup, until};
use crate::scene::{RATE, engine, stopped_once_each};
use sluice_bench::channel::nth;
use sluice_bench::engine::ChannelSpec;
use sluice_bench::player::Player;
use std::time::Duration;

const CHANNELS: u32 = 8;

/// Guards: starts nobody waits for any more are given up, and what an engine opened late is stopped all the same, once;
/// nothing stays behind, and the channel that was stopped at plays.
#[test]
fn starts_nobody_waits_for_are_stopped_when_they_open_late() {
    let slow = |n| {
        let mut spec = ChannelSpec::synthetic(n, RATE);
        spec.faults.json_delay_ms = 700;
        spec
    };
    let engine = engine((0..CHANNELS).map(slow).collect());
    let control = engine.control();
    let appliance = Setup::with_engines(&[&engine]).env("PROXY_GRACE_PERIOD", "200ms").start();
    for n in 0..CHANNELS - 1 {
        let passing = appliance.player(nth(n).0).start();
        until("the start is under way", || {
            let counters = control.counters(nth(n).1).unwrap();
            control.engine_counters().opens_in_flight > 0 || counters.opens > 0
        });
        passing.stop();
    }
    let last: Player = appliance.player(nth(CHANNELS - 1).0).start();
    last.wait_decodable(SOON).unwrap();
    last.stop();
    until("no session is left", || appliance.json("/proxy/status")["total_sessions"] == 0);
    for n in 0..CHANNELS {
        stopped_once_each(&engine, nth(n).1);
    }
    assert_eq!(control.engine_counters().pids_reused, 0);
}

/// Guards: twenty channels in a row, each left while it starts or just after, with the last few kept warm: the engine
/// stays healthy, is never asked for more starts at a time than it bears, and every session it opened is stopped once.
#[test]
fn twenty_channels_in_a_row_leave_the_engine_healthy() {
    const CHANNELS: u32 = 20;
    let slow = |n| {
        let mut spec = ChannelSpec::synthetic(n, RATE / 4);
        spec.faults.json_delay_ms = 250;
        spec
    };
    let engine = engine((0..CHANNELS).map(slow).collect());
    let control = engine.control();
    let appliance = Setup::with_engines(&[&engine])
        .env("PROXY_GRACE_PERIOD", "500ms")
        .env("WARM_CHANNELS", "3")
        .env("WARM_S", "2")
        .start();
    let mut passing: Option<Player> = None;
    for n in 0..CHANNELS {
        let next = appliance.player(nth(n).0).start();
        if let Some(left) = passing.replace(next) {
            left.stop();
        }
        // The viewer's pace, not a wait for anything.
        std::thread::sleep(Duration::from_millis(150));
    }
    let last = passing.expect("one is left");
    last.wait_decodable(SOON).unwrap();
    let states = appliance.get("/metrics").text();
    assert!(states.lines().any(|line| line.contains(r#"state="healthy"} 1"#)), "the engine is not healthy");
    last.stop();
    until("no session is left", || appliance.json("/proxy/status")["total_sessions"] == 0);
    for n in 0..CHANNELS {
        stopped_once_each(&engine, nth(n).1);
    }
    let counters = control.engine_counters();
    assert!(counters.opens_in_flight_max <= 2, "{counters:?}");
    assert_eq!(counters.pids_reused, 0);
}

/// Plays a channel until it is watched, and leaves it.
fn pass_through(appliance: &Appliance, n: u32) {
    let player = appliance.player(nth(n).0).start();
    player.wait_decodable(SOON).unwrap();
    player.stop();
    let session = format!("/proxy/sessions/{}", nth(n).1);
    until("nobody watches it", || appliance.json(&session)["state"] == "grace");
}

/// Guards: of the channels nobody watches any more those left last outlive the grace period, over all shards, and zapping
/// back to one is a join; the one left first is stopped.
#[test]
fn the_channels_left_last_stay_warm() {
    let engine = engine((0..4).map(|n| ChannelSpec::synthetic(n, RATE)).collect());
    let control = engine.control();
    let appliance = Setup::with_engines(&[&engine])
        .env("PROXY_GRACE_PERIOD", "200ms")
        .env("WARM_CHANNELS", "3")
        .env("WARM_S", "300")
        .start();
    (0..4).for_each(|n| pass_through(&appliance, n));
    until("the first is stopped", || control.counters(nth(0).1).unwrap().stops == 1);
    for n in [1, 2, 3] {
        pass_through(&appliance, n);
        let counters = control.counters(nth(n).1).unwrap();
        assert_eq!(
            (counters.opens, counters.reopens, counters.stops),
            (1, 0, 0),
            "channel {n}: {counters:?}"
        );
    }
    until("three are left", || appliance.json("/proxy/status")["total_sessions"] == 3);
    assert!(appliance.metric("sluice_sessions_ended_total{reason=\"client_left\"") < 1.5);
}

/// Guards: a play that waits for an engine gets that of the channel left longest ago, grace period or not, and a channel
/// that is watched is left alone.
#[test]
fn a_warm_channel_gives_its_engine_to_whoever_waits() {
    let specs = || (0..4).map(|n| ChannelSpec::synthetic(n, RATE)).collect();
    let engines = [engine(specs()), engine(specs())];
    let appliance = Setup::with_engines(&[&engines[0], &engines[1]])
        .env("MAX_STREAMS_PER_ENGINE", "1")
        .env("PROXY_GRACE_PERIOD", "300s")
        .env("WARM_S", "300")
        .start();
    let stops =
        |n| engines.iter().map(|engine| engine.control().counters(nth(n).1).unwrap().stops).sum::<u64>();
    let watched = appliance.player(nth(0).0).start();
    watched.wait_decodable(SOON).unwrap();
    pass_through(&appliance, 1);
    for n in [2, 3] {
        let player = appliance.player(nth(n).0).start();
        player.wait_decodable(SOON).unwrap();
        assert_eq!((stops(n - 1), stops(0)), (1, 0), "channel {n}");
        player.stop();
    }
    until("it is counted", || appliance.metric("sluice_sessions_ended_total{reason=\"yielded\"") >= 2.0);
    assert_eq!(watched.end(), None);
}
