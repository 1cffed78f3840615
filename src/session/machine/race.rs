//! A start with two ids at once, on two engines: whichever has media first plays, the other one is stopped.
//!
//! The first id is on its way like any other start. As soon as its source is opened, control is asked for a second
//! engine, and the *rival* is opened there. When the first id fails, the rival goes on in its place; when the rival fails
//! or no second engine can be had, the start goes on as if there had been none. Only a session that has never played
//! races.

use super::{
    Action, Ask, EngineFault, Instant, Lease, LeaseId, Life, Machine, Quest, Refusal, RefusalCode, Source,
    SourceFault, SourceId,
};
use sluice_contract::snapshot::Race;
use std::time::Duration;

/// How far the second id is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Rival {
    /// There is none.
    #[default]
    None,
    /// Its turn comes when the first source is opened.
    Wanted(u8),
    /// Control has been asked.
    Leasing { entry: u8, since: Instant },
    /// A source is being opened.
    Source { entry: u8, id: SourceId },
}

impl Rival {
    /// Its source.
    pub(super) fn source(self) -> Option<SourceId> {
        if let Self::Source { id, .. } = self { Some(id) } else { None }
    }

    /// Whether control owes it an answer.
    pub(super) fn is_leasing(self) -> bool {
        matches!(self, Self::Leasing { .. })
    }
}

impl Machine {
    /// Whether the engine that is waited for is for the second of two ids that race.
    pub fn is_rival_waiting(&self) -> bool {
        self.rival.is_leasing()
    }

    /// The session can be had under so many ids, the first two of which may race.
    #[must_use]
    pub fn with_entries(mut self, count: u8, races: bool) -> Self {
        self.entries = super::Entries::new(count, self.entries.since);
        self.rival = if races && count > 1 { Rival::Wanted(1) } else { Rival::None };
        self
    }

    /// Which of its ids the session plays, or is about to.
    pub fn entry(&self) -> u8 {
        self.entries.present
    }

    /// Whether this source is one of two of which the first that has media is to play. Its packets are not the stream's
    /// until that is decided.
    pub fn contends(&self, id: SourceId) -> bool {
        let is_on = matches!(self.rival, Rival::Leasing { .. } | Rival::Source { .. });
        is_on && (self.quest.source() == Some(id) || self.rival.source() == Some(id))
    }

    /// The first source was opened: it is the second one's turn.
    pub(super) fn ask_for_rival(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Rival::Wanted(entry) = self.rival else { return };
        if self.is_held {
            return self.call_race_off(Race::Alone, actions);
        }
        self.rival = Rival::Leasing { entry, since: now };
        let mut avoid = self.avoid.clone();
        if let Some(engine) = self.quest.source().and_then(|id| self.engine_of(id)) {
            avoid.retain(|avoided| *avoided != engine);
            avoid.push(engine);
        }
        actions.push(Action::RequestLease { entry, avoid, wanted: None });
    }

    /// Control granted the rival an engine. Both on one engine would be no race.
    pub(super) fn rival_granted(&mut self, entry: u8, lease: Lease, actions: &mut Vec<Action>) {
        let is_kept = self.kept.as_ref().is_some_and(|kept| kept.engine == lease.engine);
        if is_kept || self.is_busy(&lease.engine) {
            actions.push(Action::ReturnLease { lease: lease.id, fault: None });
            return self.call_race_off(Race::Alone, actions);
        }
        let id = SourceId(self.next_source);
        self.next_source += 1;
        self.rival = Rival::Source { entry, id };
        actions.push(Action::Race(Race::Running));
        actions.push(Action::Open { source: id, lease: lease.clone(), entry, selector: Ask::Own });
        self.sources.push(Source::new(id, lease, entry));
    }

    /// There is no second one any more, or there never was.
    pub(super) fn call_race_off(&mut self, race: Race, actions: &mut Vec<Action>) {
        if let Rival::Source { id, .. } = std::mem::take(&mut self.rival) {
            self.close(id, None, actions);
        }
        actions.push(Action::Race(race));
    }

    pub(super) fn rival_failed(&mut self, id: SourceId, fault: EngineFault, actions: &mut Vec<Action>) {
        if let Some(engine) = self.engine_of(id) {
            self.blame(&engine);
        }
        self.close(id, Some(fault), actions);
        self.rival = Rival::None;
        actions.push(Action::Race(Race::Forfeited));
    }

    /// The first id has failed: the second one goes on alone, if it is on its way.
    pub(super) fn adopt_rival(&mut self, now: Instant, refusal: &Refusal, actions: &mut Vec<Action>) -> bool {
        let (entry, quest) = match self.rival {
            Rival::None | Rival::Wanted(_) => return false,
            Rival::Leasing { entry, since } => (entry, Quest::Leasing { since }),
            Rival::Source { entry, id } => (entry, Quest::Source(id)),
        };
        self.rival = Rival::None;
        actions.push(Action::Race(Race::Forfeited));
        // The first one had less than its full chance: it is not given up for good.
        self.switch(now, entry, Some(refusal.clone()), actions);
        self.quest = quest;
        self.engines_tried = u32::from(quest.source().is_some());
        (self.last_sign, self.last_answer) = (now, None);
        true
    }

