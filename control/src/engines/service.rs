//! The one task that owns the plan: messages in, answers out, checks run beside it.
//!
//! It owns the plan, which grants leases, and the fleet, which keeps engines in Docker, and tells each how the other
//! stands before either decides. It waits for nothing but its own queue, its checks, Docker jobs and the clock; sending to a
//! shard never waits.

use super::Authority;
use super::check::{CheckFault, Found, check, is_connected};
use super::condition::condition;
use super::entry::entry;
use super::fleet::{Blocked, FleetStanding, HandError, HandTicket, Made, Outcome, View, Wish};
use super::health::State;
use super::jitter::Jitter;
use super::live::Live;
use super::plan::{Action, Limits, Outlook, Plan, Pooled, Standing};
use super::records::{Record, Records};
use super::reported::Reported;
use super::selection::Selection;
use super::usage::UsageBoard;
use super::yard::{News, Yard, YardOptions};
use super::yielding::{Idle, Yields};
use crate::diagnosis::{self, Kind};
use crate::docker::{ContainerId, Docker, Usage};
use crate::events;
use crate::shards::Shards;
use sluice_contract::snapshot::{Board, SessionState};
use sluice_contract::{
    Alias, Directory, EngineId, EngineSource, Epoch, Hex40, Holdings, LeaseId, LeaseRequest, LeaseReturn,
    Refusal, RefusalCode, ShardId, Shortfall, StreamKey, Supply, Ticket, ToShard, Unwell,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

/// Messages that may wait for the planner. It never waits itself, so this only smooths bursts; whoever feeds it waits
/// when it is full.
const QUEUE_BOUND: usize = 1024;
/// Messages taken before the plan is advanced once for all of them.
const BATCH_MAX: usize = 256;
/// How often the end of a start is looked for on the board while there are starts.
const BOARD_INTERVAL: Duration = Duration::from_millis(250);
/// Unwatched sessions are looked for at most this often while plays wait for room.
const YIELD_INTERVAL: Duration = Duration::from_millis(50);
/// How often a shard with a full inbox is told of the new generation again.
const CONNECT_RETRY: Duration = Duration::from_millis(20);

/// Engines that are not well, told to whoever asks a shard; more are only counted.
const UNWELL_MAX: usize = 20;
/// Engines named where it is said that none answers.
const SHORTFALL_NAMED_MAX: usize = 3;
/// How long a request without an engine waits for one from a fleet that cannot make any now.
const RETRY_AFTER_S: u32 = 30;

/// Where engines beyond the named ones come from.
pub(crate) enum Source {
    /// Nowhere.
    Named,
    /// A VPN was asked for, which is not supported yet: no engine may be reached outside of it.
    VpnRefused,
    /// Docker.
    Docker {
        /// How engines are kept there.
        yard: Box<YardOptions>,
        /// Where.
        docker: Arc<dyn Docker>,
        /// The engine that is taken to be there while Docker was never seen.
        assumed: Option<Authority>,
    },
}

/// What the service is made of.
pub(crate) struct Options {
    /// Engines that exist.
    pub(crate) pool: Vec<Pooled>,
    /// The last resort.
    pub(crate) fallback: Option<Authority>,
    /// Link generation.
    pub(crate) epoch: Epoch,
    /// What may change while it runs.
    pub(crate) live: watch::Receiver<Live>,
    /// How the best of several engines is found.
    pub(crate) selection: Selection,
    /// Starts in flight per engine.
    pub(crate) engine_starts_max: usize,
    /// A request is refused after this while no engine shows any sign of life.
    pub(crate) no_response_timeout: Duration,
    /// A request waits for an engine at most this long.
    pub(crate) engine_wait: Duration,
    /// Where further engines come from.
    pub(crate) source: Source,
    /// Who is told how choices came about.
    pub(crate) diagnosis: diagnosis::Handle,
    /// Who is told of engines that come and go.
    pub(crate) events: events::Handle,
}

enum Command {
    Holdings {
        shard: ShardId,
        epoch: Epoch,
        holdings: Holdings,
    },
    Request(LeaseRequest),
    Silence {
        lease: LeaseId,
        is_silent: bool,
    },
    Abandon {
        shard: ShardId,
        ticket: Ticket,
    },
    Return(LeaseReturn),
    Learned {
        number: Hex40,
        infohash: Hex40,
    },
    Hand(Hand),
    /// Of any engine, kept in Docker or named.
    Drain {
        engine: EngineId,
        is_drained: bool,
        answer: Answer<usize>,
    },
    Stop(oneshot::Sender<()>),
}

type Answer<T> = oneshot::Sender<Result<T, HandError>>;

/// What somebody asks for by hand.
enum Hand {
    Make(Box<Wish>, Answer<Made>),
    Remove(String, Answer<ContainerId>),
    Scale(usize, Answer<usize>),
    Collect(Answer<()>),
    Rework(Answer<usize>),
    EmptyCaches(Answer<(usize, usize)>),
    ResetBreakers { general: bool, replacement: bool, answer: Answer<()> },
}

impl Hand {
    fn refuse(self, error: HandError) {
        // Who no longer waits need not be told.
        let _ = match self {
            Self::Make(_, answer) => answer.send(Err(error)).is_ok(),
            Self::Remove(_, answer) => answer.send(Err(error)).is_ok(),
            Self::Scale(_, answer) | Self::Rework(answer) => answer.send(Err(error)).is_ok(),
            Self::EmptyCaches(answer) => answer.send(Err(error)).is_ok(),
            Self::Collect(answer) | Self::ResetBreakers { answer, .. } => answer.send(Err(error)).is_ok(),
        };
    }
}

/// Who waits for the end of something asked for by hand.
#[derive(Default)]
struct Hands {
    tickets: u64,
    making: HashMap<HandTicket, Answer<Made>>,
    removing: HashMap<HandTicket, Answer<ContainerId>>,
}

impl Hands {
    fn ticket(&mut self) -> HandTicket {
        self.tickets += 1;
        HandTicket(self.tickets)
    }

    fn tell(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Made(ticket, outcome) => {
                    let _ = self.making.remove(&ticket).map(|answer| answer.send(outcome));
                }
                Outcome::Removed(ticket, outcome) => {
                    let _ = self.removing.remove(&ticket).map(|answer| answer.send(outcome));
                }
            }
        }
    }
}

