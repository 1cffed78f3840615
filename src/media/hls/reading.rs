//! Reading somebody else's playlist: which segment comes next, and when to look again.
//!
//! The rules are RFC 8216's for clients (6.3): segments by their sequence numbers, addresses as they are written, never
//! computed; no reload earlier than there can be news. None is left out as long as it is listed; one that is not any more
//! is counted, and what comes after it is known not to continue. Pure: text and clock come from outside.

use m3u8_rs::{KeyMethod, Playlist};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Media before the end of the first list that is read at once: what players may be behind by.
const BEHIND: Duration = Duration::from_secs(30);
/// How often a segment is asked for that is listed and cannot be had.
const TRIES_MAX: u32 = 3;
/// What a list may say of a duration, and of a number: beyond it there is no sense, and sums would not fit.
const DURATION_MAX: Duration = Duration::from_secs(3_600);
const NUMBER_MAX: u64 = 1 << 62;
/// Bounds for the wait between two looks, whatever a list says of its durations.
const RELOAD_MIN: Duration = Duration::from_millis(250);
const RELOAD_MAX: Duration = Duration::from_secs(10);

/// Why a playlist cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no playlist.
    #[error("not a playlist")]
    Malformed,
    /// Its segments need a key.
    #[error("the segments of the playlist are encrypted")]
    Encrypted,
    /// Its segments are not MPEG-TS.
    #[error("the segments of the playlist are not MPEG-TS")]
    NotTs,
    /// A multivariant playlist without a variant.
    #[error("the playlist has nothing to choose from")]
    NoVariant,
    /// Its numbers went back: what is listed is another stream.
    #[error("the playlist began anew")]
    Restarted,
}

/// One segment of a list.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    uri: String,
    duration: Duration,
    is_discontinuity: bool,
}

/// What a text says.
#[derive(Clone, Debug, PartialEq)]
pub enum Parsed {
    /// Segments.
    Media(Listing),
    /// Playlists to choose from: the address of the best one.
    Variants(String),
}

/// A media playlist.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    target: Duration,
    first: u64,
    entries: Vec<Entry>,
    is_over: bool,
}

/// Reads a text.
///
/// # Errors
/// When it is none that could be played.
pub fn parse(text: &[u8]) -> Result<Parsed, Fault> {
    match m3u8_rs::parse_playlist_res(text).map_err(|_| Fault::Malformed)? {
        Playlist::MasterPlaylist(master) => {
            let playable = master.variants.into_iter().filter(|variant| !variant.is_i_frame);
            let best = playable.max_by_key(|variant| variant.bandwidth).ok_or(Fault::NoVariant)?;
            Ok(Parsed::Variants(best.uri))
        }
        Playlist::MediaPlaylist(media) => {
            if media.segments.iter().any(|segment| segment.map.is_some()) {
                return Err(Fault::NotTs);
            }
            let mut keys = media.segments.iter().filter_map(|segment| segment.key.as_ref());
            if keys.any(|key| key.method != KeyMethod::None) {
                return Err(Fault::Encrypted);
            }
            if media.media_sequence > NUMBER_MAX {
                return Err(Fault::Malformed);
            }
            let entries = media.segments.into_iter().map(|segment| Entry {
                duration: Duration::try_from_secs_f32(segment.duration).unwrap_or_default().min(DURATION_MAX),
                is_discontinuity: segment.discontinuity,
                uri: segment.uri,
            });
            Ok(Parsed::Media(Listing {
                target: Duration::from_secs(media.target_duration).min(DURATION_MAX),
                first: media.media_sequence,
                entries: entries.collect(),
                is_over: media.end_list,
            }))
        }
    }
}

/// A segment to fetch.
#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    /// Its address as it stands in the list.
    pub uri: String,
    /// Whether it goes on where the one before ended.
    pub continues: bool,
}

/// Where reading stands.
#[derive(Debug, Default)]
pub struct Reading {
    /// The number of the segment to read next, once a list has been seen.
    next: Option<u64>,
    first: u64,
    target: Duration,
    waiting: VecDeque<Entry>,
    tries: u32,
    is_broken: bool,
    is_over: bool,
    missed: u64,
    reload_at: Option<Instant>,
}

