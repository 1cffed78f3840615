//! Heads of players, engines and proxies: no bytes make their readers panic, a head read in parts is the head read at
//! once, and what was read can be written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::http::{
    HEAD_BYTES_MAX, HeadError, Parsed, RequestHead, ResponseParsed, parse_response,
    proxied::{ProxyParsed, parse_proxy},
    query,
    request::{HeadReader, parse},
    url,
};

// Input: bytes per read less one, then what is read.
fuzz_target!(|input: &[u8]| {
    let [step, bytes @ ..] = input else { return };
    let step = usize::from(*step) + 1;
    let at_once = parse(bytes);
    assert_eq!(in_parts(bytes, step), at_once);
    if let Ok(Parsed::Complete { head, consumed }) = &at_once {
        assert!(*consumed <= bytes.len() && *consumed <= HEAD_BYTES_MAX);
        assert!(head.path.starts_with('/') || head.path == "*");
        written_and_read_again(head);
        query::pairs(head.query.as_deref().unwrap_or_default()).for_each(drop);
        if let Some(value) = head.header("location") {
            take_url(value);
        }
    }
    if let Ok(ResponseParsed::Complete { head, consumed }) = parse_response(bytes) {
        assert!(consumed <= bytes.len() && consumed <= HEAD_BYTES_MAX && head.status >= 101);
        if let Some(location) = head.location() {
            take_url(location);
        }
    }
    if let Ok(ProxyParsed::Complete { consumed, .. }) = parse_proxy(bytes) {
        assert!(consumed <= bytes.len());
    }
});

/// Shows the reader a growing buffer until it has an answer.
fn in_parts(bytes: &[u8], step: usize) -> Result<Parsed, HeadError> {
    let mut reader = HeadReader::default();
    for length in (0..bytes.len()).step_by(step) {
        let answer = reader.parse(&bytes[..length]);
        if answer != Ok(Parsed::Partial) {
            return answer;
        }
    }
    reader.parse(bytes)
}

fn written_and_read_again(head: &RequestHead) {
    let mut text = format!("{} {} HTTP/1.{}\r\n", head.method.as_str(), head.target, head.minor_version);
    for (name, value) in &head.headers {
        text.push_str(&format!("{name}:{value}\r\n"));
    }
    text.push_str("\r\n");
    // Replacement characters are longer than the bytes they stand for, which may lift a head over the cap.
    if text.len() <= HEAD_BYTES_MAX {
        let consumed = text.len();
        assert_eq!(parse(text.as_bytes()), Ok(Parsed::Complete { head: head.clone(), consumed }));
    }
}

fn take_url(text: &str) {
    if let Ok((authority, path)) = url::path_and_query(text) {
        assert!(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(matches!(
            parse(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()),
            Ok(Parsed::Complete { .. })
        ));
        url::is_foreign(authority.as_deref().unwrap_or_default(), "engine:6878");
    }
}
