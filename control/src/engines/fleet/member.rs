//! One engine Sluice keeps in Docker, from its reservation to the proof that its container is gone.
//!
//! ```text
//! Provisioning --made and started--> Starting --answers--> Ready --> Draining --> Removing --> (forgotten)
//!      |  \--Docker went away--> Uncertain --listed--^        |                      ^
//!      \--failed--> (forgotten)              \--failed--------+----------lost--------/
//! ```
//!
//! A member holds its name and its ports in every one of these phases, so that nobody else is given them before
//! Docker has confirmed that the container does not exist.

use super::hand::{HandTicket, Wish};
use crate::docker::ContainerId;
use crate::engines::Authority;
use crate::engines::recipe::Ports;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Where a member is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its container is being made and started.
    Provisioning,
    /// Docker went away meanwhile; the next list tells what became of it.
    Uncertain,
    /// Its container runs and the engine has not answered yet.
    Starting,
    /// The engine answered; its health decides what it is given.
    Ready,
    /// It takes no more streams; those it has move away.
    Draining(Why),
    /// Its container is being stopped and removed.
    Removing(Why),
}

impl Phase {
    /// The name of every phase, for metrics that show zeros.
    pub(crate) const NAMES: [&'static str; 6] =
        ["provisioning", "uncertain", "starting", "ready", "draining", "removing"];

    /// Its name in logs and the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Uncertain => "uncertain",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining(_) => "draining",
            Self::Removing(_) => "removing",
        }
    }

    /// Why it goes, when it does.
    pub(crate) const fn why(self) -> Option<&'static str> {
        match self {
            Self::Draining(why) | Self::Removing(why) => Some(why.as_str()),
            Self::Provisioning | Self::Uncertain | Self::Starting | Self::Ready => None,
        }
    }
}

/// Why a member goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Nobody needed it for the grace period.
    Idle,
    /// More than `MAX_REPLICAS` were found.
    Surplus,
    /// It was sick for too long.
    Unhealthy,
    /// It never became ready.
    Failed,
    /// Its process ended.
    Lost,
    /// A container that was made and never started.
    Leftover,
    /// Somebody asked for it.
    Asked,
    /// All engines are made anew.
    Outdated,
}

impl Why {
    /// Its name in logs and the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Surplus => "surplus",
            Self::Unhealthy => "unhealthy",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Leftover => "leftover",
            Self::Asked => "asked",
            Self::Outdated => "outdated",
        }
    }
}

/// How the process of an engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// When.
    pub(crate) at: Instant,
    /// With which code, as far as Docker says.
    pub(crate) exit_code: Option<i64>,
    /// Whether the kernel killed it for its memory.
    pub(crate) is_out_of_memory: bool,
}

/// One engine.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: Option<ContainerId>,
    pub(crate) ports: Ports,
    /// Where its HTTP API is reached, once its container is known.
    pub(crate) authority: Option<Authority>,
    /// The recipe it was made by.
    pub(crate) variant: String,
    /// The labels of its container.
    pub(crate) labels: Arc<BTreeMap<String, String>>,
    pub(crate) is_adopted: bool,
    /// It is to be made anew.
    pub(crate) is_outdated: bool,
    /// What it was asked for with, until its container runs.
    pub(crate) wish: Option<Wish>,
    /// Who waits for its removal.
    pub(crate) removal_tickets: Vec<HandTicket>,
    /// How its process ended last, seen since this control started.
    pub(crate) end: Option<End>,
    /// Its process ended and Docker is about to start it again.
    pub(crate) is_restarting: bool,
    pub(crate) phase: Phase,
    /// When the phase began.
    pub(crate) since: Instant,
    /// A list begun before this cannot speak of it.
    pub(crate) known_at: Instant,
    pub(crate) first_seen: Instant,
    /// Since when it carries no stream.
    pub(crate) idle_since: Option<Instant>,
    /// Since when it could be removed for being idle.
    pub(crate) spare_since: Option<Instant>,
    /// Since when its health is down, once it was ready.
    pub(crate) down_since: Option<Instant>,
    /// Since when its process is seen as ended.
    pub(crate) ended_since: Option<Instant>,
    /// A removal that failed is tried again then.
    pub(crate) retry_at: Option<Instant>,
    pub(crate) removal_failures: u32,
}

impl Member {
    /// A reservation for an engine to be made.
    pub(crate) fn reserved(now: Instant, ports: Ports, variant: String) -> Self {
        Self {
            id: None,
            ports,
            authority: None,
            variant,
            labels: Arc::default(),
            is_adopted: false,
            is_outdated: false,
            wish: None,
            removal_tickets: Vec::new(),
            end: None,
            is_restarting: false,
            phase: Phase::Provisioning,
            since: now,
            known_at: now,
            first_seen: now,
            idle_since: None,
            spare_since: None,
            down_since: None,
            ended_since: None,
            retry_at: None,
            removal_failures: 0,
        }
    }

    /// Moves on to a phase.
    pub(crate) fn enter(&mut self, now: Instant, phase: Phase) {
        self.phase = phase;
        self.since = now;
        self.spare_since = None;
    }

    /// Since when its process is seen as ended: from now on, if not before.
    pub(crate) fn ended(&mut self, now: Instant) -> Instant {
        *self.ended_since.get_or_insert(now)
    }

    /// Whether it carries streams now or soon: what capacity is counted in.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Provisioning | Phase::Uncertain | Phase::Starting)
            || (self.phase == Phase::Ready && !self.is_down())
    }

    /// Whether it was ready and is down.
    pub(crate) fn is_sick(&self) -> bool {
        self.phase == Phase::Ready && self.is_down()
    }

    /// Whether it does not answer, or its process is seen as ended.
    fn is_down(&self) -> bool {
        self.down_since.is_some() || self.ended_since.is_some()
    }
}
