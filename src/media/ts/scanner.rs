//! One pass over the packets of a stream: everything a session needs to know about them.
//!
//! The scanner is shown each whole packet once, with its stream offset, and reports what it finds as [`Event`]s. It
//! keeps tables, continuity counters, clock and the search for random access points in step with each other, so that
//! a [`Rap`] names the tables and counters in force exactly there. It stores no media and changes none.

use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, sync::Arc};

use super::{
    access::{Detector, Look},
    clock::{MediaTime, Step, Timeline},
    continuity::{Continuity, Counter, Seen, TRACKED_PIDS_MAX, Tracker},
    packet::{PACKET, Packet},
    psi::{Psi, Tables, Update},
};

/// How many generations of tables [`Scanner::tables`] remembers. A window spans some thirty seconds, in which a
/// channel changes its tables once or twice.
pub const GENERATIONS_MAX: usize = 16;

/// Something found in the stream.
#[derive(Clone, Debug)]
pub enum Event {
    /// New tables came into force behind the packet at this offset.
    Tables {
        /// Their generation, see [`Scanner::tables`].
        generation: u32,
        /// The packet that completed them.
        offset: u64,
    },
    /// A place where a decoder can start. It may be reported up to 16 packets of its PID later.
    RandomAccess(Rap),
    /// The program's clock.
    Pcr {
        /// The packet that carried it.
        offset: u64,
        /// The media time it stands for.
        media_time: MediaTime,
        /// The stream's byte rate, once known.
        bytes_per_s: Option<u64>,
        /// Whether the clock went on or jumped.
        step: Step,
    },
    /// Packets are missing, without announcement.
    ContinuityError {
        /// The packet behind the gap.
        offset: u64,
        /// Whose counter did not go on.
        pid: u16,
        /// The counter that would have followed.
        expected: u8,
        /// The counter found.
        found: u8,
    },
    /// The source announced a discontinuity.
    SourceDiscontinuity {
        /// The packet that did.
        offset: u64,
        /// Whose counter or clock jumps.
        pid: u16,
    },
}

/// A random access point.
#[derive(Clone, Debug)]
pub struct Rap {
    /// The packet in which the access unit starts.
    pub offset: u64,
    /// Its media time; never falls from one point to the next.
    pub media_time: MediaTime,
    /// The generation of the tables in force.
    pub generation: u32,
    /// The tables in force.
    pub tables: Arc<Tables>,
    /// The continuity counters just before `offset`.
    pub continuity: Continuity,
}

/// What was seen since the scanner was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Packets of any kind.
    pub packets: u64,
    /// Null packets.
    pub nulls: u64,
    /// Gaps in a continuity counter that were not announced.
    pub continuity_errors: u64,
    /// Discontinuities the source announced.
    pub discontinuities: u64,
    /// Packets sent twice.
    pub duplicates: u64,
    /// Packets marked as damaged, or without sync byte, or of the reserved form; nothing else in them is believed.
    pub damaged: u64,
    /// Encrypted packets.
    pub scrambled: u64,
    /// Packets of PIDs past the number that is followed.
    pub untracked: u64,
    /// Table sections refused for their CRC or length.
    pub broken_sections: u64,
    /// Random access points.
    pub random_access_points: u64,
}

/// See the module text.
#[derive(Serialize, Deserialize)]
pub struct Scanner {
    tracker: Tracker,
    psi: Psi,
    detector: Detector,
    timeline: Timeline,
    /// The PID whose PCRs count: the tables' choice, or before and without one the first that carries any.
    clock_pid: Option<u16>,
    pending: Option<Pending>,
    /// Counters before the pending access unit; kept apart so that its memory is reused.
    pending_counters: Vec<Counter>,
    generations: VecDeque<Arc<Tables>>,
    newest_rap_time: MediaTime,
    counters: Counters,
}

