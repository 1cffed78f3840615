//! Where and how a player enters a stream.

use crate::common::{SOON, Setup};
use crate::stage::{RATE, checked, engine, plays};
use sluice_bench::channel::nth;
use sluice_bench::player::Player;
use sluice_bench::player::check::PACKET_LEN;

/// How far behind live a player began, in bytes, given the live position when it asked.
fn behind(player: &Player, live: u64) -> i64 {
    let (first, _) = player.report().order.range.expect("it has media");
    live as i64 - (first * PACKET_LEN as u64) as i64
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
        // The engine's first burst reaches back ten seconds; all of it is in the window once it has been received.
        first.wait_decodable(SOON).unwrap();
        first.wait_bytes(RATE, SOON).unwrap();
        let mut late = Vec::new();
        for _ in 0..6 {
            first.wait_more(RATE / 7, SOON).unwrap();
            let live = engine.control().live_position(nth(0).0).unwrap();
            let player = checked(&appliance, &engine, 0).start();
            player.wait_decodable(SOON).unwrap();
            late.push((player, live));
        }
        for (player, live) in &late {
            plays(player);
            let seconds = behind(player, *live) as f64 / RATE as f64;
            assert!(
                (least..=most).contains(&seconds),
                "JOIN_BEHIND_S={join_behind_s}: joined {seconds:.2} s behind"
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
