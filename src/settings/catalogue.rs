//! Every variable that earlier programs documented, for the page that tells an operator what became of each.
//!
//! A name in the table of [`super::names`] is described from there: it acts, or means the same as another one. For all
//! others a reason stands here. Adding a name to that table takes it over; nothing has to be removed here. Nothing of this
//! is in the program: a test prints and compares the page.

use super::names::{ALL, Default, Effect, Variable};
use std::fmt::Write;

/// Names that share the reason why they do nothing.
struct Reason {
    why: &'static str,
    /// Name and the default it had.
    names: &'static [(&'static str, &'static str)],
}

/// One documented program.
struct Section {
    title: &'static str,
    names: &'static [&'static str],
}

const ORCHESTRATOR: &[&str] = &[
    "APP_PORT",
    "API_KEY",
    "DB_URL",
    "DEBUG_MODE",
    "DOCKER_HOST",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "DOCKER_NETWORK",
    "CONTAINER_LABEL",
    "TZ",
    "ENGINE_VARIANT",
    "ENGINE_ARM32_VERSION",
    "ENGINE_ARM64_VERSION",
    "ENGINE_MEMORY_LIMIT",
    "MIN_REPLICAS",
    "MIN_FREE_REPLICAS",
    "MAX_REPLICAS",
    "ACEXY_MAX_STREAMS_PER_ENGINE",
    "STARTUP_TIMEOUT_S",
    "ENGINE_GRACE_PERIOD_S",
    "AUTO_DELETE",
    "AUTOSCALE_INTERVAL_S",
    "MONITOR_INTERVAL_S",
    "IDLE_TTL_S",
    "MAX_CONCURRENT_PROVISIONS",
    "MIN_PROVISION_INTERVAL_S",
    "MAX_ACTIVE_REPLICAS",
    "PORT_RANGE_HOST",
    "ACE_HTTP_RANGE",
    "ACE_HTTPS_RANGE",
    "ACE_MAP_HTTPS",
    "HEALTH_CHECK_INTERVAL_S",
    "HEALTH_FAILURE_THRESHOLD",
    "HEALTH_UNHEALTHY_GRACE_PERIOD_S",
    "HEALTH_REPLACEMENT_COOLDOWN_S",
    "CIRCUIT_BREAKER_FAILURE_THRESHOLD",
    "CIRCUIT_BREAKER_RECOVERY_TIMEOUT_S",
    "CIRCUIT_BREAKER_REPLACEMENT_THRESHOLD",
    "CIRCUIT_BREAKER_REPLACEMENT_TIMEOUT_S",
    "VPN_MODE",
    "GLUETUN_CONTAINER_NAME",
    "GLUETUN_CONTAINER_NAME_2",
    "GLUETUN_API_PORT",
    "GLUETUN_HEALTH_CHECK_INTERVAL_S",
    "GLUETUN_PORT_CACHE_TTL_S",
    "GLUETUN_PORT_RANGE_1",
    "GLUETUN_PORT_RANGE_2",
    "VPN_RESTART_ENGINES_ON_RECONNECT",
    "VPN_UNHEALTHY_RESTART_TIMEOUT_S",
    "COLLECT_INTERVAL_S",
    "STATS_HISTORY_MAX",
    "STREAM_LOOP_DETECTION_ENABLED",
    "STREAM_LOOP_DETECTION_THRESHOLD_S",
    "STREAM_LOOP_CHECK_INTERVAL_S",
    "STREAM_LOOP_RETENTION_MINUTES",
    "DEBUG_LOG_DIR",
    "PROXY_MODE",
    "ORCHESTRATOR_URL",
];

