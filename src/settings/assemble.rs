//! Puts the settings together from what the reader finds, and checks how they fit together and onto the host.

use super::docker;
use super::error::{Error, Shown};
use super::host::Host;
use super::names::{self, Effect, Variable};
use super::parse::{self, EngineAddress};
use super::reader::Reader;
use super::{
    ApiKey, ChannelsFile, Driver, Engines, Hls, JoinBehind, Limits, Listen, Loaded, LogLevel, PlayRate,
    Secret, Selection, Settings, Shards, SlowClient, SlowClients, Streams, Tick, Timeouts, Warm, Window,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// How long an HLS player may be silent, unless set.
const HLS_IDLE: Duration = Duration::from_secs(15);

const MIB: u64 = 1 << 20;

/// Assumed when the host does not tell its memory.
const MEMORY_BYTES_UNKNOWN: u64 = 1 << 30;

/// Assumed when the host does not tell its limit of open files: what most systems start with.
const DESCRIPTORS_UNKNOWN: u64 = 1024;

/// Descriptors kept for engines, windows, files and the control plane: an eighth, at least this many.
const DESCRIPTORS_KEPT_MIN: u64 = 256;

/// However few descriptors there are, so many connections are tried; refusing everybody helps nobody.
const CONNECTIONS_MIN: u64 = 16;

/// The smallest window of one session: with less not even one stream could be kept.
const WINDOW_TOTAL_BYTES_MIN: u64 = 8 * MIB;

/// A reconnect is tried after 8 to 10 s of silence; a stream that ends earlier never gets that chance.
const EMPTY_TIMEOUT_ADVISED: Duration = Duration::from_secs(10);

/// The key that stands in the widely copied sample of the orchestrator.
const SAMPLE_API_KEY: &str = "defaultpassword";

/// Reads and checks everything.
pub(super) fn settings(
    host: &Host,
    process: Vec<(String, String)>,
    dotenv: Option<&str>,
) -> Result<Loaded, Vec<Error>> {
    let mut reader = Reader::new(process, dotenv);
    let window = window(&mut reader, host);
    let settings = Settings {
        listen: listen(&mut reader),
        shards: shards(&mut reader, host),
        warm: Warm {
            channels: reader
                .count(&names::WARM_CHANNELS)
                .and_then(|count| count.try_into().ok())
                .unwrap_or(0),
            time: reader.span(&names::WARM_S).unwrap_or_default(),
        },
        slow_clients: slow_clients(&mut reader, window.join_behind),
        window,
        limits: limits(&mut reader, host),
        timeouts: timeouts(&mut reader),
        engines: engines(&mut reader),
        docker: docker::docker(&mut reader),
        is_vpn_asked: docker::is_vpn_asked(&mut reader),
        channels: reader
            .value(&names::CHANNELS_FILE, |text| ChannelsFile::load(text.as_ref()))
            .unwrap_or_default(),
        strict_pid: reader.switch(&names::STRICT_PID),
        hls: hls(&mut reader),
        data_dir: data_dir(&mut reader),
        api_key: api_key(&mut reader),
        reads_need_key: reader.switch(&names::READS_NEED_KEY),
        cors_origin: reader.value(&names::CORS_ORIGIN, cors_origin).unwrap_or_default(),
        streams: streams(&mut reader),
        is_pinned: reader.choice(&names::SETTINGS) == Some(1),
        log_level: log_level(&mut reader),
        is_log_json: reader.choice(&names::LOG_FORMAT) == Some(1),
        debug_log_dir: reader.value(&names::DEBUG_LOG_DIR, |text| Ok::<_, String>(PathBuf::from(text))),
    };
    // What holds of it may change while it runs, so it is taken from the environment by whoever keeps those settings.
    let _ = reader.value(&names::OTLP_ENDPOINT, |text| match text.strip_prefix("http://") {
        Some(host) if !host.is_empty() => Ok(()),
        _ => Err("it does not begin with http:// and a host".to_owned()),
    });
    for variable in names::ALL.iter().filter(|variable| variable.effect != Effect::Acts) {
        reader.ineffective(variable);
    }
    if reader.errors.is_empty() {
        let environment = reader.environment();
        Ok(Loaded { settings, warnings: reader.warnings, environment })
    } else {
        Err(reader.errors)
    }
}

fn hls(reader: &mut Reader) -> Hls {
    let (mode, switch) = (reader.choice(&names::PROXY_STREAM_MODE), reader.switch(&names::ACEXY_M3U8));
    let idle = reader.span(&names::ACEXY_M3U8_STREAM_TIMEOUT).unwrap_or(HLS_IDLE);
    Hls { by_default: mode == Some(1) || switch, idle }
}

fn listen(reader: &mut Reader) -> Listen {
    let ip = reader.value(&names::BIND_ADDR, parse::ip).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let port = reader.count(&names::APP_PORT).and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
    let first = SocketAddr::new(ip, port);
    let second = reader.value(&names::ACEXY_LISTEN_ADDR, |text| parse::listen_address(text, ip));
    let addresses = std::iter::once(first).chain(second.filter(|second| !covers(first, *second))).collect();

    let trusted_proxies = reader.value(&names::TRUSTED_PROXIES, parse::networks);
    let trusted_proxies = trusted_proxies.unwrap_or_default();
    if let Some(everybody) = trusted_proxies.iter().find(|net| net.prefix_len() == 0) {
        let warning = format!("TRUSTED_PROXIES has {everybody}: anybody may claim to be any address");
        reader.warn(warning);
    }
    let proxy_protocol = reader.switch(&names::PROXY_PROTOCOL);
    if proxy_protocol && trusted_proxies.is_empty() {
        contradiction(
            reader,
            &names::PROXY_PROTOCOL,
            "TRUSTED_PROXIES, which names nobody".to_owned(),
            "name the proxies' addresses there",
        );
    }
    Listen { addresses, trusted_proxies, proxy_protocol }
}

/// Whether a listener on `first` takes the connections one on `second` would take.
fn covers(first: SocketAddr, second: SocketAddr) -> bool {
    let same_family = first.is_ipv4() == second.is_ipv4();
    first.port() != 0
        && first.port() == second.port()
        && (first.ip() == second.ip() || same_family && first.ip().is_unspecified())
}

fn shards(reader: &mut Reader, host: &Host) -> Shards {
    let count = reader.count(&names::SHARDS).and_then(|count| u16::try_from(count).ok());
    if let Some(count) = count.filter(|count| *count > host.cores) {
        let cores = host.cores;
        reader
            .warnings
            .push(format!("SHARDS={count} is more than the {cores} usable cores: shards will share them"));
    }
    let driver = match reader.choice(&names::DRIVER) {
        Some(1) => Driver::IoUring,
        Some(2) => Driver::Epoll,
        _ => Driver::Auto,
    };
    let tick = reader.span(&names::TICK_MS).map_or(Tick::Adaptive, Tick::Fixed);
    let hot_session_clients = maximum(reader, &names::HOT_SESSION_CLIENTS);
    Shards { count: count.unwrap_or(host.cores).max(1), driver, tick, hot_session_clients }
}

fn window(reader: &mut Reader, host: &Host) -> Window {
    let memory_bytes = host.memory_bytes.unwrap_or(MEMORY_BYTES_UNKNOWN);
    let total_bytes = reader.count(&names::WINDOW_TOTAL_MIB).map(|mib| mib * MIB);
    // Window memory counts against the container's limit, and past it the kernel kills without a word.
    if let Some(total) = total_bytes {
        let memory_mib = memory_bytes / MIB;
        if host.memory_bytes.is_some() && total >= memory_bytes {
            let other = format!("the {memory_mib} MiB of memory this process may use");
            contradiction(
                reader,
                &names::WINDOW_TOTAL_MIB,
                other,
                "leave it out (half is taken) or raise the limit",
            );
        } else if host.memory_bytes.is_some() && total > memory_bytes / 4 * 3 {
            let mib = total / MIB;
            reader.warn(format!(
                "WINDOW_TOTAL_MIB={mib} leaves little of the {memory_mib} MiB this process may use: sockets of \
                 players need memory too"
            ));
        }
    }
    let share = (u128::from(memory_bytes) * u128::from(reader.profile.window_percent) / 100) as u64;
    let total_bytes = total_bytes.unwrap_or(share.max(WINDOW_TOTAL_BYTES_MIN));

    let bytes = reader.size(&names::ACEXY_BUFFER);
    let is_media_given = reader.given(&names::JOIN_BEHIND_S).is_some();
    let media = reader.span(&names::JOIN_BEHIND_S).unwrap_or_default();
    let join_behind = match bytes {
        Some(bytes) if !is_media_given => JoinBehind::Bytes(bytes),
        Some(_) => {
            reader.warn("ACEXY_BUFFER is ignored: JOIN_BEHIND_S is set too and wins".to_owned());
            JoinBehind::Media(media)
        }
        None => JoinBehind::Media(media),
    };
    Window { total_bytes, join_behind }
}

fn slow_clients(reader: &mut Reader, join_behind: JoinBehind) -> SlowClients {
    let action = match reader.choice(&names::SLOW_CLIENT) {
        Some(1) => SlowClient::Close,
        _ => SlowClient::Skip,
    };
    let lag_max = reader.span(&names::SLOW_CLIENT_LAG_S).filter(|lag| !lag.is_zero());
    let lag_bytes_max = maximum(reader, &names::SLOW_CLIENT_LAG_MIB).map(|mib| u64::from(mib.get()) * MIB);
    const REMEDY: &str = "a player would be too slow from its first byte; raise the one or lower the other";
    match join_behind {
        JoinBehind::Media(behind) if lag_max.is_some_and(|lag| lag <= behind) => {
            let other = format!("JOIN_BEHIND_S ({behind:?})");
            contradiction(reader, &names::SLOW_CLIENT_LAG_S, other, REMEDY);
        }
        JoinBehind::Bytes(behind) if lag_bytes_max.is_some_and(|lag| lag <= behind) => {
            let other = format!("ACEXY_BUFFER ({behind} bytes)");
            contradiction(reader, &names::SLOW_CLIENT_LAG_MIB, other, REMEDY);
        }
        _ => {}
    }
    SlowClients { action, lag_max, lag_bytes_max }
}

fn limits(reader: &mut Reader, host: &Host) -> Limits {
    let clients_max = maximum(reader, &names::MAX_CLIENTS);
    let stream_clients_max = maximum(reader, &names::MAX_CLIENTS_PER_STREAM);
    let address_clients_max = maximum(reader, &names::MAX_CLIENTS_PER_IP);
    let per_second = reader.decimal(&names::MAX_PLAYS_PER_IP_PER_S).unwrap_or(0.0);
    let burst = maximum(reader, &names::MAX_PLAYS_PER_IP_BURST).unwrap_or(NonZeroU32::MIN);
    let address_plays = (per_second > 0.0).then_some(PlayRate { per_second, burst });

    let descriptors = host.descriptors.unwrap_or(DESCRIPTORS_UNKNOWN);
    let kept = (descriptors / 8).max(DESCRIPTORS_KEPT_MIN);
    let fitting = descriptors.saturating_sub(kept).max(CONNECTIONS_MIN);
    let fitting = u32::try_from(fitting).unwrap_or(u32::MAX);
    let connections = maximum(reader, &names::MAX_CONNECTIONS).map(NonZeroU32::get);
    let connections_max = connections.unwrap_or(fitting).min(fitting);
    if let Some(wanted) = connections.filter(|wanted| *wanted > fitting) {
        reader.warn(format!(
            "MAX_CONNECTIONS={wanted} does not fit into {descriptors} open files: {fitting} is used; raise the limit \
             of open files (ulimit -n)"
        ));
    }
    for (variable, limit) in
        [(&names::MAX_CLIENTS, clients_max), (&names::MAX_CLIENTS_PER_STREAM, stream_clients_max)]
    {
        if let Some(limit) = limit.filter(|limit| limit.get() > connections_max) {
            let name = variable.name;
            reader
                .warnings
                .push(format!("{name}={limit} is never reached: {connections_max} connections are"));
        }
    }
    Limits {
        clients_max,
        stream_clients_max,
        address_clients_max,
        address_plays,
        connections_max,
        descriptors,
    }
}

/// A limit where 0 means none.
fn maximum(reader: &mut Reader, variable: &Variable) -> Option<NonZeroU32> {
    reader.count(variable).and_then(|count| u32::try_from(count).ok()).and_then(NonZeroU32::new)
}

fn timeouts(reader: &mut Reader) -> Timeouts {
    let mut span = |variable| reader.span(variable).unwrap_or_default();
    let timeouts = Timeouts {
        grace: span(&names::PROXY_GRACE_PERIOD),
        start: span(&names::START_TIMEOUT_S),
        start_max: span(&names::START_TIMEOUT_MAX_S),
        no_response: span(&names::NO_RESPONSE_TIMEOUT),
        empty: span(&names::EMPTY_TIMEOUT),
        write: span(&names::WRITE_TIMEOUT_S),
        head: span(&names::HEAD_TIMEOUT_S),
        shutdown: span(&names::SHUTDOWN_TIMEOUT_S),
        keepalive_after: span(&names::KEEPALIVE_AFTER_MS),
        keepalive_interval: span(&names::KEEPALIVE_INTERVAL_MS),
    };
    if timeouts.start_max < timeouts.start {
        let other = format!("START_TIMEOUT_S ({:?})", timeouts.start);
        contradiction(
            reader,
            &names::START_TIMEOUT_MAX_S,
            other,
            "it bounds the whole start and cannot be shorter",
        );
    }
    if timeouts.keepalive_after >= timeouts.empty {
        let other = format!("EMPTY_TIMEOUT ({:?})", timeouts.empty);
        contradiction(
            reader,
            &names::KEEPALIVE_AFTER_MS,
            other,
            "null packets have to begin before the stream ends",
        );
    }
    if timeouts.empty < EMPTY_TIMEOUT_ADVISED {
        let (empty, advised) = (timeouts.empty, EMPTY_TIMEOUT_ADVISED);
        reader.warn(format!(
            "EMPTY_TIMEOUT is {empty:?}: below {advised:?} a stream ends before another engine could take over"
        ));
    }
    timeouts
}

fn engines(reader: &mut Reader) -> Engines {
    let static_engines = reader.value(&names::STATIC_ENGINES, parse::engines);
    let static_engines = static_engines.unwrap_or_default();

    let is_fallback_given =
        [&names::ACEXY_HOST, &names::ACEXY_PORT].into_iter().any(|variable| reader.given(variable).is_some());
    let port = reader.count(&names::ACEXY_PORT).and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
    let host = reader.value(&names::ACEXY_HOST, engine_host).unwrap_or_else(|| "localhost".to_owned());
    // Where engines are made, one that nobody named would only be waited for in vain.
    let is_default = static_engines.is_empty() && !docker::is_wanted(reader);
    let usual = EngineAddress::new(&host, port).ok();
    let assumed_engine = usual.clone().filter(|_| docker::is_tried(reader));
    let fallback_engine = usual.filter(|_| is_fallback_given || is_default);

    let scheme = reader.given(&names::ACEXY_SCHEME);
    if let Some(given) = scheme.filter(|given| !given.value.eq_ignore_ascii_case("http")) {
        reader.errors.push(Error::Refused {
            name: given.name,
            value: Shown::new(&given.value, false),
            instead: "engines are spoken to in plain HTTP; set ACEXY_SCHEME=http, end TLS in a proxy beside the \
                      engine and name the proxy's plain address in ACEXY_HOST and ACEXY_PORT",
        });
    }
    let user_agent = reader.value(&names::ENGINE_USER_AGENT, user_agent);
    let mut weight = |variable| reader.count(variable).and_then(|count| u32::try_from(count).ok());
    let forwarded_bonus = weight(&names::ENGINE_FORWARDED_BONUS).unwrap_or_default();
    let stream_cost = weight(&names::ENGINE_STREAM_COST).unwrap_or_default();
    let selection = match reader.choice(&names::ENGINE_SELECTION) {
        Some(1) => Selection::Spread,
        _ => Selection::Score { forwarded_bonus, stream_cost },
    };
    Engines {
        static_engines,
        fallback_engine,
        assumed_engine,
        streams_per_engine_max: maximum(reader, &names::MAX_STREAMS_PER_ENGINE),
        wait: reader.span(&names::ENGINE_WAIT_S).unwrap_or_default(),
        selection,
        spare_clients_min: maximum(reader, &names::WARM_SPARE_CLIENTS_MIN),
        user_agent: user_agent.unwrap_or_default(),
    }
}

/// A host alone; a port belongs into `ACEXY_PORT`.
fn engine_host(text: &str) -> Result<String, String> {
    if text.contains("://") {
        return Err("it is a URL; the port goes into ACEXY_PORT".to_owned());
    }
    if text.split_once(':').is_some_and(|(_, port)| parse::count(port).is_ok()) {
        return Err("it has a port, which goes into ACEXY_PORT".to_owned());
    }
    EngineAddress::new(text, 1).map(|engine| engine.host().to_owned())
}

fn user_agent(text: &str) -> Result<String, String> {
    let is_printable = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if is_printable && text.len() <= 256 {
        Ok(text.to_owned())
    } else {
        Err("it is no header value".to_owned())
    }
}

fn data_dir(reader: &mut Reader) -> PathBuf {
    reader.value(&names::DATA_DIR, |text| Ok::<_, String>(PathBuf::from(text))).unwrap_or_default()
}

fn api_key(reader: &mut Reader) -> ApiKey {
    let is_key = |text: &str| {
        let is_header_value = text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_header_value { Ok(text.to_owned()) } else { Err("it cannot travel in a header".to_owned()) }
    };
    match reader.value(&names::API_KEY, is_key) {
        Some(key) => {
            if key == SAMPLE_API_KEY {
                reader.warn(
                    "API_KEY is the one of the orchestrator's sample file: everybody knows it".to_owned(),
                );
            }
            ApiKey::Given(Secret(key))
        }
        None if reader.is_set_empty(&names::API_KEY) => {
            reader.warn("API_KEY is set to nothing: everybody may change everything".to_owned());
            ApiKey::Open
        }
        None => ApiKey::Generated,
    }
}

fn streams(reader: &mut Reader) -> Streams {
    let retention_minutes = reader.count(&names::STREAM_LOOP_RETENTION_MINUTES).unwrap_or(0);
    Streams {
        collect_interval: reader.span(&names::COLLECT_INTERVAL_S).unwrap_or_default(),
        history_max: reader.count(&names::STATS_HISTORY_MAX).unwrap_or(0) as usize,
        finds_loops: reader.switch(&names::STREAM_LOOP_DETECTION_ENABLED),
        loop_threshold: reader.span(&names::STREAM_LOOP_DETECTION_THRESHOLD_S).unwrap_or_default(),
        loop_check_interval: reader.span(&names::STREAM_LOOP_CHECK_INTERVAL_S).unwrap_or_default(),
        loop_retention: Duration::from_secs(60 * retention_minutes),
    }
}

/// `*` or scheme, host and port, which is all an origin has.
fn cors_origin(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let is_origin =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
    if text == "*" || is_origin { Ok(text.to_owned()) } else { Err("it is no origin".to_owned()) }
}

fn log_level(reader: &mut Reader) -> LogLevel {
    let is_debug = reader.switch(&names::DEBUG_MODE);
    match reader.choice(&names::LOG_LEVEL) {
        Some(0) => LogLevel::Error,
        Some(1) => LogLevel::Warn,
        Some(2) => LogLevel::Info,
        Some(3) => LogLevel::Debug,
        Some(_) => LogLevel::Trace,
        None if is_debug => LogLevel::Debug,
        None => LogLevel::Info,
    }
}

/// Collects a contradiction of a variable somebody set; of two defaults it would be our own mistake.
pub(super) fn contradiction(reader: &mut Reader, variable: &Variable, other: String, remedy: &'static str) {
    let (name, value) = match reader.given(variable) {
        Some(given) => (given.name, Shown::new(&given.value, variable.is_secret())),
        None => (variable.name, Shown::new("(its default)", false)),
    };
    reader.errors.push(Error::Contradiction { name, value, other, remedy });
}
