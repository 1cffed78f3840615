//! What belongs to a running session besides media: stat, commands and events.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::faults::{Faults, StatQuirk};
use super::http;
use super::ledger::End;
use super::serve::{Exchange, Next, gone};
use super::world::{Download, Session, World};
use crate::channel::mix;

const UNKNOWN: &str = "unknown playback session id";
/// `downloaded` moves in steps of one chunk.
const CHUNK: u64 = 16_384;
/// Width of the window that live streams offer, in seconds.
const WINDOW_SECONDS: u64 = 1_800;
/// How long an event poll is held when nothing happens, in engine time.
const EVENT_POLL: Duration = Duration::from_secs(60);

async fn answer(exchange: &mut Exchange<'_>, body: &Value) -> io::Result<Next> {
    exchange.answer(&http::json(&body.to_string())).await
}

async fn unknown(exchange: &mut Exchange<'_>) -> io::Result<Next> {
    answer(exchange, &json!({"response": null, "error": UNKNOWN})).await
}

fn channel_of(world: &World, infohash: &str) -> Option<usize> {
    world.channel_by_infohash(infohash.parse().ok()?)
}

/// `GET /ace/stat/<infohash>/<key>`.
pub(super) async fn stat(exchange: &mut Exchange<'_>, infohash: &str, key: &str) -> io::Result<Next> {
    let Some(channel) = channel_of(exchange.world, infohash) else { return unknown(exchange).await };
    exchange.world.lock().channels[channel].counters.stats += 1;
    exchange.wait_for(|world| !world.faults(channel).stat_hang).await?;
    let faults = exchange.world.faults(channel);
    if faults.stat == StatQuirk::Garbage {
        return exchange.answer(&http::text("<html>busy</html>")).await;
    }
    let keeps_alive =
        exchange.world.options.stat_keeps_alive && !exchange.request.is_set("skip_player_activity");
    match report(exchange.world, channel, key, &faults, keeps_alive) {
        Some(response) => answer(exchange, &json!({"response": response, "error": null})).await,
        None => unknown(exchange).await,
    }
}

fn report(world: &World, channel: usize, key: &str, faults: &Faults, keeps_alive: bool) -> Option<Value> {
    let now = world.clock.now();
    let mut state = world.lock();
    let (download, session) = state.session(channel, key)?;
    if keeps_alive {
        download.active = now;
    }
    let response = phase(world, channel, download, &session, faults, now);
    if let Some(record) = state.ledger.session(session.record) {
        record.stats += 1;
    }
    Some(response)
}

/// The script of a start: nothing, then `idle`, then `prebuf`, then `dl`.
fn phase(
    world: &World,
    channel: usize,
    download: &Download,
    session: &Session,
    faults: &Faults,
    now: Duration,
) -> Value {
    let age = now.saturating_sub(download.opened);
    let prebuffer = world.prebuffer(channel, faults);
    let is_ready = age >= prebuffer && !faults.dead && faults.start_error.is_none();
    if !is_ready && age < prebuffer.min(Duration::from_secs(1)) / 20 {
        return json!({});
    }
    let spec = &world.stations[channel].spec;
    let mut response = json!({
        "status": "idle",
        "infohash": spec.infohash,
        "playback_session_id": download.playback_session_id,
        "client_session_id": session.client_session_id,
        "is_live": 1,
        "is_encrypted": u8::from(spec.is_encrypted),
    });
    if !is_ready && age < prebuffer.min(Duration::from_secs(1)) / 8 {
        return response;
    }
    if faults.stat == StatQuirk::MissingFields {
        return json!({"status": if is_ready { "dl" } else { "prebuf" }});
    }
    let extra = if is_ready {
        downloading(world, channel, download, faults, now)
    } else {
        prebuffering(world, channel, faults, age, prebuffer)
    };
    for part in [extra, common()] {
        if let (Value::Object(all), Value::Object(part)) = (&mut response, part) {
            all.extend(part);
        }
    }
    response
}

