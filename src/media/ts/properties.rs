//! Properties that hold for any bytes and any split of them.

use proptest::prelude::*;

use super::{
    align::Aligner,
    clock::{Pcr, Timeline},
    packet::{PACKET, Packet, SYNC, packets},
    scanner::{Event, Scanner},
    stitch,
    testing::{Parts, seconds},
};

/// Reads a body cut at these lengths (repeated as needed) and gives the packets that come out.
fn align(body: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut aligner, mut rest, mut out) = (Aligner::default(), Vec::new(), Vec::new());
    let (mut start, mut cuts) = (0, cuts.iter().cycle());
    while start < body.len() {
        let end = body.len().min(start + cuts.next().copied().unwrap_or(body.len()));
        rest.extend_from_slice(&body[start..end]);
        start = end;
        loop {
            let found = aligner.push(&rest);
            assert!(found.skipped == found.packets.start && found.packets.end == found.consumed);
            assert_eq!(found.packets.len() % PACKET, 0);
            out.extend_from_slice(&rest[found.packets]);
            rest.drain(..found.consumed);
            if found.consumed == 0 {
                break;
            }
        }
        assert!(rest.len() <= 2 * PACKET, "what is kept is bounded");
    }
    let found = aligner.finish(&rest);
    out.extend_from_slice(&rest[found.packets]);
    out
}

/// A good stream with pieces cut out of it and garbage put into it.
fn damaged_stream() -> impl Strategy<Value = Vec<u8>> {
    let damage = (0..PACKET * 400, 0..400_usize, proptest::collection::vec(any::<u8>(), 0..300));
    proptest::collection::vec(damage, 0..6).prop_map(|damages| {
        let mut bytes = seconds(1, 0);
        for (at, removed, inserted) in damages {
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, inserted);
        }
        bytes
    })
}

/// Bytes in which sync bytes are common.
fn syncish() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![3 => Just(SYNC), 1 => any::<u8>()], 0..3000)
}

fn events(scanner: &mut Scanner, bytes: &[u8], packets_at_once: usize) -> Vec<String> {
    let mut found = Vec::new();
    for (index, chunk) in bytes.chunks(packets_at_once * PACKET).enumerate() {
        let offset = (index * packets_at_once * PACKET) as u64;
        scanner.scan(offset, chunk, &mut |event| found.push(format!("{event:?}")));
    }
    found
}

