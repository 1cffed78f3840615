//! Settings that can be changed while the appliance runs, and the backup of all of them.
//!
//! Values come as query parameters or as a JSON body, whichever a client was written for.

use super::Sources;
use super::error::{Detail, Error};
use super::input::{BodyKind, Fields, Input, Keyed, Read, raw, rule};
use super::time::rfc3339;
use crate::settings::archive::{self, Imported, Parts};
use crate::settings::fields::{self, Kind};
use crate::settings::{self, Group, Values};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::SystemTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Characters of a word.
const WORD_CHARS_MAX: usize = 256;
/// Characters of an address.
const ADDRESS_CHARS_MAX: usize = 2048;
/// What engines are told to be asked by, and sizes older clients show.
const USER_AGENT: &str = "VLC/3.0.21 LibVLC/3.0.21";

/// How streams are played. `sources` tells for each value whether it is the `default`, from the `environment`, or was changed
/// through the `api`.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes an answer, which is made from the table of settings")]
pub(crate) struct ProxyConfig {
    initial_data_wait_timeout: i64,
    initial_data_check_interval: f64,
    no_data_timeout_checks: i64,
    no_data_check_interval: f64,
    connection_timeout: i64,
    stream_timeout: i64,
    channel_shutdown_delay: i64,
    max_streams_per_engine: i64,
    join_behind_s: f64,
    stream_mode: String,
    hls_max_segments: i64,
    hls_initial_segments: i64,
    hls_window_size: i64,
    hls_buffer_ready_timeout: i64,
    hls_first_segment_timeout: i64,
    hls_initial_buffer_seconds: i64,
    hls_max_initial_segments: i64,
    hls_segment_fetch_interval: f64,
    vlc_user_agent: String,
    chunk_size: i64,
    buffer_chunk_size: i64,
    redis_chunk_ttl: i64,
    engine_variant: String,
    sources: std::collections::BTreeMap<String, String>,
    /// What is kept and does nothing in this version.
    without_effect: Vec<String>,
}

/// Finding streams that repeat.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes an answer, which is made from the table of settings")]
pub(crate) struct LoopConfig {
    enabled: bool,
    threshold_seconds: i64,
    threshold_minutes: f64,
    threshold_hours: f64,
    check_interval_seconds: i64,
    retention_minutes: i64,
    sources: std::collections::BTreeMap<String, String>,
    /// What is kept and does nothing in this version.
    without_effect: Vec<String>,
}

/// Engines kept in Docker.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes an answer, which is made from the table of settings")]
pub(crate) struct EngineSettings {
    min_replicas: i64,
    max_replicas: i64,
    auto_delete: bool,
    engine_variant: String,
    use_custom_variant: bool,
    platform: String,
    sources: std::collections::BTreeMap<String, String>,
    /// What is kept and does nothing in this version.
    without_effect: Vec<String>,
}

/// The appliance itself.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes an answer, which is made from the table of settings")]
pub(crate) struct OrchestratorSettings {
    debug_mode: bool,
    otlp_endpoint: String,
    sources: std::collections::BTreeMap<String, String>,
    /// What is kept and does nothing in this version.
    without_effect: Vec<String>,
}

/// What came of an import.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImportAnswer {
    message: &'static str,
    imported: Imported,
}

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Sources> {
    OpenApiRouter::new()
        .routes(routes!(table))
        .routes(routes!(proxy, set_proxy))
        .routes(routes!(loops, set_loops))
        .routes(routes!(engine, set_engine))
        .routes(routes!(orchestrator, set_orchestrator))
        .routes(routes!(export))
        .routes(routes!(import))
}

