//! The live feed: one bounded ring of changes, and a place in it for each subscriber.
//!
//! A subscriber has no queue of its own. It reads the ring at its own pace, and when the ring has gone on without it, it is
//! told how many changes it missed and continues with the oldest there is. So neither a slow nor a dead subscriber costs
//! anybody else anything, and the memory for all of them is the one ring.

use serde::Serialize;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Changes kept for those who come back.
const DELTAS_MAX: usize = 2048;
/// Bytes of them.
const BYTES_MAX: usize = 2 << 20;
/// Subscribers at once.
const SUBSCRIBERS_MAX: usize = 256;

/// What kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A new entry of the event log.
    Event,
    /// A stream started or ended.
    Stream,
    /// An engine's health changed.
    Engine,
    /// A container of an engine is made, started, drained, removed; or none could be made.
    Provision,
    /// An image is being pulled.
    Pull,
    /// All engines are being made anew.
    Reprovision,
    /// A stream was put on or taken off the looping list.
    Looping,
    /// Storing began to fail, or works again.
    Storage,
}

impl Kind {
    /// Stable machine-readable name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Stream => "stream",
            Self::Engine => "engine",
            Self::Provision => "provision",
            Self::Pull => "pull",
            Self::Reprovision => "reprovision",
            Self::Looping => "looping",
            Self::Storage => "storage",
        }
    }
}

/// One change.
#[derive(Debug, PartialEq)]
pub(crate) struct Delta {
    /// Where it stands.
    pub(crate) position: Position,
    /// Of what kind.
    pub(crate) kind: Kind,
    /// JSON on one line.
    pub(crate) data: Box<str>,
}

/// A place in the feed: the text of it is the id subscribers see and come back with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// Which feed: one of an earlier process counts from elsewhere.
    feed: u64,
    /// How many changes came before and including it.
    count: u64,
}

impl Position {
    /// A place in no feed of ours.
    pub(crate) const ELSEWHERE: Self = Self { feed: 0, count: 0 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.feed, self.count)
    }
}

impl std::str::FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (feed, count) = text.trim().split_once('-').ok_or(())?;
        Ok(Self { feed: u64::from_str_radix(feed, 16).map_err(drop)?, count: count.parse().map_err(drop)? })
    }
}

/// What a subscriber is given.
#[derive(Debug, PartialEq)]
pub(crate) enum Item {
    /// The next change.
    Delta(Arc<Delta>),
    /// Changes went by that it can no longer be given.
    Missed {
        /// How many; `None` when it comes from another feed and nobody knows.
        count: Option<u64>,
        /// Where it goes on.
        position: Position,
    },
}

#[derive(Default)]
struct Ring {
    deltas: VecDeque<Arc<Delta>>,
    bytes: usize,
    /// Changes ever published.
    count: u64,
}

/// What wakes subscribers.
#[derive(Clone, Copy, Default)]
struct News {
    count: u64,
    is_closed: bool,
}

/// The feed.
pub(super) struct Hub {
    ring: Arc<Mutex<Ring>>,
    news: watch::Sender<News>,
    feed: u64,
    subscribers: Arc<AtomicUsize>,
}

