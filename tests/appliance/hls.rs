//! HLS players as plain HTTP clients: what they are given, over how many connections, and what it costs.

use crate::common::{Appliance, SOON, Setup, until};
use crate::scene::{RATE, healthy, serving, stopped_once_each};
use crate::stage::{assert_refusal, checked, engine_with, plays};
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use sluice_bench::player::http::{Connection, Response, encode, request};
use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A player: one connection that stays, and a playlist of its own.
pub struct Viewer {
    connection: Connection,
    to: std::net::SocketAddr,
    /// Directory of its playlist.
    pub directory: String,
    file: String,
}

impl Viewer {
    /// Asks for a playlist as a player does, and follows where it is sent.
    pub fn enter(appliance: &Appliance, query: &str) -> Self {
        let mut connection = Connection::open(appliance.addr()).expect("the appliance listens");
        connection.set_timeout(SOON);
        let sent = connection.get(&format!("/ace/manifest.m3u8?{query}")).expect("an answer");
        assert_eq!(sent.status(), 302, "{sent:?} {}", sent.text());
        let place = sent.header("location").expect("a place to go").to_owned();
        assert!(place.starts_with("hls/") && !place.contains(':'), "relative: {place}");
        let (directory, file) = place.rsplit_once('/').expect("a directory");
        let (directory, file) = (format!("/ace/{directory}"), file.to_owned());
        Self { connection, to: appliance.addr(), directory, file }
    }

    pub fn get(&mut self, file: &str) -> Response {
        self.ask("GET", file, &[])
    }

    pub fn ask(&mut self, method: &str, file: &str, fields: &[(&str, &str)]) -> Response {
        let path = format!("{}/{file}", self.directory);
        self.connection.send(&encode(self.to, method, &path, fields, b"")).expect("the connection stays");
        self.connection.receive_answer_to(method).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn playlist(&mut self) -> Playlist {
        let file = self.file.clone();
        let answer = self.get(&file);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/vnd.apple.mpegurl"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        Playlist::read(&answer.text())
    }
}

/// What a player reads from a playlist.
#[derive(Debug)]
pub struct Playlist {
    pub text: String,
    pub first: u64,
    pub segments: Vec<String>,
}

impl Playlist {
    fn read(text: &str) -> Self {
        let sequence = text.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"));
        let segments = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        Self {
            first: sequence.map_or(0, |it| it.parse().expect("a number")),
            segments,
            text: text.to_owned(),
        }
    }

