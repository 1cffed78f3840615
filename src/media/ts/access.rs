//! Random access points: where a decoder can start.
//!
//! A point is the packet in which a PES packet of the program's first video stream starts, if the sender flags it
//! (random access indicator) or the access unit opens with what a decoder needs: H.264 IDR slice or sequence
//! parameters, HEVC intra random access picture or parameter sets, MPEG-2 sequence header. Of a program without video
//! it is every start of its first audio stream. The payload is read only until the first picture data, at most over
//! [`SCANNED_PACKETS_MAX`] packets. Encrypted payloads and unknown codecs rely on the flag; as long as such a stream
//! never showed one, every PES start counts, because a stream nobody can join is worse than a late picture.

use super::{
    packet::Packet,
    psi::{StreamKind, Tables},
};
use serde::{Deserialize, Serialize};

/// How many packets of an access unit are searched for what it opens with. Parameter sets come first; long
/// supplemental information in front of them is what needs more than one packet.
pub const SCANNED_PACKETS_MAX: u8 = 16;

/// Bytes of a PES header up to and including its own length field (ISO/IEC 13818-1, 2.4.3.6).
const PES_HEADER: usize = 9;

/// What is known of a PES packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Decoding cannot start here.
    No,
    /// More of the payload is needed.
    Undecided,
    /// A random access point.
    Yes,
}

/// Judges the PES packets of one stream's access PID.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Detector {
    target: Option<Target>,
    /// Whether the target ever carried the random access flag.
    flag_seen: bool,
    scan: Option<Scan>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Target {
    pid: u16,
    kind: StreamKind,
}

impl Detector {
    /// Follows the stream that these tables make the one to start at.
    pub fn follow(&mut self, tables: &Tables) {
        let video = tables.streams.iter().find(|stream| stream.kind.is_video());
        let chosen = video.or_else(|| tables.streams.iter().find(|stream| stream.kind.is_audio()));
        let target = chosen.map(|stream| Target { pid: stream.pid, kind: stream.kind });
        if target != self.target {
            *self = Self { target, ..Self::default() };
        }
    }

    /// Forgets target and partial PES packet.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The PID whose packets are to be shown.
    pub fn pid(&self) -> Option<u16> {
        self.target.map(|target| target.pid)
    }

    /// Looks at the packet in which a PES packet starts.
    pub fn start(&mut self, packet: Packet<'_>) -> Look {
        self.scan = None;
        let Some(Target { kind, .. }) = self.target else { return Look::No };
        if kind.is_audio() {
            return Look::Yes;
        }
        if packet.random_access() {
            self.flag_seen = true;
            return Look::Yes;
        }
        match Codec::of(kind) {
            Some(codec) if !packet.scrambled() => {
                self.scan = Some(Scan::new(codec));
                self.more(packet)
            }
            _ if self.flag_seen => Look::No,
            _ => Look::Yes,
        }
    }

    /// Looks at a following packet of an undecided PES packet.
    pub fn more(&mut self, packet: Packet<'_>) -> Look {
        let Some(scan) = &mut self.scan else { return Look::No };
        let look = if packet.scrambled() { Look::No } else { scan.feed(packet.payload()) };
        if look != Look::Undecided {
            self.scan = None;
        }
        look
    }

