//! What happened to engines in Docker, one value for each thing, for the event log and the debug log. Pure.

use super::Fleet;
use crate::docker::ContainerId;
use std::time::Duration;

/// Kept until they are told, which is after every turn.
const HAPPENINGS_MAX: usize = 1024;

/// Something that happened to one engine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Happening {
    /// Its container's name.
    pub(crate) name: String,
    /// Its container, once there is one.
    pub(crate) id: Option<ContainerId>,
    /// What.
    pub(crate) what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// Its container is being made.
    Begun {
        /// From which image.
        image: String,
        /// Starts in a row that failed before.
        failures: u32,
    },
    /// Its container runs; the engine has not answered yet.
    Made,
    /// It did not come to that, or never answered.
    Failed {
        /// Machine-readable.
        code: &'static str,
        /// For a person.
        text: String,
        /// What to do about it.
        remedy: &'static str,
        /// The next start is tried after so long at the soonest.
        pause: Duration,
    },
    /// It answers.
    Ready {
        /// So long after its container ran.
        took: Duration,
    },
    /// It was found in Docker and taken in.
    Adopted,
    /// It is given nothing more and will be removed.
    Leaving(&'static str),
    /// Its container is gone, for this reason.
    Gone(&'static str),
}

impl What {
    /// Stable machine-readable name.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Begun { .. } => "begun",
            Self::Made => "made",
            Self::Failed { .. } => "failed",
            Self::Ready { .. } => "ready",
            Self::Adopted => "adopted",
            Self::Leaving(_) => "leaving",
            Self::Gone(_) => "gone",
        }
    }
}

impl Fleet {
    /// Keeps something that happened to a member for whoever tells it.
    pub(super) fn happened(&mut self, name: &str, what: What) {
        let id = self.members.get(name).and_then(|member| member.id.clone());
        self.happened_to(name, id, what);
    }

    /// The same of one that may be no member any more.
    pub(super) fn happened_to(&mut self, name: &str, id: Option<ContainerId>, what: What) {
        if self.happenings.len() < HAPPENINGS_MAX {
            self.happenings.push(Happening { name: name.to_owned(), id, what });
        }
    }

    /// What happened since this was asked last.
    pub(crate) fn take_happenings(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.happenings)
    }
}
