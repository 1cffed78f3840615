//! Variables of the environment, changed while the appliance runs: everything that is no setting of a group.
//!
//! What a variable means is for whoever reads the environment ([`Variables`]); this room stores what it is changed to, by
//! the same rules as any other setting, and has it put in force. The API key is kept as a hash and never handed on.

use super::{Error, Handle, Record, SettingRow, fields};
use crate::key::KeyHash;
use crate::store;
use serde::Serialize;
use serde_json::Value;
use sluice_contract::Tuning;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};
use utoipa::ToSchema;

/// New values by variable; an empty one is as if the variable were not set.
pub type Changes = BTreeMap<String, String>;

/// Which variable the API key is.
pub(crate) const API_KEY: &str = "API_KEY";
/// The key of a row of the store begins so.
const PREFIX: &str = "variable.";
/// What is short can be found by trying, and only a plain hash of it is kept.
const KEY_CHARS: std::ops::RangeInclusive<usize> = 16..=256;
/// Longest value.
const VALUE_CHARS_MAX: usize = 4096;
/// The bound of silence, which two settings of a group set too: whichever was said last holds.
const EMPTY_TIMEOUT: &str = "EMPTY_TIMEOUT";

/// One variable, as the API tells of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = EnvironmentVariable)]
pub struct Variable {
    /// Its preferred name.
    #[schema(value_type = String)]
    pub name: &'static str,
    /// Other names that mean the same.
    #[schema(value_type = Vec<String>)]
    pub aliases: &'static [&'static str],
    /// The heading it stands under in the settings reference.
    #[schema(value_type = String)]
    pub group: &'static str,
    /// What it may be, in words.
    pub takes: String,
    /// What holds when it is not set, in words.
    pub default: String,
    /// What it does.
    #[schema(value_type = String)]
    pub meaning: &'static str,
    /// Whether its value is never shown.
    pub is_secret: bool,
    /// What is needed for a change to take effect: `nothing`, `handover` (another process of the appliance takes over what
    /// plays) or `restart`.
    #[schema(value_type = String)]
    pub needs: &'static str,
    /// Why it cannot be changed here, when it cannot.
    #[schema(value_type = Option<String>)]
    pub fixed: Option<&'static str>,
}

/// What follows from variables for settings of this room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Base {
    /// What the shards' dial stands at before any setting of a group was changed.
    pub tuning: Tuning,
    /// How far players may fall behind, where that is bounded: no setting lets them join further back.
    pub join_behind_max: Option<Duration>,
}

/// Everything that was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Variables.
    pub variables: Changes,
    /// Settings of groups, as the variables they stand for. Control acts by these itself.
    pub settings: Changes,
}

/// Whoever reads the environment and acts by it.
pub trait Variables: Send + Sync + fmt::Debug {
    /// Every variable there is.
    fn table(&self) -> Vec<Variable>;

    /// What would hold with these changes; nothing is changed.
    ///
    /// # Errors
    /// Everything that is wrong with them, as a start would say it.
    fn check(&self, changed: &Changed) -> Result<Base, String>;

    /// Puts changes in force that were checked and stored. Control may be started anew for it, soon after the return.
    fn apply(&self, changed: &Changed);
}

/// A change of a variable as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Which variable.
    pub name: String,
    /// What it was changed to.
    pub value: String,
    /// What the environment said at that moment: should it say something else later, that wins.
    pub environment: Option<String>,
}

/// The changes that are stored in a directory, for a process that starts. Nothing is made there, and nothing waits for
/// whoever uses it.
///
/// # Errors
/// When there is a state file and it cannot be read.
pub fn stored(data_dir: &Path) -> Result<Vec<Stored>, store::Error> {
    let rows = store::settings(data_dir)?;
    let stored = rows.into_values().filter_map(|row| {
        let name = row.key.strip_prefix(PREFIX).filter(|name| *name != API_KEY)?.to_owned();
        Some(Stored { name, value: row.value, environment: row.environment })
    });
    Ok(stored.collect())
}

/// How the environment's API key is remembered: never by itself.
pub fn mark_of(key: &str) -> String {
    KeyHash::of(key.as_bytes()).to_hex()
}

