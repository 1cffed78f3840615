//! One transport stream packet and what its header says.
//!
//! Only a view: it owns nothing and checks nothing beyond what keeps reading safe. Field positions are those of
//! ISO/IEC 13818-1, 2.4.3.2 (header) and 2.4.3.4 (adaptation field).

use super::clock::Pcr;

/// Length of a transport stream packet in bytes.
pub const PACKET: usize = 188;
/// First byte of every packet.
pub const SYNC: u8 = 0x47;
/// The PID of packets that carry nothing.
pub const NULL_PID: u16 = 0x1fff;
/// How many PIDs there are.
pub const PID_COUNT: usize = 1 << 13;

/// Bytes of the packet header in front of adaptation field and payload.
const HEADER: usize = 4;

/// Packets within a state that is told: all their bytes, one after the other.
pub(super) mod flat {
    use super::PACKET;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::media::ts) fn serialize<S: Serializer>(
        packets: &[[u8; PACKET]],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        packets.as_flattened().serialize(serializer)
    }

    pub(in crate::media::ts) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<[u8; PACKET]>, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        let (packets, rest) = bytes.as_chunks::<PACKET>();
        if rest.is_empty() { Ok(packets.to_vec()) } else { Err(D::Error::custom("part of a packet")) }
    }
}

/// A borrowed packet. Its fields mean something only if [`Packet::in_sync`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a>(&'a [u8; PACKET]);

impl<'a> Packet<'a> {
    /// Views 188 bytes as a packet.
    pub fn new(bytes: &'a [u8; PACKET]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub fn bytes(self) -> &'a [u8; PACKET] {
        self.0
    }

    /// Whether the packet begins with the sync byte.
    pub fn in_sync(self) -> bool {
        self.0[0] == SYNC
    }

    /// Whether the sender or a demodulator marked the packet as damaged.
    pub fn transport_error(self) -> bool {
        self.0[1] & 0x80 != 0
    }

    /// Whether a PES packet or a section starts in this packet's payload.
    pub fn payload_unit_start(self) -> bool {
        self.0[1] & 0x40 != 0
    }

    /// The packet identifier, 0 to 0x1fff.
    pub fn pid(self) -> u16 {
        u16::from_be_bytes([self.0[1] & 0x1f, self.0[2]])
    }

    /// Whether this is a null packet, which carries nothing and is not counted by receivers.
    pub fn is_null(self) -> bool {
        self.pid() == NULL_PID
    }

    /// Whether the payload is encrypted. Header and adaptation field never are.
    pub fn scrambled(self) -> bool {
        self.0[3] & 0xc0 != 0
    }

    /// Whether the header announces an adaptation field.
    pub fn has_adaptation(self) -> bool {
        self.0[3] & 0x20 != 0
    }

    /// Whether the header announces a payload.
    pub fn has_payload(self) -> bool {
        self.0[3] & 0x10 != 0
    }

    /// The continuity counter, 0 to 15.
    pub fn continuity(self) -> u8 {
        self.0[3] & 0x0f
    }

    /// Whether the sender announces a jump in this PID's continuity counter or clock.
    pub fn discontinuity(self) -> bool {
        self.adaptation_flags() & 0x80 != 0
    }

    /// Whether the sender marks this packet as a place to start decoding.
    pub fn random_access(self) -> bool {
        self.adaptation_flags() & 0x40 != 0
    }

    /// The program clock reference, if the packet carries a whole one.
    pub fn pcr(self) -> Option<Pcr> {
        let field = self.adaptation();
        if field.first()? & 0x10 == 0 {
            return None;
        }
        let raw: &[u8; 6] = field.get(1..7)?.try_into().ok()?;
        let base =
            u64::from(u32::from_be_bytes([raw[0], raw[1], raw[2], raw[3]])) << 1 | u64::from(raw[4] >> 7);
        let extension = u16::from_be_bytes([raw[4] & 0x01, raw[5]]);
        Some(Pcr::new(base, extension))
    }

    /// The adaptation field behind its length byte; empty if there is none or its length is impossible.
    pub fn adaptation(self) -> &'a [u8] {
        if !self.has_adaptation() {
            return &[];
        }
        let length = usize::from(self.0[HEADER]);
        self.0.get(HEADER + 1..HEADER + 1 + length).unwrap_or(&[])
    }

