//! Settings as the binary honours them.

use crate::common::{SOON, Setup, until};
use crate::stage::{RATE, assert_refusal, checked, engine, engine_with, plays, refused};
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Faults};
use sluice_bench::player::check::PACKET_LEN;
use sluice_bench::player::{End, Player, http};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Guards: the second listener serves everything the first does, so that URLs of acexy's port keep working.
#[test]
fn acexys_listen_address_serves_too() {
    for name in ["ACEXY_LISTEN_ADDR", "ACEXY_ADDR"] {
        let engine = engine(1);
        let appliance = Setup::with_engines(&[&engine]).env(name, "127.0.0.2:0").start();
        let second = SocketAddr::new("127.0.0.2".parse().unwrap(), appliance.more_addrs()[0].port());
        let path = format!("/ace/getstream?id={}", nth(0).0);
        let players = [second, appliance.addr()].map(|to| Player::get(to, &path).start());
        players.iter().for_each(plays);
        for path in ["/ace/status", "/proxy/status"] {
            assert_eq!(http::get(second, path).unwrap().status(), 200, "{path}");
        }
        assert_eq!(engine.control().counters(nth(0).0).unwrap().opens, 1);
    }
}

/// Guards: `ACEXY_HOST` and `ACEXY_PORT` name the engine, as in a compose file written for acexy.
#[test]
fn acexys_engine_is_the_engine() {
    let engine = engine(1);
    let appliance = Setup::bare()
        .env("ACEXY_HOST", "localhost")
        .env("ACEXY_PORT", &engine.addr().port().to_string())
        .start();
    plays(&checked(&appliance, &engine, 0).start());
}

/// Guards: a pool engine is preferred to acexy's, which is the last resort when the pool has nothing.
#[test]
fn acexys_engine_beside_others_is_the_last_resort() {
    let (pool, last) = (engine(3), engine(3));
    let appliance = Setup::with_engines(&[&pool])
        .env("ACEXY_HOST", "127.0.0.1")
        .env("ACEXY_PORT", &last.addr().port().to_string())
        .start();
    appliance.wait_healthy(2);
    let players: Vec<Player> = (0..2).map(|n| checked(&appliance, &pool, n).start()).collect();
    players.iter().for_each(plays);
    let opens = |engine: &Engine, n| engine.control().counters(nth(n).0).unwrap().opens;
    assert_eq!([opens(&pool, 0), opens(&pool, 1), opens(&last, 0), opens(&last, 1)], [1, 1, 0, 0]);
    pool.control().update_engine_faults(|faults| faults.refuse = true);
    plays(&checked(&appliance, &last, 2).start());
    assert_eq!(opens(&last, 2), 1);
}

/// Names and values.
type Variables<'a> = &'a [(&'a str, &'a str)];

/// Guards: a start with unusable settings is refused, and every fault names its variable and what helps.
#[test]
fn wrong_settings_are_refused_with_a_remedy() {
    let cases: [(Variables<'_>, &[&str]); 10] = [
        (&[("ACEXY_SCHEME", "https")], &["ACEXY_SCHEME=https", "ACEXY_SCHEME=http"]),
        (&[("ACEXY_ORCH_URL", "http://orchestrator:8000")], &["ACEXY_ORCH_URL", "STATIC_ENGINES"]),
        (&[("ORCH_URL", "http://orchestrator:8000")], &["ORCH_URL", "STATIC_ENGINES"]),
        (&[("ACEXY_ORCH_APIKEY", "secret-key")], &["ACEXY_ORCH_APIKEY"]),
        (&[("MAX_CLIENTS", "many")], &["MAX_CLIENTS=", "many", "whole number"]),
        (&[("EMPTY_TIMEOUT", "soon")], &["EMPTY_TIMEOUT=", "soon", "1m30s"]),
        (&[("JOIN_BEHIND_S", "26")], &["JOIN_BEHIND_S=", "25"]),
        (&[("ACEXY_BUFFER", "4 bananas")], &["ACEXY_BUFFER=", "bananas"]),
        (&[("PROXY_PROTOCOL", "true")], &["PROXY_PROTOCOL", "TRUSTED_PROXIES"]),
        // All faults at once, not one after another.
        (
            &[("TICK_MS", "1"), ("STRICT_PID", "yes"), ("STATIC_ENGINES", "a:0")],
            &["TICK_MS", "STRICT_PID", "STATIC_ENGINES", "true"],
        ),
    ];
    for (settings, words) in cases {
        let setup = settings.iter().fold(Setup::bare(), |setup, (name, value)| setup.env(name, value));
        let output = setup.into_command().output().expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{settings:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{settings:?}: no {word:?} in {said}");
        }
        assert!(!said.contains("secret-key"), "a secret is repeated: {said}");
    }
}

/// Guards: `ACEXY_BUFFER` is the distance in bytes at which players join, and adds no wait to a cold start.
#[test]
fn acexys_buffer_is_the_join_distance() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).env("ACEXY_BUFFER", "1MB").start();
    let first = checked(&appliance, &engine, 0).start();
    // The engine begins with what lies behind: until that is in, the session is further behind than it joins players.
    until("the session has caught up with live", || {
        let live = engine.control().live_position(nth(0).0).unwrap();
        let newest = first.report().order.range.map_or(0, |(_, end)| end * PACKET_LEN as u64);
        newest + RATE / 2 >= live
    });
    let live = engine.control().live_position(nth(0).0).unwrap();
    let late = checked(&appliance, &engine, 0).start();
    plays(&late);
    let behind = live as i64 - (late.report().order.range.unwrap().0 * PACKET_LEN as u64) as i64;
    // A whole group of pictures more, because a player joins at its beginning; the rest is what was on its way.
    assert!((800_000..=2_000_000).contains(&behind), "joined {behind} bytes behind");

    // With a distance that could never fill a second player would wait for minutes, were it a wait.
    let appliance = Setup::with_engines(&[&engine]).env("ACEXY_BUFFER", "100MB").start();
    plays(&checked(&appliance, &engine, 0).start());
}

