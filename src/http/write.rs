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
