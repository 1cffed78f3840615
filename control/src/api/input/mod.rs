//! What a request says: path, query and body, checked as a whole before a handler sees it.
//!
//! A handler names what it takes as a type that implements [`Input`] and receives it through [`Read`] or [`Keyed`]. Every
//! fault of a request is told at once, as the list of the REST contract (`{"detail":[{"type","loc","msg","input"}]}`).
//! The order is: syntax of the body, key, everything else. A body of somebody without a key is read only up to
//! [`STRANGER_BYTES_MAX`].

mod body;
mod fields;
pub(crate) mod rule;

pub(crate) use fields::{Fault, Fields};

use super::Sources;
use super::error::Error;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use bytes::Bytes;

/// What is read of a body whose sender has shown no valid key, to tell about its syntax as the contract says.
const STRANGER_BYTES_MAX: usize = 64 * 1024;

/// Which body a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// None; one that comes is not looked at.
    None,
    /// A JSON object has to come.
    Object,
    /// A JSON object may come; query parameters say the same.
    Either,
    /// A JSON array has to come.
    Array,
    /// Bytes of any type.
    Raw,
}

/// What a route takes.
pub(crate) trait Input: Sized + Send {
    /// Which body.
    const BODY: BodyKind = BodyKind::None;

    /// Reads everything; faults are noted in the fields, and `None` is answered only with one noted.
    fn read(fields: &mut Fields) -> Option<Self>;
}

impl Input for () {
    fn read(_: &mut Fields) -> Option<Self> {
        Some(())
    }
}

/// Path parameters alone, by their number.
impl Input for String {
    fn read(fields: &mut Fields) -> Option<Self> {
        fields.only_path()
    }
}

/// A request anybody may send, unless reads are closed by a setting.
pub(crate) struct Read<T>(pub(crate) T);

/// A request anybody may send, always.
pub(crate) struct Open<T>(pub(crate) T);

/// A request that needs the key.
pub(crate) struct Keyed<T>(pub(crate) T);

impl<T: Input> FromRequest<Sources> for Read<T> {
    type Rejection = Error;

    async fn from_request(request: Request, sources: &Sources) -> Result<Self, Error> {
        let is_allowed =
            if sources.access.reads_need_key() { sources.access.judge(request.headers()) } else { Ok(()) };
        take(request, sources, is_allowed).await.map(Self)
    }
}

impl<T: Input> FromRequest<Sources> for Open<T> {
    type Rejection = Error;

    async fn from_request(request: Request, sources: &Sources) -> Result<Self, Error> {
        take(request, sources, Ok(())).await.map(Self)
    }
}

impl<T: Input> FromRequest<Sources> for Keyed<T> {
    type Rejection = Error;

    async fn from_request(request: Request, sources: &Sources) -> Result<Self, Error> {
        let is_allowed = sources.access.judge(request.headers());
        take(request, sources, is_allowed).await.map(Self)
    }
}

async fn take<T: Input>(
    request: Request,
    sources: &Sources,
    is_allowed: Result<(), Error>,
) -> Result<T, Error> {
    if T::BODY == BodyKind::None {
        is_allowed?;
        let (mut parts, _) = request.into_parts();
        let path = path_of(&mut parts).await;
        return Fields::new(path, parts.uri.query(), None).read();
    }
    let (mut parts, body) = request.into_parts();
    let bytes_max = match &is_allowed {
        Ok(()) => sources.body_bytes_max,
        Err(_) => STRANGER_BYTES_MAX.min(sources.body_bytes_max),
    };
    let read = body::read(body, bytes_max).await;
    // Somebody without a key learns nothing about bodies that are too large for a look.
    let (bytes, is_allowed) = match (read, is_allowed) {
        (Err(_), Err(denied)) => return Err(denied),
        (read, is_allowed) => (read?, is_allowed),
    };
    let value = match T::BODY {
        BodyKind::Raw => Some(body::Body::Raw(bytes)),
        _ => body::parse(&parts.headers, &bytes)?,
    };
    is_allowed?;
    let path = path_of(&mut parts).await;
    let mut fields = Fields::new(path, parts.uri.query(), value);
    fields.expect_body(T::BODY);
    fields.read()
}

async fn path_of(parts: &mut http::request::Parts) -> Vec<String> {
    // Segments are decoded after they were told apart, so that an id may contain `%2F`. One that is no UTF-8 names
    // nothing, like any other unknown id.
    match RawPathParams::from_request_parts(parts, &()).await {
        Ok(params) => params.iter().map(|(_, value)| value.to_owned()).collect(),
        Err(_) => vec![String::from('\u{fffd}')],
    }
}

/// A raw body, for routes that take one.
pub(crate) fn raw(fields: &mut Fields) -> Bytes {
    fields.take_raw()
}
