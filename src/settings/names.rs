//! The one table of every variable: name, aliases, kind, bounds, default, meaning.
//!
//! Reading, `--help` and the reference page all go by it, so a variable that is not here does not exist. Order is the
//! order of the reference page.

mod inert;

/// One variable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variable {
    /// The name to prefer.
    pub name: &'static str,
    /// Names of earlier programs that mean the same; the first one set wins, the preferred name before all.
    pub aliases: &'static [&'static str],
    /// Heading it stands under.
    pub group: Group,
    /// What values it takes.
    pub kind: Kind,
    /// What holds when it is not set.
    pub default: Default,
    /// What it does, one or two sentences.
    pub meaning: &'static str,
    /// Whether it does anything.
    pub effect: Effect,
}

impl Variable {
    /// The preferred name and the aliases.
    pub fn spellings(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Whether values must not be shown.
    pub fn is_secret(&self) -> bool {
        self.kind == Kind::Secret
    }
}

/// Headings of the reference page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Where it listens.
    Listening,
    /// Threads and pace.
    Shards,
    /// Media kept.
    Window,
    /// Refusals.
    Limits,
    /// Lengths of time.
    Timeouts,
    /// Engines.
    Engines,
    /// Engines in Docker.
    Docker,
    /// How many engines.
    Scaling,
    /// VPN.
    Vpn,
    /// Everything else that acts.
    General,
    /// Names of acexy that have another or no effect here.
    Acexy,
    /// Names of the orchestrator that did nothing there.
    Inert,
}

impl Group {
    /// All headings in order.
    pub const ALL: [Self; 12] = [
        Self::Listening,
        Self::Shards,
        Self::Window,
        Self::Limits,
        Self::Timeouts,
        Self::Engines,
        Self::Docker,
        Self::Scaling,
        Self::Vpn,
        Self::General,
        Self::Acexy,
        Self::Inert,
    ];

    /// The heading's text.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Listening => "Listening",
            Self::Shards => "Shards",
            Self::Window => "Window and joining",
            Self::Limits => "Limits",
            Self::Timeouts => "Timeouts",
            Self::Engines => "Engines",
            Self::Docker => "Engines in Docker",
            Self::Scaling => "How many engines",
            Self::Vpn => "VPN",
            Self::General => "General",
            Self::Acexy => "Names of acexy that act differently or not at all",
            Self::Inert => "Names that did nothing in acestream-orchestrator",
        }
    }
}