/// Cheap way to talk to the engines room.
#[derive(Clone)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
    standing: watch::Receiver<Arc<Standing>>,
    fleet: watch::Receiver<Option<Arc<FleetStanding>>>,
    docker: Option<Arc<dyn Docker>>,
    usage: UsageBoard,
    records: Arc<Records>,
    reported: watch::Sender<Reported>,
}

impl Handle {
    /// Passes on what a shard holds.
    pub(crate) async fn holdings(&self, shard: ShardId, epoch: Epoch, holdings: Holdings) {
        self.send(Command::Holdings { shard, epoch, holdings }).await;
    }

    /// Passes on a request; the answer goes straight to the shard.
    pub(crate) async fn request(&self, request: LeaseRequest) {
        self.send(Command::Request(request)).await;
    }

    /// Withdraws a request.
    pub(crate) async fn abandon(&self, shard: ShardId, ticket: Ticket) {
        self.send(Command::Abandon { shard, ticket }).await;
    }

    /// Gives a lease back.
    pub(crate) async fn give_back(&self, lease: LeaseReturn) {
        self.send(Command::Return(lease)).await;
    }

    /// Passes on that the source on a lease fell silent, or came back.
    pub(crate) async fn silence(&self, lease: LeaseId, is_silent: bool) {
        self.send(Command::Silence { lease, is_silent }).await;
    }

    /// Passes on that a number names a broadcast.
    pub(crate) async fn learned(&self, number: Hex40, infohash: Hex40) {
        self.send(Command::Learned { number, infohash }).await;
    }

    /// How everything stands now; never waits.
    pub(crate) fn standing(&self) -> Arc<Standing> {
        self.standing.borrow().clone()
    }

    /// How the engines in Docker stand now, when engines are kept there; never waits.
    pub(crate) fn fleet(&self) -> Option<Arc<FleetStanding>> {
        self.fleet.borrow().clone()
    }

    /// What is remembered of an engine.
    pub(crate) fn record(&self, engine: &EngineId) -> Option<Record> {
        self.records.get(engine)
    }