/// An access unit that may prove to be a random access point.
#[derive(Serialize, Deserialize)]
struct Pending {
    offset: u64,
    media_time: MediaTime,
    tables: Arc<Tables>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// A scanner that has seen nothing.
    pub fn new() -> Self {
        Self {
            tracker: Tracker::new(),
            psi: Psi::default(),
            detector: Detector::default(),
            timeline: Timeline::default(),
            clock_pid: None,
            pending: None,
            pending_counters: Vec::with_capacity(TRACKED_PIDS_MAX),
            generations: VecDeque::with_capacity(GENERATIONS_MAX),
            newest_rap_time: MediaTime::default(),
            counters: Counters::default(),
        }
    }

    /// Looks at whole packets that begin at this stream offset. Offsets grow from call to call; a rest shorter than
    /// a packet is not looked at.
    pub fn scan(&mut self, offset: u64, packets: &[u8], out: &mut impl FnMut(Event)) {
        let (whole, rest) = packets.as_chunks::<PACKET>();
        debug_assert!(rest.is_empty(), "the aligner hands out whole packets");
        for (index, bytes) in whole.iter().enumerate() {
            self.look(offset + (index * PACKET) as u64, Packet::new(bytes), out);
        }
    }

    /// The next packets come from another source that does not continue this one: partial sections and access units,
    /// continuity counters and the clock's phase are forgotten. Counters stay, and so does the generation if the
    /// same tables appear again; until they do there is no random access point. Not to be called when the new source
    /// was spliced exactly, because then nothing changed.
    pub fn source_changed(&mut self) {
        self.tracker.clear();
        self.psi.source_changed();
        self.detector.clear();
        self.pending = None;
        self.timeline.cut();
        self.clock_pid = None;
    }

    /// The tables of a generation, if it is one of the newest [`GENERATIONS_MAX`].
    pub fn tables(&self, generation: u32) -> Option<Arc<Tables>> {
        self.generations.iter().find(|tables| tables.generation == generation).cloned()
    }

    /// The tables in force behind the last packet.
    pub fn current_tables(&self) -> Option<&Arc<Tables>> {
        self.psi.in_force()
    }

    /// Whose access units random access points are looked for in, once tables tell.
    pub fn access_pid(&self) -> Option<u16> {
        self.detector.pid()
    }

    /// The continuity counters behind the last packet.
    pub fn continuity(&self) -> Continuity {
        let mut counters = Vec::with_capacity(TRACKED_PIDS_MAX);
        self.tracker.snapshot(&mut counters);
        Continuity::of_tracked(&counters)
    }

    /// The stream's clock.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// What was seen so far.
    pub fn counters(&self) -> Counters {
        Counters { broken_sections: self.psi.broken_sections(), ..self.counters }
    }

    #[inline]
    fn look(&mut self, offset: u64, packet: Packet<'_>, out: &mut impl FnMut(Event)) {
        self.counters.packets += 1;
        if packet.is_null() {
            self.counters.nulls += 1;
            return;
        }
        if !packet.in_sync() || !packet.counts() {
            self.counters.damaged += 1;
            return;
        }
        self.counters.scrambled += u64::from(packet.scrambled());
        let pid = packet.pid();
        let seen = self.tracker.observe(packet);
        if seen != Seen::InOrder {
            self.note(offset, packet, seen, out);
            if seen == Seen::Duplicate {
                return;
            }
        }
        if packet.has_adaptation() {
            self.look_at_clock(offset, packet, out);
        }
        if self.detector.pid() == Some(pid) {
            self.look_for_access(offset, packet, out);
        } else if self.psi.wants(pid) {
            match self.psi.push(packet) {
                Update::None => {}
                Update::Returned => self.follow(),
                Update::Changed => self.tables_changed(offset, out),
            }
        }
    }

