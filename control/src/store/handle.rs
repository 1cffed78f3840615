//! The way to the store: never waits, unless somebody was promised an answer.

use super::batch::Counts;
use super::record::{Record, Resolution, SampleRow, SettingRow, Settings, Templates};
use super::writer::{Command, Look, Writer};
use super::{Error, Loaded, Options, Standing, load, lock, schema};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{oneshot, watch};

/// Commands that may wait for the writer.
const QUEUE_BOUND: usize = 16_384;
/// Statistics are dropped from here on, so that what matters finds room.
const STATISTICS_BOUND: usize = QUEUE_BOUND / 2;
/// How long somebody waits for an answer of the writer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two attempts to tell a busy writer to stop.
const STOP_RETRY: Duration = Duration::from_millis(10);
const FILE: &str = "state.db";

/// Cheap way to talk to the store.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Inner>);

struct Inner {
    /// `None` when the directory could not be used at the start.
    commands: Option<SyncSender<Command>>,
    backlog: Arc<AtomicUsize>,
    counts: Arc<Counts>,
    standing: watch::Receiver<Standing>,
    /// The sender of a store without a writer, so that watching it waits instead of failing.
    _never: Option<watch::Sender<Standing>>,
    /// The file readers open; `None` without one.
    path: Option<PathBuf>,
    reader: Mutex<Option<Connection>>,
    kept: Mutex<Kept>,
}

/// What is small, asked for often, and changed only through this handle.
#[derive(Default)]
struct Kept {
    settings: Settings,
    templates: Templates,
}

impl Kept {
    fn take(&mut self, record: Record) {
        match record {
            Record::Setting(row) => drop(self.settings.insert(row.key.clone(), row)),
            Record::SettingGone { key } => drop(self.settings.remove(&key)),
            Record::Template(row) => drop(self.templates.insert(row.slot, row)),
            Record::TemplateGone { slot } => drop(self.templates.remove(&slot)),
            _ => {}
        }
    }
}

/// Opens the store and reads everything in it.
///
/// # Errors
/// Only when going on would harm what is stored: the directory is in use, or the file is newer or somebody else's.
/// Anything else leaves a store that is unavailable.
pub(crate) fn open(options: &Options) -> Result<(Handle, Loaded), Error> {
    match try_open(options) {
        Ok(opened) => Ok(opened),
        Err(error) if error.is_fatal() => Err(error),
        Err(error) => {
            tracing::error!(%error, "nothing will survive a restart; everything else works");
            Ok((unavailable(&error), Loaded::default()))
        }
    }
}

fn try_open(options: &Options) -> Result<(Handle, Loaded), Error> {
    let (connection, lock, path, sound) = match &options.directory {
        None => (schema::open_memory(options.pages_max)?, None, None, Standing::Memory),
        Some(directory) => {
            make(directory)?;
            let lock = lock::claim(directory)?;
            let path = directory.join(FILE);
            let connection = schema::open_writer(&path, options.pages_max)?;
            (connection, Some(lock), Some(path), Standing::Sound)
        }
    };
    let mut loaded = load::load(&connection)?;
    let kept = Kept {
        settings: std::mem::take(&mut loaded.settings),
        templates: std::mem::take(&mut loaded.templates),
    };
    let (commands, inbox) = sync_channel(QUEUE_BOUND);
    let (standing, shown) = watch::channel(sound.clone());
    let (backlog, counts) = (Arc::<AtomicUsize>::default(), Arc::<Counts>::default());
    let writer = Writer {
        connection,
        lock,
        commands: inbox,
        backlog: backlog.clone(),
        counts: counts.clone(),
        standing,
        sound,
    };
    std::thread::Builder::new()
        .name("store".into())
        .spawn(move || writer.run())
        .map_err(|cause| Error::Directory { path: options.directory.clone().unwrap_or_default(), cause })?;
    let inner = Inner {
        commands: Some(commands),
        backlog,
        counts,
        standing: shown,
        _never: None,
        path,
        reader: Mutex::default(),
        kept: Mutex::new(kept),
    };
    Ok((Handle(Arc::new(inner)), loaded))
}

/// The settings that are stored in a directory, beside whoever else uses it; none where nothing is stored yet.
///
/// # Errors
/// When there is a file and it cannot be read.
pub(crate) fn settings(directory: &Path) -> Result<Settings, Error> {
    let path = directory.join(FILE);
    if !path.exists() {
        return Ok(Settings::default());
    }
    let connection = schema::open_reader(&path)?;
    Ok(load::settings(&connection)?)
}

/// Makes the directory; others on the machine have no business in it.
fn make(directory: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|cause| Error::Directory { path: directory.to_owned(), cause })
}

fn unavailable(error: &Error) -> Handle {
    let (never, standing) = watch::channel(Standing::Unavailable { fault: error.to_string() });
    Handle(Arc::new(Inner {
        commands: None,
        backlog: Arc::default(),
        counts: Arc::default(),
        standing,
        _never: Some(never),
        path: None,
        reader: Mutex::default(),
        kept: Mutex::default(),
    }))
}

