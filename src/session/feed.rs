//! From an engine's packets to the window: one pass, per session and never per client.
//!
//! Packets of the current source are scanned and appended as they are. When the source was replaced, the new one goes
//! through a [`Replacement`] first: if the stream's last packets are found in it, it goes on with the very next one and
//! nothing shows; else it continues the stream behind tables and a flagged discontinuity for every packet id. Pure but
//! for the window's file; the clock is passed in.

mod replacement;

use super::echo::Echo;
use crate::handover::age;
use crate::media::ts::{
    Continuity, Event, MediaTime, NEEDLE_BYTES_MAX, NULL_PID, Needle, PACKET, Packet, Pcr, Scanner,
    StreamKind, Tables, clock::Step, clock::TICKS_PER_S, stitch,
};
use crate::window::{self, AccessIndex, AccessPoint, Budget, Retention, Window};
use replacement::{End, Join, Place, Replacement};
use serde::{Deserialize, Serialize};
use sluice_contract::snapshot::{Amount, SpliceKind, Splices};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Media kept for late and slow clients.
const WINDOW_TIME: Duration = Duration::from_secs(30);
/// The same when memory is short.
const WINDOW_TIME_PRESSED: Duration = Duration::from_secs(10);
/// An engine's first burst beyond real time is kept for the clients that are still playing it, up to this much.
const BURST_TIME_MAX: Duration = Duration::from_secs(120);
/// What is assumed until the stream's clock tells its rate.
const RATE_ASSUMED: u64 = 1 << 20;
/// A stream without tables is played from anywhere once this much of it, or this long, has come.
const BLIND_BYTES: u64 = 4 << 20;
const BLIND_AFTER: Duration = Duration::from_secs(5);
/// The same for a stream whose tables are known: broadcasts have been seen with more than eight seconds between two
/// random access points.
const BLIND_WITH_TABLES_AFTER: Duration = Duration::from_secs(10);
/// How much of the stream's end is read first to find a needle in; more only if that does not hold one.
const NEEDLE_BYTES_FIRST: usize = 1400 * PACKET;
/// Packet ids of former sources that are remembered until they come again.
const UNANNOUNCED_MAX: usize = 128;

/// What a feed has seen; all counts since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Continuity errors of the sources.
    pub continuity_errors: u64,
    /// Discontinuities flagged in the window, the sources' own included.
    pub discontinuities: u64,
    /// Packets of a replacement that were passed over.
    pub discarded_bytes: u64,
    /// How replacements were joined.
    pub splices: Splices,
}

/// What some packets of a source came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// There was media among them; null packets are none.
    pub is_media: bool,
    /// With them a replacement was joined to the stream.
    pub splice: Option<Splice>,
}

/// What some packets of a source that follows came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// There was media among them.
    pub is_media: bool,
    /// The source has what comes behind the stream's last packet.
    pub is_ahead: bool,
}

/// A replacement has been joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splice {
    /// How.
    pub kind: SpliceKind,
    /// What players miss, as far as the clock tells.
    pub lost: Amount,
    /// What they get twice.
    pub repeated: Amount,
}

/// The media of one session.
pub struct Feed {
    window: Window,
    scanner: Scanner,
    /// The source that feeds the stream, as long as it is not joined to it.
    replacement: Option<Replacement>,
    /// A source that may take over from the one that feeds the stream.
    follower: Option<Replacement>,
    unannounced: Vec<Unannounced>,
    /// The last clock reference, and the packet that carried it.
    last_pcr: Option<(u64, Pcr)>,
    /// What lies before did not come from where the present source goes on: no needle reaches back there.
    seam: u64,
    /// Where the stream's clock last jumped, other than where we joined two sources.
    last_jump: Option<u64>,
    /// The next jump of the clock is one that we made.
    is_clock_cut: bool,
    first_media: Option<Instant>,
    raps: Vec<AccessPoint>,
    own_discontinuities: u64,
    /// Flags the scanner saw in packets that we added; ours are counted once per stitch, not once per packet id.
    stitched_flags: u64,
    discarded_bytes: u64,
    splices: Splices,
    kept: Kept,
    /// What comes next is another broadcast than what lies in the window.
    is_other: bool,
    /// Begins anew when another process goes on with the feed.
    echo: Echo,
}

