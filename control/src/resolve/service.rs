//! The one task that knows which look-ups are in flight and who waits for each.

use super::calls::Calls;
use super::lookup::{Outcome, look_up};
use crate::engines;
use crate::shards::Shards;
use crate::store::{self, Record};
use sluice_contract::directory::unresolved;
use sluice_contract::{Directory, Hex40, Resolution, ResolveRequest, ToShard};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinSet};

/// Requests that may wait for the service; the next is answered with the unresolved key at once.
const QUEUE_BOUND: usize = 1024;
/// Look-ups in flight at once. Engines take two each, so more would only wait until they are too late.
const FLIGHTS_MAX: usize = 256;
/// Players' requests that wait for look-ups.
const WAITERS_MAX: usize = 8192;
/// A number no engine knows is not asked for again this long, so that a dead link in a playlist does not hammer
/// engines. Short, because a broadcast may begin at any time.
const UNKNOWN_TTL: Duration = Duration::from_secs(5);
/// Unknown numbers remembered at once.
const UNKNOWN_MAX: usize = 4096;

/// An answer must leave this long before its deadline to arrive in time.
const ANSWER_MARGIN: Duration = Duration::from_millis(50);

/// What the service is made of.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The longest look-up.
    pub(crate) timeout: Duration,
}

/// How resolve requests ended, cumulative.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    known: AtomicU64,
    found: AtomicU64,
    unknown: AtomicU64,
    failed: AtomicU64,
    late: AtomicU64,
    overloaded: AtomicU64,
}

impl Counts {
    /// Every outcome by name, for metrics.
    pub(crate) fn read(&self) -> [(&'static str, u64); 6] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("known", read(&self.known)),
            ("found", read(&self.found)),
            ("unknown", read(&self.unknown)),
            ("failed", read(&self.failed)),
            ("late", read(&self.late)),
            ("overloaded", read(&self.overloaded)),
        ]
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

enum Command {
    Request(ResolveRequest),
    Stop(oneshot::Sender<()>),
}

/// Cheap way to talk to the resolve room.
#[derive(Clone)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
    counts: Arc<Counts>,
    answers: Answers,
}

impl Handle {
    /// Passes on a request; the answer goes straight to the shard. Never waits: beyond the bound the unresolved key is
    /// the answer.
    pub(crate) fn request(&self, request: ResolveRequest) {
        if let Err(error) = self.commands.try_send(Command::Request(request)) {
            let (mpsc::error::TrySendError::Full(command) | mpsc::error::TrySendError::Closed(command)) =
                error;
            if let Command::Request(request) = command {
                count(&self.counts.overloaded);
                self.answers.send(&request);
            }
        }
    }

    /// How requests ended so far.
    pub(crate) fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// Answers everybody who waits with the unresolved key and ends the service.
    pub(crate) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.commands.send(Command::Stop(done)).await.is_ok() {
            // A service that ended by itself has nobody waiting.
            let _ = stopped.await;
        }
    }
}

/// The way answers take.
#[derive(Clone)]
struct Answers {
    shards: Arc<Shards>,
    directory: Arc<Directory>,
}

impl Answers {
    /// Answers with the best key known now. An answer that finds the inbox full is dropped: the shard stops waiting at
    /// its own deadline, and asks the directory first next time.
    fn send(&self, request: &ResolveRequest) {
        let key = self.directory.find(&request.alias).unwrap_or_else(|| unresolved(&request.alias));
        let answer = ToShard::Resolved { ticket: request.ticket, answer: Ok(Resolution { key }) };
        if self.shards.send(request.shard, answer).is_err() {
            tracing::debug!(shard = request.shard.0, "a resolve answer found the shard's inbox full");
        }
    }
}

struct Service {
    options: Options,
    commands: mpsc::Receiver<Command>,
    counts: Arc<Counts>,
    answers: Answers,
    engines: engines::Handle,
    store: store::Handle,
    calls: Arc<Calls>,
    lookups: JoinSet<Outcome>,
    numbers: HashMap<Id, Hex40>,
    flights: HashMap<Hex40, Vec<ResolveRequest>>,
    waiters: usize,
    unknown: HashMap<Hex40, Instant>,
}

