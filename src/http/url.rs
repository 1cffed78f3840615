//! URLs that engines hand out: in JSON answers, playlists and redirects.
//!
//! Engines name themselves as the requester's `Host` header did, or as 127.0.0.1, or as a container nobody else can
//! resolve. So only path and query of such a URL are used, at the authority the engine was reached by; Sluice never
//! connects to an authority an engine names. A *redirect* to somewhere that cannot be the engine is an error all the
//! same ([`is_foreign`]): following it here would ask the engine for a path that is meant for somebody else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{Uri, uri::Authority};
use thiserror::Error;

/// The longest URL that is taken from an engine.
pub const URL_BYTES_MAX: usize = 8 * 1024;

const HTTP_PORT: u16 = 80;
/// Endings of names that are only ever given inside a private network.
const PRIVATE_SUFFIXES: [&str; 5] = [".local", ".localhost", ".internal", ".lan", ".home.arpa"];

/// Why a URL is not usable.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    /// Longer than [`URL_BYTES_MAX`].
    #[error("URL is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// A scheme other than http.
    #[error("URL scheme {scheme:?} is not http")]
    Scheme {
        /// The scheme found.
        scheme: String,
    },
    /// Control characters, white space, or no path to use.
    #[error("malformed URL")]
    Malformed,
}

/// The authority an http URL names, if it does, and its path with query, which always begins with a slash. A relative
/// URL must be an absolute path. A fragment is dropped.
///
/// # Errors
/// [`UrlError`] if the URL must not be used.
pub fn path_and_query(url: &str) -> Result<(Option<String>, String), UrlError> {
    if url.len() > URL_BYTES_MAX {
        return Err(UrlError::TooLong);
    }
    if url.is_empty() || url.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(UrlError::Malformed);
    }
    let networked = url.starts_with("//").then(|| format!("http:{url}"));
    let uri: Uri = networked.as_deref().unwrap_or(url).parse().map_err(|_| UrlError::Malformed)?;
    if let Some(scheme) = uri.scheme_str()
        && scheme != "http"
    {
        return Err(UrlError::Scheme { scheme: scheme.to_owned() });
    }
    let authority = uri.authority().map(|authority| authority.as_str().to_owned());
    let usable = match &authority {
        Some(authority) => uri.scheme().is_some() && !authority.contains('@'),
        None => true,
    };
    if !usable || !uri.path().starts_with('/') {
        return Err(UrlError::Malformed);
    }
    let query = uri.query().map_or(String::new(), |query| format!("?{query}"));
    Ok((authority, format!("{}{query}", uri.path())))
}

/// Path and query that `reference` names, as it stands in a document that was fetched from the path `base`. The authority
/// of an absolute one is left out, for the reason above.
///
/// # Errors
/// [`UrlError`] if the URL must not be used.
pub fn resolve(base: &str, reference: &str) -> Result<String, UrlError> {
    let is_relative = !reference.is_empty() && !reference.starts_with('/') && !reference.contains("://");
    let directory = || {
        let path = base.split('?').next().unwrap_or(base);
        &path[..path.rfind('/').map_or(0, |slash| slash + 1)]
    };
    let joined = is_relative.then(|| format!("{}{reference}", directory()));
    path_and_query(joined.as_deref().unwrap_or(reference)).map(|(_, path)| path)
}

/// Whether a redirect to `authority` leads away from the engine that was reached as `known` (both `host` or
/// `host:port`). Taken for the engine's own spelling of itself: the same host, any host with the same port, and
/// loopback, unspecified or private addresses and names. Everything else, unreadable authorities included, is
/// foreign.
pub fn is_foreign(authority: &str, known: &str) -> bool {
    let (Some(named), Some(known)) = (Endpoint::parse(authority), Endpoint::parse(known)) else {
        return true;
    };
    !(named.host == known.host || named.port == known.port || is_private(&named.host))
}

struct Endpoint {
    host: String,
    port: u16,
}

impl Endpoint {
    fn parse(authority: &str) -> Option<Self> {
        let authority: Authority = authority.parse().ok()?;
        let port = match authority.as_str().rsplit_once(':') {
            Some((_, digits)) if !digits.ends_with(']') => digits.parse().ok()?,
            _ => HTTP_PORT,
        };
        Some(Self { host: authority.host().to_ascii_lowercase(), port })
    }
}

