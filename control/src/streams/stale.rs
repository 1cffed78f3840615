//! Notices playbacks that their engine does not have any more. Pure.
//!
//! A stream that another proxy reported and never took back would stay for ever. It is over when its engine says several
//! times in a row, over some time, that it does not know the playback. An engine that is slow, unreachable or confused
//! says nothing, and ends nothing.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// Answers in a row it takes.
const ANSWERS_MIN: u32 = 5;
/// The reason of a stream that ends so.
pub(super) const REASON: &str = "stale_stream_detected";

/// Streams in doubt.
#[derive(Debug)]
pub(super) struct Stale {
    /// Time it takes from the first of the answers on.
    after: Duration,
    doubts: HashMap<String, Doubt>,
}

#[derive(Debug)]
struct Doubt {
    since: SystemTime,
    answers: u32,
}

impl Stale {
    /// Nothing is in doubt yet.
    pub(super) fn new(after: Duration) -> Self {
        Self { after, doubts: HashMap::new() }
    }

    /// The engine does not know the playback. Answers whether the stream is over.
    pub(super) fn unknown(&mut self, id: &str, now: SystemTime) -> bool {
        let doubt = self.doubts.entry(id.to_owned()).or_insert(Doubt { since: now, answers: 0 });
        doubt.answers += 1;
        // A clock that was set back begins the wait anew and ends nothing early.
        doubt.since = doubt.since.min(now);
        let is_over = doubt.answers >= ANSWERS_MIN
            && now.duration_since(doubt.since).is_ok_and(|waited| waited >= self.after);
        if is_over {
            self.doubts.remove(id);
        }
        is_over
    }

    /// The engine knows the playback.
    pub(super) fn known(&mut self, id: &str) {
        self.doubts.remove(id);
    }

    /// Forgets streams that are over.
    pub(super) fn retain(&mut self, is_active: impl Fn(&str) -> bool) {
        self.doubts.retain(|id, _| is_active(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000 + second)
    }

    /// Guards: a stream is over after enough answers over enough time, and neither alone suffices.
    #[test]
    fn it_takes_answers_and_time() {
        let mut stale = Stale::new(Duration::from_secs(10));
        let quick: Vec<bool> = (0..50).map(|n| stale.unknown("a", at(n / 10))).collect();
        assert!(!quick.contains(&true), "fifty answers within five seconds are too quick");
        assert!(stale.unknown("a", at(10)));

        let slow: Vec<bool> = (0..5).map(|n| stale.unknown("b", at(n * 30))).collect();
        assert_eq!(slow, [false, false, false, false, true]);
    }

    /// Guards: one good answer clears the doubt, and streams do not share it.
    #[test]
    fn one_good_answer_clears_the_doubt() {
        let mut stale = Stale::new(Duration::from_secs(10));
        (0..4).for_each(|n| assert!(!stale.unknown("a", at(n * 5))));
        stale.known("a");
        assert!(!stale.unknown("a", at(20)));
        assert!(!stale.unknown("b", at(99)));
        stale.retain(|id| id == "b");
        assert_eq!(stale.doubts.len(), 1);
    }

    /// Guards: a clock that jumps back ends nothing early.
    #[test]
    fn a_clock_set_back_ends_nothing_early() {
        let mut stale = Stale::new(Duration::from_secs(10));
        (0..9).for_each(|_| assert!(!stale.unknown("a", at(100))));
        assert!(!stale.unknown("a", at(50)));
        assert!(!stale.unknown("a", at(59)));
        assert!(stale.unknown("a", at(60)));
    }
}
