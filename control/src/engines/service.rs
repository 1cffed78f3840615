//! The one task that owns the plan: messages in, answers out, checks run beside it.
//!
//! It owns the plan, which grants leases, and the fleet, which keeps engines in Docker, and tells each how the other
//! stands before either decides. It waits for nothing but its own queue, its checks, Docker jobs and the clock; sending to a
//! shard never waits.

use super::check::{CheckFault, check};
use super::fleet::{Blocked, FleetStanding, View};
use super::jitter::Jitter;
use super::plan::{Action, Limits, Outlook, Plan, Standing};
use super::yard::{News, Yard, YardOptions};
use super::{Authority, EngineStanding};
use crate::docker::Docker;
use crate::shards::Shards;
use sluice_contract::snapshot::Board;
use sluice_contract::{
    Alias, Directory, EngineId, Epoch, Hex40, Holdings, LeaseRequest, LeaseReturn, Refusal, RefusalCode,
    ShardId, StreamKey, Ticket, ToShard,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Messages that may wait for the planner. It never waits itself, so this only smooths bursts; whoever feeds it waits
/// when it is full.
const QUEUE_BOUND: usize = 1024;
/// Messages taken before the plan is advanced once for all of them.
const BATCH_MAX: usize = 256;
/// How often the end of a start is looked for on the board while there are starts.
const BOARD_INTERVAL: Duration = Duration::from_millis(250);
/// How often a shard with a full inbox is told of the new generation again.
const CONNECT_RETRY: Duration = Duration::from_millis(20);

/// How long a request without an engine waits for one from a fleet that cannot make any now.
const RETRY_AFTER_S: u32 = 30;

/// Where engines beyond the named ones come from.
pub(crate) enum Source {
    /// Nowhere.
    Named,
    /// A VPN was asked for, which is not supported yet: no engine may be reached outside of it.
    VpnRefused,
    /// Docker.
    Docker(Box<YardOptions>, Arc<dyn Docker>),
}

/// What the service is made of.
pub(crate) struct Options {
    /// Engines that exist.
    pub(crate) pool: Vec<Authority>,
    /// The last resort.
    pub(crate) fallback: Option<Authority>,
    /// Link generation.
    pub(crate) epoch: Epoch,
    /// Leases per engine; `None` never refuses.
    pub(crate) streams_per_engine: Option<u32>,
    /// Starts in flight per engine.
    pub(crate) engine_starts_max: usize,
    /// A request is refused after this while no engine shows any sign of life.
    pub(crate) no_response_timeout: Duration,
    /// A request waits for an engine at most this long.
    pub(crate) engine_wait: Duration,
    /// Where further engines come from.
    pub(crate) source: Source,
}

enum Command {
    Holdings { shard: ShardId, epoch: Epoch, holdings: Holdings },
    Request(LeaseRequest),
    Abandon { shard: ShardId, ticket: Ticket },
    Return(LeaseReturn),
    Learned { number: Hex40, infohash: Hex40 },
    Stop(oneshot::Sender<()>),
}

/// Cheap way to talk to the engines room.
#[derive(Clone)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
    standing: watch::Receiver<Arc<Standing>>,
    fleet: watch::Receiver<Option<Arc<FleetStanding>>>,
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

    /// A view that tells when the standing changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.clone()
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
    engine_wait: Duration,
    commands: mpsc::Receiver<Command>,
    standing: watch::Sender<Arc<Standing>>,
    fleet: watch::Sender<Option<Arc<FleetStanding>>>,
    shards: Arc<Shards>,
    directory: Arc<Directory>,
    board: Arc<Board>,
    epoch: Epoch,
    checks: JoinSet<(EngineId, Result<SocketAddr, CheckFault>)>,
    unconnected: Vec<ShardId>,
    observed_at: Instant,
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
        streams_per_engine: options.streams_per_engine,
        engine_starts_max: options.engine_starts_max,
        no_response_timeout: options.no_response_timeout,
        engine_wait: options.engine_wait,
        fleet_streams: match &options.source {
            Source::Docker(yard, _) => yard.limits.streams_per_engine,
            Source::Named | Source::VpnRefused => 1,
        },
    };
    // Different processes must not check the same engines in step.
    let jitter = Jitter::new(u64::from(std::process::id()) << 32 | options.epoch.0);
    let now = Instant::now();
    let is_vpn_refused = matches!(options.source, Source::VpnRefused);
    let (pool, fallback) = if is_vpn_refused { Default::default() } else { (options.pool, options.fallback) };
    let mut plan = Plan::new(now, limits, pool, fallback, jitter);
    if is_vpn_refused {
        let text = "a VPN is asked for (GLUETUN_CONTAINER_NAME, VPN_MODE) and not supported yet, so no engine is used";
        let refusal = Refusal::new(RefusalCode::VpnNotSupported, text);
        plan.set_outlook(Outlook { is_hopeful: false, refusal: Some(refusal) });
    }
    let yard = match options.source {
        Source::Docker(yard, docker) => Some(Yard::new(now, *yard, docker)),
        Source::Named | Source::VpnRefused => None,
    };
    let fleet = yard.as_ref().map(|yard| Arc::new(yard.fleet.standing(now)));
    let (fleet, fleet_view) = watch::channel(fleet);
    // Shown from the first moment as not checked yet: whoever looks before the service has run must wait for them, not
    // take it that there are none.
    let (standing, view) = watch::channel(Arc::new(plan.standing(now)));
    let service = Service {
        plan,
        yard,
        engine_wait: options.engine_wait,
        commands: inbox,
        standing,
        fleet,
        unconnected: shards.ids().collect(),
        shards,
        directory,
        board,
        epoch: options.epoch,
        checks: JoinSet::new(),
        observed_at: Instant::now(),
    };
    tasks.spawn(async move {
        service.run().await;
        "engines"
    });
    Handle { commands, standing: view, fleet: fleet_view }
}

