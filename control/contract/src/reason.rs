//! The closed lists: why a client or session ended, why a request was refused. One name each, the same in the log,
//! the metric, the API and the panel.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Why a client or a session ended. The one closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Client: the player closed its connection. Session: the last player left and the grace period passed.
    ClientLeft,
    /// Client: its socket failed (reset, timeout of the network).
    ConnectionLost,
    /// Client: its socket took nothing for the write timeout.
    WriteTimeout,
    /// Client: it fell further behind than it may, and `SLOW_CLIENT=close`.
    TooSlow,
    /// Client: the window moved on while bytes were being sent to it; counted as our bug.
    Overrun,
    /// The start was given up before media came, because nobody waited for it any more.
    Abandoned,
    /// The start failed.
    StartFailed,
    /// The source failed and every attempt to replace it failed within the budget.
    FailoverExhausted,
    /// The source was silent for the whole of `EMPTY_TIMEOUT`.
    EmptyTimeout,
    /// Two keys turned out to name one broadcast; the newer session gave way to the older.
    Merged,
    /// Given up to free memory.
    Memory,
    /// Session: nobody watched it, and a play waited for its engine.
    Yielded,
    /// Its broadcast was found to loop.
    Looping,
    /// Ended by the operator.
    Stopped,
    /// The appliance is shutting down.
    Shutdown,
    /// A task failed inside the appliance; counted as our bug.
    Internal,
}

impl EndReason {
    /// Every reason, for metrics that show zeros and for the documentation test.
    pub const ALL: [Self; 16] = [
        Self::ClientLeft,
        Self::ConnectionLost,
        Self::WriteTimeout,
        Self::TooSlow,
        Self::Overrun,
        Self::Abandoned,
        Self::StartFailed,
        Self::FailoverExhausted,
        Self::EmptyTimeout,
        Self::Merged,
        Self::Memory,
        Self::Yielded,
        Self::Looping,
        Self::Stopped,
        Self::Shutdown,
        Self::Internal,
    ];

    /// Stable machine-readable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientLeft => "client_left",
            Self::ConnectionLost => "connection_lost",
            Self::WriteTimeout => "write_timeout",
            Self::TooSlow => "too_slow",
            Self::Overrun => "overrun",
            Self::Abandoned => "abandoned",
            Self::StartFailed => "start_failed",
            Self::FailoverExhausted => "failover_exhausted",
            Self::EmptyTimeout => "empty_timeout",
            Self::Merged => "merged",
            Self::Memory => "memory",
            Self::Yielded => "yielded",
            Self::Looping => "looping",
            Self::Stopped => "stopped",
            Self::Shutdown => "shutdown",
            Self::Internal => "internal",
        }
    }
}

/// Why a session changes its engine while that still plays. The one closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MoveReason {
    /// An operator asked for it.
    Requested,
    /// The engine is being replaced or removed.
    Draining,
    /// The engine is no longer there.
    Gone,
    /// The engine has lost its VPN's forwarded port: it can no longer be reached by peers.
    PortChanged,
    /// All engines in use behind one VPN are silent together.
    VpnDegraded,
    /// The engine does not answer any more, though its stream may still come.
    EngineDown,
}

impl MoveReason {
    /// Every reason, for metrics that show zeros and for the documentation test.
    pub const ALL: [Self; 6] =
        [Self::Requested, Self::Draining, Self::Gone, Self::PortChanged, Self::VpnDegraded, Self::EngineDown];

    /// Stable machine-readable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Draining => "draining",
            Self::Gone => "gone",
            Self::PortChanged => "port_changed",
            Self::VpnDegraded => "vpn_degraded",
            Self::EngineDown => "engine_down",
        }
    }

    /// Whether the engine has to be left even if there is no other.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Draining | Self::Gone)
    }
}

