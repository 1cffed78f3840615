//! Streams of the data plane as control lists them, and what control does to them.

use crate::common::{Appliance, SOON, Setup, until};
use crate::stage::{Raw, checked, engine_with, plays};
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Faults, StatQuirk};

/// Bytes per second of the channels.
const RATE: u64 = 250_000;

fn stop(appliance: &Appliance, id: &str) -> String {
    let id = id.replace('|', "%7C");
    let mut raw = Raw::open(appliance.addr());
    raw.send(
        format!("DELETE /streams/{id} HTTP/1.1\r\nHost: sluice\r\nConnection: close\r\n\r\n").as_bytes(),
    );
    raw.read_to_end(SOON)
}

/// Guards: a session is listed as a stream with figures while it plays; stopped over REST it ends with its players and
/// says so. A broadcast whose live edge stands still is ended, and refused from then on under both of its names.
#[test]
fn streams_are_listed_stopped_and_blocked() {
    let faults = Faults { stat: StatQuirk::FrozenLive, ..Faults::default() };
    let engine = engine_with(vec![
        ChannelSpec::synthetic(0, RATE),
        ChannelSpec::synthetic(1, RATE).with_faults(faults),
    ]);
    let appliance = Setup::with_engines(&[&engine])
        .env("STREAM_LOOP_DETECTION_ENABLED", "true")
        .env("STREAM_LOOP_DETECTION_THRESHOLD_S", "60")
        .env("STREAM_LOOP_CHECK_INTERVAL_S", "1")
        .start();
    appliance.wait_healthy(1);
    let listed = |status: &str| appliance.json(&format!("/streams?status={status}"));

    let watched = checked(&appliance, &engine, 0).start();
    plays(&watched);
    until("it is listed with figures", || listed("started")[0]["peers"].is_number());
    let stream = listed("started")[0].clone();
    assert_eq!(stream["key"], nth(0).0.to_string());
    assert_eq!(stream["infohash"], nth(0).1.to_string());
    assert_eq!(stream["container_id"], engine.addr().to_string());
    let id = stream["id"].as_str().expect("an id").to_owned();
    let answer = stop(&appliance, &id);
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("Stream stopped successfully"),
        "{answer}"
    );
    watched.wait_end(SOON).expect("its player ends");
    let ended = listed("ended")[0].clone();
    assert_eq!((&ended["id"], &ended["end_reason"]), (&stream["id"], &"manual_stop_via_api".into()));
    assert!(stop(&appliance, &id).starts_with("HTTP/1.1 400 "), "it ends once");

    let looping = checked(&appliance, &engine, 1).start();
    plays(&looping);
    looping.wait_end(SOON).expect("the player of a loop ends");
    assert_eq!(appliance.json("/looping-streams")["stream_ids"][0], nth(1).0.to_string());
    for query in [format!("id={}", nth(1).0), format!("infohash={}", nth(1).1)] {
        let answer = appliance.get(&format!("/ace/getstream?{query}"));
        let body = answer.json().expect("JSON");
        assert_eq!((answer.status(), &body["code"]), (422, &"looping_stream".into()), "{body}");
        assert_eq!(body["detail"]["error"], "stream_blacklisted");
    }
}
