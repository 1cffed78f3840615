//! Every route of this plane, and what the others get.

use super::{
    Options, Sources, caches, containers, cors, docs, engines, error, events, health, looping, openapi,
    panel, proxy, service, settings, sign_in, streams, timeline, variables, variant, vpn,
};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use hyper::body::Body as _;
use sluice_contract::RefusalCode;
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

/// The routes that are described, and their description.
fn described() -> (Router<Sources>, OpenApi) {
    let (routes, document) = OpenApiRouter::with_openapi(openapi::base())
        .merge(service::routes())
        .merge(health::routes())
        .merge(engines::routes())
        .merge(caches::routes())
        .merge(streams::routes())
        .merge(events::routes())
        .merge(looping::routes())
        .merge(proxy::routes())
        .merge(timeline::routes())
        .merge(containers::routes())
        .merge(vpn::routes())
        .merge(settings::routes())
        .merge(variables::routes())
        .merge(variant::routes())
        .split_for_parts();
    (routes, openapi::complete(document))
}

/// Builds the router.
pub(crate) fn router(options: &Options, sources: &Sources) -> Router {
    let (described, document) = described();
    // What utoipa makes can always be written as JSON.
    let document = document.to_json().unwrap_or_default();
    let routes = described
        .merge(docs::routes(document.into()))
        .merge(sign_in::routes())
        .route("/", get(panel::home))
        .route("/panel", get(panel::home))
        .route("/panel/", get(panel::index))
        .route("/panel/{*path}", get(panel::below))
        .route("/favicon.ico", get(panel::icon))
        .route("/favicon.svg", get(panel::icon))
        .route("/favicon-96x96.png", get(panel::icon))
        .route("/favicon-96x96-dark.png", get(panel::icon))
        .route("/apple-touch-icon.png", get(panel::icon))
        .route("/ace/{*path}", any(stray))
        .method_not_allowed_fallback(|| async { error::method_not_allowed() })
        .with_state(sources.clone());
    #[cfg(feature = "faults")]
    let routes = routes.merge(super::faults::routes().with_state(sources.clone()));
    // An invalid origin is refused before the plane starts.
    let origin = HeaderValue::from_str(&options.cors_origin).unwrap_or(HeaderValue::from_static("null"));
    surrounded(routes, origin, options.body_bytes_max)
}

/// What every route is surrounded with: redirects, limits, and answers to what goes wrong inside.
fn surrounded(routes: Router, origin: HeaderValue, body_bytes_max: usize) -> Router {
    routes
        .clone()
        .fallback(move |uri: Uri, headers: HeaderMap| unknown(routes.clone(), uri, headers))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: a handler that fails inside answers JSON with the headers a browser needs, and tells nothing of the cause.
    #[tokio::test]
    async fn failures_inside_are_told_in_json() {
        async fn fail() -> &'static str {
            panic!("the cause")
        }
        let routes = surrounded(Router::new().route("/", get(fail)), HeaderValue::from_static("*"), 10);
        let request = Request::builder().uri("/").header(header::ORIGIN, "http://panel");
        let answer = routes.oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        let body = axum::body::to_bytes(answer.into_body(), 1000).await.unwrap();
        assert_eq!(body, r#"{"detail":"Internal Server Error"}"#);
    }

    /// Where the description is checked in, seen from this package.
    const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/openapi.json");

    /// Guards: the description that is checked in is the one that is served, so that no route, shape or status changes
    /// without somebody seeing it. `make docs` writes it anew.
    #[test]
    fn the_description_is_the_one_checked_in() {
        let (_, document) = described();
        let mut made = document.to_pretty_json().unwrap();
        made.push('\n');
        if std::env::var_os("SLUICE_TEST_WRITE_DOCS").is_some() {
            std::fs::write(CHECKED_IN, &made).unwrap();
        }
        let found = std::fs::read_to_string(CHECKED_IN).unwrap_or_default();
        assert!(found == made, "docs/reference/openapi.json is not what the routes say; run `make docs`");
    }

    /// Guards: each operation has a name of its own, which programs made of the description go by.
    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let (_, document) = described();
        let document = serde_json::to_value(document).unwrap();
        let paths = document["paths"].as_object().unwrap().iter();
        let operations = paths.flat_map(|(path, methods)| {
            methods.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation))
        });
        let mut known = std::collections::HashMap::new();
        for (path, method, operation) in operations {
            let id = operation["operationId"].as_str().map(str::to_owned);
            let id = id.unwrap_or_else(|| panic!("{method} {path} has no name"));
            if let Some(other) = known.insert(id.clone(), path) {
                panic!("{path} and {other} are both called {id}");
            }
        }
        assert!(known.len() > 60, "{}", known.len());
    }
}
