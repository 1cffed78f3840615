//! The load: thousands of players from one thread for each core they may have, and what they and the server experienced.
//!
//! A run connects its players within a ramp, waits until their streams have settled (joiners first catch up with what
//! the server holds for them), then measures for a given time and stops. Everything is bounded in time. Only loopback
//! is loaded unless the caller says otherwise. Nothing here knows the server's insides; what it uses is read from
//! `/proc`.

mod churn;
mod client;
mod crowd;
mod figures;
mod hls;
mod interleave;
mod join;
pub mod server;
#[cfg(test)]
mod tests;
mod threads;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

pub use churn::Passed;
pub use figures::{Figures, Joins, Moment, Sampled, Service, Used};
pub use hls::{HlsFigures, Versus, versus};
pub use interleave::{Interleaved, Medians, Phase};
pub use join::{Storm, Storms, storms};
pub use server::{Server, Usage};

use crate::sys;
use client::Kind;
use crowd::{Habits, SOURCES_MAX};
use threads::Crowds;

/// Descriptors beside the players' sockets, and those of a thread that plays.
const FDS_SPARE: u64 = 64;
const FDS_PER_THREAD: u64 = 2;
/// Between two looks at how a measurement goes.
const MOMENT: Duration = Duration::from_secs(1);
/// Looks that are kept; a longer measurement has longer moments.
const MOMENTS_MAX: u32 = 3600;
/// Players that may come in a second.
const CHURN_MAX: f64 = 10_000.0;
/// How often settling is judged.
const SETTLE_STEP: Duration = Duration::from_millis(500);
/// Settled players together take at most this much more than their rate.
const SETTLED_FACTOR: f64 = 1.25;
/// Longest run of one measurement, so that a typing mistake does not load a machine for days.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub target: SocketAddr,
    /// `Host` header.
    pub host: String,
    /// Path and query of each channel; players take them in turn.
    pub paths: Vec<String>,
    /// Players whose service is judged.
    pub clients: usize,
    /// Of those, how many check every packet.
    pub checked: usize,
    /// Of the others, which share reads at the stream's rate instead of at once.
    pub paced_share: f64,
    /// Players on top that stop reading.
    pub stalled: usize,
    /// Bytes after which they do.
    pub stalled_after: u64,
    /// Players on top that come and go while it is measured: how many a second, and how long each stays.
    pub churn: Option<(f64, Duration)>,
    /// The stream's rate in Mbit/s.
    pub mbit: f64,
    /// Time in which all players connect.
    pub ramp: Duration,
    /// Time to measure.
    pub duration: Duration,
    /// Least and most time between the last join and the measurement.
    pub settle: (Duration, Duration),
    /// How long a player waits for its stream to begin.
    pub answer_timeout: Duration,
    /// Loopback addresses that players come from.
    pub sources: u32,
    /// Cores to play on, a thread on each; none leaves one thread to the kernel.
    pub cores: Vec<usize>,
    /// Whose CPU time and memory to read.
    pub server: Option<Server>,
    /// Name of the source's delivery profile, for the report.
    pub profile_name: String,
    /// Lets players over HLS come before there is a playlist, which they then get and ask for in the same moment.
    pub at_once: bool,
    /// Loads another machine than this one.
    pub allow_remote: bool,
}

impl Options {
    /// A plain run against `target`: a thousand players that drain 8 Mbit/s, for 20 s.
    pub fn new(target: SocketAddr, paths: Vec<String>) -> Self {
        Self {
            target,
            host: target.to_string(),
            paths,
            clients: 1000,
            checked: 0,
            paced_share: 0.0,
            stalled: 0,
            stalled_after: 256 * 1024,
            churn: None,
            mbit: 8.0,
            ramp: Duration::from_secs(2),
            duration: Duration::from_secs(20),
            settle: (Duration::from_secs(2), Duration::from_secs(30)),
            answer_timeout: Duration::from_secs(60),
            sources: 1,
            cores: Vec::new(),
            server: None,
            profile_name: "unnamed".to_owned(),
            at_once: false,
            allow_remote: false,
        }
    }

