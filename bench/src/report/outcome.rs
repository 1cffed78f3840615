//! What every command gives, whatever it measured: figures by name with their spread, and what they were measured with.
//!
//! Pure but for [`Outcome::new`], which reads the machine. A figure is every number of the command's own result, named by the
//! way to it; several at the same place (rounds, players, seconds) are one figure with a spread.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;

use super::{Machine, median};

/// Values kept for one figure.
const VALUES_MAX: usize = 100_000;
/// Keys that name an element of a list.
const NAMES: [&str; 2] = ["name", "route"];

/// A command's own result: shown as a table, written as JSON, and drawn.
pub trait Report: Serialize + std::fmt::Display {
    /// What makes the run a bad one, in words.
    fn faults(&self) -> Vec<String> {
        Vec::new()
    }

    /// What drives the I/O of the appliance that was measured, where one was and tells it.
    fn driver(&self) -> Option<String> {
        None
    }

    /// What to draw beside the distributions, which are drawn anyway.
    fn plots(&self) -> Vec<Plot> {
        Vec::new()
    }
}

/// Lines over one axis.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// What runs to the right, with its unit.
    pub across: String,
    /// What runs upwards, with its unit.
    pub up: String,
    /// Each line with its name.
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// One number, or several of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// How many there are.
    pub count: usize,
    /// The least.
    pub min: f64,
    /// The one in the middle.
    pub median: f64,
    /// The largest.
    pub max: f64,
}

impl Figure {
    fn of(values: &[f64]) -> Option<Self> {
        let median = median(values.iter().copied())?;
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(Self { count: values.len(), min, median, max })
    }
}

/// What a command gives.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The words it was started with.
    pub command: String,
    /// Where it ran.
    pub machine: Machine,
    /// What drives the I/O of the appliance's shards, where one was measured and tells it.
    pub driver: Option<String>,
    /// Seconds since 1970 at its end.
    pub ended_at: u64,
    /// What makes the run a bad one.
    pub faults: Vec<String>,
    /// Thresholds that were not kept.
    pub exceeded: Vec<String>,
    /// Every number of the result, by name.
    pub figures: BTreeMap<String, Figure>,
    /// What is drawn.
    pub plots: Vec<Plot>,
    /// The command's own result.
    pub result: Value,
}

impl Outcome {
    /// Takes a result in.
    ///
    /// # Errors
    /// The result cannot be written as JSON.
    pub fn new(report: &impl Report) -> serde_json::Result<Self> {
        let result = serde_json::to_value(report)?;
        let words: Vec<String> = std::env::args().skip(1).collect();
        let ended_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Ok(Self {
            command: format!("sluice-bench {}", words.join(" ")),
            machine: Machine::here(),
            driver: report.driver(),
            ended_at,
            faults: report.faults(),
            exceeded: Vec::new(),
            figures: figures(&result),
            plots: report.plots(),
            result,
        })
    }
}

/// Every number in a result, by the way to it.
pub(super) fn figures(result: &Value) -> BTreeMap<String, Figure> {
    let mut values = BTreeMap::new();
    collect(result, &mut String::new(), &mut values);
    values.into_iter().filter_map(|(name, values)| Some((name, Figure::of(&values)?))).collect()
}

fn collect(value: &Value, way: &mut String, into: &mut BTreeMap<String, Vec<f64>>) {
    let length = way.len();
    match value {
        Value::Number(number) => {
            let values = into.entry(way.clone()).or_default();
            if let Some(number) = number.as_f64().filter(|_| values.len() < VALUES_MAX) {
                values.push(number);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                step(way, name);
                collect(value, way, into);
                way.truncate(length);
            }
        }
        Value::Array(elements) => {
            for element in elements {
                let name = NAMES.iter().find_map(|name| element.get(name)?.as_str());
                name.iter().for_each(|name| step(way, name));
                collect(element, way, into);
                way.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Appends a step; whatever could not stand in a threshold's name becomes `_`.
fn step(way: &mut String, name: &str) {
    if !way.is_empty() {
        way.push('.');
    }
    let name = name.trim_matches(|char: char| !char.is_ascii_alphanumeric());
    way.extend(name.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '_' }));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Guards: every number has the name of its way, elements of lists are told apart where they have a name, and are one figure with a
    /// spread where they have none.
    #[test]
    fn numbers_are_named_by_their_way() {
        let figures = figures(&json!({
            "joins": { "first_byte": { "p99_ms": 2.5 } },
            "routes": [{ "route": "/proxy/status", "bytes": 7 }, { "route": "/engines", "bytes": 9 }],
            "rounds": [{ "ratio": 3 }, { "ratio": 1 }, { "ratio": 2 }],
            "name": "x", "none": null, "is": true,
        }));
        let one = |value| Figure { count: 1, min: value, median: value, max: value };
        let wanted = BTreeMap::from([
            ("joins.first_byte.p99_ms".to_owned(), one(2.5)),
            ("routes.proxy_status.bytes".to_owned(), one(7.0)),
            ("routes.engines.bytes".to_owned(), one(9.0)),
            ("rounds.ratio".to_owned(), Figure { count: 3, min: 1.0, median: 2.0, max: 3.0 }),
        ]);
        assert_eq!(figures, wanted);
    }
}
