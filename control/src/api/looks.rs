//! Figures for those who follow: what changed since their last look, put together once for all of them.
//!
//! A look is every session, every engine and every metric at one moment, as their own routes show them, each under its name.
//! Whoever follows is told the first look whole and of each later one only what is another text than before. Followers at the
//! same beat share the look and what is told of it, so that their number costs no more than the writing.

use super::shapes::json;
use super::time::epoch_ms;
use super::{Sources, proxy};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// A look is given to everybody who asks within so much of it.
const SHARED_FOR: Duration = Duration::from_millis(400);

/// JSON by name.
type Part = BTreeMap<String, String>;

/// Everything at one moment.
#[derive(Default)]
struct Parts {
    streams: Part,
    engines: Part,
    figures: Part,
}

/// Everything at one moment, and which moment.
struct Look {
    number: u64,
    at: SystemTime,
    taken: Instant,
    parts: Parts,
}

/// What was told last: from which look, to which.
struct Told {
    from: Option<u64>,
    to: u64,
    text: Arc<str>,
}

#[derive(Default)]
struct Shared {
    newest: Option<Arc<Look>>,
    told: Option<Told>,
}

/// The one place looks are made.
pub(crate) struct Looks {
    began: Instant,
    shared: Mutex<Shared>,
}

impl Looks {
    /// None was made yet.
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), shared: Mutex::default() }
    }

    /// A follower's way to look every `period`, at the same beat as all others of that period.
    pub(crate) fn every(&self, period: Duration) -> Beat {
        let now = Instant::now();
        let beats = now.duration_since(self.began).as_millis() / period.as_millis().max(1) + 1;
        let next = self.began + period.saturating_mul(u32::try_from(beats).unwrap_or(u32::MAX));
        let mut interval = interval_at(next.max(now), period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Beat { interval, seen: None }
    }

    /// What is new since a look, and the look that this is.
    async fn since(&self, sources: &Sources, before: Option<&Arc<Look>>) -> (Arc<Look>, Arc<str>) {
        let mut shared = self.shared.lock().await;
        let shared = &mut *shared;
        let newest = shared.newest.take().filter(|look| look.taken.elapsed() < SHARED_FOR);
        let number = shared.told.as_ref().map_or(0, |told| told.to) + 1;
        let newest = match newest {
            Some(look) => look,
            None => {
                let all = sources.clone();
                beside(sources, move || Arc::new(Look::take(&all, number))).await
            }
        };
        shared.newest = Some(newest.clone());
        let from = before.map(|look| look.number);
        let told = shared.told.as_ref().filter(|told| (told.from, told.to) == (from, newest.number));
        let text = match told {
            Some(told) => told.text.clone(),
            None => {
                let (now, before) = (newest.clone(), before.cloned());
                beside(sources, move || now.told_after(before.as_deref().map(|look| &look.parts)).into())
                    .await
            }
        };
        shared.told = Some(Told { from, to: newest.number, text: text.clone() });
        (newest, text)
    }
}

/// When a follower looks, and what it saw.
pub(crate) struct Beat {
    interval: Interval,
    seen: Option<Arc<Look>>,
}

impl Beat {
    /// Waits until it is time to look. Cancel safe.
    pub(crate) async fn wait(&mut self) {
        if self.seen.is_some() {
            self.interval.tick().await;
        }
    }

    /// Looks; JSON on one line.
    pub(crate) async fn look(&mut self, sources: &Sources) -> Arc<str> {
        let (look, text) = sources.looks.since(sources, self.seen.as_ref()).await;
        self.seen = Some(look);
        text
    }
}

impl Look {
    fn take(sources: &Sources, number: u64) -> Self {
        let at = SystemTime::now();
        let streams = proxy::all(sources, at).into_iter().map(|view| (view.name().to_owned(), json(&view)));
        let engines = sources.bodies.each_engine(sources).into_iter();
        let engines = engines.map(|(name, text)| (name.to_string(), text.to_string()));
        let exposition = sources.metrics.expose(false).text;
        let figures = exposition.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (series, _) = line.rsplit_once(' ')?;
            Some((series.to_owned(), json(&line)))
        });
        let parts =
            Parts { streams: streams.collect(), engines: engines.collect(), figures: figures.collect() };
        Self { number, at, taken: Instant::now(), parts }
    }

    fn told_after(&self, before: Option<&Parts>) -> String {
        let mut text = format!("{{\"at\":{},\"is_whole\":{}", epoch_ms(self.at), before.is_none());
        let Parts { streams, engines, figures } = &self.parts;
        for (name, now, before) in [
            ("streams", streams, before.map(|parts| &parts.streams)),
            ("engines", engines, before.map(|parts| &parts.engines)),
            ("figures", figures, before.map(|parts| &parts.figures)),
        ] {
            tell(&mut text, name, before, now);
        }
        text.push('}');
        text
    }
}

/// Does what takes long where no request waits behind it.
async fn beside<T: Send + 'static>(sources: &Sources, work: impl FnOnce() -> T + Send + 'static) -> T {
    match sources.work.spawn(async move { work() }).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The plane ends, and whoever waits here is about to be cut.
        Err(_) => std::future::pending().await,
    }
}

/// Adds what is new of a part, and the names that are gone from it.
fn tell(text: &mut String, name: &str, before: Option<&Part>, now: &Part) {
    let is_new = |(name, value): &(&String, &String)| {
        before.is_none_or(|before| before.get(*name).is_none_or(|old| old != *value))
    };
    let set: Vec<&str> = now.iter().filter(is_new).map(|(_, value)| value.as_str()).collect();
    let gone = before.into_iter().flatten().map(|(name, _)| name).filter(|name| !now.contains_key(*name));
    let gone: Vec<&String> = gone.collect();
    // Writing to a string cannot fail.
    let _ = write!(text, ",\"{name}\":{{\"set\":[{}],\"gone\":{}}}", set.join(","), json(&gone));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn part(entries: &[(&str, u32)]) -> Part {
        entries.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect()
    }

    fn told(before: Option<Part>, now: &[(&str, u32)]) -> Value {
        let before = before.map(|streams| Parts { streams, ..Parts::default() });
        let parts = Parts { streams: part(now), ..Parts::default() };
        let look = Look { number: 1, at: SystemTime::UNIX_EPOCH, taken: Instant::now(), parts };
        serde_json::from_str(&look.told_after(before.as_ref())).unwrap()
    }

    /// Guards: the first look is whole, a later one has what is another text than before and the names that are gone, and what
    /// stays as it was is not told again.
    #[test]
    fn only_what_is_new_is_told() {
        let first = told(None, &[("a", 1), ("b", 2)]);
        assert_eq!(
            (&first["is_whole"], &first["streams"]),
            (&json!(true), &json!({ "set": [1, 2], "gone": [] }))
        );
        let second = told(Some(part(&[("a", 1), ("b", 2), ("c\"", 3)])), &[("a", 1), ("b", 9), ("d", 4)]);
        assert_eq!(second["is_whole"], false);
        assert_eq!(second["streams"], json!({ "set": [9, 4], "gone": ["c\""] }));
        assert_eq!(second["engines"], json!({ "set": [], "gone": [] }));
    }
}