/// Reads what a request says of the settings of a group.
fn read(fields: &mut Fields, group: Group, required: &[&str]) -> Values {
    let mut values = Values::new();
    for setting in fields::of(group) {
        let field = fields.either(setting.name);
        let rule = |value: &Value| match setting.kind {
            Kind::Int(..) | Kind::Seconds(..) => rule::int(i64::MIN..=i64::MAX)(value).map(Value::from),
            Kind::Float(..) | Kind::FloatSeconds(..) => rule::float(value).map(Value::from),
            Kind::Bool => rule::boolean(value).map(Value::from),
            Kind::Choice(_) => rule::string(WORD_CHARS_MAX)(value).map(Value::from),
            Kind::Endpoint => rule::string(ADDRESS_CHARS_MAX)(value).map(Value::from),
        };
        let value =
            if required.contains(&setting.name) { field.required(rule) } else { field.optional(rule) };
        values.extend(value.map(|value| (setting.name.to_owned(), value)));
    }
    values
}

/// Settings of the proxy in a request.
struct ProxyChange(Values);

impl Input for ProxyChange {
    const BODY: BodyKind = BodyKind::Either;

    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Self(read(fields, Group::Proxy, &[])))
    }
}

/// Settings of loop detection in a request.
struct LoopChange(Values);

impl Input for LoopChange {
    const BODY: BodyKind = BodyKind::Either;

    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Self(read(fields, Group::Loop, &["enabled", "threshold_seconds"])))
    }
}

/// Settings of engines in a request.
struct EngineChange(Values);

impl Input for EngineChange {
    const BODY: BodyKind = BodyKind::Object;

    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Self(read(fields, Group::Engine, &[])))
    }
}

/// Settings of the appliance itself in a request.
struct OrchestratorChange(Values);

impl Input for OrchestratorChange {
    const BODY: BodyKind = BodyKind::Object;

    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Self(read(fields, Group::Orchestrator, &[])))
    }
}

fn shown(sources: &Sources, group: Group) -> Values {
    let (mut values, origins) = sources.settings.group(group);
    match group {
        Group::Proxy => {
            let (engine, _) = sources.settings.group(Group::Engine);
            values.extend([
                ("vlc_user_agent".to_owned(), json!(USER_AGENT)),
                ("chunk_size".to_owned(), json!(8192)),
                ("buffer_chunk_size".to_owned(), json!(1_061_072)),
                ("redis_chunk_ttl".to_owned(), json!(60)),
                ("engine_variant".to_owned(), engine["engine_variant"].clone()),
            ]);
        }
        Group::Loop => {
            let seconds = values["threshold_seconds"].as_f64().unwrap_or_default();
            values.insert("threshold_minutes".to_owned(), json!(seconds / 60.0));
            values.insert("threshold_hours".to_owned(), json!(seconds / 3600.0));
        }
        Group::Engine => {
            values.insert("platform".to_owned(), json!(settings::variant::platform()));
        }
        Group::Orchestrator => {}
    }
    values.insert("sources".to_owned(), json!(origins));
    let inert = fields::of(group).filter(|field| !field.acts()).map(|field| field.name);
    values.insert("without_effect".to_owned(), inert.collect());
    values
}

async fn changed(
    sources: &Sources,
    group: Group,
    values: &Values,
    message: &str,
) -> Result<Json<Values>, Error> {
    sources.settings.change(group, values).await?;
    let mut shown = shown(sources, group);
    shown.insert("message".to_owned(), json!(message));
    Ok(Json(shown))
}

impl From<settings::Error> for Error {
    fn from(error: settings::Error) -> Self {
        match error {
            settings::Error::Refused(text) => Self::Refused(text.into()),
            settings::Error::Pinned => Self::Conflict(error.to_string().into()),
            settings::Error::NoTemplate(_) => Self::NotFound(error.to_string().into()),
            settings::Error::Store(error) => {
                Self::Unavailable(format!("nothing was changed: {error}").into())
            }
        }
    }
}

