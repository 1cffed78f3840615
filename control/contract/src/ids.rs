//! Identities: what a player asks for, what a session is keyed on, who owns what.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Twenty bytes written as 40 hexadecimal digits: a content id or an infohash.
///
/// Parsing trims white space and accepts either case; printing is always lower case, so that one identity has one
/// spelling everywhere (directory, owner hash, logs, API).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hex40([u8; 20]);

/// Why a text is not a 40-digit id. The text names the fault for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The id is empty after trimming.
    #[error("the id is empty, an id has 40 hexadecimal digits")]
    Empty,
    /// The id has another length than 40.
    #[error("{0} characters, an id has 40")]
    Length(usize),
    /// A character outside `0-9a-fA-F`; the position counts from 1.
    #[error("character {position} is {found:?}, an id has only hexadecimal digits")]
    Digit {
        /// One-based position of the offending character.
        position: usize,
        /// The offending character.
        found: char,
    },
}

impl Hex40 {
    /// Wraps 20 raw bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The 20 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl std::str::FromStr for Hex40 {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        let length = text.chars().count();
        if length != 40 {
            return Err(IdError::Length(length));
        }
        let mut bytes = [0u8; 20];
        for (at, found) in text.chars().enumerate() {
            let digit = found.to_digit(16).ok_or(IdError::Digit { position: at + 1, found })? as u8;
            bytes[at / 2] = bytes[at / 2] << 4 | digit;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Hex40 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hex40 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hex40 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hex40 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How a player or an engine names a broadcast.
///
/// A content id and an infohash are different numbers for the same broadcast; many published links carry an infohash
/// in `id=`, so the kind says only which parameter was used, not what the number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// `id=` (engine: `content_id`).
    ContentId(Hex40),
    /// `infohash=`.
    Infohash(Hex40),
}

impl Selector {
    /// The number itself, whichever parameter carried it.
    pub const fn value(&self) -> Hex40 {
        match *self {
            Self::ContentId(value) | Self::Infohash(value) => value,
        }
    }

    /// The engine's query parameter for this selector.
    pub const fn parameter(&self) -> &'static str {
        match self {
            Self::ContentId(_) => "content_id",
            Self::Infohash(_) => "infohash",
        }
    }

    /// The same number under the other parameter: the second try when an engine does not know the first.
    pub const fn other(&self) -> Self {
        match *self {
            Self::ContentId(value) => Self::Infohash(value),
            Self::Infohash(value) => Self::ContentId(value),
        }
    }
}

/// The engine parameters that change the bytes of a broadcast (`_idx`, `transcode_audio`, …), canonical:
/// sorted `name=value` pairs joined by `&`, percent-encoded, empty when there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Options(Arc<str>);

impl Options {
    /// Builds the canonical form from already percent-encoded pairs.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut pairs: Vec<String> =
            pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.sort();
        pairs.dedup();
        Self(pairs.join("&").into())
    }

    /// The canonical query text, without a leading `?` or `&`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the broadcast is asked for as it is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One way of asking for a stream: what the directory maps to a [`StreamKey`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Alias {
    /// Parameter and number as the player gave them.
    pub selector: Selector,
    /// Byte-changing options as the player gave them.
    pub options: Options,
}

/// What a session is keyed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamName {
    /// The canonical name.
    Infohash(Hex40),
    /// Resolving failed: the selector stands in until an engine's start answer names the infohash.
    Unresolved(Selector),
}

/// Canonical identity of a stream; exactly one session per key exists in the process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StreamKey {
    /// Infohash, or the selector when it could not be resolved.
    pub name: StreamName,
    /// Byte-changing options.
    pub options: Options,
}

impl StreamKey {
    /// The shard that owns this key's session: the same function for shards, control and tests.
    ///
    /// # Panics
    /// When `shards` is 0; settings never allow that.
    pub fn owner(&self, shards: u16) -> ShardId {
        assert!(shards > 0, "a process has at least one shard");
        // FNV-1a and a multiply-shift reduction: stable across processes and versions, unlike std's hasher, because
        // nodes of a cluster and an upgraded process must agree on it.
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut feed = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        match self.name {
            StreamName::Infohash(value) => feed(value.as_bytes()),
            StreamName::Unresolved(selector) => {
                feed(selector.parameter().as_bytes());
                feed(selector.value().as_bytes());
            }
        }
        feed(self.options.as_str().as_bytes());
        ShardId(((u128::from(hash) * u128::from(shards)) >> 64) as u16)
    }

    /// The selector an engine is asked with.
    pub fn selector(&self) -> Selector {
        match self.name {
            StreamName::Infohash(value) => Selector::Infohash(value),
            StreamName::Unresolved(selector) => selector,
        }
    }

    /// The infohash, when known.
    pub fn infohash(&self) -> Option<Hex40> {
        match self.name {
            StreamName::Infohash(value) => Some(value),
            StreamName::Unresolved(_) => None,
        }
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            StreamName::Infohash(value) => write!(f, "{value}")?,
            StreamName::Unresolved(selector) => write!(f, "{}:{}", selector.parameter(), selector.value())?,
        }
        if self.options.is_empty() { Ok(()) } else { write!(f, "?{}", self.options.as_str()) }
    }
}

/// Index of a shard, `0..shards`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ShardId(pub u16);

/// One connected player; random per connection, never derived from address and user agent (two players of one
/// household share both).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClientId(pub u128);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

/// Name of an engine: the container id for a pool engine, `host:port` for a static one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EngineId(pub Arc<str>);

impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One granted lease; unique within the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeaseId(pub u64);

/// Generation of the link between a shard and control. It grows when control starts anew; an answer that carries an
/// old one is handed back unused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// Names one request of one shard, so that its answer finds it. Never reused by the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_trimmed_and_lower_cased() {
        let id: Hex40 = " 0A48AB1234567890abcdefABCDEF012345678900\n".parse().unwrap();
        assert_eq!(id.to_string(), "0a48ab1234567890abcdefabcdef012345678900");
    }

    #[test]
    fn a_malformed_id_names_its_fault() {
        let fault = |text: &str| text.parse::<Hex40>().unwrap_err().to_string();
        assert_eq!(fault(&"a".repeat(39)), "39 characters, an id has 40");
        assert_eq!(fault("  "), "the id is empty, an id has 40 hexadecimal digits");
        assert!(fault(&format!("{}z", "a".repeat(39))).starts_with("character 40 is 'z'"));
        assert_eq!(fault(&"é".repeat(41)), "41 characters, an id has 40");
    }

    #[test]
    fn options_have_one_spelling() {
        let one = Options::from_pairs([("b", "2"), ("a", "1"), ("b", "2")]);
        assert_eq!(one, Options::from_pairs([("a", "1"), ("b", "2")]));
        assert_eq!(one.as_str(), "a=1&b=2");
    }

    #[test]
    fn owners_are_spread_and_stable() {
        let key = |n: u8| StreamKey {
            name: StreamName::Infohash(Hex40::from_bytes([n; 20])),
            options: Options::default(),
        };
        let mut seen = [0u32; 4];
        for n in 0..=255 {
            assert_eq!(key(n).owner(1), ShardId(0));
            seen[usize::from(key(n).owner(4).0)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 32), "uneven owners: {seen:?}");
    }
}
