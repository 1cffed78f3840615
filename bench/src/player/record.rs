//! What a player has experienced so far. Written by the player's task, read under a lock by whoever asks; pure apart
//! from the instants it is handed.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::body::Head;
use super::check::{self, Checker};

/// Gaps are recorded in microseconds up to this; longer ones count as this long.
const GAP_MAX_US: u64 = 600_000_000;
/// Bytes kept of a body that is not a stream, such as a JSON error.
const TEXT_LEN_MAX: usize = 64 * 1024;

/// How a player's connection ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum End {
    /// The framing said that the body is complete.
    Complete,
    /// The server closed; a close-delimited body ends so.
    Eof,
    /// The server closed before the length or the last chunk that it had announced.
    Truncated,
    /// The server reset the connection.
    Reset,
    /// The response is not HTTP.
    BadResponse(String),
    /// No connection came about.
    NoConnection(String),
    /// Another error of the socket.
    Failed(String),
    /// The player's own time limit was over.
    TimeLimit,
    /// The player left with FIN.
    Left,
    /// The player left with RST.
    LeftAbruptly,
}

/// Times are counted from the start of the connection attempt.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// Status line and headers, once they are here.
    pub head: Option<Head>,
    /// Time until the connection stood.
    pub connected_after: Option<Duration>,
    /// Time until the end of the head.
    pub head_after: Option<Duration>,
    /// Time until the first byte of the body.
    pub first_byte_after: Option<Duration>,
    /// Time until a decoder could begin: tables and the first packet of a random access point are here.
    pub decodable_after: Option<Duration>,
    /// Bytes of the body.
    pub bytes: u64,
    /// Longest time between two reads that brought bytes, the time since the last one included.
    pub longest_gap: Duration,
    /// What the checker found in the body.
    pub check: check::Report,
    /// How it ended, when it has.
    pub end: Option<End>,
    /// Time until the end.
    pub ended_after: Option<Duration>,
    /// The player turned into a ghost: it acknowledges nothing any more.
    pub vanished: bool,
}

impl Snapshot {
    /// The status code, once the head is here.
    pub fn status(&self) -> Option<u16> {
        self.head.as_ref().map(|head| head.status)
    }
}

/// How much of the body is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    /// Bytes from the beginning.
    pub(super) first: usize,
    /// Bytes before the current end.
    pub(super) last: usize,
}

/// The record of one player.
pub(super) struct Record {
    started: Instant,
    connected: Option<Instant>,
    headed: Option<Instant>,
    first_byte: Option<Instant>,
    decodable: Option<Instant>,
    ended: Option<Instant>,
    pub(super) vanished: bool,
    pub(super) head: Option<Head>,
    pub(super) end: Option<End>,
    pub(super) bytes: u64,
    pub(super) checker: Checker,
    pub(super) first: Vec<u8>,
    keep: Keep,
    tail: Vec<u8>,
    last_read: Option<Instant>,
    longest_gap: Duration,
    gaps: Histogram<u64>,
}

impl Record {
    pub(super) fn new(options: check::Options, keep: Keep, now: Instant) -> Self {
        Self {
            started: now,
            connected: None,
            headed: None,
            first_byte: None,
            decodable: None,
            ended: None,
            vanished: false,
            head: None,
            end: None,
            bytes: 0,
            checker: Checker::new(options),
            first: Vec::new(),
            keep,
            tail: Vec::new(),
            last_read: None,
            longest_gap: Duration::ZERO,
            gaps: Histogram::new_with_bounds(1, GAP_MAX_US, 3).expect("constant bounds are valid"),
        }
    }

    pub(super) fn connected(&mut self, now: Instant) {
        self.connected = Some(now);
    }

    pub(super) fn head(&mut self, head: Head, now: Instant) {
        self.headed = Some(now);
        self.head = Some(head);
    }

    /// Notes payload bytes of the body that were read at `now`.
    pub(super) fn body(&mut self, bytes: &[u8], now: Instant) {
        self.first_byte.get_or_insert(now);
        self.bytes += bytes.len() as u64;
        let is_stream = self.head.as_ref().is_some_and(|head| head.status == 200);
        let keep_first = if is_stream { self.keep.first } else { self.keep.first.max(TEXT_LEN_MAX) };
        let room = keep_first.saturating_sub(self.first.len());
        self.first.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if self.keep.last > 0 {
            self.tail.extend_from_slice(bytes);
            if self.tail.len() > 2 * self.keep.last {
                self.tail.drain(..self.tail.len() - self.keep.last);
            }
        }
        if is_stream {
            self.checker.feed(bytes);
            if self.decodable.is_none() && self.checker.is_decodable() {
                self.decodable = Some(now);
            }
        }
    }

    /// Notes that a read brought bytes of the body.
    pub(super) fn gap(&mut self, now: Instant) {
        if let Some(last) = self.last_read.replace(now) {
            let gap = now.saturating_duration_since(last);
            self.longest_gap = self.longest_gap.max(gap);
            self.gaps.saturating_record((gap.as_micros() as u64).max(1));
        }
    }

    /// Forgets the gaps so far; the next one counts from `now`.
    pub(super) fn forget_gaps(&mut self, now: Instant) {
        self.longest_gap = Duration::ZERO;
        self.gaps.reset();
        self.last_read = self.last_read.map(|_| now);
    }

    /// Notes the end; the first one counts.
    pub(super) fn end(&mut self, end: End, now: Instant) {
        if self.end.is_none() {
            self.end = Some(end);
            self.ended = Some(now);
        }
    }

    pub(super) fn is_decodable(&self) -> bool {
        self.decodable.is_some()
    }

    pub(super) fn tail(&self) -> &[u8] {
        &self.tail[self.tail.len().saturating_sub(self.keep.last)..]
    }

    pub(super) fn gaps(&self) -> Histogram<u64> {
        self.gaps.clone()
    }

    pub(super) fn longest_gap(&self, now: Instant) -> Duration {
        let until = self.ended.unwrap_or(now);
        let current = self.last_read.map(|last| until.saturating_duration_since(last));
        self.longest_gap.max(current.unwrap_or_default())
    }

    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        let after = |instant: Option<Instant>| instant.map(|it| it.saturating_duration_since(self.started));
        Snapshot {
            head: self.head.clone(),
            connected_after: after(self.connected),
            head_after: after(self.headed),
            first_byte_after: after(self.first_byte),
            decodable_after: after(self.decodable),
            bytes: self.bytes,
            longest_gap: self.longest_gap(now),
            check: self.checker.report(),
            end: self.end.clone(),
            ended_after: after(self.ended),
            vanished: self.vanished,
        }
    }
}
