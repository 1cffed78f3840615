//! Every setting that can be changed while the appliance runs: name, bounds, default. One table; reading, checking, storing
//! and backing up all go by it.

use crate::diagnosis::Endpoint;
use serde_json::{Map, Number, Value};

/// What belongs together in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    /// How streams are played.
    Proxy,
    /// Finding streams that repeat.
    Loop,
    /// Engines kept in Docker.
    Engine,
    /// The appliance itself.
    Orchestrator,
}

impl Group {
    /// Its name in the store and in backups.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Loop => "loop_detection",
            Self::Engine => "engine",
            Self::Orchestrator => "orchestrator",
        }
    }

    /// Where it is read and changed.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Proxy => "/proxy/config",
            Self::Loop => "/stream-loop-detection/config",
            Self::Engine => "/settings/engine",
            Self::Orchestrator => "/settings/orchestrator",
        }
    }
}

/// What a value may be. Bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A whole number.
    Int(i64, i64),
    /// The same, seconds.
    Seconds(i64, i64),
    /// Any number.
    Float(f64, f64),
    /// The same, seconds.
    FloatSeconds(f64, f64),
    /// Yes or no.
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Where a collector of traces is; empty for nowhere.
    Endpoint,
}

/// One setting.
#[derive(Debug, PartialEq)]
pub(crate) struct Field {
    /// Where it belongs.
    pub(crate) group: Group,
    /// Its name in the API.
    pub(crate) name: &'static str,
    /// The variables of the environment that set it, the preferred one first.
    pub(crate) variables: &'static [&'static str],
    /// What it may be.
    pub(crate) kind: Kind,
    /// What holds when nobody set it, JSON.
    default: &'static str,
}

const fn field(
    group: Group,
    name: &'static str,
    variables: &'static [&'static str],
    kind: Kind,
    default: &'static str,
) -> Field {
    Field { group, name, variables, kind, default }
}

const fn proxy(
    name: &'static str,
    variables: &'static [&'static str],
    kind: Kind,
    default: &'static str,
) -> Field {
    field(Group::Proxy, name, variables, kind, default)
}

/// How long a stream outlives its last player.
pub(crate) const GRACE: &str = "channel_shutdown_delay";
/// Streams on one engine.
pub(crate) const STREAMS_PER_ENGINE: &str = "max_streams_per_engine";
/// The variable that chooses the defaults of several settings.
pub(crate) const PROFILE: &str = "PROFILE";
/// How far behind live players join.
pub(crate) const JOIN_BEHIND: &str = "join_behind_s";
/// TS or HLS.
pub(crate) const STREAM_MODE: &str = "stream_mode";
/// Looks for data before a silent stream ends.
pub(crate) const NO_DATA_CHECKS: &str = "no_data_timeout_checks";
/// Time between two of them.
pub(crate) const NO_DATA_INTERVAL: &str = "no_data_check_interval";

/// Engines kept at least.
pub(crate) const REPLICAS_MIN: &str = "min_replicas";
/// Engines at most.
pub(crate) const REPLICAS_MAX: &str = "max_replicas";
/// Whether idle engines are removed.
pub(crate) const AUTO_DELETE: &str = "auto_delete";
/// What engines are made from.
pub(crate) const VARIANT: &str = "engine_variant";

/// Whether everything is written down.
pub(crate) const DEBUG_MODE: &str = "debug_mode";
/// Where traces are sent.
pub(crate) const OTLP_ENDPOINT: &str = "otlp_endpoint";

/// Those that do something. The others are kept, shown and backed up for the sake of clients that know them; whoever takes
/// one up puts it in here.
const ACTING: [&str; 13] = [
    JOIN_BEHIND,
    GRACE,
    STREAMS_PER_ENGINE,
    STREAM_MODE,
    NO_DATA_CHECKS,
    NO_DATA_INTERVAL,
    REPLICAS_MIN,
    REPLICAS_MAX,
    AUTO_DELETE,
    VARIANT,
    "use_custom_variant",
    DEBUG_MODE,
    OTLP_ENDPOINT,
];

