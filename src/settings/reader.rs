//! Looks variables up in their sources and by their spellings, reads them by their kind, and collects every fault on
//! the way instead of stopping at the first.

use super::Environment;
use super::dotenv;
use super::error::{Error, Shown};
use super::foreign;
use super::help;
use super::names::{self, Default, Effect, Kind, Variable};
use super::parse;
use super::profile::{self, Profile};
use super::similar;
use std::collections::BTreeMap;
use std::time::Duration;

/// Prefixes that only this program and the one it replaces use: an unknown name that starts so is a mistake.
const OWN_PREFIXES: [&str; 2] = ["ACEXY_", "SLUICE_"];

/// Names with this prefix steer the test suite, not the appliance.
const TEST_PREFIX: &str = "SLUICE_TEST_";

/// A value somebody gave, under the spelling they used.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// The spelling that was used.
    pub(super) name: &'static str,
    /// The value, never empty.
    pub(super) value: String,
}

/// What is wrong with a value.
pub(super) enum Fault {
    /// It is not of the kind; says why.
    Form(String),
    /// It is outside the bounds.
    Range,
}

impl From<String> for Fault {
    fn from(fault: String) -> Self {
        Self::Form(fault)
    }
}

/// The sources, and what was found wrong with them so far.
pub(super) struct Reader {
    process: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
    pub(super) errors: Vec<Error>,
    pub(super) warnings: Vec<String>,
    /// Whose defaults hold before those of the table.
    pub(super) profile: Profile,
}

impl Reader {
    /// A reader of the process environment and of the text of a `.env` file.
    pub(super) fn new(process: Vec<(String, String)>, file: Option<&str>) -> Self {
        let (mut file, errors) = file.map(dotenv::parse).unwrap_or_default();
        let process: BTreeMap<String, String> = process.into_iter().collect();
        // A name the process sets, even to nothing, is not looked for in the file.
        file.retain(|name, _| !process.contains_key(name));
        let mut reader = Self { process, file, errors, warnings: Vec::new(), profile: profile::ALL[0] };
        reader.warn_of_strangers();
        reader.profile = profile::ALL[reader.choice(&names::PROFILE).unwrap_or(0)];
        reader
    }

    /// Whether a variable is set to nothing, which matters for one that means something by it.
    pub(super) fn is_set_empty(&self, variable: &Variable) -> bool {
        let is_empty =
            |source: &BTreeMap<String, String>| source.get(variable.name).is_some_and(String::is_empty);
        is_empty(&self.process) || is_empty(&self.file)
    }

    /// What a variable was set to: the process before the file, the preferred name before its aliases. Values that lose
    /// against another one are warned of.
    pub(super) fn given(&mut self, variable: &Variable) -> Option<Given> {
        let mut found: Vec<Given> = Vec::new();
        for (is_process, source) in [(true, &self.process), (false, &self.file)] {
            for name in variable.spellings() {
                let Some(raw) = source.get(name) else { continue };
                // The file was stripped while it was split. `docker run --env-file` hands quotes and comments over as
                // they stand, so the process needs the same; a secret is taken to the letter.
                let value = match (is_process, variable.is_secret()) {
                    (true, false) => dotenv::plain(raw).unwrap_or_else(|_| raw.clone()),
                    _ => raw.clone(),
                };
                if !value.is_empty() {
                    found.push(Given { name, value });
                }
            }
        }
        let mut found = found.into_iter();
        let winner = found.next()?;
        for loser in found.filter(|loser| loser.value != winner.value) {
            let shown = Shown::new(&loser.value, variable.is_secret());
            self.warnings
                .push(format!("{}={shown} is ignored: {} is set too and wins", loser.name, winner.name));
        }
        Some(winner)
    }

    /// Everything that was set, the process before the file; what is set to nothing is not set.
    pub(super) fn environment(&self) -> Environment {
        let plain = |raw: &String| dotenv::plain(raw).unwrap_or_else(|_| raw.clone());
        let process = self.process.iter().map(|(name, raw)| (name.clone(), plain(raw)));
        let file = self.file.iter().map(|(name, value)| (name.clone(), value.clone()));
        Environment(file.chain(process).filter(|(_, value)| !value.is_empty()).collect())
    }

    /// The value of a variable by `parse`; its default, or `None`, when it is not set. A fault is collected and the
    /// default stands in, so that reading goes on to find the other faults.
    pub(super) fn value<T, F: Into<Fault>>(
        &mut self,
        variable: &Variable,
        parse: impl Fn(&str) -> Result<T, F>,
    ) -> Option<T> {
        if let Some(given) = self.given(variable) {
            match parse(&given.value) {
                Ok(value) => return Some(value),
                Err(fault) => self.faulty(variable, given, fault.into()),
            }
        }
        if let Some(text) = self.profile.default_of(variable.name) {
            return parse(text).ok();
        }
        match variable.default {
            Default::Is(text) => parse(text).ok(),
            Default::Means(_) => None,
        }
    }

    /// A whole number within the bounds of its kind.
    pub(super) fn count(&mut self, variable: &Variable) -> Option<u64> {
        let Kind::Count { min, max } = variable.kind else { unreachable!("{} is no count", variable.name) };
        self.value(variable, |text| within(parse::count(text)?, min, max))
    }

