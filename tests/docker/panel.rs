//! The panel's pages of engines in a browser, on a real Docker.

use crate::common::Setup;
use crate::daemon::Daemon;
use std::process::Command;

/// Guards: what an operator does with engines in the page is done in Docker, and seen in the page: one is added, looked into,
/// drained, used again and removed.
#[test]
fn the_page_keeps_engines_in_docker() {
    let Some(daemon) = Daemon::start() else { return };
    let appliance = Setup::bare()
        .env("ENGINE_PROVISIONING", "on")
        .env("DOCKER_HOST", &daemon.host())
        .env("DATA_DIR", &daemon.directory().join("d").display().to_string())
        .env("ENGINE_VARIANT", "krinkuto11-amd64")
        .env("AUTO_DELETE", "false")
        .env("MIN_REPLICAS", "1")
        .env("MAX_REPLICAS", "2")
        .start();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboard");
    let output = Command::new("npx")
        .args(["vitest", "run", "--project", "browser", "tests/docker.test.ts"])
        .current_dir(root)
        .env("SLUICE_DOCKER_PANEL", format!("http://{}/", appliance.addr()))
        .env("SLUICE_MOCK_BUILT", "1")
        .output()
        .expect("npx starts; the panel's packages are installed by `make panel`");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", said(&output.stdout), said(&output.stderr));
}
