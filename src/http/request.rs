//! Request heads of players.
//!
//! A head is looked at without being consumed, so that a connection can be handed to the control plane with its bytes
//! unread. Lines may end in LF alone, as hyper accepts them too: both planes must agree where a head ends. Bodies are
//! not read here; a head that declares its body in two ways is refused, because the next request on the connection
//! could then be read differently by somebody else.

use super::head::{
    EndScan, Fault, HEAD_BYTES_MAX, HEADERS_MAX, HeadError, content_length, has_token, leading_line_ends,
};

/// What a request asks to be done. Only what Sluice tells apart has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `OPTIONS`
    Options,
    /// Any other token, as sent.
    Other(String),
}

impl Method {
    /// The method as sent.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Other(token) => token,
        }
    }

    fn from_token(token: &str) -> Self {
        match token {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "OPTIONS" => Self::Options,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// A request without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The target as sent.
    pub target: String,
    /// The target's path, not percent-decoded; `*` for the whole server.
    pub path: String,
    /// What follows the first question mark, not decoded, without a fragment.
    pub query: Option<String>,
    /// 0 or 1: the x of HTTP/1.x.
    pub minor_version: u8,
    /// Fields in the order sent: lower-case name, trimmed value. Bytes of a value that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    has_body: bool,
}

impl RequestHead {
    /// The first field of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All fields of this lower-case name, in the order sent.
    pub fn headers_named<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
        self.headers.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the client wants the connection to stay open behind the answer.
    pub fn keep_alive(&self) -> bool {
        let says = |token| has_token(self.headers_named("connection").map(str::as_bytes), token);
        !says("close") && (self.minor_version > 0 || says("keep-alive"))
    }

    /// Whether bytes of a body follow the head.
    pub fn has_body(&self) -> bool {
        self.has_body
    }
}

/// What the bytes read so far amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// More bytes are needed.
    Partial,
    /// A whole head.
    Complete {
        /// The request.
        head: RequestHead,
        /// Bytes up to the end of the head, skipped line ends in front of it included.
        consumed: usize,
    },
}

/// Reads one head from a growing buffer. One reader per head: make a new one behind each.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadReader {
    skipped: usize,
    end: EndScan,
}

impl HeadReader {
    /// Looks at all bytes of the connection that no earlier request consumed. Call it again when there are more; the
    /// bytes seen before are not scanned again.
    ///
    /// # Errors
    /// [`HeadError`] if these bytes can never become an acceptable head.
    pub fn parse(&mut self, buf: &[u8]) -> Result<Parsed, HeadError> {
        self.skipped += leading_line_ends(&buf[self.skipped..]);
        let skipped = self.skipped;
        let rest = &buf[skipped..];
        if rest.first().is_some_and(|&byte| byte != b'\r' && !byte.is_ascii_graphic()) {
            // A TLS hello, for one, contains no line end to wait for.
            return Err(Fault::NotHttp.into());
        }
        match self.end.find(rest) {
            Some(end) if skipped + end > HEAD_BYTES_MAX => Err(HeadError::TooLarge),
            Some(end) => Ok(Parsed::Complete { head: parse_whole(&rest[..end])?, consumed: skipped + end }),
            None if buf.len() >= HEAD_BYTES_MAX => Err(HeadError::TooLarge),
            None => Ok(Parsed::Partial),
        }
    }
}

/// Looks at a buffer once; see [`HeadReader`] for one that grows.
///
/// # Errors
/// [`HeadError`] if these bytes can never become an acceptable head.
pub fn parse(buf: &[u8]) -> Result<Parsed, HeadError> {
    HeadReader::default().parse(buf)
}

fn parse_whole(bytes: &[u8]) -> Result<RequestHead, HeadError> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let complete = request.parse(bytes).map_err(head_error)? == httparse::Status::Complete(bytes.len());
    let (true, Some(method), Some(target), Some(minor_version)) =
        (complete, request.method, request.path, request.version)
    else {
        // The empty line was found, so this is a head whose lines the parser counts differently.
        return Err(Fault::LineEnd.into());
    };
    let (path, query) = split_target(target)?;
    let has_body = declares_body(request.headers, minor_version)?;
    let headers = request.headers.iter().map(|field| {
        (field.name.to_ascii_lowercase(), String::from_utf8_lossy(field.value.trim_ascii()).into_owned())
    });
    Ok(RequestHead {
        method: Method::from_token(method),
        target: target.to_owned(),
        path,
        query,
        minor_version,
        headers: headers.collect(),
        has_body,
    })
}

pub(super) fn head_error(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyHeaders,
        httparse::Error::Version => HeadError::Version,
        httparse::Error::HeaderName => Fault::FieldName.into(),
        httparse::Error::HeaderValue => Fault::FieldValue.into(),
        httparse::Error::NewLine => Fault::LineEnd.into(),
        httparse::Error::Status => Fault::StatusLine.into(),
        httparse::Error::Token => Fault::RequestLine.into(),
    }
}

