//! Settings that change while the appliance runs: the same variables, read anew with other values over the environment.
//!
//! [`Origin`] keeps what the environment and `.env` said at the start. Put together again with changes over it, everything
//! is checked by the very code that checks a start, contradictions included, so nothing can be changed to what a start
//! would refuse. What holds now is in one [`InForce`], replaced as a whole; whoever acts by a setting looks there each
//! time, or is told.

use super::dotenv;
use super::help;
use super::names::{self, Default, Effect, Variable};
use super::{Environment, Error, Host, Loaded, Settings, assemble, read_dotenv};
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The settings that hold now, for everybody who acts by them.
pub type InForce = Arc<ArcSwap<Settings>>;

/// New values by the preferred names of their variables; an empty one is as if the variable were not set.
pub type Changes = BTreeMap<String, String>;

/// What a process was told at its start, and what there was to run on.
#[derive(Clone)]
pub struct Origin {
    host: Host,
    process: BTreeMap<String, String>,
    dotenv: Option<String>,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("set", &self.process.len()).finish_non_exhaustive()
    }
}

impl Origin {
    /// Reads the process environment, `.env` in the working directory and the facts of this host.
    ///
    /// # Errors
    /// When `.env` is there and cannot be read.
    pub fn of_process() -> Result<Self, Vec<Error>> {
        let vars = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
        let dotenv = read_dotenv(Path::new(".env")).map_err(|error| vec![error])?;
        Ok(Self::new(Host::probe(Path::new("/")), vars, dotenv))
    }

    /// The same of what is given: pure, for tests.
    pub fn new(host: Host, vars: impl IntoIterator<Item = (String, String)>, dotenv: Option<String>) -> Self {
        Self { host, process: vars.into_iter().collect(), dotenv }
    }

    /// What holds without any change.
    ///
    /// # Errors
    /// All faults found, at least one.
    pub fn load(&self) -> Result<Loaded, Vec<Error>> {
        self.load_with(&Changes::new())
    }

    /// What holds with changes over it. The environment told of is the one without them.
    ///
    /// # Errors
    /// All faults found, at least one.
    pub fn load_with(&self, changes: &Changes) -> Result<Loaded, Vec<Error>> {
        let mut process = self.process.clone();
        for (name, value) in changes {
            let Some(variable) = variable(name) else { continue };
            // Set to nothing by every name, so that `.env` and aliases say nothing either.
            process.extend(variable.spellings().map(|spelling| (spelling.to_owned(), String::new())));
            process.insert(variable.name.to_owned(), quoted(value));
        }
        let loaded = assemble::settings(&self.host, process.into_iter().collect(), self.dotenv.as_deref())?;
        if changes.is_empty() {
            return Ok(loaded);
        }
        Ok(Loaded { environment: self.load()?.environment, ..loaded })
    }
}

/// A value of the process environment loses its quotes and comments; one that was sent is meant as it stands.
fn quoted(value: &str) -> String {
    match dotenv::plain(value) {
        Ok(plain) if plain == value => value.to_owned(),
        _ if !value.contains('\'') => format!("'{value}'"),
        _ => value.to_owned(),
    }
}

/// The variable of a name, preferred or alias.
pub fn variable(name: &str) -> Option<&'static Variable> {
    names::ALL.iter().copied().find(|variable| variable.spellings().any(|spelling| spelling == name))
}

/// What the environment says of a variable, by whichever of its names.
pub fn given(environment: &Environment, variable: &Variable) -> Option<String> {
    variable.spellings().find_map(|name| environment.0.get(name)).cloned()
}

/// What is needed for a variable to take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: it holds at once.
    Nothing,
    /// Another process of the appliance takes over what plays, as in an upgrade.
    Handover,
    /// The appliance has to be started anew.
    Restart,
    /// It is only changed where it stands; says why.
    Fixed(&'static str),
}

