//! How streams started, for whoever looks at one: the trace of the play each session's first media came with. Pure.
//!
//! Bounded: the start that was told longest ago is forgotten first.

use super::trace::{Span, Trace};
use crate::api::time::{rfc3339, wall};
use sluice_contract::{LeaseId, Play, StreamKey};
use std::collections::{HashMap, VecDeque};
use std::time::{Instant, SystemTime};
use utoipa::ToSchema;

/// Starts kept: about 2 MB.
const STARTS_MAX: usize = 4096;

/// How a stream started.
#[derive(Clone, Debug, PartialEq, serde::Serialize, ToSchema)]
#[schema(as = StreamStart)]
pub(crate) struct Start {
    /// When its first player asked.
    pub(crate) asked_at: String,
    /// From that to the first byte on the way to the player, or to the end of a start that came to nothing.
    pub(crate) took_ms: f64,
    /// Engines asked.
    pub(crate) tries: u16,
    /// The engine that was chosen last.
    pub(crate) engine: Option<String>,
    /// Why it came to nothing, if it did.
    pub(crate) fault: Option<String>,
    /// Where the time went, in the order of their beginnings.
    pub(crate) spans: Vec<Stretch>,
}

/// A part of a start: `lease` (the wait for an engine, within which `select` is the choice of it), `engine_start` (until it
/// answered), `first_byte` (until media came) and `first_client_byte` (until the player was given some).
#[derive(Clone, Debug, PartialEq, serde::Serialize, ToSchema)]
#[schema(as = StreamStartSpan)]
pub(crate) struct Stretch {
    name: &'static str,
    /// After the player asked.
    from_ms: f64,
    took_ms: f64,
}

/// What is known of one stream's start.
#[derive(Debug)]
struct Known {
    lease: Option<LeaseId>,
    /// When it was told.
    at: SystemTime,
    start: Start,
}

/// The newest start of each stream.
#[derive(Debug, Default)]
pub(super) struct Starts {
    known: HashMap<StreamKey, Known>,
    /// Oldest first; each key once.
    order: VecDeque<StreamKey>,
}

impl Starts {
    /// Takes a play that waited for a start. Of several that waited for the same one the first to begin is kept.
    pub(super) fn note(&mut self, play: &Play, trace: &Trace) {
        let (Some(stream), Some(start)) = (&play.stream, &play.start) else { return };
        let has_begun = |known: &Known| known.start.fault.is_none() && known.lease == start.lease;
        if start.lease.is_some() && self.known.get(stream).is_some_and(has_begun) {
            return;
        }
        if self.known.contains_key(stream) {
            self.order.retain(|key| key != stream);
        } else if self.order.len() >= STARTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(stream.clone());
        let told = tell(play.asked, start.tries, trace);
        let at = wall(play.told);
        self.known.insert(stream.clone(), Known { lease: start.lease, at, start: told });
    }

    /// How a stream started last, and when that was told: after the beginning of its session.
    pub(super) fn find(&self, stream: &StreamKey) -> Option<(SystemTime, Start)> {
        self.known.get(stream).map(|known| (known.at, known.start.clone()))
    }
}

fn tell(asked: Instant, tries: u16, trace: &Trace) -> Start {
    let stretch = |span: &Span| Stretch {
        name: span.name,
        from_ms: span.start.saturating_duration_since(asked).as_micros() as f64 / 1000.0,
        took_ms: span.length().as_micros() as f64 / 1000.0,
    };
    let mut spans: Vec<Stretch> = trace.spans.iter().skip(1).map(stretch).collect();
    spans.sort_by(|one, other| one.from_ms.total_cmp(&other.from_ms));
    Start {
        asked_at: rfc3339(wall(asked)),
        took_ms: trace.took_ms("play").unwrap_or_default(),
        tries,
        engine: trace.about("sluice.engine").map(str::to_owned),
        fault: trace.fault.map(str::to_owned),
        spans,
    }
}

#[cfg(test)]
mod tests {
    use super::super::trace::tests::play;
    use super::*;
    use sluice_contract::{Hex40, Options, StreamName};
    use std::time::Duration;

    fn told(starts: &mut Starts, play: &Play) {
        starts.note(play, &Trace::of(play, None));
    }

    fn shown(starts: &Starts, play: &Play) -> Option<Start> {
        starts.find(play.stream.as_ref().unwrap()).map(|(_, start)| start)
    }

    /// Guards: a start is told with its parts in order, of several players that waited the first is kept, one that joined what
    /// played already is none, and the next start of the stream takes its place, as does the one that mends a failed one.
    #[test]
    fn the_newest_start_is_known() {
        let (zero, mut starts) = (Instant::now(), Starts::default());
        let first = play(zero);
        told(&mut starts, &Play { start: None, ..first.clone() });
        assert_eq!(shown(&starts, &first), None);
        let failed = Play { outcome: Err("start_timeout"), ..first.clone() };
        told(&mut starts, &failed);
        assert_eq!(shown(&starts, &first).unwrap().fault.as_deref(), Some("start_timeout"));
        told(&mut starts, &first);
        let start = shown(&starts, &first).unwrap();
        let names: Vec<&str> = start.spans.iter().map(|span| span.name).collect();
        assert_eq!(names, ["lease", "engine_start", "first_byte", "first_client_byte"]);
        assert_eq!((start.spans[1].from_ms, start.spans[1].took_ms), (31.0, 400.0));
        assert_eq!((start.took_ms, start.tries, &start.fault), (935.0, 1, &None));
        let second = Play { asked: zero + Duration::from_millis(700), ..first.clone() };
        told(&mut starts, &second);
        assert_eq!(shown(&starts, &first).unwrap(), start, "the second player of one start took its place");
        let again = sluice_contract::Start { lease: Some(LeaseId(9)), tries: 3, ..first.start.unwrap() };
        told(&mut starts, &Play { start: Some(again), ..first.clone() });
        assert_eq!(shown(&starts, &first).unwrap().tries, 3);
        assert_eq!(starts.order.len(), 1);
    }

    /// Guards: what is kept is bounded, and the newest is there.
    #[test]
    fn starts_are_bounded() {
        let (zero, mut starts) = (Instant::now(), Starts::default());
        let of = |number: usize| {
            let mut bytes = [0; 20];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            let name = StreamName::Infohash(Hex40::from_bytes(bytes));
            Play { stream: Some(StreamKey { name, options: Options::default() }), ..play(zero) }
        };
        (0..STARTS_MAX + 3).for_each(|number| told(&mut starts, &of(number)));
        assert_eq!((starts.known.len(), starts.order.len()), (STARTS_MAX, STARTS_MAX));
        assert!(shown(&starts, &of(2)).is_none() && shown(&starts, &of(STARTS_MAX + 2)).is_some());
    }
}
