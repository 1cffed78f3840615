//! Two things measured in turn: the ratio of each pair, and whether one is worse. Pure.
//!
//! The statistic is the sign test: were both alike, either would be the worse one of a pair as often as the other, so that the number of
//! pairs in which the second one is worse follows a binomial distribution. It assumes nothing of how the values are distributed, which a
//! shared machine would not keep to, and a drift that is slower than a pair favours neither.

use serde::Serialize;

use super::median;

/// How unlikely chance has to be before a difference counts.
pub const SIGNIFICANCE: f64 = 0.05;

/// One figure of two things, pair by pair. Smaller is better.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pairs {
    /// Which.
    pub name: String,
    /// Of the first and of the second thing.
    pub values: Vec<(f64, f64)>,
    /// Second over first: the least, the one in the middle, the most.
    pub ratio_min: f64,
    /// The one in the middle.
    pub ratio: f64,
    /// The most.
    pub ratio_max: f64,
    /// In how many pairs the second is worse.
    pub worse: usize,
    /// In how many it is better.
    pub better: usize,
    /// How likely at least so many worse pairs were, were both alike.
    pub p_worse: f64,
}

impl Pairs {
    /// Compares; `None` when there is no pair with a ratio.
    pub fn of(name: &str, values: Vec<(f64, f64)>) -> Option<Self> {
        let values: Vec<(f64, f64)> = values.into_iter().filter(|(a, b)| *a > 0.0 && b.is_finite()).collect();
        let ratios: Vec<f64> = values.iter().map(|(first, second)| second / first).collect();
        let ratio = median(ratios.iter().copied())?;
        let worse = ratios.iter().filter(|ratio| **ratio > 1.0).count();
        let better = ratios.iter().filter(|ratio| **ratio < 1.0).count();
        Some(Self {
            name: name.to_owned(),
            ratio_min: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            ratio,
            ratio_max: ratios.iter().copied().fold(0.0, f64::max),
            worse,
            better,
            p_worse: at_least(worse, worse + better),
            values,
        })
    }

    /// Whether the second is worse by more than this share in the middle, and not by chance.
    pub fn is_loss(&self, share: f64) -> bool {
        self.ratio > 1.0 + share && self.p_worse <= SIGNIFICANCE
    }
}

/// How likely at least `wins` heads are in `throws` of a coin.
fn at_least(wins: usize, throws: usize) -> f64 {
    // ln of a binomial coefficient, by sums, so that hundreds of pairs are no trouble.
    let ln_factorial = |n: usize| (2..=n).map(|k| (k as f64).ln()).sum::<f64>();
    let of = |k: usize| ln_factorial(throws) - ln_factorial(k) - ln_factorial(throws - k);
    let sum: f64 = (wins..=throws).map(|k| (of(k) - throws as f64 * 2f64.ln()).exp()).sum();
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the sign test by values from its table.
    #[test]
    fn chance_is_that_of_a_coin() {
        for (wins, throws, p) in
            [(0, 0, 1.0), (10, 10, 1.0 / 1024.0), (9, 10, 11.0 / 1024.0), (8, 10, 56.0 / 1024.0), (0, 7, 1.0)]
        {
            assert!((at_least(wins, throws) - p).abs() < 1e-9, "{wins} of {throws}");
        }
        assert!(at_least(600, 1000) < 1e-9);
    }

    /// Guards what counts as a loss: both large enough and more often than chance would have it.
    #[test]
    fn a_loss_is_large_and_no_chance() {
        let pairs = |ratios: &[f64]| Pairs::of("cpu", ratios.iter().map(|it| (2.0, 2.0 * it)).collect());
        let loses = |ratios: &[f64]| pairs(ratios).expect("pairs").is_loss(0.05);
        assert!(loses(&[1.1; 6]));
        assert!(!loses(&[1.1; 4]), "four pairs may be chance");
        assert!(!loses(&[1.02; 20]), "too small to matter");
        assert!(!loses(&[0.5, 1.2, 1.2, 0.6, 1.2, 1.2, 0.7, 1.2]), "not often enough");
        assert!(!loses(&[0.5; 20]));
        let one = pairs(&[1.0, 3.0, 0.5]).expect("pairs");
        assert_eq!((one.ratio_min, one.ratio, one.ratio_max, one.worse, one.better), (0.5, 1.0, 3.0, 1, 1));
        assert_eq!(Pairs::of("cpu", vec![(0.0, 1.0)]), None);
    }
}
