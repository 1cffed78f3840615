//! How far a stream has come ahead of real time. Pure: the clock is passed in.
//!
//! An engine may deliver minutes of media in a second, or each few seconds of it in one piece. What lies ahead of real
//! time is no fault of the players that play it in real time, and nobody suffers when the rest of it is read a little
//! later.

use crate::handover::age;
use crate::media::ts::MediaTime;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Real time runs faster here by this share, so that the clock of a broadcaster that is slightly fast, or a burst of
/// days ago, does not add up: one in a thousand, far above the error of any clock.
const HURRY: u32 = 1_000;

/// The media ahead of real time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ahead {
    level: Duration,
    #[serde(with = "age")]
    at: Instant,
    newest: MediaTime,
}

impl Ahead {
    pub(super) fn new(now: Instant) -> Self {
        Self { level: Duration::ZERO, at: now, newest: MediaTime::default() }
    }

    /// Media up to `newest` has come.
    pub(super) fn advance(&mut self, now: Instant, newest: MediaTime) {
        self.level = self.level(now) + newest.since(self.newest);
        (self.at, self.newest) = (now, newest.max(self.newest));
    }

    /// How much lies ahead of real time.
    pub(super) fn level(&self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at);
        self.level.saturating_sub(passed + passed / HURRY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn media(seconds: u64) -> MediaTime {
        MediaTime::from_ticks(seconds * 27_000_000)
    }

    /// Guards: a burst stays ahead while the stream goes on in real time, and silence uses it up; lost time is not owed.
    #[test]
    fn a_burst_is_ahead_until_silence_uses_it_up() {
        let start = Instant::now();
        let mut ahead = Ahead::new(start);
        ahead.advance(start, media(60));
        for second in 1..=10 {
            ahead.advance(start + SECOND * second, media(60 + u64::from(second)));
        }
        let level = ahead.level(start + SECOND * 10);
        assert!(level > 59 * SECOND && level <= 60 * SECOND, "{level:?}");
        assert_eq!(ahead.level(start + SECOND * 75), Duration::ZERO);
        ahead.advance(start + SECOND * 100, media(74));
        assert_eq!(ahead.level(start + SECOND * 100), 4 * SECOND, "the silence was held against it");
    }

    /// Guards: a clock that runs slightly fast for days adds nothing up.
    #[test]
    fn a_fast_clock_adds_nothing_up() {
        let start = Instant::now();
        let mut ahead = Ahead::new(start);
        for minute in 0..3 * 24 * 60u64 {
            let media = MediaTime::from_ticks(minute * 60 * 27_002_700);
            ahead.advance(start + Duration::from_secs(minute * 60), media);
        }
        assert_eq!(ahead.level(start + Duration::from_secs(3 * 24 * 60 * 60)), Duration::ZERO);
    }
}
