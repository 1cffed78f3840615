//! The ids a session can be had under: one, or those of a channel in their order.

use crate::handover::age;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Which ids there are, which one is asked for now, and which have been given up.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Entries {
    count: u8,
    /// The one that plays, or is on the way to it.
    pub(super) present: u8,
    /// One bit for each that was given up since one of them last played well.
    given_up: u32,
    /// Since when the present one has its turn.
    #[serde(with = "age")]
    pub(super) since: Instant,
    /// Media of the present one has come.
    pub(super) has_played: bool,
}

impl Entries {
    /// So many of them; the first one has its turn.
    pub(super) fn new(count: u8, now: Instant) -> Self {
        debug_assert!(count > 0 && u32::from(count) <= u32::BITS, "{count} ids");
        Self { count, present: 0, given_up: 0, since: now, has_played: false }
    }

    /// The one that comes after the present one, if there is one that was not given up. Behind the last one the first
    /// one comes again: it may be well by then.
    pub(super) fn next(&self) -> Option<u8> {
        let after = (1..self.count).map(|step| (self.present + step) % self.count);
        after.into_iter().find(|entry| self.given_up & 1 << entry == 0)
    }

    /// The present one is not tried again before another one has played well.
    pub(super) fn give_up(&mut self) {
        self.given_up |= 1 << self.present;
    }

    /// All of them may be tried again.
    pub(super) fn forgive(&mut self) {
        self.given_up = 0;
    }

    /// It is the turn of this one.
    pub(super) fn take(&mut self, now: Instant, entry: u8) {
        (self.present, self.since, self.has_played) = (entry, now, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: the ids come round in their order, each once, and all of them again once one has played well.
    #[test]
    fn ids_come_round_once() {
        let now = Instant::now();
        let mut entries = Entries::new(3, now);
        let mut order = Vec::new();
        entries.take(now, 1);
        while let Some(next) = entries.next() {
            entries.give_up();
            entries.take(now, next);
            order.push(next);
        }
        assert_eq!(order, [2, 0]);
        entries.forgive();
        assert_eq!(entries.next(), Some(1));
        assert_eq!(Entries::new(1, now).next(), None);
    }
}
