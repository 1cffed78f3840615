//! The exact relation between packets and time.

use std::time::Duration;

use super::ts::{PACKET, PCR_MODULUS};

/// A constant rate as a ratio: `packets` packets last `ticks` of the 27 MHz system clock.
///
/// A ratio rather than bytes per second, so that no rounding ever accumulates: after days the packet at
/// an instant, and the PCR in it, are still exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Packets in one period.
    pub packets: u64,
    /// Length of the period in 27 MHz ticks.
    pub ticks: u64,
}

impl Timing {
    /// Bytes per second, rounded to the nearest.
    pub fn rate(self) -> u64 {
        let bytes = u128::from(self.packets) * PACKET as u128 * 27_000_000;
        ((bytes + u128::from(self.ticks) / 2) / u128::from(self.ticks)) as u64
    }

    /// How many bytes have been broadcast when `elapsed` has passed since the epoch.
    pub fn position(self, elapsed: Duration) -> u64 {
        let bytes = elapsed.as_nanos() * u128::from(self.packets) * PACKET as u128 * 27;
        (bytes / (u128::from(self.ticks) * 1000)) as u64
    }

    /// When the byte at `position` is broadcast, as time since the epoch (rounded up, so that
    /// `position(time_at(p)) >= p`).
    pub fn time_at(self, position: u64) -> Duration {
        let nanos = (u128::from(position) * u128::from(self.ticks) * 1000)
            .div_ceil(u128::from(self.packets) * PACKET as u128 * 27);
        Duration::from_nanos(nanos as u64)
    }

    /// How many bytes `span` of media takes.
    pub fn bytes_in(self, span: Duration) -> u64 {
        self.position(span)
    }

    /// The value of the 27 MHz system clock when packet `index` is broadcast, wrapped as a PCR wraps.
    pub fn pcr(self, index: u64) -> u64 {
        let period = index / self.packets;
        let offset = index % self.packets;
        (period.wrapping_mul(self.ticks) + offset * self.ticks / self.packets) % PCR_MODULUS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that instant and position are inverse to each other even fifty years after the epoch.
    #[test]
    fn position_and_time_are_inverse_far_from_the_epoch() {
        let timing = Timing { packets: 5319, ticks: 27_000_000 };
        assert_eq!(timing.rate(), 5319 * 188);
        for elapsed in [0u64, 1, 999_999_999, 1_800_000_000_123_456_789] {
            let position = timing.position(Duration::from_nanos(elapsed));
            let back = timing.time_at(position);
            assert!(timing.position(back) >= position);
            assert!(back.as_nanos() as u64 <= elapsed, "{back:?} {elapsed}");
            assert!(elapsed - (back.as_nanos() as u64) < 2_000);
        }
    }

    /// Guards that the PCR advances with the packets and wraps where the format says.
    #[test]
    fn pcr_wraps_at_its_modulus() {
        let timing = Timing { packets: 100, ticks: 27_000_000 };
        assert_eq!(timing.pcr(50), 13_500_000);
        let period = PCR_MODULUS / 27_000_000 + 1;
        assert_eq!(timing.pcr(period * 100), period * 27_000_000 - PCR_MODULUS);
    }
}
