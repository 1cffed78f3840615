//! Variables of the environment that are changed while the appliance serves: what each does is seen on one that runs.

use crate::common::{Appliance, SOON, Setup, until};
use crate::hls::Viewer;
use crate::stage::{RATE, Raw, assert_refusal, checked, engine, engine_with, plays, refused};
use serde_json::{Value, json};
use sluice::settings::live::{Takes, takes};
use sluice::settings::names::{self, Effect};
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelCounters, ChannelSpec, Engine, Faults};
use sluice_bench::player::check::PACKET_LEN;
use sluice_bench::player::http::{self, Response};
use sluice_bench::player::{Player, Reading};
use std::net::SocketAddr;
use std::time::Duration;

fn post(appliance: &Appliance, changes: &Value) -> Response {
    let headers = [("Content-Type", "application/json")];
    let body = changes.to_string();
    http::request(appliance.addr(), "POST", "/settings/variables", &headers, body.as_bytes()).unwrap()
}

/// Changes variables, all of which hold from the answer on.
pub fn change(appliance: &Appliance, changes: Value) {
    let answer = post(appliance, &changes);
    assert_eq!(answer.status(), 200, "{changes}: {}", answer.text());
    assert_eq!(answer.json().unwrap()["restart_required"], json!([]), "{changes}");
}

/// Changes what control is built from, and waits until it is built from that: the one before acts on what it knows.
pub fn change_control(appliance: &Appliance, changes: Value) {
    let starts = || {
        let lines = appliance.log_lines();
        lines.iter().filter(|line| line.contains("control started")).count()
    };
    let before = starts();
    change(appliance, changes);
    until("control is built anew", || starts() > before);
}

fn refusal(appliance: &Appliance, n: u32, status: u16, code: &str) {
    assert_refusal(&refused(&appliance.player(nth(n).0).start()), status, code);
}

fn raw(to: SocketAddr, bytes: &str) -> Raw {
    let mut raw = Raw::open(to);
    raw.send(bytes.as_bytes());
    raw
}