    /// A view that tells when the standing changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.clone()
    }

    /// A view that tells when the engines in Docker change; of nothing where none are kept.
    pub(crate) fn watch_fleet(&self) -> watch::Receiver<Option<Arc<FleetStanding>>> {
        self.fleet.clone()
    }

    /// Docker, when engines are kept there: for containers that are no engines.
    pub(crate) fn docker(&self) -> Option<Arc<dyn Docker>> {
        self.docker.clone()
    }

    /// What the containers of engines use; empty where none are kept.
    pub(crate) fn usage(&self) -> std::collections::BTreeMap<ContainerId, Usage> {
        self.usage.all()
    }

    /// Tells what other proxies play now, on which engine; never waits.
    pub(crate) fn set_reported(&self, reported: Reported) {
        self.reported.send_if_modified(|shown| {
            let is_news = *shown != reported;
            *shown = reported;
            is_news
        });
    }

    /// Has an engine made; answers when its container runs.
    pub(crate) async fn make(&self, wish: Wish) -> Result<Made, HandError> {
        self.ask(|answer| Hand::Make(Box::new(wish), answer)).await
    }

    /// Has an engine removed, by id, unique beginning of it, or name; answers when its container is gone.
    pub(crate) async fn remove(&self, which: String) -> Result<ContainerId, HandError> {
        self.ask(|answer| Hand::Remove(which, answer)).await
    }

    /// Asks for another number of engines; answers the one within the limits.
    pub(crate) async fn scale(&self, demand: usize) -> Result<usize, HandError> {
        self.ask(|answer| Hand::Scale(demand, answer)).await
    }

    /// Has an engine given nothing more and its streams moved, or takes that back; answers how many streams it has.
    pub(crate) async fn drain(&self, engine: EngineId, is_drained: bool) -> Result<usize, HandError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Drain { engine, is_drained, answer }).await;
        answered.await.unwrap_or(Err(HandError::Stopped))
    }

    /// Has engines removed that nobody uses.
    pub(crate) async fn collect(&self) -> Result<(), HandError> {
        self.ask(Hand::Collect).await
    }

    /// Has all engines made anew; answers how many those are.
    pub(crate) async fn rework(&self) -> Result<usize, HandError> {
        self.ask(Hand::Rework).await
    }

    /// Has the caches of idle engines emptied; answers how many, and how many are in use and left alone.
    pub(crate) async fn empty_caches(&self) -> Result<(usize, usize), HandError> {
        self.ask(Hand::EmptyCaches).await
    }

    /// Closes breakers.
    pub(crate) async fn reset_breakers(&self, general: bool, replacement: bool) -> Result<(), HandError> {
        self.ask(|answer| Hand::ResetBreakers { general, replacement, answer }).await
    }

    async fn ask<T>(&self, hand: impl FnOnce(Answer<T>) -> Hand) -> Result<T, HandError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Hand(hand(answer))).await;
        answered.await.unwrap_or(Err(HandError::Stopped))
    }

    /// Refuses everybody who waits and ends the service.
    pub(crate) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        self.send(Command::Stop(done)).await;
        // A service that is already gone has nobody waiting.
        let _ = stopped.await;
    }

    async fn send(&self, command: Command) {
        if self.commands.send(command).await.is_err() {
            tracing::warn!("the engines service is gone; a message to it is lost");
        }
    }
}

struct Service {
    plan: Plan,
    yard: Option<Yard>,
    live: watch::Receiver<Live>,
    reported: watch::Receiver<Reported>,
    heeded: Live,
    assumed: Option<Authority>,
    is_assumed: bool,
    vpn_refusal: Option<Refusal>,
    hands: Hands,
    engine_wait: Duration,
    commands: mpsc::Receiver<Command>,
    standing: watch::Sender<Arc<Standing>>,
    fleet: watch::Sender<Option<Arc<FleetStanding>>>,
    records: Arc<Records>,
    diagnosis: diagnosis::Handle,
    events: events::Handle,
    shards: Arc<Shards>,
    directory: Arc<Directory>,
    board: Arc<Board>,
    epoch: Epoch,
    checks: JoinSet<(EngineId, Result<Found, CheckFault>)>,
    /// Engines that answered are asked whether they reach others, beside everything else.
    asked: JoinSet<(EngineId, Option<bool>)>,
    unconnected: Vec<ShardId>,
    observed_at: Instant,
    yields: Yields,
    /// As of what was published last.
    unwell: (Vec<Unwell>, usize),
    /// When unwatched sessions are looked for next, while plays wait for room.
    yield_at: Option<Instant>,
}

