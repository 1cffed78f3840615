//! REST and stream requests that share a connection travel between the planes without losing a byte.

use crate::common::{SOON, Setup};
use crate::stage::{Raw, engine};
use sluice_bench::channel::nth;
use sluice_bench::player::check::{Checker, Options, PACKET_LEN};
use sluice_bench::player::http::{Connection, encode};

/// Guards: one kept-alive connection may ask both planes in any order, each request waiting for its answer.
#[test]
fn requests_for_both_planes_alternate() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).start();
    let mut connection = Connection::open(appliance.addr()).unwrap();
    let id = nth(0).0;
    for _ in 0..3 {
        for (path, status) in [
            ("/proxy/status", 200),
            ("/ace/status", 200),
            ("/ace/unknown", 404),
            ("/metrics", 200),
            ("/health", 200),
            ("/unknown", 404),
            ("/proxy/health", 200),
            ("/ace/manifest.m3u8", 400),
        ] {
            let answer = connection.get(path).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(answer.status(), status, "{path}");
            assert!(!answer.body.is_empty(), "{path}");
        }
    }
    connection
        .send(&encode(appliance.addr(), "OPTIONS", &format!("/ace/getstream?id={id}"), &[], b""))
        .unwrap();
    assert_eq!(connection.receive_answer_to("OPTIONS").unwrap().status(), 204);
    connection.send(&encode(appliance.addr(), "HEAD", "/ace/status", &[], b"")).unwrap();
    assert_eq!(connection.receive_answer_to("HEAD").unwrap().status(), 200);
    // A body that the other plane has read to its end leaves the connection usable.
    connection.send(&encode(appliance.addr(), "POST", "/proxy/status", &[], b"{}")).unwrap();
    assert_eq!(connection.receive().unwrap().status(), 405);
    assert_eq!(connection.get("/ace/status").unwrap().json().unwrap()["streams"], 0);
}

/// Guards: requests sent ahead of their answers, in one segment or byte by byte, are answered in order, and a stream
/// at their end begins with its own head and plays from byte 0.
#[test]
fn pipelined_requests_end_in_a_stream() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).start();
    let reference = engine.control().broadcast(nth(0).0).unwrap();
    let ahead = ["/ace/status", "/proxy/status", "/health", "/proxy/sessions", "/version", "/ace/unknown"];
    let mut bytes: Vec<u8> =
        ahead.iter().flat_map(|path| encode(appliance.addr(), "GET", path, &[], b"")).collect();
    bytes.extend(encode(appliance.addr(), "GET", &format!("/ace/getstream?id={}", nth(0).0), &[], b""));
    for piece in [bytes.len(), 7] {
        let mut raw = Raw::open(appliance.addr());
        bytes.chunks(piece).for_each(|piece| raw.send(piece));
        let marker = b"Content-Type: video/mp2t\r\n";
        let begin = |received: &[u8]| received.windows(marker.len()).position(|window| window == marker);
        let wanted = 1000 * PACKET_LEN;
        raw.read_until("media", SOON, |received| {
            begin(received).is_some_and(|begin| received.len() - begin > wanted)
        });
        let begin = begin(&raw.received).unwrap();
        let before = String::from_utf8_lossy(&raw.received[..begin]);
        assert_eq!(before.matches("HTTP/1.1 ").count(), ahead.len() + 1, "{before}");
        assert!(before.contains(r#""streams":"#) && before.contains(r#""not_found""#), "{before}");
        let head_end = raw.received[begin..].windows(4).position(|end| end == b"\r\n\r\n").unwrap();
        let body = &raw.received[begin + head_end + 4..];
        let mut checker = Checker::new(Options { reference: Some(reference.clone()), ..Options::default() });
        checker.feed(body);
        assert_eq!(checker.report().faults_or_losses(), Vec::<String>::new(), "pieces of {piece}");
    }
}

/// Guards: whatever mix of requests shares a connection: a body that waits for `100 Continue` and is larger than any buffer, one in
/// chunks, requests sent ahead for both planes, and changes as they happen at the end of it all.
#[test]
fn any_mix_shares_a_connection() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).start();
    let started = |session: &str| {
        let key = nth(7).1.to_string();
        serde_json::json!({
            "container_id": "elsewhere",
            "engine": { "host": "127.0.0.1", "port": 9 },
            "stream": { "key_type": "infohash", "key": key },
            "session": { "playback_session_id": session, "stat_url": "http://127.0.0.1:9/stat", "command_url": "http://127.0.0.1:9/command", "is_live": 1 },
        })
        .to_string()
    };
    let head =
        |line: &str, fields: &str| format!("{line} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", appliance.addr());
    let json = "Content-Type: application/json\r\n";
    let mut raw = Raw::open(appliance.addr());

    // The media plane has the connection first, and control while the body is asked for.
    let large = " ".repeat(700_000) + &started("large");
    raw.send(head("GET /ace/status", "").as_bytes());
    let fields = format!("{json}Expect: 100-continue\r\nContent-Length: {}\r\n", large.len());
    raw.send(head("POST /events/stream_started", &fields).as_bytes());
    raw.read_until("the body is asked for", SOON, |received| {
        String::from_utf8_lossy(received).contains("HTTP/1.1 100 Continue\r\n\r\n")
    });
    raw.send(large.as_bytes());

    let chunked = started("chunked");
    let mut ahead = head("GET /ace/status", "") + &head("HEAD /proxy/status", "");
    ahead += &head("POST /events/stream_started", &format!("{json}Transfer-Encoding: chunked\r\n"));
    for piece in chunked.as_bytes().chunks(100) {
        ahead += &format!("{:x}\r\n{}\r\n", piece.len(), std::str::from_utf8(piece).unwrap());
    }
    ahead += "0\r\n\r\n";
    ahead += &head("GET /streams?status=started", "");
    ahead += &head("GET /ace/unknown", "");
    ahead += &head("GET /api/v1/events/stream", "Accept: text/event-stream\r\n");
    ahead.as_bytes().chunks(11).for_each(|piece| raw.send(piece));
    raw.read_until("changes are followed", SOON, |received| {
        String::from_utf8_lossy(received).contains("text/event-stream")
    });

    let answers = String::from_utf8_lossy(&raw.received).into_owned();
    let statuses: Vec<&str> =
        answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "100", "200", "200", "200", "200", "200", "404", "200"]);
    for session in ["large", "chunked"] {
        let id = format!("{}|{session}", nth(7).1);
        assert!(answers.matches(&id).count() >= 2, "{id} was not both taken in and listed");
    }

    let seen = raw.received.len();
    let player = appliance.player(nth(0).0).start();
    crate::stage::plays(&player);
    raw.read_until("a change is told", SOON, |received| {
        String::from_utf8_lossy(&received[seen..]).contains(&nth(0).1.to_string())
    });
}
