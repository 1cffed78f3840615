//! The new one's part.

use super::{CALM, Error, STEP};
use crate::handover::exchange::{
    ExchangeError, FromNew, FromOld, STATE_VERSION, await_old, out_of_turn, tell,
};
use crate::handover::wire::Wire;
use crate::shard::{Gate, Taken};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::time::{Duration, Instant};

/// A takeover under way. Dropped before its end, it leaves everything with the old one.
pub struct Takeover {
    wire: Wire,
    /// The newest link generation of the old one's control.
    pub epoch: u64,
}

/// Everything that was told: what to start the shards with, and what to do once they stand.
pub struct Took {
    wire: Wire,
    stands: Vec<Receiver<Result<(), String>>>,
    go: Vec<Sender<()>>,
    /// Sessions and players.
    pub counts: (usize, usize),
}

impl Takeover {
    /// Begins: says hello, and waits until the old one's control has stopped.
    ///
    /// # Errors
    /// Why the old one does not give.
    pub fn begin(wire: Wire, shards: u16) -> Result<Self, Error> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let deadline = Instant::now() + CALM + 2 * STEP;
        tell(&wire, &FromNew::Hello { version, state: STATE_VERSION }, deadline)?;
        match await_old(&wire, deadline)? {
            FromOld::Begin { shards: theirs, epoch } if theirs == shards => Ok(Self { wire, epoch }),
            FromOld::Begin { shards: theirs, .. } => {
                let reason = format!("{theirs} shards were announced, there are sockets for {shards}");
                Err(ExchangeError::Refused(reason).into())
            }
            other => Err(out_of_turn(&other).into()),
        }
    }

    /// Says why it cannot go on.
    pub fn refuse(&self, reason: &str) {
        // Not heard, it is understood by our end.
        let _ = tell(&self.wire, &FromNew::Refused { reason: reason.to_owned() }, Instant::now() + STEP);
    }

    /// Says that control runs, and receives what the shards hold.
    ///
    /// # Errors
    /// Why nothing was handed over.
    pub fn receive(self, shards: u16) -> Result<(Took, Vec<(Taken, Gate)>), Error> {
        tell(&self.wire, &FromNew::Standing, Instant::now() + STEP)?;
        let deadline = Instant::now() + STEP + Duration::from_secs(20);
        let mut taken =
            (0..shards).map(|_| Taken::receive(&self.wire, deadline)).collect::<Result<Vec<_>, _>>()?;
        let of_control = Taken::receive(&self.wire, deadline)?;
        if let Some(first) = taken.first_mut() {
            first.add_lines_of(of_control);
        }
        let counts = taken.iter().map(Taken::counts).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        let (mut stands, mut go, mut gates) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..shards {
            let ((stand, stood), (open, opened)) = (bounded(1), bounded(1));
            stands.push(stood);
            go.push(open);
            gates.push(Gate { stands: stand, go: opened });
        }
        let took = Took { wire: self.wire, stands, go, counts };
        Ok((took, taken.into_iter().zip(gates).collect()))
    }
}

impl Took {
    /// Waits until all shards stand with what they took over, says so, and lets them go on once it is theirs.
    ///
    /// # Errors
    /// Why nothing was handed over.
    pub fn finish(self) -> Result<(), Error> {
        let deadline = Instant::now() + STEP / 2;
        for (shard, stood) in self.stands.iter().enumerate() {
            let stood = stood.recv_deadline(deadline).unwrap_or_else(|_| Err("does not come up".to_owned()));
            if let Err(reason) = stood {
                let _ = tell(&self.wire, &FromNew::Refused { reason: reason.clone() }, deadline + STEP);
                return Err(Error::Shard { shard, reason });
            }
        }
        tell(&self.wire, &FromNew::Ready, Instant::now() + STEP)?;
        match await_old(&self.wire, Instant::now() + STEP)? {
            FromOld::Commit => {}
            other => return Err(out_of_turn(&other).into()),
        }
        tell(&self.wire, &FromNew::Taken, Instant::now() + STEP)?;
        for shard in &self.go {
            // A shard that has ended since is noticed by whoever watches it.
            let _ = shard.send(());
        }
        Ok(())
    }
}
