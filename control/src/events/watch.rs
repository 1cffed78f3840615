//! Notices what other rooms show of themselves and records it: engines that come and go, what is done about them in Docker,
//! and how storing goes.
//!
//! What is shown is how things stand, not each step: of what comes and goes between two looks nothing is told.

use super::{Draft, EventType, Handle, Kind};
use crate::engines;
use crate::engines::breaker::BreakerState;
use crate::engines::fleet::{FleetStanding, Phase, Trouble};
use crate::engines::health::State;
use crate::engines::{Progress, Pulling};
use crate::store::{self, Standing};
use serde_json::json;
use sluice_contract::EngineId;
use sluice_contract::snapshot::{Board, Control};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Watches for the life of the plane.
pub(crate) async fn watch(events: Handle, engines: engines::Handle, store: store::Handle, board: Arc<Board>) {
    let (mut fleet, mut engines, mut store) = (engines.watch_fleet(), engines.watch(), store.watch());
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
        if seen.engines.len() > standing.engines.len() {
            let known: HashSet<&EngineId> = standing.engines.iter().map(|engine| &engine.id).collect();
            seen.engines.retain(|id, _| known.contains(id));
        }
        if let Some(standing) = fleet.borrow_and_update().clone() {
            seen.fleet(&events, &standing);
        }
        tokio::select! {
            changed = engines.changed() => if changed.is_err() { return },
            changed = fleet.changed() => if changed.is_err() { return },
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
    containers: HashMap<Arc<str>, Phase>,
    pulling: Option<Pulling>,
    progress: Option<Progress>,
    trouble: Option<Trouble>,
    is_broken: bool,
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

    fn fleet(&mut self, events: &Handle, standing: &FleetStanding) {
        let mut left = std::mem::take(&mut self.containers);
        for member in &standing.members {
            if left.remove(&member.name) != Some(member.phase) {
                let told = json!({
                    "container_name": &*member.name,
                    "container_id": member.id.as_ref().map(|id| &*id.0),
                    "phase": member.phase.as_str(),
                    "reason": member.phase.why(),
                });
                events.publish(Kind::Provision, &told);
            }
            self.containers.insert(member.name.clone(), member.phase);
        }
        for (name, phase) in left {
            let told = json!({ "container_name": &*name, "container_id": null, "phase": "gone", "reason": phase.why() });
            events.publish(Kind::Provision, &told);
        }
        if self.trouble != standing.trouble {
            self.trouble.clone_from(&standing.trouble);
            self.trouble(events);
        }
        self.breaker(events, standing);
        if self.pulling != standing.pulling {
            let pull = standing.pulling.as_ref().or(self.pulling.as_ref());
            let told = pull.map(|pull| {
                json!({
                    "image": &*pull.image,
                    "in_progress": standing.pulling.is_some(),
                    "status": pull.status,
                    "bytes": pull.bytes,
                    "bytes_total": pull.bytes_total,
                })
            });
            told.into_iter().for_each(|told| events.publish(Kind::Pull, &told));
            self.pulling.clone_from(&standing.pulling);
        }
        if self.progress != standing.progress {
            self.progress.clone_from(&standing.progress);
            self.progress(events);
        }
    }

    /// A start failed, or something else went wrong that an operator can mend.
    fn trouble(&self, events: &Handle) {
        let Some(trouble) = &self.trouble else { return };
        let told = json!({
            "container_name": null,
            "container_id": null,
            "phase": "failed",
            "reason": trouble.code,
            "message": trouble.text,
            "remedy": trouble.remedy,
        });
        events.publish(Kind::Provision, &told);
    }

    /// Nothing is started any more because too much failed, or it is again.
    fn breaker(&mut self, events: &Handle, standing: &FleetStanding) {
        // A trial is no change yet: what comes of it is.
        let is_broken = match standing.breaker.state {
            BreakerState::Open => true,
            BreakerState::HalfOpen => self.is_broken,
            BreakerState::Closed => false,
        };
        if is_broken == self.is_broken {
            return;
        }
        self.is_broken = is_broken;
        if is_broken {
            let trouble = self.trouble.as_ref();
            let text = trouble.map_or("unknown", |trouble| trouble.text.as_str());
            let text = format!("too many engines failed to start, the last one because: {text}");
            let draft = Draft::new(EventType::Health, "failed", text);
            events.record(draft.detail("remedy", trouble.map_or("", |trouble| trouble.remedy)));
        } else {
            events.record(Draft::new(EventType::Health, "recovered", "engines are started again"));
        }
    }

    fn progress(&self, events: &Handle) {
        let Some(progress) = &self.progress else { return };
        let (status, phase) = progress.state();
        let told = json!({
            "in_progress": !progress.rework.is_over,
            "status": status,
            "message": progress.text(),
            "total_engines": progress.rework.total,
            "engines_stopped": progress.stopped,
            "engines_provisioned": progress.provisioned,
            "current_engine_id": progress.current.as_ref().map(|id| id.short()),
            "current_phase": phase,
        });
        events.publish(Kind::Reprovision, &told);
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
    use crate::docker::ContainerId;
    use crate::engines::fleet::{Fleet, MemberStanding, Why};
    use crate::engines::simulated;
    use crate::events::{Filter, Item, Subscription};
    use serde_json::Value;
    use std::time::{Duration, Instant};

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

    fn member(name: &str, phase: Phase) -> MemberStanding {
        MemberStanding {
            name: name.into(),
            id: Some(ContainerId("4f1c".into())),
            phase,
            port: 19000,
            variant: "x".into(),
            labels: Arc::default(),
            is_outdated: false,
            end: None,
            is_restarting: false,
            cache: None,
        }
    }

    /// What was told since, with its kind.
    async fn told(subscription: &mut Subscription) -> Vec<(&'static str, Value)> {
        let mut told = Vec::new();
        let moment = Duration::from_millis(20);
        while let Ok(Some(Item::Delta(delta))) = tokio::time::timeout(moment, subscription.next()).await {
            told.push((delta.kind.as_str(), serde_json::from_str(&delta.data).unwrap()));
        }
        told
    }

    /// Guards: whoever follows hears of every container of an engine as it comes and goes and why, of what keeps one from
    /// coming with its remedy, of a pull until it is over, and of how far making all anew is; of each change once.
    #[tokio::test]
    async fn what_is_done_about_engines_is_told() {
        let (events, mut seen) = (events(), Seen::default());
        let mut subscription = events.subscribe(None).unwrap();
        let now = Instant::now();
        let yard = simulated::yard();
        let mut standing = Fleet::new(now, yard.limits, yard.ranges).standing(now);
        seen.fleet(&events, &standing);
        assert_eq!(told(&mut subscription).await, []);

        for phase in [Phase::Provisioning, Phase::Starting, Phase::Starting, Phase::Ready] {
            standing.members = vec![member("acestream-1", phase)];
            seen.fleet(&events, &standing);
        }
        standing.members = vec![member("acestream-1", Phase::Removing(Why::Idle))];
        seen.fleet(&events, &standing);
        standing.members.clear();
        seen.fleet(&events, &standing);
        let phases = told(&mut subscription).await.into_iter().map(|(kind, told)| {
            assert_eq!((kind, &told["container_name"]), ("provision", &"acestream-1".into()));
            (told["phase"].as_str().unwrap().to_owned(), told["reason"].as_str().map(str::to_owned))
        });
        let why = Some("idle".to_owned());
        let expected = [
            ("provisioning", None),
            ("starting", None),
            ("ready", None),
            ("removing", why.clone()),
            ("gone", why),
        ];
        assert_eq!(phases.collect::<Vec<_>>(), expected.map(|(phase, why)| (phase.to_owned(), why)));

        standing.trouble =
            Some(Trouble { code: "disk_full", text: "no space".to_owned(), remedy: "make some", at: now });
        standing.breaker.state = BreakerState::Open;
        seen.fleet(&events, &standing);
        seen.fleet(&events, &standing);
        standing.breaker.state = BreakerState::HalfOpen;
        seen.fleet(&events, &standing);
        standing.breaker.state = BreakerState::Closed;
        seen.fleet(&events, &standing);
        let failed = told(&mut subscription).await;
        assert_eq!(failed[0].1["phase"], "failed");
        assert_eq!(
            (&failed[0].1["reason"], &failed[0].1["remedy"]),
            (&"disk_full".into(), &"make some".into())
        );
        assert_eq!(categories(&events), ["failed", "recovered"]);
        assert_eq!(failed.len(), 3, "{failed:?}");

        let pull = |bytes| Pulling {
            image: "a:b".into(),
            since: now,
            status: "Downloading".to_owned(),
            bytes,
            bytes_total: 9,
        };
        for pulling in [Some(pull(1)), Some(pull(1)), Some(pull(5)), None, None] {
            standing.pulling = pulling;
            seen.fleet(&events, &standing);
        }
        let pulled = told(&mut subscription).await;
        let pulled: Vec<_> =
            pulled.iter().map(|(kind, told)| (*kind, &told["bytes"], &told["in_progress"])).collect();
        let (yes, no) = (Value::from(true), Value::from(false));
        let (one, five) = (Value::from(1), Value::from(5));
        assert_eq!(pulled, [("pull", &one, &yes), ("pull", &five, &yes), ("pull", &five, &no)]);
    }

    /// Guards: how far making all engines anew is reaches whoever follows, up to its end.
    #[tokio::test]
    async fn making_engines_anew_is_told() {
        let (events, mut seen) = (events(), Seen::default());
        let mut subscription = events.subscribe(None).unwrap();
        let now = Instant::now();
        let yard = simulated::yard();
        let mut fleet = Fleet::new(now, yard.limits, yard.ranges);
        assert_eq!(fleet.rework(now).unwrap(), 0);
        seen.fleet(&events, &fleet.standing(now));
        seen.fleet(&events, &fleet.standing(now));
        let begun = told(&mut subscription).await;
        assert_eq!((begun.len(), begun[0].0), (1, "reprovision"));
        assert_eq!(
            (&begun[0].1["status"], &begun[0].1["in_progress"]),
            (&"in_progress".into(), &true.into())
        );
        let mut standing = fleet.standing(now);
        standing.progress.as_mut().unwrap().rework.is_over = true;
        seen.fleet(&events, &standing);
        assert_eq!(told(&mut subscription).await[0].1["current_phase"], "complete");
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
