//! MPEG transport stream (ISO/IEC 13818-1): alignment, packets, tables, clock, random access and stitching.
//!
//! The path of ingested bytes: [`Aligner`] finds whole packets in raw reads, [`Scanner`] looks at each of them once
//! and reports [`Event`]s, and the builders of [`stitch`] make the few packets this appliance adds itself. Nothing
//! here rewrites a source packet, decodes media or decides what a player receives.
//!
//! Invariants: offsets are stream offsets of whole packets and only grow; memory is bounded whatever the input is;
//! work per packet is a header look-up, payloads are read only for tables and at the start of video access units.

pub mod access;
pub mod align;
pub mod clock;
pub mod continuity;
pub mod needle;
pub mod packet;
pub mod pes;
pub mod psi;
pub mod scanner;
pub mod section;
pub mod stitch;

#[cfg(test)]
mod players;
#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod testing;

pub use align::{Aligned, Aligner, Verdict};
pub use clock::{MediaTime, Pcr, Timeline};
pub use continuity::Continuity;
pub use needle::{NEEDLE_BYTES_MAX, Needle, Search};
pub use packet::{NULL_PID, PACKET, Packet, SYNC};
pub use psi::{Stream, StreamKind, Tables};
pub use scanner::{Counters, Event, Rap, Scanner};
