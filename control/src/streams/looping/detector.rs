//! Which live streams do not go on. Pure: figures and the clock are passed in.
//!
//! A broadcaster that died leaves a swarm in which the last minutes are passed around; engines play them for ever and look
//! healthy. What gives it away is the live edge: it falls behind the clock (`lag`), stands still although figures come
//! (`frozen`), or moves within what was there before and never beyond it (`repeating`). Of what Sluice plays itself, the media
//! does too (`repeated`), whatever the engine says. Either has to last for the threshold and to be found again at the next check
//! with newer figures, so that one odd answer blocks nobody.

use crate::streams::Sample;
use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Edges outside of these years are no times: 2020-01-01 and 2050-01-01.
const EDGES: std::ops::RangeInclusive<i64> = 1_577_836_800..=2_524_608_000;
/// Checks in a row that have to find the same.
const CHECKS_MIN: u32 = 2;

/// What gave a stream away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// The live edge is far behind the clock.
    Lag,
    /// The live edge stands still.
    Frozen,
    /// The live edge goes back again and again and never beyond where it was.
    Repeating,
    /// The media itself has come before, byte for byte.
    Repeated,
}

impl Evidence {
    /// Stable machine-readable name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Lag => "lag",
            Self::Frozen => "frozen",
            Self::Repeating => "repeating",
            Self::Repeated => "repeated",
        }
    }
}

/// A stream that loops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Which.
    pub(crate) id: String,
    /// How long nothing new has come.
    pub(crate) behind: Duration,
    /// What gave it away.
    pub(crate) evidence: Evidence,
}

#[derive(Debug)]
struct Track {
    /// The furthest the live edge has been.
    furthest: i64,
    /// When it last got further.
    advanced_at: SystemTime,
    /// Where it was at the last check.
    edge: i64,
    /// Whether it went back since it last got further.
    went_back: bool,
    /// Which figures were looked at last.
    looked_at: SystemTime,
    /// Checks in a row that found something.
    strikes: u32,
}

/// What a session of ours sees of its own media: nothing new from one moment to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repeats {
    /// The stream.
    pub(crate) id: String,
    /// When something new came last.
    pub(crate) since: SystemTime,
    /// When media came last.
    pub(crate) until: SystemTime,
}

/// The streams under watch.
#[derive(Debug, Default)]
pub(crate) struct Detector {
    edges: HashMap<String, Track>,
    /// Streams whose media repeats: up to when they were looked at last, and how often they were found in a row.
    media: HashMap<String, (SystemTime, u32)>,
}

impl Detector {
    /// Looks at the newest figures of every live stream, and at what our own sessions see of their media; streams not among them
    /// are forgotten.
    pub(crate) fn check<'a>(
        &mut self,
        now: SystemTime,
        threshold: Duration,
        streams: impl Iterator<Item = (&'a str, &'a Sample)>,
        repeats: Vec<Repeats>,
    ) -> Vec<Found> {
        let mut found = self.media(threshold, repeats);
        let mut before = std::mem::take(&mut self.edges);
        for (id, sample) in streams {
            if found.iter().any(|found| found.id == id) {
                continue;
            }
            let edge = sample.livepos.as_ref().and_then(|position| position.live_last);
            let Some(edge) = edge.filter(|edge| EDGES.contains(edge)) else { continue };
            let known = before.remove(id);
            let (track, is_new) = match known {
                Some(track) if track.looked_at == sample.at => (track, false),
                Some(track) => (track.seen(edge, sample.at), true),
                None => (Track::new(edge, sample.at), true),
            };
            let verdict = track.verdict(now, threshold);
            let strikes = match verdict {
                None => 0,
                // Old figures confirm nothing.
                Some(_) => track.strikes + u32::from(is_new),
            };
            match verdict {
                Some((evidence, behind)) if strikes >= CHECKS_MIN => {
                    found.push(Found { id: id.to_owned(), behind, evidence });
                }
                _ => drop(self.edges.insert(id.to_owned(), Track { strikes, ..track })),
            }
        }
        found
    }

    /// The same rules for media: nothing new for longer than the threshold, found twice, with newer media in between.
    fn media(&mut self, threshold: Duration, repeats: Vec<Repeats>) -> Vec<Found> {
        let before = std::mem::take(&mut self.media);
        let mut found = Vec::new();
        for Repeats { id, since, until } in repeats {
            let behind = until.duration_since(since).unwrap_or_default();
            if behind <= threshold {
                continue;
            }
            let (looked_at, strikes) = before.get(&id).copied().unwrap_or((UNIX_EPOCH, 0));
            let strikes = strikes + u32::from(until > looked_at);
            if strikes >= CHECKS_MIN {
                found.push(Found { id, behind, evidence: Evidence::Repeated });
            } else {
                self.media.insert(id, (until, strikes));
            }
        }
        found
    }
}

impl Track {
    fn new(edge: i64, at: SystemTime) -> Self {
        Self { furthest: edge, advanced_at: at, edge, went_back: false, looked_at: at, strikes: 0 }
    }

    fn seen(self, edge: i64, at: SystemTime) -> Self {
        let is_further = edge > self.furthest;
        Self {
            furthest: self.furthest.max(edge),
            advanced_at: if is_further { at } else { self.advanced_at },
            went_back: !is_further && (self.went_back || edge < self.edge),
            edge,
            looked_at: at,
            strikes: self.strikes,
        }
    }

