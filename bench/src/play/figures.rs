//! The figures of one measurement: collected from the players, shown as a table, written as JSON. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::churn::Passed;
use super::client::{Client, Kind, State};
use super::threads::Crowds;
use super::{Options, Usage};
use crate::player::check;
use crate::report::{Machine, Plot, Report, Summary, Table, Times};

/// Media that a player may miss in the measurement before it counts as short of its rate: pieces of a source are up to a
/// second long, and a measurement may end in the middle of one.
const SHORT_SLACK: Duration = Duration::from_secs(1);
/// Faults listed by name.
const FAULTS_MAX: usize = 20;
/// Rates of the stream and of the options further apart than this share are worth a warning.
const RATE_TOLERANCE: f64 = 0.05;

/// How long joining took.
#[derive(Clone, Debug, Serialize)]
pub struct Joins {
    /// From the connection attempt to the first byte of the body, all players.
    pub first_byte: Option<Summary>,
    /// From the connection attempt to the first decodable byte, checked players.
    pub decodable: Option<Summary>,
}

/// How one kind of players was served.
#[derive(Clone, Debug, Serialize)]
pub struct Service {
    /// Players still connected at the end.
    pub players: usize,
    /// Of those, how many got more than a second of media less than the stream's rate gives.
    pub short: usize,
    /// The worst served player's rate.
    pub mbit_min: Option<f64>,
    /// Each player's longest time without bytes.
    pub longest_gap: Option<Summary>,
    /// All times without bytes of all players.
    pub gap: Option<Summary>,
}

/// What the server used in the measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Used {
    /// Its processes.
    pub pids: Vec<u32>,
    /// CPU seconds.
    pub cpu_s: f64,
    /// Of those, in user space.
    pub cpu_user_s: f64,
    /// Share of one core.
    pub cpu_pct: f64,
    /// CPU seconds for each 10^9 bytes the players received.
    pub cpu_s_per_gb: f64,
    /// Before the first player connected.
    pub before: Usage,
    /// At the end.
    pub after: Usage,
}

/// What the checked players found.
#[derive(Clone, Debug, Serialize)]
pub struct Sampled {
    /// How many there are.
    pub players: usize,
    /// How many found no fault.
    pub clean: usize,
    /// Packets they looked at.
    pub packets: u64,
    /// Packets lost, as far as the channel tells.
    pub lost: u64,
    /// Discontinuities flagged.
    pub discontinuities: u64,
    /// The stream's rate by its clock.
    pub mbit: Option<f64>,
    /// The first faults.
    pub faults: Vec<String>,
}

/// Everything one measurement gives.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Where it ran.
    pub machine: Machine,
    /// Delivery profile of the source, as named by the caller.
    pub profile: String,
    /// Judged players asked for.
    pub clients: usize,
    /// Channels they were spread over.
    pub channels: usize,
    /// Stalled players asked for.
    pub stalled: usize,
    /// Stalled players that are still connected.
    pub stalled_connected: usize,
    /// Rate that was expected.
    pub mbit: f64,
    /// Length of the measurement.
    pub seconds: f64,
    /// Players had caught up before it began.
    pub settled: bool,
    /// How joining went.
    pub joins: Joins,
    /// What all players received together.
    pub gbit_s: f64,
    /// In 10^9 bytes.
    pub gb: f64,
    /// Players that read at once.
    pub drained: Service,
    /// Players that read at the stream's rate.
    pub paced: Service,
    /// Judged players that are gone, by reason.
    pub gone: BTreeMap<String, usize>,
    /// Stalled players that are gone, by reason.
    pub gone_stalled: BTreeMap<String, usize>,
    /// How those that passed were served, when there were any.
    pub passed: Option<Passed>,
    /// What the server used, when it was watched.
    pub server: Option<Used>,
    /// What the checked players found, when there are any.
    pub sample: Option<Sampled>,
    /// Share of a core this tool used, all its threads together.
    pub player_cpu: f64,
    /// Share of a core its busiest thread used; near 1 it was the bottleneck itself.
    pub player_cpu_busiest: f64,
    /// How it went, second by second.
    pub moments: Vec<Moment>,
}

