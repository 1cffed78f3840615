//! The handle everybody asks, and the tasks that keep the book true.
//!
//! The book is behind a lock that is held for one look or one change and never across a wait. A change is stored and told
//! under the same lock, so that the disk and the event log have changes in the order in which they happened.

use super::book::{Book, Filter, Full, Started};
use super::follow::{self, Change, Follower};
use super::looping::{self, Detector, Entry, Found, List, Repeats};
use super::remote::Target;
use super::report::{EndReport, Report};
use super::sample::Sample;
use super::stream::{KeyType, Shown, Start, Stream};
use super::tally::{Playing, Reported};
use super::{poll, stale};
use crate::docker::ContainerId;
use crate::events::{Draft, EventType, Kind};
use crate::shards::Shards;
use crate::store::{LoopingRow, Record, Resolution, SampleRow, StreamRow};
use crate::{engines, events, store, worker};
use serde_json::json;
use sluice_contract::snapshot::{Board, SessionState};
use sluice_contract::{Alias, Directory, EndReason, EngineId, Hex40, Selector, ToShard};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// Between two looks at the board at least; shards publish a few times a second.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);
/// How long new figures wait for others to be handed to the store with them.
const STORE_DELAY: Duration = Duration::from_millis(100);
/// A crash costs no more than the last second: figures wait for no longer than this on their way to the disk.
const _: () = assert!(
    FOLLOW_INTERVAL.as_millis() + STORE_DELAY.as_millis() + store::WAIT_MAX.as_millis() <= 1000,
    "figures wait too long for the disk"
);
/// Rows of statistics in one record.
const ROWS_MAX: usize = 256;
/// How often what is old is looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// New figures are written as soon as they come while somebody has asked for all streams within so much time.
const LISTED_FOR: Duration = Duration::from_secs(10);
const NEVER: u64 = u64::MAX;
/// How long sums wait for the book.
const SUMS_WAIT_MAX: Duration = Duration::from_millis(2);
/// A stop is sent again while the session goes on.
const STOP_RETRY: Duration = Duration::from_secs(1);
/// The reason of a stream whose engine was removed from Docker.
const ENGINE_REMOVED: &str = "engine_removed";
/// How long an engine may take to be told to stop.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// Engines that are told to stop at once because their streams loop.
const STOPS_MAX: usize = 64;

/// What can be changed while streams play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Between two looks at a reported stream.
    pub(crate) collect_interval: Duration,
    /// Samples kept in memory per stream at most.
    pub(crate) history_max: usize,
    /// How long engines have to say that they do not know a playback until its stream ends.
    pub(crate) stale_after: Duration,
    /// How long nothing may be heard of a reported stream whose engine is well.
    pub(crate) unheard_after: Duration,
    /// How loops are looked for.
    pub(crate) looping: looping::Settings,
}

/// The rooms this one speaks with.
pub(crate) struct Sources {
    /// Our own sessions.
    pub(crate) board: Arc<Board>,
    /// Where what loops is blocked.
    pub(crate) directory: Arc<Directory>,
    /// Where sessions are stopped.
    pub(crate) shards: Arc<Shards>,
    /// Which engines there are.
    pub(crate) engines: engines::Handle,
    /// Where changes are told.
    pub(crate) events: events::Handle,
    /// Where they are stored.
    pub(crate) store: store::Handle,
}

/// What happened to streams since this control started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Happened {
    /// Starts, repeated ones included.
    pub(crate) started: u64,
    /// Ends.
    pub(crate) ended: u64,
    /// Questions for figures without an answer.
    pub(crate) collect_errors: u64,
}

/// What all streams come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    /// What other proxies play, added up.
    pub(crate) reported: Reported,
    /// Engines that play something, ours and others.
    pub(crate) engines_used: HashSet<Arc<str>>,
    /// How many streams play.
    pub(crate) active: usize,
    /// How many are listed in all.
    pub(crate) listed: usize,
    /// Samples held in memory.
    pub(crate) samples_held: usize,
}

/// Why a stream is not stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StopError {
    /// There is no such stream.
    #[error("Stream not found")]
    Unknown,
    /// It has ended already.
    #[error("Stream is not active (status: ended)")]
    Ended,
    /// Nobody knows how its engine takes commands.
    #[error("Stream has no command URL")]
    NoCommand,
}

