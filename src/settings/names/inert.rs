//! Variables that did nothing in the orchestrator they come from.
//!
//! Each asks for something that does not happen here either. What was documented of it is taken without a word, so that a
//! `.env` somebody copied goes on working; any other value was meant, and refuses the start with what to set instead.

use super::{Default, Effect, Group, HOUR, Kind, Variable, count, seconds};

const fn inert(
    name: &'static str,
    kind: Kind,
    documented: &'static [&'static str],
    meaning: &'static str,
    instead: &'static str,
) -> Variable {
    Variable {
        name,
        aliases: &[],
        group: Group::Inert,
        kind,
        default: Default::Means("not set"),
        meaning,
        effect: Effect::Inert { documented, instead },
    }
}

/// `IDLE_TTL_S`
pub(super) static IDLE_TTL_S: Variable = inert(
    "IDLE_TTL_S",
    seconds(0, 24 * HOUR),
    &["600"],
    "Only `600`: `ENGINE_GRACE_PERIOD_S` says when an idle engine is removed.",
    "set ENGINE_GRACE_PERIOD_S, which says when an idle engine is removed, and remove this",
);

/// `MAX_ACTIVE_REPLICAS`
pub(super) static MAX_ACTIVE_REPLICAS: Variable = inert(
    "MAX_ACTIVE_REPLICAS",
    count(0, 1000),
    &["20"],
    "Only `20`: `MAX_REPLICAS` limits engines.",
    "set MAX_REPLICAS, which limits engines, and remove this",
);

/// `ACE_HTTP_RANGE`
pub(super) static ACE_HTTP_RANGE: Variable = inert(
    "ACE_HTTP_RANGE",
    Kind::Text("low-high"),
    &["40000-44999"],
    "Only `40000-44999`: an engine's HTTP port is the same inside and outside, from `PORT_RANGE_HOST`.",
    "set PORT_RANGE_HOST, from which an engine's HTTP port is taken inside and outside, and remove this",
);

/// `PROXY_MODE`
pub(super) static PROXY_MODE: Variable = inert(
    "PROXY_MODE",
    Kind::Choice(&["lightweight", "ffmpeg"]),
    &["lightweight"],
    "Only `lightweight`: media is passed on as the engine sends it.",
    "media is passed on as the engine sends it and ffmpeg is not used; remove this",
);

/// `ORCHESTRATOR_URL`
pub(super) static ORCHESTRATOR_URL: Variable = inert(
    "ORCHESTRATOR_URL",
    Kind::Text("a URL"),
    &["http://localhost:8000", "http://127.0.0.1:8000", "http://orchestrator:8000"],
    "Only this program's own address (`http://localhost:8000`, `http://orchestrator:8000`): it is the orchestrator.",
    "this program is the orchestrator and asks no other one; remove this",
);

/// `PROXY_CLIENT_WAIT_TIMEOUT`
pub(super) static PROXY_CLIENT_WAIT_TIMEOUT: Variable = inert(
    "PROXY_CLIENT_WAIT_TIMEOUT",
    seconds(0, 24 * HOUR),
    &["30"],
    "Only `30`: a player waits `ENGINE_WAIT_S` for an engine and `START_TIMEOUT_S` for it to begin.",
    "set ENGINE_WAIT_S and START_TIMEOUT_S, which bound what a player waits for, and remove this",
);

/// `PROXY_STREAM_TIMEOUT`
pub(super) static PROXY_STREAM_TIMEOUT: Variable = inert(
    "PROXY_STREAM_TIMEOUT",
    seconds(0, 24 * HOUR),
    &["60"],
    "Only `60`: a silent stream ends after `EMPTY_TIMEOUT`.",
    "set EMPTY_TIMEOUT, after which a silent stream ends, and remove this",
);

/// `PROXY_CHUNK_TIMEOUT`
pub(super) static PROXY_CHUNK_TIMEOUT: Variable = inert(
    "PROXY_CHUNK_TIMEOUT",
    seconds(0, 24 * HOUR),
    &["5"],
    "Only `5`: another engine is sought when one is silent against its own rhythm; `EMPTY_TIMEOUT` bounds that.",
    "set EMPTY_TIMEOUT, which bounds how long a stream may be silent, and remove this",
);

/// `PROXY_INITIAL_BEHIND_CHUNKS`
pub(super) static PROXY_INITIAL_BEHIND_CHUNKS: Variable = inert(
    "PROXY_INITIAL_BEHIND_CHUNKS",
    count(0, 1_000_000),
    &["4"],
    "Only `4`: `JOIN_BEHIND_S` says how far behind live a player joins.",
    "set JOIN_BEHIND_S, which says how far behind live a player joins, and remove this",
);

/// `PROXY_CLEANUP_CHECK_INTERVAL`
pub(super) static PROXY_CLEANUP_CHECK_INTERVAL: Variable = inert(
    "PROXY_CLEANUP_CHECK_INTERVAL",
    seconds(0, 24 * HOUR),
    &["3"],
    "Only `3`: what happens is acted on when it happens, not at the next turn of a clock.",
    "what happens is acted on when it happens and nothing is looked through by the clock; remove this",
);

/// `PROXY_KEEPALIVE_INTERVAL`
pub(super) static PROXY_KEEPALIVE_INTERVAL: Variable = inert(
    "PROXY_KEEPALIVE_INTERVAL",
    seconds(0, HOUR),
    &["0.5"],
    "Only `0.5`: `KEEPALIVE_INTERVAL_MS` is the distance of null packets.",
    "set KEEPALIVE_INTERVAL_MS, the distance of null packets, and remove this",
);

/// `PROXY_MAX_RETRIES`
pub(super) static PROXY_MAX_RETRIES: Variable = inert(
    "PROXY_MAX_RETRIES",
    count(0, 1_000_000),
    &["3"],
    "Only `3`: engines are tried as long as `START_TIMEOUT_MAX_S` and `EMPTY_TIMEOUT` allow, not a number of times.",
    "set START_TIMEOUT_MAX_S and EMPTY_TIMEOUT, which bound how long engines are tried, and remove this",
);

/// `PROXY_RETRY_WAIT_INTERVAL`
pub(super) static PROXY_RETRY_WAIT_INTERVAL: Variable = inert(
    "PROXY_RETRY_WAIT_INTERVAL",
    seconds(0, HOUR),
    &["0.5"],
    "Only `0.5`: pauses between tries grow by themselves; `EMPTY_TIMEOUT` bounds them all.",
    "set EMPTY_TIMEOUT, which bounds all tries together, and remove this",
);

/// `PROXY_HEALTH_CHECK_INTERVAL`
pub(super) static PROXY_HEALTH_CHECK_INTERVAL: Variable = inert(
    "PROXY_HEALTH_CHECK_INTERVAL",
    seconds(0, 24 * HOUR),
    &["5"],
    "Only `5`: streams are looked after all the time; an engine counts as hung after `NO_RESPONSE_TIMEOUT`.",
    "set NO_RESPONSE_TIMEOUT, after which an engine counts as hung, and remove this",
);
