//! What becomes of single engines on a real Docker: of a variant of the operator's own, removed by somebody, killed for memory.

use crate::common::{Appliance, Setup, eventually, until};
use crate::daemon::{CACHED_BYTES, Daemon};
use crate::rest::ask;
use serde_json::{Value, json};

fn setup(daemon: &Daemon) -> Setup {
    Setup::bare()
        .env("ENGINE_PROVISIONING", "on")
        .env("DOCKER_HOST", &daemon.host())
        .env("DATA_DIR", &daemon.directory().join("d").display().to_string())
        .env("ENGINE_VARIANT", "krinkuto11-amd64")
        .env("AUTO_DELETE", "false")
        .env("MIN_FREE_REPLICAS", "0")
}

fn ready(appliance: &Appliance) -> f64 {
    appliance.metric("sluice_fleet_engines{phase=\"ready\"")
}

/// Has an engine made with these variables, and answers its name when it is ready.
fn made(appliance: &Appliance, env: &Value) -> String {
    let before = ready(appliance);
    let (status, made) = ask(appliance, "POST", "/provision/acestream", &json!({ "env": env }));
    assert_eq!(status, 200, "{made}");
    until("it is ready", || ready(appliance) > before);
    made["container_name"].as_str().expect("a name").to_owned()
}

/// What is shown of an engine.
fn shown(appliance: &Appliance, name: &str) -> Value {
    let engines = appliance.json("/engines");
    let found = engines.as_array().expect("a list").iter().find(|engine| engine["container_name"] == name);
    found.cloned().unwrap_or_default()
}

/// Guards a variant of the operator's own: engines are made of it under the name of the active template, before and after a
/// restart; their cache is measured and emptied where that recipe has it; and the doctor finds it all in order.
#[test]
fn a_variant_of_ones_own_is_kept_and_its_cache_looked_after() {
    let Some(daemon) = Daemon::start() else { return };
    let setup = || setup(&daemon).env("MIN_REPLICAS", "0").env("MAX_REPLICAS", "2");
    let mut appliance = setup().start();
    // Every parameter there is, none of which the engine may refuse; with a cache directory of its own the folder would lie there.
    let mut parameters = appliance.json("/custom-variant/config")["parameters"].clone();
    for parameter in parameters.as_array_mut().expect("a list") {
        parameter["enabled"] = (parameter["name"] != "--cache-dir").into();
        match parameter["name"].as_str().expect("a name") {
            "--live-cache-type" => parameter["value"] = "disk".into(),
            "--access-token" | "--service-access-token" => parameter["value"] = "token".into(),
            "--log-file" => parameter["value"] = "/tmp/log".into(),
            _ => {}
        }
    }
    assert_eq!(parameters.as_array().map(Vec::len), Some(35));
    let torrents = daemon.directory().join("torrents");
    std::fs::create_dir(&torrents).expect("a directory can be made");
    let config = json!({
        "enabled": true, "platform": "amd64", "memory_limit": "128m", "parameters": parameters,
        "torrent_folder_mount_enabled": true, "torrent_folder_host_path": torrents,
        "torrent_folder_container_path": "/collected",
    });
    for (path, body) in [
        ("/custom-variant/config", config.clone()),
        ("/custom-variant/templates/3", json!({ "name": "Living room", "config": config })),
        ("/custom-variant/templates/3/activate", Value::Null),
    ] {
        let (status, answer) = ask(&appliance, "POST", path, &body);
        assert_eq!(status, 200, "{path}: {answer}");
    }
    let name = made(&appliance, &json!({}));
    let label = |name: &str| daemon.inspect(name, "{{index .Config.Labels \"acestream.engine_variant\"}}");
    assert_eq!(
        daemon.inspect(&name, "{{.Config.Image}} {{.HostConfig.Memory}}"),
        "jopsis/acestream:x64 134217728"
    );
    let mounts = "{{range .Mounts}}{{.Source}} {{.Destination}} {{.RW}}{{end}}";
    assert_eq!(daemon.inspect(&name, mounts), format!("{} /collected true", torrents.display()));
    assert_eq!(
        (label(&name).as_str(), &shown(&appliance, &name)["engine_variant"]),
        ("Living room", &"Living room".into())
    );

    let bytes = |field: &str| shown(&appliance, &name)[field].as_u64().unwrap_or_default();
    until("its cache is measured", || bytes("cache_size_bytes") >= CACHED_BYTES as u64);
    assert_eq!(shown(&appliance, &name)["cache_kind"], "disk");
    let totals = appliance.json("/engine-cache/stats");
    assert_eq!(
        (&totals["volume_count"], totals["total_bytes"].as_u64()),
        (&1.into(), Some(bytes("cache_size_bytes")))
    );
    let (status, told) = ask(&appliance, "POST", "/engine-cache/purge", &Value::Null);
    assert_eq!((status, &told["status"]), (200, &"success".into()), "{told}");
    until("it is emptied", || bytes("cache_freed_bytes") >= CACHED_BYTES as u64);
    assert!(shown(&appliance, &name)["last_cache_cleanup"].is_string());
    assert!(!daemon.docker(&["exec", &name, "du", "-ab", "/root"]).contains("piece"), "it is still there");

    let doctor = setup().arg("doctor").into_command().output().expect("it starts");
    let found = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(doctor.status.code(), Some(0), "{found}");
    for subject in ["docker", "rights", "api", "ports", "image", "engine"] {
        assert!(
            found.lines().any(|line| line.split_whitespace().nth(1) == Some(subject)),
            "{subject}: {found}"
        );
    }
    assert!(found.contains(&name) && !found.contains("FAILED"), "{found}");

    assert!(appliance.terminate(crate::common::SOON).success());
    let mut appliance = setup().start();
    until("it is taken over", || ready(&appliance) == 1.0);
    assert_eq!(appliance.json("/custom-variant/templates")["active_template_id"], 3);
    let next = made(&appliance, &json!({}));
    assert_eq!((label(&next).as_str(), daemon.engines().len()), ("Living room", 2));
    assert!(appliance.terminate(crate::common::SOON).success());
}

