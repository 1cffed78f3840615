//! The one thread that owns the file. It sleeps while there is nothing to store.

use super::batch::{Answer, Batch, Counts, add};
use super::lock::Lock;
use super::record::{Record, Resolution, SampleRow};
use super::{Error, Standing, apply, load};
use crate::priority;
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{oneshot, watch};

/// Between two commits.
const INTERVAL: Duration = Duration::from_secs(1);
/// A batch this large is committed at once.
const BATCH_MAX: usize = 8192;
/// How often what only grows is cut back.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// What the writer is asked to do. The queue has room for all of them from the start, so one is kept small.
pub(super) enum Command {
    /// Store some time soon.
    Put(Box<Record>),
    /// Store now, all or nothing, and say so.
    Save(Vec<Record>, Answer),
    /// Look statistics up; used where there is no file a reader could open.
    Look(Box<Look>, oneshot::Sender<Result<Vec<SampleRow>, Error>>),
    /// Store what is there and say so.
    Flush(oneshot::Sender<()>),
    /// Store what is there, close the file, let go of the directory, say so.
    Stop(oneshot::Sender<()>),
}

const _: () =
    assert!(size_of::<Command>() <= 32, "memory of an idle appliance: the queue holds thousands of these");

/// A question for statistics.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) resolution: Resolution,
    pub(super) stream_id: String,
    pub(super) since: SystemTime,
    pub(super) limit: u32,
}

impl Look {
    /// Answers it from a connection.
    pub(super) fn on(&self, connection: &Connection) -> Result<Vec<SampleRow>, Error> {
        let found = load::samples(connection, self.resolution, &self.stream_id, self.since, self.limit)?;
        Ok(found)
    }
}

/// The thread's state.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) lock: Option<Lock>,
    pub(super) commands: Receiver<Command>,
    pub(super) backlog: Arc<AtomicUsize>,
    pub(super) counts: Arc<Counts>,
    pub(super) standing: watch::Sender<Standing>,
    /// What the standing is when all is well.
    pub(super) sound: Standing,
}

/// Whether the thread goes on.
enum Next {
    On,
    Commit,
    Stop(Option<oneshot::Sender<()>>),
}

impl Writer {
    /// Runs until it is told to stop or nobody can tell it anything any more.
    pub(super) fn run(mut self) {
        priority::lower();
        let mut batch = Batch::default();
        let mut due: Option<Instant> = None;
        let mut pruned_at = Instant::now();
        let stopped = loop {
            let command = match due {
                None => self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => self.commands.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            let next = match command {
                Ok(command) => {
                    self.backlog.fetch_sub(1, Ordering::Relaxed);
                    self.take(&mut batch, command)
                }
                Err(RecvTimeoutError::Timeout) => Next::Commit,
                Err(RecvTimeoutError::Disconnected) => Next::Stop(None),
            };
            if !batch.is_empty() {
                due.get_or_insert_with(|| Instant::now() + INTERVAL);
            }
            let is_overdue = batch.len() >= BATCH_MAX || due.is_some_and(|due| due <= Instant::now());
            match next {
                Next::On if !is_overdue => {}
                Next::On | Next::Commit => {
                    self.commit(&mut batch);
                    // A batch that could not be stored is tried again after the interval, not at once.
                    due = (!batch.is_empty()).then(|| Instant::now() + INTERVAL);
                    if pruned_at.elapsed() >= PRUNE_INTERVAL {
                        pruned_at = Instant::now();
                        self.prune();
                    }
                }
                Next::Stop(done) => break done,
            }
        };
        self.commit(&mut batch);
        add(&self.counts.disk, batch.len());
        let Self { connection, lock, .. } = self;
        if let Err((_, error)) = connection.close() {
            tracing::warn!(%error, "the state file was not closed in order");
        }
        // Only now may the next instance have the directory.
        drop(lock);
        if let Some(done) = stopped {
            let _ = done.send(());
        }
    }

    fn take(&mut self, batch: &mut Batch, command: Command) -> Next {
        match command {
            Command::Put(record) => {
                batch.put(*record);
                Next::On
            }
            Command::Save(records, answer) => {
                batch.promise(records, answer);
                Next::Commit
            }
            Command::Look(look, answer) => {
                self.commit(batch);
                let _ = answer.send(look.on(&self.connection));
                Next::On
            }
            Command::Flush(done) => {
                self.commit(batch);
                let _ = done.send(());
                Next::On
            }
            Command::Stop(done) => Next::Stop(Some(done)),
        }
    }

    fn commit(&mut self, batch: &mut Batch) {
        if batch.is_empty() {
            return;
        }
        match batch.commit(&mut self.connection, &self.counts) {
            Ok(()) => self.show(None),
            Err(error) => self.show(Some(error.to_string())),
        }
        batch.answer();
    }

    /// Shows how the last commit went; only changes are told.
    fn show(&self, fault: Option<String>) {
        self.standing.send_if_modified(|shown| {
            let new = match (&fault, &*shown) {
                (None, _) => self.sound.clone(),
                (Some(fault), Standing::Failing { since, .. }) => {
                    Standing::Failing { since: *since, fault: fault.clone() }
                }
                (Some(fault), _) => Standing::Failing { since: SystemTime::now(), fault: fault.clone() },
            };
            let changed = *shown != new;
            if changed {
                match &fault {
                    Some(fault) => {
                        tracing::error!(fault, "the state cannot be stored; everything else goes on")
                    }
                    None => tracing::info!("the state is stored again"),
                }
                *shown = new;
            }
            changed
        });
    }

    fn prune(&self) {
        if let Err(error) = apply::prune(&self.connection, apply::SAMPLES_MAX) {
            tracing::debug!(%error, "old rows stay for now");
        }
    }
}
