//! The object that several routes show: an engine, as the REST contract has it; and all of them, each written when it changes.

use super::time::rfc3339;
use crate::engines::authority::split;
use crate::engines::fleet::{FleetStanding, MemberStanding};
use crate::engines::health::State;
use crate::engines::plan::Kind;
use crate::engines::recipe::{Cache, LABEL_VPN};
use crate::engines::records::Record;
use crate::engines::{self, EngineStanding, Standing, condition};
use crate::streams::{Handle, Playing, Shown};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use utoipa::ToSchema;

/// An engine. The published fields first, then what Sluice adds.
#[derive(Serialize, ToSchema)]
#[schema(as = EngineState)]
pub(crate) struct EngineView {
    /// Key of the engine: its container's id, or `host:port` of one that was named.
    container_id: String,
    container_name: String,
    host: String,
    port: u16,
    labels: BTreeMap<String, String>,
    /// Whether it owns the forwarded port of its VPN.
    forwarded: bool,
    first_seen: Option<String>,
    last_seen: Option<String>,
    /// Ids of active streams.
    streams: Vec<String>,
    /// `healthy`, `unhealthy` or `unknown`, by the last probe.
    health_status: &'static str,
    last_health_check: Option<String>,
    last_stream_usage: Option<String>,
    vpn_container: Option<String>,
    engine_variant: Option<String>,
    platform: Option<String>,
    version: Option<String>,
    forwarded_port: Option<u16>,
    last_cache_cleanup: Option<String>,
    cache_size_bytes: Option<u64>,
    /// What emptying it freed since this appliance started.
    cache_freed_bytes: Option<u64>,
    /// `disk`, or `memory`, which has no size.
    cache_kind: Option<&'static str>,
    /// `unknown`, `healthy`, `suspect` or `down`: what decides whether it is given streams.
    state: &'static str,
    /// What is the matter with it: `unknown`, `starting`, `well`, `slow`, `hung`, `doubted`, `dead`, `out_of_memory`, `restarting`,
    /// `disconnected`, `unresolved` or `no_engine`.
    condition: &'static str,
    /// What was seen of that.
    reason: Option<String>,
    /// What the last failed check saw.
    fault: Option<String>,
    /// Whether it reaches other peers, as far as it says.
    connected: Option<bool>,
    /// The code its process ended with last, since this appliance started.
    last_exit_code: Option<i64>,
    /// Streams it holds a lease for, starts included.
    leases: usize,
    /// Whether it is used only when no other can be had.
    is_fallback: bool,
    /// Whether it is given no more streams because somebody drained it; until that is taken back, or control starts anew.
    is_drained: bool,
}

impl EngineView {
    /// One engine, and what plays on it.
    ///
    /// One that only other proxies know is there for as long as something plays on it.
    pub(super) fn one(
        engines: &engines::Handle,
        streams: &Handle,
        name: &str,
    ) -> Option<(Self, Vec<Arc<Shown>>)> {
        let standing = engines.standing();
        let here = streams.on_engine(name);
        let Some(known) = standing.engines.iter().find(|engine| *engine.id.0 == *name) else {
            return Some((Self::foreign(&here)?, here));
        };
        let fleet = engines.fleet();
        let member = fleet.as_ref().and_then(|fleet| fleet.by_id().get(name).copied());
        Some((Self::new(known, engines.record(&known.id).as_ref(), member, ids(&here)), here))
    }