    /// Counts and reports what is out of order, and drops what it tears.
    fn note(&mut self, offset: u64, packet: Packet<'_>, seen: Seen, out: &mut impl FnMut(Event)) {
        let (pid, found) = (packet.pid(), packet.continuity());
        match seen {
            Seen::First | Seen::InOrder => return,
            Seen::Duplicate => {
                self.counters.duplicates += 1;
                return;
            }
            Seen::Untracked => {
                self.counters.untracked += 1;
                return;
            }
            Seen::Gap { expected } => {
                self.counters.continuity_errors += 1;
                out(Event::ContinuityError { offset, pid, expected, found });
            }
            Seen::Flagged => {
                self.counters.discontinuities += 1;
                out(Event::SourceDiscontinuity { offset, pid });
                if self.clock_pid == Some(pid) {
                    self.timeline.cut();
                }
            }
        }
        self.psi.interrupted(pid);
        if self.detector.pid() == Some(pid) {
            self.detector.interrupted();
            self.pending = None;
        }
    }

    fn look_at_clock(&mut self, offset: u64, packet: Packet<'_>, out: &mut impl FnMut(Event)) {
        let Some(pcr) = packet.pcr() else { return };
        if *self.clock_pid.get_or_insert(packet.pid()) != packet.pid() {
            return;
        }
        let step = self.timeline.push(offset, pcr);
        let bytes_per_s = self.timeline.bytes_per_s();
        let media_time = self.timeline.newest().unwrap_or_default();
        out(Event::Pcr { offset, media_time, bytes_per_s, step });
    }

    fn look_for_access(&mut self, offset: u64, packet: Packet<'_>, out: &mut impl FnMut(Event)) {
        if !packet.has_payload() {
            return;
        }
        let look = if packet.payload_unit_start() {
            let look = self.detector.start(packet);
            self.pending = None;
            if look != Look::No {
                self.begin(offset, packet);
            }
            look
        } else if self.pending.is_some() {
            self.detector.more(packet)
        } else {
            return;
        };
        match look {
            Look::Undecided => {}
            Look::No => self.pending = None,
            Look::Yes => self.confirm(out),
        }
    }

    /// Remembers what is in force before the packet that was just observed.
    fn begin(&mut self, offset: u64, packet: Packet<'_>) {
        let Some(tables) = self.psi.in_force() else { return };
        self.tracker.snapshot(&mut self.pending_counters);
        for counter in self.pending_counters.iter_mut().filter(|counter| counter.pid == packet.pid()) {
            counter.last = packet.continuity_before();
        }
        let media_time = self.timeline.media_time_at(offset).unwrap_or_default().max(self.newest_rap_time);
        self.pending = Some(Pending { offset, media_time, tables: Arc::clone(tables) });
    }

    fn confirm(&mut self, out: &mut impl FnMut(Event)) {
        let Some(Pending { offset, media_time, tables }) = self.pending.take() else { return };
        self.newest_rap_time = media_time;
        self.counters.random_access_points += 1;
        let generation = tables.generation;
        let continuity = Continuity::of_tracked(&self.pending_counters);
        out(Event::RandomAccess(Rap { offset, media_time, generation, tables, continuity }));
    }

    fn tables_changed(&mut self, offset: u64, out: &mut impl FnMut(Event)) {
        let Some(tables) = self.psi.in_force() else { return };
        let generation = tables.generation;
        if self.generations.len() == GENERATIONS_MAX {
            self.generations.pop_front();
        }
        self.generations.push_back(Arc::clone(tables));
        out(Event::Tables { generation, offset });
        self.follow();
    }

    /// Looks for clock and random access where the tables in force say.
    fn follow(&mut self) {
        let Some(tables) = self.psi.in_force() else { return };
        self.detector.follow(tables);
        let pids = [Some(tables.pmt_pid), tables.pcr_pid];
        self.tracker.pin(pids.into_iter().flatten().chain(tables.streams.iter().map(|stream| stream.pid)));
        if tables.pcr_pid.is_some() && tables.pcr_pid != self.clock_pid {
            self.clock_pid = tables.pcr_pid;
            self.timeline.cut();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            clock::{Pcr, TICKS_PER_S},
            testing::{
                AAC, AUDIO_PID, H264, PMT_PID, Parts, VIDEO_PID, Writer, in_packets, pat, pes, pmt, seconds,
            },
        },
        *,
    };

