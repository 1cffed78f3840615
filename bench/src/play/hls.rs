//! The load of HLS players: each has one connection, a playlist of its own, and takes every segment that is listed.
//!
//! Each thread has players of its own. Answers that are waited for (playlists) are looked at all the time, so that their times are exact; bodies
//! of segments are discarded in the kernel, in slices, so that they do not delay the former for long.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::client::Gone;
use super::crowd::{connect, received};
use super::figures::Used;
use super::{Error, Figures, Options, Server, threads};
use crate::floor::{DISCARD_LEN_MAX, EVENTS_MAX};
use crate::player::Head;
use crate::report::{Machine, Plot, Report, Summary, Table, Times};
use crate::sys::{self, Epoll, Interest};

/// Longest head or playlist that is taken in.
const TEXT_MAX: usize = 64 * 1024;
/// Bytes read at once where they are looked at.
const READ: usize = 4 * 1024;
/// Time that bodies may take before playlists are looked at again.
const SLICE: Duration = Duration::from_micros(500);
/// Connections begun in one go.
const CONNECTS_MAX: usize = 16;
/// What is waited for when a playlist says nothing of durations.
const RELOAD_DEFAULT: Duration = Duration::from_secs(2);
/// A segment that takes longer than this much of its own duration to arrive makes a player stall.
const LATE_FACTOR: f64 = 1.0;

/// What a player waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Its turn to connect, or for its next look at the playlist.
    Turn,
    Connection,
    /// To be sent to a playlist.
    Place,
    Playlist,
    /// The head of a segment.
    Segment,
    /// The rest of it.
    Body,
}

/// One player.
struct Viewer {
    /// Its number among the players of all threads, from which its channel and its address follow.
    place: usize,
    stream: Option<TcpStream>,
    wait: Wait,
    gone: Option<Gone>,
    due: Instant,
    asked: Instant,
    started: Instant,
    text: Vec<u8>,
    directory: String,
    file: String,
    /// The number of the next segment, and the end of the list, with how long its segments last.
    next: Option<u64>,
    end: u64,
    duration: f64,
    left: u64,
    segment_bytes: u64,
}

/// Those of one thread.
struct Crowd<'a> {
    options: &'a Options,
    viewers: Vec<Viewer>,
    watched: Epoll,
    bodies: Epoll,
    ready: Vec<u64>,
    sink: Vec<u8>,
    counts: Counts,
}

/// What a measurement counts.
struct Counts {
    /// What was asked for before is not timed: looking up what the server uses takes milliseconds, in which nobody reads.
    since: Instant,
    bytes: u64,
    segments: u64,
    missed: u64,
    late: u64,
    playlists: Times,
    segment_times: Times,
}

impl Counts {
    fn since(since: Instant) -> Self {
        let (playlists, segment_times) = Default::default();
        Self { since, bytes: 0, segments: 0, missed: 0, late: 0, playlists, segment_times }
    }

    fn add_all(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.segments += other.segments;
        self.missed += other.missed;
        self.late += other.late;
        self.playlists.add_all(&other.playlists);
        self.segment_times.add_all(&other.segment_times);
    }
}

/// What a run over HLS gives.
#[derive(Clone, Debug, Serialize)]
pub struct HlsFigures {
    /// Where it ran.
    pub machine: Machine,
    /// Players asked for.
    pub clients: usize,
    /// Players that played to the end.
    pub played: usize,
    /// Length of the measurement.
    pub seconds: f64,
    /// What all of them received together.
    pub gbit_s: f64,
    /// In 10^9 bytes.
    pub gb: f64,
    /// Segments that arrived.
    pub segments: u64,
    /// Segments that had left the list before they were asked for.
    pub missed: u64,
    /// Segments that took longer to arrive than they last.
    pub late: u64,
    /// From asking for a playlist to having it.
    pub playlist: Option<Summary>,
    /// From asking for a segment to having it.
    pub segment: Option<Summary>,
    /// From connecting to the first playlist.
    pub join: Option<Summary>,
    /// Players that are gone, by reason.
    pub gone: BTreeMap<String, usize>,
    /// What the server used, when it was watched.
    pub server: Option<Used>,
    /// Its memory per player, bytes: user space, from before the first one connected.
    pub memory_per_player: Option<f64>,
    /// Share of a core this tool used.
    pub player_cpu: f64,
}

