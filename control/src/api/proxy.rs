//! Sessions and clients as monitoring scripts know them, read from the board alone.

use super::Sources;
use super::error::{Detail, Error};
use super::input::{BodyKind, Fields, Input, Keyed, Read, rule};
use super::time::{epoch_s, rfc3339, seconds_between};
use crate::engines::authority::split;
use crate::worker;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use sluice_contract::snapshot::{
    Channel, Client, EndedClient, EngineStat, Race, Session, SessionState, Shard, Splices,
};
use sluice_contract::{
    Alias, EndReason, EngineId, Hex40, Options, RefusalCode, Selector, StreamKey, ToShard,
};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Bytes of a transport stream packet.
const PACKET_BYTES: u64 = 188;
/// Characters of an engine's name, and of a reason, in a request.
const TEXT_CHARS_MAX: usize = 256;

/// Summary of everything that plays.
#[derive(Serialize, ToSchema)]
#[schema(as = ProxyStatus)]
pub(crate) struct StatusView {
    running: bool,
    total_sessions: usize,
    active_sessions: usize,
    total_clients: usize,
    sessions: Vec<SessionView>,
}

/// One session: the published fields first, then what Sluice adds.
#[derive(Serialize, ToSchema)]
#[schema(as = ProxySession)]
pub(crate) struct SessionView {
    stream_id: Option<String>,
    #[schema(value_type = String)]
    ace_id: Hex40,
    engine_host: String,
    engine_port: u16,
    container_id: String,
    #[schema(value_type = Option<String>)]
    playback_session_id: Option<Arc<str>>,
    is_live: bool,
    is_active: bool,
    client_count: usize,
    created_at: String,
    started_at: Option<String>,
    ended_at: Option<String>,
    error: Option<String>,
    idle_seconds: f64,
    key: String,
    #[schema(value_type = Option<String>)]
    infohash: Option<Hex40>,
    options: String,
    #[schema(value_type = String)]
    state: SessionState,
    shard: u16,
    waiting_clients: usize,
    idle_since: Option<String>,
    last_media_at: Option<String>,
    bitrate_bps: u64,
    window_bytes: u64,
    window_seconds: f64,
    bytes_in: u64,
    garbage_bytes: u64,
    continuity_errors: u64,
    discontinuities: u64,
    failovers: u64,
    channel: Option<ChannelView>,
    splices: SplicesView,
    #[schema(value_type = Vec<String>)]
    formats: Vec<&'static str>,
    is_encrypted: bool,
    #[schema(value_type = Option<String>)]
    stat_url: Option<Arc<str>>,
    #[schema(value_type = Option<String>)]
    command_url: Option<Arc<str>>,
    #[schema(value_type = Option<serde_json::Value>)]
    stat: Option<EngineStat>,
}

impl SessionView {
    /// What no other session is called.
    pub(super) fn name(&self) -> &str {
        &self.key
    }

