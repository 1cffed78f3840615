//! Error answers: always JSON with `detail`; where the data plane would answer, also its `error` and `code`.

use super::input::Fault;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use sluice_contract::RefusalCode;
use std::borrow::Cow;
use utoipa::ToSchema;

/// Why a request is not served. Each variant has one status; the text is for the caller.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Error {
    /// 401: no key was shown.
    #[error("missing bearer token")]
    KeyMissing,
    /// 403: the key is wrong.
    #[error("invalid token")]
    KeyWrong,
    /// 422: the request does not say what it should; every fault found.
    #[error("{} faults in the request", .0.len())]
    Invalid(Vec<Fault>),
    /// 413.
    #[error("the request body is larger than {bytes_max} bytes")]
    BodyTooLarge {
        /// What is allowed.
        bytes_max: usize,
    },
    /// 408: the body did not arrive in time.
    #[error("the request body did not arrive in time")]
    BodyLate,
    /// 400: the body broke off or is not framed as announced.
    #[error("the request body broke off")]
    BodyBroken,
    /// 404.
    #[error("{0}")]
    NotFound(Cow<'static, str>),
    /// 409: not in the present state of things.
    #[error("{0}")]
    Conflict(Cow<'static, str>),
    /// 400: the request is well formed and asks for what must not be.
    #[error("{0}")]
    Refused(Cow<'static, str>),
    /// 500: our own fault.
    #[error("{0}")]
    Internal(Cow<'static, str>),
    /// 404 with the text older clients look for.
    #[error("Engine not found")]
    NoEngine,
    /// 503: something this needs is not there.
    #[error("{0}")]
    Unavailable(Cow<'static, str>),
    /// 503: no engine can be started now.
    #[error("{}", .0.message)]
    Blocked(Blocked),
}

/// Why no engine can be started, as programs read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Blocked {
    /// `provisioning_blocked` or `provisioning_failed`.
    pub(crate) error: &'static str,
    /// What blocks: `vpn_disconnected`, `circuit_breaker`, `max_capacity`, `docker_unavailable`, …
    pub(crate) code: &'static str,
    /// The same for a person.
    pub(crate) message: Cow<'static, str>,
    /// Seconds until it may work, when known.
    pub(crate) recovery_eta_seconds: Option<u64>,
    /// Whether trying again soon may help.
    pub(crate) can_retry: bool,
    /// Whether waiting for capacity may help.
    pub(crate) should_wait: bool,
}

/// `{"detail": …}`: what every error answer is.
#[derive(Serialize, ToSchema)]
pub(crate) struct Detail {
    /// Text for a person, or an object with a `code`.
    #[schema(value_type = serde_json::Value)]
    pub(crate) detail: Value,
}

/// What an unknown engine is answered.
#[derive(Serialize, ToSchema)]
pub(crate) struct Named {
    detail: &'static str,
    error: &'static str,
}

/// The 422 answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct InvalidDetail {
    /// Every fault found.
    #[allow(dead_code, reason = "describes the answer; it is written from the faults themselves")]
    pub(crate) detail: Vec<Fault>,
}

impl Error {
    /// The status the caller sees.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::KeyMissing => StatusCode::UNAUTHORIZED,
            Self::KeyWrong => StatusCode::FORBIDDEN,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyLate => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::NotFound(_) | Self::NoEngine => StatusCode::NOT_FOUND,
            Self::Refused(_) => StatusCode::BAD_REQUEST,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Unavailable(_) | Self::Blocked(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let detail = match &self {
            Self::NoEngine => {
                let body = Named { detail: "Engine not found", error: "not found" };
                return (self.status(), Json(body)).into_response();
            }
            Self::Invalid(faults) => json!(faults),
            Self::Blocked(blocked) => json!(blocked),
            other => Value::String(other.to_string()),
        };
        let mut response = (self.status(), Json(Detail { detail })).into_response();
        if self == Self::KeyMissing {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// `{"detail": …}` with a status.
pub(crate) fn detail(status: StatusCode, detail: impl Into<String>) -> Response {
    (status, Json(Detail { detail: Value::String(detail.into()) })).into_response()
}

/// The data plane's shape, `detail` repeating the text for older clients.
pub(crate) fn refusal(status: StatusCode, code: RefusalCode, text: &str) -> Response {
    (status, Json(json!({ "error": text, "code": code.as_str(), "detail": text }))).into_response()
}

/// No such route.
pub(crate) fn not_found() -> Response {
    detail(StatusCode::NOT_FOUND, "Not Found")
}

/// The route exists for other methods, which the router names in `Allow`.
pub(crate) fn method_not_allowed() -> Response {
    detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// A handler panicked, which is our bug; the text goes to the log and not to the caller.
pub(crate) fn internal(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("unknown"), "a request failed inside; this is a bug");
    detail(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
}
