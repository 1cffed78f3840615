//! What the bytes of a stream mean: MPEG transport stream packets, tables, clock and random access, and the segments
//! and playlists that HLS makes of them.
//!
//! Pure: no clock, no I/O, no runtime. Every type here is owned by the one shard thread that owns the session it
//! describes; nothing is shared except immutable values behind an `Arc` ([`ts::Tables`], [`ts::Continuity`]).
//! Input is whatever an engine sent and is never trusted: a malformed stream costs counters, not a panic.

pub mod hls;
pub mod ts;
