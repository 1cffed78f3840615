//! The window: the recent media of one session, shared by all its clients.
//!
//! File offset is stream offset: a monotonic `u64` that never restarts while the session lives, also across engines.
//! Only whole packets are in it, so every multiple of [`PACKET`] is a packet boundary. Nothing is overwritten in
//! place; what nobody may read any more is released in whole aligned blocks, late enough that no socket still holds
//! references to it.
//!
//! - `extent` decides (pure, injected clock): where head, tail and the release mark are;
//! - `access` remembers random access points and media times (pure);
//! - `budget` shares `WINDOW_TOTAL_MIB` among all sessions of the process;
//! - `copy` keeps files with the same bytes for other shards that serve the session;
//! - this file does what they decided to a [`Memfd`].
//!
//! Owner: the session's shard. Sockets are not this room's business beyond "send this range there".

mod access;
mod budget;
mod copy;
mod extent;
#[cfg(test)]
mod tests;

pub use access::{AccessIndex, AccessPoint, Behind, LagMax};
pub use budget::{Budget, Reservation, Starving, Waiting};
pub use copy::{COPY_BYTES, Copied, Copying};
pub use extent::{Extent, OVERHEAD_BYTES, Retention, WINDOW_BYTES_MIN};

/// What a session needs before it may begin.
pub const SESSION_BYTES_MIN: u64 = WINDOW_BYTES_MIN + OVERHEAD_BYTES;

use crate::media::ts::PACKET;
use crate::uring::{BLOCK, Memfd};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

/// What a send came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// This many bytes went into the socket.
    Bytes(u64),
    /// The socket takes nothing now.
    Blocked,
    /// The cursor is at the head.
    AtHead,
    /// The cursor is behind the tail: the client must skip.
    Behind,
    /// The range was released while it was being sent. Cannot happen while release and send share a thread; checked
    /// all the same, because the alternative is silent zeros.
    Overrun,
}

/// A window as another process is told of it, its file aside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State<A> {
    head: u64,
    tail: u64,
    release_mark: u64,
    reserved: u64,
    access: A,
}

/// The window of one session.
pub struct Window {
    memfd: Memfd,
    extent: Extent,
    access: AccessIndex,
    reservation: Reservation,
    /// Held while the reservation is below what a stream of this rate needs at least.
    starving: Option<Starving>,
    /// Bytes that may be offered at present.
    offered_max: u64,
    /// Whether that is less than was asked for.
    is_short: bool,
    /// Copies that other shards send from.
    mirrors: Vec<copy::Mirror>,
}

impl Window {
    /// An empty window that may hold what `reservation` allows.
    ///
    /// # Errors
    /// When descriptors or memory are short.
    pub fn new(reservation: Reservation) -> io::Result<Self> {
        Ok(Self {
            memfd: Memfd::new()?,
            extent: Extent::default(),
            access: AccessIndex::default(),
            reservation,
            starving: None,
            offered_max: WINDOW_BYTES_MIN,
            is_short: false,
            mirrors: Vec::new(),
        })
    }

    /// What another process needs to go on with it, and the file.
    pub fn state(&self) -> (State<&AccessIndex>, BorrowedFd<'_>) {
        let state = State {
            head: self.extent.head(),
            tail: self.extent.tail(),
            release_mark: self.extent.release_mark(),
            reserved: self.reservation.bytes(),
            access: &self.access,
        };
        (state, self.memfd.as_fd())
    }

    /// Goes on with the window of another process.
    ///
    /// # Errors
    /// When the file does not hold what the state says.
    pub fn going_on(
        now: Instant,
        file: OwnedFd,
        state: State<AccessIndex>,
        budget: &Arc<Budget>,
    ) -> io::Result<Self> {
        let reservation = budget.adopt(state.reserved);
        Self::standing(now, file, state, reservation)
    }

    fn standing(
        now: Instant,
        file: OwnedFd,
        state: State<AccessIndex>,
        reservation: Reservation,
    ) -> io::Result<Self> {
        let State { head, tail, release_mark, mut access, .. } = state;
        let memfd = Memfd::from_fd(file);
        let extent = Extent::going_on(now, head, tail, release_mark);
        let extent = extent.filter(|_| memfd.size().is_ok_and(|size| size >= head));
        let extent = extent.ok_or_else(|| io::Error::other("the window is not what its state says"))?;
        access.share_tables();
        let offered_max = WINDOW_BYTES_MIN.max(head - tail);
        Ok(Self {
            memfd,
            extent,
            access,
            reservation,
            starving: None,
            offered_max,
            is_short: false,
            mirrors: Vec::new(),
        })
    }

