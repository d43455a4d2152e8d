//! One run on one queue: filled, consumed by the bare loop, by Forebay or by a peer, removed.

use crate::{Fault, peer::Peer};
use bytes::Bytes;
use clap::ValueEnum;
use forebay::{Failure, Handler, Job, Raw, Source, Worker, policy::Concurrency};
use forebay_bench::cost::{Cost, Stopwatch};
use std::{
    fmt,
    hint::black_box,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// How many handlers may run at once, in either lane.
pub(crate) const AT_ONCE: u32 = 64;
/// A run that takes longer has hung.
const PATIENCE: Duration = Duration::from_secs(300);

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
    pub(crate) const NONE: Self = Self(None);

    pub(crate) fn of(time: Duration) -> Self {
        Self((!time.is_zero()).then_some(time))
    }

    pub(crate) fn micros(self) -> u128 {
        self.0.unwrap_or_default().as_micros()
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

    /// How a peer calls it, and where it is.
    fn address(&self) -> (&'static str, &str);

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

/// Who consumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lane {
    Bare,
    Forebay,
    #[value(skip)]
    Peer,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bare => "bare",
            Self::Forebay => "Forebay",
            Self::Peer => "peer",
        })
    }
}

impl Lane {
    /// Those that run in this process.
    pub(crate) const OWN: [Self; 2] = [Self::Bare, Self::Forebay];

    /// Consumes a queue that holds the load.
    pub(crate) async fn consume<B: Broker>(
        self,
        broker: &B,
        queue: &str,
        load: Load,
        work: Work,
        peer: Option<&Peer>,
    ) -> Result<Cost, Fault> {
        match self {
            Self::Bare => broker.bare(queue, load, work).await,
            Self::Forebay => forebay(broker.source(queue).await?, load.messages, work).await,
            Self::Peer => {
                let peer = peer.ok_or("--peer: which program?")?;
                peer.consume(broker.address(), queue, load, work).await
            }
        }
    }
}

pub(crate) async fn run<B: Broker>(
    broker: &B,
    lane: Lane,
    load: Load,
    work: Work,
    peer: Option<&Peer>,
) -> Result<Cost, Fault> {
    let queue = broker.filled(load).await?;
    let cost = tokio::time::timeout(PATIENCE, lane.consume(broker, &queue, load, work, peer)).await;
    let cost = cost.map_err(|_| format!("a run on {queue} hung for {PATIENCE:?}"))?;
    broker.remove(&queue).await?;
    cost
}

/// A handler's count of what it has seen, and the clock that the first message starts.
pub(crate) struct Seen {
    work: Work,
    messages: u64,
    begun: OnceLock<Stopwatch>,
    seen: AtomicU64,
    all: Notify,
}

impl Seen {
    pub(crate) fn new(work: Work, messages: u64) -> Arc<Self> {
        let (begun, seen, all) = (OnceLock::new(), AtomicU64::new(0), Notify::new());
        Arc::new(Self { work, messages, begun, seen, all })
    }

    pub(crate) fn handle(&self, payload: &[u8]) {
        self.begun.get_or_init(Stopwatch::start);
        self.work.on(payload);
        if self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.messages {
            self.all.notify_one();
        }
    }

    /// Waits for the last message.
    pub(crate) async fn all(&self) {
        self.all.notified().await;
    }

    /// What each has cost until now.
    pub(crate) fn each(&self) -> Result<Cost, Fault> {
        let begun = self.begun.get().ok_or("no message came")?;
        Ok(begun.each(self.messages))
    }
}

struct Counting(Arc<Seen>);

impl Handler<Bytes> for Counting {
    async fn handle(&self, job: Job<Bytes>) -> Result<(), Failure> {
        self.0.handle(&job.payload);
        Ok(())
    }
}

async fn forebay<S: Source>(source: S, messages: u64, work: Work) -> Result<Cost, Fault> {
    let seen = Seen::new(work, messages);
    let worker = Worker::builder(source)
        .decode(Raw)
        .handler(Counting(seen.clone()))
        .concurrency(Concurrency::fixed(AT_ONCE))
        .window(AT_ONCE as usize * 16, 64 << 20)
        .build()?;
    let control = worker.control();
    let mut running = tokio::spawn(worker.run_until_drained());
    tokio::select! {
        () = seen.all() => {}
        ended = &mut running => {
            ended??;
            return Err("the worker ended before the last message".into());
        }
    }
    while control.status().counts.acked < messages {
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    let cost = seen.each();
    control.drain();
    running.await??;
    cost
}
