//! The newest events in memory; pure, the clock is passed in.

use super::{Draft, EventType};
use crate::api::time::rfc3339;
use crate::store::EventRow;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use utoipa::ToSchema;

/// Entries kept.
pub(super) const ENTRIES_MAX: usize = 10_000;
/// Bytes kept, by what the texts take. Ordinary entries reach the other bound first.
pub(super) const BYTES_MAX: usize = 8 << 20;
/// Nothing older is kept.
pub(super) const AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest message, in characters.
const MESSAGE_MAX: usize = 1000;
/// Longest id, in characters.
const ID_MAX: usize = 256;
/// Largest details, in bytes of JSON.
const DETAILS_BYTES_MAX: usize = 4096;

/// One entry.
#[derive(Clone, Debug, PartialEq, ToSchema)]
#[schema(as = EventLog)]
pub(crate) struct Entry {
    /// Grows by one, never reused.
    pub(crate) id: i64,
    /// When it was recorded.
    #[schema(rename = "timestamp", value_type = String)]
    pub(crate) at: SystemTime,
    /// What it is about.
    #[schema(value_type = String)]
    pub(crate) event_type: EventType,
    /// What happened.
    pub(crate) category: String,
    /// For a person.
    pub(crate) message: String,
    /// For a machine.
    #[schema(value_type = Object)]
    pub(crate) details: Map<String, Value>,
    /// The engine it is about.
    pub(crate) container_id: Option<String>,
    /// The stream it is about.
    pub(crate) stream_id: Option<String>,
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entry = serializer.serialize_struct("EventLog", 8)?;
        entry.serialize_field("id", &self.id)?;
        entry.serialize_field("timestamp", &rfc3339(self.at))?;
        entry.serialize_field("event_type", self.event_type.as_str())?;
        entry.serialize_field("category", &self.category)?;
        entry.serialize_field("message", &self.message)?;
        entry.serialize_field("details", &self.details)?;
        entry.serialize_field("container_id", &self.container_id)?;
        entry.serialize_field("stream_id", &self.stream_id)?;
        entry.end()
    }
}

impl Entry {
    /// The entry as it is stored.
    pub(super) fn to_row(&self) -> EventRow {
        EventRow {
            id: self.id,
            at: self.at,
            event_type: self.event_type.as_str().to_owned(),
            category: self.category.clone(),
            message: self.message.clone(),
            details: Value::Object(self.details.clone()).to_string(),
            container_id: self.container_id.clone(),
            stream_id: self.stream_id.clone(),
        }
    }

    fn from_row(row: EventRow) -> Option<Self> {
        Some(Self {
            id: row.id,
            at: row.at,
            event_type: EventType::from_name(&row.event_type)?,
            category: row.category,
            message: row.message,
            details: serde_json::from_str(&row.details).unwrap_or_default(),
            container_id: row.container_id,
            stream_id: row.stream_id,
        })
    }

    /// About what it takes; exact enough for a bound.
    fn bytes(&self) -> usize {
        let ids = self.container_id.as_ref().map_or(0, String::len)
            + self.stream_id.as_ref().map_or(0, String::len);
        size_of::<Self>() + self.message.len() + self.category.len() + ids + json_bytes(&self.details)
    }
}

fn json_bytes(details: &Map<String, Value>) -> usize {
    serde_json::to_string(details).map_or(0, |text| text.len())
}

/// Which entries are wanted. Text filters compare whole texts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// At most so many.
    pub(crate) limit: usize,
    /// After leaving out so many.
    pub(crate) offset: usize,
    /// Of this type; a name no type has matches nothing.
    pub(crate) event_type: Option<String>,
    /// Of this category.
    pub(crate) category: Option<String>,
    /// About this engine.
    pub(crate) container_id: Option<String>,
    /// About this stream.
    pub(crate) stream_id: Option<String>,
    /// Recorded then or later.
    pub(crate) since: Option<SystemTime>,
}

impl Filter {
    fn takes(&self, entry: &Entry) -> bool {
        let is =
            |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|w| Some(w) == found);
        is(&self.event_type, Some(entry.event_type.as_str()))
            && is(&self.category, Some(&entry.category))
            && is(&self.container_id, entry.container_id.as_deref())
            && is(&self.stream_id, entry.stream_id.as_deref())
            && self.since.is_none_or(|since| entry.at >= since)
    }
}

