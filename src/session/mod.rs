//! One playback of one stream: a pure state machine ([`machine`]), the media it feeds ([`Feed`]), and a thin driver.
//!
//! A session lives on the shard its key hashes to. It knows no Docker, no VPN, no disk and no player sockets: whoever
//! hosts it ([`Host`]) gives it engines and tells its clients what became of it. Nothing here is borrowed across a wait.

mod ahead;
mod buffers;
mod channel;
mod contender;
mod echo;
mod feed;
pub mod machine;
mod marks;
#[cfg(test)]
mod model;
mod reach;
mod replica;
mod rest;
#[cfg(test)]
mod simulation;
mod source;

pub use buffers::Buffers;
pub use feed::{Counts, Feed, Followed, Kept, Splice, State as FeedState, Taken};
pub use machine::{Limits, Phase};
pub use replica::{Growth, Heard, Opening, Replica, Title};

use crate::engine::{Endpoint, Form, Started};
use crate::handover::age;
use crate::media::ts::{MediaTime, Scanner};
use crate::metrics::Counters;
use crate::uring::{Signal, Socket, Turns, spawn};
use crate::window::{AccessIndex, Budget, LagMax, Reservation};
use ahead::Ahead;
use channel::Entry;
use contender::Contender;
use machine::{Action, Event, Machine, SourceId};
use marks::Marks;
use reach::Reach;
use rest::{Flow, Rest};
use serde::{Deserialize, Serialize};
use sluice_contract::snapshot::{self, Channel, EngineStat, SessionEngine, Timeline};
use sluice_contract::{
    EndReason, EngineFault, EngineId, Hex40, Lease, LeaseId, MoveReason, Refusal, RefusalCode, Selector,
    Start, StreamKey, Ticket,
};
use source::{Closing, Order};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The most that one read of an engine adds to a window.
const READ_BYTES_MAX: u64 = buffers::READ_BYTES as u64;

/// What an answer of control is given to arrive in.
const LEASE_MARGIN: Duration = Duration::from_secs(1);

/// What a session needs of its shard.
pub trait Host {
    /// Asks control for an engine; the answer comes as an event to the session.
    fn request_lease(&self, session: &Rc<Session>, wish: Wish, deadline: Instant) -> Ticket;
    /// The answer is no longer wanted.
    fn abandon_lease(&self, ticket: Ticket);
    /// Gives a lease back.
    fn return_lease(&self, lease: LeaseId, fault: Option<EngineFault>);
    /// The source that plays on this lease has fallen silent, or come back.
    fn silent(&self, lease: LeaseId, is_silent: bool);
    /// An engine named the infohash behind a key. Answers whether another session of that broadcast lives here.
    fn learned(&self, session: &Session, infohash: Hex40) -> bool;
    /// The same for an id of a channel, on this engine. Answers whether that engine plays the broadcast for another session.
    fn id_opened(&self, session: &Session, id: Selector, infohash: Hex40, engine: &EngineId) -> bool;
    /// Whoever asks for this broadcast gets this session from now on, and nobody who asks for another one.
    fn leads(&self, session: &Session, infohash: Option<Hex40>);
    /// The session is ending: end its clients.
    fn ending(&self, session: &Session, reason: EndReason);
    /// The session is over: forget it.
    fn ended(&self, session: &Session, reason: EndReason);
    /// Something worth showing at once changed.
    fn changed(&self);
    /// More has come of a session that other shards serve too.
    fn grew(&self, session: &Session);
    /// Letting the others run.
    fn turns(&self) -> &Turns;
    /// Room for reads from engines.
    fn buffers(&self) -> &Buffers;
    /// The time between two visits to a client. Not to be asked for from within the walk.
    fn tick(&self) -> Duration;
    /// How many sessions the shard has.
    fn sessions(&self) -> usize;
    /// Counters of the shard.
    fn counters(&self) -> &Counters;
    /// Whether memory is short.
    fn is_pressed(&self) -> bool;
}

/// What kind of engine a session asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What it is to play: the session's key, or that of the channel's id at hand.
    pub stream: StreamKey,
    /// Engines to avoid, worst last.
    pub avoid: Vec<EngineId>,
    /// No other engine will do.
    pub wanted: Option<EngineId>,
}

/// Times an engine is given, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Without progress for that long a start has failed.
    pub start: Duration,
    /// No start takes longer, progress or not.
    pub start_max: Duration,
    /// Without any sign of life for that long an engine hangs.
    pub no_response: Duration,
    /// `User-Agent` for engines.
    pub user_agent: Arc<str>,
}

