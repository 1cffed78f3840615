//! HTTP by hand: just enough of a reader, and a writer that can be as odd as a real engine.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Longest request head that is read.
const HEAD_MAX: usize = 16 * 1024;
/// Longest request body that is read.
const BODY_MAX: usize = 1 << 20;

/// A request as it came in.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// The connection ends after the answer, because the client says so or speaks HTTP/1.0.
    pub(super) wants_close: bool,
}

impl Request {
    /// First value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// First value of a query parameter that is not empty.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(have, value)| have == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// A boolean parameter: `1` or `true`.
    pub(super) fn is_set(&self, name: &str) -> bool {
        matches!(self.parameter(name), Some("1" | "true"))
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

/// Reads requests from one connection and keeps what arrives early.
#[derive(Default)]
pub(super) struct Reader {
    buffer: Vec<u8>,
}

impl Reader {
    /// The next request; `None` at a clean end.
    ///
    /// # Errors
    /// The connection broke, or the request is malformed or too long.
    pub(super) async fn next(&mut self, stream: &mut TcpStream) -> io::Result<Option<Request>> {
        let end = loop {
            if let Some(end) = find_end(&self.buffer) {
                break end;
            }
            if self.buffer.len() > HEAD_MAX {
                return Err(malformed("request head is too long"));
            }
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end);
        let mut request = parse(&head).ok_or_else(|| malformed("not an HTTP request"))?;
        let length = match request.header("content-length").map(str::parse::<usize>) {
            None => 0,
            Some(Ok(length)) if length <= BODY_MAX => length,
            Some(_) => return Err(malformed("request body is too long")),
        };
        while self.buffer.len() < length {
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
        request.body = self.buffer.drain(..length).collect();
        Ok(Some(request))
    }
}

fn malformed(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn find_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4)
}

fn parse(head: &str) -> Option<Request> {
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || !version.starts_with("HTTP/1.") || !target.starts_with('/') {
        return None;
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect();
    let mut request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        path: path.to_owned(),
        query: query.split('&').filter(|pair| !pair.is_empty()).map(decode_pair).collect(),
        headers,
        ..Request::default()
    };
    let says_close = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    request.wants_close = version == "HTTP/1.0" || says_close;
    Some(request)
}

fn decode_pair(pair: &str) -> (String, String) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    (decode(name), decode(value))
}

/// Undoes percent encoding; what is not valid stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What the engine calls itself, as the versions of the 3.2 line do.
const SERVER: &str = "Server: BaseHTTP/0.6 Python/3.10.12\r\n";

/// A JSON answer; always HTTP 200, errors too.
pub(super) fn json(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\n{SERVER}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A JSON answer of the side channel, which uses status codes.
pub(super) fn plain_json(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A text answer with HTTP 200, as for JSONP and garbage.
pub(super) fn text(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\n{SERVER}Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A playback error: 500 with a short reason; the connection stays usable.
pub(super) fn error(reason: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 500 Internal Server Error\r\n{SERVER}Access-Control-Allow-Origin: *\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{reason}",
        reason.len()
    )
    .into_bytes()
}

/// A redirect: neither length nor chunking nor `Connection: close`; the body ends with the connection.
pub(super) fn redirect(location: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 302 Found\r\n{SERVER}Access-Control-Allow-Origin: *\r\nLocation: {location}\r\n\r\n\
         Redirect to {location}"
    )
    .into_bytes()
}

/// The head of a media response; `framing` is a complete header line or empty.
pub(super) fn media_head(framing: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\n{SERVER}Access-Control-Allow-Origin: *\r\nContent-Type: video/mp2t\r\n{framing}\r\n"
    )
    .into_bytes()
}

/// A playlist.
pub(super) fn playlist(text: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\n{SERVER}Access-Control-Allow-Origin: *\r\n\
         Content-Type: application/vnd.apple.mpegurl\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

/// What the owner of a playlist gets that somebody else has taken over.
pub(super) fn forbidden() -> Vec<u8> {
    format!("HTTP/1.1 403 Forbidden\r\n{SERVER}Access-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n")
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the reading of a request: target, parameters with escapes, headers in any case.
    #[test]
    fn a_request_is_taken_apart() {
        let head =
            "GET /ace/getstream?id=ab%20c&pid=&x HTTP/1.1\r\nhost: h:1\r\nACCEPT-encoding: identity\r\n\r\n";
        let request = parse(head).expect("a valid request");
        assert_eq!(request.path, "/ace/getstream");
        assert_eq!(request.parameter("id"), Some("ab c"));
        assert_eq!(request.parameter("pid"), None);
        assert_eq!(request.header("Accept-Encoding"), Some("identity"));
        assert!(!request.wants_close);
        assert!(parse("GET / HTTP/1.0\r\n\r\n").is_some_and(|request| request.wants_close));
        for bad in ["", "GET\r\n\r\n", "GET / SPDY/3\r\n\r\n", "GET http://h/ HTTP/1.1\r\n\r\n"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
        assert_eq!(decode("%zz%4"), "%zz%4");
        assert_eq!(decode("%é"), "%é");
    }
}
