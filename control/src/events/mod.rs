//! What happened and why: the event log, and the live feed of changes.
//!
//! [`log`] keeps the newest entries in memory, where every question is answered, and has them stored for the next start;
//! [`hub`] lets any number of subscribers follow changes without ever waiting for one of them; [`watch`] notices what
//! other rooms show of themselves. Recording never waits and never fails: an event is a courtesy to the operator and no
//! reason for a request to go wrong.
//!
//! The log owns its ids, which grow by one and are never reused. Whatever is written here is bounded: texts are cut, details
//! that are too large are left out, and the oldest entries go when there are too many, too large or too old ones.

mod hub;
mod log;
mod watch;

pub(crate) use hub::{Item, Kind, Position, Subscription};
pub(crate) use log::{Counts, Entry, Filter};
pub(crate) use watch::watch;

use crate::store::{self, EventRow, Record};
use hub::Hub;
use log::Log;
use serde_json::{Map, Value};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EventType {
    /// An engine or its container.
    Engine,
    /// A stream.
    Stream,
    /// A VPN node.
    Vpn,
    /// The health of several engines together.
    Health,
    /// The appliance itself.
    System,
}

impl EventType {
    /// Every type, in the order statistics show them.
    pub(crate) const ALL: [Self; 5] = [Self::Engine, Self::Stream, Self::Vpn, Self::Health, Self::System];

    /// Stable machine-readable name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Stream => "stream",
            Self::Vpn => "vpn",
            Self::Health => "health",
            Self::System => "system",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

/// Something to be recorded.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    event_type: EventType,
    category: &'static str,
    message: String,
    details: Map<String, Value>,
    container_id: Option<String>,
    stream_id: Option<String>,
}

impl Draft {
    /// An event with a text for a person.
    pub(crate) fn new(event_type: EventType, category: &'static str, message: impl Into<String>) -> Self {
        Self {
            event_type,
            category,
            message: message.into(),
            details: Map::new(),
            container_id: None,
            stream_id: None,
        }
    }

    /// Adds a detail.
    pub(crate) fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// Says which engine it is about.
    pub(crate) fn container(mut self, id: Option<impl Into<String>>) -> Self {
        self.container_id = id.map(Into::into);
        self
    }

    /// Says which stream it is about.
    pub(crate) fn stream(mut self, id: impl Into<String>) -> Self {
        self.stream_id = Some(id.into());
        self
    }
}

/// Cheap way to record events, ask for them and follow them.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Inner>);

struct Inner {
    log: Mutex<Log>,
    hub: Hub,
    store: store::Handle,
}

impl Handle {
    /// A log that goes on where the stored one ends.
    pub(crate) fn new(stored: Vec<EventRow>, store: store::Handle) -> Self {
        let log = Log::from_stored(stored);
        Self(Arc::new(Inner { log: Mutex::new(log), hub: Hub::new(SystemTime::now()), store }))
    }

    /// Records an event: in the log, in the store, for whoever follows.
    pub(crate) fn record(&self, draft: Draft) {
        let mut log = self.log();
        let (entry, gone) = log.append(SystemTime::now(), draft);
        self.0.store.put(Record::Event(entry.to_row()));
        if let Some(up_to) = gone {
            self.0.store.put(Record::EventsGone { up_to });
        }
        // Still under the lock: followers see entries in the order of their ids.
        self.0.hub.publish(Kind::Event, &*entry);
    }

    /// Tells followers of a change that is not an event of the log.
    pub(crate) fn publish(&self, kind: Kind, change: &impl serde::Serialize) {
        self.0.hub.publish(kind, change);
    }

    /// The same of a change that is JSON already, on one line.
    pub(crate) fn publish_text(&self, kind: Kind, change: &str) {
        self.0.hub.publish_text(kind, change.into());
    }

    /// Entries that match, newest first.
    pub(crate) fn find(&self, filter: &Filter) -> Vec<Arc<Entry>> {
        self.log().find(filter)
    }

    /// How many entries there are, of which type, from when to when.
    pub(crate) fn counts(&self) -> Counts {
        self.log().counts()
    }

    /// Removes entries older than this and answers how many.
    pub(crate) fn remove_older(&self, age: Duration) -> usize {
        let before = SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut log = self.log();
        let (count, gone) = log.remove_before(before);
        if let Some(up_to) = gone {
            self.0.store.put(Record::EventsGone { up_to });
        }
        count
    }

    /// Follows changes, from a position on when it is given.
    ///
    /// # Errors
    /// The bound, when too many follow already.
    pub(crate) fn subscribe(&self, from: Option<Position>) -> Result<Subscription, usize> {
        self.0.hub.subscribe(from)
    }

    /// How many follow now.
    pub(crate) fn subscribers(&self) -> usize {
        self.0.hub.subscribers()
    }

    /// Ends every subscription, and every later one at once.
    pub(crate) fn close(&self) {
        self.0.hub.close();
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        // A panic cannot leave the log half changed.
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
