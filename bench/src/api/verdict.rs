//! What a run showed.

use std::fmt;

use serde::Serialize;

use super::turns::Slowest;
use crate::play::Figures;
use crate::report::{Machine, Plot, Report, Summary};

/// How one route answered.
#[derive(Clone, Debug, Serialize)]
pub struct RouteVerdict {
    /// Its path.
    pub route: String,
    /// Bytes of the last answer.
    pub bytes: usize,
    /// Milliseconds from the first byte of a request to the last of its answer.
    pub times: Option<Summary>,
    /// What the slowest waited for, where the kernel tells.
    pub slowest: Option<Slowest>,
    /// The same bytes from servers that do nothing else.
    pub floor: Option<Floor>,
}

/// What sending as many bytes as an answer has takes here, under the same load.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Floor {
    /// By a thread with the priority of players.
    pub plain: Summary,
    /// By one as nice as the appliance's control plane.
    pub nice: Summary,
}

impl fmt::Display for RouteVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.times {
            Some(times) => write!(f, "{times}, {} bytes", self.bytes)?,
            None => return f.write_str("never answered"),
        }
        if let Some(Slowest { count, took_ms, ran_ms, waited_ms }) = self.slowest {
            write!(
                f,
                "\n  the slowest {count}: {took_ms:.1} ms, at work {ran_ms:.1}, without a processor {waited_ms:.1}"
            )?;
        }
        if let Some(Floor { plain, nice }) = self.floor {
            write!(f, "\n  only sending as much: {plain}\n  the same, as nice as control: {nice}")?;
        }
        Ok(())
    }
}

/// How all of them did.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Where it was measured.
    pub machine: Machine,
    /// What drives the appliance's I/O.
    pub driver: Option<String>,
    /// Engines in state.
    pub engines: usize,
    /// Streams in state.
    pub streams: usize,
    /// Requests of each route.
    pub requests: usize,
    /// Each route.
    pub routes: Vec<RouteVerdict>,
    /// Players alone, and while the routes were asked for; none when there were none.
    pub players: Option<[Figures; 2]>,
}

impl Report for Verdict {
    fn driver(&self) -> Option<String> {
        self.driver.clone()
    }

    fn plots(&self) -> Vec<Plot> {
        let named = ["alone", "while the routes were asked for"].into_iter();
        let both = named.zip(self.players.iter().flatten());
        let plots = both.flat_map(|(name, figures)| {
            figures
                .plots()
                .into_iter()
                .map(move |plot| Plot { title: format!("{}, players {name}", plot.title), ..plot })
        });
        plots.collect()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        let Self { engines, streams, requests, .. } = self;
        writeln!(f, "{engines} engines, {streams} streams, {requests} requests of each route")?;
        self.routes.iter().try_for_each(|route| writeln!(f, "{:<16} {route}", route.route))?;
        let Some([alone, asked]) = &self.players else { return Ok(()) };
        writeln!(f, "\nplayers alone\n{alone}")?;
        writeln!(f, "players while the routes were asked for\n{asked}")
    }
}
