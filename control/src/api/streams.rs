//! Streams as callers of the contract know them: our own sessions and those that other proxies report, from one book.

use super::Sources;
use super::bodies::array;
use super::error::{Detail, Error};
use super::input::{BodyKind, Fields, Input, Keyed, Read, rule};
use crate::streams::remote::Target;
use crate::streams::{Filter, Sample, Shown, State, StopError};
use axum::Json;
use axum::extract::State as From;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::{HeaderValue, header};
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Longest id or address a request may name.
const CHARS_MAX: usize = 4096;
/// Streams stopped with one request, and engines told at once.
const BATCH_MAX: usize = 1000;
const BATCH_AT_ONCE: usize = 16;
/// Figures that are at most so old answer a question for the live position; else the engine is asked.
const FRESH: Duration = Duration::from_secs(5);
const LIVEPOS_TIMEOUT: Duration = Duration::from_secs(5);
const ANALYSIS_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a playback stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct Position {
    /// Whether the engine gives positions of it.
    has_livepos: bool,
    /// Whether it is live.
    is_live: bool,
    /// As the engine gives them.
    #[serde(skip_serializing_if = "Option::is_none")]
    livepos: Option<Value>,
}

/// A stream was stopped.
#[derive(Serialize, ToSchema)]
pub(crate) struct Stopped {
    message: &'static str,
    stream_id: String,
}

/// What became of several stops.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchStopped {
    total: usize,
    success_count: usize,
    failure_count: usize,
    results: Vec<BatchItem>,
}

/// What became of one of them.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchItem {
    command_url: String,
    success: bool,
    message: String,
    stream_id: Option<String>,
}

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Sources> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(batch_stop))
        .routes(routes!(samples))
        .routes(routes!(extended))
        .routes(routes!(livepos))
        .routes(routes!(stop))
}

impl Input for Filter {
    fn read(fields: &mut Fields) -> Option<Self> {
        let status = fields.query("status").optional(rule::pattern(&["started", "ended"]));
        let container_id = fields.query("container_id").optional(rule::string(CHARS_MAX));
        Some(Self { is_active: status.map(|status| status == "started"), container_id })
    }
}

/// Which samples of which stream.
struct Since {
    id: String,
    since: Option<SystemTime>,
}

impl Input for Since {
    fn read(fields: &mut Fields) -> Option<Self> {
        let since = fields.query("since").moment();
        let id = fields.only_path()?;
        Some(Self { id, since })
    }
}

/// Command addresses of streams to stop.
struct Batch(Vec<String>);

impl Input for Batch {
    const BODY: BodyKind = BodyKind::Array;

    fn read(fields: &mut Fields) -> Option<Self> {
        fields.items(rule::string(CHARS_MAX)).map(Self)
    }
}

fn not_found() -> Error {
    Error::NotFound("Stream not found".into())
}

fn refused(error: StopError) -> Error {
    match error {
        StopError::Unknown => not_found(),
        StopError::Ended | StopError::NoCommand => Error::Refused(error.to_string().into()),
    }
}

/// Streams
///
/// In the order of their first registration, with their latest figures; those that ended stay for an hour.
#[utoipa::path(
    get,
    path = "/streams",
    tag = "streams",
    params(
        ("status" = Option<String>, Query, description = "`started` or `ended`; both without it"),
        ("container_id" = Option<String>, Query, description = "Only those on this engine"),
    ),
    responses((status = 200, body = Vec<State>))
)]
async fn list(From(sources): From<Sources>, Read(filter): Read<Filter>) -> Response {
    // Each stream is written once for everybody who asks, not once per answer: thousands of them are put together here.
    let body = if filter.is_active.is_none() && filter.container_id.is_none() {
        sources.bodies.streams(&sources)
    } else {
        let shown = sources.streams.list(&filter);
        array(shown.iter().map(|shown| shown.json())).into()
    };
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// Figures of a stream over time
///
/// Oldest first, one a second, or fewer with more than a hundred streams on a shard; of a stream from before a restart one in
/// ten seconds. An unknown stream has none.
#[utoipa::path(
    get,
    path = "/streams/{stream_id}/stats",
    tag = "streams",
    params(
        ("stream_id" = String, Path, description = "The stream"),
        ("since" = Option<String>, Query, description = "Only from this moment on; UTC when it has no zone"),
    ),
    responses(
        (status = 200, body = Vec<Sample>),
        (status = 503, description = "What is stored cannot be read", body = Detail),
    )
)]
async fn samples(From(sources): From<Sources>, Read(wanted): Read<Since>) -> Result<Response, Error> {
    let found = sources.streams.samples(&wanted.id, wanted.since).await;
    let found = found.map_err(|error| Error::Unavailable(error.to_string().into()))?;
    Ok(Json(found).into_response())
}

