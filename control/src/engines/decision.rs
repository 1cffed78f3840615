//! How a choice between engines came about, for whoever wants to know why a stream plays where it plays. Pure values.

use super::health::State;
use sluice_contract::{EngineId, LeaseId, RefusalCode, ShardId, StreamKey};
use std::time::Instant;

/// What became of one request for an engine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decision {
    /// Who asked.
    pub(crate) shard: ShardId,
    /// For what.
    pub(crate) stream: StreamKey,
    /// When the request came to be looked at.
    pub(crate) asked: Instant,
    /// When it was decided.
    pub(crate) decided: Instant,
    /// The engine it got and under which lease, or why it got none.
    pub(crate) outcome: Result<(LeaseId, EngineId), RefusalCode>,
    /// Every engine there was; empty unless explanations are asked for.
    pub(crate) candidates: Vec<Seen>,
}

/// How an engine looked at that moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    /// Which.
    pub(crate) engine: EngineId,
    /// What it scored; higher is better.
    pub(crate) score: i64,
    /// Why it was out of the question, if it was.
    pub(crate) obstacle: Option<Obstacle>,
    /// It comes after all that are well, whatever it scores.
    pub(crate) is_poor: bool,
    /// It comes after those that share neither VPN node nor host with an engine that plays this broadcast.
    pub(crate) is_near: bool,
    /// It owns its VPN's forwarded port.
    pub(crate) is_forwarded: bool,
    /// How it does.
    pub(crate) state: State,
    /// Streams active or about to be.
    pub(crate) streams: usize,
    /// Of these those that start.
    pub(crate) starts: usize,
}

/// Why an engine could not be taken. The one closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Another one was asked for by name.
    NotWanted,
    /// It is not known to answer.
    NotUsable,
    /// It finishes what it has.
    Draining,
    /// It plays this broadcast already.
    SameBroadcast,
    /// It has no room.
    Full,
    /// It starts as many streams as it may at a time.
    BusyStarting,
    /// It failed this stream a moment ago.
    FailedBefore,
    /// It is kept for when nothing else can be had.
    LastResort,
}

impl Obstacle {
    /// Stable machine-readable name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotWanted => "not_wanted",
            Self::NotUsable => "not_usable",
            Self::Draining => "draining",
            Self::SameBroadcast => "same_broadcast",
            Self::Full => "full",
            Self::BusyStarting => "busy_starting",
            Self::FailedBefore => "failed_before",
            Self::LastResort => "last_resort",
        }
    }
}
