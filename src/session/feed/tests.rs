//! What a feed makes of its sources: one stream that players can follow, whatever the engines do.

use super::replacement::{SEEK_TIME_MAX, SEEK_TIME_UNRELATED, STAGED_BYTES_MAX};
use super::*;
use crate::media::ts::testing::{AUDIO_PID, PMT_PID, Parts, VIDEO_PID, Writer, seconds};
use crate::window::{Behind, Budget};

const MIB: u64 = 1 << 20;
pub(super) const SECOND: u64 = 27_000_000;

pub(super) fn feed() -> Feed {
    let bytes = 256 * MIB;
    Feed::new(Window::new(Budget::new(bytes).reserve(bytes).unwrap()).unwrap())
}

/// Gives media in pieces as reads bring it.
pub(super) fn give(feed: &mut Feed, now: Instant, media: &[u8]) {
    for packets in media.chunks(100 * PACKET) {
        assert!(feed.take(now, packets).unwrap().is_media);
    }
}

/// All that is in the window.
pub(super) fn content(feed: &Feed) -> Vec<u8> {
    let mut bytes = vec![0; feed.window.head() as usize];
    feed.window.read(0, &mut bytes).unwrap();
    bytes
}

/// Continuity errors a player counts that takes flagged discontinuities for granted, and the packet ids flagged.
pub(super) fn seen_by_player(bytes: &[u8]) -> (u64, Vec<u16>) {
    let mut scanner = Scanner::new();
    scanner.scan(0, bytes, &mut |_| ());
    let flagged =
        bytes.as_chunks::<PACKET>().0.iter().map(Packet::new).filter(|packet| packet.discontinuity());
    (scanner.counters().continuity_errors, flagged.map(|packet| packet.pid()).collect())
}

pub(super) fn pcr(ticks: u64) -> Option<Pcr> {
    Some(Pcr::new(ticks % Pcr::MODULUS / 300, (ticks % 300) as u16))
}

/// 25 pictures a second of so many packets; a key picture each second only if asked for.
fn video(count: u64, packets: u64, first_pcr: u64, has_keys: bool) -> Vec<u8> {
    let mut writer = Writer::new();
    for picture in 0..count * 25 {
        if picture % 25 == 0 {
            writer.tables();
        }
        writer.picture(has_keys && picture % 25 == 0, pcr(first_pcr + picture * SECOND / 25));
        for _ in 1..packets {
            writer.filler();
        }
    }
    writer.bytes
}

/// Guards: media of the first source is kept as it came, and can be joined from its first random access point on.
#[test]
fn a_first_source_is_kept_as_it_is_and_joinable_at_its_first_access_point() {
    let (now, mut feed) = (Instant::now(), feed());
    feed.source_changed(now);
    let media = seconds(3, 0);
    let until_key = 2 * PACKET;
    feed.take(now, &media[..until_key]).unwrap();
    assert!(!feed.is_joinable(now), "tables alone are no picture");
    give(&mut feed, now, &media[until_key..]);
    assert!(feed.is_joinable(now));
    assert_eq!(content(&feed), media);
    let join =
        feed.window.access().join(Behind::Media(Duration::from_secs(100)), feed.window.head()).unwrap();
    assert_eq!(join.offset, until_key as u64);
    assert_eq!(feed.window.access().len(), 3);
    assert_eq!((feed.counts(), feed.formats()), (Counts::default(), vec!["h264", "aac"]));
    let rate = feed.rate().unwrap() as i64;
    assert!((rate - media.len() as i64 / 3).abs() < 2_000, "{rate}");
}

/// Guards: a stream in which nobody can find an access point is played all the same: without tables after a while or so
/// many bytes, with tables only after a longer while, however much has come, because a picture to begin with is due.
#[test]
fn a_stream_without_access_points_is_joinable_in_the_end() {
    let (now, mut bare, mut tabled) = (Instant::now(), feed(), feed());
    assert!(!bare.is_joinable(now + Duration::from_secs(60)), "an empty window was joinable");
    let without_tables = |packets| video(1, packets, 0, false).split_off(2 * PACKET);
    give(&mut bare, now, &without_tables(20));
    assert!(!bare.is_joinable(now + BLIND_AFTER - Duration::from_millis(1)));
    assert!(bare.is_joinable(now + BLIND_AFTER));
    give(&mut tabled, now, &video(1, 20, 0, false));
    while bare.window.head() < BLIND_BYTES {
        assert!(!bare.is_joinable(now));
        give(&mut bare, now, &without_tables(200));
        give(&mut tabled, now, &video(1, 200, 0, false));
    }
    assert!(bare.is_joinable(now));
    assert!(tabled.window.head() >= BLIND_BYTES);
    assert!(!tabled.is_joinable(now + BLIND_WITH_TABLES_AFTER - Duration::from_millis(1)));
    assert!(tabled.is_joinable(now + BLIND_WITH_TABLES_AFTER));
}