/// What the engine knows of the content
#[utoipa::path(
    get,
    path = "/streams/{stream_id}/extended-stats",
    tag = "streams",
    params(("stream_id" = String, Path, description = "The stream")),
    responses(
        (status = 200, description = "Whatever the engine says: title, mime type, categories, …", body = Object),
        (status = 400, description = "Its engine cannot be asked", body = Detail),
        (status = 404, description = "No such stream", body = Detail),
        (status = 503, description = "Its engine does not answer", body = Detail),
    )
)]
async fn extended(
    From(sources): From<Sources>,
    Read(id): Read<String>,
) -> Result<Json<Map<String, Value>>, Error> {
    let shown = sources.streams.get(&id).ok_or_else(not_found)?;
    let target = stat_target(&shown)?;
    let unavailable = || Error::Unavailable("Unable to fetch extended stats from AceStream engine".into());
    let infohash = match shown.stream.start.infohash {
        Some(infohash) => infohash.to_string(),
        None => {
            let answer = target.json(LIVEPOS_TIMEOUT).await.map_err(|_| unavailable())?;
            infohash_in(&answer).ok_or_else(unavailable)?
        }
    };
    let path =
        format!("/server/api?api_version=3&method=analyze_content&query=acestream:?infohash={infohash}");
    let answer = target.with_path(path).json(ANALYSIS_TIMEOUT).await;
    match answer.ok().and_then(|mut answer| answer.get_mut("result").map(Value::take)) {
        Some(Value::Object(result)) => {
            Ok(Json(result.into_iter().filter(|(_, value)| !value.is_null()).collect()))
        }
        _ => Err(unavailable()),
    }
}

/// Live position of a stream
///
/// From its latest figures; where there are none, its engine is asked now.
#[utoipa::path(
    get,
    path = "/streams/{stream_id}/livepos",
    tag = "streams",
    params(("stream_id" = String, Path, description = "The stream")),
    responses(
        (status = 200, body = Position),
        (status = 400, description = "Its engine cannot be asked", body = Detail),
        (status = 404, description = "No such stream", body = Detail),
        (status = 503, description = "Its engine does not answer", body = Detail),
    )
)]
async fn livepos(From(sources): From<Sources>, Read(id): Read<String>) -> Result<Json<Position>, Error> {
    let shown = sources.streams.get(&id).ok_or_else(not_found)?;
    let is_fresh = |sample: &Arc<Sample>| sample.at.elapsed().is_ok_and(|age| age <= FRESH);
    let latest = shown.latest.as_ref().filter(|sample| shown.stream.is_active() && is_fresh(sample));
    if let Some(latest) = latest {
        let livepos = latest.livepos.as_deref().and_then(|position| serde_json::to_value(position).ok());
        let is_live = shown.stream.start.is_live;
        return Ok(Json(Position { has_livepos: livepos.is_some(), is_live, livepos }));
    }
    let failed = |text: String| Error::Unavailable(format!("Failed to fetch livepos data: {text}").into());
    let answer =
        stat_target(&shown)?.json(LIVEPOS_TIMEOUT).await.map_err(|error| failed(error.to_string()))?;
    let Some(response) = answer.get("response").and_then(Value::as_object).filter(|found| !found.is_empty())
    else {
        return Err(failed("the engine has no figures of it".to_owned()));
    };
    let livepos = response.get("livepos").filter(|position| position.is_object()).cloned();
    let is_live = response.get("is_live").and_then(Value::as_i64) == Some(1);
    Ok(Json(Position { has_livepos: livepos.is_some(), is_live, livepos }))
}

