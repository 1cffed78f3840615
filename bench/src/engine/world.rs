//! The engine's state: channels, downloads and the identities that opened them.
//!
//! One lock around everything, held only for look-ups and never across a wait. A download is what the swarm
//! sees, one per infohash; any number of identities (session keys) may name it, and at most one of them has
//! the reader. Whoever waits for a change subscribes to `pulse`, which ticks on every change of faults or sessions.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use serde_json::Value;
use tokio::sync::watch;

use super::clock::Clock;
use super::faults::{Cut, EngineFaults, Faults};
use super::hls::{Cuts, Output};
use super::ledger::{ChannelCounters, End, Ledger};
use super::options::{ChannelSpec, Options};
use super::pacer::Pacer;
use super::{Error, ledger};
use crate::channel::{Channel, Id};

/// Most events that wait for a poll.
const EVENTS_MAX: usize = 64;

/// Everything the tasks of one engine share.
pub(super) struct World {
    pub(super) options: Options,
    pub(super) clock: Clock,
    pub(super) started: Instant,
    pub(super) stations: Vec<Station>,
    by_content_id: HashMap<Id, usize>,
    by_infohash: HashMap<Id, usize>,
    state: Mutex<State>,
    pub(super) cuts: Cuts,
    pub(super) pulse: watch::Sender<u64>,
    pub(super) engine_faults: watch::Sender<EngineFaults>,
    /// Ticks when every open connection is to be reset.
    pub(super) reset: watch::Sender<u64>,
}

/// One channel's unchanging part.
pub(super) struct Station {
    pub(super) spec: ChannelSpec,
    pub(super) channel: Arc<dyn Channel>,
}

/// The changing part.
pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) channels: Vec<ChannelState>,
    pub(super) downloads: HashMap<usize, Download>,
    /// Channels whose transport file the engine has seen through their infohash: `id=<infohash>` works for them.
    pub(super) cached: HashSet<usize>,
    numbers: u64,
    /// Makes its ids unlike those of any other engine, with the same seed or after a restart.
    birth: u64,
}

/// A channel's switches and counters.
#[derive(Default)]
pub(super) struct ChannelState {
    pub(super) faults: Arc<Faults>,
    pub(super) counters: ChannelCounters,
}

/// One running download.
pub(super) struct Download {
    pub(super) playback_session_id: String,
    pub(super) opened: Duration,
    pub(super) opened_position: u64,
    pub(super) sessions: Vec<Session>,
    pub(super) reader: Option<ActiveReader>,
    pub(super) active: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) events: VecDeque<Value>,
    pub(super) token: String,
    /// Where a `liveseek` sends the reader; taken by the reader.
    pub(super) seek: Option<u64>,
    pub(super) is_live: bool,
    /// Where the reader is.
    pub(super) position: u64,
    /// The playlist, once somebody has opened the download for HLS.
    pub(super) output: Option<Output>,
    /// Since when the reader gets nothing.
    pub(super) starving_since: Option<Duration>,
}

/// An identity that opened the download.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) key: String,
    pub(super) client_session_id: i64,
    pub(super) record: u64,
    pub(super) wants_stop_events: bool,
}

/// The one reader of a download.
pub(super) struct ActiveReader {
    pub(super) number: u64,
    pub(super) key: String,
    pub(super) cut: watch::Sender<Option<Cut>>,
}

/// What a start request opened.
pub(super) struct Opened {
    pub(super) key: String,
    pub(super) playback_session_id: String,
}

/// Who asks.
pub(super) struct Identity {
    pub(super) pid: Option<String>,
    pub(super) address: IpAddr,
    pub(super) client_session_id: i64,
    pub(super) wants_stop_events: bool,
    /// It wants a playlist.
    pub(super) wants_hls: bool,
}

impl Identity {
    /// The path element that names the identity: MD5 of the address without pid, as real engines do.
    fn key(&self, seed: u64) -> String {
        match &self.pid {
            None => hex(&Md5::digest(self.address.to_string())),
            Some(pid) => hex(&Md5::digest(format!("{seed} {pid}"))),
        }
    }
}

