//! How a player reads: at once, at a rate, or not at all. Pure; the clock comes from outside.

use std::time::{Duration, Instant};

/// A player that reads at a rate looks this often, as a decoder does that asks for the next picture.
const PACE_STEP: Duration = Duration::from_millis(20);
/// Unused allowance that a paced reader may keep: after a silence it reads on at its rate, not in a burst.
const PACE_CREDIT: Duration = Duration::from_millis(200);

/// How a player reads the response body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// Whatever is there, at once.
    Drain,
    /// At a steady rate, in bytes per second, as a player does that shows what it reads.
    Paced(u64),
    /// Like [`Reading::Drain`] for this many bytes of the body, then never again.
    Stalled(u64),
}

impl Reading {
    /// A steady rate in Mbit/s.
    pub fn paced_mbit(rate: f64) -> Self {
        Self::Paced((rate * 125_000.0).max(1.0) as u64)
    }

    /// A viewer slower than the stream, in bytes per second.
    pub fn slow(bytes_per_second: u64) -> Self {
        Self::Paced(bytes_per_second.max(1))
    }
}

/// What a reader may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// Read up to this many bytes.
    Bytes(usize),
    /// Read nothing before this instant.
    After(Instant),
    /// Read nothing.
    Never,
}

/// The allowance of one player.
#[derive(Debug)]
pub(super) struct Pace {
    reading: Reading,
    /// Instant up to which the rate has been spent.
    spent: Instant,
}

impl Pace {
    pub(super) fn new(reading: Reading, now: Instant) -> Self {
        Self { reading, spent: now }
    }

    /// What may be read now that `body` bytes have been.
    pub(super) fn allowance(&mut self, body: u64, now: Instant) -> Allowance {
        match self.reading {
            Reading::Drain => Allowance::Bytes(usize::MAX),
            Reading::Stalled(limit) if body < limit => Allowance::Bytes((limit - body) as usize),
            Reading::Stalled(_) => Allowance::Never,
            Reading::Paced(rate) => {
                // A rate below a byte a step stretches the step.
                let step = PACE_STEP.max(Duration::from_secs_f64(1.0 / rate as f64));
                let oldest = now.checked_sub(PACE_CREDIT.max(step)).unwrap_or(self.spent);
                self.spent = self.spent.max(oldest);
                let credit = now.saturating_duration_since(self.spent);
                if credit < step {
                    return Allowance::After(self.spent + step);
                }
                Allowance::Bytes(((credit.as_secs_f64() * rate as f64) as usize).max(1))
            }
        }
    }

    /// Notes that `bytes` were read.
    pub(super) fn spend(&mut self, bytes: usize) {
        if let Reading::Paced(rate) = self.reading {
            self.spent += Duration::from_secs_f64(bytes as f64 / rate as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_for(reading: Reading, time: Duration, available: usize) -> u64 {
        let start = Instant::now();
        let (mut pace, mut now, mut body) = (Pace::new(reading, start), start, 0);
        while now < start + time {
            match pace.allowance(body, now) {
                Allowance::Bytes(most) => {
                    let bytes = most.min(available);
                    pace.spend(bytes);
                    body += bytes as u64;
                    now += Duration::from_micros(100);
                }
                Allowance::After(instant) => now = instant,
                Allowance::Never => return body,
            }
        }
        body
    }

    /// Guards that a paced reader keeps its rate whether the rate is high or a byte a second.
    #[test]
    fn a_paced_reader_keeps_its_rate() {
        for rate in [1, 50, 1000, 1_000_000, 12_500_000] {
            let read = read_for(Reading::Paced(rate), Duration::from_secs(20), 1 << 20);
            let wanted = rate * 20;
            assert!(read.abs_diff(wanted) <= wanted / 20 + 1, "{rate} B/s: {read} of {wanted}");
        }
    }

    /// Guards that silence is not made up for by a burst.
    #[test]
    fn silence_earns_at_most_the_credit() {
        let start = Instant::now();
        let mut pace = Pace::new(Reading::Paced(1000), start);
        assert_eq!(pace.allowance(0, start + Duration::from_secs(60)), Allowance::Bytes(200));
    }

    /// Guards that a stalled reader stops at its byte and not after it.
    #[test]
    fn a_stalled_reader_stops_at_its_byte() {
        assert_eq!(read_for(Reading::Stalled(1000), Duration::from_secs(1), 300), 1000);
    }
}