/// Guards: null packets are no sign of life of an engine.
#[test]
fn null_packets_are_not_media() {
    let (now, mut feed) = (Instant::now(), feed());
    let nulls = [stitch::null_packet(), stitch::null_packet()].concat();
    assert!(!feed.take(now, &nulls).unwrap().is_media);
    assert!(feed.take(now, &[&nulls[..], &seconds(1, 0)].concat()).unwrap().is_media);
}

/// Guards the memory rule: half a minute is kept; an engine's burst moves that out as far as the hindmost client needs,
/// never further than the burst reaches, and no longer than it lasts; pressure takes it all back.
#[test]
fn retention_grows_with_a_burst_only_as_far_as_a_client_needs() {
    let (now, mut feed) = (Instant::now(), feed());
    give(&mut feed, now, &video(60, 100, 0, true));
    let rate = feed.rate().unwrap();
    let resident = |needed, after, pressed| {
        feed.retention(now + Duration::from_secs(after), needed, pressed).resident_bytes()
    };
    let base = resident(0, 0, false);
    assert!((30 * rate..30 * rate + 10 * MIB).contains(&base), "{base} at {rate} bytes/s");
    assert_eq!(resident(20 * rate, 0, false), base, "a client within half a minute needs no more");
    let needed = 45 * rate;
    assert_eq!(resident(needed, 0, false), base + needed + MIB - 30 * rate);
    let most = resident(u64::MAX, 0, false);
    assert!(most.abs_diff(base + 65 * rate) < 2 * rate, "{most}, base {base}, rate {rate}");
    assert!(resident(u64::MAX, 30, false) < most - 25 * rate, "the burst did not shrink with time");
    assert_eq!(resident(u64::MAX, 61, false), base, "the burst never ended");
    assert!(resident(needed, 0, true) < base - 10 * rate, "pressure was not felt");
}

/// Guards: a replacement is passed over until a random access point beyond what was delivered; there it goes on, behind
/// tables and one flagged discontinuity for every packet id, counted once, without a continuity error.
#[test]
fn a_replacement_joins_at_the_first_access_point_that_is_new() {
    let (now, mut feed) = (Instant::now(), feed());
    let first = seconds(4, 0);
    give(&mut feed, now, &first);
    feed.source_changed(now);
    // It reaches back two seconds: the access points at 2 s and 3 s were delivered already.
    give(&mut feed, now, &seconds(4, 2 * SECOND));
    let content = content(&feed);
    assert_eq!(content[..first.len()], first, "what was delivered changed");
    let (errors, mut flagged) = seen_by_player(&content);
    flagged.sort_unstable();
    assert_eq!((errors, flagged), (0, vec![0, PMT_PID, VIDEO_PID, AUDIO_PID]));
    let counts = feed.counts();
    assert_eq!((counts.continuity_errors, counts.discontinuities), (0, 1));
    let (second, tables) = (seconds(1, 0).len() as u64, 2 * PACKET as u64);
    assert_eq!(counts.discarded_bytes, 2 * second + tables, "it joined somewhere else");
    assert!(content.ends_with(&seconds(4, 2 * SECOND)[counts.discarded_bytes as usize..]));
    assert_eq!(feed.window.access().len(), 4 + 2);
    let behind = feed.window.access().span();
    assert!((5_500..6_500).contains(&behind.as_millis()), "media time does not go on: {behind:?}");
}

/// The first packet of an access unit that no other is like.
fn unit(number: u64) -> [u8; PACKET] {
    let mut packet = [0; PACKET];
    let [high, low] = VIDEO_PID.to_be_bytes();
    packet[..4].copy_from_slice(&[0x47, 0x40 | high, low, 0x10]);
    packet[4..12].copy_from_slice(&number.to_be_bytes());
    packet
}