/// Runs of both kinds of players in turn.
#[derive(Clone, Debug, Serialize)]
pub struct Versus {
    /// HLS players, one entry per round.
    pub hls: Vec<HlsFigures>,
    /// Continuous players, one entry per round.
    pub continuous: Vec<Figures>,
    /// Median of the CPU per byte of the former over that of the latter, round by round.
    pub cpu_ratio: Option<f64>,
}

impl Report for Versus {
    fn faults(&self) -> Vec<String> {
        let continuous = self.continuous.iter().flat_map(Figures::faults);
        self.hls.iter().flat_map(HlsFigures::faults).chain(continuous).collect()
    }

    fn plots(&self) -> Vec<Plot> {
        fn line<T>(name: &str, rounds: &[T], used: fn(&T) -> &Option<Used>) -> (String, Vec<(f64, f64)>) {
            let each = rounds.iter().enumerate();
            let points = each.filter_map(|(n, it)| Some((n as f64 + 1.0, used(it).as_ref()?.cpu_s_per_gb)));
            (name.to_owned(), points.collect())
        }
        vec![Plot {
            title: "What a gigabyte costs the server".to_owned(),
            across: "round".to_owned(),
            up: "CPU s/GB".to_owned(),
            lines: vec![
                line("HLS", &self.hls, |it| &it.server),
                line("continuous", &self.continuous, |it| &it.server),
            ],
        }]
    }
}

/// Plays over HLS and over continuous streams in turn, `rounds` times.
///
/// # Errors
/// As for [`super::run`].
pub fn versus(options: &Options, rounds: usize, mut progress: impl FnMut(&str)) -> Result<Versus, Error> {
    options.no_churn()?;
    if rounds == 0 {
        return Err(Error::Options("no round to play".to_owned()));
    }
    let mut both = Versus { hls: Vec::new(), continuous: Vec::new(), cpu_ratio: None };
    for round in 1..=rounds {
        progress(&format!("round {round} of {rounds}"));
        both.hls.push(run(options, &mut progress)?);
        both.continuous.push(super::run(options, &mut progress)?);
    }
    let cost = |used: &Option<Used>| used.as_ref().map(|used| used.cpu_s_per_gb).filter(|cost| *cost > 0.0);
    let ratios = both.hls.iter().zip(&both.continuous);
    both.cpu_ratio = crate::report::median(
        ratios.filter_map(|(hls, continuous)| Some(cost(&hls.server)? / cost(&continuous.server)?)),
    );
    Ok(both)
}

