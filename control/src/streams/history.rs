//! The samples of one stream, oldest first, packed.
//!
//! Most figures of a moment are those of the second before, or little more. What is kept of a sample is which of its
//! fields differ from the one before and by how much: some twenty bytes instead of some 260, for which thousands of
//! streams with hundreds of samples each would be too much.
//!
//! Samples are kept in blocks, each of which is read from its beginning; the oldest block goes once all of it is given up.

use super::sample::{LivePos, Sample};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Samples of one block: so many more than wanted may lie there, and are read to get at the newer ones.
const BLOCK: usize = 60;
/// Numbers of a sample: its time, five figures, whether there are positions, and six of those.
const NUMBERS: usize = 13;

/// See the module text.
#[derive(Debug, Default)]
pub(super) struct History {
    blocks: VecDeque<Block>,
    /// Samples of the oldest block that were given up.
    dropped: usize,
    len: usize,
    /// What the next sample is told against.
    newest: Fields,
}

#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    count: usize,
}

/// A sample as what is compared.
#[derive(Clone, Debug, Default, PartialEq)]
struct Fields {
    numbers: [Option<i64>; NUMBERS],
    status: Option<Arc<str>>,
}

impl History {
    /// How many samples there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds the newest one. Its time is kept to the microsecond.
    pub(super) fn push(&mut self, sample: &Sample) {
        let now = Fields::of(sample);
        if self.blocks.back().is_none_or(|block| block.count == BLOCK) {
            if let Some(full) = self.blocks.back_mut() {
                full.bytes.shrink_to_fit();
            }
            self.blocks.push_back(Block::default());
            self.newest = Fields::default();
        }
        if let Some(block) = self.blocks.back_mut() {
            now.write(&self.newest, &mut block.bytes);
            block.count += 1;
        }
        self.newest = now;
        self.len += 1;
    }

    /// Gives the oldest one up.
    pub(super) fn pop_front(&mut self) {
        let Some(oldest) = self.blocks.front() else { return };
        self.len -= 1;
        self.dropped += 1;
        if self.dropped == oldest.count {
            self.blocks.pop_front();
            self.dropped = 0;
        }
    }

    /// Those from a moment on, oldest first.
    pub(super) fn since(&self, since: Option<SystemTime>) -> Vec<Sample> {
        let mut found = Vec::new();
        let mut dropped = self.dropped;
        for block in &self.blocks {
            let (mut bytes, mut fields) = (&block.bytes[..], Fields::default());
            for at in 0..block.count {
                fields.read(&mut bytes);
                let sample = (at >= dropped).then(|| fields.sample());
                found.extend(sample.filter(|sample| since.is_none_or(|since| sample.at >= since)));
            }
            dropped = 0;
        }
        found
    }
}

impl Fields {
    fn of(sample: &Sample) -> Self {
        let micros = sample.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        let at = i64::try_from(micros).unwrap_or(i64::MAX);
        let Sample { peers, speed_down, speed_up, downloaded, uploaded, .. } = *sample;
        let is_placed = sample.livepos.as_ref().map(|_| 1);
        let LivePos { pos, live_first, live_last, first_ts, last_ts, buffer_pieces } =
            sample.livepos.as_deref().copied().unwrap_or_default();
        let figures = [Some(at), peers, speed_down, speed_up, downloaded, uploaded, is_placed];
        let places = [pos, live_first, live_last, first_ts, last_ts, buffer_pieces];
        let mut numbers = [None; NUMBERS];
        numbers.iter_mut().zip(figures.into_iter().chain(places)).for_each(|(to, from)| *to = from);
        Self { numbers, status: sample.status.clone() }
    }

    fn sample(&self) -> Sample {
        let [
            at,
            peers,
            speed_down,
            speed_up,
            downloaded,
            uploaded,
            is_placed,
            pos,
            live_first,
            live_last,
            first_ts,
            last_ts,
            buffer_pieces,
        ] = self.numbers;
        let places = LivePos { pos, live_first, live_last, first_ts, last_ts, buffer_pieces };
        Sample {
            at: SystemTime::UNIX_EPOCH + Duration::from_micros(at.unwrap_or(0).unsigned_abs()),
            peers,
            speed_down,
            speed_up,
            downloaded,
            uploaded,
            status: self.status.clone(),
            livepos: is_placed.map(|_| Box::new(places)),
        }
    }

    /// One bit for each field that differs, then those fields.
    fn write(&self, before: &Self, bytes: &mut Vec<u8>) {
        let pairs = || self.numbers.iter().zip(&before.numbers);
        let differ = pairs().enumerate().filter(|(_, (now, before))| now != before);
        let mut changed = differ.map(|(at, _)| 1_u16 << at).sum::<u16>();
        changed |= u16::from(self.status != before.status) << NUMBERS;
        bytes.extend_from_slice(&changed.to_le_bytes());
        for (now, before) in pairs().filter(|(now, before)| now != before) {
            // Nothing is 0, and a number is one more than by how much it differs, with its sign last.
            let told = now.map_or(0, |now| {
                let by = now.wrapping_sub(before.unwrap_or(0));
                u128::from((by as u64) << 1 ^ (by >> 63) as u64) + 1
            });
            write_number(told, bytes);
        }
        if self.status != before.status {
            let told = self.status.as_ref().map_or(0, |status| status.len() as u128 + 1);
            write_number(told, bytes);
            bytes.extend_from_slice(self.status.as_deref().unwrap_or_default().as_bytes());
        }
    }

