//! What the queue in memory itself costs for each message, to be subtracted from what a benchmark of
//! the runtime measures on it: `cargo run --release -p forebay-memory --example cost [messages]`.

use forebay_contract::{Message, OrderSupport, Settlement, Source, Verdict, Want};
use forebay_memory::{MemoryOptions, MemoryQueue};
use std::time::Instant;

/// Receives and acknowledges all, 64 at a time; nanoseconds for each.
async fn cost(messages: u64, order: OrderSupport, keys: u64) -> f64 {
    let queue = MemoryQueue::with(MemoryOptions::default().order(order).without_notes());
    let template = |key: u64| {
        let mut message = Message::new(0, vec![b'x'; 100]);
        message.key = Some(key.to_string().into());
        message
    };
    queue.replay((0..keys).map(template).collect(), messages);
    let source = queue.source();
    let want = Want { messages: 64, bytes: 1 << 20 };
    let (mut out, mut batch, mut done) = (Vec::new(), Vec::new(), 0);
    let start = Instant::now();
    while done < messages {
        source.receive(want, &mut out).await.expect("a queue in memory is never away");
        batch.extend(out.drain(..).map(|delivery| Settlement {
            receipt: delivery.receipt,
            message: delivery.message,
            verdict: Verdict::Ack,
        }));
        done += source.settle(&batch).await.len() as u64;
        batch.clear();
    }
    start.elapsed().as_nanos() as f64 / messages as f64
}

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::print_stdout)] // a program that tells people numbers
async fn main() {
    let messages = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5_000_000);
    println!("no order:      {:5.1} ns", cost(messages, OrderSupport::None, 1).await);
    println!("key at source: {:5.1} ns", cost(messages, OrderSupport::KeyAtSource, 1000).await);
    println!("key in lanes:  {:5.1} ns", cost(messages, OrderSupport::KeyInLanes, 1000).await);
}
