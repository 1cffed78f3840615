//! Traces of plays, as a collector gets them from the whole appliance.

use crate::common::{SOON, Setup};
use crate::stage::{checked, engine, plays};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Instant;

/// Starts a collector; answers where it is, and the spans it is sent.
fn collector() -> (SocketAddr, Receiver<Vec<Value>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("it is bound");
    let (sender, spans) = sync_channel(64);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Ok(taken) = take(stream)
                && sender.send(taken).is_err()
            {
                return;
            }
        }
    });
    (addr, spans)
}

fn take(mut stream: TcpStream) -> std::io::Result<Vec<Value>> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")?;
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok(request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().cloned().unwrap_or_default())
}

/// Guards: a cold play arrives at the collector as its five parts under one id, in the order of their times; the next player of
/// the stream waited for nothing but its own first byte.
#[test]
fn a_play_arrives_as_its_five_parts_under_one_id() {
    let (addr, sent) = collector();
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).env("OTLP_ENDPOINT", &format!("http://{addr}")).start();
    plays(&checked(&appliance, &engine, 0).start());
    let first = of_one_play(&sent, Vec::new());
    let names: Vec<&str> = first.iter().filter_map(|span| span["name"].as_str()).collect();
    assert_eq!(names, ["play", "lease", "select", "engine_start", "first_byte", "first_client_byte"]);
    let nanos = |span: &Value, at: &str| {
        span[at].as_str().and_then(|text| text.parse::<u128>().ok()).expect("a time")
    };
    let (begin, end) = ("startTimeUnixNano", "endTimeUnixNano");
    for span in &first {
        assert!(nanos(span, begin) <= nanos(span, end), "{span}");
        assert!(
            nanos(&first[0], begin) <= nanos(span, begin) && nanos(span, end) <= nanos(&first[0], end),
            "{span}"
        );
    }
    for (before, after) in [(1, 3), (3, 4), (4, 5)] {
        assert!(nanos(&first[before], end) <= nanos(&first[after], begin) + 1_000_000, "{first:#?}");
    }
    plays(&checked(&appliance, &engine, 0).start());
    let seen = vec![first[0]["traceId"].clone()];
    let second = of_one_play(&sent, seen);
    let names: Vec<&str> = second.iter().filter_map(|span| span["name"].as_str()).collect();
    assert_eq!(names, ["play", "first_client_byte"]);
}

/// Guards: with `LOG_FORMAT=json` each line of the log is one JSON object, of both processes.
#[test]
fn the_log_can_be_json() {
    let mut command = Setup::bare().env("LOG_FORMAT", "json").into_command();
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the binary starts");
    let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let (mut lines, mut is_listening) = (0, false);
    for line in stderr.lines().map_while(Result::ok) {
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
        lines += 1;
        is_listening |= line["fields"]["message"] == "listening" && line["fields"]["port"].is_u64();
        if is_listening {
            break;
        }
    }
    child.kill().and_then(|()| child.wait()).expect("it ends");
    assert!(is_listening, "{lines} lines and none says where it listens");
}

/// The spans of the next play that is none of these.
fn of_one_play(sent: &Receiver<Vec<Value>>, seen: Vec<Value>) -> Vec<Value> {
    let until = Instant::now() + SOON;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let spans = sent.recv_timeout(left).expect("the collector is sent something");
        let found = spans.iter().find(|span| !seen.contains(&span["traceId"])).cloned();
        if let Some(found) = found {
            return spans.into_iter().filter(|span| span["traceId"] == found["traceId"]).collect();
        }
    }
}
