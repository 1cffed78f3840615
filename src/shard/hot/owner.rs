//! The part of the session's own shard: who serves it besides, who goes there, and the end of that.

use super::plan::{Carried, Place, Sight, Standing, Step};
use super::{
    MOVED_TOGETHER, Moving, ReplicaEnd, Shard, Title, Word, board, end_on_the_way, moving, say, session_of,
};
use crate::client::{Client, Watched};
use crate::session::{Heard, Phase, Session};
use crate::window::{COPY_BYTES, Copying, OVERHEAD_BYTES, Reservation};
use sluice_contract::snapshot;
use sluice_contract::{EndReason, ShardId, StreamKey};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Between two looks at what shards carry.
const TURN: Duration = Duration::from_millis(200);
/// A shard that says nothing for that long, or while so much has come, holds memory that nobody bounds.
const UNHEARD_FOR: Duration = Duration::from_secs(5);
const UNHEARD_BYTES: u64 = 64 << 20;
/// After a copy could not be made, the next one is not begun before that.
const NOT_AGAIN_BEFORE: Duration = Duration::from_secs(10);

/// How a session is spread over shards.
pub(in crate::shard) struct Spread {
    key: StreamKey,
    copies: Vec<Copy>,
    /// A copy is being made.
    is_copying: bool,
    /// No copy is begun before.
    not_before: Option<Instant>,
    /// Since when it has had less than half the players that make it hot.
    cold_since: Option<Instant>,
    /// How it looked last.
    sight: Option<Sight>,
}

/// A copy on another shard.
struct Copy {
    to: ShardId,
    /// Players there, those on the way there included.
    players: usize,
    /// Since when there has been none.
    empty_since: Option<Instant>,
    heard: Heard,
    stand: Stand,
    /// When it said so, and the head at that time.
    stood: (Instant, u64),
    /// It is to give everything back.
    is_closing: bool,
}

/// How a shard stands with what it serves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand {
    /// Where its window begins.
    pub tail: u64,
    /// Where its hindmost player stands.
    pub hindmost: u64,
}

impl Spread {
    fn new(key: StreamKey) -> Self {
        Self { key, copies: Vec::new(), is_copying: false, not_before: None, cold_since: None, sight: None }
    }

    pub(super) fn players_elsewhere(&self) -> usize {
        self.copies.iter().map(|copy| copy.players).sum()
    }

    fn copy(&mut self, of: ShardId) -> Option<&mut Copy> {
        self.copies.iter_mut().find(|copy| copy.to == of)
    }

    /// Where the hindmost player on other shards stands.
    fn hindmost(&self) -> u64 {
        self.copies.iter().map(|copy| copy.stand.hindmost).min().unwrap_or(u64::MAX)
    }

    /// Whether nothing of it is under way between shards.
    pub(super) fn is_settled(&self) -> bool {
        self.copies.is_empty() && !self.is_copying
    }

    fn is_over(&self) -> bool {
        self.is_settled() && self.not_before.is_none()
    }
}

/// Looks at what shards carry, and acts.
pub(in crate::shard) fn turn(shard: &Rc<Shard>) {
    let hot = shard.settings().shards.hot_session_clients.map_or(0, |count| count.get() as usize);
    let is_spread = !shard.hot.spreads.borrow().is_empty();
    if shard.hot.post.others() == 0 || (hot == 0 && !is_spread) || shard.is_calm.get() {
        return;
    }
    let now = Instant::now();
    if shard.hot.looked_at.get().is_some_and(|at| now.saturating_duration_since(at) < TURN) {
        return;
    }
    shard.hot.looked_at.set(Some(now));
    if shard.budget.is_pressed() {
        // A copy is the first thing that can be done without.
        return close_all(shard, ReplicaEnd::Memory);
    }
    let (counts, demand) = carried(shard);
    let shown = shard.board.read_apart();
    let sessions: Vec<Rc<Session>> = shard.sessions.borrow().values().cloned().collect();
    for session in sessions {
        let players = counts.get(&session.serial()).copied().unwrap_or(0);
        let is_known = shard.hot.spreads.borrow().contains_key(&session.serial());
        let has_media = !matches!(session.phase(), Phase::Starting | Phase::Ending);
        if has_media && (is_known || (hot > 0 && players >= hot)) {
            watch_over(shard, &session, now);
            let steps = look(shard, &session, (hot, players, demand), &shown, now);
            steps.into_iter().for_each(|step| act(shard, &session, hot, step));
        }
    }
    shard.hot.spreads.borrow_mut().retain(|_, spread| {
        spread.not_before = spread.not_before.filter(|until| *until > now);
        !spread.is_over()
    });
}

