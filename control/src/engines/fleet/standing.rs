//! How the fleet stands, for the API, metrics and refusals.

use super::{End, Fleet, FleetLimits, Ground, Phase, Progress, Trouble};
use crate::docker::ContainerId;
use crate::engines::breaker::{BreakerStanding, BreakerState};
use crate::engines::caches::{Cache, CacheStanding};
use crate::engines::pulling::Pulling;
use crate::engines::recipe::Variant;
use sluice_contract::DockerState;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A daemon that restarts is away for a few seconds; whoever asks meanwhile waits.
const ABSENCE_PATIENCE: Duration = Duration::from_secs(15);

/// What happened since this control started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Engines that became ready.
    pub(crate) started: u64,
    /// Starts that failed.
    pub(crate) failed: u64,
    /// Engines found and taken in.
    pub(crate) adopted: u64,
    /// Engines whose process ended or whose container vanished.
    pub(crate) lost: u64,
    /// Times the kernel killed an engine for its memory.
    pub(crate) out_of_memory: u64,
    /// Engines removed because nobody needed them.
    pub(crate) idle: u64,
    /// Engines replaced because they were down.
    pub(crate) replaced: u64,
}

impl Counts {
    /// Every count with its name.
    pub(crate) fn all(&self) -> [(&'static str, u64); 7] {
        [
            ("started", self.started),
            ("failed", self.failed),
            ("adopted", self.adopted),
            ("lost", self.lost),
            ("out_of_memory", self.out_of_memory),
            ("idle_removed", self.idle),
            ("replaced", self.replaced),
        ]
    }
}

/// Why no further engine is made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// Docker cannot be used.
    NoDocker {
        /// What is wrong, and what to do.
        text: String,
        /// Since when.
        since: Instant,
    },
    /// Too many starts failed.
    CircuitBreaker {
        /// The next trial.
        until: Instant,
        /// What failed last.
        text: String,
    },
    /// There are as many as there may be.
    MaxCapacity,
}

impl Blocked {
    /// What is wrong, and what to do.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::NoDocker { text, .. } => text.clone(),
            Self::CircuitBreaker { text, .. } => {
                format!("too many engines failed to start, the last one because: {text}")
            }
            Self::MaxCapacity => "no more engines are allowed (MAX_REPLICAS)".to_owned(),
        }
    }

    /// Whether waiting for `patience` may help.
    pub(crate) fn may_pass(&self, now: Instant, patience: Duration) -> bool {
        match self {
            Self::NoDocker { since, .. } => now < *since + ABSENCE_PATIENCE,
            Self::CircuitBreaker { until, .. } => *until <= now + patience,
            Self::MaxCapacity => true,
        }
    }
}

/// One engine, for the API.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MemberStanding {
    /// Its container's name.
    pub(crate) name: Arc<str>,
    /// Its container's id, once made.
    pub(crate) id: Option<ContainerId>,
    /// Where it is in its life.
    pub(crate) phase: Phase,
    /// Its HTTP port as callers know it.
    pub(crate) port: u16,
    /// What it was made from.
    pub(crate) variant: Arc<str>,
    /// The labels of its container.
    pub(crate) labels: Arc<BTreeMap<String, String>>,
    /// It is to be made anew.
    pub(crate) is_outdated: bool,
    /// How its process ended last.
    pub(crate) end: Option<End>,
    /// Docker is about to start its process again.
    pub(crate) is_restarting: bool,
    /// How its cache stands, once it is known.
    pub(crate) cache: Option<CacheStanding>,
}

/// How the fleet stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FleetStanding {
    /// Every engine, by name.
    pub(crate) members: Vec<MemberStanding>,
    /// Why no further engine is made now, if so.
    pub(crate) blocked: Option<Blocked>,
    /// How the breaker of starts stands.
    pub(crate) breaker: BreakerStanding,
    /// How that of replacements stands.
    pub(crate) replacement_breaker: BreakerStanding,
    /// The limits in force.
    pub(crate) limits: FleetLimits,
    /// What holds for engines, once Docker was looked at.
    pub(crate) ground: Option<Arc<Ground>>,
    /// The image that is being pulled, while one is.
    pub(crate) pulling: Option<Pulling>,
    /// How far making all engines anew is, once that was asked for.
    pub(crate) progress: Option<Progress>,
    /// Whether Docker answers.
    pub(crate) has_docker: bool,
    /// The newest failure.
    pub(crate) trouble: Option<Trouble>,
    /// Counts since this control started.
    pub(crate) counts: Counts,
}

