//! What somebody asks for by hand: an engine now, one engine gone, another number of them, all of them made anew.
//!
//! Limits hold for these as for everything else: `MAX_REPLICAS`, the pace of starts, the breaker. Whoever asked for one
//! container is told how it ended through [`Fleet::outcomes`], by the ticket the request came with.

use super::member::{Member, Phase, Why};
use super::standing::Blocked;
use super::{Fleet, View};
use crate::docker::ContainerId;
use crate::engines::ports::Exhausted;
use crate::engines::recipe::{Recipe, Style};
use sluice_contract::Refusal;
use std::collections::BTreeMap;
use std::time::Instant;

/// Requests for engines that may wait; more cannot be meant.
const WISHES_MAX: usize = 1000;
/// How often an engine that was asked for is tried anew because a name or a port turned out to be taken.
const TRIES_MAX: u32 = 5;

/// Finds the answer its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct HandTicket(pub(crate) u64);

/// An engine somebody asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wish {
    /// Who is told; nobody when one of several was asked for.
    pub(crate) ticket: Option<HandTicket>,
    /// Environment, beneath what the recipe sets.
    pub(crate) env: BTreeMap<String, String>,
    /// Labels, beneath the reserved ones.
    pub(crate) labels: BTreeMap<String, String>,
    /// HTTP port, inside and outside.
    pub(crate) http_port: Option<u16>,
    /// HTTPS port inside.
    pub(crate) https_port: Option<u16>,
    /// Tries that came to nothing for want of a name or a port.
    pub(crate) tries: u32,
}

/// An engine that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// Its container's id.
    pub(crate) id: ContainerId,
    /// Its container's name.
    pub(crate) name: String,
    /// HTTP port, inside and outside.
    pub(crate) http: u16,
    /// HTTPS port inside, or the control API's.
    pub(crate) second: u16,
}

/// Why something asked for by hand was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandError {
    /// Nothing can be made now.
    #[error("{}", .0.text())]
    Blocked(Blocked),
    /// It was tried and failed.
    #[error("{text}; {remedy}")]
    Failed {
        /// Machine-readable.
        code: &'static str,
        /// What happened.
        text: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The port asked for is another engine's.
    #[error("port {port} is held by {holder}")]
    PortHeld {
        /// Which port.
        port: u16,
        /// Whose.
        holder: String,
    },
    /// No engine is named so.
    #[error("there is no engine {0}")]
    NoSuchEngine(String),
    /// Too many requests wait.
    #[error("too many engines are asked for already")]
    Overloaded,
    /// All engines are being made anew already.
    #[error("engines are being replaced already")]
    Busy,
    /// Engines are not kept in Docker.
    #[error("no Docker is used: this appliance serves from the engines it was given (STATIC_ENGINES)")]
    NotKept,
    /// No engine may be made at all.
    #[error("{}", .0.detail)]
    Refused(Refusal),
    /// Control stops.
    #[error("control is stopping")]
    Stopped,
}

impl From<Exhausted> for HandError {
    fn from(exhausted: Exhausted) -> Self {
        Self::Failed {
            code: "port_range_exhausted",
            text: exhausted.to_string(),
            remedy: "widen the range, or remove containers that hold its ports",
        }
    }
}

impl From<&crate::docker::Error> for HandError {
    fn from(error: &crate::docker::Error) -> Self {
        Self::Failed { code: error.code(), text: error.to_string(), remedy: error.remedy() }
    }
}

impl Wish {
    /// The same wish with the ports its `CONF` names, where the recipe hands that on.
    pub(super) fn heeding_conf(mut self, recipe: &Recipe) -> Self {
        let Some(conf) = self.env.get("CONF").filter(|_| matches!(recipe.style, Style::Variables)) else {
            return self;
        };
        let port = |key: &str| {
            let number = conf.lines().find_map(|line| line.trim().strip_prefix(key)?.parse::<u16>().ok());
            number.filter(|port| *port > 0)
        };
        let (http, https) = (port("--http-port="), port("--https-port="));
        self.http_port = http.or(self.http_port);
        self.https_port = https.or(self.https_port);
        self
    }
}

