//! Sources that carry on for each other: what players get when one stops and the next begins somewhere else.

use super::replacement::{SEEK_TIME_MAX, SEEK_TIME_UNRELATED};
use super::tests::{SECOND, content, feed, give, pcr, seen_by_player};
use super::*;
use crate::media::ts::testing::{PMT_PID, Writer, seconds};
use proptest::prelude::*;

/// A broadcast of so many seconds whose clock begins at `first_pcr`: pictures of changing length, tables five times a
/// second, null packets in between.
fn broadcast(count: u64, first_pcr: u64) -> Vec<u8> {
    let mut writer = Writer::new();
    for picture in 0..count * 25 {
        if picture % 5 == 0 {
            writer.tables();
        }
        writer.picture(picture % 25 == 0, pcr(first_pcr + picture * SECOND / 25));
        for _ in 0..picture % 11 {
            writer.filler();
        }
        writer.audio();
        for _ in 0..picture % 4 {
            writer.bytes.extend_from_slice(&stitch::null_packet());
        }
    }
    writer.bytes
}

/// Gives media in reads of so many packets.
fn give_in(feed: &mut Feed, now: Instant, media: &[u8], packets: usize) -> Vec<Splice> {
    media.chunks(packets * PACKET).filter_map(|read| feed.take(now, read).unwrap().splice).collect()
}

fn cut(stream: &[u8], packets: usize) -> (&[u8], &[u8]) {
    stream.split_at(packets * PACKET)
}

const EXACT: Splice = Splice {
    kind: SpliceKind::Exact,
    lost: Amount { time: Duration::ZERO, bytes: 0 },
    repeated: Amount { time: Duration::ZERO, bytes: 0 },
};

proptest! {
    /// Guards the promise: wherever a source stops, if the next one reaches back, however its bytes are cut into reads
    /// and wherever the clock wraps, players get the broadcast as it is, with nothing lost, repeated or added.
    #[test]
    fn a_source_that_reaches_back_goes_on_with_the_very_next_packet(
        wrap_at in 0u64..9,
        stop in 500usize..2_000,
        back in 300usize..500,
        read in prop_oneof![1usize..5, 1usize..400],
        pause in prop_oneof![0usize..20, 0usize..600],
    ) {
        let stream = broadcast(11, Pcr::MODULUS - wrap_at * SECOND);
        let (now, mut feed) = (Instant::now(), feed());
        give_in(&mut feed, now, cut(&stream, stop).0, 100);
        feed.source_changed(now);
        // The burst may end before our last packet, in its middle, or beyond; the rest comes later.
        let rest = cut(&stream, stop - back).1;
        let (burst, later) = cut(rest, pause);
        let mut splices = give_in(&mut feed, now, burst, read);
        splices.extend(give_in(&mut feed, now + SEEK_TIME_MAX - Duration::from_millis(1), later, read));
        prop_assert_eq!(splices, vec![EXACT]);
        prop_assert!(content(&feed) == stream, "stopped at {}, went on at {}", stop, stop - back);
        prop_assert_eq!(feed.counts().discontinuities, 0);
        prop_assert_eq!(feed.scanner.counters().continuity_errors, 0);
    }

    /// Guards: the time a source has for showing where it is begins with its first byte, not when it was asked.
    #[test]
    fn a_source_that_is_long_in_starting_goes_on_exactly(
        stop in 500usize..1_000,
        read in 1usize..5,
        silence in 0u64..20,
    ) {
        let stream = broadcast(6, 0);
        let (now, mut feed) = (Instant::now(), feed());
        give_in(&mut feed, now, cut(&stream, stop).0, 100);
        feed.source_changed(now);
        let rest = cut(&stream, stop - 400).1;
        prop_assert_eq!(give_in(&mut feed, now + Duration::from_secs(silence), rest, read), vec![EXACT]);
        prop_assert!(content(&feed) == stream);
    }

    /// Guards: engines that pad differently, or repeat tables elsewhere, still continue the media packet by packet, and
    /// tables whose count does not go on are announced.
    #[test]
    fn other_padding_and_tables_do_not_break_the_media(
        stop in 700usize..2_000,
        nulls in 0usize..5,
        tables in 0usize..2,
    ) {
        let stream = broadcast(10, 0);
        let is_media = |packet: &&[u8; PACKET]| Packet::new(packet).pid() > PMT_PID && !Packet::new(packet).is_null();
        let of_media = |bytes: &[u8]| -> Vec<u8> {
            bytes.as_chunks::<PACKET>().0.iter().filter(is_media).flatten().copied().collect()
        };
        let mut other = Vec::new();
        for (at, packet) in stream.as_chunks::<PACKET>().0.iter().enumerate().skip(stop - 400) {
            let pid = Packet::new(packet).pid();
            let mut packet = *packet;
            if pid == 0 || pid == PMT_PID {
                packet[3] = packet[3] & 0xf0 | (packet[3] + 5 * tables as u8) & 0x0f;
            }
            other.extend_from_slice(&packet);
            if at % 5 == 0 {
                other.extend(stitch::null_packet().repeat(nulls));
            }
        }
        let (now, mut feed) = (Instant::now(), feed());
        give_in(&mut feed, now, cut(&stream, stop).0, 100);
        feed.source_changed(now);
        prop_assert_eq!(give_in(&mut feed, now, &other, 150), vec![EXACT]);
        let content = content(&feed);
        let ours = |bytes: &[u8]| -> Vec<u8> {
            let is_own = |packet: &&[u8; PACKET]| !Packet::new(packet).discontinuity();
            bytes.as_chunks::<PACKET>().0.iter().filter(is_own).flatten().copied().collect()
        };
        prop_assert!(of_media(&ours(&content)) == of_media(&stream));
    }
}

