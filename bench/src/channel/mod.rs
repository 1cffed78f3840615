//! What a broadcast carries: MPEG-TS as a pure function of position.
//!
//! Every channel answers the same question: which 188 bytes are packet number `index`? Nothing else
//! goes in, no clock and no state, so that any number of simulated engines, in one process or in many,
//! serve identical bytes on one timeline: stream offset = `index * 188`, and [`Timing`] ties offsets to
//! the time since an epoch that the engines agree on.
//!
//! Channels know nothing about sessions, sockets or faults; those belong to [`crate::engine`].

pub mod check;
mod clip;
mod elementary;
mod id;
mod raw;
mod synthetic;
mod timing;
mod ts;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use clip::Clip;
pub use id::{Id, IdError, nth};
pub use raw::Raw;
pub use synthetic::{Synthetic, SyntheticOptions};
pub use timing::Timing;
pub use ts::{PACKET, PCR_MODULUS, Packet};

/// Packet ids of the tables, in every channel.
pub(crate) const TABLE_PIDS: [u16; 2] = [ts::pid::PAT, ts::pid::PMT];
/// Highest rate a channel accepts, in bytes per second (100 Mbit/s). It bounds the memory a channel's plan takes.
pub const RATE_MAX: u64 = 12_500_000;

/// A broadcast: a deterministic MPEG-TS, addressed by packet index.
pub trait Channel: Send + Sync {
    /// The packet at `index`; the same answer for ever.
    fn packet(&self, index: u64) -> Packet;

    /// How packet indices relate to time.
    fn timing(&self) -> Timing;

    /// Bytes per second, rounded to the nearest.
    fn rate(&self) -> u64 {
        self.timing().rate()
    }
}

/// Appends the stream bytes `from..to` to `out`; neither end needs to lie on a packet boundary.
pub fn read(channel: &dyn Channel, from: u64, to: u64, out: &mut Vec<u8>) {
    let mut position = from;
    while position < to {
        let index = position / PACKET as u64;
        let start = index * PACKET as u64;
        let packet = channel.packet(index);
        let head = (position - start) as usize;
        let tail = PACKET.min((to - start) as usize);
        out.extend_from_slice(&packet[head..tail]);
        position = start + tail as u64;
    }
}

/// Which channel to build; the plain data form that options and the command line carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The self-checking channel.
    Synthetic(SyntheticOptions),
    /// The committed clip, looped and padded to `rate` bytes per second.
    Clip {
        /// Bytes per second, null packets included.
        rate: u64,
    },
    /// Packets given by the caller, looped as they are at `rate` bytes per second.
    Raw {
        /// Whole 188-byte packets.
        bytes: Vec<u8>,
        /// Bytes per second.
        rate: u64,
    },
}

impl Source {
    /// Builds the channel.
    ///
    /// # Errors
    /// The rate or another option is outside what the channel can carry.
    pub fn build(&self) -> Result<Arc<dyn Channel>, Error> {
        Ok(match self {
            Self::Synthetic(options) => Arc::new(Synthetic::new(*options)?),
            Self::Clip { rate } => Arc::new(Clip::new(*rate)?),
            Self::Raw { bytes, rate } => Arc::new(Raw::new(bytes.clone(), *rate)?),
        })
    }
}

/// Why a channel cannot be built.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The content does not fit into the rate.
    #[error("a rate of {rate} bytes/s is too low for this channel, which needs at least about {min}")]
    RateTooLow {
        /// The rate asked for.
        rate: u64,
        /// A rate that is known to be enough.
        min: u64,
    },
    /// The rate is beyond what the simulator is built for.
    #[error("a rate of {rate} bytes/s is above the limit of {RATE_MAX}")]
    RateTooHigh {
        /// The rate asked for.
        rate: u64,
    },
    /// The group of pictures does not hold a whole number of pictures, or is too short or too long.
    #[error(
        "a GOP of {gop_ms} ms at {fps} pictures/s must hold 1 to 1000 whole pictures and last 100 to 10000 ms"
    )]
    Gop {
        /// Length of the group of pictures.
        gop_ms: u32,
        /// Pictures per second.
        fps: u32,
    },
    /// Padding would leave no room for media.
    #[error("{percent} % of null packets leaves no room for media, the most is 90 %")]
    Padding {
        /// The share asked for.
        percent: u8,
    },
    /// Raw bytes that are not whole packets.
    #[error("{bytes} raw bytes are not a whole number of 188-byte packets, at least one")]
    NotPackets {
        /// How many bytes were given.
        bytes: usize,
    },
}

/// Rejects rates that no channel accepts.
fn check_rate_max(rate: u64) -> Result<(), Error> {
    if rate > RATE_MAX { Err(Error::RateTooHigh { rate }) } else { Ok(()) }
}

/// One step of the splitmix64 generator: cheap, seedable and good enough for filler and jitter.
pub(crate) fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that reading any byte range gives exactly the packets' bytes, however the range is cut.
    #[test]
    fn any_cut_of_the_timeline_reads_the_same_bytes() {
        let channel = Source::Synthetic(SyntheticOptions::default()).build().expect("default options");
        let mut whole = Vec::new();
        read(&*channel, 188 * 1000, 188 * 1010, &mut whole);
        let mut cut = Vec::new();
        let mut at = 188 * 1000;
        for step in [1u64, 187, 188, 189, 3, 500, 812] {
            read(&*channel, at, at + step, &mut cut);
            at += step;
        }
        read(&*channel, at, 188 * 1010, &mut cut);
        assert_eq!(whole, cut);
        assert_eq!(&whole[188..376], &channel.packet(1001));
    }
}
