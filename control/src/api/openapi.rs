//! The description of the API: collected from the routes by utoipa, completed with what all of them share.
//!
//! `docs/reference/openapi.json` is this description; a test compares the two, so that no route changes unseen. What it
//! says about keys and faults is added here once, from the same facts the extractors go by.

use super::error::{Detail, InvalidDetail};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, SecurityRequirement};
use utoipa::{OpenApi as _, ToSchema};

/// Reading routes that ask for the key all the same, because of what they show.
const KEYED_READS: [&str; 6] = [
    "/by-label",
    "/engine-cache/stats",
    "/settings/export",
    "/settings/variables",
    "/custom-variant/templates/{slot_id}/export",
    "/engines/{container_id}/log",
];
/// Routes that are open even when reads are closed.
const ALWAYS_OPEN: [&str; 1] = ["/version"];

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Sluice",
        description = "The REST contract of the orchestrator, version 1.5.1, served by Sluice. Every route is also \
            reached under `/api/v1`. Errors are `{\"detail\": …}`. Reading needs no key unless a setting says so; \
            everything else needs `Authorization: Bearer <key>` or `X-API-KEY: <key>`.",
        license(name = "MIT", identifier = "MIT"),
    ),
    components(schemas(Detail, InvalidDetail)),
    tags(
        (name = "service", description = "The appliance itself"),
        (name = "proxy", description = "What plays, and who watches"),
        (name = "engines", description = "Engines"),
        (name = "streams", description = "Streams: sessions of the appliance, and those other proxies report"),
        (name = "events", description = "Reports of other proxies, what happened, and changes as they happen"),
        (name = "looping", description = "Streams that loop"),
        (name = "containers", description = "Containers, and starting engines"),
        (name = "vpn", description = "The VPN"),
        (name = "settings", description = "What can be changed while it runs"),
        (name = "variant", description = "The custom variant of engines, and templates of it"),
    )
)]
struct Base;

/// The description before any route.
pub(crate) fn base() -> OpenApi {
    Base::openapi()
}

/// Adds keys and the answers that routes share.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    let components = document.components.get_or_insert_default();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let header = ApiKey::Header(ApiKeyValue::new("X-API-KEY"));
    components.add_security_scheme("api_key", SecurityScheme::ApiKey(header));
    for (path, item) in &mut document.paths.paths {
        for (is_read, operation) in operations(item) {
            let is_keyed = !is_read || KEYED_READS.contains(&path.as_str());
            complete_operation(operation, is_keyed, ALWAYS_OPEN.contains(&path.as_str()));
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (bool, &mut Operation)> {
    let read = item.get.iter_mut().map(|operation| (true, operation));
    let writes = [&mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
    read.chain(writes.into_iter().flatten().map(|operation| (false, operation)))
}

fn complete_operation(operation: &mut Operation, is_keyed: bool, is_open: bool) {
    if is_keyed {
        let schemes = ["bearer", "api_key"].map(|scheme| SecurityRequirement::new(scheme, [] as [&str; 0]));
        operation.security = Some(schemes.into());
    }
    if !is_open {
        let closed = if is_keyed { "" } else { "; only where a setting closes reads" };
        add(operation, "401", format!("No key was shown{closed}"), detail());
        add(operation, "403", format!("The key is wrong{closed}"), detail());
    }
    let is_checked = operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty());
    if is_checked || operation.request_body.is_some() {
        let invalid = Ref::from_schema_name(InvalidDetail::name().as_ref());
        add(operation, "422", "The request does not say what it should".to_owned(), invalid);
    }
    if operation.request_body.is_some() {
        add(operation, "400", "The body broke off, or a value is out of range".to_owned(), detail());
        add(operation, "408", "The body did not arrive in time".to_owned(), detail());
        add(operation, "413", "The body is too large".to_owned(), detail());
    }
}

fn detail() -> Ref {
    Ref::from_schema_name(Detail::name().as_ref())
}

/// Adds an answer, unless the route describes its own.
fn add(operation: &mut Operation, status: &str, text: String, schema: Ref) {
    let content = Content::new(Some(RefOr::Ref(schema)));
    let response: Response =
        ResponseBuilder::new().description(text).content("application/json", content).build();
    operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
}
