//! PAT and PMT sections: which PID carries what.
//!
//! Sections are put together over packets and accepted only with a valid CRC. Only the first program of the PAT is
//! followed, since a player of this service is given single-program streams. Pure.

use super::packet::{PACKET_LEN, PID_FIRST_FREE, PID_PAT, Packet};

/// A section may claim 1021 bytes behind its length field (ISO/IEC 13818-1, 2.4.4).
const SECTION_LEN_MAX: usize = 1024;

/// How the elementary stream is coded, as far as finding a key frame needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// MPEG-1 or MPEG-2 video.
    Mpeg2,
    /// H.264.
    Avc,
    /// H.265.
    Hevc,
    /// Audio, subtitles, data: decodable at every PES start.
    Other,
}

/// One elementary stream named by the PMT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elementary {
    /// PID of its packets.
    pub pid: u16,
    /// Its coding.
    pub coding: Coding,
}

/// What [`Tables::read`] made of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// The packet belongs to the PAT; `complete` when a valid section ended in it.
    Pat {
        /// A section with a valid CRC ended here.
        complete: bool,
    },
    /// The packet belongs to the PMT in force; `complete` as for the PAT.
    Pmt {
        /// A section with a valid CRC ended here.
        complete: bool,
    },
    /// Another table (SDT, EIT and the like).
    Other,
    /// Not a table as far as is known.
    None,
}

/// Table state of one stream.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pat: Section,
    pmt: Section,
    pmt_pid: Option<u16>,
    elementary: Vec<Elementary>,
    /// Sections whose CRC was wrong.
    pub(super) crc_errors: u64,
}

#[derive(Debug, Default)]
struct Section {
    bytes: Vec<u8>,
    open: bool,
}

impl Tables {
    /// Takes a packet in.
    pub(super) fn read(&mut self, packet: Packet<'_>) -> Table {
        let pid = packet.pid();
        if pid == PID_PAT {
            let complete = match self.pat.push(packet) {
                Some(Ok(section)) => self.take_pat(&section),
                Some(Err(BadCrc)) => self.count_bad_crc(),
                None => false,
            };
            Table::Pat { complete }
        } else if Some(pid) == self.pmt_pid {
            let complete = match self.pmt.push(packet) {
                Some(Ok(section)) => self.take_pmt(&section),
                Some(Err(BadCrc)) => self.count_bad_crc(),
                None => false,
            };
            Table::Pmt { complete }
        } else if pid < PID_FIRST_FREE {
            Table::Other
        } else {
            Table::None
        }
    }

    /// The stream a player starts on: the first video stream, or the first of any kind.
    pub(super) fn leading(&self) -> Option<Elementary> {
        let video = self.elementary.iter().find(|stream| stream.coding != Coding::Other);
        video.or(self.elementary.first()).copied()
    }

    fn count_bad_crc(&mut self) -> bool {
        self.crc_errors += 1;
        false
    }

    fn take_pat(&mut self, section: &[u8]) -> bool {
        if section[0] != 0 {
            return false;
        }
        let programs = section[8..section.len() - 4].chunks_exact(4);
        let first =
            programs.map(|entry| (be16(entry, 0), be16(entry, 2) & 0x1fff)).find(|entry| entry.0 != 0);
        let Some((_, pid)) = first else { return false };
        if self.pmt_pid != Some(pid) {
            self.pmt_pid = Some(pid);
            self.pmt = Section::default();
            self.elementary.clear();
        }
        true
    }

    fn take_pmt(&mut self, section: &[u8]) -> bool {
        if section[0] != 2 || section.len() < 16 {
            return false;
        }
        let end = section.len() - 4;
        let mut at = 12 + usize::from(be16(section, 10) & 0x0fff);
        self.elementary.clear();
        while at + 5 <= end {
            let coding = match section[at] {
                0x01 | 0x02 => Coding::Mpeg2,
                0x1b => Coding::Avc,
                0x24 => Coding::Hevc,
                _ => Coding::Other,
            };
            self.elementary.push(Elementary { pid: be16(section, at + 1) & 0x1fff, coding });
            at += 5 + usize::from(be16(section, at + 3) & 0x0fff);
        }
        !self.elementary.is_empty()
    }
}

struct BadCrc;

impl Section {
    /// Adds a packet's payload; returns the section that it completes.
    fn push(&mut self, packet: Packet<'_>) -> Option<Result<Vec<u8>, BadCrc>> {
        let mut payload = packet.payload();
        if packet.starts_unit() {
            let pointer = usize::from(*payload.first()?);
            payload = payload.get(1 + pointer..)?;
            self.bytes.clear();
            self.open = true;
        }
        if !self.open {
            return None;
        }
        self.bytes.extend_from_slice(payload);
        if self.bytes.len() < 3 {
            return None;
        }
        let length = 3 + usize::from(be16(&self.bytes, 1) & 0x0fff);
        if !(12..=SECTION_LEN_MAX).contains(&length) {
            self.open = false;
            return Some(Err(BadCrc));
        }
        if self.bytes.len() < length {
            debug_assert!(self.bytes.len() < SECTION_LEN_MAX + PACKET_LEN);
            return None;
        }
        self.open = false;
        self.bytes.truncate(length);
        // The CRC over a section that ends with its own CRC is zero.
        Some(if crc32(&self.bytes) == 0 { Ok(std::mem::take(&mut self.bytes)) } else { Err(BadCrc) })
    }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from(bytes[at]) << 8 | u16::from(bytes[at + 1])
}

/// CRC-32/MPEG-2, as ISO/IEC 13818-1 annex A defines it. Bitwise: tables are a few packets a second.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc & 0x8000_0000 != 0 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 }
        })
    })
}

/// Tells whether a key frame's PES packet starts in `packet`, by the indicator or by what the payload begins with.
pub(super) fn is_random_access(packet: Packet<'_>, coding: Coding) -> bool {
    if !packet.starts_unit() {
        return false;
    }
    if packet.is_random_access() {
        return true;
    }
    let payload = packet.payload();
    if payload.len() < 9 || payload[..3] != [0, 0, 1] {
        return false;
    }
    let elementary = payload.get(9 + usize::from(payload[8])..).unwrap_or(&[]);
    let mut codes = elementary.windows(4).filter(|window| window[..3] == [0, 0, 1]).map(|window| window[3]);
    match coding {
        Coding::Other => true,
        Coding::Mpeg2 => codes.any(|code| code == 0xb3),
        Coding::Avc => codes.any(|code| matches!(code & 0x1f, 5 | 7)),
        Coding::Hevc => codes.any(|code| matches!(code >> 1 & 0x3f, 16..=21 | 32..=34)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the CRC against the check value of its published definition.
    #[test]
    fn crc_matches_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
    }
}
