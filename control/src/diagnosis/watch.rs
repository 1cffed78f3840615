//! Writes down what other rooms show of themselves while debug mode is on: streams that come and go, and bottlenecks.

use super::bottlenecks::Bottlenecks;
use super::{Handle, Kind};
use crate::events::{self, Item};
use crate::shards::Shards;
use crate::store;
use serde_json::{Value, json};
use sluice_contract::snapshot::Board;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks for bottlenecks.
const LOOK: Duration = Duration::from_secs(1);

/// What is looked at.
pub(crate) struct Sources {
    /// What happened.
    pub(crate) events: events::Handle,
    /// What shards count.
    pub(crate) board: Arc<Board>,
    /// Inboxes of the shards.
    pub(crate) shards: Arc<Shards>,
    /// Its queue.
    pub(crate) store: store::Handle,
}

/// Watches for the life of the plane; sleeps while debug mode is off.
pub(crate) async fn watch(handle: Handle, sources: Sources) -> &'static str {
    let mut live = handle.0.live.clone();
    loop {
        if live.wait_for(|live| live.is_debugging).await.is_err() {
            return "diagnosis";
        }
        tokio::select! {
            () = look(&handle, &sources) => {}
            _ = live.wait_for(|live| !live.is_debugging) => {}
        }
        // Events are closed before the plane ends, and too many may follow them.
        tokio::time::sleep(LOOK).await;
    }
}

/// Writes down what comes until events are closed.
async fn look(handle: &Handle, sources: &Sources) {
    let Ok(mut subscription) = sources.events.subscribe(None) else { return };
    let mut bottlenecks = Bottlenecks::default();
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            item = subscription.next() => match item {
                None => return,
                Some(Item::Delta(delta)) if delta.kind == events::Kind::Event => {
                    handle.line(Kind::Stream, || stream(&delta.data).unwrap_or_default());
                }
                Some(Item::Delta(_)) => {}
                Some(Item::Missed { count, .. }) => handle.line(Kind::Bottleneck, || {
                    json!({ "what": "full_queue", "queue": "events", "count": count })
                }),
            },
            _ = ticks.tick() => {
                let counts = handle.counts();
                // The first two of its reasons are full queues.
                let stored = sources.store.counts().dropped()[..2].iter().map(|(_, count)| count).sum();
                let queues = [
                    ("shard_inbox", sources.shards.undelivered()),
                    ("store", stored),
                    ("traces", counts.traces_dropped()[0].1),
                    ("debug_log", counts.lines_dropped()[0].1),
                ];
                for line in bottlenecks.pass(&sources.board.read(), &queues) {
                    handle.put(Kind::Bottleneck, line);
                }
            }
        }
    }
}

/// What the log's entry says of a stream, if it is about one.
fn stream(entry: &str) -> Option<Value> {
    let entry: Value = serde_json::from_str(entry).ok()?;
    (entry["event_type"] == "stream").then(|| {
        let details = &entry["details"];
        json!({
            "event": entry["category"], "stream_id": entry["stream_id"], "engine": entry["container_id"],
            "key": details["key"], "reason": details["reason"], "text": entry["message"],
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: entries about streams become lines with their reason, and those about anything else none.
    #[test]
    fn only_streams_become_lines() {
        let entry = json!({
            "id": 7, "event_type": "stream", "category": "ended", "message": "m", "stream_id": "k|p",
            "container_id": "e", "details": { "reason": "client_left", "key": "k" },
        });
        let expected = json!({
            "event": "ended", "stream_id": "k|p", "engine": "e", "key": "k", "reason": "client_left", "text": "m",
        });
        assert_eq!(stream(&entry.to_string()), Some(expected));
        assert_eq!(stream(r#"{"event_type":"engine","details":{}}"#), None);
        assert_eq!(stream("no JSON"), None);
    }
}
