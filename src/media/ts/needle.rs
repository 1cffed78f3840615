//! Finding, in another source of the same broadcast, the place where the first one stopped: byte for byte.
//!
//! A [`Needle`] is the last media packets of a stream, compared whole. Null packets and tables are left out, because
//! they repeat; so are packets that only announce a discontinuity, because this appliance adds such. It spans two
//! clock references and a time stamp, so that a still picture, whose packets otherwise repeat as well, is told from
//! the next one. A [`Search`] is shown the other source packet by packet: it costs at most two comparisons per packet
//! on average and remembers nothing but how far the needle has matched, whatever the reads look like.
//!
//! What it does not do: decide whether a match is the only one, when to give up, or what then.

use super::packet::{NULL_PID, PACKET, Packet, packets};

/// Fewest packets of a needle.
pub const NEEDLE_PACKETS_MIN: usize = 64;
/// Most bytes at a stream's end among which a needle is looked for: four seconds at 8 Mbit/s, so that a sender whose
/// clock references are a second apart still gets one.
pub const NEEDLE_BYTES_MAX: usize = 4 << 20;
/// PIDs below carry tables (ISO/IEC 13818-1 and EN 300 468).
const MEDIA_PID_MIN: u16 = 0x20;

/// The last media packets of a stream. At most [`NEEDLE_BYTES_MAX`]; made when a source is replaced, dropped when the
/// next one has been joined.
#[derive(Clone)]
pub struct Needle {
    packets: Box<[[u8; PACKET]]>,
    /// For each count of matched packets, less one: how many of them the needle also begins with.
    borders: Box<[u32]>,
    pmt_pid: Option<u16>,
    /// Bytes of the stream behind its last packet: null packets and tables.
    behind: usize,
}

impl Needle {
    /// The needle at the end of these whole packets, if they hold one. `pmt_pid` is where the program's map comes
    /// from.
    pub fn at_end(bytes: &[u8], pmt_pid: Option<u16>) -> Option<Self> {
        let mut kept: Vec<[u8; PACKET]> = Vec::with_capacity(2 * NEEDLE_PACKETS_MIN);
        let mut behind = 0;
        let (mut first_clock, mut has_two_clocks, mut has_time_stamp) = (None, false, false);
        for packet in packets(bytes).rev() {
            if !is_media(packet, pmt_pid) {
                behind += if kept.is_empty() { PACKET } else { 0 };
                continue;
            }
            kept.push(*packet.bytes());
            if let Some(pcr) = packet.pcr() {
                has_two_clocks |= *first_clock.get_or_insert(pcr) != pcr;
            }
            has_time_stamp |= has_pts(packet);
            if kept.len() >= NEEDLE_PACKETS_MIN && has_two_clocks && has_time_stamp {
                kept.reverse();
                let (packets, borders) = (kept.into_boxed_slice(), Box::default());
                let mut needle = Self { packets, borders, pmt_pid, behind };
                needle.borders = needle.find_borders();
                return Some(needle);
            }
        }
        None
    }

    /// The packets to be found, in order.
    pub fn packets(&self) -> &[[u8; PACKET]] {
        &self.packets
    }

    /// Bytes of the stream behind the needle: null packets and tables, which a source that matched may repeat.
    pub fn behind(&self) -> usize {
        self.behind
    }

    /// Whether this packet is of the kind that needles are made of.
    pub fn takes(&self, packet: Packet<'_>) -> bool {
        is_media(packet, self.pmt_pid)
    }

    fn find_borders(&self) -> Box<[u32]> {
        let mut borders = vec![0u32; self.packets.len()];
        let mut length = 0usize;
        for at in 1..self.packets.len() {
            while length > 0 && self.packets[at] != self.packets[length] {
                length = borders[length - 1] as usize;
            }
            length += usize::from(self.packets[at] == self.packets[length]);
            borders[at] = length as u32;
        }
        borders.into_boxed_slice()
    }
}

/// Looks for a needle in a source, as it comes.
#[derive(Clone)]
pub struct Search {
    needle: Needle,
    /// So many of the last media packets are the first of the needle.
    matched: usize,
}

impl Search {
    /// A search that has seen nothing.
    pub fn new(needle: Needle) -> Self {
        Self { needle, matched: 0 }
    }

    /// Takes the source's next packet and says whether the needle ends with it. A search goes on behind a match.
    pub fn push(&mut self, packet: Packet<'_>) -> bool {
        let Self { needle, matched } = self;
        if !needle.takes(packet) {
            return false;
        }
        if *matched == needle.packets.len() {
            *matched = needle.borders[*matched - 1] as usize;
        }
        while *matched > 0 && needle.packets[*matched] != *packet.bytes() {
            *matched = needle.borders[*matched - 1] as usize;
        }
        *matched += usize::from(needle.packets[*matched] == *packet.bytes());
        *matched == needle.packets.len()
    }

