//! The bytes of a body: identical everywhere, on time, whole.

use std::time::{Duration, Instant};

use sluice_bench::channel::check::{self, Mark};
use sluice_bench::engine::{ChannelSpec, Engine, Faults, Framing, Garbage, Options, Profile, Resume};

use super::client::{Client, header, open, play, play_media};
use super::{engine, infohash};

/// Opens, plays, and reads so many bytes of media.
fn record(engine: &Engine, pid: &str, bytes: usize) -> Vec<u8> {
    let session = open(engine.addr(), infohash(0), pid);
    play_media(engine.addr(), &session.playback).read(bytes).expect("media")
}

/// The stream index of the first packet, from its own or the next mark.
fn first_index(media: &[u8]) -> u64 {
    let (place, mark) = media
        .chunks_exact(188)
        .zip(0..)
        .find_map(|(packet, place)| Some((place, check::read(packet)?)))
        .expect("a marked packet");
    mark.index - place
}

/// Guards that a body is the broadcast byte for byte, from a packet boundary about ten seconds back.
#[test]
fn a_body_is_the_broadcast_from_ten_seconds_ago() {
    let engine = engine();
    let media = record(&engine, "a", 9_000_000);
    let live = engine.control().live_position(infohash(0)).expect("known");
    let broadcast = engine.control().broadcast(infohash(0)).expect("known");
    let first = first_index(&media);
    let behind = live - first * 188;
    assert!((9_900_000..20_000_000).contains(&behind), "{behind}");
    for (packet, index) in media.chunks_exact(188).zip(first..) {
        assert_eq!(packet, broadcast.packet(index), "packet {index}");
        if let Some(mark) = check::read(packet) {
            assert_eq!(mark, Mark { seed: 0, index });
        }
    }
}

/// Guards the shared timeline: engines of different seeds and profiles, started apart, serve the same bytes at the same
/// positions.
#[test]
fn engines_of_one_broadcast_serve_identical_bytes() {
    let start = |seed, profile| {
        let channels = vec![ChannelSpec::synthetic(0, 1_000_000).with_profile(profile)];
        Engine::start(Options { channels, seed, ..Options::default() }).expect("free ports")
    };
    let smooth = start(1, Profile::SMOOTH);
    let a = record(&smooth, "a", 8_000_000);
    let pieces = start(2, Profile::PIECES);
    let b = record(&pieces, "b", 8_000_000);
    let (first_a, first_b) = (first_index(&a), first_index(&b));
    let ahead = ((first_b - first_a) * 188) as usize;
    assert!(ahead < 4_000_000, "started {ahead} bytes apart");
    assert!(a[ahead..] == b[..b.len() - ahead], "the common part differs");
}

/// Guards the smooth profile: after the burst, media comes no faster than the rate.
#[test]
fn smooth_media_comes_at_the_rate() {
    let engine = engine();
    let session = open(engine.addr(), infohash(0), "a");
    let mut client = play_media(engine.addr(), &session.playback);
    client.read(10_000_000).expect("the burst");
    let begun = Instant::now();
    client.read(1_500_000).expect("live media");
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(1200), "1.5 MB of a 1 MB/s stream in {took:?}");
}

/// Guards the pieces profile: media arrives a mebibyte at a time with silence in between.
#[test]
fn pieces_arrive_whole() {
    let engine = super::engine_with(|options| {
        options.channels = vec![ChannelSpec::synthetic(0, 3_000_000).with_profile(Profile::PIECES)];
    });
    let session = open(engine.addr(), infohash(0), "a");
    let mut client = play_media(engine.addr(), &session.playback);
    let first = client.read(188 * 20).expect("media");
    let mut position = first_index(&first) * 188 + first.len() as u64;
    // The burst ends at a piece boundary; read on until media pauses, at another one.
    let mut gaps = 0;
    for _ in 0..1000 {
        let before = client.buffer.len();
        if client.is_silent_for(Duration::from_millis(60)) {
            position += before as u64;
            client.buffer.clear();
            // A pause in the middle of a piece is the machine's doing; the broadcast never ends there.
            gaps += u32::from(position.is_multiple_of(1 << 20));
        }
        if gaps == 3 {
            break;
        }
    }
    assert_eq!(gaps, 3, "media paused elsewhere");
    assert!(!position.is_multiple_of(188));
}

/// Guards the large burst: 22 MB arrive within seconds, not at the rate.
#[test]
fn burst_profile_sends_22_megabytes_at_once() {
    let engine = super::engine_with(|options| {
        options.channels = vec![ChannelSpec::synthetic(0, 1_000_000).with_profile(Profile::BURST)];
    });
    let begun = Instant::now();
    let media = record(&engine, "a", 20_900_000);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(media.chunks_exact(188).find_map(check::read).map(|mark| mark.seed), Some(0));
}

fn with_faults(faults: Faults) -> (Engine, Client, String) {
    let engine = engine();
    engine.control().set_faults(infohash(0), faults).expect("known");
    let session = open(engine.addr(), infohash(0), "a");
    let (client, head) = play(engine.addr(), &session.playback);
    (engine, client, head)
}

