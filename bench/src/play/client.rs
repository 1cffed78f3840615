//! One player of the load: where it stands and what it has counted. Small, since there are thousands; no I/O here.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::player::check::{self, Checker};
use crate::player::{Body, Fault, Head};

/// What a player does with the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Discards whatever is there.
    Drained,
    /// Discards at the stream's rate.
    Paced,
    /// Drains at once and checks every packet.
    Checked,
    /// Stops reading.
    Stalled,
    /// Drains at once, leaves after a while, and comes again.
    Passing,
}

impl Kind {
    /// How many kinds there are.
    pub(super) const COUNT: usize = Self::Passing as usize + 1;

    /// Players whose service is judged.
    pub(super) fn is_judged(self) -> bool {
        !matches!(self, Self::Stalled | Self::Passing)
    }
}

/// Why a player is no longer connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// No connection came about.
    NoConnection(io::ErrorKind),
    /// Another status than 200.
    Status(u16),
    /// What came is not HTTP.
    BadResponse,
    /// No byte of the stream in time.
    NoAnswer,
    /// The server closed.
    Eof,
    /// The connection failed.
    Failed(io::ErrorKind),
    /// The load tool let it go.
    Dismissed,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConnection(kind) => write!(f, "no connection: {kind}"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::BadResponse => f.write_str("bad response"),
            Self::NoAnswer => f.write_str("no stream in time"),
            Self::Eof => f.write_str("closed by the server"),
            Self::Failed(kind) => write!(f, "{kind}"),
            Self::Dismissed => f.write_str("dismissed"),
        }
    }
}

/// Where a player stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its turn to connect has not come.
    Due,
    /// Connecting.
    Connecting,
    /// Request sent; the stream has not begun (for a checked player: cannot be decoded yet).
    Joining,
    /// The stream runs.
    Flowing,
    /// Has stopped reading.
    Stalled,
    /// Over.
    Gone(Gone),
}

/// One player.
pub(super) struct Client {
    pub(super) kind: Kind,
    /// Its number among the players of all threads, from which its channel and its address follow.
    pub(super) place: usize,
    pub(super) state: State,
    pub(super) stream: Option<TcpStream>,
    pub(super) started: Instant,
    /// Time from the connection attempt to the first byte of the body.
    pub(super) first_byte: Option<Duration>,
    /// Bytes of the body in all.
    pub(super) bytes: u64,
    /// Bytes since the measurement began.
    pub(super) measured: u64,
    /// Longest time without bytes since the measurement began.
    pub(super) longest_gap: Duration,
    /// When bytes last came.
    pub(super) last: Instant,
    /// When a paced player reads next, and up to when it has spent its rate.
    pub(super) next: Instant,
    pub(super) spent: Instant,
    /// Head bytes so far, until the head is whole.
    pub(super) head: Option<Vec<u8>>,
    pub(super) sample: Option<Box<Sample>>,
}

/// What only a checked player has.
#[derive(Default)]
pub(super) struct Sample {
    body: Option<Body>,
    pub(super) checker: Checker,
    /// Time from the connection attempt to the first decodable byte.
    pub(super) decodable: Option<Duration>,
}

impl Client {
    pub(super) fn new(kind: Kind, place: usize, due: Instant) -> Self {
        Self {
            kind,
            place,
            state: State::Due,
            stream: None,
            started: due,
            first_byte: None,
            bytes: 0,
            measured: 0,
            longest_gap: Duration::ZERO,
            last: due,
            next: due,
            spent: due,
            head: Some(Vec::new()),
            sample: (kind == Kind::Checked).then(Box::default),
        }
    }

    /// Takes what was read while joining. `Ok(true)` when the player has joined.
    pub(super) fn join(&mut self, bytes: &[u8], now: Instant) -> Result<bool, Gone> {
        let behind_head;
        let mut body = bytes;
        if let Some(head) = &mut self.head {
            head.extend_from_slice(bytes);
            let Some((parsed, length)) = Head::parse(head).map_err(bad)? else { return Ok(false) };
            if parsed.status != 200 {
                return Err(Gone::Status(parsed.status));
            }
            if let Some(sample) = &mut self.sample {
                sample.body = Some(Body::after(&parsed, false).map_err(bad)?);
            }
            behind_head = head.split_off(length);
            body = &behind_head;
            self.head = None;
        }
        if body.is_empty() {
            return Ok(false);
        }
        self.first_byte.get_or_insert_with(|| now.saturating_duration_since(self.started));
        self.last = now;
        self.count(body.len());
        match &mut self.sample {
            None => Ok(true),
            Some(sample) => {
                sample.feed(body)?;
                let is_decodable = sample.checker.is_decodable();
                if is_decodable {
                    sample.decodable = Some(now.saturating_duration_since(self.started));
                }
                Ok(is_decodable)
            }
        }
    }

    /// Notes bytes of the running stream; returns the time since the last ones.
    pub(super) fn flow(&mut self, bytes: usize, now: Instant) -> Duration {
        self.count(bytes);
        let gap = now.saturating_duration_since(self.last);
        self.longest_gap = self.longest_gap.max(gap);
        self.last = now;
        gap
    }

    fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.measured += bytes as u64;
    }

    /// Starts counting anew.
    pub(super) fn begin_interval(&mut self, now: Instant) {
        self.measured = 0;
        self.longest_gap = Duration::ZERO;
        self.last = now;
    }

    /// The stream runs and its service is judged.
    pub(super) fn is_served(&self) -> bool {
        self.state == State::Flowing && self.kind.is_judged()
    }
}

impl Sample {
    /// Checks body bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let Some(body) = &mut self.body else { return Ok(()) };
        body.feed(bytes, |data| self.checker.feed(data)).map_err(bad)?;
        if body.is_complete() { Err(Gone::Eof) } else { Ok(()) }
    }

    /// What the checker found.
    pub(super) fn report(&self) -> check::Report {
        self.checker.report()
    }
}

fn bad(_: Fault) -> Gone {
    Gone::BadResponse
}
