//! What a message costs on a real broker: received, handled by a handler that does nothing, settled;
//! beside the best loop written by hand on the same client, in the same run.
//!
//! `cargo run --release -p forebay-bench --features brokers --bin brokers -- rabbitmq`
//! (for SQS with `AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test` before it: emulators take any)
//!
//! The brokers are those of `scripts/brokers`, and share the processors with the client. The clock
//! runs from the first message received to the last one settled, so that joining a consumer group
//! or opening a connection does not count. Wall time says who keeps up with the broker; processor
//! time says what this process spent. On a busy machine neither says much: `--instructions` then does.

mod instructions;
mod kafka;
mod lane;
mod pairs;
mod peer;
mod rabbitmq;
mod sqs;

use clap::{Parser, ValueEnum};
use lane::{Broker, Lane};
use std::{error::Error, path::PathBuf};

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
    /// How often each case is run, the lanes in turn.
    #[arg(long, default_value_t = 9)]
    pairs: usize,
    /// A program that consumes the same as a third: bench/mq-bridge is one, and says how.
    #[arg(long)]
    peer: Option<PathBuf>,
    /// RabbitMQ: classic queues in place of quorum queues, for a peer that knows no others.
    #[arg(long)]
    classic: bool,
    /// Count the instructions of a message under callgrind instead, without work in the handler: the
    /// difference between `messages` and a quarter of them.
    #[arg(long)]
    instructions: bool,
    /// Where to leave the profiles, for callgrind_annotate.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    profiles: PathBuf,
    /// Just consume `--queue` in this way once, as callgrind is to see it.
    #[arg(long, requires = "queue")]
    alone: Option<Lane>,
    /// The queue of `--alone`.
    #[arg(long)]
    queue: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    Kafka,
    Rabbitmq,
    Sqs,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Fault> {
    let flags = Flags::parse();
    if flags.classic && !matches!(flags.broker, Which::Rabbitmq) {
        return Err("--classic: only RabbitMQ has classic queues".into());
    }
    match flags.broker {
        Which::Kafka => answer(&kafka::Kafka::new(), &flags).await,
        Which::Rabbitmq => answer(&rabbitmq::RabbitMq::connect(flags.classic).await?, &flags).await,
        Which::Sqs => answer(&sqs::Sqs::connect().await, &flags).await,
    }
}

async fn answer<B: Broker>(broker: &B, flags: &Flags) -> Result<(), Fault> {
    match (&flags.alone, &flags.queue) {
        (Some(lane), Some(queue)) => instructions::alone(broker, *lane, queue, flags).await,
        _ if flags.instructions => instructions::count(broker, flags).await,
        _ => pairs::measure(broker, flags).await,
    }
}