    fn new(
        standing: &EngineStanding,
        times: Option<&Record>,
        member: Option<&MemberStanding>,
        streams: Vec<String>,
    ) -> Self {
        let (host, port) = split(&standing.authority);
        let (condition, reason) = condition(standing, member);
        let cache = member.and_then(|member| member.cache.as_ref());
        let label = |key: &str| member.and_then(|member| member.labels.get(key)).cloned();
        Self {
            container_id: standing.id.to_string(),
            container_name: member
                .map_or_else(|| format!("engine-{host}-{port}"), |member| member.name.to_string()),
            host: host.to_owned(),
            port,
            labels: member.map(|member| (*member.labels).clone()).unwrap_or_default(),
            forwarded: standing.is_forwarded,
            first_seen: times.map(|record| rfc3339(record.first_seen)),
            last_seen: times.map(|record| rfc3339(record.last_seen)),
            streams,
            health_status: health_status(standing),
            last_health_check: times.and_then(|record| record.checked_at).map(rfc3339),
            last_stream_usage: times.and_then(|record| record.used_at).map(rfc3339),
            vpn_container: label(LABEL_VPN),
            engine_variant: member.map(|member| member.variant.to_string()),
            platform: times.and_then(|record| record.build.platform.clone()),
            version: times.and_then(|record| record.build.version.clone()),
            forwarded_port: None,
            last_cache_cleanup: cache.and_then(|cache| cache.purged_at).map(rfc3339),
            cache_size_bytes: cache.and_then(|cache| cache.bytes),
            cache_freed_bytes: cache.map(|cache| cache.freed_bytes),
            cache_kind: cache.map(|cache| match cache.cache {
                Cache::Memory => "memory",
                Cache::Folder(_) => "disk",
            }),
            state: standing.state.as_str(),
            condition: condition.as_str(),
            reason,
            connected: standing.is_connected,
            last_exit_code: member.and_then(|member| member.end).and_then(|end| end.exit_code),
            fault: standing.fault.as_ref().map(ToString::to_string),
            leases: standing.leases,
            is_fallback: standing.kind == Kind::Fallback,
            is_drained: standing.is_drained,
        }
    }

    /// An engine of somebody else's, as its streams tell of it.
    fn foreign(streams: &[Arc<Shown>]) -> Option<Self> {
        let engine = &streams.first()?.stream.start.engine;
        let started = || streams.iter().map(|shown| shown.stream.started_at);
        let seen =
            |shown: &Arc<Shown>| shown.latest.as_ref().map_or(shown.stream.started_at, |latest| latest.at);
        Some(Self {
            container_id: engine.id.to_string(),
            container_name: format!("engine-{}-{}", engine.host, engine.port),
            host: engine.host.clone(),
            port: engine.port,
            labels: BTreeMap::from([("external".to_owned(), "true".to_owned())]),
            forwarded: false,
            first_seen: started().min().map(rfc3339),
            last_seen: streams.iter().map(seen).max().map(rfc3339),
            streams: ids(streams),
            health_status: State::Unknown.as_str(),
            last_health_check: None,
            last_stream_usage: started().max().map(rfc3339),
            vpn_container: None,
            engine_variant: None,
            platform: None,
            version: None,
            forwarded_port: None,
            last_cache_cleanup: None,
            cache_size_bytes: None,
            cache_freed_bytes: None,
            cache_kind: None,
            state: State::Unknown.as_str(),
            condition: State::Unknown.as_str(),
            reason: None,
            connected: None,
            last_exit_code: None,
            fault: None,
            leases: 0,
            is_fallback: false,
            is_drained: false,
        })
    }
}

/// Every engine as text, kept from one time to the next: with a thousand of them most are as they were.
#[derive(Default)]
pub(super) struct Pieces(HashMap<Arc<str>, Piece>);

/// One engine's text, and what it was made of.
struct Piece {
    standing: EngineStanding,
    record: Option<Record>,
    member: Option<MemberStanding>,
    streams: Option<Playing>,
    port: u16,
    json: Arc<str>,
}

impl Piece {
    fn is_of(
        &self,
        standing: &EngineStanding,
        record: Option<&Record>,
        member: Option<&MemberStanding>,
        streams: Option<&Playing>,
    ) -> bool {
        let is_same = |one: &Playing, other: &Playing| Arc::ptr_eq(one, other);
        match (&self.streams, streams) {
            (None, None) => {}
            (Some(one), Some(other)) if is_same(one, other) => {}
            _ => return false,
        }
        self.standing == *standing && self.record.as_ref() == record && self.member.as_ref() == member
    }
}

