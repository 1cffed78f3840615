//! One stream: what is known of it, how it is stored, how it is shown.

use super::sample::Sample;
use crate::api::time::rfc3339;
use crate::store::StreamRow;
use serde::Serialize;
use sluice_contract::Hex40;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;
use utoipa::ToSchema;

/// What kind of name [`Stream::key`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyType {
    /// A content id.
    ContentId,
    /// An infohash.
    Infohash,
    /// The address of a transport file.
    Url,
    /// A magnet link.
    Magnet,
}

impl KeyType {
    /// Every kind.
    pub(crate) const ALL: [Self; 4] = [Self::ContentId, Self::Infohash, Self::Url, Self::Magnet];
    /// Their names, in that order.
    pub(crate) const NAMES: [&str; 4] = ["content_id", "infohash", "url", "magnet"];

    /// Stable machine-readable name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ContentId => "content_id",
            Self::Infohash => "infohash",
            Self::Url => "url",
            Self::Magnet => "magnet",
        }
    }

    /// The kind of that name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

/// Who says that the stream plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Our own data plane, which is believed about its sessions and alone ends them.
    Session,
    /// Another proxy, by an event.
    Reported,
}

impl Source {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Reported => "reported",
        }
    }
}

/// The engine a stream plays on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EngineName {
    /// Its id in the API.
    pub(crate) id: Arc<str>,
    /// Where its API answers.
    pub(crate) host: String,
    /// Where its API answers.
    pub(crate) port: u16,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// When.
    pub(crate) at: SystemTime,
    /// Why; `None` when the reporter did not say.
    pub(crate) reason: Option<String>,
}

/// What somebody says of a stream that starts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Start {
    /// Its id.
    pub(crate) id: String,
    /// Who says so.
    pub(crate) source: Source,
    /// What kind of name `key` is.
    pub(crate) key_type: KeyType,
    /// What was asked for.
    pub(crate) key: String,
    /// The broadcast, when known.
    pub(crate) infohash: Option<Hex40>,
    /// Where it plays.
    pub(crate) engine: EngineName,
    /// The container id the reporter sent, whatever it meant by it.
    pub(crate) reporter: Option<String>,
    /// The engine's own name of the playback.
    pub(crate) playback_session_id: String,
    /// Where the engine tells its figures; may be empty.
    pub(crate) stat_url: String,
    /// Where the engine takes commands; may be empty.
    pub(crate) command_url: String,
    /// Whether it is live.
    pub(crate) is_live: bool,
    /// What else the reporter said.
    pub(crate) labels: BTreeMap<String, String>,
}

/// One stream. Never changed: a change is a new value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stream {
    /// Place in listings; also distinguishes nothing else, ids do.
    pub(crate) serial: i64,
    /// What was said when it started.
    pub(crate) start: Start,
    /// When it was registered.
    pub(crate) started_at: SystemTime,
    /// How it ended, once it has.
    pub(crate) end: Option<End>,
}

impl Stream {
    /// Its id.
    pub(crate) fn id(&self) -> &str {
        &self.start.id
    }

    /// Whether it plays.
    pub(crate) fn is_active(&self) -> bool {
        self.end.is_none()
    }

    /// Whether our own data plane plays it.
    pub(crate) fn is_own(&self) -> bool {
        self.start.source == Source::Session
    }

    /// The stream as it is stored, with what its last sample says of totals.
    pub(super) fn to_row(&self, last: Option<&Sample>) -> StreamRow {
        let start = &self.start;
        StreamRow {
            id: start.id.clone(),
            serial: self.serial,
            source: start.source.as_str().to_owned(),
            key_type: start.key_type.as_str().to_owned(),
            key: start.key.clone(),
            infohash: start.infohash,
            container_id: start.engine.id.to_string(),
            engine_host: start.engine.host.clone(),
            engine_port: start.engine.port,
            reporter: start.reporter.clone(),
            playback_session_id: start.playback_session_id.clone(),
            stat_url: start.stat_url.clone(),
            command_url: start.command_url.clone(),
            is_live: start.is_live,
            started_at: self.started_at,
            ended_at: self.end.as_ref().map(|end| end.at),
            end_reason: self.end.as_ref().and_then(|end| end.reason.clone()),
            downloaded: last.and_then(|sample| sample.downloaded),
            uploaded: last.and_then(|sample| sample.uploaded),
            labels: serde_json::to_string(&start.labels).unwrap_or_default(),
        }
    }

