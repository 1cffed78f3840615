//! Containers and starting engines. Without Docker what is asked is checked all the same, there is no container to show,
//! and whatever would start one is refused with the reason.
//!
//! Engines are made and removed by the engines room alone, which keeps the limits; other containers are made here, and
//! only those that carry this appliance's labels are shown or removed.

use super::Sources;
use super::error::{Blocked, Detail, Error};
use super::input::{BodyKind, Fields, Input, Keyed, Read, rule};
use super::time::{rfc3339, wall};
use crate::docker::{self, ContainerId, Details, Docker, Protocol};
use crate::engines::{self, FleetLimits, Ground, HandError, Handle, Progress, Wish, generic};
use crate::events::{Draft, EventType};
use crate::metrics::Provision as Provisioned;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use sluice_contract::{DockerState, EngineSource, Supply};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Members of `labels`, `env` and `ports`, and characters of each text.
const MEMBERS_MAX: usize = 256;
const CHARS_MAX: usize = 4096;
const LOG_LINES_MAX: i64 = 1000;
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
        .routes(routes!(engine_log))
        .routes(routes!(reprovision))
        .routes(routes!(reprovision_status))
}

/// Why no engine is made, if so.
pub(super) fn blocked(engines: &Handle, supply: &Supply) -> Option<Blocked> {
    let fleet = engines.fleet();
    match (supply.source, &supply.docker, fleet.as_ref()) {
        (EngineSource::Refused, ..) => {
            let detail = supply.blocked.as_ref().map(|refusal| refusal.detail.to_string());
            Some(blocking("vpn_not_supported", detail.unwrap_or_default().into(), None, (false, false)))
        }
        (_, _, None) => Some(blocking("docker_unavailable", NO_DOCKER.into(), None, (false, false))),
        (_, DockerState::Away(text), Some(_)) => {
            Some(blocking("no_docker", text.to_string().into(), None, (true, true)))
        }
        (_, _, Some(fleet)) => {
            fleet.blocked.as_ref().map(|blocked| of_fleet(blocked, &fleet.limits, Instant::now()))
        }
    }
}

fn blocking(
    code: &'static str,
    message: Cow<'static, str>,
    recovery_eta_seconds: Option<u64>,
    (can_retry, should_wait): (bool, bool),
) -> Blocked {
    Blocked { error: "provisioning_blocked", code, message, recovery_eta_seconds, can_retry, should_wait }
}

/// What blocks the fleet, as programs know it.
fn of_fleet(blocked: &engines::Blocked, limits: &FleetLimits, now: Instant) -> Blocked {
    let text = blocked.text().into();
    match blocked {
        engines::Blocked::NoDocker { .. } => blocking("no_docker", text, None, (true, true)),
        engines::Blocked::CircuitBreaker { until, .. } => {
            let left = until.saturating_duration_since(now).as_secs();
            blocking("circuit_breaker", text, Some(left), (false, true))
        }
        engines::Blocked::MaxCapacity => {
            let eta = limits.is_auto_delete.then_some(limits.grace.as_secs());
            blocking("max_capacity", text, eta, (false, true))
        }
    }
}

/// What is answered when something asked for by hand is not done.
fn refused(error: HandError, sources: &Sources) -> Error {
    let failed = |code, message: String| {
        Error::Blocked(Blocked {
            error: "provisioning_failed",
            code,
            message: message.into(),
            recovery_eta_seconds: None,
            can_retry: false,
            should_wait: false,
        })
    };
    match error {
        HandError::Blocked(_) | HandError::NotKept | HandError::Refused(_) => {
            match blocked(&sources.engines, &sources.board.supply()) {
                Some(blocked) => Error::Blocked(blocked),
                // It has just passed.
                None => Error::Unavailable(error.to_string().into()),
            }
        }
        HandError::Failed { code, .. } => failed(code, error.to_string()),
        HandError::PortHeld { .. } | HandError::Busy => Error::Conflict(error.to_string().into()),
        HandError::NoSuchEngine(_) => Error::NotFound("container not found".into()),
        HandError::Overloaded | HandError::Stopped => Error::Unavailable(error.to_string().into()),
    }
}

fn docker_error(error: docker::Error) -> Error {
    match error {
        docker::Error::NoContainer { .. } => Error::NotFound("container not found".into()),
        error if error.is_absence() => Error::Unavailable(format!("{error}; {}", error.remedy()).into()),
        error => Error::Refused(format!("{error}; {}", error.remedy()).into()),
    }
}

