//! A session as another shard serves it: a copy of the window, and what clients need to know of the stream.
//!
//! The session's own shard writes to the copy and says what has come ([`Growth`]); the shard that holds the [`Replica`]
//! sends from it, releases what lies behind its own clients, and knows nothing of engines. A growth that is late makes its
//! clients wait, nothing else: none is sent what has not been told of.

use super::Session;
use super::ahead::Ahead;
use super::feed::{Kept, Pace, retention};
use super::reach::Reach;
use crate::media::ts::MediaTime;
use crate::window::{AccessPoint, Copied, Copying, LagMax, Reservation, Window};
use sluice_contract::{Hex40, Selector, ShardId, StreamKey};
use std::cell::{Cell, Ref, RefCell};
use std::io;
use std::time::{Duration, Instant};

/// What a session is known by.
#[derive(Clone, Debug)]
pub struct Title {
    /// What it plays.
    pub key: StreamKey,
    /// What it was asked for by.
    pub asked_as: Selector,
    /// The broadcast, once known.
    pub infohash: Option<Hex40>,
}

/// What has come since another shard was last told.
#[derive(Debug)]
pub struct Growth {
    head: u64,
    head_time: MediaTime,
    points: Vec<AccessPoint>,
    breaks: Vec<u64>,
    pace: Pace,
    last_media: Instant,
    ahead: Ahead,
}

impl Growth {
    /// Takes in what came after it, so that one is told instead of two.
    pub fn join(&mut self, newer: Self) {
        let older = std::mem::replace(self, newer);
        self.points.splice(..0, older.points);
        self.breaks.splice(..0, older.breaks);
    }
}

/// How much of the index another shard has been told.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    points: u64,
    breaks: u64,
}

/// A session as it goes to a shard that is to serve it too.
#[derive(Debug)]
pub struct Opening {
    /// Distinguishes the session.
    pub serial: u64,
    /// The session's own shard.
    pub owner: ShardId,
    /// What it is known by.
    pub title: Title,
    /// The copy.
    pub copied: Copied,
    /// What is known of what is in it.
    pub growth: Growth,
}

impl Session {
    /// What it is known by.
    pub fn title(&self) -> Title {
        let info = self.info.borrow();
        Title { key: self.key.clone(), asked_as: info.asked_as, infohash: info.infohash }
    }

    /// Begins a copy of the window.
    ///
    /// # Errors
    /// When descriptors or memory are short.
    pub fn copy(&self) -> io::Result<Copying> {
        Copying::begin(self.feed.borrow().window())
    }

    /// Fills a copy with a piece more; whether it has everything.
    ///
    /// # Errors
    /// When memory is short, or the window has moved on too far.
    pub fn copy_more(&self, copying: &mut Copying, buffer: &mut [u8]) -> io::Result<bool> {
        copying.advance(self.feed.borrow().window(), buffer)
    }

    /// Has a complete copy grow with the window, for another shard, under that shard's number.
    ///
    /// # Errors
    /// When it is not complete, or descriptors are short.
    pub fn attach(
        &self,
        copying: Copying,
        (owner, to): (ShardId, ShardId),
        reservation: Reservation,
    ) -> io::Result<(Opening, Heard)> {
        let from = copying.tail();
        let copied = self.feed.borrow_mut().window_mut().attach(copying, u64::from(to.0), reservation)?;
        let mut heard = Heard { points: from, breaks: from };
        let growth = self.growth(&mut heard);
        Ok((Opening { serial: self.serial, owner, title: self.title(), copied, growth }, heard))
    }

    /// Lets go of the copy of a shard.
    pub fn detach(&self, to: ShardId) {
        self.feed.borrow_mut().window_mut().detach(u64::from(to.0));
    }

    /// Whether the copy of a shard has everything.
    pub fn is_copied(&self, to: ShardId) -> bool {
        self.feed.borrow().window().is_copied(u64::from(to.0))
    }

