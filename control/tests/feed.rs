//! The live feed of changes over a real connection.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests are threads of their own: they connect, wait and lock"
)]

mod common;

use common::{Bench, PATIENCE, options};
use serde_json::{Value, json};
use sluice_control::{ApiKey, Options};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::time::Instant;

/// Somebody who follows.
struct Follower(BufReader<TcpStream>);

/// One event as it came.
#[derive(Debug, Default, PartialEq)]
struct Event {
    kind: String,
    id: String,
    data: Value,
}

impl Follower {
    fn new(bench: &Bench, last: Option<&str>) -> Self {
        Self::of(bench, "", last)
    }

    fn of(bench: &Bench, query: &str, last: Option<&str>) -> Self {
        let last = last.map(|last| format!("last-event-id: {last}\r\n")).unwrap_or_default();
        let request = format!("GET /api/v1/events/stream{query} HTTP/1.1\r\nhost: sluice\r\n{last}\r\n");
        let mut follower = Self(BufReader::new(bench.hand_over(request.as_bytes())));
        let head: Vec<String> =
            std::iter::from_fn(|| Some(follower.line()).filter(|line| !line.is_empty())).collect();
        assert!(head[0].contains("200"), "{head:?}");
        assert!(
            head.iter().any(|line| line.eq_ignore_ascii_case("content-type: text/event-stream")),
            "{head:?}"
        );
        follower
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// The next event; sizes of chunks, comments and empty lines are passed over.
    fn next(&mut self) -> Event {
        let deadline = Instant::now() + PATIENCE;
        let mut event = Event::default();
        while Instant::now() < deadline {
            let line = self.line();
            match line.split_once(": ") {
                Some(("event", kind)) => event.kind = kind.to_owned(),
                Some(("id", id)) => event.id = id.to_owned(),
                Some(("data", data)) => event.data = serde_json::from_str(data).expect("JSON"),
                _ if !event.kind.is_empty() && !event.data.is_null() && line.is_empty() => return event,
                _ => {}
            }
        }
        panic!("no event came, only {event:?}");
    }
}

fn start_stream(bench: &Bench, id: &str) {
    let report = json!({
        "engine": { "host": "e", "port": 1 },
        "stream": { "key_type": "content_id", "key": "k" },
        "session": { "playback_session_id": "p", "stat_url": "http://127.0.0.1:1/", "command_url": "http://127.0.0.1:1/",
            "is_live": true },
        "labels": { "stream_id": id },
    });
    assert_eq!(bench.send("POST /events/stream_started", &report).status, 200);
}

/// Guards: changes come as typed events with ids while they happen; one that comes back with the last id it saw misses
/// nothing, and one with an id of elsewhere is told that nobody knows what it missed. Control that stops ends the feed.
#[test]
fn changes_are_followed() {
    let mut bench = Bench::start(options(&[]), 1);
    let mut follower = Follower::new(&bench, None);
    assert_eq!(follower.next().kind, "ready");
    start_stream(&bench, "a");
    let stream = follower.next();
    assert_eq!(
        (&*stream.kind, &stream.data["id"], &stream.data["status"]),
        ("stream", &json!("a"), &json!("started"))
    );
    let event = follower.next();
    assert_eq!((&*event.kind, &event.data["category"]), ("event", &json!("started")));
    drop(follower);

    start_stream(&bench, "b");
    let mut back = Follower::new(&bench, Some(&stream.id));
    let ready = back.next();
    assert_eq!((&*ready.kind, &*ready.id), ("ready", &*stream.id));
    assert_eq!(back.next(), event);
    assert_eq!(back.next().data["id"], "b");

    for elsewhere in ["1-7", "nonsense"] {
        let mut lost = Follower::new(&bench, Some(elsewhere));
        assert_eq!(lost.next().kind, "ready");
        let missed = lost.next();
        assert_eq!((&*missed.kind, &missed.data), ("missed", &json!({ "count": null })));
    }
    let begun = Instant::now();
    drop(bench.stop());
    assert!(begun.elapsed() < PATIENCE, "whoever follows must not hold the stop up");
}

/// Guards: whoever asks for figures is told them whole once and then what is new, beside the changes; others get none.
#[test]
fn figures_come_with_the_changes() {
    let bench = Bench::start(options(&[]), 1);
    let mut follower = Follower::of(&bench, "?figures=1", None);
    assert_eq!(follower.next().kind, "ready");
    let mut next = || {
        let event = follower.next();
        assert!(["look", "stream", "event"].contains(&event.kind.as_str()), "{event:?}");
        event
    };
    let first = std::iter::repeat_with(&mut next).find(|event| event.kind == "look").unwrap();
    assert!(first.id.is_empty(), "where to go on is told by changes alone");
    assert_eq!(first.data["is_whole"], true);
    let count = |look: &Event| look.data["figures"]["set"].as_array().unwrap().len();
    start_stream(&bench, "one");
    let (mut changes, mut looks) = (0, Vec::new());
    while looks.len() < 2 || changes < 2 {
        let event = next();
        if event.kind == "look" { looks.push(event) } else { changes += 1 }
    }
    assert!(looks.iter().all(|look| look.data["is_whole"] == false && count(look) < count(&first)));
    let answer = bench.get("/api/v1/events/stream?figures=0");
    assert_eq!(answer.status, 422);
}

/// What came of a request: the status and the type of the answer, whose body may never end.
fn answered(bench: &Bench, request: &str) -> (String, String) {
    let mut reader = BufReader::new(bench.hand_over(request.as_bytes()));
    let (mut status, mut kind) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(version) = line.strip_prefix("http/1.1 ") {
            status = version.chars().take(3).collect();
        } else if let Some(of) = line.strip_prefix("content-type: ") {
            kind = of.split(';').next().unwrap_or_default().to_owned();
        } else if line.is_empty() {
            return (status, kind);
        }
    }
}

