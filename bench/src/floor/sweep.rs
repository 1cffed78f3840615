//! The ways of sending side by side, at several ticks, in turn and more than once.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Figures, Path};
use crate::report::{Machine, Plot, Report, median};

/// One way at one tick.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Way and tick, as `sendfile-50`.
    pub name: String,
    /// The way.
    pub way: Path,
    /// The tick.
    pub tick_ms: f64,
    /// Every measurement of it; empty when it cannot be taken here.
    pub rounds: Vec<Figures>,
    /// Why it cannot.
    pub refused: Option<String>,
}

impl Cell {
    /// CPU seconds for each 10^9 bytes, in the middle of all rounds.
    pub fn cpu_s_per_gb(&self) -> Option<f64> {
        median(self.rounds.iter().map(|round| round.cpu_s_per_gb))
    }
}

/// All of them.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// Where it ran.
    pub machine: Machine,
    /// Players.
    pub clients: usize,
    /// Mbit/s for each.
    pub mbit: f64,
    /// Every way at every tick.
    pub cells: Vec<Cell>,
}

/// Measures every way at every tick, `rounds` times in turn. `measure` does one.
pub fn run(
    (clients, mbit): (usize, f64),
    (paths, ticks): (&[Path], &[f64]),
    rounds: usize,
    mut measure: impl FnMut(Path, f64) -> anyhow::Result<Figures>,
    mut progress: impl FnMut(&str),
) -> Sweep {
    let mut cells: Vec<Cell> = Vec::with_capacity(paths.len() * ticks.len());
    for (tick_ms, way) in ticks.iter().flat_map(|tick| paths.iter().map(move |path| (*tick, *path))) {
        let name = format!("{way}-{tick_ms}");
        cells.push(Cell { name, way, tick_ms, rounds: Vec::new(), refused: None });
    }
    for round in 1..=rounds {
        for cell in cells.iter_mut().filter(|cell| cell.refused.is_none()) {
            match measure(cell.way, cell.tick_ms) {
                Ok(figures) => {
                    let cpu = figures.cpu_s_per_gb;
                    progress(&format!("round {round} of {rounds}, {}: {cpu:.4} s/GB", cell.name));
                    cell.rounds.push(figures);
                }
                Err(error) => {
                    progress(&format!("{}: {error:#}", cell.name));
                    cell.refused = Some(format!("{error:#}"));
                }
            }
        }
    }
    Sweep { machine: Machine::here(), clients, mbit, cells }
}

impl Report for Sweep {
    fn faults(&self) -> Vec<String> {
        let nothing = self.cells.iter().all(|cell| cell.rounds.is_empty());
        if nothing { vec!["nothing could be measured".to_owned()] } else { Vec::new() }
    }

    fn plots(&self) -> Vec<Plot> {
        let mut lines: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        for cell in &self.cells {
            if let Some(cpu) = cell.cpu_s_per_gb() {
                lines.entry(cell.way.as_str()).or_default().push((cell.tick_ms, cpu));
            }
        }
        vec![Plot {
            title: "What a gigabyte costs the sender".to_owned(),
            across: "tick, ms".to_owned(),
            up: "CPU s/GB".to_owned(),
            lines: lines.into_iter().map(|(name, points)| (name.to_owned(), points)).collect(),
        }]
    }
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{} players, {} Mbit/s each", self.machine, self.clients, self.mbit)?;
        writeln!(
            f,
            "{:<10}{:>8}{:>12}{:>18}{:>10}{:>9}{:>9}",
            "way", "tick ms", "CPU s/GB", "of rounds", "Gbit/s", "refused", "overran"
        )?;
        for cell in &self.cells {
            write!(f, "{:<10}{:>8}", cell.way, cell.tick_ms)?;
            if let Some(why) = &cell.refused {
                writeln!(f, "  not here: {why}")?;
                continue;
            }
            let each = |of: fn(&Figures) -> f64| cell.rounds.iter().map(of);
            let cpu = |figures: &Figures| figures.cpu_s_per_gb;
            let (least, most) = (each(cpu).fold(f64::INFINITY, f64::min), each(cpu).fold(0.0, f64::max));
            let sum = |of: fn(&Figures) -> u64| cell.rounds.iter().map(of).sum::<u64>();
            writeln!(
                f,
                "{:>12.4}{:>18}{:>10.3}{:>9}{:>9}",
                cell.cpu_s_per_gb().unwrap_or_default(),
                format!("{least:.4} to {most:.4}"),
                median(each(|figures| figures.gbit_s)).unwrap_or_default(),
                sum(|figures| figures.blocked),
                sum(|figures| figures.overran)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: every way is measured at every tick, in turn; one that cannot be taken is told and not tried again.
    #[test]
    fn ways_are_measured_in_turn() {
        let mut asked = Vec::new();
        let measure = |path: Path, tick_ms: f64| {
            asked.push((path, tick_ms));
            anyhow::ensure!(path != Path::Uring, "no rings");
            Ok(Figures {
                path,
                clients: 1,
                mbit_s_each: 8.0,
                tick_ms,
                gbit_s: 1.0,
                cpu_pct: 1.0,
                cpu_s_per_gb: asked.len() as f64,
                lag_max_s: 0.0,
                blocked: 2,
                ticks: 1,
                overran: 0,
                round_p50_ms: 0.0,
                round_max_ms: 0.0,
                tcp_mb: 0.0,
            })
        };
        let sweep = run((1, 8.0), (&[Path::Copy, Path::Uring], &[20.0, 50.0]), 2, measure, |_| {});
        let (copy, ring) = (Path::Copy, Path::Uring);
        assert_eq!(
            asked,
            [(copy, 20.0), (ring, 20.0), (copy, 50.0), (ring, 50.0), (copy, 20.0), (copy, 50.0)]
        );
        assert_eq!(sweep.cells[0].cpu_s_per_gb(), Some(3.0));
        let text = sweep.to_string();
        assert!(text.contains("not here: no rings") && text.contains("1.0000 to 5.0000"), "{text}");
        assert_eq!(sweep.plots()[0].lines, [("copy".to_owned(), vec![(20.0, 3.0), (50.0, 4.5)])]);
        assert_eq!(sweep.faults(), Vec::<String>::new());
    }
}
