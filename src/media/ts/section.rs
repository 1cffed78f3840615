//! Sections: the units tables are sent in, put together from packets and checked.
//!
//! A section starts behind the pointer field of a packet, may span packets and may share them with others. Only
//! sections of the wanted table are collected, one at a time per PID; nothing is kept of one that was torn, is too long
//! or fails its CRC.

use super::packet::{PACKET, Packet};
use serde::{Deserialize, Serialize};

/// The longest PAT or PMT section: its length field is at most 1021 (ISO/IEC 13818-1, 2.4.4.3 and 2.4.4.8).
pub const SECTION_BYTES_MAX: usize = 1024;
/// More packets than this for one section are refused; full packets need at most seven.
pub const SECTION_PACKETS_MAX: usize = 16;

/// Bytes of a long-form section before its own fields, from table id to last section number.
const SECTION_HEADER: usize = 8;
const CRC_BYTES: usize = 4;

/// Collects one section at a time of one PID.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Assembler {
    section: Vec<u8>,
    #[serde(with = "super::packet::flat")]
    packets: Vec<[u8; PACKET]>,
}

impl Assembler {
    /// Drops the section being collected.
    pub(super) fn reset(&mut self) {
        self.section.clear();
        self.packets.clear();
    }

    /// Takes a packet and hands out every section of `table` that ends in it, with the packets it came in.
    pub(super) fn push(
        &mut self,
        packet: Packet<'_>,
        table: u8,
        mut deliver: impl FnMut(&[u8], &[[u8; PACKET]]),
    ) {
        let payload = packet.payload();
        let (tail, mut starts) = match payload {
            [] => return,
            [pointer, rest @ ..] if packet.payload_unit_start() => {
                match rest.split_at_checked(usize::from(*pointer)) {
                    Some(parts) => parts,
                    None => return self.reset(),
                }
            }
            _ => (payload, &[][..]),
        };
        if !self.packets.is_empty() {
            self.append(packet, tail, &mut deliver);
            if packet.payload_unit_start() {
                // A section still incomplete where another one starts was cut short.
                self.reset();
            }
        }
        // 0xff where a table id would be means that only stuffing follows.
        while starts.first().is_some_and(|&id| id != 0xff) {
            self.reset();
            if starts[0] == table {
                let used = self.append(packet, starts, &mut deliver);
                starts = &starts[used..];
            } else {
                starts = section_bytes(starts).and_then(|bytes| starts.get(bytes..)).unwrap_or(&[]);
            }
        }
    }

    /// Adds bytes of the current section; how many it took. A section that ends is delivered and forgotten, one that
    /// is impossible is forgotten.
    fn append(
        &mut self,
        packet: Packet<'_>,
        bytes: &[u8],
        deliver: &mut impl FnMut(&[u8], &[[u8; PACKET]]),
    ) -> usize {
        if self.packets.len() == SECTION_PACKETS_MAX {
            self.reset();
            return bytes.len();
        }
        self.packets.push(*packet.bytes());
        let before = self.section.len();
        let room = SECTION_BYTES_MAX - before;
        self.section.extend_from_slice(&bytes[..bytes.len().min(room)]);
        match self.complete_at() {
            Some(end) if end <= self.section.len() => {
                self.section.truncate(end);
                deliver(&self.section, &self.packets);
                self.reset();
                end - before
            }
            Some(end) if end > SECTION_BYTES_MAX => {
                self.reset();
                bytes.len()
            }
            _ => bytes.len(),
        }
    }

    fn complete_at(&self) -> Option<usize> {
        section_bytes(&self.section)
    }
}

/// What a complete section is worth.
pub(super) enum Check {
    Good,
    /// Valid, but announced for later.
    NotYet,
    Broken,
}

/// Judges form, length, checksum and time of validity.
pub(super) fn check(section: &[u8]) -> Check {
    let long_form = section.get(1).is_some_and(|flags| flags & 0x80 != 0);
    if !long_form || section.len() < SECTION_HEADER + CRC_BYTES || crc32(section) != 0 {
        return Check::Broken;
    }
    if section[5] & 0x01 == 0 { Check::NotYet } else { Check::Good }
}

/// The whole length a section announces, if its first three bytes are there.
fn section_bytes(section: &[u8]) -> Option<usize> {
    let [_, high, low, ..] = section else { return None };
    Some(3 + usize::from(u16::from_be_bytes([high & 0x0f, *low])))
}

/// The section's table id extension: the transport stream's id in a PAT, the program number in a PMT.
pub(super) fn extension(section: &[u8]) -> u16 {
    u16::from_be_bytes([section[3], section[4]])
}

/// The section's place among those of its table.
pub(super) fn section_number(section: &[u8]) -> u8 {
    section[6]
}

/// What a checked section holds between header and CRC.
pub(super) fn body(section: &[u8]) -> &[u8] {
    &section[SECTION_HEADER..section.len() - CRC_BYTES]
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = (index as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 0x8000_0000 != 0 { (value << 1) ^ 0x04c1_1db7 } else { value << 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

/// The CRC of ISO/IEC 13818-1, annex A. Over a section including its CRC field it is 0.
pub fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| (crc << 8) ^ CRC_TABLE[usize::from((crc >> 24) as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_mpeg() {
        assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
    }
}
