//! Join storms: many players at once come to a stream that runs, over and over, while others watch.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::client::Kind;
use super::figures::{self, Joins};
use super::{Error, Options, Run, Server};
use crate::report::{Machine, Plot, Report, Table, Times};

/// What the joiners stay when all are there, and what passes between two storms.
const PAUSE: Duration = Duration::from_secs(1);

/// One storm.
#[derive(Clone, Debug, Serialize)]
pub struct Storm {
    /// Players that came.
    pub players: usize,
    /// Of those, how many got their stream.
    pub joined: usize,
    /// How long they took.
    pub joins: Joins,
    /// Players that are gone, by reason.
    pub gone: BTreeMap<String, usize>,
    /// Longest time without bytes of any that watched before, in milliseconds.
    pub watchers_gap_ms: f64,
    /// Of those, how many are gone.
    pub watchers_gone: usize,
    /// CPU of the server from the first to come until all had left, milliseconds for each.
    pub cpu_ms_per_join: Option<f64>,
}

/// All of them.
#[derive(Clone, Debug, Serialize)]
pub struct Storms {
    /// Where it ran.
    pub machine: Machine,
    /// Players that watch all the time.
    pub watchers: usize,
    /// Players of each storm.
    pub players: usize,
    /// Time in which they come.
    pub within_s: f64,
    /// Of those, how many check every packet.
    pub checked: usize,
    /// All storms together.
    pub joins: Joins,
    /// Each.
    pub storms: Vec<Storm>,
}

/// Lets `players` of whom `checked` check every packet come within `within` for each of `rounds` storms, while the players of `options`
/// watch.
///
/// # Errors
/// As for [`super::run`], and when there is nobody to come.
pub fn storms(
    options: &Options,
    (players, checked, within): (usize, usize, Duration),
    rounds: usize,
    mut progress: impl FnMut(&str),
) -> Result<Storms, Error> {
    options.no_churn()?;
    if players == 0 || rounds == 0 || checked > players {
        return Err(Error::Options(format!(
            "{rounds} storms of {players} players, {checked} of them checked"
        )));
    }
    let kinds: Vec<Kind> = Options { clients: players, checked, paced_share: 0.0, ..options.clone() }.kinds();
    // The check of descriptors has to know of those who come.
    Options { stalled: players, ..options.clone() }.check()?;
    let mut run = Run::start(options, &mut progress)?;
    run.settle(&mut progress)?;
    let (mut storms, mut all) = (Vec::with_capacity(rounds), (Times::default(), Times::default()));
    for round in 1..=rounds {
        let (storm, times) = one(&mut run, &kinds, within)?;
        all.0.add_all(&times.0);
        all.1.add_all(&times.1);
        let first = storm.joins.first_byte.map_or_else(|| "nobody joined".to_owned(), |it| it.to_string());
        progress(&format!("storm {round} of {rounds}: first byte {first}"));
        storms.push(storm);
    }
    Ok(Storms {
        machine: Machine::here(),
        watchers: options.clients,
        players,
        within_s: within.as_secs_f64(),
        checked,
        joins: Joins::of(&all),
        storms,
    })
}

fn one(run: &mut Run<'_>, kinds: &[Kind], within: Duration) -> Result<(Storm, (Times, Times)), Error> {
    let usage = |run: &Run<'_>| run.options.server.as_ref().map(Server::usage).transpose();
    let (watchers, before) = (run.crowds.mark(), usage(run)?);
    run.crowds.begin_interval();
    run.crowds.add(kinds, within);
    run.join()?;
    run.play(PAUSE)?;
    run.crowds.end_interval();
    let (there, came) = (run.crowds.before(&watchers), run.crowds.since(&watchers));
    let gap = there.clone().filter(|it| it.is_served()).map(|it| it.longest_gap).max();
    let times = figures::join_times(came.clone());
    let mut storm = Storm {
        players: kinds.len(),
        joined: came.clone().filter(|client| client.is_served()).count(),
        joins: Joins::of(&times),
        gone: figures::gone(came),
        watchers_gap_ms: gap.unwrap_or_default().as_secs_f64() * 1e3,
        watchers_gone: there.filter(|client| !client.is_served()).count(),
        cpu_ms_per_join: None,
    };
    run.crowds.dismiss_since(&watchers);
    run.play(PAUSE)?;
    let used = before.zip(usage(run)?).map(|(before, after)| after.cpu_s - before.cpu_s);
    storm.cpu_ms_per_join = used.map(|cpu_s| cpu_s * 1e3 / kinds.len() as f64);
    Ok((storm, times))
}

impl Report for Storms {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (number, storm) in self.storms.iter().enumerate() {
            let gone = storm.gone.iter().map(|(why, count)| format!("storm {}: {count} × {why}", number + 1));
            faults.extend(gone);
        }
        let gone = self.storms.last().map_or(0, |storm| storm.watchers_gone);
        faults.extend((gone > 0).then(|| format!("{gone} of those that watched are gone")));
        faults
    }

    fn plots(&self) -> Vec<Plot> {
        let points = |of: &dyn Fn(&Storm) -> Option<f64>| {
            let each = self.storms.iter().enumerate();
            each.filter_map(|(n, storm)| Some((n as f64 + 1.0, of(storm)?))).collect()
        };
        let lines = vec![
            ("first byte p50".to_owned(), points(&|it| it.joins.first_byte.map(|times| times.p50_ms))),
            ("first byte p99".to_owned(), points(&|it| it.joins.first_byte.map(|times| times.p99_ms))),
            ("decodable p99".to_owned(), points(&|it| it.joins.decodable.map(|times| times.p99_ms))),
            ("gap of watchers".to_owned(), points(&|it| Some(it.watchers_gap_ms))),
        ];
        vec![Plot {
            title: "Joins, storm by storm".to_owned(),
            across: "storm".to_owned(),
            up: "ms".to_owned(),
            lines,
        }]
    }
}

impl fmt::Display for Storms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::default();
        table.line("machine", &self.machine);
        let Self { watchers, players, within_s, checked, .. } = self;
        table.line(
            "load",
            format_args!(
                "{} storms of {players} players within {within_s} s, {checked} of them checked, {watchers} watch",
                self.storms.len()
            ),
        );
        table.maybe("first byte", self.joins.first_byte);
        table.maybe("decodable", self.joins.decodable);
        for (number, storm) in self.storms.iter().enumerate() {
            let Storm { players, joined, watchers_gap_ms, .. } = storm;
            let p99 = storm.joins.first_byte.map_or(0.0, |times| times.p99_ms);
            let cpu = storm.cpu_ms_per_join.map(|cpu| format!(", CPU {cpu:.2} ms each")).unwrap_or_default();
            table.line(
                &format!("storm {}", number + 1),
                format_args!(
                    "{joined} of {players} joined, first byte p99 {p99:.1} ms, gap of those that watched {watchers_gap_ms:.1} ms{cpu}"
                ),
            );
        }
        write!(f, "{table}")
    }
}