    /// What is looked for.
    pub fn needle(&self) -> &Needle {
        &self.needle
    }
}

/// Whether a packet carries media: neither null nor a table, nor nothing but the announcement of a discontinuity.
fn is_media(packet: Packet<'_>, pmt_pid: Option<u16>) -> bool {
    let pid = packet.pid();
    let only_announces = !packet.has_payload() && packet.discontinuity() && packet.pcr().is_none();
    pid >= MEDIA_PID_MIN && pid != NULL_PID && Some(pid) != pmt_pid && !only_announces
}

/// Whether a PES packet with a time stamp starts here. Of an encrypted one it cannot be seen, and is believed.
fn has_pts(packet: Packet<'_>) -> bool {
    if !packet.payload_unit_start() {
        return false;
    }
    let payload = packet.payload();
    packet.scrambled() || matches!(payload, [0, 0, 1, _, _, _, _, flags, ..] if flags & 0x80 != 0)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            clock::Pcr,
            stitch,
            testing::{PMT_PID, Parts, VIDEO_PID, Writer, seconds},
        },
        *,
    };
    use proptest::prelude::*;

    /// Where, in packets from its beginning, a source has shown the needle.
    fn found(needle: &Needle, source: &[u8]) -> Vec<usize> {
        let mut search = Search::new(needle.clone());
        (0..).zip(packets(source)).filter(|(_, packet)| search.push(*packet)).map(|(at, _)| at + 1).collect()
    }

    /// The same without any cleverness.
    fn found_naively(needle: &Needle, source: &[u8]) -> Vec<usize> {
        let media: Vec<(usize, &[u8; PACKET])> = (0..)
            .zip(packets(source))
            .filter(|(_, packet)| needle.takes(*packet))
            .map(|(at, packet)| (at + 1, packet.bytes()))
            .collect();
        let is_match =
            |there: &&[(usize, &[u8; PACKET])]| there.iter().zip(&needle.packets).all(|(a, b)| a.1 == b);
        media.windows(needle.packets.len()).filter(is_match).map(|there| there[there.len() - 1].0).collect()
    }

    fn pcr(ticks: u64) -> Pcr {
        Pcr::new(ticks % Pcr::MODULUS / 300, (ticks % 300) as u16)
    }

    /// Guards that a needle is found where the stream stopped and nowhere else, wherever that is, also across the wrap
    /// of the clock.
    #[test]
    fn a_stream_is_found_in_itself_exactly_where_it_was_cut() {
        for start in [0, Pcr::MODULUS - 27_000_000] {
            let stream = seconds(3, start);
            let total = stream.len() / PACKET;
            for cut in (120..total).step_by(7) {
                let needle = Needle::at_end(&stream[..cut * PACKET], Some(PMT_PID)).unwrap();
                let at = cut - needle.behind() / PACKET;
                assert_eq!(found(&needle, &stream), [at], "cut at {cut} of {total}");
            }
        }
    }

    /// Guards that null packets and tables, however many and wherever, are neither needed nor harmful.
    #[test]
    fn null_packets_and_tables_do_not_matter() {
        let stream = seconds(2, 0);
        let mut padded = Vec::new();
        for (at, packet) in packets(&stream).enumerate() {
            padded.extend_from_slice(packet.bytes());
            if at % 3 == 0 {
                padded.extend_from_slice(&stitch::null_packet());
                padded.extend_from_slice(&stream[..2 * PACKET]);
            }
        }
        padded.extend((0..500).flat_map(|_| stitch::null_packet()));
        let needle = Needle::at_end(&padded, Some(PMT_PID)).unwrap();
        assert_eq!(found(&needle, &stream), [stream.len() / PACKET]);
        assert!(needle.behind() >= 500 * PACKET);
        let only_padding = stitch::null_packet().repeat(5_000);
        assert!(Needle::at_end(&only_padding, None).is_none());
    }

    /// Guards that what this appliance adds to a window does not keep it from being found in a source without it.
    #[test]
    fn announcements_of_our_own_do_not_matter() {
        let stream = seconds(2, 0);
        let (before, after) = stream.split_at(stream.len() - 20 * PACKET);
        let announced = [before, &stitch::discontinuity(VIDEO_PID, 7), after].concat();
        let needle = Needle::at_end(&announced, Some(PMT_PID)).unwrap();
        assert_eq!(found(&needle, &stream), [stream.len() / PACKET]);
    }

    /// Guards that a needle always holds two clock references and a time stamp: a still picture repeats everything else.
    #[test]
    fn a_still_picture_makes_a_needle_only_with_its_clock() {
        let mut writer = Writer::new();
        for picture in 0..50u64 {
            // Sixteen payload packets per picture: continuity counters repeat as well.
            writer.picture(true, Some(pcr(picture * 1_080_000)));
            for _ in 1..16 {
                writer.filler();
            }
        }
        let stream = writer.bytes;
        let picture = 16 * PACKET;
        for cut in (10 * picture..stream.len()).step_by(PACKET) {
            let needle = Needle::at_end(&stream[..cut], None).unwrap();
            assert_eq!(found(&needle, &stream), [cut / PACKET]);
        }
        let without_clock: Vec<u8> = stream
            .as_chunks::<PACKET>()
            .0
            .iter()
            .filter(|packet| Packet::new(packet).pcr().is_none())
            .flatten()
            .copied()
            .collect();
        assert!(Needle::at_end(&without_clock, None).is_none(), "no clock");
        let one_clock = [&stream[..PACKET], &without_clock].concat();
        assert!(Needle::at_end(&one_clock, None).is_none(), "one clock reference");
        let same_clock = [&stream[..PACKET], &without_clock, &stream[..PACKET]].concat();
        assert!(Needle::at_end(&same_clock, None).is_none(), "a clock that stands still");
    }

    /// Guards that without a time stamp, or with too few packets, there is no needle.
    #[test]
    fn a_needle_needs_a_time_stamp_and_length() {
        let mut writer = Writer::new();
        for ticks in 0..100 {
            let clock = Some(pcr(ticks * 1_000_000));
            writer.packet(Parts { pid: VIDEO_PID, pcr: clock, payload: &[1], ..Parts::default() });
        }
        assert!(Needle::at_end(&writer.bytes, None).is_none(), "no time stamp");
        writer.picture(true, None);
        assert!(Needle::at_end(&writer.bytes, None).is_some());
        let rest = writer.bytes.len() - (NEEDLE_PACKETS_MIN - 1) * PACKET;
        assert!(Needle::at_end(&writer.bytes[rest..], None).is_none(), "too short");
    }

    /// Guards that a loop that comes round as it is shows the needle once per turn, so that it can be told to be
    /// ambiguous.
    #[test]
    fn a_loop_shows_the_needle_once_per_turn() {
        let turn = seconds(2, 0);
        let cut = 300 * PACKET;
        let needle = Needle::at_end(&turn[..cut], Some(PMT_PID)).unwrap();
        let at = 300 - needle.behind() / PACKET;
        let length = turn.len() / PACKET;
        assert_eq!(found(&needle, &turn.repeat(3)), [at, at + length, at + 2 * length]);
    }

    /// Guards that a single changed bit anywhere in the needle's packets keeps it from being found.
    #[test]
    fn every_byte_counts() {
        let stream = seconds(2, 0);
        let needle = Needle::at_end(&stream, Some(PMT_PID)).unwrap();
        let length = needle.packets.len() * PACKET;
        for at in (0..length).step_by(41) {
            let mut other = needle.packets.as_flattened().to_vec();
            other[at] ^= 0x10;
            assert_eq!(found(&needle, &other), found_naively(&needle, &other), "byte {at}");
            assert!(found(&needle, &other).is_empty(), "byte {at}");
        }
    }

    /// Packets of which few are different, so that needles overlap themselves.
    fn letters(letters: &[u8]) -> Vec<u8> {
        let build = |letter: &u8| match letter {
            0 => stitch::null_packet(),
            1 => Parts { pid: PMT_PID, payload: &[0], ..Parts::default() }.build(),
            letter => {
                let clock = Some(pcr(u64::from(*letter) * 1_000_000));
                let payload = super::super::testing::pes(0xe0, &[*letter]);
                Parts { pid: VIDEO_PID, start: true, pcr: clock, payload: &payload, ..Parts::default() }
                    .build()
            }
        };
        letters.iter().flat_map(build).collect()
    }

    proptest! {
        /// Guards that the search finds what a naive one finds, in sources that repeat themselves as badly as can be.
        #[test]
        fn the_search_finds_what_is_there(
            turn in prop::collection::vec(0u8..4, 1..12),
            odd in prop::collection::vec((0usize..400, 0u8..4), 0..4),
            source in prop::collection::vec(0u8..4, 0..40),
            tail in 64usize..200,
        ) {
            let mut long: Vec<u8> = turn.iter().copied().cycle().take(400).collect();
            for (at, letter) in odd {
                long[at] = letter;
            }
            let end = letters(&long[..tail]);
            prop_assume!(Needle::at_end(&end, Some(PMT_PID)).is_some());
            let needle = Needle::at_end(&end, Some(PMT_PID)).unwrap();
            let source = letters(&[source.as_slice(), &long, &source, &long].concat());
            prop_assert_eq!(found(&needle, &source), found_naively(&needle, &source));
        }
    }
}
