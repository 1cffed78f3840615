//! The life of a session: idling, stopping, commands and events.

use std::time::{Duration, Instant};

use serde_json::json as value;
use sluice_bench::channel::check;

use super::client::{Client, eventually, json, open, open_target, play_media, target};
use super::{engine, engine_with, infohash};

const UNKNOWN: &str = "unknown playback session id";

/// Guards idle expiry: unused sessions end, read ones do not, polled ones do not unless they say that polling is no
/// activity.
#[test]
fn idle_sessions_expire() {
    let engine = engine_with(|options| options.idle_timeout = Duration::from_millis(400));
    let control = engine.control();
    let expired = |n| control.counters(infohash(n)).expect("known").expiries == 1;
    let read = open(engine.addr(), infohash(0), "a");
    let _body = play_media(engine.addr(), &read.playback);
    let polled = open(engine.addr(), infohash(1), "b");
    open(engine.addr(), infohash(2), "c");
    eventually("the unused one expires", || {
        json(engine.addr(), &polled.stat);
        expired(2)
    });
    assert!(!expired(0) && !expired(1));
    eventually("polling without activity does not keep it", || {
        json(engine.addr(), &format!("{}?skip_player_activity=1", polled.stat));
        expired(1)
    });
    assert_eq!(json(engine.addr(), &polled.stat)["error"], UNKNOWN);
    assert!(!expired(0));
}

/// Guards that closing the socket ends the reader at once, while the session lingers.
#[test]
fn a_session_outlives_its_reader() {
    let engine = engine();
    let control = engine.control();
    // Silent, so that only a watching engine notices the close.
    control.update_faults(infohash(0), |faults| faults.starve = true).expect("known");
    let session = open(engine.addr(), infohash(0), "a");
    let body = play_media(engine.addr(), &session.playback);
    assert_eq!(control.counters(infohash(0)).expect("known").readers, 1);
    drop(body);
    eventually("no reader", || control.counters(infohash(0)).expect("known").readers == 0);
    assert_eq!(json(engine.addr(), &session.stat)["response"]["status"], "dl");
}

/// Guards slow and hanging stops: neither takes effect before it is answered.
#[test]
fn stops_can_be_slow_or_hang() {
    let engine = engine();
    let control = engine.control();
    let session = open(engine.addr(), infohash(0), "a");
    let stop = format!("{}?method=stop", session.command);
    control.update_faults(infohash(0), |faults| faults.stop_hang = true).expect("known");
    let mut client = Client::connect(engine.addr());
    client.get(&stop);
    assert!(client.is_silent_for(Duration::from_millis(200)));
    drop(client);
    assert!(json(engine.addr(), &session.stat)["error"].is_null());
    control
        .update_faults(infohash(0), |faults| (faults.stop_hang, faults.stop_delay_ms) = (false, 300))
        .expect("known");
    let begun = Instant::now();
    assert_eq!(json(engine.addr(), &format!("{stop}&api_version=2")), value!({"result": "ok"}));
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

/// Guards commands other than stop.
#[test]
fn commands_are_applied_or_refused() {
    let engine = engine();
    let session = open(engine.addr(), infohash(0), "a");
    let command = |query: &str| json(engine.addr(), &format!("{}?{query}", session.command));
    assert_eq!(command("method=set_stream&stream_index=0")["response"], "ok");
    assert_eq!(command("method=set_stream&stream_index=7")["error"], "no such stream");
    assert_eq!(command("method=set_player_activity_timeout&timeout=120")["response"], "ok");
    assert_eq!(command("method=set_player_activity_timeout")["error"], "missing or bad timeout");
    assert_eq!(command("method=liveseek&pos=yesterday")["error"], "missing or bad pos");
    assert_eq!(command("")["error"], "unknown method");
    // Absurd numbers are taken for what they can mean at most, and harm nobody.
    let most = u64::MAX;
    assert_eq!(command(&format!("method=liveseek&pos={most}"))["response"], "ok");
    assert_eq!(command(&format!("method=set_player_activity_timeout&timeout={most}"))["response"], "ok");
    engine.control().update_faults(infohash(1), |faults| faults.prebuffer_ms = Some(most)).expect("known");
    let waiting = open(engine.addr(), infohash(1), "b");
    eventually("the wait begins", || json(engine.addr(), &waiting.stat)["response"]["status"] == "prebuf");
    assert!(play_media(engine.addr(), &session.playback).read(1000).is_ok());
}

/// Guards seeking: the reader goes on at the packet of that second, stat and an event say that it is not live.
#[test]
fn liveseek_moves_the_reader_and_says_so() {
    let engine = engine();
    let request = format!("/ace/getstream?infohash={}&format=json&pid=a&use_api_events=1", infohash(0));
    let session = open_target(engine.addr(), &request);
    let event_url = target(session.answer["response"]["event_url"].as_str().expect("asked for"));
    let mut events = Client::connect(engine.addr());
    events.get(&event_url);
    let mut body = play_media(engine.addr(), &session.playback);
    body.read(10_000_000).expect("the burst");
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    json(engine.addr(), &format!("{}?method=liveseek&pos={}", session.command, now - 100));
    let (_, event) = events.response();
    let event: serde_json::Value = serde_json::from_str(&event).expect("JSON");
    assert_eq!(event["response"], value!({"name": "live_changed", "params": {"is_live": 0}}));
    assert_eq!(json(engine.addr(), &session.stat)["response"]["livepos"]["is_live"], "0");
    eventually("media of a hundred seconds ago", || {
        let media = body.read(100_000).expect("media");
        let last =
            (0..media.len() - 188).rev().find_map(|at| check::read(&media[at..at + 188])).expect("a mark");
        let live = engine.control().live_position(infohash(0)).expect("known");
        (95..=110).contains(&((live - last.index * 188) / 1_000_000))
    });
}

/// Guards events: delivered once, stop notifications only to those who asked, and the end of the session ends the poll.
#[test]
fn events_are_polled() {
    let engine = engine();
    let control = engine.control();
    let request = format!("/ace/getstream?infohash={}&format=json&pid=a&use_api_events=1", infohash(0));
    let session = open_target(engine.addr(), &request);
    let event_url = target(session.answer["response"]["event_url"].as_str().expect("asked for"));
    let stopped = value!({"name": "download_stopped", "params": {"reason": "missing_option"}});
    assert!(!control.push_event(infohash(0), stopped.clone()).expect("known"));
    open_target(engine.addr(), &format!("{request}&use_stop_notifications=1"));
    assert!(control.push_event(infohash(0), stopped.clone()).expect("known"));
    assert_eq!(json(engine.addr(), &event_url)["response"], stopped);
    let mut client = Client::connect(engine.addr());
    client.get(&event_url);
    assert!(client.is_silent_for(Duration::from_millis(100)));
    control.vanish(infohash(0)).expect("known");
    assert!(client.response().1.contains(UNKNOWN));
}
