//! What each engine's container uses: one stream of figures per engine, kept open as long as the engine is there, so that
//! no request for figures costs a call to Docker.
//!
//! Owned by the engines service's task, which says which containers there are; read by whoever asks, without waiting.

use crate::docker::{ContainerId, Docker, Usage};
use futures_util::StreamExt;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// Docker sends figures once a second; a stream that is silent for longer is opened anew.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Between two tries to open a stream.
const RETRY: Duration = Duration::from_secs(2);
/// Figures older than this say nothing about now.
const FRESH: Duration = Duration::from_secs(15);

/// The newest figures of every container that is followed. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct UsageBoard(Arc<Mutex<HashMap<ContainerId, (Instant, Usage)>>>);

impl UsageBoard {
    fn shown(&self) -> MutexGuard<'_, HashMap<ContainerId, (Instant, Usage)>> {
        // A panic cannot leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fresh figures of every container.
    pub(crate) fn all(&self) -> BTreeMap<ContainerId, Usage> {
        let fresh = |(id, (at, usage)): (&ContainerId, &(Instant, Usage))| {
            (at.elapsed() < FRESH).then(|| (id.clone(), usage.clone()))
        };
        self.shown().iter().filter_map(fresh).collect()
    }
}

/// Follows containers.
pub(super) struct Follower {
    docker: Arc<dyn Docker>,
    board: UsageBoard,
    tasks: HashMap<ContainerId, AbortHandle>,
}

impl Follower {
    pub(super) fn new(docker: Arc<dyn Docker>) -> Self {
        Self { docker, board: UsageBoard::default(), tasks: HashMap::new() }
    }

    /// Where the figures are shown.
    pub(super) fn board(&self) -> UsageBoard {
        self.board.clone()
    }

    /// Follows exactly these from now on.
    pub(super) fn follow<'a>(&mut self, containers: impl Iterator<Item = &'a ContainerId>) {
        let wanted: HashSet<&ContainerId> = containers.collect();
        if wanted.len() == self.tasks.len() && wanted.iter().all(|id| self.tasks.contains_key(*id)) {
            return;
        }
        self.tasks.retain(|id, task| {
            let stays = wanted.contains(id);
            if !stays {
                task.abort();
            }
            stays
        });
        self.board.shown().retain(|id, _| wanted.contains(id));
        for id in wanted {
            if !self.tasks.contains_key(id) {
                let task = tokio::spawn(follow(self.docker.clone(), self.board.clone(), id.clone()));
                self.tasks.insert(id.clone(), task.abort_handle());
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.tasks.values().for_each(AbortHandle::abort);
    }
}

async fn follow(docker: Arc<dyn Docker>, board: UsageBoard, id: ContainerId) {
    loop {
        match docker.usage(&id).await {
            Ok(mut figures) => {
                while let Ok(Some(Ok(usage))) = tokio::time::timeout(SILENCE_MAX, figures.next()).await {
                    board.shown().insert(id.clone(), (Instant::now(), usage));
                }
            }
            Err(error) => tracing::debug!(id = id.short(), %error, "no figures of a container"),
        }
        tokio::time::sleep(RETRY).await;
    }
}
