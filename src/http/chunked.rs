//! The chunked transfer coding (RFC 9112, 7.1), decoded as it arrives.
//!
//! Data is lent from the caller's buffer, never copied or collected. Extensions and trailers are skipped within
//! bounds; lines may end in LF alone. What comes out does not depend on where the input is split. After an error the
//! decoder gives the same error for ever: there is no way to find the next chunk.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest line of a chunk size with its extensions.
pub const SIZE_LINE_BYTES_MAX: u32 = 4 * 1024;
/// The longest trailer section.
pub const TRAILER_BYTES_MAX: u32 = 16 * 1024;

/// Why a body is not chunked as declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum ChunkError {
    /// A chunk size does not begin with a hexadecimal digit, or ends in the middle of a number.
    #[error("invalid byte 0x{byte:02x} in a chunk size")]
    Size {
        /// The byte found.
        byte: u8,
    },
    /// A chunk size does not fit 64 bits.
    #[error("chunk size is larger than 64 bits")]
    SizeOverflow,
    /// A chunk size line is longer than [`SIZE_LINE_BYTES_MAX`].
    #[error("chunk size line is longer than {SIZE_LINE_BYTES_MAX} bytes")]
    SizeLineTooLong,
    /// Something other than a line end follows a chunk's data or a CR.
    #[error("invalid byte 0x{byte:02x} where a line ends")]
    LineEnd {
        /// The byte found.
        byte: u8,
    },
    /// The trailer section is longer than [`TRAILER_BYTES_MAX`].
    #[error("trailers are longer than {TRAILER_BYTES_MAX} bytes")]
    TrailersTooLong,
}

/// What one step of decoding found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Body bytes; never empty.
    Data(&'a [u8]),
    /// The input is used up.
    NeedMore,
    /// The body ended; what is left of the input does not belong to it.
    Done,
}

/// Decodes one body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChunkedDecoder {
    state: State,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum State {
    /// In a chunk size; `digits` of it were seen.
    Size {
        size: u64,
        line_bytes: u32,
    },
    /// Behind the size, in what is skipped up to the line end.
    Extension {
        size: u64,
        line_bytes: u32,
    },
    /// Behind the CR of a size line.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// Behind a chunk's data.
    DataEnd {
        after_cr: bool,
    },
    /// At the start of a trailer line, or of the empty line that ends the body.
    TrailerStart {
        bytes: u32,
    },
    Trailer {
        bytes: u32,
    },
    /// Behind the CR of the empty line.
    Last,
    Done,
    Failed(ChunkError),
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self { state: State::Size { size: 0, line_bytes: 0 } }
    }
}

impl ChunkedDecoder {
    /// Takes input from the front and says what it found. Call it until it needs more or is done.
    ///
    /// # Errors
    /// [`ChunkError`] if the body is not chunked as declared.
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Result<Event<'a>, ChunkError> {
        loop {
            match self.state {
                State::Data { left } => {
                    let Some(data) = take(input, left) else { return Ok(Event::NeedMore) };
                    let left = left - data.len() as u64;
                    self.state =
                        if left == 0 { State::DataEnd { after_cr: false } } else { State::Data { left } };
                    return Ok(Event::Data(data));
                }
                State::Done => return Ok(Event::Done),
                State::Failed(error) => return Err(error),
                state => {
                    let [byte, rest @ ..] = *input else { return Ok(Event::NeedMore) };
                    *input = rest;
                    self.state = next(state, *byte).unwrap_or_else(State::Failed);
                }
            }
        }
    }

    /// Whether the whole body was seen.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

/// Up to `limit` bytes from the front, unless there are none.
pub(super) fn take<'a>(input: &mut &'a [u8], limit: u64) -> Option<&'a [u8]> {
    let length = usize::try_from(limit).map_or(input.len(), |limit| input.len().min(limit));
    let (data, rest) = input.split_at(length);
    *input = rest;
    (!data.is_empty()).then_some(data)
}

/// One byte of framing.
fn next(state: State, byte: u8) -> Result<State, ChunkError> {
    Ok(match (state, byte) {
        (State::Size { size, line_bytes }, _) => size_byte(size, line_bytes, byte)?,
        (State::Extension { size, .. }, b'\r') => State::SizeEnd { size },
        (State::Extension { size, .. } | State::SizeEnd { size }, b'\n') => behind_size(size),
        (State::Extension { line_bytes: SIZE_LINE_BYTES_MAX.., .. }, _) => {
            return Err(ChunkError::SizeLineTooLong);
        }
        (State::Extension { size, line_bytes }, _) => State::Extension { size, line_bytes: line_bytes + 1 },
        (State::DataEnd { after_cr: false }, b'\r') => State::DataEnd { after_cr: true },
        (State::DataEnd { .. }, b'\n') => State::Size { size: 0, line_bytes: 0 },
        (State::TrailerStart { .. }, b'\r') => State::Last,
        (State::TrailerStart { .. } | State::Last, b'\n') => State::Done,
        (
            State::TrailerStart { bytes: TRAILER_BYTES_MAX.. }
            | State::Trailer { bytes: TRAILER_BYTES_MAX.. },
            _,
        ) => {
            return Err(ChunkError::TrailersTooLong);
        }
        (State::Trailer { bytes }, b'\n') => State::TrailerStart { bytes: bytes + 1 },
        (State::TrailerStart { bytes } | State::Trailer { bytes }, _) => State::Trailer { bytes: bytes + 1 },
        (State::SizeEnd { .. } | State::DataEnd { .. } | State::Last, _) => {
            return Err(ChunkError::LineEnd { byte });
        }
        (State::Data { .. } | State::Done | State::Failed(_), _) => state,
    })
}