/// A feed as another process is told of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct State<A, S> {
    window: window::State<A>,
    scanner: S,
    unannounced: Vec<Unannounced>,
    last_pcr: Option<(u64, Pcr)>,
    seam: u64,
    last_jump: Option<u64>,
    is_clock_cut: bool,
    #[serde(with = "age::option")]
    first_media: Option<Instant>,
    own_discontinuities: u64,
    stitched_flags: u64,
    discarded_bytes: u64,
    splices: Splices,
    is_other: bool,
}

/// The same as it is read.
pub(super) type Told = State<AccessIndex, Scanner>;

/// What has to stay in the window beyond what continuous players need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// So much of the newest media.
    pub time: Duration,
    /// Everything from this offset on.
    pub from: Option<u64>,
}

/// What of a stream decides how much of it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Bytes per second by its clock.
    pub rate: Option<u64>,
    /// When its first media came.
    pub first_media: Option<Instant>,
}

/// A packet id whose first packet of the new source has to be announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Unannounced {
    pid: u16,
    /// Only if it does not go on where the former source stopped.
    unless_in_order: bool,
}

impl Feed {
    /// A feed into an empty window.
    pub fn new(window: Window) -> Self {
        Self {
            window,
            scanner: Scanner::new(),
            replacement: None,
            follower: None,
            unannounced: Vec::new(),
            last_pcr: None,
            seam: 0,
            last_jump: None,
            is_clock_cut: false,
            first_media: None,
            raps: Vec::new(),
            own_discontinuities: 0,
            stitched_flags: 0,
            discarded_bytes: 0,
            splices: Splices::default(),
            kept: Kept::default(),
            is_other: false,
            echo: Echo::default(),
        }
    }

    /// What another process needs to go on with it, and the window's file. `None` while a source is being joined: what is
    /// known of that is not told.
    pub fn state(&self) -> Option<(State<&AccessIndex, &Scanner>, BorrowedFd<'_>)> {
        if self.replacement.is_some() || self.follower.is_some() {
            return None;
        }
        let (window, file) = self.window.state();
        let state = State {
            window,
            scanner: &self.scanner,
            unannounced: self.unannounced.clone(),
            last_pcr: self.last_pcr,
            seam: self.seam,
            last_jump: self.last_jump,
            is_clock_cut: self.is_clock_cut,
            first_media: self.first_media,
            own_discontinuities: self.own_discontinuities,
            stitched_flags: self.stitched_flags,
            discarded_bytes: self.discarded_bytes,
            splices: self.splices,
            is_other: self.is_other,
        };
        Some((state, file))
    }

    /// Goes on with the feed of another process, with the very next packet.
    ///
    /// # Errors
    /// When the window is not what its state says.
    pub fn going_on(now: Instant, file: OwnedFd, told: Told, budget: &Arc<Budget>) -> io::Result<Self> {
        Ok(Self {
            window: Window::going_on(now, file, told.window, budget)?,
            scanner: told.scanner,
            replacement: None,
            follower: None,
            unannounced: told.unannounced,
            last_pcr: told.last_pcr,
            seam: told.seam,
            last_jump: told.last_jump,
            is_clock_cut: told.is_clock_cut,
            first_media: told.first_media,
            raps: Vec::new(),
            own_discontinuities: told.own_discontinuities,
            stitched_flags: told.stitched_flags,
            discarded_bytes: told.discarded_bytes,
            splices: told.splices,
            is_other: told.is_other,
            kept: Kept::default(),
            echo: Echo::default(),
        })
    }

    /// Has more kept than continuous players need, as far as memory goes.
    pub fn keep(&mut self, kept: Kept) {
        self.kept = kept;
    }

    /// The tables in force at the head.
    pub fn tables(&self) -> Option<&std::sync::Arc<Tables>> {
        self.scanner.current_tables()
    }

