//! The self-checking channel: a valid transport stream whose every media packet proves its place.
//!
//! The stream repeats one plan per group of pictures: which packet of the group is which kind, and the
//! how-manieth of its PID. From plan and index follow all fields: continuity counters from counts,
//! clocks from time. Each picture owns an equal share of the group's packets, laid out as: tables (about
//! each 100 ms), the start of the picture (with PCR; in the first picture of a group also random access flag,
//! SPS, PPS and an IDR slice header), video, one audio PES, a second PCR at half time, video, null packets.
//! Payload bytes are pseudo-random and never zero, hence free of start codes; [`super::check`] says what
//! stands at the end of every media packet. The pictures do not decode: they only look like H.264 to a
//! parser.

use serde::{Deserialize, Serialize};

use super::check::{self, Mark};
use super::ts::{self, Adaptation, PACKET, Packet, pid, stream_id};
use super::{Channel, Error, Timing, check_rate_max, mix};

/// Fewest packets a picture's share may have: two tables, two clocks, audio and some video.
const SHARE_MIN: u64 = 10;
/// How long after its last byte a picture is shown, in 90 kHz ticks, on top of one picture's duration.
const DISPLAY_DELAY: u64 = 9_000;

/// Access unit delimiter, SPS and PPS as an encoder writes them for 640x360 Main profile.
const DELIMITER: &[u8] = &[0, 0, 0, 1, 0x09, 0xf0];
const PARAMETER_SETS: &[u8] = &[
    0, 0, 0, 1, 0x67, 0x4d, 0x40, 0x1f, 0xa6, 0x11, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 0x44, 0, 0, 3, 0, 4, 0, 0,
    3, 0, 0xc8, 0x3c, 0x60, 0xc8, 0x46, 0, 0, 0, 1, 0x68, 0xe8, 0x43, 0x32, 0xc8,
];
const SLICE_IDR: &[u8] = &[0, 0, 0, 1, 0x65, 0x88, 0x82];
const SLICE: &[u8] = &[0, 0, 0, 1, 0x41, 0x9a, 0x26];

/// What to broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticOptions {
    /// Tells this broadcast from others; part of every mark.
    pub seed: u64,
    /// Bytes per second; rounded down to whole packets per group of pictures.
    pub rate: u64,
    /// Length of a group of pictures in milliseconds: how often a player can join.
    pub gop_ms: u32,
    /// Pictures per second.
    pub fps: u32,
    /// Share of null packets, in percent.
    pub null_percent: u8,
}

