//! Builders of packets, sections and small streams for the tests of this room.

use super::{
    clock::Pcr,
    packet::{PACKET, SYNC},
    section::crc32,
};
use crate::media::ts::{Scanner, Tables};
use std::sync::Arc;

pub(crate) const PMT_PID: u16 = 0x100;
pub(crate) const VIDEO_PID: u16 = 0x101;
pub(crate) const AUDIO_PID: u16 = 0x102;

/// Stream types as a PMT gives them.
pub(crate) const H264: u8 = 0x1b;
pub(crate) const HEVC: u8 = 0x24;
pub(crate) const MPEG2: u8 = 0x02;
pub(crate) const AAC: u8 = 0x0f;

/// What goes into one packet; the rest of it is stuffing in the adaptation field.
#[derive(Clone, Default)]
pub(crate) struct Parts<'a> {
    pub(crate) pid: u16,
    pub(crate) continuity: u8,
    pub(crate) start: bool,
    pub(crate) discontinuity: bool,
    pub(crate) random_access: bool,
    pub(crate) pcr: Option<Pcr>,
    pub(crate) payload: &'a [u8],
}

impl Parts<'_> {
    pub(crate) fn build(&self) -> [u8; PACKET] {
        let mut field = vec![u8::from(self.discontinuity) << 7 | u8::from(self.random_access) << 6];
        if let Some(pcr) = self.pcr {
            let (base, extension) = (pcr.ticks() / 300, pcr.ticks() % 300);
            field[0] |= 0x10;
            field.extend_from_slice(&((base >> 1) as u32).to_be_bytes());
            field.push(((base & 1) as u8) << 7 | 0x7e | (extension >> 8) as u8);
            field.push(extension as u8);
        }
        let payload = &self.payload[..self.payload.len().min(PACKET - 4)];
        let space = PACKET - 4 - payload.len();
        let mut packet = [0xff; PACKET];
        packet[0] = SYNC;
        packet[1] = u8::from(self.start) << 6 | (self.pid >> 8) as u8;
        packet[2] = self.pid as u8;
        packet[3] = self.continuity & 0x0f | u8::from(!payload.is_empty()) << 4 | u8::from(space > 0) << 5;
        if space > 0 {
            packet[4] = (space - 1) as u8;
        }
        if space > 1 {
            assert!(field.len() < space, "the adaptation field does not fit beside the payload");
            packet[5..5 + field.len()].copy_from_slice(&field);
        }
        packet[4 + space..].copy_from_slice(payload);
        packet
    }
}

/// A long-form section with its CRC.
pub(crate) fn section(table: u8, extension: u16, version: u8, body: &[u8]) -> Vec<u8> {
    let length = 5 + body.len() + 4;
    let mut section = vec![table, 0xb0 | (length >> 8) as u8, length as u8];
    section.extend_from_slice(&extension.to_be_bytes());
    section.extend_from_slice(&[0xc1 | version << 1, 0, 0]);
    section.extend_from_slice(body);
    let crc = crc32(&section);
    section.extend_from_slice(&crc.to_be_bytes());
    section
}

pub(crate) fn pat(version: u8, programs: &[(u16, u16)]) -> Vec<u8> {
    let entry = |(number, pid): &(u16, u16)| [number.to_be_bytes(), (0xe000 | pid).to_be_bytes()].concat();
    section(0, 1, version, &programs.iter().flat_map(entry).collect::<Vec<u8>>())
}

/// A PMT; each stream is its type, PID and descriptors.
pub(crate) fn pmt(program: u16, version: u8, pcr_pid: u16, streams: &[(u8, u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![0xe0 | (pcr_pid >> 8) as u8, pcr_pid as u8, 0xf0, 0];
    for (stream_type, pid, descriptors) in streams {
        body.push(*stream_type);
        body.extend_from_slice(&(0xe000 | pid).to_be_bytes());
        body.extend_from_slice(&(0xf000 | descriptors.len() as u16).to_be_bytes());
        body.extend_from_slice(descriptors);
    }
    section(2, program, version, &body)
}

/// A section in full packets, as senders do it: pointer field 0, stuffed with 0xff.
pub(crate) fn in_packets(pid: u16, first_continuity: u8, section: &[u8]) -> Vec<[u8; PACKET]> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(section);
    bytes.resize(bytes.len().next_multiple_of(PACKET - 4), 0xff);
    let chunks = bytes.chunks(PACKET - 4).enumerate();
    chunks
        .map(|(index, payload)| {
            let continuity = first_continuity.wrapping_add(index as u8);
            Parts { pid, continuity, start: index == 0, payload, ..Parts::default() }.build()
        })
        .collect()
}

/// The start of a PES packet: header with a time stamp, then these elementary bytes.
pub(crate) fn pes(stream_id: u8, elementary: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 1, stream_id, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1, 0, 1];
    bytes.extend_from_slice(elementary);
    bytes
}

