//! Content ids and infohashes as the simulator hands them out.

use std::{fmt, str::FromStr};

use md5::{Digest, Md5};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Twenty bytes, written as 40 lower-case hex digits: a content id or an infohash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id([u8; 20]);

/// The text is not 40 hex digits.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an id has 40 hex digits")]
pub struct IdError;

impl Id {
    /// Derives an id from a label, the same one every time.
    pub fn derive(label: &str) -> Self {
        let first = Md5::digest(label.as_bytes());
        let second = Md5::digest(first);
        let mut bytes = [0; 20];
        bytes[..16].copy_from_slice(&first);
        bytes[16..].copy_from_slice(&second[..4]);
        Self(bytes)
    }
}

/// Content id and infohash of the `n`th standard channel; all of them differ from one another.
pub fn nth(n: u32) -> (Id, Id) {
    (Id::derive(&format!("content id {n}")), Id::derive(&format!("infohash {n}")))
}

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let text = text.as_bytes();
        if text.len() != 40 {
            return Err(IdError);
        }
        let digit = |byte: u8| (byte as char).to_digit(16).ok_or(IdError);
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Guards that standard ids never collide and that text and value are the same thing.
    #[test]
    fn standard_ids_differ_and_round_trip() {
        let mut seen = HashSet::new();
        for n in 0..500 {
            let (content_id, infohash) = nth(n);
            assert!(seen.insert(content_id) && seen.insert(infohash));
            assert_eq!(content_id.to_string().to_uppercase().parse(), Ok(content_id));
        }
        assert_eq!("zz".parse::<Id>(), Err(IdError));
        assert_eq!("g".repeat(40).parse::<Id>(), Err(IdError));
    }
}
