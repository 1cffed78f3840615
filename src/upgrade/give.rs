//! The old one's part.

use super::{CALM, Error, FREEZE, STEP};
use crate::handover::exchange::{FromNew, FromOld, await_new, greet, tell};
use crate::handover::wire::{Wire, WireError};
use crate::shard::{Order, Then, tell_connections, tell_end};
use crossbeam::channel::{Receiver, Sender, bounded};
use sluice_contract::link;
use sluice_contract::{Connection, ToControl};
use std::sync::Arc;
use std::time::Instant;

/// What is left of a control that has stopped.
pub struct Paused {
    /// Its link generation.
    pub epoch: u64,
    /// What shards have told it since.
    pub unheard: Vec<ToControl>,
}

impl Paused {
    /// The connections that shards have handed to it since.
    fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.unheard.iter().filter_map(|message| match message {
            ToControl::Connection(connection) => Some(connection),
            _ => None,
        })
    }
}

/// Gives everything away. When it comes back with success, this process must end without another step of its shards: they
/// stand still as long as the value it answers with exists.
///
/// `pause` stops control once everything has calmed down, and `paused` is where it says what is left of it.
///
/// # Errors
/// Why nothing was handed over; then the shards go on as if nothing had been, and control is to be started anew if `paused`
/// holds something.
pub fn give(
    wire: Wire,
    orders: &[link::Sender<Order>],
    paused: &mut Option<Paused>,
    pause: impl FnOnce() -> Result<Paused, String>,
) -> Result<Vec<Sender<Then>>, Error> {
    let outcome = attempt(&Arc::new(wire), orders, paused, pause);
    if outcome.is_err() {
        for shard in orders {
            let _ = shard.send(Order::GoOn);
        }
    }
    outcome
}

fn attempt(
    wire: &Arc<Wire>,
    orders: &[link::Sender<Order>],
    paused: &mut Option<Paused>,
    pause: impl FnOnce() -> Result<Paused, String>,
) -> Result<Vec<Sender<Then>>, Error> {
    let refuse = |error: Error| {
        // Whether it hears that or not, it gets nothing.
        let _ = tell(wire, &FromOld::Refused { reason: error.to_string() }, Instant::now() + STEP);
        error
    };
    let version = greet(wire, Instant::now() + STEP).map_err(|error| refuse(error.into()))?;
    tracing::info!(version, "a new process is here to take over");
    calm(orders).map_err(refuse)?;
    let begun = Instant::now();
    let left = pause().map_err(|error| refuse(Error::Control(error)))?;
    let epoch = left.epoch;
    let left = paused.insert(left);
    let shards = u16::try_from(orders.len()).unwrap_or(u16::MAX);
    tell(wire, &FromOld::Begin { shards, epoch }, Instant::now() + STEP)?;
    // Its control may wait for ours to let go of the directory.
    await_new(wire, &FromNew::Standing, Instant::now() + 2 * STEP)?;
    let frozen_at = Instant::now();
    let held = freeze(orders).map_err(refuse)?;
    for (shard, then) in held.iter().enumerate() {
        let reason = |reason: &str| Error::Shard { shard, reason: reason.to_owned() };
        let (told, outcome) = bounded(1);
        let order = Then::Tell { wire: wire.clone(), deadline: Instant::now() + FREEZE, told };
        then.send(order).map_err(|_| reason("is gone"))?;
        outcome.recv_deadline(Instant::now() + 2 * FREEZE).map_err(|_| reason("does not tell"))??;
    }
    let connections: Vec<&Connection> = left.connections().collect();
    tell_connections(wire, &connections, Instant::now() + STEP)?;
    tell_end(wire, Instant::now() + STEP)?;
    await_new(wire, &FromNew::Ready, Instant::now() + STEP)?;
    tell(wire, &FromOld::Commit, Instant::now() + STEP)?;
    if let Err(error) = await_new(wire, &FromNew::Taken, Instant::now() + STEP) {
        // It may be about to say so. From here on it cannot; what it has said is still heard.
        wire.shut().map_err(WireError::Io)?;
        match await_new(wire, &FromNew::Taken, Instant::now() + STEP) {
            Ok(()) => {}
            Err(_) => return Err(error.into()),
        }
    }
    let (since_frozen, in_all) = (frozen_at.elapsed(), begun.elapsed());
    tracing::info!(frozen_ms = since_frozen.as_millis(), took_ms = in_all.as_millis(), "handed over");
    Ok(held)
}

/// Has nothing new opened, and waits until everything under way has come to its end.
fn calm(orders: &[link::Sender<Order>]) -> Result<(), Error> {
    let deadline = Instant::now() + CALM;
    let mut answers: Vec<Receiver<Result<(), String>>> = Vec::new();
    for (shard, to) in orders.iter().enumerate() {
        let (answer, answered) = bounded(1);
        let sent = to.send(Order::Calm { deadline, answer });
        sent.map_err(|_| Error::Shard { shard, reason: "takes no orders".to_owned() })?;
        answers.push(answered);
    }
    collect(&answers, deadline + FREEZE)
}

/// Has all shards stand still, as long as the answer exists.
fn freeze(orders: &[link::Sender<Order>]) -> Result<Vec<Sender<Then>>, Error> {
    let (mut held, mut answers) = (Vec::new(), Vec::new());
    for (shard, to) in orders.iter().enumerate() {
        let ((frozen, answer), (hold, then)) = (bounded(1), bounded(1));
        let sent = to.send(Order::Freeze { frozen, then });
        sent.map_err(|_| Error::Shard { shard, reason: "takes no orders".to_owned() })?;
        held.push(hold);
        answers.push(answer);
    }
    collect(&answers, Instant::now() + FREEZE)?;
    Ok(held)
}

fn collect(answers: &[Receiver<Result<(), String>>], deadline: Instant) -> Result<(), Error> {
    for (shard, answer) in answers.iter().enumerate() {
        let answer = answer.recv_deadline(deadline).unwrap_or_else(|_| Err("does not answer".to_owned()));
        answer.map_err(|reason| Error::Shard { shard, reason })?;
    }
    Ok(())
}