/// Docker and what holds there, where engines are kept in it and it was seen.
fn kept(sources: &Sources) -> Result<(Arc<dyn Docker>, Arc<Ground>), Error> {
    let ground = sources.engines.fleet().and_then(|fleet| fleet.ground.clone());
    match (sources.engines.docker(), ground) {
        (Some(docker), Some(ground)) => Ok((docker, ground)),
        (Some(_), None) => Err(Error::Unavailable("Docker has not answered yet".into())),
        (None, _) => Err(refused(HandError::NotKept, sources)),
    }
}

/// Waits for something asked for by hand as long as a connection may be silent.
async fn in_time<T>(doing: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    const PATIENCE: Duration = Duration::from_secs(25);
    let late = || Error::Unavailable("it is still being done; GET /engines shows how it goes".into());
    tokio::time::timeout(PATIENCE, doing).await.unwrap_or_else(|_| Err(late()))
}

impl From<Details> for Container {
    fn from(details: Details) -> Self {
        let bound = |(address, port): &(String, String)| json!({ "HostIp": address, "HostPort": port });
        let ports = details.bindings.iter();
        Self {
            id: details.container.id.to_string(),
            name: details.container.name,
            image: details.container.image,
            created: details.created,
            status: details.container.state.as_str().to_owned(),
            labels: details.container.labels,
            ports: ports.map(|(port, to)| (port.clone(), to.iter().map(bound).collect())).collect(),
        }
    }
}

/// A body for [`provision`], checked.
struct Provision(generic::Wanted);

impl Input for Provision {
    const BODY: BodyKind = BodyKind::Object;

    fn read(fields: &mut Fields) -> Option<Self> {
        let image = fields.body("image").required(rule::string(CHARS_MAX));
        let env = fields.body("env").optional(rule::texts(MEMBERS_MAX, CHARS_MAX)).unwrap_or_default();
        let labels = fields.body("labels").optional(rule::texts(MEMBERS_MAX, CHARS_MAX)).unwrap_or_default();
        let ports = fields.body("ports").optional(ports).unwrap_or_default();
        let name_prefix = fields.body("name_prefix").optional(prefix).unwrap_or_else(|| "svc".to_owned());
        image.map(|image| Self(generic::Wanted { image, env, labels, ports, name_prefix }))
    }
}

/// `{"8080/tcp": 80}`.
fn ports(value: &Value) -> Result<Vec<(u16, Protocol, u16)>, rule::Problem> {
    let one = |(inside, outside): (&String, &Value)| {
        let (port, protocol) = inside.split_once('/').unwrap_or((inside, "tcp"));
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        };
        let port = port.parse().ok().filter(|port| *port > 0)?;
        let outside = outside.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)?;
        Some((port, protocol, outside))
    };
    let members = rule::object(MEMBERS_MAX)(value)?;
    let ports: Option<Vec<_>> = members.iter().map(one).collect();
    ports.ok_or_else(|| rule::Problem::value("ports are given as {\"8080/tcp\": 80}"))
}

/// What a name of a container may begin with.
fn prefix(value: &Value) -> Result<String, rule::Problem> {
    let text = rule::string(64)(value)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if text.bytes().all(fits) && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric) {
        Ok(text)
    } else {
        Err(rule::Problem::value(
            "a name has letters, digits, '_', '.' and '-', and begins with one of the first two",
        ))
    }
}

/// A body for [`provision_engine`], checked.
struct ProvisionEngine(Wish);

impl Input for ProvisionEngine {
    const BODY: BodyKind = BodyKind::Object;

    fn read(fields: &mut Fields) -> Option<Self> {
        let env = fields.body("env").optional(rule::texts(MEMBERS_MAX, CHARS_MAX)).unwrap_or_default();
        let labels = fields.body("labels").optional(rule::texts(MEMBERS_MAX, CHARS_MAX)).unwrap_or_default();
        let port = fields.body("host_port").optional(rule::int(1..=65_535));
        let http_port = port.and_then(|port| u16::try_from(port).ok());
        Some(Self(Wish { env, labels, http_port, ..Wish::default() }))
    }
}

/// How many engines are wanted.
struct Demand(usize);

