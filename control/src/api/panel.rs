//! The panel: one page inside the binary, which reads the REST API and nothing else.

use axum::response::{Html, IntoResponse, Response};
use http::header;

const INDEX: &str = include_str!("../../../dashboard/placeholder/index.html");
const ICON: &str = include_str!("../../../dashboard/placeholder/favicon.svg");
/// The page runs only what is inside it and talks only to where it came from.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
    img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// The page; every path below the panel is a view of it.
pub(crate) async fn index() -> Response {
    let headers = [
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Html(INDEX)).into_response()
}

/// The icon.
pub(crate) async fn icon() -> Response {
    let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "max-age=86400")];
    (headers, ICON).into_response()
}
