//! One bounded GET to an engine's JSON API: connect, ask, read a capped body, parse.
//!
//! A connection per call, because engines treat idle connections as they please and calls are rare. Compression is
//! refused explicitly: engines deliver nothing to clients that offer it.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;

/// Largest answer taken. A media list of a large archive stays far below; anything larger is not an API answer.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Largest answer head taken.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Why there is no JSON.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The connection was refused, reset or has no route.
    #[error("cannot connect: {0}")]
    Connect(#[source] std::io::Error),
    /// No connection within the time allowed.
    #[error("no connection within {0:?}")]
    Unconnected(Duration),
    /// Connected, and no complete answer within the time allowed.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The peer does not speak HTTP, or closed early.
    #[error("not a complete HTTP answer: {0}")]
    Http(#[source] hyper::Error),
    /// An HTTP error.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The body is larger than any API answer.
    #[error("the answer is larger than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    /// The body broke off or is not framed as announced.
    #[error("the answer broke off: {0}")]
    Body(String),
    /// The body is not JSON.
    #[error("the answer is not JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// The request cannot be expressed; the target or authority is malformed.
    #[error("malformed request: {0}")]
    Request(#[source] http::Error),
}

/// Where and what to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    /// Where to connect.
    pub(crate) address: SocketAddr,
    /// The `Host` header.
    pub(crate) authority: &'a str,
    /// Path and query.
    pub(crate) target: &'a str,
    /// The whole call must be over after this.
    pub(crate) timeout: Duration,
}

/// Asks and answers with the parsed body.
///
/// Cancel safe: dropping the future closes the connection.
///
/// # Errors
/// Every way in which there is no JSON, see [`Error`].
pub(crate) async fn json(call: Call<'_>) -> Result<serde_json::Value, Error> {
    let is_connected = AtomicBool::new(false);
    let answer = tokio::time::timeout(call.timeout, attempt(call, &is_connected)).await;
    answer.unwrap_or_else(|_| match is_connected.load(Ordering::Relaxed) {
        true => Err(Error::Late(call.timeout)),
        false => Err(Error::Unconnected(call.timeout)),
    })
}

async fn attempt(call: Call<'_>, is_connected: &AtomicBool) -> Result<serde_json::Value, Error> {
    let request = http::Request::get(call.target)
        .header(http::header::HOST, call.authority)
        .header(http::header::ACCEPT_ENCODING, "identity")
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(Error::Request)?;
    let stream = TcpStream::connect(call.address).await.map_err(Error::Connect)?;
    is_connected.store(true, Ordering::Relaxed);
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Error::Http)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(Error::Http)?;
        if !response.status().is_success() {
            return Err(Error::Status(response.status().as_u16()));
        }
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { Error::TooLarge } else { Error::Body(error.to_string()) }
        })?;
        serde_json::from_slice(&body.to_bytes()).map_err(Error::Json)
    };
    // Driving the connection here instead of in a task of its own is what makes a dropped call close it.
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The connection ends first when the whole answer has been read into the body channel, or on an error that
        // the answer then reports.
        _ = connection => answer.await,
    }
}
