//! Test a handler in three lines, without a broker and without waiting.
//!
//! ```
//! use forebay::{Failure, Job, testing};
//! # #[derive(serde::Deserialize)] struct Order { amount: i64 }
//! async fn book(job: Job<Order>) -> Result<(), Failure> {
//!     if job.payload.amount < 0 {
//!         return Err(Failure::permanent("a negative amount"));
//!     }
//!     Ok(())
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
//! #     .block_on(async {
//! let run = testing::run(book, [r#"{"amount": 5}"#, r#"{"amount": -5}"#]).await;
//! run.assert_acked(0);
//! run.assert_dead(1, "a negative amount");
//! # });
//! ```
//!
//! Under `#[tokio::test(start_paused = true)]` retries that take an hour take no time: tokio's clock
//! jumps whenever nothing runs. The queue behind it is [`MemoryQueue`], which passes the same
//! conformance suite as every broker; for more than one handler and some messages, use it directly
//! with [`Worker::builder`].

use crate::{Builder, Handler, Invoke, Json, NoHandler, Worker};
use forebay_contract::{
    DeadFilter, DeadLetters, DeadReason, MessageId, Outgoing, Sink, Source, Verdict,
};
use serde::de::DeserializeOwned;
use std::time::Duration;

pub use forebay_memory::{MemoryOptions, MemoryQueue, MemorySource};

/// How long the queue must have been empty of work, on tokio's clock, before a run counts as over.
const QUIET: Duration = Duration::from_millis(50);

/// What became of the messages of a test run.
#[derive(Debug)]
pub struct Run {
    ids: Vec<MessageId>,
    verdicts: Vec<(MessageId, Verdict)>,
}

/// Runs `handler` on JSON messages until each is acknowledged, dropped or dead.
pub async fn run<H, T>(handler: H, messages: impl IntoIterator<Item = impl Into<Message>>) -> Run
where
    H: Handler<T>,
    T: DeserializeOwned + Send + 'static,
{
    run_with(|builder| builder.handler(handler), messages).await
}

/// A message to be scripted: a payload, or an [`Outgoing`] with key, headers or delay.
#[derive(Debug)]
pub struct Message(Outgoing);

impl From<Outgoing> for Message {
    fn from(outgoing: Outgoing) -> Self {
        Self(outgoing)
    }
}

impl From<&'static str> for Message {
    fn from(payload: &'static str) -> Self {
        Self(Outgoing::new(payload))
    }
}

impl From<serde_json::Value> for Message {
    fn from(payload: serde_json::Value) -> Self {
        Self(Outgoing::new(payload.to_string()))
    }
}

/// As [`run`], with a worker built by `build`: other settings, a batch handler, shared state.
///
/// # Panics
/// If the worker cannot be built, or its run fails.
pub async fn run_with<D, T, I: Invoke>(
    build: impl FnOnce(Builder<MemorySource, Json, (), NoHandler>) -> Builder<MemorySource, D, T, I>,
    messages: impl IntoIterator<Item = impl Into<Message>>,
) -> Run {
    let queue = MemoryQueue::new();
    let messages: Vec<_> = messages.into_iter().map(|message| message.into().0).collect();
    let ids: Vec<MessageId> = queue
        .publish(&messages)
        .await
        .into_iter()
        .map(|published| published.expect("a queue in memory takes every message"))
        .collect();
    let builder = build(Worker::builder(queue.source()));
    let worker = builder.build().expect("the settings of the worker under test");
    let control = worker.control();
    let (ended, ()) = tokio::join!(worker.run_until_drained(), async {
        until_done(&queue).await;
        control.drain();
    });
    ended.expect("the run of the worker under test");
    Run { ids, verdicts: queue.verdicts() }
}

/// Waits until nothing is left to do in a queue.
pub async fn until_done(queue: &MemoryQueue) {
    let source = queue.source();
    while source.backlog().await.is_ok_and(|backlog| backlog.outstanding() > 0) {
        tokio::time::sleep(QUIET).await;
    }
}

/// How many dead letters a queue holds.
pub async fn dead_letters(queue: &MemoryQueue) -> usize {
    queue.list(&DeadFilter::default(), None, usize::MAX).await.map_or(0, |letters| letters.len())
}

impl Run {
    /// All verdicts on message `index`, in order: one for each time that it was handed out.
    #[must_use]
    pub fn verdicts(&self, index: usize) -> Vec<&Verdict> {
        let id = &self.ids[index];
        self.verdicts.iter().filter(|(of, _)| of == id).map(|(_, verdict)| verdict).collect()
    }

    /// The verdict that ended message `index`.
    #[must_use]
    pub fn last(&self, index: usize) -> Option<&Verdict> {
        self.verdicts(index).pop()
    }

    /// How often message `index` was tried again.
    #[must_use]
    pub fn retries(&self, index: usize) -> usize {
        let retry = |verdict: &&&Verdict| matches!(verdict, Verdict::Retry { .. });
        self.verdicts(index).iter().filter(retry).count()
    }

    /// Asserts that message `index` was acknowledged in the end.
    #[track_caller]
    pub fn assert_acked(&self, index: usize) {
        assert_eq!(self.last(index), Some(&Verdict::Ack), "message {index}");
    }

    /// Asserts that message `index` became a dead letter, with an error that contains `error`.
    #[track_caller]
    pub fn assert_dead(&self, index: usize, error: &str) -> DeadReason {
        match self.last(index) {
            Some(Verdict::DeadLetter { reason, note }) if note.error.contains(error) => *reason,
            other => panic!("message {index} is not dead of \"{error}\": {other:?}"),
        }
    }

    /// Asserts that message `index` was dropped because the handler said so.
    #[track_caller]
    pub fn assert_dropped(&self, index: usize) {
        let last = self.last(index);
        assert!(
            matches!(last, Some(Verdict::Drop(_))),
            "message {index} was not dropped: {last:?}"
        );
    }
}
