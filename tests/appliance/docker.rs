//! A simulated Docker, for tests that change how engines are kept there. It is the one of the control plane's own tests.

#![allow(dead_code, reason = "the other tests use the rest of it")]

#[path = "../../control/tests/common/docker.rs"]
mod daemon;
#[path = "../../control/tests/common/engine.rs"]
mod engine;

pub use daemon::Docker;
pub use engine::Mood;

use sluice_contract::Hex40;

fn number(n: u8) -> Hex40 {
    Hex40::from_bytes([n; 20])
}

fn eventually(what: &str, holds: impl FnMut() -> bool) {
    crate::common::until(what, holds);
}

fn options(_: &[String]) -> sluice_control::Options {
    sluice_control::Options::default()
}
