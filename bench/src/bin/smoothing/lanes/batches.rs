//! (d) Forebay, in batches: the batch sink with COPY, the marks of the inbox in the same transaction.

use super::{Left, Setup, Stage, forebay as shared};
use crate::{
    Fault,
    database::{COLUMNS, row},
    plan::Order,
    record::Record,
};
use forebay::{
    BatchHandler, BatchOptions, BatchOutcome, Failure, Gate, Job, Worker, policy::Concurrency,
};
use forebay_memory::MemoryQueue;
use forebay_postgres::{BatchSink, Inbox, Method, PgPool, Row, SinkHandler, Table, TableOptions};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub(super) async fn play(stage: Stage) -> Result<Left, Fault> {
    let queue = shared::queue();
    let (pool, inbox) = shared::inbox(&stage.url, stage.setup.batches_at_once, &queue).await?;
    let sink = sink(&pool, Some(inbox.clone())).await?;
    let handler = Noting { inner: sink.handler(to_row as ToRow), record: stage.record.clone() };
    let gate = Gate::new(Concurrency::fixed(stage.setup.batches_at_once));
    pool.bound(&gate);
    let options = BatchOptions::of(stage.setup.batch);
    let worker =
        Worker::builder(queue.source()).gate(gate).batch_handler(options, handler).build()?;
    let control = worker.control();
    shared::perform(&stage, &queue, &inbox, control, worker.run_until_drained()).await
}

async fn sink(pool: &PgPool, inbox: Option<Inbox>) -> Result<BatchSink, Fault> {
    let options = TableOptions::new("orders", COLUMNS).method(Method::Copy);
    Ok(BatchSink::new(pool, Table::open(pool, options).await?, inbox))
}

type ToRow = fn(&Job<Order>) -> Result<Row, Failure>;

fn to_row(job: &Job<Order>) -> Result<Row, Failure> {
    Ok(row(&job.payload))
}

/// The sink's handler, with what came of each message noted.
struct Noting {
    inner: SinkHandler<ToRow>,
    record: Arc<Record>,
}

impl BatchHandler<Order> for Noting {
    async fn handle_batch(&self, jobs: Vec<Job<Order>>) -> BatchOutcome {
        let ids: Vec<u64> = jobs.iter().map(|job| job.payload.id.unsigned_abs()).collect();
        let began = Instant::now();
        let outcome = self.inner.handle_batch(jobs).await;
        self.record.statement(began.elapsed(), ids.len());
        match &outcome {
            BatchOutcome::Each(results) => {
                for (id, result) in ids.iter().zip(results) {
                    match result {
                        Ok(()) => self.record.written(*id),
                        Err(Failure::Permanent(_)) => self.record.refused(*id),
                        Err(other) => self.record.error(&other.to_string()),
                    }
                }
            }
            BatchOutcome::Failed(failure) => self.record.error(&failure.to_string()),
        }
        outcome
    }
}

/// Writes all that is in a queue, with an inbox or without, and says how long it took.
pub(crate) async fn write_all(
    url: &str,
    setup: Setup,
    queue: &MemoryQueue,
    with_inbox: bool,
) -> Result<Duration, Fault> {
    let rows = queue.backlog().outstanding();
    let (pool, inbox) = shared::inbox(url, setup.batches_at_once, queue).await?;
    let sink = sink(&pool, with_inbox.then_some(inbox)).await?;
    let written = |sink: &BatchSink| sink.counts().written + sink.counts().refused;
    let worker = Worker::builder(queue.source())
        .concurrency(Concurrency::fixed(setup.batches_at_once))
        .batch_handler(BatchOptions::of(setup.batch), sink.handler(to_row))
        .build()?;
    let control = worker.control();
    let began = Instant::now();
    let running = tokio::spawn(worker.run_until_drained());
    // The queue's own count walks through all it has, and holds up who takes from it meanwhile.
    while written(&sink) < rows || queue.backlog().outstanding() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = began.elapsed();
    control.drain();
    running.await??;
    match queue.backlog().dead {
        Some(dead) if dead.value > 0 => Err(format!("{} dead letters", dead.value).into()),
        _ => Ok(took),
    }
}