/// Plays once over HLS and measures.
///
/// # Errors
/// As for [`super::run`].
pub(super) fn run(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<HlsFigures, Error> {
    options.check()?;
    threads::pin(&options.cores)?;
    let usage = || options.server.as_ref().map(Server::usage).transpose();
    let before = usage()?;
    let parts = options.cores.len().max(1);
    let crowds = (0..parts).map(|part| Crowd::new(options, (part, parts)));
    let mut crowds = crowds.collect::<io::Result<Vec<_>>>().map_err(Error::epoll)?;
    progress(&format!("{} players join over HLS within {:?}", options.clients, options.ramp));
    if !options.at_once {
        begin_with_one_each(&mut crowds, options)?;
    }
    let joined = Instant::now() + options.ramp + options.answer_timeout;
    while viewers(&crowds).any(Viewer::is_joining) && Instant::now() < joined {
        play(&mut crowds, options, Duration::from_millis(20))?;
    }
    let joins: Times = viewers(&crowds).filter_map(Viewer::join_time).collect();
    play(&mut crowds, options, options.settle.0)?;
    if !viewers(&crowds).any(Viewer::is_playing) {
        let reasons: Vec<String> =
            gone(&crowds).iter().map(|(why, count)| format!("{count} × {why}")).collect();
        return Err(Error::NobodyServed(reasons.join(", ")));
    }
    progress(&format!("measuring for {:?}", options.duration));
    let (from, started, own) = (usage()?, Instant::now(), sys::process_cpu());
    crowds.iter_mut().for_each(|crowd| crowd.counts = Counts::since(started));
    play(&mut crowds, options, options.duration)?;
    let (to, elapsed) = (usage()?, started.elapsed());
    let player_cpu = (sys::process_cpu() - own).as_secs_f64() / elapsed.as_secs_f64();
    let seconds = elapsed.as_secs_f64();
    let mut counts = Counts::since(started);
    crowds.iter().for_each(|crowd| counts.add_all(&crowd.counts));
    let gb = counts.bytes as f64 / 1e9;
    let used = before.zip(from).zip(to).map(|((before, from), to)| {
        let pids = options.server.as_ref().map(|server| server.pids().to_vec()).unwrap_or_default();
        Used::between(pids, (before, from, to), seconds, gb)
    });
    let memory = used
        .as_ref()
        .map(|used| used.after.rss.saturating_sub(used.before.rss) as f64 / options.clients as f64);
    Ok(HlsFigures {
        machine: Machine::here(),
        clients: options.clients,
        played: viewers(&crowds).filter(|viewer| viewer.is_playing()).count(),
        seconds,
        gbit_s: gb * 8.0 / seconds,
        gb,
        segments: counts.segments,
        missed: counts.missed,
        late: counts.late,
        playlist: counts.playlists.summary(),
        segment: counts.segment_times.summary(),
        join: joins.summary(),
        gone: gone(&crowds),
        server: used,
        memory_per_player: memory,
        player_cpu,
    })
}

fn viewers<'a>(crowds: &'a [Crowd<'_>]) -> impl Iterator<Item = &'a Viewer> {
    crowds.iter().flat_map(|crowd| &crowd.viewers)
}

fn play(crowds: &mut [Crowd<'_>], options: &Options, time: Duration) -> Result<(), Error> {
    let until = Instant::now() + time;
    threads::on_each(crowds, &options.cores, |crowd| crowd.play(until)).map_err(Error::epoll)
}

/// Lets one player of each channel begin, and the others come once it has its playlist. Whoever comes before there is one gets it
/// in the same moment as all others who do, and goes on asking together with them.
fn begin_with_one_each(crowds: &mut [Crowd<'_>], options: &Options) -> Result<(), Error> {
    let (now, firsts) = (Instant::now(), options.paths.len().min(options.clients));
    let until = now + options.answer_timeout;
    let all = |crowds: &mut [Crowd<'_>], due: &dyn Fn(&Viewer) -> Instant| {
        crowds.iter_mut().flat_map(|crowd| &mut crowd.viewers).for_each(|viewer| viewer.due = due(viewer));
    };
    all(crowds, &|viewer| if viewer.place < firsts { now } else { until });
    let is_awaited = |viewer: &Viewer| viewer.place < firsts && viewer.is_joining();
    while viewers(crowds).any(is_awaited) && Instant::now() < until {
        play(crowds, options, Duration::from_millis(20))?;
    }
    let now = Instant::now();
    all(crowds, &|viewer| if viewer.place < firsts { viewer.due } else { due(now, options, viewer.place) });
    Ok(())
}

fn gone(crowds: &[Crowd<'_>]) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for gone in viewers(crowds).filter_map(|viewer| viewer.gone) {
        *reasons.entry(gone.to_string()).or_default() += 1;
    }
    reasons
}

impl Viewer {
    fn new(place: usize, due: Instant) -> Self {
        Self {
            place,
            stream: None,
            wait: Wait::Turn,
            gone: None,
            due,
            asked: due,
            started: due,
            text: Vec::new(),
            directory: String::new(),
            file: String::new(),
            next: None,
            end: 0,
            duration: 0.0,
            left: 0,
            segment_bytes: 0,
        }
    }

    fn is_joining(&self) -> bool {
        self.gone.is_none() && self.next.is_none()
    }

    fn is_playing(&self) -> bool {
        self.gone.is_none() && self.next.is_some()
    }

    /// From connecting to the first playlist.
    fn join_time(&self) -> Option<Duration> {
        self.next.map(|_| self.asked.saturating_duration_since(self.started))
    }
}

impl<'a> Crowd<'a> {
    /// One of several crowds, who take players in turn.
    fn new(options: &'a Options, (part, parts): (usize, usize)) -> io::Result<Self> {
        let now = Instant::now();
        let places = (part..options.clients).step_by(parts);
        Ok(Self {
            options,
            viewers: places.map(|place| Viewer::new(place, due(now, options, place))).collect(),
            watched: Epoll::new(EVENTS_MAX)?,
            bodies: Epoll::new(EVENTS_MAX)?,
            ready: Vec::with_capacity(EVENTS_MAX),
            sink: vec![0; DISCARD_LEN_MAX],
            counts: Counts::since(now),
        })
    }

    fn play(&mut self, until: Instant) -> io::Result<()> {
        while Instant::now() < until {
            self.take_turns();
            self.watch(Duration::ZERO)?;
            let is_quiet = self.take_bodies()?;
            if is_quiet {
                self.watch(Duration::from_millis(1))?;
            }
        }
        Ok(())
    }

    /// Connects who is due, and asks for the playlists that are.
    fn take_turns(&mut self) {
        let now = Instant::now();
        let mut connects = 0;
        for number in 0..self.viewers.len() {
            let viewer = &self.viewers[number];
            if viewer.wait != Wait::Turn || viewer.due > now || viewer.gone.is_some() {
                continue;
            }
            if viewer.stream.is_some() {
                let step = self.ask_playlist(number);
                self.settle(number, step);
            } else if connects < CONNECTS_MAX {
                connects += 1;
                let step = self.connect(number);
                self.settle(number, step);
            }
        }
    }

    fn connect(&mut self, number: usize) -> Result<(), Gone> {
        let viewer = &mut self.viewers[number];
        let source = viewer.place as u32 % self.options.sources;
        let failed = |error: io::Error| Gone::NoConnection(error.kind());
        let stream =
            connect(self.options.target, (self.options.sources > 1).then_some(source)).map_err(failed)?;
        self.watched.add(&stream, Interest::Write, number as u64).map_err(failed)?;
        viewer.started = Instant::now();
        (viewer.stream, viewer.wait) = (Some(stream), Wait::Connection);
        Ok(())
    }

    fn watch(&mut self, pause: Duration) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        self.watched.wait(&mut ready, pause)?;
        for number in &ready {
            let number = *number as usize;
            let step = match self.viewers[number].wait {
                Wait::Connection => self.enter(number),
                Wait::Place | Wait::Playlist | Wait::Segment => self.read(number),
                Wait::Turn | Wait::Body => self.listen(number),
            };
            self.settle(number, step);
        }
        self.ready = ready;
        Ok(())
    }

    /// Takes what bodies have, for a slice of time. Whether there was nothing.
    fn take_bodies(&mut self) -> io::Result<bool> {
        let begun = Instant::now();
        let mut ready = std::mem::take(&mut self.ready);
        self.bodies.wait(&mut ready, Duration::ZERO)?;
        let is_quiet = ready.is_empty();
        for number in &ready {
            let step = self.discard(*number as usize);
            self.settle(*number as usize, step);
            // Level-triggered: who is not met now is ready the next time, too.
            if begun.elapsed() >= SLICE {
                break;
            }
        }
        self.ready = ready;
        Ok(is_quiet)
    }

    fn settle(&mut self, number: usize, step: Result<(), Gone>) {
        if let Err(gone) = step {
            let viewer = &mut self.viewers[number];
            (viewer.gone, viewer.stream) = (Some(gone), None);
        }
    }

    /// The connection stands or has failed.
    fn enter(&mut self, number: usize) -> Result<(), Gone> {
        let viewer = &mut self.viewers[number];
        let channel = &self.options.paths[viewer.place % self.options.paths.len()];
        let path = channel.replacen("getstream", "manifest.m3u8", 1);
        let Some(stream) = &viewer.stream else { return Ok(()) };
        if let Ok(Some(error)) = stream.take_error() {
            return Err(Gone::NoConnection(error.kind()));
        }
        self.watched.modify(stream, Interest::Read, number as u64).map_err(failed)?;
        self.ask(number, &path, Wait::Place)
    }

    fn ask(&mut self, number: usize, path: &str, wait: Wait) -> Result<(), Gone> {
        let viewer = &mut self.viewers[number];
        let Some(stream) = &mut viewer.stream else { return Ok(()) };
        let host = &self.options.host;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: sluice-bench\r\n\r\n");
        viewer.asked = Instant::now();
        (viewer.wait, viewer.text) = (wait, Vec::new());
        stream.write_all(request.as_bytes()).map_err(failed)
    }

    fn ask_playlist(&mut self, number: usize) -> Result<(), Gone> {
        let path = format!("{}/{}", self.viewers[number].directory, self.viewers[number].file);
        self.ask(number, &path, Wait::Playlist)
    }

    /// Reads a head, and the text behind it.
    fn read(&mut self, number: usize) -> Result<(), Gone> {
        let viewer = &mut self.viewers[number];
        let Some(stream) = &mut viewer.stream else { return Ok(()) };
        let Some(count) = received(stream.read(&mut self.sink[..READ]))? else { return Ok(()) };
        viewer.text.extend_from_slice(&self.sink[..count]);
        let Some((head, length)) = Head::parse(&viewer.text).map_err(|_| Gone::BadResponse)? else {
            return if viewer.text.len() > TEXT_MAX { Err(Gone::BadResponse) } else { Ok(()) };
        };
        let stated = head.header("content-length").and_then(|text| text.parse::<u64>().ok());
        let body = (viewer.text.len() - length) as u64;
        match (viewer.wait, head.status) {
            (Wait::Place, 302) => {
                let place = head.header("location").ok_or(Gone::BadResponse)?;
                let (directory, file) = place.rsplit_once('/').ok_or(Gone::BadResponse)?;
                viewer.directory = format!("/ace/{directory}");
                viewer.file = file.to_owned();
                self.ask_playlist(number)
            }
            (Wait::Playlist, 200) => {
                let stated = stated.filter(|stated| *stated <= TEXT_MAX as u64).ok_or(Gone::BadResponse)?;
                if body < stated {
                    return Ok(());
                }
                if viewer.asked >= self.counts.since {
                    self.counts.playlists.add(viewer.asked.elapsed());
                }
                let text = String::from_utf8_lossy(&viewer.text[length..]).into_owned();
                self.take_playlist(number, &text)
            }
            (Wait::Segment, 200) => {
                let stated = stated.ok_or(Gone::BadResponse)?;
                viewer.left = stated.saturating_sub(body);
                viewer.segment_bytes = stated;
                self.counts.bytes += body.min(stated);
                viewer.text = Vec::new();
                viewer.wait = Wait::Body;
                let Some(stream) = &viewer.stream else { return Ok(()) };
                self.watched.remove(stream).map_err(failed)?;
                self.bodies.add(stream, Interest::Read, number as u64).map_err(failed)?;
                if viewer.left == 0 { self.segment_is_whole(number) } else { Ok(()) }
            }
            (_, status) => Err(Gone::Status(status)),
        }
    }

    fn discard(&mut self, number: usize) -> Result<(), Gone> {
        let viewer = &mut self.viewers[number];
        let Some(stream) = &viewer.stream else { return Ok(()) };
        let most = viewer.left.min(DISCARD_LEN_MAX as u64) as usize;
        let Some(count) = received(sys::discard(stream.as_fd(), &mut self.sink, most))? else {
            return Ok(());
        };
        viewer.left -= count as u64;
        self.counts.bytes += count as u64;
        if viewer.left == 0 { self.segment_is_whole(number) } else { Ok(()) }
    }

    fn segment_is_whole(&mut self, number: usize) -> Result<(), Gone> {
        let viewer = &mut self.viewers[number];
        let Some(stream) = &viewer.stream else { return Ok(()) };
        self.bodies.remove(stream).map_err(failed)?;
        self.watched.add(stream, Interest::Read, number as u64).map_err(failed)?;
        let took = viewer.asked.elapsed();
        self.counts.segments += 1;
        if viewer.asked >= self.counts.since {
            self.counts.segment_times.add(took);
        }
        self.counts.late +=
            u64::from(viewer.duration > 0.0 && took.as_secs_f64() > viewer.duration * LATE_FACTOR);
        viewer.next = viewer.next.map(|next| next + 1);
        self.go_on(number)
    }

    /// Asks for the next segment, or waits for its turn to look at the playlist.
    fn go_on(&mut self, number: usize) -> Result<(), Gone> {
        let viewer = &mut self.viewers[number];
        match viewer.next {
            Some(next) if next < viewer.end => {
                let path = format!("{}/{next}.ts", viewer.directory);
                self.ask(number, &path, Wait::Segment)
            }
            _ => {
                viewer.wait = Wait::Turn;
                Ok(())
            }
        }
    }

    fn take_playlist(&mut self, number: usize, text: &str) -> Result<(), Gone> {
        let list = List::read(text).ok_or(Gone::BadResponse)?;
        let viewer = &mut self.viewers[number];
        // A player begins three segments before the end.
        let next = *viewer.next.get_or_insert_with(|| list.first.max(list.end.saturating_sub(3)));
        self.counts.missed += list.first.saturating_sub(next);
        viewer.next = Some(next.max(list.first));
        let wait = if list.end > viewer.end { list.last } else { list.target / 2.0 };
        let wait = Duration::try_from_secs_f64(wait).ok().filter(|wait| !wait.is_zero());
        viewer.due = viewer.asked + wait.unwrap_or(RELOAD_DEFAULT);
        (viewer.end, viewer.duration) = (list.end, list.last);
        self.go_on(number)
    }

    /// A connection that nothing is expected of has something to say.
    fn listen(&mut self, number: usize) -> Result<(), Gone> {
        let viewer = &mut self.viewers[number];
        let Some(stream) = &mut viewer.stream else { return Ok(()) };
        match received(stream.read(&mut self.sink[..READ]))? {
            None => Ok(()),
            Some(_) => Err(Gone::BadResponse),
        }
    }
}

/// When a player comes, if the first one comes at `from`.
fn due(from: Instant, options: &Options, place: usize) -> Instant {
    from + options.ramp.mul_f64(place as f64 / options.clients as f64)
}

fn failed(error: io::Error) -> Gone {
    Gone::Failed(error.kind())
}

/// What a player takes from a playlist.
#[derive(Debug, PartialEq)]
struct List {
    first: u64,
    end: u64,
    target: f64,
    last: f64,
}

impl List {
    fn read(text: &str) -> Option<Self> {
        let number =
            |tag: &str| text.lines().find_map(|line| line.strip_prefix(tag)?.trim().parse::<f64>().ok());
        let first = number("#EXT-X-MEDIA-SEQUENCE:").unwrap_or(0.0) as u64;
        let target = number("#EXT-X-TARGETDURATION:")?;
        let durations = text
            .lines()
            .filter_map(|line| line.strip_prefix("#EXTINF:")?.split(',').next()?.parse::<f64>().ok());
        let (count, last) = durations.fold((0, 0.0), |(count, _), duration| (count + 1, duration));
        text.starts_with("#EXTM3U").then_some(Self { first, end: first + count, target, last })
    }
}

impl HlsFigures {
    /// What makes this run a bad one, in words.
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> =
            self.gone.iter().map(|(why, count)| format!("{count} gone: {why}")).collect();
        let bad = [(self.missed, "segments missed"), (self.late, "segments late")];
        faults.extend(
            bad.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")),
        );
        faults
    }
}

impl fmt::Display for HlsFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::default();
        table.line("machine", &self.machine);
        let Self { clients, played, seconds, gbit_s, gb, segments, missed, late, .. } = self;
        table.line("HLS", format_args!("{played} of {clients} players, {seconds:.1} s"));
        table.line("received", format_args!("{gbit_s:.3} Gbit/s, {gb:.3} GB"));
        table.line("segments", format_args!("{segments}, {missed} missed, {late} late"));
        table.maybe("join", self.join);
        table.maybe("playlist", self.playlist);
        table.maybe("segment", self.segment);
        for (reason, count) in &self.gone {
            table.line("gone", format_args!("{count} × {reason}"));
        }
        if let Some(server) = &self.server {
            server.lines(&mut table);
        }
        if let Some(memory) = self.memory_per_player {
            table.line("memory per player", format_args!("{:.2} KiB", memory / 1024.0));
        }
        table.line("players' CPU", format_args!("{:.0} % of a core", self.player_cpu * 100.0));
        write!(f, "{table}")
    }
}

