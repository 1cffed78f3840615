//! The life of a fleet in one scripted sequence: start, play, lose engines, restart everything, scale down.

use crate::common::{Appliance, SOON, Setup, eventually_within, until};
use crate::daemon::{Daemon, eventually_running};
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use sluice_bench::player::{Player, check};
use std::collections::BTreeSet;
use std::time::Duration;

/// Bytes per second of the channels in the images.
const RATE: u64 = 250_000;
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

/// Ports the labels of containers name, each once.
fn ports(daemon: &Daemon) -> BTreeSet<String> {
    let names = daemon.labelled(LABEL.0, LABEL.1);
    let port = |name: &String| daemon.inspect(name, r#"{{index .Config.Labels "host.http_port"}}"#);
    let ports: BTreeSet<String> = names.iter().map(port).collect();
    assert_eq!(ports.len(), names.len(), "a port was given out twice: {ports:?}");
    ports
}

/// A player of the `n`th channel that compares every packet with what engines broadcast.
fn watching(appliance: &Appliance, reference: &Engine, n: u32) -> Player {
    let (id, infohash) = nth(n);
    let reference = reference.control().broadcast(infohash).expect("the channel exists");
    let plan = appliance
        .player(id)
        .check(check::Options { reference: Some(reference), ..check::Options::default() });
    plan.start()
}

fn all_play_on(players: &[Player]) {
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

    // Start: the minimum, named and labelled as documented, each on a port of its own on the loopback address.
    let mut appliance = setup(&daemon).start();
    until("three engines are ready", || fleet(&appliance, "ready") == 3.0);
    assert_eq!(daemon.labelled(LABEL.0, LABEL.1), ["acestream-1", "acestream-2", "acestream-3"]);
    assert_eq!(ports(&daemon).len(), 3);
    let bound = daemon.inspect("acestream-1", "{{json .HostConfig.PortBindings}}");
    assert!(bound.contains("127.0.0.1"), "{bound}");
    assert_eq!(daemon.inspect("acestream-1", "{{.HostConfig.RestartPolicy.Name}}"), "unless-stopped");
    let variant = daemon.inspect("acestream-1", r#"{{index .Config.Labels "acestream.engine_variant"}}"#);
    assert_eq!(variant, "krinkuto11-amd64");

    // Four channels, one stream per engine: the fourth player is demand, and one place is kept ahead.
    let players: Vec<Player> = (0..4).map(|n| watching(&appliance, &reference, n)).collect();
    for player in &players {
        assert_eq!(player.wait_head(2 * SOON).expect("a head comes").status, 200);
        player.wait_decodable(SOON).expect("it plays");
    }
    eventually_running(&daemon, 5, SOON);
    all_play_on(&players);

    // Two engines are killed under their players; streams go on, and the fleet is whole again.
    let serving: Vec<String> = busy(&daemon, &appliance);
    assert_eq!(serving.len(), 4, "{serving:?}");
    daemon.docker(&["kill", &serving[0], &serving[1]]);
    all_play_on(&players);
    eventually_running(&daemon, 5, 2 * SOON);
    until("five are ready", || fleet(&appliance, "ready") == 5.0);
    assert_eq!(ports(&daemon).len(), 5, "what was killed is gone, reservations included");
    all_play_on(&players);

    // The appliance restarts: engines stay, and are taken over with their names and ports.
    let before = (daemon.docker(&["ps", "--quiet", "--no-trunc"]), ports(&daemon));
    players.iter().for_each(|player| assert_eq!(player.end(), None));
    assert!(appliance.terminate(2 * SOON).success());
    drop(players);
    assert_eq!(daemon.running().len(), 5, "a stop left engines running");
    let mut appliance = setup(&daemon).start();
    until("five are ready", || fleet(&appliance, "ready") == 5.0);
    let players: Vec<Player> = (0..4).map(|n| watching(&appliance, &reference, n)).collect();
    for player in &players {
        player.wait_decodable(2 * SOON).expect("it plays");
    }
    assert_eq!((daemon.docker(&["ps", "--quiet", "--no-trunc"]), ports(&daemon)), before);
    assert_eq!(appliance.metric("sluice_fleet_events_total{event=\"adopted\""), 5.0);

    // The daemon restarts, which ends and restarts every container; the appliance says so and gets everything back.
    daemon.end();
    until("the absence is noticed", || appliance.metric("sluice_docker_up") == 0.0);
    assert_eq!(appliance.get("/proxy/health").status(), 200);
    daemon.begin();
    until("the return is noticed", || appliance.metric("sluice_docker_up") == 1.0);
    eventually_within("the fleet is whole", 3 * SOON, || (fleet(&appliance, "ready") >= 5.0).then_some(()));
    drop(players);
    let players: Vec<Player> = (0..4).map(|n| watching(&appliance, &reference, n)).collect();
    for player in &players {
        player.wait_decodable(2 * SOON).expect("it plays again");
    }
    assert!(daemon.labelled(LABEL.0, LABEL.1).len() <= 6, "MAX_REPLICAS holds");

    // Everybody leaves: down to the minimum, and not below.
    drop(players);
    let left = eventually_running(&daemon, 3, 3 * SOON);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(daemon.running(), left, "engines went below the minimum");
    assert_eq!(daemon.labelled(LABEL.0, LABEL.1), left, "a container was left behind");
    assert!(appliance.terminate(2 * SOON).success());
}

/// Names of the containers whose engines serve a stream now.
fn busy(daemon: &Daemon, appliance: &Appliance) -> Vec<String> {
    let sessions = appliance.json("/proxy/sessions");
    let sessions = sessions["sessions"].as_array().expect("a list").clone();
    let ids = sessions.iter().filter_map(|session| session["container_id"].as_str().map(str::to_owned));
    ids.map(|id| daemon.inspect(&id, "{{.Name}}").trim_start_matches('/').to_owned()).collect()
}
