//! The broadcasts that were found to loop and are not played for a while. Pure.
//!
//! An entry names the id that was asked for, in lower case, and the infohash where it is known, so that no other spelling
//! or name of the same broadcast gets past it.

use crate::store::LoopingRow;
use sluice_contract::Hex40;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime};

/// Entries kept; the oldest go.
const ENTRIES_MAX: usize = 10_000;

/// One broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The broadcast, when known.
    pub(crate) infohash: Option<Hex40>,
    /// When it was last found.
    pub(crate) detected_at: SystemTime,
    /// What gave it away.
    pub(crate) evidence: String,
}

/// The list, by the id asked for.
#[derive(Debug, Default)]
pub(crate) struct List(BTreeMap<String, Entry>);

/// One spelling of each id.
pub(crate) fn normal(key: &str) -> String {
    key.trim().to_ascii_lowercase()
}

impl List {
    /// The list as it was stored.
    pub(crate) fn from_stored(rows: Vec<LoopingRow>) -> Self {
        let entry = |row: LoopingRow| {
            let LoopingRow { key, infohash, detected_at, evidence } = row;
            (key, Entry { infohash, detected_at, evidence })
        };
        Self(rows.into_iter().map(entry).collect())
    }

    /// Puts a broadcast on the list, or notes that it was found again. Answers what to store, and which entry had to go.
    pub(crate) fn add(&mut self, key: &str, entry: Entry) -> (LoopingRow, Option<String>) {
        let key = normal(key);
        let Entry { infohash, detected_at, evidence } = entry.clone();
        self.0.insert(key.clone(), entry);
        let oldest = (self.0.len() > ENTRIES_MAX)
            .then(|| self.0.iter().min_by_key(|(_, entry)| entry.detected_at).map(|(key, _)| key.clone()))
            .flatten();
        if let Some(oldest) = &oldest {
            self.0.remove(oldest);
        }
        (LoopingRow { key, infohash, detected_at, evidence }, oldest)
    }

    /// Takes a broadcast off the list, by the id it was asked for or by its infohash; answers the entries that went.
    pub(crate) fn remove(&mut self, name: &str) -> Vec<String> {
        let name = normal(name);
        let infohash: Option<Hex40> = name.parse().ok();
        let is_meant =
            |key: &str, entry: &Entry| key == name || (infohash.is_some() && entry.infohash == infohash);
        self.take(is_meant)
    }

    /// Takes off what was last found longer ago than this; answers the entries that went.
    pub(crate) fn expire(&mut self, now: SystemTime, retention: Duration) -> Vec<String> {
        self.take(|_, entry| now.duration_since(entry.detected_at).is_ok_and(|age| age >= retention))
    }

    /// Takes everything off.
    pub(crate) fn clear(&mut self) -> Vec<String> {
        self.take(|_, _| true)
    }

    fn take(&mut self, is_meant: impl Fn(&str, &Entry) -> bool) -> Vec<String> {
        let gone: Vec<String> =
            self.0.iter().filter(|(key, entry)| is_meant(key, entry)).map(|(key, _)| key.clone()).collect();
        gone.iter().for_each(|key| drop(self.0.remove(key)));
        gone
    }

    /// Entries by the id asked for.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.0.iter()
    }

    /// Every number that must not be played.
    pub(crate) fn numbers(&self) -> HashSet<Hex40> {
        let keys = self.0.keys().filter_map(|key| key.parse().ok());
        keys.chain(self.0.values().filter_map(|entry| entry.infohash)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_941_200 + second)
    }

    fn number(n: u8) -> Hex40 {
        Hex40::from_bytes([n; 20])
    }

    fn entry(second: u64, infohash: Option<Hex40>) -> Entry {
        Entry { infohash, detected_at: at(second), evidence: "lag".into() }
    }

    /// Guards: a broadcast is blocked by the id it was asked for and by its infohash, and taken off by either, in any
    /// spelling.
    #[test]
    fn a_broadcast_is_known_by_both_names() {
        let key = number(0xab).to_string().to_uppercase();
        for name in [key.as_str(), &key.to_lowercase(), &number(2).to_string()] {
            let mut list = List::default();
            let (row, _) = list.add(&key, entry(0, Some(number(2))));
            assert_eq!(row.key, key.to_lowercase());
            assert_eq!(list.numbers(), HashSet::from([number(0xab), number(2)]));
            assert_eq!(list.remove(name), [key.to_lowercase()], "{name}");
            assert_eq!(list.remove(name), [] as [String; 0]);
        }
        let mut list = List::default();
        list.add("magnet:?xt=1", entry(0, None));
        assert!(list.numbers().is_empty(), "a name that is no number blocks no number");
    }

    /// Guards: entries go when they were last found long enough ago, and one that is found again stays.
    #[test]
    fn entries_expire_after_they_were_last_found() {
        let mut list = List::default();
        list.add("a", entry(0, None));
        list.add("b", entry(0, None));
        list.add("a", entry(50, None));
        assert_eq!(list.expire(at(59), Duration::from_secs(60)), [] as [String; 0]);
        assert_eq!(list.expire(at(60), Duration::from_secs(60)), ["b"]);
        assert_eq!(list.clear(), ["a"]);
    }

    /// Guards: the list is bounded, the oldest entry goes, and a list that was stored is the same again.
    #[test]
    fn the_list_is_bounded() {
        let mut list = List::default();
        let mut rows: Vec<LoopingRow> =
            (0..ENTRIES_MAX as u64).map(|n| list.add(&format!("key {n}"), entry(n, None)).0).collect();
        let (row, gone) = list.add("one more", entry(99_999, None));
        assert_eq!(gone.as_deref(), Some("key 0"));
        rows.remove(0);
        rows.push(row);
        assert_eq!(List::from_stored(rows).0, list.0);
    }
}
