//! The defects that the REST contract and the description of engines list of earlier programs, one by one: which test holds that
//! each is gone. Those of the contract that had none elsewhere have it here.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests are threads of their own: they connect, wait and lock"
)]

mod common;

use common::engine::Engine;
use common::{Bench, eventually, number, options};
use serde_json::{Value, json};
use sluice_control::Options;
use std::path::Path;
use std::time::Duration;

/// The list as published: its number, the defect, and the tests that hold it gone (file below the root, name).
const PITFALLS: [(&str, &[(&str, &str)]); 18] = [
    (
        "starting an engine answers a plain 500 after it has started",
        &[
            (HERE, "starting_an_engine_answers_json_in_every_case"),
            (DOCKER, "engines_and_containers_are_had_by_rest"),
        ],
    ),
    (
        "files of settings overrule the environment",
        &[
            (SETTINGS, "changes_survive_until_the_environment_changes"),
            (HERE, "a_fresh_start_takes_the_environment_and_no_custom_variant"),
        ],
    ),
    (
        "an end without a known id ends somebody else's stream",
        &[(STREAMS, "nobody_ends_somebody_elses_stream")],
    ),
    (
        "engines that only events know vanish, and their streams with them",
        &[(HERE, "engines_that_only_events_know_stay_while_something_plays_on_them")],
    ),
    (
        "dead sessions are never cleaned up",
        &[
            (HERE, "a_playback_its_engine_does_not_know_ends"),
            ("control/src/streams/stale.rs", "it_takes_answers_and_time"),
        ],
    ),
    (
        "the routes of the proxy's sessions always fail",
        &[
            ("control/tests/rest.rs", "status_counts_watched_sessions_apart_and_has_the_published_shape"),
            ("tests/appliance/monitoring.rs", "the_published_lines_answer"),
        ],
    ),
    (
        "without a key any container of the host can be removed",
        &[
            (HERE, "containers_that_are_not_ours_are_out_of_reach_without_a_key"),
            ("tests/docker/refusals.rs", "what_is_not_ours_is_left_alone"),
        ],
    ),
    (
        "numbers where text was expected lose whole samples",
        &[(STREAMS, "figures_of_reported_streams_are_collected")],
    ),
    (
        "monitoring waits for engines that hang",
        &[
            ("control/tests/status.rs", "engines_that_hang_keep_nobody_waiting"),
            ("control/tests/rest.rs", "every_read_is_answered_while_the_engine_hangs"),
        ],
    ),
    (
        "a refused change is half applied, and a backup is not checked",
        &[(SETTINGS, "a_refused_change_changes_nothing"), (SETTINGS, "a_bad_backup_changes_nothing")],
    ),
    (
        "settings of HLS are not read back, and not in the backup",
        &[(HERE, "settings_of_hls_survive_a_restart"), (SETTINGS, "a_backup_restores_everything")],
    ),
    (
        "a restart removes every engine and interrupts viewers",
        &[
            ("control/tests/restart.rs", "a_new_control_learns_what_is_in_use_and_grants_nothing_twice"),
            ("tests/docker/life.rs", "a_fleet_lives_through_everything"),
        ],
    ),
    (
        "moments with another zone, or none, are not understood",
        &[(HERE, "a_moment_means_the_same_in_every_zone")],
    ),
    (
        "the list of looping streams forgets, misses other names, and takes one reading for proof",
        &[
            (STREAMS, "a_stream_that_loops_is_blocked"),
            ("control/src/streams/looping/detector.rs", "one_reading_decides_nothing"),
        ],
    ),
    (
        "failures inside are plain text, and removing nothing is logged as done",
        &[
            ("control/src/api/routes.rs", "failures_inside_are_told_in_json"),
            (HERE, "removing_nothing_is_not_logged"),
        ],
    ),
    (
        "public reads show tokens, addresses and containers of others",
        &[
            (SETTINGS, "templates_are_kept_in_ten_slots"),
            ("control/tests/access.rs", "reads_can_be_closed"),
            ("control/tests/access.rs", "without_docker_and_vpn_the_standalone_form_is_answered"),
        ],
    ),
    (
        "stops leave no trace in the log",
        &[(HERE, "stops_are_found_in_the_log"), (DOCKER, "engines_and_containers_are_had_by_rest")],
    ),
    ("routes reach out on behalf of anybody", &[(HERE, "no_route_reaches_out_on_behalf_of_a_stranger")]),
];