proptest! {
    /// Guards make before break: a source that follows while another one plays, wherever it begins and however fast both
    /// are, comes level and takes over with the very next packet.
    #[test]
    fn a_source_that_follows_takes_over_with_the_very_next_packet(
        stop in 500usize..800,
        back in 0usize..450,
        reads in (20usize..60, 10usize..120),
        late in 0usize..4,
    ) {
        let stream = broadcast(30, Pcr::MODULUS - 4 * SECOND);
        let (mut now, mut feed) = (Instant::now(), feed());
        let mut first = stop;
        give_in(&mut feed, now, cut(&stream, stop).0, 100);
        feed.follower_changed(now);
        let mut second = stop - back;
        let mut ahead = 0;
        // The first goes on as well, more slowly than the second, which becomes level some reads before it is told to.
        while ahead <= late {
            now += Duration::from_millis(50);
            let read = &stream[first * PACKET..(first + reads.0) * PACKET];
            prop_assert_eq!(feed.take(now, read).unwrap(), Taken { is_media: has_media(read), splice: None });
            first += reads.0;
            let read = &stream[second * PACKET..(second + reads.1 + reads.0) * PACKET];
            ahead += usize::from(feed.follow(now, read).unwrap().is_ahead);
            second += reads.1 + reads.0;
            prop_assert!(second < stream.len() / PACKET - 1000, "it never came level");
        }
        prop_assert!(content(&feed) == cut(&stream, first).0, "it got into the stream too early");
        prop_assert_eq!(feed.promote(now).unwrap(), Some(EXACT));
        prop_assert!(content(&feed) == cut(&stream, second).0);
        give_in(&mut feed, now, cut(&stream, second).1, 100);
        prop_assert!(content(&feed) == stream);
    }

    /// Guards: a source that has to take over before it is level goes on with the very next packet all the same.
    #[test]
    fn a_source_that_is_behind_inherits_exactly(
        stop in 700usize..900,
        followed in 0usize..650,
        more in 0usize..200,
    ) {
        let stream = broadcast(20, 0);
        let (now, mut feed) = (Instant::now(), feed());
        give_in(&mut feed, now, cut(&stream, stop).0, 100);
        feed.follower_changed(now);
        let from = stop - 600;
        let followed = from + followed.min(stop - from);
        prop_assert!(!feed.follow(now, &stream[from * PACKET..followed * PACKET]).unwrap().is_ahead);
        give_in(&mut feed, now, &stream[stop * PACKET..(stop + more) * PACKET], 100);
        let promoted = feed.promote(now).unwrap();
        let splices = give_in(&mut feed, now, cut(&stream, followed).1, 100);
        let splices: Vec<Splice> = promoted.into_iter().chain(splices).collect();
        prop_assert_eq!(splices, vec![EXACT]);
        prop_assert!(content(&feed) == stream);
    }
}

