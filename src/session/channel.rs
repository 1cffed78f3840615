//! What of a session is only there because it may be a channel, with several ids: which one plays, what is shown of the
//! change from one to the next and of a race, and who else is sent to it. What is decided is the machine's; see its `race`.

use super::Session;
use super::machine::{Event, SourceId};
use super::source::Order;
use crate::engine::Form;
use serde::{Deserialize, Serialize};
use sluice_contract::snapshot::{Fallback, Race};
use sluice_contract::{Hex40, Refusal, Selector, StreamKey, StreamName};
use std::rc::Rc;
use std::time::SystemTime;

/// One of the ids a session can be had under.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) selector: Selector,
    /// Once known.
    pub(super) infohash: Option<Hex40>,
}

impl Session {
    /// What control knows an id of this session by: the session's own key, unless it is a channel.
    pub(super) fn stream_of(&self, entry: u8) -> StreamKey {
        let Entry { selector, infohash } = self.entry(entry);
        if self.key.channel().is_none() {
            return self.key.clone();
        }
        let name = infohash.map_or(StreamName::Unresolved(selector), StreamName::Infohash);
        StreamKey { name, options: self.key.options.clone() }
    }

    /// One of the ids, by its place.
    pub(super) fn entry(&self, entry: u8) -> Entry {
        self.entries.borrow()[usize::from(entry)]
    }

    /// The second one of a race that is not decided.
    pub(super) fn is_rival(&self, source: SourceId) -> bool {
        let machine = self.machine.borrow();
        machine.contends(source) && machine.current() != Some(source)
    }

    /// The session goes on with another of the channel's ids.
    pub(super) fn go_on_with(&self, from: u8, to: u8, why: Option<Refusal>) {
        let (left, next) = (self.entry(from), self.entry(to));
        let current = self.machine.borrow().current();
        let engine = current.and_then(|source| self.opened.borrow().get(&source).cloned());
        {
            let mut info = self.info.borrow_mut();
            (info.asked_as, info.infohash) = (next.selector, next.infohash);
            // What was shown belongs to the broadcast that is left.
            (info.engine, info.stat, info.stat_at) = (engine, None, None);
            if let Some(channel) = &mut info.channel {
                channel.present = usize::from(to);
                if let Some(refusal) = &why {
                    channel.fallbacks += 1;
                    channel.last = Some(Fallback {
                        from: left.selector,
                        to: next.selector,
                        code: refusal.code,
                        detail: refusal.detail.as_ref().into(),
                        at: SystemTime::now(),
                    });
                }
            }
        }
        if let Some(refusal) = why {
            self.host.counters().channel_fallbacks.add(1);
            tracing::info!(
                stream = %self.key, from = %left.selector.value(), to = %next.selector.value(), %refusal,
                "the channel goes on with its next id"
            );
        }
        self.form.set(Form::Progressive);
        self.feed.borrow_mut().broadcast_changed();
        self.host.leads(self, None);
        self.host.changed();
    }

    /// Shows and counts how the race of the first two ids goes.
    pub(super) fn race_goes(&self, race: Race) {
        let counters = self.host.counters();
        match race {
            Race::Running => counters.channel_races.add(1),
            Race::Alone => {
                counters.channel_races_alone.add(1);
                tracing::info!(stream = %self.key, "no race: there is no second engine for it");
            }
            Race::First | Race::Second | Race::Forfeited => {
                tracing::info!(stream = %self.key, outcome = ?race, "the race is over");
            }
        }
        let current = self.machine.borrow().current();
        let engine = current.and_then(|source| self.opened.borrow().get(&source).cloned());
        let infohash = self.entry(self.machine.borrow().entry()).infohash;
        let mut info = self.info.borrow_mut();
        if let Some(channel) = &mut info.channel {
            channel.race = Some(race);
        }
        // Nothing is shown of either before it is decided which of them plays.
        if race != Race::Running && info.engine.is_none() {
            (info.engine, info.infohash) = (engine, infohash);
        }
    }

    /// Whoever asks for what a channel plays is sent to it.
    pub(super) fn lead(&self) {
        let infohash = self.entry(self.machine.borrow().entry()).infohash;
        if self.key.channel().is_some() && infohash.is_some() {
            self.host.leads(self, infohash);
        }
    }

    /// An engine named the infohash behind an id of the channel.
    pub(super) fn id_opened(self: &Rc<Self>, order: &Order, infohash: Hex40) {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.iter_mut().find(|entry| entry.selector == order.selector);
        if let Some(entry) = entry {
            entry.infohash = Some(infohash);
        }
        drop(entries);
        if self.host.id_opened(self, order.selector, infohash, &order.lease.engine) {
            // Never twice on one engine: the other session was there first.
            self.handle(Event::Withdrawn(order.lease.id));
        } else if !self.machine.borrow().contends(order.id) {
            self.lead();
        }
    }
}
