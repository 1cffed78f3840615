//! Writing MPEG-TS packets (ISO/IEC 13818-1): headers, clocks, PES headers and tables.
//!
//! Only what the channels need: no table longer than one packet, no scrambling, no private data.

/// Bytes in a transport packet.
pub const PACKET: usize = 188;
/// One transport packet.
pub type Packet = [u8; PACKET];
/// A program clock reference wraps at this value of the 27 MHz clock (33 bits of 90 kHz).
pub const PCR_MODULUS: u64 = (1 << 33) * 300;
/// A presentation time stamp wraps at this value of the 90 kHz clock.
pub(super) const PTS_MODULUS: u64 = 1 << 33;

/// PIDs used by every channel.
pub(super) mod pid {
    pub(in super::super) const PAT: u16 = 0;
    pub(in super::super) const PMT: u16 = 0x1000;
    pub(in super::super) const VIDEO: u16 = 0x100;
    pub(in super::super) const AUDIO: u16 = 0x101;
    pub(in super::super) const NULL: u16 = 0x1fff;
}

/// `stream_id` of the PES packets.
pub(super) mod stream_id {
    pub(in super::super) const VIDEO: u8 = 0xe0;
    pub(in super::super) const AUDIO: u8 = 0xc0;
}

const PROGRAM: u16 = 1;
/// `stream_type` of H.264 video.
const TYPE_H264: u8 = 0x1b;
/// `stream_type` of AAC in ADTS.
const TYPE_ADTS: u8 = 0x0f;

/// Length of the PES header written by [`pes_header`].
pub(super) const PES_HEADER: usize = 14;
/// Where the five bytes of the PTS stand in a PES header.
pub(super) const PES_PTS_AT: usize = 9;

/// What the adaptation field of a packet says.
#[derive(Clone, Copy, Default)]
pub(super) struct Adaptation {
    /// A decoder can start here.
    pub(super) random_access: bool,
    /// The clock, in 27 MHz ticks.
    pub(super) pcr: Option<u64>,
}

impl Adaptation {
    fn is_needed(self) -> bool {
        self.random_access || self.pcr.is_some()
    }

    /// Bytes the field takes, its length byte included, without stuffing.
    fn size(self) -> usize {
        match (self.is_needed(), self.pcr) {
            (false, _) => 0,
            (true, None) => 2,
            (true, Some(_)) => 8,
        }
    }
}

/// Writes the four header bytes.
pub(super) fn header(packet: &mut Packet, pid: u16, unit_start: bool, control: u8, counter: u8) {
    packet[0] = 0x47;
    packet[1] = (u8::from(unit_start) << 6) | (pid >> 8) as u8;
    packet[2] = pid as u8;
    packet[3] = (control << 4) | (counter & 15);
}

/// Replaces the continuity counter.
pub(super) fn set_counter(packet: &mut Packet, counter: u8) {
    packet[3] = (packet[3] & 0xf0) | (counter & 15);
}

/// Writes a 27 MHz clock value as the six bytes of a PCR.
pub(super) fn write_pcr(out: &mut [u8], ticks: u64) {
    let base = (ticks / 300) % PTS_MODULUS;
    let extension = ticks % 300;
    out[..4].copy_from_slice(&((base >> 1) as u32).to_be_bytes());
    out[4] = ((base as u8 & 1) << 7) | 0x7e | (extension >> 8) as u8;
    out[5] = extension as u8;
}

/// Where the PCR stands in a packet that carries one.
pub(super) const PCR_AT: usize = 6;

/// Writes a 90 kHz value as the five bytes of a PTS that comes without a DTS.
pub(super) fn write_pts(out: &mut [u8], pts: u64) {
    let pts = pts % PTS_MODULUS;
    out[0] = 0x21 | ((pts >> 29) as u8 & 0x0e);
    out[1] = (pts >> 22) as u8;
    out[2] = 0x01 | ((pts >> 14) as u8 & 0xfe);
    out[3] = (pts >> 7) as u8;
    out[4] = 0x01 | ((pts << 1) as u8 & 0xfe);
}

/// A PES header with a PTS. `payload` is the length of what follows, or 0 for video of unbounded length.
pub(super) fn pes_header(stream_id: u8, payload: usize, pts: u64) -> [u8; PES_HEADER] {
    let length = if payload == 0 { 0 } else { (payload + PES_HEADER - 6) as u16 };
    let [high, low] = length.to_be_bytes();
    // Marker bits and data_alignment_indicator, then: PTS only, five bytes of header data.
    let mut out = [0, 0, 1, stream_id, high, low, 0x84, 0x80, 5, 0, 0, 0, 0, 0];
    write_pts(&mut out[PES_PTS_AT..], pts);
    out
}

