//! Statistics for the disk: one row for ten seconds, one for a minute. Pure.
//!
//! The row of the present ten seconds is written anew each second, so that a crash costs no more than that; the row of the
//! present minute with each ten seconds, since those rows hold the rest. A span begins with the first sample in it and
//! ends where the clock says, so that a stream that is found again after a restart never overwrites an earlier row.

use super::sample::Sample;
use crate::store::{Resolution, SampleRow};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The mean of what was known.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: i128,
    count: u32,
}

impl Mean {
    fn add(&mut self, value: Option<i64>) {
        if let Some(value) = value {
            self.sum += i128::from(value);
            self.count += 1;
        }
    }

    fn value(self) -> Option<i64> {
        (self.count > 0).then(|| i64::try_from(self.sum / i128::from(self.count)).unwrap_or(i64::MAX))
    }
}

#[derive(Clone, Debug)]
struct Span {
    at: SystemTime,
    end: SystemTime,
    count: u32,
    peers: Mean,
    speed_down: Mean,
    speed_up: Mean,
    downloaded: Option<i64>,
    uploaded: Option<i64>,
    status: Option<Arc<str>>,
}

impl Span {
    fn starting(at: SystemTime, length: Duration) -> Self {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let end = UNIX_EPOCH + Duration::from_secs(since - since % length.as_secs()) + length;
        let mean = Mean::default();
        let (peers, speed_down, speed_up) = (mean, mean, mean);
        Self {
            at,
            end,
            count: 0,
            peers,
            speed_down,
            speed_up,
            downloaded: None,
            uploaded: None,
            status: None,
        }
    }

    fn takes(&self, at: SystemTime) -> bool {
        // A clock that was set back starts a span of its own.
        self.at <= at && at < self.end
    }

    fn add(&mut self, sample: &Sample) {
        self.count += 1;
        self.peers.add(sample.peers);
        self.speed_down.add(sample.speed_down);
        self.speed_up.add(sample.speed_up);
        self.downloaded = sample.downloaded.or(self.downloaded);
        self.uploaded = sample.uploaded.or(self.uploaded);
        if sample.status.is_some() {
            self.status.clone_from(&sample.status);
        }
    }

    fn row(&self, stream_id: &str) -> SampleRow {
        SampleRow {
            stream_id: stream_id.to_owned(),
            at: self.at,
            count: self.count,
            peers: self.peers.value(),
            speed_down: self.speed_down.value(),
            speed_up: self.speed_up.value(),
            downloaded: self.downloaded,
            uploaded: self.uploaded,
            status: self.status.as_deref().map(str::to_owned),
        }
    }
}

/// Rows of one resolution each.
pub(super) type Rows = Vec<(Resolution, SampleRow)>;

/// The spans of one stream that are not over.
#[derive(Clone, Debug, Default)]
pub(super) struct Aggregates {
    ten_seconds: Option<Span>,
    minute: Option<Span>,
    is_changed: bool,
}

impl Aggregates {
    /// Takes a sample in; rows of spans that are over with it are added to `rows`.
    pub(super) fn add(&mut self, stream_id: &str, sample: &Sample, rows: &mut Rows) {
        if self.ten_seconds.as_ref().is_some_and(|span| !span.takes(sample.at)) {
            self.close(stream_id, rows);
        }
        if self.minute.as_ref().is_some_and(|span| !span.takes(sample.at)) {
            self.minute = None;
        }
        for (span, resolution) in
            [(&mut self.ten_seconds, Resolution::TenSeconds), (&mut self.minute, Resolution::Minute)]
        {
            span.get_or_insert_with(|| Span::starting(sample.at, resolution.span())).add(sample);
        }
        self.is_changed = true;
    }

    /// The row of the present ten seconds, if it changed since it was last asked for.
    pub(super) fn present(&mut self, stream_id: &str) -> Option<SampleRow> {
        let is_changed = std::mem::take(&mut self.is_changed);
        self.ten_seconds.as_ref().filter(|_| is_changed).map(|span| span.row(stream_id))
    }

    /// Ends the present ten seconds, and writes the minute as far as it has come.
    pub(super) fn close(&mut self, stream_id: &str, rows: &mut Rows) {
        if let Some(span) = self.ten_seconds.take() {
            rows.push((Resolution::TenSeconds, span.row(stream_id)));
            rows.extend(self.minute.iter().map(|span| (Resolution::Minute, span.row(stream_id))));
        }
        self.is_changed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A moment at the beginning of a minute, and so many milliseconds.
    fn at(milliseconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_769_941_200_000 + milliseconds)
    }

    fn sample(milliseconds: u64, peers: i64) -> Sample {
        Sample { peers: Some(peers), downloaded: Some(peers * 100), ..Sample::empty(at(milliseconds)) }
    }

    fn fed(samples: impl IntoIterator<Item = Sample>) -> (Aggregates, Rows) {
        let (mut aggregates, mut rows) = (Aggregates::default(), Rows::new());
        samples.into_iter().for_each(|sample| aggregates.add("s", &sample, &mut rows));
        (aggregates, rows)
    }

    /// Guards: every sample goes into exactly one row of each resolution: means of what was known, last totals.
    #[test]
    fn every_sample_is_in_one_row() {
        let (mut aggregates, mut rows) =
            fed((0..75).map(|second| sample(second * 1000 + 500, second as i64)));
        aggregates.close("s", &mut rows);
        let of = |resolution| rows.iter().filter(move |(found, _)| *found == resolution).map(|(_, row)| row);
        let tens: Vec<_> = of(Resolution::TenSeconds).collect();
        assert_eq!(tens.iter().map(|row| row.count).collect::<Vec<_>>(), [10, 10, 10, 10, 10, 10, 10, 5]);
        assert_eq!((tens[1].at, tens[1].peers, tens[1].downloaded), (at(10_500), Some(14), Some(1900)));
        assert_eq!((tens[0].speed_up, tens[0].status.as_deref()), (None, None));
        // The minute is written with each ten seconds under the same time; the last one is whole.
        let minutes: Vec<_> = of(Resolution::Minute).map(|row| (row.at, row.count)).collect();
        assert_eq!(minutes[5], (at(500), 60));
        assert_eq!(*minutes.last().unwrap(), (at(60_500), 15));
    }

    /// Guards: the present row is given each time it changed and only then, so that each second stores what is new.
    #[test]
    fn the_present_row_is_given_while_it_changes() {
        let (mut aggregates, _) = fed([sample(0, 1), sample(1000, 3)]);
        let row = aggregates.present("s").unwrap();
        assert_eq!((row.count, row.peers, row.at), (2, Some(2), at(0)));
        assert_eq!(aggregates.present("s"), None);
        aggregates.add("s", &sample(2000, 2), &mut Rows::new());
        assert_eq!(aggregates.present("s").map(|row| row.count), Some(3));
    }

    /// Guards: a clock that is set back, or stands long, makes new rows and breaks nothing.
    #[test]
    fn odd_clocks_make_rows_of_their_own() {
        let (mut aggregates, mut rows) = fed([sample(50_000, 1), sample(1000, 2), sample(4_000_000, 3)]);
        aggregates.close("s", &mut rows);
        let tens = rows.iter().filter(|(resolution, _)| *resolution == Resolution::TenSeconds);
        assert_eq!(tens.map(|(_, row)| row.at).collect::<Vec<_>>(), [at(50_000), at(1000), at(4_000_000)]);
    }
}