fn is_private(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => is_private_v4(address),
        Ok(IpAddr::V6(address)) => is_private_v6(address),
        // A name without a dot is a container's, or this host's.
        Err(_) => !host.contains('.') || PRIVATE_SUFFIXES.iter().any(|suffix| host.ends_with(suffix)),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    // 100.64.0.0/10 is shared between carriers and used by overlay networks.
    let shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
    address.is_loopback()
        || address.is_unspecified()
        || address.is_private()
        || address.is_link_local()
        || shared
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    address.is_loopback()
        || address.is_unspecified()
        || address.is_unique_local()
        || address.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: what a playlist of an engine lists is asked for at the engine's own path, however it is written.
    #[test]
    fn references_are_resolved_to_a_path() {
        for (reference, expected) in [
            ("http://127.0.0.1:6878/ace/c/ih/7.ts", "/ace/c/ih/7.ts"),
            ("/ace/c/ih/7.ts?x=1", "/ace/c/ih/7.ts?x=1"),
            ("7.ts", "/ace/m/ih/7.ts"),
            ("c/7.ts?a=/b", "/ace/m/ih/c/7.ts?a=/b"),
        ] {
            assert_eq!(
                resolve("/ace/m/ih/key.m3u8?q=/z/", reference).as_deref(),
                Ok(expected),
                "{reference}"
            );
        }
        for bad in ["", "https://h/7.ts", "7 8.ts", "http://u:p@h/7.ts"] {
            assert!(resolve("/ace/m/ih/key.m3u8", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_authority_path_and_query_are_taken() {
        let cases = [
            ("http://127.0.0.1:6878/ace/r/aa/bb", Some("127.0.0.1:6878"), "/ace/r/aa/bb"),
            ("HTTP://Engine/ace/m/x.m3u8?a=1&b=%20#top", Some("Engine"), "/ace/m/x.m3u8?a=1&b=%20"),
            ("http://h", Some("h"), "/"),
            ("http://h?x=1", Some("h"), "/?x=1"),
            ("http://[::1]:80/x", Some("[::1]:80"), "/x"),
            ("//h:1/x", Some("h:1"), "/x"),
            ("/content/aa/0.244809501849", None, "/content/aa/0.244809501849"),
        ];
        for (url, authority, path) in cases {
            assert_eq!(path_and_query(url), Ok((authority.map(str::to_owned), path.to_owned())), "{url}");
        }
    }

    /// Whatever is accepted is written into a request line: nothing may end it early or lead to another protocol.
    #[test]
    fn unusable_urls_are_refused() {
        let malformed = [
            "",
            "ace/r/x",
            "h:80",
            "*",
            "http://",
            "http:///x",
            "http://u:p@h/x",
            "/a b",
            "/a\r\nHost: x",
            "/\u{e9}",
        ];
        for url in malformed {
            assert_eq!(path_and_query(url), Err(UrlError::Malformed), "{url:?}");
        }
        for scheme in ["https", "ftp", "acestream"] {
            let refused = Err(UrlError::Scheme { scheme: scheme.to_owned() });
            assert_eq!(path_and_query(&format!("{scheme}://h/x")), refused);
        }
        assert_eq!(path_and_query(&format!("/{}", "x".repeat(URL_BYTES_MAX))), Err(UrlError::TooLong));
    }

    #[test]
    fn an_engines_spellings_of_itself_are_not_foreign() {
        let known = "engine-3.example.org:6878";
        let own = [
            "ENGINE-3.example.org",
            "127.0.0.1:40000",
            "[::1]:40000",
            "0.0.0.0",
            "172.17.0.2:80",
            "100.100.1.1",
            "[fd00::1]",
            "[::ffff:10.0.0.1]:1",
            "localhost:1",
            "gluetun",
            "engine.local:99",
            "203.0.113.9:6878",
        ];
        for authority in own {
            assert!(!is_foreign(authority, known), "{authority}");
        }
        for authority in
            ["203.0.113.9", "example.com:80", "[2001:db8::1]:443", "100.128.0.1", "h:99999", "a b", ""]
        {
            assert!(is_foreign(authority, known), "{authority:?}");
        }
    }
}
