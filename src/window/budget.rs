//! `WINDOW_TOTAL_MIB`, shared by all sessions of the process.
//!
//! Shared memory counts to the cgroup, and over its limit the kernel kills without returning any error; so memory is
//! reserved here before it is used. When a newcomer finds nothing left it raises `pressure`, which every shard sees
//! on its next look: sessions that nobody watches end first, then windows shrink, and only then is anyone refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The whole process's budget.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    reserved: AtomicU64,
    waiting: AtomicUsize,
}

/// One session's part of the budget; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

/// A newcomer that waits for memory; pressure lasts while one exists.
#[derive(Debug)]
pub struct Waiting(Arc<Budget>);

impl Budget {
    /// A budget of `total` bytes.
    pub fn new(total: u64) -> Arc<Self> {
        Arc::new(Self { total, reserved: AtomicU64::new(0), waiting: AtomicUsize::new(0) })
    }

    /// Reserves `bytes`, or nothing when they are not there.
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        self.take(bytes).then(|| Reservation { budget: self.clone(), bytes })
    }

    /// Declares that somebody waits for memory.
    pub fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self.clone())
    }

    /// Whether somebody waits for memory.
    pub fn is_pressed(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes reserved now.
    pub fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let take = |reserved: u64| reserved.checked_add(bytes).filter(|sum| *sum <= self.total);
        self.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reservation {
    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Grows to `bytes` if the budget has them and nobody waits for memory; otherwise keeps what it holds.
    pub fn grow_to(&mut self, bytes: u64) {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 && !self.budget.is_pressed() && self.budget.take(more) {
            self.bytes = bytes;
        }
    }

    /// Gives back what lies above `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        self.budget.reserved.fetch_sub(less, Ordering::Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_never_overdrawn_and_comes_back() {
        let budget = Budget::new(100);
        let mut one = budget.reserve(60).unwrap();
        assert!(budget.reserve(41).is_none());
        one.grow_to(101);
        assert_eq!(one.bytes(), 60, "grew beyond the total");
        one.grow_to(90);
        assert_eq!((one.bytes(), budget.reserved()), (90, 90));
        one.shrink_to(50);
        let two = budget.reserve(50).unwrap();
        assert_eq!(budget.reserved(), 100);
        drop((one, two));
        assert_eq!(budget.reserved(), 0);
    }

    #[test]
    fn nobody_grows_while_a_newcomer_waits() {
        let budget = Budget::new(100);
        let mut one = budget.reserve(10).unwrap();
        let waiting = budget.wait();
        one.grow_to(20);
        assert_eq!(one.bytes(), 10);
        drop(waiting);
        one.grow_to(20);
        assert_eq!(one.bytes(), 20);
    }
}
