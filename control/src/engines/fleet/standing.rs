//! How the fleet stands, for the API, metrics and refusals.

use super::{Fleet, Phase, Trouble};
use crate::docker::ContainerId;
use crate::engines::breaker::BreakerState;
use sluice_contract::DockerState;
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
    /// Engines removed because nobody needed them.
    pub(crate) idle: u64,
    /// Engines replaced because they were down.
    pub(crate) replaced: u64,
}

impl Counts {
    /// Every count with its name.
    pub(crate) fn all(&self) -> [(&'static str, u64); 6] {
        [
            ("started", self.started),
            ("failed", self.failed),
            ("adopted", self.adopted),
            ("lost", self.lost),
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
    /// When it was first known here.
    pub(crate) first_seen: Instant,
}

/// How the fleet stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FleetStanding {
    /// Every engine, by name.
    pub(crate) members: Vec<MemberStanding>,
    /// Why no further engine is made now, if so.
    pub(crate) blocked: Option<Blocked>,
    /// Where the breaker of starts is.
    pub(crate) breaker: BreakerState,
    /// Whether Docker answers.
    pub(crate) has_docker: bool,
    /// The newest failure.
    pub(crate) trouble: Option<Trouble>,
    /// Counts since this control started.
    pub(crate) counts: Counts,
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
            first_seen: member.first_seen,
        });
        FleetStanding {
            members: members.collect(),
            blocked: self.blocked(now),
            breaker: self.breaker.state(now),
            has_docker: self.absence.is_none() && self.is_listed,
            trouble: self.trouble.clone(),
            counts: self.counts.clone(),
        }
    }
}
