//! The list of streams that were found to loop.

use super::Sources;
use super::error::{Detail, Error};
use super::input::{Keyed, Read};
use super::service::Message;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Longest name of a stream.
const CHARS_MAX: usize = 4096;

/// Streams that are not played because they loop.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoopingStreams {
    stream_ids: Vec<String>,
    /// When each was last found.
    streams: BTreeMap<String, String>,
    retention_minutes: u64,
    /// What gave each away: `lag`, `frozen` or `repeating`, and its infohash where it is known.
    details: BTreeMap<String, LoopingDetails>,
}

/// What is known of one of them.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoopingDetails {
    evidence: String,
    #[schema(value_type = Option<String>)]
    infohash: Option<sluice_contract::Hex40>,
}

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Sources> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(remove)).routes(routes!(clear))
}

/// Streams that are not played because they loop
#[utoipa::path(
    get,
    path = "/looping-streams",
    operation_id = "looping_streams",
    tag = "looping",
    responses((status = 200, body = LoopingStreams))
)]
async fn list(State(sources): State<Sources>, Read(()): Read<()>) -> Json<LoopingStreams> {
    let found = sources.streams.looping();
    let retention = sources.streams.settings().borrow().looping.retention;
    Json(LoopingStreams {
        stream_ids: found.iter().map(|(key, _)| key.clone()).collect(),
        streams: found
            .iter()
            .map(|(key, entry)| (key.clone(), super::time::rfc3339(entry.detected_at)))
            .collect(),
        retention_minutes: retention.as_secs() / 60,
        details: found
            .into_iter()
            .map(|(key, entry)| (key, LoopingDetails { evidence: entry.evidence, infohash: entry.infohash }))
            .collect(),
    })
}

/// Let a stream be played again
#[utoipa::path(
    delete,
    path = "/looping-streams/{stream_id}",
    operation_id = "looping_remove",
    tag = "looping",
    params(("stream_id" = String, Path, description = "The id it was asked for, or its infohash")),
    responses((status = 200, body = Message), (status = 404, description = "It is not on the list", body = Detail))
)]
async fn remove(State(sources): State<Sources>, Keyed(id): Keyed<String>) -> Result<Json<Message>, Error> {
    let name: String = id.chars().take(CHARS_MAX).collect();
    if sources.streams.unblock(&name) {
        Ok(Message::told(format!("Stream {name} removed from looping list")))
    } else {
        Err(Error::NotFound(format!("Stream {name} not found in looping list").into()))
    }
}

/// Let every stream be played again
#[utoipa::path(
    post,
    path = "/looping-streams/clear",
    operation_id = "looping_clear",
    tag = "looping",
    responses((status = 200, body = Message))
)]
async fn clear(State(sources): State<Sources>, Keyed(()): Keyed<()>) -> Json<Message> {
    sources.streams.unblock_all();
    Message::told("All looping streams cleared")
}
