//! Segments and playlists over whole histories, held against RFC 8216 section by section.

mod lint;

use super::playlist::{self, Kind};
use super::*;
use crate::media::ts::pes::{PTS_MODULUS, pts};
use crate::media::ts::{Continuity, Event, MediaTime, PACKET, Packet, Scanner, clock, testing};
use lint::Linter;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use testing::{AAC, AUDIO_PID, H264, HEVC, MPEG2, PMT_PID, Parts, VIDEO_PID, Writer, pat, pmt, stamped};

/// 25 pictures a second.
const FRAME_PTS: u64 = 3_600;
/// When the stream of these tests arrives.
const DAWN: Duration = Duration::from_secs(1_700_000_000);

/// A sender whose groups of pictures and clocks a test decides, and the window it fills.
struct Stream {
    writer: Writer,
    codec: u8,
    /// Pictures sent.
    frames: u64,
    clock: u64,
    scanner: Scanner,
    scanned: usize,
    points: Vec<Point>,
    /// Points and breaks the segmenter has not been shown.
    marks: Vec<Mark>,
    /// Where the stream broke off.
    breaks: Vec<u64>,
    head_time: MediaTime,
    tail: u64,
    segmenter: Segmenter,
    linter: Linter,
    /// What each segment held when it was first seen.
    published: BTreeMap<u64, (u64, u64, Vec<u8>)>,
}

impl Stream {
    fn new(codec: u8, first_pts: u64) -> Self {
        let mut stream = Self {
            writer: Writer::new(),
            codec,
            frames: 0,
            clock: first_pts,
            scanner: Scanner::new(),
            scanned: 0,
            points: Vec::new(),
            marks: Vec::new(),
            breaks: Vec::new(),
            head_time: MediaTime::default(),
            tail: 0,
            segmenter: Segmenter::new(0),
            linter: Linter::default(),
            published: BTreeMap::new(),
        };
        stream.tables(0);
        stream
    }

    fn tables(&mut self, version: u8) {
        self.writer.section(0, &pat(version, &[(1, PMT_PID)]));
        let audio: (u8, u16, &[u8]) = (AAC, AUDIO_PID, &[]);
        let streams = [(self.codec, VIDEO_PID, &[][..]), audio];
        let (streams, clock) =
            if self.codec == AAC { (&streams[1..], AUDIO_PID) } else { (&streams[..], VIDEO_PID) };
        self.writer.section(PMT_PID, &pmt(1, version, clock, streams));
    }

    /// One picture, or one piece of audio where there is no video.
    fn frame(&mut self, is_key: bool) {
        let opening: &[u8] = match (self.codec, is_key) {
            (H264, true) => &[0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x67, 0x42],
            (H264, false) => &[0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x41, 0x42],
            (HEVC, true) => &[0, 0, 1, 0x40, 1],
            (HEVC, false) => &[0, 0, 1, 0x02, 1],
            (MPEG2, true) => &[0, 0, 1, 0xb3, 1],
            (MPEG2, false) => &[0, 0, 1, 0x00, 1],
            _ => &[0xff, 0xf1, 0x50],
        };
        let (pid, id) = if self.codec == AAC { (AUDIO_PID, 0xc0) } else { (VIDEO_PID, 0xe0) };
        // Half a second between clock and picture, as senders buffer.
        let time = (self.clock + 45_000) % PTS_MODULUS;
        let payload = stamped(id, time, opening);
        let clock = self.clock % PTS_MODULUS * 300;
        let pcr = Some(crate::media::ts::Pcr::new(clock / 300, 0));
        self.writer.packet(Parts { pid, start: true, pcr, payload: &payload, ..Parts::default() });
        for _ in 0..3 {
            self.writer.packet(Parts { pid, payload: &[0xaa; PACKET - 4], ..Parts::default() });
        }
        self.frames += 1;
        self.clock = (self.clock + FRAME_PTS) % PTS_MODULUS;
        if self.frames.is_multiple_of(10) {
            self.tables(0);
        }
    }

    /// A group of pictures.
    fn group(&mut self, frames: u64) {
        (0..frames).for_each(|frame| self.frame(frame == 0));
    }

