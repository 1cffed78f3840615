//! `sluice-bench join`: join storms.

use std::time::Duration;

use super::load::{Load, time};
use super::output::{Driven, Output, progress};
use crate::play::{self, server};

/// Options of `join`. The players of the load watch all the time; the others come.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The server, as http://HOST:PORT, or the whole URL of a stream.
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    url: String,
    /// Players that come at once.
    #[arg(long, default_value_t = 1000)]
    joiners: usize,
    /// Of those, how many check every packet, so that the first that can be decoded is known.
    #[arg(long, default_value_t = 100)]
    joiners_checked: usize,
    /// Time within which they come.
    #[arg(long, default_value = "1s", value_parser = time)]
    within: Duration,
    /// How often.
    #[arg(long, default_value_t = 5)]
    storms: usize,
    /// Process id of the server; found by its port when not given.
    #[arg(long)]
    server_pid: Option<u32>,
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    output: Output,
}

/// Measures, prints the table and writes what else is asked for.
///
/// # Errors
/// An option makes no sense, the server is not there, a threshold was crossed, or somebody was turned away; the figures are printed first.
pub fn run(args: Args) -> anyhow::Result<()> {
    let options = args.load.options(&args.url, args.server_pid)?;
    let driver = server::driver(options.target);
    let crowd = (args.joiners, args.joiners_checked.min(args.joiners), args.within);
    let report = play::storms(&options, crowd, args.storms, progress())?;
    args.output.give("players were turned away", &Driven { driver, report })
}
