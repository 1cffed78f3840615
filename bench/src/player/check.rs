//! The stream checker: proves that what a player received is a whole, ordered, undamaged transport stream.
//!
//! Feed it the response body in pieces of any size. It looks at packets from byte 0 on, at what the stream starts
//! with, at continuity counters, clocks and tables, and, on a self-checking channel, at every single packet's place in
//! the broadcast. It shares no code with the appliance, keeps bounded state and never panics on any input. It does not
//! decode pictures and does not judge timing; that is the player's part. Owned by whoever feeds it.

mod order;
mod packet;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

pub use order::{Counts, GAPS_MAX, Gap};
pub use packet::{PACKET_LEN, PID_NULL, PID_PAT, Packet, SYNC};
#[cfg(test)]
pub(crate) use tables::crc32;
pub use tables::{Coding, Elementary};

use crate::channel::{self, Channel};
use order::Order;
use tables::{Table, Tables, is_random_access};

/// The program clock wraps at 2^33 ticks of 90 kHz.
const PCR_MODULUS: u64 = (1 << 33) * 300;
/// The standard asks for a clock reference every 100 ms; a step beyond a second is a jump whoever sends it.
const PCR_STEP_MAX: u64 = 27_000_000;

/// What the checker may know beforehand.
#[derive(Clone, Default)]
pub struct Options {
    /// The broadcast itself, which must be a self-checking one: every marked packet is compared with it, and losses
    /// are counted exactly.
    pub reference: Option<Arc<dyn Channel>>,
    /// Seed of the broadcast; without it the first marked packet decides.
    pub seed: Option<u64>,
}

/// How the stream began. Positions count packets from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Start {
    /// Where the first whole PAT ended.
    pub pat: Option<u64>,
    /// Where the first whole PMT ended.
    pub pmt: Option<u64>,
    /// Where the first random access point of the leading stream stood, tables known: decoding starts here.
    pub random_access: Option<u64>,
    /// What else stood before it, which a player could not have used: packets that are neither table nor null.
    pub undecodable: u64,
    /// Packet 0 was the PAT, and the PMT came before anything but tables and null packets.
    pub tables_first: bool,
}

/// Everything the checker knows, a plain value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Bytes fed.
    pub bytes: u64,
    /// Whole packets seen.
    pub packets: u64,
    /// Bytes of an unfinished packet at the end.
    pub remainder: usize,
    /// Null packets.
    pub nulls: u64,
    /// Packets of PAT, PMT and other tables.
    pub tables: u64,
    /// Sections with a wrong checksum.
    pub table_crc_errors: u64,
    /// Bytes skipped because they did not lie in a packet.
    pub garbage_bytes: u64,
    /// Packets with `transport_error_indicator`.
    pub transport_errors: u64,
    /// Packets whose continuity counter does not follow, with nothing flagged.
    pub continuity_errors: u64,
    /// Packets sent twice in a row with one counter, as the standard allows.
    pub repeated: u64,
    /// Packets with `discontinuity_indicator`.
    pub discontinuities: u64,
    /// Clock steps backwards or beyond one second with nothing flagged.
    pub pcr_jumps: u64,
    /// Rate between first and last clock reference since the last jump or discontinuity, in bits per second.
    pub bit_rate: Option<u64>,
    /// How the stream began.
    pub start: Start,
    /// Elementary-stream packets of a self-checking channel that are not what was broadcast.
    pub corrupt: u64,
    /// Accounting of indices; all zero on a channel without marks.
    pub order: Counts,
}

impl Report {
    /// Whatever a player must never see, in words; empty when the stream is good. Gaps that were flagged are allowed.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |count: u64, what: &str| {
            if count > 0 {
                faults.push(format!("{count} {what}"));
            }
        };
        fault(self.garbage_bytes, "bytes outside of packets");
        fault(self.transport_errors, "packets with transport error");
        fault(self.table_crc_errors, "tables with a wrong checksum");
        fault(self.continuity_errors, "continuity errors");
        fault(self.pcr_jumps, "unflagged clock jumps");
        fault(self.corrupt, "corrupt packets");
        fault(self.order.duplicated, "duplicated packets");
        fault(self.order.reordered, "reordered packets");
        fault(self.order.foreign, "packets of another broadcast");
        fault(self.order.gaps_unflagged, "gaps without a flagged discontinuity");
        if self.packets > 0 && !self.start.tables_first {
            faults.push("does not start with PAT and PMT".to_owned());
        }
        match self.start.random_access {
            None if self.packets > 0 => faults.push("has no random access point".to_owned()),
            Some(_) if self.start.undecodable > 0 => {
                faults.push(format!("{} packets before the random access point", self.start.undecodable));
            }
            _ => {}
        }
        faults
    }

    /// [`Report::faults`], and also flagged gaps and discontinuities: empty only when nothing at all is missing.
    pub fn faults_or_losses(&self) -> Vec<String> {
        let mut faults = self.faults();
        if self.order.lost > 0 {
            faults.push(format!("{} lost packets, gaps {:?}", self.order.lost, self.order.gaps));
        }
        if self.discontinuities > 0 {
            faults.push(format!("{} flagged discontinuities", self.discontinuities));
        }
        faults
    }
}

/// The checker. See the module's description.
pub struct Checker {
    report: Report,
    tables: Tables,
    order: Order,
    counters: BTreeMap<u16, Continuity>,
    clock: Option<Clock>,
    carry: Vec<u8>,
    self_checking: bool,
}

struct Continuity {
    last: [u8; PACKET_LEN],
    repeated: bool,
}

#[derive(Clone, Copy)]
struct Clock {
    pid: u16,
    first: (u64, u64),
    ticks: u64,
    last: (u64, u64),
}

