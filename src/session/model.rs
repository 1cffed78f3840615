//! A model of everything around the session's [`Machine`]: players, control, engines and the driver, together with
//! what must hold after every event. Compiled for tests only; the fuzz target includes this file as well.
//!
//! Whoever drives it (a seeded generator, a fuzzer) decides through [`Choices`]; the world offers only what can
//! really happen, late, repeated and crossing events included, and it keeps its own books from the actions alone.

use super::machine::{Action, Ask, Event, Limits, Machine, Phase, SourceFault, SourceId};
use sluice_contract::snapshot::Race;
use sluice_contract::{EndReason, EngineFault, EngineId, Epoch, Lease, LeaseId, Refusal, RefusalCode};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Steps in which a world that is run to its end must have ended; every one of them delivers an event.
const END_STEPS_MAX: u32 = 2_000;
/// How long the longest pause of a source is remembered, and how long a pause counts.
const RHYTHM: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15));
/// No retry waits longer, jitter included.
const BACKOFF_MAX: Duration = Duration::from_secs(12);
/// Players, engines and unclosed sources beyond these bring nothing new.
const PLAYERS_MAX: u32 = 5;

const FAULTS: [EngineFault; 7] = [
    EngineFault::EndOfStream,
    EngineFault::Silent,
    EngineFault::Error,
    EngineFault::Hung,
    EngineFault::Unreachable,
    EngineFault::NotMpegTs,
    EngineFault::Protocol,
];

/// Where decisions come from.
pub(crate) trait Choices {
    /// A number below `bound`, or `None` when nothing is left to decide.
    fn below(&mut self, bound: u32) -> Option<u32>;
}

/// How the world behaves once the random part is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finish {
    /// Everybody leaves.
    Leave,
    /// Players stay, starts fail.
    StartsFail,
    /// Players stay, every source plays a little and then ends.
    BodiesEnd,
    /// Players stay, control refuses.
    Refused,
    /// Players stay, control says nothing.
    Unanswered,
    /// Players stay, engines open sessions and send nothing until the driver gives them up.
    Silent,
}

/// What a world went through, to see that a simulation reaches what it is meant to reach.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Events delivered.
    pub events: u32,
    /// Sources opened.
    pub opened: u32,
    /// Sources opened again on the lease of their predecessor.
    pub reopened: u32,
    /// Grants that had to wait for an older source on their engine.
    pub waited: u32,
    /// Sources replaced for silence.
    pub stalls: u32,
    /// Runs of faults forgiven after stable playing.
    pub forgiven: u32,
    /// Withdrawals that hit a lease in use.
    pub withdrawn: u32,
    /// Starts with the other selector.
    pub other: u32,
    /// Sources opened beside one that plays.
    pub beside: u32,
    /// Such sources that took over from one that failed.
    pub inherited: u32,
    /// Such sources that took over because they had caught up, or time was over.
    pub changed_over: u32,
    /// Such sources given up because the one that plays came back.
    pub came_back: u32,
    /// Moves that were done.
    pub moved: u32,
    /// Ids given up for the next one before anything played, and after.
    pub fell_back: (u32, u32),
    /// Ids left for the next one because they loop.
    pub looped: u32,
    /// Races that were won by the first id, and by the second.
    pub races: (u32, u32),
    /// Races that ended before either had media.
    pub forfeited: u32,
}

impl Seen {
    /// Adds what another world went through.
    pub(crate) fn add(&mut self, other: Self) {
        self.events += other.events;
        self.opened += other.opened;
        self.reopened += other.reopened;
        self.waited += other.waited;
        self.stalls += other.stalls;
        self.forgiven += other.forgiven;
        self.withdrawn += other.withdrawn;
        self.other += other.other;
        self.beside += other.beside;
        self.inherited += other.inherited;
        self.changed_over += other.changed_over;
        self.came_back += other.came_back;
        self.moved += other.moved;
        self.fell_back.0 += other.fell_back.0;
        self.fell_back.1 += other.fell_back.1;
        self.looped += other.looped;
        self.races.0 += other.races.0;
        self.races.1 += other.races.1;
        self.forfeited += other.forfeited;
    }
}

#[derive(Debug)]
struct Source {
    id: SourceId,
    lease: Lease,
    opened: bool,
    has_media: bool,
    failed: bool,
    /// What the machine was told of it, or found out itself.
    fault: Option<EngineFault>,
    close_asked: bool,
}

/// A machine and its surroundings.
pub(crate) struct World {
    limits: Limits,
    machine: Machine,
    start: Instant,
    now: Instant,
    engines: u32,
    joined: bool,
    players: u32,
    /// Players that neither were let in nor refused.
    waiting: u32,
    idle_since: Option<Instant>,
    /// Since when control has been asked.
    request: Option<Instant>,
    /// With the event at hand the wait for control was over.
    is_unanswered: bool,
    /// Leases granted and not returned.
    held: Vec<Lease>,
    next_lease: u64,
    /// Sources opened and not closed.
    sources: Vec<Source>,
    next_source: u32,
    /// The last one that closed.
    closed: Option<Source>,
    ask: Ask,
    /// The source whose packets are the stream's.
    feeding: Option<SourceId>,
    /// The engine of the source that plays is to be left by then.
    leaving: Option<Instant>,
    /// Moves that came to their end within this event.
    moved: u32,
    /// The source that plays is about to be followed by one that has caught up.
    is_handing_over: bool,
    is_silent: bool,
    /// The longest pause of the source that plays, in the present minute and in the one before.
    pauses: (Instant, Duration, Duration),
    moves_owed: u32,
    played: bool,
    /// Ids the session has, which one has its turn, since when, and whether it has brought media.
    ids: u8,
    present: u8,
    turn_since: Instant,
    has_played: bool,
    /// Ids given up since one of them last played well.
    given_up: Vec<u8>,
    /// Whether a race of the first two ids is to come.
    is_racing: bool,
    /// The second source of a race.
    rival: Option<SourceId>,
    /// The request that is under way is for the second source of a race.
    is_for_rival: bool,
    /// The source that has lost the race within this event.
    loser: Option<SourceId>,
    /// An id is left for another one within this event, because of what is wrong with it.
    is_falling_back: bool,
    playing_since: Option<Instant>,
    last_media: Instant,
    last_sign: Instant,
    failures: u32,
    /// The last fault was one too many.
    spent: bool,
    /// The engine whose source failed in the present event.
    blamed: Option<EngineId>,
    /// The lease that must be opened again.
    reopen: Option<LeaseId>,
    ending: Option<EndReason>,
    ended: bool,
    seen: Seen,
    trace: Vec<(Duration, Event)>,
}

