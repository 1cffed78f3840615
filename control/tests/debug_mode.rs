//! Debug mode: every kind of line it writes, the recipes of its page over them, and that it is switched while control runs.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests are threads of their own: they connect, wait and lock"
)]

mod common;

use common::docker::Docker;
use common::{Bench, eventually, number, session, stream};
use serde_json::{Value, json};
use sluice_contract::metric::{Histogram, Name, Sample, Value as Metric};
use sluice_contract::snapshot::{self, Session, SessionState};
use sluice_contract::{ClientId, Play, ShardId, Start, ToControl};
use sluice_control::Options;
use std::path::Path;
use std::process::Command;
use std::time::{Instant, SystemTime};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/DEBUG_MODE.md");

fn lines(directory: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(directory.join("sluice-debug.jsonl")).unwrap_or_default();
    // The last line may be on its way.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
}

/// The first line with these members.
fn find(directory: &Path, wanted: &Value) -> Option<Value> {
    let wanted = wanted.as_object().expect("an object");
    lines(directory).into_iter().find(|line| wanted.iter().all(|(name, value)| line[name] == *value))
}

fn wait_for(directory: &Path, wanted: &Value) -> Value {
    eventually(&format!("a line {wanted}"), || find(directory, wanted).is_some());
    find(directory, wanted).expect("it was there")
}

/// Recipes of the page: the kind each is for, and the command.
fn recipes() -> Vec<(String, String)> {
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let mut kind = String::new();
    let mut found = Vec::new();
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## `") {
            kind = heading.split('`').next().unwrap_or_default().to_owned();
        } else if line.starts_with("jq ") {
            found.push((kind.clone(), line.to_owned()));
        }
    }
    found
}

/// A shard that counts so many walks that took too long.
fn publish_overruns(bench: &Bench, count: u64) {
    let lengths =
        Histogram { buckets: vec![(0.25, 9), (f64::INFINITY, 9 + count)], sum: 1.0, count: 9 + count };
    bench.board.publish(snapshot::Shard {
        id: ShardId(0),
        driver: None,
        taken_at: SystemTime::now(),
        sessions: Vec::new(),
        replicas: Vec::new(),
        demand: 0,
        ended: Vec::new(),
        ended_sessions: Vec::new(),
        metrics: vec![Sample {
            name: Name { name: "sluice_tick_length_seconds", help: "" },
            label: None,
            value: Metric::Histogram(lengths),
        }],
    });
}

