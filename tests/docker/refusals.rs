//! What is refused, and that nothing is made then.

use crate::common::{SOON, Setup, until};
use crate::daemon::Daemon;
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

/// Guards starts that cannot succeed, an image nobody has and one whose engine refuses its arguments: the cause stands in
/// the refusal with its remedy, and no container is left.
#[test]
fn starts_that_fail_are_named_and_leave_nothing() {
    let Some(daemon) = Daemon::start() else { return };
    let image = "jopsis/acestream:arm32-v3.2.13";
    for code in ["pull", "exited"] {
        if code == "exited" {
            // This one takes no command, and the recipe gives one.
            daemon.docker(&["tag", "jopsis/acestream:x64", image]);
        }
        let appliance = Setup::bare()
            .env("ENGINE_PROVISIONING", "on")
            .env("DOCKER_HOST", &daemon.host())
            .env("DATA_DIR", &daemon.directory().join("d").display().to_string())
            .env("ENGINE_VARIANT", "jopsis-arm32")
            .env("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "1")
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
        let cause = if code == "pull" { image } else { "ended before it answered" };
        assert!(text.contains("\"code\":\"circuit_breaker\"") && text.contains(cause), "{text}");
    }
    daemon.docker(&["rmi", image]);
}
