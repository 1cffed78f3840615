//! What the board says about our own sessions, told as changes of streams. Pure.
//!
//! Each playback of an engine is one stream: a session that goes on with another engine ends one stream and starts the
//! next. The board is level-triggered, so a pass compares what it shows with what the book has, and needs to have seen
//! nothing in between; sessions that came and went between two passes are on the board's list of ended ones.

use super::book::Book;
use super::sample::Sample;
use super::stream::{EngineName, KeyType, Source, Start, Stream};
use crate::engines::authority::split;
use sluice_contract::snapshot::{EndedSession, EngineStat, Session, SessionEngine, Shard};
use sluice_contract::{EndReason, Hex40, Selector};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

/// The reason of a stream whose session went on with another engine.
pub(super) const FAILOVER: &str = "failover";
/// The reason of a stream whose session is a channel that went on with another of its ids.
pub(super) const FALLBACK: &str = "channel_fallback";
/// The reason of a stream that was playing when the process before this one ended.
pub(super) const RESTARTED: &str = "appliance_restarted";
/// The reason of a stream of which the board remembers no end.
const UNKNOWN: &str = "unknown";

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// A playback began.
    Start(Box<Start>),
    /// A playback is over.
    End { id: String, at: SystemTime, reason: &'static str },
    /// A session ended before any engine played it.
    Failed { key: String, reason: &'static str },
    /// It is now known what a stream plays.
    Learn { id: String, infohash: Hex40 },
    /// New figures of a stream that plays.
    Figures { id: String, sample: Sample },
    /// The last figures of a stream that is over.
    LastFigures { id: String, sample: Sample },
}

/// What was seen before.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// The newest ended session of each shard that was told; `None` before the first pass.
    told: Option<Vec<u64>>,
    /// When the figures of each playing stream were taken that were told last.
    figures: HashMap<String, SystemTime>,
}

impl Follower {
    /// Compares the board with the book; leaves figures for another pass unless they are wanted.
    pub(super) fn pass(
        &mut self,
        now: SystemTime,
        board: &[Arc<Shard>],
        book: &Book,
        worker: &str,
        with_figures: bool,
    ) -> Vec<Change> {
        let (mut changes, mut playing) = (Vec::new(), HashSet::new());
        let is_first = self.told.is_none();
        for session in board.iter().flat_map(|shard| &shard.sessions) {
            let Some(playback) = Playback::of(session.asked_as, session.engine.as_ref()) else { continue };
            let infohash = session.infohash.or(session.key.infohash());
            match book.get(&playback.id) {
                None => changes.push(Change::Start(Box::new(playback.start(infohash, worker)))),
                Some(shown) if shown.stream.start.infohash.is_none() => {
                    changes
                        .extend(infohash.map(|infohash| Change::Learn { id: playback.id.clone(), infohash }));
                }
                Some(_) => {}
            }
            if with_figures {
                changes.extend(self.figures(&playback.id, session.stat_at, session.stat.as_ref()));
            }
            playing.insert(playback.id);
        }
        self.ended(board, book, worker, &mut changes);
        // A playback of which nobody knows the end when this control begins was another process's.
        let unknown = if is_first { RESTARTED } else { UNKNOWN };
        self.vanished((now, unknown), board, book, &playing, &mut changes);
        self.figures.retain(|id, _| playing.contains(id));
        changes
    }

    fn figures(&mut self, id: &str, at: Option<SystemTime>, stat: Option<&EngineStat>) -> Option<Change> {
        let (at, stat) = (at?, stat?);
        if self.figures.get(id) == Some(&at) {
            return None;
        }
        self.figures.insert(id.to_owned(), at);
        Some(Change::Figures { id: id.to_owned(), sample: Sample::of_session(at, stat) })
    }

    /// Sessions that came and went since the last pass, and those that never played.
    fn ended(&mut self, board: &[Arc<Shard>], book: &Book, worker: &str, changes: &mut Vec<Change>) {
        let is_first = self.told.is_none();
        let told = self.told.get_or_insert_default();
        told.resize(board.len(), 0);
        for (shard, told) in board.iter().zip(told) {
            for ended in shard.ended_sessions.iter().filter(|ended| ended.number > *told) {
                // What ended before this control began was told by the one before.
                let change = if is_first { None } else { came_and_went(ended, book, worker) };
                changes.extend(change.into_iter().flatten());
            }
            *told = shard.ended_sessions.last().map_or(*told, |ended| ended.number);
        }
    }

