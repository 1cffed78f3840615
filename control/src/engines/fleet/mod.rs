//! The engines Sluice keeps in Docker: what there should be against what there is. Pure: no I/O, the clock is passed in.
//!
//! Owned by the engines service's task, beside the plan that grants leases. Observations go in (lists of containers,
//! ends of jobs, how engines do, who waits), [`Action`]s come out. Names, ports and starts under way are reserved
//! nowhere else.
//!
//! Invariants a change could break:
//! - no decision rests on one event: an event only makes a list come sooner, and a list that fails changes nothing;
//! - containers of this appliance never number more than `MAX_REPLICAS` and, while one is replaced, `MAX_SURGE`;
//! - a name and its ports are given out again only when Docker has shown that their container does not exist;
//! - an engine is removed only with no stream on it, or after its streams were asked to move;
//! - a container of another appliance is never touched.

mod ground;
mod hand;
mod happening;
mod member;
mod scale;
mod standing;

pub(crate) use ground::{Ground, Ownership, Reach};
pub(crate) use hand::{HandError, HandTicket, Made, Outcome, Progress, Wish};
pub(crate) use happening::{Happening, What};
pub(crate) use member::{End, Phase, Why};
pub(crate) use standing::{Blocked, FleetStanding, MemberStanding};

use super::Authority;
use super::breaker::{Breaker, BreakerLimits};
use super::health::State as Health;
use super::ports::{PortRange, Ports as Pool};
use super::recipe::{self, Ports};
use crate::docker::{Container, ContainerId, ContainerSpec, Error, State};
use member::Member;
use sluice_contract::EngineId;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Names of engines' containers begin so.
const NAME_PREFIX: &str = "acestream-";
/// A container that was removed may still stand in lists asked for before.
const TOMBSTONE: Duration = Duration::from_secs(60);
/// Streams on a draining engine are given this long to move.
const DRAIN_MAX: Duration = Duration::from_secs(15);
/// A process counts as ended when it is still so after this.
const ENDED_CONFIRMED: Duration = Duration::from_secs(1);
/// An event makes a list come, and several at once make one.
const EVENT_DELAY: Duration = Duration::from_millis(100);
/// Docker tells of an end before its lists show it, on a busy host half a second before: it is looked at again then.
const EVENT_SETTLED: Duration = Duration::from_secs(1);
/// Until then what has just ended is looked at again so often.
const END_LOOK: Duration = Duration::from_millis(200);
/// First and longest pause after a failed start, a failed removal, or a list that came to nothing.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Longest pause between two looks for a daemon that is away: it may be back any moment, and looking costs it nothing.
const ABSENCE_RETRY_MAX: Duration = Duration::from_secs(3);
/// A daemon that restarts ends its containers and starts them again: engines that are down are given this long to be back
/// before whoever waits for one brings another.
const RETURN_SETTLED: Duration = Duration::from_secs(5);
/// Of one end Docker tells twice, for its cause and for the fact, at most so far apart.
const END_TOLD_WITHIN: Duration = Duration::from_secs(10);
/// Why an engine is gone that nobody here removed.
const REMOVED_BY_OTHERS: &str = "removed_by_others";
/// Owner of ports held by containers that are not ours.
const STRANGERS: &str = "(other containers)";

/// What the fleet is made for.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetLimits {
    /// Engines kept at least.
    pub min: usize,
    /// Containers at most.
    pub max: usize,
    /// Containers above that while an engine is replaced.
    pub surge: usize,
    /// Free engines idle deletion leaves.
    pub min_free: usize,
    /// Streams per engine.
    pub streams_per_engine: u32,
    /// Whether idle engines are removed.
    pub is_auto_delete: bool,
    /// How long an engine must be spare before it is removed.
    pub grace: Duration,
    /// From its container's start to an engine's first answer.
    pub startup: Duration,
    /// Containers made at the same time.
    pub concurrent_max: usize,
    /// Between two beginnings.
    pub interval: Duration,
    /// How long a ready engine may be down before it is replaced.
    pub unhealthy_grace: Duration,
    /// Between two replacements.
    pub cooldown: Duration,
    /// Between two lists that nothing else asked for.
    pub list_interval: Duration,
    /// Of starts.
    pub breaker: BreakerLimits,
    /// Of replacements.
    pub replacement_breaker: BreakerLimits,
}

