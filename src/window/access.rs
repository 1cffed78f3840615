//! Random access points and media times of a window. Pure.

use crate::media::ts::{Continuity, MediaTime, Tables};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Points kept at most. A stream of one-frame groups at 60 per second fills a 30 s window with 1,800; beyond the
/// bound every second point is dropped, which costs a joiner some milliseconds of position and nothing else.
const POINTS_MAX: usize = 2048;
/// Breaks kept at most: sources that are replaced every second for a minute.
const BREAKS_MAX: usize = 64;

/// A place where decoding can begin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccessPoint {
    /// Offset of its first packet.
    pub offset: u64,
    /// Its time on the session's unwrapped media clock.
    pub media_time: MediaTime,
    /// The tables in force there.
    pub tables: Arc<Tables>,
    /// The last continuity counter of every packet id before it.
    pub continuity: Continuity,
}

/// How far behind the head a client starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// By media time.
    Media(Duration),
    /// By bytes.
    Bytes(u64),
}

/// How far behind the head a client may fall; `None` is as far as the window reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LagMax {
    /// By media time.
    pub time: Option<Duration>,
    /// By bytes.
    pub bytes: Option<u64>,
}

/// The random access points of a window, oldest first, and the media time of its head.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct AccessIndex {
    points: VecDeque<AccessPoint>,
    head_time: MediaTime,
    /// Offsets from which on the stream does not continue what comes before, oldest first.
    breaks: VecDeque<u64>,
}

impl AccessIndex {
    /// Tables that are the same become one again, after they were told one by one.
    pub(super) fn share_tables(&mut self) {
        let mut last: Option<Arc<Tables>> = None;
        for point in &mut self.points {
            match &last {
                Some(tables) if **tables == *point.tables && tables.generation == point.tables.generation => {
                    point.tables = tables.clone();
                }
                _ => last = Some(point.tables.clone()),
            }
        }
    }

    /// Adds a point; offsets only grow.
    pub fn push(&mut self, point: AccessPoint) {
        debug_assert!(
            self.points.back().is_none_or(|last| last.offset < point.offset),
            "points are in order"
        );
        if self.points.len() == POINTS_MAX {
            let mut keep = false;
            self.points.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.head_time = self.head_time.max(point.media_time);
        self.points.push_back(point);
    }

    /// Notes how far the stream's clock has come.
    pub fn set_head_time(&mut self, time: MediaTime) {
        self.head_time = self.head_time.max(time);
    }

    /// The newest time on the session's media clock.
    pub fn head_time(&self) -> MediaTime {
        self.head_time
    }

    /// Drops what lies before the tail.
    pub fn forget_before(&mut self, tail: u64) {
        while self.points.front().is_some_and(|point| point.offset < tail) {
            self.points.pop_front();
        }
        while self.breaks.front().is_some_and(|at| *at < tail) {
            self.breaks.pop_front();
        }
    }

    /// Notes that what comes from `offset` on does not continue the stream; offsets only grow.
    pub fn note_break(&mut self, offset: u64) {
        if self.breaks.back().is_some_and(|last| *last >= offset) {
            return;
        }
        if self.breaks.len() == BREAKS_MAX {
            self.breaks.pop_front();
        }
        self.breaks.push_back(offset);
    }

    /// The breaks behind an offset, oldest first.
    pub fn breaks_after(&self, offset: u64) -> impl Iterator<Item = u64> {
        self.breaks.range(self.breaks.partition_point(|at| *at <= offset)..).copied()
    }

    /// The breaks at an offset and behind it, oldest first.
    pub fn breaks_from(&self, offset: u64) -> impl Iterator<Item = u64> {
        self.breaks.range(self.breaks.partition_point(|at| *at < offset)..).copied()
    }

    /// The points at an offset and behind it, oldest first.
    pub fn from(&self, offset: u64) -> impl Iterator<Item = &AccessPoint> {
        self.points.range(self.points.partition_point(|point| point.offset < offset)..)
    }

    /// The points behind an offset, oldest first.
    pub fn after(&self, offset: u64) -> impl Iterator<Item = &AccessPoint> {
        self.points.range(self.points.partition_point(|point| point.offset <= offset)..)
    }

    /// Where a client joins: the newest point at least `behind` the head, else the oldest there is.
    pub fn join(&self, behind: Behind, head: u64) -> Option<&AccessPoint> {
        let far_enough = |point: &&AccessPoint| match behind {
            Behind::Media(time) => point.media_time <= self.head_time.back(time),
            Behind::Bytes(bytes) => point.offset + bytes <= head,
        };
        self.points.iter().rev().find(far_enough).or_else(|| self.points.front())
    }

    /// Where a client goes on that may not stand before `least`: where it would join, or the first point that is not too
    /// far back, or the newest one.
    pub fn landing(&self, behind: Behind, head: u64, least: u64) -> Option<&AccessPoint> {
        let fits = |point: &&AccessPoint| point.offset >= least;
        self.join(behind, head)
            .filter(fits)
            .or_else(|| self.points.iter().find(fits))
            .or_else(|| self.points.back())
    }

    /// The offset that no client may stand before. By media time it is a random access point that is too far back
    /// itself, so that whoever stands before it certainly is.
    pub fn lag_floor(&self, lag: LagMax, head: u64) -> u64 {
        let by_time = lag.time.and_then(|time| {
            let limit = self.head_time.back(time);
            self.points.iter().rev().find(|point| point.media_time < limit).map(|point| point.offset)
        });
        let by_bytes = lag.bytes.map(|bytes| head.saturating_sub(bytes));
        by_time.max(by_bytes).unwrap_or(0)
    }

    /// Media time between the newest point at or before `offset` and the head; how far behind a cursor is.
    pub fn behind(&self, offset: u64) -> Duration {
        let after = self.points.partition_point(|point| point.offset <= offset);
        let time = match after.checked_sub(1).or(Some(0)).and_then(|at| self.points.get(at)) {
            Some(point) => point.media_time,
            None => return Duration::ZERO,
        };
        self.head_time.since(time)
    }

    /// Media time held, from the oldest point to the head.
    pub fn span(&self) -> Duration {
        self.points.front().map_or(Duration::ZERO, |point| self.head_time.since(point.media_time))
    }

    /// The newest point.
    pub fn newest(&self) -> Option<&AccessPoint> {
        self.points.back()
    }

    /// Every point, oldest first.
    pub fn points(&self) -> impl ExactSizeIterator<Item = &AccessPoint> {
        self.points.iter()
    }

    /// The oldest point.
    pub fn oldest(&self) -> Option<&AccessPoint> {
        self.points.front()
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }
}
