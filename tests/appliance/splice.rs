//! An engine goes, another one reaches back: players get the very next packet, as if nothing had happened.

use crate::common::{Appliance, SOON, Setup, until};
use crate::decoders::run;
use crate::scene::{RATE, engine, first, healthy, serving, stopped_once_each, watching};
use crate::stage::Raw;
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Cut, Engine};
use sluice_bench::player::http;
use std::process::Command;
use std::time::Duration;

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
    let length = seconds.to_string();
    let mut decode = Command::new("ffmpeg");
    decode.args(["-v", "warning", "-i"]).arg(&path).args(["-t", &length, "-f", "null", "-"]);
    let Some(said) = run(&mut decode) else { return };
    assert_eq!(said.complaints, "", "{} bytes", recording.len());
}

/// Guards: an engine that falls silent with its socket open is not waited for: a second one is opened beside it after three
/// seconds, and goes on with the very next packet; the silent one is stopped once.
#[test]
fn a_silent_engine_is_followed_by_another_without_a_loss() {
    let engines = [healthy(), healthy()];
    let infohash = first().1;
    let appliance = Setup::with_engines(&[&engines[0], &engines[1]]).start();
    let players = watching(2, &appliance, &engines[0], 0);
    let at = serving(&engines, infohash);
    engines[at].control().update_faults(infohash, |faults| faults.starve = true).unwrap();
    until("another source carries on", || splices(&appliance, 0)["exact"] == 1);
    assert!(appliance.metric("sluice_source_silences_total") >= 1.0, "control was not told");
    for player in &players {
        player.wait_more(RATE / 4, SOON).expect("it plays on");
        assert_eq!((player.end(), player.report().faults_or_losses()), (None, Vec::new()));
    }
    stopped_once_each(&engines[at], infohash);
}

/// Guards: a source that comes back while the second engine is still being opened stays, and the second one is stopped
/// exactly once.
#[test]
fn a_silent_engine_that_comes_back_is_kept() {
    let engines = [healthy(), healthy()];
    let infohash = first().1;
    let appliance = Setup::with_engines(&[&engines[0], &engines[1]]).start();
    let players = watching(2, &appliance, &engines[0], 0);
    let at = serving(&engines, infohash);
    let other = engines[1 - at].control();
    other.update_faults(infohash, |faults| faults.prebuffer_ms = Some(60_000)).unwrap();
    engines[at].control().update_faults(infohash, |faults| faults.starve = true).unwrap();
    until("a second engine is opened", || other.counters(infohash).unwrap().opens == 1);
    engines[at].control().update_faults(infohash, |faults| faults.starve = false).unwrap();
    stopped_once_each(&engines[1 - at], infohash);
    for player in &players {
        player.wait_more(RATE / 4, SOON).expect("it plays on");
        assert_eq!((player.end(), player.report().faults_or_losses()), (None, Vec::new()));
    }
    assert_eq!(engines[at].control().counters(infohash).unwrap().opens, 1);
    assert_eq!(splices(&appliance, 0)["exact"], 0);
}

