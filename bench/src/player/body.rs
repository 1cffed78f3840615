//! Response heads and bodies as bytes on a connection. Pure and incremental: fed what was read, it says what that was.

use serde::Serialize;

/// Longest response head that is accepted; more is a fault of the server.
pub const HEAD_LEN_MAX: usize = 64 * 1024;
/// Most header lines that are accepted.
const HEADERS_MAX: usize = 128;
/// Longest chunk-size line or trailer line.
const CHUNK_LINE_LEN_MAX: usize = 4096;

/// What is wrong with a response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The head does not end.
    #[error("the response head is longer than {HEAD_LEN_MAX} bytes")]
    HeadTooLong,
    /// The head is not HTTP.
    #[error("the response head is not HTTP ({cause}), it begins with {begin:?}")]
    BadHead {
        /// What the parser says.
        cause: httparse::Error,
        /// Its first bytes.
        begin: String,
    },
    /// `Content-Length` is not a number.
    #[error("content-length {0:?} is not a number")]
    BadLength(String),
    /// Chunked framing is broken.
    #[error("bad chunk framing: {0:?}")]
    BadChunk(String),
}

/// Status line and headers of a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Status code.
    pub status: u16,
    /// Minor version: 0 or 1.
    pub version_minor: u8,
    /// Reason phrase.
    pub reason: String,
    /// Headers in the order and spelling they came in.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first value of a header, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Reads a head from the start of `bytes`: the head and its length, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// The bytes are not, or cannot become, a response head.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Fault> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(bytes).map_err(|cause| Fault::BadHead {
            cause,
            begin: String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned(),
        })?;
        let httparse::Status::Complete(length) = parsed else {
            return if bytes.len() < HEAD_LEN_MAX { Ok(None) } else { Err(Fault::HeadTooLong) };
        };
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let head = Self {
            status: response.code.unwrap_or(0),
            version_minor: response.version.unwrap_or(0),
            reason: response.reason.unwrap_or("").to_owned(),
            headers: response.headers.iter().map(|it| (it.name.to_owned(), text(it.value))).collect(),
        };
        Ok(Some((head, length)))
    }
}

/// Takes the framing off a response body.
#[derive(Debug)]
pub struct Body(Framing);

#[derive(Debug)]
enum Framing {
    UntilClose,
    Length(u64),
    Chunked { state: Chunk, line: Vec<u8> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    Size,
    Data(u64),
    DataEnd,
    Trailer,
    Done,
}

impl Body {
    /// The body that follows `head`. `answers_head` tells that the request was HEAD, whose answer has none.
    ///
    /// # Errors
    /// The head does not say how long the body is.
    pub fn after(head: &Head, answers_head: bool) -> Result<Self, Fault> {
        if answers_head || matches!(head.status, 100..=199 | 204 | 304) {
            return Ok(Self(Framing::Length(0)));
        }
        if head.header("transfer-encoding").is_some_and(|it| it.to_ascii_lowercase().contains("chunked")) {
            return Ok(Self(Framing::Chunked { state: Chunk::Size, line: Vec::new() }));
        }
        match head.header("content-length") {
            Some(text) => match text.trim().parse() {
                Ok(length) => Ok(Self(Framing::Length(length))),
                Err(_) => Err(Fault::BadLength(text.to_owned())),
            },
            None => Ok(Self(Framing::UntilClose)),
        }
    }

    /// Takes bytes in and hands their payload to `sink`. Returns how many bytes were used; those left belong to the
    /// next response.
    ///
    /// # Errors
    /// The chunk framing is broken.
    pub fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(&[u8])) -> Result<usize, Fault> {
        match &mut self.0 {
            Framing::UntilClose => {
                sink(bytes);
                Ok(bytes.len())
            }
            Framing::Length(left) => {
                let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                if taken > 0 {
                    sink(&bytes[..taken]);
                }
                *left -= taken as u64;
                Ok(taken)
            }
            Framing::Chunked { state, line } => {
                let mut used = 0;
                while *state != Chunk::Done && used < bytes.len() {
                    used += state.step(line, &bytes[used..], &mut sink)?;
                }
                Ok(used)
            }
        }
    }

    /// The framing says that the body is complete. A body that lasts until the connection closes never says so.
    pub fn is_complete(&self) -> bool {
        match &self.0 {
            Framing::UntilClose => false,
            Framing::Length(left) => *left == 0,
            Framing::Chunked { state, .. } => *state == Chunk::Done,
        }
    }

