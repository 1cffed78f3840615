//! Notices what other rooms show of themselves and records it: engines that come and go, and how storing goes.

use super::{Draft, EventType, Handle, Kind};
use crate::engines;
use crate::engines::health::State;
use crate::store::{self, Standing};
use serde_json::json;
use sluice_contract::EngineId;
use sluice_contract::snapshot::{Board, Control};
use std::collections::HashMap;
use std::sync::Arc;

/// Watches for the life of the plane.
pub(crate) async fn watch(events: Handle, engines: engines::Handle, store: store::Handle, board: Arc<Board>) {
    let (mut engines, mut store) = (engines.watch(), store.watch());
    let mut seen = Seen::default();
    let storage = |seen: &mut Seen, standing: &Standing| {
        seen.storage(&events, standing);
        // Shards tell it to whoever asks them how the appliance is.
        board.publish_control(Control { storage_fault: standing.fault().map(Into::into) });
    };
    storage(&mut seen, &store.borrow_and_update().clone());
    loop {
        let standing = engines.borrow_and_update().clone();
        for engine in &standing.engines {
            seen.engine(&events, &engine.id, engine.state);
        }
        seen.engines.retain(|id, _| standing.engines.iter().any(|engine| engine.id == *id));
        tokio::select! {
            changed = engines.changed() => if changed.is_err() { return },
            changed = store.changed() => match changed {
                Ok(()) => storage(&mut seen, &store.borrow_and_update().clone()),
                // A store that has stopped shows nothing any more; the plane is about to end.
                Err(_) => return,
            },
        }
    }
}

/// What was told last.
#[derive(Default)]
struct Seen {
    engines: HashMap<EngineId, Told>,
    is_faulty: bool,
}

/// What was told of one engine.
#[derive(Clone, Copy)]
struct Told {
    state: State,
    /// Whether the log says that it is away.
    is_away: bool,
}

impl Seen {
    fn engine(&mut self, events: &Handle, id: &EngineId, state: State) {
        let before = self.engines.get(id).copied();
        if before.is_some_and(|told| told.state == state) {
            return;
        }
        events.publish(Kind::Engine, &json!({ "container_id": id, "state": state.as_str() }));
        // A single failed check is not worth an entry, and neither is the first look at a healthy engine.
        let was_away = before.is_some_and(|told| told.is_away);
        let is_away = state == State::Down || (was_away && state != State::Healthy);
        self.engines.insert(id.clone(), Told { state, is_away });
        let (category, text) = match (was_away, is_away) {
            (false, true) => ("unhealthy", format!("engine {id} does not answer")),
            (true, false) => ("healthy", format!("engine {id} answers again")),
            _ => return,
        };
        events.record(Draft::new(EventType::Engine, category, text).container(Some(id.to_string())));
    }

    fn storage(&mut self, events: &Handle, standing: &Standing) {
        let fault = standing.fault();
        if fault.is_some() == self.is_faulty {
            return;
        }
        self.is_faulty = fault.is_some();
        events.publish(Kind::Storage, &json!({ "state": standing.as_str(), "fault": fault }));
        let draft = match fault {
            Some(fault) => {
                Draft::new(EventType::System, "storage_failed", "the state cannot be stored; playing goes on")
                    .detail("fault", fault)
            }
            None => Draft::new(EventType::System, "storage_recovered", "the state is stored again"),
        };
        events.record(draft);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Filter;
    use std::sync::Arc;

    fn events() -> Handle {
        let (store, _) = store::open(&store::Options { directory: None, pages_max: None }).unwrap();
        Handle::new(Vec::new(), store)
    }

    fn categories(events: &Handle) -> Vec<String> {
        let found = events.find(&Filter { limit: 99, ..Filter::default() });
        found.iter().rev().map(|entry| entry.category.clone()).collect()
    }

    /// Guards: an engine that goes away and comes back is told once each, whatever lies between, and a first look at a
    /// healthy engine is no news.
    #[tokio::test]
    async fn engines_are_told_when_they_go_and_come() {
        let (events, mut seen) = (events(), Seen::default());
        let id = EngineId(Arc::from("one:6878"));
        for state in
            [State::Healthy, State::Suspect, State::Healthy, State::Down, State::Down, State::Suspect]
        {
            seen.engine(&events, &id, state);
        }
        assert_eq!(categories(&events), ["unhealthy"]);
        seen.engine(&events, &id, State::Healthy);
        assert_eq!(categories(&events), ["unhealthy", "healthy"]);
        let about = Filter { limit: 9, container_id: Some("one:6878".into()), ..Filter::default() };
        assert_eq!(events.find(&about).len(), 2);
    }

    /// Guards: a fault of the store is told once, with its reason, and so is its end.
    #[tokio::test]
    async fn storage_faults_are_told_once() {
        let (events, mut seen) = (events(), Seen::default());
        let failing =
            |fault: &str| Standing::Failing { since: std::time::SystemTime::now(), fault: fault.into() };
        for standing in [Standing::Sound, failing("full"), failing("still full"), Standing::Sound] {
            seen.storage(&events, &standing);
        }
        assert_eq!(categories(&events), ["storage_failed", "storage_recovered"]);
        let first = events.find(&Filter { limit: 9, offset: 1, ..Filter::default() });
        assert_eq!(first[0].details["fault"], "full");
    }
}
