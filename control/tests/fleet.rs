//! Engines in a Docker that counts what it is asked: what is told of engines that come and go, what is counted, and that whoever
//! reads costs Docker nothing.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests are threads of their own: they connect, wait and lock"
)]

mod common;

use common::docker::Docker;
use common::engine::Engine;
use common::http::read_answer;
use common::{Bench, PATIENCE, eventually, number, stream};
use serde_json::{Value, json};
use sluice_contract::RefusalCode;
use sluice_control::{Options, StaticEngine};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Entries of the log about engines, newest first.
fn entries(bench: &Bench, category: &str) -> Vec<Value> {
    let entries = bench.get(&format!("/events?event_type=engine&category={category}")).json();
    entries.as_array().expect("a list").clone()
}

fn healthy(bench: &Bench) -> Vec<Value> {
    let engines = bench.get("/engines").json();
    let engines = engines.as_array().expect("a list").clone();
    engines.into_iter().filter(|engine| engine["health_status"] == "healthy").collect()
}

/// Has another proxy play on an engine; answers the stream's id.
fn report(bench: &Bench, engine: &Value) -> String {
    let started = bench.send(
        "POST /events/stream_started",
        &json!({
            "container_id": engine["container_id"],
            "engine": { "host": engine["host"], "port": engine["port"] },
            "stream": { "key_type": "infohash", "key": number(5).to_string() },
            "session": {
                "playback_session_id": engine["container_name"], "stat_url": "http://127.0.0.1:1/stat",
                "command_url": "http://127.0.0.1:1/cmd", "is_live": 1,
            },
        }),
    );
    assert_eq!(started.status, 200, "{}", started.text());
    started.json()["id"].as_str().expect("an id").to_owned()
}

