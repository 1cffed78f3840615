//! Continuity counters: what the last packet of each PID carried, and whether the next one follows on.
//!
//! Every PID counts its payload packets modulo 16. A receiver reports a loss when the count does not go on, so whoever
//! starts a player in the middle of a stream, or inserts packets, needs to know where each count stands: that is the
//! [`Continuity`] snapshot. Losses are counted and reported, never repaired.

use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

use super::packet::{PID_COUNT, Packet, packets};

/// How many PIDs are followed per stream. A program has fewer than ten; damaged input names any of 8192.
pub const TRACKED_PIDS_MAX: usize = 64;

/// The last continuity counter of one PID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Whose counter it is.
    pub pid: u16,
    /// The counter of this PID's newest packet, 0 to 15.
    pub last: u8,
}

/// The last continuity counter per PID just before some offset. At most [`TRACKED_PIDS_MAX`] entries; cheap to clone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continuity(Arc<[Counter]>);

impl Continuity {
    /// The counters of these PIDs. The first entry of a PID counts, entries past the bound are left out.
    pub fn new(counters: impl IntoIterator<Item = Counter>) -> Self {
        let mut kept: Vec<Counter> = Vec::new();
        for counter in counters {
            if kept.len() < TRACKED_PIDS_MAX && !kept.iter().any(|known| known.pid == counter.pid) {
                kept.push(counter);
            }
        }
        Self(kept.into())
    }

    /// The counters of a [`Tracker`], which holds each PID once.
    pub(super) fn of_tracked(counters: &[Counter]) -> Self {
        Self(counters.into())
    }

    /// The counter this PID had, if it had appeared.
    pub fn last(&self, pid: u16) -> Option<u8> {
        self.0.iter().find(|counter| counter.pid == pid).map(|counter| counter.last)
    }

    /// All counters, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Counter> + '_ {
        self.0.iter().copied()
    }

    /// What must precede `ahead`, the whole packets that follow: the counter before each PID's first packet there,
    /// and this snapshot's entry for PIDs that do not appear. A snapshot taken soon after a source began lacks the
    /// PIDs that had not appeared yet; whoever flags a discontinuity in front of known bytes asks here instead.
    pub fn looking_ahead(&self, ahead: &[u8]) -> Self {
        let mut found: Vec<Counter> = Vec::new();
        for packet in packets(ahead).filter(|packet| packet.in_sync() && packet.counts()) {
            if found.len() == TRACKED_PIDS_MAX {
                break;
            }
            if !found.iter().any(|known| known.pid == packet.pid()) {
                found.push(Counter { pid: packet.pid(), last: packet.continuity_before() });
            }
        }
        Self::new(found.into_iter().chain(self.iter()))
    }
}

impl fmt::Debug for Continuity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|counter| (counter.pid, counter.last))).finish()
    }
}

/// How a packet stands to its PID's previous one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The PID's first packet.
    First,
    /// The expected one.
    InOrder,
    /// The previous packet again, which the standard allows once.
    Duplicate,
    /// Packets are missing, or the sender restarted its count without saying so.
    Gap { expected: u8 },
    /// The sender announces a discontinuity: any count is right.
    Flagged,
    /// Too many PIDs; this one is not followed.
    Untracked,
}

/// Follows the counters of one stream.
///
/// Slots are looked through from the one that was found last: a stream has a handful, most packets have the PID of the one
/// before, and a table of all PIDs would be 8 KiB for each of hundreds of streams, out of cache whenever it is its turn.
pub(super) struct Tracker {
    slots: Vec<Slot>,
    /// The slot that was found last.
    recent: usize,
    /// PIDs that must have a slot: those of the tables.
    pinned: Vec<u16>,
}

#[derive(Serialize, Deserialize)]
struct Slot {
    pid: u16,
    last: u8,
    repeated: bool,
    fingerprint: u64,
}

impl Serialize for Tracker {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.slots, &self.pinned).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tracker {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (slots, pinned) = <(Vec<Slot>, Vec<u16>)>::deserialize(deserializer)?;
        let is_sound = slots.len() <= TRACKED_PIDS_MAX
            && slots
                .iter()
                .map(|slot| slot.pid)
                .chain(pinned.iter().copied())
                .all(|pid| usize::from(pid) < PID_COUNT);
        if !is_sound {
            return Err(serde::de::Error::custom("more packet ids than there are"));
        }
        Ok(Self { slots, pinned, recent: 0 })
    }
}