/// What a session is begun for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The selector of the first player, or the first id of the channel.
    pub by: Selector,
    /// What engines are asked for, best first. Never empty; more than one for a channel only.
    pub ids: Vec<Selector>,
    /// The first two are to be opened at once.
    pub races: bool,
}

/// What is shown of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Info {
    /// The selector of the first player, or the id at hand of a channel.
    pub asked_as: Selector,
    /// The channel, if it is one.
    pub channel: Option<Channel>,
    /// When the first player asked.
    pub created_at: SystemTime,
    /// When the first media came.
    pub started_at: Option<SystemTime>,
    /// When the last player left.
    pub idle_since: Option<SystemTime>,
    /// When media last came.
    pub last_media_at: Option<SystemTime>,
    /// Canonical infohash, once known.
    pub infohash: Option<Hex40>,
    /// The engine now.
    pub engine: Option<SessionEngine>,
    /// Its figures.
    pub stat: Option<EngineStat>,
    /// When they were taken.
    pub stat_at: Option<SystemTime>,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes that belonged to no packet.
    pub garbage_bytes: u64,
    /// Sources opened.
    pub sources: u64,
}

impl Info {
    /// Another engine serves the session; the figures of the one before are not its own.
    fn serve_from(&mut self, engine: SessionEngine) {
        self.engine = Some(engine);
        (self.stat, self.stat_at) = (None, None);
    }
}

/// A session as another process is told of it, its clients aside. With it go the window's file and, if a body is being
/// read, the engine's connection.
#[derive(Debug, Serialize, Deserialize)]
pub struct State<F> {
    key: StreamKey,
    serial: u64,
    entries: Vec<Entry>,
    machine: Machine,
    feed: F,
    source: Option<source::State>,
    form: Form,
    info: Info,
    garbage_before: (Option<SourceId>, u64),
    #[serde(with = "age")]
    last_media: Instant,
    ahead: Ahead,
    lag_floor: u64,
}

/// The same as it is read.
pub type Told = State<FeedState<AccessIndex, Scanner>>;

impl Told {
    /// What it plays.
    pub fn key(&self) -> &StreamKey {
        &self.key
    }

    /// Distinguishes it from other sessions of that process.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The broadcast, once known.
    pub fn infohash(&self) -> Option<Hex40> {
        self.info.infohash
    }

    /// What it was asked for by, or the id at hand of a channel.
    pub fn asked_as(&self) -> Selector {
        self.info.asked_as
    }

    /// Whether the engine's connection comes with it.
    pub fn has_connection(&self) -> bool {
        self.source.as_ref().is_some_and(source::State::has_connection)
    }
}

/// What goes with a session that is told.
pub struct Files<'a> {
    /// The window's file.
    pub window: std::os::fd::BorrowedFd<'a>,
    /// The engine's connection.
    pub connection: Option<Rc<crate::uring::Socket>>,
}

/// A session on its shard.
pub struct Session {
    key: StreamKey,
    /// Distinguishes this session from an earlier one of the same key.
    serial: u64,
    host: Rc<dyn Host>,
    timing: Timing,
    limits: Limits,
    entries: RefCell<Vec<Entry>>,
    machine: RefCell<Machine>,
    feed: RefCell<Feed>,
    sources: RefCell<HashMap<SourceId, Rc<Closing>>>,
    /// The source that the feed follows.
    following: Cell<Option<SourceId>>,
    /// Media of sources that race.
    contenders: RefCell<HashMap<SourceId, Contender>>,
    /// What is shown of the engines of sources that are open.
    opened: RefCell<HashMap<SourceId, SessionEngine>>,
    ticket: Cell<Option<Ticket>>,
    refusal: RefCell<Option<Refusal>>,
    /// The form engines are asked for the media in.
    form: Cell<Form>,
    info: RefCell<Info>,
    /// When what happened on the way to the first media; noted until then.
    start: Cell<Start>,
    garbage_before: Cell<(Option<SourceId>, u64)>,
    last_media: Cell<Instant>,
    /// Something a waiting player wants to know has changed: media is there, or the start failed.
    changed: Signal,
    /// The machine's deadline may have changed.
    rescheduled: Signal,
    /// When its source reads.
    rest: Rest,
    /// How far the stream has come ahead of real time.
    ahead: RefCell<Ahead>,
    /// How far back its clients stand, and may.
    reach: Reach,
    /// What happened lately, for whoever looks.
    marks: RefCell<Marks>,
    /// Events that arrive while one is handled.
    pending: RefCell<VecDeque<Event>>,
    handling: Cell<bool>,
}

/// What a waiting player finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet.
    Wait,
    /// Media is there.
    Ready,
    /// The start failed, or the session is ending.
    Refused(Refusal),
}

