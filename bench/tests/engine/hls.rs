//! HLS of the engine: playlists that slide, segments that are the broadcast, and what goes wrong with them.

use std::time::Duration;

use sluice_bench::engine::{ChannelSpec, Engine, Options};

use super::client::{Client, Session, eventually, header, open, open_target, play, target};
use super::infohash;

/// An engine whose first channel has segments of a second, and the second one none but those.
fn engine() -> Engine {
    let segment = Duration::from_secs(1);
    let plain = ChannelSpec { segment, ..ChannelSpec::synthetic(0, 500_000) };
    let channels = vec![plain, ChannelSpec::synthetic(1, 500_000).only_hls(segment)];
    Engine::start(Options { channels, ..Options::default() }).expect("free loopback ports")
}

fn open_hls(engine: &Engine, n: u32, pid: &str) -> Session {
    let request = format!("/ace/manifest.m3u8?infohash={}&format=json&pid={pid}", infohash(n));
    open_target(engine.addr(), &request)
}

/// Status line and body.
fn get(engine: &Engine, target: &str) -> (String, Vec<u8>) {
    let mut client = Client::connect(engine.addr());
    client.get(target);
    let head = client.head();
    let length = header(&head, "Content-Length").expect("a length").parse().expect("a number");
    let body = client.read(length).expect("the whole body");
    (head.lines().next().expect("a status line").to_owned(), body)
}

/// The playlist: its media sequence and the targets of its segments.
fn playlist(engine: &Engine, session: &Session) -> (u64, Vec<String>) {
    let (status, body) = get(engine, &session.playback);
    assert_eq!(status, "HTTP/1.1 200 OK");
    let text = String::from_utf8(body).expect("text");
    let first = text.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")).expect("a number");
    let segments: Vec<&str> = text.lines().filter(|line| line.starts_with("http://engine.test:1/")).collect();
    assert_eq!(segments.len(), text.matches("#EXTINF:").count(), "{text}");
    (first.parse().expect("a number"), segments.into_iter().map(target).collect())
}

/// Guards: numbers begin at 0 with each session, the list slides, and its segments one after the other are the
/// broadcast, each from a place where decoding can begin.
#[test]
fn segments_in_a_row_are_the_broadcast() {
    let engine = engine();
    let session = open_hls(&engine, 0, "a");
    assert!(session.playback.starts_with("/ace/m/") && session.playback.ends_with(".m3u8"));
    let (first, segments) = playlist(&engine, &session);
    assert!(first == 0 && (8..=12).contains(&segments.len()), "{first} {segments:?}");
    let bytes: Vec<u8> = segments.iter().flat_map(|segment| get(&engine, segment).1).collect();
    let broadcast = engine.control().broadcast(infohash(0)).expect("known");
    let index = sluice_bench::channel::check::read(bytes[564..752].try_into().expect("a packet"));
    let index = index.expect("the packet behind tables and picture is marked").index - 3;
    for (packet, index) in bytes.chunks_exact(188).zip(index..) {
        assert_eq!(packet, broadcast.packet(index), "packet {index}");
    }
    assert_eq!(&bytes[..2], [0x47, 0x40], "tables come first");
    eventually("the list slides", || {
        playlist(&engine, &session).0 >= 1 || playlist(&engine, &session).1.len() > 14
    });
    let counters = engine.control().counters(infohash(0)).expect("known");
    assert_eq!((counters.segments, counters.segments_missed), (segments.len() as u64, 0));
}

/// Guards: who opens the playlist later owns it, what is out of the list is gone, and a stop ends it all.
#[test]
fn playlists_have_one_owner_and_segments_an_end() {
    let engine = engine();
    let first = open_hls(&engine, 0, "a");
    let (_, segments) = playlist(&engine, &first);
    let second = open_hls(&engine, 0, "b");
    assert_eq!(get(&engine, &first.playback).0, "HTTP/1.1 403 Forbidden");
    assert_eq!(playlist(&engine, &second).0, 0);
    let gone = format!("/ace/c/{}/5.ts", infohash(0));
    assert_eq!(
        get(&engine, &gone),
        ("HTTP/1.1 500 Internal Server Error".into(), b"download not found".into())
    );
    engine.control().update_faults(infohash(0), |faults| faults.hls.evicted = true).expect("known");
    assert!(get(&engine, &segments[0]).0.contains(" 500 "));
    get(&engine, &format!("{}?method=stop", second.command));
    assert!(get(&engine, &second.playback).0.contains(" 500 "));
}

/// Guards: encrypted content says so, has no continuous form, and plays as a playlist.
#[test]
fn encrypted_content_is_hls_only() {
    let engine = engine();
    let plain = open(engine.addr(), infohash(1), "a");
    assert_eq!(plain.answer["response"]["is_encrypted"], 1);
    let (_, head) = play(engine.addr(), &plain.playback);
    assert!(head.starts_with("HTTP/1.1 500"), "{head}");
    let session = open_hls(&engine, 1, "b");
    assert!(playlist(&engine, &session).1.len() >= 8);
    assert_eq!(open(engine.addr(), infohash(0), "a").answer["response"]["is_encrypted"], 0);
}

/// Guards: the switches do what they say: a shorter list, segments left out, a target that is too short, a standstill.
#[test]
fn playlists_go_wrong_as_told() {
    let engine = engine();
    let session = open_hls(&engine, 0, "a");
    let change = |change: &dyn Fn(&mut sluice_bench::engine::Faults)| {
        engine.control().update_faults(infohash(0), change).expect("known");
    };
    change(&|faults| faults.hls.listed = Some(3));
    assert_eq!(playlist(&engine, &session).1.len(), 3);
    change(&|faults| faults.hls.leave_out_every = Some(2));
    let (_, segments) = playlist(&engine, &session);
    let number = |segment: &String| {
        segment.rsplit('/').next().and_then(|name| name.strip_suffix(".ts")?.parse::<u64>().ok())
    };
    assert!(
        segments.iter().all(|segment| number(segment).is_some_and(|number| number % 2 == 1)),
        "{segments:?}"
    );
    change(&|faults| faults.starve = true);
    let still = playlist(&engine, &session);
    std::thread::sleep(Duration::from_millis(1_200));
    assert_eq!(playlist(&engine, &session), still);
    change(&|faults| faults.starve = false);
    eventually("it goes on", || playlist(&engine, &session) != still);
}