/// One setting, what it is and what it may be.
#[derive(Serialize, ToSchema)]
pub(crate) struct Setting {
    /// `proxy`, `loop_detection`, `engine` or `orchestrator`.
    group: &'static str,
    /// Its name in the routes of its group.
    name: &'static str,
    #[schema(value_type = serde_json::Value)]
    value: Value,
    /// `default`, `environment` or `api`.
    source: &'static str,
    /// What holds when nobody sets it.
    #[schema(value_type = serde_json::Value)]
    default: Value,
    /// `integer`, `number`, `boolean`, `choice` or `text`.
    kind: &'static str,
    /// Smallest allowed.
    min: Option<f64>,
    /// Largest allowed, where that is bounded.
    max: Option<f64>,
    /// What there is to choose from.
    #[schema(value_type = Vec<String>)]
    choices: &'static [&'static str],
    /// Whether it does anything in this version.
    acts: bool,
    /// The variables of the environment that set it, the preferred one first.
    #[schema(value_type = Vec<String>)]
    variables: &'static [&'static str],
}

/// Every setting that can be changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct SettingsTable {
    /// Whether all of them are pinned to the environment.
    is_pinned: bool,
    settings: Vec<Setting>,
}

impl Setting {
    fn new(sources: &Sources, field: &'static settings::Field) -> Self {
        let (value, source) = sources.settings.value(field);
        let whole = |bound: i64| Some(bound as f64).filter(|_| bound < i64::MAX);
        let (kind, min, max, choices): (_, _, _, &[&str]) = match field.kind {
            Kind::Int(min, max) | Kind::Seconds(min, max) => ("integer", whole(min), whole(max), &[]),
            Kind::Float(min, max) | Kind::FloatSeconds(min, max) => ("number", Some(min), Some(max), &[]),
            Kind::Bool => ("boolean", None, None, &[]),
            Kind::Choice(words) => ("choice", None, None, words),
            Kind::Endpoint => ("text", None, None, &[]),
        };
        Self {
            group: field.group.as_str(),
            name: field.name,
            value,
            source: source.as_str(),
            default: field.default(),
            kind,
            min,
            max,
            choices,
            acts: field.acts(),
            variables: field.variables,
        }
    }
}

/// Every setting that can be changed
///
/// With its bounds, its default and where its value comes from; `/proxy/config`, `/stream-loop-detection/config`,
/// `/settings/engine` and `/settings/orchestrator` change them.
#[utoipa::path(get, path = "/settings", tag = "settings", responses((status = 200, body = SettingsTable)))]
async fn table(State(sources): State<Sources>, Read(()): Read<()>) -> Json<SettingsTable> {
    let settings = fields::FIELDS.iter().map(|field| Setting::new(&sources, field)).collect();
    Json(SettingsTable { is_pinned: sources.settings.is_pinned(), settings })
}

/// Settings of playing
#[utoipa::path(get, path = "/proxy/config", tag = "settings", responses((status = 200, body = ProxyConfig)))]
async fn proxy(State(sources): State<Sources>, Read(()): Read<()>) -> Json<Values> {
    Json(shown(&sources, Group::Proxy))
}

/// Change settings of playing
///
/// Every value may be left out, and may come as query parameter or in the body. All are taken, or none. They hold for new
/// streams.
#[utoipa::path(
    post,
    path = "/proxy/config",
    tag = "settings",
    params(
        ("channel_shutdown_delay" = Option<i64>, Query, description = "Seconds a stream outlives its last player, 0 to 3600"),
        ("max_streams_per_engine" = Option<i64>, Query, description = "1 to 20"),
        ("stream_mode" = Option<String>, Query, description = "`TS` or `HLS`"),
        ("no_data_timeout_checks" = Option<i64>, Query, description = "Times the interval a stream may be silent, 5 to 600"),
        ("no_data_check_interval" = Option<f64>, Query, description = "Seconds, 0.01 to 1"),
    ),
    request_body(content = Option<Object>, description = "The same names and those of the answer"),
    responses(
        (status = 200, body = ProxyConfig),
        (status = 400, description = "A value is outside of its bounds; nothing was changed", body = Detail),
        (status = 409, description = "Settings are pinned to the environment", body = Detail),
        (status = 503, description = "The change could not be stored; nothing was changed", body = Detail),
    )
)]
async fn set_proxy(
    State(sources): State<Sources>,
    Keyed(ProxyChange(values)): Keyed<ProxyChange>,
) -> Result<Json<Values>, Error> {
    changed(&sources, Group::Proxy, &values, "Proxy configuration updated and persisted").await
}

