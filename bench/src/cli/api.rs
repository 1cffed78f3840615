//! `sluice-bench api`: how quickly the REST API answers with a great deal in state.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::output::{Output, progress};
use crate::api::{self, Options};

/// Options of `api`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The appliance's binary.
    #[arg(long, default_value = "target/release/sluice")]
    appliance: PathBuf,
    /// Another variable for the appliance, as NAME=VALUE; may be given many times.
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Engines in state.
    #[arg(long, default_value_t = 1000)]
    engines: usize,
    /// Streams in state.
    #[arg(long, default_value_t = 5000)]
    streams: usize,
    /// Requests of each route.
    #[arg(long, default_value_t = 500)]
    requests: usize,
    /// Milliseconds between two requests.
    #[arg(long, default_value_t = 20)]
    pause_ms: u64,
    /// Ask servers that only send as many bytes in turn with the appliance: what the machine itself charges.
    #[arg(long)]
    floor: bool,
    /// Report streams whose figures cannot be asked for.
    #[arg(long)]
    no_figures: bool,
    /// Players that watch meanwhile; they are measured alone first.
    #[arg(long, default_value_t = 0)]
    players: usize,
    /// Channels they watch.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    channels: u32,
    /// Rate of each channel in Mbit/s.
    #[arg(long, default_value_t = 4.0)]
    mbit: f64,
    #[command(flatten)]
    output: Output,
}

/// Runs, prints the table and writes what else is asked for.
///
/// # Errors
/// The run could not be made.
pub fn run(args: Args) -> anyhow::Result<()> {
    let mut command = Command::new(&args.appliance);
    command.env_clear().env("LOG_LEVEL", "info");
    for variable in &args.env {
        let (name, value) = variable.split_once('=').with_context(|| format!("{variable:?} has no ="))?;
        command.env(name, value);
    }
    let options = Options {
        engines: args.engines,
        streams: args.streams,
        requests: args.requests,
        pause: Duration::from_millis(args.pause_ms),
        has_floor: args.floor,
        has_figures: !args.no_figures,
        players: args.players,
        channels: args.channels,
        mbit: args.mbit,
    };
    let verdict = api::run(&options, command, progress())?;
    args.output.give("the API", &verdict)
}