/// Players of each session here, and what all players here take.
fn carried(shard: &Shard) -> (HashMap<u64, usize>, u64) {
    let mut counts = HashMap::new();
    let mut demand = 0;
    for client in shard.bus.borrow_mut().clients() {
        *counts.entry(client.watched().serial()).or_default() += 1;
        demand += client.watched().rate().unwrap_or(0);
    }
    (counts, demand + shard.hls.demand())
}

/// What is to be done about a session.
fn look(
    shard: &Shard,
    session: &Session,
    (hot, players, demand): (usize, usize, u64),
    shown: &[std::sync::Arc<snapshot::Shard>],
    now: Instant,
) -> Vec<Step> {
    let rate = session.feed().rate().unwrap_or(0);
    let mut spreads = shard.hot.spreads.borrow_mut();
    let spread = spreads.entry(session.serial()).or_insert_with(|| Spread::new(session.key().clone()));
    let may_open = !spread.is_copying && spread.not_before.is_none() && rate > 0;
    let place = |other: &std::sync::Arc<snapshot::Shard>| {
        let served = other.replicas.iter().find(|replica| replica.key == *session.key());
        let others = other.demand.saturating_sub(served.map_or(0, |replica| replica.demand));
        let copy = spread.copies.iter().find(|copy| copy.to == other.id);
        let standing = match copy {
            // A shard that does not listen is given nobody.
            Some(copy) if copy.is_closing || !shard.hot.post.is_clear(copy.to) => Standing::Changing,
            Some(copy) => {
                let since = copy.empty_since.filter(|_| copy.players == 0);
                Standing::Serving {
                    idle: since.map_or(Duration::ZERO, |at| now.saturating_duration_since(at)),
                }
            }
            None if may_open => Standing::Apart,
            None => Standing::Changing,
        };
        let carried = Carried { others, players: copy.map_or(0, |copy| copy.players) };
        Place { shard: other.id, standing, carried }
    };
    let runs = |other: &&std::sync::Arc<snapshot::Shard>| other.id != shard.id && other.driver.is_some();
    let places = shown.iter().filter(runs).map(place).collect();
    let own = Carried { others: demand.saturating_sub(players as u64 * rate), players };
    let mut sight = Sight { hot, rate, own, places, cold_for: None };
    spread.cold_since = if sight.is_cold() { spread.cold_since.or(Some(now)) } else { None };
    sight.cold_for = spread.cold_since.map(|since| now.saturating_duration_since(since));
    let steps = sight.steps();
    spread.sight = Some(sight);
    steps
}

/// Lets go of copies that cannot be relied on.
fn watch_over(shard: &Rc<Shard>, session: &Rc<Session>, now: Instant) {
    let head = session.feed().window().head();
    let mut over = Vec::new();
    if let Some(spread) = shard.hot.spreads.borrow_mut().get_mut(&session.serial()) {
        for copy in spread.copies.iter_mut().filter(|copy| !copy.is_closing) {
            let (at, then) = copy.stood;
            if !session.is_copied(copy.to) {
                over.push((copy.to, ReplicaEnd::Memory));
            } else if now.saturating_duration_since(at) > UNHEARD_FOR || head - then > UNHEARD_BYTES {
                over.push((copy.to, ReplicaEnd::Behind));
            }
            copy.empty_since = (copy.players == 0).then(|| copy.empty_since.unwrap_or(now));
        }
    }
    over.into_iter().for_each(|(to, why)| close(shard, session, to, why));
}

