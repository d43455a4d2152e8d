//! The batch sink: messages become rows, a batch in one transaction, one outcome each.
//!
//! ```text
//!   jobs -> rows -> BEGIN, inbox marks (what is new?) -> rows of the new ones, bad ones isolated
//!                                                     -> marks of the bad ones taken back -> COMMIT
//! ```
//!
//! That is the careful way, for batches with something old or bad in them; `sink/eager.rs` has the usual
//! one. A bad row becomes a dead letter with the server's own words; its mark goes, so that it is written
//! when it is redriven mended. If the transaction fails as a whole, nothing is written, and the runtime
//! splits the batch: an outage opens the breaker and charges nobody, and a message that fails its
//! batches in some way of its own (a trigger that waits, or misses a table) is found.

use crate::{
    DatabaseError, Inbox, PgPool, Row, Seen, Target, Transaction,
    sqlstate::failure,
    write::{self, Written},
};
use forebay::{BatchHandler, BatchOutcome, Failure, Job, MessageId};
use futures_util::future::join;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tokio::sync::RwLock;
use tokio_postgres::error::SqlState;

mod eager;

/// What a sink has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SinkCounts {
    /// Rows written and committed, or left alone as the conflict policy has it.
    pub written: u64,
    /// Rows that the server refused.
    pub refused: u64,
    /// How many times rows were sent: once for each batch, and to search for bad rows.
    pub statements: u64,
}

#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    refused: AtomicU64,
    statements: AtomicU64,
}

/// Writes messages in batches, into a table or by a statement. Cloning gives another handle to the
/// same.
#[derive(Clone, Debug)]
pub struct BatchSink {
    pool: PgPool,
    target: Arc<Target>,
    inbox: Option<Inbox>,
    begin: Arc<str>,
    /// Whether the last batch had something old or bad in it, so that the next is written carefully.
    wary: Arc<AtomicBool>,
    /// Held by each batch that is written; by one that ran into a deadlock, alone.
    alone: Arc<RwLock<()>>,
    counters: Arc<Counters>,
}

impl BatchSink {
    /// A sink into a [`Table`](crate::Table), or by a [`Statement`](crate::Statement); with an inbox,
    /// each message is written once, however often it comes. The inbox must be of the same pool.
    #[must_use]
    pub fn new(pool: &PgPool, target: impl Into<Target>, inbox: impl Into<Option<Inbox>>) -> Self {
        let target = target.into();
        let mut begin = pool.inner().options.begin();
        if target.may_defer() {
            begin.push_str("; SET CONSTRAINTS ALL IMMEDIATE");
        }
        Self {
            pool: pool.clone(),
            target: Arc::new(target),
            inbox: inbox.into(),
            begin: begin.into(),
            wary: Arc::default(),
            alone: Arc::default(),
            counters: Arc::default(),
        }
    }

    /// A batch handler that makes a row of each job's payload and writes it.
    ///
    /// ```no_run
    /// # use forebay::{BatchOptions, Failure, Job, Source, Worker};
    /// # use forebay_postgres::{BatchSink, Row};
    /// # #[derive(serde::Deserialize)] struct Order { id: i64, customer: String }
    /// # fn build(source: impl Source, sink: BatchSink) -> Result<(), forebay::BuildError> {
    /// let row = |job: &Job<Order>| -> Result<Row, Failure> {
    ///     Ok(vec![job.payload.id.into(), job.payload.customer.as_str().into()])
    /// };
    /// let worker = Worker::builder(source).batch_handler(BatchOptions::of(500), sink.handler(row)).build()?;
    /// # drop(worker); Ok(()) }
    /// ```
    pub fn handler<T, S, F>(&self, row: F) -> SinkHandler<F>
    where
        F: Fn(&Job<T, S>) -> Result<Row, Failure> + Send + Sync + 'static,
    {
        SinkHandler { sink: self.clone(), row }
    }

    /// Writes rows, each with the identity of its message. Result `i` is that of message `i`: `Ok`
    /// once it is committed, now or, as the inbox knows, before. If the transaction failed as a whole,
    /// all of them failed, and none for good.
    pub async fn write(&self, messages: Vec<(MessageId, Row)>) -> Vec<Result<(), Failure>> {
        let count = messages.len();
        match self.try_write(messages).await {
            Ok(results) => results,
            Err(failure) if count > 1 => (0..count).map(|_| Err(of_the_whole(&failure))).collect(),
            Err(failure) => vec![Err(failure)],
        }
    }