/// Fields that never say anything about live playback, but are always there.
fn common() -> Value {
    json!({
        "total_progress": 0,
        "speed_up": 0,
        "uploaded": 0,
        "selected_stream_index": 0,
        "selected_file_index": -1,
        "stream_status": -1,
        "manifest_access_mode": -1,
        "network_monitor_status": -1,
        "network_monitor_started": false,
        "debug_level": 0,
        "disk_cache_stats": {
            "avail": 8_000_000_000_u64,
            "disk_cache_limit": 4_000_000_000_u64,
            "inactive_inuse": 0,
            "active_inuse": 0,
        },
    })
}

fn prebuffering(world: &World, channel: usize, faults: &Faults, age: Duration, prebuffer: Duration) -> Value {
    let stuck = faults.dead || faults.start_error.is_some();
    let share = if stuck { 0.0 } else { (age.as_secs_f64() / prebuffer.as_secs_f64()).min(1.0) };
    let progress = (share * 100.0) as u64;
    let spec = &world.stations[channel].spec;
    let whole = world.stations[channel].channel.timing().bytes_in(spec.reach_back);
    let downloaded = (whole as f64 * share) as u64 / CHUNK * CHUNK;
    let speed = if stuck { 0 } else { (downloaded as f64 / age.as_secs_f64().max(0.001) / 1024.0) as u64 };
    json!({
        "status": "prebuf",
        "progress": progress,
        "immediate_progress": progress,
        "peers": faults.peers.map_or(if stuck { 0 } else { 1 + progress / 10 }, u64::from),
        "speed_down": speed,
        "downloaded": downloaded,
    })
}

fn downloading(world: &World, channel: usize, download: &Download, faults: &Faults, now: Duration) -> Value {
    let station = &world.stations[channel];
    let timing = station.channel.timing();
    // What starves stands still: position, window, counters.
    let at = download.starving_since.unwrap_or(now);
    let usual = timing.rate() / 1024;
    let jitter = mix(world.options.seed ^ now.as_secs()) % (usual / 5 + 1);
    let speed = match download.starving_since {
        Some(since) => usual.checked_shr((now - since).as_secs() as u32 * 2 + 1).unwrap_or(0),
        None => usual * 9 / 10 + jitter,
    };
    let reach = timing.bytes_in(station.spec.reach_back);
    let mut downloaded =
        (timing.position(at).saturating_sub(download.opened_position) + reach) / CHUNK * CHUNK;
    if faults.stat == StatQuirk::InflatedDownloaded {
        downloaded += 7_500_000_000 / CHUNK * CHUNK;
    }
    json!({
        "status": "dl",
        "progress": 100,
        "immediate_progress": 100,
        "peers": faults.peers.unwrap_or(if download.starving_since.is_some() { 1 } else { 12 }),
        "speed_down": speed,
        "downloaded": downloaded,
        "livepos": livepos(world, channel, download, faults, at),
    })
}

fn livepos(world: &World, channel: usize, download: &Download, faults: &Faults, at: Duration) -> Value {
    let timing = world.stations[channel].channel.timing();
    let live = match faults.stat {
        StatQuirk::FrozenLive => world.clock.unix(download.opened).saturating_sub(2 * WINDOW_SECONDS),
        _ => world.clock.unix(at),
    };
    let position = world.clock.unix(timing.time_at(download.position)).min(live);
    let fields = [
        ("last", live),
        ("live_first", live.saturating_sub(WINDOW_SECONDS)),
        ("live_last", live),
        ("first_ts", live.saturating_sub(60)),
        ("last_ts", live),
        ("pos", if download.reader.is_some() { position } else { live }),
        ("is_live", u64::from(download.is_live)),
        ("buffer_pieces", 15),
    ];
    let numeric = faults.stat == StatQuirk::NumericLivepos;
    fields
        .into_iter()
        .map(|(name, value)| {
            (name.to_owned(), if numeric { Value::from(value) } else { Value::from(value.to_string()) })
        })
        .collect()
}

/// `GET /ace/cmd/<infohash>/<key>?method=…`.
pub(super) async fn command(exchange: &mut Exchange<'_>, infohash: &str, key: &str) -> io::Result<Next> {
    let known = channel_of(exchange.world, infohash)
        .filter(|channel| exchange.world.lock().session(*channel, key).is_some());
    let method = exchange.request.parameter("method").unwrap_or_default().to_owned();
    let Some(channel) = known else {
        exchange.world.lock().ledger.engine.stops_unknown += u64::from(method == "stop");
        return unknown(exchange).await;
    };
    if method == "stop" {
        return stop(exchange, channel, key).await;
    }
    match apply(exchange, channel, key, &method) {
        Ok(()) => ok(exchange).await,
        Err(error) => answer(exchange, &json!({"response": null, "error": error})).await,
    }
}

