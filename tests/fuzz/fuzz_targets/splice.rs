//! One source carrying on for another: the needle is found exactly where a naive search finds it; whatever the second
//! source is, the stream stays one of whole packets, grows only, and an exact splice adds no packet that the second
//! source does not have; a second source that is the first one, reaching back, gives the broadcast as it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::media::ts::{Needle, PACKET, Packet, Search, packet::packets, stitch};
use sluice::session::Feed;
use sluice::window::{Budget, SESSION_BYTES_MIN, Window};
use sluice_contract::snapshot::SpliceKind;
use std::time::{Duration, Instant};

const PMT_PID: u16 = 0x100;
const VIDEO_PID: u16 = 0x101;

// Input: where the first source stops, how far the second reaches back, packets per read, milliseconds per read, then a
// letter for every packet of the broadcast; letters above 0xef change the second source alone.
fuzz_target!(|input: &[u8]| {
    let [stop, back, read, pace, letters @ ..] = input else { return };
    let letters: Vec<u8> = letters.iter().copied().cycle().take(letters.len().min(1) * 1500).collect();
    let broadcast = build(&letters, false);
    let other = build(&letters, true);
    let total = broadcast.len() / PACKET;
    let stop = (usize::from(*stop) * 6).min(total);
    let from = stop.saturating_sub(usize::from(*back) * 2);
    let (first, second) = (&broadcast[..stop * PACKET], &other[(from * PACKET).min(other.len())..]);
    let unique = search(first, &broadcast);
    search(first, second);
    let exact = join(first, second, usize::from(*read) + 1, u64::from(*pace));
    let is_same = broadcast == other && unique.is_some_and(|length| stop - from >= length);
    if is_same && let Some(content) = exact {
        assert!(content == broadcast, "stopped at {stop}, went on at {from}");
    }
});

/// Looks for the end of one stream in another. Tells how many packets a source has to reach back, if the end has a needle
/// that is in the other stream once.
fn search(first: &[u8], second: &[u8]) -> Option<usize> {
    let needle = Needle::at_end(first, Some(PMT_PID))?;
    let mut search = Search::new(needle.clone());
    let found: Vec<usize> =
        (0..).zip(packets(second)).filter(|(_, packet)| search.push(*packet)).map(|(at, _)| at).collect();
    let media: Vec<(usize, &[u8; PACKET])> = (0..)
        .zip(packets(second))
        .filter(|(_, packet)| needle.takes(*packet))
        .map(|(at, packet)| (at, packet.bytes()))
        .collect();
    let length = needle.packets().len();
    let naively: Vec<usize> = media
        .windows(length)
        .filter(|there| there.iter().zip(needle.packets()).all(|((_, there), packet)| *there == packet))
        .map(|there| there[length - 1].0)
        .collect();
    assert_eq!(found, naively);
    let reach = packets(first).rev().scan(0, |seen, packet| {
        *seen += usize::from(needle.takes(packet));
        Some(*seen)
    });
    (found.len() == 1).then(|| reach.take_while(|seen| *seen < length).count() + 1)
}

/// What becomes of the stream, if it was joined exactly.
fn join(first: &[u8], second: &[u8], read: usize, pace: u64) -> Option<Vec<u8>> {
    let budget = Budget::new(SESSION_BYTES_MIN);
    let mut feed = Feed::new(Window::new(budget.reserve(SESSION_BYTES_MIN)?).expect("a window"));
    let mut now = Instant::now();
    feed.take(now, first).expect("there is memory");
    feed.source_changed(now);
    let mut splice = None;
    for bytes in second.chunks(read * PACKET) {
        let before = feed.window().head();
        let taken = feed.take(now, bytes).expect("there is memory");
        assert!(feed.window().head() >= before);
        if let Some(new) = taken.splice {
            assert!(splice.replace(new).is_none(), "joined twice");
        }
        now += Duration::from_millis(pace);
    }
    let mut content = vec![0; feed.window().head() as usize];
    feed.window().read(0, &mut content).expect("it is all there");
    assert!(content.len().is_multiple_of(PACKET) && packets(&content).all(Packet::in_sync));
    assert!(content.starts_with(first), "what was delivered changed");
    let is_exact = splice.is_some_and(|splice| splice.kind == SpliceKind::Exact);
    let announced = |packet: &Packet<'_>| packet.discontinuity() && !packet.has_payload();
    if is_exact {
        let added: Vec<Packet<'_>> =
            packets(&content[first.len()..]).filter(|packet| !announced(packet)).collect();
        let source: Vec<Packet<'_>> = packets(second).filter(|packet| !announced(packet)).collect();
        assert!(source.ends_with(&added), "an exact splice made something up");
    }
    is_exact.then_some(content)
}

/// Packets as the letters say, with a clock and counters that go on.
fn build(letters: &[u8], is_second: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(letters.len() * PACKET);
    let (mut clock, mut continuity) = (0u64, 0u8);
    for letter in letters {
        let mut packet = stitch::null_packet();
        match letter & 7 {
            0 => {}
            1 => packet[1..4].copy_from_slice(&[(PMT_PID >> 8) as u8, PMT_PID as u8, 0x10]),
            // A picture with its clock; one letter lets the clock stand, another sends it back.
            2 | 3 => {
                clock = if *letter == 0x82 { 0 } else { clock + u64::from(*letter != 0x42) * 1_080_000 };
                let base = clock / 300;
                packet[1..4].copy_from_slice(&[
                    0x40 | (VIDEO_PID >> 8) as u8,
                    VIDEO_PID as u8,
                    0x30 | continuity,
                ]);
                packet[4..6].copy_from_slice(&[7, 0x10]);
                packet[6..10].copy_from_slice(&((base >> 1) as u32).to_be_bytes());
                packet[10..12].copy_from_slice(&[(base as u8 & 1) << 7 | 0x7e, 0]);
                packet[12..26].copy_from_slice(&[0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1, 0, 1]);
            }
            _ => packet[1..4].copy_from_slice(&[(VIDEO_PID >> 8) as u8, VIDEO_PID as u8, 0x10 | continuity]),
        }
        continuity = (continuity + u8::from(letter & 7 > 1)) & 0x0f;
        packet[PACKET - 1] = *letter;
        if is_second && *letter > 0xef {
            packet[PACKET - 2] = 0;
        }
        bytes.extend_from_slice(&packet);
    }
    bytes
}
