//! How many engines there should be, and which one goes.
//!
//! Demand is counted in free places, not in layers: an engine is added when requests wait that nobody can serve, or when
//! the last free place is taken (so that the next player need not wait); it goes when without it there would still be
//! more places than that, for the whole of the grace period.

use super::member::{Member, Phase, Why};
use super::{Action, Fleet, Ground, HandError, Load, NAME_PREFIX, View, What, Wish, recipe};
use crate::engines::recipe::{Order, Ports};
use sluice_contract::EngineId;
use std::sync::Arc;
use std::time::Instant;

/// Free places kept while anything plays.
const LOOK_AHEAD: usize = 1;

/// What there is, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Census {
    /// Engines that carry streams now or soon.
    pub(super) live: usize,
    /// Those among them without a stream.
    pub(super) free: usize,
    /// Live engines the plan does not know yet: being made, or not listed since.
    pub(super) coming: usize,
    /// Streams on live engines.
    pub(super) streams: usize,
    /// Places left on live engines.
    pub(super) places: usize,
    /// Containers of every phase.
    pub(super) total: usize,
    /// Engines that were ready and are down.
    pub(super) sick: usize,
    /// Those among them that may still come back by themselves.
    pub(super) ailing: usize,
}

impl Fleet {
    pub(super) fn streams(member: &Member, view: &View) -> usize {
        let load = member.id.as_ref().and_then(|id| view.loads.get(&EngineId(id.0.clone())));
        load.map_or(0, Load::streams)
    }

    /// Whether somebody asked that it be given nothing more.
    pub(super) fn is_drained(member: &Member, view: &View) -> bool {
        let load = member.id.as_ref().and_then(|id| view.loads.get(&EngineId(id.0.clone())));
        load.is_some_and(|load| load.is_drained)
    }

    pub(super) fn census(&self, now: Instant, view: &View) -> Census {
        let capacity = self.limits.streams_per_engine as usize;
        let mut census = Census { total: self.members.len(), ..Census::default() };
        let do_return = self.do_ended_return(now);
        for member in self.members.values() {
            let may_return = !self.is_overdue(now, member) && (do_return || member.ended_since.is_none());
            census.sick += usize::from(member.is_sick());
            census.ailing += usize::from(member.is_sick() && may_return);
            // One that was drained carries nothing, and is kept for whoever drained it.
            if !member.is_live() || Self::is_drained(member, view) {
                continue;
            }
            let streams = Self::streams(member, view);
            census.live += 1;
            census.free += usize::from(streams == 0);
            let id = member.id.as_ref().map(|id| EngineId(id.0.clone()));
            census.coming += usize::from(!id.is_some_and(|id| view.loads.contains_key(&id)));
            census.streams += streams;
            census.places += capacity.saturating_sub(streams);
        }
        census
    }

    /// Whether engines whose process was just seen as ended may be back by themselves. One that crashed is not seen so, since
    /// Docker starts it again at once; all of them are when the daemon restarts, and for a while after that.
    fn do_ended_return(&self, now: Instant) -> bool {
        let there = self.members.values().filter(|member| member.phase == Phase::Ready);
        let ended = there.clone().filter(|member| member.ended_since.is_some()).count();
        self.is_settling(now) || 2 * ended > there.count()
    }

    /// Whether Docker has only just come back.
    fn is_settling(&self, now: Instant) -> bool {
        self.returned_at.is_some_and(|at| now < at + super::RETURN_SETTLED)
    }

    /// Engines that are missing, whether they can be had or not.
    pub(super) fn missing(&self, now: Instant, view: &View, census: &Census) -> usize {
        let capacity = self.limits.streams_per_engine as usize;
        // Whoever waits is served by what is coming first; right after a daemon's return that is also what is down.
        let returning = if self.is_settling(now) { census.ailing } else { 0 };
        let waiting = view.unplaced.saturating_sub((census.coming + returning) * capacity);
        let for_waiting = waiting.div_ceil(capacity);
        // One that is down for a moment carries nothing and is not replaced either.
        let for_minimum = self.limits.min.saturating_sub(census.live + census.ailing);
        let engines = for_waiting.max(for_minimum) + returning;
        let places = (census.places + engines * capacity).saturating_sub(view.unplaced);
        let is_used = census.streams + view.unplaced > 0;
        // Right after an idle engine went, only somebody who waits brings another.
        let has_rested = self.idle_deleted_at.is_none_or(|at| now >= at + self.limits.grace);
        let ahead = usize::from(is_used && has_rested && places < LOOK_AHEAD);
        for_waiting.max(for_minimum) + ahead
    }

