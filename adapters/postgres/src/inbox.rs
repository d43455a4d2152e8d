//! The inbox: a message's identity is written in the transaction of its effect, so that what comes
//! again is recognised, and its effect is there exactly once.
//!
//! ```text
//!   BEGIN                                     one round trip:
//!   INSERT INTO forebay_inbox ... ON CONFLICT DO NOTHING
//!        |-- 0 rows: done before -> ROLLBACK, Duplicate, acknowledged
//!        `-- 1 row: the handler's statements
//!   COMMIT                                    both or neither
//! ```
//!
//! Two copies at the same time: the unique index makes the second wait for the first one's
//! transaction. If that commits, the second is a duplicate; if it rolls back, the second does the
//! work. No lock is held outside of the transaction, so it works behind PgBouncer.
//!
//! An effect of one statement needs no answer in between: `once.rs` sends all of it together.

use crate::{
    OwnTables, PgPool, SetupError, Transaction, options::BEGUN, prune, retention, schema, sqlstate,
};
use forebay::{Capabilities, Failure, Job, MessageId, policy::RetryPolicy};
use futures_util::future::join;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio_postgres::types::Type;

mod batch;
mod once;

/// The longest identity that fits into the index, with room for the consumer's name, in bytes.
const MAX_ID: usize = 1024;
/// The longest name of a consumer, in bytes.
const MAX_CONSUMER: usize = 200;

/// Settings of an [`Inbox`].
#[derive(Clone, Debug)]
pub struct InboxOptions {
    /// Who consumes: each name has an inbox of its own. Two workers that do the same work share a
    /// name; two that do different things with the same messages must not.
    pub consumer: String,
    /// How long a message is remembered after it was done; default 7 days.
    pub retention: Duration,
    /// The worker's retry policy: what it allows bounds how late a copy can come.
    pub retry: RetryPolicy,
    /// How long after its death a dead letter may be redriven; default 3 days.
    pub redrive: Duration,
    /// How often what is older than the retention is deleted; default 1 min.
    pub prune_every: Duration,
    /// How many rows one statement deletes, at most; default 1,000.
    pub prune_batch: u32,
}

impl InboxOptions {
    /// The defaults, for this consumer.
    #[must_use]
    pub fn new(consumer: impl Into<String>) -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self {
            consumer: consumer.into(),
            retention: 7 * day,
            retry: RetryPolicy::default(),
            redrive: 3 * day,
            prune_every: Duration::from_secs(60),
            prune_batch: 1000,
        }
    }

    /// With the worker's retry policy.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// With another time to remember.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// With another time within which dead letters are redriven.
    #[must_use]
    pub fn redrive(mut self, redrive: Duration) -> Self {
        self.redrive = redrive;
        self
    }

    fn check(&self, source: &Capabilities) -> Result<(), SetupError> {
        if !source.stable_identity {
            return Err(SetupError::NoIdentity { broker: source.broker });
        }
        let length = self.consumer.len();
        if length == 0 || length > MAX_CONSUMER || self.consumer.contains('\0') {
            let allowed = format!("a name of 1 to {MAX_CONSUMER} bytes, without NUL");
            return Err(SetupError::invalid("inbox.consumer", &self.consumer, allowed));
        }
        if self.prune_every.is_zero() {
            return Err(SetupError::invalid("inbox.prune_every", "0", "it must be above zero"));
        }
        if self.prune_batch == 0 {
            return Err(SetupError::invalid("inbox.prune_batch", "0", "it must be at least 1"));
        }
        let retries = retention::retries(&self.retry);
        // Once on its way to the dead letters, once more after the redrive.
        let horizon = retries.saturating_mul(2).saturating_add(self.redrive);
        if self.retention < horizon {
            return Err(SetupError::ShortRetention {
                retention: self.retention,
                horizon,
                retries: retries.saturating_mul(2),
                redrive: self.redrive,
            });
        }
        Ok(())
    }
}

