//! Carries out what the fleet decides: surveys, lists, provisions and removals as jobs, and Docker's events as hints.
//!
//! Lives in the engines service's task, which owns the fleet. Every job ends, because every call to Docker has its
//! deadline and a pull is bounded by a deadline of its own.

use super::fleet::{Action, Fleet, FleetLimits, Ground, Ranges};
use super::survey::{self, Setup};
use super::usage::{Follower, UsageBoard};
use crate::docker::{Change, Container, ContainerId, ContainerSpec, Docker, Error};
use futures_util::StreamExt;
use sluice_contract::EngineId;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

/// A container's process gets this long to end before Docker kills it.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(10);
/// Events that may wait. When more come they are dropped: the list that follows shows everything.
const EVENTS_BOUND: usize = 256;
/// Between two tries to survey, or to listen to events.
const RETRY: Duration = Duration::from_secs(1);

/// Everything the yard is told.
#[derive(Clone, Debug, PartialEq)]
pub struct YardOptions {
    /// What engines are made from and where they are put.
    pub setup: Setup,
    /// How many there are.
    pub limits: FleetLimits,
    /// Which ports they get.
    pub ranges: Ranges,
    /// How long a missing image may take to be pulled.
    pub pull_timeout: Duration,
}

/// What a job, or Docker, has to say.
#[derive(Debug)]
pub(super) enum News {
    Surveyed(Result<Ground, Error>),
    Listed {
        begun: Instant,
        list: Result<Vec<Container>, Error>,
    },
    Provisioned {
        name: String,
        outcome: Result<ContainerId, Error>,
    },
    Removed {
        name: String,
        outcome: Result<(), Error>,
    },
    /// Something happened to a container.
    Changed(ContainerId, Change),
}

/// The fleet and the jobs under way for it.
pub(super) struct Yard {
    pub(super) fleet: Fleet,
    docker: Arc<dyn Docker>,
    setup: Arc<Setup>,
    pull_timeout: Duration,
    /// One pull at a time: others wait and find the image there.
    pulling: Arc<Mutex<()>>,
    jobs: JoinSet<News>,
    events: mpsc::Receiver<(ContainerId, Change)>,
    listening: JoinSet<()>,
    is_surveying: bool,
    survey_at: Instant,
    follower: Follower,
}

impl Yard {
    pub(super) fn new(now: Instant, options: YardOptions, docker: Arc<dyn Docker>) -> Self {
        let (sender, events) = mpsc::channel(EVENTS_BOUND);
        let mut listening = JoinSet::new();
        listening.spawn(listen(docker.clone(), sender));
        let follower = Follower::new(docker.clone());
        Self {
            follower,
            fleet: Fleet::new(now, options.limits, options.ranges),
            docker,
            setup: Arc::new(options.setup),
            pull_timeout: options.pull_timeout,
            pulling: Arc::default(),
            jobs: JoinSet::new(),
            events,
            listening,
            is_surveying: false,
            survey_at: now,
        }
    }

    /// Begins what the fleet asks for, and the survey while it is missing.
    pub(super) fn perform(&mut self, now: Instant, actions: Vec<Action>) {
        if self.fleet.wants_survey() && !self.is_surveying && self.survey_at <= now {
            self.is_surveying = true;
            let (docker, setup) = (self.docker.clone(), self.setup.clone());
            self.jobs.spawn(async move { News::Surveyed(survey::survey(&*docker, &setup).await) });
        }
        for action in actions {
            let docker = self.docker.clone();
            match action {
                Action::List => {
                    self.jobs.spawn(async move { News::Listed { begun: now, list: docker.list().await } });
                }
                Action::Provision(spec) => {
                    let (pulling, timeout) = (self.pulling.clone(), self.pull_timeout);
                    self.jobs.spawn(async move {
                        let outcome = provision(&*docker, &spec, &pulling, timeout).await;
                        News::Provisioned { name: spec.name.clone(), outcome }
                    });
                }
                Action::Remove { name, id } => {
                    self.jobs
                        .spawn(async move { News::Removed { name, outcome: remove(&*docker, &id).await } });
                }
            }
        }
    }

    /// Keeps one stream of figures open for each engine there is.
    pub(super) fn follow(&mut self) {
        let engines = self.fleet.engines();
        let ids: Vec<ContainerId> = engines.into_iter().map(|engine| ContainerId(engine.id.0)).collect();
        self.follower.follow(ids.iter());
    }

    /// Where those figures are shown.
    pub(super) fn usage(&self) -> UsageBoard {
        self.follower.board()
    }

