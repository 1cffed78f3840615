//! Does a stalled player cost the others anything? The same crowd is measured without and with stalled players in turn,
//! many times, since a shared machine is noisier than what is looked for; the medians decide.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::client::Kind;
use super::{Error, Figures, Run};
use crate::report::{Plot, Report, Table, median};

/// Time for stalled players to fill their sockets, and for the server to notice that they left.
const PAUSE: Duration = Duration::from_secs(1);

/// One measurement of many.
#[derive(Clone, Debug, Serialize)]
pub struct Phase {
    /// Stalled players were connected.
    pub with_stalled: bool,
    /// What came out.
    pub figures: Figures,
}

/// The medians over all phases of one sort, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Medians {
    /// Of the longest gap of the worst served player.
    pub worst_ms: f64,
    /// Of the longest gap of the median player.
    pub typical_ms: f64,
    /// Of the server's CPU seconds per GB, when it was watched.
    pub cpu_s_per_gb: Option<f64>,
}

/// The comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Interleaved {
    /// Without stalled players.
    pub without: Medians,
    /// With them.
    pub with: Medians,
    /// Every measurement, in order.
    pub phases: Vec<Phase>,
}

impl Report for Interleaved {
    fn faults(&self) -> Vec<String> {
        self.phases.last().map(|phase| phase.figures.faults()).unwrap_or_default()
    }

    fn plots(&self) -> Vec<Plot> {
        let line = |is_with: bool| {
            let phases = self.phases.iter().filter(|phase| phase.with_stalled == is_with);
            let points = phases.enumerate().map(|(n, phase)| (n as f64 + 1.0, worst_ms(&phase.figures)));
            let name = if is_with { "with stalled players" } else { "without" };
            (name.to_owned(), points.collect())
        };
        vec![Plot {
            title: "Longest gap of any player".to_owned(),
            across: "round".to_owned(),
            up: "ms".to_owned(),
            lines: vec![line(false), line(true)],
        }]
    }
}

impl Interleaved {
    /// How much longer the worst served player's longest gap is with stalled players, in milliseconds.
    pub fn difference_ms(&self) -> f64 {
        self.with.worst_ms - self.without.worst_ms
    }
}

pub(super) fn run(
    run: &mut Run<'_>,
    rounds: usize,
    progress: &mut dyn FnMut(&str),
) -> Result<Interleaved, Error> {
    let mut phases = Vec::with_capacity(2 * rounds);
    for round in 0..rounds {
        // Which comes first alternates, so that a drift of the machine does not favour one of them.
        for with_stalled in [round % 2 == 1, round % 2 == 0] {
            if with_stalled {
                run.crowds.add(&vec![Kind::Stalled; run.options.stalled], Duration::ZERO);
                run.join()?;
            }
            run.play(PAUSE)?;
            let figures = run.measure(progress)?;
            run.crowds.dismiss_stalled();
            let name = if with_stalled { "with" } else { "without" };
            let gap = worst_ms(&figures);
            progress(&format!(
                "round {} of {rounds}, {name} stalled players: longest gap {gap:.1} ms",
                round + 1
            ));
            phases.push(Phase { with_stalled, figures });
        }
    }
    Ok(Interleaved { without: medians(&phases, false), with: medians(&phases, true), phases })
}

fn medians(phases: &[Phase], with_stalled: bool) -> Medians {
    let figures =
        || phases.iter().filter(|phase| phase.with_stalled == with_stalled).map(|phase| &phase.figures);
    let servers = figures().filter_map(|figures| figures.server.as_ref());
    Medians {
        worst_ms: median(figures().map(worst_ms)).unwrap_or_default(),
        typical_ms: median(figures().map(typical_ms)).unwrap_or_default(),
        cpu_s_per_gb: median(servers.map(|server| server.cpu_s_per_gb)),
    }
}

fn worst_ms(figures: &Figures) -> f64 {
    let gaps = [&figures.drained, &figures.paced].map(|service| service.longest_gap);
    gaps.iter().flatten().map(|gap| gap.max_ms).fold(0.0, f64::max)
}

/// Of the more numerous kind, since a paced player's gaps are those of its own pace.
fn typical_ms(figures: &Figures) -> f64 {
    let (drained, paced) = (&figures.drained, &figures.paced);
    let service = if drained.players >= paced.players { drained } else { paced };
    service.longest_gap.map_or(0.0, |gap| gap.p50_ms)
}

impl fmt::Display for Interleaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::default();
        if let Some(first) = self.phases.first() {
            let Figures { clients, mbit, seconds, profile, .. } = &first.figures;
            table.line("load", format_args!("{clients} players, {mbit} Mbit/s, source profile {profile}"));
            table.line("phases", format_args!("{} of {seconds:.1} s", self.phases.len()));
        }
        for (name, medians) in [("without stalled", &self.without), ("with stalled", &self.with)] {
            let Medians { worst_ms, typical_ms, .. } = medians;
            table.line(
                name,
                format_args!(
                    "median of the longest gap {worst_ms:.1} ms, of the typical player's {typical_ms:.1} ms"
                ),
            );
            table.maybe(
                &format!("{name}, CPU"),
                medians.cpu_s_per_gb.map(|cpu| format!("{cpu:.4} s/GB (median)")),
            );
        }
        table.line("difference", format_args!("{:+.1} ms", self.difference_ms()));
        write!(f, "{table}")
    }
}