/// Cheap way to the streams.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Inner>);

struct Inner {
    book: Mutex<Book>,
    /// Of the book.
    version: Arc<AtomicU64>,
    list: Mutex<List>,
    /// Locked before the book, wherever both are.
    follower: Mutex<Follower>,
    /// How often shards had published when the book was last compared with the board.
    followed: AtomicU64,
    /// Sessions of ours that were told to stop, by the id of their stream.
    stops: Mutex<HashMap<String, (EndReason, Instant)>>,
    settings: watch::Sender<Settings>,
    /// There are figures to be stored.
    unstored: Notify,
    /// Others play something else than before.
    untold: Notify,
    began: Instant,
    /// Milliseconds from then to when somebody wanted all streams last, or [`NEVER`].
    listed: AtomicU64,
    /// What all streams came to when that was asked last.
    sums: Mutex<Arc<Sums>>,
    /// Rounds of polling in which not every stream had its turn.
    late: AtomicU64,
    started: AtomicU64,
    ended: AtomicU64,
    collect_errors: AtomicU64,
    sources: Sources,
}

/// Starts the tasks on the current runtime; the join set ends when one of them does.
pub(crate) fn start(
    settings: Settings,
    sources: Sources,
    streams: Vec<StreamRow>,
    looping: Vec<LoopingRow>,
    tasks: &mut JoinSet<&'static str>,
) -> Handle {
    let list = List::from_stored(looping);
    sources.directory.block(list.numbers());
    let book = Book::from_stored(streams, settings.history_max);
    let handle = Handle(Arc::new(Inner {
        version: book.versions(),
        book: Mutex::new(book),
        list: Mutex::new(list),
        follower: Mutex::default(),
        followed: AtomicU64::new(u64::MAX),
        stops: Mutex::default(),
        settings: watch::Sender::new(settings),
        unstored: Notify::new(),
        untold: Notify::new(),
        began: Instant::now(),
        listed: AtomicU64::new(NEVER),
        sums: Mutex::default(),
        late: AtomicU64::new(0),
        started: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        collect_errors: AtomicU64::new(0),
        sources,
    }));
    let (follower, keeper, detector, poller) =
        (handle.clone(), handle.clone(), handle.clone(), handle.clone());
    let (mourner, teller) = (handle.clone(), handle.clone());
    // Before anything is decided about engines that were in use when the plane stopped.
    handle.tell_engines();
    tasks.spawn(async move {
        tell_engines(teller).await;
        "streams of other proxies"
    });
    tasks.spawn(async move {
        follow_engines(mourner).await;
        "streams of engines"
    });
    tasks.spawn(async move {
        follow(follower).await;
        "streams"
    });
    tasks.spawn(async move {
        keep(keeper).await;
        "statistics"
    });
    tasks.spawn(async move {
        detect(detector).await;
        "loop detection"
    });
    tasks.spawn(async move {
        poll::run(poller).await;
        "stream polling"
    });
    handle
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic cannot leave the book half changed: each change is one call of it.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same, if it can be had until then. Blocks the thread meanwhile, as waiting for the lock would, which has no end.
#[expect(
    clippy::disallowed_methods,
    reason = "two milliseconds at most, and only while somebody holds the lock"
)]
fn soon<T>(shared: &Mutex<T>, until: Instant) -> Option<MutexGuard<'_, T>> {
    /// Whoever holds it is done within microseconds, if it is not without a processor.
    const RETRY: Duration = Duration::from_micros(200);
    loop {
        match shared.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(RETRY),
            Err(TryLockError::WouldBlock) => return None,
        }
    }
}