/// What became of a message at the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It was new: the work is done and committed, and this came of it.
    Done(T),
    /// It had been done before: nothing was done now. Acknowledge it.
    Duplicate,
}

/// What the inbox knows of one message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing: it is marked now, and is to be done.
    New,
    /// It was done before.
    Before,
    /// The same message is in this batch already, at this index: it shares that one's fate.
    Twin(usize),
}

/// What an inbox has counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxCounts {
    /// Messages done and committed.
    pub done: u64,
    /// Messages recognised as done before: work that was not done twice.
    pub duplicates: u64,
    /// Marks deleted because of their age.
    pub pruned: u64,
}

/// Recognises messages that come again. Cloning gives another handle to the same.
#[derive(Clone, Debug)]
pub struct Inbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: PgPool,
    consumer: String,
    table: String,
    begin: String,
    mark: String,
    /// As `mark`, and an error for a message that was done before.
    strict_mark: String,
    /// For what was done without a transaction around it.
    late_mark: String,
    counters: Arc<Counters>,
    /// Ends with the inbox.
    _pruner: prune::Pruner,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) done: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) pruned: AtomicU64,
}

impl Inbox {
    /// Opens the inbox of a consumer, and makes its table where it is not there yet. `source` is what
    /// the worker's source can do ([`Source::capabilities`](forebay::Source::capabilities)).
    ///
    /// # Errors
    /// [`SetupError::NoIdentity`], [`SetupError::ShortRetention`], [`SetupError::NewerSchema`], and
    /// what the server said.
    pub async fn open(
        pool: &PgPool,
        source: &Capabilities,
        options: InboxOptions,
    ) -> Result<Self, SetupError> {
        options.check(source)?;
        schema::migrate(pool).await?;
        let table = format!("{}.forebay_inbox", pool.inner().schema);
        let counters = Arc::new(Counters::default());
        let pruner = prune::start(pool.downgrade(), &table, &options, counters.clone());
        let strict_mark = format!("INSERT INTO {table} (consumer, id) SELECT $1, $2 WHERE {BEGUN}");
        Ok(Self(Arc::new(Inner {
            begin: pool.inner().options.begin(),
            mark: format!("{strict_mark} ON CONFLICT DO NOTHING"),
            strict_mark,
            late_mark: format!(
                "INSERT INTO {table} (consumer, id) VALUES ($1, $2) ON CONFLICT DO NOTHING"
            ),
            pool: pool.clone(),
            consumer: options.consumer,
            table,
            counters,
            _pruner: pruner,
        })))
    }

    /// What [`Inbox::open`] would come to, without changing anything; and whether the table, if it is
    /// there, may be used. Without `source`, its identities are not asked for.
    ///
    /// # Errors
    /// As [`Inbox::open`], and a right that is missing.
    pub async fn look(
        pool: &PgPool,
        source: Option<&Capabilities>,
        options: &InboxOptions,
    ) -> Result<OwnTables, SetupError> {
        source.map_or(Ok(()), |source| options.check(source))?;
        let tables = pool.own_tables().await?;
        if tables == OwnTables::There {
            schema::may_use_inbox(pool).await?;
        }
        Ok(tables)
    }

