//! Forebay on a queue in memory, everything on; and that queue alone.

use super::{AT_ONCE, PAYLOAD};
use crate::cost::{Cost, Stopwatch};
use bytes::Bytes;
use forebay::{
    Delivery, Failure, Handler, Job, Message, OrderSupport, Raw, Settlement, Source, Verdict, Want,
    Worker, policy::Concurrency,
};
use forebay_memory::{MemoryOptions, MemoryQueue};
use std::{
    collections::VecDeque,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::Notify;

/// The handler that does nothing, but for counting: somebody must know when all is done.
struct NoOp {
    left: AtomicU64,
    done: Arc<Notify>,
}

impl Handler<Bytes> for NoOp {
    async fn handle(&self, job: Job<Bytes>) -> Result<(), Failure> {
        black_box(job.payload);
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.done.notify_one();
        }
        Ok(())
    }
}

/// A queue of messages without keys.
pub(super) fn unordered(messages: u64) -> MemoryQueue {
    let queue = MemoryQueue::with(MemoryOptions::default().without_notes());
    queue.replay(vec![Message::new(0, PAYLOAD)], messages);
    queue
}

/// So many keys, one after the other.
pub(super) fn in_turn(keys: u64) -> Vec<Bytes> {
    (0..keys).map(|key| key.to_string().into()).collect()
}

/// All keys some times over, each time in another order: the same in every run.
pub fn shuffled(mut keys: Vec<Bytes>) -> Vec<Bytes> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut all = Vec::with_capacity(SHUFFLES * keys.len());
    for _ in 0..SHUFFLES {
        random.shuffle(&mut keys);
        all.extend_from_slice(&keys);
    }
    all
}

/// How many orders there are until they begin anew.
const SHUFFLES: usize = 4;

/// A queue of messages with these keys, and again from the first on after the last.
pub fn replay(messages: u64, keys: Vec<Bytes>) -> MemoryQueue {
    let order = OrderSupport::KeyInLanes;
    let queue = MemoryQueue::with(MemoryOptions::default().order(order).without_notes());
    let template = |key| {
        let mut message = Message::new(0, PAYLOAD);
        message.key = Some(key);
        message
    };
    queue.replay(keys.into_iter().map(template).collect(), messages);
    queue
}

/// Receives and acknowledges, 64 at a time, with `in_hand` messages out meanwhile.
pub(super) async fn queue_alone(messages: u64, queue: MemoryQueue, in_hand: usize) -> Cost {
    let source = queue.source();
    let want = Want { messages: AT_ONCE, bytes: 64 << 20 };
    let (mut out, mut held, mut batch) = (Vec::new(), VecDeque::new(), Vec::new());
    let (mut received, mut done) = (0, 0);
    let start = Stopwatch::start();
    while done < messages {
        if received < messages && source.receive(want, &mut out).await.is_err() {
            break;
        }
        received += out.len() as u64;
        held.extend(out.drain(..));
        let over = held.len().saturating_sub(in_hand).max(AT_ONCE.min(held.len()));
        if held.len() < in_hand && received < messages {
            continue;
        }
        batch.extend(held.drain(..over).map(|delivery: Delivery<_>| Settlement {
            receipt: delivery.receipt,
            message: delivery.message,
            verdict: Verdict::Ack,
        }));
        done += source.settle(&batch).await.len() as u64;
        batch.clear();
    }
    start.each(messages)
}

pub(super) async fn run_unordered(messages: u64) -> Cost {
    let queue = unordered(messages);
    let (handler, done) = no_op(messages);
    run(Worker::builder(queue.source()).decode(Raw).handler(handler), done, messages).await
}

/// The window holds a message of each of so many keys at least, so that all of them are live.
pub(super) async fn run_by_key(messages: u64, live: u64, keys: Vec<Bytes>) -> Cost {
    let queue = replay(messages, keys);
    let (handler, done) = no_op(messages);
    let builder = Worker::builder(queue.source()).decode(Raw).handler(handler);
    let window = usize::try_from(live).unwrap_or(usize::MAX).max(4 * AT_ONCE);
    run(builder.ordered().window(window, 1 << 30), done, messages).await
}

fn no_op(messages: u64) -> (NoOp, Arc<Notify>) {
    let done = Arc::new(Notify::new());
    (NoOp { left: AtomicU64::new(messages), done: done.clone() }, done)
}

/// Runs a worker with as many calls at once as the loops by hand have.
async fn run<S: Source, I: forebay::Invoke>(
    builder: forebay::Builder<S, (), (), I>,
    done: Arc<Notify>,
    messages: u64,
) -> Cost {
    let concurrency = Concurrency::fixed(AT_ONCE as u32);
    let worker = builder.concurrency(concurrency).build().expect("the queue honours all of this");
    until_settled(worker, done, messages).await
}

/// Runs a worker until its handler has seen all messages, as `done` tells, and all of them are settled.
///
/// # Panics
/// When the worker leaves some of them behind.
pub async fn until_settled<S: Source, I: forebay::Invoke>(
    worker: Worker<S, I>,
    done: Arc<Notify>,
    messages: u64,
) -> Cost {
    let control = worker.control();
    let start = Stopwatch::start();
    tokio::spawn({
        let control = control.clone();
        async move {
            done.notified().await;
            control.drain();
        }
    });
    let report = worker.run_until_drained().await;
    let cost = start.each(messages);
    assert!(report.is_ok_and(|report| report.abandoned == 0), "the worker left messages behind");
    assert_eq!(control.status().counts.acked, messages, "every message is acknowledged");
    cost
}
