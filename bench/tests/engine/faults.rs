//! Bodies and heads that go wrong.

use std::time::Duration;

use sluice_bench::engine::{Body, Cut, Engine, Faults, HeadQuirk, Redirect};

use super::client::{Client, Ended, eventually, header, json, open, play, play_media};
use super::{engine, infohash};

fn playing_with(faults: Faults) -> (Engine, Client, String) {
    let engine = engine();
    engine.control().set_faults(infohash(0), faults).expect("known");
    let session = open(engine.addr(), infohash(0), "a");
    let (client, head) = play(engine.addr(), &session.playback);
    (engine, client, head)
}

/// Guards EOF and reset after a given size, off the packet boundary, and the same on command.
#[test]
fn bodies_end_mid_packet_or_with_a_reset() {
    let faults = Faults { eof_after_bytes: Some(188_000), ..Faults::default() };
    let (_engine, mut client, _) = playing_with(faults);
    let (media, ended) = client.read_to_end();
    assert_eq!((media.len(), ended), (188_094, Ended::Eof));
    let faults = Faults { reset_after_bytes: Some(50_000), ..Faults::default() };
    let (_engine, mut client, _) = playing_with(faults);
    assert_eq!(client.read_to_end().1, Ended::Reset);
    for (cut, expected) in [(Cut::Eof, Ended::Eof), (Cut::Reset, Ended::Reset)] {
        let (engine, mut client, _) = playing_with(Faults::default());
        client.read(1000).expect("media");
        assert!(engine.control().cut(infohash(0), cut).expect("known"));
        assert_eq!(client.read_to_end().1, expected);
        eventually("no reader", || engine.control().counters(infohash(0)).expect("known").readers == 0);
    }
}

/// Guards bodies that are not media, under a head that says they are.
#[test]
fn bodies_can_be_anything() {
    for (body, beginning) in
        [(Body::Html, "<!DOCTYPE html>"), (Body::ErrorText, "failed to load content"), (Body::Empty, "")]
    {
        let (_engine, mut client, head) = playing_with(Faults { body, ..Faults::default() });
        assert!(head.contains("video/mp2t"));
        let (bytes, ended) = client.read_to_end();
        assert!(String::from_utf8_lossy(&bytes).starts_with(beginning));
        assert_eq!((bytes.is_empty(), ended), (beginning.is_empty(), Ended::Eof));
    }
}

/// Guards the trickle: after a second, hardly any byte has come.
#[test]
fn media_can_trickle() {
    let (_engine, mut client, _) = playing_with(Faults { trickle: true, ..Faults::default() });
    client.read(1).expect("the first byte");
    client.read(1).expect("the second byte");
    assert!(client.buffer.len() < 3);
}

/// Guards redirects that lead nowhere.
#[test]
fn redirects_loop_or_lead_abroad() {
    let engine = engine();
    let session = open(engine.addr(), infohash(0), "a");
    for (redirect, expected) in [
        (Redirect::Loop, format!("http://engine.test:1{}", session.playback)),
        (Redirect::To("http://192.0.2.1/x".into()), "http://192.0.2.1/x".to_owned()),
    ] {
        engine
            .control()
            .update_faults(infohash(0), |faults| faults.redirect = Some(redirect))
            .expect("known");
        let mut client = Client::connect(engine.addr());
        client.get(&session.playback);
        assert_eq!(header(&client.head(), "Location"), Some(expected.as_str()));
    }
}

/// The first bytes of a response whose head is spoiled, at least `bytes` of them.
fn raw_head(quirk: HeadQuirk, bytes: usize) -> Vec<u8> {
    let engine = super::engine_with(|options| options.content_hop = false);
    engine.control().update_faults(infohash(0), |faults| faults.head = quirk).expect("known");
    let session = open(engine.addr(), infohash(0), "a");
    let mut client = Client::connect(engine.addr());
    client.get(&session.playback);
    client.read(bytes).expect("bytes")
}

