//! One shard: a pinned thread with its own ring, its listeners, its sessions and its clients.
//!
//! Shards share nothing they can change but the admission counts, the memory budget and the board they publish to.
//! What reaches a shard from outside comes through its bounded inbox as owned messages. All state below is touched by
//! this thread alone; nothing of it is borrowed across a wait.
//!
//! - `bus` walks over the clients, `hls` serves those that play over HLS,
//! - `accept` takes connections in, `serve` reads what they ask, `play` makes a player of one,
//! - `inbox` hears control and the other shards,
//! - `hot` serves sessions with many players on several shards,
//! - `handover` passes everything to another process, and takes it over there,
//! - `ended` remembers clients and sessions for a while after their end,
//! - `publish` shows what the shard is doing and keeps house.

mod accept;
mod bus;
mod ended;
mod handover;
mod hls;
mod hot;
mod inbox;
mod lanes;
mod play;
mod publish;
mod serve;
mod tempo;

pub use handover::{Gate, Order, Orders, Taken, Then, tell_connections, tell_end};
pub use hot::{Peers, peers};

use crate::client::Rules;
use crate::listen::Admission;
use crate::metrics::Counters;
use crate::session::{Buffers, Host, Limits, Session, Timing, Wish};
use crate::settings::{self, Channels, InForce, JoinBehind, Settings, SlowClient};
use crate::uring::{self, Driver, Ladder, LeaverSet, Listener, Signal, Turns};
use crate::window::{Behind, Budget, LagMax};
use arc_swap::{ArcSwap, Guard};
use bus::Bus;
use sluice_contract::link::{Receiver, Sender};
use sluice_contract::snapshot::{Board, SessionEngine};
use sluice_contract::{
    Alias, Dial, Directory, EndReason, EngineFault, EngineId, Epoch, Hex40, LeaseId, LeaseRequest,
    LeaseReturn, Refusal, RefusalCode, Selector, ShardId, StreamKey, StreamName, Ticket, ToControl, ToShard,
    Tuning,
};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Before a task that failed starts anew: one that fails at once must not take the core.
const RESTART_DELAY: Duration = Duration::from_millis(100);

/// Everything a shard is given at its start.
pub struct Wiring {
    /// Which shard it is.
    pub id: ShardId,
    /// The core to run on; `None` leaves it to the kernel.
    pub core: Option<usize>,
    /// Its listening sockets, one per address.
    pub listeners: Vec<OwnedFd>,
    /// Its inbox.
    pub inbox: Receiver<ToShard>,
    /// All shards' inboxes, in shard order, its own included.
    pub shards: Vec<Sender<ToShard>>,
    /// What it says to other shards about sessions they serve together; none when it is alone.
    pub peers: Option<Peers>,
    /// Control's inbox.
    pub control: Sender<ToControl>,
    /// Aliases.
    pub directory: Arc<Directory>,
    /// Where it publishes itself.
    pub board: Arc<Board>,
    /// Named channels; replaced when their file changes.
    pub channels: Arc<ArcSwap<Channels>>,
    /// What control may change of its behaviour.
    pub dial: Arc<Dial>,
    /// Limits over all shards.
    pub admission: Arc<Admission>,
    /// Window memory of all shards.
    pub budget: Arc<Budget>,
    /// Settings; replaced when some are changed.
    pub settings: InForce,
    /// What it is told about being handed over.
    pub orders: Orders,
    /// What it takes over, and where it waits before it goes on with that.
    pub taken: Option<(Taken, Gate)>,
}

/// What a ticket waits for.
enum Pending {
    Lease(Weak<Session>),
    Resolve(Alias),
}

/// A resolve under way, shared by all players of this shard that ask for the alias.
struct Resolving {
    done: Signal,
    answer: RefCell<Option<Result<StreamKey, Refusal>>>,
}

