//! One bounded HTTP call: connect, ask, read a capped body. Mostly a GET to an engine's JSON API.
//!
//! A connection per call, because engines treat idle connections as they please and most calls are rare. Whoever calls often keeps
//! the connection ([`Kept`]): thousands of new ones a second fill the host's table of connections (conntrack) with those that
//! are over. Compression is refused explicitly: engines deliver nothing to clients that offer it.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::pin::Pin;
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
    in_time(call.timeout, async |is_connected| {
        let mut fresh = Kept::connect(call, is_connected).await?;
        fresh.ask(request(call, "close")?).await
    })
    .await
}

/// The same on a connection that has answered before, if there is one and it is still good, and with the connection for next time.
/// For questions only: what was lost with a connection is asked again on a new one.
///
/// Cancel safe: dropping the future closes the connection.
///
/// # Errors
/// Every way in which there is no JSON, see [`Error`].
pub(crate) async fn json_kept(
    call: Call<'_>,
    kept: Option<Kept>,
) -> (Result<serde_json::Value, Error>, Option<Kept>) {
    let mut used = None;
    let answer = in_time(call.timeout, async |is_connected| {
        if let Some(mut kept) = kept {
            is_connected.store(true, Ordering::Relaxed);
            match kept.ask(request(call, "keep-alive")?).await {
                // It was closed since, or the engine was another one before.
                Err(Error::Http(_)) => is_connected.store(false, Ordering::Relaxed),
                answer => {
                    used = Some(kept);
                    return answer;
                }
            }
        }
        let fresh = used.insert(Kept::connect(call, is_connected).await?);
        fresh.ask(request(call, "keep-alive")?).await
    })
    .await;
    // One that gave no answer may still bring it, to the next question.
    let kept = used.filter(|kept| answer.is_ok() && kept.is_open());
    (answer, kept)
}

async fn in_time<T>(
    timeout: Duration,
    attempt: impl AsyncFnOnce(&AtomicBool) -> Result<T, Error>,
) -> Result<T, Error> {
    let is_connected = AtomicBool::new(false);
    let answer = tokio::time::timeout(timeout, attempt(&is_connected)).await;
    answer.unwrap_or_else(|_| match is_connected.load(Ordering::Relaxed) {
        true => Err(Error::Late(timeout)),
        false => Err(Error::Unconnected(timeout)),
    })
}

/// Sends JSON to a route on a connection of its own and reads away what it answers; the whole call must be over after
/// `timeout`.
///
/// Cancel safe: dropping the future closes the connection.
///
/// # Errors
/// When the route did not take it, see [`Error`].
pub(crate) async fn post(
    to: (&str, u16),
    authority: &str,
    target: &str,
    body: String,
    timeout: Duration,
) -> Result<(), Error> {
    in_time(timeout, async |is_connected| {
        let request = http::Request::post(target)
            .header(http::header::HOST, authority)
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::CONNECTION, "close")
            .body(Full::new(Bytes::from(body)))
            .map_err(Error::Request)?;
        let stream = TcpStream::connect(to).await.map_err(Error::Connect)?;
        is_connected.store(true, Ordering::Relaxed);
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(Error::Http)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(Error::Http)?;
            match response.status() {
                status if !status.is_success() => Err(Error::Status(status.as_u16())),
                _ => Limited::new(response.into_body(), BODY_BYTES_MAX)
                    .collect()
                    .await
                    .map(drop)
                    .map_err(|error| Error::Body(error.to_string())),
            }
        };
        tokio::pin!(answer);
        // Driven here, as above: the connection is over with the call.
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
    })
    .await
}

fn request(call: Call<'_>, connection: &'static str) -> Result<http::Request<Empty<Bytes>>, Error> {
    http::Request::get(call.target)
        .header(http::header::HOST, call.authority)
        .header(http::header::ACCEPT_ENCODING, "identity")
        .header(http::header::CONNECTION, connection)
        .body(Empty::<Bytes>::new())
        .map_err(Error::Request)
}

/// Has to be polled for anything to happen on the connection.
type Driven = http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>;

/// A connection to an engine, closed when dropped. It is driven by whoever asks on it, so nothing is heard of it in between.
pub(crate) struct Kept {
    sender: http1::SendRequest<Empty<Bytes>>,
    /// `None` once it has ended.
    connection: Option<Pin<Box<Driven>>>,
}

