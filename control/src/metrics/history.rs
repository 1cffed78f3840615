//! What a chart shows of the past: the same few figures every five seconds for an hour, and their means every minute for a
//! day; and of the last hour, minute by minute, how often joins and gaps had taken how long. Pure: figures and clock are
//! passed in.
//!
//! Memory is fixed: each ring holds so many points and no more, about 140 KB together, however much plays. What is not known is
//! kept as such: a rate over a hole, and a rate across a counter that began anew. It outlives the control that kept it, not the
//! process.

use sluice_contract::metric::Histogram;
use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Between two fine points.
pub(crate) const FINE_EVERY: Duration = Duration::from_secs(5);
/// Between two coarse points.
const COARSE_EVERY: Duration = Duration::from_secs(60);
/// Fine points kept: an hour.
const FINE_MAX: usize = 720;
/// Coarse points kept: a day.
const COARSE_MAX: usize = 1440;
/// Fine points that make a coarse one.
const PER_COARSE: usize = (COARSE_EVERY.as_secs() / FINE_EVERY.as_secs()) as usize;
/// Rates over a longer time than this would hide a hole.
const HOLE: Duration = Duration::from_secs(30);
/// Between two looks at how long joins and gaps took.
const LATENCIES_EVERY: Duration = Duration::from_secs(60);
/// Looks at them that are kept: an hour.
const LATENCIES_MAX: usize = 60;
/// Figures of a point.
const FIGURES: usize = 10;

/// Figures of one moment, as they are read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// Players connected.
    pub(crate) players: f64,
    /// Players that wait for a start.
    pub(crate) waiting: f64,
    /// Sessions.
    pub(crate) streams: f64,
    /// Engines there are.
    pub(crate) engines: f64,
    /// Those among them with a stream.
    pub(crate) engines_used: f64,
    /// Peers of all streams.
    pub(crate) peers: f64,
    /// Engines' download, bit/s.
    pub(crate) download: f64,
    /// Engines' upload, bit/s.
    pub(crate) upload: f64,
    /// Bytes given to players so far.
    pub(crate) bytes_out: u64,
    /// Bytes taken from engines so far.
    pub(crate) bytes_in: u64,
}

/// How often joins and gaps have taken how long since shards began.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Latencies {
    /// From request to first media, joins to running streams.
    pub(crate) join: Histogram,
    /// Between two deliveries to one player.
    pub(crate) gap: Histogram,
}

/// One moment, or the mean of several. `NaN` stands for what is not known; that is half the size of an `Option`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    at_ms: u64,
    figures: [f32; FIGURES],
}

/// Columns of equal length, oldest first. Rates are bit/s.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, utoipa::ToSchema)]
#[schema(as = MetricsHistory)]
pub(crate) struct Columns {
    /// Seconds between two points.
    pub(crate) every_seconds: u64,
    /// Milliseconds since 1970.
    pub(crate) at: Vec<u64>,
    /// Players connected.
    pub(crate) players: Vec<Option<f32>>,
    /// Players that wait for the start of their stream.
    pub(crate) waiting: Vec<Option<f32>>,
    /// Sessions, watched or not.
    pub(crate) streams: Vec<Option<f32>>,
    /// Engines known.
    pub(crate) engines: Vec<Option<f32>>,
    /// Engines with a stream.
    pub(crate) engines_used: Vec<Option<f32>>,
    /// Peers of all streams.
    pub(crate) peers: Vec<Option<f32>>,
    /// What players were given.
    pub(crate) egress_bps: Vec<Option<f32>>,
    /// What engines gave.
    pub(crate) ingress_bps: Vec<Option<f32>>,
    /// What engines took from peers.
    pub(crate) download_bps: Vec<Option<f32>>,
    /// What engines gave to peers.
    pub(crate) upload_bps: Vec<Option<f32>>,
    /// How long joins to running streams took.
    pub(crate) join: Observed,
    /// How long players waited between two deliveries.
    pub(crate) gap: Observed,
}

/// How often something had taken how long, a row for every minute of at most an hour, oldest first. What lies between two moments
/// is the difference of their rows; a row with a smaller count than the one before means that counting began anew.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, utoipa::ToSchema)]
#[schema(as = MetricsObserved)]
pub(crate) struct Observed {
    /// Milliseconds since 1970.
    pub(crate) at: Vec<u64>,
    /// Upper bounds, seconds.
    pub(crate) bounds: Vec<f64>,
    /// For each moment how many there had been within each bound, and as the last how many at all.
    pub(crate) counts: Vec<Vec<u64>>,
}

/// The rings and what the next points are made of.
#[derive(Debug, Default)]
pub(crate) struct History {
    fine: VecDeque<Point>,
    coarse: VecDeque<Point>,
    /// The fine points of the minute that is not over.
    gathered: Vec<Point>,
    latencies: VecDeque<(u64, Latencies)>,
    /// When, and how many bytes had gone out and come in.
    totals: Option<(SystemTime, u64, u64)>,
}