    /// The payload; empty if there is none or the adaptation field claims more than the packet has.
    pub fn payload(self) -> &'a [u8] {
        if !self.has_payload() {
            return &[];
        }
        let start = if self.has_adaptation() { HEADER + 1 + usize::from(self.0[HEADER]) } else { HEADER };
        self.0.get(start..).unwrap_or(&[])
    }

    /// The last eight bytes. They are payload wherever there is much of it, so two packets of one PID that share
    /// counter and fingerprint are taken for the same packet sent twice, without keeping the first one.
    pub fn fingerprint(self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = *self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    fn adaptation_flags(self) -> u8 {
        // A field of length 0 is one byte of stuffing and has no flags.
        if self.has_adaptation() && self.0[HEADER] != 0 { self.0[HEADER + 1] } else { 0 }
    }
}

/// The whole packets of `bytes`, in order; a shorter rest is left out.
pub fn packets(bytes: &[u8]) -> impl ExactSizeIterator<Item = Packet<'_>> + DoubleEndedIterator {
    bytes.as_chunks::<PACKET>().0.iter().map(Packet::new)
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{Parts, VIDEO_PID},
        *,
    };

    #[test]
    fn header_fields_are_read_from_their_bits() {
        let payload = [7; 40];
        let parts = Parts {
            pid: 0x1abc,
            continuity: 11,
            start: true,
            discontinuity: true,
            random_access: true,
            pcr: Some(Pcr::new(0x1_2345_6789, 299)),
            payload: &payload,
        };
        let bytes = parts.build();
        let packet = Packet::new(&bytes);
        assert!(
            packet.in_sync()
                && packet.payload_unit_start()
                && packet.has_payload()
                && packet.has_adaptation()
        );
        assert!(packet.discontinuity() && packet.random_access());
        assert!(!packet.scrambled() && !packet.transport_error() && !packet.is_null());
        assert_eq!((packet.pid(), packet.continuity()), (0x1abc, 11));
        assert_eq!(packet.pcr(), Some(Pcr::new(0x1_2345_6789, 299)));
        assert_eq!(packet.payload(), payload);
    }

    /// An adaptation field may claim more than the packet has; what lies behind the packet must not be read.
    #[test]
    fn impossible_adaptation_lengths_leave_nothing() {
        for claimed in 184..=255 {
            let mut bytes = [0xff; PACKET];
            bytes[..5].copy_from_slice(&[SYNC, 0x41, 0x01, 0x30, claimed]);
            let packet = Packet::new(&bytes);
            assert_eq!(packet.payload(), b"", "length {claimed}");
            assert_eq!(packet.adaptation(), b"");
            assert_eq!(packet.pcr(), None);
        }
    }

    /// A field of one length byte has no flags; the byte behind it is payload and must not be taken for them.
    #[test]
    fn an_empty_adaptation_field_has_no_flags() {
        let mut bytes = [0xff; PACKET];
        bytes[..5].copy_from_slice(&[SYNC, 0x01, 0x01, 0x30, 0]);
        let packet = Packet::new(&bytes);
        assert!(!packet.discontinuity() && !packet.random_access());
        assert_eq!(packet.payload().len(), PACKET - 5);
    }

    /// A field too short for the PCR it announces must not give one made of payload bytes.
    #[test]
    fn a_clock_cut_short_is_none() {
        let mut bytes = [0xff; PACKET];
        bytes[..6].copy_from_slice(&[SYNC, 0x01, 0x01, 0x30, 6, 0x10]);
        assert_eq!(Packet::new(&bytes).pcr(), None);
    }

    #[test]
    fn a_rest_shorter_than_a_packet_is_left_out() {
        let packet = Parts { pid: VIDEO_PID, payload: &[1], ..Parts::default() }.build();
        let mut bytes = packet.repeat(2);
        bytes.truncate(2 * PACKET - 1);
        assert_eq!(packets(&bytes).map(Packet::bytes).collect::<Vec<_>>(), [&packet]);
    }
}