    /// Gives up the undecided PES packet: some of its packets are missing.
    pub fn interrupted(&mut self) {
        self.scan = None;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Codec {
    H264,
    Hevc,
    Mpeg2,
}

impl Codec {
    fn of(kind: StreamKind) -> Option<Self> {
        match kind {
            StreamKind::H264 => Some(Self::H264),
            StreamKind::Hevc => Some(Self::Hevc),
            StreamKind::Mpeg2 => Some(Self::Mpeg2),
            StreamKind::OtherVideo(_) | StreamKind::Audio(_) | StreamKind::Other(_) => None,
        }
    }

    /// What the byte behind a start code says. `No` means picture data of a unit that did not open with more.
    fn judge(self, code: u8) -> Look {
        match self {
            Self::H264 => match code & 0x1f {
                5 | 7 => Look::Yes,
                1..=4 => Look::No,
                _ => Look::Undecided,
            },
            Self::Hevc => match (code >> 1) & 0x3f {
                16..=21 | 32..=34 => Look::Yes,
                0..=9 => Look::No,
                _ => Look::Undecided,
            },
            Self::Mpeg2 => match code {
                0xb3 => Look::Yes,
                0x00..=0xaf => Look::No,
                _ => Look::Undecided,
            },
        }
    }
}

/// Search for the first telling start code of one PES packet, across packets.
#[derive(Debug, Serialize, Deserialize)]
struct Scan {
    codec: Codec,
    packets: u8,
    /// How much of the PES header was seen, then how much of it is left to skip.
    header: Header,
    /// The last four payload bytes, newest lowest: a start code and the byte behind it may be split.
    window: u32,
}

#[derive(Debug, Serialize, Deserialize)]
enum Header {
    Reading { seen: usize },
    Skipping { left: usize },
}

/// No start code can end inside this.
const WINDOW_EMPTY: u32 = u32::MAX;

impl Scan {
    fn new(codec: Codec) -> Self {
        Self { codec, packets: 0, header: Header::Reading { seen: 0 }, window: WINDOW_EMPTY }
    }

    fn feed(&mut self, payload: &[u8]) -> Look {
        self.packets += 1;
        let look = match self.skip_header(payload) {
            Some(elementary) => self.search(elementary),
            None => Look::No,
        };
        if look == Look::Undecided && self.packets == SCANNED_PACKETS_MAX { Look::No } else { look }
    }

    /// The part of the payload behind the PES header; `None` if this is no PES packet.
    fn skip_header<'a>(&mut self, mut payload: &'a [u8]) -> Option<&'a [u8]> {
        while let Header::Reading { seen } = self.header {
            let [byte, rest @ ..] = payload else { return Some(payload) };
            match (seen, byte) {
                (0 | 1, 0) | (2, 1) | (3..=7, _) => self.header = Header::Reading { seen: seen + 1 },
                (0..=2, _) => return None,
                (PES_HEADER.., _) | (8, _) => self.header = Header::Skipping { left: usize::from(*byte) },
            }
            payload = rest;
        }
        if let Header::Skipping { left } = &mut self.header {
            let skipped = payload.len().min(*left);
            *left -= skipped;
            payload = &payload[skipped..];
        }
        Some(payload)
    }

