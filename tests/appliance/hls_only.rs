//! Broadcasts that an engine gives as a playlist of segments only, as encrypted ones are.

use crate::common::{Appliance, SOON, Setup, until};
use crate::scene::{all_play_on, first, stopped_once_each, watching};
use crate::stage::assert_refusal;
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use std::time::Duration;

/// Bytes per second.
const RATE: u64 = 400_000;

/// An engine that has the first standard channel in segments of a second only.
fn engine() -> Engine {
    let channel = ChannelSpec::synthetic(0, RATE).only_hls(Duration::from_secs(1));
    Engine::start(Options { channels: vec![channel], ..Options::default() }).expect("the engine starts")
}

/// Which of these engines gives segments now.
fn giving(engines: &[Engine]) -> usize {
    let segments = |engine: &Engine| engine.control().counters(first().1).expect("it knows it").segments;
    let before: Vec<u64> = engines.iter().map(segments).collect();
    crate::common::eventually("segments are read", || {
        (0..engines.len()).find(|at| segments(&engines[*at]) > before[*at])
    })
}

/// The segments an engine was asked for, in order.
fn asked_for(engine: &Engine) -> Vec<u64> {
    let number =
        |target: &str| target.strip_prefix("/ace/c/")?.rsplit('/').next()?.strip_suffix(".ts")?.parse().ok();
    engine.control().requests(0).iter().filter_map(|request| number(&request.target)).collect()
}

fn missed(appliance: &Appliance) -> f64 {
    appliance.metric("sluice_engine_segments_missed_total")
}

/// Guards: encrypted content plays: the engine is asked again for its playlist once the first engine session is over,
/// every segment is read once and in order, and players of both kinds get every packet of the broadcast.
#[test]
fn encrypted_content_plays_from_every_segment() {
    let engine = engine();
    let appliance = Setup::with_engines(&[&engine]).start();
    let (id, infohash) = first();
    let players = watching(2, &appliance, &engine, 0);
    let place = appliance.get(&format!("/ace/manifest.m3u8?id={id}"));
    let place = format!("/ace/{}", place.header("location").expect("a playlist of its own"));
    assert!(appliance.get(&place).text().contains(".ts\n"));
    let before = asked_for(&engine).len();
    until("five segments more", || asked_for(&engine).len() >= before + 5);
    all_play_on(&players);
    let segments = asked_for(&engine);
    assert!(segments.windows(2).all(|pair| pair[1] == pair[0] + 1), "one after the other: {segments:?}");
    assert_eq!(missed(&appliance), 0.0);
    let counters = engine.control().counters(infohash).unwrap();
    assert_eq!(
        (counters.opens, counters.stops, counters.bodies),
        (2, 1, 0),
        "stopped before it was asked again"
    );
    let shown = appliance.json("/proxy/sessions");
    assert!(shown.to_string().contains("\"is_encrypted\":true"), "{shown}");
    drop(players);
    until("it ends when nobody watches", || appliance.metric("sluice_sessions") == 0.0);
    stopped_once_each(&engine, infohash);
}

/// Guards: when its engine dies, another one goes on with the very next packet, without a second way around.
#[test]
fn an_encrypted_broadcast_survives_its_engine() {
    let mut engines = vec![engine(), engine()];
    let appliance = Setup::with_engines(&[&engines[0], &engines[1]]).start();
    appliance.wait_healthy(2);
    let players = watching(2, &appliance, &engines[0], 0);
    let dying = giving(&engines);
    engines.remove(dying).kill();
    until("the other one gives segments", || !asked_for(&engines[0]).is_empty());
    all_play_on(&players);
    let lost: u64 = players.iter().map(|player| player.report().order.lost).sum();
    assert_eq!(lost, 0, "the next engine reaches back");
    until("it was joined exactly", || appliance.metric("sluice_splices_total{kind=\"exact\"") == 1.0);
    let counters = engines[0].control().counters(first().1).unwrap();
    assert_eq!((counters.opens, counters.reopens), (1, 0), "it was not asked for what it cannot give");
}

/// Guards: a segment that breaks off, and segments that are gone although they are listed, are outcomes: the stream goes
/// on elsewhere or behind a flagged gap, and what was missed is counted.
#[test]
fn broken_segments_are_survived() {
    let engine = engine();
    let appliance = Setup::with_engines(&[&engine]).start();
    let players = watching(1, &appliance, &engine, 0);
    let set = |change: &dyn Fn(&mut sluice_bench::engine::HlsFaults)| {
        engine.control().update_faults(first().1, |faults| change(&mut faults.hls)).unwrap();
    };
    set(&|hls| hls.cut_short = true);
    until("it is opened anew", || engine.control().counters(first().1).unwrap().opens >= 3);
    set(&|hls| hls.cut_short = false);
    all_play_on(&players);
    set(&|hls| hls.evicted = true);
    until("segments are missed", || missed(&appliance) >= 1.0);
    set(&|hls| hls.evicted = false);
    let player = &players[0];
    player.wait_more(RATE, SOON).expect("it plays on");
    assert_eq!(player.end(), None);
}

/// Guards: an engine whose playlist never comes, or is none, is a failed start with its reason.
#[test]
fn a_playlist_that_never_comes_is_a_failed_start() {
    let engine = engine();
    let appliance = Setup::with_engines(&[&engine]).start();
    engine
        .control()
        .update_faults(first().1, |faults| faults.start_error = Some("start timeout".into()))
        .unwrap();
    let answer = appliance.get(&format!("/ace/getstream?id={}", first().0));
    let text = assert_refusal(&answer, 502, "engine_error");
    assert!(text.contains("start timeout"), "{text}");
    until("nothing is left open", || engine.control().engine_counters().downloads == 0);
}
