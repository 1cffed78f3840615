//! The API key: made once, kept as a hash, compared in constant time.

use sha2::{Digest, Sha256};
use std::fmt;
use std::fmt::Write;
use subtle::ConstantTimeEq;

/// Random bytes in a generated key.
const KEY_BYTES: usize = 24;

/// What routes that change something ask for.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum ApiKey {
    /// A key is generated on first start, printed once, and kept as a hash.
    #[default]
    Generated,
    /// Nothing: everybody may change everything.
    Open,
    /// This key.
    Given(String),
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generated => "Generated",
            Self::Open => "Open",
            Self::Given(_) => "Given(…)",
        })
    }
}

/// SHA-256 of a key. A plain hash suffices: what is stored belongs to a generated key of 192 random bits, which nobody
/// finds by trying.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a key.
    pub(crate) fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// The hash as it is stored.
    pub(crate) fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// A stored hash; `None` for anything else.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let is_whole = text.len() == 2 * bytes.len() && text.is_ascii();
        for (byte, at) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
            *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
        }
        is_whole.then_some(Self(bytes))
    }

    /// Whether this is the hash of a key; takes as long for a key that is nearly right as for any other.
    pub(crate) fn is_of(&self, key: &[u8]) -> bool {
        self.0.ct_eq(&Self::of(key).0).into()
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// Makes a new key, hexadecimal.
///
/// # Errors
/// When the kernel gives no random bytes.
pub(crate) fn generate() -> Result<String, getrandom::Error> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(hex(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: a generated key is long, new each time, and fits its own hash alone.
    #[test]
    fn keys_are_random_and_fit_their_hash() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_eq!(one.len(), 2 * KEY_BYTES);
        assert_ne!(one, other);
        assert!(KeyHash::of(one.as_bytes()).is_of(one.as_bytes()));
        assert!(!KeyHash::of(one.as_bytes()).is_of(other.as_bytes()));
        assert!(!format!("{:?}", ApiKey::Given(one.clone())).contains(&one));
        let stored = KeyHash::of(one.as_bytes()).to_hex();
        assert!(KeyHash::from_hex(&stored).is_some_and(|hash| hash.is_of(one.as_bytes())));
        for odd in ["", "00", &stored[1..], &format!("{stored}0"), &"x".repeat(64), &"é".repeat(32)] {
            assert!(KeyHash::from_hex(odd).is_none(), "{odd}");
        }
    }
}
