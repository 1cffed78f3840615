//! What goes wrong with a real Docker while an engine is being made.

use crate::common::{Appliance, Setup, eventually, until};
use crate::daemon::Daemon;
use crate::gate::{Gate, Verdict};
use crate::rest::ask;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

const LABEL: (&str, &str) = ("ondemand.app", "myservice");

fn ready(appliance: &Appliance) -> f64 {
    appliance.metric("sluice_fleet_engines{phase=\"ready\"")
}

/// The entry of an attempt that failed so; its remedy is told with it.
fn failed(appliance: &Appliance, code: &str) -> Value {
    let entry = eventually(code, || {
        let entries = appliance.json("/events?event_type=engine&category=failed");
        let mut entries = entries.as_array().expect("a list").iter();
        entries.find(|entry| entry["details"]["code"] == code).cloned()
    });
    assert!(entry["details"]["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{entry}");
    entry
}

/// A call that waits before it reaches the daemon.
struct Met {
    line: String,
    go_on: Sender<()>,
}

/// Guards a name somebody takes between the look and the start, and a daemon that restarts between the making of a container and
/// its start: each is told with what to do, the next name is taken, what was made and never started is removed, and nothing
/// stays reserved, so that two ports are enough for two engines again; a third one is refused for want of a port.
#[test]
fn a_start_that_is_cut_off_leaves_no_orphan() {
    let Some(mut daemon) = Daemon::start() else { return };
    let (meet, met): (Sender<Met>, Receiver<Met>) = channel();
    let meet = Mutex::new(meet);
    let gate = Gate::open(&daemon.directory().join("gate"), daemon.socket(), move |line| {
        let is_start = line.starts_with("POST ") && line.contains("/containers/");
        if is_start && (line.contains("/create?") || line.contains("/start")) {
            let (go_on, gone_on) = channel();
            let met = Met { line: line.to_owned(), go_on };
            // Once nobody looks any more, calls just pass; so do those whose meeting was dropped.
            if meet.lock().is_ok_and(|meet| meet.send(met).is_ok()) {
                let _ = gone_on.recv();
            }
        }
        Verdict::Pass
    });
    let appliance = Setup::bare()
        .env("ENGINE_PROVISIONING", "on")
        .env("DOCKER_HOST", gate.host())
        .env("DATA_DIR", &daemon.directory().join("d").display().to_string())
        .env("ENGINE_VARIANT", "krinkuto11-amd64")
        .env("PORT_RANGE_HOST", "19000-19001")
        .env("MIN_FREE_REPLICAS", "0")
        .env("AUTO_DELETE", "false")
        .env("MIN_REPLICAS", "1")
        .env("MONITOR_INTERVAL_S", "1")
        .start();
    let next = |what: &str| {
        let met = met.recv_timeout(crate::common::SOON).expect("a call comes");
        assert!(met.line.contains(what), "{} instead of {what}", met.line);
        met.go_on
    };

    let create = next("/create?name=acestream-1");
    daemon.docker(&["create", "--name", "acestream-1", "jopsis/acestream:x64"]);
    create.send(()).expect("the call waits");
    for call in ["/create?name=acestream-2", "/start"] {
        next(call).send(()).expect("the call waits");
    }
    until("the engine has another name", || ready(&appliance) == 1.0);
    assert!(failed(&appliance, "name_taken")["message"].to_string().contains("acestream-1"));
    assert_eq!(daemon.labelled(LABEL.0, LABEL.1), ["acestream-2"]);

    let more = json!({ "min_replicas": 2 });
    assert_eq!(ask(&appliance, "POST", "/settings/engine", &more).0, 200);
    next("/create?name=acestream-3").send(()).expect("the call waits");
    let start = next("/start");
    let made = daemon.inspect("acestream-3", "{{.Id}}");
    daemon.end();
    start.send(()).expect("the call waits");
    failed(&appliance, "docker_unreachable");
    until("the absence is noticed", || appliance.metric("sluice_docker_up") == 0.0);
    assert_eq!(appliance.json("/health")["engines"]["docker"], "away");
    drop(met);
    daemon.begin();
    until("both are there", || ready(&appliance) == 2.0 && daemon.labelled(LABEL.0, LABEL.1).len() == 2);
    assert!(!daemon.docker(&["ps", "--all", "--quiet", "--no-trunc"]).contains(&made), "it was left behind");
    let running = daemon.running();
    assert_eq!(daemon.labelled(LABEL.0, LABEL.1), running);
    let (status, refused) = ask(&appliance, "POST", "/provision/acestream", &json!({}));
    assert_eq!((status, &refused["detail"]["code"]), (503, &"port_range_exhausted".into()), "{refused}");
    let told = refused["detail"].to_string();
    assert!(told.contains("PORT_RANGE_HOST") && told.contains("widen the range"), "{told}");
    assert_eq!(daemon.labelled(LABEL.0, LABEL.1), running);
}
