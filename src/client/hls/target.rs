//! What an HLS player asks for.
//!
//! ```text
//!   /ace/hls/<stream>/<token>/index.m3u8   the playlist
//!   /ace/hls/<stream>/<token>/low.m3u8     the same with parts
//!   /ace/hls/<stream>/<token>/7.ts         a segment
//!   /ace/hls/<stream>/<token>/7.2.ts       a part of it
//!   /ace/hls/<stream>/segment/7.ts         a segment, as orchestrators before wrote it: without a token
//! ```
//! An address is these words and numbers and nothing else: no escapes, no dots between slashes, nothing to fetch.

use super::Token;
use crate::http::query;
use crate::media::hls::playlist::Kind;
use sluice_contract::{Hex40, Refusal, RefusalCode};

/// A checked address below `/ace/hls/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A playlist.
    Playlist {
        /// The number of the stream: its infohash, or what it was asked for by.
        stream: Hex40,
        /// Whose it is.
        token: Token,
        /// Which one.
        kind: Kind,
    },
    /// A segment or a part of one.
    Media {
        /// As above.
        stream: Hex40,
        /// As above.
        token: Token,
        /// The segment's number.
        sequence: u64,
        /// The part's number.
        part: Option<usize>,
    },
    /// A segment, asked for without a token.
    Bare {
        /// As above, by any of the stream's names.
        stream: Hex40,
        /// The segment's number.
        sequence: u64,
    },
}

/// Reads the path of a request.
pub fn target(path: &str) -> Option<Target> {
    let mut words = path.strip_prefix("/ace/hls/")?.split('/');
    let (stream, place, file) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    let stream = lower_hex(stream).then(|| stream.parse().ok())??;
    if place == "segment" {
        let (sequence, None) = numbers(file)? else { return None };
        return Some(Target::Bare { stream, sequence });
    }
    let token = place.parse().ok()?;
    Some(match file {
        "index.m3u8" => Target::Playlist { stream, token, kind: Kind::Plain },
        "low.m3u8" => Target::Playlist { stream, token, kind: Kind::LowLatency },
        file => {
            let (sequence, part) = numbers(file)?;
            Target::Media { stream, token, sequence, part }
        }
    })
}

fn lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn numbers(file: &str) -> Option<(u64, Option<usize>)> {
    let name = file.strip_suffix(".ts")?;
    match name.split_once('.') {
        Some((sequence, part)) => Some((number(sequence)?, Some(usize::try_from(number(part)?).ok()?))),
        None => Some((number(name)?, None)),
    }
}

/// A number in its only spelling.
fn number(text: &str) -> Option<u64> {
    let is_plain = text == "0" || !text.starts_with(['0', '+']);
    if is_plain { text.parse().ok() } else { None }
}

/// What a player that reloads a playlist wants to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Until this segment is listed.
    pub sequence: u64,
    /// Until this part of it is.
    pub part: Option<usize>,
}

impl Reload {
    /// Reads the delivery directives of a query.
    ///
    /// # Errors
    /// When they are no numbers, or a part is named without its segment.
    pub fn from_query(text: Option<&str>) -> Result<Option<Self>, Refusal> {
        let (mut sequence, mut part) = (None, None);
        for (name, value) in query::pairs(text.unwrap_or_default()) {
            let place = match &*name {
                "_HLS_msn" => &mut sequence,
                "_HLS_part" => &mut part,
                _ => continue,
            };
            let number = number(&value).ok_or_else(|| refusal(format!("{name} is not a number")))?;
            *place = Some(number);
        }
        match (sequence, part) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(refusal("_HLS_part needs _HLS_msn".to_owned())),
            (Some(sequence), part) => {
                let part = part.map(usize::try_from).transpose();
                let part = part.map_err(|_| refusal("_HLS_part is too large".to_owned()))?;
                Ok(Some(Self { sequence, part }))
            }
        }
    }
}

fn refusal(detail: String) -> Refusal {
    Refusal::new(RefusalCode::BadRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "0123456789abcdef0123456789abcdef01234567";

    /// Guards: the addresses in playlists are understood, and anything else, tricks included, is not an address.
    #[test]
    fn only_addresses_of_ours_are_understood() {
        let token = Token::new(7, 0xabc);
        let under = |file: &str| target(&format!("/ace/hls/{STREAM}/{token}/{file}"));
        let stream = STREAM.parse().unwrap();
        assert_eq!(under("index.m3u8"), Some(Target::Playlist { stream, token, kind: Kind::Plain }));
        assert_eq!(under("low.m3u8"), Some(Target::Playlist { stream, token, kind: Kind::LowLatency }));
        assert_eq!(under("0.ts"), Some(Target::Media { stream, token, sequence: 0, part: None }));
        assert_eq!(under("12.3.ts"), Some(Target::Media { stream, token, sequence: 12, part: Some(3) }));
        let bare = target(&format!("/ace/hls/{STREAM}/segment/4.ts"));
        assert_eq!(bare, Some(Target::Bare { stream, sequence: 4 }));
        for file in [
            "",
            "1",
            "ts",
            ".ts",
            "-1.ts",
            "+1.ts",
            "01.ts",
            "1.2.3.ts",
            "1..ts",
            "1.ts/",
            "1.ts/..",
            "../1.ts",
            "%31.ts",
            "index.m3u8/",
            "99999999999999999999999.ts",
            "1.TS",
            "a.ts",
            "1.ts\0",
            "http:",
        ] {
            assert_eq!(under(file), None, "{file:?}");
        }
        for path in [
            "/ace/hls/".to_owned(),
            format!("/ace/hls/{STREAM}"),
            format!("/ace/hls/{STREAM}/"),
            format!("/ace/hls/{}/{token}/1.ts", STREAM.to_uppercase()),
            format!("/ace/hls/{}/{token}/1.ts", &STREAM[1..]),
            format!("/ace/hls//{STREAM}/{token}/1.ts"),
            format!("/ace/hls/{STREAM}/segment/1.0.ts"),
            format!("/ace/hls/{STREAM}/{}/1.ts", token.to_string().to_uppercase()),
            format!("/ace/hls/{STREAM}/..%2f..%2fetc/passwd"),
            "/ace/hls/segment.ts".to_owned(),
        ] {
            assert_eq!(target(&path), None, "{path}");
        }
    }

    /// Guards: directives are numbers, and a part belongs to a segment.
    #[test]
    fn directives_are_checked() {
        let read = |text: &str| Reload::from_query(Some(text)).map_err(|refusal| refusal.code);
        assert_eq!(read("_HLS_msn=7&_HLS_part=2"), Ok(Some(Reload { sequence: 7, part: Some(2) })));
        assert_eq!(read("x=1&_HLS_msn=0"), Ok(Some(Reload { sequence: 0, part: None })));
        assert_eq!(read("_HLS_skip=YES"), Ok(None));
        for text in ["_HLS_part=1", "_HLS_msn=-1", "_HLS_msn=", "_HLS_msn=x", "_HLS_msn=99999999999999999999"]
        {
            assert_eq!(read(text), Err(RefusalCode::BadRequest), "{text}");
        }
    }
}
