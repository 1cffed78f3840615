//! Whether the appliance can serve: engines counted, capacity, and why no further engine is made.
//!
//! Everything is read from what the rooms show, so that it is new with every change and costs no call to anybody.

use super::Sources;
use super::error::{Blocked, Detail, Error};
use super::input::{BodyKind, Fields, Input, Keyed, Read, rule};
use super::service::{Acexy, Message};
use super::shapes::health_status;
use super::time::{rfc3339, wall};
use crate::engines::breaker::{BreakerStanding, BreakerState};
use crate::engines::health::State as Health;
use crate::engines::{Pulling, Standing};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sluice_contract::EngineSource;
use std::time::SystemTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Between two checks of an engine that answers, seconds.
const CHECK_INTERVAL_S: u64 = crate::engines::health::CHECK_INTERVAL.as_secs();
/// What the circuit breakers go by: failures that open each, and seconds until a trial.
const GENERAL: (u32, u64) = (5, 300);
const REPLACEMENT: (u32, u64) = (3, 180);
/// The recipe of engines unless another one is chosen.
const VARIANT: &str = "krinkuto11-amd64";

/// Health of the engines and of starting them.
#[derive(Serialize, ToSchema)]
pub(crate) struct HealthStatus {
    total_engines: usize,
    healthy_engines: usize,
    unhealthy_engines: usize,
    marked_for_replacement: usize,
    minimum_required: usize,
    /// Seconds.
    health_check_interval: u64,
    circuit_breakers: Breakers,
}

/// Circuit breakers of starts.
#[derive(Serialize, ToSchema)]
pub(crate) struct Breakers {
    general: Breaker,
    replacement: Breaker,
}

/// One circuit breaker.
#[derive(Serialize, ToSchema)]
pub(crate) struct Breaker {
    /// `closed`, `open` or `half_open`.
    state: &'static str,
    failure_count: u32,
    failure_threshold: u32,
    last_failure_time: Option<String>,
    last_success_time: Option<String>,
    /// Seconds.
    recovery_timeout: u64,
}

impl From<&BreakerStanding> for Breaker {
    fn from(standing: &BreakerStanding) -> Self {
        Self {
            state: standing.state.as_str(),
            failure_count: standing.failures,
            failure_threshold: standing.limits.threshold,
            last_failure_time: standing.last_failure.map(|at| rfc3339(wall(at))),
            last_success_time: standing.last_success.map(|at| rfc3339(wall(at))),
            recovery_timeout: standing.limits.recovery.as_secs(),
        }
    }
}

impl Breaker {
    fn closed((failure_threshold, recovery_timeout): (u32, u64)) -> Self {
        Self {
            state: "closed",
            failure_count: 0,
            failure_threshold,
            last_failure_time: None,
            last_success_time: None,
            recovery_timeout,
        }
    }
}

/// Everything a proxy in front needs to know.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrchestratorStatus {
    /// `healthy`, `degraded` or `unavailable`.
    status: &'static str,
    engines: EngineCounts,
    streams: StreamCounts,
    capacity: Capacity,
    vpn: Vpn,
    provisioning: Provisioning,
    acexy: Acexy,
    config: Config,
    timestamp: String,
}

/// Engines counted.
#[derive(Serialize, ToSchema)]
pub(crate) struct EngineCounts {
    total: usize,
    /// Those that are not known to be down.
    running: usize,
    healthy: usize,
    unhealthy: usize,
}

impl EngineCounts {
    fn new(standing: &Standing) -> Self {
        let of = |wanted| standing.engines.iter().filter(|engine| health_status(engine) == wanted).count();
        Self {
            total: standing.engines.len(),
            running: standing.engines.iter().filter(|engine| engine.state != Health::Down).count(),
            healthy: of("healthy"),
            unhealthy: of("unhealthy"),
        }
    }
}

/// Streams counted.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamCounts {
    active: usize,
    total: usize,
}

/// Engines free for another stream's own use.
#[derive(Serialize, ToSchema)]
pub(crate) struct Capacity {
    total: usize,
    /// Engines with at least one stream.
    used: usize,
    available: usize,
    max_replicas: usize,
    min_replicas: usize,
}

