//! The life of a session as a pure state machine: events in, actions out, the clock passed in.
//!
//! ```text
//!             Join                 Granted              Media
//!   (new) ──────────► Leasing ──────────────► Opening ────────► Playing ◄──────────┐
//!                       │  ▲                   │    │             │ fault, silence  │ Media
//!                       │  └───────────────────┘    │             ▼                 │
//!                       │   other engine / selector │          Recovering ──────────┘
//!                       │                           │             │ budget spent
//!              refused, abandoned            failed, abandoned    │
//!                       ▼                           ▼             ▼
//!                     Ended ◄──────────────────── Ending ◄────────┴──── grace over, stop, shutdown
//!                            every source closed
//! ```
//! A *source* is one engine session: it exists from the moment the driver is told to open it until the driver reports
//! it closed, and the driver closes each exactly once. The way to a source is a *quest*: control is asked, a lease may
//! wait for its engine, a source is opened. A quest runs while nothing plays, or beside the source that plays: because
//! that one is silent, because the session is to be moved, or to have a spare one. Then the new source follows until it
//! has caught up, and the driver is told to promote it. A session that is a channel can be had under several ids, its
//! *entries*: when the present one is given up, the session goes on with the next one, and its start may be a race of the
//! first two (`race`). Invariants, held by a simulation over random interleavings:
//!
//! - every opened source is closed exactly once, and every granted lease returned exactly once, after its source
//!   closed;
//! - two sources of this session never share an engine at the same time, and at most two are at work;
//! - while a source plays well it is not closed before another one has caught up with it;
//! - of two sources that race at the start the one that loses is closed like any other, once;
//! - an id of a channel is given up for the next one only when its budget is over, and each at most once before one of
//!   them has played well;
//! - an ended session has no source, no lease and no waiter left unanswered;
//! - whatever is lost or late, some deadline is always pending until the session ended.
//!
//! What it does not do: sockets, windows, media, time. The driver does what it says.

mod entries;
mod quest;
mod race;
mod rhythm;

use crate::handover::age;
use entries::Entries;
use quest::{Purpose, Quest};
use race::{Rival, brings_nothing, keeps_failing};
use rhythm::Rhythm;
use serde::{Deserialize, Serialize};
use sluice_contract::snapshot::Race;
use sluice_contract::{EndReason, EngineFault, EngineId, Lease, LeaseId, Refusal, RefusalCode, Selector};
use std::time::{Duration, Instant};

/// One engine session within this session; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceId(pub u32);

/// The times and bounds a session lives by.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// How long an unwatched session that has played stays warm.
    pub grace: Duration,
    /// How long a start goes on when nobody waits for it any more; players probe and come back within a second.
    pub abandon: Duration,
    /// How long control may take to grant an engine, queueing included.
    pub lease_timeout: Duration,
    /// Silence after which a second engine is opened, beside the one that may come back.
    pub silence: Duration,
    /// Silence after which the source is given up, when the engine gives no sign of progress.
    pub stall: Duration,
    /// The same when the engine's figures show progress.
    pub stall_with_progress: Duration,
    /// Silence after which the session ends.
    pub empty_timeout: Duration,
    /// Playing that long without a fault forgives earlier faults.
    pub stable: Duration,
    /// Sources that may fail one after another, without `stable` playing between, before the session ends.
    pub attempts_max: u32,
    /// The same for one of several ids, as long as there is another one to go on with.
    pub entry_attempts_max: u32,
    /// And how long such a one may bring nothing when it has failed.
    pub entry_timeout: Duration,
    /// Engines tried for a start.
    pub start_engines_max: u32,
    /// How long a move may take before the session changes over as it is, or gives the move up.
    pub move_timeout: Duration,
    /// From that many clients on a second engine is kept at hand; 0 for never.
    pub spare_clients_min: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(5),
            abandon: Duration::from_secs(1),
            lease_timeout: Duration::from_secs(30),
            silence: Duration::from_secs(3),
            stall: Duration::from_secs(8),
            stall_with_progress: Duration::from_secs(18),
            empty_timeout: Duration::from_secs(60),
            stable: Duration::from_secs(30),
            attempts_max: 12,
            entry_attempts_max: 4,
            entry_timeout: Duration::from_secs(20),
            start_engines_max: 3,
            move_timeout: Duration::from_secs(20),
            spare_clients_min: 0,
        }
    }
}

