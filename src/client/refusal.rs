//! Refusals as players see them: status, headers, body.

use crate::http::write;
use serde_json::json;
use sluice_contract::{Refusal, RefusalCode};

/// The HTTP status that goes with a refusal.
pub const fn status_of(code: RefusalCode) -> u16 {
    use RefusalCode as Code;
    match code {
        Code::MissingId | Code::AmbiguousId | Code::MalformedId | Code::PidNotAllowed | Code::BadRequest => {
            400
        }
        Code::NotFound | Code::ContentNotFound => 404,
        Code::MethodNotAllowed => 405,
        Code::HeadTimeout => 408,
        Code::RangeNotSatisfiable => 416,
        Code::AddressClientsMax | Code::AddressRate => 429,
        Code::LoopingStream => 422,
        Code::HeadTooLarge => 431,
        Code::Internal => 500,
        Code::EngineUnreachable | Code::EngineError | Code::NotMpegTs => 502,
        Code::ClientsMax
        | Code::StreamClientsMax
        | Code::Memory
        | Code::Descriptors
        | Code::NoEngine
        | Code::MaxCapacity
        | Code::CircuitBreaker
        | Code::NoDocker
        | Code::VpnNotSupported
        | Code::ControlUnavailable
        | Code::SessionEnding
        | Code::Shutdown => 503,
        Code::StartTimeout => 504,
    }
}

/// The whole answer to a refused request. `detail` repeats the text for older clients, which know a looping stream by an
/// object there.
pub fn answer(refusal: &Refusal, close: bool, head_only: bool) -> Vec<u8> {
    let mut body =
        json!({ "error": refusal.detail, "code": refusal.code.as_str(), "detail": refusal.detail });
    if refusal.code == RefusalCode::LoopingStream {
        let code = refusal.code.as_str();
        body["detail"] = json!({ "error": "stream_blacklisted", "code": code, "message": refusal.detail });
    }
    if let Some(seconds) = refusal.retry_after_s {
        body["retry_after"] = seconds.into();
    }
    let seconds = refusal.retry_after_s.map(|seconds| seconds.to_string());
    let mut extra = Vec::new();
    if let Some(seconds) = &seconds {
        extra.push(("Retry-After", seconds.as_str()));
    }
    if refusal.code == RefusalCode::MethodNotAllowed {
        extra.push(("Allow", write::METHODS));
    }
    write::json(status_of(refusal.code), &body.to_string(), &extra, close, head_only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_the_same_in_head_and_body() {
        let refusal = Refusal::new(RefusalCode::MaxCapacity, "every engine is busy").retry_after(30);
        let text = String::from_utf8(answer(&refusal, true, false)).unwrap();
        assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
        assert!(text.contains("\r\nRetry-After: 30\r\n"), "{text}");
        let body: serde_json::Value = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(body["code"], "max_capacity");
        assert_eq!(body["retry_after"], 30);
        assert_eq!(body["error"], body["detail"]);

        let text =
            String::from_utf8(answer(&Refusal::new(RefusalCode::NotFound, "no such route"), true, false))
                .unwrap();
        assert!(!text.to_lowercase().contains("retry"), "a retry that does not help is suggested: {text}");
    }

    /// Guards: clients of the earlier orchestrator find what they know of a looping stream in `detail`.
    #[test]
    fn a_looping_stream_is_told_as_before() {
        let refusal = Refusal::new(RefusalCode::LoopingStream, "it loops");
        let text = String::from_utf8(answer(&refusal, true, false)).unwrap();
        assert!(text.starts_with("HTTP/1.1 422 "), "{text}");
        let body: serde_json::Value = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let detail =
            json!({ "error": "stream_blacklisted", "code": "looping_stream", "message": "it loops" });
        assert_eq!((&body["detail"], &body["code"]), (&detail, &json!("looping_stream")));
    }

    #[test]
    fn every_code_has_a_status_of_an_error() {
        for code in RefusalCode::ALL {
            assert!((400..=599).contains(&status_of(code)), "{code:?}");
        }
    }
}
