//! Who gets which engine: every reservation, decided in one place. Pure: no I/O, no clock, no randomness but a seed.
//!
//! Owned by the engines service's task. Commands and observations go in, [`Action`]s come out, in order.
//!
//! Invariants a change could break:
//! - a lease is granted only below the engine's capacity, and never twice for one broadcast on one engine. A shard
//!   that wants the same engine again gives the old lease back first: the link keeps that order;
//! - streams other proxies report fill an engine as leases do: a number they play is not granted there a second time;
//! - every request is answered once, unless the shard abandoned it or could not be reached;
//! - a shard is granted nothing before it has reported what it holds in this epoch, and nobody is granted anything
//!   before every shard has reported or [`REPORT_GRACE`] is over, so that a restarted control cannot hand out an
//!   engine that is in use;
//! - the queue of waiting requests is bounded and every entry has a deadline.

use super::authority::Authority;
use super::check::CheckFault;
use super::decision::{Decision, Obstacle, Seen};
use super::fleet::{FleetEngine, Load};
use super::health::{Health, State};
use super::jitter::Jitter;
use super::reported::Reported;
use super::selection::{Candidate, Rank, Selection};
use sluice_contract::{
    EngineId, Epoch, Hex40, Lease, LeaseId, LeaseRequest, LeaseReturn, MoveReason, Refusal, RefusalCode,
    ShardId, Ticket,
};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Requests that may wait at once; the next is refused. Far above the sessions an appliance can start together.
pub(crate) const WAITING_MAX: usize = 4096;
/// How long a restarted control waits for shards to report before it grants without them.
pub(crate) const REPORT_GRACE: Duration = Duration::from_secs(1);
/// A start stops counting against `engine_starts_max` once its engine has answered, and after this at the latest: a
/// channel without broadcaster must not hold the place of one that would play.
const START_SLOT_MAX: Duration = Duration::from_secs(30);
/// How long a request waits for an engine that did not fail it before it takes one that did.
const AVOID_PATIENCE: Duration = Duration::from_secs(2);
/// How long a request waits for a pool engine before it takes the last resort.
const FALLBACK_PATIENCE: Duration = Duration::from_secs(10);
/// How long a request waits for an engine that is well and has as many starts under way as it may, while one that is not well
/// would do: of sessions that leave a group of engines together all but the first meet the others' starts.
const POOR_PATIENCE: Duration = Duration::from_secs(3);
/// An answer must leave this long before its deadline to arrive in time.
const ANSWER_MARGIN: Duration = Duration::from_millis(50);
/// Decisions kept for whoever looks at them after every turn.
const DECISIONS_MAX: usize = 4096;
/// Streams on an engine that somebody drained are asked again to move after this: there may be room elsewhere by then.
const DRAIN_AGAIN: Duration = Duration::from_secs(10);
/// Hint on refusals for want of an engine.
const RETRY_AFTER_S: u32 = 30;

/// What the plan is made for.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Link generation, stamped on every grant.
    pub(crate) epoch: Epoch,
    /// Shards that will report.
    pub(crate) shards: usize,
    /// Leases per engine; `None` never refuses.
    pub(crate) streams_per_engine: Option<u32>,
    /// Starts in flight per engine.
    pub(crate) engine_starts_max: usize,
    /// A request is refused after this while no engine shows any sign of life.
    pub(crate) no_response_timeout: Duration,
    /// A request waits at most this long, whatever its own deadline.
    pub(crate) engine_wait: Duration,
    /// Leases per engine of the fleet.
    pub(crate) fleet_streams: u32,
    /// How the best of several engines is found.
    pub(crate) selection: Selection,
}

/// What the fleet holds out to those who wait, when there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// Another engine may come in time.
    pub(crate) is_hopeful: bool,
    /// Why none comes, and when to come back.
    pub(crate) refusal: Option<Refusal>,
}

/// What the driver has to do.
#[derive(Debug)]
pub(crate) enum Action {
    /// Send the answer to a request; tell the plan when it could not be delivered.
    Answer {
        /// To whom.
        shard: ShardId,
        /// To which request.
        ticket: Ticket,
        /// Grant or refusal.
        answer: Result<Lease, Refusal>,
    },
    /// Ask a shard to move a session off its engine.
    Withdraw {
        /// Whom.
        shard: ShardId,
        /// Which lease; it comes back as a return.
        lease: LeaseId,
        /// Why.
        reason: MoveReason,
    },
    /// Check an engine and report the result with [`Plan::checked`].
    Check {
        /// Which engine.
        engine: EngineId,
        /// Where it is.
        authority: Authority,
    },
}

/// Cumulative counts, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Leases granted.
    pub(crate) granted: u64,
    /// Leases given back.
    pub(crate) returned: u64,
    /// Requests the shard gave up.
    pub(crate) abandoned: u64,
    /// Answers that could not be delivered.
    pub(crate) undelivered: u64,
    /// Times a source fell silent.
    pub(crate) silences: u64,
    /// Refusals by code.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Faults reported by shards, by kind.
    pub(crate) faults: BTreeMap<&'static str, u64>,
}

/// How one engine stands, for metrics and the API.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EngineStanding {
    /// Which engine.
    pub(crate) id: EngineId,
    /// `host:port` as configured.
    pub(crate) authority: std::sync::Arc<str>,
    /// Where its API answers, once known.
    pub(crate) address: Option<SocketAddr>,
    /// Health.
    pub(crate) state: State,
    /// What the last failed check saw.
    pub(crate) fault: Option<CheckFault>,
    /// Leases out.
    pub(crate) leases: usize,
    /// Starts in flight.
    pub(crate) starts: usize,
    /// Where it comes from.
    pub(crate) kind: Kind,
    /// Leases whose source is silent.
    pub(crate) silent: usize,
    /// What it shares with others.
    pub(crate) group: Option<Arc<str>>,
    /// It owns its VPN's forwarded port.
    pub(crate) is_forwarded: bool,
    /// Whether it reaches other peers, once it has said.
    pub(crate) is_connected: Option<bool>,
    /// Somebody asked that it be given nothing more.
    pub(crate) is_drained: bool,
}

