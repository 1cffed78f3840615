//! Opening a session: `/ace/getstream`, and `/ace/manifest.m3u8` for its playlist.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::faults::Faults;
use super::http;
use super::ledger::End;
use super::playback::write_head;
use super::serve::{Exchange, Next};
use super::world::{Identity, World};
use crate::channel::Id;

/// How long a real engine looks for an unknown content id, for an unknown infohash, and for unknown files.
const CONTENT_ID_UNKNOWN_MS: u64 = 4_600;
const INFOHASH_UNKNOWN_MS: u64 = 28_000;
/// Longest pid that is told apart; the rest of it is ignored.
const PID_MAX: usize = 256;

/// What a request names, in the order of precedence.
pub(super) enum Selector {
    ContentId(String),
    Infohash(String),
    Other,
}

/// The selector that counts: `content_id` or its alias `id`, then `infohash`, then anything else.
pub(super) fn selector(exchange: &Exchange<'_>) -> Option<Selector> {
    let parameter = |name| exchange.request.parameter(name);
    if let Some(id) = parameter("content_id").or_else(|| parameter("id")) {
        return Some(Selector::ContentId(id.to_owned()));
    }
    if let Some(infohash) = parameter("infohash") {
        return Some(Selector::Infohash(infohash.to_owned()));
    }
    if let Some(magnet) = parameter("magnet").filter(|_| parameter("url").is_none()) {
        let infohash = magnet.split("urn:btih:").nth(1).and_then(|rest| rest.get(..40));
        return Some(infohash.map_or(Selector::Other, |infohash| Selector::Infohash(infohash.to_owned())));
    }
    let other = parameter("url").is_some() || exchange.request.method == "POST";
    other.then_some(Selector::Other)
}

/// Finds the channel a selector names, or how long a real engine searches in vain.
pub(super) fn find(world: &World, selector: &Selector) -> Result<usize, u64> {
    match selector {
        Selector::ContentId(text) => {
            let id = text.parse::<Id>().map_err(|_| CONTENT_ID_UNKNOWN_MS)?;
            let cached = |channel: &usize| world.lock().cached.contains(channel);
            world
                .channel_by_content_id(id)
                // An infohash is no content id, but once its transport file is in the cache, it is found there.
                .or_else(|| world.channel_by_infohash(id).filter(cached))
                .ok_or(CONTENT_ID_UNKNOWN_MS)
        }
        Selector::Infohash(text) => {
            let id = text.parse::<Id>().map_err(|_| CONTENT_ID_UNKNOWN_MS)?;
            let channel = world.channel_by_infohash(id).ok_or(INFOHASH_UNKNOWN_MS)?;
            world.lock().cached.insert(channel);
            Ok(channel)
        }
        Selector::Other => Err(CONTENT_ID_UNKNOWN_MS),
    }
}

/// Counts a start request for as long as it is not answered.
struct InFlight(Arc<World>);

impl InFlight {
    fn new(world: &Arc<World>) -> Self {
        let engine = &mut world.lock().ledger.engine;
        engine.opens_in_flight += 1;
        engine.opens_in_flight_max = engine.opens_in_flight_max.max(engine.opens_in_flight);
        Self(world.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let engine = &mut self.0.lock().ledger.engine;
        engine.opens_in_flight = engine.opens_in_flight.saturating_sub(1);
    }
}

/// `GET /ace/getstream`, or `/ace/manifest.m3u8` with `wants_hls`: opens or joins a download and says, or redirects to,
/// where it plays.
pub(super) async fn start(exchange: &mut Exchange<'_>, wants_hls: bool) -> io::Result<Next> {
    let _in_flight = InFlight::new(exchange.world);
    let Some(selector) = selector(exchange) else {
        return exchange.answer(&http::error("Internal Server Error, couldn't find resource")).await;
    };
    let channel = match find(exchange.world, &selector) {
        Ok(channel) => channel,
        Err(searched_ms) => {
            exchange.latency(searched_ms).await?;
            return fail(exchange, "failed to load content").await;
        }
    };
    exchange.wait_for(|world| !world.faults(channel).json_hang).await?;
    let faults = exchange.world.faults(channel);
    if faults.json_delay_ms > 0 {
        exchange.pause(Duration::from_millis(faults.json_delay_ms)).await?;
    }
    if let Some(error) = &faults.json_error {
        return fail(exchange, error).await;
    }
    let identity = Identity {
        pid: pid(exchange),
        address: exchange.peer.ip().to_canonical(),
        client_session_id: client_session_id(exchange),
        wants_stop_events: exchange.request.is_set("use_stop_notifications"),
        wants_hls,
    };
    let client_session_id = identity.client_session_id;
    let opened = exchange.world.open(channel, identity);
    if faults.vanish {
        exchange.world.end(channel, End::Vanished);
    }
    let base = exchange.base();
    let spec = &exchange.world.stations[channel].spec;
    let (infohash, is_encrypted) = (spec.infohash, spec.is_encrypted);
    let place = format!("{infohash}/{}", opened.key);
    let playback =
        if wants_hls { format!("{base}/ace/m/{place}.m3u8") } else { format!("{base}/ace/r/{place}") };
    if !is_json(exchange) {
        return exchange.answer_and_close(&http::redirect(&playback)).await;
    }
    let mut answer = json!({
        "playback_url": playback,
        "stat_url": format!("{base}/ace/stat/{place}"),
        "command_url": format!("{base}/ace/cmd/{place}"),
        "infohash": infohash,
        "playback_session_id": opened.playback_session_id,
        "is_live": 1,
        "is_encrypted": u8::from(is_encrypted),
        "client_session_id": client_session_id,
    });
    if exchange.request.is_set("use_api_events") {
        answer["event_url"] = Value::from(format!("{base}/ace/event/{place}"));
    }
    answer_json(exchange, &faults, &json!({"response": answer, "error": null})).await
}

fn is_json(exchange: &Exchange<'_>) -> bool {
    exchange.request.parameter("format") == Some("json")
}

fn pid(exchange: &Exchange<'_>) -> Option<String> {
    // `sid` is what versions before 3.1.29 called it.
    let pid = exchange.request.parameter("pid").or_else(|| exchange.request.parameter("sid"))?;
    Some(pid.chars().take(PID_MAX).collect())
}

fn client_session_id(exchange: &Exchange<'_>) -> i64 {
    exchange.request.parameter("client_session_id").and_then(|text| text.parse().ok()).unwrap_or(-1)
}

async fn fail(exchange: &mut Exchange<'_>, error: &str) -> io::Result<Next> {
    if is_json(exchange) {
        let body = json!({"response": null, "error": error}).to_string();
        exchange.answer(&http::json(&body)).await
    } else {
        exchange.answer(&http::error(error)).await
    }
}

async fn answer_json(exchange: &mut Exchange<'_>, faults: &Faults, body: &Value) -> io::Result<Next> {
    let response = http::json(&body.to_string());
    let end = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(0, |at| at + 4);
    write_head(exchange, faults.json_head, &response[..end]).await?;
    if !exchange.request.is_head() {
        use tokio::io::AsyncWriteExt;
        exchange.stream.write_all(&response[end..]).await?;
    }
    Ok(if exchange.request.wants_close { Next::Close } else { Next::KeepAlive })
}
