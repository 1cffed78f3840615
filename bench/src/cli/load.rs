//! What every command that plays is told: whom to load, with how many players, for how long.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::channel;
use crate::play::{Options, Server};

/// Options of the load.
#[derive(clap::Args, Debug)]
pub struct Load {
    /// A content id to play; may be given many times, players take them in turn.
    #[arg(long, conflicts_with = "channels")]
    pub id: Vec<String>,
    /// An infohash to play, likewise.
    #[arg(long, conflicts_with = "channels")]
    pub infohash: Vec<String>,
    /// Play the first N channels of the simulated engine's catalogue.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub channels: Option<u32>,
    /// Players whose service is measured.
    #[arg(long, default_value_t = 1000)]
    pub clients: usize,
    /// Time in which they connect.
    #[arg(long, default_value = "2s", value_parser = time)]
    pub ramp: Duration,
    /// Time to measure.
    #[arg(long, default_value = "20s", value_parser = time)]
    pub seconds: Duration,
    /// Least time between the last join and the measurement.
    #[arg(long, default_value = "2s", value_parser = time)]
    pub settle: Duration,
    /// Most time to wait for players to catch up with live.
    #[arg(long, default_value = "30s", value_parser = time)]
    pub settle_max: Duration,
    /// How long a player waits for its stream to begin.
    #[arg(long, default_value = "60s", value_parser = time)]
    pub answer_timeout: Duration,
    /// How many players check every packet.
    #[arg(long, default_value_t = 5)]
    pub check: usize,
    /// Players on top that stop reading.
    #[arg(long, default_value_t = 0)]
    pub stalled: usize,
    /// KiB after which they do.
    #[arg(long, default_value_t = 256)]
    pub stalled_after: u64,
    /// Players on top that come while it is measured, per second; each leaves after --stay and comes again.
    #[arg(long, value_name = "PER SECOND")]
    pub churn: Option<f64>,
    /// How long each of them stays.
    #[arg(long, default_value = "5s", value_parser = time)]
    pub stay: Duration,
    /// Share of the players that read at the stream's rate instead of at once.
    #[arg(long, default_value_t = 0.0)]
    pub paced_share: f64,
    /// The stream's rate in Mbit/s.
    #[arg(long, default_value_t = 8.0)]
    pub mbit: f64,
    /// Loopback addresses that players come from, for servers that limit players per address.
    #[arg(long, default_value_t = 1)]
    pub sources: u32,
    /// Core to play on; with several (1,2,3) a thread plays on each.
    #[arg(long, value_delimiter = ',')]
    pub core: Vec<usize>,
    /// Name of the source's delivery profile, for the report.
    #[arg(long, default_value = "unnamed")]
    pub profile_name: String,
    /// Load a server on another machine.
    #[arg(long)]
    pub allow_remote: bool,
}

/// Reads `2s`, `500ms`, `1.5m` or plain seconds.
pub fn time(text: &str) -> anyhow::Result<Duration> {
    let (digits, factor) = match text {
        _ if text.ends_with("ms") => (&text[..text.len() - 2], 1e-3),
        _ if text.ends_with('s') => (&text[..text.len() - 1], 1.0),
        _ if text.ends_with('m') => (&text[..text.len() - 1], 60.0),
        _ => (text, 1.0),
    };
    let seconds = digits.parse::<f64>().context("a time is a number, with ms, s or m")? * factor;
    Duration::try_from_secs_f64(seconds).with_context(|| format!("{text} is no length of time"))
}

/// A URL taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    address: SocketAddr,
    /// The `Host` header.
    host: String,
    /// Path and query, unless that is the root.
    path: Option<String>,
}

