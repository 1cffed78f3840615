//! Whole packets out of raw reads, and resynchronisation when the stride is lost.
//!
//! Reads end anywhere, engines sometimes send an error text instead of media, and a broken connection may lose the
//! middle of a packet. The aligner decides which bytes are packets; the caller keeps what was not consumed at the
//! front of its buffer. What comes out does not depend on where reads end: a packet is handed out once the byte
//! behind it is a sync byte too, so the half of a packet followed by something else is dropped, never completed with
//! foreign bytes. The price is that the last packet of a read ending exactly on a boundary waits for the next read;
//! [`Aligner::finish`] releases it at the end of the body.

use serde::{Deserialize, Serialize};
use std::ops::Range;

use super::packet::{PACKET, SYNC};

/// A body that shows no sync within this many bytes is not a transport stream. Sixteen packets: an engine's error
/// text or page head is shorter or contains no stride, and a stream joined mid-packet needs fewer than three.
pub const NOT_TS_BYTES: usize = 16 * PACKET;
/// How much of such a body is kept for the error message.
pub const PREFIX_BYTES_MAX: usize = 256;

/// Sync bytes at this distance confirm a position: the packet itself, the next and the one after that.
const CONFIRMED_AT: [usize; 2] = [PACKET, 2 * PACKET];

/// What one look at the buffer found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aligned {
    /// Bytes at the front of the buffer that belong to no packet.
    pub skipped: usize,
    /// Where the whole packets are in the buffer; its length is a multiple of 188.
    pub packets: Range<usize>,
    /// Bytes the caller may drop from the front: what was skipped and the packets.
    pub consumed: usize,
}

impl Aligned {
    fn nothing(skipped: usize) -> Self {
        Self { skipped, packets: skipped..skipped, consumed: skipped }
    }
}

/// What the body turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Too few bytes to tell.
    Undecided,
    /// Packets were found.
    Ts,
    /// No packet in [`NOT_TS_BYTES`], or none before the end of the body.
    NotTs {
        /// The body's first bytes, at most [`PREFIX_BYTES_MAX`]: engines put their error text there.
        prefix: &'a [u8],
    },
}

/// Finds packets in the reads of one connection. See the module text for what it guarantees.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Aligner {
    /// Whether the buffer's front is a packet's first byte. If not, three sync bytes at the stride are looked for.
    synced: bool,
    /// Whether this body ever was in sync.
    synced_once: bool,
    /// Whether the body has ended.
    ended: bool,
    /// The body's first bytes, kept until it is known to be a transport stream.
    prefix: Vec<u8>,
    /// Bytes consumed before the first sync, then since sync was last lost.
    unsynced_bytes: u64,
    /// Bytes ever skipped as garbage.
    skipped_bytes: u64,
    /// Largest number of bytes seen before the first sync.
    seen_bytes: u64,
}

impl Aligner {
    /// Looks at the unconsumed bytes and says which of them are packets. Call it again, with the consumed bytes
    /// removed from the front, until nothing is consumed; then read more.
    pub fn push(&mut self, buf: &[u8]) -> Aligned {
        self.remember(buf);
        let found = self.look(buf);
        self.account(&found);
        found
    }

    /// Says which of the rest are packets when no more bytes follow: the last whole packet needs no successor.
    pub fn finish(&mut self, buf: &[u8]) -> Aligned {
        let mut found = self.push(buf);
        self.ended = true;
        let rest = &buf[found.consumed..];
        if self.synced && rest.len() == PACKET && rest[0] == SYNC {
            found.packets.end += PACKET;
            found.consumed += PACKET;
        }
        found
    }

