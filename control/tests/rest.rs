//! What REST answers: shapes, errors, cross-origin rules, metrics; all of it while an engine hangs.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests are threads of their own: they connect, wait and lock"
)]

mod common;

use common::engine::{Engine, Mood};
use common::http::{is_ended, read_answer};
use common::{Bench, eventually, number, options, stream};
use serde_json::{Value as Json, json};
use sluice_contract::metric::{Histogram, Name, Sample, Value};
use sluice_contract::snapshot::{
    Amount, Client, EndedClient, EngineStat, Event, Mark, Session, SessionEngine, SessionState, Shard,
    SpliceKind, Splices, Timeline,
};
use sluice_contract::{
    ClientId, EndReason, EngineFault, EngineId, LeaseReturn, Options, Play, Selector, ShardId, Start,
    StreamKey, ToControl, ToShard,
};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const T0: u64 = 1_769_941_200;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(T0 + seconds)
}

fn client(n: u128) -> Client {
    Client {
        id: ClientId(n),
        address: [192, 168, 1, 5].into(),
        user_agent: "VLC/3.0".into(),
        connected_at: at(1),
        last_active: at(9),
        bytes_sent: 4096,
        behind_bytes: 188,
        behind_s: 1.5,
        rate: 250_000,
        skips: 2,
        skipped_bytes: 1880,
    }
}

/// A session of broadcast `n + 100`, first asked for as id `n`.
fn session(n: u8, clients: usize) -> Session {
    Session {
        key: stream(n + 100),
        asked_as: Selector::ContentId(number(n)),
        infohash: Some(number(n + 100)),
        shard: ShardId(0),
        state: if clients > 0 { SessionState::Playing } else { SessionState::Grace },
        engine: Some(SessionEngine {
            id: EngineId("engine-1:6878".into()),
            authority: "engine-1:6878".into(),
            playback_session_id: Some("9c0e".into()),
            stat_url: Some("http://engine-1:6878/ace/stat/1".into()),
            command_url: None,
            is_live: 1,
            is_encrypted: false,
        }),
        created_at: at(0),
        started_at: Some(at(1)),
        idle_since: (clients == 0).then(|| at(5)),
        last_media_at: Some(at(9)),
        repeats_since: None,
        clients: (0..clients).map(|c| client(u128::from(n) << 64 | c as u128)).collect(),
        waiting: 1,
        head: 1880,
        tail: 188,
        window_s: 12.0,
        rate: 1_000_000,
        bytes_in: 1880,
        garbage_bytes: 0,
        continuity_errors: 3,
        discontinuities: 1,
        channel: None,
        failovers: 1,
        splices: Splices {
            exact: 2,
            clock: 1,
            lost: Amount { time: Duration::from_millis(500), bytes: 188_000 },
            ..Splices::default()
        },
        stat: Some(EngineStat { status: "dl".into(), peers: 7, ..EngineStat::default() }),
        stat_at: None,
        formats: vec!["h264", "aac"],
        timeline: Timeline {
            head: Duration::from_secs(100),
            access: [90, 92, 99].map(Duration::from_secs).into(),
            marks: [
                (70, Event::Silence(Duration::from_secs(9))),
                (91, Event::Silence(Duration::from_secs(4))),
                (
                    95,
                    Event::Splice {
                        kind: SpliceKind::Clock,
                        lost: Duration::from_millis(500),
                        repeated: Duration::ZERO,
                    },
                ),
            ]
            .map(|(place, what)| Mark { place: Duration::from_secs(place), at: at(place), what })
            .into(),
        },
    }
}

fn publish(bench: &Bench, shard: u16, sessions: Vec<Session>, metrics: Vec<Sample>) {
    bench.board.publish(Shard {
        id: ShardId(shard),
        driver: Some("epoll"),
        taken_at: at(10),
        sessions: sessions.into_iter().map(Arc::new).collect(),
        replicas: Vec::new(),
        demand: 0,
        ended: Vec::new(),
        ended_sessions: Vec::new(),
        metrics,
    });
}

