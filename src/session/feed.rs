//! From an engine's packets to the window: one pass, per session and never per client.
//!
//! Packets of the current source are scanned and appended as they are. When the source was replaced, its packets are
//! staged first, until a random access point that does not lie in our past; from there on they continue the stream,
//! behind tables and a flagged discontinuity for every packet id. Pure but for the window's file; the clock is passed
//! in.

use crate::media::ts::{
    Continuity, Event, MediaTime, NULL_PID, PACKET, Packet, Pcr, Scanner, StreamKind, Tables, stitch,
};
use crate::window::{AccessPoint, Retention, Window};
use std::io;
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
/// Staged packets kept: an access unit is recognised within 16 packets of its own id, this is what may lie between.
const STAGED_BYTES_MAX: usize = 512 << 10;
/// Clocks that differ by more than this do not belong together.
const CLOCK_RANGE: i64 = 60 * 27_000_000;
/// A replacement that stays in our past that long, or for that many bytes, is taken where it is.
const SEEK_TIME_MAX: Duration = Duration::from_secs(10);
const SEEK_BYTES_MAX: u64 = 64 << 20;

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
}

/// The media of one session.
pub struct Feed {
    window: Window,
    scanner: Scanner,
    replacement: Option<Replacement>,
    /// Packet ids whose first packet of the new source has to be announced.
    unannounced: Vec<u16>,
    last_pcr: Option<Pcr>,
    first_media: Option<Instant>,
    raps: Vec<AccessPoint>,
    own_discontinuities: u64,
    /// Flags the scanner saw in packets that we added; ours are counted once per stitch, not once per packet id.
    stitched_flags: u64,
    discarded_bytes: u64,
    kept: Kept,
}

/// What has to stay in the window beyond what continuous players need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// So much of the newest media.
    pub time: Duration,
    /// Everything from this offset on.
    pub from: Option<u64>,
}

/// A source that has not been joined to the stream yet.
struct Replacement {
    scanner: Scanner,
    staged: Vec<u8>,
    /// Bytes seen of it before `staged`.
    passed: u64,
    since: Instant,
    pcrs: Vec<(u64, Pcr)>,
}

impl Feed {
    /// A feed into an empty window.
    pub fn new(window: Window) -> Self {
        Self {
            window,
            scanner: Scanner::new(),
            replacement: None,
            unannounced: Vec::new(),
            last_pcr: None,
            first_media: None,
            raps: Vec::new(),
            own_discontinuities: 0,
            stitched_flags: 0,
            discarded_bytes: 0,
            kept: Kept::default(),
        }
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

    /// Takes whole packets of the current source and returns whether there was media among them (null packets are
    /// none).
    ///
    /// # Errors
    /// When memory is short.
    pub fn take(&mut self, now: Instant, packets: &[u8]) -> io::Result<bool> {
        let useful =
            packets.as_chunks::<PACKET>().0.iter().any(|packet| Packet::new(packet).pid() != NULL_PID);
        match self.replacement.take() {
            None => self.write(now, packets)?,
            Some(replacement) => self.stage(now, replacement, packets)?,
        }
        Ok(useful)
    }

    /// The next packets come from another source.
    pub fn source_changed(&mut self, now: Instant) {
        if self.window.head() == 0 {
            return;
        }
        self.discard_staged();
        self.replacement = Some(Replacement {
            scanner: Scanner::new(),
            staged: Vec::new(),
            passed: 0,
            since: now,
            pcrs: Vec::new(),
        });
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

    /// How much to keep: half a minute, plus what a client that plays the engine's first burst in real time still has
    /// before it. `needed` is the distance of the hindmost client that keeps up.
    pub fn retention(&self, now: Instant, needed: u64, is_pressed: bool) -> Retention {
        let rate = self.rate().unwrap_or(RATE_ASSUMED);
        let bytes = |time: Duration| (time.as_millis() as u64).saturating_mul(rate) / 1000;
        if is_pressed {
            return Retention::new(bytes(WINDOW_TIME_PRESSED), rate);
        }
        let real_time = self.first_media.map_or(Duration::ZERO, |first| now.saturating_duration_since(first));
        let media = self.window.access().head_time().since(MediaTime::default());
        let burst = media.saturating_sub(real_time).min(BURST_TIME_MAX);
        let held = self.kept.from.map_or(0, |from| self.window.head().saturating_sub(from));
        let base = bytes(WINDOW_TIME.max(self.kept.time)).max(held);
        let in_burst = needed.saturating_add(1 << 20).min(base + bytes(burst + Duration::from_secs(5)));
        Retention::new(base.max(if burst.is_zero() { 0 } else { in_burst }), rate)
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
        }
    }

    /// Formats of the elementary streams, for display.
    pub fn formats(&self) -> Vec<&'static str> {
        let Some(tables) = self.scanner.current_tables() else { return Vec::new() };
        tables.streams.iter().filter_map(|stream| format_name(stream.kind)).collect()
    }

