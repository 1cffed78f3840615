//! The load tool.

#![deny(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

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
    /// Run a simulated engine as an image starts it: told by environment and command.
    #[command(hide = true)]
    Image(cli::image::Args),
    /// Play with thousands of players and measure what they and the server experience.
    Play(Box<cli::play::Args>),
    /// Do the same work against two servers, or two builds of the appliance, in turn.
    Compare(Box<cli::compare::Args>),
    /// Measure the appliance with more and more players, and with more and more channels.
    Scale(Box<cli::scale::Args>),
    /// Let many players join a running stream at once, over and over.
    Join(Box<cli::join::Args>),
    /// Let engines fail under players that check every packet.
    Chaos(Box<cli::chaos::Args>),
    /// Measure what keeping engines in Docker costs, and how fast it is.
    Fleet(cli::fleet::Args),
    /// Measure how quickly the REST API answers with a great deal in state.
    Api(cli::api::Args),
    /// Measure what players notice of a control plane that stands still.
    Stall(cli::stall::Args),
    /// Measure the least CPU that fan-out can cost on this machine.
    Floor(cli::floor::Args),
    /// The players' process of `floor`.
    #[command(hide = true)]
    FloorPlayers(cli::floor::PlayersArgs),
}

/// What the program exits with when a threshold was crossed; 1 is any other fault, 2 a command line that makes no sense.
const EXCEEDED: u8 = 3;

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody reading standard error is no reason to exit with something else.
            let _unheard = writeln!(std::io::stderr(), "Error: {error:#}");
            if error.is::<cli::output::Exceeded>() { EXCEEDED.into() } else { ExitCode::FAILURE }
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Engine(args) => cli::engine::run(args),
        Command::Image(args) => cli::image::run(args),
        Command::Play(args) => cli::play::run(*args),
        Command::Compare(args) => cli::compare::run(*args),
        Command::Scale(args) => cli::scale::run(*args),
        Command::Join(args) => cli::join::run(*args),
        Command::Chaos(args) => cli::chaos::run(*args),
        Command::Fleet(args) => cli::fleet::run(args),
        Command::Api(args) => cli::api::run(args),
        Command::Stall(args) => cli::stall::run(args),
        Command::Floor(args) => cli::floor::run(args),
        Command::FloorPlayers(args) => cli::floor::run_players(args),
    }
}
