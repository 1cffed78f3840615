//! The side channel: what tests and scripts see and change.

use serde_json::{Value, json as value};

use super::client::{Client, json, open, play_media};
use super::{content_id, engine, infohash};

fn post(client: &mut Client, method: &str, target: &str, body: &Value) -> (String, Value) {
    let body = body.to_string();
    client.send(&format!("{method} {target} HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let (head, answer) = client.response();
    (head, serde_json::from_str(&answer).expect("JSON"))
}

/// Guards what tests assert on: opens, stops, pids and their reuse, encodings, HEADs, bytes, sessions, requests.
#[test]
fn everything_is_counted() {
    let engine = engine();
    let control = engine.control();
    let first = open(engine.addr(), infohash(0), "a");
    let mut body = play_media(engine.addr(), &first.playback);
    body.read(500_000).expect("media");
    json(engine.addr(), &format!("{}?method=stop", first.command));
    open(engine.addr(), infohash(0), "a");
    open(engine.addr(), infohash(1), "");
    let mut probe = Client::connect(engine.addr());
    probe.send(&format!(
        "HEAD /ace/getstream?id={} HTTP/1.1\r\nHost: h\r\nUser-Agent: probe/1\r\n\r\n",
        content_id(1)
    ));
    probe.head();
    let counters = control.counters(content_id(0)).expect("known");
    assert_eq!((counters.opens, counters.stops, counters.bodies, counters.playback_requests), (2, 1, 1, 1));
    assert!(counters.bytes >= 500_000);
    assert_eq!(control.counters(infohash(1)).expect("known").heads, 1);
    let engine_counters = control.engine_counters();
    assert_eq!((engine_counters.pids, engine_counters.pids_reused), (1, 1));
    assert_eq!((engine_counters.heads, engine_counters.opens_without_pid), (1, 2));
    assert_eq!(engine_counters.accept_encodings.get("-"), Some(&1));
    assert_eq!(engine_counters.user_agents.get("probe/1"), Some(&1));
    let sessions = control.sessions();
    assert_eq!(sessions[0].pid.as_deref(), Some("a"));
    assert_eq!((sessions[0].stops, sessions[0].end), (1, Some(sluice_bench::engine::End::Stopped)));
    assert_eq!(sessions[1].end, None);
    let requests = control.requests(0);
    assert!(requests[0].target.starts_with("/ace/getstream?") && requests[0].method == "GET");
    assert_eq!(control.requests(requests[2].number).len(), requests.len() - 3);
    control.reset_counters();
    assert_eq!(control.counters(infohash(0)).expect("known").opens, 0);
}

/// Guards the same over HTTP: counters are shown, switches change one by one, mistakes change nothing.
#[test]
fn faults_are_switched_over_http() {
    let engine = engine();
    let mut side = Client::connect(engine.control_addr());
    let (head, _) =
        post(&mut side, "POST", "/faults/n0", &value!({"dead": true, "framing": {"content_length": 5}}));
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    post(&mut side, "POST", &format!("/faults/{}", content_id(0)), &value!({"body": "html"}));
    let faults = engine.control().faults(infohash(0)).expect("known");
    assert!(faults.dead && faults.body == sluice_bench::engine::Body::Html);
    for (target, body, status) in [
        ("/faults/n0", value!({"ded": true}), "400"),
        ("/faults/n0", value!({"dead": "yes"}), "400"),
        ("/faults/n0", value!([1]), "400"),
        ("/faults/n9", value!({}), "404"),
        ("/faults/xyz", value!({}), "400"),
        ("/cut/n0?how=gently", value!({}), "400"),
        ("/nothing", value!({}), "404"),
    ] {
        let (head, answer) = post(&mut side, "POST", target, &body);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{target}: {head}");
        assert!(answer["error"].is_string());
    }
    assert_eq!(engine.control().faults(infohash(0)).expect("known"), faults);
    post(&mut side, "POST", "/faults/all", &value!({"trickle": true}));
    assert!(engine.control().faults(infohash(2)).expect("known").trickle);
    post(&mut side, "DELETE", "/faults/all", &Value::Null);
    assert!(!engine.control().faults(infohash(0)).expect("known").dead);
    post(&mut side, "POST", "/engine/faults", &value!({"disconnected": true}));
    assert!(engine.control().engine_faults().disconnected);
    // The side channel answers while the engine hangs.
    engine.control().update_engine_faults(|faults| faults.hang = true);
    let overview = side.json("/");
    assert_eq!(overview["engine_faults"]["hang"], true);
    assert_eq!(overview["channels"][0]["content_id"], content_id(0).to_string());
    assert!(side.json("/sessions").is_array() && side.json("/requests?after=0").is_array());
}

/// Guards the demo: two engines that both play each of its channels.
#[test]
fn the_demo_has_two_engines_that_know_all_channels() {
    let demo = sluice_bench::demo::start().expect("free ports");
    assert_eq!(demo.engines.len(), 2);
    for engine in &demo.engines {
        for channel in &demo.channels {
            let session = open(*engine, channel.infohash, &channel.name.replace([' ', ','], ""));
            assert_eq!(play_media(*engine, &session.playback).read(1).expect("media"), [0x47]);
        }
    }
}