/// How a request by hand ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// An engine was made and started, or not.
    Made(HandTicket, Result<Made, HandError>),
    /// A container is gone, or could not be removed.
    Removed(HandTicket, Result<ContainerId, HandError>),
}

/// Making all engines anew.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rework {
    /// Engines there were when it began, and as many are made.
    pub(crate) total: usize,
    /// Starts that had failed when it began.
    failed_before: u64,
    /// Why it was given up.
    pub(crate) fault: Option<String>,
    /// Whether it is over.
    pub(crate) is_over: bool,
    /// When it began.
    pub(crate) begun: Instant,
    /// When it last changed.
    pub(crate) at: Instant,
}

/// How far making all engines anew is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Progress {
    /// The work itself.
    pub(crate) rework: Rework,
    /// Old ones that are gone.
    pub(crate) stopped: usize,
    /// New ones that answer.
    pub(crate) provisioned: usize,
    /// The old one that is being stopped.
    pub(crate) current: Option<ContainerId>,
}

impl Progress {
    /// How it stands in two words: `in_progress`, `success` or `error`; `provisioning`, `stopping`, `complete` or `error`.
    pub(crate) fn state(&self) -> (&'static str, &'static str) {
        match (self.rework.is_over, &self.rework.fault, &self.current) {
            (false, _, Some(_)) => ("in_progress", "stopping"),
            (false, _, None) => ("in_progress", "provisioning"),
            (true, None, _) => ("success", "complete"),
            (true, Some(_), _) => ("error", "error"),
        }
    }

    /// The same for a person.
    pub(crate) fn text(&self) -> String {
        let anew = || format!("{} of {} engines are new", self.provisioned, self.rework.total);
        self.rework.fault.clone().unwrap_or_else(anew)
    }
}