fn act(shard: &Rc<Shard>, session: &Rc<Session>, hot: usize, step: Step) {
    match step {
        Step::Open(to) => open(shard, session, to),
        Step::Give { to, count } => give(shard, session, to, count),
        Step::Recall { from, count } => say(shard, from, Word::Recall { serial: session.serial(), count }),
        Step::Close(to) => {
            let why = if hot == 0 { ReplicaEnd::Off } else { ReplicaEnd::NotNeeded };
            close(shard, session, to, why);
        }
    }
}

/// Makes a copy for a shard, in pieces, and has it serve the session.
fn open(shard: &Rc<Shard>, session: &Rc<Session>, to: ShardId) {
    let serial = session.serial();
    if let Some(spread) = shard.hot.spreads.borrow_mut().get_mut(&serial) {
        spread.is_copying = true;
    }
    let (shard, session) = (shard.clone(), session.clone());
    shard.clone().spawn(async move {
        let _copying = IsCopying { shard: shard.clone(), serial };
        match copied(&shard, &session).await {
            Ok(Some((copying, reservation))) => opened(&shard, &session, to, copying, reservation),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(stream = %session.key(), to = to.0, %error, "cannot copy a window for another shard");
                not_again(&shard, serial);
            }
        }
    });
}

/// Says that a copy is being made, until dropped: also by a failure of our own.
struct IsCopying {
    shard: Rc<Shard>,
    serial: u64,
}

impl Drop for IsCopying {
    fn drop(&mut self) {
        if let Some(spread) = self.shard.hot.spreads.borrow_mut().get_mut(&self.serial) {
            spread.is_copying = false;
        }
    }
}

fn not_again(shard: &Shard, serial: u64) {
    shard.counters.replicas_refused.add(1);
    if let Some(spread) = shard.hot.spreads.borrow_mut().get_mut(&serial) {
        spread.not_before = Some(Instant::now() + NOT_AGAIN_BEFORE);
    }
}

/// A copy that has everything there is, unless it is not wanted any more or there is no memory for it.
async fn copied(shard: &Rc<Shard>, session: &Rc<Session>) -> std::io::Result<Option<(Copying, Reservation)>> {
    let needed = session.feed().window().resident() + OVERHEAD_BYTES;
    let Some(reservation) = shard.budget.reserve(needed) else {
        tracing::info!(stream = %session.key(), "no memory for another shard to serve the stream");
        not_again(shard, session.serial());
        return Ok(None);
    };
    let mut copying = session.copy()?;
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let is_over = session.phase() == Phase::Ending;
        if is_over || shard.is_calm.get() || shard.draining.get().is_some() || shard.budget.is_pressed() {
            return Ok(None);
        }
        if session.copy_more(&mut copying, &mut buffer)? {
            return Ok(Some((copying, reservation)));
        }
        shard.turns.park_once().await;
    }
}

fn opened(shard: &Rc<Shard>, session: &Rc<Session>, to: ShardId, copying: Copying, reservation: Reservation) {
    let tail = copying.tail();
    let (opening, heard) = match session.attach(copying, (shard.id, to), reservation) {
        Ok(attached) => attached,
        Err(error) => {
            tracing::warn!(stream = %session.key(), to = to.0, %error, "cannot copy a window for another shard");
            return not_again(shard, session.serial());
        }
    };
    let now = Instant::now();
    let head = session.feed().window().head();
    let copy = Copy {
        to,
        players: 0,
        empty_since: Some(now),
        heard,
        stand: Stand { tail, hindmost: u64::MAX },
        stood: (now, head),
        is_closing: false,
    };
    match shard.hot.spreads.borrow_mut().get_mut(&session.serial()) {
        Some(spread) => spread.copies.push(copy),
        None => return session.detach(to),
    }
    tracing::info!(stream = %session.key(), to = to.0, "another shard serves the stream too");
    shard.counters.replicas_opened.add(1);
    say(shard, to, Word::Open(Box::new(opening)));
}

/// Gives players to a shard that serves the session.
fn give(shard: &Rc<Shard>, session: &Rc<Session>, to: ShardId, count: usize) {
    let Some(least) = least_cursor(shard, session, to) else { return };
    let clients =
        shard.bus.borrow_mut().withdraw(session.serial(), count, |it| it.keeps_up() && it.cursor() >= least);
    if !clients.is_empty() {
        send_players(shard, session, to, clients);
    }
}

