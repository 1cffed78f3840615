//! One `serve` giving everything to the next: what the main threads of both do. `handover::exchange` draws it.
//!
//! Neither knows the control plane: whoever calls stops it, or starts it, when it is time.

mod give;
mod take;

pub use give::{Paused, give};
pub use take::{Takeover, Took};

use crate::handover::exchange::ExchangeError;
use crate::handover::wire::WireError;
use std::time::Duration;

/// How long the other one may take for a step that needs no waiting for others.
const STEP: Duration = Duration::from_secs(10);
/// How long everything under way may take to come to its end: starts and joins of streams.
const CALM: Duration = Duration::from_secs(20);
/// How long a shard may take to stand still, and all of them to tell.
const FREEZE: Duration = Duration::from_secs(5);

/// Why nothing was handed over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The two could not agree.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The connection between them.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A shard cannot hand over what it holds, or take it over.
    #[error("shard {shard}: {reason}")]
    Shard {
        /// Which.
        shard: usize,
        /// Why.
        reason: String,
    },
    /// Control cannot be stopped or started.
    #[error("control: {0}")]
    Control(String),
}
