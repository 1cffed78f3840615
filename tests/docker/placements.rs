//! Where the appliance runs in relation to Docker: engines are found and play from everywhere.

use crate::common::{SOON, Setup, eventually_within, until};
use crate::daemon::{Daemon, REMOTE};
use sluice_bench::channel::nth;
use sluice_bench::player::{Player, http};
use std::net::{IpAddr, SocketAddr};

const READY: &str = "sluice_fleet_engines{phase=\"ready\"} 1";

/// The appliance in a container; removed when dropped.
struct Contained<'a> {
    daemon: &'a Daemon,
    addr: SocketAddr,
}

impl<'a> Contained<'a> {
    /// Starts it with these arguments of `docker run`.
    fn start(daemon: &'a Daemon, arguments: &[&str]) -> Self {
        let socket = format!("{}:/var/run/docker.sock", daemon.socket().display());
        let mut all = vec!["run", "--detach", "--name", "sluice", "--volume", &socket];
        for setting in [
            "MIN_REPLICAS=1",
            "MAX_REPLICAS=2",
            "DATA_DIR=/data",
            "ENGINE_VARIANT=krinkuto11-amd64",
            "NO_COLOR=1",
        ] {
            all.extend(["--env", setting]);
        }
        all.extend(arguments);
        all.push("sluice:test");
        daemon.docker(&all);
        let address = daemon.inspect("sluice", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
        let address: IpAddr = address.parse().unwrap_or(IpAddr::from([127, 0, 0, 1]));
        Self { daemon, addr: (address, 8000).into() }
    }

    /// Waits for its engine and plays on it.
    fn plays(&self) {
        let is_ready = || http::get(self.addr, "/metrics").is_ok_and(|answer| answer.text().contains(READY));
        eventually_within("the engine is ready", 2 * SOON, || is_ready().then_some(()));
        plays(self.addr);
    }
}

impl Drop for Contained<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.daemon.docker(&["logs", "sluice"]));
        }
        let mut names = self.daemon.engines();
        names.push("sluice".to_owned());
        let mut arguments = vec!["rm", "--force"];
        arguments.extend(names.iter().map(String::as_str));
        self.daemon.docker(&arguments);
    }
}

fn plays(addr: SocketAddr) {
    let player = Player::get(addr, &format!("/ace/getstream?id={}", nth(0).0)).start();
    let head = player.wait_head(2 * SOON).expect("a head comes");
    assert_eq!(head.status, 200, "{}", String::from_utf8_lossy(&player.first_bytes()));
    player.wait_decodable(SOON).expect("it plays");
}

/// The network engines are attached to.
fn network(daemon: &Daemon) -> String {
    daemon.inspect("acestream-1", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}")
}

/// Guards the appliance in a container, on the default bridge, on a network of its own and on the host's: its engines are
/// attached beside it, and it reaches them.
#[test]
fn a_contained_appliance_reaches_its_engines() {
    let Some(daemon) = Daemon::start() else { return };
    daemon.import_appliance();
    {
        let contained = Contained::start(&daemon, &[]);
        contained.plays();
        assert_eq!(network(&daemon), "bridge");
    }
    daemon.docker(&["network", "create", "aceserver"]);
    {
        let contained = Contained::start(&daemon, &["--network", "aceserver"]);
        contained.plays();
        assert_eq!(network(&daemon), "aceserver");
    }
    let contained = Contained::start(&daemon, &["--network", "host"]);
    contained.plays();
    assert_eq!(network(&daemon), "bridge");
}

/// Guards a Docker on another machine: engines are published on all its addresses and reached there, P2P ports of their own
/// included; publishing on its loopback address, where nobody could reach them, is refused with the remedy.
#[test]
fn a_remote_docker_is_reached_on_published_ports() {
    let Some(daemon) = Daemon::start() else { return };
    let setup = || {
        Setup::bare()
            .env("ENGINE_PROVISIONING", "on")
            .env("DOCKER_HOST", &format!("tcp://{REMOTE}"))
            .env("DATA_DIR", &daemon.directory().join("d").display().to_string())
            .env("ENGINE_VARIANT", "jopsis-arm64")
            .env("P2P_PORT_RANGE", "6000-6009")
            .env("MIN_REPLICAS", "2")
    };
    let refused = setup().env("ENGINE_PUBLISH_ADDR", "127.0.0.1").into_command().output().expect("it runs");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("ENGINE_PUBLISH_ADDR=127.0.0.1"), "{text}");
    let appliance = setup().start();
    until("both are ready", || appliance.metric("sluice_fleet_engines{phase=\"ready\"") == 2.0);
    plays(appliance.addr());
    let engines = appliance.get("/metrics").text();
    assert!(engines.contains("sluice_docker_up 1"), "{engines}");
    for (name, http, p2p) in [("acestream-1", 19_000, 6000), ("acestream-2", 19_001, 6001)] {
        let bound = daemon.inspect(name, "{{json .HostConfig.PortBindings}}");
        for port in [format!("{http}/tcp"), format!("{p2p}/tcp"), format!("{p2p}/udp")] {
            assert!(
                bound.contains(&format!("\"{port}\":[{{\"HostIp\":\"0.0.0.0\"")),
                "{name} {port}: {bound}"
            );
        }
        let told = daemon.inspect(name, "{{json .Config.Cmd}}");
        assert!(told.contains(&format!("\"--port\",\"{p2p}\"")), "{name}: {told}");
    }
}

/// Guards engines on the host's own network: nothing is published, they are reached, and nothing keeps them from asking the router
/// for their port.
#[test]
fn engines_on_the_hosts_network_are_reached() {
    let Some(daemon) = Daemon::start() else { return };
    let appliance = Setup::bare()
        .env("ENGINE_PROVISIONING", "on")
        .env("DOCKER_HOST", &daemon.host())
        .env("DATA_DIR", &daemon.directory().join("d").display().to_string())
        .env("ENGINE_VARIANT", "AceServe-amd64")
        .env("ENGINE_NETWORK", "host")
        .env("MIN_REPLICAS", "2")
        .start();
    until("engines are ready", || appliance.metric("sluice_fleet_engines{phase=\"ready\"") == 2.0);
    plays(appliance.addr());
    assert_eq!(
        daemon.inspect("acestream-1", "{{.HostConfig.NetworkMode}} {{json .HostConfig.PortBindings}}"),
        "host {}"
    );
    let told = daemon.inspect("acestream-1", "{{json .Config.Cmd}}");
    assert!(told.contains("--api-port") && !told.contains("upnp"), "{told}");
    // Its recipe keeps everything in memory, so there is nothing to measure or empty.
    until("where it keeps what it received is told", || {
        let engine = &appliance.json("/engines")[0];
        engine["cache_kind"] == "memory" && engine["cache_size_bytes"].is_null()
    });
}