    fn scan(scanner: &mut Scanner, offset: u64, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        scanner.scan(offset, bytes, &mut |event| events.push(event));
        events
    }

    fn raps(events: &[Event]) -> Vec<Rap> {
        let points = events.iter().filter_map(|event| match event {
            Event::RandomAccess(rap) => Some(rap.clone()),
            _ => None,
        });
        points.collect()
    }

    fn errors(events: &[Event]) -> Vec<(u16, u8, u8)> {
        let errors = events.iter().filter_map(|event| match *event {
            Event::ContinuityError { pid, expected, found, .. } => Some((pid, expected, found)),
            _ => None,
        });
        errors.collect()
    }

    #[test]
    fn an_ordinary_stream_yields_its_tables_points_clock_and_rate() {
        let bytes = seconds(10, 1_000);
        let mut scanner = Scanner::new();
        let events = scan(&mut scanner, 0, &bytes);
        assert!(errors(&events).is_empty());
        let tables = events.iter().filter(|event| matches!(event, Event::Tables { generation: 1, .. }));
        assert_eq!(tables.count(), 1);
        let second = bytes.len() as u64 / 10;
        let points: Vec<_> = raps(&events).iter().map(|rap| (rap.offset, rap.media_time.ticks())).collect();
        let expected: Vec<_> =
            (0..10).map(|index| (index * second + 2 * PACKET as u64, index * TICKS_PER_S)).collect();
        assert_eq!(points, expected);
        let rate = scanner.timeline().bytes_per_s().expect("many clock references");
        assert!(rate.abs_diff(second) < second / 50, "{rate} instead of {second}");
        assert_eq!(scanner.counters().random_access_points, 10);
        assert_eq!(scanner.counters().packets, bytes.len() as u64 / PACKET as u64);
    }