/// Guards: limits on players, whose address counts, and manners of asking, each changed under a player that plays on.
#[test]
fn limits_and_manners_change_under_players() {
    let engine = engine(2);
    let appliance = Setup::with_engines(&[&engine]).env("HEAD_TIMEOUT_S", "300").start();
    appliance.wait_healthy(1);
    let first = checked(&appliance, &engine, 0).start();
    plays(&first);

    change(&appliance, json!({ "MAX_CLIENTS": 1 }));
    refusal(&appliance, 1, 503, "clients_max");
    change(&appliance, json!({ "MAX_CLIENTS": null, "MAX_CLIENTS_PER_STREAM": 1 }));
    refusal(&appliance, 0, 503, "stream_clients_max");
    change(&appliance, json!({ "MAX_CLIENTS_PER_STREAM": null, "MAX_CLIENTS_PER_IP": "1" }));
    let counted = checked(&appliance, &engine, 0).start();
    plays(&counted);
    refusal(&appliance, 0, 429, "address_clients_max");
    let rate =
        json!({ "MAX_CLIENTS_PER_IP": null, "MAX_PLAYS_PER_IP_PER_S": 0.01, "MAX_PLAYS_PER_IP_BURST": 2 });
    change(&appliance, rate);
    let two = [0, 1].map(|n| checked(&appliance, &engine, n).start());
    two.iter().for_each(plays);
    refusal(&appliance, 0, 429, "address_rate");

    change(
        &appliance,
        json!({ "MAX_PLAYS_PER_IP_PER_S": null, "MAX_PLAYS_PER_IP_BURST": null, "STRICT_PID": true }),
    );
    let path = format!("/ace/getstream?id={}&pid=1", nth(0).0);
    assert_eq!(refused(&Player::get(appliance.addr(), &path).start()).status(), 400);
    change(&appliance, json!({ "STRICT_PID": null, "ACEXY_M3U8": true }));
    assert_eq!(appliance.get(&path).status(), 302, "sent to HLS");

    let trust = json!({ "ACEXY_M3U8": null, "TRUSTED_PROXIES": "127.0.0.0/8" });
    change(&appliance, trust);
    let behind = checked(&appliance, &engine, 1).header("X-Forwarded-For", "198.51.100.7").start();
    plays(&behind);
    let shown = |address: &str| {
        let clients = appliance.json(&format!("/proxy/streams/{}/clients", nth(1).0));
        clients["clients"].to_string().contains(address)
    };
    until("the forwarded address is shown", || shown("198.51.100.7"));
    change(&appliance, json!({ "PROXY_PROTOCOL": true }));
    let plan = checked(&appliance, &engine, 1);
    let told = plan.method("PROXY TCP4 198.51.100.8 127.0.0.1 4711 8000\r\nGET").start();
    plays(&told);
    until("the address of the PROXY protocol is shown", || shown("198.51.100.8"));

    change(&appliance, json!({ "PROXY_PROTOCOL": null, "TRUSTED_PROXIES": null, "HEAD_TIMEOUT_S": "100ms" }));
    let mut late = raw(appliance.addr(), "GET /ace/status HTTP/1.1\r\n");
    late.read_until("a refusal", SOON, |bytes| String::from_utf8_lossy(bytes).contains("head_timeout"));
    change(&appliance, json!({ "TICK_MS": 1000 }));
    until("the walk is a second long", || appliance.metric("sluice_tick_seconds") >= 1.0);
    change(&appliance, json!({ "TICK_MS": null, "WINDOW_TOTAL_MIB": 8 }));
    let third = Player::get(appliance.addr(), &format!("/ace/getstream?id={}", nth(5).0)).start();
    assert_refusal(&refused(&third), 503, "memory");
    // Whoever is there counts: there is no place left for the next connection.
    change(&appliance, json!({ "WINDOW_TOTAL_MIB": null, "HEAD_TIMEOUT_S": null, "MAX_CONNECTIONS": 16 }));
    let mut crowd: Vec<Raw> = Vec::new();
    // They are counted when they are accepted, which may be after whoever comes next; and a place that a connection before
    // them held for a moment longer is free again.
    until("there is no place left", || {
        crowd.push(Raw::open(appliance.addr()));
        let answer = http::get(appliance.addr(), "/ace/status");
        answer.is_ok_and(|answer| answer.text().contains("too many connections"))
    });
    drop(crowd);

    first.wait_more(RATE, SOON).unwrap();
    for player in [&first, &counted, &two[0], &two[1], &behind, &told] {
        assert_eq!((player.end(), player.report().faults()), (None, Vec::new()));
    }
}

