//! What a shard shows of itself, and control of engines: published whole, read without locks by whoever answers a status request.
//!
//! A shard publishes at once when sessions, their engines or who watches change, as often as a small share of its time
//! allows, and a few times a second while there are figures to show; readers never make it wait, and
//! a hung engine or a busy control plane cannot keep a reader from an answer.

use crate::ids::{ClientId, EngineId, Hex40, Selector, ShardId, StreamKey};
use crate::metric::Sample;
use crate::reason::{EndReason, RefusalCode};
use crate::supply::Supply;
use arc_swap::ArcSwap;
use atomic_waker::AtomicWaker;
use std::collections::HashSet;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, SystemTime};

/// One slot per shard, written by its shard, and two written by control; read by all.
pub struct Board {
    shards: Vec<ArcSwap<Shard>>,
    control: ArcSwap<Control>,
    supply: ArcSwap<Supply>,
    published: AtomicU64,
    follower: AtomicWaker,
}

impl Board {
    /// A board for `shards` shards that have not published yet.
    pub fn new(shards: u16) -> Self {
        let empty = |id| ArcSwap::from_pointee(Shard::empty(ShardId(id)));
        Self {
            shards: (0..shards).map(empty).collect(),
            control: ArcSwap::default(),
            supply: ArcSwap::default(),
            published: AtomicU64::new(0),
            follower: AtomicWaker::new(),
        }
    }

    /// Replaces what shard `snapshot.id` shows.
    ///
    /// # Panics
    /// When the id is outside the board: a wiring mistake.
    pub fn publish(&self, snapshot: impl Into<Arc<Shard>>) {
        let snapshot = snapshot.into();
        self.shards[usize::from(snapshot.id.0)].store(snapshot);
        self.published.fetch_add(1, Ordering::Release);
        self.follower.wake();
    }

    /// Replaces what control shows of where engines come from.
    pub fn publish_supply(&self, supply: Supply) {
        self.supply.store(Arc::new(supply));
    }

    /// Where engines come from.
    pub fn supply(&self) -> Arc<Supply> {
        self.supply.load_full()
    }

    /// The newest snapshot of every shard, in shard order. Players that another shard serves are with their session.
    pub fn read(&self) -> Vec<Arc<Shard>> {
        gathered(self.read_apart())
    }

    /// The same with players where they are served.
    pub fn read_apart(&self) -> Vec<Arc<Shard>> {
        self.shards.iter().map(ArcSwap::load_full).collect()
    }

    /// How often shards have published.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// Waits until a shard has published more often than `seen` counts, and answers the new count. One waits at a time:
    /// whoever comes last is woken.
    ///
    /// Cancel safe.
    pub async fn changed(&self, seen: u64) -> u64 {
        poll_fn(|cx| {
            let is_new = |published: u64| published != seen;
            let published = self.published.load(Ordering::Acquire);
            if is_new(published) {
                return Poll::Ready(published);
            }
            self.follower.register(cx.waker());
            // A shard may have published between the look and the registration.
            let published = self.published.load(Ordering::Acquire);
            if is_new(published) { Poll::Ready(published) } else { Poll::Pending }
        })
        .await
    }

    /// Replaces what control shows of itself.
    pub fn publish_control(&self, shown: Control) {
        self.control.store(Arc::new(shown));
    }

    /// What control showed of itself last.
    pub fn control(&self) -> Arc<Control> {
        self.control.load_full()
    }
}

/// Adds the players of replicas to the sessions they belong to.
fn gathered(mut shards: Vec<Arc<Shard>>) -> Vec<Arc<Shard>> {
    let replicas: Vec<Arc<Replica>> = shards.iter().flat_map(|shard| &shard.replicas).cloned().collect();
    for replica in replicas.iter().filter(|replica| !replica.clients.is_empty()) {
        let Some(owner) = shards.get_mut(usize::from(replica.owner.0)) else { continue };
        let Some(at) = owner.sessions.iter().position(|session| session.key == replica.key) else { continue };
        let session = Arc::make_mut(&mut Arc::make_mut(owner).sessions[at]);
        // One that moves may be shown by both shards for a moment.
        let known: HashSet<ClientId> = session.clients.iter().map(|client| client.id).collect();
        session.clients.extend(replica.clients.iter().filter(|client| !known.contains(&client.id)).cloned());
    }
    shards
}

/// What control shows of itself, for answers that shards give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Why nothing can be stored, if that is so; everything else goes on.
    pub storage_fault: Option<Arc<str>>,
}

