//! The program clock: PCR values, media time over stream offsets, and the byte rate that follows from both.
//!
//! A PCR is a 27 MHz counter that wraps every 26.5 hours and may be restarted by the sender at any moment. The
//! [`Timeline`] turns the PCRs of one stream into a media time that only grows, so that "ten seconds behind live" is a
//! subtraction. No wall clock is involved: media time says how long the bytes last, not when they came.

use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, time::Duration};

/// Ticks of the system clock in a second.
pub const TICKS_PER_S: u64 = 27_000_000;

/// A step up to this long between two PCRs is believed whatever the byte rate says. Senders put PCRs at most 100 ms
/// apart by the book; sloppy ones reach a second.
const STEP_TICKS_MAX: u64 = 2 * TICKS_PER_S;
/// A longer step is still believed if so many bytes passed that they last at least this fraction of it.
const STEP_SHARE: u64 = 4;
/// Two anchors are at least this far apart, so that a bounded number of them spans seconds.
const ANCHOR_STEP_TICKS: u64 = TICKS_PER_S / 50;
/// How many anchors are kept; at their smallest distance they span five seconds.
const ANCHORS_MAX: usize = 256;
/// The byte rate is measured over this much of the newest media.
const RATE_WINDOW_TICKS: u64 = 5 * TICKS_PER_S;
/// A new segment's rate replaces the old one once the segment has lasted this long.
const RATE_SETTLED_TICKS: u64 = TICKS_PER_S / 2;

/// A program clock reference in 27 MHz ticks, below [`Pcr::MODULUS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pcr(u64);

impl Pcr {
    /// Where the counter wraps: 2^33 × 300 ticks.
    pub const MODULUS: u64 = (1 << 33) * 300;

    /// Builds a PCR from its 33-bit base (90 kHz) and 9-bit extension. Oversized parts, which no sender can encode
    /// correctly, wrap.
    pub fn new(base: u64, extension: u16) -> Self {
        Self((base * 300 + u64::from(extension)) % Self::MODULUS)
    }

    /// The value in 27 MHz ticks.
    pub fn ticks(self) -> u64 {
        self.0
    }

    /// The shorter way from `earlier` to `self` in ticks, negative if it goes back.
    pub fn since(self, earlier: Self) -> i64 {
        let forward = (self.0 + Self::MODULUS - earlier.0) % Self::MODULUS;
        if forward <= Self::MODULUS / 2 { forward as i64 } else { forward as i64 - Self::MODULUS as i64 }
    }
}

/// A point of media time: 27 MHz ticks since the stream's first PCR, never wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MediaTime(u64);

impl MediaTime {
    /// From ticks of 27 MHz.
    pub fn from_ticks(ticks: u64) -> Self {
        Self(ticks)
    }

    /// In ticks of 27 MHz.
    pub fn ticks(self) -> u64 {
        self.0
    }

    /// The media between `earlier` and `self`, zero if there is none.
    pub fn since(self, earlier: Self) -> Duration {
        let ticks = self.0.saturating_sub(earlier.0);
        Duration::new(ticks / TICKS_PER_S, ((ticks % TICKS_PER_S) * 1_000 / 27) as u32)
    }

    /// The point this much before, or the beginning.
    pub fn back(self, by: Duration) -> Self {
        let ticks = by.as_nanos() * u128::from(TICKS_PER_S) / 1_000_000_000;
        Self(self.0.saturating_sub(u64::try_from(ticks).unwrap_or(u64::MAX)))
    }
}

/// Whether a PCR continued the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The clock went on.
    Steady,
    /// The clock jumped: a new segment begins, media time goes on by the byte rate.
    Jump,
}

/// Media time over the stream offsets of one session.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Timeline {
    /// Known points, oldest first; both fields strictly grow except that times may repeat across a jump.
    anchors: VecDeque<Anchor>,
    newest: Option<(Anchor, Pcr)>,
    /// Where the current segment began.
    segment_offset: u64,
    bytes_per_s: Option<u64>,
    /// The next PCR begins a segment whatever its value.
    cut: bool,
    jumps: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Anchor {
    offset: u64,
    ticks: u64,
}

impl Timeline {
    /// Takes the PCR of the packet at `offset`. Offsets must grow; an older one is ignored.
    pub fn push(&mut self, offset: u64, pcr: Pcr) -> Step {
        let Some((last, last_pcr)) = self.newest else {
            self.begin_segment(Anchor { offset, ticks: 0 }, pcr);
            return Step::Steady;
        };
        if offset <= last.offset {
            return Step::Steady;
        }
        let bytes = offset - last.offset;
        match u64::try_from(pcr.since(last_pcr)) {
            Ok(step) if !self.cut && self.plausible(step, bytes) => {
                self.advance(Anchor { offset, ticks: last.ticks.saturating_add(step) }, pcr);
                Step::Steady
            }
            _ => {
                let ticks = last.ticks.saturating_add(self.lasting(bytes));
                self.begin_segment(Anchor { offset, ticks }, pcr);
                self.jumps += 1;
                Step::Jump
            }
        }
    }

