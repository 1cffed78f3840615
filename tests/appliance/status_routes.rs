//! What monitoring reads.

use crate::common::{Setup, until};
use crate::stage::{checked, engine, plays};
use serde_json::Value;
use sluice_bench::channel::nth;
use sluice_bench::player::Player;

/// A field and what its value has to be.
type Field = (&'static str, fn(&Value) -> bool);

fn assert_fields(value: &Value, what: &str, fields: &[Field]) {
    for (field, is_right) in fields {
        let found = value.get(field).unwrap_or_else(|| panic!("{what} has no {field}: {value:#}"));
        assert!(is_right(found), "{what}: {field} is {found}");
    }
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

fn is_positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number > 0.0)
}

const SESSION: &[Field] = &[
    ("stream_id", is_text),
    ("ace_id", is_text),
    ("engine_host", |value| value == "127.0.0.1"),
    ("engine_port", is_positive),
    ("container_id", is_text),
    ("playback_session_id", is_text),
    ("is_live", |value| value == true),
    ("is_active", |value| value == true),
    ("client_count", |value| value == 2),
    ("created_at", is_text),
    ("started_at", is_text),
    ("ended_at", Value::is_null),
    ("error", Value::is_null),
    ("idle_seconds", Value::is_number),
    ("key", is_text),
    ("infohash", is_text),
    ("state", is_text),
    ("waiting_clients", |value| value == 0),
    ("bitrate_bps", is_positive),
    ("window_bytes", is_positive),
    ("bytes_in", is_positive),
    ("stat_url", is_text),
    ("command_url", is_text),
];

const CLIENT: &[Field] = &[
    ("client_id", is_text),
    ("ip_address", |value| value == "127.0.0.1"),
    ("user_agent", |value| value == "VLC/3.0.21 LibVLC/3.0.21"),
    ("connected_at", is_positive),
    ("last_active", is_positive),
    ("worker_id", is_text),
    ("bytes_sent", is_positive),
    ("stats_updated_at", is_positive),
];

/// Guards: every documented route answers 200 with its fields while a stream plays, under the content id and the
/// infohash alike, and knows when there is nothing. An orchestrator's monitoring called methods that did not exist.
#[test]
fn every_status_route_answers_with_its_schema() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).start();
    let (id, infohash) = nth(0);
    assert_eq!(appliance.json("/ace/status")["streams"], 0);
    let agent = "VLC/3.0.21 LibVLC/3.0.21";
    let players: Vec<Player> =
        (0..2).map(|_| checked(&appliance, &engine, 0).header("User-Agent", agent).start()).collect();
    players.iter().for_each(plays);
    let is_settled = |shown: &Value| shown["total_clients"] == 2 && shown["sessions"][0]["bitrate_bps"] != 0;
    until("the board shows it", || is_settled(&appliance.json("/proxy/status")));

    let totals = appliance.json("/ace/status");
    assert_eq!((&totals["streams"], &totals["clients"]), (&Value::from(1), &Value::from(2)), "{totals}");
    for query in [format!("id={id}"), format!("infohash={infohash}"), format!("id={infohash}&pid=1")] {
        let stream = appliance.json(&format!("/ace/status?{query}"));
        assert_fields(
            &stream,
            &query,
            &[
                ("clients", |value| value == 2),
                ("stream_id", Value::is_object),
                ("stat_url", is_text),
                ("state", is_text),
            ],
        );
        assert_eq!(stream["stream_id"]["infohash"], infohash.to_string());
    }
    let status = appliance.json("/proxy/status");
    assert_fields(
        &status,
        "/proxy/status",
        &[
            ("running", |value| value == true),
            ("total_sessions", |value| value == 1),
            ("active_sessions", |value| value == 1),
            ("total_clients", |value| value == 2),
        ],
    );
    assert_fields(&status["sessions"][0], "/proxy/status", SESSION);
    assert_fields(&appliance.json("/proxy/sessions")["sessions"][0], "/proxy/sessions", SESSION);
    for name in [id.to_string(), infohash.to_string(), id.to_string().to_uppercase()] {
        let session = appliance.json(&format!("/proxy/sessions/{name}"));
        assert_fields(&session, "/proxy/sessions/{id}", SESSION);
        assert_eq!(session["infohash"], infohash.to_string());
        for path in [format!("/proxy/sessions/{name}/clients"), format!("/proxy/streams/{name}/clients")] {
            let clients = appliance.json(&path);
            assert_eq!(clients["clients"].as_array().map(Vec::len), Some(2), "{path}");
            for client in clients["clients"].as_array().unwrap() {
                assert_fields(client, &path, CLIENT);
            }
        }
    }
    for path in ["/health", "/proxy/health"] {
        assert_fields(&appliance.json(path), path, &[("status", |value| value == "ok"), ("worker", is_text)]);
    }
    let metrics = appliance.get("/metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"));
    assert_eq!(appliance.metric("sluice_clients"), 2.0);
    assert_eq!(appliance.metric("sluice_sessions"), 1.0);
    for path in ["/proxy/status/", "/metrics/"] {
        assert!(matches!(appliance.get(path).status(), 200 | 307), "{path}");
    }

    let unknown = nth(7).0;
    let absent = appliance.get(&format!("/ace/status?id={unknown}"));
    assert_eq!((absent.status(), absent.json().unwrap()["error"].clone()), (404, "Stream not found".into()));
    assert_eq!(appliance.get("/ace/status?id=1").status(), 400);
    assert_eq!(appliance.get(&format!("/proxy/sessions/{unknown}")).status(), 404);
    let nobody = appliance.json(&format!("/proxy/streams/{unknown}/clients"));
    assert_eq!(nobody["clients"].as_array().map(Vec::len), Some(0));
}
