//! One player: what it asked for, where it stands in the window, what its socket is owed, and what happens when it
//! is slow.
//!
//! A client is a descriptor, a cursor and one small pending prefix. It has no task: its shard visits it by the clock.
//! Nothing here waits. Owner: the shard that serves it, which is that of its session or one that has a replica of it.

pub mod hls;
mod lag;
mod refusal;
mod request;
mod status;
mod watched;

pub use State as ClientState;
pub use refusal::{answer, status_of};
pub use request::{PlayRequest, play_request};
pub use status::{health, stream_status, totals};
pub use watched::Watched;

use crate::handover::age;
use crate::media::ts::stitch;
use crate::metrics::Counters;
use crate::uring::{is_writable, send_now, set_buffered_bytes_max};
use crate::window::{Behind, LagMax, Sent};
use serde::{Deserialize, Serialize};
use sluice_contract::{ClientId, EndReason, Guard};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Null packets sent at a time to keep a player of a silent stream: one full Ethernet frame.
pub const KEEPALIVE_PACKETS: usize = 7;
/// Bounds of what the kernel may hold unsent for one player.
const UNSENT_BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=(512 << 10);
/// A client's rate is taken over at least this long.
const RATE_OVER: Duration = Duration::from_secs(1);

static KEEPALIVE: [u8; KEEPALIVE_PACKETS * crate::media::ts::PACKET] = {
    let packet = stitch::null_packet();
    let mut block = [0; KEEPALIVE_PACKETS * crate::media::ts::PACKET];
    let mut at = 0;
    while at < block.len() {
        block[at] = packet[at % packet.len()];
        at += 1;
    }
    block
};

/// The times a client lives by.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// A socket that takes nothing for that long is closed.
    pub write_timeout: Duration,
    /// Null packets begin after that much silence.
    pub keepalive_after: Duration,
    /// And are repeated at this interval.
    pub keepalive_interval: Duration,
    /// Where clients join and skip to.
    pub join_behind: Behind,
    /// How far behind they may fall.
    pub lag: LagMax,
    /// Whether one that is further behind is moved forward; otherwise it is closed.
    pub skips: bool,
}

/// Bytes that go out before the cursor moves on.
#[derive(Debug, Default)]
enum Prefix {
    #[default]
    Nothing,
    Owned(Box<[u8]>, usize),
    Keepalive(usize),
}

impl Prefix {
    fn rest(&self) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::Owned(bytes, sent) => &bytes[*sent..],
            Self::Keepalive(sent) => &KEEPALIVE[*sent..],
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Nothing => {}
            Self::Owned(_, sent) | Self::Keepalive(sent) => *sent += count,
        }
        if self.rest().is_empty() {
            *self = Self::Nothing;
        }
    }
}

/// Who a client is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Random.
    pub id: ClientId,
    /// Address after trusted proxies.
    pub address: IpAddr,
    /// `User-Agent`, cut.
    pub user_agent: Arc<str>,
    /// When it asked.
    pub connected_at: SystemTime,
}

/// A client as another process is told of it, its socket aside.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    identity: Identity,
    cursor: u64,
    /// What goes out before the cursor moves on.
    prefix: Vec<u8>,
    fell_behind: bool,
    skips: u32,
    skipped_bytes: u64,
    bytes_sent: u64,
    #[serde(with = "age")]
    rate_taken: Instant,
    rate: (u64, u64),
    #[serde(with = "age::option")]
    last_delivery: Option<Instant>,
    #[serde(with = "age")]
    last_progress: Instant,
    #[serde(with = "age::option")]
    last_keepalive: Option<Instant>,
    last_active: SystemTime,
}

impl State {
    /// Where it comes from.
    pub fn address(&self) -> IpAddr {
        self.identity.address
    }

    /// What is shown of it when it ends between two shards.
    pub fn last_snapshot(self) -> sluice_contract::snapshot::Client {
        sluice_contract::snapshot::Client {
            id: self.identity.id,
            address: self.identity.address,
            user_agent: self.identity.user_agent,
            connected_at: self.identity.connected_at,
            last_active: self.last_active,
            bytes_sent: self.bytes_sent,
            behind_bytes: 0,
            behind_s: 0.0,
            rate: 0,
            skips: self.skips,
            skipped_bytes: self.skipped_bytes,
        }
    }
}

/// One connected player.
pub struct Client {
    fd: OwnedFd,
    identity: Identity,
    watched: Watched,
    cursor: u64,
    prefix: Prefix,
    /// It is too far behind: once its prefix is out and its socket takes more, it goes on at another place.
    fell_behind: bool,
    skips: u32,
    skipped_bytes: u64,
    bytes_sent: u64,
    /// When its rate was last taken, of how many bytes, and what it was.
    rate: (Instant, u64, u64),
    last_delivery: Option<Instant>,
    last_progress: Instant,
    last_keepalive: Option<Instant>,
    last_active: SystemTime,
    /// Present bound of unsent bytes in the kernel.
    unsent_bytes_max: u32,
    /// Places in the admission counts.
    guards: [Guard; 2],
}