    /// Another source: a flagged cut, and its clock somewhere else.
    fn switch(&mut self, clock: u64) {
        self.scan();
        self.broken_at(self.writer.offset());
        for pid in [0, PMT_PID, VIDEO_PID, AUDIO_PID] {
            self.writer.packet(Parts { pid, discontinuity: true, ..Parts::default() });
        }
        self.clock = clock % PTS_MODULUS;
        self.tables(0);
    }

    fn broken_at(&mut self, offset: u64) {
        self.breaks.push(offset);
        let media_time = self.scanner.timeline().media_time_at(offset).unwrap_or_default();
        let (tables, continuity) = (self.scanner.current_tables().cloned(), Continuity::new([]));
        self.marks.push(Mark::Break(Point { offset, media_time, pts: None, tables, continuity }));
    }

    fn scan(&mut self) {
        let bytes = &self.writer.bytes[self.scanned..];
        let (points, head_time) = (&mut self.points, &mut self.head_time);
        let (whole, known) = (&self.writer.bytes, points.len());
        let mut jumps = Vec::new();
        self.scanner.scan(self.scanned as u64, bytes, &mut |event| match event {
            Event::RandomAccess(rap) => points.push(Point {
                offset: rap.offset,
                media_time: rap.media_time,
                pts: pts(Packet::new(whole[rap.offset as usize..].first_chunk().expect("a whole packet"))),
                tables: Some(rap.tables),
                continuity: rap.continuity,
            }),
            Event::Pcr { media_time, step, offset, .. } => {
                *head_time = (*head_time).max(media_time);
                jumps.extend((step == clock::Step::Jump).then_some(offset));
            }
            _ => {}
        });
        self.scanned = self.writer.bytes.len();
        self.marks.extend(self.points[known..].iter().cloned().map(Mark::Access));
        jumps.into_iter().for_each(|offset| self.broken_at(offset));
        self.marks.sort_by_key(Mark::order);
    }

    /// Shows the segmenter what came, and checks all that must hold at any moment.
    fn publish(&mut self) {
        self.scan();
        let marks = std::mem::take(&mut self.marks);
        let head = self.head();
        let timeline = self.scanner.timeline();
        let packets = head.offset / PACKET as u64;
        let offset_at = |time: MediaTime| {
            let before =
                |packet: &u64| timeline.media_time_at(packet * PACKET as u64).is_some_and(|at| at < time);
            let all: Vec<u64> = (0..packets).collect();
            Some(all.partition_point(before) as u64 * PACKET as u64)
        };
        self.segmenter.forget_before(self.tail);
        self.segmenter.advance(marks, head, &offset_at);
        if self.segmenter.kept().len() >= 3 || self.linter.has_seen_any() {
            self.segmenter.publish();
            self.linter.check(&playlist::write(&self.segmenter, Kind::Plain), self.tail == 0);
            lint::check_low_latency(&playlist::write(&self.segmenter, Kind::LowLatency));
        }
        self.check_ranges();
    }

    fn head(&self) -> HeadState {
        let date = DAWN + Duration::from_millis(self.frames * 40);
        HeadState { offset: self.writer.offset(), media_time: self.head_time, date }
    }

    /// No segment changes after it was published; each opens with tables and, decoded alone, misses nothing.
    fn check_ranges(&mut self) {
        let mut last: Option<(u64, u64)> = None;
        for segment in self.segmenter.kept() {
            if let Some((sequence, end)) = last.replace((segment.sequence, segment.end)) {
                assert_eq!(segment.sequence, sequence + 1, "a number was left out");
                assert!(
                    segment.start == end || segment.is_discontinuity && segment.start > end,
                    "media was left out"
                );
            }
            assert!(segment.start < segment.end && segment.start % PACKET as u64 == 0);
            let spans = |at: &&u64| segment.start < **at && **at < segment.end;
            assert_eq!(self.breaks.iter().find(spans), None, "segment {} spans a break", segment.sequence);
            let media = &self.writer.bytes[segment.start as usize..segment.end as usize];
            let bytes = [&segment.opening(media, false), media].concat();
            let known = self.published.entry(segment.sequence).or_insert_with(|| {
                check_alone(&bytes, segment.sequence);
                (segment.start, segment.end, bytes.clone())
            });
            assert_eq!(
                (known.0, known.1),
                (segment.start, segment.end),
                "segment {} changed",
                segment.sequence
            );
            assert!(known.2 == bytes, "segment {} has other bytes", segment.sequence);
            check_parts(segment);
        }
    }

