//! The whole appliance: the real binary, simulated engines, players that check every byte.
//!
//! One behaviour per module. `SLUICE_TEST_DRIVER` chooses what the shards run on: `io_uring`, `epoll`, or `seccomp`,
//! which leaves the choice to the appliance and takes io_uring away from it as Docker's default profile does.

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

mod bad_engine;
mod common;
mod engine_bodies;
mod engine_manners;
mod failover;
mod naming;
mod one_session;
mod scene;
mod shutdown;
mod slow_player;
#[allow(unsafe_code, reason = "a seccomp filter for the child")]
mod sys;
mod zapping;
