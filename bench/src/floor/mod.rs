//! The floor: what the kernel charges for one-to-many sending when user space does nothing but send, in the ways there are.
//!
//! One process, kept on one core, appends to an ever-growing memory file whose offsets are stream offsets and whose size
//! is the head, gives old memory back in aligned 2 MiB holes, and on each tick sends every client all that is new. A
//! child process on another core is the players: every 5 ms it discards what has come. Loopback only; one thread each.
//! The figure to compare is CPU seconds per gigabyte of the sending process. It is no server: no HTTP, no joins, no slow
//! clients.

mod paths;
pub mod sweep;

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::report::Times;
use crate::sys::{self, Epoll, Interest};
pub use paths::Path;
use paths::Way;

/// Bytes kept behind the head, and the most that one `sendfile` is asked for.
const WINDOW: u64 = 32 << 20;
/// Bytes appended by one write.
const STEP: u64 = 1 << 20;
/// Memory is given back in blocks of this size, aligned to it: the size of a huge page.
const HOLE: u64 = 2 << 20;
/// How often the players look.
pub const PLAYERS_PAUSE: Duration = Duration::from_millis(5);
/// Most bytes a player discards in one call.
pub const DISCARD_LEN_MAX: usize = 1 << 20;
/// Descriptors told of in one `epoll_wait` of the players.
pub const EVENTS_MAX: usize = 512;
/// How long all players together may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16_384;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many players.
    pub clients: usize,
    /// Mbit/s for each.
    pub mbit: f64,
    /// Time between two rounds.
    pub tick: Duration,
    /// Time of the whole measurement.
    pub duration: Duration,
    /// How bytes are sent.
    pub path: Path,
    /// What may wait unsent in a socket, if that is bounded.
    pub unsent_max: Option<u32>,
    /// Core of the sender.
    pub core: usize,
}

/// What came out; the names are the JSON keys.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Figures {
    /// How bytes were sent.
    pub path: Path,
    /// How many players.
    pub clients: usize,
    /// Mbit/s for each, as asked for.
    pub mbit_s_each: f64,
    /// Time between two rounds, as asked for.
    pub tick_ms: f64,
    /// Gbit/s sent to all together.
    pub gbit_s: f64,
    /// Share of a core the sender used.
    pub cpu_pct: f64,
    /// CPU seconds of the sender for each 10^9 bytes.
    pub cpu_s_per_gb: f64,
    /// How far the last client of a round was behind the head at most.
    pub lag_max_s: f64,
    /// Sends that the socket refused for now.
    pub blocked: u64,
    /// Rounds.
    pub ticks: u64,
    /// Rounds that took longer than a tick.
    pub overran: u64,
    /// From the beginning of one round to that of the next, in the middle and at most, in milliseconds: the gaps of its players.
    pub round_p50_ms: f64,
    /// The longest of them.
    pub round_max_ms: f64,
    /// Memory of all TCP sockets of the host, players' included, at the end and beyond what it was before, in 10^6 bytes.
    pub tcp_mb: f64,
}

/// Why there is no floor.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option is beyond what can be measured.
    #[error("{0}")]
    Options(String),
    /// A system call failed.
    #[error("cannot {what}: {cause}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// The players did not all come.
    #[error("only {came} of {wanted} players connected within {CONNECT_TIMEOUT:?}")]
    Players {
        /// How many came.
        came: usize,
        /// How many were to come.
        wanted: usize,
    },
}

fn cannot(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |cause| Error::System { what, cause }
}

/// Makes room for the players' descriptors.
fn check(options: &Options) -> Result<(), Error> {
    let limit = sys::raise_descriptor_limit().map_err(cannot("raise the limit on open files"))?;
    let refuse = |text: String| Err(Error::Options(text));
    let each = if options.path == Path::Splice { 3 } else { 1 };
    if options.clients == 0 || options.clients as u64 * each + 32 > limit {
        return refuse(format!("{} clients, with at most {limit} open files", options.clients));
    }
    if !(options.mbit > 0.0 && options.mbit <= 10_000.0) {
        return refuse(format!("a rate of {} Mbit/s", options.mbit));
    }
    if options.tick.is_zero() || options.tick > Duration::from_secs(10) || options.duration < options.tick {
        return refuse(format!("a tick of {:?} in {:?}", options.tick, options.duration));
    }
    Ok(())
}

