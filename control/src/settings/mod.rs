//! Settings that are changed while the appliance runs: what holds, where it comes from, and who is told.
//!
//! The environment comes first, then what was changed through the API. A change is stored with what the environment said
//! at that moment; when the environment says something else at a later start, it wins and the change is dropped with a
//! warning. A change is checked as a whole, stored as a whole, and only then told to anybody: nothing is half applied.
//!
//! [`fields`] is the table, [`variables`] are what the environment sets beyond it, [`variant`] is the one setting that is a
//! document, [`archive`] the backup of all of them. This room knows what values mean only as far as it passes them on
//! ([`Live`]).

pub(crate) mod archive;
pub(crate) mod fields;
pub mod variables;
pub(crate) mod variant;

pub(crate) use fields::{Field, Group, Values};

use crate::LoopDetection;
use crate::diagnosis;
use crate::engines::recipe::Variant as Recipe;
use crate::engines::{Live, YardOptions};
use crate::store::{self, Record, SettingRow, TemplateRow};
use arc_swap::ArcSwap;
use serde_json::{Value, json};
use sluice_contract::{Dial, Tuning};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Mutex, watch};
use variables::{Base, Needs, Variables, Wanted};
use variant::Variant;

/// Under which names the store keeps the documents.
const VARIANT_KEY: &str = "custom_variant";
const ACTIVE_KEY: &str = "active_template";

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nobody set it.
    Default,
    /// The environment.
    Environment,
    /// It was changed through the API.
    Api,
}

impl Source {
    /// Its name in the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Environment => "environment",
            Self::Api => "api",
        }
    }
}

/// How engines in Docker are kept before any change.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    replicas_min: usize,
    replicas_max: usize,
    is_auto_delete: bool,
    variant: Option<Recipe>,
}

impl Fleet {
    /// What the appliance was started with.
    pub(crate) fn of(options: &YardOptions) -> Self {
        Self {
            replicas_min: options.limits.min,
            replicas_max: options.limits.max,
            is_auto_delete: options.limits.is_auto_delete,
            variant: options.setup.variant,
        }
    }
}

/// Why settings are not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A value is not allowed; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// `SETTINGS=env`.
    #[error("settings are pinned to the environment (SETTINGS=env)")]
    Pinned,
    /// There is no such template.
    #[error("Template {0} not found")]
    NoTemplate(u8),
    /// The change could not be stored; nothing was changed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What the room is made of.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// What was given in the environment, by variable.
    pub(crate) environment: BTreeMap<String, String>,
    /// What follows from variables before any change of a setting.
    pub(crate) base: Base,
    /// Leases per engine before any change.
    pub(crate) streams_per_engine: Option<u32>,
    /// Engines in Docker before any change, when they are kept there.
    pub(crate) fleet: Option<Fleet>,
    /// How streams that loop are looked for before any change.
    pub(crate) looping: LoopDetection,
    /// Whether nothing may be changed.
    pub(crate) is_pinned: bool,
}

/// Cheap way to read and change settings.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Inner>);

struct Inner {
    options: Options,
    store: store::Handle,
    live: watch::Sender<Live>,
    looping: watch::Sender<LoopDetection>,
    diagnosis: watch::Sender<diagnosis::Live>,
    dial: Arc<Dial>,
    /// Whoever reads the environment, where variables can be changed.
    variables: Option<Arc<dyn Variables>>,
    base: ArcSwap<Base>,
    /// One change at a time, so that what is checked together is stored together.
    gate: Mutex<()>,
}