    /// Starts what is missing, as far as limits, pace and breaker allow.
    pub(super) fn scale_up(&mut self, now: Instant, view: &View) {
        let census = self.census(now, view);
        let surge = if census.sick > 0 { self.limits.surge } else { 0 };
        let room = (self.limits.max + surge).saturating_sub(census.total);
        for _ in 0..self.missing(now, view, &census).min(room) {
            if !self.may_begin(now) {
                return;
            }
            if let Err(error) = self.provision(now, Wish::default(), false) {
                if let HandError::Failed { code, text, remedy } = error {
                    self.cannot(now, code, text, remedy);
                }
                self.provision_at = now + super::RETRY.0;
                return;
            }
        }
    }

    /// An engine is missing and cannot even be begun. It is tried again every second, and told once.
    fn cannot(&mut self, now: Instant, code: &'static str, text: String, remedy: &'static str) {
        if self.trouble.as_ref().is_none_or(|trouble| (trouble.code, &trouble.text) != (code, &text)) {
            tracing::warn!(code, remedy, "no engine can be started: {text}");
            let (name, pause) = (self.free_name(), super::RETRY.0);
            self.happened(&name, What::Failed { code, text: text.clone(), remedy, pause });
        }
        self.note(now, code, text, remedy);
    }

    /// Whether pace and breaker allow a start now.
    pub(super) fn may_begin(&self, now: Instant) -> bool {
        let under_way = self.members.values().filter(|member| member.phase == Phase::Provisioning).count();
        now >= self.provision_at
            && under_way < self.limits.concurrent_max
            && self.breaker.permits(now)
            && !self.is_ground_stale
    }

    /// Reserves a name and ports and has a container made. Who asked for it by hand is told how that ended.
    pub(super) fn provision(&mut self, now: Instant, wish: Wish, is_asked: bool) -> Result<(), HandError> {
        // Nothing is made before Docker was looked at.
        let Some(ground) = self.ground.clone() else { return Ok(()) };
        let name = self.free_name();
        let wish = wish.heeding_conf(&ground.recipe);
        let ports = self.reserve(now, &name, &ground, &wish).inspect_err(|_| self.release(&name))?;
        let order = Order { name: name.clone(), ports, env: wish.env.clone(), labels: wish.labels.clone() };
        let spec = recipe::container(&ground.recipe, &ground.site, &order);
        tracing::info!(name, image = spec.image, port = ports.http, "starting an engine");
        let mut member = Member::reserved(now, ports, ground.recipe.name.clone());
        member.labels = Arc::new(spec.labels.clone());
        member.wish = is_asked.then_some(wish);
        let begun = What::Begun { image: spec.image.clone(), failures: self.breaker.failures() };
        self.happened(&name, begun);
        self.members.insert(name, member);
        self.actions.push(Action::Provision(Box::new(spec)));
        self.breaker.tried();
        self.provision_at = now + self.limits.interval;
        Ok(())
    }

    fn reserve(
        &mut self,
        now: Instant,
        name: &str,
        ground: &Ground,
        wish: &Wish,
    ) -> Result<Ports, HandError> {
        let has_api_port = ground.recipe.has_api_port;
        let http = match wish.http_port {
            Some(port) => self.claim(port, name)?,
            None => self.host_ports.take(now, name)?,
        };
        let second = match wish.https_port.filter(|_| !has_api_port) {
            Some(port) => {
                self.https_ports.hold(port, name);
                port
            }
            None if has_api_port => self.host_ports.take(now, name)?,
            None => self.https_ports.take(now, name)?,
        };
        let has_https_published = ground.site.has_https_mapped && !has_api_port;
        let host_https = has_https_published.then(|| self.host_ports.take(now, name)).transpose()?;
        let p2p = self.p2p_ports.as_mut().map(|ports| ports.take(now, name)).transpose()?;
        Ok(Ports { http, second, host_https, p2p })
    }

