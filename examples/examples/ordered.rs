//! Run with: cargo run -p forebay-examples --example ordered
//!
//! Order by key: the entries of one account are booked one at a time and in order, even when one of
//! them has to be tried again. Other accounts do not wait for it.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use forebay::{
    Failure, Job, Outgoing, Sink, Worker,
    policy::{RetryPolicy, RetrySettings},
};
use forebay_embedded::SourceOptions;
use forebay_examples::{Folder, run_until_empty};
use std::{error::Error, time::Duration};

#[derive(serde::Deserialize)]
struct Entry {
    account: String,
    number: u32,
}

async fn book(job: Job<Entry>) -> Result<(), Failure> {
    let Entry { account, number } = &job.payload;
    if account == "alice" && *number == 2 && job.attempt() == 1 {
        println!("{account} {number}: failed, to be tried again");
        return Err(Failure::transient("the ledger is busy"));
    }
    println!("{account} {number}: booked");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = Folder::from_args()?;
    let queue = folder.queue("entries").await?;

    // The key is what orders messages; they need not be published together, nor by one process.
    for number in 1..=3 {
        for account in ["alice", "bob"] {
            let entry = serde_json::json!({ "account": account, "number": number });
            let message = Outgoing::new(entry.to_string()).key(account);
            queue.publish(&[message]).await.remove(0)?;
        }
    }

    let retry = RetryPolicy::new(RetrySettings {
        base: Duration::from_millis(500),
        ..RetrySettings::default()
    })?;
    let source = queue.source(&SourceOptions::default());
    let worker = Worker::builder(source).ordered().retry(retry).handler(book).build()?;
    run_until_empty(worker, &queue).await?;
    Ok(())
}
