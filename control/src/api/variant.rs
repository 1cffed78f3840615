//! The custom variant of engines, and the ten slots for templates of it.

use super::Sources;
use super::error::{Detail, Error};
use super::input::{BodyKind, Fields, Input, Keyed, Read, rule};
use super::service::Message;
use crate::settings::archive::{NAME_CHARS_MAX, SLOTS};
use crate::settings::variant::{PLATFORMS, Variant, platform};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Characters of a template as text.
const JSON_CHARS_MAX: usize = 256 * 1024;

/// Where engines would run.
#[derive(Serialize, ToSchema)]
pub(crate) struct Platform {
    platform: &'static str,
    #[schema(value_type = Vec<String>)]
    supported_platforms: [&'static str; 3],
}

/// What was saved.
#[derive(Serialize, ToSchema)]
pub(crate) struct SavedVariant {
    message: &'static str,
    config: Variant,
}

/// The slots.
#[derive(Serialize, ToSchema)]
pub(crate) struct Templates {
    templates: Vec<Slot>,
    active_template_id: Option<u8>,
}

/// One slot.
#[derive(Serialize, ToSchema)]
#[schema(as = TemplateSlot)]
pub(crate) struct Slot {
    slot_id: u8,
    name: String,
    exists: bool,
}

/// One template.
#[derive(Serialize, ToSchema)]
pub(crate) struct Template {
    slot_id: u8,
    name: String,
    config: Variant,
}

/// What was put in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct Activated {
    message: String,
    template_id: u8,
    template_name: String,
}

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Sources> {
    OpenApiRouter::new()
        .routes(routes!(where_engines_run))
        .routes(routes!(config, set_config))
        .routes(routes!(templates))
        .routes(routes!(template, set_template, remove_template))
        .routes(routes!(rename_template))
        .routes(routes!(activate_template))
        .routes(routes!(export_template))
        .routes(routes!(import_template))
}

/// A configuration in a request: its shape is checked with the request, its parameters by the handler.
struct Config(Variant);

impl Input for Config {
    const BODY: BodyKind = BodyKind::Object;

    fn read(fields: &mut Fields) -> Option<Self> {
        fields.body("platform").required(rule::string(64))?;
        let value = Value::Object(fields.object()?.clone());
        let member = match Variant::read(&value) {
            Ok(variant) => match variant.fault() {
                None => return Some(Self(variant)),
                Some((member, fault)) => (member, fault),
            },
            Err(fault) => ("config", fault),
        };
        fields.body(member.0).refuse(member.1);
        None
    }
}

/// The number of a slot in the path.
struct SlotId(u8);

impl Input for SlotId {
    fn read(fields: &mut Fields) -> Option<Self> {
        slot_id(fields).map(Self)
    }
}

/// Any whole number is a slot id in form; [`in_range`] says whether there is such a slot.
fn slot_id(fields: &mut Fields) -> Option<u8> {
    let number = fields.path(0, "slot_id").required(rule::int(i64::MIN..=i64::MAX))?;
    Some(u8::try_from(number).unwrap_or(0))
}

fn in_range(slot: u8) -> Result<u8, Error> {
    match SLOTS.contains(&slot) {
        true => Ok(slot),
        false => Err(Error::Refused("Template slot_id must be between 1 and 10".into())),
    }
}

/// A slot and the members of a body, which the routes check by themselves: their faults are told as text.
struct SlotAndBody(u8, Map<String, Value>);

impl Input for SlotAndBody {
    const BODY: BodyKind = BodyKind::Object;

    fn read(fields: &mut Fields) -> Option<Self> {
        let body = fields.object().cloned().unwrap_or_default();
        let slot = slot_id(fields)?;
        Some(Self(slot, body))
    }
}

fn refused(text: impl Into<String>) -> Error {
    Error::Refused(text.into().into())
}

fn name(value: &Value) -> Result<&str, Error> {
    let name = value.as_str().ok_or_else(|| refused("Template name must be text"))?.trim();
    match name.chars().count() {
        0 => Err(refused("Template name cannot be empty")),
        count if count > NAME_CHARS_MAX => {
            Err(refused(format!("Template name may have at most {NAME_CHARS_MAX} characters")))
        }
        _ => Ok(name),
    }
}

fn known(sources: &Sources, slot: u8) -> Result<Template, Error> {
    let found = sources.settings.templates().remove(&in_range(slot)?);
    let (name, config) = found.ok_or_else(|| Error::NotFound(format!("Template {slot} not found").into()))?;
    Ok(Template { slot_id: slot, name, config })
}

/// Platform engines would run on
#[utoipa::path(
    get,
    path = "/custom-variant/platform",
    tag = "variant",
    responses((status = 200, body = Platform))
)]
async fn where_engines_run(Read(()): Read<()>) -> Json<Platform> {
    Json(Platform { platform: platform(), supported_platforms: PLATFORMS })
}