/// Guards: another broadcast is no replacement. Though its clock shows what was delivered, nothing of it is taken for that: it
/// goes on at its first access point, flagged, and what repeated in the one before says nothing of it.
#[test]
fn another_broadcast_goes_on_at_its_first_access_point() {
    let (now, mut feed) = (Instant::now(), feed());
    let first = seconds(4, 0);
    give(&mut feed, now, &first);
    feed.follower_changed(now);
    feed.source_changed(now);
    let repeated: Vec<u8> = (0..2_000_u64).flat_map(unit).collect();
    (0..2).for_each(|_| feed.echo.look(now, Some(VIDEO_PID), &repeated));
    assert!(feed.repeats_since().is_some());
    feed.broadcast_changed();
    assert!(
        feed.follower.is_none() && feed.replacement.is_none(),
        "sources of the one before are still looked at"
    );
    assert_eq!(feed.repeats_since(), None);
    feed.source_changed(now);
    // It begins in the middle of what was delivered.
    let other = seconds(4, 2 * SECOND);
    give(&mut feed, now, &other);
    let counts = feed.counts();
    assert_eq!(counts.splices, Splices { random_access: 1, ..Splices::default() });
    let content = content(&feed);
    assert!(content.ends_with(&other[counts.discarded_bytes as usize..]));
    assert!(
        counts.discarded_bytes <= 2 * PACKET as u64,
        "{} bytes of it are missing",
        counts.discarded_bytes
    );
    assert_eq!((content[..first.len()] == first, seen_by_player(&content).0), (true, 0));
    // The source that follows that one is looked for in it again.
    feed.source_changed(now);
    give(&mut feed, now, &seconds(4, 4 * SECOND));
    assert_eq!(
        feed.counts().splices.random_access,
        1,
        "its own next source was taken for yet another broadcast"
    );
}

/// Guards: where the program clock wraps is not a way back.
#[test]
fn a_replacement_behind_the_wrap_of_the_clock_is_new() {
    let (now, mut feed) = (Instant::now(), feed());
    give(&mut feed, now, &seconds(3, Pcr::MODULUS - 3 * SECOND));
    feed.source_changed(now);
    give(&mut feed, now, &seconds(1, Pcr::MODULUS - 2 * SECOND));
    assert_eq!(feed.counts().discontinuities, 0, "it joined in the past");
    give(&mut feed, now, &seconds(2, 0));
    assert_eq!(feed.counts().discontinuities, 1);
    assert_eq!(seen_by_player(&content(&feed)).0, 0);
}

/// Guards: a source with another clock is searched for our place while its burst may bring it; then it is joined where a
/// picture begins.
#[test]
fn a_replacement_with_another_clock_joins_at_an_access_point() {
    let (now, mut feed) = (Instant::now(), feed());
    give(&mut feed, now, &seconds(3, 1_000 * SECOND));
    let before = feed.window.head();
    feed.source_changed(now);
    let other = seconds(3, 100 * SECOND);
    let (burst, later) = other.split_at(1000 * PACKET);
    let (first, burst) = burst.split_at(PACKET);
    give(&mut feed, now, first);
    give(&mut feed, now + SEEK_TIME_UNRELATED - Duration::from_millis(1), burst);
    assert_eq!(feed.window.head(), before, "it was taken too early");
    give(&mut feed, now + SEEK_TIME_UNRELATED, later);
    let counts = feed.counts();
    assert_eq!((counts.discontinuities, counts.discarded_bytes), (1, 2 * PACKET as u64));
    assert_eq!(counts.splices, Splices { random_access: 1, ..Splices::default() });
    assert_eq!(seen_by_player(&content(&feed)).0, 0);
}

/// Guards: a source that never gets beyond our past is taken after a while, because a picture seen twice beats none.
#[test]
fn a_replacement_that_stays_in_the_past_is_taken_in_the_end() {
    let (now, mut feed) = (Instant::now(), feed());
    give(&mut feed, now, &seconds(20, 0));
    let before = feed.window.head();
    feed.source_changed(now);
    give(&mut feed, now, &seconds(2, 2 * SECOND));
    give(&mut feed, now + SEEK_TIME_MAX - Duration::from_millis(1), &seconds(2, 4 * SECOND));
    assert_eq!(feed.window.head(), before, "it was taken too early");
    give(&mut feed, now + SEEK_TIME_MAX, &seconds(2, 6 * SECOND));
    assert!(feed.window.head() > before);
    assert_eq!(feed.counts().discontinuities, 1);
    assert_eq!(seen_by_player(&content(&feed)).0, 0);
}

