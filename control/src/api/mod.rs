//! HTTP for everybody who is not a player: REST, metrics and the panel, on connections handed over by shards.
//!
//! [`connection`] drives one connection with hyper and hands it back to a shard when its next request is for the data
//! plane; [`routes`] says what is served, one file per group of routes. A handler receives its request checked as a whole
//! ([`input`]), from somebody who may send it ([`access`]). Everything about a play session is read from the board, so no
//! request here ever waits for an engine or a shard.

mod access;
mod bodies;
mod caches;
mod connection;
mod containers;
mod cors;
mod docs;
mod engines;
mod error;
mod events;
#[cfg(feature = "faults")]
pub(crate) mod faults;
mod handback;
mod health;
#[allow(dead_code, reason = "its vocabulary is whole; routes of further rooms use the rest of it")]
mod input;
mod looks;
mod looping;
mod openapi;
mod panel;
mod proxy;
mod rewind;
mod routes;
mod service;
mod sessions;
mod settings;
mod shapes;
mod sign_in;
mod streams;
pub(crate) mod time;
mod timeline;
mod variables;
mod variant;
mod version;
mod vpn;

pub(crate) use access::Access;
pub(crate) use bodies::Bodies;
pub(crate) use looks::Looks;
pub(crate) use sessions::Sessions;
pub(crate) use shapes::health_status;

use crate::metrics::Metrics;
use crate::shards::Shards;
use sluice_contract::snapshot::Board;
use sluice_contract::{Connection, Directory};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// What the room is made of; see [`crate::Options`] for the meaning of each.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// `Access-Control-Allow-Origin`.
    pub(crate) cors_origin: String,
    /// Connections served at once.
    pub(crate) connections_max: usize,
    /// Largest request head.
    pub(crate) head_bytes_max: usize,
    /// Most header fields.
    pub(crate) headers_max: usize,
    /// Largest request body.
    pub(crate) body_bytes_max: usize,
    /// Time for the next request head.
    pub(crate) head_timeout: Duration,
    /// Time in which something must move.
    pub(crate) idle_timeout: Duration,
}

/// Where answers come from.
#[derive(Clone)]
pub(crate) struct Sources {
    /// Sessions.
    pub(crate) board: Arc<Board>,
    /// Names of streams.
    pub(crate) directory: Arc<Directory>,
    /// Where connections are handed back.
    pub(crate) shards: Arc<Shards>,
    /// Engines and who holds a lease.
    pub(crate) engines: crate::engines::Handle,
    /// What can be changed while it runs.
    pub(crate) settings: crate::settings::Handle,
    /// Counts and the exposition.
    pub(crate) metrics: Arc<Metrics>,
    /// Judge of keys.
    pub(crate) access: Arc<Access>,
    /// Largest request body.
    pub(crate) body_bytes_max: usize,
    /// Every stream there is.
    pub(crate) streams: crate::streams::Handle,
    /// What happened.
    pub(crate) events: crate::events::Handle,
    /// What is written down in debug mode.
    pub(crate) diagnosis: crate::diagnosis::Handle,
    /// Time in which something must move.
    pub(crate) idle_timeout: Duration,
    /// Figures for those who follow.
    pub(crate) looks: Arc<Looks>,
    /// Long answers.
    pub(crate) bodies: Arc<Bodies>,
    /// Where what takes long is done, so that no request waits behind it.
    pub(crate) work: tokio::runtime::Handle,
}

/// Takes connections; each has a task, on threads of their own: what is done beside never keeps a request waiting.
pub(crate) struct Handle {
    server: Arc<connection::Server>,
    threads: tokio::runtime::Handle,
    places: Arc<Semaphore>,
    places_max: u32,
    stop: watch::Sender<bool>,
}

/// Makes the room; connections are served on `threads`.
pub(crate) fn start(options: Options, sources: Sources, threads: tokio::runtime::Handle) -> Handle {
    let (stop, stopped) = watch::channel(false);
    let places_max = u32::try_from(options.connections_max).unwrap_or(u32::MAX);
    let router = routes::router(&options, &sources);
    let server = connection::Server::new(&options, router, sources, stopped);
    Handle {
        server: Arc::new(server),
        threads,
        places: Arc::new(Semaphore::new(places_max as usize)),
        places_max,
        stop,
    }
}

impl Handle {
    /// Serves a connection beside the caller, or refuses it when there are too many.
    pub(crate) fn serve(&self, connection: Connection) {
        match self.places.clone().try_acquire_owned() {
            Ok(place) => {
                let server = self.server.clone();
                self.threads.spawn(async move {
                    server.serve(connection).await;
                    drop(place);
                });
            }
            Err(_) => self.server.refuse(connection),
        }
    }

    /// Lets responses under way finish until the deadline, then leaves the rest to be cut.
    pub(crate) async fn stop(&self, deadline: Instant) {
        /// What the other rooms need to stop after this one.
        const OTHERS: Duration = Duration::from_millis(100);
        // Nobody listening means no connection is open.
        let _ = self.stop.send(true);
        let patience = deadline.saturating_duration_since(Instant::now()).saturating_sub(OTHERS);
        // Every place is free once every connection has ended.
        if tokio::time::timeout(patience, self.places.acquire_many(self.places_max)).await.is_err() {
            tracing::warn!("some HTTP connections are cut because control stops");
        }
    }
}
