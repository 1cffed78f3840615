//! Settings that are changed while control runs: checked as a whole, stored as a whole, in force at once, and what a restart
//! makes of them.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests are threads of their own: they connect, wait and lock"
)]

mod common;

use common::engine::Engine;
use common::http::{Answer, read_answer};
use common::{Bench, options, stream};
use serde_json::{Value, json};
use sluice_contract::Holdings;
use sluice_control::Options;
use sluice_control::variables::{Base, Changed, Variable, Variables, mark_of};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn send(bench: &Bench, line: &str, body: &[u8]) -> Answer {
    let head = format!("{line} HTTP/1.1\r\nhost: sluice\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut peer = bench.hand_over(head.as_bytes());
    peer.write_all(body).unwrap();
    read_answer(&mut peer, false)
}

fn post(bench: &Bench, path: &str, body: &str) -> Answer {
    send(bench, &format!("POST {path}"), body.as_bytes())
}

/// Answers the detail of a refusal.
fn refused(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    answer.json()["detail"].clone()
}

fn kept(directory: &Path, environment: &[(&str, &str)]) -> Options {
    let given = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Options { data_dir: Some(directory.to_owned()), environment: given.collect(), ..options(&[]) }
}

/// Which test changes a setting while control runs and sees the effect.
const LIVE: &[(&str, &str, &str)] = &[
    ("join_behind_s", HERE, "every_setting_is_told_with_its_bounds"),
    ("channel_shutdown_delay", HERE, "settings_of_playing_are_read_and_changed"),
    ("stream_mode", HERE, "settings_of_playing_are_read_and_changed"),
    ("no_data_timeout_checks", HERE, "silence_is_borne_for_as_long_as_was_said"),
    ("no_data_check_interval", HERE, "settings_of_playing_are_read_and_changed"),
    ("max_streams_per_engine", HERE, "streams_per_engine_take_effect_at_once"),
    ("enabled", STREAMS, "a_stream_that_loops_is_blocked"),
    ("threshold_seconds", STREAMS, "the_search_for_loops_is_changed_while_it_runs"),
    ("check_interval_seconds", STREAMS, "the_search_for_loops_is_changed_while_it_runs"),
    ("retention_minutes", STREAMS, "what_looped_long_ago_is_forgotten_at_once"),
    ("min_replicas", FLEET, "settings_of_engines_hold_at_once"),
    ("max_replicas", FLEET, "settings_of_engines_hold_at_once"),
    ("auto_delete", FLEET, "settings_of_engines_hold_at_once"),
    ("engine_variant", FLEET, "settings_of_engines_hold_at_once"),
    ("use_custom_variant", FLEET, "settings_of_engines_hold_at_once"),
    ("debug_mode", "control/tests/debug_mode.rs", "every_kind_is_written_and_every_recipe_shows_it"),
    ("otlp_endpoint", "control/tests/traces.rs", "a_play_is_one_trace_as_long_as_somebody_wants_it"),
];
const HERE: &str = "control/tests/settings.rs";
const STREAMS: &str = "control/tests/streams.rs";
const FLEET: &str = "control/tests/fleet.rs";

/// Guards: each setting that is said to do something, in any group, has a test that changes it while control runs; each test
/// that is named exists.
#[test]
fn every_setting_that_acts_is_changed_in_a_test() {
    let bench = Bench::start(options(&[]), 1);
    let mut acting = Vec::new();
    for path in
        ["/proxy/config", "/stream-loop-detection/config", "/settings/engine", "/settings/orchestrator"]
    {
        let shown = bench.get(path).json();
        let inert = shown["without_effect"].as_array().expect("a list").clone();
        let all = shown["sources"].as_object().expect("every setting has a source");
        acting.extend(all.keys().filter(|name| !inert.contains(&json!(name))).cloned());
    }
    let untried: Vec<&String> =
        acting.iter().filter(|name| !LIVE.iter().any(|(live, ..)| live == name)).collect();
    assert!(untried.is_empty(), "no test changes these while control runs: {untried:?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (setting, file, test) in LIVE {
        assert!(acting.iter().any(|name| name == setting), "{setting} does nothing");
        let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(text.contains(&format!("#[test]\nfn {test}()")), "{file} has no test {test}");
        assert!(text.contains(setting), "{file} does not name {setting}");
    }
}

/// Guards: both numbers that make up how long a silent stream is borne, each by itself.
#[test]
fn silence_is_borne_for_as_long_as_was_said() {
    let bench = Bench::start(options(&[]), 1);
    assert_eq!(bench.dial.read().empty_timeout, options(&[]).tuning.empty_timeout);
    assert_eq!(post(&bench, "/proxy/config?no_data_timeout_checks=20", "").status, 200);
    assert_eq!(bench.dial.read().empty_timeout, Duration::from_secs(20));
    assert_eq!(post(&bench, "/proxy/config?no_data_check_interval=0.1", "").status, 200);
    assert_eq!(bench.dial.read().empty_timeout, Duration::from_secs(2));
}

/// Guards: every published field and its default, in both forms of asking, with the source of each; unknown names are
/// ignored.
#[test]
fn settings_of_playing_are_read_and_changed() {
    let bench = Bench::start(options(&[]), 1);
    let config = bench.get("/proxy/config").json();
    for (field, value) in [
        ("initial_data_wait_timeout", json!(10)),
        ("no_data_check_interval", json!(1.0)),
        ("channel_shutdown_delay", json!(5)),
        ("max_streams_per_engine", json!(3)),
        ("stream_mode", json!("TS")),
        ("hls_segment_fetch_interval", json!(0.5)),
        ("vlc_user_agent", json!("VLC/3.0.21 LibVLC/3.0.21")),
        ("buffer_chunk_size", json!(1_061_072)),
        ("engine_variant", json!("krinkuto11-amd64")),
    ] {
        assert_eq!(config[field], value, "{field}");
    }
    assert_eq!(config["sources"]["stream_mode"], "default");
    let inert = config["without_effect"].as_array().expect("what does nothing is told");
    assert!(inert.contains(&json!("stream_timeout")) && !inert.contains(&json!("stream_mode")), "{inert:?}");
    let told = post(&bench, "/proxy/config?channel_shutdown_delay=7&stream_mode=HLS&nonsense=1", "").json();
    assert_eq!((&told["channel_shutdown_delay"], &told["stream_mode"]), (&json!(7), &json!("HLS")));
    assert!(told["message"].is_string());
    let told = post(&bench, "/proxy/config", r#"{"no_data_check_interval": 0.5, "nonsense": {}}"#).json();
    assert_eq!(
        (&told["no_data_check_interval"], &told["sources"]["stream_mode"]),
        (&json!(0.5), &json!("api"))
    );
    let dial = bench.dial.read();
    assert_eq!((dial.grace, dial.is_hls_default), (Duration::from_secs(7), true));
    assert_eq!(dial.empty_timeout, Duration::from_secs(30), "60 looks, half a second apart");
}

/// Guards: every setting is told with its bounds, default and source, and the distance at which players join is changed while
/// shards run, but never to where a slow player would be cut at once.
#[test]
fn every_setting_is_told_with_its_bounds() {
    let join_behind_max = Some(Duration::from_secs(12));
    let bench = Bench::start(Options { join_behind_max, ..options(&[]) }, 1);
    let find = |name: &str| {
        let table = bench.get("/settings").json();
        let settings = table["settings"].as_array().unwrap().clone();
        settings.into_iter().find(|setting| setting["name"] == name).unwrap()
    };
    let join = find("join_behind_s");
    assert_eq!(
        (&join["value"], &join["default"], &join["source"]),
        (&json!(10.0), &json!(10.0), &json!("default"))
    );
    assert_eq!((&join["min"], &join["max"], &join["kind"]), (&json!(0.0), &json!(25.0), &json!("number")));
    assert_eq!(
        (&join["group"], &join["variables"], &join["acts"]),
        (&json!("proxy"), &json!(["JOIN_BEHIND_S", "PROFILE"]), &json!(true))
    );
    assert_eq!(find("retention_minutes")["max"], Value::Null);
    assert_eq!(find("stream_mode")["choices"], json!(["TS", "HLS"]));
    let told = refused(&post(&bench, "/proxy/config", r#"{"join_behind_s":12}"#), 400);
    assert_eq!(told, "join_behind_s must be below SLOW_CLIENT_LAG_S, 12 seconds");
    assert_eq!(post(&bench, "/proxy/config", r#"{"join_behind_s":4.5}"#).status, 200);
    assert_eq!(find("join_behind_s")["source"], "api");
    assert_eq!(bench.dial.read().join_behind, Some(Duration::from_millis(4500)));
}

/// Guards: a request with one fault changes nothing, whichever place the fault has; faults of form are 422.
#[test]
fn a_refused_change_changes_nothing() {
    let bench = Bench::start(options(&[]), 1);
    let before = bench.get("/proxy/config").json();
    for (query, told) in [
        ("channel_shutdown_delay=9&hls_window_size=2", "hls_window_size must be between 3 and 20"),
        ("connection_timeout=61&stream_timeout=20", "connection_timeout must be between 5 and 60 seconds"),
        ("stream_mode=DASH&channel_shutdown_delay=9", "stream_mode must be either 'TS' or 'HLS'"),
    ] {
        assert_eq!(refused(&post(&bench, &format!("/proxy/config?{query}"), ""), 400), told);
    }
    let fault = refused(&post(&bench, "/proxy/config?stream_timeout=x&channel_shutdown_delay=9", ""), 422);
    assert_eq!(
        (&fault[0]["type"], &fault[0]["loc"]),
        (&json!("int_parsing"), &json!(["query", "stream_timeout"]))
    );
    assert_eq!(bench.get("/proxy/config").json(), before);
    assert_eq!(bench.dial.read(), options(&[]).tuning);

    for (body, told) in [
        (r#"{"min_replicas":9,"max_replicas":3}"#, "min_replicas must be <= max_replicas"),
        (r#"{"max_replicas":1}"#, "min_replicas must be <= max_replicas"),
        (r#"{"min_replicas":51}"#, "min_replicas must be between 0 and 50"),
        (r#"{"auto_delete":false,"max_replicas":0}"#, "max_replicas must be between 1 and 100"),
    ] {
        assert_eq!(refused(&post(&bench, "/settings/engine", body), 400), told);
    }
    let unknown = refused(&post(&bench, "/settings/engine", r#"{"engine_variant":"x"}"#), 400);
    assert!(unknown.as_str().unwrap().contains("krinkuto11-amd64"), "{unknown}");
    let engine = bench.get("/settings/engine").json();
    assert_eq!((&engine["min_replicas"], &engine["auto_delete"]), (&json!(2), &json!(true)));
}

/// Guards: the settings of loop detection, with its own texts and required parameters.
#[test]
fn settings_of_loop_detection_are_checked() {
    let bench = Bench::start(options(&[]), 1);
    let path = "/stream-loop-detection/config";
    assert_eq!(bench.get(path).json()["threshold_hours"], 1.0);
    let missing = refused(&post(&bench, path, ""), 422);
    assert_eq!(missing.as_array().unwrap().len(), 2, "{missing}");
    for (query, told) in [
        ("enabled=1&threshold_seconds=59", "Threshold must be at least 60 seconds"),
        (
            "enabled=1&threshold_seconds=60&check_interval_seconds=4",
            "Check interval must be at least 5 seconds",
        ),
        ("enabled=1&threshold_seconds=60&retention_minutes=-1", "Retention minutes must be 0 or greater"),
    ] {
        assert_eq!(refused(&post(&bench, &format!("{path}?{query}"), ""), 400), told);
    }
    let told = post(&bench, path, r#"{"enabled": "yes", "threshold_seconds": "5400"}"#).json();
    assert_eq!((&told["enabled"], &told["threshold_minutes"]), (&json!(true), &json!(90.0)));
}

/// Guards: how many streams an engine carries is changed under those who wait for one.
#[test]
fn streams_per_engine_take_effect_at_once() {
    let engine = Engine::start();
    let with = Options { streams_per_engine: Some(1), ..options(&[engine.authority()]) };
    let mut bench = Bench::start(with, 1);
    bench.shards[0].lease(stream(1));
    let waiting = bench.shards[0].ask(stream(2), common::PATIENCE);
    assert!(bench.shards[0].try_next(Duration::from_millis(200)).is_none(), "the engine is full");
    assert_eq!(post(&bench, "/proxy/config?max_streams_per_engine=2", "").status, 200);
    bench.shards[0].answer(waiting).expect("there is room now");
}

/// Guards: a change outlives a restart; it yields to an environment that says something else than it did then, and to
/// `SETTINGS=env`; a given value is shown as such.
#[test]
fn changes_survive_until_the_environment_changes() {
    let directory = tempfile::tempdir().unwrap();
    let shown = |bench: &Bench| {
        let config = bench.get("/proxy/config").json();
        (config["stream_timeout"].clone(), config["sources"]["stream_timeout"].clone())
    };
    let first = [("PROXY_STREAM_TIMEOUT", "30")];
    let bench = Bench::start(kept(directory.path(), &first), 1);
    assert_eq!(shown(&bench), (json!(30), json!("environment")));
    assert_eq!(post(&bench, "/proxy/config?stream_timeout=40", "").status, 200);
    drop(bench);
    let bench = Bench::start(kept(directory.path(), &first), 1);
    assert_eq!(shown(&bench), (json!(40), json!("api")));
    drop(bench);
    let bench = Bench::start(Options { is_pinned: true, ..kept(directory.path(), &first) }, 1);
    assert_eq!(shown(&bench), (json!(30), json!("environment")));
    refused(&post(&bench, "/proxy/config?stream_timeout=50", ""), 409);
    drop(bench);
    let bench = Bench::start(kept(directory.path(), &[("PROXY_STREAM_TIMEOUT", "20")]), 1);
    assert_eq!(shown(&bench), (json!(20), json!("environment")));
    drop(bench);
    let bench = Bench::start(kept(directory.path(), &first), 1);
    assert_eq!(shown(&bench), (json!(30), json!("environment")), "what was overruled is gone");
}

/// Guards: templates through their whole life, with every refusal of the contract.
#[test]
fn templates_are_kept_in_ten_slots() {
    let bench = Bench::start(options(&[]), 1);
    let path = |rest: &str| format!("/custom-variant/templates{rest}");
    let listed = bench.get(&path("")).json();
    assert_eq!(listed["templates"].as_array().unwrap().len(), 10);
    assert_eq!(listed["templates"][2], json!({ "slot_id": 3, "name": "Template 3", "exists": false }));
    let mut config = bench.get("/custom-variant/config").json();
    config["memory_limit"] = json!("512m");
    let token = config["parameters"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .find(|p| p["name"] == "--access-token")
        .unwrap();
    token["value"] = json!("hunter2");
    let body = json!({ "name": "one", "config": config }).to_string();
    assert_eq!(
        post(&bench, &path("/3"), &body).json(),
        json!({ "message": "Template 3 saved successfully" })
    );
    let read = bench.get(&path("/3")).json();
    assert_eq!((&read["name"], &read["config"]["memory_limit"]), (&json!("one"), &json!("512m")));
    assert!(!read.to_string().contains("hunter2"), "a token is shown without the key");
    let export = bench.get(&path("/3/export"));
    assert_eq!(export.header("content-disposition"), Some("attachment; filename=\"template_3.json\""));
    assert!(export.text().contains("hunter2"));
    let import = json!({ "json_data": export.text() }).to_string();
    assert_eq!(post(&bench, &path("/4/import"), &import).status, 200);
    let told = post(&bench, &path("/4/activate"), "").json();
    assert_eq!((&told["template_id"], &told["template_name"]), (&json!(4), &json!("one")));
    let config = bench.get("/custom-variant/config").json();
    assert_eq!((&config["memory_limit"], &config["enabled"]), (&json!("512m"), &json!(false)));
    let renamed = send(&bench, &format!("PATCH {}", path("/4/rename")), br#"{"name":" two "}"#);
    assert_eq!(renamed.json()["message"], "Template 4 renamed to 'two' successfully");
    // Editing the configuration edits the active template.
    let edited = json!({ "platform": "arm64", "memory_limit": "1g" }).to_string();
    assert_eq!(post(&bench, "/custom-variant/config", &edited).status, 200);
    assert_eq!(bench.get(&path("/4")).json()["config"]["memory_limit"], "1g");

    let delete = |rest: &str| send(&bench, &format!("DELETE {}", path(rest)), b"");
    assert_eq!(refused(&delete("/4"), 400), "Cannot delete the currently active template");
    assert_eq!(delete("/3").json()["message"], "Template 3 deleted successfully");
    assert_eq!(refused(&delete("/3"), 404), "Template 3 not found");
    for slot in ["/0", "/11", "/-1", "/99999"] {
        assert_eq!(refused(&bench.get(&path(slot)), 400), "Template slot_id must be between 1 and 10");
    }
    refused(&bench.get(&path("/x")), 422);
    for (rest, body, told) in [
        ("/5", "{}", "Request must include 'name' and 'config'"),
        ("/5/import", "{}", "Request must include 'json_data'"),
        ("/5/import", r#"{"json_data":{}}"#, "Failed to import template"),
        ("/5/import", r#"{"json_data":"{"}"#, "Invalid JSON"),
        ("/5/import", r#"{"json_data":"{}"}"#, "Invalid template format"),
        ("/5", r#"{"name":"x","config":{"platform":"mips"}}"#, "Invalid configuration: platform"),
        ("/5", r#"{"name":"x","config":7}"#, "Invalid config"),
    ] {
        let text = refused(&post(&bench, &path(rest), body), 400);
        assert!(text.as_str().unwrap().starts_with(told), "{text}");
    }
    let no_name = send(&bench, &format!("PATCH {}", path("/4/rename")), br#"{"name":7}"#);
    refused(&no_name, 400);
    let fault =
        refused(&post(&bench, "/custom-variant/config", r#"{"platform":"amd64","memory_limit":"1"}"#), 422);
    assert_eq!(
        (&fault[0]["type"], &fault[0]["loc"]),
        (&json!("value_error"), &json!(["body", "memory_limit"]))
    );
    let parameters =
        json!({ "platform": "amd64", "parameters": [{ "name": "--x", "type": "int", "value": "1" }] });
    let told = refused(&post(&bench, "/custom-variant/config", &parameters.to_string()), 400);
    assert_eq!(told, "Invalid configuration: Parameter --x expects integer value");
    assert_eq!(bench.get("/custom-variant/reprovision/status").json()["status"], "idle");
    assert!(bench.get("/custom-variant/platform").json()["supported_platforms"].is_array());
}

/// Guards: a backup restores everything on an empty appliance, in the parts that are asked for.
#[test]
fn a_backup_restores_everything() {
    let from = Bench::start(options(&[]), 1);
    post(&from, "/proxy/config?stream_timeout=33&hls_window_size=9&max_streams_per_engine=7", "");
    post(&from, "/stream-loop-detection/config?enabled=true&threshold_seconds=90", "");
    post(&from, "/settings/engine", r#"{"min_replicas":1,"max_replicas":4,"auto_delete":false}"#);
    let config = from.get("/custom-variant/config").json();
    post(&from, "/custom-variant/templates/7", &json!({ "name": "seven", "config": config }).to_string());
    post(&from, "/custom-variant/templates/7/activate", "");
    let export = from.get("/settings/export");
    assert_eq!(export.header("content-type"), Some("application/zip"));
    let name = export.header("content-disposition").unwrap();
    assert!(
        name.starts_with("attachment; filename=\"orchestrator_settings_20") && name.ends_with(".zip\""),
        "{name}"
    );

    let to = Bench::start(options(&[]), 1);
    let told = send(&to, "POST /settings/import?import_engine=false", &export.body).json();
    let imported = json!({
        "custom_variant": true, "templates": 1, "active_template": true, "proxy": true, "loop_detection": true,
        "engine": false, "orchestrator": true, "errors": [],
    });
    assert_eq!((&told["imported"], &told["message"]), (&imported, &json!("Settings imported successfully")));
    let proxy = to.get("/proxy/config").json();
    for (field, value) in [("stream_timeout", 33), ("hls_window_size", 9), ("max_streams_per_engine", 7)] {
        assert_eq!(proxy[field], value, "{field}");
    }
    assert_eq!(to.get("/stream-loop-detection/config").json()["threshold_seconds"], 90);
    assert_eq!(to.get("/settings/engine").json()["max_replicas"], 6, "engine settings were not asked for");
    assert_eq!(to.get("/custom-variant/templates").json()["active_template_id"], 7);
    assert_eq!(send(&to, "POST /settings/import", &export.body).json()["imported"]["engine"], true);
    assert_eq!(to.get("/settings/engine").json()["max_replicas"], 4);
}

/// A ZIP archive of one stored member, as small as the format allows.
fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let mut hash = u32::MAX;
    for byte in content {
        hash ^= u32::from(*byte);
        for _ in 0..8 {
            hash = (hash >> 1) ^ (0xedb8_8320 & (hash & 1).wrapping_neg());
        }
    }
    let (crc, size, named) =
        ((!hash).to_le_bytes(), (content.len() as u32).to_le_bytes(), (name.len() as u16).to_le_bytes());
    let common = [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &crc, &size, &size, &named, &[0, 0]].concat();
    let local = [b"PK\x03\x04", &common[..], name.as_bytes(), content].concat();
    let central = [b"PK\x01\x02\x14\x00", &common[..], &[0; 14], name.as_bytes()].concat();
    let (at, length) = ((local.len() as u32).to_le_bytes(), (central.len() as u32).to_le_bytes());
    let end = [b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &length[..], &at, &[0, 0]].concat();
    [local, central, end].concat()
}

/// Guards: a bad backup changes nothing and is told why; none at all is a fault of the caller, not ours.
#[test]
fn a_bad_backup_changes_nothing() {
    let bench = Bench::start(options(&[]), 1);
    let import = |bytes: &[u8]| send(&bench, "POST /settings/import", bytes);
    assert_eq!(refused(&import(b""), 400), "No file data provided");
    assert_eq!(refused(&import(b"PK nonsense"), 400), "Invalid ZIP file");
    let good = archive("proxy_settings.json", br#"{"stream_timeout": 44, "unknown": 1}"#);
    for cut in [10, good.len() / 2, good.len() - 1] {
        refused(&import(&good[..cut]), 400);
    }
    let large = archive("engine_settings.json", &vec![b' '; 300 * 1024]);
    assert!(refused(&import(&large), 400).as_str().unwrap().contains("larger than"));
    for (name, content) in [
        ("proxy_settings.json", r#"{"stream_timeout": 44, "hls_window_size": 99}"#),
        ("proxy_settings.json", r#"{"stream_mode": "hls"}"#),
        ("engine_settings.json", r#"{"min_replicas": 9, "max_replicas": 3}"#),
        ("loop_detection_settings.json", "[]"),
        ("custom_engine_variant.json", r#"{"platform": "mips"}"#),
        ("templates/template_11.json", r#"{"name": "x", "config": {"platform": "amd64"}}"#),
        ("active_template.json", r#"{"active_template_id": 3}"#),
        ("proxy_settings.json", "{"),
    ] {
        let answer = import(&archive(name, content.as_bytes()));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let imported = answer.json()["imported"].clone();
        assert_eq!(imported["errors"].as_array().unwrap().len(), 1, "{imported}");
        assert_eq!((&imported["proxy"], &imported["templates"]), (&json!(false), &json!(0)));
    }
    assert_eq!(bench.get("/proxy/config").json()["stream_timeout"], 60);
    assert_eq!(bench.get("/custom-variant/templates").json()["active_template_id"], Value::Null);
    assert_eq!(import(&good).json()["imported"]["proxy"], true);
    assert_eq!(bench.get("/proxy/config").json()["stream_timeout"], 44);
}

/// Somebody who reads an environment: remembers what it is told, and refuses one value.
#[derive(Debug, Default)]
struct Reader(Mutex<Vec<Changed>>);

impl Variables for Reader {
    fn table(&self) -> Vec<Variable> {
        let variable = |name, aliases, is_secret, needs, fixed| Variable {
            name,
            aliases,
            group: "General",
            takes: "anything".to_owned(),
            default: "nothing".to_owned(),
            meaning: "Something.",
            is_secret,
            needs,
            fixed,
        };
        vec![
            variable("WARM_S", &["WARM"], false, "nothing", None),
            variable("APP_PORT", &[], false, "restart", None),
            variable("DATA_DIR", &[], false, "restart", Some("it is where changes are kept")),
            variable("EMPTY_TIMEOUT", &[], false, "nothing", None),
            variable("JOIN_BEHIND_S", &[], false, "nothing", None),
            variable("API_KEY", &[], true, "nothing", None),
        ]
    }

    fn check(&self, changed: &Changed) -> Result<Base, String> {
        let of = |name: &str| changed.variables.get(name).map(String::as_str);
        if of("WARM_S") == Some("bad") {
            return Err("WARM_S=bad is bad".to_owned());
        }
        let mut tuning = options(&[]).tuning;
        if let Some(seconds) = of("EMPTY_TIMEOUT").and_then(|text| text.parse().ok()) {
            tuning.empty_timeout = Duration::from_secs(seconds);
        }
        Ok(Base { tuning, join_behind_max: None })
    }

    fn apply(&self, changed: &Changed) {
        self.0.lock().unwrap().push(changed.clone());
    }
}

impl Reader {
    /// What it was told last.
    fn told(&self) -> Changed {
        self.0.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

const VARIABLES: &str = "/settings/variables";

/// A control beside such a reader, with what the environment says of its variables.
fn beside(options: Options) -> (Bench, Arc<Reader>) {
    let reader = Arc::new(Reader::default());
    let mut bench = Bench::start_beside(options, 1, 64, Some(reader.clone()));
    bench.shards.iter_mut().for_each(|shard| shard.report(Holdings::default()));
    (bench, reader)
}

fn variable(bench: &Bench, name: &str) -> Value {
    let table = bench.get(VARIABLES).json();
    table["variables"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone()
}

/// Guards: variables are changed as a whole or not at all, by any of their names and in any JSON form, are told with their
/// source, outlive a restart, yield to another environment, and are put in force only once they are stored.
#[test]
fn variables_are_changed_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (bench, reader) = beside(kept(directory.path(), &[("WARM", "5")]));
    assert_eq!(
        (&variable(&bench, "WARM_S")["value"], &variable(&bench, "WARM_S")["source"]),
        (&json!("5"), &json!("environment"))
    );
    let told = post(&bench, VARIABLES, r#"{"WARM":7,"APP_PORT":"81","EMPTY_TIMEOUT":9}"#).json();
    assert_eq!(
        told["changed"],
        json!({ "WARM_S": "nothing", "APP_PORT": "restart", "EMPTY_TIMEOUT": "nothing" })
    );
    assert_eq!(told["restart_required"], json!(["APP_PORT"]));
    let variables = |pairs: &[(&str, &str)]| -> std::collections::BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let all = variables(&[("WARM_S", "7"), ("APP_PORT", "81"), ("EMPTY_TIMEOUT", "9")]);
    assert_eq!(reader.told().variables, all);
    assert_eq!(bench.dial.read().empty_timeout, Duration::from_secs(9));

    let before = bench.get(VARIABLES).json();
    for (body, told) in [
        (r#"{"APP_PORT":1,"WARM_S":"bad"}"#, "WARM_S=bad is bad"),
        (r#"{"APP_PORT":1,"NO_SUCH":"x"}"#, "there is no variable NO_SUCH"),
        (
            r#"{"APP_PORT":1,"DATA_DIR":"/x"}"#,
            "DATA_DIR cannot be changed here: it is where changes are kept",
        ),
        (r#"{"JOIN_BEHIND_S":1}"#, "JOIN_BEHIND_S is changed as join_behind_s, by POST /proxy/config"),
        (r#"{"WARM_S":1,"WARM":2}"#, "WARM_S is in the request twice, by two of its names"),
        (r#"{"WARM_S":[1]}"#, "WARM_S must be text, a number, true, false or null"),
        ("{\"WARM_S\":\"a\\nb\"}", "WARM_S must be one line of at most 4096 characters"),
        (r#"{"API_KEY":"short"}"#, "API_KEY must be 16 to 256 printable ASCII characters without blanks"),
    ] {
        assert_eq!(refused(&post(&bench, VARIABLES, body), 400), told);
    }
    refused(&post(&bench, VARIABLES, "[]"), 422);
    assert_eq!(bench.get(VARIABLES).json(), before);
    assert_eq!(reader.told().variables, all, "nothing was put in force");

    // A setting of a group is told to whoever reads the environment as what it is there, and the last word on silence holds.
    assert_eq!(
        post(&bench, "/proxy/config", r#"{"join_behind_s":4,"no_data_timeout_checks":20}"#).status,
        200
    );
    assert_eq!(reader.told().settings, variables(&[("JOIN_BEHIND_S", "4.0")]));
    assert_eq!(bench.dial.read().empty_timeout, Duration::from_secs(20));
    assert_eq!(post(&bench, VARIABLES, r#"{"EMPTY_TIMEOUT":"8","APP_PORT":null}"#).status, 200);
    assert_eq!(bench.dial.read().empty_timeout, Duration::from_secs(8));
    let export = bench.get("/settings/export").body;
    drop(bench);

    let (bench, reader) = beside(kept(directory.path(), &[("WARM", "5")]));
    assert_eq!(reader.told().variables, variables(&[("WARM_S", "7"), ("EMPTY_TIMEOUT", "8")]));
    assert_eq!(variable(&bench, "WARM_S")["source"], "api");
    drop(bench);
    let (bench, _) = beside(Options { is_pinned: true, ..kept(directory.path(), &[("WARM", "5")]) });
    assert_eq!(variable(&bench, "WARM_S")["source"], "environment");
    refused(&post(&bench, VARIABLES, r#"{"WARM_S":1}"#), 409);
    drop(bench);
    let (bench, reader) = beside(kept(directory.path(), &[("WARM", "6")]));
    assert_eq!(reader.told().variables, variables(&[("EMPTY_TIMEOUT", "8")]));
    drop(bench);

    let (to, reader) = beside(options(&[]));
    let told = send(&to, "POST /settings/import", &export).json();
    assert_eq!(told["imported"]["errors"], json!([]));
    assert_eq!(reader.told().variables, variables(&[("WARM_S", "7"), ("EMPTY_TIMEOUT", "8")]));
    let bad = archive("variables.json", br#"{"WARM_S": "bad"}"#);
    assert_eq!(
        send(&to, "POST /settings/import", &bad).json()["imported"]["errors"],
        json!(["WARM_S=bad is bad"])
    );
    assert_eq!(variable(&to, "WARM_S")["value"], "7");
}

/// Guards: another API key holds at once and after a restart, is never shown, told to nobody and kept as a hash; another key
/// in the environment wins.
#[test]
fn the_api_key_is_changed_while_it_is_asked_for() {
    const FIRST: &str = "the-first-of-two-keys";
    const SECOND: &str = "the-second-of-two-keys";
    let directory = tempfile::tempdir().unwrap();
    let with = |key: &str| Options {
        api_key: sluice_control::ApiKey::Given(key.to_owned()),
        ..kept(directory.path(), &[("API_KEY", &mark_of(key))])
    };
    let change = |bench: &Bench, key: &str, body: &str| {
        let line = format!(
            "POST {VARIABLES} HTTP/1.1\r\nhost: sluice\r\nx-api-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        read_answer(&mut bench.hand_over(line.as_bytes()), false)
    };
    let (bench, reader) = beside(with(FIRST));
    let answer = change(&bench, FIRST, &json!({ "API_KEY": SECOND, "WARM_S": 3 }).to_string());
    assert_eq!((answer.status, answer.text().contains(SECOND)), (200, false));
    assert!(!reader.told().variables.contains_key("API_KEY"));
    assert_eq!(change(&bench, FIRST, "{}").status, 403);
    assert_eq!(change(&bench, SECOND, "{}").status, 200);
    drop(bench);
    let (bench, _) = beside(with(FIRST));
    assert_eq!((change(&bench, FIRST, "{}").status, change(&bench, SECOND, "{}").status), (403, 200));
    drop(bench);
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        assert!(!bytes.windows(SECOND.len()).any(|window| window == SECOND.as_bytes()));
    }
    let (bench, _) = beside(with("a-third-key-of-some-length"));
    assert_eq!(change(&bench, "a-third-key-of-some-length", "{}").status, 200);
    // Taking a change back brings the environment's key back.
    assert_eq!(
        change(&bench, "a-third-key-of-some-length", &json!({ "API_KEY": SECOND }).to_string()).status,
        200
    );
    assert_eq!(change(&bench, SECOND, r#"{"API_KEY":null}"#).status, 200);
    assert_eq!(change(&bench, "a-third-key-of-some-length", "{}").status, 200);
}
