//! Simulated engines, players and load.

#![deny(unsafe_code)]

pub mod channel;