/// The custom variant
///
/// Access tokens are masked; the export of a template, which needs the key, has them.
#[utoipa::path(get, path = "/custom-variant/config", tag = "variant", responses((status = 200, body = Variant)))]
async fn config(State(sources): State<Sources>, Read(()): Read<()>) -> Json<Variant> {
    Json(sources.settings.variant().masked())
}

/// Replace the custom variant
///
/// The active template is changed with it. Engines that exist keep what they were made with.
#[utoipa::path(
    post,
    path = "/custom-variant/config",
    tag = "variant",
    request_body(content = Variant),
    responses(
        (status = 200, body = SavedVariant),
        (status = 400, description = "A parameter has a value of another type", body = Detail),
        (status = 409, description = "Settings are pinned to the environment", body = Detail),
        (status = 503, description = "It could not be stored; nothing was changed", body = Detail),
    )
)]
async fn set_config(
    State(sources): State<Sources>,
    Keyed(Config(mut config)): Keyed<Config>,
) -> Result<Json<SavedVariant>, Error> {
    config.unmask(&sources.settings.variant());
    config.check_parameters().map_err(|fault| refused(format!("Invalid configuration: {fault}")))?;
    sources.settings.set_variant(&config).await?;
    Ok(Json(SavedVariant { message: "Configuration saved successfully", config }))
}

/// The ten slots
#[utoipa::path(
    get,
    path = "/custom-variant/templates",
    tag = "variant",
    responses((status = 200, body = Templates))
)]
async fn templates(State(sources): State<Sources>, Read(()): Read<()>) -> Json<Templates> {
    let mut known = sources.settings.templates();
    let slot = |slot_id| match known.remove(&slot_id) {
        Some((name, _)) => Slot { slot_id, name, exists: true },
        None => Slot { slot_id, name: format!("Template {slot_id}"), exists: false },
    };
    let templates = SLOTS.map(slot).collect();
    Json(Templates { templates, active_template_id: sources.settings.active_template() })
}

/// Read a slot
///
/// Access tokens are masked.
#[utoipa::path(
    get,
    path = "/custom-variant/templates/{slot_id}",
    tag = "variant",
    params(("slot_id" = i64, Path, description = "1 to 10")),
    responses(
        (status = 200, body = Template),
        (status = 400, description = "No such slot", body = Detail),
        (status = 404, description = "The slot is empty", body = Detail),
    )
)]
async fn template(
    State(sources): State<Sources>,
    Read(SlotId(slot)): Read<SlotId>,
) -> Result<Json<Template>, Error> {
    let template = known(&sources, slot)?;
    Ok(Json(Template { config: template.config.masked(), ..template }))
}

/// Write a slot
#[utoipa::path(
    post,
    path = "/custom-variant/templates/{slot_id}",
    tag = "variant",
    params(("slot_id" = i64, Path, description = "1 to 10")),
    request_body(content = Object, description = "`name` and `config`"),
    responses(
        (status = 200, body = Message),
        (status = 400, description = "No such slot, or a configuration that is not allowed", body = Detail),
        (status = 409, description = "Settings are pinned to the environment", body = Detail),
        (status = 503, description = "It could not be stored; nothing was changed", body = Detail),
    )
)]
async fn set_template(
    State(sources): State<Sources>,
    Keyed(SlotAndBody(slot, body)): Keyed<SlotAndBody>,
) -> Result<Json<Message>, Error> {
    let slot = in_range(slot)?;
    let (Some(title), Some(config)) = (body.get("name"), body.get("config")) else {
        return Err(refused("Request must include 'name' and 'config'"));
    };
    let mut config = Variant::read(config).map_err(|fault| refused(format!("Invalid config: {fault}")))?;
    let before = sources.settings.templates().remove(&slot).map(|(_, before)| before);
    config.unmask(&before.unwrap_or_else(|| sources.settings.variant()));
    config.check().map_err(|fault| refused(format!("Invalid configuration: {fault}")))?;
    sources.settings.set_template(slot, name(title)?, &config).await?;
    Ok(Message::told(format!("Template {slot} saved successfully")))
}

/// Empty a slot
#[utoipa::path(
    delete,
    path = "/custom-variant/templates/{slot_id}",
    tag = "variant",
    params(("slot_id" = i64, Path, description = "1 to 10")),
    responses(
        (status = 200, body = Message),
        (status = 400, description = "No such slot, or its template is active", body = Detail),
        (status = 404, description = "The slot is empty", body = Detail),
        (status = 409, description = "Settings are pinned to the environment", body = Detail),
        (status = 503, description = "It could not be stored; nothing was changed", body = Detail),
    )
)]
async fn remove_template(
    State(sources): State<Sources>,
    Keyed(SlotId(slot)): Keyed<SlotId>,
) -> Result<Json<Message>, Error> {
    sources.settings.remove_template(in_range(slot)?).await?;
    Ok(Message::told(format!("Template {slot} deleted successfully")))
}

