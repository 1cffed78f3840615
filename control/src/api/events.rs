//! Events: what other proxies report, the log of what happened, and the live feed of changes.

use super::Sources;
use super::error::{Detail, Error};
use super::input::{BodyKind, Fields, Input, Keyed, Read, rule};
use super::looks::Beat;
use super::time::rfc3339;
use crate::events::{Entry, Filter, Item, Position, Subscription};
use crate::streams::{EndReport, KeyType, Report, State};
use axum::Json;
use axum::extract::State as From;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Longest name, in characters.
const NAME_MAX: usize = 256;
/// Longest address, key or label.
const CHARS_MAX: usize = 4096;
const LABELS_MAX: usize = 256;
const LIMIT_MAX: i64 = 1000;
const DAYS_MAX: i64 = 36_500;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Between two signs of life of a feed in which nothing happens, at most.
const FEED_SILENCE_MAX: Duration = Duration::from_secs(15);
const FIGURES_SECONDS_MAX: i64 = 60;

/// What became of the report of an end.
#[derive(Serialize, ToSchema)]
pub(crate) struct Updated<'a> {
    /// Whether a stream ended with it.
    updated: bool,
    /// The stream that was meant.
    stream: Option<State<'a>>,
}

/// Counts of the event log.
#[derive(Serialize, ToSchema)]
pub(crate) struct Counted {
    total: usize,
    by_type: BTreeMap<&'static str, usize>,
    oldest: Option<String>,
    newest: Option<String>,
}

/// Old entries were removed.
#[derive(Serialize, ToSchema)]
pub(crate) struct Cleaned {
    deleted: usize,
    message: String,
}

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Sources> {
    OpenApiRouter::new()
        .routes(routes!(stream_started))
        .routes(routes!(stream_ended))
        .routes(routes!(log))
        .routes(routes!(stats))
        .routes(routes!(cleanup))
        .routes(routes!(feed))
}

impl Input for Report {
    const BODY: BodyKind = BodyKind::Object;

    fn read(fields: &mut Fields) -> Option<Self> {
        let container_id = fields.body("container_id").optional(rule::string(NAME_MAX));
        let engine = fields.nested("engine").map(|mut engine| {
            let host = engine.body("host").required(rule::string(NAME_MAX));
            host.zip(engine.body("port").required(rule::int(0..=65_535)))
        });
        let stream = fields.nested("stream").map(|mut stream| {
            let key_type = stream.body("key_type").required(rule::choice(&KeyType::NAMES));
            key_type.zip(stream.body("key").required(rule::string(CHARS_MAX)))
        });
        let session = fields.nested("session").map(|mut session| {
            let playback = session.body("playback_session_id").required(rule::string(NAME_MAX));
            let stat_url = session.body("stat_url").required(rule::http_url(CHARS_MAX));
            let command_url = session.body("command_url").required(rule::http_url(CHARS_MAX));
            let is_live = session.body("is_live").required(rule::int(i64::MIN..=i64::MAX));
            Some((playback?, stat_url?, command_url?, is_live? != 0))
        });
        let labels = fields.body("labels").optional(rule::texts(LABELS_MAX, CHARS_MAX)).unwrap_or_default();
        if let Some(mut labels) = labels.contains_key("stream_id").then(|| fields.nested("labels")).flatten()
        {
            labels.body("stream_id").optional(rule::string(NAME_MAX));
        }
        let ((host, port), (key_type, key)) = (engine??, stream??);
        let (playback_session_id, stat_url, command_url, is_live) = session??;
        Some(Self {
            container_id,
            host,
            port: u16::try_from(port).unwrap_or_default(),
            key_type: KeyType::from_name(key_type)?,
            key,
            playback_session_id,
            stat_url,
            command_url,
            is_live,
            labels,
        })
    }
}

impl Input for EndReport {
    const BODY: BodyKind = BodyKind::Object;

    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Self {
            container_id: fields.body("container_id").optional(rule::string(NAME_MAX)),
            stream_id: fields.body("stream_id").optional(rule::string(2 * CHARS_MAX)),
            reason: fields.body("reason").optional(rule::string(NAME_MAX)),
        })
    }
}