/// Path and query of a target in origin form, absolute form (proxies use it) or `*`.
fn split_target(target: &str) -> Result<(String, Option<String>), HeadError> {
    let without_fragment = target.split_once('#').map_or(target, |(front, _)| front);
    let (path, query) = match without_fragment.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (without_fragment, None),
    };
    let path = match path.split_once("://") {
        _ if path.starts_with('/') || path == "*" => path,
        Some((scheme, rest)) if is_http(scheme) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        _ => return Err(Fault::Target.into()),
    };
    Ok((path.to_owned(), query))
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

fn declares_body(fields: &[httparse::Header<'_>], minor_version: u8) -> Result<bool, HeadError> {
    let named = |name: &'static str| {
        fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    };
    let length = content_length(named("content-length"))?;
    let encoded = named("transfer-encoding").next().is_some();
    if encoded && (length.is_some() || minor_version == 0) {
        return Err(Fault::TransferEncoding.into());
    }
    Ok(encoded || length.is_some_and(|length| length > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(bytes: &[u8]) -> RequestHead {
        match parse(bytes) {
            Ok(Parsed::Complete { head, consumed }) => {
                assert_eq!(consumed, bytes.len());
                head
            }
            other => panic!("{other:?} for {:?}", String::from_utf8_lossy(bytes)),
        }
    }

    fn fault(bytes: &[u8]) -> Fault {
        match parse(bytes) {
            Err(HeadError::Malformed { fault }) => fault,
            other => panic!("{other:?} for {:?}", String::from_utf8_lossy(bytes)),
        }
    }

    #[test]
    fn an_ordinary_head_is_read_whole() {
        let head = complete(
            b"GET /ace/getstream?id=ab&pid=1 HTTP/1.1\r\nHost: h:8000\r\nX-Forwarded-For: 1.1.1.1\r\n\
              x-forwarded-FOR:  2.2.2.2 \r\nIcy-MetaData:1\r\n\r\n",
        );
        assert_eq!((&head.method, head.minor_version), (&Method::Get, 1));
        assert_eq!((head.path.as_str(), head.query.as_deref()), ("/ace/getstream", Some("id=ab&pid=1")));
        assert_eq!(head.header("icy-metadata"), Some("1"));
        assert_eq!(head.header("range"), None);
        assert_eq!(head.headers_named("x-forwarded-for").collect::<Vec<_>>(), ["1.1.1.1", "2.2.2.2"]);
        assert!(head.keep_alive() && !head.has_body());
    }

    #[test]
    fn every_form_of_target_gives_path_and_query() {
        let cases = [
            ("/", "/", None),
            ("/a?", "/a", Some("")),
            ("/a?b?c", "/a", Some("b?c")),
            ("/a?b#c", "/a", Some("b")),
            ("/a#c?b", "/a", None),
            ("/a?u=http://x/y", "/a", Some("u=http://x/y")),
            ("http://h:80/ace/x?id=1", "/ace/x", Some("id=1")),
            ("HTTPS://h", "/", None),
            ("http://h?x", "/", Some("x")),
            ("*", "*", None),
            ("//x", "//x", None),
        ];
        for (target, path, query) in cases {
            let head = complete(format!("OPTIONS {target} HTTP/1.1\r\n\r\n").as_bytes());
            assert_eq!((head.path.as_str(), head.query.as_deref()), (path, query), "{target}");
        }
        for target in ["h:443", "ace", "ftp://h/x", "?x"] {
            assert_eq!(fault(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()), Fault::Target, "{target}");
        }
    }

    #[test]
    fn line_ends_in_front_are_skipped_and_consumed() {
        let bytes = b"\r\n\n\r\nHEAD / HTTP/1.0\r\n\r\n";
        assert_eq!(complete(bytes).method, Method::Head);
        let mut reader = HeadReader::default();
        for length in 0..bytes.len() {
            assert_eq!(reader.parse(&bytes[..length]), Ok(Parsed::Partial), "{length} bytes");
        }
        assert!(matches!(reader.parse(bytes), Ok(Parsed::Complete { .. })));
    }

    /// Both planes read heads with the same grammar, which takes LF alone for a line end: none may wait for more.
    #[test]
    fn heads_whose_lines_end_in_lf_alone_are_accepted() {
        let head = complete(b"GET /x HTTP/1.1\nHost: h\n\n");
        assert_eq!(head.header("host"), Some("h"));
    }

    #[test]
    fn only_the_first_of_pipelined_heads_is_consumed() {
        let first = b"GET /a HTTP/1.1\r\n\r\n";
        let both = [&first[..], b"GET /b HTTP/1.1\r\n\r\n"].concat();
        let Ok(Parsed::Complete { head, consumed }) = parse(&both) else { panic!("complete") };
        assert_eq!((head.path.as_str(), consumed), ("/a", first.len()));
    }

    #[test]
    fn connections_stay_open_as_version_and_field_say() {
        let cases = [
            (1, "", true),
            (1, "Connection: close\r\n", false),
            (1, "Connection: TE, Close\r\n", false),
            (1, "Connection: keep-alive\r\nConnection: close\r\n", false),
            (0, "", false),
            (0, "Connection: Keep-Alive\r\n", true),
        ];
        for (version, fields, expected) in cases {
            let head = complete(format!("GET / HTTP/1.{version}\r\n{fields}\r\n").as_bytes());
            assert_eq!(head.keep_alive(), expected, "HTTP/1.{version} {fields:?}");
        }
    }

    #[test]
    fn a_body_is_declared_by_length_or_coding() {
        for (fields, expected) in [
            ("", false),
            ("Content-Length: 0\r\n", false),
            ("Content-Length: 5\r\n", true),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", true),
            ("Transfer-Encoding: chunked\r\n", true),
        ] {
            let head = complete(format!("POST / HTTP/1.1\r\n{fields}\r\n").as_bytes());
            assert_eq!(head.has_body(), expected, "{fields:?}");
            assert_eq!(head.method.as_str(), "POST");
        }
    }

    /// Two readers of one connection that disagree where a body ends is how requests are smuggled.
    #[test]
    fn a_body_declared_in_two_ways_is_refused() {
        let cases = [
            ("1.1", "Content-Length: 5\r\nContent-Length: 6\r\n", Fault::ContentLength),
            ("1.1", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Fault::TransferEncoding),
            ("1.1", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", Fault::TransferEncoding),
            ("1.0", "Transfer-Encoding: chunked\r\n", Fault::TransferEncoding),
        ];
        for (version, fields, expected) in cases {
            let bytes = format!("POST / HTTP/{version}\r\n{fields}\r\n");
            assert_eq!(fault(bytes.as_bytes()), expected, "{fields:?}");
        }
    }

    #[test]
    fn the_size_cap_holds_for_heads_in_parts_and_whole() {
        let of_size = |size: usize| {
            let frame = b"GET / HTTP/1.1\r\nA: \r\n\r\n".len();
            format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(size - frame)).into_bytes()
        };
        let largest = of_size(HEAD_BYTES_MAX);
        assert_eq!(complete(&largest).header("a").map(str::len), Some(HEAD_BYTES_MAX - 23));
        assert_eq!(parse(&of_size(HEAD_BYTES_MAX + 1)), Err(HeadError::TooLarge));
        assert_eq!(parse(&largest[..HEAD_BYTES_MAX - 1]), Ok(Parsed::Partial));
        assert_eq!(parse(&of_size(HEAD_BYTES_MAX + 1)[..HEAD_BYTES_MAX]), Err(HeadError::TooLarge));
        assert_eq!(parse(&b"\r\n".repeat(HEAD_BYTES_MAX / 2)), Err(HeadError::TooLarge));
    }

    /// A name longer than 64 KiB kills decoders that unwrap; here it is too large, and a long one under the cap is read.
    #[test]
    fn long_names_are_read_up_to_the_cap() {
        let named =
            |length: usize| format!("GET / HTTP/1.1\r\n{}: 1\r\n\r\n", "n".repeat(length)).into_bytes();
        assert_eq!(complete(&named(12_000)).headers.len(), 1);
        assert_eq!(parse(&named(66_000)), Err(HeadError::TooLarge));
    }

    #[test]
    fn fields_are_counted() {
        let with = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count)).into_bytes();
        assert_eq!(complete(&with(HEADERS_MAX)).headers.len(), HEADERS_MAX);
        assert_eq!(parse(&with(HEADERS_MAX + 1)), Err(HeadError::TooManyHeaders));
    }

    #[test]
    fn what_is_not_http_is_refused_with_its_fault() {
        assert_eq!(
            fault(&[0x16, 0x03, 0x01, 0x02, 0x00]),
            Fault::NotHttp,
            "a TLS hello holds no line end to wait for"
        );
        assert_eq!(parse(b"GET / HTTP/2.0\r\n\r\n"), Err(HeadError::Version));
        assert_eq!(parse(b"PRI * HTTP/2.0\r\n\r\n"), Err(HeadError::Version));
        assert_eq!(fault(b"GET /\x01 HTTP/1.1\r\n\r\n"), Fault::RequestLine);
        assert_eq!(fault(b"GET / HTTP/1.1\r\nbad name: x\r\n\r\n"), Fault::FieldName);
        assert_eq!(fault(b"GET / HTTP/1.1\r\na: b\x00\r\n\r\n"), Fault::FieldValue);
        assert_eq!(fault(b"GET / HTTP/1.1\r\n folded: x\r\n\r\n"), Fault::FieldName);
    }

    #[test]
    fn values_that_are_not_utf8_are_replaced() {
        let head = complete(b"GET / HTTP/1.1\r\nUser-Agent: caf\xe9\r\n\r\n");
        assert_eq!(head.header("user-agent"), Some("caf\u{fffd}"));
    }
}