    fn durations(&self) -> Vec<f64> {
        self.segmenter.kept().map(|segment| segment.duration.as_secs_f64()).collect()
    }
}

/// Begins with PAT and PMT, and a fresh receiver counts no continuity error.
fn check_alone(bytes: &[u8], sequence: u64) {
    let pids: Vec<u16> =
        bytes.as_chunks::<PACKET>().0.iter().take(2).map(|bytes| Packet::new(bytes).pid()).collect();
    assert_eq!(pids, [0, PMT_PID], "segment {sequence} does not begin with its tables");
    let mut scanner = Scanner::new();
    scanner.scan(0, bytes, &mut |_| ());
    assert_eq!(scanner.counters().continuity_errors, 0, "segment {sequence}");
}

/// The parts are the segment, in order.
fn check_parts(segment: &Segment) {
    let mut at = segment.start;
    for part in &segment.parts {
        assert_eq!(part.start, at, "parts follow on");
        assert!(part.end > part.start && part.duration <= PART_TARGET);
        at = part.end;
    }
    assert!(segment.parts.is_empty() || at == segment.end, "the parts of {} end early", segment.sequence);
}

fn close(found: &[f64], expected: &[f64]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.002)
}

/// Guards: segments begin at random access points of every codec, and last what their time stamps say. The target duration is that of
/// groups that do not vary.
#[test]
fn segments_are_whole_groups_of_two_seconds_or_more() {
    for codec in [H264, HEVC, MPEG2] {
        let groups = [
            (12, 1.92, 2),
            (25, 2.0, 2),
            (48, 1.92, 2),
            (50, 2.0, 2),
            (60, 2.4, 2),
            (61, 2.44, 3),
            (75, 3.0, 3),
            (100, 4.0, 4),
        ];
        for (frames, expected, target) in groups {
            let mut stream = Stream::new(codec, 77_000);
            for _ in 0..600 / frames {
                stream.group(frames);
                stream.publish();
            }
            let durations = stream.durations();
            assert!(durations.len() >= 4, "{codec:#x} {frames}: {durations:?}");
            assert!(
                close(&durations, &vec![expected; durations.len()]),
                "{codec:#x} {frames}: {durations:?}"
            );
            assert_eq!(stream.segmenter.target(), Duration::from_secs(target), "{codec:#x} {frames}");
        }
    }
}

/// Guards: audio alone is cut where it is long enough, since it can be begun anywhere.
#[test]
fn audio_alone_has_segments_too() {
    let mut stream = Stream::new(AAC, 0);
    for _ in 0..20 {
        stream.group(25);
        stream.publish();
    }
    let durations = stream.durations();
    assert!(durations.len() >= 8 && durations.iter().all(|time| (1.9..2.1).contains(time)), "{durations:?}");
}

/// Guards: the target duration follows the groups a stream has, with room where they vary, and stays what it was.
#[test]
fn the_target_duration_is_chosen_once() {
    for (groups, target) in [
        ([160, 160, 160], 6),
        ([160, 160, 150], 7),
        ([50, 50, 55], 4),
        ([50, 50, 54], 2),
        ([100, 110, 50], 5),
        ([260, 260, 300], 10),
    ] {
        let mut stream = Stream::new(H264, 0);
        for frames in groups.into_iter().chain([1]) {
            stream.group(frames);
            stream.publish();
        }
        assert_eq!(stream.segmenter.target(), Duration::from_secs(target), "{groups:?}");
        for _ in 0..40 {
            stream.group(25);
            stream.publish();
        }
        assert_eq!(stream.segmenter.target(), Duration::from_secs(target), "{groups:?}");
    }
}