/// Guards: what control is built from changes under a player that does not notice: engines, access, the log, and where
/// things are written; a change outlives the process, and yields to an environment that says something else.
#[test]
fn control_is_built_anew_under_a_player() {
    let (engine, other) = (engine(4), engine(4));
    let files = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let setup = || Setup::with_engines(&[&engine]).env("API_KEY", "the-first-of-two-keys");
    let appliance = setup().start();
    appliance.wait_healthy(1);
    let player = checked(&appliance, &engine, 0).start();
    plays(&player);

    let to = appliance.addr();
    let key = |key: &'static str| {
        move |changes: Value| {
            let headers = [("Content-Type", "application/json"), ("X-API-KEY", key)];
            let body = changes.to_string();
            http::request(to, "POST", "/settings/variables", &headers, body.as_bytes()).unwrap()
        }
    };
    let (first, second) = (key("the-first-of-two-keys"), key("the-second-of-two-keys"));
    assert_eq!(first(json!({ "API_KEY": "short" })).status(), 400);
    assert_eq!(first(json!({ "API_KEY": "the-second-of-two-keys" })).status(), 200);
    assert_eq!(first(json!({ "API_KEY": null })).status(), 403);
    let taken = |changes: Value| {
        let starts = |lines: &[String]| lines.iter().filter(|line| line.contains("control started")).count();
        let before = starts(&appliance.log_lines());
        let answer = second(changes);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        appliance.wait_log("control is built anew", |lines| starts(lines) > before);
    };

    taken(json!({
        "STATIC_ENGINES": format!("{},{}", engine.addr(), other.addr()), "CORS_ORIGIN": "https://tv.example",
        "DEBUG_LOG_DIR": files.path().join("debug"), "STATS_HISTORY_MAX": 3, "READS_NEED_KEY": true,
    }));
    let ask = |path: &str, headers: &[(&str, &str)]| {
        http::request(appliance.addr(), "GET", path, headers, b"").unwrap()
    };
    assert_eq!(ask("/engines", &[]).status(), 401, "READS_NEED_KEY");
    let keyed = [("X-API-KEY", "the-second-of-two-keys"), ("Origin", "https://a.example")];
    let engines = || ask("/engines", &keyed);
    assert_eq!(engines().header("access-control-allow-origin"), Some("https://tv.example"));
    until("both engines are there", || engines().json().unwrap().as_array().unwrap().len() == 2);
    taken(json!({ "READS_NEED_KEY": null }));
    assert_eq!(ask("/engines", &[]).status(), 200);

    // Neither needs control: the log, and the list of channels.
    let list = files.path().join("channels.toml");
    std::fs::write(&list, format!("news = [\"{}\"]\n", nth(1).0)).unwrap();
    assert_eq!(second(json!({ "LOG_FORMAT": "json", "CHANNELS_FILE": list })).status(), 200);
    until("the channel plays", || {
        let player = Player::get(appliance.addr(), "/ace/getstream?channel=news").start();
        player.wait_head(SOON).unwrap().status == 200
    });
    appliance.wait_log("the log is JSON", |lines| {
        lines
            .iter()
            .any(|line| serde_json::from_str::<Value>(line).is_ok_and(|line| line["level"] == "DEBUG"))
    });
    assert_eq!(second(json!({ "LOG_FORMAT": null, "LOG_LEVEL": "error" })).status(), 200);
    let quiet = appliance.log_lines().len();
    let another = checked(&appliance, &engine, 2).start();
    plays(&another);
    another.stop();
    until("it has left", || ask("/proxy/status", &[]).json().unwrap()["total_clients"] == 1);
    let noise: Vec<String> = appliance.log_lines().split_off(quiet);
    assert!(!noise.iter().any(|line| line.contains("client joined")), "{noise:?}");
    assert_eq!(second(json!({ "LOG_LEVEL": "debug" })).status(), 200);
    until("debug mode writes where it was told", || {
        let body = br#"{"debug_mode":true}"#;
        let headers = [("Content-Type", "application/json"), keyed[0]];
        let answer =
            http::request(appliance.addr(), "POST", "/settings/orchestrator", &headers, body).unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text());
        std::fs::read_dir(files.path().join("debug")).is_ok_and(|mut found| found.next().is_some())
    });

    // Something of a VPN is asked for: no engine is given any more, and what plays goes on.
    taken(json!({ "GLUETUN_CONTAINER_NAME": "vpn" }));
    until("nothing new is played", || {
        let player = checked(&appliance, &engine, 3).start();
        let head = player.wait_head(SOON).unwrap();
        head.status == 503
    });
    player.wait_more(RATE, SOON).unwrap();
    assert_eq!((player.end(), player.report().faults_or_losses()), (None, Vec::new()));
    assert_eq!(engine.control().counters(nth(0).0).unwrap().opens, 1);

    // What was changed holds after a crash, the key included; what the environment says anew wins.
    taken(
        json!({ "GLUETUN_CONTAINER_NAME": null, "ACEXY_HOST": "127.0.0.1", "ACEXY_PORT": other.addr().port() }),
    );
    player.stop();
    let again = setup().env("CORS_ORIGIN", "https://else.example");
    let appliance = appliance.kill_and_start(again);
    let answer = http::request(appliance.addr(), "GET", "/settings/variables", &keyed, b"").unwrap();
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://else.example"));
    let table = answer.json().unwrap();
    let row = |name: &str| {
        table["variables"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone()
    };
    for (name, source) in
        [("STATS_HISTORY_MAX", "api"), ("CORS_ORIGIN", "environment"), ("MAX_SURGE", "default")]
    {
        assert_eq!(row(name)["source"], source, "{name}");
    }
    assert_eq!((&row("API_KEY")["value"], &row("API_KEY")["source"]), (&Value::Null, &json!("api")));
    assert!(!answer.text().contains("two-keys"), "a secret is shown");
}

