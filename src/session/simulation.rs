//! Random lives of sessions: the machine against the model of its surroundings, from a seed that is printed.
//!
//! `SLUICE_TEST_SEED=<n>` runs that life alone.

use super::model::{Choices, Seen, World};
use sluice_contract::EndReason;
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Lives per run.
const LIVES: u64 = 100_000;
/// Random steps of a life at most, before it is run to its end.
const STEPS_MAX: u32 = 240;

/// SplitMix64: every seed gives another sequence, neighbouring ones too.
struct Generator(u64);

impl Generator {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

impl Choices for Generator {
    fn below(&mut self, bound: u32) -> Option<u32> {
        Some((self.next() % u64::from(bound)) as u32)
    }
}

/// Says which seed was at work when a life fails.
struct Announce(u64);

impl Drop for Announce {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again with SLUICE_TEST_SEED={}", self.0);
        }
    }
}

fn live(seed: u64) -> (EndReason, Seen) {
    let _announce = Announce(seed);
    let mut generator = Generator(seed);
    let world = World::new(&mut generator);
    let steps = generator.below(STEPS_MAX).unwrap_or(0);
    world.run(&mut generator, steps)
}

/// Guards the invariants in the header of `machine.rs`, and that every session ends, over random interleavings of all
/// that can happen to it; and that the interleavings are rich enough to mean something.
#[test]
fn random_lives_keep_every_promise() {
    if let Ok(seed) = std::env::var("SLUICE_TEST_SEED") {
        let (reason, seen) = live(seed.parse().expect("the seed is a number"));
        eprintln!("seed {seed}: {reason:?}, {seen:?}");
        return;
    }
    let first = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    eprintln!("{LIVES} lives from seed {first} on");
    let (mut ends, mut total) = (HashMap::<EndReason, u64>::new(), Seen::default());
    for seed in (0..LIVES).map(|life| first.wrapping_add(life)) {
        let (reason, seen) = live(seed);
        *ends.entry(reason).or_default() += 1;
        total.add(seen);
    }
    eprintln!("{ends:?} {total:?}");
    for reason in [
        EndReason::ClientLeft,
        EndReason::Abandoned,
        EndReason::StartFailed,
        EndReason::FailoverExhausted,
        EndReason::EmptyTimeout,
        EndReason::Stopped,
        EndReason::Looping,
    ] {
        assert!(
            ends.get(&reason).is_some_and(|count| *count >= LIVES / 1000),
            "too few end with {reason:?}: {ends:?}"
        );
    }
    let Seen { opened, reopened, waited, stalls, forgiven, withdrawn, other, .. } = total;
    let Seen { beside, inherited, changed_over, came_back, moved, .. } = total;
    let Seen { fell_back, looped, races, forfeited, .. } = total;
    for (what, count) in [
        ("sources", opened / 10),
        ("reopenings", reopened),
        ("waits for an engine", waited),
        ("stalls", stalls),
        ("forgiven faults", forgiven),
        ("withdrawals", withdrawn),
        ("other selectors", other),
        ("second sources", beside),
        ("inherited streams", inherited),
        ("changes over", changed_over),
        ("sources that came back", came_back),
        ("moves", moved),
        ("starts that fell back", fell_back.0),
        ("sessions that fell back while they played", fell_back.1),
        ("ids left because they loop", looped),
        ("races won by the first id", races.0),
        ("races won by the second id", races.1),
        ("races that were none", forfeited),
    ] {
        assert!(u64::from(count) >= LIVES / 100, "too few {what}: {total:?}");
    }
}
