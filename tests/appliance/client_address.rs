//! Whose address counts when a proxy stands in front.

use crate::common::{Appliance, Setup, until};
use crate::stage::{assert_refusal, checked, engine, plays, refused};
use sluice_bench::channel::nth;
use sluice_bench::engine::Engine;
use sluice_bench::player::{Plan, Player};
use std::collections::BTreeSet;

/// Addresses of the players of a channel, as shown.
fn shown(appliance: &Appliance, n: u32) -> BTreeSet<String> {
    let clients = appliance.json(&format!("/proxy/streams/{}/clients", nth(n).0));
    let clients = clients["clients"].as_array().unwrap();
    clients.iter().map(|client| client["ip_address"].as_str().unwrap().to_owned()).collect()
}

fn forwarded(appliance: &Appliance, engine: &Engine, chain: &str) -> Plan {
    checked(appliance, engine, 0).header("X-Forwarded-For", chain)
}

/// Guards: `X-Forwarded-For` from a trusted proxy names the player, for the limit and for what is shown, on whatever
/// shard the connection arrived; from anybody else it is ignored, or a stranger could pick addresses and pass limits.
#[test]
fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine])
        .env("TRUSTED_PROXIES", "127.0.0.1/32, 10.0.0.0/8")
        .env("MAX_CLIENTS_PER_IP", "1")
        .start();
    let players: Vec<Player> = (0..8)
        .map(|n| forwarded(&appliance, &engine, &format!("1.1.1.1, 198.51.100.{n}, 10.2.3.4")).start())
        .collect();
    players.iter().for_each(plays);
    let expected: BTreeSet<String> = (0..8).map(|n| format!("198.51.100.{n}")).collect();
    until("every player is shown by its own address", || shown(&appliance, 0) == expected);
    let again = refused(&forwarded(&appliance, &engine, "198.51.100.3").start());
    assert_refusal(&again, 429, "address_clients_max");

    let stranger = |chain| forwarded(&appliance, &engine, chain).source("127.0.0.2".parse().unwrap()).start();
    let first = stranger("203.0.113.1");
    plays(&first);
    until("the stranger is shown by the address it has", || shown(&appliance, 0).contains("127.0.0.2"));
    assert_refusal(&refused(&stranger("203.0.113.2")), 429, "address_clients_max");
}

/// A PROXY protocol head of version 1 in front of the request.
fn version_1(plan: Plan, address: &str) -> Plan {
    plan.method(&format!("PROXY TCP4 {address} 127.0.0.1 4711 8000\r\nGET"))
}

/// The same of version 2; all its bytes happen to be ASCII, so that it fits in front of the method.
fn version_2(plan: Plan, address: [u8; 4]) -> Plan {
    let mut head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    head.extend(address);
    head.extend([127, 0, 0, 1, 0x12, 0x67, 0x1f, 0x40]);
    plan.method(&(String::from_utf8(head).unwrap() + "GET"))
}

/// Guards: the PROXY protocol, both versions, names the player when a trusted proxy speaks it and `PROXY_PROTOCOL` is
/// set; broken heads are refused; a stranger who speaks it is refused as speaking no HTTP.
#[test]
fn the_proxy_protocol_is_believed_from_trusted_proxies_only() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine])
        .env("TRUSTED_PROXIES", "127.0.0.1")
        .env("PROXY_PROTOCOL", "true")
        .env("MAX_CLIENTS_PER_IP", "1")
        .start();
    let plan = || checked(&appliance, &engine, 0);
    let players: Vec<Player> = (0..4)
        .flat_map(|n| {
            [version_1(plan(), &format!("198.51.100.{n}")).start(), version_2(plan(), [10, 9, 8, n]).start()]
        })
        .collect();
    players.iter().for_each(plays);
    let expected: BTreeSet<String> =
        (0..4).flat_map(|n| [format!("198.51.100.{n}"), format!("10.9.8.{n}")]).collect();
    until("every player is shown by its own address", || shown(&appliance, 0) == expected);
    assert_refusal(&refused(&version_1(plan(), "10.9.8.1").start()), 429, "address_clients_max");
    assert_refusal(&refused(&version_1(plan(), "x.y").start()), 400, "bad_request");
    let stranger = "127.0.0.2".parse().unwrap();
    assert_refusal(&refused(&version_1(plan(), "203.0.113.1").source(stranger).start()), 400, "bad_request");
    assert_refusal(&refused(&version_2(plan(), [10, 1, 1, 1]).source(stranger).start()), 400, "bad_request");
    plays(&plan().source(stranger).start());
}

/// Guards: without `PROXY_PROTOCOL` nobody is believed, a trusted proxy neither.
#[test]
fn the_proxy_protocol_is_off_unless_it_is_set() {
    let engine = engine(1);
    let appliance = Setup::with_engines(&[&engine]).env("TRUSTED_PROXIES", "127.0.0.1").start();
    let plan = || checked(&appliance, &engine, 0);
    assert_refusal(&refused(&version_1(plan(), "203.0.113.1").start()), 400, "bad_request");
    assert_refusal(&refused(&version_2(plan(), [10, 1, 1, 1]).start()), 400, "bad_request");
}
