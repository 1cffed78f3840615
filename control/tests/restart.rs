//! Control can be stopped and built anew under shards that keep playing.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests are threads of their own: they connect, wait and lock"
)]

mod common;

use common::engine::{Engine, Mood};
use common::{Bench, PATIENCE, by_id, options, stream};
use sluice_contract::directory::unresolved;
use sluice_contract::{Holdings, LeaseReturn, RefusalCode, ToControl, ToShard};
use std::time::{Duration, Instant};

fn one_stream(engine: &Engine) -> sluice_control::Options {
    sluice_control::Options { streams_per_engine: Some(1), ..options(&[engine.authority()]) }
}

#[test]
fn a_new_control_learns_what_is_in_use_and_grants_nothing_twice() {
    let engine = Engine::start();
    let mut bench = Bench::start(one_stream(&engine), 2);
    let lease = bench.shards[0].lease(stream(1));
    let before = bench.shards[0].epoch;
    let wiring = bench.stop();
    // What shards say while there is no control waits in the link.
    let ticket = bench.shards[1].ask(stream(2), PATIENCE);
    bench.control = Some(sluice_control::start(one_stream(&engine), wiring).unwrap());
    bench.shards[0].report(Holdings { leases: vec![(lease.clone(), stream(1))], sessions: vec![stream(1)] });
    bench.shards[1].report(Holdings::default());
    assert!(bench.shards[0].epoch > before, "the generation did not grow");
    assert!(bench.shards[1].try_next(Duration::from_millis(300)).is_none(), "the engine in use was granted");
    bench.shards[0].tell(ToControl::Return(LeaseReturn { id: lease.id, fault: None }));
    let second = bench.shards[1].answer(ticket).unwrap();
    assert_ne!(second.id, lease.id);
    assert_eq!(second.epoch, bench.shards[1].epoch);
}

#[test]
fn whoever_waits_is_answered_when_control_stops() {
    let engine = Engine::start();
    let mut bench = Bench::start(one_stream(&engine), 1);
    bench.shards[0].lease(stream(1));
    engine.set_mood(Mood::VersionOnly);
    let waiting = bench.shards[0].ask(stream(2), PATIENCE);
    let resolving = bench.shards[0].resolve(by_id(9), PATIENCE);
    engine.wait_for_lookups(1);
    let stopped = Instant::now();
    drop(bench.stop());
    assert!(stopped.elapsed() < PATIENCE / 2, "the stop took {:?}", stopped.elapsed());
    assert_eq!(bench.shards[0].resolved(resolving), unresolved(&by_id(9)));
    let refusal = bench.shards[0].answer(waiting).unwrap_err();
    assert_eq!((refusal.code, refusal.retry_after_s), (RefusalCode::ControlUnavailable, Some(1)));
}

#[test]
fn a_shard_that_never_reports_does_not_block_the_others() {
    let engine = Engine::start();
    let mut bench = Bench::start_unreported(one_stream(&engine), 2, 64);
    bench.shards[0].report(Holdings::default());
    bench.shards[0].lease(stream(1));
}

#[test]
fn a_shard_with_a_full_inbox_still_hears_of_the_new_generation() {
    let engine = Engine::start();
    let mut bench = Bench::start_unreported(one_stream(&engine), 1, 1);
    let wiring = bench.stop();
    // The old generation's message fills the inbox of one place while the new control starts.
    bench.control = Some(sluice_control::start(one_stream(&engine), wiring).unwrap());
    let ToShard::Connected { epoch: old } = bench.shards[0].next() else { panic!("expected Connected") };
    bench.shards[0].report(Holdings::default());
    assert!(bench.shards[0].epoch > old);
    bench.shards[0].lease(stream(1));
}

/// Guards: figures over time go on where they were when control is started anew: what was measured before is told after.
#[test]
fn figures_over_time_outlive_control() {
    let mut bench = Bench::start(options(&[]), 1);
    let at = |bench: &Bench| bench.get("/metrics/history").json()["at"].as_array().unwrap().clone();
    common::eventually("there is a point", || !at(&bench).is_empty());
    let first = at(&bench)[0].clone();
    let wiring = bench.stop();
    bench.control = Some(sluice_control::start(options(&[]), wiring).unwrap());
    common::eventually("there is another", || at(&bench).len() > 1);
    assert_eq!(at(&bench)[0], first);
}

#[test]
fn open_http_connections_end_and_free_their_places_when_control_stops() {
    let mut bench = Bench::start(options(&[]), 1);
    let mut player = bench.hand_over(b"GET /version HTTP/1.1\r\nhost: sluice\r\n\r\n");
    assert_eq!(common::http::read_answer(&mut player, false).status, 200);
    drop(bench.stop());
    assert!(common::http::is_ended(&mut player));
    common::eventually("the place is free", || bench.places.load(std::sync::atomic::Ordering::SeqCst) == 0);
}

#[test]
fn the_planes_threads_are_named_and_give_way_to_the_shards() {
    let _bench = Bench::start(options(&[]), 1);
    let nice_of = |stat: String| -> Option<i32> {
        // proc(5): the command is in brackets, and the nice value is field 19.
        let (name, fields) = stat.split_once('(')?.1.rsplit_once(')')?;
        (name == "control").then(|| fields.split_whitespace().nth(16)?.parse().ok())?
    };
    common::eventually("every control thread has its priority", || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
        let nice: Vec<i32> = stats.filter_map(nice_of).collect();
        !nice.is_empty() && nice.iter().all(|nice| *nice >= 10)
    });
}

#[test]
fn options_that_cannot_work_are_named() {
    let start = |options| {
        let bench = Bench::start(common::options(&[]), 1);
        let (_, inbox) = sluice_contract::link::link(1);
        let wiring = sluice_control::Wiring {
            inbox,
            shards: Vec::new(),
            directory: bench.directory.clone(),
            board: bench.board.clone(),
            dial: Default::default(),
            variables: None,
            panel: Default::default(),
            past: Default::default(),
        };
        sluice_control::start(options, wiring).err().map(|error| error.to_string())
    };
    let base = || options(&[]);
    let text = start(sluice_control::Options { worker_threads: 0, ..base() }).unwrap();
    assert_eq!(text, "option worker_threads is 0, allowed is 1 to 64");
    let text = start(options(&["engine".to_owned()])).unwrap();
    assert_eq!(text, "engine \"engine\": the port is missing, expected host:port");
    assert!(start(sluice_control::Options { cors_origin: "a\nb".to_owned(), ..base() }).is_some());
}
