//! From rows to records: everything the start needs, and looks into the statistics afterwards.

use super::record::{
    EventRow, LoopingRow, Resolution, SampleRow, SettingRow, Settings, StreamRow, TemplateRow, Templates,
    from_micros, to_micros,
};
use rusqlite::{Connection, Row, params};
use sluice_contract::Hex40;
use sluice_contract::directory::ALIASES_MAX;
use std::time::SystemTime;

/// Everything that is stored, except statistics.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The event log, oldest first.
    pub(crate) events: Vec<EventRow>,
    /// Streams in order of registration.
    pub(crate) streams: Vec<StreamRow>,
    /// Number and broadcast, oldest first.
    pub(crate) aliases: Vec<(Hex40, Hex40)>,
    /// Broadcasts that loop.
    pub(crate) looping: Vec<LoopingRow>,
    /// Settings changed through the API.
    pub(crate) settings: Settings,
    /// Engine templates.
    pub(crate) templates: Templates,
}

/// Reads everything. A row that cannot be understood is left out and reported, so that one odd row costs one row.
pub(super) fn load(from: &Connection) -> rusqlite::Result<Loaded> {
    Ok(Loaded {
        events: rows(from, "SELECT * FROM events ORDER BY id", [], event)?,
        streams: rows(from, "SELECT * FROM streams ORDER BY serial", [], stream)?,
        aliases: rows(
            from,
            "SELECT number, infohash FROM (SELECT * FROM aliases ORDER BY learned_at DESC LIMIT ?1) ORDER BY learned_at",
            // Half of what the directory holds: its buckets fill unevenly and start over when full.
            params![u32::try_from(ALIASES_MAX / 2).unwrap_or(u32::MAX)],
            |row| Ok((hex(row, "number")?, hex(row, "infohash")?)),
        )?,
        looping: rows(from, "SELECT * FROM looping", [], looping)?,
        settings: settings(from)?,
        templates: rows(from, "SELECT * FROM templates", [], template)?
            .into_iter()
            .map(|row| (row.slot, row))
            .collect(),
    })
}

/// Settings changed through the API.
pub(super) fn settings(from: &Connection) -> rusqlite::Result<Settings> {
    let found = rows(from, "SELECT * FROM settings", [], setting)?;
    Ok(found.into_iter().map(|row| (row.key.clone(), row)).collect())
}

/// Aggregates of one stream from a moment on, oldest first, the newest `limit` of them.
pub(super) fn samples(
    from: &Connection,
    resolution: Resolution,
    stream_id: &str,
    since: SystemTime,
    limit: u32,
) -> rusqlite::Result<Vec<SampleRow>> {
    let table = resolution.table();
    let select = format!(
        "SELECT * FROM (SELECT * FROM {table} WHERE stream_id = ?1 AND at >= ?2 ORDER BY at DESC LIMIT ?3) ORDER BY at"
    );
    rows(from, &select, params![stream_id, to_micros(since), limit], sample)
}

fn rows<T>(
    from: &Connection,
    select: &str,
    parameters: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = from.prepare(select)?;
    let mut found = statement.query(parameters)?;
    let mut values = Vec::new();
    while let Some(row) = found.next()? {
        match read(row) {
            Ok(value) => values.push(value),
            Err(error) => tracing::warn!(%error, select, "a stored row is not understood and left out"),
        }
    }
    Ok(values)
}

fn hex(row: &Row<'_>, column: &str) -> rusqlite::Result<Hex40> {
    row.get::<_, [u8; 20]>(column).map(Hex40::from_bytes)
}

fn hex_or_null(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Hex40>> {
    row.get::<_, Option<[u8; 20]>>(column).map(|bytes| bytes.map(Hex40::from_bytes))
}

fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<SystemTime> {
    row.get(column).map(from_micros)
}

fn event(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        id: row.get("id")?,
        at: time(row, "at")?,
        event_type: row.get("event_type")?,
        category: row.get("category")?,
        message: row.get("message")?,
        details: row.get("details")?,
        container_id: row.get("container_id")?,
        stream_id: row.get("stream_id")?,
    })
}

fn stream(row: &Row<'_>) -> rusqlite::Result<StreamRow> {
    Ok(StreamRow {
        id: row.get("id")?,
        serial: row.get("serial")?,
        source: row.get("source")?,
        key_type: row.get("key_type")?,
        key: row.get("key")?,
        infohash: hex_or_null(row, "infohash")?,
        container_id: row.get("container_id")?,
        engine_host: row.get("engine_host")?,
        engine_port: row.get("engine_port")?,
        reporter: row.get("reporter")?,
        playback_session_id: row.get("playback_session_id")?,
        stat_url: row.get("stat_url")?,
        command_url: row.get("command_url")?,
        is_live: row.get("is_live")?,
        started_at: time(row, "started_at")?,
        ended_at: row.get::<_, Option<i64>>("ended_at")?.map(from_micros),
        end_reason: row.get("end_reason")?,
        downloaded: row.get("downloaded")?,
        uploaded: row.get("uploaded")?,
        labels: row.get("labels")?,
    })
}

fn sample(row: &Row<'_>) -> rusqlite::Result<SampleRow> {
    Ok(SampleRow {
        stream_id: row.get("stream_id")?,
        at: time(row, "at")?,
        count: row.get("count")?,
        peers: row.get("peers")?,
        speed_down: row.get("speed_down")?,
        speed_up: row.get("speed_up")?,
        downloaded: row.get("downloaded")?,
        uploaded: row.get("uploaded")?,
        status: row.get("status")?,
    })
}

fn looping(row: &Row<'_>) -> rusqlite::Result<LoopingRow> {
    Ok(LoopingRow {
        key: row.get("key")?,
        infohash: hex_or_null(row, "infohash")?,
        detected_at: time(row, "detected_at")?,
        evidence: row.get("evidence")?,
    })
}

fn setting(row: &Row<'_>) -> rusqlite::Result<SettingRow> {
    Ok(SettingRow {
        key: row.get("key")?,
        value: row.get("value")?,
        environment: row.get("environment")?,
        changed_at: time(row, "changed_at")?,
    })
}

fn template(row: &Row<'_>) -> rusqlite::Result<TemplateRow> {
    Ok(TemplateRow { slot: row.get("slot")?, name: row.get("name")?, config: row.get("config")? })
}
