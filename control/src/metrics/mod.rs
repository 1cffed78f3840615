//! Prometheus text: what shards show on the board, and what this plane counts of itself.
//!
//! Everything is computed at the scrape from snapshots and counters; a scrape never waits for a shard, an engine or a
//! task. Names of the data plane's metrics belong to the data plane; those of this plane are in [`own`], and those that
//! dashboards of earlier programs know in [`published`].

mod board;
mod each;
mod history;
mod own;
mod process;
mod published;
mod text;
mod transfer;
mod writer;

pub(crate) use history::Columns;

/// Figures over time, which outlive the plane that began them.
pub(crate) type Past = Mutex<history::History>;

use crate::shards::Shards;
use crate::{diagnosis, engines, events, resolve, store, streams};
use history::{FINE_EVERY, History};
use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use published::Published;
use sluice_contract::Directory;
use sluice_contract::snapshot::Board;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Where the numbers come from.
pub(crate) struct Sources {
    /// The data plane's samples.
    pub(crate) board: Arc<Board>,
    /// Names of streams.
    pub(crate) directory: Arc<Directory>,
    /// Inboxes of the shards.
    pub(crate) shards: Arc<Shards>,
    /// Engines and leases.
    pub(crate) engines: engines::Handle,
    /// Outcomes of resolves.
    pub(crate) resolve: Arc<resolve::Counts>,
    /// How storing goes.
    pub(crate) store: store::Handle,
    /// Every stream there is.
    pub(crate) streams: streams::Handle,
    /// Who follows changes.
    pub(crate) events: events::Handle,
    /// What is told of the plane's own work.
    pub(crate) diagnosis: diagnosis::Handle,
}

/// How an HTTP connection ended. The one closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionEnd {
    /// The peer or an answer with `Connection: close` ended it.
    Closed,
    /// It went back to a shard.
    HandedBack,
    /// No complete request head in time.
    HeadTimeout,
    /// Nothing moved for too long.
    Idle,
    /// It broke, or broke HTTP.
    Failed,
    /// There was no place for it.
    Refused,
}

impl ConnectionEnd {
    const ALL: [Self; 6] =
        [Self::Closed, Self::HandedBack, Self::HeadTimeout, Self::Idle, Self::Failed, Self::Refused];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HandedBack => "handed_back",
            Self::HeadTimeout => "head_timeout",
            Self::Idle => "idle",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StatusLabel {
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// What was started by hand. The one closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provision {
    /// A container of any image.
    Generic,
    /// An engine.
    Acestream,
}

impl Provision {
    const ALL: [Self; 2] = [Self::Generic, Self::Acestream];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Acestream => "acestream",
        }
    }
}

/// What a scrape answers.
pub(crate) struct Exposition {
    /// The format.
    pub(crate) content_type: &'static str,
    /// The text.
    pub(crate) text: String,
}

/// Looks at what engines have moved once a second, as often as their figures change, and every few seconds at what charts
/// show of the past.
pub(crate) async fn observe(metrics: Arc<Metrics>) -> &'static str {
    const EVERY: Duration = Duration::from_secs(1);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for tick in 0_u64.. {
        ticks.tick().await;
        metrics.published.observe();
        let now = SystemTime::now();
        if tick % (FINE_EVERY.as_secs() / EVERY.as_secs()) == 0 {
            let reading = metrics.published.reading();
            metrics.past().take(now, reading);
        }
        metrics.past().take_latencies(now, || metrics.published.latencies());
    }
    "metrics"
}

/// The plane's counters and the way to read everything.
pub(crate) struct Metrics {
    registry: Registry,
    engines: engines::Handle,
    each: each::Each,
    published: Published,
    past: Arc<Past>,
    requests: Family<StatusLabel, Counter>,
    ends: Family<ReasonLabel, Counter>,
    provisions: Family<KindLabel, Counter>,
}

impl Metrics {
    /// Registers everything; figures over time go on where they were.
    pub(crate) fn new(sources: Sources, past: Arc<Past>) -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        registry.register(
            "sluice_http_requests",
            "HTTP requests answered by control, by status",
            requests.clone(),
        );
        let ends = Family::<ReasonLabel, Counter>::default();
        for end in ConnectionEnd::ALL {
            // Zeros are shown, so that a rate can be taken from the first event on.
            drop(ends.get_or_create(&ReasonLabel { reason: end.as_str() }));
        }
        registry.register(
            "sluice_http_connections",
            "HTTP connections that ended at control, by reason",
            ends.clone(),
        );
        let provisions = Family::<KindLabel, Counter>::default();
        for kind in Provision::ALL {
            drop(provisions.get_or_create(&KindLabel { kind: kind.as_str() }));
        }
        registry.register("orch_provision", "Containers started by hand, by kind", provisions.clone());
        let published =
            Published::new(sources.board.clone(), sources.engines.clone(), sources.streams.clone());
        registry.register_collector(Box::new(board::Shards(sources.board.clone())));
        registry.register_collector(Box::new(published.clone()));
        let engines = sources.engines.clone();
        registry.register_collector(Box::new(own::Plane(sources)));
        registry.register_collector(Box::new(process::Process));
        Self { registry, engines, each: each::Each::default(), published, past, requests, ends, provisions }
    }

    fn past(&self) -> MutexGuard<'_, History> {
        // A panic cannot leave a point half made.
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What charts show of the time before now.
    pub(crate) fn history(&self, window: Duration) -> Columns {
        self.past().read(SystemTime::now(), window)
    }

    /// Counts an answered request.
    pub(crate) fn request_answered(&self, status: StatusCode) {
        self.requests.get_or_create(&StatusLabel { status: status.as_u16() }).inc();
    }

    /// Counts a connection that ended.
    pub(crate) fn connection_ended(&self, end: ConnectionEnd) {
        self.ends.get_or_create(&ReasonLabel { reason: end.as_str() }).inc();
    }

    /// Counts a container that was started by hand.
    pub(crate) fn provisioned(&self, kind: Provision) {
        self.provisions.get_or_create(&KindLabel { kind: kind.as_str() }).inc();
    }

    /// Writes everything in the OpenMetrics format, or in the older Prometheus one that every scraper and `curl` reads.
    pub(crate) fn expose(&self, as_openmetrics: bool) -> Exposition {
        let mut text = String::with_capacity(64 * 1024);
        // Writing to a string cannot fail, and no collector makes an error of its own.
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            tracing::error!("the metrics could not be written; this is a bug");
        }
        let each = self.each.text(&self.engines.standing());
        if as_openmetrics {
            let rest = text.trim_end_matches("# EOF\n").len();
            text.insert_str(rest, &each);
            Exposition { content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8", text }
        } else {
            let mut text = text::classic(&text, each.len());
            text.push_str(&each);
            Exposition { content_type: "text/plain; version=0.0.4; charset=utf-8", text }
        }
    }
}