impl Handle {
    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.0.book)
    }

    /// Takes in that another proxy plays a stream.
    ///
    /// # Errors
    /// When too many streams play.
    pub(crate) fn report(&self, report: Report) -> Result<Arc<Shown>, Full> {
        // Listings are in the order of registration, whoever registers.
        self.refresh();
        let standing = self.0.sources.engines.standing();
        let mut book = self.book();
        let start = report.into_start(&standing, &book);
        self.register(&mut book, start)
    }

    /// Takes in that another proxy no longer plays a stream. Answers whether anything changed, and the stream meant.
    pub(crate) fn report_end(&self, report: &EndReport) -> (bool, Option<Arc<Shown>>) {
        let mut book = self.book();
        let meant = match (report.stream_id.as_deref().filter(|id| !id.is_empty()), &report.container_id) {
            (Some(id), _) => book.get(id),
            (None, Some(container_id)) if !container_id.is_empty() => book.meant_by(container_id),
            (None, _) => None,
        };
        let Some(shown) = meant else { return (false, None) };
        // What our own data plane plays is over when that says so.
        if shown.stream.is_own() {
            return (false, Some(shown));
        }
        match self.finish(&mut book, SystemTime::now(), shown.stream.id(), report.reason.as_deref(), None) {
            Some(ended) => (true, Some(ended)),
            None => (false, Some(shown)),
        }
    }

    /// Ends a stream because somebody asks for it: our own session with its clients, another proxy's at its engine.
    ///
    /// # Errors
    /// When there is nothing to stop, or no way to.
    pub(crate) async fn stop(&self, id: &str, reason: &str) -> Result<(), StopError> {
        let shown = self.get(id).ok_or(StopError::Unknown)?;
        if !shown.stream.is_active() {
            return Err(StopError::Ended);
        }
        if !shown.stream.is_own() && shown.stream.start.command_url.is_empty() {
            return Err(StopError::NoCommand);
        }
        if !shown.stream.is_own() {
            command_stop(&shown).await;
        }
        let mut book = self.book();
        if shown.stream.is_own() {
            self.stop_session(id, EndReason::Stopped);
        }
        match self.finish(&mut book, SystemTime::now(), id, Some(reason), None) {
            Some(_) => Ok(()),
            // It ended by itself meanwhile.
            None => Err(StopError::Ended),
        }
    }

    /// Which stream takes its commands at this address; an active one before others.
    pub(crate) fn by_command_url(&self, command_url: &str) -> Option<Arc<Shown>> {
        let book = self.book();
        let is_meant = |shown: &&Arc<Shown>| shown.stream.start.command_url == command_url;
        let active = book.active().find(is_meant).cloned();
        active.or_else(|| book.list(&Filter::default()).iter().rev().find(is_meant).cloned())
    }

    /// A stream.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Shown>> {
        self.refresh();
        self.book().get(id)
    }

    /// Streams in the order of their registration.
    pub(crate) fn list(&self, filter: &Filter) -> Vec<Arc<Shown>> {
        self.refresh();
        self.book().list(filter)
    }

    /// Every stream in the order of their registration, meant to be written; and the version of the book they are of.
    pub(crate) fn all(&self) -> (u64, Vec<Arc<Shown>>) {
        self.note_listed();
        self.refresh();
        let book = self.book();
        (book.version(), book.list(&Filter::default()))
    }

    /// How often anything but figures changed, as far as anybody knows. Does not wait for the book: whoever holds it may be without
    /// a processor on a busy machine, for longer than an answer may take.
    pub(crate) fn version(&self) -> u64 {
        self.refresh();
        self.0.version.load(Ordering::Acquire)
    }

    /// What plays on every engine, and the version of the book that is of; what did not change is the same value as before.
    pub(crate) fn playing(&self) -> (u64, HashMap<Arc<str>, Playing>) {
        self.refresh();
        let mut book = self.book();
        (book.version(), book.playing())
    }

    /// Streams that play on an engine.
    pub(crate) fn on_engine(&self, engine: &str) -> Vec<Arc<Shown>> {
        self.refresh();
        self.book().on_engine(engine)
    }

    /// What all streams come to now.
    pub(crate) fn sums(&self) -> Arc<Sums> {
        self.refresh();
        self.add_up(&self.book())
    }

    /// The same for whoever can do with older ones: whoever holds the book may be without a processor on a busy machine, for longer
    /// than an answer may take. Then these are the sums of when somebody asked last, which [`crate::metrics::observe`] does
    /// every second.
    pub(crate) fn recent_sums(&self) -> Arc<Sums> {
        let until = Instant::now() + SUMS_WAIT_MAX;
        let are_free = soon(&self.0.follower, until).is_some() && soon(&self.0.book, until).is_some();
        if are_free {
            self.refresh();
        }
        match soon(&self.0.book, until) {
            Some(book) => self.add_up(&book),
            None => lock(&self.0.sums).clone(),
        }
    }

    fn add_up(&self, book: &Book) -> Arc<Sums> {
        let (active, listed) = book.counts();
        let sums = Arc::new(Sums {
            reported: book.reported(),
            engines_used: book.engines().cloned().collect(),
            active,
            listed,
            samples_held: book.samples_held(),
        });
        lock(&self.0.sums).clone_from(&sums);
        sums
    }

    /// Takes in what shards published since the last look, so that whoever asks is told what they show. Figures can wait.
    fn refresh(&self) {
        if self.0.followed.load(Ordering::Acquire) != self.0.sources.board.published() {
            self.pass(false);
        }
    }

    /// Rounds of polling in which not every stream had its turn.
    pub(crate) fn late_rounds(&self) -> u64 {
        self.0.late.load(Ordering::Relaxed)
    }

    /// What happened to streams since this control started.
    pub(crate) fn happened(&self) -> Happened {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Inner { started, ended, collect_errors, .. } = &*self.0;
        Happened { started: read(started), ended: read(ended), collect_errors: read(collect_errors) }
    }

    pub(super) fn count_collect_error(&self) {
        self.0.collect_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_late(&self) {
        self.0.late.fetch_add(1, Ordering::Relaxed);
    }

    /// Samples of a stream from a moment on, oldest first: those in memory, or after a restart what the disk has of it in
    /// steps of ten seconds. An unknown stream has none.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub(crate) async fn samples(
        &self,
        id: &str,
        since: Option<SystemTime>,
    ) -> Result<Vec<Sample>, store::Error> {
        let settings = *self.0.settings.borrow();
        let (held, has_any) = {
            let book = self.book();
            (book.samples(id, since), book.has_samples(id))
        };
        let Some(held) = held else { return Ok(Vec::new()) };
        if has_any {
            return Ok(held);
        }
        let (since, limit) = (since.unwrap_or(SystemTime::UNIX_EPOCH), settings.history_max);
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let rows = self.0.sources.store.samples(Resolution::TenSeconds, id, since, limit).await?;
        Ok(rows.into_iter().map(of_row).collect())
    }

    /// How everything is set.
    pub(crate) fn settings(&self) -> watch::Receiver<Settings> {
        self.0.settings.subscribe()
    }

    /// Changes how loops are looked for, at once.
    pub(crate) fn set_looping(&self, looping: looping::Settings) {
        let is_news = self.0.settings.send_if_modified(|settings| {
            let is_news = settings.looping != looping;
            settings.looping = looping;
            is_news
        });
        if is_news {
            // What is too old now is not listed for another half minute.
            self.sweep();
        }
    }

    /// Broadcasts that are not played because they loop: the id asked for, and what is known of it.
    pub(crate) fn looping(&self) -> Vec<(String, Entry)> {
        lock(&self.0.list).entries().map(|(key, entry)| (key.clone(), entry.clone())).collect()
    }

    /// Lets a broadcast be played again; answers whether it was on the list.
    pub(crate) fn unblock(&self, name: &str) -> bool {
        self.take_off(|list| list.remove(name)) > 0
    }

    /// Lets every broadcast be played again.
    pub(crate) fn unblock_all(&self) {
        self.take_off(List::clear);
    }

    /// Reported streams that play.
    pub(super) fn reported(&self) -> Vec<Arc<Stream>> {
        let book = self.book();
        book.active().map(|shown| &shown.stream).filter(|stream| !stream.is_own()).cloned().collect()
    }

    /// Whether a stream plays.
    pub(super) fn is_active(&self, id: &str) -> bool {
        self.book().get(id).is_some_and(|shown| shown.stream.is_active())
    }

    /// Whether the engine of a stream is known here and answers.
    pub(super) fn is_engine_well(&self, id: &str) -> bool {
        let Some(known) = self.book().get(id) else { return false };
        let engine = &known.stream.start.engine.id;
        let standing = self.0.sources.engines.standing();
        standing
            .engines
            .iter()
            .any(|shown| *shown.id.0 == **engine && shown.state == engines::health::State::Healthy)
    }

    /// Tells who gives engines away what other proxies play on them.
    fn tell_engines(&self) {
        let mut reported = engines::Reported::default();
        for shown in self.book().active().filter(|shown| !shown.stream.is_own()) {
            let start = &shown.stream.start;
            reported.add(EngineId(start.engine.id.clone()), self.broadcast(start));
        }
        self.0.sources.engines.set_reported(reported);
    }

    /// The broadcast behind a stream, or at least a number that names it.
    fn broadcast(&self, start: &Start) -> Option<Hex40> {
        let selector = match start.key_type {
            KeyType::ContentId => Selector::ContentId(start.key.parse().ok()?),
            KeyType::Infohash => Selector::Infohash(start.key.parse().ok()?),
            KeyType::Url | KeyType::Magnet => return start.infohash,
        };
        let known = self.0.sources.directory.canonical(&Alias { selector, options: Default::default() });
        start.infohash.or_else(|| known.and_then(|key| key.infohash())).or(Some(selector.value()))
    }

    /// Takes new figures of a stream in.
    pub(super) fn observe(&self, stream: &Arc<Stream>, sample: Sample) {
        let shown = Shown::new(stream.clone(), Some(Arc::new(sample)));
        // Written here while somebody lists streams, so that who does never waits for thousands of them to be written.
        if self.is_listed() {
            shown.json();
        }
        self.book().observe(shown);
        self.0.unstored.notify_one();
    }

    fn observe_of(&self, id: &str, sample: Sample) {
        let known = self.book().get(id);
        if let Some(known) = known {
            self.observe(&known.stream, sample);
        }
    }

    /// Notes that somebody wants all streams written.
    fn note_listed(&self) {
        let since = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.listed.store(since, Ordering::Relaxed);
    }

    /// Whether somebody wanted that a short while ago.
    fn is_listed(&self) -> bool {
        let listed = self.0.listed.load(Ordering::Relaxed);
        listed != NEVER && self.0.began.elapsed().saturating_sub(Duration::from_millis(listed)) < LISTED_FOR
    }

    /// Ends a stream that its engine does not know any more.
    pub(super) fn end_stale(&self, id: &str) {
        tracing::info!(stream = id, "an engine does not know the playback of a stream any more");
        self.finish(&mut self.book(), SystemTime::now(), id, Some(stale::REASON), None);
    }

    /// Ends a stream of which nothing has been heard for too long.
    pub(super) fn end_unheard(&self, id: &str, silent: Duration) {
        tracing::warn!(
            stream = id,
            ?silent,
            "nothing was heard of a reported stream; it no longer counts as use of its engine"
        );
        self.finish(&mut self.book(), SystemTime::now(), id, Some(stale::UNHEARD), None);
    }

    /// Writes what memory has of statistics, because the plane stops.
    pub(crate) fn close(&self) {
        self.book().close();
        self.store_rows();
    }

    fn register(&self, book: &mut Book, start: Start) -> Result<Arc<Shown>, Full> {
        let shown = match book.start(SystemTime::now(), start)? {
            Started::Ours(shown) => return Ok(shown),
            Started::Registered(shown) => shown,
        };
        self.0.started.fetch_add(1, Ordering::Relaxed);
        self.note(&shown);
        self.keep(book, &shown);
        let start = &shown.stream.start;
        let draft = Draft::new(EventType::Stream, "started", format!("stream {} started", start.id))
            .detail("key_type", start.key_type.as_str())
            .detail("key", start.key.clone())
            .detail("engine_port", start.engine.port)
            .detail("is_live", start.is_live)
            .container(Some(&*start.engine.id))
            .stream(start.id.clone());
        self.0.sources.events.record(draft);
        Ok(shown)
    }

    /// Ends a stream; `draft` stands in the log in place of the usual entry.
    fn finish(
        &self,
        book: &mut Book,
        at: SystemTime,
        id: &str,
        reason: Option<&str>,
        draft: Option<Draft>,
    ) -> Option<Arc<Shown>> {
        let shown = book.end(at, id, reason)?;
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        self.note(&shown);
        self.keep(book, &shown);
        let start = &shown.stream.start;
        let draft = draft.unwrap_or_else(|| {
            Draft::new(
                EventType::Stream,
                "ended",
                format!("stream {id} ended: {}", reason.unwrap_or("no reason given")),
            )
            .detail("reason", reason)
            .detail("key_type", start.key_type.as_str())
            .detail("key", start.key.clone())
        });
        self.0.sources.events.record(draft.container(Some(&*start.engine.id)).stream(id));
        Some(shown)
    }

    /// A stream began or ended; what others play is told to who gives engines away.
    fn note(&self, shown: &Shown) {
        if !shown.stream.is_own() {
            self.0.untold.notify_one();
        }
    }

    /// Has a changed stream stored, and told to whoever follows.
    fn keep(&self, book: &Book, shown: &Shown) {
        if let Some(row) = book.row(shown.stream.id()) {
            self.0.sources.store.put(Record::Stream(Box::new(row)));
        }
        self.0.sources.events.publish_text(Kind::Stream, shown.json());
    }

    fn store_rows(&self) {
        // Some at a time, so that whoever wants something of the book meanwhile does not wait for thousands of rows to be made.
        let take = || self.book().take_rows(ROWS_MAX);
        while let Some(mut rows) = take() {
            while !rows.is_empty() {
                let rest = rows.split_off(rows.len().min(ROWS_MAX));
                self.0.sources.store.put(Record::Samples(std::mem::replace(&mut rows, rest)));
            }
        }
    }

    /// One look at the board.
    fn pass(&self, with_figures: bool) {
        let board = &self.0.sources.board;
        let mut figures = Vec::new();
        {
            let mut follower = lock(&self.0.follower);
            // Read before the board: what is published meanwhile is looked at again.
            let published = board.published();
            let (now, shown) = (SystemTime::now(), board.read());
            let changes = follower.pass(now, &shown, &self.book(), &worker::NAME, with_figures);
            for change in changes {
                match change {
                    Change::Figures { id, sample } => figures.push((id, sample)),
                    change => self.apply(change),
                }
            }
            self.0.followed.store(published, Ordering::Release);
        }
        figures.into_iter().for_each(|(id, sample)| self.observe_of(&id, sample));
    }

    fn apply(&self, change: Change) {
        match change {
            Change::Start(start) => {
                if let Err(full) = self.register(&mut self.book(), *start) {
                    tracing::warn!(%full, "a session is not listed among the streams");
                }
            }
            Change::End { id, at, reason } => {
                self.finish(&mut self.book(), at, &id, Some(reason), None);
            }
            Change::Learn { id, infohash } => {
                let mut book = self.book();
                if let Some(shown) = book.learn(&id, infohash) {
                    self.keep(&book, &shown);
                }
            }
            Change::Figures { id, sample } | Change::LastFigures { id, sample } => {
                self.observe_of(&id, sample)
            }
            Change::Failed { key, reason } => {
                let text = format!("a play of {key} failed before any media came: {reason}");
                let draft = Draft::new(EventType::Stream, "failed", text);
                self.0.sources.events.record(draft.detail("key", key).detail("reason", reason));
            }
        }
    }

    /// Tells the shard of a stream's session to stop it.
    fn stop_session(&self, id: &str, reason: EndReason) {
        lock(&self.0.stops).insert(id.to_owned(), (reason, Instant::now()));
        self.send_stop(id, reason);
    }

    /// Sends a stop to the session that plays a stream; answers whether there is one that goes on.
    fn send_stop(&self, id: &str, reason: EndReason) -> bool {
        let sources = &self.0.sources;
        let Some((_, playback)) = id.split_once('|') else { return false };
        let board = sources.board.read();
        let is_meant = |engine: &sluice_contract::snapshot::SessionEngine| {
            engine.playback_session_id.as_deref() == Some(playback)
        };
        let session = board.iter().flat_map(|shard| &shard.sessions).find(|session| {
            session.state != SessionState::Stopping && session.engine.as_ref().is_some_and(is_meant)
        });
        let Some(session) = session else { return false };
        // A full inbox is met again with the next look at the board.
        let _ = sources.shards.send(session.shard, ToShard::Stop { key: session.key.clone(), reason });
        true
    }

    /// Ends the streams others reported on engines that were in Docker and are no more. What our own data plane plays moves
    /// to another engine, and says itself when it is over.
    fn end_with(&self, gone: &HashSet<ContainerId>) {
        let mut book = self.book();
        let is_on_one = |shown: &&Arc<Shown>| {
            let engine = &shown.stream.start.engine;
            !shown.stream.is_own() && gone.iter().any(|id| *id.0 == *engine.id)
        };
        let over: Vec<String> =
            book.active().filter(is_on_one).map(|shown| shown.stream.id().to_owned()).collect();
        for id in over {
            self.finish(&mut book, SystemTime::now(), &id, Some(ENGINE_REMOVED), None);
        }
    }

    fn repeat_stops(&self) {
        let mut stops = lock(&self.0.stops);
        stops.retain(|id, (reason, sent_at)| {
            if sent_at.elapsed() < STOP_RETRY {
                return true;
            }
            *sent_at = Instant::now();
            self.send_stop(id, *reason)
        });
    }

    /// One look for streams that loop.
    async fn check(&self, detector: &mut Detector) {
        let looping::Settings { is_enabled, threshold, .. } = self.0.settings.borrow().looping;
        if !is_enabled {
            return *detector = Detector::default();
        }
        let all: Vec<Arc<Shown>> = self.book().active().cloned().collect();
        let live = || all.iter().filter(|shown| shown.stream.start.is_live);
        let live_ids: HashSet<&str> = live().map(|shown| shown.stream.id()).collect();
        let figures = live().filter_map(|shown| Some((shown.stream.id(), shown.latest.as_deref()?)));
        let is_live = |id: &String| live_ids.contains(id.as_str());
        let repeats = self.repeats().into_iter().filter(|repeats| is_live(&repeats.id)).collect();
        let found = detector.check(SystemTime::now(), threshold, figures, repeats);
        let mut commands = JoinSet::new();
        for found in found {
            if let Some(ended) = self.block(&found, threshold) {
                commands.spawn(async move { command_stop(&ended).await });
                if commands.len() >= STOPS_MAX {
                    commands.join_next().await;
                }
            }
        }
        commands.join_all().await;
    }

    /// What our own sessions see of media that repeats.
    fn repeats(&self) -> Vec<Repeats> {
        let shards = self.0.sources.board.read();
        let sessions = shards.iter().flat_map(|shard| &shard.sessions);
        let repeating = sessions.filter_map(|session| {
            let id = follow::id_of(session)?;
            Some(Repeats { id, since: session.repeats_since?, until: session.last_media_at? })
        });
        repeating.collect()
    }

    /// Puts what a stream plays on the list and ends the stream; answers it if its engine has to be told.
    fn block(&self, found: &Found, threshold: Duration) -> Option<Arc<Shown>> {
        let Found { id, behind, evidence } = found;
        let shown = self.book().get(id)?;
        let start = &shown.stream.start;
        tracing::warn!(
            stream = id,
            evidence = evidence.as_str(),
            behind_s = behind.as_secs(),
            "a stream loops"
        );
        let detected_at = SystemTime::now();
        let entry = Entry { infohash: start.infohash, detected_at, evidence: evidence.as_str().to_owned() };
        {
            let mut list = lock(&self.0.list);
            let (row, gone) = list.add(&start.key, entry);
            let told = json!({ "stream_id": row.key, "is_looping": true, "evidence": evidence.as_str() });
            self.0.sources.store.put(Record::Looping(row));
            gone.into_iter().for_each(|key| self.0.sources.store.put(Record::LoopingGone { key }));
            self.0.sources.directory.block(list.numbers());
            self.0.sources.events.publish(Kind::Looping, &told);
        }
        let is_own = shown.stream.is_own();
        if is_own {
            self.stop_session(id, EndReason::Looping);
        }
        let draft = Draft::new(EventType::Stream, "ended", format!("stream {id} ended because it loops"))
            .detail("stream_id", id.clone())
            .detail("time_behind_seconds", behind.as_secs())
            .detail("threshold_seconds", threshold.as_secs())
            .detail("evidence", evidence.as_str());
        let reason = format!("loop_detection_threshold_exceeded_{}s", threshold.as_secs());
        self.finish(&mut self.book(), detected_at, id, Some(&reason), Some(draft));
        (!is_own).then_some(shown)
    }

    fn take_off(&self, which: impl FnOnce(&mut List) -> Vec<String>) -> usize {
        let mut list = lock(&self.0.list);
        let gone = which(&mut list);
        if !gone.is_empty() {
            self.0.sources.directory.block(list.numbers());
        }
        let count = gone.len();
        for key in gone {
            self.0.sources.events.publish(Kind::Looping, &json!({ "stream_id": key, "is_looping": false }));
            self.0.sources.store.put(Record::LoopingGone { key });
        }
        count
    }

    /// Forgets what is old.
    fn sweep(&self) {
        let now = SystemTime::now();
        for id in self.book().sweep(now) {
            self.0.sources.store.put(Record::StreamGone { id });
        }
        let retention = self.0.settings.borrow().looping.retention;
        if !retention.is_zero() {
            self.take_off(|list| list.expire(now, retention));
        }
    }
}

