//! HTTP Live Streaming (RFC 8216 and its successor): which ranges of a stream are segments and parts, and the
//! playlists that say so; and how the playlist of an engine is read.
//!
//! [`Segmenter`] is shown the random access points of a window as they come and says where segments begin and end;
//! [`playlist`] writes that down. [`reading`] is the other side. Nothing here reads media, knows a connection or looks at a clock: times are the
//! stream's own, dates are passed in.
//!
//! Invariants: a segment that was listed never changes; sequence numbers grow by one and never restart; the target
//! duration never changes once it was published, and no segment's duration, rounded, exceeds it.

pub mod playlist;
pub mod reading;
mod segmenter;
#[cfg(test)]
mod tests;

pub use segmenter::{HeadState, Mark, PART_TARGET, Part, Point, Segment, Segmenter, TARGET_MAX, TARGET_MIN};