    /// What has come since a shard was told last.
    pub fn growth(&self, heard: &mut Heard) -> Growth {
        let feed = self.feed.borrow();
        let access = feed.window().access();
        let points: Vec<AccessPoint> = access.from(heard.points).cloned().collect();
        let breaks: Vec<u64> = access.breaks_from(heard.breaks).collect();
        heard.points = points.last().map_or(heard.points, |point| point.offset + 1);
        heard.breaks = breaks.last().map_or(heard.breaks, |at| at + 1);
        Growth {
            head: feed.window().head(),
            head_time: access.head_time(),
            points,
            breaks,
            pace: feed.pace(),
            last_media: self.last_media.get(),
            ahead: self.ahead.borrow().clone(),
        }
    }

    /// Where the hindmost client on other shards stands: the window keeps for it what it keeps for its own.
    pub fn note_elsewhere(&self, hindmost: u64) {
        self.reach.note_elsewhere(hindmost, self.feed.borrow().window());
    }
}

/// A session that another shard owns, as this one serves it.
pub struct Replica {
    serial: u64,
    owner: ShardId,
    title: Title,
    window: RefCell<Window>,
    pace: Cell<Pace>,
    last_media: Cell<Instant>,
    ahead: RefCell<Ahead>,
    reach: Reach,
}

impl Replica {
    /// Takes in what another shard has opened.
    ///
    /// # Errors
    /// When the file does not hold what was said of it.
    pub fn open(now: Instant, opening: Opening) -> io::Result<Self> {
        let Opening { serial, owner, title, copied, growth } = opening;
        let replica = Self {
            serial,
            owner,
            title,
            window: RefCell::new(Window::of_copy(now, copied)?),
            pace: Cell::new(growth.pace),
            last_media: Cell::new(growth.last_media),
            ahead: RefCell::new(growth.ahead.clone()),
            reach: Reach::new(0),
        };
        replica.grow(growth);
        Ok(replica)
    }

    /// Takes in what has come.
    pub fn grow(&self, growth: Growth) {
        let Growth { head, head_time, points, breaks, pace, last_media, ahead } = growth;
        let mut window = self.window.borrow_mut();
        window.grow_to(head);
        let tail = window.tail();
        let access = window.access_mut();
        points.into_iter().filter(|point| point.offset >= tail).for_each(|point| access.push(point));
        breaks.into_iter().for_each(|at| access.note_break(at));
        access.set_head_time(head_time);
        self.pace.set(pace);
        self.last_media.set(last_media);
        *self.ahead.borrow_mut() = ahead;
    }

    /// Moves the tail and releases what is due.
    ///
    /// # Errors
    /// When the kernel refuses to release; nothing is lost, the next call tries again.
    pub fn trim(&self, now: Instant, is_pressed: bool) -> io::Result<()> {
        let mut window = self.window.borrow_mut();
        let needed = window.head().saturating_sub(self.reach.hindmost());
        let retention = retention(self.pace.get(), Kept::default(), &window, now, needed, is_pressed);
        window.trim(now, retention)
    }

    /// Distinguishes the session.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The session's own shard.
    pub fn owner(&self) -> ShardId {
        self.owner
    }

    /// What the session is known by.
    pub fn title(&self) -> &Title {
        &self.title
    }

