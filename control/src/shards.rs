//! The way to the shards: one bounded inbox each, sends never wait.

use sluice_contract::link::{Rejected, Sender};
use sluice_contract::{Epoch, ShardId, ToShard};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The inboxes of all shards, in shard order.
pub(crate) struct Shards {
    inboxes: Vec<Sender<ToShard>>,
    next: AtomicUsize,
    undelivered: AtomicU64,
}

impl Shards {
    /// Wraps the inboxes.
    pub(crate) fn new(inboxes: Vec<Sender<ToShard>>) -> Self {
        Self { inboxes, next: AtomicUsize::new(0), undelivered: AtomicU64::new(0) }
    }

    /// How many shards there are.
    pub(crate) fn count(&self) -> usize {
        self.inboxes.len()
    }

    /// Every shard.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.inboxes.len()).map(|index| ShardId(u16::try_from(index).unwrap_or(u16::MAX)))
    }

    /// The inboxes themselves.
    pub(crate) fn inboxes(&self) -> &[Sender<ToShard>] {
        &self.inboxes
    }

    /// Sends to one shard; hands the message back when its inbox is full, or nobody reads it, or there is no such
    /// shard.
    ///
    /// # Errors
    /// The message, so that nothing it owns is lost unseen.
    pub(crate) fn send(&self, shard: ShardId, message: ToShard) -> Result<(), ToShard> {
        let outcome = match self.inboxes.get(usize::from(shard.0)) {
            Some(inbox) => inbox.send(message).map_err(Rejected::into_inner),
            None => Err(message),
        };
        if outcome.is_err() {
            self.undelivered.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    /// Tells a shard of the link generation. Answers whether that is settled: the message was taken, or there is nobody
    /// who could ever take it.
    pub(crate) fn connect(&self, shard: ShardId, epoch: Epoch) -> bool {
        let inbox = self.inboxes.get(usize::from(shard.0));
        !inbox.is_some_and(|inbox| matches!(inbox.send(ToShard::Connected { epoch }), Err(Rejected::Full(_))))
    }

    /// Sends to whichever shard takes it, starting with another one each time.
    ///
    /// # Errors
    /// The message, when no shard takes it.
    pub(crate) fn send_any(&self, mut message: ToShard) -> Result<(), ToShard> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        for offset in 0..self.inboxes.len() {
            match self.inboxes[(start + offset) % self.inboxes.len()].send(message) {
                Ok(()) => return Ok(()),
                Err(rejected) => message = rejected.into_inner(),
            }
        }
        self.undelivered.fetch_add(1, Ordering::Relaxed);
        Err(message)
    }

    /// Messages that found no room.
    pub(crate) fn undelivered(&self) -> u64 {
        self.undelivered.load(Ordering::Relaxed)
    }
}