    /// Streams of the book that no session plays any more.
    fn vanished(
        &self,
        unknown: (SystemTime, &'static str),
        board: &[Arc<Shard>],
        book: &Book,
        playing: &HashSet<String>,
        changes: &mut Vec<Change>,
    ) {
        let gone = book.own().filter(|shown| !playing.contains(shown.stream.id()));
        let sessions = || board.iter().flat_map(|shard| &shard.sessions);
        let mut ended: Option<HashMap<String, &EndedSession>> = None;
        for shown in gone {
            let id = shown.stream.id();
            let ended = ended.get_or_insert_with(|| {
                let all = board.iter().flat_map(|shard| &shard.ended_sessions);
                all.filter_map(|ended| Some((Playback::of_ended(ended)?.id, &**ended))).collect()
            });
            let (at, reason) = match ended.get(id) {
                Some(ended) => {
                    let last = ended.stat_at.zip(ended.stat.as_ref());
                    let last = last.filter(|(at, _)| self.figures.get(id) != Some(at));
                    changes.extend(last.map(|(at, stat)| Change::LastFigures {
                        id: id.to_owned(),
                        sample: Sample::of_session(at, stat),
                    }));
                    (ended.at, ended.reason.as_str())
                }
                None if sessions().any(|session| goes_on(session, &shown.stream)) => (unknown.0, FAILOVER),
                None if sessions().any(|session| fell_back(session, &shown.stream)) => (unknown.0, FALLBACK),
                None => unknown,
            };
            changes.push(Change::End { id: id.to_owned(), at, reason });
        }
    }
}

/// Whether a session is the one whose earlier playback this stream was.
fn goes_on(session: &Session, stream: &Stream) -> bool {
    session.created_at <= stream.started_at && stream.start.key == session.asked_as.value().to_string()
}

/// Whether a session is the channel that has left what this stream was for another of its ids.
fn fell_back(session: &Session, stream: &Stream) -> bool {
    let last = session.channel.as_ref().and_then(|channel| channel.last.as_ref());
    session.created_at <= stream.started_at
        && last.is_some_and(|last| stream.start.key == last.from.value().to_string())
}

fn came_and_went(ended: &EndedSession, book: &Book, worker: &str) -> Option<Vec<Change>> {
    let (at, reason) = (ended.at, ended.reason.as_str());
    let Some(playback) = Playback::of_ended(ended) else {
        // A start that nobody waited for any more is no fault of anything.
        let is_fault =
            !matches!(ended.reason, EndReason::Abandoned | EndReason::ClientLeft | EndReason::Shutdown);
        return is_fault.then(|| vec![Change::Failed { key: ended.asked_as.value().to_string(), reason }]);
    };
    if book.get(&playback.id).is_some() {
        return None;
    }
    let infohash = ended.infohash.or(ended.key.infohash());
    let figures = ended.stat_at.zip(ended.stat.as_ref()).map(|(at, stat)| Change::LastFigures {
        id: playback.id.clone(),
        sample: Sample::of_session(at, stat),
    });
    let start = Change::Start(Box::new(playback.start(infohash, worker)));
    let end = Change::End { id: playback.id, at, reason };
    Some([Some(start), figures, Some(end)].into_iter().flatten().collect())
}

/// What the stream of a session is called, once an engine plays it.
pub(super) fn id_of(session: &Session) -> Option<String> {
    Some(Playback::of(session.asked_as, session.engine.as_ref())?.id)
}

/// One playback of an engine.
struct Playback<'a> {
    id: String,
    asked_as: Selector,
    engine: &'a SessionEngine,
    playback_session_id: &'a str,
}

impl<'a> Playback<'a> {
    fn of(asked_as: Selector, engine: Option<&'a SessionEngine>) -> Option<Self> {
        let engine = engine?;
        let playback_session_id = engine.playback_session_id.as_deref()?;
        let id = format!("{}|{playback_session_id}", asked_as.value());
        Some(Self { id, asked_as, engine, playback_session_id })
    }

    fn of_ended(ended: &'a EndedSession) -> Option<Self> {
        Self::of(ended.asked_as, ended.engine.as_ref())
    }