/// Everything one shard shows.
#[derive(Clone, Debug)]
pub struct Shard {
    /// Which shard.
    pub id: ShardId,
    /// `io_uring` or `epoll`; `None` before the shard runs.
    pub driver: Option<&'static str>,
    /// When this was taken.
    pub taken_at: SystemTime,
    /// Sessions, including those in their grace period.
    pub sessions: Vec<Arc<Session>>,
    /// Sessions of other shards that it serves too.
    pub replicas: Vec<Arc<Replica>>,
    /// Bytes per second that its players take if none falls behind.
    pub demand: u64,
    /// Clients that ended a short while ago, oldest first; bounded in number and time.
    pub ended: Vec<Arc<EndedClient>>,
    /// Sessions that ended a short while ago, in the order of their numbers; bounded in number and time.
    pub ended_sessions: Vec<Arc<EndedSession>>,
    /// Metric values.
    pub metrics: Vec<Sample>,
}

impl Shard {
    fn empty(id: ShardId) -> Self {
        Self {
            id,
            driver: None,
            taken_at: SystemTime::UNIX_EPOCH,
            sessions: Vec::new(),
            replicas: Vec::new(),
            demand: 0,
            ended: Vec::new(),
            ended_sessions: Vec::new(),
            metrics: Vec::new(),
        }
    }
}

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Waiting for an engine, its answer or its first media.
    Starting,
    /// Media flows.
    Playing,
    /// The source failed; a replacement is being opened while clients are kept.
    Recovering,
    /// Nobody watches; kept warm until the grace period ends.
    Grace,
    /// The engine session is being stopped.
    Stopping,
}

/// How a source went on where another one had stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SpliceKind {
    /// With the very next packet: nothing lost, nothing repeated, nothing flagged.
    Exact,
    /// Where its clock went on, flagged: what was lost or repeated is known by the clock.
    Clock,
    /// At a random access point, flagged: nothing is known about what was lost or repeated.
    RandomAccess,
}

impl SpliceKind {
    /// Every kind, for metrics that show zeros.
    pub const ALL: [Self; 3] = [Self::Exact, Self::Clock, Self::RandomAccess];

    /// Stable machine-readable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Clock => "clock",
            Self::RandomAccess => "random_access",
        }
    }
}

/// Media that players missed, or were given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Amount {
    /// By the stream's clock.
    pub time: Duration,
    /// What that comes to at the stream's rate.
    pub bytes: u64,
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.time += other.time;
        self.bytes += other.bytes;
    }
}

/// How the sources of a session were joined to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Splices {
    /// [`SpliceKind::Exact`].
    pub exact: u64,
    /// [`SpliceKind::Clock`].
    pub clock: u64,
    /// [`SpliceKind::RandomAccess`].
    pub random_access: u64,
    /// Lost at splices by the clock.
    pub lost: Amount,
    /// Repeated at splices by the clock.
    pub repeated: Amount,
}

/// A channel and its ids.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Channel {
    /// Its ids, best first, as they were when the session began.
    pub ids: Arc<[Selector]>,
    /// Which one it plays, or is about to.
    pub present: usize,
    /// Times it went on with another one because the one before could not be had any more.
    pub fallbacks: u64,
    /// The last such time.
    pub last: Option<Fallback>,
    /// How the race at its start went, if there was one.
    pub race: Option<Race>,
}

/// A channel went on with another of its ids.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fallback {
    /// What it left.
    pub from: Selector,
    /// What it went on with.
    pub to: Selector,
    /// Why.
    pub code: RefusalCode,
    /// The same in words.
    pub detail: Arc<str>,
    /// When.
    pub at: SystemTime,
}

/// How a start with two ids at once went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Race {
    /// Nothing has come yet.
    Running,
    /// The first id had media first.
    First,
    /// The second id had media first.
    Second,
    /// One of the two failed before media came.
    Forfeited,
    /// No second engine could be had: there was no race.
    Alone,
}

/// One session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Canonical key.
    pub key: StreamKey,
    /// The selector of the first player, or the id that a channel plays: `ace_id` in the REST contract.
    pub asked_as: Selector,
    /// The channel it plays, if it is one.
    pub channel: Option<Channel>,
    /// Canonical infohash, once known.
    pub infohash: Option<Hex40>,
    /// Owner.
    pub shard: ShardId,
    /// Where it is in its life.
    pub state: SessionState,
    /// The engine that serves it now.
    pub engine: Option<SessionEngine>,
    /// When the first player asked.
    pub created_at: SystemTime,
    /// When the first media came.
    pub started_at: Option<SystemTime>,
    /// When the last player left, while in grace.
    pub idle_since: Option<SystemTime>,
    /// When the last media bytes came from an engine.
    pub last_media_at: Option<SystemTime>,
    /// Since when only media has come that had come before, byte for byte; `None` while anything new comes.
    pub repeats_since: Option<SystemTime>,
    /// Connected players that receive media.
    pub clients: Vec<Client>,
    /// Players that wait for the start.
    pub waiting: usize,
    /// Offset after the newest published packet, bytes since the session began.
    pub head: u64,
    /// Offset of the oldest packet that may still be sent.
    pub tail: u64,
    /// Seconds of media between tail and head.
    pub window_s: f64,
    /// Bytes per second by the stream's own clock; 0 until two clock references were seen.
    pub rate: u64,
    /// Bytes received from engines.
    pub bytes_in: u64,
    /// Bytes skipped because they were not MPEG-TS packets.
    pub garbage_bytes: u64,
    /// Continuity errors in the source.
    pub continuity_errors: u64,
    /// Discontinuities flagged in the window.
    pub discontinuities: u64,
    /// Sources opened after the first.
    pub failovers: u64,
    /// How they were joined to each other.
    pub splices: Splices,
    /// The engine's own figures by the newest poll.
    pub stat: Option<EngineStat>,
    /// When they were taken.
    pub stat_at: Option<SystemTime>,
    /// Video and audio formats from the PMT, e.g. `h264`, `aac`.
    pub formats: Vec<&'static str>,
    /// What is where in its window.
    pub timeline: Timeline,
}

