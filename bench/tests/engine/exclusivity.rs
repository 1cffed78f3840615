//! One download per infohash, one reader per download: what the second request gets.

use super::client::{Client, Ended, eventually, json, open, open_target, play, play_media};
use super::{content_id, engine, engine_with, infohash};

/// Guards that a second reader of one session gets a corrupt head and no media, that the first goes on, and that the
/// overlap is counted.
#[test]
fn a_second_reader_of_one_session_gets_a_corrupt_head() {
    let engine = engine();
    let session = open(engine.addr(), infohash(0), "a");
    let mut first = play_media(engine.addr(), &session.playback);
    for _ in 0..4 {
        let (mut second, head) = play(engine.addr(), &session.playback);
        let (rest, ended) = second.read_to_end();
        let all = head + &String::from_utf8(rest).expect("no media");
        assert_eq!(all.matches("HTTP/1.1 ").count(), 2, "{all}");
        assert_eq!(ended, Ended::Eof);
    }
    first.read(11_000_000).expect("the first reader goes on");
    let counters = engine.control().counters(infohash(0)).expect("known");
    assert_eq!((counters.collisions, counters.readers_max), (4, 2));
}

/// Guards the other observed outcome: the second reader gets the media, the first is cut.
#[test]
fn a_second_reader_can_cut_the_first() {
    let engine = engine_with(|options| options.second_reader = sluice_bench::engine::SecondReader::CutFirst);
    let session = open(engine.addr(), infohash(0), "a");
    let mut first = play_media(engine.addr(), &session.playback);
    let mut second = play_media(engine.addr(), &session.playback);
    assert_eq!(first.read_to_end().1, Ended::Eof);
    second.read(11_000_000).expect("media");
}

/// Guards the takeover: another pid gets its own URLs for the same download, its reader ends the first one's, and both
/// stats show one playback session.
#[test]
fn another_pid_takes_the_download_over() {
    let engine = engine();
    let a = open(engine.addr(), infohash(0), "a");
    let mut first = play_media(engine.addr(), &a.playback);
    // By content id: a different selector, the same swarm.
    let b = open_target(engine.addr(), &format!("/ace/getstream?id={}&format=json&pid=b", content_id(0)));
    assert_ne!(a.command, b.command);
    first.read(1_000_000).expect("opening alone takes nothing over");
    let stats =
        [&a, &b].map(|session| json(engine.addr(), &session.stat)["response"]["playback_session_id"].clone());
    assert_eq!(stats[0], stats[1]);
    assert!(stats[0].is_string());
    let mut second = play_media(engine.addr(), &b.playback);
    assert_eq!(first.read_to_end().1, Ended::Eof);
    second.read(1_000_000).expect("media");
    assert_eq!(engine.control().counters(infohash(0)).expect("known").takeovers, 1);
}

/// Guards that a stop by anyone ends everybody's reader, and that a second stop does not know the session.
#[test]
fn a_stop_ends_everybodys_reader() {
    let engine = engine();
    let a = open(engine.addr(), infohash(0), "a");
    let b = open(engine.addr(), infohash(0), "b");
    let mut first = play_media(engine.addr(), &a.playback);
    assert_eq!(json(engine.addr(), &format!("{}?method=stop", b.command))["response"], "ok");
    assert_eq!(first.read_to_end().1, Ended::Eof);
    assert_eq!(json(engine.addr(), &a.stat)["error"], "unknown playback session id");
    assert_eq!(
        json(engine.addr(), &format!("{}?method=stop", a.command))["error"],
        "unknown playback session id"
    );
    let mut late = Client::connect(engine.addr());
    late.get(&a.playback);
    assert_eq!(late.response().1, "download not found");
    let control = engine.control();
    assert_eq!(control.counters(infohash(0)).expect("known").stops, 1);
    assert_eq!(control.engine_counters().stops_unknown, 1);
}

/// Guards that channels opened with pids coexist, while an anonymous client has one channel at a time.
#[test]
fn only_anonymous_clients_replace_their_own_channel() {
    let engine = engine();
    let a = open(engine.addr(), infohash(0), "a");
    let mut with_pid = play_media(engine.addr(), &a.playback);
    let one = open(engine.addr(), infohash(1), "");
    let mut anonymous = play_media(engine.addr(), &one.playback);
    open(engine.addr(), infohash(2), "");
    assert_eq!(anonymous.read_to_end().1, Ended::Eof);
    with_pid.read(11_000_000).expect("the one with a pid goes on");
    assert_eq!(engine.control().counters(infohash(1)).expect("known").replaced, 1);
}

/// Guards that a HEAD on a playback URL steals the reader, as a careless probe does on a real engine.
#[test]
fn a_head_steals_the_reader() {
    let engine = engine_with(|options| options.content_hop = false);
    let a = open(engine.addr(), infohash(0), "a");
    let b = open(engine.addr(), infohash(0), "b");
    let mut first = play_media(engine.addr(), &a.playback);
    let mut probe = Client::connect(engine.addr());
    probe.send(&format!("HEAD {} HTTP/1.1\r\nHost: h\r\n\r\n", b.playback));
    assert!(probe.head().starts_with("HTTP/1.1 200"));
    assert_eq!(first.read_to_end().1, Ended::Eof);
    assert_eq!(engine.control().counters(infohash(0)).expect("known").heads, 1);
    eventually("no reader", || engine.control().counters(infohash(0)).expect("known").readers == 0);
}

/// Guards that a stop ends even a body that is stuck because its client does not read.
#[test]
fn a_stop_ends_a_stuck_body() {
    let engine = engine_with(|options| options.channels[0].reach_back = std::time::Duration::from_secs(60));
    let readers = || engine.control().counters(infohash(0)).expect("known").readers;
    let bytes = || engine.control().counters(infohash(0)).expect("known").bytes;
    let session = open(engine.addr(), infohash(0), "a");
    let _stuck = play_media(engine.addr(), &session.playback);
    let mut last = (bytes(), std::time::Instant::now());
    eventually("a body that moves no more", || {
        if bytes() != last.0 {
            last = (bytes(), std::time::Instant::now());
        }
        last.1.elapsed() > std::time::Duration::from_millis(200)
    });
    assert_eq!(readers(), 1);
    assert_eq!(json(engine.addr(), &format!("{}?method=stop", session.command))["response"], "ok");
    eventually("no reader", || readers() == 0);
}
