//! Showing what the shard is doing, and keeping house: at once when sessions, their engines or who watches change, a few
//! times a second while there are figures to show.

use super::{Shard, hot};
use crate::metrics::Gauges;
use crate::session::machine::Event;
use crate::session::{Phase, Session};
use crate::uring::Driver;
use sluice_contract::EndReason;
use sluice_contract::snapshot::{self, Client, SessionState};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Between two publications while only figures change.
const INTERVAL: Duration = Duration::from_millis(250);
/// The same while there is no session: accepts and refusals still count.
const IDLE_INTERVAL: Duration = Duration::from_secs(5);
/// Between two publications whatever changes: what comes closer together is shown together.
const GAP_MIN: Duration = Duration::from_millis(20);
/// A publication is followed by at least so many times the time it took, so that changes without end, such as a thousand
/// players that come within a second, cost players that are there a twentieth of the shard at most.
const GAP_PER_COST: u32 = 19;

/// Lists of clients, by the serial of their session.
pub(super) type Lists = HashMap<u64, Vec<Client>>;

/// The last two publications: the one that is shown, and the one before it, whose lists the next one is written into.
///
/// Ten thousand players fill a list of 1.4 MB, four times a second. From the heap that was new memory each time, 585 pages for
/// the kernel to bring while the list grew, and it went back from whichever thread had read it last.
#[derive(Default)]
pub(super) struct Shown(VecDeque<(Arc<snapshot::Shard>, Serials)>);

/// Serials of a publication's sessions and replicas, in its order.
#[derive(Default)]
struct Serials {
    sessions: Vec<u64>,
    replicas: Vec<u64>,
}

impl Shown {
    /// Empty lists, with room for those who were in them in the publication before the one that is shown. None of what
    /// somebody still reads.
    fn take_back(&mut self) -> Lists {
        if self.0.len() < 2 {
            return Lists::new();
        }
        let before = self.0.pop_front().and_then(|(shown, serials)| Some((Arc::into_inner(shown)?, serials)));
        let Some((shown, serials)) = before else { return Lists::new() };
        let of_sessions = shown.sessions.into_iter().map(|one| Arc::into_inner(one).map(|one| one.clients));
        let of_replicas = shown.replicas.into_iter().map(|one| Arc::into_inner(one).map(|one| one.clients));
        let all = serials
            .sessions
            .into_iter()
            .zip(of_sessions)
            .chain(serials.replicas.into_iter().zip(of_replicas));
        all.filter_map(|(serial, clients)| Some((serial, emptied(clients?)))).collect()
    }

    fn remember(&mut self, shown: Arc<snapshot::Shard>, serials: Serials) {
        self.0.push_back((shown, serials));
    }
}

/// A list without its clients. What it has room for follows them down as well as up.
fn emptied(mut clients: Vec<Client>) -> Vec<Client> {
    let were = clients.len();
    clients.clear();
    clients.shrink_to(were.saturating_mul(2));
    clients
}

/// Publishes and keeps house for the life of the shard; sleeps while nothing changes.
pub(super) async fn run(shard: Rc<Shard>) {
    loop {
        let seen = shard.news.count();
        let began = Instant::now();
        relieve(&shard);
        cool(&shard);
        hot::turn(&shard);
        hot::report(&shard);
        now(&shard);
        monoio::time::sleep(gap(began.elapsed())).await;
        let is_idle =
            shard.sessions.borrow().is_empty() && shard.bus.borrow().len() == 0 && !shard.hot.serves_others();
        let longest = if is_idle { IDLE_INTERVAL } else { INTERVAL };
        let _ = monoio::time::timeout(longest, shard.news.after(seen)).await;
    }
}

/// The least time to the next publication after one that took `cost`.
fn gap(cost: Duration) -> Duration {
    cost.saturating_mul(GAP_PER_COST).clamp(GAP_MIN, INTERVAL)
}

/// Gives memory back when a newcomer waits for it: what nobody watches goes first, windows shrink by themselves.
fn relieve(shard: &Rc<Shard>) {
    if !shard.budget.is_pressed() {
        return;
    }
    let sessions: Vec<Rc<Session>> = shard.sessions.borrow().values().cloned().collect();
    for session in sessions.into_iter().filter(|session| session.is_idle()) {
        session.handle(Event::End(EndReason::Memory));
    }
}

