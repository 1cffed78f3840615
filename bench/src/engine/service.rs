//! The service endpoints: health, versions and what an id stands for.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::http;
use super::open::{Selector, find, selector};
use super::serve::{Exchange, Next};
use super::world::{Station, World, hex};
use crate::channel::Id;

/// How long a real engine looks for the transport file of something unknown.
const FILES_UNKNOWN_MS: u64 = 4_700;

/// `GET /webui/api/service`.
pub(super) async fn webui(exchange: &mut Exchange<'_>) -> io::Result<Next> {
    if exchange.world.engine_faults.borrow().health_garbage {
        return exchange.answer(&http::text("<html>busy</html>")).await;
    }
    let body = match exchange.request.parameter("method") {
        Some("get_version") => json!({"result": version(exchange.world), "error": null}),
        Some("check_user_key" | "check_product_user_keys") => json!({"result": "not_found", "error": null}),
        _ => json!({"result": null, "error": "unknown method"}),
    };
    match exchange.request.parameter("callback") {
        Some(callback) if exchange.request.parameter("format") == Some("jsonp") => {
            let wrapped = format!("{callback}({body});");
            exchange.answer(&http::text(&wrapped)).await
        }
        _ => exchange.answer(&http::json(&body.to_string())).await,
    }
}

fn version(world: &World) -> Value {
    let version = world.options.version;
    let mut value = json!({"code": version.code(), "platform": "linux", "version": version.to_string()});
    if (version.major, version.minor) >= (3, 2) {
        value["websocket_port"] = Value::from(37_293);
    }
    value
}

/// `GET /server/api`.
pub(super) async fn server(exchange: &mut Exchange<'_>) -> io::Result<Next> {
    if exchange.world.engine_faults.borrow().health_garbage {
        return exchange.answer(&http::text("<html>busy</html>")).await;
    }
    if exchange.request.parameter("api_version").is_none() {
        let denied = json!({"result": null, "error": "access denied"});
        return exchange.answer(&http::json(&denied.to_string())).await;
    }
    let method = exchange.request.parameter("method").unwrap_or_default().to_owned();
    let result = match method.as_str() {
        "get_status" => {
            let mut version = version(exchange.world);
            if let Value::Object(fields) = &mut version {
                fields.remove("websocket_port");
            }
            Ok(json!({"playlist_loaded": true, "version": version}))
        }
        "get_network_connection_status" => {
            Ok(json!({"connected": !exchange.world.engine_faults.borrow().disconnected}))
        }
        "get_media_files" => media_files(exchange).await?,
        "analyze_content" => analyze(exchange).await?,
        "get_content_id" => content_id(exchange),
        "get_api_access_token" if exchange.peer.ip().to_canonical().is_loopback() => {
            Ok(token(exchange.world))
        }
        "get_api_access_token" => Err("access denied"),
        "set_allow_remote_access" | "set_allow_intranet_access" => allow(exchange),
        _ => Err("unknown method"),
    };
    let body = match result {
        Ok(result) => json!({"result": result}),
        Err(message) => json!({"error": {"message": message, "code": 0}}),
    };
    exchange.answer(&http::json(&body.to_string())).await
}

type Outcome = Result<Value, &'static str>;

/// Which swarm an id stands for, without opening a session.
async fn media_files(exchange: &mut Exchange<'_>) -> io::Result<Outcome> {
    let Some(selector) = selector(exchange) else { return Ok(Err("missing content identifier")) };
    let found = find(exchange.world, &selector).ok();
    if let Some(channel) = found {
        exchange.world.lock().channels[channel].counters.media_files += 1;
        let delay = exchange.world.faults(channel).media_files_delay_ms;
        if delay > 0 {
            exchange.pause(Duration::from_millis(delay)).await?;
        }
    }
    match found.filter(|channel| !exchange.world.faults(*channel).media_files_unknown) {
        Some(channel) => Ok(Ok(files(&exchange.world.stations[channel]))),
        None => {
            exchange.latency(FILES_UNKNOWN_MS).await?;
            Ok(Err("cannot get transport file"))
        }
    }
}

fn files(station: &Station) -> Value {
    let spec = &station.spec;
    json!({
        "files": [{"index": 0, "filename": spec.name, "mime": "video/mp2t", "size": 0, "type": "live"}],
        "name": spec.name,
        "infohash": spec.infohash,
        "transport_type": "bt",
        "type": "live",
        "transport_file_cache_key": Id::derive(&format!("cache key {}", spec.infohash)),
    })
}

/// Classifies an identifier of any kind.
async fn analyze(exchange: &mut Exchange<'_>) -> io::Result<Outcome> {
    let Some(query) = exchange.request.parameter("query").map(str::to_owned) else {
        return Ok(Err("missing query"));
    };
    let text = query.trim_start_matches("acestream://").to_owned();
    let world = exchange.world;
    let found = find(world, &Selector::ContentId(text.clone()))
        .or_else(|_| text.parse().ok().and_then(|id| world.channel_by_infohash(id)).ok_or(0));
    let Ok(channel) = found else {
        exchange.latency(FILES_UNKNOWN_MS).await?;
        return Ok(Err("cannot get transport file"));
    };
    let spec = &world.stations[channel].spec;
    Ok(Ok(json!({
        "is_live": true,
        "item_url": format!("acestream://{}", spec.content_id),
        "transport_type": "bt",
        "content_type": "live",
        "title": spec.name,
        "content_id": spec.content_id,
        "infohash": spec.infohash,
        "categories": [],
    })))
}

fn content_id(exchange: &Exchange<'_>) -> Outcome {
    let infohash = exchange.request.parameter("infohash").and_then(|text| text.parse().ok());
    let channel = infohash.and_then(|id| exchange.world.channel_by_infohash(id));
    let spec = &exchange.world.stations[channel.ok_or("cannot get content id")?].spec;
    Ok(json!({"content_id": spec.content_id}))
}

/// The token that allows changing access: 64 hex digits.
fn token(world: &World) -> Value {
    use md5::{Digest, Md5};
    let part = |n: u8| hex(&Md5::digest([&world.options.seed.to_be_bytes()[..], &[n]].concat()));
    Value::from(part(1) + &part(2))
}

fn allow(exchange: &Exchange<'_>) -> Outcome {
    let given = exchange.request.parameter("token").map(Value::from);
    let valid = matches!(exchange.request.parameter("value"), Some("0" | "1"));
    match given {
        Some(given) if given == token(exchange.world) && valid => Ok(Value::from("ok")),
        Some(given) if given == token(exchange.world) => Err("bad value"),
        _ => Err("access denied"),
    }
}
