//! The subcommands.

pub mod api;
pub mod chaos;
pub mod compare;
pub mod engine;
pub mod fleet;
pub mod floor;
pub mod image;
pub mod join;
pub mod load;
pub mod output;
pub mod play;
pub mod scale;
pub mod stall;