impl Session {
    /// One that has just been asked for: nothing has come, and nobody watches.
    pub fn begun(key: StreamKey, asked_as: Selector, shard: ShardId, created_at: SystemTime) -> Self {
        Self {
            key,
            asked_as,
            channel: None,
            infohash: None,
            shard,
            state: SessionState::Starting,
            engine: None,
            created_at,
            started_at: None,
            idle_since: None,
            last_media_at: None,
            repeats_since: None,
            clients: Vec::new(),
            waiting: 0,
            head: 0,
            tail: 0,
            window_s: 0.0,
            rate: 0,
            bytes_in: 0,
            garbage_bytes: 0,
            continuity_errors: 0,
            discontinuities: 0,
            failovers: 0,
            splices: Splices::default(),
            stat: None,
            stat_at: None,
            formats: Vec::new(),
            timeline: Timeline::default(),
        }
    }
}

/// A session of another shard, served by this one too.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Canonical key.
    pub key: StreamKey,
    /// The session's own shard.
    pub owner: ShardId,
    /// Players that are served here.
    pub clients: Vec<Client>,
    /// What they take, bytes per second.
    pub demand: u64,
}

/// Where in a window something is: on the session's media clock, which begins at zero and never goes back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// Its head.
    pub head: Duration,
    /// Places where decoding can begin, oldest first. Of very many some are left out.
    pub access: Arc<[Duration]>,
    /// What happened lately, oldest first; bounded in number. It may lie before the window by now. Begins anew when another
    /// process goes on with the session.
    pub marks: Arc<[Mark]>,
}

/// Something that happened to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The head on the media clock when it happened.
    pub place: Duration,
    /// When it was over.
    pub at: SystemTime,
    /// What.
    pub what: Event,
}

/// What a [`Mark`] marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Another source carried on.
    Splice {
        /// How.
        kind: SpliceKind,
        /// Media that was lost.
        lost: Duration,
        /// Media that came twice.
        repeated: Duration,
    },
    /// For so long nothing came.
    Silence(Duration),
}

/// The engine side of a session.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct SessionEngine {
    /// Which engine.
    pub id: EngineId,
    /// `host:port` as configured.
    pub authority: Arc<str>,
    /// The engine's own session id.
    pub playback_session_id: Option<Arc<str>>,
    /// Where to ask for figures.
    pub stat_url: Option<Arc<str>>,
    /// Where to send commands.
    pub command_url: Option<Arc<str>>,
    /// 1 live, 0 not, −1 unknown, as the engine says.
    pub is_live: i8,
    /// Whether the engine says the content is encrypted.
    pub is_encrypted: bool,
}

/// What the engine says of itself, newest poll.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct EngineStat {
    /// `idle`, `prebuf`, `dl`, …
    pub status: String,
    /// Connected peers.
    pub peers: i64,
    /// KB/s.
    pub speed_down: i64,
    /// KB/s.
    pub speed_up: i64,
    /// Bytes since the start.
    pub downloaded: i64,
    /// Bytes since the start.
    pub uploaded: i64,
    /// 0–100 while prebuffering.
    pub progress: i64,
    /// Position figures, when the engine gives them.
    pub livepos: Option<LivePos>,
}

/// `livepos` of the engine, Unix seconds unless said otherwise.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct LivePos {
    /// Reader position.
    pub pos: Option<i64>,
    /// Newest time known.
    pub last: Option<i64>,
    /// Start of the broadcaster's window.
    pub live_first: Option<i64>,
    /// End of the broadcaster's window.
    pub live_last: Option<i64>,
    /// Start of the window held locally.
    pub first_ts: Option<i64>,
    /// End of the window held locally.
    pub last_ts: Option<i64>,
    /// Pieces buffered ahead.
    pub buffer_pieces: Option<i64>,
}