    fn new(session: &Session, now: SystemTime) -> Self {
        let engine = session.engine.as_ref();
        let (engine_host, engine_port) = engine.map_or(("", 0), |engine| split(&engine.authority));
        let ace_id = session.asked_as.value();
        let playback_session_id = engine.and_then(|engine| engine.playback_session_id.clone());
        Self {
            stream_id: playback_session_id.as_ref().map(|playback| format!("{ace_id}|{playback}")),
            ace_id,
            engine_host: engine_host.to_owned(),
            engine_port,
            container_id: engine.map(|engine| engine.id.to_string()).unwrap_or_default(),
            playback_session_id,
            // An engine that does not know says -1; what it delivers then behaves like a live broadcast.
            is_live: engine.is_some_and(|engine| engine.is_live != 0),
            is_active: is_active(session),
            client_count: session.clients.len(),
            created_at: rfc3339(session.created_at),
            started_at: session.started_at.map(rfc3339),
            // Sessions that ended or failed are not on the board.
            ended_at: None,
            error: None,
            idle_seconds: idle_seconds(session, now),
            key: session.key.to_string(),
            infohash: session.infohash,
            options: session.key.options.as_str().to_owned(),
            state: session.state,
            shard: session.shard.0,
            waiting_clients: session.waiting,
            idle_since: session.idle_since.map(rfc3339),
            last_media_at: session.last_media_at.map(rfc3339),
            bitrate_bps: session.rate.saturating_mul(8),
            window_bytes: session.head.saturating_sub(session.tail),
            window_seconds: session.window_s,
            bytes_in: session.bytes_in,
            garbage_bytes: session.garbage_bytes,
            continuity_errors: session.continuity_errors,
            discontinuities: session.discontinuities,
            failovers: session.failovers,
            channel: session
                .key
                .channel()
                .zip(session.channel.as_ref())
                .map(|(name, channel)| ChannelView::new(name, channel)),
            splices: SplicesView::new(&session.splices),
            formats: session.formats.clone(),
            is_encrypted: engine.is_some_and(|engine| engine.is_encrypted),
            stat_url: engine.and_then(|engine| engine.stat_url.clone()),
            command_url: engine.and_then(|engine| engine.command_url.clone()),
            stat: session.stat.clone(),
        }
    }
}

/// The channel that a session plays.
#[derive(Serialize, ToSchema)]
#[schema(as = ProxyChannel)]
pub(crate) struct ChannelView {
    #[schema(value_type = String)]
    name: Arc<str>,
    /// Best first, as in the file of channels.
    ids: Vec<String>,
    /// The one that plays, or is about to.
    id: Option<String>,
    fallbacks: u64,
    last_fallback: Option<FallbackView>,
    #[schema(value_type = Option<String>)]
    race: Option<Race>,
}

/// Why a channel went on with another of its ids.
#[derive(Serialize, ToSchema)]
#[schema(as = ProxyFallback)]
pub(crate) struct FallbackView {
    from: String,
    to: String,
    #[schema(value_type = String)]
    code: RefusalCode,
    #[schema(value_type = String)]
    detail: Arc<str>,
    at: String,
}

impl ChannelView {
    fn new(name: &Arc<str>, channel: &Channel) -> Self {
        let ids: Vec<String> = channel.ids.iter().map(written).collect();
        Self {
            name: name.clone(),
            id: ids.get(channel.present).cloned(),
            ids,
            fallbacks: channel.fallbacks,
            last_fallback: channel.last.as_ref().map(|last| FallbackView {
                from: written(&last.from),
                to: written(&last.to),
                code: last.code,
                detail: last.detail.clone(),
                at: rfc3339(last.at),
            }),
            race: channel.race,
        }
    }
}

/// An id as a file of channels has it.
fn written(id: &Selector) -> String {
    match id {
        Selector::ContentId(number) => number.to_string(),
        Selector::Infohash(number) => format!("infohash:{number}"),
    }
}

/// Every session there is.
pub(super) fn all(sources: &Sources, now: SystemTime) -> Vec<SessionView> {
    let shards = sources.board.read();
    let sessions = shards.iter().flat_map(|shard| &shard.sessions);
    sessions.map(|session| SessionView::new(session, now)).collect()
}

/// How the sources of a session were joined to each other, and what that cost its clients.
#[derive(Serialize, ToSchema)]
#[schema(as = ProxySplices)]
pub(crate) struct SplicesView {
    exact: u64,
    clock: u64,
    random_access: u64,
    lost_seconds: f64,
    lost_packets: u64,
    lost_bytes: u64,
    repeated_seconds: f64,
    repeated_packets: u64,
    repeated_bytes: u64,
}

impl SplicesView {
    fn new(splices: &Splices) -> Self {
        let Splices { exact, clock, random_access, lost, repeated } = *splices;
        Self {
            exact,
            clock,
            random_access,
            lost_seconds: lost.time.as_secs_f64(),
            lost_packets: lost.bytes / PACKET_BYTES,
            lost_bytes: lost.bytes,
            repeated_seconds: repeated.time.as_secs_f64(),
            repeated_packets: repeated.bytes / PACKET_BYTES,
            repeated_bytes: repeated.bytes,
        }
    }
}

