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
/// Below that a rest costs more than it spares.
const REST_MIN: Duration = Duration::from_millis(10);
/// A stream that has been silent for that long is waited for, not looked for.
const SILENCE: Duration = Duration::from_secs(1);

/// When the source of a session reads.
#[derive(Debug)]
pub(super) struct Rest {
    calls: Signal,
    /// When the source last looked for what has come, and how many calls there had been.
    looked: Cell<(Instant, u64)>,
    /// When the source last thought of resting, and what has come since.
    came: Cell<(Instant, u64)>,
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
    /// The connection's receive buffer in bytes, about half of which holds media.
    pub buffer: u64,
    /// What came since the source thought of this before, and how long that is ago.
    pub came: (u64, Duration),
    /// The time between two visits to a client.
    pub tick: Duration,
    /// Clients of other shards are served from it too, at moments that are not known here.
    pub is_copied: bool,
}

impl Flow {
    /// The longest rest; `None` when what comes is to be read at once.
    ///
    /// No more comes meanwhile than one read takes and three quarters of what the connection has room for: a sender that has to
    /// wait is a stream that falls behind. And a burst, with which a source begins or makes up for a pause, comes as fast as it is
    /// read: whoever rests from it has its players wait.
    pub(super) fn rest(&self) -> Option<Duration> {
        let rate = u128::from(self.rate.filter(|rate| *rate > 0)?);
        let usual = if self.is_copied { self.tick / 2 } else { (self.tick * 2).min(REST_MAX) };
        let bytes_max = u128::from(self.read_max.min(self.buffer * 3 / 8));
        let fills = Duration::from_micros((bytes_max * 1_000_000 / rate).min(u128::from(u32::MAX)) as u64);
        let rest = usual.min(fills);
        let (came, within) = self.came;
        let is_burst = u128::from(came) > 2 * rate * within.max(self.tick).as_millis() / 1000;
        (rest >= REST_MIN && !is_burst && self.silence < SILENCE).then_some(rest)
    }
}

impl Rest {
    pub(super) fn new(now: Instant) -> Self {
        Self { calls: Signal::default(), looked: Cell::new((now, 0)), came: Cell::new((now, 0)) }
    }

    /// Ends the rest, because a client is about to be served, unless the source has looked within the last half of
    /// a `tick`: clients are met at any time, and one look for each of a few would be as many reads. One that is met between
    /// two looks gets what the last one brought, and the next time all that came since. Clients are met some milliseconds apart
    /// and timers come late by one or two, so with anything near a whole tick somebody is met twice between two looks.
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

    /// Notes that so many bytes have come.
    pub(super) fn came(&self, bytes: u64) {
        let (since, before) = self.came.get();
        self.came.set((since, before + bytes));
    }

    /// What has come since this was asked before, and how long that is ago.
    pub(super) fn take_came(&self, now: Instant) -> (u64, Duration) {
        let (since, bytes) = self.came.replace((now, 0));
        (bytes, now.saturating_duration_since(since))
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
        let (read_max, buffer) = (256 << 10, 4 << 20);
        let (silence, came) = (Duration::ZERO, (0, TICK));
        Flow { silence, rate, read_max, buffer, came, tick: TICK, is_copied: false }
    }

    /// Guards: a source rests no longer than until what came is more than a read takes, or nearly fills the
    /// room there is for it, so that a fast stream is never slowed down by a full socket; a silent or unknown one is waited for; nobody rests for long.
    #[test]
    fn only_a_steady_stream_of_a_known_rate_is_rested_from() {
        let ms = Duration::from_millis;
        assert_eq!(flow(Some(1_000_000)).rest(), Some(2 * TICK));
        assert_eq!(flow(Some(2_500_000)).rest(), Some(2 * TICK));
        assert_eq!(flow(Some(5_242_880)).rest(), Some(ms(50)));
        assert_eq!(flow(Some(100_000_000)).rest(), None);
        assert_eq!(flow(None).rest(), None);
        assert_eq!(flow(Some(0)).rest(), None);
        // The kernel's 128 KiB for a new connection hold 64 KB.
        assert_eq!(Flow { buffer: 131_072, ..flow(Some(512_000)) }.rest(), Some(ms(96)));
        assert_eq!(Flow { buffer: 131_072, ..flow(Some(10_000_000)) }.rest(), None);
        assert_eq!(Flow { silence: SILENCE, ..flow(Some(1000)) }.rest(), None);
        assert_eq!(Flow { is_copied: true, ..flow(Some(1000)) }.rest(), Some(TICK / 2));
        assert_eq!(Flow { tick: TICK * 4, ..flow(Some(1000)) }.rest(), Some(REST_MAX));
        assert_eq!(flow(Some(u64::MAX)).rest(), None);
    }

    /// Guards: what comes faster than the stream plays is read as fast as it comes; a look that was late is no burst.
    #[test]
    fn a_burst_is_not_rested_from() {
        let came = |bytes, within| Flow { came: (bytes, within), ..flow(Some(500_000)) }.rest();
        assert_eq!(came(25_000, TICK), Some(2 * TICK));
        assert_eq!(came(95_000, TICK), None);
        assert_eq!(came(60_000, TICK / 50), None);
        assert_eq!(came(7_500, TICK / 50), Some(2 * TICK));
        assert_eq!(came(95_000, 4 * TICK), Some(2 * TICK));
        let rest = Rest::new(Instant::now());
        let now = Instant::now() + TICK;
        rest.came(3);
        rest.came(4);
        assert_eq!(rest.take_came(now).0, 7);
        assert_eq!(rest.take_came(now + TICK), (0, TICK));
    }

    /// Guards: the walk's call ends a rest, also one that comes between the last look and the rest; a source that has
    /// just looked is left alone, so that many clients do not mean many reads.
    #[test]
    fn a_call_ends_the_rest_unless_the_source_has_just_looked() {
        let now = Instant::now();
        let rest = Rest::new(now);
        let is_over = |rest: &Rest| pin!(rest.calls.after(rest.looked.get().1)).now_or_never().is_some();
        rest.look(now);
        rest.call(now + TICK * 2 / 5, TICK);
        assert!(!is_over(&rest));
        rest.call(now + TICK / 2, TICK);
        assert!(is_over(&rest));
        rest.look(now + TICK);
        assert!(!is_over(&rest));
    }
}
