//! A circuit breaker: after too many failures nothing is tried for a while, then one trial decides. Pure.
//!
//! ```text
//! Closed --threshold failures--> Open --recovery over--> HalfOpen --success--> Closed
//!                                  ^                        |
//!                                  +--------failure---------+
//! ```
//!
//! Only real failures count. That Docker is away, or a VPN, means "cannot now", and opening a breaker for it would
//! delay the recovery.

use std::time::{Duration, Instant};

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerLimits {
    /// Failures in a row that open it.
    pub threshold: u32,
    /// After this long since the last failure one trial is let through.
    pub recovery: Duration,
}

/// Where a breaker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakerState {
    /// Everything is tried.
    Closed,
    /// Nothing is.
    Open,
    /// One trial at a time.
    HalfOpen,
}

impl BreakerState {
    /// Every state, for metrics that show zeros.
    pub(crate) const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// Its name in the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BreakerStanding {
    /// Where it is.
    pub(crate) state: BreakerState,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// When it opens, and for how long.
    pub(crate) limits: BreakerLimits,
    /// The newest failure.
    pub(crate) last_failure: Option<Instant>,
    /// The newest success.
    pub(crate) last_success: Option<Instant>,
}

/// One breaker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Breaker {
    limits: BreakerLimits,
    failures: u32,
    is_open: bool,
    is_trying: bool,
    last_failure: Option<Instant>,
    last_success: Option<Instant>,
}

impl Breaker {
    /// A closed breaker.
    pub(crate) fn new(limits: BreakerLimits) -> Self {
        Self { limits, failures: 0, is_open: false, is_trying: false, last_failure: None, last_success: None }
    }

    /// Where it is.
    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        match self.opens_at() {
            None => BreakerState::Closed,
            Some(at) if now < at => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Whether something may be tried now, by anybody.
    pub(crate) fn permits(&self, now: Instant) -> bool {
        match self.state(now) {
            BreakerState::Closed => true,
            BreakerState::Open => false,
            BreakerState::HalfOpen => !self.is_trying,
        }
    }

    /// When the next trial is let through, while it is not closed.
    pub(crate) fn opens_at(&self) -> Option<Instant> {
        self.is_open.then(|| self.last_failure.map(|at| at + self.limits.recovery)).flatten()
    }

    /// Something is being tried.
    pub(crate) fn tried(&mut self) {
        self.is_trying = self.is_open;
    }

    /// What was tried came to nothing without failing.
    pub(crate) fn withdrawn(&mut self) {
        self.is_trying = false;
    }

    /// What was tried worked.
    pub(crate) fn succeeded(&mut self, now: Instant) {
        (self.failures, self.is_open, self.is_trying) = (0, false, false);
        self.last_success = Some(now);
    }

    /// What was tried failed.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.is_open |= self.failures >= self.limits.threshold;
        self.is_trying = false;
        self.last_failure = Some(now);
    }

    /// How it stands.
    pub(crate) fn standing(&self, now: Instant) -> BreakerStanding {
        BreakerStanding {
            state: self.state(now),
            failures: self.failures,
            limits: self.limits,
            last_failure: self.last_failure,
            last_success: self.last_success,
        }
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BreakerLimits = BreakerLimits { threshold: 3, recovery: Duration::from_secs(300) };

    /// Guards the three states, and that a half-open breaker lets exactly one trial through, whoever asks.
    #[test]
    fn a_breaker_opens_tries_once_and_closes() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(LIMITS);
        for _ in 0..2 {
            breaker.failed(now);
            assert!(breaker.permits(now));
        }
        breaker.failed(now);
        assert_eq!((breaker.state(now), breaker.permits(now)), (BreakerState::Open, false));
        assert_eq!(breaker.opens_at(), Some(now + LIMITS.recovery));
        now += LIMITS.recovery;
        assert_eq!((breaker.state(now), breaker.permits(now)), (BreakerState::HalfOpen, true));
        breaker.tried();
        assert!(!breaker.permits(now), "a second trial was let through");
        breaker.withdrawn();
        assert!(breaker.permits(now), "a trial that came to nothing keeps the place");
        breaker.tried();
        breaker.failed(now);
        assert_eq!(breaker.state(now), BreakerState::Open);
        now += LIMITS.recovery;
        breaker.tried();
        breaker.succeeded(now);
        assert_eq!((breaker.state(now), breaker.failures()), (BreakerState::Closed, 0));
    }
}
