//! Texts to values: lengths of time, sizes, numbers, addresses. Pure; every failure says what is wrong with the text.

use super::names::Unit;
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Port of an AceStream engine's HTTP API unless somebody says otherwise.
const ENGINE_PORT: u16 = 6878;

/// A text longer than this is no number, whatever it says.
const NUMBER_CHARS_MAX: usize = 64;

/// `true` or `false` in any case; everything else is a fault, because some programs take `1` for true and some do not.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        text if text.eq_ignore_ascii_case("true") => Ok(true),
        text if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err("it is neither true nor false".to_owned()),
    }
}

/// A whole number of digits only.
pub(super) fn count(text: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("it is not a whole number".to_owned());
    }
    text.parse().map_err(|_| "the number is too large".to_owned())
}

/// Digits with at most one point.
pub(super) fn decimal(text: &str) -> Result<f64, String> {
    let fits = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    let number = (text.len() <= NUMBER_CHARS_MAX && text.bytes().all(fits)).then(|| text.parse().ok());
    number.flatten().ok_or_else(|| "it is not a number".to_owned())
}

/// A length of time: a bare number of `unit`, or numbers with Go's units, e.g. `1m30s`, `250ms`, `1.5h`.
pub(super) fn span(text: &str, unit: Unit) -> Result<Duration, String> {
    if let Ok(bare) = decimal(text) {
        let in_seconds = match unit {
            Unit::Seconds => bare,
            Unit::Milliseconds => bare / 1e3,
        };
        return Duration::try_from_secs_f64(in_seconds).map_err(|_| "it is too long".to_owned());
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number = leading(rest, |byte| byte.is_ascii_digit() || byte == b'.');
        let value = decimal(number).map_err(|_| "it is not a length of time".to_owned())?;
        rest = &rest[number.len()..];
        let name = leading(rest, |byte| !byte.is_ascii_digit() && byte != b'.');
        rest = &rest[name.len()..];
        let seconds_each = match name {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "" => return Err(format!("{number} has no unit")),
            other => return Err(format!("{other:?} is not a unit of time")),
        };
        let part = Duration::try_from_secs_f64(value * seconds_each).ok();
        total = part.and_then(|part| total.checked_add(part)).ok_or("it is too long")?;
    }
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(total) }
}

/// A size: bare bytes, or a number with `k`, `M`, `G` (powers of 1000) or `Ki`, `Mi`, `Gi` (powers of 1024), each with
/// or without `B`, in any case.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let number = leading(text, |byte| byte.is_ascii_digit() || byte == b'.');
    let value = decimal(number).map_err(|_| "it is not a size".to_owned())?;
    let unit = text[number.len()..].trim_start().to_ascii_lowercase();
    let each: f64 = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "ki" => 1024.0,
        "mi" => 1024.0 * 1024.0,
        "gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("{unit:?} is not a unit of size")),
    };
    let bytes = (value * each).round();
    if bytes < 2f64.powi(63) { Ok(bytes as u64) } else { Err("it is too large".to_owned()) }
}

/// The prefix of bytes that satisfy `belongs`; never splits a character, because all bytes of a character that is not
/// ASCII are treated alike by every caller.
fn leading(text: &str, belongs: impl Fn(u8) -> bool) -> &str {
    &text[..text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len())]
}

/// One IP address, or `localhost`.
pub(super) fn ip(text: &str) -> Result<IpAddr, String> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| "it is not an IP address".to_owned())
}

/// A listening address in Go's form: `host:port` or `:port`, where a missing host means `all`.
pub(super) fn listen_address(text: &str, all: IpAddr) -> Result<SocketAddr, String> {
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    let port = port.parse().map_err(|_| "the port is not a number up to 65535")?;
    if host.contains(':') && !host.starts_with('[') {
        return Err("an IPv6 address needs brackets, as in [::1]:8080".to_owned());
    }
    let host = if host.is_empty() { all } else { ip(host)? };
    Ok(SocketAddr::new(host, port))
}

/// Addresses and networks separated by commas or blanks.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let one = |item: &str| {
        let net = item.parse::<IpNet>().ok().or_else(|| item.parse::<IpAddr>().ok().map(IpNet::from));
        net.map(|net| net.trunc()).ok_or_else(|| format!("{item:?} is neither an address nor a network"))
    };
    let mut nets = items(text).map(one).collect::<Result<Vec<_>, _>>()?;
    nets.sort();
    nets.dedup();
    Ok(nets)
}