/// Guards: engines the fleet makes and removes stand in the log with the reason, reach whoever follows the feed, and end the
/// streams that others reported on them; while such a stream plays its engine is not idle. Attempts that fail are told with
/// what was wrong and what to do about it.
#[test]
fn engines_that_come_and_go_are_told() {
    let docker = Docker::start();
    docker.refuse(1);
    let bench = Bench::start(docker.options((3, 3)), 1);
    let mut feed = bench.hand_over(b"GET /api/v1/events/stream HTTP/1.1\r\nhost: sluice\r\n\r\n");
    eventually("all engines are well", || healthy(&bench).len() == 3);
    let failed = entries(&bench, "failed");
    assert!(failed[0]["message"].as_str().is_some_and(|text| text.contains("no space left")), "{failed:#?}");
    let details = &failed[0]["details"];
    assert_eq!(details["code"], "disk_full", "{failed:#?}");
    assert!(details["remedy"].as_str().is_some_and(|text| text.contains("free space")), "{failed:#?}");
    let started = entries(&bench, "started");
    let ids: Vec<&Value> = started.iter().map(|entry| &entry["container_id"]).collect();
    let shown = healthy(&bench);
    assert!(shown.iter().all(|engine| ids.contains(&&engine["container_id"])), "{started:#?}");

    // Two of them play for another proxy, so that only the third is idle.
    let streams = [report(&bench, &shown[0]), report(&bench, &shown[1])];
    let settings = json!({ "min_replicas": 0, "auto_delete": true });
    assert_eq!(bench.send("POST /settings/engine", &settings).status, 200);
    let removed = || entries(&bench, "removed");
    eventually("the idle one is gone", || docker.names().len() == 2 && removed().len() == 1);
    let used = |engine: &Value| engine["last_stream_usage"].is_string();
    assert_eq!(healthy(&bench).iter().filter(|engine| used(engine)).count(), 2);
    let ended = bench.send("POST /events/stream_ended", &json!({ "stream_id": streams[0] }));
    assert_eq!((ended.status, &ended.json()["updated"]), (200, &json!(true)));
    eventually("so is the one that has become idle", || docker.names().len() == 1 && removed().len() == 2);
    assert!(removed().iter().all(|entry| entry["details"]["reason"] == "idle"), "{:#?}", removed());
    let left = format!("DELETE /containers/{}", shown[1]["container_id"].as_str().expect("an id"));
    assert_eq!(bench.send(&left, &Value::Null).status, 200);
    eventually("so is the one that plays", || docker.names().is_empty() && removed().len() == 3);
    assert_eq!(removed()[0]["details"]["reason"], "asked");
    eventually("the stream on it is over", || {
        let ended = bench.get("/streams?status=ended").json();
        let is_meant =
            |stream: &Value| stream["id"] == *streams[1] && stream["end_reason"] == "engine_removed";
        ended.as_array().into_iter().flatten().any(is_meant)
    });
    let mut told = String::new();
    let mut chunk = [0; 4096];
    while told.matches("\"category\":\"removed\"").count() < 3 {
        let count = feed.read(&mut chunk).expect("the feed goes on");
        assert!(count > 0, "the feed ended: {told}");
        told.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
}

/// Guards: what is started by hand is counted by kind, and what an attempt that fails costs is not.
#[test]
fn what_is_started_by_hand_is_counted() {
    let docker = Docker::start();
    let bench = Bench::start(docker.options((1, 4)), 1);
    eventually("the engine is well", || healthy(&bench).len() == 1);
    let provisioned = |kind: &str| {
        let text = bench.get("/metrics").text();
        let begin = format!("orch_provision_total{{kind=\"{kind}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&begin)?.parse::<f64>().ok()).expect("it is shown")
    };
    assert_eq!((provisioned("acestream"), provisioned("generic")), (0.0, 0.0), "nothing was started by hand");
    let made = bench.send("POST /provision/acestream", &json!({}));
    assert_eq!(made.status, 200, "{}", made.text());
    assert_eq!((provisioned("acestream"), provisioned("generic")), (1.0, 0.0));
    let ports = json!({ "image": "nginx:1", "ports": { "80/tcp": 19050 } });
    let made = bench.send("POST /provision", &ports);
    assert_eq!(made.status, 200, "{}", made.text());
    docker.refuse(1);
    assert!(bench.send("POST /provision", &ports).status >= 400);
    assert_eq!((provisioned("acestream"), provisioned("generic")), (1.0, 1.0));
}

/// Guards: where a VPN is asked for nothing at all happens without it: Docker is not asked for anything, engines that are named are
/// not spoken to, no stream is given one and none is made by hand, however often; that is no failure, so no breaker opens, and
/// every answer names it at once.
#[test]
fn a_vpn_that_is_asked_for_leaves_docker_and_engines_alone() {
    let (docker, named) = (Docker::start(), Engine::start());
    let static_engines = vec![StaticEngine { authority: named.authority(), group: None }];
    let asked = Options { is_vpn_asked: true, static_engines, ..docker.options((3, 3)) };
    let mut bench = Bench::start(asked, 1);
    for n in 0..7 {
        let ticket = bench.shards[0].ask(stream(n), PATIENCE);
        assert_eq!(bench.shards[0].answer(ticket).unwrap_err().code, RefusalCode::VpnNotSupported);
        let made = bench.send("POST /provision/acestream", &json!({}));
        assert_eq!((made.status, &made.json()["detail"]["code"]), (503, &json!("vpn_not_supported")));
    }
    for (line, status) in
        [("POST /scale/3", 503), ("POST /custom-variant/reprovision", 503), ("POST /gc", 200)]
    {
        let answer = bench.send(line, &Value::Null);
        assert_eq!(answer.status, status, "{line}: {}", answer.text());
    }
    let breakers = bench.get("/health/status").json()["circuit_breakers"].clone();
    assert_eq!(
        (&breakers["general"]["state"], &breakers["general"]["failure_count"]),
        (&json!("closed"), &json!(0)),
        "{breakers:#}"
    );
    let status = bench.get("/orchestrator/status").json();
    assert_eq!(status["provisioning"]["blocked_reason_details"]["code"], "vpn_not_supported", "{status:#}");
    assert_eq!(bench.get("/engines").json(), json!([]));
    assert_eq!((docker.calls().len(), named.requests()), (0, Vec::<String>::new()));
}

/// What a panel reads again and again; each of these asked Docker in earlier programs.
const POLLED: [&str; 4] = ["/engines", "/engines/stats/total", "/orchestrator/status", "/vpn/status"];
/// Rounds of a panel in a minute: it reads every five seconds.
const ROUNDS: u64 = 12;

/// One round of a panel, on the connection it keeps; answers how many requests that were.
fn poll(panel: &mut TcpStream) -> u64 {
    for path in POLLED {
        // In one piece: a second one would wait for the first to be acknowledged.
        let request = format!("GET {path} HTTP/1.1\r\nhost: sluice\r\n\r\n");
        panel.write_all(request.as_bytes()).expect("it is taken");
        assert_eq!(read_answer(panel, false).status, 200, "{path}");
    }
    POLLED.len() as u64
}

/// Guards: Docker is asked by the clock and by nobody who reads: a minute of fifty panels costs it what a minute of one does, counted
/// at its socket. The clock runs faster here: 200 ms stand for the 10 s between two lists.
#[test]
fn readers_cost_docker_nothing() {
    let docker = Docker::start();
    let bench = Bench::start(docker.options((2, 2)), 1);
    eventually("both engines are well", || healthy(&bench).len() == 2);
    eventually("figures are asked for once and then come by themselves", || {
        docker.calls().get("stats") == Some(&2)
    });
    let calls = || docker.calls().values().sum::<u64>();
    let minute = |panels: u64| {
        let mut readers: Vec<TcpStream> = (0..panels).map(|_| bench.hand_over(b"")).collect();
        let (mut requests, before, begun) = (0, calls(), Instant::now());
        let until = begun + Duration::from_millis(1200);
        // Every panel has its turn in every round; whoever is early waits for the minute to end.
        for round in 0..ROUNDS {
            requests += readers.iter_mut().map(poll).sum::<u64>();
            let due = begun + Duration::from_millis(100 * (round + 1));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        // A machine that is slow to read has the clock ask more often.
        let lists = begun.elapsed().as_millis() as u64 / 200 + 2;
        (calls() - before, lists, requests)
    };
    for panels in [1, 50] {
        let (asked, lists, requests) = minute(panels);
        assert!(asked <= lists, "{panels} panels with {requests} requests: Docker was asked {asked} times");
        // What was promised is 60 to 70 %. One panel on a machine that is slow to answer it proves nothing about that.
        assert!(panels == 1 || asked * 5 <= requests, "{asked} calls for {requests} requests");
    }
}

/// Guards: each setting of engines holds as soon as it is changed: how many there are at least and at most, whether idle ones go,
/// and what new ones are made from.
#[test]
fn settings_of_engines_hold_at_once() {
    let docker = Docker::start();
    let bench = Bench::start(docker.options((1, 1)), 1);
    let set = |body: Value| {
        let answer = bench.send("POST /settings/engine", &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    let count = |count: usize| eventually(&format!("there are {count}"), || docker.names().len() == count);
    count(1);
    // More than there may be are had once there may be more.
    set(json!({ "max_replicas": 3, "min_replicas": 3 }));
    count(3);
    assert!(docker.images().iter().all(|image| image.contains("krinkuto11")), "{:?}", docker.images());
    set(json!({ "auto_delete": false }));
    set(json!({ "min_replicas": 0 }));
    // What is above the new maximum goes even so.
    set(json!({ "max_replicas": 2 }));
    count(2);
    eventually("what is idle stays", || healthy(&bench).len() == 2);
    assert_eq!(docker.names().len(), 2);
    set(json!({ "auto_delete": true }));
    count(0);
    set(json!({ "engine_variant": "jopsis-amd64" }));
    set(json!({ "min_replicas": 1 }));
    count(1);
    assert!(docker.images()[0].contains("jopsis"), "{:?}", docker.images());
    set(json!({ "min_replicas": 0 }));
    count(0);
    let variant = |bench: &Bench| bench.get("/custom-variant/config").json()["enabled"].clone();
    assert_eq!(variant(&bench), false);
    set(json!({ "use_custom_variant": true, "engine_variant": "krinkuto11-amd64", "min_replicas": 1 }));
    assert_eq!(variant(&bench), true);
    count(1);
    assert!(
        !docker.images()[0].contains("krinkuto11"),
        "the custom variant is not what is made: {:?}",
        docker.images()
    );
}
