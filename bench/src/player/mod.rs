//! Test players: HTTP clients that behave as asked and write down what they experienced.
//!
//! A [`Player`] is started from a [`Plan`] and runs on the library's own small runtime, so that a plain test function
//! can hold a thousand of them and wait, with a deadline, for what it wants to see. [`check`] judges the stream,
//! [`http`] is the blocking client for everything that is not a stream. Nothing here knows the appliance's insides.
//!
//! A player that is dropped closes its connection at once.

mod body;
pub mod check;
pub mod http;
mod reading;
mod record;
mod task;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

pub use body::{Body, Fault, HEAD_LEN_MAX, Head};
pub use reading::Reading;
pub use record::{End, Snapshot};

use record::{Keep, Record};
use task::Order;

/// A player ends itself after this unless told otherwise, so that no test leaves any behind.
const TIME_LIMIT: Duration = Duration::from_secs(300);
/// Orders that may wait for a player's task.
const ORDERS_MAX: usize = 16;
/// How long [`Player::stop`] waits for the task.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// HTTP version of the request line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

/// What a player is going to do.
#[derive(Clone)]
pub struct Plan {
    to: SocketAddr,
    method: String,
    path: String,
    version: Version,
    headers: Vec<(String, String)>,
    source: Option<IpAddr>,
    receive_buffer: Option<usize>,
    reading: Reading,
    check: check::Options,
    keep: Keep,
    time_limit: Duration,
}

/// A plan boiled down to what the task needs.
struct Setup {
    to: SocketAddr,
    source: Option<IpAddr>,
    receive_buffer: Option<usize>,
    request: Vec<u8>,
    asks_head: bool,
    reading: Reading,
    time_limit: Duration,
}

impl Plan {
    /// Another method than GET.
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// Another version than HTTP/1.1.
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// One more header line. A `Host` given here replaces the default one.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The address to come from, such as another one of 127.0.0.0/8.
    pub fn source(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// How to read; [`Reading::Drain`] by default.
    pub fn reading(mut self, reading: Reading) -> Self {
        self.reading = reading;
        self
    }

    /// Asks for a small `SO_RCVBUF`, so that a reader that does not read is felt sooner. The kernel doubles it.
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// What the checker knows beforehand.
    pub fn check(mut self, options: check::Options) -> Self {
        self.check = options;
        self
    }

    /// Keeps this many bytes from the start of the body for [`Player::first_bytes`].
    pub fn keep_first(mut self, bytes: usize) -> Self {
        self.keep.first = bytes;
        self
    }

    /// Keeps this many bytes before the end of the body for [`Player::last_bytes`]; 64 KiB by default.
    pub fn keep_last(mut self, bytes: usize) -> Self {
        self.keep.last = bytes;
        self
    }

    /// After this time the player ends by itself; five minutes by default.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Connects and begins; returns at once. A connection that does not come about is an [`End`].
    pub fn start(self) -> Player {
        let started = Instant::now();
        let setup = Setup {
            to: self.to,
            source: self.source,
            receive_buffer: self.receive_buffer,
            request: self.request(),
            asks_head: self.method == "HEAD",
            reading: self.reading,
            time_limit: self.time_limit,
        };
        let record = Mutex::new(Record::new(self.check, self.keep, started));
        let shared = Arc::new(Shared { record, changed: Condvar::new() });
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        let task = task::RUNTIME.spawn(task::run(Arc::clone(&shared), setup, inbox)).abort_handle();
        Player { shared, orders, task }
    }

    fn request(&self) -> Vec<u8> {
        let version = match self.version {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
        };
        let mut text = format!("{} {} HTTP/{version}\r\n", self.method, self.path);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            let _infallible = write!(text, "Host: {}\r\n", self.to);
        }
        for (name, value) in &self.headers {
            let _infallible = write!(text, "{name}: {value}\r\n");
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// What a player and its task share.
struct Shared {
    record: Mutex<Record>,
    changed: Condvar,
}

impl Shared {
    /// A record is consistent between any two of its writes, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update<T>(&self, change: impl FnOnce(&mut Record, Instant) -> T) -> T {
        let result = change(&mut self.lock(), Instant::now());
        self.changed.notify_all();
        result
    }
}

/// A wait that did not get what it waited for.
#[derive(Debug, thiserror::Error)]
#[error("no {what} within {waited:?}: {state}")]
pub struct Missed {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub waited: Duration,
    /// The player at that moment.
    pub state: Box<Snapshot>,
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {:?}, {} bytes, {} packets", self.status(), self.bytes, self.check.packets)?;
        match (&self.end, self.ended_after) {
            (Some(end), Some(after)) => write!(f, ", ended {end:?} after {after:?}"),
            _ => write!(f, ", still connected, longest gap {:?}", self.longest_gap),
        }
    }
}

/// A running, or ended, player.
pub struct Player {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    task: AbortHandle,
}

impl Player {
    /// Plans a GET of `path` (query included).
    pub fn get(to: SocketAddr, path: &str) -> Plan {
        Plan {
            to,
            method: "GET".to_owned(),
            path: path.to_owned(),
            version: Version::default(),
            headers: Vec::new(),
            source: None,
            receive_buffer: None,
            reading: Reading::Drain,
            check: check::Options::default(),
            keep: Keep { first: 0, last: 64 * 1024 },
            time_limit: TIME_LIMIT,
        }
    }

