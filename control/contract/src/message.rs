//! What travels over the links between shards and control.

use crate::connection::Connection;
use crate::ids::{Alias, EngineId, Epoch, Hex40, LeaseId, Options, Selector, ShardId, StreamKey, Ticket};
use crate::lease::{Lease, LeaseRequest, LeaseReturn};
use crate::play::Play;
use crate::reason::{EndReason, MoveReason, Refusal};
use std::time::Instant;

/// A shard wants to know which broadcast an alias names.
#[derive(Clone, Debug)]
pub struct ResolveRequest {
    /// Finds the answer its way back.
    pub ticket: Ticket,
    /// Who asks.
    pub shard: ShardId,
    /// What a player asked for.
    pub alias: Alias,
    /// Control answers by then.
    pub deadline: Instant,
}

/// The answer to a [`ResolveRequest`]. Control has already written it into the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The key to use: by infohash, or by selector when no engine could tell.
    pub key: StreamKey,
}

/// Everything a shard holds at the moment: the first thing a (re)started control hears of it.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    /// Leases in use, with the broadcast and engine each serves.
    pub leases: Vec<(Lease, StreamKey)>,
    /// Keys of the sessions that live.
    pub sessions: Vec<StreamKey>,
}

/// Messages from a shard to control.
#[derive(Debug)]
pub enum ToControl {
    /// First message after every (re)connect.
    Holdings {
        /// Who reports.
        shard: ShardId,
        /// Link generation the report answers.
        epoch: Epoch,
        /// What it holds.
        holdings: Holdings,
    },
    /// Ask for an engine; answered by [`ToShard::Lease`].
    Lease(LeaseRequest),
    /// The shard no longer waits for this request's answer; a grant that crosses this message comes back as a return.
    Abandon {
        /// Who asked.
        shard: ShardId,
        /// Which request.
        ticket: Ticket,
    },
    /// Give an engine back.
    Return(LeaseReturn),
    /// The source that plays on this lease has fallen silent, longer than it is used to pause, or come back. Engines that
    /// fall silent together have something in common.
    Silence {
        /// Which lease.
        lease: LeaseId,
        /// Silent, or back.
        is_silent: bool,
    },
    /// Ask for a canonical key; answered by [`ToShard::Resolved`].
    Resolve(ResolveRequest),
    /// An engine's start answer named the infohash behind a selector.
    Learned {
        /// What the engine was asked with.
        selector: Selector,
        /// Byte-changing options it was asked with.
        options: Options,
        /// What it named.
        infohash: Hex40,
    },
    /// A play has begun, or came to nothing.
    Played(Box<Play>),
    /// A connection whose next request is not for the data plane.
    Connection(Connection),
}

/// Messages to a shard, from control or from another shard.
#[derive(Debug)]
pub enum ToShard {
    /// Control (re)started: report holdings under this generation.
    Connected {
        /// The new link generation.
        epoch: Epoch,
    },
    /// Answer to [`ToControl::Lease`].
    Lease {
        /// Which request.
        ticket: Ticket,
        /// Grant or refusal.
        answer: Result<Lease, Refusal>,
    },
    /// Answer to [`ToControl::Resolve`].
    Resolved {
        /// Which request.
        ticket: Ticket,
        /// Key or refusal.
        answer: Result<Resolution, Refusal>,
    },
    /// A lease is withdrawn: move its session elsewhere, then return it. Where the reason leaves a choice
    /// ([`MoveReason::is_final`]), the session stays if nothing else can be had.
    Withdraw {
        /// Which lease.
        lease: LeaseId,
        /// Why.
        reason: MoveReason,
    },
    /// A connection whose next request is for the data plane, or for a session this shard owns.
    Connection(Connection),
    /// End the session of this key if nobody watches it, reason `yielded`: a play waits for its engine.
    Yield {
        /// Which session.
        key: StreamKey,
    },
    /// Move the session of this key to another engine while it plays: this one, or any.
    Move {
        /// Which session.
        key: StreamKey,
        /// Where to.
        engine: Option<EngineId>,
    },
    /// End the session of this key.
    Stop {
        /// Which session.
        key: StreamKey,
        /// What its clients and records say of it.
        reason: EndReason,
    },
    /// Graceful shutdown: take no new clients, end players, stop engine sessions, then end the thread.
    Drain {
        /// When everything must be over.
        deadline: Instant,
    },
}
