//! How quickly the REST API answers with a great deal in state: engines that are checked, streams that another proxy reports,
//! figures of each every second.
//!
//! The run starts simple engines on loopback and the appliance as a child, reports the streams, waits until they are
//! listed, and then asks each route over and over on one connection. A time is from the first byte of the request to the last of
//! the body. With players, those are measured twice: alone, and while the routes are asked for.

mod engines;
mod floor;
mod peer;
mod turns;
mod verdict;

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

pub use turns::Slowest;
pub use verdict::{Floor, RouteVerdict, Verdict};

use crate::channel::nth;
use crate::chaos;
use crate::chaos::appliance::Appliance;
use crate::engine::{self, ChannelSpec, Engine};
use crate::play::{self, Figures, Server, server};
use crate::report::{Machine, Times};
use engines::Engines;
use peer::Peer;
use turns::{Answer, Watched};

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one is reckoned to take, for as long as players are to be measured meanwhile.
const ANSWER_EXPECTED: Duration = Duration::from_millis(5);
/// How long everything may take to be listed.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Between two looks whether it is.
const LOOK: Duration = Duration::from_millis(500);
/// Routes that are asked for.
const ROUTES: [&str; 4] = ["/streams", "/engines", "/proxy/status", "/metrics"];

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Engines.
    pub engines: usize,
    /// Streams, spread over the engines.
    pub streams: usize,
    /// Requests of each route.
    pub requests: usize,
    /// Between two requests.
    pub pause: Duration,
    /// Whether servers that only send as many bytes are asked in turn with the appliance.
    pub has_floor: bool,
    /// Whether the appliance may ask for the figures of each stream.
    pub has_figures: bool,
    /// Players that watch meanwhile.
    pub players: usize,
    /// Channels they watch.
    pub channels: u32,
    /// Rate of each.
    pub mbit: f64,
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing to measure.
    #[error("there has to be at least one engine, one stream and one request")]
    Nothing,
    /// The engines cannot listen, or an answer did not come.
    #[error("{what}: {cause}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// The appliance cannot be started.
    #[error(transparent)]
    Appliance(#[from] chaos::Error),
    /// The engine behind the others cannot be started.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The players cannot be measured.
    #[error(transparent)]
    Play(#[from] play::Error),
    /// The players failed inside.
    #[error("the players failed inside; this is a bug")]
    Players,
    /// An answer says something else than it should.
    #[error("{what}: status {status}: {text}")]
    Answer {
        /// What was asked.
        what: String,
        /// Its status.
        status: u16,
        /// The beginning of its body.
        text: String,
    },
    /// Streams or engines are missing after a while.
    #[error("{found} of {wanted} {what} are listed after {SETTLE_TIMEOUT:?}")]
    Missing {
        /// Which.
        what: &'static str,
        /// How many are there.
        found: usize,
        /// How many there should be.
        wanted: usize,
    },
}

/// Runs; `command` starts the appliance, and what happens is told to `progress`.
///
/// # Errors
/// When the run could not be made.
pub fn run(options: &Options, command: Command, progress: impl Fn(&str)) -> Result<Verdict, Error> {
    if options.engines == 0 || options.streams == 0 || options.requests == 0 {
        return Err(Error::Nothing);
    }
    let rate = (options.mbit * 125_000.0) as u64;
    let channels = (0..options.channels).map(|n| ChannelSpec::synthetic(n, rate)).collect();
    let behind = Engine::start(engine::Options { channels, ..engine::Options::default() })?;
    let engines = Engines::start(options.engines, behind.addr())
        .map_err(|cause| io_error("starting engines", cause))?;
    let appliance = Appliance::start(command, engines.addresses())?;
    progress(&format!("the appliance listens at {}", appliance.addr()));
    let mut peer = Peer::connect(appliance.addr())?;
    for n in 0..options.streams {
        let engine = engines.addresses()[n % options.engines];
        peer.ask("POST /events/stream_started", &report(n, engine, options.has_figures))?;
    }
    progress(&format!("{} streams are reported", options.streams));
    settle(&mut peer, options)?;
    if options.players == 0 {
        let routes = ask_all(&appliance, options, &progress)?;
        return Ok(verdict(options, &appliance, routes, None));
    }
    let play = players(options, &appliance);
    progress("players alone");
    let alone = play::run(&play, &progress)?;
    progress("players while the routes are asked for");
    thread::scope(|scope| {
        let (begin, begun) = mpsc::channel();
        // The figures are what counts; what it says on the way was said before.
        let playing = scope.spawn(move || {
            play::run_and(
                &play,
                |_| (),
                || {
                    // Who does not listen any more has failed already.
                    let _ = begin.send(());
                },
            )
        });
        // A crowd that cannot begin drops the sender and tells why.
        let routes = match begun.recv() {
            Ok(()) => ask_all(&appliance, options, &progress)?,
            Err(_) => Vec::new(),
        };
        let asked = playing.join().map_err(|_| Error::Players)??;
        Ok(verdict(options, &appliance, routes, Some([alone, asked])))
    })
}

/// The crowd: measured for about as long as asking takes.
fn players(options: &Options, appliance: &Appliance) -> play::Options {
    let each = if options.has_floor { 3 } else { 1 };
    let requests = u32::try_from(options.requests * ROUTES.len() * each).unwrap_or(u32::MAX);
    let paths = (0..options.channels).map(|n| format!("/ace/getstream?id={}", nth(n).0)).collect();
    play::Options {
        clients: options.players,
        mbit: options.mbit,
        paced_share: 0.5,
        duration: (options.pause + ANSWER_EXPECTED).saturating_mul(requests),
        server: Some(Server::with_pid(appliance.pid())),
        profile_name: "simulated engine".to_owned(),
        ..play::Options::new(appliance.addr(), paths)
    }
}

fn verdict(
    options: &Options,
    appliance: &Appliance,
    routes: Vec<RouteVerdict>,
    players: Option<[Figures; 2]>,
) -> Verdict {
    let Options { engines, streams, requests, .. } = *options;
    let driver = server::driver(appliance.addr());
    Verdict { machine: Machine::here(), driver, engines, streams, requests, routes, players }
}

/// Asks each route over and over, on connections of its own: how fast the kernel sends on a connection depends on what was sent on it
/// before, and one that was idle for long is closed by now.
fn ask_all(
    appliance: &Appliance,
    options: &Options,
    progress: &impl Fn(&str),
) -> Result<Vec<RouteVerdict>, Error> {
    let watched = Watched::answering(appliance.pid());
    let mut routes = Vec::new();
    for route in ROUTES {
        let mut peer = Peer::connect(appliance.addr())?;
        let mut floors =
            if options.has_floor { Some([floor_of(0)?, floor_of(floor::CONTROL_NICE)?]) } else { None };
        let (mut times, mut bytes, mut answers) = (Times::default(), 0, Vec::new());
        let mut sent = [Times::default(), Times::default()];
        for _ in 0..options.requests {
            let before = watched.as_ref().and_then(Watched::turns);
            let begun = Instant::now();
            bytes = peer.ask(&format!("GET {route}"), "")?.len();
            let took = begun.elapsed();
            let after = watched.as_ref().and_then(Watched::turns);
            times.add(took);
            if let (Some(before), Some(after)) = (before, after) {
                answers.push(Answer { took, turns: after.since(before) });
            }
            thread::sleep(options.pause);
            for (floor, sent) in floors.iter_mut().flatten().zip(&mut sent) {
                let begun = Instant::now();
                floor.ask(&floor::question(bytes), "")?;
                sent.add(begun.elapsed());
                thread::sleep(options.pause);
            }
        }
        let [plain, nice] = sent.each_ref().map(Times::summary);
        let floor = plain.zip(nice).map(|(plain, nice)| Floor { plain, nice });
        let slowest = Slowest::of(answers);
        let verdict = RouteVerdict { route: route.to_owned(), bytes, times: times.summary(), slowest, floor };
        progress(&format!("{route}: {verdict}"));
        routes.push(verdict);
    }
    Ok(routes)
}

fn floor_of(nice: i32) -> Result<Peer, Error> {
    Peer::connect(floor::start(nice).map_err(|cause| io_error("starting a server of bytes", cause))?)
}

/// Waits until everything is listed, with figures if there are any.
fn settle(peer: &mut Peer, options: &Options) -> Result<(), Error> {
    let deadline = Instant::now() + SETTLE_TIMEOUT;
    loop {
        let count = |text: &[u8], needle: &str| {
            text.windows(needle.len()).filter(|at| *at == needle.as_bytes()).count()
        };
        let streams = peer.ask("GET /streams?status=started", "")?;
        let needle = if options.has_figures { r#""peers":17,"# } else { r#""status":"started""# };
        let found = count(streams, needle);
        let engines = count(peer.ask("GET /engines", "")?, r#""health_status":"healthy""#);
        if found == options.streams && engines == options.engines {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let (what, found, wanted) = if found < options.streams {
                ("streams", found, options.streams)
            } else {
                ("engines", engines, options.engines)
            };
            return Err(Error::Missing { what, found, wanted });
        }
        thread::sleep(LOOK);
    }
}

fn report(n: usize, engine: SocketAddr, has_figures: bool) -> String {
    let playback = format!("{n:032x}");
    // Nothing is asked over an address of another scheme.
    let scheme = if has_figures { "http" } else { "https" };
    serde_json::json!({
        "container_id": null,
        "engine": { "host": engine.ip().to_string(), "port": engine.port() },
        "stream": { "key_type": "infohash", "key": format!("{n:040x}") },
        "session": {
            "playback_session_id": playback,
            "stat_url": format!("{scheme}://{engine}/ace/stat/{n:040x}/{playback}"),
            "command_url": format!("{scheme}://{engine}/ace/cmd/{n:040x}/{playback}"),
            "is_live": 1,
        },
        "labels": { "source": "bench" },
    })
    .to_string()
}

fn io_error(what: impl Into<String>, cause: io::Error) -> Error {
    Error::Io { what: what.into(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: the engines answer checks and questions for figures as the appliance asks them.
    #[test]
    fn engines_answer() {
        let engines = Engines::start(3, ([127, 0, 0, 1], 1).into()).unwrap();
        for engine in engines.addresses() {
            let mut peer = Peer::connect(*engine).unwrap();
            let version = peer.ask("GET /webui/api/service?method=get_version&format=json", "").unwrap();
            assert!(std::str::from_utf8(version).unwrap().contains("version"));
            let mut peer = Peer::connect(*engine).unwrap();
            let stat = peer.ask("GET /ace/stat/1/2", "").unwrap();
            assert!(std::str::from_utf8(stat).unwrap().contains(r#""peers":17"#));
        }
    }
}
