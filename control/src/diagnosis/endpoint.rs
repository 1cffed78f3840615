//! Where a collector is.

use std::str::FromStr;
use std::sync::Arc;
use url::{Host, Url};

/// Characters of an address.
const CHARS_MAX: usize = 2048;
/// The route of traces, which an address may leave out.
const ROUTE: &str = "/v1/traces";
/// Where collectors listen for OTLP over HTTP.
const PORT: u16 = 4318;

/// Where a collector takes traces. Plain HTTP: a collector stands beside the appliance, or a proxy that speaks TLS does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Name or address to connect to, without the brackets of IPv6.
    pub(super) host: Arc<str>,
    /// Port.
    pub(super) port: u16,
    /// The `Host` header.
    pub(super) authority: Arc<str>,
    /// Path.
    pub(super) target: Arc<str>,
}

/// Why a text is no such address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotAnEndpoint(&'static str);

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        if text.len() > CHARS_MAX {
            return Err(NotAnEndpoint("it is longer than any address"));
        }
        let url = Url::parse(text.trim()).map_err(|_| NotAnEndpoint("it is no URL"))?;
        if url.scheme() != "http" {
            return Err(NotAnEndpoint("it does not begin with http://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(NotAnEndpoint("it names a user"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(NotAnEndpoint("it has more than a path"));
        }
        let host = match url.host().ok_or(NotAnEndpoint("it has no host"))? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        // A port that is left out is the one of collectors, not that of web servers.
        let is_port_given = text.trim()["http://".len()..].split('/').next().is_some_and(|authority| {
            authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        });
        let port = if is_port_given { url.port_or_known_default().unwrap_or(PORT) } else { PORT };
        let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let path = url.path().trim_end_matches('/');
        let target = if path.ends_with(ROUTE) { path.to_owned() } else { format!("{path}{ROUTE}") };
        Ok(Self {
            host: host.into(),
            port,
            authority: format!("{shown}:{port}").into(),
            target: target.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: the forms collectors' own documents use are understood, and what cannot work is refused with its reason.
    #[test]
    fn addresses_are_read_as_collectors_write_them() {
        for (text, authority, target) in [
            ("http://localhost:4318", "localhost:4318", "/v1/traces"),
            ("http://collector/", "collector:4318", "/v1/traces"),
            ("http://10.0.0.7:80/v1/traces", "10.0.0.7:80", "/v1/traces"),
            ("http://[::1]/otlp", "[::1]:4318", "/otlp/v1/traces"),
            (" http://[::1]:9/otlp/ ", "[::1]:9", "/otlp/v1/traces"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((&*endpoint.authority, &*endpoint.target), (authority, target), "{text}");
        }
        assert_eq!(&*"http://[::1]:9".parse::<Endpoint>().unwrap().host, "::1");
        let long = format!("http://{}", "a".repeat(3000));
        for text in
            ["", "localhost:4318", "https://a", "http://", "http://u:p@a", "http://a/?x", "http://a#b", &long]
        {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?} was taken");
        }
    }
}