impl History {
    /// Takes what was read; meant to be called every [`FINE_EVERY`].
    pub(crate) fn take(&mut self, at: SystemTime, reading: Reading) {
        let Reading { bytes_out, bytes_in, .. } = reading;
        let before = self.totals.replace((at, bytes_out, bytes_in));
        let rate = |after: u64, of: fn((SystemTime, u64, u64)) -> u64| {
            let (then, ..) = before?;
            let took = at.duration_since(then).ok().filter(|took| !took.is_zero() && *took <= HOLE)?;
            let grew = after.checked_sub(of(before?))?;
            Some(grew as f64 * 8.0 / took.as_secs_f64())
        };
        let known = |figure: Option<f64>| figure.map_or(f32::NAN, |figure| figure as f32);
        let point = Point {
            at_ms: milliseconds(at),
            figures: [
                reading.players as f32,
                reading.waiting as f32,
                reading.streams as f32,
                reading.engines as f32,
                reading.engines_used as f32,
                reading.peers as f32,
                known(rate(bytes_out, |totals| totals.1)),
                known(rate(bytes_in, |totals| totals.2)),
                reading.download as f32,
                reading.upload as f32,
            ],
        };
        push(&mut self.fine, point, FINE_MAX);
        self.gathered.push(point);
        if self.gathered.len() >= PER_COARSE {
            let mean = mean(&self.gathered);
            self.gathered.clear();
            push(&mut self.coarse, mean, COARSE_MAX);
        }
    }

    /// Takes how long joins and gaps took, once in [`LATENCIES_EVERY`] however often it is called, and nothing before any shard
    /// has shown figures.
    pub(crate) fn take_latencies(&mut self, at: SystemTime, latencies: impl FnOnce() -> Latencies) {
        let at_ms = milliseconds(at);
        let is_due =
            |(last_ms, _): &(u64, _)| u128::from(at_ms.abs_diff(*last_ms)) >= LATENCIES_EVERY.as_millis();
        if self.latencies.back().is_some_and(|last| !is_due(last)) {
            return;
        }
        let latencies = latencies();
        if !latencies.join.buckets.is_empty() {
            push(&mut self.latencies, (at_ms, latencies), LATENCIES_MAX);
        }
    }

    /// What is known of the time `window` before `now`: fine as far as fine points reach, else coarse.
    pub(crate) fn read(&self, now: SystemTime, window: Duration) -> Columns {
        let is_all_fine = window <= FINE_EVERY * FINE_MAX as u32 || self.fine.len() < FINE_MAX;
        let (points, every) =
            if is_all_fine { (&self.fine, FINE_EVERY) } else { (&self.coarse, COARSE_EVERY) };
        let since = now.checked_sub(window).and_then(|since| since.duration_since(UNIX_EPOCH).ok());
        let since_ms = since.unwrap_or_default().as_millis();
        let shown: Vec<&Point> = points.iter().filter(|point| u128::from(point.at_ms) >= since_ms).collect();
        let column = |place: usize| {
            let figures = shown.iter().map(|point| point.figures[place]);
            figures.map(|figure| (!figure.is_nan()).then_some(figure)).collect()
        };
        Columns {
            every_seconds: every.as_secs(),
            at: shown.iter().map(|point| point.at_ms).collect(),
            players: column(0),
            waiting: column(1),
            streams: column(2),
            engines: column(3),
            engines_used: column(4),
            peers: column(5),
            egress_bps: column(6),
            ingress_bps: column(7),
            download_bps: column(8),
            upload_bps: column(9),
            join: self.observed(since_ms, |latencies| &latencies.join),
            gap: self.observed(since_ms, |latencies| &latencies.gap),
        }
    }

    fn observed(&self, since_ms: u128, of: fn(&Latencies) -> &Histogram) -> Observed {
        let shown = self.latencies.iter().filter(|(at_ms, _)| u128::from(*at_ms) >= since_ms);
        let mut observed = Observed::default();
        for (at_ms, latencies) in shown {
            let buckets = &of(latencies).buckets;
            let Some((_, bounded)) = buckets.split_last() else { continue };
            observed.bounds = bounded.iter().map(|(bound, _)| *bound).collect();
            observed.at.push(*at_ms);
            observed.counts.push(buckets.iter().map(|(_, count)| *count).collect());
        }
        observed
    }
}

