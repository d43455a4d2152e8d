//! What both of Forebay's lanes share: a queue in memory, its producer, and a broker that loses its
//! connections once.
//!
//! The queue keeps the whole contract (acknowledgements, redelivery, attempts, dead letters) and is in
//! memory: what the bystander suffers is then what comes through to the database, and not the disk
//! that a durable queue would share with it here, and has for itself in production.

use super::{Left, Stage};
use crate::Fault;
use forebay::{DrainReport, Outgoing, RunError, Sink};
use forebay_memory::{MemoryOptions, MemoryQueue};
use forebay_postgres::{Inbox, InboxOptions, PgPool, PoolOptions, SetupError};
use futures_util::FutureExt;
use std::time::Duration;

/// Who consumes, in the inbox.
const CONSUMER: &str = "orders";

/// An empty queue.
pub(super) fn queue() -> MemoryQueue {
    MemoryQueue::with(MemoryOptions::default().without_notes())
}

/// A pool of so many connections, and an inbox on it.
pub(super) async fn inbox(
    url: &str,
    connections: u32,
    queue: &MemoryQueue,
) -> Result<(PgPool, Inbox), SetupError> {
    use forebay::Source;
    // One more for the inbox's own pruning, so that it never takes a handler's.
    let pool = PgPool::connect(PoolOptions::new(url).connections(connections + 1)).await?;
    let source = queue.source();
    let inbox = Inbox::open(&pool, source.capabilities(), InboxOptions::new(CONSUMER)).await?;
    Ok((pool, inbox))
}

/// Plays the plan into the queue, while a worker runs.
pub(super) async fn perform(
    stage: &Stage,
    queue: &MemoryQueue,
    inbox: &Inbox,
    control: forebay::Control,
    worker: impl Future<Output = Result<DrainReport, RunError>> + Send + 'static,
) -> Result<Left, Fault> {
    let worker = tokio::spawn(worker);
    let (plan, record, sink) = (stage.plan.clone(), stage.record.clone(), queue.clone());
    let offer = move |ids: std::ops::Range<u64>| {
        let batch: Vec<_> = ids.clone().map(|id| Outgoing::new(plan.payload(id))).collect();
        // The queue in memory answers at once.
        let answers = sink.publish(&batch).now_or_never().unwrap_or_default();
        for (id, answer) in ids.zip(answers) {
            if let Err(error) = answer {
                record.failed(id, &error.to_string());
            }
        }
    };
    let severing = tokio::spawn(sever(queue.clone(), stage.clone()));
    stage.perform(offer).await?;
    severing.abort();
    control.drain();
    worker.await??;
    let backlog = queue.backlog();
    Ok(Left {
        waiting: backlog.outstanding(),
        dead: backlog.dead.map_or(0, |dead| dead.value),
        recognised: inbox.counts().duplicates,
    })
}

/// In the middle of the steady stretch all connections to the broker are lost for a moment: what was
/// in hand comes again, done or not.
async fn sever(queue: MemoryQueue, stage: Stage) {
    let steady = stage.plan.stretches[1];
    let at = Duration::from_secs_f64(f64::midpoint(steady.from, steady.to));
    tokio::time::sleep(at.saturating_sub(stage.record.start().elapsed())).await;
    queue.sever();
}
