//! What the event log says of engines in Docker that come and go by themselves. Pure.

use super::fleet::{Happening, What};
use crate::events::{Draft, EventType};

/// The entry of something that happened, if it is worth one.
pub(super) fn entry(happening: &Happening) -> Option<Draft> {
    let Happening { name, id, what } = happening;
    let draft = |category, text: String| {
        Draft::new(EventType::Engine, category, text)
            .detail("name", name.as_str())
            .container(id.as_ref().map(|id| id.to_string()))
    };
    Some(match what {
        What::Ready { took } => draft("started", format!("engine {name} is ready"))
            .detail("took_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        What::Adopted => draft("adopted", format!("engine {name} was found in Docker and taken in")),
        What::Failed { code, text, remedy, .. } => {
            draft("failed", format!("engine {name} could not be started: {text}"))
                .detail("code", *code)
                .detail("remedy", *remedy)
        }
        What::Gone(why) => draft("removed", format!("engine {name} is gone: {why}")).detail("reason", *why),
        What::Begun { .. } | What::Made | What::Leaving(_) => return None,
    })
}
