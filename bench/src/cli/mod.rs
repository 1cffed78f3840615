//! The subcommands.

pub mod engine;
pub mod floor;
pub mod play;