impl World {
    /// A world at its beginning.
    pub(crate) fn new(choices: &mut impl Choices) -> Self {
        let mut pick = |bound| choices.below(bound).unwrap_or(0);
        let limits = Limits {
            attempts_max: [12, 5, 3, 1][pick(4) as usize],
            entry_attempts_max: [4, 2][pick(2) as usize],
            spare_clients_min: [0, 0, 1, 3][pick(4) as usize],
            ..Limits::default()
        };
        let engines = 1 + pick(4);
        let ids = [1, 1, 2, 3][pick(4) as usize];
        let races = pick(2) == 1;
        let now = Instant::now();
        Self {
            limits,
            machine: Machine::new(limits, now, u64::from(pick(256))).with_entries(ids, races),
            start: now,
            now,
            engines,
            joined: false,
            players: 0,
            waiting: 0,
            idle_since: None,
            request: None,
            is_unanswered: false,
            held: Vec::new(),
            next_lease: 0,
            sources: Vec::new(),
            next_source: 0,
            closed: None,
            ask: Ask::Own,
            feeding: None,
            leaving: None,
            moved: 0,
            is_handing_over: false,
            is_silent: false,
            pauses: (now, Duration::ZERO, Duration::ZERO),
            moves_owed: 0,
            played: false,
            ids,
            present: 0,
            turn_since: now,
            has_played: false,
            given_up: Vec::new(),
            is_racing: races && ids > 1,
            rival: None,
            is_for_rival: false,
            loser: None,
            is_falling_back: false,
            playing_since: None,
            last_media: now,
            last_sign: now,
            failures: 0,
            spent: false,
            blamed: None,
            reopen: None,
            ending: None,
            ended: false,
            seen: Seen::default(),
            trace: Vec::new(),
        }
    }

    /// Lives through at most `steps` random steps, then to the end, and tells how it ended.
    pub(crate) fn run(mut self, choices: &mut impl Choices, steps: u32) -> (EndReason, Seen) {
        for _ in 0..steps {
            if self.step(choices).is_none() {
                break;
            }
        }
        let finish = match choices.below(6).unwrap_or(0) {
            0 => Finish::Leave,
            1 => Finish::StartsFail,
            2 => Finish::BodiesEnd,
            3 => Finish::Refused,
            4 => Finish::Unanswered,
            _ => Finish::Silent,
        };
        self.finish(finish);
        // Whatever comes after the end changes nothing.
        for _ in 0..3 {
            if self.step(choices).is_none() {
                break;
            }
        }
        (self.ending.expect("it has ended"), self.seen)
    }

    /// One random step; `None` when there are no decisions left.
    fn step(&mut self, choices: &mut impl Choices) -> Option<()> {
        match choices.below(19)? {
            0 | 1 if self.players < PLAYERS_MAX => self.deliver(Event::Join),
            2 if self.players > 0 => self.deliver(Event::Leave),
            3..=5 | 13 => self.control(choices)?,
            6..=10 if !self.sources.is_empty() => self.source(choices)?,
            11 => self.now += Duration::from_millis(u64::from(choices.below(256)?) * 10),
            12 => self.tick(Duration::ZERO),
            14 => self.tick(Duration::from_millis(u64::from(choices.below(256)?) * 100)),
            15..=18 => self.rare(choices)?,
            _ => {}
        }
        Some(())
    }

    fn control(&mut self, choices: &mut impl Choices) -> Option<()> {
        if self.request.is_some() {
            if choices.below(6)? == 0 {
                let refusal = if choices.below(6)? == 0 { loops() } else { refusal() };
                self.deliver(Event::Refused(refusal));
            } else {
                let lease = self.grant(choices.below(self.engines)?);
                self.deliver(Event::Granted(lease));
            }
        } else if choices.below(16)? == 0 {
            // The answer to a request that was abandoned meanwhile.
            let lease = self.grant(0);
            self.deliver(Event::Granted(lease));
        }
        Some(())
    }

    fn source(&mut self, choices: &mut impl Choices) -> Option<()> {
        let at = choices.below(self.sources.len() as u32)? as usize;
        let Source { id, opened, failed, close_asked, .. } = self.sources[at];
        if close_asked && choices.below(3)? > 0 {
            self.deliver(Event::Closed(id));
            return Some(());
        }
        let kind = choices.below(12)?;
        let fault = |choice: u32| fault(FAULTS[choice as usize % FAULTS.len()], !choice.is_multiple_of(5));
        match (opened, kind) {
            _ if failed => {}
            (false, 0..=7) => self.deliver(Event::Opened(id)),
            (false, 8 | 9) => self.deliver(Event::Unknown(id, unknown())),
            (true, 0..=2) if self.follower() == Some(id) => self.deliver(Event::CaughtUp(id)),
            (true, 0..=6) => self.deliver(Event::Media(id)),
            (true, 7..=9) => self.deliver(Event::Progress(id)),
            _ => self.deliver(Event::Failed(id, fault(choices.below(35)?))),
        }
        Some(())
    }

