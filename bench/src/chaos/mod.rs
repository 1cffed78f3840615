//! Chaos: self-checking players on an appliance that is upgraded and whose engines are killed, replaced, stalled, reset,
//! slowed and moved away from, on a schedule that follows from a seed.
//!
//! The runner starts the engines, the appliance and the players, makes the trouble, lets everything recover, and judges
//! what each player saw. Whatever happens, at most one engine is in trouble at a time. It loads loopback only.

pub(crate) mod appliance;
mod engines;
mod plan;
mod verdict;

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

pub use engines::Books;
pub use plan::{Pace, Step, Trouble, schedule};
pub use verdict::{PlayerVerdict, Verdict};

use crate::channel::nth;
use crate::engine::ChannelSpec;
use crate::play::server::driver;
use crate::play::{Server, Usage};
use crate::player::{Player, Reading, check, http};
use crate::report::Machine;
pub(crate) use appliance::Appliance;
use engines::Engines;

/// How often players are looked after.
const LOOK: Duration = Duration::from_millis(50);
/// How long anything may take while all is well.
const SOON: Duration = Duration::from_secs(30);
/// A player ends by itself so long after the run should be over.
const PLAYER_MARGIN: Duration = Duration::from_secs(300);

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed of the schedule.
    pub seed: u64,
    /// Players.
    pub players: usize,
    /// Share of them that read at the stream's rate.
    pub paced_share: f64,
    /// Engines, at least two.
    pub engines: usize,
    /// Channels; players take them in turn.
    pub channels: u32,
    /// Bytes per second of each channel.
    pub rate: u64,
    /// How much goes wrong.
    pub pace: Pace,
    /// Whether losses are faults.
    pub is_strict: bool,
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// With fewer than two engines, or without players or channels, nothing can be shown.
    #[error("chaos needs a player, a channel and two engines")]
    TooFew,
    /// An engine cannot be started or told what to do.
    #[error(transparent)]
    Engine(#[from] crate::engine::Error),
    /// The appliance cannot be started.
    #[error("cannot start the appliance")]
    Appliance(#[source] std::io::Error),
    /// It does not listen.
    #[error("the appliance does not listen; its log:\n{0}")]
    NotListening(String),
    /// A player gets nothing although nothing is wrong yet.
    #[error(
        "player {player} does not play although nothing is wrong yet: {found}; the appliance's log:\n{log}"
    )]
    NotPlaying {
        /// Which.
        player: usize,
        /// What it met.
        found: String,
        /// What the appliance said.
        log: String,
    },
    /// The appliance died.
    #[error("the appliance died; its log:\n{0}")]
    Died(String),
}

/// A player and what it met on its connections so far.
struct Seat {
    player: Player,
    verdict: PlayerVerdict,
}

/// What was done, and what of it was refused.
#[derive(Default)]
struct Done {
    troubles: BTreeMap<Trouble, u64>,
    moves_refused: u64,
    upgrades_failed: u64,
}

struct Run {
    options: Options,
    engines: Engines,
    appliance: Appliance,
    seats: Vec<Seat>,
}

/// Runs: `command` starts the appliance, `say` is told what happens.
///
/// # Errors
/// The run could not be made. What players met is no error but part of the verdict.
pub fn run(options: Options, command: Command, say: impl Fn(&str)) -> Result<Verdict, Error> {
    if options.engines < 2 || options.players == 0 || options.channels == 0 {
        return Err(Error::TooFew);
    }
    let specs = (0..options.channels).map(|n| ChannelSpec::synthetic(n, options.rate)).collect();
    let engines = Engines::start(options.engines, specs)?;
    let appliance = Appliance::start(command, &engines.addrs())?;
    say(&format!("seed {}, appliance at {}", options.seed, appliance.addr()));
    let mut run = Run { options, engines, appliance, seats: Vec::new() };
    run.seat_players()?;
    let before = run.usage();
    let done = run.make_trouble(&say)?;
    say("all is well again");
    let stuck = run.recover()?;
    let after = run.usage();
    let driver = driver(run.appliance.addr());
    let players = run.dismiss();
    run.wait_closed();
    Ok(Verdict {
        seed: run.options.seed,
        duration: run.options.pace.duration,
        machine: Machine::here(),
        driver,
        troubles: done.troubles,
        moves_refused: done.moves_refused,
        upgrades_failed: done.upgrades_failed,
        players,
        stuck,
        engines: run.engines.books(),
        usage: before.zip(after),
        is_strict: run.options.is_strict,
    })
}

impl Run {
    fn player(&self, channel: u32, is_paced: bool) -> Player {
        let reference = self.engines.broadcast(channel);
        let options = check::Options { reference, ..check::Options::default() };
        let reading = if is_paced { Reading::Paced(self.options.rate) } else { Reading::Drain };
        let path = format!("/ace/getstream?id={}", nth(channel).0);
        Player::get(self.appliance.addr(), &path)
            .check(options)
            .reading(reading)
            .keep_last(0)
            .time_limit(self.options.pace.duration + PLAYER_MARGIN)
            .start()
    }

