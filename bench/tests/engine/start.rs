//! Finding and starting channels.

use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_bench::engine::Faults;

use super::client::{Client, eventually, json, open, play, play_media};
use super::{content_id, engine, engine_with, infohash};

fn start(engine: &sluice_bench::engine::Engine, query: &str) -> Value {
    json(engine.addr(), &format!("/ace/getstream?format=json&{query}"))
}

/// Guards selectors: their precedence, that unknown ones fail with HTTP 200 and the engine's words, and that `id` accepts
/// an infohash only once its transport file is cached.
#[test]
fn selectors_follow_their_precedence() {
    let engine = engine_with(|options| options.latency_scale_permille = 1);
    let found = |answer: &Value| answer["response"]["infohash"].as_str().map(str::to_owned);
    let both = format!("infohash={}&id={}", infohash(1), content_id(0));
    assert_eq!(found(&start(&engine, &both)), Some(infohash(0).to_string()));
    let failed = Value::from("failed to load content");
    for query in [
        format!("id={}", "f".repeat(40)),
        "id=short".to_owned(),
        format!("infohash={}", "f".repeat(40)),
        "url=http%3A%2F%2Fnowhere%2Fx.acelive".to_owned(),
        // The first selector counts, although the second is known.
        format!("id=short&infohash={}", infohash(1)),
        format!("id={}", infohash(2)),
    ] {
        let answer = start(&engine, &query);
        assert_eq!((&answer["error"], &answer["response"]), (&failed, &Value::Null), "{query}");
    }
    assert_eq!(found(&start(&engine, &format!("infohash={}", infohash(2)))), Some(infohash(2).to_string()));
    assert_eq!(found(&start(&engine, &format!("id={}", infohash(2)))), Some(infohash(2).to_string()));
    let magnet = format!("magnet=magnet%3A%3Fxt%3Durn%3Abtih%3A{}", infohash(1));
    assert_eq!(found(&start(&engine, &magnet)), Some(infohash(1).to_string()));
}

/// Guards that look-ups of the unknown take their scaled time: 4.6 s by content id, 28 s by infohash.
#[test]
fn unknown_content_takes_its_time() {
    let engine = engine_with(|options| options.latency_scale_permille = 20);
    for (query, least) in [("id", 92), ("infohash", 560)] {
        let begun = Instant::now();
        start(&engine, &format!("{query}={}", "f".repeat(40)));
        assert!(begun.elapsed() >= Duration::from_millis(least), "{query}: {:?}", begun.elapsed());
    }
}

/// Guards the start script: stat goes from empty over idle and prebuf to dl, the head is withheld until then, and
/// stat shows progress meanwhile.
#[test]
fn a_cold_start_follows_its_script() {
    let engine = engine();
    engine.control().update_faults(infohash(0), |faults| faults.prebuffer_ms = Some(1200)).expect("known");
    let begun = Instant::now();
    let session = open(engine.addr(), infohash(0), "a");
    let mut client = Client::connect(engine.addr());
    client.get(&session.playback);
    let mut seen: Vec<String> = Vec::new();
    let mut last_progress = 0;
    eventually("status dl", || {
        let stat = json(engine.addr(), &session.stat);
        let status = stat["response"]["status"].as_str().unwrap_or("empty").to_owned();
        if status == "prebuf" {
            let progress = stat["response"]["progress"].as_u64().expect("progress");
            assert!(progress >= last_progress && progress <= 100);
            last_progress = progress;
            assert!(stat["response"]["peers"].as_u64().is_some_and(|peers| peers > 0));
        }
        if seen.last() != Some(&status) {
            seen.push(status);
        }
        seen.last().is_some_and(|status| status == "dl")
    });
    assert_eq!(seen, ["empty", "idle", "prebuf", "dl"]);
    client.head();
    assert!(begun.elapsed() >= Duration::from_millis(1200));
    assert_eq!(engine.control().engine_counters().prebuffering_max, 1);
}

/// Guards the dead channel: no head ever, stat stays in prebuf; once revived it plays.
#[test]
fn a_dead_channel_never_sends_a_head() {
    let engine = engine();
    let control = engine.control();
    control
        .update_faults(infohash(0), |faults| (faults.dead, faults.peers) = (true, Some(9)))
        .expect("known");
    let session = open(engine.addr(), infohash(0), "a");
    let mut client = Client::connect(engine.addr());
    client.get(&session.playback);
    assert!(client.is_silent_for(Duration::from_millis(400)));
    let stat = json(engine.addr(), &session.stat);
    assert_eq!((&stat["response"]["status"], &stat["response"]["peers"]), (&"prebuf".into(), &9.into()));
    assert_eq!(stat["response"]["downloaded"], 0);
    control.set_faults(infohash(0), Faults::default()).expect("known");
    assert!(client.head().starts_with("HTTP/1.1 302"));
}

