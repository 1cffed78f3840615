//! The control plane: leases, resolving, REST and metrics, on tokio threads of its own.
//!
//! Built by [`start`], taken down by [`Handle::stop`], which hands the wiring back so that a new control can be started
//! under shards that keep playing. It never touches a player's stream; it owns no media and knows no ring.
//!
//! Rooms: `docker` (the calls to its daemon), `engines` (which exist, how they do, who holds a lease), `resolve` (which
//! broadcast an id names), `streams` (what plays, whoever plays it), `events` (what happened, and who follows it), `api` (HTTP
//! on connections handed over by shards), `settings` (what is changed while it runs), `store` (what survives a restart), `metrics` (Prometheus text)
//! and `diagnosis` (traces, and what is written down in debug mode). Each is started with its options and
//! talked to through a handle; none knows another's insides. What the rooms may share is read-only or lock-free:
//! the directory, the board and the shards' inboxes.

#![deny(unsafe_code)]

mod api;
mod diagnosis;
pub mod docker;
pub mod doctor;
mod engines;
mod events;
mod fetch;
mod key;
mod metrics;
mod plane;
mod priority;
mod resolve;
mod settings;
mod shards;
#[allow(
    dead_code,
    unused_imports,
    reason = "its vocabulary is whole; the room for settings and templates uses the rest of it"
)]
mod store;
mod streams;
mod worker;

pub use engines::{
    BreakerLimits, Error as EngineError, FleetLimits, Ranges, Removal, RemovalError, Selection, Setup,
    YardOptions, instance, ports, recipe, remove_engines,
};
pub use key::ApiKey;
pub use plane::{Handle, examine, start};
pub use settings::setting_names;
pub use settings::variables;
pub use store::Error as StoreError;
pub use streams::looping::Settings as LoopDetection;

use sluice_contract::link::{Receiver, Sender};
use sluice_contract::snapshot::Board;
use sluice_contract::{Dial, Directory, ToControl, ToShard, Tuning};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// An engine that exists already, as the operator named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticEngine {
    /// `host:port`.
    pub authority: String,
    /// What it shares with others of the same name, such as a VPN: they fall silent together.
    pub group: Option<String>,
}