impl Session {
    /// A session that nobody has joined yet; its timer runs until it ended.
    ///
    /// # Errors
    /// When descriptors or memory are short.
    pub fn start(
        host: Rc<dyn Host>,
        key: StreamKey,
        serial: u64,
        asked: Asked,
        reservation: Reservation,
        limits: Limits,
        timing: Timing,
    ) -> std::io::Result<Rc<Self>> {
        let now = Instant::now();
        let window = crate::window::Window::new(reservation)?;
        let count = u8::try_from(asked.ids.len()).map_err(|_| std::io::ErrorKind::InvalidInput)?;
        let channel = key.channel().map(|_| Channel {
            ids: asked.ids.as_slice().into(),
            present: 0,
            fallbacks: 0,
            last: None,
            race: None,
        });
        let entry = |selector: &Selector| Entry { selector: *selector, infohash: key.infohash() };
        let session = Rc::new(Self {
            entries: RefCell::new(asked.ids.iter().map(entry).collect()),
            contenders: RefCell::default(),
            info: RefCell::new(Info {
                asked_as: asked.by,
                channel,
                created_at: SystemTime::now(),
                started_at: None,
                idle_since: None,
                last_media_at: None,
                infohash: key.infohash(),
                engine: None,
                stat: None,
                stat_at: None,
                bytes_in: 0,
                garbage_bytes: 0,
                sources: 0,
            }),
            key,
            serial,
            host,
            timing,
            limits,
            machine: RefCell::new(Machine::new(limits, now, serial).with_entries(count, asked.races)),
            feed: RefCell::new(Feed::new(window)),
            sources: RefCell::default(),
            following: Cell::new(None),
            opened: RefCell::default(),
            ticket: Cell::new(None),
            refusal: RefCell::default(),
            form: Cell::new(Form::Progressive),
            start: Cell::default(),
            garbage_before: Cell::new((None, 0)),
            last_media: Cell::new(now),
            changed: Signal::default(),
            rescheduled: Signal::default(),
            rest: Rest::new(now),
            ahead: RefCell::new(Ahead::new(now)),
            reach: Reach::new(0),
            marks: RefCell::default(),
            pending: RefCell::default(),
            handling: Cell::new(false),
        });
        let timer = session.clone();
        let failed = session.clone();
        spawn(async move { timer.keep_time().await }, move |panic| failed.panicked(panic));
        Ok(session)
    }

    /// Shows `told` what another process needs to go on with this session. Answers why that is impossible now, if it is:
    /// a start, a change of sources or an end is under way and will be over soon.
    ///
    /// # Errors
    /// Those of `told`.
    pub fn tell<T, E>(
        &self,
        told: impl FnOnce(State<feed::State<&AccessIndex, &Scanner>>, Files<'_>) -> Result<T, E>,
    ) -> Result<Result<T, E>, &'static str> {
        let Some(machine) = self.machine.borrow().state() else {
            return Err("a source is being opened or closed");
        };
        let feed = self.feed.borrow();
        let Some((feed, window)) = feed.state() else { return Err("a source is being joined to the stream") };
        let closing = machine.playing().and_then(|(id, _)| self.sources.borrow().get(&id).cloned());
        let (source, connection) = match closing.as_ref().map(|closing| closing.state()) {
            Some(None) => return Err("a source is being opened"),
            Some(Some((source, connection))) => (Some(source), connection),
            None => (None, None),
        };
        let state = State {
            key: self.key.clone(),
            serial: self.serial,
            entries: self.entries.borrow().clone(),
            machine,
            feed,
            source,
            form: self.form.get(),
            info: self.info.borrow().clone(),
            garbage_before: self.garbage_before.get(),
            last_media: self.last_media.get(),
            ahead: self.ahead.borrow().clone(),
            lag_floor: self.reach.floor(),
        };
        Ok(told(state, Files { window, connection }))
    }

