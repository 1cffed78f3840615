//! The way to a source: asking control, waiting for an engine, opening, following, taking over.

use super::{
    Action, EndReason, EngineFault, EngineId, Instant, Lease, LeaseId, Life, Machine, Playing, Race, Refusal,
    RefusalCode, Rival, Source, SourceId, keeps_failing,
};
use std::time::Duration;

/// First wait between two quests that came to nothing, and how often it doubles.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_DOUBLINGS_MAX: u32 = 5;
/// The first two follow each other at once.
const RETRIES_AT_ONCE: u32 = 2;
/// And so does the next one after a source that has played for so long: it was none that came to nothing, and players wait.
const PLAYED_WELL: Duration = Duration::from_secs(3);
/// Nobody waits for a spare source: between two tries for one.
const SPARE_RETRY: Duration = Duration::from_secs(30);
/// A source has to play so long before a spare one is looked for: starts come first.
const SPARE_AFTER: Duration = Duration::from_secs(5);
/// Silence at which a spare source takes over that has more.
const SPARE_SILENCE: Duration = Duration::from_secs(1);
/// Engines tried for one move.
const MOVE_TRIES_MAX: u32 = 3;

/// How far the way is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Quest {
    /// Nothing is looked for.
    #[default]
    None,
    /// Control has been asked.
    Leasing { since: Instant },
    /// The lease that is kept waits for its engine's previous source to close.
    Waiting,
    /// A source is being opened, or follows the one that plays.
    Source(SourceId),
    /// Waiting to try again.
    Backoff { until: Instant },
}

impl Quest {
    /// The source that is being opened or follows.
    pub(super) fn source(self) -> Option<SourceId> {
        if let Self::Source(id) = self { Some(id) } else { None }
    }
}

/// What a source is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Nothing plays.
    #[default]
    Recovery,
    /// What plays is silent.
    Silence,
    /// The session was told to move, and changes over by then as it is.
    Move { until: Instant },
    /// Control wants the lease back, and gets it by then.
    Withdrawn { until: Instant },
    /// To be at hand.
    Spare,
}

impl Purpose {
    /// Whether the engine that plays is to be left.
    pub(super) fn is_leaving(self) -> bool {
        matches!(self, Self::Move { .. } | Self::Withdrawn { .. })
    }

    fn until(self) -> Option<Instant> {
        match self {
            Self::Move { until } | Self::Withdrawn { until } => Some(until),
            Self::Recovery | Self::Silence | Self::Spare => None,
        }
    }
}

impl Machine {
    /// Asks control for an engine.
    pub(super) fn lease(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.lease_on(now, None, actions);
    }

    fn lease_on(&mut self, now: Instant, wanted: Option<EngineId>, actions: &mut Vec<Action>) {
        self.quest = Quest::Leasing { since: now };
        let mut avoid = self.avoid.clone();
        // Control would not grant the engine that plays: saying so tells which one comes last.
        if let Some(engine) = self.playing.and_then(|playing| self.engine_of(playing.source)) {
            avoid.retain(|avoided| *avoided != engine);
            avoid.push(engine);
        }
        actions.push(Action::RequestLease { entry: self.entries.present, avoid, wanted });
    }

    pub(super) fn granted(&mut self, now: Instant, lease: Lease, actions: &mut Vec<Action>) {
        if let Rival::Leasing { entry, .. } = self.rival {
            return self.rival_granted(entry, lease, actions);
        }
        let is_at_work =
            self.sources.iter().any(|source| !source.closing && source.lease.engine == lease.engine);
        if !matches!(self.quest, Quest::Leasing { .. }) || is_at_work {
            actions.push(Action::ReturnLease { lease: lease.id, fault: None });
            if is_at_work {
                let detail = "the engine granted plays this stream already";
                self.refused(now, Refusal::new(RefusalCode::MaxCapacity, detail), actions);
            }
            return;
        }
        self.engines_tried += u32::from(!self.entries.has_played);
        self.open_or_wait(now, lease, actions);
    }

    /// Opens a source, unless an older one still holds that engine: then its closing comes first.
    fn open_or_wait(&mut self, now: Instant, lease: Lease, actions: &mut Vec<Action>) {
        if self.is_busy(&lease.engine) {
            self.quest = Quest::Waiting;
            self.kept = Some(lease);
        } else {
            self.open(now, lease, actions);
        }
    }