    /// Makes the next PCR begin a new segment: the source changed or announced a new clock.
    pub fn cut(&mut self) {
        self.cut = self.newest.is_some();
    }

    /// The media time of a stream offset: interpolated between PCRs, carried on by the byte rate outside of them.
    /// For any one state it never falls with growing offset. `None` before the first PCR.
    pub fn media_time_at(&self, offset: u64) -> Option<MediaTime> {
        let (last, _) = self.newest?;
        if offset >= last.offset {
            return Some(MediaTime(last.ticks.saturating_add(self.lasting(offset - last.offset))));
        }
        let above = self.anchors.partition_point(|anchor| anchor.offset <= offset);
        let upper = self.anchors.get(above).copied().unwrap_or(last);
        let ticks = match above.checked_sub(1).and_then(|below| self.anchors.get(below)) {
            Some(lower) => interpolate(*lower, upper, offset),
            None => upper.ticks.saturating_sub(self.lasting(upper.offset - offset)),
        };
        Some(MediaTime(ticks))
    }

    /// The newest PCR's media time, `None` before the first PCR.
    pub fn newest(&self) -> Option<MediaTime> {
        self.newest.map(|(anchor, _)| MediaTime(anchor.ticks))
    }

    /// The stream's byte rate per second of media over the last seconds, once two PCRs were seen. Never zero.
    pub fn bytes_per_s(&self) -> Option<u64> {
        self.bytes_per_s
    }

    /// How often the clock jumped.
    pub fn jumps(&self) -> u64 {
        self.jumps
    }

    fn plausible(&self, step: u64, bytes: u64) -> bool {
        step <= STEP_TICKS_MAX || step <= self.lasting(bytes).saturating_mul(STEP_SHARE)
    }

    /// How long this many bytes last at the known rate; zero while it is unknown.
    fn lasting(&self, bytes: u64) -> u64 {
        let Some(rate) = self.bytes_per_s else { return 0 };
        u64::try_from(u128::from(bytes) * u128::from(TICKS_PER_S) / u128::from(rate)).unwrap_or(u64::MAX)
    }

    fn begin_segment(&mut self, anchor: Anchor, pcr: Pcr) {
        self.cut = false;
        self.segment_offset = anchor.offset;
        self.newest = Some((anchor, pcr));
        self.keep(anchor);
    }

    fn advance(&mut self, anchor: Anchor, pcr: Pcr) {
        self.newest = Some((anchor, pcr));
        let due = self.anchors.back().is_none_or(|back| anchor.ticks - back.ticks >= ANCHOR_STEP_TICKS);
        if due {
            self.keep(anchor);
            self.measure(anchor);
        }
    }

    fn keep(&mut self, anchor: Anchor) {
        if self.anchors.len() == ANCHORS_MAX {
            self.anchors.pop_front();
        }
        self.anchors.push_back(anchor);
    }

    fn measure(&mut self, newest: Anchor) {
        let since = newest.ticks.saturating_sub(RATE_WINDOW_TICKS);
        let first = self
            .anchors
            .partition_point(|anchor| anchor.ticks < since || anchor.offset < self.segment_offset);
        let Some(oldest) = self.anchors.get(first) else { return };
        let ticks = newest.ticks - oldest.ticks;
        let settled = ticks >= RATE_SETTLED_TICKS || self.bytes_per_s.is_none();
        if ticks > 0 && settled {
            let bytes = u128::from(newest.offset - oldest.offset);
            let rate = bytes * u128::from(TICKS_PER_S) / u128::from(ticks);
            self.bytes_per_s = Some(u64::try_from(rate).unwrap_or(u64::MAX).max(1));
        }
    }
}