proptest! {
    #[test]
    fn alignment_does_not_depend_on_where_reads_end(
        body in prop_oneof![damaged_stream(), syncish()],
        cuts in proptest::collection::vec(1..2000_usize, 1..20),
    ) {
        prop_assert_eq!(align(&body, &cuts), align(&body, &[]));
    }

    /// What comes out is 188 consecutive bytes of what went in, in order, each followed by a sync byte or the end.
    #[test]
    fn alignment_never_invents_a_packet(
        body in damaged_stream(),
        cuts in proptest::collection::vec(1..2000_usize, 1..20),
    ) {
        let out = align(&body, &cuts);
        let mut from = 0;
        for packet in packets(&out) {
            let found = body[from..].windows(PACKET).position(|window| window == packet.bytes());
            prop_assert!(found.is_some(), "a packet that was not sent");
            from += found.unwrap_or(0) + PACKET;
            prop_assert!(body.get(from).is_none_or(|_| packet.in_sync()));
        }
    }

    #[test]
    fn a_good_stream_is_found_behind_any_garbage(
        garbage in proptest::collection::vec(any::<u8>().prop_filter("no sync", |byte| *byte != SYNC), 0..3000),
        cut in 1..1000_usize,
    ) {
        let stream = seconds(1, 0);
        prop_assert_eq!(align(&[&garbage, &stream[..]].concat(), &[cut]), stream);
    }

    #[test]
    fn packets_are_built_and_read_alike(
        pid in 0..0x2000_u16, continuity in 0..16_u8, start: bool, discontinuity: bool, random_access: bool,
        pcr in proptest::option::of((0..1_u64 << 33, 0..300_u16)),
        payload in proptest::collection::vec(any::<u8>(), 1..170),
    ) {
        let pcr = pcr.map(|(base, extension)| Pcr::new(base, extension));
        let bytes = Parts { pid, continuity, start, discontinuity, random_access, pcr, payload: &payload }.build();
        let packet = Packet::new(&bytes);
        prop_assert_eq!((packet.pid(), packet.continuity(), packet.payload_unit_start()), (pid, continuity, start));
        prop_assert_eq!((packet.discontinuity(), packet.random_access()), (discontinuity, random_access));
        prop_assert_eq!((packet.pcr(), packet.payload()), (pcr, &payload[..]));
    }

    /// Any bytes: no panic, and the same events however they are cut into calls.
    #[test]
    fn scanning_does_not_depend_on_how_packets_are_grouped(
        mut bytes in prop_oneof![
            damaged_stream(),
            proptest::collection::vec(any::<u8>(), 0..20 * PACKET),
            proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(0x47), any::<u8>()], 0..20 * PACKET),
        ],
        at_once in 1..50_usize,
        misalign in 0..3_usize,
    ) {
        bytes.drain(..misalign.min(bytes.len()));
        bytes.truncate(bytes.len() / PACKET * PACKET);
        for packet in bytes.chunks_mut(PACKET) {
            packet[0] = SYNC;
        }
        let mut whole = Scanner::new();
        let mut parts = Scanner::new();
        prop_assert_eq!(events(&mut whole, &bytes, usize::MAX / PACKET), events(&mut parts, &bytes, at_once));
        prop_assert_eq!(whole.counters(), parts.counters());
    }

    /// Whatever is lost, a join at any point found begins with tables and the point, and its counters follow on.
    #[test]
    fn every_point_of_a_damaged_stream_can_be_joined(body in damaged_stream()) {
        let aligned = align(&body, &[1500]);
        let mut points = Vec::new();
        Scanner::new().scan(0, &aligned, &mut |event| {
            if let Event::RandomAccess(rap) = event {
                points.push(rap);
            }
        });
        for rap in points {
            let ahead = rap.continuity.looking_ahead(&aligned[rap.offset as usize..]);
            let prefix = stitch::skip_prefix(&rap.tables, &ahead);
            let mut receiver = Scanner::new();
            receiver.scan(0, &prefix, &mut |_| ());
            let first = &aligned[rap.offset as usize..][..PACKET];
            let mut early = Vec::new();
            receiver.scan(prefix.len() as u64, first, &mut |event| early.push(event));
            prop_assert_eq!(receiver.counters().continuity_errors, 0);
            prop_assert!(receiver.current_tables().is_some_and(|tables| **tables == *rap.tables));
        }
    }

    #[test]
    fn media_time_never_falls_with_offset(
        steps in proptest::collection::vec((1..100_000_u64, any::<u32>(), 0..20_u8), 1..400),
        probes in proptest::collection::vec(0..40_000_000_u64, 2..50),
    ) {
        let mut timeline = Timeline::default();
        let (mut offset, mut ticks, mut newest) = (0, 0_u64, None);
        for (bytes, leap, kind) in steps {
            offset += bytes;
            // Mostly steady, sometimes anywhere, sometimes announced.
            ticks = if kind == 0 { u64::from(leap) * 300 } else { ticks + u64::from(leap % 3_000_000) };
            if kind == 1 {
                timeline.cut();
            }
            timeline.push(offset, Pcr::new(ticks / 300 % (1 << 33), 0));
            prop_assert!(timeline.newest() >= newest);
            newest = timeline.newest();
        }
        let mut probes = probes;
        probes.sort_unstable();
        let times: Vec<_> = probes.iter().map(|probe| timeline.media_time_at(*probe)).collect();
        prop_assert!(times.is_sorted(), "{times:?}");
    }
}
