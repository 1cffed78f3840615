//! What can go wrong, as switches: per channel and for the whole engine.
//!
//! A fault applies from the next decision on: most act on sessions that are already open, those about
//! opening act on the next opening. Over the side channel they travel as JSON with these field names.

use serde::{Deserialize, Serialize};

/// Switches of one channel. The default is a healthy channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// No broadcaster: the playback URL never answers, stat stays `prebuf`.
    pub dead: bool,
    /// Length of the prebuffer in engine time, instead of the channel's own.
    pub prebuffer_ms: Option<u64>,
    /// Playback during the prebuffer answers 500 `download not found` instead of waiting.
    pub early_not_found: bool,
    /// Playback fails with 500 and this text (`start timeout`, `failed to start`), and the session ends.
    pub start_error: Option<String>,
    /// How long after the opening the start error comes.
    pub start_error_after_ms: u64,
    /// The start request is never answered.
    pub json_hang: bool,
    /// The start request is answered this much later.
    pub json_delay_ms: u64,
    /// The start request gets HTTP 200 with this error.
    pub json_error: Option<String>,
    /// How the head of the start answer is malformed.
    pub json_head: HeadQuirk,
    /// The session is gone between the start answer and the playback request.
    pub vanish: bool,
    /// Redirects in place of media.
    pub redirect: Option<Redirect>,
    /// How the head of the media response is malformed.
    pub head: HeadQuirk,
    /// How the media body is delimited.
    pub framing: Framing,
    /// Something else in place of media.
    pub body: Body,
    /// Silence from now on: socket open, status `dl`.
    pub starve: bool,
    /// Silence this long after the body began.
    pub starve_after_ms: Option<u64>,
    /// The silence of `starve_after_ms` ends after this time; never, when absent.
    pub starve_for_ms: Option<u64>,
    /// Where media goes on after silence.
    pub resume: Resume,
    /// The body ends cleanly after this many bytes, moved off the packet boundary.
    pub eof_after_bytes: Option<u64>,
    /// The connection is reset after this many bytes, moved off the packet boundary.
    pub reset_after_bytes: Option<u64>,
    /// Garbage between packets.
    pub garbage: Option<Garbage>,
    /// From now on the last so many bytes, in whole packets, come again and again: the broadcaster is gone, and the swarm passes
    /// around what it has.
    pub repeat_bytes: Option<u64>,
    /// Media at one byte per second.
    pub trickle: bool,
    /// No media for clients that offer compression.
    pub compression_starves: bool,
    /// The stop command is answered, and takes effect, this much later.
    pub stop_delay_ms: u64,
    /// The stop command is never answered and has no effect.
    pub stop_hang: bool,
    /// Requests for stat are never answered.
    pub stat_hang: bool,
    /// What stat shows wrongly.
    pub stat: StatQuirk,
    /// The number of peers that stat shows.
    pub peers: Option<u32>,
    /// What is wrong with its playlist and segments.
    pub hls: HlsFaults,
    /// `get_media_files` does not know the channel.
    pub media_files_unknown: bool,
    /// `get_media_files` answers this much later.
    pub media_files_delay_ms: u64,
}

/// Switches of one channel's HLS. The default is a healthy playlist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HlsFaults {
    /// So many segments are listed, instead of 15.
    pub listed: Option<u32>,
    /// Each segment whose place is a multiple of this is missing, without a word about it.
    pub leave_out_every: Option<u64>,
    /// Segments answer 500 `download not found` although they are listed.
    pub evicted: bool,
    /// Segments break off in the middle.
    pub cut_short: bool,
    /// The target duration is stated a second too short.
    pub short_target: bool,
}

/// Switches of the whole engine. The default is a healthy engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineFaults {
    /// Connections are accepted and requests read, but nothing is answered, health included.
    pub hang: bool,
    /// Running bodies stand still. Together with `hang` this is a wedged process.
    pub stall: bool,
    /// The port is closed: connections are refused. Open connections live on.
    pub refuse: bool,
    /// Every connection is closed at once without a byte, as for clients that are not allowed in.
    pub deny: bool,
    /// The swarm is out of reach: `get_network_connection_status` says so.
    pub disconnected: bool,
    /// Health answers are HTTP 200 but not JSON.
    pub health_garbage: bool,
    /// Every answer of the API comes this much later.
    pub api_delay_ms: u64,
}

/// Ways to spoil a response head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadQuirk {
    /// A good head.
    #[default]
    None,
    /// Lines end with a bare line feed.
    LfOnly,
    /// One header has a name of 66,000 bytes.
    LongName,
    /// One header value of 1 MiB.
    Oversized,
    /// Header after header without an end, until the client gives up (64 MiB at most).
    Endless,
    /// The head dribbles in, one byte each 20 ms.
    Slow,
    /// The status line comes twice.
    DoubleStatus,
}

/// Redirects that lead nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Redirect {
    /// Back to the same URL.
    Loop,
    /// To this absolute URL.
    To(String),
}

/// How a media body is delimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// By the end of the connection, as engines do for live media.
    #[default]
    Close,
    /// Chunked.
    Chunked,
    /// Chunked, with chunk extensions, upper-case sizes with leading zeros, and trailers at the end.
    ChunkedExtensions,
    /// This many bytes, announced.
    ContentLength(u64),
}

/// What a media body consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// The broadcast.
    #[default]
    Media,
    /// An HTML page, labelled as media, then the end.
    Html,
    /// The engine's error text, labelled as media, then the end.
    ErrorText,
    /// Nothing: the head, then the end.
    Empty,
}

/// Where media goes on after silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resume {
    /// With the very next byte; what was missed follows at once.
    #[default]
    Contiguous,
    /// At live, on a packet boundary: counters and clock leap.
    Jump,
    /// At live, in the middle of a packet.
    JumpMidPacket,
}

/// Garbage between packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Garbage {
    /// After how many packets garbage follows.
    pub every_packets: u32,
    /// How many bytes of it; at most 4096 are sent.
    pub bytes: u32,
}

/// What stat shows wrongly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatQuirk {
    /// Nothing.
    #[default]
    None,
    /// `live_last` and its companions stand still: the broadcaster froze or loops.
    FrozenLive,
    /// `downloaded` is absurdly high.
    InflatedDownloaded,
    /// Only `status` is there.
    MissingFields,
    /// `livepos` holds numbers instead of strings.
    NumericLivepos,
    /// Not JSON at all.
    Garbage,
}

/// How a running body is ended on command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// Cleanly, mid-packet.
    Eof,
    /// With a reset.
    Reset,
}
