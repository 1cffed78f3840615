//! A real H.264 and AAC clip of 8 s, looped for ever without a seam.
//!
//! At construction one loop is laid out: each picture and each group of three audio frames becomes a
//! PES, sent from its own time on, as fast as the rate allows; tables each 100 ms, a PCR each 30 ms, null packets
//! elsewhere. Loop `n` is the same packets with counters advanced by `n` times the packets of the PID and
//! clocks by `n` times 8 s. The clip lasts a whole number of pictures and of audio frames, so nothing drifts.

use super::elementary::{Unit, audio_frames, pictures};
use super::ts::{self, Adaptation, PACKET, PCR_MODULUS, Packet, pid, stream_id};
use super::{Channel, Error, Timing, check_rate_max};

static VIDEO: &[u8] = include_bytes!("../../assets/clip.h264");
static AUDIO: &[u8] = include_bytes!("../../assets/clip.aac");

/// Length of the clip in 27 MHz and 90 kHz ticks.
const LOOP_TICKS: u64 = 8 * 27_000_000;
const LOOP_PTS: u64 = 8 * 90_000;
/// One picture (1/25 s) and one AAC frame (1024 samples at 48 kHz) in 90 kHz ticks.
const PICTURE_PTS: u64 = 3_600;
const AUDIO_PTS: u64 = 1_920;
const PICTURES: usize = 200;
const AUDIO_FRAMES: usize = 375;
const AUDIO_FRAMES_PER_PES: usize = 3;
/// Longest time between two tables and between two clocks, in 27 MHz ticks.
const TABLE_TICKS: u64 = 27_000 * 100;
const PCR_TICKS: u64 = 27_000 * 30;
/// A rate that is known to carry the clip. Below it the last pictures of a loop would not be sent in time.
const RATE_MIN: u64 = 150_000;
/// `slots` value of a null packet.
const NULL: u32 = u32::MAX;

/// One packet of the first loop and what changes in later ones.
struct Template {
    packet: Packet,
    /// 0 PAT, 1 PMT, 2 video, 3 audio.
    stream: usize,
    /// Whether the PCR has to be rewritten, and to which value in the first loop.
    pcr: Option<u64>,
    /// Where the PTS stands and its value in the first loop.
    pts: Option<(usize, u64)>,
}

/// The looped clip; build it once and share it.
pub struct Clip {
    timing: Timing,
    /// Per packet of the loop, which template it is, or [`NULL`].
    slots: Vec<u32>,
    templates: Vec<Template>,
    counts: [u64; 4],
}

impl Clip {
    /// Lays out the loop at `rate` bytes per second.
    ///
    /// # Errors
    /// The rate is too low for the clip or above [`super::RATE_MAX`].
    pub fn new(rate: u64) -> Result<Self, Error> {
        check_rate_max(rate)?;
        let units = units();
        let timing = Timing { packets: rate * 8 / PACKET as u64, ticks: LOOP_TICKS };
        let too_low = Error::RateTooLow { rate, min: RATE_MIN };
        if timing.packets == 0 {
            return Err(too_low);
        }
        // The first pass, shown at once, finds out how late the last byte of a unit may be.
        let trial = Layout::new(timing, units.clone(), 0).run();
        let Some(trial) = trial.filter(|layout| layout.late_max < LOOP_PTS / 4) else {
            return Err(too_low);
        };
        let delay = trial.late_max.next_multiple_of(PICTURE_PTS) + PICTURE_PTS;
        let layout = Layout::new(timing, units, delay).run().ok_or(too_low)?;
        Ok(Self { timing, slots: layout.slots, templates: layout.templates, counts: layout.counts })
    }
}

