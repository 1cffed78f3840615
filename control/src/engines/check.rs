//! Is an engine alive: look its name up, ask it for its version, expect JSON within three seconds.
//!
//! An open port proves nothing, since engines hang while still accepting connections.

use super::authority::Authority;
use crate::fetch;
use std::error::Error as _;
use std::net::SocketAddr;
use std::time::Duration;

/// The whole check, name look-up and every address included, takes at most twice this.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
const CONNECTION_TARGET: &str = "/server/api?api_version=3&method=get_network_connection_status";
const TARGET: &str = "/webui/api/service?method=get_version&format=json";

/// What a failed check saw.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CheckFault {
    /// The host name has no address.
    #[error("cannot resolve host name {host:?}: {reason}")]
    Name {
        /// The name as configured.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// The connection was refused, reset or has no route.
    #[error("{0} refuses connections")]
    Refused(SocketAddr),
    /// No connection in time.
    #[error("{0} cannot be connected to within 3 s")]
    Unconnected(SocketAddr),
    /// Connections are taken and closed again, as Docker does for a port nobody in the container listens on.
    #[error("{0} closes connections without an answer")]
    Closed(SocketAddr),
    /// It takes connections, and does not answer in time.
    #[error("{0} takes connections and does not answer within 3 s")]
    Late(SocketAddr),
    /// It answers, but not as an engine does.
    #[error("{address} does not answer as an engine: {reason}")]
    Answer {
        /// Where it was asked.
        address: SocketAddr,
        /// What was wrong.
        reason: String,
    },
}

impl CheckFault {
    /// Whether the engine is certainly not there, as opposed to slow.
    pub(crate) fn is_definite(&self) -> bool {
        matches!(self, Self::Name { .. } | Self::Refused(_))
    }

    /// Whether nobody listens there.
    pub(crate) fn is_deserted(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Closed(_))
    }

    /// The address that was tried, when the name had one.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Name { .. } => None,
            Self::Refused(address)
            | Self::Closed(address)
            | Self::Unconnected(address)
            | Self::Late(address)
            | Self::Answer { address, .. } => Some(*address),
        }
    }
}

/// What an engine says it is, as far as it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Build {
    /// `linux`, …
    pub(crate) platform: Option<String>,
    /// `3.2.3`, …
    pub(crate) version: Option<String>,
}

impl Build {
    /// An engine can say anything; what is longer than any such word is left out.
    const CHARS_MAX: usize = 64;

    fn read(answer: &serde_json::Value) -> Self {
        let text = |name| {
            let text = answer.get("result")?.get(name)?.as_str()?;
            (text.chars().count() <= Self::CHARS_MAX).then(|| text.to_owned())
        };
        Self { platform: text("platform"), version: text("version") }
    }
}

/// An engine that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where.
    pub(crate) address: SocketAddr,
    /// What it says it is.
    pub(crate) build: Build,
}

/// Checks one engine and names the address at which it answered.
///
/// # Errors
/// What the first address showed, or why there is none.
pub(crate) async fn check(authority: &Authority) -> Result<Found, CheckFault> {
    let name_fault = |reason: String| CheckFault::Name { host: authority.host().to_owned(), reason };
    let lookup = tokio::net::lookup_host((authority.host(), authority.port()));
    let addresses = match tokio::time::timeout(CHECK_TIMEOUT, lookup).await {
        Ok(Ok(addresses)) => addresses.take(ADDRESSES_MAX).collect::<Vec<_>>(),
        Ok(Err(error)) => return Err(name_fault(error.to_string())),
        Err(_) => return Err(name_fault("the resolver does not answer within 3 s".to_owned())),
    };
    if addresses.is_empty() {
        return Err(name_fault("it has no address".to_owned()));
    }
    let deadline = tokio::time::Instant::now() + CHECK_TIMEOUT;
    let mut first_fault = None;
    for (tried, address) in addresses.iter().enumerate() {
        // Each address gets its share of what is left, so that a dead first one cannot starve the others.
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
        match ask(*address, authority.as_str(), share).await {
            Ok(build) => return Ok(Found { address: *address, build }),
            Err(fault) => first_fault = first_fault.or(Some(fault)),
        }
    }
    Err(first_fault.unwrap_or_else(|| name_fault("it has no address".to_owned())))
}

/// Whether an engine reaches other peers, as far as it says.
pub(crate) async fn is_connected(authority: &Authority, address: SocketAddr) -> Option<bool> {
    let call = fetch::Call {
        address,
        authority: authority.as_str(),
        target: CONNECTION_TARGET,
        timeout: CHECK_TIMEOUT,
    };
    fetch::json(call).await.ok()?.get("result")?.get("connected")?.as_bool()
}

async fn ask(address: SocketAddr, authority: &str, timeout: Duration) -> Result<Build, CheckFault> {
    match fetch::json(fetch::Call { address, authority, target: TARGET, timeout }).await {
        Ok(answer) if answer.is_object() => Ok(Build::read(&answer)),
        Ok(_) => Err(CheckFault::Answer { address, reason: "its answer is not a JSON object".to_owned() }),
        Err(fetch::Error::Connect(_)) => Err(CheckFault::Refused(address)),
        Err(fetch::Error::Unconnected(_)) => Err(CheckFault::Unconnected(address)),
        Err(fetch::Error::Late(_)) => Err(CheckFault::Late(address)),
        Err(fetch::Error::Http(error)) if is_closed(&error) => Err(CheckFault::Closed(address)),
        Err(error) => Err(CheckFault::Answer { address, reason: error.to_string() }),
    }
}

/// Whether the connection ended before anything was answered, rather than with something that is no HTTP.
fn is_closed(error: &hyper::Error) -> bool {
    let is_broken = || error.source().is_some_and(|cause| cause.is::<std::io::Error>());
    error.is_incomplete_message() || error.is_canceled() || error.is_closed() || is_broken()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Guards: a port behind which nobody listens is told from one on which something else answers, also where Docker takes the
    /// connection first.
    #[tokio::test]
    async fn a_deserted_port_is_told_from_a_strange_one() {
        for answer in [None, Some(&b"220 mail.example ESMTP\r\n"[..])] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let authority: Authority =
                listener.local_addr().expect("an address").to_string().parse().unwrap();
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    if let Some(answer) = answer {
                        let _ = stream.read(&mut [0; 1024]).await;
                        let _ = stream.write_all(answer).await;
                    }
                }
            });
            let fault = check(&authority).await.expect_err("it is no engine");
            assert_eq!(fault.is_deserted(), answer.is_none(), "{fault}");
        }
        let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let authority: Authority = nobody.local_addr().expect("an address").to_string().parse().unwrap();
        drop(nobody);
        assert!(check(&authority).await.expect_err("nobody is there").is_deserted());
    }
}