    /// Everything known at this moment.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.lock().snapshot(Instant::now())
    }

    /// What the checker has found so far.
    pub fn report(&self) -> check::Report {
        self.shared.lock().checker.report()
    }

    /// Bytes of the body so far.
    pub fn bytes(&self) -> u64 {
        self.shared.lock().bytes
    }

    /// How the player ended, if it has.
    pub fn end(&self) -> Option<End> {
        self.shared.lock().end.clone()
    }

    /// The kept start of the body: as much as [`Plan::keep_first`] asked for, or an error body up to 64 KiB.
    pub fn first_bytes(&self) -> Vec<u8> {
        self.shared.lock().first.clone()
    }

    /// The kept end of the body.
    pub fn last_bytes(&self) -> Vec<u8> {
        self.shared.lock().tail().to_vec()
    }

    /// Times between reads that brought bytes, in microseconds.
    pub fn gaps(&self) -> Histogram<u64> {
        self.shared.lock().gaps()
    }

    /// Longest time between two reads that brought bytes, the time since the last one included.
    pub fn longest_gap(&self) -> Duration {
        self.shared.lock().longest_gap(Instant::now())
    }

    /// Forgets gaps so far, so that what follows is judged alone.
    pub fn forget_gaps(&self) {
        self.shared.update(|record, now| record.forget_gaps(now));
    }

    /// Reads differently from now on.
    pub fn read(&self, reading: Reading) {
        self.order(Order::Read(reading));
    }

    /// Leaves with FIN, as a player does that was closed, and waits until it is gone.
    pub fn stop(&self) -> Snapshot {
        self.order(Order::Leave);
        self.finish()
    }

    /// Leaves with RST, as a player does that crashed, and waits until it is gone.
    pub fn reset(&self) -> Snapshot {
        self.order(Order::Reset);
        self.finish()
    }

    /// Acknowledges nothing from now on, as a player does whose network is gone. The socket stays until the player is
    /// dropped or its time limit is over.
    pub fn vanish(&self) -> Result<(), Missed> {
        self.order(Order::Vanish);
        self.wait_for("silence", STOP_TIMEOUT, |record| record.vanished)
    }

    /// Waits for the response head.
    pub fn wait_head(&self, within: Duration) -> Result<Head, Missed> {
        self.wait_for("response head", within, |record| record.head.is_some())?;
        Ok(self.shared.lock().head.clone().expect("waited for it, and it never goes away"))
    }

    /// Waits until the body has `bytes` bytes.
    pub fn wait_bytes(&self, bytes: u64, within: Duration) -> Result<(), Missed> {
        self.wait_for(&format!("{bytes} bytes"), within, |record| record.bytes >= bytes)
    }

    /// Waits until the body has brought `bytes` more than it has now.
    pub fn wait_more(&self, bytes: u64, within: Duration) -> Result<(), Missed> {
        self.wait_bytes(self.bytes() + bytes, within)
    }

    /// Waits until `packets` whole packets have come.
    pub fn wait_packets(&self, packets: u64, within: Duration) -> Result<(), Missed> {
        self.wait_bytes(packets * check::PACKET_LEN as u64, within)
    }

    /// Waits until a decoder could begin.
    pub fn wait_decodable(&self, within: Duration) -> Result<(), Missed> {
        self.wait_for("decodable byte", within, Record::is_decodable)
    }

    /// Waits until the checker's report fulfils `condition`, looking every few milliseconds.
    pub fn wait_report(
        &self,
        what: &str,
        within: Duration,
        condition: impl Fn(&check::Report) -> bool,
    ) -> Result<(), Missed> {
        self.wait_for(what, within, |record| condition(&record.checker.report()))
    }

    /// Waits until the player has ended.
    pub fn wait_end(&self, within: Duration) -> Result<End, Missed> {
        self.wait_for("end", within, |record| record.end.is_some())?;
        Ok(self.end().expect("waited for it, and it never goes away"))
    }

    fn order(&self, order: Order) {
        // A full or closed inbox belongs to a player that is already on its way out.
        let _too_late = self.orders.try_send(order);
    }

    fn finish(&self) -> Snapshot {
        if self.wait_for("end", STOP_TIMEOUT, |record| record.end.is_some()).is_err() {
            self.task.abort();
            self.shared.update(|record, now| record.end(End::Failed("had to be aborted".to_owned()), now));
        }
        self.snapshot()
    }

    /// Waits on the record; gives up early when the player has ended without fulfilling the condition.
    fn wait_for(
        &self,
        what: &str,
        within: Duration,
        condition: impl Fn(&Record) -> bool,
    ) -> Result<(), Missed> {
        let started = Instant::now();
        let mut record = self.shared.lock();
        loop {
            if condition(&record) {
                return Ok(());
            }
            let waited = started.elapsed();
            let left = within.saturating_sub(waited);
            if left.is_zero() || record.end.is_some() {
                let state = Box::new(record.snapshot(Instant::now()));
                return Err(Missed { what: what.to_owned(), waited, state });
            }
            let waiting = self.shared.changed.wait_timeout(record, left);
            record = waiting.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.task.abort();
    }
}
