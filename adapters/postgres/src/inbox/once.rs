//! One statement as the whole effect: mark, statement and commit in one round trip.
//!
//! ```text
//!   BEGIN | INSERT INTO forebay_inbox ... | the statement | COMMIT        sent together
//!                |-- refused, done before: all that follows is refused too -> ROLLBACK, Duplicate
//!                `-- marked: both or neither
//! ```
//!
//! [`Inbox::run`] waits for an answer before each step, since only the work knows what comes next. One
//! statement leaves nothing to wait for: PostgreSQL runs nothing more in a transaction in which a
//! statement has failed, and a mark that is there already fails here on purpose. The price: each
//! duplicate is a line in the server's log.

use super::{Inbox, Outcome, usable};
use crate::{Parameter, Transaction, sqlstate, transaction::COMMIT};
use forebay::{Failure, Job, MessageId};
use futures_util::future::join4;
use std::sync::atomic::Ordering;
use tokio_postgres::{
    Error,
    error::SqlState,
    types::{ToSql, Type},
};

impl Inbox {
    /// Does the work of a job once, where that is one statement; says how many rows it touched. One
    /// round trip, where [`Inbox::run`] takes three.
    ///
    /// ```no_run
    /// # use forebay_postgres::{Inbox, types::Type};
    /// # use forebay::{Failure, Job};
    /// # #[derive(serde::Deserialize)] struct Order { amount: i64 }
    /// async fn book(job: Job<Order, Inbox>) -> Result<(), Failure> {
    ///     let sql = "INSERT INTO orders (amount) VALUES ($1)";
    ///     job.state().execute(&job, sql, &[(&job.payload.amount, Type::INT8)]).await?;
    ///     Ok(())
    /// }
    /// # fn is_handler<T, S>(_: impl forebay::Handler<T, S>) {}
    /// # is_handler(book);
    /// ```
    ///
    /// # Errors
    /// What the server said, by its SQLSTATE (see [`kind_of`](crate::kind_of)); nothing is written
    /// then, not even the mark. If the connection is lost, the failure is transient, and the next
    /// attempt finds out whether it was committed.
    pub async fn execute<P, S>(
        &self,
        job: &Job<P, S>,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Outcome<u64>, Failure> {
        self.execute_as(job.id(), sql, parameters).await
    }

    /// As [`Inbox::execute`], under an identity of the caller's own.
    ///
    /// # Errors
    /// As [`Inbox::execute`].
    pub async fn execute_as(
        &self,
        id: &MessageId,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Outcome<u64>, Failure> {
        let id = id.to_string();
        usable(&id)?;
        let transaction = Transaction::on(self.0.pool.get().await?, self.0.pool.clone());
        let client = transaction.client();
        let mark: [(&(dyn ToSql + Sync), Type); 2] =
            [(&self.0.consumer, Type::TEXT), (&id, Type::TEXT)];
        let all = join4(
            client.batch_execute(&self.0.begin),
            client.execute_typed(&self.0.strict_mark, &mark),
            client.execute_typed(sql, parameters),
            client.batch_execute(COMMIT),
        );
        let (begun, marked, worked, committed) = transaction.counted(all).await;
        if begun.is_err()
            && let Ok(rows) = worked
        {
            // BEGIN alone was called off, so the statement was a transaction of its own, without a mark.
            // This makes up for that. It is done again only if the mark was there already, or if a
            // crash comes in between.
            let late = client.execute_typed(&self.0.late_mark, &mark);
            transaction.counted(late).await.map_err(sqlstate::failure)?;
            self.0.counters.done.fetch_add(1, Ordering::Relaxed);
            return Ok(Outcome::Done(rows));
        }
        let marked = begun.and(marked);
        if marked.as_ref().is_err_and(is_duplicate) {
            self.0.counters.duplicates.fetch_add(1, Ordering::Relaxed);
            transaction.rollback().await?;
            return Ok(Outcome::Duplicate);
        }
        // The first that failed is why: those after it only say that one did.
        match marked.and(worked) {
            Ok(rows) => {
                transaction.conclude(committed)?;
                self.0.counters.done.fetch_add(1, Ordering::Relaxed);
                Ok(Outcome::Done(rows))
            }
            Err(error) => {
                // A connection that cannot undo it is closed, which undoes it too.
                let _ = transaction.rollback().await;
                Err(sqlstate::failure(error))
            }
        }
    }
}

/// Whether a mark was refused because it is there already.
fn is_duplicate(error: &Error) -> bool {
    error.as_db_error().is_some_and(|db| {
        *db.code() == SqlState::UNIQUE_VIOLATION && db.table() == Some("forebay_inbox")
    })
}
