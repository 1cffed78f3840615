//! Players that pass: they come at an even pace, stay for the same time each, leave, and come again. What is asked is whether
//! each of them got its stream, how soon, and what those who stay notice. No I/O here.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::client::{Client, State};
use crate::report::{Summary, Table, Times};

/// Who leaves when, and how those fared who left.
pub(super) struct Churn {
    stay: Duration,
    /// By time, since everybody stays for as long.
    leaving: VecDeque<(Instant, usize)>,
    served: usize,
    failed: BTreeMap<String, usize>,
    first_byte: Times,
    /// What those who left received since the measurement began.
    measured: u64,
}

/// How players that passed were served.
#[derive(Clone, Debug, Serialize)]
pub struct Passed {
    /// Those that left with a stream.
    pub served: usize,
    /// Those that left without one or lost it, by reason.
    pub failed: BTreeMap<String, usize>,
    /// From the connection attempt to the first byte of the body.
    pub first_byte: Option<Summary>,
}

impl Churn {
    pub(super) fn new(stay: Duration) -> Self {
        Self {
            stay,
            leaving: VecDeque::new(),
            served: 0,
            failed: BTreeMap::new(),
            first_byte: Times::default(),
            measured: 0,
        }
    }

    /// A player has begun to connect, or could not even do that.
    pub(super) fn came(&mut self, number: usize, at: Instant) {
        self.leaving.push_back((at + self.stay, number));
    }

    /// When somebody leaves next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.leaving.front().map(|(at, _)| *at)
    }

    /// Somebody whose stay is over.
    pub(super) fn leaves(&mut self, now: Instant) -> Option<usize> {
        self.next().is_some_and(|at| at <= now).then(|| self.leaving.pop_front())?.map(|(_, number)| number)
    }

    /// Notes how a player fared that leaves now.
    pub(super) fn left(&mut self, client: &Client) {
        match client.state {
            State::Flowing => self.served += 1,
            State::Gone(gone) => *self.failed.entry(gone.to_string()).or_default() += 1,
            _ => *self.failed.entry("no stream in its stay".to_owned()).or_default() += 1,
        }
        self.measured += client.measured;
        client.first_byte.iter().for_each(|time| self.first_byte.add(*time));
    }

    /// Starts counting anew; who is there stays.
    pub(super) fn begin_interval(&mut self) {
        self.served = 0;
        self.failed.clear();
        self.first_byte.clear();
        self.measured = 0;
    }

    /// Bytes of those who left.
    pub(super) fn measured(&self) -> u64 {
        self.measured
    }
}

impl Passed {
    /// How those of all threads were served.
    pub(super) fn of(churns: &[&Churn]) -> Self {
        let (mut served, mut failed, mut first_byte) = (0, BTreeMap::new(), Times::default());
        for churn in churns {
            served += churn.served;
            first_byte.add_all(&churn.first_byte);
            for (reason, count) in &churn.failed {
                *failed.entry(reason.clone()).or_default() += count;
            }
        }
        Self { served, failed, first_byte: first_byte.summary() }
    }

    pub(super) fn lines(&self, table: &mut Table) {
        table.line("passed", format_args!("{} served", self.served));
        for (reason, count) in &self.failed {
            table.line("passed, not served", format_args!("{count} × {reason}"));
        }
        table.maybe("passed, first byte", self.first_byte);
    }
}