/// Where a player has to stand to find everything at another shard: well behind what that shard last said it has.
fn least_cursor(shard: &Shard, session: &Session, to: ShardId) -> Option<u64> {
    let rate = session.feed().rate().unwrap_or(0);
    let mut spreads = shard.hot.spreads.borrow_mut();
    let copy = spreads.get_mut(&session.serial())?.copy(to).filter(|copy| !copy.is_closing)?;
    Some(copy.stand.tail + if copy.stand.tail == 0 { 0 } else { rate })
}

fn send_players(shard: &Rc<Shard>, session: &Session, to: ShardId, clients: Vec<Client>) {
    let (serial, owner, title) = (session.serial(), shard.id, session.title());
    shard.counters.clients_moved.add(clients.len() as u64);
    if let Some(copy) = shard.hot.spreads.borrow_mut().get_mut(&serial).and_then(|spread| spread.copy(to)) {
        copy.players += clients.len();
    }
    let mut clients = clients.into_iter().map(moving).peekable();
    while clients.peek().is_some() {
        let players = clients.by_ref().take(MOVED_TOGETHER).collect();
        say(shard, to, Word::Players { serial, owner, title: title.clone(), players });
    }
    shard.news.notify();
}

/// Sends a player that has just come to another shard if it is better served there; else it comes back.
pub(in crate::shard) fn place(shard: &Rc<Shard>, client: Client) -> Option<Client> {
    let Watched::Session(session) = client.watched().clone() else { return Some(client) };
    if shard.is_calm.get() || shard.draining.get().is_some() {
        return Some(client);
    }
    let to = {
        let mut spreads = shard.hot.spreads.borrow_mut();
        let Some(spread) = spreads.get_mut(&session.serial()) else { return Some(client) };
        let Spread { sight: Some(sight), copies, .. } = spread else { return Some(client) };
        for place in &mut sight.places {
            match copies.iter().find(|copy| copy.to == place.shard) {
                Some(copy) if !copy.is_closing && shard.hot.post.is_clear(copy.to) => {
                    place.carried.players = copy.players;
                }
                _ => place.standing = Standing::Changing,
            }
        }
        match sight.place() {
            Some(to) => to,
            None => {
                sight.own.players += 1;
                return Some(client);
            }
        }
    };
    match least_cursor(shard, &session, to) {
        Some(least) if client.keeps_up() && client.cursor() >= least => {
            send_players(shard, &session, to, vec![client]);
            None
        }
        _ => Some(client),
    }
}

/// More has come of a session that others serve.
pub(in crate::shard) fn grew(shard: &Rc<Shard>, session: &Session) {
    let serial = session.serial();
    let told: Vec<(ShardId, Word)> = {
        let mut spreads = shard.hot.spreads.borrow_mut();
        let Some(spread) = spreads.get_mut(&serial) else { return };
        let open = spread.copies.iter_mut().filter(|copy| !copy.is_closing);
        open.map(|copy| (copy.to, Word::Growth { serial, growth: Box::new(session.growth(&mut copy.heard)) }))
            .collect()
    };
    told.into_iter().for_each(|(to, word)| say(shard, to, word));
}

/// Has a shard give everything back.
fn close(shard: &Rc<Shard>, session: &Session, to: ShardId, why: ReplicaEnd) {
    {
        let mut spreads = shard.hot.spreads.borrow_mut();
        let Some(copy) = spreads.get_mut(&session.serial()).and_then(|spread| spread.copy(to)) else {
            return;
        };
        if std::mem::replace(&mut copy.is_closing, true) {
            return;
        }
    }
    session.detach(to);
    shard.counters.replica_ended(why);
    tracing::info!(stream = %session.key(), to = to.0, why = why.as_str(), "the other shard is to serve the stream no more");
    say(shard, to, Word::Close { serial: session.serial() });
}

