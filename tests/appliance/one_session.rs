//! However a broadcast is named, and however many watch it, an engine serves it once.

use crate::common::{SOON, Setup, until};
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use sluice_bench::player::{Player, check};

fn engine() -> Engine {
    let channels = (0..2).map(|n| ChannelSpec::synthetic(n, 500_000)).collect();
    Engine::start(Options { channels, ..Options::default() }).expect("the engine starts")
}

/// Guards: ten players of one channel share one engine session, each from a decodable first byte and without a fault,
/// and the session is stopped exactly once after the last one left.
#[test]
fn ten_players_share_one_engine_session() {
    let engine = engine();
    let (id, infohash) = nth(0);
    let reference = engine.control().broadcast(infohash).unwrap();
    let appliance = Setup::with_engines(&[&engine]).start();
    let options = check::Options { reference: Some(reference), ..check::Options::default() };
    let players: Vec<Player> = (0..10).map(|_| appliance.player(id).check(options.clone()).start()).collect();
    for player in &players {
        assert_eq!(player.wait_head(SOON).unwrap().status, 200);
        player.wait_decodable(SOON).unwrap();
        player.wait_packets(10_000, SOON).unwrap();
    }
    assert_eq!(engine.control().counters(infohash).unwrap().opens, 1);
    for player in players {
        player.stop();
        assert_eq!(player.report().faults_or_losses(), Vec::<String>::new());
    }
    until("the engine session is stopped", || engine.control().counters(infohash).unwrap().stops == 1);
    let counters = engine.control().counters(infohash).unwrap();
    assert_eq!((counters.opens, counters.stops, counters.readers_max), (1, 1, 1), "{counters:?}");
}

/// Guards: one broadcast asked for by content id, by infohash, and by an infohash in `id=`, at the same moment and on
/// connections that land on any shard, is one engine session.
#[test]
fn every_name_of_a_broadcast_leads_to_one_session() {
    let engine = engine();
    let (id, infohash) = nth(1);
    let appliance = Setup::with_engines(&[&engine]).start();
    let paths = [
        format!("/ace/getstream?id={id}"),
        format!("/ace/getstream?infohash={infohash}"),
        format!("/ace/getstream/?id={infohash}&pid=7"),
    ];
    let players: Vec<Player> =
        (0..12).map(|n| Player::get(appliance.addr(), &paths[n % paths.len()]).start()).collect();
    for player in &players {
        player.wait_decodable(SOON).unwrap();
    }
    assert_eq!(engine.control().counters(infohash).unwrap().opens, 1);
    until("all players are shown", || appliance.json("/proxy/status")["total_clients"] == 12);
    let shown = appliance.json("/proxy/status");
    assert_eq!(shown["total_sessions"], 1, "{shown:#}");
}

/// Guards: an engine that sends a steady stream in small pieces is read about once a tick, when a player is about to be
/// served, and not for every piece; and nothing is lost for it. With hundreds of broadcasts on a shard, reading every piece
/// was most of what the shard did.
#[test]
fn a_steady_stream_is_read_once_a_tick() {
    const READS: &str = "sluice_engine_reads_total";
    const WALKS: &str = "sluice_walk_busy_seconds_count";
    let engine = engine();
    let (id, infohash) = nth(0);
    let reference = engine.control().broadcast(infohash).unwrap();
    let appliance = Setup::with_engines(&[&engine]).env("TICK_MS", "100").env("SHARDS", "1").start();
    let player = appliance
        .player(id)
        .check(check::Options { reference: Some(reference), ..check::Options::default() })
        .start();
    player.wait_decodable(SOON).unwrap();
    // The first burst is read as fast as it comes; behind it comes a piece every 15 ms.
    let bytes = || appliance.metric("sluice_engine_bytes_total");
    until("the first burst is over", || {
        let before = bytes();
        player.wait_more(100_000, SOON).unwrap();
        bytes() - before < 250_000.0
    });
    let look = || (appliance.metric(READS), appliance.metric(WALKS));
    let (mut before, mut in_a_row) = (look(), 0);
    // The end of the burst is in the first look, and an engine that gets no processor for a while sends nothing to be read:
    // there may be as many looks as it takes.
    until("about as many reads as walks, twice in a row", || {
        let (reads, walks) = look();
        if walks < before.1 + 20.0 {
            return false;
        }
        let ratio = (reads - before.0) / (walks - before.1);
        before = (reads, walks);
        in_a_row = if (0.7..2.5).contains(&ratio) { in_a_row + 1 } else { 0 };
        in_a_row == 2
    });
    player.stop();
    assert_eq!(player.report().faults_or_losses(), Vec::<String>::new());
}