/// The VPN in short.
#[derive(Serialize, ToSchema)]
pub(crate) struct Vpn {
    enabled: bool,
    connected: bool,
    health: &'static str,
    container: Option<String>,
    forwarded_port: Option<u16>,
}

/// Whether another engine can be made.
#[derive(Serialize, ToSchema)]
pub(crate) struct Provisioning {
    can_provision: bool,
    circuit_breaker_state: &'static str,
    last_failure: Option<String>,
    blocked_reason: Option<String>,
    blocked_reason_details: Option<BlockedDetails>,
    /// `unused`, `unknown`, `up` or `away`.
    docker: &'static str,
    /// The image that is being pulled, while one is.
    image_pull: Option<ImagePull>,
}

/// How far the pull of an image is.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImagePull {
    image: String,
    /// Docker's newest words.
    status: String,
    /// So far, of layers whose size is known.
    bytes: u64,
    /// Of those layers in all.
    bytes_total: u64,
    since: String,
}

impl From<&Pulling> for ImagePull {
    fn from(pull: &Pulling) -> Self {
        Self {
            image: pull.image.to_string(),
            status: pull.status.clone(),
            bytes: pull.bytes,
            bytes_total: pull.bytes_total,
            since: rfc3339(wall(pull.since)),
        }
    }
}

/// Why not, as programs read it.
#[derive(Serialize, ToSchema)]
pub(crate) struct BlockedDetails {
    code: &'static str,
    message: String,
    recovery_eta_seconds: Option<u64>,
    can_retry: bool,
    should_wait: bool,
}

impl From<Blocked> for BlockedDetails {
    fn from(blocked: Blocked) -> Self {
        let Blocked { error: _, code, message, recovery_eta_seconds, can_retry, should_wait } = blocked;
        Self { code, message: message.into_owned(), recovery_eta_seconds, can_retry, should_wait }
    }
}

/// Some settings.
#[derive(Serialize, ToSchema)]
pub(crate) struct Config {
    auto_delete: bool,
    grace_period_s: u64,
    engine_variant: String,
    debug_mode: bool,
}

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Sources> {
    OpenApiRouter::new().routes(routes!(status)).routes(routes!(health_status_of_all)).routes(routes!(reset))
}

/// Status for proxies
///
/// Made anew for each request, so it is never older than what it shows.
#[utoipa::path(
    get,
    path = "/orchestrator/status",
    operation_id = "orchestrator_status",
    tag = "service",
    responses((status = 200, body = OrchestratorStatus))
)]
async fn status(State(sources): State<Sources>, Read(()): Read<()>) -> Json<OrchestratorStatus> {
    let standing = sources.engines.standing();
    let engines = EngineCounts::new(&standing);
    let sums = sources.streams.sums();
    let (used, active, total) = (sums.engines_used.len(), sums.active, sums.listed);
    let supply = sources.board.supply();
    let fleet = sources.engines.fleet();
    let blocked = super::containers::blocked(&sources.engines, &supply);
    let is_degraded = blocked.as_ref().is_some_and(|blocked| {
        matches!(blocked.code, "circuit_breaker" | "no_docker" | "vpn_not_supported" | "vpn_disconnected")
    });
    let limits = fleet.as_ref().map(|fleet| &fleet.limits);
    let breaker = fleet.as_ref().map(|fleet| fleet.breaker);
    let variant =
        fleet.as_ref().and_then(|fleet| fleet.ground.as_ref()).map(|ground| ground.recipe.name.clone());
    Json(OrchestratorStatus {
        status: match (engines.running, is_degraded) {
            (0, _) => "unavailable",
            (_, true) => "degraded",
            (_, false) => "healthy",
        },
        streams: StreamCounts { active, total },
        capacity: Capacity {
            total: engines.total,
            used,
            available: engines.total.saturating_sub(used),
            // Nobody makes or removes engines that were named.
            max_replicas: limits.map_or(engines.total, |limits| limits.max),
            min_replicas: limits.map_or(engines.total, |limits| limits.min),
        },
        engines,
        vpn: Vpn {
            enabled: supply.source == EngineSource::Refused,
            connected: false,
            health: "unknown",
            container: None,
            forwarded_port: None,
        },
        provisioning: Provisioning {
            can_provision: blocked.is_none(),
            circuit_breaker_state: breaker.map_or(BreakerState::Closed, |breaker| breaker.state).as_str(),
            last_failure: breaker.and_then(|breaker| breaker.last_failure).map(|at| rfc3339(wall(at))),
            blocked_reason: blocked.as_ref().map(|blocked| reason(blocked).to_owned()),
            blocked_reason_details: blocked.map(BlockedDetails::from),
            docker: supply.docker.as_str(),
            image_pull: fleet.as_ref().and_then(|fleet| fleet.pulling.as_ref()).map(ImagePull::from),
        },
        acexy: Acexy::default(),
        config: Config {
            auto_delete: limits.is_some_and(|limits| limits.is_auto_delete),
            grace_period_s: limits.map_or(0, |limits| limits.grace.as_secs()),
            engine_variant: variant.unwrap_or_else(|| VARIANT.to_owned()),
            debug_mode: tracing::enabled!(tracing::Level::DEBUG),
        },
        timestamp: rfc3339(SystemTime::now()),
    })
}