    /// Whether another process could go on with it now; if not, why.
    ///
    /// # Errors
    /// Why not.
    pub fn is_settled(&self) -> Result<(), &'static str> {
        self.tell(|_, _| Ok::<(), ()>(())).map(|_| ())
    }

    /// Goes on with a session of another process, for so many of its clients.
    ///
    /// # Errors
    /// When what was told does not fit what came with it, or descriptors are short.
    pub fn going_on(
        host: Rc<dyn Host>,
        told: Told,
        (window, connection): (OwnedFd, Option<OwnedFd>),
        (clients, timing): (u32, Timing),
        budget: &Arc<Budget>,
    ) -> std::io::Result<Rc<Self>> {
        let now = Instant::now();
        let State { mut machine, info, .. } = told;
        let Some(present) = told.entries.get(usize::from(machine.entry())).copied() else {
            return Err(std::io::Error::other("a session without an id"));
        };
        machine.go_on(now, clients);
        let playing = machine.playing().map(|(id, lease)| (id, lease.clone()));
        let closing = match (&playing, told.source) {
            (Some(_), Some(source)) => Some(source::going_on(source, connection)?),
            (None, None) => None,
            _ => return Err(std::io::Error::other("a session without its source")),
        };
        let sources: HashMap<SourceId, Rc<Closing>> =
            playing.iter().zip(&closing).map(|((id, _), closing)| (*id, closing.clone())).collect();
        let opened = playing.iter().filter_map(|(id, _)| Some((*id, info.engine.clone()?))).collect();
        let session = Rc::new(Self {
            key: told.key,
            serial: told.serial,
            host,
            timing,
            limits: machine.limits(),
            entries: RefCell::new(told.entries),
            contenders: RefCell::default(),
            machine: RefCell::new(machine),
            feed: RefCell::new(Feed::going_on(now, window, told.feed, budget)?),
            sources: RefCell::new(sources),
            following: Cell::new(None),
            opened: RefCell::new(opened),
            ticket: Cell::new(None),
            refusal: RefCell::default(),
            form: Cell::new(told.form),
            info: RefCell::new(info),
            start: Cell::default(),
            garbage_before: Cell::new(told.garbage_before),
            last_media: Cell::new(told.last_media),
            changed: Signal::default(),
            rescheduled: Signal::default(),
            rest: Rest::new(now),
            ahead: RefCell::new(told.ahead),
            reach: Reach::new(told.lag_floor),
            marks: RefCell::default(),
            pending: RefCell::default(),
            handling: Cell::new(false),
        });
        if clients == 0 {
            session.info.borrow_mut().idle_since.get_or_insert_with(SystemTime::now);
        }
        let (timer, failed) = (session.clone(), session.clone());
        spawn(async move { timer.keep_time().await }, move |panic| failed.panicked(panic));
        if let (Some((id, lease)), Some(closing)) = (playing, closing) {
            let order = Order { id, lease, selector: present.selector, ask: machine::Ask::Own, closing };
            let failed = session.clone();
            spawn(source::go_on(session.clone(), order), move |panic| failed.panicked(panic));
        }
        Ok(session)
    }

    /// Opens nothing beside what plays, and gives up what is, until it is told to go on.
    pub fn hold(self: &Rc<Self>, is_held: bool) {
        self.handle(Event::Hold(is_held));
    }

    /// What it plays.
    pub fn key(&self) -> &StreamKey {
        &self.key
    }

    /// Distinguishes it from an earlier session of the same key.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// A player wants the stream; to be balanced by [`Session::leave`].
    pub fn join(self: &Rc<Self>) {
        self.info.borrow_mut().idle_since = None;
        self.handle(Event::Join);
    }

    /// A player no longer wants it.
    pub fn leave(self: &Rc<Self>) {
        self.handle(Event::Leave);
        if self.machine.borrow().idle_since().is_some() {
            self.info.borrow_mut().idle_since = Some(SystemTime::now());
        }
    }

    /// Whether a player can be served.
    pub fn readiness(&self) -> Readiness {
        if self.phase() == Phase::Ending {
            let refusal = self.refusal.borrow().clone();
            return Readiness::Refused(refusal.unwrap_or_else(session_ending));
        }
        if self.feed.borrow().is_joinable(Instant::now()) { Readiness::Ready } else { Readiness::Wait }
    }

    /// Events a waiting player wants to know of: look at [`Session::readiness`] after each.
    pub fn changed(&self) -> &Signal {
        &self.changed
    }

    /// Where the session is in its life.
    pub fn phase(&self) -> Phase {
        self.machine.borrow().phase()
    }

    /// Whether nobody watches it.
    pub fn is_idle(&self) -> bool {
        self.machine.borrow().idle_since().is_some()
    }

    /// How long nobody has watched it; `None` while somebody does, or while it starts or ends.
    pub fn idle_for(&self, now: Instant) -> Option<Duration> {
        let machine = self.machine.borrow();
        let since =
            machine.idle_since().filter(|_| !matches!(machine.phase(), Phase::Starting | Phase::Ending))?;
        Some(now.saturating_duration_since(since))
    }

    /// When media last came from an engine.
    pub fn last_media(&self) -> Instant {
        self.last_media.get()
    }

    /// Looks at the media. The borrow must not be kept across a wait.
    pub fn feed(&self) -> std::cell::Ref<'_, Feed> {
        self.feed.borrow()
    }

    /// Has more media kept than continuous players need.
    pub fn keep(&self, kept: Kept) {
        self.feed.borrow_mut().keep(kept);
    }

    /// What is where in its window, for whoever looks.
    pub fn timeline(&self) -> Timeline {
        self.marks.borrow_mut().show(self.feed.borrow().window().access())
    }

    /// What is shown of it.
    pub fn info(&self) -> std::cell::Ref<'_, Info> {
        self.info.borrow()
    }

    /// Notes where a client stands. One that fell off the window no longer counts.
    pub fn note_cursor(&self, cursor: u64) {
        self.reach.note(cursor, self.feed.borrow().window());
    }

    /// A walk over all clients is complete; until the next one, clients may be `lag` behind.
    pub fn walked(&self, lag: LagMax) {
        let feed = self.feed.borrow();
        let ahead =
            if lag == LagMax::default() { Duration::ZERO } else { self.ahead.borrow().level(Instant::now()) };
        self.reach.walked(lag, ahead, feed.rate(), feed.window());
    }

    /// Clients before this offset are too far behind.
    pub fn lag_floor(&self) -> u64 {
        self.reach.floor()
    }

    /// How it started, as far as it has come.
    pub fn start_moments(&self) -> Start {
        self.start.get()
    }

    /// Notes when an event on the way to the first media came. Of two ids that race the first one's way is noted.
    fn note(&self, event: &Event, now: Instant) {
        let mut start = self.start.get();
        match event {
            Event::Granted(_) if self.machine.borrow().is_rival_waiting() => return,
            Event::Opened(source) if self.is_rival(*source) => return,
            Event::Granted(lease) => (start.lease, start.lease_granted) = (Some(lease.id), Some(now)),
            Event::Opened(_) => start.engine_answered = Some(now),
            Event::Media(_) => _ = start.first_media.get_or_insert(now),
            _ => return,
        }
        self.start.set(start);
    }

    /// Why it ended, once it is ending.
    pub fn end_reason(&self) -> Option<EndReason> {
        self.machine.borrow().end_reason()
    }

    /// Leases in use, and what is played on each.
    pub fn leases(&self) -> Vec<(Lease, StreamKey)> {
        let machine = self.machine.borrow();
        machine.leases().map(|(lease, entry)| (lease.clone(), self.stream_of(entry))).collect()
    }

    /// Moves to another engine while this one plays: that one, or any.
    pub fn move_to(self: &Rc<Self>, engine: Option<EngineId>, reason: MoveReason) {
        tracing::info!(stream = %self.key, reason = reason.as_str(), "asked to move");
        self.host.counters().move_asked(reason);
        self.handle(Event::Move(engine));
    }

    /// Control wants a lease back, which may be one of this session's.
    pub fn withdrawn(self: &Rc<Self>, lease: LeaseId, reason: MoveReason) {
        let (is_played, is_held) = {
            let machine = self.machine.borrow();
            let is_held = machine.leases().any(|(held, _)| held.id == lease);
            (machine.playing().is_some_and(|(_, held)| held.id == lease), is_held)
        };
        if is_played && !reason.is_final() {
            return self.move_to(None, reason);
        }
        if is_held && reason.is_final() {
            tracing::info!(stream = %self.key, reason = reason.as_str(), "asked to leave its engine");
            self.host.counters().move_asked(reason);
            self.handle(Event::Withdrawn(lease));
        }
    }

    /// Takes one event in and does what it calls for. Safe to call from within what an event sets off.
    pub fn handle(self: &Rc<Self>, event: Event) {
        self.pending.borrow_mut().push_back(event);
        if self.handling.replace(true) {
            return;
        }
        let _handled = Handling(&self.handling);
        let before = self.standing();
        loop {
            // The borrow ends here: what the event sets off may bring further events.
            let event = self.pending.borrow_mut().pop_front();
            let Some(event) = event else { break };
            let now = Instant::now();
            if before.0 == Phase::Starting {
                self.note(&event, now);
            }
            let mut actions = Vec::new();
            self.machine.borrow_mut().on(now, event, &mut actions);
            for action in actions {
                self.act(action);
            }
        }
        self.rescheduled.notify();
        if self.standing() != before {
            self.host.changed();
        }
    }

    /// What of the machine's state is worth showing at once when it changes.
    fn standing(&self) -> (Phase, bool) {
        (self.phase(), self.is_idle())
    }

    fn act(self: &Rc<Self>, action: Action) {
        match action {
            Action::RequestLease { entry, avoid, wanted } => {
                let stream = self.stream_of(entry);
                // Control answers a little earlier than the wait ends, so that its reason arrives before ours.
                let margin = (self.limits.lease_timeout / 4).min(LEASE_MARGIN);
                let now = Instant::now();
                let deadline = now + self.limits.lease_timeout - margin;
                if self.phase() == Phase::Starting && !self.machine.borrow().is_rival_waiting() {
                    let tries = self.start.get().tries;
                    self.start.set(Start { lease_asked: Some(now), tries, ..Start::default() });
                }
                let wish = Wish { stream, avoid, wanted };
                self.ticket.set(Some(self.host.request_lease(self, wish, deadline)));
            }
            Action::AbandonLease => {
                if let Some(ticket) = self.ticket.take() {
                    self.host.abandon_lease(ticket);
                }
            }
            Action::Open { source, lease, entry, selector: ask } => {
                let closing = Rc::new(Closing::default());
                self.sources.borrow_mut().insert(source, closing.clone());
                if !self.is_rival(source) {
                    self.info.borrow_mut().sources += 1;
                    if self.phase() == Phase::Starting {
                        let start = self.start.get();
                        let tries = start.tries.saturating_add(1);
                        let (engine_asked, engine_answered) = (Some(Instant::now()), None);
                        self.start.set(Start { engine_asked, engine_answered, tries, ..start });
                    }
                }
                let selector = self.entry(entry).selector;
                let order = Order { id: source, lease, selector, ask, closing };
                let failed = self.clone();
                spawn(source::run(self.clone(), order), move |panic| failed.panicked(panic));
            }
            Action::Promote(source) => self.promote(source),
            Action::Silent { lease, is_silent } => {
                tracing::info!(stream = %self.key, is_silent, "the engine's silence changed");
                self.host.silent(lease, is_silent);
            }
            Action::Moved(is_done) => {
                self.host.counters().moved(is_done);
                tracing::info!(stream = %self.key, is_done, "a move is over");
            }
            Action::Entry { from, to, why } => self.go_on_with(from, to, why),
            Action::Race(race) => self.race_goes(race),
            Action::Close(source) => {
                self.contenders.borrow_mut().remove(&source);
                self.opened.borrow_mut().remove(&source);
                if self.following.get() == Some(source) {
                    self.following.set(None);
                    self.feed.borrow_mut().forget_follower();
                }
                if let Some(closing) = self.sources.borrow_mut().remove(&source) {
                    closing.ask();
                }
            }
            Action::ReturnLease { lease, fault } => self.host.return_lease(lease, fault),
            Action::Admit => {
                self.info.borrow_mut().started_at.get_or_insert_with(SystemTime::now);
                self.lead();
                self.changed.notify();
                self.host.changed();
            }
            Action::Refuse(refusal) => {
                *self.refusal.borrow_mut() = Some(refusal);
                self.changed.notify();
            }
            Action::Ending(reason) => {
                self.changed.notify();
                self.host.ending(self, reason);
            }
            Action::Ended(reason) => {
                tracing::info!(stream = %self.key, reason = reason.as_str(), "session ended");
                self.host.ended(self, reason);
                self.changed.notify();
            }
        }
    }

    async fn keep_time(self: Rc<Self>) {
        loop {
            let seen = self.rescheduled.count();
            let (deadline, over) = {
                let machine = self.machine.borrow();
                (machine.deadline(), machine.end_reason().is_some())
            };
            if over {
                return;
            }
            let Some(deadline) = deadline else {
                self.rescheduled.after(seen).await;
                continue;
            };
            let wait = deadline.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                self.handle(Event::Tick);
                // A deadline that stays due must not spin: the next look is a timer away.
                monoio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            let timer = std::pin::pin!(monoio::time::sleep(wait));
            let _ = futures_util::future::select(timer, std::pin::pin!(self.rescheduled.after(seen))).await;
        }
    }

    fn panicked(self: &Rc<Self>, panic: &str) {
        tracing::error!(stream = %self.key, panic, "a task of this session failed; the session ends");
        self.host.counters().panics.add(1);
        self.handle(Event::End(EndReason::Internal));
        // The failed task can no longer report: what it held is given back here.
        let open: Vec<SourceId> = self.machine.borrow().open_sources();
        for source in open {
            self.handle(Event::Closed(source));
        }
    }

    pub(super) fn host(&self) -> &Rc<dyn Host> {
        &self.host
    }

    pub(super) fn timing(&self) -> &Timing {
        &self.timing
    }

    pub(super) fn form(&self) -> Form {
        self.form.get()
    }

    /// Engines are asked for this form from now on.
    pub(super) fn set_form(&self, form: Form) {
        self.form.set(form);
    }

    /// Whether a source has to wait with what it brings, because the window is full. One that follows adds nothing to it.
    pub(super) fn holds_up(&self, source: SourceId) -> bool {
        self.machine.borrow().current() == Some(source) && self.is_window_full()
    }

    fn is_window_full(&self) -> bool {
        let now = Instant::now();
        let hindmost = self.reach.hindmost();
        let mut feed = self.feed.borrow_mut();
        let needed = feed.window().head().saturating_sub(hindmost);
        if let Err(error) = feed.trim(now, needed, self.host.is_pressed()) {
            tracing::warn!(stream = %self.key, %error, "cannot release window memory");
        }
        if feed.window().is_full() {
            return true;
        }
        // Short of memory, what comes ahead of real time waits with the engine until the players had the chance to take
        // what is here. A stream in real time is never held up, whoever is slow.
        let needed = feed.window().head().saturating_sub(hindmost);
        let would_lose = |offered: u64| needed + READ_BYTES_MAX > offered;
        feed.window().shortage().is_some_and(would_lose) && !self.ahead.borrow().level(now).is_zero()
    }

    /// The media of a source is about to come.
    pub(super) fn media_begins(&self, source: SourceId) {
        self.contenders.borrow_mut().remove(&source);
        let machine = self.machine.borrow();
        let mut feed = self.feed.borrow_mut();
        if machine.current() == Some(source) {
            feed.source_changed(Instant::now());
        } else if machine.follower() == Some(source) {
            feed.follower_changed(Instant::now());
            self.following.set(Some(source));
        }
    }

    /// Takes packets of a source in. Media of a source that was given up meanwhile is dropped.
    pub(super) fn media(self: &Rc<Self>, source: SourceId, packets: &[u8]) -> std::io::Result<()> {
        if self.machine.borrow().contends(source) {
            let now = Instant::now();
            let mut contenders = self.contenders.borrow_mut();
            let contender = contenders.entry(source).or_insert_with(|| Contender::new(now));
            let is_ready = contender.take(now, packets);
            drop(contenders);
            if !is_ready {
                return Ok(());
            }
            // With this the race is decided, for this one.
            self.handle(Event::Media(source));
            return self.media_of_one(source, &[]);
        }
        self.media_of_one(source, packets)
    }

    /// The same for a source that does not race, or no more.
    fn media_of_one(self: &Rc<Self>, source: SourceId, packets: &[u8]) -> std::io::Result<()> {
        let kept = self.contenders.borrow_mut().remove(&source).map(Contender::into_packets);
        let all = kept.map(|mut kept| {
            kept.extend_from_slice(packets);
            kept
        });
        let packets = all.as_deref().unwrap_or(packets);
        let (current, follower) = {
            let machine = self.machine.borrow();
            (machine.current(), machine.follower())
        };
        if follower == Some(source) {
            let followed = self.feed.borrow_mut().follow(Instant::now(), packets)?;
            if followed.is_media {
                self.handle(Event::Media(source));
            }
            if followed.is_ahead {
                self.handle(Event::CaughtUp(source));
            }
            return Ok(());
        }
        if current != Some(source) {
            return Ok(());
        }
        let now = Instant::now();
        let was_joinable = self.feed.borrow().is_joinable(now);
        let (had_media, head) = (self.feed.borrow().window().head() > 0, self.head_time());
        let taken = self.feed.borrow_mut().take(now, packets)?;
        self.ahead.borrow_mut().advance(now, self.feed.borrow().window().access().head_time());
        if taken.is_media && had_media {
            self.marks.borrow_mut().silence(head, now.saturating_duration_since(self.last_media.get()));
        }
        if let Some(splice) = taken.splice {
            self.spliced(head, splice);
        }
        if !was_joinable && self.feed.borrow().is_joinable(now) {
            self.changed.notify();
        }
        if taken.is_media {
            self.last_media.set(now);
            self.info.borrow_mut().last_media_at = Some(SystemTime::now());
        }
        self.tell_copies();
        if taken.is_media {
            self.handle(Event::Media(source));
        }
        Ok(())
    }

    /// Has other shards told what has come, if any serve it.
    fn tell_copies(&self) {
        let is_copied = self.feed.borrow().window().has_copies();
        if is_copied {
            self.host.grew(self);
        }
    }

    /// The stream goes on with the source that has followed.
    fn promote(self: &Rc<Self>, source: SourceId) {
        let now = Instant::now();
        self.following.set(None);
        if let Some(started) = self.opened.borrow().get(&source) {
            self.info.borrow_mut().serve_from(started.clone());
        }
        let head = self.head_time();
        let promoted = self.feed.borrow_mut().promote(now);
        match promoted {
            Ok(Some(splice)) => {
                self.last_media.set(now);
                self.ahead.borrow_mut().advance(now, self.feed.borrow().window().access().head_time());
                self.spliced(head, splice);
                self.tell_copies();
            }
            Ok(None) => {}
            // Its next packets meet the same shortage, and end it.
            Err(error) => tracing::warn!(stream = %self.key, %error, "cannot keep media"),
        }
        self.changed.notify();
        self.host.changed();
    }

    /// The time of the window's head on the session's clock.
    fn head_time(&self) -> MediaTime {
        self.feed.borrow().window().access().head_time()
    }

    /// A source was joined to the stream whose head was at `head`.
    fn spliced(&self, head: MediaTime, splice: Splice) {
        let Splice { kind, lost, repeated } = splice;
        let mark = snapshot::Event::Splice { kind, lost: lost.time, repeated: repeated.time };
        self.marks.borrow_mut().add(head, mark);
        let counters = self.host.counters();
        counters.spliced(splice.kind);
        counters.splice_lost_bytes.add(splice.lost.bytes);
        counters.splice_repeated_bytes.add(splice.repeated.bytes);
        tracing::info!(
            stream = %self.key, kind = splice.kind.as_str(),
            lost_s = splice.lost.time.as_secs_f64(), repeated_s = splice.repeated.time.as_secs_f64(),
            "another source carries on"
        );
        self.host.changed();
    }

    pub(super) fn received(&self, source: SourceId, bytes: u64) {
        if self.machine.borrow().current() == Some(source) {
            self.rest.came(bytes);
        }
        self.info.borrow_mut().bytes_in += bytes;
        self.host.counters().bytes_in.add(bytes);
        self.host.counters().engine_reads.add(u64::from(bytes > 0));
    }

    /// Has what has come of it read, because one of its clients is about to be served.
    pub fn call(&self, now: Instant, tick: Duration) {
        self.rest.call(now, tick);
    }

    /// A source looks for what has come.
    fn looks(&self, source: SourceId) {
        if self.machine.borrow().current() == Some(source) {
            self.rest.look(Instant::now());
        }
    }

    /// How long a source rests at most before it looks again; `None` when what comes is to be read at once: as
    /// long as the stream is not steady, and by a source that races or follows. `socket` is what it reads from.
    fn rest_of(&self, source: SourceId, socket: &Socket) -> Option<Duration> {
        let machine = self.machine.borrow();
        if machine.phase() != Phase::Playing
            || machine.current() != Some(source)
            || self.following.get().is_some()
        {
            return None;
        }
        let feed = self.feed.borrow();
        let flow = Flow {
            silence: self.last_media.get().elapsed(),
            rate: feed.rate(),
            read_max: READ_BYTES_MAX,
            buffer: socket.receive_buffer(),
            came: self.rest.take_came(Instant::now()),
            tick: self.host.tick(),
            is_copied: feed.window().has_copies(),
        };
        flow.rest()
    }

    /// Whether the stream comes from this source, and has within the last second.
    fn is_lively(&self, source: SourceId) -> bool {
        let is_current = self.machine.borrow().current() == Some(source);
        is_current && self.last_media.get().elapsed() < Duration::from_secs(1)
    }

    pub(super) fn garbage(&self, source: SourceId, skipped: u64) {
        let (of, before) = self.garbage_before.get();
        let new = if of == Some(source) { skipped - before.min(skipped) } else { skipped };
        self.garbage_before.set((Some(source), skipped));
        if new > 0 {
            self.info.borrow_mut().garbage_bytes += new;
            self.host.counters().garbage_bytes.add(new);
        }
    }

    pub(super) fn figures(&self, source: SourceId, stat: EngineStat) {
        if self.machine.borrow().current() == Some(source) {
            let mut info = self.info.borrow_mut();
            info.stat = Some(stat);
            info.stat_at = Some(SystemTime::now());
        }
    }

    fn engine_opened(self: &Rc<Self>, order: &Order, endpoint: &Endpoint, started: &Started) {
        {
            let engine = source::describe_engine(&order.lease, endpoint, started);
            self.opened.borrow_mut().insert(order.id, engine.clone());
            let mut info = self.info.borrow_mut();
            let machine = self.machine.borrow();
            if machine.current() == Some(order.id) && !machine.contends(order.id) {
                info.serve_from(engine);
                info.infohash = info.infohash.or(started.infohash);
            }
            self.host.changed();
            tracing::info!(stream = %self.key, engine = %endpoint.authority, "engine session opened");
        }
        let Some(infohash) = started.infohash else { return };
        if self.key.channel().is_some() {
            self.id_opened(order, infohash);
        } else if self.host.learned(self, infohash) {
            self.handle(Event::End(EndReason::Merged));
        }
    }
}

/// Says that events are being handled, until dropped: also by a panic, which must not leave the session deaf.
struct Handling<'a>(&'a Cell<bool>);

impl Drop for Handling<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

fn session_ending() -> Refusal {
    Refusal::new(RefusalCode::SessionEnding, "the session is ending, retry shortly").retry_after(1)
}
