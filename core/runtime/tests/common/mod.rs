//! What the runtime's tests share: a queue, a worker that runs beside the test, and its end.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use forebay::{
    Builder, Control, DrainReport, Invoke, MessageId, Outgoing, RunError, Sink, Source, Verdict,
    policy::{Concurrency, Jitter, RetryPolicy, RetrySettings},
    testing::MemoryQueue,
};
use std::time::Duration;
use tokio::task::JoinHandle;

/// A worker that runs in a task of its own.
pub struct Running {
    pub control: Control,
    pub task: JoinHandle<Result<DrainReport, RunError>>,
}

impl Running {
    /// Drains it, and returns how that went.
    pub async fn drain(self) -> DrainReport {
        self.control.drain();
        self.task.await.unwrap().unwrap()
    }
}

pub fn start<S: Source, D: Send + 'static, T: Send + 'static, I: Invoke>(
    builder: Builder<S, D, T, I>,
) -> Running {
    let worker = builder.build().unwrap();
    Running { control: worker.control(), task: tokio::spawn(worker.run_until_drained()) }
}

pub async fn publish(queue: &MemoryQueue, payloads: impl IntoIterator<Item = String>) {
    let batch: Vec<_> = payloads.into_iter().map(|p| Outgoing::new(p.into_bytes())).collect();
    for result in queue.publish(&batch).await {
        result.unwrap();
    }
}

pub async fn publish_keyed(
    queue: &MemoryQueue,
    key: &str,
    payloads: impl IntoIterator<Item = u32>,
) {
    let key = Bytes::copy_from_slice(key.as_bytes());
    let outgoing = |n: u32| Outgoing::new(n.to_string().into_bytes()).key(key.clone());
    let batch: Vec<_> = payloads.into_iter().map(outgoing).collect();
    for result in queue.publish(&batch).await {
        result.unwrap();
    }
}

/// Three attempts, a second apart, without jitter.
pub fn three_attempts() -> RetryPolicy {
    RetryPolicy::new(RetrySettings {
        base: Duration::from_secs(1),
        factor: 1.0,
        jitter: Jitter::None,
        max_attempts: 3,
        ..RetrySettings::default()
    })
    .unwrap()
}

pub fn at_once(n: u32) -> Concurrency {
    Concurrency::fixed(n)
}

pub fn kinds(verdicts: &[(MessageId, Verdict)]) -> Vec<&'static str> {
    verdicts
        .iter()
        .map(|(_, verdict)| match verdict {
            Verdict::Ack => "ack",
            Verdict::Retry { .. } => "retry",
            Verdict::Postpone { .. } => "postpone",
            Verdict::Release { .. } => "release",
            Verdict::DeadLetter { .. } => "dead",
            Verdict::Drop(_) => "drop",
        })
        .collect()
}
