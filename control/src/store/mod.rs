//! What survives a restart: one SQLite file in `DATA_DIR`, written by one thread, one transaction a second.
//!
//! [`Handle::put`] never waits and never fails its caller: what finds no room is dropped and counted, statistics first.
//! [`Handle::save`] is for what somebody was promised, such as a setting: it answers once the record is on disk. A crash
//! at any moment loses at most what was put within the last second; the file stays whole because every change is a
//! transaction of a write-ahead log that is synchronised with each commit.
//!
//! A disk that is full or fails keeps nobody from playing: the writer keeps what matters in memory, drops statistics, tries
//! again every second, and shows the fault ([`Standing`]). A directory that cannot be used at all leaves the appliance
//! without a memory until the next start, which is shown in the same way. Two things are refused at the start instead,
//! because going on would harm what is stored: another instance on the same directory, and a file of a newer version.
//!
//! [`writer`] is the thread, [`batch`] what it holds between two commits, [`schema`] the layout and its migrations,
//! [`record`] the vocabulary, [`apply`] and [`load`] the two directions of it. Nothing here knows what the records mean.

mod apply;
mod batch;
mod handle;
mod load;
mod lock;
mod record;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use handle::{Handle, open, settings};
pub(crate) use load::Loaded;
pub(crate) use record::{
    EventRow, LoopingRow, Record, Resolution, SampleRow, SettingRow, StreamRow, TemplateRow,
};
pub(crate) use writer::WAIT_MAX;

use std::path::PathBuf;
use std::time::SystemTime;

/// Why something cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds the directory.
    #[error(
        "DATA_DIR {} is in use by another instance{}; stop that one, or give this one a directory of its own",
        path.display(), holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, as far as it says.
        holder: Option<u32>,
    },
    /// The file has a layout this version does not know.
    #[error(
        "{} was written by a newer version (layout {found}, this one knows up to {known}); start that version, or give \
         this one another DATA_DIR", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// The newest layout known here.
        known: i64,
    },
    /// The file is a database of something else.
    #[error("{} belongs to another program (application id {found:#x}); give this one another DATA_DIR", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it says it is.
        found: i64,
    },
    /// The directory cannot be made, opened or locked.
    #[error("DATA_DIR {} cannot be used: {cause}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The database cannot be opened, read or written.
    #[error("the state file fails: {0}")]
    Database(#[from] rusqlite::Error),
    /// The writer has more to do than it may hold.
    #[error("too much waits to be stored; try again")]
    Full,
    /// A commit failed; the record was not stored.
    #[error("not stored: {0}")]
    NotStored(String),
    /// There is no writer: the directory could not be used at the start, or the plane is stopping.
    #[error("nothing can be stored: {0}")]
    Unavailable(String),
}

impl Error {
    /// Whether going on without the store would harm what is stored.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(self, Self::InUse { .. } | Self::Newer { .. } | Self::Foreign { .. })
    }
}

/// What the room is made of.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The directory; `None` keeps everything in memory until the plane stops.
    pub(crate) directory: Option<PathBuf>,
    /// Largest size of the file in pages of 4 KiB, for tests of a full disk; `None` is whatever the disk holds.
    pub(crate) pages_max: Option<u32>,
}

/// How the store does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Standing {
    /// Nothing is meant to survive.
    Memory,
    /// All is well.
    Sound,
    /// Commits fail and are tried again.
    Failing {
        /// Since when.
        since: SystemTime,
        /// What the disk or SQLite says.
        fault: String,
    },
    /// The directory could not be used at the start.
    Unavailable {
        /// Why.
        fault: String,
    },
}

impl Standing {
    /// Machine-readable name.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sound => "ok",
            Self::Failing { .. } => "failing",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    /// What is wrong, if something is.
    pub(crate) fn fault(&self) -> Option<&str> {
        match self {
            Self::Memory | Self::Sound => None,
            Self::Failing { fault, .. } | Self::Unavailable { fault } => Some(fault),
        }
    }
}
