//! A source that has not been joined to the stream yet: finding the place where it goes on.
//!
//! Its packets are shown to a [`Search`] for the last packets of the stream. Once they are found, what follows is
//! compared with the window until it is level with its head: the next packet is the stream's next. While the source's
//! clock says that the place is still to come, it is read on and dropped. When the place has gone by, or there is
//! nothing to look for, the source is joined by its clock, else at a random access point.
//!
//! A source may also follow one that still plays: then it is only compared, and the stream's end moves on meanwhile.
//!
//! Memory: [`STAGED_BYTES_MAX`], a few times that while a place is in doubt or the source is ahead, and the needle.
//! Work per packet is bounded.
//! Pure but for reading the window; the clock is passed in.

use crate::media::ts::packet::packets;
use crate::media::ts::{Continuity, Event, Needle, PACKET, Packet, Pcr, Rap, Scanner, Search, Tables};
use crate::window::Window;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Staged packets kept: an access unit is recognised within 16 packets of its own id, this is what may lie between.
pub(super) const STAGED_BYTES_MAX: usize = 1 << 20;
/// The same while it is not certain that the place that was found is the only one.
const DOUBT_BYTES_MAX: usize = 4 << 20;
/// What a source that follows may have ahead of the stream.
const AHEAD_BYTES_MAX: usize = 8 << 20;
/// Between two looks for the place of a source that follows: it runs on both sides.
const RESTART_AFTER: Duration = Duration::from_millis(200);
/// How long a source is watched for a second such place, when a clock has been seen to come back.
const DOUBT_TIME: Duration = Duration::from_millis(300);
/// Clocks that differ by more than this do not belong together.
const CLOCK_RANGE: i64 = 60 * 27_000_000;
/// How long, and for how many bytes, the place is looked for in a source that is still in our past. Engines have been
/// seen to begin with five minutes of media.
pub(super) const SEEK_TIME_MAX: Duration = Duration::from_secs(10);
const SEEK_BYTES_MAX: u64 = 512 << 20;
/// How long it is looked for in a source whose clock does not say where it is: a burst comes at once.
pub(super) const SEEK_TIME_UNRELATED: Duration = Duration::from_secs(2);
/// What a source may bring before its first clock reference without counting as one that shows none.
const CLOCKLESS_BYTES: u64 = 1 << 20;
/// What lies between the needle and the head is compared in one piece if it is no more than this.
const BEHIND_BYTES_MAX: u64 = 1 << 20;

/// What is known of the stream's end.
pub(super) struct End {
    /// Its last packets, if there are enough of them to be told from others.
    pub needle: Option<Needle>,
    /// The offset behind its last packet.
    pub head: u64,
    /// Its last clock reference.
    pub clock: Option<Pcr>,
    /// Whether its clock has been seen to jump: then a place may come round again.
    pub is_looped: bool,
}

/// Where a source is joined.
pub(super) enum Join {
    /// With its first staged packet, which is the stream's very next.
    Exactly {
        /// PIDs of tables that do not go on as the window's did.
        unsure: Vec<u16>,
    },
    /// At a staged packet.
    At(Place),
    /// Wherever it is: it has shown no place to begin at.
    Blindly,
}

/// A staged packet to begin at.
pub(super) struct Place {
    /// Where in the staged packets.
    pub at: usize,
    /// Tables in force there.
    pub tables: Arc<Tables>,
    /// Counters known there, for packet ids that do not follow.
    pub continuity: Continuity,
    /// The source's clock there, if it belongs to the stream's.
    pub clock: Option<Pcr>,
}

enum Hunt {
    /// There is nothing to look for, or it has gone by.
    Over,
    /// The needle is being looked for.
    On(Search),
    /// It was found, but the place may not be the only one.
    Doubtful { search: Search, since: Instant, at: u64 },
    /// It was found: what is staged comes behind it and stands for the window's bytes from here on.
    Chasing { cursor: u64 },
}

impl Hunt {
    fn begin(end: &mut End) -> Self {
        end.needle.take().map_or(Self::Over, |needle| Self::On(Search::new(needle)))
    }
}

/// See the module text.
pub(super) struct Replacement {
    scanner: Scanner,
    staged: Vec<u8>,
    /// Bytes seen of the source before `staged`.
    passed: u64,
    /// Since when, and since how many bytes, the place has been looked for.
    since: Instant,
    since_passed: u64,
    pcrs: Vec<(u64, Pcr)>,
    raps: VecDeque<Rap>,
    hunt: Hunt,
    end: End,
    /// The source has been seen in our past.
    has_met: bool,
    /// Where its clock then went beyond ours.
    beyond: Option<u64>,
    /// Tables behind the needle were not as in the window.
    is_loose: bool,
}

