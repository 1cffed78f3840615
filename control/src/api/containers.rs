//! Containers and starting engines, as an appliance without Docker answers: what is asked is checked all the same, there
//! is no container to show, and whatever would start one is refused with the reason.
//!
//! An appliance that keeps engines in Docker replaces the answers of these handlers, not their shapes.

use super::Sources;
use super::error::{Blocked, Detail, Error};
use super::input::{BodyKind, Fields, Input, Keyed, Read, rule};
use axum::Json;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Members of `labels`, `env` and `ports`, and characters of each text.
const MEMBERS_MAX: usize = 256;
const CHARS_MAX: usize = 4096;
const NO_DOCKER: &str =
    "no Docker is used: this appliance serves from the engines it was given (STATIC_ENGINES)";

/// A container.
#[derive(Serialize, ToSchema)]
pub(crate) struct Container {
    /// Full id.
    id: String,
    /// Name.
    name: String,
    /// Image it was made of.
    image: String,
    /// When it was made.
    created: String,
    /// State in Docker's words.
    status: String,
    /// Its labels.
    labels: BTreeMap<String, String>,
    /// Published ports: `<port>/<protocol>` to addresses on the host.
    ports: BTreeMap<String, serde_json::Value>,
}

/// What all engines' containers use together.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct UsageTotal {
    total_cpu_percent: f64,
    total_memory_usage: u64,
    total_network_rx_bytes: u64,
    total_network_tx_bytes: u64,
    total_block_read_bytes: u64,
    total_block_write_bytes: u64,
    container_count: usize,
}

/// `{"status":"ok"}`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Done {
    status: &'static str,
}

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Sources> {
    OpenApiRouter::new()
        .routes(routes!(provision))
        .routes(routes!(provision_engine))
        .routes(routes!(scale))
        .routes(routes!(collect_garbage))
        .routes(routes!(inspect, remove))
        .routes(routes!(by_label))
        .routes(routes!(usage_of_all))
        .routes(routes!(usage_total))
        .routes(routes!(usage))
        .routes(routes!(reprovision))
}

/// Why no engine is made.
pub(super) fn blocked() -> Blocked {
    Blocked {
        error: "provisioning_blocked",
        code: "docker_unavailable",
        message: NO_DOCKER.into(),
        recovery_eta_seconds: None,
        can_retry: false,
        should_wait: false,
    }
}

/// A body for [`provision`], checked.
struct Provision;

impl Input for Provision {
    const BODY: BodyKind = BodyKind::Object;

    fn read(fields: &mut Fields) -> Option<Self> {
        fields.body("image").required(rule::string(CHARS_MAX));
        for name in ["env", "labels"] {
            fields.body(name).optional(rule::texts(MEMBERS_MAX, CHARS_MAX));
        }
        fields.body("ports").optional(rule::object(MEMBERS_MAX));
        fields.body("name_prefix").optional(rule::string(128));
        Some(Self)
    }
}

/// A body for [`provision_engine`], checked.
struct ProvisionEngine;

impl Input for ProvisionEngine {
    const BODY: BodyKind = BodyKind::Object;

    fn read(fields: &mut Fields) -> Option<Self> {
        for name in ["env", "labels"] {
            fields.body(name).optional(rule::texts(MEMBERS_MAX, CHARS_MAX));
        }
        fields.body("host_port").optional(rule::int(1..=65_535));
        Some(Self)
    }
}

/// How many engines are wanted.
struct Demand;

impl Input for Demand {
    fn read(fields: &mut Fields) -> Option<Self> {
        fields.path(0, "demand").required(rule::int(0..=100))?;
        Some(Self)
    }
}

/// A label to look for.
struct Label;

impl Input for Label {
    fn read(fields: &mut Fields) -> Option<Self> {
        let key = fields.query("key").required(rule::string(CHARS_MAX));
        let value = fields.query("value").required(rule::string(CHARS_MAX));
        key.and(value).map(|_| Self)
    }
}

