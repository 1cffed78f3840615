//! From a play request to a client on the bus.
//!
//! The player is watched for leaving at every wait, no status line is sent before media is at hand or the failure is
//! definite, and whoever joined a session leaves it again on every path out of here ([`Membership`]).

use super::bus::QUANTUM;
use super::serve::{Served, hand_to_shard};
use super::{Pending, Resolving, Shard, hot};
use crate::client::{Client, Identity, PlayRequest, Served as Visit, Watched, play_request};
use crate::http::{HEAD_BYTES_MAX, Method, RequestHead, write};
use crate::session::{Asked, Phase, Readiness, Session};
use crate::uring::Signal;
use crate::window::{Behind, Reservation};
use futures_util::future::{Either, select};
use monoio::time::{sleep, timeout};
use sluice_contract::{
    Alias, ClientId, EndReason, Guard, Play, Refusal, RefusalCode, ResolveRequest, Selector, Start,
    StreamKey, ToControl, directory,
};
use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
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
pub(super) enum Failure {
    /// It went away by itself.
    Left,
    /// It is told why.
    Refused(Refusal),
    /// Its session gave way to another: look again.
    Merged,
}

/// Where a player's stream was found.
pub(super) enum Found {
    /// On this shard; the player counts as a member of the session.
    Here {
        session: Rc<Session>,
        guard: Guard,
        /// Media was there already.
        was_running: bool,
    },
    /// On another one.
    Elsewhere(usize),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Plays what the head asks for.
pub(super) async fn run(shard: Rc<Shard>, served: Served, head: RequestHead) {
    let asked = Instant::now();
    let is_strict = shard.settings().strict_pid;
    let request = match play_request(head.query.as_deref(), is_strict) {
        Ok(request) => request,
        Err(refusal) => return served.close_with(&shard, &refusal, head.method == Method::Head).await,
    };
    if head.method == Method::Head {
        return served.close_after(write::stream_head(head.minor_version).to_vec()).await;
    }
    let trail = Trail::default();
    let refusal = match find(&shard, &served, &request, &trail).await {
        Ok(Found::Here { session, guard, was_running }) => {
            let story = Story { asked, asked_as: request.asked_as(), trail };
            return admit(&shard, served, &head, (session, was_running), guard, story);
        }
        Ok(Found::Elsewhere(owner)) => return hand_to_shard(&shard, owner, served).await,
        Err(Failure::Left) => {
            Story { asked, asked_as: request.asked_as(), trail }.told(
                &shard,
                None,
                Err(EndReason::ClientLeft.as_str()),
            );
            return left(&shard, served);
        }
        Err(Failure::Refused(refusal)) => refusal,
        Err(Failure::Merged) => keeps_moving(),
    };
    let story = Story { asked, asked_as: request.asked_as(), trail };
    story.told(&shard, None, Err(refusal.code.as_str()));
    served.close_with(&shard, &refusal, false).await;
}

/// How far a play that waits has come: its stream, and how the session of that starts.
#[derive(Default)]
pub(super) struct Trail(RefCell<Option<Box<(StreamKey, Start)>>>);

impl Trail {
    /// The play waits for this session, which has come so far.
    fn note(&self, session: &Session) {
        *self.0.borrow_mut() = Some(Box::new((session.key().clone(), session.start_moments())));
    }
}

/// What is told of a play when it has begun or come to nothing.
pub(super) struct Story {
    /// When its request was read.
    pub(super) asked: Instant,
    /// What the player asked with.
    pub(super) asked_as: Box<str>,
    /// How far it came.
    pub(super) trail: Trail,
}

impl Story {
    /// Tells control, which may be too busy to hear it.
    pub(super) fn told(
        self,
        shard: &Shard,
        begun: Option<(ClientId, StreamKey)>,
        outcome: Result<Instant, &'static str>,
    ) {
        let (stream, start) = match self.trail.0.into_inner() {
            Some(way) => (Some(way.0), Some(way.1)),
            None => (None, None),
        };
        let (client, stream) = match begun {
            Some((client, stream)) => (client, Some(stream)),
            None => (ClientId(uuid::Uuid::new_v4().as_u128()), stream),
        };
        let (asked, asked_as) = (self.asked, self.asked_as);
        let play =
            Play { shard: shard.id, client, asked_as, stream, asked, start, told: Instant::now(), outcome };
        if shard.control.send(ToControl::Played(Box::new(play))).is_err() {
            shard.counters.plays_untold.add(1);
        }
    }
}

/// Finds the session of a request and joins it, or the shard that owns it. Follows a stream that is found to be another
/// one a few times.
pub(super) async fn find(
    shard: &Rc<Shard>,
    served: &Served,
    request: &PlayRequest,
    trail: &Trail,
) -> Result<Found, Failure> {
    for _ in 0..=MERGES_MAX {
        let (key, asked) = match request {
            PlayRequest::Stream(alias) => {
                let key =
                    until_left(served, Box::pin(find_key(shard, alias))).await.ok_or(Failure::Left)??;
                if shard.directory.is_blocked(alias.selector.value(), &key) {
                    return Err(looping().into());
                }
                let ids = key.selector().map(|selector| vec![selector]);
                let asked = ids.map(|ids| Asked { by: alias.selector, ids, races: false });
                (key, asked)
            }
            PlayRequest::Channel { key, races } => (key.clone(), Some(channel(shard, key, *races)?)),
        };
        let owner = key.owner(shard.shard_count());
        if owner != shard.id {
            return Ok(Found::Elsewhere(usize::from(owner.0)));
        }
        match join(shard, served, asked.as_ref(), &key, trail).await {
            Err(Failure::Merged) => {}
            outcome => return outcome,
        }
    }
    Err(Failure::Merged)
}

/// What a channel is begun with: its ids, save for those that are found to loop.
fn channel(shard: &Shard, key: &StreamKey, races: bool) -> Result<Asked, Refusal> {
    let channels = shard.channels.load();
    let Some(ids) = key.channel().and_then(|name| channels.get(name)) else {
        return Err(Refusal::new(RefusalCode::NotFound, "no channel has this name"));
    };
    let is_playable = |selector: &Selector| {
        let alias = Alias { selector: *selector, options: key.options.clone() };
        !shard.directory.is_blocked(selector.value(), &directory::unresolved(&alias))
    };
    let ids: Vec<Selector> = ids.iter().copied().filter(is_playable).collect();
    let by = *ids.first().ok_or_else(looping)?;
    Ok(Asked { by, ids, races })
}

/// What a player is told whose stream is on the list of those that loop.
fn looping() -> Refusal {
    Refusal::new(RefusalCode::LoopingStream, "the stream was found to loop and is not played for now")
}

/// What a player is told whose stream was found to be another one time and again.
pub(super) fn keeps_moving() -> Refusal {
    Refusal::new(RefusalCode::SessionEnding, "the stream keeps moving, retry shortly").retry_after(1)
}

fn left(shard: &Shard, served: Served) {
    shard.counters.client_ended(EndReason::ClientLeft);
    served.finish();
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
    asked: Option<&Asked>,
    key: &StreamKey,
    trail: &Trail,
) -> Result<Found, Failure> {
    let guard = shard.admission.client(served.client.get(), Instant::now())?;
    let session = match until_left(served, Box::pin(session_of(shard, asked, key))).await {
        Some(session) => session?,
        None => return Err(Failure::Left),
    };
    check_stream_limit(shard, &session)?;
    let was_running = session.readiness() == Readiness::Ready;
    let membership = Membership::new(shard, session.clone());
    loop {
        let seen = session.changed().count();
        if !was_running {
            trail.note(&session);
        }
        match session.readiness() {
            Readiness::Ready => return Ok(Found::Here { session: membership.keep(), guard, was_running }),
            Readiness::Refused(_) if session.end_reason() == Some(EndReason::Merged) => {
                return Err(Failure::Merged);
            }
            Readiness::Refused(refusal) => return Err(refusal.into()),
            Readiness::Wait => {}
        }
        // A stream without random access points becomes joinable by time alone.
        let changed = timeout(Duration::from_secs(1), session.changed().after(seen));
        match until_left(served, Box::pin(changed)).await {
            Some(_) => {}
            None => {
                trail.note(&session);
                return Err(Failure::Left);
            }
        }
    }
}

/// Whether a stream may have another player.
pub(super) fn check_stream_limit(shard: &Shard, session: &Session) -> Result<(), Refusal> {
    match shard.settings().limits.stream_clients_max {
        Some(max) if shard.stream_clients(session) >= max.get() as usize => {
            let detail = "this stream has as many players as it may";
            Err(Refusal::new(RefusalCode::StreamClientsMax, detail).retry_after(10))
        }
        _ => Ok(()),
    }
}

/// The session of a key: the living one, or a new one once its predecessor is gone and memory is there. Without `asked`
/// there is no new one: it was the session of a channel that played what is asked for.
async fn session_of(
    shard: &Rc<Shard>,
    asked: Option<&Asked>,
    key: &StreamKey,
) -> Result<Rc<Session>, Failure> {
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
                    return Err(Refusal::new(RefusalCode::SessionEnding, detail).retry_after(1).into());
                }
                continue;
            }
            None => {}
        }
        let Some(asked) = asked else { return Err(Failure::Merged) };
        if shard.is_calm.get() {
            // Another process is about to take over: this play begins there, or here once that is called off.
            shard.stirred.after(shard.stirred.count()).await;
            continue;
        }
        if shard.draining.get().is_some() {
            let detail = "the appliance is shutting down";
            return Err(Refusal::new(RefusalCode::Shutdown, detail).retry_after(5).into());
        }
        if let Some(reservation) = shard.budget.reserve(crate::window::SESSION_BYTES_MIN) {
            return Ok(start(shard, asked.clone(), key, reservation)?);
        }
        waiting.get_or_insert_with(|| shard.budget.wait());
        shard.news.notify();
        if Instant::now() >= memory_by {
            let detail = "the memory for windows is spent";
            return Err(Refusal::new(RefusalCode::Memory, detail).retry_after(10).into());
        }
        sleep(MEMORY_LOOK).await;
    }
}

