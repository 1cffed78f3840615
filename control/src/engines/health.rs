//! What is known of one engine's health: pure, no I/O, the clock is passed in.
//!
//! ```text
//!            check ok                    hard fault, or one check failed
//! Unknown ------------> Healthy ---------------------------------------> Suspect
//!    |                     ^                                                |
//!    | check failed        | check ok                                       | refused, no such name,
//!    v                     |                                                | or failed again
//!  Down -------------------+<-----------------------------------------------+
//! ```
//!
//! A loaded engine answers late, so one late answer makes an engine that was healthy only `Suspect`: it is still granted when no healthy one
//! can be had. `Down` is granted to nobody until a check succeeds.

use super::check::CheckFault;
use sluice_contract::EngineFault;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Between two checks of an engine that answers.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Between two checks of an engine in doubt.
const DOUBT_INTERVAL: Duration = Duration::from_secs(1);
/// First and longest pause between checks of an engine that is down. The longest bounds how long an engine that came
/// back stays unused.
const DOWN_INTERVAL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Between two checks of an engine that is being started.
const START_INTERVAL: Duration = Duration::from_millis(250);
/// First and longest rest after a hard fault.
const REST: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// The fault counts halve in this time.
const FAULT_HALF_LIFE: Duration = Duration::from_secs(60);
/// Checks that must fail in a row before a late engine counts as down.
const FAILURES_DOWN: u32 = 3;
/// Stream faults in recent memory that put an engine behind the others.
const STREAM_FAULTS_POOR: u32 = 3;

/// Where an engine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not checked yet.
    Unknown,
    /// The last check succeeded and nobody complained since.
    Healthy,
    /// In doubt: granted when nothing better can be had.
    Suspect,
    /// Granted to nobody.
    Down,
}

impl State {
    /// Every state, for metrics that show zeros.
    pub(crate) const ALL: [Self; 4] = [Self::Unknown, Self::Healthy, Self::Suspect, Self::Down];

    /// Stable machine-readable name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

/// A count that halves every [`FAULT_HALF_LIFE`].
#[derive(Clone, Debug)]
struct Memory {
    count: u32,
    since: Instant,
}

impl Memory {
    fn at(&self, now: Instant) -> u32 {
        let halvings = now.saturating_duration_since(self.since).as_secs() / FAULT_HALF_LIFE.as_secs();
        self.count.checked_shr(u32::try_from(halvings).unwrap_or(u32::MAX)).unwrap_or(0)
    }

    fn add(&mut self, now: Instant) -> u32 {
        self.count = self.at(now).saturating_add(1);
        self.since = now;
        self.count
    }
}

/// Health of one engine.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    state: State,
    address: Option<SocketAddr>,
    last_fault: Option<CheckFault>,
    failures: u32,
    hard_faults: Memory,
    stream_faults: Memory,
    rest_until: Option<Instant>,
    check_at: Instant,
    checking: bool,
    check_again: bool,
}

impl Health {
    /// An engine nobody has looked at; its first check is due at once.
    pub(crate) fn new(now: Instant) -> Self {
        let memory = Memory { count: 0, since: now };
        Self {
            state: State::Unknown,
            address: None,
            last_fault: None,
            failures: 0,
            hard_faults: memory.clone(),
            stream_faults: memory,
            rest_until: None,
            check_at: now,
            checking: false,
            check_again: false,
        }
    }

    /// Where the engine stands.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Where its API answers, once known.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// What the last failed check saw, while the engine has not recovered.
    pub(crate) fn last_fault(&self) -> Option<&CheckFault> {
        self.last_fault.as_ref()
    }

    /// Whether a lease may be granted on it now.
    pub(crate) fn is_usable(&self, now: Instant) -> bool {
        matches!(self.state, State::Healthy | State::Suspect)
            && self.address.is_some()
            && self.rest_until.is_none_or(|until| until <= now)
    }

    /// Whether it may become usable by waiting a moment.
    pub(crate) fn is_promising(&self) -> bool {
        self.state != State::Down
    }

    /// Whether others go first: in doubt, or streams failed on it lately.
    pub(crate) fn is_poor(&self, now: Instant) -> bool {
        self.state != State::Healthy || self.stream_faults.at(now) >= STREAM_FAULTS_POOR
    }

    /// Whether a check should be started; answers `true` once per check.
    pub(crate) fn claim_check(&mut self, now: Instant) -> bool {
        let due = !self.checking && self.check_at <= now;
        self.checking |= due;
        due
    }

    /// Takes the result of a check. `jitter` is in 0.8..1.2 and spreads the checks of many engines.
    pub(crate) fn checked(&mut self, now: Instant, jitter: f64, outcome: Result<SocketAddr, CheckFault>) {
        self.checking = false;
        let pause = match outcome {
            Ok(address) => {
                self.address = Some(address);
                self.state = State::Healthy;
                self.failures = 0;
                self.last_fault = None;
                CHECK_INTERVAL
            }
            Err(fault) => {
                self.failures = self.failures.saturating_add(1);
                // Two witnesses (a shard and a check) weigh as much as several late answers.
                let witnessed = self.state == State::Suspect && self.hard_faults.at(now) > 0;
                self.address = fault.address().or(self.address);
                let is_trusted = matches!(self.state, State::Healthy | State::Suspect);
                let is_down =
                    !is_trusted || fault.is_definite() || witnessed || self.failures >= FAILURES_DOWN;
                self.last_fault = Some(fault);
                self.state = if is_down { State::Down } else { State::Suspect };
                match self.state {
                    State::Down => doubled(DOWN_INTERVAL, self.failures),
                    _ => DOUBT_INTERVAL,
                }
            }
        };
        self.check_at = now + pause.mul_f64(jitter);
        if std::mem::take(&mut self.check_again) {
            self.check_at = now;
        }
    }