impl Input for Demand {
    fn read(fields: &mut Fields) -> Option<Self> {
        let demand = fields.path(0, "demand").required(rule::int(0..=1000))?;
        usize::try_from(demand).ok().map(Self)
    }
}

/// A label to look for.
struct Label(String, String);

impl Input for Label {
    fn read(fields: &mut Fields) -> Option<Self> {
        let key = fields.query("key").required(rule::string(CHARS_MAX));
        let value = fields.query("value").required(rule::string(CHARS_MAX));
        key.zip(value).map(|(key, value)| Self(key, value))
    }
}

/// A container that was started.
#[derive(Serialize, ToSchema)]
pub(crate) struct Started {
    container_id: String,
    container_name: String,
}

/// An engine that was started.
#[derive(Serialize, ToSchema)]
pub(crate) struct StartedEngine {
    container_id: String,
    container_name: String,
    host_http_port: u16,
    container_http_port: u16,
    /// That of the control API where the recipe has one.
    container_https_port: u16,
}

/// How many engines were asked for.
#[derive(Serialize, ToSchema)]
pub(crate) struct Scaled {
    scaled_to: usize,
    /// The same within `MIN_REPLICAS` and `MAX_REPLICAS`.
    target: usize,
}

/// What was removed.
#[derive(Serialize, ToSchema)]
pub(crate) struct Deleted {
    /// As it was asked for.
    deleted: String,
}

/// How many engines are made anew.
#[derive(Serialize, ToSchema)]
pub(crate) struct Reprovisioning {
    message: &'static str,
    deleted_count: usize,
}

/// Start a container
///
/// Attached and published as engines are. An image that is not there is not pulled.
#[utoipa::path(
    post,
    path = "/provision",
    tag = "containers",
    request_body(content = Object, description = "`image`, `env`, `labels`, `ports`, `name_prefix`"),
    responses(
        (status = 200, body = Started),
        (status = 400, description = "Docker refuses it", body = Detail),
        (status = 503, description = "It cannot be started", body = Detail),
    )
)]
async fn provision(
    State(sources): State<Sources>,
    Keyed(Provision(wanted)): Keyed<Provision>,
) -> Result<Json<Started>, Error> {
    let (docker, ground) = kept(&sources)?;
    let (image, labels) = (wanted.image.clone(), json!(wanted.labels));
    let starting = async { generic::start(&*docker, &ground, wanted).await.map_err(docker_error) };
    let (id, name) = in_time(starting).await?;
    sources.metrics.provisioned(Provisioned::Generic);
    let draft = Draft::new(EventType::Engine, "created", format!("container {name} started by hand"));
    sources
        .events
        .record(draft.detail("image", image).detail("labels", labels).container(Some(id.to_string())));
    Ok(Json(Started { container_id: id.to_string(), container_name: name }))
}

/// Start an engine
///
/// Answers when its container runs; `GET /engines` tells when it is healthy.
#[utoipa::path(
    post,
    path = "/provision/acestream",
    tag = "containers",
    request_body(content = Object, description = "`labels`, `env`, `host_port`; `{}` is enough"),
    responses(
        (status = 200, body = StartedEngine),
        (status = 409, description = "The port asked for is another engine's", body = Detail),
        (status = 503, description = "It cannot be started; `detail` has a `code`", body = Detail),
    )
)]
async fn provision_engine(
    State(sources): State<Sources>,
    Keyed(ProvisionEngine(wish)): Keyed<ProvisionEngine>,
) -> Result<Json<StartedEngine>, Error> {
    let labels = json!(wish.labels);
    let making = async { sources.engines.make(wish).await.map_err(|error| refused(error, &sources)) };
    let made = in_time(making).await?;
    sources.metrics.provisioned(Provisioned::Acestream);
    let draft = Draft::new(EventType::Engine, "created", format!("engine {} started by hand", made.name))
        .detail("labels", labels)
        .detail("host_http_port", made.http)
        .detail("container_http_port", made.http);
    sources.events.record(draft.container(Some(made.id.to_string())));
    Ok(Json(StartedEngine {
        container_id: made.id.to_string(),
        container_name: made.name,
        host_http_port: made.http,
        container_http_port: made.http,
        container_https_port: made.second,
    }))
}