#[cfg(test)]
impl EngineStanding {
    /// One that was named, of which nothing else is known, for tests.
    pub(crate) fn named(id: &str, state: State) -> Self {
        Self {
            id: EngineId(id.into()),
            authority: "host:1".into(),
            address: None,
            state,
            fault: None,
            leases: 0,
            starts: 0,
            kind: Kind::Static,
            silent: 0,
            group: None,
            is_forwarded: false,
            is_connected: None,
            is_drained: false,
        }
    }
}

/// How everything stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Standing {
    /// Every engine, by id.
    pub(crate) engines: Vec<EngineStanding>,
    /// Requests waiting for an engine.
    pub(crate) waiting: usize,
    /// Whether the fleet may bring an engine to those who wait.
    pub(crate) is_hopeful: bool,
    /// Groups of which every engine in use, and more than one, is silent: what they share is at fault.
    pub(crate) silent_groups: Vec<Arc<str>>,
    /// Counts since this control started.
    pub(crate) counts: Counts,
}

/// Where an engine comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Named by the operator.
    Static,
    /// Named by the operator as the last resort.
    Fallback,
    /// Kept in Docker by the fleet.
    Fleet {
        /// It has not answered yet.
        is_starting: bool,
        /// It is given nothing more.
        is_draining: bool,
    },
}

impl Kind {
    const fn is_draining(self) -> bool {
        matches!(self, Self::Fleet { is_draining: true, .. })
    }

    /// Whether it has not answered yet.
    pub(crate) const fn is_starting(self) -> bool {
        matches!(self, Self::Fleet { is_starting: true, .. })
    }
}

impl Standing {
    /// Every engine's id.
    pub(crate) fn ids(&self) -> Vec<EngineId> {
        self.engines.iter().map(|engine| engine.id.clone()).collect()
    }
}

/// An engine that exists already.
#[derive(Clone, Debug)]
pub(crate) struct Pooled {
    /// Where it is.
    pub(crate) authority: Authority,
    /// What it shares with others, such as a VPN node.
    pub(crate) group: Option<Arc<str>>,
}

impl From<Authority> for Pooled {
    fn from(authority: Authority) -> Self {
        Self { authority, group: None }
    }
}

#[derive(Debug)]
struct Held {
    shard: ShardId,
    broadcast: Hex40,
    start_until: Option<Instant>,
    is_silent: bool,
}

#[derive(Debug)]
struct Engine {
    authority: Authority,
    kind: Kind,
    /// Leases it may carry; `None` never refuses.
    capacity: Option<u32>,
    /// What it shares with others, such as a VPN node.
    group: Option<Arc<str>>,
    /// It owns its VPN's forwarded port.
    is_forwarded: bool,
    /// Whether it reaches other peers, once it has said.
    is_connected: Option<bool>,
    /// It is worked on and given to nobody meanwhile.
    is_held: bool,
    /// Somebody asked that it be given nothing more, and its streams were asked to move last at this time.
    drained_at: Option<Instant>,
    health: Health,
    leases: HashMap<LeaseId, Held>,
    /// What other proxies play on it, as they report.
    others: Vec<Option<Hex40>>,
    /// The number of its newest use; lower is longer unused.
    used_at: u64,
}

impl Engine {
    fn new(now: Instant, authority: Authority, kind: Kind, capacity: Option<u32>) -> Self {
        Self {
            authority,
            kind,
            capacity,
            group: None,
            is_forwarded: false,
            is_connected: None,
            is_held: false,
            drained_at: None,
            health: Health::new(now),
            leases: HashMap::new(),
            others: Vec::new(),
            used_at: 0,
        }
    }

    /// Whether it is given nothing more.
    fn is_draining(&self) -> bool {
        self.drained_at.is_some() || self.kind.is_draining()
    }

    /// Streams on it, whoever plays them.
    fn streams(&self) -> usize {
        self.leases.len() + self.others.len()
    }

    /// Leases it could still be given.
    fn room(&self) -> usize {
        if self.is_held {
            return 0;
        }
        self.capacity.map_or(usize::MAX, |most| (most as usize).saturating_sub(self.streams()))
    }

    /// Whether it may come to serve somebody who waits.
    fn is_promising(&self) -> bool {
        !self.is_draining() && (self.health.is_promising() || self.kind.is_starting())
    }

    /// Whether it has a stream of this broadcast.
    fn plays(&self, broadcast: Hex40) -> bool {
        self.leases.values().any(|held| held.broadcast == broadcast) || self.others.contains(&Some(broadcast))
    }

    /// What asks every session on it to leave.
    fn withdraw_all(&self, reason: MoveReason) -> impl Iterator<Item = Action> {
        self.leases.iter().map(move |(lease, held)| Action::Withdraw {
            shard: held.shard,
            lease: *lease,
            reason,
        })
    }

    /// Whether what takes the one away is likely to take the other: their VPN node, or their host as far as addresses tell.
    fn is_near(&self, other: &Self) -> bool {
        let host = |engine: &Self| engine.health.address().map(|address| address.ip());
        self.group.is_some() && self.group == other.group || host(self).is_some() && host(self) == host(other)
    }

    /// What counts of it when one is chosen, beside those that play the same broadcast.
    fn candidate(&self, now: Instant, beside: &Beside<'_>) -> Candidate {
        let is_silent = self.group.as_ref().is_some_and(|group| beside.silent.contains(group));
        Candidate {
            is_poor: self.health.is_poor(now) || self.is_connected == Some(false) || is_silent,
            is_near: beside.playing.iter().any(|other| self.is_near(other)),
            is_forwarded: self.is_forwarded,
            streams: self.streams(),
            used_at: self.used_at,
        }
    }

    /// When its streams are asked to move once more, if it was drained and still has some.
    fn drain_again_at(&self) -> Option<Instant> {
        self.drained_at.filter(|_| !self.leases.is_empty()).map(|at| at + DRAIN_AGAIN)
    }

    fn starts(&self, now: Instant) -> usize {
        self.leases.values().filter(|held| held.start_until.is_some_and(|until| until > now)).count()
    }
}