    fn write(&mut self, now: Instant, packets: &[u8]) -> io::Result<()> {
        if self.unannounced.is_empty() {
            return self.append(now, packets);
        }
        // Rare: a packet id of the old source has not appeared in the new one yet. Its first packet is announced.
        let (whole, _) = packets.as_chunks::<PACKET>();
        let mut from = 0;
        for (at, bytes) in whole.iter().enumerate() {
            let packet = Packet::new(bytes);
            let Some(index) = self.unannounced.iter().position(|pid| *pid == packet.pid()) else { continue };
            self.unannounced.swap_remove(index);
            self.append(now, &packets[from * PACKET..at * PACKET])?;
            let before = packet.continuity().wrapping_sub(u8::from(packet.has_payload())) & 0x0f;
            self.append_stitch(now, &stitch::discontinuity(packet.pid(), before))?;
            from = at;
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
        let raps = &mut self.raps;
        self.scanner.scan(head, packets, &mut |event| match event {
            Event::RandomAccess(rap) => raps.push(AccessPoint {
                offset: rap.offset,
                media_time: rap.media_time,
                tables: rap.tables,
                continuity: rap.continuity,
            }),
            Event::Pcr { media_time, .. } => newest = Some(media_time),
            Event::Tables { .. } | Event::ContinuityError { .. } | Event::SourceDiscontinuity { .. } => {}
        });
        let tail = self.window.tail();
        for point in self.raps.drain(..).filter(|point| point.offset >= tail) {
            self.window.access_mut().push(point);
        }
        if let Some(time) = newest {
            self.window.access_mut().set_head_time(time);
            self.last_pcr = newest_pcr(&self.scanner, packets).or(self.last_pcr);
        }
        Ok(())
    }

    fn stage(&mut self, now: Instant, mut new: Replacement, packets: &[u8]) -> io::Result<()> {
        let offset = new.passed + new.staged.len() as u64;
        new.staged.extend_from_slice(packets);
        let (mut found, pcrs) = (Vec::new(), &mut new.pcrs);
        new.scanner.scan(offset, packets, &mut |event| match event {
            Event::RandomAccess(rap) => found.push(rap),
            Event::Pcr { offset, .. } => {
                let at = (offset - new.passed) as usize;
                let packet = new.staged[at..].first_chunk().and_then(|bytes| Packet::new(bytes).pcr());
                pcrs.extend(packet.map(|pcr| (offset, pcr)));
            }
            _ => {}
        });
        let patience_over =
            now.saturating_duration_since(new.since) >= SEEK_TIME_MAX || new.passed >= SEEK_BYTES_MAX;
        let usable =
            |offset: u64| offset >= new.passed && (patience_over || !self.is_past(pcr_at(&new.pcrs, offset)));
        if let Some(rap) = found.iter().find(|rap| usable(rap.offset)) {
            let ahead = new.staged.split_off((rap.offset - new.passed) as usize);
            self.discarded_bytes += rap.offset;
            return self.join_replacement(now, &rap.tables, &rap.continuity, &ahead);
        }
        if patience_over && new.scanner.counters().random_access_points == 0 {
            // No place to begin at in all that time, nor tables perhaps: whatever it is, it is all there is.
            let ahead = std::mem::take(&mut new.staged);
            self.discarded_bytes += new.passed;
            return self.continue_blindly(now, &ahead);
        }
        if new.staged.len() > STAGED_BYTES_MAX {
            let excess = new.staged.len() - STAGED_BYTES_MAX;
            let excess = excess.next_multiple_of(PACKET);
            new.staged.drain(..excess);
            new.passed += excess as u64;
            let keep = new.pcrs.partition_point(|(offset, _)| *offset < new.passed).saturating_sub(1);
            new.pcrs.drain(..keep);
        }
        self.replacement = Some(new);
        Ok(())
    }

    /// Whether a clock value was delivered already: it lies before our last one, but near enough to be the same clock.
    fn is_past(&self, pcr: Option<Pcr>) -> bool {
        match (pcr, self.last_pcr) {
            (Some(pcr), Some(last)) => (-CLOCK_RANGE..=0).contains(&pcr.since(last)),
            _ => false,
        }
    }

    fn join_replacement(
        &mut self,
        now: Instant,
        tables: &Tables,
        continuity: &Continuity,
        ahead: &[u8],
    ) -> io::Result<()> {
        let before = self.unannounced_pids();
        self.scanner.source_changed();
        let continuity = continuity.looking_ahead(ahead);
        let prefix = stitch::skip_prefix(tables, &continuity);
        self.own_discontinuities += 1;
        let head = self.window.head();
        self.window.access_mut().note_break(head);
        let flagged = |pid: u16| continuity.last(pid).is_some();
        self.unannounced = before.into_iter().filter(|pid| !flagged(*pid)).collect();
        self.append_stitch(now, &prefix)?;
        self.write(now, ahead)
    }

    fn continue_blindly(&mut self, now: Instant, ahead: &[u8]) -> io::Result<()> {
        let before = self.unannounced_pids();
        self.scanner.source_changed();
        self.own_discontinuities += 1;
        let head = self.window.head();
        self.window.access_mut().note_break(head);
        self.unannounced = before;
        self.write(now, ahead)
    }

    /// Every packet id whose counter players know, those included that the last source never brought: what the next
    /// source brings of them has to be announced.
    fn unannounced_pids(&mut self) -> Vec<u16> {
        let mut pids = std::mem::take(&mut self.unannounced);
        for counter in self.scanner.continuity().iter() {
            if pids.len() < UNANNOUNCED_MAX && !pids.contains(&counter.pid) {
                pids.push(counter.pid);
            }
        }
        pids
    }

    fn append_stitch(&mut self, now: Instant, packets: &[u8]) -> io::Result<()> {
        let before = self.scanner.counters().discontinuities;
        self.append(now, packets)?;
        self.stitched_flags += self.scanner.counters().discontinuities - before;
        Ok(())
    }

    fn discard_staged(&mut self) {
        if let Some(old) = self.replacement.take() {
            self.discarded_bytes += old.passed + old.staged.len() as u64;
        }
    }
}

/// The clock value in force at an offset: the newest at or before it, else the next one.
fn pcr_at(pcrs: &[(u64, Pcr)], offset: u64) -> Option<Pcr> {
    let after = pcrs.partition_point(|(at, _)| *at <= offset);
    pcrs.get(after.saturating_sub(1)).map(|(_, pcr)| *pcr)
}

fn newest_pcr(scanner: &Scanner, packets: &[u8]) -> Option<Pcr> {
    let pid = scanner.current_tables().and_then(|tables| tables.pcr_pid);
    let (whole, _) = packets.as_chunks::<PACKET>();
    let of_program = |packet: &Packet<'_>| pid.is_none_or(|pid| packet.pid() == pid);
    whole.iter().rev().map(Packet::new).filter(of_program).find_map(Packet::pcr)
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
mod tests;
