//! Where segments and parts begin and end.
//!
//! ```text
//!   points   |     |     |     | (stitch)|     |
//!   segments [  1  2     ][  2  2     ][ D      ...
//! ```
//! A segment begins at a random access point and ends at the first later one that makes it long enough. An endless
//! group of pictures is cut by force at the target duration; the segment behind such a cut ends at the next point,
//! however short it is, so that segments begin at points again. Where the stream does not go on (another source,
//! other tables, a clock that jumps) a segment ends, and the next one is marked as a discontinuity: no segment spans a
//! break (RFC 8216, section 3). It begins at the next point, or where the stream broke off if none comes soon.
//!
//! Durations are those of the presentation time stamps, and the session's media clock stands in where there are none.

use crate::media::ts::pes::{PTS_MODULUS, PTS_PER_S};
use crate::media::ts::{Continuity, MediaTime, PACKET, Tables, clock::TICKS_PER_S, stitch};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Bounds of the target duration, which is what players poll by: the lower one of groups that vary, for the longest so far is
/// none for those to come, and the upper one where a group of pictures counts as endless.
pub const TARGET_MIN: Duration = Duration::from_secs(4);
/// See [`TARGET_MIN`].
pub const TARGET_MAX: Duration = Duration::from_secs(10);
/// Segments that differ by less, and there are so many, are of groups that do not vary: the target duration is theirs. With one of
/// four seconds a player looks for segments of two every other time, and one that begins with the first list runs dry.
const REGULAR: Duration = Duration::from_millis(200);
const REGULAR_SEGMENTS: usize = 3;
/// Target durations a player keeps between itself and the end of a list (RFC 8216, 6.3.3), and by how much segments may miss them
/// that are a frame short of whole seconds.
const FIRST_TARGETS: u32 = 3;
const FIRST_SHORT: Duration = Duration::from_millis(300);
/// How long a part lasts; only the last one of a segment may be shorter.
pub const PART_TARGET: Duration = Duration::from_secs(1);
/// Target durations listed at least (RFC 8216, 6.2.2 asks for three), shorter ones than [`TARGET_MIN`] counted as that, and never
/// fewer than so many segments.
const LISTED_TARGETS: u32 = 6;
const LISTED_SEGMENTS: usize = 6;
/// Target durations a segment can be had for: twice what is listed, and [`SLACK`] beyond.
const KEPT_TARGETS: u32 = 12;
/// Segments kept at most, however short they are.
const SEGMENTS_MAX: usize = 128;
/// For players that are late with a list, or paused for a moment.
const SLACK: Duration = Duration::from_secs(20);
/// A segment is long enough from here on: two seconds, less the frame by which groups of two seconds miss them.
const LONG_ENOUGH: Ticks = 2 * PTS_PER_S - PTS_PER_S / 10;
/// By how much a segment may exceed the target duration: rounded it still equals it (RFC 8216, 4.3.3.1).
const ROUNDING: Ticks = PTS_PER_S * 4 / 10;
/// Time stamps that differ from the media clock by more than this do not go on. Senders buffer up to a few seconds,
/// and by how much they do varies.
const CLOCK_SLACK: u64 = 5 * PTS_PER_S;
/// No segment lasts shorter, for players that divide by it.
const SHORTEST: Ticks = PTS_PER_S / 1000;
/// How much media behind a break is left out while a point may still come: it is hardly ever decodable.
const LEFT_OUT_MAX: Duration = Duration::from_secs(1);

/// Ticks of 90 kHz.
type Ticks = u64;

/// A random access point as the segmenter needs it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Point {
    /// Offset of its first packet.
    pub offset: u64,
    /// Its time on the session's media clock.
    pub media_time: MediaTime,
    /// Its presentation time stamp.
    pub pts: Option<u64>,
    /// The tables in force.
    pub tables: Option<Arc<Tables>>,
    /// The continuity counters before it.
    pub continuity: Continuity,
}

/// A place in the stream that matters to segments.
#[derive(Clone, Debug)]
pub enum Mark {
    /// A random access point.
    Access(Point),
    /// What comes from here on does not continue what came before.
    Break(Point),
}

