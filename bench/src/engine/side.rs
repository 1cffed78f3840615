//! The side channel: what [`Control`] can do, over HTTP and JSON on a port of its own.
//!
//! | request | does |
//! |---|---|
//! | `GET /` | engine counters, engine faults, channels with ids, rate, faults and counters |
//! | `GET /sessions` | sessions, past ones included |
//! | `GET /requests?after=<number>` | the request log |
//! | `GET /faults/<id>`, `GET /engine/faults` | switches |
//! | `POST /faults/<id>`, `POST /faults/all`, `POST /engine/faults` | changes the switches in the JSON body, leaves the others |
//! | `DELETE /faults/<id>`, `DELETE /faults/all`, `DELETE /engine/faults` | makes healthy |
//! | `POST /cut/<id>?how=eof\|reset` | ends the running body |
//! | `POST /vanish/<id>` | makes the session vanish |
//! | `POST /event/<id>` | queues the event in the JSON body |
//! | `POST /reset-connections` | resets every connection of the API port |
//! | `POST /reset-counters` | sets counters to zero |
//!
//! `<id>` is a content id, an infohash, or `n<number>` for the channel at that place in the list. Answers are
//! JSON; mistakes get 400 or 404 with `{"error":…}`.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::Error;
use super::control::Control;
use super::faults::{Cut, EngineFaults, Faults};
use super::http::{self, Reader, Request};
use super::world::World;
use crate::channel::Id;

/// Serves the side channel until the engine ends.
pub(super) async fn listen(world: Arc<World>, listener: TcpListener) {
    let control = Control::new(world.clone());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(world.clone(), control.clone(), stream));
            }
            // Out of descriptors: not better at once.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn connection(world: Arc<World>, control: Control, mut stream: TcpStream) {
    let mut reader = Reader::default();
    // A client that breaks its connection, or the protocol, loses only its own connection.
    while let Ok(Some(request)) = reader.next(&mut stream).await {
        let response = match answer(&world, &control, &request) {
            Ok(body) => http::plain_json("200 OK", &body.to_string()),
            Err(Refused { status, error }) => http::plain_json(status, &json!({"error": error}).to_string()),
        };
        if stream.write_all(&response).await.is_err() || request.wants_close {
            return;
        }
    }
}

/// A request that cannot be carried out.
struct Refused {
    status: &'static str,
    error: String,
}

impl Refused {
    fn bad(error: impl ToString) -> Self {
        Self { status: "400 Bad Request", error: error.to_string() }
    }

    fn not_found(error: impl ToString) -> Self {
        Self { status: "404 Not Found", error: error.to_string() }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::not_found(error)
    }
}

fn answer(world: &World, control: &Control, request: &Request) -> Result<Value, Refused> {
    let mut parts = request.path.trim_matches('/').splitn(2, '/');
    let place = (request.method.as_str(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let done = json!({"ok": true});
    match place {
        ("GET", "", "") => Ok(control.overview()),
        ("GET", "sessions", "") => Ok(json!(control.sessions())),
        ("GET", "requests", "") => {
            let after = request.parameter("after").unwrap_or("0").parse().map_err(Refused::bad)?;
            Ok(json!(control.requests(after)))
        }
        ("GET", "engine", "faults") => Ok(json!(control.engine_faults())),
        ("POST", "engine", "faults") => {
            let merged: EngineFaults = merge(&control.engine_faults(), &request.body)?;
            control.update_engine_faults(|faults| *faults = merged);
            Ok(json!(control.engine_faults()))
        }
        ("DELETE", "engine", "faults") => {
            control.update_engine_faults(|faults| *faults = EngineFaults::default());
            Ok(done)
        }
        ("GET", "faults", id) => Ok(json!(control.faults(find(world, id)?)?)),
        ("POST", "faults", id) => {
            // All are checked before the first is changed.
            let merged = targets(world, id)?
                .into_iter()
                .map(|id| Ok((id, merge::<Faults>(&control.faults(id)?, &request.body)?)))
                .collect::<Result<Vec<_>, Refused>>()?;
            for (id, faults) in merged {
                control.set_faults(id, faults)?;
            }
            Ok(done)
        }
        ("DELETE", "faults", id) => {
            for id in targets(world, id)? {
                control.set_faults(id, Faults::default())?;
            }
            Ok(done)
        }
        ("POST", "cut", id) => {
            let cut = match request.parameter("how") {
                None | Some("eof") => Cut::Eof,
                Some("reset") => Cut::Reset,
                Some(other) => return Err(Refused::bad(format!("how is eof or reset, not {other:?}"))),
            };
            Ok(json!({"cut": control.cut(find(world, id)?, cut)?}))
        }
        ("POST", "vanish", id) => Ok(json!({"ended": control.vanish(find(world, id)?)?})),
        ("POST", "event", id) => {
            let event = serde_json::from_slice(&request.body).map_err(Refused::bad)?;
            Ok(json!({"queued": control.push_event(find(world, id)?, event)?}))
        }
        ("POST", "reset-connections", "") => {
            control.reset_connections();
            Ok(done)
        }
        ("POST", "reset-counters", "") => {
            control.reset_counters();
            Ok(done)
        }
        _ => Err(Refused::not_found("no such request on the side channel")),
    }
}

/// The channels meant by an id or by `all`.
fn targets(world: &World, text: &str) -> Result<Vec<Id>, Refused> {
    if text == "all" {
        return Ok(world.stations.iter().map(|station| station.spec.infohash).collect());
    }
    Ok(vec![find(world, text)?])
}

fn find(world: &World, text: &str) -> Result<Id, Refused> {
    if let Some(place) = text.strip_prefix('n').and_then(|digits| digits.parse::<usize>().ok()) {
        let station =
            world.stations.get(place).ok_or_else(|| Refused::not_found("no channel at this place"))?;
        return Ok(station.spec.infohash);
    }
    text.parse().map_err(Refused::bad)
}

/// Puts the members of a JSON object over those of `current`; unknown members are refused.
fn merge<T: Serialize + DeserializeOwned>(current: &T, change: &[u8]) -> Result<T, Refused> {
    let mut all = serde_json::to_value(current).map_err(Refused::bad)?;
    let change: serde_json::Map<String, Value> = serde_json::from_slice(change).map_err(Refused::bad)?;
    if let Value::Object(members) = &mut all {
        members.extend(change);
    }
    serde_json::from_value(all).map_err(Refused::bad)
}