impl Reading {
    /// Takes in a list that was asked for at `asked`.
    ///
    /// # Errors
    /// [`Fault::Restarted`] when it does not go on with what was listed before.
    pub fn take(&mut self, asked: Instant, listing: Listing) -> Result<(), Fault> {
        let Listing { target, first, entries, is_over } = listing;
        let end = first + entries.len() as u64;
        let known_end = self.next.map(|next| next + self.waiting.len() as u64);
        if first < self.first || self.next.is_some_and(|next| end + 1 < next) {
            return Err(Fault::Restarted);
        }
        let next = *self.next.get_or_insert_with(|| first + start(&entries) as u64);
        let missed = first.saturating_sub(next);
        if missed > 0 {
            (self.missed, self.is_broken, self.tries) = (self.missed + missed, true, 0);
        }
        let next = next.max(first);
        let last = entries.last().map(|entry| entry.duration);
        self.waiting = entries.into_iter().skip((next - first) as usize).collect();
        (self.next, self.first, self.target, self.is_over) = (Some(next), first, target, is_over);
        // A list that has grown grows again after a segment; one that has not is looked at sooner (6.3.4).
        let wait = match last {
            Some(last) if known_end.is_none_or(|known| end > known) => last.min(target.max(RELOAD_MIN)),
            _ => target / 2,
        };
        self.reload_at = Some(asked + wait.clamp(RELOAD_MIN, RELOAD_MAX));
        Ok(())
    }

    /// The segment to fetch now. It stays the next one until it is [done](Self::done) or [missed](Self::unavailable).
    pub fn next(&self) -> Option<Next> {
        let entry = self.waiting.front()?;
        Some(Next { uri: entry.uri.clone(), continues: !self.is_broken && !entry.is_discontinuity })
    }

    /// The segment has been read.
    pub fn done(&mut self) {
        self.pass();
        self.is_broken = false;
    }

    /// It cannot be had: it may have left the list meanwhile, else it is tried again, and passed over in the end. The
    /// list is to be looked at again either way.
    pub fn unavailable(&mut self, now: Instant) {
        self.tries += 1;
        if self.tries >= TRIES_MAX {
            self.pass();
            (self.missed, self.is_broken) = (self.missed + 1, true);
        }
        self.waiting.clear();
        self.reload_at = Some(now + (self.target / 2).clamp(RELOAD_MIN, RELOAD_MAX));
    }

    /// When to look at the list again, once there is nothing to fetch.
    pub fn reload_at(&self) -> Option<Instant> {
        self.reload_at
    }

    /// Nothing comes after what has been read.
    pub fn is_over(&self) -> bool {
        self.is_over && self.waiting.is_empty()
    }

    /// How long a segment may last, and with it the time in which nothing comes.
    pub fn target(&self) -> Duration {
        self.target
    }

    /// Segments that could not be had since the last call.
    pub fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    fn pass(&mut self) {
        self.waiting.pop_front();
        self.next = self.next.map(|next| next + 1);
        self.tries = 0;
    }
}