impl Tracker {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), recent: 0, pinned: vec![0] }
    }

    /// Forgets all counters; the pinned PIDs stay pinned.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
    }

    /// Makes sure that these PIDs, and PID 0, find a slot however many others appear.
    pub(super) fn pin(&mut self, pids: impl Iterator<Item = u16>) {
        self.pinned.clear();
        self.pinned.push(0);
        self.pinned.extend(pids.take(TRACKED_PIDS_MAX - 1));
    }

    /// Takes note of a packet that [`Packet::counts`].
    #[inline]
    pub(super) fn observe(&mut self, packet: Packet<'_>) -> Seen {
        let pid = packet.pid();
        if self.slots.get(self.recent).is_none_or(|slot| slot.pid != pid) {
            match self.slots.iter().position(|slot| slot.pid == pid) {
                Some(at) => self.recent = at,
                None => return self.admit(packet),
            }
        }
        let slot = &mut self.slots[self.recent];
        let (found, fingerprint) = (packet.continuity(), packet.fingerprint());
        let expected = if packet.has_payload() { (slot.last + 1) & 0x0f } else { slot.last };
        let seen = if packet.discontinuity() {
            Seen::Flagged
        } else if found == expected {
            Seen::InOrder
        } else if found == slot.last && !slot.repeated && fingerprint == slot.fingerprint {
            Seen::Duplicate
        } else {
            Seen::Gap { expected }
        };
        slot.last = found;
        slot.repeated = seen == Seen::Duplicate;
        if packet.has_payload() {
            slot.fingerprint = fingerprint;
        }
        seen
    }

    /// Copies all counters into `out`, which is emptied first.
    pub(super) fn snapshot(&self, out: &mut Vec<Counter>) {
        out.clear();
        out.extend(self.slots.iter().map(|slot| Counter { pid: slot.pid, last: slot.last }));
    }

    fn admit(&mut self, packet: Packet<'_>) -> Seen {
        let pid = packet.pid();
        if self.slots.len() == TRACKED_PIDS_MAX && !self.make_room(pid) {
            return Seen::Untracked;
        }
        let fingerprint = packet.fingerprint();
        self.slots.push(Slot { pid, last: packet.continuity(), repeated: false, fingerprint });
        if packet.discontinuity() { Seen::Flagged } else { Seen::First }
    }

    fn make_room(&mut self, pid: u16) -> bool {
        if !self.pinned.contains(&pid) {
            return false;
        }
        let Some(victim) = self.slots.iter().position(|slot| !self.pinned.contains(&slot.pid)) else {
            return false;
        };
        self.slots.swap_remove(victim);
        true
    }
}