/// What values a variable takes. Bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Described in words.
    Text(&'static str),
    /// Text that is never shown.
    Secret,
    /// `true` or `false`, any case.
    Switch,
    /// A whole number.
    Count {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A decimal number.
    Decimal {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// A length of time: Go syntax, or a bare number of `unit`.
    Span {
        /// What a bare number means.
        unit: Unit,
        /// Shortest, milliseconds.
        min_ms: u64,
        /// Longest, milliseconds.
        max_ms: u64,
    },
    /// A size in bytes, with or without a unit.
    Size {
        /// Largest, bytes.
        max: u64,
    },
    /// One of these words, any case.
    Choice(&'static [&'static str]),
}

/// What a bare number means in a length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// What holds when a variable is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// This text, read like a value somebody gave.
    Is(&'static str),
    /// Something found out at start, or nothing; described in words.
    Means(&'static str),
}

/// Whether a variable does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does what its meaning says.
    Acts,
    /// Starting with it set is refused; what to do instead.
    Refused(&'static str),
    /// It is accepted and has no effect; a warning says why.
    Nothing(&'static str),
    /// It asks for something that does not happen and never did: a documented value is taken without a word, starting with
    /// any other is refused.
    Inert {
        /// The values earlier programs documented.
        documented: &'static [&'static str],
        /// What to do instead.
        instead: &'static str,
    },
}

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600_000;

const fn acting(
    group: Group,
    name: &'static str,
    aliases: &'static [&'static str],
    kind: Kind,
    default: Default,
    meaning: &'static str,
) -> Variable {
    Variable { name, aliases, group, kind, default, meaning, effect: Effect::Acts }
}

const fn seconds(min_ms: u64, max_ms: u64) -> Kind {
    Kind::Span { unit: Unit::Seconds, min_ms, max_ms }
}

const fn milliseconds(min_ms: u64, max_ms: u64) -> Kind {
    Kind::Span { unit: Unit::Milliseconds, min_ms, max_ms }
}

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

/// Largest player and connection limits that make sense to count: four per descriptor of the largest host.
const PEOPLE_MAX: u64 = 4 << 20;

/// `BIND_ADDR`
pub(super) static BIND_ADDR: Variable = acting(
    Group::Listening,
    "BIND_ADDR",
    &[],
    Kind::Text("an IPv4 or IPv6 address"),
    Default::Is("0.0.0.0"),
    "Address to listen on.",
);

/// `APP_PORT`
pub(super) static APP_PORT: Variable = acting(
    Group::Listening,
    "APP_PORT",
    &[],
    count(0, 65_535),
    Default::Is("8000"),
    "Port to listen on, for players and for the API. 0 lets the kernel choose; the log names the port.",
);

/// `ACEXY_LISTEN_ADDR`
pub(super) static ACEXY_LISTEN_ADDR: Variable = acting(
    Group::Listening,
    "ACEXY_LISTEN_ADDR",
    &["ACEXY_ADDR"],
    Kind::Text("host:port or :port, the host being an address or localhost"),
    Default::Means("no second listener"),
    "One more address to listen on, so that players set up for acexy (`:8080`) keep working. Without a host it is \
     `BIND_ADDR`. An address that is listened on already adds nothing.",
);

/// `TRUSTED_PROXIES`
pub(super) static TRUSTED_PROXIES: Variable = acting(
    Group::Listening,
    "TRUSTED_PROXIES",
    &[],
    Kind::Text("addresses and networks (10.0.0.0/8), separated by commas"),
    Default::Means("nobody"),
    "Peers whose `X-Forwarded-For` is believed. Limits per address count the address found there.",
);

/// `PROXY_PROTOCOL`
pub(super) static PROXY_PROTOCOL: Variable = acting(
    Group::Listening,
    "PROXY_PROTOCOL",
    &[],
    Kind::Switch,
    Default::Is("false"),
    "The trusted proxies open every connection with a PROXY protocol header, version 1 or 2. A connection of \
     theirs without one, such as a health check, counts as their own. Needs `TRUSTED_PROXIES`.",
);

/// `SHARDS`
pub(super) static SHARDS: Variable = acting(
    Group::Shards,
    "SHARDS",
    &[],
    count(1, 1024),
    Default::Means("the cores this process may use"),
    "Threads of the data plane, one pinned to each core.",
);

/// `DRIVER`
pub(super) static DRIVER: Variable = acting(
    Group::Shards,
    "DRIVER",
    &[],
    Kind::Choice(&["auto", "io_uring", "epoll"]),
    Default::Is("auto"),
    "What drives I/O. `auto` takes io_uring where the kernel and its seccomp profile allow it and epoll elsewhere; \
     `io_uring` refuses to start without it.",
);

/// `PROFILE`
pub(super) static PROFILE: Variable = acting(
    Group::Shards,
    "PROFILE",
    &[],
    Kind::Choice(&["balanced", "many-clients", "high-bandwidth", "low-latency"]),
    Default::Is("balanced"),
    "Defaults of `TICK_MS`, `JOIN_BEHIND_S`, `PROXY_GRACE_PERIOD` and `WINDOW_TOTAL_MIB` together. What is set \
     itself wins.",
);

/// `TICK_MS`
pub(super) static TICK_MS: Variable = acting(
    Group::Shards,
    "TICK_MS",
    &[],
    milliseconds(5, SECOND),
    Default::Means("50 ms, stretching as a shard fills, until a player gets 100 KB or to 200 ms"),
    "Rhythm in which players are sent what is new. Longer costs less CPU per byte.",
);

/// `HOT_SESSION_CLIENTS`
pub(super) static HOT_SESSION_CLIENTS: Variable = acting(
    Group::Shards,
    "HOT_SESSION_CLIENTS",
    &[],
    count(0, PEOPLE_MAX),
    Default::Is("0"),
    "From that many players of a stream on, other shards that carry less serve it too. Costs one window of memory per shard. \
     Players over HLS do not count. 0 is never.",
);

/// `WINDOW_TOTAL_MIB`
pub(super) static WINDOW_TOTAL_MIB: Variable = acting(
    Group::Window,
    "WINDOW_TOTAL_MIB",
    &[],
    count(8, 16 << 20),
    Default::Means("half of the memory limit of the container, or of the host's memory"),
    "MiB of media that all sessions may hold together. When it is spent, idle sessions go first, then windows \
     shrink, then new streams are refused with `memory`.",
);

/// `JOIN_BEHIND_S`
pub(super) static JOIN_BEHIND_S: Variable = acting(
    Group::Window,
    "JOIN_BEHIND_S",
    &[],
    seconds(0, 25 * SECOND),
    Default::Is("10"),
    "How far behind live a player joins a running stream, of what is there already; nobody waits for it. Those \
     seconds carry the player over an engine that fails.",
);

/// `ACEXY_BUFFER`
pub(super) static ACEXY_BUFFER: Variable = acting(
    Group::Window,
    "ACEXY_BUFFER",
    &["ACEXY_BUFFER_SIZE"],
    Kind::Size { max: 1 << 30 },
    Default::Means("`JOIN_BEHIND_S` decides"),
    "The same distance in bytes. It adds no wait. `JOIN_BEHIND_S` wins when both are set.",
);

/// `SLOW_CLIENT`
pub(super) static SLOW_CLIENT: Variable = acting(
    Group::Window,
    "SLOW_CLIENT",
    &[],
    Kind::Choice(&["skip", "close"]),
    Default::Is("skip"),
    "What happens to a player that is too far behind: it skips forward to a place it can decode from, or its \
     connection is closed with the reason `too_slow`.",
);

/// `SLOW_CLIENT_LAG_S`
pub(super) static SLOW_CLIENT_LAG_S: Variable = acting(
    Group::Window,
    "SLOW_CLIENT_LAG_S",
    &[],
    seconds(0, 600 * SECOND),
    Default::Is("0"),
    "A player is too far behind when so much media lies between it and live; what an engine sends ahead of real \
     time in a burst comes on top. More than `JOIN_BEHIND_S`. 0 lets it fall back as far as the window reaches, half \
     a minute.",
);

/// `SLOW_CLIENT_LAG_MIB`
pub(super) static SLOW_CLIENT_LAG_MIB: Variable = acting(
    Group::Window,
    "SLOW_CLIENT_LAG_MIB",
    &[],
    count(0, 1 << 20),
    Default::Is("0"),
    "The same in MiB; what is reached first counts. 0 is as far as the window reaches.",
);

/// `MAX_CLIENTS`
pub(super) static MAX_CLIENTS: Variable = acting(
    Group::Limits,
    "MAX_CLIENTS",
    &[],
    count(0, PEOPLE_MAX),
    Default::Is("0"),
    "Players in all; one more gets 503 `clients_max`. 0 is no limit.",
);

/// `MAX_CLIENTS_PER_STREAM`
pub(super) static MAX_CLIENTS_PER_STREAM: Variable = acting(
    Group::Limits,
    "MAX_CLIENTS_PER_STREAM",
    &[],
    count(0, PEOPLE_MAX),
    Default::Is("0"),
    "Players of one stream; one more gets 503 `stream_clients_max`. 0 is no limit.",
);

/// `MAX_CLIENTS_PER_IP`
pub(super) static MAX_CLIENTS_PER_IP: Variable = acting(
    Group::Limits,
    "MAX_CLIENTS_PER_IP",
    &[],
    count(0, PEOPLE_MAX),
    Default::Is("0"),
    "Players of one address; one more gets 429 `address_clients_max`. 0 is no limit.",
);

/// `MAX_PLAYS_PER_IP_PER_S`
pub(super) static MAX_PLAYS_PER_IP_PER_S: Variable = acting(
    Group::Limits,
    "MAX_PLAYS_PER_IP_PER_S",
    &[],
    Kind::Decimal { min: 0.0, max: 1000.0 },
    Default::Is("0"),
    "New plays of one address per second, over time; faster gets 429 `address_rate`. 0 is no limit, 0.1 is one play \
     in ten seconds.",
);

/// `MAX_PLAYS_PER_IP_BURST`
pub(super) static MAX_PLAYS_PER_IP_BURST: Variable = acting(
    Group::Limits,
    "MAX_PLAYS_PER_IP_BURST",
    &[],
    count(1, 10_000),
    Default::Is("10"),
    "Plays of one address that may come at once before that rate holds.",
);

/// `MAX_CONNECTIONS`
pub(super) static MAX_CONNECTIONS: Variable = acting(
    Group::Limits,
    "MAX_CONNECTIONS",
    &[],
    count(0, PEOPLE_MAX),
    Default::Is("0"),
    "Accepted connections of every kind, idle ones and API calls included. 0 derives it from the limit of open \
     files, of which an eighth (at least 256) is kept for engines, windows and files.",
);

/// `PROXY_GRACE_PERIOD`
pub(super) static PROXY_GRACE_PERIOD: Variable = acting(
    Group::Timeouts,
    "PROXY_GRACE_PERIOD",
    &["CHANNEL_SHUTDOWN_DELAY_S", "ACEXY_STREAM_GRACE_PERIOD", "STREAM_IDLE_TIMEOUT"],
    seconds(0, HOUR),
    Default::Is("5"),
    "A stream outlives its last player for so long, so that zapping back and probing twice cost nothing. While a play \
     waits for an engine it may be given up after a second.",
);

/// `WARM_CHANNELS`
pub(super) static WARM_CHANNELS: Variable = acting(
    Group::Timeouts,
    "WARM_CHANNELS",
    &[],
    count(0, 1000),
    Default::Is("3"),
    "So many streams, those whose last players left last, outlive them for `WARM_S` instead, so that zapping back to \
     them is a join. They go as soon as a play waits for memory, or for an engine, then the oldest first.",
);

/// `WARM_S`
pub(super) static WARM_S: Variable = acting(
    Group::Timeouts,
    "WARM_S",
    &[],
    seconds(0, HOUR),
    Default::Is("20"),
    "How long those streams outlive their last player. Not longer than `PROXY_GRACE_PERIOD` it has no effect.",
);

/// `START_TIMEOUT_S`
pub(super) static START_TIMEOUT_S: Variable = acting(
    Group::Timeouts,
    "START_TIMEOUT_S",
    &[],
    seconds(SECOND, HOUR),
    Default::Is("45"),
    "A start fails with 504 `start_timeout` so long after the engine last showed progress.",
);

/// `START_TIMEOUT_MAX_S`
pub(super) static START_TIMEOUT_MAX_S: Variable = acting(
    Group::Timeouts,
    "START_TIMEOUT_MAX_S",
    &[],
    seconds(SECOND, HOUR),
    Default::Is("180"),
    "A start fails so long after it began, progress or not. At least `START_TIMEOUT_S`.",
);

/// `NO_RESPONSE_TIMEOUT`
pub(super) static NO_RESPONSE_TIMEOUT: Variable = acting(
    Group::Timeouts,
    "NO_RESPONSE_TIMEOUT",
    &["ACEXY_NO_RESPONSE_TIMEOUT"],
    seconds(100, HOUR),
    Default::Is("10"),
    "An engine counts as hung when it gives no sign of life for so long: no connection, no answer to a health \
     probe. Looking content up and prebuffering are not counted.",
);

/// `EMPTY_TIMEOUT`
pub(super) static EMPTY_TIMEOUT: Variable = acting(
    Group::Timeouts,
    "EMPTY_TIMEOUT",
    &["ACEXY_EMPTY_TIMEOUT", "EMPTY_STREAM_TIMEOUT"],
    seconds(SECOND, HOUR),
    Default::Is("60"),
    "A stream ends after so much total silence, with every attempt to reconnect or to change the engine made \
     meanwhile.",
);

/// `WRITE_TIMEOUT_S`
pub(super) static WRITE_TIMEOUT_S: Variable = acting(
    Group::Timeouts,
    "WRITE_TIMEOUT_S",
    &["CLIENT_TIMEOUT"],
    seconds(SECOND, HOUR),
    Default::Is("30"),
    "A player whose connection takes nothing for so long is closed.",
);

/// `HEAD_TIMEOUT_S`
pub(super) static HEAD_TIMEOUT_S: Variable = acting(
    Group::Timeouts,
    "HEAD_TIMEOUT_S",
    &[],
    seconds(100, 300 * SECOND),
    Default::Is("5"),
    "The head of a request has to be there after so long.",
);

/// `SHUTDOWN_TIMEOUT_S`
pub(super) static SHUTDOWN_TIMEOUT_S: Variable = acting(
    Group::Timeouts,
    "SHUTDOWN_TIMEOUT_S",
    &[],
    seconds(100, 300 * SECOND),
    Default::Is("5"),
    "A graceful shutdown ends players and stops every engine session within so long. A second signal stops at once.",
);

/// `KEEPALIVE_AFTER_MS`
pub(super) static KEEPALIVE_AFTER_MS: Variable = acting(
    Group::Timeouts,
    "KEEPALIVE_AFTER_MS",
    &[],
    milliseconds(100, 60 * SECOND),
    Default::Is("1500"),
    "After so much silence players that have everything get null packets, so that they do not give up.",
);

/// `KEEPALIVE_INTERVAL_MS`
pub(super) static KEEPALIVE_INTERVAL_MS: Variable = acting(
    Group::Timeouts,
    "KEEPALIVE_INTERVAL_MS",
    &[],
    milliseconds(50, 60 * SECOND),
    Default::Is("500"),
    "Distance of those null packets.",
);

/// `STATIC_ENGINES`
pub(super) static STATIC_ENGINES: Variable = acting(
    Group::Engines,
    "STATIC_ENGINES",
    &[],
    Kind::Text("host:port or host:port@group, separated by commas"),
    Default::Means("none"),
    "Engines that exist already. Without a port it is 6878. Engines of one group share what may take them all away, such as a VPN: \
     a second engine for a stream is taken from another group if there is one, and a group whose engines are silent together is left.",
);

/// `ACEXY_HOST`
pub(super) static ACEXY_HOST: Variable = acting(
    Group::Engines,
    "ACEXY_HOST",
    &[],
    Kind::Text("a host name or address"),
    Default::Means("`localhost`, when `ACEXY_PORT` is set or there is no engine and no Docker"),
    "One more engine that exists already. Every other engine is preferred to it.",
);

/// `ACEXY_PORT`
pub(super) static ACEXY_PORT: Variable = acting(
    Group::Engines,
    "ACEXY_PORT",
    &[],
    count(1, 65_535),
    Default::Is("6878"),
    "Port of the `ACEXY_HOST` engine.",
);

/// `MAX_STREAMS_PER_ENGINE`
pub(super) static MAX_STREAMS_PER_ENGINE: Variable = acting(
    Group::Engines,
    "MAX_STREAMS_PER_ENGINE",
    &["ACEXY_MAX_STREAMS_PER_ENGINE"],
    count(1, 1000),
    Default::Means("no limit"),
    "Streams one engine carries at a time; when all are full a new stream gets 503 `max_capacity`.",
);

/// `ENGINE_WAIT_S`
pub(super) static ENGINE_WAIT_S: Variable = acting(
    Group::Engines,
    "ENGINE_WAIT_S",
    &["ENGINE_SELECTION_TIMEOUT"],
    seconds(SECOND, 10 * 60 * SECOND),
    Default::Is("45"),
    "A play request waits so long for an engine, first come, first served, and calls for another one meanwhile. Then it gets 503 with the cause.",
);

/// `ENGINE_SELECTION`
pub(super) static ENGINE_SELECTION: Variable = acting(
    Group::Engines,
    "ENGINE_SELECTION",
    &[],
    Kind::Choice(&["score", "spread"]),
    Default::Is("score"),
    "Which of several engines a stream gets. `score`: the highest of `ENGINE_FORWARDED_BONUS` for the engine with its VPN's \
     forwarded port minus `ENGINE_STREAM_COST` for each stream it has; `spread`: the fewest streams, then the one with the \
     forwarded port. Among equals the longest unused; engines in doubt come last.",
);

/// `ENGINE_FORWARDED_BONUS`
pub(super) static ENGINE_FORWARDED_BONUS: Variable = acting(
    Group::Engines,
    "ENGINE_FORWARDED_BONUS",
    &[],
    count(0, 1_000_000),
    Default::Is("1000"),
    "What its VPN's forwarded port is worth to an engine when one is chosen.",
);

/// `ENGINE_STREAM_COST`
pub(super) static ENGINE_STREAM_COST: Variable = acting(
    Group::Engines,
    "ENGINE_STREAM_COST",
    &[],
    count(0, 1_000_000),
    Default::Is("10"),
    "What each stream on an engine, active or about to be, costs it when one is chosen.",
);

/// `WARM_SPARE_CLIENTS_MIN`
pub(super) static WARM_SPARE_CLIENTS_MIN: Variable = acting(
    Group::Engines,
    "WARM_SPARE_CLIENTS_MIN",
    &[],
    count(0, PEOPLE_MAX),
    Default::Is("0"),
    "From that many players of a stream on, a second engine session of it is kept open and takes over at once when the \
     first goes. Costs one more stream on another engine. 0 is never.",
);

/// `ENGINE_USER_AGENT`
pub(super) static ENGINE_USER_AGENT: Variable = acting(
    Group::Engines,
    "ENGINE_USER_AGENT",
    &[],
    Kind::Text("printable ASCII, at most 256 characters"),
    Default::Is("VLC/3.0.21 LibVLC/3.0.21"),
    "`User-Agent` of requests to engines. The default is what engines have met for years.",
);

/// `ENGINE_PROVISIONING`
pub(super) static ENGINE_PROVISIONING: Variable = acting(
    Group::Docker,
    "ENGINE_PROVISIONING",
    &[],
    Kind::Choice(&["auto", "on", "off"]),
    Default::Is("auto"),
    "Whether engines are kept in Docker. `auto` does unless engines are named (`STATIC_ENGINES`, `ACEXY_HOST`, `ACEXY_PORT`) \
     and nothing is said of engines in Docker (`DOCKER_HOST`, `ENGINE_VARIANT`, `MIN_REPLICAS`, `MAX_REPLICAS`). When \
     nothing is said of either and there is no Docker, an engine at `localhost:6878` is used until there is one.",
);

/// `DOCKER_HOST`
pub(super) static DOCKER_HOST: Variable = acting(
    Group::Docker,
    "DOCKER_HOST",
    &[],
    Kind::Text("unix:///path or tcp://host:port"),
    Default::Means("`unix:///var/run/docker.sock`"),
    "Where Docker is. On another machine, engines are reached there on their published ports.",
);

/// `DOCKER_TLS_VERIFY`
pub(super) static DOCKER_TLS_VERIFY: Variable = acting(
    Group::Docker,
    "DOCKER_TLS_VERIFY",
    &[],
    Kind::Text("anything means yes"),
    Default::Means("plain TCP"),
    "Speak TLS to a Docker at `tcp://`. Needs `DOCKER_CERT_PATH`.",
);

/// `DOCKER_CERT_PATH`
pub(super) static DOCKER_CERT_PATH: Variable = acting(
    Group::Docker,
    "DOCKER_CERT_PATH",
    &[],
    Kind::Text("a directory"),
    Default::Means("not set"),
    "Where `ca.pem`, `cert.pem` and `key.pem` are.",
);

/// `ENGINE_NETWORK`
pub(super) static ENGINE_NETWORK: Variable = acting(
    Group::Docker,
    "ENGINE_NETWORK",
    &["DOCKER_NETWORK"],
    Kind::Text("host, bridge, or the name of a network"),
    Default::Means("this container's own network, or `bridge`"),
    "Where engines are attached. With `host` they may open ports in a router by UPnP, and nothing is published.",
);

/// `ENGINE_PUBLISH_ADDR`
pub(super) static ENGINE_PUBLISH_ADDR: Variable = acting(
    Group::Docker,
    "ENGINE_PUBLISH_ADDR",
    &[],
    Kind::Text("an IPv4 or IPv6 address"),
    Default::Means("127.0.0.1, or 0.0.0.0 when Docker is on another machine"),
    "Address of Docker's host on which the engines' HTTP ports are published. Whoever reaches it controls the engines.",
);

/// `CONTAINER_LABEL`
pub(super) static CONTAINER_LABEL: Variable = acting(
    Group::Docker,
    "CONTAINER_LABEL",
    &[],
    Kind::Text("key=value"),
    Default::Is("ondemand.app=myservice"),
    "Label of every container made here, and of those taken over at start.",
);

/// `INSTANCE_ID`
pub(super) static INSTANCE_ID: Variable = acting(
    Group::Docker,
    "INSTANCE_ID",
    &[],
    Kind::Text("letters, digits, dots and dashes, at most 64"),
    Default::Means("made once and kept in `DATA_DIR`"),
    "Marks engines as those of this appliance. Another one on the same Docker leaves them alone.",
);

/// `ENGINE_VARIANT`
pub(super) static ENGINE_VARIANT: Variable = acting(
    Group::Docker,
    "ENGINE_VARIANT",
    &[],
    Kind::Choice(&[
        "krinkuto11-amd64",
        "jopsis-amd64",
        "jopsis-arm32",
        "jopsis-arm64",
        "AceServe-amd64",
        "AceServe-arm32",
        "AceServe-arm64",
    ]),
    Default::Means("by Docker's architecture: `krinkuto11-amd64`, `jopsis-arm64` or `jopsis-arm32`"),
    "What engines are made from.",
);

/// `ENGINE_ARM32_VERSION`
pub(super) static ENGINE_ARM32_VERSION: Variable = acting(
    Group::Docker,
    "ENGINE_ARM32_VERSION",
    &[],
    Kind::Text("a tag"),
    Default::Is("arm32-v3.2.13"),
    "Tag of the image of `jopsis-arm32`.",
);

/// `ENGINE_ARM64_VERSION`
pub(super) static ENGINE_ARM64_VERSION: Variable = acting(
    Group::Docker,
    "ENGINE_ARM64_VERSION",
    &[],
    Kind::Text("a tag"),
    Default::Is("arm64-v3.2.13"),
    "Tag of the image of `jopsis-arm64`.",
);

/// `ENGINE_MEMORY_LIMIT`
pub(super) static ENGINE_MEMORY_LIMIT: Variable = acting(
    Group::Docker,
    "ENGINE_MEMORY_LIMIT",
    &[],
    Kind::Text("a number with b, k, m or g, 32m to 128g, or 0"),
    Default::Means("no limit"),
    "Memory an engine may use; 0 is no limit.",
);

/// `IMAGE_PULL_TIMEOUT_S`
pub(super) static IMAGE_PULL_TIMEOUT_S: Variable = acting(
    Group::Docker,
    "IMAGE_PULL_TIMEOUT_S",
    &[],
    seconds(SECOND, 24 * HOUR),
    Default::Is("900"),
    "How long a missing image may take to be pulled.",
);

/// `ENGINE_CACHE_MAX_MIB`
pub(super) static ENGINE_CACHE_MAX_MIB: Variable = acting(
    Group::Docker,
    "ENGINE_CACHE_MAX_MIB",
    &[],
    count(0, 1 << 30),
    Default::Is("1024"),
    "A cache on disk above this many MiB is emptied as soon as its engine has no stream; after the last stream of an engine \
     it is emptied anyway. 0 is no bound.",
);

/// `PORT_RANGE_HOST`
pub(super) static PORT_RANGE_HOST: Variable = acting(
    Group::Docker,
    "PORT_RANGE_HOST",
    &[],
    Kind::Text("low-high"),
    Default::Is("19000-19999"),
    "Ports for the engines' HTTP, the same inside and outside.",
);

/// `ACE_HTTPS_RANGE`
pub(super) static ACE_HTTPS_RANGE: Variable = acting(
    Group::Docker,
    "ACE_HTTPS_RANGE",
    &[],
    Kind::Text("low-high"),
    Default::Is("45000-49999"),
    "Ports for the engines' HTTPS, inside their containers.",
);

/// `ACE_MAP_HTTPS`
pub(super) static ACE_MAP_HTTPS: Variable = acting(
    Group::Docker,
    "ACE_MAP_HTTPS",
    &[],
    Kind::Switch,
    Default::Is("false"),
    "Publishes HTTPS too, on another port of `PORT_RANGE_HOST`.",
);

/// `P2P_PORT_RANGE`
pub(super) static P2P_PORT_RANGE: Variable = acting(
    Group::Docker,
    "P2P_PORT_RANGE",
    &[],
    Kind::Text("low-high"),
    Default::Means("every engine uses its own default"),
    "Gives each engine a P2P port of its own, published for TCP and UDP on all addresses.",
);

/// `STARTUP_TIMEOUT_S`
pub(super) static STARTUP_TIMEOUT_S: Variable = acting(
    Group::Docker,
    "STARTUP_TIMEOUT_S",
    &[],
    seconds(SECOND, HOUR),
    Default::Is("60"),
    "From a container's start to the engine's first answer. One that takes longer is removed and counts as failed.",
);

/// `MONITOR_INTERVAL_S`
pub(super) static MONITOR_INTERVAL_S: Variable = acting(
    Group::Docker,
    "MONITOR_INTERVAL_S",
    &[],
    seconds(SECOND, HOUR),
    Default::Is("10"),
    "Between two looks at all containers. Docker's own events make one come at once.",
);

/// `HEALTH_UNHEALTHY_GRACE_PERIOD_S`
pub(super) static HEALTH_UNHEALTHY_GRACE_PERIOD_S: Variable = acting(
    Group::Docker,
    "HEALTH_UNHEALTHY_GRACE_PERIOD_S",
    &[],
    seconds(0, 24 * HOUR),
    Default::Is("60"),
    "An engine that does not answer for so long is replaced. Its streams move at once.",
);

/// `HEALTH_REPLACEMENT_COOLDOWN_S`
pub(super) static HEALTH_REPLACEMENT_COOLDOWN_S: Variable = acting(
    Group::Docker,
    "HEALTH_REPLACEMENT_COOLDOWN_S",
    &[],
    seconds(0, 24 * HOUR),
    Default::Is("60"),
    "Between two replacements.",
);

/// `CIRCUIT_BREAKER_FAILURE_THRESHOLD`
pub(super) static CIRCUIT_BREAKER_FAILURE_THRESHOLD: Variable = acting(
    Group::Docker,
    "CIRCUIT_BREAKER_FAILURE_THRESHOLD",
    &[],
    count(1, 1000),
    Default::Is("5"),
    "After so many failed starts in a row no engine is started for a while.",
);

/// `CIRCUIT_BREAKER_RECOVERY_TIMEOUT_S`
pub(super) static CIRCUIT_BREAKER_RECOVERY_TIMEOUT_S: Variable = acting(
    Group::Docker,
    "CIRCUIT_BREAKER_RECOVERY_TIMEOUT_S",
    &[],
    seconds(SECOND, 24 * HOUR),
    Default::Is("300"),
    "For so long; then one start is tried.",
);

/// `CIRCUIT_BREAKER_REPLACEMENT_THRESHOLD`
pub(super) static CIRCUIT_BREAKER_REPLACEMENT_THRESHOLD: Variable = acting(
    Group::Docker,
    "CIRCUIT_BREAKER_REPLACEMENT_THRESHOLD",
    &[],
    count(1, 1000),
    Default::Is("3"),
    "The same for replacements.",
);

/// `CIRCUIT_BREAKER_REPLACEMENT_TIMEOUT_S`
pub(super) static CIRCUIT_BREAKER_REPLACEMENT_TIMEOUT_S: Variable = acting(
    Group::Docker,
    "CIRCUIT_BREAKER_REPLACEMENT_TIMEOUT_S",
    &[],
    seconds(SECOND, 24 * HOUR),
    Default::Is("180"),
    "The same for replacements.",
);

/// `MIN_REPLICAS`
pub(super) static MIN_REPLICAS: Variable =
    acting(Group::Scaling, "MIN_REPLICAS", &[], count(0, 1000), Default::Is("2"), "Engines kept at least.");

/// `MAX_REPLICAS`
pub(super) static MAX_REPLICAS: Variable = acting(
    Group::Scaling,
    "MAX_REPLICAS",
    &[],
    count(1, 1000),
    Default::Is("6"),
    "Engines at most; always holds. When all are full a new stream gets 503 `max_capacity`.",
);

/// `MAX_SURGE`
pub(super) static MAX_SURGE: Variable = acting(
    Group::Scaling,
    "MAX_SURGE",
    &[],
    count(0, 1000),
    Default::Is("0"),
    "Engines above `MAX_REPLICAS` while one is replaced. With 0 the old one stops before the new one starts once there are `MAX_REPLICAS`.",
);

/// `MIN_FREE_REPLICAS`
pub(super) static MIN_FREE_REPLICAS: Variable = acting(
    Group::Scaling,
    "MIN_FREE_REPLICAS",
    &[],
    count(0, 1000),
    Default::Is("1"),
    "Engines without a stream that are not removed.",
);

/// `AUTO_DELETE`
pub(super) static AUTO_DELETE: Variable = acting(
    Group::Scaling,
    "AUTO_DELETE",
    &[],
    Kind::Switch,
    Default::Is("true"),
    "Removes engines nobody needs.",
);

/// `ENGINE_GRACE_PERIOD_S`
pub(super) static ENGINE_GRACE_PERIOD_S: Variable = acting(
    Group::Scaling,
    "ENGINE_GRACE_PERIOD_S",
    &[],
    seconds(SECOND, 24 * HOUR),
    Default::Is("30"),
    "How long an engine must not be needed before it is removed.",
);

/// `MAX_CONCURRENT_PROVISIONS`
pub(super) static MAX_CONCURRENT_PROVISIONS: Variable = acting(
    Group::Scaling,
    "MAX_CONCURRENT_PROVISIONS",
    &[],
    count(1, 1000),
    Default::Is("5"),
    "Containers made at the same time.",
);

/// `MIN_PROVISION_INTERVAL_S`
pub(super) static MIN_PROVISION_INTERVAL_S: Variable = acting(
    Group::Scaling,
    "MIN_PROVISION_INTERVAL_S",
    &[],
    seconds(0, 10 * 60 * SECOND),
    Default::Is("0"),
    "Between two beginnings; with 0 only `MAX_CONCURRENT_PROVISIONS` holds them back.",
);

/// `AUTOSCALE_INTERVAL_S`
pub(super) static AUTOSCALE_INTERVAL_S: Variable = Variable {
    name: "AUTOSCALE_INTERVAL_S",
    aliases: &[],
    group: Group::Scaling,
    kind: seconds(0, 24 * HOUR),
    default: Default::Means("not set"),
    meaning: "No effect: engines are added and removed when something changes, not by the clock.",
    effect: Effect::Nothing("engines are added and removed when something changes, not by the clock"),
};

/// `GLUETUN_CONTAINER_NAME`
pub(super) static GLUETUN_CONTAINER_NAME: Variable = acting(
    Group::Vpn,
    "GLUETUN_CONTAINER_NAME",
    &[],
    Kind::Text("a container's name"),
    Default::Means("no VPN"),
    "Asks for engines behind this VPN container. Not supported yet: no engine is used at all, and play requests get 503 `vpn_not_supported`.",
);

/// `VPN_MODE`
pub(super) static VPN_MODE: Variable = acting(
    Group::Vpn,
    "VPN_MODE",
    &[],
    Kind::Choice(&["single", "redundant"]),
    Default::Is("single"),
    "`redundant` asks for engines behind two VPN containers. Not supported yet, as above.",
);

/// `CHANNELS_FILE`
pub(super) static CHANNELS_FILE: Variable = acting(
    Group::General,
    "CHANNELS_FILE",
    &[],
    Kind::Text("a TOML file, or a JSON file when its name ends in .json"),
    Default::Means("no channels"),
    "Names for programmes, each with the ids it can be had under, best first: `news = [\"<content id>\", \
     \"infohash:<infohash>\"]`. `/ace/getstream?channel=news` plays the first that can be had, and goes on with the next when \
     it fails. A changed file is taken within seconds; one with a fault is told in the log and changes nothing.",
);

/// `STRICT_PID`
pub(super) static STRICT_PID: Variable = acting(
    Group::General,
    "STRICT_PID",
    &[],
    Kind::Switch,
    Default::Is("false"),
    "Answers a play request that carries `pid` with 400, as acexy does. Otherwise `pid` is ignored.",
);

/// `PROXY_STREAM_MODE`
pub(super) static PROXY_STREAM_MODE: Variable = acting(
    Group::General,
    "PROXY_STREAM_MODE",
    &["STREAM_MODE"],
    Kind::Choice(&["TS", "HLS"]),
    Default::Is("TS"),
    "What `/ace/getstream` gives. With `HLS` it sends players to `/ace/manifest.m3u8`, whatever the engine; that address \
     itself is there in either mode.",
);

/// `DATA_DIR`
pub(super) static DATA_DIR: Variable = acting(
    Group::General,
    "DATA_DIR",
    &[],
    Kind::Text("a directory"),
    Default::Is("./data"),
    "Where everything lives that survives a restart; made when missing, and used by one instance at a time. With `--demo` \
     nothing is kept.",
);

/// `API_KEY`
pub(super) static API_KEY: Variable = acting(
    Group::General,
    "API_KEY",
    &[],
    Kind::Secret,
    Default::Means("generated on first start"),
    "Bearer key for routes that change something. `API_KEY=` with nothing behind it means open.",
);

/// `READS_NEED_KEY`
pub(super) static READS_NEED_KEY: Variable = acting(
    Group::General,
    "READS_NEED_KEY",
    &[],
    Kind::Switch,
    Default::Is("false"),
    "Asks for the key on routes that only read, too. Playing, health and the panel's pages stay open.",
);

/// `SETTINGS`
pub(super) static SETTINGS: Variable = acting(
    Group::General,
    "SETTINGS",
    &[],
    Kind::Choice(&["api", "env"]),
    Default::Is("api"),
    "With `env`, what the environment says holds and nothing can be changed through the API. Otherwise a change through the \
     API holds until the variable says something else than it did then.",
);

/// `CORS_ORIGIN`
pub(super) static CORS_ORIGIN: Variable = acting(
    Group::General,
    "CORS_ORIGIN",
    &[],
    Kind::Text("`*` or one origin, such as `https://tv.example`"),
    Default::Is("*"),
    "Pages of which origin may read the REST API in a browser.",
);

/// `COLLECT_INTERVAL_S`
pub(super) static COLLECT_INTERVAL_S: Variable = acting(
    Group::General,
    "COLLECT_INTERVAL_S",
    &[],
    seconds(1_000, 60_000),
    Default::Is("1"),
    "Between two looks at the figures of a stream that another proxy reported. Those of our own streams come each second.",
);

/// `STATS_HISTORY_MAX`
pub(super) static STATS_HISTORY_MAX: Variable = acting(
    Group::General,
    "STATS_HISTORY_MAX",
    &[],
    count(1, 100_000),
    Default::Is("720"),
    "Figures kept in memory per stream; with more than some 300 streams, less. Means of ten seconds are kept on disk.",
);

/// `STREAM_LOOP_DETECTION_ENABLED`
pub(super) static STREAM_LOOP_DETECTION_ENABLED: Variable = acting(
    Group::General,
    "STREAM_LOOP_DETECTION_ENABLED",
    &[],
    Kind::Switch,
    Default::Is("false"),
    "Stops live streams that do not go on: their live edge is behind, stands still, or repeats itself. Then they are not \
     played until taken off the list, `/looping-streams`. This and the next three can be changed while streams play, \
     `POST /stream-loop-detection/config`, which holds until the value here is another one.",
);

/// `STREAM_LOOP_DETECTION_THRESHOLD_S`
pub(super) static STREAM_LOOP_DETECTION_THRESHOLD_S: Variable = acting(
    Group::General,
    "STREAM_LOOP_DETECTION_THRESHOLD_S",
    &[],
    seconds(60_000, 30 * 24 * 3_600_000),
    Default::Is("3600"),
    "How long nothing new may come.",
);

/// `STREAM_LOOP_CHECK_INTERVAL_S`
pub(super) static STREAM_LOOP_CHECK_INTERVAL_S: Variable = acting(
    Group::General,
    "STREAM_LOOP_CHECK_INTERVAL_S",
    &[],
    seconds(1_000, 24 * 3_600_000),
    Default::Is("10"),
    "Between two looks for such streams; it takes two that find the same.",
);

/// `STREAM_LOOP_RETENTION_MINUTES`
pub(super) static STREAM_LOOP_RETENTION_MINUTES: Variable = acting(
    Group::General,
    "STREAM_LOOP_RETENTION_MINUTES",
    &[],
    count(0, 5_256_000),
    Default::Is("0"),
    "How long a stream stays on the list after it was last found; 0 is for ever.",
);

/// `LOG_LEVEL`
pub(super) static LOG_LEVEL: Variable = acting(
    Group::General,
    "LOG_LEVEL",
    &["ACEXY_LOG_LEVEL"],
    Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
    Default::Means("`info`, or `debug` with `DEBUG_MODE=true`"),
    "How much is logged, to standard error.",
);

/// `DEBUG_MODE`
pub(super) static DEBUG_MODE: Variable = acting(
    Group::General,
    "DEBUG_MODE",
    &[],
    Kind::Switch,
    Default::Is("false"),
    "Writes down what happens and why, as JSON Lines in `DEBUG_LOG_DIR` (see `docs/DEBUG_MODE.md`), and logs at `debug` unless \
     `LOG_LEVEL` says otherwise.",
);

/// `DEBUG_LOG_DIR`
pub(super) static DEBUG_LOG_DIR: Variable = acting(
    Group::General,
    "DEBUG_LOG_DIR",
    &[],
    Kind::Text("a directory"),
    Default::Means("`debug_logs` in `DATA_DIR`"),
    "Where debug mode writes: at most 8 files of 8 MiB.",
);

/// `LOG_FORMAT`
pub(super) static LOG_FORMAT: Variable = acting(
    Group::General,
    "LOG_FORMAT",
    &[],
    Kind::Choice(&["text", "json"]),
    Default::Is("text"),
    "Form of the log: lines for people, or one JSON object a line.",
);

/// `OTLP_ENDPOINT`
pub(super) static OTLP_ENDPOINT: Variable = acting(
    Group::General,
    "OTLP_ENDPOINT",
    &["OTEL_EXPORTER_OTLP_ENDPOINT"],
    Kind::Text("http://host:port"),
    Default::Means("nowhere"),
    "Where traces of plays are sent, as OTLP over HTTP in JSON; the port is 4318 and the path `/v1/traces` when left out.",
);

/// `ACEXY_SCHEME`
pub(super) static ACEXY_SCHEME: Variable = acting(
    Group::Acexy,
    "ACEXY_SCHEME",
    &[],
    Kind::Choice(&["http"]),
    Default::Is("http"),
    "Engines speak plain HTTP. Any other scheme is refused at start: put a proxy that ends TLS beside the engine and \
     name its plain address in `ACEXY_HOST`.",
);

/// `ACEXY_ORCH_URL`
pub(super) static ACEXY_ORCH_URL: Variable = Variable {
    name: "ACEXY_ORCH_URL",
    aliases: &["ORCH_URL"],
    group: Group::Acexy,
    kind: Kind::Text("a URL"),
    default: Default::Means("not set"),
    meaning: "Refused at start: there is no separate orchestrator any more.",
    effect: Effect::Refused("this program is the orchestrator; remove it and name engines in STATIC_ENGINES"),
};

/// `ACEXY_ORCH_APIKEY`
pub(super) static ACEXY_ORCH_APIKEY: Variable = Variable {
    name: "ACEXY_ORCH_APIKEY",
    aliases: &["ORCH_APIKEY"],
    group: Group::Acexy,
    kind: Kind::Secret,
    default: Default::Means("not set"),
    meaning: "Refused at start: there is no separate orchestrator any more.",
    effect: Effect::Refused(
        "this program is the orchestrator; remove it, and set API_KEY to guard its own routes",
    ),
};

/// `ACEXY_M3U8`
pub(super) static ACEXY_M3U8: Variable = acting(
    Group::Acexy,
    "ACEXY_M3U8",
    &[],
    Kind::Switch,
    Default::Is("false"),
    "The same as `PROXY_STREAM_MODE=HLS`.",
);

/// `ACEXY_M3U8_STREAM_TIMEOUT`
pub(super) static ACEXY_M3U8_STREAM_TIMEOUT: Variable = acting(
    Group::Acexy,
    "ACEXY_M3U8_STREAM_TIMEOUT",
    &["ACEXY_TIMEOUT"],
    seconds(0, 24 * HOUR),
    Default::Means("15 s"),
    "An HLS player that has asked for nothing for so long has left; three target durations at least. \
     `PROXY_GRACE_PERIOD` begins then.",
);

/// `ACEXY_CONTAINER_ID`
pub(super) static ACEXY_CONTAINER_ID: Variable = Variable {
    name: "ACEXY_CONTAINER_ID",
    aliases: &[],
    group: Group::Acexy,
    kind: Kind::Text("a container id"),
    default: Default::Means("not set"),
    meaning: "No effect: it told a separate orchestrator which container had opened a stream.",
    effect: Effect::Nothing("it told a separate orchestrator which container had opened a stream"),
};

/// Every variable, in the order of the reference page.
pub static ALL: &[&Variable] = &[
    &BIND_ADDR,
    &APP_PORT,
    &ACEXY_LISTEN_ADDR,
    &TRUSTED_PROXIES,
    &PROXY_PROTOCOL,
    &SHARDS,
    &DRIVER,
    &PROFILE,
    &TICK_MS,
    &HOT_SESSION_CLIENTS,
    &WINDOW_TOTAL_MIB,
    &JOIN_BEHIND_S,
    &ACEXY_BUFFER,
    &SLOW_CLIENT,
    &SLOW_CLIENT_LAG_S,
    &SLOW_CLIENT_LAG_MIB,
    &MAX_CLIENTS,
    &MAX_CLIENTS_PER_STREAM,
    &MAX_CLIENTS_PER_IP,
    &MAX_PLAYS_PER_IP_PER_S,
    &MAX_PLAYS_PER_IP_BURST,
    &MAX_CONNECTIONS,
    &PROXY_GRACE_PERIOD,
    &WARM_CHANNELS,
    &WARM_S,
    &START_TIMEOUT_S,
    &START_TIMEOUT_MAX_S,
    &NO_RESPONSE_TIMEOUT,
    &EMPTY_TIMEOUT,
    &WRITE_TIMEOUT_S,
    &HEAD_TIMEOUT_S,
    &SHUTDOWN_TIMEOUT_S,
    &KEEPALIVE_AFTER_MS,
    &KEEPALIVE_INTERVAL_MS,
    &STATIC_ENGINES,
    &ACEXY_HOST,
    &ACEXY_PORT,
    &MAX_STREAMS_PER_ENGINE,
    &ENGINE_WAIT_S,
    &ENGINE_SELECTION,
    &ENGINE_FORWARDED_BONUS,
    &ENGINE_STREAM_COST,
    &WARM_SPARE_CLIENTS_MIN,
    &ENGINE_USER_AGENT,
    &ENGINE_PROVISIONING,
    &DOCKER_HOST,
    &DOCKER_TLS_VERIFY,
    &DOCKER_CERT_PATH,
    &ENGINE_NETWORK,
    &ENGINE_PUBLISH_ADDR,
    &CONTAINER_LABEL,
    &INSTANCE_ID,
    &ENGINE_VARIANT,
    &ENGINE_ARM32_VERSION,
    &ENGINE_ARM64_VERSION,
    &ENGINE_MEMORY_LIMIT,
    &IMAGE_PULL_TIMEOUT_S,
    &ENGINE_CACHE_MAX_MIB,
    &PORT_RANGE_HOST,
    &ACE_HTTPS_RANGE,
    &ACE_MAP_HTTPS,
    &P2P_PORT_RANGE,
    &STARTUP_TIMEOUT_S,
    &MONITOR_INTERVAL_S,
    &HEALTH_UNHEALTHY_GRACE_PERIOD_S,
    &HEALTH_REPLACEMENT_COOLDOWN_S,
    &CIRCUIT_BREAKER_FAILURE_THRESHOLD,
    &CIRCUIT_BREAKER_RECOVERY_TIMEOUT_S,
    &CIRCUIT_BREAKER_REPLACEMENT_THRESHOLD,
    &CIRCUIT_BREAKER_REPLACEMENT_TIMEOUT_S,
    &MIN_REPLICAS,
    &MAX_REPLICAS,
    &MAX_SURGE,
    &MIN_FREE_REPLICAS,
    &AUTO_DELETE,
    &ENGINE_GRACE_PERIOD_S,
    &MAX_CONCURRENT_PROVISIONS,
    &MIN_PROVISION_INTERVAL_S,
    &AUTOSCALE_INTERVAL_S,
    &GLUETUN_CONTAINER_NAME,
    &VPN_MODE,
    &CHANNELS_FILE,
    &STRICT_PID,
    &PROXY_STREAM_MODE,
    &DATA_DIR,
    &API_KEY,
    &READS_NEED_KEY,
    &SETTINGS,
    &CORS_ORIGIN,
    &COLLECT_INTERVAL_S,
    &STATS_HISTORY_MAX,
    &STREAM_LOOP_DETECTION_ENABLED,
    &STREAM_LOOP_DETECTION_THRESHOLD_S,
    &STREAM_LOOP_CHECK_INTERVAL_S,
    &STREAM_LOOP_RETENTION_MINUTES,
    &LOG_LEVEL,
    &DEBUG_MODE,
    &DEBUG_LOG_DIR,
    &LOG_FORMAT,
    &OTLP_ENDPOINT,
    &ACEXY_SCHEME,
    &ACEXY_ORCH_URL,
    &ACEXY_ORCH_APIKEY,
    &ACEXY_M3U8,
    &ACEXY_M3U8_STREAM_TIMEOUT,
    &ACEXY_CONTAINER_ID,
    &inert::IDLE_TTL_S,
    &inert::MAX_ACTIVE_REPLICAS,
    &inert::ACE_HTTP_RANGE,
    &inert::PROXY_MODE,
    &inert::ORCHESTRATOR_URL,
    &inert::PROXY_CLIENT_WAIT_TIMEOUT,
    &inert::PROXY_STREAM_TIMEOUT,
    &inert::PROXY_CHUNK_TIMEOUT,
    &inert::PROXY_INITIAL_BEHIND_CHUNKS,
    &inert::PROXY_CLEANUP_CHECK_INTERVAL,
    &inert::PROXY_KEEPALIVE_INTERVAL,
    &inert::PROXY_MAX_RETRIES,
    &inert::PROXY_RETRY_WAIT_INTERVAL,
    &inert::PROXY_HEALTH_CHECK_INTERVAL,
];

/// Every spelling of every variable.
pub(super) fn every_name() -> impl Iterator<Item = &'static str> {
    ALL.iter().flat_map(|variable| variable.spellings())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_name_stands_twice_and_groups_are_contiguous() {
        let mut seen = HashSet::new();
        for name in every_name() {
            assert!(seen.insert(name), "{name} stands twice");
        }
        let groups: Vec<Group> = ALL.iter().map(|variable| variable.group).collect();
        let mut distinct = groups.clone();
        distinct.dedup();
        assert_eq!(distinct, Group::ALL);
    }
}
