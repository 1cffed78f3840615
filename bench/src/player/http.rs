//! A blocking HTTP client for everything that is not a stream: REST calls, malformed requests, pipelining.
//!
//! One thread, one connection, a deadline on everything. It sends exactly the bytes it is given.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::body::{Body, Fault, Head};

/// Deadline of the plain helpers for the whole exchange.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest body that is taken in.
pub const BODY_LEN_MAX: usize = 64 << 20;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection did not come about.
    #[error("cannot connect to {to}: {cause}")]
    Connect {
        /// Where to.
        to: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// The socket failed.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// The server closed before the response was complete.
    #[error("closed after {bytes} bytes of an unfinished response")]
    Closed {
        /// Bytes of it that came.
        bytes: usize,
    },
    /// Nothing, or not enough, in time.
    #[error("no whole response within {0:?}")]
    Timeout(Duration),
    /// The response is not HTTP.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The body is longer than any that is meant.
    #[error("the body is longer than {BODY_LEN_MAX} bytes")]
    TooLong,
}

/// A whole response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status line and headers.
    pub head: Head,
    /// The body without its framing.
    pub body: Vec<u8>,
}

impl Response {
    /// Status code.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body as text; bytes that are none are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
    }
}

/// GET of `path` on a connection of its own.
///
/// # Errors
/// No whole response within [`TIMEOUT`].
pub fn get(to: SocketAddr, path: &str) -> Result<Response, Error> {
    request(to, "GET", path, &[], b"")
}

/// Any request on a connection of its own; a body brings its `Content-Length`.
///
/// # Errors
/// No whole response within [`TIMEOUT`].
pub fn request(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response, Error> {
    let mut connection = Connection::open(to)?;
    let mut all = vec![("Connection", "close")];
    all.extend_from_slice(headers);
    connection.send(&encode(to, method, path, &all, body))?;
    connection.receive_answer_to(method)
}

/// Sends bytes as they are and reads until the server closes or [`TIMEOUT`] is over; returns what came.
///
/// # Errors
/// The connection failed. A reset after some bytes gives those bytes.
pub fn send_raw(to: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut connection = Connection::open(to)?;
    // A server may answer and close before it has read everything; what it said counts.
    let sent = connection.send(bytes);
    let received = connection.receive_to_end()?;
    match sent {
        Err(error) if received.is_empty() => Err(error),
        _ => Ok(received),
    }
}

/// The bytes of a request.
pub fn encode(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A connection that stays open between requests.
pub struct Connection {
    stream: TcpStream,
    to: SocketAddr,
    unread: Vec<u8>,
    timeout: Duration,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open(to: SocketAddr) -> Result<Self, Error> {
        let stream =
            TcpStream::connect_timeout(&to, TIMEOUT).map_err(|cause| Error::Connect { to, cause })?;
        Self::over(stream)
    }

    /// Takes over a connected socket, bound as the caller wished.
    ///
    /// # Errors
    /// The socket refuses its options.
    pub fn over(stream: TcpStream) -> Result<Self, Error> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let to = stream.peer_addr()?;
        Ok(Self { stream, to, unread: Vec::new(), timeout: TIMEOUT })
    }

    /// Another deadline for each response than [`TIMEOUT`].
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// The socket, for what this type does not offer.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are; several requests at once are pipelined.
    ///
    /// # Errors
    /// The socket does not take them.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Sends a GET that keeps the connection open, and reads its response.
    ///
    /// # Errors
    /// No whole response in time.
    pub fn get(&mut self, path: &str) -> Result<Response, Error> {
        let request = encode(self.to, "GET", path, &[], b"");
        self.send(&request)?;
        self.receive()
    }

    /// Reads the next response.
    ///
    /// # Errors
    /// No whole response in time.
    pub fn receive(&mut self) -> Result<Response, Error> {
        self.receive_answer_to("GET")
    }

    /// Reads the next response; that to `HEAD` has no body.
    ///
    /// # Errors
    /// No whole response in time.
    pub fn receive_answer_to(&mut self, method: &str) -> Result<Response, Error> {
        let deadline = Instant::now() + self.timeout;
        let (head, length) = loop {
            if let Some(found) = Head::parse(&self.unread)? {
                break found;
            }
            if self.fill(deadline)? == 0 {
                return Err(Error::Closed { bytes: self.unread.len() });
            }
        };
        self.unread.drain(..length);
        let mut framing = Body::after(&head, method == "HEAD")?;
        let mut body = Vec::new();
        loop {
            let used = framing.feed(&self.unread, |data| body.extend_from_slice(data))?;
            self.unread.drain(..used);
            if framing.is_complete() {
                return Ok(Response { head, body });
            }
            if body.len() > BODY_LEN_MAX {
                return Err(Error::TooLong);
            }
            if self.fill(deadline)? == 0 {
                let is_whole = framing.is_until_close();
                let bytes = length + body.len();
                return if is_whole { Ok(Response { head, body }) } else { Err(Error::Closed { bytes }) };
            }
        }
    }

    /// Reads until the server closes; returns what came. A reset ends it as well.
    ///
    /// # Errors
    /// The server does not close in time, or never stops sending.
    pub fn receive_to_end(&mut self) -> Result<Vec<u8>, Error> {
        let deadline = Instant::now() + self.timeout;
        loop {
            match self.fill(deadline) {
                Ok(0) => return Ok(std::mem::take(&mut self.unread)),
                Ok(_) if self.unread.len() > BODY_LEN_MAX => return Err(Error::TooLong),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(std::mem::take(&mut self.unread));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Tells whether the server has closed the connection, waiting up to `within` for it.
    ///
    /// # Errors
    /// The socket failed otherwise than by a reset.
    pub fn is_closed_within(&mut self, within: Duration) -> Result<bool, Error> {
        let deadline = Instant::now() + within;
        loop {
            match self.fill(deadline) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(true),
                Err(Error::Timeout(_)) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads once; 0 is the end.
    fn fill(&mut self, deadline: Instant) -> Result<usize, Error> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout(self.timeout));
            }
            self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match self.stream.read(&mut buffer) {
                Ok(length) => {
                    self.unread.extend_from_slice(&buffer[..length]);
                    return Ok(length);
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
