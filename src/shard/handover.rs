//! Handing everything this shard holds over to another process, and taking it over there.
//!
//! All of the data plane waits for readiness only and transfers by direct calls, so between two polls of its runtime a
//! shard has nothing under way. To be frozen it therefore simply does not go on: its thread waits here, tells what it
//! holds, and either goes on as after any other hole in its schedule, or never does because the process ends.
//!
//! What a task knows alone would be lost, so whatever has to survive lies in reach: sources in their sessions,
//! connections among the shard's [`super::serve::Lines`], messages in its inbox. A player that waits for a start is handed over as
//! a connection with its request unread, and asks again there.
//!
//! Before that comes calm: nothing new is opened, and what is under way comes to its end. Players that another shard
//! serves come back to the shard of their session.

use super::serve::{self, LineTold};
use super::{Shard, bus, hot};
use crate::client::hls::{StreamTold, ViewerTold};
use crate::client::{Client, ClientState, Watched};
use crate::handover::wire::{Parcel, Wire, WireError};
use crate::media::hls::Segmenter;
use crate::media::ts::Scanner;
use crate::metrics::ReplicaEnd;
use crate::session::{FeedState, Session, State, Told};
use crate::window::AccessIndex;
use crossbeam::channel::{Receiver, Sender};
use serde::{Deserialize, Serialize};
use sluice_contract::link;
use sluice_contract::{Connection, StreamKey, StreamName};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks whether all has come to its end.
const LOOK: Duration = Duration::from_millis(10);
/// Connections told in one parcel.
const LINES_PER_PARCEL: usize = 4096;

/// What a shard is told to do.
pub enum Order {
    /// Open nothing new, and say when everything can be handed over, or what cannot by the deadline.
    Calm {
        /// By when.
        deadline: Instant,
        /// Where to say it.
        answer: Sender<Result<(), String>>,
    },
    /// Stand still and say so, then do as told.
    Freeze {
        /// Where to say it, or what cannot be handed over.
        frozen: Sender<Result<(), String>>,
        /// What to do then. Once nobody is there to say it, the shard goes on.
        then: Receiver<Then>,
    },
    /// Go on as ever.
    GoOn,
}

/// What a frozen shard is told to do.
pub enum Then {
    /// Tell what it holds.
    Tell {
        /// To whom.
        wire: Arc<Wire>,
        /// By when.
        deadline: Instant,
        /// Where to say that it is done.
        told: Sender<Result<(), WireError>>,
    },
    /// Go on.
    GoOn,
}

/// What is told of one session.
#[derive(Serialize, Deserialize)]
struct Item<S, H> {
    session: S,
    clients: Vec<ClientState>,
    hls: Option<H>,
    viewers: Vec<ViewerTold>,
}

/// One parcel.
#[derive(Serialize, Deserialize)]
enum Word<S, H> {
    /// A session, with the files of its window, its engine's connection if there is one, and its clients.
    Session(Item<S, H>),
    /// Connections, with one file each.
    Lines(Vec<LineTold>),
    /// That was all of this shard.
    End { next_serial: u64 },
}

type Outgoing<'a> = Word<State<FeedState<&'a AccessIndex, &'a Scanner>>, StreamTold<&'a Segmenter>>;
type Incoming = Word<Told, StreamTold<Segmenter>>;
/// A session as it was told.
type ToldItem = Item<Told, StreamTold<Segmenter>>;

/// Everything a shard of another process held.
#[derive(Default)]
pub struct Taken {
    sessions: Vec<(ToldItem, Vec<OwnedFd>)>,
    lines: Vec<(LineTold, OwnedFd)>,
    next_serial: u64,
}

/// Where a shard says that it stands with what it took over, and waits before it touches any of it.
pub struct Gate {
    /// It stands, or why it cannot.
    pub stands: Sender<Result<(), String>>,
    /// Go.
    pub go: Receiver<()>,
}