impl Mark {
    /// In the order of the stream; a break comes before the point that it is made at.
    pub fn order(&self) -> (u64, bool) {
        match self {
            Self::Break(point) => (point.offset, false),
            Self::Access(point) => (point.offset, true),
        }
    }
}

/// How far the stream has come.
#[derive(Clone, Copy, Debug)]
pub struct HeadState {
    /// Offset after the newest packet.
    pub offset: u64,
    /// The newest time on the media clock.
    pub media_time: MediaTime,
    /// The date now, since the Unix epoch.
    pub date: Duration,
}

/// A part of a segment, itself a range of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Offset of its first packet.
    pub start: u64,
    /// Offset after its last.
    pub end: u64,
    /// How long it lasts.
    pub duration: Duration,
    /// Whether decoding can begin with it.
    pub is_independent: bool,
}

/// A segment: a range of the window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Segment {
    /// Its media sequence number.
    pub sequence: u64,
    /// Offset of its first packet.
    pub start: u64,
    /// Offset after its last.
    pub end: u64,
    /// How long it lasts.
    pub duration: Duration,
    /// Whether it does not go on where the segment before ended.
    pub is_discontinuity: bool,
    /// Discontinuities up to and including its own.
    pub discontinuity_sequence: u64,
    /// Date of its first picture, since the Unix epoch.
    pub date: Duration,
    /// Its parts; none if it was over before parts were asked for.
    pub parts: Vec<Part>,
    tables: Option<Arc<Tables>>,
    continuity: Continuity,
}

impl Segment {
    /// What is sent in front of it, or of a part of it: the tables in force, stamped so that those in `range` follow on.
    /// The same range always gives the same bytes.
    pub fn opening(&self, range: &[u8], is_part: bool) -> Vec<u8> {
        let Some(tables) = &self.tables else { return Vec::new() };
        let unknown = Continuity::new([]);
        let before = if is_part { &unknown } else { &self.continuity };
        stitch::join_prefix(tables, &before.looking_ahead(range))
    }
}

/// A place in the stream and its times.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Place {
    offset: u64,
    media_time: MediaTime,
    pts: Option<u64>,
}

impl Place {
    /// Time from `earlier` to here; `None` when the two do not lie on one clock.
    fn since(self, earlier: Self) -> Option<Ticks> {
        let by_clock = self.clock_since(earlier);
        let (Some(pts), Some(before)) = (self.pts, earlier.pts) else { return Some(by_clock) };
        let forward = (pts + PTS_MODULUS - before) % PTS_MODULUS;
        (forward > 0 && forward < PTS_MODULUS / 2 && forward.abs_diff(by_clock) <= CLOCK_SLACK)
            .then_some(forward)
    }

    fn clock_since(self, earlier: Self) -> Ticks {
        self.media_time.ticks().saturating_sub(earlier.media_time.ticks()) / (TICKS_PER_S / PTS_PER_S)
    }

    /// The place this much later on both clocks, at `offset`.
    fn later(self, by: Ticks, offset: u64) -> Self {
        let media_time = MediaTime::from_ticks(self.media_time.ticks() + by * (TICKS_PER_S / PTS_PER_S));
        Self { offset, media_time, pts: self.pts.map(|pts| (pts + by) % PTS_MODULUS) }
    }
}

/// The segment being formed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Open {
    segment: Segment,
    start: Place,
    is_independent: bool,
    part_start: Place,
    has_parts: bool,
}

/// Says which ranges of a stream are segments. One per session, from the first request for HLS on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Segmenter {
    segments: VecDeque<Segment>,
    open: Option<Open>,
    /// Fixed when the first playlist is published.
    target: Option<Duration>,
    next_sequence: u64,
    discontinuities: u64,
    /// Something was lost since the last segment: the next one does not go on.
    is_broken: bool,
    /// Where that was, as long as no segment has begun behind it.
    broken: Option<Point>,
    /// Date of the end of the last segment.
    date_end: Duration,
    /// Offset from which on segments have parts.
    parts_from: u64,
}

impl Segmenter {
    /// A segmenter without segments. Segments that begin before `parts_from` have no parts: nobody plays them with
    /// low latency any more.
    pub fn new(parts_from: u64) -> Self {
        Self {
            segments: VecDeque::new(),
            open: None,
            target: None,
            next_sequence: 0,
            discontinuities: 0,
            is_broken: false,
            broken: None,
            date_end: Duration::ZERO,
            parts_from,
        }
    }