const PROXY: &[&str] = &[
    "PROXY_STREAM_MODE",
    "PROXY_CONNECTION_TIMEOUT",
    "PROXY_CLIENT_WAIT_TIMEOUT",
    "PROXY_STREAM_TIMEOUT",
    "PROXY_CHUNK_TIMEOUT",
    "PROXY_INITIAL_BEHIND_CHUNKS",
    "PROXY_CHUNK_SIZE",
    "PROXY_BUFFER_CHUNK_SIZE",
    "PROXY_CLIENT_TTL",
    "PROXY_BUFFER_TTL",
    "PROXY_CLEANUP_INTERVAL",
    "PROXY_CLEANUP_CHECK_INTERVAL",
    "PROXY_HEARTBEAT_INTERVAL",
    "PROXY_KEEPALIVE_INTERVAL",
    "PROXY_GRACE_PERIOD",
    "PROXY_INIT_TIMEOUT",
    "PROXY_MAX_RETRIES",
    "PROXY_RETRY_WAIT_INTERVAL",
    "PROXY_HEALTH_CHECK_INTERVAL",
    "PROXY_GHOST_CLIENT_MULTIPLIER",
    "PROXY_NO_DATA_TIMEOUT_CHECKS",
    "PROXY_NO_DATA_CHECK_INTERVAL",
    "PROXY_INITIAL_DATA_WAIT_TIMEOUT",
    "PROXY_INITIAL_DATA_CHECK_INTERVAL",
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_DB",
    "HLS_MAX_SEGMENTS",
    "HLS_INITIAL_SEGMENTS",
    "HLS_WINDOW_SIZE",
    "HLS_BUFFER_READY_TIMEOUT",
    "HLS_FIRST_SEGMENT_TIMEOUT",
    "HLS_INITIAL_BUFFER_SECONDS",
    "HLS_MAX_INITIAL_SEGMENTS",
    "HLS_SEGMENT_FETCH_INTERVAL",
];

/// What the proxy's guide published as its constants.
const CONSTANTS: &[&str] = &[
    "EMPTY_STREAM_TIMEOUT",
    "STREAM_IDLE_TIMEOUT",
    "CLIENT_TIMEOUT",
    "STREAM_BUFFER_SIZE",
    "COPY_CHUNK_SIZE",
    "ENGINE_SELECTION_TIMEOUT",
    "ENGINE_CACHE_TTL",
    "MAX_STREAMS_PER_ENGINE",
    "SESSION_CLEANUP_INTERVAL",
];

const LATER: &[&str] = &[
    "MAX_STREAMS_PER_ENGINE",
    "DASHBOARD_DEFAULT_WINDOW_S",
    "DASHBOARD_PERSIST_INTERVAL_S",
    "DASHBOARD_METRICS_RETENTION_HOURS",
    "M3U_TIMEOUT",
    "LEGACY_STATS_PROBE_WORKERS",
    "PROXY_CONTROL_MODE",
    "PROXY_LEGACY_API_PREFLIGHT_TIER",
    "ACE_LIVE_EDGE_DELAY",
    "API_HLS_CLIENT_TTL",
    "API_HLS_SEGMENT_TIME_S",
    "API_HLS_LIST_SIZE",
    "API_HLS_SPLIT_BY_TIME",
];

