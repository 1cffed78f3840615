//! How engines are kept and chosen, changed while the appliance serves: what each variable does is seen at a Docker, at the
//! engines, or by who asks for a stream.

use crate::changed::change_control;
use crate::common::{Appliance, SOON, Setup, until};
use crate::docker::{Docker, Mood};
use crate::stage::{RATE, assert_refusal, checked, engine, plays, refused};
use serde_json::{Value, json};
use sluice_bench::channel::nth;
use sluice_bench::player::http;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

fn post(appliance: &Appliance, path: &str, body: &Value) -> http::Response {
    let headers = [("Content-Type", "application/json")];
    http::request(appliance.addr(), "POST", path, &headers, body.to_string().as_bytes()).unwrap()
}

/// Has an engine made, and answers what Docker was asked for.
fn made(appliance: &Appliance, docker: &Docker) -> Value {
    let before = docker.created().len();
    until("an engine is made", || post(appliance, "/provision/acestream", &json!({})).status() == 200);
    docker.created().get(before).expect("a container was made").asked.clone()
}

/// The port of Docker's host that something inside is published on.
fn published(asked: &Value, inside: &str) -> (String, u64) {
    let bound = &asked["HostConfig"]["PortBindings"][inside][0];
    let port = bound["HostPort"].as_str().and_then(|port| port.parse().ok());
    (bound["HostIp"].as_str().unwrap_or_default().to_owned(), port.unwrap_or(0))
}

fn label<'a>(asked: &'a Value, name: &str) -> &'a str {
    asked["Labels"][name].as_str().unwrap_or_default()
}

/// Guards: whether, where and from what engines are made, each changed under an appliance that kept none before.
#[test]
fn what_engines_are_made_from_changes() {
    let docker = Docker::start();
    let appliance = Setup::bare()
        .env("ENGINE_PROVISIONING", "off")
        .env("MIN_REPLICAS", "0")
        .env("MIN_FREE_REPLICAS", "0")
        .env("AUTO_DELETE", "false")
        .start();
    assert!(post(&appliance, "/provision/acestream", &json!({})).status() >= 400);
    change_control(
        &appliance,
        json!({
            "ENGINE_PROVISIONING": "on", "DOCKER_HOST": docker.host(), "ENGINE_PUBLISH_ADDR": docker.publish().to_string(),
            "CONTAINER_LABEL": "mine=too", "INSTANCE_ID": "another", "ENGINE_MEMORY_LIMIT": "512m",
            "PORT_RANGE_HOST": "21000-21009", "ACE_MAP_HTTPS": true, "ACE_HTTPS_RANGE": "47000-47009",
            "P2P_PORT_RANGE": "33000-33009",
        }),
    );
    let asked = made(&appliance, &docker);
    assert_eq!((label(&asked, "mine"), label(&asked, "sluice.instance")), ("too", "another"), "{asked:#}");
    assert_eq!(asked["HostConfig"]["Memory"], 512 << 20, "{asked:#}");
    let (at, port) = published(&asked, &format!("{}/tcp", label(&asked, "acestream.http_port")));
    assert_eq!((at, (21000..=21009).contains(&port)), (docker.publish().to_string(), true), "{asked:#}");
    let inside: u64 = label(&asked, "acestream.https_port").parse().unwrap();
    let (_, port) = published(&asked, &format!("{inside}/tcp"));
    assert!((47000..=47009).contains(&inside) && (21000..=21009).contains(&port), "{asked:#}");
    let (_, port) = published(&asked, &format!("{}/udp", label(&asked, "acestream.p2p_port")));
    assert!((33000..=33009).contains(&port), "{asked:#}");

    docker.runs_on("arm64");
    change_control(&appliance, json!({ "ENGINE_ARM64_VERSION": "arm64-tried", "ENGINE_NETWORK": "host" }));
    let asked = made(&appliance, &docker);
    assert_eq!(asked["Image"], "jopsis/acestream:arm64-tried", "{asked:#}");
    assert_eq!(asked["HostConfig"]["NetworkMode"], "host", "{asked:#}");
    docker.runs_on("arm");
    change_control(&appliance, json!({ "ENGINE_ARM32_VERSION": "arm32-tried", "ENGINE_NETWORK": null }));
    assert_eq!(made(&appliance, &docker)["Image"], "jopsis/acestream:arm32-tried");
}

