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
//! it closed, and the driver closes each exactly once. Invariants, held by a simulation over random interleavings:
//!
//! - every opened source is closed exactly once, and every granted lease returned exactly once, after its source
//!   closed;
//! - two sources of this session never share an engine at the same time;
//! - an ended session has no source, no lease and no waiter left unanswered;
//! - whatever is lost or late, some deadline is always pending until the session ended.
//!
//! What it does not do: sockets, windows, media, time. The driver in `driver.rs` does what it says.

use sluice_contract::{EndReason, EngineFault, EngineId, Lease, LeaseId, Refusal, RefusalCode, Selector};
use std::time::{Duration, Instant};

/// One engine session within this session; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u32);

/// The times and bounds a session lives by.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long an unwatched session that has played stays warm.
    pub grace: Duration,
    /// How long a start goes on when nobody waits for it any more; players probe and come back within a second.
    pub abandon: Duration,
    /// How long control may take to grant an engine, queueing included.
    pub lease_timeout: Duration,
    /// Silence after which the source is replaced, when the engine gives no sign of progress.
    pub stall: Duration,
    /// The same when the engine's figures show progress.
    pub stall_with_progress: Duration,
    /// Silence after which the session ends.
    pub empty_timeout: Duration,
    /// Playing that long without a fault forgives earlier faults.
    pub stable: Duration,
    /// Sources that may fail one after another, without `stable` playing between, before the session ends.
    pub attempts_max: u32,
    /// Engines tried for a start.
    pub start_engines_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(5),
            abandon: Duration::from_secs(1),
            lease_timeout: Duration::from_secs(30),
            stall: Duration::from_secs(8),
            stall_with_progress: Duration::from_secs(18),
            empty_timeout: Duration::from_secs(60),
            stable: Duration::from_secs(30),
            attempts_max: 12,
            start_engines_max: 3,
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
    /// A source is gone: its engine session stopped or given up, its socket closed.
    Closed(SourceId),
    /// Control wants the lease back.
    Withdrawn(LeaseId),
    /// End it.
    End(EndReason),
    /// Time has passed.
    Tick,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Ask control for an engine, avoiding these (worst last).
    RequestLease {
        /// Engines that failed this session recently.
        avoid: Vec<EngineId>,
    },
    /// Tell control that the pending request is no longer wanted.
    AbandonLease,
    /// Open an engine session.
    Open {
        /// Its id.
        source: SourceId,
        /// On which engine.
        lease: Lease,
        /// What to ask for: the session's own selector or the other one.
        selector: Ask,
    },
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The session's own.
    Own,
    /// The same number under the other parameter.
    Other,
}

impl Ask {
    /// The selector to send, for a session whose own is `own`.
    pub fn selector(self, own: Selector) -> Selector {
        match self {
            Self::Own => own,
            Self::Other => own.other(),
        }
    }
}

#[derive(Debug)]
struct Source {
    id: SourceId,
    lease: Lease,
    /// The engine has answered, or may have: only then does closing it cost a stop.
    opened: bool,
    closing: bool,
    /// Told to control with the returned lease.
    fault: Option<EngineFault>,
    /// Keep the lease when it closes, to open again on the same engine.
    again: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Nothing asked for yet.
    New,
    /// Waiting for control.
    Leasing { since: Instant },
    /// Waiting for a source's media (`since` counts from `Open`), or for its predecessor to close.
    Opening,
    /// Waiting to try again.
    Backoff { until: Instant, avoid: Vec<EngineId> },
    /// Media flows.
    Playing { since: Instant },
    /// Waiting for sources to close.
    Ending(EndReason),
    /// Over.
    Ended(EndReason),
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
#[derive(Debug)]
pub struct Machine {
    limits: Limits,
    state: State,
    sources: Vec<Source>,
    /// A lease that waits for an engine's previous source to close: of that source itself, or newly granted.
    kept: Option<Lease>,
    clients: u32,
    /// When the last player left; the session ends a while after it.
    idle_since: Option<Instant>,
    /// Media has flowed at least once.
    played: bool,
    last_media: Instant,
    last_sign: Instant,
    /// When the present engine last answered a question; `None` when it never did, which then says nothing.
    last_answer: Option<Instant>,
    /// Faults in a row without stable playing between.
    failures: u32,
    /// Engines that failed within the present run of failures, worst last.
    avoid: Vec<EngineId>,
    engines_tried: u32,
    /// What engines are asked for. It changes once, before any media, when an engine does not know the own selector.
    ask: Ask,
    next_source: u32,
    jitter: u64,
}

impl Machine {
    /// A session nobody has joined yet. `seed` spreads retries of different sessions.
    pub fn new(limits: Limits, now: Instant, seed: u64) -> Self {
        Self {
            limits,
            state: State::New,
            sources: Vec::new(),
            kept: None,
            clients: 0,
            idle_since: None,
            played: false,
            last_media: now,
            last_sign: now,
            last_answer: None,
            failures: 0,
            avoid: Vec::new(),
            engines_tried: 0,
            ask: Ask::Own,
            next_source: 0,
            jitter: seed | 1,
        }
    }