/// Guards: a first list is one that players can begin with, three target durations of it: three segments where groups do not
/// vary, and more where they do.
#[test]
fn enough_is_three_target_durations() {
    let of = |groups: &[u64]| {
        let mut stream = Stream::new(H264, 0);
        groups.iter().chain(&[1]).for_each(|frames| stream.group(*frames));
        stream.scan();
        let (marks, head) = (std::mem::take(&mut stream.marks), stream.head());
        stream.segmenter.advance(marks, head, &|_| None);
        stream.segmenter.is_enough()
    };
    assert!(!of(&[]) && !of(&[50]) && !of(&[50; 2]) && of(&[50; 3]));
    assert!(of(&[48; 3]), "a frame or two short of two seconds");
    assert!(!of(&[62; 3]) && of(&[62; 4]), "2.5 s are three seconds and not two");
    assert!(!of(&[75; 2]) && of(&[75; 3]) && !of(&[100; 2]) && of(&[100; 3]));
    assert!(!of(&[50, 75, 50, 75]) && of(&[50, 75, 50, 75, 50]), "groups that vary");
}

/// Guards: an endless group is cut at the target duration, and segments begin at points again as soon as there are.
#[test]
fn an_endless_group_is_cut_by_force() {
    let cut = [
        // Groups that vary have a target duration of four seconds.
        (75, vec![3.0, 2.0, 2.0, 2.0, 4.0, 4.0, 4.0, 3.0, 2.0, 2.0, 2.0], 3),
        (50, vec![2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 2.0, 2.0, 2.0], 7),
    ];
    for (first, expected, cuts) in cut {
        let mut stream = Stream::new(H264, 0);
        for frames in [first, 50, 50, 50] {
            stream.group(frames);
            stream.publish();
        }
        for frame in 0..375 {
            stream.frame(frame == 0);
            if frame % 5 == 0 {
                stream.publish();
            }
        }
        for _ in 0..4 {
            stream.group(50);
            stream.publish();
        }
        let durations = stream.durations();
        assert!(close(&durations, &expected), "{durations:?}");
        let is_point = |segment: &Segment| stream.points.iter().any(|point| point.offset == segment.start);
        let starts: Vec<bool> = stream.segmenter.kept().map(is_point).collect();
        let expected = [vec![true; 5], vec![false; cuts], vec![true; 3]].concat();
        assert_eq!(starts, expected);
    }
}

/// Guards: a stream that never shows a point is cut by the clock.
#[test]
fn a_stream_without_points_is_cut_by_time() {
    let mut stream = Stream::new(H264, 0);
    stream.frame(false);
    stream.scan();
    let point = Point {
        offset: 0,
        media_time: MediaTime::default(),
        pts: None,
        tables: stream.scanner.current_tables().cloned(),
        continuity: stream.scanner.continuity(),
    };
    let head = stream.head();
    stream.segmenter.begin_blindly(point, head);
    for frame in 0..1_500 {
        stream.frame(false);
        if frame % 25 == 0 {
            stream.publish();
        }
    }
    assert!(stream.durations().iter().all(|time| *time == 10.0), "{:?}", stream.durations());
    assert!(stream.durations().len() >= 5);
}