/// What blocks, in the words of the contract.
fn reason(blocked: &Blocked) -> &'static str {
    match blocked.code {
        "circuit_breaker" => "Circuit breaker is open",
        "max_capacity" => "Maximum capacity reached",
        "vpn_not_supported" => "VPN is not supported",
        "no_docker" => "Docker cannot be used",
        _ => "Docker is not used",
    }
}

/// Health of the engines
#[utoipa::path(get, path = "/health/status", tag = "service", responses((status = 200, body = HealthStatus)))]
async fn health_status_of_all(State(sources): State<Sources>, Read(()): Read<()>) -> Json<HealthStatus> {
    let counts = EngineCounts::new(&sources.engines.standing());
    let fleet = sources.engines.fleet();
    let fleet = fleet.as_deref();
    Json(HealthStatus {
        total_engines: counts.total,
        healthy_engines: counts.healthy,
        unhealthy_engines: counts.unhealthy,
        marked_for_replacement: fleet.map_or(0, |fleet| fleet.leaving()),
        minimum_required: fleet.map_or(counts.total, |fleet| fleet.limits.min),
        health_check_interval: CHECK_INTERVAL_S,
        circuit_breakers: Breakers {
            general: fleet.map_or_else(|| Breaker::closed(GENERAL), |fleet| (&fleet.breaker).into()),
            replacement: fleet
                .map_or_else(|| Breaker::closed(REPLACEMENT), |fleet| (&fleet.replacement_breaker).into()),
        },
    })
}

/// Which breaker to close.
struct Reset(Option<String>);

impl Input for Reset {
    const BODY: BodyKind = BodyKind::Either;

    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Self(fields.either("operation_type").optional(rule::string(64))))
    }
}

/// Close circuit breakers
///
/// Both, unless one is named. Without Docker neither ever opens.
#[utoipa::path(
    post,
    path = "/health/circuit-breaker/reset",
    tag = "service",
    params(("operation_type" = Option<String>, Query, description = "`general` or `replacement`")),
    responses((status = 200, body = Message), (status = 400, description = "No such breaker", body = Detail))
)]
async fn reset(
    State(sources): State<Sources>,
    Keyed(Reset(which)): Keyed<Reset>,
) -> Result<Json<Message>, Error> {
    // Where no engine is kept nothing ever opens.
    let close = async |general, replacement| drop(sources.engines.reset_breakers(general, replacement).await);
    match which.as_deref() {
        None => {
            close(true, true).await;
            Ok(Message::told("Circuit breaker all reset successfully"))
        }
        Some(which @ ("general" | "replacement")) => {
            close(which == "general", which == "replacement").await;
            Ok(Message::told(format!("Circuit breaker for {which} reset successfully")))
        }
        Some(_) => Err(Error::Refused("operation_type must be 'general' or 'replacement'".into())),
    }
}
