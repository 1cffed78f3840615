//! Who the client is when a proxy stands in front: `X-Forwarded-For` and the PROXY protocol, believed only from
//! proxies that were named as trusted.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use ppp::{v1, v2};
use thiserror::Error;

/// The longest PROXY protocol head. Version 1 needs at most 107 bytes; version 2 carries addresses and a few
/// extensions, of which certificates' names are the longest in use.
pub const PROXY_BYTES_MAX: usize = 4 * 1024;

/// What version 1 begins with, the separator included.
const V1_BEGINNING: &[u8] = b"PROXY ";
/// The longest version 1 head, its line end included.
const V1_BYTES_MAX: usize = 107;
/// Version 2 up to and including its length field.
const V2_FIXED_BYTES: usize = 16;

/// The client's address: the rightmost hop that is not a trusted proxy. `forwarded` are the values of all
/// `X-Forwarded-For` fields in the order sent. Nothing is believed unless the peer itself is trusted, and nothing to
/// the left of a hop that is untrusted or unreadable; if all hops are trusted it is the leftmost. Ports, brackets and
/// quotes are tolerated. IPv4 addresses in IPv6 clothing come out as IPv4.
pub fn client_address<'a>(
    peer: IpAddr,
    forwarded: impl Iterator<Item = &'a str>,
    trusted: &[IpNet],
) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    if !is_trusted(&client) {
        return client;
    }
    let values: Vec<&str> = forwarded.collect();
    for hop in values.iter().rev().flat_map(|value| value.rsplit(',')) {
        let Some(address) = hop_address(hop) else { break };
        client = address;
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

fn hop_address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim().trim_matches('"');
    let bare = || hop.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    let address =
        hop.parse::<IpAddr>().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.or_else(bare).map(|address| address.to_canonical())
}

/// What the first bytes of a connection from a trusted proxy amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyParsed {
    /// More bytes are needed.
    Partial,
    /// The connection does not begin with the PROXY protocol.
    None,
    /// A whole PROXY head.
    Complete {
        /// The client, unless the proxy speaks for itself or does not know.
        source: Option<SocketAddr>,
        /// Bytes of the head.
        consumed: usize,
    },
}

/// Why a PROXY head is not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProxyError {
    /// It begins like one but breaks the grammar.
    #[error("malformed PROXY protocol head")]
    Malformed,
    /// Longer than [`PROXY_BYTES_MAX`].
    #[error("PROXY protocol head is longer than {PROXY_BYTES_MAX} bytes")]
    TooLarge,
}

/// Looks for a PROXY protocol head, version 1 or 2, at the very front of a connection.
///
/// # Errors
/// [`ProxyError`] if the bytes begin like one but can never become one.
pub fn parse_proxy(buf: &[u8]) -> Result<ProxyParsed, ProxyError> {
    if begins(buf, v2::PROTOCOL_PREFIX) {
        parse_v2(buf)
    } else if begins(buf, V1_BEGINNING) {
        parse_v1(buf)
    } else {
        Ok(ProxyParsed::None)
    }
}

/// Whether the bytes are the beginning of this, or begin with it.
fn begins(buf: &[u8], beginning: &[u8]) -> bool {
    buf.iter().zip(beginning).all(|(byte, expected)| byte == expected)
}

fn parse_v1(buf: &[u8]) -> Result<ProxyParsed, ProxyError> {
    let line = &buf[..buf.len().min(V1_BYTES_MAX)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if line.len() == V1_BYTES_MAX {
            Err(ProxyError::Malformed)
        } else {
            Ok(ProxyParsed::Partial)
        };
    };
    let consumed = end + 2;
    let head = v1::Header::try_from(&buf[..consumed]).map_err(|_| ProxyError::Malformed)?;
    let source = match head.addresses {
        v1::Addresses::Tcp4(pair) => Some(SocketAddr::new(pair.source_address.into(), pair.source_port)),
        v1::Addresses::Tcp6(pair) => Some(SocketAddr::new(pair.source_address.into(), pair.source_port)),
        v1::Addresses::Unknown => None,
    };
    Ok(ProxyParsed::Complete { source: source.map(canonical), consumed })
}

fn parse_v2(buf: &[u8]) -> Result<ProxyParsed, ProxyError> {
    let Some(fixed) = buf.first_chunk::<V2_FIXED_BYTES>() else { return Ok(ProxyParsed::Partial) };
    let consumed = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if consumed > PROXY_BYTES_MAX {
        return Err(ProxyError::TooLarge);
    }
    let Some(whole) = buf.get(..consumed) else { return Ok(ProxyParsed::Partial) };
    let head = v2::Header::try_from(whole).map_err(|_| ProxyError::Malformed)?;
    let source = match (head.command, head.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(pair)) => {
            Some(SocketAddr::new(pair.source_address.into(), pair.source_port))
        }
        (v2::Command::Proxy, v2::Addresses::IPv6(pair)) => {
            Some(SocketAddr::new(pair.source_address.into(), pair.source_port))
        }
        (v2::Command::Local | v2::Command::Proxy, _) => None,
    };
    Ok(ProxyParsed::Complete { source: source.map(canonical), consumed })
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