/// Guards: a new source is a discontinuity; numbers, dates and the target go on; the segment before ends at the cut.
#[test]
fn another_source_is_a_discontinuity_and_numbers_go_on() {
    let mut stream = Stream::new(H264, 1_000_000);
    for _ in 0..4 {
        stream.group(50);
        stream.publish();
    }
    stream.frame(true);
    (0..20).for_each(|_| stream.frame(false));
    stream.publish();
    let cut = stream.writer.offset();
    stream.switch(7_000_000);
    for _ in 0..16 {
        stream.group(50);
        stream.publish();
    }
    let flagged: Vec<u64> = stream
        .segmenter
        .kept()
        .filter(|segment| segment.is_discontinuity)
        .map(|segment| segment.sequence)
        .collect();
    assert_eq!(flagged, [5]);
    assert_eq!(stream.segmenter.segment(4).unwrap().end, cut, "the cut itself is in no segment");
    let dates: Vec<Duration> = stream.segmenter.kept().map(|segment| segment.date).collect();
    assert!(dates.is_sorted(), "{dates:?}");
    // Once the tag has left the list, its number stays.
    let listed = playlist::write(&stream.segmenter, Kind::Plain);
    assert!(!listed.contains("#EXT-X-DISCONTINUITY\n"), "{listed}");
    assert!(listed.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n"), "{listed}");
}

/// Guards: a stream that breaks off in the middle of a group ends its segment there, at once, and the next one begins at
/// the first point behind it, or at the break itself when no point comes for a second, as in an endless group.
#[test]
fn no_segment_spans_a_break() {
    for (rest, behind) in [(10, false), (200, true)] {
        let mut stream = Stream::new(H264, 0);
        (0..3).for_each(|_| stream.group(50));
        stream.frame(true);
        (0..20).for_each(|_| stream.frame(false));
        stream.publish();
        let broken = stream.writer.offset();
        stream.switch(5_000_000);
        stream.frame(false);
        stream.publish();
        assert_eq!(stream.segmenter.kept().last().map(|last| last.end), Some(broken), "at once");
        (0..rest).for_each(|_| stream.frame(false));
        (0..4).for_each(|_| stream.group(50));
        stream.publish();
        let next = stream.segmenter.segment(4).expect("it goes on");
        assert!(next.is_discontinuity);
        let is_access = stream.points.iter().any(|point| point.offset == next.start);
        assert_eq!(is_access, !behind, "{rest} pictures behind the break");
        let flags = stream.segmenter.kept().filter(|segment| segment.is_discontinuity).count();
        assert_eq!(flags, 1, "{rest}");
    }
}

/// Guards: other tables, and a clock that jumps unannounced, are discontinuities; the wrap of the clock is none.
#[test]
fn changed_tables_and_jumping_clocks_are_discontinuities_but_a_wrap_is_none() {
    let flags = |stream: &Stream| -> Vec<bool> {
        stream.segmenter.kept().map(|segment| segment.is_discontinuity).collect()
    };
    let run = |change: &dyn Fn(&mut Stream)| {
        let mut stream = Stream::new(H264, PTS_MODULUS - 9 * 90_000);
        (0..3).for_each(|_| stream.group(50));
        stream.publish();
        change(&mut stream);
        (0..4).for_each(|_| stream.group(50));
        stream.publish();
        stream
    };
    let wrapped = run(&|_| ());
    assert_eq!(flags(&wrapped), [false; 6]);
    assert!(close(&wrapped.durations(), &[2.0; 6]), "{:?}", wrapped.durations());
    assert_eq!(flags(&run(&|stream| stream.clock += 900_000)), [false, false, false, true, false, false]);
    assert_eq!(flags(&run(&|stream| stream.clock -= 450_000)), [false, false, false, true, false, false]);
    let versions = run(&|stream| stream.tables(1));
    // The sender of this test goes back to its first tables later on, which is a change again.
    assert!(flags(&versions)[3], "{:?}", flags(&versions));
}

/// Guards: what the window lost is a discontinuity, not a wrong range.
#[test]
fn media_lost_from_the_window_is_left_out_and_flagged() {
    let mut stream = Stream::new(H264, 0);
    (0..5).for_each(|_| stream.group(50));
    stream.publish();
    stream.group(10);
    stream.tail = stream.writer.offset();
    stream.group(50);
    stream.group(50);
    stream.group(50);
    stream.publish();
    let kept: Vec<(u64, bool)> =
        stream.segmenter.kept().map(|segment| (segment.sequence, segment.is_discontinuity)).collect();
    assert_eq!(kept, [(4, true), (5, false)]);
}

/// Guards: the list is long enough to play from and what left it can still be had, bounded.
#[test]
fn twice_as_much_is_kept_as_is_listed() {
    let mut stream = Stream::new(H264, 0);
    for _ in 0..100 {
        stream.group(50);
        stream.publish();
    }
    let listed = stream.segmenter.listed().count();
    let kept = stream.segmenter.kept().len();
    assert_eq!((listed, kept), (12, 34), "24 s and 48 s, and 20 s for the late, of segments of two seconds");
    assert!(stream.segmenter.segment(64).is_none() && stream.segmenter.segment(65).is_some());
    assert!(stream.segmenter.segment(u64::MAX).is_none());
}

/// Guards: an hour with a new source every few minutes: numbers go on without a gap, every playlist is lawful, and what is
/// kept stays as small as it was in the beginning.
#[test]
fn an_hour_of_failovers_keeps_numbers_and_memory() {
    let mut segmenter = Segmenter::new(0);
    let mut linter = Linter::default();
    let mut kept = Vec::new();
    for group in 0..1_800u64 {
        let media_time = MediaTime::from_ticks(group * 2 * 27_000_000);
        let offset = group * 1_880_000;
        let at = |offset| Point {
            offset,
            media_time,
            pts: Some((group * 180_000 + group / 120 * 77_000_000) % PTS_MODULUS),
            tables: None,
            continuity: Continuity::new([]),
        };
        let mut marks = vec![Mark::Access(at(offset))];
        if group > 0 && group.is_multiple_of(120) {
            marks.insert(0, Mark::Break(at(offset - 1_880)));
        }
        let date = DAWN + Duration::from_secs(group * 2);
        segmenter.advance(marks, HeadState { offset: offset + 188, media_time, date }, &|_| None);
        segmenter.forget_before(offset.saturating_sub(60 * 1_880_000));
        if segmenter.kept().len() >= 3 {
            segmenter.publish();
            linter.check(&playlist::write(&segmenter, Kind::Plain), true);
        }
        kept.push(segmenter.kept().len());
    }
    assert_eq!(segmenter.next_sequence(), 1_799);
    let listed = playlist::write(&segmenter, Kind::Plain);
    assert!(listed.contains("#EXT-X-DISCONTINUITY-SEQUENCE:14\n"), "{listed}");
    assert_eq!(kept.iter().max(), Some(&34), "as after the first minutes");
}

/// Guards: parts of a second become known as they come, before their segment is over.
#[test]
fn parts_are_published_before_their_segment_is() {
    let mut stream = Stream::new(H264, 0);
    let mut seen = Vec::new();
    for frame in 0..400 {
        stream.frame(frame % 100 == 0);
        stream.publish();
        seen.push((stream.segmenter.next_sequence(), stream.segmenter.open().unwrap().parts.len()));
    }
    seen.dedup();
    assert_eq!(seen[..6], [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]);
    let parts: Vec<bool> =
        stream.segmenter.segment(1).unwrap().parts.iter().map(|part| part.is_independent).collect();
    assert_eq!(parts, [true, false, false, false]);
}

#[derive(Clone, Debug)]
enum Step {
    Group(u64),
    Endless(u64),
    Switch(u64),
    Jump(i64),
    Tables(u8),
    Lose(u64),
    Publish,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1u64..140).prop_map(Step::Group),
        1 => (140u64..500).prop_map(Step::Endless),
        1 => (0u64..PTS_MODULUS).prop_map(Step::Switch),
        1 => (-900_000i64..900_000).prop_map(Step::Jump),
        1 => (0u8..3).prop_map(Step::Tables),
        1 => (0u64..3_000).prop_map(Step::Lose),
        6 => Just(Step::Publish),
    ];
    prop::collection::vec(step, 10..70)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Guards: whatever a sender does, every playlist obeys RFC 8216, no published segment changes, and each can be
    /// played alone.
    #[test]
    fn every_history_gives_lawful_playlists(first in 0u64..PTS_MODULUS, steps in steps()) {
        let mut stream = Stream::new(H264, first);
        for step in &steps {
            match step {
                Step::Group(frames) | Step::Endless(frames) => stream.group(*frames),
                Step::Switch(clock) => stream.switch(*clock),
                Step::Jump(by) => stream.clock = stream.clock.wrapping_add_signed(*by) % PTS_MODULUS,
                Step::Tables(version) => stream.tables(*version),
                Step::Lose(packets) => {
                    let tail = stream.tail + packets * PACKET as u64;
                    stream.tail = tail.min(stream.writer.offset());
                }
                Step::Publish => stream.publish(),
            }
        }
        stream.publish();
    }
}
