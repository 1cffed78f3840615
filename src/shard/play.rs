//! From a play request to a client on the bus.
//!
//! The player is watched for leaving at every wait, no status line is sent before media is at hand or the failure is
//! definite, and whoever joined a session leaves it again on every path out of here ([`Membership`]).

use super::bus::QUANTUM;
use super::serve::{Served, hand_to_shard};
use super::{Pending, Resolving, Shard};
use crate::client::{Client, Identity, PlayRequest, Served as Visit, play_request};
use crate::http::{Method, RequestHead, write};
use crate::session::{Phase, Readiness, Session};
use crate::uring::{Signal, Socket};
use crate::window::Reservation;
use futures_util::future::{Either, select};
use monoio::time::{sleep, timeout};
use sluice_contract::{
    Alias, ClientId, EndReason, Guard, Refusal, RefusalCode, ResolveRequest, StreamKey, ToControl, directory,
};
use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

/// How long control may look for the broadcast behind an id.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(40);
/// How long a newcomer waits for the session of its key to be torn down.
const TEARDOWN_WAIT: Duration = Duration::from_secs(2);
/// How long a newcomer waits for others to give memory back: releasing lags two seconds behind the tail.
const MEMORY_WAIT: Duration = Duration::from_secs(4);
const MEMORY_LOOK: Duration = Duration::from_millis(50);
/// Times a player follows its stream to another session because two keys turned out to be one broadcast.
const MERGES_MAX: usize = 3;
const USER_AGENT_BYTES_MAX: usize = 256;

/// Why a player does not get its stream.
enum Failure {
    /// It went away by itself.
    Left,
    /// It is told why.
    Refused(Refusal),
    /// Its session gave way to another: look again.
    Merged,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Plays what the head asks for.
pub(super) async fn run(shard: Rc<Shard>, served: Served, head: RequestHead) {
    let asked = Instant::now();
    let request =
        match play_request(head.query.as_deref(), shard.settings.strict_pid, &shard.settings.channels) {
            Ok(request) => request,
            Err(refusal) => return served.close_with(&shard, &refusal, head.method == Method::Head).await,
        };
    if head.method == Method::Head {
        return served.close_after(write::stream_head(head.minor_version)).await;
    }
    let mut served = served;
    loop {
        let at = source_to_try(&shard, &request, usize::from(served.sources_tried));
        let Some((back, refusal)) = attempt(&shard, served, &head, &request.sources[at], asked).await else {
            return;
        };
        let has_more = at + 1 < request.sources.len();
        if !has_more || !lies_with_the_source(refusal.code) {
            return back.close_with(&shard, &refusal, false).await;
        }
        tracing::info!(alias = ?request.sources[at].selector, %refusal, "the next source of the channel is tried");
        shard.counters.sources_passed.add(1);
        served = back;
        served.sources_tried = (at + 1).try_into().unwrap_or(u8::MAX);
    }
}

/// Which source of a channel to ask for: the first not tried yet that plays already, else the first not tried.
fn source_to_try(shard: &Shard, request: &PlayRequest, tried: usize) -> usize {
    let last = request.sources.len() - 1;
    if last == 0 {
        return 0;
    }
    let shown = shard.board.read();
    let plays = |alias: &Alias| {
        let key = shard.directory.find(alias).unwrap_or_else(|| directory::unresolved(alias));
        let mut sessions = shown.iter().flat_map(|shard| &shard.sessions);
        sessions.any(|session| session.key == key && session.started_at.is_some())
    };
    let from = tried.min(last);
    (from..=last).find(|at| plays(&request.sources[*at])).unwrap_or(from)
}

/// Whether another source of the same channel may do better.
fn lies_with_the_source(code: RefusalCode) -> bool {
    use RefusalCode as Code;
    matches!(
        code,
        Code::ContentNotFound
            | Code::StartTimeout
            | Code::EngineError
            | Code::NotMpegTs
            | Code::EngineUnreachable
    )
}

/// Plays one source. Comes back with the player and the reason when it cannot.
async fn attempt(
    shard: &Rc<Shard>,
    served: Served,
    head: &RequestHead,
    alias: &Alias,
    asked: Instant,
) -> Option<(Served, Refusal)> {
    for _ in 0..=MERGES_MAX {
        let key = match until_left(&served.socket, find_key(shard, alias)).await {
            Some(Ok(key)) => key,
            Some(Err(refusal)) => return Some((served, refusal)),
            None => {
                left(shard, served);
                return None;
            }
        };
        let owner = key.owner(shard.shard_count());
        if owner != shard.id {
            hand_to_shard(shard, usize::from(owner.0), served).await;
            return None;
        }
        match join(shard, &served, alias, &key).await {
            Ok((session, guard, was_running)) => {
                admit(shard, served, head, session, guard, was_running.then_some(asked));
                return None;
            }
            Err(Failure::Left) => {
                left(shard, served);
                return None;
            }
            Err(Failure::Refused(refusal)) => return Some((served, refusal)),
            Err(Failure::Merged) => {}
        }
    }
    let refusal =
        Refusal::new(RefusalCode::SessionEnding, "the stream keeps moving, retry shortly").retry_after(1);
    Some((served, refusal))
}

fn left(shard: &Shard, served: Served) {
    shard.counters.client_ended(EndReason::ClientLeft);
    crate::uring::finish(served.socket.into_fd());
}

/// The key of an alias: known, or resolved together with everybody on this shard who asks for it.
async fn find_key(shard: &Rc<Shard>, alias: &Alias) -> Result<StreamKey, Refusal> {
    if let Some(key) = shard.directory.find(alias) {
        return Ok(key);
    }
    let known = shard.resolving.borrow().get(alias).cloned();
    let resolving = match known {
        Some(resolving) => resolving,
        None => ask_control(shard, alias)?,
    };
    let wait = async {
        loop {
            let seen = resolving.done.count();
            if let Some(answer) = resolving.answer.borrow().clone() {
                return answer;
            }
            resolving.done.after(seen).await;
        }
    };
    // Control answers by its deadline; should it be gone, the selector itself is the key.
    timeout(RESOLVE_TIMEOUT + Duration::from_secs(1), wait).await.unwrap_or_else(|_| {
        shard.resolving.borrow_mut().remove(alias);
        Ok(directory::unresolved(alias))
    })
}

fn ask_control(shard: &Rc<Shard>, alias: &Alias) -> Result<Rc<Resolving>, Refusal> {
    let ticket = shard.ticket(Pending::Resolve(alias.clone()));
    let deadline = Instant::now() + RESOLVE_TIMEOUT;
    let message =
        ToControl::Resolve(ResolveRequest { ticket, shard: shard.id, alias: alias.clone(), deadline });
    if shard.control.send(message).is_err() {
        shard.pending.borrow_mut().remove(&ticket);
        let detail = "control is busy, retry shortly";
        return Err(Refusal::new(RefusalCode::ControlUnavailable, detail).retry_after(2));
    }
    let resolving = Rc::new(Resolving { done: Signal::default(), answer: RefCell::default() });
    shard.resolving.borrow_mut().insert(alias.clone(), resolving.clone());
    Ok(resolving)
}

/// A player's membership of a session while it waits; ends by itself on every path.
struct Membership {
    shard: Rc<Shard>,
    session: Rc<Session>,
    is_kept: bool,
}

impl Membership {
    fn new(shard: &Rc<Shard>, session: Rc<Session>) -> Self {
        shard.add_waiting(session.serial());
        session.join();
        Self { shard: shard.clone(), session, is_kept: false }
    }