/// Guards: what only another process can take up, its driver and its listening sockets, is taken up by one, under a player
/// that does not notice.
#[test]
fn a_process_follows_for_what_the_old_one_cannot_change() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).start();
    let player = checked(&appliance, &engine, 0).start();
    plays(&player);
    let before = appliance.pid();
    let is_epoll = std::env::var("SLUICE_TEST_DRIVER").as_deref() == Ok("epoll");
    let driver = if is_epoll { "auto" } else { "epoll" };
    let answer = post(&appliance, &json!({ "DRIVER": driver, "ACEXY_LISTEN_ADDR": "127.0.0.2:0" }));
    let told = answer.json().unwrap();
    assert_eq!(told["changed"], json!({ "DRIVER": "handover", "ACEXY_LISTEN_ADDR": "handover" }), "{told}");
    appliance.wait_log("another process took over", |lines| {
        lines
            .iter()
            .any(|line| line.contains("a changed setting has taken effect") || line.contains("upgraded"))
    });
    until("it is another process", || appliance.pid() != before);
    let ports = || -> Vec<u16> {
        let lines = appliance.log_lines();
        lines.iter().filter_map(|line| crate::common::listening(line)).collect()
    };
    until("the second address is listened on", || {
        let second = ports().into_iter().find(|port| *port != appliance.addr().port());
        second.is_some_and(|port| http::get(([127, 0, 0, 2], port).into(), "/ace/status").is_ok())
    });
    if !is_epoll {
        until("every shard is on epoll", || {
            let text = appliance.get("/metrics").text();
            let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("sluice_io_uring{")).collect();
            rows.len() == 2 && rows.iter().all(|row| row.ends_with(" 0.0") || row.ends_with(" 0"))
        });
    }
    player.wait_more(RATE, SOON).unwrap();
    assert_eq!((player.end(), player.report().faults_or_losses()), (None, Vec::new()));
    assert_eq!(engine.control().counters(nth(0).0).unwrap().opens, 1);

    // What is left are the few that are allowed to need a restart, and the answer says so.
    let told = post(&appliance, &json!({ "APP_PORT": 1, "SHARDS": 1 })).json().unwrap();
    assert_eq!(told["restart_required"], json!(["APP_PORT", "SHARDS"]), "{told}");
    for name in ["DATA_DIR", "SETTINGS", "ACEXY_ORCH_URL", "MIN_REPLICAS", "NO_SUCH_NAME"] {
        let answer = post(&appliance, &json!({ name: "1", "MAX_CLIENTS": 1 }));
        assert_eq!(answer.status(), 400, "{name}: {}", answer.text());
    }
    let beside = checked(&appliance, &engine, 0).start();
    plays(&beside);
}

/// Guards: what becomes of slow players changes under them: one that may be far behind skips once it may be no further than
/// 8 MiB behind, and is closed once that is wanted. Who keeps up plays on.
#[test]
fn what_slow_players_may_expect_changes_under_them() {
    const FAST: u64 = 4_000_000;
    let channel = ChannelSpec::synthetic(0, FAST).with_reach_back(Duration::from_secs(1));
    let engine = engine_with(vec![channel]);
    let appliance = Setup::with_engines(&[&engine]).env("JOIN_BEHIND_S", "0").start();
    let quick = checked(&appliance, &engine, 0).start();
    plays(&quick);
    let slow =
        checked(&appliance, &engine, 0).reading(Reading::Paced(FAST / 4)).receive_buffer(32 << 10).start();
    // Beyond what it will be allowed, and nothing is said of it.
    let behind = || {
        let shown = appliance.json(&format!("/proxy/sessions/{}/clients", nth(0).1));
        let clients = shown["clients"].as_array().cloned().unwrap_or_default();
        clients.iter().filter_map(|client| client["behind_bytes"].as_u64()).max().unwrap_or(0)
    };
    until("it is far behind", || behind() > 16 << 20);
    assert_eq!(slow.report().faults_or_losses(), Vec::<String>::new());
    change(&appliance, json!({ "SLOW_CLIENT_LAG_MIB": 8 }));
    slow.wait_report("a gap", SOON, |report| report.order.gaps_total >= 1).expect("it skips");
    change(
        &appliance,
        json!({ "SLOW_CLIENT_LAG_MIB": null, "SLOW_CLIENT_LAG_S": 3, "SLOW_CLIENT": "close" }),
    );
    slow.wait_end(SOON).expect("it is closed");
    until("with the reason", || appliance.metric("sluice_clients_ended_total{reason=\"too_slow\"") >= 1.0);
    assert_eq!((quick.end(), quick.report().faults()), (None, Vec::new()));
}