/// Guards: a source that shows no access point, with tables or without, is taken in the end as well, every packet id
/// announced where it appears.
#[test]
fn a_replacement_without_access_points_is_taken_in_the_end() {
    let blind = video(2, 20, 50 * SECOND, false);
    let untabled: Vec<u8> = {
        let of_media = |packet: &&[u8; PACKET]| Packet::new(packet).pid() == VIDEO_PID;
        blind.as_chunks::<PACKET>().0.iter().filter(of_media).flatten().copied().collect()
    };
    for (name, media) in [("tables", blind), ("none", untabled)] {
        let (now, mut feed) = (Instant::now(), feed());
        give(&mut feed, now, &video(3, 20, 0, true));
        let before = feed.window.head();
        feed.source_changed(now);
        give(&mut feed, now, &media);
        assert_eq!(feed.window.head(), before, "{name}: taken too early");
        // The counters go on where they were, as an engine's would.
        give(&mut feed, now + SEEK_TIME_MAX, &media[..20 * PACKET]);
        assert!(feed.window.head() > before, "{name}: never taken");
        assert_eq!(feed.counts().discontinuities, 1, "{name}");
        assert!(seen_by_player(&content(&feed)).1.contains(&VIDEO_PID), "{name}: not announced");
    }
}

/// Guards: a replacement that is replaced before it joined leaves nothing behind but its count.
#[test]
fn a_replacement_can_be_replaced_before_it_joined() {
    let (now, mut feed) = (Instant::now(), feed());
    give(&mut feed, now, &seconds(5, 0));
    let before = feed.window.head();
    feed.source_changed(now);
    let past = seconds(2, SECOND);
    give(&mut feed, now, &past);
    assert_eq!(feed.window.head(), before);
    feed.source_changed(now);
    give(&mut feed, now, &seconds(2, 60 * SECOND));
    let counts = feed.counts();
    assert_eq!((counts.discontinuities, counts.continuity_errors), (1, 0));
    assert_eq!(counts.discarded_bytes, past.len() as u64 + 2 * PACKET as u64);
    assert_eq!(seen_by_player(&content(&feed)).0, 0);
}

/// Guards: a packet id that the new source brings late is announced when it appears, also if yet another source came in
/// between that never brought it.
#[test]
fn a_packet_id_that_comes_late_is_announced_when_it_comes() {
    for between in [0, 1] {
        let (now, mut feed) = (Instant::now(), feed());
        give(&mut feed, now, &seconds(3, 0));
        for source in 0..=between {
            feed.source_changed(now);
            let media = video(2, 20, (100 + 100 * source) * SECOND, true);
            let (first, rest) = media.split_at(PACKET);
            give(&mut feed, now, first);
            give(&mut feed, now + SEEK_TIME_UNRELATED, rest);
        }
        let mut writer = Writer::new();
        *writer.next(AUDIO_PID) = 7;
        writer.audio();
        feed.take(now, &writer.bytes).unwrap();
        let (errors, flagged) = seen_by_player(&content(&feed));
        assert_eq!(errors, 0, "{between} sources in between");
        assert_eq!(
            flagged.iter().filter(|pid| **pid == AUDIO_PID).count(),
            1,
            "{between} sources in between"
        );
        assert_eq!(feed.counts().discontinuities, 1 + between, "{between} sources in between");
    }
}

/// Guards: what the sources themselves lose and flag is counted, and not mistaken for ours.
#[test]
fn faults_of_a_source_are_counted() {
    let (now, mut feed) = (Instant::now(), feed());
    let mut media = seconds(2, 0);
    media.drain(10 * PACKET..15 * PACKET);
    give(&mut feed, now, &media);
    assert_eq!(feed.counts().continuity_errors, 1);
    let flagged = Parts { pid: VIDEO_PID, continuity: 3, discontinuity: true, ..Parts::default() }.build();
    feed.take(now, &flagged).unwrap();
    assert_eq!(feed.counts().discontinuities, 1);
}

/// Guards: a replacement that is passed over costs a bounded amount of memory.
#[test]
fn staged_media_is_bounded() {
    let (now, mut feed) = (Instant::now(), feed());
    give(&mut feed, now, &seconds(30, 0));
    feed.source_changed(now);
    let read = 256 << 10;
    for _ in 0..20 {
        for packets in video(1, 100, SECOND, true).chunks(read - read % PACKET) {
            feed.take(now, packets).unwrap();
            let (staged, _, listed) = feed.replacement.as_ref().expect("it is in the past").memory();
            assert!(staged <= STAGED_BYTES_MAX && listed <= STAGED_BYTES_MAX / PACKET, "{staged} {listed}");
        }
    }
    let staged = feed.replacement.as_ref().unwrap();
    assert!(staged.passed() > 7 * MIB && staged.memory().1 <= 2 * (STAGED_BYTES_MAX + read));
}
