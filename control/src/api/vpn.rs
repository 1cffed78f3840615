//! The VPN, as an appliance without one answers.

use super::Sources;
use super::error::{Detail, Error};
use super::input::Read;
use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// How the VPN does; `null` is what is not known.
#[derive(Serialize, ToSchema)]
pub(crate) struct VpnStatus {
    /// `disabled`, `single` or `redundant`.
    mode: &'static str,
    /// Whether a VPN is configured.
    enabled: bool,
    /// State of its container, or `disabled`.
    status: &'static str,
    container_name: Option<String>,
    /// The same again.
    container: Option<String>,
    /// `healthy`, `unhealthy`, `starting` or `unknown`.
    health: &'static str,
    connected: bool,
    forwarded_port: Option<u16>,
    public_ip: Option<String>,
    provider: Option<String>,
    country: Option<String>,
    city: Option<String>,
    region: Option<String>,
    last_check: Option<String>,
    /// The same again.
    last_check_at: Option<String>,
    vpn1: Option<serde_json::Value>,
    vpn2: Option<serde_json::Value>,
    emergency_mode: EmergencyMode,
}

/// Running on one VPN of two.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct EmergencyMode {
    active: bool,
    failed_vpn: Option<String>,
    healthy_vpn: Option<String>,
    duration_seconds: u64,
}

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Sources> {
    OpenApiRouter::new().routes(routes!(status)).routes(routes!(public_ip))
}

/// How the VPN does
#[utoipa::path(
    get,
    path = "/vpn/status",
    operation_id = "vpn_status",
    tag = "vpn",
    responses((status = 200, body = VpnStatus))
)]
async fn status(Read(()): Read<()>) -> Json<VpnStatus> {
    Json(VpnStatus {
        mode: "disabled",
        enabled: false,
        status: "disabled",
        container_name: None,
        container: None,
        health: "unknown",
        connected: false,
        forwarded_port: None,
        public_ip: None,
        provider: None,
        country: None,
        city: None,
        region: None,
        last_check: None,
        last_check_at: None,
        vpn1: None,
        vpn2: None,
        emergency_mode: EmergencyMode::default(),
    })
}

/// Exit address of the VPN
#[utoipa::path(
    get,
    path = "/vpn/publicip",
    tag = "vpn",
    responses((status = 503, description = "There is none, or it is not known", body = Detail))
)]
async fn public_ip(Read(()): Read<()>) -> Error {
    Error::Unavailable("Unable to retrieve VPN public IP".into())
}