/// Guards the framings: chunked with and without extensions, and an announced length, carry the same media.
#[test]
fn bodies_can_be_framed() {
    let framed = |framing| with_faults(Faults { framing, ..Faults::default() });
    for framing in [Framing::Chunked, Framing::ChunkedExtensions] {
        let (_engine, mut client, head) = framed(framing);
        assert_eq!(header(&head, "Transfer-Encoding"), Some("chunked"));
        let mut media = Vec::new();
        while media.len() < 500_000 {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.extend(client.read(1).expect("a size line"));
            }
            let line = String::from_utf8(line).expect("ASCII");
            let size = line.trim_end().split(';').next().unwrap_or_default();
            assert_eq!(line.contains(';'), framing == Framing::ChunkedExtensions);
            let size = usize::from_str_radix(size, 16).expect("a size");
            media.extend(client.read(size).expect("a chunk"));
            assert_eq!(client.read(2).expect("an end of line"), b"\r\n");
        }
        // Tables and padding carry no mark.
        let marks = media.chunks_exact(188).zip(first_index(&media)..);
        let marked: Vec<_> =
            marks.filter_map(|(packet, place)| Some((check::read(packet)?.index, place))).collect();
        assert!(marked.len() > 1000 && marked.iter().all(|(index, place)| index == place), "{framing:?}");
    }
    let (_engine, mut client, head) = framed(Framing::ContentLength(400_000));
    assert_eq!(header(&head, "Content-Length"), Some("400000"));
    assert_eq!(client.read_to_end().0.len(), 400_000);
}

/// Guards garbage between packets: exactly the bytes asked for, and all packets still there.
#[test]
fn garbage_lies_between_packets() {
    let garbage = Garbage { every_packets: 100, bytes: 77 };
    let (_engine, mut client, _) = with_faults(Faults { garbage: Some(garbage), ..Faults::default() });
    let media = client.read(400_000).expect("media");
    let (mut at, mut garbage, mut indices) = (0, 0, Vec::new());
    while at + 188 <= media.len() {
        if media[at] == 0x47 {
            indices.extend(check::read(&media[at..at + 188]).map(|mark| mark.index));
            at += 188;
        } else {
            at += 1;
            garbage += 1;
        }
    }
    assert!((1500..1800).contains(&garbage), "{garbage}");
    assert!(
        indices.len() > 1900 && indices.windows(2).all(|pair| pair[1] > pair[0] && pair[1] - pair[0] < 4)
    );
}

/// Guards a repetition: the same whole packets again and again, and the broadcast again once it is over.
#[test]
fn the_last_packets_come_again() {
    const LENGTH: usize = 100 * 188;
    let repeating = Faults { repeat_bytes: Some(LENGTH as u64 + 5), ..Faults::default() };
    let (engine, mut client, _) = with_faults(repeating);
    let media = client.read(400_000).expect("media");
    // The body may begin within a packet.
    let media = &media[188..];
    assert!(media[LENGTH..] == media[..media.len() - LENGTH]);
    engine.control().set_faults(infohash(0), Faults::default()).expect("known");
    let more = client.read(4_000_000).expect("media");
    let end = &more[more.len() - 400_000..];
    assert!(end[LENGTH..] != end[..end.len() - LENGTH]);
}

/// Guards silence and what follows: contiguous loses nothing, a jump skips to live.
#[test]
fn media_resumes_contiguous_or_at_live() {
    for resume in [Resume::Contiguous, Resume::Jump] {
        let engine = engine();
        let control = engine.control();
        control.update_faults(infohash(0), |faults| faults.resume = resume).expect("known");
        let session = open(engine.addr(), infohash(0), "a");
        let mut client = play_media(engine.addr(), &session.playback);
        client.read(9_900_000).expect("the burst");
        control.update_faults(infohash(0), |faults| faults.starve = true).expect("known");
        super::client::eventually("silence", || client.is_silent_for(Duration::from_millis(300)));
        let stat = super::client::json(engine.addr(), &session.stat);
        assert_eq!((&stat["response"]["status"], &stat["response"]["peers"]), (&"dl".into(), &1.into()));
        client.buffer.clear();
        let live = || control.live_position(infohash(0)).expect("known");
        let enough = live() + 300_000;
        super::client::eventually("a gap that can be told from none", || live() > enough);
        let before = live();
        control.update_faults(infohash(0), |faults| faults.starve = false).expect("known");
        let media = client.read(150_000).expect("media goes on");
        // Contiguous media goes on in the middle of a packet; a mark tells where.
        let at = (0..4000).find(|at| check::is_marked(&media[*at..*at + 188])).expect("a mark");
        let mark = check::read(&media[at..at + 188]).expect("an intact packet");
        let lag = before as i64 - (mark.index * 188) as i64;
        match resume {
            Resume::Contiguous => assert!(lag > 400_000, "{lag}"),
            _ => assert!((-3_000_000..50_000).contains(&lag), "{lag}"),
        }
    }
}

/// Guards timed silence: it begins after its time, lasts its time, and meanwhile stat shows a speed that decays and
/// counters that stand still.
#[test]
fn starvation_begins_and_ends_by_itself() {
    let engine = engine();
    engine
        .control()
        .update_faults(infohash(0), |faults| {
            (faults.starve_after_ms, faults.starve_for_ms) = (Some(300), Some(1500));
        })
        .expect("known");
    let session = open(engine.addr(), infohash(0), "a");
    let mut client = play_media(engine.addr(), &session.playback);
    super::client::eventually("silence", || client.is_silent_for(Duration::from_millis(200)));
    let stat = || super::client::json(engine.addr(), &session.stat)["response"].clone();
    let early = stat();
    assert_eq!((&early["status"], &early["peers"]), (&"dl".into(), &1.into()));
    super::client::eventually("a decaying speed", || {
        stat()["speed_down"].as_u64() < early["speed_down"].as_u64()
    });
    let late = stat();
    if late["peers"] == 1 {
        assert_eq!(late["downloaded"], early["downloaded"]);
    }
    client.buffer.clear();
    client.read(500_000).expect("media goes on by itself");
    assert_eq!(stat()["peers"], 12);
}
