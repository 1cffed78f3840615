//! How engines in Docker are looked after, changed while the appliance serves: what each variable does is seen at a Docker, or in
//! what is told of it. What the environment says would take longer than these tests wait, or do something else.

use crate::changed::change_control;
use crate::common::{Appliance, SOON, Setup, until};
use crate::docker::{Docker, Mood};
use serde_json::{Value, json};
use sluice_bench::channel::nth;
use sluice_bench::player::http;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

fn setup(docker: &Docker, replicas: &str) -> Setup {
    Setup::bare()
        .env("ENGINE_PROVISIONING", "on")
        .env("DOCKER_HOST", &docker.host())
        .env("ENGINE_PUBLISH_ADDR", &docker.publish().to_string())
        .env("MIN_REPLICAS", replicas)
        .env("MIN_FREE_REPLICAS", "0")
        .env("AUTO_DELETE", "false")
}

/// Ids of the engines that stand so.
fn engines(appliance: &Appliance, health: &str) -> Vec<String> {
    let engines = appliance.json("/engines");
    let all = engines.as_array().cloned().unwrap_or_default();
    let those = all.iter().filter(|engine| engine["health_status"] == health);
    those.filter_map(|engine| engine["container_id"].as_str().map(str::to_owned)).collect()
}

/// Guards: how long an engine may be ill, how soon after one another is replaced, and whether there may be one more meanwhile,
/// changed before two fall ill: each would be left alone for an hour, the second for another one, and none has room beside it.
#[test]
fn how_sick_engines_are_replaced_changes() {
    let docker = Docker::start();
    let appliance = setup(&docker, "2")
        .env("MAX_REPLICAS", "2")
        .env("HEALTH_UNHEALTHY_GRACE_PERIOD_S", "1h")
        .env("HEALTH_REPLACEMENT_COOLDOWN_S", "1h")
        .env("MAX_SURGE", "0")
        .start();
    until("two engines are well", || engines(&appliance, "healthy").len() == 2);
    change_control(
        &appliance,
        json!({ "HEALTH_UNHEALTHY_GRACE_PERIOD_S": 1, "HEALTH_REPLACEMENT_COOLDOWN_S": 1, "MAX_SURGE": 1 }),
    );
    until("they are well again", || engines(&appliance, "healthy").len() == 2);
    let before = docker.ids();
    docker.take_most();
    docker.spoil(Mood::Html);
    // An engine that is well is looked at each ten seconds, and at once when a stream fails on it.
    let ask = || appliance.player(nth(0).0).start();
    let mut asking = ask();
    until("both are seen to be ill", || {
        if asking.end().is_some() {
            asking = ask();
        }
        let well = engines(&appliance, "healthy");
        before.iter().all(|id| !well.contains(id))
    });
    drop(asking);
    until("both are replaced", || {
        let now = docker.ids();
        now.len() == 2 && before.iter().all(|id| !now.contains(id))
    });
    assert_eq!(docker.take_most(), 3, "its successor was there before one went");
}

/// Guards: what a forwarded port is worth, how large a cache may be, and how long a pull may take, each changed under engines
/// that are kept.
#[test]
fn how_engines_are_looked_after_changes() {
    const CACHED: u64 = 5 << 20;
    let docker = Docker::start();
    docker.fill_caches(CACHED);
    let appliance = setup(&docker, "1").env("DEBUG_MODE", "true").env("IMAGE_PULL_TIMEOUT_S", "1h").start();
    until("an engine is well", || engines(&appliance, "healthy").len() == 1);
    docker.label("acestream.forwarded", "true");
    change_control(&appliance, json!({ "ENGINE_FORWARDED_BONUS": 77, "ENGINE_CACHE_MAX_MIB": 1 }));
    until("it is known again, with its port", || appliance.json("/engines")[0]["forwarded"] == true);
    until("it is well again", || engines(&appliance, "healthy").len() == 1);
    until("its cache is emptied", || appliance.json("/engines")[0]["cache_freed_bytes"] == CACHED);
    // The engine knows no stream; that it was chosen is enough.
    let asking = appliance.player(nth(0).0).start();
    let scores = || -> Vec<Value> {
        let path = appliance.data().join("debug_logs/sluice-debug.jsonl");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let selections = lines.filter(|line| line["kind"] == "selection" && line["chosen"].is_string());
        selections.map(|line| line["candidates"][0]["score"].clone()).collect()
    };
    until("the port is worth what was said", || scores().first() == Some(&json!(77)));
    drop(asking);

    docker.lose_images();
    change_control(&appliance, json!({ "IMAGE_PULL_TIMEOUT_S": 1 }));
    // The stream that was asked for may have had another one made.
    until("it is well again", || !engines(&appliance, "healthy").is_empty());
    let headers = [("Content-Type", "application/json")];
    let made = http::request(appliance.addr(), "POST", "/provision/acestream", &headers, b"{}").unwrap();
    assert!(made.status() >= 500 && made.text().contains("not there after 1s"), "{}", made.text());
    assert!(docker.calls().contains_key("pull"));
}

/// Makes a certificate that is its own authority; none where there is no openssl.
fn certificates(directory: &Path) -> Option<()> {
    let path = directory.to_string_lossy();
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=docker"]);
    openssl.arg("-keyout").arg(format!("{path}/key.pem")).arg("-out").arg(format!("{path}/cert.pem"));
    match openssl.output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            println!("not run: openssl is missing ({error})");
            return None;
        }
    }
    std::fs::copy(format!("{path}/cert.pem"), format!("{path}/ca.pem")).expect("copied");
    Some(())
}

/// Guards: whether TLS is spoken with Docker, and where the certificates for that are, changed while it is looked for.
#[test]
fn how_docker_is_spoken_with_changes() {
    let [good, empty] = [(); 2].map(|()| tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
    if certificates(good.path()).is_none() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("tcp://{}", listener.local_addr().unwrap());
    let (heard, first_bytes) = mpsc::channel();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut first = [0];
            // Whoever says nothing is not heard; nobody is answered.
            if socket.read_exact(&mut first).is_ok() && heard.send(first[0]).is_err() {
                return;
            }
        }
    });
    let next = || first_bytes.recv_timeout(SOON).expect("Docker is looked for");
    let appliance = Setup::bare().env("ENGINE_PROVISIONING", "on").env("DOCKER_HOST", &host).start();
    assert_eq!(next(), b'G', "a plain request");
    change_control(&appliance, json!({ "DOCKER_TLS_VERIFY": 1, "DOCKER_CERT_PATH": good.path() }));
    // The first record of a handshake (RFC 8446, section 5.1).
    until("TLS is spoken", || next() == 22);
    change_control(&appliance, json!({ "DOCKER_CERT_PATH": empty.path() }));
    let path = empty.path().to_string_lossy();
    appliance.wait_log("the place of the certificates is told", |lines| {
        lines.iter().any(|line| line.contains("certificates") && line.contains(&*path))
    });
    change_control(&appliance, json!({ "DOCKER_TLS_VERIFY": null, "DOCKER_CERT_PATH": null }));
    until("it is not spoken any more", || next() == b'G');
}