impl Handle {
    /// Has a record stored within about a second. Never waits: without room it is dropped and counted.
    pub(crate) fn put(&self, record: Record) {
        let (is_statistics, rows) = (record.is_statistics(), record.rows());
        let counts = &self.0.counts;
        if is_statistics && self.backlog() >= STATISTICS_BOUND {
            return super::batch::add(&counts.statistics_queue, rows);
        }
        match self.send(Command::Put(Box::new(record))) {
            Ok(()) => {}
            Err(Error::Full) => super::batch::add(&counts.queue, 1),
            Err(_) => {
                super::batch::add(if is_statistics { &counts.statistics_disk } else { &counts.disk }, rows)
            }
        }
    }

    /// Has records stored now, all or none, and answers once they are on disk. Settings and templates hold for readers of
    /// this handle from then on.
    ///
    /// # Errors
    /// When they were not stored, with the reason; nothing changed then.
    pub(crate) async fn save(&self, records: Vec<Record>) -> Result<(), Error> {
        let (answer, stored) = oneshot::channel();
        self.send(Command::Save(records.clone(), answer))?;
        Self::answer(stored).await??;
        let mut kept = self.kept();
        records.into_iter().for_each(|record| kept.take(record));
        Ok(())
    }

    /// A setting changed through the API, if it was.
    pub(crate) fn setting(&self, key: &str) -> Option<SettingRow> {
        self.kept().settings.get(key).cloned()
    }

    /// Every engine template by slot.
    pub(crate) fn templates(&self) -> Templates {
        self.kept().templates.clone()
    }

    /// Aggregated statistics of a stream from a moment on, oldest first, the newest `limit` of them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) async fn samples(
        &self,
        resolution: Resolution,
        stream_id: &str,
        since: SystemTime,
        limit: u32,
    ) -> Result<Vec<SampleRow>, Error> {
        let look = Look { resolution, stream_id: stream_id.to_owned(), since, limit };
        if self.0.path.is_none() {
            let (answer, found) = oneshot::channel();
            self.send(Command::Look(Box::new(look), answer))?;
            return Self::answer(found).await?;
        }
        let inner = self.0.clone();
        let found = tokio::task::spawn_blocking(move || inner.look(&look)).await;
        found.map_err(|_| Error::Unavailable("the plane is stopping".to_owned()))?
    }

    /// How the store does.
    pub(crate) fn standing(&self) -> Standing {
        self.0.standing.borrow().clone()
    }

    /// A view that tells when that changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Standing> {
        self.0.standing.clone()
    }

    /// What became of records.
    pub(crate) fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// A setting is no longer what it was changed to, for readers at once and on disk within about a second.
    pub(crate) fn forget(&self, key: &str) {
        let record = Record::SettingGone { key: key.to_owned() };
        self.kept().take(record.clone());
        self.put(record);
    }

    /// Commands that wait for the writer.
    pub(crate) fn backlog(&self) -> usize {
        self.0.backlog.load(Ordering::Relaxed)
    }

    /// Waits until everything put so far was stored, or found that it cannot be.
    #[cfg(test)]
    pub(crate) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.send(Command::Flush(done)).is_ok() {
            let _ = Self::answer(flushed).await;
        }
    }

    /// Stores what waits and lets go of the directory.
    pub(crate) async fn stop(&self, deadline: Instant) {
        let (done, stopped) = oneshot::channel();
        let mut command = Command::Stop(done);
        // A connection of a reader would keep the log file beside the closed database.
        drop(self.0.reader.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(commands) = &self.0.commands else { return };
        let told = loop {
            self.0.backlog.fetch_add(1, Ordering::Relaxed);
            match commands.try_send(command) {
                Ok(()) => break true,
                Err(TrySendError::Disconnected(_)) => break false,
                Err(TrySendError::Full(back)) => command = back,
            }
            self.0.backlog.fetch_sub(1, Ordering::Relaxed);
            if Instant::now() >= deadline {
                break false;
            }
            tokio::time::sleep(STOP_RETRY).await;
        };
        if told && tokio::time::timeout_at(deadline.into(), stopped).await.is_err() {
            tracing::warn!("the store did not finish in time");
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic cannot leave the maps half changed.
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, command: Command) -> Result<(), Error> {
        let Some(commands) = &self.0.commands else {
            let standing = self.standing();
            return Err(Error::Unavailable(standing.fault().unwrap_or_default().to_owned()));
        };
        // Counted before it is sent: the writer must not find the count below what it takes.
        self.0.backlog.fetch_add(1, Ordering::Relaxed);
        commands.try_send(command).map_err(|error| {
            self.0.backlog.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => Error::Full,
                TrySendError::Disconnected(_) => Error::Unavailable("the plane is stopping".to_owned()),
            }
        })
    }

    async fn answer<T>(answer: oneshot::Receiver<T>) -> Result<T, Error> {
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Error::Unavailable("the plane is stopping".to_owned())),
            Err(_) => Err(Error::NotStored(format!("the disk did not answer within {ANSWER_TIMEOUT:?}"))),
        }
    }
}

impl Inner {
    /// Looks something up on a connection of its own; for threads that may block.
    fn look(&self, look: &Look) -> Result<Vec<SampleRow>, Error> {
        let Some(path) = &self.path else { return Ok(Vec::new()) };
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = match reader.take() {
            Some(connection) => connection,
            None => schema::open_reader(path)?,
        };
        let found = look.on(&connection);
        // A connection that failed is not used again.
        if found.is_ok() {
            *reader = Some(connection);
        }
        found
    }
}
