//! An engine goes, another one reaches back: players get the very next packet, as if nothing had happened.

use crate::common::{Appliance, SOON, Setup, until};
use crate::scene::{RATE, engine, first, healthy, serving, stopped_once_each, watching};
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Cut, Engine};
use std::process::{Command, Stdio};

/// What `/proxy/sessions/{id}` says of a session's splices.
fn splices(appliance: &Appliance, n: u32) -> serde_json::Value {
    appliance.json(&format!("/proxy/sessions/{}", nth(n).1))["splices"].clone()
}

/// Guards the promise: whichever way an engine goes (end of the body, reset, killed), in the middle of a packet or not,
/// the next engine session goes on with the very next packet. Nobody is disconnected, nothing is lost, repeated or even
/// flagged, what padding there is included, and every splice is shown.
#[test]
fn no_packet_is_lost_or_repeated_when_an_engine_goes() {
    let mut engines = vec![healthy(), healthy()];
    let infohash = first().1;
    let appliance = Setup::with_engines(&[&engines[0], &engines[1]]).start();
    let players = watching(3, &appliance, &engines[0], 0);
    let opens = |engines: &[Engine]| -> u64 {
        engines.iter().map(|engine| engine.control().counters(infohash).unwrap().opens).sum()
    };
    for (at, cut) in [(1, Cut::Eof), (2, Cut::Reset)] {
        let serving = serving(&engines, infohash);
        assert!(engines[serving].control().cut(infohash, cut).unwrap());
        until("another source carries on", || splices(&appliance, 0)["exact"] == at);
        players[0].wait_more(RATE / 2, SOON).expect("it plays on");
    }
    assert_eq!(opens(&engines), 3);
    engines.remove(serving(&engines, infohash)).kill();
    until("the other engine carries on", || splices(&appliance, 0)["exact"] == 3);
    for player in &players {
        player.wait_more(RATE / 4, SOON).expect("it plays on");
        assert_eq!((player.end(), player.report().faults_or_losses()), (None, Vec::new()));
    }
    let shown = splices(&appliance, 0);
    assert_eq!((&shown["clock"], &shown["random_access"]), (&0.into(), &0.into()), "{shown}");
    assert_eq!((&shown["lost_bytes"], &shown["repeated_bytes"]), (&0.into(), &0.into()), "{shown}");
    let counted = |kind: &str| appliance.metric(&format!("sluice_splices_total{{kind=\"{kind}\""));
    until("the splices are counted", || counted("exact") == 3.0);
    assert_eq!((counted("clock"), counted("random_access")), (0.0, 0.0));
    drop(players);
    stopped_once_each(&engines[0], infohash);
}

/// Guards: sources that break off before they come to our place leave no trace; the one that gets there goes on with the
/// very next packet.
#[test]
fn bursts_that_break_off_early_change_nothing() {
    let (engine, infohash) = (healthy(), first().1);
    let appliance = Setup::with_engines(&[&engine]).start();
    let control = engine.control();
    let players = watching(2, &appliance, &engine, 0);
    control.update_faults(infohash, |faults| faults.reset_after_bytes = Some(RATE / 2)).unwrap();
    until("sources fail early", || control.counters(infohash).unwrap().opens >= 3);
    control.update_faults(infohash, |faults| faults.reset_after_bytes = None).unwrap();
    until("another source carries on", || splices(&appliance, 0)["exact"] == 1);
    for player in &players {
        player.wait_more(RATE / 4, SOON).expect("it plays on");
        assert_eq!((player.end(), player.report().faults_or_losses()), (None, Vec::new()));
    }
}

/// Guards: a decoder has nothing to say about a recording across two changes of source.
#[test]
fn a_decoder_does_not_notice_a_change_of_source() {
    if Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: ffmpeg is not installed");
        return;
    }
    let engine = engine(vec![ChannelSpec::clip(0, RATE)]);
    let appliance = Setup::with_engines(&[&engine]).env("JOIN_BEHIND_S", "2").start();
    let player = appliance.player(first().0).keep_first(64 << 20).start();
    player.wait_decodable(SOON).expect("it plays");
    for at in 1..=2 {
        assert!(engine.control().cut(first().1, Cut::Eof).unwrap());
        until("another source carries on", || splices(&appliance, 0)["exact"] == at);
        player.wait_more(RATE + RATE / 4, SOON).expect("it plays on");
    }
    let recording = player.first_bytes();
    // The end may lie within a picture: what counts is before the last second of it.
    let seconds = recording.len() as f64 / RATE as f64 - 1.0;
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("spliced.ts");
    std::fs::write(&path, &recording).unwrap();
    let output = Command::new("ffmpeg")
        .args(["-v", "warning", "-i"])
        .arg(&path)
        .args(["-t", &seconds.to_string(), "-f", "null", "-"])
        .output()
        .expect("ffmpeg starts");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{} bytes", recording.len());
    assert!(output.status.success());
}