    /// Turns the waiting player into a client, which leaves the session by its own end.
    fn keep(mut self) -> Rc<Session> {
        self.is_kept = true;
        self.session.clone()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.shard.remove_waiting(self.session.serial());
        if !self.is_kept {
            self.session.leave();
        }
    }
}

/// Waits until the session of a key has media. Also says whether it already had.
async fn join(
    shard: &Rc<Shard>,
    served: &Served,
    alias: &Alias,
    key: &StreamKey,
) -> Result<(Rc<Session>, Guard, bool), Failure> {
    let guard = shard.admission.client(served.client, Instant::now())?;
    let session = match until_left(&served.socket, session_of(shard, alias, key)).await {
        Some(session) => session?,
        None => return Err(Failure::Left),
    };
    if let Some(max) = shard.settings.limits.stream_clients_max
        && shard.stream_clients(&session) >= max.get() as usize
    {
        let detail = "this stream has as many players as it may";
        return Err(Refusal::new(RefusalCode::StreamClientsMax, detail).retry_after(10).into());
    }
    let was_running = session.readiness() == Readiness::Ready;
    let membership = Membership::new(shard, session.clone());
    loop {
        let seen = session.changed().count();
        match session.readiness() {
            Readiness::Ready => return Ok((membership.keep(), guard, was_running)),
            Readiness::Refused(_) if session.end_reason() == Some(EndReason::Merged) => {
                return Err(Failure::Merged);
            }
            Readiness::Refused(refusal) => return Err(refusal.into()),
            Readiness::Wait => {}
        }
        // A stream without random access points becomes joinable by time alone.
        let changed = timeout(Duration::from_secs(1), session.changed().after(seen));
        match until_left(&served.socket, changed).await {
            Some(_) => {}
            None => return Err(Failure::Left),
        }
    }
}

/// The session of a key: the living one, or a new one once its predecessor is gone and memory is there.
async fn session_of(shard: &Rc<Shard>, alias: &Alias, key: &StreamKey) -> Result<Rc<Session>, Refusal> {
    let torn_down_by = Instant::now() + TEARDOWN_WAIT;
    let memory_by = Instant::now() + MEMORY_WAIT;
    let mut waiting = None;
    loop {
        let seen = shard.forgotten.count();
        let known = shard.sessions.borrow().get(key).cloned();
        match known {
            Some(session) if session.phase() != Phase::Ending => return Ok(session),
            Some(_) => {
                let left = torn_down_by.saturating_duration_since(Instant::now());
                if timeout(left, shard.forgotten.after(seen)).await.is_err() {
                    let detail = "the session is ending, retry shortly";
                    return Err(Refusal::new(RefusalCode::SessionEnding, detail).retry_after(1));
                }
                continue;
            }
            None => {}
        }
        if shard.draining.get().is_some() {
            let detail = "the appliance is shutting down";
            return Err(Refusal::new(RefusalCode::Shutdown, detail).retry_after(5));
        }
        if let Some(reservation) = shard.budget.reserve(crate::window::SESSION_BYTES_MIN) {
            return start(shard, alias, key, reservation);
        }
        waiting.get_or_insert_with(|| shard.budget.wait());
        shard.busy.notify();
        if Instant::now() >= memory_by {
            let detail = "the memory for windows is spent";
            return Err(Refusal::new(RefusalCode::Memory, detail).retry_after(10));
        }
        sleep(MEMORY_LOOK).await;
    }
}

fn start(
    shard: &Rc<Shard>,
    alias: &Alias,
    key: &StreamKey,
    reservation: Reservation,
) -> Result<Rc<Session>, Refusal> {
    let serial = shard.next_serial.get() << 16 | u64::from(shard.id.0);
    shard.next_serial.set(shard.next_serial.get() + 1);
    let (limits, timing) = (shard.limits, shard.timing.clone());
    let selector = alias.selector;
    let session = Session::start(shard.clone(), key.clone(), serial, selector, reservation, limits, timing)
        .map_err(|error| {
        let detail = format!("cannot make a window: {error}");
        Refusal::new(RefusalCode::Descriptors, detail).retry_after(10)
    })?;
    tracing::info!(stream = %key, "session started");
    shard.counters.sessions_started.add(1);
    shard.sessions.borrow_mut().insert(key.clone(), session.clone());
    shard.busy.notify();
    Ok(session)
}

fn admit(
    shard: &Rc<Shard>,
    served: Served,
    head: &RequestHead,
    session: Rc<Session>,
    guard: Guard,
    joined_running: Option<Instant>,
) {
    let user_agent = head.header("user-agent").unwrap_or("unknown");
    let cut = user_agent.floor_char_boundary(USER_AGENT_BYTES_MAX);
    let identity = Identity {
        id: ClientId(uuid::Uuid::new_v4().as_u128()),
        address: served.client,
        user_agent: user_agent[..cut].into(),
        connected_at: SystemTime::now(),
    };
    let now = Instant::now();
    tracing::debug!(
        stream = %session.key(), client = %identity.id, address = %identity.address, "client joined"
    );
    let head = write::stream_head(head.minor_version);
    let guards = [served.guard, guard];
    let behind = shard.rules.join_behind;
    let fd = served.socket.into_fd();
    let mut client = Client::new(fd, identity, session.clone(), head, behind, guards, now);
    client.bound_unsent(shard.bus.borrow().tick());
    shard.counters.clients_started.add(1);
    // A joiner's first bytes do not wait for the walk.
    let served = client.serve(now, QUANTUM, &shard.rules, &shard.counters);
    if let Some(asked) = joined_running {
        shard.counters.join_time.record(asked.elapsed());
    }
    shard.dirty.set(true);
    shard.busy.notify();
    let (client, reason) = match served {
        Visit::Gone(reason) => (Box::new(client), reason),
        visit => match shard.bus.borrow_mut().board(client, visit == Visit::More) {
            Ok(()) => return shard.boarded.notify(),
            Err(client) => (client, EndReason::Internal),
        },
    };
    super::bus::tell_off_one(shard, *client, reason);
}

/// Runs a wait as long as the player stays; `None` when it left. What it sends meanwhile is thrown away, bounded.
async fn until_left<T>(socket: &Socket, wait: impl Future<Output = T>) -> Option<T> {
    const HEARD_BYTES_MAX: usize = 64 << 10;
    let gone = async {
        let mut scrap = [0; 1024];
        let mut heard = 0;
        while heard < HEARD_BYTES_MAX {
            match socket.recv(&mut scrap).await {
                Ok(0) | Err(_) => return,
                Ok(count) => heard += count,
            }
        }
    };
    match select(pin!(wait), pin!(gone)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}
