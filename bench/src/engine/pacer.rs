//! When which bytes of the timeline may be sent: the delivery profiles.
//!
//! Pure: engine time goes in, positions come out. Apart from the first burst, what is available at an
//! instant depends on the broadcast alone, so engines of one broadcast deliver alike.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::channel::{PACKET, Timing, mix};

/// How media arrives. Named, because every gap figure depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Profile {
    /// A little every few milliseconds, at the stream's rate.
    Smooth {
        /// Time between two writes.
        interval_ms: u32,
    },
    /// Whole swarm pieces, each some seeded time after it was broadcast.
    Pieces {
        /// Size of a piece.
        bytes: u32,
        /// Most a piece comes late; never more than the piece lasts.
        jitter_ms: u32,
    },
    /// A large first burst, then pieces as in the default of [`Profile::Pieces`].
    Burst {
        /// Size of the first burst.
        bytes: u64,
        /// How long the burst takes.
        over_ms: u32,
    },
}

const PIECE_BYTES: u32 = 1 << 20;
const PIECE_JITTER_MS: u32 = 300;
/// Time between two writes of a large burst.
const BURST_STEP_MS: u128 = 5;

impl Profile {
    /// The profile called `smooth`.
    pub const SMOOTH: Self = Self::Smooth { interval_ms: 15 };
    /// The profile called `pieces`: 1 MiB with up to 300 ms of jitter.
    pub const PIECES: Self = Self::Pieces { bytes: PIECE_BYTES, jitter_ms: PIECE_JITTER_MS };
    /// The profile called `burst`: 22 MB within a second, then pieces.
    pub const BURST: Self = Self::Burst { bytes: 22_000_000, over_ms: 1000 };
}

/// The name is none of `smooth`, `pieces`, `burst`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown delivery profile {0:?}, there are smooth, pieces and burst")]
pub struct UnknownProfile(String);

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, UnknownProfile> {
        match name {
            "smooth" => Ok(Self::SMOOTH),
            "pieces" => Ok(Self::PIECES),
            "burst" => Ok(Self::BURST),
            other => Err(UnknownProfile(other.to_owned())),
        }
    }
}

/// The delivery schedule of one body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pacer {
    profile: Profile,
    timing: Timing,
    seed: u64,
    started: Duration,
    start: u64,
}

impl Pacer {
    /// A body that begins at `now` and reaches back by `reach_back` of media or by the profile's burst,
    /// whichever is more, but never before the epoch.
    pub(super) fn new(
        profile: Profile,
        timing: Timing,
        seed: u64,
        now: Duration,
        reach_back: Duration,
    ) -> Self {
        let reach = match profile {
            Profile::Burst { bytes, .. } => bytes.max(timing.bytes_in(reach_back)),
            _ => timing.bytes_in(reach_back),
        };
        let start = timing.position(now).saturating_sub(reach) / PACKET as u64 * PACKET as u64;
        Self { profile, timing, seed, started: now, start }
    }

    /// Where the body begins: on a packet boundary.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Everything before this position may have been sent by `now`. Hardly ever a packet boundary.
    pub(super) fn available(&self, now: Duration) -> u64 {
        match self.profile {
            Profile::Smooth { interval_ms } => {
                let (last, _) = self.grid(now, interval_ms);
                mid_packet(self.timing.position(last))
            }
            Profile::Pieces { bytes, jitter_ms } => self.frontier(now, bytes, jitter_ms),
            Profile::Burst { bytes, over_ms } => {
                let elapsed = now.saturating_sub(self.started).as_millis() / BURST_STEP_MS * BURST_STEP_MS;
                let burst = u128::from(bytes) * elapsed / u128::from(over_ms.max(1));
                let burst = self.start.saturating_add(burst.min(u128::from(u64::MAX / 2)) as u64);
                self.frontier(now, PIECE_BYTES, PIECE_JITTER_MS).min(mid_packet(burst))
            }
        }
        .max(self.start)
    }

    /// How long to wait, from `now` on, until there may be more.
    pub(super) fn pause(&self, now: Duration) -> Duration {
        match self.profile {
            Profile::Smooth { interval_ms } => {
                let (last, interval) = self.grid(now, interval_ms);
                last + interval - now
            }
            Profile::Pieces { bytes, jitter_ms } => self.until_next_piece(now, bytes, jitter_ms),
            Profile::Burst { over_ms, .. } => {
                let bursting = now.saturating_sub(self.started) < Duration::from_millis(u64::from(over_ms));
                let wait = self.until_next_piece(now, PIECE_BYTES, PIECE_JITTER_MS);
                if bursting { wait.min(Duration::from_millis(BURST_STEP_MS as u64)) } else { wait }
            }
        }
    }

    /// The latest instant of a smooth write, and the interval between two. Without fixed instants a fast sender would
    /// write a few bytes at a time without end. The phase depends on the channel, so that channels take turns.
    fn grid(&self, now: Duration, interval_ms: u32) -> (Duration, Duration) {
        let interval = Duration::from_millis(u64::from(interval_ms.max(1)));
        let nanos = interval.as_nanos() as u64;
        let past = (now.as_nanos() as u64).wrapping_add(mix(self.seed) % nanos) % nanos;
        (now.saturating_sub(Duration::from_nanos(past)), interval)
    }