impl Replacement {
    /// A source of which nothing has come yet.
    pub(super) fn new(now: Instant, mut end: End) -> Self {
        let hunt = Hunt::begin(&mut end);
        Self {
            scanner: Scanner::new(),
            staged: Vec::new(),
            passed: 0,
            since: now,
            since_passed: 0,
            pcrs: Vec::new(),
            raps: VecDeque::new(),
            hunt,
            end,
            has_met: false,
            beyond: None,
            is_loose: false,
        }
    }

    /// Bytes of the source so far.
    pub(super) fn seen(&self) -> u64 {
        self.passed + self.staged.len() as u64
    }

    /// Bytes of the source that were passed over.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// Takes whole packets in.
    pub(super) fn look(&mut self, now: Instant, new: &[u8]) {
        let offset = self.seen();
        if offset == 0 {
            // An engine may be long in starting: what it sends has its time from then on.
            self.since = now;
        }
        let first = self.pcrs.len();
        let (raps, pcrs) = (&mut self.raps, &mut self.pcrs);
        self.scanner.scan(offset, new, &mut |event| match event {
            Event::RandomAccess(rap) => raps.push_back(rap),
            Event::Pcr { offset: at, .. } => {
                let packet = new[(at - offset) as usize..].first_chunk();
                pcrs.extend(packet.and_then(|bytes| Packet::new(bytes).pcr()).map(|pcr| (at, pcr)));
            }
            _ => {}
        });
        for at in first..self.pcrs.len() {
            self.note_clock(self.pcrs[at]);
        }
        self.staged.extend_from_slice(new);
        let found = self.search(new, offset);
        self.place_at(now, found);
    }

    /// Where to join the source, if that can be told now.
    ///
    /// # Errors
    /// When the window cannot be read.
    pub(super) fn decide(&mut self, now: Instant, window: &Window) -> io::Result<Option<Join>> {
        self.settle_doubt(now);
        if matches!(self.hunt, Hunt::Doubtful { .. }) {
            self.trim(DOUBT_BYTES_MAX + STAGED_BYTES_MAX);
            return Ok(None);
        }
        if self.chase(window)? {
            return Ok(Some(Join::Exactly { unsure: self.unsure() }));
        }
        if self.is_placed() {
            return Ok(None);
        }
        if self.is_hopeful(now) {
            self.trim(STAGED_BYTES_MAX);
            return Ok(None);
        }
        self.hunt = Hunt::Over;
        let join = self.place(now).map(Join::At);
        let is_blind = self.scanner.counters().random_access_points == 0;
        let join = join.or_else(|| (self.is_late(now) && is_blind).then_some(Join::Blindly));
        if join.is_none() {
            self.trim(STAGED_BYTES_MAX);
        }
        Ok(join)
    }

    /// Goes on beside a source that still plays, and says whether this one has what comes behind the stream's last packet.
    ///
    /// # Errors
    /// When the window cannot be read.
    pub(super) fn follow(&mut self, now: Instant, window: &Window) -> io::Result<bool> {
        self.settle_doubt(now);
        let is_level = self.chase(window)?;
        if is_level && self.staged.len() > AHEAD_BYTES_MAX {
            self.hunt = Hunt::Over;
        }
        if !self.is_placed() {
            self.trim(DOUBT_BYTES_MAX);
        }
        Ok(is_level && self.is_placed() && !self.staged.is_empty())
    }

    /// Whether it is known which packet of the stream comes next from this source.
    pub(super) fn is_placed(&self) -> bool {
        matches!(self.hunt, Hunt::Chasing { .. } | Hunt::Doubtful { .. })
    }

    /// Whether a source that follows has to be looked at anew: it began ahead of the stream's end, went past it, or brought
    /// something else.
    pub(super) fn has_lost_its_place(&self, now: Instant) -> bool {
        let is_due = now.saturating_duration_since(self.since) >= RESTART_AFTER;
        is_due && !self.is_placed() && !self.is_hopeful(now)
    }

    /// Looks for the stream's end as it is now, in what is staged and in what comes.
    pub(super) fn restart(&mut self, now: Instant, mut end: End) {
        self.hunt = Hunt::begin(&mut end);
        self.end = end;
        (self.has_met, self.beyond, self.is_loose) = (false, None, false);
        (self.since, self.since_passed) = (now, self.passed);
        for at in 0..self.pcrs.len() {
            self.note_clock(self.pcrs[at]);
        }
        let staged = std::mem::take(&mut self.staged);
        let found = self.search(&staged, self.passed);
        self.staged = staged;
        self.place_at(now, found);
    }