/// A second of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Moment {
    /// Seconds from the beginning to its end.
    pub at_s: f64,
    /// Players whose stream ran.
    pub players: usize,
    /// What they received together.
    pub gbit_s: f64,
    /// Longest time without bytes that ended in it, of any player.
    pub gap_ms: f64,
    /// Share of a core the server used.
    pub cpu_pct: Option<f64>,
    /// The server's resident memory, MiB.
    pub rss_mib: Option<f64>,
    /// Memory of all TCP sockets of the host, MiB.
    pub tcp_mib: Option<f64>,
}

impl Report for Figures {
    fn faults(&self) -> Vec<String> {
        self.faults()
    }

    fn plots(&self) -> Vec<Plot> {
        plots(&self.moments)
    }
}

/// What a measurement looks like over its time.
pub(super) fn plots(moments: &[Moment]) -> Vec<Plot> {
    type Line = (&'static str, fn(&Moment) -> Option<f64>);
    let all: [(&str, &str, &[Line]); 4] = [
        ("Received", "Gbit/s", &[("all players", |it| Some(it.gbit_s))]),
        ("Longest gap of any player, second by second", "ms", &[("gap", |it| Some(it.gap_ms))]),
        ("The server's CPU", "% of a core", &[("server", |it| it.cpu_pct)]),
        ("Memory", "MiB", &[("server, resident", |it| it.rss_mib), ("TCP of the host", |it| it.tcp_mib)]),
    ];
    let drawn = all.into_iter().map(|(title, up, lines)| {
        let points = |of: fn(&Moment) -> Option<f64>| {
            moments.iter().filter_map(|moment| Some((moment.at_s, of(moment)?))).collect::<Vec<_>>()
        };
        let lines = lines.iter().map(|(name, of)| ((*name).to_owned(), points(*of)));
        let lines = lines.filter(|(_, points)| points.len() > 1).collect();
        Plot { title: title.to_owned(), across: "seconds".to_owned(), up: up.to_owned(), lines }
    });
    drawn.filter(|plot| !plot.lines.is_empty()).collect()
}

impl Figures {
    /// What makes this run a bad one, in words; empty when every player got what it should.
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> =
            self.gone.iter().map(|(why, count)| format!("{count} gone: {why}")).collect();
        let failed = self.passed.iter().flat_map(|passed| &passed.failed);
        faults.extend(failed.map(|(why, count)| format!("{count} that passed were not served: {why}")));
        let short = self.drained.short + self.paced.short;
        if short > 0 {
            faults.push(format!("{short} players short of {} Mbit/s", self.mbit));
        }
        faults.extend(self.sample.iter().flat_map(|sample| sample.faults.iter().cloned()));
        faults
    }

    /// What makes the figures doubtful, in words.
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if !self.settled {
            doubts.push("players had not caught up when the measurement began".to_owned());
        }
        if self.player_cpu_busiest > 0.9 {
            doubts.push(format!("the players used {:.0} % of a core", self.player_cpu_busiest * 100.0));
        }
        let mbit = self.sample.as_ref().and_then(|sample| sample.mbit);
        if let Some(mbit) = mbit.filter(|mbit| (mbit / self.mbit - 1.0).abs() > RATE_TOLERANCE) {
            doubts.push(format!("the stream has {mbit:.2} Mbit/s by its clock, --mbit says {}", self.mbit));
        }
        doubts
    }
}

