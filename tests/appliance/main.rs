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
mod bad_input;
mod behind_proxies;
mod browser;
mod changed;
mod changed_docker;
mod changed_engines;
mod channels;
mod chaos;
mod client_address;
mod common;
mod contract;
mod control_faults;
mod dashboards;
mod decoders;
mod descriptors;
mod docker;
mod driver;
mod engine_bodies;
mod engine_manners;
mod engines_apart;
mod failed_start;
mod failover;
mod full_engine;
mod hls;
mod hls_codecs;
mod hls_only;
mod hls_players;
mod hls_refusals;
mod hot;
mod hung_engine;
mod interleavings;
mod join;
mod lagging;
mod leaving;
mod limits;
mod looping;
mod memory;
mod monitoring;
mod naming;
mod one_connection;
mod one_session;
mod scene;
mod settings_at_work;
mod shutdown;
mod slow_contract;
mod slow_player;
mod splice;
mod stage;
mod state;
mod status_routes;
mod streams;
mod supervisor;
#[allow(unsafe_code, reason = "a seccomp filter for the child")]
mod sys;
mod tls_proxy;
mod traces;
mod tuning;
mod upgrade;
mod upgrade_hosts;
mod zapping;