/// Rename a template
#[utoipa::path(
    patch,
    path = "/custom-variant/templates/{slot_id}/rename",
    tag = "variant",
    params(("slot_id" = i64, Path, description = "1 to 10")),
    request_body(content = Object, description = "`name`"),
    responses(
        (status = 200, body = Message),
        (status = 400, description = "No such slot, or no name", body = Detail),
        (status = 404, description = "The slot is empty", body = Detail),
        (status = 409, description = "Settings are pinned to the environment", body = Detail),
        (status = 503, description = "It could not be stored; nothing was changed", body = Detail),
    )
)]
async fn rename_template(
    State(sources): State<Sources>,
    Keyed(SlotAndBody(slot, body)): Keyed<SlotAndBody>,
) -> Result<Json<Message>, Error> {
    let title = body.get("name").ok_or_else(|| refused("Request must include 'name'"))?;
    let (title, slot) = (name(title)?, in_range(slot)?);
    let found = sources.settings.templates().remove(&slot);
    let (_, config) =
        found.ok_or_else(|| Error::NotFound(format!("Template {slot} not found or rename failed").into()))?;
    sources.settings.set_template(slot, title, &config).await?;
    Ok(Message::told(format!("Template {slot} renamed to '{title}' successfully")))
}

/// Put a template in force
///
/// It becomes the custom variant; whether that is used at all stays as it is.
#[utoipa::path(
    post,
    path = "/custom-variant/templates/{slot_id}/activate",
    tag = "variant",
    params(("slot_id" = i64, Path, description = "1 to 10")),
    responses(
        (status = 200, body = Activated),
        (status = 400, description = "No such slot", body = Detail),
        (status = 404, description = "The slot is empty", body = Detail),
        (status = 409, description = "Settings are pinned to the environment", body = Detail),
        (status = 503, description = "It could not be stored; nothing was changed", body = Detail),
    )
)]
async fn activate_template(
    State(sources): State<Sources>,
    Keyed(SlotId(slot)): Keyed<SlotId>,
) -> Result<Json<Activated>, Error> {
    let name = sources.settings.activate_template(in_range(slot)?).await?;
    let message = format!("Template '{name}' activated successfully");
    Ok(Json(Activated { message, template_id: slot, template_name: name }))
}

/// Download a template
///
/// With its access tokens, which is why it needs the key.
#[utoipa::path(
    get,
    path = "/custom-variant/templates/{slot_id}/export",
    tag = "variant",
    params(("slot_id" = i64, Path, description = "1 to 10")),
    responses(
        (status = 200, body = Template),
        (status = 400, description = "No such slot", body = Detail),
        (status = 404, description = "The slot is empty", body = Detail),
    )
)]
async fn export_template(
    State(sources): State<Sources>,
    Keyed(SlotId(slot)): Keyed<SlotId>,
) -> Result<Response, Error> {
    let template = known(&sources, slot)?;
    let text = serde_json::to_string_pretty(&template).unwrap_or_default();
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"template_{slot}.json\"")),
    ];
    Ok((headers, text).into_response())
}

/// Upload a template
///
/// `json_data` is the text of the downloaded file; the path decides the slot.
#[utoipa::path(
    post,
    path = "/custom-variant/templates/{slot_id}/import",
    tag = "variant",
    params(("slot_id" = i64, Path, description = "1 to 10")),
    request_body(content = Object, description = "`json_data`"),
    responses(
        (status = 200, body = Message),
        (status = 400, description = "No such slot, or no template", body = Detail),
        (status = 409, description = "Settings are pinned to the environment", body = Detail),
        (status = 503, description = "It could not be stored; nothing was changed", body = Detail),
    )
)]
async fn import_template(
    State(sources): State<Sources>,
    Keyed(SlotAndBody(slot, body)): Keyed<SlotAndBody>,
) -> Result<Json<Message>, Error> {
    let slot = in_range(slot)?;
    let data = body.get("json_data").ok_or_else(|| refused("Request must include 'json_data'"))?;
    let text = data.as_str().filter(|text| text.len() <= JSON_CHARS_MAX);
    let text = text.ok_or_else(|| refused("Failed to import template: 'json_data' must be text"))?;
    let template: Value =
        serde_json::from_str(text).map_err(|error| refused(format!("Invalid JSON: {error}")))?;
    let wrong = |fault: String| refused(format!("Invalid template format: {fault}"));
    let title = template.get("name").ok_or_else(|| wrong("it has no name".to_owned()))?;
    let config = template.get("config").unwrap_or(&Value::Null);
    let config = Variant::read(config).map_err(wrong)?;
    config.check().map_err(wrong)?;
    sources.settings.set_template(slot, name(title)?, &config).await?;
    Ok(Message::told(format!("Template {slot} imported successfully")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Guards: names are trimmed, bounded and never empty.
    #[test]
    fn names_are_trimmed_and_bounded() {
        assert_eq!(name(&json!(" x ")), Ok("x"));
        for wrong in [json!("  "), json!(7), json!("x".repeat(NAME_CHARS_MAX + 1))] {
            assert!(name(&wrong).is_err(), "{wrong}");
        }
    }
}