impl World {
    /// Builds all channels.
    pub(super) fn new(options: Options) -> Result<Self, Error> {
        let clock = Clock::new(options.epoch, options.time_scale_permille);
        let mut stations = Vec::new();
        let mut by_content_id = HashMap::new();
        let mut by_infohash = HashMap::new();
        let mut channels = Vec::new();
        for (index, spec) in options.channels.iter().enumerate() {
            let channel =
                spec.source.build().map_err(|cause| Error::Channel { name: spec.name.clone(), cause })?;
            let twice = by_content_id.insert(spec.content_id, index).is_some()
                || by_infohash.insert(spec.infohash, index).is_some();
            if twice {
                return Err(Error::SameIdTwice { name: spec.name.clone() });
            }
            channels.push(ChannelState { faults: Arc::new(spec.faults.clone()), ..ChannelState::default() });
            stations.push(Station { spec: spec.clone(), channel });
        }
        let state = State {
            ledger: Ledger::default(),
            channels,
            downloads: HashMap::new(),
            cached: HashSet::new(),
            numbers: 0,
            birth: RandomState::new().build_hasher().finish(),
        };
        Ok(Self {
            options,
            clock,
            started: Instant::now(),
            stations,
            by_content_id,
            by_infohash,
            state: Mutex::new(state),
            cuts: Cuts::default(),
            pulse: watch::Sender::new(0),
            engine_faults: watch::Sender::new(EngineFaults::default()),
            reset: watch::Sender::new(0),
        })
    }

