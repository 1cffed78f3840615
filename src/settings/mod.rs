//! Settings: text and environment to checked, typed values.
//!
//! [`Origin::of_process`] reads the process environment and `.env` in the working directory; nothing reads either of them
//! later, save for the list of channels, which may change. The process environment wins over `.env`, the first name of a variable wins over its aliases, an empty value
//! means "not set" (save for `API_KEY=`, which means open). All faults are reported together, so that one attempt shows
//! everything there is to mend; what is odd but harmless becomes a warning. [`live`] puts them together again when some are
//! changed while the appliance runs.
//!
//! What this room does not do: it opens no socket, resolves no name and changes nothing on the host. Which variables
//! exist, with their kinds, bounds, defaults and meanings, stands in one table ([`names`]); the help text and the
//! reference page are printed from it. The thread that runs `main` calls it before any shard exists.

mod assemble;
#[cfg(test)]
mod catalogue;
mod channels;
mod docker;
mod dotenv;
mod error;
pub mod foreign;
pub mod help;
pub mod host;
pub mod live;
pub mod names;
mod parse;
mod profile;
mod reader;
mod similar;

pub use channels::{Channels, ChannelsFile, Watched};
pub use error::Error;
pub use host::Host;
pub use live::{Changes, InForce, Origin};
pub use parse::{EngineAddress, NamedEngine};

use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
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
    /// Engines kept in Docker, when they are. `ENGINE_PROVISIONING`.
    pub docker: Option<Docker>,
    /// Whether engines were asked for behind a VPN. `GLUETUN_CONTAINER_NAME`, `VPN_MODE`.
    pub is_vpn_asked: bool,
    /// Named channels. Default none; `CHANNELS_FILE`.
    pub channels: ChannelsFile,
    /// Whether `pid` in a play request is answered 400 instead of being ignored. Default false; `STRICT_PID`.
    pub strict_pid: bool,
    /// Players over HLS.
    pub hls: Hls,
    /// Directory of everything that survives a restart. Default `./data`; `DATA_DIR`.
    pub data_dir: PathBuf,
    /// What routes that change something ask for. `API_KEY`.
    pub api_key: ApiKey,
    /// Whether routes that only read ask for the key too. Default false; `READS_NEED_KEY`.
    pub reads_need_key: bool,
    /// Which origin's pages may read the REST API. Default `*`; `CORS_ORIGIN`.
    pub cors_origin: String,
    /// What is kept of streams, and which of them are stopped.
    pub streams: Streams,
    /// Whether what can be changed while the appliance runs is pinned to the environment. Default false; `SETTINGS`.
    pub is_pinned: bool,
    /// How much is logged. Default info, debug with `DEBUG_MODE=true`; `LOG_LEVEL`.
    pub log_level: LogLevel,
    /// Whether the log is JSON. Default false; `LOG_FORMAT`.
    pub is_log_json: bool,
    /// Where debug mode writes, if somebody said so. `DEBUG_LOG_DIR`.
    pub debug_log_dir: Option<PathBuf>,
}

/// What is kept of streams, and which of them are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    /// Between two looks at the figures of a reported stream. Default 1 s; `COLLECT_INTERVAL_S`.
    pub collect_interval: Duration,
    /// Figures kept in memory per stream. Default 720; `STATS_HISTORY_MAX`.
    pub history_max: usize,
    /// Whether streams that loop are looked for. Default false; `STREAM_LOOP_DETECTION_ENABLED`.
    pub finds_loops: bool,
    /// How long nothing new may come. Default 3600 s; `STREAM_LOOP_DETECTION_THRESHOLD_S`.
    pub loop_threshold: Duration,
    /// Between two looks. Default 10 s; `STREAM_LOOP_CHECK_INTERVAL_S`.
    pub loop_check_interval: Duration,
    /// How long what was found is not played; zero is for ever. Default zero; `STREAM_LOOP_RETENTION_MINUTES`.
    pub loop_retention: Duration,
}

/// Players over HLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hls {
    /// Whether `/ace/getstream` sends players to HLS. Default false; `PROXY_STREAM_MODE`, `ACEXY_M3U8`.
    pub by_default: bool,
    /// One that asks for nothing for so long, and for three target durations, has left. Default 15 s;
    /// `ACEXY_M3U8_STREAM_TIMEOUT`.
    pub idle: Duration,
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
    /// Players of a stream from which on several shards serve it; none means never. `HOT_SESSION_CLIENTS`.
    pub hot_session_clients: Option<NonZeroU32>,
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
    pub static_engines: Vec<NamedEngine>,
    /// The engine of `ACEXY_HOST`/`ACEXY_PORT`; `localhost:6878` when no engine is named and none is kept in Docker. Where other engines
    /// can be had it is the last resort.
    pub fallback_engine: Option<EngineAddress>,
    /// `localhost:6878`, taken to be there as long as there is no Docker, when nothing at all is said of engines.
    pub assumed_engine: Option<EngineAddress>,
    /// Streams one engine may carry, if somebody said so. `MAX_STREAMS_PER_ENGINE`.
    pub streams_per_engine_max: Option<NonZeroU32>,
    /// A play request waits so long for an engine. Default 45 s; `ENGINE_WAIT_S`.
    pub wait: Duration,
    /// How the best of several engines is found. `ENGINE_SELECTION`.
    pub selection: Selection,
    /// Players of a stream from which on a spare source is kept; none means never. `WARM_SPARE_CLIENTS_MIN`.
    pub spare_clients_min: Option<NonZeroU32>,
    /// `User-Agent` of requests to engines. `ENGINE_USER_AGENT`.
    pub user_agent: String,
}

