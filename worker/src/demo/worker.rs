//! One worker process: `forebay demo` starts itself again as this, several times.
//!
//! Everything in it is what any user of the library writes: a handler, a pool, a builder. It reports
//! on standard output, a JSON line at a time, and drains when its standard input ends; so it never
//! outlives the demo, however that ends.

use super::{
    database::{Execution, POOL, Pool, is_locked, now_us},
    plan::Order,
};
use crate::{error::CliError, output};
use forebay::{
    Control, Failure, Job, Worker,
    policy::{Concurrency, Gradient2Settings, RetryPolicy, RetrySettings},
};
use forebay_embedded::{EmbeddedSource, SourceOptions, Store};
use serde::{Deserialize, Serialize};
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{io::AsyncReadExt, time::interval};

/// The queue's name.
pub(super) const QUEUE: &str = "orders";
/// How long a message stays with a worker that does not say that it lives.
pub(super) const LEASE: Duration = Duration::from_secs(3);
/// How often it reports.
const REPORT: Duration = Duration::from_millis(200);

/// What a worker says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    /// How many calls it allows itself at once.
    pub(super) limit: u32,
    /// Attempts that failed and will be made again, so far.
    pub(super) retried: u64,
    /// Put off because the database was locked, so far.
    pub(super) postponed: u64,
    /// How long each call took that succeeded since the last report, in microseconds.
    pub(super) took_us: Vec<u64>,
}

/// What the handler needs.
#[derive(Clone)]
struct State {
    pool: Pool,
    took_us: Arc<Mutex<Vec<u64>>>,
}

/// Handles one order.
async fn handle(job: Job<Order, State>) -> Result<(), Failure> {
    let (order, called) = (&job.payload, Instant::now());
    if order.cents < 0 {
        return Err(Failure::permanent("an order for less than nothing (injected)"));
    }
    if job.attempt() <= order.fails {
        return Err(Failure::transient("the payment service did not answer (injected)"));
    }
    let execution = Execution {
        attempt: job.attempt(),
        redelivered: job.message().interrupted > 0,
        started_us: now_us(),
    };
    job.state().pool.book(order.clone(), execution).await.map_err(|error| {
        if is_locked(&error) { Failure::throttled(error, None) } else { Failure::from(error) }
    })?;
    let took = u64::try_from(called.elapsed().as_micros()).unwrap_or(u64::MAX);
    job.state().took_us.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    Ok(())
}

/// Works until standard input ends.
pub(super) async fn run(folder: &Path) -> Result<(), CliError> {
    let store = Store::open(folder.join("queue.db"))
        .map_err(|error| CliError::failed("cannot open the queue", error))?;
    let queue = store.queue(QUEUE).await;
    let queue = queue.map_err(|error| CliError::failed("cannot open the queue", error))?;
    let source = queue.source(&SourceOptions::default().lease(LEASE));
    let took_us = Arc::<Mutex<Vec<u64>>>::default();
    let pool = Pool::new(folder.join("orders.db"));
    let worker = worker(source, State { pool, took_us: took_us.clone() })?;
    let control = worker.control();
    let running = worker.run_until_drained();
    tokio::pin!(running);
    let (mut ticks, mut stdin, mut byte) = (interval(REPORT), tokio::io::stdin(), [0]);
    let mut open = true;
    let ended = loop {
        tokio::select! {
            ended = &mut running => break ended,
            _ = ticks.tick() => report(&control, &took_us)?,
            read = stdin.read(&mut byte), if open => if !matches!(read, Ok(1..)) {
                open = false;
                control.drain();
            },
        }
    };
    report(&control, &took_us)?;
    ended.map_err(|error| CliError::failed("the worker stopped", error))?;
    Ok(())
}

/// Says how it stands.
fn report(control: &Control, took_us: &Mutex<Vec<u64>>) -> Result<(), CliError> {
    let status = control.status();
    let report = Report {
        limit: status.gate.limit,
        retried: status.counts.retried,
        postponed: status.counts.postponed,
        took_us: std::mem::take(&mut *took_us.lock().unwrap_or_else(PoisonError::into_inner)),
    };
    output::line(serde_json::to_string(&report).expect("a report has only numbers in it"))
}

/// Adaptive concurrency, quick retries, the usual breaker.
fn worker(
    source: EmbeddedSource,
    state: State,
) -> Result<Worker<EmbeddedSource, impl forebay::Invoke>, CliError> {
    let refused = |error| CliError::failed("the demo's settings do not hold", error);
    // More than there are connections would wait for one.
    let max = u32::try_from(POOL).expect("it is a small number");
    let limit = Gradient2Settings { max, queue: 2, ..Gradient2Settings::default() };
    let retry = RetrySettings {
        base: Duration::from_millis(200),
        cap: Duration::from_secs(2),
        max_attempts: 6,
        ..RetrySettings::default()
    };
    Worker::builder(source)
        .name("demo")
        .concurrency(Concurrency::gradient2(limit).map_err(refused)?)
        .retry(RetryPolicy::new(retry).map_err(refused)?)
        .timeout(Duration::from_secs(10))
        .drain_timeout(Duration::from_secs(5))
        .state(state)
        .handler(handle)
        .build()
        .map_err(|error| CliError::failed("the demo's settings do not hold", error))
}