    /// Does the work of a job once: in a transaction, with the message's mark. The work gets the
    /// transaction and must do all its writing through it.
    ///
    /// ```no_run
    /// # use forebay_postgres::{Inbox, types::Type};
    /// # use forebay::{Failure, Job};
    /// # #[derive(serde::Deserialize)] struct Order { amount: i64 }
    /// async fn book(job: Job<Order, Inbox>) -> Result<(), Failure> {
    ///     let amount = job.payload.amount;
    ///     let work = async |tx: &forebay_postgres::Transaction| {
    ///         tx.execute("INSERT INTO orders (amount) VALUES ($1)", &[(&amount, Type::INT8)]).await
    ///     };
    ///     job.state().run(&job, work).await?; // done now, or done before: either way, acknowledge
    ///     Ok(())
    /// }
    /// # fn is_handler<T, S>(_: impl forebay::Handler<T, S>) {}
    /// # is_handler(book);
    /// ```
    ///
    /// # Errors
    /// What the work returned: an error of the database that it passed on by a plain `?` is sorted by
    /// its SQLSTATE (see [`kind_of`](crate::kind_of)). Nothing is written then, not even the mark. If
    /// the connection is lost while committing, the failure is transient, and the next attempt finds
    /// out.
    pub fn run<'a, P, S, T, E, F>(
        &'a self,
        job: &Job<P, S>,
        work: F,
    ) -> impl Future<Output = Result<Outcome<T>, Failure>> + use<'a, P, S, T, E, F>
    where
        F: AsyncFnOnce(&Transaction) -> Result<T, E>,
        E: Into<Failure>,
    {
        self.run_as(job.id(), work)
    }

    /// As [`Inbox::run`], under an identity of the caller's own: for effects that are told apart by
    /// something else than their message.
    ///
    /// # Errors
    /// As [`Inbox::run`].
    pub fn run_as<'a, T, E, F>(
        &'a self,
        id: &MessageId,
        work: F,
    ) -> impl Future<Output = Result<Outcome<T>, Failure>> + use<'a, T, E, F>
    where
        F: AsyncFnOnce(&Transaction) -> Result<T, E>,
        E: Into<Failure>,
    {
        let id = id.to_string();
        async move {
            usable(&id)?;
            let transaction = Transaction::on(self.0.pool.get().await?, self.0.pool.clone());
            if !self.begin(&transaction, &id).await? {
                self.0.counters.duplicates.fetch_add(1, Ordering::Relaxed);
                transaction.rollback().await?;
                return Ok(Outcome::Duplicate);
            }
            match work(&transaction).await {
                Ok(value) => {
                    transaction.commit().await?;
                    self.0.counters.done.fetch_add(1, Ordering::Relaxed);
                    Ok(Outcome::Done(value))
                }
                Err(error) => {
                    // The failure is the work's own, whatever becomes of undoing it: a connection
                    // that cannot even do that is closed, which undoes it too.
                    let _ = transaction.rollback().await;
                    Err(sqlstate::sorted(error.into()))
                }
            }
        }
    }

    /// Begins, and marks the message, in one round trip; whether it is new.
    async fn begin(&self, transaction: &Transaction, id: &str) -> Result<bool, Failure> {
        let client = transaction.client();
        let consumer = self.0.consumer.as_str();
        let parameters = [(&consumer as _, Type::TEXT), (&id as _, Type::TEXT)];
        // Sent together: if BEGIN did not succeed, there is no mark either.
        let both = join(
            client.batch_execute(&self.0.begin),
            client.execute_typed(&self.0.mark, &parameters),
        );
        let (begun, marked) = transaction.counted(both).await;
        begun.map_err(sqlstate::failure)?;
        Ok(marked.map_err(sqlstate::failure)? == 1)
    }

    /// Whether an identity can be kept.
    ///
    /// # Errors
    /// A permanent failure, for its message alone.
    pub fn check(id: &MessageId) -> Result<(), Failure> {
        usable(&id.to_string())
    }

    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> InboxCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.0.counters;
        InboxCounts {
            done: read(&counters.done),
            duplicates: read(&counters.duplicates),
            pruned: read(&counters.pruned),
        }
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }
}

fn usable(id: &str) -> Result<(), Failure> {
    if id.len() > MAX_ID || id.contains('\0') {
        return Err(Failure::permanent(format!(
            "the message's identity is {} bytes long{}: the inbox keeps up to {MAX_ID} bytes of text without NUL",
            id.len(),
            if id.contains('\0') { " and has a NUL in it" } else { "" }
        )));
    }
    Ok(())
}
