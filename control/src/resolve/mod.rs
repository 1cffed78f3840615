//! Which broadcast an id names: asked of an engine once per id, however many players ask, and remembered.
//!
//! [`service`] keeps one look-up per number in flight and answers whoever waits for it; [`lookup`] asks engines;
//! [`calls`] bounds what one engine is asked at a time. A resolve takes no stream capacity and never opens a session.
//! It always ends in a key: by infohash, or by what was asked for when no engine could tell in time, in which case the
//! start of the session brings the definite answer.

mod calls;
mod lookup;
mod service;

pub(crate) use service::{Counts, Handle, Options, start};
