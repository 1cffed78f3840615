//! Leases: the right to open one session on one engine.

use crate::ids::{EngineId, Epoch, LeaseId, ShardId, StreamKey, Ticket};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// A shard asks for an engine for one session.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// Finds the answer its way back.
    pub ticket: Ticket,
    /// Who asks.
    pub shard: ShardId,
    /// For which stream: control never grants two leases of one stream on one engine at a time, except to replace
    /// a lease the shard is about to return.
    pub stream: StreamKey,
    /// Engines that failed this session recently, worst last. They are granted only when no other can be had.
    pub avoid: Vec<EngineId>,
    /// No other engine will do: the session is moved there.
    pub wanted: Option<EngineId>,
    /// Control answers by then, with a refusal if need be; afterwards the shard no longer waits.
    pub deadline: Instant,
}

/// A granted engine. Returned exactly once with [`LeaseReturn`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Lease {
    /// Which lease.
    pub id: LeaseId,
    /// Grants of an older link generation are returned unused.
    pub epoch: Epoch,
    /// Which engine.
    pub engine: EngineId,
    /// Where its HTTP API answers; resolved by control, because a shard must not wait for DNS.
    pub address: SocketAddr,
    /// `host:port` as the operator wrote it: the `Host` header, and what the API shows.
    pub authority: Arc<str>,
    /// What it shares with other engines, such as a VPN node: they fall silent together. `None` when it stands alone.
    pub group: Option<Arc<str>>,
}

/// A shard gives a lease back.
#[derive(Clone, Debug)]
pub struct LeaseReturn {
    /// Which lease.
    pub id: LeaseId,
    /// What was wrong with the engine, if it was the engine.
    pub fault: Option<EngineFault>,
}

/// What a shard saw of an engine that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineFault {
    /// The TCP connection was refused, reset or timed out.
    Unreachable,
    /// It accepts connections but answers neither the request nor a health probe.
    Hung,
    /// It answered the start with an error.
    Error,
    /// The body ended.
    EndOfStream,
    /// The body stood still although the engine answers.
    Silent,
    /// The body is not MPEG-TS.
    NotMpegTs,
    /// Its answers break HTTP or its own API.
    Protocol,
}

impl EngineFault {
    /// Stable machine-readable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Hung => "hung",
            Self::Error => "error",
            Self::EndOfStream => "end_of_stream",
            Self::Silent => "silent",
            Self::NotMpegTs => "not_mpeg_ts",
            Self::Protocol => "protocol",
        }
    }
}
