//! What a stream may be called, and what happens when its name cannot be looked up.

use crate::common::{SOON, Setup, until};
use crate::scene::{RATE, checked, engine, first, healthy, stopped_once_each};
use sluice_bench::channel::{Id, nth};
use sluice_bench::engine::ChannelSpec;
use sluice_bench::player::Player;

/// Guards: an id no engine knows is 404 with its code, and nothing stays open for it.
#[test]
fn an_unknown_id_is_not_found() {
    let engine = healthy();
    let appliance = Setup::with_engines(&[&engine]).start();
    let player = appliance.player(Id::derive("nobody broadcasts this")).start();
    assert_eq!(player.wait_head(SOON).unwrap().status, 404);
    player.wait_end(SOON).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&player.first_bytes()).unwrap();
    assert_eq!(told["code"], "content_not_found", "{told}");
    until("no session is left", || appliance.json("/proxy/status")["total_sessions"] == 0);
}

/// Guards: a content id that comes as `infohash=` plays.
#[test]
fn a_content_id_in_place_of_an_infohash_plays() {
    let engine = healthy();
    let appliance = Setup::with_engines(&[&engine]).start();
    let player = Player::get(appliance.addr(), &format!("/ace/getstream?infohash={}", first().0)).start();
    player.wait_decodable(SOON).unwrap();
}

/// Guards: an engine that cannot say which broadcast an id names still plays it.
#[test]
fn an_id_that_cannot_be_resolved_plays() {
    let mut spec = ChannelSpec::synthetic(0, RATE);
    spec.faults.media_files_unknown = true;
    let engine = engine(vec![spec]);
    let appliance = Setup::with_engines(&[&engine]).start();
    let player = checked(&appliance, &engine, 0).start();
    player.wait_packets(5000, SOON).unwrap();
    assert_eq!(player.report().faults_or_losses(), Vec::<String>::new());
}

/// Guards: a broadcast that could not be resolved is joined by all its names while it plays, also by the one that its
/// engine told only at the start; with one engine a second session could not even begin.
#[test]
fn an_unresolved_broadcast_is_joined_by_every_name() {
    let mut spec = ChannelSpec::synthetic(0, RATE);
    spec.faults.media_files_unknown = true;
    let engine = engine(vec![spec]);
    let (id, infohash) = nth(0);
    let appliance = Setup::with_engines(&[&engine]).env("PROXY_GRACE_PERIOD", "200ms").start();
    let first = appliance.player(id).start();
    first.wait_decodable(SOON).unwrap();
    for name in [format!("infohash={infohash}"), format!("id={infohash}"), format!("id={id}")] {
        let next = Player::get(appliance.addr(), &format!("/ace/getstream?{name}")).start();
        next.wait_decodable(SOON).unwrap_or_else(|missed| panic!("{name}: {missed}"));
    }
    assert_eq!(engine.control().counters(infohash).unwrap().opens, 1);
    drop(first);
    until("no session is left", || appliance.json("/proxy/status")["total_sessions"] == 0);
    // Its end is forgotten with it: the next player is served by the name the engine gave.
    let again = appliance.player(id).start();
    again.wait_decodable(SOON).unwrap();
    assert_eq!(engine.control().counters(infohash).unwrap().opens, 2);
}

/// Guards: when resolving failed and the start names a broadcast that is open already, the newer session is stopped and
/// its players go on in the older one, whose players notice nothing.
#[test]
fn two_names_of_one_broadcast_end_in_one_session() {
    let mut spec = ChannelSpec::synthetic(0, RATE);
    spec.faults.media_files_unknown = true;
    // Two engines, as one would know the second identity for what it is.
    let engines = [engine(vec![spec.clone()]), engine(vec![spec])];
    let (id, infohash) = nth(0);
    let appliance =
        Setup::with_engines(&[&engines[0], &engines[1]]).env("PROXY_GRACE_PERIOD", "200ms").start();
    let older = Player::get(appliance.addr(), &format!("/ace/getstream?infohash={infohash}")).start();
    older.wait_decodable(SOON).unwrap();
    let newer = checked(&appliance, &engines[0], 0).start();
    newer.wait_packets(5000, SOON).unwrap();
    until("both are shown in one session", || {
        let shown = appliance.json("/proxy/status");
        shown["total_sessions"] == 1 && shown["total_clients"] == 2
    });
    older.wait_more(RATE, SOON).unwrap();
    for player in [&older, &newer] {
        assert_eq!((player.end(), player.report().faults()), (None, Vec::new()), "{id}");
    }
    drop((older, newer));
    until("no session is left", || appliance.json("/proxy/status")["total_sessions"] == 0);
    for engine in &engines {
        stopped_once_each(engine, infohash);
    }
}