/// Guards: a cap nobody set refuses no stream on a static engine: acexy never did.
#[test]
fn without_a_cap_one_engine_carries_everything() {
    const COUNT: u32 = 25;
    let engine = engine_with((0..COUNT).map(|n| ChannelSpec::synthetic(n, 60_000)).collect());
    let appliance = Setup::with_engines(&[&engine]).start();
    let players: Vec<Player> = (0..COUNT).map(|n| checked(&appliance, &engine, n).start()).collect();
    for player in &players {
        player.wait_decodable(SOON).unwrap();
    }
    assert_eq!(engine.control().engine_counters().downloads, u64::from(COUNT));
}

/// Guards: after `EMPTY_TIMEOUT` of silence a stream ends, not before, in an orderly way and for that reason.
#[test]
fn total_silence_ends_a_stream_after_empty_timeout() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).env("ACEXY_EMPTY_TIMEOUT", "3s").start();
    let player = checked(&appliance, &engine, 0).start();
    plays(&player);
    engine.control().update_faults(nth(0).0, |faults| faults.starve = true).unwrap();
    let began = Instant::now();
    assert_eq!(player.wait_end(SOON).unwrap(), End::Eof);
    assert!(began.elapsed() > Duration::from_secs(2), "ended after {:?}", began.elapsed());
    assert_eq!(player.report().faults(), Vec::<String>::new());
    for metric in ["sluice_clients_ended_total", "sluice_sessions_ended_total"] {
        until(metric, || appliance.metric(&format!("{metric}{{reason=\"empty_timeout\"")) == 1.0);
    }
    until("its engine session is over", || engine.control().engine_counters().downloads == 0);
}

/// Guards: `NO_RESPONSE_TIMEOUT` gives up on an engine that shows no sign of life...
#[test]
fn an_engine_without_a_sign_of_life_is_given_up() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).env("ACEXY_NO_RESPONSE_TIMEOUT", "1s").start();
    // It hangs after it was found well, so that it is asked for the stream.
    appliance.wait_log("the engine is healthy", |lines| {
        lines.iter().any(|line| line.contains("state=\"healthy\""))
    });
    engine.control().update_engine_faults(|faults| faults.hang = true);
    let began = Instant::now();
    // By infohash, which needs no looking up: that has a deadline of its own.
    let path = format!("/ace/getstream?infohash={}", nth(0).1);
    let answer = refused(&Player::get(appliance.addr(), &path).start());
    let code = answer.json().unwrap()["code"].as_str().unwrap().to_owned();
    let expected = if code == "no_engine" { 503 } else { 502 };
    assert!(["no_engine", "engine_unreachable"].contains(&code.as_str()), "{code}");
    assert_refusal(&answer, expected, &code);
    assert!(began.elapsed() < SOON, "given up only after {:?}", began.elapsed());
}

/// Guards: ...and never on one that is alive and takes its time to look a channel up or to buffer it.
#[test]
fn a_slow_lookup_is_no_missing_response() {
    let slow = Faults { json_delay_ms: 3000, media_files_delay_ms: 2000, ..Faults::default() };
    let channel = ChannelSpec::synthetic(0, RATE).with_faults(slow).with_prebuffer(Duration::from_secs(2));
    let engine = engine_with(vec![channel]);
    let appliance = Setup::with_engines(&[&engine]).env("ACEXY_NO_RESPONSE_TIMEOUT", "1s").start();
    plays(&checked(&appliance, &engine, 0).start());
    assert_eq!(engine.control().counters(nth(0).0).unwrap().opens, 1);
}
