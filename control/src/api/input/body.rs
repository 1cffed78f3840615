//! Reading and parsing a request body: bounded in bytes and time.

use super::fields::Fault;
use crate::api::error::Error;
use axum::body::Body as Stream;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde_json::Value;
use std::time::Duration;

/// The whole body has to arrive in this time; one that trickles in would hold its connection for hours otherwise.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A body that has been read.
#[derive(Debug)]
pub(crate) enum Body {
    /// It was JSON.
    Json(Value),
    /// It was sent as something else than JSON where JSON is wanted.
    NotJson(Bytes),
    /// Bytes as they came.
    Raw(Bytes),
}

/// Reads a whole body.
pub(crate) async fn read(body: Stream, bytes_max: usize) -> Result<Bytes, Error> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(Error::BodyTooLarge { bytes_max });
    }
    let collected = Limited::new(body, bytes_max).collect();
    match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Error::BodyTooLarge { bytes_max }),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a request body broke off");
            Err(Error::BodyBroken)
        }
        Err(_) => Err(Error::BodyLate),
    }
}

/// Parses a body as its type says; an empty one is none.
pub(crate) fn parse(headers: &HeaderMap, bytes: &Bytes) -> Result<Option<Body>, Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    if !is_json(headers) {
        return Ok(Some(Body::NotJson(bytes.clone())));
    }
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(Some(Body::Json(value))),
        Err(error) => Err(Error::Invalid(vec![Fault::syntax(offset(bytes, &error), &error)])),
    }
}

/// JSON is what says so, and what says nothing.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return true };
    let kind = kind.to_str().unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.is_empty()
        || essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Where in the body the fault is: the parser counts lines and columns.
fn offset(bytes: &[u8], error: &serde_json::Error) -> usize {
    let before = bytes.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    (before.map(<[u8]>::len).sum::<usize>() + error.column()).saturating_sub(1).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(kind: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        }
        headers
    }

    /// Guards: which content types are taken for JSON.
    #[test]
    fn json_is_what_says_so_and_what_says_nothing() {
        for kind in [None, Some("application/json; charset=utf-8"), Some("Application/Problem+JSON")] {
            let parsed = parse(&headers(kind), &Bytes::from_static(b"{}"));
            assert!(matches!(parsed, Ok(Some(Body::Json(_)))), "{kind:?}");
        }
        for kind in ["application/x-www-form-urlencoded", "text/json", "application/jsonp", "text/plain"] {
            let parsed = parse(&headers(Some(kind)), &Bytes::from_static(b"{}"));
            assert!(matches!(parsed, Ok(Some(Body::NotJson(_)))), "{kind}");
        }
        assert!(matches!(parse(&headers(None), &Bytes::new()), Ok(None)));
    }

    /// Guards: the byte offset told for a syntax fault, over lines, and that deep nesting is a fault and not a crash.
    #[test]
    fn a_fault_of_syntax_has_its_place() {
        let text = b"{\n \"a\": 1,\n \"b\" 2}";
        let error = serde_json::from_slice::<Value>(text).unwrap_err();
        assert_eq!(text[offset(text, &error)], b'2');
        let deep = Bytes::from("[".repeat(100_000));
        assert!(matches!(parse(&headers(None), &deep), Err(Error::Invalid(_))));
    }
}
