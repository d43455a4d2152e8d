//! What telemetry costs: a worker without any, with metrics, and with metrics and traces of which one
//! in a hundred is sampled.
//!
//! `cargo run --release -p forebay-bench --bin telemetry`
//!
//! By the clock, with a handler that works for 20 µs: ratios within a pair of runs, on a quiet machine.
//! With `--instructions`, under callgrind, with a handler that does nothing: what a message costs more.
//! Spans go to an exporter that throws them away: to send them is another thread's work.

use clap::{Parser, ValueEnum};
use forebay::{Bytes, Failure, Handler, Job, Message, Raw, Worker, policy::Concurrency};
use forebay_bench::{
    callgrind,
    cost::{self, Cost},
    flavor::Flavor,
    loops::{AT_ONCE, until_settled},
    progress,
    table::Table,
};
use forebay_memory::{MemoryOptions, MemoryQueue};
use forebay_telemetry::{About, Telemetry};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter},
};
use std::{
    error::Error,
    hint,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// One trace in a hundred.
const SAMPLED: f64 = 0.01;

#[derive(Parser)]
#[command(about = "What telemetry costs")]
struct Flags {
    /// Messages in each run.
    #[arg(long, default_value_t = 50_000)]
    messages: u64,
    /// How often each is run, in turn.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How long the handler works, in microseconds.
    #[arg(long, default_value_t = 20)]
    micros: u64,
    /// Count instructions instead, of a handler that does nothing.
    #[arg(long)]
    instructions: bool,
    /// Just run this once, as callgrind is to see it.
    #[arg(long, value_enum)]
    alone: Option<With>,
}

/// What is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum With {
    /// No observer.
    Nothing,
    /// Metrics.
    Metrics,
    /// Metrics, and traces.
    Traces,
}

impl With {
    const ALL: [Self; 3] = [Self::Nothing, Self::Metrics, Self::Traces];

    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn telemetry(self) -> Result<Option<Telemetry>, Box<dyn Error>> {
        let builder = Telemetry::builder(About::new("memory", "bench"));
        let builder = match self {
            Self::Nothing => return Ok(None),
            Self::Metrics => builder,
            Self::Traces => {
                let roots = Box::new(Sampler::TraceIdRatioBased(SAMPLED));
                let tracers = SdkTracerProvider::builder()
                    .with_sampler(Sampler::ParentBased(roots))
                    .with_batch_exporter(ThrownAway);
                builder.tracers(tracers.build())
            }
        };
        Ok(Some(builder.build()?))
    }
}

/// Where spans end.
#[derive(Debug)]
struct ThrownAway;

impl SpanExporter for ThrownAway {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        hint::black_box(batch);
        Ok(())
    }
}

/// Works for a while, and counts.
struct Busy {
    left: AtomicU64,
    done: Arc<Notify>,
    work: Duration,
}

impl Handler<Bytes> for Busy {
    async fn handle(&self, job: Job<Bytes>) -> Result<(), Failure> {
        hint::black_box(&job.payload);
        if !self.work.is_zero() {
            let begun = Instant::now();
            while begun.elapsed() < self.work {
                hint::spin_loop();
            }
        }
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.done.notify_one();
        }
        Ok(())
    }
}

async fn run(messages: u64, work: Duration, telemetry: Option<Telemetry>) -> Cost {
    let queue = MemoryQueue::with(MemoryOptions::default().without_notes());
    queue.replay(vec![Message::new(0, "a payload of some bytes")], messages);
    let done = Arc::new(Notify::new());
    let handler = Busy { left: AtomicU64::new(messages), done: done.clone(), work };
    let mut builder =
        Worker::builder(queue.source()).decode(Raw).concurrency(Concurrency::fixed(AT_ONCE as u32));
    if let Some(telemetry) = &telemetry {
        builder = builder.observer(telemetry.observer());
    }
    let worker = builder.handler(handler).build().expect("the queue honours all of this");
    if let Some(telemetry) = &telemetry {
        telemetry.watch(worker.control());
    }
    until_settled(worker, done, messages).await
}

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    if let Some(alone) = flags.alone {
        let (messages, telemetry) = (flags.messages, alone.telemetry()?);
        let run = async move { run(messages, Duration::ZERO, telemetry).await };
        Flavor::Still.run(run)?;
        return Ok(());
    }
    if flags.instructions { instructions(&flags) } else { by_the_clock(&flags) }
}

fn by_the_clock(flags: &Flags) -> Result<(), Box<dyn Error>> {
    let (messages, work) = (flags.messages, Duration::from_micros(flags.micros));
    let mut runs = vec![Vec::new(); With::ALL.len()];
    for round in 0..flags.rounds {
        for (with, own) in With::ALL.iter().zip(&mut runs) {
            progress::show(&format!("{} of {}: {}", round + 1, flags.rounds, with.name()));
            let telemetry = with.telemetry()?;
            own.push(Flavor::Mt2.run(async move { run(messages, work, telemetry).await })?);
        }
    }
    progress::clear();
    cost::table(&With::ALL.map(With::name), Flavor::Mt2, &runs).print()?;
    Ok(())
}

fn instructions(flags: &Flags) -> Result<(), Box<dyn Error>> {
    let mut table = Table::new(&["", "instructions a message"]);
    for with in With::ALL {
        progress::show(&with.name());
        let count = |messages: u64| {
            let profile = std::env::temp_dir().join(format!("callgrind.telemetry.{}", with.name()));
            let (alone, messages) = (with.name(), messages.to_string());
            let args = ["--alone".into(), alone, "--messages".into(), messages];
            callgrind::instructions_of_self(&args, &profile)
        };
        let (short, long) = (count(flags.messages)?, count(2 * flags.messages)?);
        table.row([with.name(), (long.saturating_sub(short) / flags.messages.max(1)).to_string()]);
    }
    progress::clear();
    table.print()?;
    Ok(())
}
