//! Settings: text and environment to checked, typed values, once.
//!
//! [`Settings::load`] reads the process environment and `.env` in the working directory; nothing reads either of them
//! later. The process environment wins over `.env`, the first name of a variable wins over its aliases, an empty value
//! means "not set" (save for `API_KEY=`, which means open). All faults are reported together, so that one attempt shows
//! everything there is to mend; what is odd but harmless becomes a warning.
//!
//! What this room does not do: it opens no socket, resolves no name and changes nothing on the host. Which variables
//! exist, with their kinds, bounds, defaults and meanings, stands in one table ([`names`]); the help text and the
//! reference page are printed from it. The thread that runs `main` calls it before any shard exists.

mod assemble;
mod channels;
mod dotenv;
mod error;
pub mod foreign;
pub mod help;
pub mod host;
pub mod names;
mod parse;
mod reader;
mod similar;

pub use channels::Channels;
pub use error::Error;
pub use host::Host;
pub use parse::EngineAddress;

use ipnet::IpNet;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The `.env` file is read up to this size; a settings file is a few kilobytes.
const DOTENV_BYTES_MAX: u64 = 256 * 1024;

/// Everything the appliance can be told from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where it listens and whom it believes.
    pub listen: Listen,
    /// Threads of the data plane.
    pub shards: Shards,
    /// Media kept and where players join.
    pub window: Window,
    /// What is refused, and when.
    pub limits: Limits,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Streams kept after their last player.
    pub warm: Warm,
    /// Players that cannot keep up.
    pub slow_clients: SlowClients,
    /// Engines that exist already.
    pub engines: Engines,
    /// Named channels. Default none; `CHANNELS_FILE`.
    pub channels: Channels,
    /// Whether `pid` in a play request is answered 400 instead of being ignored. Default false; `STRICT_PID`.
    pub strict_pid: bool,
    /// Directory of everything that survives a restart. Default `./data`; `DATA_DIR`.
    pub data_dir: PathBuf,
    /// What routes that change something ask for. `API_KEY`.
    pub api_key: ApiKey,
    /// How much is logged. Default info, debug with `DEBUG_MODE=true`; `LOG_LEVEL`.
    pub log_level: LogLevel,
}

/// Listening sockets and whom to believe about a player's address.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// Addresses to bind, never empty, without duplicates; the first is `BIND_ADDR`:`APP_PORT`, a second comes from
    /// `ACEXY_LISTEN_ADDR`. Port 0 lets the kernel choose.
    pub addresses: Vec<SocketAddr>,
    /// Peers whose `X-Forwarded-For` (or PROXY header) names the player. Default none; `TRUSTED_PROXIES`.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether the trusted proxies open connections with a PROXY v1 or v2 header. Default false; `PROXY_PROTOCOL`.
    pub proxy_protocol: bool,
}

/// Threads of the data plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Shards {
    /// How many, at least 1. Default: usable cores; `SHARDS`.
    pub count: u16,
    /// What drives their I/O. `DRIVER`.
    pub driver: Driver,
    /// Rhythm of the fan-out. `TICK_MS`.
    pub tick: Tick,
}

/// What drives a shard's I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// `io_uring` where the kernel allows it, epoll elsewhere.
    Auto,
    /// `io_uring`, or the start fails.
    IoUring,
    /// epoll.
    Epoll,
}

/// Rhythm of the fan-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// [`Tick::ADAPTIVE_MIN`] when there is room, up to [`Tick::ADAPTIVE_MAX`] as the shard fills.
    Adaptive,
    /// Always this long, 5 ms to 1 s.
    Fixed(Duration),
}

impl Tick {
    /// Shortest tick the adaptive rhythm takes.
    pub const ADAPTIVE_MIN: Duration = Duration::from_millis(50);
    /// Longest tick the adaptive rhythm takes.
    pub const ADAPTIVE_MAX: Duration = Duration::from_millis(200);
}

