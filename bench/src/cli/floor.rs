//! `sluice-bench floor`: the least CPU that fan-out can cost on this machine.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::floor::{self, Figures, Options};

/// Options of `floor`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// How many players.
    clients: usize,
    /// Mbit/s for each player.
    mbit: f64,
    /// Milliseconds between two rounds.
    tick: f64,
    /// Seconds to measure.
    seconds: f64,
    /// Send from user memory with send() instead of sendfile().
    #[arg(long)]
    copy: bool,
    /// Core of the sending process.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Core of the players' process.
    #[arg(long, default_value_t = 1)]
    player_core: usize,
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
}

/// Measures and prints one line of JSON.
///
/// # Errors
/// The options make no sense or the kernel refuses something.
pub fn run(args: Args) -> anyhow::Result<()> {
    let seconds = |value: f64, what: &str| {
        Duration::try_from_secs_f64(value).with_context(|| format!("{what} of {value} is no length of time"))
    };
    let options = Options {
        clients: args.clients,
        mbit: args.mbit,
        tick: seconds(args.tick / 1e3, "a tick")?,
        duration: seconds(args.seconds, "a measurement")?,
        copy: args.copy,
        core: args.core,
    };
    let program = std::env::current_exe().context("the players run in a process of this program")?;
    let figures = floor::run(options, |address| {
        let mut command = Command::new(program);
        let arguments = [address.to_string(), args.clients.to_string(), args.player_core.to_string()];
        command.arg("floor-players").args(arguments);
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
    Ok(floor::play(args.to, args.clients, args.core)?)
}

/// Runs the floor in a process of its own and returns what it prints.
///
/// # Errors
/// It failed; the message is what it said.
pub fn measure(clients: usize, mbit: f64, tick_ms: f64, seconds: f64) -> anyhow::Result<Figures> {
    let program = std::env::current_exe().context("the floor runs in a process of this program")?;
    let arguments = [clients.to_string(), mbit.to_string(), tick_ms.to_string(), seconds.to_string()];
    let output = Command::new(program).arg("floor").args(arguments).output().context("starting the floor")?;
    anyhow::ensure!(output.status.success(), "floor: {}", String::from_utf8_lossy(&output.stderr).trim());
    serde_json::from_slice(&output.stdout).context("the floor's figures")
}
