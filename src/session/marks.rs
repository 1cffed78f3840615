//! What is where in a session's window, for whoever looks at it: splices, silences, random access points. Nothing here decides
//! anything.
//!
//! Owned by the session, on its shard. Bounded: so many marks, and so many points shown of however many there are.

use crate::media::ts::MediaTime;
use crate::window::AccessIndex;
use sluice_contract::snapshot::{Event, Mark, Timeline};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Marks kept; the oldest goes first. A window with more of them is hardly worth a look.
const MARKS_MAX: usize = 24;
/// Random access points shown at most.
const POINTS_MAX: usize = 60;
/// Engines pause for a second by themselves; what is longer is worth a mark.
const SILENCE_MIN: Duration = Duration::from_secs(2);

/// The marks of one session.
#[derive(Debug, Default)]
pub(super) struct Marks {
    kept: VecDeque<Mark>,
    /// As they were shown last, until there is another one.
    shown: Option<Arc<[Mark]>>,
    /// The same of random access points, with the number of points and the time of the newest and the oldest it was made of.
    access: Option<(Found, Arc<[Duration]>)>,
}

/// What tells whether random access points are other ones than before.
type Found = (usize, Option<MediaTime>, Option<MediaTime>);

impl Marks {
    /// Media came after nothing had come for so long.
    pub(super) fn silence(&mut self, head: MediaTime, length: Duration) {
        if length >= SILENCE_MIN {
            self.add(head, Event::Silence(length));
        }
    }

    /// Something happened when the head was here.
    pub(super) fn add(&mut self, head: MediaTime, what: Event) {
        if self.kept.len() >= MARKS_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(Mark { place: time(head), at: SystemTime::now(), what });
        self.shown = None;
    }

    /// What is shown of a window. Costs little while nothing is new.
    pub(super) fn show(&mut self, index: &AccessIndex) -> Timeline {
        let marks = self.shown.get_or_insert_with(|| self.kept.iter().copied().collect()).clone();
        let found = (
            index.len(),
            index.newest().map(|point| point.media_time),
            index.oldest().map(|point| point.media_time),
        );
        let access = match &self.access {
            Some((before, access)) if *before == found => access.clone(),
            _ => {
                let step = index.len().div_ceil(POINTS_MAX).max(1);
                let points = index.points().step_by(step).map(|point| time(point.media_time));
                let access: Arc<[Duration]> = points.collect();
                self.access = Some((found, access.clone()));
                access
            }
        };
        Timeline { head: time(index.head_time()), access, marks }
    }
}

fn time(at: MediaTime) -> Duration {
    at.since(MediaTime::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::ts::{Continuity, Tables, testing};
    use crate::window::AccessPoint;

    fn seconds(count: u64) -> MediaTime {
        MediaTime::from_ticks(count * 27_000_000)
    }

    fn point(second: u64, tables: &Arc<Tables>) -> AccessPoint {
        AccessPoint {
            offset: second * 188,
            media_time: seconds(second),
            tables: tables.clone(),
            continuity: Continuity::new([]),
        }
    }

    /// Guards: a pause that engines make by themselves is no mark, marks are in order and bounded, and what did not change is not
    /// made anew for each look.
    #[test]
    fn marks_are_bounded_and_shared() {
        let (mut marks, index) = (Marks::default(), AccessIndex::default());
        marks.silence(seconds(1), Duration::from_millis(1500));
        assert!(marks.show(&index).marks.is_empty());
        for second in 0..40 {
            marks.silence(seconds(second), Duration::from_secs(3));
        }
        let shown = marks.show(&index).marks;
        assert_eq!((shown.len(), shown[0].place), (MARKS_MAX, Duration::from_secs(16)));
        assert_eq!(shown[0].what, Event::Silence(Duration::from_secs(3)));
        assert!(Arc::ptr_eq(&shown, &marks.show(&index).marks));
    }

    /// Guards: random access points are shown on the session's clock, not more than so many, and those that left the window are
    /// gone.
    #[test]
    fn points_are_shown_on_the_clock() {
        let (mut marks, mut index, tables) = (Marks::default(), AccessIndex::default(), testing::tables());
        (0..4).for_each(|second| index.push(point(second, &tables)));
        index.set_head_time(seconds(5));
        let shown = marks.show(&index);
        assert_eq!(shown.head, Duration::from_secs(5));
        assert_eq!(*shown.access, [0, 1, 2, 3].map(Duration::from_secs));
        assert!(Arc::ptr_eq(&shown.access, &marks.show(&index).access));
        index.forget_before(200);
        assert_eq!(*marks.show(&index).access, [2, 3].map(Duration::from_secs));
        (4..500).for_each(|second| index.push(point(second, &tables)));
        let many = marks.show(&index).access;
        assert!(many.len() <= POINTS_MAX && many.len() > POINTS_MAX / 2, "{}", many.len());
    }
}