/// What goes wrong with engines in Docker: each case as described, and the tests that hold it gone. Those about a VPN come down to
/// one rule for as long as there is no support for it: where one is asked for, no engine is made or used.
const OF_ENGINES: [(&str, &[(&str, &str)]); 26] = [
    ("names are counted and collide", &[(FLEET, "names_fill_gaps_and_are_never_counted")]),
    (
        "ports are mapped on a network that is not the container's own",
        &[
            (VPN, NO_VPN),
            ("control/src/engines/recipe/tests.rs", "ports_are_published_on_the_operators_address"),
            ("tests/docker/placements.rs", "engines_on_the_hosts_network_are_reached"),
        ],
    ),
    ("an engine in a VPN's namespace is restarted when the VPN is another container", &[(VPN, NO_VPN)]),
    ("an engine costs two ports of its range", &[(FLEET, "an_engine_costs_one_port_of_its_range")]),
    ("ports of engines that went are not given back", &[(FLEET, "every_way_out_gives_its_ports_back")]),
    ("a list takes the ports of a start under way", &[(FLEET, "a_list_during_a_start_takes_nothing_away")]),
    ("every start waits for the VPN by itself", &[(VPN, NO_VPN)]),
    (
        "two engines are elected for one forwarded port",
        &[(FLEET, "one_engine_of_a_vpn_is_believed_to_be_forwarded")],
    ),
    ("a list loses which VPN an engine belongs to", &[(FLEET, "labels_survive_every_list")]),
    (
        "an answer that does not come is read as no containers",
        &[
            (FLEETS, "a_daemon_that_goes_away_takes_nothing_along"),
            (FLEETS, "a_lost_answer_is_cleared_up_by_the_list"),
            ("control/src/docker/client/tests.rs", "a_silent_daemon_is_late"),
            ("tests/docker/absence.rs", "players_do_not_notice_what_becomes_of_docker"),
        ],
    ),
    ("one stream per engine starts engines for ever", &[(FLEETS, "one_stream_per_engine_does_not_run_away")]),
    (
        "an engine is replaced before its successor is up",
        &[(FLEET, "a_successor_is_ready_before_the_old_one_goes")],
    ),
    (
        "a replacement that fails is tried with another engine each time",
        &[(FLEET, "a_replacement_that_cannot_be_had_is_not_tried_for_ever")],
    ),
    (
        "with as many engines as there may be none can be replaced",
        &[(FLEETS, "a_sick_engine_is_replaced_within_the_bounds")],
    ),
    ("a breaker that is half open lets nobody try", &[(FLEET, "a_half_open_breaker_lets_anybody_try")]),
    (
        "what cannot be done now counts as failed",
        &[(VPN, NO_VPN), (FLEETS, "a_daemon_that_goes_away_takes_nothing_along")],
    ),
    (
        "a cache is emptied under a stream",
        &[
            ("control/src/engines/caches.rs", "a_cache_in_use_is_never_emptied"),
            ("control/src/engines/service/tests.rs", "a_cache_that_is_too_large_is_emptied"),
        ],
    ),
    (
        "engines carry the name of the platform after a restart",
        &[
            ("control/src/settings/mod.rs", "the_template_in_force_is_known_from_the_start"),
            ("tests/docker/care.rs", "a_variant_of_ones_own_is_kept_and_its_cache_looked_after"),
        ],
    ),
    ("engines are started before the VPN is known to be well", &[(VPN, NO_VPN)]),
    ("several start engines at the same time", &[(FLEET, "starts_under_way_count_at_once")]),
    ("a start that failed goes on being counted", &[(FLEET, "a_failed_start_is_no_longer_counted")]),
    (
        "an engine that could not be stopped comes back",
        &[
            (FLEET, "a_removal_that_fails_is_not_undone_by_a_list"),
            (FLEET, "a_late_list_does_not_bring_back_what_is_gone"),
        ],
    ),
    (
        "a container that somebody stopped keeps its name and ports",
        &[(FLEETS, "stopped_containers_are_accounted_for")],
    ),
    (
        "stopping what is gone is a failure",
        &[("control/src/docker/client/tests.rs", "faults_are_told_apart")],
    ),
    ("an engine in use is taken for spare", &[(FLEET, "an_engine_in_use_is_never_spare")]),
    ("engines are stopped one after the other", &[(FLEET, "engines_are_stopped_together")]),
];