fn lock(ring: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    // A panic cannot leave the ring half changed.
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// An empty feed; the time tells it from earlier ones.
    pub(super) fn new(now: SystemTime) -> Self {
        let feed = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        Self {
            ring: Arc::default(),
            news: watch::Sender::default(),
            feed: u64::try_from(feed).unwrap_or_default(),
            subscribers: Arc::default(),
        }
    }

    /// Adds a change.
    pub(super) fn publish(&self, kind: Kind, change: &impl Serialize) {
        match serde_json::to_string(change) {
            Ok(data) => self.publish_text(kind, data.into_boxed_str()),
            Err(error) => tracing::error!(%error, "a change cannot be told; this is a bug"),
        }
    }

    /// Adds a change that is JSON already.
    pub(super) fn publish_text(&self, kind: Kind, data: Box<str>) {
        let mut ring = lock(&self.ring);
        ring.count += 1;
        ring.bytes += data.len();
        let position = Position { feed: self.feed, count: ring.count };
        ring.deltas.push_back(Arc::new(Delta { position, kind, data }));
        while ring.deltas.len() > DELTAS_MAX || ring.bytes > BYTES_MAX {
            let Some(gone) = ring.deltas.pop_front() else { break };
            ring.bytes -= gone.data.len();
        }
        let count = ring.count;
        drop(ring);
        // Another change may have been faster; the count never goes back.
        self.news.send_if_modified(|news| {
            let is_newer = count > news.count;
            news.count = news.count.max(count);
            is_newer
        });
    }

    /// A place in the feed: at its end, or after a position somebody comes back with.
    pub(super) fn subscribe(&self, from: Option<Position>) -> Result<Subscription, usize> {
        let place = Place::take(&self.subscribers).ok_or(SUBSCRIBERS_MAX)?;
        let count = lock(&self.ring).count;
        let here = Position { feed: self.feed, count };
        // Positions of another feed, or of a future nobody has seen, say nothing about what was missed.
        let known = from.filter(|from| from.feed == self.feed && from.count <= count);
        Ok(Subscription {
            ring: self.ring.clone(),
            news: self.news.subscribe(),
            start: known.unwrap_or(here),
            seen: known.unwrap_or(here).count,
            missed: (from.is_some() && known.is_none()).then_some(here),
            _place: place,
        })
    }

    /// Subscribers now.
    pub(super) fn subscribers(&self) -> usize {
        self.subscribers.load(Ordering::Relaxed)
    }

    /// Ends every subscription.
    pub(super) fn close(&self) {
        self.news.send_modify(|news| news.is_closed = true);
    }
}

/// One of the places for subscribers; freed on drop.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |taken: usize| (taken < SUBSCRIBERS_MAX).then_some(taken + 1);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(taken.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A subscriber's place in the feed.
pub(crate) struct Subscription {
    ring: Arc<Mutex<Ring>>,
    news: watch::Receiver<News>,
    start: Position,
    seen: u64,
    missed: Option<Position>,
    _place: Place,
}

impl Subscription {
    /// Where it began.
    pub(crate) fn start(&self) -> Position {
        self.start
    }

    /// The next thing to tell; waits for it. `None` when the feed is closed.
    ///
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Item> {
        loop {
            let news = *self.news.borrow_and_update();
            if news.is_closed {
                return None;
            }
            if let Some(item) = self.take() {
                return Some(item);
            }
            self.news.changed().await.ok()?;
        }
    }

