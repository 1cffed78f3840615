//! One accepted connection as it travels between threads.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Instant;

/// A place that is freed when the value is dropped (a connection slot, a client slot).
///
/// Opaque, so that whoever carries a connection cannot free its place without closing it.
pub struct Guard(#[allow(dead_code, reason = "held only for its drop")] Box<dyn Send + Sync>);

impl Guard {
    /// Wraps whatever frees the place on drop.
    pub fn new(place: impl Send + Sync + 'static) -> Self {
        Self(Box::new(place))
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

/// An accepted connection with everything read from it so far: what passes from shard to shard, from a shard to
/// control and back. One value, so that no part of it can be lost on the way.
///
/// The descriptor is always non-blocking and close-on-exec. `unread` begins with the first byte of the request that
/// the receiver has to serve.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub fd: OwnedFd,
    /// Bytes read from it that nobody has served.
    pub unread: Vec<u8>,
    /// The peer of the TCP connection.
    pub peer: SocketAddr,
    /// The client behind a trusted proxy that spoke the PROXY protocol, else the peer's address. `X-Forwarded-For`
    /// is judged anew for each request, since a proxy reuses connections.
    pub client: IpAddr,
    /// When the kernel handed the connection over, for hand-over latency and deadlines.
    pub accepted_at: Instant,
    /// Frees the connection's place in the admission count.
    pub guard: Guard,
}