    fn rare(&mut self, choices: &mut impl Choices) -> Option<()> {
        match choices.below(40)? {
            0 => {
                let reasons = [EndReason::Stopped, EndReason::Shutdown, EndReason::Memory, EndReason::Merged];
                let reason = reasons[choices.below(reasons.len() as u32)? as usize];
                self.deliver(Event::End(reason));
            }
            20 | 21 => self.deliver(Event::End(EndReason::Looping)),
            1 | 2 => {
                let lease = LeaseId(u64::from(choices.below(self.next_lease.min(200) as u32 + 1)?));
                self.deliver(Event::Withdrawn(lease));
            }
            6..=19 => self.second_source(choices)?,
            4 | 5 => {
                let wanted = match choices.below(2)? {
                    0 => None,
                    _ => Some(lease(0, choices.below(self.engines)?).engine),
                };
                self.deliver(Event::Move(wanted));
            }
            3 if !self.held.is_empty() => {
                let at = choices.below(self.held.len() as u32)? as usize;
                self.deliver(Event::Withdrawn(self.held[at].id));
            }
            _ => {
                // A while of undisturbed playing, which a random walk hardly ever finds.
                let playing = self.sources.iter().find(|source| !source.close_asked && source.opened);
                if let Some(id) = playing.map(|source| source.id) {
                    for _ in 0..6 {
                        self.now += self.limits.stable / 5;
                        self.deliver(Event::Media(id));
                    }
                }
            }
        }
        Some(())
    }

    /// A second source on its way up to taking over, which a random walk hardly ever finds either.
    fn second_source(&mut self, choices: &mut impl Choices) -> Option<()> {
        if self.is_for_rival && self.request.is_some() {
            let lease = self.grant(choices.below(self.engines)?);
            self.deliver(Event::Granted(lease));
        }
        if let Some(id) = self.rival.filter(|id| self.is_live(*id)) {
            if self.sources.iter().any(|source| source.id == id && !source.opened) {
                self.deliver(Event::Opened(id));
            }
            if choices.below(2)? == 0 {
                self.deliver(Event::Media(id));
            }
        }
        if self.playing_since.is_some() && self.follower().is_none() {
            match choices.below(3)? {
                0 => self.deliver(Event::Move(None)),
                _ => self.tick(Duration::ZERO),
            }
        }
        if self.request.is_some() && self.playing_since.is_some() {
            let lease = self.grant(choices.below(self.engines)?);
            self.deliver(Event::Granted(lease));
        }
        for step in 0..choices.below(8)? {
            let Some(id) = self.follower() else { break };
            let is_opened = self.sources.iter().any(|source| source.id == id && source.opened);
            match step {
                _ if !is_opened => self.deliver(Event::Opened(id)),
                0 | 1 => self.deliver(Event::Media(id)),
                _ => self.deliver(Event::CaughtUp(id)),
            }
        }
        Some(())
    }

    fn tick(&mut self, late: Duration) {
        if let Some(deadline) = self.machine.deadline() {
            self.now = self.now.max(deadline + late);
        }
        self.deliver(Event::Tick);
    }

    fn grant(&mut self, engine: u32) -> Lease {
        let lease = lease(self.next_lease, engine);
        self.next_lease += 1;
        lease
    }

    /// Runs the world until the session ended, which it must, and within a bounded number of events.
    fn finish(&mut self, finish: Finish) {
        if finish == Finish::Leave {
            while self.players > 0 {
                self.deliver(Event::Leave);
            }
            if !self.joined {
                self.deliver(Event::End(EndReason::Shutdown));
            }
        } else if self.players == 0 {
            self.deliver(Event::Join);
        }
        for step in 0..END_STEPS_MAX {
            if self.ended {
                return;
            }
            if self.request.is_some() && finish != Finish::Unanswered {
                let granted = finish != Finish::Refused;
                let lease = granted.then(|| self.grant(step % self.engines));
                self.deliver(lease.map_or(Event::Refused(refusal()), Event::Granted));
            } else if let Some(source) = self.sources.iter().find(|source| source.close_asked) {
                self.deliver(Event::Closed(source.id));
            } else if let Some(event) =
                self.sources.iter().find_map(|source| self.driven(finish, source, step))
            {
                self.deliver(event);
            } else {
                assert!(
                    self.machine.deadline().is_some(),
                    "wedged: nothing is owed and no deadline is pending"
                );
                self.tick(Duration::ZERO);
            }
        }
        panic!("not ended after {END_STEPS_MAX} events ({finish:?})");
    }

    /// What a source does next on the way to the end; `None` when only time goes on.
    fn driven(&self, finish: Finish, source: &Source, step: u32) -> Option<Event> {
        let playing = self.playing_since.is_some();
        match finish {
            Finish::StartsFail if !source.opened => {
                let kind = FAULTS[step as usize % FAULTS.len()];
                Some(Event::Failed(source.id, fault(kind, true)))
            }
            _ if !source.opened => Some(Event::Opened(source.id)),
            Finish::BodiesEnd if playing && self.feeding != Some(source.id) => None,
            Finish::BodiesEnd if playing => {
                Some(Event::Failed(source.id, fault(EngineFault::EndOfStream, true)))
            }
            Finish::BodiesEnd => Some(Event::Media(source.id)),
            Finish::Leave => None,
            _ if self.feeding != Some(source.id) => None,
            // Before media comes, the driver watches the source; afterwards the machine does.
            _ if !playing => Some(Event::Failed(source.id, fault(EngineFault::Silent, false))),
            _ => None,
        }
    }

