//! Every stream there is or was a short while ago. Pure: the clock is passed in, nothing is stored or told from here.
//!
//! Streams are listed in the order of their first registration. Active ones are bounded by refusing more, ended ones by
//! forgetting the oldest. Samples come out of one budget: each stream may hold an equal share of it, and those that ended
//! give theirs up first.

use super::aggregate::{Aggregates, Rows};
use super::history::History;
use super::sample::Sample;
use super::stream::{End, Shown, Source, Start, Stream};
use super::tally::{Playing, Reported, Tally};
use crate::store::{Resolution, StreamRow};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Active streams, all sources together.
pub(crate) const ACTIVE_MAX: usize = 10_000;
/// Ended streams that are still listed.
const ENDED_MAX: usize = 5_000;
/// How long an ended stream is listed.
const ENDED_FOR: Duration = Duration::from_secs(3600);
/// Samples held of all streams together, some 50 MB.
const SAMPLES_MAX: usize = 240_000;
/// Samples each stream may hold, however many there are.
const SAMPLES_MIN: usize = 24;
const _: () = assert!(SAMPLES_MIN * ACTIVE_MAX <= SAMPLES_MAX);

/// There are as many streams as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{ACTIVE_MAX} streams play already")]
pub(crate) struct Full;

/// What became of a start.
#[derive(Debug)]
pub(crate) enum Started {
    /// The stream is registered, anew when its id was known.
    Registered(Arc<Shown>),
    /// Our own session plays under that id, and nobody else says anything about it.
    Ours(Arc<Shown>),
}

/// Which streams are listed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Only active ones, or only ended ones.
    pub(crate) is_active: Option<bool>,
    /// Only those on this engine.
    pub(crate) container_id: Option<String>,
}

#[derive(Debug)]
struct Entry {
    shown: Arc<Shown>,
    history: History,
    aggregates: Aggregates,
    /// Whether it is among the changed ones already.
    is_noted: bool,
}

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Book {
    entries: BTreeMap<i64, Entry>,
    serials: HashMap<String, i64>,
    /// Ended streams, those that ended first in front. One that started again since is passed over.
    ended: VecDeque<i64>,
    newest_serial: i64,
    active: usize,
    tally: Tally,
    /// How often anything but figures changed; read by those who answer without waiting for the book.
    version: Arc<AtomicU64>,
    held: usize,
    history_max: usize,
    /// Streams with new figures since rows were last taken.
    noted: Vec<i64>,
    /// Rows of spans that are over.
    rows: Rows,
}

impl Book {
    /// A book of what was stored; every stream holds at most so many samples.
    pub(crate) fn from_stored(rows: Vec<StreamRow>, history_max: usize) -> Self {
        let mut book = Self { history_max, ..Self::default() };
        for row in rows {
            book.newest_serial = book.newest_serial.max(row.serial);
            let Some((stream, last)) = Stream::from_row(row) else { continue };
            let shown = Shown::new(Arc::new(stream), last.map(Arc::new));
            book.serials.insert(shown.stream.id().to_owned(), shown.stream.serial);
            if shown.stream.is_active() {
                book.active += 1;
                book.tally.enter(&shown, None);
            }
            book.insert(Arc::new(shown));
        }
        let mut ended: Vec<_> = book
            .entries
            .iter()
            .filter_map(|(serial, entry)| Some((entry.shown.stream.end.as_ref()?.at, *serial)))
            .collect();
        ended.sort();
        book.ended = ended.into_iter().map(|(_, serial)| serial).collect();
        book
    }

    fn insert(&mut self, shown: Arc<Shown>) {
        let serial = shown.stream.serial;
        let entry =
            Entry { shown, history: History::default(), aggregates: Aggregates::default(), is_noted: false };
        self.entries.insert(serial, entry);
    }

    fn entry(&mut self, id: &str) -> Option<&mut Entry> {
        self.entries.get_mut(self.serials.get(id)?)
    }

