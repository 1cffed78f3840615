//! Every row of the published table of routes: asked as a client asks, answered in the form that is documented.
//!
//! The table below is the contract's own, row by row. A row without a request, a route that is described and has no row, and a
//! row that asks for the key when it should not, each fail a test. What routes do beyond their form has tests of its own.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests are threads of their own: they connect, wait and lock"
)]

mod common;

use Answers::{Detail, Exactly, List, Object, OnShard, Redirect, Text};
use common::engine::Engine;
use common::http::{Answer, read_answer};
use common::{Bench, eventually, number, options, session};
use serde_json::{Value, json};
use sluice_contract::EngineId;
use sluice_contract::snapshot::{Session, SessionEngine, SessionState};
use sluice_control::{ApiKey, Options};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

/// One row: its number, whether it asks for the key, and what is asked of it, in order.
struct Row(u8, bool, &'static [Ask]);

/// Method and target, body, status, and what is answered. `{engine}` and `{id}` stand for an engine and a content id.
struct Ask(&'static str, &'static str, u16, Answers);

/// What an answer is.
#[derive(Clone, Copy)]
enum Answers {
    /// An object with these members: `name:kind`, dots lead inside. Kinds are s(tring), n(umber), b(oolean), o(bject), a(rray),
    /// and t(ime with its zone); `?` allows null.
    Object(&'static [&'static str]),
    /// A list that is not empty, of such objects.
    List(&'static [&'static str]),
    /// This, byte for byte.
    Exactly(&'static str),
    /// `{"detail": …}` with this text.
    Detail(&'static str),
    /// A list of faults, of which the first has this code.
    Faults(&'static str),
    /// Anything of this content type.
    Text(&'static str),
    /// Elsewhere.
    Redirect(&'static str),
    /// Nothing from here: it belongs to the data plane.
    OnShard,
}

const CONTAINER_GONE: Answers = Detail("container not found");
const NO_DOCKER: Answers = Object(&[
    "detail.error:s",
    "detail.code:s",
    "detail.message:s",
    "detail.recovery_eta_seconds:n?",
    "detail.can_retry:b",
    "detail.should_wait:b",
]);
const JSON: &str = "application/json";
const VARIANT: &[&str] = &[
    "enabled:b",
    "platform:s",
    "arm_version:s",
    "memory_limit:s?",
    "parameters:a",
    "torrent_folder_mount_enabled:b",
    "torrent_folder_host_path:s?",
    "torrent_folder_container_path:s",
];
const ENGINE: &[&str] = &[
    "container_id:s",
    "container_name:s?",
    "host:s",
    "port:n",
    "labels:o",
    "forwarded:b",
    "first_seen:t",
    "last_seen:t",
    "streams:a",
    "health_status:s",
    "last_health_check:t?",
    "last_stream_usage:t?",
    "vpn_container:s?",
    "engine_variant:s?",
    "platform:s?",
    "version:s?",
    "forwarded_port:n?",
    "last_cache_cleanup:t?",
    "cache_size_bytes:n?",
];
const STREAM: &[&str] = &[
    "id:s",
    "key_type:s",
    "key:s",
    "container_id:s",
    "playback_session_id:s",
    "stat_url:s",
    "command_url:s",
    "is_live:b",
    "started_at:t",
    "ended_at:t?",
    "status:s",
    "peers:n?",
    "speed_down:n?",
    "speed_up:n?",
    "downloaded:n?",
    "uploaded:n?",
    "livepos:o?",
];
const SESSION: &[&str] = &[
    "stream_id:s?",
    "ace_id:s",
    "engine_host:s",
    "engine_port:n",
    "container_id:s",
    "playback_session_id:s?",
    "is_live:b",
    "is_active:b",
    "client_count:n",
    "created_at:t",
    "started_at:t?",
    "ended_at:t?",
    "error:s?",
    "idle_seconds:n",
];
const SAMPLE: &[&str] = &[
    "ts:t",
    "peers:n?",
    "speed_down:n?",
    "speed_up:n?",
    "downloaded:n?",
    "uploaded:n?",
    "status:s?",
    "livepos.pos:s?",
    "livepos.live_first:s?",
    "livepos.live_last:s?",
    "livepos.first_ts:s?",
    "livepos.last_ts:s?",
    "livepos.buffer_pieces:s?",
];
const ACEXY: &[&str] = &[
    "enabled:b",
    "deprecated:b",
    "message:s",
    "url:s?",
    "healthy:b?",
    "last_health_check:t?",
    "sync_interval_seconds:n?",
];
const PROXY: &[&str] = &[
    "initial_data_wait_timeout:n",
    "initial_data_check_interval:n",
    "no_data_timeout_checks:n",
    "no_data_check_interval:n",
    "connection_timeout:n",
    "stream_timeout:n",
    "channel_shutdown_delay:n",
    "max_streams_per_engine:n",
    "stream_mode:s",
    "hls_max_segments:n",
    "hls_initial_segments:n",
    "hls_window_size:n",
    "hls_buffer_ready_timeout:n",
    "hls_first_segment_timeout:n",
    "hls_initial_buffer_seconds:n",
    "hls_max_initial_segments:n",
    "hls_segment_fetch_interval:n",
];
const LOOPS: &[&str] = &[
    "enabled:b",
    "threshold_seconds:n",
    "threshold_minutes:n",
    "threshold_hours:n",
    "check_interval_seconds:n",
    "retention_minutes:n",
];
const ENGINES: &[&str] = &[
    "min_replicas:n",
    "max_replicas:n",
    "auto_delete:b",
    "engine_variant:s",
    "use_custom_variant:b",
    "platform:s",
];
const REPORT: &str = r#"{"container_id":"acexy","engine":{"host":"gluetun","port":19000},
    "stream":{"key_type":"infohash","key":"0a48"},"labels":{"stream_id":"ch-42"},
    "session":{"playback_session_id":"9c0e","is_live":1,"stat_url":"http://gluetun:19000/ace/stat/a",
        "command_url":"http://gluetun:19000/ace/cmd/a"}}"#;
const SAVE_SLOT: Ask = Ask(
    "POST /custom-variant/templates/3",
    r#"{"name":"one","config":{"platform":"amd64"}}"#,
    200,
    Exactly(r#"{"message":"Template 3 saved successfully"}"#),
);

/// The published table.
const ROWS: &[Row] = &[
    Row(1, false, &[Ask("GET /version", "", 200, Object(&["version:s", "title:s"]))]),
    Row(2, false, &[Ask("GET /metrics", "", 200, Text("text/plain; version=0.0.4; charset=utf-8"))]),
    Row(3, false, &[Ask("GET /health", "", 0, OnShard)]),
    Row(
        4,
        false,
        &[Ask(
            "GET /health/status",
            "",
            200,
            Object(&[
                "total_engines:n",
                "healthy_engines:n",
                "unhealthy_engines:n",
                "marked_for_replacement:n",
                "minimum_required:n",
                "health_check_interval:n",
                "circuit_breakers.general.state:s",
                "circuit_breakers.general.failure_count:n",
                "circuit_breakers.general.failure_threshold:n",
                "circuit_breakers.general.last_failure_time:t?",
                "circuit_breakers.general.last_success_time:t?",
                "circuit_breakers.general.recovery_timeout:n",
                "circuit_breakers.replacement.state:s",
            ]),
        )],
    ),
    Row(
        5,
        true,
        &[Ask(
            "POST /health/circuit-breaker/reset?operation_type=general",
            "",
            200,
            Exactly(r#"{"message":"Circuit breaker for general reset successfully"}"#),
        )],
    ),
    Row(
        6,
        false,
        &[Ask(
            "GET /orchestrator/status",
            "",
            200,
            Object(&[
                "status:s",
                "engines.total:n",
                "engines.running:n",
                "engines.healthy:n",
                "engines.unhealthy:n",
                "streams.active:n",
                "streams.total:n",
                "capacity.total:n",
                "capacity.used:n",
                "capacity.available:n",
                "capacity.max_replicas:n",
                "capacity.min_replicas:n",
                "vpn.enabled:b",
                "vpn.connected:b",
                "vpn.health:s",
                "vpn.container:s?",
                "vpn.forwarded_port:n?",
                "provisioning.can_provision:b",
                "provisioning.circuit_breaker_state:s",
                "provisioning.last_failure:t?",
                "provisioning.blocked_reason:s?",
                "provisioning.blocked_reason_details.code:s",
                "provisioning.blocked_reason_details.message:s",
                "provisioning.blocked_reason_details.recovery_eta_seconds:n?",
                "provisioning.blocked_reason_details.can_retry:b",
                "provisioning.blocked_reason_details.should_wait:b",
                "acexy.deprecated:b",
                "config.auto_delete:b",
                "config.grace_period_s:n",
                "config.engine_variant:s",
                "config.debug_mode:b",
                "timestamp:t",
            ]),
        )],
    ),
    Row(7, false, &[Ask("GET /acexy/status", "", 200, Object(ACEXY))]),
    Row(
        8,
        false,
        &[Ask(
            "GET /cache/stats",
            "",
            200,
            Object(&["size:n", "hits:n", "misses:n", "hit_rate:n", "entries:a"]),
        )],
    ),
    Row(
        9,
        true,
        &[Ask("POST /cache/clear", "", 200, Exactly(r#"{"message":"Cache cleared successfully"}"#))],
    ),
    Row(
        10,
        false,
        &[
            Ask("GET /docs", "", 307, Redirect("/docs/")),
            Ask("GET /docs/", "", 200, Text("text/html")),
            Ask("GET /redoc", "", 307, Redirect("/docs/")),
            Ask("GET /openapi.json", "", 200, Object(&["openapi:s", "info.title:s", "paths:o"])),
            Ask("GET /docs/oauth2-redirect", "", 200, Text("text/html")),
        ],
    ),
    Row(
        11,
        true,
        &[
            Ask("POST /provision", r#"{"image":"a/b:1"}"#, 503, NO_DOCKER),
            Ask("POST /provision", "{}", 422, Answers::Faults("missing")),
        ],
    ),
    Row(
        12,
        true,
        &[
            Ask("POST /provision/acestream", r#"{"labels":{},"env":{}}"#, 503, NO_DOCKER),
            Ask("POST /provision/acestream", "", 422, Answers::Faults("missing")),
        ],
    ),
    Row(
        13,
        true,
        &[
            Ask("POST /scale/2", "", 503, NO_DOCKER),
            Ask("POST /scale/-1", "", 422, Answers::Faults("greater_than_equal")),
        ],
    ),
    Row(14, true, &[Ask("POST /gc", "", 200, Exactly(r#"{"status":"ok"}"#))]),
    Row(15, false, &[Ask("GET /containers/4f1c", "", 404, CONTAINER_GONE)]),
    Row(16, true, &[Ask("DELETE /containers/4f1c", "", 404, CONTAINER_GONE)]),
    Row(
        17,
        true,
        &[
            Ask("GET /by-label?key=a&value=b", "", 200, Exactly("[]")),
            Ask("GET /by-label?key=a", "", 422, Answers::Faults("missing")),
        ],
    ),
    Row(18, false, &[Ask("GET /engines", "", 200, List(ENGINE))]),
    Row(
        19,
        false,
        &[
            Ask(
                "GET /engines/{engine}",
                "",
                200,
                Object(&["engine.container_id:s", "engine.health_status:s", "streams:a"]),
            ),
            Ask("GET /engines/4f1c", "", 404, Detail("Engine not found")),
        ],
    ),
    Row(20, false, &[Ask("GET /engines/stats/all", "", 200, Exactly("{}"))]),
    Row(
        21,
        false,
        &[Ask(
            "GET /engines/stats/total",
            "",
            200,
            Object(&[
                "total_cpu_percent:n",
                "total_memory_usage:n",
                "total_network_rx_bytes:n",
                "total_network_tx_bytes:n",
                "total_block_read_bytes:n",
                "total_block_write_bytes:n",
                "container_count:n",
            ]),
        )],
    ),
    Row(
        22,
        false,
        &[Ask("GET /engines/4f1c/stats", "", 404, Detail("Container not found or stats unavailable"))],
    ),
    Row(
        23,
        false,
        &[
            Ask("GET /streams", "", 200, List(STREAM)),
            Ask("GET /streams?status=started&container_id=4f1c", "", 200, Exactly("[]")),
            Ask("GET /streams?status=playing", "", 422, Answers::Faults("string_pattern_mismatch")),
        ],
    ),
    Row(
        24,
        false,
        &[
            Ask("GET /streams/ch-1/stats", "", 200, List(SAMPLE)),
            Ask("GET /streams/nobody/stats?since=2026-02-01", "", 200, Exactly("[]")),
        ],
    ),
    Row(
        25,
        false,
        &[
            Ask("GET /streams/ch-1/extended-stats", "", 200, Exactly(r#"{"is_live":1,"title":"News"}"#)),
            Ask("GET /streams/nobody/extended-stats", "", 404, Detail("Stream not found")),
        ],
    ),
    Row(
        26,
        false,
        &[
            Ask(
                "GET /streams/ch-1/livepos",
                "",
                200,
                Object(&["has_livepos:b", "is_live:b", "livepos.pos:s"]),
            ),
            Ask("GET /streams/nobody/livepos", "", 404, Detail("Stream not found")),
        ],
    ),
    Row(
        27,
        true,
        &[
            Ask(
                "DELETE /streams/ch-1",
                "",
                200,
                Exactly(r#"{"message":"Stream stopped successfully","stream_id":"ch-1"}"#),
            ),
            Ask("DELETE /streams/ch-1", "", 400, Detail("Stream is not active (status: ended)")),
            Ask("DELETE /streams/nobody", "", 404, Detail("Stream not found")),
        ],
    ),
    Row(
        28,
        true,
        &[
            Ask(
                "POST /streams/batch-stop",
                r#"["http://nobody/"]"#,
                200,
                Exactly(
                    r#"{"total":1,"success_count":0,"failure_count":1,"results":[{"command_url":"http://nobody/","success":false,"message":"Stream not found","stream_id":null}]}"#,
                ),
            ),
            Ask("POST /streams/batch-stop", "{}", 422, Answers::Faults("list_type")),
        ],
    ),
    Row(
        29,
        true,
        &[
            Ask("POST /events/stream_started", REPORT, 200, Object(STREAM)),
            Ask("POST /events/stream_started", "{}", 422, Answers::Faults("missing")),
        ],
    ),
    Row(
        30,
        true,
        &[
            Ask(
                "POST /events/stream_ended",
                r#"{"stream_id":"ch-1","reason":"normal"}"#,
                200,
                Object(&["updated:b", "stream.id:s", "stream.ended_at:t"]),
            ),
            Ask("POST /events/stream_ended", "{}", 200, Exactly(r#"{"updated":false,"stream":null}"#)),
            Ask("POST /events/stream_ended", "", 422, Answers::Faults("missing")),
        ],
    ),
    Row(
        31,
        false,
        &[
            Ask(
                "GET /events?limit=5&event_type=stream&category=started",
                "",
                200,
                List(&[
                    "id:n",
                    "timestamp:t",
                    "event_type:s",
                    "category:s",
                    "message:s",
                    "details:o",
                    "container_id:s?",
                    "stream_id:s?",
                ]),
            ),
            Ask("GET /events?limit=1001", "", 422, Answers::Faults("less_than_equal")),
        ],
    ),
    Row(
        32,
        false,
        &[Ask(
            "GET /events/stats",
            "",
            200,
            Object(&[
                "total:n",
                "by_type.engine:n",
                "by_type.stream:n",
                "by_type.vpn:n",
                "by_type.health:n",
                "by_type.system:n",
                "oldest:t?",
                "newest:t?",
            ]),
        )],
    ),
    Row(
        33,
        true,
        &[
            Ask(
                "POST /events/cleanup?max_age_days=7",
                "",
                200,
                Exactly(r#"{"deleted":0,"message":"Cleaned up 0 events older than 7 days"}"#),
            ),
            Ask("POST /events/cleanup?max_age_days=0", "", 422, Answers::Faults("greater_than_equal")),
        ],
    ),
    Row(
        34,
        false,
        &[Ask(
            "GET /vpn/status",
            "",
            200,
            Object(&[
                "mode:s",
                "enabled:b",
                "status:s",
                "container_name:s?",
                "container:s?",
                "health:s",
                "connected:b",
                "forwarded_port:n?",
                "last_check:t?",
                "last_check_at:t?",
                "vpn1:o?",
                "vpn2:o?",
                "emergency_mode.active:b",
                "emergency_mode.failed_vpn:s?",
                "emergency_mode.healthy_vpn:s?",
                "emergency_mode.duration_seconds:n",
            ]),
        )],
    ),
    Row(35, false, &[Ask("GET /vpn/publicip", "", 503, Detail("Unable to retrieve VPN public IP"))]),
    Row(
        36,
        false,
        &[Ask("GET /custom-variant/platform", "", 200, Object(&["platform:s", "supported_platforms:a"]))],
    ),
    Row(37, false, &[Ask("GET /custom-variant/config", "", 200, Object(VARIANT))]),
    Row(
        38,
        true,
        &[
            Ask(
                "POST /custom-variant/config",
                r#"{"platform":"arm64","memory_limit":"1g"}"#,
                200,
                Object(&["message:s", "config.platform:s"]),
            ),
            Ask("POST /custom-variant/config", r#"{"platform":"mips"}"#, 422, Answers::Faults("value_error")),
        ],
    ),
    Row(39, true, &[Ask("POST /custom-variant/reprovision", "", 503, NO_DOCKER)]),
    Row(
        40,
        false,
        &[Ask(
            "GET /custom-variant/reprovision/status",
            "",
            200,
            Object(&[
                "in_progress:b",
                "status:s",
                "message:s?",
                "timestamp:t?",
                "started_at:t?",
                "total_engines:n",
                "engines_stopped:n",
                "engines_provisioned:n",
                "current_engine_id:s?",
                "current_phase:s?",
            ]),
        )],
    ),
    Row(
        41,
        false,
        &[Ask("GET /custom-variant/templates", "", 200, Object(&["templates:a", "active_template_id:n?"]))],
    ),
    Row(
        42,
        false,
        &[
            Ask("GET /custom-variant/templates/3", "", 404, Detail("Template 3 not found")),
            Ask(
                "GET /custom-variant/templates/11",
                "",
                400,
                Detail("Template slot_id must be between 1 and 10"),
            ),
            Ask("GET /custom-variant/templates/x", "", 422, Answers::Faults("int_parsing")),
        ],
    ),
    Row(
        43,
        true,
        &[
            SAVE_SLOT,
            Ask(
                "GET /custom-variant/templates/3",
                "",
                200,
                Object(&["slot_id:n", "name:s", "config.platform:s"]),
            ),
        ],
    ),
    Row(
        44,
        true,
        &[
            SAVE_SLOT,
            Ask(
                "DELETE /custom-variant/templates/3",
                "",
                200,
                Exactly(r#"{"message":"Template 3 deleted successfully"}"#),
            ),
        ],
    ),
    Row(
        45,
        true,
        &[
            SAVE_SLOT,
            Ask(
                "PATCH /custom-variant/templates/3/rename",
                r#"{"name":" X "}"#,
                200,
                Exactly(r#"{"message":"Template 3 renamed to 'X' successfully"}"#),
            ),
        ],
    ),
    Row(
        46,
        true,
        &[
            SAVE_SLOT,
            Ask(
                "POST /custom-variant/templates/3/activate",
                "",
                200,
                Exactly(
                    r#"{"message":"Template 'one' activated successfully","template_id":3,"template_name":"one"}"#,
                ),
            ),
        ],
    ),
    // Public once; what it shows may hold access tokens.
    Row(
        47,
        true,
        &[
            SAVE_SLOT,
            Ask("GET /custom-variant/templates/3/export", "", 200, Object(&["name:s", "config.platform:s"])),
        ],
    ),
    Row(
        48,
        true,
        &[Ask(
            "POST /custom-variant/templates/4/import",
            r#"{"json_data":"{\"name\":\"x\",\"config\":{\"platform\":\"amd64\"}}"}"#,
            200,
            Exactly(r#"{"message":"Template 4 imported successfully"}"#),
        )],
    ),
    Row(49, false, &[Ask("GET /ace/getstream?id={id}", "", 0, OnShard)]),
    Row(50, false, &[Ask("GET /ace/hls/{id}/segment/a/b.ts", "", 0, OnShard)]),
    Row(51, false, &[Ask("GET /ace/manifest.m3u8?id={id}", "", 0, OnShard)]),
    Row(
        52,
        false,
        &[Ask(
            "GET /proxy/status",
            "",
            200,
            Object(&["running:b", "total_sessions:n", "active_sessions:n", "total_clients:n", "sessions:a"]),
        )],
    ),
    Row(53, false, &[Ask("GET /proxy/sessions", "", 200, Object(&["sessions:a"]))]),
    Row(
        54,
        false,
        &[
            Ask("GET /proxy/sessions/{id}", "", 200, Object(SESSION)),
            Ask("GET /proxy/sessions/nobody", "", 404, Detail("Session nobody not found")),
        ],
    ),
    Row(55, false, &[Ask("GET /proxy/streams/{id}/clients", "", 200, Object(&["clients:a"]))]),
    Row(56, false, &[Ask("GET /proxy/config", "", 200, Object(PROXY))]),
    Row(
        57,
        true,
        &[
            Ask("POST /proxy/config?hls_window_size=7", "", 200, Object(PROXY)),
            Ask(
                "POST /proxy/config?hls_window_size=99",
                "",
                400,
                Detail("hls_window_size must be between 3 and 20"),
            ),
        ],
    ),
    Row(58, false, &[Ask("GET /stream-loop-detection/config", "", 200, Object(LOOPS))]),
    Row(
        59,
        true,
        &[
            Ask(
                "POST /stream-loop-detection/config?enabled=true&threshold_seconds=60",
                "",
                200,
                Object(LOOPS),
            ),
            Ask(
                "POST /stream-loop-detection/config?enabled=true&threshold_seconds=59",
                "",
                400,
                Detail("Threshold must be at least 60 seconds"),
            ),
        ],
    ),
    Row(
        60,
        false,
        &[Ask(
            "GET /looping-streams",
            "",
            200,
            Object(&["stream_ids:a", "streams:o", "retention_minutes:n"]),
        )],
    ),
    Row(61, true, &[Ask("DELETE /looping-streams/a", "", 404, Detail("Stream a not found in looping list"))]),
    Row(
        62,
        true,
        &[Ask(
            "POST /looping-streams/clear",
            "",
            200,
            Exactly(r#"{"message":"All looping streams cleared"}"#),
        )],
    ),
    Row(63, false, &[Ask("GET /settings/engine", "", 200, Object(ENGINES))]),
    Row(
        64,
        true,
        &[
            Ask("POST /settings/engine", r#"{"min_replicas":1}"#, 200, Object(ENGINES)),
            Ask(
                "POST /settings/engine",
                r#"{"min_replicas":9}"#,
                400,
                Detail("min_replicas must be <= max_replicas"),
            ),
        ],
    ),
    Row(65, true, &[Ask("GET /settings/export", "", 200, Text("application/zip"))]),
    Row(66, true, &[Ask("POST /settings/import", "", 400, Detail("No file data provided"))]),
    Row(
        67,
        false,
        &[
            Ask("GET /panel/", "", 200, Text("text/html; charset=utf-8")),
            Ask("GET /panel/streams/1", "", 200, Text("text/html; charset=utf-8")),
        ],
    ),
    Row(
        68,
        false,
        &[
            Ask("GET /favicon.ico", "", 200, Text("image/svg+xml")),
            Ask("GET /favicon.svg", "", 200, Text("image/svg+xml")),
            Ask("GET /favicon-96x96.png", "", 200, Text("image/svg+xml")),
            Ask("GET /favicon-96x96-dark.png", "", 200, Text("image/svg+xml")),
            Ask("GET /apple-touch-icon.png", "", 200, Text("image/svg+xml")),
        ],
    ),
];

/// Routes that are described and that the published table does not have.
const ADDED: [&str; 15] = [
    "GET /settings/orchestrator",
    "POST /settings/orchestrator",
    "DELETE /engines/{}/drain",
    "GET /engine-cache/stats",
    "GET /engines/{}/log",
    "GET /events/stream",
    "GET /metrics/history",
    "GET /proxy/sessions/{}/clients",
    "GET /proxy/sessions/{}/timeline",
    "GET /settings",
    "GET /settings/variables",
    "POST /settings/variables",
    "POST /engine-cache/purge",
    "POST /engines/{}/drain",
    "POST /proxy/sessions/{}/move",
];

const KEY: &str = "a-key-of-the-tests";

/// A control with an engine, a stream that another proxy reports, and a session of its own.
struct Scene {
    bench: Bench,
    engine: Engine,
}

impl Scene {
    fn new() -> Self {
        let engine = Engine::start();
        engine.answer(
            "/ace/stat/",
            r#"{"response":{"peers":7,"livepos":{"pos":"1767629806","live_last":"1767629808"}},"error":null}"#,
        );
        engine.answer("/ace/cmd/", r#"{"response":"ok","error":null}"#);
        engine.answer("/server/api", r#"{"result":{"title":"News","is_live":1}}"#);
        let quick = Options { collect_interval: Duration::from_millis(50), ..options(&[engine.authority()]) };
        let bench = Bench::start(quick, 1);
        let authority = engine.authority();
        let playing = SessionEngine {
            id: EngineId(authority.as_str().into()),
            authority: authority.as_str().into(),
            playback_session_id: Some("p1".into()),
            stat_url: None,
            command_url: None,
            is_live: 1,
            is_encrypted: false,
        };
        bench.publish(vec![Session { engine: Some(playing), ..session(1, SessionState::Playing, None) }]);
        let address = engine.address();
        let report = json!({
            "engine": { "host": address.ip().to_string(), "port": address.port() },
            "stream": { "key_type": "infohash", "key": number(7).to_string() },
            "session": {
                "playback_session_id": "9c0e",
                "stat_url": format!("http://{address}/ace/stat/a"),
                "command_url": format!("http://{address}/ace/cmd/a"),
                "is_live": 1,
            },
            "labels": { "stream_id": "ch-1" },
        });
        assert_eq!(bench.send("POST /events/stream_started", &report).status, 200);
        eventually("there are figures", || {
            bench.get("/streams/ch-1/stats").json().as_array().is_some_and(|samples| !samples.is_empty())
        });
        Self { bench, engine }
    }

    /// Sends one request of the table; `line` is its method and target.
    fn ask(&mut self, Ask(line, body, status, answers): &Ask, row: u8) {
        let line = line.replace("{engine}", &self.engine.authority().replace(':', "%3A"));
        let line = line.replace("{id}", &number(1).to_string());
        let length =
            if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let request = format!("{line} HTTP/1.1\r\nhost: sluice\r\n{length}\r\n{body}");
        let what = format!("row {row}, {line}");
        if matches!(answers, OnShard) {
            // What comes with a connection is not for the shard it comes from.
            let mut peer = self.bench.hand_over(b"");
            peer.write_all(request.as_bytes()).expect("control reads");
            let connection = self.bench.shards[0].connection();
            assert!(connection.unread.starts_with(line.as_bytes()), "{what}: {:?}", connection.unread);
            return;
        }
        let answer = read_answer(&mut self.bench.hand_over(request.as_bytes()), false);
        let text = answer.text();
        assert_eq!(answer.status, *status, "{what}: {text}");
        answers.check(&answer, &what);
        if line.starts_with("GET ") {
            let head = request.replacen("GET", "HEAD", 1);
            let head = read_answer(&mut self.bench.hand_over(head.as_bytes()), true);
            assert_eq!(
                (head.status, head.header("content-type")),
                (*status, answer.header("content-type")),
                "{what}: HEAD"
            );
        }
    }
}

impl Answers {
    fn check(self, answer: &Answer, what: &str) {
        let text = answer.text();
        let is_json = !matches!(self, Text(_) | Redirect(_) | OnShard);
        if is_json {
            assert_eq!(answer.header("content-type"), Some(JSON), "{what}");
        }
        match self {
            Object(members) => assert_members(&answer.json(), members, what),
            List(members) => {
                let list = answer.json();
                let list = list.as_array().unwrap_or_else(|| panic!("{what}: no list: {text}"));
                assert!(!list.is_empty(), "{what}: nothing to look at");
                list.iter().for_each(|item| assert_members(item, members, what));
            }
            Exactly(expected) => {
                let expected: Value = serde_json::from_str(expected).unwrap();
                assert_eq!(answer.json(), expected, "{what}");
            }
            Detail(expected) => assert_eq!(answer.json()["detail"], expected, "{what}"),
            Self::Faults(kind) => {
                let fault = answer.json()["detail"][0].clone();
                assert_members(&fault, &["type:s", "loc:a", "msg:s"], what);
                assert_eq!(
                    (&fault["type"], fault.get("input").is_some()),
                    (&json!(kind), true),
                    "{what}: {text}"
                );
            }
            Text(content_type) => assert_eq!(answer.header("content-type"), Some(content_type), "{what}"),
            Redirect(location) => assert_eq!(answer.header("location"), Some(location), "{what}"),
            OnShard => {}
        }
    }
}

fn assert_members(object: &Value, members: &[&str], what: &str) {
    for member in members {
        let (path, kind) = member.split_once(':').expect("name:kind");
        let found = object.pointer(&format!("/{}", path.replace('.', "/")));
        // What a stream has no position of has none inside either.
        let outer = path.split_once('.').and_then(|(outer, _)| object.get(outer));
        if found.is_none() && kind.ends_with('?') && outer.is_some_and(Value::is_null) {
            continue;
        }
        let found = found.unwrap_or_else(|| panic!("{what}: no {path} in {object:#}"));
        let is_right = match kind.trim_end_matches('?') {
            _ if found.is_null() => kind.ends_with('?'),
            "s" => found.is_string(),
            "n" => found.is_number(),
            "b" => found.is_boolean(),
            "o" => found.is_object(),
            "a" => found.is_array(),
            "t" => found.as_str().is_some_and(|time| time.len() == 27 && time.ends_with('Z')),
            other => panic!("no such kind: {other}"),
        };
        assert!(is_right, "{what}: {path} is {found}");
    }
}

/// Method and path without what stands for parameters.
fn shape(method: &str, path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let is_open = |part: &&str| part.starts_with('{');
    let parts: Vec<&str> = path.split('/').map(|part| if is_open(&part) { "{}" } else { part }).collect();
    format!("{} {}", method.to_uppercase(), parts.join("/"))
}

/// Guards: every row is answered in its documented form, HEAD like GET; rows that change something each on an appliance of
/// their own, so that none leans on another.
#[test]
fn every_row_answers_in_its_documented_form() {
    let mut shared = Scene::new();
    for Row(number, is_keyed, asks) in ROWS {
        assert!(!asks.is_empty(), "row {number} is not asked for");
        let mut own = is_keyed.then(Scene::new);
        let scene = own.as_mut().unwrap_or(&mut shared);
        asks.iter().for_each(|ask| scene.ask(ask, *number));
    }
}

/// Guards: the table is whole, and so is the description: no row is missing, no route is described that is not in the table or
/// named as added.
#[test]
fn the_table_is_whole() {
    let numbers: Vec<u8> = ROWS.iter().map(|Row(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=68).collect::<Vec<_>>());
    let bench = Bench::start(options(&[]), 1);
    let document = bench.get("/openapi.json").json();
    let described: BTreeMap<String, &Value> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(move |(method, it)| (shape(method, path), it))
        })
        .collect();
    let is_like = |route: &str, line: &str| {
        let (one, other): (Vec<&str>, Vec<&str>) = (route.split('/').collect(), line.split('/').collect());
        one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| *one == "{}" || one == other)
    };
    let asked: BTreeSet<String> = ROWS
        .iter()
        .flat_map(|Row(_, _, asks)| asks.iter())
        .map(|Ask(line, ..)| line.split('?').next().unwrap_or_default().to_owned())
        .collect();
    for route in described.keys() {
        // `/engines/stats/all` is like `/engines/{}/stats`, and no row for that.
        let is_asked = asked.iter().any(|line| line == route || is_like(route, line));
        assert!(is_asked || ADDED.contains(&route.as_str()), "{route} is in no row");
    }
    for route in ADDED {
        assert!(described.contains_key(route), "{route} is not described");
    }
}

/// Guards: each row asks for the key exactly if the table says so.
#[test]
fn every_row_asks_for_the_key_as_published() {
    let api_key = ApiKey::Given(KEY.to_owned());
    let bench = Bench::start(Options { api_key, ..options(&[]) }, 1);
    for Row(number, is_keyed, asks) in ROWS {
        // The last one of a row is of the row itself; those before it may prepare it. So may be the first, if it is alone.
        let own = asks.iter().filter(|ask| ask.0 != SAVE_SLOT.0 || *number == 43);
        for Ask(line, body, _, answers) in own {
            if matches!(answers, OnShard) || *number == 43 && line.starts_with("GET ") {
                continue;
            }
            let line = line.replace("{engine}", "x").replace("{id}", "x");
            let ask = |headers: &str| {
                let length = body.len();
                let request = format!(
                    "{line} HTTP/1.1\r\nhost: sluice\r\n{headers}content-length: {length}\r\n\r\n{body}"
                );
                read_answer(&mut bench.hand_over(request.as_bytes()), false).status
            };
            assert_eq!(ask("") == 401, *is_keyed, "row {number}, {line}");
            let status = ask(&format!("x-api-key: {KEY}\r\n"));
            assert!(![401, 403].contains(&status), "row {number}, {line}: {status} with the key");
        }
    }
}