    fn deliver(&mut self, event: Event) {
        self.trace.push((self.now - self.start, event.clone()));
        self.seen.events += 1;
        let was_over = self.ended;
        (self.blamed, self.is_handing_over, self.moved, self.loser) = (None, false, 0, None);
        self.is_unanswered = false;
        self.happened(&event);
        let mut actions = Vec::new();
        self.machine.on(self.now, event.clone(), &mut actions);
        self.is_falling_back =
            actions.iter().any(|action| matches!(action, Action::Entry { why: Some(_), .. }));
        if self.is_falling_back {
            self.reopen = None;
        }
        if was_over {
            return self.judge_late(&event, &actions);
        }
        let ends = actions.iter().any(|action| matches!(action, Action::Ending(_)));
        for action in &actions {
            assert!(!self.ended, "{action:?} after the end");
            self.judge(&event, action, ends);
        }
        self.settled();
    }

    /// Notes what an event means, before looking at what the machine makes of it.
    fn happened(&mut self, event: &Event) {
        match event {
            Event::Join => {
                self.joined = true;
                self.players += 1;
                self.idle_since = None;
                self.waiting += u32::from(!self.played && self.ending.is_none());
            }
            Event::Leave => {
                self.players -= 1;
                self.waiting = self.waiting.min(self.players);
                if self.players == 0 {
                    self.idle_since = Some(self.now);
                }
            }
            Event::Granted(lease) => {
                self.request = None;
                self.held.push(lease.clone());
            }
            Event::Refused(_) => (self.request, self.is_for_rival) = (None, false),
            Event::Opened(id) => self.note(*id, |source| source.opened = true),
            Event::Media(id) if self.is_live(*id) => {
                self.note(*id, |source| source.has_media = true);
                if self.rival == Some(*id) {
                    (self.loser, self.feeding) = (self.feeding, self.rival.take());
                    self.reopen = None;
                } else if self.feeding != Some(*id) {
                    return;
                } else {
                    self.loser = self.rival.take().or(self.loser);
                }
                (self.is_racing, self.is_for_rival, self.has_played) = (false, false, true);
                match self.playing_since {
                    Some(_) => self.note_pause(),
                    None => self.pauses = (self.now, Duration::ZERO, Duration::ZERO),
                }
                let since = *self.playing_since.get_or_insert(self.now);
                if !self.played {
                    self.failures = 0;
                }
                if self.now - since >= self.limits.stable {
                    self.given_up.clear();
                }
                if self.now - since >= self.limits.stable && self.failures > 0 {
                    self.failures = 0;
                    self.seen.forgiven += 1;
                }
                (self.played, self.last_media, self.last_sign) = (true, self.now, self.now);
            }
            Event::Progress(id) if self.is_live(*id) && self.feeding == Some(*id) => {
                self.last_sign = self.now;
            }
            Event::Unknown(id, _)
                if self.is_live(*id)
                    && self.ask == Ask::Own
                    && !self.has_played
                    && self.rival != Some(*id) =>
            {
                self.ask = Ask::Other;
                self.reopen = self.lease_of(*id);
                self.note(*id, |source| source.failed = true);
            }
            Event::Unknown(id, fault) | Event::Failed(id, fault) => {
                if self.is_live(*id) && self.feeding == Some(*id) {
                    self.source_failed(*id, fault.fault);
                } else if self.is_live(*id) {
                    self.note(*id, |source| source.fault = Some(fault.fault));
                }
                self.note(*id, |source| source.failed = true);
            }
            Event::Closed(id) => {
                let at = self.sources.iter().position(|source| source.id == *id).expect("it was open");
                self.closed = Some(self.sources.remove(at));
            }
            Event::Withdrawn(lease) => {
                self.seen.withdrawn += u32::from(self.held.iter().any(|held| held.id == *lease));
                if self.reopen == Some(*lease) {
                    self.reopen = None;
                }
                let plays = self.playing_since.and(self.feeding).and_then(|id| self.lease_of(id));
                if plays == Some(*lease) && self.players > 0 {
                    self.leaving = Some(self.now + self.limits.move_timeout);
                }
            }
            Event::Move(wanted) => {
                self.moves_owed += 1;
                let plays = self.playing_since.and(self.feeding);
                let engine = self.sources.iter().find(|source| Some(source.id) == plays);
                let elsewhere = engine.is_some_and(|source| Some(&source.lease.engine) != wanted.as_ref());
                if elsewhere && self.players > 0 && self.ending.is_none() && self.leaving.is_none() {
                    self.leaving = Some(self.now + self.limits.move_timeout);
                }
            }
            _ => {}
        }
    }

    /// Counts a fault of the source that feeds the stream; on an engine that played well, the first one leads back to
    /// that engine, unless another source is at hand or the engine is to be left.
    fn source_failed(&mut self, id: SourceId, fault: EngineFault) {
        let excused = matches!(fault, EngineFault::EndOfStream | EngineFault::Error | EngineFault::Silent);
        let on = |lease: &Lease| self.sources.iter().any(|source| source.lease.id == lease.id);
        let alone = self.follower().is_none() && self.held.iter().all(on) && self.leaving.is_none();
        let comes_back = excused && alone && self.has_played && self.failures == 0 && self.players > 0;
        self.reopen = self.lease_of(id).filter(|_| comes_back);
        self.failures += 1;
        self.spent = self.played && self.failures > self.budget();
        (self.playing_since, self.leaving) = (None, None);
        self.blamed =
            self.sources.iter().find(|source| source.id == id).map(|source| source.lease.engine.clone());
        self.note(id, |source| source.fault = Some(fault));
    }