    /// This one of the two has media: the other one is stopped.
    pub(super) fn decide_race(&mut self, now: Instant, winner: SourceId, actions: &mut Vec<Action>) {
        match std::mem::take(&mut self.rival) {
            Rival::None | Rival::Wanted(_) => {}
            Rival::Leasing { .. } => {
                actions.push(Action::AbandonLease);
                actions.push(Action::Race(Race::First));
            }
            Rival::Source { entry, id } if id == winner => {
                match self.quest {
                    Quest::Source(loser) => self.close(loser, None, actions),
                    Quest::Waiting => self.return_kept(actions),
                    Quest::None | Quest::Leasing { .. } | Quest::Backoff { .. } => {}
                }
                self.switch(now, entry, None, actions);
                self.quest = Quest::Source(id);
                actions.push(Action::Race(Race::Second));
            }
            Rival::Source { id, .. } => {
                self.close(id, None, actions);
                actions.push(Action::Race(Race::First));
            }
        }
    }

    /// Control wants the lease of one of the two back.
    pub(super) fn rival_withdrawn(&mut self, lease: LeaseId, actions: &mut Vec<Action>) -> bool {
        let Some(id) = self.rival.source() else { return false };
        let is_meant = self.sources.iter().any(|source| source.id == id && source.lease.id == lease);
        if is_meant {
            self.call_race_off(Race::Forfeited, actions);
        }
        is_meant
    }

    /// The present id is given up, if there is another one to go on with; says whether there was.
    pub(super) fn fall_back(&mut self, now: Instant, refusal: &Refusal, actions: &mut Vec<Action>) -> bool {
        let Some(next) = self.entries.next() else { return false };
        if let Some(playing) = self.playing.take() {
            self.speak_up(playing.source, actions);
            self.close(playing.source, None, actions);
        }
        self.give_quest_up(actions);
        self.entries.give_up();
        self.switch(now, next, Some(refusal.clone()), actions);
        self.lease(now, actions);
        true
    }

    /// The present id was found to loop: those who watch are given the next one, if there is one; says whether there was.
    pub(super) fn leaves_loop(&mut self, now: Instant, actions: &mut Vec<Action>) -> bool {
        let loops = Refusal::new(RefusalCode::LoopingStream, "it was found to loop");
        let is_watched = self.life == Life::Alive && self.played && self.clients > 0;
        is_watched && self.fall_back(now, &loops, actions)
    }

    /// From here on it is another id's turn: what went wrong with the one before says nothing about it.
    fn switch(&mut self, now: Instant, to: u8, why: Option<Refusal>, actions: &mut Vec<Action>) {
        actions.push(Action::Entry { from: self.entries.present, to, why });
        self.entries.take(now, to);
        (self.failures, self.retries, self.engines_tried) = (0, 0, 0);
        self.ask = Ask::Own;
        if matches!(self.rival, Rival::Wanted(_)) {
            self.rival = Rival::None;
        }
    }

    /// Faults in a row that the present id is forgiven.
    pub(super) fn attempts_max(&self) -> u32 {
        let all = self.limits.attempts_max;
        if self.entries.next().is_some() { all.min(self.limits.entry_attempts_max) } else { all }
    }

    /// Since when the present id has brought nothing.
    pub(super) fn empty_since(&self) -> Instant {
        self.last_media.max(self.entries.since)
    }

    /// When an id that has played and cannot be had any more is given up for the next one.
    pub(super) fn entry_deadline(&self) -> Option<Instant> {
        let is_down = self.playing.is_none() && self.entries.has_played && self.clients > 0;
        let due = self.last_media + self.limits.entry_timeout;
        (is_down && self.entries.next().is_some()).then_some(due)
    }

    /// When the rival's request has taken too long.
    pub(super) fn rival_deadline(&self) -> Option<Instant> {
        let Rival::Leasing { since, .. } = self.rival else { return None };
        Some(since + self.limits.lease_timeout)
    }

    /// Whether the fault of a source says that its id cannot be had, and no engine would help.
    pub(super) fn is_hopeless(&self, fault: &SourceFault) -> bool {
        !self.entries.has_played && (!fault.elsewhere || self.engines_tried >= self.limits.start_engines_max)
    }

    /// Whether a refusal came too early for having waited for an engine: another broadcast may be refused none.
    pub(super) fn is_prompt(&self, waited: Duration) -> bool {
        waited < self.limits.lease_timeout / 2
    }
}

/// What is told of an id that brought nothing for too long.
pub(super) fn brings_nothing() -> Refusal {
    Refusal::new(RefusalCode::StartTimeout, "no media came for too long")
}

/// What is told of an id whose sources failed time and again.
pub(super) fn keeps_failing() -> Refusal {
    Refusal::new(RefusalCode::EngineError, "its sources failed time and again")
}
