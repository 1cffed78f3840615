//! What passes between processes of one appliance: the supervisor and the `serve` it started, and one `serve` and the next.
//!
//! [`wire`] carries bytes and descriptors, [`cord`] is what supervisor and `serve` say to each other, [`exchange`] what one
//! `serve` and the next do, and [`age`] is how instants are told. Nothing here knows streams or players.

pub mod age;
pub mod cord;
pub mod exchange;
pub mod wire;
