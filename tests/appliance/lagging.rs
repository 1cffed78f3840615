//! Too slow for the window: skipped forward, told so, and nobody else's business.

use crate::common::{SOON, Setup, until};
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine, Options};
use sluice_bench::player::{Reading, check};
use std::time::Duration;

/// Guards: a player that stopped reading until the window moved on goes on at a random access point, behind tables and a
/// flagged discontinuity: whole packets, flagged gaps, nothing twice, nothing out of order. Who reads along beside it
/// loses nothing. Takes some seconds because tens of megabytes have to pass.
#[test]
fn a_player_that_falls_off_the_window_goes_on_behind_a_flagged_gap() {
    const RATE: u64 = 6_000_000;
    let channels = vec![ChannelSpec::synthetic(0, RATE).with_reach_back(Duration::from_secs(2))];
    let engine = Engine::start(Options { channels, ..Options::default() }).unwrap();
    let (id, infohash) = nth(0);
    let reference = Some(engine.control().broadcast(infohash).unwrap());
    let options = check::Options { reference, ..check::Options::default() };
    let appliance = Setup::with_engines(&[&engine]).env("WINDOW_TOTAL_MIB", "40").start();
    let beside = appliance.player(id).check(options.clone()).start();
    let slow = appliance
        .player(id)
        .check(options)
        .receive_buffer(64 << 10)
        .reading(Reading::Stalled(500_000))
        .start();
    slow.wait_decodable(SOON).unwrap();
    let taken = |player: &sluice_bench::player::Player| player.bytes();
    // It stopped, and the window, at most 40 MiB, has moved past everything it and its sockets hold.
    beside.wait_bytes(taken(&slow) + (48 << 20), 2 * SOON).unwrap();
    slow.read(Reading::Drain);
    until("it was skipped", || appliance.metric("sluice_client_skips_total") >= 1.0);
    slow.wait_more(8 << 20, SOON).unwrap();
    slow.wait_report("a gap", SOON, |report| report.order.gaps_total >= 1).unwrap();
    let skips = appliance.metric("sluice_client_skips_total");
    slow.stop();
    beside.stop();
    let report = slow.report();
    assert_eq!(report.faults(), Vec::<String>::new(), "{report:#?}");
    assert!(report.order.lost > 0 && report.discontinuities > 0, "{report:#?}");
    assert!(report.order.gaps_total as f64 <= skips, "{} gaps, {skips} skips", report.order.gaps_total);
    assert_eq!(beside.report().faults_or_losses(), Vec::<String>::new());
}