/// The shard's own state.
pub(crate) struct Shard {
    id: ShardId,
    driver: Driver,
    settings: InForce,
    shards: Vec<Sender<ToShard>>,
    control: Sender<ToControl>,
    directory: Arc<Directory>,
    channels: Arc<ArcSwap<Channels>>,
    board: Arc<Board>,
    dial: Arc<Dial>,
    admission: Arc<Admission>,
    budget: Arc<Budget>,
    turns: Turns,
    buffers: Buffers,
    counters: Counters,
    bus: bus::Shared,
    lines: serve::Lines,
    inbox: RefCell<inbox::Inbox>,
    orders: RefCell<Orders>,
    /// Nothing new is begun, because another process is about to take over.
    is_calm: Cell<bool>,
    /// That has changed.
    stirred: Signal,
    ended: RefCell<ended::Ended>,
    ended_sessions: RefCell<ended::EndedSessions>,
    hls: hls::Hls,
    hot: hot::Hot,
    sessions: RefCell<HashMap<StreamKey, Rc<Session>>>,
    /// Players that wait for a session's start, per session serial.
    waiting: RefCell<HashMap<u64, usize>>,
    pending: RefCell<HashMap<Ticket, Pending>>,
    resolving: RefCell<HashMap<Alias, Rc<Resolving>>>,
    next_ticket: Cell<u64>,
    next_serial: Cell<u64>,
    epoch: Cell<Epoch>,
    /// A client boarded the bus.
    boarded: Signal,
    /// A session was forgotten.
    forgotten: Signal,
    /// Something worth showing at once has changed: sessions, their engines, who watches.
    news: Signal,
    shown: RefCell<publish::Shown>,
    draining: Cell<Option<Instant>>,
    /// Itself, for what outlives the call that hands it out.
    me: RefCell<Weak<Shard>>,
}

/// Runs a shard on the calling thread until it was drained.
///
/// # Errors
/// When no driver can be had or descriptors are short at the start.
pub fn run(wiring: Wiring) -> io::Result<()> {
    if let Some(core) = wiring.core
        && let Err(error) = uring::pin_to_core(core)
    {
        tracing::warn!(shard = wiring.id.0, core, %error, "cannot pin the shard to its core");
    }
    let ladder = match wiring.settings.load().shards.driver {
        settings::Driver::Auto => Ladder::Auto,
        settings::Driver::IoUring => Ladder::IoUring,
        settings::Driver::Epoll => Ladder::Epoll,
    };
    uring::run(ladder, move |driver| live(wiring, driver))?
}

/// What clients live by.
fn rules(settings: &Settings) -> Rules {
    let timeouts = &settings.timeouts;
    Rules {
        write_timeout: timeouts.write,
        keepalive_after: timeouts.keepalive_after,
        keepalive_interval: timeouts.keepalive_interval,
        join_behind: match settings.window.join_behind {
            JoinBehind::Media(time) => Behind::Media(time),
            JoinBehind::Bytes(bytes) => Behind::Bytes(bytes),
        },
        lag: LagMax { time: settings.slow_clients.lag_max, bytes: settings.slow_clients.lag_bytes_max },
        skips: settings.slow_clients.action == SlowClient::Skip,
    }
}

async fn live(wiring: Wiring, driver: Driver) -> io::Result<()> {
    tracing::info!(shard = wiring.id.0, driver = driver.as_str(), core = wiring.core, "shard started");
    let settings = wiring.settings;
    let (tick, rules) = (settings.load().shards.tick, rules(&settings.load()));
    let shard = Rc::new(Shard {
        id: wiring.id,
        driver,
        shards: wiring.shards,
        control: wiring.control,
        directory: wiring.directory,
        channels: wiring.channels,
        board: wiring.board,
        dial: wiring.dial,
        admission: wiring.admission,
        budget: wiring.budget,
        turns: Turns::start()?,
        buffers: Buffers::default(),
        counters: Counters::default(),
        bus: RefCell::new(Bus::new(tick, rules, LeaverSet::new()?)),
        lines: serve::Lines::default(),
        inbox: RefCell::new(inbox::Inbox::new(wiring.inbox)),
        orders: RefCell::new(wiring.orders),
        is_calm: Cell::new(false),
        stirred: Signal::default(),
        ended: RefCell::default(),
        ended_sessions: RefCell::default(),
        hls: hls::Hls::default(),
        hot: hot::Hot::new(wiring.peers),
        sessions: RefCell::default(),
        waiting: RefCell::default(),
        pending: RefCell::default(),
        resolving: RefCell::default(),
        next_ticket: Cell::new(1),
        next_serial: Cell::new(1),
        epoch: Cell::new(Epoch::default()),
        boarded: Signal::default(),
        forgotten: Signal::default(),
        news: Signal::default(),
        shown: RefCell::default(),
        draining: Cell::new(None),
        me: RefCell::default(),
        settings,
    });
    *shard.me.borrow_mut() = Rc::downgrade(&shard);
    if let Some((taken, gate)) = wiring.taken {
        if let Err(error) = handover::take_over(&shard, taken) {
            let _ = gate.stands.send(Err(error.to_string()));
            return Err(error);
        }
        if !handover::wait_at(&gate) {
            return Err(io::Error::other("what was to be taken over was not handed over"));
        }
    }
    for listener in wiring.listeners {
        let listener = Rc::new(Listener::new(listener)?);
        shard.keep("accept", move |shard| accept::run(shard, listener.clone()));
    }
    shard.keep("walk", bus::run);
    shard.keep("hls", hls::run);
    shard.keep("canary", bus::canary);
    shard.keep("publish", publish::run);
    shard.keep("handover", handover::run);
    if shard.shards.len() > 1 {
        shard.keep("hot", hot::run);
    }
    inbox::run(shard).await;
    Ok(())
}

