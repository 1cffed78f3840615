//! A stream that cannot play is an error the player sees, never a success without media.

use crate::common::{SOON, Setup, until};
use crate::stage::{RATE, assert_refusal, engine_with};
use sluice_bench::channel::nth;
use sluice_bench::engine::{Body, ChannelSpec, Faults};
use sluice_bench::player::http;
use std::time::{Duration, Instant};

/// Guards: a channel nobody broadcasts is 504 in JSON within the start budget, its engine session is stopped, and
/// nothing of it is left. A proxy answered 200 before it had asked the engine, so that dead channels looked healthy.
#[test]
fn a_dead_channel_is_refused_within_its_budget() {
    let dead = Faults { dead: true, ..Faults::default() };
    let engine = engine_with(vec![ChannelSpec::synthetic(0, RATE).with_faults(dead)]);
    let appliance = Setup::with_engines(&[&engine]).env("START_TIMEOUT_S", "1").start();
    let began = Instant::now();
    let player = appliance.player(nth(0).0).start();
    let head = player.wait_head(SOON).unwrap();
    player.wait_end(SOON).unwrap();
    assert_refusal(&http::Response { head, body: player.first_bytes() }, 504, "start_timeout");
    assert!(began.elapsed() >= Duration::from_secs(1), "no time was given");
    until("the engine session is stopped", || {
        let counters = engine.control().counters(nth(0).0).unwrap();
        counters.opens > 0 && counters.readers == 0 && engine.control().engine_counters().downloads == 0
    });
    until("the session is forgotten", || appliance.json("/proxy/status")["total_sessions"] == 0);
}

/// Guards: what an engine says instead of media decides the status, and its words reach the player.
#[test]
fn an_engines_refusal_is_passed_on() {
    let faults = [
        Faults { json_error: Some("your account is closed".into()), ..Faults::default() },
        Faults { start_error: Some("failed to start".into()), ..Faults::default() },
        Faults { body: Body::ErrorText, ..Faults::default() },
        Faults { body: Body::Html, ..Faults::default() },
    ];
    let channels = (0..).zip(faults).map(|(n, faults)| ChannelSpec::synthetic(n, RATE).with_faults(faults));
    let engine = engine_with(channels.collect());
    let appliance = Setup::with_engines(&[&engine]).env("START_TIMEOUT_S", "3").start();
    let cases = [
        (nth(0).0, 502, "engine_error", "your account is closed"),
        (nth(1).0, 502, "engine_error", "failed to start"),
        (nth(2).0, 502, "not_mpeg_ts", ""),
        (nth(3).0, 502, "not_mpeg_ts", "html"),
        (nth(99).0, 404, "content_not_found", ""),
    ];
    let players = cases.map(|(id, ..)| appliance.player(id).start());
    for (player, (id, status, code, text)) in players.iter().zip(cases) {
        let head = player.wait_head(SOON).unwrap_or_else(|missed| panic!("{id} {code}: {missed}"));
        player.wait_end(SOON).unwrap();
        let said = assert_refusal(&http::Response { head, body: player.first_bytes() }, status, code);
        assert!(said.to_lowercase().contains(text), "{said}");
    }
    until("no engine session is left", || engine.control().engine_counters().downloads == 0);
}

/// Guards: a channel that buffers for 25 s before its first byte plays with default settings, because the engine
/// shows progress. Every older proxy gave up first. It takes those 25 s of real time.
#[test]
fn a_long_prebuffer_is_waited_for() {
    let slow = ChannelSpec::synthetic(0, RATE).with_prebuffer(Duration::from_secs(25));
    let engine = engine_with(vec![slow]);
    let appliance = Setup::with_engines(&[&engine]).start();
    let player = appliance.player(nth(0).0).start();
    let head = player.wait_head(Duration::from_secs(60)).unwrap();
    assert_eq!(head.status, 200);
    player.wait_decodable(SOON).unwrap();
    assert_eq!(engine.control().counters(nth(0).0).unwrap().opens, 1);
    assert_eq!(player.report().faults(), Vec::<String>::new());
}
