//! The worker, and the messages.

use super::{Fault, bed::ACCOUNTS};
use bytes::Bytes;
use forebay::{
    Control, DrainReport, Failure, Gate, Job, Outgoing, Raw, RunError, Sink, Source, Worker,
    policy::{
        Breaker, BreakerSettings, Concurrency, Gradient2Settings, RetryPolicy, RetrySettings,
    },
};
use forebay_memory::MemoryQueue;
use forebay_postgres::{Inbox, InboxOptions, PgPool, PoolOptions, Transaction, types::Type};
use hdrhistogram::Histogram;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// Connections, and so the most that the limit can be.
pub const CONNECTIONS: u32 = 64;
/// How long a handler, a statement and a wait for a lock may take: what a hung database costs before
/// the breaker hears of it.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How often messages that have become due are published.
const PACE: Duration = Duration::from_millis(5);

/// What takes longer counts as this: a minute, in microseconds.
const MOST_MICROS: u64 = 60_000_000;

/// How long the handler's transactions took, in microseconds.
pub type Latency = Arc<Mutex<Histogram<u64>>>;

/// An adaptive limit with the settings that one has by default, and as many connections as there are.
///
/// # Errors
/// None: the settings are sound.
pub fn adaptive() -> Result<Concurrency, Fault> {
    let settings = Gradient2Settings { max: CONNECTIONS, ..Gradient2Settings::default() };
    Ok(Concurrency::gradient2(settings)?)
}

/// Opens when five calls fail in a row, since a share of ten seconds' calls says nothing of a database
/// that has just stopped; and looks every two seconds at least whether that is over.
fn breaker() -> Result<Breaker, Fault> {
    Ok(Breaker::new(BreakerSettings {
        consecutive_failures: Some(5),
        open_for: Duration::from_millis(500),
        longest_open: Duration::from_secs(2),
        probe_timeout: 3 * PATIENCE,
        ..BreakerSettings::default()
    })?)
}

/// Failed messages come again soon and without end: this is about limits, not about patience.
fn retry() -> Result<RetryPolicy, Fault> {
    Ok(RetryPolicy::new(RetrySettings {
        base: Duration::from_millis(50),
        cap: Duration::from_secs(1),
        max_attempts: 10_000,
        ..RetrySettings::default()
    })?)
}

/// A worker at work, and its queue.
#[derive(Debug)]
pub struct Work {
    /// The worker's queue.
    pub queue: MemoryQueue,
    /// The worker's control.
    pub control: Control,
    /// How long its transactions took that ended well.
    pub latency: Latency,
    running: JoinHandle<Result<DrainReport, RunError>>,
}

#[derive(Clone)]
struct State {
    inbox: Inbox,
    latency: Latency,
    sums: u32,
}

impl Work {
    /// Starts a worker before the server at `url`. Each message also sums up so many accounts, fewer
    /// than there are, which takes a processor of the server about 0.1 microseconds each.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn start(url: &str, limit: Concurrency, sums: u32) -> Result<Self, Fault> {
        let options = PoolOptions::new(url)
            .connections(CONNECTIONS)
            .wait(PATIENCE / 2)
            .statement_timeout(PATIENCE)
            .lock_timeout(PATIENCE / 2);
        let pool = PgPool::connect(options).await?;
        let queue = MemoryQueue::new();
        let source = queue.source();
        let options = InboxOptions::new("knee").retry(retry()?);
        let inbox = Inbox::open(&pool, source.capabilities(), options).await?;
        let gate = Gate::with(limit, None, Some(breaker()?));
        pool.bound(&gate);
        let latency = Latency::new(Mutex::new(Histogram::new_with_bounds(1, MOST_MICROS, 3)?));
        let worker = Worker::builder(source)
            .name("knee")
            .decode(Raw)
            .retry(retry()?)
            .gate(gate)
            .timeout(PATIENCE)
            .state(State { inbox, latency: latency.clone(), sums })
            .handler(book)
            .build()?;
        let control = worker.control();
        let running = tokio::spawn(worker.run_until_drained());
        Ok(Self { queue, control, latency, running })
    }

    /// Publishes `rate` messages a second for as long as `during` takes, whatever becomes of them, and
    /// says how many there were. `from` is the number of the first.
    ///
    /// # Errors
    /// When the queue takes one not.
    pub async fn arrive(
        &self,
        rate: f64,
        from: u64,
        during: impl Future<Output = Result<(), Fault>>,
    ) -> Result<u64, Fault> {
        let start = Instant::now();
        let mut sent = 0;
        let mut ticks = tokio::time::interval(PACE);
        let mut during = std::pin::pin!(during);
        loop {
            tokio::select! {
                biased;
                over = &mut during => return over.map(|()| sent),
                _ = ticks.tick() => {
                    let due = (start.elapsed().as_secs_f64() * rate) as u64;
                    self.publish(from + sent..from + due).await?;
                    sent = due;
                }
            }
        }
    }

    /// Publishes the messages with these numbers.
    ///
    /// # Errors
    /// When the queue takes one not.
    pub async fn publish(&self, numbers: std::ops::Range<u64>) -> Result<(), Fault> {
        let messages: Vec<_> = numbers.map(|n| Outgoing::new(n.to_string())).collect();
        for published in self.queue.publish(&messages).await {
            published?;
        }
        Ok(())
    }

    /// Waits until nothing is left to do.
    ///
    /// # Errors
    /// When there still is, after `within`.
    pub async fn done(&self, within: Duration) -> Result<Duration, Fault> {
        let start = Instant::now();
        loop {
            let left = self.queue.backlog().outstanding();
            match left {
                0 => return Ok(start.elapsed()),
                _ if start.elapsed() > within => {
                    return Err(format!("{left} messages are left after {within:?}").into());
                }
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Drains the worker, and waits for its end.
    ///
    /// # Errors
    /// When it did not end well.
    pub async fn stop(self) -> Result<(), Fault> {
        self.control.drain();
        self.running.await??;
        Ok(())
    }
}

async fn book(job: Job<Bytes, State>) -> Result<(), Failure> {
    let State { inbox, latency, sums } = job.state();
    let message = String::from_utf8_lossy(&job.payload).into_owned();
    let number: u64 = message.parse().map_err(Failure::permanent)?;
    // Far apart, so that neighbours in time are none in the table.
    let account = number.wrapping_mul(7919) % u64::from(ACCOUNTS);
    let first = account.min(u64::from(ACCOUNTS.saturating_sub(*sums)));
    let id = |account: u64| i32::try_from(account).map_err(Failure::permanent);
    let (account, first, end) = (id(account)?, id(first)?, id(first + u64::from(*sums))?);
    let start = Instant::now();
    let work = async |tx: &Transaction| {
        if *sums > 0 {
            let sql = "SELECT sum(balance) FROM accounts WHERE id >= $1 AND id < $2";
            tx.query(sql, &[(&first, Type::INT4), (&end, Type::INT4)]).await?;
        }
        let sql = "UPDATE accounts SET balance = balance + 1 WHERE id = $1";
        tx.execute(sql, &[(&account, Type::INT4)]).await?;
        tx.execute("INSERT INTO effects VALUES ($1)", &[(&message, Type::TEXT)]).await
    };
    inbox.run(&job, work).await?;
    let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    latency.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros);
    Ok(())
}
