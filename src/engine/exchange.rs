//! One request and the head of its answer.

use crate::http::body::Truncated;
use crate::http::chunked::ChunkError;
use crate::http::url::UrlError;
use crate::http::{HeadError, ResponseHead, ResponseParsed, parse_response};
use crate::media::hls::reading;
use crate::uring::Socket;
use monoio::time::timeout;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Engines sit on the same host or network; a connection that takes longer than this will not come.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where an engine answers and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Address of its HTTP API.
    pub address: SocketAddr,
    /// `host:port` for the `Host` header.
    pub authority: Arc<str>,
    /// `User-Agent` to send; engines treat players differently.
    pub user_agent: Arc<str>,
}

/// Why an exchange with an engine failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error("cannot connect to engine {authority}: {source}")]
    Connect {
        /// Which engine.
        authority: Arc<str>,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("connection to the engine broke: {0}")]
    Io(#[from] io::Error),
    /// The engine closed the connection before an answer; it does that to clients it denies access.
    #[error("the engine closed the connection without an answer")]
    NoAnswer,
    /// The answer is not HTTP as we accept it.
    #[error("the engine's answer is not valid HTTP: {0}")]
    Head(#[from] HeadError),
    /// The body breaks its own framing.
    #[error("the engine's answer is not chunked as it says: {0}")]
    Chunks(#[from] ChunkError),
    /// The body ended before its framing says so.
    #[error("the engine's answer broke off: {0}")]
    Truncated(#[from] Truncated),
    /// The answer is longer than it may be.
    #[error("the engine's answer exceeds {0} bytes")]
    TooLong(usize),
    /// Not in time.
    #[error("the engine did not answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// It neither answered nor gave any other sign of life.
    #[error("the engine gave no sign of life for {} s", .0.as_secs())]
    Hung(Duration),
    /// No media, and no progress towards it.
    #[error("no media from the engine within {} s", .0.as_secs())]
    NoMedia(Duration),
    /// An answer with an error in it.
    #[error("engine error: {0}")]
    Refused(String),
    /// The engine does not know the content.
    #[error("the engine does not know this content: {0}")]
    Unknown(String),
    /// A status that is not part of the conversation.
    #[error("unexpected status {status} from the engine: {text}")]
    Status {
        /// HTTP status.
        status: u16,
        /// Beginning of the body.
        text: String,
    },
    /// A redirect that leads nowhere.
    #[error("the engine redirects {0}")]
    Redirect(&'static str),
    /// A link in the answer cannot be used.
    #[error("unusable link in the engine's answer: {0}")]
    Link(#[from] UrlError),
    /// A playlist that cannot be played.
    #[error("unusable playlist from the engine: {0}")]
    Playlist(#[from] reading::Fault),
    /// JSON that says something else than it should.
    #[error("unexpected JSON from the engine: {0}")]
    Json(String),
}

/// An answer whose body has not been read.
pub(super) struct Exchange {
    pub socket: Socket,
    pub head: ResponseHead,
    /// Body bytes that came with the head.
    pub unread: Vec<u8>,
}

/// Runs a call under a deadline.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(limit, call).await.unwrap_or(Err(Error::Timeout(limit)))
}

/// Sends a GET and reads the head of the answer. The caller sets the deadline, since only it knows how long an engine
/// may stay silent.
pub(super) async fn get(endpoint: &Endpoint, target: &str) -> Result<Exchange, Error> {
    let connect = async {
        let attempt = timeout(CONNECT_TIMEOUT, Socket::connect(endpoint.address)).await;
        attempt.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    };
    let socket =
        connect.await.map_err(|source| Error::Connect { authority: endpoint.authority.clone(), source })?;
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\
         Connection: close\r\n\r\n",
        endpoint.authority, endpoint.user_agent
    );
    socket.send_all(request.as_bytes()).await?;
    let mut unread = Vec::with_capacity(4096);
    // Not on the stack: callers keep what this needs for as long as they live.
    let mut chunk = vec![0; 4096];
    loop {
        match parse_response(&unread)? {
            ResponseParsed::Complete { head, consumed } => {
                unread.drain(..consumed);
                return Ok(Exchange { socket, head, unread });
            }
            ResponseParsed::Partial => {}
        }
        match socket.recv(&mut chunk).await {
            Ok(0) if unread.is_empty() => return Err(Error::NoAnswer),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(count) => unread.extend_from_slice(&chunk[..count]),
            Err(error) => return Err(error.into()),
        }
    }
}

impl Exchange {
    /// Reads the body to its end. A body without framing ends when the engine closes.
    pub(super) async fn text(self) -> Result<String, Error> {
        super::body::Body::new(self).text().await
    }

    /// The beginning of a body that is only wanted for an error text; what does not come at once is not waited for.
    pub(super) async fn excerpt(self) -> String {
        let patience = Duration::from_millis(500);
        match timeout(patience, self.text()).await {
            Ok(Ok(text)) => clip(&text),
            _ => "(no text came)".into(),
        }
    }
}

/// Cuts engine text to what fits a log line and strips control characters.
pub(crate) fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect::<String>().trim().to_owned()
}

/// Fetches a small JSON document.
pub(super) async fn json(
    endpoint: &Endpoint,
    target: &str,
    limit: Duration,
) -> Result<serde_json::Value, Error> {
    within(limit, async {
        let exchange = get(endpoint, target).await?;
        let status = exchange.head.status;
        let text = exchange.text().await?;
        if status != 200 {
            return Err(Error::Status { status, text: clip(&text) });
        }
        serde_json::from_str(&text).map_err(|error| Error::Json(format!("{error} in {:?}", clip(&text))))
    })
    .await
}

/// Time left until `deadline`, never zero, so that a call that is due still gets to fail by itself.
pub(super) fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}