fn start(
    shard: &Rc<Shard>,
    asked: Asked,
    key: &StreamKey,
    reservation: Reservation,
) -> Result<Rc<Session>, Refusal> {
    let serial = shard.next_serial.get() << 16 | u64::from(shard.id.0);
    shard.next_serial.set(shard.next_serial.get() + 1);
    let (limits, timing) = (shard.limits(), shard.timing());
    let session = Session::start(shard.clone(), key.clone(), serial, asked, reservation, limits, timing)
        .map_err(|error| {
            let detail = format!("cannot make a window: {error}");
            Refusal::new(RefusalCode::Descriptors, detail).retry_after(10)
        })?;
    tracing::info!(stream = %key, "session started");
    shard.counters.sessions_started.add(1);
    shard.sessions.borrow_mut().insert(key.clone(), session.clone());
    shard.news.notify();
    Ok(session)
}

/// Who asks.
pub(super) fn identity(address: IpAddr, head: &RequestHead) -> Identity {
    let user_agent = head.header("user-agent").unwrap_or("unknown");
    let cut = user_agent.floor_char_boundary(USER_AGENT_BYTES_MAX);
    Identity {
        id: ClientId(uuid::Uuid::new_v4().as_u128()),
        address,
        user_agent: user_agent[..cut].into(),
        connected_at: SystemTime::now(),
    }
}