fn size_byte(size: u64, line_bytes: u32, byte: u8) -> Result<State, ChunkError> {
    if line_bytes >= SIZE_LINE_BYTES_MAX {
        return Err(ChunkError::SizeLineTooLong);
    }
    let line_bytes_now = line_bytes + 1;
    match (char::from(byte).to_digit(16), byte) {
        (Some(digit), _) => {
            let size = size.checked_mul(16).ok_or(ChunkError::SizeOverflow)? | u64::from(digit);
            Ok(State::Size { size, line_bytes: line_bytes_now })
        }
        // Whatever follows a number belongs to the line, whatever comes without one is an error.
        (None, _) if line_bytes == 0 => Err(ChunkError::Size { byte }),
        (None, b'\r') => Ok(State::SizeEnd { size }),
        (None, b'\n') => Ok(behind_size(size)),
        (None, b';' | b' ' | b'\t') => Ok(State::Extension { size, line_bytes: line_bytes_now }),
        (None, _) => Err(ChunkError::Size { byte }),
    }
}

fn behind_size(size: u64) -> State {
    if size == 0 { State::TrailerStart { bytes: 0 } } else { State::Data { left: size } }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes input cut into pieces of this size: the data, whether it ended, and what was left.
    fn decode(input: &[u8], piece: usize) -> Result<(Vec<u8>, bool, usize), ChunkError> {
        let (mut decoder, mut data, mut taken) = (ChunkedDecoder::default(), Vec::new(), 0);
        for mut bytes in input.chunks(piece) {
            let before = bytes.len();
            loop {
                match decoder.decode(&mut bytes)? {
                    Event::Data(found) => data.extend_from_slice(found),
                    Event::NeedMore => break,
                    Event::Done => return Ok((data, true, input.len() - taken - (before - bytes.len()))),
                }
            }
            taken += before;
        }
        Ok((data, decoder.is_done(), 0))
    }

    #[test]
    fn bodies_are_decoded_however_they_are_cut() {
        let cases: [(&[u8], &[u8], usize); 6] = [
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello", 0),
            (b"A;name=\"v;\"\r\n0123456789\r\n00\r\n\r\nrest", b"0123456789", 4),
            (b"1 \r\na\r\n2\t;x\r\nbc\r\n0\r\n\r\n", b"abc", 0),
            (b"3\nabc\n0\n\n", b"abc", 0),
            (b"0\r\nTrailer: x\r\nOther: y\r\n\r\n", b"", 0),
            (b"000000000000000000000000003\r\nabc\r\n0\r\n\r\n", b"abc", 0),
        ];
        for (input, expected, left) in cases {
            for piece in 1..=input.len() {
                assert_eq!(decode(input, piece), Ok((expected.to_vec(), true, left)), "{input:?} by {piece}");
            }
        }
    }

    /// An engine that dies in a chunk must not look like one whose stream ended.
    #[test]
    fn a_body_cut_anywhere_is_not_done() {
        let whole = b"5\r\nhello\r\n0\r\nT: x\r\n\r\n";
        for length in 0..whole.len() {
            let (data, done, _) = decode(&whole[..length], 3).expect("no error in a good beginning");
            assert!(!done && b"hello".starts_with(&data), "{length} bytes");
        }
    }

    #[test]
    fn what_is_not_chunked_is_refused_and_stays_refused() {
        let cases: [(&[u8], ChunkError); 8] = [
            (b"\r\n", ChunkError::Size { byte: b'\r' }),
            (b";x\r\n", ChunkError::Size { byte: b';' }),
            (b"-1\r\n", ChunkError::Size { byte: b'-' }),
            (b"1x\r\n", ChunkError::Size { byte: b'x' }),
            (b"5\r\nhelloX", ChunkError::LineEnd { byte: b'X' }),
            (b"5\rX", ChunkError::LineEnd { byte: b'X' }),
            (b"0\r\n\rX", ChunkError::LineEnd { byte: b'X' }),
            (b"10000000000000000\r\n", ChunkError::SizeOverflow),
        ];
        for (input, expected) in cases {
            let mut decoder = ChunkedDecoder::default();
            let mut rest = input;
            let found = loop {
                match decoder.decode(&mut rest) {
                    Ok(Event::NeedMore) => panic!("no error in {input:?}"),
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert_eq!(found, expected, "{input:?}");
            assert_eq!(decoder.decode(&mut &b"0\r\n\r\n"[..]), Err(expected), "{input:?}");
        }
    }

    #[test]
    fn the_largest_size_is_taken() {
        let (data, done, _) = decode(b"ffffffffffffffff\r\nabc", 100).expect("fits 64 bits");
        assert_eq!((data.as_slice(), done), (&b"abc"[..], false));
    }

    /// Lines and trailers nobody reads must not go on for ever.
    #[test]
    fn what_is_skipped_is_bounded() {
        let bound = SIZE_LINE_BYTES_MAX as usize;
        assert_eq!(
            decode(&[b"1;", &b"x".repeat(bound)[..]].concat(), 1000),
            Err(ChunkError::SizeLineTooLong)
        );
        assert_eq!(decode(&b"0".repeat(bound + 1), 1000), Err(ChunkError::SizeLineTooLong));
        let trailers = b"a: b\r\n".repeat(TRAILER_BYTES_MAX as usize / 6 + 1);
        assert_eq!(decode(&[b"0\r\n", &trailers[..]].concat(), 1000), Err(ChunkError::TrailersTooLong));
        let longest = [b"1;", &b"x".repeat(bound - 2)[..], b"\r\na"].concat();
        assert_eq!(decode(&longest, 1000), Ok((b"a".to_vec(), false, 0)));
    }
}
