//! A non-blocking stream socket on a shard.
//!
//! Waits are for readiness only and transfers are direct calls, so every method is cancel safe under both drivers.

use super::sys;
use monoio::net::TcpStream;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A connected (or listening) socket watched by this thread's driver.
pub struct Socket {
    fd: OwnedFd,
    /// A duplicate that the driver owns: what it does with a cancelled wait at its leisure cannot close, or keep
    /// open, the connection itself.
    watch: TcpStream,
}

impl Socket {
    /// Takes a non-blocking descriptor.
    ///
    /// # Errors
    /// When descriptors are short.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let watch = TcpStream::from_std(std::net::TcpStream::from(sys::duplicate(&fd)?))?;
        Ok(Self { fd, watch })
    }

    /// Opens a connection. Cancel safe: a dropped attempt is closed.
    ///
    /// # Errors
    /// Those of `connect`.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let domain = socket2::Domain::for_address(address);
        let raw = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        raw.set_nonblocking(true)?;
        raw.set_tcp_nodelay(true)?;
        match raw.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let socket = Self::new(OwnedFd::from(raw))?;
        socket.writable().await?;
        match socket2::SockRef::from(&socket.fd).take_error()? {
            Some(error) => Err(error),
            None => Ok(socket),
        }
    }

    /// Waits until a receive would not block.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn readable(&self) -> io::Result<()> {
        // Not relaxed: under epoll the driver's cached state does not know what our direct calls have consumed.
        self.watch.readable(false).await
    }

    /// Waits until a send would not block.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn writable(&self) -> io::Result<()> {
        self.watch.writable(false).await
    }

    /// Receives what is there; 0 is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there.
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        retried(|| sys::recv(self.fd.as_fd(), buffer))
    }

    /// Sends what the socket takes.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing.
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        retried(|| sys::send(self.fd.as_fd(), bytes, false))
    }

    /// Waits for bytes and receives them; 0 is the end of the stream. Cancel safe.
    ///
    /// A peer that always has bytes ready makes this return without parking: callers bound their loops.
    ///
    /// # Errors
    /// The socket's error.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.try_recv(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable().await?,
                outcome => return outcome,
            }
        }
    }

    /// Sends all of `bytes`. Not cancel safe in the sense that a dropped call has sent an unknown part.
    ///
    /// # Errors
    /// The socket's error.
    pub async fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_send(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Bytes the kernel keeps for this connection until they are read, its own bookkeeping included; 0 if it does not say. It
    /// grows with what is read at a time.
    pub fn receive_buffer(&self) -> u64 {
        socket2::SockRef::from(&self.fd).recv_buffer_size().unwrap_or(0) as u64
    }

    /// Takes the descriptor out, still non-blocking.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

fn retried(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Sends bytes on a socket that no driver watches; `more` tells TCP that further bytes follow at once.
///
/// # Errors
/// `WouldBlock` when the socket takes nothing.
pub(crate) fn send_now(socket: BorrowedFd<'_>, bytes: &[u8], more: bool) -> io::Result<usize> {
    retried(|| sys::send(socket, bytes, more))
}

/// Ends a connection with FIN: says that nothing more comes and throws away what the peer sent, since closing over
/// unread bytes would answer with RST and destroy what is still on its way to the peer. Bounded: a peer that keeps
/// sending gets its RST.
pub fn finish(socket: OwnedFd) {
    const UNREAD_BYTES_MAX: usize = 256 << 10;
    let _ = socket2::SockRef::from(&socket).shutdown(std::net::Shutdown::Write);
    let mut scrap = [0; 4096];
    let mut left = UNREAD_BYTES_MAX;
    while left > 0 {
        match retried(|| sys::recv(socket.as_fd(), &mut scrap)) {
            Ok(count) if count > 0 => left = left.saturating_sub(count),
            _ => return,
        }
    }
}

/// Ends a connection with RST: what the peer has is not all it was promised.
pub fn reset(socket: OwnedFd) {
    // On a socket that cannot be set, the close that follows still ends it short of its length.
    let _ = socket2::SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO));
}