impl Input for Filter {
    fn read(fields: &mut Fields) -> Option<Self> {
        let text = |fields: &mut Fields, name| fields.query(name).optional(rule::string(CHARS_MAX));
        let limit = fields.query("limit").or(rule::int(1..=LIMIT_MAX), 100);
        let offset = fields.query("offset").or(rule::int(0..=i64::MAX), 0);
        Some(Self {
            limit: usize::try_from(limit).unwrap_or_default(),
            offset: usize::try_from(offset).unwrap_or(usize::MAX),
            event_type: text(fields, "event_type"),
            category: text(fields, "category"),
            container_id: text(fields, "container_id"),
            stream_id: text(fields, "stream_id"),
            since: fields.query("since").moment(),
        })
    }
}

/// How old entries may be, in days.
struct Age(i64);

impl Input for Age {
    const BODY: BodyKind = BodyKind::Either;

    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Self(fields.either("max_age_days").or(rule::int(1..=DAYS_MAX), 30)))
    }
}

/// Report a stream that starts
///
/// From another proxy. `container_id` may be the engine's or the reporter's own; the engine is found by host and port.
/// Repeating it starts the same stream anew.
#[utoipa::path(
    post,
    path = "/events/stream_started",
    tag = "events",
    request_body(content = Object, description = "`container_id`, `engine` (`host`, `port`), `stream` (`key_type`, `key`), \
        `session` (`playback_session_id`, `stat_url`, `command_url`, `is_live`), `labels`"),
    responses(
        (status = 200, body = State),
        (status = 503, description = "Too many streams play", body = Detail),
    )
)]
async fn stream_started(
    From(sources): From<Sources>,
    Keyed(report): Keyed<Report>,
) -> Result<Response, Error> {
    let shown = sources.streams.report(report).map_err(|full| Error::Unavailable(full.to_string().into()))?;
    Ok(Json(shown.state(false)).into_response())
}

/// Report a stream that ended
///
/// From another proxy. Without `stream_id` the newest stream that this `container_id` reported is meant. A stream that is
/// unknown, ended, or one of our own sessions is left as it is.
#[utoipa::path(
    post,
    path = "/events/stream_ended",
    tag = "events",
    request_body(content = Object, description = "`container_id`, `stream_id`, `reason`"),
    responses((status = 200, body = Updated))
)]
async fn stream_ended(From(sources): From<Sources>, Keyed(report): Keyed<EndReport>) -> Response {
    let (updated, shown) = sources.streams.report_end(&report);
    Json(Updated { updated, stream: shown.as_deref().map(|shown| shown.state(true)) }).into_response()
}

/// The event log
///
/// Newest first. A value no entry has gives an empty list.
#[utoipa::path(
    get,
    path = "/events",
    tag = "events",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 1000, 100 without it"),
        ("offset" = Option<u32>, Query, description = "Entries left out"),
        ("event_type" = Option<String>, Query, description = "`engine`, `stream`, `vpn`, `health` or `system`"),
        ("category" = Option<String>, Query, description = "Exactly"),
        ("container_id" = Option<String>, Query, description = "Exactly"),
        ("stream_id" = Option<String>, Query, description = "Exactly"),
        ("since" = Option<String>, Query, description = "Only from this moment on; UTC when it has no zone"),
    ),
    responses((status = 200, body = Vec<Entry>))
)]
async fn log(From(sources): From<Sources>, Read(filter): Read<Filter>) -> Response {
    let found = sources.events.find(&filter);
    let found: Vec<&Entry> = found.iter().map(AsRef::as_ref).collect();
    Json(found).into_response()
}

/// Counts of the event log
#[utoipa::path(get, path = "/events/stats", tag = "events", responses((status = 200, body = Counted)))]
async fn stats(From(sources): From<Sources>, Read(()): Read<()>) -> Json<Counted> {
    let counts = sources.events.counts();
    Json(Counted {
        total: counts.total,
        by_type: counts.by_type.iter().map(|(event_type, count)| (event_type.as_str(), *count)).collect(),
        oldest: counts.oldest.map(rfc3339),
        newest: counts.newest.map(rfc3339),
    })
}

