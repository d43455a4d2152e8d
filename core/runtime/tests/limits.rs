//! The two budgets, and what closes the gate.

mod common;

use common::{at_once, publish, start, three_attempts};
use forebay::{
    Failure, Gate, Job, Worker,
    policy::{Breaker, BreakerSettings, Fuse, TokenBucket},
    testing::{MemoryQueue, until_done},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How many calls run, and how many ever ran at once.
#[derive(Clone, Default)]
struct Gauge(Arc<(AtomicUsize, AtomicUsize)>);

impl Gauge {
    async fn hold(&self, time: Duration) {
        let now = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_max(now, Ordering::SeqCst);
        sleep(time).await;
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

async fn hold_10_ms(job: Job<u32, Gauge>) -> Result<(), Failure> {
    job.state().hold(Duration::from_millis(10)).await;
    Ok(())
}

fn numbers(n: u32) -> impl Iterator<Item = String> {
    (0..n).map(|n| n.to_string())
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_reached_and_never_passed() {
    let (queue, gauge) = (MemoryQueue::new(), Gauge::default());
    publish(&queue, numbers(200)).await;
    let builder = Worker::builder(queue.source()).state(gauge.clone()).handler(hold_10_ms);
    let worker = start(builder.concurrency(at_once(7)));
    until_done(&queue).await;
    worker.drain().await;
    assert_eq!(gauge.most(), 7);
}

#[tokio::test(start_paused = true)]
async fn the_window_bounds_what_is_in_hand() {
    let (queue, gauge) = (MemoryQueue::new(), Gauge::default());
    publish(&queue, numbers(100)).await;
    let builder = Worker::builder(queue.source()).state(gauge).handler(hold_10_ms);
    let worker = start(builder.concurrency(at_once(2)).window(5, 1 << 20));
    let mut most = 0;
    while queue.backlog().outstanding() > 0 {
        most = most.max(worker.control.status().in_hand);
        sleep(Duration::from_millis(1)).await;
    }
    worker.drain().await;
    assert_eq!(most, 5);
}

#[tokio::test(start_paused = true)]
async fn a_message_larger_than_the_window_still_passes() {
    async fn handler(_: Job<String>) -> Result<(), Failure> {
        Ok(())
    }
    let queue = MemoryQueue::new();
    publish(&queue, (0..3).map(|_| format!("\"{}\"", "x".repeat(1000)))).await;
    let worker = start(Worker::builder(queue.source()).window(10, 100).handler(handler));
    until_done(&queue).await;
    assert_eq!(worker.drain().await.abandoned, 0);
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_kept() {
    let (queue, gauge) = (MemoryQueue::new(), Gauge::default());
    publish(&queue, numbers(100)).await;
    let builder = Worker::builder(queue.source()).state(gauge).handler(hold_10_ms);
    let worker = start(builder.rate(TokenBucket::new(20.0, 10).unwrap()));
    let began = Instant::now();
    until_done(&queue).await;
    worker.drain().await;
    let took = began.elapsed().as_secs_f64();
    assert!((4.4..4.8).contains(&took), "10 at once and 90 at 20 a second, in {took} s");
}

#[tokio::test(start_paused = true)]
async fn limits_can_be_changed_while_it_runs() {
    let (queue, gauge) = (MemoryQueue::new(), Gauge::default());
    publish(&queue, numbers(1000)).await;
    let builder = Worker::builder(queue.source()).state(gauge.clone()).handler(hold_10_ms);
    let worker = start(builder.concurrency(at_once(1)).window(100, 1 << 20));
    sleep(Duration::from_millis(105)).await;
    let slow = worker.control.status().counts.acked;
    assert!((8..=12).contains(&slow), "{slow}");
    worker.control.gate().set_limit(20);
    sleep(Duration::from_millis(105)).await;
    let fast = worker.control.status().counts.acked - slow;
    assert!(fast >= 150, "{fast}");
    worker.drain().await;
    assert_eq!(gauge.most(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_pause_starts_nothing_and_gives_back_what_waits_too_long() {
    let (queue, gauge) = (MemoryQueue::new(), Gauge::default());
    publish(&queue, numbers(50)).await;
    let builder = Worker::builder(queue.source()).state(gauge).handler(hold_10_ms);
    let worker = start(builder.concurrency(at_once(1)).park_max(Duration::from_secs(10)));
    sleep(Duration::from_millis(25)).await;
    worker.control.pause();
    sleep(Duration::from_secs(5)).await;
    let paused = worker.control.status();
    assert!(paused.counts.acked <= 4 && paused.in_hand > 0, "{paused:?}");
    sleep(Duration::from_secs(6)).await;
    assert_eq!(worker.control.status().in_hand, 0, "given back");
    worker.control.resume();
    until_done(&queue).await;
    assert_eq!(worker.control.status().counts.acked, 50);
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn workers_that_share_a_gate_share_its_limit() {
    let gauge = Gauge::default();
    let gate = Gate::new(at_once(5));
    let mut workers = Vec::new();
    let mut queues = Vec::new();
    for _ in 0..3 {
        let queue = MemoryQueue::new();
        publish(&queue, numbers(50)).await;
        let builder = Worker::builder(queue.source()).state(gauge.clone()).handler(hold_10_ms);
        workers.push(start(builder.gate(gate.clone())));
        queues.push(queue);
    }
    let began = Instant::now();
    for queue in &queues {
        until_done(queue).await;
    }
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(gauge.most(), 5);
    for worker in workers {
        worker.drain().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_leaves_the_backlog_in_the_queue_and_charges_no_attempts() {
    async fn handler(job: Job<u32, Arc<AtomicUsize>>) -> Result<(), Failure> {
        job.state().fetch_add(1, Ordering::SeqCst);
        sleep(Duration::from_millis(10)).await;
        Err(Failure::transient("away"))
    }
    let (queue, calls) = (MemoryQueue::new(), Arc::new(AtomicUsize::new(0)));
    publish(&queue, numbers(2000)).await;
    let builder = Worker::builder(queue.source()).state(calls.clone()).handler(handler);
    let worker = start(
        builder
            .concurrency(at_once(4))
            .breaker(Breaker::new(BreakerSettings::default()).unwrap())
            .park_max(Duration::from_secs(1)),
    );
    sleep(Duration::from_secs(60)).await;
    let status = worker.control.status();
    assert!(calls.load(Ordering::SeqCst) < 200, "{calls:?} calls of a system that is away");
    assert_eq!(status.in_hand, 0, "{status:?}");
    assert_eq!(status.counts.dead, 0);
    worker.drain().await;
    assert_eq!(queue.backlog().outstanding(), 2000);
}

#[tokio::test(start_paused = true)]
async fn the_fuse_keeps_a_bad_deploy_from_emptying_the_queue_into_the_dead_letters() {
    async fn handler(_: Job<u32>) -> Result<(), Failure> {
        Err(Failure::permanent("a bad deploy"))
    }
    let queue = MemoryQueue::new();
    publish(&queue, numbers(2000)).await;
    let worker = start(Worker::builder(queue.source()).fuse(Fuse::default()).handler(handler));
    sleep(Duration::from_secs(60)).await;
    let dead = queue.backlog().dead.unwrap().value;
    assert!((1..=300).contains(&dead), "{dead} dead letters");
    worker.drain().await;
    assert_eq!(queue.backlog().outstanding() + queue.backlog().dead.unwrap().value, 2000);
}

#[tokio::test(start_paused = true)]
async fn a_few_poison_messages_do_not_blow_the_fuse() {
    async fn handler(job: Job<u32>) -> Result<(), Failure> {
        match job.payload % 10 {
            0 => Err(Failure::permanent("poison")),
            _ => Ok(()),
        }
    }
    let queue = MemoryQueue::new();
    publish(&queue, numbers(1000)).await;
    let builder = Worker::builder(queue.source()).retry(three_attempts()).handler(handler);
    let worker = start(builder);
    until_done(&queue).await;
    worker.drain().await;
    assert_eq!(queue.backlog().dead.unwrap().value, 100);
}
