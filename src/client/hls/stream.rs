//! The segments and playlists of one session, from the first request for HLS on.
//!
//! Playlists are written when something new is in them, not when somebody asks: a thousand players get the same text.

use crate::handover::age;
use crate::media::hls::playlist::{self, Kind};
use crate::media::hls::{HeadState, Mark, Point, Segment, Segmenter};
use crate::media::ts::{Continuity, PACKET, Packet, pes};
use crate::session::{Feed, Kept, Readiness, Session};
use crate::uring::Signal;
use crate::window::AccessPoint;
use serde::{Deserialize, Serialize};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

/// How long after its first segment a first playlist comes with less than a player needs to begin: groups may be endless.
const FIRST_WAIT: Duration = Duration::from_secs(10);
/// A viewer that has not asked for anything in so many target durations has left, if it may leave that soon.
const IDLE_TARGETS: u32 = 3;
/// Media looked at for the counters that a segment's tables must fit.
const LOOK_AHEAD_BYTES: u64 = 128 << 10;
/// How long media stays for somebody who is reading it.
const HOLD_MAX: Duration = Duration::from_secs(30);

/// A piece of the window as it is sent: its opening, then a range.
#[derive(Clone, Debug)]
pub struct Piece {
    /// PAT and PMT.
    pub opening: Rc<[u8]>,
    /// Offset of the first packet.
    pub start: u64,
    /// Offset after the last.
    pub end: u64,
    /// How long it can still be had.
    pub lifetime: Duration,
}

impl Piece {
    /// Bytes of all of it.
    pub fn length(&self) -> u64 {
        self.opening.len() as u64 + (self.end - self.start)
    }
}

/// HLS of one session.
pub struct Stream {
    session: Rc<Session>,
    state: RefCell<State>,
    changed: Signal,
    is_watched: Cell<bool>,
}

struct State {
    segmenter: Segmenter,
    /// Offsets of the newest point and of the newest break that the segmenter has seen.
    seen: (u64, u64),
    is_published: bool,
    first_segment: Option<Instant>,
    plain: Rc<str>,
    low_latency: Rc<str>,
    /// Openings of segments and parts somebody asked for.
    openings: HashMap<(u64, Option<usize>), Rc<[u8]>>,
    /// Ranges that are being sent: from where, and until when that keeps them.
    holds: Slab<(u64, Instant)>,
}

/// HLS of a session as another process is told of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told<S> {
    segmenter: S,
    seen: (u64, u64),
    is_published: bool,
    #[serde(with = "age::option")]
    first_segment: Option<Instant>,
}

/// Keeps the media behind an offset until dropped, or for half a minute.
pub struct Hold {
    stream: Rc<Stream>,
    key: usize,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.stream.state.borrow_mut().holds.remove(self.key);
    }
}

impl Stream {
    /// HLS of a session that has media. What the window holds already becomes segments at once.
    pub fn new(session: Rc<Session>) -> Rc<Self> {
        let head = session.feed().window().head();
        Rc::new(Self {
            session,
            state: RefCell::new(State {
                segmenter: Segmenter::new(head),
                seen: (0, 0),
                is_published: false,
                first_segment: None,
                plain: "".into(),
                low_latency: "".into(),
                openings: HashMap::new(),
                holds: Slab::new(),
            }),
            changed: Signal::default(),
            is_watched: Cell::new(true),
        })
    }

    /// Shows `told` what another process needs to go on with it.
    pub fn tell<T>(&self, told: impl FnOnce(Told<&Segmenter>) -> T) -> T {
        let state = self.state.borrow();
        told(Told {
            segmenter: &state.segmenter,
            seen: state.seen,
            is_published: state.is_published,
            first_segment: state.first_segment,
        })
    }

