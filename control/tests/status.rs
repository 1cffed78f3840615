//! Engines, health and the names dashboards know: shapes, and that none of it waits for an engine.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests are threads of their own: they connect, wait and lock"
)]

mod common;

use common::engine::{Engine, Mood};
use common::http::{Answer, read_answer};
use common::{Bench, eventually, number, options, session};
use serde_json::{Value, json};
use sluice_contract::EngineId;
use sluice_contract::metric::{Histogram, Name, Sample, Value as Metric, published};
use sluice_contract::snapshot::{self, EngineStat, Session, SessionEngine, SessionState};
use std::sync::Arc;
use std::time::SystemTime;

/// A session on an engine of this address that has named its playback session.
fn playing(n: u8, authority: &str, stat: EngineStat) -> Session {
    Session {
        engine: Some(SessionEngine {
            id: EngineId(authority.into()),
            authority: authority.into(),
            playback_session_id: Some(format!("p{n}").into()),
            stat_url: Some(format!("http://{authority}/ace/stat/{n}").into()),
            command_url: Some(format!("http://{authority}/ace/cmd/{n}").into()),
            is_live: 1,
            is_encrypted: false,
        }),
        stat: Some(stat),
        ..session(n, SessionState::Grace, None)
    }
}

fn post(bench: &Bench, path: &str) -> Answer {
    read_answer(
        &mut bench.hand_over(format!("POST {path} HTTP/1.1\r\nhost: sluice\r\n\r\n").as_bytes()),
        false,
    )
}