/// What else is looked at when an engine is chosen for a broadcast.
struct Beside<'a> {
    /// Engines that play it: one as a rule, two while a session has a spare or changes its source.
    playing: Vec<&'a Engine>,
    /// Groups of engines that are silent together.
    silent: Vec<Arc<str>>,
}

#[derive(Debug)]
struct Waiting {
    request: LeaseRequest,
    broadcast: Hex40,
    since: Instant,
    answer_by: Instant,
}

impl Waiting {
    /// How long this request waits for something better: `longest`, but at most a share of what it has.
    fn patience_until(&self, longest: Duration, share: u32) -> Instant {
        self.since + longest.min((self.answer_by - self.since) / share)
    }
}

/// Whether a request can have an engine now.
enum Choice {
    Grant(EngineId),
    /// Nothing now; look again at the instant, or when something changes.
    Wait(Option<Instant>),
}

/// All engines, all reservations and all waiting requests.
#[derive(Debug)]
pub(crate) struct Plan {
    limits: Limits,
    jitter: Jitter,
    engines: BTreeMap<EngineId, Engine>,
    home: HashMap<LeaseId, EngineId>,
    /// Leases shards reported on engines nobody has found yet: they count as soon as the fleet finds them.
    unfound: HashMap<EngineId, Vec<(LeaseId, Held)>>,
    /// What other proxies play, also on engines nobody has found yet.
    others: Reported,
    outlook: Option<Outlook>,
    waiting: VecDeque<Waiting>,
    reported: HashSet<ShardId>,
    report_until: Instant,
    retry_at: Option<Instant>,
    leases_made: u64,
    uses: u64,
    actions: Vec<Action>,
    counts: Counts,
    decisions: Vec<Decision>,
    /// Whether decisions say how every engine looked.
    is_explaining: bool,
}

impl Plan {
    /// A plan for these engines; the last resort is named apart. Engines named twice count once.
    pub(crate) fn new(
        now: Instant,
        limits: Limits,
        pool: Vec<Pooled>,
        fallback: Option<Authority>,
        jitter: Jitter,
    ) -> Self {
        let mut engines = BTreeMap::new();
        let named = pool
            .into_iter()
            .map(|Pooled { authority, group }| (authority, group, Kind::Static))
            .chain(fallback.map(|authority| (authority, None, Kind::Fallback)));
        for (authority, group, kind) in named {
            engines.entry(EngineId(authority.as_str().clone())).or_insert_with(|| Engine {
                group,
                ..Engine::new(now, authority, kind, limits.streams_per_engine)
            });
        }
        Self {
            limits,
            jitter,
            engines,
            home: HashMap::new(),
            unfound: HashMap::new(),
            others: Reported::default(),
            outlook: None,
            waiting: VecDeque::new(),
            reported: HashSet::new(),
            report_until: now + REPORT_GRACE,
            retry_at: None,
            leases_made: 0,
            uses: 0,
            actions: Vec::new(),
            counts: Counts::default(),
            decisions: Vec::new(),
            is_explaining: false,
        }
    }

    /// Whether decisions are to say how every engine looked.
    pub(crate) fn explain(&mut self, is_explaining: bool) {
        self.is_explaining = is_explaining;
    }

    /// What was decided since this was asked last.
    pub(crate) fn take_decisions(&mut self) -> Vec<Decision> {
        std::mem::take(&mut self.decisions)
    }

    /// A shard asks for an engine. `broadcast` is the infohash behind the key if known, else the number asked for.
    pub(crate) fn request(&mut self, now: Instant, request: LeaseRequest, broadcast: Hex40) {
        let allowed = request.deadline.saturating_duration_since(now);
        let waiting = Waiting {
            broadcast,
            since: now,
            answer_by: (request.deadline - ANSWER_MARGIN.min(allowed / 10))
                .min(now + self.limits.engine_wait),
            request,
        };
        if self.engines.is_empty() && self.outlook.is_none() {
            let refusal =
                Refusal::new(RefusalCode::NoEngine, "no engine is configured").retry_after(RETRY_AFTER_S);
            self.turn_down(now, waiting, refusal);
        } else if let Some(wanted) =
            waiting.request.wanted.as_ref().filter(|wanted| !self.engines.contains_key(wanted))
        {
            let refusal = Refusal::new(RefusalCode::NoEngine, format!("there is no engine {wanted}"));
            self.turn_down(now, waiting, refusal);
        } else if allowed.is_zero() {
            let refusal = self.refusal_for(now, &waiting);
            self.turn_down(now, waiting, refusal);
        } else if self.waiting.len() >= WAITING_MAX {
            let refusal =
                Refusal::new(RefusalCode::MaxCapacity, "too many requests wait for an engine already");
            self.turn_down(now, waiting, refusal.retry_after(RETRY_AFTER_S));
        } else {
            self.waiting.push_back(waiting);
            self.engines.values_mut().for_each(|engine| engine.health.hasten(now));
        }
    }

    /// Engines carry at most so many streams from now on; streams there are stay.
    pub(crate) fn set_streams_per_engine(&mut self, most: Option<u32>) {
        self.limits.streams_per_engine = most;
        self.limits.fleet_streams = most.unwrap_or(self.limits.fleet_streams);
        for engine in self.engines.values_mut() {
            engine.capacity = match engine.kind {
                Kind::Fleet { .. } => Some(self.limits.fleet_streams),
                Kind::Static | Kind::Fallback => most,
            };
        }
    }

