//! `sluice-bench scale`: the appliance with more and more players, and with more and more channels.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, ensure};

use super::compare::variable;
use super::load::Load;
use super::output::{Output, progress};
use crate::report::{Report, html};
use crate::scale::{self, Sweep};

/// Options of `scale`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The binary of an appliance, which is started anew for each point.
    program: String,
    /// Numbers of players of one channel of --mbit.
    #[arg(long, value_delimiter = ',', default_value = "100,500,1000,2000,4000,6000,8000")]
    players: Vec<usize>,
    /// Numbers of channels.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=2000), default_value = "1,25,50,100,150,200")]
    sweep_channels: Vec<u32>,
    /// Players of each of these channels.
    #[arg(long, default_value_t = 2)]
    channel_players: usize,
    /// Their rate in Mbit/s.
    #[arg(long, default_value_t = 4.0)]
    channel_mbit: f64,
    /// A variable for the appliance, as NAME=VALUE; may be given many times.
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Write each plot to a file of its own in this directory, as SVG.
    #[arg(long, value_name = "DIRECTORY")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    output: Output,
}

/// Measures, prints the table and writes what else is asked for.
///
/// # Errors
/// The appliance cannot be started, a drawing cannot be written, or, the table being printed, a threshold was crossed.
pub fn run(args: Args) -> anyhow::Result<()> {
    ensure!(!args.players.is_empty() || !args.sweep_channels.is_empty(), "nothing to measure");
    let sweep = Sweep {
        program: args.program,
        variables: args.env.iter().map(|text| variable(text)).collect::<Result<_, _>>()?,
        load: args.load.against(([127, 0, 0, 1], 0).into(), Vec::new()),
        players: args.players,
        channels: args.sweep_channels,
        channel_players: args.channel_players,
        channel_mbit: args.channel_mbit,
    };
    let scaling = scale::run(&sweep, progress())?;
    if let Some(directory) = &args.svg {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        for plot in scaling.plots() {
            let name: String = plot
                .title
                .chars()
                .map(|it| if it.is_alphanumeric() { it.to_ascii_lowercase() } else { '-' })
                .collect();
            let path = directory.join(format!("{name}.svg"));
            fs::write(&path, html::drawing(&plot)).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    args.output.give("the curves", &scaling)
}
