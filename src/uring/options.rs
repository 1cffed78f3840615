//! Socket options.

use super::sys;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Prepares a player's socket: no Nagle delay, and unacknowledged bytes end the connection after `dead_after`, so that
/// a vanished network cannot keep a ghost.
///
/// # Errors
/// When the peer is already gone.
pub fn set_player_options(socket: BorrowedFd<'_>, dead_after: Duration) -> io::Result<()> {
    let socket = SockRef::from(&socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(dead_after))
}

/// Probes an idle connection: the first probe after `idle`, then every third of it.
///
/// # Errors
/// When the peer is already gone.
pub fn keep_alive(socket: BorrowedFd<'_>, idle: Duration) -> io::Result<()> {
    let probe = TcpKeepalive::new().with_time(idle).with_interval((idle / 3).max(Duration::from_secs(1)));
    SockRef::from(&socket).set_tcp_keepalive(&probe.with_retries(3))
}

/// Whether a socket would take bytes now; also when it is dead, which the next send tells.
///
/// # Errors
/// When the kernel cannot say.
pub fn is_writable(socket: BorrowedFd<'_>) -> io::Result<bool> {
    sys::is_writable(socket)
}

/// Bounds what the kernel holds unsent for a socket (`TCP_NOTSENT_LOWAT`). The send buffer's own size is left to the
/// kernel, which grows it with the network's need. Without the bound, one stalled player holds 4 MiB of it.
///
/// # Errors
/// When the peer is already gone.
pub fn set_buffered_bytes_max(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    sys::set_tcp_option(socket, libc::TCP_NOTSENT_LOWAT, bytes.min(i32::MAX as u32) as libc::c_int)
}
