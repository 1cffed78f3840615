//! Writing metrics with all their samples, one at a time, as the format wants them.

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use sluice_contract::metric::Histogram;
use std::fmt;

/// Labels of one sample.
pub(super) type Labels = Vec<(&'static str, String)>;

/// Writes one metric at a time with all its samples.
pub(super) struct Writer<'a>(pub(super) DescriptorEncoder<'a>);

impl Writer<'_> {
    /// A gauge with its samples.
    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            match labels.is_empty() {
                true => metric.encode_gauge(&value)?,
                false => metric.encode_family(&labels)?.encode_gauge(&value)?,
            }
        }
        Ok(())
    }

    /// A counter with its samples.
    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            match labels.is_empty() {
                true => metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
                false => metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
            }
        }
        Ok(())
    }

    /// A histogram without labels.
    pub(super) fn histogram(&mut self, name: &str, help: &str, value: &Histogram) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(value.sum, value.count, &separate(value), None)
    }
}

/// One sample without labels.
pub(super) fn plain<T>(value: T) -> [(Labels, T); 1] {
    [(Labels::new(), value)]
}

/// The encoder adds buckets up itself, so it is given the count of each alone.
pub(super) fn separate(histogram: &Histogram) -> Vec<(f64, u64)> {
    let mut below = 0;
    let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(histogram.buckets.len() + 1);
    for (bound, cumulative) in &histogram.buckets {
        buckets.push((*bound, cumulative.saturating_sub(below)));
        below = below.max(*cumulative);
    }
    // Every histogram ends with the infinite bucket; readers refuse one that does not.
    if buckets.last().is_none_or(|(bound, _)| bound.is_finite()) {
        buckets.push((f64::INFINITY, histogram.count.saturating_sub(below)));
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_taken_apart_and_end_with_infinity() {
        let histogram =
            Histogram { buckets: vec![(0.1, 2), (1.0, 5), (f64::INFINITY, 6)], sum: 3.0, count: 6 };
        assert_eq!(separate(&histogram), [(0.1, 2), (1.0, 3), (f64::INFINITY, 1)]);
        let open = Histogram { buckets: vec![(0.1, 2)], sum: 3.0, count: 6 };
        assert_eq!(separate(&open), [(0.1, 2), (f64::INFINITY, 4)]);
    }
}
