//! `sluice-bench floor`: the least CPU that fan-out can cost on this machine.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::output::{Output, progress};
use crate::floor::{self, Figures, Options, Path, sweep};

/// Ticks that are compared when none is given.
const TICKS: [f64; 4] = [20.0, 50.0, 100.0, 200.0];

/// Options of `floor`. With a tick it measures one way of sending and prints one line of JSON; without, it measures all ways side by side.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// How many players.
    #[arg(default_value_t = 1000)]
    clients: usize,
    /// Mbit/s for each player.
    #[arg(default_value_t = 8.0)]
    mbit: f64,
    /// Milliseconds between two rounds.
    tick: Option<f64>,
    /// Seconds of each measurement.
    #[arg(default_value_t = 3.0)]
    seconds: f64,
    /// How to send.
    #[arg(long, value_enum, default_value_t = Path::Sendfile)]
    path: Path,
    /// Send from user memory with send() instead of sendfile().
    #[arg(long, conflicts_with = "path")]
    copy: bool,
    /// Ways that are compared side by side.
    #[arg(long, value_enum, value_delimiter = ',', conflicts_with_all = ["path", "copy"])]
    paths: Vec<Path>,
    /// Ticks at which they are, in milliseconds.
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["path", "copy"])]
    ticks: Vec<f64>,
    /// How often each is measured, in turn.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// KiB that may wait unsent in a socket (`TCP_NOTSENT_LOWAT`); not bounded when not given.
    #[arg(long)]
    unsent_kib: Option<u32>,
    /// Players that never read.
    #[arg(long, default_value_t = 0)]
    stalled: usize,
    /// Core of the sending process.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Core of the players' process.
    #[arg(long, default_value_t = 1)]
    player_core: usize,
    #[command(flatten)]
    output: Output,
}

/// Options of the players' process, which `floor` starts itself.
#[derive(clap::Args, Debug)]
pub struct PlayersArgs {
    /// The sender's address.
    to: SocketAddr,
    /// How many players.
    clients: usize,
    /// Core to run on.
    core: usize,
    /// How many of them never read.
    #[arg(default_value_t = 0)]
    stalled: usize,
}

/// Measures and prints.
///
/// # Errors
/// The options make no sense or the kernel refuses something.
pub fn run(args: Args) -> anyhow::Result<()> {
    let compares = !args.paths.is_empty() || !args.ticks.is_empty();
    match args.tick {
        Some(tick) if !compares => run_one(&args, tick),
        tick => {
            anyhow::ensure!(args.rounds > 0, "no round to measure");
            let paths = if args.paths.is_empty() { Path::ALL.to_vec() } else { args.paths.clone() };
            let ticks = match (&args.ticks[..], tick) {
                ([], Some(tick)) => vec![tick],
                ([], None) => TICKS.to_vec(),
                (ticks, _) => ticks.to_vec(),
            };
            let one = |path, tick| measure_with(&args, path, tick);
            let load = (args.clients, args.mbit);
            let sweep = sweep::run(load, (&paths, &ticks), args.rounds, one, progress());
            args.output.give("floor", &sweep)
        }
    }
}

fn run_one(args: &Args, tick: f64) -> anyhow::Result<()> {
    let seconds = |value: f64, what: &str| {
        Duration::try_from_secs_f64(value).with_context(|| format!("{what} of {value} is no length of time"))
    };
    let options = Options {
        clients: args.clients,
        mbit: args.mbit,
        tick: seconds(tick / 1e3, "a tick")?,
        duration: seconds(args.seconds, "a measurement")?,
        path: if args.copy { Path::Copy } else { args.path },
        unsent_max: args.unsent_kib.map(|kib| kib.saturating_mul(1024)),
        core: args.core,
    };
    let program = std::env::current_exe().context("the players run in a process of this program")?;
    let figures = floor::run(options, |address| {
        let mut command = Command::new(program);
        let numbers = [args.clients, args.player_core, args.stalled].map(|number| number.to_string());
        command.arg("floor-players").arg(address.to_string()).args(numbers);
        command
    })?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&figures)?)?;
    Ok(())
}

/// The players' process.
///
/// # Errors
/// The sender is not there.
pub fn run_players(args: PlayersArgs) -> anyhow::Result<()> {
    Ok(floor::play(args.to, args.clients, args.stalled, args.core)?)
}

/// Runs the floor in a process of its own and returns what it prints.
///
/// # Errors
/// It failed; the message is what it said.
pub fn measure(clients: usize, mbit: f64, tick_ms: f64, seconds: f64) -> anyhow::Result<Figures> {
    ask([clients.to_string(), mbit.to_string(), tick_ms.to_string(), seconds.to_string()].to_vec())
}

fn measure_with(args: &Args, path: Path, tick: f64) -> anyhow::Result<Figures> {
    let Args { clients, mbit, seconds, stalled, core, player_core, .. } = args;
    let mut words = vec![clients.to_string(), mbit.to_string(), tick.to_string(), seconds.to_string()];
    for (name, value) in [("--core", core), ("--player-core", player_core), ("--stalled", stalled)] {
        words.extend([name.to_owned(), value.to_string()]);
    }
    words.extend(["--path".to_owned(), path.to_string()]);
    words.extend(args.unsent_kib.iter().flat_map(|kib| ["--unsent-kib".to_owned(), kib.to_string()]));
    ask(words)
}

fn ask(words: Vec<String>) -> anyhow::Result<Figures> {
    let program = std::env::current_exe().context("the floor runs in a process of this program")?;
    let output = Command::new(program).arg("floor").args(words).output().context("starting the floor")?;
    anyhow::ensure!(output.status.success(), "floor: {}", String::from_utf8_lossy(&output.stderr).trim());
    serde_json::from_slice(&output.stdout).context("the floor's figures")
}