/// What the log holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Counts {
    /// Entries.
    pub(crate) total: usize,
    /// Entries of each type, every type included.
    pub(crate) by_type: [(EventType, usize); 5],
    /// Time of the first.
    pub(crate) oldest: Option<SystemTime>,
    /// Time of the last.
    pub(crate) newest: Option<SystemTime>,
}

/// The entries, oldest first.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    newest_id: i64,
}

impl Log {
    /// A log that goes on after these entries.
    pub(super) fn from_stored(rows: Vec<EventRow>) -> Self {
        let mut log = Self::default();
        for row in rows {
            log.newest_id = log.newest_id.max(row.id);
            if let Some(entry) = Entry::from_row(row) {
                log.bytes += entry.bytes();
                log.entries.push_back(Arc::new(entry));
            }
        }
        log
    }

    /// Adds an entry; answers it, and the newest id of those that had to go for it.
    pub(super) fn append(&mut self, now: SystemTime, draft: Draft) -> (Arc<Entry>, Option<i64>) {
        let mut details = draft.details;
        if json_bytes(&details) > DETAILS_BYTES_MAX {
            details = Map::from_iter([("truncated".to_owned(), Value::Bool(true))]);
        }
        self.newest_id += 1;
        let entry = Arc::new(Entry {
            id: self.newest_id,
            at: now,
            event_type: draft.event_type,
            category: draft.category.to_owned(),
            message: clip(draft.message, MESSAGE_MAX),
            details,
            container_id: draft.container_id.map(|id| clip(id, ID_MAX)),
            stream_id: draft.stream_id.map(|id| clip(id, ID_MAX)),
        });
        self.bytes += entry.bytes();
        self.entries.push_back(entry.clone());
        let oldest = now.checked_sub(AGE_MAX).unwrap_or(SystemTime::UNIX_EPOCH);
        let (_, gone) = self.remove_while(|log, entry| {
            log.entries.len() > ENTRIES_MAX || log.bytes > BYTES_MAX || entry.at < oldest
        });
        (entry, gone)
    }

    /// Removes the entries recorded before a moment; answers how many, and the newest of their ids.
    pub(super) fn remove_before(&mut self, before: SystemTime) -> (usize, Option<i64>) {
        self.remove_while(|_, entry| entry.at < before)
    }

    /// Removes from the old end, so that one id tells what is left.
    fn remove_while(&mut self, condition: impl Fn(&Self, &Entry) -> bool) -> (usize, Option<i64>) {
        let (mut count, mut newest) = (0, None);
        while self.entries.front().is_some_and(|entry| condition(self, entry)) {
            if let Some(entry) = self.entries.pop_front() {
                self.bytes -= entry.bytes();
                newest = Some(entry.id);
                count += 1;
            }
        }
        (count, newest)
    }

    /// Entries that match, newest first.
    pub(super) fn find(&self, filter: &Filter) -> Vec<Arc<Entry>> {
        let matching = self.entries.iter().rev().filter(|entry| filter.takes(entry));
        matching.skip(filter.offset).take(filter.limit).cloned().collect()
    }

    /// What the log holds.
    pub(super) fn counts(&self) -> Counts {
        let mut by_type = EventType::ALL.map(|event_type| (event_type, 0));
        for entry in &self.entries {
            if let Some((_, count)) = by_type.iter_mut().find(|(known, _)| *known == entry.event_type) {
                *count += 1;
            }
        }
        Counts {
            total: self.entries.len(),
            by_type,
            oldest: self.entries.front().map(|entry| entry.at),
            newest: self.entries.back().map(|entry| entry.at),
        }
    }
}