/// Ranges ports are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranges {
    /// HTTP ports, and published HTTPS and control API ports.
    pub host: PortRange,
    /// HTTPS ports inside.
    pub https: PortRange,
    /// P2P ports, one for each engine.
    pub p2p: Option<PortRange>,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// List all containers and report with [`Fleet::listed`].
    List,
    /// Make and start a container, undoing what a failure leaves; report with [`Fleet::provisioned`].
    Provision(Box<ContainerSpec>),
    /// Stop and remove a container; report with [`Fleet::removed`].
    Remove {
        /// Its name, which is the member's.
        name: String,
        /// Which one.
        id: ContainerId,
    },
}

/// How an engine of the fleet stands with the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Leases out.
    pub(crate) leases: usize,
    /// Streams other proxies play on it.
    pub(crate) others: usize,
    /// Its health.
    pub(crate) health: Health,
    /// When it was asked last nobody listened on its port.
    pub(crate) is_deserted: bool,
    /// Somebody asked that it be given nothing more.
    pub(crate) is_drained: bool,
}

impl Load {
    /// Streams on it, whoever plays them.
    pub(crate) const fn streams(&self) -> usize {
        self.leases + self.others
    }
}

/// What the fleet is told of demand at each pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// Every engine of the fleet the plan knows.
    pub(crate) loads: HashMap<EngineId, Load>,
    /// Requests that wait and that no engine there is could serve.
    pub(crate) unplaced: usize,
}

/// An engine as the plan should know it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FleetEngine {
    /// Its container's id.
    pub(crate) id: EngineId,
    /// Where it is reached.
    pub(crate) authority: Authority,
    /// It takes no more streams and those it has should move.
    pub(crate) is_draining: bool,
    /// It has not answered yet, and a short answer is worth a quick look.
    pub(crate) is_starting: bool,
    /// It owns its VPN's forwarded port.
    pub(crate) is_forwarded: bool,
}

/// The newest failure, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Machine-readable.
    pub(crate) code: &'static str,
    /// What happened.
    pub(crate) text: String,
    /// What to do.
    pub(crate) remedy: &'static str,
    /// When.
    pub(crate) at: Instant,
}

/// All engines in Docker and everything reserved for them.
#[derive(Debug)]
pub(crate) struct Fleet {
    limits: FleetLimits,
    ground: Option<Arc<Ground>>,
    is_ground_stale: bool,
    members: BTreeMap<String, Member>,
    tombstones: HashMap<ContainerId, Instant>,
    host_ports: Pool,
    https_ports: Pool,
    p2p_ports: Option<Pool>,
    /// Names of all containers of the last list.
    names: BTreeSet<String>,
    absence: Option<(Error, Instant)>,
    /// When Docker came back last.
    returned_at: Option<Instant>,
    is_listing: bool,
    is_listed: bool,
    list_at: Instant,
    /// A list begun before this may not show yet what was noticed.
    settled_at: Instant,
    /// Docker has told of an end, which lists are about to show until then.
    ending_until: Instant,
    list_failures: u32,
    provision_at: Instant,
    replace_at: Option<Instant>,
    idle_deleted_at: Option<Instant>,
    breaker: Breaker,
    replacement_breaker: Breaker,
    trouble: Option<Trouble>,
    unplaced: usize,
    wishes: VecDeque<Wish>,
    grow_to: Option<usize>,
    shrink_to: Option<usize>,
    rework: Option<hand::Rework>,
    outcomes: Vec<Outcome>,
    counts: standing::Counts,
    happenings: Vec<Happening>,
    actions: Vec<Action>,
}