    fn search(&mut self, bytes: &[u8]) -> Look {
        for &byte in bytes {
            let start_code = self.window & 0x00ff_ffff == 0x0000_0001;
            self.window = self.window << 8 | u32::from(byte);
            if start_code {
                match self.codec.judge(byte) {
                    Look::Undecided => {}
                    decided => return decided,
                }
            }
        }
        Look::Undecided
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            packet::PACKET,
            testing::{AAC, H264, HEVC, MPEG2, Parts, VIDEO_PID, pes},
        },
        *,
    };

    fn detector(stream_type: u8) -> Detector {
        let kind = match stream_type {
            H264 => StreamKind::H264,
            HEVC => StreamKind::Hevc,
            MPEG2 => StreamKind::Mpeg2,
            AAC => StreamKind::Audio(AAC),
            other => StreamKind::OtherVideo(other),
        };
        Detector { target: Some(Target { pid: VIDEO_PID, kind }), ..Detector::default() }
    }

    fn packet(start: bool, payload: &[u8]) -> [u8; PACKET] {
        Parts { pid: VIDEO_PID, start, payload, ..Parts::default() }.build()
    }

    /// Shows a PES packet with this elementary content, cut into payloads of `cut` bytes.
    fn judge(stream_type: u8, elementary: &[u8], cut: usize) -> Look {
        let mut detector = detector(stream_type);
        let bytes = pes(0xe0, elementary);
        let mut look = Look::Undecided;
        for (index, payload) in bytes.chunks(cut).enumerate() {
            let bytes = packet(index == 0, payload);
            let packet = Packet::new(&bytes);
            look = if index == 0 { detector.start(packet) } else { detector.more(packet) };
            if look != Look::Undecided {
                break;
            }
        }
        look
    }

    #[test]
    fn access_units_are_judged_by_what_they_open_with_wherever_they_are_cut() {
        const AUD: &[u8] = &[0, 0, 0, 1, 0x09, 0xf0];
        let cases: [(&str, u8, Vec<u8>, Look); 10] = [
            ("idr", H264, [AUD, &[0, 0, 1, 0x65, 1]].concat(), Look::Yes),
            ("parameters", H264, [AUD, &[0, 0, 0, 1, 0x67, 1]].concat(), Look::Yes),
            ("slice", H264, [AUD, &[0, 0, 1, 0x41, 1, 0, 0, 1, 0x65]].concat(), Look::No),
            ("message, then idr", H264, [AUD, &[0, 0, 1, 6, 5, 4, 3, 0, 0, 1, 0x25]].concat(), Look::Yes),
            ("cra", HEVC, vec![0, 0, 1, 0x46, 1, 0x50, 0, 0, 1, 21 << 1, 1], Look::Yes),
            ("vps", HEVC, vec![0, 0, 0, 1, 0x40, 1], Look::Yes),
            ("trailing picture", HEVC, vec![0, 0, 1, 0x02, 1, 0, 0, 1, 0x26], Look::No),
            ("sequence", MPEG2, vec![0, 0, 1, 0xb3, 1], Look::Yes),
            ("picture", MPEG2, vec![0, 0, 1, 0x00, 1, 0, 0, 1, 0xb3], Look::No),
            ("nothing telling", H264, AUD.to_vec(), Look::Undecided),
        ];
        for (name, stream_type, elementary, expected) in cases {
            for cut in 1..=24 {
                if elementary.len() + 14 > cut * usize::from(SCANNED_PACKETS_MAX) {
                    continue;
                }
                assert_eq!(judge(stream_type, &elementary, cut), expected, "{name}, {cut} bytes a packet");
            }
        }
    }

    /// Header fields may hold any byte; those of the PES header must not be taken for the picture.
    #[test]
    fn start_codes_in_the_pes_header_do_not_count() {
        let mut bytes = vec![0, 0, 1, 0xe0, 0, 0, 0x80, 0x01, 8, 0, 0, 1, 0x67, 0, 0, 1, 0x65];
        bytes.extend_from_slice(&[0, 0, 1, 0x41]);
        assert_eq!(detector(H264).start(Packet::new(&packet(true, &bytes))), Look::No);
    }

    #[test]
    fn the_search_ends_after_its_bound() {
        let mut detector = detector(H264);
        let first = packet(true, &pes(0xe0, &[0, 0, 1, 0x09]));
        let filler = packet(false, &[0xaa; 184]);
        let mut looks = vec![detector.start(Packet::new(&first))];
        looks.extend((1..SCANNED_PACKETS_MAX).map(|_| detector.more(Packet::new(&filler))));
        assert_eq!(looks.pop(), Some(Look::No));
        assert!(looks.iter().all(|look| *look == Look::Undecided));
    }

    #[test]
    fn the_flag_counts_for_every_codec() {
        for stream_type in [H264, HEVC, MPEG2, 0x33] {
            let payload = pes(0xe0, &[0, 0, 1, 0x41]);
            let bytes = Parts {
                pid: VIDEO_PID,
                start: true,
                random_access: true,
                payload: &payload,
                ..Parts::default()
            }
            .build();
            assert_eq!(detector(stream_type).start(Packet::new(&bytes)), Look::Yes, "{stream_type:#x}");
        }
    }

    /// A stream nobody can look into can be joined anywhere, until it shows that it flags its points.
    #[test]
    fn opaque_video_relies_on_the_flag_once_it_was_seen() {
        let mut scrambled = packet(true, &pes(0xe0, &[0, 0, 1, 0x41]));
        scrambled[3] |= 0x80;
        let mut detector = detector(H264);
        assert_eq!(detector.start(Packet::new(&scrambled)), Look::Yes);
        let mut flagged =
            Parts { pid: VIDEO_PID, start: true, random_access: true, payload: &[1], ..Parts::default() }
                .build();
        flagged[3] |= 0x80;
        assert_eq!(detector.start(Packet::new(&flagged)), Look::Yes);
        assert_eq!(detector.start(Packet::new(&scrambled)), Look::No);
    }

    #[test]
    fn audio_alone_starts_anywhere() {
        assert_eq!(detector(AAC).start(Packet::new(&packet(true, &pes(0xc0, &[1])))), Look::Yes);
    }
}
