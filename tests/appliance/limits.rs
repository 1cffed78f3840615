//! Limits on players: claimed before anything is done, refused before any header, free again as soon as one leaves.

use crate::common::{Appliance, SOON, Setup, until};
use crate::stage::{RATE, assert_refusal, checked, engine, engine_with, plays, refusals, refused};
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Faults};
use sluice_bench::player::{Plan, Player};
use std::net::{IpAddr, Ipv4Addr};

fn from(plan: Plan, last: u8) -> Plan {
    plan.source(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))
}

/// Lets `most` in and no more, of players that `plan` makes; then one leaves and another comes in.
fn assert_limit(appliance: &Appliance, most: usize, status: u16, code: &str, plan: impl Fn(usize) -> Plan) {
    let players: Vec<Player> = (0..most + 4).map(|n| plan(n).start()).collect();
    let heads: Vec<u16> = players.iter().map(|player| player.wait_head(SOON).unwrap().status).collect();
    let (inside, outside): (Vec<&Player>, Vec<&Player>) =
        players.iter().partition(|player| player.snapshot().status() == Some(200));
    assert_eq!(inside.len(), most, "{heads:?}");
    inside.iter().copied().for_each(plays);
    for player in outside {
        let answer = refused(player);
        assert_refusal(&answer, status, code);
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    until("refusals are counted by code", || refusals(appliance, code) == 4.0);
    inside[0].stop();
    until("the place is free again", || {
        let next = plan(0).start();
        let is_in = next.wait_head(SOON).unwrap().status == 200;
        if is_in {
            plays(&next);
        }
        is_in
    });
    inside[1..].iter().copied().for_each(plays);
}

fn appliance(engine: &Engine, name: &str, value: &str) -> Appliance {
    Setup::with_engines(&[engine]).env(name, value).start()
}

/// Guards: the limit on all players holds over streams and shards, at players that come at the same moment.
#[test]
fn players_in_all() {
    let engine = engine(3);
    let appliance = appliance(&engine, "MAX_CLIENTS", "3");
    assert_limit(&appliance, 3, 503, "clients_max", |n| checked(&appliance, &engine, n as u32 % 3));
}

/// Guards: the limit per stream holds for that stream alone.
#[test]
fn players_of_one_stream() {
    let engine = engine(2);
    let appliance = appliance(&engine, "MAX_CLIENTS_PER_STREAM", "3");
    let other = checked(&appliance, &engine, 1).start();
    plays(&other);
    assert_limit(&appliance, 3, 503, "stream_clients_max", |_| checked(&appliance, &engine, 0));
    plays(&other);
}

/// Guards: the limit per address holds for that address alone, over streams and shards.
#[test]
fn players_of_one_address() {
    let engine = engine(3);
    let appliance = appliance(&engine, "MAX_CLIENTS_PER_IP", "3");
    let neighbour = from(checked(&appliance, &engine, 1), 2).start();
    plays(&neighbour);
    assert_limit(&appliance, 3, 429, "address_clients_max", |n| checked(&appliance, &engine, n as u32 % 3));
    plays(&neighbour);
}

/// Guards: new plays of one address beyond its burst are refused and say when to come back; other addresses are not
/// concerned, and what is not a play is not counted.
#[test]
fn plays_of_one_address_per_second() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine])
        .env("MAX_PLAYS_PER_IP_PER_S", "0.05")
        .env("MAX_PLAYS_PER_IP_BURST", "3")
        .start();
    for _ in 0..10 {
        assert_eq!(appliance.get("/ace/status").status(), 200);
        assert_eq!(appliance.get("/ace/getstream").status(), 400);
    }
    let players: Vec<Player> = (0..3).map(|_| checked(&appliance, &engine, 0).start()).collect();
    players.iter().for_each(plays);
    let answer = refused(&appliance.player(nth(0).0).start());
    assert_refusal(&answer, 429, "address_rate");
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=21).contains(&seconds), "one play in 20 s is due after {seconds} s");
    plays(&from(checked(&appliance, &engine, 0), 2).start());
    until("the refusal is counted", || refusals(&appliance, "address_rate") == 1.0);
    players.iter().for_each(plays);
}

/// Guards: who waits for a start has a place, so that waiting is no way around the limit, and gives it back.
#[test]
fn a_waiting_player_has_a_place() {
    let dead = ChannelSpec::synthetic(0, RATE).with_faults(Faults { dead: true, ..Faults::default() });
    let engine = engine_with(vec![dead, ChannelSpec::synthetic(1, RATE)]);
    let appliance = appliance(&engine, "MAX_CLIENTS", "1");
    let waiting = appliance.player(nth(0).0).start();
    until("it waits", || appliance.metric("sluice_clients_waiting") == 1.0);
    assert_refusal(&refused(&appliance.player(nth(1).0).start()), 503, "clients_max");
    waiting.stop();
    until("the place is free again", || {
        let next = checked(&appliance, &engine, 1).start();
        next.wait_head(SOON).unwrap().status == 200
    });
}