    fn judge(&mut self, event: &Event, action: &Action, ends: bool) {
        match action {
            Action::RequestLease { entry, avoid, wanted } => {
                assert!(wanted.is_none() || matches!(event, Event::Move(_)), "nobody asked for this engine");
                self.judge_request(*entry, avoid);
            }
            Action::Entry { from, to, why } => self.judge_entry(event, (*from, *to), why.is_some()),
            Action::Race(race) => {
                assert!(self.ids > 1, "a race of one");
                match race {
                    Race::Running => {}
                    Race::First => self.seen.races.0 += 1,
                    Race::Second => self.seen.races.1 += 1,
                    Race::Forfeited => self.seen.forfeited += 1,
                    Race::Alone => {
                        self.is_for_rival = false;
                        self.seen.forfeited += 1;
                    }
                }
            }
            Action::AbandonLease => {
                let since = self.request.take().expect("abandoned a request that is not outstanding");
                let is_late = self.now >= since + self.limits.lease_timeout;
                let is_needless =
                    self.playing_since.is_some() || self.reopen.is_some() || self.is_falling_back;
                self.is_for_rival = false;
                self.is_unanswered = is_late;
                assert!(ends || is_late || is_needless, "abandoned too early");
            }
            Action::Promote(id) => self.judge_promotion(*id),
            Action::Silent { lease, is_silent } => {
                assert_ne!(self.is_silent, *is_silent, "said twice");
                assert!(self.held.iter().any(|held| held.id == *lease), "silence of a source that is gone");
                let quiet = self.now - self.last_media;
                assert!(!is_silent || quiet >= self.silence(), "called silent too early");
                self.is_silent = *is_silent;
            }
            Action::Moved(is_done) => {
                self.moves_owed = self.moves_owed.checked_sub(1).expect("nobody asked for a move");
                self.seen.moved += u32::from(*is_done);
                self.moved += 1;
                // A move that could not even begin leaves another one that is under way alone, unless that one's time
                // was over unnoticed and it ends in the same moment.
                if !matches!(event, Event::Move(_)) || self.moved > 1 {
                    // It goes on as a withdrawal only of the lease that plays.
                    let plays = self.playing_since.and(self.feeding).and_then(|id| self.lease_of(id));
                    let is_withdrawal = matches!(event, Event::Withdrawn(lease) if plays == Some(*lease));
                    self.leaving = self.leaving.filter(|_| is_withdrawal);
                }
            }
            Action::Open { source, lease, entry, selector } => {
                self.judge_open(*source, lease, *entry, *selector);
            }
            Action::Close(id) => self.judge_close(event, *id),
            Action::ReturnLease { lease, fault } => {
                let at = self
                    .held
                    .iter()
                    .position(|held| held.id == *lease)
                    .expect("returned twice or never granted");
                self.held.remove(at);
                assert!(
                    self.sources.iter().all(|source| source.lease.id != *lease),
                    "returned before it was closed"
                );
                assert_ne!(self.reopen, Some(*lease), "returned a lease that was to be opened again");
                let closed = self.closed.as_ref().filter(|source| source.lease.id == *lease);
                assert_eq!(*fault, closed.and_then(|source| source.fault), "control is told something else");
            }
            Action::Admit => {
                assert!(matches!(event, Event::Media(_)) && self.ending.is_none(), "let in without media");
                self.waiting = 0;
            }
            Action::Refuse(_) => {
                assert!(ends, "refused without an end");
                self.waiting = 0;
            }
            Action::Ending(reason) => {
                assert_eq!(self.ending, None, "ended twice");
                self.judge_reason(event, *reason);
                self.ending = Some(*reason);
                assert!(!self.is_silent, "a silence that never ends");
                (self.reopen, self.playing_since, self.feeding, self.leaving) = (None, None, None, None);
            }
            Action::Ended(reason) => {
                assert_eq!(self.ending, Some(*reason));
                assert!(self.sources.is_empty() && self.held.is_empty(), "ended with sources or leases");
                assert_eq!((self.request, self.waiting), (None, 0), "ended with a request or a waiter");
                assert_eq!(self.moves_owed, 0, "ended with a move that nobody heard of again");
                self.ended = true;
            }
        }
    }

    /// The session goes on with another id: because it won the race, because the other one of the race has failed, or
    /// because the budget of the one before is over.
    fn judge_entry(&mut self, event: &Event, (from, to): (u8, u8), has_failed: bool) {
        assert!(from == self.present && to != from && to < self.ids, "from {from} to {to}");
        if !has_failed {
            assert!(matches!(event, Event::Media(_)) && to == 1, "nothing has been won");
        } else if !self.played && (self.rival.is_some() || self.is_for_rival) {
            self.is_for_rival = false;
            if self.rival.is_some() {
                (self.feeding, self.last_sign) = (self.rival.take(), self.now);
            }
        } else {
            let is_start = !self.has_played && matches!(event, Event::Failed(..) | Event::Unknown(..));
            let is_refused = !self.played && matches!(event, Event::Refused(_));
            let is_spent = self.failures > self.budget();
            let is_over = is_start || is_refused || is_spent || self.is_late();
            assert!(is_over || self.is_found_to_loop(event), "an id is given up too early");
            assert!(self.players > 0 || !self.played, "a session that nobody watches falls back");
            assert!(self.playing_since.is_none() && self.follower().is_none(), "it still plays");
            self.given_up.push(from);
            assert!(!self.given_up.contains(&to), "{to} was given up before");
            let (has_looped, seen) = (self.is_found_to_loop(event), &mut self.seen);
            *match self.played {
                _ if has_looped => &mut seen.looped,
                true => &mut seen.fell_back.1,
                false => &mut seen.fell_back.0,
            } += 1;
        }
        (self.present, self.turn_since, self.has_played) = (to, self.now, !has_failed);
        (self.failures, self.spent, self.ask, self.is_racing) = (0, false, Ask::Own, false);
        self.reopen = None;
    }

