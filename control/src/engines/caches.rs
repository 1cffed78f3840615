//! Caches of engines on disk: how large each is, and when one is emptied. Pure: the clock is passed in.
//!
//! Owned by the engines service's task. A cache is emptied when it is above its bound, or when the last stream on its engine
//! has ended, and only while no stream has or is about to have that engine: whoever owns the leases is asked in the moment
//! before ([`Job::Purge`]), and gives the engine to nobody until [`Caches::purged`].

use crate::docker::ContainerId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Between two measurements of one cache.
const MEASURED_EVERY: Duration = Duration::from_secs(60);
/// From an engine's first answer to the first measurement: a command in a container costs about as much as starting one, and
/// where one engine has come up others are often about to.
const FIRST_MEASURED: Duration = Duration::from_secs(3);
/// Caches worked on at a time, so that a large fleet does not flood its daemon.
const JOBS_MAX: usize = 8;
/// After a purge that could not be begun or failed.
const PURGE_RETRY: Duration = Duration::from_secs(60);

/// Where the engines of a recipe keep what they have received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cache {
    /// In memory: there is nothing to measure or empty.
    Memory,
    /// In this folder inside.
    Folder(Arc<str>),
}

/// How a cache stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CacheStanding {
    /// Where it is.
    pub(crate) cache: Cache,
    /// Its size, once measured.
    pub(crate) bytes: Option<u64>,
    /// When it was measured last.
    pub(crate) measured_at: Option<SystemTime>,
    /// When it was emptied last.
    pub(crate) purged_at: Option<SystemTime>,
    /// What all purges of it freed.
    pub(crate) freed_bytes: u64,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Measure a cache and report with [`Caches::measured`].
    Measure {
        /// Whose.
        id: ContainerId,
        /// Where.
        folder: Arc<str>,
    },
    /// Empty a cache, if nobody has or is about to have the engine, and report with [`Caches::purged`].
    Purge {
        /// Whose.
        id: ContainerId,
        /// Where.
        folder: Arc<str>,
    },
}

#[derive(Debug)]
struct Entry {
    standing: CacheStanding,
    measure_at: Instant,
    purge_at: Instant,
    is_busy: bool,
    is_in_use: bool,
    has_left: bool,
}

/// The caches of all engines.
#[derive(Debug)]
pub(super) struct Caches {
    bytes_max: Option<u64>,
    entries: HashMap<ContainerId, Entry>,
}

impl Caches {
    /// No cache; each may become so large, or of any size.
    pub(super) fn new(bytes_max: Option<u64>) -> Self {
        Self { bytes_max, entries: HashMap::new() }
    }

    /// These are the engines there are, with the streams each has.
    pub(super) fn follow(
        &mut self,
        now: Instant,
        engines: impl Iterator<Item = (ContainerId, Cache, usize)>,
    ) {
        let mut left = std::mem::take(&mut self.entries);
        for (id, cache, streams) in engines {
            let known = left.remove(&id).filter(|entry| entry.standing.cache == cache);
            let mut entry = known.unwrap_or_else(|| Entry::new(now, cache));
            let is_in_use = streams > 0;
            entry.has_left |= entry.is_in_use && !is_in_use;
            entry.is_in_use = is_in_use;
            self.entries.insert(id, entry);
        }
    }

