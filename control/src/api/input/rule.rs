//! What a value may be, and the fault when it is not: the scalar rules of the REST contract.
//!
//! Queries carry text alone, bodies JSON; both go through the same rules, so that `limit=2`, `{"limit":2}` and
//! `{"limit":"2"}` mean the same. Pure.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    pub(super) kind: &'static str,
    pub(super) text: String,
    pub(super) context: Option<Value>,
}

impl Problem {
    fn new(kind: &'static str, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), context: None }
    }

    fn with(mut self, context: Value) -> Self {
        self.context = Some(context);
        self
    }

    pub(super) fn missing() -> Self {
        Self::new("missing", "Field required")
    }

    pub(super) fn object() -> Self {
        Self::new("model_attributes_type", "Input should be a valid JSON object")
    }

    fn value(text: impl Into<String>) -> Self {
        Self::new("value_error", text)
    }
}

/// A whole number: JSON numbers without a fraction, numeric text, `true` as 1.
pub(crate) fn int(range: RangeInclusive<i64>) -> impl Fn(&Value) -> Result<i64, Problem> {
    move |value| {
        let number = match value {
            Value::Bool(flag) => i64::from(*flag),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => number,
                (None, Some(float)) => whole(float)?,
                (None, None) => return Err(unparsable_int()),
            },
            Value::String(text) => match text.trim().parse::<i64>() {
                Ok(number) => number,
                Err(_) => fractionless(text.trim()).ok_or_else(unparsable_int)?,
            },
            _ => return Err(Problem::new("int_type", "Input should be a valid integer")),
        };
        within(number, &range)?;
        Ok(number)
    }
}

fn unparsable_int() -> Problem {
    Problem::new("int_parsing", "Input should be a valid integer, unable to parse the value as an integer")
}

fn whole(float: f64) -> Result<i64, Problem> {
    /// Beyond it not every whole number has a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if float.fract() != 0.0 {
        return Err(Problem::new(
            "int_from_float",
            "Input should be a valid integer, got a number with a fractional part",
        ));
    }
    if float.abs() > EXACT { Err(unparsable_int()) } else { Ok(float as i64) }
}

/// `2.0` as text.
fn fractionless(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.')?;
    (!fraction.is_empty() && fraction.bytes().all(|digit| digit == b'0')).then(|| whole.parse().ok())?
}

fn within(number: i64, range: &RangeInclusive<i64>) -> Result<(), Problem> {
    if number < *range.start() {
        let text = format!("Input should be greater than or equal to {}", range.start());
        return Err(Problem::new("greater_than_equal", text).with(json!({ "ge": range.start() })));
    }
    if number > *range.end() {
        let text = format!("Input should be less than or equal to {}", range.end());
        return Err(Problem::new("less_than_equal", text).with(json!({ "le": range.end() })));
    }
    Ok(())
}

/// Text; numbers are not taken for it. Longer than `chars_max` is a fault.
pub(crate) fn string(chars_max: usize) -> impl Fn(&Value) -> Result<String, Problem> {
    move |value| match value {
        Value::String(text) if text.chars().count() <= chars_max => Ok(text.clone()),
        Value::String(_) => {
            let text = format!("String should have at most {chars_max} characters");
            Err(Problem::new("string_too_long", text).with(json!({ "max_length": chars_max })))
        }
        _ => Err(Problem::new("string_type", "Input should be a valid string")),
    }
}

/// An object of any members.
pub(crate) fn object(members_max: usize) -> impl Fn(&Value) -> Result<(), Problem> {
    move |value| members(value, members_max).map(drop)
}

fn members(value: &Value, members_max: usize) -> Result<&Map<String, Value>, Problem> {
    let Value::Object(object) = value else {
        return Err(Problem::new("dict_type", "Input should be a valid dictionary"));
    };
    if object.len() > members_max {
        return Err(Problem::value(format!("there may be at most {members_max} members")));
    }
    Ok(object)
}

/// An object whose members are all text.
pub(crate) fn texts(
    members_max: usize,
    chars_max: usize,
) -> impl Fn(&Value) -> Result<BTreeMap<String, String>, Problem> {
    move |value| {
        let text = string(chars_max);
        members(value, members_max)?.iter().map(|(name, value)| Ok((name.clone(), text(value)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind<T: std::fmt::Debug>(outcome: Result<T, Problem>) -> &'static str {
        outcome.expect_err("a fault").kind
    }

    /// Guards: which values are integers, and the code told for those that are not.
    #[test]
    fn integers_come_as_numbers_and_as_text() {
        let rule = int(0..=1000);
        for (value, expected) in [
            (json!(2), 2),
            (json!(2.0), 2),
            (json!("2"), 2),
            (json!(" 7 "), 7),
            (json!("2.0"), 2),
            (json!(true), 1),
            (json!(1000), 1000),
        ] {
            assert_eq!(rule(&value), Ok(expected), "{value}");
        }
        for (value, expected) in [
            (json!(2.5), "int_from_float"),
            (json!("2.5"), "int_parsing"),
            (json!("x"), "int_parsing"),
            (json!(""), "int_parsing"),
            (json!([1]), "int_type"),
            (json!(1e300), "int_parsing"),
            (json!(-1), "greater_than_equal"),
            (json!("5000"), "less_than_equal"),
        ] {
            assert_eq!(kind(rule(&value)), expected, "{value}");
        }
        assert_eq!(rule(&json!(5000)).unwrap_err().context, Some(json!({ "le": 1000 })));
    }

    /// Guards: numbers are no text, and what is too long is told with the limit.
    #[test]
    fn texts_are_taken_literally() {
        assert_eq!(string(3)(&json!("añb")), Ok("añb".to_owned()));
        assert_eq!(kind(string(3)(&json!("abcd"))), "string_too_long");
        assert_eq!(kind(string(3)(&json!(1))), "string_type");
        assert_eq!(kind(texts(5, 5)(&json!({ "a": 1 }))), "string_type");
        assert_eq!(kind(texts(5, 5)(&json!([]))), "dict_type");
    }
}
