//! Run with: cargo run -p forebay-examples --example hello
//!
//! The least that a worker can be: a queue, and an async function that handles one message. Returning
//! `Ok` acknowledges it.
//!
//! The queue is a file; add a path to keep it: `… --example hello -- ./my-queue`. On a broker nothing
//! but the source is another: `… --example hello -- --source kafka` (or `rabbitmq`, `sqs`; see
//! `src/source.rs`).

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use forebay::{Failure, Job, Outgoing, Sink, Worker};
use forebay_examples::{Connection, connect, run_until_done};
use std::error::Error;

/// The payload is JSON by default; here, a string.
async fn greet(job: Job<String>) -> Result<(), Failure> {
    println!("hello, {}", job.payload);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let queue: Connection = connect("greetings").await?;

    // Somebody publishes: usually another process. `Ok` means that the broker will not lose it.
    let names = ["river", "weir", "turbine"];
    for name in names {
        let message = Outgoing::new(format!("\"{name}\""));
        queue.sink.publish(&[message]).await.remove(0)?;
    }

    // And a worker takes it from there. A service would end with `.run().await?` instead.
    let worker = Worker::builder(queue.source).handler(greet).build()?;
    run_until_done(worker, names.len() as u64).await?;
    println!("everybody is greeted");
    Ok(())
}