    pub fn end(&self) -> u64 {
        self.first + self.segments.len() as u64
    }
}

/// Whole packets, tables first.
pub fn assert_media(bytes: &[u8]) {
    assert!(bytes.len() > 376 && bytes.len().is_multiple_of(188), "{} bytes", bytes.len());
    let (packets, _) = bytes.as_chunks::<188>();
    assert!(packets.iter().all(|packet| packet[0] == 0x47));
    let pid = |packet: &[u8; 188]| u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
    assert_eq!(pid(&packets[0]), 0, "a segment begins with its PAT");
    let pmt = u16::from_be_bytes([packets[0][15] & 0x1f, packets[0][16]]);
    assert_eq!(pid(&packets[1]), pmt, "and its PMT");
}

pub fn opens(engine: &Engine) -> u64 {
    engine.control().counters(nth(0).1).expect("the channel exists").opens
}

/// Guards: playlists and segments come over one connection however many there are, with length and range, beside a
/// continuous player, from one engine session, which no number of polls opens again; the players count as clients.
#[test]
fn players_of_both_kinds_share_one_engine_session() {
    let engine = healthy();
    let appliance = Setup::with_engines(&[&engine]).start();
    let (id, infohash) = nth(0);
    let continuous = checked(&appliance, &engine, 0).start();
    let mut viewers: Vec<Viewer> =
        [format!("id={id}"), format!("infohash={infohash}"), format!("id={id}&pid=1")]
            .iter()
            .map(|query| Viewer::enter(&appliance, query))
            .collect();
    plays(&continuous);
    for viewer in &mut viewers {
        let playlist = viewer.playlist();
        assert!(playlist.segments.len() >= 3, "{}", playlist.text);
        assert!(playlist.segments.iter().all(|it| !it.contains(['/', ':', '?'])), "{}", playlist.text);
        for segment in &playlist.segments {
            let whole = viewer.get(segment);
            assert_eq!((whole.status(), whole.header("content-type")), (200, Some("video/mp2t")));
            assert_eq!(whole.header("content-length"), Some(&*whole.body.len().to_string()));
            assert_eq!(whole.header("access-control-allow-origin"), Some("*"));
            assert!(whole.header("cache-control").is_some_and(|it| it.starts_with("max-age=")));
            assert_media(&whole.body);
            assert!(viewer.get(segment).body == whole.body, "a segment changed");
        }
    }
    let viewer = &mut viewers[0];
    let segment = viewer.playlist().segments[0].clone();
    let whole = viewer.get(&segment).body;
    let length = whole.len();
    for (field, range) in [
        ("bytes=0-".to_owned(), 0..length),
        ("bytes=0-187".to_owned(), 0..188),
        ("bytes=100-400".to_owned(), 100..401),
        (format!("bytes=1000-{length}"), 1000..length),
        ("bytes=-5".to_owned(), length - 5..length),
    ] {
        let part = viewer.ask("GET", &segment, &[("Range", &field)]);
        let place = format!("bytes {}-{}/{length}", range.start, range.end - 1);
        assert_eq!((part.status(), part.header("content-range")), (206, Some(&*place)), "{field}");
        assert!(part.body == whole[range], "{field}");
    }
    let beyond = viewer.ask("GET", &segment, &[("Range", &format!("bytes={length}-"))]);
    assert_refusal(&beyond, 416, "range_not_satisfiable");
    let head = viewer.ask("HEAD", &segment, &[]);
    assert_eq!((head.status(), head.header("content-length")), (200, Some(&*length.to_string())));
    for _ in 0..200 {
        viewer.playlist();
    }
    until("all are shown", || appliance.json("/proxy/status")["total_clients"] == 4);
    assert_eq!(appliance.metric("sluice_clients"), 4.0);
    until("their bytes are shown", || {
        let shown = appliance.json(&format!("/proxy/streams/{id}/clients"));
        shown["clients"]
            .as_array()
            .is_some_and(|all| all.iter().all(|it| it["bytes_sent"].as_u64() > Some(100_000)))
    });
    assert_eq!(appliance.json(&format!("/ace/status?id={id}"))["clients"], 4);
    assert_eq!(opens(&engine), 1);
    plays(&continuous);
}

/// Guards: a stream that only HLS players watch begins, lives and ends like any other, and a segment can also be asked
/// for without a token, as orchestrators before named it.
#[test]
fn a_stream_lives_by_its_hls_players_alone() {
    let engine = healthy();
    let appliance = Setup::with_engines(&[&engine]).start();
    let (id, infohash) = nth(0);
    let bare = appliance.get(&format!("/ace/hls/{id}/segment/0.ts"));
    assert_refusal(&bare, 404, "not_found");
    assert_eq!(opens(&engine), 0, "a segment nobody made opened a session");
    let mut viewer = Viewer::enter(&appliance, &format!("id={id}"));
    let start = viewer.playlist().end();
    until("the stream goes on", || viewer.playlist().end() > start);
    for name in [id, infohash] {
        let path = format!("/ace/hls/{name}/segment/{start}.ts");
        let bare = request(appliance.addr(), "GET", &path, &[("User-Agent", "old")], b"").unwrap();
        assert_eq!(bare.status(), 200, "{}", bare.text());
        assert!(bare.body == viewer.get(&format!("{start}.ts")).body);
    }
    until("the one without a token is a client too", || {
        appliance.json("/proxy/status")["total_clients"] == 2
    });
    assert_eq!(serving(std::slice::from_ref(&engine), infohash), 0);
    let mut appliance = appliance;
    assert!(appliance.terminate(SOON).success());
    stopped_once_each(&engine, infohash);
}

/// Guards: numbers go on over a failover, no segment changes, and the appliance's players keep their addresses.
#[test]
fn numbers_go_on_over_a_failover() {
    let start = || engine_with(vec![ChannelSpec::synthetic(0, RATE)]);
    let mut engines = vec![start(), start()];
    let (id, infohash) = nth(0);
    let appliance = Setup::with_engines(&[&engines[0], &engines[1]]).start();
    let mut viewer = Viewer::enter(&appliance, &format!("id={id}"));
    let mut seen: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut last = 0;
    let mut read = |viewer: &mut Viewer| {
        let playlist = viewer.playlist();
        assert!(playlist.end() >= last, "numbers went back: {}", playlist.text);
        last = playlist.end();
        for (number, segment) in (playlist.first..).zip(&playlist.segments) {
            let body = viewer.get(segment).body;
            assert_media(&body);
            assert!(*seen.entry(number).or_insert_with(|| body.clone()) == body, "segment {number} changed");
        }
        last
    };
    let before = read(&mut viewer);
    let dying = serving(&engines, infohash);
    engines.remove(dying).kill();
    until("three segments more", || read(&mut viewer) >= before + 3);
    assert_eq!(seen.len() as u64, seen.keys().last().unwrap() - seen.keys().next().unwrap() + 1, "no gap");
    assert_eq!(opens(&engines[0]), 1);
}

/// Guards: a low-latency player waits for the part it asks for and gets it, parts make up their segment, and a plain
/// player is not bothered with any of it.
#[test]
fn a_low_latency_player_waits_for_parts() {
    let engine = healthy();
    let appliance = Setup::with_engines(&[&engine]).start();
    let id = nth(0).0;
    let mut plain = Viewer::enter(&appliance, &format!("id={id}"));
    let mut viewer = Viewer::enter(&appliance, &format!("id={id}&low_latency=1"));
    assert!(!plain.playlist().text.contains("PART"));
    let text = viewer.playlist().text;
    let hint = text.lines().last().and_then(|line| line.split('"').nth(1)).expect("a part is announced");
    let hinted = viewer.get(hint);
    assert_eq!(hinted.status(), 200, "{}", hinted.text());
    assert_media(&hinted.body);
    let next = viewer.playlist().end();
    let reloaded = viewer.get(&format!("low.m3u8?_HLS_msn={next}&_HLS_part=0"));
    assert!(reloaded.text().contains(&format!("\"{next}.0.ts\"")), "{}", reloaded.text());
    let reloaded = viewer.get(&format!("low.m3u8?_HLS_msn={next}"));
    assert!(reloaded.text().contains(&format!("\n{next}.ts\n")), "{}", reloaded.text());
    let parts = reloaded.text().matches(&format!("URI=\"{next}.")).count();
    let media: usize = (0..parts).map(|part| viewer.get(&format!("{next}.{part}.ts")).body.len() - 376).sum();
    assert_eq!(media, viewer.get(&format!("{next}.ts")).body.len() - 376);
}

/// Guards: with HLS as the form of every stream, the address of the continuous one leads to a playlist, queries and all.
#[test]
fn the_mode_of_earlier_programs_sends_players_to_a_playlist() {
    let engine = healthy();
    for (name, value) in [("PROXY_STREAM_MODE", "HLS"), ("ACEXY_M3U8", "true")] {
        let appliance = Setup::with_engines(&[&engine]).env(name, value).start();
        for (path, place) in [("getstream", "manifest.m3u8"), ("getstream/", "../manifest.m3u8")] {
            let sent = appliance.get(&format!("/ace/{path}?id={}&pid=1", nth(0).0));
            let expected = format!("{place}?id={}&pid=1", nth(0).0);
            assert_eq!((sent.status(), sent.header("location")), (302, Some(&*expected)), "{name}");
        }
    }
    assert_eq!(opens(&engine), 0);
}

/// Guards: HLS players count against the limits, together with the continuous ones.
#[test]
fn limits_count_players_of_both_kinds() {
    let engine = healthy();
    let appliance = Setup::with_engines(&[&engine]).env("MAX_CLIENTS_PER_STREAM", "2").start();
    let id = nth(0).0;
    let continuous = checked(&appliance, &engine, 0).start();
    plays(&continuous);
    let mut viewer = Viewer::enter(&appliance, &format!("id={id}"));
    assert_refusal(&appliance.get(&format!("/ace/manifest.m3u8?id={id}")), 503, "stream_clients_max");
    assert_refusal(&appliance.get(&format!("/ace/getstream?id={id}")), 503, "stream_clients_max");
    viewer.playlist();
}

/// Guards: a player that takes no more of a segment is cut off, not padded, and nobody else notices.
#[test]
fn a_player_that_stalls_in_a_segment_is_cut_off() {
    let rate = 6_000_000;
    let channel = ChannelSpec::synthetic(0, rate).with_reach_back(Duration::from_secs(6));
    let engine = Engine::start(Options { channels: vec![channel], ..Options::default() }).unwrap();
    let appliance = Setup::with_engines(&[&engine]).env("WRITE_TIMEOUT_S", "1").start();
    let mut viewer = Viewer::enter(&appliance, &format!("id={}", nth(0).0));
    let playlist = viewer.playlist();
    let segment = playlist.segments.last().unwrap();
    let mut stalled = TcpStream::connect(appliance.addr()).unwrap();
    let path = format!("{}/{segment}", viewer.directory);
    std::io::Write::write_all(&mut stalled, &encode(appliance.addr(), "GET", &path, &[], b"")).unwrap();
    until("it is cut off", || appliance.metric("sluice_hls_segments_cut_total") == 1.0);
    let (mut received, began) = (Vec::new(), Instant::now());
    stalled.set_read_timeout(Some(SOON)).unwrap();
    let end = stalled.read_to_end(&mut received);
    assert!(end.is_err() && began.elapsed() < SOON, "a short segment must not look whole: {end:?}");
    assert!(received.len() < viewer.get(segment).body.len());
    assert!(viewer.playlist().end() >= playlist.end());
}
