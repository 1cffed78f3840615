//! The same work against two things in turn: two servers that run, or two builds of the appliance, each started anew for every turn
//! on a simulated engine of this process.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use serde::Serialize;

use crate::channel::nth;
use crate::chaos;
use crate::chaos::appliance::Appliance;
use crate::engine::{self, ChannelSpec, Engine};
use crate::play::{self, Figures, Options, Server, server};
use crate::report::pairs::{Pairs, SIGNIFICANCE};
use crate::report::{Machine, Plot, Report};

/// One of the two.
#[derive(Clone, Debug)]
pub enum Side {
    /// A server that runs.
    Running {
        /// How it was named.
        name: String,
        /// How to load it.
        options: Box<Options>,
    },
    /// A build of the appliance.
    Build {
        /// Its binary.
        program: PathBuf,
        /// Its variables.
        variables: Vec<(String, String)>,
        /// How to load it; the target is put in.
        options: Box<Options>,
    },
}

impl Side {
    fn name(&self) -> String {
        match self {
            Self::Running { name, .. } => name.clone(),
            Self::Build { program, .. } => program.display().to_string(),
        }
    }
}

/// Why a comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine cannot be started.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The appliance cannot be started.
    #[error(transparent)]
    Appliance(#[from] chaos::Error),
    /// The players cannot be measured.
    #[error("{name}: {cause}")]
    Play {
        /// Against which of the two.
        name: String,
        /// Why.
        cause: play::Error,
    },
    /// Nothing to compare.
    #[error("no round to play")]
    NoRounds,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Where it ran.
    pub machine: Machine,
    /// The first and the second thing.
    pub names: [String; 2],
    /// What drives the I/O of either.
    pub drivers: [Option<String>; 2],
    /// Share by which the second may be worse in the middle, if anything is judged.
    pub loss_max: Option<f64>,
    /// Each figure, pair by pair.
    pub pairs: Vec<Pairs>,
    /// Every turn of the first.
    pub first: Vec<Figures>,
    /// Every turn of the second.
    pub second: Vec<Figures>,
}

/// What is compared, with how it is taken from a turn. Smaller is better.
type Measure = (&'static str, fn(&Figures) -> Option<f64>);

const MEASURES: [Measure; 6] = [
    ("cpu_s_per_gb", |it| it.server.as_ref().map(|server| server.cpu_s_per_gb)),
    ("gap_p999_ms", |it| it.drained.gap.or(it.paced.gap).map(|gap| gap.p999_ms)),
    ("longest_gap_ms", |it| it.drained.longest_gap.or(it.paced.longest_gap).map(|gap| gap.max_ms)),
    ("first_byte_p50_ms", |it| it.joins.first_byte.map(|join| join.p50_ms)),
    ("first_byte_p99_ms", |it| it.joins.first_byte.map(|join| join.p99_ms)),
    ("rss_mib", |it| it.server.as_ref().map(|server| server.after.rss as f64 / f64::from(1 << 20))),
];

/// What decides whether the second lost: one turn's worth of CPU and of memory says something, a few gaps do not.
const JUDGED: [&str; 2] = ["cpu_s_per_gb", "rss_mib"];

/// Plays `rounds` times against both; which comes first alternates.
///
/// # Errors
/// A side cannot be started, or nobody was served by one.
pub fn run(
    sides: &[Side; 2],
    rounds: usize,
    loss_max: Option<f64>,
    mut progress: impl FnMut(&str),
) -> Result<Comparison, Error> {
    if rounds == 0 {
        return Err(Error::NoRounds);
    }
    let mut drivers = [None, None];
    let mut turns = [Vec::with_capacity(rounds), Vec::with_capacity(rounds)];
    for round in 0..rounds {
        for place in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            progress(&format!("round {} of {rounds}: {}", round + 1, sides[place].name()));
            let (figures, driver) = turn(&sides[place], &mut progress)?;
            turns[place].push(figures);
            drivers[place] = driver;
        }
    }
    let [first, second] = turns;
    let pairs = MEASURES.iter().filter_map(|(name, of)| {
        let values = first.iter().zip(&second).filter_map(|(first, second)| of(first).zip(of(second)));
        Pairs::of(name, values.collect())
    });
    let pairs = pairs.collect();
    let names = [sides[0].name(), sides[1].name()];
    Ok(Comparison { machine: Machine::here(), names, drivers, loss_max, pairs, first, second })
}

/// Measures once; also tells what drives what was measured.
///
/// # Errors
/// The side cannot be started, or nobody was served by it.
pub(crate) fn turn(side: &Side, progress: &mut dyn FnMut(&str)) -> Result<(Figures, Option<String>), Error> {
    let failed = |cause| Error::Play { name: side.name(), cause };
    match side {
        Side::Running { options, .. } => {
            let driver = server::driver(options.target);
            Ok((play::run(options, progress).map_err(failed)?, driver))
        }
        Side::Build { program, variables, options } => {
            let rate = (options.mbit * 125_000.0) as u64;
            let channels =
                (0..options.paths.len() as u32).map(|number| ChannelSpec::synthetic(number, rate)).collect();
            let engine = Engine::start(engine::Options { channels, ..engine::Options::default() })?;
            let mut command = Command::new(program);
            command.env_clear().env("SHARDS", "1").env("ENGINE_PROVISIONING", "off");
            command.envs(variables.iter().map(|(name, value)| (name, value)));
            // Where it listens is read from the log.
            command.env("LOG_LEVEL", "info");
            let appliance = Appliance::start(command, &[engine.addr()])?;
            let options = Options {
                target: appliance.addr(),
                host: appliance.addr().to_string(),
                server: Some(Server::with_pid(appliance.pid())),
                ..(**options).clone()
            };
            let driver = server::driver(appliance.addr());
            Ok((play::run(&options, progress).map_err(failed)?, driver))
        }
    }
}