    /// Its window. The borrow must not be kept across a wait.
    pub fn window(&self) -> Ref<'_, Window> {
        self.window.borrow()
    }

    /// Bytes per second by the stream's clock.
    pub fn rate(&self) -> Option<u64> {
        self.pace.get().rate
    }

    /// When media last came from an engine.
    pub fn last_media(&self) -> Instant {
        self.last_media.get()
    }

    /// Notes where a client stands.
    pub fn note_cursor(&self, cursor: u64) {
        self.reach.note(cursor, &self.window.borrow());
    }

    /// A walk over all clients is complete.
    pub fn walked(&self, lag: LagMax) {
        let ahead =
            if lag == LagMax::default() { Duration::ZERO } else { self.ahead.borrow().level(Instant::now()) };
        self.reach.walked(lag, ahead, self.rate(), &self.window.borrow());
    }

    /// Clients before this offset are too far behind.
    pub fn lag_floor(&self) -> u64 {
        self.reach.floor()
    }

    /// The hindmost cursor, as far as walks have told.
    pub fn hindmost(&self) -> u64 {
        self.reach.hindmost()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::ts::{Continuity, PACKET, Tables, testing};
    use crate::window::{Behind, Budget, SESSION_BYTES_MIN};
    use sluice_contract::StreamName;
    use std::sync::Arc;

    const SECOND: u64 = 100 * PACKET as u64;

    fn point(second: u64, tables: &Arc<Tables>) -> AccessPoint {
        AccessPoint {
            offset: second * SECOND,
            media_time: MediaTime::from_ticks(second * 27_000_000),
            tables: tables.clone(),
            continuity: Continuity::new([]),
        }
    }

    /// What has come up to the end of a second, told of everything from `since` on; a break every fourth second.
    fn growth(since: u64, until: u64, now: Instant) -> Growth {
        let tables = testing::tables();
        Growth {
            head: until * SECOND,
            head_time: MediaTime::from_ticks(until * 27_000_000),
            points: (since..until).map(|second| point(second, &tables)).collect(),
            breaks: (since..until).filter(|second| second % 4 == 1).map(|second| second * SECOND).collect(),
            pace: Pace { rate: Some(SECOND), first_media: Some(now) },
            last_media: now,
            ahead: Ahead::new(now),
        }
    }

    fn replica(now: Instant) -> Replica {
        let budget = Budget::new(64 << 20);
        let reserve = || budget.reserve(SESSION_BYTES_MIN).unwrap();
        let mut window = Window::new(reserve()).unwrap();
        let mut copying = Copying::begin(&window).unwrap();
        while !copying.advance(&window, &mut [0; PACKET]).unwrap() {}
        let copied = window.attach(copying, 0, reserve()).unwrap();
        // The session's own shard writes to the copy first.
        window.append(&vec![0x47; 100 * SECOND as usize]).unwrap();
        let infohash: Hex40 = "00112233445566778899aabbccddeeff00112233".parse().unwrap();
        let key = StreamKey { name: StreamName::Infohash(infohash), options: Default::default() };
        let title = Title { key, asked_as: Selector::Infohash(infohash), infohash: Some(infohash) };
        let growth = growth(0, 1, now);
        Replica::open(now, Opening { serial: 1, owner: ShardId(0), title, copied, growth }).unwrap()
    }

    fn shown(replica: &Replica) -> (u64, MediaTime, Vec<u64>, Vec<u64>) {
        let window = replica.window();
        let access = window.access();
        (
            window.head(),
            access.head_time(),
            access.points().map(|point| point.offset).collect(),
            access.breaks_from(0).collect(),
        )
    }

    /// Guards: what came in many words is the same as what came in one, and a player joins where it would at the session.
    #[test]
    fn late_growth_is_the_same_growth() {
        let now = Instant::now();
        let (one_by_one, at_once) = (replica(now), replica(now));
        let parts = [(1, 2), (2, 2), (2, 7), (7, 20)];
        parts.iter().for_each(|(since, until)| one_by_one.grow(growth(*since, *until, now)));
        let mut all = growth(1, 2, now);
        parts[1..].iter().for_each(|(since, until)| all.join(growth(*since, *until, now)));
        at_once.grow(all);
        assert_eq!(shown(&one_by_one), shown(&at_once));
        assert_eq!(shown(&at_once), {
            let whole = replica(now);
            whole.grow(growth(1, 20, now));
            shown(&whole)
        });
        let window = at_once.window();
        let place = window.access().join(Behind::Media(Duration::from_secs(5)), window.head()).unwrap();
        assert_eq!(place.offset, 15 * SECOND);
    }

    /// Guards: the replica keeps what its own hindmost client needs, and says where that one stands.
    #[test]
    fn the_hindmost_client_is_known() {
        let now = Instant::now();
        let replica = replica(now);
        replica.grow(growth(1, 50, now));
        assert_eq!(replica.hindmost(), u64::MAX);
        for cursor in [30 * SECOND, 10 * SECOND, 40 * SECOND] {
            replica.note_cursor(cursor);
        }
        assert_eq!(replica.hindmost(), 10 * SECOND);
        replica.walked(LagMax { time: None, bytes: Some(20 * SECOND) });
        assert_eq!((replica.hindmost(), replica.lag_floor()), (10 * SECOND, 30 * SECOND));
        replica.walked(LagMax::default());
        assert_eq!((replica.hindmost(), replica.lag_floor()), (u64::MAX, 0));
    }
}
