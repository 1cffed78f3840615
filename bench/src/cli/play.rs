//! `sluice-bench play`: thousands of players against a running server.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;

use super::floor;
use crate::channel;
use crate::floor::Figures as Floor;
use crate::play::{self, Figures, Interleaved, Options, Server, Versus};

/// Options of `play`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The server, as http://HOST:PORT.
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    url: String,
    /// A content id to play; may be given many times, players take them in turn.
    #[arg(long, conflicts_with = "channels")]
    id: Vec<String>,
    /// An infohash to play, likewise.
    #[arg(long, conflicts_with = "channels")]
    infohash: Vec<String>,
    /// Play the first N channels of the simulated engine's catalogue.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    channels: Option<u32>,
    /// Players whose service is measured.
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// Time in which they connect.
    #[arg(long, default_value = "2s", value_parser = time)]
    ramp: Duration,
    /// Time to measure.
    #[arg(long, default_value = "20s", value_parser = time)]
    seconds: Duration,
    /// Least time between the last join and the measurement.
    #[arg(long, default_value = "2s", value_parser = time)]
    settle: Duration,
    /// Most time to wait for players to catch up with live.
    #[arg(long, default_value = "30s", value_parser = time)]
    settle_max: Duration,
    /// How long a player waits for its stream to begin.
    #[arg(long, default_value = "60s", value_parser = time)]
    answer_timeout: Duration,
    /// How many players check every packet.
    #[arg(long, default_value_t = 5)]
    check: usize,
    /// Players on top that stop reading.
    #[arg(long, default_value_t = 0)]
    stalled: usize,
    /// KiB after which they do.
    #[arg(long, default_value_t = 256)]
    stalled_after: u64,
    /// Share of the players that read at the stream's rate instead of at once.
    #[arg(long, default_value_t = 0.0)]
    paced_share: f64,
    /// The stream's rate in Mbit/s.
    #[arg(long, default_value_t = 8.0)]
    mbit: f64,
    /// Loopback addresses that players come from, for servers that limit players per address.
    #[arg(long, default_value_t = 1)]
    sources: u32,
    /// Core to run on.
    #[arg(long)]
    core: Option<usize>,
    /// Process id of the server; found by its port when not given.
    #[arg(long)]
    server_pid: Option<u32>,
    /// Name of the source's delivery profile, for the report.
    #[arg(long, default_value = "unnamed")]
    profile_name: String,
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
    /// Write everything as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Load a server on another machine.
    #[arg(long)]
    allow_remote: bool,
}

/// Reads `2s`, `500ms`, `1.5m` or plain seconds.
pub(super) fn time(text: &str) -> anyhow::Result<Duration> {
    let (digits, factor) = match text {
        _ if text.ends_with("ms") => (&text[..text.len() - 2], 1e-3),
        _ if text.ends_with('s') => (&text[..text.len() - 1], 1.0),
        _ if text.ends_with('m') => (&text[..text.len() - 1], 60.0),
        _ => (text, 1.0),
    };
    let seconds = digits.parse::<f64>().context("a time is a number, with ms, s or m")? * factor;
    Duration::try_from_secs_f64(seconds).with_context(|| format!("{text} is no length of time"))
}

