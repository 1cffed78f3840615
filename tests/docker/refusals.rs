//! What is refused, and that nothing is made then.

use crate::common::{SOON, Setup, until};
use crate::daemon::{Daemon, Filled, Replaced};
use crate::rest::ask;
use serde_json::json;
use sluice_bench::channel::nth;

/// Guards the VPN that was asked for: no container is made, no engine is used, and the refusal says why.
#[test]
fn a_vpn_that_is_asked_for_makes_no_engine() {
    let Some(daemon) = Daemon::start() else { return };
    for (name, value) in [("GLUETUN_CONTAINER_NAME", "gluetun"), ("VPN_MODE", "redundant")] {
        let appliance = Setup::bare()
            .env("ENGINE_PROVISIONING", "on")
            .env("DOCKER_HOST", &daemon.host())
            .env("DATA_DIR", &daemon.directory().join("d").display().to_string())
            .env(name, value)
            .start();
        let player = appliance.player(nth(0).0).start();
        assert_eq!(player.wait_head(SOON).expect("a head comes").status, 503);
        player.wait_end(SOON).expect("a refusal ends");
        let text = String::from_utf8_lossy(&player.first_bytes()).into_owned();
        assert!(text.contains("\"code\":\"vpn_not_supported\""), "{text}");
        assert!(appliance.log_lines().iter().any(|line| line.contains("vpn_not_supported")));
        let health = appliance.json("/health");
        assert_eq!(
            (&health["status"], &health["reasons"][0]["code"]),
            (&"degraded".into(), &"vpn_not_supported".into())
        );
        let health = &health["engines"];
        assert_eq!(
            (&health["source"], &health["blocked"]["code"]),
            (&"refused".into(), &"vpn_not_supported".into())
        );
        let status = appliance.json("/orchestrator/status");
        assert_eq!(status["provisioning"]["blocked_reason_details"]["code"], "vpn_not_supported", "{status}");
        assert_eq!(
            (&status["status"], &status["provisioning"]["can_provision"]),
            (&"unavailable".into(), &false.into())
        );
        let (code, refused) = ask(&appliance, "POST", "/provision/acestream", &json!({}));
        assert_eq!((code, &refused["detail"]["code"]), (503, &"vpn_not_supported".into()), "{refused}");
        assert_eq!(ask(&appliance, "POST", "/provision", &json!({ "image": "jopsis/acestream:x64" })).0, 503);
        assert_eq!(daemon.all(), Vec::<String>::new());
    }
}

/// Guards another appliance's engines on the same Docker, and containers with our names and ports that are not ours: all
/// are left alone and worked around.
#[test]
fn what_is_not_ours_is_left_alone() {
    let Some(daemon) = Daemon::start() else { return };
    let setup = |instance: &str| {
        Setup::bare()
            .env("ENGINE_PROVISIONING", "on")
            .env("DOCKER_HOST", &daemon.host())
            .env("INSTANCE_ID", instance)
            .env("DATA_DIR", &daemon.directory().join(instance).display().to_string())
            .env("ENGINE_VARIANT", if instance == "one" { "jopsis-amd64" } else { "AceServe-amd64" })
            .env("MIN_REPLICAS", "1")
            .env("MONITOR_INTERVAL_S", "1")
    };
    // A program of the host holds the first port, which no list of containers shows.
    let _held = std::net::TcpListener::bind("127.0.0.1:19000").expect("the port is free");
    let image = "jopsis/acestream:x64";
    daemon.docker(&["create", "--name", "acestream-1", image]);
    let mut first = setup("one").start();
    until("the first has its engine", || first.metric("sluice_fleet_engines{phase=\"ready\"") == 1.0);
    let second = setup("two").start();
    until("the second has its engine", || second.metric("sluice_fleet_engines{phase=\"ready\"") == 1.0);
    let label =
        |name: &str, label: &str| daemon.inspect(name, &format!("{{{{index .Config.Labels \"{label}\"}}}}"));
    let of = |instance: &str| {
        let mut names = daemon.running();
        names.retain(|name| label(name, "sluice.instance") == instance);
        assert_eq!(names.len(), 1, "{names:?}");
        names.remove(0)
    };
    let (one, two) = (of("one"), of("two"));
    assert_ne!(label(&one, "host.http_port"), "19000");
    assert_ne!(label(&one, "host.http_port"), label(&two, "host.http_port"));
    assert_eq!(label(&two, "acestream.https_port"), "");
    daemon.docker(&["kill", &one]);
    until("it is replaced", || first.metric("sluice_fleet_events_total{event=\"lost\"") == 1.0);
    until("by its owner", || first.metric("sluice_fleet_engines{phase=\"ready\"") == 1.0);
    assert_eq!(second.metric("sluice_fleet_events_total{event=\"lost\""), 0.0);
    assert!(daemon.engines().iter().any(|name| name == "acestream-1"), "a stranger's container was touched");

    // A stop takes nothing along; the operator's word does, and only what is meant.
    let one = of("one");
    assert!(first.terminate(2 * SOON).success());
    assert!(daemon.running().contains(&one), "a stop took an engine along");
    let removed = setup("one").arg("--remove-engines").into_command().output().expect("it runs");
    let told = String::from_utf8_lossy(&removed.stdout).into_owned();
    assert!(removed.status.success() && told.contains(&format!("removed {one}\n")), "{removed:?}");
    assert!(!daemon.engines().contains(&one), "it is still there");
    assert!(daemon.running().contains(&two) && daemon.engines().iter().any(|name| name == "acestream-1"));
}