/// One client record.
#[derive(Serialize, ToSchema)]
#[schema(as = ProxyClient)]
pub(crate) struct ClientView {
    client_id: String,
    ip_address: String,
    #[schema(value_type = String)]
    user_agent: Arc<str>,
    connected_at: f64,
    last_active: f64,
    worker_id: &'static str,
    bytes_sent: u64,
    stats_updated_at: f64,
    shard: u16,
    behind_bytes: u64,
    behind_seconds: f64,
    rate_bps: u64,
    skips: u32,
    skipped_bytes: u64,
}

impl ClientView {
    fn new(client: &Client, shard: &Shard) -> Self {
        Self {
            client_id: client.id.to_string(),
            ip_address: client.address.to_string(),
            user_agent: client.user_agent.clone(),
            connected_at: epoch_s(client.connected_at),
            last_active: epoch_s(client.last_active),
            worker_id: &worker::NAME,
            bytes_sent: client.bytes_sent,
            stats_updated_at: epoch_s(shard.taken_at),
            shard: shard.id.0,
            behind_bytes: client.behind_bytes,
            behind_seconds: client.behind_s,
            rate_bps: client.rate.saturating_mul(8),
            skips: client.skips,
            skipped_bytes: client.skipped_bytes,
        }
    }
}

/// A client that ended: its record as it was then, and why.
#[derive(Serialize, ToSchema)]
#[schema(as = ProxyEndedClient)]
pub(crate) struct EndedClientView {
    #[serde(flatten)]
    client: ClientView,
    ended_at: f64,
    #[schema(value_type = String)]
    reason: EndReason,
}

impl EndedClientView {
    fn new(ended: &EndedClient, shard: &Shard) -> Self {
        let client =
            ClientView { stats_updated_at: epoch_s(ended.at), ..ClientView::new(&ended.client, shard) };
        Self { client, ended_at: epoch_s(ended.at), reason: ended.reason }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = ProxySessions)]
pub(crate) struct SessionsView {
    sessions: Vec<SessionView>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ProxyClients)]
pub(crate) struct ClientsView {
    clients: Vec<ClientView>,
    ended_clients: Vec<EndedClientView>,
}

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Sources> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(sessions))
        .routes(routes!(session))
        .routes(routes!(move_session))
        .routes(routes!(clients))
        .routes(routes!(stream_clients))
}

/// Everything that plays
///
/// `total_sessions` counts sessions that nobody watches any more until their grace period ends, `active_sessions` does
/// not.
#[utoipa::path(
    get,
    path = "/proxy/status",
    operation_id = "proxy_status",
    tag = "proxy",
    responses((status = 200, body = StatusView))
)]
async fn status(State(sources): State<Sources>, Read(()): Read<()>) -> Json<StatusView> {
    let shards = sources.board.read();
    let sessions = || shards.iter().flat_map(|shard| &shard.sessions);
    let now = SystemTime::now();
    Json(StatusView {
        running: true,
        total_sessions: sessions().count(),
        active_sessions: sessions().filter(|session| is_active(session)).count(),
        total_clients: sessions().map(|session| session.clients.len()).sum(),
        sessions: sessions().map(|session| SessionView::new(session, now)).collect(),
    })
}

/// Sessions
#[utoipa::path(get, path = "/proxy/sessions", tag = "proxy", responses((status = 200, body = SessionsView)))]
async fn sessions(State(sources): State<Sources>, Read(()): Read<()>) -> Json<SessionsView> {
    Json(SessionsView { sessions: all(&sources, SystemTime::now()) })
}

/// One session
///
/// Found by the id first asked for, by infohash, by any other id known for the broadcast, or by its whole key.
#[utoipa::path(
    get,
    path = "/proxy/sessions/{ace_id}",
    tag = "proxy",
    params(("ace_id" = String, Path, description = "Content id, infohash, or key of the session")),
    responses((status = 200, body = SessionView), (status = 404, description = "No such session", body = Detail))
)]
async fn session(State(sources): State<Sources>, Read(id): Read<String>) -> Result<Json<SessionView>, Error> {
    find(&sources, &id).map(|session| Json(SessionView::new(&session, SystemTime::now())))
}

