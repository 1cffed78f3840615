//! The description as JSON, and Swagger UI from inside the binary to read and try it.

use axum::Router;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{StatusCode, header};
use std::sync::Arc;
use utoipa_swagger_ui::Config;

use super::error;

/// The pages run what comes with them and talk only to where they came from. The inline styles are Swagger UI's own.
const POLICY: &str = "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; \
    connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'self'";

/// Routes that show this description; relative, so that they work under any prefix a proxy adds.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(document: Bytes) -> Router<S> {
    let config = Arc::new(Config::from("../openapi.json"));
    let file = move |name: &str| file(name, config.clone());
    let (index, redirect, assets) = (file.clone(), file.clone(), file);
    Router::new()
        .route(
            "/openapi.json",
            get(move || async move { ([(header::CONTENT_TYPE, "application/json")], document) }),
        )
        // Relative links of the page need the slash.
        .route("/docs", get(|| async { Redirect::temporary("/docs/") }))
        .route("/redoc", get(|| async { Redirect::temporary("/docs/") }))
        .route("/docs/", get(move || async move { index("index.html") }))
        .route("/docs/oauth2-redirect", get(move || async move { redirect("oauth2-redirect.html") }))
        .route(
            "/docs/{file}",
            get(move |axum::extract::Path(name): axum::extract::Path<String>| async move { assets(&name) }),
        )
}

fn file(name: &str, config: Arc<Config<'static>>) -> Response {
    match utoipa_swagger_ui::serve(name, config) {
        Ok(Some(file)) => {
            let headers = [
                (header::CONTENT_TYPE, file.content_type),
                (header::CACHE_CONTROL, "max-age=3600".to_owned()),
                (header::CONTENT_SECURITY_POLICY, POLICY.to_owned()),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            ];
            (headers, file.bytes.into_owned()).into_response()
        }
        Ok(None) => error::not_found(),
        Err(error) => {
            tracing::error!(%error, name, "a page of the API description cannot be made; this is a bug");
            error::detail(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        }
    }
}
