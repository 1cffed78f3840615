//! Engines that misbehave: each gets a clear status or a counted reason, and nobody else notices.

use crate::common::{SOON, Setup, until};
use crate::scene::{RATE, checked, engine};
use sluice_bench::channel::nth;
use sluice_bench::engine::{Body, ChannelSpec, Faults, Garbage, HeadQuirk, Profile, Redirect};
use sluice_bench::player::Reading;
use std::net::TcpListener;

/// What a channel does, and what its player is told.
struct Case {
    what: &'static str,
    faults: Faults,
    status: u16,
    code: &'static str,
    text: &'static str,
}

fn case(what: &'static str, status: u16, code: &'static str, text: &'static str, faults: Faults) -> Case {
    Case { what, faults, status, code, text }
}

fn cases() -> Vec<Case> {
    let head = |head| Faults { head, ..Faults::default() };
    let json_head = |json_head| Faults { json_head, ..Faults::default() };
    let body = |body| Faults { body, ..Faults::default() };
    let redirect = |to| Faults { redirect: Some(to), ..Faults::default() };
    let json_error = |text: &str| Faults { json_error: Some(text.to_owned()), ..Faults::default() };
    vec![
        case("a redirect loop", 502, "engine_error", "loop", redirect(Redirect::Loop)),
        case(
            "a foreign host",
            502,
            "engine_error",
            "foreign",
            redirect(Redirect::To("http://media.example.org/x".to_owned())),
        ),
        case("an HTML page", 502, "not_mpeg_ts", "html", body(Body::Html)),
        case("an error text as media", 502, "not_mpeg_ts", "failed to load", body(Body::ErrorText)),
        case("an empty body", 502, "engine_error", "ended", body(Body::Empty)),
        case(
            "an unknown content",
            404,
            "content_not_found",
            "failed to load",
            json_error("failed to load content"),
        ),
        case("another error with status 200", 502, "engine_error", "out of luck", json_error("out of luck")),
        case("a long header name", 502, "engine_error", "HTTP", head(HeadQuirk::LongName)),
        case("a long header name of the start", 502, "engine_error", "HTTP", json_head(HeadQuirk::LongName)),
        case("an endless head", 502, "engine_error", "HTTP", head(HeadQuirk::Endless)),
        case("an endless head of the start", 502, "engine_error", "HTTP", json_head(HeadQuirk::Endless)),
        case("bare line feeds", 502, "engine_error", "HTTP", head(HeadQuirk::LfOnly)),
        case("bare line feeds of the start", 502, "engine_error", "HTTP", json_head(HeadQuirk::LfOnly)),
        case(
            "one byte a second",
            504,
            "start_timeout",
            "no media",
            Faults { trickle: true, ..Faults::default() },
        ),
        case(
            "half a packet",
            502,
            "engine_error",
            "ended",
            Faults { eof_after_bytes: Some(94), ..Faults::default() },
        ),
        case(
            "a reset",
            502,
            "engine_error",
            "broke",
            Faults { reset_after_bytes: Some(94), ..Faults::default() },
        ),
    ]
}

/// Guards: whatever an engine answers instead of media, the player gets a status and a code that fit and the engine's
/// own words where it had any; every engine session opened on the way is
/// stopped; no task fails, no descriptor stays, and a healthy channel of the same engine plays untouched. Each case has
/// an appliance of its own, because control asks an engine that keeps failing ever more slowly.
#[test]
fn nonsense_from_an_engine_gets_a_clear_answer() {
    let cases = cases();
    std::thread::scope(|scope| {
        let running: Vec<_> = cases.iter().map(|case| scope.spawn(move || nonsense(case))).collect();
        for running in running {
            running.join().expect("the case holds");
        }
    });
}

