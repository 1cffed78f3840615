//! The fan-out: a walk over all clients by the clock.
//!
//! ```text
//!   due clients = clients × time since the walk began / tick, in groups of some milliseconds
//! ```
//! Every due client is given all that is new; one that would block is met again on the next walk. The walk is cut into
//! slices of a millisecond, each ended by `park_once`, so that accepts, reads from engines, timers and joins run in
//! between. Nobody sleeps while a client is due, and nothing ticks while there is no client.
//!
//! Clients far behind get one quantum per visit and go to the catch-up queue, which takes what a slice has left.
//!
//! A walk that is late, because the processor was elsewhere, gives each client little more than the share of a tick, and the rest is
//! caught up with. If all of it were given at once a walk would take as long as what it makes up for, the next would find as much
//! again, and where the shard has little to spare a single pause would stay in the gaps of all players.

use super::Shard;
use super::tempo::{Tempo, Walk};
use crate::client::{Client, Rules, Served};
use crate::settings::Tick;
use crate::uring::{LeaverSet, caught_call, thread_time};
use monoio::time::sleep;
use slab::Slab;
use sluice_contract::EndReason;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Work between two parks.
const SLICE: Duration = Duration::from_millis(1);
/// Media given to one client per visit when it is far behind, and to a joiner at once.
pub(super) const QUANTUM: u64 = 256 << 10;
/// What a visit gives at most while the walk is late, in ticks of the stream, and the least that bounds it: smaller sends cost several times as
/// much per byte.
const SHARE_TICKS: f64 = 1.25;
const SHARE_MIN: u64 = 64 << 10;
/// The clock is read once for so many clients.
const CLOCK_EVERY: usize = 8;
/// Clients are met in groups, one each so often: a wake-up for a few clients costs as much as serving some of them, and what sending needs has
/// left the processor's cache by the next one. The sources of a group's clients read what has come that long before.
const GROUP_EVERY: Duration = Duration::from_millis(5);
/// A canary that fires later than this is worth recording in the log.
const CANARY_TICK: Duration = Duration::from_millis(10);

struct Seat {
    client: Client,
    generation: u32,
    in_catch_up: bool,
}

/// All clients of a shard and the state of the walk.
pub(super) struct Bus {
    seats: Slab<Seat>,
    /// Visiting order; removed seats are dropped from it when a walk begins, so that nobody changes place in between.
    order: Vec<usize>,
    /// Position in `order`.
    at: usize,
    /// Sources were called for the clients before this position; those behind the end are of the next walk.
    called: usize,
    /// Clients have come since the walk began.
    is_unsorted: bool,
    walk_began: Instant,
    busy: Duration,
    /// What the shard's thread had used of its processor when the walk began.
    used: Duration,
    /// Bytes given to clients since then, but for those of this slice.
    sent: u64,
    tempo: Tempo,
    /// What clients live by, as it was when the slice began.
    rules: Rules,
    catch_up: VecDeque<usize>,
    leavers: LeaverSet,
    generation: u32,
    /// Clients that ended and have to be told off outside of the walk.
    gone: Vec<(Client, EndReason)>,
}

/// What comes after a slice.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// More is due.
    Go,
    /// Nothing is due before this.
    Wait(Duration),
    /// There is no client.
    Idle,
}

