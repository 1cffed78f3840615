//! Notices playbacks that their engine does not have any more. Pure.
//!
//! A stream that another proxy reported and never took back would stay for ever, and its engine with it. It is over when its
//! engine says several times in a row, over some time, that it does not know the playback. An engine that is slow,
//! unreachable or confused says nothing, and ends nothing soon: how long nothing was heard of a stream is told, and whoever
//! knows whether its engine is well decides when that is too long.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// Answers in a row it takes.
const ANSWERS_MIN: u32 = 5;
/// The reason of a stream that ends so.
pub(super) const REASON: &str = "stale_stream_detected";
/// The reason of a stream of which nothing was heard for too long.
pub(super) const UNHEARD: &str = "no_sign_of_life";
/// Without a word of its engine's health a stream of which nothing is heard stays for so many times as long.
pub(super) const UNKNOWN_TIMES: u32 = 24;

/// Streams in doubt.
#[derive(Debug)]
pub(super) struct Stale {
    /// Time it takes from the first of the answers on.
    after: Duration,
    doubts: HashMap<String, Doubt>,
    /// Those of which nothing is heard.
    silent: HashMap<String, Doubt>,
}

#[derive(Debug)]
struct Doubt {
    since: SystemTime,
    answers: u32,
}

impl Stale {
    /// Nothing is in doubt yet.
    pub(super) fn new(after: Duration) -> Self {
        Self { after, doubts: HashMap::new(), silent: HashMap::new() }
    }

    /// The engine does not know the playback. Answers whether the stream is over.
    pub(super) fn unknown(&mut self, id: &str, now: SystemTime) -> bool {
        self.silent.remove(id);
        let lasted = Doubt::lasted(&mut self.doubts, id, now);
        let is_over = lasted.is_some_and(|waited| waited >= self.after);
        if is_over {
            self.doubts.remove(id);
        }
        is_over
    }

    /// The engine said nothing of the playback, or nothing that can be understood, or cannot be asked. Answers for how long
    /// that has been so, once it was tried several times.
    pub(super) fn unheard(&mut self, id: &str, now: SystemTime) -> Option<Duration> {
        Doubt::lasted(&mut self.silent, id, now)
    }

    /// The engine knows the playback.
    pub(super) fn known(&mut self, id: &str) {
        self.doubts.remove(id);
        self.silent.remove(id);
    }

    /// Forgets streams that are over.
    pub(super) fn retain(&mut self, is_active: impl Fn(&str) -> bool) {
        self.doubts.retain(|id, _| is_active(id));
        self.silent.retain(|id, _| is_active(id));
    }
}

impl Doubt {
    /// Counts one more; answers for how long there has been doubt, once it was said often enough.
    fn lasted(doubts: &mut HashMap<String, Self>, id: &str, now: SystemTime) -> Option<Duration> {
        if !doubts.contains_key(id) {
            doubts.insert(id.to_owned(), Self { since: now, answers: 0 });
        }
        let doubt = doubts.get_mut(id)?;
        doubt.answers = doubt.answers.saturating_add(1);
        // A clock that was set back begins the wait anew and ends nothing early.
        doubt.since = doubt.since.min(now);
        now.duration_since(doubt.since).ok().filter(|_| doubt.answers >= ANSWERS_MIN)
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

    /// Guards: how long nothing was heard of a stream is told after several tries, from the first of them on; any word of its
    /// engine, and a stream that is over, begins that anew.
    #[test]
    fn silence_is_told_and_a_word_ends_it() {
        let mut stale = Stale::new(Duration::from_secs(10));
        let tries: Vec<_> = (0..5).map(|n| stale.unheard("a", at(n * 900))).collect();
        assert_eq!(tries, [None, None, None, None, Some(Duration::from_secs(3600))]);
        assert_eq!(stale.unheard("a", at(7200)), Some(Duration::from_secs(7200)));
        stale.known("a");
        assert_eq!(stale.unheard("a", at(7201)), None);
        assert!(!stale.unknown("a", at(7202)));
        (0..4).for_each(|n| assert_eq!(stale.unheard("a", at(7203 + n)), None));
        assert_eq!(stale.unheard("a", at(7210)), Some(Duration::from_secs(7)));
        stale.retain(|_| false);
        assert_eq!(stale.unheard("a", at(7211)), None);
    }
}