/// Scale engines to a count
///
/// More are started at once; of those there are only such as nobody uses are removed.
#[utoipa::path(
    post,
    path = "/scale/{demand}",
    tag = "containers",
    params(("demand" = u32, Path, description = "Engines wanted")),
    responses(
        (status = 200, body = Scaled),
        (status = 503, description = "Engines cannot be started or stopped", body = Detail),
    )
)]
async fn scale(
    State(sources): State<Sources>,
    Keyed(Demand(demand)): Keyed<Demand>,
) -> Result<Json<Scaled>, Error> {
    let target = sources.engines.scale(demand).await.map_err(|error| refused(error, &sources))?;
    Ok(Json(Scaled { scaled_to: demand, target }))
}

/// Remove idle engines
///
/// Down to what is kept at least, without waiting for the grace period.
#[utoipa::path(post, path = "/gc", tag = "containers", responses((status = 200, body = Done)))]
async fn collect_garbage(State(sources): State<Sources>, Keyed(()): Keyed<()>) -> Json<Done> {
    // Where no engine is kept there is nothing to remove.
    let _ = sources.engines.collect().await;
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
async fn inspect(
    State(sources): State<Sources>,
    Read(which): Read<String>,
) -> Result<Json<Container>, Error> {
    if sources.engines.docker().is_none() {
        return Err(Error::NotFound("container not found".into()));
    }
    let (docker, ground) = kept(&sources)?;
    let details = generic::inspect(&*docker, &ground, &which).await.map_err(docker_error)?;
    Ok(Json(details.into()))
}

/// Stop and remove a container
///
/// Only containers this appliance manages are removed. Streams on an engine are moved to another one first.
#[utoipa::path(
    delete,
    path = "/containers/{container_id}",
    tag = "containers",
    params(("container_id" = String, Path, description = "Id, unique beginning of it, or name")),
    responses((status = 200, body = Deleted), (status = 404, description = "No such container", body = Detail))
)]
async fn remove(State(sources): State<Sources>, Keyed(which): Keyed<String>) -> Result<Json<Deleted>, Error> {
    if sources.engines.docker().is_none() {
        return Err(Error::NotFound("container not found".into()));
    }
    let removing = async {
        match sources.engines.remove(which.clone()).await {
            Ok(_) => Ok(()),
            Err(HandError::NoSuchEngine(_)) => {
                let (docker, ground) = kept(&sources)?;
                generic::remove(&*docker, &ground, &which).await.map_err(docker_error)
            }
            Err(error) => Err(refused(error, &sources)),
        }
    };
    in_time(removing).await?;
    // Said when it is done, so that nothing is said of what could not be.
    let draft = Draft::new(EventType::Engine, "deleted", format!("container {which} removed by hand"));
    sources.events.record(draft.container(Some(which.clone())));
    Ok(Json(Deleted { deleted: which }))
}

/// Containers with a label
#[utoipa::path(
    get,
    path = "/by-label",
    tag = "containers",
    params(("key" = String, Query, description = "Label"), ("value" = String, Query, description = "Its value")),
    responses((status = 200, body = Vec<Container>))
)]
async fn by_label(
    State(sources): State<Sources>,
    Keyed(Label(key, value)): Keyed<Label>,
) -> Result<Json<Vec<Container>>, Error> {
    if sources.engines.docker().is_none() {
        return Ok(Json(Vec::new()));
    }
    let (docker, ground) = kept(&sources)?;
    let found = generic::labelled(&*docker, &ground, (&key, &value)).await.map_err(docker_error)?;
    Ok(Json(found.into_iter().map(Container::from).collect()))
}

/// What one container uses.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageView {
    container_id: String,
    /// Percent of one core.
    cpu_percent: f64,
    memory_usage: u64,
    memory_limit: u64,
    memory_percent: f64,
    network_rx_bytes: u64,
    network_tx_bytes: u64,
    block_read_bytes: u64,
    block_write_bytes: u64,
}

