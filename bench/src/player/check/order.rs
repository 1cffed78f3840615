//! Accounting of broadcast indices: what was lost, doubled or moved.
//!
//! Only elementary-stream packets name their index. Between two of them the broadcast has tables and null packets,
//! which count as indices too. With a reference to ask, it is known which packets stand at the indices in between and
//! the count is exact. Without one, unmarked packets seen in between are taken to fill the indices in between; packets
//! that the appliance put in (null packets while the source is silent, tables at a skip) can then hide as many lost
//! ones, which continuity counters still show. Pure; memory is bounded by constants.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use super::packet::PACKET_LEN;
use crate::channel::Channel;
use crate::channel::check::Mark;

/// Gaps kept with their place; later ones are only counted.
pub const GAPS_MAX: usize = 256;
/// Late packets remembered in order to tell "moved" from "doubled".
const RECOVERED_MAX: usize = 65_536;
/// Unmarked packets kept between two marked ones for comparison with the reference.
const PENDING_MAX: usize = 4096;
/// Indices of one gap that are looked up in the reference; a longer gap is estimated from there on.
const LOOKUPS_MAX: u64 = 200_000;

/// A place where the stream went on with a higher index than the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Last index before it.
    pub from: u64,
    /// First index behind it.
    pub to: u64,
    /// Packets missing in between (late ones taken off again).
    pub lost: u64,
    /// A packet with `discontinuity_indicator` stood in the gap, so that players were told.
    pub flagged: bool,
}

/// Counts so far; part of the checker's report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Packets with an intact mark.
    pub marked: u64,
    /// Elementary-stream packets (with a reference: packets of any kind) that never came.
    pub lost: u64,
    /// Packets that came again.
    pub duplicated: u64,
    /// Packets that came after one of a higher index.
    pub reordered: u64,
    /// Marked packets of another broadcast.
    pub foreign: u64,
    /// The first gaps with their places.
    pub gaps: Vec<Gap>,
    /// All gaps.
    pub gaps_total: u64,
    /// Gaps in which no discontinuity was flagged.
    pub gaps_unflagged: u64,
    /// First and last index, when any packet was marked.
    pub range: Option<(u64, u64)>,
}

/// The accountant.
pub(super) struct Order {
    pub(super) counts: Counts,
    reference: Option<Arc<dyn Channel>>,
    seed: Option<u64>,
    /// Highest index seen.
    last: Option<u64>,
    /// What came since: unmarked packets, kept when there is a reference to compare them with.
    unmarked: u64,
    pending: Vec<[u8; PACKET_LEN]>,
    damaged: u64,
    flagged: bool,
    recovered: HashSet<u64>,
}

impl Order {
    pub(super) fn new(reference: Option<Arc<dyn Channel>>, seed: Option<u64>) -> Self {
        Self {
            counts: Counts::default(),
            reference,
            seed,
            last: None,
            unmarked: 0,
            pending: Vec::new(),
            damaged: 0,
            flagged: false,
            recovered: HashSet::new(),
        }
    }

    /// A packet with `discontinuity_indicator` and no payload: put in by the appliance, stands at no index.
    pub(super) fn flag(&mut self) {
        self.flagged = true;
    }

    /// An elementary-stream packet whose index cannot be read; it still fills its place.
    pub(super) fn damaged(&mut self) {
        self.damaged += 1;
    }

    /// A table or a null packet.
    pub(super) fn unmarked(&mut self, packet: &[u8; PACKET_LEN]) {
        self.unmarked += 1;
        if self.reference.is_some() && self.last.is_some() && self.pending.len() < PENDING_MAX {
            self.pending.push(*packet);
        }
    }

    /// A packet with an intact mark. Returns whether it equals the reference's, if there is one.
    pub(super) fn marked(&mut self, packet: &[u8; PACKET_LEN], mark: Mark) -> bool {
        if *self.seed.get_or_insert(mark.seed) != mark.seed {
            self.counts.foreign += 1;
            self.damaged += 1;
            return true;
        }
        self.counts.marked += 1;
        let same = self.reference.as_ref().is_none_or(|reference| reference.packet(mark.index) == *packet);
        let range = self.counts.range.get_or_insert((mark.index, mark.index));
        *range = (range.0.min(mark.index), range.1.max(mark.index));
        match self.last {
            Some(last) if mark.index <= last => {
                self.late(mark.index);
                return same;
            }
            Some(last) if mark.index > last + 1 => self.gap(last, mark.index),
            _ => {}
        }
        self.last = Some(mark.index);
        self.unmarked = 0;
        self.pending.clear();
        self.damaged = 0;
        self.flagged = false;
        same
    }

    /// Counts what is missing between two indices.
    fn gap(&mut self, from: u64, to: u64) {
        let lost = match &self.reference {
            Some(reference) => missing(&**reference, from + 1..to, &self.pending),
            None => (to - from - 1).saturating_sub(self.unmarked),
        };
        let lost = lost.saturating_sub(self.damaged);
        if lost == 0 {
            return;
        }
        self.counts.lost += lost;
        self.counts.gaps_total += 1;
        self.counts.gaps_unflagged += u64::from(!self.flagged);
        if self.counts.gaps.len() < GAPS_MAX {
            self.counts.gaps.push(Gap { from, to, lost, flagged: self.flagged });
        }
    }

    /// Decides whether a packet below the highest index fills an earlier gap or came again.
    fn late(&mut self, index: u64) {
        let mut gaps = self.counts.gaps.iter_mut();
        let gap = gaps.find(|gap| gap.from < index && index < gap.to && gap.lost > 0);
        match gap {
            Some(gap) if self.recovered.len() < RECOVERED_MAX && self.recovered.insert(index) => {
                gap.lost -= 1;
                self.counts.lost -= 1;
                self.counts.reordered += 1;
            }
            _ => self.counts.duplicated += 1,
        }
    }
}

/// How many packets of the reference's `range` did not come, given the unmarked ones that did, in order.
///
/// What came is the longest common subsequence of both: tables repeat themselves byte for byte every sixteen times, so
/// whoever takes the first one that looks right may skip over others that came too. Found bit by bit in parallel (one
/// bit per packet that came, clear where the subsequence grows), a few words of work per index.
fn missing(reference: &dyn Channel, range: Range<u64>, came: &[[u8; PACKET_LEN]]) -> u64 {
    let words = came.len().div_ceil(64);
    let mut places: HashMap<&[u8; PACKET_LEN], Vec<u64>> = HashMap::new();
    for (place, packet) in came.iter().enumerate() {
        places.entry(packet).or_insert_with(|| vec![0; words])[place / 64] |= 1 << (place % 64);
    }
    let mut open = vec![u64::MAX; words];
    for index in range.start..range.end.min(range.start + LOOKUPS_MAX) {
        let Some(matches) = places.get(&reference.packet(index)) else { continue };
        let mut carry = false;
        for (word, matches) in open.iter_mut().zip(matches) {
            let (sum, first) = word.overflowing_add(*word & matches);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            carry = first || second;
            *word = sum | (*word & !matches);
        }
    }
    let found: u64 = open.iter().map(|word| u64::from(word.count_zeros())).sum();
    range.end - range.start - found
}
