//! Calls to the addresses a stream names: its figures and its commands.

use crate::fetch;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// Longest name look-up.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// An address taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Name or address of the host, without brackets.
    host: String,
    port: u16,
    /// The `Host` header.
    authority: String,
    path_and_query: String,
}

impl Target {
    /// Takes an address apart; `None` when it cannot be asked over plain HTTP.
    pub(crate) fn parse(address: &str) -> Option<Self> {
        let address: http::Uri = address.parse().ok()?;
        if address.scheme_str() != Some("http") {
            return None;
        }
        let (host, port) = (address.host()?, address.port_u16().unwrap_or(80));
        Some(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            authority: format!("{host}:{port}"),
            path_and_query: address.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Another path on the same host.
    pub(crate) fn with_path(&self, path_and_query: String) -> Self {
        Self { path_and_query, ..self.clone() }
    }

    /// The same with a query parameter more.
    pub(crate) fn with_parameter(&self, parameter: &str) -> Self {
        let separator = if self.path_and_query.contains('?') { '&' } else { '?' };
        self.with_path(format!("{}{separator}{parameter}", self.path_and_query))
    }

    /// Where it is.
    ///
    /// # Errors
    /// When the name has no address, or none in time.
    pub(crate) async fn resolve(&self) -> Result<SocketAddr, fetch::Error> {
        let lookup = tokio::net::lookup_host((self.host.as_str(), self.port));
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await;
        let mut found =
            found.map_err(|_| fetch::Error::Late(LOOKUP_TIMEOUT))?.map_err(fetch::Error::Connect)?;
        let none = || std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
        found.next().ok_or_else(|| fetch::Error::Connect(none()))
    }

    /// The question for it, at an address that is known.
    pub(crate) fn call(&self, address: SocketAddr, timeout: Duration) -> fetch::Call<'_> {
        fetch::Call { address, authority: &self.authority, target: &self.path_and_query, timeout }
    }

    /// Looks the name up and asks.
    ///
    /// # Errors
    /// Every way in which there is no JSON.
    pub(crate) async fn json(&self, timeout: Duration) -> Result<Value, fetch::Error> {
        let address = self.resolve().await?;
        fetch::json(self.call(address, timeout)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: addresses are taken apart as they are asked, and a command is added to whatever query there is.
    #[test]
    fn addresses_are_taken_apart() {
        let target = Target::parse("http://engine-1:6878/ace/cmd/a/b").unwrap();
        assert_eq!((target.authority(), &*target.path_and_query), ("engine-1:6878", "/ace/cmd/a/b"));
        assert_eq!(target.with_parameter("method=stop").path_and_query, "/ace/cmd/a/b?method=stop");
        let with_query = Target::parse("http://[::1]/cmd?a=1").unwrap();
        assert_eq!((with_query.authority(), &*with_query.host), ("[::1]:80", "::1"));
        assert_eq!(with_query.with_parameter("method=stop").path_and_query, "/cmd?a=1&method=stop");
        for address in ["", "https://e/x", "/ace/stat", "ftp://e/", "http://"] {
            assert_eq!(Target::parse(address), None, "{address:?}");
        }
    }
}
