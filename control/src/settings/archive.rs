//! The backup: all settings, the custom variant and the templates in one ZIP. Import checks everything it is asked to take
//! before anything is changed.

use super::fields::{self, Group, Values};
use super::variables::Wanted;
use super::variant::Variant;
use super::{Error, Handle, Record, active, document, template};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use utoipa::ToSchema;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Slots for templates.
pub(crate) const SLOTS: std::ops::RangeInclusive<u8> = 1..=10;
/// Characters of a template's name.
pub(crate) const NAME_CHARS_MAX: usize = 128;
/// Members of an archive, and what each may come to unpacked: a few kilobytes in practice.
const MEMBERS_MAX: usize = 64;
const MEMBER_BYTES_MAX: u64 = 256 * 1024;

const GROUPS: [(Group, &str); 4] = [
    (Group::Proxy, "proxy_settings.json"),
    (Group::Loop, "loop_detection_settings.json"),
    (Group::Engine, "engine_settings.json"),
    (Group::Orchestrator, "orchestrator_settings.json"),
];
const VARIANT: &str = "custom_engine_variant.json";
const ACTIVE: &str = "active_template.json";
/// What the environment sets otherwise; taken and left together with settings of the appliance itself.
const VARIABLES: &str = "variables.json";

/// What is to be taken from an archive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    /// The custom variant.
    pub(crate) variant: bool,
    /// Templates, and which one is in force.
    pub(crate) templates: bool,
    /// Proxy settings.
    pub(crate) proxy: bool,
    /// Loop detection.
    pub(crate) loops: bool,
    /// Engine settings.
    pub(crate) engine: bool,
    /// Settings of the appliance itself.
    pub(crate) orchestrator: bool,
}

/// What was taken.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = ImportedSettings)]
pub(crate) struct Imported {
    custom_variant: bool,
    templates: usize,
    active_template: bool,
    proxy: bool,
    loop_detection: bool,
    engine: bool,
    orchestrator: bool,
    /// What could not be taken; nothing was changed then.
    pub(crate) errors: Vec<String>,
}

/// Writes the backup.
///
/// # Errors
/// What the archive's writer says, which works on memory.
pub(crate) fn export(settings: &Handle, date: &str) -> Result<Vec<u8>, zip::result::ZipError> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let mut put = |name: &str, content: &Value| {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        archive.start_file(name, options)?;
        let text = serde_json::to_string_pretty(content).unwrap_or_default();
        archive.write_all(text.as_bytes()).map_err(zip::result::ZipError::from)
    };
    put(VARIANT, &json!(settings.variant()))?;
    for (slot, (name, config)) in settings.templates() {
        let content = json!({ "slot_id": slot, "name": name, "config": config });
        put(&format!("templates/template_{slot}.json"), &content)?;
    }
    if let Some(slot) = settings.active_template() {
        put(ACTIVE, &json!({ "active_template_id": slot }))?;
    }
    for (group, name) in GROUPS {
        put(name, &Value::Object(settings.group(group).0))?;
    }
    put(VARIABLES, &json!(settings.variables_to_export()))?;
    put(
        "metadata.json",
        &json!({ "export_date": date, "version": "1.0", "description": "Settings of Sluice" }),
    )?;
    Ok(archive.finish()?.into_inner())
}

/// Takes a backup: everything that is asked for and there, or nothing.
///
/// # Errors
/// When it is no archive, when it is too large, or when nothing could be stored. What is wrong inside of an archive is told
/// in [`Imported::errors`].
pub(crate) async fn import(settings: &Handle, bytes: &[u8], parts: Parts) -> Result<Imported, Error> {
    let members = unpack(bytes).map_err(Error::Refused)?;
    let mut found = Found::default();
    for (name, content) in &members {
        if let Err(fault) = found.take(settings, name, content, parts) {
            found.imported.errors.push(format!("{name}: {fault}"));
        }
    }
    if let (Some(slot), true) = (found.active, found.imported.errors.is_empty()) {
        let exists = found.slots.contains(&slot) || settings.templates().contains_key(&slot);
        match exists {
            true => found.documents.push(active(slot)),
            false => found.imported.errors.push(format!("{ACTIVE}: template {slot} does not exist")),
        }
    }
    if !found.imported.errors.is_empty() {
        return Ok(Imported { errors: found.imported.errors, ..Imported::default() });
    }
    match settings.change_all(&found.groups, found.documents, &found.variables).await {
        Ok(_) => Ok(found.imported),
        Err(Error::Refused(fault)) => Ok(Imported { errors: vec![fault], ..Imported::default() }),
        Err(error) => Err(error),
    }
}