    /// What is there already.
    fn take(&mut self) -> Option<Item> {
        if let Some(position) = self.missed.take() {
            return Some(Item::Missed { count: None, position });
        }
        let ring = lock(&self.ring);
        if self.seen >= ring.count {
            return None;
        }
        let held = ring.deltas.len() as u64;
        let gone = ring.count - held;
        if self.seen < gone {
            let count = gone - self.seen;
            self.seen = gone;
            return Some(Item::Missed {
                count: Some(count),
                position: Position { count: gone, ..self.start },
            });
        }
        let index = usize::try_from(self.seen - gone).unwrap_or(usize::MAX);
        let delta = ring.deltas.get(index)?.clone();
        self.seen += 1;
        Some(Item::Delta(delta))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn hub() -> Hub {
        Hub::new(UNIX_EPOCH + Duration::from_secs(1))
    }

    async fn numbers(subscription: &mut Subscription, count: usize) -> Vec<u64> {
        let mut found = Vec::new();
        while found.len() < count {
            match subscription.next().await {
                Some(Item::Delta(delta)) => found.push(delta.data.parse().unwrap()),
                other => panic!("expected a change, got {other:?}"),
            }
        }
        found
    }

    /// Guards: a subscriber is given every change after it came, in order; one that comes back goes on where it was.
    #[tokio::test]
    async fn subscribers_are_given_everything_once() {
        let hub = hub();
        hub.publish(Kind::Event, &0);
        let mut subscription = hub.subscribe(None).unwrap();
        (1..=3).for_each(|n| hub.publish(Kind::Stream, &n));
        assert_eq!(numbers(&mut subscription, 2).await, [1, 2]);
        let Some(Item::Delta(last)) = subscription.next().await else { panic!("no change") };
        assert_eq!((last.kind, &*last.data), (Kind::Stream, "3"));
        drop(subscription);
        hub.publish(Kind::Event, &4);
        let position: Position = last.position.to_string().parse().unwrap();
        let mut back = hub.subscribe(Some(position)).unwrap();
        assert_eq!(numbers(&mut back, 1).await, [4]);
        let waiting = tokio::time::timeout(Duration::from_millis(20), back.next()).await;
        assert!(waiting.is_err(), "there is nothing else: {waiting:?}");
        hub.publish(Kind::Event, &5);
        assert_eq!(numbers(&mut back, 1).await, [5], "a cancelled wait lost nothing");
    }

    /// Guards: a slow subscriber is told exactly how many changes it missed and goes on with the oldest there is, and the
    /// ring keeps its bounds in number and bytes.
    #[tokio::test]
    async fn a_slow_subscriber_is_told_what_it_missed() {
        let hub = hub();
        let mut slow = hub.subscribe(None).unwrap();
        let published = DELTAS_MAX as u64 + 10;
        (0..published).for_each(|n| hub.publish(Kind::Event, &n));
        let missed = slow.next().await.unwrap();
        assert!(matches!(missed, Item::Missed { count: Some(10), .. }), "{missed:?}");
        let rest = numbers(&mut slow, DELTAS_MAX).await;
        assert_eq!((rest[0], rest[DELTAS_MAX - 1]), (10, published - 1));

        let large = "x".repeat(BYTES_MAX / 4);
        (0..20).for_each(|_| hub.publish(Kind::Event, &large));
        let (held, bytes) = {
            let ring = lock(&hub.ring);
            (ring.deltas.len(), ring.bytes)
        };
        assert!(bytes <= BYTES_MAX && held == 3, "{held} in {bytes} bytes");
        assert!(matches!(slow.next().await, Some(Item::Missed { count: Some(17), .. })));
    }

    /// Guards: positions of an earlier process, or invented ones, are told that nobody knows what was missed.
    #[tokio::test]
    async fn positions_of_elsewhere_are_not_believed() {
        let hub = hub();
        hub.publish(Kind::Event, &1);
        let begun = hub.subscribe(None).unwrap().start();
        for from in [Position { feed: 7, count: 0 }, Position { count: 99, ..begun }] {
            let here = hub.subscribe(None).unwrap().start();
            let mut subscription = hub.subscribe(Some(from)).unwrap();
            let told = tokio::time::timeout(Duration::from_secs(20), subscription.next()).await;
            assert_eq!(told, Ok(Some(Item::Missed { count: None, position: here })), "{from}");
            hub.publish(Kind::Event, &2);
            assert_eq!(numbers(&mut subscription, 1).await, [2]);
        }
        for text in ["", "1", "-", "x-1", "1-x", "1--2", "1-2-3"] {
            assert!(text.parse::<Position>().is_err(), "{text:?} was taken");
        }
    }

    /// Guards: closing ends those who wait and those who come later; places are bounded and come free.
    #[tokio::test]
    async fn places_are_bounded_and_the_end_reaches_everybody() {
        let hub = hub();
        let mut all: Vec<Subscription> = (0..SUBSCRIBERS_MAX).map(|_| hub.subscribe(None).unwrap()).collect();
        assert!(hub.subscribe(None).is_err());
        all.pop();
        assert_eq!(hub.subscribers(), SUBSCRIBERS_MAX - 1);
        let mut last = hub.subscribe(None).unwrap();
        let waiting = tokio::spawn(async move { last.next().await });
        tokio::task::yield_now().await;
        hub.publish(Kind::Event, &1);
        hub.close();
        // It may have been given the change before it heard of the end.
        waiting.await.unwrap();
        all.clear();
        assert_eq!(hub.subscribe(None).unwrap().next().await, None);
    }
}