/// The session a caller names. One broadcast may play with several options; the plain one is meant unless the whole key
/// is given.
pub(super) fn find(sources: &Sources, id: &str) -> Result<Arc<Session>, Error> {
    let wanted = Wanted::new(sources, id);
    let shards = sources.board.read();
    let named = shards.iter().flat_map(|shard| &shard.sessions).filter(|session| wanted.names(session));
    let plainest = named.min_by_key(|session| !session.key.options.is_empty()).cloned();
    plainest.ok_or_else(|| Error::NotFound(format!("Session {id} not found").into()))
}

/// Where a session is to go.
struct Move {
    session: String,
    /// The engine to move to; any other one if none is named.
    engine: Option<String>,
    /// Why, for the log.
    reason: Option<String>,
}

impl Input for Move {
    const BODY: BodyKind = BodyKind::Either;

    fn read(fields: &mut Fields) -> Option<Self> {
        let session = fields.only_path()?;
        let engine = fields.either("engine").optional(rule::string(TEXT_CHARS_MAX));
        let reason = fields.either("reason").optional(rule::string(TEXT_CHARS_MAX));
        Some(Self { session, engine, reason })
    }
}

/// How a move is asked for.
#[derive(ToSchema)]
#[schema(as = ProxyMoveRequest)]
#[allow(dead_code, reason = "describes a body; it is read field by field")]
pub(crate) struct MoveBody {
    /// The engine to move to; any other one if none is named.
    engine: Option<String>,
    /// Why, for the log.
    reason: Option<String>,
}

/// What a move is told to be.
#[derive(Serialize, ToSchema)]
#[schema(as = ProxyMove)]
pub(crate) struct MoveView {
    status: &'static str,
    key: String,
    from: Option<String>,
    to: Option<String>,
}

/// Move a session to another engine
///
/// While it plays. Answers when the move begins; how it ends is told by the session's engine, and counted.
#[utoipa::path(
    post,
    path = "/proxy/sessions/{ace_id}/move",
    tag = "proxy",
    params(("ace_id" = String, Path, description = "Content id, infohash, or key of the session")),
    request_body(content = Option<MoveBody>, description = "Any other engine is taken if none is named"),
    responses(
        (status = 202, description = "The move begins", body = MoveView),
        (status = 404, description = "No such session", body = Detail),
        (status = 409, description = "It does not play, or plays there already", body = Detail),
        (status = 503, description = "Its shard is busy", body = Detail),
    )
)]
async fn move_session(
    State(sources): State<Sources>,
    Keyed(wanted): Keyed<Move>,
) -> Result<(StatusCode, Json<MoveView>), Error> {
    let Move { session, engine, reason } = wanted;
    let session = find(&sources, &session)?;
    let from = session.engine.as_ref().map(|engine| engine.id.to_string());
    if session.state != SessionState::Playing {
        return Err(Error::Conflict("only a session that plays and is watched can be moved".into()));
    }
    if engine.is_some() && engine == from {
        return Err(Error::Conflict("the session plays on this engine already".into()));
    }
    tracing::info!(stream = %session.key, to = engine, reason, "a session is to be moved");
    let target = engine.as_deref().map(|engine| EngineId(engine.into()));
    let message = ToShard::Move { key: session.key.clone(), engine: target };
    if sources.shards.send(session.shard, message).is_err() {
        return Err(Error::Unavailable("the shard is busy, retry shortly".into()));
    }
    let view = MoveView { status: "moving", key: session.key.to_string(), from, to: engine };
    Ok((StatusCode::ACCEPTED, Json(view)))
}