    pub(super) fn open(&mut self, now: Instant, lease: Lease, actions: &mut Vec<Action>) {
        let id = SourceId(self.next_source);
        self.next_source += 1;
        if self.playing.is_none() {
            (self.last_sign, self.last_answer) = (now, None);
        }
        let entry = self.entries.present;
        actions.push(Action::Open { source: id, lease: lease.clone(), entry, selector: self.ask });
        self.sources.push(Source::new(id, lease, entry));
        self.quest = Quest::Source(id);
        self.ask_for_rival(now, actions);
    }

    pub(super) fn refused(&mut self, now: Instant, refusal: Refusal, actions: &mut Vec<Action>) {
        if self.rival.is_leasing() {
            return self.call_race_off(Race::Alone, actions);
        }
        let Quest::Leasing { since } = self.quest else { return };
        // The request is answered: whatever comes next, there is nothing to abandon.
        self.quest = Quest::None;
        match self.purpose {
            // No other engine would help, and no waiting.
            Purpose::Recovery if self.played && refusal.code == RefusalCode::LoopingStream => {
                if self.clients == 0 || !self.fall_back(now, &refusal, actions) {
                    self.end(EndReason::Looping, Some(refusal), actions);
                }
            }
            Purpose::Recovery if !self.played => {
                let is_prompt = self.is_prompt(now.saturating_duration_since(since));
                if !is_prompt || !self.fall_back(now, &refusal, actions) {
                    self.end(EndReason::StartFailed, Some(refusal), actions);
                }
            }
            Purpose::Move { .. } => self.give_quest_up(actions),
            _ => self.back_off(now),
        }
    }

    fn back_off(&mut self, now: Instant) {
        self.retries = self.retries.saturating_add(1);
        let doublings = self.retries.saturating_sub(1).min(BACKOFF_DOUBLINGS_MAX);
        let base =
            if self.purpose == Purpose::Spare { SPARE_RETRY } else { BACKOFF_FIRST * 2u32.pow(doublings) };
        self.jitter =
            self.jitter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let spread = base.as_millis() as u64 / 2 + 1;
        let until = now + base + Duration::from_millis((self.jitter >> 33) % spread);
        self.quest = Quest::Backoff { until };
    }

    /// What played is gone: the quest that runs beside it goes on in its place, or a new one begins. `same` is the lease
    /// of the engine that may be asked again at once, `played_for` how long what is gone had played.
    pub(super) fn take_over(
        &mut self,
        now: Instant,
        same: Option<Lease>,
        played_for: Duration,
        actions: &mut Vec<Action>,
    ) {
        if matches!(self.purpose, Purpose::Move { .. }) {
            actions.push(Action::Moved(matches!(self.quest, Quest::Source(_))));
        }
        self.purpose = Purpose::Recovery;
        match self.quest {
            Quest::Source(id) => return actions.push(Action::Promote(id)),
            Quest::Waiting => return,
            Quest::Leasing { .. } if same.is_none() => return,
            // Nobody else could be had so far: the engine at hand is quicker.
            Quest::Leasing { .. } => actions.push(Action::AbandonLease),
            Quest::None | Quest::Backoff { .. } => {}
        }
        if let Some(lease) = same {
            self.quest = Quest::Waiting;
            if let Some(source) = self.sources.iter_mut().find(|source| source.lease.id == lease.id) {
                source.again = true;
            }
            self.kept = Some(lease);
        } else if self.failures <= RETRIES_AT_ONCE || played_for >= PLAYED_WELL {
            self.lease(now, actions);
        } else {
            self.back_off(now);
        }
    }

    /// The quest beside the source that plays comes to its end without a result.
    pub(super) fn give_quest_up(&mut self, actions: &mut Vec<Action>) {
        match self.quest {
            Quest::Leasing { .. } => actions.push(Action::AbandonLease),
            Quest::Waiting => self.return_kept(actions),
            Quest::Source(id) => self.close(id, None, actions),
            Quest::None | Quest::Backoff { .. } => {}
        }
        if matches!(self.purpose, Purpose::Move { .. }) {
            actions.push(Action::Moved(false));
        }
        (self.quest, self.purpose) = (Quest::None, Purpose::Recovery);
    }

    /// The source that follows failed; the one that plays does not notice.
    pub(super) fn follower_failed(
        &mut self,
        now: Instant,
        id: SourceId,
        fault: EngineFault,
        actions: &mut Vec<Action>,
    ) {
        if let Some(engine) = self.engine_of(id) {
            self.blame(&engine);
        }
        self.close(id, Some(fault), actions);
        self.quest = Quest::None;
        self.move_tries += 1;
        if matches!(self.purpose, Purpose::Move { .. }) && self.move_tries >= MOVE_TRIES_MAX {
            return self.give_quest_up(actions);
        }
        self.back_off(now);
    }

