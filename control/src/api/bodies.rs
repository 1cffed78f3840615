//! Long answers that many ask for: put together once for everybody, and kept up to date beside the requests while somebody asks.
//!
//! A body is handed out as long as only times and figures can have changed since it was made, and for at most [`FRESH_FOR`]: so
//! that a change Sluice made or saw is there at once, and figures are never old. While somebody asks, a task makes
//! bodies anew before they are that old, so that hardly a request has to.

use super::Sources;
use super::shapes::{Pieces, Seen};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

/// A body may be handed out for so long. Figures are of the last second when it is made.
const FRESH_FOR: Duration = Duration::from_millis(900);
/// Between two makings while somebody asks.
const EVERY: Duration = Duration::from_millis(400);
/// Bodies nobody has asked for since are let go.
const WANTED_FOR: Duration = Duration::from_secs(10);

/// Every body.
#[derive(Default)]
pub(crate) struct Bodies {
    streams: Kept<u64>,
    engines: Kept<Seen>,
    pieces: Mutex<Pieces>,
    wanted: Notify,
}

/// A body, and of what it is.
struct Body<T> {
    of: T,
    made_at: Instant,
    bytes: Bytes,
}

/// One body as it was made last.
struct Kept<T> {
    body: Mutex<Option<Arc<Body<T>>>>,
    /// Whoever makes it; others wait for what it makes.
    making: Mutex<()>,
    asked_at: Mutex<Option<Instant>>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { body: Mutex::default(), making: Mutex::default(), asked_at: Mutex::default() }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic cannot leave a body half made: it is put in place whole.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Kept<T> {
    fn good(&self, is_still_so: impl Fn(&T) -> bool) -> Option<Bytes> {
        let body = lock(&self.body).clone()?;
        (body.made_at.elapsed() < FRESH_FOR && is_still_so(&body.of)).then(|| body.bytes.clone())
    }

    /// The body for somebody who asks; tells whether nobody has for a while.
    fn get(&self, is_still_so: impl Fn(&T) -> bool, make: impl FnOnce() -> (T, String)) -> (Bytes, bool) {
        let before = lock(&self.asked_at).replace(Instant::now());
        let is_new = before.is_none_or(|before| before.elapsed() >= WANTED_FOR);
        if let Some(bytes) = self.good(&is_still_so) {
            return (bytes, is_new);
        }
        let making = lock(&self.making);
        // Somebody else may have made it meanwhile.
        let bytes = self.good(&is_still_so).unwrap_or_else(|| self.put(make));
        drop(making);
        (bytes, is_new)
    }

    fn put(&self, make: impl FnOnce() -> (T, String)) -> Bytes {
        let made_at = Instant::now();
        let (of, text) = make();
        let bytes = Bytes::from(text);
        *lock(&self.body) = Some(Arc::new(Body { of, made_at, bytes: bytes.clone() }));
        bytes
    }

    /// Makes it anew if somebody asked a short while ago, else lets it go; tells whether somebody did.
    fn tend(&self, make: impl FnOnce() -> (T, String)) -> bool {
        let is_wanted = lock(&self.asked_at).is_some_and(|asked| asked.elapsed() < WANTED_FOR);
        if is_wanted {
            let _making = lock(&self.making);
            self.put(make);
        } else {
            *lock(&self.body) = None;
        }
        is_wanted
    }
}

impl Bodies {
    /// All streams, as `/streams` shows them.
    pub(super) fn streams(&self, sources: &Sources) -> Bytes {
        let streams = &sources.streams;
        let (bytes, is_new) =
            self.streams.get(|version| *version == streams.version(), || write_streams(sources));
        self.note(is_new);
        bytes
    }

    /// All engines, as `/engines` shows them.
    pub(super) fn engines(&self, sources: &Sources) -> Bytes {
        let (engines, streams) = (&sources.engines, &sources.streams);
        let (bytes, is_new) =
            self.engines.get(|seen| seen.is_still_so(engines, streams), || self.write_engines(sources));
        self.note(is_new);
        bytes
    }