impl Pieces {
    /// Every engine's name and text, by port; those that only other proxies know are there for as long as something plays on them.
    pub(super) fn all(
        &mut self,
        seen: &Seen,
        engines: &engines::Handle,
        streams: &Handle,
    ) -> Vec<(Arc<str>, Arc<str>)> {
        let Seen { standing, fleet, playing, .. } = seen;
        let members = fleet.as_ref().map(|fleet| fleet.by_id()).unwrap_or_default();
        let mut shown: Vec<(u16, Arc<str>, Arc<str>)> = Vec::with_capacity(standing.engines.len());
        for engine in &standing.engines {
            let id = &engine.id.0;
            let (record, member, here) =
                (engines.record(&engine.id), members.get(&**id).copied(), playing.get(id));
            let piece = self.0.get(id).filter(|piece| piece.is_of(engine, record.as_ref(), member, here));
            if let Some(piece) = piece {
                shown.push((piece.port, id.clone(), piece.json.clone()));
                continue;
            }
            let names = here.into_iter().flat_map(|here| here.iter()).map(|stream| stream.id().to_owned());
            let view = EngineView::new(engine, record.as_ref(), member, names.collect());
            let (port, json): (_, Arc<str>) = (view.port, json(&view).into());
            shown.push((port, id.clone(), json.clone()));
            let (standing, streams) = (engine.clone(), here.cloned());
            self.0
                .insert(id.clone(), Piece { standing, record, member: member.cloned(), streams, port, json });
        }
        if self.0.len() > standing.engines.len() {
            let known: HashSet<&str> = standing.engines.iter().map(|engine| &*engine.id.0).collect();
            self.0.retain(|id, _| known.contains(&**id));
        }
        let others = playing.keys().filter(|id| !self.0.contains_key(*id));
        shown.extend(others.filter_map(|id| {
            let view = EngineView::foreign(&streams.on_engine(id))?;
            Some((view.port, id.clone(), json(&view).into()))
        }));
        shown.sort_unstable_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        shown.into_iter().map(|(_, id, json)| (id, json)).collect()
    }
}

/// What serde_json cannot write is none of our shapes.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// What engines are shown from, at one moment.
pub(super) struct Seen {
    standing: Arc<Standing>,
    fleet: Option<Arc<FleetStanding>>,
    playing: HashMap<Arc<str>, Playing>,
    version: u64,
}

impl Seen {
    /// Now.
    pub(super) fn now(engines: &engines::Handle, streams: &Handle) -> Self {
        let (version, playing) = streams.playing();
        Self { standing: engines.standing(), fleet: engines.fleet(), playing, version }
    }

    /// Whether anything but times and figures changed since.
    pub(super) fn is_still_so(&self, engines: &engines::Handle, streams: &Handle) -> bool {
        let is_fleet = match (&self.fleet, engines.fleet()) {
            (None, None) => true,
            (Some(seen), Some(now)) => Arc::ptr_eq(seen, &now),
            _ => false,
        };
        is_fleet && Arc::ptr_eq(&self.standing, &engines.standing()) && self.version == streams.version()
    }
}

/// What the last probe of an engine said; a complaint of a stream alone does not make it unhealthy.
pub(crate) fn health_status(standing: &EngineStanding) -> &'static str {
    match (standing.state, &standing.fault) {
        (State::Unknown, None) => "unknown",
        (State::Down, _) | (_, Some(_)) => "unhealthy",
        (State::Healthy | State::Suspect, None) => "healthy",
    }
}

fn ids(streams: &[Arc<Shown>]) -> Vec<String> {
    streams.iter().map(|shown| shown.stream.id().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::check::Build;
    use std::time::{Duration, SystemTime};

    fn standing(leases: usize) -> EngineStanding {
        EngineStanding { leases, ..EngineStanding::named("one", State::Healthy) }
    }

    fn record(checked_at: Option<SystemTime>) -> Record {
        let seen = SystemTime::UNIX_EPOCH;
        Record { first_seen: seen, last_seen: seen, checked_at, used_at: None, build: Build::default() }
    }

    /// Guards: an engine's text is made anew when anything it was made of has changed, what is remembered of the engine and what
    /// plays on it included.
    #[test]
    fn a_piece_is_of_all_that_it_was_made_of() {
        let nothing: Playing = Vec::new().into();
        let piece = Piece {
            standing: standing(1),
            record: Some(record(None)),
            member: None,
            streams: Some(nothing.clone()),
            port: 1,
            json: "".into(),
        };
        let (same, again): (_, Playing) = (record(None), Vec::new().into());
        assert!(piece.is_of(&standing(1), Some(&same), None, Some(&nothing)));
        assert!(!piece.is_of(&standing(2), Some(&same), None, Some(&nothing)));
        let checked = record(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1)));
        assert!(!piece.is_of(&standing(1), Some(&checked), None, Some(&nothing)));
        assert!(!piece.is_of(&standing(1), None, None, Some(&nothing)));
        assert!(!piece.is_of(&standing(1), Some(&same), None, Some(&again)));
        assert!(!piece.is_of(&standing(1), Some(&same), None, None));
    }
}