/// Puts the figures together. `used` is the server's use before all, at the beginning and at the end.
pub(super) fn collect(
    (options, settled): (&Options, bool),
    crowds: &Crowds,
    elapsed: Duration,
    used: Option<(Usage, Usage, Usage)>,
    player_cpu: f64,
    moments: Vec<Moment>,
) -> Figures {
    let bytes = crowds.measured();
    let gb = bytes as f64 / 1e9;
    let seconds = elapsed.as_secs_f64();
    let server = used.map(|(before, from, to)| {
        let pids = options.server.as_ref().map(|server| server.pids().to_vec()).unwrap_or_default();
        Used::between(pids, (before, from, to), seconds, gb)
    });
    let sample = sampled(crowds);
    // A stream of so many whole packets a second is a little slower than its name says, which adds up.
    let by_clock = sample.as_ref().and_then(|sample| sample.mbit);
    let mbit =
        by_clock.filter(|mbit| (mbit / options.mbit - 1.0).abs() <= RATE_TOLERANCE).unwrap_or(options.mbit);
    let judged = || crowds.clients().filter(|client| client.kind.is_judged());
    let stalled = || crowds.clients().filter(|client| client.kind == Kind::Stalled);
    let (drained, paced) = crowds.gaps();
    let joins = join_times(crowds.clients());
    let service = |gaps: &Times, is_paced: bool| {
        service(judged().filter(|it| (it.kind == Kind::Paced) == is_paced), gaps, mbit, elapsed)
    };
    Figures {
        machine: Machine::here(),
        profile: options.profile_name.clone(),
        clients: options.clients,
        channels: options.paths.len(),
        stalled: stalled().count(),
        stalled_connected: stalled().filter(|client| client.stream.is_some()).count(),
        mbit: options.mbit,
        seconds,
        settled,
        joins: Joins::of(&joins),
        gbit_s: bytes as f64 * 8.0 / seconds / 1e9,
        gb,
        drained: service(&drained, false),
        paced: service(&paced, true),
        gone: gone(judged()),
        gone_stalled: gone(stalled()),
        passed: crowds.passed(),
        server,
        sample,
        player_cpu,
        player_cpu_busiest: crowds.busiest().as_secs_f64() / seconds,
        moments,
    }
}

impl Joins {
    /// From the times of [`join_times`].
    pub(super) fn of((first, decodable): &(Times, Times)) -> Self {
        Self { first_byte: first.summary(), decodable: decodable.summary() }
    }
}

/// Times to the first byte, and to the first decodable byte of those that check. Those that pass have their own.
pub(super) fn join_times<'a>(clients: impl Iterator<Item = &'a Client> + Clone) -> (Times, Times) {
    let stay = clients.clone().filter(|client| client.kind != Kind::Passing);
    let first: Times = stay.filter_map(|client| client.first_byte).collect();
    let samples = clients.filter_map(|client| client.sample.as_ref());
    (first, samples.filter_map(|sample| sample.decodable).collect())
}

fn service<'a>(
    clients: impl Iterator<Item = &'a Client>,
    gaps: &Times,
    mbit: f64,
    elapsed: Duration,
) -> Service {
    let served: Vec<&Client> = clients.filter(|client| client.is_served()).collect();
    let rate = mbit * 125_000.0;
    let enough = elapsed.saturating_sub(SHORT_SLACK).as_secs_f64() * rate;
    let longest: Times = served.iter().map(|client| client.longest_gap).collect();
    let least = served.iter().map(|client| client.measured).min();
    Service {
        players: served.len(),
        short: served.iter().filter(|client| (client.measured as f64) < enough).count(),
        mbit_min: least.map(|bytes| bytes as f64 / elapsed.as_secs_f64() / 125_000.0),
        longest_gap: longest.summary(),
        gap: gaps.summary(),
    }
}

pub(super) fn gone<'a>(clients: impl Iterator<Item = &'a Client>) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for client in clients {
        if let State::Gone(reason) = client.state {
            *reasons.entry(reason.to_string()).or_default() += 1;
        }
    }
    reasons
}

/// Why players are gone, in one line.
pub(super) fn reasons(crowds: &Crowds) -> String {
    let reasons = gone(crowds.clients());
    let each: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} × {reason}")).collect();
    each.join(", ")
}

