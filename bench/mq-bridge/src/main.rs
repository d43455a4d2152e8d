//! mq-bridge, consuming a queue that the program `brokers` has filled, with a handler that does nothing
//! or computes for a while. Prints what a message cost: nanoseconds that passed, and of processor time.
//!
//! `cargo build --release --manifest-path bench/mq-bridge/Cargo.toml --target-dir target/peers`, and then
//! `… --bin brokers -- kafka --peer target/peers/release/forebay-bench-mq-bridge`.
//!
//! The clock runs from the first message handled to the last: when that is acknowledged,
//! mq-bridge tells nobody, so its clock stops earlier than those of the others.

use clap::{Parser, ValueEnum};
use forebay_bench::seen::{Seen, Work};
use mq_bridge::{
    CanonicalMessage, Handled, Route,
    models::{AmqpConfig, Endpoint, EndpointType, KafkaConfig},
};
use std::{error::Error, time::Duration};

type Fault = Box<dyn Error + Send + Sync>;

#[derive(Parser)]
#[command(about = "Consumes a filled queue by mq-bridge, and prints what a message cost")]
struct Flags {
    /// What kind of broker it is.
    broker: Broker,
    /// Where it is: a bootstrap server, or an AMQP URL.
    url: String,
    /// The topic or queue. On RabbitMQ a classic one: mq-bridge declares what it consumes, and cannot
    /// say of what type that is.
    queue: String,
    /// How many messages it holds.
    messages: u64,
    /// Microseconds of work in the handler.
    work: u64,
    /// Batches at once.
    #[arg(long, default_value_t = 4)]
    concurrency: usize,
    /// Messages in a batch.
    #[arg(long, default_value_t = 128)]
    batch: u16,
}

#[derive(Clone, Copy, ValueEnum)]
enum Broker {
    Kafka,
    Rabbitmq,
}

impl Flags {
    fn endpoint(&self) -> EndpointType {
        match self.broker {
            Broker::Kafka => EndpointType::Kafka(
                KafkaConfig::new(&self.url)
                    .with_topic(&self.queue)
                    .with_group_id(&self.queue)
                    // As the other loops have it: the default is made for saving polls.
                    .with_consumer_option("fetch.queue.backoff.ms", "10"),
            ),
            Broker::Rabbitmq => {
                let mut config = AmqpConfig::new(&self.url).with_queue(&self.queue);
                let ahead = self.concurrency * usize::from(self.batch);
                config.prefetch_count = u16::try_from(ahead).ok();
                EndpointType::Amqp(config)
            }
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Fault> {
    let flags = Flags::parse();
    let seen = Seen::new(Work::of(Duration::from_micros(flags.work)), flags.messages);
    let counting = seen.clone();
    let handler = move |message: CanonicalMessage| {
        let seen = counting.clone();
        async move {
            seen.handle(&message.payload);
            Ok(Handled::Ack)
        }
    };
    let (input, output) = (Endpoint::new(flags.endpoint()), Endpoint::new(EndpointType::Null));
    let route = Route::new(input, output)
        .with_concurrency(flags.concurrency)
        .with_batch_size(flags.batch.into())
        .with_handler(handler);
    let running = route.run("bench").await?;
    seen.all().await;
    let cost = seen.each().ok_or("no message came")?;
    running.stop().await;
    println!("{} {}", cost.wall, cost.cpu);
    Ok(())
}
