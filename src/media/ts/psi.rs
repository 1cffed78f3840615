//! Program tables: PAT and PMT sections, and the packets they came in.
//!
//! One program is followed: the first of the PAT's programs whose PMT appears. Of a PAT in several sections the first
//! is read. Sections are checked by CRC and length; broken ones are counted and leave what is known untouched.
//! Tables are compared by section content, so that a repetition with other continuity counters is not a change.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::{
    packet::{NULL_PID, PACKET, Packet},
    section::{Assembler, Check, body, check, extension, section_number},
};

/// How many programs of a PAT are considered.
pub const PROGRAMS_MAX: usize = 16;

const PAT_PID: u16 = 0;
const PAT_TABLE: u8 = 0x00;
const PMT_TABLE: u8 = 0x02;
/// PIDs below are reserved for tables (PAT, CAT, TSDT, ...).
const PID_FREE_MIN: u16 = 0x10;

/// The tables in force over a part of the stream. Equal if their sections are, whatever packets carried them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tables {
    /// Grows by one with each change of content; the first is 1.
    pub generation: u32,
    /// The number of the program followed.
    pub program: u16,
    /// The PAT's packets as they came, from the one it starts in to the one it ends in.
    #[serde(with = "super::packet::flat")]
    pub pat: Vec<[u8; PACKET]>,
    /// The PMT's packets as they came.
    #[serde(with = "super::packet::flat")]
    pub pmt: Vec<[u8; PACKET]>,
    /// Where the PMT came from.
    pub pmt_pid: u16,
    /// Which PID carries the program's clock, if any does.
    pub pcr_pid: Option<u16>,
    /// The program's elementary streams in PMT order.
    pub streams: Vec<Stream>,
    sections: [Vec<u8>; 2],
}

impl PartialEq for Tables {
    fn eq(&self, other: &Self) -> bool {
        self.sections == other.sections
    }
}

impl Eq for Tables {}

/// One elementary stream of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Its packet identifier.
    pub pid: u16,
    /// What it carries.
    pub kind: StreamKind,
}

/// What an elementary stream carries, as far as random access and HLS need to know. The number is the PMT's stream type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamKind {
    /// H.264 (AVC) video.
    H264,
    /// H.265 (HEVC) video.
    Hevc,
    /// MPEG-1 or MPEG-2 video.
    Mpeg2,
    /// Video of another codec.
    OtherVideo(u8),
    /// Audio.
    Audio(u8),
    /// Subtitles, data, or unknown.
    Other(u8),
}

impl StreamKind {
    /// Whether it is video of any codec.
    pub fn is_video(self) -> bool {
        matches!(self, Self::H264 | Self::Hevc | Self::Mpeg2 | Self::OtherVideo(_))
    }

    /// Whether it is audio.
    pub fn is_audio(self) -> bool {
        matches!(self, Self::Audio(_))
    }

    fn from_type(stream_type: u8, descriptors: &[u8]) -> Self {
        match stream_type {
            0x01 | 0x02 => Self::Mpeg2,
            0x1b => Self::H264,
            0x24 => Self::Hevc,
            // MPEG-4 visual, scalable and stereo AVC, JPEG 2000, VVC, AVS, VC-1.
            0x10 | 0x1f | 0x20 | 0x21 | 0x33 | 0x42 | 0xd2 | 0xd4 | 0xea => Self::OtherVideo(stream_type),
            // MPEG audio, AAC in both framings, then the ATSC and Blu-ray numbers of AC-3, DTS and their relatives.
            0x03 | 0x04 | 0x0f | 0x11 | 0x1c | 0x80..=0x88 | 0x8a | 0xa1 | 0xa2 => Self::Audio(stream_type),
            0x06 => Self::from_descriptors(descriptors),
            other => Self::Other(other),
        }
    }

    /// Private PES data says in its descriptors what it is.
    fn from_descriptors(mut descriptors: &[u8]) -> Self {
        while let [tag, length, rest @ ..] = descriptors {
            let Some((body, next)) = rest.split_at_checked(usize::from(*length)) else { break };
            match (tag, body) {
                // Registration descriptor with the codec's four letters.
                (0x05, [b'H', b'E', b'V', b'C', ..]) => return Self::Hevc,
                (0x05, [b'A', b'C', b'-', b'3', ..] | [b'E', b'A', b'C', b'3', ..] | [b'O', b'p', b'u', b's', ..])
                | (0x05, [b'D', b'T', b'S', b'1'..=b'3', ..] | [b'B', b'S', b'S', b'D', ..])
                // DVB descriptors of AC-3, enhanced AC-3, DTS and AAC.
                | (0x6a | 0x7a | 0x7b | 0x7c, _) => return Self::Audio(0x06),
                _ => descriptors = next,
            }
        }
        Self::Other(0x06)
    }
}

