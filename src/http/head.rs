//! What request and response heads have in common: bounds, faults, where a head ends, how lengths are declared.

use thiserror::Error;

/// The longest head, with everything in front of it that is skipped. Complete heads are held to it as well, because a
/// single read may deliver a longer one whole.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most header fields of a request.
pub const HEADERS_MAX: usize = 100;

/// Why bytes are not an acceptable head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeadError {
    /// Longer than [`HEAD_BYTES_MAX`].
    #[error("head is longer than {HEAD_BYTES_MAX} bytes")]
    TooLarge,
    /// More fields than accepted.
    #[error("head has too many fields")]
    TooManyHeaders,
    /// Breaks the grammar, or declares its body in two ways.
    #[error("malformed head: {fault}")]
    Malformed {
        /// What is wrong.
        fault: Fault,
    },
    /// Not HTTP/1.0 or HTTP/1.1.
    #[error("unsupported HTTP version")]
    Version,
}

/// What is malformed in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The first line does not begin like HTTP.
    #[error("not HTTP")]
    NotHttp,
    /// A byte that is not allowed in method or target.
    #[error("invalid request line")]
    RequestLine,
    /// The target is neither a path, nor an absolute http URL, nor `*`.
    #[error("invalid request target")]
    Target,
    /// A byte that is not allowed in a status line.
    #[error("invalid status line")]
    StatusLine,
    /// A byte that is not allowed in a field name.
    #[error("invalid field name")]
    FieldName,
    /// A byte that is not allowed in a field value.
    #[error("invalid field value")]
    FieldValue,
    /// Lines end in a way that is not accepted here.
    #[error("invalid line end")]
    LineEnd,
    /// `Content-Length` is no number, or is given twice with different numbers.
    #[error("invalid or contradictory Content-Length")]
    ContentLength,
    /// `Transfer-Encoding` beside `Content-Length` or in HTTP/1.0: where the body ends is anybody's guess.
    #[error("Transfer-Encoding contradicts Content-Length or version")]
    TransferEncoding,
}

impl From<Fault> for HeadError {
    fn from(fault: Fault) -> Self {
        Self::Malformed { fault }
    }
}

/// Looks for the empty line that ends a head, remembering how far it got, so that a head which arrives byte by byte
/// is scanned once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EndScan {
    scanned: usize,
}

impl EndScan {
    /// Where the head ends (behind its empty line), if it does. `buf` is the same bytes as before plus new ones, and
    /// its first line is not empty. Lines may end with or without CR.
    pub(super) fn find(&mut self, buf: &[u8]) -> Option<usize> {
        let mut position = self.scanned.min(buf.len());
        while let Some(found) = buf[position..].iter().position(|&byte| byte == b'\n') {
            position += found;
            match buf[position + 1..] {
                [b'\n', ..] => return Some(position + 2),
                [b'\r', b'\n', ..] => return Some(position + 3),
                // Too early to tell: look at this line end again.
                [] | [b'\r'] => break,
                _ => position += 1,
            }
        }
        self.scanned = if position < buf.len() && buf[position] == b'\n' { position } else { buf.len() };
        None
    }
}

/// How many bytes of line ends stand in front of a head. Peers may send some after an earlier body (RFC 9112, 2.2).
pub(super) fn leading_line_ends(buf: &[u8]) -> usize {
    let mut skipped = 0;
    loop {
        match buf[skipped..] {
            [b'\r', b'\n', ..] => skipped += 2,
            [b'\n', ..] => skipped += 1,
            _ => return skipped,
        }
    }
}

/// The one number that all `Content-Length` fields agree on.
pub(super) fn content_length<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Option<u64>, HeadError> {
    let mut agreed = None;
    for value in values.flat_map(|value| value.split(|&byte| byte == b',')) {
        let length = number(value.trim_ascii()).ok_or(Fault::ContentLength)?;
        if *agreed.get_or_insert(length) != length {
            return Err(Fault::ContentLength.into());
        }
    }
    Ok(agreed)
}

/// Whether a comma-separated field holds this word, in any case.
pub(super) fn has_token<'a>(values: impl Iterator<Item = &'a [u8]>, token: &str) -> bool {
    values
        .flat_map(|value| value.split(|&byte| byte == b','))
        .any(|word| word.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Digits only: no sign, no space, no overflow.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_the_first_empty_line_however_lines_end() {
        let cases: [(&[u8], Option<usize>); 7] = [
            (b"a\r\n\r\nb", Some(5)),
            (b"a\n\nb", Some(3)),
            (b"a\n\r\nb", Some(4)),
            (b"a\r\nb\n\n", Some(6)),
            (b"a\r\nb\r\n\r", None),
            (b"a\n\rb\n", None),
            (b"", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(EndScan::default().find(bytes), expected, "{bytes:?} at once");
            let mut scan = EndScan::default();
            let found = (0..=bytes.len()).find_map(|length| scan.find(&bytes[..length]));
            assert_eq!(found, expected, "{bytes:?} byte by byte");
        }
    }

    /// A head that comes byte by byte must not be scanned from its start each time.
    #[test]
    fn what_was_scanned_is_not_scanned_again() {
        let head = b"GET / HTTP/1.1\r\nlong: ".to_vec();
        let mut scan = EndScan::default();
        scan.find(&head);
        assert_eq!(scan.scanned, head.len());
    }

    #[test]
    fn lengths_must_agree_and_be_plain_numbers() {
        let length = |values: &[&str]| content_length(values.iter().map(|value| value.as_bytes()));
        let refused = Err(HeadError::Malformed { fault: Fault::ContentLength });
        assert_eq!(length(&[]), Ok(None));
        assert_eq!(length(&["7", " 7 , 7"]), Ok(Some(7)));
        assert_eq!(length(&["18446744073709551615"]), Ok(Some(u64::MAX)));
        for values in [
            &["7", "8"][..],
            &["7,8"],
            &["+7"],
            &["-7"],
            &["0x7"],
            &[""],
            &["7 7"],
            &["18446744073709551616"],
        ] {
            assert_eq!(length(values), refused, "{values:?}");
        }
    }
}