    /// Goes on where another process has stopped: numbers and segments are the same.
    pub fn going_on(session: Rc<Session>, told: Told<Segmenter>) -> Rc<Self> {
        let Told { segmenter, seen, is_published, first_segment } = told;
        let write = |kind| if is_published { playlist::write(&segmenter, kind).into() } else { "".into() };
        let (plain, low_latency) = (write(Kind::Plain), write(Kind::LowLatency));
        let (openings, holds) = Default::default();
        Rc::new(Self {
            session,
            state: RefCell::new(State {
                segmenter,
                seen,
                is_published,
                first_segment,
                plain,
                low_latency,
                openings,
                holds,
            }),
            changed: Signal::default(),
            is_watched: Cell::new(true),
        })
    }

    /// The session.
    pub fn session(&self) -> &Rc<Session> {
        &self.session
    }

    /// There is something new: a segment, a part, or the first playlist.
    pub fn changed(&self) -> &Signal {
        &self.changed
    }

    /// Says whether anybody plays it: only then is media kept for that.
    pub fn set_watched(&self, is_watched: bool) {
        self.is_watched.set(is_watched);
    }

    /// Looks what has come since the last time.
    pub fn advance(&self, now: Instant, date: SystemTime) {
        let mut state = self.state.borrow_mut();
        let has_news = {
            let feed = self.session.feed();
            let is_joinable = self.session.readiness() == Readiness::Ready;
            state.take(&feed, now, date, is_joinable)
        };
        let kept = if self.is_watched.get() { state.kept(now) } else { Kept::default() };
        self.session.keep(kept);
        drop(state);
        if has_news {
            self.changed.notify();
        }
    }

    /// Whether there is a playlist.
    pub fn is_ready(&self) -> bool {
        self.state.borrow().is_published
    }

    /// The playlist now.
    pub fn playlist(&self, kind: Kind) -> Rc<str> {
        let state = self.state.borrow();
        match kind {
            Kind::Plain => state.plain.clone(),
            Kind::LowLatency => state.low_latency.clone(),
        }
    }

    /// The target duration.
    pub fn target(&self) -> Duration {
        self.state.borrow().segmenter.target()
    }

    /// How long a viewer may be silent, which is at least `least`.
    pub fn idle(&self, least: Duration) -> Duration {
        (self.target() * IDLE_TARGETS).max(least)
    }

    /// The number of the next segment.
    pub fn next_sequence(&self) -> u64 {
        self.state.borrow().segmenter.next_sequence()
    }

    /// Whether a segment, or a part of one, has been published: of a part that its segment did not come to have, the
    /// segment's end counts.
    pub fn is_there(&self, sequence: u64, part: Option<usize>) -> bool {
        let state = self.state.borrow();
        let open = state.segmenter.open().filter(|open| open.sequence == sequence);
        sequence < state.segmenter.next_sequence()
            || part.is_some_and(|part| open.is_some_and(|open| part < open.parts.len()))
    }

    /// Whether this is the part a playlist announces next.
    pub fn is_next(&self, sequence: u64, part: usize) -> bool {
        let state = self.state.borrow();
        match state.segmenter.open() {
            Some(open) => open.sequence == sequence && part == open.parts.len(),
            None => state.segmenter.next_sequence() == sequence && part == 0,
        }
    }

    /// A segment or part that can be had.
    pub fn piece(&self, sequence: u64, part: Option<usize>) -> Option<Piece> {
        let mut state = self.state.borrow_mut();
        let segment = state.segmenter.segment_or_open(sequence)?;
        let (start, end) = match part {
            Some(part) => segment.parts.get(part).map(|part| (part.start, part.end))?,
            None if segment.end > segment.start => (segment.start, segment.end),
            None => return None,
        };
        let lifetime = state.lifetime(sequence);
        let known = state.openings.get(&(sequence, part)).cloned();
        let opening = match known {
            Some(opening) => opening,
            None => {
                let opening = self.opening(segment, part.is_some(), start..end)?;
                state.openings.insert((sequence, part), opening.clone());
                opening
            }
        };
        Some(Piece { opening, start, end, lifetime })
    }

    /// Keeps what lies behind `offset` while it is being sent.
    pub fn hold(self: &Rc<Self>, offset: u64, now: Instant) -> Hold {
        let key = self.state.borrow_mut().holds.insert((offset, now + HOLD_MAX));
        Hold { stream: self.clone(), key }
    }

