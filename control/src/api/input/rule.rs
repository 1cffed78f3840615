//! What a value may be, and the fault when it is not: the scalar rules of the REST contract.
//!
//! Queries carry text alone, bodies JSON; both go through the same rules, so that `limit=2`, `{"limit":2}` and
//! `{"limit":"2"}` mean the same. Pure.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::SystemTime;
use url::Url;

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

    pub(super) fn list() -> Self {
        Self::new("list_type", "Input should be a valid list")
    }

    /// A value that breaks a rule of its own.
    pub(crate) fn value(text: impl Into<String>) -> Self {
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

/// A number, finite.
pub(crate) fn float(value: &Value) -> Result<f64, Problem> {
    let number = match value {
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
        Value::String(text) => text.trim().parse().unwrap_or(f64::NAN),
        _ => return Err(Problem::new("float_type", "Input should be a valid number")),
    };
    if number.is_finite() {
        Ok(number)
    } else {
        Err(Problem::new(
            "float_parsing",
            "Input should be a valid number, unable to parse the value as a number",
        ))
    }
}

/// `true/false/1/0/yes/no/on/off/t/f/y/n`, any case.
pub(crate) fn boolean(value: &Value) -> Result<bool, Problem> {
    let text = match value {
        Value::Bool(flag) => return Ok(*flag),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.to_ascii_lowercase(),
        _ => return Err(Problem::new("bool_type", "Input should be a valid boolean")),
    };
    match text.as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Ok(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Ok(false),
        _ => Err(Problem::new(
            "bool_parsing",
            "Input should be a valid boolean, unable to interpret the value",
        )),
    }
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

/// One of a few words, exactly.
pub(crate) fn choice(words: &'static [&'static str]) -> impl Fn(&Value) -> Result<&'static str, Problem> {
    move |value| {
        let found = value.as_str().and_then(|text| words.iter().find(|word| **word == text));
        found.copied().ok_or_else(|| {
            let expected = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" or ");
            let text = format!("Input should be {expected}");
            Problem::new("literal_error", text).with(json!({ "expected": expected }))
        })
    }
}

/// One of a few words in a query; told as a pattern, as older clients know it.
pub(crate) fn pattern(words: &'static [&'static str]) -> impl Fn(&Value) -> Result<&'static str, Problem> {
    move |value| {
        let found = value.as_str().and_then(|text| words.iter().find(|word| **word == text));
        found.copied().ok_or_else(|| {
            let pattern = format!("^({})$", words.join("|"));
            let text = format!("String should match pattern '{pattern}'");
            Problem::new("string_pattern_mismatch", text).with(json!({ "pattern": pattern }))
        })
    }
}

/// An object of any members.
pub(crate) fn object(members_max: usize) -> impl Fn(&Value) -> Result<Map<String, Value>, Problem> {
    move |value| members(value, members_max).cloned()
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

/// ISO 8601 with or without a zone (UTC then), a date alone, or seconds since 1970.
pub(crate) fn moment(value: &Value) -> Result<SystemTime, Problem> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return Err(Problem::new("datetime_type", "Input should be a valid datetime")),
    };
    let stamp = epoch(&text).or_else(|| text.parse::<Timestamp>().ok()).or_else(|| {
        let civil = text.parse::<DateTime>().ok()?;
        civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    });
    stamp.map(SystemTime::from).ok_or_else(|| {
        Problem::new(
            "datetime_from_date_parsing",
            "Input should be a valid datetime or date, such as 2026-02-01T10:20:30Z",
        )
    })
}

/// An address over HTTP or HTTPS, in its normal spelling.
pub(crate) fn http_url(chars_max: usize) -> impl Fn(&Value) -> Result<String, Problem> {
    move |value| {
        let text = string(chars_max)(value)?;
        let address = Url::parse(text.trim()).map_err(|error| {
            let told = format!("Input should be a valid URL, {error}");
            Problem::new("url_parsing", told).with(json!({ "error": error.to_string() }))
        })?;
        if !matches!(address.scheme(), "http" | "https") {
            let told = "URL scheme should be 'http' or 'https'";
            let expected = json!({ "expected_schemes": "'http' or 'https'" });
            return Err(Problem::new("url_scheme", told).with(expected));
        }
        Ok(address.into())
    }
}

