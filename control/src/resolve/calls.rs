//! At most two API calls at a time to one engine: engines serialise them and starve the streams they serve.

use crate::engines::health::State;
use crate::engines::{EngineStanding, Standing};
use sluice_contract::EngineId;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// Calls in flight per engine.
const CALLS_MAX: usize = 2;

/// The places of all engines.
#[derive(Default)]
pub(crate) struct Calls {
    in_flight: Mutex<HashMap<EngineId, usize>>,
    freed: Notify,
}

/// One place; freed on drop.
pub(crate) struct Claim {
    calls: Arc<Calls>,
    /// On which engine.
    pub(crate) engine: EngineId,
    /// Where its API answers.
    pub(crate) address: SocketAddr,
    /// Its `Host` header.
    pub(crate) authority: Arc<str>,
    /// Whether another engine could be asked after this one.
    pub(crate) has_others: bool,
}

impl Calls {
    fn counts(&self) -> MutexGuard<'_, HashMap<EngineId, usize>> {
        // A panic cannot leave the map half changed.
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a place on the best engine that was not tried, waiting while all of those are busy or not yet checked.
    /// `None` when there is no such engine.
    ///
    /// Cancel safe.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        engines: &mut watch::Receiver<Arc<Standing>>,
        tried: &[EngineId],
    ) -> Option<Claim> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Registered before the look, so that a place freed in between is not missed.
            freed.as_mut().enable();
            let standing = engines.borrow_and_update().clone();
            let untried = || standing.engines.iter().filter(|engine| !tried.contains(&engine.id));
            if let Some(claim) = self.try_claim(untried()) {
                return Some(claim);
            }
            // Before the engines service has run for the first time, nothing is known of any engine.
            if !untried().any(|engine| engine.state != State::Down) {
                return None;
            }
            tokio::select! {
                () = freed => {}
                changed = engines.changed() => if changed.is_err() { return None },
            }
        }
    }

    fn try_claim<'a>(self: &Arc<Self>, untried: impl Iterator<Item = &'a EngineStanding>) -> Option<Claim> {
        let mut counts = self.counts();
        let usable: Vec<(&EngineStanding, SocketAddr)> = untried
            .filter(|engine| matches!(engine.state, State::Healthy | State::Suspect))
            .filter_map(|engine| Some((engine, engine.address?)))
            .collect();
        let in_flight = |engine: &EngineStanding| counts.get(&engine.id).copied().unwrap_or_default();
        let (engine, address) =
            usable.iter().copied().filter(|(engine, _)| in_flight(engine) < CALLS_MAX).min_by_key(
                |(engine, _)| {
                    (engine.is_fallback, engine.state != State::Healthy, in_flight(engine), engine.leases)
                },
            )?;
        *counts.entry(engine.id.clone()).or_default() += 1;
        Some(Claim {
            calls: self.clone(),
            engine: engine.id.clone(),
            address,
            authority: engine.authority.clone(),
            has_others: usable.len() > 1,
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut counts = self.calls.counts();
        if let Some(count) = counts.get_mut(&self.engine) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.engine);
            }
        }
        drop(counts);
        self.calls.freed.notify_waiters();
    }
}