impl UsageView {
    fn new(id: &ContainerId, usage: &docker::Usage) -> Self {
        let share = usage.memory_bytes as f64 / usage.memory_bytes_max.max(1) as f64;
        Self {
            container_id: id.to_string(),
            cpu_percent: hundredths(usage.cpu_percent),
            memory_usage: usage.memory_bytes,
            memory_limit: usage.memory_bytes_max,
            memory_percent: hundredths(share * 100.0),
            network_rx_bytes: usage.received_bytes,
            network_tx_bytes: usage.sent_bytes,
            block_read_bytes: usage.read_bytes,
            block_write_bytes: usage.written_bytes,
        }
    }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// What each engine's container uses
///
/// Figures of the last second or two; engines without any are left out.
#[utoipa::path(
    get,
    path = "/engines/stats/all",
    tag = "engines",
    responses((status = 200, description = "By container id", body = BTreeMap<String, UsageView>))
)]
async fn usage_of_all(
    State(sources): State<Sources>,
    Read(()): Read<()>,
) -> Json<BTreeMap<String, UsageView>> {
    let all = sources.engines.usage();
    Json(all.iter().map(|(id, usage)| (id.to_string(), UsageView::new(id, usage))).collect())
}

/// What all engines' containers use together
#[utoipa::path(get, path = "/engines/stats/total", tag = "engines", responses((status = 200, body = UsageTotal)))]
async fn usage_total(State(sources): State<Sources>, Read(()): Read<()>) -> Json<UsageTotal> {
    let mut total = UsageTotal::default();
    for usage in sources.engines.usage().values() {
        total.total_cpu_percent += usage.cpu_percent;
        total.total_memory_usage += usage.memory_bytes;
        total.total_network_rx_bytes += usage.received_bytes;
        total.total_network_tx_bytes += usage.sent_bytes;
        total.total_block_read_bytes += usage.read_bytes;
        total.total_block_write_bytes += usage.written_bytes;
        total.container_count += 1;
    }
    total.total_cpu_percent = hundredths(total.total_cpu_percent);
    Json(total)
}

/// What one engine's container uses
#[utoipa::path(
    get,
    path = "/engines/{container_id}/stats",
    tag = "engines",
    params(("container_id" = String, Path, description = "The engine")),
    responses(
        (status = 200, body = UsageView),
        (status = 404, description = "No figures of such a container", body = Detail),
    )
)]
async fn usage(State(sources): State<Sources>, Read(which): Read<String>) -> Result<Json<UsageView>, Error> {
    let id = ContainerId(which.into());
    let all = sources.engines.usage();
    let usage = all.get(&id).ok_or(Error::NotFound("Container not found or stats unavailable".into()))?;
    Ok(Json(UsageView::new(&id, usage)))
}

/// The last lines an engine wrote.
#[derive(Serialize, ToSchema)]
pub(crate) struct EngineLog {
    /// Oldest first.
    lines: Vec<String>,
}

/// Which engine's log, and how much of it.
struct LogOf {
    id: String,
    lines: u32,
}

impl Input for LogOf {
    fn read(fields: &mut Fields) -> Option<Self> {
        let lines = fields.query("lines").or(rule::int(1..=LOG_LINES_MAX), 200);
        let id = fields.only_path()?;
        Some(Self { id, lines: u32::try_from(lines).unwrap_or(200) })
    }
}

/// What one engine wrote
///
/// The last lines of its container. Tokens may be among them, which is why it needs the key.
#[utoipa::path(
    get,
    path = "/engines/{container_id}/log",
    tag = "engines",
    params(
        ("container_id" = String, Path, description = "The engine"),
        ("lines" = Option<u32>, Query, description = "1 to 1000, 200 without it"),
    ),
    responses(
        (status = 200, body = EngineLog),
        (status = 404, description = "No such engine in Docker", body = Detail),
        (status = 503, description = "Docker does not answer", body = Detail),
    )
)]
async fn engine_log(
    State(sources): State<Sources>,
    Keyed(LogOf { id, lines }): Keyed<LogOf>,
) -> Result<Json<EngineLog>, Error> {
    let is_ours = sources.engines.fleet().is_some_and(|fleet| fleet.by_id().contains_key(id.as_str()));
    let docker = sources.engines.docker().filter(|_| is_ours);
    let docker = docker.ok_or(Error::NotFound("no container of this engine is kept here".into()))?;
    let lines = docker.logs(&ContainerId(id.into()), lines).await.map_err(docker_error)?;
    Ok(Json(EngineLog { lines }))
}

