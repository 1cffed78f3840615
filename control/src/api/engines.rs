//! Engines as callers of the contract know them, read from what the engines room shows: no request waits for an engine.

use super::Sources;
use super::error::{Error, Named};
use super::input::{Keyed, Read};
use super::shapes::EngineView;
use crate::engines::HandError;
use crate::events::{Draft, EventType};
use crate::streams;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde::Serialize;
use sluice_contract::EngineId;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// An engine and what plays on it.
#[derive(Serialize, ToSchema)]
pub(crate) struct EngineWithStreams<'a> {
    engine: EngineView,
    /// Active ones, without figures.
    streams: Vec<streams::State<'a>>,
}

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Sources> {
    OpenApiRouter::new().routes(routes!(engines)).routes(routes!(engine)).routes(routes!(drain, undrain))
}

/// Engines
///
/// By port. Platform and version are what the engine's last check said; nobody is asked now.
#[utoipa::path(get, path = "/engines", tag = "engines", responses((status = 200, body = Vec<EngineView>)))]
async fn engines(State(sources): State<Sources>, Read(()): Read<()>) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], sources.bodies.engines(&sources)).into_response()
}

/// One engine
///
/// With what plays on it.
#[utoipa::path(
    get,
    path = "/engines/{container_id}",
    tag = "engines",
    params(("container_id" = String, Path, description = "The engine")),
    responses(
        (status = 200, body = EngineWithStreams),
        (status = 404, description = "No such engine; older clients look at `error`", body = Named),
    )
)]
async fn engine(State(sources): State<Sources>, Read(id): Read<String>) -> Result<Response, Error> {
    let found = EngineView::one(&sources.engines, &sources.streams, &id);
    let (engine, here) = found.ok_or(Error::NoEngine)?;
    let streams = here.iter().map(|shown| shown.state(false)).collect();
    Ok(Json(EngineWithStreams { engine, streams }).into_response())
}

/// An engine that is given nothing more, or is again.
#[derive(Serialize, ToSchema)]
pub(crate) struct Drained {
    container_id: String,
    is_drained: bool,
    /// Streams on it now; those of an engine that is drained are being moved.
    streams: usize,
}

/// Drain an engine
///
/// It stays and is given no more streams; those it has move to others, without a cut, as soon as there is room for them. It is
/// not counted among the engines that are kept at least, and is not removed for being idle. `DELETE` takes it back; so does a
/// restart.
#[utoipa::path(
    post,
    path = "/engines/{container_id}/drain",
    operation_id = "drain_engine",
    tag = "engines",
    params(("container_id" = String, Path, description = "The engine")),
    responses(
        (status = 200, body = Drained),
        (status = 404, description = "No such engine; older clients look at `error`", body = Named),
    )
)]
async fn drain(State(sources): State<Sources>, Keyed(id): Keyed<String>) -> Result<Json<Drained>, Error> {
    set_drained(&sources, id, true).await
}

/// Use a drained engine again
#[utoipa::path(
    delete,
    path = "/engines/{container_id}/drain",
    operation_id = "undrain_engine",
    tag = "engines",
    params(("container_id" = String, Path, description = "The engine")),
    responses(
        (status = 200, body = Drained),
        (status = 404, description = "No such engine; older clients look at `error`", body = Named),
    )
)]
async fn undrain(State(sources): State<Sources>, Keyed(id): Keyed<String>) -> Result<Json<Drained>, Error> {
    set_drained(&sources, id, false).await
}

async fn set_drained(sources: &Sources, id: String, is_drained: bool) -> Result<Json<Drained>, Error> {
    let streams = match sources.engines.drain(EngineId(id.as_str().into()), is_drained).await {
        Ok(streams) => streams,
        Err(HandError::NoSuchEngine(_)) => return Err(Error::NoEngine),
        Err(error) => return Err(Error::Unavailable(error.to_string().into())),
    };
    let (category, text) = if is_drained {
        ("drained", format!("engine {id} is given no more streams, by hand"))
    } else {
        ("undrained", format!("engine {id} is given streams again, by hand"))
    };
    let draft = Draft::new(EventType::Engine, category, text).detail("streams", streams);
    sources.events.record(draft.container(Some(id.clone())));
    Ok(Json(Drained { container_id: id, is_drained, streams }))
}
