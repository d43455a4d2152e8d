//! Run with: cargo run -p forebay-examples --example hello
//!
//! The least that a worker can be: a queue in a file, and an async function that handles one message.
//! Returning `Ok` acknowledges it. Add a path to keep the queue: `… --example hello -- ./my-queue`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use forebay::{Failure, Job, Outgoing, Sink, Worker};
use forebay_embedded::SourceOptions;
use forebay_examples::{Folder, run_until_empty};
use std::error::Error;

/// The payload is JSON by default; here, a string.
async fn greet(job: Job<String>) -> Result<(), Failure> {
    println!("hello, {}", job.payload);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = Folder::from_args()?;
    let queue = folder.queue("greetings").await?;

    // Somebody publishes: usually another process. `Ok` means that it is on disk.
    for name in ["river", "weir", "turbine"] {
        let message = Outgoing::new(format!("\"{name}\""));
        queue.publish(&[message]).await.remove(0)?;
    }

    // And a worker takes it from there. A service would end with `.run().await?` instead.
    let source = queue.source(&SourceOptions::default());
    let worker = Worker::builder(source).handler(greet).build()?;
    run_until_empty(worker, &queue).await?;
    println!("the queue is empty");
    Ok(())
}