/// An engine as version 1.5.1 of the orchestrator left it running.
fn of_former_program(daemon: &Daemon) {
    let mut arguments = vec!["run", "--detach", "--name", "acestream-1", "--restart", "unless-stopped"];
    for label in [
        "ondemand.app=myservice",
        "acestream.http_port=19000",
        "acestream.https_port=45000",
        "host.http_port=19000",
        "acestream.engine_variant=krinkuto11-amd64",
    ] {
        arguments.extend(["--label", label]);
    }
    let conf = "CONF=--http-port=19000\n--https-port=45000\n--bind-all";
    for variable in [conf, "HTTP_PORT=19000", "HTTPS_PORT=45000", "BIND_ALL=true", "CACHE_LIMIT=1"] {
        arguments.extend(["--env", variable]);
    }
    arguments.extend(["--publish", "19000:19000", "ghcr.io/krinkuto11/acestream-http-proxy:latest"]);
    daemon.docker(&arguments);
}

/// Guards what happens to engines from outside: one that the former program left is taken over as it is, one whose container
/// somebody removes is replaced under its own name, and one the kernel kills for its memory is told apart from one that just ended, with what to do about it.
#[test]
fn engines_that_somebody_or_the_kernel_takes_away_are_told_apart() {
    let Some(daemon) = Daemon::start() else { return };
    of_former_program(&daemon);
    let id = daemon.inspect("acestream-1", "{{.Id}}");
    let appliance = setup(&daemon)
        .env("MIN_REPLICAS", "1")
        .env("MAX_REPLICAS", "2")
        .env("ENGINE_MEMORY_LIMIT", "64m")
        .start();
    until("the first is ready", || ready(&appliance) == 1.0);
    let count = |event: &str| appliance.metric(&format!("sluice_fleet_events_total{{event=\"{event}\""));
    assert_eq!((count("adopted"), count("started")), (1.0, 0.0));
    let taken = shown(&appliance, "acestream-1");
    assert_eq!((&taken["container_id"], &taken["port"]), (&id.as_str().into(), &19_000.into()));
    daemon.docker(&["rm", "--force", "acestream-1"]);
    until("the loss is seen", || count("lost") == 1.0);
    until("there is another", || ready(&appliance) == 1.0);
    assert_eq!(daemon.engines(), ["acestream-1"]);
    assert_ne!(daemon.inspect("acestream-1", "{{.Id}}"), id);
    assert_eq!(count("out_of_memory"), 0.0);

    let name = made(&appliance, &json!({ "SLUICE_BENCH_DEVOUR_AFTER_S": "3" }));
    until("the cause is known", || count("out_of_memory") >= 1.0);
    eventually("its exit code is known", || {
        shown(&appliance, &name)["last_exit_code"].as_i64().filter(|code| *code == 137)
    });
    appliance.wait_log("the remedy is said", |lines| {
        lines.iter().any(|line| line.contains(&name) && line.contains("more memory than it may"))
    });
    assert_eq!(
        (shown(&appliance, "acestream-1")["health_status"].as_str(), count("lost")),
        (Some("healthy"), 1.0)
    );
}
