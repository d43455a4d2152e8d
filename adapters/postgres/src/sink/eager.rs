//! The usual case first: every message of a batch is new, and every row sound.
//!
//! ```text
//!   BEGIN, marks, COPY begins | rows, COMMIT         as few answers to wait for as can be
//!        `-- refused --> ROLLBACK, and the careful way, which finds out what is old or bad
//! ```
//!
//! Marks are made without `ON CONFLICT`, which costs the server more than twice as much, and without a
//! savepoint. Rows are put into words while the server makes the marks. Once a batch was refused, the
//! next ones take the careful way until one of them would have gone through: a shower of bad rows is
//! not tried twice. A statement for each row is always written carefully: what it does besides is not
//! known.

use super::BatchSink;
use crate::{
    Kind, Row, Table, Target, Transaction,
    sqlstate::{failure, kind},
    transaction::COMMIT,
    value::copy_text,
    write::by_column,
};
use bytes::Bytes;
use forebay::{Failure, MessageId};
use futures_util::{
    SinkExt,
    future::{join, join3},
};
use std::{pin::pin, sync::atomic::Ordering};
use tokio_postgres::{
    Client, Error,
    types::{ToSql, Type},
};

/// What came of a batch: the first error, or the answer to `COMMIT`.
type Sent = Result<Result<(), Error>, Error>;

impl BatchSink {
    /// Whether the whole batch was written in one go. If not, nothing was.
    ///
    /// # Errors
    /// As [`BatchSink::transact`]: not the rows' fault.
    pub(super) async fn eagerly(&self, ids: &[MessageId], rows: &[Row]) -> Result<bool, Failure> {
        let Target::Table(table) = &*self.target else { return Ok(false) };
        if self.wary.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let marks = match &self.inbox {
            Some(inbox) => match inbox.marks(ids) {
                Some(marks) => Some((inbox, marks)),
                None => return Ok(false),
            },
            None => None,
        };
        let transaction = Transaction::on(self.pool.get().await?, self.pool.clone());
        let client = transaction.client();
        let begin = async {
            let begun = client.batch_execute(&self.begin);
            let Some((inbox, marks)) = &marks else { return begun.await };
            let (begun, marked) = join(begun, inbox.mark_new(client, marks)).await;
            begun.and(marked)
        };
        let sent = transaction.counted(send(table, client, begin, rows)).await;
        match sent {
            Ok(committed) => transaction.conclude(committed).map(|()| true),
            Err(error) if kind(&error) == Kind::Permanent => {
                self.wary.store(true, Ordering::Relaxed);
                self.counters.statements.fetch_add(1, Ordering::Relaxed);
                // A connection that cannot undo it is closed, which undoes it too.
                let _ = transaction.rollback().await;
                Ok(false)
            }
            Err(error) => {
                let _ = transaction.rollback().await;
                Err(failure(error))
            }
        }
    }
}

/// Sends what begins the transaction, the rows, and what ends it.
async fn send(
    table: &Table,
    client: &Client,
    begin: impl Future<Output = Result<(), Error>>,
    rows: &[Row],
) -> Sent {
    let Some(copy) = &table.copy else {
        let rows: Vec<&Row> = rows.iter().collect();
        let columns = by_column(table.width(), &rows);
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            columns.iter().map(|column| (column as _, Type::TEXT_ARRAY)).collect();
        let insert = client.execute_typed(&table.insert, &parameters);
        let (begun, inserted, committed) = join3(begin, insert, client.batch_execute(COMMIT)).await;
        begun?;
        inserted?;
        return Ok(committed);
    };
    // Polled in this order: when the rows are put into words, the rest has been sent.
    let copying = client.copy_in::<_, Bytes>(copy.as_str());
    let wording = async { Bytes::from(copy_text(rows)) };
    let (begun, (sink, text)) = join(begin, join(copying, wording)).await;
    begun?;
    let mut sink = pin!(sink?);
    sink.send(text).await?;
    let (copied, committed) = join(sink.finish(), client.batch_execute(COMMIT)).await;
    copied?;
    Ok(committed)
}
