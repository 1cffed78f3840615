//! What an engine is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use super::faults::Faults;
use super::pacer::Profile;
use crate::channel::{Id, Source, SyntheticOptions, nth};

/// How an engine is set up. The default listens on two free loopback ports and knows no channel.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the engine's HTTP API listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where the side channel listens; port 0 picks a free one.
    pub control: SocketAddr,
    /// The broadcasts the engine can find.
    pub channels: Vec<ChannelSpec>,
    /// The instant at which every broadcast was at position 0. Engines that share it serve the same bytes.
    pub epoch: SystemTime,
    /// How much faster than real time the engine's world runs, in thousandths; media included.
    /// Away from 1000, put `epoch` close to now, or `livepos` shows dates in a far future.
    pub time_scale_permille: u32,
    /// How much of the delays of a real engine's look-ups remains (4.6 s for an unknown content id, 28 s for an
    /// unknown infohash, 4.7 s for unknown files), in thousandths.
    pub latency_scale_permille: u32,
    /// Threads that serve; one carries well over 1 Gbit/s.
    pub threads: usize,
    /// Seed of what looks random: piece jitter, garbage. Session ids are never those of another engine.
    pub seed: u64,
    /// A session without reader and activity ends after this long, in engine time.
    pub idle_timeout: Duration,
    /// Whether a stat request counts as activity unless it says `skip_player_activity=1`.
    pub stat_keeps_alive: bool,
    /// Whether playback URLs redirect once more, to `/content/…`, before media flows.
    pub content_hop: bool,
    /// What a second reader of one session gets.
    pub second_reader: SecondReader,
    /// The version the engine claims.
    pub version: Version,
}

impl Default for Options {
    fn default() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen: any,
            control: any,
            channels: Vec::new(),
            epoch: SystemTime::UNIX_EPOCH,
            time_scale_permille: 1000,
            latency_scale_permille: 50,
            threads: 1,
            seed: 1,
            idle_timeout: Duration::from_secs(60),
            stat_keeps_alive: true,
            content_hop: true,
            second_reader: SecondReader::Corrupt,
            version: Version { major: 3, minor: 2, patch: 11 },
        }
    }
}

/// What a second playback request of the same session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondReader {
    /// It gets a corrupt head and no media; the first reader goes on.
    Corrupt,
    /// It gets media, and the first reader is cut.
    CutFirst,
}

/// An engine version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The 3 of 3.2.11.
    pub major: u32,
    /// The 2 of 3.2.11.
    pub minor: u32,
    /// The 11 of 3.2.11.
    pub patch: u32,
}

impl Version {
    /// The version as one number, as engines report it: 3.2.11 is 3021100.
    pub fn code(self) -> u32 {
        self.major * 1_000_000 + self.minor * 10_000 + self.patch * 100
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// One broadcast as an engine knows it.
#[derive(Clone, Debug)]
pub struct ChannelSpec {
    /// Title, as `get_media_files` shows it.
    pub name: String,
    /// What `acestream://` links carry.
    pub content_id: Id,
    /// The swarm.
    pub infohash: Id,
    /// The bytes.
    pub source: Source,
    /// How they arrive.
    pub profile: Profile,
    /// How much media before live a new body begins with.
    pub reach_back: Duration,
    /// How long a cold start takes, in engine time.
    pub prebuffer: Duration,
    /// How long a segment of HLS lasts at least; it ends where decoding can begin.
    pub segment: Duration,
    /// It cannot be had as a continuous stream, only as HLS.
    pub is_encrypted: bool,
    /// What is wrong with it from the start.
    pub faults: Faults,
}

impl ChannelSpec {
    /// The `n`th standard channel with any source; smooth, 10 s of reach, 100 ms of prebuffer, healthy.
    pub fn new(n: u32, source: Source) -> Self {
        let (content_id, infohash) = nth(n);
        Self {
            name: format!("Channel {n}"),
            content_id,
            infohash,
            source,
            profile: Profile::SMOOTH,
            reach_back: Duration::from_secs(10),
            prebuffer: Duration::from_millis(100),
            segment: Duration::from_secs(4),
            is_encrypted: false,
            faults: Faults::default(),
        }
    }

    /// The `n`th standard channel, self-checking, with seed `n`, at `rate` bytes per second.
    pub fn synthetic(n: u32, rate: u64) -> Self {
        let options = SyntheticOptions { seed: u64::from(n), rate, ..SyntheticOptions::default() };
        Self::new(n, Source::Synthetic(options))
    }

    /// The `n`th standard channel, showing the clip, at `rate` bytes per second.
    pub fn clip(n: u32, rate: u64) -> Self {
        Self::new(n, Source::Clip { rate })
    }

    /// The same channel with another delivery profile.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// The same channel with faults.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// The same channel with another prebuffer time.
    #[must_use]
    pub fn with_prebuffer(mut self, prebuffer: Duration) -> Self {
        self.prebuffer = prebuffer;
        self
    }

    /// The same channel encrypted: only as HLS, with segments of this length.
    #[must_use]
    pub fn only_hls(mut self, segment: Duration) -> Self {
        (self.is_encrypted, self.segment) = (true, segment);
        self
    }

    /// The same channel with another reach of the first burst.
    #[must_use]
    pub fn with_reach_back(mut self, reach_back: Duration) -> Self {
        self.reach_back = reach_back;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the version code against two published pairs.
    #[test]
    fn version_codes_match_published_ones() {
        assert_eq!(Version { major: 3, minor: 2, patch: 11 }.code(), 3_021_100);
        assert_eq!(Version { major: 3, minor: 1, patch: 74 }.code(), 3_017_400);
    }
}