    /// The shard no longer waits for this answer.
    pub(crate) fn abandon(&mut self, shard: ShardId, ticket: Ticket) {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.request.shard != shard || waiting.request.ticket != ticket);
        self.counts.abandoned += (before - self.waiting.len()) as u64;
    }

    /// A lease comes back. One that is not on the books (from before a restart, or returned twice) changes nothing.
    pub(crate) fn give_back(&mut self, now: Instant, lease: LeaseReturn) {
        let Some(engine) = self.release(lease.id) else { return };
        self.counts.returned += 1;
        if let (Some(fault), Some(engine)) = (lease.fault, self.engines.get_mut(&engine)) {
            *self.counts.faults.entry(fault.as_str()).or_default() += 1;
            engine.health.faulted(now, self.jitter.factor(), fault);
        }
    }

    /// The source on a lease fell silent, or came back. Tells which groups have fallen silent as a whole by that.
    pub(crate) fn silence(&mut self, now: Instant, lease: LeaseId, is_silent: bool) -> Vec<Arc<str>> {
        let before = self.silent_groups();
        let engine = self.home.get(&lease).and_then(|engine| self.engines.get_mut(engine));
        let Some(held) = engine.and_then(|engine| engine.leases.get_mut(&lease)) else { return Vec::new() };
        held.is_silent = is_silent;
        self.counts.silences += u64::from(is_silent);
        let mut fell_silent = self.silent_groups();
        fell_silent.retain(|group| !before.contains(group));
        for group in &fell_silent {
            let is_in = |engine: &&Engine| engine.group.as_ref() == Some(group);
            let could_serve = |engine: &Engine| {
                engine.health.is_usable(now) && !engine.kind.is_draining() && engine.room() > 0
            };
            // Where there is nothing else, a move would only add to the trouble.
            if self.engines.values().any(|engine| !is_in(&engine) && could_serve(engine)) {
                let degraded = self.engines.values().filter(is_in);
                self.actions.extend(degraded.flat_map(|engine| engine.withdraw_all(MoveReason::VpnDegraded)));
            }
        }
        fell_silent
    }

    fn silent_groups(&self) -> Vec<Arc<str>> {
        let mut groups: BTreeMap<&Arc<str>, (usize, bool)> = BTreeMap::new();
        for engine in self.engines.values().filter(|engine| !engine.leases.is_empty()) {
            let Some(group) = &engine.group else { continue };
            let (engines, all_silent) = groups.entry(group).or_insert((0, true));
            *engines += 1;
            *all_silent &= engine.leases.values().all(|held| held.is_silent);
        }
        let silent = groups.into_iter().filter(|(_, (engines, all_silent))| *engines > 1 && *all_silent);
        silent.map(|(group, _)| group.clone()).collect()
    }

    /// A grant did not reach its shard, which will therefore never give it back.
    pub(crate) fn undelivered(&mut self, answer: Result<Lease, Refusal>) {
        self.counts.undelivered += 1;
        if let Ok(lease) = answer {
            self.release(lease.id);
        }
    }

    /// A shard reports every lease it holds and the broadcast each serves: the books for this shard are replaced. A report of an older generation
    /// is void, since the one that answers this generation is on its way.
    pub(crate) fn holdings(&mut self, shard: ShardId, epoch: Epoch, leases: Vec<(Lease, Hex40)>) {
        if epoch != self.limits.epoch {
            return;
        }
        for engine in self.engines.values_mut() {
            engine.leases.retain(|_, held| held.shard != shard);
        }
        self.unfound.values_mut().for_each(|leases| leases.retain(|(_, held)| held.shard != shard));
        self.unfound.retain(|_, leases| !leases.is_empty());
        self.home
            .retain(|lease, engine| self.engines.get(engine).is_some_and(|e| e.leases.contains_key(lease)));
        for (lease, broadcast) in leases {
            let held = Held { shard, broadcast, start_until: None, is_silent: false };
            match self.engines.get_mut(&lease.engine) {
                Some(engine) => {
                    engine.leases.insert(lease.id, held);
                    self.home.insert(lease.id, lease.engine);
                }
                // On an engine in Docker that was not looked for yet, or on one that is no longer configured.
                None => self.unfound.entry(lease.engine).or_default().push((lease.id, held)),
            }
        }
        self.reported.insert(shard);
    }

    /// Brings the engines of the fleet to what the fleet says: new ones come, those it no longer names go, and sessions on
    /// engines that drain or are gone are asked to move.
    pub(crate) fn set_fleet(&mut self, now: Instant, engines: Vec<FleetEngine>) {
        let named: HashSet<EngineId> = engines.iter().map(|engine| engine.id.clone()).collect();
        let is_gone =
            |id: &EngineId, engine: &Engine| matches!(engine.kind, Kind::Fleet { .. }) && !named.contains(id);
        let gone: Vec<EngineId> = self
            .engines
            .iter()
            .filter(|(id, engine)| is_gone(id, engine))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            let Some(engine) = self.engines.remove(&id) else { continue };
            for (lease, held) in engine.leases {
                self.home.remove(&lease);
                self.actions.push(Action::Withdraw { shard: held.shard, lease, reason: MoveReason::Gone });
            }
        }
        for FleetEngine { id, authority, is_draining, is_starting, is_forwarded } in engines {
            let kind = Kind::Fleet { is_starting, is_draining };
            if !self.engines.contains_key(&id) {
                let mut engine = Engine::new(now, authority.clone(), kind, Some(self.limits.fleet_streams));
                self.take_unfound(&id, &mut engine);
                self.engines.insert(id.clone(), engine);
            }
            let Some(engine) = self.engines.get_mut(&id) else { continue };
            if engine.authority != authority {
                engine.authority = authority;
                engine.health.look_again(now);
            }
            let reason = if is_draining && !engine.kind.is_draining() {
                Some(MoveReason::Draining)
            } else {
                (engine.is_forwarded && !is_forwarded).then_some(MoveReason::PortChanged)
            };
            if let Some(reason) = reason {
                self.actions.extend(engine.withdraw_all(reason));
            }
            engine.kind = kind;
            engine.is_forwarded = is_forwarded;
        }
    }

    /// Gives an engine nothing more and has its streams move, or takes that back; answers how many streams it has. `None` when
    /// there is no such engine.
    pub(crate) fn drain(&mut self, now: Instant, id: &EngineId, is_drained: bool) -> Option<usize> {
        let engine = self.engines.get_mut(id)?;
        if is_drained && engine.drained_at.is_none() {
            self.actions.extend(engine.withdraw_all(MoveReason::Draining));
            engine.drained_at = Some(now);
        } else if !is_drained {
            engine.drained_at = None;
        }
        Some(engine.leases.len())
    }

    /// Asks the streams once more that are still on engines that were drained.
    fn drain_again(&mut self, now: Instant) {
        for engine in self.engines.values_mut() {
            if engine.drain_again_at().is_some_and(|at| at <= now) {
                engine.drained_at = Some(now);
                self.actions.extend(engine.withdraw_all(MoveReason::Draining));
            }
        }
    }

    /// Takes what other proxies play now; answers the engines that have more of it than before.
    pub(crate) fn set_reported(&mut self, others: Reported) -> Vec<EngineId> {
        let mut used = Vec::new();
        for (id, engine) in &mut self.engines {
            let on_it = others.on(id);
            if on_it.len() > engine.others.len() {
                self.uses += 1;
                engine.used_at = self.uses;
                used.push(id.clone());
            }
            engine.others = on_it.to_vec();
        }
        self.others = others;
        used
    }

    /// What the fleet holds out to those who wait; `None` when nothing is to be expected of it.
    pub(crate) fn set_outlook(&mut self, outlook: Option<Outlook>) {
        self.outlook = outlook;
    }

    /// Takes an engine to be there as a last resort, while it is named; afterwards until its last stream has left.
    pub(crate) fn set_assumed(&mut self, now: Instant, authority: &Authority, is_assumed: bool) {
        let id = EngineId(authority.as_str().clone());
        if is_assumed && !self.engines.contains_key(&id) {
            let capacity = self.limits.streams_per_engine;
            let mut engine = Engine::new(now, authority.clone(), Kind::Fallback, capacity);
            self.take_unfound(&id, &mut engine);
            self.engines.insert(id, engine);
        } else if !is_assumed && self.engines.get(&id).is_some_and(|engine| engine.leases.is_empty()) {
            self.engines.remove(&id);
        }
    }

    /// Gives an engine that was just found what was reported on it before: the leases of shards, the streams of others.
    fn take_unfound(&mut self, id: &EngineId, engine: &mut Engine) {
        engine.others = self.others.on(id).to_vec();
        for (lease, held) in self.unfound.remove(id).unwrap_or_default() {
            engine.leases.insert(lease, held);
            self.home.insert(lease, id.clone());
        }
    }

    /// Something happened to an engine's container: look at it now.
    pub(crate) fn look_again(&mut self, now: Instant, engine: &EngineId) {
        if let Some(engine) = self.engines.get_mut(engine) {
            engine.health.look_again(now);
        }
    }

    /// How the engines of the fleet do.
    pub(crate) fn loads(&self) -> HashMap<EngineId, Load> {
        let fleet = self.engines.iter().filter(|(_, engine)| matches!(engine.kind, Kind::Fleet { .. }));
        let load = |engine: &Engine| Load {
            leases: engine.leases.len(),
            others: engine.others.len(),
            health: engine.health.state(),
            is_deserted: engine.health.last_fault().is_some_and(CheckFault::is_deserted),
            is_drained: engine.drained_at.is_some(),
        };
        fleet.map(|(id, engine)| (id.clone(), load(engine))).collect()
    }

    /// Requests that wait and that no engine there is could come to serve.
    pub(crate) fn unplaced(&self) -> usize {
        if self.waiting.is_empty() {
            return 0;
        }
        let mut room: Vec<(&EngineId, &Engine, usize)> = self
            .engines
            .iter()
            .filter(|(_, engine)| engine.kind != Kind::Fallback && engine.is_promising() && engine.room() > 0)
            .map(|(id, engine)| (id, engine, engine.room()))
            .collect();
        let mut unplaced = 0;
        // Whoever wants one engine is not served by another.
        for waiting in self.waiting.iter().filter(|waiting| waiting.request.wanted.is_none()) {
            let place = room.iter_mut().find(|(id, engine, left)| {
                *left > 0 && !engine.plays(waiting.broadcast) && !waiting.request.avoid.contains(id)
            });
            match place {
                Some((.., left)) => *left -= 1,
                None => unplaced += 1,
            }
        }
        unplaced
    }

    /// `number` turned out to name `infohash`: reservations made under the number now count for the broadcast.
    pub(crate) fn learned(&mut self, number: Hex40, infohash: Hex40) {
        let held = self
            .engines
            .values_mut()
            .flat_map(|engine| engine.leases.values_mut().map(|held| &mut held.broadcast));
        let waiting = self.waiting.iter_mut().map(|waiting| &mut waiting.broadcast);
        held.chain(waiting)
            .filter(|broadcast| **broadcast == number)
            .for_each(|broadcast| *broadcast = infohash);
        let others = self.engines.values_mut().flat_map(|engine| engine.others.iter_mut().flatten());
        others.filter(|broadcast| **broadcast == number).for_each(|broadcast| *broadcast = infohash);
        self.others.learned(number, infohash);
    }

    /// Media of this broadcast was seen from this engine: its start is over.
    pub(crate) fn opened(&mut self, engine: &EngineId, broadcast: Hex40) {
        let Some(engine) = self.engines.get_mut(engine) else { return };
        for held in engine.leases.values_mut().filter(|held| held.broadcast == broadcast) {
            held.start_until = None;
        }
    }

    /// A check that an action asked for is over; tells whether anything is known now that was not.
    pub(crate) fn checked(
        &mut self,
        now: Instant,
        id: &EngineId,
        outcome: Result<SocketAddr, CheckFault>,
    ) -> bool {
        let Some(engine) = self.engines.get_mut(id) else { return false };
        let known = |health: &Health| (health.state(), health.address(), health.last_fault().cloned());
        let before = known(&engine.health);
        engine.health.checked(now, self.jitter.factor(), outcome);
        if engine.kind.is_starting() {
            engine.health.await_start(now);
        }
        if !self.waiting.is_empty() {
            engine.health.hasten(now);
        }
        let after = known(&engine.health);
        if before.0 != State::Down && after.0 == State::Down {
            self.leave(now, id);
        }
        after != before
    }

    /// Asks the streams on an engine that is down to go elsewhere: some may still come, and it is about to be replaced. Where
    /// nobody else could serve any, they are better off where they are.
    fn leave(&mut self, now: Instant, id: &EngineId) {
        let could_serve = |(other, engine): (&EngineId, &Engine)| {
            other != id && engine.health.is_usable(now) && !engine.is_draining() && engine.room() > 0
        };
        if self.engines.iter().any(could_serve)
            && let Some(engine) = self.engines.get(id)
        {
            self.actions.extend(engine.withdraw_all(MoveReason::EngineDown));
        }
    }

    /// Whether somebody waits for an engine.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes an engine nobody has out of the choice, to be worked on; answers whether that is so. Who waits goes first.
    pub(crate) fn hold(&mut self, engine: &EngineId) -> bool {
        let is_idle = self.waiting.is_empty();
        let engine = self.engines.get_mut(engine).filter(|engine| is_idle && engine.streams() == 0);
        engine.map(|engine| engine.is_held = true).is_some()
    }

    /// Puts an engine back into the choice.
    pub(crate) fn let_go(&mut self, engine: &EngineId) {
        if let Some(engine) = self.engines.get_mut(engine) {
            engine.is_held = false;
        }
    }

    /// How an engine does.
    pub(crate) fn state(&self, engine: &EngineId) -> Option<State> {
        self.engines.get(engine).map(|engine| engine.health.state())
    }

    /// Where an engine is.
    pub(crate) fn authority(&self, engine: &EngineId) -> Option<Authority> {
        self.engines.get(engine).map(|engine| engine.authority.clone())
    }

    /// An engine said whether it reaches other peers, or did not say; tells whether that was not known.
    pub(crate) fn connected(&mut self, engine: &EngineId, is_connected: Option<bool>) -> bool {
        let Some(engine) = self.engines.get_mut(engine) else { return false };
        std::mem::replace(&mut engine.is_connected, is_connected) != is_connected
    }

    /// Whether any start is in flight, so that it is worth looking for its end.
    pub(crate) fn has_starts(&self, now: Instant) -> bool {
        self.engines.values().any(|engine| engine.starts(now) > 0)
    }

    /// Grants what can be granted, refuses what has waited too long, claims the checks that are due, and hands out
    /// everything there is to do.
    pub(crate) fn advance(&mut self, now: Instant) -> Vec<Action> {
        self.retry_at = None;
        self.drain_again(now);
        let mut still = VecDeque::with_capacity(self.waiting.len());
        while let Some(waiting) = self.waiting.pop_front() {
            let end = self.end_of_wait(&waiting);
            match self.choose(now, &waiting) {
                // A shard that no longer waits could only give the engine back.
                Choice::Grant(engine) if now < waiting.request.deadline => self.grant(now, waiting, &engine),
                Choice::Wait(retry_at) if now < end => {
                    self.retry_at = [self.retry_at, retry_at, Some(end)].into_iter().flatten().min();
                    still.push_back(waiting);
                }
                _ => {
                    let refusal = self.refusal_for(now, &waiting);
                    self.turn_down(now, waiting, refusal);
                }
            }
        }
        self.waiting = still;
        for (id, engine) in &mut self.engines {
            if engine.health.claim_check(now) {
                self.actions.push(Action::Check { engine: id.clone(), authority: engine.authority.clone() });
            }
        }
        std::mem::take(&mut self.actions)
    }

    /// Refuses everybody who waits: control stops.
    pub(crate) fn refuse_all(&mut self) -> Vec<Action> {
        while let Some(waiting) = self.waiting.pop_front() {
            let refusal =
                Refusal::new(RefusalCode::ControlUnavailable, "control is restarting").retry_after(1);
            self.refuse(waiting.request, refusal);
        }
        std::mem::take(&mut self.actions)
    }

    /// When [`Plan::advance`] must run next, if nothing happens before.
    pub(crate) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let engines = self.engines.values();
        let wakes = engines.flat_map(|engine| [engine.health.next_wake(now), engine.drain_again_at()]);
        wakes.flatten().chain(self.retry_at).min()
    }

    /// Whether there is no engine at all and none is to be expected.
    pub(crate) fn is_empty(&self) -> bool {
        self.engines.is_empty() && self.outlook.is_none()
    }

    /// Whether nothing could be played: every engine there is was looked at and is down, and none of them is being started.
    pub(crate) fn is_lifeless(&self) -> bool {
        let mut staying = self.engines.values().filter(|engine| !engine.is_draining()).peekable();
        match staying.peek() {
            None => self.is_empty(),
            Some(_) => {
                staying.all(|engine| engine.health.state() == State::Down && !engine.kind.is_starting())
            }
        }
    }

    /// How everything stands.
    pub(crate) fn standing(&self, now: Instant) -> Standing {
        let engines = self.engines.iter().map(|(id, engine)| EngineStanding {
            id: id.clone(),
            authority: engine.authority.as_str().clone(),
            address: engine.health.address(),
            state: engine.health.state(),
            fault: engine.health.last_fault().cloned(),
            leases: engine.leases.len(),
            starts: engine.starts(now),
            kind: engine.kind,
            silent: engine.leases.values().filter(|held| held.is_silent).count(),
            group: engine.group.clone(),
            is_forwarded: engine.is_forwarded,
            is_connected: engine.is_connected,
            is_drained: engine.drained_at.is_some(),
        });
        Standing {
            engines: engines.collect(),
            waiting: self.waiting.len(),
            is_hopeful: self.outlook.as_ref().is_some_and(|outlook| outlook.is_hopeful),
            silent_groups: self.silent_groups(),
            counts: self.counts.clone(),
        }
    }

    fn release(&mut self, lease: LeaseId) -> Option<EngineId> {
        let Some(engine) = self.home.remove(&lease) else {
            self.unfound.values_mut().for_each(|leases| leases.retain(|(id, _)| *id != lease));
            return None;
        };
        if let Some(engine) = self.engines.get_mut(&engine) {
            engine.leases.remove(&lease);
        }
        Some(engine)
    }

    /// Refuses a request and says how that came about.
    fn turn_down(&mut self, now: Instant, waiting: Waiting, refusal: Refusal) {
        let candidates = self.candidates(now, &waiting);
        self.note(now, &waiting, candidates, Err(refusal.code));
        self.refuse(waiting.request, refusal);
    }

    /// Keeps what was decided for whoever looks at it after this turn.
    fn note(
        &mut self,
        now: Instant,
        waiting: &Waiting,
        candidates: Vec<Seen>,
        outcome: Result<(LeaseId, EngineId), RefusalCode>,
    ) {
        if self.decisions.len() < DECISIONS_MAX {
            self.decisions.push(Decision {
                shard: waiting.request.shard,
                stream: waiting.request.stream.clone(),
                asked: waiting.since,
                decided: now,
                outcome,
                candidates,
            });
        }
    }

    /// How every engine looks to a request, when that is to be explained.
    fn candidates(&self, now: Instant, waiting: &Waiting) -> Vec<Seen> {
        if !self.is_explaining {
            return Vec::new();
        }
        let beside = self.beside(waiting.broadcast);
        let seen = |(id, engine): (&EngineId, &Engine)| {
            let candidate = engine.candidate(now, &beside);
            Seen {
                engine: id.clone(),
                score: self.limits.selection.score(candidate),
                obstacle: self.obstacle(now, waiting, id, engine),
                is_poor: candidate.is_poor,
                is_near: candidate.is_near,
                is_forwarded: engine.is_forwarded,
                state: engine.health.state(),
                streams: engine.streams(),
                starts: engine.starts(now),
            }
        };
        self.engines.iter().map(seen).collect()
    }

    fn beside(&self, broadcast: Hex40) -> Beside<'_> {
        let playing = self.engines.values().filter(|engine| engine.plays(broadcast)).collect();
        Beside { playing, silent: self.silent_groups() }
    }

    /// The first of the things [`Plan::choose`] looks at that keeps an engine from a request.
    fn obstacle(&self, now: Instant, waiting: &Waiting, id: &EngineId, engine: &Engine) -> Option<Obstacle> {
        let request = &waiting.request;
        let obstacles = [
            (request.wanted.as_ref().is_some_and(|wanted| wanted != id), Obstacle::NotWanted),
            (!engine.health.is_usable(now), Obstacle::NotUsable),
            (engine.is_draining(), Obstacle::Draining),
            (engine.plays(waiting.broadcast), Obstacle::SameBroadcast),
            (engine.room() == 0, Obstacle::Full),
            (engine.starts(now) >= self.limits.engine_starts_max, Obstacle::BusyStarting),
            (request.avoid.contains(id), Obstacle::FailedBefore),
            (engine.kind == Kind::Fallback, Obstacle::LastResort),
        ];
        obstacles.into_iter().find(|(holds, _)| *holds).map(|(_, obstacle)| obstacle)
    }

    fn grant(&mut self, now: Instant, waiting: Waiting, id: &EngineId) {
        // How engines look before this one has another stream.
        let candidates = self.candidates(now, &waiting);
        let Some((engine, address)) =
            self.engines.get_mut(id).and_then(|e| e.health.address().map(|a| (e, a)))
        else {
            return;
        };
        self.leases_made += 1;
        // The epoch makes ids unique over restarts of control within one process.
        let lease = Lease {
            id: LeaseId(self.limits.epoch.0 << 40 | self.leases_made),
            epoch: self.limits.epoch,
            engine: id.clone(),
            address,
            authority: engine.authority.as_str().clone(),
            group: engine.group.clone(),
        };
        let LeaseRequest { shard, ticket, .. } = waiting.request;
        let broadcast = waiting.broadcast;
        self.uses += 1;
        engine.used_at = self.uses;
        let start_until = Some(now + START_SLOT_MAX);
        engine.leases.insert(lease.id, Held { shard, broadcast, start_until, is_silent: false });
        self.home.insert(lease.id, id.clone());
        self.counts.granted += 1;
        self.note(now, &waiting, candidates, Ok((lease.id, id.clone())));
        self.actions.push(Action::Answer { shard, ticket, answer: Ok(lease) });
    }

    fn refuse(&mut self, request: LeaseRequest, refusal: Refusal) {
        *self.counts.refused.entry(refusal.code.as_str()).or_default() += 1;
        self.actions.push(Action::Answer {
            shard: request.shard,
            ticket: request.ticket,
            answer: Err(refusal),
        });
    }

    /// Decides what a request can have now: a pool engine that did not fail it, then the last resort, then one that
    /// failed it, each later kind only when waiting for an earlier one is hopeless or has lasted long enough.
    fn choose(&self, now: Instant, waiting: &Waiting) -> Choice {
        if !self.reported.contains(&waiting.request.shard) {
            return Choice::Wait(None);
        }
        if self.reported.len() < self.limits.shards && now < self.report_until {
            return Choice::Wait(Some(self.report_until));
        }
        let beside = self.beside(waiting.broadcast);
        let mut best: [Option<(Rank, bool, &EngineId)>; 2] = [None, None];
        // One that is well and only has as many starts under way as it may.
        let mut soon = false;
        let mut avoided: Option<(usize, &EngineId)> = None;
        // Of engines to come none is the one that is wanted.
        let mut hope = waiting.request.wanted.is_none()
            && self.outlook.as_ref().is_some_and(|outlook| outlook.is_hopeful);
        for (id, engine) in &self.engines {
            if waiting.request.wanted.as_ref().is_some_and(|wanted| wanted != id) {
                continue;
            }
            let same_broadcast = engine.plays(waiting.broadcast);
            let failed_before = waiting.request.avoid.iter().position(|avoid| avoid == id);
            let could =
                engine.health.is_usable(now) && !engine.is_draining() && !same_broadcast && engine.room() > 0;
            let can = could && engine.starts(now) < self.limits.engine_starts_max;
            match (can, failed_before) {
                (true, None) => {
                    let candidate = engine.candidate(now, &beside);
                    let rank = self.limits.selection.rank(candidate);
                    let slot = &mut best[usize::from(engine.kind == Kind::Fallback)];
                    if slot.is_none_or(|(other, _, _)| rank < other) {
                        *slot = Some((rank, candidate.is_poor, id));
                    }
                }
                // The avoid list ends with the worst.
                (true, Some(rank)) if avoided.is_none_or(|(other, _)| rank < other) => {
                    avoided = Some((rank, id))
                }
                (false, None) if engine.kind != Kind::Fallback => {
                    hope |= engine.is_promising() && !same_broadcast;
                    soon |= could && !engine.candidate(now, &beside).is_poor;
                }
                _ => {}
            }
        }
        let [pool, fallback] = best;
        let fallback_at = if hope { waiting.patience_until(FALLBACK_PATIENCE, 2) } else { now };
        let avoided_at = if hope { waiting.patience_until(AVOID_PATIENCE, 4) } else { now };
        let poor_at = if soon { waiting.patience_until(POOR_PATIENCE, 4) } else { now };
        match (pool, fallback, avoided) {
            (Some((_, true, _)), _, _) if poor_at > now => {
                Choice::Wait(Some(self.next_start_end(now).map_or(poor_at, |end| end.min(poor_at))))
            }
            (Some((_, _, id)), _, _) => Choice::Grant(id.clone()),
            (None, Some((_, _, id)), _) if fallback_at <= now => Choice::Grant(id.clone()),
            (None, None, Some((_, id))) if avoided_at <= now => Choice::Grant(id.clone()),
            (None, Some(_), _) => Choice::Wait(Some(fallback_at)),
            (None, None, Some(_)) => Choice::Wait(Some(avoided_at)),
            // A start slot that runs out of time is the one change that no message announces.
            (None, None, None) => Choice::Wait(self.next_start_end(now)),
        }
    }

    /// For each waiting request the engines that would do if they had room for another stream.
    pub(crate) fn wants_room(&self, now: Instant) -> Vec<HashSet<EngineId>> {
        // Sessions here cannot make room that others fill.
        let is_ours =
            |engine: &Engine| engine.capacity.is_none_or(|most| engine.others.len() < most as usize);
        let would_do = |engine: &Engine, waiting: &Waiting| {
            engine.room() == 0
                && is_ours(engine)
                && !engine.is_draining()
                && engine.health.is_usable(now)
                && engine.starts(now) < self.limits.engine_starts_max
                && !engine.plays(waiting.broadcast)
        };
        let of = |waiting: &Waiting| -> HashSet<EngineId> {
            let avoided = &waiting.request.avoid;
            let engines =
                self.engines.iter().filter(|(id, engine)| !avoided.contains(id) && would_do(engine, waiting));
            engines.map(|(id, _)| id.clone()).collect()
        };
        self.waiting.iter().map(of).filter(|engines| !engines.is_empty()).collect()
    }

    fn next_start_end(&self, now: Instant) -> Option<Instant> {
        let ends = self
            .engines
            .values()
            .flat_map(|engine| engine.leases.values().filter_map(|held| held.start_until));
        ends.filter(|end| *end > now).min()
    }

    /// When a request is refused: at its deadline, or earlier while no engine shows any sign of life. Where the fleet is
    /// all there is and no engine comes from it in time, waiting is of no use.
    fn end_of_wait(&self, waiting: &Waiting) -> Instant {
        match &self.outlook {
            Some(outlook) if outlook.is_hopeful => return waiting.answer_by,
            Some(_) if !self.engines.values().any(Engine::is_promising) => return waiting.since,
            _ => {}
        }
        let lifeless = self.engines.values().all(|engine| engine.health.state() == State::Down);
        let patience = waiting.since + self.limits.no_response_timeout;
        if lifeless { waiting.answer_by.min(patience) } else { waiting.answer_by }
    }

    /// Why a request that waited in vain is refused.
    fn refusal_for(&self, now: Instant, waiting: &Waiting) -> Refusal {
        if !self.reported.contains(&waiting.request.shard) {
            return Refusal::new(RefusalCode::ControlUnavailable, "control is starting").retry_after(1);
        }
        let from_fleet = self.outlook.as_ref().and_then(|outlook| outlook.refusal.clone());
        let alive = || self.engines.values().filter(|engine| engine.is_promising());
        let is_free = |engine: &&Engine| engine.room() > 0;
        let refusal = if alive().next().is_none() {
            match from_fleet {
                Some(refusal) => return refusal,
                None if self.engines.is_empty() => {
                    Refusal::new(RefusalCode::NoEngine, "engines are being started and none is ready yet")
                }
                None => self.nobody_alive(),
            }
        } else if !alive().any(|engine| is_free(&engine)) {
            let capacities = alive().filter_map(|engine| engine.capacity);
            let most = capacities.max().unwrap_or_default();
            let full = format!("all engines at maximum capacity ({most} streams per engine)");
            match from_fleet {
                Some(refusal) if refusal.code != RefusalCode::MaxCapacity => return refusal,
                Some(refusal) => Refusal { detail: full.into(), ..refusal },
                None => Refusal::new(RefusalCode::MaxCapacity, full),
            }
        } else if alive().filter(is_free).all(|e| e.starts(now) >= self.limits.engine_starts_max) {
            Refusal::new(RefusalCode::MaxCapacity, "every engine is busy starting other streams")
        } else {
            Refusal::new(RefusalCode::NoEngine, "no other engine can take this stream now")
        };
        if refusal.retry_after_s.is_some() { refusal } else { refusal.retry_after(RETRY_AFTER_S) }
    }

    fn nobody_alive(&self) -> Refusal {
        const NAMED_MAX: usize = 3;
        let faults =
            || self.engines.iter().filter_map(|(id, e)| e.health.last_fault().map(|fault| (id, fault)));
        let mut text: Vec<String> =
            faults().take(NAMED_MAX).map(|(id, fault)| format!("{id}: {fault}")).collect();
        if self.engines.len() > NAMED_MAX {
            text.push(format!("and {} more", self.engines.len() - NAMED_MAX));
        }
        let has_bad_name = faults().any(|(_, fault)| matches!(fault, CheckFault::Name { .. }));
        let code = if self.engines.len() == 1 || has_bad_name {
            RefusalCode::EngineUnreachable
        } else {
            RefusalCode::NoEngine
        };
        Refusal::new(code, format!("no engine answers ({})", text.join("; ")))
    }
}

#[cfg(test)]
#[path = "plan_simulation.rs"]
mod simulation;

#[cfg(test)]
#[path = "plan_fleet.rs"]
mod fleet_tests;
