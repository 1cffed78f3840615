//! The moments of one play, told once by the shard that plays it: when its first byte is on the way, or when it came to
//! nothing.
//!
//! A shard only notes times; what is made of them, and who is told, is control's business. The report is a courtesy: one
//! that finds control's inbox full is dropped and counted.

use crate::ids::{ClientId, LeaseId, ShardId, StreamKey};
use std::time::Instant;

/// One play, from a player's request to its first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Play {
    /// Where it is played.
    pub shard: ShardId,
    /// Who plays; random, and the name of the whole story.
    pub client: ClientId,
    /// What the player asked with: a parameter and its value, as in `content_id=…` or `channel=…`.
    pub asked_as: Box<str>,
    /// What it was found to be.
    pub stream: Option<StreamKey>,
    /// When the request was read.
    pub asked: Instant,
    /// How the session started, when the play had to wait for that.
    pub start: Option<Start>,
    /// When the report was made.
    pub told: Instant,
    /// When the player's socket took its first byte; or why there is none, from a closed list.
    pub outcome: Result<Instant, &'static str>,
}

/// How a session started, as far as it came. When an engine failed and another was tried, the last try is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Control was asked for an engine.
    pub lease_asked: Option<Instant>,
    /// It granted one.
    pub lease_granted: Option<Instant>,
    /// Which lease that was.
    pub lease: Option<LeaseId>,
    /// The engine was asked for the stream.
    pub engine_asked: Option<Instant>,
    /// It answered.
    pub engine_answered: Option<Instant>,
    /// Its first media came.
    pub first_media: Option<Instant>,
    /// Engines asked.
    pub tries: u16,
}
