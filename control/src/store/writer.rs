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

/// Between two commits. What comes after a pause is committed at once, so that with what it takes to get here nothing is lost that is older
/// than a second.
const INTERVAL: Duration = Duration::from_millis(500);
/// What comes together is committed together.
const GATHER: Duration = Duration::from_millis(20);
/// Nothing waits longer for its commit, as long as the disk takes them.
pub(crate) const WAIT_MAX: Duration = INTERVAL.saturating_add(GATHER);
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

/// When what waits is committed. Pure.
struct Schedule {
    due: Option<Instant>,
    /// Not before, unless somebody waits for it.
    rested_at: Instant,
}

impl Schedule {
    fn new(now: Instant) -> Self {
        Self { due: None, rested_at: now }
    }

    /// Something waits.
    fn wait(&mut self, now: Instant) {
        self.due.get_or_insert_with(|| self.rested_at.max(now + GATHER));
    }

    /// How long until the next commit; `None` while nothing waits.
    fn left(&self, now: Instant) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now))
    }

    /// There was a commit; what could not be stored is tried again after the interval, not at once.
    fn committed(&mut self, now: Instant, is_all_stored: bool) {
        self.rested_at = now + INTERVAL;
        self.due = (!is_all_stored).then_some(self.rested_at);
    }
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
        let mut schedule = Schedule::new(Instant::now());
        let mut pruned_at = Instant::now();
        let stopped = loop {
            let command = match schedule.left(Instant::now()) {
                None => self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(left) => self.commands.recv_timeout(left),
            };
            let next = match command {
                Ok(command) => {
                    self.backlog.fetch_sub(1, Ordering::Relaxed);
                    self.take(&mut batch, command)
                }
                Err(RecvTimeoutError::Timeout) => Next::Commit,
                Err(RecvTimeoutError::Disconnected) => Next::Stop(None),
            };
            let now = Instant::now();
            if !batch.is_empty() {
                schedule.wait(now);
            }
            let is_overdue = batch.len() >= BATCH_MAX || schedule.left(now) == Some(Duration::ZERO);
            match next {
                Next::On if !is_overdue => {}
                Next::On | Next::Commit => {
                    self.commit(&mut batch);
                    schedule.committed(Instant::now(), batch.is_empty());
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Guards: whenever records come, each is committed within the time that the rest of the way to the disk leaves of a second,
        /// and commits keep their distance.
        #[test]
        fn nothing_waits_long_for_its_commit(gaps in proptest::collection::vec(0..1500_u64, 1..60)) {
            let start = Instant::now();
            let (mut schedule, mut now) = (Schedule::new(start), start);
            let (mut waiting, mut committed_at) = (Vec::new(), None);
            let mut commit = |schedule: &mut Schedule, now: Instant, waiting: &mut Vec<Instant>| {
                for put in waiting.drain(..) {
                    prop_assert!(now - put <= WAIT_MAX, "{:?} until its commit", now - put);
                }
                if let Some(before) = committed_at.replace(now) {
                    prop_assert!(now - before >= INTERVAL);
                }
                schedule.committed(now, true);
                Ok(())
            };
            for gap in gaps {
                let next = now + Duration::from_millis(gap);
                while let Some(left) = schedule.left(now).filter(|left| now + *left <= next) {
                    now += left;
                    commit(&mut schedule, now, &mut waiting)?;
                }
                now = next;
                waiting.push(now);
                schedule.wait(now);
            }
            now += schedule.left(now).expect("the last one waits");
            commit(&mut schedule, now, &mut waiting)?;
            prop_assert!(schedule.left(now).is_none());
        }
    }

    /// Guards: what could not be stored is tried again after the interval and not at once.
    #[test]
    fn a_failed_commit_is_tried_again_later() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        schedule.wait(now);
        assert_eq!(schedule.left(now), Some(GATHER));
        schedule.committed(now + GATHER, false);
        assert_eq!(schedule.left(now + GATHER), Some(INTERVAL));
    }
}