/// Guards: how many engines there are beside those in use, how fast they are made, how long they may take and stay, how often all
/// are looked at, and when no more are tried, each changed while it goes on. With what the environment says each would
/// take longer than this test waits.
#[test]
fn how_engines_are_kept_changes() {
    let docker = Docker::start();
    let appliance = Setup::bare()
        .env("ENGINE_PROVISIONING", "on")
        .env("DOCKER_HOST", &docker.host())
        .env("ENGINE_PUBLISH_ADDR", &docker.publish().to_string())
        .env("MIN_REPLICAS", "0")
        .env("MIN_FREE_REPLICAS", "0")
        .env("MONITOR_INTERVAL_S", "1h")
        .env("ENGINE_GRACE_PERIOD_S", "1h")
        .env("STARTUP_TIMEOUT_S", "1h")
        .start();
    let set = |body: Value| {
        let answer = post(&appliance, "/settings/engine", &body);
        assert_eq!(answer.status(), 200, "{}", answer.text());
    };
    let healthy = || {
        let engines = appliance.json("/engines");
        let all = engines.as_array().cloned().unwrap_or_default();
        all.iter().filter(|engine| engine["health_status"] == "healthy").count()
    };
    let lists = || docker.calls().get("list").copied().unwrap_or(0);
    let seen = lists();
    change_control(&appliance, json!({ "MONITOR_INTERVAL_S": 1 }));
    until("all containers are looked at again and again", || lists() >= seen + 3);
    docker.set_delay(Duration::from_millis(100));
    change_control(&appliance, json!({ "MAX_CONCURRENT_PROVISIONS": 1 }));
    set(json!({ "min_replicas": 2 }));
    until("two engines are there", || healthy() == 2);
    assert_eq!(docker.take_most_at_once(), 1, "one after the other");
    docker.set_delay(Duration::ZERO);
    let before = docker.created().len();
    change_control(&appliance, json!({ "MAX_CONCURRENT_PROVISIONS": null, "MIN_PROVISION_INTERVAL_S": 1 }));
    set(json!({ "min_replicas": 4 }));
    until("four engines are there", || healthy() == 4);
    let times: Vec<Instant> = docker.created()[before..].iter().map(|created| created.at).collect();
    assert!(times[1] - times[0] > Duration::from_millis(800), "{times:?}");

    set(json!({ "min_replicas": 0, "auto_delete": true }));
    let stay =
        json!({ "ENGINE_GRACE_PERIOD_S": 1, "MIN_FREE_REPLICAS": 1, "MIN_PROVISION_INTERVAL_S": null });
    change_control(&appliance, stay);
    until("all but one are gone", || docker.names().len() == 1);
    assert_eq!(appliance.json("/orchestrator/status")["config"]["grace_period_s"], 1);
    change_control(&appliance, json!({ "MIN_FREE_REPLICAS": 0 }));
    until("the last one is gone too", || docker.names().is_empty());

    change_control(
        &appliance,
        json!({
            "CIRCUIT_BREAKER_FAILURE_THRESHOLD": 2, "CIRCUIT_BREAKER_RECOVERY_TIMEOUT_S": 77, "STARTUP_TIMEOUT_S": 1,
            "CIRCUIT_BREAKER_REPLACEMENT_THRESHOLD": 9, "CIRCUIT_BREAKER_REPLACEMENT_TIMEOUT_S": 66,
        }),
    );
    docker.set_mood(Mood::Hung);
    let breakers = || appliance.json("/health/status")["circuit_breakers"].clone();
    set(json!({ "min_replicas": 1 }));
    until("engines that do not answer within a second are given up, and no more are tried after two", || {
        breakers()["general"]["state"] == "open"
    });
    let (general, replacement) = (&breakers()["general"], &breakers()["replacement"]);
    assert_eq!((&general["failure_threshold"], &general["recovery_timeout"]), (&json!(2), &json!(77)));
    assert_eq!(
        (&replacement["failure_threshold"], &replacement["recovery_timeout"]),
        (&json!(9), &json!(66))
    );
    let status = appliance.json("/orchestrator/status");
    let eta = status["provisioning"]["blocked_reason_details"]["recovery_eta_seconds"].as_u64();
    assert!(eta.is_some_and(|eta| eta <= 77), "{status:#}");

    // Something of a VPN is asked for: no engine is used any more.
    change_control(&appliance, json!({ "VPN_MODE": "redundant" }));
    until("nothing is played", || {
        appliance.json("/orchestrator/status")["provisioning"]["blocked_reason_details"]["code"]
            .as_str()
            .is_some_and(|code| code.contains("vpn"))
    });
}

