//! Answers to players: heads of streams, and whole small answers.
//!
//! A stream's head says that its body ends with the connection: a chunked body would cost every player a copy of every
//! byte. Values are written as given except that control characters become spaces, so that nothing a peer sent can
//! add a field.

use std::fmt::Write;

use http::StatusCode;

/// What players may ask of a stream: the value of `Allow` and of its CORS twin.
pub const METHODS: &str = "GET, HEAD, OPTIONS";

/// A field of an answer: name and value.
pub type Field<'a> = (&'a str, &'a str);

macro_rules! stream_head {
    ($version:literal) => {
        concat!(
            $version,
            " 200 OK\r\n",
            "Content-Type: video/mp2t\r\n",
            "Cache-Control: no-store\r\n",
            "Accept-Ranges: none\r\n",
            "Access-Control-Allow-Origin: *\r\n",
            "Connection: close\r\n",
            "\r\n"
        )
        .as_bytes()
    };
}

/// The head in front of a stream, and the whole answer to `HEAD` for one. `minor_version` is the request's.
pub fn stream_head(minor_version: u8) -> &'static [u8] {
    // Some television sets read nothing but their own version back.
    if minor_version == 0 { stream_head!("HTTP/1.0") } else { stream_head!("HTTP/1.1") }
}

/// A whole JSON answer. `close` says whether the connection ends behind it, `head_only` leaves the body out as an
/// answer to `HEAD` must.
pub fn json(status: u16, body: &str, extra: &[Field<'_>], close: bool, head_only: bool) -> Vec<u8> {
    let length = body.len().to_string();
    let mut fields = vec![
        ("Content-Type", "application/json"),
        ("Content-Length", &length),
        ("Cache-Control", "no-store"),
        ("Access-Control-Allow-Origin", "*"),
    ];
    fields.extend_from_slice(extra);
    let mut answer = head(status, &fields, close);
    if !head_only {
        answer.push_str(body);
    }
    answer.into_bytes()
}

/// The head of an answer with these fields; a body, if any, is the caller's to send and to describe.
pub fn answer_head(status: u16, fields: &[Field<'_>], close: bool) -> Vec<u8> {
    head(status, fields, close).into_bytes()
}

/// The answer to `OPTIONS`, for browsers that ask before they play.
pub fn preflight(close: bool) -> Vec<u8> {
    let fields = [
        ("Allow", METHODS),
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Methods", METHODS),
        ("Access-Control-Allow-Headers", "*"),
        ("Access-Control-Max-Age", "86400"),
    ];
    head(StatusCode::NO_CONTENT.as_u16(), &fields, close).into_bytes()
}

/// The standard phrase of a status code.
pub fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown")
}

fn head(status: u16, fields: &[Field<'_>], close: bool) -> String {
    let connection = ("Connection", if close { "close" } else { "keep-alive" });
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in fields.iter().chain([&connection]) {
        let value = value.replace(|letter: char| letter.is_control(), " ");
        // Writing to a string cannot fail.
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Framing, ResponseHead, ResponseParsed, parse_response};

    fn read(answer: &[u8]) -> (ResponseHead, &[u8]) {
        match parse_response(answer) {
            Ok(ResponseParsed::Complete { head, consumed }) => (head, &answer[consumed..]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_streams_body_ends_with_the_connection() {
        for minor_version in [0, 1] {
            let (head, body) = read(stream_head(minor_version));
            assert_eq!((head.status, head.minor_version, body), (200, minor_version, &b""[..]));
            assert_eq!((head.content_type(), head.framing()), (Some("video/mp2t"), Framing::UntilClose));
            let field = |name| head.header(name).unwrap_or("missing").to_owned();
            let fields =
                ["cache-control", "accept-ranges", "access-control-allow-origin", "connection"].map(field);
            assert_eq!(fields, ["no-store", "none", "*", "close"]);
        }
    }

    #[test]
    fn json_answers_are_length_delimited_and_readable_from_any_page() {
        let answer = json(503, r#"{"code":"memory"}"#, &[("Retry-After", "30")], false, false);
        let (head, body) = read(&answer);
        assert_eq!((head.status, body), (503, &br#"{"code":"memory"}"#[..]));
        assert_eq!(head.framing(), Framing::Length(17));
        assert_eq!((head.header("retry-after"), head.header("connection")), (Some("30"), Some("keep-alive")));
        assert_eq!(head.header("access-control-allow-origin"), Some("*"));
        assert!(answer.starts_with(b"HTTP/1.1 503 Service Unavailable\r\n"));
    }

    #[test]
    fn an_answer_to_head_declares_the_length_of_a_body_it_leaves_out() {
        let answer = json(404, "{}", &[], true, true);
        let (head, body) = read(&answer);
        assert_eq!((head.framing(), body), (Framing::Length(2), &b""[..]));
        assert_eq!(head.header("connection"), Some("close"));
    }

    #[test]
    fn a_preflight_names_the_methods_and_has_no_body() {
        let answer = preflight(false);
        let (head, body) = read(&answer);
        assert_eq!((head.status, head.framing(), body), (204, Framing::None, &b""[..]));
        assert_eq!(head.header("access-control-allow-methods"), Some(METHODS));
        assert_eq!(head.header("access-control-allow-headers"), Some("*"));
    }

    #[test]
    fn control_characters_cannot_add_a_field() {
        let answer = json(400, "", &[("X-Echo", "a\r\nSet-Cookie: b\0")], true, false);
        let (head, _) = read(&answer);
        assert_eq!(head.header("set-cookie"), None);
        assert_eq!(head.header("x-echo"), Some("a  Set-Cookie: b"));
    }

    #[test]
    fn every_status_in_use_has_its_phrase() {
        for status in
            [200, 204, 206, 302, 400, 404, 405, 408, 416, 422, 429, 431, 500, 501, 502, 503, 504, 505]
        {
            assert_ne!(reason(status), "Unknown", "{status}");
        }
        assert_eq!(reason(42), "Unknown");
    }
}