    /// Where the session is.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Playing { .. } => Phase::Playing,
            State::Ending(_) | State::Ended(_) => Phase::Ending,
            _ if self.played => Phase::Recovering,
            _ => Phase::Starting,
        }
    }

    /// The reason, once the session is ending or ended.
    pub fn end_reason(&self) -> Option<EndReason> {
        match self.state {
            State::Ending(reason) | State::Ended(reason) => Some(reason),
            _ => None,
        }
    }

    /// Since when nobody has watched.
    pub fn idle_since(&self) -> Option<Instant> {
        self.idle_since
    }

    /// Leases in use now, for the report to control.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        // A lease kept for a reopening is still that of the source that is closing.
        let waiting =
            self.kept.iter().filter(|kept| !self.sources.iter().any(|source| source.lease.id == kept.id));
        self.sources.iter().map(|source| &source.lease).chain(waiting)
    }

    /// Sources that have not reported their end.
    pub fn open_sources(&self) -> Vec<SourceId> {
        self.sources.iter().map(|source| source.id).collect()
    }

    /// The source whose media counts.
    pub fn current(&self) -> Option<SourceId> {
        self.live().map(|source| source.id)
    }

    /// When `Tick` is due next; `None` only once the session ended or before its first join.
    pub fn deadline(&self) -> Option<Instant> {
        let idle = self.idle_deadline();
        let state = match &self.state {
            // A source is opened and closed within its driver's deadlines; nothing to time here.
            State::New | State::Opening | State::Ending(_) | State::Ended(_) => None,
            State::Leasing { since } => Some(*since + self.limits.lease_timeout),
            State::Backoff { until, .. } => Some(*until),
            State::Playing { .. } => Some(self.stall_deadline()),
        };
        let is_over = self.end_reason().is_some();
        let empty = (self.played && !is_over).then(|| self.last_media + self.limits.empty_timeout);
        [idle, empty, state].into_iter().flatten().min()
    }

    /// Takes one event in; what has to be done is appended to `actions`, in order.
    pub fn on(&mut self, now: Instant, event: Event, actions: &mut Vec<Action>) {
        if matches!(self.state, State::Ended(_)) {
            // A grant that crossed the end goes back unused; everything else is too late to matter.
            if let Event::Granted(lease) = event {
                actions.push(Action::ReturnLease { lease: lease.id, fault: None });
            }
            return;
        }
        match event {
            Event::Join => self.join(now, actions),
            Event::Leave => self.leave(now),
            Event::Granted(lease) => self.granted(now, lease, actions),
            Event::Refused(refusal) => self.refused(now, refusal, actions),
            Event::Opened(id) => self.opened(id),
            Event::Media(id) => self.media(now, id, actions),
            Event::Answered(id) => {
                if self.live().is_some_and(|source| source.id == id) {
                    self.last_answer = Some(now);
                }
            }
            Event::Progress(id) => {
                if self.live().is_some_and(|source| source.id == id) {
                    self.last_sign = now;
                }
            }
            Event::Unknown(id, fault) => self.unknown(now, id, fault, actions),
            Event::Failed(id, fault) => self.failed(now, id, fault, actions),
            Event::Closed(id) => self.closed(now, id, actions),
            Event::Withdrawn(lease) => self.withdrawn(now, lease, actions),
            Event::End(reason) => self.end(reason, None, actions),
            Event::Tick => {}
        }
        self.tick(now, actions);
    }

    fn join(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.clients += 1;
        self.idle_since = None;
        if self.state == State::New {
            self.lease(now, Vec::new(), actions);
        }
    }

    fn leave(&mut self, now: Instant) {
        self.clients = self.clients.saturating_sub(1);
        if self.clients == 0 {
            self.idle_since = Some(now);
        }
    }

    fn lease(&mut self, now: Instant, avoid: Vec<EngineId>, actions: &mut Vec<Action>) {
        self.state = State::Leasing { since: now };
        actions.push(Action::RequestLease { avoid });
    }

    fn granted(&mut self, now: Instant, lease: Lease, actions: &mut Vec<Action>) {
        if !matches!(self.state, State::Leasing { .. }) {
            actions.push(Action::ReturnLease { lease: lease.id, fault: None });
            return;
        }
        self.engines_tried += 1;
        self.open_or_wait(now, lease, actions);
    }

    /// Opens a source, unless an older one still holds that engine: then its closing comes first.
    fn open_or_wait(&mut self, now: Instant, lease: Lease, actions: &mut Vec<Action>) {
        self.state = State::Opening;
        if self.sources.iter().any(|source| source.lease.engine == lease.engine) {
            self.kept = Some(lease);
            return;
        }
        let source = SourceId(self.next_source);
        self.next_source += 1;
        self.last_sign = now;
        self.last_answer = None;
        actions.push(Action::Open { source, lease: lease.clone(), selector: self.ask });
        self.sources.push(Source {
            id: source,
            lease,
            opened: false,
            closing: false,
            fault: None,
            again: false,
        });
    }

    fn refused(&mut self, now: Instant, refusal: Refusal, actions: &mut Vec<Action>) {
        if !matches!(self.state, State::Leasing { .. }) {
            return;
        }
        // The request is answered: whatever comes next, there is nothing to abandon.
        self.state = State::Opening;
        if self.played {
            self.back_off(now);
        } else {
            self.end(EndReason::StartFailed, Some(refusal), actions);
        }
    }

    fn opened(&mut self, id: SourceId) {
        if let Some(source) = self.sources.iter_mut().find(|source| source.id == id) {
            source.opened = true;
        }
    }

    fn media(&mut self, now: Instant, id: SourceId, actions: &mut Vec<Action>) {
        if self.live().is_none_or(|source| source.id != id) {
            return;
        }
        self.last_media = now;
        self.last_sign = now;
        match self.state {
            State::Opening => {
                self.played = true;
                self.state = State::Playing { since: now };
                actions.push(Action::Admit);
            }
            State::Playing { since } if now.saturating_duration_since(since) >= self.limits.stable => {
                self.failures = 0;
                self.avoid.clear();
            }
            _ => {}
        }
    }

    fn unknown(&mut self, now: Instant, id: SourceId, fault: SourceFault, actions: &mut Vec<Action>) {
        if self.ask == Ask::Other || self.played {
            return self.failed(now, id, fault, actions);
        }
        let Some(source) = self.live_mut().filter(|source| source.id == id) else { return };
        // The same engine is asked again with the other selector, once this attempt is closed.
        source.closing = true;
        source.again = true;
        self.kept = Some(source.lease.clone());
        self.ask = Ask::Other;
        self.state = State::Opening;
        actions.push(Action::Close(id));
    }

    fn failed(&mut self, now: Instant, id: SourceId, fault: SourceFault, actions: &mut Vec<Action>) {
        let (played, failures) = (self.played, self.failures);
        let Some(source) = self.live_mut().filter(|source| source.id == id) else { return };
        source.closing = true;
        source.fault = Some(fault.fault);
        let engine = source.lease.engine.clone();
        let lease = source.lease.clone();
        // A live engine that ended or reset a healthy body is asked again at once; one that hangs, refuses or fails
        // twice is not.
        let same = played
            && failures == 0
            && matches!(fault.fault, EngineFault::EndOfStream | EngineFault::Error | EngineFault::Silent);
        source.again = same;
        actions.push(Action::Close(id));
        self.failures += 1;
        if same {
            self.kept = Some(lease);
            self.state = State::Opening;
            return;
        }
        self.avoid.retain(|avoided| *avoided != engine);
        self.avoid.push(engine);
        if !played {
            if !fault.elsewhere || self.engines_tried >= self.limits.start_engines_max {
                return self.end(EndReason::StartFailed, Some(fault.refusal), actions);
            }
            return self.lease(now, self.avoid.clone(), actions);
        }
        if self.failures > self.limits.attempts_max {
            return self.end(EndReason::FailoverExhausted, None, actions);
        }
        if self.failures <= 2 { self.lease(now, self.avoid.clone(), actions) } else { self.back_off(now) }
    }

    fn back_off(&mut self, now: Instant) {
        let base = Duration::from_millis(250) * 2u32.saturating_pow(self.failures.saturating_sub(2).min(5));
        self.jitter =
            self.jitter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let spread = base.as_millis() as u64 / 2 + 1;
        let wait = base + Duration::from_millis((self.jitter >> 33) % spread);
        self.state = State::Backoff { until: now + wait, avoid: self.avoid.clone() };
    }

    fn closed(&mut self, now: Instant, id: SourceId, actions: &mut Vec<Action>) {
        let Some(at) = self.sources.iter().position(|source| source.id == id) else { return };
        let source = self.sources.remove(at);
        if !source.again {
            actions.push(Action::ReturnLease { lease: source.lease.id, fault: source.fault });
        }
        let busy = |machine: &Self, engine: &EngineId| {
            machine.sources.iter().any(|other| other.lease.engine == *engine)
        };
        match (&self.state, self.kept.take()) {
            (State::Opening, Some(lease)) if !busy(self, &lease.engine) => {
                self.open_or_wait(now, lease, actions);
            }
            (State::Opening, kept) => self.kept = kept,
            (_, Some(lease)) => actions.push(Action::ReturnLease { lease: lease.id, fault: None }),
            (_, None) => {}
        }
        self.finish(actions);
    }

    fn withdrawn(&mut self, now: Instant, lease: LeaseId, actions: &mut Vec<Action>) {
        let engine = if let Some(kept) = self.kept.as_ref().filter(|kept| kept.id == lease) {
            let engine = kept.engine.clone();
            self.return_kept(actions);
            engine
        } else {
            let Some(source) = self.live_mut().filter(|source| source.lease.id == lease) else { return };
            source.closing = true;
            let (id, engine) = (source.id, source.lease.engine.clone());
            actions.push(Action::Close(id));
            engine
        };
        let mut avoid = self.avoid.clone();
        avoid.retain(|avoided| *avoided != engine);
        avoid.push(engine);
        self.lease(now, avoid, actions);
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.end_reason().is_some() {
            return;
        }
        if self.idle_deadline().is_some_and(|deadline| now >= deadline) {
            let reason = if self.played { EndReason::ClientLeft } else { EndReason::Abandoned };
            return self.end(reason, None, actions);
        }
        if self.played && now.saturating_duration_since(self.last_media) >= self.limits.empty_timeout {
            return self.end(EndReason::EmptyTimeout, None, actions);
        }
        match &self.state {
            State::Leasing { since }
                if now.saturating_duration_since(*since) >= self.limits.lease_timeout =>
            {
                actions.push(Action::AbandonLease);
                let refusal = Refusal::new(RefusalCode::ControlUnavailable, "no engine was granted in time");
                self.refused(now, refusal.retry_after(5), actions);
            }
            State::Backoff { until, avoid } if now >= *until => {
                let avoid = avoid.clone();
                self.lease(now, avoid, actions);
            }
            State::Playing { .. } if now >= self.stall_deadline() => {
                let Some(id) = self.current() else { return };
                let refusal =
                    Refusal::new(RefusalCode::StartTimeout, "the engine went silent").retry_after(10);
                // An engine that has stopped answering altogether is not asked again first.
                let is_deaf = self
                    .last_answer
                    .is_some_and(|last| now.saturating_duration_since(last) >= self.limits.stall / 2);
                let kind = if is_deaf { EngineFault::Hung } else { EngineFault::Silent };
                let fault = SourceFault { fault: kind, refusal, elsewhere: true };
                self.failed(now, id, fault, actions);
            }
            _ => {}
        }
    }

    fn end(&mut self, reason: EndReason, refusal: Option<Refusal>, actions: &mut Vec<Action>) {
        if self.end_reason().is_some() {
            return;
        }
        if matches!(self.state, State::Leasing { .. }) {
            actions.push(Action::AbandonLease);
        }
        self.state = State::Ending(reason);
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
        if let State::Ending(reason) = self.state
            && self.sources.is_empty()
        {
            self.state = State::Ended(reason);
            actions.push(Action::Ended(reason));
        }
    }

    fn live(&self) -> Option<&Source> {
        self.sources.iter().find(|source| !source.closing)
    }

    fn live_mut(&mut self) -> Option<&mut Source> {
        self.sources.iter_mut().find(|source| !source.closing)
    }

    /// A start whose engine has not answered yet is not given up: the answer may open an engine session all the same,
    /// so nothing would be saved, and a player that comes back would find the door shut.
    fn idle_deadline(&self) -> Option<Instant> {
        let asking = self.state == State::Opening && self.live().is_some_and(|source| !source.opened);
        let wait = if self.played { self.limits.grace } else { self.limits.abandon };
        self.idle_since.filter(|_| !asking && self.end_reason().is_none()).map(|since| since + wait)
    }

    fn stall_deadline(&self) -> Instant {
        let patient = self.last_media + self.limits.stall_with_progress;
        (self.last_sign.max(self.last_media) + self.limits.stall)
            .min(patient)
            .max(self.last_media + self.limits.stall)
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
