//! Where a response body ends, and its bytes as they arrive.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::chunked::{self, ChunkError, ChunkedDecoder};

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// After so many bytes.
    Length(u64),
    /// By the chunked coding.
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

/// What one step of decoding found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEvent<'a> {
    /// Body bytes; never empty.
    Data(&'a [u8]),
    /// The input is used up.
    NeedMore,
    /// The body ended; what is left of the input does not belong to it.
    End,
}

/// The connection ended in the middle of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Truncated {
    /// Bytes of the declared length are missing.
    #[error("connection ended {missing} bytes before the end of the body")]
    Length {
        /// How many.
        missing: u64,
    },
    /// The last chunk has not come.
    #[error("connection ended before the last chunk")]
    Chunked,
}

/// Decodes one body incrementally, without copying. What comes out does not depend on where the input is split.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BodyDecoder {
    state: State,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum State {
    Counted { left: u64 },
    Chunked(ChunkedDecoder),
    UntilClose,
}

impl BodyDecoder {
    /// A decoder at the first byte behind the head.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None => State::Counted { left: 0 },
            Framing::Length(left) => State::Counted { left },
            Framing::Chunked => State::Chunked(ChunkedDecoder::default()),
            Framing::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    /// Takes input from the front and says what it found. Call it until it needs more or the body has ended.
    ///
    /// # Errors
    /// [`ChunkError`] if the body is not chunked as declared.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<BodyEvent<'a>, ChunkError> {
        Ok(match &mut self.state {
            State::Counted { left: 0 } => BodyEvent::End,
            State::Counted { left } => match chunked::take(input, *left) {
                Some(data) => {
                    *left -= data.len() as u64;
                    BodyEvent::Data(data)
                }
                None => BodyEvent::NeedMore,
            },
            State::Chunked(decoder) => match decoder.decode(input)? {
                chunked::Event::Data(data) => BodyEvent::Data(data),
                chunked::Event::NeedMore => BodyEvent::NeedMore,
                chunked::Event::Done => BodyEvent::End,
            },
            State::UntilClose => chunked::take(input, u64::MAX).map_or(BodyEvent::NeedMore, BodyEvent::Data),
        })
    }

    /// Decodes all of `received` and moves what is the body to its front; how much that is. What frames a body only takes
    /// room away, so that nothing is overwritten before it was looked at. A fault behind bytes of the body is told by the
    /// next call, and so is the end by [`next`](Self::next).
    ///
    /// # Errors
    /// [`ChunkError`] if the body is not chunked as declared.
    pub fn decode_in_place(&mut self, received: &mut [u8]) -> Result<usize, ChunkError> {
        let (mut at, mut count) = (0, 0);
        loop {
            let mut input = &received[at..];
            let event = match self.next(&mut input) {
                Ok(event) => event,
                Err(_) if count > 0 => return Ok(count),
                Err(error) => return Err(error),
            };
            at = received.len() - input.len();
            match event {
                // Data lies just before where decoding stands then.
                BodyEvent::Data(data) => {
                    let length = data.len();
                    received.copy_within(at - length..at, count);
                    count += length;
                }
                BodyEvent::NeedMore | BodyEvent::End => return Ok(count),
            }
        }
    }

    /// Judges the end of the connection at this point.
    ///
    /// # Errors
    /// [`Truncated`] if the declared body is not complete.
    pub fn on_eof(&self) -> Result<(), Truncated> {
        match &self.state {
            State::Counted { left: 0 } | State::UntilClose => Ok(()),
            State::Counted { left } => Err(Truncated::Length { missing: *left }),
            State::Chunked(decoder) if decoder.is_done() => Ok(()),
            State::Chunked(_) => Err(Truncated::Chunked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(framing: Framing, pieces: &[&[u8]]) -> (Vec<u8>, Result<(), Truncated>, Vec<u8>) {
        let (mut decoder, mut data, mut left) = (BodyDecoder::new(framing), Vec::new(), Vec::new());
        for piece in pieces {
            let mut input = *piece;
            loop {
                match decoder.next(&mut input).expect("well formed") {
                    BodyEvent::Data(bytes) => data.extend_from_slice(bytes),
                    BodyEvent::NeedMore => break,
                    BodyEvent::End => {
                        left.extend_from_slice(input);
                        break;
                    }
                }
            }
        }
        (data, decoder.on_eof(), left)
    }

    #[test]
    fn each_framing_ends_where_it_says() {
        let cases: [(Framing, &[u8], &[u8]); 4] = [
            (Framing::None, b"", b"12345"),
            (Framing::Length(3), b"123", b"45"),
            (Framing::Length(5), b"12345", b""),
            (Framing::UntilClose, b"12345", b""),
        ];
        for (framing, data, left) in cases {
            assert_eq!(
                decode(framing, &[b"12", b"345"]),
                (data.to_vec(), Ok(()), left.to_vec()),
                "{framing:?}"
            );
        }
        let chunked = decode(Framing::Chunked, &[b"2\r\n12\r\n0\r\n", b"\r\nx"]);
        assert_eq!(chunked, (b"12".to_vec(), Ok(()), b"x".to_vec()));
    }

    /// A connection that ends early is a failing engine, not a finished one.
    #[test]
    fn an_early_end_is_told_unless_the_end_is_the_end() {
        assert_eq!(decode(Framing::Length(9), &[b"123"]).1, Err(Truncated::Length { missing: 6 }));
        assert_eq!(decode(Framing::Chunked, &[b"2\r\n12\r\n"]).1, Err(Truncated::Chunked));
        assert_eq!(decode(Framing::UntilClose, &[]).1, Ok(()));
        assert_eq!(decode(Framing::Length(0), &[]).1, Ok(()));
    }
}
