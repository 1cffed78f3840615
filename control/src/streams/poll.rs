//! Asks engines for the figures of streams that other proxies play.
//!
//! Each stream is asked about by one call at a time and each engine by a few ([`Turns`]), so that an engine that hangs costs
//! its own streams their figures and nobody else's; a stream whose engine did not answer is asked about less often for a while. Names are looked up once in
//! a while, since looking them up blocks threads.

use super::idle::Idle;
use super::remote::Target;
use super::sample::{Answer, read};
use super::service::Handle;
use super::stale::{self, Stale};
use super::stream::Stream;
use super::turns::Turns;
use crate::fetch::{self, Kept};
use serde_json::Value;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// A stat answer comes in milliseconds from a healthy engine.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Calls at once.
const CALLS_MAX: usize = 256;
/// After a call without an answer.
const PAUSE: Duration = Duration::from_secs(5);
/// How long an address is believed.
const ADDRESS_FOR: Duration = Duration::from_secs(30);
/// Addresses remembered.
const ADDRESSES_MAX: usize = 1024;
/// Connections kept between calls at most; further ones are closed.
const KEPT_MAX: usize = 1024;
/// How long one is kept. Engines close idle ones as they please, and one that waits on a closed one costs a descriptor.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// What one call found.
struct Done {
    stream: Arc<Stream>,
    target: Arc<Target>,
    address: Option<SocketAddr>,
    answer: Result<Value, fetch::Error>,
    kept: Option<Kept>,
}

/// Polls for the life of the plane.
pub(super) async fn run(handle: Handle) {
    let mut settings = handle.settings();
    let (stale_after, unheard_after) = (settings.borrow().stale_after, settings.borrow().unheard_after);
    let mut poller = Poller {
        handle,
        stale: Stale::new(stale_after),
        unheard_after,
        calls: JoinSet::new(),
        waiting: Turns::default(),
        asked: HashMap::new(),
        round: 0,
        addresses: HashMap::new(),
        idle: Idle::new(KEPT_MAX, KEPT_FOR),
    };
    loop {
        let period = settings.borrow_and_update().collect_interval;
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => poller.round(),
                Some(done) = poller.calls.join_next() => match done {
                    Ok(done) => poller.take(done),
                    Err(error) => tracing::error!(%error, "a look at a stream failed inside; this is a bug"),
                },
                changed = settings.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
            poller.call();
        }
    }
}

/// A stream that is asked about.
struct Asked {
    stream: Arc<Stream>,
    /// `None` when its address cannot be asked.
    target: Option<Arc<Target>>,
    /// When it may be asked about again; `None` while it waits or a call is under way.
    until: Option<Instant>,
    /// The last round that found it.
    round: u64,
}

impl Asked {
    fn new(stream: &Arc<Stream>, now: Instant) -> Self {
        let target = Target::parse(&stream.start.stat_url).map(Arc::new);
        Self { stream: stream.clone(), target, until: Some(now), round: 0 }
    }
}

struct Poller {
    handle: Handle,
    stale: Stale,
    /// How long nothing may be heard of a stream whose engine is well.
    unheard_after: Duration,
    calls: JoinSet<Done>,
    /// Streams that have not had their turn in this round.
    waiting: Turns<(Arc<Stream>, Arc<Target>)>,
    /// By place in the book.
    asked: HashMap<i64, Asked>,
    round: u64,
    addresses: HashMap<String, (SocketAddr, Instant)>,
    /// Connections that can be asked on again.
    idle: Idle<Kept>,
}