    fn seat_players(&mut self) -> Result<(), Error> {
        let paced = (self.options.players as f64 * self.options.paced_share).round() as usize;
        for number in 0..self.options.players {
            let channel = (number % self.options.channels as usize) as u32;
            let is_paced = number < paced;
            let player = self.player(channel, is_paced);
            let verdict = PlayerVerdict { player: number, channel, is_paced, ..PlayerVerdict::default() };
            self.seats.push(Seat { player, verdict });
        }
        for (number, seat) in self.seats.iter().enumerate() {
            if seat.player.wait_decodable(SOON).is_err() {
                let found = format!("{:?}", seat.player.snapshot().head);
                return Err(Error::NotPlaying {
                    player: number,
                    found,
                    log: self.appliance.log().join("\n"),
                });
            }
            seat.player.forget_gaps();
        }
        Ok(())
    }

    fn usage(&self) -> Option<Usage> {
        Server::listening_on(self.appliance.addr()).and_then(|server| server.usage()).ok()
    }

    /// Goes through the schedule.
    fn make_trouble(&mut self, say: &impl Fn(&str)) -> Result<Done, Error> {
        let mut done = Done::default();
        let began = Instant::now();
        for step in schedule(self.options.seed, self.options.channels, self.options.pace) {
            self.look_after_until(began + step.at)?;
            let Step { trouble, channel, lasts, .. } = step;
            *done.troubles.entry(trouble).or_default() += 1;
            let words = format!("{:7.1} s  {trouble}", began.elapsed().as_secs_f64());
            if trouble == Trouble::Upgrade {
                say(&words);
                done.upgrades_failed += u64::from(!self.upgrade(lasts)?);
                continue;
            }
            let at = self.engines.begin(trouble, channel)?;
            let place = at.map_or_else(|| "no engine".to_owned(), |at| format!("engine {at}"));
            say(&format!("{words} on channel {channel}, {place}, {:.1} s", lasts.as_secs_f64()));
            if trouble == Trouble::Move && !self.move_session(channel) {
                done.moves_refused += 1;
            }
            self.look_after_until(began + step.at + lasts)?;
            if let Some(at) = at {
                self.engines.heal(at)?;
            }
        }
        self.look_after_until(began + self.options.pace.duration)?;
        Ok(done)
    }

    /// Upgrades and looks after the players for as long as the step lasts, longer while it is under way; whether
    /// another process serves then and the one before is gone.
    fn upgrade(&mut self, lasts: Duration) -> Result<bool, Error> {
        let (before, began) = (self.appliance.serving(), Instant::now());
        self.appliance.ask_for_upgrade();
        self.look_after_until(began + lasts)?;
        loop {
            let now = self.appliance.serving();
            let is_done = now.len() == 1 && now != before;
            if is_done || began.elapsed() > SOON {
                return Ok(is_done);
            }
            self.look_after_until(Instant::now() + LOOK)?;
        }
    }

    /// Asks for another engine, as an operator does; whether the appliance took it.
    fn move_session(&self, channel: u32) -> bool {
        let path = format!("/proxy/sessions/{}/move", nth(channel).1);
        http::request(self.appliance.addr(), "POST", &path, &[], b"")
            .is_ok_and(|answer| (200..300).contains(&answer.status()))
    }

    /// Seats players that were cut again, until the instant.
    fn look_after_until(&mut self, until: Instant) -> Result<(), Error> {
        loop {
            if self.appliance.has_ended() {
                return Err(Error::Died(self.appliance.log().join("\n")));
            }
            for number in 0..self.seats.len() {
                let Some(end) = self.seats[number].player.end() else { continue };
                let verdict = &self.seats[number].verdict;
                let player = self.player(verdict.channel, verdict.is_paced);
                let seat = &mut self.seats[number];
                seat.verdict.add(&seat.player.snapshot());
                seat.verdict.disconnects += 1;
                seat.verdict.ends.push(format!("{end:?}"));
                seat.player = player;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(LOOK));
        }
    }

    /// Waits until every player has got a good second more; who has not.
    fn recover(&mut self) -> Result<Vec<usize>, Error> {
        let marks: Vec<u64> = self.seats.iter().map(|seat| seat.player.bytes()).collect();
        let deadline = Instant::now() + SOON;
        loop {
            self.look_after_until(Instant::now() + LOOK)?;
            let is_stuck = |number: &usize| {
                let seat = &self.seats[*number];
                // One that was seated again begins at zero.
                let mark = if seat.player.bytes() < marks[*number] { 0 } else { marks[*number] };
                seat.player.bytes() < mark + self.options.rate
            };
            let stuck: Vec<usize> = (0..self.seats.len()).filter(is_stuck).collect();
            if stuck.is_empty() || Instant::now() >= deadline {
                return Ok(stuck);
            }
        }
    }

    fn dismiss(&mut self) -> Vec<PlayerVerdict> {
        let judge = |seat: Seat| {
            let mut verdict = seat.verdict;
            verdict.add(&seat.player.stop());
            verdict
        };
        self.seats.drain(..).map(judge).collect()
    }

    /// Waits until the appliance has stopped what it opened.
    fn wait_closed(&self) {
        let deadline = Instant::now() + SOON;
        while !self.engines.are_closed() && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
    }
}
