//! An engine fails under its players: another source carries on, and nobody is disconnected.

use crate::common::{SOON, Setup, eventually, until};
use crate::scene::{
    RATE, all_play_on, checked, engine, first, healthy, serving, stopped_once_each, watching,
};
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Cut, Engine, Faults, Resume};
use sluice_bench::player::{End, Player, Reading};
use std::time::{Duration, Instant};

/// How long players go without media on a source that is silent until it is given up, with room for a busy machine.
const STALL: Duration = Duration::from_secs(40);

fn opens(engines: &[Engine], n: u32) -> u64 {
    engines.iter().map(|engine| engine.control().counters(nth(n).1).unwrap().opens).sum()
}

/// Guards: an end of the body, clean or by reset, in the middle of a packet, is not the end of the stream: a new engine
/// session carries on, whole packets only, with every gap flagged; the old session is stopped once, the new one too.
#[test]
fn a_body_that_ends_is_followed_by_a_new_session() {
    let channels = (0..2).map(|n| ChannelSpec::synthetic(n, RATE)).collect();
    let engine = engine(channels);
    let appliance = Setup::with_engines(&[&engine]).env("PROXY_GRACE_PERIOD", "100ms").start();
    let players: Vec<Vec<Player>> = (0..2).map(|n| watching(3, &appliance, &engine, n)).collect();
    for (n, cut) in [(0, Cut::Eof), (1, Cut::Reset)] {
        assert!(engine.control().cut(nth(n).1, cut).unwrap());
    }
    for n in 0..2 {
        let control = engine.control();
        until("a new session carries on", || {
            control.counters(nth(n).1).is_ok_and(|it| it.opens == 2 && it.readers == 1)
        });
        all_play_on(&players[n as usize]);
    }
    drop(players);
    for n in 0..2 {
        stopped_once_each(&engine, nth(n).1);
    }
}

/// Guards: when the engine is killed under several players, another engine carries on where it stopped, as one that
/// serves the same timeline can: nobody is disconnected, every gap is flagged, the join burst is not sent again.
#[test]
fn a_killed_engine_is_replaced_under_its_players() {
    let mut engines = vec![healthy(), healthy()];
    let infohash = first().1;
    let appliance = Setup::with_engines(&[&engines[0], &engines[1]]).start();
    let players = watching(5, &appliance, &engines[0], 0);
    let dying = serving(&engines, infohash);
    engines.remove(dying).kill();
    until("the other engine serves", || {
        engines[0].control().counters(infohash).is_ok_and(|it| it.readers == 1)
    });
    all_play_on(&players);
    assert_eq!(opens(&engines, 0), 1);
}

/// Guards: an engine that answers 500 from now on is left for another one.
#[test]
fn an_engine_that_refuses_to_go_on_is_left() {
    let engines = vec![healthy(), healthy()];
    let infohash = first().1;
    let appliance = Setup::with_engines(&[&engines[0], &engines[1]]).start();
    let players = watching(3, &appliance, &engines[0], 0);
    let failing = engines[serving(&engines, infohash)].control();
    failing
        .update_faults(infohash, |faults| faults.start_error = Some("failed to start".to_owned()))
        .unwrap();
    failing.cut(infohash, Cut::Eof).unwrap();
    all_play_on(&players);
    until("the other engine serves", || {
        opens(&engines, 0) >= 2 && failing.counters(infohash).unwrap().readers == 0
    });
    all_play_on(&players);
}

/// Guards: an engine that falls silent with its socket open is given up, and until then every player gets null packets
/// from 1.5 s on at least about every 500 ms, on packet boundaries. Takes as long as an engine may be silent.
#[test]
fn a_silent_engine_is_replaced_and_bridged_with_null_packets() {
    let engines = vec![healthy(), healthy()];
    let infohash = first().1;
    let appliance = Setup::with_engines(&[&engines[0], &engines[1]])
        .env("JOIN_BEHIND_S", "0")
        .env("NO_RESPONSE_TIMEOUT", "2s")
        .start();
    let players = watching(3, &appliance, &engines[0], 0);
    let silent = engines[serving(&engines, infohash)].control();
    silent.update_engine_faults(|faults| (faults.stall, faults.hang) = (true, true));
    let before = opens(&engines, 0);
    let began = Instant::now();
    for player in &players {
        player.wait_report("null packets", SOON, |report| report.nulls >= 7).unwrap();
        player.forget_gaps();
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "null packets are for silence only");
    for player in &players {
        player.wait_report("a steady trickle", SOON, |report| report.nulls >= 7 * 3).unwrap();
        // 500 ms by rule; the rest is the machine's.
        assert!(player.longest_gap() < Duration::from_millis(1500), "{:?}", player.longest_gap());
    }
    crate::common::eventually_within("another session", STALL, || {
        (opens(&engines, 0) > before).then_some(())
    });
    all_play_on(&players);
}

