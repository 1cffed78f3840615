//! What a slow player may expect, and the others beside it: bounds of its own, a record of what became of it, and little
//! memory in the kernel.

use crate::common::{Appliance, SOON, Setup, eventually, until};
use crate::scene::{checked, engine, first};
use crate::sys;
use serde_json::Value;
use sluice_bench::engine::{ChannelSpec, Engine, Profile};
use sluice_bench::player::{End, Player, Reading};
use std::time::Duration;

const RATE: u64 = 4_000_000;

/// An engine of one fast channel that gives a second of the past, and an appliance whose players may be 2 MiB behind.
fn bounded(action: &str) -> (Engine, Appliance) {
    let channel = ChannelSpec::synthetic(0, RATE).with_reach_back(Duration::from_secs(1));
    let engine = engine(vec![channel]);
    let appliance = Setup::with_engines(&[&engine])
        .env("SLOW_CLIENT", action)
        .env("SLOW_CLIENT_LAG_MIB", "2")
        .env("JOIN_BEHIND_S", "0")
        .start();
    (engine, appliance)
}

/// A player that keeps up, and one that reads a quarter of the rate and buffers little.
fn fast_and_slow(engine: &Engine, appliance: &Appliance) -> (Player, Player) {
    let fast = checked(appliance, engine, 0).start();
    fast.wait_decodable(SOON).unwrap();
    let slow =
        checked(appliance, engine, 0).reading(Reading::Paced(RATE / 4)).receive_buffer(32 << 10).start();
    slow.wait_decodable(SOON).unwrap();
    (fast, slow)
}

fn records(appliance: &Appliance, list: &str) -> Vec<Value> {
    let shown = appliance.json(&format!("/proxy/sessions/{}/clients", first().1));
    shown[list].as_array().expect("a list").clone()
}

fn assert_untouched(fast: &Player) {
    assert_eq!((fast.end(), fast.report().faults_or_losses()), (None, Vec::new()));
}

/// Guards: a player that falls further behind than it may goes on behind a flagged gap, long before the window ends; its
/// record says how often, how much it missed, how far behind it is and how fast it reads. Who keeps up loses nothing.
#[test]
fn a_player_beyond_its_bound_skips_and_its_record_says_so() {
    let (engine, appliance) = bounded("skip");
    let (fast, slow) = fast_and_slow(&engine, &appliance);
    slow.wait_report("a gap", SOON, |report| report.order.gaps_total >= 2).unwrap();
    let skipped = || records(&appliance, "clients").into_iter().find(|record| record["skips"] != 0);
    let record = eventually("its record says so", skipped);
    assert!(record["skipped_bytes"].as_u64().unwrap() >= 188_000, "{record}");
    // What the engine sent ahead of real time comes on top of the bound.
    let behind = record["behind_bytes"].as_u64().unwrap();
    assert!(behind < (2 << 20) + 3 * RATE, "{record}");
    let paced = |record: &Value| (RATE..RATE * 8).contains(&record["rate_bps"].as_u64().unwrap());
    eventually("its rate is its own", || skipped().filter(paced));
    let report = slow.report();
    assert_eq!((slow.end(), report.faults()), (None, Vec::<String>::new()), "{report:#?}");
    assert!(report.order.lost > 0 && report.discontinuities > 0, "{report:#?}");
    let at_head = |record: &Value| record["skips"] == 0;
    assert_eq!(records(&appliance, "clients").iter().filter(|record| at_head(record)).count(), 1);
    assert_untouched(&fast);
}

/// Guards: where slow players are to be closed they are, with a reason of their own, and the record stays visible after
/// the player and even its session are gone.
#[test]
fn a_player_beyond_its_bound_is_closed_when_that_is_wanted() {
    let (engine, appliance) = bounded("close");
    let (fast, slow) = fast_and_slow(&engine, &appliance);
    assert_eq!(slow.wait_end(SOON).unwrap(), End::Eof);
    let record = eventually("its record says so", || records(&appliance, "ended_clients").pop());
    assert_eq!((&record["reason"], &record["skips"]), (&"too_slow".into(), &0.into()), "{record}");
    assert!(record["bytes_sent"].as_u64().unwrap() > 0 && record["behind_bytes"].as_u64().unwrap() > 2 << 20);
    until("it is counted", || appliance.metric("sluice_clients_ended_total{reason=\"too_slow\"") >= 1.0);
    assert_untouched(&fast);
    fast.stop();
    until("the session is over", || appliance.json("/proxy/status")["total_sessions"] == 0);
    let reasons: Vec<Value> =
        records(&appliance, "ended_clients").iter().map(|record| record["reason"].clone()).collect();
    assert_eq!(reasons, ["too_slow", "client_left"]);
}

/// Guards: what a stalled or paced player holds in the kernel is bounded however fast the stream is and however much
/// its socket would take: what may wait unsent, and what is in flight.
#[test]
fn a_stalled_player_holds_little_in_the_kernel() {
    let engine = engine(vec![ChannelSpec::synthetic(0, 2 * RATE)]);
    let appliance = Setup::with_engines(&[&engine]).start();
    let player = |reading| checked(&appliance, &engine, 0).reading(reading);
    let players = [
        player(Reading::Stalled(64 << 10)).receive_buffer(32 << 10).start(),
        player(Reading::Stalled(64 << 10)).start(),
        player(Reading::Paced(RATE)).receive_buffer(32 << 10).start(),
    ];
    let beside = player(Reading::Drain).start();
    for player in players.iter().chain([&beside]) {
        player.wait_decodable(SOON).unwrap();
    }
    // Far more than any socket holds has passed.
    beside.wait_more(4 * RATE, SOON).unwrap();
    beside.stop();
    until("only they are left", || appliance.json("/proxy/status")["total_clients"] == players.len());
    let held = sys::sockets_of_port(appliance.addr().port());
    assert_eq!(held.len(), players.len(), "{held:?}");
    let most = held.iter().map(|socket| socket.send_memory).max().unwrap();
    assert!(most <= 1 << 20, "{held:#?}");
    let full = held.iter().filter(|socket| socket.unsent_or_in_flight >= 64 << 10).count();
    assert!(full >= 2, "nobody is stalled: {held:?}");
}

/// Guards: with its memory spent to the last, a fast channel that arrives in large pieces loses nothing for players that
/// take what they are sent: what comes ahead of real time waits with the engine.
#[test]
fn a_spent_budget_skips_nobody_who_keeps_up() {
    // Of a piece of two and a half seconds, one and a half fit beside what releasing holds.
    const PIECE: u32 = 5 << 20;
    let channel = ChannelSpec::synthetic(0, RATE / 2)
        .with_reach_back(Duration::from_secs(2))
        .with_profile(Profile::Pieces { bytes: PIECE, jitter_ms: 0 });
    let engine = engine(vec![channel]);
    let appliance = Setup::with_engines(&[&engine]).env("WINDOW_TOTAL_MIB", "14").start();
    let players: Vec<Player> = (0..2).map(|_| checked(&appliance, &engine, 0).start()).collect();
    for player in &players {
        player.wait_bytes(u64::from(PIECE) + (4 << 20), SOON).unwrap();
    }
    assert!(appliance.metric("sluice_client_skips_total") < 0.5, "a player that keeps up was skipped");
    for player in &players {
        assert_eq!((player.end(), player.report().faults_or_losses()), (None, Vec::new()));
    }
}
