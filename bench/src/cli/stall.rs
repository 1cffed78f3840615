//! `sluice-bench stall`: what players notice of a control plane that stands still, or that dies.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::output::{Output, progress};
use crate::stall::{self, Fault, Options};

/// Options of `stall`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The appliance's binary, built with --features faults.
    #[arg(long, default_value = "target/release/sluice")]
    appliance: PathBuf,
    /// Another variable for the appliance, as NAME=VALUE; may be given many times.
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Players.
    #[arg(long, default_value_t = 500)]
    players: usize,
    /// Share of them that read at the stream's rate instead of at once.
    #[arg(long, default_value_t = 0.5)]
    paced_share: f64,
    /// Channels.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    channels: u32,
    /// Rate of each channel in Mbit/s.
    #[arg(long, default_value_t = 4.0)]
    mbit: f64,
    /// Have control die again and again instead of standing still.
    #[arg(long)]
    kill: bool,
    /// Seconds that control stands still or dies in, and that are measured without that before.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    #[command(flatten)]
    output: Output,
}

/// Runs, prints the tables and writes the JSON file.
///
/// # Errors
/// The run could not be made, or players met what they must not; the verdict is printed first.
pub fn run(args: Args) -> anyhow::Result<()> {
    let mut command = Command::new(&args.appliance);
    command.env_clear().env("LOG_LEVEL", "info");
    for variable in &args.env {
        let (name, value) = variable.split_once('=').with_context(|| format!("{variable:?} has no ="))?;
        command.env(name, value);
    }
    let options = Options {
        players: args.players,
        paced_share: args.paced_share,
        channels: args.channels,
        mbit: args.mbit,
        fault: if args.kill { Fault::Kill } else { Fault::Stall },
        standstill: Duration::from_secs(args.seconds),
    };
    let verdict = stall::run(&options, command, progress())?;
    args.output.give("players noticed", &verdict)
}