/// How the best of several engines is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The highest score.
    Score {
        /// What a VPN's forwarded port is worth. `ENGINE_FORWARDED_BONUS`.
        forwarded_bonus: u32,
        /// What each stream costs. `ENGINE_STREAM_COST`.
        stream_cost: u32,
    },
    /// The fewest streams.
    Spread,
}

impl Engines {
    /// Every named engine once, the fallback last.
    pub fn named(&self) -> impl Iterator<Item = &EngineAddress> {
        let named = || self.static_engines.iter().map(|engine| &engine.address);
        named().chain(self.fallback_engine.iter().filter(move |engine| named().all(|other| other != *engine)))
    }
}

/// Engines kept in Docker: what they are made from, where they are put, how many there are.
#[derive(Clone, Debug, PartialEq)]
pub struct Docker {
    /// Where Docker is, as its own tools write it; the usual socket when absent. `DOCKER_HOST`.
    pub host: Option<String>,
    /// Directory of certificates when TLS is spoken. `DOCKER_TLS_VERIFY`, `DOCKER_CERT_PATH`.
    pub certificates: Option<PathBuf>,
    /// Where engines are attached. `ENGINE_NETWORK`.
    pub network: Option<EngineNetwork>,
    /// Address ports are published on. `ENGINE_PUBLISH_ADDR`.
    pub publish: Option<IpAddr>,
    /// Key and value of the label of managed containers. `CONTAINER_LABEL`.
    pub label: (String, String),
    /// Mark of this appliance's engines; kept in the data directory when absent. `INSTANCE_ID`.
    pub instance: Option<String>,
    /// Name of the recipe; by Docker's architecture when absent. `ENGINE_VARIANT`.
    pub variant: Option<&'static str>,
    /// Image tags of the ARM recipes. `ENGINE_ARM32_VERSION`, `ENGINE_ARM64_VERSION`.
    pub arm_tags: (String, String),
    /// Memory limit of an engine, bytes. `ENGINE_MEMORY_LIMIT`.
    pub memory_bytes: Option<u64>,
    /// How long a pull may take. Default 900 s; `IMAGE_PULL_TIMEOUT_S`.
    pub pull_timeout: Duration,
    /// A cache on disk that is larger is emptied. `ENGINE_CACHE_MAX_MIB`.
    pub cache_bytes_max: Option<u64>,
    /// Ports of engines, both ends inclusive. `PORT_RANGE_HOST`.
    pub host_ports: (u16, u16),
    /// HTTPS ports inside. `ACE_HTTPS_RANGE`.
    pub https_ports: (u16, u16),
    /// Whether HTTPS is published. `ACE_MAP_HTTPS`.
    pub has_https_mapped: bool,
    /// P2P ports, one for each engine. `P2P_PORT_RANGE`.
    pub p2p_ports: Option<(u16, u16)>,
    /// From a container's start to the engine's first answer. `STARTUP_TIMEOUT_S`.
    pub startup_timeout: Duration,
    /// Between two lists of containers. `MONITOR_INTERVAL_S`.
    pub monitor_interval: Duration,
    /// How long an engine may be down. `HEALTH_UNHEALTHY_GRACE_PERIOD_S`.
    pub unhealthy_grace: Duration,
    /// Between two replacements. `HEALTH_REPLACEMENT_COOLDOWN_S`.
    pub replacement_cooldown: Duration,
    /// Failures and recovery of the breaker of starts. `CIRCUIT_BREAKER_FAILURE_THRESHOLD`, `…_RECOVERY_TIMEOUT_S`.
    pub breaker: (u32, Duration),
    /// The same of replacements. `CIRCUIT_BREAKER_REPLACEMENT_THRESHOLD`, `…_REPLACEMENT_TIMEOUT_S`.
    pub replacement_breaker: (u32, Duration),
    /// Engines at least. `MIN_REPLICAS`.
    pub replicas_min: u32,
    /// Engines at most, at least 1 and not below the minimum. `MAX_REPLICAS`.
    pub replicas_max: u32,
    /// Engines above that while one is replaced. `MAX_SURGE`.
    pub surge_max: u32,
    /// Free engines idle deletion leaves. `MIN_FREE_REPLICAS`.
    pub replicas_free_min: u32,
    /// Whether idle engines are removed. `AUTO_DELETE`.
    pub is_auto_delete: bool,
    /// How long an engine must be spare. `ENGINE_GRACE_PERIOD_S`.
    pub grace: Duration,
    /// Containers made at the same time. `MAX_CONCURRENT_PROVISIONS`.
    pub provisions_max: u32,
    /// Between two beginnings. `MIN_PROVISION_INTERVAL_S`.
    pub provision_interval: Duration,
}

/// Where engines are attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineNetwork {
    /// The host's own network.
    Host,
    /// Docker's default bridge.
    Bridge,
    /// A network of this name.
    Named(String),
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

/// What the process environment and `.env` set, whatever became of it. Values are told for names that are asked for, and
/// never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// What these variables were set to.
    pub fn of(&self, names: impl Iterator<Item = &'static str>) -> BTreeMap<String, String> {
        names.filter_map(|name| Some((name.to_owned(), self.0.get(name)?.clone()))).collect()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Checked settings and what an operator should know about how they came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// One line each, for the log once logging runs.
    pub warnings: Vec<String>,
    /// What was set, by name.
    pub environment: Environment,
}

impl Settings {
    /// Checks variables and the text of a `.env` file against the facts of a host: pure, for tests.
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
