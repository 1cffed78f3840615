//! Response heads of engines.
//!
//! The grammar is monoio-http's `ResponseHeadDecoder`, behind a byte cap: without one it panics on a field name longer
//! than 64 KiB and rescans endless heads. What it would wait for without end (a head that never begins with `HTTP/`,
//! lines that end in LF alone) is refused here. Interim answers (1xx) are skipped. A response head is small and comes
//! in one or two reads, so there is no resumption.

use bytes::BytesMut;
use http::{HeaderMap, StatusCode, Version, header};
use monoio_codec::{Decoded, Decoder};
use monoio_http::h1::codec::decoder::{DecodeError, ResponseHeadDecoder};

use super::{
    body::Framing,
    head::{EndScan, Fault, HEAD_BYTES_MAX, HeadError, content_length, leading_line_ends},
    request::head_error,
};

/// What every HTTP/1 response begins with.
const BEGINNING: &[u8] = b"HTTP/";

/// A response without its body.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status code, 100 to 999.
    pub status: u16,
    /// 0 or 1: the x of HTTP/1.x.
    pub minor_version: u8,
    /// All fields.
    pub headers: HeaderMap,
    framing: Framing,
}

impl ResponseHead {
    /// The first field of this name, if it is printable ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Where a redirect leads, unjudged; see [`super::url`].
    pub fn location(&self) -> Option<&str> {
        self.header(header::LOCATION.as_str())
    }

    /// The media type with its parameters.
    pub fn content_type(&self) -> Option<&str> {
        self.header(header::CONTENT_TYPE.as_str())
    }

    /// How the end of the body is told, for an answer to `GET`.
    pub fn framing(&self) -> Framing {
        self.framing
    }
}

/// What the bytes read so far amount to.
#[derive(Clone, Debug)]
pub enum ResponseParsed {
    /// More bytes are needed.
    Partial,
    /// A whole head.
    Complete {
        /// The final response.
        head: ResponseHead,
        /// Bytes up to the end of the head, interim answers included.
        consumed: usize,
    },
}

/// Looks at all bytes the engine sent so far in answer to one request.
///
/// # Errors
/// [`HeadError`] if these bytes can never become an acceptable head.
pub fn parse_response(buf: &[u8]) -> Result<ResponseParsed, HeadError> {
    let mut consumed = 0;
    loop {
        let start = consumed + leading_line_ends(&buf[consumed..]);
        let rest = &buf[start..];
        if !rest.iter().zip(BEGINNING).all(|(byte, expected)| byte == expected) {
            return Err(Fault::NotHttp.into());
        }
        let Some(end) = EndScan::default().find(rest) else {
            return if buf.len() >= HEAD_BYTES_MAX {
                Err(HeadError::TooLarge)
            } else {
                Ok(ResponseParsed::Partial)
            };
        };
        consumed = start + end;
        if consumed > HEAD_BYTES_MAX {
            return Err(HeadError::TooLarge);
        }
        let head = decode(&rest[..end])?;
        let interim = head.status < 200 && head.status != StatusCode::SWITCHING_PROTOCOLS.as_u16();
        if !interim {
            return Ok(ResponseParsed::Complete { head, consumed });
        }
    }
}

fn decode(bytes: &[u8]) -> Result<ResponseHead, HeadError> {
    debug_assert!(bytes.len() <= HEAD_BYTES_MAX, "the decoder is only ever used behind the cap");
    let parts = match ResponseHeadDecoder.decode(&mut BytesMut::from(bytes)) {
        Ok(Decoded::Some(parts)) => parts,
        // An empty line was found, but not where lines end in CR LF.
        Ok(_) => return Err(Fault::LineEnd.into()),
        Err(DecodeError::Parse(error)) => return Err(head_error(error)),
        Err(_) => return Err(Fault::StatusLine.into()),
    };
    let status = parts.status.as_u16();
    let framing = framing(status, &parts.headers)?;
    let minor_version = u8::from(parts.version == Version::HTTP_11);
    Ok(ResponseHead { status, minor_version, headers: parts.headers, framing })
}

