//! How a source pauses: engines hand whole pieces of a broadcast on, seconds apart at a low rate.
//!
//! Remembered is the longest pause of the last one to two minutes, in two numbers.

use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// How long a pause is remembered at least.
const MEMORY: Duration = Duration::from_secs(60);
/// A longer pause is a failure, whatever the source is used to.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// See the module text.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Rhythm {
    #[serde(with = "crate::handover::age")]
    since: Instant,
    newer: Duration,
    older: Duration,
}

impl Rhythm {
    /// Of a source that begins now.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, newer: Duration::ZERO, older: Duration::ZERO }
    }

    /// Media came after so long a pause.
    pub(super) fn note(&mut self, now: Instant, pause: Duration) {
        if now.saturating_duration_since(self.since) >= MEMORY {
            (self.since, self.older, self.newer) = (now, self.newer, Duration::ZERO);
        }
        self.newer = self.newer.max(pause.min(PAUSE_MAX));
    }

    /// The longest pause remembered.
    pub(super) fn pause(&self) -> Duration {
        self.newer.max(self.older)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that the longest pause counts for a minute at least, two at most, and only up to a bound.
    #[test]
    fn the_longest_pause_is_remembered_for_a_while() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut rhythm = Rhythm::new(start);
        rhythm.note(start + second, 4 * second);
        rhythm.note(start + 2 * second, 2 * second);
        assert_eq!(rhythm.pause(), 4 * second);
        rhythm.note(start + 61 * second, second);
        assert_eq!(rhythm.pause(), 4 * second);
        rhythm.note(start + 122 * second, second);
        assert_eq!(rhythm.pause(), second);
        rhythm.note(start + 123 * second, 50 * second);
        assert_eq!(rhythm.pause(), PAUSE_MAX);
    }
}