impl Poller {
    /// Begins a round, in which every reported stream that can be asked about has its turn.
    fn round(&mut self) {
        if self.waiting.is_waiting() {
            self.handle.count_late();
        }
        let now = Instant::now();
        self.round += 1;
        for stream in self.handle.reported() {
            let asked = self.asked.entry(stream.serial).or_insert_with(|| Asked::new(&stream, now));
            if !Arc::ptr_eq(&asked.stream, &stream) {
                *asked = Asked { until: asked.until, ..Asked::new(&stream, now) };
            }
            asked.round = self.round;
            let is_due = asked.until.is_some_and(|until| until <= now);
            let Some(target) = asked.target.clone() else {
                self.unheard(stream.id(), SystemTime::now());
                continue;
            };
            if !is_due {
                continue;
            }
            asked.until = None;
            let engine = target.authority().to_owned();
            self.waiting.push(&engine, (stream, target));
        }
        // One that waits or is asked about is forgotten with its answer.
        self.asked.retain(|_, asked| asked.until.is_none() || asked.round == self.round);
        self.stale.retain(|id| self.handle.is_active(id));
        self.addresses.retain(|_, (_, until)| *until > now);
        self.idle.expire(now);
    }

    /// Asks about those who wait, as many at once as may be.
    fn call(&mut self) {
        while self.calls.len() < CALLS_MAX
            && let Some((stream, target)) = self.waiting.next()
        {
            let known = self.addresses.get(target.authority()).map(|(address, _)| *address);
            let kept = known.and_then(|address| self.idle.take(address));
            self.calls.spawn(call(stream, target, known, kept));
        }
    }

    fn take(&mut self, done: Done) {
        let (now, at) = (Instant::now(), SystemTime::now());
        let Done { stream, target, address, answer, kept } = done;
        let authority = target.authority();
        self.waiting.done(authority);
        if let (Some(address), Some(kept)) = (address, kept) {
            self.idle.put(address, kept, now);
        }
        match (&answer, address) {
            // The name may lead elsewhere by now.
            (Err(_), _) | (_, None) => drop(self.addresses.remove(authority)),
            (Ok(_), Some(address))
                if self.addresses.len() < ADDRESSES_MAX && !self.addresses.contains_key(authority) =>
            {
                self.addresses.insert(authority.to_owned(), (address, now + ADDRESS_FOR));
            }
            (Ok(_), Some(_)) => {}
        }
        let pause = if answer.is_err() { PAUSE } else { Duration::ZERO };
        if let Some(asked) = self.asked.get_mut(&stream.serial) {
            asked.until = Some(now + pause);
        }
        let id = stream.id();
        match answer.map(|answer| read(at, &answer)) {
            Ok(Answer::Sample(sample)) => {
                self.stale.known(id);
                self.handle.observe(&stream, sample);
            }
            Ok(Answer::UnknownSession) if self.stale.unknown(id, at) => self.handle.end_stale(id),
            Ok(Answer::UnknownSession) => {}
            Ok(Answer::Nothing) => self.unheard(id, at),
            Err(error) => {
                self.handle.count_collect_error();
                self.unheard(id, at);
                tracing::debug!(id, %error, "no figures of a stream");
            }
        }
    }
}

impl Poller {
    /// Nothing is heard of a stream; it ends when that has lasted for too long. An engine that does not answer at all may have
    /// the stream all the same, so that alone takes much longer.
    fn unheard(&mut self, id: &str, at: SystemTime) {
        let Some(silent) = self.stale.unheard(id, at).filter(|silent| *silent >= self.unheard_after) else {
            return;
        };
        if silent >= stale::UNKNOWN_TIMES * self.unheard_after || self.handle.is_engine_well(id) {
            self.handle.end_unheard(id, silent);
        }
    }
}

async fn call(
    stream: Arc<Stream>,
    target: Arc<Target>,
    known: Option<SocketAddr>,
    kept: Option<Kept>,
) -> Done {
    let address = match known {
        Some(address) => Ok(address),
        None => target.resolve().await,
    };
    match address {
        Ok(address) => {
            let (answer, kept) = fetch::json_kept(target.call(address, TIMEOUT), kept).await;
            Done { stream, target, address: Some(address), answer, kept }
        }
        Err(error) => Done { stream, target, address: None, answer: Err(error), kept: None },
    }
}
