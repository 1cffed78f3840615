//! A control plane that stands still, and one that fails: players notice neither, and afterwards what is shown is right.

use crate::common::{Appliance, SOON, Setup, eventually, until};
use crate::stage::{RATE, checked, engine, plays};
use serde_json::Value;
use sluice_bench::channel::nth;
use sluice_bench::player::Player;
use sluice_bench::player::http::{Connection, request};
use std::time::Duration;

/// Longer than an answer takes, shorter than the standstill.
const IMPATIENCE: Duration = Duration::from_millis(300);

/// Asks for a fault; one that takes the plane down may not be answered.
fn fault(appliance: &Appliance, which: &str) {
    drop(request(appliance.addr(), "POST", &format!("/faults/{which}"), &[], b""));
}

/// Whether control answers quickly.
fn answers(appliance: &Appliance) -> bool {
    let mut connection = Connection::open(appliance.addr()).expect("shards accept");
    connection.set_timeout(IMPATIENCE);
    connection.get("/version").is_ok()
}

/// Ids of the streams that play, in order.
fn playing(appliance: &Appliance) -> Vec<String> {
    let streams = appliance.json("/streams?status=started");
    let id = |stream: &Value| stream["id"].as_str().expect("an id").to_owned();
    let mut ids: Vec<String> = streams.as_array().expect("a list").iter().map(id).collect();
    ids.sort();
    ids
}

/// Waits until so many sessions, clients, streams and leases are shown.
fn shows(appliance: &Appliance, sessions: usize, clients: usize) {
    until("what is shown is right", || {
        let status = appliance.json("/proxy/status");
        status["total_sessions"] == sessions
            && status["total_clients"] == clients
            && playing(appliance).len() == sessions
            && appliance.metric("sluice_engine_leases") == sessions as f64
    });
}

fn undisturbed(players: &[Player]) {
    for player in players {
        player.wait_more(RATE, SOON).expect("it plays on");
        assert_eq!((player.end(), player.report().faults()), (None, Vec::new()), "{}", player.snapshot());
    }
}

/// Guards: while every thread of control stands still, players play on, others join and leave what plays, and shards answer
/// for themselves; afterwards everything that is shown is right again, and new streams start.
#[test]
fn players_do_not_notice_a_control_that_stands_still() {
    let engine = engine(3);
    let appliance = Setup::with_engines(&[&engine]).env("PROXY_GRACE_PERIOD", "300s").start();
    appliance.wait_healthy(1);
    let mut players: Vec<Player> = (0..4).map(|n| checked(&appliance, &engine, n % 2).start()).collect();
    players.iter().for_each(plays);
    shows(&appliance, 2, 4);

    fault(&appliance, "stall?seconds=5");
    until("control stands still", || !answers(&appliance));
    undisturbed(&players);
    let late = checked(&appliance, &engine, 0).start();
    plays(&late);
    drop(players.pop());
    assert_eq!(appliance.json("/health")["status"], "ok");

    until("control goes on", || answers(&appliance));
    shows(&appliance, 2, 4);
    players.push(late);
    players.push(checked(&appliance, &engine, 2).start());
    players.iter().for_each(plays);
    shows(&appliance, 3, 5);
}

/// Guards: a control that fails inside is replaced under players that play on; the new one shows the same streams, holds the
/// same leases, and starts new ones.
#[test]
fn players_do_not_notice_a_control_that_fails() {
    let engine = engine(3);
    let appliance = Setup::with_engines(&[&engine]).env("PROXY_GRACE_PERIOD", "300s").start();
    appliance.wait_healthy(1);
    let mut players: Vec<Player> = (0..4).map(|n| checked(&appliance, &engine, n % 2).start()).collect();
    players.iter().for_each(plays);
    shows(&appliance, 2, 4);
    let before = playing(&appliance);

    fault(&appliance, "kill");
    appliance.wait_log("control is started anew", |lines| {
        lines.iter().filter(|line| line.contains("control started")).count() == 2
    });
    undisturbed(&players);
    shows(&appliance, 2, 4);
    assert_eq!(playing(&appliance), before, "streams go on under their names");
    players.push(checked(&appliance, &engine, 2).start());
    players.iter().for_each(plays);
    shows(&appliance, 3, 5);
    drop(players);
    let opens = |n| engine.control().counters(nth(n).1).map_or(0, |counters| counters.opens);
    eventually("each was opened once", || (0..3).all(|n| opens(n) == 1).then_some(()));
}