/// Starts the service on the current runtime; the join set ends when it does.
pub(crate) fn start(
    options: Options,
    shards: Arc<Shards>,
    directory: Arc<Directory>,
    board: Arc<Board>,
    tasks: &mut JoinSet<&'static str>,
) -> Handle {
    let (commands, inbox) = mpsc::channel(QUEUE_BOUND);
    let limits = Limits {
        epoch: options.epoch,
        shards: shards.count(),
        streams_per_engine: options.live.borrow().streams_per_engine,
        selection: options.selection,
        engine_starts_max: options.engine_starts_max,
        no_response_timeout: options.no_response_timeout,
        engine_wait: options.engine_wait,
        fleet_streams: match &options.source {
            Source::Docker { yard, .. } => yard.limits.streams_per_engine,
            Source::Named | Source::VpnRefused => 1,
        },
    };
    // Different processes must not check the same engines in step.
    let jitter = Jitter::new(u64::from(std::process::id()) << 32 | options.epoch.0);
    let now = Instant::now();
    let is_vpn_refused = matches!(options.source, Source::VpnRefused);
    let (pool, fallback) = if is_vpn_refused { Default::default() } else { (options.pool, options.fallback) };
    let mut plan = Plan::new(now, limits, pool, fallback, jitter);
    let vpn_refusal = is_vpn_refused.then(|| {
        let text = "a VPN is asked for (GLUETUN_CONTAINER_NAME, VPN_MODE) and not supported yet, so no engine is used";
        Refusal::new(RefusalCode::VpnNotSupported, text)
    });
    if vpn_refusal.is_some() {
        plan.set_outlook(Some(Outlook { is_hopeful: false, refusal: vpn_refusal.clone() }));
    }
    let (yard, docker, assumed) = match options.source {
        Source::Docker { yard, docker, assumed } => {
            (Some(Yard::new(now, *yard, docker.clone())), Some(docker), assumed)
        }
        Source::Named | Source::VpnRefused => (None, None, None),
    };
    if yard.is_some() {
        // A look-up that comes before the first engine waits for it.
        plan.set_outlook(Some(Outlook { is_hopeful: true, refusal: None }));
    }
    let usage = yard.as_ref().map(Yard::usage).unwrap_or_default();
    let fleet = yard.as_ref().map(|yard| Arc::new(yard.fleet.standing(now)));
    let (fleet, fleet_view) = watch::channel(fleet);
    // Shown from the first moment as not checked yet: whoever looks before the service has run must wait for them, not
    // take it that there are none.
    let (standing, view) = watch::channel(Arc::new(plan.standing(now)));
    let (reported, reports) = watch::channel(Reported::default());
    let records = Arc::<Records>::default();
    records.keep(SystemTime::now(), &view.borrow().ids());
    let mut service = Service {
        plan,
        yard,
        live: options.live,
        reported: reports,
        heeded: Live::default(),
        assumed,
        is_assumed: false,
        vpn_refusal,
        hands: Hands::default(),
        engine_wait: options.engine_wait,
        commands: inbox,
        standing,
        fleet,
        records: records.clone(),
        diagnosis: options.diagnosis,
        events: options.events,
        unconnected: shards.ids().collect(),
        shards,
        directory,
        board,
        epoch: options.epoch,
        checks: JoinSet::new(),
        asked: JoinSet::new(),
        observed_at: Instant::now(),
        yields: Yields::default(),
        unwell: (Vec::new(), 0),
        yield_at: None,
    };
    service.heed();
    tasks.spawn(async move {
        service.run().await;
        "engines"
    });
    Handle { commands, standing: view, fleet: fleet_view, docker, usage, records, reported }
}

impl Service {
    async fn run(mut self) {
        let mut is_news = true;
        loop {
            // With a thousand engines a check ends every few milliseconds, and most find what was known.
            if is_news || self.plan.has_waiting() {
                self.take_turn();
            } else {
                let checks = self.plan.advance(Instant::now());
                self.perform(checks);
            }
            let (checks_at, rest_at) = self.next_wakes();
            let wake = checks_at.into_iter().chain(rest_at).min();
            is_news = tokio::select! {
                command = self.commands.recv() => {
                    let Some(command) = command else { return };
                    if let Some(done) = self.take_all(command) {
                        let refusals = self.plan.refuse_all();
                        self.perform(refusals);
                        if let Some(yard) = &mut self.yard {
                            yard.stop().await;
                        }
                        let _ = done.send(());
                        return;
                    }
                    true
                }
                Some(checked) = self.checks.join_next() => self.take_checks(checked),
                Some(answered) = self.asked.join_next() => self.take_answers(answered),
                news = news(&mut self.yard) => { self.hear(news); true }
                () = changed(&mut self.live) => true,
                () = changed(&mut self.reported) => { self.take_reported(); true }
                () = sleep_until(wake) => false,
            };
            is_news |= rest_at.is_some_and(|at| at <= Instant::now());
        }
    }

    /// Has everybody who decides do so, and shows what came of it. Costs what all engines cost.
    fn take_turn(&mut self) {
        self.heed();
        self.connect();
        self.observe_starts();
        self.advance();
        self.make_room();
        self.tend_caches();
        self.publish();
    }

    /// Takes a check that is over, and with it those that are over too; tells whether any of them says something new.
    fn take_checks(&mut self, first: Result<(EngineId, Result<Found, CheckFault>), JoinError>) -> bool {
        let (mut next, mut is_news) = (Some(first), false);
        while let Some(checked) = next {
            match checked {
                Ok((engine, outcome)) => is_news |= self.checked(&engine, outcome),
                Err(error) => tracing::error!(%error, "an engine check failed inside; this is a bug"),
            }
            next = self.checks.try_join_next();
        }
        is_news
    }

    /// The same of engines that were asked whether they reach others.
    fn take_answers(&mut self, first: Result<(EngineId, Option<bool>), JoinError>) -> bool {
        let (mut next, mut is_news) = (Some(first), false);
        while let Some(answered) = next {
            match answered {
                Ok((engine, is_connected)) => is_news |= self.plan.connected(&engine, is_connected),
                Err(error) => tracing::error!(%error, "an engine check failed inside; this is a bug"),
            }
            next = self.asked.try_join_next();
        }
        is_news
    }