/// Takes what the store has and drops what the environment has overruled since.
pub(crate) fn start(
    options: Options,
    store: store::Handle,
    dial: Arc<Dial>,
    variables: Option<Arc<dyn Variables>>,
) -> Handle {
    for field in fields::FIELDS {
        let Some(row) = store.setting(&field.key()) else { continue };
        let now = given(&options, field);
        if row.environment != now && !options.is_pinned {
            tracing::warn!(
                setting = field.key(),
                changed_to = row.value,
                environment = now,
                "the environment says something else than when this setting was changed, and wins"
            );
            store.forget(&field.key());
        }
    }
    let live = watch::Sender::default();
    let looping = watch::Sender::new(options.looping);
    let (diagnosis, gate) = (watch::Sender::default(), Mutex::new(()));
    let base = ArcSwap::from_pointee(options.base);
    let inner = Inner { options, store, live, looping, diagnosis, dial, variables, base, gate };
    let handle = Handle(Arc::new(inner));
    handle.drop_overruled();
    handle.publish();
    // The process began with what was stored of variables; what settings of groups say of them it hears here.
    if let Some(variables) = &handle.0.variables {
        variables.apply(&handle.changed_with(&variables.table(), &[]));
    }
    handle
}

/// Names of the variables of the environment that set what settings of groups can change.
pub fn setting_names() -> impl Iterator<Item = &'static str> {
    fields::FIELDS.iter().flat_map(|field| field.variables).copied()
}

/// Only what is new wakes those who watch.
fn replace<T: PartialEq>(shown: &watch::Sender<T>, now: T) {
    shown.send_if_modified(|shown| {
        let is_news = *shown != now;
        *shown = now;
        is_news
    });
}

fn given(options: &Options, field: &Field) -> Option<String> {
    field.variables.iter().find_map(|name| options.environment.get(*name)).cloned()
}

