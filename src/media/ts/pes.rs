//! The presentation time stamp in front of an access unit (ISO/IEC 13818-1, 2.4.3.6).

use super::packet::Packet;

/// Ticks of a time stamp in a second.
pub const PTS_PER_S: u64 = 90_000;
/// Time stamps count modulo this.
pub const PTS_MODULUS: u64 = 1 << 33;

/// The presentation time stamp of the PES packet that starts in this packet; `None` when none starts here, it has
/// none, or it cannot be read because the payload is encrypted or the header continues in another packet.
pub fn pts(packet: Packet<'_>) -> Option<u64> {
    if !packet.in_sync() || !packet.payload_unit_start() || packet.scrambled() {
        return None;
    }
    let [0, 0, 1, _stream, _, _, marks, flags, _length, stamp @ ..] = packet.payload() else { return None };
    let [a, b, c, d, e, ..] = *stamp else { return None };
    let is_stamped = marks & 0xc0 == 0x80 && flags & 0x80 != 0;
    // The marker bits tell a stamp from whatever else a broken sender puts here.
    if !is_stamped || a & 1 == 0 || c & 1 == 0 || e & 1 == 0 {
        return None;
    }
    let [a, b, c, d, e] = [a, b, c, d, e].map(u64::from);
    Some((a >> 1 & 0x07) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1)
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{AUDIO_PID, Parts, VIDEO_PID, stamped},
        *,
    };

    fn read(payload: &[u8]) -> Option<u64> {
        pts(Packet::new(&Parts { pid: VIDEO_PID, start: true, payload, ..Parts::default() }.build()))
    }

    /// Guards: every bit of a stamp is read from its place.
    #[test]
    fn a_stamp_is_read_bit_by_bit() {
        for bit in 0..33 {
            assert_eq!(read(&stamped(0xe0, 1 << bit, &[])), Some(1 << bit), "bit {bit}");
        }
        assert_eq!(read(&stamped(0xc0, PTS_MODULUS - 1, &[9])), Some(PTS_MODULUS - 1));
    }

    /// Guards: what is not a whole stamp is none.
    #[test]
    fn what_is_not_a_whole_stamp_is_none() {
        let whole = stamped(0xe0, 90_000, &[]);
        assert_eq!(read(&whole[..13]), None, "cut off");
        let without = [0, 0, 1, 0xe0, 0, 0, 0x80, 0x00, 0, 0x21, 0, 1, 0, 1];
        assert_eq!(read(&without), None, "no stamp is announced");
        assert_eq!(read(&[7; 20]), None, "no PES packet");
        let parts = Parts { pid: AUDIO_PID, start: false, payload: &whole, ..Parts::default() };
        assert_eq!(pts(Packet::new(&parts.build())), None, "no PES packet starts here");
        let mut scrambled = Parts { start: true, ..parts }.build();
        scrambled[3] |= 0x80;
        assert_eq!(pts(Packet::new(&scrambled)), None, "encrypted");
    }
}