impl Bus {
    pub(super) fn new(setting: Tick, rules: Rules, leavers: LeaverSet) -> Self {
        Self {
            seats: Slab::new(),
            order: Vec::new(),
            at: 0,
            called: 0,
            is_unsorted: false,
            walk_began: Instant::now(),
            busy: Duration::ZERO,
            used: thread_time(),
            sent: 0,
            tempo: Tempo::new(setting),
            rules,
            catch_up: VecDeque::new(),
            leavers,
            generation: 0,
            gone: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(super) fn tick(&self) -> Duration {
        self.tempo.tick()
    }

    pub(super) fn clients(&mut self) -> impl Iterator<Item = &mut Client> {
        self.seats.iter_mut().map(|(_, seat)| &mut seat.client)
    }

    /// Takes a client in. It hands it back when the kernel cannot watch its socket.
    pub(super) fn board(&mut self, client: Client, is_behind: bool) -> Result<(), Box<Client>> {
        self.generation = self.generation.wrapping_add(1);
        let entry = self.seats.vacant_entry();
        let key = entry.key();
        let token = u64::from(self.generation) << 32 | key as u64;
        if self.leavers.watch(client.fd(), token).is_err() {
            return Err(Box::new(client));
        }
        entry.insert(Seat { client, generation: self.generation, in_catch_up: is_behind });
        if self.seats.len() == 1 {
            self.begin_walk(Instant::now());
        }
        self.order.push(key);
        self.is_unsorted = true;
        if is_behind {
            self.catch_up.push_back(key);
        }
        Ok(())
    }

    /// Ends all clients of a session.
    fn end(&mut self, serial: u64, reason: EndReason) {
        let of_session =
            |(key, seat): (usize, &Seat)| (seat.client.watched().serial() == serial).then_some(key);
        let keys: Vec<usize> = self.seats.iter().filter_map(of_session).collect();
        self.end_keys(keys, reason);
    }

    /// Takes out up to `count` clients of a session that `may` go, for another shard to go on with.
    pub(super) fn withdraw(
        &mut self,
        serial: u64,
        count: usize,
        may: impl Fn(&Client) -> bool,
    ) -> Vec<Client> {
        let goes = |(key, seat): (usize, &Seat)| {
            (seat.client.watched().serial() == serial && may(&seat.client)).then_some(key)
        };
        let keys: Vec<usize> = self.seats.iter().filter_map(goes).take(count).collect();
        let mut clients = Vec::with_capacity(keys.len());
        for seat in keys.into_iter().filter_map(|key| self.seats.try_remove(key)) {
            // The socket stays open, so it does not leave the set by itself.
            let _ = self.leavers.unwatch(seat.client.fd());
            clients.push(seat.client);
        }
        clients
    }

    fn end_keys(&mut self, keys: Vec<usize>, reason: EndReason) {
        for key in keys {
            self.remove(key, reason);
        }
    }

    fn remove(&mut self, key: usize, reason: EndReason) {
        if let Some(seat) = self.seats.try_remove(key) {
            self.gone.push((seat.client, reason));
        }
    }

    fn begin_walk(&mut self, now: Instant) {
        let walked = self.order.len();
        let seats = &self.seats;
        self.order.retain(|key| seats.contains(*key));
        // A key may have been freed and taken again within one walk.
        let mut seen = vec![false; self.seats.capacity()];
        self.order.retain(|key| !std::mem::replace(&mut seen[*key], true));
        if std::mem::take(&mut self.is_unsorted) {
            // The clients of a session follow each other: it reads once for all of them, and what it read is still in the
            // processor's cache.
            self.order.sort_by_key(|key| seats[*key].client.watched().serial());
        }
        self.called = self.called.saturating_sub(walked);
        self.at = 0;
        self.busy = Duration::ZERO;
        self.used = thread_time();
        self.walk_began = now;
    }

    /// One slice of the walk.
    fn slice(&mut self, shard: &Shard) -> Next {
        // What segments are sent as is counted there, too, but not meanwhile.
        let before = shard.counters.bytes_out.get();
        let next = self.go(shard);
        self.sent += shard.counters.bytes_out.get().wrapping_sub(before);
        next
    }

    fn go(&mut self, shard: &Shard) -> Next {
        self.rules = shard.rules();
        let mut left = Vec::new();
        self.leavers.collect(|token| left.push(token));
        for token in left {
            let key = (token & u64::from(u32::MAX)) as usize;
            let seat = self.seats.get(key).filter(|seat| u64::from(seat.generation) == token >> 32);
            if let Some(reason) = seat.map(|seat| seat.client.hung_up(Instant::now(), &self.rules)) {
                self.remove(key, reason);
            }
        }
        let began = Instant::now();
        let mut now = began;
        let (mut due, mut late) = self.due_now(now);
        let mut visits = 0;
        while now - began < SLICE {
            let served = if self.at < due && self.at >= self.called {
                // A timer that came late, as they do by a millisecond or two: the source reads first, or this client waits another
                // tick for what is there.
                break;
            } else if self.at < due {
                let key = self.order[self.at];
                self.at += 1;
                self.visit(key, now, late, shard);
                true
            } else if self.at >= self.order.len() && now - self.walk_began >= self.tick() {
                self.end_walk(now, shard);
                (due, late) = self.due_now(now);
                continue;
            } else {
                self.visit_catch_up(now, shard)
            };
            if !served {
                self.busy += now - began;
                return self.next(now);
            }
            visits += 1;
            if visits % CLOCK_EVERY == 0 || !self.catch_up.is_empty() {
                now = Instant::now();
                (due, late) = self.due_now(now);
            }
        }
        self.busy += now - began;
        self.call(now);
        if self.seats.is_empty() { Next::Idle } else { Next::Go }
    }

    /// When the client at a position of this walk, or behind its end of the next, is due.
    fn due(&self, position: usize) -> Instant {
        self.walk_began + due_after(position, self.order.len(), self.tick())
    }

    /// Before which position clients are due, and how late the next of them is. For a thousand of them this is asked hundreds of times, and
    /// not for each.
    fn due_now(&self, now: Instant) -> (usize, Duration) {
        let count = self.order.len();
        let due = due_before(now.saturating_duration_since(self.walk_began), count, self.tick());
        (due.min(count), now.saturating_duration_since(self.due(self.at)))
    }

    /// Has the sources of those read who are served next.
    fn call(&mut self, now: Instant) {
        let (count, tick) = (self.order.len(), self.tick());
        let soon = (now + GROUP_EVERY).saturating_duration_since(self.walk_began);
        // No more than one walk ahead, so that each is called for once.
        let due = due_before(soon, count, tick).min(self.at + count);
        for position in self.called.max(self.at)..due {
            if let Some(seat) = self.seats.get(self.order[position % count]) {
                seat.client.watched().call(now, tick);
            }
        }
        self.called = self.called.max(self.at).max(due);
    }

    fn next(&mut self, now: Instant) -> Next {
        if self.seats.is_empty() {
            return Next::Idle;
        }
        self.call(now);
        let due = self.due(self.at.min(self.order.len()));
        let call = self.due(self.called) - GROUP_EVERY;
        // A timer is no finer.
        Next::Wait(due.min(call).saturating_duration_since(now).max(Duration::from_millis(1)))
    }

    fn visit(&mut self, key: usize, now: Instant, late: Duration, shard: &Shard) {
        let tick = self.tick();
        let Some(seat) = self.seats.get_mut(key) else { return };
        let quantum = most(late, tick, || seat.client.watched().rate());
        match served(&mut seat.client, now, quantum, &self.rules, shard) {
            Served::More if !seat.in_catch_up => {
                seat.in_catch_up = true;
                self.catch_up.push_back(key);
            }
            Served::Gone(reason) => self.remove(key, reason),
            Served::AtHead | Served::Blocked | Served::More => {}
        }
    }

    /// Gives one client that is far behind another quantum; whether there was one.
    fn visit_catch_up(&mut self, now: Instant, shard: &Shard) -> bool {
        let Some(key) = self.catch_up.pop_front() else { return false };
        let Some(seat) = self.seats.get_mut(key).filter(|seat| seat.in_catch_up) else { return true };
        match served(&mut seat.client, now, QUANTUM, &self.rules, shard) {
            Served::More => self.catch_up.push_back(key),
            Served::AtHead | Served::Blocked => seat.in_catch_up = false,
            Served::Gone(reason) => self.remove(key, reason),
        }
        true
    }

    fn end_walk(&mut self, now: Instant, shard: &Shard) {
        let took = now - self.walk_began;
        shard.counters.tick_length.record(took);
        shard.counters.walk_busy.record(self.busy);
        for session in shard.sessions.borrow().values() {
            session.walked(self.rules.lag);
        }
        shard.hot.walked(self.rules.lag);
        // Whoever waits for a processor is as full as whoever uses it.
        let work = self.busy.max(thread_time().saturating_sub(self.used));
        let walk = Walk { took, work, sent: std::mem::take(&mut self.sent), clients: self.order.len() };
        self.tempo.walked(shard.settings().shards.tick, walk);
        // A walk that was late does not make the next one hurry: the clients just served have nothing new.
        let tick = self.tick();
        let planned = self.walk_began + tick;
        self.begin_walk(if now.saturating_duration_since(planned) < tick { planned } else { now });
        self.seats.iter_mut().for_each(|(_, seat)| seat.client.bound_unsent(tick));
    }
}

/// How long after a walk begins the client at a position of so many is due.
fn due_after(position: usize, count: usize, tick: Duration) -> Duration {
    let groups = groups(tick);
    let group = position as u64 * groups / count.max(1) as u64;
    Duration::from_nanos((tick.as_nanos() as u64 * group).div_ceil(groups))
}

/// Of so many clients those are due before this position when so much time has passed, or will be in the walks after this one.
fn due_before(passed: Duration, count: usize, tick: Duration) -> usize {
    let groups = groups(tick);
    let passed = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
    let group = passed.saturating_mul(groups) / tick.as_nanos().max(1) as u64;
    (group + 1).saturating_mul(count as u64).div_ceil(groups) as usize
}

fn groups(tick: Duration) -> u64 {
    (tick.as_nanos() / GROUP_EVERY.as_nanos()).max(1) as u64
}

/// What a visit of a walk that is late by so much gives at most, to a client of a stream with this rate.
fn most(late: Duration, tick: Duration, rate: impl FnOnce() -> Option<u64>) -> u64 {
    // What lateness up to this adds is within the share.
    if late <= tick / 8 {
        return QUANTUM;
    }
    let share = |rate: u64| (rate as f64 * tick.as_secs_f64() * SHARE_TICKS) as u64;
    rate().map_or(QUANTUM, share).clamp(SHARE_MIN, QUANTUM)
}

/// Serves a client; one on which our code fails ends alone.
fn served(client: &mut Client, now: Instant, quantum: u64, rules: &Rules, shard: &Shard) -> Served {
    caught_call(|| client.serve(now, quantum, rules, &shard.counters)).unwrap_or_else(|panic| {
        tracing::error!(shard = shard.id.0, panic, "serving a client failed; the client ends");
        shard.counters.panics.add(1);
        Served::Gone(EndReason::Internal)
    })
}

/// Runs the walk for the life of the shard.
pub(super) async fn run(shard: Rc<Shard>) {
    loop {
        let seen = shard.boarded.count();
        let next = shard.bus.borrow_mut().slice(&shard);
        tell_off(&shard);
        match next {
            Next::Go => shard.turns.park_once().await,
            Next::Wait(wait) => sleep(wait).await,
            Next::Idle => {
                if shard.bus.borrow().len() == 0 {
                    shard.boarded.after(seen).await;
                }
            }
        }
    }
}

/// Ends all clients of a session; safe to call from within the walk.
pub(super) fn end_clients(shard: &Shard, serial: u64, reason: EndReason) {
    match shard.bus.try_borrow_mut() {
        Ok(mut bus) => bus.end(serial, reason),
        // Within a walk nothing ends a session: sessions act on events, and the walk only notes who is gone.
        Err(_) => tracing::error!("clients were to be ended from within the walk"),
    }
    tell_off(shard);
}

/// Closes what the walk found to be over and tells the sessions. Outside of the walk, because a session may answer by
/// ending further clients.
fn tell_off(shard: &Shard) {
    loop {
        let gone = match shard.bus.try_borrow_mut() {
            Ok(mut bus) => std::mem::take(&mut bus.gone),
            Err(_) => return,
        };
        if gone.is_empty() {
            return;
        }
        for (client, reason) in gone {
            tell_off_one(shard, client, reason);
        }
        shard.news.notify();
    }
}

/// Counts, remembers and closes a client that is over, and tells its session.
pub(super) fn tell_off_one(shard: &Shard, mut client: Client, reason: EndReason) {
    shard.counters.client_ended(reason);
    let now = Instant::now();
    let (watched, shown) = (client.watched().clone(), client.snapshot(now));
    let title = watched.title();
    let identity = client.identity();
    tracing::debug!(
        stream = %title.key, client = %identity.id, address = %identity.address,
        bytes = client.bytes_sent(), reason = reason.as_str(), "client ended"
    );
    shard.ended.borrow_mut().remember(title, shown, reason, now);
    client.finish();
    super::hot::leave(shard, &watched);
}

/// Records how late timers fire while the shard is busy: the first thing to suffer when something does not let the
/// others run.
pub(super) async fn canary(shard: Rc<Shard>) {
    loop {
        let seen = shard.boarded.count();
        if shard.bus.borrow().len() == 0 {
            shard.boarded.after(seen).await;
        }
        let began = Instant::now();
        sleep(CANARY_TICK).await;
        shard.counters.canary_delay.record(began.elapsed().saturating_sub(CANARY_TICK));
    }
}

/// The bus as a shard holds it.
pub(super) type Shared = RefCell<Bus>;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Guards: a walk that is on time gives all there is, one that is late a share that makes up for a part of it, but no small
    /// sends, and where the rate is not known all there is.
    #[test]
    fn a_late_walk_gives_shares() {
        let (tick, ms) = (Duration::from_millis(100), Duration::from_millis);
        let of = |late, rate| most(ms(late), tick, || rate);
        assert_eq!([of(0, Some(1_000_000)), of(12, Some(1_000_000)), of(90, None)], [QUANTUM; 3]);
        assert_eq!(of(13, Some(1_000_000)), 125_000);
        assert_eq!(of(5_000, Some(1_000_000)), 125_000);
        assert_eq!([of(90, Some(0)), of(90, Some(100_000))], [SHARE_MIN; 2]);
        assert_eq!([of(90, Some(10_000_000)), of(90, Some(u64::MAX))], [QUANTUM; 2]);
    }

    /// Guards: clients are due in order and in no more groups than fit into the tick, the first at once, the one behind the last when the walk is
    /// over, and groups differ by one client at most.
    #[test]
    fn clients_are_due_in_groups() {
        for tick in [1, 7, 20, 50, 200].map(Duration::from_millis) {
            for count in [1, 2, 9, 10, 11, 999, 1000] {
                let due: Vec<Duration> =
                    (0..=count).map(|position| due_after(position, count, tick)).collect();
                assert!(
                    due.is_sorted() && due[0].is_zero() && due[count] == tick,
                    "{count} in {tick:?}: {due:?}"
                );
                let moments: BTreeSet<Duration> = due[..count].iter().copied().collect();
                assert!(
                    moments.len() as u128 <= (tick.as_millis() / GROUP_EVERY.as_millis()).max(1),
                    "{count} in {tick:?}"
                );
                let sizes =
                    moments.iter().map(|moment| due[..count].iter().filter(|due| *due == moment).count());
                let (least, most) = (sizes.clone().min().unwrap(), sizes.max().unwrap());
                assert!(most - least <= 1, "{count} in {tick:?}: {least} to {most}");
            }
        }
        assert_eq!(due_after(0, 0, Duration::from_millis(50)), Duration::ZERO);
    }

    /// Guards: who is due at a moment is told at once as for each by itself, in this walk and the next.
    #[test]
    fn who_is_due_is_the_same_from_both_sides() {
        for tick in [1, 7, 20, 50, 117, 200].map(Duration::from_millis) {
            for count in [1, 2, 9, 10, 11, 999, 1000] {
                let moments = (0..2 * count).map(|position| due_after(position, count, tick));
                let beside = moments.flat_map(|at| {
                    [at.saturating_sub(Duration::from_nanos(1)), at, at + Duration::from_nanos(1)]
                });
                for passed in beside.collect::<BTreeSet<_>>() {
                    let due = (0..2 * count)
                        .take_while(|position| due_after(*position, count, tick) <= passed)
                        .count();
                    assert_eq!(
                        due_before(passed, count, tick).min(2 * count),
                        due,
                        "{count} in {tick:?} after {passed:?}"
                    );
                }
            }
        }
        assert_eq!(due_before(Duration::from_secs(9), 0, Duration::from_millis(50)), 0);
        assert!(due_before(Duration::MAX, 1000, Duration::from_millis(1)) > 1_000_000);
    }
}
