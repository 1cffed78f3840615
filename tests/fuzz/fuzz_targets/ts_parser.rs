//! Transport streams: no bytes make aligner or scanner panic, packets do not depend on where reads end, memory stays
//! bounded, and whatever random access point is reported can be joined: tables first, then counters that follow on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::media::ts::{Aligner, Event, PACKET, Rap, Scanner, Verdict, packet::packets, stitch};

// Input: bytes per read less one, packets before the source changes, then the body.
fuzz_target!(|input: &[u8]| {
    let [step, change, body @ ..] = input else { return };
    let aligned = align(body, usize::from(*step) + 1);
    assert_eq!(align(body, body.len().max(1)), aligned);
    join_everywhere(&scan(&aligned, None), &aligned);
    scan(&aligned, Some(usize::from(*change) * PACKET));
    // Most mutations break the stride; without it the packets behind would never be reached.
    let mut restored = body[..body.len() / PACKET * PACKET].to_vec();
    restored.iter_mut().step_by(PACKET).for_each(|byte| *byte = 0x47);
    join_everywhere(&scan(&restored, None), &restored);
});

fn align(body: &[u8], step: usize) -> Vec<u8> {
    let (mut aligner, mut rest, mut out) = (Aligner::default(), Vec::new(), Vec::new());
    for read in body.chunks(step) {
        rest.extend_from_slice(read);
        loop {
            let found = aligner.push(&rest);
            out.extend_from_slice(&rest[found.packets]);
            rest.drain(..found.consumed);
            if found.consumed == 0 {
                break;
            }
        }
        assert!(rest.len() <= 2 * PACKET);
    }
    let found = aligner.finish(&rest);
    out.extend_from_slice(&rest[found.packets]);
    assert!(out.len() as u64 + aligner.skipped_bytes() <= body.len() as u64);
    match aligner.verdict() {
        Verdict::Ts => assert!(packets(&out).all(|packet| packet.in_sync())),
        Verdict::NotTs { prefix } => assert!(out.is_empty() && body.starts_with(prefix)),
        Verdict::Undecided => panic!("the body has ended"),
    }
    out
}

/// The points of a stream whose source changes at this offset.
fn scan(stream: &[u8], change: Option<usize>) -> Vec<Rap> {
    let mut scanner = Scanner::new();
    let mut points: Vec<Rap> = Vec::new();
    let change = change.unwrap_or(0).min(stream.len());
    let mut note = |event| match event {
        Event::RandomAccess(rap) => points.push(rap),
        Event::Tables { .. } | Event::Pcr { .. } | Event::ContinuityError { .. } => {}
        Event::SourceDiscontinuity { .. } => {}
    };
    scanner.scan(0, &stream[..change], &mut note);
    scanner.source_changed();
    scanner.scan(change as u64, &stream[change..], &mut note);
    let counters = scanner.counters();
    assert_eq!(counters.packets, (stream.len() / PACKET) as u64);
    assert_eq!(counters.random_access_points, points.len() as u64);
    assert!(points.is_sorted_by_key(|rap| rap.offset) && points.is_sorted_by_key(|rap| rap.media_time));
    points
}

fn join_everywhere(points: &[Rap], stream: &[u8]) {
    for rap in points.iter().take(8) {
        let rest = &stream[rap.offset as usize..];
        let joined = stitch::join_prefix(&rap.tables, &rap.continuity);
        let skipped = stitch::skip_prefix(&rap.tables, &rap.continuity.looking_ahead(rest));
        for prefix in [joined, skipped] {
            let mut receiver = Scanner::new();
            receiver.scan(0, &prefix, &mut |_| ());
            receiver.scan(prefix.len() as u64, &rest[..PACKET], &mut |_| ());
            assert_eq!(receiver.counters().continuity_errors, 0, "joined at {}", rap.offset);
        }
    }
}