/// Guards: an engine is shown with every published field, times with a zone, its active streams and what it said it is;
/// by port; one that does not exist is 404 under both names of the fault.
#[test]
fn engines_have_the_published_shape() {
    let engines = [Engine::start(), Engine::start()];
    let bench = Bench::start(options(&engines.each_ref().map(Engine::authority)), 1);
    bench.wait_healthy(2);
    bench.publish(vec![playing(1, &engines[0].authority(), EngineStat::default())]);
    let shown = bench.get("/engines").json();
    let ports: Vec<u64> = shown.as_array().unwrap().iter().map(|e| e["port"].as_u64().unwrap()).collect();
    assert!(ports.len() == 2 && ports.is_sorted(), "{shown:#}");
    let id = engines[0].authority();
    let engine = shown.as_array().unwrap().iter().find(|e| e["container_id"] == *id).unwrap();
    let (host, port) = id.split_once(':').unwrap();
    assert_eq!(
        (&engine["host"], &engine["container_name"]),
        (&json!(host), &json!(format!("engine-{host}-{port}")))
    );
    assert_eq!((&engine["labels"], &engine["forwarded"]), (&json!({}), &json!(false)));
    assert_eq!((&engine["platform"], &engine["version"]), (&json!("linux"), &json!("3.2.11")));
    assert_eq!(engine["health_status"], "healthy");
    let stream = format!("{}|p1", number(1));
    assert_eq!(engine["streams"], json!([stream]));
    for time in ["first_seen", "last_seen", "last_health_check"] {
        assert!(engine[time].as_str().is_some_and(|text| text.ends_with('Z')), "{time}: {engine:#}");
    }
    for absent in
        ["last_stream_usage", "vpn_container", "forwarded_port", "last_cache_cleanup", "cache_size_bytes"]
    {
        assert_eq!(engine.get(absent), Some(&Value::Null), "{absent}");
    }
    let one = bench.get(&format!("/engines/{}", id.replace(':', "%3A"))).json();
    assert_eq!(one["engine"]["container_id"], *id);
    let shown = &one["streams"][0];
    assert_eq!(
        (&shown["id"], &shown["status"], &shown["key"]),
        (&json!(stream), &json!("started"), &json!(number(1)))
    );
    assert_eq!(
        (&shown["peers"], &shown["livepos"], &shown["ended_at"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let unknown = bench.get("/engines/a%2Fb|c");
    assert_eq!(
        (unknown.status, unknown.json()),
        (404, json!({ "detail": "Engine not found", "error": "not found" }))
    );
}

/// Guards: granting a lease is use of an engine, and is shown so.
#[test]
fn use_of_an_engine_is_shown() {
    let engine = Engine::start();
    let mut bench = Bench::start(options(&[engine.authority()]), 1);
    bench.shards[0].lease(common::stream(1));
    let used = bench.get("/engines").json()[0]["last_stream_usage"].clone();
    assert!(used.is_string(), "{used}");
}

/// Guards: no monitoring route waits for an engine that hangs, and the engine is told as unhealthy.
#[test]
fn engines_that_hang_keep_nobody_waiting() {
    let engine = Engine::start();
    let bench = Bench::start(options(&[engine.authority()]), 1);
    bench.wait_healthy(1);
    engine.set_mood(Mood::Hung);
    let asked = std::time::Instant::now();
    for path in ["/engines", "/orchestrator/status", "/health/status", "/metrics", "/engines/stats/all"] {
        assert_eq!(bench.get(path).status, 200, "{path}");
    }
    assert!(asked.elapsed() < common::PATIENCE / 4, "it took {:?}", asked.elapsed());
}

/// Guards: the aggregate for proxies in front, with an engine in use, with a free one, and with none that answers.
#[test]
fn status_tells_capacity_and_why_no_engine_is_made() {
    let engines = [Engine::start(), Engine::start()];
    let bench = Bench::start(options(&engines.each_ref().map(Engine::authority)), 1);
    bench.wait_healthy(2);
    let on_first = |n| playing(n, &engines[0].authority(), EngineStat::default());
    bench.publish(vec![on_first(1), on_first(2), session(3, SessionState::Starting, None)]);
    let status = bench.get("/orchestrator/status").json();
    assert_eq!(status["status"], "healthy");
    assert_eq!(status["engines"], json!({ "total": 2, "running": 2, "healthy": 2, "unhealthy": 0 }));
    assert_eq!(status["streams"], json!({ "active": 2, "total": 2 }));
    assert_eq!((&status["capacity"]["used"], &status["capacity"]["available"]), (&json!(1), &json!(1)));
    assert_eq!((&status["vpn"]["enabled"], &status["vpn"]["health"]), (&json!(false), &json!("unknown")));
    let provisioning = &status["provisioning"];
    assert_eq!(
        (&provisioning["can_provision"], &provisioning["circuit_breaker_state"]),
        (&json!(false), &json!("closed"))
    );
    let details = &provisioning["blocked_reason_details"];
    assert_eq!(
        (&details["code"], &details["recovery_eta_seconds"]),
        (&json!("docker_unavailable"), &Value::Null)
    );
    assert_eq!((&details["can_retry"], &details["should_wait"]), (&json!(false), &json!(false)));
    assert!(status["timestamp"].as_str().unwrap().ends_with('Z'));
    assert!(status["config"]["debug_mode"].is_boolean() && status["acexy"]["deprecated"] == true);
    let health = bench.get("/health/status").json();
    assert_eq!((&health["total_engines"], &health["healthy_engines"]), (&json!(2), &json!(2)));
    assert_eq!(health["circuit_breakers"]["general"]["failure_threshold"], 5);
    assert_eq!(health["circuit_breakers"]["replacement"]["recovery_timeout"], 180);

    let gone = Engine::start().authority();
    let bench = Bench::start(options(&[gone]), 1);
    eventually("nothing runs", || bench.get("/orchestrator/status").json()["status"] == "unavailable");
    assert_eq!(bench.get("/engines").json()[0]["health_status"], "unhealthy");
}

/// Guards: breakers are closed by name, and an unknown name is a fault.
#[test]
fn breakers_are_reset_by_name() {
    let bench = Bench::start(options(&[]), 1);
    for (query, status, text) in [
        ("", 200, "Circuit breaker all reset successfully"),
        ("?operation_type=general", 200, "Circuit breaker for general reset successfully"),
    ] {
        let answer = post(&bench, &format!("/health/circuit-breaker/reset{query}"));
        assert_eq!((answer.status, answer.json()), (status, json!({ "message": text })));
    }
    assert_eq!(post(&bench, "/health/circuit-breaker/reset?operation_type=x").status, 400);
}

/// Guards: every name that dashboards of earlier programs ask for, with its value; the twin beside a name that misleads;
/// sums over shards, and sums that stay when sessions end.
#[test]
fn dashboards_find_the_names_they_know() {
    let engine = Engine::start();
    let bench = Bench::start(options(&[engine.authority()]), 2);
    bench.wait_healthy(1);
    let stat = EngineStat {
        peers: 7,
        speed_down: 1536,
        speed_up: 512,
        downloaded: 3 << 20,
        uploaded: 1 << 20,
        ..EngineStat::default()
    };
    let sample = |name, value| Sample { name: Name { name, help: "-" }, label: None, value };
    let histogram = Histogram { buckets: vec![(10.0, 1), (f64::INFINITY, 2)], sum: 70.0, count: 2 };
    for shard in [0, 1] {
        let sessions =
            if shard == 0 { vec![playing(1, &engine.authority(), stat.clone())] } else { Vec::new() };
        bench.board.publish(snapshot::Shard {
            id: sluice_contract::ShardId(shard),
            driver: Some("epoll"),
            taken_at: SystemTime::now(),
            sessions: sessions.into_iter().map(Arc::new).collect(),
            replicas: Vec::new(),
            demand: 0,
            ended: Vec::new(),
            ended_sessions: Vec::new(),
            metrics: vec![
                sample(published::SESSIONS_STARTED, Metric::Counter(2)),
                sample(published::CLIENTS_STARTED, Metric::Counter(5)),
                sample(published::CLIENT_BYTES, Metric::Counter(1000)),
                sample(published::SESSION_SECONDS, Metric::Histogram(histogram.clone())),
            ],
        });
    }
    let text = bench.get("/metrics").text();
    for line in [
        "orch_total_uploaded_bytes 1048576.0",
        "orch_total_downloaded_bytes 3145728.0",
        "orch_uploaded_bytes_total 1048576",
        "orch_downloaded_bytes_total 3145728",
        "orch_total_uploaded_mb 1.0",
        "orch_total_downloaded_mb 3.0",
        "orch_total_upload_speed_mbps 0.5",
        "orch_total_download_speed_mbps 1.5",
        "orch_upload_bytes_per_second 524288.0",
        "orch_download_bytes_per_second 1572864.0",
        "orch_total_peers 7.0",
        "orch_total_streams 1.0",
        "orch_streams_active 1.0",
        "orch_healthy_engines 1.0",
        "orch_unhealthy_engines 0.0",
        "orch_used_engines 1.0",
        "orch_extra_engines 0.0",
        "orch_vpn1_engines 0.0",
        "orch_vpn2_engines 0.0",
        r#"orch_vpn_health{orch_vpn_health="disabled"} 1.0"#,
        r#"orch_vpn_health{orch_vpn_health="healthy"} 0.0"#,
        r#"orch_vpn1_health{orch_vpn1_health="disabled"} 1.0"#,
        r#"orch_vpn2_health{orch_vpn2_health="starting"} 0.0"#,
        "orch_events_started_total 1",
        "orch_events_ended_total 0",
        "orch_collect_errors_total 0",
        r#"orch_provision_total{kind="generic"} 0"#,
        r#"orch_provision_total{kind="acestream"} 0"#,
        "proxy_sessions_total 4",
        "proxy_clients_total 10",
        "proxy_bytes_streamed_total 2000",
        "proxy_sessions_active 0.0",
        "proxy_clients_active 0.0",
        r#"proxy_session_duration_seconds_bucket{le="10.0"} 2"#,
        r#"proxy_session_duration_seconds_bucket{le="+Inf"} 4"#,
        "proxy_session_duration_seconds_sum 140.0",
        "proxy_session_duration_seconds_count 4",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    bench.publish(Vec::new());
    let text = bench.get("/metrics").text();
    assert!(
        text.contains("\norch_total_downloaded_bytes 3145728.0\n")
            && text.contains("\norch_total_streams 0.0\n")
    );
}
