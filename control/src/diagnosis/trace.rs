//! Spans of one play, made of moments that others noted. Pure.
//!
//! ```text
//! play ───────────────────────────────────────────────────────────┐
//!   lease ─────────┐  engine_start ──┐  first_byte ──┐  first_client_byte
//!     select ───┐
//! ```
//! A play that joins a running stream has only the last of them: the others were another play's.

use crate::engines::Decision;
use sluice_contract::{EngineId, LeaseId, Play};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Choices of engines kept until the plays they were for have begun.
const CHOICES_MAX: usize = 4096;

/// The choices made lately, newest last.
#[derive(Default)]
pub(super) struct Choices(VecDeque<Choice>);

/// An engine that was chosen for a lease.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    lease: LeaseId,
    engine: EngineId,
    asked: Instant,
    decided: Instant,
}

impl Choices {
    /// Remembers a choice, if it was one.
    pub(super) fn note(&mut self, decision: &Decision) {
        let Ok((lease, engine)) = &decision.outcome else { return };
        if self.0.len() >= CHOICES_MAX {
            self.0.pop_front();
        }
        let (asked, decided) = (decision.asked, decision.decided);
        self.0.push_back(Choice { lease: *lease, engine: engine.clone(), asked, decided });
    }

    /// The choice that made a lease.
    pub(super) fn find(&self, lease: LeaseId) -> Option<Choice> {
        self.0.iter().rev().find(|choice| choice.lease == lease).cloned()
    }
}

/// A stretch of time with a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    /// What happened in it.
    pub(super) name: &'static str,
    /// Which span of the same trace it lies in, by place.
    pub(super) parent: Option<usize>,
    /// When it began.
    pub(super) start: Instant,
    /// When it ended.
    pub(super) end: Instant,
}

impl Span {
    /// How long it took.
    pub(super) fn length(&self) -> Duration {
        self.end.saturating_duration_since(self.start)
    }
}

/// Everything there is to tell of one play; the first span is the play itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trace {
    /// Random; the client's own id where there is a client.
    pub(super) id: u128,
    /// Its spans.
    pub(super) spans: Vec<Span>,
    /// What is known of it, for the first span.
    pub(super) about: Vec<(&'static str, String)>,
    /// Why it came to nothing, if it did.
    pub(super) fault: Option<&'static str>,
}

impl Trace {
    /// Makes the spans.
    pub(super) fn of(play: &Play, choice: Option<&Choice>) -> Self {
        let end = play.outcome.unwrap_or(play.told);
        let mut spans = vec![Span { name: "play", parent: None, start: play.asked, end }];
        let mut add = |name, parent, from: Option<Instant>, to: Option<Instant>| {
            if let (Some(start), Some(end)) = (from, to) {
                spans.push(Span { name, parent: Some(parent), start, end });
            }
            spans.len() - 1
        };
        let start = play.start.unwrap_or_default();
        let lease = add("lease", 0, start.lease_asked, start.lease_granted);
        if let Some(choice) = choice {
            add("select", lease, Some(choice.asked), Some(choice.decided));
        }
        add("engine_start", 0, start.engine_asked, start.engine_answered);
        add("first_byte", 0, start.engine_answered, start.first_media);
        // What was there before the player asked cost it nothing.
        let ready = start.first_media.map_or(play.asked, |came| came.max(play.asked));
        add("first_client_byte", 0, Some(ready), play.outcome.ok());
        let mut about =
            vec![("sluice.asked_as", play.asked_as.to_string()), ("sluice.shard", play.shard.0.to_string())];
        about.extend(play.stream.as_ref().map(|stream| ("sluice.stream", stream.to_string())));
        about.extend(choice.map(|choice| ("sluice.engine", choice.engine.to_string())));
        about.extend(play.start.map(|start| ("sluice.tries", start.tries.to_string())));
        Self { id: play.client.0, spans, about, fault: play.outcome.err() }
    }