    /// What the body is, as far as known.
    pub fn verdict(&self) -> Verdict<'_> {
        if self.synced_once {
            Verdict::Ts
        } else if self.ended || self.seen_bytes >= NOT_TS_BYTES as u64 {
            Verdict::NotTs { prefix: &self.prefix }
        } else {
            Verdict::Undecided
        }
    }

    /// Bytes consumed since sync was lost, 0 while in sync. A caller gives a source up that stays lost for long.
    pub fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes
    }

    /// Bytes that belonged to no packet, over the whole life of this aligner.
    pub fn skipped_bytes(&self) -> u64 {
        self.skipped_bytes
    }

    /// Forgets the body for a new connection: a rest of the old one must never be completed by the new one. The
    /// caller empties its buffer too. The count of skipped bytes goes on.
    pub fn reset(&mut self) {
        *self = Self { skipped_bytes: self.skipped_bytes, ..Self::default() };
    }

    fn look(&mut self, buf: &[u8]) -> Aligned {
        let mut start = 0;
        loop {
            if !self.synced {
                match search(buf) {
                    Search::Found(position) => start = position,
                    Search::Undecided(position) => return Aligned::nothing(position),
                }
                self.synced = true;
                self.synced_once = true;
                self.prefix = Vec::new();
            }
            let (end, lost) = run(buf, start);
            self.synced = !lost;
            // A lost stride at the very front leaves nothing to consume: search at once, so that a call that can
            // make progress always does.
            if !(lost && end == 0) {
                return Aligned { skipped: start, packets: start..end, consumed: end };
            }
        }
    }

    fn remember(&mut self, buf: &[u8]) {
        if self.synced_once {
            return;
        }
        self.seen_bytes = self.seen_bytes.max(self.unsynced_bytes + buf.len() as u64);
        let room = PREFIX_BYTES_MAX - self.prefix.len();
        // The buffer begins where consuming stopped, which is never behind what is remembered unless that is full.
        let known = self.prefix.len() as u64 - self.unsynced_bytes.min(self.prefix.len() as u64);
        if let Some(fresh) = buf.get(known as usize..) {
            self.prefix.extend_from_slice(&fresh[..fresh.len().min(room)]);
        }
    }

    fn account(&mut self, found: &Aligned) {
        self.skipped_bytes += found.skipped as u64;
        if self.synced || !found.packets.is_empty() {
            self.unsynced_bytes = 0;
        } else {
            self.unsynced_bytes += found.consumed as u64;
        }
    }
}

enum Search {
    /// Three sync bytes at the stride begin here.
    Found(usize),
    /// Nothing before this position can be a packet; from here on too few bytes are known.
    Undecided(usize),
}

fn search(buf: &[u8]) -> Search {
    let mut position = 0;
    while let Some(found) = buf[position..].iter().position(|&byte| byte == SYNC) {
        position += found;
        match CONFIRMED_AT.map(|distance| buf.get(position + distance).map(|&byte| byte == SYNC)) {
            [Some(true), Some(true)] => return Search::Found(position),
            [Some(false), _] | [_, Some(false)] => position += 1,
            _ => return Search::Undecided(position),
        }
    }
    Search::Undecided(buf.len())
}

/// The end of the packets from `start` on that are followed by a sync byte, and whether the one behind them is
/// followed by something else.
fn run(buf: &[u8], start: usize) -> (usize, bool) {
    let mut end = start;
    if buf.get(end).is_some_and(|&byte| byte != SYNC) {
        return (end, true);
    }
    while let Some(&next) = buf.get(end + PACKET) {
        if next != SYNC {
            return (end, true);
        }
        end += PACKET;
    }
    (end, false)
}

#[cfg(test)]
mod tests {
    use super::{super::testing::seconds, *};

    /// Feeds a body in reads of this size and gives the packets that came out.
    fn align(aligner: &mut Aligner, body: &[u8], read: usize) -> Vec<u8> {
        let (mut rest, mut out) = (Vec::new(), Vec::new());
        for bytes in body.chunks(read) {
            rest.extend_from_slice(bytes);
            loop {
                let found = aligner.push(&rest);
                out.extend_from_slice(&rest[found.packets.clone()]);
                rest.drain(..found.consumed);
                if found.consumed == 0 {
                    break;
                }
            }
        }
        let found = aligner.finish(&rest);
        out.extend_from_slice(&rest[found.packets]);
        out
    }

