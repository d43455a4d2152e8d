//! A transaction that works behind PgBouncer, knows whether it was committed, and cleans up after
//! itself when its handler is called off.
//!
//! The driver's own transaction is not used for three reasons. Its `commit` takes the answer to
//! `COMMIT` on trust, and PostgreSQL answers `ROLLBACK` without an error when a statement had failed
//! before: a handler that swallows an error would have its message acknowledged and its effect undone.
//! It prepares named statements, which PgBouncer does not carry over in transaction mode. And when it
//! is dropped while a statement runs, the connection goes back to the pool with that statement.

use crate::{Connection, PgPool, cancel::cancel, sqlstate::failure};
use forebay::Failure;
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tokio_postgres::{
    Client, Error, Row,
    types::{ToSql, Type},
};

/// How long cleaning up may take before the connection is closed instead.
const CLEAN_UP: Duration = Duration::from_secs(5);

/// Commits, or fails. In a transaction that has failed, the first statement is refused, and the second
/// not run; `COMMIT` alone would undo it all, and not call that an error.
pub(crate) const COMMIT: &str = "SELECT 1; COMMIT";

/// A value with its type, as a statement's parameter.
pub type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// An open transaction: from [`PgPool::begin`], or lent by [`Inbox::run`](crate::Inbox::run), which
/// commits it. Rolled back when it is dropped.
#[derive(Debug)]
pub struct Transaction {
    /// `None` once it has ended.
    connection: Option<Connection>,
    pool: PgPool,
    /// Statements sent and not answered. One whose future was dropped stays counted.
    running: AtomicU32,
}

impl Transaction {
    pub(crate) fn on(connection: Connection, pool: PgPool) -> Self {
        Self { connection: Some(connection), pool, running: AtomicU32::new(0) }
    }

    /// Executes a statement, and says how many rows it touched. Parameters carry their types, and
    /// no statement is prepared by name: so it works behind PgBouncer.
    ///
    /// ```no_run
    /// # use forebay_postgres::{Transaction, types::Type};
    /// # async fn book(tx: &Transaction) -> Result<(), tokio_postgres::Error> {
    /// let sql = "UPDATE accounts SET balance = balance + $1 WHERE id = $2";
    /// tx.execute(sql, &[(&100_i64, Type::INT8), (&"a-17", Type::TEXT)]).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What the server said. Passed on by a plain `?`, it is sorted by its SQLSTATE.
    pub async fn execute(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, Error> {
        self.counted(self.client().execute_typed(sql, parameters)).await
    }

    /// Executes a statement, and returns its rows.
    ///
    /// # Errors
    /// As [`Transaction::execute`].
    pub async fn query(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Error> {
        self.counted(self.client().query_typed(sql, parameters)).await
    }

    /// Executes statements without parameters, separated by semicolons.
    ///
    /// # Errors
    /// As [`Transaction::execute`].
    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        self.counted(self.client().batch_execute(sql)).await
    }

    /// The driver's client, for all that is not here (COPY, portals). Statements that are prepared by
    /// name (`query`, `execute`, `prepare`) do not work behind PgBouncer in transaction mode; never
    /// send `COMMIT` or `ROLLBACK`.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.connection.as_ref().expect("it is there until the transaction ends")
    }

    /// Commits, and knows it.
    ///
    /// # Errors
    /// What the server said, by its SQLSTATE. Transient when the connection was lost on the way, so
    /// that nobody knows; and when a statement had failed before and its error was swallowed, which
    /// PostgreSQL answers by undoing it all.
    pub async fn commit(self) -> Result<(), Failure> {
        let committed = self.counted(self.client().batch_execute(COMMIT)).await;
        self.conclude(committed)
    }

    /// Ends with what came of [`COMMIT`].
    pub(crate) fn conclude(mut self, committed: Result<(), Error>) -> Result<(), Failure> {
        let connection = self.connection.take();
        match committed {
            Ok(()) => Ok(()),
            Err(error) => {
                let unknown = error.as_db_error().is_none();
                let aborted = error.code().is_some_and(|code| code.code() == "25P02");
                // Whatever state it is in, it is not one to go on with.
                if let Some(connection) = connection {
                    connection.close();
                }
                Err(match (unknown, aborted) {
                    (true, _) => Failure::transient(UnknownCommit(failure(error).to_string())),
                    (_, true) => Failure::transient(SwallowedError),
                    _ => failure(error),
                })
            }
        }
    }

    /// Undoes it all, and waits for that. Dropping the transaction does it in the background.
    ///
    /// # Errors
    /// When the server did not answer; the connection is closed then, which undoes it too.
    pub async fn rollback(mut self) -> Result<(), Failure> {
        self.counted(self.client().batch_execute("ROLLBACK")).await.map_err(failure)?;
        self.connection = None;
        Ok(())
    }

    /// Counts a statement for as long as it runs; for ever, if it is not waited for.
    pub(crate) async fn counted<T>(&self, statement: impl Future<Output = T>) -> T {
        self.running.fetch_add(1, Ordering::Relaxed);
        let result = statement.await;
        self.running.fetch_sub(1, Ordering::Relaxed);
        result
    }
}

/// The connection was lost while `COMMIT` was under way: nobody knows, before the next attempt.
#[derive(Debug, thiserror::Error)]
#[error(
    "the connection was lost while committing, so it is not known whether it was: the next attempt will find out by the inbox ({0})"
)]
struct UnknownCommit(String);

/// A statement failed, and the handler went on as if it had not.
#[derive(Debug, thiserror::Error)]
#[error(
    "a statement failed before, and its error was not passed on: PostgreSQL has undone the transaction (use a savepoint for what may fail)"
)]
struct SwallowedError;

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let running = *self.running.get_mut() > 0;
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return connection.close();
        };
        let pool = self.pool.clone();
        runtime.spawn(async move {
            // The seat is kept until the server is rid of it too.
            if running {
                let token = connection.cancel_token();
                let inner = pool.inner();
                let called_off = cancel(&inner.tls, &inner.config, &token);
                let _ = tokio::time::timeout(CLEAN_UP, called_off).await;
            }
            // Answered once the server is done with what was running, however that ended.
            let undo = connection.batch_execute("ROLLBACK");
            let undone = tokio::time::timeout(CLEAN_UP, undo).await.is_ok_and(|done| done.is_ok());
            if !undone {
                connection.close();
            }
        });
    }
}
