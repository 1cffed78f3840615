//! The life of a fleet in one scripted sequence: start, play, lose engines, restart everything, scale down.

use crate::common::{Appliance, SOON, Setup, eventually_within, until};
use crate::daemon::Daemon;
use serde_json::Value;
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use sluice_bench::player::{Player, check};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Bytes per second of the channels in the images.
pub const RATE: u64 = 250_000;
const LABEL: (&str, &str) = ("orchestrator.managed", "acestream");

fn setup(daemon: &Daemon) -> Setup {
    Setup::bare()
        .env("ENGINE_PROVISIONING", "on")
        .env("DOCKER_HOST", &daemon.host())
        .env("CONTAINER_LABEL", "orchestrator.managed=acestream")
        .env("ENGINE_VARIANT", "krinkuto11-amd64")
        .env("DATA_DIR", &daemon.directory().join("data-of-sluice").display().to_string())
        .env("MIN_REPLICAS", "3")
        .env("MAX_REPLICAS", "6")
        .env("MAX_STREAMS_PER_ENGINE", "1")
        .env("ENGINE_GRACE_PERIOD_S", "3")
        .env("MONITOR_INTERVAL_S", "2")
        .env("MIN_PROVISION_INTERVAL_S", "0.1")
        .env("PROXY_GRACE_PERIOD", "500ms")
}

fn fleet(appliance: &Appliance, phase: &str) -> f64 {
    appliance.metric(&format!("sluice_fleet_engines{{phase=\"{phase}\""))
}

/// Waits until Docker runs that many engines and the appliance has them all, `streams` of them in use; then what both say of
/// each has to be the same, and as documented: its name, labels, ports and counts.
fn settled(daemon: &Daemon, appliance: &Appliance, counts: RangeInclusive<usize>, streams: usize) {
    let mut last = Value::Null;
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually_within("all are settled", 3 * SOON, || {
            last = appliance.json("/orchestrator/status");
            let count = daemon.running().len();
            let is_shown = last["engines"]["healthy"] == count && last["engines"]["total"] == count;
            let is_used = last["streams"]["active"] == streams && last["capacity"]["used"] == streams;
            let is_settled = daemon.engines().len() == count && fleet(appliance, "ready") == count as f64;
            (counts.contains(&count) && is_shown && is_used && is_settled).then_some(count)
        })
    }));
    let count = found.unwrap_or_else(|_| {
        panic!("{counts:?} engines, {streams} in use: Docker runs {:?}, shown is {last}", daemon.running())
    });
    let names = daemon.labelled(LABEL.0, LABEL.1);
    assert_eq!((&names, names.len()), (&daemon.engines(), count), "labels");
    let mut inspect = vec!["inspect"];
    inspect.extend(names.iter().map(String::as_str));
    let inspected: Vec<Value> = serde_json::from_str(&daemon.docker(&inspect)).expect("it prints JSON");
    let shown = appliance.json("/engines");
    let shown: BTreeMap<&str, &Value> = shown
        .as_array()
        .expect("a list")
        .iter()
        .map(|engine| (engine["container_id"].as_str().expect("an id"), engine))
        .collect();
    let (mut ports, mut instances) = (BTreeSet::new(), BTreeSet::new());
    for container in &inspected {
        let name = container["Name"].as_str().expect("a name").trim_start_matches('/');
        let labels = &container["Config"]["Labels"];
        let label = |key: &str| labels[key].as_str().unwrap_or_else(|| panic!("{name} has no label {key}"));
        let port = label("host.http_port");
        assert_eq!(label("acestream.http_port"), port, "{name}");
        assert_eq!(label("acestream.engine_variant"), "krinkuto11-amd64", "{name}");
        let second: u16 = label("acestream.https_port").parse().expect("a port");
        assert!((45_000..50_000).contains(&second), "{name}: {second}");
        assert!(
            ports.insert(port.to_owned()) && ports.insert(second.to_string()),
            "{name}: a port was given out twice"
        );
        instances.insert(label("sluice.instance").to_owned());
        let bound = &container["HostConfig"]["PortBindings"][format!("{port}/tcp")][0];
        assert_eq!((&bound["HostIp"], &bound["HostPort"]), (&"127.0.0.1".into(), &port.into()), "{name}");
        let engine = shown
            .get(container["Id"].as_str().expect("an id"))
            .unwrap_or_else(|| panic!("{name} is not shown"));
        assert_eq!((&engine["container_name"], engine["port"].to_string().as_str()), (&name.into(), port));
        assert_eq!((&engine["labels"], &engine["health_status"]), (labels, &"healthy".into()), "{name}");
    }
    assert_eq!((instances.len(), shown.len()), (1, count));
    assert_eq!(last["capacity"]["available"], count - streams, "{last}");
    assert_eq!(last["provisioning"]["can_provision"], count < 6, "{last}");
}

/// A player of the `n`th channel that compares every packet with what engines broadcast.
pub fn watching(appliance: &Appliance, reference: &Engine, n: u32) -> Player {
    let (id, infohash) = nth(n);
    let reference = reference.control().broadcast(infohash).expect("the channel exists");
    let plan = appliance
        .player(id)
        .check(check::Options { reference: Some(reference), ..check::Options::default() });
    plan.start()
}

pub fn all_play_on(players: &[Player]) {
    for player in players {
        player.wait_more(RATE, 2 * SOON).expect("it plays on");
        assert_eq!(player.end(), None, "nobody was disconnected");
        assert_eq!(player.report().faults(), Vec::<String>::new(), "{}", player.snapshot());
    }
}