/// Clients of a session
///
/// Of every session of the stream, and those that ended a short while ago, newest last; an unknown stream has none.
#[utoipa::path(
    get,
    path = "/proxy/sessions/{ace_id}/clients",
    tag = "proxy",
    params(("ace_id" = String, Path, description = "Content id, infohash, or key of the session")),
    responses((status = 200, body = ClientsView))
)]
async fn clients(State(sources): State<Sources>, Read(id): Read<String>) -> Json<ClientsView> {
    Json(clients_of(&sources, &id))
}

/// Clients of a stream
///
/// `stream_key` is the content id, or any other name of the broadcast; an unknown stream has none.
#[utoipa::path(
    get,
    path = "/proxy/streams/{stream_key}/clients",
    tag = "proxy",
    params(("stream_key" = String, Path, description = "Content id, infohash, or key of the session")),
    responses((status = 200, body = ClientsView))
)]
async fn stream_clients(State(sources): State<Sources>, Read(id): Read<String>) -> Json<ClientsView> {
    Json(clients_of(&sources, &id))
}

fn clients_of(sources: &Sources, id: &str) -> ClientsView {
    let wanted = Wanted::new(sources, id);
    let (mut clients, mut ended_clients) = (Vec::new(), Vec::new());
    // Each player with the shard that serves it, which need not be its session's.
    let shown = sources.board.read_apart();
    let sessions = shown.iter().flat_map(|shard| &shard.sessions);
    let keys: HashSet<&StreamKey> =
        sessions.filter(|session| wanted.names(session)).map(|session| &session.key).collect();
    let mut known = HashSet::new();
    for shard in &shown {
        let own = shard.sessions.iter().filter(|session| keys.contains(&session.key));
        let others = shard.replicas.iter().filter(|replica| keys.contains(&replica.key));
        let served = own.flat_map(|session| &session.clients);
        let served = served.chain(others.flat_map(|replica| &replica.clients));
        // One that moves may be shown by both shards for a moment.
        let served = served.filter(|client| known.insert(client.id));
        clients.extend(served.map(|client| ClientView::new(client, shard)));
        let named = shard.ended.iter().filter(|ended| wanted.names_ended(ended));
        ended_clients.extend(named.map(|ended| EndedClientView::new(ended, shard)));
    }
    ended_clients.sort_by(|one, other| one.ended_at.total_cmp(&other.ended_at));
    ClientsView { clients, ended_clients }
}

fn is_active(session: &Session) -> bool {
    !session.clients.is_empty()
}

/// Seconds since a client last took bytes, or since the last one left; 0 while the first players wait.
fn idle_seconds(session: &Session, now: SystemTime) -> f64 {
    let active = session.clients.iter().map(|client| client.last_active).max();
    active.or(session.idle_since).map_or(0.0, |since| seconds_between(since, now))
}

/// A session as a caller names it: by the id first asked for, by infohash, by any other id known for the broadcast, or
/// by its whole key.
struct Wanted<'a> {
    text: &'a str,
    number: Option<Hex40>,
    infohash: Option<Hex40>,
}

impl<'a> Wanted<'a> {
    fn new(sources: &Sources, text: &'a str) -> Self {
        let number = text.parse().ok();
        let alias = number.map(|n| Alias { selector: Selector::ContentId(n), options: Options::default() });
        let infohash = alias.and_then(|alias| sources.directory.find(&alias)).and_then(|key| key.infohash());
        Self { text, number, infohash }
    }

    fn names(&self, session: &Session) -> bool {
        self.names_stream(&session.key, session.asked_as, session.infohash)
    }

    fn names_ended(&self, ended: &EndedClient) -> bool {
        self.names_stream(&ended.key, ended.asked_as, ended.infohash)
    }

    fn names_stream(&self, key: &StreamKey, asked_as: Selector, infohash: Option<Hex40>) -> bool {
        let infohash = infohash.or(key.infohash());
        let by_number = self.number.is_some()
            && (self.number == Some(asked_as.value())
                || self.number == Some(key.number())
                || self.number == infohash);
        by_number || (infohash.is_some() && infohash == self.infohash) || self.text == key.to_string()
    }
}