/// Guards: a source that brings other bytes never counts as level, and is joined by the clock when it has to take over.
#[test]
fn a_source_of_other_bytes_follows_without_coming_level() {
    let stream = seconds(12, 0);
    let second = stream.len() / 12 / PACKET;
    let mut other = stream.clone();
    for packet in other.as_chunks_mut::<PACKET>().0 {
        if Packet::new(packet).pid() > PMT_PID {
            packet[PACKET - 1] = 0x55;
        }
    }
    let (mut now, mut feed) = (Instant::now(), feed());
    give(&mut feed, now, cut(&stream, 3 * second).0);
    feed.follower_changed(now);
    for at in 2..8 {
        now += Duration::from_secs(1);
        let read = &other[at * second * PACKET..(at + 1) * second * PACKET];
        assert!(!feed.follow(now, read).unwrap().is_ahead, "level after {at} s");
    }
    give(&mut feed, now, &stream[3 * second * PACKET..7 * second * PACKET]);
    assert_eq!(feed.promote(now).unwrap().map(|splice| splice.kind), Some(SpliceKind::Clock));
    assert_eq!(seen_by_player(&content(&feed)).0, 0);
}

/// Guards: a source that follows for ever costs a bounded amount of memory, also when it runs far ahead.
#[test]
fn following_is_bounded() {
    let stream = seconds(120, 0);
    let second = stream.len() / 120 / PACKET;
    let (mut now, mut feed) = (Instant::now(), feed());
    give(&mut feed, now, cut(&stream, 3 * second).0);
    feed.follower_changed(now);
    for read in stream.chunks(100 * PACKET) {
        now += Duration::from_millis(20);
        feed.follow(now, read).unwrap();
        let (staged, _, listed) = feed.follower.as_ref().unwrap().memory();
        assert!(staged <= 9 << 20 && listed <= (9 << 20) / PACKET, "{staged} {listed}");
    }
    give(&mut feed, now, &stream[3 * second * PACKET..]);
    assert_eq!(content(&feed), stream);
}

/// Guards: a source that begins behind our last packet loses what lies between, is joined where a picture begins, and
/// tells how much is missing.
#[test]
fn a_source_that_begins_too_late_loses_what_lies_between() {
    let stream = seconds(9, 5 * SECOND);
    let second = stream.len() / 9 / PACKET;
    let (now, mut feed) = (Instant::now(), feed());
    give(&mut feed, now, cut(&stream, 4 * second).0);
    feed.source_changed(now);
    give(&mut feed, now, cut(&stream, 6 * second).1);
    let splices = feed.counts().splices;
    assert_eq!((splices.exact, splices.clock, splices.random_access), (0, 1, 0));
    assert!(splices.lost.time.abs_diff(Duration::from_secs(2)) < Duration::from_millis(10), "{splices:?}");
    assert!(splices.lost.bytes.abs_diff(2 * (second * PACKET) as u64) < 20_000, "{splices:?}");
    assert_eq!(splices.repeated, Amount::default());
    assert_eq!((seen_by_player(&content(&feed)).0, feed.counts().discontinuities), (0, 1));
}