/// Guards the fleet's whole life on a real Docker: the minimum at start, engines for players as they come, engines killed
/// under players, a restart of the appliance and of the daemon, and the way down again. Containers, labels, ports and
/// counts are right after each step.
#[test]
fn a_fleet_lives_through_everything() {
    let Some(mut daemon) = Daemon::start() else { return };
    let channels = (0..4).map(|n| ChannelSpec::synthetic(n, RATE)).collect();
    let reference = Engine::start(Options { channels, ..Options::default() }).expect("an engine starts");

    // Start: the minimum, with the lowest names.
    let mut appliance = setup(&daemon).start();
    settled(&daemon, &appliance, 3..=3, 0);
    assert_eq!(daemon.engines(), ["acestream-1", "acestream-2", "acestream-3"]);
    assert_eq!(daemon.inspect("acestream-1", "{{.HostConfig.RestartPolicy.Name}}"), "unless-stopped");

    // Four channels, one stream per engine: the fourth player is demand, and one place is kept ahead.
    let players: Vec<Player> = (0..4).map(|n| watching(&appliance, &reference, n)).collect();
    for player in &players {
        assert_eq!(player.wait_head(2 * SOON).expect("a head comes").status, 200);
        player.wait_decodable(SOON).expect("it plays");
    }
    settled(&daemon, &appliance, 5..=5, 4);
    all_play_on(&players);

    // Two engines are killed under their players; streams go on, and the fleet is whole again.
    let serving: Vec<String> = busy(&daemon, &appliance);
    assert_eq!(serving.len(), 4, "{serving:?}");
    let killed = daemon.docker(&["inspect", "--format", "{{.Id}}", &serving[0], &serving[1]]);
    daemon.docker(&["kill", &serving[0], &serving[1]]);
    all_play_on(&players);
    until("the loss is seen", || appliance.metric("sluice_fleet_events_total{event=\"lost\"") == 2.0);
    settled(&daemon, &appliance, 5..=5, 4);
    let left = daemon.docker(&["ps", "--all", "--quiet", "--no-trunc"]);
    assert!(killed.lines().all(|id| !left.contains(id)), "what was killed is still there");
    all_play_on(&players);

    // The appliance restarts: engines stay, and are taken over with their names and ports.
    let before = daemon.docker(&["ps", "--quiet", "--no-trunc"]);
    players.iter().for_each(|player| assert_eq!(player.end(), None));
    assert!(appliance.terminate(2 * SOON).success());
    drop(players);
    assert_eq!(daemon.docker(&["ps", "--quiet", "--no-trunc"]), before, "a stop left engines running");
    let mut appliance = setup(&daemon).start();
    until("five are ready", || fleet(&appliance, "ready") == 5.0);
    let players = play_four(&appliance, &reference);
    settled(&daemon, &appliance, 5..=5, 4);
    assert_eq!(daemon.docker(&["ps", "--quiet", "--no-trunc"]), before);
    assert_eq!(appliance.metric("sluice_fleet_events_total{event=\"adopted\""), 5.0);
    assert_eq!(appliance.metric("sluice_fleet_events_total{event=\"started\""), 0.0);

    // The daemon restarts, which ends and restarts every container; the appliance says so and gets everything back.
    daemon.end();
    until("the absence is noticed", || appliance.metric("sluice_docker_up") == 0.0);
    let health = appliance.json("/health");
    assert_eq!((&health["status"], &health["engines"]["docker"]), (&"degraded".into(), &"away".into()));
    let reasons = health["reasons"].as_array().expect("a list");
    assert!(reasons.iter().any(|reason| reason["code"] == "no_docker"), "{health}");
    daemon.begin();
    until("the return is noticed", || appliance.metric("sluice_docker_up") == 1.0);
    eventually_within("the fleet is whole", 3 * SOON, || (fleet(&appliance, "ready") >= 5.0).then_some(()));
    drop(players);
    let players = play_four(&appliance, &reference);
    // One that was asked for while the daemon went may have been made, and is kept as a second spare one.
    settled(&daemon, &appliance, 5..=6, 4);

    // Everybody leaves: down to the minimum, and not below.
    drop(players);
    settled(&daemon, &appliance, 3..=3, 0);
    let left = daemon.running();
    std::thread::sleep(Duration::from_secs(4));
    settled(&daemon, &appliance, 3..=3, 0);
    assert_eq!(daemon.running(), left, "engines went below the minimum");
    assert!(appliance.terminate(2 * SOON).success());
}

/// Plays four channels, and waits until all are seen.
fn play_four(appliance: &Appliance, reference: &Engine) -> Vec<Player> {
    let players: Vec<Player> = (0..4).map(|n| watching(appliance, reference, n)).collect();
    for player in &players {
        player.wait_decodable(2 * SOON).expect("it plays");
    }
    players
}

/// Names of the containers whose engines serve a stream now.
fn busy(daemon: &Daemon, appliance: &Appliance) -> Vec<String> {
    let sessions = appliance.json("/proxy/sessions");
    let sessions = sessions["sessions"].as_array().expect("a list").clone();
    let ids = sessions.iter().filter_map(|session| session["container_id"].as_str().map(str::to_owned));
    ids.map(|id| daemon.inspect(&id, "{{.Name}}").trim_start_matches('/').to_owned()).collect()
}