const FLEET: &str = "control/src/engines/fleet/tests/pitfalls.rs";
const FLEETS: &str = "control/src/engines/fleet/tests.rs";
const VPN: &str = "control/tests/fleet.rs";
const NO_VPN: &str = "a_vpn_that_is_asked_for_leaves_docker_and_engines_alone";
const HERE: &str = "control/tests/pitfalls.rs";
const DOCKER: &str = "tests/docker/rest.rs";
const STREAMS: &str = "control/tests/streams.rs";
const SETTINGS: &str = "control/tests/settings.rs";

/// Guards: each of the published defects has a test, and each test that is named exists.
#[test]
fn every_pitfall_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (what, tests) in PITFALLS.into_iter().chain(OF_ENGINES) {
        assert!(!tests.is_empty(), "nothing holds: {what}");
        for (file, name) in tests {
            let text =
                std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let is_test = [
                format!("#[test]\nfn {name}()"),
                format!("#[test]\n    fn {name}()"),
                format!("#[tokio::test]\nasync fn {name}()"),
                format!("#[tokio::test]\n    async fn {name}()"),
            ];
            assert!(is_test.iter().any(|test| text.contains(test)), "{file} has no test {name}, for: {what}");
        }
    }
}

fn report(id: &str, host: &str, port: u16) -> Value {
    json!({
        "engine": { "host": host, "port": port },
        "stream": { "key_type": "infohash", "key": number(7).to_string() },
        "session": {
            "playback_session_id": id,
            "stat_url": format!("http://{host}:{port}/ace/stat/{id}"),
            "command_url": format!("http://{host}:{port}/ace/cmd/{id}"),
            "is_live": 1,
        },
        "labels": { "stream_id": id },
    })
}

fn categories(bench: &Bench, query: &str) -> Vec<String> {
    let log = bench.get(&format!("/events?{query}")).json();
    log.as_array().unwrap().iter().map(|entry| entry["category"].as_str().unwrap().to_owned()).collect()
}

/// Guards: whatever becomes of the start of an engine, the answer is JSON of the documented form, with a code where it failed.
#[test]
fn starting_an_engine_answers_json_in_every_case() {
    let bench = Bench::start(options(&[]), 1);
    for body in [json!({}), json!({ "labels": { "a": "b" }, "env": { "CONF": "x" }, "host_port": 19000 })] {
        let answer = bench.send("POST /provision/acestream", &body);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let detail = answer.json()["detail"].clone();
        assert!(answer.status == 503 && detail["code"].is_string(), "{} {detail}", answer.status);
        assert!(detail["should_wait"].is_boolean() && detail["can_retry"].is_boolean(), "{detail}");
    }
}