/// All of them, in the order the API shows them.
pub(crate) static FIELDS: &[Field] = &[
    proxy("initial_data_wait_timeout", &["PROXY_INITIAL_DATA_WAIT_TIMEOUT"], Kind::Seconds(1, 60), "10"),
    proxy(
        "initial_data_check_interval",
        &["PROXY_INITIAL_DATA_CHECK_INTERVAL"],
        Kind::FloatSeconds(0.1, 2.0),
        "0.2",
    ),
    proxy(NO_DATA_CHECKS, &["PROXY_NO_DATA_TIMEOUT_CHECKS"], Kind::Int(5, 600), "60"),
    proxy(NO_DATA_INTERVAL, &["PROXY_NO_DATA_CHECK_INTERVAL"], Kind::FloatSeconds(0.01, 1.0), "1.0"),
    proxy("connection_timeout", &["PROXY_CONNECTION_TIMEOUT"], Kind::Seconds(5, 60), "10"),
    proxy("stream_timeout", &["PROXY_STREAM_TIMEOUT"], Kind::Seconds(10, 300), "60"),
    // 1 to 60 in earlier programs; the variable takes 0 to an hour, and so does this.
    proxy(
        GRACE,
        &[
            "PROXY_GRACE_PERIOD",
            "CHANNEL_SHUTDOWN_DELAY_S",
            "ACEXY_STREAM_GRACE_PERIOD",
            "STREAM_IDLE_TIMEOUT",
            // It chooses a default; what that is, the appliance tells.
            PROFILE,
        ],
        Kind::Seconds(0, 3600),
        "5",
    ),
    proxy(
        STREAMS_PER_ENGINE,
        &["MAX_STREAMS_PER_ENGINE", "ACEXY_MAX_STREAMS_PER_ENGINE"],
        Kind::Int(1, 20),
        "3",
    ),
    proxy(JOIN_BEHIND, &["JOIN_BEHIND_S", PROFILE], Kind::FloatSeconds(0.0, 25.0), "10.0"),
    proxy(STREAM_MODE, &["PROXY_STREAM_MODE", "STREAM_MODE"], Kind::Choice(&["TS", "HLS"]), "\"TS\""),
    proxy("hls_max_segments", &["HLS_MAX_SEGMENTS"], Kind::Int(5, 100), "20"),
    proxy("hls_initial_segments", &["HLS_INITIAL_SEGMENTS"], Kind::Int(1, 10), "3"),
    proxy("hls_window_size", &["HLS_WINDOW_SIZE"], Kind::Int(3, 20), "6"),
    proxy("hls_buffer_ready_timeout", &["HLS_BUFFER_READY_TIMEOUT"], Kind::Seconds(5, 120), "30"),
    proxy("hls_first_segment_timeout", &["HLS_FIRST_SEGMENT_TIMEOUT"], Kind::Seconds(5, 120), "30"),
    proxy("hls_initial_buffer_seconds", &["HLS_INITIAL_BUFFER_SECONDS"], Kind::Seconds(5, 60), "10"),
    proxy("hls_max_initial_segments", &["HLS_MAX_INITIAL_SEGMENTS"], Kind::Int(1, 20), "10"),
    proxy("hls_segment_fetch_interval", &["HLS_SEGMENT_FETCH_INTERVAL"], Kind::Float(0.1, 2.0), "0.5"),
    field(Group::Loop, "enabled", &["STREAM_LOOP_DETECTION_ENABLED"], Kind::Bool, "false"),
    field(
        Group::Loop,
        "threshold_seconds",
        &["STREAM_LOOP_DETECTION_THRESHOLD_S"],
        Kind::Seconds(60, i64::MAX),
        "3600",
    ),
    field(
        Group::Loop,
        "check_interval_seconds",
        &["STREAM_LOOP_CHECK_INTERVAL_S"],
        Kind::Seconds(5, i64::MAX),
        "10",
    ),
    field(Group::Loop, "retention_minutes", &["STREAM_LOOP_RETENTION_MINUTES"], Kind::Int(0, i64::MAX), "0"),
    field(Group::Engine, REPLICAS_MIN, &["MIN_REPLICAS"], Kind::Int(0, 50), "2"),
    field(Group::Engine, REPLICAS_MAX, &["MAX_REPLICAS"], Kind::Int(1, 100), "6"),
    field(Group::Engine, AUTO_DELETE, &["AUTO_DELETE"], Kind::Bool, "true"),
    field(
        Group::Engine,
        VARIANT,
        &["ENGINE_VARIANT"],
        Kind::Choice(&[
            "krinkuto11-amd64",
            "jopsis-amd64",
            "jopsis-arm32",
            "jopsis-arm64",
            "AceServe-amd64",
            "AceServe-arm32",
            "AceServe-arm64",
        ]),
        "\"krinkuto11-amd64\"",
    ),
    field(Group::Engine, "use_custom_variant", &[], Kind::Bool, "false"),
    field(Group::Orchestrator, DEBUG_MODE, &["DEBUG_MODE"], Kind::Bool, "false"),
    field(
        Group::Orchestrator,
        OTLP_ENDPOINT,
        &["OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"],
        Kind::Endpoint,
        "\"\"",
    ),
];

/// The settings of a group.
pub(crate) fn of(group: Group) -> impl Iterator<Item = &'static Field> {
    FIELDS.iter().filter(move |field| field.group == group)
}

impl Field {
    /// Its name in the store.
    pub(crate) fn key(&self) -> String {
        format!("{}.{}", self.group.as_str(), self.name)
    }

    /// Whether it does anything.
    pub(crate) fn acts(&self) -> bool {
        self.group == Group::Loop || ACTING.contains(&self.name)
    }

    /// What holds when nobody set it.
    pub(crate) fn default(&self) -> Value {
        // Constants of the table above, which a test reads.
        serde_json::from_str(self.default).unwrap_or_default()
    }