    /// Takes what was changed while it runs.
    fn heed(&mut self) {
        if *self.live.borrow() == self.heeded {
            return;
        }
        self.heeded = self.live.borrow_and_update().clone();
        self.plan.set_streams_per_engine(self.heeded.streams_per_engine);
        if let Some(yard) = &mut self.yard {
            yard.heed(Instant::now(), &self.heeded);
        }
    }

    /// Takes what other proxies play now.
    fn take_reported(&mut self) {
        let reported = self.reported.borrow_and_update().clone();
        for engine in self.plan.set_reported(reported) {
            self.records.used(SystemTime::now(), &engine);
        }
    }

    /// Takes what happened in Docker, and with it what else has happened there: each turn costs what all engines cost.
    fn hear(&mut self, first: News) {
        let now = Instant::now();
        let Some(yard) = &mut self.yard else { return };
        let mut next = Some(first);
        for taken in 1.. {
            let Some(news) = next else { return };
            if let News::Purged(id, _) = &news {
                self.plan.let_go(&EngineId(id.0.clone()));
            }
            if let Some(engine) = yard.take(now, news) {
                self.plan.look_again(now, &engine);
            }
            next = if taken < BATCH_MAX { yard.more_news() } else { None };
        }
    }

    /// Takes everything that is queued; a stop ends it.
    fn take_all(&mut self, first: Command) -> Option<oneshot::Sender<()>> {
        let mut next = Some(first);
        for _ in 0..BATCH_MAX {
            match next {
                None => break,
                Some(Command::Stop(done)) => return Some(done),
                Some(command) => self.take(command),
            }
            next = self.commands.try_recv().ok();
        }
        // The bound ended the loop with one message in hand.
        match next {
            Some(Command::Stop(done)) => Some(done),
            Some(command) => {
                self.take(command);
                None
            }
            None => None,
        }
    }

