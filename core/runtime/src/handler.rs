//! What a user writes: a plain async function from a job to a result.
//!
//! ```
//! use forebay::{Failure, Handler, Job};
//!
//! async fn greet(job: Job<String>) -> Result<(), std::io::Error> {
//!     println!("hello, {}", job.payload);
//!     Ok(())
//! }
//!
//! // Or a struct, where a handler wants parts of its own:
//! struct Greeter { greeting: String }
//! impl Handler<String> for Greeter {
//!     async fn handle(&self, job: Job<String>) -> Result<(), Failure> {
//!         println!("{}, {}", self.greeting, job.payload);
//!         Ok(())
//!     }
//! }
//! # fn is_handler<T>(_: impl Handler<T>) {}
//! # is_handler(greet); is_handler(Greeter { greeting: "hi".into() });
//! ```

use crate::Job;
use forebay_contract::Failure;
use std::future::Future;

/// Handles one message at a time. Every `async fn(Job<T, S>) -> Result<(), E>` is one, where `E` is
/// any error, or a [`Failure`] to say more.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler for `Job<{T}, {S}>`",
    note = "a handler is an `async fn(Job<T>) -> Result<(), E>`, where `E` is an error or a `Failure`",
    note = "with `.state(s)`, it is an `async fn(Job<T, S>) -> Result<(), E>`; its future must be `Send`"
)]
pub trait Handler<T, S = ()>: Send + Sync + 'static {
    /// Does the work of one job. `Ok` acknowledges the message; see [`Failure`] for the rest. A
    /// panic or a timeout counts as a transient failure.
    fn handle(&self, job: Job<T, S>) -> impl Future<Output = Result<(), Failure>> + Send;
}

impl<F, Fut, E, T, S> Handler<T, S> for F
where
    F: Fn(Job<T, S>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send,
    E: Into<Failure>,
    T: Send,
    S: Send,
{
    async fn handle(&self, job: Job<T, S>) -> Result<(), Failure> {
        self(job).await.map_err(Into::into)
    }
}

/// What became of a batch.
#[derive(Debug)]
pub enum BatchOutcome {
    /// Each job's own result, by index: as many as there were jobs. Any other number counts as a
    /// failure of the whole.
    Each(Vec<Result<(), Failure>>),
    /// All of it failed together (a transaction that was rolled back). It is split in halves and
    /// run again, down to the job whose fault it is; the others are done by then.
    Failed(Failure),
}

impl<E: Into<Failure>> From<Vec<Result<(), E>>> for BatchOutcome {
    fn from(each: Vec<Result<(), E>>) -> Self {
        Self::Each(each.into_iter().map(|result| result.map_err(Into::into)).collect())
    }
}

/// Handles several messages at once. Every `async fn(Vec<Job<T, S>>) -> Vec<Result<(), E>>` is one;
/// a [`BatchOutcome`] can say that the batch failed as a whole.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a batch handler for `Vec<Job<{T}, {S}>>`",
    note = "a batch handler is an `async fn(Vec<Job<T>>) -> Vec<Result<(), E>>`, one result per job, or one that returns a `BatchOutcome`"
)]
pub trait BatchHandler<T, S = ()>: Send + Sync + 'static {
    /// Does the work of all jobs in the batch; there is at least one.
    fn handle_batch(&self, jobs: Vec<Job<T, S>>) -> impl Future<Output = BatchOutcome> + Send;
}

impl<F, Fut, O, T, S> BatchHandler<T, S> for F
where
    F: Fn(Vec<Job<T, S>>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = O> + Send,
    O: Into<BatchOutcome>,
    T: Send,
    S: Send,
{
    async fn handle_batch(&self, jobs: Vec<Job<T, S>>) -> BatchOutcome {
        self(jobs).await.into()
    }
}
