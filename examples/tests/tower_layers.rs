//! tower's own layers around a handler: what they limit is limited, and what they fail with is kept.

use forebay::{Failure, Job, Verdict, testing, tower as bridge};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tower::ServiceBuilder;

fn numbers(n: u32) -> impl Iterator<Item = serde_json::Value> {
    (0..n).map(serde_json::Value::from)
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_holds_jobs_back_and_fails_none() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    async fn hold(_: Job<u32>) -> Result<(), Failure> {
        MOST.fetch_max(RUNNING.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
        RUNNING.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    let stack = ServiceBuilder::new().concurrency_limit(5).service(bridge::service(hold));
    let run = testing::run(bridge::handler(stack), numbers(50)).await;
    for i in 0..50 {
        assert_eq!(run.verdicts(i), [&Verdict::Ack], "message {i}");
    }
    assert_eq!(MOST.load(Ordering::Relaxed), 5);
}

#[tokio::test(start_paused = true)]
async fn an_elapsed_timeout_is_retried() {
    async fn slow_at_first(job: Job<u32>) -> Result<(), Failure> {
        let seconds = if job.attempt() == 1 { 10 } else { 0 };
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        Ok(())
    }

    let stack = ServiceBuilder::new()
        .timeout(Duration::from_secs(1))
        .service(bridge::service(slow_at_first));
    let run = testing::run(bridge::handler(stack), numbers(1)).await;
    assert_eq!(run.retries(0), 1);
    run.assert_acked(0);
}

/// The timeout boxes every error; what the handler said must still be heard.
#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_still_one_behind_a_timeout() {
    async fn refuse(_: Job<u32>) -> Result<(), Failure> {
        Err(Failure::permanent("no such row"))
    }

    let stack = ServiceBuilder::new()
        .timeout(Duration::from_secs(1))
        .concurrency_limit(1)
        .service(bridge::service(refuse));
    let run = testing::run(bridge::handler(stack), numbers(1)).await;
    run.assert_dead(0, "no such row");
    assert_eq!(run.retries(0), 0);
}