async fn ok(exchange: &mut Exchange<'_>) -> io::Result<Next> {
    let is_versioned = exchange.request.parameter("api_version") == Some("2");
    let body = if is_versioned { json!({"result": "ok"}) } else { json!({"response": "ok", "error": null}) };
    answer(exchange, &body).await
}

/// Ends the download, whoever reads it.
async fn stop(exchange: &mut Exchange<'_>, channel: usize, key: &str) -> io::Result<Next> {
    exchange.wait_for(|world| !world.faults(channel).stop_hang).await?;
    let delay = exchange.world.faults(channel).stop_delay_ms;
    if delay > 0 {
        exchange.pause(Duration::from_millis(delay)).await?;
    }
    let stopped = {
        let mut state = exchange.world.lock();
        // Another stop may have been quicker during the delay.
        let record = state.session(channel, key).map(|(_, session)| session.record);
        if let Some(record) = record.and_then(|record| state.ledger.session(record)) {
            record.stops += 1;
        }
        let stopped = record.is_some() && exchange.world.end_locked(&mut state, channel, End::Stopped);
        state.channels[channel].counters.stops += u64::from(stopped);
        state.ledger.engine.stops_unknown += u64::from(!stopped);
        stopped
    };
    exchange.world.beat();
    if stopped { ok(exchange).await } else { unknown(exchange).await }
}

/// Commands that change a running session.
fn apply(exchange: &Exchange<'_>, channel: usize, key: &str, method: &str) -> Result<(), &'static str> {
    let world = exchange.world;
    let number = |name| exchange.request.parameter(name).and_then(|text| text.parse::<u64>().ok());
    match method {
        "liveseek" => {
            let now = world.clock.now();
            let target = world.clock.at_unix(number("pos").ok_or("missing or bad pos")?).min(now);
            let packet = crate::channel::PACKET as u64;
            let position = world.stations[channel].channel.timing().position(target) / packet * packet;
            let is_live = target + Duration::from_secs(2) >= now;
            if let Some((download, _)) = world.lock().session(channel, key) {
                download.seek = Some(position);
                download.is_live = is_live;
            }
            world.push_event(
                channel,
                json!({"name": "live_changed", "params": {"is_live": u8::from(is_live)}}),
            );
            Ok(())
        }
        "set_stream" => {
            number("stream_index").filter(|index| *index == 0).map(|_| ()).ok_or("no such stream")
        }
        "set_player_activity_timeout" => {
            let timeout = number("timeout").filter(|seconds| *seconds > 0).ok_or("missing or bad timeout")?;
            if let Some((download, _)) = world.lock().session(channel, key) {
                download.idle_timeout = Duration::from_secs(timeout);
            }
            Ok(())
        }
        _ => Err("unknown method"),
    }
}

/// `GET /ace/event/<infohash>/<key>`: held until something happens.
pub(super) async fn event(exchange: &mut Exchange<'_>, infohash: &str, key: &str) -> io::Result<Next> {
    let Some(channel) = channel_of(exchange.world, infohash) else { return unknown(exchange).await };
    let mut pulse = exchange.world.pulse.subscribe();
    let until = exchange.world.clock.now() + EVENT_POLL;
    loop {
        pulse.borrow_and_update();
        let next = match exchange.world.lock().session(channel, key) {
            Some((download, _)) => download.events.pop_front(),
            None => Some(Value::Null),
        };
        match next {
            Some(Value::Null) => return unknown(exchange).await,
            Some(event) => return answer(exchange, &json!({"response": event, "error": null})).await,
            None => {}
        }
        let left = until.saturating_sub(exchange.world.clock.now());
        if left.is_zero() {
            return answer(exchange, &json!({"response": null, "error": null})).await;
        }
        tokio::select! {
            _ = pulse.changed() => {}
            () = exchange.world.clock.sleep(left) => {}
            () = gone(exchange.stream) => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}