#[derive(Default)]
struct Found {
    imported: Imported,
    groups: Vec<(Group, Values)>,
    documents: Vec<Record>,
    variables: Wanted,
    slots: Vec<u8>,
    active: Option<u8>,
}

impl Found {
    fn take(&mut self, settings: &Handle, name: &str, content: &[u8], parts: Parts) -> Result<(), String> {
        let is_template =
            name.strip_prefix("templates/template_").and_then(|rest| rest.strip_suffix(".json"));
        let group = GROUPS.into_iter().find(|(_, member)| *member == name).map(|(group, _)| group);
        let is_wanted = match group {
            Some(Group::Proxy) => parts.proxy,
            Some(Group::Loop) => parts.loops,
            Some(Group::Engine) => parts.engine,
            Some(Group::Orchestrator) => parts.orchestrator,
            None if name == VARIANT => parts.variant,
            None if name == VARIABLES => parts.orchestrator,
            None => parts.templates && (is_template.is_some() || name == ACTIVE),
        };
        if !is_wanted {
            return Ok(());
        }
        let value: Value = serde_json::from_slice(content).map_err(|error| format!("no JSON: {error}"))?;
        if let Some(group) = group {
            let values = value.as_object().ok_or("no object")?;
            settings.records(group, values).map_err(|error| error.to_string())?;
            // Whoever wrote the file may have known more settings, or fewer.
            let known = fields::of(group)
                .filter_map(|field| Some((field.name.to_owned(), values.get(field.name)?.clone())));
            self.groups.push((group, known.collect()));
            match group {
                Group::Proxy => self.imported.proxy = true,
                Group::Loop => self.imported.loop_detection = true,
                Group::Engine => self.imported.engine = true,
                Group::Orchestrator => self.imported.orchestrator = true,
            }
        } else if let Some(number) = is_template {
            let slot = number.parse::<u8>().ok().filter(|slot| SLOTS.contains(slot));
            let slot = slot.ok_or("the slot must be between 1 and 10")?;
            let name = value["name"].as_str().filter(|name| name.chars().count() <= NAME_CHARS_MAX);
            let name = name.ok_or("the template has no name, or one that is too long")?;
            let variant = Variant::read(&value["config"])?;
            variant.check()?;
            self.documents.push(template(slot, name, &variant));
            self.slots.push(slot);
            self.imported.templates += 1;
        } else if name == VARIABLES {
            self.variables = settings.variables_to_import(value.as_object().ok_or("no object")?)?;
        } else if name == VARIANT {
            let variant = Variant::read(&value)?;
            variant.check()?;
            self.documents.push(document(super::VARIANT_KEY, &variant));
            self.imported.custom_variant = true;
        } else {
            let slot = value["active_template_id"].as_u64().and_then(|slot| u8::try_from(slot).ok());
            let slot = slot.filter(|slot| SLOTS.contains(slot));
            self.active = Some(slot.ok_or("active_template_id must be between 1 and 10")?);
            self.imported.active_template = true;
        }
        Ok(())
    }
}

/// The members of an archive, bounded in number and size.
fn unpack(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    if bytes.is_empty() {
        return Err("No file data provided".to_owned());
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|_| "Invalid ZIP file".to_owned())?;
    if archive.len() > MEMBERS_MAX {
        return Err(format!("the archive has more than {MEMBERS_MAX} members"));
    }
    let mut members = BTreeMap::new();
    for at in 0..archive.len() {
        let mut member = archive.by_index(at).map_err(|_| "Invalid ZIP file".to_owned())?;
        let name = member.name().map_err(|_| "Invalid ZIP file".to_owned())?.into_owned();
        let mut content = Vec::new();
        // What the directory says of the size may be a lie: count what comes.
        let read = (&mut member).take(MEMBER_BYTES_MAX + 1).read_to_end(&mut content);
        read.map_err(|_| "Invalid ZIP file".to_owned())?;
        if content.len() as u64 > MEMBER_BYTES_MAX {
            return Err(format!("{name} is larger than {MEMBER_BYTES_MAX} bytes"));
        }
        members.insert(name, content);
    }
    Ok(members)
}