impl Taken {
    /// Receives what one shard tells.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn receive(wire: &Wire, deadline: Instant) -> Result<Self, WireError> {
        let mut taken = Self::default();
        loop {
            let Parcel { bytes, fds } = wire.receive(deadline)?.ok_or(WireError::Gone)?;
            let word: Incoming = serde_json::from_slice(&bytes).map_err(|error| {
                tracing::warn!(%error, "what was told cannot be read");
                WireError::Foreign("what was told cannot be read")
            })?;
            match word {
                Word::Session(item) => taken.sessions.push((item, fds)),
                Word::Lines(lines) if lines.len() == fds.len() => {
                    taken.lines.extend(lines.into_iter().zip(fds))
                }
                Word::Lines(_) => return Err(WireError::Foreign("connections without their sockets")),
                Word::End { next_serial } => {
                    taken.next_serial = next_serial;
                    return Ok(taken);
                }
            }
        }
    }

    /// Adds the connections of another one.
    pub fn add_lines_of(&mut self, other: Self) {
        self.lines.extend(other.lines);
    }

    /// Sessions and players in it.
    pub fn counts(&self) -> (usize, usize) {
        let players = |(item, _): &(Item<_, _>, _)| item.clients.len() + item.viewers.len();
        (self.sessions.len(), self.sessions.iter().map(players).sum())
    }
}

/// Tells connections that are between two threads.
///
/// # Errors
/// [`WireError`].
pub fn tell_connections(
    wire: &Wire,
    connections: &[&Connection],
    deadline: Instant,
) -> Result<(), WireError> {
    for some in connections.chunks(LINES_PER_PARCEL) {
        let told = some.iter().map(|connection| LineTold::of(connection)).collect();
        let fds: Vec<BorrowedFd<'_>> = some.iter().map(|connection| connection.fd.as_fd()).collect();
        send(wire, &Outgoing::Lines(told), &fds, deadline)?;
    }
    Ok(())
}

/// Tells that there is nothing more of a group.
///
/// # Errors
/// [`WireError`].
pub fn tell_end(wire: &Wire, deadline: Instant) -> Result<(), WireError> {
    send(wire, &Outgoing::End { next_serial: 0 }, &[], deadline)
}

/// Takes orders for the life of the shard.
pub(super) async fn run(shard: Rc<Shard>) {
    loop {
        let order = std::future::poll_fn(|cx| shard.orders.borrow_mut().poll_recv(cx)).await;
        match order {
            Some(Order::Calm { deadline, answer }) => {
                let outcome = calm(&shard, deadline).await;
                let _ = answer.send(outcome);
            }
            Some(Order::Freeze { frozen, then }) => stand_still(&shard, &frozen, &then),
            Some(Order::GoOn) => set_calm(&shard, false),
            // The process is ending.
            None => return,
        }
    }
}

fn set_calm(shard: &Rc<Shard>, is_calm: bool) {
    shard.is_calm.set(is_calm);
    if is_calm {
        // Players that another shard serves are told of here.
        hot::close_all(shard, ReplicaEnd::HandOver);
    }
    let sessions: Vec<Rc<Session>> = shard.sessions.borrow().values().cloned().collect();
    sessions.iter().for_each(|session| session.hold(is_calm));
    shard.stirred.notify();
}

/// Waits until everything is settled.
async fn calm(shard: &Rc<Shard>, deadline: Instant) -> Result<(), String> {
    set_calm(shard, true);
    loop {
        match settled(shard) {
            Ok(()) => return Ok(()),
            Err(unsettled) if Instant::now() >= deadline => return Err(unsettled),
            Err(_) => monoio::time::sleep(LOOK).await,
        }
    }
}

/// Whether everything can be handed over.
fn settled(shard: &Shard) -> Result<(), String> {
    for session in shard.sessions.borrow().values() {
        session.is_settled().map_err(|why| format!("stream {}: {why}", session.key()))?;
    }
    shard.hot.is_settled()
}

/// Does not go on until told to. This blocks the thread, and with it everything of this shard: that is what it is for.
fn stand_still(shard: &Shard, frozen: &Sender<Result<(), String>>, then: &Receiver<Then>) {
    let outcome = settled(shard);
    let is_settled = outcome.is_ok();
    if frozen.send(outcome).is_err() || !is_settled {
        return;
    }
    while let Ok(Then::Tell { wire, deadline, told }) = then.recv() {
        let _ = told.send(tell(shard, &wire, deadline));
    }
}

