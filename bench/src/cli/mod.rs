//! The subcommands.

pub mod chaos;
pub mod engine;
pub mod floor;
pub mod image;
pub mod play;
