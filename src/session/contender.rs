//! The media of a source that races: kept until it is decided whether the stream begins with it.
//!
//! Pure; the clock is passed in. Memory: [`BLIND_BYTES`] and one read.

use crate::media::ts::{Event, Scanner};
use std::time::{Duration, Instant};

/// A source that has shown no random access point is taken as it is once it has brought so much, or for so long: the
/// same as players wait for one in a stream without a race.
const BLIND_BYTES: usize = 4 << 20;
const BLIND_AFTER: Duration = Duration::from_secs(10);

/// One of the two.
pub(super) struct Contender {
    scanner: Scanner,
    packets: Vec<u8>,
    since: Instant,
}

impl Contender {
    /// One of which the first packets come now.
    pub(super) fn new(now: Instant) -> Self {
        Self { scanner: Scanner::new(), packets: Vec::new(), since: now }
    }

    /// Takes whole packets in; whether players could begin with what has come.
    pub(super) fn take(&mut self, now: Instant, packets: &[u8]) -> bool {
        self.scanner.scan(self.packets.len() as u64, packets, &mut |_: Event| {});
        self.packets.extend_from_slice(packets);
        self.scanner.counters().random_access_points > 0
            || self.packets.len() >= BLIND_BYTES
            || now.saturating_duration_since(self.since) >= BLIND_AFTER
    }

    /// All that has come.
    pub(super) fn into_packets(self) -> Vec<u8> {
        self.packets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::ts::PACKET;
    use crate::media::ts::testing::{Writer, seconds};

    /// Guards: media without a random access point decides no race before its time or size is over; with one it does at
    /// once, and nothing of what came before is lost.
    #[test]
    fn a_random_access_point_decides() {
        let now = Instant::now();
        let mut blind = Writer::new();
        for _ in 0..30 {
            blind.filler();
        }
        let media = [blind.bytes.as_slice(), &seconds(2, 0)].concat();
        let mut contender = Contender::new(now);
        let mut reads = media.chunks(PACKET);
        let ready = reads.position(|read| contender.take(now, read)).expect("a picture to begin with came");
        assert!(ready > 30 && reads.len() > 20, "{ready}, {} left", reads.len());
        assert_eq!(contender.into_packets(), media[..(ready + 1) * PACKET]);

        let mut contender = Contender::new(now);
        assert!(!contender.take(now, &blind.bytes));
        assert!(contender.take(now + BLIND_AFTER, &blind.bytes));
        let mut contender = Contender::new(now);
        let reads = 1 + (0..).take_while(|_| !contender.take(now, &blind.bytes)).count();
        assert!(reads * blind.bytes.len() >= BLIND_BYTES && (reads - 1) * blind.bytes.len() < BLIND_BYTES);
    }
}
