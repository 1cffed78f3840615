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
    total: AtomicU64,
    reserved: AtomicU64,
    waiting: AtomicUsize,
    starving: AtomicUsize,
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

/// A session with less memory than a stream of its rate needs; while one exists there is pressure, and newcomers get
/// nothing.
#[derive(Debug)]
pub struct Starving(Arc<Budget>);

impl Budget {
    /// A budget of `total` bytes.
    pub fn new(total: u64) -> Arc<Self> {
        let (reserved, waiting, starving) = Default::default();
        let total = AtomicU64::new(total);
        Arc::new(Self { total, reserved, waiting, starving })
    }

    /// Reserves `bytes` for a newcomer, or nothing when they are not there or a session that plays needs them.
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        let is_first_come = self.starving.load(Ordering::Relaxed) == 0;
        (is_first_come && self.take(bytes)).then(|| Reservation { budget: self.clone(), bytes })
    }

    /// Takes in what is in use already, whatever the total: it was reserved where it comes from.
    pub fn adopt(self: &Arc<Self>, bytes: u64) -> Reservation {
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Reservation { budget: self.clone(), bytes }
    }

    /// Declares that somebody waits for memory.
    pub fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self.clone())
    }

    /// Whether somebody waits for memory or plays with too little.
    pub fn is_pressed(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0 || self.starving.load(Ordering::Relaxed) > 0
    }

    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Another total from now on. What is reserved stays; while that is more, nobody is given any.
    pub fn set_total(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// Bytes reserved now.
    pub fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let take = |reserved: u64| reserved.checked_add(bytes).filter(|sum| *sum <= self.total());
        self.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Starving {
    fn drop(&mut self) {
        self.0.starving.fetch_sub(1, Ordering::Relaxed);
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

    /// Grows to the `least` bytes that playing takes, whoever else waits; whether it holds them.
    pub fn claim(&mut self, least: u64) -> bool {
        let more = least.saturating_sub(self.bytes);
        if more > 0 && self.budget.take(more) {
            self.bytes = least;
        }
        self.bytes >= least
    }

    /// Declares that it holds less than playing takes.
    pub fn starve(&self) -> Starving {
        self.budget.starving.fetch_add(1, Ordering::Relaxed);
        Starving(self.budget.clone())
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

    /// Guards: another total holds at once for what is asked then, and takes nothing away from anybody.
    #[test]
    fn the_total_is_changed_while_parts_are_held() {
        let budget = Budget::new(100);
        let held = budget.reserve(80).unwrap();
        budget.set_total(50);
        assert!(budget.reserve(1).is_none());
        assert_eq!((held.bytes(), budget.reserved()), (80, 80));
        budget.set_total(200);
        assert!(budget.reserve(120).is_some());
    }

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

    /// Guards: a session that plays gets what its rate needs at least before newcomers do, and says so while it does
    /// not have it.
    #[test]
    fn what_plays_is_fed_before_newcomers() {
        let budget = Budget::new(100);
        let mut one = budget.reserve(40).unwrap();
        let other = budget.reserve(40).unwrap();
        let newcomer = budget.wait();
        assert!(one.claim(60), "a newcomer that waits came first");
        assert!(!one.claim(70));
        assert_eq!(one.bytes(), 60, "it took part of what it needs");
        let starving = one.starve();
        drop((newcomer, other));
        assert!(budget.is_pressed() && budget.reserve(10).is_none(), "a newcomer came before what plays");
        assert!(one.claim(70));
        drop(starving);
        assert!(!budget.is_pressed() && budget.reserve(10).is_some());
    }
}
