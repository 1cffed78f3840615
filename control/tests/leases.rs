//! Engines are leased through the links: placement, capacity, waiting, faults, abandoning.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests are threads of their own: they connect, wait and lock"
)]

mod common;

use common::engine::{Engine, Mood};
use common::{Bench, PATIENCE, options, session, stream};
use sluice_contract::snapshot::{Session, SessionState};
use sluice_contract::{EngineFault, LeaseRequest, LeaseReturn, RefusalCode, ToControl, ToShard};
use std::time::{Duration, Instant, SystemTime};

/// A moment in which nothing is expected to happen.
const QUIET: Duration = Duration::from_millis(300);

#[test]
fn streams_spread_over_engines_and_name_their_address() {
    let engines = [Engine::start(), Engine::start()];
    let mut bench = Bench::start(options(&engines.each_ref().map(Engine::authority)), 1);
    bench.wait_healthy(2);
    let shard = &mut bench.shards[0];
    let first = shard.lease(stream(1));
    let second = shard.lease(stream(2));
    let third = shard.lease(stream(3));
    let fourth = shard.lease(stream(4));
    let mut used = [first.address, second.address, third.address, fourth.address];
    used.sort();
    let mut expected =
        [engines[0].address(), engines[0].address(), engines[1].address(), engines[1].address()];
    expected.sort();
    assert_eq!(used, expected);
    assert_eq!(first.authority.parse(), Ok(first.address));
    assert_eq!(first.epoch, shard.epoch);
}

#[test]
fn a_full_engine_makes_the_next_wait_until_a_lease_comes_back() {
    let engine = Engine::start();
    let mut bench = Bench::start(
        sluice_control::Options { streams_per_engine: Some(1), ..options(&[engine.authority()]) },
        2,
    );
    let lease = bench.shards[0].lease(stream(1));
    let ticket = bench.shards[1].ask(stream(2), PATIENCE);
    assert!(bench.shards[1].try_next(QUIET).is_none(), "granted over capacity");
    bench.shards[0].tell(ToControl::Return(LeaseReturn { id: lease.id, fault: None }));
    assert!(bench.shards[1].answer(ticket).is_ok());
}

/// Guards: while a request waits for room, the shard of the session that nobody has watched for longest is asked to end
/// it, once.
#[test]
fn an_unwatched_session_is_asked_for_its_place() {
    let engine = Engine::start();
    let mut bench = Bench::start(
        sluice_control::Options { streams_per_engine: Some(2), ..options(&[engine.authority()]) },
        1,
    );
    let leases = [1, 2].map(|n| bench.shards[0].lease(stream(n)));
    let left = |n: u8, seconds| Session {
        idle_since: Some(SystemTime::now() - Duration::from_secs(seconds)),
        ..session(n, SessionState::Grace, Some(&leases[usize::from(n) - 1]))
    };
    bench.publish(vec![left(1, 20), left(2, 30)]);
    let shard = &mut bench.shards[0];
    let ticket = shard.ask(stream(4), PATIENCE);
    match shard.next() {
        ToShard::Yield { key } => assert_eq!(key, stream(2)),
        other => panic!("expected a yield, got {other:?}"),
    }
    assert!(shard.try_next(QUIET).is_none(), "one place is enough for one play");
    shard.tell(ToControl::Return(LeaseReturn { id: leases[1].id, fault: None }));
    assert!(shard.answer(ticket).is_ok());
}

#[test]
fn who_waits_in_vain_is_refused_before_the_deadline_with_a_hint() {
    let engine = Engine::start();
    let mut bench = Bench::start(
        sluice_control::Options { streams_per_engine: Some(1), ..options(&[engine.authority()]) },
        1,
    );
    let shard = &mut bench.shards[0];
    shard.lease(stream(1));
    let allowed = Duration::from_millis(600);
    let asked = Instant::now();
    let ticket = shard.ask(stream(2), allowed);
    let refusal = shard.answer(ticket).unwrap_err();
    assert!(asked.elapsed() >= allowed / 2, "refused without waiting");
    assert_eq!((refusal.code, refusal.retry_after_s), (RefusalCode::MaxCapacity, Some(30)));
    assert!(refusal.detail.contains("1 streams per engine"), "{}", refusal.detail);
}