fn admit(
    shard: &Rc<Shard>,
    served: Served,
    head: &RequestHead,
    (session, was_running): (Rc<Session>, bool),
    guard: Guard,
    story: Story,
) {
    let identity = identity(served.client.get(), head);
    let now = Instant::now();
    tracing::debug!(
        stream = %session.key(), client = %identity.id, address = %identity.address, "client joined"
    );
    let head = write::stream_head(head.minor_version);
    let rules = shard.rules();
    let behind = shard.dial.read().join_behind.map_or(rules.join_behind, Behind::Media);
    let (fd, place) = served.into_socket();
    let guards = [place, guard];
    let mut client = Client::new(fd, identity, Watched::Session(session), head, behind, guards, now);
    client.bound_unsent(shard.bus.borrow().tick());
    shard.counters.clients_started.add(1);
    // A joiner's first bytes do not wait for the walk.
    let served = client.serve(now, QUANTUM, &rules, &shard.counters);
    if was_running {
        shard.counters.join_time.record(story.asked.elapsed());
    }
    let begun = (client.identity().id, client.watched().title().key);
    let took = if client.bytes_sent() > 0 { Ok(Instant::now()) } else { Err("not_taken_yet") };
    story.told(shard, Some(begun), took);
    shard.news.notify();
    let (client, reason) = match served {
        Visit::Gone(reason) => (Box::new(client), reason),
        visit => {
            // Of a session that several shards serve, another one may have more room for it.
            let Some(client) = hot::place(shard, client) else { return };
            match shard.bus.borrow_mut().board(client, visit == Visit::More) {
                Ok(()) => return shard.boarded.notify(),
                Err(client) => (client, EndReason::Internal),
            }
        }
    };
    super::bus::tell_off_one(shard, *client, reason);
}

/// Runs a wait as long as the player stays; `None` when it left. What it sends meanwhile is kept, bounded. The wait is
/// boxed by its caller: pinned here it would be in the task twice.
pub(super) async fn until_left<T>(served: &Served, wait: impl Future<Output = T> + Unpin) -> Option<T> {
    let gone = async {
        while served.heard.borrow().len() < HEAD_BYTES_MAX {
            if served.socket.readable().await.is_err() {
                return;
            }
            // On the stack only while it is used, not in every task that waits.
            let mut scrap = [0; 1024];
            match served.socket.try_recv(&mut scrap) {
                Ok(count) if count > 0 => served.heard.borrow_mut().extend_from_slice(&scrap[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return,
            }
        }
    };
    match select(wait, pin!(gone)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}
