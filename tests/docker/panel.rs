//! The panel's pages of engines in a browser, on a real Docker.

use crate::common::{SOON, Setup};
use crate::daemon::Daemon;
use crate::life;
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use std::process::Command;

/// Guards: what an operator does with engines in the page is done in Docker, and seen in the page: one is added, looked into,
/// drained, used again and removed; a parameter is changed and the engine that plays is replaced by one that has it. Somebody
/// who compares every packet plays through all of it.
#[test]
fn the_page_keeps_engines_in_docker() {
    let Some(daemon) = Daemon::start() else { return };
    let channels = vec![ChannelSpec::synthetic(0, life::RATE)];
    let reference = Engine::start(Options { channels, ..Options::default() }).expect("an engine starts");
    let appliance = Setup::bare()
        .env("ENGINE_PROVISIONING", "on")
        .env("DOCKER_HOST", &daemon.host())
        .env("DATA_DIR", &daemon.directory().join("d").display().to_string())
        .env("ENGINE_VARIANT", "krinkuto11-amd64")
        .env("AUTO_DELETE", "false")
        .env("MIN_REPLICAS", "1")
        .env("MIN_FREE_REPLICAS", "0")
        .env("MAX_REPLICAS", "2")
        .env("MONITOR_INTERVAL_S", "1")
        .env("MIN_PROVISION_INTERVAL_S", "0.1")
        .env("ENGINE_GRACE_PERIOD_S", "1")
        .start();
    appliance.wait_healthy(1);
    let player = life::watching(&appliance, &reference, 0);
    player.wait_decodable(2 * SOON).expect("it plays");

    let output = Command::new("node_modules/.bin/vitest")
        .args(["run", "--project", "browser", "tests/docker.test.ts"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/dashboard"))
        .env("SLUICE_DOCKER_PANEL", format!("http://{}/", appliance.addr()))
        .env("SLUICE_DOCKER_ID", nth(0).0.to_string())
        .env("SLUICE_MOCK_BUILT", "1")
        .output()
        .expect("the panel's packages are installed by `make panel`");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", said(&output.stdout), said(&output.stderr));

    life::all_play_on(&[player]);
    let engines = daemon.running();
    let [engine] = &engines[..] else { panic!("one engine runs: {engines:?}") };
    let arguments = daemon.inspect(engine, "{{json .Args}} {{json .Config.Env}}");
    assert!(arguments.contains("--live-buffer 25"), "{arguments}");
}
