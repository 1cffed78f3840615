//! One 188-byte transport stream packet, read field by field.
//!
//! Written from ISO/IEC 13818-1 and on purpose shared with no other part of the project: a checker that used the
//! appliance's own parser would share its mistakes. Pure; every accessor is total, whatever the bytes are.

/// Bytes in a packet.
pub const PACKET_LEN: usize = 188;
/// First byte of every packet.
pub const SYNC: u8 = 0x47;
/// PID of the program association table.
pub const PID_PAT: u16 = 0;
/// PID of null packets.
pub const PID_NULL: u16 = 0x1fff;
/// PIDs below this one are reserved for tables (PAT, CAT, NIT, SDT, EIT and so on).
pub(super) const PID_FIRST_FREE: u16 = 0x20;

/// A borrowed packet. Its first byte is not necessarily [`SYNC`]; the caller has looked.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a>(pub &'a [u8; PACKET_LEN]);

impl<'a> Packet<'a> {
    /// The 13-bit packet identifier.
    pub fn pid(self) -> u16 {
        u16::from(self.0[1] & 0x1f) << 8 | u16::from(self.0[2])
    }

    /// The sender marked the packet as damaged.
    pub fn has_transport_error(self) -> bool {
        self.0[1] & 0x80 != 0
    }

    /// A PES packet or a section starts in this packet.
    pub fn starts_unit(self) -> bool {
        self.0[1] & 0x40 != 0
    }

    /// The 4-bit continuity counter.
    pub fn continuity(self) -> u8 {
        self.0[3] & 0x0f
    }

    /// The packet carries payload, so its continuity counter advances.
    pub fn has_payload(self) -> bool {
        self.0[3] & 0x10 != 0
    }

    /// The adaptation field without its length byte; empty when there is none or its length is impossible.
    pub fn adaptation(self) -> &'a [u8] {
        if self.0[3] & 0x20 == 0 {
            return &[];
        }
        self.0.get(5..5 + usize::from(self.0[4])).unwrap_or(&[])
    }

    fn adaptation_flags(self) -> u8 {
        self.adaptation().first().copied().unwrap_or(0)
    }

    /// `discontinuity_indicator` of the adaptation field.
    pub fn is_discontinuity(self) -> bool {
        self.adaptation_flags() & 0x80 != 0
    }

    /// `random_access_indicator` of the adaptation field.
    pub fn is_random_access(self) -> bool {
        self.adaptation_flags() & 0x40 != 0
    }

    /// The program clock reference in ticks of 27 MHz.
    pub fn pcr(self) -> Option<u64> {
        let field = self.adaptation();
        if field.len() < 7 || field[0] & 0x10 == 0 {
            return None;
        }
        let base = field[1..5].iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let base = base << 1 | u64::from(field[5] >> 7);
        let extension = u64::from(field[5] & 1) << 8 | u64::from(field[6]);
        Some(base * 300 + extension)
    }

    /// Bytes behind header and adaptation field; empty when the packet carries none.
    pub fn payload(self) -> &'a [u8] {
        if !self.has_payload() {
            return &[];
        }
        let start = if self.0[3] & 0x20 == 0 { 4 } else { 5 + usize::from(self.0[4]) };
        self.0.get(start..).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the bit positions of the header and of the adaptation field.
    #[test]
    fn fields_are_read_from_their_bits() {
        let mut bytes = [0xff; PACKET_LEN];
        // PID 0x101, unit start, adaptation + payload, CC 9; 7 bytes of adaptation: discontinuity, random access, PCR.
        bytes[..12].copy_from_slice(&[0x47, 0x41, 0x01, 0x39, 7, 0xd0, 0, 0, 0, 1, 0x80 | 0x7e | 1, 0x02]);
        let packet = Packet(&bytes);
        assert_eq!(packet.pid(), 0x101);
        assert!(packet.starts_unit() && packet.has_payload() && !packet.has_transport_error());
        assert_eq!(packet.continuity(), 9);
        assert!(packet.is_discontinuity() && packet.is_random_access());
        assert_eq!(packet.pcr(), Some(3 * 300 + 258));
        assert_eq!(packet.payload().len(), PACKET_LEN - 12);
    }

    /// Guards against a panic on an adaptation field that claims more than the packet holds.
    #[test]
    fn an_impossible_adaptation_length_reads_as_nothing() {
        let mut bytes = [0xff; PACKET_LEN];
        bytes[..5].copy_from_slice(&[0x47, 0, 0, 0x30, 255]);
        let packet = Packet(&bytes);
        assert!(packet.adaptation().is_empty() && packet.payload().is_empty());
        assert_eq!(packet.pcr(), None);
    }
}
