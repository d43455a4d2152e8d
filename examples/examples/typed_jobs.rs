//! Run with: cargo run -p forebay-examples --example typed_jobs
//!
//! Payloads as types of your own, state that all calls share, and what an error means for its
//! message: `?` retries it, `.permanent()?` makes it a dead letter at once.
//!
//! The same on each broker: `… --example typed_jobs -- --source kafka` (or `rabbitmq`, `sqs`).

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use forebay::{DeadFilter, DeadLetters, Failure, FailureExt, Job, Outgoing, Sink, Worker};
use forebay_examples::{connect, run_until_done};
use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

#[derive(serde::Deserialize)]
struct Order {
    item: String,
    quantity: u32,
}

/// What is left of each item. In a service: a connection pool.
type Stock = Arc<Mutex<HashMap<String, u32>>>;

#[derive(Debug, thiserror::Error)]
enum OrderError {
    #[error("there is no item called `{0}`")]
    UnknownItem(String),
    #[error("the warehouse did not answer")]
    NoAnswer,
}

async fn reserve(job: Job<Order, Stock>) -> Result<(), Failure> {
    let Order { item, quantity } = &job.payload;
    // It may work later: a plain `?` has the message tried again, after a growing delay.
    if item == "penstock" && job.attempt() == 1 {
        println!("attempt 1 at {item}: no answer");
        Err(OrderError::NoAnswer)?;
    }
    let mut stock = job.state().lock().unwrap_or_else(PoisonError::into_inner);
    // It never will: the message goes to the dead letters, for somebody to look at.
    let left = stock.get_mut(item).ok_or_else(|| OrderError::UnknownItem(item.clone()));
    let left = left.permanent()?;
    *left = left.saturating_sub(*quantity);
    println!("attempt {} at {item}: reserved {quantity}, {left} left", job.attempt());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let queue = connect("orders").await?;
    let orders = [("gate", 2), ("penstock", 1), ("perpetual motion machine", 1)];
    for (item, quantity) in orders {
        let order = serde_json::json!({ "item": item, "quantity": quantity });
        queue.sink.publish(&[Outgoing::new(order.to_string())]).await.remove(0)?;
    }

    let stock: Stock = Arc::new(Mutex::new([("gate".into(), 10), ("penstock".into(), 3)].into()));
    let worker = Worker::builder(queue.source).state(stock).handler(reserve).build()?;
    run_until_done(worker, orders.len() as u64).await?;

    for letter in queue.dead.list(&DeadFilter::default(), None, 10).await? {
        let why = letter.last_failure().map_or("", |note| &note.error);
        println!("dead ({}): {why}", letter.reason);
    }
    Ok(())
}
