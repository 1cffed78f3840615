//! What a client plays: a session of its own shard, or a replica of one that another shard owns.

use crate::session::{Phase, Replica, Session, Title};
use crate::window::Window;
use std::cell::Ref;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A session or a replica of one.
#[derive(Clone)]
pub enum Watched {
    /// A session of this shard.
    Session(Rc<Session>),
    /// A replica of another shard's.
    Replica(Rc<Replica>),
}

impl Watched {
    /// Distinguishes the session.
    pub fn serial(&self) -> u64 {
        match self {
            Self::Session(session) => session.serial(),
            Self::Replica(replica) => replica.serial(),
        }
    }

    /// What the session is known by.
    pub fn title(&self) -> Title {
        match self {
            Self::Session(session) => session.title(),
            Self::Replica(replica) => replica.title().clone(),
        }
    }

    /// What it is sent from. The borrow must not be kept across a wait.
    pub fn window(&self) -> Ref<'_, Window> {
        match self {
            Self::Session(session) => Ref::map(session.feed(), |feed| feed.window()),
            Self::Replica(replica) => replica.window(),
        }
    }

    /// Bytes per second by the stream's clock.
    pub fn rate(&self) -> Option<u64> {
        match self {
            Self::Session(session) => session.feed().rate(),
            Self::Replica(replica) => replica.rate(),
        }
    }

    /// Clients before this offset are too far behind.
    pub fn lag_floor(&self) -> u64 {
        match self {
            Self::Session(session) => session.lag_floor(),
            Self::Replica(replica) => replica.lag_floor(),
        }
    }

    /// Has what has come read, because one of its clients is about to be served. A replica is told when there is more.
    pub fn call(&self, now: Instant, tick: Duration) {
        if let Self::Session(session) = self {
            session.call(now, tick);
        }
    }

    /// When media last came from an engine.
    pub fn last_media(&self) -> Instant {
        match self {
            Self::Session(session) => session.last_media(),
            Self::Replica(replica) => replica.last_media(),
        }
    }

    /// Whether it is about to end its clients. A replica ends them at once when it hears of it.
    pub fn is_ending(&self) -> bool {
        match self {
            Self::Session(session) => session.phase() == Phase::Ending,
            Self::Replica(_) => false,
        }
    }

    /// Notes where a client stands.
    pub fn note_cursor(&self, cursor: u64) {
        match self {
            Self::Session(session) => session.note_cursor(cursor),
            Self::Replica(replica) => replica.note_cursor(cursor),
        }
    }
}
