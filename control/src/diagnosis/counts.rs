//! What became of what was told.

use std::sync::atomic::{AtomicU64, Ordering};

/// Cumulative counts, for metrics.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    sent: AtomicU64,
    queue_full: AtomicU64,
    not_taken: AtomicU64,
    lines_written: AtomicU64,
    lines_queue_full: AtomicU64,
    lines_not_written: AtomicU64,
}

impl Counts {
    pub(super) fn queue_full(&self) {
        self.queue_full.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, traces: usize) {
        self.sent.fetch_add(traces as u64, Ordering::Relaxed);
    }

    pub(super) fn not_taken(&self, traces: usize) {
        self.not_taken.fetch_add(traces as u64, Ordering::Relaxed);
    }

    pub(super) fn lines_written(&self, lines: usize) {
        self.lines_written.fetch_add(lines as u64, Ordering::Relaxed);
    }

    pub(super) fn line_dropped(&self) {
        self.lines_queue_full.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lines_unwritten(&self, lines: usize) {
        self.lines_not_written.fetch_add(lines as u64, Ordering::Relaxed);
    }

    /// Lines in the debug log.
    pub(crate) fn lines_kept(&self) -> u64 {
        self.lines_written.load(Ordering::Relaxed)
    }

    /// Lines that are not in it, by reason.
    pub(crate) fn lines_dropped(&self) -> [(&'static str, u64); 2] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [("queue_full", of(&self.lines_queue_full)), ("not_written", of(&self.lines_not_written))]
    }

    /// Traces the collector took.
    pub(crate) fn traces_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Traces that were lost, by reason.
    pub(crate) fn traces_dropped(&self) -> [(&'static str, u64); 2] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [("queue_full", of(&self.queue_full)), ("not_taken", of(&self.not_taken))]
    }
}