    /// What is staged from here on.
    pub(super) fn take_staged(&mut self, from: usize) -> Vec<u8> {
        self.passed += from as u64;
        let ahead = self.staged.split_off(from);
        self.staged = Vec::new();
        ahead
    }

    fn note_clock(&mut self, (offset, pcr): (u64, Pcr)) {
        let Some(distance) = self.distance(pcr) else { return };
        if distance <= 0 {
            self.has_met = true;
        } else if self.has_met {
            self.beyond.get_or_insert(offset);
        }
    }

    /// How far a clock reference lies behind the stream's last one (negative: before it), if they belong together.
    fn distance(&self, pcr: Pcr) -> Option<i64> {
        let distance = pcr.since(self.end.clock?);
        (-CLOCK_RANGE..=CLOCK_RANGE).contains(&distance).then_some(distance)
    }

    /// Shows packets to the search, and tells behind which one of them the needle ends, and whether it does so once.
    fn search(&mut self, new: &[u8], offset: u64) -> Option<(u64, bool)> {
        let (search, is_second) = match &mut self.hunt {
            Hunt::On(search) => (search, false),
            Hunt::Doubtful { search, .. } => (search, true),
            Hunt::Over | Hunt::Chasing { .. } => return None,
        };
        let mut found = (0u64..).zip(packets(new)).filter(|(_, packet)| search.push(*packet));
        let (index, _) = found.next()?;
        // The whole read is at hand: a second place in it costs nothing to find.
        let is_only = !is_second && found.next().is_none();
        Some((offset + (index + 1) * PACKET as u64, is_only))
    }

    fn place_at(&mut self, now: Instant, found: Option<(u64, bool)>) {
        let Some((at, is_only)) = found else { return };
        let Hunt::On(search) = std::mem::replace(&mut self.hunt, Hunt::Over) else { return };
        if !is_only {
            return;
        }
        if self.end.is_looped || self.scanner.timeline().jumps() > 0 {
            self.hunt = Hunt::Doubtful { search, since: now, at };
        } else {
            self.found(at, search.needle().behind());
        }
    }

    /// A place at which nothing else has come for a while is the only one.
    fn settle_doubt(&mut self, now: Instant) {
        let Hunt::Doubtful { search, since, at } = &self.hunt else { return };
        let staged = self.seen() - at;
        if now.saturating_duration_since(*since) >= DOUBT_TIME || staged >= DOUBT_BYTES_MAX as u64 {
            let (at, behind) = (*at, search.needle().behind());
            self.found(at, behind);
        }
    }

    /// The needle ends before this offset of the source.
    fn found(&mut self, at: u64, behind: usize) {
        self.pass((at - self.passed) as usize);
        self.hunt = Hunt::Chasing { cursor: self.end.head - behind as u64 };
    }

    /// Compares what follows the needle with the window, and drops it as far as it is there. Says whether the source is
    /// level with the head.
    fn chase(&mut self, window: &Window) -> io::Result<bool> {
        let mut there = Vec::new();
        loop {
            let Hunt::Chasing { cursor } = self.hunt else { return Ok(false) };
            if cursor == window.head() {
                return Ok(true);
            }
            let length = self.staged.len().min((window.head() - cursor) as usize);
            if length == 0 {
                return Ok(false);
            }
            there.resize(length, 0);
            if window.read(cursor, &mut there).is_err() {
                // So far behind that the window has released it.
                self.hunt = Hunt::Over;
                return Ok(false);
            }
            let here = &self.staged[..length];
            let same =
                packets(here).zip(packets(&there)).take_while(|(here, there)| here == there).count() * PACKET;
            self.hunt = Hunt::Chasing { cursor: cursor + same as u64 };
            self.pass(same);
            if same < length && !self.pass_over_padding(window)? {
                return Ok(false);
            }
        }
    }

