//! Engines that fail one after another under players that check every packet.

use crate::common::Setup;
use sluice_bench::chaos::{Options, Pace, run};
use std::time::Duration;

/// Guards: through kills, resets, ends, silence, wedges, slowness, moves and an upgrade, one after another on a fixed schedule, no
/// player is cut or sees a broken stream, everybody plays on in the end, and every engine session that could be stopped
/// was, once.
#[test]
fn a_short_run_of_chaos_cuts_nobody() {
    let options = Options {
        seed: 20,
        players: 16,
        paced_share: 0.5,
        engines: 3,
        channels: 2,
        rate: 125_000,
        pace: Pace {
            duration: Duration::from_secs(14),
            lasts: Duration::from_millis(800),
            pause: Duration::from_millis(900),
        },
        is_strict: false,
    };
    let verdict = run(options, Setup::bare().into_command(), |text| eprintln!("{text}")).unwrap();
    eprintln!("{verdict}");
    assert_eq!(verdict.faults(), Vec::<String>::new());
    assert!(verdict.troubles.len() >= 7, "too little happened: {:?}", verdict.troubles);
}
