//! One look at a stream's figures, and how an engine's answer becomes one. Pure.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::Value;
use sluice_contract::snapshot::{self, EngineStat};
use std::sync::Arc;
use std::time::SystemTime;

use crate::api::time::rfc3339;
use utoipa::ToSchema;

/// Longest status text kept, in characters.
const STATUS_CHARS_MAX: usize = 32;
/// What an engine says of a playback that it does not have (any more).
const UNKNOWN_SESSION: &str = "unknown playback session";

/// Figures of one moment. What the engine did not say is `None`.
#[derive(Clone, Debug, PartialEq, ToSchema)]
#[schema(as = StreamStatSnapshot)]
pub(crate) struct Sample {
    /// When the answer came.
    #[schema(rename = "ts", value_type = String)]
    pub(crate) at: SystemTime,
    /// Connected peers.
    pub(crate) peers: Option<i64>,
    /// KiB/s.
    pub(crate) speed_down: Option<i64>,
    /// KiB/s.
    pub(crate) speed_up: Option<i64>,
    /// Bytes since the playback began.
    pub(crate) downloaded: Option<i64>,
    /// Bytes since the playback began.
    pub(crate) uploaded: Option<i64>,
    /// `dl`, `prebuf`, …
    #[schema(value_type = Option<String>)]
    pub(crate) status: Option<Arc<str>>,
    /// Where the playback stands in the broadcast.
    #[schema(value_type = Option<LivePos>)]
    pub(crate) livepos: Option<Box<LivePos>>,
}

/// Positions in a broadcast, Unix seconds save for the last. Shown as text, which is how engines send them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ToSchema)]
pub(crate) struct LivePos {
    /// What is played.
    #[schema(value_type = Option<String>)]
    pub(crate) pos: Option<i64>,
    /// Beginning of what the broadcast offers.
    #[schema(value_type = Option<String>)]
    pub(crate) live_first: Option<i64>,
    /// Its live edge.
    #[schema(value_type = Option<String>)]
    pub(crate) live_last: Option<i64>,
    /// Beginning of what the engine knows.
    #[schema(value_type = Option<String>)]
    pub(crate) first_ts: Option<i64>,
    /// End of what the engine knows.
    #[schema(value_type = Option<String>)]
    pub(crate) last_ts: Option<i64>,
    /// Pieces held ahead.
    #[schema(value_type = Option<String>)]
    pub(crate) buffer_pieces: Option<i64>,
}

/// What an engine's answer says.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// Figures.
    Sample(Sample),
    /// The engine does not have that playback.
    UnknownSession,
    /// Nothing about the playback.
    Nothing,
}

impl Sample {
    /// A moment of which nothing is known.
    pub(crate) fn empty(at: SystemTime) -> Self {
        Self {
            at,
            peers: None,
            speed_down: None,
            speed_up: None,
            downloaded: None,
            uploaded: None,
            status: None,
            livepos: None,
        }
    }

    /// The figures a shard took for its own session.
    pub(crate) fn of_session(at: SystemTime, stat: &EngineStat) -> Self {
        Self {
            at,
            peers: Some(stat.peers),
            speed_down: Some(stat.speed_down),
            speed_up: Some(stat.speed_up),
            downloaded: Some(stat.downloaded),
            uploaded: Some(stat.uploaded),
            status: Some(clip(&stat.status)),
            livepos: stat.livepos.as_ref().map(|found| Box::new(LivePos::of_session(found))),
        }
    }
}

impl LivePos {
    fn of_session(found: &snapshot::LivePos) -> Self {
        Self {
            pos: found.pos,
            live_first: found.live_first.or(found.first_ts),
            live_last: found.live_last.or(found.last_ts).or(found.last),
            first_ts: found.first_ts,
            last_ts: found.last_ts.or(found.last),
            buffer_pieces: found.buffer_pieces,
        }
    }

    fn read(found: &Value) -> Option<Self> {
        let first_of = |names: &[&str]| names.iter().find_map(|name| integer(found.get(name)));
        found.is_object().then(|| Self {
            pos: first_of(&["pos"]),
            live_first: first_of(&["live_first", "first_ts", "first"]),
            live_last: first_of(&["live_last", "last_ts", "last"]),
            first_ts: first_of(&["first_ts", "first"]),
            last_ts: first_of(&["last_ts", "last"]),
            buffer_pieces: first_of(&["buffer_pieces"]),
        })
    }
}

/// Reads what an engine answered at its stat address.
pub(crate) fn read(at: SystemTime, answer: &Value) -> Answer {
    let error = answer.get("error").and_then(Value::as_str).filter(|error| !error.is_empty());
    let response = match answer.get("response") {
        Some(response @ Value::Object(_)) => response,
        Some(Value::Null) | None => match error {
            Some(error) if error.to_ascii_lowercase().contains(UNKNOWN_SESSION) => {
                return Answer::UnknownSession;
            }
            Some(_) => return Answer::Nothing,
            // An engine that has nothing to tell yet says so without an error.
            None if answer.is_object() => return Answer::Sample(Sample::empty(at)),
            None => return Answer::Nothing,
        },
        Some(_) => return Answer::Nothing,
    };
    let first_of = |names: &[&str]| names.iter().find_map(|name| integer(response.get(name)));
    Answer::Sample(Sample {
        at,
        peers: first_of(&["peers"]),
        speed_down: first_of(&["speed_down", "speedDown"]),
        speed_up: first_of(&["speed_up", "speedUp"]),
        downloaded: first_of(&["downloaded"]),
        uploaded: first_of(&["uploaded"]),
        status: response.get("status").and_then(Value::as_str).map(clip),
        livepos: response.get("livepos").and_then(LivePos::read).map(Box::new),
    })
}