    /// The snapshot of a point must say what precedes the bytes at its offset, even if it was recognised later.
    #[test]
    fn a_point_carries_the_counters_just_before_it() {
        let mut writer = Writer::new();
        writer.tables();
        *writer.next(AUDIO_PID) = 5;
        writer.audio();
        writer.picture(false, None);
        writer.filler();
        // The access unit's delimiter fills the first packet, its parameters come behind other packets.
        let opening = pes(0xe0, &[0, 0, 1, 9, 0xf0]);
        let offset =
            writer.packet(Parts { pid: VIDEO_PID, start: true, payload: &opening, ..Parts::default() });
        writer.audio();
        writer.tables();
        writer.packet(Parts { pid: VIDEO_PID, payload: &[0, 0, 1, 0x67], ..Parts::default() });
        let found = raps(&scan(&mut Scanner::new(), 0, &writer.bytes));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].offset, offset);
        let counters = [0, PMT_PID, VIDEO_PID, AUDIO_PID].map(|pid| found[0].continuity.last(pid));
        assert_eq!(counters, [Some(0), Some(0), Some(1), Some(5)]);
    }

    #[test]
    fn there_is_no_point_before_the_tables() {
        let mut writer = Writer::new();
        writer.picture(true, None);
        writer.tables();
        let offset = writer.picture(true, None);
        let found = raps(&scan(&mut Scanner::new(), 0, &writer.bytes));
        assert_eq!(found.iter().map(|rap| rap.offset).collect::<Vec<_>>(), [offset]);
    }

    #[test]
    fn points_name_the_generation_in_force_before_them() {
        let mut writer = Writer::new();
        writer.tables();
        let mut scanner = Scanner::new();
        writer.picture(true, None);
        writer.section(PMT_PID, &pmt(1, 1, VIDEO_PID, &[(H264, VIDEO_PID, &[])]));
        writer.picture(true, None);
        let found = raps(&scan(&mut scanner, 0, &writer.bytes));
        assert_eq!(found.iter().map(|rap| rap.generation).collect::<Vec<_>>(), [1, 2]);
        for rap in found {
            assert_eq!(scanner.tables(rap.generation).as_ref(), Some(&rap.tables));
        }
        assert_eq!(scanner.tables(3), None);
    }

    #[test]
    fn a_lost_packet_is_reported_and_tears_the_access_unit_it_was_in() {
        let mut writer = Writer::new();
        writer.tables();
        writer.picture(false, None);
        let opening = pes(0xe0, &[0, 0, 1, 9, 0xf0]);
        writer.packet(Parts { pid: VIDEO_PID, start: true, payload: &opening, ..Parts::default() });
        *writer.next(VIDEO_PID) += 1;
        writer.packet(Parts { pid: VIDEO_PID, payload: &[0, 0, 1, 0x67], ..Parts::default() });
        let mut scanner = Scanner::new();
        let events = scan(&mut scanner, 0, &writer.bytes);
        assert_eq!(errors(&events), [(VIDEO_PID, 2, 3)]);
        assert!(raps(&events).is_empty());
        assert_eq!(scanner.counters().continuity_errors, 1);
    }

    #[test]
    fn an_announced_discontinuity_is_no_error() {
        let mut writer = Writer::new();
        writer.tables();
        writer.picture(true, None);
        *writer.next(VIDEO_PID) += 5;
        let payload = pes(0xe0, &[0, 0, 1, 0x65]);
        let parts =
            Parts { pid: VIDEO_PID, start: true, discontinuity: true, payload: &payload, ..Parts::default() };
        writer.packet(parts);
        let mut scanner = Scanner::new();
        let events = scan(&mut scanner, 0, &writer.bytes);
        assert!(errors(&events).is_empty());
        assert!(
            events.iter().any(|event| matches!(event, Event::SourceDiscontinuity { pid: VIDEO_PID, .. }))
        );
        assert_eq!((raps(&events).len(), scanner.counters().discontinuities), (2, 1));
    }

    #[test]
    fn null_damaged_and_repeated_packets_are_counted_and_ignored() {
        let mut writer = Writer::new();
        writer.tables();
        writer.picture(true, None);
        let mut bytes = writer.bytes;
        let last: [u8; PACKET] = *bytes.last_chunk().expect("a packet was written");
        bytes.extend_from_slice(&last);
        bytes.extend_from_slice(&super::super::stitch::null_packet());
        let mut damaged = last;
        damaged[1] |= 0x80;
        bytes.extend_from_slice(&damaged);
        let mut scanner = Scanner::new();
        let events = scan(&mut scanner, 0, &bytes);
        let counters = scanner.counters();
        assert_eq!((counters.nulls, counters.damaged, counters.duplicates), (1, 1, 1));
        assert_eq!((raps(&events).len(), errors(&events).len()), (1, 0));
    }

    /// Only the clock the tables name counts; another program's must not disturb media time.
    #[test]
    fn a_foreign_clock_is_ignored() {
        let mut writer = Writer::new();
        writer.tables();
        for step in 0..10 {
            writer.picture(step == 0, Some(Pcr::new(step * 3_600, 0)));
            let foreign = Some(Pcr::new(1 << 32, 0));
            writer.packet(Parts { pid: 0x200, pcr: foreign, ..Parts::default() });
        }
        let mut scanner = Scanner::new();
        scan(&mut scanner, 0, &writer.bytes);
        assert_eq!(scanner.timeline().jumps(), 0);
        assert_eq!(scanner.timeline().newest(), Some(MediaTime::from_ticks(9 * 1_080_000)));
    }

    /// A time guessed from the byte rate may turn out too late; points must still not go back behind each other.
    #[test]
    fn media_time_never_falls_from_point_to_point() {
        let mut writer = Writer::new();
        writer.tables();
        for step in 0..10 {
            writer.picture(false, Some(Pcr::new(step * 3_600, 0)));
        }
        for _ in 0..50 {
            writer.filler();
        }
        writer.picture(true, None);
        writer.picture(true, Some(Pcr::new(10 * 3_600, 0)));
        let times: Vec<_> =
            raps(&scan(&mut Scanner::new(), 0, &writer.bytes)).iter().map(|rap| rap.media_time).collect();
        assert!(times[0].ticks() > 20 * 1_080_000, "the guess must be one that is too late");
        assert_eq!(times[1], times[0]);
    }

    #[test]
    fn audio_without_video_can_be_joined_at_every_start() {
        let mut writer = Writer::new();
        writer.section(0, &pat(0, &[(1, PMT_PID)]));
        writer.section(PMT_PID, &pmt(1, 0, AUDIO_PID, &[(AAC, AUDIO_PID, &[])]));
        let starts: Vec<u64> = (0..3).map(|_| writer.audio()).collect();
        let found = raps(&scan(&mut Scanner::new(), 0, &writer.bytes));
        assert_eq!(found.iter().map(|rap| rap.offset).collect::<Vec<_>>(), starts);
    }

    /// A new source brings other counters and another clock: neither is an error, and what it shares stays.
    #[test]
    fn a_changed_source_is_met_without_errors_or_a_leap_in_media_time() {
        let first = seconds(3, 5_000 * TICKS_PER_S);
        let mut scanner = Scanner::new();
        let before = raps(&scan(&mut scanner, 0, &first));
        scanner.source_changed();
        assert_eq!(scanner.current_tables(), None);
        let offset = first.len() as u64;
        let mut second = seconds(3, 0);
        second.drain(..PACKET * 100);
        let events = scan(&mut scanner, offset, &second);
        assert!(errors(&events).is_empty());
        assert!(!events.iter().any(|event| matches!(event, Event::Tables { .. })));
        let after = raps(&events);
        assert_eq!(after.len(), 2, "the second's first tables were cut off");
        assert_eq!(after[0].generation, before[0].generation);
        let gap = after[0].media_time.since(before[2].media_time).as_millis();
        assert!((1_000..3_000).contains(&gap), "{gap} ms");
        assert_eq!(scanner.counters().packets, (first.len() + second.len()) as u64 / PACKET as u64);
    }

    /// Another source's clock is another clock, even where its value happens to fit.
    #[test]
    fn a_changed_source_begins_a_segment_of_the_clock() {
        let first = seconds(2, 0);
        let mut scanner = Scanner::new();
        scan(&mut scanner, 0, &first);
        scanner.source_changed();
        // Joined behind its tables, so that the clock comes before them.
        scan(&mut scanner, first.len() as u64, &seconds(2, 2 * TICKS_PER_S)[2 * PACKET..]);
        assert_eq!(scanner.timeline().jumps(), 1);
    }

    /// A section torn by a lost packet must not be completed by the next repetition's end.
    #[test]
    fn a_torn_table_is_not_taken() {
        let many: Vec<(u8, u16, &[u8])> = (0..60).map(|index| (AAC, 0x200 + index, &[][..])).collect();
        let packets = in_packets(PMT_PID, 0, &pmt(1, 0, 0x200, &many));
        let mut writer = Writer::new();
        writer.section(0, &pat(0, &[(1, PMT_PID)]));
        writer.bytes.extend_from_slice(&packets[0]);
        let mut skipped = packets[1];
        skipped[3] += 1;
        writer.bytes.extend_from_slice(&skipped);
        let mut scanner = Scanner::new();
        scan(&mut scanner, 0, &writer.bytes);
        assert_eq!((scanner.current_tables(), scanner.counters().broken_sections), (None, 0));
    }
}