/// Start a container
#[utoipa::path(
    post,
    path = "/provision",
    tag = "containers",
    request_body(content = Object, description = "`image`, `env`, `labels`, `ports`, `name_prefix`"),
    responses((status = 503, description = "It cannot be started", body = Detail))
)]
async fn provision(Keyed(Provision): Keyed<Provision>) -> Error {
    Error::Unavailable(NO_DOCKER.into())
}

/// Start an engine
#[utoipa::path(
    post,
    path = "/provision/acestream",
    tag = "containers",
    request_body(content = Object, description = "`labels`, `env`, `host_port`; `{}` is enough"),
    responses((status = 503, description = "It cannot be started; `detail` has a `code`", body = Detail))
)]
async fn provision_engine(Keyed(ProvisionEngine): Keyed<ProvisionEngine>) -> Error {
    Error::Blocked(blocked())
}

/// Scale engines to a count
#[utoipa::path(
    post,
    path = "/scale/{demand}",
    tag = "containers",
    params(("demand" = u32, Path, description = "Engines wanted")),
    responses((status = 503, description = "Engines cannot be started or stopped", body = Detail))
)]
async fn scale(Keyed(Demand): Keyed<Demand>) -> Error {
    Error::Unavailable(NO_DOCKER.into())
}

/// Remove idle engines
#[utoipa::path(post, path = "/gc", tag = "containers", responses((status = 200, body = Done)))]
async fn collect_garbage(Keyed(()): Keyed<()>) -> Json<Done> {
    Json(Done { status: "ok" })
}

/// One container
///
/// Only containers this appliance manages are shown.
#[utoipa::path(
    get,
    path = "/containers/{container_id}",
    tag = "containers",
    params(("container_id" = String, Path, description = "Id, unique beginning of it, or name")),
    responses((status = 200, body = Container), (status = 404, description = "No such container", body = Detail))
)]
async fn inspect(Read(_): Read<String>) -> Error {
    Error::NotFound("container not found".into())
}

/// Stop and remove a container
///
/// Only containers this appliance manages are removed.
#[utoipa::path(
    delete,
    path = "/containers/{container_id}",
    tag = "containers",
    params(("container_id" = String, Path, description = "Id, unique beginning of it, or name")),
    responses((status = 404, description = "No such container", body = Detail))
)]
async fn remove(Keyed(_): Keyed<String>) -> Error {
    Error::NotFound("container not found".into())
}

/// Containers with a label
#[utoipa::path(
    get,
    path = "/by-label",
    tag = "containers",
    params(("key" = String, Query, description = "Label"), ("value" = String, Query, description = "Its value")),
    responses((status = 200, body = Vec<Container>))
)]
async fn by_label(Keyed(Label): Keyed<Label>) -> Json<Vec<Container>> {
    Json(Vec::new())
}

/// What each engine's container uses
#[utoipa::path(
    get,
    path = "/engines/stats/all",
    tag = "engines",
    responses((status = 200, description = "By container id", body = Object))
)]
async fn usage_of_all(Read(()): Read<()>) -> Json<BTreeMap<String, serde_json::Value>> {
    Json(BTreeMap::new())
}

/// What all engines' containers use together
#[utoipa::path(get, path = "/engines/stats/total", tag = "engines", responses((status = 200, body = UsageTotal)))]
async fn usage_total(Read(()): Read<()>) -> Json<UsageTotal> {
    Json(UsageTotal::default())
}

/// What one engine's container uses
#[utoipa::path(
    get,
    path = "/engines/{container_id}/stats",
    tag = "engines",
    params(("container_id" = String, Path, description = "The engine")),
    responses((status = 404, description = "No figures of such a container", body = Detail))
)]
async fn usage(Read(_): Read<String>) -> Error {
    Error::NotFound("Container not found or stats unavailable".into())
}

/// Replace all engines
#[utoipa::path(
    post,
    path = "/custom-variant/reprovision",
    tag = "containers",
    responses((status = 503, description = "Engines cannot be started", body = Detail))
)]
async fn reprovision(Keyed(()): Keyed<()>) -> Error {
    Error::Unavailable(NO_DOCKER.into())
}