    fn take(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Holdings { shard, epoch, holdings } => {
                let leases = holdings
                    .leases
                    .into_iter()
                    .map(|(lease, key)| (lease, self.broadcast(&key)))
                    .collect::<Vec<_>>();
                tracing::info!(shard = shard.0, leases = leases.len(), "a shard reported what it holds");
                self.plan.holdings(shard, epoch, leases);
            }
            Command::Request(request) if self.loops(&request.stream) => {
                let text = "the stream was found to loop and is not played for now";
                let answer = Err(Refusal::new(RefusalCode::LoopingStream, text));
                let LeaseRequest { shard, ticket, .. } = request;
                self.perform(vec![Action::Answer { shard, ticket, answer }]);
            }
            Command::Request(request) => {
                let broadcast = self.broadcast(&request.stream);
                self.plan.request(now, request, broadcast);
            }
            Command::Abandon { shard, ticket } => self.plan.abandon(shard, ticket),
            Command::Return(lease) => self.plan.give_back(now, lease),
            Command::Silence { lease, is_silent } => {
                for group in self.plan.silence(now, lease, is_silent) {
                    tracing::warn!(%group, "all engines in use of a group are silent together");
                }
            }
            Command::Learned { number, infohash } => self.plan.learned(number, infohash),
            Command::Hand(hand) => self.take_hand(now, hand),
            Command::Drain { engine, is_drained, answer } => {
                let streams = self.plan.drain(now, &engine, is_drained);
                tracing::info!(%engine, is_drained, streams, "an engine is drained by hand, or no more");
                // Who no longer waits need not be told.
                let _ = answer.send(streams.ok_or_else(|| HandError::NoSuchEngine(engine.to_string())));
            }
            Command::Stop(_) => {}
        }
    }

    fn take_hand(&mut self, now: Instant, hand: Hand) {
        // Whoever changed a setting before asking is asking for what it says now.
        self.heed();
        let Some(yard) = &mut self.yard else {
            return hand.refuse(self.vpn_refusal.clone().map_or(HandError::NotKept, HandError::Refused));
        };
        match hand {
            Hand::Make(wish, answer) => {
                let ticket = self.hands.ticket();
                match yard.fleet.wish(now, Wish { ticket: Some(ticket), ..*wish }) {
                    Ok(()) => drop(self.hands.making.insert(ticket, answer)),
                    Err(error) => drop(answer.send(Err(error))),
                }
            }
            Hand::Remove(which, answer) => {
                let ticket = self.hands.ticket();
                match yard.fleet.remove_by_hand(now, &which, ticket) {
                    Ok(()) => drop(self.hands.removing.insert(ticket, answer)),
                    Err(error) => drop(answer.send(Err(error))),
                }
            }
            Hand::Scale(demand, answer) => drop(answer.send(Ok(yard.fleet.scale_by_hand(demand)))),
            Hand::Collect(answer) => {
                yard.fleet.collect();
                let _ = answer.send(Ok(()));
            }
            Hand::Rework(answer) => drop(answer.send(yard.fleet.rework(now))),
            Hand::EmptyCaches(answer) => drop(answer.send(Ok(yard.empty_caches(now)))),
            Hand::ResetBreakers { general, replacement, answer } => {
                yard.fleet.reset_breakers(now, general, replacement);
                let _ = answer.send(Ok(()));
            }
        }
    }

    /// Whether what a key plays is on the list of what loops. A play is refused before it asks for an engine; a channel that goes on
    /// with another of its ids asks for one only.
    fn loops(&self, key: &StreamKey) -> bool {
        self.directory.is_blocked(key.selector().map_or(key.number(), |selector| selector.value()), key)
    }

    /// The number that identifies what a key plays: two keys of one broadcast must not share an engine.
    fn broadcast(&self, key: &StreamKey) -> Hex40 {
        // Leases are asked for by broadcast: a channel is named only where nobody knows which of its ids it plays.
        let Some(selector) = key.selector() else { return key.number() };
        let alias = Alias { selector, options: key.options.clone() };
        let known = self.directory.canonical(&alias).and_then(|known| known.infohash());
        known.unwrap_or(selector.value())
    }

    fn connect(&mut self) {
        self.unconnected.retain(|shard| !self.shards.connect(*shard, self.epoch));
    }

    /// Looks on the board for sessions whose engine has answered, a few times a second while there are starts.
    fn observe_starts(&mut self) {
        let now = Instant::now();
        if now < self.observed_at + BOARD_INTERVAL || !self.plan.has_starts(now) {
            return;
        }
        self.observed_at = now;
        for shard in self.board.read() {
            let opened =
                shard.sessions.iter().filter_map(|session| Some((session, session.engine.as_ref()?)));
            for (session, engine) in opened {
                let broadcast = session.infohash.unwrap_or_else(|| match session.channel {
                    Some(_) => session.asked_as.value(),
                    None => self.broadcast(&session.key),
                });
                self.plan.opened(&engine.id, broadcast);
            }
        }
    }

    /// Advances until nothing changes: a grant that could not be delivered frees its engine for whoever waits next.
    /// Ends, because each such grant takes one request out of the queue.
    fn advance(&mut self) {
        self.plan.explain(self.diagnosis.is_debugging());
        loop {
            self.advance_fleet();
            let actions = self.plan.advance(Instant::now());
            let has_decided = actions.iter().any(|action| !matches!(action, Action::Check { .. }));
            let undelivered = self.perform(actions);
            if undelivered > 0 {
                continue;
            }
            // What the plan just granted or refused may call for engines.
            if has_decided {
                self.advance_fleet();
            }
            break;
        }
        self.diagnosis.decided(&self.plan.take_decisions());
        let happenings = self.yard.as_mut().map(|yard| yard.fleet.take_happenings()).unwrap_or_default();
        for happening in &happenings {
            self.diagnosis.line(Kind::Provisioning, || diagnosis::provisioning(happening));
            entry(happening).into_iter().for_each(|draft| self.events.record(draft));
        }
    }

    /// Tells fleet and plan how the other stands. An engine the fleet gives up has no lease at this moment, and the plan
    /// hears of it before it grants anything.
    fn advance_fleet(&mut self) {
        let Some(yard) = &mut self.yard else { return };
        let now = Instant::now();
        let view = View { loads: self.plan.loads(), unplaced: self.plan.unplaced() };
        let actions = yard.fleet.advance(now, &view);
        self.hands.tell(yard.fleet.outcomes());
        yard.perform(now, actions);
        let engines = yard.fleet.engines();
        yard.follow(&engines);
        self.plan.set_fleet(now, engines);
        let is_assumed = self.assumed.is_some() && yard.fleet.is_without_docker();
        if let Some(assumed) = &self.assumed {
            if is_assumed != self.is_assumed {
                say_assumed(assumed, is_assumed);
                self.is_assumed = is_assumed;
            }
            self.plan.set_assumed(now, assumed, is_assumed);
        }
        let outlook = || Outlook {
            is_hopeful: yard.fleet.is_hopeful(now, self.engine_wait),
            refusal: yard.fleet.blocked(now).map(|blocked| refusal(now, blocked, yard.fleet.grace())),
        };
        self.plan.set_outlook((!is_assumed).then(outlook));
    }

    /// Has caches measured and emptied.
    fn tend_caches(&mut self) {
        let Some(yard) = &mut self.yard else { return };
        let loads = self.plan.loads();
        let plan = &mut self.plan;
        yard.tend_caches(Instant::now(), &loads, |engine| plan.hold(engine));
    }

    /// Asks unwatched sessions to end while plays wait for engines that only lack room.
    fn make_room(&mut self) {
        let now = Instant::now();
        if self.yield_at.is_some_and(|at| now < at) {
            return;
        }
        let wants = self.plan.wants_room(now);
        self.yield_at = (!wants.is_empty()).then_some(now + YIELD_INTERVAL);
        if wants.is_empty() {
            return;
        }
        let shown = self.board.read();
        let sessions = || shown.iter().flat_map(|shard| &shard.sessions);
        let unwatched = sessions().filter(|session| session.state == SessionState::Grace);
        let idle = unwatched.filter_map(|session| {
            Some(Idle {
                shard: session.shard,
                key: session.key.clone(),
                engine: session.engine.as_ref()?.id.clone(),
                since: session.idle_since?,
            })
        });
        let alive = |key: &StreamKey| sessions().any(|session| session.key == *key);
        let times = (now, SystemTime::now());
        for Idle { shard, key, engine, .. } in self.yields.choose(times, &wants, idle.collect(), alive) {
            tracing::info!(shard = shard.0, stream = %key, %engine, "a play waits for the engine of an unwatched session");
            // One that finds the inbox full is made up for by another, a little later.
            let _ = self.shards.send(shard, ToShard::Yield { key });
        }
    }

    /// Does what the plan asks for and tells how many answers could not be delivered.
    fn perform(&mut self, actions: Vec<Action>) -> usize {
        let mut undelivered = 0;
        for action in actions {
            match action {
                Action::Answer { shard, ticket, answer } => {
                    match &answer {
                        Ok(lease) => self.records.used(SystemTime::now(), &lease.engine),
                        Err(refusal) => tracing::info!(shard = shard.0, %refusal, "no engine for a session"),
                    }
                    if let Err(ToShard::Lease { answer, .. }) =
                        self.shards.send(shard, ToShard::Lease { ticket, answer })
                    {
                        self.plan.undelivered(answer);
                        undelivered += 1;
                    }
                }
                Action::Withdraw { shard, lease, reason } => {
                    // A shard that does not hear of it notices by itself when its engine stops.
                    let _ = self.shards.send(shard, ToShard::Withdraw { lease, reason });
                }
                Action::Check { engine, authority } => {
                    self.checks.spawn(async move { (engine, check(&authority).await) });
                }
            }
        }
        undelivered
    }

    /// Takes a check; tells whether it says anything that was not known.
    fn checked(&mut self, engine: &EngineId, outcome: Result<Found, CheckFault>) -> bool {
        self.records.checked(SystemTime::now(), engine, &outcome);
        let before = self.plan.state(engine);
        let fault = outcome.as_ref().err().map(ToString::to_string);
        if let (Ok(found), Some(authority)) = (&outcome, self.plan.authority(engine)) {
            let (engine, address) = (engine.clone(), found.address);
            self.asked.spawn(async move { (engine, is_connected(&authority, address).await) });
        }
        let is_news = self.plan.checked(Instant::now(), engine, outcome.map(|found| found.address));
        let after = self.plan.state(engine);
        if let (true, Some(state)) = (before != after, after) {
            let before = before.map(State::as_str);
            self.diagnosis
                .line(Kind::Health, || diagnosis::health(engine, before, state.as_str(), fault.as_deref()));
            tracing::info!(%engine, state = state.as_str(), fault, "an engine's health changed");
        }
        is_news
    }

    fn publish(&mut self) {
        let standing = self.plan.standing(Instant::now());
        // Compared before it is replaced: whoever asks meanwhile waits for the replacing alone.
        let mut is_news = **self.standing.borrow() != standing;
        if is_news {
            self.records.keep(SystemTime::now(), &standing.ids());
            self.standing.send_replace(Arc::new(standing));
        }
        if let Some(yard) = &self.yard {
            let standing = yard.standing(Instant::now());
            if self.fleet.borrow().as_deref() != Some(&standing) {
                self.fleet.send_replace(Some(Arc::new(standing)));
                is_news = true;
            }
        }
        // Looking at every engine for that costs as much as all the rest.
        if is_news {
            self.unwell = self.find_unwell();
        }
        let supply = self.supply(Instant::now());
        if *self.board.supply() != supply {
            self.board.publish_supply(supply);
        }
    }

    /// Where engines come from and how they do, for whoever asks a shard.
    fn supply(&self, now: Instant) -> Supply {
        let (unwell, unwell_total) = self.unwell.clone();
        let Some(yard) = &self.yard else {
            let source = if self.vpn_refusal.is_some() { EngineSource::Refused } else { EngineSource::Named };
            let blocked = self.vpn_refusal.clone();
            let shortfalls = self.shortfalls(blocked.as_ref());
            return Supply { source, blocked, unwell, unwell_total, shortfalls, ..Supply::default() };
        };
        let blocked = yard.fleet.blocked(now).filter(|_| !self.is_assumed);
        let blocked = blocked.map(|blocked| refusal(now, blocked, yard.fleet.grace()));
        Supply {
            source: if self.is_assumed { EngineSource::Assumed } else { EngineSource::Docker },
            assumed: self.assumed.as_ref().filter(|_| self.is_assumed).map(|engine| engine.as_str().clone()),
            docker: yard.fleet.docker_state(),
            shortfalls: self.shortfalls(blocked.as_ref()),
            blocked,
            unwell,
            unwell_total,
        }
    }

    /// What keeps engines from being had: nobody answers, or what blocks new ones is no mere limit.
    fn shortfalls(&self, blocked: Option<&Refusal>) -> Vec<Shortfall> {
        let of =
            |refusal: &Refusal| Shortfall { code: refusal.code.as_str(), detail: refusal.detail.clone() };
        let lifeless = self.plan.is_lifeless().then(|| {
            let seen = self.unwell.0.iter().take(SHORTFALL_NAMED_MAX);
            let seen: Vec<String> = seen.map(|one| format!("{}: {}", one.engine, one.reason)).collect();
            let text = match &seen[..] {
                [] if self.plan.is_empty() => {
                    "no engine is configured; name yours in STATIC_ENGINES".to_owned()
                }
                [] => "no engine answers".to_owned(),
                seen => format!("no engine answers ({})", seen.join("; ")),
            };
            Shortfall { code: RefusalCode::NoEngine.as_str(), detail: text.into() }
        });
        let blocked = blocked.filter(|refusal| refusal.code != RefusalCode::MaxCapacity);
        lifeless.into_iter().chain(blocked.map(of)).collect()
    }

    /// Engines somebody should look after, as many as are shown, and how many there are.
    fn find_unwell(&self) -> (Vec<Unwell>, usize) {
        let (standing, fleet) = (self.standing.borrow(), self.fleet.borrow());
        let members = fleet.as_ref().map(|fleet| fleet.by_id()).unwrap_or_default();
        let mut total = 0;
        let mut shown = Vec::new();
        for engine in &standing.engines {
            let member = members.get(&*engine.id.0).copied();
            let (condition, seen) = condition(engine, member);
            if !condition.is_ill() {
                continue;
            }
            total += 1;
            if shown.len() < UNWELL_MAX {
                shown.push(Unwell {
                    engine: member.map_or_else(|| engine.authority.clone(), |member| member.name.clone()),
                    condition: condition.as_str(),
                    reason: seen.unwrap_or_default().into(),
                });
            }
        }
        (shown, total)
    }

    /// When a check is due next, and when anything else is.
    fn next_wakes(&self) -> (Option<Instant>, Option<Instant>) {
        let now = Instant::now();
        let board = self.plan.has_starts(now).then_some(self.observed_at + BOARD_INTERVAL);
        let connect = (!self.unconnected.is_empty()).then_some(now + CONNECT_RETRY);
        let yard = self.yard.as_ref().and_then(|yard| yard.next_wake(now));
        let wakes = [board, connect, self.yield_at, yard];
        (self.plan.next_wake(now), wakes.into_iter().flatten().min())
    }
}