impl fmt::Display for Versus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (round, (hls, continuous)) in self.hls.iter().zip(&self.continuous).enumerate() {
            writeln!(f, "round {}\n{hls}\n{continuous}", round + 1)?;
        }
        match self.cpu_ratio {
            Some(ratio) => writeln!(f, "CPU per GB, HLS/continuous  {ratio:.2}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::nth;

    /// Guards that a list is read for its numbers and durations.
    #[test]
    fn a_list_is_read() {
        let text = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:2.000,\n7.ts\n#EXTINF:1.5,\n8.ts\n";
        assert_eq!(List::read(text), Some(List { first: 7, end: 9, target: 4.0, last: 1.5 }));
        assert_eq!(List::read("#EXTM3U\n"), None);
        assert_eq!(List::read("nonsense"), None);
    }

    /// Guards the whole way of a player: to its playlist, from segment to segment over one connection, figures of all of it,
    /// and a fault where segments are refused. The server is of a few lines: the list grows by one segment in 200 ms.
    #[test]
    fn players_take_every_segment_that_is_listed() {
        for (is_sick, bytes, cores) in
            [(false, 10_000, vec![]), (false, 10_000, vec![0, 0]), (true, 0, vec![])]
        {
            let server = TestServer::start(is_sick);
            let paths = vec![format!("/ace/getstream?id={}", nth(0).0)];
            let options = Options {
                clients: 6,
                ramp: Duration::from_millis(50),
                settle: (Duration::from_millis(200), Duration::from_secs(1)),
                duration: Duration::from_secs(1),
                cores,
                ..Options::new(server.0, paths)
            };
            let figures = run(&options, &mut |_| {});
            if is_sick {
                assert!(matches!(figures, Err(Error::NobodyServed(why)) if why.contains("status 500")));
                continue;
            }
            let figures = figures.expect("they play");
            assert_eq!((figures.played, figures.faults()), (6, vec![]), "{figures}");
            assert!((18..=42).contains(&figures.segments), "{figures}");
            assert!(figures.gb * 1e9 >= f64::from(bytes) * figures.segments as f64 * 0.9, "{figures}");
            assert!(figures.playlist.is_some_and(|times| times.count >= 12), "{figures}");
        }
    }

    /// A server of HLS in threads.
    struct TestServer(std::net::SocketAddr);

    impl TestServer {
        fn start(is_sick: bool) -> Self {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("bound");
            let begun = Instant::now();
            std::thread::spawn(move || {
                // Lives as long as the test program does.
                for stream in listener.incoming().map_while(Result::ok) {
                    std::thread::spawn(move || serve(stream, begun, is_sick));
                }
            });
            Self(address)
        }
    }

    fn serve(mut stream: TcpStream, begun: Instant, is_sick: bool) {
        let mut request = Vec::new();
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() {
            request.push(byte[0]);
            if !request.ends_with(b"\r\n\r\n") {
                continue;
            }
            let text = String::from_utf8_lossy(&std::mem::take(&mut request)).into_owned();
            let path = text.split(' ').nth(1).unwrap_or_default();
            let end = 5 + begun.elapsed().as_millis() as u64 / 200;
            let (status, field, body) = match path {
                path if path.starts_with("/ace/manifest.m3u8?id=") => {
                    ("302 Found", "Location: hls/s/t/index.m3u8\r\n", Vec::new())
                }
                "/ace/hls/s/t/index.m3u8" => {
                    let mut list =
                        format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{}\n", end - 5);
                    (end - 5..end).for_each(|n| list.push_str(&format!("#EXTINF:0.2,\n{n}.ts\n")));
                    ("200 OK", "", list.into_bytes())
                }
                path if path.ends_with(".ts") && !is_sick => ("200 OK", "", vec![7; 10_000]),
                _ => ("500 Internal Server Error", "", Vec::new()),
            };
            let head = format!("HTTP/1.1 {status}\r\n{field}Content-Length: {}\r\n\r\n", body.len());
            if stream.write_all(&[head.as_bytes(), &body].concat()).is_err() {
                return;
            }
        }
    }
}
