//! The part of a shard that serves a session of another one: it sends from its copy, and does as it is told.

use super::{
    MOVED_TOGETHER, Moving, Shard, Title, Watched, Word, board, bus, end_on_the_way, moving, say, snapshot,
};
use crate::client::Client;
use crate::session::{Growth, Opening, Replica};
use crate::shard::publish::Lists;
use sluice_contract::{EndReason, ShardId};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

fn replica(shard: &Shard, serial: u64) -> Option<Rc<Replica>> {
    shard.hot.replicas.borrow().get(&serial).cloned()
}

/// Serves a session of another shard from now on, unless this one is about to stop.
pub(super) fn open(shard: &Rc<Shard>, opening: Opening) {
    let (serial, owner, key) = (opening.serial, opening.owner, opening.title.key.clone());
    let is_able = !shard.is_calm.get() && shard.draining.get().is_none();
    let opened = is_able.then(|| Replica::open(Instant::now(), opening));
    match opened {
        Some(Ok(replica)) => {
            tracing::info!(stream = %key, owner = owner.0, "serving a stream of another shard");
            shard.hot.replicas.borrow_mut().insert(serial, Rc::new(replica));
            shard.news.notify();
            return;
        }
        Some(Err(error)) => tracing::warn!(stream = %key, %error, "cannot serve a stream of another shard"),
        None => {}
    }
    say(shard, owner, Word::Closed { serial, key, from: shard.id });
}

/// More has come.
pub(super) fn grow(shard: &Rc<Shard>, serial: u64, growth: Growth) {
    if let Some(replica) = replica(shard, serial) {
        replica.grow(growth);
        trim(shard, &replica);
    }
}

fn trim(shard: &Shard, replica: &Replica) {
    if let Err(error) = replica.trim(Instant::now(), shard.budget.is_pressed()) {
        tracing::warn!(stream = %replica.title().key, %error, "cannot release window memory");
    }
}

/// Serves players of another shard's session, or says that it cannot.
pub(super) fn take_players(
    shard: &Rc<Shard>,
    serial: u64,
    owner: ShardId,
    title: Title,
    players: Vec<Moving>,
) {
    if let Some(replica) = replica(shard, serial) {
        let watched = Watched::Replica(replica);
        players.into_iter().for_each(|player| board(shard, &watched, player));
        return shard.news.notify();
    }
    if shard.draining.get().is_none() {
        return say(shard, owner, Word::Back { serial, from: shard.id, title, players });
    }
    let (key, count) = (title.key.clone(), players.len());
    players.into_iter().for_each(|player| end_on_the_way(shard, &title, player, EndReason::Shutdown));
    say(shard, owner, Word::Left { serial, key, from: shard.id, count });
}

/// Gives some players back.
pub(super) fn give_back(shard: &Rc<Shard>, serial: u64, count: usize) {
    if let Some(replica) = replica(shard, serial) {
        let clients = shard.bus.borrow_mut().withdraw(serial, count, Client::keeps_up);
        send_back(shard, &replica, clients);
    }
}

fn send_back(shard: &Rc<Shard>, replica: &Replica, clients: Vec<Client>) {
    let (serial, from) = (replica.serial(), shard.id);
    let mut clients = clients.into_iter().map(moving).peekable();
    while clients.peek().is_some() {
        let players = clients.by_ref().take(MOVED_TOGETHER).collect();
        say(shard, replica.owner(), Word::Back { serial, from, title: replica.title().clone(), players });
    }
    shard.news.notify();
}

/// Gives everything back.
pub(super) fn close(shard: &Rc<Shard>, serial: u64) {
    let Some(replica) = replica(shard, serial) else { return };
    let clients = shard.bus.borrow_mut().withdraw(serial, usize::MAX, |_| true);
    send_back(shard, &replica, clients);
    shard.hot.replicas.borrow_mut().remove(&serial);
    let key = replica.title().key.clone();
    say(shard, replica.owner(), Word::Closed { serial, key, from: shard.id });
}

/// The session ends, and with it its players here.
pub(super) fn end(shard: &Rc<Shard>, serial: u64, reason: EndReason) {
    bus::end_clients(shard, serial, reason);
    shard.hot.replicas.borrow_mut().remove(&serial);
    shard.news.notify();
}

/// Ends all players of other shards' sessions: this shard is about to end.
pub(in crate::shard) fn end_all(shard: &Rc<Shard>, reason: EndReason) {
    let serials: Vec<u64> = shard.hot.replicas.borrow().keys().copied().collect();
    serials.into_iter().for_each(|serial| end(shard, serial, reason));
}

/// Tells the other shards how this one stands with what it serves for them, and keeps house.
pub(in crate::shard) fn report(shard: &Rc<Shard>) {
    for replica in shard.hot.replicas() {
        trim(shard, &replica);
        let (serial, key, from) = (replica.serial(), replica.title().key.clone(), shard.id);
        let (tail, hindmost) = (replica.window().tail(), replica.hindmost());
        say(shard, replica.owner(), Word::Stands { serial, key, from, tail, hindmost });
    }
}

/// What is shown of it. Clients are taken out of their lists, serials are added to `serials` in the answer's order.
pub(in crate::shard) fn show(
    shard: &Shard,
    clients: &mut Lists,
    serials: &mut Vec<u64>,
) -> Vec<Arc<snapshot::Replica>> {
    let one = |replica: Rc<Replica>| {
        serials.push(replica.serial());
        let clients = clients.remove(&replica.serial()).unwrap_or_default();
        let demand = clients.len() as u64 * replica.rate().unwrap_or(0);
        let (key, owner) = (replica.title().key.clone(), replica.owner());
        Arc::new(snapshot::Replica { key, owner, clients, demand })
    };
    shard.hot.replicas().into_iter().map(one).collect()
}