impl Service {
    async fn run(mut self) {
        loop {
            self.connect();
            self.observe_starts();
            self.advance();
            self.publish();
            let wake = self.next_wake();
            tokio::select! {
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
                }
                Some(checked) = self.checks.join_next() => match checked {
                    Ok((engine, outcome)) => self.checked(&engine, outcome),
                    Err(error) => tracing::error!(%error, "an engine check failed inside; this is a bug"),
                },
                news = news(&mut self.yard) => self.hear(news),
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Takes what happened in Docker.
    fn hear(&mut self, news: News) {
        let now = Instant::now();
        let Some(yard) = &mut self.yard else { return };
        if let Some(engine) = yard.take(now, news) {
            self.plan.look_again(now, &engine);
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
            Command::Request(request) => {
                let broadcast = self.broadcast(&request.stream);
                self.plan.request(now, request, broadcast);
            }
            Command::Abandon { shard, ticket } => self.plan.abandon(shard, ticket),
            Command::Return(lease) => self.plan.give_back(now, lease),
            Command::Learned { number, infohash } => self.plan.learned(number, infohash),
            Command::Stop(_) => {}
        }
    }

    /// The number that identifies what a key plays: two keys of one broadcast must not share an engine.
    fn broadcast(&self, key: &StreamKey) -> Hex40 {
        let alias = Alias { selector: key.selector(), options: key.options.clone() };
        let known = self.directory.find(&alias).and_then(|known| known.infohash());
        known.unwrap_or(alias.selector.value())
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
                let broadcast = session.infohash.unwrap_or_else(|| self.broadcast(&session.key));
                self.plan.opened(&engine.id, broadcast);
            }
        }
    }

    /// Advances until nothing changes: a grant that could not be delivered frees its engine for whoever waits next.
    /// Ends, because each such grant takes one request out of the queue.
    fn advance(&mut self) {
        loop {
            self.advance_fleet();
            let actions = self.plan.advance(Instant::now());
            if self.perform(actions) == 0 {
                break;
            }
        }
        // What the plan just granted, refused or learned may call for engines.
        self.advance_fleet();
    }

    /// Tells fleet and plan how the other stands. An engine the fleet gives up has no lease at this moment, and the plan
    /// hears of it before it grants anything.
    fn advance_fleet(&mut self) {
        let Some(yard) = &mut self.yard else { return };
        let now = Instant::now();
        let view = View { loads: self.plan.loads(), unplaced: self.plan.unplaced() };
        let actions = yard.fleet.advance(now, &view);
        yard.perform(now, actions);
        self.plan.set_fleet(now, yard.fleet.engines());
        let blocked = yard.fleet.blocked(now);
        self.plan.set_outlook(Outlook {
            is_hopeful: yard.fleet.is_hopeful(now, self.engine_wait),
            refusal: blocked.map(|blocked| refusal(now, blocked, yard.fleet.grace())),
        });
    }

