//! Simulated engines, players and load.

#![deny(unsafe_code)]

pub mod api;
pub mod channel;
pub mod chaos;
pub mod cli;
pub mod compare;
pub mod demo;
pub mod engine;
pub mod floor;
pub mod play;
pub mod player;
pub mod report;
pub mod scale;
pub mod stall;
mod sys;