#[test]
fn status_counts_watched_sessions_apart_and_has_the_published_shape() {
    let bench = Bench::start(options(&[]), 2);
    publish(&bench, 0, vec![session(1, 2)], Vec::new());
    publish(&bench, 1, vec![session(2, 0)], Vec::new());
    let answer = bench.get("/proxy/status");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let status = answer.json();
    assert_eq!(status["running"], true);
    assert_eq!((&status["total_sessions"], &status["active_sessions"]), (&2.into(), &1.into()));
    assert_eq!(status["total_clients"], 2);
    let first = &status["sessions"][0];
    assert_eq!(first["stream_id"], format!("{}|9c0e", number(1)));
    assert_eq!(first["ace_id"], number(1).to_string());
    assert_eq!((&first["engine_host"], &first["engine_port"]), (&"engine-1".into(), &6878.into()));
    assert_eq!(first["container_id"], "engine-1:6878");
    assert_eq!(
        (&first["is_live"], &first["is_active"], &first["client_count"]),
        (&true.into(), &true.into(), &2.into())
    );
    assert_eq!(first["created_at"], "2026-02-01T10:20:00.000000Z");
    assert_eq!(first["started_at"], "2026-02-01T10:20:01.000000Z");
    assert!(first["ended_at"].is_null() && first["error"].is_null());
    assert!(first["idle_seconds"].is_number());
    assert_eq!(
        (&first["state"], &first["bitrate_bps"], &first["stat"]["peers"]),
        (&"playing".into(), &8_000_000.into(), &7.into())
    );
    let splices = &first["splices"];
    assert_eq!(
        (&splices["exact"], &splices["clock"], &splices["random_access"]),
        (&2.into(), &1.into(), &0.into())
    );
    assert_eq!(
        (&splices["lost_seconds"], &splices["lost_packets"], &splices["repeated_bytes"]),
        (&0.5.into(), &1000.into(), &0.into())
    );
    assert_eq!(
        (&status["sessions"][1]["state"], &status["sessions"][1]["is_active"]),
        (&"grace".into(), &false.into())
    );
    assert_eq!(bench.get("/proxy/sessions").json()["sessions"].as_array().unwrap().len(), 2);
}

#[test]
fn a_session_is_found_by_every_name_of_its_broadcast() {
    let bench = Bench::start(options(&[]), 1);
    publish(&bench, 0, vec![session(1, 1)], Vec::new());
    bench.directory.learn(number(50), number(101));
    for id in [1, 101, 50].map(number) {
        for id in [id.to_string(), id.to_string().to_uppercase()] {
            assert_eq!(bench.get(&format!("/proxy/sessions/{id}")).json()["ace_id"], number(1).to_string());
            for path in [format!("/proxy/sessions/{id}/clients"), format!("/proxy/streams/{id}/clients")] {
                assert_eq!(bench.get(&path).json()["clients"].as_array().unwrap().len(), 1, "{path}");
            }
        }
    }
    let client = &bench.get(&format!("/proxy/streams/{}/clients", number(1))).json()["clients"][0];
    assert_eq!(client["client_id"], "00000000-0000-0001-0000-000000000000");
    assert_eq!((&client["ip_address"], &client["user_agent"]), (&"192.168.1.5".into(), &"VLC/3.0".into()));
    assert_eq!(client["connected_at"], (T0 + 1) as f64);
    assert_eq!(
        (&client["bytes_sent"], &client["stats_updated_at"]),
        (&4096.into(), &((T0 + 10) as f64).into())
    );
    assert!(client["worker_id"].as_str().unwrap().ends_with(&format!(":{}", std::process::id())));
}

