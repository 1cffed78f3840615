//! Traces of plays: a collector in this process is sent the spans of each, under one trace id, as long as it is wanted.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests are threads of their own: they connect, wait and lock"
)]

mod common;

use common::engine::Engine;
use common::{Bench, PATIENCE, number, options, stream};
use serde_json::{Value, json};
use sluice_contract::{ClientId, Lease, Play, ShardId, Start, ToControl};
use sluice_control::Options;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// A collector of traces: the requests it was sent, answered with this status.
struct Collector {
    addr: SocketAddr,
    requests: Receiver<(String, Value)>,
}

impl Collector {
    fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, requests) = sync_channel(64);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if let Ok(request) = take(socket, status)
                    && sender.send(request).is_err()
                {
                    return;
                }
            }
        });
        Self { addr, requests }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The spans of the next request.
    fn spans(&self) -> Vec<Value> {
        let (head, body) = self.requests.recv_timeout(PATIENCE).expect("the collector is sent something");
        assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
        assert!(head.to_ascii_lowercase().contains("content-type: application/json"), "{head}");
        body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("spans").clone()
    }
}

fn take(mut socket: TcpStream, status: &str) -> std::io::Result<(String, Value)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    socket.read_exact(&mut body)?;
    write!(socket, "HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}")?;
    Ok((head, serde_json::from_slice(&body).unwrap_or_default()))
}

/// A play that began with this lease just now.
fn play(client: u128, lease: &Lease) -> Play {
    let now = Instant::now();
    Play {
        shard: ShardId(0),
        client: ClientId(client),
        asked_as: format!("content_id={}", number(1)).into(),
        stream: Some(stream(1)),
        asked: now - Duration::from_millis(900),
        start: Some(Start {
            lease_asked: Some(now - Duration::from_millis(850)),
            lease_granted: Some(now - Duration::from_millis(800)),
            lease: Some(lease.id),
            engine_asked: Some(now - Duration::from_millis(790)),
            engine_answered: Some(now - Duration::from_millis(400)),
            first_media: Some(now - Duration::from_millis(100)),
            tries: 1,
        }),
        told: now,
        outcome: Ok(now),
    }
}

fn set(bench: &Bench, endpoint: &str) {
    let answer = bench.send("POST /settings/orchestrator", &json!({ "otlp_endpoint": endpoint }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["otlp_endpoint"], endpoint);
}

/// Guards: a play is told as one trace of the play, its lease, the choice of the engine within it, the engine's start, its
/// first byte and the player's; where traces go is changed while it runs, from nowhere to a collector and to nowhere again.
#[test]
fn a_play_is_one_trace_as_long_as_somebody_wants_it() {
    let (engine, collector) = (Engine::start(), Collector::start("200 OK"));
    let mut bench = Bench::start(options(&[engine.authority()]), 1);
    let lease = bench.shards[0].lease(stream(1));
    let told = |client| bench.shards[0].tell(ToControl::Played(Box::new(play(client, &lease))));
    told(1);
    // Messages are taken in order: whoever is answered after it comes after it.
    assert_eq!(bench.get("/version").status, 200);
    set(&bench, &collector.endpoint());
    told(2);
    let spans = collector.spans();
    let names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["play", "lease", "select", "engine_start", "first_byte", "first_client_byte"]);
    assert!(spans.iter().all(|span| span["traceId"] == format!("{:032x}", 2)), "{spans:#?}");
    assert_eq!(
        spans[2]["parentSpanId"], spans[1]["spanId"],
        "an engine is chosen while a lease is waited for"
    );
    let attribute = json!({ "key": "sluice.engine", "value": { "stringValue": engine.authority() } });
    assert!(spans[0]["attributes"].as_array().unwrap().contains(&attribute), "{}", spans[0]);
    set(&bench, "");
    told(3);
    assert_eq!(bench.get("/version").status, 200);
    set(&bench, &collector.endpoint());
    told(4);
    let spans = collector.spans();
    assert_eq!(spans[0]["traceId"], format!("{:032x}", 4), "what nobody wanted was sent");
    common::eventually("it is counted", || {
        bench.get("/metrics").text().contains("\nsluice_traces_sent_total 2\n")
    });
}

/// Guards: the usual variable of other programs names the collector too; one that refuses costs the traces and nothing else,
/// and what was lost is counted. An address that cannot work is refused, at the start and later.
#[test]
fn a_collector_that_refuses_costs_the_traces_alone() {
    let (engine, collector) = (Engine::start(), Collector::start("503 Service Unavailable"));
    let given = |text: &str| Options {
        environment: [("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), text.to_owned())].into(),
        ..options(&[engine.authority()])
    };
    let mut bench = Bench::start(given(&collector.endpoint()), 1);
    let lease = bench.shards[0].lease(stream(1));
    bench.shards[0].tell(ToControl::Played(Box::new(play(1, &lease))));
    assert_eq!(collector.spans().len(), 6);
    let lost = "\nsluice_traces_dropped_total{reason=\"not_taken\"} 1\n";
    common::eventually("it is counted", || bench.get("/metrics").text().contains(lost));
    let refused = bench.send("POST /settings/orchestrator", &json!({ "otlp_endpoint": "https://collector" }));
    assert_eq!((refused.status, refused.text().contains("http://")), (400, true), "{}", refused.text());
    assert_eq!(bench.get("/settings/orchestrator").json()["sources"]["otlp_endpoint"], "environment");
}
