//! Forebay beside its nearest rival, RustStream, each on its own queue in memory.
//!
//! `cargo run --release -p forebay-bench --features peers --bin peers`
//!
//! RustStream is told to do nothing but what it does by default: raw bytes, no layers. Its broker
//! keeps what is published, so all messages at once would fill the memory and none would be in the
//! cache: they come in rounds of 1,024, as many as the queue that Forebay reads from keeps for use
//! again. Publishing is not timed; a handler that arrives early waits at a gate.

use clap::Parser;
use forebay_bench::{
    cost::{self, Cost, Stopwatch},
    flavor::Flavor,
    loops::{Loop, PAYLOAD},
    progress,
};
use ruststream::{
    HeaderMap, OutgoingMessage, Publisher, Str,
    memory::{MemoryPublisher, PARTITION_KEY_HEADER, prelude::*},
    runtime::{BrokerScope, Identity},
};
use std::{
    convert::Infallible,
    error::Error,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::Notify;

/// Keys of the run by key.
const KEYS: u64 = 16;
/// Messages of a round.
const ROUND: u64 = 1024;

#[derive(Parser)]
#[command(about = "Measures Forebay beside RustStream 0.7.7, in interleaved runs")]
struct Flags {
    /// Messages in each run.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// How often each is run.
    #[arg(long, default_value_t = 15)]
    pairs: usize,
    /// Only these runtimes.
    #[arg(long, value_enum, default_values_t = Flavor::ALL)]
    flavor: Vec<Flavor>,
}

/// What a table compares.
#[derive(Clone, Copy, Debug)]
enum Entrant {
    Ours(Loop),
    Sequential,
    Workers4,
    Workers64,
    ByKey,
}

const ENTRANTS: [(&str, Entrant); 8] = [
    ("Forebay, 64 at once", Entrant::Ours(Loop::Forebay)),
    ("RustStream, sequential", Entrant::Sequential),
    ("RustStream, workers(4)", Entrant::Workers4),
    ("RustStream, workers(64)", Entrant::Workers64),
    ("Forebay, by key, 16 keys", Entrant::Ours(Loop::ForebayFewKeys)),
    ("Forebay, by key, 100,000 keys", Entrant::Ours(Loop::ForebayByKey)),
    ("RustStream, workers(4, by_key), 16 keys", Entrant::ByKey),
    ("spawn + semaphore", Entrant::Ours(Loop::SpawnSemaphore)),
];

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    for &flavor in &flags.flavor {
        let mut runs = vec![Vec::new(); ENTRANTS.len()];
        for pair in 0..flags.pairs {
            for ((name, entrant), runs) in ENTRANTS.iter().zip(&mut runs) {
                progress::show(&format!("{flavor}, pair {} of {}: {name}", pair + 1, flags.pairs));
                runs.push(entrant.run(flavor, flags.messages)?);
            }
        }
        progress::clear();
        let names = ENTRANTS.map(|(name, _)| name.to_owned());
        cost::table(&names, flavor, &runs).print()?;
    }
    Ok(())
}

impl Entrant {
    /// What a message costs.
    fn run(self, flavor: Flavor, messages: u64) -> Result<Cost, Box<dyn Error>> {
        match self {
            Self::Ours(each) => Ok(flavor.run(async move { each.run(messages).await })?),
            Self::Sequential => measure(flavor, messages, false, |b| {
                b.include(sequential);
            }),
            Self::Workers4 => measure(flavor, messages, false, |b| {
                b.include(workers_4);
            }),
            Self::Workers64 => measure(flavor, messages, false, |b| {
                b.include(workers_64);
            }),
            Self::ByKey => measure(flavor, messages, true, |b| {
                b.include(by_key);
            }),
        }
    }
}

/// The payload, borrowed.
#[derive(Deserialized)]
struct Frame<'a>(&'a [u8]);

/// What all handlers share.
#[derive(Clone, Debug)]
struct Stage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    open: AtomicBool,
    opened: Notify,
    left: AtomicU64,
    done: Notify,
}

impl Stage {
    /// Opens the gate.
    fn open(&self) {
        self.0.open.store(true, Ordering::Release);
        self.0.opened.notify_waiters();
    }

    async fn handle(&self, payload: &[u8]) {
        while !self.0.open.load(Ordering::Acquire) {
            let opened = self.0.opened.notified();
            if !self.0.open.load(Ordering::Acquire) {
                opened.await;
            }
        }
        black_box(payload);
        if self.0.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.done.notify_one();
        }
    }
}

#[subscriber("bench")]
async fn sequential(frame: &Frame<'_>, ctx: &mut Context<'_, (), Stage>) -> HandlerOutcome {
    ctx.state().handle(frame.0).await;
    HandlerOutcome::ack()
}

#[subscriber("bench", workers(4))]
async fn workers_4(frame: &Frame<'_>, ctx: &mut Context<'_, (), Stage>) -> HandlerOutcome {
    ctx.state().handle(frame.0).await;
    HandlerOutcome::ack()
}

#[subscriber("bench", workers(64))]
async fn workers_64(frame: &Frame<'_>, ctx: &mut Context<'_, (), Stage>) -> HandlerOutcome {
    ctx.state().handle(frame.0).await;
    HandlerOutcome::ack()
}

#[subscriber("bench", workers(4, by_key))]
async fn by_key(frame: &Frame<'_>, ctx: &mut Context<'_, (), Stage>) -> HandlerOutcome {
    ctx.state().handle(frame.0).await;
    HandlerOutcome::ack()
}

/// Starts a service, and times how long it takes to empty its queue, round after round. Messages
/// have keys if `keyed`.
fn measure(
    flavor: Flavor,
    messages: u64,
    keyed: bool,
    mount: impl FnOnce(&mut BrokerScope<MemoryBroker, Identity, (), Stage>),
) -> Result<Cost, Box<dyn Error>> {
    let stage = Stage(Arc::new(Inner {
        open: AtomicBool::new(false),
        opened: Notify::new(),
        left: AtomicU64::new(0),
        done: Notify::new(),
    }));
    let (state, broker) = (stage.clone(), MemoryBroker::new());
    let app = RustStream::new(AppInfo::new("bench", "0.1.0"))
        .on_startup(async move |()| Ok::<_, Infallible>(state))
        .with_broker(broker.clone(), mount);
    let runtime = flavor.build()?;
    runtime.block_on(async {
        let running = app.start().await?;
        let publisher = broker.publisher();
        let rounds = messages.div_ceil(ROUND);
        let mut total = Cost::default();
        for _ in 0..rounds {
            stage.0.left.store(ROUND, Ordering::Release);
            publish(&publisher, keyed).await?;
            let start = Stopwatch::start();
            stage.open();
            stage.0.done.notified().await;
            total = total + start.each(ROUND);
            stage.0.open.store(false, Ordering::Release);
        }
        running.shutdown().await?;
        Ok(total / rounds as f64)
    })
}

/// Publishes one round.
async fn publish(publisher: &MemoryPublisher, keyed: bool) -> Result<(), Box<dyn Error>> {
    let payload = PAYLOAD;
    for number in 0..ROUND {
        let mut message = OutgoingMessage::new("bench", &payload[..]);
        if keyed {
            let mut headers = HeaderMap::new();
            let key = (number % KEYS).to_string();
            headers.insert(Str::from_static(PARTITION_KEY_HEADER), key);
            message = message.with_headers(headers);
        }
        publisher.publish(message, None).await?;
    }
    Ok(())
}