    /// The next thing to hear of. Cancel safe.
    pub(super) async fn news(&mut self) -> News {
        loop {
            tokio::select! {
                Some(ended) = self.jobs.join_next() => match ended {
                    Ok(news) => return news,
                    Err(error) => tracing::error!(%error, "a Docker job failed inside; this is a bug"),
                },
                Some((id, change)) = self.events.recv() => return News::Changed(id, change),
                else => std::future::pending::<()>().await,
            }
        }
    }

    /// Takes what happened; answers the engine that should be looked at now, if one.
    pub(super) fn take(&mut self, now: Instant, news: News) -> Option<EngineId> {
        match news {
            News::Surveyed(outcome) => {
                self.is_surveying = false;
                self.survey_at = now + RETRY;
                match outcome {
                    Ok(ground) => self.fleet.surveyed(ground),
                    Err(error) => self.fleet.absent(now, error),
                }
                None
            }
            News::Listed { begun, list } => {
                self.fleet.listed(now, begun, list);
                None
            }
            News::Provisioned { name, outcome } => {
                self.fleet.provisioned(now, &name, outcome);
                None
            }
            News::Removed { name, outcome } => {
                self.fleet.removed(now, &name, outcome);
                None
            }
            News::Changed(id, change) => {
                self.fleet.noticed(now);
                let is_end = matches!(change, Change::Died | Change::OomKilled | Change::Removed);
                is_end.then_some(EngineId(id.0))
            }
        }
    }

    /// When something is to be done, if nothing happens before.
    pub(super) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let survey = (self.fleet.wants_survey() && !self.is_surveying).then_some(self.survey_at);
        self.fleet.next_wake(now).into_iter().chain(survey).min()
    }

    /// Ends listening and leaves jobs under way to Docker, which finishes what it began; what a later start finds, it
    /// adopts or removes.
    pub(super) async fn stop(&mut self) {
        self.listening.shutdown().await;
        self.jobs.shutdown().await;
    }
}

/// Makes and starts a container, pulling its image if need be. What a failure leaves is removed.
async fn provision(
    docker: &dyn Docker,
    spec: &ContainerSpec,
    pulling: &Mutex<()>,
    pull_timeout: Duration,
) -> Result<ContainerId, Error> {
    let id = match docker.create(spec).await {
        Err(Error::NoImage { image }) => {
            pull(docker, &image, pulling, pull_timeout).await?;
            docker.create(spec).await?
        }
        made => made?,
    };
    match docker.start(&id).await {
        Ok(()) => Ok(id),
        Err(error) => {
            if !error.is_absence()
                && let Err(left) = docker.remove(&id).await
            {
                tracing::warn!(name = spec.name, error = %left, "a container that did not start was left behind");
            }
            Err(error)
        }
    }
}

async fn pull(docker: &dyn Docker, image: &str, pulling: &Mutex<()>, timeout: Duration) -> Result<(), Error> {
    let late =
        |_| Error::Pull { image: image.to_owned(), reason: format!("it was not there after {timeout:?}") };
    let whole = async {
        let _alone = pulling.lock().await;
        if docker.has_image(image).await? {
            return Ok(());
        }
        tracing::info!(image, "pulling the image of engines");
        let mut lines = docker.pull(image).await?;
        while let Some(line) = lines.next().await {
            let line = line?;
            tracing::debug!(
                image,
                layer = line.layer,
                bytes = line.bytes,
                of = line.bytes_total,
                "{}",
                line.status
            );
        }
        if docker.has_image(image).await? { Ok(()) } else { Err(Error::NoImage { image: image.to_owned() }) }
    };
    tokio::time::timeout(timeout, whole).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
}

async fn remove(docker: &dyn Docker, id: &ContainerId) -> Result<(), Error> {
    docker.stop(id, STOP_GRACE).await?;
    docker.remove(id).await
}

/// Passes Docker's events on until the receiver is gone, listening anew whenever the daemon went away.
async fn listen(docker: Arc<dyn Docker>, events: mpsc::Sender<(ContainerId, Change)>) {
    while !events.is_closed() {
        match docker.events().await {
            Ok(mut stream) => {
                while let Some(Ok(event)) = stream.next().await {
                    // A full queue means that a list is due anyway.
                    let _ = events.try_send((event.id, event.change));
                }
            }
            Err(error) => tracing::debug!(%error, "Docker's events cannot be heard"),
        }
        tokio::time::sleep(RETRY).await;
    }
}