fn post(appliance: &Appliance, path: &str, body: &str) -> String {
    let mut raw = Raw::open(appliance.addr());
    let length = body.len();
    raw.send(format!("POST {path} HTTP/1.1\r\nHost: sluice\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes());
    raw.read_to_end(SOON)
}

/// Guards: a session is moved while it plays: the second engine is opened and caught up before the first is left, not a
/// packet is lost, repeated or flagged, and the first engine is stopped once.
#[test]
fn a_session_moves_to_another_engine_while_it_plays() {
    let engines = [healthy(), healthy()];
    let infohash = first().1;
    let appliance = Setup::with_engines(&[&engines[0], &engines[1]]).start();
    let players = watching(2, &appliance, &engines[0], 0);
    let state = || appliance.json(&format!("/proxy/sessions/{infohash}"))["state"].clone();
    for moves in 1..=2 {
        until("the session is shown to play", || state() == "playing");
        let at = serving(&engines, infohash);
        let path = format!("/proxy/sessions/{infohash}/move");
        let body = format!(r#"{{"engine":"{}","reason":"test"}}"#, engines[1 - at].addr());
        let answer = post(&appliance, &path, if moves == 1 { &body } else { "" });
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        until("the other engine carries on", || splices(&appliance, 0)["exact"] == moves);
        until("the first engine is left", || serving(&engines, infohash) == 1 - at);
        until("the move is counted", || {
            appliance.metric("sluice_session_moves_done_total") == f64::from(moves)
        });
        let shown = appliance.json(&format!("/proxy/sessions/{infohash}"))["container_id"].clone();
        assert_eq!(shown, engines[1 - at].addr().to_string(), "the session shows the engine it left");
    }
    for player in &players {
        player.wait_more(RATE / 4, SOON).expect("it plays on");
        assert_eq!((player.end(), player.report().faults_or_losses()), (None, Vec::new()));
    }
    drop(players);
    engines.iter().for_each(|engine| stopped_once_each(engine, infohash));
}

/// Guards: when all engines in use behind one VPN are silent, their sessions move to an engine elsewhere, without a loss.
#[test]
fn sessions_leave_a_vpn_that_is_silent_as_a_whole() {
    // The third takes a while to begin, so that the first session is still there when the second falls silent: how long that
    // takes depends on how steadily each has come.
    let engines: [Engine; 3] = std::array::from_fn(|at| {
        let prebuffer = Duration::from_millis(if at == 2 { 2500 } else { 100 });
        engine((0..2).map(|n| ChannelSpec::synthetic(n, RATE).with_prebuffer(prebuffer)).collect())
    });
    let places = engines.iter().zip(["vpn-1", "vpn-1", "vpn-2"]);
    let places: Vec<String> = places.map(|(engine, vpn)| format!("{}@{vpn}", engine.addr())).collect();
    let appliance = Setup::with_engines(&[]).env("STATIC_ENGINES", &places.join(",")).start();
    appliance.wait_healthy(3);
    // One session on each of the two, and nobody has been on the third before: where one has just left it does not return to.
    let elsewhere = format!("/engines/{}/drain", engines[2].addr());
    let drain = |method| http::request(appliance.addr(), method, &elsewhere, &[], b"").unwrap().status();
    assert_eq!(drain("POST"), 200);
    let players: Vec<_> = (0..2).flat_map(|n| watching(2, &appliance, &engines[0], n)).collect();
    let key = |n: usize| nth(n as u32).1;
    let served_by = [0, 1].map(|n| serving(&engines, key(n)));
    assert_eq!(served_by[0] + served_by[1], 1, "{served_by:?}");
    assert_eq!(drain("DELETE"), 200);
    for (n, engine) in served_by.into_iter().enumerate() {
        engines[engine].control().update_faults(key(n), |faults| faults.starve = true).unwrap();
    }
    until("both have moved", || (0..2).all(|n| serving(&engines, key(n as usize)) == 2));
    for n in 0..2 {
        until("the very next packet follows", || splices(&appliance, n)["exact"] == 1);
    }
    until("it is told why", || {
        appliance.metric("sluice_session_moves_asked_total{reason=\"vpn_degraded\"") >= 1.0
    });
    for player in &players {
        player.wait_more(RATE / 4, SOON).expect("it plays on");
        assert_eq!((player.end(), player.report().faults_or_losses()), (None, Vec::new()));
    }
}

/// Guards: a channel with a spare source goes on at once when its engine is killed, without a loss, although a new start
/// would take far longer.
#[test]
fn a_spare_source_takes_over_at_once() {
    let mut engines = vec![healthy(), healthy()];
    let infohash = first().1;
    let appliance =
        Setup::with_engines(&[&engines[0], &engines[1]]).env("WARM_SPARE_CLIENTS_MIN", "2").start();
    let players = watching(2, &appliance, &engines[0], 0);
    let bodies = |engines: &[Engine]| -> u64 {
        engines.iter().map(|engine| engine.control().counters(infohash).unwrap().bodies).sum()
    };
    until("a spare source is opened", || bodies(&engines) == 2);
    for engine in &engines {
        engine.control().update_faults(infohash, |faults| faults.prebuffer_ms = Some(60_000)).unwrap();
    }
    let playing = appliance.json(&format!("/proxy/sessions/{infohash}"))["container_id"].clone();
    let at = usize::from(playing == engines[1].addr().to_string());
    players[0].wait_more(RATE / 2, SOON).expect("it plays on");
    engines.remove(at).kill();
    until("the spare carries on", || splices(&appliance, 0)["exact"] == 1);
    for player in &players {
        player.wait_more(RATE / 4, SOON).expect("it plays on");
        assert_eq!((player.end(), player.report().faults_or_losses()), (None, Vec::new()));
    }
}
