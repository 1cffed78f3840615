//! The fields of one request and the faults found in them.

use super::body::Body;
use super::rule::Problem;
use super::{BodyKind, Input};
use crate::api::error::Error;
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::time::SystemTime;
use utoipa::ToSchema;

/// Texts of a request are repeated in an answer up to this many characters.
const ECHO_CHARS_MAX: usize = 200;
/// Lists and objects are repeated up to this many members.
const ECHO_MEMBERS_MAX: usize = 20;
/// Faults told at once.
const FAULTS_MAX: usize = 50;

/// One fault of a request, as clients of the contract know it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Fault {
    /// Machine code, such as `missing` or `int_parsing`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// `query`, `path` or `body`, then the way to the value: names and positions.
    #[schema(value_type = Vec<serde_json::Value>)]
    loc: Vec<Value>,
    /// What is wrong, for a person.
    msg: String,
    /// The offending value, cut when it is long.
    input: Value,
    /// What the value should have kept to.
    #[serde(skip_serializing_if = "Option::is_none")]
    ctx: Option<Value>,
}

impl Fault {
    fn new(loc: Vec<Value>, problem: Problem, input: &Value) -> Self {
        Self { kind: problem.kind, loc, msg: problem.text, input: echo(input), ctx: problem.context }
    }

    /// The body is not JSON from an offset on.
    pub(super) fn syntax(offset: usize, error: &serde_json::Error) -> Self {
        Self {
            kind: "json_invalid",
            loc: vec!["body".into(), offset.into()],
            msg: "JSON decode error".to_owned(),
            input: json!({}),
            ctx: Some(json!({ "error": error.to_string() })),
        }
    }
}

/// Path, query and body of a request.
#[derive(Debug)]
pub(crate) struct Fields {
    path: Vec<String>,
    query: Vec<(String, String)>,
    body: Option<Body>,
    faults: Vec<Fault>,
}

impl Fields {
    pub(super) fn new(path: Vec<String>, query: Option<&str>, body: Option<Body>) -> Self {
        let query = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self { path, query: query.into_owned().collect(), body, faults: Vec::new() }
    }

    pub(super) fn read<T: Input>(mut self) -> Result<T, Error> {
        // A body of the wrong kind is the one fault worth telling.
        let read = if self.faults.is_empty() { T::read(&mut self) } else { None };
        match read {
            Some(input) if self.faults.is_empty() => Ok(input),
            _ => {
                self.faults.truncate(FAULTS_MAX);
                Err(Error::Invalid(self.faults))
            }
        }
    }

    pub(super) fn expect_body(&mut self, kind: BodyKind) {
        let (is_right, wanted) = match (&self.body, kind) {
            (None, BodyKind::Object | BodyKind::Array) => {
                let fault = Fault::new(vec!["body".into()], Problem::missing(), &Value::Null);
                return self.faults.push(fault);
            }
            (Some(Body::Json(value)), BodyKind::Array) => (value.is_array(), Problem::list()),
            (Some(Body::Json(value)), _) => (value.is_object(), Problem::object()),
            (Some(Body::NotJson(_)), BodyKind::Array) => (false, Problem::list()),
            (Some(Body::NotJson(_)), _) => (false, Problem::object()),
            (None | Some(Body::Raw(_)), _) => return,
        };
        if !is_right {
            let input = match &self.body {
                Some(Body::Json(value)) => value.clone(),
                Some(Body::NotJson(bytes)) => Value::String(String::from_utf8_lossy(bytes).into_owned()),
                _ => Value::Null,
            };
            self.faults.push(Fault::new(vec!["body".into()], wanted, &input));
        }
    }

    /// The first parameter of the path.
    pub(crate) fn only_path(&mut self) -> Option<String> {
        Some(self.path.first().cloned().unwrap_or_default())
    }

    pub(super) fn take_raw(&mut self) -> Bytes {
        match self.body.take() {
            Some(Body::Raw(bytes)) => bytes,
            _ => Bytes::new(),
        }
    }

