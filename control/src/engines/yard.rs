//! Carries out what the fleet decides: surveys, lists, provisions and removals as jobs, and Docker's events as hints.
//!
//! Lives in the engines service's task, which owns the fleet. Every job ends, because every call to Docker has its
//! deadline and a pull is bounded by a deadline of its own.

use super::caches::{Caches, Job};
use super::fleet::{Action, Fleet, FleetEngine, FleetLimits, FleetStanding, Ground, Load, Ranges};
use super::live::Live;
use super::pulling::{Pulling, Shown};
use super::recipe::Variant;
use super::survey::{self, Setup};
use super::usage::{Follower, UsageBoard};
use crate::docker::{Change, Container, ContainerId, ContainerSpec, Docker, Error};
use futures_util::StreamExt;
use sluice_contract::EngineId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;

/// A container's process gets this long to end before Docker kills it.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(10);
/// Events that may wait. When more come they are dropped: the list that follows shows everything.
const EVENTS_BOUND: usize = 256;
/// A command in a container; an engine is given to nobody while its cache is emptied.
const EXEC_TIMEOUT: Duration = Duration::from_secs(10);
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
    /// A cache on disk that is larger is emptied when its engine is idle.
    pub cache_bytes_max: Option<u64>,
}

/// What a job, or Docker, has to say.
#[derive(Debug)]
pub(super) enum News {
    Surveyed {
        setup: Arc<Setup>,
        ground: Result<Box<Ground>, Error>,
    },
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
    /// A pull began, went on or ended.
    Pulling,
    /// A cache was measured.
    Measured(ContainerId, Result<u64, Error>),
    /// A cache was emptied: its size before and after.
    Purged(ContainerId, Result<(u64, u64), Error>),
    /// Something happened to a container.
    Changed(ContainerId, Change),
}

/// The fleet and the jobs under way for it.
pub(super) struct Yard {
    pub(super) fleet: Fleet,
    docker: Arc<dyn Docker>,
    setup: Arc<Setup>,
    /// Limits and variant before anything was changed while it ran.
    limits: FleetLimits,
    variant: Option<Variant>,
    pull_timeout: Duration,
    /// One pull at a time: others wait and find the image there.
    pulling: Arc<Mutex<()>>,
    pull: watch::Sender<Option<Pulling>>,
    pull_news: watch::Receiver<Option<Pulling>>,
    jobs: JoinSet<News>,
    events: mpsc::Receiver<(ContainerId, Change)>,
    listening: JoinSet<()>,
    is_surveying: bool,
    survey_at: Instant,
    follower: Follower,
    caches: Caches,
}

impl Yard {
    pub(super) fn new(now: Instant, options: YardOptions, docker: Arc<dyn Docker>) -> Self {
        let (sender, events) = mpsc::channel(EVENTS_BOUND);
        let mut listening = JoinSet::new();
        listening.spawn(listen(docker.clone(), sender));
        let follower = Follower::new(docker.clone());
        let (pull, pull_news) = watch::channel(None);
        Self {
            follower,
            caches: Caches::new(options.cache_bytes_max),
            fleet: Fleet::new(now, options.limits.clone(), options.ranges),
            docker,
            limits: options.limits,
            variant: options.setup.variant,
            setup: Arc::new(options.setup),
            pull_timeout: options.pull_timeout,
            pulling: Arc::default(),
            pull,
            pull_news,
            jobs: JoinSet::new(),
            events,
            listening,
            is_surveying: false,
            survey_at: now,
        }
    }

    /// Takes what holds now of what may change while it runs.
    pub(super) fn heed(&mut self, now: Instant, live: &Live) {
        let max = live.replicas_max.unwrap_or(self.limits.max);
        self.fleet.set_limits(FleetLimits {
            // The bounds may come from different sources, each of them right by itself.
            min: live.replicas_min.unwrap_or(self.limits.min).min(max),
            max,
            is_auto_delete: live.is_auto_delete.unwrap_or(self.limits.is_auto_delete),
            streams_per_engine: live.streams_per_engine.unwrap_or(self.limits.streams_per_engine),
            ..self.limits.clone()
        });
        let variant = live.variant.or(self.variant);
        if self.setup.variant != variant || self.setup.custom != live.custom {
            self.setup = Arc::new(Setup { variant, custom: live.custom.clone(), ..(*self.setup).clone() });
            self.fleet.ground_changed();
            self.survey_at = now;
        }
    }

