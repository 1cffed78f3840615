//! Taking connections in.

use super::{Shard, serve};
use crate::client::answer;
use crate::uring::{Listener, finish, send_now};
use sluice_contract::{Connection, Refusal, RefusalCode};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Connections taken in one go before the others get their turn.
const BURST: usize = 64;
/// Wait after a shortage of descriptors.
const BACK_OFF: Duration = Duration::from_millis(20);
/// A shortage that lasts is logged this often: it fails fifty times a second.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// Accepts until the shard drains.
pub(super) async fn run(shard: Rc<Shard>, listener: Rc<Listener>) {
    // Held back so that, out of descriptors, there is one to refuse with instead of leaving players in the backlog.
    let mut reserve = spare();
    let mut taken = 0usize;
    let mut failures = 0u64;
    let mut logged: Option<Instant> = None;
    while shard.draining.get().is_none() {
        match listener.accept().await {
            Ok(fd) => {
                admit(&shard, fd);
                taken += 1;
                if taken.is_multiple_of(BURST) {
                    shard.turns.park_once().await;
                }
            }
            Err(error) => {
                failures += 1;
                if logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
                    tracing::warn!(shard = shard.id.0, %error, failures, "cannot accept");
                    (logged, failures) = (Some(Instant::now()), 0);
                }
                let exhausted = matches!(error.raw_os_error(), Some(libc_errno::EMFILE | libc_errno::ENFILE));
                if exhausted && reserve.take().is_some() {
                    if let Ok(fd) = listener.accept().await {
                        refuse(&shard, fd);
                    }
                    reserve = spare();
                }
                monoio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Error numbers of Linux on every architecture it is built for.
mod libc_errno {
    pub(super) const ENFILE: i32 = 23;
    pub(super) const EMFILE: i32 = 24;
}

fn spare() -> Option<OwnedFd> {
    UnixStream::pair().ok().map(|(one, _)| OwnedFd::from(one))
}

fn admit(shard: &Rc<Shard>, fd: OwnedFd) {
    shard.counters.accepted.add(1);
    let Some(guard) = shard.admission.connection() else { return refuse(shard, fd) };
    // A peer that is gone already has no address; there is nobody to answer.
    let peer = socket2::SockRef::from(&fd).peer_addr().ok().and_then(|address| address.as_socket());
    let Some(peer) = peer else { return };
    let connection = Connection {
        fd,
        unread: Vec::new(),
        peer,
        client: peer.ip().to_canonical(),
        accepted_at: Instant::now(),
        guard,
    };
    shard.spawn(serve::run(shard.clone(), connection, serve::Arrival::Fresh));
}

fn refuse(shard: &Shard, fd: OwnedFd) {
    let refusal = Refusal::new(RefusalCode::Descriptors, "too many connections").retry_after(5);
    shard.refused(refusal.code);
    let _ = send_now(fd.as_fd(), &answer(&refusal, true, false), false);
    finish(fd);
}
