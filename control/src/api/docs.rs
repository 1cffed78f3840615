//! The description as JSON, and Swagger UI from inside the binary to read and try it.

use axum::Router;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header;
use std::io::{Cursor, Read};
use zip::ZipArchive;

use super::error;

/// The pages run what comes with them and talk only to where they came from. The inline styles are Swagger UI's own.
const POLICY: &str = "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; \
    connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'self'";

/// The files of Swagger UI that its page loads, packed.
const PAGES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.zip"));
/// No file of it is larger.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// What has it show our description. Swagger UI brings a file of this name that shows somebody else's.
const INITIALIZER: &str = r##"window.onload = () => {
  window.ui = SwaggerUIBundle({
    url: "../openapi.json",
    dom_id: "#swagger-ui",
    deepLinking: true,
    layout: "StandaloneLayout",
    presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
  });
};
"##;

/// Routes that show this description; relative, so that they work under any prefix a proxy adds.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(document: Bytes) -> Router<S> {
    Router::new()
        .route(
            "/openapi.json",
            get(move || async move { ([(header::CONTENT_TYPE, "application/json")], document) }),
        )
        // Relative links of the page need the slash.
        .route("/docs", get(|| async { Redirect::temporary("/docs/") }))
        .route("/redoc", get(|| async { Redirect::temporary("/docs/") }))
        .route("/docs/", get(|| async { file("index.html") }))
        .route("/docs/oauth2-redirect", get(|| async { file("oauth2-redirect.html") }))
        .route(
            "/docs/{file}",
            get(|axum::extract::Path(name): axum::extract::Path<String>| async move { file(&name) }),
        )
}

fn file(name: &str) -> Response {
    let bytes = if name == "swagger-initializer.js" { Some(INITIALIZER.into()) } else { unpacked(name) };
    let Some(bytes) = bytes else { return error::not_found() };
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html",
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        _ => "image/png",
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "max-age=3600"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, bytes).into_response()
}

/// A file of Swagger UI; unpacked for each who asks, which is seldom.
fn unpacked(name: &str) -> Option<Vec<u8>> {
    let mut pages = ZipArchive::new(Cursor::new(PAGES)).ok()?;
    let file = pages.by_name(name).ok()?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