/// Guards: a source that brings other bytes for the same time is joined at the next picture, not only at the next one
/// that could begin a stream.
#[test]
fn a_source_of_other_bytes_goes_on_by_the_clock() {
    let stream = seconds(9, 0);
    let second = stream.len() / 9 / PACKET;
    let mut other = stream.clone();
    // A marker in the payload of every media packet.
    for packet in other.as_chunks_mut::<PACKET>().0 {
        if Packet::new(packet).pid() > PMT_PID {
            packet[PACKET - 1] = 0x55;
        }
    }
    let (now, mut feed) = (Instant::now(), feed());
    let stop = 4 * second + second / 3;
    give(&mut feed, now, cut(&stream, stop).0);
    let before = feed.window.head() as usize;
    feed.source_changed(now);
    give(&mut feed, now, cut(&other, 2 * second).1);
    let splices = feed.counts().splices;
    assert_eq!((splices.exact, splices.clock), (0, 1));
    assert!(splices.lost.time <= Duration::from_millis(40), "{splices:?}");
    let content = content(&feed);
    let (errors, flagged) = seen_by_player(&content);
    assert_eq!((errors, flagged.len()), (0, 4));
    assert!(content[before..].len() > (9 * second - stop - 30) * PACKET, "too much was lost");
}

/// Guards: the same when the last packets are not enough to be told from others.
#[test]
fn without_a_needle_the_clock_decides() {
    let stream = seconds(4, 0);
    let (now, mut feed) = (Instant::now(), feed());
    give(&mut feed, now, cut(&stream, 60).0);
    feed.source_changed(now);
    give(&mut feed, now, &stream);
    assert_eq!(feed.counts().splices.clock, 1);
    assert_eq!(seen_by_player(&content(&feed)).0, 0);
}

/// Guards: of a source that lost packets, only what came behind the gap is looked for in the next one.
#[test]
fn a_gap_in_the_old_source_does_not_hide_its_end() {
    let mut stream = broadcast(10, 0);
    let whole = stream.clone();
    stream.drain(1_500 * PACKET..1_510 * PACKET);
    let (now, mut feed) = (Instant::now(), feed());
    give_in(&mut feed, now, cut(&stream, 1_700).0, 100);
    feed.source_changed(now);
    assert_eq!(give_in(&mut feed, now, cut(&whole, 1_000).1, 100), [EXACT]);
    assert!(content(&feed).ends_with(cut(&whole, 1_510).1));
}

/// Guards: a channel that repeats itself, clock and all, is joined where it stopped if its burst shows the place once,
/// after a moment of doubt, and elsewhere, flagged, if it shows it twice, wherever the reads end.
#[test]
fn a_looped_channel_is_not_joined_at_a_place_that_comes_twice() {
    let turn = broadcast(4, 0);
    let length = turn.len() / PACKET;
    for (turns, is_exact, read) in [(1, true, 200), (2, false, 200), (2, false, 100_000)] {
        let (now, mut feed) = (Instant::now(), feed());
        // Our window has seen the loop come round.
        let stop = length + 700;
        let stream = turn.repeat(turns + 5);
        give_in(&mut feed, now, cut(&stream, stop).0, 100);
        assert!(feed.end().is_looped);
        feed.source_changed(now);
        let (burst, later) = cut(cut(&stream, stop - 300).1, turns * length - 200);
        let in_doubt = give_in(&mut feed, now, burst, read);
        assert!(!in_doubt.contains(&EXACT), "{turns} turns in reads of {read}");
        let later = give_in(&mut feed, now + SEEK_TIME_UNRELATED, later, read);
        let splices = [in_doubt, later].concat();
        assert_eq!(splices.len(), 1, "{turns} turns in reads of {read}");
        assert_eq!(splices[0] == EXACT, is_exact, "{turns} turns in reads of {read}");
        assert_eq!(stream.starts_with(&content(&feed)), is_exact, "{turns} turns in reads of {read}");
    }
}

