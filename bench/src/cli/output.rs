//! How every measuring command gives its result: a table, JSON, a page, and an exit code.

use std::cell::Cell;
use std::fmt;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use crate::report::{Outcome, Plot, Report, Threshold, html};

/// What begins a text that the next one of its kind replaces.
pub const LIVE: &str = "  ";
/// Of those, one in so many is shown where nothing can be replaced.
const LIVE_SHOWN: u32 = 10;

/// Options of every measuring command.
#[derive(clap::Args, Debug, Default)]
pub struct Output {
    /// Write everything as JSON to this file; `-` writes it to standard output in place of the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write one page with tables and plots to this file.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Exit with 3 when a figure is so, as 'gap.p999_ms>250'; may be given many times. Names are those of --json's `figures`, or the end of one.
    #[arg(long, value_name = "FIGURE>NUMBER")]
    pub fail_if: Vec<Threshold>,
}

/// A result of a server that somebody else started, and what drives that one's I/O.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Driven<R> {
    /// As the server tells.
    #[serde(skip)]
    pub driver: Option<String>,
    /// The result.
    pub report: R,
}

impl<R: Report> Report for Driven<R> {
    fn faults(&self) -> Vec<String> {
        self.report.faults()
    }

    fn driver(&self) -> Option<String> {
        self.driver.clone()
    }

    fn plots(&self) -> Vec<Plot> {
        self.report.plots()
    }
}

impl<R: fmt::Display> fmt::Display for Driven<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report.fmt(f)?;
        self.driver.iter().try_for_each(|driver| writeln!(f, "driver {driver}"))
    }
}

/// A threshold was crossed; the program exits with 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Exceeded(String);

impl Output {
    /// Shows and writes a result.
    ///
    /// # Errors
    /// A file cannot be written, a threshold names no figure or is crossed ([`Exceeded`]), or the run is a bad one for what `what`
    /// says; everything is shown first.
    pub fn give(&self, what: &str, report: &impl Report) -> anyhow::Result<()> {
        let mut outcome = Outcome::new(report)?;
        let judged: Result<Vec<Vec<String>>, _> =
            self.fail_if.iter().map(|threshold| threshold.crossed(&outcome.figures)).collect();
        if let Ok(crossed) = &judged {
            outcome.exceeded = crossed.concat();
        }
        let table = report.to_string();
        let is_json_shown = self.json.as_ref().is_some_and(|path| path.as_os_str() == "-");
        if !is_json_shown {
            write!(io::stdout(), "{table}")?;
        }
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(&outcome)?;
            if is_json_shown {
                writeln!(io::stdout(), "{text}")?;
            } else {
                fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
            }
        }
        if let Some(path) = &self.html {
            fs::write(path, html::page(&outcome, &table))
                .with_context(|| format!("writing {}", path.display()))?;
        }
        judged?;
        anyhow::ensure!(outcome.faults.is_empty(), "{what}: {}", outcome.faults.join("; "));
        if outcome.exceeded.is_empty() { Ok(()) } else { Err(Exceeded(outcome.exceeded.join("; ")).into()) }
    }
}

/// Tells on standard error what happens. A text that begins with [`LIVE`] takes the place of the one before it on a terminal, and is mostly left
/// out elsewhere.
pub fn progress() -> impl Fn(&str) {
    let is_terminal = io::stderr().is_terminal();
    let shown = Cell::new(0_u32);
    move |text: &str| {
        let mut err = io::stderr();
        // Nobody reading standard error is no reason to stop.
        let _unheard = match text.strip_prefix(LIVE) {
            Some(text) if is_terminal => write!(err, "\r\x1b[K{text}"),
            Some(text) => {
                shown.set(shown.get() + 1);
                if shown.get().is_multiple_of(LIVE_SHOWN) { writeln!(err, "{text}") } else { Ok(()) }
            }
            None if is_terminal => writeln!(err, "\r\x1b[K{text}"),
            None => writeln!(err, "{text}"),
        };
    }
}
