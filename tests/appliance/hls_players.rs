//! Real players over HLS, across a failover, all at once and from one engine session.

use crate::common::{SOON, Setup, eventually, until};
use crate::decoders::{not_as_root, run};
use crate::scene::{RATE, serving};
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use sluice_bench::player::http;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Seconds each player plays.
const LENGTH: u64 = 60;

fn engines() -> Vec<Engine> {
    let channel = || ChannelSpec::clip(0, RATE);
    (0..2)
        .map(|_| {
            Engine::start(Options { channels: vec![channel()], ..Options::default() }).expect("it starts")
        })
        .collect()
}

/// The number behind the last `name`.
fn last(text: &str, name: &str) -> Option<u64> {
    let rest = text.rsplit_once(name)?.1.trim_start_matches([' ', ':', '=']);
    rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// Guards: ffmpeg, mpv and VLC, the first to play a stream, play on over HLS while the engine is replaced under them: every picture
/// is decoded, hardly one is dropped, none of them gives up or runs dry, and when they are gone they are no longer counted.
#[test]
fn players_play_on_over_a_failover() {
    let mut engines = engines();
    let (id, infohash) = nth(0);
    let appliance = Setup::with_engines(&[&engines[0], &engines[1]]).start();
    let url = format!("http://{}/ace/manifest.m3u8?id={id}", appliance.addr());
    let seconds = LENGTH;
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-hide_banner", "-nostdin", "-v", "error", "-nostats", "-progress", "pipe:1", "-i", &url]);
    ffmpeg.args(["-t", &seconds.to_string(), "-f", "null", "-"]);
    let mut mpv = Command::new("mpv");
    mpv.args(["--no-config", "--vo=null", "--ao=null", "--terminal=yes", "--no-input-terminal"]);
    mpv.arg("--term-status-msg=dropped=${frame-drop-count} undecoded=${decoder-frame-drop-count}");
    mpv.arg(format!("--length={seconds}")).arg(&url);
    let mut vlc = Command::new("cvlc");
    vlc.args(["--no-color", "-vv", "--vout=dummy", "--aout=dummy", "--play-and-exit"]);
    vlc.arg(format!("--run-time={seconds}")).arg(&url).arg("vlc://quit");
    not_as_root(&mut vlc);
    let [ffmpeg, mpv, vlc] = [ffmpeg, mpv, vlc].map(|mut player| thread::spawn(move || run(&mut player)));

    let playing = || appliance.json("/proxy/status")["total_clients"].as_u64().unwrap_or(0);
    // Where a player is not installed its test is skipped, with the reason printed.
    let all_there = || playing() == 3 || [&ffmpeg, &mpv, &vlc].iter().any(|player| player.is_finished());
    until("all of them play", all_there);
    let segments = appliance.metric("sluice_hls_segments_total");
    until("they go on", || appliance.metric("sluice_hls_segments_total") >= segments + 3.0);
    let dying = serving(&engines, infohash);
    engines.remove(dying).kill();
    until("the other engine serves", || {
        engines[0].control().counters(infohash).is_ok_and(|it| it.readers == 1)
    });

    if let Some(said) = ffmpeg.join().expect("ffmpeg succeeds") {
        let frames = last(&said.out, "\nframe=").expect("a number of pictures");
        assert!(frames >= seconds * 25 - 25, "{frames} pictures in {seconds} s: {}", said.complaints);
        assert!(said.complaints.is_empty(), "{}", said.complaints);
    }
    if let Some(said) = mpv.join().expect("mpv succeeds") {
        let all = said.out + &said.complaints;
        let dropped = ["dropped=", "undecoded="].map(|name| last(&all, name).expect("a counter"));
        // A shared machine drops some for want of a processor; lost media would drop a second of them.
        assert!(dropped.iter().sum::<u64>() < 25, "{dropped:?} pictures dropped");
        assert!(!all.contains("Failed") && !all.contains("Invalid"), "{all}");
    }
    if let Some(said) = vlc.join().expect("VLC succeeds") {
        for sign in ["Received first picture", "AAC channels: 2 samplerate: 48000"] {
            assert!(said.complaints.contains(sign), "no {sign}: {}", said.complaints);
        }
        let is_wrong = |line: &&str| {
            let of_playing =
                ["adaptive", "demux", "decoder", "packetizer"].iter().any(|it| line.contains(it));
            of_playing && line.contains(" error: ") || line.contains("buffer deadlock prevented")
        };
        let lines: Vec<&str> = said.complaints.lines().collect();
        if let Some(at) = lines.iter().position(is_wrong) {
            // What it did just before is the only trace of why.
            let around = lines[at.saturating_sub(80)..lines.len().min(at + 20)].join("\n");
            panic!("line {at} of {}, and what stands around it:\n{around}", lines.len());
        }
        // It ran dry, and filled its buffer anew. A machine that works on other things may do that to it, now and then.
        let dry = said.complaints.matches("is called too late").count();
        assert!(dry < 4, "VLC ran dry {dry} times");
        let late = said.complaints.matches("picture is too late to be displayed").count();
        assert!(late < 25, "{late} pictures dropped");
    }
    assert_eq!(engines[0].control().counters(infohash).unwrap().opens, 1);
    assert_eq!(appliance.metric("sluice_task_panics_total"), 0.0);
    // Nobody says goodbye over HLS: who is silent for long enough has left, and the session ends by itself.
    eventually_idle(|| playing() == 0 && appliance.metric("sluice_sessions") == 0.0);
    assert!(appliance.metric("sluice_clients_ended_total{reason=\"client_left\"") >= 3.0);
}

fn eventually_idle(mut holds: impl FnMut() -> bool) {
    crate::common::eventually_within("they are forgotten", SOON * 2, || holds().then_some(()));
}

/// Guards: every segment is a file of its own: ffprobe finds picture and sound in each, and decodes each alone without a
/// complaint; one after the other they are the stream.
#[test]
fn every_segment_decodes_alone_and_all_in_a_row() {
    let engine = engines().remove(0);
    let appliance = Setup::with_engines(&[&engine]).start();
    let addr = appliance.addr();
    let place = http::get(addr, &format!("/ace/manifest.m3u8?id={}", nth(0).0)).unwrap();
    let place = format!("/ace/{}", place.header("location").expect("a playlist"));
    let directory = place.rsplit_once('/').unwrap().0;
    let names = eventually("six segments", || {
        let text = http::get(addr, &place).unwrap().text();
        let names: Vec<String> =
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        thread::sleep(Duration::from_millis(100));
        (names.len() >= 6).then_some(names)
    });
    let file = |name: &str| {
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hls-{}-{name}", addr.port()))
    };
    let mut all = Vec::new();
    for name in &names {
        let body = http::get(addr, &format!("{directory}/{name}")).unwrap().body;
        std::fs::write(file(name), &body).unwrap();
        all.extend(body);
        let probe = ["-v", "error", "-count_frames", "-show_entries", "stream=codec_name,nb_read_frames"];
        let said = run(Command::new("ffprobe").args(probe).args(["-of", "csv=p=0"]).arg(file(name)));
        let _ = std::fs::remove_file(file(name));
        let Some(said) = said else { return };
        let video = last(&said.out, "h264,").unwrap_or_else(|| panic!("{name}: {}", said.out));
        assert!(video >= 45 && last(&said.out, "aac,").is_some(), "{name}: {}", said.out);
        assert_eq!(said.complaints, "", "{name}");
    }
    std::fs::write(file("all.ts"), &all).unwrap();
    let decode = ["-hide_banner", "-nostdin", "-v", "warning", "-i"];
    let said = run(Command::new("ffmpeg").args(decode).arg(file("all.ts")).args(["-f", "null", "-"]));
    let _ = std::fs::remove_file(file("all.ts"));
    assert_eq!(said.map_or(String::new(), |said| said.complaints), "");
}
