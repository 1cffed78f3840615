//! What the appliance tells of its own work: where the time of a play goes, and in debug mode why things happen.
//!
//! [`trace`] makes spans of the moments that shards and the engines room report, [`otlp`] sends them to a collector.
//! [`lines`] are what debug mode writes down, kept in [`files`] of bounded size. Nothing here is ever waited for: what finds a queue
//! full is dropped and counted, and whoever reports goes on at once.

mod bottlenecks;
mod counts;
mod endpoint;
mod files;
mod lines;
mod otlp;
mod starts;
mod told;
mod trace;
mod watch;

pub(crate) use counts::Counts;
pub(crate) use endpoint::Endpoint;
pub(crate) use lines::Kind;
pub(crate) use starts::Start;
pub(crate) use told::{health, provisioning, request};
pub(crate) use watch::{Sources, watch};

use crate::engines::Decision;
use lines::Lines;
use serde_json::{Map, Value};
use sluice_contract::{Play, StreamKey};
use starts::Starts;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::sync::{mpsc, watch as watching};
use tokio::task::JoinSet;
use trace::{Choices, Trace};

/// Traces that wait to be sent; a collector that is slower than plays begin loses the newest.
const TRACES_MAX: usize = 1024;

/// What may change while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    /// Where traces are sent, if anywhere.
    pub(crate) endpoint: Option<Endpoint>,
    /// Whether everything is written down.
    pub(crate) is_debugging: bool,
}

/// Cheap way to tell what happened.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Inner>);

struct Inner {
    live: watching::Receiver<Live>,
    choices: Mutex<Choices>,
    starts: Mutex<Starts>,
    traces: mpsc::Sender<Trace>,
    lines: Lines,
    counts: Arc<Counts>,
}

/// Starts what sends and what writes on the current runtime; the join set ends when one of them does.
pub(crate) fn start(
    mut live: watching::Receiver<Live>,
    directory: Option<PathBuf>,
    tasks: &mut JoinSet<&'static str>,
) -> Handle {
    // What holds at the start is news to the writer as well.
    live.mark_changed();
    let (traces, inbox) = mpsc::channel(TRACES_MAX);
    let counts = Arc::<Counts>::default();
    let exporter = otlp::run(inbox, live.clone(), counts.clone());
    tasks.spawn(async move {
        exporter.await;
        "traces"
    });
    let (lines, inbox) = lines::queue(counts.clone());
    let writer = lines::run(inbox, live.clone(), directory, counts.clone());
    tasks.spawn(async move {
        writer.await;
        "debug log"
    });
    let (choices, starts) = (Mutex::default(), Mutex::default());
    Handle(Arc::new(Inner { live, choices, starts, traces, lines, counts }))
}

impl Handle {
    /// Whether everything is written down.
    pub(crate) fn is_debugging(&self) -> bool {
        self.0.live.borrow().is_debugging
    }

    /// Writes a line, in debug mode; `what` is an object, and only made then.
    pub(crate) fn line(&self, kind: Kind, what: impl FnOnce() -> Value) {
        if self.is_debugging()
            && let Value::Object(what) = what()
        {
            self.put(kind, what);
        }
    }

    fn put(&self, kind: Kind, what: Map<String, Value>) {
        self.0.lines.put(kind, what);
    }

    /// Engines were chosen.
    pub(crate) fn decided(&self, decisions: &[Decision]) {
        if decisions.is_empty() {
            return;
        }
        {
            // A panic cannot leave the list half changed.
            let mut choices = self.0.choices.lock().unwrap_or_else(PoisonError::into_inner);
            decisions.iter().for_each(|decision| choices.note(decision));
        }
        for decision in decisions {
            self.line(Kind::Selection, || told::selection(decision));
        }
    }

    /// A play began, or came to nothing.
    pub(crate) fn played(&self, play: &Play) {
        let choice = {
            let choices = self.0.choices.lock().unwrap_or_else(PoisonError::into_inner);
            play.start.and_then(|start| choices.find(start.lease?))
        };
        let trace = Trace::of(play, choice.as_ref());
        self.0.starts.lock().unwrap_or_else(PoisonError::into_inner).note(play, &trace);
        trace.log();
        self.line(Kind::Play, || told::play(&trace));
        if self.0.live.borrow().endpoint.is_some() && self.0.traces.try_send(trace).is_err() {
            self.0.counts.queue_full();
        }
    }

    /// How a stream started last and when that was told; `None` when it is not known (any more).
    pub(crate) fn start_of(&self, stream: &StreamKey) -> Option<(SystemTime, Start)> {
        self.0.starts.lock().unwrap_or_else(PoisonError::into_inner).find(stream)
    }

    /// What was sent and written, and what was not.
    pub(crate) fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// One that nobody listens to.
    #[cfg(test)]
    pub(crate) fn deaf() -> Self {
        let counts = Arc::<Counts>::default();
        let (live, (traces, _), (lines, _)) =
            (watching::channel(Live::default()).1, mpsc::channel(1), lines::queue(counts.clone()));
        let (choices, starts) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { live, choices, starts, traces, lines, counts }))
    }
}
