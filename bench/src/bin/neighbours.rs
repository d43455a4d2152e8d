//! Whether a handler that hogs the processor, or blocks, holds up the others.
//!
//! `cargo run --release -p forebay-bench --bin neighbours`
//!
//! Messages come at a steady rate; every so many-th takes long without ever waiting. What counts is
//! how long after it was due each of the *others* starts, in Forebay and in a loop that polls inline
//! and keeps the rest in a `FuturesUnordered`. On one thread nothing could help; so on two.

use bytes::Bytes;
use clap::Parser;
use forebay::{
    Delivery, Failure, Handler, Job, Outgoing, Raw, Settlement, Sink, Source, Verdict, Want,
    Worker, policy::Concurrency,
};
use forebay_bench::{
    flavor::Flavor, loops::AT_ONCE, median::median, progress, table::Table, waits::Waits,
};
use forebay_memory::{MemoryOptions, MemoryQueue};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use std::{
    error::Error,
    fmt, hint,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::sync::Notify;

#[derive(Parser)]
#[command(about = "Measures how long messages wait beside a handler that hogs the processor")]
struct Flags {
    /// Messages in each run.
    #[arg(long, default_value_t = 200_000)]
    messages: u64,
    /// Messages per second.
    #[arg(long, default_value_t = 20_000)]
    rate: u32,
    /// One message in so many hogs.
    #[arg(long, default_value_t = 1000)]
    every: u64,
    /// For how long it does, in milliseconds.
    #[arg(long, default_value_t = 20)]
    hog_ms: u64,
    /// How often each case is run; the median is told.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// What every so many-th message does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hog {
    Nothing,
    Computes(Duration),
    Blocks(Duration),
}

impl Hog {
    fn act(self) {
        match self {
            Self::Nothing => {}
            Self::Computes(time) => {
                let start = Instant::now();
                while start.elapsed() < time {
                    hint::spin_loop();
                }
            }
            Self::Blocks(time) => thread::sleep(time),
        }
    }
}

impl fmt::Display for Hog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("does nothing"),
            Self::Computes(time) => write!(f, "computes for {time:?}"),
            Self::Blocks(time) => write!(f, "blocks for {time:?}"),
        }
    }
}

/// The handler of both loops. A payload is the nanosecond, from the start, when it was due.
struct Stage {
    start: Instant,
    hog: Hog,
    waits: Waits,
    left: AtomicU64,
    done: Notify,
}

impl Stage {
    fn run(&self, payload: &[u8]) {
        let due = payload.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        if payload.len() > size_of::<u64>() {
            self.hog.act();
        } else {
            self.waits.note(self.start.elapsed().saturating_sub(Duration::from_nanos(due)));
        }
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.done.notify_one();
        }
    }
}

/// Forebay's handler is this one.
struct Handle(Arc<Stage>);

