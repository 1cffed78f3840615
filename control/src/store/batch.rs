//! What waits for the next commit, and what becomes of it when one fails.

use super::Error;
use super::apply::apply;
use super::record::Record;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;

/// Records kept through a time in which nothing can be stored; beyond it the oldest go.
const KEPT_MAX: usize = 16_384;

/// Tells whoever was promised a record what became of it.
pub(super) type Answer = oneshot::Sender<Result<(), Error>>;

/// What became of records, cumulative.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Committed.
    pub(super) stored: AtomicU64,
    /// Statistics that found the queue half full.
    pub(super) statistics_queue: AtomicU64,
    /// Other records that found the queue full.
    pub(super) queue: AtomicU64,
    /// Statistics of a commit that failed.
    pub(super) statistics_disk: AtomicU64,
    /// Other records given up after too many commits had failed, and everything without a usable directory.
    pub(super) disk: AtomicU64,
    /// Records the database does not take; our bug.
    pub(super) rejected: AtomicU64,
    /// Commits that failed.
    pub(super) failures: AtomicU64,
}

impl Counts {
    /// Records that were dropped, by reason.
    pub(crate) fn dropped(&self) -> [(&'static str, u64); 5] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("statistics_queue_full", read(&self.statistics_queue)),
            ("queue_full", read(&self.queue)),
            ("statistics_not_stored", read(&self.statistics_disk)),
            ("not_stored", read(&self.disk)),
            ("rejected", read(&self.rejected)),
        ]
    }

    /// Records stored.
    pub(crate) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// Commits that failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

pub(super) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

/// Records between two commits.
#[derive(Default)]
pub(super) struct Batch {
    records: Vec<Record>,
    promised: Vec<(Vec<Record>, Answer)>,
    answers: Vec<(Answer, Result<(), Error>)>,
}

impl Batch {
    /// Adds a record nobody waits for.
    pub(super) fn put(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Adds records somebody waits for: all of them are stored, or none.
    pub(super) fn promise(&mut self, records: Vec<Record>, answer: Answer) {
        self.promised.push((records, answer));
    }

    /// Whether there is nothing to commit.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.promised.is_empty()
    }

    /// Records held.
    pub(super) fn len(&self) -> usize {
        self.records.len() + self.promised.len()
    }

    /// Stores everything in one transaction. What nobody was promised stays here when that fails, save for statistics.
    pub(super) fn commit(&mut self, connection: &mut Connection, counts: &Counts) -> Result<(), Error> {
        match self.try_commit(connection) {
            Ok(rejected) => {
                let promised: usize = self.promised.iter().map(|(records, _)| records.len()).sum();
                let put: usize = self.records.iter().map(Record::rows).sum();
                add(&counts.stored, (put + promised).saturating_sub(rejected));
                add(&counts.rejected, rejected);
                self.records.clear();
                self.answers.extend(self.promised.drain(..).map(|(_, answer)| (answer, Ok(()))));
                Ok(())
            }
            Err(error) => {
                add(&counts.failures, 1);
                let refusal = || Err(Error::NotStored(error.to_string()));
                self.answers.extend(self.promised.drain(..).map(|(_, answer)| (answer, refusal())));
                let statistics = self.records.iter().filter(|record| record.is_statistics());
                add(&counts.statistics_disk, statistics.map(Record::rows).sum());
                self.records.retain(|record| !record.is_statistics());
                let surplus = self.records.len().saturating_sub(KEPT_MAX);
                self.records.drain(..surplus);
                add(&counts.disk, surplus);
                Err(error.into())
            }
        }
    }

    /// Answers whoever was promised something in the last commit; a step of its own, so that what they then look at shows
    /// how it went.
    pub(super) fn answer(&mut self) {
        for (answer, outcome) in self.answers.drain(..) {
            // Whoever waited may have gone.
            let _ = answer.send(outcome);
        }
    }

    /// Answers how many records the database did not take for what they are.
    fn try_commit(&self, connection: &mut Connection) -> rusqlite::Result<usize> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut rejected = 0;
        for record in &self.records {
            match apply(&transaction, record) {
                Ok(()) => {}
                // The fault of one record must not keep all others from being stored for ever.
                Err(error) if is_of_the_record(&error) => {
                    tracing::error!(%error, ?record, "a record cannot be stored; this is a bug");
                    rejected += record.rows();
                }
                Err(error) => return Err(error),
            }
        }
        for record in self.promised.iter().flat_map(|(records, _)| records) {
            apply(&transaction, record)?;
        }
        transaction.commit()?;
        Ok(rejected)
    }
}

/// Whether trying the same record again would fail in the same way wherever it is written.
fn is_of_the_record(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        None | Some(
            ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
                | ErrorCode::TooBig
                | ErrorCode::ParameterOutOfRange
        )
    )
}
