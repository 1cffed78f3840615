//! Engines and containers by REST, on a real Docker.

use crate::common::{Appliance, Setup, until};
use crate::daemon::Daemon;
use serde_json::{Value, json};
use sluice_bench::player::http;

/// A request with a JSON body: status and answer.
pub fn ask(appliance: &Appliance, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let headers = [("content-type", "application/json")];
    let answer = http::request(appliance.addr(), method, path, &headers, body.to_string().as_bytes())
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    (answer.status(), answer.json().unwrap_or_default())
}

fn ready(appliance: &Appliance) -> f64 {
    appliance.metric("sluice_fleet_engines{phase=\"ready\"")
}

/// Guards the routes that start, show, scale, replace and remove: what they answer is what Docker has, limits hold, and
/// only what is this appliance's is shown or removed.
#[test]
fn engines_and_containers_are_had_by_rest() {
    let Some(daemon) = Daemon::start() else { return };
    let appliance = Setup::bare()
        .env("ENGINE_PROVISIONING", "on")
        .env("DOCKER_HOST", &daemon.host())
        .env("DATA_DIR", &daemon.directory().join("d").display().to_string())
        .env("ENGINE_VARIANT", "krinkuto11-amd64")
        .env("AUTO_DELETE", "false")
        .env("MIN_REPLICAS", "1")
        .env("MAX_REPLICAS", "3")
        .start();
    until("the first engine is ready", || ready(&appliance) == 1.0);

    // An engine, with the caller's labels beneath ours and on the caller's port.
    let body = json!({ "labels": { "mine": "yes", "host.http_port": "1" }, "host_port": 20123 });
    let (status, made) = ask(&appliance, "POST", "/provision/acestream", &body);
    assert_eq!(status, 200, "{made}");
    let name = made["container_name"].as_str().expect("a name").to_owned();
    assert_eq!((&made["host_http_port"], &made["container_http_port"]), (&20123.into(), &20123.into()));
    let label =
        |name: &str, label: &str| daemon.inspect(name, &format!("{{{{index .Config.Labels \"{label}\"}}}}"));
    assert_eq!((label(&name, "mine").as_str(), label(&name, "host.http_port").as_str()), ("yes", "20123"));
    assert_eq!(made["container_id"], daemon.inspect(&name, "{{.Id}}"));
    until("it is ready", || ready(&appliance) == 2.0);
    let engines = appliance.json("/engines");
    let shown =
        engines.as_array().unwrap().iter().find(|engine| engine["container_id"] == made["container_id"]);
    let shown = shown.expect("it is listed");
    assert_eq!(shown["container_name"], *name);
    assert_eq!(
        (&shown["labels"]["mine"], &shown["engine_variant"]),
        (&"yes".into(), &"krinkuto11-amd64".into())
    );

    // Figures come by themselves, once a second.
    let usage = format!("/engines/{}/stats", made["container_id"].as_str().unwrap());
    until("there are figures", || appliance.get(&usage).status() == 200);
    assert!(appliance.json(&usage)["memory_usage"].as_u64().is_some_and(|bytes| bytes > 0));
    until("of both", || appliance.json("/engines/stats/total")["container_count"] == 2);
    assert_eq!(appliance.json("/engines/stats/all").as_object().unwrap().len(), 2);

    // What it wrote is had too.
    let log = format!("/engines/{}/log?lines=5", made["container_id"].as_str().unwrap());
    let lines = appliance.json(&log)["lines"].as_array().expect("lines").len();
    assert!(lines <= 5, "{lines}");
    assert_eq!(appliance.get("/engines/nothing/log").status(), 404);

    // Up to the limit and not beyond, and the status says so.
    assert_eq!(ask(&appliance, "POST", "/scale/9", &Value::Null).1, json!({ "scaled_to": 9, "target": 3 }));
    until("three are ready", || ready(&appliance) == 3.0);
    let (status, refused) = ask(&appliance, "POST", "/provision/acestream", &json!({}));
    assert_eq!((status, &refused["detail"]["code"]), (503, &"max_capacity".into()), "{refused}");
    let told = appliance.json("/orchestrator/status");
    assert_eq!(told["provisioning"]["blocked_reason_details"]["code"], "max_capacity", "{told}");
    assert_eq!((&told["status"], &told["provisioning"]["docker"]), (&"healthy".into(), &"up".into()));
    assert_eq!(appliance.json("/health")["engines"]["docker"], "up");

    // A container that is no engine, and one that is not ours.
    let image = "jopsis/acestream:x64";
    let body = json!({ "image": image, "ports": { "80/tcp": 20200 }, "env": { "ACESTREAM_ARGS": "--http-port 80 --https-port 81" } });
    let (status, started) = ask(&appliance, "POST", "/provision", &body);
    assert_eq!((status, &started["container_name"]), (200, &"svc-1".into()), "{started}");
    let shown = appliance.json("/containers/svc-1");
    assert_eq!(shown["ports"]["80/tcp"][0]["HostPort"], "20200", "{shown}");
    assert_eq!(appliance.json("/engines").as_array().unwrap().len(), 3, "it is listed as an engine");
    assert_eq!(appliance.json("/by-label?key=mine&value=yes")[0]["name"], *name);
    daemon.docker(&["create", "--name", "strange", image]);
    assert_eq!(appliance.get("/containers/strange").status(), 404);
    assert_eq!(ask(&appliance, "DELETE", "/containers/strange", &Value::Null).0, 404);
    let (status, refused) = ask(&appliance, "POST", "/provision", &json!({ "image": "nobody/has:this" }));
    assert!(status == 400 && refused["detail"].as_str().unwrap().contains("nobody/has:this"), "{refused}");
    assert_eq!(ask(&appliance, "DELETE", "/containers/svc-1", &Value::Null).0, 200);

    // All anew at the limit: one makes room for the next.
    let old = daemon.docker(&["ps", "--quiet", "--filter", "name=acestream"]);
    let (status, begun) = ask(&appliance, "POST", "/custom-variant/reprovision", &Value::Null);
    assert_eq!((status, &begun["deleted_count"]), (200, &3.into()), "{begun}");
    let progress = || appliance.json("/custom-variant/reprovision/status");
    until("all are new", || progress()["status"] == "success");
    assert_eq!((&progress()["engines_stopped"], &progress()["engines_provisioned"]), (&3.into(), &3.into()));
    let new = daemon.docker(&["ps", "--quiet", "--filter", "name=acestream"]);
    assert!(new.lines().count() == 3 && new.lines().all(|id| !old.contains(id)), "{old} {new}");

    // Down again: one by its name, the rest because nobody uses them.
    let (status, deleted) = ask(&appliance, "DELETE", "/containers/acestream-1", &Value::Null);
    assert_eq!((status, deleted), (200, json!({ "deleted": "acestream-1" })));
    assert!(!daemon.engines().contains(&"acestream-1".to_owned()));
    // What was done by hand is in the log, and nothing of what was refused.
    let logged = |category: &str| {
        let entries = appliance.json(&format!("/events?event_type=engine&category={category}"));
        let id = |entry: &Value| entry["container_id"].as_str().unwrap_or_default().to_owned();
        entries.as_array().unwrap().iter().map(id).collect::<Vec<_>>()
    };
    assert_eq!(logged("deleted"), ["acestream-1", "svc-1"]);
    let made = [&started["container_id"], &made["container_id"]].map(|id| id.as_str().unwrap().to_owned());
    assert_eq!(logged("created"), made);
    assert_eq!(ask(&appliance, "POST", "/gc", &Value::Null), (200, json!({ "status": "ok" })));
    until("the minimum is left", || daemon.engines().len() == 1);
    assert_eq!(appliance.get("/engines/acestream-9").status(), 404);
}
