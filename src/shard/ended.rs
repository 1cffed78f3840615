//! Clients and sessions that ended, remembered for a while: whoever asks why a player was cut or a stream ended finds it.

use crate::session::{Session, Title};
use sluice_contract::snapshot::{Client, EndedClient, EndedSession};
use sluice_contract::{EndReason, StreamKey};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Ended clients remembered per shard.
const ENDED_MAX: usize = 256;
/// Ended sessions remembered per shard.
const ENDED_SESSIONS_MAX: usize = 512;
/// How long each is remembered.
const ENDED_FOR: Duration = Duration::from_secs(300);

/// The clients that ended last, oldest first.
#[derive(Default)]
pub(super) struct Ended(VecDeque<(Instant, Arc<EndedClient>)>);

impl Ended {
    /// Remembers a client that ends now.
    pub(super) fn remember(&mut self, title: Title, client: Client, reason: EndReason, now: Instant) {
        let Title { key, asked_as, infohash } = title;
        let record = EndedClient { key, asked_as, infohash, client, reason, at: SystemTime::now() };
        if self.0.len() == ENDED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, Arc::new(record)));
    }

    /// Those that ended a short while ago, oldest first.
    pub(super) fn recent(&mut self, now: Instant) -> Vec<Arc<EndedClient>> {
        while self.0.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= ENDED_FOR) {
            self.0.pop_front();
        }
        self.0.iter().map(|(_, record)| record.clone()).collect()
    }
}

/// The sessions that ended last, oldest first.
#[derive(Default)]
pub(super) struct EndedSessions {
    records: VecDeque<(Instant, Arc<EndedSession>)>,
    count: u64,
}

impl EndedSessions {
    /// Remembers a session that ends now.
    pub(super) fn remember(&mut self, session: &Session, reason: EndReason, now: Instant) {
        let info = session.info();
        self.count += 1;
        let record = EndedSession {
            number: self.count,
            key: session.key().clone(),
            asked_as: info.asked_as,
            infohash: info.infohash,
            engine: info.engine.clone(),
            created_at: info.created_at,
            started_at: info.started_at,
            stat: info.stat.clone(),
            stat_at: info.stat_at,
            reason,
            at: SystemTime::now(),
        };
        if self.records.len() == ENDED_SESSIONS_MAX {
            self.records.pop_front();
        }
        self.records.push_back((now, Arc::new(record)));
    }

    /// Why the last session of a key ended, if that is remembered.
    pub(super) fn reason_of(&self, key: &StreamKey) -> Option<EndReason> {
        self.records.iter().rev().find(|(_, record)| record.key == *key).map(|(_, record)| record.reason)
    }

    /// Those that ended a short while ago, oldest first.
    pub(super) fn recent(&mut self, now: Instant) -> Vec<Arc<EndedSession>> {
        while self.records.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= ENDED_FOR) {
            self.records.pop_front();
        }
        self.records.iter().map(|(_, record)| record.clone()).collect()
    }
}