/// What is needed for this variable to take effect.
pub fn takes(variable: &Variable) -> Takes {
    match variable.name {
        "APP_PORT" | "BIND_ADDR" | "SHARDS" => Takes::Restart,
        "DRIVER" | "ACEXY_LISTEN_ADDR" => Takes::Handover,
        "DATA_DIR" => Takes::Fixed(
            "it says where changes are kept, so it is set in the environment and takes a restart of the appliance",
        ),
        "SETTINGS" => Takes::Fixed(
            "it says whether the environment or this API decides, so the environment does; it takes a restart",
        ),
        _ => match variable.effect {
            Effect::Acts => Takes::Nothing,
            Effect::Refused(why) | Effect::Nothing(why) => Takes::Fixed(why),
            Effect::Inert { instead, .. } => Takes::Fixed(instead),
        },
    }
}

/// What a variable takes, and what holds when it is not set, in words.
pub fn described(variable: &Variable) -> (String, String) {
    let default = match variable.default {
        Default::Is(text) | Default::Means(text) => text.to_owned(),
    };
    (help::kind(variable.kind), default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::JoinBehind;
    use std::time::Duration;

    fn origin(vars: &[(&str, &str)], dotenv: Option<&str>) -> Origin {
        let host = Host { cores: 4, memory_bytes: Some(8 << 30), descriptors: Some(65_536) };
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Origin::new(host, vars, dotenv.map(str::to_owned))
    }

    fn changes(of: &[(&str, &str)]) -> Changes {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Guards: a change wins over the environment and `.env`, whichever of its names was used there; an empty one takes
    /// back what they say; what the environment said is still told.
    #[test]
    fn a_change_wins_over_every_spelling() {
        let origin =
            origin(&[("ACEXY_EMPTY_TIMEOUT", "70")], Some("EMPTY_STREAM_TIMEOUT=80\nMAX_CLIENTS=5\n"));
        assert_eq!(origin.load().unwrap().settings.timeouts.empty, Duration::from_secs(70));
        let loaded = origin.load_with(&changes(&[("EMPTY_TIMEOUT", "90"), ("MAX_CLIENTS", "")])).unwrap();
        assert_eq!(loaded.settings.timeouts.empty, Duration::from_secs(90));
        assert_eq!(loaded.settings.limits.clients_max, None);
        let empty = variable("EMPTY_TIMEOUT").unwrap();
        assert_eq!(given(&loaded.environment, empty).as_deref(), Some("70"));
    }

    /// Guards: changes are checked like a start, and against what else holds.
    #[test]
    fn a_contradiction_is_refused() {
        let origin = origin(&[("JOIN_BEHIND_S", "12")], None);
        assert!(origin.load_with(&changes(&[("SLOW_CLIENT_LAG_S", "10")])).is_err());
        assert!(origin.load_with(&changes(&[("SLOW_CLIENT_LAG_S", "20")])).is_ok());
        assert!(origin.load_with(&changes(&[("MAX_CLIENTS", "many")])).is_err());
    }

    /// Guards: text is taken to the letter, quotes and comments included.
    #[test]
    fn text_is_taken_to_the_letter() {
        for text in ["player # 1", "\"quoted\"", "it's one", "plain"] {
            let loaded = origin(&[], None).load_with(&changes(&[("ENGINE_USER_AGENT", text)])).unwrap();
            assert_eq!(loaded.settings.engines.user_agent, text);
        }
    }

    /// Values that are not the defaults, for every variable that may be changed while the appliance runs.
    const SAMPLES: &[(&str, &str)] = &[
        ("ACEXY_LISTEN_ADDR", "127.0.0.9:8123"),
        ("TRUSTED_PROXIES", "10.0.0.0/8"),
        ("PROXY_PROTOCOL", "true"),
        ("DRIVER", "epoll"),
        ("TICK_MS", "75"),
        ("WINDOW_TOTAL_MIB", "64"),
        ("JOIN_BEHIND_S", "4"),
        ("ACEXY_BUFFER", "1MB"),
        ("SLOW_CLIENT", "close"),
        ("SLOW_CLIENT_LAG_S", "20"),
        ("SLOW_CLIENT_LAG_MIB", "9"),
        ("MAX_CLIENTS", "7"),
        ("MAX_CLIENTS_PER_STREAM", "6"),
        ("MAX_CLIENTS_PER_IP", "5"),
        ("MAX_PLAYS_PER_IP_PER_S", "2.5"),
        ("MAX_PLAYS_PER_IP_BURST", "3"),
        ("MAX_CONNECTIONS", "99"),
        ("PROXY_GRACE_PERIOD", "9"),
        ("WARM_CHANNELS", "1"),
        ("WARM_S", "30"),
        ("START_TIMEOUT_S", "30"),
        ("START_TIMEOUT_MAX_S", "100"),
        ("NO_RESPONSE_TIMEOUT", "8"),
        ("EMPTY_TIMEOUT", "50"),
        ("WRITE_TIMEOUT_S", "20"),
        ("HEAD_TIMEOUT_S", "4"),
        ("SHUTDOWN_TIMEOUT_S", "6"),
        ("KEEPALIVE_AFTER_MS", "1000"),
        ("KEEPALIVE_INTERVAL_MS", "400"),
        ("STATIC_ENGINES", "127.0.0.1:7000"),
        ("ACEXY_HOST", "127.0.0.1"),
        ("ACEXY_PORT", "7001"),
        ("MAX_STREAMS_PER_ENGINE", "4"),
        ("ENGINE_WAIT_S", "20"),
        ("ENGINE_SELECTION", "spread"),
        ("ENGINE_FORWARDED_BONUS", "10"),
        ("ENGINE_STREAM_COST", "11"),
        ("WARM_SPARE_CLIENTS_MIN", "3"),
        ("HOT_SESSION_CLIENTS", "8"),
        ("ENGINE_USER_AGENT", "Other/1"),
        ("ENGINE_PROVISIONING", "off"),
        ("DOCKER_HOST", "tcp://127.0.0.1:2375"),
        ("ENGINE_NETWORK", "host"),
        ("ENGINE_PUBLISH_ADDR", "0.0.0.0"),
        ("CONTAINER_LABEL", "a=b"),
        ("INSTANCE_ID", "other"),
        ("ENGINE_VARIANT", "jopsis-amd64"),
        ("ENGINE_ARM32_VERSION", "arm32-v3"),
        ("ENGINE_ARM64_VERSION", "arm64-v3"),
        ("ENGINE_MEMORY_LIMIT", "512m"),
        ("IMAGE_PULL_TIMEOUT_S", "60"),
        ("ENGINE_CACHE_MAX_MIB", "10"),
        ("PORT_RANGE_HOST", "20000-20099"),
        ("ACE_HTTPS_RANGE", "46000-46099"),
        ("ACE_MAP_HTTPS", "true"),
        ("P2P_PORT_RANGE", "30000-30099"),
        ("STARTUP_TIMEOUT_S", "61"),
        ("MONITOR_INTERVAL_S", "11"),
        ("HEALTH_UNHEALTHY_GRACE_PERIOD_S", "61"),
        ("HEALTH_REPLACEMENT_COOLDOWN_S", "61"),
        ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "6"),
        ("CIRCUIT_BREAKER_RECOVERY_TIMEOUT_S", "301"),
        ("CIRCUIT_BREAKER_REPLACEMENT_THRESHOLD", "4"),
        ("CIRCUIT_BREAKER_REPLACEMENT_TIMEOUT_S", "181"),
        ("MIN_REPLICAS", "1"),
        ("MAX_REPLICAS", "7"),
        ("MAX_SURGE", "1"),
        ("MIN_FREE_REPLICAS", "2"),
        ("AUTO_DELETE", "false"),
        ("ENGINE_GRACE_PERIOD_S", "31"),
        ("MAX_CONCURRENT_PROVISIONS", "4"),
        ("MIN_PROVISION_INTERVAL_S", "1"),
        ("GLUETUN_CONTAINER_NAME", "vpn"),
        ("VPN_MODE", "redundant"),
        ("STRICT_PID", "true"),
        ("PROXY_STREAM_MODE", "HLS"),
        ("API_KEY", "another-key-of-some-length"),
        ("READS_NEED_KEY", "true"),
        ("CORS_ORIGIN", "https://tv.example"),
        ("COLLECT_INTERVAL_S", "2"),
        ("PROFILE", "low-latency"),
        ("STATS_HISTORY_MAX", "100"),
        ("STREAM_LOOP_DETECTION_ENABLED", "true"),
        ("STREAM_LOOP_DETECTION_THRESHOLD_S", "100"),
        ("STREAM_LOOP_CHECK_INTERVAL_S", "11"),
        ("STREAM_LOOP_RETENTION_MINUTES", "1"),
        ("LOG_LEVEL", "warn"),
        ("DEBUG_MODE", "true"),
        ("DEBUG_LOG_DIR", "/tmp/elsewhere"),
        ("LOG_FORMAT", "json"),
        ("ACEXY_M3U8", "true"),
        ("ACEXY_M3U8_STREAM_TIMEOUT", "20"),
    ];
    /// Those that need more than their own name to make a difference, and what the difference is made of elsewhere.
    const ELSEWHERE: &[(&str, &str)] = &[
        ("DOCKER_TLS_VERIFY", "needs DOCKER_CERT_PATH and a Docker at tcp://"),
        ("DOCKER_CERT_PATH", "needs DOCKER_TLS_VERIFY"),
        ("CHANNELS_FILE", "names a file"),
        ("OTLP_ENDPOINT", "kept by control"),
        ("ACEXY_SCHEME", "takes one value"),
    ];
    /// Settings under which the change makes the difference.
    const BESIDES: &[(&str, &[(&str, &str)])] = &[
        ("PROXY_PROTOCOL", &[("TRUSTED_PROXIES", "10.0.0.0/8")]),
        ("MAX_PLAYS_PER_IP_BURST", &[("MAX_PLAYS_PER_IP_PER_S", "1")]),
        ("ACEXY_PORT", &[("ACEXY_HOST", "127.0.0.1")]),
    ];

    /// Guards: every variable that acts can be changed in a running appliance and makes other settings of it; those that
    /// cannot are the few that are allowed to need a restart, and the one that says who decides. A new variable has to be put
    /// into a list here.
    #[test]
    fn every_variable_makes_a_difference_when_it_is_changed() {
        for variable in names::ALL.iter().filter(|variable| variable.effect == Effect::Acts) {
            let name = variable.name;
            match takes(variable) {
                Takes::Restart | Takes::Fixed(_) => {
                    assert!(
                        ["APP_PORT", "BIND_ADDR", "SHARDS", "DATA_DIR", "SETTINGS"].contains(&name),
                        "{name}"
                    );
                    continue;
                }
                Takes::Nothing | Takes::Handover => {}
            }
            if ELSEWHERE.iter().any(|(other, _)| *other == name) {
                continue;
            }
            let sample = SAMPLES.iter().find(|(sample, _)| *sample == name);
            let (_, value) = sample.unwrap_or_else(|| panic!("{name} is in no list of this test"));
            let besides =
                BESIDES.iter().find(|(other, _)| *other == name).map_or(&[][..], |(_, besides)| *besides);
            // Engines are kept in Docker, so that what is said of them is read.
            let base: Vec<_> =
                std::iter::once(("ENGINE_PROVISIONING", "on")).chain(besides.iter().copied()).collect();
            let origin = origin(&base, None);
            let before = origin.load().unwrap().settings;
            let after = origin.load_with(&changes(&[(name, value)]));
            let after = after.unwrap_or_else(|faults| panic!("{name}={value}: {faults:?}")).settings;
            assert!(before != after, "{name}={value} changes nothing");
        }
        assert!(SAMPLES.iter().all(|(name, _)| variable(name).is_some_and(|found| found.name == *name)));
    }

    /// Guards: a distance in bytes wins over one in time only as long as that one is not set.
    #[test]
    fn a_setting_that_is_taken_back_leaves_the_other_one() {
        let origin = origin(&[("ACEXY_BUFFER", "2MB"), ("JOIN_BEHIND_S", "3")], None);
        let behind =
            |of: &[(&str, &str)]| origin.load_with(&changes(of)).unwrap().settings.window.join_behind;
        assert_eq!(behind(&[]), JoinBehind::Media(Duration::from_secs(3)));
        assert_eq!(behind(&[("JOIN_BEHIND_S", "")]), JoinBehind::Bytes(2_000_000));
    }
}
