//! The layout of the file, how an older one becomes the present one, and how a connection is set up.

use super::Error;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// Says whose file it is: `slui`.
const APPLICATION_ID: i64 = 0x736c_7569;

/// One step each from layout `n` to `n + 1`. A step that was released is never changed; a new layout is a new step.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE settings (
        key TEXT PRIMARY KEY, value TEXT NOT NULL, environment TEXT, changed_at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE templates (slot INTEGER PRIMARY KEY, name TEXT NOT NULL, config TEXT NOT NULL);
    CREATE TABLE aliases (number BLOB PRIMARY KEY, infohash BLOB NOT NULL, learned_at INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE looping (
        key TEXT PRIMARY KEY, infohash BLOB, detected_at INTEGER NOT NULL, evidence TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE events (
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, event_type TEXT NOT NULL, category TEXT NOT NULL,
        message TEXT NOT NULL, details TEXT NOT NULL, container_id TEXT, stream_id TEXT
    );
    CREATE TABLE streams (
        id TEXT PRIMARY KEY, serial INTEGER NOT NULL, source TEXT NOT NULL, key_type TEXT NOT NULL, key TEXT NOT NULL,
        infohash BLOB, container_id TEXT NOT NULL, engine_host TEXT NOT NULL, engine_port INTEGER NOT NULL,
        reporter TEXT, playback_session_id TEXT NOT NULL, stat_url TEXT NOT NULL, command_url TEXT NOT NULL,
        is_live INTEGER NOT NULL, started_at INTEGER NOT NULL, ended_at INTEGER, end_reason TEXT,
        downloaded INTEGER, uploaded INTEGER, labels TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE samples_10s (
        id INTEGER PRIMARY KEY, stream_id TEXT NOT NULL, at INTEGER NOT NULL, count INTEGER NOT NULL, peers INTEGER,
        speed_down INTEGER, speed_up INTEGER, downloaded INTEGER, uploaded INTEGER, status TEXT
    );
    CREATE INDEX samples_10s_of_stream ON samples_10s (stream_id, at);
    CREATE TABLE samples_1m (
        id INTEGER PRIMARY KEY, stream_id TEXT NOT NULL, at INTEGER NOT NULL, count INTEGER NOT NULL, peers INTEGER,
        speed_down INTEGER, speed_up INTEGER, downloaded INTEGER, uploaded INTEGER, status TEXT
    );
    CREATE INDEX samples_1m_of_stream ON samples_1m (stream_id, at);
", "
    DROP INDEX samples_10s_of_stream;
    DROP INDEX samples_1m_of_stream;
    CREATE UNIQUE INDEX samples_10s_of_stream ON samples_10s (stream_id, at);
    CREATE UNIQUE INDEX samples_1m_of_stream ON samples_1m (stream_id, at);
"];

/// The layout this version writes.
pub(super) const LAYOUT: i64 = MIGRATIONS.len() as i64;

/// A writer meets nobody but a person with a tool: readers do not stand in its way.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// The log is cut back to this size after it was larger.
const WAL_BYTES_MAX: i64 = 8 << 20;
/// Statements kept prepared.
const STATEMENTS_MAX: usize = 32;

/// Opens the file for writing, creating and migrating it as needed.
pub(super) fn open_writer(path: &Path, pages_max: Option<u32>) -> Result<Connection, Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Before anything is written: a file of somebody else's must stay as it is.
    check(&connection, path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // FULL synchronises the log with every commit. There is at most one a second, and it is what makes a loss of power
    // cost one second instead of everything since the last checkpoint.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
    migrate(connection, path, pages_max)
}

/// Opens a database that lives as long as its connection.
pub(super) fn open_memory(pages_max: Option<u32>) -> Result<Connection, Error> {
    migrate(Connection::open_in_memory()?, Path::new(":memory:"), pages_max)
}

/// Opens the file for looking things up beside the writer.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

fn check(connection: &Connection, path: &Path) -> Result<(), Error> {
    let application = pragma(connection, "application_id")?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    if application != APPLICATION_ID && (application != 0 || tables != 0) {
        return Err(Error::Foreign { path: path.to_owned(), found: application });
    }
    let found = pragma(connection, "user_version")?;
    if found > LAYOUT {
        return Err(Error::Newer { path: path.to_owned(), found, known: LAYOUT });
    }
    Ok(())
}

fn migrate(mut connection: Connection, path: &Path, pages_max: Option<u32>) -> Result<Connection, Error> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    if let Some(pages) = pages_max {
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    let found = pragma(&connection, "user_version")?;
    for (layout, step) in (1..).zip(MIGRATIONS).skip(usize::try_from(found).unwrap_or(0)) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", layout)?;
        transaction.commit()?;
        tracing::info!(path = %path.display(), layout, "the state file has a new layout");
    }
    Ok(connection)
}