    /// Appends whole packets.
    ///
    /// # Errors
    /// When memory is short; the window is unchanged then, whatever part was written lies past the head.
    ///
    /// # Panics
    /// In debug builds when `packets` is not made of whole packets.
    pub fn append(&mut self, packets: &[u8]) -> io::Result<()> {
        debug_assert!(packets.len().is_multiple_of(PACKET), "the window holds whole packets");
        let head = self.extent.head();
        self.memfd.append(head, packets)?;
        self.mirrors.iter_mut().for_each(|mirror| mirror.append(head, packets));
        self.extent.grow(packets.len() as u64);
        Ok(())
    }

    /// Moves the tail to what `retention` asks for, within the reservation, and releases what is due.
    ///
    /// # Errors
    /// When the kernel refuses to release; nothing is lost, the next call tries again.
    pub fn trim(&mut self, now: Instant, retention: Retention) -> io::Result<()> {
        let wanted = retention.resident_bytes();
        if wanted > self.reservation.bytes() {
            self.reservation.grow_to(wanted);
        }
        // What a stream of its rate needs at least goes before what newcomers want and others have to spare.
        if self.reservation.claim(retention.least_bytes()) {
            self.starving = None;
        } else if self.starving.is_none() {
            self.starving = Some(self.reservation.starve());
        }
        if wanted < self.reservation.bytes() && self.extent.resident() <= wanted {
            self.reservation.shrink_to(wanted.max(self.extent.resident()));
        }
        let affordable = retention.within(self.reservation.bytes());
        (self.offered_max, self.is_short) = (affordable.bytes(), affordable != retention);
        self.extent.retain(now, affordable);
        self.access.forget_before(self.extent.tail());
        if let Some((from, to)) = self.extent.releasable(now) {
            self.memfd.release(from, to)?;
            self.extent.released(to);
        }
        Ok(())
    }

    /// Whether the pages not yet released fill the reservation: the reader of the engine pauses then, for at most
    /// the two seconds that releasing lags behind the tail.
    pub fn is_full(&self) -> bool {
        self.extent.resident() >= self.reservation.bytes()
    }

    /// Bytes it can offer while memory is short; `None` when it holds all that was asked for.
    pub fn shortage(&self) -> Option<u64> {
        self.is_short.then_some(self.offered_max)
    }

    /// Sends from `cursor` on, at most `count` bytes.
    ///
    /// # Errors
    /// The socket's error.
    pub fn send(&self, socket: BorrowedFd<'_>, cursor: u64, count: u64) -> io::Result<Sent> {
        if cursor < self.extent.tail() { Ok(Sent::Behind) } else { self.send_kept(socket, cursor, count) }
    }

    /// The same for whoever began before the tail moved on: also sends what is no longer offered, until it is released.
    ///
    /// # Errors
    /// The socket's error.
    pub fn send_kept(&self, socket: BorrowedFd<'_>, cursor: u64, count: u64) -> io::Result<Sent> {
        if cursor < self.extent.release_mark() {
            return Ok(Sent::Behind);
        }
        // On another shard than the session's, the head is what that one has said last.
        let there = self.extent.head().saturating_sub(cursor);
        if there == 0 {
            return Ok(Sent::AtHead);
        }
        let sent = match self.memfd.send(socket, cursor, there.min(count) as usize) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Sent::Blocked),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Sent::Blocked),
            Err(error) => return Err(error),
        };
        if cursor < self.extent.release_mark() {
            return Ok(Sent::Overrun);
        }
        Ok(Sent::Bytes(sent as u64))
    }

    /// The rest of the packet that `cursor` stands in, empty on a boundary; `None` when it was released already.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn rest_of_packet(&self, cursor: u64) -> io::Result<Option<Vec<u8>>> {
        let into = (cursor % PACKET as u64) as usize;
        if into == 0 {
            return Ok(Some(Vec::new()));
        }
        if cursor < self.extent.release_mark() {
            return Ok(None);
        }
        let mut rest = vec![0; PACKET - into];
        self.memfd.read(cursor, &mut rest)?;
        Ok(Some(rest))
    }

    /// Copies a range out; for tests, tables and splices.
    ///
    /// # Errors
    /// When part of the range is not there.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset < self.extent.release_mark() || offset + buffer.len() as u64 > self.extent.head() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the range is not in the window"));
        }
        self.memfd.read(offset, buffer)
    }

    /// Offset after the newest packet.
    pub fn head(&self) -> u64 {
        self.extent.head()
    }

    /// Offset of the oldest packet a client may be sent.
    pub fn tail(&self) -> u64 {
        self.extent.tail()
    }

    /// Bytes of memory in use.
    pub fn resident(&self) -> u64 {
        self.extent.resident()
    }

    /// The random access points within.
    pub fn access(&self) -> &AccessIndex {
        &self.access
    }

    /// The random access points within, to add to.
    pub fn access_mut(&mut self) -> &mut AccessIndex {
        &mut self.access
    }
}

const _: () = assert!(BLOCK.is_multiple_of(4096), "blocks are whole pages");
