//! What the supervisor and the `serve` it started say to each other.
//!
//! The supervisor outlives many versions of `serve`, so these words only ever gain fields, each with a default.

use super::wire::{Parcel, Wire, WireError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// What the supervisor says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum ToServe {
    /// The first word. With it come the listening sockets: for each address one per shard.
    Begin {
        /// Shards, each of which has one socket per address.
        shards: u16,
        /// Behind the sockets comes a connection to the process that serves now, to take over from.
        #[serde(default)]
        takes_over: bool,
    },
    /// Hand everything over to the process at the other end of the connection that comes with it.
    HandOver,
}

/// What `serve` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromServe {
    /// It serves.
    Serving,
    /// It has handed everything over, and ends.
    HandedOver,
    /// It goes on, and why.
    Kept {
        /// Why.
        reason: String,
    },
}

/// Says something.
///
/// # Errors
/// [`WireError`].
pub fn say(
    wire: &Wire,
    word: &impl Serialize,
    fds: &[BorrowedFd<'_>],
    deadline: Instant,
) -> Result<(), WireError> {
    let bytes = serde_json::to_vec(word).map_err(|_| WireError::Foreign("a word cannot be written"))?;
    wire.send(&bytes, fds, deadline)
}

/// Hears something; `None` when the other end is gone.
///
/// # Errors
/// [`WireError`].
pub fn hear<T: DeserializeOwned>(wire: &Wire, deadline: Instant) -> Result<Option<(T, Parcel)>, WireError> {
    let Some(parcel) = wire.receive(deadline)? else { return Ok(None) };
    let word = serde_json::from_slice(&parcel.bytes).map_err(|_| WireError::Foreign("an unknown word"))?;
    Ok(Some((word, parcel)))
}
