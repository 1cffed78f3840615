//! At most two API calls at a time to one engine: engines serialise them and starve the streams they serve.

use crate::engines::health::State;
use crate::engines::plan::Kind;
use crate::engines::{EngineStanding, Standing};
use sluice_contract::EngineId;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Calls in flight per engine.
const CALLS_MAX: usize = 2;

/// An engine whose call failed is asked after the others for this long: it may be well otherwise, and asking it first
/// each time would cost every look-up most of its time.
const FAILED_MEMORY: Duration = Duration::from_secs(30);

/// The places of all engines.
#[derive(Default)]
pub(crate) struct Calls {
    engines: Mutex<HashMap<EngineId, Use>>,
    freed: Notify,
}

/// What is known of one engine here.
#[derive(Clone, Copy, Default)]
struct Use {
    in_flight: usize,
    failed_at: Option<Instant>,
}

impl Use {
    fn failed_lately(&self) -> bool {
        self.failed_at.is_some_and(|at| at.elapsed() < FAILED_MEMORY)
    }
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
}

impl Calls {
    fn uses(&self) -> MutexGuard<'_, HashMap<EngineId, Use>> {
        // A panic cannot leave the map half changed.
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a place on the best engine that was not tried, waiting while all of those are busy or not yet checked.
    /// `None` when there is no such engine. Before the fleet has made its first one, that one is waited for: the play has
    /// to wait for it anyway.
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
            let is_first_coming = standing.engines.is_empty() && standing.is_hopeful;
            if !is_first_coming && !untried().any(|engine| engine.state != State::Down) {
                return None;
            }
            tokio::select! {
                () = freed => {}
                changed = engines.changed() => if changed.is_err() { return None },
            }
        }
    }

    /// Remembers that this engine could not answer.
    pub(crate) fn failed(&self, engine: &EngineId) {
        self.uses().entry(engine.clone()).or_default().failed_at = Some(Instant::now());
    }

    fn try_claim<'a>(self: &Arc<Self>, untried: impl Iterator<Item = &'a EngineStanding>) -> Option<Claim> {
        let mut uses = self.uses();
        let usable: Vec<(&EngineStanding, SocketAddr)> = untried
            .filter(|engine| matches!(engine.state, State::Healthy | State::Suspect))
            .filter_map(|engine| Some((engine, engine.address?)))
            .collect();
        let use_of = |engine: &EngineStanding| uses.get(&engine.id).copied().unwrap_or_default();
        let free = usable.iter().copied().filter(|(engine, _)| use_of(engine).in_flight < CALLS_MAX);
        let (engine, address) = free.min_by_key(|(engine, _)| {
            let of = use_of(engine);
            (
                of.failed_lately(),
                engine.kind == Kind::Fallback,
                engine.state != State::Healthy,
                of.in_flight,
                engine.leases,
            )
        })?;
        uses.entry(engine.id.clone()).or_default().in_flight += 1;
        Some(Claim {
            calls: self.clone(),
            engine: engine.id.clone(),
            address,
            authority: engine.authority.clone(),
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut uses = self.calls.uses();
        if let Some(of) = uses.get_mut(&self.engine) {
            of.in_flight -= 1;
            if of.in_flight == 0 && !of.failed_lately() {
                uses.remove(&self.engine);
            }
        }
        drop(uses);
        self.calls.freed.notify_waiters();
    }
}
