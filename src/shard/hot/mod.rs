//! A session with many players, served by several shards.
//!
//! ```text
//!   engine ──> session, window ──────────────> players of the session's own shard
//!                   │ each read is written to
//!                   ├──> copy ··· replica ───> players of another shard
//!                   └──> copy ··· replica ───> players of a third one
//! ```
//! The session lives on its own shard as ever and is alone to decide: which shards serve it too (`plan`, pure), who goes
//! there, and when that is over (`owner`). Another shard holds a replica and does as it is told (`serving`). They talk in
//! words (`words`); nothing is shared but the copy's file, which one of them writes, at its end, and the other one sends
//! from, up to where it has been told of.
//!
//! Whoever asks for the session is still taken to its own shard, is admitted there and counted there until it has left,
//! wherever it is served. So limits, the grace period and its start know of nothing new. What a player is owed goes with it:
//! descriptor, cursor, the rest of its prefix, its places in the admission counts.
//!
//! Players over HLS stay on the session's own shard.
//!
//! To be handed over, and to end, a shard has all its copies given back first.

mod owner;
mod plan;
mod serving;
mod words;

pub use words::{Peers, peers};

use super::{Shard, bus};
use crate::client::{Client, Watched};
use crate::metrics::ReplicaEnd;
use crate::session::{Replica, Session, Title};
use crate::window::LagMax;
use sluice_contract::EndReason;
use sluice_contract::link::Receiver;
use sluice_contract::snapshot;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Instant;
use words::{Moving, Post, Word, say};

/// Words taken in one go before the others get their turn.
const BURST: usize = 64;
/// Players in one word.
const MOVED_TOGETHER: usize = 64;

/// What a shard has to do with sessions that several serve.
pub(super) struct Hot {
    post: Post,
    inbox: RefCell<Option<Receiver<Word>>>,
    /// Sessions of this shard that others serve too, or are about to, by serial.
    spreads: RefCell<HashMap<u64, owner::Spread>>,
    /// Sessions of other shards that this one serves too, by serial.
    replicas: RefCell<HashMap<u64, Rc<Replica>>>,
    looked_at: Cell<Option<Instant>>,
}

impl Hot {
    pub(super) fn new(peers: Option<Peers>) -> Self {
        let (post, inbox) = Post::new(peers);
        Self {
            post,
            inbox: RefCell::new(inbox),
            spreads: RefCell::default(),
            replicas: RefCell::default(),
            looked_at: Cell::new(None),
        }
    }

    /// Whether this shard serves sessions of others.
    pub(super) fn serves_others(&self) -> bool {
        !self.replicas.borrow().is_empty()
    }

    /// Bytes of memory in windows of sessions of other shards.
    pub(super) fn window_bytes(&self) -> u64 {
        self.replicas.borrow().values().map(|replica| replica.window().resident()).sum()
    }

    /// Sessions of other shards that this one serves.
    pub(super) fn replicas(&self) -> Vec<Rc<Replica>> {
        self.replicas.borrow().values().cloned().collect()
    }

    /// A walk over all clients is complete.
    pub(super) fn walked(&self, lag: LagMax) {
        self.replicas.borrow().values().for_each(|replica| replica.walked(lag));
    }

    /// Players of a session of this shard that others serve.
    pub(super) fn players_elsewhere(&self, serial: u64) -> usize {
        self.spreads.borrow().get(&serial).map_or(0, owner::Spread::players_elsewhere)
    }

    /// Why this shard cannot be handed over yet, if it cannot.
    ///
    /// # Errors
    /// The reason.
    pub(super) fn is_settled(&self) -> Result<(), String> {
        let is_settled = self.spreads.borrow().values().all(owner::Spread::is_settled);
        if !is_settled || self.serves_others() || !self.post.is_sent() {
            return Err("players are on their way between shards".to_owned());
        }
        Ok(())
    }
}

pub(super) use owner::{close_all, ended, grew, place, turn};
pub(super) use serving::{end_all, report, show};