    /// Takes what a shard reported of a lease it gave back.
    pub(crate) fn faulted(&mut self, now: Instant, jitter: f64, fault: EngineFault) {
        match fault {
            EngineFault::Unreachable | EngineFault::Hung | EngineFault::Protocol => {
                let count = self.hard_faults.add(now);
                self.rest_until = Some(now + doubled(REST, count).mul_f64(jitter));
                if self.state == State::Healthy {
                    self.state = State::Suspect;
                }
                self.check_at = now;
                self.check_again = self.checking;
            }
            // A stream that ends or cannot be had says little about the engine: the shard avoids it for that stream.
            EngineFault::Error | EngineFault::EndOfStream | EngineFault::Silent | EngineFault::NotMpegTs => {
                self.stream_faults.add(now);
            }
        }
    }

    /// Something happened to the engine: look now, and what a check under way says does not answer for it.
    pub(crate) fn look_again(&mut self, now: Instant) {
        self.check_at = now;
        self.check_again = self.checking;
    }

    /// The engine has been started just now and does not answer yet: look again very soon.
    pub(crate) fn await_start(&mut self, now: Instant) {
        if self.state != State::Healthy && !self.checking {
            self.check_at = self.check_at.min(now + START_INTERVAL);
        }
    }

    /// Somebody waits for an engine: look again soon instead of after the whole pause.
    pub(crate) fn hasten(&mut self, now: Instant) {
        if self.state == State::Down && !self.checking {
            self.check_at = self.check_at.min(now + DOUBT_INTERVAL);
        }
    }

    /// When this engine next needs attention, if nothing happens before.
    pub(crate) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let check = (!self.checking).then_some(self.check_at);
        let rest = self.rest_until.filter(|until| *until > now);
        check.into_iter().chain(rest).min()
    }
}

/// `first × 2^(count − 1)`, at most `longest`.
fn doubled((first, longest): (Duration, Duration), count: u32) -> Duration {
    first.saturating_mul(1u32.checked_shl(count.saturating_sub(1)).unwrap_or(u32::MAX)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        ([127, 0, 0, 1], 6878).into()
    }

    fn healthy(now: Instant) -> Health {
        let mut health = Health::new(now);
        assert!(health.claim_check(now) && !health.claim_check(now), "a check is claimed once");
        health.checked(now, 1.0, Ok(address()));
        health
    }

    #[test]
    fn one_late_answer_is_doubt_and_three_are_down() {
        let now = Instant::now();
        let mut health = healthy(now);
        for expected in [State::Suspect, State::Suspect, State::Down] {
            health.checked(now, 1.0, Err(CheckFault::Late(address())));
            assert_eq!(health.state(), expected);
        }
        assert!(!health.is_usable(now));
        health.checked(now, 1.0, Ok(address()));
        assert!(health.is_usable(now) && !health.is_poor(now));
    }

    #[test]
    fn an_engine_that_never_answered_well_is_not_given_the_benefit_of_the_doubt() {
        let now = Instant::now();
        let mut health = Health::new(now);
        health.checked(now, 1.0, Err(CheckFault::Late(address())));
        assert_eq!(health.state(), State::Down);
    }

    #[test]
    fn a_refused_connection_is_down_at_once() {
        let now = Instant::now();
        let mut health = healthy(now);
        health.checked(now, 1.0, Err(CheckFault::Refused(address())));
        assert_eq!(health.state(), State::Down);
    }

    #[test]
    fn a_hard_fault_rests_the_engine_longer_each_time_and_is_forgotten() {
        let now = Instant::now();
        let mut health = healthy(now);
        health.faulted(now, 1.0, EngineFault::Unreachable);
        assert!(!health.is_usable(now));
        assert!(health.is_usable(now + REST.0));
        assert!(health.claim_check(now), "a hard fault must be checked at once");
        health.faulted(now, 1.0, EngineFault::Unreachable);
        assert!(!health.is_usable(now + REST.0) && health.is_usable(now + 2 * REST.0));
        health.checked(now, 1.0, Ok(address()));
        assert!(health.claim_check(now), "a check begun before the fault does not answer for it");
        health.checked(now, 1.0, Ok(address()));
        let later = now + 4 * FAULT_HALF_LIFE;
        health.faulted(later, 1.0, EngineFault::Hung);
        assert!(health.is_usable(later + REST.0), "old faults still weigh");
    }

    #[test]
    fn stream_faults_never_block_the_only_engine() {
        let now = Instant::now();
        let mut health = healthy(now);
        for _ in 0..100 {
            health.faulted(now, 1.0, EngineFault::EndOfStream);
        }
        assert!(health.is_usable(now) && health.is_poor(now));
        assert!(!health.is_poor(now + 10 * FAULT_HALF_LIFE));
    }
}