#[test]
fn without_any_engine_the_refusal_is_immediate() {
    let mut bench = Bench::start(options(&[]), 1);
    let ticket = bench.shards[0].ask(stream(1), PATIENCE);
    let asked = Instant::now();
    assert_eq!(bench.shards[0].answer(ticket).unwrap_err().code, RefusalCode::NoEngine);
    assert!(asked.elapsed() < PATIENCE / 2);
}

#[test]
fn a_name_that_does_not_resolve_is_named_in_the_refusal() {
    let mut bench = Bench::start(options(&["no-such-engine.invalid:6878".to_owned()]), 1);
    let ticket = bench.shards[0].ask(stream(1), Duration::from_millis(1500));
    let refusal = bench.shards[0].answer(ticket).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::EngineUnreachable);
    assert!(refusal.detail.contains("no-such-engine.invalid"), "{}", refusal.detail);
}

#[test]
fn no_sign_of_life_ends_the_wait_early() {
    // A port that was free a moment ago refuses connections.
    let address = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let options = sluice_control::Options {
        no_response_timeout: Duration::from_millis(400),
        ..options(&[address.to_string()])
    };
    let mut bench = Bench::start(options, 1);
    let asked = Instant::now();
    let ticket = bench.shards[0].ask(stream(1), PATIENCE);
    let refusal = bench.shards[0].answer(ticket).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::EngineUnreachable);
    assert!(asked.elapsed() < PATIENCE / 2, "waited for {:?}", asked.elapsed());
}

#[test]
fn a_waiting_request_gets_the_engine_that_comes_back() {
    let address = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let mut bench = Bench::start(options(&[address.to_string()]), 1);
    let ticket = bench.shards[0].ask(stream(1), PATIENCE);
    assert!(bench.shards[0].try_next(QUIET).is_none(), "granted an engine that is down");
    let _engine = Engine::start_at(address);
    assert_eq!(bench.shards[0].answer(ticket).unwrap().address, address);
}

#[test]
fn a_hung_engine_that_a_shard_reports_is_not_granted_again() {
    let engines = [Engine::start(), Engine::start()];
    let mut bench = Bench::start(options(&engines.each_ref().map(Engine::authority)), 1);
    bench.wait_healthy(2);
    let shard = &mut bench.shards[0];
    let lease = shard.lease(stream(1));
    let hung = engines.iter().find(|engine| engine.address() == lease.address).unwrap();
    hung.set_mood(Mood::Hung);
    shard.tell(ToControl::Return(LeaseReturn { id: lease.id, fault: Some(EngineFault::Hung) }));
    let other = shard.lease(stream(1));
    assert_ne!(other.address, lease.address);
    // The other engine now has a lease and the hung one has none: fewest streams alone would choose the hung one.
    assert_eq!(shard.lease(stream(2)).address, other.address);
}

#[test]
fn a_shard_can_have_the_same_engine_again_after_giving_it_back() {
    let engine = Engine::start();
    let mut bench = Bench::start(options(&[engine.authority()]), 1);
    let shard = &mut bench.shards[0];
    let first = shard.lease(stream(1));
    let ticket = shard.ask(stream(1), Duration::from_millis(500));
    let refusal = shard.answer(ticket).expect_err("two leases of one stream on one engine");
    assert_eq!(refusal.code, RefusalCode::NoEngine);
    shard.tell(ToControl::Return(LeaseReturn { id: first.id, fault: Some(EngineFault::EndOfStream) }));
    let ticket = shard.ticket();
    let request = LeaseRequest {
        ticket,
        shard: shard.id,
        stream: stream(1),
        avoid: vec![first.engine.clone()],
        wanted: None,
        deadline: Instant::now() + PATIENCE,
    };
    let asked = Instant::now();
    shard.tell(ToControl::Lease(request));
    let second = shard.answer(ticket).unwrap();
    assert_eq!(second.engine, first.engine);
    assert_ne!(second.id, first.id);
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "the only engine was held back for {:?}",
        asked.elapsed()
    );
}