const SECOND: &[&str] = &[
    "PROXY_LISTEN_ADDR",
    "ORCHESTRATOR_LISTEN_ADDR",
    "ACESTREAM_DB_PATH",
    "REDIS_URL",
    "STREAM_MODE",
    "CONTROL_MODE",
    "MAX_STREAMS_PER_ENGINE",
    "MAX_CLIENTS_PER_STREAM",
    "MAX_TOTAL_STREAMS",
    "MAX_MEMORY_MB",
    "MAX_RETRIES",
    "RETRY_WAIT_INTERVAL_MS",
    "UPSTREAM_CONNECT_TIMEOUT_S",
    "UPSTREAM_READ_TIMEOUT_S",
    "CLIENT_WAIT_TIMEOUT_S",
    "STREAM_TIMEOUT_S",
    "CHUNK_TIMEOUT_S",
    "CHANNEL_SHUTDOWN_DELAY_S",
    "CHANNEL_INIT_GRACE_PERIOD_S",
    "HLS_CLIENT_IDLE_TIMEOUT_S",
    "STARTUP_TIMEOUT_S",
    "NO_DATA_TIMEOUT_CHECKS",
    "NO_DATA_CHECK_INTERVAL_S",
    "INITIAL_DATA_WAIT_TIMEOUT_S",
    "INITIAL_DATA_CHECK_INTERVAL_MS",
    "KEEPALIVE_INTERVAL_MS",
    "BUFFER_CHUNK_SIZE",
    "INITIAL_BEHIND_CHUNKS",
    "REDIS_CHUNK_TTL_S",
    "PACING_BURST_SECONDS",
    "PACING_BITRATE_MULTIPLIER",
    "PROXY_MAX_CATCHUP_MULTIPLIER",
    "PROXY_PREBUFFER_SECONDS",
    "CLEANUP_INTERVAL_S",
    "CLEANUP_CHECK_INTERVAL_S",
    "CLIENT_HEARTBEAT_INTERVAL_S",
    "CLIENT_RECORD_TTL_S",
    "STREAM_RETENTION_S",
    "COUNTS_PUBLISH_INTERVAL_S",
    "SSE_UPDATE_INTERVAL_S",
    "ENGINE_MAX_DOWNLOAD_RATE",
    "ENGINE_MAX_UPLOAD_RATE",
    "ENGINE_LIVE_CACHE_TYPE",
    "ENGINE_LIVE_BUFFER",
    "PREFERRED_ENGINES_PER_VPN",
    "MAX_ENGINES_PER_VPN",
    "VPN_ENABLED",
    "VPN_IMAGE",
    "VPN_CREDENTIALS_FILE",
    "VPN_PROVIDER",
    "VPN_PROTOCOL",
    "VPN_REGIONS",
    "VPN_SERVERS_JSON_DIR",
    "VPN_CONTROLLER_INTERVAL_S",
    "GLUETUN_HEALTH_CHECK_INTERVAL_S",
    "VPN_NOTREADY_HEAL_GRACE_S",
    "VPN_UNHEALTHY_GRACE_PERIOD_S",
    "VPN_DRAINING_HARD_TIMEOUT_S",
    "VPN_DRAINING_CHECK_INTERVAL_S",
    "VPN_SERVERS_AUTO_REFRESH",
    "VPN_SERVERS_AUTO_REFRESH_PERIOD_S",
    "VPN_SERVERS_AUTO_REFRESH_SOURCE",
    "REPUTATION_ENABLED",
    "REPUTATION_W_SUCCESS",
    "REPUTATION_W_TTFB",
    "REPUTATION_W_DURATION",
    "REPUTATION_LOW_CONF_PROBES",
    "REPUTATION_REFRESH_SECONDS",
    "REPUTATION_MAX_STALE_SECONDS",
    "REPUTATION_AUTO_QUARANTINE_N",
    "REPUTATION_AUTO_QUARANTINE_FOR",
    "REPUTATION_EXPLORATION_C",
    "REPUTATION_PICK_TOP_N",
];

const ACEXY: &[&str] = &[
    "ACEXY_ADDR",
    "ACEXY_LISTEN_ADDR",
    "ACEXY_SCHEME",
    "ACEXY_HOST",
    "ACEXY_PORT",
    "ACEXY_TIMEOUT",
    "ACEXY_M3U8_STREAM_TIMEOUT",
    "ACEXY_M3U8",
    "ACEXY_EMPTY_TIMEOUT",
    "ACEXY_NO_RESPONSE_TIMEOUT",
    "ACEXY_BUFFER",
    "ACEXY_BUFFER_SIZE",
    "ACEXY_MAX_STREAMS_PER_ENGINE",
    "ACEXY_ORCH_URL",
    "ACEXY_ORCH_APIKEY",
    "ACEXY_CONTAINER_ID",
    "ACEXY_LOG_LEVEL",
    "DEBUG_MODE",
    "DEBUG_LOG_DIR",
    "ACEXY_STREAM_GRACE_PERIOD",
];