/// Settings of loop detection
#[utoipa::path(
    get,
    path = "/stream-loop-detection/config",
    tag = "settings",
    responses((status = 200, body = LoopConfig))
)]
async fn loops(State(sources): State<Sources>, Read(()): Read<()>) -> Json<Values> {
    Json(shown(&sources, Group::Loop))
}

/// Change settings of loop detection
///
/// Values may come as query parameters or in the body. All are taken, or none.
#[utoipa::path(
    post,
    path = "/stream-loop-detection/config",
    tag = "settings",
    params(
        ("enabled" = Option<bool>, Query, description = "Required, here or in the body"),
        ("threshold_seconds" = Option<i64>, Query, description = "Required, here or in the body; at least 60"),
        ("check_interval_seconds" = Option<i64>, Query, description = "At least 5"),
        ("retention_minutes" = Option<i64>, Query, description = "0 is for ever"),
    ),
    request_body(content = Option<Object>, description = "The same names"),
    responses(
        (status = 200, body = LoopConfig),
        (status = 400, description = "A value is outside of its bounds; nothing was changed", body = Detail),
        (status = 409, description = "Settings are pinned to the environment", body = Detail),
        (status = 503, description = "The change could not be stored; nothing was changed", body = Detail),
    )
)]
async fn set_loops(
    State(sources): State<Sources>,
    Keyed(LoopChange(values)): Keyed<LoopChange>,
) -> Result<Json<Values>, Error> {
    changed(&sources, Group::Loop, &values, "Stream loop detection configuration updated").await
}

/// Settings of engines
#[utoipa::path(
    get,
    path = "/settings/engine",
    operation_id = "engine_settings",
    tag = "settings",
    responses((status = 200, body = EngineSettings))
)]
async fn engine(State(sources): State<Sources>, Read(()): Read<()>) -> Json<Values> {
    Json(shown(&sources, Group::Engine))
}

/// Change settings of engines
///
/// Every value may be left out. All are taken, or none.
#[utoipa::path(
    post,
    path = "/settings/engine",
    tag = "settings",
    request_body(content = Object, description = "`min_replicas`, `max_replicas`, `auto_delete`, `engine_variant`, `use_custom_variant`"),
    responses(
        (status = 200, body = EngineSettings),
        (status = 400, description = "A value is not allowed; nothing was changed", body = Detail),
        (status = 409, description = "Settings are pinned to the environment", body = Detail),
        (status = 503, description = "The change could not be stored; nothing was changed", body = Detail),
    )
)]
async fn set_engine(
    State(sources): State<Sources>,
    Keyed(EngineChange(values)): Keyed<EngineChange>,
) -> Result<Json<Values>, Error> {
    changed(&sources, Group::Engine, &values, "Engine settings updated and persisted").await
}

/// Settings of the appliance itself
#[utoipa::path(
    get,
    path = "/settings/orchestrator",
    operation_id = "orchestrator_settings",
    tag = "settings",
    responses((status = 200, body = OrchestratorSettings))
)]
async fn orchestrator(State(sources): State<Sources>, Read(()): Read<()>) -> Json<Values> {
    Json(shown(&sources, Group::Orchestrator))
}

