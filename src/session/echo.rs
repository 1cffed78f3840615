//! Whether a stream brings anything new, or the same media again and again. Pure; the clock is passed in.
//!
//! A broadcaster that died leaves a swarm in which the last minutes are passed around, and an engine plays them for ever. Some
//! access units, picked by their content so that the same ones are picked in every round, are remembered by a hash over the
//! beginning of their first packet's payload: the time stamp and the beginning of what is coded. One that comes again is the
//! same bytes under a clock that has gone back. A still picture is none, since its time stamps go on; neither is a
//! picture that comes again, nor a clock that jumps.
//!
//! Two memories look at the same: one has few units of a long time, the other all of the last moments, for a short round may
//! hold none of the few. Per session, never per client: a header look-up for each packet and a hash for each access unit. Rounds
//! of more than about an hour are not noticed.

use crate::media::ts::Packet;
use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Instant;

/// What a session remembers of its stream.
#[derive(Debug, Default)]
pub(super) struct Echo {
    /// One of 32 units, 16 KiB of them: about one a second of what is seen in broadcasts, for an hour. A replacement that brings
    /// the last seconds again brings new ones soon.
    long: Memory<32, 4096, 16>,
    /// All of the last 1,024 units, 4 KiB: a round of more holds some that the other one has, but for one time in 10^14.
    short: Memory<1, 1024, 512>,
}

/// One of `PICKED_OF` access units, at most `MAX` of them, and whether `KNOWN_MIN` in a row were among them. Looking through 4,096
/// is a microsecond.
#[derive(Debug, Default)]
struct Memory<const PICKED_OF: u64, const MAX: usize, const KNOWN_MIN: u32> {
    /// Oldest first. Half a hash does: it takes `KNOWN_MIN` chance likenesses in a row to be wrong.
    remembered: VecDeque<u32>,
    /// When something new came last.
    new_at: Option<Instant>,
    /// Known units in a row since then.
    known: u32,
}

impl<const PICKED_OF: u64, const MAX: usize, const KNOWN_MIN: u32> Memory<PICKED_OF, MAX, KNOWN_MIN> {
    fn unit(&mut self, now: Instant, hash: u64) {
        if !hash.is_multiple_of(PICKED_OF) {
            return;
        }
        let unit = (hash >> 32) as u32;
        if self.has(unit) {
            self.known = self.known.saturating_add(1);
            return;
        }
        (self.new_at, self.known) = (Some(now), 0);
        if self.remembered.len() >= MAX {
            self.remembered.pop_front();
        }
        self.remembered.push_back(unit);
    }

    /// By pieces without a way out of them, which the processor compares many at a time.
    fn has(&self, unit: u32) -> bool {
        let (older, newer) = self.remembered.as_slices();
        let mut pieces = older.chunks(64).chain(newer.chunks(64));
        pieces.any(|piece| piece.iter().fold(false, |found, known| found | (*known == unit)))
    }

    fn repeats_since(&self) -> Option<Instant> {
        self.new_at.filter(|_| self.known >= KNOWN_MIN)
    }
}

impl Echo {
    /// Looks at whole packets of the stream; access units are those of `pid`.
    pub(super) fn look(&mut self, now: Instant, pid: Option<u16>, packets: &[u8]) {
        let Some(pid) = pid else { return };
        for packet in crate::media::ts::packet::packets(packets) {
            if packet.payload_unit_start() && packet.pid() == pid && !packet.transport_error() {
                self.unit(now, packet);
            }
        }
    }

    fn unit(&mut self, now: Instant, packet: Packet<'_>) {
        let mut hasher = DefaultHasher::new();
        packet.payload().hash(&mut hasher);
        let hash = hasher.finish();
        self.long.unit(now, hash);
        self.short.unit(now, hash);
    }

    /// Since when only what was there before has come; `None` while anything new comes.
    pub(super) fn repeats_since(&self) -> Option<Instant> {
        self.long.repeats_since().or(self.short.repeats_since())
    }

    /// What comes next is another broadcast.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::ts::PACKET;
    use std::time::Duration;

    const PID: u16 = 0x101;