/// Remove old entries of the event log
#[utoipa::path(
    post,
    path = "/events/cleanup",
    tag = "events",
    params(("max_age_days" = Option<u32>, Query, description = "Older ones go; 30 without it")),
    responses((status = 200, body = Cleaned))
)]
async fn cleanup(From(sources): From<Sources>, Keyed(Age(days)): Keyed<Age>) -> Json<Cleaned> {
    let deleted = sources.events.remove_older(DAY * u32::try_from(days).unwrap_or(u32::MAX));
    let message = format!("Cleaned up {deleted} events older than {days} days");
    Json(Cleaned { deleted, message })
}

/// How often a follower wants figures too.
struct Figures(Option<Duration>);

impl Input for Figures {
    fn read(fields: &mut Fields) -> Option<Self> {
        let seconds = fields.query("figures").optional(rule::int(1..=FIGURES_SECONDS_MAX));
        Some(Self(seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs)))
    }
}

/// Follow changes
///
/// Server-sent events: `event` (a new entry of the log), `stream` (a stream that started or ended), `engine`, `provision`,
/// `pull`, `reprovision`, `looping`, `storage`, each with an id. `Last-Event-ID` goes on after that one. `missed` tells how many
/// changes went by that can no longer be given (`count`, `null` when nobody knows): read the lists anew then. `ready` comes
/// first. With `figures` there is a `look` every so many seconds: `streams` as in `/proxy/status`, `engines` as in `/engines`,
/// `figures` as in `/metrics`, the first one whole, then what is new of each (`set`) and what is no more (`gone`, by key, id or
/// series).
#[utoipa::path(
    get,
    path = "/events/stream",
    tag = "events",
    params(
        ("Last-Event-ID" = Option<String>, Header, description = "Where to go on"),
        ("figures" = Option<u32>, Query, description = "Seconds between two looks, 1 to 60; none without it"),
    ),
    responses(
        (status = 200, description = "Changes as they happen", body = String, content_type = "text/event-stream"),
        (status = 503, description = "Too many follow already", body = Detail),
    )
)]
async fn feed(
    From(sources): From<Sources>,
    headers: HeaderMap,
    Read(Figures(period)): Read<Figures>,
) -> Result<Response, Error> {
    let last =
        headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.trim().is_empty());
    // An id that is none of ours is one of which nobody knows what came after it.
    let from = last.map(|id| id.parse::<Position>().unwrap_or(Position::ELSEWHERE));
    let subscription = sources.events.subscribe(from).map_err(|max| {
        Error::Unavailable(format!("{max} clients follow changes already; try again later").into())
    })?;
    let ready = Event::default().event("ready").id(subscription.start().to_string()).data("{}");
    let silence_max = FEED_SILENCE_MAX.min(sources.idle_timeout / 3);
    let beat = period.map(|period| sources.looks.every(period));
    let changes =
        futures_util::stream::unfold(Follower { ready: Some(ready), subscription, beat, sources }, next);
    let mut response = Sse::new(changes).keep_alive(KeepAlive::new().interval(silence_max)).into_response();
    // A proxy in between must not collect what is meant for now.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Somebody who follows, and what is still to be told.
struct Follower {
    ready: Option<Event>,
    subscription: Subscription,
    beat: Option<Beat>,
    sources: Sources,
}

async fn next(mut follower: Follower) -> Option<(Result<Event, Infallible>, Follower)> {
    let event = follower.event().await?;
    Some((Ok(event), follower))
}

impl Follower {
    /// The next event; `None` when the feed is closed.
    async fn event(&mut self) -> Option<Event> {
        if let Some(ready) = self.ready.take() {
            return Some(ready);
        }
        let Self { subscription, beat, sources, .. } = self;
        let item = match beat {
            None => subscription.next().await?,
            Some(beat) => tokio::select! {
                item = subscription.next() => item?,
                () = beat.wait() => return Some(Event::default().event("look").data(&*beat.look(sources).await)),
            },
        };
        Some(match item {
            Item::Delta(delta) => {
                Event::default().event(delta.kind.as_str()).id(delta.position.to_string()).data(&*delta.data)
            }
            Item::Missed { count, position } => {
                let told = json!({ "count": count }).to_string();
                Event::default().event("missed").id(position.to_string()).data(told)
            }
        })
    }
}
