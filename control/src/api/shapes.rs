//! The two objects that several routes show: an engine and a stream, as the REST contract has them.

use super::time::rfc3339;
use crate::engines::authority::split;
use crate::engines::fleet::MemberStanding;
use crate::engines::health::State;
use crate::engines::plan::Kind;
use crate::engines::recipe::{Cache, LABEL_VPN};
use crate::engines::records::Record;
use crate::engines::{EngineStanding, Handle, condition};
use serde::Serialize;
use sluice_contract::snapshot::{Board, Session};
use sluice_contract::{EngineId, Selector};
use std::collections::{BTreeMap, HashMap};
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
}

impl EngineView {
    /// Every engine, by port.
    pub(super) fn all(engines: &Handle, board: &Board) -> Vec<Self> {
        let streams = streams_by_engine(board);
        let standing = engines.standing();
        let fleet = engines.fleet();
        let view = |standing: &EngineStanding| {
            let streams = streams.get(&standing.id).cloned().unwrap_or_default();
            let member = fleet.as_ref().and_then(|fleet| fleet.member(&standing.id.0));
            Self::new(standing, engines.record(&standing.id), member, streams)
        };
        let mut views: Vec<Self> = standing.engines.iter().map(view).collect();
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
        }
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

fn streams_by_engine(board: &Board) -> HashMap<EngineId, Vec<String>> {
    let mut streams: HashMap<EngineId, Vec<String>> = HashMap::new();
    for shard in board.read() {
        for session in &shard.sessions {
            if let (Some(engine), Some(id)) = (&session.engine, stream_id(session)) {
                streams.entry(engine.id.clone()).or_default().push(id);
            }
        }
    }
    streams
}

/// The id of a session among streams, once its engine has named its own: `<id first asked for>|<playback session>`.
pub(crate) fn stream_id(session: &Session) -> Option<String> {
    let playback = session.engine.as_ref()?.playback_session_id.as_ref()?;
    Some(format!("{}|{playback}", session.asked_as.value()))
}

/// A stream.
#[derive(Serialize, ToSchema)]
#[schema(as = StreamState)]
pub(crate) struct StreamView {
    id: String,
    /// `content_id`, `infohash`, `url` or `magnet`.
    key_type: String,
    key: String,
    container_id: String,
    container_name: Option<String>,
    playback_session_id: String,
    stat_url: String,
    command_url: String,
    is_live: bool,
    started_at: String,
    ended_at: Option<String>,
    /// `started` or `ended`.
    status: &'static str,
    peers: Option<i64>,
    speed_down: Option<i64>,
    speed_up: Option<i64>,
    downloaded: Option<i64>,
    uploaded: Option<i64>,
    livepos: Option<BTreeMap<String, Option<String>>>,
}

impl StreamView {
    /// A session as a stream, without figures; `None` before its engine has named its own.
    pub(super) fn of_session(session: &Session) -> Option<Self> {
        let engine = session.engine.as_ref()?;
        let (host, port) = split(&engine.authority);
        let (key_type, key) = match session.asked_as {
            Selector::ContentId(number) => ("content_id", number),
            Selector::Infohash(number) => ("infohash", number),
        };
        Some(Self {
            id: stream_id(session)?,
            key_type: key_type.to_owned(),
            key: key.to_string(),
            container_id: engine.id.to_string(),
            container_name: Some(format!("engine-{host}-{port}")),
            playback_session_id: engine.playback_session_id.as_deref().unwrap_or_default().to_owned(),
            stat_url: engine.stat_url.as_deref().unwrap_or_default().to_owned(),
            command_url: engine.command_url.as_deref().unwrap_or_default().to_owned(),
            is_live: engine.is_live != 0,
            started_at: rfc3339(session.started_at.unwrap_or(session.created_at)),
            ended_at: None,
            status: "started",
            peers: None,
            speed_down: None,
            speed_up: None,
            downloaded: None,
            uploaded: None,
            livepos: None,
        })
    }
}