impl Packet<'_> {
    /// Whether receivers count this packet: not null, not damaged, and neither without payload nor adaptation field
    /// (the reserved combination, which receivers discard).
    #[inline]
    pub fn counts(self) -> bool {
        !self.is_null() && !self.transport_error() && (self.has_payload() || self.has_adaptation())
    }

    /// The counter of the packet that comes before this one on its PID: packets without payload repeat it.
    pub fn continuity_before(self) -> u8 {
        if self.has_payload() { self.continuity().wrapping_sub(1) & 0x0f } else { self.continuity() }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{AUDIO_PID, Parts, VIDEO_PID, Writer},
        *,
    };

    fn observe(tracker: &mut Tracker, parts: &Parts<'_>) -> Seen {
        tracker.observe(Packet::new(&parts.build()))
    }

    fn payload(pid: u16, continuity: u8, byte: u8) -> [u8; 188] {
        Parts { pid, continuity, payload: &[byte; 184], ..Parts::default() }.build()
    }

    #[test]
    fn counts_that_go_on_are_in_order_and_wrap() {
        let mut tracker = Tracker::new();
        for step in 0..40_u8 {
            let expected = if step == 0 { Seen::First } else { Seen::InOrder };
            assert_eq!(tracker.observe(Packet::new(&payload(VIDEO_PID, step % 16, step))), expected);
        }
    }

    #[test]
    fn a_packet_may_come_twice_but_not_three_times() {
        let mut tracker = Tracker::new();
        let seen =
            [3, 3, 3].map(|continuity| tracker.observe(Packet::new(&payload(VIDEO_PID, continuity, 9))));
        assert_eq!(seen, [Seen::First, Seen::Duplicate, Seen::Gap { expected: 4 }]);
    }

    /// Sixteen lost packets leave the same counter; only the content tells them from a repetition.
    #[test]
    fn the_same_counter_with_other_content_is_a_gap() {
        let mut tracker = Tracker::new();
        tracker.observe(Packet::new(&payload(VIDEO_PID, 3, 1)));
        assert_eq!(tracker.observe(Packet::new(&payload(VIDEO_PID, 3, 2))), Seen::Gap { expected: 4 });
    }

    #[test]
    fn a_flagged_packet_may_have_any_count_and_the_next_follows_it() {
        let mut tracker = Tracker::new();
        tracker.observe(Packet::new(&payload(VIDEO_PID, 3, 1)));
        let flagged = Parts { pid: VIDEO_PID, continuity: 9, discontinuity: true, ..Parts::default() };
        assert_eq!(observe(&mut tracker, &flagged), Seen::Flagged);
        assert_eq!(tracker.observe(Packet::new(&payload(VIDEO_PID, 10, 1))), Seen::InOrder);
    }

    #[test]
    fn packets_without_payload_repeat_the_count() {
        let mut tracker = Tracker::new();
        tracker.observe(Packet::new(&payload(VIDEO_PID, 3, 1)));
        let bare = Parts { pid: VIDEO_PID, continuity: 3, ..Parts::default() };
        assert_eq!(observe(&mut tracker, &bare), Seen::InOrder);
        assert_eq!(tracker.observe(Packet::new(&payload(VIDEO_PID, 4, 1))), Seen::InOrder);
        let wrong = Parts { continuity: 7, ..bare };
        assert_eq!(observe(&mut tracker, &wrong), Seen::Gap { expected: 4 });
    }

    /// Damaged input names thousands of PIDs; the ones that matter must still find a place, and memory stays bounded.
    #[test]
    fn pinned_pids_find_a_slot_among_any_number_of_others() {
        let mut tracker = Tracker::new();
        for pid in 0x20..0x220 {
            tracker.observe(Packet::new(&payload(pid, 0, 0)));
        }
        assert_eq!(tracker.observe(Packet::new(&payload(VIDEO_PID + 0x800, 0, 0))), Seen::Untracked);
        tracker.pin([VIDEO_PID + 0x800].into_iter());
        for pid in [0, VIDEO_PID + 0x800] {
            assert_eq!(tracker.observe(Packet::new(&payload(pid, 0, 0))), Seen::First);
            assert_eq!(tracker.observe(Packet::new(&payload(pid, 1, 0))), Seen::InOrder);
        }
        let mut counters = Vec::new();
        tracker.snapshot(&mut counters);
        assert_eq!(counters.len(), TRACKED_PIDS_MAX);
        // Whoever moved when another was evicted is still found under its own counter.
        for counter in counters {
            let next = payload(counter.pid, counter.last + 1, 0);
            assert_eq!(tracker.observe(Packet::new(&next)), Seen::InOrder, "pid {:#x}", counter.pid);
        }
    }

    #[test]
    fn looking_ahead_tells_what_must_precede_the_bytes_that_follow() {
        let mut writer = Writer::new();
        *writer.next(AUDIO_PID) = 7;
        *writer.next(VIDEO_PID) = 0;
        writer.picture(true, None);
        writer.audio();
        writer.audio();
        let before = Continuity::new([Counter { pid: 0, last: 4 }, Counter { pid: AUDIO_PID, last: 1 }]);
        let ahead = before.looking_ahead(&writer.bytes);
        assert_eq!([0, VIDEO_PID, AUDIO_PID].map(|pid| ahead.last(pid)), [Some(4), Some(15), Some(6)]);
    }
}
