//! Where the window begins and ends. Pure: the clock is passed in.
//!
//! ```text
//!   0 ........ release mark ........ tail ................ head
//!   released   not offered any more  offered to clients
//!              (sockets may still
//!              hold references)
//! ```
//! Invariants: release mark ≤ tail ≤ head; none of them ever moves back; the release mark is a multiple of [`BLOCK`]
//! and stays at least one block, and two seconds, behind the published tail.

use crate::media::ts::PACKET;
use crate::uring::BLOCK;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long after publishing a tail the pages before it may be released. Media that a socket took before the tail
/// moved has left the send queue by then, or its client is being skipped.
const RELEASE_DELAY: Duration = Duration::from_secs(2);

/// What a window always keeps offered, however slow its stream.
pub const WINDOW_BYTES_MIN: u64 = 8 << 20;

/// And how much of a fast one, so that a whole piece of an engine that delivers in pieces fits: media time.
const OFFERED_TIME_MIN: Duration = Duration::from_secs(4);

/// Memory that is in use but not offered, whatever the rate: the block before the tail, the block the tail stands in,
/// and one more for the reads of one slice. What arrives while releasing lags comes on top.
pub const OVERHEAD_BYTES: u64 = 3 * BLOCK;

/// How much media to keep offered, and what memory that takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Bytes offered.
    bytes: u64,
    /// Bytes in use but not offered.
    overhead: u64,
    /// Bytes offered that playing without losses takes.
    least: u64,
}

impl Retention {
    /// Keeps `bytes` of a stream that brings `rate` bytes per second, but never less than [`WINDOW_BYTES_MIN`].
    pub fn new(bytes: u64, rate: u64) -> Self {
        // Half a second more than the delay, because releases come in whole blocks and at the pace of reads.
        let lag = rate * (RELEASE_DELAY.as_millis() as u64 + 500) / 1000;
        let least = WINDOW_BYTES_MIN.max(rate * OFFERED_TIME_MIN.as_secs());
        Self { bytes: bytes.max(least), overhead: OVERHEAD_BYTES + lag, least }
    }

    /// Bytes offered.
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// The memory that even a spent budget has to give, unless it is too small for the streams it holds.
    pub fn least_bytes(self) -> u64 {
        self.least + self.overhead
    }

    /// The memory this needs, what is not offered included.
    pub fn resident_bytes(self) -> u64 {
        self.bytes + self.overhead
    }

    /// The most that fits into `resident` bytes of memory, at most what was asked for. Never less than one block, so
    /// that a window with a spent budget still plays.
    pub fn within(self, resident: u64) -> Self {
        let bytes = self.bytes.min(resident.saturating_sub(self.overhead)).max(BLOCK);
        Self { bytes, ..self }
    }
}

/// Head, tail and release mark.
#[derive(Debug, Default)]
pub struct Extent {
    head: u64,
    tail: u64,
    release_mark: u64,
    /// Published tails that are not yet old enough to release up to, oldest first: at most a few, one per moved block.
    published: VecDeque<(Instant, u64)>,
}

impl Extent {
    /// One that goes on where another stood; what that one was about to release waits anew. `None` if no window stands so.
    pub fn going_on(now: Instant, head: u64, tail: u64, release_mark: u64) -> Option<Self> {
        let is_sound = release_mark <= tail && tail <= head && release_mark.is_multiple_of(BLOCK);
        let published = VecDeque::from([(now, tail)]);
        is_sound.then_some(Self { head, tail, release_mark, published })
    }

    /// Offset after the newest packet.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Offset of the oldest offered packet.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Everything before it is released.
    pub fn release_mark(&self) -> u64 {
        self.release_mark
    }

    /// Bytes of memory in use.
    pub fn resident(&self) -> u64 {
        self.head - self.release_mark
    }

    /// Publishes `bytes` more behind the head.
    pub fn grow(&mut self, bytes: u64) {
        self.head += bytes;
    }