    /// The time of an offset on the media clock.
    pub fn media_time_at(&self, offset: u64) -> MediaTime {
        self.scanner.timeline().media_time_at(offset).unwrap_or_default()
    }

    /// The first packet in the window that the media clock shows `time` at, or the head.
    pub fn offset_at(&self, time: MediaTime) -> Option<u64> {
        let timeline = self.scanner.timeline();
        timeline.newest()?;
        let (mut from, mut to) = (self.window.tail() / PACKET as u64, self.window.head() / PACKET as u64);
        while from < to {
            let middle = from + (to - from) / 2;
            match timeline.media_time_at(middle * PACKET as u64) {
                Some(at) if at >= time => to = middle,
                _ => from = middle + 1,
            }
        }
        Some(from * PACKET as u64)
    }

    /// The window.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Takes whole packets of the current source.
    ///
    /// # Errors
    /// When memory is short.
    pub fn take(&mut self, now: Instant, packets: &[u8]) -> io::Result<Taken> {
        let is_media = has_media(packets);
        let splice = match self.replacement.take() {
            None => {
                self.write(now, packets)?;
                None
            }
            Some(mut replacement) => {
                replacement.look(now, packets);
                self.join(now, replacement)?
            }
        };
        Ok(Taken { is_media, splice })
    }

    /// The next packets come from another source.
    pub fn source_changed(&mut self, now: Instant) {
        if let Some(old) = self.replacement.take() {
            self.discarded_bytes += old.seen();
        }
        if self.window.head() > 0 {
            self.replacement = Some(Replacement::new(now, self.end()));
        }
    }

    /// The next source brings another broadcast: nothing of what lies in the window is looked for in it.
    pub fn broadcast_changed(&mut self) {
        self.forget_follower();
        if let Some(old) = self.replacement.take() {
            self.discarded_bytes += old.seen();
        }
        self.is_other = self.window.head() > 0;
        self.echo.forget();
    }

    /// Another source is about to be followed beside the one that feeds the stream.
    pub fn follower_changed(&mut self, now: Instant) {
        self.forget_follower();
        self.follower = Some(Replacement::new(now, self.end()));
    }

    /// The source that follows is given up.
    pub fn forget_follower(&mut self) {
        if let Some(old) = self.follower.take() {
            self.discarded_bytes += old.seen();
        }
    }

    /// Takes whole packets of the source that follows. Nothing of them gets into the stream before it is promoted.
    ///
    /// # Errors
    /// When the window cannot be read.
    pub fn follow(&mut self, now: Instant, packets: &[u8]) -> io::Result<Followed> {
        let Some(mut follower) = self.follower.take() else { return Ok(Followed::default()) };
        follower.look(now, packets);
        if follower.has_lost_its_place(now) {
            follower.restart(now, self.end());
        }
        let is_ahead = follower.follow(now, &self.window)?;
        self.follower = Some(follower);
        Ok(Followed { is_media: has_media(packets), is_ahead })
    }

    /// The source that follows feeds the stream from now on. What it has ahead of the stream is taken at once.
    ///
    /// # Errors
    /// When memory is short.
    pub fn promote(&mut self, now: Instant) -> io::Result<Option<Splice>> {
        let Some(mut follower) = self.follower.take() else { return Ok(None) };
        if let Some(old) = self.replacement.take() {
            self.discarded_bytes += old.seen();
        }
        if !follower.is_placed() {
            follower.restart(now, self.end());
        }
        self.join(now, follower)
    }

    /// Whether media has come that a client can be given.
    pub fn is_joinable(&self, now: Instant) -> bool {
        if !self.window.access().is_empty() {
            return true;
        }
        let waited = self.first_media.map_or(Duration::ZERO, |first| now.saturating_duration_since(first));
        match self.scanner.current_tables() {
            // A picture to begin with will come; at a high rate many megabytes lie between two.
            Some(_) => waited >= BLIND_WITH_TABLES_AFTER,
            None => self.window.head() >= BLIND_BYTES || waited >= BLIND_AFTER,
        }
    }

