//! Asks engines for the figures of streams that other proxies play.
//!
//! Each stream is asked about by one call at a time and each engine by a few ([`Turns`]), so that an engine that hangs costs
//! its own streams their figures and nobody else's; a stream whose engine did not answer is asked about less often for a while. Names are looked up once in
//! a while, since looking them up blocks threads.

use super::idle::Idle;
use super::remote::Target;
use super::sample::{Answer, read};
use super::service::Handle;
use super::stale::Stale;
use super::turns::Turns;
use crate::fetch::{self, Kept};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
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
    id: String,
    authority: String,
    address: Option<SocketAddr>,
    answer: Result<Value, fetch::Error>,
    kept: Option<Kept>,
}

/// Polls for the life of the plane.
pub(super) async fn run(handle: Handle) {
    let mut settings = handle.settings();
    let stale_after = settings.borrow().stale_after;
    let mut poller = Poller {
        handle,
        stale: Stale::new(stale_after),
        calls: JoinSet::new(),
        waiting: Turns::default(),
        asked: HashMap::new(),
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

struct Poller {
    handle: Handle,
    stale: Stale,
    calls: JoinSet<Done>,
    /// Streams that have not had their turn in this round.
    waiting: Turns<(String, Target)>,
    /// When a stream may be asked about again; `None` while it waits or a call is under way.
    asked: HashMap<String, Option<Instant>>,
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
        let reported = self.handle.reported();
        let is_there: HashSet<&str> = reported.iter().map(|(id, _)| id.as_str()).collect();
        // One that waits or is asked about is forgotten with its answer.
        self.asked.retain(|id, until| until.is_none() || is_there.contains(id.as_str()));
        self.stale.retain(|id| is_there.contains(id));
        self.addresses.retain(|_, (_, until)| *until > now);
        self.idle.expire(now);
        for (id, url) in reported {
            let is_due = self.asked.get(&id).is_none_or(|until| until.is_some_and(|until| until <= now));
            let Some(target) = Target::parse(&url).filter(|_| is_due) else { continue };
            self.asked.insert(id.clone(), None);
            let engine = target.authority().to_owned();
            self.waiting.push(&engine, (id, target));
        }
    }

    /// Asks about those who wait, as many at once as may be.
    fn call(&mut self) {
        while self.calls.len() < CALLS_MAX
            && let Some((id, target)) = self.waiting.next()
        {
            let known = self.addresses.get(target.authority()).map(|(address, _)| *address);
            let kept = known.and_then(|address| self.idle.take(address));
            self.calls.spawn(call(id, target, known, kept));
        }
    }

    fn take(&mut self, done: Done) {
        let (now, at) = (Instant::now(), SystemTime::now());
        let Done { id, authority, address, answer, kept } = done;
        self.waiting.done(&authority);
        if let (Some(address), Some(kept)) = (address, kept) {
            self.idle.put(address, kept, now);
        }
        match (&answer, address) {
            // The name may lead elsewhere by now.
            (Err(_), _) | (_, None) => drop(self.addresses.remove(&authority)),
            (Ok(_), Some(address)) if self.addresses.len() < ADDRESSES_MAX => {
                self.addresses.entry(authority).or_insert((address, now + ADDRESS_FOR));
            }
            (Ok(_), Some(_)) => {}
        }
        let pause = if answer.is_err() { PAUSE } else { Duration::ZERO };
        self.asked.insert(id.clone(), Some(now + pause));
        match answer.map(|answer| read(at, &answer)) {
            Ok(Answer::Sample(sample)) => {
                self.stale.known(&id);
                self.handle.observe(&id, sample);
            }
            Ok(Answer::UnknownSession) if self.stale.unknown(&id, at) => self.handle.end_stale(&id),
            Ok(Answer::UnknownSession | Answer::Nothing) => {}
            Err(error) => {
                self.handle.count_collect_error();
                tracing::debug!(id, %error, "no figures of a stream");
            }
        }
    }
}

async fn call(id: String, target: Target, known: Option<SocketAddr>, kept: Option<Kept>) -> Done {
    let authority = target.authority().to_owned();
    let address = match known {
        Some(address) => Ok(address),
        None => target.resolve().await,
    };
    match address {
        Ok(address) => {
            let (answer, kept) = fetch::json_kept(target.call(address, TIMEOUT), kept).await;
            Done { id, authority, address: Some(address), answer, kept }
        }
        Err(error) => Done { id, authority, address: None, answer: Err(error), kept: None },
    }
}