/// Takes `http://HOST:PORT`, or the whole URL of a stream, apart.
fn place(url: &str) -> anyhow::Result<Place> {
    let rest = url.strip_prefix("http://").with_context(|| format!("{url} does not begin with http://"))?;
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let is_bad = |char: char| char.is_whitespace() || char.is_control() || char == '#';
    if host.is_empty() || host.contains('@') || url.contains(is_bad) || path.starts_with('?') {
        bail!("{url} is neither http://HOST:PORT nor http://HOST:PORT/PATH");
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let full = if has_port { host.to_owned() } else { format!("{host}:80") };
    let mut found = full.to_socket_addrs().with_context(|| format!("cannot resolve {host}"))?;
    let address = found.next().with_context(|| format!("{host} has no address"))?;
    let path = (path.len() > 1).then(|| path.to_owned());
    Ok(Place { address, host: host.to_owned(), path })
}

impl Load {
    /// What is asked for at the appliance's own route.
    fn paths(&self) -> anyhow::Result<Vec<String>> {
        let catalogue = (0..self.channels.unwrap_or(0)).map(|number| channel::nth(number).0.to_string());
        let ids = self.id.iter().cloned().chain(catalogue).map(|id| ("id", id));
        let named: Vec<_> = ids.chain(self.infohash.iter().cloned().map(|it| ("infohash", it))).collect();
        if let Some((_, bad)) =
            named.iter().find(|(_, id)| !id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        {
            bail!("{bad:?} cannot stand in a URL as an id");
        }
        Ok(named.iter().map(|(selector, id)| format!("/ace/getstream?{selector}={id}")).collect())
    }

    /// How to load what is at a URL: a server that speaks `/ace/getstream`, or one stream.
    pub fn options(&self, url: &str, server_pid: Option<u32>) -> anyhow::Result<Options> {
        let Place { address, host, path } = place(url)?;
        let named = self.paths()?;
        let paths = match path {
            Some(path) => {
                ensure!(named.is_empty(), "{url} is a stream of its own, so no other can be named");
                vec![path]
            }
            None => named,
        };
        if paths.is_empty() {
            bail!("nothing to play: give --id, --infohash or --channels, or the whole URL of a stream");
        }
        let is_local = address.ip().to_canonical().is_loopback();
        let watched = match server_pid {
            Some(pid) => Some(Server::with_pid(pid)),
            None if is_local => Some(Server::listening_on(address)?),
            None => None,
        };
        Ok(Options { host, server: watched, ..self.against(address, paths) })
    }

    /// The same against an address that is known.
    pub fn against(&self, target: SocketAddr, paths: Vec<String>) -> Options {
        Options {
            clients: self.clients,
            checked: self.check.min(self.clients),
            paced_share: self.paced_share,
            stalled: self.stalled,
            stalled_after: self.stalled_after.saturating_mul(1024),
            churn: self.churn.map(|per_second| (per_second, self.stay)),
            mbit: self.mbit,
            ramp: self.ramp,
            duration: self.seconds,
            settle: (self.settle, self.settle_max.max(self.settle)),
            answer_timeout: self.answer_timeout,
            sources: self.sources,
            cores: self.core.clone(),
            profile_name: self.profile_name.clone(),
            allow_remote: self.allow_remote,
            ..Options::new(target, paths)
        }
    }
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

    /// Guards that the root of a plain HTTP server and the URL of a stream are told apart, and nothing else is taken.
    #[test]
    fn urls_are_taken_apart() {
        let parts = |url: &str| {
            let Place { address, host, path } = place(url).expect("valid");
            (address.to_string(), host, path)
        };
        let there = || ("127.0.0.1:8000".to_owned(), "127.0.0.1:8000".to_owned());
        assert_eq!(parts("http://127.0.0.1:8000/"), (there().0, there().1, None));
        let stream = "/live/a.ts?x=1";
        assert_eq!(
            parts(&format!("http://127.0.0.1:8000{stream}")),
            (there().0, there().1, Some(stream.to_owned()))
        );
        assert_eq!(parts("http://[::1]:81").0, "[::1]:81");
        assert_eq!(parts("http://127.0.0.1").0, "127.0.0.1:80");
        for bad in
            ["https://127.0.0.1", "http://", "http://127.0.0.1:1/x y", "http://a b", "http://u@127.0.0.1"]
        {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