/// The start of a PES packet with this presentation time stamp.
pub(crate) fn stamped(stream_id: u8, pts: u64, elementary: &[u8]) -> Vec<u8> {
    let stamp = [
        0x21 | (pts >> 29) as u8 & 0x0e,
        (pts >> 22) as u8,
        (pts >> 14) as u8 | 1,
        (pts >> 7) as u8,
        (pts << 1) as u8 | 1,
    ];
    let mut bytes = vec![0, 0, 1, stream_id, 0, 0, 0x80, 0x80, 5];
    bytes.extend_from_slice(&stamp);
    bytes.extend_from_slice(elementary);
    bytes
}

/// Writes a stream packet by packet with right continuity counters.
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
    continuity: std::collections::BTreeMap<u16, u8>,
}

impl Writer {
    /// Counters begin at `first`.
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), continuity: std::collections::BTreeMap::new() }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The counter the PID's next payload packet gets.
    pub(crate) fn next(&mut self, pid: u16) -> &mut u8 {
        self.continuity.entry(pid).or_default()
    }

    pub(crate) fn packet(&mut self, parts: Parts<'_>) -> u64 {
        let at = self.offset();
        let next = self.next(parts.pid);
        let continuity = if parts.payload.is_empty() { next.wrapping_sub(1) } else { *next };
        *next = continuity.wrapping_add(1);
        self.bytes.extend_from_slice(&Parts { continuity, ..parts }.build());
        at
    }

    pub(crate) fn section(&mut self, pid: u16, section: &[u8]) {
        let first = *self.next(pid);
        let packets = in_packets(pid, first, section);
        *self.next(pid) = first.wrapping_add(packets.len() as u8);
        self.bytes.extend_from_slice(packets.as_flattened());
    }

    /// PAT and PMT of one program with H.264 video, which carries the clock, and AAC audio.
    pub(crate) fn tables(&mut self) {
        self.section(0, &pat(0, &[(1, PMT_PID)]));
        self.section(PMT_PID, &pmt(1, 0, VIDEO_PID, &[(H264, VIDEO_PID, &[]), (AAC, AUDIO_PID, &[])]));
    }

    /// The first packet of a picture; a key picture opens with parameters, others with a slice.
    pub(crate) fn picture(&mut self, key: bool, pcr: Option<Pcr>) -> u64 {
        let nal = if key { 0x67 } else { 0x41 };
        let payload = pes(0xe0, &[0, 0, 0, 1, 0x09, 0xf0, 0, 0, 1, nal, 0x42]);
        self.packet(Parts { pid: VIDEO_PID, start: true, pcr, payload: &payload, ..Parts::default() })
    }

    pub(crate) fn audio(&mut self) -> u64 {
        let payload = pes(0xc0, &[0xff, 0xf1, 0x50]);
        self.packet(Parts { pid: AUDIO_PID, start: true, payload: &payload, ..Parts::default() })
    }

    /// A packet in the middle of a picture.
    pub(crate) fn filler(&mut self) -> u64 {
        self.packet(Parts { pid: VIDEO_PID, payload: &[0xaa; PACKET - 4], ..Parts::default() })
    }
}

/// The tables of [`seconds`].
pub(crate) fn tables() -> Arc<Tables> {
    let mut scanner = Scanner::new();
    scanner.scan(0, &seconds(1, 0), &mut |_| ());
    scanner.current_tables().expect("a second has tables").clone()
}

/// A second of video in 25 pictures of 20 packets, then the next; tables in front of each, a key picture first.
pub(crate) fn seconds(count: u64, first_pcr: u64) -> Vec<u8> {
    let mut writer = Writer::new();
    for picture in 0..count * 25 {
        if picture % 25 == 0 {
            writer.tables();
        }
        let ticks = (first_pcr + picture * 1_080_000) % Pcr::MODULUS;
        writer.picture(picture % 25 == 0, Some(Pcr::new(ticks / 300, (ticks % 300) as u16)));
        for _ in 0..18 {
            writer.filler();
        }
        writer.audio();
    }
    writer.bytes
}