impl Handle {
    /// A view that tells what holds now and when it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Live> {
        self.0.live.subscribe()
    }

    /// How streams that loop are looked for now, and when that changes.
    pub(crate) fn watch_looping(&self) -> watch::Receiver<LoopDetection> {
        self.0.looping.subscribe()
    }

    /// What is told of the appliance's own work now, and when that changes.
    pub(crate) fn watch_diagnosis(&self) -> watch::Receiver<diagnosis::Live> {
        self.0.diagnosis.subscribe()
    }

    /// Whether nothing may be changed.
    pub(crate) fn is_pinned(&self) -> bool {
        self.0.options.is_pinned
    }

    /// What a setting is, and where that comes from.
    pub(crate) fn value(&self, field: &Field) -> (Value, Source) {
        let options = &self.0.options;
        let (fleet, tuning) = (options.fleet.as_ref(), self.0.base.load().tuning);
        if let Some(value) = self.changed(field) {
            return (value, Source::Api);
        }
        let given = given(options, field);
        let source = if given.is_some() { Source::Environment } else { Source::Default };
        // What the appliance made of the environment is what holds, whatever form it was given in.
        let holds = match field.name {
            fields::GRACE => Some(json!(tuning.grace.as_secs())),
            fields::JOIN_BEHIND => tuning.join_behind.map(|behind| json!(behind.as_secs_f64())),
            fields::STREAM_MODE => Some(json!(if tuning.is_hls_default { "HLS" } else { "TS" })),
            fields::STREAMS_PER_ENGINE => options.streams_per_engine.map(Value::from),
            fields::REPLICAS_MIN => fleet.map(|fleet| json!(fleet.replicas_min)),
            fields::REPLICAS_MAX => fleet.map(|fleet| json!(fleet.replicas_max)),
            fields::AUTO_DELETE => fleet.map(|fleet| json!(fleet.is_auto_delete)),
            fields::VARIANT => fleet.map(|fleet| {
                let usual = || Recipe::of_architecture(variant::platform());
                json!(fleet.variant.unwrap_or_else(usual).as_str())
            }),
            _ => None,
        };
        // Where no fleet is kept, its settings are still what was given.
        let as_given = || given.as_deref().and_then(|text| field.parse(text));
        (holds.or_else(as_given).unwrap_or_else(|| field.default()), source)
    }

    fn changed(&self, field: &Field) -> Option<Value> {
        if self.0.options.is_pinned {
            return None;
        }
        let row = self.0.store.setting(&field.key())?;
        // A row of another version may hold what is no longer allowed.
        serde_json::from_str(&row.value).ok().and_then(|value| field.check(&value).ok())
    }

    /// All values of a group, and where each comes from.
    pub(crate) fn group(&self, group: Group) -> (Values, BTreeMap<&'static str, &'static str>) {
        let (mut values, mut sources) = (Values::new(), BTreeMap::new());
        for field in fields::of(group) {
            let (value, source) = self.value(field);
            values.insert(field.name.to_owned(), value);
            sources.insert(field.name, source.as_str());
        }
        (values, sources)
    }

    /// Changes settings of one group: all of them or none.
    ///
    /// # Errors
    /// What is not allowed, or why nothing could be stored.
    pub(crate) async fn change(&self, group: Group, values: &Values) -> Result<(), Error> {
        self.change_all(&[(group, values.clone())], Vec::new(), &Wanted::new()).await.map(drop)
    }

    /// Changes settings of several groups, documents and variables with them: all of it or nothing.
    async fn change_all(
        &self,
        groups: &[(Group, Values)],
        documents: Vec<Record>,
        wanted: &Wanted,
    ) -> Result<Needs, Error> {
        let _gate = self.0.gate.lock().await;
        if self.0.options.is_pinned {
            return Err(Error::Pinned);
        }
        let mut records = Vec::new();
        for (group, values) in groups {
            records.extend(self.records(*group, values)?);
        }
        let is_custom = records.iter().find_map(|record| match record {
            Record::Setting(row) if row.key == "engine.use_custom_variant" => Some(row.value == "true"),
            _ => None,
        });
        records.extend(documents);
        if let Some(is_enabled) = is_custom
            && !records.iter().any(|record| matches!(record, Record::Setting(row) if row.key == VARIANT_KEY))
        {
            records.push(document(VARIANT_KEY, &Variant { enabled: is_enabled, ..self.variant() }));
        }
        let Some(variables) = &self.0.variables else {
            if let Some(name) = wanted.keys().next() {
                return Err(Error::Refused(format!("{} cannot be changed here", name.escape_debug())));
            }
            self.save(records).await?;
            return Ok(Needs::new());
        };
        let table = variables.table();
        let (of_variables, needs) = self.variable_records(&table, wanted)?;
        records.extend(of_variables);
        let changed = self.changed_with(&table, &records);
        let base = variables.check(&changed).map_err(Error::Refused)?;
        if !records.is_empty() {
            self.0.store.save(records).await?;
            self.0.base.store(Arc::new(base));
            self.publish();
            variables.apply(&changed);
        }
        Ok(needs)
    }

    async fn save(&self, records: Vec<Record>) -> Result<(), Error> {
        if !records.is_empty() {
            self.0.store.save(records).await?;
            self.publish();
        }
        Ok(())
    }

    /// Checks what a group would be, and makes what is stored of it.
    fn records(&self, group: Group, values: &Values) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        let (mut all, _) = self.group(group);
        for field in fields::of(group) {
            let Some(value) = values.get(field.name) else { continue };
            let value = field.check(value).map_err(Error::Refused)?;
            records.push(Record::Setting(SettingRow {
                key: field.key(),
                value: value.to_string(),
                environment: given(&self.0.options, field),
                changed_at: SystemTime::now(),
            }));
            all.insert(field.name.to_owned(), value);
        }
        let join_behind_max = self.0.base.load().join_behind_max;
        if let (Some(max), Some(behind)) = (join_behind_max, values.get(fields::JOIN_BEHIND))
            && behind.as_f64().is_some_and(|behind| behind >= max.as_secs_f64())
        {
            let text =
                format!("join_behind_s must be below SLOW_CLIENT_LAG_S, {} seconds", max.as_secs_f64());
            return Err(Error::Refused(text));
        }
        if group == Group::Engine && all["min_replicas"].as_i64() > all["max_replicas"].as_i64() {
            return Err(Error::Refused("min_replicas must be <= max_replicas".to_owned()));
        }
        Ok(records)
    }

    /// Tells everybody what holds now; shards know it when this returns, and engines before whatever they are asked next.
    fn publish(&self) {
        self.0.dial.set(self.tuning());
        replace(&self.0.live, self.live());
        replace(&self.0.looping, self.looping());
        replace(&self.0.diagnosis, self.diagnosis());
    }

    /// The value of a setting that was changed while the appliance runs.
    fn changed_named(&self, group: Group, name: &str) -> Option<Value> {
        self.changed(fields::of(group).find(|field| field.name == name)?)
    }

    fn tuning(&self) -> Tuning {
        let changed = |name: &str| self.changed_named(Group::Proxy, name);
        let mut tuning = self.0.base.load().tuning;
        if let Some(seconds) = changed(fields::GRACE).and_then(|value| value.as_u64()) {
            tuning.grace = Duration::from_secs(seconds);
        }
        if let Some(seconds) = changed(fields::JOIN_BEHIND).and_then(|value| value.as_f64()) {
            tuning.join_behind = Duration::try_from_secs_f64(seconds).ok();
        }
        if let Some(mode) = changed(fields::STREAM_MODE) {
            tuning.is_hls_default = mode == "HLS";
        }
        if changed(fields::NO_DATA_CHECKS).is_some() || changed(fields::NO_DATA_INTERVAL).is_some() {
            let value = |name: &str| {
                let field = fields::FIELDS.iter().find(|field| field.name == name);
                field.and_then(|field| self.value(field).0.as_f64()).unwrap_or(1.0)
            };
            let seconds = value(fields::NO_DATA_CHECKS) * value(fields::NO_DATA_INTERVAL);
            tuning.empty_timeout = Duration::from_secs_f64(seconds);
        }
        tuning
    }

    fn live(&self) -> Live {
        let number = |group, name| self.changed_named(group, name).and_then(|value| value.as_u64());
        let count = |name| number(Group::Engine, name).and_then(|count| usize::try_from(count).ok());
        let per_engine = number(Group::Proxy, fields::STREAMS_PER_ENGINE);
        let per_engine = per_engine.and_then(|count| u32::try_from(count).ok());
        let named = self.changed_named(Group::Engine, fields::VARIANT);
        let variant = if self.0.options.is_pinned { None } else { Some(self.variant()) };
        Live {
            streams_per_engine: per_engine.or(self.0.options.streams_per_engine),
            replicas_min: count(fields::REPLICAS_MIN),
            replicas_max: count(fields::REPLICAS_MAX),
            is_auto_delete: self
                .changed_named(Group::Engine, fields::AUTO_DELETE)
                .and_then(|value| value.as_bool()),
            variant: named.as_ref().and_then(Value::as_str).and_then(Recipe::named),
            custom: variant
                .filter(|variant| variant.enabled)
                .map(|variant| variant.recipe(self.variant_name())),
        }
    }

    /// What engines of the custom variant are labelled with: the name of the template in force, if one is.
    fn variant_name(&self) -> Option<String> {
        let slot = self.active_template()?;
        self.templates().remove(&slot).map(|(name, _)| name)
    }

    /// Where the custom variant is used, templates exist and none is in force, the first one is put in force.
    pub(crate) async fn choose_template(&self) {
        let is_wanted = self.variant().enabled && self.active_template().is_none();
        let first = self.templates().into_keys().next();
        if let (true, Some(slot)) = (is_wanted && !self.0.options.is_pinned, first) {
            match self.activate_template(slot).await {
                Ok(name) => tracing::info!(slot, name, "no template was in force, so the first one is"),
                Err(error) => tracing::warn!(slot, %error, "no template is in force"),
            }
        }
    }

    fn diagnosis(&self) -> diagnosis::Live {
        let (values, _) = self.group(Group::Orchestrator);
        diagnosis::Live {
            endpoint: values[fields::OTLP_ENDPOINT].as_str().and_then(|text| text.parse().ok()),
            is_debugging: values[fields::DEBUG_MODE] == true,
        }
    }

    fn looping(&self) -> LoopDetection {
        let before = self.0.options.looping;
        let changed = |name: &str| {
            let field = fields::of(Group::Loop).find(|field| field.name == name)?;
            self.changed(field)
        };
        let seconds = |name: &str, of_one: u64| {
            changed(name)?.as_u64().map(|count| Duration::from_secs(count.saturating_mul(of_one)))
        };
        LoopDetection {
            is_enabled: changed("enabled").and_then(|value| value.as_bool()).unwrap_or(before.is_enabled),
            threshold: seconds("threshold_seconds", 1).unwrap_or(before.threshold),
            check_interval: seconds("check_interval_seconds", 1).unwrap_or(before.check_interval),
            retention: seconds("retention_minutes", 60).unwrap_or(before.retention),
        }
    }

    /// The custom variant of engines.
    pub(crate) fn variant(&self) -> Variant {
        let row = self.0.store.setting(VARIANT_KEY);
        row.and_then(|row| serde_json::from_str(&row.value).ok()).unwrap_or_default()
    }

    /// Replaces the custom variant, and the active template with it.
    ///
    /// # Errors
    /// What is not allowed, or why nothing could be stored.
    pub(crate) async fn set_variant(&self, variant: &Variant) -> Result<(), Error> {
        variant.check().map_err(Error::Refused)?;
        let mut records = vec![document(VARIANT_KEY, variant)];
        if let Some(slot) = self.active_template()
            && let Some(row) = self.0.store.templates().remove(&slot)
        {
            let config = json!(variant).to_string();
            records.push(Record::Template(TemplateRow { config, ..row }));
        }
        let custom = Values::from_iter([("use_custom_variant".to_owned(), variant.enabled.into())]);
        self.change_all(&[(Group::Engine, custom)], records, &Wanted::new()).await.map(drop)
    }

    /// The slot whose template is in force.
    pub(crate) fn active_template(&self) -> Option<u8> {
        self.0.store.setting(ACTIVE_KEY).and_then(|row| row.value.parse().ok())
    }

    /// Every template by slot: name and configuration.
    pub(crate) fn templates(&self) -> BTreeMap<u8, (String, Variant)> {
        let rows = self.0.store.templates().into_values();
        rows.filter_map(|row| Some((row.slot, (row.name, serde_json::from_str(&row.config).ok()?)))).collect()
    }

    /// Writes a template; the active one is put in force.
    ///
    /// # Errors
    /// What is not allowed, or why nothing could be stored.
    pub(crate) async fn set_template(&self, slot: u8, name: &str, variant: &Variant) -> Result<(), Error> {
        variant.check().map_err(Error::Refused)?;
        let mut records = vec![template(slot, name, variant)];
        if self.active_template() == Some(slot) {
            let enabled = self.variant().enabled;
            records.push(document(VARIANT_KEY, &Variant { enabled, ..variant.clone() }));
        }
        self.change_all(&[], records, &Wanted::new()).await.map(drop)
    }

    /// Removes a template.
    ///
    /// # Errors
    /// When it is in force, when there is none, or why nothing could be stored.
    pub(crate) async fn remove_template(&self, slot: u8) -> Result<(), Error> {
        if self.active_template() == Some(slot) {
            return Err(Error::Refused("Cannot delete the currently active template".to_owned()));
        }
        if !self.templates().contains_key(&slot) {
            return Err(Error::NoTemplate(slot));
        }
        self.change_all(&[], vec![Record::TemplateGone { slot }], &Wanted::new()).await.map(drop)
    }

    /// Puts a template in force and tells its name. Whether the custom variant is used at all stays as it is.
    ///
    /// # Errors
    /// When there is none, or why nothing could be stored.
    pub(crate) async fn activate_template(&self, slot: u8) -> Result<String, Error> {
        let (name, variant) = self.templates().remove(&slot).ok_or(Error::NoTemplate(slot))?;
        let enabled = self.variant().enabled;
        let records = vec![document(VARIANT_KEY, &Variant { enabled, ..variant }), active(slot)];
        self.change_all(&[], records, &Wanted::new()).await?;
        Ok(name)
    }
}

