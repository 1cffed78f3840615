//! The rest a source takes between two reads of a stream in real time.
//!
//! Engines send such a stream in pieces of a few kilobytes, and players are served once a tick. A source that reads each
//! piece as it comes pays a wake-up, a receive and a write for it, and with hundreds of broadcasts on a shard that is
//! most of what the shard does. So one that has read all there was rests until a client of its session is about to be
//! served, and then reads all that has come since. Nobody gets anything later for it.
//!
//! Owner: the session's shard.

use crate::uring::Signal;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// No rest is longer, whatever the tick.
const REST_MAX: Duration = Duration::from_millis(250);
/// A stream that has been silent for that long is waited for, not looked for.
const SILENCE: Duration = Duration::from_secs(1);

/// When the source of a session reads.
#[derive(Debug)]
pub(super) struct Rest {
    calls: Signal,
    /// When the source last looked for what has come, and how many calls there had been.
    looked: Cell<(Instant, u64)>,
}

/// What decides whether a source may rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    /// How long its media has been silent.
    pub silence: Duration,
    /// Bytes per second by the stream's clock, once that is known.
    pub rate: Option<u64>,
    /// The most that one read takes.
    pub read_max: u64,
    /// The time between two visits to a client.
    pub tick: Duration,
    /// Clients of other shards are served from it too, at moments that are not known here.
    pub is_copied: bool,
}

impl Flow {
    /// The longest rest; `None` when what comes is to be read at once. While it rests, no more comes than a read takes.
    pub(super) fn rest(&self) -> Option<Duration> {
        let longest = if self.is_copied { self.tick / 2 } else { (self.tick * 2).min(REST_MAX) };
        let comes = |rate: u64| u128::from(rate) * longest.as_millis() / 1000;
        let fits = self.rate.is_some_and(|rate| comes(rate) <= u128::from(self.read_max));
        (fits && self.silence < SILENCE).then_some(longest)
    }
}

impl Rest {
    pub(super) fn new(now: Instant) -> Self {
        Self { calls: Signal::default(), looked: Cell::new((now, 0)) }
    }

    /// Ends the rest, because a client is about to be served, unless the source has looked within half a `tick`.
    pub(super) fn call(&self, now: Instant, tick: Duration) {
        let (looked_at, _) = self.looked.get();
        if now.saturating_duration_since(looked_at) >= tick / 2 {
            self.calls.notify();
        }
    }

    /// Notes that the source looks for what has come.
    pub(super) fn look(&self, now: Instant) {
        self.looked.set((now, self.calls.count()));
    }

    /// Rests until the first call since the last look, at most for `longest`. Cancel safe.
    pub(super) async fn until_called(&self, longest: Duration) {
        let (_, seen) = self.looked.get();
        let _ = monoio::time::timeout(longest, self.calls.after(seen)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::pin::pin;

    const TICK: Duration = Duration::from_millis(50);

    fn flow(rate: Option<u64>) -> Flow {
        Flow { silence: Duration::ZERO, rate, read_max: 256 << 10, tick: TICK, is_copied: false }
    }

    /// Guards: a source rests only while what comes meanwhile is taken by one read, so that a fast stream is never slowed
    /// down by a full socket; a silent or unknown one is waited for; nobody rests for long.
    #[test]
    fn only_a_steady_stream_of_a_known_rate_is_rested_from() {
        assert_eq!(flow(Some(1_000_000)).rest(), Some(2 * TICK));
        assert_eq!(flow(Some(2_500_000)).rest(), Some(2 * TICK));
        assert_eq!(flow(Some(2_700_000)).rest(), None);
        assert_eq!(flow(None).rest(), None);
        assert_eq!(Flow { silence: SILENCE, ..flow(Some(1000)) }.rest(), None);
        assert_eq!(Flow { is_copied: true, ..flow(Some(1000)) }.rest(), Some(TICK / 2));
        assert_eq!(Flow { tick: TICK * 4, ..flow(Some(1000)) }.rest(), Some(REST_MAX));
        assert_eq!(flow(Some(u64::MAX)).rest(), None);
    }

    /// Guards: the walk's call ends a rest, also one that comes between the last look and the rest; a source that has
    /// just looked is left alone, so that many clients do not mean many reads.
    #[test]
    fn a_call_ends_the_rest_unless_the_source_has_just_looked() {
        let now = Instant::now();
        let rest = Rest::new(now);
        let is_over = |rest: &Rest| pin!(rest.calls.after(rest.looked.get().1)).now_or_never().is_some();
        rest.look(now);
        rest.call(now + TICK / 4, TICK);
        assert!(!is_over(&rest));
        rest.call(now + TICK / 2, TICK);
        assert!(is_over(&rest));
        rest.look(now + TICK);
        assert!(!is_over(&rest));
    }
}