    /// `None` when the media is no longer there.
    fn opening(&self, segment: &Segment, is_part: bool, range: std::ops::Range<u64>) -> Option<Rc<[u8]>> {
        let mut ahead = vec![
            0;
            (range.end - range.start).min(LOOK_AHEAD_BYTES - LOOK_AHEAD_BYTES % PACKET as u64)
                as usize
        ];
        self.session.feed().window().read(range.start, &mut ahead).ok()?;
        Some(segment.opening(&ahead, is_part).into())
    }
}

impl State {
    /// Shows the segmenter what came; whether there is something new to tell players.
    fn take(&mut self, feed: &Feed, now: Instant, date: SystemTime, is_joinable: bool) -> bool {
        let window = feed.window();
        let date = date.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let media_time = window.access().head_time();
        let head = HeadState { offset: window.head(), media_time, date };
        self.segmenter.forget_before(window.tail());
        if is_joinable && window.access().is_empty() && self.segmenter.next_sequence() == 0 {
            let tables = feed.tables().cloned();
            let (offset, continuity) = (window.tail(), Continuity::new([]));
            let media_time = feed.media_time_at(offset);
            let point = Point { offset, media_time, pts: None, tables, continuity };
            self.segmenter.begin_blindly(point, head);
        }
        let (access, (point, broken)) = (window.access(), &mut self.seen);
        let mut marks: Vec<Mark> =
            access.after(*point).map(|point| Mark::Access(self::point(feed, point))).collect();
        *point = access.newest().map_or(*point, |newest| newest.offset);
        marks.extend(access.breaks_after(*broken).map(|offset| {
            *broken = offset;
            let media_time = feed.media_time_at(offset);
            let (tables, continuity) = (feed.tables().cloned(), Continuity::new([]));
            Mark::Break(Point { offset, media_time, pts: None, tables, continuity })
        }));
        marks.sort_by_key(Mark::order);
        let has_news = self.segmenter.advance(marks, head, &|time| feed.offset_at(time));
        let kept = self.segmenter.kept().len();
        if kept > 0 {
            self.first_segment.get_or_insert(now);
        }
        let waited = self.first_segment.map_or(Duration::ZERO, |first| now.saturating_duration_since(first));
        let publishes =
            !self.is_published && (self.segmenter.is_enough() || kept > 0 && waited >= FIRST_WAIT);
        if publishes {
            self.is_published = true;
            self.segmenter.publish();
        }
        if !publishes && (!has_news || !self.is_published) {
            return false;
        }
        self.plain = playlist::write(&self.segmenter, Kind::Plain).into();
        self.low_latency = playlist::write(&self.segmenter, Kind::LowLatency).into();
        let segmenter = &self.segmenter;
        self.openings.retain(|(sequence, _), _| segmenter.segment_or_open(*sequence).is_some());
        true
    }

    fn kept(&mut self, now: Instant) -> Kept {
        let oldest = self.segmenter.kept().next().or(self.segmenter.open()).map(|segment| segment.start);
        let held = self.holds.iter().filter(|(_, (_, until))| *until > now).map(|(_, (offset, _))| *offset);
        let from = held.chain(oldest).min();
        Kept { time: self.segmenter.kept_for(), from }
    }

    /// How long a segment can still be had: what it may be behind, less what it is.
    fn lifetime(&self, sequence: u64) -> Duration {
        let newer = self.segmenter.kept().rev().take_while(|segment| segment.sequence > sequence);
        let behind: Duration = newer.map(|segment| segment.duration).sum();
        self.segmenter.kept_for().saturating_sub(behind)
    }
}

fn point(feed: &Feed, point: &AccessPoint) -> Point {
    let mut packet = [0; PACKET];
    let is_there = feed.window().read(point.offset, &mut packet).is_ok();
    Point {
        offset: point.offset,
        media_time: point.media_time,
        pts: is_there.then(|| pes::pts(Packet::new(&packet))).flatten(),
        tables: Some(point.tables.clone()),
        continuity: point.continuity.clone(),
    }
}