    /// A parameter of the path by its position.
    pub(crate) fn path(&mut self, position: usize, name: &'static str) -> Field<'_> {
        let given = self.path.get(position).cloned().map(Value::String);
        Field::new(self, "path", name, given)
    }

    /// A query parameter; of several, the last counts.
    pub(crate) fn query(&mut self, name: &'static str) -> Field<'_> {
        let given = self.query.iter().rev().find(|(found, _)| found == name);
        let given = given.map(|(_, value)| Value::String(value.clone()));
        Field::new(self, "query", name, given)
    }

    /// A member of the body's object.
    pub(crate) fn body(&mut self, name: &'static str) -> Field<'_> {
        let given =
            self.object().and_then(|object| object.get(name)).filter(|value| !value.is_null()).cloned();
        Field::new(self, "body", name, given)
    }

    /// A member of the body, or else a query parameter of that name: routes that took one take both.
    pub(crate) fn either(&mut self, name: &'static str) -> Field<'_> {
        if self.object().is_some_and(|object| object.get(name).is_some_and(|value| !value.is_null())) {
            return self.body(name);
        }
        self.query(name)
    }

    /// The members of an object inside of the body: `engine.host` is `nested("engine")` and then `body("host")`.
    pub(crate) fn nested(&mut self, name: &'static str) -> Option<Nested<'_>> {
        let given = self.object().and_then(|object| object.get(name)).cloned();
        let problem = match given {
            Some(Value::Object(object)) => return Some(Nested { fields: self, name, object }),
            None => Problem::missing(),
            Some(_) => Problem::object(),
        };
        let input = given.unwrap_or_else(|| self.enclosing("body"));
        self.faults.push(Fault::new(vec!["body".into(), name.into()], problem, &input));
        None
    }

    /// The members of the body's array, each by the same rule.
    pub(crate) fn items<T>(&mut self, rule: impl Fn(&Value) -> Result<T, Problem>) -> Option<Vec<T>> {
        let Some(Body::Json(Value::Array(items))) = &self.body else { return None };
        let mut read = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            match rule(item) {
                Ok(value) => read.push(value),
                Err(problem) if self.faults.len() < FAULTS_MAX => {
                    self.faults.push(Fault::new(vec!["body".into(), at.into()], problem, item));
                }
                Err(_) => break,
            }
        }
        self.faults.is_empty().then_some(read)
    }

    /// The whole body.
    pub(crate) fn object(&self) -> Option<&Map<String, Value>> {
        match &self.body {
            Some(Body::Json(Value::Object(object))) => Some(object),
            _ => None,
        }
    }

    fn enclosing(&self, place: &str) -> Value {
        match self.object() {
            Some(object) if place == "body" => Value::Object(object.clone()),
            _ => Value::Null,
        }
    }
}

/// An object inside of a body.
pub(crate) struct Nested<'a> {
    fields: &'a mut Fields,
    name: &'static str,
    object: Map<String, Value>,
}

impl Nested<'_> {
    /// A member of the object.
    pub(crate) fn body(&mut self, name: &'static str) -> Field<'_> {
        let given = self.object.get(name).filter(|value| !value.is_null()).cloned();
        Field {
            fields: self.fields,
            loc: vec!["body".into(), self.name.into(), name.into()],
            given,
            enclosing: Some(Value::Object(self.object.clone())),
        }
    }
}

/// One field; reading it notes what is wrong with it.
pub(crate) struct Field<'a> {
    fields: &'a mut Fields,
    loc: Vec<Value>,
    given: Option<Value>,
    enclosing: Option<Value>,
}

impl<'a> Field<'a> {
    fn new(fields: &'a mut Fields, place: &'static str, name: &'static str, given: Option<Value>) -> Self {
        Self { fields, loc: vec![place.into(), name.into()], given, enclosing: None }
    }

    /// The value, which has to be there.
    pub(crate) fn required<T>(self, rule: impl FnOnce(&Value) -> Result<T, Problem>) -> Option<T> {
        if self.given.is_some() {
            return self.optional(rule);
        }
        let place = self.loc.first().and_then(Value::as_str).unwrap_or_default();
        let input = self.enclosing.unwrap_or_else(|| self.fields.enclosing(place));
        self.fields.faults.push(Fault::new(self.loc, Problem::missing(), &input));
        None
    }

    /// The value, if it is there.
    pub(crate) fn optional<T>(self, rule: impl FnOnce(&Value) -> Result<T, Problem>) -> Option<T> {
        let given = self.given?;
        match rule(&given) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.fields.faults.push(Fault::new(self.loc, problem, &given));
                None
            }
        }
    }

    /// Notes that the value breaks a rule of its own.
    pub(crate) fn refuse(self, text: impl Into<String>) {
        let input = self.given.unwrap_or_default();
        self.fields.faults.push(Fault::new(self.loc, Problem::value(text), &input));
    }

    /// The value, or what holds without it.
    pub(crate) fn or<T>(self, rule: impl FnOnce(&Value) -> Result<T, Problem>, default: T) -> T {
        self.optional(rule).unwrap_or(default)
    }

    /// A moment; see [`super::rule::moment`].
    pub(crate) fn moment(self) -> Option<SystemTime> {
        self.optional(super::rule::moment)
    }
}

/// The value as it is repeated: a fault must not send a large body back.
fn echo(value: &Value) -> Value {
    match value {
        Value::String(text) if text.chars().count() > ECHO_CHARS_MAX => {
            Value::String(text.chars().take(ECHO_CHARS_MAX).chain(['…']).collect())
        }
        Value::Array(items) => items.iter().take(ECHO_MEMBERS_MAX).map(shallow).collect(),
        Value::Object(object) => {
            let members = object.iter().take(ECHO_MEMBERS_MAX);
            Value::Object(members.map(|(name, value)| (cut(name), shallow(value))).collect())
        }
        other => other.clone(),
    }
}

fn shallow(value: &Value) -> Value {
    match value {
        Value::Array(_) => json!([]),
        Value::Object(_) => json!({}),
        other => echo(other),
    }
}

fn cut(name: &str) -> String {
    name.chars().take(ECHO_CHARS_MAX).collect()
}