fn milliseconds(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

fn push<T>(ring: &mut VecDeque<T>, point: T, most: usize) {
    if ring.len() >= most {
        ring.pop_front();
    }
    ring.push_back(point);
}

/// The mean of what is known in each place, at the newest of the points.
fn mean(points: &[Point]) -> Point {
    let mut figures = [f32::NAN; FIGURES];
    for (place, figure) in figures.iter_mut().enumerate() {
        let known = points.iter().map(|point| point.figures[place]).filter(|figure| !figure.is_nan());
        let (sum, count) = known.fold((0.0, 0.0), |(sum, count), figure| (sum + figure, count + 1.0));
        if count > 0.0 {
            *figure = sum / count;
        }
    }
    Point { at_ms: points.last().map_or(0, |point| point.at_ms), figures }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_700_000_000);

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + START + Duration::from_secs(second)
    }

    /// A history with a point every five seconds until `second`; players are the second, 1000 bytes go out per second.
    fn until(second: u64) -> History {
        let mut history = History::default();
        for now in (0..=second).step_by(5) {
            let players = now as f64;
            history.take(
                at(now),
                Reading { players, bytes_out: now * 1000, bytes_in: now * 100, ..Reading::default() },
            );
        }
        history
    }

    /// Guards: a window has the points of its time in order, rates are what counters grew by, and the first has none.
    #[test]
    fn a_window_has_its_points() {
        let history = until(100);
        let all = history.read(at(100), Duration::from_secs(900));
        assert_eq!((all.every_seconds, all.at.len()), (5, 21));
        assert_eq!((all.players[0], all.players[20]), (Some(0.0), Some(100.0)));
        assert_eq!((all.egress_bps[0], all.egress_bps[1]), (None, Some(8000.0)));
        assert_eq!(all.ingress_bps[20], Some(800.0));
        let short = history.read(at(100), Duration::from_secs(60));
        assert_eq!((short.at.len(), short.players[0]), (13, Some(40.0)));
        assert_eq!(u128::from(short.at[0]), (START + Duration::from_secs(40)).as_millis());
    }

    /// Guards: both rings are bounded, an hour is fine, and a day has the means of its minutes.
    #[test]
    fn an_hour_is_fine_and_a_day_is_coarse() {
        let day = 26 * 3600;
        let history = until(day);
        assert_eq!((history.fine.len(), history.coarse.len()), (FINE_MAX, COARSE_MAX));
        let hour = history.read(at(day), Duration::from_secs(3600));
        assert_eq!((hour.every_seconds, hour.at.len()), (5, FINE_MAX));
        let whole = history.read(at(day), Duration::from_secs(86_400));
        assert_eq!((whole.every_seconds, whole.at.len()), (60, COARSE_MAX));
        // The minute of 60 to 115 s has the mean of 87.5 s; this one is as far from the second its newest point is of.
        let (newest, mean) = (*whole.at.last().unwrap(), whole.players.last().unwrap().unwrap());
        let second = newest / 1000 - START.as_secs();
        assert!((second as f32 - 27.5 - mean).abs() < 1.0, "{second} {mean}");
        // Before the fine ring has been full it knows everything there is to know.
        let young = until(600).read(at(600), Duration::from_secs(86_400));
        assert_eq!((young.every_seconds, young.at.len()), (5, 121));
    }

    /// Guards: how long joins and gaps took is told for the minutes of a window and kept for an hour, each in its own place.
    #[test]
    fn an_hour_of_latencies_is_kept() {
        let of = |count| Histogram {
            buckets: vec![(0.5, count), (1.0, 2 * count), (f64::INFINITY, 3 * count)],
            ..Histogram::default()
        };
        let mut history = History::default();
        history.take_latencies(at(57), Latencies::default);
        assert_eq!(history.read(at(57), Duration::from_secs(60)).gap, Observed::default());
        for second in 60..=6000 {
            let minute = second / 60;
            history.take_latencies(at(second), || Latencies { join: of(minute), gap: of(10 * minute) });
        }
        assert_eq!(history.latencies.len(), LATENCIES_MAX);
        let shown = history.read(at(6000), Duration::from_secs(120));
        assert_eq!((&shown.join.bounds, shown.join.at.len()), (&vec![0.5, 1.0], 3));
        assert_eq!(shown.join.counts, [[98, 196, 294], [99, 198, 297], [100, 200, 300]]);
        assert_eq!(shown.gap.counts.last().unwrap(), &[1000, 2000, 3000]);
        assert_eq!(u128::from(shown.gap.at[0]), (START + Duration::from_secs(5880)).as_millis());
    }

    /// Guards: no rate is made up where counters began anew, over a hole, or when the clock was set back.
    #[test]
    fn what_is_not_known_is_not_made_up() {
        let mut history = until(10);
        let mut take = |second: u64, bytes_out: u64| {
            history.take(at(second), Reading { bytes_out, ..Reading::default() });
            history.read(at(1000), Duration::from_secs(1000)).egress_bps.last().copied().unwrap()
        };
        assert_eq!(take(15, 500), None, "a counter fell");
        assert_eq!(take(20, 1500), Some(1600.0));
        assert_eq!(take(90, 9500), None, "a hole");
        assert_eq!(take(60, 9600), None, "the clock was set back");
        let of = |figure| Point { at_ms: 1, figures: [figure; FIGURES] };
        assert_eq!(mean(&[of(f32::NAN), of(2.0), of(4.0)]).figures[0], 3.0);
        assert!(mean(&[of(f32::NAN)]).figures[0].is_nan());
    }
}