fn interpolate(lower: Anchor, upper: Anchor, offset: u64) -> u64 {
    let span = u128::from(upper.offset - lower.offset).max(1);
    let ticks = u128::from(upper.ticks - lower.ticks) * u128::from(offset - lower.offset) / span;
    lower.ticks + ticks as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 40 ms in ticks, and the bytes that last as long at 1 MB/s.
    const FRAME: u64 = TICKS_PER_S / 25;
    const FRAME_BYTES: u64 = 40_000;

    fn pcr(ticks: u64) -> Pcr {
        Pcr::new(ticks % Pcr::MODULUS / 300, (ticks % 300) as u16)
    }

    /// A timeline after `frames` PCRs from `first` on at 1 MB/s, and the next offset and tick.
    fn run(timeline: &mut Timeline, (mut offset, mut ticks): (u64, u64), frames: u64) -> (u64, u64) {
        for _ in 0..frames {
            timeline.push(offset, pcr(ticks));
            (offset, ticks) = (offset + FRAME_BYTES, ticks + FRAME);
        }
        (offset, ticks)
    }

    #[test]
    fn differences_go_the_shorter_way_round() {
        let cases = [(5, 3, 2), (3, 5, -2), (2, Pcr::MODULUS - 3, 5), (Pcr::MODULUS - 3, 2, -5)];
        for (later, earlier, expected) in cases {
            assert_eq!(pcr(later).since(pcr(earlier)), expected, "{later} since {earlier}");
        }
    }

    #[test]
    fn media_time_and_rate_follow_the_clock() {
        let mut timeline = Timeline::default();
        assert_eq!(timeline.media_time_at(0), None);
        run(&mut timeline, (1000, 77), 100);
        assert_eq!(timeline.bytes_per_s(), Some(1_000_000));
        // Between PCRs, at one, and past the newest.
        for offset in [1000, 500_000, 1_001_000, 3_961_000, 9_001_000] {
            let expected = (offset - 1000) * 27;
            assert_eq!(timeline.media_time_at(offset), Some(MediaTime(expected)), "offset {offset}");
        }
        assert_eq!(timeline.media_time_at(500), Some(MediaTime(0)));
    }

    #[test]
    fn the_wrap_of_the_counter_is_no_jump() {
        let mut timeline = Timeline::default();
        run(&mut timeline, (0, Pcr::MODULUS - 10 * FRAME), 50);
        assert_eq!((timeline.jumps(), timeline.newest()), (0, Some(MediaTime(49 * FRAME))));
    }

    /// A restarted or leaping clock must not move media time: ten seconds behind live stay ten seconds.
    #[test]
    fn a_jump_begins_a_segment_and_media_time_goes_on_by_the_rate() {
        for (name, to) in [("back", 5), ("forward", 9_000 * TICKS_PER_S)] {
            let mut timeline = Timeline::default();
            let (offset, _) = run(&mut timeline, (0, 1_000 * TICKS_PER_S), 100);
            assert_eq!(timeline.push(offset, pcr(to)), Step::Jump, "{name}");
            assert_eq!(timeline.newest(), Some(MediaTime(100 * FRAME)), "{name}");
            run(&mut timeline, (offset + FRAME_BYTES, to + FRAME), 10);
            assert_eq!((timeline.jumps(), timeline.newest()), (1, Some(MediaTime(110 * FRAME))), "{name}");
        }
    }

    /// A sender that sends no PCR for long is believed if the bytes bear it out, and not otherwise.
    #[test]
    fn a_long_step_is_a_jump_unless_as_many_bytes_passed() {
        for (seconds_of_bytes, expected) in [(5, Step::Steady), (0, Step::Jump)] {
            let mut timeline = Timeline::default();
            let (offset, ticks) = run(&mut timeline, (0, 0), 100);
            let step = timeline.push(offset + seconds_of_bytes * 1_000_000, pcr(ticks + 5 * TICKS_PER_S));
            assert_eq!(step, expected, "{seconds_of_bytes} s of bytes");
        }
    }

    #[test]
    fn an_announced_cut_is_a_jump_even_if_the_value_fits() {
        let mut timeline = Timeline::default();
        let (offset, ticks) = run(&mut timeline, (0, 0), 100);
        timeline.cut();
        assert_eq!(timeline.push(offset, pcr(ticks)), Step::Jump);
        assert_eq!(timeline.push(offset + FRAME_BYTES, pcr(ticks + FRAME)), Step::Steady);
    }

    #[test]
    fn the_rate_follows_a_change_within_its_window() {
        let mut timeline = Timeline::default();
        let (mut offset, mut ticks) = run(&mut timeline, (0, 0), 300);
        for _ in 0..130 {
            timeline.push(offset, pcr(ticks));
            (offset, ticks) = (offset + 4 * FRAME_BYTES, ticks + FRAME);
        }
        assert_eq!(timeline.bytes_per_s(), Some(4_000_000));
    }

    /// Bytes whose duration is unknown, because the clock jumped before there was a rate, must not count as fast.
    #[test]
    fn the_rate_is_measured_within_one_segment() {
        let mut timeline = Timeline::default();
        timeline.push(0, pcr(0));
        assert_eq!(timeline.push(10_000_000, pcr(9_000 * TICKS_PER_S)), Step::Jump);
        run(&mut timeline, (10_000_000 + FRAME_BYTES, 9_000 * TICKS_PER_S + FRAME), 10);
        assert_eq!(timeline.bytes_per_s(), Some(1_000_000));
    }

    #[test]
    fn durations_convert_both_ways() {
        let time = MediaTime::from_ticks(30 * TICKS_PER_S);
        let earlier = time.back(Duration::from_millis(9_999));
        assert_eq!(time.since(earlier), Duration::from_millis(9_999));
        assert_eq!(earlier.since(time), Duration::ZERO);
        assert_eq!(MediaTime::default().back(Duration::MAX), MediaTime::default());
    }
}