    /// As [`BatchSink::write`]; an error is that of the transaction as a whole.
    async fn try_write(
        &self,
        messages: Vec<(MessageId, Row)>,
    ) -> Result<Vec<Result<(), Failure>>, Failure> {
        let mut results = Vec::with_capacity(messages.len());
        let (mut places, mut ids, mut rows) = (vec![], vec![], vec![]);
        for (place, (id, row)) in messages.into_iter().enumerate() {
            let sound = self.sound(&id, &row);
            if sound.is_ok() {
                places.push(place);
                ids.push(id);
                rows.push(row);
            }
            results.push(sound);
        }
        if !ids.is_empty() {
            let outcomes = self.untangled(&ids, &rows).await?;
            for (place, outcome) in places.into_iter().zip(outcomes) {
                results[place] = outcome;
            }
        }
        Ok(results)
    }

    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> SinkCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SinkCounts {
            written: read(&self.counters.written),
            refused: read(&self.counters.refused),
            statements: read(&self.counters.statements),
        }
    }

    /// What can be said of a message without asking the server.
    fn sound(&self, id: &MessageId, row: &Row) -> Result<(), Failure> {
        let width = self.target.width();
        if row.len() != width {
            return Err(Failure::permanent(format!(
                "the row has {} values, and {} is written with {width}",
                row.len(),
                self.target.name()
            )));
        }
        if self.inbox.is_some() { Inbox::check(id) } else { Ok(()) }
    }

    /// One transaction, and after a deadlock another, while no other batch is written: together they would
    /// run into the next one, and each costs the server's `deadlock_timeout`.
    async fn untangled(
        &self,
        ids: &[MessageId],
        rows: &[Row],
    ) -> Result<Vec<Result<(), Failure>>, Failure> {
        let beside = self.alone.read().await;
        match self.transact(ids, rows).await {
            Err(failure) if is_deadlock(&failure) => {
                drop(beside);
                let _alone = self.alone.write().await;
                self.transact(ids, rows).await
            }
            done => done,
        }
    }

    /// One transaction; an error means that nothing was written, or that nobody knows.
    async fn transact(
        &self,
        ids: &[MessageId],
        rows: &[Row],
    ) -> Result<Vec<Result<(), Failure>>, Failure> {
        if self.eagerly(ids, rows).await? {
            let refused = rows.iter().map(|_| None).collect();
            return Ok(
                self.conclude(&vec![Seen::New; ids.len()], Written { refused, statements: 1 })
            );
        }
        let transaction = Transaction::on(self.pool.get().await?, self.pool.clone());
        let work = self.work(&transaction, ids, rows).await;
        match work {
            Ok((seen, written)) => {
                transaction.commit().await?;
                let eager = seen.iter().all(|seen| *seen == Seen::New)
                    && written.refused.iter().all(Option::is_none);
                self.wary.store(!eager, Ordering::Relaxed);
                Ok(self.conclude(&seen, written))
            }
            Err(failure) => {
                // A connection that cannot undo it is closed, which undoes it too.
                let _ = transaction.rollback().await;
                Err(failure)
            }
        }
    }

    async fn work(
        &self,
        transaction: &Transaction,
        ids: &[MessageId],
        rows: &[Row],
    ) -> Result<(Vec<Seen>, Written), Failure> {
        let begin = transaction.batch_execute(&self.begin);
        let Some(inbox) = &self.inbox else {
            begin.await.map_err(failure)?;
            let rows: Vec<&Row> = rows.iter().collect();
            let written = self.rows(transaction, &rows).await?;
            return Ok((vec![Seen::New; ids.len()], written));
        };
        // Sent together: if BEGIN did not succeed, there are no marks either.
        let (begun, seen) = join(begin, inbox.fresh(transaction, ids)).await;
        begun.map_err(failure)?;
        let seen = seen?;
        let new: Vec<usize> = (0..ids.len()).filter(|index| seen[*index] == Seen::New).collect();
        let rows: Vec<&Row> = new.iter().map(|index| &rows[*index]).collect();
        let written = self.rows(transaction, &rows).await?;
        let bad: Vec<MessageId> = new
            .iter()
            .zip(&written.refused)
            .filter(|(_, refused)| refused.is_some())
            .map(|(index, _)| ids[*index].clone())
            .collect();
        if !bad.is_empty() {
            inbox.forget(transaction, &bad).await?;
        }
        Ok((seen, written))
    }

    async fn rows(&self, transaction: &Transaction, rows: &[&Row]) -> Result<Written, Failure> {
        let written = write::isolating(self.target.way(), transaction, rows).await;
        written.map_err(DatabaseError::into_failure)
    }

    /// From what was committed to each message's result.
    fn conclude(&self, seen: &[Seen], written: Written) -> Vec<Result<(), Failure>> {
        let refused = written.refused.iter().flatten().count() as u64;
        let done = written.refused.len() as u64 - refused;
        self.counters.written.fetch_add(done, Ordering::Relaxed);
        self.counters.refused.fetch_add(refused, Ordering::Relaxed);
        self.counters.statements.fetch_add(written.statements, Ordering::Relaxed);
        let mut of_new = written.refused.into_iter();
        let mut results: Vec<Result<(), Failure>> = Vec::with_capacity(seen.len());
        let mut duplicates = 0;
        for seen in seen {
            results.push(match seen {
                Seen::New => match of_new.next().flatten() {
                    Some(error) => Err(error.into_failure()),
                    None => Ok(()),
                },
                Seen::Before => {
                    duplicates += 1;
                    Ok(())
                }
                // A twin comes after its first, whose result is there.
                Seen::Twin(first) => match results.get(*first) {
                    Some(Err(failure)) => Err(again(failure)),
                    _ => {
                        duplicates += 1;
                        Ok(())
                    }
                },
            });
        }
        if let Some(inbox) = &self.inbox {
            inbox.counters().done.fetch_add(done, Ordering::Relaxed);
            inbox.counters().duplicates.fetch_add(duplicates, Ordering::Relaxed);
        }
        results
    }
}

