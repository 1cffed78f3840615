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
