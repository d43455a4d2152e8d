//! One run on one queue: filled, consumed by the bare loop or by Forebay, removed.

use crate::Fault;
use bytes::Bytes;
use forebay::{Failure, Handler, Job, Raw, Source, Worker, policy::Concurrency};
use forebay_bench::cost::{Cost, Stopwatch};
use std::{
    hint::black_box,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How many handlers may run at once, in either lane.
pub(crate) const AT_ONCE: u32 = 64;
/// A run that takes longer has hung.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is consumed in a run.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) messages: u64,
    pub(crate) bytes: usize,
}

/// What the handler does: it keeps a processor busy for so long.
#[derive(Clone, Copy)]
pub(crate) struct Work(Option<Duration>);

impl Work {
    pub(crate) fn of(time: Duration) -> Self {
        Self((!time.is_zero()).then_some(time))
    }

    pub(crate) fn on(self, payload: &[u8]) {
        black_box(payload);
        if let Some(time) = self.0 {
            let start = Instant::now();
            while start.elapsed() < time {
                std::hint::spin_loop();
            }
        }
    }
}

/// A broker, and the best loop that can be written by hand on its client.
pub(crate) trait Broker {
    type Source: Source;

    /// A new queue that holds the load.
    async fn filled(&self, load: Load) -> Result<String, Fault>;

    /// Consumes it with the bare client; the clock runs from the first message to the last
    /// acknowledgement.
    async fn bare(&self, queue: &str, load: Load, work: Work) -> Result<Cost, Fault>;

    /// Opens it with the adapter.
    async fn source(&self, queue: &str) -> Result<Self::Source, Fault>;

    /// Removes it.
    async fn remove(&self, queue: &str) -> Result<(), Fault>;
}

pub(crate) async fn run<B: Broker>(
    broker: &B,
    ours: bool,
    load: Load,
    work: Work,
) -> Result<Cost, Fault> {
    let queue = broker.filled(load).await?;
    let cost = tokio::time::timeout(PATIENCE, async {
        if ours {
            forebay(broker.source(&queue).await?, load.messages, work).await
        } else {
            broker.bare(&queue, load, work).await
        }
    });
    let cost = cost.await.map_err(|_| format!("a run on {queue} hung for {PATIENCE:?}"))?;
    broker.remove(&queue).await?;
    cost
}

struct Counting {
    work: Work,
    begun: Arc<OnceLock<Stopwatch>>,
    seen: AtomicU64,
}

impl Handler<Bytes> for Counting {
    async fn handle(&self, job: Job<Bytes>) -> Result<(), Failure> {
        self.begun.get_or_init(Stopwatch::start);
        self.work.on(&job.payload);
        self.seen.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

async fn forebay<S: Source>(source: S, messages: u64, work: Work) -> Result<Cost, Fault> {
    let begun = Arc::new(OnceLock::new());
    let handler = Counting { work, begun: begun.clone(), seen: AtomicU64::new(0) };
    let worker = Worker::builder(source)
        .decode(Raw)
        .handler(handler)
        .concurrency(Concurrency::fixed(AT_ONCE))
        .window(AT_ONCE as usize * 16, 64 << 20)
        .build()?;
    let control = worker.control();
    let running = tokio::spawn(worker.run_until_drained());
    while control.status().counts.acked < messages && !running.is_finished() {
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    let cost = begun.get().map(|begun| begun.each(messages));
    control.drain();
    running.await??;
    cost.ok_or_else(|| "no message came".into())
}
