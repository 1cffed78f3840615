//! Error answers: always JSON with `detail`; where the data plane would answer, also its `error` and `code`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;
use sluice_contract::RefusalCode;

/// `{"detail": …}` with a status.
pub(crate) fn detail(status: StatusCode, detail: impl Into<String>) -> Response {
    (status, Json(json!({ "detail": detail.into() }))).into_response()
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
