//! One pass over the packets of a stream: everything a session needs to know about them.
//!
//! The scanner is shown each whole packet once, with its stream offset, and reports what it finds as [`Event`]s. It
//! keeps tables, continuity counters, clock and the search for random access points in step with each other, so that
//! a [`Rap`] names the tables and counters in force exactly there. It stores no media and changes none.

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
