//! What scripts and dashboards read: the published lines as they are, and that what they read is new.

use crate::common::{Appliance, Setup, until};
use crate::stage::{checked, engine, plays};
use sluice_bench::channel::nth;
use std::process::Command;

/// The lines operators were given, as they were given.
const LINES: [&str; 5] = [
    "curl http://localhost:8000/engines | jq '.[] | {id: .container_id, health: .health_status}'",
    "curl http://localhost:8000/proxy/status | jq '.sessions[] | {engine: .container_id, clients: .client_count}'",
    "curl http://localhost:8000/proxy/sessions | jq '.sessions[] | select(.client_count == 0)'",
    "curl http://localhost:8000/proxy/sessions | jq '.sessions[] | .ace_id' | sort | uniq -c",
    "curl http://localhost:8000/metrics | grep proxy",
];

/// Runs a line of shell whose `http://localhost:8000` is this appliance: curl is told so in its own settings file.
fn run(appliance: &Appliance, line: &str) -> String {
    let home = appliance.data().join("curl");
    std::fs::create_dir_all(&home).unwrap();
    let port = appliance.addr().port();
    std::fs::write(
        home.join(".curlrc"),
        format!("silent\nfail\nconnect-to = \"localhost:8000:127.0.0.1:{port}\"\n"),
    )
    .unwrap();
    let mut shell = Command::new("bash");
    shell.args(["-o", "pipefail", "-c", line]).env("CURL_HOME", &home).env_remove("http_proxy");
    let output = shell.output().expect("bash runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {} {error}", output.status);
    String::from_utf8(output.stdout).expect("text comes")
}

/// Guards the lines of the deployment guide, run verbatim with curl and jq: engines with their health, sessions with
/// their engines and clients, the one nobody watches, ids counted, metrics of the proxy.
#[test]
fn the_published_lines_answer() {
    let engines = [engine(2), engine(2)];
    let setup = Setup::with_engines(&[&engines[0], &engines[1]]).env("PROXY_GRACE_PERIOD", "300s");
    let appliance = setup.start();
    appliance.wait_healthy(2);
    let watched = checked(&appliance, &engines[0], 0).start();
    plays(&watched);
    let left = checked(&appliance, &engines[0], 1).start();
    plays(&left);
    drop(left);
    until("one session is watched and one is not", || {
        let status = appliance.json("/proxy/status");
        (&status["total_sessions"], &status["active_sessions"]) == (&2.into(), &1.into())
    });
    let [with_health, with_clients, unwatched, counted, proxy] = LINES.map(|line| run(&appliance, line));
    assert_eq!(with_health.matches(r#""health": "healthy""#).count(), 2, "{with_health}");
    for engine in &engines {
        assert!(with_health.contains(&format!(r#""id": "{}""#, engine.addr())), "{with_health}");
        assert!(with_clients.contains(&format!(r#""engine": "{}""#, engine.addr())), "{with_clients}");
    }
    assert!(with_clients.contains(r#""clients": 1"#) && with_clients.contains(r#""clients": 0"#));
    assert_eq!(unwatched.matches(r#""ace_id""#).count(), 1, "{unwatched}");
    assert!(unwatched.contains(&nth(1).0.to_string()), "{unwatched}");
    for n in [0, 1] {
        assert!(counted.contains(&format!("1 \"{}\"", nth(n).0)), "{counted}");
    }
    for shown in ["proxy_sessions_total 2", "proxy_sessions_active 1", "proxy_clients_active 1"] {
        assert!(proxy.contains(shown), "{shown}: {proxy}");
    }
}

/// Guards: who joins is shown at once, not at the next turn of a clock. Publications that are due every 250 ms are never
/// closer together than that.
#[test]
fn whoever_joins_is_shown_at_once() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).start();
    let first = checked(&appliance, &engine, 0).start();
    plays(&first);
    let path = format!("/proxy/streams/{}/clients", nth(0).0);
    let mut players = vec![first];
    let mut shown_at = Vec::new();
    while players.len() < 12 {
        players.push(appliance.player(nth(0).0).start());
        until("the player is shown", || {
            let clients = appliance.json(&path)["clients"].clone();
            let clients = clients.as_array().expect("a list");
            shown_at.extend(clients.first().and_then(|client| client["stats_updated_at"].as_f64()));
            clients.len() == players.len()
        });
    }
    shown_at.dedup();
    let closest = shown_at.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::MAX, f64::min);
    assert!(closest < 0.125, "publications are {closest} s apart at least: {shown_at:?}");
}

/// Guards: the walk through the API in the documents works as written, and passes every route there is.
#[test]
fn the_walk_passes_every_route() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).env("API_KEY", "walking").start();
    let mut walk = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/walk"));
    walk.arg(format!("http://{}", appliance.addr())).env("API_KEY", "walking").env_remove("http_proxy");
    let output = walk.output().expect("the script runs");
    let (walked, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{walked}\n{error}");
    let passed: Vec<(&str, Vec<&str>)> = walked
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (method, path) = (words.next()?, words.next()?);
            Some((method, path.split('?').next()?.split('/').collect()))
        })
        .collect();
    let document = appliance.json("/openapi.json");
    for (path, item) in document["paths"].as_object().expect("paths") {
        let parts: Vec<&str> = path.split('/').collect();
        for method in item.as_object().expect("operations").keys() {
            let is_passed = |(other, walked): &(&str, Vec<&str>)| {
                other.eq_ignore_ascii_case(method)
                    && walked.len() == parts.len()
                    && walked.iter().zip(&parts).all(|(walked, part)| part.starts_with('{') || walked == part)
            };
            assert!(passed.iter().any(is_passed), "the walk does not pass {method} {path}");
        }
    }
}

/// Guards the settings that act on what plays: changed through the API, they hold for the next stream and outlive a kill.
#[test]
fn settings_change_what_plays_and_outlive_a_kill() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).env("PROXY_GRACE_PERIOD", "300s").start();
    let change = |appliance: &Appliance, query: &str| {
        let path = format!("/proxy/config?{query}");
        let answer = sluice_bench::player::http::request(appliance.addr(), "POST", &path, &[], b"").unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text());
    };
    change(&appliance, "channel_shutdown_delay=0");
    let player = checked(&appliance, &engine, 0).start();
    plays(&player);
    drop(player);
    until("the session ends with its last player", || appliance.json("/proxy/status")["total_sessions"] == 0);

    let play = format!("/ace/getstream?id={}", nth(0).0);
    change(&appliance, "stream_mode=HLS");
    let sent_on = appliance.get(&play);
    assert!((300..400).contains(&sent_on.status()), "{}", sent_on.status());
    let appliance =
        appliance.kill_and_start(Setup::with_engines(&[&engine]).env("PROXY_GRACE_PERIOD", "300s"));
    let config = appliance.json("/proxy/config");
    assert_eq!((&config["stream_mode"], &config["channel_shutdown_delay"]), (&"HLS".into(), &0.into()));
    assert_eq!(config["sources"]["stream_mode"], "api");
    assert!((300..400).contains(&appliance.get(&play).status()));
}
