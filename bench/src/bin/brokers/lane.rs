//! One run on one queue: filled, consumed by the bare loop, by Forebay or by a peer, removed.

use crate::{Fault, peer::Peer};
use bytes::Bytes;
use clap::ValueEnum;
use forebay::{Failure, Handler, Job, Raw, Source, Worker, policy::Concurrency};
use forebay_bench::{
    cost::Cost,
    seen::{Seen, Work},
};
use std::{fmt, sync::Arc, time::Duration};

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

/// A loop of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lane {
    Bare,
    Forebay,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bare => "bare",
            Self::Forebay => "Forebay",
        })
    }
}

impl Lane {
    pub(crate) const ALL: [Self; 2] = [Self::Bare, Self::Forebay];

    /// Consumes a queue that holds the load.
    pub(crate) async fn consume<B: Broker>(
        self,
        broker: &B,
        queue: &str,
        load: Load,
        work: Work,
    ) -> Result<Cost, Fault> {
        match self {
            Self::Bare => broker.bare(queue, load, work).await,
            Self::Forebay => forebay(broker.source(queue).await?, load.messages, work).await,
        }
    }
}

/// Who consumes in a run.
pub(crate) enum Consumer {
    Own(Lane),
    Peer(Peer),
}

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(lane) => lane.fmt(f),
            Self::Peer(_) => f.pad("peer"),
        }
    }
}

pub(crate) async fn run<B: Broker>(
    broker: &B,
    consumer: &Consumer,
    load: Load,
    work: Work,
) -> Result<Cost, Fault> {
    let queue = broker.filled(load).await?;
    let consumed = async {
        match consumer {
            Consumer::Own(lane) => lane.consume(broker, &queue, load, work).await,
            Consumer::Peer(peer) => peer.consume(broker.address(), &queue, load, work).await,
        }
    };
    let cost = tokio::time::timeout(PATIENCE, consumed).await;
    let cost = cost.map_err(|_| format!("a run on {queue} hung for {PATIENCE:?}"))?;
    broker.remove(&queue).await?;
    cost
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
    cost.ok_or_else(|| "no message came".into())
}