    /// Does what the plan asks for and tells how many answers could not be delivered.
    fn perform(&mut self, actions: Vec<Action>) -> usize {
        let mut undelivered = 0;
        for action in actions {
            match action {
                Action::Answer { shard, ticket, answer } => {
                    if let Err(refusal) = &answer {
                        tracing::info!(shard = shard.0, %refusal, "no engine for a session");
                    }
                    if let Err(ToShard::Lease { answer, .. }) =
                        self.shards.send(shard, ToShard::Lease { ticket, answer })
                    {
                        self.plan.undelivered(answer);
                        undelivered += 1;
                    }
                }
                Action::Withdraw { shard, lease } => {
                    // A shard that does not hear of it notices by itself when its engine stops.
                    let _ = self.shards.send(shard, ToShard::Withdraw { lease });
                }
                Action::Check { engine, authority } => {
                    self.checks.spawn(async move { (engine, check(&authority).await) });
                }
            }
        }
        undelivered
    }

    fn checked(&mut self, engine: &EngineId, outcome: Result<SocketAddr, CheckFault>) {
        let before = self.state_of(engine);
        let fault = outcome.as_ref().err().map(ToString::to_string);
        self.plan.checked(Instant::now(), engine, outcome);
        let standing = self.plan.standing(Instant::now());
        let after =
            standing.engines.iter().find(|standing| standing.id == *engine).map(|standing| standing.state);
        if let (true, Some(state)) = (before != after, after) {
            tracing::info!(%engine, state = state.as_str(), fault, "an engine's health changed");
        }
    }

    fn state_of(&self, engine: &EngineId) -> Option<super::health::State> {
        let standing = self.standing.borrow();
        standing.engines.iter().find(|known: &&EngineStanding| known.id == *engine).map(|known| known.state)
    }

    fn publish(&self) {
        let standing = self.plan.standing(Instant::now());
        self.standing.send_if_modified(|shown| {
            let changed = **shown != standing;
            if changed {
                *shown = Arc::new(standing);
            }
            changed
        });
        if let Some(yard) = &self.yard {
            let standing = yard.fleet.standing(Instant::now());
            self.fleet.send_if_modified(|shown| {
                let changed = shown.as_deref() != Some(&standing);
                if changed {
                    *shown = Some(Arc::new(standing));
                }
                changed
            });
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let now = Instant::now();
        let board = self.plan.has_starts(now).then_some(self.observed_at + BOARD_INTERVAL);
        let connect = (!self.unconnected.is_empty()).then_some(now + CONNECT_RETRY);
        let yard = self.yard.as_ref().and_then(|yard| yard.next_wake(now));
        self.plan.next_wake(now).into_iter().chain(board).chain(connect).chain(yard).min()
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
    match blocked {
        Blocked::NoDocker { text, .. } => {
            Refusal::new(RefusalCode::NoDocker, text).retry_after(RETRY_AFTER_S)
        }
        Blocked::CircuitBreaker { until, text } => {
            let text = format!("too many engines failed to start, the last one because: {text}");
            let left = until.saturating_duration_since(now);
            Refusal::new(RefusalCode::CircuitBreaker, text).retry_after(seconds(left))
        }
        Blocked::MaxCapacity => {
            Refusal::new(RefusalCode::MaxCapacity, "no more engines are allowed (MAX_REPLICAS)")
                .retry_after(seconds(grace))
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::health::State;

    /// Guards: before the service has run at all, engines are shown as not checked yet. Shown as none, the first look-up
    /// gave up and the first player's broadcast got a second session.
    #[tokio::test]
    async fn engines_are_shown_before_the_service_has_run() {
        let options = Options {
            pool: vec!["127.0.0.1:6878".parse().expect("an authority")],
            fallback: None,
            epoch: Epoch(1),
            streams_per_engine: None,
            engine_starts_max: 1,
            no_response_timeout: std::time::Duration::from_secs(1),
            engine_wait: std::time::Duration::from_secs(1),
            source: Source::Named,
        };
        let mut tasks = JoinSet::new();
        let shards = Arc::new(Shards::new(Vec::new()));
        let handle = start(options, shards, Arc::default(), Arc::new(Board::new(0)), &mut tasks);
        // Nothing was awaited: on one thread the service has not run yet.
        let states: Vec<State> = handle.standing().engines.iter().map(|engine| engine.state).collect();
        assert_eq!(states, [State::Unknown]);
    }
}
