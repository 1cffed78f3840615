//! Bodies in every framing: no bytes make the decoder panic, what comes out does not depend on where the input is cut,
//! and a body that ends is not called truncated.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::http::{BodyDecoder, BodyEvent, Framing, chunked::ChunkError};

// Input: bytes per read less one, a declared length, then the body.
fuzz_target!(|input: &[u8]| {
    let [step, length, bytes @ ..] = input else { return };
    let step = usize::from(*step) + 1;
    for framing in [Framing::Chunked, Framing::Length(u64::from(*length)), Framing::UntilClose, Framing::None]
    {
        let whole = decode(framing, bytes, bytes.len().max(1));
        assert_eq!(decode(framing, bytes, step), whole, "{framing:?} by {step}");
        if let Ok(body) = whole {
            assert!(body.data.len() <= bytes.len());
            assert_eq!(
                body.complete,
                body.ended || framing == Framing::UntilClose || at_its_end(framing, &body)
            );
        }
    }
});

#[derive(Debug, PartialEq, Eq)]
struct Body {
    data: Vec<u8>,
    /// Whether the decoder said that the body ended.
    ended: bool,
    /// Whether the connection may end here.
    complete: bool,
}

/// A counted body of which no byte is missing, though nobody asked for the next one.
fn at_its_end(framing: Framing, body: &Body) -> bool {
    match framing {
        Framing::Length(length) => body.data.len() as u64 == length,
        Framing::None => true,
        Framing::Chunked | Framing::UntilClose => false,
    }
}

fn decode(framing: Framing, bytes: &[u8], step: usize) -> Result<Body, ChunkError> {
    let (mut decoder, mut data, mut ended) = (BodyDecoder::new(framing), Vec::new(), false);
    'input: for mut piece in bytes.chunks(step) {
        loop {
            match decoder.next(&mut piece)? {
                BodyEvent::Data(found) => {
                    assert!(!found.is_empty());
                    data.extend_from_slice(found);
                }
                BodyEvent::NeedMore => break,
                BodyEvent::End => {
                    ended = true;
                    break 'input;
                }
            }
        }
    }
    Ok(Body { data, ended, complete: decoder.on_eof().is_ok() })
}