/// Why a request was refused. The one closed list; the HTTP status that goes with each is the client room's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// Neither `id` nor `infohash`.
    MissingId,
    /// Both `id` and `infohash`.
    AmbiguousId,
    /// Not 40 hexadecimal digits.
    MalformedId,
    /// `pid` with `STRICT_PID=true`.
    PidNotAllowed,
    /// The request is not HTTP, or breaks it.
    BadRequest,
    /// The request head is larger than the limit.
    HeadTooLarge,
    /// The request head did not arrive in time.
    HeadTimeout,
    /// Not `GET`, `HEAD` or `OPTIONS`.
    MethodNotAllowed,
    /// No such route or stream.
    NotFound,
    /// The broadcast was found to loop and is not played for a while.
    LoopingStream,
    /// The range asked for lies outside of the segment.
    RangeNotSatisfiable,
    /// `MAX_CLIENTS` reached.
    ClientsMax,
    /// `MAX_CLIENTS_PER_STREAM` reached.
    StreamClientsMax,
    /// `MAX_CLIENTS_PER_IP` reached.
    AddressClientsMax,
    /// New plays per address per second exceeded.
    AddressRate,
    /// `WINDOW_TOTAL_MIB` is spent.
    Memory,
    /// Out of file descriptors.
    Descriptors,
    /// No engine is configured or reachable.
    NoEngine,
    /// Every engine is at its capacity.
    MaxCapacity,
    /// Too many engines failed to start; the next try is later.
    CircuitBreaker,
    /// Docker, where engines are kept, cannot be used.
    NoDocker,
    /// A VPN was asked for, which is not supported: no engine is used without it.
    VpnNotSupported,
    /// The engine could not be reached or hangs.
    EngineUnreachable,
    /// The engine answered with an error.
    EngineError,
    /// The engine does not know the content.
    ContentNotFound,
    /// The engine delivered something that is not MPEG-TS.
    NotMpegTs,
    /// No media in time.
    StartTimeout,
    /// Control is busy, restarting or gone.
    ControlUnavailable,
    /// The session is being torn down.
    SessionEnding,
    /// The appliance is shutting down.
    Shutdown,
    /// A task failed inside the appliance; counted as our bug.
    Internal,
}

impl RefusalCode {
    /// Every code, for metrics that show zeros and for the documentation test.
    pub const ALL: [Self; 31] = [
        Self::MissingId,
        Self::AmbiguousId,
        Self::MalformedId,
        Self::PidNotAllowed,
        Self::BadRequest,
        Self::HeadTooLarge,
        Self::HeadTimeout,
        Self::MethodNotAllowed,
        Self::NotFound,
        Self::LoopingStream,
        Self::RangeNotSatisfiable,
        Self::ClientsMax,
        Self::StreamClientsMax,
        Self::AddressClientsMax,
        Self::AddressRate,
        Self::Memory,
        Self::Descriptors,
        Self::NoEngine,
        Self::MaxCapacity,
        Self::CircuitBreaker,
        Self::NoDocker,
        Self::VpnNotSupported,
        Self::EngineUnreachable,
        Self::EngineError,
        Self::ContentNotFound,
        Self::NotMpegTs,
        Self::StartTimeout,
        Self::ControlUnavailable,
        Self::SessionEnding,
        Self::Shutdown,
        Self::Internal,
    ];

    /// Stable machine-readable name, as players and scripts see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingId => "missing_id",
            Self::AmbiguousId => "ambiguous_id",
            Self::MalformedId => "malformed_id",
            Self::PidNotAllowed => "pid_not_allowed",
            Self::BadRequest => "bad_request",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadTimeout => "head_timeout",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NotFound => "not_found",
            Self::LoopingStream => "looping_stream",
            Self::RangeNotSatisfiable => "range_not_satisfiable",
            Self::ClientsMax => "clients_max",
            Self::StreamClientsMax => "stream_clients_max",
            Self::AddressClientsMax => "address_clients_max",
            Self::AddressRate => "address_rate",
            Self::Memory => "memory",
            Self::Descriptors => "descriptors",
            Self::NoEngine => "no_engine",
            Self::MaxCapacity => "max_capacity",
            Self::CircuitBreaker => "circuit_breaker",
            Self::NoDocker => "no_docker",
            Self::VpnNotSupported => "vpn_not_supported",
            Self::EngineUnreachable => "engine_unreachable",
            Self::EngineError => "engine_error",
            Self::ContentNotFound => "content_not_found",
            Self::NotMpegTs => "not_mpeg_ts",
            Self::StartTimeout => "start_timeout",
            Self::ControlUnavailable => "control_unavailable",
            Self::SessionEnding => "session_ending",
            Self::Shutdown => "shutdown",
            Self::Internal => "internal",
        }
    }
}

/// A refusal: what kind, what to tell the person, when to come back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", code.as_str())]
pub struct Refusal {
    /// Machine-readable kind.
    pub code: RefusalCode,
    /// Text for a person; lower case, no full stop.
    pub detail: Cow<'static, str>,
    /// Seconds after which a retry may help; `None` when it will not.
    pub retry_after_s: Option<u32>,
}

impl Refusal {
    /// A refusal that a retry does not help.
    pub fn new(code: RefusalCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), retry_after_s: None }
    }

    /// The same refusal with a hint when to come back.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}