/// Change settings of the appliance itself
///
/// Every value may be left out. All are taken, or none. They hold at once.
#[utoipa::path(
    post,
    path = "/settings/orchestrator",
    tag = "settings",
    request_body(
        content = Object,
        description = "`debug_mode`: everything is written down, see DEBUG_MODE. `otlp_endpoint`: where the traces of plays are \
                       sent, `http://host:port`; empty for nowhere"
    ),
    responses(
        (status = 200, body = OrchestratorSettings),
        (status = 400, description = "A value is not allowed; nothing was changed", body = Detail),
        (status = 409, description = "Settings are pinned to the environment", body = Detail),
        (status = 503, description = "The change could not be stored; nothing was changed", body = Detail),
    )
)]
async fn set_orchestrator(
    State(sources): State<Sources>,
    Keyed(OrchestratorChange(values)): Keyed<OrchestratorChange>,
) -> Result<Json<Values>, Error> {
    changed(&sources, Group::Orchestrator, &values, "Orchestrator settings updated and persisted").await
}

/// Download a backup of all settings
#[utoipa::path(
    get,
    path = "/settings/export",
    tag = "settings",
    responses(
        (status = 200, description = "A ZIP archive", body = Vec<u8>, content_type = "application/zip"),
        (status = 500, description = "It could not be made", body = Detail),
    )
)]
async fn export(State(sources): State<Sources>, Keyed(()): Keyed<()>) -> Result<Response, Error> {
    let date = rfc3339(SystemTime::now());
    let archive = archive::export(&sources.settings, &date)
        .map_err(|error| Error::Internal(format!("Failed to export settings: {error}").into()))?;
    // 2026-02-01T10:20:30.123456Z
    let stamp: String = date.chars().take(19).filter(|c| c.is_ascii_alphanumeric()).collect();
    let name = format!("attachment; filename=\"orchestrator_settings_{}.zip\"", stamp.replace('T', "_"));
    let headers = [(header::CONTENT_TYPE, "application/zip".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, archive).into_response())
}

/// An archive and what is to be taken from it.
struct Archive(Bytes, Parts);

impl Input for Archive {
    const BODY: BodyKind = BodyKind::Raw;

    fn read(fields: &mut Fields) -> Option<Self> {
        let mut part = |name| fields.query(name).or(rule::boolean, true);
        let parts = Parts {
            variant: part("import_custom_variant"),
            templates: part("import_templates"),
            proxy: part("import_proxy"),
            loops: part("import_loop_detection"),
            engine: part("import_engine"),
            orchestrator: part("import_orchestrator"),
        };
        Some(Self(raw(fields), parts))
    }
}

/// Restore a backup
///
/// The archive itself is the body. Everything asked for is taken, or nothing: then `errors` says why.
#[utoipa::path(
    post,
    path = "/settings/import",
    tag = "settings",
    params(
        ("import_custom_variant" = Option<bool>, Query, description = "Default true"),
        ("import_templates" = Option<bool>, Query, description = "Default true; which one is active goes with them"),
        ("import_proxy" = Option<bool>, Query, description = "Default true"),
        ("import_loop_detection" = Option<bool>, Query, description = "Default true"),
        ("import_engine" = Option<bool>, Query, description = "Default true"),
        ("import_orchestrator" = Option<bool>, Query, description = "Default true"),
    ),
    request_body(content = Vec<u8>, content_type = "application/zip", description = "The archive"),
    responses(
        (status = 200, body = ImportAnswer),
        (status = 400, description = "It is no archive, or too large", body = Detail),
        (status = 409, description = "Settings are pinned to the environment", body = Detail),
        (status = 503, description = "The settings could not be stored; nothing was changed", body = Detail),
    )
)]
async fn import(
    State(sources): State<Sources>,
    Keyed(Archive(bytes, parts)): Keyed<Archive>,
) -> Result<Json<ImportAnswer>, Error> {
    let imported = archive::import(&sources.settings, &bytes, parts).await?;
    let message =
        if imported.errors.is_empty() { "Settings imported successfully" } else { "Nothing was imported" };
    Ok(Json(ImportAnswer { message, imported }))
}