/// What a packet did to the tables in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Update {
    /// Nothing.
    None,
    /// The tables known before the source changed are in force again.
    Returned,
    /// New tables are in force.
    Changed,
}

/// Assembles the tables of one stream.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Psi {
    pat: Assembler,
    /// The PAT section in force with its packets.
    pat_taken: Option<Taken>,
    programs: Vec<Program>,
    /// One per distinct PMT PID that is of interest.
    pmts: Vec<(u16, Assembler)>,
    chosen: Option<(Program, Taken)>,
    /// The program followed before the source changed.
    preferred: Option<u16>,
    newest: Option<Arc<Tables>>,
    broken_sections: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Program {
    number: u16,
    pmt_pid: u16,
}

#[derive(Clone, Serialize, Deserialize)]
struct Taken {
    section: Vec<u8>,
    #[serde(with = "super::packet::flat")]
    packets: Vec<[u8; PACKET]>,
}

impl Psi {
    /// Whether packets of this PID belong here.
    #[inline]
    pub(super) fn wants(&self, pid: u16) -> bool {
        pid == PAT_PID || self.pmts.iter().any(|(known, _)| *known == pid)
    }

    /// Takes a packet of a wanted PID.
    pub(super) fn push(&mut self, packet: Packet<'_>) -> Update {
        if packet.pid() == PAT_PID { self.push_pat(packet) } else { self.push_pmt(packet) }
    }

    /// Drops the section being assembled on this PID: packets of it are missing.
    pub(super) fn interrupted(&mut self, pid: u16) {
        if pid == PAT_PID {
            self.pat.reset();
        }
        for (_, assembler) in self.pmts.iter_mut().filter(|(known, _)| *known == pid) {
            assembler.reset();
        }
    }

    /// Forgets the source. Tables must appear again before any are in force, but if they are the same they keep
    /// their generation.
    pub(super) fn source_changed(&mut self) {
        self.preferred = self.newest.as_ref().map(|tables| tables.program);
        self.pat.reset();
        self.pat_taken = None;
        self.programs.clear();
        self.pmts.clear();
        self.chosen = None;
    }

    /// The tables in force at this point of the stream.
    pub(super) fn in_force(&self) -> Option<&Arc<Tables>> {
        self.chosen.as_ref().and(self.newest.as_ref())
    }

    /// Sections refused for their CRC or length.
    pub(super) fn broken_sections(&self) -> u64 {
        self.broken_sections
    }

    fn push_pat(&mut self, packet: Packet<'_>) -> Update {
        let mut update = Update::None;
        let mut assembler = std::mem::take(&mut self.pat);
        assembler.push(packet, PAT_TABLE, |section, packets| match check(section) {
            Check::Good => update = update.max(self.take_pat(section, packets)),
            Check::NotYet => {}
            Check::Broken => self.broken_sections += 1,
        });
        self.pat = assembler;
        update
    }

    fn push_pmt(&mut self, packet: Packet<'_>) -> Update {
        let Some(at) = self.pmts.iter().position(|(known, _)| *known == packet.pid()) else {
            return Update::None;
        };
        let mut update = Update::None;
        let mut assembler = std::mem::take(&mut self.pmts[at].1);
        assembler.push(packet, PMT_TABLE, |section, packets| match check(section) {
            Check::Good => update = update.max(self.take_pmt(packet.pid(), section, packets)),
            Check::NotYet => {}
            Check::Broken => self.broken_sections += 1,
        });
        // Choosing a program drops the other ones' assemblers, so the place may have moved.
        if let Some((_, place)) = self.pmts.iter_mut().find(|(known, _)| *known == packet.pid()) {
            *place = assembler;
        }
        update
    }

    fn take_pat(&mut self, section: &[u8], packets: &[[u8; PACKET]]) -> Update {
        let known = self.pat_taken.as_ref().is_some_and(|taken| taken.section == section);
        if known || section_number(section) != 0 {
            return Update::None;
        }
        self.programs = programs(section);
        self.pat_taken = Some(Taken { section: section.to_vec(), packets: packets.to_vec() });
        if self.chosen.as_ref().is_some_and(|(program, _)| self.programs.contains(program)) {
            return self.publish();
        }
        self.chosen = None;
        self.pmts.clear();
        for program in &self.programs {
            if !self.pmts.iter().any(|(pid, _)| *pid == program.pmt_pid) {
                self.pmts.push((program.pmt_pid, Assembler::default()));
            }
        }
        Update::None
    }