    /// The end of the connection is the end of the body.
    pub fn is_until_close(&self) -> bool {
        matches!(self.0, Framing::UntilClose)
    }
}

impl Chunk {
    fn step(
        &mut self,
        line: &mut Vec<u8>,
        bytes: &[u8],
        sink: &mut impl FnMut(&[u8]),
    ) -> Result<usize, Fault> {
        if let Self::Data(left) = self {
            let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            sink(&bytes[..taken]);
            *left -= taken as u64;
            if *left == 0 {
                *self = Self::DataEnd;
            }
            return Ok(taken);
        }
        let broken = |line: &[u8]| Fault::BadChunk(String::from_utf8_lossy(line).into_owned());
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            line.extend_from_slice(bytes);
            return if line.len() > CHUNK_LINE_LEN_MAX { Err(broken(&line[..80])) } else { Ok(bytes.len()) };
        };
        line.extend_from_slice(&bytes[..end]);
        let text = String::from_utf8_lossy(line).trim().to_owned();
        *self = match *self {
            Self::Size => {
                let digits = text.split(';').next().unwrap_or("").trim();
                match u64::from_str_radix(digits, 16) {
                    Ok(0) => Self::Trailer,
                    Ok(size) => Self::Data(size),
                    Err(_) => return Err(broken(line)),
                }
            }
            Self::DataEnd if text.is_empty() => Self::Size,
            Self::DataEnd => return Err(broken(line)),
            Self::Trailer if text.is_empty() => Self::Done,
            other => other,
        };
        line.clear();
        Ok(end + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &str) -> Head {
        let text = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
        Head::parse(text.as_bytes()).expect("valid head").expect("whole head").0
    }

    fn decode(headers: &str, bytes: &[u8], piece: usize) -> Result<(Vec<u8>, usize, bool), Fault> {
        let mut body = Body::after(&head(headers), false)?;
        let (mut out, mut used) = (Vec::new(), 0);
        for chunk in bytes.chunks(piece) {
            let taken = body.feed(chunk, |data| out.extend_from_slice(data))?;
            used += taken;
            if taken < chunk.len() {
                break;
            }
        }
        Ok((out, used, body.is_complete()))
    }

    /// Guards chunked framing at every cut, and that bytes of the next response stay untouched.
    #[test]
    fn chunked_bodies_decode_however_they_are_cut() {
        let bytes = b"4;x=y\r\nabcd\r\n0a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nHTTP/1.1";
        for piece in 1..bytes.len() {
            let (out, used, complete) =
                decode("Transfer-Encoding: chunked\r\n", bytes, piece).expect("valid");
            assert_eq!((&out[..], complete), (&b"abcd0123456789"[..], true), "pieces of {piece}");
            assert_eq!(used, bytes.len() - 8);
        }
        let broken = decode("Transfer-Encoding: chunked\r\n", b"4\r\nabcdX\r\n", 100);
        assert_eq!(broken, Err(Fault::BadChunk("X\r".to_owned())));
        assert!(matches!(decode("transfer-encoding: Chunked\r\n", b"zz\r\n", 1), Err(Fault::BadChunk(_))));
    }

    /// Guards counted bodies and the refusal of a length that is none.
    #[test]
    fn counted_bodies_end_where_they_should() {
        assert_eq!(decode("Content-Length: 3\r\n", b"abcdef", 2), Ok((b"abc".to_vec(), 3, true)));
        assert_eq!(decode("content-length: x\r\n", b"", 1), Err(Fault::BadLength("x".to_owned())));
        assert_eq!(decode("", b"abc", 1), Ok((b"abc".to_vec(), 3, false)));
    }

    /// Guards that text which is no head, or never ends, is a fault and not a wait.
    #[test]
    fn a_head_that_is_none_is_a_fault() {
        assert!(matches!(Head::parse(b"nonsense\r\n\r\n"), Err(Fault::BadHead { .. })));
        assert_eq!(Head::parse(b"HTTP/1.1 200"), Ok(None));
        let mut endless = b"HTTP/1.1 200 OK\r\nA: ".to_vec();
        endless.resize(HEAD_LEN_MAX + 1, b'a');
        assert_eq!(Head::parse(&endless), Err(Fault::HeadTooLong));
    }
}