    /// The stream of a stored row and its totals; `None` for a row of a kind this version does not know.
    pub(super) fn from_row(row: StreamRow) -> Option<(Self, Option<Sample>)> {
        let source =
            [Source::Session, Source::Reported].into_iter().find(|known| known.as_str() == row.source)?;
        let start = Start {
            source,
            key_type: KeyType::from_name(&row.key_type)?,
            labels: serde_json::from_str(&row.labels).unwrap_or_default(),
            id: row.id,
            key: row.key,
            infohash: row.infohash,
            engine: EngineName { id: row.container_id.into(), host: row.engine_host, port: row.engine_port },
            reporter: row.reporter,
            playback_session_id: row.playback_session_id,
            stat_url: row.stat_url,
            command_url: row.command_url,
            is_live: row.is_live,
        };
        let end = row.ended_at.map(|at| End { at, reason: row.end_reason });
        let totals = Sample {
            downloaded: row.downloaded,
            uploaded: row.uploaded,
            ..Sample::empty(row.ended_at.unwrap_or(row.started_at))
        };
        let last = (row.downloaded.is_some() || row.uploaded.is_some()).then_some(totals);
        Some((Self { serial: row.serial, start, started_at: row.started_at, end }, last))
    }
}

/// A stream with its latest figures, as it is shown: written once, read by everybody who asks.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The stream.
    pub(crate) stream: Arc<Stream>,
    /// Its latest figures.
    pub(crate) latest: Option<Arc<Sample>>,
    json: OnceLock<Box<str>>,
}

impl Shown {
    /// A stream with these figures.
    pub(crate) fn new(stream: Arc<Stream>, latest: Option<Arc<Sample>>) -> Self {
        Self { stream, latest, json: OnceLock::new() }
    }

    /// The `StreamState` of the API.
    pub(crate) fn json(&self) -> &str {
        self.json.get_or_init(|| {
            // Texts and numbers can always be written.
            serde_json::to_string(&self.state(true)).unwrap_or_default().into_boxed_str()
        })
    }

    /// The same as a value; without figures where only the stream is asked for.
    pub(crate) fn state(&self, with_figures: bool) -> State<'_> {
        let (stream, start) = (&*self.stream, &self.stream.start);
        let totals = self.latest.as_deref().filter(|_| with_figures);
        // Rates and positions of a stream that has ended are nobody's any more; totals stay.
        let latest = totals.filter(|_| stream.is_active());
        State {
            id: &start.id,
            key_type: start.key_type.as_str(),
            key: &start.key,
            container_id: &start.engine.id,
            playback_session_id: &start.playback_session_id,
            stat_url: &start.stat_url,
            command_url: &start.command_url,
            is_live: start.is_live,
            started_at: rfc3339(stream.started_at),
            ended_at: stream.end.as_ref().map(|end| rfc3339(end.at)),
            status: if stream.is_active() { "started" } else { "ended" },
            peers: latest.and_then(|sample| sample.peers),
            speed_down: latest.and_then(|sample| sample.speed_down),
            speed_up: latest.and_then(|sample| sample.speed_up),
            downloaded: totals.and_then(|sample| sample.downloaded),
            uploaded: totals.and_then(|sample| sample.uploaded),
            livepos: latest.and_then(|sample| sample.livepos.as_deref()).copied(),
            infohash: start.infohash,
            end_reason: stream.end.as_ref().and_then(|end| end.reason.as_deref()),
        }
    }
}

/// A stream: the fields of the contract, then what is added to it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StreamState)]
pub(crate) struct State<'a> {
    id: &'a str,
    /// `content_id`, `infohash`, `url` or `magnet`.
    key_type: &'static str,
    key: &'a str,
    container_id: &'a str,
    playback_session_id: &'a str,
    stat_url: &'a str,
    command_url: &'a str,
    is_live: bool,
    started_at: String,
    ended_at: Option<String>,
    /// `started` or `ended`.
    status: &'static str,
    peers: Option<i64>,
    speed_down: Option<i64>,
    speed_up: Option<i64>,
    downloaded: Option<i64>,
    uploaded: Option<i64>,
    livepos: Option<super::LivePos>,
    #[schema(value_type = Option<String>)]
    infohash: Option<Hex40>,
    /// Why it ended.
    end_reason: Option<&'a str>,
}
