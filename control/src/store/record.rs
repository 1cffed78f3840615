//! What can be stored, row by row. Texts and numbers only: what they mean is their owners' business.

use sluice_contract::Hex40;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One entry of the event log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EventRow {
    /// Grows by one with each entry; never reused.
    pub(crate) id: i64,
    /// When.
    pub(crate) at: SystemTime,
    /// `engine`, `stream`, `vpn`, `health` or `system`.
    pub(crate) event_type: String,
    /// What happened to it.
    pub(crate) category: String,
    /// For a person.
    pub(crate) message: String,
    /// A JSON object.
    pub(crate) details: String,
    /// The engine it is about.
    pub(crate) container_id: Option<String>,
    /// The stream it is about.
    pub(crate) stream_id: Option<String>,
}

/// One stream, active or ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StreamRow {
    /// Its id in the API.
    pub(crate) id: String,
    /// Place in listings: order of first registration.
    pub(crate) serial: i64,
    /// `session` for our own, `reported` for another proxy's.
    pub(crate) source: String,
    /// `content_id`, `infohash`, `url` or `magnet`.
    pub(crate) key_type: String,
    /// As it was asked for.
    pub(crate) key: String,
    /// The broadcast, when known.
    pub(crate) infohash: Option<Hex40>,
    /// The engine's id.
    pub(crate) container_id: String,
    /// The engine's host.
    pub(crate) engine_host: String,
    /// The engine's port.
    pub(crate) engine_port: u16,
    /// The container id a reporter gave, whatever it meant by it.
    pub(crate) reporter: Option<String>,
    /// The engine's session.
    pub(crate) playback_session_id: String,
    /// Where the engine tells figures.
    pub(crate) stat_url: String,
    /// Where the engine takes commands.
    pub(crate) command_url: String,
    /// Live or on demand.
    pub(crate) is_live: bool,
    /// When it was registered.
    pub(crate) started_at: SystemTime,
    /// When it ended.
    pub(crate) ended_at: Option<SystemTime>,
    /// Why it ended.
    pub(crate) end_reason: Option<String>,
    /// Bytes from peers by the last sample.
    pub(crate) downloaded: Option<i64>,
    /// Bytes to peers by the last sample.
    pub(crate) uploaded: Option<i64>,
    /// Labels, a JSON object.
    pub(crate) labels: String,
}

/// How fine aggregated statistics are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Resolution {
    /// Ten seconds.
    TenSeconds,
    /// One minute.
    Minute,
}

impl Resolution {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::TenSeconds, Self::Minute];

    /// The length of one aggregate.
    pub(crate) const fn span(self) -> Duration {
        match self {
            Self::TenSeconds => Duration::from_secs(10),
            Self::Minute => Duration::from_secs(60),
        }
    }

    /// The table that holds them.
    pub(crate) const fn table(self) -> &'static str {
        match self {
            Self::TenSeconds => "samples_10s",
            Self::Minute => "samples_1m",
        }
    }
}

/// Statistics of one stream over one span.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SampleRow {
    /// Which stream.
    pub(crate) stream_id: String,
    /// Start of the span.
    pub(crate) at: SystemTime,
    /// Samples that went in.
    pub(crate) count: u32,
    /// Mean.
    pub(crate) peers: Option<i64>,
    /// Mean, KiB/s.
    pub(crate) speed_down: Option<i64>,
    /// Mean, KiB/s.
    pub(crate) speed_up: Option<i64>,
    /// Last, bytes.
    pub(crate) downloaded: Option<i64>,
    /// Last, bytes.
    pub(crate) uploaded: Option<i64>,
    /// Last.
    pub(crate) status: Option<String>,
}

/// One setting changed through the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettingRow {
    /// Its name.
    pub(crate) key: String,
    /// What it was set to.
    pub(crate) value: String,
    /// What the environment said at that moment.
    pub(crate) environment: Option<String>,
    /// When it was changed.
    pub(crate) changed_at: SystemTime,
}

/// One engine template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateRow {
    /// Its slot.
    pub(crate) slot: u8,
    /// Its name.
    pub(crate) name: String,
    /// Its configuration, JSON.
    pub(crate) config: String,
}

/// One broadcast that must not be played because it loops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoopingRow {
    /// The id it was asked for with, lower case.
    pub(crate) key: String,
    /// The broadcast, when known.
    pub(crate) infohash: Option<Hex40>,
    /// When it was last found looping.
    pub(crate) detected_at: SystemTime,
    /// What gave it away.
    pub(crate) evidence: String,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// A new entry of the event log.
    Event(EventRow),
    /// Entries up to this id are gone.
    EventsGone {
        /// The newest of them.
        up_to: i64,
    },
    /// A stream as it is now.
    Stream(Box<StreamRow>),
    /// A stream is forgotten.
    StreamGone {
        /// Which.
        id: String,
    },
    /// Aggregated statistics as they are now: a row of the same stream and time is replaced.
    Samples(Vec<(Resolution, SampleRow)>),
    /// A number names a broadcast.
    Alias {
        /// The number.
        number: Hex40,
        /// The broadcast.
        infohash: Hex40,
        /// When it was learned.
        at: SystemTime,
    },
    /// A setting as it is now.
    Setting(SettingRow),
    /// A setting is what the environment says again.
    SettingGone {
        /// Which.
        key: String,
    },
    /// A template as it is now.
    Template(TemplateRow),
    /// A template is gone.
    TemplateGone {
        /// Which.
        slot: u8,
    },
    /// A broadcast loops.
    Looping(LoopingRow),
    /// A broadcast may be played again.
    LoopingGone {
        /// Which.
        key: String,
    },
}

impl Record {
    /// Whether it is the first to be given up when there is no room.
    pub(crate) const fn is_statistics(&self) -> bool {
        matches!(self, Self::Samples(_))
    }

    /// How many rows it stands for.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Samples(rows) => rows.len(),
            _ => 1,
        }
    }
}

/// What the store has of settings.
pub(crate) type Settings = BTreeMap<String, SettingRow>;
/// What the store has of templates.
pub(crate) type Templates = BTreeMap<u8, TemplateRow>;

/// Microseconds since 1970, which is how times are stored; times before are 1970.
pub(super) fn to_micros(at: SystemTime) -> i64 {
    let micros = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    i64::try_from(micros).unwrap_or(i64::MAX)
}

/// The time of stored microseconds.
pub(super) fn from_micros(micros: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