/// Guards the spoiled heads, each by what makes it bad.
#[test]
fn heads_can_be_spoiled() {
    let lf = raw_head(HeadQuirk::LfOnly, 200);
    let end = lf.windows(2).position(|bytes| bytes == b"\n\n").expect("an end");
    assert!(!lf[..end].contains(&b'\r') && lf[end + 2] == 0x47);
    let long = raw_head(HeadQuirk::LongName, 70_000);
    let name = long.split(|byte| *byte == b'\n').nth(1).expect("a second line");
    assert!(name.len() > 66_000 && name[..66_000].iter().all(|byte| *byte == b'X'));
    assert!(raw_head(HeadQuirk::Oversized, 1 << 20).iter().filter(|byte| **byte == b'x').count() > 1_000_000);
    assert!(!raw_head(HeadQuirk::Endless, 5 << 20).windows(4).any(|bytes| bytes == b"\r\n\r\n"));
    let double = raw_head(HeadQuirk::DoubleStatus, 100);
    assert!(double.starts_with(b"HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\n"));
    let begun = std::time::Instant::now();
    raw_head(HeadQuirk::Slow, 50);
    assert!(begun.elapsed() > Duration::from_millis(900));
}

/// Guards that the JSON answer's head can be spoiled as well.
#[test]
fn json_heads_can_be_spoiled() {
    let engine = engine();
    engine
        .control()
        .update_faults(infohash(0), |faults| faults.json_head = HeadQuirk::Endless)
        .expect("known");
    let mut client = Client::connect(engine.addr());
    client.get(&format!("/ace/getstream?infohash={}&format=json", infohash(0)));
    assert!(!client.read(2 << 20).expect("bytes").windows(4).any(|bytes| bytes == b"\r\n\r\n"));
}

/// Guards stat's own ways of lying.
#[test]
fn stat_can_lie() {
    use sluice_bench::engine::StatQuirk;
    let engine = engine();
    let control = engine.control();
    let session = open(engine.addr(), infohash(0), "a");
    let _body = play_media(engine.addr(), &session.playback);
    let stat = |quirk| {
        control.update_faults(infohash(0), |faults| faults.stat = quirk).expect("known");
        json(engine.addr(), &session.stat)["response"].clone()
    };
    let good = stat(StatQuirk::None);
    let seconds = |value: &serde_json::Value| value.as_str().and_then(|text| text.parse::<u64>().ok());
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let last = seconds(&good["livepos"]["live_last"]).expect("a decimal string");
    assert!(now.abs_diff(last) <= 2);
    assert!(good["downloaded"].as_u64().is_some_and(|bytes| bytes % 16_384 == 0 && bytes < 100_000_000));
    assert!(good["speed_down"].as_u64().is_some_and(|speed| (800..1300).contains(&speed)), "{good}");
    let frozen = stat(StatQuirk::FrozenLive);
    assert!(seconds(&frozen["livepos"]["live_last"]).is_some_and(|last| now - last >= 3500));
    assert!(stat(StatQuirk::InflatedDownloaded)["downloaded"].as_u64() > Some(7_000_000_000));
    assert_eq!(stat(StatQuirk::MissingFields), serde_json::json!({"status": "dl"}));
    assert!(stat(StatQuirk::NumericLivepos)["livepos"]["last"].is_u64());
    control.update_faults(infohash(0), |faults| faults.stat_hang = true).expect("known");
    let mut client = Client::connect(engine.addr());
    client.get(&session.stat);
    assert!(client.is_silent_for(Duration::from_millis(100)));
}

/// Guards that a killed engine resets its connections and closes its port before `kill` returns.
#[test]
fn a_killed_engine_resets_everyone() {
    let (engine, mut client, _) = playing_with(Faults::default());
    let address = engine.addr();
    engine.kill();
    assert!(std::net::TcpStream::connect(address).is_err());
    assert_eq!(client.read_to_end().1, Ended::Reset);
}

/// Guards that a dropped engine closes its port before the drop returns.
#[test]
fn a_dropped_engine_frees_its_port() {
    let engine = engine();
    let (address, side) = (engine.addr(), engine.control_addr());
    drop(engine);
    assert!(std::net::TcpStream::connect(address).is_err());
    assert!(std::net::TcpStream::connect(side).is_err());
}
