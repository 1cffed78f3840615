//! Streams that other proxies play on engines known here, as those proxies report them: nobody's lease, and use all the
//! same. Pure.

use sluice_contract::{EngineId, Hex40};
use std::collections::HashMap;

/// What plays on each engine: the broadcast, or at least a number that names it, where the reporter told one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reported(HashMap<EngineId, Vec<Option<Hex40>>>);

impl Reported {
    /// Another stream plays on this engine.
    pub(crate) fn add(&mut self, engine: EngineId, broadcast: Option<Hex40>) {
        self.0.entry(engine).or_default().push(broadcast);
    }

    /// What plays on an engine.
    pub(super) fn on(&self, engine: &EngineId) -> &[Option<Hex40>] {
        self.0.get(engine).map_or(&[], Vec::as_slice)
    }

    /// `number` turned out to name `infohash`.
    pub(super) fn learned(&mut self, number: Hex40, infohash: Hex40) {
        let named = self.0.values_mut().flatten().flatten();
        named.filter(|broadcast| **broadcast == number).for_each(|broadcast| *broadcast = infohash);
    }
}
