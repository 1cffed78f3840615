//! One handed-over connection: hyper serves it until it ends, or until its next request belongs to a shard.
//!
//! The hand-back: the service writes the request's head down, puts it aside and never answers; the driver sees it, takes
//! the connection apart while hyper waits, and sends socket, head and everything read so far to a shard as one value.
//! Nothing is lost, because hyper reads the next head only after the previous response is flushed, and a request that
//! has a body is never handed back.

use super::handback::{belongs_to_shards, write_head};
use super::rewind::{Activity, Rewind};
use super::version::without_prefix;
use super::{Options, Sources};
use crate::diagnosis::{self, Kind};
use crate::metrics::{ConnectionEnd, Metrics};
use crate::shards::Shards;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use sluice_contract::{Connection, Guard, RefusalCode, ToShard};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower::ServiceExt;

/// What a connection gets that finds no place. Written without hyper, in one go, into an empty socket buffer.
static REFUSAL: LazyLock<String> = LazyLock::new(|| {
    let text = "too many connections, try again";
    let code = RefusalCode::ControlUnavailable.as_str();
    let body = json!({ "error": text, "code": code, "retry_after": 1, "detail": text }).to_string();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
});
/// After our FIN, what the peer still sends is read and dropped this long, because closing with unread bytes resets
/// the connection and may destroy the response before the peer has read it. A body that was refused for its size is on its way
/// for a while: whoever sends it, or passes it on, often looks for an answer only behind it.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
const LINGER_BYTES_MAX: usize = 32 << 20;

/// A request head put aside for a shard.
type Slot = Mutex<Option<Vec<u8>>>;
type Io = TokioIo<Rewind<TcpStream>>;

/// What every connection is served with.
pub(crate) struct Server {
    http: http1::Builder,
    router: Router,
    shards: Arc<Shards>,
    metrics: Arc<Metrics>,
    diagnosis: diagnosis::Handle,
    idle_timeout: Duration,
    stop: watch::Receiver<bool>,
}

/// Everything about a connection but its socket and bytes.
struct Identity {
    peer: SocketAddr,
    client: IpAddr,
    guard: Guard,
}

/// How driving a connection ended.
enum End {
    /// Hyper is done with it.
    Done(hyper::Result<()>),
    /// The next request is for a shard.
    HandBack,
    /// Nothing moved for too long.
    Idle,
}

impl Server {
    /// Prepares hyper with the limits.
    pub(crate) fn new(
        options: &Options,
        router: Router,
        sources: Sources,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let Sources { shards, metrics, diagnosis, .. } = sources;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(options.head_timeout)
            .max_headers(options.headers_max)
            .max_buf_size(options.head_bytes_max)
            // A client that sent its request and shut its sending side down still wants the answer.
            .half_close(true);
        Self { http, router, shards, metrics, diagnosis, idle_timeout: options.idle_timeout, stop }
    }

    /// Answers 503 and closes.
    pub(crate) fn refuse(&self, connection: Connection) {
        self.metrics.connection_ended(ConnectionEnd::Refused);
        say_and_close(std::net::TcpStream::from(connection.fd));
    }