/// Two ports joined by a dash, the lower one first.
pub(super) fn port_range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').ok_or("it is not low-high")?;
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        (Some(_), Some(_)) => Err("its first port is above its last".to_owned()),
        _ => Err("its ends are not ports from 1 to 65535".to_owned()),
    }
}

/// Engines separated by commas or blanks, each once, in the given order.
pub(super) fn engines(text: &str) -> Result<Vec<NamedEngine>, String> {
    let mut engines: Vec<NamedEngine> = Vec::new();
    for item in items(text) {
        let engine = NamedEngine::parse(item).map_err(|fault| format!("{item:?}: {fault}"))?;
        match engines.iter().find(|other| other.address == engine.address) {
            None => engines.push(engine),
            Some(other) if *other == engine => {}
            Some(other) => return Err(format!("{item:?}: it was named as {other} before")),
        }
    }
    Ok(engines)
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ' ', '\t']).filter(|item| !item.is_empty())
}

/// An engine as the operator named it: where it answers, and what it shares with others.
///
/// Printing it gives `host:port` or `host:port@group`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedEngine {
    /// Where it answers.
    pub address: EngineAddress,
    /// The name of what it shares with others that have the same, such as a VPN.
    pub group: Option<String>,
}

impl NamedEngine {
    fn parse(text: &str) -> Result<Self, String> {
        let Some((address, group)) = text.split_once('@') else {
            return Ok(Self { address: EngineAddress::parse(text)?, group: None });
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=63).contains(&group.len()) || !group.bytes().all(is_plain) {
            return Err("the group behind @ is 1 to 63 letters, digits, '-', '_' and '.'".to_owned());
        }
        Ok(Self { address: EngineAddress::parse(address)?, group: Some(group.to_owned()) })
    }
}

impl fmt::Display for NamedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.group {
            Some(group) => write!(f, "{}@{group}", self.address),
            None => self.address.fmt(f),
        }
    }
}

/// Where one engine's HTTP API answers, as the operator wrote it: a name or address and a port, not yet resolved.
///
/// Printing it gives `host:port`, with brackets around an IPv6 address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EngineAddress {
    host: String,
    port: u16,
}