    fn start(&self, infohash: Option<Hex40>, worker: &str) -> Start {
        let (host, port) = split(&self.engine.authority);
        let text = |url: &Option<Arc<str>>| url.as_deref().unwrap_or_default().to_owned();
        Start {
            id: self.id.clone(),
            source: Source::Session,
            key_type: match self.asked_as {
                Selector::ContentId(_) => KeyType::ContentId,
                Selector::Infohash(_) => KeyType::Infohash,
            },
            key: self.asked_as.value().to_string(),
            infohash,
            engine: EngineName { id: self.engine.id.0.clone(), host: host.to_owned(), port },
            reporter: None,
            playback_session_id: self.playback_session_id.to_owned(),
            stat_url: text(&self.engine.stat_url),
            command_url: text(&self.engine.command_url),
            // An engine that does not know says -1; what it delivers then behaves like a live broadcast.
            is_live: self.engine.is_live != 0,
            labels: BTreeMap::from([
                ("source".to_owned(), "proxy".to_owned()),
                ("worker_id".to_owned(), worker.to_owned()),
            ]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::book::Started;
    use sluice_contract::snapshot::{Channel, Fallback, SessionState};
    use sluice_contract::{EngineId, Options, RefusalCode, ShardId, StreamKey, StreamName};
    use std::time::{Duration, UNIX_EPOCH};

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_769_941_200 + second)
    }

    fn number(n: u8) -> Hex40 {
        Hex40::from_bytes([n; 20])
    }

    fn engine(playback: Option<&str>) -> SessionEngine {
        SessionEngine {
            id: EngineId("4f1c".into()),
            authority: "engine-1:6878".into(),
            playback_session_id: playback.map(Into::into),
            stat_url: Some("http://engine-1:6878/stat".into()),
            command_url: None,
            is_live: 1,
            is_encrypted: false,
        }
    }

    fn session(n: u8, playback: Option<&str>) -> Session {
        let key = StreamKey { name: StreamName::Infohash(number(n + 100)), options: Options::default() };
        Session {
            state: SessionState::Playing,
            engine: Some(engine(playback)),
            ..Session::begun(key, Selector::ContentId(number(n)), ShardId(0), at(0))
        }
    }

    fn with_figures(session: Session, second: u64) -> Session {
        let stat = EngineStat { peers: 5, ..EngineStat::default() };
        Session { stat: Some(stat), stat_at: Some(at(second)), ..session }
    }

    fn ended(number: u64, n: u8, playback: Option<&str>, reason: EndReason) -> EndedSession {
        let Session { key, asked_as, infohash, engine, created_at, started_at, stat, stat_at, .. } =
            session(n, playback);
        let (engine, at) = (engine.filter(|_| playback.is_some()), at(50));
        EndedSession {
            number,
            key,
            asked_as,
            infohash,
            engine,
            created_at,
            started_at,
            stat,
            stat_at,
            reason,
            at,
        }
    }

    fn shard(sessions: Vec<Session>, ended: Vec<EndedSession>) -> Vec<Arc<Shard>> {
        vec![Arc::new(Shard {
            id: ShardId(0),
            driver: None,
            taken_at: at(0),
            sessions: sessions.into_iter().map(Arc::new).collect(),
            replicas: Vec::new(),
            demand: 0,
            ended: Vec::new(),
            ended_sessions: ended.into_iter().map(Arc::new).collect(),
            metrics: Vec::new(),
        })]
    }

    struct Scene {
        book: Book,
        follower: Follower,
    }

    impl Scene {
        fn new() -> Self {
            Self { book: Book::from_stored(Vec::new(), 9), follower: Follower::default() }
        }

        /// Does one pass, takes its changes into the book and names them.
        fn pass(&mut self, board: &[Arc<Shard>]) -> Vec<String> {
            let changes = self.follower.pass(at(99), board, &self.book, "host:1", true);
            let of =
                |id: &str| id.split_once('|').map(|(_, playback)| playback.to_owned()).unwrap_or_default();
            let mut named = Vec::new();
            for change in changes {
                named.push(match change {
                    Change::Start(start) => {
                        let name = format!("start {}", of(&start.id));
                        assert!(matches!(self.book.start(at(9), *start), Ok(Started::Registered(_))));
                        name
                    }
                    Change::End { id, at, reason } => {
                        assert!(self.book.end(at, &id, Some(reason)).is_some());
                        format!("end {} {reason}", of(&id))
                    }
                    Change::Failed { reason, .. } => format!("failed {reason}"),
                    Change::Learn { id, infohash } => {
                        assert!(self.book.learn(&id, infohash).is_some());
                        format!("learn {}", of(&id))
                    }
                    Change::Figures { id, .. } => format!("figures {}", of(&id)),
                    Change::LastFigures { id, .. } => format!("last figures {}", of(&id)),
                });
            }
            named
        }
    }

    /// Guards: a playback is a stream from the moment its engine names it until its session ends, with the session's
    /// reason and figures, each told once however often the board is looked at.
    #[test]
    fn a_session_is_a_stream_while_it_plays() {
        let mut scene = Scene::new();
        assert_eq!(scene.pass(&shard(vec![session(1, None)], vec![])), [] as [&str; 0]);
        let playing = shard(vec![with_figures(session(1, Some("p")), 1)], vec![]);
        assert_eq!(scene.pass(&playing), ["start p", "figures p"]);
        assert_eq!(scene.pass(&playing), [] as [&str; 0]);
        assert_eq!(scene.pass(&shard(vec![with_figures(session(1, Some("p")), 2)], vec![])), ["figures p"]);
        let over = shard(vec![], vec![ended(1, 1, Some("p"), EndReason::Stopped)]);
        assert_eq!(scene.pass(&over), ["end p stopped"]);
        assert_eq!(scene.pass(&over), [] as [&str; 0]);
        let id = format!("{}|p", number(1));
        let stream = scene.book.get(&id).unwrap().stream.clone();
        assert_eq!(stream.end.as_ref().map(|end| end.at), Some(at(50)), "it ended when the shard says");
        assert_eq!((&*stream.start.engine.id, stream.start.engine.port), ("4f1c", 6878));
        assert_eq!(stream.start.infohash, Some(number(101)));
    }

    /// Guards: a session that goes on with another engine ends one stream and starts the next.
    #[test]
    fn another_engine_is_another_stream() {
        let mut scene = Scene::new();
        scene.pass(&shard(vec![session(1, Some("p"))], vec![]));
        let moved = shard(vec![session(1, Some("q"))], vec![]);
        assert_eq!(scene.pass(&moved), ["start q", "end p failover"]);
    }

    /// Guards: a channel that goes on with another of its ids ends one stream and starts the next, and says why.
    #[test]
    fn another_id_of_a_channel_is_another_stream() {
        let mut scene = Scene::new();
        let (one, two) = (Selector::ContentId(number(1)), Selector::ContentId(number(2)));
        let channel = |last| Channel { ids: [one, two].into(), present: 0, fallbacks: 0, last, race: None };
        let first = Session { channel: Some(channel(None)), ..session(1, Some("p")) };
        scene.pass(&shard(vec![first], vec![]));
        let last = Fallback {
            from: one,
            to: two,
            code: RefusalCode::StartTimeout,
            detail: "no media".into(),
            at: at(3),
        };
        let second = Session { channel: Some(channel(Some(last))), ..session(2, Some("q")) };
        assert_eq!(scene.pass(&shard(vec![second], vec![])), ["start q", "end p channel_fallback"]);
    }

    /// Guards: a session that came and went between two looks is a stream all the same, and one that never played is told
    /// as a failure unless nobody waited for it.
    #[test]
    fn what_happened_between_two_looks_is_told() {
        let mut scene = Scene::new();
        scene.pass(&shard(vec![], vec![]));
        let short = shard(
            vec![],
            vec![
                ended(1, 1, Some("p"), EndReason::ClientLeft),
                ended(2, 2, None, EndReason::StartFailed),
                ended(3, 3, None, EndReason::Abandoned),
            ],
        );
        assert_eq!(scene.pass(&short), ["start p", "end p client_left", "failed start_failed"]);
        assert_eq!(scene.pass(&short), [] as [&str; 0]);
    }

    /// Guards: a control that starts under shards that play goes on where the one before stopped: what still plays is not
    /// told again, what ended meanwhile has its reason, and what another process played ended with it.
    #[test]
    fn a_new_control_goes_on() {
        let mut scene = Scene::new();
        scene.pass(&shard(vec![session(1, Some("p")), session(2, Some("q")), session(3, Some("r"))], vec![]));
        scene.follower = Follower::default();
        let ended_meanwhile =
            vec![ended(1, 2, Some("q"), EndReason::EmptyTimeout), ended(2, 9, None, EndReason::StartFailed)];
        let board = shard(vec![session(1, Some("p"))], ended_meanwhile);
        assert_eq!(scene.pass(&board), ["end q empty_timeout", "end r appliance_restarted"]);
        assert_eq!(scene.pass(&board), [] as [&str; 0]);
    }
}