fn sampled(crowds: &Crowds) -> Option<Sampled> {
    let samples = crowds.clients().filter_map(|client| client.sample.as_ref());
    let reports: Vec<check::Report> = samples.map(|sample| sample.report()).collect();
    if reports.is_empty() {
        return None;
    }
    let each = reports.iter().enumerate();
    let faults = each.flat_map(|(place, report)| {
        report.faults().into_iter().map(move |fault| format!("checked player {place}: {fault}"))
    });
    Some(Sampled {
        players: reports.len(),
        clean: reports.iter().filter(|report| report.packets > 0 && report.faults().is_empty()).count(),
        packets: reports.iter().map(|report| report.packets).sum(),
        lost: reports.iter().map(|report| report.order.lost).sum(),
        discontinuities: reports.iter().map(|report| report.discontinuities).sum(),
        mbit: reports.iter().find_map(|report| report.bit_rate).map(|rate| rate as f64 / 1e6),
        faults: faults.take(FAULTS_MAX).collect(),
    })
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::default();
        table.line("machine", &self.machine);
        let Self { clients, channels, mbit, seconds, profile, .. } = self;
        table.line(
            "load",
            format_args!("{clients} players, {channels} channels, {mbit} Mbit/s, source profile {profile}, {seconds:.1} s"),
        );
        table.line("received", format_args!("{:.3} Gbit/s, {:.3} GB", self.gbit_s, self.gb));
        table.maybe("join, first byte", self.joins.first_byte);
        table.maybe("join, decodable", self.joins.decodable);
        for (name, service) in [("drained", &self.drained), ("paced", &self.paced)] {
            service.lines(&mut table, name);
        }
        if self.stalled > 0 {
            table.line("stalled", format_args!("{} of {} connected", self.stalled_connected, self.stalled));
        }
        for (reason, count) in &self.gone {
            table.line("gone", format_args!("{count} × {reason}"));
        }
        for (reason, count) in &self.gone_stalled {
            table.line("gone, stalled", format_args!("{count} × {reason}"));
        }
        self.passed.iter().for_each(|passed| passed.lines(&mut table));
        if let Some(sample) = &self.sample {
            sample.lines(&mut table);
        }
        if let Some(server) = &self.server {
            server.lines(&mut table);
        }
        table.line("players' CPU", format_args!("{:.0} % of a core", self.player_cpu * 100.0));
        self.doubts().iter().for_each(|doubt| table.line("doubt", doubt));
        write!(f, "{table}")
    }
}

impl Service {
    fn lines(&self, table: &mut Table, name: &str) {
        let Some(mbit_min) = self.mbit_min else { return };
        let Self { players, short, .. } = self;
        table.line(name, format_args!("{players} players, {short} short, least {mbit_min:.2} Mbit/s"));
        table.maybe(&format!("{name}, longest gap"), self.longest_gap);
        table.maybe(&format!("{name}, all gaps"), self.gap);
    }
}

impl Sampled {
    fn lines(&self, table: &mut Table) {
        let Self { players, clean, packets, lost, discontinuities, .. } = self;
        table.line(
            "checked",
            format_args!(
                "{clean} of {players} clean, {packets} packets, {lost} lost, {discontinuities} flagged"
            ),
        );
        self.faults.iter().for_each(|fault| table.line("fault", fault));
    }
}

impl Used {
    /// What was used between two moments; the first usage is that before all.
    pub(super) fn between(
        pids: Vec<u32>,
        (before, from, after): (Usage, Usage, Usage),
        seconds: f64,
        gb: f64,
    ) -> Self {
        let cpu_s = after.cpu_s - from.cpu_s;
        let cpu_user_s = after.cpu_user_s - from.cpu_user_s;
        let cpu_s_per_gb = if gb > 0.0 { cpu_s / gb } else { 0.0 };
        Self { pids, cpu_s, cpu_user_s, cpu_pct: cpu_s / seconds * 100.0, cpu_s_per_gb, before, after }
    }

    pub(super) fn lines(&self, table: &mut Table) {
        let Self { cpu_s, cpu_user_s, cpu_pct, cpu_s_per_gb, before, after, .. } = self;
        table.line(
            "server CPU",
            format_args!("{cpu_s_per_gb:.4} s/GB, {cpu_s:.2} s ({cpu_user_s:.2} in user space), {cpu_pct:.1} % of a core"),
        );
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        table.line(
            "server memory",
            format_args!(
                "{:.1} MiB before, {:.1} after; TCP of the host {:.1} and {:.1}, its memory files {:.1} and {:.1}",
                mib(before.rss),
                mib(after.rss),
                mib(before.host_tcp),
                mib(after.host_tcp),
                mib(before.host_shared),
                mib(after.host_shared)
            ),
        );
        let group = before.group.zip(after.group);
        table.maybe(
            "server's group",
            group.map(|(before, after)| format!("{:.1} MiB before, {:.1} after", mib(before), mib(after))),
        );
        table.line("server descriptors", format_args!("{} before, {} after", before.fds, after.fds));
    }
}