    /// Behind the needle the window had only null packets and tables, and the source has others there: what the window
    /// has is passed over, and the stream goes on with the first packet it lacks. Anything else is another stream.
    fn pass_over_padding(&mut self, window: &Window) -> io::Result<bool> {
        let Hunt::Chasing { cursor } = self.hunt else { return Ok(false) };
        if cursor >= self.end.head {
            self.hunt = Hunt::Over;
            return Ok(false);
        }
        self.is_loose = true;
        let mut there = vec![0; (self.end.head - cursor).min(BEHIND_BYTES_MAX) as usize];
        window.read(cursor, &mut there)?;
        let is_known = |packet: &Packet<'_>| {
            packet.is_null() || packets(&there).any(|known| known.bytes() == packet.bytes())
        };
        let known = packets(&self.staged).take_while(is_known).count() * PACKET;
        self.pass(known);
        if self.staged.is_empty() {
            return Ok(false);
        }
        self.hunt = Hunt::Chasing { cursor: self.end.head };
        Ok(true)
    }

    fn unsure(&self) -> Vec<u16> {
        let pmt_pid = self.scanner.current_tables().map(|tables| tables.pmt_pid);
        if self.is_loose { [0].into_iter().chain(pmt_pid).collect() } else { Vec::new() }
    }

    /// Whether the place may still come.
    fn is_hopeful(&self, now: Instant) -> bool {
        let Hunt::On(_) = self.hunt else { return false };
        let waited = now.saturating_duration_since(self.since);
        match self.pcrs.last().map(|(_, pcr)| self.distance(*pcr)) {
            _ if self.beyond.is_some() => false,
            Some(Some(_)) if self.has_met => !self.is_late(now),
            // It begins behind our end, unless clocks come back in this stream.
            Some(Some(_)) if !self.end.is_looped => false,
            // Too little has come to tell: a clock is shown ten times a second, and an engine may pause before.
            None if self.end.clock.is_some() && self.seen() - self.since_passed < CLOCKLESS_BYTES => {
                !self.is_late(now)
            }
            _ => waited < SEEK_TIME_UNRELATED,
        }
    }

    /// Whether the source has had its time: it is taken where it is, because a picture seen twice beats none.
    fn is_late(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= SEEK_TIME_MAX
            || self.passed - self.since_passed >= SEEK_BYTES_MAX
    }

    /// A staged packet to begin at, without the needle.
    fn place(&self, now: Instant) -> Option<Place> {
        if let Some(beyond) = self.beyond {
            return self.access_unit_from(beyond.max(self.passed));
        }
        if self.has_met && !self.is_late(now) {
            return None;
        }
        // The newest one repeats least; of a source that lies ahead the first one loses least.
        let rap = if self.has_met { self.raps.back() } else { self.raps.front() };
        rap.and_then(|rap| self.access_point(rap.offset))
    }

    /// The first random access point from this offset on.
    fn access_point(&self, from: u64) -> Option<Place> {
        let rap = self.raps.iter().find(|rap| rap.offset >= from)?;
        Some(Place {
            at: (rap.offset - self.passed) as usize,
            tables: rap.tables.clone(),
            continuity: rap.continuity.clone(),
            clock: self.clock_at(rap.offset),
        })
    }

    /// The first access unit from this offset on: the decoder has had all that it refers to.
    fn access_unit_from(&self, from: u64) -> Option<Place> {
        let (tables, pid) = (self.scanner.current_tables()?, self.scanner.access_pid()?);
        let first = (from - self.passed) as usize;
        let starts = |packet: &Packet<'_>| packet.pid() == pid && packet.payload_unit_start();
        let at = first + packets(&self.staged[first..]).position(|packet| starts(&packet))? * PACKET;
        Some(Place {
            at,
            tables: tables.clone(),
            continuity: self.scanner.continuity(),
            clock: self.clock_at(self.passed + at as u64),
        })
    }

    /// The clock value in force at an offset, if it belongs to the stream's: the newest at or before it, else the next
    /// one.
    fn clock_at(&self, offset: u64) -> Option<Pcr> {
        let after = self.pcrs.partition_point(|(at, _)| *at <= offset);
        let (_, pcr) = self.pcrs.get(after.saturating_sub(1))?;
        self.distance(*pcr).map(|_| *pcr)
    }

    /// Drops staged packets beyond a bound.
    fn trim(&mut self, bytes_max: usize) {
        let excess = self.staged.len().saturating_sub(bytes_max).next_multiple_of(PACKET);
        self.pass(excess.min(self.staged.len()));
    }

    /// Drops so many staged bytes, and what points at them.
    fn pass(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.staged.drain(..bytes);
        self.passed += bytes as u64;
        while self.raps.front().is_some_and(|rap| rap.offset < self.passed) {
            self.raps.pop_front();
        }
        let keep = self.pcrs.partition_point(|(offset, _)| *offset < self.passed).saturating_sub(1);
        self.pcrs.drain(..keep);
    }

    /// Memory in use, for the test of its bound.
    #[cfg(test)]
    pub(super) fn memory(&self) -> (usize, usize, usize) {
        (self.staged.len(), self.staged.capacity(), self.pcrs.len().max(self.raps.len()))
    }
}
