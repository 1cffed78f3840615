//! What the engine remembers so that tests can ask: counters, sessions, requests. All of it bounded.

use std::collections::{BTreeMap, HashSet, VecDeque};

use serde::Serialize;

use super::http::Request;
use crate::channel::Id;

/// Most sessions, and most requests, that are remembered; older ones are forgotten.
pub const REMEMBERED_MAX: usize = 10_000;
/// Most distinct header values, and most pids, that are told apart.
const DISTINCT_MAX: usize = 10_000;

/// Counters of one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChannelCounters {
    /// Start requests that opened a download or joined one with a new identity.
    pub opens: u64,
    /// Start requests that repeated a known identity.
    pub reopens: u64,
    /// Stop commands that ended a download.
    pub stops: u64,
    /// Downloads that ended for want of activity.
    pub expiries: u64,
    /// Downloads that ended because the same anonymous client opened another channel.
    pub replaced: u64,
    /// Requests for a playback URL, redirect hops not counted twice.
    pub playback_requests: u64,
    /// Media bodies that were begun.
    pub bodies: u64,
    /// Playback requests being served, waiting ones included.
    pub readers: u64,
    /// Most playback requests served at the same time.
    pub readers_max: u64,
    /// Playback requests that met a reader of the same session.
    pub collisions: u64,
    /// Readers that lost their body to another identity.
    pub takeovers: u64,
    /// HLS playlists given.
    pub playlists: u64,
    /// HLS segments given.
    pub segments: u64,
    /// HLS segments asked for that could not be had.
    pub segments_missed: u64,
    /// Media bytes sent, as the broadcast counts them.
    pub bytes: u64,
    /// HEAD requests that named the channel.
    pub heads: u64,
    /// Requests for stat.
    pub stats: u64,
    /// Requests for `get_media_files`.
    pub media_files: u64,
}

/// Counters of the whole engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EngineCounters {
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Most connections open at the same time.
    pub connections_open_max: u64,
    /// Requests read.
    pub requests: u64,
    /// Requests that could not be read.
    pub malformed: u64,
    /// HEAD requests of any kind.
    pub heads: u64,
    /// Start requests not answered yet.
    pub opens_in_flight: u64,
    /// Most start requests being answered at the same time.
    pub opens_in_flight_max: u64,
    /// Most downloads in prebuffer at the same time.
    pub prebuffering_max: u64,
    /// Downloads open now.
    pub downloads: u64,
    /// Stop commands for sessions that do not exist (any more).
    pub stops_unknown: u64,
    /// Start requests without any pid.
    pub opens_without_pid: u64,
    /// Distinct pids seen in start requests.
    pub pids: u64,
    /// Start requests with a pid that an earlier start request had used.
    pub pids_reused: u64,
    /// How often each `Accept-Encoding` was seen; absent counts as `-`.
    pub accept_encodings: BTreeMap<String, u64>,
    /// How often each `User-Agent` was seen; absent counts as `-`.
    pub user_agents: BTreeMap<String, u64>,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Somebody sent the stop command for the download.
    Stopped,
    /// Nobody used it.
    Expired,
    /// The same anonymous client opened another channel.
    Replaced,
    /// A fault made it vanish.
    Vanished,
    /// The start failed.
    Failed,
}

/// One session: an identity that opened a channel.
#[derive(Clone, Debug, Serialize)]
pub struct SessionRecord {
    /// Counts up.
    pub number: u64,
    /// The channel.
    pub infohash: Id,
    /// The client's pid, when it sent one.
    pub pid: Option<String>,
    /// The last element of its URLs.
    pub key: String,
    /// The `playback_session_id` it was given last.
    pub playback_session_id: String,
    /// Milliseconds since the engine started.
    pub opened_ms: u64,
    /// Milliseconds since the engine started, once it is over.
    pub ended_ms: Option<u64>,
    /// Why it is over.
    pub end: Option<End>,
    /// How often its identity opened it.
    pub opens: u64,
    /// Stop commands it received, the one that ended it included.
    pub stops: u64,
    /// Requests for its playback URL.
    pub playback_requests: u64,
    /// Its playback requests being served now.
    pub readers: u64,
    /// Most of its playback requests served at the same time.
    pub readers_max: u64,
    /// Media bytes it received.
    pub bytes: u64,
    /// Requests for its stat.
    pub stats: u64,
}

/// One request.
#[derive(Clone, Debug, Serialize)]
pub struct RequestRecord {
    /// Counts up from 1.
    pub number: u64,
    /// Milliseconds since the engine started.
    pub at_ms: u64,
    /// The client's address.
    pub peer: String,
    /// The method.
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// All headers in order.
    pub headers: Vec<(String, String)>,
}

/// All that is remembered, apart from channel counters, which live with their channels.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) engine: EngineCounters,
    pub(super) sessions: VecDeque<SessionRecord>,
    pub(super) requests: VecDeque<RequestRecord>,
    sessions_begun: u64,
    pids: HashSet<String>,
}

impl Ledger {
    pub(super) fn note_request(&mut self, request: &Request, peer: String, at_ms: u64) {
        self.engine.requests += 1;
        self.engine.heads += u64::from(request.is_head());
        count(&mut self.engine.accept_encodings, request.header("accept-encoding"));
        count(&mut self.engine.user_agents, request.header("user-agent"));
        push_bounded(
            &mut self.requests,
            RequestRecord {
                number: self.engine.requests,
                at_ms,
                peer,
                method: request.method.clone(),
                target: request.target.clone(),
                headers: request.headers.clone(),
            },
        );
    }

    pub(super) fn note_pid(&mut self, pid: Option<&str>) {
        let Some(pid) = pid else {
            self.engine.opens_without_pid += 1;
            return;
        };
        if self.pids.contains(pid) {
            self.engine.pids_reused += 1;
        } else if self.pids.len() < DISTINCT_MAX {
            self.engine.pids += 1;
            self.pids.insert(pid.to_owned());
        }
    }

    /// Remembers a new session and gives its number.
    pub(super) fn begin_session(
        &mut self,
        infohash: Id,
        pid: Option<String>,
        key: String,
        at_ms: u64,
    ) -> u64 {
        self.sessions_begun += 1;
        let number = self.sessions_begun;
        push_bounded(
            &mut self.sessions,
            SessionRecord {
                number,
                infohash,
                pid,
                key,
                playback_session_id: String::new(),
                opened_ms: at_ms,
                ended_ms: None,
                end: None,
                opens: 0,
                stops: 0,
                playback_requests: 0,
                readers: 0,
                readers_max: 0,
                bytes: 0,
                stats: 0,
            },
        );
        number
    }

    /// The record of a session, unless it was forgotten.
    pub(super) fn session(&mut self, number: u64) -> Option<&mut SessionRecord> {
        let first = self.sessions.front()?.number;
        self.sessions.get_mut(number.checked_sub(first)? as usize)
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == REMEMBERED_MAX {
        queue.pop_front();
    }
    queue.push_back(item);
}

fn count(counts: &mut BTreeMap<String, u64>, value: Option<&str>) {
    let value = value.unwrap_or("-");
    if let Some(count) = counts.get_mut(value) {
        *count += 1;
    } else if counts.len() < DISTINCT_MAX {
        counts.insert(value.to_owned(), 1);
    }
}