/// Guards: each kind of line says what its page says, and each recipe of the page shows it; what happens while debug mode
/// is off is not written.
#[test]
fn every_kind_is_written_and_every_recipe_shows_it() {
    let directory = tempfile::tempdir().unwrap();
    let logs = directory.path().join("debug_logs");
    let docker = Docker::start();
    docker.refuse(1);
    let options = Options {
        debug_dir: Some(logs.clone()),
        environment: [("DEBUG_MODE".to_owned(), "true".to_owned())].into(),
        ..docker.options((1, 1))
    };
    let mut bench = Bench::start(options, 1);

    // A start that fails, the next attempt, and the engine that comes of it.
    let provisioning = |event: &str| json!({ "kind": "provisioning", "event": event });
    let failed = wait_for(&logs, &provisioning("failed"));
    assert!(failed["text"].as_str().is_some_and(|text| text.contains("no space")), "{failed}");
    assert!(failed["retry_after_ms"].as_f64().is_some_and(|pause| pause > 0.0), "{failed}");
    let again = wait_for(&logs, &json!({ "kind": "provisioning", "event": "begun", "attempt": 2 }));
    let ready = wait_for(&logs, &provisioning("ready"));
    assert_eq!(ready["engine"], again["engine"]);
    let engine = &ready["id"];
    wait_for(&logs, &json!({ "kind": "health", "engine": engine, "after": "healthy" }));

    let lease = bench.shards[0].lease(stream(1));
    let chosen =
        wait_for(&logs, &json!({ "kind": "selection", "chosen": engine, "stream": stream(1).to_string() }));
    let candidate = &chosen["candidates"][0];
    assert_eq!((&candidate["engine"], &candidate["score"]), (engine, &json!(0)));
    assert_eq!((&candidate["obstacle"], &candidate["streams"]), (&Value::Null, &json!(0)));
    // The same broadcast has no second place on the only engine.
    let ticket = bench.shards[0].ask(stream(1), std::time::Duration::from_millis(300));
    assert!(bench.shards[0].answer(ticket).is_err());
    let refused = wait_for(&logs, &json!({ "kind": "selection", "chosen": null }));
    assert_eq!(refused["candidates"][0]["obstacle"], "same_broadcast", "{refused}");

    let now = Instant::now();
    let start = Start { lease: Some(lease.id), lease_asked: Some(now), ..Start::default() };
    let play = Play {
        shard: ShardId(0),
        client: ClientId(7),
        asked_as: format!("content_id={}", number(1)).into(),
        stream: Some(stream(1)),
        asked: now,
        start: Some(start),
        told: now,
        outcome: Err("start_timeout"),
    };
    bench.shards[0].tell(ToControl::Played(Box::new(play)));
    let told = wait_for(&logs, &json!({ "kind": "play", "fault": "start_timeout" }));
    assert_eq!((&told["trace"], &told["engine"]), (&json!(format!("{:032x}", 7)), engine));
    assert!(told["select_ms"].is_number() && told["slow"] == false, "{told}");

    let mut playing = session(1, SessionState::Playing, Some(&lease));
    let engine_of = playing.engine.take().expect("it has one");
    let with_id = snapshot::SessionEngine { playback_session_id: Some("p1".into()), ..engine_of };
    bench.publish(vec![Session { engine: Some(with_id), ..playing }]);
    wait_for(&logs, &json!({ "kind": "stream", "event": "started" }));
    bench.publish(Vec::new());
    let ended = wait_for(&logs, &json!({ "kind": "stream", "event": "ended" }));
    assert!(ended["reason"].is_string(), "{ended}");

    bench.get("/engines?limit=1");
    let request = wait_for(&logs, &json!({ "kind": "request", "path": "/engines" }));
    assert_eq!((&request["method"], &request["status"]), (&json!("GET"), &json!(200)));
    assert!(request["took_ms"].is_number() && request["slow"].is_boolean(), "{request}");

    let mut overruns = 0;
    eventually("a line of a bottleneck", || {
        overruns += 1;
        publish_overruns(&bench, overruns);
        find(&logs, &json!({ "kind": "bottleneck", "what": "tick_overrun", "shard": 0 })).is_some()
    });

    let set = |is_on: bool| {
        let answer = bench.send("POST /settings/orchestrator", &json!({ "debug_mode": is_on }));
        assert_eq!((answer.status, &answer.json()["debug_mode"]), (200, &json!(is_on)), "{}", answer.text());
    };
    set(false);
    bench.get("/while-off");
    set(true);
    bench.get("/while-on");
    wait_for(&logs, &json!({ "kind": "request", "path": "/while-on" }));
    assert!(find(&logs, &json!({ "path": "/while-off" })).is_none(), "it was not switched off");

    let recipes = recipes();
    let kinds: Vec<&str> = recipes.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["request", "play", "selection", "provisioning", "health", "stream", "bottleneck"]);
    for (kind, recipe) in &recipes {
        let shown = Command::new("sh").args(["-c", recipe]).current_dir(&logs).output().expect("a shell");
        let said = String::from_utf8_lossy(&shown.stdout);
        assert!(shown.status.success(), "{kind}: {}", String::from_utf8_lossy(&shown.stderr));
        assert!(!said.trim().is_empty(), "the recipe for {kind} shows nothing");
    }
    let written = bench.get("/metrics").text();
    assert!(written.contains("\nsluice_debug_lines_dropped_total{reason=\"not_written\"} 0\n"), "{written}");
}

/// Guards: a directory that cannot be written costs the lines, which are counted, and nothing else.
#[test]
fn a_disk_that_fails_costs_the_lines_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("no-directory");
    std::fs::write(&file, "").unwrap();
    let options = Options {
        debug_dir: Some(file.join("below")),
        environment: [("DEBUG_MODE".to_owned(), "true".to_owned())].into(),
        ..common::options(&[])
    };
    let bench = Bench::start(options, 1);
    let lost = || {
        let text = bench.get("/metrics").text();
        let line = text
            .lines()
            .find(|line| line.starts_with("sluice_debug_lines_dropped_total{reason=\"not_written\"}"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default()
    };
    eventually("lost lines are counted", || lost() >= 1.0);
}