/// Media kept and where players join.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Bytes all windows of all shards may hold together. Default: half of the memory limit; `WINDOW_TOTAL_MIB`.
    pub total_bytes: u64,
    /// How far behind live a player joins a running stream. `JOIN_BEHIND_S`, `ACEXY_BUFFER`.
    pub join_behind: JoinBehind,
}

/// How far behind live a player joins, of what the window already holds; nobody ever waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinBehind {
    /// Media time, 0 to 25 s. Default 10 s.
    Media(Duration),
    /// Bytes, as acexy's buffer size says it.
    Bytes(u64),
}

/// Streams that outlive their last player for longer than the grace period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warm {
    /// How many, those left last. Default 3; `WARM_CHANNELS`.
    pub channels: u32,
    /// How long each, from when its last player left; at least the grace period to have an effect. Default 20 s;
    /// `WARM_S`.
    pub time: Duration,
}

impl Warm {
    /// How long a stream may outlive its last player at most, when the grace period is `grace`.
    pub fn longest(&self, grace: Duration) -> Duration {
        if self.channels == 0 { grace } else { grace.max(self.time) }
    }
}

/// How far a player may fall behind, and what happens when it falls further. Where no bound is set the window is the
/// bound: what it no longer holds cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowClients {
    /// What happens to it. Default skip; `SLOW_CLIENT`.
    pub action: SlowClient,
    /// Media time behind live, more than players join behind it. Default none; `SLOW_CLIENT_LAG_S`.
    pub lag_max: Option<Duration>,
    /// Bytes behind live. Default none; `SLOW_CLIENT_LAG_MIB`.
    pub lag_bytes_max: Option<u64>,
}

/// What happens to a player that fell too far behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowClient {
    /// It goes on at a random access point nearer to live, behind tables and a flagged discontinuity.
    Skip,
    /// It is closed.
    Close,
}

/// What is refused, and when. `None` is no limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Players in all. `MAX_CLIENTS`.
    pub clients_max: Option<NonZeroU32>,
    /// Players of one stream. `MAX_CLIENTS_PER_STREAM`.
    pub stream_clients_max: Option<NonZeroU32>,
    /// Players of one address. `MAX_CLIENTS_PER_IP`.
    pub address_clients_max: Option<NonZeroU32>,
    /// New plays of one address over time. `MAX_PLAYS_PER_IP_PER_S`, `MAX_PLAYS_PER_IP_BURST`.
    pub address_plays: Option<PlayRate>,
    /// Accepted connections of every kind, idle ones and API calls included; always fits into `descriptors`.
    /// `MAX_CONNECTIONS`.
    pub connections_max: u32,
    /// File descriptors the limits above count on: the value `RLIMIT_NOFILE` is to be raised to (the hard limit, at
    /// most [`host::DESCRIPTORS_MAX`]).
    pub descriptors: u64,
}

/// A token bucket for new plays of one address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlayRate {
    /// Plays a second that are refilled, above 0.
    pub per_second: f64,
    /// Plays that may come at once, at least 1. Default 10.
    pub burst: NonZeroU32,
}

/// How long things may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    /// A session outlives its last player for so long. Default 5 s; `PROXY_GRACE_PERIOD`.
    pub grace: Duration,
    /// A start ends so long after its last sign of progress. Default 45 s; `START_TIMEOUT_S`.
    pub start: Duration,
    /// A start ends so long after it began, progress or not; at least `start`. Default 180 s; `START_TIMEOUT_MAX_S`.
    pub start_max: Duration,
    /// An engine that gives no sign of life for so long (connect, health answer) counts as hung; lookup and prebuffer
    /// do not count. Default 10 s; `NO_RESPONSE_TIMEOUT`.
    pub no_response: Duration,
    /// A stream ends after so much total silence, reconnects included. Default 60 s; `EMPTY_TIMEOUT`.
    pub empty: Duration,
    /// A player whose socket takes nothing for so long is closed. Default 30 s; `WRITE_TIMEOUT_S`.
    pub write: Duration,
    /// A request head has to be there after so long. Default 5 s; `HEAD_TIMEOUT_S`.
    pub head: Duration,
    /// A graceful shutdown takes at most so long. Default 5 s; `SHUTDOWN_TIMEOUT_S`.
    pub shutdown: Duration,
    /// Null packets begin after so much silence; below `empty`. Default 1.5 s; `KEEPALIVE_AFTER_MS`.
    pub keepalive_after: Duration,
    /// Null packets come this far apart. Default 500 ms; `KEEPALIVE_INTERVAL_MS`.
    pub keepalive_interval: Duration,
}

