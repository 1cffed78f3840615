//! Sending traces to a collector: OTLP over HTTP in its JSON form, a batch at a time, each with a deadline.
//!
//! A batch that is not taken is dropped and counted: traces of the last seconds are not worth keeping memory for, and a
//! collector that comes back wants to know what happens now.

use super::trace::{Span, Trace};
use super::{Counts, Endpoint, Live};
use crate::fetch;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};

/// Traces of one request.
const BATCH_MAX: usize = 128;
/// How long the first of a batch waits for others.
const BATCH_WAIT: Duration = Duration::from_millis(500);
/// A collector takes a batch within so long.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The kind of span that serves somebody, and the one that does not.
const SERVER: u8 = 2;
const INTERNAL: u8 = 1;
/// The status of a span that failed.
const FAILED: u8 = 2;

/// Sends for the life of the plane.
pub(super) async fn run(mut inbox: mpsc::Receiver<Trace>, live: watch::Receiver<Live>, counts: Arc<Counts>) {
    let mut is_taken = true;
    while let Some(first) = inbox.recv().await {
        let mut batch = vec![first];
        let until = tokio::time::Instant::now() + BATCH_WAIT;
        while batch.len() < BATCH_MAX {
            match tokio::time::timeout_at(until, inbox.recv()).await {
                Ok(Some(trace)) => batch.push(trace),
                Ok(None) | Err(_) => break,
            }
        }
        let endpoint = live.borrow().endpoint.clone();
        // Switched off while they waited: nobody wants them any more.
        let Some(endpoint) = endpoint else { continue };
        match send(&endpoint, &batch).await {
            Ok(()) => {
                counts.sent(batch.len());
                if !std::mem::replace(&mut is_taken, true) {
                    tracing::info!(collector = %endpoint.authority, "traces are taken again");
                }
            }
            Err(error) => {
                counts.not_taken(batch.len());
                if std::mem::replace(&mut is_taken, false) {
                    tracing::warn!(collector = %endpoint.authority, %error, "traces are not taken and dropped");
                }
            }
        }
    }
}

async fn send(endpoint: &Endpoint, batch: &[Trace]) -> Result<(), fetch::Error> {
    let body = request(batch, Clock::now()).to_string();
    let (host, authority) = (&*endpoint.host, &*endpoint.authority);
    fetch::post((host, endpoint.port), authority, &endpoint.target, body, TIMEOUT).await
}

/// Turns instants into times of day.
#[derive(Clone, Copy)]
struct Clock(Instant, SystemTime);

impl Clock {
    fn now() -> Self {
        Self(Instant::now(), SystemTime::now())
    }

    /// Nanoseconds since 1970, as text: JSON numbers do not hold them.
    fn nanos(self, at: Instant) -> String {
        let ago = self.0.saturating_duration_since(at);
        let time = self.1.checked_sub(ago).unwrap_or(UNIX_EPOCH);
        time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
    }
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// The request for a batch.
fn request(batch: &[Trace], clock: Clock) -> Value {
    let spans: Vec<Value> = batch.iter().flat_map(|trace| spans(trace, clock)).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": [
            attribute("service.name", "sluice"),
            attribute("service.version", env!("CARGO_PKG_VERSION")),
        ] },
        "scopeSpans": [{ "scope": { "name": "sluice.play" }, "spans": spans }],
    }] })
}

fn spans(trace: &Trace, clock: Clock) -> impl Iterator<Item = Value> {
    trace.spans.iter().enumerate().map(move |(at, span)| {
        let mut shown = span_of(trace.id, at, span, clock);
        if at == 0 {
            shown["attributes"] = trace.about.iter().map(|(key, value)| attribute(key, value)).collect();
            if let Some(fault) = trace.fault {
                shown["status"] = json!({ "code": FAILED, "message": fault });
            }
        }
        shown
    })
}

fn span_of(trace: u128, at: usize, span: &Span, clock: Clock) -> Value {
    let mut shown = json!({
        "traceId": format!("{trace:032x}"),
        "spanId": span_id(trace, at),
        "name": span.name,
        "kind": if at == 0 { SERVER } else { INTERNAL },
        "startTimeUnixNano": clock.nanos(span.start),
        "endTimeUnixNano": clock.nanos(span.end.max(span.start)),
    });
    if let Some(parent) = span.parent {
        shown["parentSpanId"] = span_id(trace, parent).into();
    }
    shown
}

/// A span's id: unique within its trace, which is random, and never zero, which means none.
fn span_id(trace: u128, at: usize) -> String {
    let id = ((trace >> 64) as u64 ^ trace as u64).wrapping_add(at as u64);
    // At most one of a trace's few spans would be the zero: it takes a place no other has.
    format!("{:016x}", if id == 0 { u64::MAX / 2 } else { id })
}

#[cfg(test)]
mod tests {
    use super::super::trace::tests::play;
    use super::*;
    use std::collections::HashSet;

    /// Guards the form of a request: the fields and the encodings that collectors require of OTLP's JSON.
    #[test]
    fn a_request_has_the_form_collectors_read() {
        let clock = Clock(Instant::now() + Duration::from_secs(9), UNIX_EPOCH + Duration::from_secs(1000));
        let zero = clock.0 - Duration::from_secs(5);
        let failed = sluice_contract::Play { outcome: Err("no_engine"), ..play(zero) };
        let request = request(&[Trace::of(&play(zero), None), Trace::of(&failed, None)], clock);
        let scope = &request["resourceSpans"][0]["scopeSpans"][0];
        let spans = scope["spans"].as_array().unwrap();
        let first = &spans[0];
        assert_eq!(first["traceId"], format!("{:032x}", 0xabc));
        assert_eq!((first["name"].as_str(), first["kind"].as_u64()), (Some("play"), Some(2)));
        assert_eq!(first["startTimeUnixNano"], "995000000000");
        assert_eq!(first["endTimeUnixNano"], "995935000000");
        assert!(first.get("parentSpanId").is_none() && first.get("status").is_none());
        let asked_as = format!("content_id={}", "03".repeat(20));
        let attributes = first["attributes"].as_array().unwrap();
        assert!(attributes.contains(&attribute("sluice.asked_as", &asked_as)), "{attributes:?}");
        let ids: HashSet<&str> = spans[..5].iter().map(|span| span["spanId"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 5, "{ids:?}");
        assert!(ids.iter().all(|id| id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
        assert!(spans[1..5].iter().all(|span| span["parentSpanId"] == first["spanId"]));
        assert_eq!(spans[5]["status"], json!({ "code": 2, "message": "no_engine" }));
        let service = &request["resourceSpans"][0]["resource"]["attributes"][0];
        assert_eq!(*service, attribute("service.name", "sluice"));
    }

    /// Guards: no span id is zero, and none is another's, where they wrap around.
    #[test]
    fn span_ids_stay_apart_where_they_wrap() {
        for trace in [0, u128::from(u64::MAX), u128::from(u64::MAX - 2), u128::MAX] {
            let ids: HashSet<String> = (0..6).map(|at| span_id(trace, at)).collect();
            assert_eq!(ids.len(), 6, "{trace:x}");
            assert!(!ids.contains(&"0".repeat(16)), "{trace:x}");
        }
    }
}
