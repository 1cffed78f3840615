//! Cutting elementary streams into access units.

/// Access unit delimiter with a short start code; a long one has one more zero in front.
const DELIMITER: [u8; 4] = [0, 0, 1, 0x09];

/// One picture or audio frame.
#[derive(Clone, Copy)]
pub(super) struct Unit<'a> {
    pub(super) bytes: &'a [u8],
    /// An IDR picture: a decoder can start here.
    pub(super) is_random_access: bool,
}

/// Cuts Annex B H.264 at its access unit delimiters; what precedes the first one is dropped.
pub(super) fn pictures(stream: &[u8]) -> Vec<Unit<'_>> {
    let mut starts: Vec<usize> = stream
        .windows(4)
        .enumerate()
        .filter(|(_, bytes)| *bytes == DELIMITER)
        .map(|(at, _)| if at > 0 && stream[at - 1] == 0 { at - 1 } else { at })
        .collect();
    starts.push(stream.len());
    starts
        .windows(2)
        .map(|pair| {
            let bytes = &stream[pair[0]..pair[1]];
            Unit { bytes, is_random_access: bytes.windows(4).any(is_idr) }
        })
        .collect()
}

fn is_idr(bytes: &[u8]) -> bool {
    bytes[..3] == [0, 0, 1] && bytes[3] & 0x1f == 5
}

/// Cuts ADTS at its frame lengths; stops at the first byte that is not a frame.
pub(super) fn audio_frames(stream: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    let mut rest = stream;
    while let [0xff, flags, _, high, middle, low, ..] = *rest {
        let length = usize::from(high & 3) << 11 | usize::from(middle) << 3 | usize::from(low >> 5);
        if flags & 0xf0 != 0xf0 || length < 7 || length > rest.len() {
            break;
        }
        let (frame, tail) = rest.split_at(length);
        frames.push(frame);
        rest = tail;
    }
    frames
}