fn is_deadlock(failure: &Failure) -> bool {
    let Failure::Transient { error, .. } = failure else { return false };
    let error = error.downcast_ref::<DatabaseError>();
    error.and_then(DatabaseError::code) == Some(&SqlState::T_R_DEADLOCK_DETECTED)
}

/// The same failure for another message of its batch.
fn again(failure: &Failure) -> Failure {
    let text = failure.to_string();
    match failure {
        Failure::Transient { after, .. } => {
            Failure::Transient { error: text.into(), after: *after }
        }
        Failure::Throttled { after, .. } => Failure::throttled(text, *after),
        Failure::Permanent(_) => Failure::permanent(text),
        Failure::Discard(reason) => Failure::Discard(reason.clone()),
    }
}

/// What the failure of a whole transaction is to each of its messages: whose fault it was is not
/// known, so nobody is dead of it.
fn of_the_whole(failure: &Failure) -> Failure {
    match failure {
        Failure::Permanent(error) => Failure::transient(error.to_string()),
        other => again(other),
    }
}

/// A batch handler of the runtime; from [`BatchSink::handler`].
#[derive(Clone, Debug)]
pub struct SinkHandler<F> {
    sink: BatchSink,
    row: F,
}

impl<T, S, F> BatchHandler<T, S> for SinkHandler<F>
where
    F: Fn(&Job<T, S>) -> Result<Row, Failure> + Send + Sync + 'static,
    T: Send,
    S: Send,
{
    fn handle_batch(&self, jobs: Vec<Job<T, S>>) -> impl Future<Output = BatchOutcome> + Send {
        let mut results: Vec<Result<(), Failure>> = Vec::with_capacity(jobs.len());
        let (mut places, mut messages) = (vec![], vec![]);
        for (place, job) in jobs.iter().enumerate() {
            results.push(match (self.row)(job) {
                Ok(row) => {
                    places.push(place);
                    messages.push((job.id().clone(), row));
                    Ok(())
                }
                Err(failure) => Err(failure),
            });
        }
        drop(jobs);
        async move {
            if messages.is_empty() {
                return BatchOutcome::Each(results);
            }
            match self.sink.try_write(messages).await {
                Ok(written) => {
                    for (place, result) in places.into_iter().zip(written) {
                        results[place] = result;
                    }
                    BatchOutcome::Each(results)
                }
                Err(failure) => BatchOutcome::Failed(failure),
            }
        }
    }
}
