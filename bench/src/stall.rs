//! A control plane that stands still under players: what they notice, against the same run without the fault.
//!
//! The appliance has to be built with its feature `faults`. One engine, its channels and the players are on this machine.

use std::fmt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::channel::nth;
use crate::chaos;
use crate::chaos::appliance::Appliance;
use crate::engine::{self, ChannelSpec, Engine};
use crate::play::{self, Figures, Server, server};
use crate::player::http;
use crate::report::{Plot, Report};

/// What is shown may be as late as this once control goes on and the players have left.
const SOON: Duration = Duration::from_secs(20);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(100);
/// Players that check every packet.
const CHECKED: usize = 5;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Players.
    pub players: usize,
    /// Share of them that read at the stream's rate.
    pub paced_share: f64,
    /// Channels; players take them in turn.
    pub channels: u32,
    /// Rate of each.
    pub mbit: f64,
    /// For how long control stands still, in whole seconds.
    pub standstill: Duration,
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine cannot be started.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The appliance cannot be started.
    #[error(transparent)]
    Appliance(#[from] chaos::Error),
    /// The players cannot be measured.
    #[error(transparent)]
    Play(#[from] play::Error),
    /// The appliance does not answer.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// The appliance does not stand still.
    #[error("POST {path} answers {status}; is the appliance built with --features faults?")]
    Refused {
        /// What was asked.
        path: String,
        /// Its answer.
        status: u16,
    },
    /// Sessions or players are shown that are gone.
    #[error("{SOON:?} after everybody left this is shown: {0}")]
    NotRight(String),
}

/// What a run showed.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What drives the appliance's I/O.
    pub driver: Option<String>,
    /// For how long control stood still.
    pub standstill_s: f64,
    /// The players without the fault.
    pub without: Figures,
    /// And with it.
    pub with: Figures,
    /// Until what is shown was right again, from the end of the measurement on.
    pub right_after_s: f64,
}

impl Verdict {
    /// What players must not meet.
    pub fn faults(&self) -> Vec<String> {
        self.with.faults()
    }
}

impl Report for Verdict {
    fn faults(&self) -> Vec<String> {
        self.faults()
    }

    fn driver(&self) -> Option<String> {
        self.driver.clone()
    }

    fn plots(&self) -> Vec<Plot> {
        let both = [("without the fault", &self.without), ("with it", &self.with)];
        let plots = both.into_iter().flat_map(|(name, figures)| {
            figures
                .plots()
                .into_iter()
                .map(move |plot| Plot { title: format!("{}, {name}", plot.title), ..plot })
        });
        plots.collect()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "without the fault\n{}", self.without)?;
        writeln!(f, "control stands still for {:.0} s\n{}", self.standstill_s, self.with)?;
        writeln!(f, "what is shown is right again after {:.1} s", self.right_after_s)
    }
}

/// Runs; `command` starts the appliance.
///
/// # Errors
/// The run could not be made, or what is shown afterwards is wrong. What players met is part of the verdict.
pub fn run(options: &Options, command: Command, progress: impl Fn(&str)) -> Result<Verdict, Error> {
    let rate = (options.mbit * 125_000.0) as u64;
    let channels = (0..options.channels).map(|n| ChannelSpec::synthetic(n, rate)).collect();
    let engine = Engine::start(engine::Options { channels, ..engine::Options::default() })?;
    let appliance = Appliance::start(command, &[engine.addr()])?;
    let paths = (0..options.channels).map(|n| format!("/ace/getstream?id={}", nth(n).0)).collect();
    let play = play::Options {
        clients: options.players,
        checked: CHECKED.min(options.players),
        paced_share: options.paced_share,
        mbit: options.mbit,
        duration: options.standstill,
        server: Some(Server::with_pid(appliance.pid())),
        profile_name: "simulated engine".to_owned(),
        ..play::Options::new(appliance.addr(), paths)
    };
    progress("without the fault");
    let without = play::run(&play, &progress)?;
    progress("with it");
    let path = format!("/faults/stall?seconds={}", options.standstill.as_secs());
    let mut asked = None;
    let with = play::run_and(&play, &progress, || {
        asked = Some(http::request(appliance.addr(), "POST", &path, &[], b""));
    })?;
    if let Some(answer) = asked {
        let status = answer?.status();
        if status != 200 {
            return Err(Error::Refused { path, status });
        }
    }
    let right_after_s = right_again(&appliance)?.as_secs_f64();
    let driver = server::driver(appliance.addr());
    Ok(Verdict { driver, standstill_s: options.standstill.as_secs_f64(), without, with, right_after_s })
}

/// Waits until nobody is shown any more, as is so; how long that took.
fn right_again(appliance: &Appliance) -> Result<Duration, Error> {
    let began = Instant::now();
    loop {
        let status = http::get(appliance.addr(), "/proxy/status")?.text();
        if status.contains(r#""total_sessions":0,"#) && status.contains(r#""total_clients":0,"#) {
            return Ok(began.elapsed());
        }
        if began.elapsed() > SOON {
            return Err(Error::NotRight(status.chars().take(400).collect()));
        }
        thread::sleep(LOOK);
    }
}