    /// Registers a stream that starts. One that is known keeps its place and its samples and starts anew.
    ///
    /// # Errors
    /// [`Full`] when too many play.
    pub(crate) fn start(&mut self, now: SystemTime, start: Start) -> Result<Started, Full> {
        let known = self.get(&start.id);
        let was_active = known.as_ref().is_some_and(|known| known.stream.is_active());
        if let Some(known) =
            known.as_ref().filter(|known| known.stream.is_own() && start.source != Source::Session)
        {
            return Ok(Started::Ours(known.clone()));
        }
        if !was_active && self.active >= ACTIVE_MAX {
            return Err(Full);
        }
        let serial = known.as_ref().map_or(self.newest_serial + 1, |known| known.stream.serial);
        let is_same_playback = known
            .as_ref()
            .is_some_and(|known| known.stream.start.playback_session_id == start.playback_session_id);
        let counted = known.as_ref().filter(|_| was_active).and_then(|known| self.tally.leave(known));
        let stream = Arc::new(Stream { serial, start, started_at: now, end: None });
        let shown = Arc::new(Shown::new(stream, known.and_then(|known| known.latest.clone())));
        self.tally.enter(&shown, counted.filter(|_| is_same_playback));
        note_change(&self.version);
        self.active += usize::from(!was_active);
        self.newest_serial = self.newest_serial.max(serial);
        match self.entries.get_mut(&serial) {
            Some(entry) => entry.shown = shown.clone(),
            None => {
                self.serials.insert(shown.stream.id().to_owned(), serial);
                self.insert(shown.clone());
            }
        }
        Ok(Started::Registered(shown))
    }

    /// Ends a stream; `None` when it is unknown or had ended before.
    pub(crate) fn end(&mut self, at: SystemTime, id: &str, reason: Option<&str>) -> Option<Arc<Shown>> {
        let serial = *self.serials.get(id)?;
        let entry = self.entries.get_mut(&serial).filter(|entry| entry.shown.stream.is_active())?;
        let end = Some(End { at, reason: reason.map(str::to_owned) });
        let stream = Arc::new(Stream { end, ..Stream::clone(&entry.shown.stream) });
        let shown = Arc::new(Shown::new(stream, entry.shown.latest.clone()));
        self.tally.leave(&entry.shown);
        note_change(&self.version);
        entry.shown = shown.clone();
        entry.aggregates.close(id, &mut self.rows);
        self.active -= 1;
        self.ended.push_back(serial);
        Some(shown)
    }

    /// Notes which broadcast a stream plays.
    pub(crate) fn learn(&mut self, id: &str, infohash: sluice_contract::Hex40) -> Option<Arc<Shown>> {
        let entry = self.entry(id).filter(|entry| entry.shown.stream.start.infohash.is_none())?;
        let mut stream = Stream::clone(&entry.shown.stream);
        stream.start.infohash = Some(infohash);
        let shown = Arc::new(Shown::new(Arc::new(stream), entry.shown.latest.clone()));
        entry.shown = shown.clone();
        self.tally.touch(&shown.stream.start.engine.id);
        note_change(&self.version);
        Some(shown)
    }

    /// Which stream a reporter means that names itself, or an engine, but no stream: the newest of those it reported. Where
    /// nothing says who reported, an engine with a single reported stream is clear enough; anything else is not, and
    /// nobody's stream is ended by a guess.
    pub(crate) fn meant_by(&self, container_id: &str) -> Option<Arc<Shown>> {
        let reported = || {
            let newest_first = self.entries.values().rev().map(|entry| &entry.shown);
            newest_first.filter(|shown| shown.stream.is_active() && !shown.stream.is_own())
        };
        let by_reporter =
            reported().find(|shown| shown.stream.start.reporter.as_deref() == Some(container_id));
        if by_reporter.is_some() {
            return by_reporter.cloned();
        }
        let mut on_engine = reported().filter(|shown| &*shown.stream.start.engine.id == container_id);
        let only = on_engine.next()?;
        on_engine.next().is_none().then(|| only.clone())
    }