    /// Takes the marks that came since the last call, in order, and how far the stream has come. `offset_at` answers
    /// at which offset the media clock showed a time, for cuts where there is no point.
    ///
    /// Answers whether there is a new segment or part.
    pub fn advance(
        &mut self,
        marks: impl IntoIterator<Item = Mark>,
        head: HeadState,
        offset_at: &dyn Fn(MediaTime) -> Option<u64>,
    ) -> bool {
        let before = self.progress();
        for mark in marks {
            match mark {
                Mark::Access(point) => self.take(point, head, offset_at),
                Mark::Break(point) => self.break_off(point, head, offset_at),
            }
        }
        self.begin_at_break(head.media_time, head);
        let place = Place { offset: head.offset, media_time: head.media_time, pts: None };
        self.cut_by_force(place, head, offset_at);
        self.cut_parts(place, offset_at);
        self.drop_old();
        self.progress() != before
    }

    /// Begins without a point, for a stream that never showed one.
    pub fn begin_blindly(&mut self, point: Point, head: HeadState) {
        if self.open.is_none() {
            self.begin(point, head, false);
        }
    }

    /// Forgets what is no longer in the window.
    pub fn forget_before(&mut self, tail: u64) {
        while self.segments.front().is_some_and(|segment| segment.start < tail) {
            self.segments.pop_front();
        }
        if self.open.as_ref().is_some_and(|open| open.segment.start < tail) {
            self.open = None;
            self.is_broken = true;
        }
    }

    /// Fixes the target duration by the segments there are; to be called before the first playlist is published.
    pub fn publish(&mut self) {
        self.target.get_or_insert_with(|| fitting_target(&self.segments));
    }

    /// Whether a player can begin with what there is and not run dry.
    pub fn is_enough(&self) -> bool {
        let target = self.target.unwrap_or_else(|| fitting_target(&self.segments));
        let time: Duration = self.segments.iter().map(|segment| segment.duration).sum();
        time + FIRST_SHORT >= target * FIRST_TARGETS
    }

    /// The target duration, whole seconds.
    pub fn target(&self) -> Duration {
        self.target.unwrap_or(TARGET_MAX)
    }

    /// How long a segment can be had.
    pub fn kept_for(&self) -> Duration {
        self.target().max(TARGET_MIN) * KEPT_TARGETS + SLACK
    }

    /// The segments a playlist lists now, oldest first.
    pub fn listed(&self) -> impl DoubleEndedIterator<Item = &Segment> + ExactSizeIterator {
        let wanted = ticks(self.target().max(TARGET_MIN) * LISTED_TARGETS);
        let (mut count, mut time) = (0, 0);
        for segment in self.segments.iter().rev() {
            if count >= LISTED_SEGMENTS && time >= wanted {
                break;
            }
            (count, time) = (count + 1, time + ticks(segment.duration));
        }
        self.segments.range(self.segments.len() - count..)
    }

    /// Every segment that can be had, oldest first.
    pub fn kept(&self) -> impl ExactSizeIterator<Item = &Segment> + DoubleEndedIterator {
        self.segments.iter()
    }

    /// A segment that can be had.
    pub fn segment(&self, sequence: u64) -> Option<&Segment> {
        let oldest = self.segments.front()?.sequence;
        self.segments.get(usize::try_from(sequence.checked_sub(oldest)?).ok()?)
    }

    /// The segment of this number, be it finished or still being formed; the latter has no end yet.
    pub fn segment_or_open(&self, sequence: u64) -> Option<&Segment> {
        let open = self.open.as_ref().map(|open| &open.segment);
        self.segment(sequence).or(open.filter(|open| open.sequence == sequence))
    }

    /// The segment being formed, its finished parts included.
    pub fn open(&self) -> Option<&Segment> {
        self.open.as_ref().map(|open| &open.segment)
    }

    /// The number the next segment has, or the one being formed.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Discontinuities in front of what a playlist lists now.
    pub fn discontinuity_sequence(&self) -> u64 {
        match self.listed().next().or(self.open()) {
            // A segment's own tag stands in front of it: the number is that of what came before.
            Some(first) => first.discontinuity_sequence - u64::from(first.is_discontinuity),
            None => self.discontinuities,
        }
    }