    fn take_pmt(&mut self, pid: u16, section: &[u8], packets: &[[u8; PACKET]]) -> Update {
        let program = Program { number: extension(section), pmt_pid: pid };
        let expected = match &self.chosen {
            Some((chosen, taken)) => *chosen == program && taken.section != section,
            None => self.programs.contains(&program) && self.acceptable(program),
        };
        if !expected || section_number(section) != 0 {
            return Update::None;
        }
        self.chosen = Some((program, Taken { section: section.to_vec(), packets: packets.to_vec() }));
        self.pmts.retain(|(known, _)| *known == pid);
        self.publish()
    }

    /// After a change of source the same program is waited for if it still exists.
    fn acceptable(&self, program: Program) -> bool {
        self.preferred.is_none_or(|preferred| {
            preferred == program.number || !self.programs.iter().any(|other| other.number == preferred)
        })
    }

    fn publish(&mut self) -> Update {
        let (Some(pat), Some((program, pmt))) = (&self.pat_taken, &self.chosen) else { return Update::None };
        let generation = self.newest.as_ref().map_or(0, |tables| tables.generation);
        let (pcr_pid, streams) = streams(&pmt.section, program.pmt_pid);
        let tables = Tables {
            generation: generation.saturating_add(1),
            program: program.number,
            pat: pat.packets.clone(),
            pmt: pmt.packets.clone(),
            pmt_pid: program.pmt_pid,
            pcr_pid,
            streams,
            sections: [pat.section.clone(), pmt.section.clone()],
        };
        if self.newest.as_deref() == Some(&tables) {
            return Update::Returned;
        }
        self.newest = Some(Arc::new(tables));
        Update::Changed
    }
}

fn programs(pat: &[u8]) -> Vec<Program> {
    let (entries, _) = body(pat).as_chunks::<4>();
    let programs = entries.iter().map(|entry| Program {
        number: u16::from_be_bytes([entry[0], entry[1]]),
        pmt_pid: u16::from_be_bytes([entry[2] & 0x1f, entry[3]]),
    });
    // Program 0 names the network table.
    programs.filter(|program| program.number != 0 && is_free(program.pmt_pid)).take(PROGRAMS_MAX).collect()
}

fn streams(pmt: &[u8], pmt_pid: u16) -> (Option<u16>, Vec<Stream>) {
    let [pcr_high, pcr_low, info_high, info_low, rest @ ..] = body(pmt) else { return (None, Vec::new()) };
    let pcr_pid = u16::from_be_bytes([pcr_high & 0x1f, *pcr_low]);
    let info = usize::from(u16::from_be_bytes([info_high & 0x0f, *info_low]));
    let mut entries = rest.get(info..).unwrap_or(&[]);
    let mut streams = Vec::new();
    while let [stream_type, pid_high, pid_low, length_high, length_low, rest @ ..] = entries {
        let length = usize::from(u16::from_be_bytes([length_high & 0x0f, *length_low]));
        let Some((descriptors, next)) = rest.split_at_checked(length) else { break };
        let pid = u16::from_be_bytes([pid_high & 0x1f, *pid_low]);
        if is_free(pid) && pid != pmt_pid {
            streams.push(Stream { pid, kind: StreamKind::from_type(*stream_type, descriptors) });
        }
        entries = next;
    }
    (Some(pcr_pid).filter(|pid| is_free(*pid)), streams)
}

fn is_free(pid: u16) -> bool {
    (PID_FREE_MIN..NULL_PID).contains(&pid)
}

#[cfg(test)]
mod tests {
    use super::{
        super::section::crc32,
        super::testing::{AAC, AUDIO_PID, H264, HEVC, PMT_PID, Parts, VIDEO_PID, in_packets, pat, pmt},
        *,
    };

    const STREAMS: [(u8, u16, &[u8]); 2] = [(H264, VIDEO_PID, &[]), (AAC, AUDIO_PID, &[])];

    fn push(psi: &mut Psi, pid: u16, section: &[u8]) -> Update {
        push_packets(psi, &in_packets(pid, 0, section))
    }

    fn push_packets(psi: &mut Psi, packets: &[[u8; PACKET]]) -> Update {
        let mut update = Update::None;
        for packet in packets.iter().map(Packet::new) {
            if psi.wants(packet.pid()) {
                update = update.max(psi.push(packet));
            }
        }
        update
    }

    fn generation(psi: &Psi) -> Option<u32> {
        psi.in_force().map(|tables| tables.generation)
    }

