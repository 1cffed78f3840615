//! Looking for streams that loop, and the list of those that were found.

use super::Sources;
use super::error::{Detail, Error};
use super::input::{BodyKind, Fields, Input, Keyed, Read, rule};
use crate::streams::looping::Settings;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Longest name of a stream.
const CHARS_MAX: usize = 4096;
/// Longest time that may be asked for, seconds and minutes: ten years.
const SECONDS_MAX: i64 = 315_360_000;

/// How loops are looked for.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoopDetection {
    /// What was done, after a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    enabled: bool,
    /// How long nothing new may come.
    threshold_seconds: u64,
    threshold_minutes: f64,
    threshold_hours: f64,
    check_interval_seconds: u64,
    /// How long a stream stays on the list; 0 is for ever.
    retention_minutes: u64,
}

impl LoopDetection {
    fn new(message: Option<&'static str>, settings: Settings) -> Self {
        let threshold = settings.threshold.as_secs_f64();
        Self {
            message,
            enabled: settings.is_enabled,
            threshold_seconds: settings.threshold.as_secs(),
            threshold_minutes: threshold / 60.0,
            threshold_hours: threshold / 3600.0,
            check_interval_seconds: settings.check_interval.as_secs(),
            retention_minutes: settings.retention.as_secs() / 60,
        }
    }
}

/// Streams that are not played because they loop.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoopingStreams {
    stream_ids: Vec<String>,
    /// When each was last found.
    streams: BTreeMap<String, String>,
    retention_minutes: u64,
    /// What gave each away: `lag`, `frozen` or `repeating`, and its infohash where it is known.
    details: BTreeMap<String, LoopingDetails>,
}

/// What is known of one of them.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoopingDetails {
    evidence: String,
    #[schema(value_type = Option<String>)]
    infohash: Option<sluice_contract::Hex40>,
}

/// What was done.
#[derive(Serialize, ToSchema)]
pub(crate) struct Told {
    message: String,
}

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Sources> {
    OpenApiRouter::new()
        .routes(routes!(config, configure))
        .routes(routes!(list))
        .routes(routes!(remove))
        .routes(routes!(clear))
}

/// Settings that were asked for; what is not named stays.
struct Wanted {
    is_enabled: bool,
    threshold_s: i64,
    check_interval_s: Option<i64>,
    retention_minutes: Option<i64>,
}

impl Input for Wanted {
    const BODY: BodyKind = BodyKind::Either;

    fn read(fields: &mut Fields) -> Option<Self> {
        let number = || rule::int(i64::MIN..=SECONDS_MAX);
        let is_enabled = fields.either("enabled").required(rule::boolean);
        let threshold_s = fields.either("threshold_seconds").required(number());
        let check_interval_s = fields.either("check_interval_seconds").optional(number());
        let retention_minutes = fields.either("retention_minutes").optional(number());
        Some(Self { is_enabled: is_enabled?, threshold_s: threshold_s?, check_interval_s, retention_minutes })
    }
}

impl Wanted {
    /// The settings, or what is wrong with the first that cannot be.
    fn over(&self, present: Settings) -> Result<Settings, Error> {
        let at_least = |value: i64, least: i64, text: &'static str| {
            if value < least { Err(Error::Refused(text.into())) } else { Ok(value.unsigned_abs()) }
        };
        let threshold = at_least(self.threshold_s, 60, "Threshold must be at least 60 seconds")?;
        let interval =
            self.check_interval_s.map(|s| at_least(s, 5, "Check interval must be at least 5 seconds"));
        let retention =
            self.retention_minutes.map(|m| at_least(m, 0, "Retention minutes must be 0 or greater"));
        Ok(Settings {
            is_enabled: self.is_enabled,
            threshold: Duration::from_secs(threshold),
            check_interval: interval.transpose()?.map_or(present.check_interval, Duration::from_secs),
            retention: retention.transpose()?.map_or(present.retention, |m| Duration::from_secs(m * 60)),
        })
    }
}

/// How loops are looked for
#[utoipa::path(
    get,
    path = "/stream-loop-detection/config",
    tag = "looping",
    responses((status = 200, body = LoopDetection))
)]
async fn config(State(sources): State<Sources>, Read(()): Read<()>) -> Json<LoopDetection> {
    Json(LoopDetection::new(None, sources.streams.settings().borrow().looping))
}

/// Change how loops are looked for
///
/// In the query or as a JSON body. All of it holds at once and survives a restart, or nothing is changed.
#[utoipa::path(
    post,
    path = "/stream-loop-detection/config",
    tag = "looping",
    params(
        ("enabled" = Option<bool>, Query, description = "Required, here or in the body"),
        ("threshold_seconds" = Option<u32>, Query, description = "At least 60; required, here or in the body"),
        ("check_interval_seconds" = Option<u32>, Query, description = "At least 5"),
        ("retention_minutes" = Option<u32>, Query, description = "0 is for ever"),
    ),
    responses(
        (status = 200, body = LoopDetection),
        (status = 400, description = "A value is too small", body = Detail),
        (status = 503, description = "It cannot be stored; nothing was changed", body = Detail),
    )
)]
async fn configure(
    State(sources): State<Sources>,
    Keyed(wanted): Keyed<Wanted>,
) -> Result<Json<LoopDetection>, Error> {
    let present = sources.streams.settings().borrow().looping;
    let settings = wanted.over(present)?;
    let stored = sources.streams.set_looping(settings).await;
    stored.map_err(|error| Error::Unavailable(error.to_string().into()))?;
    Ok(Json(LoopDetection::new(Some("Loop detection configuration updated"), settings)))
}

/// Streams that are not played because they loop
#[utoipa::path(get, path = "/looping-streams", tag = "looping", responses((status = 200, body = LoopingStreams)))]
async fn list(State(sources): State<Sources>, Read(()): Read<()>) -> Json<LoopingStreams> {
    let found = sources.streams.looping();
    let retention = sources.streams.settings().borrow().looping.retention;
    Json(LoopingStreams {
        stream_ids: found.iter().map(|(key, _)| key.clone()).collect(),
        streams: found
            .iter()
            .map(|(key, entry)| (key.clone(), super::time::rfc3339(entry.detected_at)))
            .collect(),
        retention_minutes: retention.as_secs() / 60,
        details: found
            .into_iter()
            .map(|(key, entry)| (key, LoopingDetails { evidence: entry.evidence, infohash: entry.infohash }))
            .collect(),
    })
}

/// Let a stream be played again
#[utoipa::path(
    delete,
    path = "/looping-streams/{stream_id}",
    tag = "looping",
    params(("stream_id" = String, Path, description = "The id it was asked for, or its infohash")),
    responses((status = 200, body = Told), (status = 404, description = "It is not on the list", body = Detail))
)]
async fn remove(State(sources): State<Sources>, Keyed(id): Keyed<String>) -> Result<Json<Told>, Error> {
    let name: String = id.chars().take(CHARS_MAX).collect();
    if sources.streams.unblock(&name) {
        Ok(Json(Told { message: format!("Stream {name} removed from looping list") }))
    } else {
        Err(Error::NotFound(format!("Stream {name} not found in looping list").into()))
    }
}

/// Let every stream be played again
#[utoipa::path(post, path = "/looping-streams/clear", tag = "looping", responses((status = 200, body = Told)))]
async fn clear(State(sources): State<Sources>, Keyed(()): Keyed<()>) -> Json<Told> {
    sources.streams.unblock_all();
    Json(Told { message: "All looping streams cleared".to_owned() })
}
