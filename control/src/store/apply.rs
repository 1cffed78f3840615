//! From records to rows: what each change does to the file.

use super::record::{Record, Resolution, SampleRow, StreamRow, to_micros};
use rusqlite::{Connection, Transaction, params};
use sluice_contract::directory::ALIASES_MAX;

/// Rows kept of each resolution: two days of a hundred streams in minutes, and some 20 MB each.
pub(super) const SAMPLES_MAX: i64 = 300_000;

/// Does one change.
pub(super) fn apply(to: &Transaction<'_>, record: &Record) -> rusqlite::Result<()> {
    match record {
        Record::Event(row) => to
            .prepare_cached(
                "INSERT OR REPLACE INTO events (id, at, event_type, category, message, details, container_id, stream_id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                row.id,
                to_micros(row.at),
                row.event_type,
                row.category,
                row.message,
                row.details,
                row.container_id,
                row.stream_id
            ]),
        Record::EventsGone { up_to } => {
            to.prepare_cached("DELETE FROM events WHERE id <= ?1")?.execute([up_to])
        }
        Record::Stream(row) => stream(to, row),
        Record::StreamGone { id } => {
            for resolution in Resolution::ALL {
                let delete = format!("DELETE FROM {} WHERE stream_id = ?1", resolution.table());
                to.prepare_cached(&delete)?.execute([id])?;
            }
            to.prepare_cached("DELETE FROM streams WHERE id = ?1")?.execute([id])
        }
        Record::Samples(rows) => {
            for (resolution, row) in rows {
                sample(to, *resolution, row)?;
            }
            Ok(rows.len())
        }
        Record::Alias { number, infohash, at } => to
            .prepare_cached("INSERT OR REPLACE INTO aliases (number, infohash, learned_at) VALUES (?1, ?2, ?3)")?
            .execute(params![number.as_bytes(), infohash.as_bytes(), to_micros(*at)]),
        Record::Setting(row) => to
            .prepare_cached(
                "INSERT OR REPLACE INTO settings (key, value, environment, changed_at) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![row.key, row.value, row.environment, to_micros(row.changed_at)]),
        Record::SettingGone { key } => {
            to.prepare_cached("DELETE FROM settings WHERE key = ?1")?.execute([key])
        }
        Record::Template(row) => to
            .prepare_cached("INSERT OR REPLACE INTO templates (slot, name, config) VALUES (?1, ?2, ?3)")?
            .execute(params![row.slot, row.name, row.config]),
        Record::TemplateGone { slot } => {
            to.prepare_cached("DELETE FROM templates WHERE slot = ?1")?.execute([slot])
        }
        Record::Looping(row) => to
            .prepare_cached(
                "INSERT OR REPLACE INTO looping (key, infohash, detected_at, evidence) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                row.key,
                row.infohash.as_ref().map(|infohash| infohash.as_bytes().as_slice()),
                to_micros(row.detected_at),
                row.evidence
            ]),
        Record::LoopingGone { key } => {
            to.prepare_cached("DELETE FROM looping WHERE key = ?1")?.execute([key])
        }
    }
    .map(drop)
}

fn stream(to: &Transaction<'_>, row: &StreamRow) -> rusqlite::Result<usize> {
    to.prepare_cached(
        "INSERT OR REPLACE INTO streams (
             id, serial, source, key_type, key, infohash, container_id, engine_host, engine_port, reporter,
             playback_session_id, stat_url, command_url, is_live, started_at, ended_at, end_reason, downloaded, uploaded,
             labels
         ) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
    )?
    .execute(params![
        row.id,
        row.serial,
        row.source,
        row.key_type,
        row.key,
        row.infohash.as_ref().map(|infohash| infohash.as_bytes().as_slice()),
        row.container_id,
        row.engine_host,
        row.engine_port,
        row.reporter,
        row.playback_session_id,
        row.stat_url,
        row.command_url,
        row.is_live,
        to_micros(row.started_at),
        row.ended_at.map(to_micros),
        row.end_reason,
        row.downloaded,
        row.uploaded,
        row.labels
    ])
}

fn sample(to: &Transaction<'_>, resolution: Resolution, row: &SampleRow) -> rusqlite::Result<usize> {
    let insert = format!(
        "INSERT INTO {} (stream_id, at, count, peers, speed_down, speed_up, downloaded, uploaded, status)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (stream_id, at) DO UPDATE SET
             count = ?3, peers = ?4, speed_down = ?5, speed_up = ?6, downloaded = ?7, uploaded = ?8, status = ?9",
        resolution.table()
    );
    to.prepare_cached(&insert)?.execute(params![
        row.stream_id,
        to_micros(row.at),
        row.count,
        row.peers,
        row.speed_down,
        row.speed_up,
        row.downloaded,
        row.uploaded,
        row.status
    ])
}

/// Cuts what only grows back to its bounds: the oldest rows go.
pub(super) fn prune(connection: &Connection, samples_max: i64) -> rusqlite::Result<()> {
    for resolution in Resolution::ALL {
        let table = resolution.table();
        let delete = format!("DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?1");
        connection.execute(&delete, [samples_max])?;
    }
    connection.execute(
        "DELETE FROM aliases WHERE number IN (
             SELECT number FROM aliases ORDER BY learned_at DESC LIMIT -1 OFFSET ?1
         )",
        [i64::try_from(ALIASES_MAX).unwrap_or(i64::MAX)],
    )?;
    Ok(())
}
