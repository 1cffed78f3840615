//! Engines as callers of the contract know them, read from what the engines room shows: no request waits for an engine.

use super::Sources;
use super::error::{Error, Named};
use super::input::Read;
use super::shapes::{EngineView, playing};
use crate::streams;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
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
    OpenApiRouter::new().routes(routes!(engines)).routes(routes!(engine))
}

/// Engines
///
/// By port. Platform and version are what the engine's last check said; nobody is asked now.
#[utoipa::path(get, path = "/engines", tag = "engines", responses((status = 200, body = Vec<EngineView>)))]
async fn engines(State(sources): State<Sources>, Read(()): Read<()>) -> Json<Vec<EngineView>> {
    Json(EngineView::all(&sources.engines, playing(&sources.streams)))
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
    let playing = playing(&sources.streams);
    let here = playing.get(id.as_str()).cloned().unwrap_or_default();
    let found = EngineView::all(&sources.engines, playing).into_iter().find(|view| view.is_named(&id));
    let engine = found.ok_or(Error::NoEngine)?;
    let streams = here.iter().map(|shown| shown.state(false)).collect();
    Ok(Json(EngineWithStreams { engine, streams }).into_response())
}
