//! Which broadcast an id names: asked once, remembered both ways, never in the way of playing.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests are threads of their own: they connect, wait and lock"
)]

mod common;

use common::engine::{Engine, Mood};
use common::{Bench, PATIENCE, by_id, eventually, number, options, stream};
use sluice_contract::directory::unresolved;
use sluice_contract::{Alias, Options, Selector, ToControl, ToShard};
use std::time::{Duration, Instant};

#[test]
fn many_players_of_one_id_on_several_shards_cost_one_look_up() {
    let engine = Engine::start();
    engine.know("content_id", 1, 2);
    engine.set_delay(Duration::from_millis(200));
    let mut bench = Bench::start(options(&[engine.authority()]), 2);
    let tickets: Vec<_> = (0..20).map(|n| (n % 2, bench.shards[n % 2].resolve(by_id(1), PATIENCE))).collect();
    for (shard, ticket) in tickets {
        assert_eq!(bench.shards[shard].resolved(ticket), stream(2));
    }
    assert_eq!(engine.lookups().len(), 1);
    // From now on every name of the broadcast is known without asking anybody.
    for selector in
        [Selector::ContentId(number(1)), Selector::ContentId(number(2)), Selector::Infohash(number(1))]
    {
        let alias = Alias { selector, options: Options::default() };
        assert_eq!(bench.directory.find(&alias), Some(stream(2)));
    }
    let head = engine.lookups()[0].to_ascii_lowercase();
    assert!(
        head.starts_with("get /server/api?api_version=3&method=get_media_files&content_id=0101"),
        "{head}"
    );
    assert!(head.contains("accept-encoding: identity"), "{head}");
}

#[test]
fn an_infohash_given_as_id_is_found_with_the_other_selector() {
    let engine = Engine::start();
    engine.know("infohash", 3, 3);
    let mut bench = Bench::start(options(&[engine.authority()]), 1);
    let ticket = bench.shards[0].resolve(by_id(3), PATIENCE);
    assert_eq!(bench.shards[0].resolved(ticket), stream(3));
    assert_eq!(engine.lookups().len(), 2);
}

#[test]
fn options_travel_unchanged_into_the_key() {
    let engine = Engine::start();
    engine.know("content_id", 1, 2);
    let mut bench = Bench::start(options(&[engine.authority()]), 1);
    let options = Options::from_pairs([("_idx", "1")]);
    let alias = Alias { options: options.clone(), ..by_id(1) };
    let ticket = bench.shards[0].resolve(alias, PATIENCE);
    let key = bench.shards[0].resolved(ticket);
    assert_eq!((key.infohash(), key.options), (Some(number(2)), options));
}

#[test]
fn an_unknown_id_is_answered_unresolved_and_not_asked_again_at_once() {
    let engine = Engine::start();
    let mut bench = Bench::start(options(&[engine.authority()]), 1);
    for _ in 0..3 {
        let ticket = bench.shards[0].resolve(by_id(9), PATIENCE);
        assert_eq!(bench.shards[0].resolved(ticket), unresolved(&by_id(9)));
    }
    assert_eq!(engine.lookups().len(), 2, "one look-up is one question per selector");
    // What an engine's start answer teaches counts at once, remembered as unknown or not.
    let selector = Selector::ContentId(number(9));
    bench.shards[0].tell(ToControl::Learned { selector, options: Options::default(), infohash: number(10) });
    let ticket = bench.shards[0].resolve(by_id(9), PATIENCE);
    assert_eq!(bench.shards[0].resolved(ticket), stream(10));
}

#[test]
fn another_engine_is_asked_when_the_first_fails() {
    for mood in [Mood::VersionOnly, Mood::Html, Mood::Endless, Mood::Broken] {
        // Of two engines that are equally good the one that comes first by name is asked first.
        let mut engines = [Engine::start(), Engine::start()];
        engines.sort_by_key(Engine::authority);
        let [bad, good] = engines;
        let options = sluice_control::Options {
            resolve_timeout: Duration::from_millis(1500),
            ..options(&[bad.authority(), good.authority()])
        };
        let mut bench = Bench::start(options, 1);
        // Both engines look healthy until they are asked for more than a version.
        bench.wait_healthy(2);
        bad.set_mood(mood);
        for n in 1..=4 {
            good.know("content_id", n, n + 100);
            let ticket = bench.shards[0].resolve(by_id(n), PATIENCE);
            assert_eq!(bench.shards[0].resolved(ticket), stream(n + 100), "{mood:?}");
        }
        assert_eq!(bad.lookups().len(), 1, "{mood:?}: an engine that just failed was asked first again");
    }
}

#[test]
fn a_hung_engine_costs_a_player_its_own_deadline_and_nobody_else_anything() {
    let engine = Engine::start();
    let mut bench = Bench::start(options(&[engine.authority()]), 1);
    bench.shards[0].lease(stream(100));
    engine.set_mood(Mood::VersionOnly);
    let asked = Instant::now();
    let ticket = bench.shards[0].resolve(by_id(1), Duration::from_millis(500));
    engine.wait_for_lookups(1);
    // Leases are granted and status is answered while the look-up hangs.
    bench.shards[0].lease(stream(101));
    assert_eq!(bench.get("/proxy/status").status, 200);
    assert_eq!(bench.shards[0].resolved(ticket), unresolved(&by_id(1)));
    assert!(asked.elapsed() < Duration::from_secs(2), "answered after {:?}", asked.elapsed());
}

#[test]
fn a_look_up_that_comes_too_late_for_its_player_is_remembered_for_the_next() {
    let engine = Engine::start();
    engine.know("content_id", 1, 2);
    engine.set_delay(Duration::from_millis(600));
    let mut bench = Bench::start(options(&[engine.authority()]), 1);
    let ticket = bench.shards[0].resolve(by_id(1), Duration::from_millis(200));
    assert_eq!(bench.shards[0].resolved(ticket), unresolved(&by_id(1)));
    eventually("the late answer is remembered", || bench.directory.find(&by_id(1)) == Some(stream(2)));
}

#[test]
fn an_engine_is_asked_two_things_at_a_time_at_most() {
    let engine = Engine::start();
    engine.set_delay(Duration::from_millis(50));
    let mut bench = Bench::start(options(&[engine.authority()]), 1);
    for n in 1..=8 {
        engine.know("content_id", n, n + 100);
    }
    let tickets: Vec<_> = (1..=8).map(|n| (n, bench.shards[0].resolve(by_id(n), PATIENCE))).collect();
    for _ in tickets {
        assert!(matches!(bench.shards[0].next(), ToShard::Resolved { .. }));
    }
    for n in 1..=8 {
        assert_eq!(bench.directory.find(&by_id(n)), Some(stream(n + 100)));
    }
    assert_eq!(engine.in_flight_max(), 2);
}

#[test]
fn without_an_engine_that_lives_the_answer_is_immediate() {
    let address = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let mut bench = Bench::start(options(&[address.to_string()]), 1);
    let asked = Instant::now();
    let ticket = bench.shards[0].resolve(by_id(1), PATIENCE);
    assert_eq!(bench.shards[0].resolved(ticket), unresolved(&by_id(1)));
    assert!(asked.elapsed() < PATIENCE / 2);
}