/// Guards: silence that ends by itself costs nothing but null packets: no reconnect, no fault, no lost packet.
#[test]
fn a_short_silence_is_bridged_without_a_reconnect() {
    let (engine, infohash) = (healthy(), first().1);
    let appliance = Setup::with_engines(&[&engine]).env("JOIN_BEHIND_S", "0").start();
    let player = checked(&appliance, &engine, 0).start();
    player.wait_decodable(SOON).unwrap();
    engine.control().update_faults(infohash, |faults| faults.starve = true).unwrap();
    player.wait_report("null packets", SOON, |report| report.nulls >= 7 * 3).unwrap();
    engine
        .control()
        .set_faults(infohash, Faults { resume: Resume::Contiguous, ..Faults::default() })
        .unwrap();
    player.wait_more(RATE, SOON).unwrap();
    assert_eq!(player.report().faults_or_losses(), Vec::<String>::new());
    assert_eq!(engine.control().counters(infohash).unwrap().opens, 1);
}

/// Guards: two failovers in a row leave nothing behind that triggers a third: once the second source plays, it goes on
/// playing, and packets of one source are never completed with bytes of another.
#[test]
fn two_failovers_in_a_row_settle() {
    let (engine, infohash) = (healthy(), first().1);
    let control = engine.control();
    let appliance = Setup::with_engines(&[&engine]).start();
    let players = watching(3, &appliance, &engine, 0);
    for opens in 2..=3 {
        assert!(control.cut(infohash, Cut::Eof).unwrap());
        until("the next session plays", || {
            control.counters(infohash).is_ok_and(|it| it.bodies == opens && it.readers == 1)
        });
        all_play_on(&players);
    }
    for player in &players {
        player.wait_more(4 * RATE, SOON).unwrap();
    }
    assert_eq!(control.counters(infohash).unwrap().opens, 3, "no failover without a cause");
    all_play_on(&players);
}

/// Guards: a player that reads more slowly than the stream, and so lies behind, survives a failover as the others do,
/// and the old engine session is stopped once.
#[test]
fn a_laggard_survives_a_failover() {
    let (engine, infohash) = (healthy(), first().1);
    let appliance = Setup::with_engines(&[&engine]).env("PROXY_GRACE_PERIOD", "100ms").start();
    let laggard =
        checked(&appliance, &engine, 0).reading(Reading::slow(RATE / 2)).receive_buffer(32 << 10).start();
    laggard.wait_decodable(SOON).unwrap();
    let players = watching(2, &appliance, &engine, 0);
    engine.control().cut(infohash, Cut::Reset).unwrap();
    until("a new session carries on", || engine.control().counters(infohash).is_ok_and(|it| it.bodies == 2));
    all_play_on(&players);
    laggard.wait_more(2 * RATE, SOON).unwrap();
    assert_eq!((laggard.end(), laggard.report().faults()), (None, Vec::new()));
    drop((laggard, players));
    stopped_once_each(&engine, infohash);
}

/// Guards: with no engine left players are kept with null packets until `EMPTY_TIMEOUT`, then ended with FIN and one
/// counted reason.
#[test]
fn without_any_engine_players_end_when_the_silence_has_lasted() {
    let engines = vec![healthy(), healthy()];
    let appliance = Setup::with_engines(&[&engines[0], &engines[1]]).env("EMPTY_TIMEOUT", "4s").start();
    let players = watching(3, &appliance, &engines[0], 0);
    let began = Instant::now();
    for engine in engines {
        engine.kill();
    }
    for player in &players {
        assert_eq!(player.wait_end(SOON).unwrap(), End::Eof);
        let report = player.report();
        assert!(report.nulls > 0 && report.faults().is_empty() && report.remainder == 0, "{report:?}");
    }
    assert!(began.elapsed() >= Duration::from_secs(3), "not before: {:?}", began.elapsed());
    let ended = |reason: &str| {
        let (kind, name) = ("sluice_clients_ended_total", format!("{{reason=\"{reason}\""));
        appliance.metric(&format!("{kind}{name}"))
    };
    eventually("the reason is counted", || {
        (ended("empty_timeout") + ended("failover_exhausted") >= 3.0).then_some(())
    });
    until("no session is left", || appliance.json("/proxy/status")["total_sessions"] == 0);
}