/// Follows the board.
async fn follow(handle: Handle) {
    let mut seen = 0;
    loop {
        handle.pass(true);
        handle.repeat_stops();
        // An idle appliance sleeps here, unless a stop has to be sent again.
        let wait = tokio::time::timeout(STOP_RETRY, handle.0.sources.board.changed(seen));
        let has_stops = !lock(&handle.0.stops).is_empty();
        seen =
            if has_stops { wait.await.unwrap_or(seen) } else { handle.0.sources.board.changed(seen).await };
        tokio::time::sleep(FOLLOW_INTERVAL).await;
    }
}

/// Follows which engines there are in Docker.
async fn follow_engines(handle: Handle) {
    let mut fleet = handle.0.sources.engines.watch_fleet();
    let mut known = HashSet::new();
    loop {
        let there: HashSet<ContainerId> = {
            let standing = fleet.borrow_and_update();
            standing.iter().flat_map(|fleet| &fleet.members).filter_map(|member| member.id.clone()).collect()
        };
        let gone: HashSet<ContainerId> = known.difference(&there).cloned().collect();
        if !gone.is_empty() {
            handle.end_with(&gone);
        }
        known = there;
        if fleet.changed().await.is_err() {
            // The engines room is gone, and the plane about to end.
            return std::future::pending().await;
        }
    }
}