/// Guards: how an engine is chosen and how long one is waited for, and how often the figures of another proxy's streams are asked
/// for, each changed while streams play.
#[test]
fn how_engines_are_chosen_and_asked_changes() {
    let engine = engine(4);
    let appliance = Setup::with_engines(&[&engine])
        .env("MAX_STREAMS_PER_ENGINE", "2")
        .env("ENGINE_WAIT_S", "10m")
        .env("NO_RESPONSE_TIMEOUT", "1h")
        .env("COLLECT_INTERVAL_S", "1m")
        .env("DEBUG_MODE", "true")
        .start();
    appliance.wait_healthy(1);
    let first = checked(&appliance, &engine, 0).start();
    plays(&first);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|socket| drop(answer_stat(socket))));
    let started = json!({
        "container_id": null, "engine": { "host": "127.0.0.1", "port": other.port() },
        "stream": { "key_type": "infohash", "key": "77".repeat(20) },
        "session": {
            "playback_session_id": "p", "stat_url": format!("http://{other}/stat"), "command_url": format!("http://{other}/command"),
            "is_live": 1,
        },
    });
    let id = post(&appliance, "/events/stream_started", &started).json().unwrap()["id"].clone();
    let path = format!("/streams/{}/stats", id.as_str().expect("an id").replace('|', "%7C"));
    let samples = || appliance.json(&path).as_array().map_or(0, Vec::len);
    change_control(&appliance, json!({ "COLLECT_INTERVAL_S": 1 }));
    until("its figures are asked for each second", || samples() >= 3);

    let scores = |stream: u32| {
        let directory = appliance.data().join("debug_logs/sluice-debug.jsonl");
        let text = std::fs::read_to_string(directory).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let chosen = lines.filter(|line| line["kind"] == "selection" && line["chosen"].is_string());
        let mut about = chosen.filter(|line| {
            line["stream"].as_str().is_some_and(|name| name.contains(&nth(stream).1.to_string()))
        });
        about.next_back().map(|line| line["candidates"][0]["score"].clone())
    };
    change_control(&appliance, json!({ "ENGINE_STREAM_COST": 33 }));
    appliance.wait_healthy(2);
    let second = checked(&appliance, &engine, 1).start();
    plays(&second);
    until("a stream costs an engine what was said", || scores(1) == Some(json!(-33)));

    change_control(&appliance, json!({ "ENGINE_WAIT_S": 1 }));
    appliance.wait_healthy(3);
    let answer = refused(&appliance.player(nth(2).0).start());
    assert_eq!(answer.status(), 503, "{}", answer.text());
    drop(second);
    let room = json!({ "max_streams_per_engine": 9 });
    assert_eq!(post(&appliance, "/proxy/config", &room).status(), 200);
    change_control(&appliance, json!({ "ENGINE_WAIT_S": null, "ENGINE_SELECTION": "spread" }));
    appliance.wait_healthy(4);
    plays(&checked(&appliance, &engine, 2).start());
    until("it is the fewest streams that count", || scores(2).is_some_and(|score| score != json!(-33)));

    change_control(&appliance, json!({ "NO_RESPONSE_TIMEOUT": "500ms" }));
    appliance.wait_healthy(5);
    engine.control().update_engine_faults(|faults| faults.hang = true);
    let path = format!("/ace/getstream?infohash={}", nth(3).1);
    let begun = Instant::now();
    let answer = refused(&sluice_bench::player::Player::get(appliance.addr(), &path).start());
    let code = answer.json().unwrap()["code"].as_str().unwrap().to_owned();
    assert_refusal(&answer, answer.status(), &code);
    assert!(["no_engine", "engine_unreachable"].contains(&code.as_str()), "{code}");
    assert!(begun.elapsed() < SOON);
    engine.control().update_engine_faults(|faults| faults.hang = false);
    first.wait_more(RATE, SOON).unwrap();
    assert_eq!((first.end(), first.report().faults_or_losses()), (None, Vec::new()));
}

/// One question for figures.
fn answer_stat(mut socket: std::net::TcpStream) -> std::io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let body = r#"{"response":{"status":"dl","peers":3,"speed_down":1,"speed_up":1,"downloaded":1,"uploaded":1},"error":null}"#;
    write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}