    /// Publishes the tail that leaves `retention` offered. The tail stands on a packet boundary.
    pub fn retain(&mut self, now: Instant, retention: Retention) {
        let tail = self.head.saturating_sub(retention.bytes);
        let tail = tail - tail % PACKET as u64;
        if tail <= self.tail {
            return;
        }
        // One entry per block is enough to know when a block may go, and keeps the queue short in a burst.
        let newest = self.published.back().map_or(self.release_mark, |(_, tail)| *tail);
        self.tail = tail;
        if tail / BLOCK > newest / BLOCK {
            self.published.push_back((now, tail));
        }
    }

    /// The range that may be released now, if any: whole blocks.
    pub fn releasable(&mut self, now: Instant) -> Option<(u64, u64)> {
        let mut to = self.release_mark;
        while let Some((since, tail)) = self.published.front() {
            if now.saturating_duration_since(*since) < RELEASE_DELAY {
                break;
            }
            to = (tail - tail % BLOCK).saturating_sub(BLOCK).max(to);
            self.published.pop_front();
        }
        (to > self.release_mark).then_some((self.release_mark, to))
    }

    /// Notes that everything before `to` has been released.
    pub fn released(&mut self, to: u64) {
        debug_assert!(to.is_multiple_of(BLOCK) && to + BLOCK <= self.tail, "released too much");
        self.release_mark = self.release_mark.max(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Guards the release rule over arbitrary histories: whole aligned blocks, at least one block and two seconds
    /// behind the published tail, never back. The tails are recorded independently of the extent's own queue.
    fn check(steps: &[(u64, u64, u64)]) {
        let start = Instant::now();
        let mut now = start;
        let mut extent = Extent::default();
        let mut history: Vec<(Instant, u64)> = Vec::new();
        for (packets, retain, wait_ms) in steps {
            now += Duration::from_millis(*wait_ms);
            let before = (extent.head, extent.tail, extent.release_mark);
            extent.grow(packets * PACKET as u64);
            extent.retain(now, Retention::new(*retain, 0));
            history.push((now, extent.tail));
            if let Some((from, to)) = extent.releasable(now) {
                assert_eq!(from, extent.release_mark);
                assert!(from % BLOCK == 0 && to % BLOCK == 0 && from < to);
                let old = history
                    .iter()
                    .rev()
                    .find(|(at, _)| now - *at >= RELEASE_DELAY)
                    .map_or(0, |(_, tail)| *tail);
                assert!(to + BLOCK <= old, "released up to {to}, the tail of two seconds ago is {old}");
                extent.released(to);
            }
            assert!(extent.head >= before.0 && extent.tail >= before.1 && extent.release_mark >= before.2);
            assert!(extent.release_mark <= extent.tail && extent.tail <= extent.head);
            assert_eq!(extent.tail % PACKET as u64, 0);
            assert!(extent.published.len() as u64 <= extent.head / BLOCK + 1);
        }
    }

    proptest! {
        #[test]
        fn releases_keep_their_distance(
            steps in prop::collection::vec((0u64..200_000, 0u64..64 << 20, 0u64..3_000), 1..60)
        ) {
            check(&steps);
        }
    }

    #[test]
    fn memory_follows_the_tail_once_the_delay_is_over() {
        let now = Instant::now();
        let mut extent = Extent::default();
        extent.grow(64 << 20);
        extent.retain(now, Retention::new(8 << 20, 0));
        assert_eq!(extent.releasable(now), None, "released without the delay");
        let (from, to) = extent.releasable(now + RELEASE_DELAY).expect("something is due");
        assert_eq!(from, 0);
        extent.released(to);
        assert!(extent.resident() <= Retention::new(8 << 20, 0).resident_bytes(), "{}", extent.resident());
    }

    #[test]
    fn a_spent_budget_still_leaves_a_window() {
        assert_eq!(Retention::new(0, 0).bytes, WINDOW_BYTES_MIN);
        assert_eq!(Retention::new(30 << 20, 0).within(0).bytes, BLOCK);
        assert_eq!(Retention::new(30 << 20, 0).within(20 << 20).bytes, (20 << 20) - OVERHEAD_BYTES);
    }
}