    /// A decimal number within the bounds of its kind.
    pub(super) fn decimal(&mut self, variable: &Variable) -> Option<f64> {
        let Kind::Decimal { min, max } = variable.kind else {
            unreachable!("{} is no decimal", variable.name)
        };
        self.value(variable, |text| within(parse::decimal(text)?, min, max))
    }

    /// A length of time within the bounds of its kind.
    pub(super) fn span(&mut self, variable: &Variable) -> Option<Duration> {
        let Kind::Span { unit, min_ms, max_ms } = variable.kind else {
            unreachable!("{} is no span", variable.name)
        };
        let (min, max) = (Duration::from_millis(min_ms), Duration::from_millis(max_ms));
        self.value(variable, |text| within(parse::span(text, unit)?, min, max))
    }

    /// A size within the bound of its kind.
    pub(super) fn size(&mut self, variable: &Variable) -> Option<u64> {
        let Kind::Size { max } = variable.kind else { unreachable!("{} is no size", variable.name) };
        self.value(variable, |text| within(parse::size(text)?, 0, max))
    }

    /// `true` or `false`.
    pub(super) fn switch(&mut self, variable: &Variable) -> bool {
        self.value(variable, parse::switch).unwrap_or(false)
    }

    /// The position of the word in the variable's choice.
    pub(super) fn choice(&mut self, variable: &Variable) -> Option<usize> {
        let Kind::Choice(words) = variable.kind else { unreachable!("{} is no choice", variable.name) };
        let position = |text: &str| words.iter().position(|word| word.eq_ignore_ascii_case(text));
        self.value(variable, |text| position(text).ok_or_else(|| "it is none of the choices".to_owned()))
    }

    /// Refuses, or warns of, a variable that has no effect here.
    pub(super) fn ineffective(&mut self, variable: &Variable) {
        let Some(given) = self.given(variable) else { return };
        match variable.effect {
            Effect::Acts => {}
            Effect::Refused(instead) => {
                let value = Shown::new(&given.value, variable.is_secret());
                self.errors.push(Error::Refused { name: given.name, value, instead });
            }
            Effect::Inert { documented, instead } => {
                if !self.is_one_of(variable, &given.value, documented) {
                    let value = Shown::new(&given.value, variable.is_secret());
                    self.errors.push(Error::Refused { name: given.name, value, instead });
                }
            }
            Effect::Nothing(why) => {
                // Even a value nobody acts on is checked: a typo in it is a typo in the operator's mind.
                let is_default = match variable.kind {
                    Kind::Switch => !self.switch(variable),
                    Kind::Span { .. } => self.span(variable).is_none(),
                    _ => false,
                };
                if !is_default {
                    self.warn(format!("{} has no effect: {why}", given.name));
                }
            }
        }
    }

    /// Whether what was given means the same as one of these. What is not of the variable's kind is a fault of its own, and
    /// said once.
    fn is_one_of(&mut self, variable: &Variable, given: &str, documented: &[&str]) -> bool {
        let same = |is_same: &dyn Fn(&str) -> bool| documented.iter().any(|text| is_same(text));
        match variable.kind {
            Kind::Count { .. } => self.count(variable).is_none_or(|count| {
                same(&|text| parse::count(text).is_ok_and(|documented| documented == count))
            }),
            Kind::Span { unit, .. } => self.span(variable).is_none_or(|span| {
                same(&|text| parse::span(text, unit).is_ok_and(|documented| documented == span))
            }),
            Kind::Choice(words) => self
                .choice(variable)
                .is_none_or(|at| same(&|text| words.get(at).is_some_and(|word| *word == text))),
            _ => same(&|text| text.eq_ignore_ascii_case(given.trim_end_matches('/'))),
        }
    }

    /// Adds a warning, once.
    pub(super) fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn faulty(&mut self, variable: &Variable, given: Given, fault: Fault) {
        let (name, value) = (given.name, Shown::new(&given.value, variable.is_secret()));
        let expected = help::kind(variable.kind);
        self.errors.push(match fault {
            Fault::Form(fault) => Error::Malformed { name, value, fault, expected },
            Fault::Range => Error::OutOfRange { name, value, expected },
        });
    }

    /// Warns of names that are probably mistakes, and of those whose feature is not here.
    fn warn_of_strangers(&mut self) {
        let mut without_effect: Vec<&str> = Vec::new();
        let mut warnings = Vec::new();
        for name in self.process.keys().chain(self.file.keys()) {
            if names::every_name().any(|known| known == name) || name.starts_with(TEST_PREFIX) {
                continue;
            }
            if foreign::NAMES.contains(&name.as_str()) {
                without_effect.push(name);
                continue;
            }
            let is_own = OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            let nearest = if is_own { similar::nearest_of_prefix(name) } else { similar::nearest(name) };
            let shown = Shown::new(name, false);
            warnings
                .extend(nearest.map(|nearest| format!("{shown} is not a setting; the nearest is {nearest}")));
        }
        if !without_effect.is_empty() {
            without_effect.sort_unstable();
            warnings.push(format!("set, and without effect in this version: {}", without_effect.join(", ")));
        }
        self.warnings.extend(warnings);
    }
}

fn within<T: PartialOrd>(value: T, min: T, max: T) -> Result<T, Fault> {
    if min <= value && value <= max { Ok(value) } else { Err(Fault::Range) }
}
