//! What control may change of the shards' behaviour while they run.

use arc_swap::ArcSwap;
use std::time::Duration;

/// Behaviour that settings change without a restart. It holds for sessions that begin from then on, and for whatever is
/// decided anew each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// A session outlives its last player by so much.
    pub grace: Duration,
    /// A session ends after so much silence.
    pub empty_timeout: Duration,
    /// Whether players are sent to HLS.
    pub is_hls_default: bool,
    /// How far behind live a player joins a running stream; `None` where that is given in bytes.
    pub join_behind: Option<Duration>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(5),
            empty_timeout: Duration::from_secs(60),
            is_hls_default: false,
            join_behind: None,
        }
    }
}

/// The one place it stands in: written by control, read by shards without a lock.
#[derive(Debug, Default)]
pub struct Dial(ArcSwap<Tuning>);

impl Dial {
    /// A dial that stands so.
    pub fn new(tuning: Tuning) -> Self {
        Self(ArcSwap::from_pointee(tuning))
    }

    /// How it stands.
    pub fn read(&self) -> Tuning {
        **self.0.load()
    }

    /// Sets it.
    pub fn set(&self, tuning: Tuning) {
        self.0.store(tuning.into());
    }
}
