//! How far back the clients of a window stand, and how far back they may. Pure but for the window it looks at.

use crate::window::{LagMax, Window};
use std::cell::Cell;
use std::time::Duration;

/// The hindmost cursor and the bound that no client may stand before.
#[derive(Debug)]
pub(super) struct Reach {
    /// The hindmost cursor of the present walk over the clients, and of the last whole one.
    hindmost: Cell<(u64, u64)>,
    /// The hindmost cursor of clients that other shards serve.
    elsewhere: Cell<u64>,
    /// Clients before this offset are too far behind.
    floor: Cell<u64>,
}

impl Reach {
    pub(super) fn new(floor: u64) -> Self {
        let (hindmost, elsewhere) = (Cell::new((u64::MAX, u64::MAX)), Cell::new(u64::MAX));
        Self { hindmost, elsewhere, floor: Cell::new(floor) }
    }

    /// Notes where a client stands. One that fell off the window no longer counts.
    pub(super) fn note(&self, cursor: u64, window: &Window) {
        let (present, last) = self.hindmost.get();
        if cursor < present && cursor >= window.tail() {
            self.hindmost.set((cursor, last));
        }
    }

    /// Notes where the hindmost of the clients that other shards serve stands.
    pub(super) fn note_elsewhere(&self, cursor: u64, window: &Window) {
        self.elsewhere.set(if cursor >= window.tail() { cursor } else { u64::MAX });
    }

    /// A walk over all clients is complete; until the next one, clients may be `lag` behind, and what lies `ahead` of real
    /// time is not held against them.
    pub(super) fn walked(&self, lag: LagMax, ahead: Duration, rate: Option<u64>, window: &Window) {
        self.hindmost.set((u64::MAX, self.hindmost.get().0));
        if lag == LagMax::default() {
            // It may have been bounded until now.
            return self.floor.set(0);
        }
        let ahead_bytes = (ahead.as_millis() as u64).saturating_mul(rate.unwrap_or(0)) / 1000;
        // What came in a burst is played in real time: whoever still has it before it is not slow.
        let lag = LagMax {
            time: lag.time.map(|time| time + ahead),
            bytes: lag.bytes.map(|bytes| bytes.saturating_add(ahead_bytes)),
        };
        let floor = window.access().lag_floor(lag, window.head());
        // A burst that moves the bound back lets nobody fall back to where it no longer was.
        self.floor.set(floor.max(self.floor.get()));
    }

    /// The hindmost cursor, as far as walks have told.
    pub(super) fn hindmost(&self) -> u64 {
        let (present, last) = self.hindmost.get();
        present.min(last).min(self.elsewhere.get())
    }

    /// Clients before this offset are too far behind.
    pub(super) fn floor(&self) -> u64 {
        self.floor.get()
    }
}