    /// Becomes the next sample of a block.
    fn read(&mut self, bytes: &mut &[u8]) {
        let changed = u16::from_le_bytes([read_byte(bytes), read_byte(bytes)]);
        for (at, number) in self.numbers.iter_mut().enumerate().filter(|(at, _)| changed >> at & 1 == 1) {
            debug_assert!(at < NUMBERS);
            *number = read_number(bytes).checked_sub(1).map(|told| {
                let told = told as u64;
                let by = (told >> 1) as i64 ^ -((told & 1) as i64);
                number.unwrap_or(0).wrapping_add(by)
            });
        }
        if changed >> NUMBERS & 1 == 1 {
            self.status = read_number(bytes).checked_sub(1).map(|length| {
                let (text, rest) = bytes.split_at((length as usize).min(bytes.len()));
                *bytes = rest;
                String::from_utf8_lossy(text).into()
            });
        }
    }
}

/// Seven bits at a time, the lowest first.
fn write_number(mut number: u128, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read_number(bytes: &mut &[u8]) -> u128 {
    let mut number = 0;
    for shift in (0..70).step_by(7) {
        let byte = read_byte(bytes);
        number |= u128::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

fn read_byte(bytes: &mut &[u8]) -> u8 {
    let Some((first, rest)) = bytes.split_first() else { return 0 };
    *bytes = rest;
    *first
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number() -> impl Strategy<Value = Option<i64>> {
        prop_oneof![Just(None), any::<i64>().prop_map(Some), (0_i64..2000).prop_map(Some)]
    }

    fn places() -> impl Strategy<Value = LivePos> {
        [(); 6].map(|()| number()).prop_map(
            |[pos, live_first, live_last, first_ts, last_ts, buffer_pieces]| LivePos {
                pos,
                live_first,
                live_last,
                first_ts,
                last_ts,
                buffer_pieces,
            },
        )
    }

    prop_compose! {
        fn sample()(
            at in 0_u64..1 << 52,
            [peers, speed_down, speed_up, downloaded, uploaded] in [(); 5].map(|()| number()),
            status in prop::option::of("[a-zü]{0,12}"),
            places in prop::option::of(places()),
        ) -> Sample {
            let at = SystemTime::UNIX_EPOCH + Duration::from_micros(at);
            let (status, livepos) = (status.map(Into::into), places.map(Box::new));
            Sample { at, peers, speed_down, speed_up, downloaded, uploaded, status, livepos }
        }
    }

    proptest! {
        /// Guards: whatever engines say comes out as it went in, however many samples are given up meanwhile.
        #[test]
        fn samples_come_out_as_they_went_in(
            samples in prop::collection::vec(sample(), 0..3 * BLOCK),
            kept_max in 1..2 * BLOCK,
            since in 0_u64..1 << 52,
        ) {
            let mut history = History::default();
            for sample in &samples {
                history.push(sample);
                while history.len() > kept_max {
                    history.pop_front();
                }
            }
            let kept = &samples[samples.len().saturating_sub(kept_max)..];
            prop_assert_eq!(history.len(), kept.len());
            prop_assert_eq!(history.since(None), kept);
            let since = SystemTime::UNIX_EPOCH + Duration::from_micros(since);
            let newer: Vec<_> = kept.iter().filter(|sample| sample.at >= since).cloned().collect();
            prop_assert_eq!(history.since(Some(since)), newer);
            (0..kept_max + 1).for_each(|_| history.pop_front());
            prop_assert_eq!((history.len(), history.since(None)), (0, Vec::new()));
        }
    }

    /// Guards what it is for: figures that move as those of a stream that plays take a tenth of what they take unpacked.
    #[test]
    fn a_stream_that_plays_takes_few_bytes_for_each_sample() {
        let mut history = History::default();
        for second in 0..720_i64 {
            let live = |behind| Some(1_700_000_000 + second - behind);
            history.push(&Sample {
                at: SystemTime::UNIX_EPOCH
                    + Duration::from_micros(1_700_000_000_000_000 + second as u64 * 1_000_217),
                peers: Some(20 + second % 3),
                speed_down: Some(1000 + second * 37 % 200),
                speed_up: Some(100 + second * 17 % 50),
                downloaded: Some(second * 1_000_000),
                uploaded: Some(second * 100_000),
                status: Some("dl".into()),
                livepos: Some(Box::new(LivePos {
                    pos: live(20),
                    live_first: live(600),
                    live_last: live(0),
                    first_ts: live(600),
                    last_ts: live(0),
                    buffer_pieces: Some(15),
                })),
            });
        }
        let bytes: usize = history.blocks.iter().map(|block| block.bytes.capacity()).sum();
        assert!(bytes < 720 * 26, "{} bytes for each", bytes / 720);
    }
}
