//! The control plane: leases, resolving, REST and metrics, on tokio threads of its own.
//!
//! Built by [`start`], taken down by [`Handle::stop`], which hands the wiring back so that a new control can be started
//! under shards that keep playing. It never touches a player's stream; it owns no media and knows no ring.
//!
//! Rooms: `docker` (the calls to its daemon), `engines` (which exist, how they do, who holds a lease), `resolve` (which broadcast an id names), `api`
//! (HTTP on connections handed over by shards) and `metrics` (Prometheus text). Each is started with its options and
//! talked to through a handle; none knows another's insides. What the rooms may share is read-only or lock-free:
//! the directory, the board and the shards' inboxes.

#![deny(unsafe_code)]

mod api;
pub mod docker;
mod engines;
mod fetch;
mod metrics;
mod plane;
mod priority;
mod resolve;
mod shards;

pub use engines::{Error as EngineError, ports, recipe};
pub use plane::{Handle, start};

use sluice_contract::link::{Receiver, Sender};
use sluice_contract::snapshot::Board;
use sluice_contract::{Directory, ToControl, ToShard};
use std::sync::Arc;
use std::time::Duration;

/// An engine that exists already, as the operator named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticEngine {
    /// `host:port`.
    pub authority: String,
}

/// Everything the control plane can be told. [`Options::default`] has the documented defaults and no engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Engines that exist already.
    pub static_engines: Vec<StaticEngine>,
    /// Used when no other engine can be had in time.
    pub fallback_engine: Option<StaticEngine>,
    /// Leases per engine. `None`: nobody set a cap, and no request is refused for it.
    pub streams_per_engine: Option<u32>,
    /// Starts in flight per engine; more make an engine slower, not faster.
    pub engine_starts_max: usize,
    /// The longest search for the broadcast behind an id.
    pub resolve_timeout: Duration,
    /// A request for an engine is refused after this while no engine shows any sign of life.
    pub no_response_timeout: Duration,
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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            static_engines: Vec::new(),
            fallback_engine: None,
            streams_per_engine: None,
            engine_starts_max: 2,
            resolve_timeout: Duration::from_secs(10),
            no_response_timeout: Duration::from_secs(20),
            cors_origin: "*".to_owned(),
            connections_max: 1024,
            head_bytes_max: 16 * 1024,
            headers_max: 100,
            body_bytes_max: 2 * 1024 * 1024,
            head_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(30),
            worker_threads: 2,
        }
    }
}

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
}

/// Why the plane cannot be started, or could not be stopped in order.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An engine is misnamed.
    #[error(transparent)]
    Engines(#[from] engines::Error),
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
