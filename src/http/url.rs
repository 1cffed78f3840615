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
    let path = uri.path_and_query().map(|path| path.as_str()).filter(|path| path.starts_with('/'));
    let usable =
        authority.as_ref().is_none_or(|authority| uri.scheme().is_some() && !authority.contains('@'));
    match path {
        Some(path) if usable => Ok((authority, path.to_owned())),
        _ => Err(UrlError::Malformed),
    }
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
