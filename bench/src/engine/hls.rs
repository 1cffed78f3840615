//! HLS: the playlist of a session and its segments.
//!
//! Segments are ranges of the broadcast, cut where decoding can begin, on a grid that depends on the broadcast alone:
//! engines of one broadcast cut alike. What differs is where a session's numbers begin. A segment's address carries its
//! place on the grid, which is not its number in the playlist, as with real engines.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::http;
use super::ledger::End;
use super::playback::{self, Claim};
use super::serve::{Exchange, Next};
use super::world::{ChannelState, State, World};
use crate::channel::{self, Channel, PACKET};

/// Segments a playlist lists.
const LISTED: u64 = 15;
/// Segments that can still be had after they have left the list.
const SPARED: u64 = 2;
/// Cuts remembered; each costs a search.
const CUTS_MAX: usize = 10_000;
/// A broadcast without a place to cut at is cut without one.
const SEARCH_MAX: u32 = 2;
/// Bytes of one write.
const WRITE: u64 = 256 << 10;

/// The HLS side of a download.
#[derive(Clone, Debug)]
pub(super) struct Output {
    /// Whose playlist is served; that of anybody else is forbidden.
    pub(super) owner: String,
    /// The segment that has the number 0.
    pub(super) first: u64,
}

/// Where segments begin, by channel and place on the grid.
#[derive(Default)]
pub(super) struct Cuts(Mutex<HashMap<(usize, u64), u64>>);

impl World {
    /// The HLS side of a download that begins now.
    pub(super) fn output(&self, channel: usize, owner: &str) -> Output {
        let spec = &self.stations[channel].spec;
        let from = self.clock.now().saturating_sub(spec.reach_back);
        let first = from.as_millis() as u64 / self.segment_ms(channel);
        Output { owner: owner.to_owned(), first }
    }

    fn segment_ms(&self, channel: usize) -> u64 {
        (self.stations[channel].spec.segment.as_millis() as u64).max(1)
    }

    /// The first packet of a segment: the first place at or behind its place on the grid that a decoder can begin at.
    fn cut(&self, channel: usize, segment: u64) -> u64 {
        let mut cuts = self.cuts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cuts.get(&(channel, segment)) {
            return *known;
        }
        if cuts.len() == CUTS_MAX {
            cuts.clear();
        }
        let length = self.stations[channel].spec.segment;
        let found = find_cut(&*self.stations[channel].channel, segment, length);
        cuts.insert((channel, segment), found);
        found
    }

    /// The bytes of a segment.
    fn range(&self, channel: usize, segment: u64) -> Range<u64> {
        let at = |segment| self.cut(channel, segment) * PACKET as u64;
        at(segment)..at(segment + 1)
    }

    /// Segments of a download that are complete at `now`, all of them.
    fn complete(&self, channel: usize, output: &Output, now: Duration) -> Range<u64> {
        let position = self.stations[channel].channel.timing().position(now);
        let mut end = now.as_millis() as u64 / self.segment_ms(channel);
        while end > output.first && self.range(channel, end - 1).end > position {
            end -= 1;
        }
        output.first..end.max(output.first)
    }
}

fn find_cut(broadcast: &dyn Channel, segment: u64, length: Duration) -> u64 {
    let timing = broadcast.timing();
    let at = |segment: u64| {
        let nanos = u128::from(segment) * length.as_nanos();
        timing.position(Duration::from_nanos(nanos as u64)) / PACKET as u64
    };
    let from = at(segment);
    let until = at(segment + u64::from(SEARCH_MAX));
    let Some(mut found) = (from..until).find(|index| is_random_access(&broadcast.packet(*index))) else {
        return from;
    };
    // The tables right in front of it belong to it.
    while found > from && is_table(&broadcast.packet(found - 1)) {
        found -= 1;
    }
    found
}

fn is_random_access(packet: &channel::Packet) -> bool {
    packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x40 != 0
}

fn is_table(packet: &channel::Packet) -> bool {
    let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
    channel::TABLE_PIDS.contains(&pid)
}

/// `GET /ace/m/<infohash>/<key>.m3u8`.
pub(super) async fn playlist(exchange: &mut Exchange<'_>, infohash: &str, file: &str) -> io::Result<Next> {
    let claim = file.strip_suffix(".m3u8").and_then(|key| playback::claim(exchange.world, infohash, key));
    let Some(claim) = claim else {
        let vanished = infohash.parse().ok().and_then(|id| exchange.world.channel_by_infohash(id));
        if vanished.is_some_and(|channel| exchange.world.faults(channel).vanish) {
            // The engine trips over the missing session and never answers.
            exchange.wait_for(|_| false).await?;
        }
        return exchange.answer(&http::error("download not found")).await;
    };
    if let Some(failure) = playback::wait_for_media(exchange, &claim).await? {
        return exchange.answer(&http::error(&failure)).await;
    }
    let base = exchange.base();
    match listing(exchange.world, &claim, &base) {
        Listing::Text(text) => exchange.answer(&http::playlist(&text)).await,
        Listing::Forbidden => exchange.answer(&http::forbidden()).await,
        Listing::Gone => exchange.answer(&http::error("download not found")).await,
    }
}

