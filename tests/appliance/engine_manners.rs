//! How engines are spoken to: gently, and always in the same few ways.

use crate::common::{SOON, Setup, until};
use crate::scene::{RATE, engine, first, healthy, stopped_once_each, watching};
use sluice_bench::engine::ChannelSpec;
use sluice_bench::player::Player;
use std::time::{Duration, Instant};

/// Guards: whoever watches, an engine sees GETs only, identity encoding only, a fresh pid for each session, one reader,
/// figures asked for about once a second however many players there are, and one stop per session.
#[test]
fn an_engine_meets_a_polite_client() {
    let (engine, (id, infohash)) = (healthy(), first());
    let control = engine.control();
    let appliance = Setup::with_engines(&[&engine]).env("PROXY_GRACE_PERIOD", "100ms").start();
    for round in 1..=2 {
        let began = Instant::now();
        let before = control.counters(infohash).unwrap().stats;
        let players = watching(12, &appliance, &engine, 0);
        until("figures were asked for", || control.counters(infohash).unwrap().stats >= before + 2);
        let asked = control.counters(infohash).unwrap().stats - before;
        let most = began.elapsed().as_secs() + 2;
        assert!(asked <= most, "{asked} times in {:?} with 12 players", began.elapsed());
        drop(players);
        until("the session is stopped", || control.counters(infohash).unwrap().stops == round);
    }
    // A HEAD of a player is none for the engine.
    appliance.player(id).method("HEAD").start().wait_head(SOON).unwrap();
    stopped_once_each(&engine, infohash);
    let counters = control.engine_counters();
    assert_eq!((counters.heads, counters.opens_without_pid, counters.pids_reused), (0, 0, 0), "{counters:?}");
    assert_eq!((counters.pids, counters.stops_unknown, counters.malformed), (2, 0, 0), "{counters:?}");
    let encodings: Vec<&String> = counters.accept_encodings.keys().collect();
    assert_eq!(encodings, ["identity"], "{counters:?}");
    let requests = control.requests(0);
    assert!(requests.iter().all(|request| request.method == "GET"), "{requests:#?}");
    let authority = engine.addr().to_string();
    for request in &requests {
        let hosts: Vec<&str> = request
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("host"))
            .map(|(_, v)| v.as_str())
            .collect();
        assert_eq!(hosts, [authority.as_str()], "{request:?}");
    }
}

/// Guards: an engine that offers no media to whoever accepts compression plays.
#[test]
fn no_compression_is_offered() {
    let mut spec = ChannelSpec::synthetic(0, RATE);
    spec.faults.compression_starves = true;
    let engine = engine(vec![spec]);
    let appliance = Setup::with_engines(&[&engine]).start();
    let player = appliance.player(first().0).header("Accept-Encoding", "gzip").start();
    player.wait_decodable(SOON).unwrap();
}

/// Guards: an engine that answers 500 `download not found` while it prebuffers is asked again, without another
/// session.
#[test]
fn a_playback_asked_for_too_early_is_asked_for_again() {
    let (id, infohash) = first();
    let mut spec = ChannelSpec::synthetic(0, RATE).with_prebuffer(Duration::from_millis(1500));
    spec.faults.early_not_found = true;
    let engine = engine(vec![spec]);
    let appliance = Setup::with_engines(&[&engine]).start();
    let player: Player = appliance.player(id).start();
    player.wait_decodable(SOON).unwrap();
    let counters = engine.control().counters(infohash).unwrap();
    assert_eq!(counters.opens + counters.reopens, 1, "{counters:?}");
    assert!((2..=4).contains(&counters.playback_requests), "{counters:?}");
}