/// Has all shards give everything back.
pub(in crate::shard) fn close_all(shard: &Rc<Shard>, why: ReplicaEnd) {
    let sessions: Vec<Rc<Session>> = shard.sessions.borrow().values().cloned().collect();
    for session in sessions {
        let spread = shard.hot.spreads.borrow();
        let copies =
            spread.get(&session.serial()).map(|spread| spread.copies.iter().map(|copy| copy.to).collect());
        drop(spread);
        let copies: Vec<ShardId> = copies.unwrap_or_default();
        copies.into_iter().for_each(|to| close(shard, &session, to, why));
    }
}

/// A session ends: so does it everywhere.
pub(in crate::shard) fn ended(shard: &Rc<Shard>, session: &Session, reason: EndReason) {
    let Some(spread) = shard.hot.spreads.borrow_mut().remove(&session.serial()) else { return };
    for copy in spread.copies {
        if !copy.is_closing {
            session.detach(copy.to);
            shard.counters.replica_ended(ReplicaEnd::SessionEnded);
        }
        say(shard, copy.to, Word::End { serial: session.serial(), reason });
    }
}

/// Players come back.
pub(super) fn take_back(shard: &Rc<Shard>, serial: u64, from: ShardId, title: &Title, players: Vec<Moving>) {
    if let Some(copy) = shard.hot.spreads.borrow_mut().get_mut(&serial).and_then(|spread| spread.copy(from)) {
        copy.players = copy.players.saturating_sub(players.len());
    }
    match session_of(shard, serial, &title.key) {
        Some(session) if session.phase() != Phase::Ending => {
            let watched = Watched::Session(session);
            players.into_iter().for_each(|player| board(shard, &watched, player));
        }
        ending => {
            let reason = ending.as_ref().and_then(|session| session.end_reason());
            let known = shard.ended_sessions.borrow().reason_of(&title.key);
            let reason = reason.or(known).unwrap_or(EndReason::Internal);
            for player in players {
                end_on_the_way(shard, title, player, reason);
                ending.iter().for_each(|session| session.leave());
            }
        }
    }
    shard.news.notify();
}

/// Players that another shard served have left.
pub(super) fn left(shard: &Rc<Shard>, serial: u64, key: &StreamKey, from: ShardId, count: usize) {
    if let Some(copy) = shard.hot.spreads.borrow_mut().get_mut(&serial).and_then(|spread| spread.copy(from)) {
        copy.players = copy.players.saturating_sub(count);
    }
    if let Some(session) = session_of(shard, serial, key) {
        (0..count).for_each(|_| session.leave());
    }
}

/// How another shard stands.
pub(super) fn stands(shard: &Rc<Shard>, serial: u64, key: &StreamKey, from: ShardId, stand: Stand) {
    let Some(session) = session_of(shard, serial, key) else { return };
    let head = session.feed().window().head();
    let hindmost = {
        let mut spreads = shard.hot.spreads.borrow_mut();
        let Some(spread) = spreads.get_mut(&serial) else { return };
        if let Some(copy) = spread.copy(from) {
            (copy.stand, copy.stood) = (stand, (Instant::now(), head));
        }
        spread.hindmost()
    };
    session.note_elsewhere(hindmost);
}

/// Another shard serves the session no more.
pub(super) fn closed(shard: &Rc<Shard>, serial: u64, key: &StreamKey, from: ShardId) {
    let session = session_of(shard, serial, key);
    let mut spreads = shard.hot.spreads.borrow_mut();
    let Some(spread) = spreads.get_mut(&serial) else { return };
    debug_assert!(spread.key == *key, "a serial is of one session");
    if let Some(copy) = spread.copy(from).filter(|copy| !copy.is_closing) {
        // It could not take it.
        copy.is_closing = true;
        shard.counters.replica_ended(ReplicaEnd::NotTaken);
        spread.not_before = Some(Instant::now() + NOT_AGAIN_BEFORE);
        session.iter().for_each(|session| session.detach(from));
    }
    spread.copies.retain(|copy| copy.to != from);
    let hindmost = spread.hindmost();
    spreads.retain(|_, spread| !spread.is_over());
    drop(spreads);
    session.iter().for_each(|session| session.note_elsewhere(hindmost));
}
