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

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network")).into();
        client_address(address(peer), forwarded.iter().copied(), &trusted).to_string()
    }

    #[test]
    fn the_rightmost_untrusted_hop_is_the_client() {
        let cases: [(&str, &[&str], &str); 12] = [
            ("192.0.2.1", &["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.2.2.2"], "198.51.100.7"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.7", "10.2.2.2"], "198.51.100.7"),
            ("10.0.0.1", &["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
            ("10.0.0.1", &["198.51.100.7, unknown, 10.2.2.2"], "10.2.2.2"),
            ("10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7"),
            ("10.0.0.1", &["\"[2001:db8::7]:4711\""], "2001:db8::7"),
            ("10.0.0.1", &["[2001:db8::7]"], "2001:db8::7"),
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7"),
            ("fd00::1", &[""], "fd00::1"),
        ];
        for (peer, forwarded, expected) in cases {
            assert_eq!(client(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64\x07\x0a\x00\x00\x01\x12\x67\x1f\x40";

    fn complete(source: Option<&str>, consumed: usize) -> Result<ProxyParsed, ProxyError> {
        Ok(ProxyParsed::Complete { source: source.map(|text| text.parse().expect("an address")), consumed })
    }

    #[test]
    fn both_versions_name_the_client() {
        let line = b"PROXY TCP4 198.51.100.7 10.0.0.1 4711 8000\r\n";
        assert_eq!(
            parse_proxy(&[line, &b"GET"[..]].concat()),
            complete(Some("198.51.100.7:4711"), line.len())
        );
        let line = b"PROXY TCP6 2001:db8::7 ::1 4711 8000\r\n";
        assert_eq!(parse_proxy(line), complete(Some("[2001:db8::7]:4711"), line.len()));
        assert_eq!(parse_proxy(b"PROXY UNKNOWN any thing\r\n"), complete(None, 25));
        assert_eq!(parse_proxy(&[V2, b"GET"].concat()), complete(Some("198.51.100.7:4711"), V2.len()));
        let mut local = V2.to_vec();
        local[12] = 0x20;
        assert_eq!(parse_proxy(&local), complete(None, V2.len()));
    }

    #[test]
    fn a_head_in_parts_is_waited_for() {
        for whole in [&b"PROXY TCP4 198.51.100.7 10.0.0.1 4711 8000\r\n"[..], V2] {
            for length in 0..whole.len() {
                assert_eq!(parse_proxy(&whole[..length]), Ok(ProxyParsed::Partial), "{length} bytes");
            }
        }
    }

    #[test]
    fn anything_else_is_left_alone() {
        for bytes in [&b"GET / HTTP/1.1"[..], b"PUT", b"PROXIES", b"\r\nGET", b"\x16\x03"] {
            assert_eq!(parse_proxy(bytes), Ok(ProxyParsed::None), "{bytes:?}");
        }
    }

    #[test]
    fn broken_and_endless_heads_are_errors() {
        let endless = [b"PROXY TCP4 ", &b"1".repeat(200)[..]].concat();
        for bytes in [&endless[..], b"PROXY TCP4 x y 1 2\r\n", b"PROXY SCTP a b 1 2\r\n"] {
            assert_eq!(parse_proxy(bytes), Err(ProxyError::Malformed), "{bytes:?}");
        }
        let mut short = V2.to_vec();
        short[15] = 4;
        assert_eq!(parse_proxy(&short), Err(ProxyError::Malformed));
        let mut large = V2.to_vec();
        large[14] = 0xff;
        assert_eq!(parse_proxy(&large), Err(ProxyError::TooLarge));
    }
}