    /// A value of the right type is brought to the form it is stored in; one outside of the bounds is told why.
    pub(crate) fn check(&self, value: &Value) -> Result<Value, String> {
        let (name, outside) = (self.name, self.outside());
        match self.kind {
            Kind::Int(min, max) | Kind::Seconds(min, max) => {
                let number = value.as_i64().filter(|number| (min..=max).contains(number));
                number.map(Value::from).ok_or(outside)
            }
            Kind::Float(min, max) | Kind::FloatSeconds(min, max) => {
                let number = value.as_f64().filter(|number| (min..=max).contains(number));
                number.and_then(Number::from_f64).map(Value::Number).ok_or(outside)
            }
            Kind::Bool => {
                value.as_bool().map(Value::Bool).ok_or_else(|| format!("{name} must be true or false"))
            }
            Kind::Choice(words) => {
                let found = value.as_str().and_then(|text| words.iter().find(|word| **word == text));
                found.map(|word| Value::from(*word)).ok_or(outside)
            }
            Kind::Endpoint => {
                let text = value.as_str().ok_or(outside)?.trim();
                if !text.is_empty() {
                    text.parse::<Endpoint>().map_err(|fault| format!("{name} is no address: {fault}"))?;
                }
                Ok(text.into())
            }
        }
    }

    /// What is told of a value outside of the bounds.
    fn outside(&self) -> String {
        let name = self.name;
        match (self.kind, self.group, name) {
            (_, Group::Loop, "threshold_seconds") => "Threshold must be at least 60 seconds".to_owned(),
            (_, Group::Loop, "check_interval_seconds") => {
                "Check interval must be at least 5 seconds".to_owned()
            }
            (_, Group::Loop, "retention_minutes") => "Retention minutes must be 0 or greater".to_owned(),
            (Kind::Int(min, max), ..) => format!("{name} must be between {min} and {max}"),
            (Kind::Seconds(min, max), ..) => format!("{name} must be between {min} and {max} seconds"),
            (Kind::Float(min, max), ..) => format!("{name} must be between {min:?} and {max:?}"),
            (Kind::FloatSeconds(min, max), ..) => {
                format!("{name} must be between {min:?} and {max:?} seconds")
            }
            (Kind::Bool, ..) => format!("{name} must be true or false"),
            (Kind::Choice([one, other]), ..) => format!("{name} must be either '{one}' or '{other}'"),
            (Kind::Choice(words), ..) => format!("{name} must be one of {}", words.join(", ")),
            (Kind::Endpoint, ..) => format!("{name} must be empty or http://host:port"),
        }
    }

    /// A value as the environment has it; `None` for one that is not of the kind or outside of the bounds.
    pub(crate) fn parse(&self, text: &str) -> Option<Value> {
        let value = match self.kind {
            Kind::Int(..) | Kind::Seconds(..) => text.trim().parse::<i64>().ok()?.into(),
            Kind::Float(..) | Kind::FloatSeconds(..) => Value::from(text.trim().parse::<f64>().ok()?),
            Kind::Bool => text.trim().eq_ignore_ascii_case("true").into(),
            Kind::Choice(words) => {
                Value::from(*words.iter().find(|word| word.eq_ignore_ascii_case(text.trim()))?)
            }
            Kind::Endpoint => text.into(),
        };
        self.check(&value).ok()
    }
}

/// Values by name.
pub(crate) type Values = Map<String, Value>;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::HashSet;

    /// Guards: the table itself: names are unique, and every default is within its own bounds.
    #[test]
    fn every_default_is_allowed() {
        let keys: HashSet<String> = FIELDS.iter().map(Field::key).collect();
        assert_eq!(keys.len(), FIELDS.len());
        for field in FIELDS {
            assert_eq!(field.check(&field.default()), Ok(field.default()), "{}", field.key());
        }
    }

    /// Guards: bounds are inclusive, and what is told is what the contract says.
    #[test]
    fn values_outside_are_told_with_their_bounds() {
        let field = |name: &str| FIELDS.iter().find(|field| field.name == name).unwrap();
        for (name, inside, outside, told) in [
            (
                "connection_timeout",
                json!(60),
                json!(61),
                "connection_timeout must be between 5 and 60 seconds",
            ),
            ("max_streams_per_engine", json!(1), json!(0), "max_streams_per_engine must be between 1 and 20"),
            (
                "no_data_check_interval",
                json!(0.01),
                json!(1.5),
                "no_data_check_interval must be between 0.01 and 1.0 seconds",
            ),
            (
                "hls_segment_fetch_interval",
                json!(2),
                json!(2.1),
                "hls_segment_fetch_interval must be between 0.1 and 2.0",
            ),
            ("stream_mode", json!("HLS"), json!("hls"), "stream_mode must be either 'TS' or 'HLS'"),
            (
                "channel_shutdown_delay",
                json!(3600),
                json!(-1),
                "channel_shutdown_delay must be between 0 and 3600 seconds",
            ),
            ("threshold_seconds", json!(60), json!(59), "Threshold must be at least 60 seconds"),
        ] {
            assert!(field(name).check(&inside).is_ok(), "{name}");
            assert_eq!(field(name).check(&outside), Err(told.to_owned()));
        }
        assert_eq!(field("stream_mode").parse("hls"), Some(json!("HLS")));
        assert_eq!(field("stream_timeout").parse("9"), None);
    }
}