impl Shard {
    /// Starts a task whose failure is counted and ends nothing else.
    fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let shard = self.clone();
        uring::spawn(task, move |panic| {
            tracing::error!(shard = shard.id.0, panic, "a task failed");
            shard.counters.panics.add(1);
        });
    }

    /// Starts a task the shard cannot do without: should it fail, it is counted and started anew on the state it left.
    fn keep<F, T>(self: &Rc<Self>, name: &'static str, task: F)
    where
        F: Fn(Rc<Self>) -> T + 'static,
        T: Future<Output = ()> + 'static,
    {
        let shard = self.clone();
        self.spawn(async move {
            while let Err(panic) = uring::caught(task(shard.clone())).await {
                tracing::error!(shard = shard.id.0, task = name, panic, "a task failed and starts anew");
                shard.counters.panics.add(1);
                monoio::time::sleep(RESTART_DELAY).await;
            }
        });
    }

    fn ticket(&self, pending: Pending) -> Ticket {
        let ticket = Ticket(self.next_ticket.get());
        self.next_ticket.set(ticket.0 + 1);
        self.pending.borrow_mut().insert(ticket, pending);
        ticket
    }

    /// The settings that hold now; not to be kept.
    fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// What clients live by now.
    fn rules(&self) -> Rules {
        rules(&self.settings())
    }

    /// The limits of a session that begins now.
    fn limits(&self) -> Limits {
        let Tuning { grace, empty_timeout, .. } = self.dial.read();
        let settings = self.settings();
        let wait = settings.engines.wait + Duration::from_secs(1);
        Limits {
            // The housekeeper ends those that are not to be kept so long.
            grace: settings.warm.longest(grace),
            abandon: Limits::default().abandon.min(grace),
            empty_timeout,
            spare_clients_min: settings.engines.spare_clients_min.map_or(0, std::num::NonZeroU32::get),
            // The answer needs a moment to arrive.
            lease_timeout: wait.min(settings.timeouts.start_max),
            ..Limits::default()
        }
    }

    /// What engines of a session that begins now are given.
    fn timing(&self) -> Timing {
        let settings = self.settings();
        Timing {
            start: settings.timeouts.start,
            start_max: settings.timeouts.start_max,
            no_response: settings.timeouts.no_response,
            user_agent: settings.engines.user_agent.as_str().into(),
        }
    }

    fn shard_count(&self) -> u16 {
        u16::try_from(self.shards.len()).unwrap_or(u16::MAX)
    }

    /// Tells control something that must not get lost: a full inbox is tried again until it is taken.
    fn tell(self: &Rc<Self>, message: ToControl) {
        let Err(rejected) = self.control.send(message) else { return };
        let shard = self.clone();
        self.spawn(async move {
            let mut message = rejected.into_inner();
            loop {
                monoio::time::sleep(Duration::from_millis(20)).await;
                match shard.control.send(message) {
                    Ok(()) => return,
                    Err(sluice_contract::link::Rejected::Closed(_)) => return,
                    Err(rejected) => message = rejected.into_inner(),
                }
            }
        });
    }

    fn arc_self(&self) -> Rc<Self> {
        self.me.borrow().upgrade().expect("a shard outlives its calls")
    }

    fn add_waiting(&self, serial: u64) {
        *self.waiting.borrow_mut().entry(serial).or_default() += 1;
        self.news.notify();
    }

    fn remove_waiting(&self, serial: u64) {
        let mut waiting = self.waiting.borrow_mut();
        if let Some(count) = waiting.get_mut(&serial) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&serial);
            }
        }
        self.news.notify();
    }

    /// Counts a refusal and has it shown, even on a shard that is otherwise idle.
    fn refused(&self, code: RefusalCode) {
        self.counters.refusal(code);
        self.news.notify();
    }

    fn stream_clients(&self, session: &Session) -> usize {
        let waiting = self.waiting.borrow().get(&session.serial()).copied().unwrap_or(0);
        let mut bus = self.bus.borrow_mut();
        waiting
            + self.hls.viewers_of(session.serial())
            + self.hot.players_elsewhere(session.serial())
            + bus.clients().filter(|client| client.watched().serial() == session.serial()).count()
    }
}

impl Host for Shard {
    fn request_lease(&self, session: &Rc<Session>, wish: Wish, deadline: Instant) -> Ticket {
        let ticket = self.ticket(Pending::Lease(Rc::downgrade(session)));
        let Wish { stream, avoid, wanted } = wish;
        let request = LeaseRequest { ticket, shard: self.id, stream, avoid, wanted, deadline };
        self.arc_self().tell(ToControl::Lease(request));
        ticket
    }