/// Where in a first list reading begins.
fn start(entries: &[Entry]) -> usize {
    let mut time = Duration::ZERO;
    let fits = |entry: &&Entry| {
        time += entry.duration;
        time <= BEHIND
    };
    let count = entries.iter().rev().take_while(fits).count();
    entries.len() - count.max(1).min(entries.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A list of segments of four seconds.
    fn text(first: u64, count: u64) -> String {
        let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{first}\n");
        (first..first + count)
            .for_each(|n| text.push_str(&format!("#EXTINF:4.000000,\nhttp://h:6878/c/{}.ts\n", n + 700)));
        text
    }

    fn listing(text: &str) -> Listing {
        match parse(text.as_bytes()) {
            Ok(Parsed::Media(listing)) => listing,
            other => panic!("{other:?}"),
        }
    }

    fn drain(reading: &mut Reading) -> Vec<(u64, bool)> {
        let mut all = Vec::new();
        while let Some(next) = reading.next() {
            let number = next.uri.rsplit('/').next().unwrap().trim_end_matches(".ts");
            all.push((number.parse::<u64>().unwrap() - 700, next.continues));
            reading.done();
        }
        all
    }

    /// Guards: reading begins half a minute before the end, or with all there is, and every later segment is read once, by
    /// the address it is listed with, when two came between two looks as well.
    #[test]
    fn every_segment_is_read_once_from_half_a_minute_back() {
        let start = Instant::now();
        let mut reading = Reading::default();
        reading.take(start, listing(&text(10, 15))).unwrap();
        let first: Vec<u64> = drain(&mut reading).into_iter().map(|(number, _)| number).collect();
        assert_eq!(first, (18..25).collect::<Vec<_>>(), "28 s");
        assert_eq!(reading.reload_at(), Some(start + 4 * SECOND), "nothing new comes earlier");
        reading.take(start + 4 * SECOND, listing(&text(10, 15))).unwrap();
        assert_eq!(drain(&mut reading), []);
        assert_eq!(reading.reload_at(), Some(start + 6 * SECOND), "and then it is due");
        reading.take(start + 6 * SECOND, listing(&text(12, 15))).unwrap();
        assert_eq!(drain(&mut reading), [(25, true), (26, true)]);
        let mut short = Reading::default();
        short.take(start, listing(&text(0, 2))).unwrap();
        assert_eq!(drain(&mut short), [(0, true), (1, true)]);
        let mut empty = Reading::default();
        empty.take(start, listing(&text(0, 0))).unwrap();
        assert_eq!((drain(&mut empty), empty.reload_at()), (vec![], Some(start + 2 * SECOND)));
        empty.take(start + 2 * SECOND, listing(&text(0, 1))).unwrap();
        assert_eq!(drain(&mut empty), [(0, true)]);
    }

    /// Guards: what left the list unread is counted, and the segment after it is known not to continue.
    #[test]
    fn what_left_the_list_is_counted_and_flagged() {
        let start = Instant::now();
        let mut reading = Reading::default();
        reading.take(start, listing(&text(0, 3))).unwrap();
        drain(&mut reading);
        reading.take(start, listing(&text(5, 3))).unwrap();
        assert_eq!(drain(&mut reading), [(5, false), (6, true), (7, true)]);
        assert_eq!((reading.take_missed(), reading.take_missed()), (2, 0));
    }

    /// Guards: a listed segment that cannot be had is asked for again, and passed over in the end rather than for ever.
    #[test]
    fn a_segment_that_cannot_be_had_is_passed_over_in_the_end() {
        let start = Instant::now();
        let mut reading = Reading::default();
        for attempt in 0..TRIES_MAX {
            reading.take(start, listing(&text(0, 3))).unwrap();
            assert_eq!(reading.next().unwrap().uri, "http://h:6878/c/700.ts", "attempt {attempt}");
            assert_eq!(reading.take_missed(), 0);
            reading.unavailable(start);
            assert_eq!(reading.next(), None, "the list is looked at first");
            assert_eq!(reading.reload_at(), Some(start + 2 * SECOND));
        }
        reading.take(start, listing(&text(0, 3))).unwrap();
        assert_eq!(drain(&mut reading), [(1, false), (2, true)]);
        assert_eq!(reading.take_missed(), 1);
        reading.take(start, listing(&text(1, 4))).unwrap();
        reading.unavailable(start);
        reading.take(start, listing(&text(4, 2))).unwrap();
        assert_eq!(drain(&mut reading), [(4, false), (5, true)]);
    }

    /// Guards: a discontinuity in the list is one, its end is the end, and numbers that went back are another stream.
    #[test]
    fn lists_say_where_streams_break_end_and_begin() {
        let start = Instant::now();
        let mut reading = Reading::default();
        let broken = text(0, 2)
            .replace("#EXTINF:4.000000,\nhttp://h:6878/c/701", "#EXT-X-DISCONTINUITY\n#EXTINF:4,\n/c/701");
        reading.take(start, listing(&broken)).unwrap();
        assert_eq!(drain(&mut reading), [(0, true), (1, false)]);
        assert!(!reading.is_over());
        assert_eq!(reading.take(start, listing(&text(0, 0))), Err(Fault::Restarted));
        reading.take(start, listing(&format!("{}#EXT-X-ENDLIST\n", text(1, 2)))).unwrap();
        assert!(!reading.is_over(), "one is left");
        drain(&mut reading);
        assert!(reading.is_over());
        assert_eq!(reading.take(start, listing(&text(0, 3))), Err(Fault::Restarted));
    }

    /// Guards: what cannot be played is refused for what it is; of several qualities the best is taken.
    #[test]
    fn other_playlists_are_told_apart() {
        for wrong in ["", "404 not found", "#EXTM4U", "<html>"] {
            assert_eq!(parse(wrong.as_bytes()), Err(Fault::Malformed), "{wrong:?}");
        }
        let with = |line: &str| text(0, 1).replace("#EXTINF", &format!("{line}\n#EXTINF"));
        assert_eq!(parse(with("#EXT-X-KEY:METHOD=AES-128,URI=\"k\"").as_bytes()), Err(Fault::Encrypted));
        assert!(parse(with("#EXT-X-KEY:METHOD=NONE").as_bytes()).is_ok());
        assert_eq!(parse(with("#EXT-X-MAP:URI=\"init.mp4\"").as_bytes()), Err(Fault::NotTs));
        let master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=100\na\n#EXT-X-STREAM-INF:BANDWIDTH=300\nb\n\
                      #EXT-X-STREAM-INF:BANDWIDTH=200\nc\n";
        assert_eq!(parse(master.as_bytes()), Ok(Parsed::Variants("b".to_owned())));
    }

    /// Pieces of playlists, sensible and not.
    fn lines() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            Just("#EXTM3U".to_owned()),
            any::<u64>().prop_map(|n| format!("#EXT-X-MEDIA-SEQUENCE:{n}")),
            any::<u64>().prop_map(|n| format!("#EXT-X-TARGETDURATION:{n}")),
            prop_oneof![any::<f32>(), 0f32..20.0].prop_map(|n| format!("#EXTINF:{n},")),
            Just("#EXT-X-DISCONTINUITY".to_owned()),
            Just("#EXT-X-ENDLIST".to_owned()),
            Just("#EXT-X-STREAM-INF:BANDWIDTH=1".to_owned()),
            Just("http://127.0.0.1:6878/ace/c/x/7.ts".to_owned()),
            "[ -~]{0,30}",
        ];
        prop::collection::vec(line, 0..30).prop_map(|lines| format!("#EXTM3U\n{}\n", lines.join("\n")))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Guards: whatever an engine calls a playlist, reading it ends, with bounded waits and without a panic.
        #[test]
        fn any_text_is_an_outcome(texts in prop::collection::vec(lines(), 1..5)) {
            let start = Instant::now();
            let mut reading = Reading::default();
            for text in texts {
                let Ok(Parsed::Media(listing)) = parse(text.as_bytes()) else { continue };
                if reading.take(start, listing).is_ok() {
                    prop_assert!(reading.reload_at().unwrap() <= start + RELOAD_MAX);
                    while reading.next().is_some() {
                        reading.done();
                    }
                    reading.unavailable(start);
                }
            }
        }

        /// Guards: however a list slides and whatever can be had of it, each number is read at most once and in order,
        /// every one is read or counted as missed, and after one that was missed the next is flagged.
        #[test]
        fn numbers_are_read_in_order_or_counted(steps in prop::collection::vec((0u64..6, 1u64..6, 0u8..4), 1..60)) {
            let start = Instant::now();
            let mut reading = Reading::default();
            let (mut first, mut end) = (0, 1);
            let (mut last, mut missed) = (None, 0);
            for (gone, come, lost) in steps {
                end += come;
                first = (first + gone).min(end - 1);
                reading.take(start, listing(&text(first, end - first))).unwrap();
                for attempt in 0.. {
                    let Some(next) = reading.next() else { break };
                    if attempt < lost {
                        reading.unavailable(start);
                        break;
                    }
                    let number = drain(&mut reading);
                    missed += reading.take_missed();
                    for (number, continues) in number {
                        let expected = last.map_or(number, |last| last + 1 + missed);
                        prop_assert_eq!((number, continues), (expected, missed == 0), "{:?}", next);
                        (last, missed) = (Some(number), 0);
                    }
                }
                missed += reading.take_missed();
                prop_assert!(reading.reload_at().unwrap() >= start);
            }
        }
    }
}
