//! `sluice-bench play`: thousands of players against a running server.

use std::fmt;

use serde::Serialize;

use super::floor;
use super::load::Load;
use super::output::{Driven, Output, progress};
use crate::floor::Figures as Floor;
use crate::play::{self, Figures, Options, server};
use crate::report::{Plot, Report};

/// Options of `play`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The server, as http://HOST:PORT, or the whole URL of a stream.
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    url: String,
    #[command(flatten)]
    load: Load,
    /// Process id of the server; found by its port when not given.
    #[arg(long)]
    server_pid: Option<u32>,
    /// Compare N times without and with the stalled players instead; --seconds is the time of each measurement.
    #[arg(long, value_name = "N")]
    interleave: Option<usize>,
    /// Play N times over HLS and over continuous streams in turn, and show the ratio; --seconds is the time of each.
    #[arg(long, value_name = "N", conflicts_with_all = ["interleave", "floor", "stalled", "paced_share"])]
    hls: Option<usize>,
    /// With --hls, lets players come before there is a playlist: they get it, and go on asking, in the same moment.
    #[arg(long, requires = "hls")]
    at_once: bool,
    /// Measure the floor with the same numbers afterwards and show the ratio.
    #[arg(long, conflicts_with = "interleave")]
    floor: bool,
    /// Tick of the floor in milliseconds.
    #[arg(long, default_value_t = 50.0)]
    floor_tick: f64,
    #[command(flatten)]
    output: Output,
}

/// A run, and the floor beside it when that was asked for.
#[derive(Serialize)]
struct Played {
    #[serde(flatten)]
    figures: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    floor: Option<Floor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    floor_ratio: Option<f64>,
}

impl Report for Played {
    fn faults(&self) -> Vec<String> {
        self.figures.faults()
    }

    fn plots(&self) -> Vec<Plot> {
        self.figures.plots()
    }
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.figures)?;
        if let Some(floor) = &self.floor {
            let Floor { cpu_s_per_gb, gbit_s, ticks, overran, round_p50_ms, round_max_ms, .. } = floor;
            writeln!(
                f,
                "floor {cpu_s_per_gb:.4} s/GB, {gbit_s:.3} Gbit/s, {overran} of {ticks} rounds longer than a tick, {round_p50_ms:.0} ms (p50) and {round_max_ms:.0} ms (max) from one to the next"
            )?;
        }
        self.floor_ratio.iter().try_for_each(|ratio| writeln!(f, "server/floor {ratio:.2}"))
    }
}

/// Plays, prints the table and writes what else is asked for.
///
/// # Errors
/// An option makes no sense, the server is not there, a threshold was crossed, or players were not served as they should be; the
/// figures are printed first.
pub fn run(args: Args) -> anyhow::Result<()> {
    let options = Options { at_once: args.at_once, ..args.load.options(&args.url, args.server_pid)? };
    const BAD: &str = "players were not served well";
    let driver = server::driver(options.target);
    if let Some(rounds) = args.interleave {
        let report = play::interleave(&options, rounds, progress())?;
        return args.output.give(BAD, &Driven { driver, report });
    }
    if let Some(rounds) = args.hls {
        let report = play::versus(&options, rounds, progress())?;
        return args.output.give(BAD, &Driven { driver, report });
    }
    let figures = play::run(&options, progress())?;
    let floor = args.floor.then(|| measure_floor(&args)).transpose()?;
    let floor_ratio = floor.as_ref().and_then(|floor| ratio(&figures, floor));
    args.output.give(BAD, &Driven { driver, report: Played { figures, floor, floor_ratio } })
}

fn measure_floor(args: &Args) -> anyhow::Result<Floor> {
    let Load { clients, mbit, seconds, .. } = args.load;
    floor::measure(clients, mbit, args.floor_tick, seconds.as_secs_f64())
}

fn ratio(figures: &Figures, floor: &Floor) -> Option<f64> {
    let server = figures.server.as_ref()?;
    (floor.cpu_s_per_gb > 0.0).then(|| server.cpu_s_per_gb / floor.cpu_s_per_gb)
}
