//! Streams over REST: those other proxies report, our own sessions, their figures, and what ends them.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests are threads of their own: they connect, wait and lock"
)]

mod common;

use common::engine::Engine;
use common::{Bench, PATIENCE, eventually, number, options, session, stream};
use serde_json::{Value, json};
use sluice_contract::snapshot::{EndedSession, Session, SessionEngine, SessionState, Shard};
use sluice_contract::{Alias, EndReason, EngineId, RefusalCode, Selector, ShardId, ToShard};
use sluice_control::{LoopDetection, Options};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn start(engines: &[String]) -> Bench {
    Bench::start(options(engines), 1)
}

/// A report as acexy sends it: with the id of its own container.
fn report(engine: &Engine, id: &str) -> Value {
    let address = engine.address();
    json!({
        "container_id": "acexy",
        "engine": { "host": address.ip().to_string(), "port": address.port() },
        "stream": { "key_type": "infohash", "key": number(7).to_string() },
        "session": {
            "playback_session_id": "9c0e",
            "stat_url": format!("http://{address}/ace/stat/{id}"),
            "command_url": format!("http://{address}/ace/cmd/{id}"),
            "is_live": 1,
        },
        "labels": { "stream_id": id },
    })
}

fn ids(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list");
    list.iter().map(|stream| stream["id"].as_str().expect("an id").to_owned()).collect()
}

/// A session that plays under the playback id `p<n>`.
fn playing(n: u8) -> Session {
    let engine = SessionEngine {
        id: EngineId("engine-1:6878".into()),
        authority: "engine-1:6878".into(),
        playback_session_id: Some(format!("p{n}").into()),
        stat_url: Some("http://engine-1:6878/ace/stat/1".into()),
        command_url: Some(format!("http://engine-1:6878/ace/cmd/{n}").into()),
        is_live: 1,
        is_encrypted: false,
    };
    Session { engine: Some(engine), ..session(n, SessionState::Playing, None) }
}

fn own_id(n: u8) -> String {
    format!("{}|p{n}", number(n))
}