/// The text, cut to a number of characters.
fn clip(text: String, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000 + second)
    }

    fn draft(n: u64) -> Draft {
        let event_type = EventType::ALL[n as usize % 5];
        Draft::new(event_type, "started", format!("event {n}"))
            .detail("n", n)
            .container(n.is_multiple_of(2).then_some("even"))
            .stream(format!("s{}", n % 3))
    }

    fn filled(count: u64) -> Log {
        let mut log = Log::default();
        (0..count).for_each(|n| drop(log.append(at(n), draft(n))));
        log
    }

    fn ids(found: &[Arc<Entry>]) -> Vec<i64> {
        found.iter().map(|entry| entry.id).collect()
    }

    /// Guards: filters, alone and together, and the window of `limit` and `offset`, newest first.
    #[test]
    fn filters_pick_what_they_say() {
        let log = filled(30);
        let all = Filter { limit: 100, ..Filter::default() };
        assert_eq!(ids(&log.find(&all)), (1..=30).rev().collect::<Vec<_>>());
        assert_eq!(ids(&log.find(&Filter { limit: 3, offset: 2, ..Filter::default() })), [28, 27, 26]);
        let engines = Filter { event_type: Some("engine".into()), ..all.clone() };
        assert_eq!(ids(&log.find(&engines)), [26, 21, 16, 11, 6, 1]);
        let both =
            Filter { container_id: Some("even".into()), stream_id: Some("s0".into()), ..engines.clone() };
        assert_eq!(ids(&log.find(&both)), [1]);
        assert_eq!(ids(&log.find(&Filter { since: Some(at(28)), ..all.clone() })), [30, 29]);
        for nothing in [
            Filter { event_type: Some("nonsense".into()), ..all.clone() },
            Filter { category: Some("start".into()), ..all.clone() },
            Filter { container_id: Some(String::new()), ..all.clone() },
            Filter { offset: 30, ..all.clone() },
            Filter { limit: 0, ..all },
        ] {
            assert!(log.find(&nothing).is_empty(), "{nothing:?}");
        }
    }

    /// Guards: the log is bounded by number, size and age, whatever is recorded, and tells which ids went.
    #[test]
    fn the_oldest_go_first() {
        let mut log = filled(ENTRIES_MAX as u64);
        let (entry, gone) = log.append(at(20_000), draft(1));
        assert_eq!((entry.id, gone), (ENTRIES_MAX as i64 + 1, Some(1)));
        assert_eq!(log.counts().total, ENTRIES_MAX);
        let (_, gone) = log.append(at(5) + AGE_MAX, draft(1));
        assert_eq!(gone, Some(5), "what is older than the age goes");

        let mut log = Log::default();
        for n in 0..10_000 {
            let mut large = draft(n).detail("text", "x".repeat(DETAILS_BYTES_MAX - 100));
            large.message = "é".repeat(5000);
            log.append(at(n), large);
            assert!(log.bytes <= BYTES_MAX, "{} bytes", log.bytes);
        }
        assert!(log.counts().total > 500, "only what is needed goes");
    }

    /// Guards: texts and details of any size are cut to their bounds on whole characters.
    #[test]
    fn nothing_too_large_is_kept() {
        let mut log = Log::default();
        let mut large = draft(0).detail("text", "x".repeat(100_000)).container(Some("c".repeat(10_000)));
        large.message = "é".repeat(5000);
        let (entry, _) = log.append(at(0), large);
        assert_eq!(entry.message.chars().count(), MESSAGE_MAX + 1);
        assert_eq!(entry.details, Map::from_iter([("truncated".to_owned(), Value::Bool(true))]));
        assert_eq!(entry.container_id.as_ref().map(|id| id.chars().count()), Some(ID_MAX + 1));
    }

    /// Guards: a log made of what was stored goes on with the next id, also when its last entries are not understood.
    #[test]
    fn ids_are_never_reused() {
        let mut rows: Vec<EventRow> = filled(3).entries.iter().map(|entry| entry.to_row()).collect();
        rows[2].event_type = "from the future".into();
        let mut log = Log::from_stored(rows);
        assert_eq!(log.counts().total, 2);
        let (entry, _) = log.append(at(9), draft(9));
        assert_eq!(entry.id, 4);
        let stored = Log::from_stored(vec![entry.to_row()]);
        assert_eq!(stored.entries[0], entry, "an entry comes back as it was");
    }

    /// Guards: the counts name every type and both ends, and removing by age counts what it removed.
    #[test]
    fn counts_follow_what_is_there() {
        let mut log = filled(7);
        let counts = log.counts();
        assert_eq!(
            counts.by_type.map(|(event_type, count)| (event_type.as_str(), count)),
            [("engine", 2), ("stream", 2), ("vpn", 1), ("health", 1), ("system", 1)]
        );
        assert_eq!((counts.oldest, counts.newest), (Some(at(0)), Some(at(6))));
        assert_eq!(log.remove_before(at(4)), (4, Some(4)));
        assert_eq!(log.remove_before(at(4)), (0, None));
        assert_eq!(log.remove_before(at(99)), (3, Some(7)));
        let counts = log.counts();
        assert_eq!((counts.total, counts.oldest, counts.newest, log.bytes), (0, None, None, 0));
    }
}
