//! What can go wrong with the file, in words that name the file and the way out.
//!
//! SQLite's result codes are sorted here, once, into what passes and what does not; each method of
//! the contract then wraps the same [`StoreError`] in its own error.

use forebay_contract::{DeadLettersError, LeaseError, PublishError, SettleError, SourceError};
use rusqlite::ErrorCode;
use std::{path::PathBuf, time::Duration};

/// Why a file could not be opened as a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory that should hold the file is not there.
    #[error("the directory of `{0}` does not exist: create it, or correct the path")]
    NoDirectory(PathBuf),
    /// The file is not there, and the options say not to create it.
    #[error("`{0}` does not exist, and the options say not to create it")]
    Missing(PathBuf),
    /// The file, or its directory, may not be written.
    #[error("`{0}` cannot be written: a queue needs write access to the file and its directory")]
    ReadOnly(PathBuf),
    /// It is not an SQLite database. It was not touched.
    #[error("`{0}` is not a queue file (no SQLite database at all): it was left as it is")]
    NotADatabase(PathBuf),
    /// It is somebody else's SQLite database. It was not touched.
    #[error(
        "`{path}` is an SQLite database, but no Forebay queue file (its application id is \
             {found:#010x}): it was left as it is"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The application id in its header.
        found: i32,
    },
    /// It was written by a newer version. It was not touched.
    #[error(
        "`{path}` has schema version {found}, and this program knows up to version {known}: \
             update the program; the file was left as it is"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        found: i32,
        /// The newest version that this program knows.
        known: i32,
    },
    /// Anything else, while it was being opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is wrong with an open store.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process held the write lock for longer than the busy timeout.
    #[error(
        "`{path}` has been locked by another process for {waited:?}: look for one that is \
             stopped inside a transaction (`fuser` lists them), such as an `sqlite3` shell, a \
             backup, or a suspended worker"
    )]
    Locked {
        /// The file.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The disk, or the size that the options allow, is full. Nothing was lost.
    #[error(
        "no room left for `{0}`: free space on its disk, or raise `max_size`; what was \
             confirmed is safe, and work goes on once there is room"
    )]
    Full(PathBuf),
    /// The file is damaged.
    #[error("`{path}` is damaged ({detail}): stop all its users, keep a copy, and save what can be \
             read with `sqlite3 {path} .recover`", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// The file can no longer be written.
    #[error(
        "`{0}` can no longer be written: it was moved, deleted or made read-only; restore it and its \
         write access, and start again"
    )]
    ReadOnly(PathBuf),
    /// Reading or writing failed; it may work again.
    #[error("`{path}` could not be read or written: {detail}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// The thread that writes the file has ended.
    #[error("the thread that writes the store has ended")]
    Ended,
}

impl StoreError {
    /// Sorts an error of SQLite.
    pub(crate) fn new(path: &std::path::Path, error: &rusqlite::Error, waited: Duration) -> Self {
        let path = path.to_owned();
        let detail = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Locked { path, waited }
            }
            Some(ErrorCode::DiskFull) => Self::Full(path),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly(path),
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::OutOfMemory
                | ErrorCode::FileLockingProtocolFailed,
            ) => Self::Io { path, detail },
            _ => Self::Corrupt { path, detail },
        }
    }

    /// Whether waiting will not help.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::ReadOnly(_) | Self::Ended)
    }
}

impl From<StoreError> for SourceError {
    fn from(error: StoreError) -> Self {
        if error.is_fatal() { Self::Fatal(error.into()) } else { Self::Unavailable(error.into()) }
    }
}

impl From<StoreError> for DeadLettersError {
    fn from(error: StoreError) -> Self {
        if error.is_fatal() { Self::Fatal(error.into()) } else { Self::Unavailable(error.into()) }
    }
}

impl From<StoreError> for SettleError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<StoreError> for LeaseError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<StoreError> for PublishError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Why a queue was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// No queue can have this name.
    #[error("`{0}` is no name for a queue: 1 to 200 ASCII letters, digits, and any of `-_.:/`")]
    Invalid(String),
    /// The file could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}
