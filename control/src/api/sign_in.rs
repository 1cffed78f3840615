//! Signing in to the panel and out again, and what a stranger may know about that. Routes of the panel's own, so not part of the
//! described API: programs show the key itself.

use super::Sources;
use super::error::Error;
use super::input::{BodyKind, Fields, Input, Open, rule};
use super::sessions::{is_marked, is_secure};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use std::time::Instant;

/// Longer than any key.
const KEY_CHARS_MAX: usize = 4096;

/// What the panel has to know before it asks for anything.
#[derive(Serialize)]
struct Standing {
    /// Whether there is a key at all.
    needs_key: bool,
    /// Whether reading needs it too.
    reads_need_key: bool,
    /// Whether this request may change something.
    is_signed_in: bool,
}

struct SignIn {
    key: String,
}

impl Input for SignIn {
    const BODY: BodyKind = BodyKind::Object;

    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Self { key: fields.body("key").required(rule::string(KEY_CHARS_MAX))? })
    }
}

/// Routes of this file.
pub(super) fn routes() -> Router<Sources> {
    Router::new().route("/panel/session", axum::routing::get(standing).post(begin).delete(end))
}

async fn standing(State(sources): State<Sources>, headers: HeaderMap) -> Response {
    let standing = Standing {
        needs_key: sources.access.has_key(),
        reads_need_key: sources.access.has_key() && sources.access.reads_need_key(),
        is_signed_in: sources.access.judge(&headers).is_ok(),
    };
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(standing)).into_response()
}

async fn begin(
    State(sources): State<Sources>,
    headers: HeaderMap,
    Open(SignIn { key }): Open<SignIn>,
) -> Result<Response, Error> {
    only_panel(&headers)?;
    sources.access.judge_key(key.trim().as_bytes())?;
    let cookie = sources.access.sessions().begin(Instant::now(), is_secure(&headers));
    let cookie = cookie.ok_or(Error::Unavailable("the kernel gives no random bytes".into()))?;
    Ok(with_cookie(&cookie))
}

async fn end(State(sources): State<Sources>, headers: HeaderMap) -> Result<Response, Error> {
    only_panel(&headers)?;
    Ok(with_cookie(&sources.access.sessions().end(&headers, is_secure(&headers))))
}

/// A page of another origin may neither sign anybody in nor out.
fn only_panel(headers: &HeaderMap) -> Result<(), Error> {
    if is_marked(headers) { Ok(()) } else { Err(Error::Refused("only the panel signs in here".into())) }
}

fn with_cookie(cookie: &str) -> Response {
    let mut answer = StatusCode::NO_CONTENT.into_response();
    // Made of letters, digits and signs that a header may have.
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}