impl Fleet {
    /// Asks for an engine. Refused at once when none can be made now.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn wish(&mut self, now: Instant, wish: Wish) -> Result<(), HandError> {
        if let Some(blocked) = self.blocked(now) {
            return Err(HandError::Blocked(blocked));
        }
        if self.wishes.len() >= WISHES_MAX {
            return Err(HandError::Overloaded);
        }
        self.wishes.push_back(wish);
        Ok(())
    }

    /// Has an engine removed, by id, unique beginning of it, or name; streams on it are moved first.
    ///
    /// # Errors
    /// When there is no such engine.
    pub(crate) fn remove_by_hand(
        &mut self,
        now: Instant,
        which: &str,
        ticket: HandTicket,
    ) -> Result<(), HandError> {
        let Some(name) = self.named(which) else { return Err(HandError::NoSuchEngine(which.to_owned())) };
        let Some(member) = self.members.get_mut(&name) else {
            return Err(HandError::NoSuchEngine(which.to_owned()));
        };
        member.removal_tickets.push(ticket);
        if matches!(member.phase, Phase::Ready | Phase::Starting) {
            tracing::info!(name, "an engine is removed by hand");
            member.enter(now, Phase::Draining(Why::Asked));
        }
        Ok(())
    }

    /// The member an id, a unique beginning of one, or a name means.
    fn named(&self, which: &str) -> Option<String> {
        /// Docker's own short ids have this length.
        const SHORT_ID: usize = 12;
        if self.members.get(which).is_some_and(|member| member.id.is_some()) {
            return Some(which.to_owned());
        }
        let begins = |id: &ContainerId| id.0.starts_with(which) && which.len() >= SHORT_ID;
        let mut found = self.members.iter().filter(|(_, member)| member.id.as_ref().is_some_and(begins));
        let (name, _) = found.next()?;
        found.next().is_none().then(|| name.clone())
    }

    /// Asks for another number of engines, within the limits; answers what it comes to.
    pub(crate) fn scale_by_hand(&mut self, demand: usize) -> usize {
        let wanted = demand.clamp(self.limits.min, self.limits.max);
        (self.grow_to, self.shrink_to) = (Some(wanted), Some(wanted));
        wanted
    }

    /// Closes breakers: that of starts, that of replacements.
    pub(crate) fn reset_breakers(&mut self, now: Instant, general: bool, replacement: bool) {
        if general {
            self.breaker.succeeded(now);
            self.provision_at = now;
        }
        if replacement {
            self.replacement_breaker.succeeded(now);
        }
    }

    /// Has every engine made anew, new ones first as far as there is room.
    ///
    /// # Errors
    /// When that is under way, or nothing can be made now.
    pub(crate) fn rework(&mut self, now: Instant) -> Result<usize, HandError> {
        if self.is_reworking() {
            return Err(HandError::Busy);
        }
        match self.blocked(now) {
            // At the limit an old one makes room.
            None | Some(Blocked::MaxCapacity) => {}
            Some(blocked) => return Err(HandError::Blocked(blocked)),
        }
        for member in self.members.values_mut() {
            member.is_outdated = true;
        }
        let total = self.members.len().min(self.limits.max);
        let failed_before = self.counts.failed;
        self.rework = Some(Rework { total, failed_before, fault: None, is_over: false, begun: now, at: now });
        tracing::info!(engines = total, "all engines are made anew");
        Ok(total)
    }

    /// How far that is, once it was asked for.
    pub(crate) fn progress(&self) -> Option<Progress> {
        let rework = self.rework.clone()?;
        let outdated = self.members.values().filter(|member| member.is_outdated);
        let stopping = |member: &&Member| matches!(member.phase, Phase::Draining(_) | Phase::Removing(_));
        let current = outdated.clone().find(stopping).and_then(|member| member.id.clone());
        let stopped = rework.total.saturating_sub(outdated.count());
        let is_new = |member: &&Member| !member.is_outdated && member.first_seen >= rework.begun;
        let ready = |member: &&Member| member.phase == Phase::Ready;
        let provisioned = self.members.values().filter(is_new).filter(ready).count();
        Some(Progress { stopped, provisioned, current, rework })
    }

    /// Carries out what was asked for, as far as pace and limits allow.
    pub(super) fn obey(&mut self, now: Instant, view: &View) {
        if let Some(wanted) = self.grow_to.take() {
            let there = self.census(now, view).live + self.wishes.len();
            self.wishes.extend((there..wanted).map(|_| Wish::default()));
        }
        if let Some(wanted) = self.shrink_to.take() {
            self.shrink(now, view, wanted);
        }
        while let Some(wish) = self.wishes.front() {
            if let Some(blocked) = self.blocked(now) {
                let ticket = wish.ticket;
                self.wishes.pop_front();
                self.answer_made(ticket, Err(HandError::Blocked(blocked)));
                continue;
            }
            if !self.may_begin(now) {
                return;
            }
            let Some(wish) = self.wishes.pop_front() else { return };
            let ticket = wish.ticket;
            if let Err(error) = self.provision(now, wish, true) {
                self.answer_made(ticket, Err(error));
            }
        }
    }

    /// Nothing can be made: whoever waits for it is told.
    pub(super) fn refuse_wishes(&mut self, blocked: &Blocked) {
        while let Some(wish) = self.wishes.pop_front() {
            self.answer_made(wish.ticket, Err(HandError::Blocked(blocked.clone())));
        }
    }

    /// Down to a number by what is idle, floors observed.
    fn shrink(&mut self, now: Instant, view: &View, wanted: usize) {
        let census = self.census(now, view);
        let mut idle: Vec<(Instant, String)> = self
            .members
            .iter()
            .filter(|(_, member)| member.phase == Phase::Ready && !Self::is_drained(member, view))
            .filter_map(|(name, member)| Some((member.idle_since?, name.clone())))
            .collect();
        idle.sort();
        let surplus =
            census.live.saturating_sub(wanted).min(census.free.saturating_sub(self.limits.min_free));
        for (_, name) in idle.into_iter().take(surplus) {
            if let Some(member) = self.members.get_mut(&name) {
                tracing::info!(name, "an engine is removed because fewer were asked for");
                member.enter(now, Phase::Draining(Why::Asked));
            }
        }
    }

    /// Removes engines nobody uses now, down to what is kept at least.
    pub(crate) fn collect(&mut self) {
        self.shrink_to = Some(self.limits.min);
    }

    /// Whether all engines are being made anew.
    pub(super) fn is_reworking(&self) -> bool {
        self.rework.as_ref().is_some_and(|rework| !rework.is_over)
    }

    /// Goes on with making all engines anew: new ones come as far as there is room, an old one goes for each that answers,
    /// and where there is no room at all one old one goes first.
    pub(super) fn renew(&mut self, now: Instant, view: &View) {
        let Some(progress) = self.progress().filter(|progress| !progress.rework.is_over) else { return };
        let Progress { rework, provisioned, .. } = progress;
        let is_failed = self.counts.failed > rework.failed_before
            && self.blocked(now).is_some_and(|blocked| matches!(blocked, Blocked::CircuitBreaker { .. }));
        let outdated = || self.members.values().filter(|member| member.is_outdated);
        let (present, is_enough) = (outdated().count(), provisioned >= rework.total);
        if is_failed || (present == 0 && is_enough) {
            let fault = is_failed.then(|| self.trouble.as_ref().map_or_else(String::new, |t| t.text.clone()));
            if let Some(rework) = &mut self.rework {
                (rework.is_over, rework.at, rework.fault) = (true, now, fault);
            }
            // What is old and still there is better than nothing.
            self.members.values_mut().for_each(|member| member.is_outdated = false);
            return;
        }
        let leaving = |phase: Phase| matches!(phase, Phase::Draining(_) | Phase::Removing(_));
        let is_leaving = self.members.values().any(|member| leaving(member.phase));
        let coming = self
            .members
            .values()
            .filter(|member| !member.is_outdated)
            .filter(|m| matches!(m.phase, Phase::Provisioning | Phase::Uncertain | Phase::Starting))
            .count();
        let missing = rework.total.saturating_sub(provisioned + coming + self.wishes.len());
        let room =
            (self.limits.max + self.limits.surge).saturating_sub(self.members.len() + self.wishes.len());
        for _ in 0..missing.min(room) {
            if !self.may_begin(now) {
                break;
            }
            if let Err(error) = self.provision(now, Wish::default(), false) {
                tracing::warn!(%error, "no engine can be made in place of an old one");
                break;
            }
        }
        let retired = rework.total - outdated_staying(self, leaving).min(rework.total);
        let mut goes = provisioned.saturating_sub(retired);
        if goes == 0 && room == 0 && coming == 0 && !is_leaving {
            goes = 1;
        }
        let mut old: Vec<(usize, String)> = self
            .members
            .iter()
            .filter(|(_, member)| {
                member.is_outdated && matches!(member.phase, Phase::Ready | Phase::Starting)
            })
            .map(|(name, member)| (Self::streams(member, view), name.clone()))
            .collect();
        old.sort();
        for (_, name) in old.into_iter().take(goes) {
            if let Some(member) = self.members.get_mut(&name) {
                member.enter(now, Phase::Draining(Why::Outdated));
            }
            if let Some(rework) = &mut self.rework {
                rework.at = now;
            }
        }
    }

    /// A start that was asked for by hand ended in a way that another name or port may mend: it is tried again.
    pub(super) fn retry_wish(&mut self, wish: Option<Wish>, error: HandError) {
        let Some(wish) = wish else { return };
        let is_pinned = wish.http_port.is_some();
        if is_pinned || wish.tries + 1 >= TRIES_MAX {
            self.answer_made(wish.ticket, Err(error));
        } else {
            self.wishes.push_front(Wish { tries: wish.tries + 1, ..wish });
        }
    }

    /// Tells whoever asked for an engine.
    pub(super) fn answer_made(&mut self, ticket: Option<HandTicket>, outcome: Result<Made, HandError>) {
        self.outcomes.extend(ticket.map(|ticket| Outcome::Made(ticket, outcome)));
    }

    /// Everything that ended since it was last asked.
    pub(crate) fn outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }
}

/// Old engines nobody has asked to go yet.
fn outdated_staying(fleet: &Fleet, leaving: impl Fn(Phase) -> bool) -> usize {
    fleet.members.values().filter(|member| member.is_outdated && !leaving(member.phase)).count()
}