    /// A stream.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Shown>> {
        self.entries.get(self.serials.get(id)?).map(|entry| entry.shown.clone())
    }

    /// Streams in the order of their registration.
    pub(crate) fn list(&self, filter: &Filter) -> Vec<Arc<Shown>> {
        // Asked of each engine by proxies that look for one to play on.
        if let (Some(true), Some(engine)) = (filter.is_active, &filter.container_id) {
            return self.on_engine(engine);
        }
        let takes = |shown: &&Arc<Shown>| {
            filter.is_active.is_none_or(|wanted| shown.stream.is_active() == wanted)
                && filter.container_id.as_deref().is_none_or(|id| &*shown.stream.start.engine.id == id)
        };
        self.entries.values().map(|entry| &entry.shown).filter(takes).cloned().collect()
    }

    /// Streams that play.
    pub(crate) fn active(&self) -> impl Iterator<Item = &Arc<Shown>> {
        self.entries.values().map(|entry| &entry.shown).filter(|shown| shown.stream.is_active())
    }

    /// Streams that play on an engine.
    pub(crate) fn on_engine(&self, engine: &str) -> Vec<Arc<Shown>> {
        let entries = self.tally.on(engine).filter_map(|serial| self.entries.get(&serial));
        entries.map(|entry| entry.shown.clone()).collect()
    }

    /// What plays on every engine that plays something; what did not change is the same value as before.
    pub(crate) fn playing(&mut self) -> HashMap<Arc<str>, Playing> {
        let Self { tally, entries, .. } = self;
        tally.playing(|serial| entries.get(&serial).map(|entry| entry.shown.stream.clone()))
    }

    /// Engines that play something.
    pub(crate) fn engines(&self) -> impl Iterator<Item = &Arc<str>> {
        self.tally.engines()
    }

    /// Streams of our own sessions that play.
    pub(crate) fn own(&self) -> impl Iterator<Item = &Arc<Shown>> {
        self.tally.own().filter_map(|serial| self.entries.get(&serial)).map(|entry| &entry.shown)
    }

    /// What other proxies play, added up.
    pub(crate) fn reported(&self) -> Reported {
        self.tally.reported()
    }

    /// How often anything but figures changed.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The same, for whoever has no book at hand.
    pub(crate) fn versions(&self) -> Arc<AtomicU64> {
        self.version.clone()
    }

    /// How many play, and how many are listed in all.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.active, self.entries.len())
    }

    /// Samples held.
    pub(crate) fn samples_held(&self) -> usize {
        self.held
    }

    /// Takes new figures in; those of a stream that has ended meanwhile are dropped. `shown` may be what somebody made of
    /// the stream and these figures beforehand; it counts only if the stream is still the same.
    pub(crate) fn observe(&mut self, shown: Shown) {
        let Some(sample) = shown.latest.clone() else { return };
        let share = (SAMPLES_MAX / self.active.max(1)).max(SAMPLES_MIN).min(self.history_max.max(1));
        let serial = shown.stream.serial;
        let Some(entry) = self.entries.get_mut(&serial) else { return };
        let present = &entry.shown.stream;
        let is_meant = present.id() == shown.stream.id()
            && present.start.playback_session_id == shown.stream.start.playback_session_id;
        if !is_meant || !present.is_active() {
            return;
        }
        self.tally.figures(present, entry.shown.latest.as_deref(), &sample);
        entry.shown = if Arc::ptr_eq(present, &shown.stream) {
            Arc::new(shown)
        } else {
            Arc::new(Shown::new(present.clone(), Some(sample.clone())))
        };
        entry.aggregates.add(entry.shown.stream.id(), &sample, &mut self.rows);
        if !std::mem::replace(&mut entry.is_noted, true) {
            self.noted.push(serial);
        }
        entry.history.push(&sample);
        self.held += 1;
        while entry.history.len() > share {
            entry.history.pop_front();
            self.held -= 1;
        }
        self.relieve();
    }

    /// Gives samples of ended streams up while there are too many: statistics of theirs are on the disk.
    fn relieve(&mut self) {
        for serial in &self.ended {
            if self.held <= SAMPLES_MAX {
                return;
            }
            if let Some(entry) = self.entries.get_mut(serial).filter(|entry| !entry.shown.stream.is_active())
            {
                self.held -= entry.history.len();
                entry.history = History::default();
            }
        }
    }

    /// Samples of a stream from a moment on, oldest first.
    pub(crate) fn samples(&self, id: &str, since: Option<SystemTime>) -> Option<Vec<Sample>> {
        let entry = self.entries.get(self.serials.get(id)?)?;
        Some(entry.history.since(since))
    }

    /// Whether there are any samples of a stream.
    pub(crate) fn has_samples(&self, id: &str) -> bool {
        let entry = self.serials.get(id).and_then(|serial| self.entries.get(serial));
        entry.is_some_and(|entry| entry.history.len() > 0)
    }

    /// Rows for the disk since they were last taken, those of so many streams at a time; `None` when there are no more.
    pub(crate) fn take_rows(&mut self, streams_max: usize) -> Option<Rows> {
        if self.rows.is_empty() && self.noted.is_empty() {
            return None;
        }
        let mut rows = std::mem::take(&mut self.rows);
        let left = self.noted.len().saturating_sub(streams_max);
        for serial in self.noted.split_off(left) {
            if let Some(entry) = self.entries.get_mut(&serial) {
                entry.is_noted = false;
                let present = entry.aggregates.present(entry.shown.stream.id());
                rows.extend(present.map(|row| (Resolution::TenSeconds, row)));
            }
        }
        Some(rows)
    }

    /// Ends every span, because the plane stops; the rows are taken with [`Book::take_rows`].
    pub(crate) fn close(&mut self) {
        for entry in self.entries.values_mut() {
            entry.aggregates.close(entry.shown.stream.id(), &mut self.rows);
        }
    }

    /// The stream as it is stored.
    pub(crate) fn row(&self, id: &str) -> Option<StreamRow> {
        let shown = self.get(id)?;
        Some(shown.stream.to_row(shown.latest.as_deref()))
    }

    /// Forgets what ended long ago, and the oldest of too many; answers their ids.
    pub(crate) fn sweep(&mut self, now: SystemTime) -> Vec<String> {
        let mut gone = Vec::new();
        while let Some(serial) = self.ended.front().copied() {
            let end = self.entries.get(&serial).and_then(|entry| entry.shown.stream.end.as_ref());
            let is_over = |end: &End| now.duration_since(end.at).is_ok_and(|age| age >= ENDED_FOR);
            if end.is_some_and(|end| !is_over(end)) && self.ended.len() <= ENDED_MAX {
                break;
            }
            self.ended.pop_front();
            // A stream that started again has another place in the row, or none.
            let is_last_place = end.is_some() && !self.ended.contains(&serial);
            if is_last_place && let Some(entry) = self.entries.remove(&serial) {
                self.held -= entry.history.len();
                let id = entry.shown.stream.id().to_owned();
                self.serials.remove(&id);
                gone.push(id);
            }
        }
        if !gone.is_empty() {
            note_change(&self.version);
        }
        gone
    }
}