/// RFC 9112, 6.3, for answers to `GET`. A coding other than chunked ends with the connection.
fn framing(status: u16, headers: &HeaderMap) -> Result<Framing, HeadError> {
    if status < 200 || status == 204 || status == 304 {
        return Ok(Framing::None);
    }
    let codings = headers.get_all(header::TRANSFER_ENCODING).iter().map(http::HeaderValue::as_bytes);
    if let Some(coding) = codings.flat_map(|value| value.split(|&byte| byte == b',')).last() {
        let chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return Ok(if chunked { Framing::Chunked } else { Framing::UntilClose });
    }
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter().map(http::HeaderValue::as_bytes);
    Ok(content_length(lengths)?.map_or(Framing::UntilClose, Framing::Length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(bytes: &[u8]) -> (ResponseHead, usize) {
        match parse_response(bytes) {
            Ok(ResponseParsed::Complete { head, consumed }) => (head, consumed),
            other => panic!("{other:?} for {:?}", String::from_utf8_lossy(bytes)),
        }
    }

    fn error(bytes: &[u8]) -> HeadError {
        parse_response(bytes).expect_err("not a response")
    }

    /// The unframed redirect of an engine, as captured from several versions.
    #[test]
    fn a_redirect_without_a_declared_body_ends_with_the_connection() {
        let bytes = b"HTTP/1.1 302 Found\r\nServer: BaseHTTP/0.6 Python/3.8\r\n\
            Location: http://127.0.0.1:6878/content/aa/bb\r\nAccess-Control-Allow-Origin: *\r\n\r\nRedirect to";
        let (head, consumed) = complete(bytes);
        assert_eq!((head.status, head.minor_version), (302, 1));
        assert_eq!(head.location(), Some("http://127.0.0.1:6878/content/aa/bb"));
        assert_eq!((head.framing(), &bytes[consumed..]), (Framing::UntilClose, &b"Redirect to"[..]));
    }

    #[test]
    fn framing_follows_status_coding_and_length() {
        let cases = [
            ("200 OK", "", Framing::UntilClose),
            ("200 OK", "Content-Length: 12\r\n", Framing::Length(12)),
            ("200 OK", "Content-Length: 12\r\nTransfer-Encoding: chunked\r\n", Framing::Chunked),
            ("200 OK", "Transfer-Encoding: gzip, Chunked\r\n", Framing::Chunked),
            ("200 OK", "Transfer-Encoding: gzip\r\n", Framing::UntilClose),
            ("204 No Content", "Content-Length: 12\r\n", Framing::None),
            ("304 Not Modified", "", Framing::None),
            ("101 Switching Protocols", "", Framing::None),
        ];
        for (status, fields, expected) in cases {
            let (head, _) = complete(format!("HTTP/1.1 {status}\r\n{fields}\r\n").as_bytes());
            assert_eq!(head.framing(), expected, "{status} {fields:?}");
        }
        let twice = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(error(twice), Fault::ContentLength.into());
    }

    #[test]
    fn interim_answers_are_skipped_and_consumed() {
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        let whole = format!("{interim}HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n");
        for length in 0..whole.len() {
            assert!(
                matches!(parse_response(&whole.as_bytes()[..length]), Ok(ResponseParsed::Partial)),
                "{length}"
            );
        }
        let (head, consumed) = complete(whole.as_bytes());
        assert_eq!((head.status, head.minor_version, consumed), (200, 0, whole.len()));
        assert_eq!(head.content_type(), Some("video/mp2t"));
    }

    /// The decoder behind this panics on names over 64 KiB and never gives up on endless heads.
    #[test]
    fn hostile_heads_are_errors() {
        let named = |length| format!("HTTP/1.1 200 OK\r\n{}: 1\r\n\r\n", "n".repeat(length)).into_bytes();
        assert_eq!(error(&named(66_000)), HeadError::TooLarge);
        assert_eq!(error(&named(66_000)[..HEAD_BYTES_MAX]), HeadError::TooLarge);
        assert_eq!(complete(&named(12_000)).0.headers.len(), 1);
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(200));
        assert_eq!(error(many.as_bytes()), HeadError::TooManyHeaders);
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD_BYTES_MAX / 25 + 1);
        assert_eq!(error(&interim), HeadError::TooLarge);
    }

    /// Waiting for what can never come would last until the start budget ends.
    #[test]
    fn what_can_never_become_a_response_is_refused_at_once() {
        for bytes in [&b"ICY 200 OK\r\n"[..], b"failed to load content", b"\x47\x40", b"HTTX"] {
            assert_eq!(error(bytes), Fault::NotHttp.into(), "{bytes:?}");
        }
        assert_eq!(error(b"HTTP/1.1 200 OK\nA: b\n\n"), Fault::LineEnd.into());
        assert_eq!(error(b"HTTP/1.1 2x0 OK\r\n\r\n"), Fault::StatusLine.into());
        assert_eq!(error(b"HTTP/1.1 000 OK\r\n\r\n"), Fault::StatusLine.into());
        assert_eq!(error(b"HTTP/3.1 200 OK\r\n\r\n"), HeadError::Version);
    }
}