impl Handler<Bytes> for Handle {
    async fn handle(&self, job: Job<Bytes>) -> Result<(), Failure> {
        self.0.run(&job.payload);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    let time = Duration::from_millis(flags.hog_ms);
    let head = format!("one in {}", flags.every);
    let mut table =
        Table::new(&["loop", &head, "p50 wait", "p99 wait", "p99.9 wait", "waited over 1 ms"]);
    for hog in [Hog::Nothing, Hog::Computes(time), Hog::Blocks(time)] {
        for ours in [true, false] {
            let name = if ours { "Forebay" } else { "inline, then FuturesUnordered" };
            progress::show(&format!("{name}, {hog}"));
            let (quantiles, late) = measure(&flags, hog, ours)?;
            let cells = quantiles.map(|wait| format!("{wait:.1?}"));
            let late = format!("{:.2} %", late * 100.0);
            let head = [name.to_owned(), hog.to_string()];
            table.row(head.into_iter().chain(cells).chain([late]));
        }
    }
    progress::clear();
    table.print()?;
    Ok(())
}

/// The waits of the others: their median, 99th and 99.9th percentile, and the share of those over a
/// millisecond, each the median of the runs.
fn measure(flags: &Flags, hog: Hog, ours: bool) -> Result<([Duration; 3], f64), Box<dyn Error>> {
    let (mut runs, mut late) = (Vec::new(), Vec::new());
    for _ in 0..flags.runs.max(1) {
        let queue = MemoryQueue::with(MemoryOptions::default().without_notes());
        let stage = Arc::new(Stage {
            start: Instant::now(),
            hog,
            waits: Waits::default(),
            left: AtomicU64::new(flags.messages),
            done: Notify::new(),
        });
        let producer = thread::spawn({
            let (queue, start) = (queue.clone(), stage.start);
            let (messages, every, rate) = (flags.messages, flags.every, flags.rate);
            move || produce(&queue, start, messages, every, rate)
        });
        let run = stage.clone();
        if ours {
            Flavor::Mt2.run(async move { forebay(&queue, run).await })?;
        } else {
            Flavor::Mt2.run(async move { unordered(&queue, run).await })?;
        }
        producer.join().map_err(|_| "the producer panicked")?;
        late.push(stage.waits.share_above(Duration::from_millis(1)));
        runs.push([0.5, 0.99, 0.999].map(|share| stage.waits.quantile(share)));
    }
    let middle = |i: usize| {
        let mut each: Vec<_> = runs.iter().map(|run| run[i]).collect();
        each.sort_unstable();
        each[each.len() / 2]
    };
    let late = median(late).unwrap_or(f64::NAN);
    Ok(([middle(0), middle(1), middle(2)], late))
}

/// Publishes from a thread of its own, which no handler can hold up.
fn produce(queue: &MemoryQueue, start: Instant, messages: u64, every: u64, rate: u32) {
    let gap = Duration::from_secs(1) / rate.max(1);
    let mut next = 0;
    while next < messages {
        let mut batch = Vec::new();
        let now = start.elapsed();
        while next < messages && gap * u32::try_from(next).unwrap_or(u32::MAX) <= now {
            let due = gap * u32::try_from(next).unwrap_or(u32::MAX);
            let mut payload = (due.as_nanos() as u64).to_le_bytes().to_vec();
            if next % every == every - 1 {
                payload.push(1); // a hog
            }
            batch.push(Outgoing::new(payload));
            next += 1;
        }
        // The queue in memory takes everything at once.
        let published = queue.publish(&batch).now_or_never();
        assert!(published.is_some_and(|results| results.iter().all(Result::is_ok)));
        thread::sleep(Duration::from_micros(200));
    }
}

async fn forebay(queue: &MemoryQueue, stage: Arc<Stage>) {
    let worker = Worker::builder(queue.source())
        .decode(Raw)
        .handler(Handle(stage.clone()))
        .concurrency(Concurrency::fixed(AT_ONCE as u32))
        .build()
        .expect("the queue in memory honours all of this");
    let control = worker.control();
    let running = tokio::spawn(worker.run_until_drained());
    stage.done.notified().await;
    control.drain();
    let ended = running.await;
    assert!(ended.is_ok_and(|ended| ended.is_ok()), "the worker ends well");
}

/// Receives, polls inline and keeps what waits, settles what is done.
async fn unordered(queue: &MemoryQueue, stage: Arc<Stage>) {
    let source = queue.source();
    let (mut inbox, mut calls) = (Vec::new(), FuturesUnordered::new());
    let mut done = 0;
    while stage.left.load(Ordering::Relaxed) > 0 {
        let want = Want { messages: AT_ONCE, bytes: 64 << 20 };
        if source.receive(want, &mut inbox).await.is_err() {
            break;
        }
        for Delivery { message, receipt, .. } in inbox.drain(..) {
            let stage = stage.clone();
            calls.push(async move {
                stage.run(&message.payload);
                Settlement { receipt, message, verdict: Verdict::Ack }
            });
        }
        let mut batch = Vec::new();
        while let Some(settlement) = calls.next().await {
            batch.push(settlement);
        }
        done += source.settle(&batch).await.len();
    }
    hint::black_box(done);
}