/// Guards starts that fail with a 500: too early, timed out, vanished.
#[test]
fn failed_starts_answer_500() {
    let engine = engine();
    let control = engine.control();
    let fails = |faults: Faults, reason: &str| {
        control.set_faults(infohash(0), faults).expect("known");
        let session = open(engine.addr(), infohash(0), "a");
        let mut client = Client::connect(engine.addr());
        client.get(&session.playback);
        let (head, body) = client.response();
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
        assert_eq!(body, reason);
        session
    };
    fails(
        Faults { early_not_found: true, prebuffer_ms: Some(600_000), ..Faults::default() },
        "download not found",
    );
    fails(
        Faults { start_error: Some("start timeout".into()), start_error_after_ms: 50, ..Faults::default() },
        "start timeout",
    );
    let session = fails(Faults { vanish: true, ..Faults::default() }, "download not found");
    assert_eq!(json(engine.addr(), &session.stat)["error"], "unknown playback session id");
}

/// Guards start requests that go wrong: an error with HTTP 200, a late answer, no answer until the fault is lifted, and
/// that those in flight are counted.
#[test]
fn start_requests_fail_wait_and_hang() {
    let engine = engine();
    let control = engine.control();
    control
        .update_faults(infohash(0), |faults| faults.json_error = Some("access denied".into()))
        .expect("known");
    assert_eq!(start(&engine, &format!("id={}", content_id(0)))["error"], "access denied");
    control.set_faults(infohash(0), Faults { json_hang: true, ..Faults::default() }).expect("known");
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(engine.addr())).collect();
    for client in &mut clients {
        client.get(&format!("/ace/getstream?id={}&format=json&pid=x", content_id(0)));
    }
    eventually("three in flight", || control.engine_counters().opens_in_flight == 3);
    assert!(clients[0].is_silent_for(Duration::from_millis(100)));
    // The engine as a whole is well.
    assert!(json(engine.addr(), "/webui/api/service?method=get_version")["error"].is_null());
    drop(clients.pop());
    eventually("one left", || control.engine_counters().opens_in_flight == 2);
    control.set_faults(infohash(0), Faults { json_delay_ms: 100, ..Faults::default() }).expect("known");
    let begun = Instant::now();
    for client in &mut clients {
        assert!(client.response().0.starts_with("HTTP/1.1 200"));
    }
    assert!(begun.elapsed() >= Duration::from_millis(90));
    assert_eq!(control.engine_counters().opens_in_flight_max, 3);
}

/// Guards the wedged process: connections are accepted, nothing is answered, health included, bodies stand still; and all of
/// it goes on afterwards.
#[test]
fn a_hung_engine_accepts_and_says_nothing() {
    let engine = engine();
    let control = engine.control();
    let session = open(engine.addr(), infohash(0), "a");
    let mut body = play_media(engine.addr(), &session.playback);
    control.update_engine_faults(|faults| (faults.hang, faults.stall) = (true, true));
    let mut probe = Client::connect(engine.addr());
    probe.get("/webui/api/service?method=get_version");
    assert!(probe.is_silent_for(Duration::from_millis(200)));
    eventually("a silent body", || body.is_silent_for(Duration::from_millis(100)));
    control.update_engine_faults(|faults| (faults.hang, faults.stall) = (false, false));
    assert!(probe.head().starts_with("HTTP/1.1 200"));
    body.buffer.clear();
    body.read(100_000).expect("media goes on");
}

/// Guards refused and denied connections, and that the same port opens again.
#[test]
fn a_closed_port_refuses_and_reopens() {
    let engine = engine();
    let control = engine.control();
    let connects = || std::net::TcpStream::connect(engine.addr()).is_ok();
    control.update_engine_faults(|faults| faults.refuse = true);
    eventually("refused", || !connects());
    control.update_engine_faults(|faults| (faults.refuse, faults.deny) = (false, true));
    eventually("accepted", connects);
    assert_eq!(Client::connect(engine.addr()).read_to_end().0, b"");
    control.update_engine_faults(|faults| faults.deny = false);
    assert!(json(engine.addr(), "/webui/api/service?method=get_version")["error"].is_null());
}

/// Guards that no media flows for clients that offer compression, where that fault is on.
#[test]
fn compression_can_starve_a_client() {
    let engine = engine();
    engine.control().update_faults(infohash(0), |faults| faults.compression_starves = true).expect("known");
    let session = open(engine.addr(), infohash(0), "a");
    let mut client = Client::connect(engine.addr());
    client.send(&format!("GET {} HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n", session.playback));
    assert!(client.is_silent_for(Duration::from_millis(300)));
    let (_, head) = play(engine.addr(), &session.playback);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

/// Guards virtual time: in an engine that runs ten times as fast, a prebuffer of 5 s takes half a second and media
/// comes at ten times its rate.
#[test]
fn time_can_run_faster() {
    let engine = engine_with(|options| {
        options.time_scale_permille = 10_000;
        options.epoch = std::time::SystemTime::now();
        options.channels[0].prebuffer = Duration::from_secs(5);
        options.channels[0].reach_back = Duration::ZERO;
    });
    let begun = Instant::now();
    let session = open(engine.addr(), infohash(0), "a");
    let mut client = play_media(engine.addr(), &session.playback);
    assert!(begun.elapsed() >= Duration::from_millis(500) && begun.elapsed() < Duration::from_secs(4));
    let begun = Instant::now();
    client.read(5_000_000).expect("five seconds of media");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}