/// One variable and what it is now.
#[derive(Serialize, ToSchema)]
pub(crate) struct Shown {
    #[serde(flatten)]
    variable: Variable,
    /// As it was given; null when nobody set it, and for secrets.
    value: Option<String>,
    /// `default`, `environment` or `api`.
    source: &'static str,
    /// The setting of a group that stands for it, as `group.name`: it is changed there.
    setting: Option<String>,
}

/// What a request wants of variables: a new value, or none any more.
pub(crate) type Wanted = BTreeMap<String, Option<String>>;

/// What has to happen for each changed variable to take effect; see [`Variable::needs`].
pub(crate) type Needs = BTreeMap<&'static str, &'static str>;

fn key_of(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// The setting that stands for a variable. One that chooses the defaults of several has none.
fn field_of(variable: &Variable) -> Option<&'static fields::Field> {
    if variable.name == fields::PROFILE {
        return None;
    }
    let names = || std::iter::once(variable.name).chain(variable.aliases.iter().copied());
    fields::FIELDS.iter().find(|field| field.acts() && names().any(|name| field.variables.contains(&name)))
}

impl Handle {
    /// Every variable, what it is and where that comes from.
    pub(crate) fn variables(&self) -> Vec<Shown> {
        let Some(variables) = &self.0.variables else { return Vec::new() };
        variables.table().into_iter().map(|variable| self.shown(variable)).collect()
    }

    fn shown(&self, variable: Variable) -> Shown {
        let field = field_of(&variable);
        let (value, source) = match (self.changed_variable(variable.name), field) {
            (_, Some(field)) => {
                let (value, source) = self.value(field);
                (Some(text_of(&value)), source.as_str())
            }
            (Some(value), None) => (Some(value), "api"),
            (None, None) => match self.given_variable(&variable) {
                Some(value) => (Some(value), "environment"),
                None => (None, "default"),
            },
        };
        let value = value.filter(|_| !variable.is_secret);
        Shown { value, source, setting: field.map(super::Field::key), variable }
    }

    /// What the environment says of a variable.
    fn given_variable(&self, variable: &Variable) -> Option<String> {
        let mut names = std::iter::once(variable.name).chain(variable.aliases.iter().copied());
        names.find_map(|name| self.0.options.environment.get(name)).cloned()
    }

    fn changed_variable(&self, name: &str) -> Option<String> {
        if self.0.options.is_pinned {
            return None;
        }
        self.0.store.setting(&key_of(name)).map(|row| row.value)
    }

    /// Everything that is changed, once these records are stored.
    pub(super) fn changed_with(&self, table: &[Variable], records: &[Record]) -> Changed {
        // The last word of the records on a key, if they have one.
        let said = |key: &str| {
            records.iter().rev().find_map(|record| match record {
                Record::Setting(row) if row.key == key => Some(Some(row.value.clone())),
                Record::SettingGone { key: gone } if gone == key => Some(None),
                _ => None,
            })
        };
        let mut changed = Changed::default();
        for variable in table.iter().filter(|variable| variable.name != API_KEY) {
            let (of, value) = match field_of(variable) {
                // Their bounds are wider than those of the variables, and nothing else depends on them.
                Some(field) if field.group == super::Group::Loop => continue,
                Some(field) => {
                    let value = match said(&field.key()) {
                        Some(value) => value.and_then(|value| serde_json::from_str(&value).ok()),
                        None => self.changed(field),
                    };
                    (&mut changed.settings, value.as_ref().map(text_of))
                }
                None => {
                    let said = said(&key_of(variable.name));
                    let value = said.unwrap_or_else(|| self.changed_variable(variable.name));
                    (&mut changed.variables, value)
                }
            };
            of.extend(value.map(|value| (variable.name.to_owned(), value)));
        }
        changed
    }

    /// The hash of the API key, if it was changed.
    pub(crate) fn changed_key(&self) -> Option<KeyHash> {
        self.changed_variable(API_KEY).as_deref().and_then(KeyHash::from_hex)
    }

    /// Changes variables: all of them or none. Answers what has to happen for each to take effect.
    ///
    /// # Errors
    /// What is not allowed, or why nothing could be stored.
    pub(crate) async fn change_variables(&self, wanted: &Wanted) -> Result<Needs, Error> {
        self.change_all(&[], Vec::new(), wanted).await
    }