/// Guards what no generator of requests can try, because the feed does not end: whatever is asked, the status is one that is
/// described, with the type that is described for it, and none is a fault of ours.
#[test]
fn every_answer_of_the_feed_is_described() {
    let key = "a-key-of-the-tests";
    let closed = Options { api_key: ApiKey::Given(key.to_owned()), reads_need_key: true, ..options(&[]) };
    let bench = Bench::start(closed, 1);
    let keyed = format!("x-api-key: {key}\r\n");
    let document = Bench::start(options(&[]), 1).get("/openapi.json").json();
    let described = &document["paths"]["/events/stream"]["get"]["responses"];
    let mut seen = std::collections::BTreeSet::new();
    let queries = [
        "",
        "?figures=1",
        "?figures=60",
        "?figures=0",
        "?figures=61",
        "?figures=-1",
        "?figures=",
        "?figures=x",
        "?figures=1&figures=x",
        "?figures=99999999999999999999",
        "?figures=1.5",
        "?figures=%ff%00",
        "?other=%2F|",
    ];
    let lasts = [
        "",
        "last-event-id: 1\r\n",
        "last-event-id: 1-2\r\n",
        "last-event-id: -1\r\n",
        "last-event-id: 99999999999999999999-1\r\n",
        "last-event-id: \u{e9}\r\n",
        "last-event-id:\r\n",
    ];
    let keys = [keyed.as_str(), "", "x-api-key: wrong\r\n"];
    for query in queries {
        for last in lasts {
            for key in keys.iter().take(if last.is_empty() { 3 } else { 1 }) {
                let request = format!(
                    "GET /events/stream{query} HTTP/1.1\r\nhost: sluice\r\nconnection: close\r\n{last}{key}\r\n"
                );
                let (status, kind) = answered(&bench, &request);
                let types = &described[&status]["content"];
                assert!(!types[&kind].is_null(), "{query} {last:?} {key:?}: {status} {kind} of {described}");
                seen.insert(status);
            }
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["200", "401", "403", "422"]);
    let others: Vec<_> = (0..256)
        .map(|_| bench.hand_over(format!("GET /events/stream HTTP/1.1\r\nhost: a\r\n{keyed}\r\n").as_bytes()))
        .collect();
    common::eventually("there is no room for another one", || {
        answered(&bench, &format!("GET /events/stream HTTP/1.1\r\nhost: a\r\n{keyed}\r\n"))
            == ("503".to_owned(), "application/json".to_owned())
    });
    drop(others);
}