impl EngineAddress {
    /// Parses `host:port` or `host`.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains("://") || text.contains('/') {
            return Err("write host:port without a scheme and a path".to_owned());
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Self::new(text, ENGINE_PORT);
        }
        match text.rsplit_once(':') {
            Some((host, _)) if host.starts_with('[') != host.ends_with(']') => {
                Err("a bracket is missing".to_owned())
            }
            Some((host, port)) => {
                let port = port.parse().map_err(|_| "the port is not a number up to 65535")?;
                Self::new(host, port)
            }
            None => Self::new(text, ENGINE_PORT),
        }
    }

    /// Checks a host and a port that came apart.
    ///
    /// # Errors
    /// Says what is wrong with the host, or that the port is 0.
    pub fn new(host: &str, port: u16) -> Result<Self, String> {
        if port == 0 {
            return Err("port 0 is no port of an engine".to_owned());
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bare.unwrap_or(host).parse::<Ipv6Addr>().is_ok() {
            return Ok(Self { host: bare.unwrap_or(host).to_ascii_lowercase(), port });
        }
        // Underscores are not legal in host names and common in the names of Compose services.
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if host.len() > 253 || !host.trim_end_matches('.').split('.').all(is_label) {
            return Err("the host is neither a name nor an address".to_owned());
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }

    /// Name or address, without brackets, lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spans_follow_go_and_a_bare_number_has_the_variables_unit() {
        for (text, millis) in [
            ("60s", 60_000.0),
            ("1m30s", 90_000.0),
            ("250ms", 250.0),
            ("1h2m3.5s", 3_723_500.0),
            ("1.5h", 5_400_000.0),
            ("100us", 0.1),
            ("100µs", 0.1),
            ("7ns", 0.000_007),
            ("60", 60_000.0),
            ("0.5", 500.0),
            ("0", 0.0),
        ] {
            let expected = Duration::from_secs_f64(millis / 1e3);
            assert_eq!(span(text, Unit::Seconds), Ok(expected), "{text}");
        }
        assert_eq!(span("1500", Unit::Milliseconds), Ok(Duration::from_millis(1500)));
        assert_eq!(span("2s", Unit::Milliseconds), Ok(Duration::from_secs(2)));
    }

    #[test]
    fn nonsense_is_no_span() {
        for text in
            ["", "s", "1x", "-5s", "1 m", "1m30", "five", ".", "1e3", "1..5s", "99999999999999999999h", "∞"]
        {
            assert!(span(text, Unit::Seconds).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn sizes_follow_their_units() {
        for (text, bytes) in [
            ("4.2MiB", 4_404_019),
            ("4MiB", 4 << 20),
            ("4 MiB", 4 << 20),
            ("1M", 1_000_000),
            ("512k", 512_000),
            ("512KiB", 512 << 10),
            ("1g", 1_000_000_000),
            ("1048576", 1 << 20),
            ("0", 0),
            ("12B", 12),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1M", "1X", "1MM", "1e400", "99999999999999999999G", "1é"] {
            assert!(size(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn only_true_and_false_are_switches() {
        assert_eq!((switch("TRUE"), switch("False")), (Ok(true), Ok(false)));
        for text in ["1", "0", "yes", "on", "tru", ""] {
            assert!(switch(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn listening_addresses_follow_go() {
        let all = IpAddr::from([0, 0, 0, 0]);
        for (text, expected) in [
            (":8080", "0.0.0.0:8080"),
            ("127.0.0.1:6878", "127.0.0.1:6878"),
            ("localhost:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(listen_address(text, all).map(|at| at.to_string()), Ok(expected.to_owned()), "{text}");
        }
        for text in ["8080", ":", ":http", ":65536", "::1:80", "example.org:80", "[::1:80"] {
            assert!(listen_address(text, all).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn networks_and_addresses_mix() {
        let nets = networks("10.1.2.3/8, 192.168.0.7,fd00::/8 10.0.0.0/8").unwrap();
        let shown: Vec<String> = nets.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.0/8", "192.168.0.7/32", "fd00::/8"]);
        assert!(networks("10.0.0.0/33").unwrap_err().contains("10.0.0.0/33"));
    }

    #[test]
    fn engines_are_named_once_and_in_order() {
        let engines = engines("b:1, A,b:1 [::1]:9,10.0.0.1:80 ace_1.local:7").unwrap();
        let shown: Vec<String> = engines.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["b:1", "a:6878", "[::1]:9", "10.0.0.1:80", "ace_1.local:7"]);
        for text in ["http://a:1", "a:0", "a:x", "a b!", "a/b", ":1", "[::1", "::1]:5", "a..b", "ä:1"] {
            assert!(super::engines(text).is_err(), "{text:?} was taken");
        }
        let engines = super::engines("a:1@vpn-1,b:2@vpn-1,c:3,a:1@vpn-1").unwrap();
        let groups: Vec<Option<&str>> = engines.iter().map(|engine| engine.group.as_deref()).collect();
        assert_eq!(groups, [Some("vpn-1"), Some("vpn-1"), None]);
        for text in ["a:1@", "a:1@b/c", "@b", "a:1@b@c", "a:1@ä", "a:1@b,a:1@c", "a:1,a:1@c"] {
            assert!(super::engines(text).is_err(), "{text:?} was taken");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in any::<String>()) {
            let _ = (span(&text, Unit::Seconds), size(&text), decimal(&text), count(&text), networks(&text));
            let _ = (engines(&text), listen_address(&text, Ipv4Addr::UNSPECIFIED.into()), switch(&text));
        }

        #[test]
        fn go_spans_made_of_parts_add_up(h in 0u64..100, m in 0u64..100, s in 0u64..100, ms in 0u64..1000) {
            let expected = Duration::from_millis(((h * 60 + m) * 60 + s) * 1000 + ms);
            prop_assert_eq!(span(&format!("{h}h{m}m{s}s{ms}ms"), Unit::Seconds), Ok(expected));
        }

        #[test]
        fn an_engine_address_survives_printing(host in "[a-z0-9-]{1,20}(\\.[a-z0-9]{1,9}){0,3}", port in 1u16..) {
            let engine = EngineAddress::new(&host, port).unwrap();
            prop_assert_eq!(EngineAddress::parse(&engine.to_string()), Ok(engine));
        }
    }
}
