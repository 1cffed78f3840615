//! The `Range` field of a request for bytes (RFC 9110, section 14).

use std::ops::Range;

/// What a request asks for of a body of known length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: nothing was asked for, or in words that may be ignored (several ranges, other units).
    Whole,
    /// One range, not empty, within the body.
    Part(Range<u64>),
    /// A range that lies outside of the body.
    Unsatisfiable,
}

/// Reads a `Range` field for a body of `length` bytes.
pub fn wanted(field: Option<&str>, length: u64) -> Wanted {
    let Some(spec) = field.and_then(|field| field.trim().strip_prefix("bytes=")) else {
        return Wanted::Whole;
    };
    let Some((first, last)) = spec.trim().split_once('-') else { return Wanted::Whole };
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let range = match (first.trim(), last.trim()) {
        ("", last) => match number(last) {
            Some(count) => length.saturating_sub(count)..length,
            None => return Wanted::Whole,
        },
        (first, "") => match number(first) {
            Some(first) => first..length,
            None => return Wanted::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
            _ => return Wanted::Whole,
        },
    };
    if range.is_empty() { Wanted::Unsatisfiable } else { Wanted::Part(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: every form of a range, what lies outside of a body, and that nonsense asks for all of it.
    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let part = |range| Wanted::Part(range);
        for (field, expected) in [
            ("bytes=0-", part(0..1000)),
            ("bytes=0-0", part(0..1)),
            ("bytes=10-19", part(10..20)),
            ("bytes=990-5000", part(990..1000)),
            ("bytes=-1", part(999..1000)),
            ("bytes=-5000", part(0..1000)),
            (" bytes=999-", part(999..1000)),
            ("bytes=0-99999999999999999999999", part(0..1000)),
            ("bytes=1000-", Wanted::Unsatisfiable),
            ("bytes=99999999999999999999999-", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=5-4", Wanted::Whole),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
        ] {
            assert_eq!(wanted(Some(field), 1000), expected, "{field}");
        }
        assert_eq!(wanted(None, 1000), Wanted::Whole);
    }
}