/// Guards: how long starts, silence and players that take nothing are waited for, what stays warm and has a spare, and what is
/// said to engines, each changed while others play; what belongs to a stream holds for those that begin from then on.
#[test]
fn times_and_manners_of_sources_change() {
    let engines = [engine(4), engine(4)];
    let appliance = Setup::with_engines(&[&engines[0], &engines[1]]).env("PROXY_GRACE_PERIOD", "0s").start();
    appliance.wait_healthy(2);
    let first = checked(&appliance, &engines[0], 0).start();
    plays(&first);
    let sum = |n: u32, of: fn(ChannelCounters) -> u64| -> u64 {
        engines.iter().map(|engine| of(engine.control().counters(nth(n).0).unwrap())).sum()
    };
    let everywhere = |n: u32, adapt: fn(&mut Faults)| {
        engines.iter().for_each(|engine| engine.control().update_faults(nth(n).0, adapt).unwrap());
    };

    change(&appliance, json!({ "WARM_SPARE_CLIENTS_MIN": 1 }));
    let spared = checked(&appliance, &engines[0], 3).start();
    plays(&spared);
    until("a stream that begins has a spare", || sum(3, |counters| counters.bodies) == 2);
    drop(spared);
    let manners = json!({
        "WARM_SPARE_CLIENTS_MIN": 0,
        "ENGINE_USER_AGENT": "sluice-test/1",
        "WARM_CHANNELS": 3,
        "WARM_S": 300,
    });
    change(&appliance, manners);
    let second = checked(&appliance, &engines[0], 1).start();
    plays(&second);
    let agents = |engine: &Engine| engine.control().engine_counters().user_agents;
    assert!(engines.iter().any(|engine| agents(engine).contains_key("sluice-test/1")));

    drop(second);
    // Without a grace period it would be over.
    until("nobody watches it, and it is warm", || {
        appliance.json(&format!("/proxy/sessions/{}", nth(1).1))["state"] == "grace"
    });
    plays(&checked(&appliance, &engines[0], 1).start());
    assert_eq!(sum(1, |counters| counters.opens), 1, "it was opened anew");

    everywhere(2, |faults| faults.dead = true);
    change(&appliance, json!({ "START_TIMEOUT_S": 1, "START_TIMEOUT_MAX_S": 2 }));
    refusal(&appliance, 2, 504, "start_timeout");

    change(&appliance, json!({ "WRITE_TIMEOUT_S": 1 }));
    let stalled =
        checked(&appliance, &engines[0], 0).reading(Reading::Stalled(64 << 10)).receive_buffer(32 << 10);
    let stalled = stalled.start();
    until("who takes nothing is closed", || {
        appliance.metric("sluice_clients_ended_total{reason=\"write_timeout\"") >= 1.0
    });
    drop(stalled);

    change(&appliance, json!({ "EMPTY_TIMEOUT": "3s" }));
    let brief = checked(&appliance, &engines[0], 3).start();
    plays(&brief);
    everywhere(3, |faults| faults.starve = true);
    brief.wait_end(SOON).expect("silence is not waited for any longer");
    until("with the reason", || {
        appliance.metric("sluice_sessions_ended_total{reason=\"empty_timeout\"") >= 1.0
    });
    assert_eq!((first.end(), first.report().faults_or_losses()), (None, Vec::new()));

    change(&appliance, json!({ "PROFILE": "low-latency" }));
    assert_eq!(appliance.json("/proxy/config")["join_behind_s"], 1.0);
}