    fn judge_request(&mut self, entry: u8, avoid: &[EngineId]) {
        assert!(self.request.is_none(), "two requests");
        assert!(self.ending.is_none() && self.follower().is_none(), "a request with two sources at work");
        self.is_for_rival = entry != self.present;
        if self.is_for_rival {
            assert!(std::mem::take(&mut self.is_racing) && entry == 1, "a race that nobody asked for");
            assert!(self.live().is_some() && !self.played, "a race of one");
        } else {
            assert!(self.rival.is_none(), "a request beside a race");
            assert_eq!(
                self.live().is_some(),
                self.playing_since.is_some(),
                "a request beside a source that starts"
            );
        }
        assert!(self.players > 0 || !self.played, "a session that nobody watches takes an engine");
        assert_eq!(self.reopen, None, "a request instead of a reopening");
        for (at, engine) in avoid.iter().enumerate() {
            assert!(!avoid[..at].contains(engine), "{engine} avoided twice");
        }
        if let Some(blamed) = self.blamed.take() {
            assert_eq!(avoid.last(), Some(&blamed), "the engine that failed is not avoided");
        }
        if let Some(live) = self.live() {
            assert_eq!(avoid.last(), Some(&live.lease.engine), "the engine that plays is not avoided");
        }
        self.request = Some(self.now);
    }

    fn judge_open(&mut self, id: SourceId, lease: &Lease, entry: u8, selector: Ask) {
        assert!(self.ending.is_none(), "opened while ending");
        let is_rival = self.is_for_rival && entry != self.present;
        self.is_for_rival &= !is_rival;
        if is_rival {
            assert!(self.rival.is_none() && !self.played, "no race is on");
            assert_eq!((entry, selector), (1, Ask::Own));
        } else {
            let starts = self.live().is_some_and(|source| self.rival != Some(source.id));
            assert_eq!(starts, self.playing_since.is_some(), "opened beside a source that starts");
            assert_eq!((entry, selector), (self.present, self.ask), "asked for something else");
        }
        assert!(self.follower().is_none(), "three sources");
        assert_eq!(id.0, self.next_source, "source ids are reused");
        assert!(
            self.sources.iter().all(|source| source.lease.engine != lease.engine),
            "two sources on {}",
            lease.engine
        );
        assert!(self.held.contains(lease), "opened without a lease");
        if let Some(expected) = self.reopen.take_if(|_| !is_rival) {
            assert_eq!(lease.id, expected, "another lease was opened first");
            self.seen.reopened += 1;
        }
        self.seen.opened += 1;
        self.seen.other += u32::from(selector == Ask::Other);
        self.next_source += 1;
        if is_rival {
            self.rival = Some(id);
        } else if self.feeding.is_none() {
            self.feeding = Some(id);
            self.last_sign = self.now;
        } else {
            self.seen.beside += 1;
        }
        let source = Source {
            id,
            lease: lease.clone(),
            opened: false,
            has_media: false,
            failed: false,
            fault: None,
            close_asked: false,
        };
        self.sources.push(source);
    }

    fn judge_close(&mut self, event: &Event, id: SourceId) {
        let is_feeding = self.feeding == Some(id);
        let source = self.sources.iter_mut().find(|source| source.id == id).expect("closed what is not open");
        assert!(!source.close_asked, "closed twice");
        source.close_asked = true;
        let (failed, lease) = (source.failed, source.lease.id);
        let withdrawn = matches!(event, Event::Withdrawn(withdrawn) if *withdrawn == lease);
        let is_time_over = self.leaving.is_some_and(|until| self.now >= until);
        if self.ending.is_some() {
            return;
        }
        if self.loser == Some(id) {
            self.rival = self.rival.filter(|rival| *rival != id);
            return;
        }
        if self.rival == Some(id) {
            assert!(failed || withdrawn, "the second source of a race was closed for no reason");
            self.rival = None;
            return;
        }
        if !is_feeding {
            let came_back = matches!(event, Event::Media(media) if Some(*media) == self.feeding);
            let is_needless = matches!(event, Event::Leave | Event::Move(_)) || is_time_over;
            let is_needless = is_needless || self.is_falling_back;
            assert!(failed || withdrawn || came_back || is_needless, "a follower closed for no reason");
            self.seen.came_back += u32::from(came_back);
            return;
        }
        self.feeding = None;
        if failed || withdrawn && self.playing_since.is_none() {
            return;
        }
        let is_stalled = self.stall_deadline().is_some_and(|deadline| self.now >= deadline);
        let follows = self.sources.iter().any(|source| !source.close_asked && source.has_media);
        let is_given_up = self.is_empty() || self.playing_since.is_none() && self.is_late();
        let is_given_up = is_given_up || self.is_found_to_loop(event);
        if self.is_handing_over || self.is_falling_back && is_given_up {
            // What has just taken over, or is being opened, goes with its id.
            assert!(self.is_falling_back, "closed as soon as it had taken over");
            (self.playing_since, self.leaving) = (None, None);
        } else if matches!(event, Event::CaughtUp(_)) || !is_stalled && is_time_over && follows {
            self.is_handing_over = true;
            let is_fault = self.leaving.is_none();
            self.failures += u32::from(is_fault);
            self.spent = self.failures > self.budget();
            self.note(id, |source| source.fault = is_fault.then_some(EngineFault::Silent));
            (self.playing_since, self.leaving) = (None, None);
        } else if !is_stalled && is_time_over {
            (self.playing_since, self.leaving) = (None, None);
        } else {
            assert!(is_stalled, "closed for no reason, or too early");
            self.seen.stalls += 1;
            self.source_failed(id, EngineFault::Silent);
        }
    }