fn send(
    wire: &Wire,
    word: &impl Serialize,
    fds: &[BorrowedFd<'_>],
    deadline: Instant,
) -> Result<(), WireError> {
    let bytes = serde_json::to_vec(word).map_err(|_| WireError::Foreign("a state cannot be told"))?;
    wire.send(&bytes, fds, deadline)
}

/// Tells everything this shard holds.
fn tell(shard: &Shard, wire: &Wire, deadline: Instant) -> Result<(), WireError> {
    let mut bus = shard.bus.borrow_mut();
    let clients: Vec<&Client> = bus.clients().map(|client| &*client).collect();
    for session in shard.sessions.borrow().values() {
        let of_session = |client: &&&Client| client.watched().serial() == session.serial();
        let clients: Vec<&Client> = clients.iter().filter(of_session).copied().collect();
        let viewers = shard.hls.tell_viewers(session.serial());
        let stream = shard.hls.stream_at(session.serial());
        let told = session.tell(|state, files| {
            let mut fds = vec![files.window];
            fds.extend(files.connection.iter().map(|connection| connection.as_fd()));
            fds.extend(clients.iter().map(|client| client.fd()));
            let clients = clients.iter().map(|client| client.state()).collect();
            match &stream {
                Some(stream) => stream.tell(|hls| {
                    let item = Item { session: state, clients, hls: Some(hls), viewers };
                    send(wire, &Outgoing::Session(item), &fds, deadline)
                }),
                None => {
                    let item = Item { session: state, clients, hls: None, viewers };
                    send(wire, &Outgoing::Session(item), &fds, deadline)
                }
            }
        });
        told.map_err(WireError::Foreign)??;
    }
    for lines in shard.lines.all().chunks(LINES_PER_PARCEL) {
        let told = lines.iter().map(|line| line.state()).collect();
        let fds: Vec<BorrowedFd<'_>> = lines.iter().map(|line| line.socket.as_fd()).collect();
        send(wire, &Outgoing::Lines(told), &fds, deadline)?;
    }
    {
        let mut inbox = shard.inbox.borrow_mut();
        let connections: Vec<&Connection> = inbox.connections().collect();
        tell_connections(wire, &connections, deadline)?;
    }
    send(wire, &Outgoing::End { next_serial: shard.next_serial.get() }, &[], deadline)
}

/// Takes over what a shard of another process held. Nothing of it is touched before the shard goes on.
pub(super) fn take_over(shard: &Rc<Shard>, taken: Taken) -> io::Result<()> {
    shard.next_serial.set(taken.next_serial.max(shard.next_serial.get()));
    for (item, fds) in taken.sessions {
        take_session(shard, item, fds)?;
    }
    for (told, fd) in taken.lines {
        shard.spawn(serve::go_on(shard.clone(), fd, told));
    }
    Ok(())
}

fn take_session(shard: &Rc<Shard>, item: ToldItem, fds: Vec<OwnedFd>) -> io::Result<()> {
    let Item { session: told, clients, hls, viewers } = item;
    let short = || io::Error::other("a session without its descriptors");
    let mut fds = fds.into_iter();
    let window = fds.next().ok_or_else(short)?;
    let connection = if told.has_connection() { Some(fds.next().ok_or_else(short)?) } else { None };
    if fds.len() != clients.len() || (hls.is_none() && !viewers.is_empty()) {
        return Err(short());
    }
    let (key, infohash) = (told.key().clone(), told.infohash());
    let selector = key.selector().unwrap_or(told.asked_as());
    let count = u32::try_from(clients.len() + viewers.len()).unwrap_or(u32::MAX);
    let of_shard = (count, shard.timing());
    let session = Session::going_on(shard.clone(), told, (window, connection), of_shard, &shard.budget)?;
    if let Some(infohash) = infohash.filter(|infohash| key.infohash() != Some(*infohash)) {
        let canonical = StreamKey { name: StreamName::Infohash(infohash), options: key.options.clone() };
        shard.directory.learn(selector.value(), infohash);
        shard.directory.lead(&canonical, &key);
    }
    shard.sessions.borrow_mut().insert(key, session.clone());
    let now = Instant::now();
    let tick = shard.bus.borrow().tick();
    for (state, fd) in clients.into_iter().zip(fds) {
        let guards = [shard.admission.adopt_connection(), shard.admission.adopt_client(state.address(), now)];
        let mut client = Client::going_on(fd, Watched::Session(session.clone()), state, guards);
        client.bound_unsent(tick);
        let boarded = shard.bus.borrow_mut().board(client, true);
        if let Err(client) = boarded {
            bus::tell_off_one(shard, *client, sluice_contract::EndReason::Internal);
        }
    }
    if let Some(stream) = hls {
        let guarded = |viewer: ViewerTold| {
            let guard = shard.admission.adopt_client(viewer.address(), now);
            (viewer, guard)
        };
        shard.hls.take_over(&session, stream, viewers.into_iter().map(guarded).collect());
    }
    shard.boarded.notify();
    Ok(())
}

/// Waits at the gate; whether the shard may go on.
pub(super) fn wait_at(gate: &Gate) -> bool {
    gate.stands.send(Ok(())).is_ok() && gate.go.recv().is_ok()
}

/// The way orders come.
pub type Orders = link::Receiver<Order>;