impl Kept {
    async fn connect(call: Call<'_>, is_connected: &AtomicBool) -> Result<Self, Error> {
        let stream = TcpStream::connect(call.address).await.map_err(Error::Connect)?;
        is_connected.store(true, Ordering::Relaxed);
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(Error::Http)?;
        Ok(Self { sender, connection: Some(Box::pin(connection)) })
    }

    /// Whether another question can be asked, as far as is known.
    fn is_open(&self) -> bool {
        self.connection.is_some() && !self.sender.is_closed()
    }

    async fn ask(&mut self, request: http::Request<Empty<Bytes>>) -> Result<serde_json::Value, Error> {
        let Self { sender, connection } = self;
        let answer = async {
            sender.ready().await.map_err(Error::Http)?;
            let response = sender.send_request(request).await.map_err(Error::Http)?;
            if !response.status().is_success() {
                return Err(Error::Status(response.status().as_u16()));
            }
            let body =
                Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.map_err(|error| {
                    if error.is::<LengthLimitError>() {
                        Error::TooLarge
                    } else {
                        Error::Body(error.to_string())
                    }
                })?;
            serde_json::from_slice(&body.to_bytes()).map_err(Error::Json)
        };
        // Driving the connection here instead of in a task of its own is what makes a dropped call close it.
        tokio::pin!(answer);
        if let Some(driven) = connection {
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                _ = driven => {}
            }
        }
        // The connection ends first when the whole answer has been read into the body channel, or on an error that
        // the answer then reports. One that the peer closed meanwhile ends without a look at the question, which would wait
        // for as long as the connection is there.
        *connection = None;
        answer.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const TIMEOUT: Duration = Duration::from_secs(20);

    /// Answers one question.
    async fn answer(socket: &mut TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if socket.read_buf(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n7").await;
    }

    /// A peer that answers so many questions on each connection, then closes it; where it is, and connections taken.
    async fn peer(answers: u32) -> (SocketAddr, Arc<AtomicU32>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, taken) = (listener.local_addr().unwrap(), Arc::new(AtomicU32::new(0)));
        let count = taken.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                for _ in 0..answers {
                    answer(&mut socket).await;
                }
            }
        });
        (address, taken)
    }

    async fn ask_three_times(address: SocketAddr) {
        let call = Call { address, authority: "engine", target: "/stat", timeout: TIMEOUT };
        let mut kept = None;
        for _ in 0..3 {
            let answer;
            (answer, kept) = json_kept(call, kept).await;
            assert_eq!(answer.unwrap(), 7);
        }
    }

    /// Guards: who asks again does so on the same connection, and one that was closed since, which nobody hears of before
    /// the next question, costs no answer.
    #[tokio::test]
    async fn a_connection_is_asked_on_again_until_it_is_closed() {
        let (address, taken) = peer(3).await;
        ask_three_times(address).await;
        assert_eq!(taken.load(Ordering::Relaxed), 1);
        let (address, taken) = peer(1).await;
        ask_three_times(address).await;
        assert_eq!(taken.load(Ordering::Relaxed), 3);
    }

    /// Guards: so does one whose end the runtime had heard of before it is asked on again.
    #[tokio::test]
    async fn one_that_was_closed_meanwhile_costs_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let call = Call { address, authority: "engine", target: "/stat", timeout: TIMEOUT };
        let asked = tokio::spawn(async move { json_kept(call, None).await });
        let (mut first, _) = listener.accept().await.unwrap();
        answer(&mut first).await;
        let (told, kept) = asked.await.unwrap();
        assert_eq!(told.unwrap(), 7);
        assert!(kept.is_some(), "it is open");
        drop(first);
        // What has come before this is heard of with it.
        let mut later = TcpStream::connect(address).await.unwrap();
        listener.accept().await.unwrap().0.write_all(b"7").await.unwrap();
        later.read_u8().await.unwrap();
        let asked = tokio::spawn(async move { json_kept(call, kept).await });
        let anew = tokio::time::timeout(TIMEOUT, listener.accept()).await;
        answer(&mut anew.expect("it asks anew").unwrap().0).await;
        assert_eq!(asked.await.unwrap().0.unwrap(), 7);
    }

    /// Guards: a connection that owes an answer is not asked on again.
    #[tokio::test]
    async fn one_that_owes_an_answer_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let timeout = Duration::from_millis(50);
        let (answer, kept) =
            json_kept(Call { address, authority: "engine", target: "/stat", timeout }, None).await;
        assert!(matches!(answer, Err(Error::Late(_) | Error::Unconnected(_))), "{answer:?}");
        assert!(kept.is_none());
    }
}