fn note_change(version: &AtomicU64) {
    version.fetch_add(1, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::stream::{EngineName, KeyType};
    use std::time::UNIX_EPOCH;

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_769_941_200 + second)
    }

    fn book() -> Book {
        Book::from_stored(Vec::new(), 720)
    }

    fn start(id: &str) -> Start {
        Start {
            id: id.to_owned(),
            source: Source::Reported,
            key_type: KeyType::ContentId,
            key: "k".into(),
            infohash: None,
            engine: EngineName { id: "engine".into(), host: "h".into(), port: 1 },
            reporter: Some("acexy".into()),
            playback_session_id: "p".into(),
            stat_url: "http://h:1/stat".into(),
            command_url: "http://h:1/cmd".into(),
            is_live: true,
            labels: BTreeMap::new(),
        }
    }

    fn begin(book: &mut Book, second: u64, start: Start) -> Arc<Shown> {
        match book.start(at(second), start) {
            Ok(Started::Registered(shown)) => shown,
            other => panic!("not registered: {other:?}"),
        }
    }

    fn sample(book: &mut Book, id: &str, second: u64) {
        let sample = Sample { peers: Some(3), downloaded: Some(second as i64), ..Sample::empty(at(second)) };
        let stream = book.get(id).unwrap().stream.clone();
        book.observe(Shown::new(stream, Some(Arc::new(sample))));
    }

    fn ids(shown: &[Arc<Shown>]) -> Vec<&str> {
        shown.iter().map(|shown| shown.stream.id()).collect()
    }

    /// Guards: a stream that starts again keeps its place and its samples, and starts anew; one that ends ends once.
    #[test]
    fn a_stream_starts_again_and_ends_once() {
        let mut book = book();
        begin(&mut book, 0, start("a"));
        begin(&mut book, 1, start("b"));
        sample(&mut book, "a", 2);
        assert!(book.end(at(3), "a", Some("normal")).is_some());
        assert!(book.end(at(4), "a", Some("again")).is_none());
        assert!(book.end(at(4), "nobody", None).is_none());
        let end = book.get("a").unwrap().stream.end.clone();
        assert_eq!(end, Some(End { at: at(3), reason: Some("normal".into()) }));
        assert_eq!(ids(&book.list(&Filter::default())), ["a", "b"]);
        assert_eq!(book.counts(), (1, 2));

        let again = begin(&mut book, 5, start("a"));
        assert_eq!((again.stream.started_at, again.stream.is_active()), (at(5), true));
        assert_eq!(ids(&book.list(&Filter::default())), ["a", "b"]);
        assert_eq!(book.samples("a", None).unwrap().len(), 1);
        assert_eq!(book.counts(), (2, 2));
    }

    /// Guards: what is shown of a stream that ended: totals stay, rates and positions go.
    #[test]
    fn an_ended_stream_keeps_its_totals() {
        let mut book = book();
        begin(&mut book, 0, start("a"));
        sample(&mut book, "a", 7);
        let shown: serde_json::Value = serde_json::from_str(book.get("a").unwrap().json()).unwrap();
        assert_eq!(
            (&shown["peers"], &shown["downloaded"], &shown["status"]),
            (&3.into(), &7.into(), &"started".into())
        );
        book.end(at(8), "a", None);
        let shown: serde_json::Value = serde_json::from_str(book.get("a").unwrap().json()).unwrap();
        assert_eq!((&shown["peers"], &shown["downloaded"]), (&serde_json::Value::Null, &7.into()));
        assert_eq!(shown["ended_at"], "2026-02-01T10:20:08.000000Z");
        // Figures that come late change nothing any more.
        sample(&mut book, "a", 9);
        assert_eq!(book.samples("a", None).unwrap().len(), 1);
    }

    /// Guards: filters by state and engine, and samples from a moment on.
    #[test]
    fn listings_are_filtered() {
        let mut book = book();
        begin(&mut book, 0, start("a"));
        let elsewhere = EngineName { id: "other".into(), host: "o".into(), port: 2 };
        begin(&mut book, 0, Start { engine: elsewhere, ..start("b") });
        book.end(at(1), "a", None);
        let list = |is_active, container_id: Option<&str>| {
            let filter = Filter { is_active, container_id: container_id.map(str::to_owned) };
            ids(&book.list(&filter)).join(" ")
        };
        assert_eq!((list(Some(true), None), list(Some(false), None)), ("b".into(), "a".into()));
        assert_eq!(
            (list(None, Some("other")), list(Some(false), Some("other"))),
            ("b".into(), String::new())
        );
        (0..10).for_each(|second| sample(&mut book, "b", second));
        assert_eq!(book.samples("b", Some(at(7))).unwrap().len(), 3);
        assert_eq!(book.samples("nobody", None), None);
    }

    /// Guards: an end that names no stream ends the newest one its reporter started, or the only one on an engine, and never
    /// one of our own sessions or somebody else's by a guess.
    #[test]
    fn an_end_without_a_stream_is_no_guess() {
        let mut book = book();
        let by = |reporter: &str, id: &str| Start { reporter: Some(reporter.into()), ..start(id) };
        begin(&mut book, 0, by("one", "a"));
        begin(&mut book, 0, by("one", "b"));
        begin(&mut book, 0, by("two", "c"));
        begin(&mut book, 0, Start { source: Source::Session, reporter: None, ..start("own") });
        let meant = |book: &Book, id: &str| book.meant_by(id).map(|shown| shown.stream.id().to_owned());
        assert_eq!(meant(&book, "one").as_deref(), Some("b"));
        assert_eq!(meant(&book, "engine"), None, "three streams play there");
        assert_eq!(meant(&book, "nobody"), None);
        book.end(at(1), "b", None);
        assert_eq!(meant(&book, "one").as_deref(), Some("a"));
        book.end(at(1), "c", None);
        assert_eq!(meant(&book, "engine").as_deref(), Some("a"));
        book.end(at(1), "a", None);
        assert_eq!(meant(&book, "engine"), None, "our own session is left");
    }

    /// Guards: nobody registers a stream under the id of one of our own sessions.
    #[test]
    fn our_own_streams_are_ours() {
        let mut book = book();
        begin(&mut book, 0, Start { source: Source::Session, ..start("a") });
        assert!(matches!(book.start(at(1), start("a")), Ok(Started::Ours(_))));
        assert_eq!(book.get("a").unwrap().stream.started_at, at(0));
    }

    /// Guards: active streams are bounded by refusing, and one that is known may always start again.
    #[test]
    fn there_are_only_so_many() {
        let mut book = book();
        (0..ACTIVE_MAX).for_each(|n| drop(begin(&mut book, 0, start(&n.to_string()))));
        assert!(matches!(book.start(at(1), start("one more")), Err(Full)));
        begin(&mut book, 1, start("7"));
        book.end(at(2), "7", None);
        begin(&mut book, 3, start("one more"));
        assert!(matches!(book.start(at(4), start("7")), Err(Full)), "an ended one is not active");
    }

    /// Guards: samples are bounded for each stream and in all; those of ended streams go first.
    #[test]
    fn samples_come_out_of_one_budget() {
        let mut book = Book::from_stored(Vec::new(), 10);
        begin(&mut book, 0, start("a"));
        (0..50).for_each(|second| sample(&mut book, "a", second));
        let held = book.samples("a", None).unwrap();
        assert_eq!((held.len(), held[0].at), (10, at(40)), "the newest are kept");

        book.history_max = 100_000;
        let half = SAMPLES_MAX as u64 / 2 + 1;
        for id in ["b", "c"] {
            begin(&mut book, 0, start(id));
            (0..half).for_each(|second| sample(&mut book, id, second));
            book.end(at(half), id, None);
        }
        assert!(book.samples_held() <= SAMPLES_MAX, "{} samples", book.samples_held());
        begin(&mut book, 0, start("d"));
        (0..half).for_each(|second| sample(&mut book, "d", second));
        assert!(book.samples_held() <= SAMPLES_MAX, "{} samples", book.samples_held());
        assert_eq!(book.samples("b", None).unwrap().len(), 0, "the one that ended first went first");
        assert_eq!(book.samples("a", None).unwrap().len(), 10, "those that play keep theirs");
    }

    /// Guards: ended streams are forgotten after their time, and the oldest of too many; one that started again is not.
    #[test]
    fn ended_streams_are_forgotten() {
        let mut book = book();
        for (id, second) in [("a", 0), ("b", 10), ("c", 20)] {
            begin(&mut book, 0, start(id));
            book.end(at(second), id, None);
        }
        begin(&mut book, 30, start("a"));
        let life = ENDED_FOR.as_secs();
        assert_eq!(book.sweep(at(life + 9)), [] as [String; 0]);
        assert_eq!(book.sweep(at(life + 10)), ["b"]);
        book.end(at(life + 11), "a", None);
        assert_eq!(book.sweep(at(life + 20)), ["c"]);
        assert_eq!(ids(&book.list(&Filter::default())), ["a"]);

        for n in 0..ENDED_MAX + 3 {
            let id = n.to_string();
            begin(&mut book, life + 12, start(&id));
            book.end(at(life + 12), &id, None);
        }
        assert_eq!(book.sweep(at(life + 13)), ["a", "0", "1", "2"]);
        assert_eq!(book.counts(), (0, ENDED_MAX));
    }

    /// Guards: a book made of what was stored lists the same streams in the same order, ended ones with their totals, and
    /// gives new streams new places.
    #[test]
    fn what_was_stored_is_found_again() {
        let mut first = book();
        for id in ["a", "b", "c"] {
            begin(&mut first, 0, start(id));
            sample(&mut first, id, 5);
        }
        first.end(at(6), "b", Some("normal"));
        let rows: Vec<StreamRow> = ["c", "a", "b"].iter().filter_map(|id| first.row(id)).collect();
        let mut second = Book::from_stored(rows, 720);
        assert_eq!(ids(&second.list(&Filter::default())), ["a", "b", "c"]);
        assert_eq!(second.get("b").unwrap().json(), first.get("b").unwrap().json());
        assert_eq!(second.counts(), (2, 3));
        begin(&mut second, 9, start("d"));
        assert_eq!(ids(&second.list(&Filter::default())), ["a", "b", "c", "d"]);
        assert_eq!(second.sweep(at(6) + ENDED_FOR), ["b"]);
    }

    /// Guards: what other proxies play is added up as the contract has it while streams come, go and start again, our own sessions
    /// left out: present figures of those that play, bytes by what each playback adds.
    #[test]
    fn what_others_play_is_added_up() {
        let mut book = book();
        let observe = |book: &mut Book, id: &str, peers: i64, downloaded: Option<i64>| {
            let sample = Sample { peers: Some(peers), downloaded, ..Sample::empty(at(1)) };
            let stream = book.get(id).unwrap().stream.clone();
            book.observe(Shown::new(stream, Some(Arc::new(sample))));
            let Reported { streams, peers, moved, .. } = book.reported();
            (streams, peers, moved.downloaded)
        };
        begin(&mut book, 0, start("a"));
        begin(&mut book, 0, start("b"));
        begin(&mut book, 0, Start { source: Source::Session, ..start("own") });
        assert_eq!(observe(&mut book, "a", 3, Some(100)), (2, 3, 100), "the first counts whole");
        assert_eq!(observe(&mut book, "b", 5, Some(10)), (2, 8, 110));
        assert_eq!(observe(&mut book, "own", 9, Some(1000)), (2, 8, 110));
        assert_eq!(observe(&mut book, "a", 4, Some(150)), (2, 9, 160));
        assert_eq!(observe(&mut book, "a", 4, Some(20)), (2, 9, 160), "a smaller one is a new base");
        assert_eq!(observe(&mut book, "a", 4, None), (2, 9, 160), "what is not said is no figure");
        assert_eq!(observe(&mut book, "a", 4, Some(30)), (2, 9, 170));
        begin(&mut book, 2, start("a"));
        assert_eq!(observe(&mut book, "a", 4, Some(30)), (2, 9, 170), "the same playback, told again");
        begin(&mut book, 2, Start { playback_session_id: "q".into(), ..start("a") });
        assert_eq!(observe(&mut book, "a", 4, Some(7)), (2, 9, 177), "another playback");
        book.end(at(3), "b", None);
        assert_eq!(observe(&mut book, "b", 5, Some(99)), (1, 4, 177), "figures of one that ended");
        book.end(at(3), "a", None);
        let gone = Reported { moved: book.reported().moved, ..Reported::default() };
        assert_eq!((book.reported(), gone.moved.downloaded), (gone, 177));
    }

    /// Guards: what plays on each engine follows every change, and is the same value as long as nothing but figures changes,
    /// so that what is made of it can be kept.
    #[test]
    fn what_plays_where_is_kept_until_it_changes() {
        let mut book = book();
        let elsewhere = EngineName { id: "other".into(), host: "o".into(), port: 2 };
        begin(&mut book, 0, start("a"));
        begin(&mut book, 0, Start { engine: elsewhere.clone(), ..start("b") });
        let names = |book: &mut Book, engine: &str| {
            let playing = book.playing().get(engine).cloned();
            playing.map(|here| here.iter().map(|stream| stream.id().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(names(&mut book, "engine").unwrap(), ["a"]);
        let (before, version) = (book.playing(), book.version());
        sample(&mut book, "a", 1);
        let after = book.playing();
        assert!(Arc::ptr_eq(&before["engine"], &after["engine"]) && book.version() == version);

        begin(&mut book, 1, start("c"));
        assert_eq!(names(&mut book, "engine").unwrap(), ["a", "c"]);
        assert!(Arc::ptr_eq(&before["other"], &book.playing()["other"]));
        begin(&mut book, 2, Start { engine: elsewhere, ..start("a") });
        assert_eq!(
            (names(&mut book, "engine").unwrap(), names(&mut book, "other").unwrap().len()),
            (vec!["c".to_owned()], 2)
        );
        let version = book.version();
        book.learn("c", sluice_contract::Hex40::from_bytes([7; 20]));
        assert!(book.playing()["engine"][0].start.infohash.is_some() && book.version() > version);
        let (version, beside) = (book.version(), book.versions());
        book.end(at(3), "c", None);
        assert_eq!((names(&mut book, "engine"), book.engines().count()), (None, 1));
        assert!(book.version() > version);
        assert_eq!(beside.load(Ordering::Acquire), book.version(), "who has no book at hand is told as well");
        assert_eq!(ids(&book.on_engine("other")), ["a", "b"]);
    }

    /// Guards: each second has one row of every stream with new figures, the end of a stream or of the plane the rest.
    #[test]
    fn rows_are_taken_once() {
        let mut book = book();
        begin(&mut book, 0, start("a"));
        sample(&mut book, "a", 0);
        sample(&mut book, "a", 1);
        let counts = |rows: &Rows| rows.iter().map(|(_, row)| row.count).collect::<Vec<_>>();
        assert_eq!(book.take_rows(9).as_ref().map(counts), Some(vec![2]));
        assert_eq!(book.take_rows(9), None);
        sample(&mut book, "a", 2);
        book.close();
        assert_eq!(book.take_rows(9).as_ref().map(counts), Some(vec![3, 3]), "ten seconds and the minute");
    }
}
