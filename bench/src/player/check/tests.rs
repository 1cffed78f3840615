//! What the checker must find, and what it must leave alone.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::channel::{Source, SyntheticOptions};
use crate::player::testing::{Broadcast, PERIOD, SEED, bytes, flag_before, packet};

fn check(with_reference: bool, packets: &[[u8; PACKET_LEN]]) -> Report {
    let reference = with_reference.then(|| Arc::new(Broadcast) as Arc<dyn Channel>);
    let mut checker = Checker::new(Options { reference, seed: Some(SEED) });
    checker.feed(&packets.concat());
    checker.report()
}

fn packets(range: std::ops::Range<u64>) -> Vec<[u8; PACKET_LEN]> {
    range.map(packet).collect()
}

fn is_video(index: u64) -> bool {
    (2..9).contains(&(index % PERIOD))
}

/// Guards that a clean stream is clean however it is cut, starting anywhere tables stand.
#[test]
fn a_clean_stream_has_no_fault_however_it_is_cut() {
    let stream = bytes(70..1070);
    for piece in [1, 7, 187, 188, 189, 4096, stream.len()] {
        let mut checker = Checker::default();
        stream.chunks(piece).for_each(|chunk| checker.feed(chunk));
        let report = checker.report();
        assert_eq!(report.faults_or_losses(), Vec::<String>::new(), "pieces of {piece}");
        assert_eq!((report.packets, report.nulls, report.tables), (1000, 100, 200));
        assert_eq!(report.order.range, Some((72, 1068)));
        assert_eq!(report.start.random_access, Some(2));
        // Ten packets in 10 ms.
        assert_eq!(report.bit_rate, Some(188 * 8 * 1000));
    }
}

/// Guards that packets before the tables, or between tables and key frame, are named as a bad start.
#[test]
fn a_start_that_cannot_be_decoded_is_a_fault() {
    let report = check(false, &packets(75..200));
    assert!(!report.start.tables_first);
    assert_eq!(report.start.undecodable, 4);
    let mut without_key = packets(70..200);
    without_key.remove(2);
    let report = check(false, &without_key);
    assert_eq!((report.start.tables_first, report.start.undecodable), (true, 6));
    assert_eq!(report.start.random_access, Some(11));
    assert!(check(false, &packets(70..72)).faults().iter().any(|fault| fault.contains("random access")));
}

/// Guards that a skip as the appliance makes it is a loss and no fault: a flag per PID, tables whose counters precede
/// the next ones, then the random access point.
#[test]
fn a_flagged_gap_is_a_loss_and_no_fault() {
    let mut stream = packets(0..500);
    for table in [800, 801] {
        // Sent in the place of the broadcast's own ones at 800 and 801, so that those at 810 and 811 follow them.
        let prefix = packet(table);
        stream.push(flag_before(&prefix));
        stream.push(prefix);
    }
    stream.push(flag_before(&packet(802)));
    stream.extend(packets(802..1000));
    let report = check(true, &stream);
    assert_eq!(report.faults(), Vec::<String>::new());
    assert_eq!(report.order.gaps.len(), 1, "{:?}", report.order.gaps);
    assert_eq!((report.order.gaps[0].from, report.order.gaps[0].to), (498, 802));
    assert!(report.order.gaps[0].flagged);
    assert_eq!((report.order.gaps_unflagged, report.discontinuities), (0, 3));
    assert!(!report.faults_or_losses().is_empty());

    // The same without its flags is a fault in every respect.
    stream.retain(|packet| !Packet(packet).is_discontinuity());
    let report = check(true, &stream);
    assert_eq!((report.order.gaps_unflagged, report.pcr_jumps), (1, 0));
    assert!(report.continuity_errors >= 2, "{report:?}");
}

/// Guards that null packets put in while the source is silent are neither loss nor duplicate.
#[test]
fn inserted_null_packets_are_not_a_fault() {
    let mut null = packet(9);
    null[100] = 0;
    let mut stream = packets(0..55);
    stream.extend([null; 40]);
    stream.extend(packets(55..200));
    for with_reference in [false, true] {
        assert_eq!(check(with_reference, &stream).faults_or_losses(), Vec::<String>::new());
    }
}

/// Guards that a loss hidden behind inserted null packets is found when the broadcast is at hand.
#[test]
fn the_reference_finds_losses_behind_inserted_null_packets() {
    let mut null = packet(9);
    null[100] = 0;
    let mut stream = packets(0..55);
    stream.extend([null; 40]);
    stream.extend(packets(58..200));
    let report = check(true, &stream);
    assert_eq!(report.order.lost, 3);
    assert_eq!(report.order.gaps, [Gap { from: 54, to: 58, lost: 3, flagged: false }]);
}

/// Guards that a loss between two tables that equal each other byte for byte is counted to the packet: the PMT at 321 and
/// the one at 481 carry the same counter, and only one of them came.
#[test]
fn a_loss_between_equal_tables_is_counted_to_the_packet() {
    assert_eq!(packet(321), packet(481));
    let mut stream = packets(0..321);
    stream.extend(packets(479..1200));
    assert_eq!(check(true, &stream).order.lost, 158);
}

