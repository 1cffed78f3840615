//! Players that change channels faster than engines start them.

use crate::common::{SOON, Setup, until};
use crate::scene::{RATE, engine, stopped_once_each};
use sluice_bench::channel::nth;
use sluice_bench::engine::ChannelSpec;
use sluice_bench::player::Player;

const CHANNELS: u32 = 8;

/// Guards: starts nobody waits for any more are given up, and what an engine opened late is stopped all the same, once;
/// nothing stays behind, and the channel that was stopped at plays.
#[test]
fn starts_nobody_waits_for_are_stopped_when_they_open_late() {
    let slow = |n| {
        let mut spec = ChannelSpec::synthetic(n, RATE);
        spec.faults.json_delay_ms = 700;
        spec
    };
    let engine = engine((0..CHANNELS).map(slow).collect());
    let control = engine.control();
    let appliance = Setup::with_engines(&[&engine]).env("PROXY_GRACE_PERIOD", "200ms").start();
    for n in 0..CHANNELS - 1 {
        let passing = appliance.player(nth(n).0).start();
        until("the start is under way", || {
            let counters = control.counters(nth(n).1).unwrap();
            control.engine_counters().opens_in_flight > 0 || counters.opens > 0
        });
        passing.stop();
    }
    let last: Player = appliance.player(nth(CHANNELS - 1).0).start();
    last.wait_decodable(SOON).unwrap();
    last.stop();
    until("no session is left", || appliance.json("/proxy/status")["total_sessions"] == 0);
    for n in 0..CHANNELS {
        stopped_once_each(&engine, nth(n).1);
    }
    assert_eq!(control.engine_counters().pids_reused, 0);
}