/// Stop a stream
///
/// A session of ours ends with its players; another proxy's is stopped at its engine.
#[utoipa::path(
    delete,
    path = "/streams/{stream_id}",
    tag = "streams",
    params(("stream_id" = String, Path, description = "The stream")),
    responses(
        (status = 200, body = Stopped),
        (status = 400, description = "It has ended, or takes no commands", body = Detail),
        (status = 404, description = "No such stream", body = Detail),
    )
)]
async fn stop(From(sources): From<Sources>, Keyed(id): Keyed<String>) -> Result<Json<Stopped>, Error> {
    sources.streams.stop(&id, "manual_stop_via_api").await.map_err(refused)?;
    Ok(Json(Stopped { message: "Stream stopped successfully", stream_id: id }))
}

/// Stop several streams
///
/// Each by the address its engine takes commands at.
#[utoipa::path(
    post,
    path = "/streams/batch-stop",
    tag = "streams",
    request_body(content = Vec<String>, description = "Command addresses"),
    responses((status = 200, body = BatchStopped))
)]
async fn batch_stop(
    From(sources): From<Sources>,
    Keyed(Batch(urls)): Keyed<Batch>,
) -> Result<Json<BatchStopped>, Error> {
    if urls.len() > BATCH_MAX {
        return Err(Error::Refused(format!("at most {BATCH_MAX} streams are stopped at once").into()));
    }
    let stops = urls.into_iter().map(|url| stop_by_command(&sources, url));
    let results: Vec<BatchItem> = futures_util::stream::iter(stops).buffered(BATCH_AT_ONCE).collect().await;
    let success_count = results.iter().filter(|item| item.success).count();
    let failure_count = results.len() - success_count;
    Ok(Json(BatchStopped { total: results.len(), success_count, failure_count, results }))
}

async fn stop_by_command(sources: &Sources, command_url: String) -> BatchItem {
    let found = sources.streams.by_command_url(&command_url);
    let stream_id = found.map(|shown| shown.stream.id().to_owned());
    let outcome = match &stream_id {
        Some(id) => sources.streams.stop(id, "batch_stop_via_api").await,
        None => Err(StopError::Unknown),
    };
    let message = match &outcome {
        Ok(()) => "Stream stopped successfully".to_owned(),
        Err(error) => error.to_string(),
    };
    BatchItem { command_url, success: outcome.is_ok(), message, stream_id }
}

fn stat_target(shown: &Shown) -> Result<Target, Error> {
    let url = &shown.stream.start.stat_url;
    if url.is_empty() {
        return Err(Error::Refused("Stream has no stat URL".into()));
    }
    Target::parse(url).ok_or_else(|| Error::Refused("Stream has no stat URL that can be asked".into()))
}

/// The first infohash anywhere in an answer; answers nest a few levels at most, as the parser sees to.
fn infohash_in(value: &Value) -> Option<String> {
    match value {
        Value::Object(object) => {
            let here = object.get("infohash").and_then(Value::as_str).filter(|text| !text.is_empty());
            // It goes into an address, so that it has to be what it should.
            let here = here.and_then(|text| text.parse::<sluice_contract::Hex40>().ok());
            here.map(|infohash| infohash.to_string()).or_else(|| object.values().find_map(infohash_in))
        }
        Value::Array(items) => items.iter().find_map(infohash_in),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Guards: the infohash is found wherever an engine puts it, and nothing else is taken for one.
    #[test]
    fn the_infohash_is_found_anywhere() {
        let hash = "ab".repeat(20);
        for answer in [
            json!({ "infohash": hash }),
            json!({ "response": [1, { "x": { "infohash": hash.to_uppercase() } }] }),
        ] {
            assert_eq!(infohash_in(&answer).as_deref(), Some(&*hash), "{answer}");
        }
        for answer in
            [json!({}), json!({ "infohash": "" }), json!({ "infohash": "a&method=stop" }), json!("infohash")]
        {
            assert_eq!(infohash_in(&answer), None, "{answer}");
        }
    }
}