/// Guards that a table checksum, a transport error and bytes outside of packets are found.
#[test]
fn damage_outside_of_marked_packets_is_found() {
    let mut stream = packets(0..100);
    stream[10][12] ^= 1;
    stream[20][1] |= 0x80;
    let report = check(false, &stream);
    assert_eq!((report.table_crc_errors, report.transport_errors), (1, 1));
    let mut shifted = bytes(0..100);
    shifted.splice(188 * 50..188 * 50, [1, 2, 3]);
    let mut checker = Checker::default();
    checker.feed(&shifted);
    assert_eq!(checker.report().garbage_bytes, 3);
}

/// Guards that a clock step without a flag is found and that the wrap of the clock is none.
#[test]
fn clock_jumps_are_found_and_the_wrap_is_not_one() {
    let wrap = (1u64 << 33) / 900 * PERIOD;
    let mut checker = Checker::default();
    checker.feed(&bytes(wrap - 100..wrap + 100));
    assert_eq!(checker.report().pcr_jumps, 0);
    let mut stream = packets(0..100);
    stream.extend(packets(5000..5100));
    assert_eq!(check(false, &stream).pcr_jumps, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Guards that the number of lost packets is found wherever they are missing.
    #[test]
    fn injected_loss_is_counted(from in 10u64..900, len in 1u64..200, with_reference: bool) {
        prop_assume!((from..from + len).any(is_video));
        let mut stream = packets(0..from);
        stream.extend(packets(from + len..1200));
        let report = check(with_reference, &stream);
        prop_assert_eq!(report.order.lost, len);
        prop_assert_eq!(report.order.gaps_unflagged, 1);
        prop_assert_eq!((report.order.duplicated, report.order.reordered, report.corrupt), (0, 0, 0));
    }

    /// Guards that packets sent again are counted as such and not as a move or a loss.
    #[test]
    fn injected_duplicates_are_counted(from in 10u64..900, len in 1u64..100, with_reference: bool) {
        let mut stream = packets(0..from + len);
        stream.extend(packets(from..1100));
        let report = check(with_reference, &stream);
        let doubled = (from..from + len).filter(|index| is_video(*index)).count() as u64;
        prop_assert_eq!(report.order.duplicated, doubled);
        prop_assert_eq!((report.order.lost, report.order.reordered), (0, 0));
    }

    /// Guards that a moved packet is one reordering, and neither a loss nor a duplicate.
    #[test]
    fn injected_reordering_is_counted(period in 1u64..90, place in 2u64..9, by in 1u64..50, with_reference: bool) {
        let mut stream = packets(0..1500);
        let moved = stream.remove((period * PERIOD + place) as usize);
        stream.insert(((period + by) * PERIOD + 9) as usize, moved);
        let report = check(with_reference, &stream);
        prop_assert_eq!((report.order.reordered, report.order.lost, report.order.duplicated), (1, 0, 0));
    }

    /// Guards that any changed bit of a video packet is one corrupt packet and no loss.
    #[test]
    fn injected_corruption_is_counted(
        period in 2u64..90,
        place in 3u64..8,
        bit in 32usize..188 * 8,
        with_reference: bool,
    ) {
        let mut stream = packets(0..1000);
        stream[(period * PERIOD + place) as usize][bit / 8] ^= 1 << (bit % 8);
        let report = check(with_reference, &stream);
        prop_assert_eq!((report.corrupt, report.order.lost, report.order.duplicated), (1, 0, 0));
    }

    /// Guards against a panic on arbitrary bytes.
    #[test]
    fn arbitrary_bytes_never_panic(noise in prop::collection::vec(any::<u8>(), 0..2000), at in 0usize..2000) {
        let mut stream = bytes(0..20);
        let at = at.min(stream.len());
        stream.splice(at..at, noise);
        let mut checker = Checker::default();
        checker.feed(&stream);
        prop_assert_eq!(checker.report().bytes, stream.len() as u64);
    }
}

/// Guards that the checker agrees with the channels which the simulated engines broadcast, across two loop points of the
/// clip and with losses found in padded ones.
#[test]
fn simulated_channels_are_clean() {
    let padded = SyntheticOptions { null_percent: 20, ..SyntheticOptions::default() };
    let sources = [
        Source::Synthetic(SyntheticOptions::default()),
        Source::Synthetic(padded),
        Source::Clip { rate: 250_000 },
    ];
    for source in sources {
        let channel = source.build().expect("valid options");
        let is_marked = matches!(source, Source::Synthetic(_));
        let reference = is_marked.then(|| Arc::clone(&channel));
        let mut checker = Checker::new(Options { reference: reference.clone(), seed: None });
        (0..60_000).for_each(|index| checker.feed(&channel.packet(index)));
        let report = checker.report();
        assert_eq!(report.faults_or_losses(), Vec::<String>::new(), "{source:?}");
        assert!(
            report.bit_rate.is_some_and(|rate| rate.abs_diff(channel.rate() * 8) < rate / 500),
            "{report:?}"
        );
        if is_marked {
            let mut checker = Checker::new(Options { reference, seed: None });
            let kept = (0..20_000).filter(|index| !(7000..7100).contains(index));
            kept.for_each(|index| checker.feed(&channel.packet(index)));
            assert_eq!(
                (checker.report().order.lost, checker.report().order.gaps_total),
                (100, 1),
                "{source:?}"
            );
        }
    }
}