fn nonsense(case: &Case) {
    let (what, rate) = (case.what, RATE / 4);
    let broken = ChannelSpec::synthetic(0, rate).with_faults(case.faults.clone());
    let engine = engine(vec![broken, ChannelSpec::synthetic(1, rate)]);
    let control = engine.control();
    let appliance = Setup::with_engines(&[&engine])
        .env("SHARDS", "1")
        .env("START_TIMEOUT_S", "2")
        .env("START_TIMEOUT_MAX_S", "4")
        .env("PROXY_GRACE_PERIOD", "100ms")
        .start();
    let beside = checked(&appliance, &engine, 1).start();
    beside.wait_decodable(SOON).unwrap();
    let before = appliance.descriptors();
    let player = appliance.player(nth(0).0).start();
    let head = player.wait_head(2 * SOON).unwrap_or_else(|missed| panic!("{what}: {missed}"));
    player.wait_end(SOON).unwrap_or_else(|missed| panic!("{what}: {missed}"));
    let text = String::from_utf8_lossy(&player.first_bytes()).into_owned();
    let told: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    assert_eq!((head.status, told["code"].as_str()), (case.status, Some(case.code)), "{what}: {text}");
    assert!(text.to_lowercase().contains(&case.text.to_lowercase()), "{what}: {text}");
    // A start whose answer cannot be read leaves nothing to stop; the engine's own idle rule ends it.
    if case.faults.json_head == HeadQuirk::None {
        until("only the healthy session is left", || control.engine_counters().downloads == 1);
        let counters = control.counters(nth(0).1).unwrap();
        assert_eq!(counters.stops, counters.opens, "{what}: {counters:?}");
    }
    beside.wait_more(rate, SOON).unwrap();
    assert_eq!(beside.report().faults_or_losses(), Vec::<String>::new(), "{what}");
    until("descriptors are given back", || appliance.descriptors() <= before + 4);
    assert!(appliance.metric("sluice_task_panics_total").abs() < 0.5, "{what}");
}

/// Guards: a redirect to another address never makes a connection there: its path is asked of the engine itself.
#[test]
fn nobody_connects_where_a_redirect_points() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let url = format!("http://{}/ace/r/x/y", elsewhere.local_addr().unwrap());
    let faults = Faults { redirect: Some(Redirect::To(url)), ..Faults::default() };
    let engine = engine(vec![ChannelSpec::synthetic(0, RATE).with_faults(faults)]);
    let appliance = Setup::with_engines(&[&engine]).start();
    let player = appliance.player(nth(0).0).start();
    until("the redirect is followed", || {
        engine.control().requests(0).iter().any(|request| request.target.starts_with("/ace/r/x/y"))
    });
    player.stop();
    until("the engine session is over", || engine.control().engine_counters().downloads == 0);
    assert!(elsewhere.accept().is_err(), "a connection was made where the redirect points");
}

/// Guards: garbage between packets is cut out and counted. It costs at most the packet in front of it, which cannot be
/// told from one that was cut short.
#[test]
fn garbage_between_packets_is_cut_out_and_counted() {
    let garbage = Some(Garbage { every_packets: 1000, bytes: 333 });
    let faults = Faults { garbage, ..Faults::default() };
    let engine = engine(vec![ChannelSpec::synthetic(0, RATE).with_faults(faults)]);
    let appliance = Setup::with_engines(&[&engine]).start();
    let player = checked(&appliance, &engine, 0).start();
    player.wait_packets(10_000, SOON).unwrap();
    let report = player.report();
    assert_eq!(
        (report.garbage_bytes, report.corrupt, report.order.duplicated, report.order.reordered),
        (0, 0, 0, 0)
    );
    assert!(report.order.lost <= report.packets / 1000 + 1, "{report:?}");
    until("garbage is counted", || appliance.metric("sluice_garbage_bytes_total") >= 333.0 * 5.0);
}

/// Guards: an engine that pours 22 MB out within a second costs a player that reads 5 Mbit/s nothing: no packet, no
/// skip, no disconnect.
#[test]
fn a_burst_of_22_mb_overflows_nobody() {
    let rate = 625_000;
    let engine = engine(vec![ChannelSpec::synthetic(0, rate).with_profile(Profile::BURST)]);
    let appliance = Setup::with_engines(&[&engine]).start();
    let paced =
        checked(&appliance, &engine, 0).reading(Reading::paced_mbit(5.0)).receive_buffer(128 << 10).start();
    let draining = checked(&appliance, &engine, 0).start();
    until("the burst is in", || appliance.metric("sluice_engine_bytes_total") >= 22e6);
    // What the burst would have displaced is what the paced player reads next.
    paced.wait_more(3 * rate, SOON).unwrap();
    for player in [&paced, &draining] {
        assert_eq!(player.end(), None);
        assert_eq!(player.report().faults_or_losses(), Vec::<String>::new());
    }
    assert!(appliance.metric("sluice_client_skips_total").abs() < 0.5);
}