    #[test]
    fn tables_come_into_force_with_the_second_of_the_two() {
        let mut psi = Psi::default();
        assert_eq!(push(&mut psi, 0, &pat(0, &[(1, PMT_PID)])), Update::None);
        assert_eq!(generation(&psi), None);
        let section = pmt(1, 0, VIDEO_PID, &STREAMS);
        assert_eq!(push(&mut psi, PMT_PID, &section), Update::Changed);
        let tables = psi.in_force().expect("both tables were seen");
        assert_eq!((tables.generation, tables.program, tables.pmt_pid), (1, 1, PMT_PID));
        assert_eq!(tables.pcr_pid, Some(VIDEO_PID));
        let video = Stream { pid: VIDEO_PID, kind: StreamKind::H264 };
        let audio = Stream { pid: AUDIO_PID, kind: StreamKind::Audio(AAC) };
        assert_eq!(tables.streams, [video, audio]);
        assert_eq!(tables.pmt, in_packets(PMT_PID, 0, &section));
    }

    #[test]
    fn repetition_keeps_the_generation_and_change_grows_it() {
        let mut psi = Psi::default();
        for _ in 0..3 {
            push(&mut psi, 0, &pat(0, &[(1, PMT_PID)]));
            push(&mut psi, PMT_PID, &pmt(1, 0, VIDEO_PID, &STREAMS));
        }
        assert_eq!(generation(&psi), Some(1));
        assert_eq!(push(&mut psi, PMT_PID, &pmt(1, 1, VIDEO_PID, &STREAMS)), Update::Changed);
        assert_eq!(push(&mut psi, 0, &pat(1, &[(1, PMT_PID)])), Update::Changed);
        assert_eq!(generation(&psi), Some(3));
    }

    #[test]
    fn a_section_over_several_packets_is_put_together() {
        let many: Vec<(u8, u16, &[u8])> = (0..150).map(|index| (AAC, 0x200 + index, &[][..])).collect();
        let section = pmt(1, 0, 0x200, &many);
        let packets = in_packets(PMT_PID, 0, &section);
        assert_eq!(packets.len(), 5);
        let mut psi = Psi::default();
        push(&mut psi, 0, &pat(0, &[(1, PMT_PID)]));
        assert_eq!(push_packets(&mut psi, &packets), Update::Changed);
        let tables = psi.in_force().expect("complete");
        assert_eq!((tables.streams.len(), &tables.pmt), (150, &packets));
    }

    /// The end of one section and the start of the next may share a packet.
    #[test]
    fn a_section_may_start_behind_the_end_of_another() {
        let section = pmt(1, 0, VIDEO_PID, &STREAMS);
        let mut first = vec![0, 0x42, 0xf0, 250];
        first.resize(184, 0x11);
        let rest = 3 + 250 - (184 - 1);
        let mut second = vec![rest as u8];
        second.resize(1 + rest, 0x11);
        second.extend_from_slice(&section);
        second.resize(184, 0xff);
        let packet = |continuity, payload: &[u8]| {
            Parts { pid: PMT_PID, continuity, start: true, payload, ..Parts::default() }.build()
        };
        let packets = [packet(0, &first), packet(1, &second)];
        let mut psi = Psi::default();
        push(&mut psi, 0, &pat(0, &[(1, PMT_PID)]));
        assert_eq!(push_packets(&mut psi, &packets), Update::Changed);
        assert_eq!(psi.in_force().map(|tables| tables.pmt.clone()), Some(packets[1..].to_vec()));
    }

    #[test]
    fn a_broken_section_is_counted_and_changes_nothing() {
        let mut psi = Psi::default();
        push(&mut psi, 0, &pat(0, &[(1, PMT_PID)]));
        push(&mut psi, PMT_PID, &pmt(1, 0, VIDEO_PID, &STREAMS));
        let mut broken = pmt(1, 1, VIDEO_PID, &STREAMS);
        broken[12] ^= 1;
        assert_eq!(push(&mut psi, PMT_PID, &broken), Update::None);
        assert_eq!((generation(&psi), psi.broken_sections()), (Some(1), 1));
    }

    #[test]
    fn a_table_for_later_is_not_in_force() {
        let mut later = pmt(1, 1, VIDEO_PID, &STREAMS);
        later[5] &= !1;
        let body = later.len() - 4;
        let crc = crc32(&later[..body]);
        later[body..].copy_from_slice(&crc.to_be_bytes());
        let mut psi = Psi::default();
        push(&mut psi, 0, &pat(0, &[(1, PMT_PID)]));
        assert_eq!(push(&mut psi, PMT_PID, &later), Update::None);
        assert_eq!((generation(&psi), psi.broken_sections()), (None, 0));
    }

