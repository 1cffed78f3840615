//! What reaches a shard from control and from the other shards.

use super::{Pending, Shard, hot, serve};
use crate::session::machine::Event;
use crate::uring;
use sluice_contract::link::Receiver;
use sluice_contract::{Connection, EndReason, Holdings, MoveReason, Refusal, ToControl, ToShard};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Messages taken in one go before the others get their turn.
const BURST: usize = 64;

/// Serves the inbox until the shard was drained.
pub(super) async fn run(shard: Rc<Shard>) {
    let mut taken = 0usize;
    loop {
        let deadline = shard.draining.get();
        let message = match deadline {
            None => next(&shard).await,
            Some(deadline) => {
                let is_empty = shard.sessions.borrow().is_empty() && !shard.hot.serves_others();
                if is_empty || Instant::now() >= deadline {
                    hot::hear_the_last(&shard);
                    super::publish::now(&shard);
                    return;
                }
                match monoio::time::timeout(Duration::from_millis(10), next(&shard)).await {
                    Ok(message) => message,
                    Err(_) => continue,
                }
            }
        };
        match message {
            Some(message) => {
                if let Err(panic) = uring::caught_call(|| take(&shard, message)) {
                    tracing::error!(shard = shard.id.0, panic, "a message could not be handled");
                    shard.counters.panics.add(1);
                }
            }
            // Everybody who could speak to us is gone: the process is ending.
            None => return,
        }
        taken += 1;
        if taken.is_multiple_of(BURST) {
            shard.turns.park_once().await;
        }
    }
}

/// The inbox, and what was taken out of it and put back.
pub(super) struct Inbox {
    receiver: Receiver<ToShard>,
    back: VecDeque<ToShard>,
}

impl Inbox {
    pub(super) fn new(receiver: Receiver<ToShard>) -> Self {
        Self { receiver, back: VecDeque::new() }
    }

    /// The connections that wait, which stay there.
    pub(super) fn connections(&mut self) -> impl Iterator<Item = &Connection> {
        while let Some(message) = self.receiver.try_recv() {
            self.back.push_back(message);
        }
        self.back.iter().filter_map(|message| match message {
            ToShard::Connection(connection) => Some(connection),
            _ => None,
        })
    }
}

/// Waits for a message; `None` when nobody can send one any more. The inbox is not held while it waits.
async fn next(shard: &Shard) -> Option<ToShard> {
    poll_fn(|cx| {
        let mut inbox = shard.inbox.borrow_mut();
        match inbox.back.pop_front() {
            Some(message) => Poll::Ready(Some(message)),
            None => inbox.receiver.poll_recv(cx),
        }
    })
    .await
}

fn take(shard: &Rc<Shard>, message: ToShard) {
    match message {
        ToShard::Connected { epoch } => {
            shard.epoch.set(epoch);
            let holdings = holdings(shard);
            shard.tell(ToControl::Holdings { shard: shard.id, epoch, holdings });
        }
        ToShard::Lease { ticket, answer } => {
            let pending = shard.pending.borrow_mut().remove(&ticket);
            let session = match pending {
                Some(Pending::Lease(session)) => session.upgrade(),
                _ => None,
            };
            match (session, answer) {
                (Some(session), Ok(lease)) if lease.epoch == shard.epoch.get() => {
                    session.handle(Event::Granted(lease));
                }
                (session, Ok(lease)) => {
                    // Nobody waits for it any more, or it comes from a control that is gone.
                    crate::session::Host::return_lease(&**shard, lease.id, None);
                    if let Some(session) = session {
                        session.handle(Event::Refused(stale()));
                    }
                }
                (Some(session), Err(refusal)) => session.handle(Event::Refused(refusal)),
                (None, Err(_)) => {}
            }
        }
        ToShard::Resolved { ticket, answer } => {
            let pending = shard.pending.borrow_mut().remove(&ticket);
            if let Some(Pending::Resolve(alias)) = pending
                && let Some(resolving) = shard.resolving.borrow_mut().remove(&alias)
            {
                *resolving.answer.borrow_mut() = Some(answer.map(|resolution| resolution.key));
                resolving.done.notify();
            }
        }
        ToShard::Withdraw { lease, reason } => {
            let sessions: Vec<_> = shard.sessions.borrow().values().cloned().collect();
            sessions.iter().for_each(|session| session.withdrawn(lease, reason));
        }
        ToShard::Connection(connection) => {
            shard.spawn(serve::run(shard.clone(), connection, serve::Arrival::Handed));
        }
        ToShard::Yield { key } => {
            let session = shard.sessions.borrow().get(&key).cloned();
            if let Some(session) = session.filter(|session| session.is_idle()) {
                session.handle(Event::End(EndReason::Yielded));
            }
        }
        ToShard::Move { key, engine } => {
            let session = shard.sessions.borrow().get(&key).cloned();
            if let Some(session) = session {
                session.move_to(engine, MoveReason::Requested);
            }
        }
        ToShard::Stop { key, reason } => {
            let session = shard.sessions.borrow().get(&key).cloned();
            if let Some(session) = session {
                session.handle(Event::End(reason));
            }
        }
        ToShard::Drain { deadline } => {
            shard.draining.set(Some(deadline));
            let sessions: Vec<_> = shard.sessions.borrow().values().cloned().collect();
            tracing::info!(shard = shard.id.0, sessions = sessions.len(), "draining");
            sessions.iter().for_each(|session| session.handle(Event::End(EndReason::Shutdown)));
            hot::end_all(shard, EndReason::Shutdown);
        }
    }
}

fn stale() -> Refusal {
    let detail = "control restarted meanwhile, retry shortly";
    Refusal::new(sluice_contract::RefusalCode::ControlUnavailable, detail).retry_after(1)
}

fn holdings(shard: &Shard) -> Holdings {
    let mut holdings = Holdings::default();
    for session in shard.sessions.borrow().values() {
        holdings.sessions.push(session.key().clone());
        holdings.leases.extend(session.leases());
    }
    holdings
}