    fn abandon_lease(&self, ticket: Ticket) {
        self.pending.borrow_mut().remove(&ticket);
        self.arc_self().tell(ToControl::Abandon { shard: self.id, ticket });
    }

    fn return_lease(&self, lease: LeaseId, fault: Option<EngineFault>) {
        self.arc_self().tell(ToControl::Return(LeaseReturn { id: lease, fault }));
    }

    fn silent(&self, lease: LeaseId, is_silent: bool) {
        self.arc_self().tell(ToControl::Silence { lease, is_silent });
    }

    fn learned(&self, session: &Session, infohash: Hex40) -> bool {
        let key = session.key();
        if key.infohash() == Some(infohash) {
            return false;
        }
        let Some(selector) = key.selector() else { return false };
        let options = key.options.clone();
        self.directory.learn(selector.value(), infohash);
        self.arc_self().tell(ToControl::Learned { selector, options, infohash });
        let canonical = StreamKey { name: StreamName::Infohash(infohash), options: key.options.clone() };
        let lives_here = self.sessions.borrow().contains_key(&canonical);
        let shown = self.board.read();
        let lives = lives_here
            || shown.iter().flat_map(|shard| &shard.sessions).any(|session| session.key == canonical);
        // The broadcast plays here under a name of its own from now on, unless it already plays somewhere.
        lives || self.directory.lead(&canonical, key) != *key
    }

    fn id_opened(&self, session: &Session, id: Selector, infohash: Hex40, engine: &EngineId) -> bool {
        if id.value() != infohash {
            let options = session.key().options.clone();
            self.directory.learn(id.value(), infohash);
            self.arc_self().tell(ToControl::Learned { selector: id, options, infohash });
        }
        let plays_there = |key: &StreamKey, played: Option<Hex40>, on: Option<&SessionEngine>| {
            key != session.key() && played == Some(infohash) && on.is_some_and(|on| on.id == *engine)
        };
        let plays_here = self.sessions.borrow().values().any(|other| {
            let info = other.info();
            plays_there(other.key(), info.infohash, info.engine.as_ref())
        });
        let shown = self.board.read();
        let mut others = shown.iter().filter(|shard| shard.id != self.id).flat_map(|shard| &shard.sessions);
        plays_here || others.any(|other| plays_there(&other.key, other.infohash, other.engine.as_ref()))
    }

    fn leads(&self, session: &Session, infohash: Option<Hex40>) {
        let options = session.key().options.clone();
        let canonical = infohash.map(|infohash| StreamKey { name: StreamName::Infohash(infohash), options });
        if canonical.as_ref().is_some_and(|key| self.directory.living(key).as_ref() == Some(session.key())) {
            return;
        }
        self.directory.unlead(session.key());
        let Some(canonical) = canonical else { return };
        let shown = self.board.read();
        let mut all = shown.iter().flat_map(|shard| &shard.sessions);
        // One that plays by itself goes on so, and those who ask for it go there.
        let lives =
            self.sessions.borrow().contains_key(&canonical) || all.any(|other| other.key == canonical);
        if !lives {
            self.directory.lead(&canonical, session.key());
        }
    }

    fn ending(&self, session: &Session, reason: EndReason) {
        hot::ended(&self.arc_self(), session, reason);
        bus::end_clients(self, session.serial(), reason);
        hls::end_viewers(self, session.serial(), reason);
        self.news.notify();
    }

    fn ended(&self, session: &Session, reason: EndReason) {
        let mut sessions = self.sessions.borrow_mut();
        if sessions.get(session.key()).is_some_and(|known| known.serial() == session.serial()) {
            sessions.remove(session.key());
        }
        drop(sessions);
        self.hls.forget(session.serial());
        self.directory.unlead(session.key());
        let life = session.info().created_at.elapsed().unwrap_or_default();
        self.counters.session_ended(reason, life);
        self.ended_sessions.borrow_mut().remember(session, reason, Instant::now());
        self.news.notify();
        self.forgotten.notify();
    }

    fn changed(&self) {
        self.news.notify();
    }

    fn grew(&self, session: &Session) {
        hot::grew(&self.arc_self(), session);
    }

    fn turns(&self) -> &Turns {
        &self.turns
    }

    fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    fn tick(&self) -> Duration {
        self.bus.borrow().tick()
    }

    fn sessions(&self) -> usize {
        self.sessions.borrow().len()
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn is_pressed(&self) -> bool {
        self.budget.is_pressed()
    }
}
