//! Engines as callers of the contract know them, read from what the engines room shows: no request waits for an engine.

use super::Sources;
use super::error::{Error, Named};
use super::input::Read;
use super::shapes::{EngineView, StreamView};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// An engine and what plays on it.
#[derive(Serialize, ToSchema)]
pub(crate) struct EngineWithStreams {
    engine: EngineView,
    /// Active ones, without figures.
    streams: Vec<StreamView>,
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
    Json(EngineView::all(&sources.engines, &sources.board))
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
async fn engine(
    State(sources): State<Sources>,
    Read(id): Read<String>,
) -> Result<Json<EngineWithStreams>, Error> {
    let found = EngineView::all(&sources.engines, &sources.board).into_iter().find(|view| view.is_named(&id));
    let engine = found.ok_or(Error::NoEngine)?;
    let shards = sources.board.read();
    let sessions = shards.iter().flat_map(|shard| &shard.sessions);
    let here = sessions.filter(|session| session.engine.as_ref().is_some_and(|engine| *engine.id.0 == *id));
    let streams = here.filter_map(|session| StreamView::of_session(session)).collect();
    Ok(Json(EngineWithStreams { engine, streams }))
}