enum Listing {
    Text(String),
    Forbidden,
    Gone,
}

fn listing(world: &World, claim: &Claim, base: &str) -> Listing {
    let stalled = world.engine_faults.borrow().stall;
    let mut state = world.lock();
    let faults = state.channels[claim.channel].faults.clone();
    let Some((download, _)) = state.session(claim.channel, &claim.key) else { return Listing::Gone };
    let Some(output) = download.output.clone().filter(|output| output.owner == claim.key) else {
        return Listing::Forbidden;
    };
    let now = world.clock.now();
    let at = if faults.starve || stalled {
        *download.starving_since.get_or_insert(now)
    } else {
        download.starving_since = None;
        now
    };
    state.channels[claim.channel].counters.playlists += 1;
    drop(state);
    let hls = &faults.hls;
    let left_out = |segment: &u64| hls.leave_out_every.is_some_and(|nth| segment.is_multiple_of(nth.max(1)));
    let all: Vec<u64> =
        world.complete(claim.channel, &output, at).filter(|segment| !left_out(segment)).collect();
    let listed = &all[all.len().saturating_sub(hls.listed.map_or(LISTED, u64::from) as usize)..];
    let timing = world.stations[claim.channel].channel.timing();
    let length = |segment: &u64| {
        let range = world.range(claim.channel, *segment);
        (timing.time_at(range.end) - timing.time_at(range.start)).as_secs_f64()
    };
    let longest = listed.iter().map(length).fold(1.0, f64::max);
    let target = longest.ceil() as u64 - u64::from(hls.short_target && longest > 1.0);
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:{}\n",
        all.len() - listed.len()
    );
    let infohash = world.stations[claim.channel].spec.infohash;
    for segment in listed {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "#EXTINF:{:.6},\n{base}/ace/c/{infohash}/{segment}.ts", length(segment));
    }
    Listing::Text(text)
}

/// `GET /ace/c/<infohash>/<n>.ts`.
pub(super) async fn segment(exchange: &mut Exchange<'_>, infohash: &str, file: &str) -> io::Result<Next> {
    let channel = infohash.parse().ok().and_then(|id| exchange.world.channel_by_infohash(id));
    let number = file.strip_suffix(".ts").and_then(|number| number.parse::<u64>().ok());
    let found = channel.zip(number).filter(|(channel, number)| take(exchange.world, *channel, *number));
    let Some((channel, number)) = found else {
        return exchange.answer(&http::error("download not found")).await;
    };
    exchange.wait_for(|world| !world.engine_faults.borrow().stall).await?;
    let range = exchange.world.range(channel, number);
    let framing = format!("Content-Length: {}\r\n", range.end - range.start);
    exchange.stream.write_all(&http::media_head(&framing)).await?;
    if exchange.request.is_head() {
        return Ok(Next::Close);
    }
    let broken_off = exchange.world.faults(channel).hls.cut_short.then_some((range.end - range.start) / 2);
    let end = broken_off.map_or(range.end, |bytes| range.start + bytes);
    let mut buffer = Vec::new();
    let mut at = range.start;
    while at < end {
        let to = end.min(at + WRITE);
        buffer.clear();
        channel::read(&*exchange.world.stations[channel].channel, at, to, &mut buffer);
        exchange.stream.write_all(&buffer).await?;
        exchange.world.lock().channels[channel].counters.bytes += to - at;
        at = to;
    }
    let closes = exchange.request.wants_close || broken_off.is_some();
    Ok(if closes { Next::Close } else { Next::KeepAlive })
}

/// Whether a segment can be had. That it was asked for keeps the download alive, as nothing else does.
fn take(world: &World, channel: usize, segment: u64) -> bool {
    let now = world.clock.now();
    let mut state = world.lock();
    let State { channels, downloads, .. } = &mut *state;
    let ChannelState { faults, counters } = &mut channels[channel];
    let output = downloads.get_mut(&channel).and_then(|download| {
        download.active = now;
        download.output.clone()
    });
    let is_there = !faults.hls.evicted
        && output.is_some_and(|output| {
            let complete = world.complete(channel, &output, now);
            let kept = faults.hls.listed.map_or(LISTED, u64::from) + SPARED;
            complete.contains(&segment) && segment + kept >= complete.end
        });
    if is_there {
        counters.segments += 1
    } else {
        counters.segments_missed += 1
    }
    is_there
}

/// Ends the download of a channel that cannot be had in this form.
pub(super) async fn refuse_progressive(exchange: &mut Exchange<'_>, channel: usize) -> io::Result<Next> {
    exchange.world.end(channel, End::Failed);
    exchange.answer(&http::error("failed to start")).await
}