    pub(super) fn caught_up(&mut self, now: Instant, id: SourceId, actions: &mut Vec<Action>) {
        let silent = now.saturating_duration_since(self.last_media);
        let takes_over = match self.purpose {
            Purpose::Move { .. } | Purpose::Withdrawn { .. } | Purpose::Silence => true,
            Purpose::Spare => silent >= SPARE_SILENCE.max(self.rhythm.pause() * 3 / 2),
            Purpose::Recovery => false,
        };
        if self.follower() == Some(id) && takes_over {
            self.change_over(now, id, actions);
        }
    }

    /// The stream goes on with the source that follows.
    fn change_over(&mut self, now: Instant, id: SourceId, actions: &mut Vec<Action>) {
        let Some(old) = self.playing else { return };
        let fault = if self.purpose.is_leaving() { None } else { Some(EngineFault::Silent) };
        if fault.is_some() {
            self.failures += 1;
            if let Some(engine) = self.engine_of(old.source) {
                self.blame(&engine);
            }
        }
        self.speak_up(old.source, actions);
        self.close(old.source, fault, actions);
        actions.push(Action::Promote(id));
        if matches!(self.purpose, Purpose::Move { .. }) {
            actions.push(Action::Moved(true));
        }
        self.quest = Quest::None;
        self.plays(now, id);
        let is_spent = self.failures > self.attempts_max() && self.clients > 0;
        if is_spent && self.fall_back(now, &keeps_failing(), actions) {
            return;
        }
        if self.failures > self.limits.attempts_max {
            self.end(EndReason::FailoverExhausted, None, actions);
        }
    }

    pub(super) fn withdrawn(&mut self, now: Instant, lease: LeaseId, actions: &mut Vec<Action>) {
        if self.played && self.clients == 0 && self.leases().any(|(held, _)| held.id == lease) {
            return self.end(EndReason::ClientLeft, None, actions);
        }
        if let Some(kept) = self.kept.as_ref().filter(|kept| kept.id == lease) {
            let engine = kept.engine.clone();
            self.return_kept(actions);
            self.blame(&engine);
            if !self.adopt_rival(now, &taken_back(), actions) {
                self.lease(now, actions);
            }
            return;
        }
        if self.rival_withdrawn(lease, actions) {
            return;
        }
        let Some(source) = self.sources.iter().find(|source| source.lease.id == lease && !source.closing)
        else {
            return;
        };
        let (id, engine) = (source.id, source.lease.engine.clone());
        self.blame(&engine);
        if self.playing.is_some_and(|playing| playing.source == id) {
            if matches!(self.purpose, Purpose::Move { .. }) {
                actions.push(Action::Moved(false));
            }
            self.purpose = Purpose::Withdrawn { until: now + self.limits.move_timeout };
            if matches!(self.quest, Quest::None | Quest::Backoff { .. }) && !self.is_held {
                self.lease(now, actions);
            }
            return;
        }
        self.close(id, None, actions);
        if !self.adopt_rival(now, &taken_back(), actions) {
            self.lease(now, actions);
        }
    }

    pub(super) fn start_move(&mut self, now: Instant, wanted: Option<EngineId>, actions: &mut Vec<Action>) {
        let plays_on = self.playing.and_then(|playing| self.engine_of(playing.source));
        let is_possible = plays_on.is_some() && self.clients > 0 && plays_on != wanted && !self.is_held;
        if !is_possible || self.purpose.is_leaving() || self.life != Life::Alive {
            return actions.push(Action::Moved(false));
        }
        let follows_on = self.quest.source().and_then(|id| self.engine_of(id));
        // What is being asked for, because the engine is silent, is what a move to anywhere asks for. Asked for twice, the
        // first answer would be on its way while the second is thought about, and keep its engine from being that.
        // A request whose time is over is about to fail, and would take the move with it.
        let is_pending =
            matches!(self.quest, Quest::Leasing { since } if now < since + self.limits.lease_timeout);
        let is_asking = wanted.is_none() && is_pending;
        if !is_asking && (follows_on.is_none() || wanted.is_some() && follows_on != wanted) {
            self.give_quest_up(actions);
        }
        self.purpose = Purpose::Move { until: now + self.limits.move_timeout };
        self.move_tries = 0;
        if self.quest == Quest::None {
            self.lease_on(now, wanted, actions);
        }
    }