#[test]
fn a_start_slot_is_free_again_once_the_board_shows_the_engines_answer() {
    let engine = Engine::start();
    let mut bench =
        Bench::start(sluice_control::Options { engine_starts_max: 1, ..options(&[engine.authority()]) }, 1);
    let lease = bench.shards[0].lease(stream(1));
    let ticket = bench.shards[0].ask(stream(2), PATIENCE);
    assert!(bench.shards[0].try_next(QUIET).is_none(), "two starts at once on one engine");
    let session = |lease| common::session(1, SessionState::Starting, lease);
    bench.publish(vec![session(None)]);
    assert!(bench.shards[0].try_next(QUIET).is_none(), "a start counted as over before its engine answered");
    bench.publish(vec![session(Some(&lease))]);
    assert!(bench.shards[0].answer(ticket).is_ok());
}

#[test]
fn the_last_resort_is_used_only_when_no_other_engine_lives() {
    let last_resort = Engine::start();
    let down = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let pool = Engine::start();
    let with = |pool: String| sluice_control::Options {
        fallback_engine: Some(sluice_control::StaticEngine {
            authority: last_resort.authority(),
            group: None,
        }),
        ..options(&[pool])
    };
    let mut bench = Bench::start(with(pool.authority()), 1);
    bench.wait_healthy(2);
    for n in 1..=2 {
        assert_eq!(bench.shards[0].lease(stream(n)).address, pool.address());
    }
    let mut bench = Bench::start(with(down.to_string()), 1);
    assert_eq!(bench.shards[0].lease(stream(1)).address, last_resort.address());
}

#[test]
fn an_abandoned_request_is_not_answered_and_takes_nothing() {
    let engine = Engine::start();
    let mut bench = Bench::start(
        sluice_control::Options { streams_per_engine: Some(1), ..options(&[engine.authority()]) },
        1,
    );
    let shard = &mut bench.shards[0];
    let lease = shard.lease(stream(1));
    let given_up = shard.ask(stream(2), PATIENCE);
    let kept = shard.ask(stream(3), PATIENCE);
    shard.tell(ToControl::Abandon { shard: shard.id, ticket: given_up });
    shard.tell(ToControl::Return(LeaseReturn { id: lease.id, fault: None }));
    assert!(shard.answer(kept).is_ok());
    assert!(shard.try_next(QUIET).is_none());
}

#[test]
fn a_grant_that_finds_the_inbox_full_reserves_nothing() {
    let engine = Engine::start();
    let options = sluice_control::Options { streams_per_engine: Some(1), ..options(&[engine.authority()]) };
    let mut bench = Bench::start_unreported(options, 2, 1);
    for shard in &mut bench.shards {
        shard.report(Default::default());
    }
    let [first, second] = &mut bench.shards[..] else { unreachable!() };
    // The refusal of a request without time fills the inbox; then the grant has no room.
    let late = first.ask(stream(1), Duration::ZERO);
    first.ask(stream(2), PATIENCE);
    let ticket = second.ask(stream(3), Duration::from_secs(3));
    assert!(
        second.answer(ticket).is_ok(),
        "the undelivered lease stayed on the books, or nobody looked again"
    );
    assert!(matches!(first.next(), ToShard::Lease { ticket, answer: Err(_) } if ticket == late));
}

#[test]
fn an_engine_is_asked_for_its_version_as_engines_want_it() {
    let engine = Engine::start();
    let mut bench = Bench::start(options(&[engine.authority()]), 1);
    bench.shards[0].lease(stream(1));
    let head = engine.requests()[0].to_ascii_lowercase();
    assert!(head.starts_with("get /webui/api/service?method=get_version"), "{head}");
    assert!(head.contains("accept-encoding: identity"), "{head}");
    assert!(head.contains(&format!("host: {}", engine.authority())), "{head}");
}

#[test]
fn a_page_or_an_endless_answer_is_not_an_engine() {
    for mood in [Mood::Html, Mood::Endless, Mood::Broken] {
        let engine = Engine::start();
        engine.set_mood(mood);
        let good = Engine::start();
        let mut bench = Bench::start(options(&[engine.authority(), good.authority()]), 1);
        for n in 1..=3 {
            let lease = bench.shards[0].lease(stream(n));
            assert_eq!(lease.address, good.address(), "{mood:?}");
            bench.shards[0].tell(ToControl::Return(LeaseReturn { id: lease.id, fault: None }));
        }
    }
}