const SECTIONS: &[Section] = &[
    Section { title: "The orchestrator, version 1.5", names: ORCHESTRATOR },
    Section { title: "Its built-in proxy", names: PROXY },
    Section { title: "Constants the proxy's guide published", names: CONSTANTS },
    Section { title: "The orchestrator, versions 1.6 and 1.7", names: LATER },
    Section { title: "The orchestrator, version 2", names: SECOND },
    Section { title: "acexy", names: ACEXY },
];

const REASONS: &[Reason] = &[
    Reason {
        why: "the log writes UTC, and the system reads it wherever it formats local times",
        names: &[("TZ", "unset")],
    },
    Reason {
        why: "what survives a restart lives in one file of its own in `DATA_DIR`",
        names: &[
            ("DB_URL", "`sqlite:///./orchestrator.db`"),
            ("ACESTREAM_DB_PATH", "`/app/app/config/acestream.db`"),
        ],
    },
    Reason {
        why: "what engines are told is part of their variant; a custom variant has parameters for it",
        names: &[
            ("ENGINE_MAX_DOWNLOAD_RATE", "0"),
            ("ENGINE_MAX_UPLOAD_RATE", "0"),
            ("ENGINE_LIVE_CACHE_TYPE", "memory"),
            ("ENGINE_LIVE_BUFFER", "30"),
        ],
    },
    Reason {
        why: "what happens is acted on when it happens, not at the next turn of a clock",
        names: &[
            ("AUTOSCALE_INTERVAL_S", "30"),
            ("MONITOR_INTERVAL_S", "10"),
            ("PROXY_CLEANUP_INTERVAL", "60"),
            ("SESSION_CLEANUP_INTERVAL", "60"),
            ("CLEANUP_INTERVAL_S", "5"),
            ("CLEANUP_CHECK_INTERVAL_S", "2"),
            ("COUNTS_PUBLISH_INTERVAL_S", "5"),
            ("SSE_UPDATE_INTERVAL_S", "1"),
            ("ENGINE_CACHE_TTL", "2"),
        ],
    },
    Reason {
        why: "engines are checked every 10 s, each second while in doubt, and judged by the streams on them as well",
        names: &[("HEALTH_CHECK_INTERVAL_S", "20"), ("HEALTH_FAILURE_THRESHOLD", "3")],
    },
    Reason {
        why: "no VPN is used in this version",
        names: &[
            ("VPN_MODE", "single"),
            ("GLUETUN_CONTAINER_NAME", "unset"),
            ("GLUETUN_CONTAINER_NAME_2", "unset"),
            ("GLUETUN_API_PORT", "8000"),
            ("GLUETUN_HEALTH_CHECK_INTERVAL_S", "5"),
            ("GLUETUN_PORT_CACHE_TTL_S", "60"),
            ("GLUETUN_PORT_RANGE_1", "unset"),
            ("GLUETUN_PORT_RANGE_2", "unset"),
            ("VPN_RESTART_ENGINES_ON_RECONNECT", "true"),
            ("VPN_UNHEALTHY_RESTART_TIMEOUT_S", "60"),
            ("PREFERRED_ENGINES_PER_VPN", "10"),
            ("MAX_ENGINES_PER_VPN", "15"),
            ("VPN_ENABLED", "false"),
            ("VPN_IMAGE", "`qmcgaw/gluetun`"),
            ("VPN_CREDENTIALS_FILE", "unset"),
            ("VPN_PROVIDER", "protonvpn"),
            ("VPN_PROTOCOL", "wireguard"),
            ("VPN_REGIONS", "unset"),
            ("VPN_SERVERS_JSON_DIR", "unset"),
            ("VPN_CONTROLLER_INTERVAL_S", "5"),
            ("VPN_NOTREADY_HEAL_GRACE_S", "45"),
            ("VPN_UNHEALTHY_GRACE_PERIOD_S", "5m"),
            ("VPN_DRAINING_HARD_TIMEOUT_S", "10m"),
            ("VPN_DRAINING_CHECK_INTERVAL_S", "15"),
            ("VPN_SERVERS_AUTO_REFRESH", "false"),
            ("VPN_SERVERS_AUTO_REFRESH_PERIOD_S", "86400"),
            ("VPN_SERVERS_AUTO_REFRESH_SOURCE", "`gluetun_official`"),
            ("REPUTATION_ENABLED", "true"),
            ("REPUTATION_W_SUCCESS", "0.60"),
            ("REPUTATION_W_TTFB", "0.25"),
            ("REPUTATION_W_DURATION", "0.15"),
            ("REPUTATION_LOW_CONF_PROBES", "5"),
            ("REPUTATION_REFRESH_SECONDS", "60"),
            ("REPUTATION_MAX_STALE_SECONDS", "300"),
            ("REPUTATION_AUTO_QUARANTINE_N", "5"),
            ("REPUTATION_AUTO_QUARANTINE_FOR", "3600"),
            ("REPUTATION_EXPLORATION_C", "0.3"),
            ("REPUTATION_PICK_TOP_N", "5"),
        ],
    },
    Reason {
        why: "a stream that ended stays listed for an hour, over restarts too",
        names: &[("STREAM_RETENTION_S", "300")],
    },
    Reason {
        why: "media is read once into a window and handed to players without copying: there are no chunks and no pauses \
              between looks; `WINDOW_TOTAL_MIB` bounds it",
        names: &[
            ("PROXY_CHUNK_SIZE", "8192"),
            ("PROXY_BUFFER_CHUNK_SIZE", "1061072"),
            ("PROXY_BUFFER_TTL", "60"),
            ("BUFFER_CHUNK_SIZE", "1061072"),
            ("INITIAL_BEHIND_CHUNKS", "4"),
            ("REDIS_CHUNK_TTL_S", "60"),
            ("MAX_MEMORY_MB", "2048"),
            ("CHUNK_TIMEOUT_S", "5"),
            ("PROXY_INITIAL_DATA_CHECK_INTERVAL", "0.2"),
            ("INITIAL_DATA_CHECK_INTERVAL_MS", "200ms"),
            ("STREAM_BUFFER_SIZE", "4MiB"),
            ("COPY_CHUNK_SIZE", "64KiB"),
        ],
    },
    Reason {
        why: "players are connections: one that takes nothing for `WRITE_TIMEOUT_S` is closed",
        names: &[
            ("PROXY_CLIENT_TTL", "60"),
            ("PROXY_HEARTBEAT_INTERVAL", "10"),
            ("PROXY_GHOST_CLIENT_MULTIPLIER", "5.0"),
            ("CLIENT_HEARTBEAT_INTERVAL_S", "10"),
            ("CLIENT_RECORD_TTL_S", "60"),
            ("CLIENT_WAIT_TIMEOUT_S", "60"),
            ("STREAM_TIMEOUT_S", "60"),
        ],
    },
    Reason {
        why: "a start goes by `START_TIMEOUT_S` and `START_TIMEOUT_MAX_S`, an engine that hangs by `NO_RESPONSE_TIMEOUT`, \
              and retries by the silence there was",
        names: &[
            ("PROXY_CONNECTION_TIMEOUT", "10"),
            ("PROXY_INIT_TIMEOUT", "30"),
            ("PROXY_INITIAL_DATA_WAIT_TIMEOUT", "10"),
            ("INITIAL_DATA_WAIT_TIMEOUT_S", "10"),
            ("CHANNEL_INIT_GRACE_PERIOD_S", "30"),
            ("UPSTREAM_CONNECT_TIMEOUT_S", "3"),
            ("UPSTREAM_READ_TIMEOUT_S", "90"),
            ("MAX_RETRIES", "3"),
            ("RETRY_WAIT_INTERVAL_MS", "500ms"),
            ("ENGINE_SELECTION_TIMEOUT", "5"),
        ],
    },
    Reason {
        why: "a silent stream ends after `EMPTY_TIMEOUT`",
        names: &[
            ("PROXY_NO_DATA_TIMEOUT_CHECKS", "60"),
            ("PROXY_NO_DATA_CHECK_INTERVAL", "1"),
            ("NO_DATA_TIMEOUT_CHECKS", "60"),
            ("NO_DATA_CHECK_INTERVAL_S", "1"),
        ],
    },
    Reason {
        why: "nothing is kept in Redis",
        names: &[
            ("REDIS_HOST", "localhost"),
            ("REDIS_PORT", "6379"),
            ("REDIS_DB", "0"),
            ("REDIS_URL", "unset"),
        ],
    },
    Reason {
        why: "HLS is cut from the same window as everything else, by what the stream allows; see [HLS](reference/hls.md)",
        names: &[
            ("HLS_MAX_SEGMENTS", "20"),
            ("HLS_INITIAL_SEGMENTS", "3"),
            ("HLS_WINDOW_SIZE", "6"),
            ("HLS_BUFFER_READY_TIMEOUT", "30"),
            ("HLS_FIRST_SEGMENT_TIMEOUT", "30"),
            ("HLS_INITIAL_BUFFER_SECONDS", "10"),
            ("HLS_MAX_INITIAL_SEGMENTS", "10"),
            ("HLS_SEGMENT_FETCH_INTERVAL", "0.5"),
            ("API_HLS_CLIENT_TTL", "10"),
            ("API_HLS_SEGMENT_TIME_S", "3.0"),
            ("API_HLS_LIST_SIZE", "5"),
            ("API_HLS_SPLIT_BY_TIME", "1"),
            ("HLS_CLIENT_IDLE_TIMEOUT_S", "10"),
        ],
    },
    Reason {
        why: "figures over time are what a Prometheus keeps",
        names: &[
            ("DASHBOARD_DEFAULT_WINDOW_S", "900"),
            ("DASHBOARD_PERSIST_INTERVAL_S", "5"),
            ("DASHBOARD_METRICS_RETENTION_HOURS", "168"),
        ],
    },
    Reason { why: "playlists are not downloaded for others", names: &[("M3U_TIMEOUT", "15")] },
    Reason {
        why: "engines are spoken to over HTTP",
        names: &[
            ("LEGACY_STATS_PROBE_WORKERS", "8"),
            ("PROXY_CONTROL_MODE", "`LEGACY_HTTP`"),
            ("PROXY_LEGACY_API_PREFLIGHT_TIER", "light"),
            ("CONTROL_MODE", "api"),
        ],
    },
    Reason {
        why: "players join `JOIN_BEHIND_S` behind live and take what there is at their own pace",
        names: &[
            ("ACE_LIVE_EDGE_DELAY", "0"),
            ("PACING_BURST_SECONDS", "15"),
            ("PACING_BITRATE_MULTIPLIER", "1.5"),
            ("PROXY_MAX_CATCHUP_MULTIPLIER", "2"),
            ("PROXY_PREBUFFER_SECONDS", "3"),
        ],
    },
    Reason {
        why: "one program listens, on `BIND_ADDR` and `APP_PORT`",
        names: &[("PROXY_LISTEN_ADDR", ":8000"), ("ORCHESTRATOR_LISTEN_ADDR", ":8083")],
    },
    Reason {
        why: "engines and `WINDOW_TOTAL_MIB` bound how many streams there are",
        names: &[("MAX_TOTAL_STREAMS", "150")],
    },
];