impl FleetStanding {
    /// Engines on their way out.
    pub(crate) fn leaving(&self) -> usize {
        let is_leaving = |phase| matches!(phase, Phase::Draining(_) | Phase::Removing(_));
        self.members.iter().filter(|member| member.is_outdated || is_leaving(member.phase)).count()
    }

    /// Members that have a container, by its id: for whoever looks up many of them.
    pub(crate) fn by_id(&self) -> HashMap<&str, &MemberStanding> {
        self.members.iter().filter_map(|member| Some((&*member.id.as_ref()?.0, member))).collect()
    }
}

impl Fleet {
    /// Why no further engine is made now.
    pub(crate) fn blocked(&self, now: Instant) -> Option<Blocked> {
        if let Some((error, since)) = &self.absence {
            let text = format!("{error}; {}", error.remedy());
            return Some(Blocked::NoDocker { text, since: *since });
        }
        if let (BreakerState::Open, Some(until)) = (self.breaker.state(now), self.breaker.opens_at()) {
            let trouble = self.trouble.as_ref();
            let text = trouble.map_or_else(String::new, |t| format!("{}; {}", t.text, t.remedy));
            return Some(Blocked::CircuitBreaker { until, text });
        }
        (self.members.len() >= self.limits.max).then_some(Blocked::MaxCapacity)
    }

    /// Whether an engine is on its way that could serve somebody who waits.
    pub(crate) fn is_hopeful(&self, now: Instant, patience: Duration) -> bool {
        // One that is started already needs no Docker to answer.
        let is_coming = |phase| match phase {
            Phase::Starting => true,
            Phase::Provisioning | Phase::Uncertain => self.absence.is_none(),
            Phase::Ready | Phase::Draining(_) | Phase::Removing(_) => false,
        };
        self.members.values().any(|member| is_coming(member.phase))
            || self.blocked(now).is_none_or(|blocked| blocked.may_pass(now, patience))
    }

    /// Whether Docker was looked for and has not been there since this control started.
    pub(crate) fn is_without_docker(&self) -> bool {
        self.ground.is_none() && self.absence.is_some()
    }

    /// How Docker is doing.
    pub(crate) fn docker_state(&self) -> DockerState {
        match &self.absence {
            Some((error, _)) => DockerState::Away(format!("{error}; {}", error.remedy()).into()),
            None if self.is_listed => DockerState::Up,
            None => DockerState::Unknown,
        }
    }

    /// Where the engines that answer have their caches, as far as their variant is known.
    pub(crate) fn caches(&self) -> impl Iterator<Item = (&ContainerId, Cache)> {
        let ours = self.ground.as_ref().map(|ground| &ground.recipe);
        let ready = self.members.values().filter(|member| member.phase == Phase::Ready);
        ready.filter_map(move |member| {
            let known =
                ours.filter(|recipe| recipe.name == member.variant).map(|recipe| recipe.cache.clone());
            let cache = known.or_else(|| Variant::named(&member.variant).map(Variant::cache))?;
            Some((member.id.as_ref()?, cache))
        })
    }

    /// How long until an idle engine could make room, for a hint to come back.
    pub(crate) fn grace(&self) -> Duration {
        self.limits.grace
    }

    /// How the fleet stands.
    pub(crate) fn standing(&self, now: Instant) -> FleetStanding {
        let members = self.members.iter().map(|(name, member)| MemberStanding {
            name: name.as_str().into(),
            id: member.id.clone(),
            phase: member.phase,
            port: member.ports.http,
            variant: member.variant.as_str().into(),
            labels: member.labels.clone(),
            is_outdated: member.is_outdated,
            end: member.end,
            is_restarting: member.is_restarting,
            cache: None,
        });
        FleetStanding {
            members: members.collect(),
            blocked: self.blocked(now),
            breaker: self.breaker.standing(now),
            replacement_breaker: self.replacement_breaker.standing(now),
            limits: self.limits.clone(),
            ground: self.ground.clone(),
            pulling: None,
            progress: self.progress(),
            has_docker: self.absence.is_none() && self.is_listed,
            trouble: self.trouble.clone(),
            counts: self.counts.clone(),
        }
    }
}