    fn progress(&self) -> (u64, usize) {
        (self.next_sequence, self.open.as_ref().map_or(0, |open| open.segment.parts.len()))
    }

    fn take(&mut self, point: Point, head: HeadState, offset_at: &dyn Fn(MediaTime) -> Option<u64>) {
        self.begin_at_break(point.media_time, head);
        let Some(open) = &self.open else { return self.begin(point, head, true) };
        if point.offset <= open.segment.start {
            return;
        }
        let is_changed = match (&open.segment.tables, &point.tables) {
            (Some(old), Some(new)) => old.generation != new.generation,
            _ => false,
        };
        let place = Place { offset: point.offset, media_time: point.media_time, pts: point.pts };
        let has_jumped = is_changed || place.since(open.start).is_none();
        if has_jumped {
            self.break_off(point.clone(), head, offset_at);
            return self.begin(point, head, true);
        }
        self.cut_by_force(place, head, offset_at);
        self.cut_parts(place, offset_at);
        let is_due = self.open.as_ref().is_some_and(|open| {
            !open.is_independent || place.since(open.start).is_some_and(|time| time >= LONG_ENOUGH)
        });
        if is_due {
            self.finish(place);
            self.begin(point, head, true);
        }
    }

    /// Begins where the stream broke off, if there was no point from there `until` a good while later.
    fn begin_at_break(&mut self, until: MediaTime, head: HeadState) {
        let is_long = |broken: &mut Point| until.since(broken.media_time) >= LEFT_OUT_MAX;
        if let Some(broken) = self.broken.take_if(is_long) {
            self.begin_blindly(broken, head);
        }
    }

    /// The stream does not go on from here.
    fn break_off(&mut self, at: Point, head: HeadState, offset_at: &dyn Fn(MediaTime) -> Option<u64>) {
        // One that was there before the segment began is marked already.
        if self.open.as_ref().is_some_and(|open| at.offset <= open.segment.start) {
            return;
        }
        if self.open.is_some() {
            let end = Place { offset: at.offset, media_time: at.media_time, pts: None };
            self.cut_by_force(end, head, offset_at);
            self.cut_parts(end, offset_at);
            self.finish(end);
        }
        self.is_broken = true;
        self.broken = Some(at);
    }

    fn begin(&mut self, point: Point, head: HeadState, is_independent: bool) {
        self.broken = None;
        let start = Place { offset: point.offset, media_time: point.media_time, pts: point.pts };
        let is_discontinuity = self.is_broken && self.next_sequence > 0;
        self.is_broken = false;
        self.discontinuities += u64::from(is_discontinuity);
        let goes_on = self.next_sequence > 0 && !is_discontinuity;
        let arrived = head.date.saturating_sub(head.media_time.since(point.media_time));
        self.open = Some(Open {
            segment: Segment {
                sequence: self.next_sequence,
                start: point.offset,
                end: point.offset,
                duration: Duration::ZERO,
                is_discontinuity,
                discontinuity_sequence: self.discontinuities,
                date: if goes_on { self.date_end } else { arrived.max(self.date_end) },
                parts: Vec::new(),
                tables: point.tables,
                continuity: point.continuity,
            },
            start,
            is_independent,
            part_start: start,
            has_parts: point.offset >= self.parts_from,
        });
    }

    /// Ends the segment being formed; one without any byte is as if it had not begun, but for its discontinuity.
    fn finish(&mut self, end: Place) {
        let Some(mut open) = self.open.take() else { return };
        if end.offset <= open.segment.start {
            self.is_broken |= open.segment.is_discontinuity;
            self.discontinuities -= u64::from(open.segment.is_discontinuity);
            return;
        }
        let longest = ticks(self.target()) + ROUNDING;
        let time = end.since(open.start).unwrap_or_else(|| end.clock_since(open.start));
        let time = time.clamp(SHORTEST, longest);
        let segment = &mut open.segment;
        if open.has_parts && end.offset > open.part_start.offset {
            let before: Duration = segment.parts.iter().map(|part| part.duration).sum();
            let rest = duration(time).saturating_sub(before).clamp(duration(SHORTEST), PART_TARGET);
            let is_independent = open.is_independent && segment.parts.is_empty();
            let start = open.part_start.offset;
            segment.parts.push(Part { start, end: end.offset, duration: rest, is_independent });
        }
        segment.end = end.offset;
        segment.duration = duration(time);
        self.date_end = segment.date + segment.duration;
        self.next_sequence = segment.sequence + 1;
        self.segments.push_back(open.segment);
    }