/// Guards: splices follow each other: the second finds its place although the first lies within what it looks for.
#[test]
fn exact_splices_follow_each_other_closely() {
    let stream = broadcast(10, 0);
    let (now, mut feed) = (Instant::now(), feed());
    give_in(&mut feed, now, cut(&stream, 600).0, 100);
    for stop in [610, 640, 1_500] {
        feed.source_changed(now);
        let from = feed.window.head() as usize / PACKET - 300;
        let source = &stream[from * PACKET..stop * PACKET];
        assert_eq!(give_in(&mut feed, now, source, 50), [EXACT], "up to {stop}");
    }
    assert_eq!(content(&feed), cut(&stream, 1_500).0);
    assert_eq!(feed.counts().splices.exact, 3);
}

/// Guards: after a flagged splice, what came before it is not looked for in the next source, and a needle is found again
/// once there is enough behind it.
#[test]
fn no_needle_reaches_across_a_flagged_splice() {
    let stream = seconds(20, 0);
    let second = stream.len() / 20 / PACKET;
    let (now, mut feed) = (Instant::now(), feed());
    give(&mut feed, now, cut(&stream, 2 * second).0);
    feed.source_changed(now);
    give(&mut feed, now, &stream[5 * second * PACKET..(5 * second + 30) * PACKET]);
    assert_eq!(feed.counts().splices.clock, 1);
    assert!(feed.needle().is_none(), "too little came behind the splice");
    give(&mut feed, now, &stream[(5 * second + 30) * PACKET..8 * second * PACKET]);
    feed.source_changed(now);
    give(&mut feed, now, cut(&stream, 6 * second).1);
    assert_eq!(feed.counts().splices.exact, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Guards the promise of an upgrade: whatever is told of a feed at whatever packet, the process that goes on with it makes
    /// of the rest what this one would have made, access points, clock and counts included, and still finds its place
    /// in another source.
    #[test]
    fn another_process_goes_on_with_the_very_next_packet(
        stop in 1usize..2_000,
        rest in 1usize..1_000,
        read in 1usize..300,
    ) {
        let stream = broadcast(14, Pcr::MODULUS - 5 * SECOND);
        let now = Instant::now();
        let (mut whole, mut first) = (feed(), feed());
        let (before, after) = cut(&stream, stop);
        give_in(&mut first, now, before, read);
        let (state, file) = first.state().expect("nothing is being joined");
        let told: Told = serde_json::from_slice(&serde_json::to_vec(&state).unwrap()).unwrap();
        let budget = Budget::new(1 << 20);
        let mut second = Feed::going_on(now, file.try_clone_to_owned().unwrap(), told, &budget).unwrap();
        give_in(&mut second, now, cut(after, rest).0, read);
        give_in(&mut whole, now, cut(&stream, stop + rest).0, read);
        prop_assert!(content(&second) == cut(&stream, stop + rest).0);
        prop_assert_eq!(second.counts(), whole.counts());
        prop_assert_eq!(second.rate(), whole.rate());
        prop_assert_eq!(second.scanner.counters(), whole.scanner.counters());
        let points = |feed: &Feed| format!("{:?}", feed.window.access());
        prop_assert_eq!(points(&second), points(&whole));
        for feed in [&mut second, &mut whole] {
            feed.source_changed(now);
            give_in(feed, now, cut(&stream, (stop + rest).saturating_sub(400)).1, read);
        }
        prop_assert_eq!(second.counts(), whole.counts());
        prop_assert!(content(&second) == content(&whole));
    }
}

/// Guards: a window whose file is not what its state says is refused, and nothing is told while a source is being joined.
#[test]
fn a_window_that_does_not_fit_its_state_is_refused() {
    let (now, mut feed) = (Instant::now(), feed());
    give(&mut feed, now, &seconds(2, 0));
    let told = || -> Told {
        let (state, _) = feed.state().expect("nothing is being joined");
        serde_json::from_slice(&serde_json::to_vec(&state).unwrap()).unwrap()
    };
    let empty = || tempfile::tempfile().unwrap().into();
    assert!(Feed::going_on(now, empty(), told(), &Budget::new(0)).is_err());
    feed.source_changed(now);
    assert!(feed.state().is_none());
}
