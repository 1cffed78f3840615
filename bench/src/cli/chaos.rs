//! `sluice-bench chaos`: players that check every packet while engines fail.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use super::output::{Output, progress};
use crate::chaos::{self, Options, Pace};

/// Options of `chaos`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The appliance's binary.
    #[arg(long, default_value = "target/release/sluice")]
    appliance: PathBuf,
    /// Another variable for the appliance, as NAME=VALUE; may be given many times.
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Seed of the schedule; taken from the clock, and printed, when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Players.
    #[arg(long, default_value_t = 200)]
    players: usize,
    /// Share of them that read at the stream's rate instead of at once.
    #[arg(long, default_value_t = 0.5)]
    paced_share: f64,
    /// Simulated engines.
    #[arg(long, default_value_t = 3)]
    engines: usize,
    /// Channels.
    #[arg(long, default_value_t = 4)]
    channels: u32,
    /// Rate of each channel in Mbit/s.
    #[arg(long, default_value_t = 4.0)]
    mbit: f64,
    /// Minutes of trouble.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Seconds that one trouble lasts, about.
    #[arg(long, default_value_t = 5.0)]
    lasts: f64,
    /// Seconds between two, about.
    #[arg(long, default_value_t = 4.0)]
    pause: f64,
    /// Fail on lost bytes too, not only on cuts and broken streams.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    output: Output,
}

impl Args {
    fn options(&self) -> anyhow::Result<Options> {
        let time = |name: &str, seconds: f64| {
            let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero());
            time.with_context(|| format!("--{name} is no length of time"))
        };
        if !(0.001..=1000.0).contains(&self.mbit) {
            bail!("--mbit is 0.001 to 1000");
        }
        if !(0.0..=1.0).contains(&self.paced_share) {
            bail!("--paced-share is 0 to 1");
        }
        let clock =
            || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        Ok(Options {
            seed: self.seed.unwrap_or_else(clock),
            players: self.players,
            paced_share: self.paced_share,
            engines: self.engines,
            channels: self.channels,
            rate: (self.mbit * 125_000.0) as u64,
            pace: Pace {
                duration: time("minutes", self.minutes * 60.0)?,
                lasts: time("lasts", self.lasts)?,
                pause: time("pause", self.pause)?,
            },
            is_strict: self.strict,
        })
    }

    fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(&self.appliance);
        command.env_clear().env("LOG_LEVEL", "info");
        for variable in &self.env {
            let (name, value) = variable.split_once('=').with_context(|| format!("{variable:?} has no ="))?;
            command.env(name, value);
        }
        Ok(command)
    }
}

/// Runs, prints the table and writes what else is asked for.
///
/// # Errors
/// The run could not be made, or players met what they must not; the verdict is printed first.
pub fn run(args: Args) -> anyhow::Result<()> {
    let verdict = chaos::run(args.options()?, args.command()?, progress())?;
    args.output.give("chaos left its mark", &verdict)
}