/// Takes `http://HOST:PORT` apart: the address and the `Host` header.
fn server(url: &str) -> anyhow::Result<(SocketAddr, String)> {
    let rest = url.strip_prefix("http://").with_context(|| format!("{url} does not begin with http://"))?;
    let host = rest.trim_end_matches('/');
    if host.is_empty() || host.contains(['/', '?', '#', '@', ' ', '\r', '\n']) {
        bail!("{url} is not http://HOST:PORT");
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let full = if has_port { host.to_owned() } else { format!("{host}:80") };
    let mut found = full.to_socket_addrs().with_context(|| format!("cannot resolve {host}"))?;
    let address = found.next().with_context(|| format!("{host} has no address"))?;
    Ok((address, host.to_owned()))
}

impl Args {
    fn paths(&self) -> anyhow::Result<Vec<String>> {
        let catalogue = (0..self.channels.unwrap_or(0)).map(|number| channel::nth(number).0.to_string());
        let ids = self.id.iter().cloned().chain(catalogue).map(|id| ("id", id));
        let named: Vec<_> = ids.chain(self.infohash.iter().cloned().map(|it| ("infohash", it))).collect();
        if named.is_empty() {
            bail!("nothing to play: give --id, --infohash or --channels");
        }
        if let Some((_, bad)) =
            named.iter().find(|(_, id)| !id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        {
            bail!("{bad:?} cannot stand in a URL as an id");
        }
        Ok(named.iter().map(|(selector, id)| format!("/ace/getstream?{selector}={id}")).collect())
    }

    fn options(&self) -> anyhow::Result<Options> {
        let paths = self.paths()?;
        let (target, host) = server(&self.url)?;
        let is_local = target.ip().to_canonical().is_loopback();
        let watched = match self.server_pid {
            Some(pid) => Some(Server::with_pid(pid)),
            None if is_local => Some(Server::listening_on(target)?),
            None => None,
        };
        Ok(Options {
            host,
            clients: self.clients,
            checked: self.check.min(self.clients),
            paced_share: self.paced_share,
            stalled: self.stalled,
            stalled_after: self.stalled_after.saturating_mul(1024),
            mbit: self.mbit,
            ramp: self.ramp,
            duration: self.seconds,
            settle: (self.settle, self.settle_max.max(self.settle)),
            answer_timeout: self.answer_timeout,
            sources: self.sources,
            core: self.core,
            server: watched,
            profile_name: self.profile_name.clone(),
            at_once: self.at_once,
            allow_remote: self.allow_remote,
            ..Options::new(target, paths)
        })
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Played {
        figures: Box<Figures>,
        #[serde(skip_serializing_if = "Option::is_none")]
        floor: Option<Floor>,
        #[serde(skip_serializing_if = "Option::is_none")]
        floor_ratio: Option<f64>,
    },
    Compared(Interleaved),
    Versus(Box<Versus>),
}

/// Plays, prints the table and writes the JSON file.
///
/// # Errors
/// An option makes no sense, the server is not there, or players were not served as they should be; the figures are
/// printed first.
pub fn run(args: Args) -> anyhow::Result<()> {
    let options = args.options()?;
    let progress = |text: &str| {
        // Nobody reading standard error is no reason to stop.
        let _unheard = writeln!(std::io::stderr(), "{text}");
    };
    let mut out = std::io::stdout();
    let outcome = if let Some(rounds) = args.interleave {
        let compared = play::interleave(&options, rounds, progress)?;
        write!(out, "{compared}")?;
        Outcome::Compared(compared)
    } else if let Some(rounds) = args.hls {
        let both = Box::new(play::versus(&options, rounds, progress)?);
        write!(out, "{both}")?;
        Outcome::Versus(both)
    } else {
        let figures = Box::new(play::run(&options, progress)?);
        write!(out, "{figures}")?;
        let floor = args.floor.then(|| measure_floor(&args)).transpose()?;
        let floor_ratio = floor.as_ref().and_then(|floor| ratio(&figures, floor));
        if let Some(floor) = &floor {
            writeln!(out, "floor {:.4} s/GB, {:.3} Gbit/s", floor.cpu_s_per_gb, floor.gbit_s)?;
        }
        if let Some(ratio) = floor_ratio {
            writeln!(out, "server/floor {ratio:.2}")?;
        }
        Outcome::Played { figures, floor, floor_ratio }
    };
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&outcome)?;
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    let faults = match &outcome {
        Outcome::Played { figures, .. } => figures.faults(),
        Outcome::Versus(both) => {
            let continuous = both.continuous.iter().flat_map(Figures::faults);
            both.hls.iter().flat_map(play::HlsFigures::faults).chain(continuous).collect()
        }
        Outcome::Compared(compared) => {
            compared.phases.last().map(|phase| phase.figures.faults()).unwrap_or_default()
        }
    };
    if faults.is_empty() { Ok(()) } else { bail!("players were not served well: {}", faults.join("; ")) }
}

fn measure_floor(args: &Args) -> anyhow::Result<Floor> {
    floor::measure(args.clients, args.mbit, args.floor_tick, args.seconds.as_secs_f64())
}

fn ratio(figures: &Figures, floor: &Floor) -> Option<f64> {
    let server = figures.server.as_ref()?;
    (floor.cpu_s_per_gb > 0.0).then(|| server.cpu_s_per_gb / floor.cpu_s_per_gb)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that times are read with their unit and nonsense is refused.
    #[test]
    fn times_have_units() {
        for (text, millis) in [("2s", 2000), ("500ms", 500), ("1.5m", 90_000), ("3", 3000)] {
            assert_eq!(time(text).ok(), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "s", "-1s", "1h", "nan", "1e300"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    /// Guards that only the root of a plain HTTP server is taken.
    #[test]
    fn urls_are_taken_apart() {
        let (address, host) = server("http://127.0.0.1:8000/").expect("valid");
        assert_eq!((address.to_string(), host.as_str()), ("127.0.0.1:8000".to_owned(), "127.0.0.1:8000"));
        let (address, host) = server("http://[::1]:81").expect("valid");
        assert_eq!((address.port(), host.as_str()), (81, "[::1]:81"));
        assert_eq!(server("http://127.0.0.1").expect("valid").0.port(), 80);
        for bad in
            ["https://127.0.0.1", "http://", "http://127.0.0.1:1/x", "http://a b", "http://u@127.0.0.1"]
        {
            assert!(server(bad).is_err(), "{bad}");
        }
    }
}