    /// Serves a connection until it ends or goes back to a shard.
    pub(crate) async fn serve(&self, connection: Connection) {
        let Connection { fd, unread, peer, client, accepted_at: _, guard } = connection;
        let socket = match TcpStream::from_std(std::net::TcpStream::from(fd)) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%error, %peer, "a handed-over socket cannot be served");
                return self.metrics.connection_ended(ConnectionEnd::Failed);
            }
        };
        let end = self.drive(socket, unread, Identity { peer, client, guard }).await;
        self.metrics.connection_ended(end);
    }

    async fn drive(&self, socket: TcpStream, unread: Vec<u8>, identity: Identity) -> ConnectionEnd {
        let slot = Arc::new(Slot::default());
        // A shard chose to hand over the request that came with the connection: giving it back would go on for ever.
        let may_hand_back = AtomicBool::new(unread.is_empty());
        let service = service_fn(|mut request: Request<Incoming>| {
            let plain = without_prefix(request.uri());
            // Without its prefix the address is another one to the shard, which will serve it.
            let is_renamed = plain.is_some();
            if let Some(plain) = plain {
                *request.uri_mut() = plain;
            }
            let belongs = belongs_to_shards(request.uri()) && request.body().is_end_stream();
            let is_handed_back = belongs && (is_renamed || may_hand_back.load(Ordering::Relaxed));
            may_hand_back.store(true, Ordering::Relaxed);
            if is_handed_back {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(write_head(&request));
            }
            let answer = (!is_handed_back).then(|| self.answer(request));
            Box::pin(async move {
                match answer {
                    Some(answer) => answer.await,
                    None => std::future::pending().await,
                }
            })
        });
        let activity = Arc::new(Activity::default());
        let io = TokioIo::new(Rewind::new(unread.into(), socket, activity.clone()));
        let mut connection = self.http.serve_connection(io, service);
        let mut stop = self.stop.clone();
        let mut is_stopping = false;
        let mut moved = activity.bytes();
        let end = loop {
            // Polled as a future and not with `poll_without_shutdown`, which ends while the last answer may still sit in
            // hyper's write buffer, and so would lose it to a slow reader.
            let step = poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(End::Done(outcome)),
                Poll::Pending => {
                    let is_set = slot.lock().unwrap_or_else(PoisonError::into_inner).is_some();
                    if is_set && !activity.is_write_blocked() {
                        Poll::Ready(End::HandBack)
                    } else {
                        Poll::Pending
                    }
                }
            });
            tokio::select! {
                biased;
                end = step => break end,
                _ = stop.wait_for(|stop| *stop), if !is_stopping => {
                    is_stopping = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                () = tokio::time::sleep(self.idle_timeout) => {
                    if activity.bytes() == moved {
                        break End::Idle;
                    }
                    moved = activity.bytes();
                }
            }
        };
        let parts = connection.into_parts();
        let head = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (end, head) {
            (End::HandBack, Some(head)) => self.hand_back(head, &parts.read_buf, parts.io, identity),
            (End::Done(Ok(())), _) => {
                linger(parts.io).await;
                ConnectionEnd::Closed
            }
            (End::Done(Err(error)), _) => {
                tracing::debug!(%error, peer = %identity.peer, "an HTTP connection failed");
                linger(parts.io).await;
                if error.is_timeout() { ConnectionEnd::HeadTimeout } else { ConnectionEnd::Failed }
            }
            (End::Idle | End::HandBack, _) => ConnectionEnd::Idle,
        }
    }

    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
        let router = self.router.clone();
        let metrics = self.metrics.clone();
        let diagnosis = self.diagnosis.clone();
        // What is said of it when it was answered; only noted when somebody wants to know.
        let noted = diagnosis
            .is_debugging()
            .then(|| (Instant::now(), request.method().clone(), request.uri().path().to_owned()));
        async move {
            let response =
                router.oneshot(request.map(|body| Body::new(body.map_err(axum::Error::new)))).await?;
            metrics.request_answered(response.status());
            if let Some((since, method, path)) = noted {
                let (status, took) = (response.status(), since.elapsed());
                diagnosis.line(Kind::Request, || diagnosis::request(&method, &path, status, took));
            }
            Ok(response)
        }
    }

    fn hand_back(&self, mut unread: Vec<u8>, read: &Bytes, io: Io, identity: Identity) -> ConnectionEnd {
        let (rest, socket) = io.into_inner().into_parts();
        unread.extend_from_slice(read);
        unread.extend_from_slice(&rest);
        let socket = match socket.into_std() {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be handed back");
                return ConnectionEnd::Failed;
            }
        };
        let Identity { peer, client, guard } = identity;
        // The shard's clocks (hand-over latency, head deadline) count from this request, not from an accept that may
        // be hours ago.
        let connection =
            Connection { fd: socket.into(), unread, peer, client, accepted_at: Instant::now(), guard };
        match self.shards.send_any(ToShard::Connection(connection)) {
            Ok(()) => ConnectionEnd::HandedBack,
            Err(ToShard::Connection(connection)) => {
                say_and_close(connection.fd.into());
                ConnectionEnd::Refused
            }
            Err(_) => ConnectionEnd::Failed,
        }
    }
}

/// Writes the refusal as far as the socket takes it at once, which is all of it unless the peer does not read.
fn say_and_close(mut socket: std::net::TcpStream) {
    if socket.write_all(REFUSAL.as_bytes()).is_err() || socket.shutdown(std::net::Shutdown::Write).is_err() {
        tracing::debug!("a refused connection did not take its answer");
    }
}

/// Ends a connection with FIN, which hyper has not sent after an error, and reads what is still coming.
async fn linger(io: Io) {
    let (_, mut socket) = io.into_inner().into_parts();
    let goodbye = async {
        let mut scratch = vec![0; 64 << 10];
        let mut left = LINGER_BYTES_MAX;
        socket.shutdown().await?;
        while left > 0 {
            match socket.read(&mut scratch).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok::<_, std::io::Error>(())
    };
    // Whether the peer took part does not matter any more.
    let _ = tokio::time::timeout(LINGER_TIMEOUT, goodbye).await;
}