    #[test]
    fn an_aligned_body_comes_out_whole() {
        let body = seconds(1, 0);
        let mut aligner = Aligner::default();
        assert_eq!(align(&mut aligner, &body, 1000), body);
        assert_eq!((aligner.verdict(), aligner.skipped_bytes()), (Verdict::Ts, 0));
    }

    #[test]
    fn a_body_joined_in_the_middle_of_a_packet_starts_at_the_next() {
        let body = seconds(1, 0);
        let mut aligner = Aligner::default();
        assert_eq!(align(&mut aligner, &body[100..], 333), body[PACKET..]);
        assert_eq!(aligner.skipped_bytes(), 88);
    }

    /// The half of a packet followed by other bytes must not be completed with them.
    #[test]
    fn a_packet_cut_short_is_dropped_and_the_next_ones_are_kept() {
        let whole = seconds(1, 0);
        let cut = [&whole[..PACKET * 10 + 70], &whole[PACKET * 11..]].concat();
        let mut aligner = Aligner::default();
        let expected = [&whole[..PACKET * 10], &whole[PACKET * 11..]].concat();
        assert_eq!(align(&mut aligner, &cut, 700), expected);
        assert_eq!(aligner.skipped_bytes(), 70);
    }

    #[test]
    fn garbage_between_packets_is_skipped() {
        let whole = seconds(1, 0);
        let garbage = b"HTTP/1.1 500 Internal Server Error\r\n\r\n";
        let body = [&whole[..PACKET * 20], garbage, &whole[PACKET * 20..]].concat();
        let mut aligner = Aligner::default();
        let out = align(&mut aligner, &body, 512);
        // The packet in front of the garbage cannot be told from one that was cut.
        assert_eq!(out, [&whole[..PACKET * 19], &whole[PACKET * 20..]].concat());
        assert_eq!(aligner.unsynced_bytes(), 0);
    }

    /// Two sync bytes at the stride may be chance, and the end of a body is no reason to believe them.
    #[test]
    fn fewer_than_three_sync_bytes_are_no_stream() {
        let mut body = vec![0; 2 * PACKET];
        (body[0], body[PACKET]) = (SYNC, SYNC);
        let mut aligner = Aligner::default();
        assert_eq!(align(&mut aligner, &body, 50), b"");
        assert!(matches!(aligner.verdict(), Verdict::NotTs { .. }));
    }

    #[test]
    fn an_error_text_is_kept_for_the_error_message() {
        let text = b"failed to load content";
        let mut aligner = Aligner::default();
        assert_eq!(aligner.push(text).packets.len(), 0);
        assert_eq!(aligner.verdict(), Verdict::Undecided);
        align(&mut aligner, b"", 1);
        assert_eq!(aligner.verdict(), Verdict::NotTs { prefix: text });
    }

    #[test]
    fn a_long_page_is_refused_before_it_ends_with_its_beginning_kept() {
        let page = b"<html>0123456789".repeat(NOT_TS_BYTES / 16);
        let (mut aligner, mut start) = (Aligner::default(), 0);
        for read in 1..=page.len() {
            start += aligner.push(&page[start..read]).consumed;
        }
        assert_eq!(aligner.verdict(), Verdict::NotTs { prefix: &page[..PREFIX_BYTES_MAX] });
    }

    /// The rest of one connection must not be completed by the next one.
    #[test]
    fn reset_forgets_sync_but_not_the_count() {
        let body = seconds(1, 0);
        let mut aligner = Aligner::default();
        align(&mut aligner, &body[1..], 1000);
        aligner.reset();
        assert_eq!((aligner.verdict(), aligner.skipped_bytes()), (Verdict::Undecided, 187));
        assert_eq!(aligner.push(&body[..2 * PACKET]).packets.len(), 0);
    }
}
