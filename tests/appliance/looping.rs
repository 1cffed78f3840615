//! A broadcaster that is gone while its swarm passes around what it has: found by the media alone, since all an engine says of the
//! stream goes on. The least that can be set is a minute.

use crate::common::{SOON, Setup, eventually_within};
use crate::stage::{RATE, engine, plays};
use sluice_bench::channel::nth;
use sluice_bench::player::http;
use std::time::Duration;

/// Guards: media that come again for longer than may be end the stream for what it is, and nobody starts it again until it is taken
/// off the list; a stream that goes on is left alone meanwhile.
#[test]
fn media_that_come_again_end_the_stream() {
    let engine = engine(2);
    let appliance = Setup::with_engines(&[&engine])
        .env("STREAM_LOOP_DETECTION_ENABLED", "true")
        .env("STREAM_LOOP_DETECTION_THRESHOLD_S", "60")
        .env("STREAM_LOOP_CHECK_INTERVAL_S", "1")
        .start();
    appliance.wait_healthy(1);
    let (looping, other) = (nth(0).1, nth(1).0);
    let [player, watched] = [nth(0).0, other].map(|id| appliance.player(id).start());
    plays(&player);
    plays(&watched);
    engine
        .control()
        .update_faults(looping, |faults| faults.repeat_bytes = Some(8 * RATE))
        .expect("it is there");
    let listed = || appliance.json("/looping-streams")["stream_ids"].clone();
    let found = eventually_within("it is on the list", Duration::from_secs(150), || {
        Some(listed()).filter(|ids| ids != &serde_json::json!([]))
    });
    assert_eq!(found, serde_json::json!([nth(0).0.to_string()]));
    player.wait_end(SOON).expect("its player ends");
    let events = appliance.json("/events?category=ended");
    assert_eq!(events[0]["details"]["evidence"], "repeated", "{events:#}");
    let path = format!("/ace/getstream?id={}", nth(0).0);
    assert_eq!(appliance.get(&path).status(), 422);
    assert!(watched.end().is_none(), "the other one plays on");

    engine.control().update_faults(looping, |faults| faults.repeat_bytes = None).expect("it is there");
    let path = format!("/looping-streams/{}", nth(0).0);
    assert_eq!(http::request(appliance.addr(), "DELETE", &path, &[], b"").unwrap().status(), 200);
    plays(&appliance.player(nth(0).0).start());
}