/// Tells who gives engines away what other proxies play: at once, and of many that begin together once for all of them.
async fn tell_engines(handle: Handle) {
    loop {
        handle.0.untold.notified().await;
        handle.tell_engines();
        tokio::time::sleep(FOLLOW_INTERVAL).await;
    }
}

/// Has statistics stored soon after they came, and forgets what is old.
async fn keep(handle: Handle) {
    let mut swept_at = Instant::now();
    loop {
        let left = SWEEP_INTERVAL.saturating_sub(swept_at.elapsed());
        if tokio::time::timeout(left, handle.0.unstored.notified()).await.is_ok() {
            tokio::time::sleep(STORE_DELAY).await;
            handle.store_rows();
        }
        if swept_at.elapsed() >= SWEEP_INTERVAL {
            swept_at = Instant::now();
            handle.sweep();
        }
    }
}

/// Looks for streams that loop.
async fn detect(handle: Handle) {
    let mut detector = Detector::default();
    let mut settings = handle.settings();
    loop {
        let interval = settings.borrow_and_update().looping.check_interval;
        if let Ok(changed) = tokio::time::timeout(interval, settings.changed()).await {
            if changed.is_err() {
                return;
            }
            continue;
        }
        handle.check(&mut detector).await;
    }
}

/// Tells the engine of a stream to stop it. What it answers does not matter: the stream is over for us.
async fn command_stop(shown: &Shown) {
    let Some(target) = Target::parse(&shown.stream.start.command_url) else { return };
    if let Err(error) = target.with_parameter("method=stop").json(COMMAND_TIMEOUT).await {
        tracing::debug!(stream = shown.stream.id(), %error, "an engine did not confirm a stop");
    }
}

/// What the disk has of ten seconds, as one sample.
fn of_row(row: SampleRow) -> Sample {
    Sample {
        at: row.at,
        peers: row.peers,
        speed_down: row.speed_down,
        speed_up: row.speed_up,
        downloaded: row.downloaded,
        uploaded: row.uploaded,
        status: row.status.map(Into::into),
        livepos: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: whoever asks for sums is not held up by somebody who keeps the lock.
    #[test]
    fn a_lock_that_stays_locked_is_given_up() {
        let shared = Mutex::new(1);
        let held = lock(&shared);
        assert!(soon(&shared, Instant::now() + Duration::from_millis(1)).is_none());
        drop(held);
        assert!(soon(&shared, Instant::now()).is_some());
    }
}
