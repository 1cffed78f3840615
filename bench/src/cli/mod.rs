//! The subcommands.

pub mod engine;