/// One connected player.
#[derive(Clone, Debug)]
pub struct Client {
    /// Random per connection.
    pub id: ClientId,
    /// Address after trusted proxies.
    pub address: IpAddr,
    /// `User-Agent`, cut to 256 bytes; `unknown` if absent.
    pub user_agent: Arc<str>,
    /// When it asked.
    pub connected_at: SystemTime,
    /// When its socket last took bytes.
    pub last_active: SystemTime,
    /// Bytes its socket took, response head included.
    pub bytes_sent: u64,
    /// Bytes behind the head.
    pub behind_bytes: u64,
    /// Seconds behind the head.
    pub behind_s: f64,
    /// Bytes per second its socket took lately, over a second or more.
    pub rate: u64,
    /// Times it was moved forward because it was too far behind.
    pub skips: u32,
    /// Media it missed by that, bytes.
    pub skipped_bytes: u64,
}

/// A client that ended a short while ago.
#[derive(Clone, Debug)]
pub struct EndedClient {
    /// The stream it played.
    pub key: StreamKey,
    /// The selector of that stream's first player.
    pub asked_as: Selector,
    /// Canonical infohash of that stream, if it was known.
    pub infohash: Option<Hex40>,
    /// Its record as it was at the end.
    pub client: Client,
    /// Why it ended.
    pub reason: EndReason,
    /// When it ended.
    pub at: SystemTime,
}

/// A session that ended a short while ago.
#[derive(Clone, Debug)]
pub struct EndedSession {
    /// Grows by one with each session that ends on its shard.
    pub number: u64,
    /// What it played.
    pub key: StreamKey,
    /// The selector of its first player.
    pub asked_as: Selector,
    /// Canonical infohash, if it was known.
    pub infohash: Option<Hex40>,
    /// The engine that served it last; `None` when none ever answered.
    pub engine: Option<SessionEngine>,
    /// When the first player asked.
    pub created_at: SystemTime,
    /// When the first media came.
    pub started_at: Option<SystemTime>,
    /// The engine's own figures by the newest poll.
    pub stat: Option<EngineStat>,
    /// When they were taken.
    pub stat_at: Option<SystemTime>,
    /// Why it ended.
    pub reason: EndReason,
    /// When it ended.
    pub at: SystemTime,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Options, StreamName};

    fn client(id: u128) -> Client {
        Client {
            id: ClientId(id),
            address: IpAddr::from([127, 0, 0, 1]),
            user_agent: "test".into(),
            connected_at: SystemTime::UNIX_EPOCH,
            last_active: SystemTime::UNIX_EPOCH,
            bytes_sent: 1,
            behind_bytes: 0,
            behind_s: 0.0,
            rate: 0,
            skips: 0,
            skipped_bytes: 0,
        }
    }

    fn session(key: &StreamKey, shard: ShardId, clients: &[u128]) -> Arc<Session> {
        let asked_as = Selector::Infohash(Hex40::from_bytes([7; 20]));
        Arc::new(Session {
            state: SessionState::Playing,
            clients: clients.iter().copied().map(client).collect(),
            ..Session::begun(key.clone(), asked_as, shard, SystemTime::UNIX_EPOCH)
        })
    }

    /// Guards: whoever reads the board finds a session's players with it, wherever they are served, each of them once; each
    /// shard still shows its own.
    #[test]
    fn players_are_with_their_session_wherever_they_are_served() {
        let board = Board::new(3);
        let key = |byte| StreamKey {
            name: StreamName::Infohash(Hex40::from_bytes([byte; 20])),
            options: Options::default(),
        };
        let owner = ShardId(1);
        let mut shown = Shard::empty(owner);
        shown.sessions = vec![session(&key(1), owner, &[1, 2]), session(&key(2), owner, &[9])];
        board.publish(shown);
        for (shard, clients) in [(0, vec![2, 3]), (2, vec![4])] {
            let mut shown = Shard::empty(ShardId(shard));
            let clients = clients.into_iter().map(client).collect();
            shown.replicas = vec![
                Arc::new(Replica { key: key(1), owner, clients, demand: 0 }),
                // Its session is over.
                Arc::new(Replica { key: key(3), owner, clients: vec![client(8)], demand: 0 }),
            ];
            board.publish(shown);
        }
        let ids = |session: &Session| -> Vec<u128> { session.clients.iter().map(|it| it.id.0).collect() };
        let read = board.read();
        assert_eq!(ids(&read[1].sessions[0]), [1, 2, 3, 4]);
        assert_eq!(ids(&read[1].sessions[1]), [9]);
        assert_eq!(ids(&board.read_apart()[1].sessions[0]), [1, 2]);
        assert!(read[0].sessions.is_empty() && read[2].sessions.is_empty());
    }
}