/// Starts the service on the current runtime; the join set ends when it does.
pub(crate) fn start(
    options: Options,
    engines: engines::Handle,
    shards: Arc<Shards>,
    directory: Arc<Directory>,
    store: store::Handle,
    tasks: &mut JoinSet<&'static str>,
) -> Handle {
    let (commands, inbox) = mpsc::channel(QUEUE_BOUND);
    let counts = Arc::new(Counts::default());
    let answers = Answers { shards, directory };
    let service = Service {
        options,
        commands: inbox,
        counts: counts.clone(),
        answers: answers.clone(),
        engines,
        store,
        calls: Arc::default(),
        lookups: JoinSet::new(),
        numbers: HashMap::new(),
        flights: HashMap::new(),
        waiters: 0,
        unknown: HashMap::new(),
    };
    tasks.spawn(async move {
        service.run().await;
        "resolve"
    });
    Handle { commands, counts, answers }
}

impl Service {
    async fn run(mut self) {
        loop {
            let deadline = self.flights.values().flatten().map(|request| request.deadline).min();
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Request(request)) => self.request(request),
                    Some(Command::Stop(done)) => {
                        self.flights.values().flatten().for_each(|request| self.answers.send(request));
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
                Some(ended) = self.lookups.join_next_with_id() => match ended {
                    Ok((id, outcome)) => self.ended(id, outcome).await,
                    Err(error) => {
                        tracing::error!(%error, "a look-up failed inside; this is a bug");
                        self.ended(error.id(), Outcome::Failed).await;
                    }
                },
                () = sleep_until(deadline) => self.expire(),
            }
        }
    }

    fn request(&mut self, mut request: ResolveRequest) {
        let now = Instant::now();
        let allowed = request.deadline.saturating_duration_since(now);
        request.deadline -= ANSWER_MARGIN.min(allowed / 10);
        let number = request.alias.selector.value();
        if self.answers.directory.find(&request.alias).is_some() {
            count(&self.counts.known);
        } else if self.unknown.get(&number).is_some_and(|until| *until > now) {
            count(&self.counts.unknown);
        } else if request.deadline <= now {
            count(&self.counts.late);
        } else if self.waiters >= WAITERS_MAX
            || (self.flights.len() >= FLIGHTS_MAX && !self.flights.contains_key(&number))
        {
            count(&self.counts.overloaded);
        } else {
            self.waiters += 1;
            let is_new = !self.flights.contains_key(&number);
            self.flights.entry(number).or_default().push(request);
            if is_new {
                let look_up = look_up(number, self.engines.watch(), self.calls.clone(), self.options.timeout);
                let id = self.lookups.spawn(look_up).id();
                self.numbers.insert(id, number);
            }
            return;
        }
        self.answers.send(&request);
    }

    async fn ended(&mut self, id: Id, outcome: Outcome) {
        let Some(number) = self.numbers.remove(&id) else { return };
        let waiting = self.flights.remove(&number).unwrap_or_default();
        self.waiters -= waiting.len();
        match outcome {
            Outcome::Found(infohash) => {
                self.answers.directory.learn(number, infohash);
                self.store.put(Record::Alias { number, infohash, at: SystemTime::now() });
                self.engines.learned(number, infohash).await;
            }
            Outcome::Unknown => self.remember_unknown(number),
            Outcome::Failed => {}
        }
        for request in waiting {
            count(match outcome {
                Outcome::Found(_) => &self.counts.found,
                Outcome::Unknown => &self.counts.unknown,
                Outcome::Failed => &self.counts.failed,
            });
            self.answers.send(&request);
        }
    }

    fn remember_unknown(&mut self, number: Hex40) {
        let now = Instant::now();
        self.unknown.retain(|_, until| *until > now);
        if self.unknown.len() < UNKNOWN_MAX {
            self.unknown.insert(number, now + UNKNOWN_TTL);
        }
    }

    /// Answers those whose deadline has come; their look-up goes on and is remembered when it succeeds.
    fn expire(&mut self) {
        let now = Instant::now();
        for waiting in self.flights.values_mut() {
            for request in waiting.extract_if(.., |request| request.deadline <= now) {
                self.waiters -= 1;
                count(&self.counts.late);
                self.answers.send(&request);
            }
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
