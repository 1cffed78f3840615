//! RFC 8216 as a linter, section by section: what one playlist must be, and what the next one may change.

use m3u8_rs::{MediaPlaylist, MediaSegment};
use std::collections::BTreeMap;

/// Watches the playlists of one stream in the order a player reads them.
#[derive(Default)]
pub(super) struct Linter {
    last: Option<MediaPlaylist>,
    /// Every segment ever listed, by number.
    listed: BTreeMap<u64, MediaSegment>,
    /// The discontinuity number of every segment ever listed.
    discontinuities: BTreeMap<u64, u64>,
}

impl Linter {
    pub(super) fn has_seen_any(&self) -> bool {
        self.last.is_some()
    }

    /// `is_whole` says that nothing was lost from the window: only then can the list be as long as it must.
    pub(super) fn check(&mut self, text: &str, is_whole: bool) {
        lines(text);
        let (rest, playlist) =
            m3u8_rs::parse_media_playlist(text.as_bytes()).expect("it is a media playlist");
        assert!(rest.is_empty(), "something unread follows: {text}");
        self.one(&playlist, text);
        self.next(&playlist, text, is_whole);
        self.last = Some(playlist);
    }

    /// What holds for each playlist by itself.
    fn one(&self, playlist: &MediaPlaylist, text: &str) {
        // 4.3.1.2 and 7: fractional durations need version 3.
        assert!(playlist.version.is_some_and(|version| version >= 3), "{text}");
        // 4.3.3.1: a duration, rounded, does not exceed the target.
        for segment in &playlist.segments {
            assert!(segment.duration > 0.0, "{text}");
            assert!(segment.duration.round() as u64 <= playlist.target_duration, "too long: {text}");
        }
        // 4.3.3.4 and 6.2.1: a live playlist has no end and no type.
        assert!(!playlist.end_list && playlist.playlist_type.is_none() && !playlist.i_frames_only, "{text}");
        // 4.3.2.6: dates grow with the segments, and say the same as the durations where the stream goes on.
        for pair in playlist.segments.windows(2) {
            let dates = [&pair[0], &pair[1]]
                .map(|segment| segment.program_date_time.expect("every segment is dated"));
            let apart = (dates[1] - dates[0]).num_milliseconds() as f64 / 1000.0;
            assert!(apart >= 0.0, "dates go back: {text}");
            let differs = (apart - f64::from(pair[0].duration)).abs();
            assert!(pair[1].discontinuity || differs < 0.01, "a date is {differs} s off: {text}");
        }
        // 4.1: addresses are relative and name nobody's host.
        assert!(playlist.segments.iter().all(|segment| !segment.uri.contains([':', '/', '?'])), "{text}");
    }

    /// What the next playlist may change.
    fn next(&mut self, playlist: &MediaPlaylist, text: &str, is_whole: bool) {
        if let Some(last) = &self.last {
            // 6.2.1: version and target stay.
            assert_eq!((last.version, last.target_duration), (playlist.version, playlist.target_duration));
            // 6.2.2: numbers only grow, by one for each segment that leaves.
            assert!(playlist.media_sequence >= last.media_sequence, "numbers went back: {text}");
            assert!(playlist.discontinuity_sequence >= last.discontinuity_sequence, "{text}");
            let end = |playlist: &MediaPlaylist| playlist.media_sequence + playlist.segments.len() as u64;
            assert!(end(playlist) >= end(last), "segments were taken back: {text}");
        }
        let mut discontinuity = playlist.discontinuity_sequence;
        for (sequence, segment) in (playlist.media_sequence..).zip(&playlist.segments) {
            // 4.3.3.3: every segment keeps its discontinuity number, in the list or as the list's own.
            discontinuity += u64::from(segment.discontinuity);
            let known = *self.discontinuities.entry(sequence).or_insert(discontinuity);
            assert_eq!(known, discontinuity, "discontinuity number of {sequence}: {text}");
            // 6.2.1: a segment once listed keeps all it was listed with.
            let known = self.listed.entry(sequence).or_insert_with(|| segment.clone());
            assert_eq!(known, segment, "segment {sequence} changed: {text}");
        }
        // 6.2.2: a segment leaves only when three target durations stay listed behind it.
        let total: f32 = playlist.segments.iter().map(|segment| segment.duration).sum();
        let has_left = self.listed.keys().next().is_some_and(|first| *first < playlist.media_sequence);
        assert!(
            !has_left || !is_whole || total >= 3.0 * playlist.target_duration as f32,
            "too short: {text}"
        );
    }
}

/// 4.1: encoding and line ends; 4.3: tags that may come once, and those that must come first.
fn lines(text: &str) {
    assert!(text.starts_with("#EXTM3U\n") && text.ends_with('\n'), "{text}");
    assert!(!text.contains('\r') && !text.contains('\u{feff}') && text.is_ascii(), "{text}");
    for once in ["#EXTM3U", "#EXT-X-VERSION:", "#EXT-X-TARGETDURATION:"] {
        assert_eq!(text.matches(once).count(), 1, "{once}: {text}");
    }
    for early in ["#EXT-X-MEDIA-SEQUENCE:", "#EXT-X-DISCONTINUITY-SEQUENCE:"] {
        let first = text.find("#EXTINF:").or_else(|| text.find("#EXT-X-DISCONTINUITY\n"));
        if let (Some(at), Some(first)) = (text.find(early), first) {
            assert!(at < first && text.matches(early).count() == 1, "{early}: {text}");
        }
    }
}

/// The low-latency tags: every part at most as long as promised and all but a segment's last nearly so, each segment's
/// parts named in order, and the next one announced.
pub(super) fn check_low_latency(text: &str) {
    let value = |line: &str, name: &str| -> Option<String> {
        let value = line.split_once(&format!("{name}="))?.1;
        Some(value.split(',').next()?.trim_matches('"').to_owned())
    };
    if !text.contains("#EXTINF:") {
        return;
    }
    assert!(text.contains("#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3.000\n"), "{text}");
    assert_eq!(text.matches("#EXT-X-PART-INF:PART-TARGET=1.000\n").count(), 1, "{text}");
    let mut parts: Vec<(u64, usize, f64)> = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("#EXT-X-PART:")) {
        let uri = value(line, "URI").expect("a part has an address");
        let mut numbers = uri.trim_end_matches(".ts").split('.');
        let mut number = || numbers.next().and_then(|number| number.parse::<u64>().ok()).expect("numbers");
        let (sequence, part) = (number(), number() as usize);
        let length: f64 = value(line, "DURATION").and_then(|it| it.parse().ok()).expect("a duration");
        assert!(length > 0.0 && length <= 1.0, "{text}");
        match parts.last() {
            Some((last, at, length)) if *last == sequence => {
                assert_eq!(part, at + 1, "{text}");
                assert!(*length >= 0.85, "a short part is followed by another: {text}");
            }
            _ => assert_eq!(part, 0, "{text}"),
        }
        parts.push((sequence, part, length));
    }
    let hints: Vec<&str> = text.lines().filter(|line| line.starts_with("#EXT-X-PRELOAD-HINT:")).collect();
    assert!(hints.len() <= 1, "{text}");
    if let [hint] = hints[..] {
        assert_eq!(text.lines().last(), Some(hint), "{text}");
        let uri = value(hint, "URI").expect("a hint has an address");
        assert!(
            !text.contains(&format!("URI=\"{uri}\"\n#EXT-X-PART")),
            "what is hinted at is listed: {text}"
        );
    }
}
