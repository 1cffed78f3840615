//! The life of a session: whatever players, control and engines do, and in whatever order, the session keeps the
//! promises of its state machine and ends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Choices, World};

mod machine {
    pub(crate) use sluice::session::machine::*;
}
#[allow(dead_code, reason = "the unit tests use more of it")]
#[path = "../../../src/session/model.rs"]
mod model;

/// Events of a life before it is run to its end.
const STEPS_MAX: u32 = 400;

/// One byte decides one thing.
struct Bytes<'a>(&'a [u8]);

impl Choices for Bytes<'_> {
    fn below(&mut self, bound: u32) -> Option<u32> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(u32::from(*first) % bound)
    }
}

// Input: what happens, one byte per decision; the model says which.
fuzz_target!(|input: &[u8]| {
    let mut choices = Bytes(input);
    World::new(&mut choices).run(&mut choices, STEPS_MAX);
});