impl Channel for Clip {
    fn packet(&self, index: u64) -> Packet {
        let turn = index / self.timing.packets;
        let slot = self.slots[(index % self.timing.packets) as usize];
        if slot == NULL {
            return ts::null();
        }
        let template = &self.templates[slot as usize];
        let mut packet = template.packet;
        let advance = turn.wrapping_mul(self.counts[template.stream]) as u8;
        let counter = packet[3].wrapping_add(advance);
        ts::set_counter(&mut packet, counter);
        if let Some(pcr) = template.pcr {
            ts::write_pcr(&mut packet[ts::PCR_AT..], (turn.wrapping_mul(LOOP_TICKS) + pcr) % PCR_MODULUS);
        }
        if let Some((at, pts)) = template.pts {
            ts::write_pts(&mut packet[at..], turn.wrapping_mul(LOOP_PTS) + pts);
        }
        packet
    }

    fn timing(&self) -> Timing {
        self.timing
    }
}

/// A PES to be sent, not before `due`.
#[derive(Clone)]
struct Pes {
    due: u64,
    stream: usize,
    is_random_access: bool,
    payload: Vec<u8>,
}

/// The clip's access units as PES payloads in the order they are due.
fn units() -> Vec<Pes> {
    let video = pictures(VIDEO);
    let audio = audio_frames(AUDIO);
    assert_eq!((video.len(), audio.len()), (PICTURES, AUDIO_FRAMES), "the committed clip is complete");
    let video = video.iter().zip(0u64..).map(|(Unit { bytes, is_random_access }, k)| Pes {
        due: k * PICTURE_PTS,
        stream: 2,
        is_random_access: *is_random_access,
        payload: bytes.to_vec(),
    });
    let audio = audio.chunks(AUDIO_FRAMES_PER_PES).zip(0u64..).map(|(frames, k)| Pes {
        due: k * AUDIO_PTS * AUDIO_FRAMES_PER_PES as u64,
        stream: 3,
        is_random_access: false,
        payload: frames.concat(),
    });
    let mut units: Vec<Pes> = video.chain(audio).collect();
    units.sort_by_key(|unit| unit.due);
    units
}

/// Places units into packets, packet by packet.
struct Layout {
    timing: Timing,
    delay: u64,
    units: std::iter::Peekable<std::vec::IntoIter<Pes>>,
    /// The PES being sent: header and payload, how much of it is out, and its facts.
    open: Option<(Vec<u8>, usize, Pes)>,
    table_due: u64,
    pmt_due: bool,
    pcr_due: u64,
    slots: Vec<u32>,
    templates: Vec<Template>,
    counts: [u64; 4],
    /// Latest last byte of a unit after its due time, in 90 kHz ticks.
    late_max: u64,
}

impl Layout {
    fn new(timing: Timing, units: Vec<Pes>, delay: u64) -> Self {
        Self {
            timing,
            delay,
            units: units.into_iter().peekable(),
            open: None,
            table_due: 0,
            pmt_due: false,
            pcr_due: 0,
            slots: Vec::with_capacity(timing.packets as usize),
            templates: Vec::new(),
            counts: [0; 4],
            late_max: 0,
        }
    }

    /// Places everything; `None` when the loop ends before everything is sent.
    fn run(mut self) -> Option<Self> {
        for index in 0..self.timing.packets {
            let now = self.timing.pcr(index);
            let slot = self.place(now);
            self.slots.push(slot);
        }
        (self.open.is_none() && self.units.peek().is_none()).then_some(self)
    }

    fn place(&mut self, now: u64) -> u32 {
        if std::mem::take(&mut self.pmt_due) {
            return self.push(ts::pmt(), 1, None, None);
        }
        if now >= self.table_due {
            self.table_due += TABLE_TICKS;
            self.pmt_due = true;
            return self.push(ts::pat(), 0, None, None);
        }
        if self.open.is_none() {
            self.open = self.units.next_if(|unit| unit.due * 300 <= now).map(|unit| {
                let (id, length) = match unit.stream {
                    2 => (stream_id::VIDEO, 0),
                    _ => (stream_id::AUDIO, unit.payload.len()),
                };
                let mut bytes = ts::pes_header(id, length, unit.due + self.delay).to_vec();
                bytes.extend_from_slice(&unit.payload);
                (bytes, 0, unit)
            });
        }
        let clock = (now >= self.pcr_due).then_some(now);
        match self.open.take() {
            Some((bytes, sent, unit)) if unit.stream == 2 || clock.is_none() => {
                self.send(now, bytes, sent, unit, clock)
            }
            other => {
                self.open = other;
                self.clock_alone(clock)
            }
        }
    }