/// Engines that exist already, and how to speak to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Engines {
    /// Engines named by the operator, in that order, without duplicates. `STATIC_ENGINES`.
    pub static_engines: Vec<EngineAddress>,
    /// The engine of `ACEXY_HOST`/`ACEXY_PORT`; `localhost:6878` when no engine is named at all. Where other engines
    /// can be had it is the last resort.
    pub fallback_engine: Option<EngineAddress>,
    /// Streams one engine may carry, if somebody said so. `MAX_STREAMS_PER_ENGINE`.
    pub streams_per_engine_max: Option<NonZeroU32>,
    /// `User-Agent` of requests to engines. `ENGINE_USER_AGENT`.
    pub user_agent: String,
}

impl Engines {
    /// Every named engine once, the fallback last.
    pub fn named(&self) -> impl Iterator<Item = &EngineAddress> {
        let fallback = self.fallback_engine.iter().filter(|engine| !self.static_engines.contains(engine));
        self.static_engines.iter().chain(fallback)
    }
}

/// What routes that change something ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiKey {
    /// Nothing was said: a key is to be generated on first start.
    Generated,
    /// `API_KEY=` said openly that no key is wanted.
    Open,
    /// This key.
    Given(Secret),
}

/// A text that must not show up in logs: printing it for debugging shows dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one place that compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Faults only.
    Error,
    /// And what deserves a look.
    Warn,
    /// And changes an operator would tell a colleague.
    Info,
    /// And what every player and engine does.
    Debug,
    /// And everything else.
    Trace,
}

impl LogLevel {
    /// The name logging filters use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Checked settings and what an operator should know about how they came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// One line each, for the log once logging runs.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Reads the process environment, `.env` in the working directory and the facts of this host.
    ///
    /// # Errors
    /// All faults found, at least one.
    pub fn load() -> Result<Loaded, Vec<Error>> {
        let vars = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
        let dotenv = read_dotenv(Path::new(".env")).map_err(|error| vec![error])?;
        Self::from_env(vars, dotenv.as_deref())
    }

    /// Checks the given variables and the text of a `.env` file against the facts of this host.
    ///
    /// # Errors
    /// All faults found, at least one.
    pub fn from_env(
        vars: impl IntoIterator<Item = (String, String)>,
        dotenv: Option<&str>,
    ) -> Result<Loaded, Vec<Error>> {
        Self::from_env_on(&Host::probe(Path::new("/")), vars, dotenv)
    }

    /// The same for a host whose facts are given: pure, for tests.
    ///
    /// # Errors
    /// All faults found, at least one.
    pub fn from_env_on(
        host: &Host,
        vars: impl IntoIterator<Item = (String, String)>,
        dotenv: Option<&str>,
    ) -> Result<Loaded, Vec<Error>> {
        assemble::settings(host, vars.into_iter().collect(), dotenv)
    }
}

/// Reads a `.env` file; a missing one is `None`.
fn read_dotenv(path: &Path) -> Result<Option<String>, Error> {
    use std::io::Read;
    let unreadable = |cause: std::io::Error| Error::DotenvUnreadable { path: path.to_owned(), cause };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(unreadable(cause)),
    };
    let mut text = String::new();
    let read = file.take(DOTENV_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if read as u64 > DOTENV_BYTES_MAX {
        return Err(Error::DotenvTooLarge { path: path.to_owned(), limit: DOTENV_BYTES_MAX });
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests;
