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