/// Guards: a report of acexy is taken with the engine found by host and port, listed at once, logged, and ended once by
/// its id; the documented shapes of all of it.
#[test]
fn another_proxy_reports_its_streams() {
    let engine = Engine::start();
    let bench = start(&[engine.authority()]);
    let answer = bench.send("POST /events/stream_started", &report(&engine, "ch-42"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let stream = answer.json();
    assert_eq!(stream["container_id"], engine.authority(), "not acexy's own id");
    for (field, expected) in [
        ("id", json!("ch-42")),
        ("key_type", json!("infohash")),
        ("key", json!(number(7).to_string())),
        ("playback_session_id", json!("9c0e")),
        ("is_live", json!(true)),
        ("status", json!("started")),
        ("ended_at", Value::Null),
        ("peers", Value::Null),
        ("livepos", Value::Null),
    ] {
        assert_eq!(stream[field], expected, "{field}");
    }
    assert!(stream["started_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{stream}");
    // Repeated, it is the same stream.
    bench.send("POST /events/stream_started", &report(&engine, "ch-42"));
    assert_eq!(ids(&bench.get("/api/v1/streams?status=started").json()), ["ch-42"]);
    let shown = bench.get("/engines").json();
    assert_eq!(shown[0]["streams"], json!(["ch-42"]));

    let end = json!({ "container_id": "acexy", "stream_id": "ch-42", "reason": "normal" });
    let ended = bench.send("POST /events/stream_ended", &end).json();
    assert_eq!((&ended["updated"], &ended["stream"]["status"]), (&json!(true), &json!("ended")));
    let again = bench.send("POST /events/stream_ended", &end).json();
    assert_eq!(again["updated"], false);
    assert_eq!(again["stream"]["ended_at"], ended["stream"]["ended_at"], "the end does not move");
    assert_eq!(ids(&bench.get("/streams?status=started").json()), [] as [&str; 0]);
    assert_eq!(bench.get("/engines").json()[0]["streams"], json!([]));

    let log = bench.get("/events?event_type=stream&stream_id=ch-42").json();
    let told: Vec<&str> =
        log.as_array().unwrap().iter().map(|entry| entry["category"].as_str().unwrap()).collect();
    assert_eq!(told, ["ended", "started", "started"]);
    assert_eq!(log[0]["details"]["reason"], "normal");
    assert!(log[0]["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
    let counts = bench.get("/events/stats").json();
    assert_eq!(counts["by_type"]["stream"], 3);
    assert_eq!(counts["newest"], log[0]["timestamp"]);
}

/// Guards: an end that names nothing, something unknown or one of our own sessions ends nobody's stream; one that names only
/// its reporter ends that one's newest.
#[test]
fn nobody_ends_somebody_elses_stream() {
    let engine = Engine::start();
    let bench = start(&[engine.authority()]);
    bench.publish(vec![playing(1)]);
    for id in ["a", "b"] {
        bench.send("POST /events/stream_started", &report(&engine, id));
    }
    for harmless in [
        json!({}),
        json!({ "stream_id": "unknown" }),
        json!({ "stream_id": "unknown", "container_id": "acexy" }),
        json!({ "container_id": engine.authority() }),
        json!({ "stream_id": own_id(1) }),
        json!({ "container_id": "engine-1:6878" }),
    ] {
        let answer = bench.send("POST /events/stream_ended", &harmless);
        assert_eq!((answer.status, &answer.json()["updated"]), (200, &json!(false)), "{harmless}");
    }
    assert_eq!(ids(&bench.get("/streams?status=started").json()), [own_id(1), "a".into(), "b".into()]);
    let ended = bench.send("POST /events/stream_ended", &json!({ "container_id": "acexy" })).json();
    assert_eq!((&ended["updated"], &ended["stream"]["id"]), (&json!(true), &json!("b")));
}

/// Guards: what is wrong with a report is told as a list, all of it at once, and nothing of it is taken.
#[test]
fn a_report_is_checked_as_a_whole() {
    let engine = Engine::start();
    let bench = start(&[engine.authority()]);
    let mut wrong = report(&engine, "a");
    wrong["engine"] = json!({ "port": "x" });
    wrong["stream"]["key_type"] = json!("name");
    wrong["session"]["stat_url"] = json!("ftp://e/");
    wrong["labels"] = json!({ "n": 1 });
    let answer = bench.send("POST /events/stream_started", &wrong);
    assert_eq!(answer.status, 422);
    let detail = answer.json()["detail"].clone();
    let mut found: Vec<(String, Value)> = detail
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| (fault["type"].as_str().unwrap().to_owned(), fault["loc"].clone()))
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [
        ("int_parsing", json!(["body", "engine", "port"])),
        ("literal_error", json!(["body", "stream", "key_type"])),
        ("missing", json!(["body", "engine", "host"])),
        ("string_type", json!(["body", "labels"])),
        ("url_scheme", json!(["body", "session", "stat_url"])),
    ];
    assert_eq!(found, expected.map(|(kind, loc)| (kind.to_owned(), loc)), "{detail}");
    assert_eq!(bench.get("/streams").json(), json!([]));
    for (target, kind) in [
        ("/streams?status=playing", "string_pattern_mismatch"),
        ("/streams/a/stats?since=yesterday", "datetime_from_date_parsing"),
        ("/events?limit=5000", "less_than_equal"),
        ("/events?offset=-1", "greater_than_equal"),
    ] {
        let answer = bench.get(target);
        assert_eq!((answer.status, &answer.json()["detail"][0]["type"]), (422, &json!(kind)), "{target}");
    }
    assert_eq!(bench.get("/events?event_type=nonsense").json(), json!([]));
}

/// Guards: figures of a reported stream are asked for, whatever their type, and shown in listing, history and position; an
/// engine that does not know the playback any more ends it, one that fails does not.
#[test]
fn figures_of_reported_streams_are_collected() {
    let engine = Engine::start();
    engine.answer(
        "/ace/stat/a",
        r#"{"response":{"status":"dl","peers":7,"speed_down":"512","downloaded":1048576.4,
            "livepos":{"pos":1767629806,"live_first":"1767628008","live_last":1767629808}},"error":null}"#,
    );
    engine.answer("/ace/stat/b", r#"{"response":null,"error":"unknown playback session id"}"#);
    let quick = Options { collect_interval: Duration::from_millis(50), ..options(&[engine.authority()]) };
    let bench = Bench::start(quick, 1);
    for id in ["a", "b"] {
        bench.send("POST /events/stream_started", &report(&engine, id));
    }
    eventually("there is a history", || {
        bench.get("/streams/a/stats").json().as_array().is_some_and(|samples| samples.len() >= 3)
    });
    // Sums of what plays have those of other proxies in them.
    let metrics = bench.get("/metrics").text();
    for line in [
        "orch_total_streams 2.0",
        "orch_total_peers 7.0",
        "orch_total_download_speed_mbps 0.5",
        "orch_total_downloaded_bytes 1048576.0",
        "orch_used_engines 1.0",
        "orch_events_started_total 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in {metrics}");
    }
    let sample = bench.get("/streams/a/stats").json()[0].clone();
    assert_eq!((&sample["peers"], &sample["speed_down"]), (&json!(7), &json!(512)));
    assert_eq!(sample["livepos"]["live_last"], "1767629808");
    let shown = bench.get("/streams").json()[0].clone();
    assert_eq!((&shown["downloaded"], &shown["livepos"]["pos"]), (&json!(1_048_576), &json!("1767629806")));
    let position = bench.get("/streams/a/livepos").json();
    assert_eq!((&position["has_livepos"], &position["is_live"]), (&json!(true), &json!(true)));
    assert_eq!(bench.get("/streams/a/stats?since=2099-01-01").json(), json!([]));
    assert_eq!(bench.get("/streams/nobody/stats").json(), json!([]));
    // Five answers are there long before ten seconds are over: the doubt alone ends nothing.
    assert_eq!(bench.get("/streams").json()[1]["status"], "started");
    assert_eq!(bench.get("/streams/b/stats").json(), json!([]));
}

/// Guards: what the engine knows of the content, without what is null, and the answers when it cannot be asked.
#[test]
fn the_engine_is_asked_about_the_content() {
    let engine = Engine::start();
    engine.answer("/server/api", r#"{"result":{"title":"News","mime":null,"is_live":1}}"#);
    let bench = start(&[engine.authority()]);
    bench.send("POST /events/stream_started", &report(&engine, "a"));
    assert_eq!(bench.get("/streams/a/extended-stats").json(), json!({ "title": "News", "is_live": 1 }));
    let asked =
        engine.requests().into_iter().find(|head| head.contains("analyze_content")).expect("it was asked");
    assert!(asked.contains(&format!("infohash={}", number(7))), "{asked}");
    assert_eq!(bench.get("/streams/nobody/extended-stats").status, 404);
    assert_eq!(bench.get("/streams/nobody/livepos").status, 404);
    engine.answer("/server/api", r#"{"error":"no"}"#);
    let answer = bench.get("/streams/a/extended-stats");
    let told = json!({ "detail": "Unable to fetch extended stats from AceStream engine" });
    assert_eq!((answer.status, answer.json()), (503, told));
}

/// Guards: a session is a stream like any other from its start to its end, with its reason, and the next control knows it.
#[test]
fn our_own_sessions_are_streams() {
    let mut bench = start(&["127.0.0.1:1".to_owned()]);
    bench.publish(vec![playing(1), playing(2)]);
    assert_eq!(ids(&bench.get("/streams").json()), [own_id(1), own_id(2)]);
    let shown = bench.get("/streams?container_id=engine-1:6878&status=started").json();
    assert_eq!(
        (&shown[0]["key"], &shown[0]["key_type"]),
        (&json!(number(1).to_string()), &json!("content_id"))
    );
    assert_eq!(shown[0]["command_url"], "http://engine-1:6878/ace/cmd/1");

    let Session { key, asked_as, infohash, engine, created_at, started_at, stat, stat_at, .. } = playing(2);
    let (reason, at) = (EndReason::EmptyTimeout, UNIX_EPOCH + Duration::from_secs(1_769_941_200));
    let number = 1;
    bench.board.publish(Shard {
        id: ShardId(0),
        driver: None,
        taken_at: SystemTime::now(),
        sessions: vec![Arc::new(playing(1))],
        replicas: Vec::new(),
        demand: 0,
        ended: Vec::new(),
        ended_sessions: vec![Arc::new(EndedSession {
            number,
            key,
            asked_as,
            infohash,
            engine,
            created_at,
            started_at,
            stat,
            stat_at,
            reason,
            at,
        })],
        metrics: Vec::new(),
    });
    let ended = bench.get("/streams?status=ended").json();
    assert_eq!(ids(&ended), [own_id(2)]);
    assert_eq!(
        (&ended[0]["ended_at"], &ended[0]["end_reason"]),
        (&json!("2026-02-01T10:20:00.000000Z"), &json!("empty_timeout"))
    );
    assert_eq!(bench.get("/events?category=ended").json()[0]["details"]["reason"], "empty_timeout");
    drop(bench.stop());
}

/// Guards: stopping a stream of ours tells its shard, stopping a reported one its engine; both end at once, and a second
/// stop is told so.
#[test]
fn streams_are_stopped() {
    let engine = Engine::start();
    engine.answer("/ace/cmd/", r#"{"response":"ok","error":null}"#);
    let mut bench = start(&[engine.authority()]);
    bench.publish(vec![playing(1)]);
    bench.send("POST /events/stream_started", &report(&engine, "a"));
    let own = own_id(1).replace('|', "%7C");
    let answer = bench.send(&format!("DELETE /streams/{own}"), &Value::Null);
    let told = json!({ "message": "Stream stopped successfully", "stream_id": own_id(1) });
    assert_eq!((answer.status, answer.json()), (200, told));
    match bench.shards[0].next() {
        ToShard::Stop { key, reason } => assert_eq!((key, reason), (playing(1).key, EndReason::Stopped)),
        other => panic!("expected a stop, got {other:?}"),
    }
    assert_eq!(bench.send("DELETE /streams/a", &Value::Null).status, 200);
    assert!(engine.requests().iter().any(|head| head.starts_with("GET /ace/cmd/a?method=stop ")));
    let again = bench.send("DELETE /streams/a", &Value::Null);
    assert_eq!(
        (again.status, again.json()),
        (400, json!({ "detail": "Stream is not active (status: ended)" }))
    );
    assert_eq!(bench.send("DELETE /streams/nobody", &Value::Null).status, 404);
    assert_eq!(bench.get("/streams").json()[1]["end_reason"], "manual_stop_via_api");

    let command = format!("http://{}/ace/cmd/b", engine.address());
    bench.send("POST /events/stream_started", &report(&engine, "b"));
    let stopped = bench.send("POST /streams/batch-stop", &json!([command, "http://nobody/"])).json();
    assert_eq!(
        (&stopped["total"], &stopped["success_count"], &stopped["failure_count"]),
        (&json!(2), &json!(1), &json!(1))
    );
    assert_eq!(
        (&stopped["results"][0]["stream_id"], &stopped["results"][1]["stream_id"]),
        (&json!("b"), &Value::Null)
    );
    assert_eq!(bench.send("POST /streams/batch-stop", &json!({})).json()["detail"][0]["type"], "list_type");
}

/// Guards: streams, their statistics, the log and the list of looping streams survive a restart; what another process played
/// has ended, and figures of the time before are found again.
#[test]
fn everything_is_found_again_after_a_restart() {
    let engine = Engine::start();
    engine.answer("/ace/stat/", r#"{"response":{"peers":7,"downloaded":5},"error":null}"#);
    let directory = tempfile::tempdir().unwrap();
    let kept = || Options {
        data_dir: Some(directory.path().to_owned()),
        collect_interval: Duration::from_millis(50),
        ..options(&[engine.authority()])
    };
    let mut first = Bench::start(kept(), 1);
    first.publish(vec![playing(1)]);
    for id in ["a", "b"] {
        first.send("POST /events/stream_started", &report(&engine, id));
    }
    eventually("there are figures", || first.get("/streams").json()[2]["peers"] == 7);
    first.send("POST /events/stream_ended", &json!({ "stream_id": "b", "reason": "normal" }));
    let logged = first.get("/events").json();
    drop(first.stop());

    let second = Bench::start(kept(), 1);
    let found = second.get("/streams").json();
    assert_eq!(ids(&found), [own_id(1), "a".to_owned(), "b".to_owned()]);
    assert_eq!(
        (&found[0]["status"], &found[0]["end_reason"]),
        (&json!("ended"), &json!("appliance_restarted"))
    );
    assert_eq!((&found[1]["status"], &found[2]["end_reason"]), (&json!("started"), &json!("normal")));
    assert_eq!(found[2]["downloaded"], 5);
    let stats = second.get("/streams/b/stats").json();
    assert_eq!((stats.as_array().map(Vec::len), &stats[0]["peers"]), (Some(1), &json!(7)), "{stats}");
    let log = second.get("/events").json();
    let newest_before = logged[0]["id"].as_i64().unwrap();
    assert!(log.as_array().unwrap().iter().any(|entry| entry["id"] == newest_before), "the log goes on");
    assert!(log[0]["id"].as_i64().unwrap() > newest_before, "ids go on");
}

/// Guards: a live stream whose edge stands still is ended and put on the list, plays of it are refused under both names, and
/// it may be played again once it is taken off; all of it survives a restart.
#[test]
fn a_stream_that_loops_is_blocked() {
    let engine = Engine::start();
    engine.answer("/ace/stat/", r#"{"response":{"livepos":{"last":"1700000000"}},"error":null}"#);
    engine.answer("/ace/cmd/", r#"{"response":"ok"}"#);
    let directory = tempfile::tempdir().unwrap();
    let kept = || Options {
        data_dir: Some(directory.path().to_owned()),
        collect_interval: Duration::from_millis(50),
        loop_detection: LoopDetection {
            check_interval: Duration::from_millis(100),
            ..LoopDetection::default()
        },
        ..options(&[engine.authority()])
    };
    let mut first = Bench::start(kept(), 1);
    first.send("POST /events/stream_started", &report(&engine, "a"));
    // What is changed while it runs holds at once.
    let path = "/stream-loop-detection/config?enabled=true&threshold_seconds=3600";
    assert_eq!(first.send(&format!("POST {path}"), &Value::Null).status, 200);
    let blocked = |bench: &Bench| {
        let alias = Alias { selector: Selector::Infohash(number(7)), options: Default::default() };
        let key = bench.directory.find(&alias).expect("an infohash is its own name");
        bench.directory.is_blocked(number(7), &key)
    };
    eventually("it is found", || blocked(&first));
    eventually("it has ended", || first.get("/streams").json()[0]["status"] == "ended");
    assert_eq!(first.get("/streams").json()[0]["end_reason"], "loop_detection_threshold_exceeded_3600s");
    let details = first.get("/events?category=ended").json()[0]["details"].clone();
    assert_eq!((&details["threshold_seconds"], &details["evidence"]), (&json!(3600), &json!("lag")));
    eventually("the engine is told", || {
        engine.requests().iter().any(|head| head.contains("/ace/cmd/a?method=stop"))
    });
    drop(first.stop());

    let second = Bench::start(kept(), 1);
    assert!(blocked(&second), "the list survives");
    let list = second.get("/looping-streams").json();
    let id = number(7).to_string();
    assert_eq!((&list["stream_ids"], &list["retention_minutes"]), (&json!([id]), &json!(0)));
    assert!(list["streams"][&id].as_str().is_some_and(|time| time.ends_with('Z')), "{list}");
    let answer = second.send(&format!("DELETE /looping-streams/{}", id.to_uppercase()), &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(!blocked(&second));
    assert_eq!(second.send(&format!("DELETE /looping-streams/{id}"), &Value::Null).status, 404);
    assert_eq!(second.send("POST /looping-streams/clear", &Value::Null).status, 200);
}

/// Guards: a session of ours whose media has all come before is stopped and blocked like any stream that loops, whatever its engine says;
/// nobody is given an engine for it any more. One with a short repetition, and one that is silent since, are left alone.
#[test]
fn media_that_comes_again_is_blocked() {
    let engine = Engine::start();
    let looking = LoopDetection {
        is_enabled: true,
        threshold: Duration::from_secs(600),
        check_interval: Duration::from_millis(100),
        ..LoopDetection::default()
    };
    let with = Options { loop_detection: looking, ..options(&[engine.authority()]) };
    let mut bench = Bench::start(with, 1);
    let lease = bench.shards[0].lease(stream(1));
    let now = SystemTime::now();
    let ago = |seconds: u64| Some(now - Duration::from_secs(seconds));
    let show = |media_at: Option<SystemTime>| {
        let repeating = |n: u8, since: Option<SystemTime>, until: Option<SystemTime>| {
            let mut session = session(n, SessionState::Playing, Some(&lease));
            let engine = session.engine.as_mut().expect("it has one");
            engine.playback_session_id = Some(format!("playback-{n}").into());
            (session.repeats_since, session.last_media_at) = (since, until);
            session
        };
        bench.publish(vec![
            repeating(1, ago(900), media_at),
            repeating(2, ago(500), media_at),
            repeating(3, ago(900), ago(400)),
        ]);
    };
    let blocked = |n: u8| bench.directory.is_blocked(number(n), &stream(n));
    let mut later = 0;
    eventually("it is found once newer media confirms it", || {
        later += 1;
        show(Some(now + Duration::from_millis(later)));
        blocked(1)
    });
    assert_eq!((blocked(2), blocked(3)), (false, false));
    let ended = bench.get("/events?category=ended").json()[0]["details"].clone();
    assert_eq!((&ended["evidence"], &ended["threshold_seconds"]), (&json!("repeated"), &json!(600)));
    let shard = &mut bench.shards[0];
    let (asked, mut is_stopped) = (shard.ask(stream(1), PATIENCE), false);
    let refusal = loop {
        match shard.next() {
            ToShard::Stop { key, reason: EndReason::Looping } => is_stopped |= key == stream(1),
            ToShard::Lease { ticket, answer } if ticket == asked => break answer.expect_err("it loops"),
            _ => {}
        }
    };
    assert_eq!((refusal.code, is_stopped), (RefusalCode::LoopingStream, true));
}

/// Guards: the threshold and the pace of the search for loops hold from when they are changed: what lags behind by less than the threshold
/// plays on until that is lowered, and a search that was to look in an hour looks in a few seconds.
#[test]
fn the_search_for_loops_is_changed_while_it_runs() {
    let engine = Engine::start();
    let edge = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 1800;
    let figures = json!({ "response": { "livepos": { "last": edge.to_string() } }, "error": null });
    engine.answer("/ace/stat/", &figures.to_string());
    engine.answer("/ace/cmd/", r#"{"response":"ok"}"#);
    let with = |check_interval, is_enabled| Options {
        collect_interval: Duration::from_millis(50),
        loop_detection: LoopDetection { check_interval, is_enabled, ..LoopDetection::default() },
        ..options(&[engine.authority()])
    };
    let looping =
        |bench: &Bench| bench.get("/looping-streams").json()["stream_ids"].as_array().map_or(0, Vec::len);
    let set = |bench: &Bench, query: &str| {
        let path = format!("POST /stream-loop-detection/config?enabled=true&{query}");
        assert_eq!(bench.send(&path, &Value::Null).status, 200);
    };
    let quick = Bench::start(with(Duration::from_millis(50), true), 1);
    let slow = Bench::start(with(Duration::from_secs(3600), true), 1);
    for bench in [&quick, &slow] {
        bench.send("POST /events/stream_started", &report(&engine, "a"));
    }
    // Looked at every five seconds from now on; twice it has to be found.
    set(&slow, "threshold_seconds=60&check_interval_seconds=5");
    eventually("it has figures", || quick.get("/streams").json()[0]["livepos"].is_object());
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(looping(&quick), 0, "half an hour is within the threshold of an hour");
    set(&quick, "threshold_seconds=60");
    eventually("it is found", || looping(&quick) == 1);
    let found = Instant::now();
    while looping(&slow) == 0 {
        assert!(found.elapsed() < Duration::from_secs(30), "nobody looks");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Guards: a shorter retention takes old entries off the list when it is set, and leaves what is newer.
#[test]
fn what_looped_long_ago_is_forgotten_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let kept = || Options { data_dir: Some(directory.path().to_owned()), ..options(&[]) };
    drop(Bench::start(kept(), 1));
    let file = std::fs::read_dir(directory.path()).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        path.extension().is_some_and(|ending| ending == "db").then_some(path)
    });
    let state = rusqlite::Connection::open(file.expect("the state")).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    for (n, seconds) in [(1, 3600), (2, 1)] {
        let row = (number(n).to_string(), now - seconds * 1_000_000);
        state
            .execute("INSERT INTO looping (key, detected_at, evidence) VALUES (?1, ?2, 'lag')", row)
            .unwrap();
    }
    drop(state);
    let bench = Bench::start(kept(), 1);
    let listed = || bench.get("/looping-streams").json()["stream_ids"].clone();
    assert_eq!(listed().as_array().map(Vec::len), Some(2), "{}", listed());
    let path = "/stream-loop-detection/config?enabled=false&threshold_seconds=60&retention_minutes=1";
    assert_eq!(bench.send(&format!("POST {path}"), &Value::Null).status, 200);
    eventually("the old one is gone", || listed() == json!([number(2).to_string()]));
}
