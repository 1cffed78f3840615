//! The appliance with engines in a real Docker: a daemon of the tests' own, images made of the simulated engine.
//!
//! They share a daemon of their own, one at a time, in a network namespace of the tests, so that nothing of the machine's
//! Docker, its bridges and its ports is touched. That needs root and `dockerd`; without them the tests say so and, under
//! `CI=true`, fail.

#![deny(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "tests are threads of their own: they wait, lock and print"
)]

mod absence;
mod care;
#[allow(dead_code, reason = "shared with the tests without Docker")]
#[path = "../appliance/common.rs"]
mod common;
mod daemon;
mod encrypted;
mod gate;
mod life;
mod midway;
mod panel;
mod placements;
mod refusals;
mod rest;
mod space;
#[allow(
    unsafe_code,
    dead_code,
    reason = "shared with the tests without Docker; a seccomp filter for the child"
)]
#[path = "../appliance/sys.rs"]
mod sys;
