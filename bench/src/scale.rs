//! How the appliance scales: one channel with more and more players, and more and more channels. Each point is an appliance of its own.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::compare::{self, Error, Side};
use crate::play::{Figures, Options};
use crate::report::{Machine, Plot, Report};

/// Time in which each channel begins: engines start a few at a time.
const CHANNEL_RAMP: Duration = Duration::from_millis(125);

/// What to measure.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The appliance's binary.
    pub program: String,
    /// Its variables.
    pub variables: Vec<(String, String)>,
    /// How to play; players, channels and their rate are put in.
    pub load: Options,
    /// Numbers of players of one channel.
    pub players: Vec<usize>,
    /// Numbers of channels.
    pub channels: Vec<u32>,
    /// Players of each of them.
    pub channel_players: usize,
    /// Their rate in Mbit/s.
    pub channel_mbit: f64,
}

/// One appliance under one load.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// Channels.
    pub channels: usize,
    /// Players of all of them.
    pub players: usize,
    /// What they were to receive together, Gbit/s.
    pub gbit_s_wanted: f64,
    /// And received.
    pub gbit_s: f64,
    /// How many were short of their rate or gone.
    pub badly_served: usize,
    /// The server's CPU for each 10^9 bytes.
    pub cpu_s_per_gb: f64,
    /// Share of a core it used.
    pub cpu_pct: f64,
    /// Of all times without bytes.
    pub gap_p999_ms: f64,
    /// The server's resident memory, windows included.
    pub rss_mib: f64,
    /// Share of a core the players and the simulated engine used.
    pub player_cpu_pct: f64,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Scaling {
    /// Where it ran.
    pub machine: Machine,
    /// What drives the I/O.
    pub driver: Option<String>,
    /// Rate of the one channel, Mbit/s.
    pub mbit: f64,
    /// Rate of each of the channels.
    pub channel_mbit: f64,
    /// One channel with more and more players.
    pub by_players: Vec<Point>,
    /// More and more channels.
    pub by_channels: Vec<Point>,
}

/// Measures each point in turn.
///
/// # Errors
/// An appliance cannot be started, or nobody was served by one.
pub fn run(sweep: &Sweep, mut progress: impl FnMut(&str)) -> Result<Scaling, Error> {
    let mut driver = None;
    let mut measure = |load: Options| {
        let side = Side::Build {
            program: sweep.program.clone().into(),
            variables: sweep.variables.clone(),
            options: Box::new(load),
        };
        let (figures, drives) = compare::turn(&side, &mut progress)?;
        driver = drives;
        Ok::<_, Error>(Point::of(&figures))
    };
    let of_one = |clients: &usize| Options {
        paths: compare::paths(1),
        clients: *clients,
        checked: sweep.load.checked.min(*clients),
        ..sweep.load.clone()
    };
    let of_many = |channels: &u32| {
        let clients = *channels as usize * sweep.channel_players;
        Options {
            paths: compare::paths(*channels),
            clients,
            checked: sweep.load.checked.min(clients),
            mbit: sweep.channel_mbit,
            ramp: sweep.load.ramp.max(CHANNEL_RAMP * *channels),
            ..sweep.load.clone()
        }
    };
    let by_players = sweep.players.iter().map(of_one).map(&mut measure).collect::<Result<Vec<_>, _>>()?;
    let by_channels = sweep.channels.iter().map(of_many).map(&mut measure).collect::<Result<Vec<_>, _>>()?;
    Ok(Scaling {
        machine: Machine::here(),
        driver,
        mbit: sweep.load.mbit,
        channel_mbit: sweep.channel_mbit,
        by_players,
        by_channels,
    })
}

impl Point {
    fn of(figures: &Figures) -> Self {
        let served = figures.drained.players + figures.paced.players;
        let short = figures.drained.short + figures.paced.short;
        let server = figures.server.as_ref();
        let gap = figures.drained.gap.or(figures.paced.gap);
        Self {
            channels: figures.channels,
            players: figures.clients,
            gbit_s_wanted: figures.clients as f64 * figures.mbit / 1e3,
            gbit_s: figures.gbit_s,
            badly_served: short + figures.clients.saturating_sub(served),
            cpu_s_per_gb: server.map_or(f64::NAN, |used| used.cpu_s_per_gb),
            cpu_pct: server.map_or(f64::NAN, |used| used.cpu_pct),
            gap_p999_ms: gap.map_or(f64::NAN, |gap| gap.p999_ms),
            rss_mib: server.map_or(f64::NAN, |used| used.after.rss as f64 / f64::from(1 << 20)),
            player_cpu_pct: figures.player_cpu * 100.0,
        }
    }
}