    /// What is due now; each is claimed until it is reported.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Job> {
        let mut jobs = Vec::new();
        let mut busy = self.entries.values().filter(|entry| entry.is_busy).count();
        for (id, entry) in &mut self.entries {
            let Cache::Folder(folder) = &entry.standing.cache else { continue };
            if entry.is_busy || busy >= JOBS_MAX {
                continue;
            }
            let before = jobs.len();
            let is_over =
                self.bytes_max.is_some_and(|most| entry.standing.bytes.is_some_and(|bytes| bytes > most));
            if (is_over || entry.has_left) && !entry.is_in_use && now >= entry.purge_at {
                entry.is_busy = true;
                jobs.push(Job::Purge { id: id.clone(), folder: folder.clone() });
            } else if now >= entry.measure_at {
                entry.is_busy = true;
                jobs.push(Job::Measure { id: id.clone(), folder: folder.clone() });
            }
            busy += jobs.len() - before;
        }
        jobs
    }

    /// Has every cache on disk emptied that no stream uses; answers how many those are, and how many are in use.
    pub(super) fn empty_idle(&mut self, now: Instant) -> (usize, usize) {
        let on_disk = |entry: &&mut Entry| entry.standing.cache != Cache::Memory;
        let (mut idle, mut used) = (0, 0);
        for entry in self.entries.values_mut().filter(on_disk) {
            if entry.is_in_use {
                used += 1;
                continue;
            }
            idle += 1;
            entry.has_left = true;
            entry.purge_at = entry.purge_at.min(now);
        }
        (idle, used)
    }

    /// A cache was measured, or could not be.
    pub(super) fn measured(&mut self, now: Instant, wall: SystemTime, id: &ContainerId, bytes: Option<u64>) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.is_busy = false;
        entry.measure_at = now + MEASURED_EVERY;
        if bytes.is_some() {
            (entry.standing.bytes, entry.standing.measured_at) = (bytes, Some(wall));
        }
    }

    /// A cache was emptied: what it held before and holds now. `None` when it could not be, or its engine was needed.
    pub(super) fn purged(
        &mut self,
        now: Instant,
        wall: SystemTime,
        id: &ContainerId,
        sizes: Option<(u64, u64)>,
    ) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.is_busy = false;
        entry.purge_at = now + PURGE_RETRY;
        if let Some((before, after)) = sizes {
            entry.has_left = false;
            let standing = &mut entry.standing;
            (standing.bytes, standing.measured_at, standing.purged_at) =
                (Some(after), Some(wall), Some(wall));
            standing.freed_bytes = standing.freed_bytes.saturating_add(before.saturating_sub(after));
        }
    }

    /// How an engine's cache stands.
    pub(super) fn standing(&self, id: &ContainerId) -> Option<CacheStanding> {
        self.entries.get(id).map(|entry| entry.standing.clone())
    }

    /// When something is due next.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        if self.entries.values().filter(|entry| entry.is_busy).count() >= JOBS_MAX {
            // The end of one of those comes first.
            return None;
        }
        let idle =
            self.entries.values().filter(|entry| !entry.is_busy && entry.standing.cache != Cache::Memory);
        let due = idle.map(|entry| {
            if entry.has_left && !entry.is_in_use {
                entry.purge_at.min(entry.measure_at)
            } else {
                entry.measure_at
            }
        });
        due.min()
    }
}

impl Entry {
    fn new(now: Instant, cache: Cache) -> Self {
        let standing =
            CacheStanding { cache, bytes: None, measured_at: None, purged_at: None, freed_bytes: 0 };
        Self {
            standing,
            measure_at: now + FIRST_MEASURED,
            purge_at: now,
            is_busy: false,
            is_in_use: false,
            has_left: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 1000;

    fn id() -> ContainerId {
        ContainerId("a".into())
    }

    fn folder() -> Cache {
        Cache::Folder("/cache".into())
    }

    /// One engine's, whose first measurement is due.
    fn caches(now: Instant) -> Caches {
        let mut caches = Caches::new(Some(MOST));
        with_streams(&mut caches, before(now), 0);
        caches
    }

    fn before(now: Instant) -> Instant {
        now.checked_sub(FIRST_MEASURED).unwrap()
    }

    fn with_streams(caches: &mut Caches, now: Instant, streams: usize) {
        caches.follow(now, [(id(), folder(), streams)].into_iter());
    }

    fn measure() -> Job {
        Job::Measure { id: id(), folder: "/cache".into() }
    }

    fn purge() -> Job {
        Job::Purge { id: id(), folder: "/cache".into() }
    }

    /// Guards measuring: soon after the engine came up, then every minute, never twice at a time, and one that fails keeps the size known before.
    #[test]
    fn caches_are_measured_every_minute() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut caches = caches(now);
        assert_eq!(caches.due(now - Duration::from_millis(1)), [], "it has just come up");
        assert_eq!(caches.due(now), [measure()]);
        assert_eq!((caches.due(now), caches.next_wake()), (Vec::new(), None));
        caches.measured(now, wall, &id(), Some(10));
        assert_eq!(caches.next_wake(), Some(now + MEASURED_EVERY));
        assert_eq!(caches.due(now + MEASURED_EVERY / 2), []);
        let later = now + MEASURED_EVERY;
        assert_eq!(caches.due(later), [measure()]);
        caches.measured(later, wall, &id(), None);
        assert_eq!(caches.standing(&id()).and_then(|standing| standing.bytes), Some(10));
        let memory = [(id(), Cache::Memory, 0)].into_iter();
        caches.follow(later, memory);
        assert_eq!((caches.due(later), caches.next_wake()), (Vec::new(), None));
    }

    /// Guards a cache whose engine plays: however large, it is not touched; when the last stream has ended it is emptied,
    /// and what that freed is known.
    #[test]
    fn a_cache_in_use_is_never_emptied() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut caches = caches(now);
        with_streams(&mut caches, now, 2);
        caches.due(now);
        caches.measured(now, wall, &id(), Some(MOST + 1));
        with_streams(&mut caches, now, 1);
        assert_eq!(caches.due(now), [], "a cache of an engine that plays would be emptied");
        with_streams(&mut caches, now, 0);
        assert_eq!(caches.due(now), [purge()]);
        caches.purged(now, wall, &id(), Some((MOST + 1, 1)));
        let standing = caches.standing(&id()).unwrap();
        assert_eq!((standing.bytes, standing.freed_bytes, standing.purged_at), (Some(1), MOST, Some(wall)));
        assert_eq!(caches.due(now), [], "it is empty");
    }