/// Guards: clients that ended a short while ago are found by every name of their stream with reason and figures, also
/// when its session is over.
#[test]
fn ended_clients_stay_visible_with_their_reason() {
    let bench = Bench::start(options(&[]), 1);
    let ended = |n: u128, stream: u8, reason, second| {
        let of = session(stream, 0);
        let (key, asked_as, infohash) = (of.key, of.asked_as, of.infohash);
        Arc::new(EndedClient { key, asked_as, infohash, client: client(n), reason, at: at(second) })
    };
    bench.board.publish(Shard {
        id: ShardId(0),
        driver: None,
        taken_at: at(10),
        sessions: Vec::new(),
        replicas: Vec::new(),
        demand: 0,
        ended: vec![
            ended(7, 1, EndReason::TooSlow, 5),
            ended(8, 2, EndReason::ClientLeft, 6),
            ended(9, 1, EndReason::WriteTimeout, 7),
        ],
        ended_sessions: Vec::new(),
        metrics: Vec::new(),
    });
    for name in [number(1).to_string(), number(101).to_string(), stream(101).to_string()] {
        let shown = bench.get(&format!("/proxy/sessions/{name}/clients")).json();
        assert_eq!(shown["clients"].as_array().unwrap().len(), 0);
        let ended = shown["ended_clients"].as_array().unwrap();
        let reasons: Vec<_> = ended.iter().map(|client| client["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons, ["too_slow", "write_timeout"]);
        assert_eq!((&ended[0]["ended_at"], &ended[0]["skips"]), (&((T0 + 5) as f64).into(), &2.into()));
        assert_eq!((&ended[0]["rate_bps"], &ended[0]["skipped_bytes"]), (&2_000_000.into(), &1880.into()));
        assert_eq!(ended[0]["behind_seconds"], 1.5);
    }
}

#[test]
fn a_whole_key_picks_one_of_several_sessions_of_a_broadcast() {
    let bench = Bench::start(options(&[]), 1);
    let options = Options::from_pairs([("_idx", "1")]);
    let other = Session {
        key: StreamKey { options, ..stream(101) },
        asked_as: Selector::ContentId(number(2)),
        ..session(1, 3)
    };
    publish(&bench, 0, vec![other, session(1, 1)], Vec::new());
    let plain = bench.get(&format!("/proxy/sessions/{}", number(101))).json();
    assert_eq!(plain["client_count"], 1);
    let picked = bench.get(&format!("/proxy/sessions/{}%3F_idx=1", number(101))).json();
    assert_eq!(picked["client_count"], 3);
}

#[test]
fn unknown_streams_are_404_as_a_session_and_empty_as_clients() {
    let bench = Bench::start(options(&[]), 1);
    let answer = bench.get("/proxy/sessions/nobody");
    assert_eq!((answer.status, answer.text()), (404, r#"{"detail":"Session nobody not found"}"#.to_owned()));
    for path in ["/proxy/sessions/nobody/clients", "/proxy/streams/nobody/clients"] {
        let answer = bench.get(path);
        assert_eq!((answer.status, answer.text()), (200, r#"{"clients":[],"ended_clients":[]}"#.to_owned()));
    }
}

#[test]
fn paths_and_methods_that_do_not_exist_are_told_in_json() {
    let bench = Bench::start(options(&[]), 1);
    let answer = bench.get("/nothing/here");
    assert_eq!((answer.status, answer.text()), (404, r#"{"detail":"Not Found"}"#.to_owned()));
    let mut player = bench.hand_over(b"DELETE /proxy/status HTTP/1.1\r\nhost: sluice\r\n\r\n");
    let answer = read_answer(&mut player, false);
    assert_eq!((answer.status, answer.text()), (405, r#"{"detail":"Method Not Allowed"}"#.to_owned()));
    assert_eq!(answer.header("allow"), Some("GET,HEAD"));
    let answer = bench.get("/proxy/sessions/?a=b");
    assert_eq!((answer.status, answer.header("location")), (307, Some("http://sluice/proxy/sessions?a=b")));
    assert_eq!(bench.get("/nothing/here/").status, 404);
}

#[test]
fn head_answers_as_get_without_the_body() {
    let bench = Bench::start(options(&[]), 1);
    for path in ["/proxy/status", "/metrics", "/panel/", "/version", "/favicon.ico", "/nothing"] {
        let request = format!(
            "HEAD {path} HTTP/1.1\r\nhost: sluice\r\n\r\nGET /version HTTP/1.1\r\nhost: sluice\r\n\r\n"
        );
        let mut player = bench.hand_over(request.as_bytes());
        let head = read_answer(&mut player, true);
        assert_eq!(head.status, bench.get(path).status, "{path}");
        assert!(head.header("content-length").is_some_and(|length| length != "0"), "{path}: {}", head.head);
        // The next answer follows at once: no body came in between.
        assert_eq!(read_answer(&mut player, false).json()["title"], "Sluice");
    }
}

#[test]
fn the_panel_is_inside_the_binary() {
    let bench = Bench::start(options(&[]), 1);
    for path in ["/", "/panel"] {
        let answer = bench.get(path);
        // Relative, so that it stays below whatever path a proxy puts in front.
        assert_eq!((answer.status, answer.header("location")), (307, Some("panel/")));
    }
    for path in ["/panel/", "/panel/streams/1"] {
        let answer = bench.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
        assert!(answer.text().contains("<title>Sluice</title>"));
    }
    assert_eq!(bench.get("/favicon.ico").header("content-type"), Some("image/svg+xml"));
}

#[test]
fn other_origins_may_read_everything_and_preflights_are_answered() {
    let bench = Bench::start(options(&[]), 1);
    let ask = |bench: &Bench, request: &str| {
        let mut player =
            bench.hand_over(format!("{request}\r\nhost: sluice\r\norigin: http://panel\r\n\r\n").as_bytes());
        read_answer(&mut player, false)
    };
    let answer = ask(&bench, "GET /version HTTP/1.1");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(ask(&bench, "GET /nothing HTTP/1.1").header("access-control-allow-origin"), Some("*"));
    assert_eq!(bench.get("/version").header("access-control-allow-origin"), None);
    let preflight = "OPTIONS /streams/1 HTTP/1.1\r\naccess-control-request-method: DELETE\r\n\
        access-control-request-headers: authorization,x-any";
    let answer = ask(&bench, preflight);
    assert_eq!((answer.status, answer.text()), (200, "OK".to_owned()));
    assert_eq!(
        answer.header("access-control-allow-methods"),
        Some("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
    );
    assert_eq!(answer.header("access-control-allow-headers"), Some("authorization,x-any"));
    assert_eq!(answer.header("access-control-max-age"), Some("600"));
    let one = sluice_control::Options { cors_origin: "https://tv.example".to_owned(), ..options(&[]) };
    let answer = ask(&Bench::start(one, 1), "GET /version HTTP/1.1");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://tv.example"));
    assert_eq!(answer.header("vary"), Some("Origin"));
}

#[test]
fn metrics_show_both_planes_in_the_format_asked_for() {
    let engine = Engine::start();
    let mut bench = Bench::start(options(&[engine.authority()]), 2);
    let lease = bench.shards[0].lease(stream(1));
    let gone = bench.shards[0].lease(stream(2));
    bench.shards[0].tell(ToControl::Return(LeaseReturn { id: gone.id, fault: Some(EngineFault::Silent) }));
    let counter = Name { name: "sluice_test_joins", help: "Joins" };
    let histogram = Name { name: "sluice_test_join_seconds", help: "Join time" };
    for shard in 0..2 {
        let buckets = vec![(0.01, 1), (f64::INFINITY, 3)];
        let samples = vec![
            Sample { name: counter, label: Some(("class", "a\"b")), value: Value::Counter(5) },
            Sample {
                name: histogram,
                label: None,
                value: Value::Histogram(Histogram { buckets, sum: 0.5, count: 3 }),
            },
        ];
        publish(&bench, shard, Vec::new(), samples);
    }
    let has =
        |text: &str, line: &str| assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
    common::eventually("the lease that came back is counted", || {
        bench.get("/metrics").text().lines().any(|line| line == "sluice_leases_returned_total 1")
    });
    let answer = bench.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    has(&text, "# TYPE sluice_test_joins_total counter");
    has(&text, r#"sluice_test_joins_total{shard="1",class="a\"b"} 5"#);
    has(&text, r#"sluice_test_join_seconds_bucket{le="0.01",shard="0"} 1"#);
    has(&text, r#"sluice_test_join_seconds_bucket{le="+Inf",shard="0"} 3"#);
    has(&text, r#"sluice_test_join_seconds_count{shard="0"} 3"#);
    has(&text, &format!("sluice_engine_leases{{engine=\"{}\"}} 1.0", lease.authority));
    has(&text, &format!("sluice_engine_health{{engine=\"{}\",state=\"healthy\"}} 1.0", lease.authority));
    has(&text, "sluice_leases_granted_total 2");
    has(&text, r#"sluice_engine_faults_total{kind="silent"} 1"#);
    has(&text, r#"sluice_http_connections_total{reason="refused"} 0"#);
    assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
    assert!(text.contains("sluice_http_requests_total{status=\"200\"}"), "{text}");
    // Every name is announced once, before its samples.
    let mut types: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let announced = types.len();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), announced);

    let mut scraper = bench.hand_over(b"GET /metrics HTTP/1.1\r\nhost: sluice\r\naccept: application/openmetrics-text;version=1.0.0\r\n\r\n");
    let answer = read_answer(&mut scraper, false);
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(answer.text().ends_with("# EOF\n"));
    has(&answer.text(), "# TYPE sluice_test_joins counter");
}

#[test]
fn every_read_is_answered_while_the_engine_hangs() {
    let engine = Engine::start();
    let mut bench = Bench::start(options(&[engine.authority()]), 1);
    let lease = bench.shards[0].lease(stream(1));
    engine.set_mood(Mood::Hung);
    publish(&bench, 0, vec![session(1, 1)], Vec::new());
    // A check and a look-up hang from here on.
    bench.shards[0].tell(ToControl::Return(LeaseReturn { id: lease.id, fault: Some(EngineFault::Hung) }));
    bench.shards[0].resolve(common::by_id(7), common::PATIENCE);
    let id = number(1);
    for path in
        ["/proxy/status", "/proxy/sessions", "/metrics", "/panel/", &format!("/proxy/sessions/{id}/clients")]
    {
        let asked = std::time::Instant::now();
        assert_eq!(bench.get(path).status, 200, "{path}");
        assert!(asked.elapsed() < Duration::from_secs(1), "{path} took {:?}", asked.elapsed());
    }
}

#[test]
fn requests_for_streams_that_cannot_go_back_are_told_why() {
    let bench = Bench::start(options(&[]), 1);
    let ask = |head: &str| {
        let mut player = bench.hand_over(head.as_bytes());
        read_answer(&mut player, false)
    };
    let answer = ask("POST /ace/getstream?id=1 HTTP/1.1\r\nhost: sluice\r\ncontent-length: 2\r\n\r\nhi");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    assert_eq!(answer.json()["code"], "method_not_allowed");
    let answer = ask("GET /ace/getstream?id=1 HTTP/1.1\r\nhost: sluice\r\ncontent-length: 2\r\n\r\nhi");
    assert_eq!((answer.status, &answer.json()["code"]), (400, &"bad_request".into()));
    assert_eq!(answer.json()["detail"], answer.json()["error"]);
    // A shard that hands such a request over does not know the route either: it must not come back to the shard.
    assert_eq!(ask("GET /ace/unknown HTTP/1.1\r\nhost: sluice\r\n\r\n").json()["code"], "not_found");
}

#[test]
fn limits_are_answered_and_end_the_connection() {
    let bench = Bench::start(
        sluice_control::Options {
            body_bytes_max: 1000,
            head_bytes_max: 8192,
            headers_max: 20,
            ..options(&[])
        },
        1,
    );
    let big = format!("GET /version HTTP/1.1\r\nhost: sluice\r\nx-big: {}\r\n\r\n", "a".repeat(70_000));
    let many = format!("GET /version HTTP/1.1\r\nhost: sluice\r\n{}\r\n", "a: b\r\n".repeat(100));
    let long_name = format!("GET /version HTTP/1.1\r\n{}: b\r\n\r\n", "a".repeat(66_000));
    for head in [big, many, long_name] {
        let mut player = bench.hand_over(b"");
        // The peer may have stopped reading before all is written.
        drop(player.write_all(head.as_bytes()));
        let answer = read_answer(&mut player, false);
        assert_eq!(answer.status, 431);
        assert!(is_ended(&mut player));
    }
    let mut player =
        bench.hand_over(b"POST /version HTTP/1.1\r\nhost: sluice\r\ncontent-length: 1001\r\n\r\n");
    let answer = read_answer(&mut player, false);
    assert_eq!(answer.status, 413);
    assert!(answer.json()["detail"].as_str().unwrap().contains("1000 bytes"));
}

#[test]
fn what_is_not_http_is_told_so_and_ended() {
    let bench = Bench::start(options(&[]), 1);
    let tls = &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n"[..];
    for garbage in [
        b"GARBAGE\r\n\r\n",
        tls,
        b"GET / HTTP/3.0\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        // As bytes that came with the connection, and as bytes that come later.
        for came_with_it in [true, false] {
            let mut player = bench.hand_over(if came_with_it { garbage } else { b"" });
            if !came_with_it {
                player.write_all(garbage).unwrap();
            }
            assert_eq!(read_answer(&mut player, false).status, 400, "{garbage:?}");
            assert!(is_ended(&mut player));
        }
    }
}

/// Guards: a move goes to the shard of the session, named by any of its names; what cannot be moved is told why.
#[test]
fn a_session_is_moved_by_its_shard() {
    let mut bench = Bench::start(options(&[]), 2);
    publish(&bench, 0, vec![session(1, 1), session(2, 0)], Vec::new());
    let post = |id: String, body: &str| {
        let head = format!("POST /proxy/sessions/{id}/move HTTP/1.1\r\nhost: sluice\r\n");
        let length =
            format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        read_answer(&mut bench.hand_over(format!("{head}{length}").as_bytes()), false)
    };
    let answer = post(number(1).to_string(), r#"{"engine":"engine-2:6878","reason":"drain"}"#);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let told = answer.json();
    assert_eq!((&told["status"], &told["to"]), (&"moving".into(), &"engine-2:6878".into()));
    assert_eq!(post(number(1).to_string(), "").status, 202);
    for (id, body, status) in [
        (number(1).to_string(), "{", 422),
        (number(1).to_string(), r#"{"engine":7}"#, 422),
        (number(9).to_string(), "", 404),
        (number(2).to_string(), "", 409),
        (number(1).to_string(), r#"{"engine":"engine-1:6878"}"#, 409),
    ] {
        assert_eq!(post(id, body).status, status, "{body}");
    }
    for expected in [Some("engine-2:6878"), None] {
        match bench.shards[0].next() {
            ToShard::Move { key, engine } => {
                assert_eq!(key, stream(101));
                assert_eq!(engine.as_ref().map(|engine| &*engine.0), expected);
            }
            other => panic!("not a move: {other:?}"),
        }
    }
}

/// Guards: what lies where in a window is told from its newest media backwards, nothing of what has left it; and how the session
/// started, not how one before it did.
#[test]
fn a_window_and_a_start_are_told() {
    let bench = Bench::start(options(&[]), 1);
    let began = SystemTime::now();
    publish(&bench, 0, vec![Session { created_at: began, ..session(1, 1) }], Vec::new());
    let path = format!("/proxy/sessions/{}/timeline", number(1));
    let told = bench.get(&path).json();
    assert_eq!(told["access_points"], json!([10.0, 8.0, 1.0]));
    assert_eq!((&told["window_seconds"], &told["start"]), (&json!(12.0), &Json::Null));
    let kinds: Vec<&str> =
        told["marks"].as_array().unwrap().iter().filter_map(|m| m["kind"].as_str()).collect();
    assert_eq!(kinds, ["silence", "splice"]);
    let (silence, splice) = (&told["marks"][0], &told["marks"][1]);
    assert_eq!((&silence["behind_seconds"], &silence["silent_seconds"]), (&json!(9.0), &json!(4.0)));
    assert_eq!((&splice["splice"], &splice["lost_seconds"]), (&json!("clock"), &json!(0.5)));
    assert_eq!((&silence["splice"], &splice["silent_seconds"]), (&Json::Null, &Json::Null));

    let now = Instant::now();
    let later = |millis| Some(now + Duration::from_millis(millis));
    let start = Start {
        lease_asked: Some(now),
        lease_granted: later(20),
        engine_asked: later(21),
        engine_answered: later(221),
        first_media: later(721),
        tries: 1,
        lease: None,
    };
    let play = Play {
        shard: ShardId(0),
        client: ClientId(7),
        asked_as: format!("content_id={}", number(1)).into(),
        stream: Some(stream(101)),
        asked: now,
        start: Some(start),
        told: later(730).unwrap(),
        outcome: Ok(later(730).unwrap()),
    };
    bench.shards[0].tell(ToControl::Played(Box::new(play)));
    eventually("the start is known", || !bench.get(&path).json()["start"].is_null());
    let start = &bench.get(&path).json()["start"];
    let names: Vec<&str> =
        start["spans"].as_array().unwrap().iter().filter_map(|span| span["name"].as_str()).collect();
    assert_eq!(names, ["lease", "engine_start", "first_byte", "first_client_byte"]);
    assert_eq!((&start["took_ms"], &start["spans"][1]["took_ms"]), (&json!(730.0), &json!(200.0)));
    let after = SystemTime::now() + Duration::from_secs(60);
    publish(&bench, 0, vec![Session { created_at: after, ..session(1, 1) }], Vec::new());
    assert_eq!(bench.get(&path).json()["start"], Json::Null, "the start of another session is told");
}

/// Guards: a drained engine is shown as such, its session is asked to move, nobody gets it, and taking that back has it used;
/// each with an entry in the log.
#[test]
fn an_engine_is_drained_and_used_again() {
    let engine = Engine::start();
    let mut bench = Bench::start(options(&[engine.authority()]), 1);
    let held = bench.shards[0].lease(stream(1));
    let path = format!("/engines/{}/drain", engine.authority());
    let told = bench.send(&format!("POST {path}"), &json!({})).json();
    assert_eq!((&told["is_drained"], &told["streams"]), (&json!(true), &json!(1)));
    assert!(matches!(bench.shards[0].next(), ToShard::Withdraw { lease, .. } if lease == held.id));
    let is_drained = |bench: &Bench| bench.get("/engines").json()[0]["is_drained"] == true;
    eventually("it is shown", || is_drained(&bench));
    let ticket = bench.shards[0].ask(stream(2), Duration::from_millis(200));
    assert!(bench.shards[0].answer(ticket).is_err(), "a drained engine was given out");
    assert_eq!(bench.send(&format!("DELETE {path}"), &json!({})).json()["is_drained"], false);
    eventually("it is shown", || !is_drained(&bench));
    bench.shards[0].lease(stream(3));
    let log = bench.get("/events?event_type=engine").json();
    let categories: Vec<&str> =
        log.as_array().unwrap().iter().filter_map(|e| e["category"].as_str()).collect();
    assert_eq!(categories[..2], ["undrained", "drained"]);
    assert_eq!(bench.send("POST /engines/nobody/drain", &json!({})).status, 404);
}

/// Guards: figures over time are there for whoever comes now, within the bounds of a window.
#[test]
fn figures_over_time_are_kept() {
    let bench = Bench::start(options(&[]), 1);
    publish(&bench, 0, vec![session(1, 2)], Vec::new());
    eventually("there is a point", || {
        let told = bench.get("/metrics/history").json();
        told["players"].as_array().is_some_and(|players| !players.is_empty())
    });
    let told = bench.get("/metrics/history?window_seconds=3600").json();
    assert_eq!(told["every_seconds"], 5);
    let length = told["at"].as_array().unwrap().len();
    for column in ["players", "streams", "peers", "egress_bps", "engines_used", "download_bps"] {
        assert_eq!(told[column].as_array().unwrap().len(), length, "{column}");
    }
    for name in ["join", "gap"] {
        assert!(told[name]["counts"].is_array(), "{told}");
    }
    assert_eq!(bench.get("/metrics/history?window_seconds=59").status, 422);
    assert_eq!(bench.get("/metrics/history?window_seconds=86401").status, 422);
}