    /// Takes one port of the host, inside its range or not, that nobody known here holds.
    fn claim(&mut self, port: u16, name: &str) -> Result<u16, HandError> {
        let holds = |ports: &Ports| ports.http == port || ports.host_https == Some(port);
        let member =
            self.members.iter().find(|(_, member)| holds(&member.ports)).map(|(name, _)| name.as_str());
        if let Some(holder) = member.or(self.host_ports.holder(port)) {
            return Err(HandError::PortHeld { port, holder: holder.to_owned() });
        }
        self.host_ports.hold(port, name);
        Ok(port)
    }

    /// The lowest number no container has and no start under way has been given.
    fn free_name(&self) -> String {
        let is_free = |name: &String| !self.names.contains(name) && !self.members.contains_key(name);
        // Of more numbers than there are names, one is free.
        let names = (1..=self.names.len() + self.members.len() + 1).map(|n| format!("{NAME_PREFIX}{n}"));
        names.into_iter().find(is_free).unwrap_or_else(|| format!("{NAME_PREFIX}0"))
    }

    /// Whether it has been down for so long that it is to be replaced.
    fn is_overdue(&self, now: Instant, member: &Member) -> bool {
        member.is_sick() && member.down_since.is_some_and(|since| now >= since + self.limits.unhealthy_grace)
    }

    /// Takes one engine that has been down for too long out of service, once there is another, or when there can be no
    /// other before it is gone.
    pub(super) fn replace(&mut self, now: Instant, view: &View) {
        let sick = self.members.iter().filter(|(_, member)| self.is_overdue(now, member));
        let Some((name, _)) = sick.min_by_key(|(_, member)| member.down_since) else { return };
        let name = name.clone();
        if self.replace_at.is_some_and(|at| now < at) || !self.replacement_breaker.permits(now) {
            return;
        }
        let ready = |member: &&Member| member.phase == Phase::Ready && member.down_since.is_none();
        let ready = self.members.values().filter(ready).count();
        let census = self.census(now, view);
        let is_replaced = ready >= self.limits.min.max(1) && self.missing(now, view, &census) == 0;
        let is_full = census.total >= self.limits.max + self.limits.surge;
        if !is_replaced && !is_full {
            return;
        }
        tracing::warn!(name, stop_first = !is_replaced, "an engine that is down is replaced");
        self.counts.replaced += 1;
        self.replace_at = Some(now + self.limits.cooldown);
        if let Some(member) = self.members.get_mut(&name) {
            member.enter(now, Phase::Draining(Why::Unhealthy));
        }
    }

    /// Takes spare engines out of service: those above `MAX_REPLICAS` at once, others after the grace period.
    pub(super) fn scale_down(&mut self, now: Instant, view: &View) {
        let capacity = self.limits.streams_per_engine as usize;
        let mut census = self.census(now, view);
        let leaving = |member: &Member| matches!(member.phase, Phase::Draining(_) | Phase::Removing(_));
        let mut staying = self.members.values().filter(|member| !leaving(member)).count();
        let surge = if census.sick > 0 { self.limits.surge } else { 0 };
        let mut idle: Vec<(Instant, String)> = self
            .members
            .iter()
            .filter(|(_, member)| member.phase == Phase::Ready && member.down_since.is_none())
            .filter(|(_, member)| !Self::is_drained(member, view))
            .filter_map(|(name, member)| Some((member.idle_since?, name.clone())))
            .collect();
        // The longest unused goes first.
        idle.sort();
        let is_used = census.streams + view.unplaced > 0;
        for (_, name) in idle {
            let is_surplus = staying > self.limits.max + surge;
            let is_spare = self.limits.is_auto_delete
                && view.unplaced == 0
                && census.live > self.limits.min
                && census.free > self.limits.min_free
                && (!is_used || census.places.saturating_sub(capacity) > LOOK_AHEAD);
            let Some(member) = self.members.get_mut(&name) else { continue };
            if !is_surplus && !is_spare {
                member.spare_since = None;
                continue;
            }
            census.live -= 1;
            census.free -= 1;
            census.places = census.places.saturating_sub(capacity);
            let since = *member.spare_since.get_or_insert(now);
            if is_surplus || now >= since + self.limits.grace {
                staying -= 1;
                let why = if is_surplus { Why::Surplus } else { Why::Idle };
                tracing::info!(name, why = why.as_str(), "an engine is no longer needed");
                member.enter(now, Phase::Draining(why));
                self.idle_deleted_at = Some(now);
                self.counts.idle += 1;
            }
        }
    }
}
