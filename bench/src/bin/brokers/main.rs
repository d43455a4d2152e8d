//! What a message costs on a real broker: received, handled by a handler that does nothing, settled;
//! beside the best loop written by hand on the same client, in the same run.
//!
//! `cargo run --release -p forebay-bench --features brokers --bin brokers -- rabbitmq`
//! (for SQS with `AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test` before it: emulators take any)
//!
//! The brokers are those of `scripts/brokers`, and share the processors with the client. The clock
//! runs from the first message received to the last one settled, so that joining a consumer group
//! or opening a connection does not count. Wall time says who keeps up with the broker; processor
//! time says what this process spent.

mod kafka;
mod lane;
mod rabbitmq;
mod sqs;

use clap::{Parser, ValueEnum};
use forebay_bench::{cost::Cost, median::median, progress, table::Table};
use lane::{Broker, Load, Work};
use std::{error::Error, time::Duration};

type Fault = Box<dyn Error + Send + Sync>;

#[derive(Parser)]
#[command(about = "Measures each adapter beside a bare loop on the same client")]
struct Flags {
    /// Which broker.
    broker: Which,
    /// Messages in each run.
    #[arg(long, default_value_t = 100_000)]
    messages: u64,
    /// Bytes of payload.
    #[arg(long, default_values_t = [100, 1024])]
    bytes: Vec<usize>,
    /// Microseconds of work in the handler.
    #[arg(long, default_values_t = [0, 20])]
    work: Vec<u64>,
    /// How often each case is run, bare and Forebay in turn.
    #[arg(long, default_value_t = 9)]
    pairs: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    Kafka,
    Rabbitmq,
    Sqs,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Fault> {
    let flags = Flags::parse();
    match flags.broker {
        Which::Kafka => measure(&kafka::Kafka::new(), &flags).await,
        Which::Rabbitmq => measure(&rabbitmq::RabbitMq::connect().await?, &flags).await,
        Which::Sqs => measure(&sqs::Sqs::connect().await, &flags).await,
    }
}

async fn measure<B: Broker>(broker: &B, flags: &Flags) -> Result<(), Fault> {
    let mut table = Table::new(&[
        "payload",
        "handler",
        "bare, messages/s",
        "Forebay, messages/s",
        "ratio",
        "bare, µs of CPU",
        "Forebay, µs of CPU",
        "more",
    ]);
    for &bytes in &flags.bytes {
        for &micros in &flags.work {
            let load = Load { messages: flags.messages, bytes };
            let work = Work::of(Duration::from_micros(micros));
            let mut runs: [Vec<Cost>; 2] = [vec![], vec![]];
            for pair in 1..=flags.pairs {
                for (lane, runs) in runs.iter_mut().enumerate() {
                    let who = ["bare", "Forebay"][lane];
                    progress::show(&format!("{bytes} bytes, {micros} µs, pair {pair}: {who}"));
                    runs.push(lane::run(broker, lane == 1, load, work).await?);
                }
            }
            let [bare, ours] = &runs;
            let middle = |of: &dyn Fn(&Cost) -> f64, runs: &[Cost]| {
                median(runs.iter().map(of).collect()).unwrap_or(f64::NAN)
            };
            let rate = |cost: &Cost| 1e9 / cost.wall;
            let cpu = |cost: &Cost| cost.cpu / 1e3;
            let pairs = || bare.iter().zip(ours);
            let ratio = median(pairs().map(|(bare, ours)| bare.wall / ours.wall).collect());
            let more = median(pairs().map(|(bare, ours)| (ours.cpu - bare.cpu) / 1e3).collect());
            table.row([
                format!("{bytes} B"),
                if micros == 0 { "no-op".to_owned() } else { format!("{micros} µs") },
                format!("{:.0}", middle(&rate, bare)),
                format!("{:.0}", middle(&rate, ours)),
                format!("{:.2}", ratio.unwrap_or(f64::NAN)),
                format!("{:.2}", middle(&cpu, bare)),
                format!("{:.2}", middle(&cpu, ours)),
                format!("{:+.2}", more.unwrap_or(f64::NAN)),
            ]);
        }
    }
    progress::clear();
    table.print()?;
    Ok(())
}
