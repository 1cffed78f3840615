//! What is remembered of each engine for those who look: when it was seen, when it was used, what it says it is.
//!
//! Written by the engines service alone, read by anybody at any time; the lock is held for a look-up and never across a
//! wait. As many entries as there are engines.

use super::check::{Build, CheckFault, Found};
use sluice_contract::EngineId;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// What is remembered of one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// When it was first known here.
    pub(crate) first_seen: SystemTime,
    /// When it last answered.
    pub(crate) last_seen: SystemTime,
    /// When it was last checked, whatever came of it.
    pub(crate) checked_at: Option<SystemTime>,
    /// When a stream was last given to it.
    pub(crate) used_at: Option<SystemTime>,
    /// What it says it is.
    pub(crate) build: Build,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Records(Mutex<HashMap<EngineId, Record>>);

impl Records {
    /// These are the engines there are: new ones are seen from now on, those that are gone are forgotten.
    pub(crate) fn keep(&self, now: SystemTime, engines: &[EngineId]) {
        let mut records = self.records();
        if records.len() == engines.len() && engines.iter().all(|engine| records.contains_key(engine)) {
            return;
        }
        let present: HashSet<&EngineId> = engines.iter().collect();
        records.retain(|engine, _| present.contains(engine));
        for engine in engines {
            records.entry(engine.clone()).or_insert_with(|| Record {
                first_seen: now,
                last_seen: now,
                checked_at: None,
                used_at: None,
                build: Build::default(),
            });
        }
    }

    /// An engine was checked.
    pub(crate) fn checked(&self, now: SystemTime, engine: &EngineId, outcome: &Result<Found, CheckFault>) {
        if let Some(record) = self.records().get_mut(engine) {
            record.checked_at = Some(now);
            if let Ok(found) = outcome {
                record.last_seen = now;
                record.build.clone_from(&found.build);
            }
        }
    }

    /// A stream was given to an engine.
    pub(crate) fn used(&self, now: SystemTime, engine: &EngineId) {
        if let Some(record) = self.records().get_mut(engine) {
            record.used_at = Some(now);
        }
    }

    /// What is remembered of an engine.
    pub(crate) fn get(&self, engine: &EngineId) -> Option<Record> {
        self.records().get(engine).cloned()
    }

    fn records(&self) -> MutexGuard<'_, HashMap<EngineId, Record>> {
        // A panic cannot leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    /// Guards: what is remembered is of engines that are there, and a failed check says nothing about what they are.
    #[test]
    fn engines_are_remembered_while_they_are_there() {
        let (records, engine) = (Records::default(), EngineId("a:1".into()));
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        records.used(at(1), &engine);
        assert_eq!(records.get(&engine), None);
        records.keep(at(1), std::slice::from_ref(&engine));
        let build = Build { platform: Some("linux".to_owned()), version: Some("3.2.3".to_owned()) };
        let found = Found { address: ([127, 0, 0, 1], 1).into(), build: build.clone() };
        records.checked(at(2), &engine, &Ok(found));
        records.keep(at(3), std::slice::from_ref(&engine));
        records.checked(at(4), &engine, &Err(CheckFault::Late(([127, 0, 0, 1], 1).into())));
        records.used(at(5), &engine);
        let expected = Record {
            first_seen: at(1),
            last_seen: at(2),
            checked_at: Some(at(4)),
            used_at: Some(at(5)),
            build,
        };
        assert_eq!(records.get(&engine), Some(expected));
        records.keep(at(6), &[]);
        assert_eq!(records.get(&engine), None);
    }
}