/// Ends the sessions nobody watches whose grace period is over, unless they are among those that are kept warm: the
/// ones left last, over all shards. Whichever stays ends by itself when its time is over.
fn cool(shard: &Rc<Shard>) {
    let (grace, kept) = (shard.dial.read().grace, shard.settings().warm.channels as usize);
    let now = Instant::now();
    let idle_since = |session: &Session| session.info().idle_since;
    let over: Vec<Rc<Session>> = {
        let sessions = shard.sessions.borrow();
        let is_over = |session: &&Rc<Session>| session.idle_for(now).is_some_and(|idle| idle >= grace);
        sessions.values().filter(is_over).cloned().collect()
    };
    if over.is_empty() {
        return;
    }
    let shown = shard.board.read();
    let elsewhere = shown.iter().filter(|other| other.id != shard.id).flat_map(|other| &other.sessions);
    let mut left: Vec<SystemTime> = elsewhere
        .filter(|session| session.state == SessionState::Grace)
        .filter_map(|session| session.idle_since)
        .collect();
    left.extend(shard.sessions.borrow().values().filter_map(|session| idle_since(session)));
    for session in over {
        let since = idle_since(&session);
        if left.iter().filter(|left| Some(**left) > since).count() >= kept {
            session.handle(Event::End(EndReason::ClientLeft));
        }
    }
}

/// Publishes the present state.
pub(super) fn now(shard: &Rc<Shard>) {
    let at = Instant::now();
    let mut clients = shard.shown.borrow_mut().take_back();
    let (clients_total, tick) = {
        let mut bus = shard.bus.borrow_mut();
        for client in bus.clients() {
            let serial = client.watched().serial();
            clients.entry(serial).or_default().push(client.snapshot(at));
        }
        (bus.len(), bus.tick())
    };
    for (serial, client) in shard.hls.snapshots() {
        clients.entry(serial).or_default().push(client);
    }
    let clients_total = clients_total + shard.hls.viewers();
    let waiting = shard.waiting.borrow();
    let mut serials = Serials::default();
    let sessions: Vec<Arc<snapshot::Session>> = shard
        .sessions
        .borrow()
        .values()
        .map(|session| {
            serials.sessions.push(session.serial());
            let of_session = clients.remove(&session.serial()).unwrap_or_default();
            let waiting = waiting.get(&session.serial()).copied().unwrap_or(0);
            Arc::new(show(shard, session, of_session, waiting))
        })
        .collect();
    let replicas = hot::show(shard, &mut clients, &mut serials.replicas);
    let demand = sessions.iter().map(|session| session.clients.len() as u64 * session.rate).sum::<u64>()
        + replicas.iter().map(|replica| replica.demand).sum::<u64>();
    let window_bytes =
        shard.sessions.borrow().values().map(|session| session.feed().window().resident()).sum::<u64>()
            + shard.hot.window_bytes();
    let metrics = shard.counters.samples(Gauges {
        clients: clients_total,
        waiting: waiting.values().sum(),
        sessions: sessions.len(),
        replicas: replicas.len(),
        window_bytes,
        tick,
        inbox: shard.shards[usize::from(shard.id.0)].backlog(),
        is_uring: matches!(shard.driver, Driver::IoUring { .. }),
    });
    let shown = Arc::new(snapshot::Shard {
        id: shard.id,
        driver: Some(shard.driver.as_str()),
        taken_at: SystemTime::now(),
        sessions,
        replicas,
        demand,
        ended: shard.ended.borrow_mut().recent(at),
        ended_sessions: shard.ended_sessions.borrow_mut().recent(at),
        metrics,
    });
    shard.board.publish(shown.clone());
    shard.shown.borrow_mut().remember(shown, serials);
}