/// The default and the reason of a name that is in no table.
fn reason(name: &str) -> Option<(&'static str, &'static str)> {
    REASONS.iter().find_map(|reason| {
        let found = reason.names.iter().find(|(known, _)| *known == name)?;
        Some((found.1, reason.why))
    })
}

fn variable(name: &str) -> Option<&'static Variable> {
    ALL.iter().copied().find(|variable| variable.spellings().any(|spelling| spelling == name))
}

/// The cells of one row: default and what became of the name. `None` when nothing is known of it.
fn row(name: &str) -> Option<(String, String)> {
    let Some(variable) = variable(name) else {
        let (default, why) = reason(name)?;
        return Some((format!("{default} there"), format!("No effect: {why}.")));
    };
    let default = match variable.default {
        Default::Is(text) => format!("`{text}`"),
        Default::Means(text) => text.to_owned(),
    };
    let told = match variable.effect {
        Effect::Nothing(why) => format!("No effect: {why}."),
        Effect::Refused(instead) => format!("Refused at start: {instead}."),
        Effect::Inert { .. } => format!("{} Anything else is refused at start.", variable.meaning),
        Effect::Acts if variable.name == name => variable.meaning.to_owned(),
        Effect::Acts => format!("The same as `{}`.", variable.name),
    };
    Some((default, told))
}