    /// How much to keep. `needed` is the distance of the hindmost client that keeps up.
    pub fn retention(&self, now: Instant, needed: u64, is_pressed: bool) -> Retention {
        retention(self.pace(), self.kept, &self.window, now, needed, is_pressed)
    }

    /// What decides how much is kept, the window aside.
    pub fn pace(&self) -> Pace {
        Pace { rate: self.rate(), first_media: self.first_media }
    }

    /// The window, for copies of it to be attached and let go of.
    pub(super) fn window_mut(&mut self) -> &mut Window {
        &mut self.window
    }

    /// Moves the window's tail.
    ///
    /// # Errors
    /// When the kernel refuses to release memory.
    pub fn trim(&mut self, now: Instant, needed: u64, is_pressed: bool) -> io::Result<()> {
        let retention = self.retention(now, needed, is_pressed);
        self.window.trim(now, retention)
    }

    /// Bytes per second by the stream's clock.
    pub fn rate(&self) -> Option<u64> {
        self.scanner.timeline().bytes_per_s()
    }

    /// Counters since the session began.
    pub fn counts(&self) -> Counts {
        let counters = self.scanner.counters();
        Counts {
            continuity_errors: counters.continuity_errors,
            discontinuities: self.own_discontinuities + counters.discontinuities - self.stitched_flags,
            discarded_bytes: self.discarded_bytes,
            splices: self.splices,
        }
    }

