//! What is where in a session's window, and how the session started: asked for by whoever looks at one stream.

use super::Sources;
use super::error::{Detail, Error};
use super::input::Read;
use super::proxy::find;
use super::time::rfc3339;
use crate::diagnosis::Start;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sluice_contract::snapshot::{Event, Mark, Session, SpliceKind};
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// A session's window from its newest media backwards, and its start.
#[derive(Serialize, ToSchema)]
#[schema(as = ProxyTimeline)]
pub(crate) struct TimelineView {
    key: String,
    /// Media held.
    window_seconds: f64,
    /// Where decoding can begin, seconds behind the newest media, the farthest first. Of very many some are left out.
    access_points: Vec<f64>,
    /// What happened within the window, the farthest first.
    marks: Vec<MarkView>,
    /// How it started, as long as that is known.
    start: Option<Start>,
}

/// Something that happened.
#[derive(Serialize, ToSchema)]
#[schema(as = ProxyTimelineMark)]
pub(crate) struct MarkView {
    /// `splice` or `silence`.
    kind: &'static str,
    /// Seconds of media behind the newest.
    behind_seconds: f64,
    at: String,
    /// How long nothing came, of a silence.
    silent_seconds: Option<f64>,
    /// `exact`, `clock` or `random_access`, of a splice.
    #[schema(value_type = Option<String>)]
    splice: Option<SpliceKind>,
    /// What was lost there, of a splice by the clock.
    lost_seconds: Option<f64>,
    /// What came twice, of a splice by the clock.
    repeated_seconds: Option<f64>,
}

impl MarkView {
    fn new(mark: &Mark, behind_seconds: f64) -> Self {
        let view = Self {
            kind: "",
            behind_seconds,
            at: rfc3339(mark.at),
            silent_seconds: None,
            splice: None,
            lost_seconds: None,
            repeated_seconds: None,
        };
        match mark.what {
            Event::Silence(length) => {
                Self { kind: "silence", silent_seconds: Some(length.as_secs_f64()), ..view }
            }
            Event::Splice { kind, lost, repeated } => {
                let by_clock = |time: Duration| (kind == SpliceKind::Clock).then_some(time.as_secs_f64());
                Self {
                    kind: "splice",
                    splice: Some(kind),
                    lost_seconds: by_clock(lost),
                    repeated_seconds: by_clock(repeated),
                    ..view
                }
            }
        }
    }
}

impl TimelineView {
    fn new(session: &Session, start: Option<Start>) -> Self {
        let timeline = &session.timeline;
        let behind = |place: Duration| timeline.head.saturating_sub(place).as_secs_f64();
        let marks = timeline.marks.iter().filter(|mark| behind(mark.place) <= session.window_s);
        Self {
            key: session.key.to_string(),
            window_seconds: session.window_s,
            access_points: timeline.access.iter().map(|place| behind(*place)).collect(),
            marks: marks.map(|mark| MarkView::new(mark, behind(mark.place))).collect(),
            start,
        }
    }
}

/// Routes of this file.
pub(super) fn routes() -> OpenApiRouter<Sources> {
    OpenApiRouter::new().routes(routes!(timeline))
}

/// A session's window and start
///
/// Where in the window decoding can begin and where sources were joined or nothing came; and where the time of its start went.
#[utoipa::path(
    get,
    path = "/proxy/sessions/{ace_id}/timeline",
    operation_id = "session_timeline",
    tag = "proxy",
    params(("ace_id" = String, Path, description = "Content id, infohash, or key of the session")),
    responses((status = 200, body = TimelineView), (status = 404, description = "No such session", body = Detail))
)]
async fn timeline(
    State(sources): State<Sources>,
    Read(id): Read<String>,
) -> Result<Json<TimelineView>, Error> {
    let session = find(&sources, &id)?;
    // What is told before the session began was another one's start.
    let start = sources.diagnosis.start_of(&session.key).filter(|(told, _)| *told >= session.created_at);
    Ok(Json(TimelineView::new(&session, start.map(|(_, start)| start))))
}
