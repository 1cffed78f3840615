//! Listening sockets.

use super::{socket::Socket, sys};
use socket2::{Domain, Protocol, SockAddr, Socket as RawSocket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

/// Connections the kernel keeps for us while a shard is busy; the host's `somaxconn` caps it.
const BACKLOG: i32 = 4096;

/// Makes `count` listening sockets for one address, which share it by `SO_REUSEPORT`.
///
/// All are made before the first shard starts: the kernel resets connections that wait on a listener when its
/// neighbour closes, and a listener must stay alive while a shard is rebuilt. With port 0 the kernel picks one port
/// for all.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(address: SocketAddr, count: u16) -> io::Result<Vec<OwnedFd>> {
    let mut address = address;
    let mut made = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        if address.is_ipv6() {
            // `::` serves both families, as operators expect of it.
            socket.set_only_v6(false)?;
        }
        // Always non-blocking: readiness may be stale by the time of accept, and a blocking accept stops the shard.
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::from(address))?;
        socket.listen(BACKLOG)?;
        if address.port() == 0 {
            let bound =
                socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an IP address"))?;
            address.set_port(bound.port());
        }
        made.push(OwnedFd::from(socket));
    }
    Ok(made)
}

/// The address a listening socket is bound to.
///
/// # Errors
/// When the descriptor is not a bound socket.
pub fn local_address(listener: &OwnedFd) -> io::Result<SocketAddr> {
    let address = socket2::SockRef::from(listener).local_addr()?.as_socket();
    address.ok_or_else(|| io::Error::other("not an IP address"))
}

/// A listening socket on a shard.
pub struct Listener {
    socket: Socket,
}

impl Listener {
    /// Takes a bound, non-blocking listening socket into this shard's driver.
    ///
    /// # Errors
    /// When the driver cannot watch it.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { socket: Socket::new(fd)? })
    }

    /// Waits for and takes one connection, non-blocking and close-on-exec.
    ///
    /// Cancel safe: only readiness is awaited, so a dropped wait loses no connection.
    ///
    /// # Errors
    /// Those of `accept4`, descriptor shortage (EMFILE, ENFILE) among them; the caller backs off.
    pub async fn accept(&self) -> io::Result<OwnedFd> {
        loop {
            match sys::accept(self.socket.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.socket.readable().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The peer gave up while it waited in the backlog.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                outcome => return outcome,
            }
        }
    }
}