/// Guards: where players join in bytes, when silence is filled and how often, when a viewer over HLS has left and how long an end
/// may take, each changed while the appliance serves. With what the environment says each of them would take minutes.
#[test]
fn distances_silences_and_ends_change() {
    let mut third = ChannelSpec::synthetic(2, RATE);
    third.faults.stop_hang = true;
    let engine = engine_with(vec![ChannelSpec::synthetic(0, RATE), ChannelSpec::synthetic(1, RATE), third]);
    let mut appliance = Setup::with_engines(&[&engine])
        .env("KEEPALIVE_AFTER_MS", "50s")
        .env("KEEPALIVE_INTERVAL_MS", "50s")
        .env("ACEXY_M3U8_STREAM_TIMEOUT", "24h")
        .env("SHUTDOWN_TIMEOUT_S", "5m")
        .start();
    appliance.wait_healthy(1);
    let first = checked(&appliance, &engine, 0).start();
    plays(&first);
    let mut viewer = Viewer::enter(&appliance, &format!("id={}", nth(1).0));
    assert!(!viewer.playlist().segments.is_empty());

    let head = || appliance.json(&format!("/proxy/sessions/{}", nth(0).1))["window_bytes"].as_u64();
    until("there is more to join behind than will be wanted", || {
        head().is_some_and(|bytes| bytes > 8 * RATE)
    });
    change(&appliance, json!({ "ACEXY_BUFFER": "200kB" }));
    let live = engine.control().live_position(nth(0).0).unwrap();
    let late = checked(&appliance, &engine, 0).start();
    plays(&late);
    let begin = late.report().order.range.unwrap().0 * PACKET_LEN as u64;
    // A whole group of pictures more, because a player joins at its beginning; by time it would be ten seconds.
    assert!(begin + 6 * RATE > live, "joined {} bytes behind", live.saturating_sub(begin));

    change(&appliance, json!({ "KEEPALIVE_AFTER_MS": 100, "KEEPALIVE_INTERVAL_MS": 50 }));
    engine.control().update_faults(nth(0).0, |faults| faults.starve = true).unwrap();
    // Seven packets at a time: it takes both.
    first.wait_report("null packets again and again", SOON, |report| report.nulls >= 7 * 4).unwrap();
    engine.control().update_faults(nth(0).0, |faults| faults.starve = false).unwrap();

    let viewers = || appliance.json(&format!("/proxy/sessions/{}", nth(1).1))["client_count"].as_u64();
    assert_eq!(viewers(), Some(1));
    change(&appliance, json!({ "ACEXY_M3U8_STREAM_TIMEOUT": 1 }));
    until("the viewer has left", || viewers() != Some(1));
    first.wait_more(RATE, SOON).unwrap();
    assert_eq!((first.end(), first.report().faults_or_losses()), (None, Vec::new()));

    change(&appliance, json!({ "SHUTDOWN_TIMEOUT_S": 1 }));
    let last = checked(&appliance, &engine, 2).start();
    plays(&last);
    let status = appliance.terminate(SOON);
    assert!(status.success(), "{status}");
}

/// What is a setting of a group, with tests of its own, is changed by the tests of what it does, or means the only thing it may.
const ELSEWHERE: &[&str] = &[
    "HOT_SESSION_CLIENTS",
    "JOIN_BEHIND_S",
    "PROXY_GRACE_PERIOD",
    "MAX_STREAMS_PER_ENGINE",
    "ENGINE_VARIANT",
    "MIN_REPLICAS",
    "MAX_REPLICAS",
    "AUTO_DELETE",
    "PROXY_STREAM_MODE",
    "STREAM_LOOP_DETECTION_ENABLED",
    "STREAM_LOOP_DETECTION_THRESHOLD_S",
    "STREAM_LOOP_CHECK_INTERVAL_S",
    "STREAM_LOOP_RETENTION_MINUTES",
    "DEBUG_MODE",
    "OTLP_ENDPOINT",
    "ACEXY_SCHEME",
];

/// Guards: every variable that acts is either changed in a test here while the appliance runs, or stands in a list that says where
/// its effect is tested instead.
#[test]
fn every_variable_that_acts_is_changed_or_listed() {
    let here =
        [include_str!("changed.rs"), include_str!("changed_docker.rs"), include_str!("changed_engines.rs")]
            .concat();
    for variable in names::ALL.iter().filter(|variable| variable.effect == Effect::Acts) {
        let name = variable.name;
        let is_changed = here.contains(&format!("\"{name}\":"));
        let is_elsewhere = ELSEWHERE.contains(&name);
        let needs_restart = matches!(takes(variable), Takes::Restart | Takes::Fixed(_));
        assert!(is_changed || is_elsewhere || needs_restart, "no test changes {name}");
        assert!(!(is_changed && is_elsewhere), "{name} is changed here");
    }
}