    /// Formats of the elementary streams, for display.
    pub fn formats(&self) -> Vec<&'static str> {
        let Some(tables) = self.scanner.current_tables() else { return Vec::new() };
        tables.streams.iter().filter_map(|stream| format_name(stream.kind)).collect()
    }

    /// Since when the stream has brought only what it had brought before; `None` while anything new comes.
    pub fn repeats_since(&self) -> Option<Instant> {
        self.echo.repeats_since()
    }

    fn write(&mut self, now: Instant, packets: &[u8]) -> io::Result<()> {
        self.echo.look(now, self.scanner.access_pid(), packets);
        if self.unannounced.is_empty() {
            return self.append(now, packets);
        }
        // Rare: a packet id of the old source has not appeared in the new one yet. Its first packet is announced.
        let (whole, _) = packets.as_chunks::<PACKET>();
        let mut from = 0;
        for (at, bytes) in whole.iter().enumerate() {
            let packet = Packet::new(bytes);
            let Some(index) = self.unannounced.iter().position(|it| it.pid == packet.pid()) else { continue };
            let Unannounced { unless_in_order, .. } = self.unannounced.swap_remove(index);
            self.append(now, &packets[from * PACKET..at * PACKET])?;
            from = at;
            let before = packet.continuity_before();
            if unless_in_order && self.scanner.continuity().last(packet.pid()) == Some(before) {
                continue;
            }
            self.append_stitch(now, &stitch::discontinuity(packet.pid(), before))?;
        }
        self.append(now, &packets[from * PACKET..])
    }

    fn append(&mut self, now: Instant, packets: &[u8]) -> io::Result<()> {
        if packets.is_empty() {
            return Ok(());
        }
        let head = self.window.head();
        self.window.append(packets)?;
        self.first_media.get_or_insert(now);
        let mut newest = None;
        let mut gap = None;
        let mut jumps = Vec::new();
        let Self { raps, scanner, last_pcr, last_jump, is_clock_cut, .. } = self;
        scanner.scan(head, packets, &mut |event| match event {
            Event::RandomAccess(rap) => raps.push(AccessPoint {
                offset: rap.offset,
                media_time: rap.media_time,
                tables: rap.tables,
                continuity: rap.continuity,
            }),
            Event::Pcr { offset, media_time, step, .. } => {
                newest = Some(media_time);
                let packet = packets[(offset - head) as usize..].first_chunk();
                let pcr = packet.and_then(|bytes| Packet::new(bytes).pcr());
                *last_pcr = pcr.map(|pcr| (offset, pcr)).or(*last_pcr);
                if step == Step::Jump && !std::mem::take(is_clock_cut) {
                    *last_jump = Some(offset);
                    jumps.push(offset);
                }
            }
            Event::ContinuityError { offset, .. } => gap = Some(offset),
            Event::Tables { .. } | Event::SourceDiscontinuity { .. } => {}
        });
        // Another engine may have what is missing here: what lies across the gap is not found in it.
        self.seam = gap.unwrap_or(self.seam);
        let tail = self.window.tail();
        for point in self.raps.drain(..).filter(|point| point.offset >= tail) {
            self.window.access_mut().push(point);
        }
        if let Some(time) = newest {
            self.window.access_mut().set_head_time(time);
        }
        jumps.into_iter().for_each(|at| self.window.access_mut().note_break(at));
        Ok(())
    }

    /// What is known of the stream's end.
    fn end(&self) -> End {
        let head = self.window.head();
        if self.is_other {
            return End { needle: None, head, clock: None, is_looped: false };
        }
        let is_looped = self.last_jump.is_some_and(|offset| offset >= self.window.tail());
        End { needle: self.needle(), head, clock: self.last_pcr.map(|(_, pcr)| pcr), is_looped }
    }

    fn needle(&self) -> Option<Needle> {
        let (head, floor) = (self.window.head(), self.seam.max(self.window.tail()));
        let pmt_pid = self.scanner.current_tables().map(|tables| tables.pmt_pid);
        let mut length = NEEDLE_BYTES_FIRST;
        loop {
            let from = head.saturating_sub(length as u64).max(floor);
            let mut bytes = vec![0; (head - from) as usize];
            self.window.read(from, &mut bytes).ok()?;
            let needle = Needle::at_end(&bytes, pmt_pid);
            if needle.is_some() || from == floor || length >= NEEDLE_BYTES_MAX {
                return needle;
            }
            length *= 4;
        }
    }

    /// Joins a replacement if it can be joined now.
    fn join(&mut self, now: Instant, mut new: Replacement) -> io::Result<Option<Splice>> {
        let Some(join) = new.decide(now, &self.window)? else {
            self.replacement = Some(new);
            return Ok(None);
        };
        self.is_other = false;
        let mut splice =
            Splice { kind: SpliceKind::Exact, lost: Amount::default(), repeated: Amount::default() };
        let from = if let Join::At(place) = &join { place.at } else { 0 };
        let ahead = new.take_staged(from);
        self.discarded_bytes += new.passed();
        match join {
            Join::Exactly { unsure } => {
                let announce = |pid| Unannounced { pid, unless_in_order: true };
                self.unannounced.extend(unsure.into_iter().map(announce));
                self.write(now, &ahead)?;
            }
            Join::At(place) => {
                splice.kind = SpliceKind::RandomAccess;
                if let Some(clock) = place.clock {
                    splice.kind = SpliceKind::Clock;
                    (splice.lost, splice.repeated) = self.distance_to(clock);
                }
                self.join_at(now, &place, &ahead)?;
            }
            Join::Blindly => {
                splice.kind = SpliceKind::RandomAccess;
                self.cut();
                self.write(now, &ahead)?;
            }
        }
        self.count(splice);
        Ok(Some(splice))
    }

    fn count(&mut self, splice: Splice) {
        let splices = &mut self.splices;
        *match splice.kind {
            SpliceKind::Exact => &mut splices.exact,
            SpliceKind::Clock => &mut splices.clock,
            SpliceKind::RandomAccess => &mut splices.random_access,
        } += 1;
        splices.lost += splice.lost;
        splices.repeated += splice.repeated;
    }

    /// What lies between the stream's end and this clock value: lost if it is ahead, repeated if it is behind.
    fn distance_to(&self, clock: Pcr) -> (Amount, Amount) {
        let (Some((offset, last)), Some(rate)) = (self.last_pcr, self.rate()) else {
            return Default::default();
        };
        let ticks_of = |bytes: u64| (u128::from(bytes) * u128::from(TICKS_PER_S) / u128::from(rate)) as i64;
        let ahead = clock.since(last) - ticks_of(self.window.head() - offset);
        let time = MediaTime::from_ticks(ahead.unsigned_abs()).since(MediaTime::default());
        let bytes = (time.as_micros() * u128::from(rate) / 1_000_000) as u64;
        let amount = Amount { time, bytes };
        if ahead >= 0 { (amount, Amount::default()) } else { (Amount::default(), amount) }
    }

    fn join_at(&mut self, now: Instant, place: &Place, ahead: &[u8]) -> io::Result<()> {
        self.cut();
        let continuity: Continuity = place.continuity.looking_ahead(ahead);
        let prefix = stitch::skip_prefix(&place.tables, &continuity);
        self.unannounced.retain(|it| continuity.last(it.pid).is_none());
        self.append_stitch(now, &prefix)?;
        self.seam = self.window.head();
        self.write(now, ahead)
    }

    /// What comes next does not continue what is there: every packet id whose counter players know has to be announced,
    /// those included that the last source never brought.
    fn cut(&mut self) {
        self.unannounced.iter_mut().for_each(|it| it.unless_in_order = false);
        for counter in self.scanner.continuity().iter() {
            let is_listed = self.unannounced.iter().any(|it| it.pid == counter.pid);
            if self.unannounced.len() < UNANNOUNCED_MAX && !is_listed {
                self.unannounced.push(Unannounced { pid: counter.pid, unless_in_order: false });
            }
        }
        self.scanner.source_changed();
        self.is_clock_cut = true;
        self.own_discontinuities += 1;
        self.seam = self.window.head();
        self.window.access_mut().note_break(self.seam);
    }

    fn append_stitch(&mut self, now: Instant, packets: &[u8]) -> io::Result<()> {
        let before = self.scanner.counters().discontinuities;
        self.append(now, packets)?;
        self.stitched_flags += self.scanner.counters().discontinuities - before;
        Ok(())
    }
}