/// What a visit came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It has everything there is.
    AtHead,
    /// Its socket takes nothing more now.
    Blocked,
    /// Its quantum is used up, there is more to send.
    More,
    /// It is over.
    Gone(EndReason),
}

impl Client {
    /// A client that begins at `point`, or at the tail of a stream without random access points. `head` is the
    /// response head.
    pub fn new(
        fd: OwnedFd,
        identity: Identity,
        watched: Watched,
        head: &[u8],
        behind: Behind,
        guards: [Guard; 2],
        now: Instant,
    ) -> Self {
        let (cursor, prefix) = {
            let window = watched.window();
            let mut prefix = head.to_vec();
            let cursor = match window.access().landing(behind, window.head(), watched.lag_floor()) {
                Some(point) => {
                    prefix.extend(stitch::join_prefix(&point.tables, &point.continuity));
                    point.offset
                }
                None => window.tail(),
            };
            (cursor, prefix)
        };
        Self {
            fd,
            identity,
            watched,
            cursor,
            prefix: Prefix::Owned(prefix.into(), 0),
            fell_behind: false,
            skips: 0,
            skipped_bytes: 0,
            bytes_sent: 0,
            rate: (now, 0, 0),
            last_delivery: None,
            last_progress: now,
            last_keepalive: None,
            last_active: SystemTime::now(),
            unsent_bytes_max: 0,
            guards,
        }
    }

    /// What another process needs to go on with it.
    pub fn state(&self) -> State {
        let (rate_taken, bytes, rate) = self.rate;
        State {
            identity: self.identity.clone(),
            cursor: self.cursor,
            prefix: self.prefix.rest().to_vec(),
            fell_behind: self.fell_behind,
            skips: self.skips,
            skipped_bytes: self.skipped_bytes,
            bytes_sent: self.bytes_sent,
            rate_taken,
            rate: (bytes, rate),
            last_delivery: self.last_delivery,
            last_progress: self.last_progress,
            last_keepalive: self.last_keepalive,
            last_active: self.last_active,
        }
    }

    /// Everything another shard needs to go on with it.
    pub fn into_parts(self) -> (OwnedFd, State, [Guard; 2]) {
        let state = self.state();
        (self.fd, state, self.guards)
    }

    /// Goes on with a client of another process, or of another shard, with the very next byte.
    pub fn going_on(fd: OwnedFd, watched: Watched, state: State, guards: [Guard; 2]) -> Self {
        Self {
            fd,
            watched,
            cursor: state.cursor,
            prefix: Prefix::Owned(state.prefix.into(), 0),
            fell_behind: state.fell_behind,
            skips: state.skips,
            skipped_bytes: state.skipped_bytes,
            bytes_sent: state.bytes_sent,
            rate: (state.rate_taken, state.rate.0, state.rate.1),
            last_delivery: state.last_delivery,
            last_progress: state.last_progress,
            last_keepalive: state.last_keepalive,
            last_active: state.last_active,
            unsent_bytes_max: 0,
            identity: state.identity,
            guards,
        }
    }

    /// Sends what is due, at most about `quantum` bytes of media. Never waits.
    pub fn serve(&mut self, now: Instant, quantum: u64, rules: &Rules, counters: &Counters) -> Served {
        match self.try_serve(now, quantum, rules, counters) {
            Ok(served) => served,
            Err(error) => Served::Gone(self.broken(&error, now, rules)),
        }
    }

    /// Why its connection ended, now that the kernel says it did.
    pub fn hung_up(&self, now: Instant, rules: &Rules) -> EndReason {
        match socket2::SockRef::from(&self.fd).take_error() {
            Ok(None) => EndReason::ClientLeft,
            Ok(Some(error)) | Err(error) => self.broken(&error, now, rules),
        }
    }

