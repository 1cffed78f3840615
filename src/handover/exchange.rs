//! What a `serve` and the one that follows it say to each other.
//!
//! ```text
//!   new                                  old
//!   Hello ─────────────────────────────►  (another state version: Refused, nothing was touched)
//!                                         opens nothing new, stops its control
//!       ◄───────────────────────── Begin
//!   starts its control, Standing ───────►
//!                                         stands still
//!       ◄─────── what each shard holds, then what its control held
//!   builds its shards, Ready ───────────►
//!       ◄──────────────────────── Commit
//!   Taken ──────────────────────────────► ends
//!   touches what it took over
//! ```
//! The new one touches nothing before it has said `Taken`, the old one nothing after it has said `Commit` unless it knows
//! that `Taken` was not said. Whatever fails before leaves the old one as it was.

use super::cord::{hear, say};
use super::wire::{Wire, WireError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// The version of everything that is handed over. Whoever changes what is told, or what it means, counts it up.
pub const STATE_VERSION: u32 = 1;

/// What the new one says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromNew {
    /// The first word.
    Hello {
        /// Its version, for the log.
        version: String,
        /// The state it understands.
        state: u32,
    },
    /// Its control runs.
    Standing,
    /// It has everything and can go on at once.
    Ready,
    /// It goes on.
    Taken,
    /// It cannot.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What the old one says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromOld {
    /// Its control has stopped.
    Begin {
        /// Shards that will tell what they hold, in order.
        shards: u16,
        /// The newest link generation of its control.
        epoch: u64,
    },
    /// Everything belongs to the new one as soon as it says so.
    Commit,
    /// It goes on itself.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Why the exchange came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The connection.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The other one understands another state.
    #[error("version {version} speaks state {theirs}, this one speaks {STATE_VERSION}: restart instead")]
    Version {
        /// Its version.
        version: String,
        /// Its state.
        theirs: u32,
    },
    /// The other one cannot, or does not want to.
    #[error("the other process: {0}")]
    Refused(String),
    /// The other one says something else than is its turn.
    #[error("the other process said {0} out of turn")]
    OutOfTurn(String),
}

/// Says something.
///
/// # Errors
/// [`WireError`].
pub fn tell(wire: &Wire, word: &impl Serialize, deadline: Instant) -> Result<(), WireError> {
    say(wire, word, &[], deadline)
}

/// Waits for the new one's first word, and checks that both mean the same.
///
/// # Errors
/// [`ExchangeError`].
pub fn greet(wire: &Wire, deadline: Instant) -> Result<String, ExchangeError> {
    match word(wire, deadline)? {
        FromNew::Hello { version, state: STATE_VERSION } => Ok(version),
        FromNew::Hello { version, state: theirs } => Err(ExchangeError::Version { version, theirs }),
        other => Err(out_of_turn(&other)),
    }
}

/// Waits for exactly this word of the new one.
///
/// # Errors
/// [`ExchangeError`].
pub fn await_new(wire: &Wire, expected: &FromNew, deadline: Instant) -> Result<(), ExchangeError> {
    match word(wire, deadline)? {
        said if said == *expected => Ok(()),
        FromNew::Refused { reason } => Err(ExchangeError::Refused(reason)),
        other => Err(out_of_turn(&other)),
    }
}

/// Waits for the next word of the old one.
///
/// # Errors
/// [`ExchangeError`].
pub fn await_old(wire: &Wire, deadline: Instant) -> Result<FromOld, ExchangeError> {
    match word(wire, deadline)? {
        FromOld::Refused { reason } => Err(ExchangeError::Refused(reason)),
        said => Ok(said),
    }
}

/// Says that a word comes out of turn.
pub fn out_of_turn(word: &impl std::fmt::Debug) -> ExchangeError {
    ExchangeError::OutOfTurn(format!("{word:?}"))
}

fn word<T: DeserializeOwned>(wire: &Wire, deadline: Instant) -> Result<T, WireError> {
    hear(wire, deadline)?.map(|(word, _)| word).ok_or(WireError::Gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// Guards: only who speaks this state is spoken to; another version, another word, a refusal and silence each end the
    /// exchange with their own reason.
    #[test]
    fn only_the_same_state_is_handed_over() {
        let hello = |state| FromNew::Hello { version: "9".to_owned(), state };
        let greeted = |word: &FromNew| {
            let (old, new) = Wire::pair().unwrap();
            tell(&new, word, soon()).unwrap();
            greet(&old, soon())
        };
        assert_eq!(greeted(&hello(STATE_VERSION)).unwrap(), "9");
        assert!(matches!(greeted(&hello(STATE_VERSION + 1)), Err(ExchangeError::Version { .. })));
        assert!(matches!(greeted(&FromNew::Ready), Err(ExchangeError::OutOfTurn(_))));
        let (old, new) = Wire::pair().unwrap();
        tell(&new, &FromNew::Refused { reason: "no".to_owned() }, soon()).unwrap();
        assert!(matches!(await_new(&old, &FromNew::Ready, soon()), Err(ExchangeError::Refused(_))));
        drop(new);
        let gone = await_new(&old, &FromNew::Ready, soon());
        assert!(matches!(gone, Err(ExchangeError::Wire(WireError::Gone))), "{gone:?}");
    }
}