    fn frontier(&self, now: Duration, bytes: u32, jitter_ms: u32) -> u64 {
        let bytes = u64::from(bytes.max(1));
        let complete = self.timing.position(now) / bytes;
        // Jitter is below a piece's duration: only the last complete piece can be late.
        let late = complete > 0 && self.ready(complete - 1, bytes, jitter_ms) > now;
        (complete - u64::from(late)) * bytes
    }

    fn until_next_piece(&self, now: Duration, bytes: u32, jitter_ms: u32) -> Duration {
        let piece = self.frontier(now, bytes, jitter_ms) / u64::from(bytes.max(1));
        let wait = self.ready(piece, u64::from(bytes.max(1)), jitter_ms).saturating_sub(now);
        wait.max(Duration::from_millis(1))
    }

    /// When piece `piece` arrives.
    fn ready(&self, piece: u64, bytes: u64, jitter_ms: u32) -> Duration {
        let lasts = self.timing.time_at(bytes);
        let most = (Duration::from_millis(u64::from(jitter_ms)).min(lasts).as_nanos() as u64).max(1);
        let late = Duration::from_nanos(mix(self.seed ^ piece) % most);
        self.timing.time_at((piece + 1).saturating_mul(bytes)) + late
    }
}

/// Moves a position off the packet boundary: real engines never cut there on purpose.
fn mid_packet(position: u64) -> u64 {
    if position.is_multiple_of(PACKET as u64) { position.saturating_sub(1) } else { position }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { packets: 5319, ticks: 27_000_000 };
    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn pacer(profile: Profile) -> Pacer {
        Pacer::new(profile, TIMING, 3, NOW, Duration::from_secs(10))
    }

    /// Guards that a body starts on a packet boundary the asked time behind live, and catches up at once.
    #[test]
    fn a_body_reaches_back() {
        for profile in [Profile::SMOOTH, Profile::PIECES] {
            let pacer = pacer(profile);
            let reach = TIMING.position(NOW) - pacer.start();
            assert_eq!(pacer.start() % 188, 0);
            assert!((9_999_000..10_001_000).contains(&reach), "{reach}");
            let burst = pacer.available(NOW) - pacer.start();
            assert!(burst > 7_500_000, "{burst}");
        }
    }

    /// Guards the rate: over a minute, each profile delivers what was broadcast, to within two pieces.
    #[test]
    fn every_profile_keeps_the_rate() {
        for profile in [Profile::SMOOTH, Profile::PIECES, Profile::BURST] {
            let pacer = pacer(profile);
            let mut now = NOW;
            let mut position = pacer.start();
            let mut writes = 0;
            while now < NOW + Duration::from_secs(60) {
                let available = pacer.available(now);
                assert!(available >= position, "went back");
                assert!(available <= TIMING.position(now), "sent what was not broadcast yet");
                writes += u32::from(available > position);
                position = available;
                now += pacer.pause(now);
            }
            let live = TIMING.position(now);
            assert!(live - position < 2 * u64::from(PIECE_BYTES) + 60_000, "{profile:?} fell behind");
            assert!((50..5000).contains(&writes), "{profile:?} wrote {writes} times");
        }
    }

    /// Guards the wake-up time: once it has passed, there is a new piece.
    #[test]
    fn pause_ends_when_the_next_piece_is_there() {
        let pacer = pacer(Profile::PIECES);
        let mut now = NOW;
        for _ in 0..100 {
            let before = pacer.available(now);
            now += pacer.pause(now);
            assert_eq!(pacer.available(now), before + u64::from(PIECE_BYTES));
        }
    }

    /// Guards that smooth media moves in steps: between two of them nothing is available, whoever asks how often.
    #[test]
    fn smooth_media_moves_in_steps() {
        let pacer = pacer(Profile::SMOOTH);
        let positions = (0..1000).map(|n| pacer.available(NOW + Duration::from_micros(n * 150)));
        let mut distinct: Vec<u64> = positions.collect();
        distinct.dedup();
        assert!((10..=11).contains(&distinct.len()), "{} steps in 150 ms", distinct.len());
    }

    /// Guards that the large burst takes its time and reaches its size.
    #[test]
    fn burst_is_spread_over_its_second() {
        let pacer = pacer(Profile::BURST);
        let sent = |ms| pacer.available(NOW + Duration::from_millis(ms)) - pacer.start();
        assert!(sent(0) < 1000);
        assert!((10_900_000..=11_000_000).contains(&sent(500)), "{}", sent(500));
        assert!(sent(1000) > 19_000_000);
    }

    /// Guards that different engines, and different sessions, see the same pieces at the same time.
    #[test]
    fn pieces_do_not_depend_on_the_session() {
        let early = pacer(Profile::PIECES);
        let late =
            Pacer::new(Profile::PIECES, TIMING, 3, NOW + Duration::from_secs(7), Duration::from_secs(3));
        for ms in (8000..12_000).step_by(37) {
            let now = NOW + Duration::from_millis(ms);
            assert_eq!(early.available(now), late.available(now));
        }
    }
}
