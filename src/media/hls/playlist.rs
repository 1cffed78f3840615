//! Media playlists (RFC 8216, section 4; the low-latency tags of its successor).
//!
//! A playlist names its segments by relative addresses, so it is the same text for every player of a stream: who asks
//! shows in the directory that the addresses are relative to.

use super::segmenter::{PART_TARGET, Part, Segment, Segmenter};
use chrono::DateTime;
use m3u8_rs::{ExtTag, MediaPlaylist, MediaSegment};
use std::fmt::Write;
use std::time::Duration;

/// Fractional durations need version 3 (RFC 8216, section 7); the low-latency tags are defined with version 6 on.
const VERSION: usize = 3;
const VERSION_LOW_LATENCY: usize = 6;
/// Parts are listed for the newest segments only: for three target durations.
const PART_TARGETS_LISTED: u32 = 3;
/// A low-latency player stays so many parts behind.
const HOLD_BACK_PARTS: u32 = 3;

/// What kind of playlist a player asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Segments only.
    Plain,
    /// Segments, the parts of the newest, and how to wait for more.
    LowLatency,
}

/// The address of a segment, relative to its playlist.
pub fn segment_name(sequence: u64) -> String {
    format!("{sequence}.ts")
}

/// The address of a part, relative to its playlist.
pub fn part_name(sequence: u64, part: usize) -> String {
    format!("{sequence}.{part}.ts")
}

/// The playlist of what a segmenter lists now.
pub fn write(segmenter: &Segmenter, kind: Kind) -> String {
    let first = segmenter.listed().next();
    let mut playlist = MediaPlaylist {
        version: Some(if kind == Kind::Plain { VERSION } else { VERSION_LOW_LATENCY }),
        target_duration: segmenter.target().as_secs(),
        media_sequence: first.map_or(segmenter.next_sequence(), |segment| segment.sequence),
        discontinuity_sequence: segmenter.discontinuity_sequence(),
        segments: segmenter.listed().map(listed).collect(),
        ..MediaPlaylist::default()
    };
    if kind == Kind::Plain {
        return text(&playlist);
    }
    let listed_parts = segmenter.target() * PART_TARGETS_LISTED;
    let mut newer = Duration::ZERO;
    for (entry, segment) in playlist.segments.iter_mut().zip(segmenter.listed()).rev() {
        if newer < listed_parts {
            entry.unknown_tags.extend(parts(segment));
        }
        newer += segment.duration;
    }
    let server = format!("CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={}", seconds(PART_TARGET * HOLD_BACK_PARTS));
    let head =
        [tag("X-SERVER-CONTROL", server), tag("X-PART-INF", format!("PART-TARGET={}", seconds(PART_TARGET)))];
    match playlist.segments.first_mut() {
        Some(first) => drop(first.unknown_tags.splice(0..0, head)),
        None => return text(&playlist),
    }
    let mut text = text(&playlist);
    if let Some(open) = segmenter.open() {
        if open.is_discontinuity {
            text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        // Writing to a string cannot fail.
        parts(open).for_each(|part| {
            let _ = writeln!(text, "{part}");
        });
        let next = part_name(open.sequence, open.parts.len());
        let _ = writeln!(text, "{}", tag("X-PRELOAD-HINT", format!("TYPE=PART,URI=\"{next}\"")));
    }
    text
}

fn text(playlist: &MediaPlaylist) -> String {
    let mut bytes = Vec::with_capacity(2048);
    playlist.write_to(&mut bytes).expect("writing to memory does not fail");
    String::from_utf8(bytes).expect("everything written is text")
}

fn listed(segment: &Segment) -> MediaSegment {
    let date = i64::try_from(segment.date.as_millis()).ok().and_then(DateTime::from_timestamp_millis);
    MediaSegment {
        uri: segment_name(segment.sequence),
        // Whole milliseconds: a longer fraction is noise of the clock.
        duration: segment.duration.as_millis().max(1) as f32 / 1000.0,
        discontinuity: segment.is_discontinuity,
        program_date_time: date.map(|date| date.fixed_offset()),
        ..MediaSegment::default()
    }
}

fn parts(segment: &Segment) -> impl Iterator<Item = ExtTag> {
    let line = |(number, part): (usize, &Part)| {
        let independent = if part.is_independent { ",INDEPENDENT=YES" } else { "" };
        let (name, length) = (part_name(segment.sequence, number), seconds(part.duration));
        tag("X-PART", format!("DURATION={length},URI=\"{name}\"{independent}"))
    };
    segment.parts.iter().enumerate().map(line)
}

fn tag(name: &str, value: String) -> ExtTag {
    ExtTag { tag: name.to_owned(), rest: Some(value) }
}

/// Seconds as a decimal number with a fraction, as attribute lists want them.
fn seconds(duration: Duration) -> String {
    let millis = duration.as_millis().max(1);
    format!("{}.{:03}", millis / 1000, millis % 1000)
}