    /// What is stored so that variables become what is wanted, and what has to happen for each to take effect.
    pub(super) fn variable_records(
        &self,
        table: &[Variable],
        wanted: &Wanted,
    ) -> Result<(Vec<Record>, Needs), Error> {
        let refused = |text: String| Err(Error::Refused(text));
        let (mut records, mut needs) = (Vec::new(), Needs::new());
        for (name, value) in wanted {
            let name = name.as_str();
            let Some(variable) = table.iter().find(|it| it.name == name || it.aliases.contains(&name)) else {
                return refused(format!("there is no variable {}", name.escape_debug()));
            };
            if let Some(why) = variable.fixed {
                return refused(format!("{name} cannot be changed here: {why}"));
            }
            if let Some(field) = field_of(variable) {
                let (path, setting) = (field.group.path(), field.name);
                return refused(format!("{name} is changed as {setting}, by POST {path}"));
            }
            let name = variable.name;
            if needs.insert(name, variable.needs).is_some() {
                return refused(format!("{name} is in the request twice, by two of its names"));
            }
            records.push(match value {
                Some(value) => Record::Setting(SettingRow {
                    key: key_of(name),
                    value: if name == API_KEY { key_mark(value)? } else { checked(name, value)? },
                    environment: self.given_variable(variable),
                    changed_at: SystemTime::now(),
                }),
                None => Record::SettingGone { key: key_of(name) },
            });
            if name == EMPTY_TIMEOUT {
                let of_group = [fields::NO_DATA_CHECKS, fields::NO_DATA_INTERVAL];
                records.extend(of_group.map(|name| Record::SettingGone { key: format!("proxy.{name}") }));
            }
        }
        Ok((records, needs))
    }

    /// Variables as a backup keeps them; the API key is none of its business.
    pub(super) fn variables_to_export(&self) -> Changes {
        let Some(variables) = &self.0.variables else { return Changes::new() };
        self.changed_with(&variables.table(), &[]).variables
    }

    /// Those of a backup that can be taken: whoever wrote it may have known more, or kept others elsewhere.
    pub(super) fn variables_to_import(
        &self,
        found: &serde_json::Map<String, Value>,
    ) -> Result<Wanted, String> {
        let Some(variables) = &self.0.variables else { return Ok(Wanted::new()) };
        let mut wanted = Wanted::new();
        for variable in variables.table() {
            let is_taken =
                variable.fixed.is_none() && variable.name != API_KEY && field_of(&variable).is_none();
            if let Some(value) = found.get(variable.name).filter(|_| is_taken) {
                let text = value.as_str().ok_or_else(|| format!("{} is no text", variable.name))?;
                wanted.insert(variable.name.to_owned(), Some(text.to_owned()));
            }
        }
        Ok(wanted)
    }

    /// Drops changes the environment has overruled since.
    pub(super) fn drop_overruled(&self) {
        let Some(variables) = &self.0.variables else { return };
        for variable in variables.table() {
            let key = key_of(variable.name);
            let Some(row) = self.0.store.setting(&key) else { continue };
            if row.environment != self.given_variable(&variable) && !self.0.options.is_pinned {
                tracing::warn!(
                    variable = variable.name,
                    "the environment says something else than when this variable was changed, and wins"
                );
                self.0.store.forget(&key);
            }
        }
    }
}

/// A value of a setting as the environment would have it.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn checked(name: &str, value: &str) -> Result<String, Error> {
    let is_text = value.chars().all(|c| !c.is_control()) && value.chars().count() <= VALUE_CHARS_MAX;
    if is_text {
        return Ok(value.to_owned());
    }
    Err(Error::Refused(format!("{name} must be one line of at most {VALUE_CHARS_MAX} characters")))
}

/// What is stored of a new API key.
fn key_mark(key: &str) -> Result<String, Error> {
    let is_key = KEY_CHARS.contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_key {
        return Ok(mark_of(key));
    }
    let (min, max) = (KEY_CHARS.start(), KEY_CHARS.end());
    Err(Error::Refused(format!("{API_KEY} must be {min} to {max} printable ASCII characters without blanks")))
}
