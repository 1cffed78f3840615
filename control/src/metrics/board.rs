//! The data plane's samples, with the shard as a label.

use super::writer::separate;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use sluice_contract::metric::{Name, Sample, Value};
use sluice_contract::snapshot::Board;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Reads the board at each scrape.
pub(crate) struct Shards(pub(crate) Arc<Board>);

impl fmt::Debug for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shards")
    }
}

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shards = self.0.read();
        // The format wants all samples of one name together.
        let mut by_name: BTreeMap<Name, Vec<(u16, &Sample)>> = BTreeMap::new();
        for shard in &shards {
            for sample in &shard.metrics {
                by_name.entry(sample.name).or_default().push((shard.id.0, sample));
            }
        }
        for (name, samples) in by_name {
            let kind = kind(&samples[0].1.value);
            let mut metric = encoder.encode_descriptor(name.name, name.help, None, kind)?;
            for (shard, sample) in samples {
                let mut labels = vec![("shard", shard.to_string())];
                labels.extend(sample.label.map(|(name, value)| (name, value.to_owned())));
                let mut metric = metric.encode_family(&labels)?;
                match (&sample.value, kind) {
                    (Value::Counter(value), MetricType::Counter) => {
                        metric.encode_counter::<NoLabelSet, _, u64>(value, None)?;
                    }
                    (Value::Gauge(value), MetricType::Gauge) => metric.encode_gauge(value)?,
                    (Value::Histogram(histogram), MetricType::Histogram) => {
                        let buckets = separate(histogram);
                        metric.encode_histogram::<NoLabelSet>(
                            histogram.sum,
                            histogram.count,
                            &buckets,
                            None,
                        )?;
                    }
                    // One name has one kind; a sample that disagrees is a bug of its shard, and the rest is still shown.
                    _ => tracing::error!(name = name.name, shard, "a metric changed its kind; this is a bug"),
                }
            }
        }
        Ok(())
    }
}

fn kind(value: &Value) -> MetricType {
    match value {
        Value::Counter(_) => MetricType::Counter,
        Value::Gauge(_) => MetricType::Gauge,
        Value::Histogram(_) => MetricType::Histogram,
    }
}
