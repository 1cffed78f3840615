//! What lines of the debug log say, apart from their time and kind. Pure.

use super::trace::Trace;
use crate::engines::{Decision, Happening, What};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use sluice_contract::EngineId;
use std::time::{Duration, Instant};

/// A request that takes longer than this is slow: control answers from memory.
const REQUEST_SLOW: Duration = Duration::from_millis(100);
/// A play that takes longer is slow: engines usually need less to start a stream.
const PLAY_SLOW_MS: f64 = 15_000.0;
/// Characters of a path.
const PATH_CHARS_MAX: usize = 256;

fn millis(length: Duration) -> f64 {
    length.as_micros() as f64 / 1000.0
}

/// A request that was answered.
pub(crate) fn request(method: &Method, path: &str, status: StatusCode, took: Duration) -> Value {
    let path: String = path.chars().take(PATH_CHARS_MAX).collect();
    json!({
        "method": method.as_str(), "path": path, "status": status.as_u16(),
        "took_ms": millis(took), "slow": took > REQUEST_SLOW,
    })
}

/// An engine's health changed.
pub(crate) fn health(engine: &EngineId, before: Option<&str>, after: &str, fault: Option<&str>) -> Value {
    json!({ "engine": engine, "before": before, "after": after, "fault": fault })
}

/// Something happened to an engine in Docker.
pub(crate) fn provisioning(happening: &Happening) -> Value {
    let Happening { name, id, what } = happening;
    let mut line = json!({ "engine": name, "id": id.as_ref().map(|id| &*id.0), "event": what.as_str() });
    match what {
        What::Begun { image, failures } => {
            line["image"] = image.as_str().into();
            line["attempt"] = (failures + 1).into();
        }
        What::Failed { code, text, remedy, pause } => {
            line["code"] = (*code).into();
            line["text"] = text.as_str().into();
            line["remedy"] = (*remedy).into();
            line["retry_after_ms"] = millis(*pause).into();
        }
        What::Ready { took } => line["took_ms"] = millis(*took).into(),
        What::Leaving(why) | What::Gone(why) => line["reason"] = (*why).into(),
        What::Made | What::Adopted => {}
    }
    line
}

/// How a choice between engines came about.
pub(super) fn selection(decision: &Decision) -> Value {
    let candidates: Vec<Value> = decision
        .candidates
        .iter()
        .map(|seen| {
            json!({
                "engine": seen.engine, "score": seen.score,
                "obstacle": seen.obstacle.map(|obstacle| obstacle.as_str()),
                "poor": seen.is_poor, "near": seen.is_near, "forwarded": seen.is_forwarded, "health": seen.state.as_str(),
                "streams": seen.streams, "starts": seen.starts,
            })
        })
        .collect();
    let waited = |asked: Instant, decided: Instant| millis(decided.saturating_duration_since(asked));
    json!({
        "stream": decision.stream.to_string(), "shard": decision.shard.0,
        "waited_ms": waited(decision.asked, decision.decided),
        "chosen": decision.outcome.as_ref().ok().map(|(_, engine)| engine),
        "refused": decision.outcome.as_ref().err().map(|code| code.as_str()),
        "candidates": candidates,
    })
}

/// Where the time of a play went.
pub(super) fn play(trace: &Trace) -> Value {
    let mut line = json!({ "trace": format!("{:032x}", trace.id), "fault": trace.fault });
    for (name, value) in &trace.about {
        line[name.trim_start_matches("sluice.")] = value.as_str().into();
    }
    for span in trace.spans.iter().skip(1) {
        line[format!("{}_ms", span.name)] = millis(span.length()).into();
    }
    let took_ms = trace.took_ms("play").unwrap_or_default();
    line["took_ms"] = took_ms.into();
    line["slow"] = (took_ms > PLAY_SLOW_MS).into();
    line
}

#[cfg(test)]
mod tests {
    use super::super::trace::tests::play as told;
    use super::*;

    /// Guards: slow ones are flagged, and a path is cut where nobody would read on.
    #[test]
    fn slow_requests_are_flagged() {
        let of =
            |millis, path: &str| request(&Method::GET, path, StatusCode::OK, Duration::from_millis(millis));
        assert_eq!(
            of(3, "/engines"),
            json!({ "method": "GET", "path": "/engines", "status": 200, "took_ms": 3.0, "slow": false })
        );
        assert_eq!(of(250, "/engines")["slow"], true);
        assert_eq!(of(1, &"x".repeat(9999))["path"].as_str().map(str::len), Some(PATH_CHARS_MAX));
    }

    /// Guards: a play's line has the length of each of its parts.
    #[test]
    fn a_play_tells_where_its_time_went() {
        let zero = Instant::now();
        let line = play(&Trace::of(&told(zero), None));
        assert_eq!((&line["engine_start_ms"], &line["first_byte_ms"]), (&json!(400.0), &json!(500.0)));
        assert_eq!(
            (&line["took_ms"], &line["slow"], &line["fault"]),
            (&json!(935.0), &json!(false), &Value::Null)
        );
        assert_eq!((&line["shard"], &line["tries"]), (&json!("1"), &json!("1")));
        let late = sluice_contract::Play { outcome: Ok(zero + Duration::from_secs(16)), ..told(zero) };
        assert_eq!(play(&Trace::of(&late, None))["slow"], true);
    }
}
