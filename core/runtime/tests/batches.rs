//! Batches: when they close, what each message comes to, and how poison is found.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{at_once, kinds, publish, start, three_attempts};
use forebay::{
    BatchOptions, BatchOutcome, DeadReason, Failure, Job, Worker,
    testing::{MemoryQueue, run_with, until_done},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::sleep;

type Sizes = Arc<Mutex<Vec<usize>>>;

async fn note_size(jobs: Vec<Job<u32, Sizes>>) -> Vec<Result<(), Failure>> {
    jobs[0].state().lock().unwrap().push(jobs.len());
    jobs.iter().map(|_| Ok(())).collect()
}

fn numbers(n: u32) -> impl Iterator<Item = String> {
    (0..n).map(|n| n.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_batch_closes_when_it_is_full_or_old() {
    let (queue, sizes) = (MemoryQueue::new(), Sizes::default());
    publish(&queue, numbers(25)).await;
    let options = BatchOptions::of(10).age(Duration::from_millis(100));
    let builder = Worker::builder(queue.source()).state(sizes.clone());
    let worker = start(builder.concurrency(at_once(1)).batch_handler(options, note_size));
    sleep(Duration::from_millis(50)).await;
    assert_eq!(*sizes.lock().unwrap(), [10, 10]);
    sleep(Duration::from_millis(60)).await;
    assert_eq!(*sizes.lock().unwrap(), [10, 10, 5]);
    worker.drain().await;
    assert_eq!(kinds(&queue.verdicts()), ["ack"; 25]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_closes_when_it_has_its_bytes() {
    let (queue, sizes) = (MemoryQueue::new(), Sizes::default());
    publish(&queue, (0..10).map(|n| format!("{}{n}", " ".repeat(99)))).await;
    publish(&queue, [format!("{}1", " ".repeat(1000))]).await;
    let options = BatchOptions::of(100).bytes(350).age(Duration::from_millis(10));
    let builder = Worker::builder(queue.source()).state(sizes.clone());
    let worker = start(builder.concurrency(at_once(1)).batch_handler(options, note_size));
    until_done(&queue).await;
    worker.drain().await;
    assert_eq!(*sizes.lock().unwrap(), [3, 3, 3, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn each_message_of_a_batch_has_its_own_outcome() {
    async fn handler(jobs: Vec<Job<u32>>) -> Vec<Result<(), Failure>> {
        let judge = |job: &Job<u32>| match (job.payload, job.attempt()) {
            (1, _) => Err(Failure::permanent("one")),
            (2, 1) => Err(Failure::transient("two")),
            _ => Ok(()),
        };
        jobs.iter().map(judge).collect()
    }
    let build = |b: forebay::Builder<_>| {
        b.retry(three_attempts()).batch_handler(BatchOptions::of(10), handler)
    };
    let run = run_with(build, ["0", "1", "2", "three", "4"]).await;
    run.assert_acked(0);
    run.assert_dead(1, "one");
    run.assert_acked(2);
    assert_eq!(run.retries(2), 1);
    assert_eq!(run.assert_dead(3, "JSON"), DeadReason::Undecodable);
    run.assert_acked(4);
}

/// As a transaction does: all or nothing.
async fn all_or_nothing(jobs: Vec<Job<u32, Sizes>>) -> BatchOutcome {
    jobs[0].state().lock().unwrap().push(jobs.len());
    match jobs.iter().find(|job| job.payload == 13) {
        Some(_) => BatchOutcome::Failed(Failure::permanent("unlucky")),
        None => BatchOutcome::Each(jobs.iter().map(|_| Ok(())).collect()),
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_batch_is_split_down_to_the_poison_message() {
    let sizes = Sizes::default();
    let state = sizes.clone();
    let options = BatchOptions::of(32);
    let messages: Vec<_> = (0..32).map(|n| serde_json::json!(n)).collect();
    let run = run_with(|b| b.state(state).batch_handler(options, all_or_nothing), messages).await;
    for n in (0..32).filter(|n| *n != 13) {
        run.assert_acked(n);
        assert_eq!(run.verdicts(n).len(), 1, "message {n} was charged for its neighbour");
    }
    run.assert_dead(13, "unlucky");
    let sizes = sizes.lock().unwrap();
    assert_eq!(sizes.len(), 11, "one of 32, then two of each size below: {sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_batch_is_charged_to_its_message_alone() {
    async fn handler(jobs: Vec<Job<u32>>) -> Vec<Result<(), Failure>> {
        assert!(jobs.iter().all(|job| job.payload != 3), "three!");
        jobs.iter().map(|_| Ok(())).collect()
    }
    let build = |b: forebay::Builder<_>| {
        b.retry(three_attempts()).batch_handler(BatchOptions::of(8), handler)
    };
    let run = run_with(build, ["0", "1", "2", "3", "4"]).await;
    for n in [0, 1, 2, 4] {
        run.assert_acked(n);
        assert_eq!(run.retries(n), 0);
    }
    run.assert_dead(3, "three!");
}

#[tokio::test(start_paused = true)]
async fn too_few_results_lose_nothing() {
    async fn handler(mut jobs: Vec<Job<u32>>) -> Vec<Result<(), Failure>> {
        if jobs.len() > 1 {
            jobs.pop();
        }
        jobs.iter().map(|_| Ok(())).collect()
    }
    let run = run_with(|b| b.batch_handler(BatchOptions::of(4), handler), ["1", "2", "3"]).await;
    for n in 0..3 {
        run.assert_acked(n);
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_batch_is_postponed_whole() {
    async fn handler(jobs: Vec<Job<u32>>) -> BatchOutcome {
        if jobs.iter().all(|job| job.message().history.notes().is_empty()) {
            return BatchOutcome::Failed(Failure::throttled("slow down", Duration::from_secs(1)));
        }
        BatchOutcome::Each(jobs.iter().map(|_| Ok(())).collect())
    }
    let run = run_with(|b| b.batch_handler(BatchOptions::of(4), handler), ["1", "2", "3"]).await;
    for n in 0..3 {
        run.assert_acked(n);
        assert_eq!(run.verdicts(n).len(), 2);
        assert_eq!(run.retries(n), 0);
    }
}
