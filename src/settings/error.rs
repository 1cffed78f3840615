//! What can be wrong with settings. Every fault names the variable, the value and what to do about it.

use std::fmt;
use std::path::PathBuf;

/// Longest piece of a value that is repeated in a message.
const SHOWN_CHARS_MAX: usize = 80;

/// One fault of one setting. All of them are the operator's to mend; retrying does not help.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The value is not of the variable's kind.
    #[error("{name}={value}: {fault}; give {expected}")]
    Malformed {
        /// The variable, as it was spelled.
        name: &'static str,
        /// What it was set to.
        value: Shown,
        /// What is wrong with it.
        fault: String,
        /// What the variable takes.
        expected: String,
    },
    /// The value is of the right kind and outside the bounds.
    #[error("{name}={value} is out of range; give {expected}")]
    OutOfRange {
        /// The variable, as it was spelled.
        name: &'static str,
        /// What it was set to.
        value: Shown,
        /// The kind with its bounds.
        expected: String,
    },
    /// The variable belongs to a program this one replaces and would mislead here.
    #[error("{name}={value} cannot be honoured: {instead}")]
    Refused {
        /// The variable, as it was spelled.
        name: &'static str,
        /// What it was set to.
        value: Shown,
        /// What to set instead.
        instead: &'static str,
    },
    /// Two settings contradict each other.
    #[error("{name}={value} contradicts {other}: {remedy}")]
    Contradiction {
        /// The variable to look at first.
        name: &'static str,
        /// Its value.
        value: Shown,
        /// The other variable with its value.
        other: String,
        /// How the two fit together.
        remedy: &'static str,
    },
    /// A line of `.env` is not an assignment.
    #[error(".env line {line}: {fault}; write NAME=value, and # before a comment")]
    DotenvLine {
        /// Counts from 1.
        line: usize,
        /// What is wrong; never repeats the line, which may hold a secret.
        fault: &'static str,
    },
    /// `.env` exists and cannot be read.
    #[error("{} cannot be read ({cause}); make it readable, UTF-8 text, or remove it", path.display())]
    DotenvUnreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// `.env` is larger than any settings file.
    #[error("{} is larger than {limit} bytes; is it the right file?", path.display())]
    DotenvTooLarge {
        /// Which file.
        path: PathBuf,
        /// The bound, bytes.
        limit: u64,
    },
}

/// A value as it may be shown: cut to a readable length, control characters escaped, secrets as dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// Makes a value presentable.
    pub(super) fn new(value: &str, secret: bool) -> Self {
        if secret {
            return Self("…".to_owned());
        }
        let mut shown: String = value.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
        if value.chars().nth(SHOWN_CHARS_MAX).is_some() {
            shown.push('…');
        }
        Self(shown)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Shown;

    #[test]
    fn a_shown_value_is_bounded_printable_and_keeps_secrets() {
        assert_eq!(Shown::new("a\nb", false).to_string(), "a\\nb");
        assert_eq!(Shown::new("hunter2", true).to_string(), "…");
        assert_eq!(Shown::new(&"x".repeat(500), false).to_string().chars().count(), 81);
    }
}
