//! Packets given by the caller, looped as they are.

use super::{Channel, Error, PACKET, Packet, Timing, check_rate_max};

/// A loop of foreign packets. Counters and clocks are not rewritten: at the loop point they jump.
pub struct Raw {
    packets: Vec<Packet>,
    timing: Timing,
}

impl Raw {
    /// Takes whole packets and the rate to serve them at.
    ///
    /// # Errors
    /// `bytes` is empty or ends mid-packet, or the rate is out of range.
    pub fn new(bytes: Vec<u8>, rate: u64) -> Result<Self, Error> {
        check_rate_max(rate)?;
        if rate < PACKET as u64 {
            return Err(Error::RateTooLow { rate, min: PACKET as u64 });
        }
        let (packets, rest) = bytes.as_chunks::<PACKET>();
        if packets.is_empty() || !rest.is_empty() {
            return Err(Error::NotPackets { bytes: bytes.len() });
        }
        Ok(Self { packets: packets.to_vec(), timing: Timing { packets: rate, ticks: 188 * 27_000_000 } })
    }
}

impl Channel for Raw {
    fn packet(&self, index: u64) -> Packet {
        self.packets[(index % self.packets.len() as u64) as usize]
    }

    fn timing(&self) -> Timing {
        self.timing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that bytes which are not packets are refused and that packets come back unchanged at the rate.
    #[test]
    fn only_whole_packets_are_taken() {
        assert_eq!(Raw::new(vec![0; 187], 1000).err(), Some(Error::NotPackets { bytes: 187 }));
        assert_eq!(Raw::new(vec![], 1000).err(), Some(Error::NotPackets { bytes: 0 }));
        let raw = Raw::new([[1; 188], [2; 188]].concat(), 1000).expect("two packets");
        assert_eq!(raw.packet(7), [2; 188]);
        assert_eq!(raw.rate(), 1000);
    }
}
