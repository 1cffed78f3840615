//! Metric values as they leave a shard: names and numbers, no exposition format.

/// Names of the data plane's metrics that control shows under further names too, or over time.
pub mod published {
    /// Sessions begun, a counter.
    pub const SESSIONS_STARTED: &str = "sluice_sessions_started";
    /// Players admitted, a counter.
    pub const CLIENTS_STARTED: &str = "sluice_clients_started";
    /// Bytes received from engines, a counter.
    pub const ENGINE_BYTES: &str = "sluice_engine_bytes";
    /// Bytes taken by players' sockets, a counter.
    pub const CLIENT_BYTES: &str = "sluice_client_bytes";
    /// From request to first media of joins to running streams, a histogram.
    pub const JOIN_SECONDS: &str = "sluice_join_seconds";
    /// Between two deliveries to one player, a histogram.
    pub const DELIVERY_GAP_SECONDS: &str = "sluice_delivery_gap_seconds";
    /// How long sessions lived, a histogram.
    pub const SESSION_SECONDS: &str = "sluice_session_seconds";
}

/// Static name and help of one metric. Names follow Prometheus conventions without the `_total` suffix, which the
/// exposition adds to counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Metric name, prefix `sluice_`.
    pub name: &'static str,
    /// One line of help with the unit.
    pub help: &'static str,
}

/// One labelled number. Labels are static and bounded; the exposition adds `shard`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Which metric.
    pub name: Name,
    /// At most one label, from a closed set.
    pub label: Option<(&'static str, &'static str)>,
    /// The number.
    pub value: Value,
}

/// The kinds of numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Only grows.
    Counter(u64),
    /// Goes up and down.
    Gauge(f64),
    /// Cumulative counts below each bound.
    Histogram(Histogram),
}

/// A histogram reduced to fixed bounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Pairs of upper bound (seconds) and cumulative count; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// Sum of all values, seconds.
    pub sum: f64,
    /// Number of values.
    pub count: u64,
}