    /// Guards an idle engine: above the bound its cache is emptied, and when that fails or the engine is needed after all,
    /// it is tried again later.
    #[test]
    fn a_cache_above_its_bound_is_emptied() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut caches = caches(now);
        caches.due(now);
        caches.measured(now, wall, &id(), Some(MOST));
        assert_eq!(caches.due(now), [], "the bound itself is allowed");
        let mut later = now + MEASURED_EVERY;
        caches.due(later);
        caches.measured(later, wall, &id(), Some(MOST + 1));
        assert_eq!(caches.due(later), [purge()]);
        caches.purged(later, wall, &id(), None);
        assert_eq!(caches.due(later), []);
        later += PURGE_RETRY;
        assert_eq!(caches.due(later), [purge()]);
        let mut unbounded = Caches::new(None);
        unbounded.follow(before(now), [(id(), folder(), 0)].into_iter());
        unbounded.due(now);
        unbounded.measured(now, wall, &id(), Some(u64::MAX));
        assert_eq!(unbounded.due(now), []);
    }

    /// Guards emptying by hand: what is idle is emptied now, however small and however lately it was tried; what is in use is
    /// counted and left alone, and what is in memory is neither.
    #[test]
    fn caches_are_emptied_by_hand() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut caches = Caches::new(None);
        let id = |text: &str| ContainerId(text.into());
        let engines = [(id("a"), folder(), 0), (id("b"), folder(), 1), (id("c"), Cache::Memory, 0)];
        caches.follow(now, engines.clone().into_iter());
        caches.purged(now, wall, &id("a"), None);
        assert_eq!(caches.due(now), []);
        assert_eq!(caches.empty_idle(now), (1, 1));
        assert!(caches.next_wake().is_some_and(|at| at <= now), "nobody comes to do it");
        assert_eq!(caches.due(now), [Job::Purge { id: id("a"), folder: "/cache".into() }]);
        caches.purged(now, wall, &id("a"), Some((7, 0)));
        assert_eq!(caches.due(now), [], "it is done");
    }

    /// Guards the daemon of a large fleet: only a few caches are worked on at a time, and the end of one lets the next in.
    #[test]
    fn a_large_fleet_is_measured_a_few_at_a_time() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut caches = Caches::new(None);
        let id = |n: usize| ContainerId(n.to_string().into());
        caches.follow(before(now), (0..100).map(|n| (id(n), folder(), 0)));
        let mut measured = std::collections::HashSet::new();
        let mut jobs = caches.due(now);
        assert_eq!((jobs.len(), caches.next_wake()), (JOBS_MAX, None));
        while let Some(Job::Measure { id, .. }) = jobs.pop() {
            caches.measured(now, wall, &id, Some(1));
            assert!(measured.insert(id));
            let more = caches.due(now);
            assert!(more.len() <= 1);
            jobs.extend(more);
        }
        assert_eq!(measured.len(), 100);
    }
}
