//! The subcommands.

pub mod api;
pub mod chaos;
pub mod engine;
pub mod fleet;
pub mod floor;
pub mod image;
pub mod play;
pub mod stall;