    fn judge_promotion(&mut self, id: SourceId) {
        assert!(self.feeding.is_none() && self.is_live(id), "promoted beside another source");
        self.feeding = Some(id);
        if self.is_handing_over {
            (self.playing_since, self.last_media) = (Some(self.now), self.now);
            self.pauses = (self.now, Duration::ZERO, Duration::ZERO);
            self.seen.changed_over += 1;
        } else {
            self.seen.inherited += 1;
        }
        self.last_sign = self.now;
    }

    fn judge_reason(&self, event: &Event, reason: EndReason) {
        let idle = self.idle_since.map_or(Duration::ZERO, |since| self.now - since);
        let is_wanted_back = matches!(event, Event::Withdrawn(_));
        if matches!(reason, EndReason::ClientLeft | EndReason::Abandoned) && !is_wanted_back {
            assert!(!self.is_asking(), "given up before the engine answered");
        }
        match reason {
            EndReason::ClientLeft => {
                let is_lost = self.playing_since.is_none() || is_wanted_back;
                let is_over = idle >= self.limits.grace || is_lost || self.leaving.is_some();
                assert!(self.played && self.players == 0 && is_over);
            }
            EndReason::Abandoned => assert!(!self.played && self.players == 0 && idle >= self.limits.abandon),
            EndReason::EmptyTimeout => {
                let is_over = self.now >= self.last_media.max(self.turn_since) + self.limits.empty_timeout;
                assert!(self.played && is_over && (self.players == 0 || !self.has_next()));
            }
            EndReason::FailoverExhausted => {
                let is_over = self.failures > self.limits.attempts_max;
                assert!(self.played && is_over && (self.players == 0 || !self.has_next()));
            }
            EndReason::StartFailed => {
                // With any event whose time it is, control's silence ends the start as its refusal does.
                let is_last = !self.has_next() || matches!(event, Event::Refused(_)) || self.is_unanswered;
                assert!(!self.played && is_last, "another id was not tried");
            }
            EndReason::Looping => {
                // Control says so of what plays, or when it is asked for an engine to go on with. Before anything has played there
                // is nobody who has seen it loop: it is no reason to try another id.
                let is_told = matches!(event, Event::End(EndReason::Looping)) || self.is_found_to_loop(event);
                let is_left = self.played && self.players > 0 && self.has_next();
                assert!(is_told && !is_left, "ended though there was another id to go on with");
            }
            other => assert!(matches!(event, Event::End(asked) if *asked == other), "ended for {other:?}"),
        }
    }

    fn judge_late(&mut self, event: &Event, actions: &[Action]) {
        match (event, actions) {
            (Event::Move(_), [Action::Moved(false)]) => self.moves_owed -= 1,
            (Event::Granted(lease), [Action::ReturnLease { lease: returned, fault: None }]) => {
                assert_eq!(lease.id, *returned);
                self.held.clear();
            }
            (_, actions) => assert!(actions.is_empty(), "{actions:?} after the end"),
        }
        assert_eq!(self.machine.deadline(), None);
    }

    /// What must hold between events.
    fn settled(&mut self) {
        let mut leases: Vec<LeaseId> = self.machine.leases().map(|(lease, _)| lease.id).collect();
        let mut held: Vec<LeaseId> = self.held.iter().map(|lease| lease.id).collect();
        leases.sort();
        held.sort();
        assert_eq!(leases, held, "the machine's leases are not those it was granted");
        assert_eq!(self.machine.current(), self.feeding);
        assert_eq!(self.machine.follower(), self.follower());
        if let Some(reason) = self.ending {
            assert_eq!(self.machine.end_reason(), Some(reason));
            assert!(self.live().is_none() && self.request.is_none(), "ending with work going on");
            assert_eq!((self.waiting, self.machine.deadline()), (0, None));
            assert_eq!(self.sources.is_empty(), self.ended, "the end does not follow the last source");
            return;
        }
        if !self.joined {
            return;
        }
        assert!(!self.spent, "more faults than attempts");
        assert!(self.waiting == 0 || !self.played, "a waiter is not let in");
        assert_eq!(self.machine.phase() == Phase::Playing, self.playing_since.is_some());
        self.judge_times();
        self.judge_progress();
    }

    /// No time limit has passed unnoticed, and the driver is woken for each that is pending.
    fn judge_times(&self) {
        let asking = self.is_asking();
        let is_down = self.played && self.has_played && self.playing_since.is_none();
        let falls_back = is_down && self.players > 0 && self.has_next();
        let wait = if self.played { self.limits.grace } else { self.limits.abandon };
        let due = [
            ("idle", self.idle_since.filter(|_| !asking).map(|since| since + wait)),
            ("empty", self.played.then(|| self.last_media.max(self.turn_since) + self.limits.empty_timeout)),
            ("entry", falls_back.then(|| self.last_media + self.limits.entry_timeout)),
            ("lease", self.request.map(|since| since + self.limits.lease_timeout)),
            ("stall", self.stall_deadline()),
            ("silence", self.silence_deadline()),
            ("leaving", self.leaving),
        ];
        let deadline = self.machine.deadline();
        for (what, due) in due {
            let Some(due) = due else { continue };
            assert!(self.now < due, "{what} timeout passed unnoticed");
            assert!(
                deadline.is_some_and(|deadline| deadline <= due),
                "nobody wakes up for the {what} timeout"
            );
        }
    }