fn document(key: &str, value: &Variant) -> Record {
    Record::Setting(SettingRow {
        key: key.to_owned(),
        value: json!(value).to_string(),
        environment: None,
        changed_at: SystemTime::now(),
    })
}

fn active(slot: u8) -> Record {
    Record::Setting(SettingRow {
        key: ACTIVE_KEY.to_owned(),
        value: slot.to_string(),
        environment: None,
        changed_at: SystemTime::now(),
    })
}

fn template(slot: u8, name: &str, variant: &Variant) -> Record {
    Record::Template(TemplateRow { slot, name: name.to_owned(), config: json!(variant).to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn options() -> Options {
        Options {
            environment: BTreeMap::new(),
            base: Base { tuning: Tuning::default(), join_behind_max: None },
            streams_per_engine: None,
            fleet: None,
            looping: LoopDetection::default(),
            is_pinned: false,
        }
    }

    /// Guards templates that load themselves: with the custom variant in use and none in force the lowest one is, and what
    /// engines are made from is what it says, under its name; one that is in force stays, and nothing is loaded where the custom
    /// variant is not used.
    #[tokio::test]
    async fn the_first_template_is_loaded_where_none_is_in_force() {
        for (is_used, active, expected) in
            [(true, None, Some(3)), (true, Some(7), Some(7)), (false, None, None)]
        {
            let directory = tempfile::tempdir().unwrap();
            let stored = store::Options { directory: Some(directory.path().to_owned()), pages_max: None };
            let settings = start(options(), store::open(&stored).unwrap().0, Arc::default(), None);
            let variant = Variant { enabled: is_used, platform: "amd64".to_owned(), ..Variant::default() };
            settings.set_variant(&variant).await.unwrap();
            for (slot, memory) in [(7, "128m"), (3, "64m")] {
                let variant = Variant { memory_limit: Some(memory.to_owned()), ..variant.clone() };
                settings.set_template(slot, &format!("Number {slot}"), &variant).await.unwrap();
            }
            if let Some(slot) = active {
                settings.activate_template(slot).await.unwrap();
            }
            settings.choose_template().await;
            assert_eq!(settings.active_template(), expected);
            let custom = settings.watch().borrow().custom.clone();
            let told = custom.map(|custom| (custom.name, custom.memory_bytes));
            let memory = if expected == Some(3) { 64 << 20 } else { 128 << 20 };
            let meant = expected.map(|slot| (format!("Number {slot}"), Some(Some(memory))));
            assert_eq!(told, meant);
        }
    }

    /// Guards what engines are labelled with after a restart: the name of the template in force is there in the first thing
    /// engines are told, not only once somebody has asked for it.
    #[tokio::test]
    async fn the_template_in_force_is_known_from_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let stored = store::Options { directory: Some(directory.path().to_owned()), pages_max: None };
        let open = || store::open(&stored).unwrap().0;
        let options = options();
        let store = open();
        let before = start(options.clone(), store.clone(), Arc::default(), None);
        let variant = Variant { enabled: true, platform: "amd64".to_owned(), ..Variant::default() };
        before.set_variant(&variant).await.unwrap();
        before.set_template(4, "Living room", &variant).await.unwrap();
        before.activate_template(4).await.unwrap();
        store.stop(Instant::now() + Duration::from_secs(20)).await;
        drop((before, store));
        let after = start(options, open(), Arc::default(), None);
        let custom = after.watch().borrow().custom.clone();
        assert_eq!(custom.map(|custom| custom.name).as_deref(), Some("Living room"));
    }
}