    /// Cuts a group of pictures that exceeds the target duration before `until`.
    fn cut_by_force(&mut self, until: Place, head: HeadState, offset_at: &dyn Fn(MediaTime) -> Option<u64>) {
        let limit = ticks(self.target());
        while let Some(open) = &self.open {
            let time = until.since(open.start).unwrap_or_else(|| until.clock_since(open.start));
            if time <= limit + ROUNDING {
                return;
            }
            // Parts are whole seconds, as the limit is: where they have come so far, that is the place.
            let place = if open.part_start.clock_since(open.start) >= limit {
                open.part_start
            } else {
                let at = open.start.later(limit, 0);
                let Some(offset) = offset_at(at.media_time) else { return };
                Place { offset: offset - offset % PACKET as u64, ..at }
            };
            if place.offset < open.part_start.offset.max(open.start.offset + 1)
                || place.offset >= until.offset
            {
                return;
            }
            let tables = open.segment.tables.clone();
            self.cut_parts(place, offset_at);
            self.finish(place);
            let point = Point {
                offset: place.offset,
                media_time: place.media_time,
                pts: place.pts,
                tables,
                continuity: Continuity::new([]),
            };
            self.begin(point, head, false);
        }
    }

    /// Cuts the whole parts before `until`.
    fn cut_parts(&mut self, until: Place, offset_at: &dyn Fn(MediaTime) -> Option<u64>) {
        let Some(open) = self.open.as_mut().filter(|open| open.has_parts) else { return };
        let length = ticks(PART_TARGET);
        while until.clock_since(open.part_start) >= length {
            let at = open.part_start.later(length, 0);
            let Some(offset) = offset_at(at.media_time).map(|offset| offset - offset % PACKET as u64) else {
                return;
            };
            if offset <= open.part_start.offset || offset >= until.offset {
                return;
            }
            let is_independent = open.is_independent && open.segment.parts.is_empty();
            let start = open.part_start.offset;
            open.segment.parts.push(Part { start, end: offset, duration: PART_TARGET, is_independent });
            open.part_start = Place { offset, ..at };
        }
    }

    fn drop_old(&mut self) {
        let kept = ticks(self.kept_for());
        let mut behind: Ticks = self.segments.iter().map(|segment| ticks(segment.duration)).sum();
        while let Some(oldest) = self.segments.front() {
            behind -= ticks(oldest.duration);
            if behind < kept && self.segments.len() <= SEGMENTS_MAX {
                return;
            }
            self.segments.pop_front();
        }
    }
}

/// The target duration for segments like these, whole seconds.
fn fitting_target(segments: &VecDeque<Segment>) -> Duration {
    let durations = || segments.iter().map(|segment| segment.duration);
    let (longest, shortest) = (durations().max().unwrap_or_default(), durations().min().unwrap_or_default());
    if segments.len() >= REGULAR_SEGMENTS && longest - shortest < REGULAR {
        // As long as a segment may be by it, see `ROUNDING`.
        let whole = (ticks(longest) + PTS_PER_S - ROUNDING - 1) / PTS_PER_S;
        return Duration::from_secs(whole).clamp(Duration::from_secs(1), TARGET_MAX);
    }
    let whole = Duration::from_secs(longest.as_secs() + u64::from(longest.subsec_nanos() > 0));
    whole.clamp(TARGET_MIN, TARGET_MAX)
}

fn ticks(duration: Duration) -> Ticks {
    duration.as_secs() * PTS_PER_S + u64::from(duration.subsec_nanos()) * PTS_PER_S / 1_000_000_000
}

fn duration(ticks: Ticks) -> Duration {
    // Rounded up to the nanosecond, so that converting back gives the same ticks.
    Duration::from_nanos((ticks * 100_000).div_ceil(9))
}
