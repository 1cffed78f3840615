//! Variables of the environment: what each is, and changing those that are no setting of a group.

use super::Sources;
use super::error::{Detail, Error};
use super::input::{BodyKind, Fields, Input, Keyed};
use crate::settings::variables::{API_KEY, Needs, Shown, Wanted};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Variables in one request.
const VARIABLES_MAX: usize = 200;

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Sources> {
    OpenApiRouter::new().routes(routes!(variables, set_variables))
}

/// Every variable of the environment.
#[derive(Serialize, ToSchema)]
pub(crate) struct VariablesTable {
    /// Whether nothing can be changed here (`SETTINGS=env`).
    is_pinned: bool,
    variables: Vec<Shown>,
}

/// What came of a change.
#[derive(Serialize, ToSchema)]
pub(crate) struct VariablesAnswer {
    message: &'static str,
    /// For each variable of the request what is needed for the change to take effect: `nothing`, `handover` or `restart`.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    changed: Needs,
    /// Those that hold only after the appliance was started anew.
    #[schema(value_type = Vec<String>)]
    restart_required: Vec<&'static str>,
}

/// New values by name; null takes a change back.
struct Change(Result<Wanted, String>);

impl Input for Change {
    const BODY: BodyKind = BodyKind::Object;

    fn read(fields: &mut Fields) -> Option<Self> {
        let object = fields.object()?;
        if object.len() > VARIABLES_MAX {
            return Some(Self(Err(format!("at most {VARIABLES_MAX} variables can be changed at once"))));
        }
        let values = object.iter().map(|(name, value)| {
            let value = match value {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
                Value::Array(_) | Value::Object(_) => {
                    let name: String = name.chars().take(64).flat_map(char::escape_debug).collect();
                    return Err(format!("{name} must be text, a number, true, false or null"));
                }
            };
            Ok((name.clone(), value))
        });
        Some(Self(values.collect()))
    }
}

/// Every variable of the environment
///
/// What it may be, what it is now and where that comes from. Those with a `setting` are changed as that setting of a group;
/// the others with `POST /settings/variables`, unless `fixed` says why not.
#[utoipa::path(
    get,
    path = "/settings/variables",
    operation_id = "variables",
    tag = "settings",
    responses((status = 200, body = VariablesTable))
)]
async fn variables(State(sources): State<Sources>, Keyed(()): Keyed<()>) -> Json<VariablesTable> {
    let is_pinned = sources.settings.is_pinned();
    Json(VariablesTable { is_pinned, variables: sources.settings.variables() })
}

/// Change variables of the environment
///
/// Names and new values, as text, numbers or booleans; an empty text is as if the variable were not set, and null takes an
/// earlier change back. All are taken, or none; they are checked like a start. A change holds until the environment says
/// something else than it does now. What plays goes on; where the control plane is rebuilt for a change, connections that
/// follow events have to be made anew. A new `API_KEY` holds from the answer on and ends every session of the panel; only a
/// hash of it is kept.
#[utoipa::path(
    post,
    path = "/settings/variables",
    operation_id = "set_variables",
    tag = "settings",
    request_body(content = Object, description = "`{\"MAX_CLIENTS\": 500, \"ENGINE_SELECTION\": \"spread\", \"WARM_S\": null}`"),
    responses(
        (status = 200, body = VariablesAnswer),
        (status = 400, description = "A variable cannot be changed, or not to this; nothing was changed", body = Detail),
        (status = 409, description = "Settings are pinned to the environment", body = Detail),
        (status = 503, description = "The change could not be stored; nothing was changed", body = Detail),
    )
)]
async fn set_variables(
    State(sources): State<Sources>,
    Keyed(Change(wanted)): Keyed<Change>,
) -> Result<Json<VariablesAnswer>, Error> {
    let wanted = wanted.map_err(|text| Error::Refused(text.into()))?;
    let changed = sources.settings.change_variables(&wanted).await?;
    if changed.contains_key(API_KEY) {
        sources.access.set_key(sources.settings.changed_key());
    }
    let restart_required = changed.iter().filter(|(_, needs)| **needs == "restart").map(|(name, _)| *name);
    let restart_required: Vec<_> = restart_required.collect();
    let message = if restart_required.is_empty() {
        "Variables changed"
    } else {
        "Variables changed; some hold after a restart"
    };
    Ok(Json(VariablesAnswer { message, changed, restart_required }))
}
