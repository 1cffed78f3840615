//! Engines: which exist, how each is doing, who holds a lease on which.
//!
//! [`plan`] grants leases, [`fleet`] keeps engines in Docker and [`health`] judges them, all pure; [`service`] is the one task
//! that owns them, carries messages and runs [`check`]s, and its [`yard`] carries out what the fleet decides. Nothing here ever
//! waits for an engine or for Docker before it answers somebody else.

pub(crate) mod authority;
pub(crate) mod breaker;
pub(crate) mod caches;
pub(crate) mod check;
mod condition;
mod decision;
mod entry;
pub(crate) mod fleet;
pub(crate) mod generic;
pub(crate) mod health;
mod instance;
pub(crate) mod jitter;
mod live;
pub(crate) mod plan;
pub mod ports;
mod pulling;
pub mod recipe;
pub(crate) mod records;
mod removal;
mod reported;
pub(crate) mod selection;
mod service;
#[cfg(test)]
pub(crate) mod simulated;
pub(crate) mod survey;
mod usage;
mod yard;
mod yielding;

pub(crate) use authority::Authority;
pub(crate) use condition::condition;
pub(crate) use decision::Decision;
pub(crate) use fleet::{Blocked, Ground, HandError, Happening, Ownership, Progress, What, Wish};
pub(crate) use live::Live;
pub(crate) use plan::{EngineStanding, Pooled, Standing};
pub(crate) use pulling::Pulling;
pub(crate) use reported::Reported;
pub(crate) use service::{Handle, Options, Source, start};

pub use breaker::BreakerLimits;
pub use fleet::{FleetLimits, Ranges};
pub use instance::instance;
pub use removal::{Removal, RemovalError, remove_engines};
pub use selection::Selection;
pub use survey::Setup;
pub use yard::YardOptions;

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