/// A whole number, whether it is sent as one, with a fraction, or as text.
fn integer(value: Option<&Value>) -> Option<i64> {
    let rounded = |float: f64| float.is_finite().then(|| float.round() as i64);
    match value? {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(rounded)),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| text.parse().ok().and_then(rounded))
        }
        _ => None,
    }
}

fn clip(text: &str) -> Arc<str> {
    match text.char_indices().nth(STATUS_CHARS_MAX) {
        None => text.into(),
        Some((end, _)) => text[..end].into(),
    }
}

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sample = serializer.serialize_struct("StreamStatSnapshot", 8)?;
        sample.serialize_field("ts", &rfc3339(self.at))?;
        sample.serialize_field("peers", &self.peers)?;
        sample.serialize_field("speed_down", &self.speed_down)?;
        sample.serialize_field("speed_up", &self.speed_up)?;
        sample.serialize_field("downloaded", &self.downloaded)?;
        sample.serialize_field("uploaded", &self.uploaded)?;
        sample.serialize_field("status", &self.status)?;
        sample.serialize_field("livepos", &self.livepos)?;
        sample.end()
    }
}

impl Serialize for LivePos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |value: Option<i64>| value.map(Text);
        let mut position = serializer.serialize_struct("LivePos", 6)?;
        position.serialize_field("pos", &text(self.pos))?;
        position.serialize_field("live_first", &text(self.live_first))?;
        position.serialize_field("live_last", &text(self.live_last))?;
        position.serialize_field("first_ts", &text(self.first_ts))?;
        position.serialize_field("last_ts", &text(self.last_ts))?;
        position.serialize_field("buffer_pieces", &text(self.buffer_pieces))?;
        position.end()
    }
}

/// A number written as text, without one being made.
struct Text(i64);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::{Duration, UNIX_EPOCH};

    const AT: SystemTime = UNIX_EPOCH;

    fn sample(answer: &Value) -> Sample {
        match read(AT, answer) {
            Answer::Sample(sample) => sample,
            other => panic!("expected figures, got {other:?}"),
        }
    }

    /// Guards: figures are taken as text, numbers and numbers with a fraction, under both spellings, and zero is a figure.
    #[test]
    fn figures_are_read_whatever_their_type() {
        let found = sample(&json!({ "response": {
            "status": "dl", "peers": "7", "speedDown": 12.6, "speed_up": 0, "speedUp": 9, "downloaded": 1.0e12,
            "uploaded": null, "livepos": { "pos": 1_767_629_806, "live_first": "1767628008", "last": "1767629808",
                "first_ts": 1_767_628_008.4, "buffer_pieces": "15", "is_live": "1" }
        }, "error": null }));
        assert_eq!((found.peers, found.speed_down, found.speed_up), (Some(7), Some(13), Some(0)));
        assert_eq!((found.downloaded, found.uploaded), (Some(1_000_000_000_000), None));
        let shown = serde_json::to_value(&found).unwrap();
        assert_eq!(shown["ts"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(
            shown["livepos"],
            json!({ "pos": "1767629806", "live_first": "1767628008", "live_last": "1767629808",
                "first_ts": "1767628008", "last_ts": "1767629808", "buffer_pieces": "15" })
        );
    }

    /// Guards: an engine that has nothing to tell gives an empty sample; one that fails gives none, and only the answer
    /// for a playback it does not know says that the playback is gone.
    #[test]
    fn what_is_no_figure_is_told_apart() {
        for empty in [json!({ "response": null, "error": null }), json!({ "response": {} }), json!({})] {
            assert_eq!(sample(&empty), Sample::empty(AT), "{empty}");
        }
        let gone = json!({ "response": null, "error": "Unknown playback session id" });
        assert_eq!(read(AT, &gone), Answer::UnknownSession);
        for nothing in [json!({ "response": null, "error": "busy" }), json!([]), json!({ "response": "x" })] {
            assert_eq!(read(AT, &nothing), Answer::Nothing, "{nothing}");
        }
    }

    /// Guards: values that are no numbers are left out one by one, not with the whole sample.
    #[test]
    fn one_odd_figure_costs_one_figure() {
        let found = sample(&json!({ "response": { "peers": [], "speed_down": "fast", "speed_up": "1e400",
            "downloaded": 5, "status": "x".repeat(500), "livepos": "none" } }));
        assert_eq!((found.peers, found.speed_down, found.speed_up), (None, None, None));
        assert_eq!((found.downloaded, found.livepos), (Some(5), None));
        assert_eq!(found.status.unwrap().len(), STATUS_CHARS_MAX);
    }

    /// Guards: the figures of our own sessions look like those of any other stream.
    #[test]
    fn own_figures_look_like_any_other() {
        let livepos =
            snapshot::LivePos { pos: Some(1), last: Some(3), first_ts: Some(2), ..Default::default() };
        let stat =
            EngineStat { peers: 4, status: "dl".into(), livepos: Some(livepos), ..EngineStat::default() };
        let found = Sample::of_session(AT + Duration::from_secs(1), &stat);
        let position = *found.livepos.unwrap();
        assert_eq!((found.peers, position.live_last, position.live_first), (Some(4), Some(3), Some(2)));
        assert_eq!(position.last_ts, Some(3));
    }
}
