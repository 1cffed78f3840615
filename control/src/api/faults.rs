//! Faults on demand, for tests of what the rest of the appliance does meanwhile. Built only with the feature `faults`, which is on
//! where tests are built and in no binary that is handed to anybody.

use super::Sources;
use super::error::Error;
use super::input::{BodyKind, Fields, Input, Keyed, rule};
use super::service::Message;
use axum::extract::State;
use axum::{Json, Router, routing};
use std::time::Duration;
use tokio::sync::Notify;

/// Longest standstill.
const SECONDS_MAX: i64 = 300;
/// The answer is on its way before everything stands still.
const HEAD_START: Duration = Duration::from_millis(50);

/// One process has one plane at a time.
static KILL: Notify = Notify::const_new();

/// For how long everything stands still.
struct Standstill(Duration);

impl Input for Standstill {
    const BODY: BodyKind = BodyKind::Either;

    fn read(fields: &mut Fields) -> Option<Self> {
        let seconds = fields.either("seconds").required(rule::int(1..=SECONDS_MAX))?;
        Some(Self(Duration::from_secs(seconds.unsigned_abs())))
    }
}

/// Routes of this file; they are not described.
pub(super) fn routes() -> Router<Sources> {
    Router::new().route("/faults/stall", routing::post(stall)).route("/faults/kill", routing::post(kill))
}

/// Has every thread of the plane stand still, whatever it was doing.
async fn stall(
    State(sources): State<Sources>,
    Keyed(Standstill(time)): Keyed<Standstill>,
) -> Result<Json<Message>, Error> {
    let runtimes = [tokio::runtime::Handle::current(), sources.work.clone()];
    sources.work.spawn(async move {
        tokio::time::sleep(HEAD_START).await;
        for runtime in runtimes {
            for _ in 0..runtime.metrics().num_workers() {
                runtime.spawn(stand_still(time));
            }
        }
    });
    Ok(Message::told(format!("control stands still for {} s", time.as_secs())))
}

#[allow(clippy::disallowed_methods, reason = "blocking the thread is the fault that was asked for")]
async fn stand_still(time: Duration) {
    std::thread::sleep(time);
}

/// Has a room of the plane fail inside.
async fn kill(Keyed(()): Keyed<()>) -> Json<Message> {
    KILL.notify_one();
    Message::told("control fails now")
}

/// The room that fails when it is asked to.
///
/// # Panics
/// That is what it is for.
pub(crate) async fn fail() -> &'static str {
    KILL.notified().await;
    panic!("a fault that was asked for");
}
