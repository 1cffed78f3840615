//! Players that come and go in any order and at any pace leave nothing behind.

use crate::common::{Appliance, SOON, Setup, eventually_within, until};
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Faults, Options};
use sluice_bench::player::Player;
use std::time::Duration;

/// Players that join in the random test.
const JOINS: u32 = 300;
/// Players at a time.
const PLAYERS_MAX: usize = 24;
const CHANNELS: u32 = 5;

/// A generator with a seed that is printed; `SLUICE_TEST_SEED` sets it.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let clock = || std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
        let seed =
            std::env::var("SLUICE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(clock);
        println!("SLUICE_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(bound)) as u32
    }
}

/// An engine that takes so long to answer a start.
fn engine(channels: u32, answer: Duration) -> Engine {
    let faults = Faults { json_delay_ms: answer.as_millis() as u64, ..Faults::default() };
    let channel = |n| ChannelSpec::synthetic(n, 100_000).with_faults(faults.clone());
    Engine::start(Options { channels: (0..channels).map(channel).collect(), ..Options::default() })
        .expect("the engine starts")
}

fn totals(engine: &Engine, channels: u32) -> (u64, u64) {
    let counters = (0..channels).map(|n| engine.control().counters(nth(n).1).unwrap());
    counters.fold((0, 0), |(opens, stops), channel| (opens + channel.opens, stops + channel.stops))
}

/// Waits until the appliance is as if nobody had ever been there.
fn settle(appliance: &Appliance, engines: &[&Engine], channels: u32, descriptors: usize) {
    eventually_within("every session ends", 2 * SOON, || {
        let status = appliance.json("/proxy/status");
        (status["total_clients"] == 0 && status["total_sessions"] == 0).then_some(())
    });
    for engine in engines {
        until("every download is stopped", || engine.control().engine_counters().downloads == 0);
        let (opens, stops) = totals(engine, channels);
        assert_eq!(opens, stops, "opens and stops of one engine");
        assert_eq!(engine.control().engine_counters().stops_unknown, 0, "something was stopped twice");
    }
    eventually_within(&format!("descriptors are back to {descriptors}"), SOON, || {
        (appliance.descriptors() <= descriptors).then_some(())
    });
}

/// Descriptors of an appliance whose shards all run and that has played once.
fn idle_descriptors(appliance: &Appliance) -> usize {
    appliance.wait_log("both shards run", |lines| {
        lines.iter().filter(|line| line.contains("shard started")).count() == 2
    });
    let player = appliance.player(nth(0).0).start();
    player.wait_decodable(SOON).unwrap();
    player.stop();
    until("the first session ends", || appliance.json("/proxy/status")["total_sessions"] == 0);
    let mut last = appliance.descriptors();
    // Connections of earlier requests close a moment later.
    eventually_within("the number of descriptors is steady", SOON, || {
        let before = std::mem::replace(&mut last, appliance.descriptors());
        (before == last).then_some(last)
    })
}

/// Guards: several hundred players that join and leave at random (politely, by reset, before the head, in the middle of
/// the media) on a few channels, two engines and both shards wedge nothing: at the end every engine session was
/// stopped exactly once, and clients, sessions and descriptors are back where they were.
#[test]
fn random_joins_and_leaves_leave_nothing_behind() {
    let mut dice = Dice::new();
    let answer = Duration::from_millis(20);
    let (one, two) = (engine(CHANNELS, answer), engine(CHANNELS, answer));
    // Half of the rejoins come within the grace period, half after it.
    let appliance = Setup::with_engines(&[&one, &two]).env("PROXY_GRACE_PERIOD", "100ms").start();
    let descriptors = idle_descriptors(&appliance);
    let (mut players, mut served): (Vec<Player>, u32) = (Vec::new(), 0);
    let mut joined = 0;
    while joined < JOINS || !players.is_empty() {
        let join = joined < JOINS && players.len() < PLAYERS_MAX && dice.below(2) == 0;
        if join {
            let (id, infohash) = nth(dice.below(CHANNELS));
            let path = match dice.below(3) {
                0 => format!("/ace/getstream?infohash={infohash}"),
                _ => format!("/ace/getstream?id={id}"),
            };
            players.push(Player::get(appliance.addr(), &path).start());
            joined += 1;
        } else if !players.is_empty() {
            let player = players.swap_remove(dice.below(players.len() as u32) as usize);
            match dice.below(4) {
                // Mostly while the start is still going on.
                0 => drop(player.stop()),
                1 => drop(player.reset()),
                2 => {
                    player.wait_bytes(1, SOON).expect("the player is served");
                    served += 1;
                    player.reset();
                }
                _ => {
                    player.wait_packets(100, SOON).expect("the player is served");
                    served += 1;
                    player.stop();
                }
            }
        }
        // Another pace for every stretch, so that starts, playing and ends are all hit.
        std::thread::sleep(Duration::from_millis(u64::from(dice.below(12))));
    }
    assert!(served > JOINS / 4, "only {served} of {JOINS} were served");
    settle(&appliance, &[&one, &two], CHANNELS, descriptors);
    // It still plays.
    let player = appliance.player(nth(0).0).start();
    player.wait_decodable(SOON).unwrap();
    player.stop();
    settle(&appliance, &[&one, &two], CHANNELS, descriptors);
}

/// Guards: a player that zaps through twenty channels ten times a second has at most as many starts in flight on the
/// engine as it has start slots, everything it opened too late is stopped, and the engine serves the next channel.
#[test]
fn zapping_keeps_starts_bounded_and_stops_what_came_too_late() {
    const ZAPPED: u32 = 20;
    // The engine answers long after the player has left, and two starts at a time are not enough for this pace.
    let engine = engine(ZAPPED + 1, Duration::from_millis(400));
    let appliance = Setup::with_engines(&[&engine]).env("PROXY_GRACE_PERIOD", "200ms").start();
    let descriptors = idle_descriptors(&appliance);
    for n in 0..ZAPPED {
        let player = appliance.player(nth(n).0).start();
        std::thread::sleep(Duration::from_millis(100));
        player.stop();
    }
    let player = appliance.player(nth(ZAPPED).0).start();
    player.wait_decodable(SOON).unwrap();
    assert_eq!(player.stop().status(), Some(200));
    settle(&appliance, &[&engine], ZAPPED + 1, descriptors);
    let counters = engine.control().engine_counters();
    assert_eq!(counters.opens_in_flight_max, 2, "all start slots, and no more: {counters:?}");
}