    /// Writes it into the log: one line for each span, within one span of the log's own.
    pub(super) fn log(&self) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let about = |name: &str| self.about(name).unwrap_or_default();
        let span = tracing::debug_span!(
            "play",
            trace = format!("{:032x}", self.id),
            stream = about("sluice.stream"),
            engine = about("sluice.engine")
        );
        let _within = span.enter();
        for Span { name, .. } in self.spans.iter().skip(1) {
            let took_ms = self.took_ms(name);
            tracing::debug!(took_ms, "{name}");
        }
        let took_ms = self.took_ms("play");
        match self.fault {
            None => tracing::debug!(took_ms, "play began"),
            Some(fault) => tracing::debug!(took_ms, fault, "play came to nothing"),
        }
    }

    /// What is known of the play under a name.
    pub(super) fn about(&self, name: &str) -> Option<&str> {
        self.about.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// How long one of its spans took, milliseconds.
    pub(super) fn took_ms(&self, name: &str) -> Option<f64> {
        let span = self.spans.iter().find(|span| span.name == name)?;
        Some(span.length().as_micros() as f64 / 1000.0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use sluice_contract::{ClientId, Hex40, Options, RefusalCode, ShardId, Start, StreamKey, StreamName};

    fn stream() -> StreamKey {
        StreamKey { name: StreamName::Infohash(Hex40::from_bytes([7; 20])), options: Options::default() }
    }

    /// A play whose moments lie so many milliseconds after `zero`.
    pub(in crate::diagnosis) fn play(zero: Instant) -> Play {
        let at = |millis| Some(zero + Duration::from_millis(millis));
        Play {
            shard: ShardId(1),
            client: ClientId(0xabc),
            asked_as: format!("content_id={}", "03".repeat(20)).into(),
            stream: Some(stream()),
            asked: zero,
            start: Some(Start {
                lease_asked: at(1),
                lease_granted: at(30),
                lease: Some(LeaseId(5)),
                engine_asked: at(31),
                engine_answered: at(431),
                first_media: at(931),
                tries: 1,
            }),
            told: zero + Duration::from_millis(940),
            outcome: Ok(zero + Duration::from_millis(935)),
        }
    }

    fn decision(zero: Instant, lease: u64) -> Decision {
        Decision {
            shard: ShardId(1),
            stream: stream(),
            asked: zero + Duration::from_millis(2),
            decided: zero + Duration::from_millis(12),
            outcome: Ok((LeaseId(lease), EngineId("one:6878".into()))),
            candidates: Vec::new(),
        }
    }

    fn told(trace: &Trace) -> Vec<(&'static str, Option<&'static str>, u128)> {
        let of =
            |span: &Span| (span.name, span.parent.map(|at| trace.spans[at].name), span.length().as_millis());
        trace.spans.iter().map(of).collect()
    }

    /// Guards: the five parts of a start with their own lengths, the choice of the engine within the wait for the lease.
    #[test]
    fn a_start_has_five_parts() {
        let zero = Instant::now();
        let mut choices = Choices::default();
        (0..9).for_each(|lease| choices.note(&decision(zero, lease)));
        let refused = Decision { outcome: Err(RefusalCode::NoEngine), ..decision(zero, 5) };
        choices.note(&refused);
        let trace = Trace::of(&play(zero), choices.find(LeaseId(5)).as_ref());
        assert_eq!(
            told(&trace),
            [
                ("play", None, 935),
                ("lease", Some("play"), 29),
                ("select", Some("lease"), 10),
                ("engine_start", Some("play"), 400),
                ("first_byte", Some("play"), 500),
                ("first_client_byte", Some("play"), 4),
            ]
        );
        assert_eq!((trace.id, trace.fault), (0xabc, None));
        assert!(trace.about.contains(&("sluice.engine", "one:6878".to_owned())));
    }

    /// Guards: a player that joins what plays already waited for its first byte alone, and a play that came to nothing
    /// tells how far it came and why it went no further.
    #[test]
    fn other_plays_have_the_parts_they_had() {
        let zero = Instant::now();
        let joined = Play { start: None, ..play(zero) };
        let trace = Trace::of(&joined, None);
        assert_eq!(told(&trace), [("play", None, 935), ("first_client_byte", Some("play"), 935)]);

        let stuck = Start { engine_answered: None, first_media: None, ..play(zero).start.unwrap() };
        let failed = Play { start: Some(stuck), outcome: Err("start_timeout"), ..play(zero) };
        let trace = Trace::of(&failed, None);
        assert_eq!(told(&trace), [("play", None, 940), ("lease", Some("play"), 29)]);
        assert_eq!(trace.fault, Some("start_timeout"));
    }

    /// Guards: what is kept of choices is bounded, and the newest are there.
    #[test]
    fn choices_are_bounded() {
        let (zero, mut choices) = (Instant::now(), Choices::default());
        (0..CHOICES_MAX as u64 + 10).for_each(|lease| choices.note(&decision(zero, lease)));
        assert_eq!(choices.0.len(), CHOICES_MAX);
        assert!(choices.find(LeaseId(9)).is_none() && choices.find(LeaseId(10)).is_some());
    }
}