    /// The state. A panic elsewhere does not make it worse than it is: go on with it.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everyone who waits that something changed.
    pub(super) fn beat(&self) {
        self.pulse.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn at_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    pub(super) fn channel_by_content_id(&self, id: Id) -> Option<usize> {
        self.by_content_id.get(&id).copied()
    }

    pub(super) fn channel_by_infohash(&self, id: Id) -> Option<usize> {
        self.by_infohash.get(&id).copied()
    }

    /// The channel with this content id or infohash.
    pub(super) fn channel_by_either(&self, id: Id) -> Option<usize> {
        self.channel_by_infohash(id).or_else(|| self.channel_by_content_id(id))
    }

    pub(super) fn faults(&self, channel: usize) -> Arc<Faults> {
        self.lock().channels[channel].faults.clone()
    }

    /// How long a start of this channel takes now.
    pub(super) fn prebuffer(&self, channel: usize, faults: &Faults) -> Duration {
        faults.prebuffer_ms.map_or(self.stations[channel].spec.prebuffer, Duration::from_millis)
    }

    /// A pacer for a body of the channel that begins at `now`.
    pub(super) fn pacer(&self, channel: usize, now: Duration) -> Pacer {
        let Station { spec, channel } = &self.stations[channel];
        // The broadcast's own seed, not the engine's: all engines get a piece at the same time.
        let seed = spec
            .infohash
            .to_string()
            .bytes()
            .fold(7, |seed: u64, byte| seed * 31 % (1 << 40) + u64::from(byte));
        Pacer::new(spec.profile, channel.timing(), seed, now, spec.reach_back)
    }

    /// Opens or joins the channel's download for an identity.
    pub(super) fn open(&self, channel: usize, identity: Identity) -> Opened {
        let now = self.clock.now();
        let at_ms = self.at_ms();
        let key = identity.key(self.options.seed);
        let mut state = self.lock();
        state.ledger.note_pid(identity.pid.as_deref());
        if identity.pid.is_none() {
            self.replace_anonymous(&mut state, channel, &key);
        }
        let playback_session_id = state.make_id();
        let token = state.make_id()[..32].to_owned();
        let position = self.stations[channel].channel.timing().position(now);
        let output = identity.wants_hls.then(|| self.output(channel, &key));
        let infohash = self.stations[channel].spec.infohash;
        let State { ledger, channels, downloads, .. } = &mut *state;
        let download = downloads.entry(channel).or_insert_with(|| Download {
            playback_session_id: String::new(),
            opened: now,
            opened_position: position,
            sessions: Vec::new(),
            reader: None,
            active: now,
            idle_timeout: self.options.idle_timeout,
            events: VecDeque::new(),
            token,
            seek: None,
            is_live: true,
            position,
            output: None,
            starving_since: None,
        });
        download.playback_session_id.clone_from(&playback_session_id);
        download.active = now;
        // Who repeats its request goes on with its own numbers.
        if let Some(output) = output
            && download.output.as_ref().is_none_or(|old| old.owner != output.owner)
        {
            download.output = Some(output);
        }
        let known = download.sessions.iter().position(|session| session.key == key);
        let record = match known {
            Some(at) => {
                channels[channel].counters.reopens += 1;
                let session = &mut download.sessions[at];
                session.client_session_id = identity.client_session_id;
                session.wants_stop_events |= identity.wants_stop_events;
                session.record
            }
            None => {
                channels[channel].counters.opens += 1;
                let record = ledger.begin_session(infohash, identity.pid.clone(), key.clone(), at_ms);
                download.sessions.push(Session {
                    key: key.clone(),
                    client_session_id: identity.client_session_id,
                    record,
                    wants_stop_events: identity.wants_stop_events,
                });
                record
            }
        };
        if let Some(record) = ledger.session(record) {
            record.opens += 1;
            record.playback_session_id.clone_from(&playback_session_id);
        }
        ledger.engine.downloads = downloads.len() as u64;
        let prebuffering = self.prebuffering(&state, now);
        let most = &mut state.ledger.engine.prebuffering_max;
        *most = (*most).max(prebuffering);
        drop(state);
        self.beat();
        Opened { key, playback_session_id }
    }

    /// An anonymous client has one channel at a time: opening another ends the one before.
    fn replace_anonymous(&self, state: &mut State, channel: usize, key: &str) {
        let others: Vec<usize> = state
            .downloads
            .iter()
            .filter(|(other, download)| **other != channel && download.sessions.iter().any(|s| s.key == key))
            .map(|(other, _)| *other)
            .collect();
        for other in others {
            state.channels[other].counters.replaced += 1;
            self.end_locked(state, other, End::Replaced);
        }
    }

    fn prebuffering(&self, state: &State, now: Duration) -> u64 {
        let is_starting = |(channel, download): (&usize, &Download)| {
            let faults = &state.channels[*channel].faults;
            faults.dead || now < download.opened.saturating_add(self.prebuffer(*channel, faults))
        };
        state.downloads.iter().filter(|entry| is_starting(*entry)).count() as u64
    }

    /// Ends a channel's download. Its reader is cut cleanly, because its `cut` is dropped with the download. `false`
    /// when there was none.
    pub(super) fn end(&self, channel: usize, end: End) -> bool {
        let ended = self.end_locked(&mut self.lock(), channel, end);
        self.beat();
        ended
    }

    pub(super) fn end_locked(&self, state: &mut State, channel: usize, end: End) -> bool {
        let Some(download) = state.downloads.remove(&channel) else { return false };
        for session in download.sessions {
            if let Some(record) = state.ledger.session(session.record) {
                record.end = Some(end);
                record.ended_ms = Some(self.at_ms());
            }
        }
        state.ledger.engine.downloads = state.downloads.len() as u64;
        true
    }

    /// Ends the downloads that nobody used for too long.
    pub(super) fn expire_idle(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        let idle: Vec<usize> = state
            .downloads
            .iter()
            .filter(|(_, download)| {
                download.reader.is_none() && now >= download.active.saturating_add(download.idle_timeout)
            })
            .map(|(channel, _)| *channel)
            .collect();
        for channel in &idle {
            state.channels[*channel].counters.expiries += 1;
            self.end_locked(&mut state, *channel, End::Expired);
        }
        drop(state);
        if !idle.is_empty() {
            self.beat();
        }
    }

    /// Queues an event for the channel's poll; the oldest gives way when too many wait.
    pub(super) fn push_event(&self, channel: usize, event: Value) -> bool {
        let mut state = self.lock();
        let Some(download) = state.downloads.get_mut(&channel) else { return false };
        let is_stop = event["name"] == "download_stopped";
        if is_stop && !download.sessions.iter().any(|session| session.wants_stop_events) {
            return false;
        }
        if download.events.len() == EVENTS_MAX {
            download.events.pop_front();
        }
        download.events.push_back(event);
        drop(state);
        self.beat();
        true
    }
}

impl State {
    /// The download of a channel, if this key opened it.
    pub(super) fn session(&mut self, channel: usize, key: &str) -> Option<(&mut Download, Session)> {
        let download = self.downloads.get_mut(&channel)?;
        let session = download.sessions.iter().find(|session| session.key == key)?.clone();
        Some((download, session))
    }

    /// A number that was never given before.
    pub(super) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Forty seeded hex digits, different each time.
    fn make_id(&mut self) -> String {
        let (birth, number) = (self.birth, self.next_number());
        Id::derive(&format!("{birth} {number}")).to_string()
    }

    /// Forgets counters, finished sessions and requests; what is open stays counted where it must.
    pub(super) fn reset_counters(&mut self) {
        let engine = &self.ledger.engine;
        let (open, downloads) = (engine.connections_open, engine.downloads);
        let opens_in_flight = engine.opens_in_flight;
        self.ledger.requests.clear();
        self.ledger.engine = ledger::EngineCounters {
            connections_open: open,
            connections_open_max: open,
            downloads,
            opens_in_flight,
            opens_in_flight_max: opens_in_flight,
            ..Default::default()
        };
        for channel in &mut self.channels {
            let readers = channel.counters.readers;
            channel.counters = ChannelCounters { readers, readers_max: readers, ..Default::default() };
        }
    }
}

/// Lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