    /// What a socket error means. The kernel gives a peer that takes nothing the same time as we do, and may be first.
    fn broken(&self, error: &io::Error, now: Instant, rules: &Rules) -> EndReason {
        let is_stalled = now.saturating_duration_since(self.last_progress) >= rules.write_timeout / 2;
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => EndReason::ClientLeft,
            io::ErrorKind::TimedOut if is_stalled => EndReason::WriteTimeout,
            _ => EndReason::ConnectionLost,
        }
    }

    fn try_serve(
        &mut self,
        now: Instant,
        quantum: u64,
        rules: &Rules,
        counters: &Counters,
    ) -> io::Result<Served> {
        self.watched.note_cursor(self.cursor);
        loop {
            if !self.send_prefix(now)? {
                return Ok(self.blocked(now, rules));
            }
            if self.fell_behind {
                // A place chosen for a socket that takes nothing would be the wrong one by the time it does.
                if !is_writable(self.fd.as_fd())? {
                    return Ok(self.blocked(now, rules));
                }
                self.skip(rules, counters)?;
            } else if self.is_too_far_behind() {
                if let Some(end) = self.fall_behind(rules)? {
                    return Ok(Served::Gone(end));
                }
                continue;
            }
            if !self.prefix.rest().is_empty() {
                continue;
            }
            let sent = self.watched.window().send(self.fd.as_fd(), self.cursor, quantum)?;
            match sent {
                Sent::Bytes(0) | Sent::AtHead => {
                    self.last_progress = now;
                    if self.keep_alive(now, rules, counters) {
                        continue;
                    }
                    return Ok(Served::AtHead);
                }
                Sent::Bytes(count) => {
                    self.cursor += count;
                    counters.bytes_out.add(count);
                    self.delivered(now, count, counters);
                    let left = self.watched.window().head() - self.cursor;
                    return Ok(match left {
                        0 => Served::AtHead,
                        _ if count >= quantum => Served::More,
                        _ => Served::Blocked,
                    });
                }
                Sent::Blocked => return Ok(self.blocked(now, rules)),
                Sent::Behind => {
                    if let Some(end) = self.fall_behind(rules)? {
                        return Ok(Served::Gone(end));
                    }
                }
                Sent::Overrun => return Ok(Served::Gone(EndReason::Overrun)),
            }
        }
    }

    /// Whether the prefix is out.
    fn send_prefix(&mut self, now: Instant) -> io::Result<bool> {
        while !self.prefix.rest().is_empty() {
            let is_followed = !matches!(self.prefix, Prefix::Keepalive(_));
            match send_now(self.fd.as_fd(), self.prefix.rest(), is_followed) {
                Ok(count) => {
                    self.prefix.advance(count);
                    self.bytes_sent += count as u64;
                    self.last_progress = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn blocked(&self, now: Instant, rules: &Rules) -> Served {
        if now.saturating_duration_since(self.last_progress) >= rules.write_timeout {
            return Served::Gone(EndReason::WriteTimeout);
        }
        Served::Blocked
    }

    /// Queues null packets when the stream is silent; whether it did.
    fn keep_alive(&mut self, now: Instant, rules: &Rules, counters: &Counters) -> bool {
        let silence = now.saturating_duration_since(self.watched.last_media());
        if silence < rules.keepalive_after || self.watched.is_ending() {
            return false;
        }
        if self
            .last_keepalive
            .is_some_and(|last| now.saturating_duration_since(last) < rules.keepalive_interval)
        {
            return false;
        }
        self.last_keepalive = Some(now);
        counters.keepalive_packets.add(KEEPALIVE_PACKETS as u64);
        self.prefix = Prefix::Keepalive(0);
        true
    }

    fn delivered(&mut self, now: Instant, count: u64, counters: &Counters) {
        self.bytes_sent += count;
        self.last_progress = now;
        if let Some(last) = self.last_delivery.replace(now) {
            counters.delivery_gap.record(now.saturating_duration_since(last));
        }
    }

    /// Adapts what the kernel may hold unsent to the stream's rate and the shard's tick.
    pub fn bound_unsent(&mut self, tick: Duration) {
        let rate = self.watched.rate().unwrap_or(1 << 20);
        let wanted =
            (2 * rate * tick.as_millis() as u64 / 1000).clamp(*UNSENT_BYTES.start(), *UNSENT_BYTES.end());
        let wanted = wanted as u32;
        // Small drifts of the measured rate are not worth a system call per client.
        if wanted.abs_diff(self.unsent_bytes_max) * 4 > self.unsent_bytes_max {
            self.unsent_bytes_max = wanted;
            // A socket that refuses the option is dying; the next send says so.
            let _ = set_buffered_bytes_max(self.fd.as_fd(), wanted);
        }
    }

    /// Where it stands.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Bytes between it and the head.
    pub fn behind_bytes(&self) -> u64 {
        self.watched.window().head().saturating_sub(self.cursor)
    }

    /// What it plays.
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    /// Whether it has what it is given: it is neither about to skip nor before what is offered.
    pub fn keeps_up(&self) -> bool {
        !self.fell_behind && self.cursor >= self.watched.window().tail()
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Bytes its socket took.
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// Its socket, to be watched for leaving.
    pub fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What is shown of it.
    pub fn snapshot(&mut self, now: Instant) -> sluice_contract::snapshot::Client {
        let idle = now.saturating_duration_since(self.last_delivery.unwrap_or(self.last_progress));
        self.last_active = SystemTime::now().checked_sub(idle).unwrap_or(self.last_active);
        let (since, bytes, _) = self.rate;
        let passed = now.saturating_duration_since(since);
        if passed >= RATE_OVER {
            let rate = (self.bytes_sent - bytes) as f64 / passed.as_secs_f64();
            self.rate = (now, self.bytes_sent, rate as u64);
        }
        let window = self.watched.window();
        sluice_contract::snapshot::Client {
            id: self.identity.id,
            address: self.identity.address,
            user_agent: self.identity.user_agent.clone(),
            connected_at: self.identity.connected_at,
            last_active: self.last_active,
            bytes_sent: self.bytes_sent,
            behind_bytes: window.head().saturating_sub(self.cursor),
            behind_s: window.access().behind(self.cursor).as_secs_f64(),
            rate: self.rate.2,
            skips: self.skips,
            skipped_bytes: self.skipped_bytes,
        }
    }

    /// Ends the connection with FIN and frees its places.
    pub fn finish(self) {
        crate::uring::finish(self.fd);
    }
}