    fn check(&self) -> Result<(), Error> {
        if !self.allow_remote && !is_loopback(self.target.ip()) {
            return Err(Error::Remote(self.target));
        }
        let refuse = |text: String| Err(Error::Options(text));
        if self.paths.is_empty() {
            return refuse("no channel to play".to_owned());
        }
        if self.clients == 0 || self.checked > self.clients {
            return refuse(format!("{} clients, {} of them checked", self.clients, self.checked));
        }
        if !(0.0..=1.0).contains(&self.paced_share) {
            return refuse(format!("a paced share of {}, it lies between 0 and 1", self.paced_share));
        }
        if !(self.mbit > 0.0 && self.mbit <= 10_000.0) {
            return refuse(format!("a rate of {} Mbit/s", self.mbit));
        }
        if self.duration.is_zero()
            || [self.duration, self.ramp, self.settle.1].iter().any(|it| *it > DURATION_MAX)
        {
            return refuse(format!("{:?} of measuring after {:?} of joining", self.duration, self.ramp));
        }
        if self.sources == 0 || self.sources > SOURCES_MAX {
            return refuse(format!("{} source addresses, 1 to {SOURCES_MAX} are possible", self.sources));
        }
        if self.sources > 1 && !(self.target.is_ipv4() && is_loopback(self.target.ip())) {
            return refuse("source addresses exist on IPv4 loopback alone".to_owned());
        }
        let passing = self.churn.map_or(0.0, |(per_second, stay)| per_second * stay.as_secs_f64());
        if let Some((per_second, stay)) = self.churn
            && !(per_second > 0.0 && per_second <= CHURN_MAX && !stay.is_zero() && stay <= DURATION_MAX)
        {
            return refuse(format!("{per_second} players a second that stay for {stay:?} each"));
        }
        let spare = FDS_SPARE + FDS_PER_THREAD * self.cores.len() as u64;
        let wanted = (self.clients + self.stalled) as u64 + passing.ceil() as u64 + spare;
        let limit = sys::raise_descriptor_limit().map_err(|cause| Error::System { what: "limits", cause })?;
        if wanted > limit {
            return Err(Error::Descriptors { wanted, limit });
        }
        Ok(())
    }

    /// For commands that let players come in a way of their own.
    fn no_churn(&self) -> Result<(), Error> {
        match self.churn {
            Some(_) => Err(Error::Options(
                "--churn is for play and compare without --interleave or --hls".to_owned(),
            )),
            None => Ok(()),
        }
    }

    fn habits(&self) -> Habits {
        let request = |path: &String| {
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: sluice-bench\r\n\r\n", self.host)
                .into_bytes()
        };
        Habits {
            target: self.target,
            requests: self.paths.iter().map(request).collect(),
            sources: self.sources,
            rate: self.mbit * 125_000.0,
            stalled_after: self.stalled_after,
            answer_timeout: self.answer_timeout,
        }
    }

    /// The judged players, checked and paced ones spread evenly.
    fn kinds(&self) -> Vec<Kind> {
        let (mut checked, mut others, mut paced) = (0, 0, 0);
        let mut kind = |place: usize| {
            if place * self.checked >= checked * self.clients && checked < self.checked {
                checked += 1;
                return Kind::Checked;
            }
            others += 1;
            if f64::from(others) * self.paced_share < f64::from(paced + 1) {
                return Kind::Drained;
            }
            paced += 1;
            Kind::Paced
        };
        (0..self.clients).map(&mut kind).collect()
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The target is another machine.
    #[error("{0} is not this machine; loading another one takes --allow-remote")]
    Remote(SocketAddr),
    /// An option makes no sense.
    #[error("{0}")]
    Options(String),
    /// More players than descriptors.
    #[error(
        "needs {wanted} open files and may have {limit} at most; raise the hard limit (ulimit -Hn) or play less"
    )]
    Descriptors {
        /// With all players.
        wanted: u64,
        /// The hard limit.
        limit: u64,
    },
    /// A system call failed.
    #[error("{what}: {cause}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// The server's use cannot be read.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// Not one player got a stream.
    #[error("no player got a stream: {0}")]
    NobodyServed(String),
}

impl Error {
    fn epoll(cause: io::Error) -> Self {
        Self::System { what: "waiting for sockets", cause }
    }
}

/// Plays once and measures.
///
/// # Errors
/// An option makes no sense, nobody is served, or the server cannot be watched.
pub fn run(options: &Options, progress: impl FnMut(&str)) -> Result<Figures, Error> {
    run_and(options, progress, || ())
}

/// The same, and does something when the measurement begins; it must not take long, for nobody reads meanwhile.
///
/// # Errors
/// As for [`run`].
pub fn run_and(
    options: &Options,
    mut progress: impl FnMut(&str),
    begin: impl FnOnce(),
) -> Result<Figures, Error> {
    let mut run = Run::start(options, &mut progress)?;
    run.crowds.add(&vec![Kind::Stalled; options.stalled], options.ramp);
    run.settle(&mut progress)?;
    if let Some((per_second, stay)) = options.churn {
        run.crowds.add_passing(per_second, stay);
    }
    progress(&format!("measuring for {:?}", options.duration));
    begin();
    run.measure(&mut progress)
}

/// Plays `rounds` times without and with the stalled players in turn, others staying connected throughout.
///
/// # Errors
/// As for [`run`], and when there are no rounds or no stalled players.
pub fn interleave(
    options: &Options,
    rounds: usize,
    mut progress: impl FnMut(&str),
) -> Result<Interleaved, Error> {
    options.no_churn()?;
    if rounds == 0 || options.stalled == 0 {
        return Err(Error::Options(
            "phases to compare need stalled players and at least one round".to_owned(),
        ));
    }
    let mut run = Run::start(options, &mut progress)?;
    run.settle(&mut progress)?;
    interleave::run(&mut run, rounds, &mut progress)
}

