//! Where and how a player enters a stream.

use crate::common::{SOON, Setup, until};
use crate::stage::{RATE, checked, engine, plays};
use sluice_bench::channel::nth;
use sluice_bench::player::Player;
use sluice_bench::player::check::PACKET_LEN;

/// The first and the last byte of the broadcast that a player has been sent so far.
fn range(player: &Player) -> (u64, u64) {
    let (first, last) = player.report().order.range.expect("it has media");
    (first * PACKET_LEN as u64, last * PACKET_LEN as u64)
}

/// Guards: the first player and everyone who joins later, near live or far behind it, parses from byte 0: PAT, PMT,
/// then a random access point, no packet before it and no continuity error behind the tables put in front. A proxy
/// that joined mid-packet without tables left players searching for seconds.
#[test]
fn every_player_parses_from_byte_0_at_the_distance_that_is_set() {
    for (join_behind_s, least, most) in [("0", -1.0, 3.0), ("4", 3.0, 8.0), ("10", 8.0, 14.0)] {
        let engine = engine(1);
        let appliance = Setup::with_engines(&[&engine]).env("JOIN_BEHIND_S", join_behind_s).start();
        let first = checked(&appliance, &engine, 0).start();
        first.wait_decodable(SOON).unwrap();
        until("the first player has caught up with the engine's first burst", || {
            let live = engine.control().live_position(nth(0).0).unwrap();
            live.saturating_sub(range(&first).1) < RATE / 2
        });
        let mut late = Vec::new();
        for _ in 0..6 {
            first.wait_more(RATE / 7, SOON).unwrap();
            // What the window ends with when the player joins lies between what somebody has been sent before, and what
            // the engine has come to afterwards, however slow the machine is.
            let (_, before) = range(&first);
            let player = checked(&appliance, &engine, 0).start();
            player.wait_decodable(SOON).unwrap();
            let after = engine.control().live_position(nth(0).0).unwrap();
            late.push((player, before..after));
        }
        for (player, live) in &late {
            plays(player);
            let (joined, _) = range(player);
            let [near, far] = [live.start, live.end].map(|live| (live as f64 - joined as f64) / RATE as f64);
            assert!(
                near <= most && far >= least,
                "JOIN_BEHIND_S={join_behind_s}: joined {near:.2} to {far:.2} s behind"
            );
        }
        plays(&first);
        for player in late.iter().map(|(player, _)| player).chain([&first]) {
            player.stop();
            let report = player.report();
            assert_eq!(report.faults_or_losses(), Vec::<String>::new());
            assert_eq!((report.start.pat, report.start.pmt), (Some(0), Some(1)), "{:?}", report.start);
            assert_eq!(report.start.random_access, Some(2), "{:?}", report.start);
        }
    }
}
