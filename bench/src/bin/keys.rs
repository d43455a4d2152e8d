//! Whether one slow key costs the others anything, with 100,000 keys live.
//!
//! `cargo run --release -p forebay-bench --bin keys`
//!
//! The same messages are handled with a key whose every message takes long, and without; what counts
//! is how long the messages of all *other* keys take, first to last. Keys come in no order: in turn,
//! everything would lie in memory one behind the other, which the first message that stays disturbs.

use bytes::Bytes;
use clap::Parser;
use forebay::{Failure, Handler, Job, Raw, Worker, policy::Concurrency};
use forebay_bench::{
    flavor::Flavor,
    loops::{AT_ONCE, KEYS, replay, shuffled},
    median::median,
    progress,
    table::Table,
};
use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// The key that is slow.
const SLOW: &[u8] = b"slow";

#[derive(Parser)]
#[command(about = "Measures what one slow key costs the others, with 100,000 keys live")]
struct Flags {
    /// Messages in each run, over all keys.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// How long each message of the slow key takes, in milliseconds.
    #[arg(long, default_value_t = 50)]
    slow_ms: u64,
    /// How often each case is run.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// The runtime.
    #[arg(long, value_enum, default_value = "mt2")]
    flavor: Flavor,
}

/// Sleeps for the slow key; does nothing for the others but count them.
struct Sleepy {
    slow: Duration,
    left: AtomicU64,
    done: Arc<Notify>,
}

impl Handler<Bytes> for Sleepy {
    async fn handle(&self, job: Job<Bytes>) -> Result<(), Failure> {
        if job.key().is_some_and(|key| &key[..] == SLOW) {
            if !self.slow.is_zero() {
                tokio::time::sleep(self.slow).await;
            }
        } else if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.done.notify_one();
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    let slow = Duration::from_millis(flags.slow_ms);
    let mut runs = [Vec::new(), Vec::new()];
    for pair in 0..flags.pairs {
        for (slow, runs) in [Duration::ZERO, slow].into_iter().zip(&mut runs) {
            progress::show(&format!("pair {} of {}, {slow:?}", pair + 1, flags.pairs));
            let messages = flags.messages;
            runs.push(flags.flavor.run(async move { others(messages, slow).await })?);
        }
    }
    progress::clear();
    let ratios = runs[1].iter().zip(&runs[0]).map(|(slow, even)| slow / even).collect();
    let mut table =
        Table::new(&["one key in 100,000 takes", "ns a message of the others", "ratio"]);
    for (text, runs, ratio) in [
        ("nothing".to_owned(), &runs[0], Some(1.0)),
        (format!("{slow:?} a message"), &runs[1], median(ratios)),
    ] {
        let nanos = median(runs.clone()).unwrap_or(f64::NAN);
        table.row([text, format!("{nanos:.0}"), format!("{:.2}", ratio.unwrap_or(f64::NAN))]);
    }
    table.print()?;
    Ok(())
}

/// Nanoseconds for each message of the other keys.
async fn others(messages: u64, slow: Duration) -> f64 {
    let keys = (1..KEYS).map(|key| Bytes::from(key.to_string()));
    let queue = replay(messages, shuffled(keys.chain([Bytes::from_static(SLOW)]).collect()));

    let others = messages - messages / KEYS;
    let done = Arc::new(Notify::new());
    let handler = Sleepy { slow, left: AtomicU64::new(others), done: done.clone() };
    let worker = Worker::builder(queue.source())
        .decode(Raw)
        .handler(handler)
        .concurrency(Concurrency::fixed(AT_ONCE as u32))
        .ordered()
        .window(KEYS as usize, 1 << 30)
        .build()
        .expect("the queue in memory orders by key");
    let control = worker.control();
    let start = Instant::now();
    let worker = tokio::spawn(worker.run_until_drained());
    done.notified().await;
    let nanos = start.elapsed().as_nanos() as f64 / others as f64;
    control.drain();
    let ended = worker.await;
    assert!(ended.is_ok_and(|ended| ended.is_ok()), "the worker ends well");
    nanos
}