/// The page, and the documented names it has no row for.
fn page() -> (String, Vec<&'static str>) {
    let (mut page, mut missing) = (HEAD.to_owned(), Vec::new());
    for section in SECTIONS {
        let _ = write!(
            page,
            "\n## {}\n\n| variable | default | what it does here |\n|---|---|---|\n",
            section.title
        );
        for name in section.names {
            match row(name) {
                Some((default, told)) => {
                    let told = told.replace('|', "\\|");
                    let _ = writeln!(page, "| `{name}` | {default} | {told} |");
                }
                None => missing.push(*name),
            }
        }
    }
    (page, missing)
}

const HEAD: &str = "\
# Variables of earlier programs

<!-- Printed from src/settings/catalogue.rs and names.rs; a test compares. Run `make docs` after a change there. -->

Every variable that acestream-orchestrator, its proxy and acexy documented, and what it does here. All variables that act,
with their bounds, are in the [settings reference](reference/settings.md). Of the others:

- **No effect**: it did something there that is done in another way here, or that nobody needs here. It is recognised, and a
  warning at start lists those that are set.
- **Only** a value: it did nothing there either. A `.env` with the value that was documented starts without a word; any other
  value asks for something that would not happen, so the start is refused, with what to set instead.
- **Refused**: it would mislead, and the start is refused whatever its value.
";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Guards: every documented name has a row, and the page that is checked in is what the lists print.
    #[test]
    fn the_reference_page_of_earlier_names_is_whole() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFIG.md");
        let (page, missing) = page();
        assert_eq!(missing, Vec::<&str>::new(), "documented names without a row");
        if std::env::var_os("SLUICE_TEST_WRITE_DOCS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == page, "docs/CONFIG.md is not what the lists print: run `make docs`");
    }

    /// Guards: a name without effect that an operator brings along is warned of, and explained on the page. `TZ` is set
    /// on most hosts for other programs' sake.
    #[test]
    fn every_name_that_is_warned_of_is_explained() {
        let recognised = crate::settings::foreign::NAMES;
        let unknown = SECTIONS
            .iter()
            .flat_map(|section| section.names)
            .filter(|name| **name != "TZ" && variable(name).is_none() && !recognised.contains(name));
        assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&&str>::new(), "not recognised at the start");
        let explained: BTreeSet<&str> = SECTIONS.iter().flat_map(|section| section.names).copied().collect();
        let known = recognised.iter().copied().filter(|name| !explained.contains(name));
        assert_eq!(
            known.collect::<Vec<_>>(),
            ["LEGACY_API_PREFLIGHT_TIER"],
            "an older spelling of one above"
        );
    }
}