/// What went wrong with a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFault {
    /// What to tell control about the engine.
    pub fault: EngineFault,
    /// What to tell players if it comes to that.
    pub refusal: Refusal,
    /// Whether another engine may do better: false for a content that does not exist.
    pub elsewhere: bool,
}

/// What happens to a session.
#[derive(Clone, Debug)]
pub enum Event {
    /// A player wants the stream (it is counted until `Leave`).
    Join,
    /// A player left, was refused, or was ended.
    Leave,
    /// Control granted an engine.
    Granted(Lease),
    /// Control refused.
    Refused(Refusal),
    /// The engine answered the start: from now on there is an engine session.
    Opened(SourceId),
    /// A source says how long it may pause between two deliveries.
    Pauses(SourceId, Duration),
    /// A source delivered useful media (null packets do not count).
    Media(SourceId),
    /// The engine answered a question for its figures.
    Answered(SourceId),
    /// The engine's figures moved although no media came.
    Progress(SourceId),
    /// The engine does not know the selector it was asked with.
    Unknown(SourceId, SourceFault),
    /// A source failed.
    Failed(SourceId, SourceFault),
    /// A source that follows has what comes behind the stream's last packet.
    CaughtUp(SourceId),
    /// A source is gone: its engine session stopped or given up, its socket closed.
    Closed(SourceId),
    /// Control wants the lease back.
    Withdrawn(LeaseId),
    /// Move to another engine: this one, or any.
    Move(Option<EngineId>),
    /// Open nothing beside what plays, and give up what is; or go on.
    Hold(bool),
    /// End it.
    End(EndReason),
    /// Time has passed.
    Tick,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Ask control for an engine.
    RequestLease {
        /// For which of the session's ids.
        entry: u8,
        /// Engines that failed this session recently, or that it is to leave, worst last.
        avoid: Vec<EngineId>,
        /// No other engine will do.
        wanted: Option<EngineId>,
    },
    /// Tell control that the pending request is no longer wanted.
    AbandonLease,
    /// Open an engine session.
    Open {
        /// Its id.
        source: SourceId,
        /// On which engine.
        lease: Lease,
        /// Which of the session's ids it is.
        entry: u8,
        /// What to ask for: the id's own selector or the other one.
        selector: Ask,
    },
    /// The session goes on with another of its ids: what comes next is another broadcast.
    Entry {
        /// The one before.
        from: u8,
        /// The one now.
        to: u8,
        /// What was wrong with the one before; nothing, when this one won the race.
        why: Option<Refusal>,
    },
    /// How the race of the first two ids goes.
    Race(Race),
    /// The stream goes on with this source, which has followed so far; what it has ahead of the stream comes first.
    Promote(SourceId),
    /// The source that plays has fallen silent, or come back.
    Silent {
        /// Its lease.
        lease: LeaseId,
        /// Which of the two.
        is_silent: bool,
    },
    /// A move is over: done, or given up.
    Moved(bool),
    /// Close a source: stop the engine session once if there is one, report `Closed` when done.
    Close(SourceId),
    /// Give a lease back.
    ReturnLease {
        /// Which.
        lease: LeaseId,
        /// What was wrong with its engine.
        fault: Option<EngineFault>,
    },
    /// Media is there: let the waiting players in.
    Admit,
    /// Tell all waiting players this.
    Refuse(Refusal),
    /// End all clients for this reason; sources are being closed.
    Ending(EndReason),
    /// Forget the session.
    Ended(EndReason),
}

