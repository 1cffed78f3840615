//! What is written down in debug mode: one JSON object a line, each with its time and its kind.
//!
//! A line is made only while debug mode is on, by whoever knows, and put into a bounded queue; one task has them written,
//! a batch at a time, on a thread that may wait for a disk. What finds the queue full is dropped and counted, and so is what
//! the disk does not take.

use super::files::Files;
use super::{Counts, Live};
use crate::api::time::rfc3339;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;
use tokio::sync::{mpsc, watch};

/// Lines that may wait.
const LINES_MAX: usize = 4096;
/// Bytes of them. A choice among a thousand engines is a quarter of a megabyte.
const BYTES_MAX: usize = 8 << 20;
/// Lines written at once.
const BATCH_MAX: usize = 512;

/// What a line is about. The one closed list; `docs/DEBUG_MODE.md` has a recipe for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A request control answered, and how long that took.
    Request,
    /// A play that began or came to nothing, and where its time went.
    Play,
    /// An engine was chosen, or none, of these.
    Selection,
    /// An engine in Docker is made, made again, ready or gone.
    Provisioning,
    /// An engine's health changed.
    Health,
    /// A stream started or ended.
    Stream,
    /// Something was slower or fuller than it should be.
    Bottleneck,
}

impl Kind {
    /// Every kind.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 7] = [
        Self::Request,
        Self::Play,
        Self::Selection,
        Self::Provisioning,
        Self::Health,
        Self::Stream,
        Self::Bottleneck,
    ];

    /// Stable machine-readable name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Play => "play",
            Self::Selection => "selection",
            Self::Provisioning => "provisioning",
            Self::Health => "health",
            Self::Stream => "stream",
            Self::Bottleneck => "bottleneck",
        }
    }
}

/// A line on its way.
pub(super) struct Line(String);

/// The queue's near end.
pub(super) struct Lines {
    queue: mpsc::Sender<Line>,
    bytes: Arc<AtomicUsize>,
    counts: Arc<Counts>,
}

/// The queue's far end.
pub(super) struct Inbox {
    queue: mpsc::Receiver<Line>,
    bytes: Arc<AtomicUsize>,
}

/// Makes the queue.
pub(super) fn queue(counts: Arc<Counts>) -> (Lines, Inbox) {
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    let bytes = Arc::<AtomicUsize>::default();
    (Lines { queue: sender, bytes: bytes.clone(), counts }, Inbox { queue: receiver, bytes })
}

impl Lines {
    /// Puts a line into the queue; never waits.
    pub(super) fn put(&self, kind: Kind, mut what: Map<String, Value>) {
        what.insert("at".to_owned(), rfc3339(SystemTime::now()).into());
        what.insert("kind".to_owned(), kind.as_str().into());
        let mut text = Value::Object(what).to_string();
        text.push('\n');
        let bytes = text.len();
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > BYTES_MAX || self.queue.try_send(Line(text)).is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.counts.line_dropped();
        }
    }
}

/// Writes for the life of the plane.
pub(super) async fn run(
    mut inbox: Inbox,
    mut live: watch::Receiver<Live>,
    directory: Option<PathBuf>,
    counts: Arc<Counts>,
) {
    let mut files = directory.map(Files::new);
    let mut is_written = true;
    loop {
        tokio::select! {
            // Whoever reads the files after debug mode was switched off finds everything that was said before.
            biased;
            first = inbox.queue.recv() => {
                let Some(first) = first else { return };
                let (batch, lines) = inbox.batch(first);
                let Some(taken) = files.take() else {
                    counts.lines_unwritten(lines);
                    continue;
                };
                let (back, outcome) = written(taken, batch).await;
                files = Some(back);
                match outcome {
                    Ok(()) => counts.lines_written(lines),
                    Err(_) => counts.lines_unwritten(lines),
                }
                match (&outcome, std::mem::replace(&mut is_written, outcome.is_ok())) {
                    (Err(error), true) => tracing::warn!(%error, "the debug log cannot be written; lines are dropped"),
                    (Ok(()), false) => tracing::info!("the debug log is written again"),
                    _ => {}
                }
            }
            changed = live.changed() => {
                if changed.is_err() {
                    return;
                }
                let is_on = live.borrow_and_update().is_debugging;
                match &mut files {
                    Some(files) if is_on => {
                        tracing::info!(directory = %files.directory().display(), "debug mode is on");
                    }
                    Some(files) => files.close(),
                    None if is_on => tracing::warn!("debug mode is on without a directory to write to"),
                    None => {}
                }
            }
        }
    }
}

impl Inbox {
    /// The lines that are there, as one text, and how many they are.
    fn batch(&mut self, first: Line) -> (String, usize) {
        let (mut batch, mut lines) = (first.0, 1);
        while lines < BATCH_MAX {
            let Ok(Line(next)) = self.queue.try_recv() else { break };
            batch.push_str(&next);
            lines += 1;
        }
        self.bytes.fetch_sub(batch.len(), Ordering::Relaxed);
        (batch, lines)
    }
}

/// Writes on a thread that may wait for the disk.
async fn written(mut files: Files, batch: String) -> (Files, std::io::Result<()>) {
    let directory = files.directory().to_owned();
    let done = tokio::task::spawn_blocking(move || {
        let outcome = files.append(&batch);
        (files, outcome)
    });
    done.await.unwrap_or_else(|error| (Files::new(directory), Err(std::io::Error::other(error))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    /// Guards: the page has a recipe for each kind.
    #[test]
    fn every_kind_is_explained() {
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/DEBUG_MODE.md")).unwrap();
        for kind in Kind::ALL {
            let section =
                page.split("\n## `").find(|section| section.starts_with(kind.as_str())).unwrap_or_default();
            assert!(section.contains("\njq "), "there is no recipe for {}", kind.as_str());
        }
    }

    /// Guards: what waits is bounded in number and in bytes, what finds no room is counted, and room comes back.
    #[test]
    fn what_waits_is_bounded() {
        let counts = Arc::<Counts>::default();
        let (lines, mut inbox) = queue(counts.clone());
        (0..LINES_MAX + 3).for_each(|n| lines.put(Kind::Health, map(json!({ "n": n }))));
        assert_eq!(counts.lines_dropped(), [("queue_full", 3), ("not_written", 0)]);
        let first = inbox.queue.try_recv().unwrap();
        let line: Value = serde_json::from_str(&first.0).unwrap();
        assert_eq!((&line["kind"], &line["n"]), (&json!("health"), &json!(0)));
        assert!(line["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{line}");
        while let Ok(first) = inbox.queue.try_recv() {
            inbox.batch(first);
        }
        let large = map(json!({ "text": "x".repeat(BYTES_MAX / 2) }));
        (0..3).for_each(|_| lines.put(Kind::Selection, large.clone()));
        assert_eq!(counts.lines_dropped()[0], ("queue_full", 5), "bytes count as well");
    }
}