/// How much to keep of a window: half a minute, plus what a client that plays the engine's first burst in real time still
/// has before it.
pub(super) fn retention(
    pace: Pace,
    kept: Kept,
    window: &Window,
    now: Instant,
    needed: u64,
    is_pressed: bool,
) -> Retention {
    let rate = pace.rate.unwrap_or(RATE_ASSUMED);
    let bytes = |time: Duration| (time.as_millis() as u64).saturating_mul(rate) / 1000;
    if is_pressed {
        return Retention::new(bytes(WINDOW_TIME_PRESSED), rate);
    }
    let real_time = pace.first_media.map_or(Duration::ZERO, |first| now.saturating_duration_since(first));
    let media = window.access().head_time().since(MediaTime::default());
    let burst = media.saturating_sub(real_time).min(BURST_TIME_MAX);
    let held = kept.from.map_or(0, |from| window.head().saturating_sub(from));
    let base = bytes(WINDOW_TIME.max(kept.time)).max(held);
    let in_burst = needed.saturating_add(1 << 20).min(base + bytes(burst + Duration::from_secs(5)));
    Retention::new(base.max(if burst.is_zero() { 0 } else { in_burst }), rate)
}

/// Whether there are packets other than null packets.
fn has_media(bytes: &[u8]) -> bool {
    bytes.as_chunks::<PACKET>().0.iter().any(|packet| Packet::new(packet).pid() != NULL_PID)
}

fn format_name(kind: StreamKind) -> Option<&'static str> {
    Some(match kind {
        StreamKind::H264 => "h264",
        StreamKind::Hevc => "hevc",
        StreamKind::Mpeg2 => "mpeg2video",
        StreamKind::OtherVideo(_) => "video",
        StreamKind::Audio(0x03 | 0x04) => "mp2",
        StreamKind::Audio(0x0f | 0x11) => "aac",
        StreamKind::Audio(0x81) => "ac3",
        StreamKind::Audio(0x87) => "eac3",
        StreamKind::Audio(_) => "audio",
        StreamKind::Other(_) => return None,
    })
}

#[cfg(test)]
mod splices;
#[cfg(test)]
mod tests;
