//! A control plane that stands still, or dies again and again, under players: what they notice, against the same run without the
//! fault.
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
/// Between two times that control is made to die: it is hardly there again before that.
const KILL_EVERY: Duration = Duration::from_millis(500);

/// What befalls control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Every thread of it stands still.
    Stall,
    /// It dies, and does so again as soon as it is there again.
    Kill,
}

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
    /// What befalls control.
    pub fault: Fault,
    /// For how long, in whole seconds.
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
    /// Control did not die when it was asked to.
    #[error("control died {0} times; is the appliance built with --features faults?")]
    Alive(u32),
    /// Sessions or players are shown that are gone.
    #[error("{SOON:?} after everybody left this is shown: {0}")]
    NotRight(String),
}

/// What a run showed.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What drives the appliance's I/O.
    pub driver: Option<String>,
    /// What befell control.
    pub fault: Fault,
    /// For how long.
    pub standstill_s: f64,
    /// How often it died.
    pub deaths: u32,
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
        match self.fault {
            Fault::Stall => {
                writeln!(f, "control stands still for {:.0} s\n{}", self.standstill_s, self.with)?
            }
            Fault::Kill => {
                writeln!(
                    f,
                    "control dies {} times in {:.0} s\n{}",
                    self.deaths, self.standstill_s, self.with
                )?;
            }
        }
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
    let (with, deaths) = match options.fault {
        Fault::Stall => (stalled(options, &appliance, &play, &progress)?, 0),
        Fault::Kill => killed(options, &appliance, &play, &progress)?,
    };
    let right_after_s = right_again(&appliance)?.as_secs_f64();
    let driver = server::driver(appliance.addr());
    let (fault, standstill_s) = (options.fault, options.standstill.as_secs_f64());
    Ok(Verdict { driver, fault, standstill_s, deaths, without, with, right_after_s })
}

fn stalled(
    options: &Options,
    appliance: &Appliance,
    play: &play::Options,
    progress: impl Fn(&str),
) -> Result<Figures, Error> {
    let path = format!("/faults/stall?seconds={}", options.standstill.as_secs());
    let mut asked = None;
    let figures = play::run_and(play, &progress, || {
        asked = Some(http::request(appliance.addr(), "POST", &path, &[], b""));
    })?;
    if let Some(answer) = asked {
        let status = answer?.status();
        if status != 200 {
            return Err(Error::Refused { path, status });
        }
    }
    Ok(figures)
}

/// Has control die over and over for as long as players are measured.
fn killed(
    options: &Options,
    appliance: &Appliance,
    play: &play::Options,
    progress: impl Fn(&str),
) -> Result<(Figures, u32), Error> {
    thread::scope(|scope| {
        let mut killer = None;
        let figures = play::run_and(play, &progress, || {
            let until = Instant::now() + options.standstill;
            killer = Some(scope.spawn(move || {
                let mut deaths = 0;
                while Instant::now() < until {
                    // A request that finds it dead, or dying, is answered by a shard or not at all.
                    let answer = http::request(appliance.addr(), "POST", "/faults/kill", &[], b"");
                    deaths += u32::from(answer.is_ok_and(|answer| answer.status() == 200));
                    thread::sleep(KILL_EVERY);
                }
                deaths
            }));
        })?;
        let deaths = killer.and_then(|killer| killer.join().ok()).unwrap_or(0);
        // Each death is reported by a control that was there again.
        if deaths < 2 { Err(Error::Alive(deaths)) } else { Ok((figures, deaths)) }
    })
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
