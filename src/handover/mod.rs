//! What passes between processes of one appliance: the supervisor and the `serve` it started, and one `serve` and the next.
//!
//! [`wire`] carries bytes and descriptors, [`cord`] is what supervisor and `serve` say to each other. Nothing here knows
//! streams or players. Owner: whichever thread holds the wire; none of it is a shard's.

pub mod cord;
pub mod wire;