    /// Every engine by name, each as `/engines` shows it.
    pub(super) fn each_engine(&self, sources: &Sources) -> Vec<(Arc<str>, Arc<str>)> {
        let seen = Seen::now(&sources.engines, &sources.streams);
        lock(&self.pieces).all(&seen, &sources.engines, &sources.streams)
    }

    fn write_engines(&self, sources: &Sources) -> (Seen, String) {
        let seen = Seen::now(&sources.engines, &sources.streams);
        let all = lock(&self.pieces).all(&seen, &sources.engines, &sources.streams);
        (seen, array(all.iter().map(|(_, text)| &**text)))
    }

    fn note(&self, is_new: bool) {
        if is_new {
            self.wanted.notify_one();
        }
    }

    /// Makes bodies anew as long as somebody asks for them.
    pub(crate) async fn tend(sources: Sources) -> &'static str {
        let bodies = sources.bodies.clone();
        loop {
            bodies.wanted.notified().await;
            let mut ticks = tokio::time::interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // The first tick is at once, and the body has just been made.
            ticks.tick().await;
            loop {
                ticks.tick().await;
                let are_streams = bodies.streams.tend(|| write_streams(&sources));
                tokio::task::yield_now().await;
                let are_engines = bodies.engines.tend(|| bodies.write_engines(&sources));
                if !are_streams && !are_engines {
                    *lock(&bodies.pieces) = Pieces::default();
                    break;
                }
            }
        }
    }
}

fn write_streams(sources: &Sources) -> (u64, String) {
    let (version, all) = sources.streams.all();
    (version, array(all.iter().map(|shown| shown.json())))
}

/// Texts as one JSON array.
pub(super) fn array<'a>(items: impl Iterator<Item = &'a str> + Clone) -> String {
    let length = items.clone().map(|item| item.len() + 1).sum::<usize>() + 2;
    let mut body = String::with_capacity(length);
    body.push('[');
    for (at, item) in items.enumerate() {
        if at > 0 {
            body.push(',');
        }
        body.push_str(item);
    }
    body.push(']');
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Guards: a body is handed out while it is still so and young, made anew when it is not, and let go when nobody asks; the task
    /// beside is told of the first who asks.
    #[test]
    fn a_body_is_made_when_it_has_to_be() {
        let (kept, version, made) = (Kept::default(), Cell::new(1), Cell::new(0));
        let make = || {
            made.set(made.get() + 1);
            (version.get(), format!("{} {}", version.get(), made.get()))
        };
        let get = || kept.get(|of| *of == version.get(), make);
        assert_eq!(get(), (Bytes::from("1 1"), true));
        assert_eq!(get(), (Bytes::from("1 1"), false), "nothing changed");
        version.set(2);
        assert_eq!(get().0, "2 2", "a change is there at once");
        let age = |by: Duration| {
            let mut body = lock(&kept.body);
            let (of, bytes) = body.as_ref().map(|body| (body.of, body.bytes.clone())).unwrap();
            *body = Some(Arc::new(Body { of, bytes, made_at: Instant::now().checked_sub(by).unwrap() }));
        };
        age(FRESH_FOR);
        assert_eq!(get().0, "2 3", "figures are never old");
        assert!(kept.tend(make));
        assert_eq!(get().0, "2 4", "the task makes it for those who ask next");
        *lock(&kept.asked_at) = Instant::now().checked_sub(WANTED_FOR);
        assert!(!kept.tend(make) && lock(&kept.body).is_none());
        assert_eq!(get(), (Bytes::from("2 5"), true));
    }

    /// Guards: texts are put together as JSON.
    #[test]
    fn texts_make_an_array() {
        assert_eq!(array([].into_iter()), "[]");
        assert_eq!(array(["1", "{}"].into_iter()), "[1,{}]");
    }
}
