//! A channel with many players, served by both shards: one engine session, every byte for everybody, one end for all.

use crate::common::{Appliance, SOON, Setup, until};
use crate::scene::{RATE, checked, engine, first, healthy, serving, stopped_once_each, watching};
use crate::stage::{assert_refusal, refused};
use crate::upgrade::{client_ids, upgrade};
use serde_json::json;
use sluice_bench::engine::{ChannelSpec, Engine};
use sluice_bench::player::Player;
use sluice_bench::player::http;

/// An appliance where two players make a channel hot.
fn appliance(engines: &[&Engine]) -> Appliance {
    Setup::with_engines(engines).env("HOT_SESSION_CLIENTS", "2").start()
}

fn on_shard(appliance: &Appliance, shard: u16) -> f64 {
    appliance.metric(&format!("sluice_clients{{shard=\"{shard}\""))
}

/// Waits until so many players are served by both shards, about as many by either.
fn spread(appliance: &Appliance, players: usize) {
    until("both shards serve players", || {
        let counts = [0, 1].map(|shard| on_shard(appliance, shard));
        counts.iter().sum::<f64>() == players as f64 && (counts[0] - counts[1]).abs() <= 2.0
    });
}

/// Demands that everybody plays on and has every byte.
fn unharmed(players: &[Player]) {
    for player in players {
        player.wait_more(RATE / 2, SOON).expect("it plays on");
        assert_eq!((player.end(), player.report().faults_or_losses()), (None, Vec::new()));
    }
}

fn session(appliance: &Appliance) -> serde_json::Value {
    appliance.json(&format!("/proxy/sessions/{}", first().1))
}

/// The ids of the players that are shown with the session, sorted.
fn ids(appliance: &Appliance) -> Vec<String> {
    client_ids(appliance, 0)
}

fn opens(engines: &[Engine]) -> u64 {
    engines.iter().map(|engine| engine.control().counters(first().1).unwrap().opens).sum()
}

/// Guards: players that came before a channel was hot and players that come after are served by both shards from one engine
/// session, without a byte lost or repeated; all are shown with the session. A killed engine is followed exactly on both. When
/// all have left, the session ends after its grace period, and is stopped once.
#[test]
fn both_shards_serve_one_channel() {
    let mut engines = vec![healthy(), healthy()];
    let appliance = appliance(&[&engines[0], &engines[1]]);
    let mut players = watching(4, &appliance, &engines[0], 0);
    spread(&appliance, 4);
    players.extend(watching(4, &appliance, &engines[0], 0));
    spread(&appliance, 8);
    assert_eq!(appliance.metric("sluice_replicas"), 1.0);
    unharmed(&players);
    until("all are shown", || ids(&appliance).len() == 8 && session(&appliance)["client_count"] == 8);
    let shown = appliance.json(&format!("/proxy/sessions/{}/clients", first().1));
    let on = |shard| shown["clients"].as_array().unwrap().iter().filter(|it| it["shard"] == shard).count();
    assert!(on(0) >= 3 && on(1) >= 3, "each is shown with the shard that serves it: {shown}");
    assert_eq!(opens(&engines), 1, "one engine session serves both");
    engines.remove(serving(&engines, first().1)).kill();
    until("the other engine carries on", || session(&appliance)["splices"]["exact"] == 1);
    unharmed(&players);
    // Those on one shard leave, whichever it is; the others stay, and with them the session.
    players.drain(..7);
    until("one is left", || ids(&appliance).len() == 1);
    unharmed(&players);
    drop(players);
    until("the session is over", || {
        appliance.metric("sluice_sessions_ended_total{reason=\"client_left\"") == 1.0
    });
    until("nothing is left of it", || appliance.metric("sluice_replicas") == 0.0);
    stopped_once_each(&engines[0], first().1);
}

/// Guards: a session that is stopped ends for all its players, wherever they are served, for the same reason; the limit of
/// its players counts them all.
#[test]
fn both_shards_end_together() {
    let engine = healthy();
    let appliance = Setup::with_engines(&[&engine])
        .env("HOT_SESSION_CLIENTS", "2")
        .env("MAX_CLIENTS_PER_STREAM", "6")
        .start();
    let players = watching(6, &appliance, &engine, 0);
    spread(&appliance, 6);
    assert_refusal(&refused(&checked(&appliance, &engine, 0).start()), 503, "stream_clients_max");
    let id = appliance.json("/streams?status=started")[0]["id"].as_str().expect("an id").replace('|', "%7C");
    let stopped = http::request(appliance.addr(), "DELETE", &format!("/streams/{id}"), &[], b"").unwrap();
    assert_eq!(stopped.status(), 200, "{}", stopped.text());
    for player in &players {
        player.wait_end(SOON).expect("its session has ended");
        assert_eq!(player.report().faults_or_losses(), Vec::<String>::new());
    }
    let ended = |reason: &str| appliance.metric(&format!("sluice_clients_ended_total{{reason=\"{reason}\""));
    until("all ended for that reason", || ended("stopped") == 6.0);
    stopped_once_each(&engine, first().1);
    // A shutdown ends players of both shards too, in good order.
    let again = watching(4, &appliance, &engine, 0);
    spread(&appliance, 4);
    let mut appliance = appliance;
    let status = appliance.terminate(SOON);
    assert!(status.success(), "{status}");
    for player in &again {
        player.wait_end(SOON).expect("the appliance has ended");
        assert_eq!(player.report().faults_or_losses(), Vec::<String>::new());
    }
    stopped_once_each(&engine, first().1);
}

/// Guards: an upgrade under players of both shards cuts nobody and loses no byte; the new process spreads them again. The
/// setting is changed under players: switched off, all go back to the session's own shard; switched on, they are spread.
#[test]
fn both_shards_are_handed_over() {
    let engine = engine(vec![ChannelSpec::synthetic(0, RATE)]);
    let appliance = appliance(&[&engine]);
    let players = watching(6, &appliance, &engine, 0);
    spread(&appliance, 6);
    until("all are shown", || ids(&appliance).len() == 6);
    let known = ids(&appliance);
    let outcome = upgrade(appliance.data());
    assert!(outcome.status.success(), "{outcome:?}");
    unharmed(&players);
    spread(&appliance, 6);
    until("the same players are shown", || ids(&appliance) == known);
    let change = |value: serde_json::Value| {
        let (body, headers) = (value.to_string(), [("Content-Type", "application/json")]);
        let answer =
            http::request(appliance.addr(), "POST", "/settings/variables", &headers, body.as_bytes())
                .unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text());
    };
    change(json!({ "HOT_SESSION_CLIENTS": 0 }));
    until("one shard serves all", || [0, 1].iter().any(|shard| on_shard(&appliance, *shard) == 6.0));
    until("it is let go of", || appliance.metric("sluice_replicas") == 0.0);
    unharmed(&players);
    change(json!({ "HOT_SESSION_CLIENTS": 3 }));
    spread(&appliance, 6);
    unharmed(&players);
    assert_eq!(engine.control().counters(first().1).unwrap().opens, 1, "a source was opened anew");
}