impl Default for SyntheticOptions {
    /// 8 Mbit/s, 25 pictures per second, a join point each second, no padding.
    fn default() -> Self {
        Self { seed: 1, rate: 1_000_000, gop_ms: 1000, fps: 25, null_percent: 0 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pat,
    Pmt,
    Picture,
    Video,
    VideoClock,
    Audio,
    AudioStart,
    Null,
}

impl Kind {
    /// Which continuity counter the packet belongs to.
    fn stream(self) -> Option<usize> {
        match self {
            Self::Pat => Some(0),
            Self::Pmt => Some(1),
            Self::Picture | Self::Video | Self::VideoClock => Some(2),
            Self::Audio | Self::AudioStart => Some(3),
            Self::Null => None,
        }
    }
}

/// One packet of the plan.
#[derive(Clone, Copy)]
struct Slot {
    kind: Kind,
    /// Picture within the group.
    picture: u16,
    /// Packets of the same PID before this one in the group.
    ordinal: u32,
}

/// The channel itself; build it once and share it.
pub struct Synthetic {
    seed: u64,
    timing: Timing,
    /// 90 kHz ticks per group and pictures per group: picture `k` is due `k * ticks / pictures` into the group.
    pts_per_gop: u64,
    pictures: u64,
    audio_packets: usize,
    plan: Vec<Slot>,
    /// Packets per group of PAT, PMT, video and audio.
    counts: [u64; 4],
    pat: Packet,
    pmt: Packet,
}

impl Synthetic {
    /// Lays out the plan.
    ///
    /// # Errors
    /// The options contradict each other or leave no room for media.
    pub fn new(options: SyntheticOptions) -> Result<Self, Error> {
        let SyntheticOptions { seed, rate, gop_ms, fps, null_percent } = options;
        check_rate_max(rate)?;
        let thousand_pictures = u64::from(gop_ms) * u64::from(fps);
        let pictures = thousand_pictures / 1000;
        let lengths = (100..=10_000).contains(&gop_ms) && (1..=1000).contains(&pictures);
        if !lengths || thousand_pictures % 1000 != 0 {
            return Err(Error::Gop { gop_ms, fps });
        }
        if null_percent > 90 {
            return Err(Error::Padding { percent: null_percent });
        }
        let packets = rate * u64::from(gop_ms) / (1000 * PACKET as u64);
        let share_min = SHARE_MIN * 100 / u64::from(100 - null_percent) + 1;
        if packets < share_min * pictures {
            let min = share_min * pictures * PACKET as u64 * 1000 / u64::from(gop_ms) + PACKET as u64;
            return Err(Error::RateTooLow { rate, min });
        }
        let share = packets / pictures;
        let audio_packets = (share / 32).clamp(1, 8) as usize;
        let mut channel = Self {
            seed,
            timing: Timing { packets, ticks: u64::from(gop_ms) * 27_000 },
            pts_per_gop: u64::from(gop_ms) * 90,
            pictures,
            audio_packets,
            plan: Vec::with_capacity(packets as usize),
            counts: [0; 4],
            pat: ts::pat(),
            pmt: ts::pmt(),
        };
        let table_interval = u64::from(fps / 10).max(1);
        for picture in 0..pictures {
            let size = ((picture + 1) * packets / pictures - picture * packets / pictures) as usize;
            let kinds = layout(size, picture % table_interval == 0, audio_packets, null_percent);
            channel.append(picture as u16, &kinds);
        }
        Ok(channel)
    }

    fn append(&mut self, picture: u16, kinds: &[Kind]) {
        for &kind in kinds {
            let mut ordinal = 0;
            if let Some(stream) = kind.stream() {
                ordinal = self.counts[stream] as u32;
                self.counts[stream] += 1;
            }
            self.plan.push(Slot { kind, picture, ordinal });
        }
    }

    fn pts(&self, gop: u64, picture: u16) -> u64 {
        let due = (u64::from(picture) + 1) * self.pts_per_gop / self.pictures;
        gop.wrapping_mul(self.pts_per_gop) + due + DISPLAY_DELAY
    }

    fn picture_start(&self, index: u64, gop: u64, picture: u16, counter: u8) -> Packet {
        let random_access = picture == 0;
        let mut payload = [0; PACKET];
        let mut length = 0;
        let mut put = |bytes: &[u8]| {
            payload[length..length + bytes.len()].copy_from_slice(bytes);
            length += bytes.len();
        };
        put(&ts::pes_header(stream_id::VIDEO, 0, self.pts(gop, picture)));
        put(DELIMITER);
        if random_access {
            put(PARAMETER_SETS);
        }
        put(if random_access { SLICE_IDR } else { SLICE });
        let adaptation = Adaptation { random_access, pcr: Some(self.timing.pcr(index)) };
        let (mut packet, start, _) = ts::pack(pid::VIDEO, true, counter, adaptation, &payload);
        self.filler(index, &mut packet[start + length..]);
        packet
    }

    fn audio_start(&self, index: u64, gop: u64, picture: u16, counter: u8) -> Packet {
        // The whole PES fills its packets exactly, so the first header is all that needs a length.
        let frame = self.audio_packets * (PACKET - 4) - ts::PES_HEADER;
        let mut payload = [0; PACKET];
        payload[..ts::PES_HEADER].copy_from_slice(&ts::pes_header(
            stream_id::AUDIO,
            frame,
            self.pts(gop, picture),
        ));
        payload[ts::PES_HEADER..ts::PES_HEADER + 7].copy_from_slice(&adts_header(frame));
        let (mut packet, start, _) = ts::pack(pid::AUDIO, true, counter, Adaptation::default(), &payload);
        self.filler(index, &mut packet[start + ts::PES_HEADER + 7..]);
        packet
    }

    fn media(&self, index: u64, pid: u16, counter: u8, pcr: Option<u64>) -> Packet {
        let adaptation = Adaptation { random_access: false, pcr };
        let (mut packet, start, _) = ts::pack(pid, false, counter, adaptation, &[0; PACKET]);
        self.filler(index, &mut packet[start..]);
        packet
    }

    /// Fills with pseudo-random bytes, none of them zero.
    fn filler(&self, index: u64, out: &mut [u8]) {
        let state = mix(self.seed ^ index.rotate_left(17));
        // None waits for the one before.
        for (at, chunk) in (1..).zip(out.chunks_mut(8)) {
            let bytes = (mix(state.wrapping_add(at)) | 0x0101_0101_0101_0101).to_be_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

impl Channel for Synthetic {
    fn packet(&self, index: u64) -> Packet {
        let gop = index / self.timing.packets;
        let slot = self.plan[(index % self.timing.packets) as usize];
        let counter = slot.kind.stream().map_or(0, |stream| {
            gop.wrapping_mul(self.counts[stream]).wrapping_add(u64::from(slot.ordinal)) as u8 & 15
        });
        let mut packet = match slot.kind {
            Kind::Pat => with_counter(self.pat, counter),
            Kind::Pmt => with_counter(self.pmt, counter),
            Kind::Null => ts::null(),
            Kind::Picture => self.picture_start(index, gop, slot.picture, counter),
            Kind::AudioStart => self.audio_start(index, gop, slot.picture, counter),
            Kind::Video => self.media(index, pid::VIDEO, counter, None),
            Kind::VideoClock => self.media(index, pid::VIDEO, counter, Some(self.timing.pcr(index))),
            Kind::Audio => self.media(index, pid::AUDIO, counter, None),
        };
        if matches!(slot.kind.stream(), Some(2 | 3)) {
            check::write(&mut packet, Mark { seed: self.seed, index });
        }
        packet
    }

    fn timing(&self) -> Timing {
        self.timing
    }
}

fn with_counter(mut packet: Packet, counter: u8) -> Packet {
    ts::set_counter(&mut packet, counter);
    packet
}

/// The kinds of one picture's share, in order.
fn layout(size: usize, tables: bool, audio: usize, null_percent: u8) -> Vec<Kind> {
    let nulls = size * usize::from(null_percent) / 100;
    let media = size - nulls;
    let mut kinds = vec![Kind::Video; media];
    let mut next = 0;
    if tables {
        kinds[0] = Kind::Pat;
        kinds[1] = Kind::Pmt;
        next = 2;
    }
    kinds[next] = Kind::Picture;
    let audio_at = next + 2;
    kinds[audio_at] = Kind::AudioStart;
    kinds[audio_at + 1..audio_at + audio].fill(Kind::Audio);
    // Nulls stand at the end of the share, so half of the media is at most half of the time. Padded shares
    // put the second clock behind the media instead, to keep clocks 40 ms apart at 25 pictures/s or better.
    let clock_at = if nulls == 0 { (size / 2).max(audio_at + audio) } else { media - 1 };
    kinds[clock_at] = Kind::VideoClock;
    kinds.resize(size, Kind::Null);
    kinds
}

/// An ADTS header (AAC-LC, 48 kHz, stereo) for a frame of `length` bytes, header included.
fn adts_header(length: usize) -> [u8; 7] {
    let length = length as u16;
    [0xff, 0xf1, 0x4c, 0x80 | (length >> 11) as u8, (length >> 3) as u8, ((length as u8) << 5) | 0x1f, 0xfc]
}

#[cfg(test)]
mod tests {
    use super::super::ts::{PCR_MODULUS, PTS_MODULUS};
    use super::*;

    fn counter_of(packet: &Packet) -> (u16, u8) {
        (u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]), packet[3] & 15)
    }

    fn pcr_of(packet: &Packet) -> Option<u64> {
        if packet[3] & 0x20 == 0 || packet[4] == 0 || packet[5] & 0x10 == 0 {
            return None;
        }
        let base = u64::from(u32::from_be_bytes([packet[6], packet[7], packet[8], packet[9]])) << 1
            | u64::from(packet[10] >> 7);
        Some(base * 300 + (u64::from(packet[10] & 1) << 8 | u64::from(packet[11])))
    }

    fn pts_of(packet: &Packet) -> Option<u64> {
        if packet[1] & 0x40 == 0 {
            return None;
        }
        let start = if packet[3] & 0x20 == 0 { 4 } else { 5 + usize::from(packet[4]) };
        let pes = &packet[start..];
        if pes[..3] != [0, 0, 1] {
            return None;
        }
        let p: Vec<u64> = pes[9..14].iter().map(|b| u64::from(*b)).collect();
        Some((p[0] >> 1 & 7) << 30 | p[1] << 22 | (p[2] >> 1) << 15 | p[3] << 7 | p[4] >> 1)
    }

    fn variants() -> Vec<SyntheticOptions> {
        let base = SyntheticOptions::default();
        vec![
            base,
            SyntheticOptions { rate: 100_000, ..base },
            SyntheticOptions { rate: 6_000_000, gop_ms: 2000, fps: 50, ..base },
            SyntheticOptions { rate: 800_000, null_percent: 60, gop_ms: 480, ..base },
        ]
    }

    /// Guards that counters run on without a gap, across groups of pictures and far from the epoch.
    #[test]
    fn counters_have_no_gap() {
        for options in variants() {
            let channel = Synthetic::new(options).expect("valid options");
            let mut last = std::collections::HashMap::new();
            let first = 9_500_000_000_000;
            for index in first..first + 3 * channel.timing.packets {
                let (pid, counter) = counter_of(&channel.packet(index));
                if pid == ts::pid::NULL {
                    continue;
                }
                if let Some(before) = last.insert(pid, counter) {
                    assert_eq!(counter, (before + 1) & 15, "pid {pid} at {index} of {options:?}");
                }
            }
            assert_eq!(last.len(), 4);
        }
    }

    /// Guards that clocks are exact and at most 40 ms apart, also across the wrap, and that every picture is
    /// shown soon after, never before, its packets.
    #[test]
    fn clocks_and_time_stamps_agree_across_the_wrap() {
        for options in variants() {
            let channel = Synthetic::new(options).expect("valid options");
            let groups_to_wrap = PCR_MODULUS / channel.timing.ticks;
            let first = (groups_to_wrap - 1) * channel.timing.packets;
            let mut last = None;
            let mut wrapped = false;
            for index in first..first + 4 * channel.timing.packets {
                let packet = channel.packet(index);
                if let Some(pcr) = pcr_of(&packet)
                    && let Some(before) = last.replace(pcr)
                {
                    let step = (pcr + PCR_MODULUS - before) % PCR_MODULUS;
                    assert!(step > 0 && step <= 27_000 * 40, "{step} at {index} of {options:?}");
                    wrapped |= pcr < before;
                }
                if let Some(pts) = pts_of(&packet) {
                    let clock = channel.timing.pcr(index) / 300;
                    let ahead = (pts + PTS_MODULUS - clock) % PTS_MODULUS;
                    assert!((9_000..90_000).contains(&ahead), "{ahead} at {index} of {options:?}");
                }
            }
            assert!(wrapped);
        }
    }

    /// Guards that every media packet, and no other, carries an intact mark with its own index.
    #[test]
    fn every_media_packet_is_marked() {
        for options in variants() {
            let channel = Synthetic::new(options).expect("valid options");
            for index in 7_000_000..7_000_000 + channel.timing.packets {
                let packet = channel.packet(index);
                let (pid, _) = counter_of(&packet);
                let expected = matches!(pid, ts::pid::VIDEO | ts::pid::AUDIO)
                    .then_some(Mark { seed: options.seed, index });
                assert_eq!(check::read(&packet), expected);
            }
        }
    }

    /// Guards that a start code appears only where one was put: at the head of a picture or an audio unit.
    #[test]
    fn filler_holds_no_start_code() {
        let channel = Synthetic::new(SyntheticOptions::default()).expect("default options");
        for index in 0..2 * channel.timing.packets {
            let packet = channel.packet(index);
            let found = packet.windows(3).filter(|bytes| *bytes == [0, 0, 1]).count();
            let expected = match channel.plan[(index % channel.timing.packets) as usize] {
                Slot { kind: Kind::Picture, picture: 0, .. } => 5,
                Slot { kind: Kind::Picture, .. } => 3,
                Slot { kind: Kind::AudioStart, .. } => 1,
                Slot { kind: Kind::Pat | Kind::Pmt, .. } => continue,
                _ => 0,
            };
            assert_eq!(found, expected, "at {index}");
        }
    }

    /// Guards that the rate is what was asked for, to within one packet per group of pictures.
    #[test]
    fn rate_is_close_to_the_one_asked_for() {
        let channel = Synthetic::new(SyntheticOptions::default()).expect("default options");
        assert!(channel.rate() <= 1_000_000 && channel.rate() > 1_000_000 - 188);
    }

    /// Guards that impossible options are refused with what would be possible.
    #[test]
    fn impossible_options_are_refused() {
        let base = SyntheticOptions::default();
        let Err(Error::RateTooLow { min, .. }) = Synthetic::new(SyntheticOptions { rate: 1000, ..base })
        else {
            panic!("1 kB/s was accepted");
        };
        assert!(Synthetic::new(SyntheticOptions { rate: min, ..base }).is_ok());
        assert!(matches!(Synthetic::new(SyntheticOptions { gop_ms: 333, ..base }), Err(Error::Gop { .. })));
        assert!(matches!(
            Synthetic::new(SyntheticOptions { null_percent: 95, ..base }),
            Err(Error::Padding { percent: 95 })
        ));
        assert!(matches!(
            Synthetic::new(SyntheticOptions { rate: u64::MAX, ..base }),
            Err(Error::RateTooHigh { .. })
        ));
    }
}
