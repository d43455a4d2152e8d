//! Opens a file as a store, or says why not, leaving alone what is not ours.
//!
//! The file's header is read by itself first, so that a foreign or newer file is not even locked. Even
//! that is left to SQLite: where this process has the file open already, whoever else closes a
//! descriptor of it drops all locks that SQLite holds there (that is POSIX), and a program that then
//! looks in may take the log away from under those who write to it. The tables are created in one
//! transaction together with the marks in the header, before the log is switched on: a crash while
//! creating leaves an empty file, which the next open fills. An older file is brought up to date in one
//! transaction, too.

use crate::{OpenError, StoreError, options::StoreOptions, schema, writer::is_busy};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, config::DbConfig};
use std::{
    fs, io,
    os::unix::ffi::OsStrExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Room beyond `max_size`, in bytes, for what drains the queue.
const SLACK: u64 = 8 << 20;

/// Checks the file, and creates its tables where they are missing.
pub(crate) fn prepare(path: &Path, options: &StoreOptions) -> Result<(), OpenError> {
    inspect(path, options)?;
    let fail = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotADatabase(path.to_owned()),
        Some(ErrorCode::ReadOnly) => OpenError::ReadOnly(path.to_owned()),
        _ => StoreError::new(path, &error, options.busy_timeout).into(),
    };
    let mut conn = connect(path, options).map_err(fail)?;
    if conn.is_readonly("main").map_err(fail)? {
        return Err(OpenError::ReadOnly(path.to_owned()));
    }
    let found = create(&mut conn).map_err(fail)?;
    if found != schema::VERSION {
        let (path, known) = (path.to_owned(), schema::VERSION);
        return Err(OpenError::Newer { path, found, known });
    }
    switch_on_log(&conn, options.busy_timeout).map_err(fail)
}

/// A connection with the settings that all of them share.
pub(crate) fn connect(path: &Path, options: &StoreOptions) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(options.busy_timeout)?;
    conn.set_prepared_statement_cache_capacity(64);
    // Else SQLite compiles a statement anew for each value of a range, in search of a better plan.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // At a split of an index's page, SQLite gives pages a number beyond all others for a moment, and so
    // looks through its whole cache when it commits: with 32 MiB of it, a tenth of all time.
    conn.pragma_update(None, "cache_size", -8 * 1024)?; // KiB
    conn.pragma_update(None, "temp_store", "memory")?;
    Ok(conn)
}

/// The connection of the writer: waits for the lock by itself, and checkpoints every 16 MiB.
pub(crate) fn connect_writer(path: &Path, options: &StoreOptions) -> rusqlite::Result<Connection> {
    let conn = connect(path, options)?;
    conn.busy_timeout(Duration::ZERO)?;
    conn.pragma_update(None, "wal_autocheckpoint", 4096)?; // pages
    conn.pragma_update(None, "journal_size_limit", 64 << 20)?; // bytes
    Ok(conn)
}

/// A connection that cannot write.
pub(crate) fn connect_reader(path: &Path, options: &StoreOptions) -> rusqlite::Result<Connection> {
    let conn = connect(path, options)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}

/// `max_size` in pages: for publishing, and for everything else.
pub(crate) fn max_pages(
    conn: &Connection,
    options: &StoreOptions,
) -> rusqlite::Result<Option<[i64; 2]>> {
    let Some(size) = options.max_size else { return Ok(None) };
    let page: u32 = conn.query_row("PRAGMA page_size", (), |row| row.get(0))?;
    let pages = |bytes: u64| i64::try_from(bytes / u64::from(page)).unwrap_or(i64::MAX).max(1);
    Ok(Some([pages(size), pages(size.saturating_add(SLACK))]))
}

/// Looks at the header, and refuses what is not ours.
fn inspect(path: &Path, options: &StoreOptions) -> Result<(), OpenError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if directory.is_some_and(|directory| !directory.is_dir()) {
        return Err(OpenError::NoDirectory(path.to_owned()));
    }
    let io = |detail: String| StoreError::Io { path: path.to_owned(), detail }.into();
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound && options.create => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::Missing(path.to_owned()));
        }
        Err(error) => return Err(io(error.to_string())),
    };
    if found.is_file() && found.len() == 0 {
        return Ok(());
    }
    let (application, version) = header(path).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotADatabase(path.to_owned()),
        Some(ErrorCode::CannotOpen) if found.is_file() => OpenError::ReadOnly(path.to_owned()),
        _ => io(error.to_string()),
    })?;
    if application != schema::APPLICATION_ID {
        return Err(OpenError::Foreign { path: path.to_owned(), found: application });
    }
    if version > schema::VERSION {
        let (path, known) = (path.to_owned(), schema::VERSION);
        return Err(OpenError::Newer { path, found: version, known });
    }
    Ok(())
}

/// The two marks in a file's header: whose it is, and of which version. As `immutable`, it is neither
/// locked nor recovered, and nothing appears beside it. Its log is not looked at, so the header may know
/// of more pages than have come to the file: whoever may write the schema is let off.
fn header(path: &Path) -> rusqlite::Result<(i32, i32)> {
    // Byte by byte, whatever a URI would take them for.
    let bytes = path.as_os_str().as_bytes().iter();
    let path: String = bytes.map(|byte| format!("%{byte:02x}")).collect();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let conn = Connection::open_with_flags(format!("file:{path}?immutable=1"), flags)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)?;
    let mark = |name: &str| conn.query_row(&format!("PRAGMA {name}"), (), |row| row.get(0));
    Ok((mark("application_id")?, mark("user_version")?))
}

/// Creates the tables, or brings older ones up to date; gives the version that is there then.
fn create(conn: &mut Connection) -> rusqlite::Result<i32> {
    let version = |conn: &Connection| conn.query_row("PRAGMA user_version", (), |row| row.get(0));
    let found: i32 = version(conn)?;
    if found >= schema::VERSION {
        return Ok(found);
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been quicker.
    let change = match version(&tx)? {
        0 => Some(schema::CREATE),
        1 => Some(schema::FROM_1),
        _ => None,
    };
    if let Some(change) = change {
        tx.execute_batch(change)?;
        tx.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", schema::VERSION)?;
    }
    tx.commit()?;
    version(conn)
}

/// Switches to the write-ahead log, which needs the file for itself for a moment.
fn switch_on_log(conn: &Connection, within: Duration) -> rusqlite::Result<()> {
    let started = Instant::now();
    loop {
        match conn.pragma_update(None, "journal_mode", "wal") {
            Err(error) if is_busy(&error) && started.elapsed() < within => {
                thread::sleep(Duration::from_millis(2));
            }
            outcome => return outcome,
        }
    }
}
