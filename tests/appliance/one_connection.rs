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