    /// A gap inside a section must not splice two halves of different ones.
    #[test]
    fn an_interrupted_section_is_dropped() {
        let many: Vec<(u8, u16, &[u8])> = (0..60).map(|index| (AAC, 0x200 + index, &[][..])).collect();
        let packets = in_packets(PMT_PID, 0, &pmt(1, 0, 0x200, &many));
        let mut psi = Psi::default();
        push(&mut psi, 0, &pat(0, &[(1, PMT_PID)]));
        push_packets(&mut psi, &packets[..1]);
        psi.interrupted(PMT_PID);
        assert_eq!(push_packets(&mut psi, &packets[1..]), Update::None);
        assert_eq!(push_packets(&mut psi, &packets), Update::Changed);
    }

    #[test]
    fn a_section_does_not_go_on_behind_a_packet_in_which_another_should_start() {
        let many: Vec<(u8, u16, &[u8])> = (0..60).map(|index| (AAC, 0x200 + index, &[][..])).collect();
        let packets = in_packets(PMT_PID, 0, &pmt(1, 0, 0x200, &many));
        let stuffing =
            Parts { pid: PMT_PID, continuity: 1, start: true, payload: &[0, 0xff, 0xff], ..Parts::default() }
                .build();
        let mut psi = Psi::default();
        push(&mut psi, 0, &pat(0, &[(1, PMT_PID)]));
        assert_eq!(push_packets(&mut psi, &[packets[0], stuffing, packets[1]]), Update::None);
    }

    #[test]
    fn the_first_program_whose_table_appears_is_followed() {
        let mut psi = Psi::default();
        push(&mut psi, 0, &pat(0, &[(0, 0x10), (1, 0x30), (2, 0x31), (3, 0x32)]));
        assert_eq!(push(&mut psi, 0x31, &pmt(2, 0, VIDEO_PID, &STREAMS)), Update::Changed);
        assert_eq!(push(&mut psi, 0x30, &pmt(1, 0, VIDEO_PID, &STREAMS)), Update::None);
        assert_eq!(psi.in_force().map(|tables| tables.program), Some(2));
    }

    #[test]
    fn a_program_that_leaves_the_list_is_replaced() {
        let mut psi = Psi::default();
        push(&mut psi, 0, &pat(0, &[(1, 0x30), (2, 0x31)]));
        push(&mut psi, 0x30, &pmt(1, 0, VIDEO_PID, &STREAMS));
        push(&mut psi, 0, &pat(1, &[(2, 0x31)]));
        assert_eq!(generation(&psi), None);
        push(&mut psi, 0x31, &pmt(2, 0, VIDEO_PID, &STREAMS));
        assert_eq!(psi.in_force().map(|tables| (tables.generation, tables.program)), Some((2, 2)));
    }

    /// After a change of source nothing is in force until seen again; the same tables keep their generation, and the
    /// same program is preferred over one whose table comes first.
    #[test]
    fn a_new_source_must_show_its_tables() {
        let mut psi = Psi::default();
        let list = pat(0, &[(1, 0x30), (2, 0x31)]);
        let second = pmt(2, 0, VIDEO_PID, &STREAMS);
        push(&mut psi, 0, &list);
        push(&mut psi, 0x31, &second);
        psi.source_changed();
        assert_eq!(generation(&psi), None);
        push(&mut psi, 0, &list);
        assert_eq!(push(&mut psi, 0x30, &pmt(1, 0, VIDEO_PID, &STREAMS)), Update::None);
        assert_eq!(push(&mut psi, 0x31, &second), Update::Returned);
        assert_eq!(generation(&psi), Some(1));
    }

    #[test]
    fn private_streams_are_known_by_their_descriptors() {
        let cases: [(u8, &[u8], StreamKind); 8] = [
            (0x06, &[0x05, 4, b'H', b'E', b'V', b'C'], StreamKind::Hevc),
            (0x06, &[0x52, 1, 7, 0x6a, 1, 0], StreamKind::Audio(0x06)),
            (0x06, &[0x05, 4, b'O', b'p', b'u', b's'], StreamKind::Audio(0x06)),
            (0x06, &[0x59, 0], StreamKind::Other(0x06)),
            (0x06, &[0x6a, 200, 0], StreamKind::Other(0x06)),
            (HEVC, &[], StreamKind::Hevc),
            (0x81, &[], StreamKind::Audio(0x81)),
            (0x33, &[], StreamKind::OtherVideo(0x33)),
        ];
        for (stream_type, descriptors, expected) in cases {
            assert_eq!(
                StreamKind::from_type(stream_type, descriptors),
                expected,
                "{stream_type:#x} {descriptors:?}"
            );
        }
    }
}
