//! Run with: cargo run -p forebay-examples --example graceful_drain
//!
//! A worker that stops in the middle of its work, and loses nothing. A second after its start, or at
//! Ctrl-C, it takes no more messages, gives back those that have not started, and lets the running
//! ones finish. Around the handler are layers of tower: a timeout, and a concurrency limit.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use forebay::{Failure, Job, Outgoing, Sink, Worker, policy::Concurrency, tower as bridge};
use forebay_embedded::SourceOptions;
use forebay_examples::Folder;
use std::{error::Error, time::Duration};
use tower::ServiceBuilder;

const JOBS: u32 = 100;

async fn pump_water(job: Job<u32>) -> Result<(), Failure> {
    println!("lock {}: pumping", job.payload);
    tokio::time::sleep(Duration::from_millis(150)).await;
    println!("lock {}: done", job.payload);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = Folder::from_args()?;
    let queue = folder.queue("locks").await?;
    let jobs: Vec<_> = (1..=JOBS).map(|lock| Outgoing::new(lock.to_string())).collect();
    for published in queue.publish(&jobs).await {
        published?;
    }

    // The outermost layer comes first. A timeout's error counts as transient: tried again.
    let stack = ServiceBuilder::new()
        .timeout(Duration::from_secs(5))
        .concurrency_limit(4)
        .service(bridge::service(pump_water));
    let worker = Worker::builder(queue.source(&SourceOptions::default()))
        .concurrency(Concurrency::fixed(4))
        .drain_timeout(Duration::from_secs(10))
        .handler(bridge::handler(stack))
        .build()?;

    // In a service, this is all that the orchestrator does by sending SIGTERM.
    let control = worker.control();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        println!("draining");
        control.drain();
    });
    let report = worker.run().await?;

    println!("drained: {report}");
    println!("left in the queue: {} of {JOBS}", queue.backlog().await?.outstanding());
    Ok(())
}
