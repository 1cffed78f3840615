//! Thresholds given on the command line, as `gap.p999_ms>250`. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::outcome::Figure;

/// A bound whose crossing fails a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// The end of a figure's name, in whole steps.
    name: String,
    /// Which of several values counts.
    which: Which,
    sign: Sign,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// The one that is farthest on the wrong side.
    Worst,
    Min,
    Median,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Above,
    AtLeast,
    Below,
    AtMost,
}

const SIGNS: [(&str, Sign); 4] =
    [(">=", Sign::AtLeast), ("<=", Sign::AtMost), (">", Sign::Above), ("<", Sign::Below)];

/// Why there is no threshold, or it cannot be judged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// It is not written as one.
    #[error("{0:?} is not NAME>NUMBER; signs are > >= < <=, and NAME may stand in min(), median() or max()")]
    Format(String),
    /// The run gave no such figure.
    #[error("no figure of this run is called {name:?}; there are: {there}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// All names.
        there: String,
    },
}

impl FromStr for Threshold {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Format(text.to_owned());
        let found = SIGNS.iter().find_map(|(sign, means)| Some((text.split_once(sign)?, *means)));
        let ((name, bound), sign) = found.ok_or_else(bad)?;
        let name = name.trim();
        let inside = |which: &str| name.strip_prefix(which)?.strip_prefix('(')?.strip_suffix(')');
        let (name, which) = [("min", Which::Min), ("median", Which::Median), ("max", Which::Max)]
            .iter()
            .find_map(|(word, which)| Some((inside(word)?, *which)))
            .unwrap_or((name, Which::Worst));
        let is_name = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '.');
        let bound = bound.trim().parse::<f64>().ok().filter(|bound| bound.is_finite()).ok_or_else(bad)?;
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(bad());
        }
        Ok(Self { name: name.to_owned(), which, sign, bound })
    }
}

impl Threshold {
    /// What crosses it, one text for each figure of that name; empty when none does.
    ///
    /// # Errors
    /// There is no such figure.
    pub fn crossed(&self, figures: &BTreeMap<String, Figure>) -> Result<Vec<String>, Error> {
        let named: Vec<_> = figures.iter().filter(|(name, _)| ends_with(name, &self.name)).collect();
        if named.is_empty() {
            let there: Vec<&str> = figures.keys().map(String::as_str).collect();
            return Err(Error::Unknown { name: self.name.clone(), there: there.join(", ") });
        }
        let crossed = named.into_iter().filter_map(|(name, figure)| {
            let value = self.value(figure);
            self.is_crossed(value).then(|| format!("{name} is {value}, and fails at {self}"))
        });
        Ok(crossed.collect())
    }

    fn value(&self, figure: &Figure) -> f64 {
        match (self.which, self.sign) {
            (Which::Min, _) | (Which::Worst, Sign::Below | Sign::AtMost) => figure.min,
            (Which::Max, _) | (Which::Worst, Sign::Above | Sign::AtLeast) => figure.max,
            (Which::Median, _) => figure.median,
        }
    }

    fn is_crossed(&self, value: f64) -> bool {
        match self.sign {
            Sign::Above => value > self.bound,
            Sign::AtLeast => value >= self.bound,
            Sign::Below => value < self.bound,
            Sign::AtMost => value <= self.bound,
        }
    }
}

/// Whether the steps of a name end in those of another; `.` and `_` are the same.
fn ends_with(name: &str, end: &str) -> bool {
    let same = |text: &str| text.replace('.', "_");
    let (whole, end) = (same(name), same(end));
    let starts = std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1));
    starts.into_iter().any(|start| whole[start..] == end)
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = SIGNS.iter().find(|(_, sign)| *sign == self.sign).map_or("", |(text, _)| text);
        match self.which {
            Which::Worst => write!(f, "{}{sign}{}", self.name, self.bound),
            Which::Min => write!(f, "min({}){sign}{}", self.name, self.bound),
            Which::Median => write!(f, "median({}){sign}{}", self.name, self.bound),
            Which::Max => write!(f, "max({}){sign}{}", self.name, self.bound),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> BTreeMap<String, Figure> {
        let figure = |min, median, max| Figure { count: 3, min, median, max };
        BTreeMap::from([
            ("drained.gap.p999_ms".to_owned(), figure(10.0, 10.0, 10.0)),
            ("paced.gap.p999_ms".to_owned(), figure(1.0, 2.0, 300.0)),
            ("paced.longest_gap.p999_ms".to_owned(), figure(900.0, 900.0, 900.0)),
        ])
    }

    fn crossed(text: &str) -> usize {
        text.parse::<Threshold>().expect("a threshold").crossed(&figures()).expect("it is there").len()
    }

    /// Guards: a name means every figure that ends in its whole steps, and the worst of several values counts unless another is asked for.
    #[test]
    fn thresholds_find_their_figures() {
        assert_eq!(crossed("gap_p999_ms>250"), 1);
        assert_eq!(crossed("gap.p999_ms > 5"), 2);
        assert_eq!(crossed("median(gap.p999_ms)>5"), 1);
        assert_eq!(crossed("max(paced.gap.p999_ms)>=300"), 1);
        assert_eq!(crossed("min(paced.gap.p999_ms)<1"), 0);
        assert_eq!(crossed("p999_ms<=1"), 1);
        assert_eq!(crossed("p999_ms>1000"), 0);
    }

    /// Guards: what is no threshold is refused when it is read, and one for a figure that the run does not have when it is judged.
    #[test]
    fn what_cannot_be_judged_is_said() {
        for bad in ["", "gap", "gap>", ">5", "gap>many", "gap=5", "a b>5", "mean(gap)>5", "gap>inf"] {
            assert!(bad.parse::<Threshold>().is_err(), "{bad}");
        }
        let unknown = "gaps>5".parse::<Threshold>().expect("a threshold").crossed(&figures());
        assert!(unknown.expect_err("no such figure").to_string().contains("drained.gap.p999_ms"));
        assert_eq!(
            "median(a.b)<=1.5".parse::<Threshold>().expect("it is one").to_string(),
            "median(a.b)<=1.5"
        );
    }
}