/// Measures. `players` gives the command that runs [`play`] in a process of its own against an address.
///
/// # Errors
/// An option makes no sense, the players do not come, or the kernel refuses something.
pub fn run(options: Options, players: impl FnOnce(SocketAddr) -> Command) -> Result<Figures, Error> {
    check(&options)?;
    let tcp_before = tcp_bytes();
    let listener = listen().map_err(cannot("listen on loopback"))?;
    let address = listener.local_addr().map_err(cannot("listen on loopback"))?;
    let child = players(address).spawn().map_err(cannot("start the players' process"))?;
    let mut players = Players(child);
    sys::pin(options.core).map_err(cannot("pin the sender to its core"))?;
    let clients = accept(&listener, &options, &mut players.0)?;
    Sender::new(options, clients)?.run(tcp_before)
}

/// Ends the players with the measurement, whatever way it ends.
struct Players(Child);

impl Drop for Players {
    fn drop(&mut self) {
        // They end by themselves when their connections close; if not, there is nothing to be done about it here.
        let _already_ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn tcp_bytes() -> u64 {
    crate::play::server::tcp_bytes(&fs::read_to_string("/proc/net/sockstat").unwrap_or_default())
}

fn accept(listener: &TcpListener, options: &Options, players: &mut Child) -> Result<Vec<TcpStream>, Error> {
    let wanted = options.clients;
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    let mut clients = Vec::with_capacity(wanted);
    while clients.len() < wanted {
        match listener.accept() {
            Ok((stream, _)) => {
                let bound = |bytes: u32| sys::set_unsent_max(stream.as_fd(), bytes);
                let set = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true));
                let set = set.and_then(|()| options.unsent_max.map_or(Ok(()), bound));
                set.map_err(cannot("set up a client's socket"))?;
                clients.push(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let ended = players.try_wait().is_ok_and(|status| status.is_some());
                if ended || Instant::now() > deadline {
                    return Err(Error::Players { came: clients.len(), wanted });
                }
                thread::sleep(Duration::from_millis(1));
            }
            Err(cause) => return Err(Error::System { what: "accept a client", cause }),
        }
    }
    Ok(clients)
}

struct Sender {
    options: Options,
    clients: Vec<(TcpStream, u64)>,
    window: File,
    way: Way,
    source: Vec<u8>,
    /// Bytes per second.
    rate: f64,
    head: u64,
    tail: u64,
    sent: u64,
    blocked: u64,
    lag_max: f64,
}

impl Sender {
    fn new(options: Options, clients: Vec<TcpStream>) -> Result<Self, Error> {
        let way = Way::new(options.path, clients.len()).map_err(cannot("prepare this way of sending"))?;
        Ok(Self {
            options,
            clients: clients.into_iter().map(|stream| (stream, 0)).collect(),
            window: sys::memory_file(c"floor").map_err(cannot("make a memory file"))?,
            way,
            source: vec![0x47; WINDOW as usize],
            rate: options.mbit * 125_000.0,
            head: 0,
            tail: 0,
            sent: 0,
            blocked: 0,
            lag_max: 0.0,
        })
    }

