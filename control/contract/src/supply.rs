//! Where engines come from: what control last knew, shown by shards to whoever asks whether all is well.

use crate::reason::Refusal;
use serde::Serialize;
use std::borrow::Cow;
use std::sync::Arc;

/// How engines are had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineSource {
    /// Control has not said yet.
    #[default]
    Unknown,
    /// The operator named them.
    Named,
    /// Nobody named one and there is no Docker: one is taken to be where an engine usually is.
    Assumed,
    /// They are kept in Docker.
    Docker,
    /// There are none, because what they were asked for with is not supported.
    Refused,
}

/// How Docker is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DockerState {
    /// It has no part in this.
    #[default]
    Unused,
    /// It was not heard from yet.
    Unknown,
    /// It answers.
    Up,
    /// It cannot be used: why, and what to do.
    Away(Arc<str>),
}

impl DockerState {
    /// Stable machine-readable name.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Away(_) => "away",
        }
    }
}

/// Where engines come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supply {
    /// How they are had.
    pub source: EngineSource,
    /// `host:port` of the engine that is assumed, while one is.
    pub assumed: Option<Arc<str>>,
    /// How Docker is doing.
    pub docker: DockerState,
    /// Why no further engine can be had now, if so.
    pub blocked: Option<Refusal>,
    /// Engines somebody should look after: the first few.
    pub unwell: Vec<Unwell>,
    /// All of those.
    pub unwell_total: usize,
    /// What keeps the appliance from serving as it was meant to; empty when nothing does.
    pub shortfalls: Vec<Shortfall>,
}

/// Something that keeps engines from being had: a reason to call the appliance degraded, and none to restart it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// What, machine-readable: the code a player is refused with.
    pub code: &'static str,
    /// What was seen, and what to do.
    pub detail: Cow<'static, str>,
}

/// An engine that is not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwell {
    /// Its container's name, or `host:port`.
    pub engine: Arc<str>,
    /// What is the matter, machine-readable: `hung`, `dead`, `out_of_memory`, …
    pub condition: &'static str,
    /// What was seen.
    pub reason: Arc<str>,
}