impl Fleet {
    /// An empty fleet; nothing is made before Docker was looked at ([`Fleet::surveyed`]) and listed.
    pub(crate) fn new(now: Instant, limits: FleetLimits, ranges: Ranges) -> Self {
        Self {
            breaker: Breaker::new(limits.breaker),
            replacement_breaker: Breaker::new(limits.replacement_breaker),
            limits,
            ground: None,
            is_ground_stale: false,
            members: BTreeMap::new(),
            tombstones: HashMap::new(),
            host_ports: Pool::new("PORT_RANGE_HOST", ranges.host),
            https_ports: Pool::new("ACE_HTTPS_RANGE", ranges.https),
            p2p_ports: ranges.p2p.map(|range| Pool::new("P2P_PORT_RANGE", range)),
            names: BTreeSet::new(),
            absence: None,
            returned_at: None,
            is_listing: false,
            is_listed: false,
            list_at: now,
            settled_at: now,
            ending_until: now,
            list_failures: 0,
            provision_at: now,
            replace_at: None,
            idle_deleted_at: None,
            trouble: None,
            unplaced: 0,
            wishes: VecDeque::new(),
            grow_to: None,
            shrink_to: None,
            rework: None,
            outcomes: Vec::new(),
            counts: standing::Counts::default(),
            happenings: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// Other limits hold from now on. Engines above a lower maximum go as soon as they are idle.
    pub(crate) fn set_limits(&mut self, limits: FleetLimits) {
        self.limits = limits;
    }

    /// What holds for engines from now on. Engines there are stay as they were made.
    pub(crate) fn surveyed(&mut self, ground: Ground) {
        self.ground = Some(Arc::new(ground));
        self.is_ground_stale = false;
    }

    /// What is known of the ground no longer holds: nothing is made before it was looked at anew.
    pub(crate) fn ground_changed(&mut self) {
        self.is_ground_stale = true;
    }

    /// Whether Docker still has to be looked at.
    pub(crate) fn wants_survey(&self) -> bool {
        self.ground.is_none() || self.is_ground_stale
    }

    /// Something happened in Docker: look soon.
    pub(crate) fn noticed(&mut self, now: Instant) {
        self.list_at = self.list_at.min(now + EVENT_DELAY);
        self.settled_at = now + EVENT_SETTLED;
    }

    /// Whether engines are being made or started.
    pub(crate) fn is_bringing_up(&self) -> bool {
        let is_coming = |phase| matches!(phase, Phase::Provisioning | Phase::Uncertain | Phase::Starting);
        self.members.values().any(|member| is_coming(member.phase))
    }

    /// The kernel killed a process of an engine for its memory.
    pub(crate) fn out_of_memory(&mut self, now: Instant, id: &ContainerId) {
        let end = End { at: now, exit_code: None, is_out_of_memory: true };
        let Some((name, member)) = self.with_id(id) else { return };
        member.end = Some(end);
        let text = format!("{name} was killed because it used more memory than it may");
        tracing::warn!("{text}");
        self.counts.out_of_memory += 1;
        self.note(now, "engine_out_of_memory", text, REMEDY_MEMORY);
    }

    /// The process of an engine ended; Docker starts it again unless somebody stopped it.
    pub(crate) fn ended(&mut self, now: Instant, id: &ContainerId, exit_code: Option<i64>) {
        let Some((_, member)) = self.with_id(id) else { return };
        let is_first = member.end.is_none_or(|end| now.saturating_duration_since(end.at) >= EVENT_SETTLED);
        // Docker tells of memory first and of the end right after.
        let is_out_of_memory = member.end.is_some_and(|end| {
            end.is_out_of_memory && now.saturating_duration_since(end.at) < END_TOLD_WITHIN
        });
        member.end = Some(End { at: now, exit_code, is_out_of_memory });
        // One that ends over and over is not looked at more closely each time.
        if is_first {
            self.ending_until = now + EVENT_SETTLED;
        }
    }

    fn with_id(&mut self, id: &ContainerId) -> Option<(String, &mut Member)> {
        let found = self.members.iter_mut().find(|(_, member)| member.id.as_ref() == Some(id));
        found.map(|(name, member)| (name.clone(), member))
    }

    /// Docker cannot be used. Nothing follows from it about engines.
    pub(crate) fn absent(&mut self, now: Instant, error: Error) {
        let since = self.absence.take().map(|(_, since)| since);
        if since.is_none() {
            tracing::warn!(code = error.code(), remedy = error.remedy(), "Docker cannot be used: {error}");
        }
        self.absence = Some((error, since.unwrap_or(now)));
        self.list_at = self.list_at.min(now + RETRY.0);
    }

    /// A list that [`Action::List`] asked for at `begun` is there.
    pub(crate) fn listed(&mut self, now: Instant, begun: Instant, list: Result<Vec<Container>, Error>) {
        self.is_listing = false;
        match list {
            Err(error) => {
                self.absent(now, error);
                self.list_failures = self.list_failures.saturating_add(1);
                self.list_at = now + doubled(self.list_failures).min(ABSENCE_RETRY_MAX);
            }
            Ok(list) => {
                self.list_failures = 0;
                self.list_at = now + self.limits.list_interval;
                if begun < self.settled_at {
                    let next = if now < self.ending_until { now + END_LOOK } else { self.settled_at };
                    self.list_at = self.list_at.min(next.min(self.settled_at));
                }
                if self.absence.take().is_some() {
                    tracing::info!("Docker answers again");
                    self.returned_at = Some(now);
                }
                if let Some(ground) = self.ground.clone() {
                    self.reconcile(now, begun, list, &ground);
                    self.is_listed = true;
                }
            }
        }
    }

    fn reconcile(&mut self, now: Instant, begun: Instant, list: Vec<Container>, ground: &Ground) {
        self.tombstones.retain(|_, until| *until > now);
        self.host_ports.release(STRANGERS);
        if let Some(ports) = &mut self.p2p_ports {
            ports.release(STRANGERS);
        }
        let mut seen = HashSet::with_capacity(self.members.len());
        for container in &list {
            if self.tombstones.contains_key(&container.id) {
                continue;
            }
            let ownership = ground.ownership(container);
            let is_known = self.members.get(&container.name).is_some_and(|member| match &member.id {
                Some(id) => *id == container.id,
                // Being made, or lost sight of: it is ours if it says so.
                None => ownership == Ownership::Ours,
            });
            if is_known {
                seen.insert(container.name.as_str());
                self.observe(now, begun, container, ground);
            } else if ownership != Ownership::Strange && self.adopt(now, container, ownership, ground) {
                seen.insert(container.name.as_str());
            } else {
                for port in &container.host_ports {
                    self.host_ports.hold(*port, STRANGERS);
                    self.p2p_ports.iter_mut().for_each(|ports| ports.hold(*port, STRANGERS));
                }
            }
        }
        let is_missing = |name: &String, member: &Member| {
            !seen.contains(name.as_str()) && member.known_at < begun && member.phase != Phase::Provisioning
        };
        let missing: Vec<String> = self
            .members
            .iter()
            .filter(|(name, member)| is_missing(name, member))
            .map(|(n, _)| n.clone())
            .collect();
        for name in missing {
            self.forget(now, &name);
        }
        self.names = list.into_iter().map(|container| container.name).collect();
    }

    /// Takes what a list says of a member.
    fn observe(&mut self, now: Instant, begun: Instant, container: &Container, ground: &Ground) {
        let Some(member) = self.members.get_mut(&container.name) else { return };
        if member.known_at >= begun || member.phase == Phase::Provisioning {
            return;
        }
        if let Some(authority) = ground.authority(container) {
            member.authority = Some(authority);
        }
        member.id.get_or_insert_with(|| container.id.clone());
        member.is_restarting = container.state == State::Restarting;
        let is_ended = matches!(container.state, State::Exited | State::Dead | State::Removing);
        match (member.phase, container.state) {
            (Phase::Uncertain, State::Created) => self.dismiss(now, &container.name, Why::Leftover),
            (Phase::Uncertain, _) if !is_ended => member.enter(now, Phase::Starting),
            (Phase::Uncertain, _) => self.dismiss(now, &container.name, Why::Lost),
            // Docker starts a crashed process again at once: an engine that is seen doing that before it ever answered
            // ends as soon as it starts.
            (Phase::Starting, State::Restarting | State::Exited | State::Dead | State::Created) => {
                let text =
                    format!("{} ended before it answered ({})", container.name, container.state.as_str());
                self.start_failed(now, &container.name, "engine_exited", text, REMEDY_LOGS);
            }
            // A daemon that restarts ends every container first and starts it again; one list is not enough to tell.
            (Phase::Ready | Phase::Draining(_), _)
                if is_ended && now < member.ended(now) + ENDED_CONFIRMED =>
            {
                self.list_at = self.list_at.min(now + ENDED_CONFIRMED);
            }
            (Phase::Ready | Phase::Draining(_), _) if is_ended => {
                tracing::warn!(
                    name = container.name,
                    state = container.state.as_str(),
                    "an engine's process ended"
                );
                self.counts.lost += 1;
                self.dismiss(now, &container.name, Why::Lost);
            }
            _ => member.ended_since = None,
        }
    }

    /// Takes in an engine found in Docker; answers whether it is a member now.
    fn adopt(&mut self, now: Instant, container: &Container, ownership: Ownership, ground: &Ground) -> bool {
        let Some(ports) = ground.ports(container) else { return false };
        if self.members.contains_key(&container.name) {
            return false;
        }
        let is_running = matches!(container.state, State::Running | State::Restarting | State::Paused);
        // What somebody else left stopped may be wanted by them; its name and ports are counted all the same.
        if !is_running && ownership == Ownership::Unclaimed {
            [Some(ports.http), ports.host_https]
                .into_iter()
                .flatten()
                .for_each(|p| self.host_ports.hold(p, STRANGERS));
            return false;
        }
        let variant = container.labels.get(recipe::LABEL_VARIANT).cloned();
        let mut member = Member::reserved(now, ports, variant.unwrap_or_default());
        member.is_adopted = true;
        member.labels = Arc::new(container.labels.clone());
        member.id = Some(container.id.clone());
        member.authority = ground.authority(container);
        member.phase = Phase::Starting;
        self.hold(&container.name, &ports);
        self.members.insert(container.name.clone(), member);
        if is_running {
            tracing::info!(
                name = container.name,
                id = container.id.short(),
                port = ports.http,
                "adopted an engine"
            );
            self.counts.adopted += 1;
            self.happened(&container.name, What::Adopted);
        } else {
            self.dismiss(now, &container.name, Why::Leftover);
        }
        true
    }

    fn hold(&mut self, name: &str, ports: &Ports) {
        [Some(ports.http), ports.host_https]
            .into_iter()
            .flatten()
            .for_each(|port| self.host_ports.hold(port, name));
        // The control API's port is a port of the host, HTTPS one inside; each range takes what is its own.
        self.host_ports.hold(ports.second, name);
        self.https_ports.hold(ports.second, name);
        if let (Some(pool), Some(port)) = (&mut self.p2p_ports, ports.p2p) {
            pool.hold(port, name);
        }
    }

    /// Gives back everything a member held.
    fn forget(&mut self, now: Instant, name: &str) {
        let Some(member) = self.members.remove(name) else { return };
        self.release(name);
        if let Some(id) = &member.id {
            let told = member.removal_tickets.iter().map(|ticket| Outcome::Removed(*ticket, Ok(id.clone())));
            self.outcomes.extend(told);
            let why = match member.phase {
                Phase::Removing(why) => why.as_str(),
                _ => REMOVED_BY_OTHERS,
            };
            self.happened_to(name, Some(id.clone()), What::Gone(why));
        }
        match member.phase {
            Phase::Removing(why) => tracing::info!(name, why = why.as_str(), "an engine is gone"),
            Phase::Ready | Phase::Draining(_) | Phase::Starting => {
                tracing::warn!(name, "an engine's container was removed by somebody else");
                self.counts.lost += 1;
                let text = format!("the container of {name} was removed by somebody else");
                self.note(now, REMOVED_BY_OTHERS, text, REMEDY_REMOVED);
            }
            Phase::Provisioning | Phase::Uncertain => {}
        }
        // Whether it would have come up nobody knows; the next one is the trial then.
        if matches!(member.phase, Phase::Provisioning | Phase::Uncertain | Phase::Starting) {
            self.breaker.withdrawn();
        }
        if let Some(id) = member.id {
            self.tombstones.insert(id, now + TOMBSTONE);
        }
    }

    /// Gives back the ports held by a name.
    fn release(&mut self, name: &str) {
        self.host_ports.release(name);
        self.https_ports.release(name);
        self.p2p_ports.iter_mut().for_each(|ports| ports.release(name));
    }

    /// The end of an [`Action::Provision`].
    pub(crate) fn provisioned(&mut self, now: Instant, name: &str, outcome: Result<ContainerId, Error>) {
        let ground = self.ground.clone();
        let Some(member) = self.members.get_mut(name).filter(|member| member.phase == Phase::Provisioning)
        else {
            return;
        };
        member.known_at = now;
        let wish = member.wish.take();
        let ticket = wish.as_ref().and_then(|wish| wish.ticket);
        match outcome {
            Ok(id) => {
                let Ports { http, second, .. } = member.ports;
                let made = Made { id: id.clone(), name: name.to_owned(), http, second };
                member.id = Some(id);
                member.enter(now, Phase::Starting);
                // On a published port it can be asked at once. Anywhere else only a list says where it is, and a list for each
                // of many starts is work the daemon has no time for then.
                member.authority = ground.and_then(|ground| ground.published(&member.labels));
                if member.authority.is_none() {
                    self.list_at = now;
                }
                self.happened(name, What::Made);
                self.answer_made(ticket, Ok(made));
            }
            Err(error) if error.is_absence() => {
                member.enter(now, Phase::Uncertain);
                self.tried(name, &error);
                self.list_at = now;
                self.breaker.withdrawn();
                self.note(now, error.code(), error.to_string(), error.remedy());
                self.answer_made(ticket, Err(HandError::from(&error)));
                self.absent(now, error);
            }
            Err(error @ Error::PortTaken { .. }) => {
                for port in [Some(member.ports.http), member.ports.host_https, Some(member.ports.second)] {
                    port.into_iter().for_each(|port| self.host_ports.shun(now, port));
                }
                if let (Some(pool), Some(port)) = (&mut self.p2p_ports, member.ports.p2p) {
                    pool.shun(now, port);
                }
                tracing::warn!(name, %error, "another program has a port; the next one is tried");
                self.tried(name, &error);
                self.note(now, error.code(), error.to_string(), error.remedy());
                self.forget(now, name);
                self.retry_wish(wish, HandError::from(&error));
            }
            Err(error @ Error::NameTaken { .. }) => {
                self.names.insert(name.to_owned());
                self.tried(name, &error);
                self.note(now, error.code(), error.to_string(), error.remedy());
                self.forget(now, name);
                self.list_at = now;
                self.retry_wish(wish, HandError::from(&error));
            }
            Err(error) => {
                self.fail(now, name, error.code(), error.to_string(), error.remedy());
                self.answer_made(ticket, Err(HandError::from(&error)));
                self.forget(now, name);
                // Should the undoing have failed, the list shows what was left.
                self.noticed(now);
            }
        }
    }

    /// The end of an [`Action::Remove`].
    pub(crate) fn removed(&mut self, now: Instant, name: &str, outcome: Result<(), Error>) {
        match outcome {
            Ok(()) => self.forget(now, name),
            Err(error) => {
                let Some(member) = self.members.get_mut(name) else { return };
                member.removal_failures = member.removal_failures.saturating_add(1);
                member.retry_at = Some(now + doubled(member.removal_failures));
                tracing::warn!(name, %error, "an engine could not be removed; it is tried again");
                let tickets = std::mem::take(&mut member.removal_tickets).into_iter();
                let failed = HandError::from(&error);
                self.outcomes.extend(tickets.map(|ticket| Outcome::Removed(ticket, Err(failed.clone()))));
                if error.is_absence() {
                    self.absent(now, error);
                } else {
                    self.note(now, error.code(), error.to_string(), error.remedy());
                }
            }
        }
    }

    /// A start that failed counts, and what it left is removed.
    fn start_failed(
        &mut self,
        now: Instant,
        name: &str,
        code: &'static str,
        text: String,
        remedy: &'static str,
    ) {
        let is_adopted = self.members.get(name).is_some_and(|member| member.is_adopted);
        if is_adopted {
            self.note(now, code, text, remedy);
        } else {
            self.fail(now, name, code, text, remedy);
        }
        self.dismiss(now, name, Why::Failed);
    }

    /// A try that counts for nothing, since it says nothing about the next one.
    fn tried(&mut self, name: &str, error: &Error) {
        let what = What::Failed {
            code: error.code(),
            text: error.to_string(),
            remedy: error.remedy(),
            pause: Duration::ZERO,
        };
        self.happened(name, what);
    }

    fn fail(&mut self, now: Instant, name: &str, code: &'static str, text: String, remedy: &'static str) {
        tracing::warn!(code, remedy, "no engine could be started: {text}");
        self.breaker.failed(now);
        self.counts.failed += 1;
        let pause = doubled(self.breaker.failures());
        self.provision_at = self.provision_at.max(now + pause);
        self.happened(name, What::Failed { code, text: text.clone(), remedy, pause });
        self.note(now, code, text, remedy);
    }

    fn note(&mut self, at: Instant, code: &'static str, text: String, remedy: &'static str) {
        self.trouble = Some(Trouble { code, text, remedy, at });
    }

    /// Has a member's container stopped and removed.
    fn dismiss(&mut self, now: Instant, name: &str, why: Why) {
        let Some(member) = self.members.get_mut(name) else { return };
        member.enter(now, Phase::Removing(why));
        if let Some(id) = member.id.clone() {
            self.actions.push(Action::Remove { name: name.to_owned(), id });
            self.happened(name, What::Leaving(why.as_str()));
        }
    }

    /// Compares what there should be with what there is and hands out everything there is to do.
    pub(crate) fn advance(&mut self, now: Instant, view: &View) -> Vec<Action> {
        self.unplaced = view.unplaced;
        self.follow(now, view);
        if self.absence.is_none() && self.is_listed {
            self.retry_removals(now);
            self.obey(now, view);
            self.renew(now, view);
            self.replace(now, view);
            self.scale_up(now, view);
            if !self.is_reworking() {
                self.scale_down(now, view);
            }
        } else if let Some(blocked) = self.blocked(now) {
            self.refuse_wishes(&blocked);
        }
        if !self.is_listing && self.list_at <= now && self.ground.is_some() {
            self.is_listing = true;
            self.actions.push(Action::List);
        }
        std::mem::take(&mut self.actions)
    }

    /// Moves members on by how their engines do.
    fn follow(&mut self, now: Instant, view: &View) {
        let (mut late, mut empty, mut ready) = (Vec::new(), Vec::new(), Vec::new());
        for (name, member) in &mut self.members {
            let load = member.id.as_ref().and_then(|id| view.loads.get(&EngineId(id.0.clone()))).copied();
            let streams = load.as_ref().map_or(0, Load::streams);
            member.idle_since = (streams == 0).then(|| member.idle_since.unwrap_or(now));
            member.spare_since = member.spare_since.filter(|_| streams == 0);
            match member.phase {
                Phase::Starting if load.is_some_and(|load| load.health == Health::Healthy) => {
                    let took = now.saturating_duration_since(member.since);
                    tracing::info!(name, ?took, "an engine is ready");
                    member.enter(now, Phase::Ready);
                    member.idle_since = (streams == 0).then_some(now);
                    if !member.is_adopted {
                        self.breaker.succeeded(now);
                        self.replacement_breaker.succeeded(now);
                        self.counts.started += 1;
                    }
                    ready.push((name.clone(), took));
                }
                Phase::Starting if now >= member.since + self.limits.startup => {
                    let is_deserted = load.is_some_and(|load| load.is_deserted);
                    late.push((name.clone(), is_deserted.then_some(member.ports.http)));
                }
                Phase::Ready => {
                    let is_down = load.is_none_or(|load| load.health == Health::Down);
                    member.down_since = is_down.then(|| member.down_since.unwrap_or(now));
                }
                // Nobody here can have what others play moved, so that is not waited for.
                Phase::Draining(why)
                    if load.is_none_or(|load| load.leases == 0) || now >= member.since + DRAIN_MAX =>
                {
                    empty.push((name.clone(), why));
                }
                _ => {}
            }
        }
        for (name, took) in ready {
            self.happened(&name, What::Ready { took });
        }
        for (name, deserted) in late {
            let startup = self.limits.startup;
            let (code, text, remedy) = match deserted {
                Some(port) => {
                    let text =
                        format!("nothing listens on port {port} of {name}, {startup:?} after its start");
                    ("engine_port_closed", text, REMEDY_PORT)
                }
                None => {
                    let text = format!("{name} did not answer within {startup:?} of its start");
                    ("engine_never_ready", text, REMEDY_LOGS)
                }
            };
            self.start_failed(now, &name, code, text, remedy);
        }
        for (name, why) in empty {
            self.dismiss(now, &name, why);
        }
    }

    fn retry_removals(&mut self, now: Instant) {
        for (name, member) in &mut self.members {
            let is_due = member.retry_at.is_some_and(|at| at <= now);
            if let (true, Phase::Removing(_), Some(id)) = (is_due, member.phase, member.id.clone()) {
                member.retry_at = None;
                self.actions.push(Action::Remove { name: name.clone(), id });
            }
        }
    }

    /// Every engine the plan should know, with what it may do.
    pub(crate) fn engines(&self) -> Vec<FleetEngine> {
        let mut forwarded = BTreeSet::new();
        let known = self.members.values().filter_map(|member| {
            let is_draining = match member.phase {
                Phase::Starting | Phase::Ready => false,
                Phase::Draining(_) => true,
                Phase::Provisioning | Phase::Uncertain | Phase::Removing(_) => return None,
            };
            // A VPN has one forwarded port, so only the first of its engines that claims it is believed.
            let claims = member.labels.get(recipe::LABEL_FORWARDED).is_some_and(|value| value == "true");
            let is_forwarded = claims && forwarded.insert(member.labels.get(recipe::LABEL_VPN));
            Some(FleetEngine {
                id: EngineId(member.id.as_ref()?.0.clone()),
                authority: member.authority.clone()?,
                is_draining,
                is_starting: member.phase == Phase::Starting,
                is_forwarded,
            })
        });
        known.collect()
    }

    /// When [`Fleet::advance`] must run next, if nothing happens before.
    pub(crate) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let list = (!self.is_listing && self.ground.is_some()).then_some(self.list_at);
        let members = self.members.values().flat_map(|member| {
            let phase_end = match member.phase {
                Phase::Starting => Some(member.since + self.limits.startup),
                Phase::Draining(_) => Some(member.since + DRAIN_MAX),
                _ => None,
            };
            let spare_end = member.spare_since.map(|since| since + self.limits.grace);
            let sick_end = member.down_since.map(|since| since + self.limits.unhealthy_grace);
            [phase_end, spare_end, sick_end, member.retry_at]
        });
        let settled_at = self.returned_at.map(|at| at + RETURN_SETTLED);
        let starts = [Some(self.provision_at), self.replace_at, self.breaker.opens_at(), settled_at];
        let starts = starts.into_iter().flatten().chain(members.flatten()).filter(|at| *at > now);
        list.into_iter().chain(starts).min()
    }
}

/// What to do about an engine that is killed for its memory.
const REMEDY_MEMORY: &str =
    "raise ENGINE_MEMORY_LIMIT or the variant's memory_limit, or give the engine a smaller cache";
/// What to do about an engine somebody removed with other means.
const REMEDY_REMOVED: &str =
    "nothing to do: another is made where one is missing; to have fewer, lower MIN_REPLICAS";
/// What to do about an engine that does not come up.
const REMEDY_LOGS: &str = "look at the container's log, and at ENGINE_VARIANT and the image's version";

/// What to do about an engine that does not listen where it was told to.
const REMEDY_PORT: &str = "the image has to serve the port it is told: ENGINE_VARIANT has to be the one the image was made for; an \
                           engine that is only slow needs a longer STARTUP_TIMEOUT_S";

fn doubled(count: u32) -> Duration {
    RETRY.0.saturating_mul(1u32.checked_shl(count.saturating_sub(1)).unwrap_or(u32::MAX)).min(RETRY.1)
}

#[cfg(test)]
mod tests;