    /// Looks after the source that plays: silence, and a spare one.
    pub(super) fn watch(&mut self, now: Instant, playing: Playing, actions: &mut Vec<Action>) {
        if !self.is_silent && now >= self.silence_deadline() {
            self.is_silent = true;
            let lease = self.sources.iter().find(|source| source.id == playing.source);
            actions.extend(lease.map(|source| Action::Silent { lease: source.lease.id, is_silent: true }));
        }
        if self.is_held {
            return;
        }
        let is_free = matches!(self.purpose, Purpose::Recovery | Purpose::Spare);
        if self.is_silent && self.clients > 0 && is_free {
            self.purpose = Purpose::Silence;
            if matches!(self.quest, Quest::None | Quest::Backoff { .. }) {
                self.lease(now, actions);
            }
        } else if self.spare_deadline(playing).is_some_and(|due| now >= due) {
            self.purpose = Purpose::Spare;
            self.lease(now, actions);
        } else if self.purpose == Purpose::Spare
            && !self.wants_spare(self.limits.spare_clients_min.div_ceil(2))
        {
            self.give_quest_up(actions);
        }
    }

    fn wants_spare(&self, clients_min: u32) -> bool {
        self.limits.spare_clients_min > 0 && self.clients >= clients_min
    }

    /// When a spare source is to be looked for, if it is.
    pub(super) fn spare_deadline(&self, playing: Playing) -> Option<Instant> {
        let is_wanted = self.wants_spare(self.limits.spare_clients_min)
            && self.purpose == Purpose::Recovery
            && !self.is_held;
        is_wanted.then(|| playing.since + SPARE_AFTER)
    }

    pub(super) fn quest_deadline(&self) -> Option<Instant> {
        let step = match self.quest {
            Quest::Leasing { since } => Some(since + self.limits.lease_timeout),
            Quest::Backoff { until } => Some(until),
            // A source is opened and closed within its driver's deadlines; nothing to time here.
            Quest::None | Quest::Waiting | Quest::Source(_) => None,
        };
        [step, self.purpose.until()].into_iter().flatten().min()
    }

    pub(super) fn tick_quest(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.purpose.until().is_some_and(|until| now >= until) {
            self.leave_as_it_is(now, actions);
        }
        match self.quest {
            Quest::Leasing { since } if now.saturating_duration_since(since) >= self.limits.lease_timeout => {
                actions.push(Action::AbandonLease);
                let refusal = Refusal::new(RefusalCode::ControlUnavailable, "no engine was granted in time");
                self.refused(now, refusal.retry_after(5), actions);
            }
            Quest::Backoff { until } if now >= until => self.lease(now, actions),
            _ => {}
        }
        if self.rival_deadline().is_some_and(|deadline| now >= deadline) {
            actions.push(Action::AbandonLease);
            self.call_race_off(Race::Alone, actions);
        }
    }

    /// The time to catch up in is over.
    fn leave_as_it_is(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(playing) = self.playing else { return };
        let ready = self
            .quest
            .source()
            .filter(|id| self.sources.iter().any(|source| source.id == *id && source.has_media));
        match (ready, self.purpose) {
            (Some(id), _) => self.change_over(now, id, actions),
            (None, Purpose::Withdrawn { .. }) => {
                self.speak_up(playing.source, actions);
                self.close(playing.source, None, actions);
                self.playing = None;
                self.take_over(now, None, now.saturating_duration_since(playing.since), actions);
            }
            (None, _) => self.give_quest_up(actions),
        }
    }

    /// Whether a source, closing or not, holds this engine.
    pub(super) fn is_busy(&self, engine: &EngineId) -> bool {
        self.sources.iter().any(|source| source.lease.engine == *engine)
    }

    pub(super) fn engine_of(&self, id: SourceId) -> Option<EngineId> {
        self.sources.iter().find(|source| source.id == id).map(|source| source.lease.engine.clone())
    }

    /// This engine is the last to be asked again.
    pub(super) fn blame(&mut self, engine: &EngineId) {
        self.avoid.retain(|avoided| avoided != engine);
        self.avoid.push(engine.clone());
    }
}

/// What is told of an id whose engine control took back before it played.
fn taken_back() -> Refusal {
    Refusal::new(RefusalCode::MaxCapacity, "its engine was taken back")
}
