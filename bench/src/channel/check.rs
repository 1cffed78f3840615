//! The mark in every packet of a synthetic channel, and how to read it.
//!
//! Every packet of the elementary streams (video and audio, never PAT, PMT or null packets) ends with
//! 32 bytes:
//!
//! | bytes of the packet | what |
//! |---|---|
//! | 156..164 | seed of the broadcast, big endian, exclusive-or [`MASK`] |
//! | 164..172 | [`MAGIC`] |
//! | 172..180 | global packet index, big endian, exclusive-or [`MASK`] |
//! | 180..188 | a hash of seed, index and bytes 0..180 of the packet, see `hash` |
//!
//! The index counts all packets of the broadcast, so `index * 188` is the stream offset. A checker proves
//! that nothing was lost, doubled or moved from the indices alone, and that nothing was changed either from
//! the hash, or by comparing whole packets with [`super::Channel::packet`]. The mask keeps the small
//! numbers of a test from looking like H.264 start codes.

use super::Packet;

/// Marks the trailer; holds no start code and no sync byte.
pub const MAGIC: [u8; 8] = *b"SLUICE\0\x01";
/// Exclusive-or mask of seed and index.
pub const MASK: u64 = 0xa5a5_a5a5_a5a5_a5a5;
/// Bytes the mark takes at the end of a packet.
pub const SIZE: usize = 32;

const SEED_AT: usize = 156;
const MAGIC_AT: usize = 164;
const INDEX_AT: usize = 172;
const HASH_AT: usize = 180;

/// What a marked packet says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which broadcast the packet belongs to.
    pub seed: u64,
    /// Its place in the broadcast: stream offset divided by 188.
    pub index: u64,
}

/// Reads the mark of a packet. `None` when `packet` is not 188 bytes, carries no mark, or is damaged.
pub fn read(packet: &[u8]) -> Option<Mark> {
    let packet: &Packet = packet.try_into().ok()?;
    if packet[MAGIC_AT..INDEX_AT] != MAGIC {
        return None;
    }
    let mark = Mark { seed: number(packet, SEED_AT) ^ MASK, index: number(packet, INDEX_AT) ^ MASK };
    (hash(mark, packet) == number(packet, HASH_AT)).then_some(mark)
}

/// True when `packet` claims to carry a mark, whether or not it is intact.
pub fn is_marked(packet: &[u8]) -> bool {
    packet.get(MAGIC_AT..INDEX_AT).is_some_and(|bytes| bytes == MAGIC)
}

/// Writes the mark over the end of a packet that is otherwise complete.
pub(super) fn write(packet: &mut Packet, mark: Mark) {
    packet[SEED_AT..MAGIC_AT].copy_from_slice(&(mark.seed ^ MASK).to_be_bytes());
    packet[MAGIC_AT..INDEX_AT].copy_from_slice(&MAGIC);
    packet[INDEX_AT..HASH_AT].copy_from_slice(&(mark.index ^ MASK).to_be_bytes());
    let hash = hash(mark, packet);
    packet[HASH_AT..].copy_from_slice(&hash.to_be_bytes());
}

fn number(packet: &Packet, at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&packet[at..at + 8]);
    u64::from_be_bytes(bytes)
}

/// FNV-1a over words of eight bytes, big endian, the last one filled up with zeros, whose upper half is folded into the lower
/// one after each: an engine of hundreds of channels spends most of its time here, and a byte at a time takes five times
/// as long.
fn hash(mark: Mark, packet: &Packet) -> u64 {
    let (words, rest) = packet[..HASH_AT].as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]).map(|word| u64::from_be_bytes(*word));
    [mark.seed, mark.index].into_iter().chain(words).fold(0xcbf2_9ce4_8422_2325, |hash: u64, word| {
        let hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^ hash >> 32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the hash against a value worked out elsewhere, so that other checkers can be written from its description.
    #[test]
    fn the_hash_is_what_is_described() {
        let mut packet = [0; 188];
        packet.iter_mut().zip(0..).for_each(|(byte, at)| *byte = at);
        assert_eq!(hash(Mark { seed: 7, index: 1 << 40 }, &packet), 0x555c_6b0d_eb34_1944);
    }

    /// Guards that a flipped bit anywhere in a packet is noticed.
    #[test]
    fn any_flipped_bit_is_noticed() {
        let mut packet = [0x5a; 188];
        let mark = Mark { seed: 7, index: 1 << 40 };
        write(&mut packet, mark);
        assert_eq!(read(&packet), Some(mark));
        for bit in 0..188 * 8 {
            let mut damaged = packet;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&damaged), None, "bit {bit}");
        }
        assert_eq!(read(&packet[1..]), None);
    }
}