    /// The first packet of an access unit: 25 a second, with a time stamp and the picture's own bytes.
    fn unit(pts: u64, picture: u8) -> [u8; PACKET] {
        let mut packet = [picture; PACKET];
        let [a, b] = PID.to_be_bytes();
        packet[..4].copy_from_slice(&[0x47, 0x40 | a, b, 0x10]);
        packet[4..10].copy_from_slice(&[0, 0, 1, 0xe0, 0, 0]);
        packet[10..18].copy_from_slice(&pts.to_be_bytes());
        packet
    }

    /// Shows so many seconds of what `of` makes of each second's pictures; answers what is said at the end, in seconds from the
    /// beginning.
    fn repeats_since(seconds: u64, of: impl Fn(u64) -> [u8; PACKET]) -> Option<u64> {
        let (mut echo, start) = (Echo::default(), Instant::now());
        for picture in 0..seconds * 25 {
            // Continuity counters differ from round to round.
            let mut packet = of(picture);
            packet[3] |= (picture % 16) as u8;
            echo.look(start + Duration::from_millis(picture * 40), Some(PID), &packet);
        }
        echo.repeats_since().map(|since| since.duration_since(start).as_secs())
    }

    /// Guards: the same minutes over and over are found, and since when; rounds of any length up to what is remembered.
    #[test]
    fn the_same_media_again_is_found() {
        for round in [60, 300, 1800] {
            let since = repeats_since(3 * round, |at| {
                let at = at % (round * 25);
                unit(at * 3600, (at % 251) as u8)
            });
            let since = since.unwrap_or_else(|| panic!("rounds of {round} s are not found"));
            assert!(since < round && since + 20 > round, "{since} s with rounds of {round} s");
        }
        let after = |at: u64| if at < 25 * 600 { at } else { 25 * 500 + at % (25 * 100) };
        let since = repeats_since(1200, |at| unit(after(at) * 3600, 7)).expect("a broadcast that died later");
        assert!((580..600).contains(&since), "{since}");
    }

    /// Guards: a round is found whatever it holds, from a single picture on. Of rounds of a few seconds some hold no unit that the
    /// long memory picks.
    #[test]
    fn short_rounds_are_found() {
        for (round, from) in [1, 2, 25, 50, 125, 200, 500, 1000, 1500]
            .into_iter()
            .flat_map(|n| (0..20).map(move |from| (n, from)))
        {
            let since = repeats_since(round / 25 + 121, |at| unit((from * 10_000 + at % round) * 3600, 7));
            assert!(
                since.is_some_and(|since| since <= round / 25),
                "{since:?} with rounds of {round} pictures"
            );
        }
    }

    /// Guards against a broadcast being taken for a loop that is none: a still picture, pictures that come again under a clock
    /// that goes on, a clock that is set back under other pictures, and a few seconds that come again.
    #[test]
    fn what_goes_on_is_no_loop() {
        assert_eq!(repeats_since(3600, |at| unit(at * 3600, 7)), None, "a still picture");
        assert_eq!(
            repeats_since(3600, |at| unit(at * 3600, (at % 250) as u8)),
            None,
            "a film that comes again"
        );
        let jumping = |at: u64| {
            let mut packet = unit(at % 1500 * 3600, 0);
            packet[20..28].copy_from_slice(&at.to_be_bytes());
            packet
        };
        assert_eq!(repeats_since(3600, jumping), None, "a clock that begins anew each minute");
        let again = |at: u64| if (2500..3000).contains(&at) { at - 250 } else { at };
        assert_eq!(repeats_since(200, |at| unit(again(at) * 3600, 7)), None, "ten seconds that came again");
    }

    /// Guards: what is remembered is bounded, and another broadcast begins with nothing.
    #[test]
    fn memory_is_bounded() {
        let (mut echo, now) = (Echo::default(), Instant::now());
        for at in 0..200_000_u64 {
            echo.look(now, Some(PID), &unit(at, 7));
        }
        assert_eq!((echo.long.remembered.len(), echo.short.remembered.len()), (4096, 1024));
        echo.look(now, None, &unit(0, 7));
        echo.forget();
        assert!(echo.long.remembered.is_empty() && echo.short.remembered.is_empty());
        assert!(echo.repeats_since().is_none());
    }
}
