//! The window's bookkeeping: whatever is appended, asked to be kept, reserved and however time goes, nothing moves
//! back, what is released keeps its distance, joins lie within what is offered, and no memory is promised twice.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::media::ts::{Event, MediaTime, PACKET, Rap, Scanner};
use sluice::uring::BLOCK;
use sluice::window::{AccessIndex, AccessPoint, Behind, Budget, Extent, Reservation, Retention, Waiting};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

const RELEASE_DELAY: Duration = Duration::from_secs(2);
/// Points up to which the index keeps every one.
const POINTS_MAX: usize = 2048;
const TICKS_PER_MS: u64 = 27_000;

/// Tables and counters for the points, out of a real stream.
static POINT: LazyLock<Rap> = LazyLock::new(|| {
    let mut found = None;
    Scanner::new().scan(
        0,
        include_bytes!("../corpus/ts_parser/h264").get(2..).unwrap_or_default(),
        &mut |event| {
            if let Event::RandomAccess(rap) = event {
                found = Some(rap);
            }
        },
    );
    found.expect("the stream has a random access point")
});

struct World {
    now: Instant,
    extent: Extent,
    /// Tails published so far, kept apart from the extent's own queue.
    published: Vec<(Instant, u64)>,
    access: AccessIndex,
    /// All points that must still be there, oldest first.
    points: Vec<(u64, u64)>,
    head_time: u64,
    budget: Arc<Budget>,
    reservations: Vec<Reservation>,
    waiting: Vec<Waiting>,
}

// Input: the budget in MiB, then steps of four bytes: what to do, and three bytes that say how much.
fuzz_target!(|input: &[u8]| {
    let [total, steps @ ..] = input else { return };
    let mut world = World {
        now: Instant::now(),
        extent: Extent::default(),
        published: Vec::new(),
        access: AccessIndex::default(),
        points: Vec::new(),
        head_time: 0,
        budget: Budget::new(u64::from(*total) << 20),
        reservations: Vec::new(),
        waiting: Vec::new(),
    };
    for step in steps.chunks_exact(4) {
        world.step(step[0], u64::from(step[1]), u64::from(step[2]), u64::from(step[3]));
        world.check();
    }
    world.waiting.clear();
    assert!(!world.budget.is_pressed());
    world.reservations.clear();
    assert_eq!(world.budget.reserved(), 0, "memory was not given back");
});

impl World {
    fn step(&mut self, what: u8, a: u64, b: u64, c: u64) {
        match what % 10 {
            0..=2 => self.append((a << 8 | b) * 4, c),
            3 => self.now += Duration::from_millis((a << 8 | b) * (c % 4)),
            4 | 5 => self.point(a, b << 8 | c),
            6 => self.join(a, b << 8 | c),
            7 => {
                if let Some(reservation) = self.budget.reserve(a << 20 | b << 8 | c) {
                    self.reservations.push(reservation);
                }
            }
            8 => self.resize(a as usize, b << 20 | c << 8),
            _ if a % 2 == 0 && self.waiting.len() < 8 => self.waiting.push(self.budget.wait()),
            _ => drop(self.waiting.pop()),
        }
    }

    /// What a session does after a read: append, move the tail, release.
    fn append(&mut self, packets: u64, keep: u64) {
        let before = (self.extent.head(), self.extent.tail(), self.extent.release_mark());
        self.extent.grow(packets * PACKET as u64);
        let resident = self.reservations.first().map_or(0, Reservation::bytes);
        let retention = Retention::new(keep << 18, keep << 12).within(resident);
        assert!(retention.resident_bytes() >= BLOCK);
        self.extent.retain(self.now, retention);
        self.published.push((self.now, self.extent.tail()));
        let tail = self.extent.tail();
        self.access.forget_before(tail);
        self.points.retain(|(offset, _)| *offset >= tail);
        if let Some((from, to)) = self.extent.releasable(self.now) {
            assert_eq!(from, self.extent.release_mark());
            assert!(from % BLOCK == 0 && to % BLOCK == 0 && from < to);
            let settled = |(at, _): &&(Instant, u64)| self.now - *at >= RELEASE_DELAY;
            let old = self.published.iter().rev().find(settled).map_or(0, |(_, tail)| *tail);
            assert!(to + BLOCK <= old, "released up to {to}, the tail of two seconds ago is {old}");
            self.extent.released(to);
        }
        let after = (self.extent.head(), self.extent.tail(), self.extent.release_mark());
        assert!(after.0 >= before.0 && after.1 >= before.1 && after.2 >= before.2, "{before:?} to {after:?}");
    }

    /// A random access point in what was appended last, some media after the one before.
    fn point(&mut self, packets_back: u64, ms: u64) {
        let (head, tail) = (self.extent.head(), self.extent.tail());
        let offset = head.saturating_sub((packets_back + 1) * PACKET as u64);
        let follows = self.access.newest().is_none_or(|newest| newest.offset < offset);
        if offset >= tail && offset < head && follows && self.points.len() < POINTS_MAX {
            self.head_time += ms * TICKS_PER_MS;
            let media_time = MediaTime::from_ticks(self.head_time);
            let (tables, continuity) = (POINT.tables.clone(), POINT.continuity.clone());
            self.access.push(AccessPoint { offset, media_time, tables, continuity });
            self.points.push((offset, self.head_time));
        } else {
            self.head_time += ms;
            self.access.set_head_time(MediaTime::from_ticks(self.head_time));
        }
    }

    fn join(&self, packets: u64, amount: u64) {
        let head = self.extent.head();
        let ticks = self.head_time.saturating_sub(amount * TICKS_PER_MS);
        let by_time = self.points.iter().rev().find(|(_, time)| *time <= ticks);
        let by_bytes = self.points.iter().rev().find(|(offset, _)| offset + amount <= head);
        let joins =
            [(Behind::Media(Duration::from_millis(amount)), by_time), (Behind::Bytes(amount), by_bytes)];
        for (behind, expected) in joins {
            let expected = expected.or(self.points.first()).map(|(offset, _)| *offset);
            assert_eq!(self.access.join(behind, head).map(|point| point.offset), expected, "{behind:?}");
        }
        let cursor = head.saturating_sub(packets * PACKET as u64);
        assert!(self.access.behind(cursor) <= self.access.span());
    }

    fn resize(&mut self, which: usize, bytes: u64) {
        let count = self.reservations.len().max(1);
        let (pressed, free) = (self.budget.is_pressed(), self.budget.total() - self.budget.reserved());
        let Some(reservation) = self.reservations.get_mut(which % count) else { return };
        let before = reservation.bytes();
        if which & 1 == 0 {
            reservation.grow_to(bytes);
            let grows = bytes > before && bytes - before <= free && !pressed;
            assert_eq!(reservation.bytes(), if grows { bytes } else { before });
        } else {
            reservation.shrink_to(bytes);
            assert_eq!(reservation.bytes(), bytes.min(before));
        }
    }

    fn check(&self) {
        let (head, tail, mark) = (self.extent.head(), self.extent.tail(), self.extent.release_mark());
        assert!(mark <= tail && tail <= head && tail % PACKET as u64 == 0 && mark % BLOCK == 0);
        assert_eq!(self.extent.resident(), head - mark);
        assert_eq!(self.access.len(), self.points.len());
        assert_eq!(self.access.newest().map(|point| point.offset), self.points.last().map(|point| point.0));
        let held: u64 = self.reservations.iter().map(Reservation::bytes).sum();
        assert_eq!(self.budget.reserved(), held);
        assert!(held <= self.budget.total());
        assert_eq!(self.budget.is_pressed(), !self.waiting.is_empty());
    }
}
