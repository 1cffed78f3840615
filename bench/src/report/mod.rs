//! Figures as people and programs read them: distributions, aligned tables, and the machine they were measured on.
//!
//! Pure but for [`Machine::here`], which reads `/proc`.

pub mod html;
mod outcome;
pub mod pairs;
mod threshold;

pub use outcome::{Figure, Outcome, Plot, Report};
pub use threshold::Threshold;

use std::fmt;
use std::fs;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest time a distribution tells apart.
const TIME_MAX: Duration = Duration::from_secs(600);

/// A distribution of times, collected in microseconds with three digits.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        let most = TIME_MAX.as_micros() as u64;
        Self(Histogram::new_with_bounds(1, most, 3).expect("constant bounds are valid"))
    }
}

impl Times {
    /// Adds a time; one beyond ten minutes counts as ten minutes.
    pub fn add(&mut self, time: Duration) {
        self.0.saturating_record((time.as_micros() as u64).max(1));
    }

    /// Adds all times of another distribution.
    pub fn add_all(&mut self, other: &Self) {
        self.0 += &other.0;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// The figures to print; `None` when nothing was added.
    pub fn summary(&self) -> Option<Summary> {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        (!self.0.is_empty()).then(|| Summary {
            count: self.0.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: self.0.max() as f64 / 1e3,
        })
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut all = Self::default();
        times.into_iter().for_each(|time| all.add(time));
        all
    }
}

/// A distribution in five numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many times were added.
    pub count: u64,
    /// Median, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 are at most this.
    pub p99_ms: f64,
    /// 999 of 1000 are at most this.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, p50_ms, p99_ms, p999_ms, max_ms } = self;
        write!(f, "p50 {p50_ms:.1}  p99 {p99_ms:.1}  p99.9 {p999_ms:.1}  max {max_ms:.1} ms  (of {count})")
    }
}

/// The median of a few values; `None` of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// Lines of a name and a text, aligned.
#[derive(Clone, Debug, Default)]
pub struct Table(Vec<(String, String)>);

impl Table {
    /// Adds a line.
    pub fn line(&mut self, name: &str, text: impl fmt::Display) {
        self.0.push((name.to_owned(), text.to_string()));
    }

    /// Adds a line when there is something to say.
    pub fn maybe(&mut self, name: &str, text: Option<impl fmt::Display>) {
        if let Some(text) = text {
            self.line(name, text);
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        self.0.iter().try_for_each(|(name, text)| writeln!(f, "{name:width$}  {text}"))
    }
}

/// What figures depend on beside the code.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Kernel release.
    pub kernel: String,
    /// Processor model.
    pub processor: String,
    /// Cores, whether or not this process is pinned to one of them.
    pub cores: usize,
    /// How TCP finds its rate (`net.ipv4.tcp_congestion_control`): it paces or not, also on loopback.
    pub congestion_control: String,
}

impl Machine {
    /// The machine this runs on; what cannot be read is `unknown`.
    pub fn here() -> Self {
        let unknown = || "unknown".to_owned();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease");
        let congestion_control = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            kernel: kernel.map_or_else(|_| unknown(), |text| text.trim().to_owned()),
            processor: model.map_or_else(unknown, |(_, name)| name.trim().to_owned()),
            cores: processors.lines().filter(|line| line.starts_with("processor\t")).count().max(1),
            congestion_control: congestion_control.map_or_else(|_| unknown(), |text| text.trim().to_owned()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, processor, cores, congestion_control } = self;
        write!(f, "{processor}, {cores} cores, Linux {kernel}, TCP {congestion_control}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that quantiles are of the times added, in milliseconds.
    #[test]
    fn a_summary_tells_the_distribution_in_milliseconds() {
        let times: Times = (1..=1000).map(Duration::from_millis).collect();
        let summary = times.summary().expect("not empty");
        assert_eq!((summary.count, summary.max_ms.round()), (1000, 1000.0));
        assert!((summary.p50_ms - 500.0).abs() < 1.0 && (summary.p99_ms - 990.0).abs() < 1.0, "{summary}");
        assert_eq!(Times::default().summary(), None);
    }

    /// Guards the median of odd, even and no values.
    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    /// Guards that the columns of a table line up.
    #[test]
    fn tables_are_aligned() {
        let mut table = Table::default();
        table.line("a", 1);
        table.line("long", 2.5);
        table.maybe("none", None::<u8>);
        assert_eq!(table.to_string(), "a     1\nlong  2.5\n");
    }
}
