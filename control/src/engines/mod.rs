//! Engines: which exist, how each is doing, who holds a lease on which.
//!
//! [`plan`] decides and [`health`] judges, both pure; [`service`] is the one task that owns them, carries messages and
//! runs [`check`]s. Nothing here starts or removes engines, and nothing here ever waits for an engine before it answers
//! somebody else.

pub(crate) mod authority;
pub(crate) mod check;
pub(crate) mod health;
pub(crate) mod jitter;
pub(crate) mod plan;
pub mod ports;
pub mod recipe;
mod service;
mod yielding;

pub(crate) use authority::Authority;
pub(crate) use plan::{EngineStanding, Standing};
pub(crate) use service::{Handle, Options, start};

/// What is wrong with the engines as configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not `host:port`.
    #[error("engine {authority:?}: {reason}, expected host:port")]
    Authority {
        /// The text as configured.
        authority: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}