/// The paths of the first channels of a simulated engine.
pub fn paths(channels: u32) -> Vec<String> {
    (0..channels).map(|number| format!("/ace/getstream?id={}", nth(number).0)).collect()
}

impl Report for Comparison {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, turns) in self.names.iter().zip([&self.first, &self.second]) {
            let of_side = turns.iter().flat_map(Figures::faults).map(|fault| format!("{name}: {fault}"));
            faults.extend(of_side);
        }
        faults.dedup();
        if let Some(share) = self.loss_max {
            let lost = self.pairs.iter().filter(|it| JUDGED.contains(&it.name.as_str()) && it.is_loss(share));
            faults.extend(lost.map(|it| {
                format!(
                    "{} is {:.3} times as much, worse in {} of {} pairs (p = {:.4})",
                    it.name,
                    it.ratio,
                    it.worse,
                    it.values.len(),
                    it.p_worse
                )
            }));
        }
        faults
    }

    fn driver(&self) -> Option<String> {
        let mut told: Vec<String> = self.drivers.iter().flatten().cloned().collect();
        told.dedup();
        (!told.is_empty()).then(|| told.join(" against "))
    }

    fn plots(&self) -> Vec<Plot> {
        let of_pair = |pairs: &Pairs| {
            let points = |of: fn(&(f64, f64)) -> f64| {
                pairs.values.iter().enumerate().map(|(n, pair)| (n as f64 + 1.0, of(pair))).collect()
            };
            Plot {
                title: pairs.name.clone(),
                across: "round".to_owned(),
                up: pairs.name.clone(),
                lines: vec![
                    (self.names[0].clone(), points(|pair| pair.0)),
                    (self.names[1].clone(), points(|pair| pair.1)),
                ],
            }
        };
        self.pairs.iter().map(of_pair).collect()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        for ((place, name), driver) in ["first ", "second"].iter().zip(&self.names).zip(&self.drivers) {
            writeln!(f, "{place}  {name} ({})", driver.as_deref().unwrap_or("driver unknown"))?;
        }
        if let Some(one) = self.first.first() {
            let Figures { clients, channels, mbit, seconds, profile, .. } = one;
            writeln!(
                f,
                "{clients} players, {channels} channels, {mbit} Mbit/s, source profile {profile}, {} pairs of {seconds:.1} s",
                self.first.len()
            )?;
        }
        writeln!(
            f,
            "\n{:<20}{:>12}{:>12}{:>9}{:>18}{:>8}{:>9}",
            "medians", "first", "second", "ratio", "of pairs", "worse", "p"
        )?;
        for pairs in &self.pairs {
            let middle = |of: fn(&(f64, f64)) -> f64| {
                crate::report::median(pairs.values.iter().map(of)).unwrap_or_default()
            };
            writeln!(
                f,
                "{:<20}{:>12.4}{:>12.4}{:>9.3}{:>18}{:>8}{:>9.4}",
                pairs.name,
                middle(|pair| pair.0),
                middle(|pair| pair.1),
                pairs.ratio,
                format!("{:.3} to {:.3}", pairs.ratio_min, pairs.ratio_max),
                format!("{} of {}", pairs.worse, pairs.values.len()),
                pairs.p_worse
            )?;
        }
        writeln!(
            f,
            "p: chance of at least so many worse pairs if both were alike (sign test, one-sided; {SIGNIFICANCE} counts)"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(second: f64, loss_max: Option<f64>) -> Comparison {
        let pairs = ["cpu_s_per_gb", "longest_gap_ms"].map(|name| Pairs::of(name, vec![(1.0, second); 8]));
        Comparison {
            machine: Machine::here(),
            names: ["old".to_owned(), "new".to_owned()],
            drivers: [Some("epoll".to_owned()), None],
            loss_max,
            pairs: pairs.into_iter().flatten().collect(),
            first: Vec::new(),
            second: Vec::new(),
        }
    }

    /// Guards: a loss of CPU fails a comparison that judges, and nothing fails one that does not.
    #[test]
    fn a_loss_fails_where_it_is_asked_for() {
        let lost = comparison(1.2, Some(0.05)).faults();
        assert_eq!(lost.len(), 1, "{lost:?}");
        assert!(lost[0].contains("cpu_s_per_gb is 1.200 times") && lost[0].contains("8 of 8"), "{lost:?}");
        assert_eq!(comparison(1.2, None).faults(), Vec::<String>::new());
        assert_eq!(comparison(1.03, Some(0.05)).faults(), Vec::<String>::new());
        assert_eq!(comparison(0.5, Some(0.05)).faults(), Vec::<String>::new());
        let table = comparison(1.2, None).to_string();
        assert!(table.contains("8 of 8") && table.contains("0.0039"), "{table}");
        assert_eq!(comparison(1.2, None).plots().len(), 2);
    }
}