/// Tells the operator that engines come from elsewhere than was meant, and when that ends.
fn say_assumed(engine: &Authority, is_assumed: bool) {
    let engine = engine.as_str();
    if is_assumed {
        tracing::warn!(
            %engine,
            "no engine is named and there is no Docker: an engine is assumed at {engine}; name yours in STATIC_ENGINES, or \
             give access to Docker"
        );
    } else {
        tracing::info!(%engine, "there is a Docker now: the engine that was assumed is left alone");
    }
}

/// The next change of what may change while it runs. Cancel safe.
async fn changed<T>(told: &mut watch::Receiver<T>) {
    if told.changed().await.is_err() {
        // Nobody is left who could change anything.
        std::future::pending::<()>().await;
    }
}

/// The next thing to hear from Docker; never when engines are not kept there.
async fn news(yard: &mut Option<Yard>) -> News {
    match yard {
        Some(yard) => yard.news().await,
        None => std::future::pending().await,
    }
}

/// What a player is told when the fleet cannot make an engine, and when to come back.
fn refusal(now: Instant, blocked: Blocked, grace: Duration) -> Refusal {
    let seconds = |length: Duration| u32::try_from(length.as_secs()).unwrap_or(u32::MAX).max(1);
    let text = blocked.text();
    match blocked {
        Blocked::NoDocker { .. } => Refusal::new(RefusalCode::NoDocker, text).retry_after(RETRY_AFTER_S),
        Blocked::CircuitBreaker { until, .. } => {
            let left = until.saturating_duration_since(now);
            Refusal::new(RefusalCode::CircuitBreaker, text).retry_after(seconds(left))
        }
        Blocked::MaxCapacity => Refusal::new(RefusalCode::MaxCapacity, text).retry_after(seconds(grace)),
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