impl Default for Checker {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl Checker {
    /// A checker that stands before byte 0.
    pub fn new(options: Options) -> Self {
        Self {
            report: Report::default(),
            tables: Tables::default(),
            self_checking: options.reference.is_some() || options.seed.is_some(),
            order: Order::new(options.reference, options.seed),
            counters: BTreeMap::new(),
            clock: None,
            carry: Vec::with_capacity(PACKET_LEN),
        }
    }

    /// Takes the next bytes of the body.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        self.report.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.carry.is_empty() && bytes[0] != SYNC {
                let skipped = bytes.iter().position(|byte| *byte == SYNC).unwrap_or(bytes.len());
                self.report.garbage_bytes += skipped as u64;
                bytes = &bytes[skipped..];
            } else if self.carry.is_empty() && bytes.len() >= PACKET_LEN {
                let (packet, rest) = bytes.split_at(PACKET_LEN);
                self.take(packet.try_into().expect("split at the length of a packet"));
                bytes = rest;
            } else {
                let (part, rest) = bytes.split_at(bytes.len().min(PACKET_LEN - self.carry.len()));
                self.carry.extend_from_slice(part);
                bytes = rest;
                if self.carry.len() == PACKET_LEN {
                    let packet = self.carry[..].try_into().expect("filled to the length of a packet");
                    self.carry.clear();
                    self.take(&packet);
                }
            }
        }
        self.report.remainder = self.carry.len();
    }

    /// Tells whether a decoder could have begun: tables, then a random access point of the leading stream.
    pub fn is_decodable(&self) -> bool {
        self.report.start.random_access.is_some()
    }

    /// What has been found so far.
    pub fn report(&self) -> Report {
        Report {
            order: self.order.counts.clone(),
            bit_rate: self.bit_rate(),
            table_crc_errors: self.tables.crc_errors,
            ..self.report.clone()
        }
    }

    fn take(&mut self, bytes: &[u8; PACKET_LEN]) {
        let packet = Packet(bytes);
        let position = self.report.packets;
        self.report.packets += 1;
        self.report.transport_errors += u64::from(packet.has_transport_error());
        if packet.pid() == PID_NULL {
            self.report.nulls += 1;
            self.order.unmarked(bytes);
            return;
        }
        self.report.discontinuities += u64::from(packet.is_discontinuity());
        self.check_continuity(packet);
        self.check_clock(packet);
        let table = self.tables.read(packet);
        self.report.tables += u64::from(table != Table::None);
        self.check_start(packet, table, position);
        self.check_mark(packet, table);
    }

    fn check_continuity(&mut self, packet: Packet<'_>) {
        let Some(before) = self.counters.get_mut(&packet.pid()) else {
            self.counters.insert(packet.pid(), Continuity { last: *packet.0, repeated: false });
            return;
        };
        let counter = Packet(&before.last).continuity();
        let expected = if packet.has_payload() { (counter + 1) & 0x0f } else { counter };
        if packet.is_discontinuity() || packet.continuity() == expected {
            before.repeated = false;
        } else if before.last == *packet.0 && !before.repeated {
            before.repeated = true;
            self.report.repeated += 1;
        } else {
            before.repeated = false;
            self.report.continuity_errors += 1;
        }
        before.last = *packet.0;
    }

    fn check_clock(&mut self, packet: Packet<'_>) {
        if packet.is_discontinuity() && self.clock.is_some_and(|clock| clock.pid == packet.pid()) {
            self.clock = None;
        }
        let Some(now) = packet.pcr() else { return };
        let at = self.report.packets;
        let fresh = Clock { pid: packet.pid(), first: (now, at), ticks: 0, last: (now, at) };
        let clock = self.clock.get_or_insert(fresh);
        if clock.pid != packet.pid() {
            return;
        }
        let step = (now + PCR_MODULUS - clock.last.0) % PCR_MODULUS;
        if step > PCR_STEP_MAX {
            self.report.pcr_jumps += 1;
            *clock = fresh;
        } else {
            clock.ticks += step;
            clock.last = (now, at);
        }
    }

    fn bit_rate(&self) -> Option<u64> {
        let clock = self.clock.filter(|clock| clock.ticks > 0)?;
        let bits = u128::from(clock.last.1 - clock.first.1) * PACKET_LEN as u128 * 8;
        u64::try_from(bits * 27_000_000 / u128::from(clock.ticks)).ok()
    }

    fn check_start(&mut self, packet: Packet<'_>, table: Table, position: u64) {
        let start = &mut self.report.start;
        if start.random_access.is_some() {
            return;
        }
        match table {
            Table::Pat { complete } => {
                start.tables_first |= position == 0;
                if complete {
                    start.pat.get_or_insert(position);
                }
            }
            Table::Pmt { complete: true } => {
                start.pmt.get_or_insert(position);
            }
            Table::Pmt { .. } | Table::Other => {}
            Table::None if start.pmt.is_none() => {
                start.tables_first = false;
                start.undecodable += 1;
            }
            Table::None => {
                let leading = self.tables.leading();
                if leading.is_some_and(|it| it.pid == packet.pid() && is_random_access(packet, it.coding)) {
                    start.random_access = Some(position);
                } else if packet.has_payload() {
                    start.undecodable += 1;
                }
            }
        }
    }

    fn check_mark(&mut self, packet: Packet<'_>, table: Table) {
        if packet.is_discontinuity() && !packet.has_payload() {
            self.order.flag();
        } else if table != Table::None {
            self.order.unmarked(packet.0);
        } else if let Some(mark) = channel::check::read(packet.0) {
            self.self_checking = true;
            self.report.corrupt += u64::from(!self.order.marked(packet.0, mark));
        } else if self.self_checking {
            self.report.corrupt += 1;
            self.order.damaged();
        }
    }
}

#[cfg(test)]
mod tests;