    fn run(mut self, tcp_before: u64) -> Result<Figures, Error> {
        let (start, cpu) = (Instant::now(), sys::process_cpu());
        let (mut next, mut ticks, mut overran) = (start, 0, 0);
        let (mut rounds, mut before) = (Times::default(), None);
        while start.elapsed() < self.options.duration {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            let now = Instant::now();
            before.replace(now).iter().for_each(|before| rounds.add(now - *before));
            let target = (start.elapsed().as_secs_f64() * self.rate) as u64;
            self.append(target).map_err(cannot("write to the memory file"))?;
            self.round().map_err(cannot("send"))?;
            ticks += 1;
            next += self.options.tick;
            let now = Instant::now();
            if now > next {
                overran += 1;
                next = now;
            }
        }
        let wall = start.elapsed().as_secs_f64();
        let cpu = (sys::process_cpu() - cpu).as_secs_f64();
        let rounds = rounds.summary();
        Ok(Figures {
            path: self.options.path,
            clients: self.clients.len(),
            mbit_s_each: self.options.mbit,
            tick_ms: self.options.tick.as_secs_f64() * 1e3,
            gbit_s: self.sent as f64 * 8.0 / wall / 1e9,
            cpu_pct: cpu / wall * 100.0,
            cpu_s_per_gb: cpu / (self.sent.max(1) as f64 / 1e9),
            lag_max_s: self.lag_max,
            blocked: self.blocked,
            ticks,
            overran,
            round_p50_ms: rounds.map_or(0.0, |rounds| rounds.p50_ms),
            round_max_ms: rounds.map_or(0.0, |rounds| rounds.max_ms),
            tcp_mb: tcp_bytes().saturating_sub(tcp_before) as f64 / 1e6,
        })
    }

    fn append(&mut self, target: u64) -> io::Result<()> {
        while self.head < target {
            let len = (target - self.head).min(STEP);
            self.window.write_all_at(&self.source[..len as usize], self.head)?;
            self.head += len;
            if self.head - self.tail > WINDOW + 2 * HOLE {
                sys::punch_hole(&self.window, self.tail, HOLE)?;
                self.tail += HOLE;
            }
        }
        Ok(())
    }

    /// Sends every client all that is new.
    fn round(&mut self) -> io::Result<()> {
        let (sent, blocked) = self.way.round(&mut self.clients, &self.window, &self.source, self.head)?;
        self.sent += sent;
        self.blocked += blocked;
        let behind = self.clients.iter().map(|(_, cursor)| self.head - cursor).max().unwrap_or(0);
        self.lag_max = self.lag_max.max(behind as f64 / self.rate);
        Ok(())
    }
}

/// The players: connects `clients` times and discards everything until the sender has closed every connection. The first
/// `stalled` of them never read.
///
/// # Errors
/// A connection does not come about, or the kernel refuses something.
pub fn play(to: SocketAddr, clients: usize, stalled: usize, core: usize) -> Result<(), Error> {
    sys::pin(core).map_err(cannot("pin the players to their core"))?;
    sys::raise_descriptor_limit().map_err(cannot("raise the limit on open files"))?;
    let mut epoll = Epoll::new(EVENTS_MAX).map_err(cannot("make an epoll set"))?;
    let mut streams = Vec::with_capacity(clients);
    for number in 0..clients {
        let stream = TcpStream::connect(to).map_err(cannot("connect a player"))?;
        let interest = if number < stalled { Interest::Failure } else { Interest::Read };
        epoll.add(&stream, interest, number as u64).map_err(cannot("wait for a player's socket"))?;
        streams.push(Some(stream));
    }
    let mut sink = vec![0; DISCARD_LEN_MAX];
    let mut ready = Vec::with_capacity(EVENTS_MAX);
    let mut open = clients;
    while open > 0 {
        thread::sleep(PLAYERS_PAUSE);
        loop {
            epoll.wait(&mut ready, Duration::ZERO).map_err(cannot("wait for players' sockets"))?;
            if ready.is_empty() {
                break;
            }
            for number in &ready {
                let place = &mut streams[*number as usize];
                let Some(stream) = place else { continue };
                match sys::discard(stream.as_fd(), &mut sink, DISCARD_LEN_MAX) {
                    Ok(1..) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Ok(0) | Err(_) => {
                        *place = None;
                        open -= 1;
                    }
                }
            }
        }
    }
    Ok(())
}
