//! Every route of this plane, and what the others get.

use super::{Options, Sources, cors, error, panel, proxy};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use hyper::body::Body as _;
use serde_json::json;
use sluice_contract::RefusalCode;
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

/// Builds the router.
pub(crate) fn router(options: &Options, sources: &Sources) -> Router {
    let routes = Router::new()
        .route("/", get(|| async { Redirect::temporary("/panel/") }))
        .route("/panel", get(|| async { Redirect::temporary("/panel/") }))
        .route("/panel/", get(panel::index))
        .route("/panel/{*path}", get(panel::index))
        .route("/favicon.ico", get(panel::icon))
        .route("/favicon.svg", get(panel::icon))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .route("/proxy/status", get(proxy::status))
        .route("/proxy/sessions", get(proxy::sessions))
        .route("/proxy/sessions/{id}", get(proxy::session))
        .route("/proxy/sessions/{id}/move", post(proxy::move_session))
        .route("/proxy/sessions/{id}/clients", get(proxy::clients))
        .route("/proxy/streams/{id}/clients", get(proxy::clients))
        .route("/ace/{*path}", any(stray))
        .method_not_allowed_fallback(|| async { error::method_not_allowed() })
        .with_state(sources.clone());
    // An invalid origin is refused before the plane starts.
    let origin = HeaderValue::from_str(&options.cors_origin).unwrap_or(HeaderValue::from_static("null"));
    let body_bytes_max = options.body_bytes_max;
    routes
        .clone()
        .fallback(move |uri: Uri, headers: HeaderMap| unknown(routes.clone(), uri, headers))
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .layer(from_fn(move |request, next| limit_body(body_bytes_max, request, next)))
        .layer(CatchPanicLayer::custom(error::internal))
        .layer(from_fn_with_state(origin, cors::apply))
}

/// Refuses an announced body that is too large before it is sent; one that is not announced is cut off by whoever
/// reads it.
async fn limit_body(bytes_max: usize, request: Request, next: Next) -> Response {
    if request.body().size_hint().lower() > bytes_max as u64 {
        let text = format!("the request body is larger than {bytes_max} bytes");
        return error::detail(StatusCode::PAYLOAD_TOO_LARGE, text);
    }
    next.run(request).await
}

/// A trailing slash leads to the route without it; anything else is not found.
async fn unknown(routes: Router, uri: Uri, headers: HeaderMap) -> Response {
    let Some(path) = uri.path().strip_suffix('/').filter(|path| path.starts_with('/')) else {
        return error::not_found();
    };
    // A method no route has tells whether there is a route without running its handler.
    let probe = Request::builder().method(Method::TRACE).uri(path).body(axum::body::Body::empty());
    let is_route = match probe {
        Ok(probe) => routes.oneshot(probe).await.is_ok_and(|answer| answer.status() != StatusCode::NOT_FOUND),
        Err(_) => false,
    };
    if !is_route {
        return error::not_found();
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    // With the host the location is absolute, as documented; a client that names none gets the path.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = host.map(|host| format!("http://{host}")).unwrap_or_default();
    Redirect::temporary(&format!("{origin}{path}{query}")).into_response()
}

/// A request for the data plane that stays here: it has a body, or a shard has no use for it.
async fn stray(request: Request) -> Response {
    if ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method()) {
        let mut response = error::refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            RefusalCode::MethodNotAllowed,
            "Method not allowed",
        );
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
        return response;
    }
    if request.body().is_end_stream() {
        return error::refusal(StatusCode::NOT_FOUND, RefusalCode::NotFound, "Not Found");
    }
    error::refusal(StatusCode::BAD_REQUEST, RefusalCode::BadRequest, "a request for a stream has no body")
}

async fn version() -> Response {
    Json(json!({ "version": env!("CARGO_PKG_VERSION"), "title": "Sluice" })).into_response()
}

async fn metrics(State(sources): State<Sources>, headers: HeaderMap) -> Response {
    let wants_openmetrics = headers
        .get_all(header::ACCEPT)
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("application/openmetrics-text")));
    let exposition = sources.metrics.expose(wants_openmetrics);
    ([(header::CONTENT_TYPE, exposition.content_type)], exposition.text).into_response()
}
