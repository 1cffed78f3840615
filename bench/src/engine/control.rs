//! The handle that sets faults and reads what the engine remembers.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Error;
use super::faults::{Cut, EngineFaults, Faults};
use super::ledger::{ChannelCounters, End, EngineCounters, RequestRecord, SessionRecord};
use super::world::World;
use crate::channel::{Channel, Id};

/// A cheap handle on an engine. Methods take effect before they return.
#[derive(Clone)]
pub struct Control {
    world: Arc<World>,
}

impl Control {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self { world }
    }

    fn channel(&self, id: Id) -> Result<usize, Error> {
        self.world.channel_by_either(id).ok_or(Error::UnknownChannel(id))
    }

    /// The switches of the channel with this content id or infohash.
    ///
    /// # Errors
    /// No channel has the id.
    pub fn faults(&self, id: Id) -> Result<Faults, Error> {
        Ok((*self.world.faults(self.channel(id)?)).clone())
    }

    /// Replaces all switches of a channel.
    ///
    /// # Errors
    /// No channel has the id.
    pub fn set_faults(&self, id: Id, faults: Faults) -> Result<(), Error> {
        self.update_faults(id, |current| *current = faults)
    }

    /// Changes some switches of a channel.
    ///
    /// # Errors
    /// No channel has the id.
    pub fn update_faults(&self, id: Id, change: impl FnOnce(&mut Faults)) -> Result<(), Error> {
        let channel = self.channel(id)?;
        change(Arc::make_mut(&mut self.world.lock().channels[channel].faults));
        self.world.beat();
        Ok(())
    }

    /// The switches of the whole engine.
    pub fn engine_faults(&self) -> EngineFaults {
        self.world.engine_faults.borrow().clone()
    }

    /// Changes switches of the whole engine.
    pub fn update_engine_faults(&self, change: impl FnOnce(&mut EngineFaults)) {
        self.world.engine_faults.send_modify(change);
        self.world.beat();
    }

    /// Ends the running body of a channel, without ending the session. `false` when nobody reads.
    ///
    /// # Errors
    /// No channel has the id.
    pub fn cut(&self, id: Id, cut: Cut) -> Result<bool, Error> {
        let channel = self.channel(id)?;
        let mut state = self.world.lock();
        let reader = state.downloads.get_mut(&channel).and_then(|download| download.reader.as_ref());
        Ok(reader.map(|reader| reader.cut.send_replace(Some(cut))).is_some())
    }

    /// Makes the channel's download, and all sessions on it, vanish. `false` when there was none.
    ///
    /// # Errors
    /// No channel has the id.
    pub fn vanish(&self, id: Id) -> Result<bool, Error> {
        Ok(self.world.end(self.channel(id)?, End::Vanished))
    }

    /// Queues an event such as `{"name":"download_stopped","params":{"reason":"missing_option"}}` for the
    /// event URL. `false` when no download runs, or the event is one that no session asked for.
    ///
    /// # Errors
    /// No channel has the id.
    pub fn push_event(&self, id: Id, event: Value) -> Result<bool, Error> {
        Ok(self.world.push_event(self.channel(id)?, event))
    }

    /// Resets every open connection of the API port.
    pub fn reset_connections(&self) {
        self.world.reset.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The counters of one channel.
    ///
    /// # Errors
    /// No channel has the id.
    pub fn counters(&self, id: Id) -> Result<ChannelCounters, Error> {
        let channel = self.channel(id)?;
        Ok(self.world.lock().channels[channel].counters.clone())
    }

    /// The counters of the whole engine.
    pub fn engine_counters(&self) -> EngineCounters {
        self.world.lock().ledger.engine.clone()
    }

    /// The sessions, past ones included, oldest first; at most [`super::REMEMBERED_MAX`].
    pub fn sessions(&self) -> Vec<SessionRecord> {
        self.world.lock().ledger.sessions.iter().cloned().collect()
    }

    /// The requests whose number is above `after`, oldest first; at most [`super::REMEMBERED_MAX`].
    pub fn requests(&self, after: u64) -> Vec<RequestRecord> {
        let state = self.world.lock();
        state.ledger.requests.iter().filter(|request| request.number > after).cloned().collect()
    }

    /// Sets all counters to zero, apart from what is open right now, and forgets the request log.
    pub fn reset_counters(&self) {
        self.world.lock().reset_counters();
    }

    /// The broadcast itself, to compare received packets with.
    ///
    /// # Errors
    /// No channel has the id.
    pub fn broadcast(&self, id: Id) -> Result<Arc<dyn Channel>, Error> {
        Ok(self.world.stations[self.channel(id)?].channel.clone())
    }

    /// How many bytes a channel has broadcast since the epoch, right now.
    ///
    /// # Errors
    /// No channel has the id.
    pub fn live_position(&self, id: Id) -> Result<u64, Error> {
        let channel = self.channel(id)?;
        Ok(self.world.stations[channel].channel.timing().position(self.world.clock.now()))
    }

    /// Everything but the request log, as the side channel shows it.
    pub fn overview(&self) -> Value {
        let state = self.world.lock();
        let channels: Vec<Value> = self
            .world
            .stations
            .iter()
            .zip(&state.channels)
            .map(|(station, channel)| {
                json!({
                    "name": station.spec.name,
                    "content_id": station.spec.content_id,
                    "infohash": station.spec.infohash,
                    "rate": station.channel.rate(),
                    "profile": station.spec.profile,
                    "faults": *channel.faults,
                    "counters": channel.counters,
                })
            })
            .collect();
        json!({
            "engine": state.ledger.engine,
            "engine_faults": *self.world.engine_faults.borrow(),
            "channels": channels,
        })
    }
}