/// Hears the other shards for the life of this one.
pub(super) async fn run(shard: Rc<Shard>) {
    let mut taken = 0usize;
    loop {
        let word = poll_fn(|cx| match shard.hot.inbox.borrow_mut().as_mut() {
            Some(inbox) => inbox.poll_recv(cx),
            None => std::task::Poll::Ready(None),
        });
        let Some(word) = word.await else { return };
        take(&shard, word);
        taken += 1;
        if taken.is_multiple_of(BURST) {
            shard.turns.park_once().await;
        }
    }
}

/// Hears what has come until now, at the end of the shard: players on their way here are told why they end.
pub(super) fn hear_the_last(shard: &Rc<Shard>) {
    loop {
        let word = shard.hot.inbox.borrow_mut().as_mut().and_then(Receiver::try_recv);
        match word {
            Some(word) => take(shard, word),
            None => return,
        }
    }
}

fn take(shard: &Rc<Shard>, word: Word) {
    match word {
        Word::Open(opening) => serving::open(shard, *opening),
        Word::Growth { serial, growth } => serving::grow(shard, serial, *growth),
        Word::Players { serial, owner, title, players } => {
            serving::take_players(shard, serial, owner, title, players);
        }
        Word::Recall { serial, count } => serving::give_back(shard, serial, count),
        Word::Close { serial } => serving::close(shard, serial),
        Word::End { serial, reason } => serving::end(shard, serial, reason),
        Word::Back { serial, from, title, players } => owner::take_back(shard, serial, from, &title, players),
        Word::Left { serial, key, from, count } => owner::left(shard, serial, &key, from, count),
        Word::Stands { serial, key, from, tail, hindmost } => {
            owner::stands(shard, serial, &key, from, owner::Stand { tail, hindmost });
        }
        Word::Closed { serial, key, from } => owner::closed(shard, serial, &key, from),
    }
}

/// What was to be said to a shard that has ended: the appliance is ending.
fn unheard(shard: &Rc<Shard>, word: Word) {
    if let Word::Players { title, players, .. } | Word::Back { title, players, .. } = word {
        players.into_iter().for_each(|player| end_on_the_way(shard, &title, player, EndReason::Shutdown));
    }
}

/// Ends a player that no shard serves at the moment.
fn end_on_the_way(shard: &Shard, title: &Title, player: Moving, reason: EndReason) {
    let Moving { fd, state, guards } = player;
    shard.counters.client_ended(reason);
    shard.ended.borrow_mut().remember(title.clone(), state.last_snapshot(), reason, Instant::now());
    tracing::debug!(stream = %title.key, reason = reason.as_str(), "client ended between shards");
    crate::uring::finish(fd);
    drop(guards);
}

/// Takes a client's parts.
fn moving(client: Client) -> Moving {
    let (fd, state, guards) = client.into_parts();
    Moving { fd, state, guards }
}

/// Goes on with a player of another shard.
fn board(shard: &Rc<Shard>, watched: &Watched, player: Moving) {
    let Moving { fd, state, guards } = player;
    let mut client = Client::going_on(fd, watched.clone(), state, guards);
    client.bound_unsent(shard.bus.borrow().tick());
    let boarded = shard.bus.borrow_mut().board(client, true);
    match boarded {
        Ok(()) => shard.boarded.notify(),
        Err(client) => bus::tell_off_one(shard, *client, EndReason::Internal),
    }
}

/// Has a player's session know that it has left.
pub(super) fn leave(shard: &Shard, watched: &Watched) {
    match watched {
        Watched::Session(session) => session.leave(),
        Watched::Replica(replica) => {
            let (serial, key, from) = (replica.serial(), replica.title().key.clone(), shard.id);
            say(&shard.arc_self(), replica.owner(), Word::Left { serial, key, from, count: 1 });
        }
    }
}

/// The session of a serial, if it still lives.
fn session_of(shard: &Shard, serial: u64, key: &sluice_contract::StreamKey) -> Option<Rc<Session>> {
    let session = shard.sessions.borrow().get(key).cloned();
    session.filter(|session| session.serial() == serial)
}