/// Players at work.
struct Run<'a> {
    options: &'a Options,
    crowds: Crowds,
    before: Option<Usage>,
    settled: bool,
}

impl<'a> Run<'a> {
    /// Lets the judged players begin to connect.
    fn start(options: &'a Options, progress: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        options.check()?;
        threads::pin(&options.cores)?;
        let before = options.server.as_ref().map(Server::usage).transpose()?;
        let mut crowds = Crowds::new(&options.habits(), &options.cores).map_err(Error::epoll)?;
        progress(&format!("{} players join within {:?}", options.clients, options.ramp));
        crowds.add(&options.kinds(), options.ramp);
        Ok(Self { options, crowds, before, settled: false })
    }

    fn play(&mut self, time: Duration) -> Result<(), Error> {
        self.crowds.run(Instant::now() + time).map_err(Error::epoll)
    }

    /// Plays until everybody has joined and has caught up.
    fn settle(&mut self, progress: &mut dyn FnMut(&str)) -> Result<(), Error> {
        self.join()?;
        let (least, most) = self.options.settle;
        let started = Instant::now();
        self.play(least)?;
        loop {
            self.crowds.begin_interval();
            let step = Instant::now();
            self.play(SETTLE_STEP)?;
            let (count, bytes) =
                self.crowds.served().fold((0, 0), |all, client| (all.0 + 1, all.1 + client.measured));
            if count == 0 {
                return Err(Error::NobodyServed(figures::reasons(&self.crowds)));
            }
            let mbit_each = bytes as f64 / step.elapsed().as_secs_f64() / 125_000.0 / f64::from(count);
            self.settled = mbit_each <= self.options.mbit * SETTLED_FACTOR;
            if self.settled {
                return Ok(());
            }
            if started.elapsed() > most {
                progress(&format!("players still take {mbit_each:.1} Mbit/s each; measuring all the same"));
                return Ok(());
            }
        }
    }

    /// Plays until nobody is on the way any more; the answer timeout bounds it.
    fn join(&mut self) -> Result<(), Error> {
        while !self.crowds.has_joined() {
            self.play(Duration::from_millis(20))?;
        }
        Ok(())
    }

    fn measure(&mut self, progress: &mut dyn FnMut(&str)) -> Result<Figures, Error> {
        let usage = |server: &Option<Server>| server.as_ref().map(Server::usage).transpose();
        let from = usage(&self.options.server)?;
        let (started, own) = (Instant::now(), sys::process_cpu());
        self.crowds.begin_interval();
        let moments = self.moments(started, from, progress)?;
        self.crowds.end_interval();
        let to = usage(&self.options.server)?;
        let elapsed = started.elapsed();
        let used = match (self.before, from, to) {
            (Some(before), Some(from), Some(to)) => Some((before, from, to)),
            _ => None,
        };
        let own_cpu = (sys::process_cpu() - own).as_secs_f64() / elapsed.as_secs_f64();
        Ok(figures::collect((self.options, self.settled), &self.crowds, elapsed, used, own_cpu, moments))
    }

    /// Plays for the time of the measurement and looks at it every second.
    fn moments(
        &mut self,
        started: Instant,
        mut used: Option<Usage>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Vec<Moment>, Error> {
        let step = MOMENT.max(self.options.duration / MOMENTS_MAX);
        let end = started + self.options.duration;
        let (mut moments, mut last, mut received) = (Vec::new(), started, 0);
        while last < end {
            self.crowds.run((last + step).min(end)).map_err(Error::epoll)?;
            let now = Instant::now();
            let seconds = (now - last).as_secs_f64();
            let served = self.crowds.served().count();
            let measured = self.crowds.measured();
            // A server that is gone is a fault of the end of the measurement, not of a look at it.
            let usage = self.options.server.as_ref().and_then(|server| server.glance().ok());
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let moment = Moment {
                at_s: (now - started).as_secs_f64(),
                players: served,
                gbit_s: (measured - received) as f64 * 8.0 / seconds / 1e9,
                gap_ms: self.crowds.take_gap().as_secs_f64() * 1e3,
                cpu_pct: usage.zip(used).map(|(now, then)| (now.cpu_s - then.cpu_s) / seconds * 100.0),
                rss_mib: usage.map(|usage| mib(usage.rss)),
                tcp_mib: usage.map(|usage| mib(usage.host_tcp)),
            };
            progress(&moment.line(self.options.duration));
            (last, received, used) = (now, measured, usage);
            moments.push(moment);
        }
        Ok(moments)
    }
}

impl Moment {
    /// One line, which the next one replaces.
    fn line(&self, of: Duration) -> String {
        let Self { at_s, players, gbit_s, gap_ms, cpu_pct, .. } = self;
        let cpu = cpu_pct.map(|cpu| format!(", server {cpu:.0} % of a core")).unwrap_or_default();
        format!(
            "  {at_s:.0} of {:.0} s: {players} players, {gbit_s:.3} Gbit/s, longest gap {gap_ms:.0} ms{cpu}",
            of.as_secs_f64()
        )
    }
}
