//! The load tool.

#![deny(unsafe_code)]

use clap::{Parser, Subcommand};
use sluice_bench::cli;

/// Simulated engines, test players and measurements.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a simulated AceStream engine.
    Engine(cli::engine::Args),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Engine(args) => cli::engine::run(args),
    }
}
