//! `host:port` of an engine as the operator wrote it.

use super::Error;
use std::sync::Arc;

/// A checked `host:port`: the host is a name, an IPv4 address or an IPv6 address in brackets, the port is not 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Authority {
    text: Arc<str>,
    host_length: usize,
    port: u16,
}

impl Authority {
    /// The text as configured; also the `Host` header and the engine's id.
    pub(crate) fn as_str(&self) -> &Arc<str> {
        &self.text
    }

    /// The host without port and brackets.
    pub(crate) fn host(&self) -> &str {
        self.text[..self.host_length].trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl std::str::FromStr for Authority {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fault = |reason| Error::Authority { authority: text.to_owned(), reason };
        let (host, port) = text.rsplit_once(':').ok_or(fault("the port is missing"))?;
        let port = match port.parse() {
            Ok(0) | Err(_) => return Err(fault("the port is not a number from 1 to 65535")),
            Ok(port) => port,
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if bracketed {
            let inner = &host[1..host.len() - 1];
            inner
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| fault("the brackets do not hold an IPv6 address"))?;
        } else if host.contains(':') {
            return Err(fault("an IPv6 address belongs in brackets"));
        }
        // What goes into a `Host` header must not be able to break out of it.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
        if host.is_empty() || !host.chars().all(allowed) {
            return Err(fault("the host is not a name or an address"));
        }
        Ok(Self { text: text.into(), host_length: host.len(), port })
    }
}

/// Splits an engine's `host:port` for the API; a text without a port gives port 0.
pub(crate) fn split(authority: &str) -> (&str, u16) {
    match authority.rsplit_once(':') {
        Some((host, port)) => {
            (host.trim_start_matches('[').trim_end_matches(']'), port.parse().unwrap_or_default())
        }
        None => (authority, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_taken_and_faults_are_named() {
        for (text, host, port) in [
            ("engine-1.lan:6878", "engine-1.lan", 6878),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[::1]:65535", "::1", 65535),
        ] {
            let authority: Authority = text.parse().unwrap();
            assert_eq!((authority.host(), authority.port(), &**authority.as_str()), (host, port, text));
            assert_eq!(split(text), (host, port));
        }
        for text in [
            "",
            "engine",
            "engine:",
            "engine:0",
            "engine:65536",
            ":6878",
            "::1:80",
            "[x]:80",
            "a b:1",
            "a\r\nb:1",
        ] {
            assert!(text.parse::<Authority>().is_err(), "{text:?} was taken");
        }
    }
}