/// With which selector an engine is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// The id's own.
    Own,
    /// The same number under the other parameter.
    Other,
}

impl Ask {
    /// The selector to send, for an id whose own is `own`.
    pub fn selector(self, own: Selector) -> Selector {
        match self {
            Self::Own => own,
            Self::Other => own.other(),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Source {
    id: SourceId,
    lease: Lease,
    /// Which of the session's ids it is.
    entry: u8,
    /// The engine has answered, or may have: only then does closing it cost a stop.
    opened: bool,
    /// Media has come from it.
    has_media: bool,
    /// How long it pauses, as it says itself.
    pause: Duration,
    closing: bool,
    /// Told to control with the returned lease.
    fault: Option<EngineFault>,
    /// Keep the lease when it closes, to open again on the same engine.
    again: bool,
}

impl Source {
    fn new(id: SourceId, lease: Lease, entry: u8) -> Self {
        Self {
            id,
            lease,
            entry,
            opened: false,
            has_media: false,
            pause: Duration::ZERO,
            closing: false,
            fault: None,
            again: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Life {
    /// Nobody has joined yet.
    New,
    /// Playing, or on the way to it.
    Alive,
    /// Waiting for sources to close.
    Ending(EndReason),
    /// Over.
    Ended(EndReason),
}

/// The source that plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Playing {
    source: SourceId,
    #[serde(with = "age")]
    since: Instant,
}

/// What the rest of the room may know of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No media yet.
    Starting,
    /// Media flows.
    Playing,
    /// Media has flowed and will again.
    Recovering,
    /// Over, or soon.
    Ending,
}

/// The state machine of one session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    limits: Limits,
    life: Life,
    playing: Option<Playing>,
    #[serde(skip)]
    quest: Quest,
    #[serde(skip)]
    purpose: Purpose,
    /// The second of two ids that race; there is none once media has flowed.
    #[serde(skip)]
    rival: Rival,
    entries: Entries,
    sources: Vec<Source>,
    /// A lease that waits for an engine's previous source to close: of that source itself, or newly granted.
    kept: Option<Lease>,
    clients: u32,
    /// When the last player left; the session ends a while after it.
    #[serde(with = "age::option")]
    idle_since: Option<Instant>,
    /// Media has flowed at least once.
    played: bool,
    #[serde(with = "age")]
    last_media: Instant,
    #[serde(with = "age")]
    last_sign: Instant,
    /// When the present engine last answered a question; `None` when it never did, which then says nothing.
    #[serde(with = "age::option")]
    last_answer: Option<Instant>,
    /// How the source that plays pauses.
    rhythm: Rhythm,
    /// Control has been told that the source that plays is silent.
    is_silent: bool,
    /// Faults in a row without stable playing between.
    failures: u32,
    /// Quests in a row that came to nothing, faults and refusals, without stable playing between.
    retries: u32,
    /// Engines tried for the present move.
    move_tries: u32,
    /// Engines that failed within the present run of failures, worst last.
    avoid: Vec<EngineId>,
    engines_tried: u32,
    /// What engines are asked for. It changes once for each id, before any media of it, when an engine does not know the own selector.
    ask: Ask,
    next_source: u32,
    jitter: u64,
    /// What plays is to be left as it is for a moment: nothing is opened beside it.
    #[serde(skip)]
    is_held: bool,
}

impl Machine {
    /// A session nobody has joined yet. `seed` spreads retries of different sessions.
    pub fn new(limits: Limits, now: Instant, seed: u64) -> Self {
        Self {
            limits,
            life: Life::New,
            playing: None,
            quest: Quest::None,
            purpose: Purpose::Recovery,
            rival: Rival::None,
            entries: Entries::new(1, now),
            sources: Vec::new(),
            kept: None,
            clients: 0,
            idle_since: None,
            played: false,
            last_media: now,
            last_sign: now,
            last_answer: None,
            rhythm: Rhythm::new(now),
            is_silent: false,
            failures: 0,
            retries: 0,
            move_tries: 0,
            avoid: Vec::new(),
            engines_tried: 0,
            ask: Ask::Own,
            next_source: 0,
            jitter: seed | 1,
            is_held: false,
        }
    }

    /// As another process is to have it, or `None` while that is impossible: nothing has played yet, it is ending, or a source
    /// other than the one that plays is open. What is merely looked for is looked for anew there.
    pub fn state(&self) -> Option<Self> {
        let is_settled = match (self.playing, self.sources.as_slice()) {
            (Some(playing), [source]) => {
                source.id == playing.source && source.opened && source.has_media && !source.closing
            }
            (None, []) => true,
            _ => false,
        };
        let is_settled = is_settled && self.life == Life::Alive && self.played && self.kept.is_none();
        is_settled.then(|| Self {
            quest: Quest::None,
            purpose: Purpose::Recovery,
            is_silent: false,
            is_held: false,
            ..self.clone()
        })
    }

    /// Goes on where another process has stopped, with so many clients of those it had.
    pub fn go_on(&mut self, now: Instant, clients: u32) {
        self.clients = clients;
        if clients > 0 {
            self.idle_since = None;
        } else {
            self.idle_since.get_or_insert(now);
        }
        if self.playing.is_none() {
            self.quest = Quest::Backoff { until: now };
        }
    }

    /// The times and bounds it lives by.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The source that plays, and what it plays on.
    pub fn playing(&self) -> Option<(SourceId, &Lease)> {
        let playing = self.playing?.source;
        self.sources.iter().find(|source| source.id == playing).map(|source| (source.id, &source.lease))
    }

    /// Where the session is.
    pub fn phase(&self) -> Phase {
        match self.life {
            Life::Ending(_) | Life::Ended(_) => Phase::Ending,
            _ if self.playing.is_some() => Phase::Playing,
            _ if self.played => Phase::Recovering,
            _ => Phase::Starting,
        }
    }

    /// The reason, once the session is ending or ended.
    pub fn end_reason(&self) -> Option<EndReason> {
        match self.life {
            Life::Ending(reason) | Life::Ended(reason) => Some(reason),
            _ => None,
        }
    }

    /// Since when nobody has watched.
    pub fn idle_since(&self) -> Option<Instant> {
        self.idle_since
    }

    /// Leases in use now and which of the session's ids each serves, for the report to control.
    pub fn leases(&self) -> impl Iterator<Item = (&Lease, u8)> {
        // A lease kept for a reopening is still that of the source that is closing.
        let waiting =
            self.kept.iter().filter(|kept| !self.sources.iter().any(|source| source.lease.id == kept.id));
        let waiting = waiting.map(|kept| (kept, self.entries.present));
        self.sources.iter().map(|source| (&source.lease, source.entry)).chain(waiting)
    }

    /// Sources that have not reported their end.
    pub fn open_sources(&self) -> Vec<SourceId> {
        self.sources.iter().map(|source| source.id).collect()
    }

    /// The source whose packets are the stream's.
    pub fn current(&self) -> Option<SourceId> {
        match self.playing {
            Some(playing) => Some(playing.source),
            None => self.quest.source(),
        }
    }

    /// The source that is to take over from the one that plays.
    pub fn follower(&self) -> Option<SourceId> {
        self.playing.and_then(|_| self.quest.source())
    }

    /// When `Tick` is due next; `None` only once the session ended or before its first join.
    pub fn deadline(&self) -> Option<Instant> {
        if self.life != Life::Alive {
            return None;
        }
        let empty = self.played.then(|| self.empty_since() + self.limits.empty_timeout);
        let playing = self.playing.and_then(|playing| {
            let silence = (!self.is_silent).then(|| self.silence_deadline());
            [Some(self.stall_deadline()), silence, self.spare_deadline(playing)].into_iter().flatten().min()
        });
        let race = [self.entry_deadline(), self.rival_deadline()];
        let all = [self.idle_deadline(), empty, playing, self.quest_deadline()];
        all.into_iter().chain(race).flatten().min()
    }

    /// Takes one event in; what has to be done is appended to `actions`, in order.
    pub fn on(&mut self, now: Instant, event: Event, actions: &mut Vec<Action>) {
        if matches!(self.life, Life::Ended(_)) {
            // A grant that crossed the end goes back unused; everything else is too late to matter.
            match event {
                Event::Granted(lease) => actions.push(Action::ReturnLease { lease: lease.id, fault: None }),
                Event::Move(_) => actions.push(Action::Moved(false)),
                _ => {}
            }
            return;
        }
        match event {
            Event::Join => self.join(now, actions),
            Event::Leave => self.leave(now, actions),
            Event::Granted(lease) => self.granted(now, lease, actions),
            Event::Refused(refusal) => self.refused(now, refusal, actions),
            Event::Opened(id) => self.change(id, |source| source.opened = true),
            Event::Pauses(id, pause) => self.pauses(now, id, pause),
            Event::Media(id) => self.media(now, id, actions),
            Event::Answered(id) => {
                if self.current() == Some(id) {
                    self.last_answer = Some(now);
                }
            }
            Event::Progress(id) => {
                if self.current() == Some(id) {
                    self.last_sign = now;
                }
            }
            Event::Unknown(id, fault) => self.unknown(now, id, fault, actions),
            Event::Failed(id, fault) => self.failed(now, id, fault, actions),
            Event::CaughtUp(id) => self.caught_up(now, id, actions),
            Event::Closed(id) => self.closed(now, id, actions),
            Event::Withdrawn(lease) => self.withdrawn(now, lease, actions),
            Event::Move(wanted) => self.start_move(now, wanted, actions),
            Event::Hold(is_held) => self.hold(now, is_held, actions),
            // What loops is this id's broadcast, not the channel.
            Event::End(EndReason::Looping) if self.leaves_loop(now, actions) => {}
            Event::End(reason) => self.end(reason, None, actions),
            Event::Tick => {}
        }
        self.tick(now, actions);
    }

    fn hold(&mut self, now: Instant, is_held: bool, actions: &mut Vec<Action>) {
        self.is_held = is_held;
        if self.playing.is_none() || self.life != Life::Alive {
            return;
        }
        let purpose = self.purpose;
        if is_held && self.quest != Quest::None {
            self.give_quest_up(actions);
        }
        // A lease that control wants back is left all the same, in its time.
        if matches!(purpose, Purpose::Withdrawn { .. }) {
            self.purpose = purpose;
            if !is_held && self.quest == Quest::None {
                self.lease(now, actions);
            }
        }
    }

    fn join(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.clients += 1;
        self.idle_since = None;
        if self.life == Life::New {
            self.life = Life::Alive;
            self.lease(now, actions);
        }
    }

    fn leave(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.clients = self.clients.saturating_sub(1);
        if self.clients == 0 {
            self.idle_since = Some(now);
            // Neither is there a reason to take another engine, or to keep one that is to be given back.
            let is_recovering = self.played && self.playing.is_none() && !self.is_asking();
            if is_recovering || matches!(self.purpose, Purpose::Withdrawn { .. }) {
                return self.end(EndReason::ClientLeft, None, actions);
            }
            // Nobody is there to be spared a gap.
            if self.playing.is_some() && self.purpose != Purpose::Recovery {
                self.give_quest_up(actions);
            }
        }
    }

    fn media(&mut self, now: Instant, id: SourceId, actions: &mut Vec<Action>) {
        if self.end_reason().is_some() {
            return;
        }
        self.change(id, |source| source.has_media = true);
        match self.playing {
            Some(playing) if playing.source == id => {
                self.rhythm.note(now, now.saturating_duration_since(self.last_media));
                self.speak_up(id, actions);
                if now.saturating_duration_since(playing.since) >= self.limits.stable {
                    (self.failures, self.retries) = (0, 0);
                    self.avoid.clear();
                    self.entries.forgive();
                }
                // It came back before another one had caught up: it stays.
                if self.purpose == Purpose::Silence {
                    self.give_quest_up(actions);
                }
            }
            None if self.quest.source() == Some(id) || self.rival.source() == Some(id) => {
                self.decide_race(now, id, actions);
                self.entries.has_played = true;
                if !self.played {
                    // What went wrong before the start says nothing about how to recover.
                    (self.failures, self.retries) = (0, 0);
                }
                self.played = true;
                self.quest = Quest::None;
                self.plays(now, id);
                actions.push(Action::Admit);
            }
            _ => return,
        }
        self.last_media = now;
        self.last_sign = now;
    }

    fn pauses(&mut self, now: Instant, id: SourceId, pause: Duration) {
        self.change(id, |source| source.pause = pause);
        if self.playing.is_some_and(|playing| playing.source == id) {
            self.rhythm.note(now, pause);
        }
    }

    /// From now on the stream comes from this source.
    fn plays(&mut self, now: Instant, source: SourceId) {
        self.playing = Some(Playing { source, since: now });
        self.purpose = Purpose::Recovery;
        (self.last_media, self.last_sign, self.last_answer) = (now, now, None);
        self.rhythm = Rhythm::new(now);
        let pause = self.sources.iter().find(|known| known.id == source).map(|known| known.pause);
        self.rhythm.note(now, pause.unwrap_or_default());
        self.is_silent = false;
    }

    fn unknown(&mut self, now: Instant, id: SourceId, fault: SourceFault, actions: &mut Vec<Action>) {
        if self.ask == Ask::Other || self.entries.has_played || self.rival.source() == Some(id) {
            return self.failed(now, id, fault, actions);
        }
        let Some(source) = self.at_work(id) else { return };
        // The same engine is asked again with the other selector, once this attempt is closed.
        source.closing = true;
        source.again = true;
        self.kept = Some(source.lease.clone());
        self.ask = Ask::Other;
        self.quest = Quest::Waiting;
        actions.push(Action::Close(id));
    }

    fn failed(&mut self, now: Instant, id: SourceId, fault: SourceFault, actions: &mut Vec<Action>) {
        if self.follower() == Some(id) {
            return self.follower_failed(now, id, fault.fault, actions);
        }
        if self.rival.source() == Some(id) {
            return self.rival_failed(id, fault.fault, actions);
        }
        let purpose = self.purpose;
        let (played, failures) = (self.played, self.failures);
        let (has_played, is_hopeless) = (self.entries.has_played, self.is_hopeless(&fault));
        let Some(source) = self.at_work(id) else { return };
        // A live engine that ended or reset a healthy body is asked again at once; one that hangs, refuses, fails twice
        // or is to be left is not.
        let same = has_played
            && failures == 0
            && !purpose.is_leaving()
            && matches!(fault.fault, EngineFault::EndOfStream | EngineFault::Error | EngineFault::Silent);
        let lease = source.lease.clone();
        self.speak_up(id, actions);
        self.close(id, Some(fault.fault), actions);
        let played_for = self.playing.take().map(|playing| now.saturating_duration_since(playing.since));
        if played_for.is_none() {
            self.quest = Quest::None;
        }
        self.failures += 1;
        self.blame(&lease.engine);
        if !played {
            if self.adopt_rival(now, &fault.refusal, actions) {
                return;
            }
            if !is_hopeless {
                return self.lease(now, actions);
            }
            if !self.fall_back(now, &fault.refusal, actions) {
                self.end(EndReason::StartFailed, Some(fault.refusal), actions);
            }
            return;
        }
        let is_spent = self.failures > self.attempts_max() || is_hopeless;
        if is_spent && self.clients > 0 && self.fall_back(now, &fault.refusal, actions) {
            return;
        }
        if self.failures > self.limits.attempts_max {
            return self.end(EndReason::FailoverExhausted, None, actions);
        }
        // A session that nobody watches gives its engine up and takes no other.
        if self.clients == 0 {
            return self.end(EndReason::ClientLeft, None, actions);
        }
        self.take_over(now, same.then_some(lease), played_for.unwrap_or_default(), actions);
    }

    fn closed(&mut self, now: Instant, id: SourceId, actions: &mut Vec<Action>) {
        let Some(at) = self.sources.iter().position(|source| source.id == id) else { return };
        let source = self.sources.remove(at);
        if !source.again {
            actions.push(Action::ReturnLease { lease: source.lease.id, fault: source.fault });
        }
        match self.kept.take() {
            Some(lease) if self.quest == Quest::Waiting && !self.is_busy(&lease.engine) => {
                self.open(now, lease, actions);
            }
            kept => self.kept = kept,
        }
        self.finish(actions);
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.life != Life::Alive {
            return;
        }
        if self.idle_deadline().is_some_and(|deadline| now >= deadline) {
            let reason = if self.played { EndReason::ClientLeft } else { EndReason::Abandoned };
            return self.end(reason, None, actions);
        }
        if self.played && now.saturating_duration_since(self.empty_since()) >= self.limits.empty_timeout {
            if self.clients == 0 || !self.fall_back(now, &brings_nothing(), actions) {
                self.end(EndReason::EmptyTimeout, None, actions);
            }
            return;
        }
        if self.playing.is_some() && now >= self.stall_deadline() {
            self.stalled(now, actions);
        }
        if let Some(playing) = self.playing
            && self.life == Life::Alive
        {
            self.watch(now, playing, actions);
        }
        if self.life == Life::Alive {
            self.tick_quest(now, actions);
        }
        let is_over = self.entry_deadline().is_some_and(|deadline| now >= deadline);
        if is_over && self.life == Life::Alive {
            self.fall_back(now, &brings_nothing(), actions);
        }
    }

    /// The source that plays has been silent for too long.
    fn stalled(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(playing) = self.playing else { return };
        let refusal = Refusal::new(RefusalCode::StartTimeout, "the engine went silent").retry_after(10);
        // An engine that has stopped answering altogether is not asked again first.
        let is_deaf =
            self.last_answer.is_some_and(|last| now.saturating_duration_since(last) >= self.limits.stall / 2);
        let kind = if is_deaf { EngineFault::Hung } else { EngineFault::Silent };
        let fault = SourceFault { fault: kind, refusal, elsewhere: true };
        self.failed(now, playing.source, fault, actions);
    }

    /// The source that plays is silent no more: it came back, or it is given up.
    fn speak_up(&mut self, id: SourceId, actions: &mut Vec<Action>) {
        let lease = self.at_work(id).map(|source| source.lease.id);
        if let Some(lease) = lease.filter(|_| std::mem::take(&mut self.is_silent)) {
            actions.push(Action::Silent { lease, is_silent: false });
        }
    }

    fn end(&mut self, reason: EndReason, refusal: Option<Refusal>, actions: &mut Vec<Action>) {
        if self.end_reason().is_some() {
            return;
        }
        if let Some(playing) = self.playing.take() {
            self.speak_up(playing.source, actions);
        }
        if matches!(self.quest, Quest::Leasing { .. }) || self.rival.is_leasing() {
            actions.push(Action::AbandonLease);
        }
        if matches!(self.purpose, Purpose::Move { .. }) {
            actions.push(Action::Moved(false));
        }
        (self.quest, self.purpose, self.rival) = (Quest::None, Purpose::Recovery, Rival::None);
        self.life = Life::Ending(reason);
        actions.push(Action::Refuse(refusal.unwrap_or_else(|| refusal_of(reason))));
        actions.push(Action::Ending(reason));
        for source in self.sources.iter_mut().filter(|source| !source.closing) {
            source.closing = true;
            actions.push(Action::Close(source.id));
        }
        self.return_kept(actions);
        self.finish(actions);
    }

    /// A lease kept for a reopening belongs to the source that is closing, and goes back with it, or to nobody.
    fn return_kept(&mut self, actions: &mut Vec<Action>) {
        let Some(lease) = self.kept.take() else { return };
        match self.sources.iter_mut().find(|source| source.lease.id == lease.id) {
            Some(source) => source.again = false,
            None => actions.push(Action::ReturnLease { lease: lease.id, fault: None }),
        }
    }

    fn finish(&mut self, actions: &mut Vec<Action>) {
        if let Life::Ending(reason) = self.life
            && self.sources.is_empty()
        {
            self.life = Life::Ended(reason);
            actions.push(Action::Ended(reason));
        }
    }

    fn close(&mut self, id: SourceId, fault: Option<EngineFault>, actions: &mut Vec<Action>) {
        if let Some(source) = self.at_work(id) {
            source.closing = true;
            source.fault = fault;
            actions.push(Action::Close(id));
        }
    }

    /// A source that is not closing.
    fn at_work(&mut self, id: SourceId) -> Option<&mut Source> {
        self.sources.iter_mut().find(|source| source.id == id && !source.closing)
    }

    fn change(&mut self, id: SourceId, change: impl FnOnce(&mut Source)) {
        if let Some(source) = self.sources.iter_mut().find(|source| source.id == id) {
            change(source);
        }
    }

    /// An engine has been asked to start and has not answered yet. That is not given up: the answer may open an engine
    /// session all the same, so nothing would be saved, and a player that comes back would find the door shut.
    fn is_asking(&self) -> bool {
        let opening = [self.quest.source().filter(|_| self.playing.is_none()), self.rival.source()];
        self.sources.iter().any(|source| opening.contains(&Some(source.id)) && !source.opened)
    }

    fn idle_deadline(&self) -> Option<Instant> {
        let wait = if self.played { self.limits.grace } else { self.limits.abandon };
        let is_idle = self.life == Life::Alive && !self.is_asking();
        self.idle_since.filter(|_| is_idle).map(|since| since + wait)
    }

    /// Silence that says something: longer than this source is used to pause.
    fn silence(&self) -> Duration {
        self.limits.silence.max(self.rhythm.pause() * 3 / 2 + Duration::from_millis(500))
    }

    /// When a second engine is due. Figures that move put it off: what the engine has it will send.
    fn silence_deadline(&self) -> Instant {
        let silence = self.silence();
        let last = self.last_media + self.limits.stall.max(silence);
        (self.last_sign.max(self.last_media) + self.limits.silence).max(self.last_media + silence).min(last)
    }

    fn stall_deadline(&self) -> Instant {
        // As much later as the source's own pauses put its silence off.
        let stall = self.limits.stall + (self.silence() - self.limits.silence);
        let patient = self.last_media + self.limits.stall_with_progress.max(stall);
        (self.last_sign.max(self.last_media) + stall).min(patient).max(self.last_media + stall)
    }
}

/// What waiting players are told when their session ends for another reason than a failed start.
fn refusal_of(reason: EndReason) -> Refusal {
    let (code, detail, retry_after_s) = match reason {
        EndReason::Shutdown => (RefusalCode::Shutdown, "the appliance is shutting down", 5),
        EndReason::Memory => (RefusalCode::Memory, "the memory for windows is spent", 10),
        EndReason::Internal => (RefusalCode::Internal, "a task of this session failed", 5),
        _ => (RefusalCode::SessionEnding, "the session is ending, retry shortly", 1),
    };
    Refusal::new(code, detail).retry_after(retry_after_s)
}

#[cfg(test)]
mod tests;
