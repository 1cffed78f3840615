//! What is slower or fuller than it should be, found by comparing what shards show with what they showed a second before.
//! Pure: shards do nothing for it that they do not do anyway.

use serde_json::{Map, Value, json};
use sluice_contract::ShardId;
use sluice_contract::metric::Histogram;
use sluice_contract::snapshot::Shard;
use std::collections::HashMap;
use std::sync::Arc;

/// A histogram of the data plane, from which length on one of its values is a bottleneck, and as what. The lengths are
/// bounds of the histogram.
struct Watched {
    metric: &'static str,
    from_s: f64,
    what: &'static str,
}

const WATCHED: [Watched; 3] = [
    // A tick stretches to 200 ms as a shard fills.
    Watched { metric: "sluice_tick_length_seconds", from_s: 0.25, what: "tick_overrun" },
    Watched { metric: "sluice_canary_delay_seconds", from_s: 0.05, what: "starvation" },
    Watched { metric: "sluice_hand_over_seconds", from_s: 0.25, what: "slow_hand_over" },
];
/// A counter of the data plane that grows when a queue was full, and which queue that was.
const FULL: [(&str, &str); 1] = [("sluice_plays_untold", "control_inbox")];

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Bottlenecks {
    seen: HashMap<(ShardId, &'static str), u64>,
    queues: HashMap<&'static str, u64>,
}

impl Bottlenecks {
    /// Everything that has got worse since the last pass. `queues` are counts of what found a queue of control's full.
    pub(super) fn pass(
        &mut self,
        board: &[Arc<Shard>],
        queues: &[(&'static str, u64)],
    ) -> Vec<Map<String, Value>> {
        let mut found = Vec::new();
        for shard in board {
            for Watched { metric, from_s, what } in &WATCHED {
                let Some(histogram) = histogram(shard, metric) else { continue };
                let count = self.news(shard.id, metric, above(histogram, *from_s));
                if count > 0 {
                    let from_ms = (from_s * 1000.0).round();
                    found.push(
                        json!({ "what": what, "shard": shard.id.0, "count": count, "above_ms": from_ms }),
                    );
                }
            }
            for (metric, queue) in FULL {
                let Some(value) = counter(shard, metric) else { continue };
                let count = self.news(shard.id, metric, value);
                if count > 0 {
                    found.push(
                        json!({ "what": "full_queue", "queue": queue, "shard": shard.id.0, "count": count }),
                    );
                }
            }
        }
        for (queue, value) in queues {
            let before = self.queues.insert(queue, *value);
            let count = before.map_or(0, |before| value.saturating_sub(before));
            if count > 0 {
                found.push(json!({ "what": "full_queue", "queue": queue, "count": count }));
            }
        }
        found.into_iter().filter_map(|line| line.as_object().cloned()).collect()
    }

    /// How much a number grew; what is seen for the first time did not.
    fn news(&mut self, shard: ShardId, metric: &'static str, value: u64) -> u64 {
        let before = self.seen.insert((shard, metric), value);
        before.map_or(0, |before| value.saturating_sub(before))
    }
}

fn histogram<'a>(shard: &'a Shard, metric: &str) -> Option<&'a Histogram> {
    shard.metrics.iter().find_map(|sample| match &sample.value {
        sluice_contract::metric::Value::Histogram(histogram) if sample.name.name == metric => Some(histogram),
        _ => None,
    })
}

fn counter(shard: &Shard, metric: &str) -> Option<u64> {
    shard.metrics.iter().find_map(|sample| match sample.value {
        sluice_contract::metric::Value::Counter(count) if sample.name.name == metric => Some(count),
        _ => None,
    })
}

/// How many values lie above a bound.
fn above(histogram: &Histogram, bound: f64) -> u64 {
    let within = histogram.buckets.iter().rev().find(|(upper, _)| *upper <= bound);
    histogram.count.saturating_sub(within.map_or(0, |(_, count)| *count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_contract::metric::{Name, Sample, Value as Number};
    use std::time::SystemTime;

    fn shard(metrics: Vec<(&'static str, Number)>) -> Vec<Arc<Shard>> {
        let sample = |(name, value)| Sample { name: Name { name, help: "" }, label: None, value };
        vec![Arc::new(Shard {
            id: ShardId(3),
            driver: None,
            taken_at: SystemTime::UNIX_EPOCH,
            sessions: Vec::new(),
            replicas: Vec::new(),
            demand: 0,
            ended: Vec::new(),
            ended_sessions: Vec::new(),
            metrics: metrics.into_iter().map(sample).collect(),
        })]
    }

    /// A histogram of so many values of each of these lengths.
    fn lengths(values: &[(f64, u64)]) -> Number {
        let bounds = [0.02, 0.05, 0.1, 0.25, 0.5, f64::INFINITY];
        let below = |bound: f64| values.iter().filter(|(at, _)| *at <= bound).map(|(_, count)| count).sum();
        Number::Histogram(Histogram {
            buckets: bounds.iter().map(|bound| (*bound, below(*bound))).collect(),
            sum: 0.0,
            count: values.iter().map(|(_, count)| count).sum(),
        })
    }

    /// Guards: what was there before is no news, what lies within bounds is none, and each kind of what does not is told
    /// once with how often it happened.
    #[test]
    fn what_got_worse_is_told_once() {
        let mut bottlenecks = Bottlenecks::default();
        let board = |overruns, starvations, untold| {
            shard(vec![
                ("sluice_tick_length_seconds", lengths(&[(0.05, 900), (0.25, 5), (0.4, overruns)])),
                ("sluice_canary_delay_seconds", lengths(&[(0.02, 100), (0.06, starvations)])),
                ("sluice_plays_untold", Number::Counter(untold)),
            ])
        };
        assert!(
            bottlenecks.pass(&board(7, 8, 9), &[("shard_inbox", 4)]).is_empty(),
            "nothing is news at first"
        );
        assert!(bottlenecks.pass(&board(7, 8, 9), &[("shard_inbox", 4)]).is_empty());
        let told = bottlenecks.pass(&board(9, 11, 10), &[("shard_inbox", 5)]);
        let told: Vec<Value> = told.into_iter().map(Value::Object).collect();
        assert_eq!(
            told,
            [
                json!({ "what": "tick_overrun", "shard": 3, "count": 2, "above_ms": 250.0 }),
                json!({ "what": "starvation", "shard": 3, "count": 3, "above_ms": 50.0 }),
                json!({ "what": "full_queue", "queue": "control_inbox", "shard": 3, "count": 1 }),
                json!({ "what": "full_queue", "queue": "shard_inbox", "count": 1 }),
            ]
        );
        // A shard that begins anew counts from zero.
        assert!(bottlenecks.pass(&board(0, 0, 0), &[("shard_inbox", 0)]).is_empty());
    }
}
