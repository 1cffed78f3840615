//! The data plane of Sluice: one engine session per broadcast, fanned out to any number of players.
//!
//! Every room is a module here, so that tests can build a shard without the program around it. Which room may touch
//! what is written in `docs/ARCHITECTURE.md` and held by `tests/tree`.

pub mod client;
pub mod engine;
pub mod handover;
pub mod http;
pub mod listen;
pub mod media;
pub mod metrics;
pub mod session;
pub mod settings;
pub mod shard;
pub mod supervisor;
pub mod upgrade;
pub mod uring;
pub mod window;
