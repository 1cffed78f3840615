//! The appliance itself: version and metrics.

use super::Sources;
use super::input::{Fields, Input, Keyed, Read, rule};
use crate::metrics::Columns;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use serde::Serialize;
use std::borrow::Cow;
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Which program this is.
#[derive(Serialize, ToSchema)]
pub(crate) struct Version {
    /// Version of the appliance.
    version: &'static str,
    /// Its name.
    title: &'static str,
}

/// The constant that monitors of an earlier proxy still read.
#[derive(Serialize, ToSchema)]
pub(crate) struct Acexy {
    enabled: bool,
    deprecated: bool,
    message: &'static str,
    url: Option<String>,
    healthy: Option<bool>,
    last_health_check: Option<String>,
    sync_interval_seconds: Option<u64>,
}

impl Default for Acexy {
    fn default() -> Self {
        Self {
            enabled: false,
            deprecated: true,
            message: "acexy is not needed: this appliance plays by itself",
            url: None,
            healthy: None,
            last_health_check: None,
            sync_interval_seconds: None,
        }
    }
}

/// How the response cache does. There is none: answers are made from snapshots, so every figure is 0.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct CacheStats {
    size: u64,
    hits: u64,
    misses: u64,
    hit_rate: f64,
    #[schema(value_type = Vec<serde_json::Value>)]
    entries: [(); 0],
}

/// What was done.
#[derive(Serialize, ToSchema)]
pub(crate) struct Message {
    #[schema(value_type = String)]
    message: Cow<'static, str>,
}

impl Message {
    /// The answer of a route that says what it did.
    pub(super) fn told(message: impl Into<Cow<'static, str>>) -> Json<Self> {
        Json(Self { message: message.into() })
    }
}

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Sources> {
    OpenApiRouter::new()
        .routes(routes!(version))
        .routes(routes!(metrics))
        .routes(routes!(history))
        .routes(routes!(acexy))
        .routes(routes!(cache_stats))
        .routes(routes!(clear_cache))
}

/// State of an earlier proxy
///
/// A constant, kept for those who still read it.
#[utoipa::path(get, path = "/acexy/status", tag = "service", responses((status = 200, body = Acexy)))]
async fn acexy(Read(()): Read<()>) -> Json<Acexy> {
    Json(Acexy::default())
}

/// Figures of the response cache
#[utoipa::path(get, path = "/cache/stats", tag = "service", responses((status = 200, body = CacheStats)))]
async fn cache_stats(Read(()): Read<()>) -> Json<CacheStats> {
    Json(CacheStats::default())
}

/// Empty the response cache
#[utoipa::path(post, path = "/cache/clear", tag = "service", responses((status = 200, body = Message)))]
async fn clear_cache(Keyed(()): Keyed<()>) -> Json<Message> {
    Message::told("Cache cleared successfully")
}

/// Version of the appliance
#[utoipa::path(get, path = "/version", tag = "service", responses((status = 200, body = Version)))]
async fn version() -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION"), title: "Sluice" })
}

/// Metrics for Prometheus
///
/// OpenMetrics text where `Accept` asks for it, else the older text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "service",
    responses((status = 200, description = "Prometheus exposition", body = String, content_type = "text/plain"))
)]
async fn metrics(State(sources): State<Sources>, headers: HeaderMap, Read(()): Read<()>) -> Response {
    let wants_openmetrics = headers
        .get_all(header::ACCEPT)
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("application/openmetrics-text")));
    let exposition = sources.metrics.expose(wants_openmetrics);
    ([(header::CONTENT_TYPE, exposition.content_type)], exposition.text).into_response()
}

/// Seconds of history somebody wants.
struct Window(Duration);

impl Input for Window {
    fn read(fields: &mut Fields) -> Option<Self> {
        const DEFAULT_S: i64 = 900;
        let seconds = fields.query("window_seconds").or(rule::int(60..=86_400), DEFAULT_S);
        Some(Self(Duration::from_secs(seconds.unsigned_abs())))
    }
}

/// Figures of the last minutes or hours
///
/// One point every five seconds for an hour, means of every minute for a day, and how long joins and gaps took, minute by minute
/// for an hour; kept in fixed memory since the process started. What is not known is `null`.
#[utoipa::path(
    get,
    path = "/metrics/history",
    operation_id = "metrics_history",
    tag = "service",
    params(("window_seconds" = Option<u32>, Query, description = "60 to 86400, 900 without it")),
    responses((status = 200, body = Columns))
)]
async fn history(State(sources): State<Sources>, Read(Window(window)): Read<Window>) -> Json<Columns> {
    Json(sources.metrics.history(window))
}
