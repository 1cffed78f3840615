//! The engine's sense of time: elapsed since the broadcast epoch, possibly sped up.

use std::time::{Duration, Instant, SystemTime};

/// Engine time. All durations it gives and takes are engine durations; [`Clock::real`] turns one into time to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
    /// Real time between the epoch and `origin`.
    lead: Duration,
    /// Seconds since 1970 of the epoch.
    epoch_unix: Duration,
    /// Engine time per real time, in thousandths; integers keep nanoseconds exact at fifty years.
    scale: u32,
}

impl Clock {
    pub(super) fn new(epoch: SystemTime, scale_permille: u32) -> Self {
        Self {
            origin: Instant::now(),
            lead: SystemTime::now().duration_since(epoch).unwrap_or_default(),
            epoch_unix: epoch.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            scale: scale_permille.max(1),
        }
    }

    /// Engine time since the epoch.
    pub(super) fn now(&self) -> Duration {
        let nanos = (self.lead + self.origin.elapsed()).as_nanos() * u128::from(self.scale) / 1000;
        Duration::from_nanos(nanos as u64)
    }

    /// The instant as Unix seconds, as `livepos` carries it.
    pub(super) fn unix(&self, at: Duration) -> u64 {
        (self.epoch_unix + at).as_secs()
    }

    /// Engine time of a Unix second; the epoch itself for anything earlier.
    pub(super) fn at_unix(&self, seconds: u64) -> Duration {
        Duration::from_secs(seconds).saturating_sub(self.epoch_unix)
    }

    /// How long to wait for a span of engine time to pass.
    pub(super) fn real(&self, span: Duration) -> Duration {
        let nanos = span.as_nanos().saturating_mul(1000) / u128::from(self.scale);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Waits for a span of engine time.
    pub(super) async fn sleep(&self, span: Duration) {
        tokio::time::sleep(self.real(span)).await;
    }
}