fn show(shard: &Shard, session: &Session, clients: Vec<Client>, waiting: usize) -> snapshot::Session {
    let (info, feed) = (session.info(), session.feed());
    let counts = feed.counts();
    let window = feed.window();
    let state = match session.phase() {
        Phase::Ending => SessionState::Stopping,
        Phase::Starting => SessionState::Starting,
        _ if session.is_idle() => SessionState::Grace,
        Phase::Playing => SessionState::Playing,
        Phase::Recovering => SessionState::Recovering,
    };
    snapshot::Session {
        key: session.key().clone(),
        asked_as: info.asked_as,
        channel: info.channel.clone(),
        infohash: info.infohash,
        shard: shard.id,
        state,
        engine: info.engine.clone(),
        created_at: info.created_at,
        started_at: info.started_at,
        idle_since: info.idle_since,
        last_media_at: info.last_media_at,
        repeats_since: feed.repeats_since().and_then(|since| SystemTime::now().checked_sub(since.elapsed())),
        clients,
        waiting,
        head: window.head(),
        tail: window.tail(),
        window_s: window.access().span().as_secs_f64(),
        rate: feed.rate().unwrap_or(0),
        bytes_in: info.bytes_in,
        garbage_bytes: info.garbage_bytes,
        continuity_errors: counts.continuity_errors,
        discontinuities: counts.discontinuities,
        failovers: info.sources.saturating_sub(1),
        splices: counts.splices,
        stat: info.stat.clone(),
        stat_at: info.stat_at,
        formats: feed.formats(),
        timeline: session.timeline(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_contract::{ClientId, Hex40, Options, Selector, ShardId, StreamKey, StreamName};

    fn client(id: u128) -> Client {
        Client {
            id: ClientId(id),
            address: [127, 0, 0, 1].into(),
            user_agent: "test".into(),
            connected_at: SystemTime::UNIX_EPOCH,
            last_active: SystemTime::UNIX_EPOCH,
            bytes_sent: 0,
            behind_bytes: 0,
            behind_s: 0.0,
            rate: 0,
            skips: 0,
            skipped_bytes: 0,
        }
    }

    /// Publishes a session and a replica with `count` clients each, as a shard does; answers what the board has then, and the
    /// room of the two lists it was given for them.
    fn publish(shown: &mut Shown, count: u128) -> (Arc<snapshot::Shard>, [usize; 2]) {
        let mut lists = shown.take_back();
        let mut list = |serial| {
            let mut list = lists.remove(&serial).unwrap_or_default();
            assert!(list.is_empty(), "who was shown before is not shown again");
            let room = list.capacity();
            list.extend((0..count).map(client));
            (list, room)
        };
        let ((watching, room), (elsewhere, room_elsewhere)) = (list(7), list(8));
        assert!(lists.is_empty(), "lists of nobody");
        let infohash = Hex40::from_bytes([1; 20]);
        let key = StreamKey { name: StreamName::Infohash(infohash), options: Options::default() };
        let id = ShardId(0);
        let mut session =
            snapshot::Session::begun(key.clone(), Selector::Infohash(infohash), id, SystemTime::UNIX_EPOCH);
        session.clients = watching;
        let replica = snapshot::Replica { key, owner: id, clients: elsewhere, demand: 0 };
        let shard = Arc::new(snapshot::Shard {
            id,
            driver: None,
            taken_at: SystemTime::UNIX_EPOCH,
            sessions: vec![Arc::new(session)],
            replicas: vec![Arc::new(replica)],
            demand: 0,
            ended: Vec::new(),
            ended_sessions: Vec::new(),
            metrics: Vec::new(),
        });
        shown.remember(shard.clone(), Serials { sessions: vec![7], replicas: vec![8] });
        (shard, [room, room_elsewhere])
    }

    /// Guards: from the third publication on lists are those of the one before the last, so that nothing is allocated for
    /// players however many there are; what somebody still reads stays as it is; room goes down with the players.
    #[test]
    fn lists_nobody_reads_any_more_are_written_again() {
        let mut shown = Shown::default();
        for publication in 0..10 {
            let (_, room) = publish(&mut shown, 1_000);
            let has_room = room.iter().all(|room| *room >= 1_000);
            assert_eq!(has_room, publication >= 2, "publication {publication} had room for {room:?}");
        }
        let (read, _) = publish(&mut shown, 1_000);
        publish(&mut shown, 1_000);
        assert_eq!(publish(&mut shown, 1_000).1, [0; 2], "they are being read");
        assert!(read.sessions[0].clients.len() == 1_000 && read.replicas[0].clients.len() == 1_000);
        drop(read);
        publish(&mut shown, 1);
        publish(&mut shown, 1);
        let (_, room) = publish(&mut shown, 1);
        assert!(room.iter().all(|room| *room < 1_000), "room for {room:?} players that have left");
    }

    /// Guards: a cheap publication is repeated soon, a dear one seldom, and none is put off for longer than figures are.
    #[test]
    fn publications_cost_a_bounded_share() {
        assert_eq!(gap(Duration::ZERO), GAP_MIN);
        assert_eq!(gap(Duration::from_millis(5)), Duration::from_millis(95));
        assert_eq!(gap(Duration::from_secs(3)), INTERVAL);
    }
}