/// Replace all engines
///
/// New ones come first as far as `MAX_REPLICAS` leaves room; streams move and play on.
#[utoipa::path(
    post,
    path = "/custom-variant/reprovision",
    tag = "containers",
    responses(
        (status = 200, body = Reprovisioning),
        (status = 409, description = "That is under way", body = Detail),
        (status = 503, description = "Engines cannot be started", body = Detail),
    )
)]
async fn reprovision(
    State(sources): State<Sources>,
    Keyed(()): Keyed<()>,
) -> Result<Json<Reprovisioning>, Error> {
    let count = sources.engines.rework().await.map_err(|error| refused(error, &sources))?;
    Ok(Json(Reprovisioning { message: "Engines are being replaced", deleted_count: count }))
}

/// How far replacing all engines is.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReprovisionStatus {
    in_progress: bool,
    /// `idle`, `in_progress`, `success` or `error`.
    status: &'static str,
    message: Option<String>,
    /// When it last went on.
    timestamp: Option<String>,
    started_at: Option<String>,
    total_engines: usize,
    engines_stopped: usize,
    engines_provisioned: usize,
    /// The first twelve digits of the one that is being stopped.
    current_engine_id: Option<String>,
    /// `provisioning`, `stopping`, `complete` or `error`.
    current_phase: Option<&'static str>,
}

/// How far replacing all engines is
#[utoipa::path(
    get,
    path = "/custom-variant/reprovision/status",
    tag = "containers",
    responses((status = 200, body = ReprovisionStatus))
)]
async fn reprovision_status(State(sources): State<Sources>, Read(()): Read<()>) -> Json<ReprovisionStatus> {
    let progress = sources.engines.fleet().and_then(|fleet| fleet.progress.clone());
    Json(progress.map_or_else(ReprovisionStatus::idle, |progress| (&progress).into()))
}

impl ReprovisionStatus {
    fn idle() -> Self {
        Self {
            in_progress: false,
            status: "idle",
            message: None,
            timestamp: None,
            started_at: None,
            total_engines: 0,
            engines_stopped: 0,
            engines_provisioned: 0,
            current_engine_id: None,
            current_phase: None,
        }
    }
}

impl From<&Progress> for ReprovisionStatus {
    fn from(progress: &Progress) -> Self {
        let Progress { rework, stopped, provisioned, current } = progress;
        let (status, phase) = progress.state();
        Self {
            in_progress: !rework.is_over,
            status,
            message: Some(progress.text()),
            timestamp: Some(rfc3339(wall(rework.at))),
            started_at: Some(rfc3339(wall(rework.begun))),
            total_engines: rework.total,
            engines_stopped: *stopped,
            engines_provisioned: *provisioned,
            current_engine_id: current.as_ref().map(|id| id.short().to_owned()),
            current_phase: Some(phase),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::BreakerLimits;

    fn limits() -> FleetLimits {
        let breaker = BreakerLimits { threshold: 5, recovery: Duration::from_secs(300) };
        FleetLimits {
            min: 1,
            max: 2,
            surge: 0,
            min_free: 1,
            streams_per_engine: 1,
            is_auto_delete: true,
            grace: Duration::from_secs(30),
            startup: Duration::from_secs(60),
            concurrent_max: 5,
            interval: Duration::ZERO,
            unhealthy_grace: Duration::from_secs(60),
            cooldown: Duration::from_secs(60),
            list_interval: Duration::from_secs(10),
            breaker,
            replacement_breaker: breaker,
        }
    }

    /// Guards: why no engine is made is told in the codes that proxies in front know, with the time a breaker still takes
    /// and, where idle engines are removed, the time until one could make room.
    #[test]
    fn what_blocks_the_fleet_is_told_to_programs() {
        let now = Instant::now();
        let text = "why".to_owned();
        for (what, code, eta, can_retry) in [
            (engines::Blocked::NoDocker { text: text.clone(), since: now }, "no_docker", None, true),
            (
                engines::Blocked::CircuitBreaker { until: now + Duration::from_secs(42), text },
                "circuit_breaker",
                Some(42),
                false,
            ),
            (engines::Blocked::MaxCapacity, "max_capacity", Some(30), false),
        ] {
            let told = of_fleet(&what, &limits(), now);
            assert!(!told.message.is_empty());
            assert_eq!(
                (told.code, told.recovery_eta_seconds, told.can_retry, told.should_wait),
                (code, eta, can_retry, true)
            );
        }
        let kept = FleetLimits { is_auto_delete: false, ..limits() };
        assert_eq!(of_fleet(&engines::Blocked::MaxCapacity, &kept, now).recovery_eta_seconds, None);
    }
}