fn epoch(text: &str) -> Option<Timestamp> {
    let seconds: f64 = text.parse().ok()?;
    let seconds = SignedDuration::try_from_secs_f64(seconds).ok()?;
    Timestamp::from_duration(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

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

    /// Guards: the words for true and false, and that nothing else is taken for one.
    #[test]
    fn booleans_have_many_words() {
        for word in ["true", "TRUE", "1", "yes", "On", "t", "y"] {
            assert_eq!(boolean(&json!(word)), Ok(true), "{word}");
        }
        for value in [json!("false"), json!("0"), json!("NO"), json!("off"), json!("f"), json!("n"), json!(0)]
        {
            assert_eq!(boolean(&value), Ok(false), "{value}");
        }
        for value in [json!("maybe"), json!(""), json!(2)] {
            assert_eq!(kind(boolean(&value)), "bool_parsing", "{value}");
        }
        assert_eq!(kind(boolean(&json!([]))), "bool_type");
    }

    /// Guards: numbers are no text, and words have to be exact.
    #[test]
    fn texts_and_words_are_taken_literally() {
        assert_eq!(string(3)(&json!("añb")), Ok("añb".to_owned()));
        assert_eq!(kind(string(3)(&json!("abcd"))), "string_too_long");
        assert_eq!(kind(string(3)(&json!(1))), "string_type");
        assert_eq!(choice(&["TS", "HLS"])(&json!("HLS")), Ok("HLS"));
        assert_eq!(kind(choice(&["TS", "HLS"])(&json!("hls"))), "literal_error");
        assert_eq!(kind(pattern(&["started", "ended"])(&json!(""))), "string_pattern_mismatch");
        assert_eq!(kind(texts(5, 5)(&json!({ "a": 1 }))), "string_type");
        assert_eq!(kind(texts(5, 5)(&json!([]))), "dict_type");
        assert_eq!(kind(float(&json!("nan"))), "float_parsing");
        assert_eq!(float(&json!("0.5")), Ok(0.5));
    }

    /// Guards: addresses are kept in one spelling, and only those that can be asked.
    #[test]
    fn addresses_have_one_spelling() {
        let rule = http_url(200);
        for (given, kept) in [
            ("HTTP://Gluetun:80", "http://gluetun/"),
            ("http://e:19000/ace/stat/0a48/9c 0e", "http://e:19000/ace/stat/0a48/9c%200e"),
            ("https://e/ñ?a=1", "https://e/%C3%B1?a=1"),
        ] {
            assert_eq!(rule(&json!(given)).as_deref(), Ok(kept), "{given}");
        }
        for (given, expected) in
            [("ftp://e/", "url_scheme"), ("e/stat", "url_parsing"), ("http://", "url_parsing")]
        {
            assert_eq!(kind(rule(&json!(given))), expected, "{given}");
        }
        assert_eq!(kind(rule(&json!(7))), "string_type");
    }

    /// Guards: one instant however it is written; without a zone it is UTC; a `+` that became a blank is a fault.
    #[test]
    fn moments_come_in_many_forms() {
        let noon = UNIX_EPOCH + Duration::from_secs(1_769_947_200);
        for text in [
            "2026-02-01T12:00:00Z",
            "2026-02-01T12:00:00",
            "2026-02-01 12:00:00",
            "2026-02-01T14:00:00+02:00",
            "2026-02-01T12:00:00.000000+00:00",
            "1769947200",
            "1769947200.0",
        ] {
            assert_eq!(moment(&json!(text)), Ok(noon), "{text}");
        }
        let midnight = noon - Duration::from_secs(12 * 3600);
        assert_eq!(moment(&json!("2026-02-01")), Ok(midnight));
        for text in
            ["2026-02-01T12:00:00 02:00", "yesterday", "", "1e300", "nan", "2026-13-01", "2026-02-01T"]
        {
            assert_eq!(kind(moment(&json!(text))), "datetime_from_date_parsing", "{text}");
        }
    }
}