    fn verdict(&self, now: SystemTime, threshold: Duration) -> Option<(Evidence, Duration)> {
        let edge = UNIX_EPOCH + Duration::from_secs(self.edge.unsigned_abs());
        let lag = now.duration_since(edge).unwrap_or_default();
        // Measured between figures: a stream without newer ones is not known to stand still.
        let still = self.looked_at.duration_since(self.advanced_at).unwrap_or_default();
        if still > threshold {
            let evidence = if self.went_back { Evidence::Repeating } else { Evidence::Frozen };
            return Some((evidence, still));
        }
        (lag > threshold).then_some((Evidence::Lag, lag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::LivePos;

    const T0: u64 = 1_769_941_200;
    const THRESHOLD: Duration = Duration::from_secs(600);

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(T0 + second)
    }

    fn sample(second: u64, edge: i64) -> Sample {
        let position = LivePos { live_last: Some(edge), ..LivePos::default() };
        Sample { livepos: Some(Box::new(position)), ..Sample::empty(at(second)) }
    }

    /// Checks every ten seconds a stream whose edge is given by the second; answers when it was found, and how.
    fn found_at(seconds: u64, edge: impl Fn(u64) -> i64) -> Option<(u64, Evidence)> {
        let mut detector = Detector::default();
        (0..seconds).step_by(10).find_map(|second| {
            let sample = sample(second, edge(second));
            let found = detector.check(at(second), THRESHOLD, [("s", &sample)].into_iter(), Vec::new());
            found.first().map(|found| (second, found.evidence))
        })
    }

    fn live(second: u64) -> i64 {
        (T0 + second) as i64
    }

    /// Guards: an edge that follows the clock is left alone for ever, whatever its steps and its distance below the
    /// threshold.
    #[test]
    fn what_goes_on_is_left_alone() {
        assert_eq!(found_at(20_000, live), None);
        assert_eq!(found_at(20_000, |second| live(second) - 590), None);
        assert_eq!(found_at(20_000, |second| live(second - second % 500)), None);
        // A broadcaster whose clock runs an hour ahead.
        assert_eq!(found_at(20_000, |second| live(second) + 3600), None);
    }

    /// Guards: an edge that stood still is found once it is behind for longer than the threshold, at the second check.
    #[test]
    fn a_dead_broadcast_is_found() {
        assert_eq!(found_at(5000, |_| live(0)), Some((620, Evidence::Frozen)));
        // It was far behind when we came.
        assert_eq!(found_at(5000, |second| live(second) - 700), Some((10, Evidence::Lag)));
    }

    /// Guards: the same minutes over and over are found, also under a clock that runs ahead and hides the lag.
    #[test]
    fn repeated_content_is_found() {
        let round = |second: u64| live(second % 120) + 3600;
        let (second, evidence) = found_at(5000, round).unwrap();
        assert_eq!(evidence, Evidence::Repeating);
        assert!((710..=760).contains(&second), "found after {second} s");
    }

    /// Guards: one odd answer, and the same figures looked at twice, block nobody.
    #[test]
    fn one_reading_decides_nothing() {
        assert_eq!(found_at(5000, |second| if second == 500 { live(0) - 5000 } else { live(second) }), None);
        let (mut detector, old) = (Detector::default(), sample(0, live(0) - 5000));
        for second in 0..100 {
            assert_eq!(detector.check(at(second), THRESHOLD, [("s", &old)].into_iter(), Vec::new()), []);
        }
    }

    /// Guards: positions that are no times of day say nothing.
    #[test]
    fn odd_positions_say_nothing() {
        for odd in [0, -5, 12_345, 2_600_000_000] {
            assert_eq!(found_at(5000, |_| odd), None, "{odd}");
        }
        let mut detector = Detector::default();
        let none = Sample::empty(at(0));
        assert_eq!(detector.check(at(0), THRESHOLD, [("s", &none)].into_iter(), Vec::new()), []);
    }

    /// Guards: a stream that is no longer there is forgotten, so that the watch is bounded by the streams that play.
    #[test]
    fn streams_that_are_gone_are_forgotten() {
        let mut detector = Detector::default();
        let one = sample(0, live(0));
        detector.check(at(0), THRESHOLD, [("a", &one), ("b", &one)].into_iter(), vec![repeats("c", 0, 900)]);
        assert_eq!((detector.edges.len(), detector.media.len()), (2, 1));
        detector.check(at(10), THRESHOLD, [("b", &one)].into_iter(), Vec::new());
        assert_eq!((detector.edges.len(), detector.media.len()), (1, 0));
    }

    fn repeats(id: &str, since: u64, until: u64) -> Repeats {
        Repeats { id: id.to_owned(), since: at(since), until: at(until) }
    }

    /// Guards: media that repeats is found by the rules of all evidence, whatever the engine says of the live edge: after the
    /// threshold, twice, with newer media in between; once, even if the edge gives it away too.
    #[test]
    fn repeated_media_is_found() {
        let mut detector = Detector::default();
        let mut check = |until: u64, edge: i64| {
            let sample = sample(until, edge);
            let streams = [("s", &sample)].into_iter();
            let found = detector.check(at(until), THRESHOLD, streams, vec![repeats("s", 100, until)]);
            found.into_iter().map(|found| (found.behind.as_secs(), found.evidence)).collect::<Vec<_>>()
        };
        assert_eq!(check(700, live(700)), [], "not longer than the threshold");
        assert_eq!(check(701, live(701)), []);
        assert_eq!(check(701, live(701)), [], "the same media again confirms nothing");
        assert_eq!(check(711, live(711)), [(611, Evidence::Repeated)]);
        assert_eq!(check(720, live(0)), []);
        assert_eq!(check(730, live(0)), [(630, Evidence::Repeated)]);
    }
}
