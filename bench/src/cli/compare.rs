//! `sluice-bench compare`: the same work against two things in turn.

use std::path::Path;

use anyhow::{Context, ensure};

use super::load::Load;
use super::output::{Output, progress};
use crate::compare::{self, Side};

/// Options of `compare`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The first: a server that runs as http://HOST:PORT, the whole URL of a stream, or the binary of an appliance.
    first: String,
    /// The second.
    second: String,
    /// How often each is measured, in turn.
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Fail when the second takes more CPU or memory than this many percent above the first, in the middle, and not by chance.
    #[arg(long, value_name = "PERCENT")]
    loss: Option<f64>,
    /// A variable for appliances that are started, as NAME=VALUE; may be given many times.
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// A variable for the second alone.
    #[arg(long, value_name = "NAME=VALUE")]
    second_env: Vec<String>,
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    output: Output,
}

impl Args {
    fn side(&self, text: &str, more: &[String]) -> anyhow::Result<Side> {
        if text.starts_with("http") {
            let options = Box::new(self.load.options(text, None)?);
            return Ok(Side::Running { name: text.to_owned(), options });
        }
        ensure!(Path::new(text).is_file(), "{text} is neither a URL nor a file");
        let variables = self.env.iter().chain(more).map(|text| variable(text)).collect::<Result<_, _>>()?;
        let paths = compare::paths(self.load.channels.unwrap_or(1));
        let options = Box::new(self.load.against(([127, 0, 0, 1], 0).into(), paths));
        Ok(Side::Build { program: text.into(), variables, options })
    }
}

/// Takes `NAME=VALUE` apart.
pub(super) fn variable(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = text.split_once('=').with_context(|| format!("{text:?} has no ="))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Compares, prints the table and writes what else is asked for.
///
/// # Errors
/// A side is not there, a threshold was crossed, players were not served as they should be, or the second lost; the table is printed first.
pub fn run(args: Args) -> anyhow::Result<()> {
    if let Some(loss) = args.loss {
        ensure!((0.0..=1000.0).contains(&loss), "a loss is 0 to 1000 percent");
    }
    let sides = [args.side(&args.first, &[])?, args.side(&args.second, &args.second_env)?];
    let loss_max = args.loss.map(|loss| loss / 100.0);
    let comparison = compare::run(&sides, args.rounds, loss_max, progress())?;
    args.output.give("the comparison", &comparison)
}