    /// Something moves the session on: a source at work, a request, a lease that waits for its engine, or a retry.
    fn judge_progress(&mut self) {
        if self.live().is_some() || self.request.is_some() {
            return;
        }
        let on = |lease: &Lease| self.sources.iter().any(|source| source.lease.id == lease.id);
        let reopen = self.held.iter().find(|lease| self.reopen == Some(lease.id));
        if let Some(waits) = reopen.or_else(|| self.held.iter().find(|lease| !on(lease))) {
            let blocked = self.sources.iter().any(|source| source.lease.engine == waits.engine);
            assert!(blocked, "wedged: a lease waits for nothing");
            self.seen.waited += u32::from(self.reopen.is_none());
        } else {
            let soon = self.machine.deadline().is_some_and(|deadline| deadline <= self.now + BACKOFF_MAX);
            assert!(soon, "wedged: no source, no request, no retry");
        }
    }

    fn note_pause(&mut self) {
        let (since, newer, _) = self.pauses;
        if self.now - since >= RHYTHM.0 {
            self.pauses = (self.now, Duration::ZERO, newer);
        }
        self.pauses.1 = self.pauses.1.max((self.now - self.last_media).min(RHYTHM.1));
    }

    /// Silence beyond what the source is used to.
    fn silence(&self) -> Duration {
        let pause = self.pauses.1.max(self.pauses.2);
        self.limits.silence.max(pause.mul_f64(1.5) + Duration::from_millis(500))
    }

    /// When control has to hear of it at the latest.
    fn silence_deadline(&self) -> Option<Instant> {
        let is_due = self.playing_since.is_some() && !self.is_silent;
        let last = self.last_media + self.silence().max(self.limits.stall);
        is_due.then(|| (self.last_sign + self.limits.silence).max(self.last_media + self.silence()).min(last))
    }

    /// When the playing source has been silent for too long.
    fn stall_deadline(&self) -> Option<Instant> {
        self.playing_since?;
        let stall = self.limits.stall + self.silence() - self.limits.silence;
        let first = self.last_media + stall;
        let last = self.last_media + self.limits.stall_with_progress.max(stall);
        Some((self.last_sign + stall).clamp(first, last))
    }

    fn live(&self) -> Option<&Source> {
        self.sources.iter().find(|source| !source.close_asked)
    }

    /// An engine was asked to start what is to feed the stream, and has not answered.
    fn is_asking(&self) -> bool {
        self.playing_since.is_none()
            && self.sources.iter().any(|source| !source.close_asked && !source.opened)
    }

    /// Whether there is an id that was not given up beside the present one.
    fn has_next(&self) -> bool {
        (0..self.ids).any(|id| id != self.present && !self.given_up.contains(&id))
    }

    /// Faults in a row that the present id is forgiven.
    fn budget(&self) -> u32 {
        let all = self.limits.attempts_max;
        if self.has_next() { all.min(self.limits.entry_attempts_max) } else { all }
    }

    /// Whether an event says of what has played that it loops: then its id is left at once, whatever it brings.
    fn is_found_to_loop(&self, event: &Event) -> bool {
        let is_refused =
            matches!(event, Event::Refused(refusal) if refusal.code == RefusalCode::LoopingStream);
        self.played
            && (matches!(event, Event::End(EndReason::Looping)) || is_refused && self.playing_since.is_none())
    }

    /// Whether the present id has brought nothing for too long.
    fn is_late(&self) -> bool {
        let is_down = self.has_played && self.now - self.last_media >= self.limits.entry_timeout;
        self.played && is_down || self.is_empty()
    }

    /// Whether it has brought nothing for as long as any session may.
    fn is_empty(&self) -> bool {
        self.played && self.now - self.last_media.max(self.turn_since) >= self.limits.empty_timeout
    }

    /// The source at work that neither feeds the stream nor races to do so.
    fn follower(&self) -> Option<SourceId> {
        let is_other = |source: &&Source| {
            !source.close_asked && Some(source.id) != self.feeding && Some(source.id) != self.rival
        };
        self.sources.iter().find(is_other).map(|source| source.id)
    }

    fn is_live(&self, id: SourceId) -> bool {
        self.ending.is_none() && self.sources.iter().any(|source| source.id == id && !source.close_asked)
    }

    fn lease_of(&self, id: SourceId) -> Option<LeaseId> {
        self.sources.iter().find(|source| source.id == id).map(|source| source.lease.id)
    }

    fn note(&mut self, id: SourceId, change: impl FnOnce(&mut Source)) {
        if let Some(source) = self.sources.iter_mut().find(|source| source.id == id) {
            change(source);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (at, event) in &self.trace {
                eprintln!("  {:>9.3} s {event:?}", at.as_secs_f64());
            }
            eprintln!("  {:?}", self.machine);
        }
    }
}

/// A lease of the `engine`th engine.
pub(crate) fn lease(id: u64, engine: u32) -> Lease {
    let names: [&'static str; 4] = ["one:6878", "two:6878", "three:6878", "four:6878"];
    let authority: Arc<str> = Arc::from(names[engine as usize]);
    Lease {
        id: LeaseId(id),
        epoch: Epoch(1),
        engine: EngineId(authority.clone()),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 6878)),
        authority,
        group: None,
    }
}

/// A fault of a source.
pub(crate) fn fault(fault: EngineFault, elsewhere: bool) -> SourceFault {
    SourceFault { fault, refusal: Refusal::new(RefusalCode::EngineError, "it failed"), elsewhere }
}

/// The engine does not know what it was asked for.
pub(crate) fn unknown() -> SourceFault {
    let refusal = Refusal::new(RefusalCode::ContentNotFound, "unknown");
    SourceFault { fault: EngineFault::Error, refusal, elsewhere: false }
}

fn refusal() -> Refusal {
    Refusal::new(RefusalCode::MaxCapacity, "no engine is free").retry_after(5)
}

fn loops() -> Refusal {
    Refusal::new(RefusalCode::LoopingStream, "it was found to loop")
}
