//! The one table of every variable: name, aliases, kind, bounds, default, meaning.
//!
//! Reading, `--help` and the reference page all go by it, so a variable that is not here does not exist. Order is the
//! order of the reference page.

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
    /// Everything else that acts.
    General,
    /// Names of acexy that have another or no effect here.
    Acexy,
}

impl Group {
    /// All headings in order.
    pub const ALL: [Self; 8] = [
        Self::Listening,
        Self::Shards,
        Self::Window,
        Self::Limits,
        Self::Timeouts,
        Self::Engines,
        Self::General,
        Self::Acexy,
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
            Self::General => "General",
            Self::Acexy => "Names of acexy that act differently or not at all",
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

/// `TICK_MS`
pub(super) static TICK_MS: Variable = acting(
    Group::Shards,
    "TICK_MS",
    &[],
    milliseconds(5, SECOND),
    Default::Means("50 ms, stretching to 200 ms as a shard fills"),
    "Rhythm in which players are sent what is new. Longer costs less CPU per byte.",
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
    &["CHANNEL_SHUTDOWN_DELAY_S", "ACEXY_STREAM_GRACE_PERIOD"],
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
    &["ACEXY_EMPTY_TIMEOUT"],
    seconds(SECOND, HOUR),
    Default::Is("60"),
    "A stream ends after so much total silence, with every attempt to reconnect or to change the engine made \
     meanwhile.",
);

/// `WRITE_TIMEOUT_S`
pub(super) static WRITE_TIMEOUT_S: Variable = acting(
    Group::Timeouts,
    "WRITE_TIMEOUT_S",
    &[],
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
    Kind::Text("host:port, separated by commas"),
    Default::Means("none"),
    "Engines that exist already. Without a port it is 6878.",
);

/// `ACEXY_HOST`
pub(super) static ACEXY_HOST: Variable = acting(
    Group::Engines,
    "ACEXY_HOST",
    &[],
    Kind::Text("a host name or address"),
    Default::Means("`localhost`, when no engine is named at all or `ACEXY_PORT` is set"),
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

/// `ENGINE_USER_AGENT`
pub(super) static ENGINE_USER_AGENT: Variable = acting(
    Group::Engines,
    "ENGINE_USER_AGENT",
    &[],
    Kind::Text("printable ASCII, at most 256 characters"),
    Default::Is("VLC/3.0.21 LibVLC/3.0.21"),
    "`User-Agent` of requests to engines. The default is what engines have met for years.",
);

/// `CHANNELS_FILE`
pub(super) static CHANNELS_FILE: Variable = acting(
    Group::General,
    "CHANNELS_FILE",
    &[],
    Kind::Text("a TOML file, or a JSON file when its name ends in .json"),
    Default::Means("no names"),
    "Names for broadcasts, each with the ids it can be had under, best first: `news = [\"<content id>\", \
     \"infohash:<infohash>\"]`. `/ace/getstream?channel=news` plays the first that starts. Read once, at start.",
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

/// `DATA_DIR`
pub(super) static DATA_DIR: Variable = acting(
    Group::General,
    "DATA_DIR",
    &[],
    Kind::Text("a directory"),
    Default::Is("./data"),
    "Where everything lives that survives a restart.",
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
    "Logs at `debug` unless `LOG_LEVEL` says otherwise.",
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
pub(super) static ACEXY_M3U8: Variable = Variable {
    name: "ACEXY_M3U8",
    aliases: &[],
    group: Group::Acexy,
    kind: Kind::Switch,
    default: Default::Is("false"),
    meaning: "No effect: `/ace/getstream` always answers MPEG-TS. The URL decides the form, not a setting.",
    effect: Effect::Nothing("/ace/getstream always answers MPEG-TS; the URL decides the form, not a setting"),
};

/// `ACEXY_M3U8_STREAM_TIMEOUT`
pub(super) static ACEXY_M3U8_STREAM_TIMEOUT: Variable = Variable {
    name: "ACEXY_M3U8_STREAM_TIMEOUT",
    aliases: &["ACEXY_TIMEOUT"],
    group: Group::Acexy,
    kind: seconds(0, 24 * HOUR),
    default: Default::Means("not set"),
    meaning: "No effect: it ended idle streams of acexy's playlist mode. `PROXY_GRACE_PERIOD` ends idle streams here.",
    effect: Effect::Nothing("it belongs to acexy's playlist mode; PROXY_GRACE_PERIOD ends idle streams here"),
};

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

/// `DEBUG_LOG_DIR`
pub(super) static DEBUG_LOG_DIR: Variable = Variable {
    name: "DEBUG_LOG_DIR",
    aliases: &[],
    group: Group::Acexy,
    kind: Kind::Text("a directory"),
    default: Default::Means("not set"),
    meaning: "No effect: logs go to standard error, and whoever runs the process keeps them.",
    effect: Effect::Nothing("logs go to standard error; redirect it, or let the container runtime keep it"),
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
    &TICK_MS,
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
    &ENGINE_USER_AGENT,
    &CHANNELS_FILE,
    &STRICT_PID,
    &DATA_DIR,
    &API_KEY,
    &LOG_LEVEL,
    &DEBUG_MODE,
    &ACEXY_SCHEME,
    &ACEXY_ORCH_URL,
    &ACEXY_ORCH_APIKEY,
    &ACEXY_M3U8,
    &ACEXY_M3U8_STREAM_TIMEOUT,
    &ACEXY_CONTAINER_ID,
    &DEBUG_LOG_DIR,
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
