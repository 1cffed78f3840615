//! The object that several routes show: an engine, as the REST contract has it.

use super::time::rfc3339;
use crate::engines::authority::split;
use crate::engines::fleet::MemberStanding;
use crate::engines::health::State;
use crate::engines::plan::Kind;
use crate::engines::recipe::{Cache, LABEL_VPN};
use crate::engines::records::Record;
use crate::engines::{self, EngineStanding, condition};
use crate::streams::{Filter, Handle, Shown};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
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
    pub(super) port: u16,
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
    /// Every engine, by port.
    ///
    /// Those that only other proxies know are there for as long as something plays on them.
    pub(super) fn all(engines: &engines::Handle, mut playing: Playing) -> Vec<Self> {
        let standing = engines.standing();
        let fleet = engines.fleet();
        let members = fleet.as_ref().map(|fleet| fleet.by_id()).unwrap_or_default();
        let view = |standing: &EngineStanding| {
            let streams = playing.remove(&standing.id.0).unwrap_or_default();
            let member = members.get(&*standing.id.0).copied();
            Self::new(standing, engines.record(&standing.id), member, ids(&streams))
        };
        let mut views: Vec<Self> = standing.engines.iter().map(view).collect();
        views.extend(playing.values().filter_map(|streams| Self::foreign(streams)));
        views.sort_by(|one, other| (one.port, &one.container_id).cmp(&(other.port, &other.container_id)));
        views
    }

    fn new(
        standing: &EngineStanding,
        record: Option<Record>,
        member: Option<&MemberStanding>,
        streams: Vec<String>,
    ) -> Self {
        let (host, port) = split(&standing.authority);
        let times = record.as_ref();
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

    /// What the engine is called by.
    pub(super) fn name(&self) -> &str {
        &self.container_id
    }

    /// Whether this is the engine a caller names.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.container_id == name
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

/// Streams that play, by engine.
pub(super) type Playing = HashMap<Arc<str>, Vec<Arc<Shown>>>;

/// Every stream that plays, by engine.
pub(super) fn playing(streams: &Handle) -> Playing {
    let active = Filter { is_active: Some(true), container_id: None };
    let mut playing = Playing::new();
    for shown in streams.list(&active) {
        playing.entry(shown.stream.start.engine.id.clone()).or_default().push(shown);
    }
    playing
}

fn ids(streams: &[Arc<Shown>]) -> Vec<String> {
    streams.iter().map(|shown| shown.stream.id().to_owned()).collect()
}
