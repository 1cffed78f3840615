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