/// Builds one packet from the front of `payload`, with stuffing when `payload` is short. Gives the packet,
/// where its payload begins, and how much of `payload` it took. An empty `payload` makes a packet of an
/// adaptation field alone, which does not advance the continuity counter.
pub(super) fn pack(
    pid: u16,
    unit_start: bool,
    counter: u8,
    adaptation: Adaptation,
    payload: &[u8],
) -> (Packet, usize, usize) {
    let mut packet = [0xff; PACKET];
    let room = PACKET - 4 - adaptation.size();
    let taken = payload.len().min(room);
    let field = PACKET - 4 - taken;
    let control = if taken == 0 { 2 } else { 1 | (u8::from(field > 0) << 1) };
    header(&mut packet, pid, unit_start, control, counter);
    if field > 0 {
        packet[4] = (field - 1) as u8;
    }
    if field > 1 {
        packet[5] = (u8::from(adaptation.random_access) << 6) | (u8::from(adaptation.pcr.is_some()) << 4);
        if let Some(ticks) = adaptation.pcr {
            write_pcr(&mut packet[PCR_AT..], ticks);
        }
    }
    packet[4 + field..].copy_from_slice(&payload[..taken]);
    (packet, 4 + field, taken)
}

/// The null packet; it has no counter.
pub(super) fn null() -> Packet {
    let mut packet = [0xff; PACKET];
    header(&mut packet, pid::NULL, false, 1, 0);
    packet
}

/// The program association table: one program.
pub(super) fn pat() -> Packet {
    let mut section = vec![0x00, 0xb0, 0, 0, 1, 0xc1, 0, 0];
    section.extend_from_slice(&PROGRAM.to_be_bytes());
    section.extend_from_slice(&(0xe000 | pid::PMT).to_be_bytes());
    table(pid::PAT, section)
}

/// The program map table: H.264 with the clock, and AAC.
pub(super) fn pmt() -> Packet {
    let mut section = vec![0x02, 0xb0, 0];
    section.extend_from_slice(&PROGRAM.to_be_bytes());
    section.extend_from_slice(&[0xc1, 0, 0]);
    section.extend_from_slice(&(0xe000 | pid::VIDEO).to_be_bytes());
    section.extend_from_slice(&[0xf0, 0]);
    for (stream_type, pid) in [(TYPE_H264, pid::VIDEO), (TYPE_ADTS, pid::AUDIO)] {
        section.push(stream_type);
        section.extend_from_slice(&(0xe000 | pid).to_be_bytes());
        section.extend_from_slice(&[0xf0, 0]);
    }
    table(pid::PMT, section)
}

/// Completes a section with length and CRC and puts it into one packet.
fn table(pid: u16, mut section: Vec<u8>) -> Packet {
    section[2] = (section.len() - 3 + 4) as u8;
    section.extend_from_slice(&crc32(&section).to_be_bytes());
    let mut packet = [0xff; PACKET];
    header(&mut packet, pid, true, 1, 0);
    packet[4] = 0;
    packet[5..5 + section.len()].copy_from_slice(&section);
    packet
}

/// CRC-32/MPEG-2 over a section.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |mut crc, byte| {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            crc = if crc & 0x8000_0000 == 0 { crc << 1 } else { (crc << 1) ^ 0x04c1_1db7 };
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the CRC against the published check value of CRC-32/MPEG-2.
    #[test]
    fn crc_matches_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
    }

    /// Guards that a PES of any length is cut into packets that carry every byte, stuffed only at the end.
    #[test]
    fn packing_keeps_every_byte() {
        for length in [1usize, 150, 175, 176, 177, 182, 183, 184, 185, 368, 1000] {
            let payload: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let mut rest = &payload[..];
            let mut seen = Vec::new();
            let mut first = true;
            while !rest.is_empty() {
                let pcr = first.then_some(12_345);
                let (packet, start, taken) =
                    pack(pid::VIDEO, first, 3, Adaptation { random_access: first, pcr }, rest);
                assert_eq!(packet[0], 0x47);
                assert_eq!(PACKET - start, taken);
                if packet[3] & 0x20 != 0 {
                    assert_eq!(5 + usize::from(packet[4]), start);
                }
                seen.extend_from_slice(&packet[start..]);
                rest = &rest[taken..];
                first = false;
            }
            assert_eq!(seen, payload, "{length}");
        }
    }
}
