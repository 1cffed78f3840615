//! What plays where, and what other proxies play added up. Pure.
//!
//! Kept while streams come, go and change, so that nobody who asks walks over thousands of them. The book alone writes it: every
//! active stream is entered once and leaves once.

use super::sample::Sample;
use super::stream::{Shown, Stream};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Streams that play on one engine, in the order of their registration.
pub(crate) type Playing = Arc<[Arc<Stream>]>;

/// What other proxies play, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    /// Streams.
    pub(crate) streams: usize,
    /// Their peers now.
    pub(crate) peers: i128,
    /// KiB/s now.
    pub(crate) speed_down: i128,
    /// KiB/s now.
    pub(crate) speed_up: i128,
    /// What they have moved since this control started.
    pub(crate) moved: Moved,
}

/// Bytes in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// From peers.
    pub(crate) downloaded: u64,
    /// To peers.
    pub(crate) uploaded: u64,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    engines: HashMap<Arc<str>, BTreeSet<i64>>,
    /// The same as it is shown; made when it is asked for, dropped when it changes.
    shown: HashMap<Arc<str>, Playing>,
    /// Streams of our own sessions.
    own: BTreeSet<i64>,
    /// How far the bytes of a reported stream are counted. The first figures of a playback count whole, later ones by what they
    /// grew; one that shrinks is a new base.
    counted: HashMap<i64, Moved>,
    reported: Reported,
}

impl Tally {
    /// A stream plays now. `counted` is how far its bytes are, when it is a playback that was entered before.
    pub(super) fn enter(&mut self, shown: &Shown, counted: Option<Moved>) {
        let Stream { serial, start, .. } = &*shown.stream;
        self.touch(&start.engine.id);
        self.engines.entry(start.engine.id.clone()).or_default().insert(*serial);
        if shown.stream.is_own() {
            self.own.insert(*serial);
            return;
        }
        self.reported.streams += 1;
        self.counted.extend(counted.map(|counted| (*serial, counted)));
        self.add(shown.latest.as_deref(), 1);
    }

    /// It does no more; answers how far its bytes are counted.
    pub(super) fn leave(&mut self, shown: &Shown) -> Option<Moved> {
        let Stream { serial, start, .. } = &*shown.stream;
        self.touch(&start.engine.id);
        if let Some(here) = self.engines.get_mut(&start.engine.id) {
            here.remove(serial);
            if here.is_empty() {
                self.engines.remove(&start.engine.id);
            }
        }
        if self.own.remove(serial) {
            return None;
        }
        self.reported.streams = self.reported.streams.saturating_sub(1);
        self.add(shown.latest.as_deref(), -1);
        self.counted.remove(serial)
    }

    /// Something else than its figures changed about a stream on this engine.
    pub(super) fn touch(&mut self, engine: &str) {
        self.shown.remove(engine);
    }

    /// A stream that plays has new figures.
    pub(super) fn figures(&mut self, stream: &Stream, before: Option<&Sample>, now: &Sample) {
        if stream.is_own() {
            return;
        }
        self.add(before, -1);
        self.add(Some(now), 1);
        let bytes = |figure: Option<i64>| figure.map(|figure| u64::try_from(figure).unwrap_or(0));
        let counted = self.counted.entry(stream.serial).or_default();
        let moved = &mut self.reported.moved;
        for (now, counted, sum) in [
            (bytes(now.downloaded), &mut counted.downloaded, &mut moved.downloaded),
            (bytes(now.uploaded), &mut counted.uploaded, &mut moved.uploaded),
        ] {
            // What an engine does not say is no figure.
            let Some(now) = now else { continue };
            *sum = sum.saturating_add(now.saturating_sub(*counted));
            *counted = now;
        }
    }

    fn add(&mut self, sample: Option<&Sample>, times: i128) {
        let Some(sample) = sample else { return };
        let figure = |figure: Option<i64>| times * i128::from(figure.unwrap_or(0));
        self.reported.peers += figure(sample.peers);
        self.reported.speed_down += figure(sample.speed_down);
        self.reported.speed_up += figure(sample.speed_up);
    }

    /// What other proxies play.
    pub(super) fn reported(&self) -> Reported {
        self.reported
    }

    /// Streams of our own sessions.
    pub(super) fn own(&self) -> impl Iterator<Item = i64> {
        self.own.iter().copied()
    }

    /// Streams on an engine.
    pub(super) fn on(&self, engine: &str) -> impl Iterator<Item = i64> {
        self.engines.get(engine).into_iter().flatten().copied()
    }

    /// Engines something plays on.
    pub(super) fn engines(&self) -> impl Iterator<Item = &Arc<str>> {
        self.engines.keys()
    }

    /// What plays on every engine, with streams as `find` has them.
    pub(super) fn playing(
        &mut self,
        find: impl Fn(i64) -> Option<Arc<Stream>>,
    ) -> HashMap<Arc<str>, Playing> {
        for (engine, here) in &self.engines {
            if !self.shown.contains_key(engine) {
                let streams = here.iter().filter_map(|serial| find(*serial)).collect();
                self.shown.insert(engine.clone(), streams);
            }
        }
        self.shown.clone()
    }
}