    /// Begins what the fleet asks for, and the survey while it is missing.
    pub(super) fn perform(&mut self, now: Instant, actions: Vec<Action>) {
        if self.fleet.wants_survey() && !self.is_surveying && self.survey_at <= now {
            self.is_surveying = true;
            let (docker, setup) = (self.docker.clone(), self.setup.clone());
            self.jobs.spawn(async move {
                let ground = survey::survey(&*docker, &setup).await.map(Box::new);
                News::Surveyed { setup, ground }
            });
        }
        for action in actions {
            let docker = self.docker.clone();
            match action {
                Action::List => {
                    self.jobs.spawn(async move { News::Listed { begun: now, list: docker.list().await } });
                }
                Action::Provision(spec) => {
                    let (pulling, timeout) = (self.pulling.clone(), self.pull_timeout);
                    let shown = self.pull.clone();
                    self.jobs.spawn(async move {
                        let outcome = provision(&*docker, &spec, &pulling, &shown, timeout).await;
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

    /// Keeps one stream of figures open for each engine that has answered: while many start, the daemon has better to do.
    pub(super) fn follow(&mut self, engines: &[FleetEngine]) {
        let answering = engines.iter().filter(|engine| !engine.is_starting);
        let ids: Vec<ContainerId> = answering.map(|engine| ContainerId(engine.id.0.clone())).collect();
        self.follower.follow(ids.iter());
    }

    /// Measures and empties caches that are due. `hold` takes an engine out of the choice if nobody has it.
    pub(super) fn tend_caches(
        &mut self,
        now: Instant,
        loads: &HashMap<EngineId, Load>,
        mut hold: impl FnMut(&EngineId) -> bool,
    ) {
        let streams = |id: &ContainerId| loads.get(&EngineId(id.0.clone())).map_or(0, Load::streams);
        let engines = self.fleet.caches().map(|(id, cache)| (id.clone(), cache, streams(id)));
        self.caches.follow(now, engines);
        for job in self.caches.due(now) {
            let docker = self.docker.clone();
            match job {
                Job::Measure { id, folder } => {
                    self.jobs.spawn(async move {
                        let bytes = measure(&*docker, &id, &folder).await;
                        News::Measured(id, bytes)
                    });
                }
                Job::Purge { id, .. } if !hold(&EngineId(id.0.clone())) => {
                    self.caches.purged(now, SystemTime::now(), &id, None);
                }
                Job::Purge { id, folder } => {
                    self.jobs.spawn(async move {
                        let sizes = purge(&*docker, &id, &folder).await;
                        News::Purged(id, sizes)
                    });
                }
            }
        }
    }

    /// Has the caches of idle engines emptied; answers how many, and how many are in use.
    pub(super) fn empty_caches(&mut self, now: Instant) -> (usize, usize) {
        self.caches.empty_idle(now)
    }

    /// How the fleet stands, and what is being pulled for it.
    pub(super) fn standing(&self, now: Instant) -> FleetStanding {
        let mut standing = self.fleet.standing(now);
        standing.pulling.clone_from(&self.pull.borrow());
        for member in &mut standing.members {
            member.cache = member.id.as_ref().and_then(|id| self.caches.standing(id));
        }
        standing
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
                // The sender lives as long as the yard.
                Ok(()) = self.pull_news.changed() => return News::Pulling,
                else => std::future::pending::<()>().await,
            }
        }
    }

    /// What else there is to hear of already.
    pub(super) fn more_news(&mut self) -> Option<News> {
        if let Some(ended) = self.jobs.try_join_next() {
            return ended
                .inspect_err(|error| tracing::error!(%error, "a Docker job failed inside; this is a bug"))
                .ok();
        }
        self.events.try_recv().ok().map(|(id, change)| News::Changed(id, change))
    }

    /// Takes what happened; answers the engine that should be looked at now, if one.
    pub(super) fn take(&mut self, now: Instant, news: News) -> Option<EngineId> {
        match news {
            News::Surveyed { setup, ground } => {
                self.is_surveying = false;
                // What was asked for in between is looked at at once.
                let is_current = Arc::ptr_eq(&setup, &self.setup);
                self.survey_at = if is_current { now + RETRY } else { now };
                match ground {
                    Ok(ground) if is_current => self.fleet.surveyed(*ground),
                    Ok(_) => {}
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
                // What it makes itself it hears of from its own jobs: a list for each of many starts is work the daemon has
                // no time for then.
                let is_start = matches!(change, Change::Created | Change::Started);
                if !is_start || !self.fleet.is_bringing_up() {
                    self.fleet.noticed(now);
                }
                match change {
                    Change::OomKilled => self.fleet.out_of_memory(now, &id),
                    Change::Died(exit_code) => self.fleet.ended(now, &id, exit_code),
                    _ => {}
                }
                let is_end = matches!(change, Change::Died(_) | Change::OomKilled | Change::Removed);
                is_end.then_some(EngineId(id.0))
            }
            News::Pulling => None,
            News::Measured(id, outcome) => {
                if let Err(error) = &outcome {
                    tracing::debug!(id = id.short(), %error, "a cache could not be measured");
                }
                self.caches.measured(now, SystemTime::now(), &id, outcome.ok());
                None
            }
            News::Purged(id, outcome) => {
                match &outcome {
                    Ok((before, after)) => {
                        tracing::info!(id = id.short(), before, after, "the cache of an engine was emptied");
                    }
                    Err(error) => tracing::warn!(id = id.short(), %error, "a cache could not be emptied"),
                }
                self.caches.purged(now, SystemTime::now(), &id, outcome.ok());
                None
            }
        }
    }

    /// When something is to be done, if nothing happens before.
    pub(super) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let survey = (self.fleet.wants_survey() && !self.is_surveying).then_some(self.survey_at);
        self.fleet.next_wake(now).into_iter().chain(survey).chain(self.caches.next_wake()).min()
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
    shown: &watch::Sender<Option<Pulling>>,
    pull_timeout: Duration,
) -> Result<ContainerId, Error> {
    let id = match docker.create(spec).await {
        Err(Error::NoImage { image }) => {
            pull(docker, &image, pulling, shown, pull_timeout).await?;
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

async fn pull(
    docker: &dyn Docker,
    image: &str,
    pulling: &Mutex<()>,
    shown: &watch::Sender<Option<Pulling>>,
    timeout: Duration,
) -> Result<(), Error> {
    let late =
        |_| Error::Pull { image: image.to_owned(), reason: format!("it was not there after {timeout:?}") };
    let whole = async {
        let _alone = pulling.lock().await;
        if docker.has_image(image).await? {
            return Ok(());
        }
        tracing::info!(image, "pulling the image of engines");
        let mut pull = Shown::new(image, shown);
        let mut lines = docker.pull(image).await?;
        while let Some(line) = lines.next().await {
            pull.take(&line?);
        }
        if docker.has_image(image).await? { Ok(()) } else { Err(Error::NoImage { image: image.to_owned() }) }
    };
    tokio::time::timeout(timeout, whole).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
}

/// Bytes in a folder of a container; none when it is not there.
async fn measure(docker: &dyn Docker, id: &ContainerId, folder: &str) -> Result<u64, Error> {
    const CALL: &str = "exec du";
    let done = docker.exec(id, &["du", "-sb", folder], EXEC_TIMEOUT).await?;
    let bytes = done.output.split_whitespace().next().and_then(|word| word.parse().ok());
    match (done.exit_code, bytes) {
        (0, Some(bytes)) => Ok(bytes),
        _ if done.output.contains("No such file or directory") && done.output.contains(folder) => Ok(0),
        (code, _) => {
            Err(Error::Answer { call: CALL, reason: format!("exit code {code}: {}", done.output.trim()) })
        }
    }
}

/// Empties a folder of a container; answers its size before and after.
async fn purge(docker: &dyn Docker, id: &ContainerId, folder: &str) -> Result<(u64, u64), Error> {
    const CALL: &str = "exec rm";
    let before = measure(docker, id, folder).await?;
    let done = docker.exec(id, &["rm", "-rf", folder], EXEC_TIMEOUT).await?;
    if done.exit_code != 0 {
        let reason = format!("exit code {}: {}", done.exit_code, done.output.trim());
        return Err(Error::Answer { call: CALL, reason });
    }
    Ok((before, measure(docker, id, folder).await?))
}

/// Stops and removes a container.
pub(super) async fn remove(docker: &dyn Docker, id: &ContainerId) -> Result<(), Error> {
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