/// Guards starts that cannot succeed, an image nobody has, one whose engine refuses its arguments, one that serves another port
/// than it is told, one that takes connections and never answers, and a disk that is full: the cause stands in the log and in the refusal with its remedy, and no container is
/// left.
#[test]
fn starts_that_fail_are_named_and_leave_nothing() {
    let Some(daemon) = Daemon::start() else { return };
    let (image, other) = ("jopsis/acestream:arm32-v3.2.13", "ghcr.io/krinkuto11/acestream-http-proxy:latest");
    for (variant, code, cause, remedy) in [
        ("jopsis-arm32", "pull_refused", image, "check the image's name"),
        ("jopsis-arm32", "engine_exited", "ended before it answered", "look at the container's log"),
        ("krinkuto11-amd64", "engine_port_closed", "nothing listens on port 19000", "ENGINE_VARIANT"),
        ("krinkuto11-amd64", "engine_never_ready", "did not answer within", "look at the container's log"),
        ("jopsis-arm64", "disk_full", "no space left on device", "free space"),
    ] {
        let mut trouble: (Option<Replaced<'_>>, Option<Filled>) = (None, None);
        match code {
            // This one takes no command, and the recipe gives one.
            "engine_exited" => drop(daemon.docker(&["tag", "jopsis/acestream:x64", image])),
            "engine_port_closed" => {
                trouble.0 =
                    Some(daemon.replace_image(other, &["/engine", "engine", "--listen", "0.0.0.0:6878"]));
            }
            "engine_never_ready" => {
                let hung = ["/engine", "image", "--style", "variables", "--hung"];
                trouble.0 = Some(daemon.replace_image(other, &hung));
            }
            "disk_full" => trouble.1 = Some(daemon.fill_disk()),
            _ => {}
        }
        let appliance = Setup::bare()
            .env("ENGINE_PROVISIONING", "on")
            .env("DOCKER_HOST", &daemon.host())
            .env("DATA_DIR", &daemon.directory().join("d").display().to_string())
            .env("ENGINE_VARIANT", variant)
            .env("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "1")
            // Before the engine has taken its port nobody listens there; what it does then has to be seen before the time is over.
            .env("STARTUP_TIMEOUT_S", if code == "engine_never_ready" { "5" } else { "2" })
            .env("MIN_REPLICAS", "1")
            .start();
        until("the breaker is open", || appliance.metric("sluice_fleet_breaker{state=\"open\"") == 1.0);
        until("nothing is left", || daemon.engines().is_empty());
        let player = appliance.player(nth(0).0).start();
        let head = player.wait_head(2 * SOON).expect("a head comes");
        player.wait_end(SOON).expect("a refusal ends");
        let text = String::from_utf8_lossy(&player.first_bytes()).into_owned();
        assert_eq!(head.status, 503, "{text}");
        let wait: u64 = head.header("retry-after").expect("a hint").parse().expect("seconds");
        assert!((200..=300).contains(&wait), "{wait}");
        assert!(text.contains("\"code\":\"circuit_breaker\""), "{text}");
        assert!(text.contains(cause) && text.contains(remedy), "{text}");
        let told = appliance.json("/events?event_type=engine&category=failed");
        assert_eq!(told[0]["details"]["code"], code, "{told}");
        assert!(told[0]["details"]["remedy"].as_str().is_some_and(|told| told.contains(remedy)), "{told}");
        assert_eq!(appliance.metric("sluice_fleet_events_total{event=\"started\""), 0.0);
        drop(trouble);
    }
    daemon.docker(&["rmi", image]);
}