impl Report for Scaling {
    fn driver(&self) -> Option<String> {
        self.driver.clone()
    }

    fn plots(&self) -> Vec<Plot> {
        type Line = (&'static str, fn(&Point) -> f64);
        type Place = fn(&Point) -> f64;
        let shown: [(&str, &str, &[Line]); 3] = [
            ("CPU per GB", "s/GB", &[("server", |it| it.cpu_s_per_gb)]),
            ("CPU", "% of a core", &[("server", |it| it.cpu_pct)]),
            ("p99.9 of all gaps", "ms", &[("gap", |it| it.gap_p999_ms)]),
        ];
        let sweeps: [(&str, &[Point], Place); 2] = [
            ("players", &self.by_players, |it| it.players as f64),
            ("channels", &self.by_channels, |it| it.channels as f64),
        ];
        let drawn = sweeps.into_iter().filter(|(_, points, _)| !points.is_empty());
        drawn
            .flat_map(|(across, points, place)| {
                shown.iter().map(move |(title, up, lines)| Plot {
                    title: format!("{title} by {across}"),
                    across: across.to_owned(),
                    up: (*up).to_owned(),
                    lines: lines
                        .iter()
                        .map(|(name, of)| {
                            ((*name).to_owned(), points.iter().map(|it| (place(it), of(it))).collect())
                        })
                        .collect(),
                })
            })
            .collect()
    }
}

impl fmt::Display for Scaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, driver {}", self.machine, self.driver.as_deref().unwrap_or("unknown"))?;
        for (mbit, points) in [(self.mbit, &self.by_players), (self.channel_mbit, &self.by_channels)] {
            if points.is_empty() {
                continue;
            }
            writeln!(
                f,
                "\n{:>8} {:>8} {:>8} {:>10} {:>8} {:>7} {:>10} {:>11} {:>8} {:>10}   {mbit} Mbit/s each",
                "channels",
                "players",
                "Gbit/s",
                "of wanted",
                "badly",
                "s/GB",
                "% of core",
                "p99.9 gap",
                "RSS MiB",
                "players'"
            )?;
            for it in points {
                writeln!(
                    f,
                    "{:>8} {:>8} {:>8.3} {:>8.0} % {:>8} {:>7.3} {:>8.0} % {:>8.0} ms {:>8.0} {:>8.0} %",
                    it.channels,
                    it.players,
                    it.gbit_s,
                    it.gbit_s / it.gbit_s_wanted * 100.0,
                    it.badly_served,
                    it.cpu_s_per_gb,
                    it.cpu_pct,
                    it.gap_p999_ms,
                    it.rss_mib,
                    it.player_cpu_pct
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: each point has its place on the right curve, and one without a figure is not drawn as a number.
    #[test]
    fn points_become_curves() {
        let point = |players: usize, channels: usize| Point {
            channels,
            players,
            gbit_s_wanted: 8.0,
            gbit_s: 4.0,
            badly_served: 3,
            cpu_s_per_gb: players as f64 / 1000.0,
            cpu_pct: 50.0,
            gap_p999_ms: f64::NAN,
            rss_mib: 20.0,
            player_cpu_pct: 30.0,
        };
        let scaling = Scaling {
            machine: Machine::here(),
            driver: Some("epoll".to_owned()),
            mbit: 8.0,
            channel_mbit: 4.0,
            by_players: vec![point(100, 1), point(2000, 1)],
            by_channels: vec![point(20, 10)],
        };
        let plots = scaling.plots();
        let cpu = plots.iter().find(|it| it.title == "CPU per GB by players").expect("drawn");
        assert_eq!(cpu.lines[0].1, [(100.0, 0.1), (2000.0, 2.0)]);
        let cpu = plots.iter().find(|it| it.title == "CPU per GB by channels").expect("drawn");
        assert_eq!(cpu.lines[0].1, [(10.0, 0.02)]);
        let table = scaling.to_string();
        assert!(
            table.contains("driver epoll") && table.contains("50 %") && table.contains("4 Mbit/s each"),
            "{table}"
        );
        let alone = Scaling { by_channels: Vec::new(), ..scaling };
        assert_eq!(alone.plots().len(), 3);
    }
}
