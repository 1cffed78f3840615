//! Leases: the right to open one session on one engine.

use crate::ids::{EngineId, Epoch, LeaseId, StreamKey, ShardId, Ticket};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
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
    /// Control answers by then, with a refusal if need be; afterwards the shard no longer waits.
    pub deadline: Instant,
}

/// A granted engine. Returned exactly once with [`LeaseReturn`].
#[derive(Clone, Debug)]
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
    /// The engine's places for starts, shared by all its leases.
    pub starts: Arc<Starts>,
}

impl PartialEq for Lease {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Lease {}

/// How many sessions may be starting on one engine at a time. An engine that looks up several channels at once
/// answers none of them in time.
#[derive(Debug)]
pub struct Starts {
    free: AtomicU32,
}

/// A place for one start; free again when dropped.
#[derive(Debug)]
pub struct StartPermit(Arc<Starts>);

impl Starts {
    /// At most `max` starts at a time.
    pub fn new(max: u32) -> Arc<Self> {
        Arc::new(Self { free: AtomicU32::new(max) })
    }

    /// Takes a place if one is free.
    pub fn try_acquire(self: &Arc<Self>) -> Option<StartPermit> {
        let take = |free: u32| free.checked_sub(1);
        self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).ok()?;
        Some(StartPermit(self.clone()))
    }
}

impl Drop for StartPermit {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::AcqRel);
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
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