    /// Sends the next packet of the open PES.
    fn send(&mut self, now: u64, bytes: Vec<u8>, sent: usize, unit: Pes, clock: Option<u64>) -> u32 {
        let first = sent == 0;
        let random_access = first && unit.is_random_access;
        // A decoder that starts at a random access point wants the clock right there.
        let pcr = clock.or(random_access.then_some(now)).filter(|_| unit.stream == 2);
        if pcr.is_some() {
            self.pcr_due = now + PCR_TICKS;
        }
        let pid = if unit.stream == 2 { pid::VIDEO } else { pid::AUDIO };
        let adaptation = Adaptation { random_access, pcr };
        let (packet, start, taken) = ts::pack(pid, first, 0, adaptation, &bytes[sent..]);
        let pts = first.then_some((start + ts::PES_PTS_AT, unit.due + self.delay));
        let slot = self.push(packet, unit.stream, pcr, pts);
        if sent + taken < bytes.len() {
            self.open = Some((bytes, sent + taken, unit));
        } else {
            self.late_max = self.late_max.max((now / 300).saturating_sub(unit.due));
        }
        slot
    }

    /// A packet that carries only the clock, or nothing at all.
    fn clock_alone(&mut self, clock: Option<u64>) -> u32 {
        let Some(now) = clock else { return NULL };
        self.pcr_due = now + PCR_TICKS;
        // No payload: the counter repeats the one of the packet before.
        let adaptation = Adaptation { random_access: false, pcr: Some(now) };
        let counter = (self.counts[2] as u8).wrapping_sub(1);
        let (packet, ..) = ts::pack(pid::VIDEO, false, counter, adaptation, &[]);
        self.templates.push(Template { packet, stream: 2, pcr: Some(now), pts: None });
        (self.templates.len() - 1) as u32
    }

    fn push(
        &mut self,
        mut packet: Packet,
        stream: usize,
        pcr: Option<u64>,
        pts: Option<(usize, u64)>,
    ) -> u32 {
        ts::set_counter(&mut packet, self.counts[stream] as u8);
        self.counts[stream] += 1;
        self.templates.push(Template { packet, stream, pcr, pts });
        (self.templates.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that counters run on across the loop point; packets without payload repeat the counter.
    #[test]
    fn counters_run_on_across_the_loop() {
        for rate in [RATE_MIN, 500_000, 1_000_000] {
            let clip = Clip::new(rate).expect("the clip fits");
            let mut last = std::collections::HashMap::new();
            let first = 5_000 * clip.timing.packets - 3_000;
            for index in first..first + 6_000 {
                let packet = clip.packet(index);
                let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
                let step = u8::from(packet[3] & 0x10 != 0);
                if pid == ts::pid::NULL {
                    continue;
                }
                if let Some(before) = last.insert(pid, packet[3] & 15) {
                    assert_eq!(packet[3] & 15, (before + step) & 15, "pid {pid} at {index}");
                }
            }
        }
    }

    /// Guards that a rate the clip does not fit into is refused rather than cut.
    #[test]
    fn too_low_a_rate_is_refused() {
        assert!(matches!(Clip::new(60_000), Err(Error::RateTooLow { .. })));
        assert!(matches!(Clip::new(0), Err(Error::RateTooLow { .. })));
        assert!(Clip::new(RATE_MIN).is_ok());
    }

    /// Guards that every picture of the clip is there, and one in twenty-five is a place to join.
    #[test]
    fn a_loop_holds_all_pictures() {
        let clip = Clip::new(500_000).expect("the clip fits");
        let (mut pictures, mut joins) = (0, 0);
        for index in 0..clip.timing.packets {
            let packet = clip.packet(index);
            if packet[..3] == [0x47, 0x41, 0x00] {
                pictures += 1;
                joins += u32::from(packet[3] & 0x20 != 0 && packet[5] & 0x40 != 0);
            }
        }
        assert_eq!((pictures, joins), (200, 8));
    }
}