/// Guards: where nobody changed anything the environment holds, what it does not say has its default, and no custom variant
/// is in force.
#[test]
fn a_fresh_start_takes_the_environment_and_no_custom_variant() {
    let environment = [("MIN_REPLICAS", "4"), ("MAX_REPLICAS", "9"), ("ENGINE_VARIANT", "jopsis-amd64")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let bench = Bench::start(Options { environment, ..options(&[]) }, 1);
    let shown = bench.get("/settings/engine").json();
    for (name, value, source) in [
        ("min_replicas", json!(4), "environment"),
        ("max_replicas", json!(9), "environment"),
        ("engine_variant", json!("jopsis-amd64"), "environment"),
        ("auto_delete", json!(true), "default"),
        ("use_custom_variant", json!(false), "default"),
    ] {
        assert_eq!((&shown[name], &shown["sources"][name]), (&value, &json!(source)), "{name}");
    }
    assert_eq!(bench.get("/custom-variant/config").json()["enabled"], false);
}

/// Guards: an engine nobody here named is listed, as somebody else's, for as long as a reported stream plays on it; neither it
/// nor the stream is dropped because nobody else knows of it.
#[test]
fn engines_that_only_events_know_stay_while_something_plays_on_them() {
    let (ours, theirs) = (Engine::start(), Engine::start());
    let quick = Options { collect_interval: Duration::from_millis(20), ..options(&[ours.authority()]) };
    let bench = Bench::start(quick, 1);
    bench.wait_healthy(1);
    let address = theirs.address();
    for id in ["a", "b"] {
        bench.send("POST /events/stream_started", &report(id, &address.ip().to_string(), address.port()));
    }
    let listed = || {
        let engines = bench.get("/engines").json();
        engines.as_array().unwrap().iter().find(|engine| engine["port"] == address.port()).cloned()
    };
    let engine = listed().expect("it is listed at once");
    assert_eq!((&engine["streams"], &engine["labels"]["external"]), (&json!(["a", "b"]), &json!("true")));
    // Polled again and again, and in Docker there is none such.
    eventually("it was asked for figures", || theirs.requests().len() >= 10);
    bench.send("POST /events/stream_ended", &json!({ "stream_id": "a" }));
    assert_eq!(listed().expect("something plays on it")["streams"], json!(["b"]));
    assert_eq!(bench.get("/streams?status=started").json().as_array().map(Vec::len), Some(1));
    bench.send("POST /events/stream_ended", &json!({ "stream_id": "b" }));
    assert_eq!(listed(), None, "nothing plays on it any more");
}

/// Guards: a stream whose engine says again and again that it does not know the playback ends with its own reason, in the log
/// too; a stream whose engine says nothing does not.
#[test]
fn a_playback_its_engine_does_not_know_ends() {
    let (engine, mute) = (Engine::start(), Engine::start());
    engine.answer("/ace/stat/", r#"{"response":null,"error":"unknown playback session id"}"#);
    mute.set_mood(common::engine::Mood::Broken);
    let quick = Options {
        collect_interval: Duration::from_millis(20),
        stale_after: Duration::from_millis(200),
        ..options(&[])
    };
    let bench = Bench::start(quick, 1);
    for (id, address) in [("dead", engine.address()), ("mute", mute.address())] {
        bench.send("POST /events/stream_started", &report(id, &address.ip().to_string(), address.port()));
    }
    eventually("it has ended", || bench.get("/streams").json()[0]["status"] == "ended");
    let streams = bench.get("/streams").json();
    assert_eq!(
        (&streams[0]["id"], &streams[0]["end_reason"]),
        (&json!("dead"), &json!("stale_stream_detected"))
    );
    assert_eq!((&streams[1]["id"], &streams[1]["status"]), (&json!("mute"), &json!("started")));
    let entry = bench.get("/events?stream_id=dead&category=ended").json()[0].clone();
    assert_eq!(entry["details"]["reason"], "stale_stream_detected");
}

/// Guards: a stream whose figures cannot be had for a long time, although its engine answers, ends with its own reason and no longer
/// counts as use of that engine; one on an engine of which nothing is known stays for much longer.
#[test]
fn a_stream_nobody_hears_of_does_not_hold_its_engine_for_ever() {
    let (well, unknown) = (Engine::start(), Engine::start());
    let quick = Options {
        collect_interval: Duration::from_millis(20),
        unheard_after: Duration::from_secs(1),
        ..options(&[well.authority()])
    };
    let bench = Bench::start(quick, 1);
    bench.wait_healthy(1);
    for (id, address) in [("dead", well.address()), ("far", unknown.address())] {
        let mut told = report(id, &address.ip().to_string(), address.port());
        told["session"]["stat_url"] = json!("https://nowhere.invalid/stat");
        assert_eq!(bench.send("POST /events/stream_started", &told).status, 200);
    }
    let listed = |id: &str| {
        let streams = bench.get("/streams").json();
        streams.as_array().unwrap().iter().find(|stream| stream["id"] == id).cloned().expect("it is listed")
    };
    let on_engine = || {
        let engines = bench.get("/engines").json();
        let port = well.address().port();
        engines
            .as_array()
            .unwrap()
            .iter()
            .find(|engine| engine["port"] == port)
            .map(|engine| engine["streams"].clone())
    };
    eventually("it has ended", || listed("dead")["status"] == "ended");
    assert_eq!(listed("dead")["end_reason"], "no_sign_of_life");
    eventually("its engine is free", || on_engine() == Some(json!([])));
    assert_eq!(listed("far")["status"], "started");
}

/// Guards: with no key asked for, containers that are not managed are neither shown nor removed, and none is started.
#[test]
fn containers_that_are_not_ours_are_out_of_reach_without_a_key() {
    let bench = Bench::start(options(&[]), 1);
    for name in ["postgres", "4f1c9a0b2c3d", "..%2F..%2Fcontainers"] {
        assert_eq!(bench.get(&format!("/containers/{name}")).status, 404, "{name}");
        assert_eq!(bench.send(&format!("DELETE /containers/{name}"), &Value::Null).status, 404, "{name}");
    }
    assert_eq!(bench.send("POST /provision", &json!({ "image": "evil/image" })).status, 503);
}

/// Guards: each setting of HLS is what it was changed to after a restart.
#[test]
fn settings_of_hls_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let kept = || Options { data_dir: Some(directory.path().to_owned()), ..options(&[]) };
    let changed = json!({
        "stream_mode": "HLS", "hls_max_segments": 30, "hls_initial_segments": 4, "hls_window_size": 7,
        "hls_buffer_ready_timeout": 31, "hls_first_segment_timeout": 32, "hls_initial_buffer_seconds": 11,
        "hls_max_initial_segments": 12, "hls_segment_fetch_interval": 0.75,
    });
    let bench = Bench::start(kept(), 1);
    assert_eq!(bench.send("POST /proxy/config", &changed).status, 200);
    drop(bench);
    let shown = Bench::start(kept(), 1).get("/proxy/config").json();
    for (name, value) in changed.as_object().unwrap() {
        assert_eq!((&shown[name], &shown["sources"][name]), (value, &json!("api")), "{name}");
    }
}

/// Guards: one instant written in several zones, without one, as a date and as a number picks the same entries and samples;
/// what is shown has its zone.
#[test]
fn a_moment_means_the_same_in_every_zone() {
    let engine = Engine::start();
    engine.answer("/ace/stat/", r#"{"response":{"peers":7},"error":null}"#);
    let quick = Options { collect_interval: Duration::from_millis(20), ..options(&[engine.authority()]) };
    let bench = Bench::start(quick, 1);
    let address = engine.address();
    bench.send("POST /events/stream_started", &report("a", &address.ip().to_string(), address.port()));
    eventually("there are figures", || {
        bench.get("/streams/a/stats").json().as_array().is_some_and(|samples| !samples.is_empty())
    });
    // Wall clocks of the east are ahead: read without their zone these would lie in the future, or far in the past.
    let (past, future) = (
        [
            "2026-01-01T12:00:00Z",
            "2026-01-01T12:00:00",
            "2026-01-01T22:00:00%2B10:00",
            "2026-01-01",
            "1767268800",
        ],
        [
            "2999-01-01T00:00:00Z",
            "2999-01-01T00:00:00",
            "2999-01-01T00:00:00-11:00",
            "2999-01-01",
            "32472144000",
        ],
    );
    for path in ["/events", "/streams/a/stats"] {
        let count = |since: &str| {
            let answer = bench.get(&format!("{path}?since={since}"));
            assert_eq!(answer.status, 200, "{path} {since}: {}", answer.text());
            answer.json().as_array().map(Vec::len)
        };
        past.iter().for_each(|since| assert!(count(since) > Some(0), "{path} {since}"));
        future.iter().for_each(|since| assert_eq!(count(since), Some(0), "{path} {since}"));
    }
    let newest = bench.get("/events?event_type=stream").json()[0]["timestamp"].as_str().unwrap().to_owned();
    let (date, time) = newest.trim_end_matches('Z').split_once('T').unwrap();
    let (hour, rest) = time.split_once(':').unwrap();
    // The same instant, five hours to the east of it, where it may be the next day.
    let hour: u32 = hour.parse().unwrap();
    if hour < 19 {
        let there = format!("{date}T{:02}:{rest}%2B05:00", hour + 5);
        let found = bench.get(&format!("/events?event_type=stream&since={there}")).json();
        assert_eq!(found[0]["timestamp"], newest, "{there} is {newest}");
    }
    let stats = bench.get("/events/stats").json();
    for end in ["oldest", "newest"] {
        assert!(stats[end].as_str().is_some_and(|time| time.ends_with('Z')), "{stats}");
    }
}

/// Guards: removing a container there is not is 404, and the log says nothing of it.
#[test]
fn removing_nothing_is_not_logged() {
    let bench = Bench::start(options(&[]), 1);
    let answer = bench.send("DELETE /containers/4f1c", &Value::Null);
    assert_eq!((answer.status, answer.json()), (404, json!({ "detail": "container not found" })));
    assert_eq!(categories(&bench, "event_type=engine&category=deleted"), [] as [&str; 0]);
}

/// Guards: each stop through the API is one entry of the log, with who asked for it.
#[test]
fn stops_are_found_in_the_log() {
    let engine = Engine::start();
    engine.answer("/ace/cmd/", r#"{"response":"ok"}"#);
    let bench = Bench::start(options(&[engine.authority()]), 1);
    let (host, port) = (engine.address().ip().to_string(), engine.address().port());
    for id in ["a", "b"] {
        bench.send("POST /events/stream_started", &report(id, &host, port));
    }
    assert_eq!(bench.send("DELETE /streams/a", &Value::Null).status, 200);
    let command = format!("http://{host}:{port}/ace/cmd/b");
    assert_eq!(bench.send("POST /streams/batch-stop", &json!([command])).json()["success_count"], 1);
    for (id, reason) in [("a", "manual_stop_via_api"), ("b", "batch_stop_via_api")] {
        assert_eq!(categories(&bench, &format!("stream_id={id}")), ["ended", "started"]);
        let entry = bench.get(&format!("/events?stream_id={id}&category=ended")).json()[0].clone();
        assert_eq!(
            (&entry["details"]["reason"], &entry["container_id"]),
            (&json!(reason), &json!(engine.authority()))
        );
    }
}

/// Guards: no route fetches an address that a caller names.
#[test]
fn no_route_reaches_out_on_behalf_of_a_stranger() {
    let engine = Engine::start();
    let bench = Bench::start(options(&[]), 1);
    let url = format!("http%3A%2F%2F{}%2Fplaylist.m3u", engine.authority());
    for line in [
        format!("GET /modify_m3u?m3u_url={url}"),
        format!("POST /modify_m3u?m3u_url={url}"),
        format!("GET /proxy?url={url}"),
    ] {
        assert_eq!(bench.send(&line, &Value::Null).status, 404, "{line}");
    }
    // What would have done so of the data plane's is no route of either plane.
    assert_eq!(bench.send(&format!("POST /ace/preflight?id={url}"), &Value::Null).status, 405);
    assert_eq!(bench.send(&format!("POST /ace/monitor/start?url={url}"), &Value::Null).status, 405);
    assert_eq!(engine.requests(), [] as [String; 0]);
}