/// Everything the control plane can be told. [`Options::default`] has the documented defaults and no engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Engines that exist already.
    pub static_engines: Vec<StaticEngine>,
    /// Used when no other engine can be had in time.
    pub fallback_engine: Option<StaticEngine>,
    /// Used while engines were to be kept in Docker and there was none yet.
    pub assumed_engine: Option<StaticEngine>,
    /// Leases per engine. `None`: nobody set a cap, and no request is refused for it.
    pub streams_per_engine: Option<u32>,
    /// How the best of several engines is found.
    pub selection: Selection,
    /// Starts in flight per engine; more make an engine slower, not faster.
    pub engine_starts_max: usize,
    /// The longest search for the broadcast behind an id.
    pub resolve_timeout: Duration,
    /// A request for an engine is refused after this while no engine shows any sign of life.
    pub no_response_timeout: Duration,
    /// A request for an engine waits at most this long.
    pub engine_wait: Duration,
    /// How engines are kept in Docker, when they are.
    pub docker: Option<YardOptions>,
    /// Whether engines were asked for behind a VPN, which is not supported: then there is none at all.
    pub is_vpn_asked: bool,
    /// `Access-Control-Allow-Origin`: `*` or one origin.
    pub cors_origin: String,
    /// HTTP connections served at once; the next is answered 503.
    pub connections_max: usize,
    /// Largest request head, bytes. At least 8,192, which the HTTP library needs.
    pub head_bytes_max: usize,
    /// Most header fields in one request.
    pub headers_max: usize,
    /// Largest request body, bytes.
    pub body_bytes_max: usize,
    /// The next request head on a kept-alive connection must be complete within this time.
    pub head_timeout: Duration,
    /// A connection on which nothing moves in either direction while a request is served ends after this.
    pub idle_timeout: Duration,
    /// Threads of the plane.
    pub worker_threads: usize,
    /// What routes that change something ask for.
    pub api_key: ApiKey,
    /// Whether routes that only read ask for the key too.
    pub reads_need_key: bool,
    /// What the shards' dial stands at before any setting was changed.
    pub tuning: Tuning,
    /// How far players may fall behind, where that is bounded: no setting lets them join further back.
    pub join_behind_max: Option<Duration>,
    /// What the environment says of [`setting_names`] and of every other variable that can be changed, as it was given; of
    /// `API_KEY` only what [`variables::mark_of`] makes of it.
    pub environment: BTreeMap<String, String>,
    /// Whether settings are what the environment says and cannot be changed.
    pub is_pinned: bool,
    /// The newest link generation of the process whose shards are taken over: this one's come after it.
    pub epoch_before: u64,
    /// How long a directory that another process holds is waited for, because that one is ending.
    pub lock_wait: Duration,
    /// Directory of everything that survives a restart; `None` keeps it in memory until the plane stops.
    pub data_dir: Option<PathBuf>,
    /// Directory of what is written down in debug mode; without it there is no such thing.
    pub debug_dir: Option<PathBuf>,
    /// Between two looks at the figures of a stream that another proxy reported.
    pub collect_interval: Duration,
    /// Samples kept in memory per stream at most.
    pub stats_history_max: usize,
    /// An engine that says for so long that it does not know a playback ends the stream.
    pub stale_after: Duration,
    /// A reported stream of which nothing is heard for so long ends, if its engine answers otherwise; where nobody knows that,
    /// after a day's worth of such times.
    pub unheard_after: Duration,
    /// How streams that loop are looked for.
    pub loop_detection: LoopDetection,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            static_engines: Vec::new(),
            fallback_engine: None,
            assumed_engine: None,
            streams_per_engine: None,
            selection: Selection::default(),
            engine_starts_max: 2,
            resolve_timeout: Duration::from_secs(10),
            no_response_timeout: Duration::from_secs(20),
            engine_wait: Duration::from_secs(45),
            docker: None,
            is_vpn_asked: false,
            cors_origin: "*".to_owned(),
            connections_max: 1024,
            head_bytes_max: 16 * 1024,
            headers_max: 100,
            body_bytes_max: 2 * 1024 * 1024,
            head_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(30),
            worker_threads: 2,
            api_key: ApiKey::Generated,
            reads_need_key: false,
            tuning: Tuning::default(),
            join_behind_max: None,
            environment: BTreeMap::new(),
            is_pinned: false,
            epoch_before: 0,
            lock_wait: Duration::ZERO,
            data_dir: None,
            debug_dir: None,
            collect_interval: Duration::from_secs(1),
            stats_history_max: 720,
            stale_after: Duration::from_secs(10),
            unheard_after: Duration::from_secs(3600),
            loop_detection: LoopDetection::default(),
        }
    }
}

/// Sessions of the panel, which outlive the plane that began them.
#[derive(Clone)]
pub struct PanelSessions(pub(crate) Arc<api::Sessions>);

impl Default for PanelSessions {
    fn default() -> Self {
        Self(Arc::new(api::Sessions::new()))
    }
}

/// Figures over time, which outlive the plane that kept them.
#[derive(Clone, Default)]
pub struct Past(pub(crate) Arc<metrics::Past>);

/// What connects the plane with the shards. [`Handle::stop`] gives it back for the next control.
pub struct Wiring {
    /// What shards tell control.
    pub inbox: Receiver<ToControl>,
    /// What control tells each shard, in shard order.
    pub shards: Vec<Sender<ToShard>>,
    /// Written by control, read by shards.
    pub directory: Arc<Directory>,
    /// Written by shards, read by control.
    pub board: Arc<Board>,
    /// Written by control, read by shards.
    pub dial: Arc<Dial>,
    /// Whoever reads the environment; without it no variable can be changed.
    pub variables: Option<Arc<dyn variables::Variables>>,
    /// Who is signed in.
    pub panel: PanelSessions,
    /// What was measured so far.
    pub past: Past,
}

/// Why the plane cannot be started, or could not be stopped in order.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An engine is misnamed.
    #[error(transparent)]
    Engines(#[from] engines::Error),
    /// The data directory is somebody else's.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An option has a value that cannot work.
    #[error("option {name} is {value}, allowed is {allowed}")]
    Option {
        /// Which option.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// The kernel gives no random bytes for a key.
    #[error("cannot generate an API key: {0}")]
    Key(#[from] getrandom::Error),
    /// The threads cannot be started.
    #[error("cannot start the control threads: {0}")]
    Threads(#[source] std::io::Error),
    /// The plane did not stop by the deadline; its wiring is lost.
    #[error("control did not stop in time")]
    Late,
    /// The plane's main task panicked; its wiring is lost.
    #[error("the control plane failed inside; this is a bug")]
    Internal,
}
