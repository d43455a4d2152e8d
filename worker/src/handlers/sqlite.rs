//! `[handler.sqlite]`: a statement per message, many in one transaction.
//!
//! Each row has a savepoint: one that breaks a constraint is taken back alone and answered as
//! permanent, and the rest commits. A fault of the database (busy, full) takes back the transaction,
//! and every message of the batch is tried again. The commit comes before any answer, so what is
//! acknowledged is on disk.

mod bind;

use crate::{
    config::{Meaning, Param, SqliteConfig},
    handlers::Finding,
};
use forebay::{BatchHandler, BatchOutcome, Bytes, Failure, Job};
use rusqlite::{Connection, ErrorCode, OpenFlags, types::Value};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::spawn_blocking,
};

/// How long another writer may hold the database before the batch is given back.
const BUSY: Duration = Duration::from_secs(5);

/// Writes messages into a database.
pub(crate) struct Sqlite {
    statement: Arc<str>,
    /// What its parameters are bound to, in its order.
    order: Vec<Param>,
    /// One: SQLite has one writer at a time, and waiting for it here is fair.
    connection: Arc<Mutex<Connection>>,
}

/// What cannot be as it is: the key within `[handler.sqlite]`, and why.
pub(crate) type Wrong = (String, String);

impl Sqlite {
    /// Opens the database and checks the statement and its parameters.
    ///
    /// # Errors
    /// What does not fit.
    pub(crate) fn open(config: &SqliteConfig) -> Result<Self, Wrong> {
        let connection = connect(config)?;
        let order = bind::order(&connection, config)?;
        let statement = config.statement.as_str().into();
        Ok(Self { statement, order, connection: Arc::new(Mutex::new(connection)) })
    }
}

fn connect(config: &SqliteConfig) -> Result<Connection, Wrong> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let cannot = |error: rusqlite::Error| {
        let path = config.path.display();
        let why = format!("cannot open {path}: {error}; the database and its tables must exist");
        ("path".to_owned(), why)
    };
    let connection = Connection::open_with_flags(&config.path, flags).map_err(cannot)?;
    connection.busy_timeout(BUSY).map_err(cannot)?;
    connection.set_prepared_statement_cache_capacity(4);
    Ok(connection)
}

/// What is known of a row before the transaction: its values, or why it has none.
type Row = Result<Vec<Value>, Finding>;

impl BatchHandler<Bytes> for Sqlite {
    async fn handle_batch(&self, jobs: Vec<Job<Bytes>>) -> BatchOutcome {
        let rows: Vec<Row> = jobs.iter().map(|job| bind::values(&self.order, job)).collect();
        let connection = self.connection.clone().lock_owned().await;
        let called_off = CallOff::default();
        let statement = self.statement.clone();
        let written = spawn_blocking({
            let called_off = called_off.0.clone();
            move || write(connection, &statement, rows, &called_off)
        });
        match written.await {
            Ok(findings) => {
                BatchOutcome::Each(findings.into_iter().map(Finding::into_result).collect())
            }
            Err(error) => BatchOutcome::Failed(Failure::transient(error)),
        }
    }
}

/// Tells the thread that nobody waits for it any more, when the handler's future is dropped.
#[derive(Default)]
struct CallOff(Arc<AtomicBool>);

impl Drop for CallOff {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Why a transaction was taken back as a whole.
struct TakenBack(String);

impl From<rusqlite::Error> for TakenBack {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

/// Runs the statement for each row; one finding per row.
fn write(
    mut connection: OwnedMutexGuard<Connection>,
    statement: &str,
    rows: Vec<Row>,
    called_off: &AtomicBool,
) -> Vec<Finding> {
    let count = rows.len();
    transaction(&mut connection, statement, rows, called_off)
        .unwrap_or_else(|TakenBack(why)| vec![Finding::new(Meaning::Transient, why); count])
}

fn transaction(
    connection: &mut Connection,
    statement: &str,
    rows: Vec<Row>,
    called_off: &AtomicBool,
) -> Result<Vec<Finding>, TakenBack> {
    // Dropped without a commit, it rolls back.
    let mut transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let mut findings = Vec::with_capacity(rows.len());
    for row in rows {
        if called_off.load(Ordering::Relaxed) {
            return Err(TakenBack("called off: the handler's time was up".to_owned()));
        }
        findings.push(match row {
            Ok(values) => one_row(&mut transaction, statement, values)?,
            Err(finding) => finding,
        });
    }
    transaction.commit()?;
    Ok(findings)
}

fn one_row(
    transaction: &mut rusqlite::Transaction<'_>,
    statement: &str,
    values: Vec<Value>,
) -> Result<Finding, TakenBack> {
    let savepoint = transaction.savepoint()?;
    let run = |values| {
        let mut statement = savepoint.prepare_cached(statement)?;
        let mut rows = statement.query(rusqlite::params_from_iter::<Vec<Value>>(values))?;
        // A RETURNING clause yields rows; the statement has run when they are used up.
        while rows.next()?.is_some() {}
        Ok(())
    };
    match run(values) {
        Ok(()) => {
            savepoint.commit()?;
            Ok(Finding::new(Meaning::Ack, ""))
        }
        Err(error) if is_the_rows_fault(&error) => {
            savepoint.finish()?;
            Ok(Finding::new(Meaning::Permanent, error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether another row would have fared better: a constraint, a type, a size.
fn is_the_rows_fault(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
    )
}
