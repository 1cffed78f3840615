//! What a thread got of the processors and how long it waited for one, as the kernel counts it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// The appliance's thread that answers callers.
const ANSWERS: &str = "control-api";

/// A thread that is looked at.
pub(super) struct Watched(PathBuf);

/// What a thread got so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Turns {
    ran: Duration,
    waited: Duration,
}

/// The slowest of many answers, taken together: their mean, and where the time went.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Slowest {
    /// Answers.
    pub count: u64,
    /// How long one took.
    pub took_ms: f64,
    /// For how much of that the thread that answers had a processor.
    pub ran_ms: f64,
    /// And waited for one, with something to do.
    pub waited_ms: f64,
}

/// One answer: how long it took, and what its thread got meanwhile.
pub(super) struct Answer {
    pub(super) took: Duration,
    pub(super) turns: Turns,
}

impl Watched {
    /// The thread of the process `pid` that answers; `None` when it has none, or the kernel does not count.
    pub(super) fn answering(pid: u32) -> Option<Self> {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let paths = threads.filter_map(|thread| Some(thread.ok()?.path()));
        let is_it = |path: &PathBuf| {
            fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim_end() == ANSWERS)
        };
        let found = Self(paths.into_iter().find(is_it)?.join("schedstat"));
        found.turns().map(|_| found)
    }

    /// So far.
    pub(super) fn turns(&self) -> Option<Turns> {
        turns(&fs::read_to_string(&self.0).ok()?)
    }
}

/// A line of `schedstat`: nanoseconds on a processor, nanoseconds waiting for one, turns.
fn turns(text: &str) -> Option<Turns> {
    let mut numbers = text.split_ascii_whitespace().map(|number| number.parse().map(Duration::from_nanos));
    let (ran, waited) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(Turns { ran, waited })
}

impl Turns {
    pub(super) fn since(self, before: Self) -> Self {
        Self { ran: self.ran.saturating_sub(before.ran), waited: self.waited.saturating_sub(before.waited) }
    }
}

impl Slowest {
    /// Of the slowest hundredth; at least one.
    pub(super) fn of(mut answers: Vec<Answer>) -> Option<Self> {
        answers.sort_by_key(|answer| std::cmp::Reverse(answer.took));
        answers.truncate((answers.len() / 100).max(1));
        let count = answers.len() as u64;
        let mean = |time: fn(&Answer) -> Duration| {
            let sum: Duration = answers.iter().map(time).sum();
            sum.as_secs_f64() * 1e3 / count as f64
        };
        (count > 0).then(|| Self {
            count,
            took_ms: mean(|answer| answer.took),
            ran_ms: mean(|answer| answer.turns.ran),
            waited_ms: mean(|answer| answer.turns.waited),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: the kernel's line is read, and it does count: otherwise the slowest would look as if nobody had waited.
    #[test]
    fn what_the_kernel_counts_is_read() {
        let of = |ran, waited| Turns { ran: Duration::from_nanos(ran), waited: Duration::from_nanos(waited) };
        assert_eq!(turns("5000 70 3\n"), Some(of(5000, 70)));
        assert_eq!(turns("5000"), None);
        assert_eq!(of(5000, 70).since(of(1000, 80)), of(4000, 0));
    }

    /// Guards: it is the slowest that are told of, with what their thread got.
    #[test]
    fn the_slowest_are_told_of() {
        let answer = |took: u64, waited: u64| Answer {
            took: Duration::from_millis(took),
            turns: Turns { ran: Duration::from_millis(1), waited: Duration::from_millis(waited) },
        };
        let mut answers: Vec<Answer> = (0..198).map(|_| answer(2, 0)).collect();
        answers.extend([answer(30, 20), answer(10, 4)]);
        let told = Slowest { count: 2, took_ms: 20.0, ran_ms: 1.0, waited_ms: 12.0 };
        assert_eq!(Slowest::of(answers), Some(told));
        assert_eq!(Slowest::of(vec![answer(3, 1)]).map(|one| one.count), Some(1));
        assert_eq!(Slowest::of(Vec::new()), None);
    }
}
