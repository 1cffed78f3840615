//! Whether the appliance can serve: engines counted, capacity, and why no further engine is made.
//!
//! Everything is read from what the rooms show, so that it is new with every change and costs no call to anybody.

use super::Sources;
use super::error::{Blocked, Detail, Error};
use super::input::{BodyKind, Fields, Input, Keyed, Read, rule};
use super::service::{Acexy, Message};
use super::shapes::{health_status, playing};
use super::time::rfc3339;
use crate::engines::health::State as Health;
use crate::engines::{Blocked as FleetBlocked, FleetStanding, Standing};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::time::{Instant, SystemTime};
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
}

impl Provisioning {
    /// As engines in Docker stand; without them none can be made.
    fn new(fleet: Option<&FleetStanding>) -> Self {
        let told = match fleet {
            None => Some(("Docker is not used".to_owned(), super::containers::blocked().into())),
            Some(fleet) => fleet.blocked.as_ref().map(|blocked| blocked_details(blocked, Instant::now())),
        };
        let (blocked_reason, blocked_reason_details) = told.unzip();
        Self {
            can_provision: blocked_reason.is_none(),
            circuit_breaker_state: fleet.map_or("closed", |fleet| fleet.breaker.as_str()),
            last_failure: None,
            blocked_reason,
            blocked_reason_details,
        }
    }
}

/// What blocks the fleet, for a person and for programs.
fn blocked_details(blocked: &FleetBlocked, now: Instant) -> (String, BlockedDetails) {
    let (reason, code, message, eta, should_wait) = match blocked {
        FleetBlocked::NoDocker { text, .. } => {
            ("Docker is not available", "docker_unavailable", text.clone(), None, true)
        }
        FleetBlocked::CircuitBreaker { until, text } => {
            let eta = until.saturating_duration_since(now).as_secs();
            ("Circuit breaker is open", "circuit_breaker", text.clone(), Some(eta), true)
        }
        FleetBlocked::MaxCapacity => {
            let text = "there are as many engines as there may be (MAX_REPLICAS)".to_owned();
            ("Maximum capacity reached", "max_capacity", text, None, true)
        }
    };
    let can_retry = code == "docker_unavailable";
    let details = BlockedDetails { code, message, recovery_eta_seconds: eta, can_retry, should_wait };
    (reason.to_owned(), details)
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
    engine_variant: &'static str,
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
    let used = playing(&sources.streams).len();
    let (active, total) = sources.streams.counts();
    let fleet = sources.engines.fleet();
    let provisioning = Provisioning::new(fleet.as_deref());
    let is_failing = fleet.as_ref().is_some_and(|fleet| {
        matches!(fleet.blocked, Some(FleetBlocked::NoDocker { .. } | FleetBlocked::CircuitBreaker { .. }))
    });
    Json(OrchestratorStatus {
        status: match (engines.running, is_failing) {
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
            max_replicas: engines.total,
            min_replicas: engines.total,
        },
        engines,
        vpn: Vpn {
            enabled: false,
            connected: false,
            health: "unknown",
            container: None,
            forwarded_port: None,
        },
        provisioning,
        acexy: Acexy::default(),
        config: Config {
            auto_delete: false,
            grace_period_s: 0,
            engine_variant: VARIANT,
            debug_mode: tracing::enabled!(tracing::Level::DEBUG),
        },
        timestamp: rfc3339(SystemTime::now()),
    })
}

/// Health of the engines
#[utoipa::path(get, path = "/health/status", tag = "service", responses((status = 200, body = HealthStatus)))]
async fn health_status_of_all(State(sources): State<Sources>, Read(()): Read<()>) -> Json<HealthStatus> {
    let counts = EngineCounts::new(&sources.engines.standing());
    let state = sources.engines.fleet().map_or("closed", |fleet| fleet.breaker.as_str());
    Json(HealthStatus {
        total_engines: counts.total,
        healthy_engines: counts.healthy,
        unhealthy_engines: counts.unhealthy,
        marked_for_replacement: 0,
        minimum_required: counts.total,
        health_check_interval: CHECK_INTERVAL_S,
        circuit_breakers: Breakers {
            general: Breaker { state, ..Breaker::closed(GENERAL) },
            replacement: Breaker::closed(REPLACEMENT),
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
async fn reset(Keyed(Reset(which)): Keyed<Reset>) -> Result<Json<Message>, Error> {
    match which.as_deref() {
        None => Ok(Message::told("Circuit breaker all reset successfully")),
        Some(which @ ("general" | "replacement")) => {
            Ok(Message::told(format!("Circuit breaker for {which} reset successfully")))
        }
        Some(_) => Err(Error::Refused("operation_type must be 'general' or 'replacement'".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Guards: why no engine is made is told in the codes that proxies in front know, with the time a breaker still takes.
    #[test]
    fn what_blocks_the_fleet_is_told_to_programs() {
        let now = Instant::now();
        let text = "why".to_owned();
        for (blocked, code, eta, can_retry) in [
            (FleetBlocked::NoDocker { text: text.clone(), since: now }, "docker_unavailable", None, true),
            (
                FleetBlocked::CircuitBreaker { until: now + Duration::from_secs(42), text },
                "circuit_breaker",
                Some(42),
                false,
            ),
            (FleetBlocked::MaxCapacity, "max_capacity", None, false),
        ] {
            let (reason, details) = blocked_details(&blocked, now);
            assert!(!reason.is_empty() && !details.message.is_empty());
            assert_eq!(
                (details.code, details.recovery_eta_seconds, details.can_retry, details.should_wait),
                (code, eta, can_retry, true)
            );
        }
    }
}
