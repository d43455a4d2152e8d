//! Every row of the verdict table, seen from a handler.

mod common;

use common::{publish, start, three_attempts};
use forebay::{
    DeadReason, Failure, FailureExt, FailureKind, Job, Verdict, Worker,
    testing::{self, MemoryQueue, run, run_with},
};
use std::time::Duration;

type Outcome = Result<(), Failure>;

fn kinds(run: &testing::Run) -> Vec<&'static str> {
    let verdicts = run.verdicts(0).into_iter().cloned().map(|v| (1.into(), v)).collect::<Vec<_>>();
    common::kinds(&verdicts)
}

#[tokio::test(start_paused = true)]
async fn ok_is_acknowledged() {
    async fn handler(_: Job<u32>) -> Outcome {
        Ok(())
    }
    run(handler, ["1"]).await.assert_acked(0);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_decode_is_dead_at_once() {
    async fn handler(_: Job<u32>) -> Outcome {
        Ok(())
    }
    let run = run(handler, ["one"]).await;
    assert_eq!(run.assert_dead(0, "JSON"), DeadReason::Undecodable);
    assert_eq!(run.verdicts(0).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn permanent_is_dead_at_once() {
    async fn handler(job: Job<String>) -> Outcome {
        job.payload.parse::<u32>().permanent()?;
        Ok(())
    }
    let run = run(handler, [r#""x""#]).await;
    assert_eq!(run.assert_dead(0, "invalid digit"), DeadReason::Permanent);
    assert_eq!(run.verdicts(0).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn transient_is_retried_until_attempts_are_used_up() {
    async fn handler(_: Job<u32>) -> Result<(), std::io::Error> {
        Err(std::io::Error::other("the database is away"))
    }
    let run = run_with(|b| b.retry(three_attempts()).handler(handler), ["1"]).await;
    assert_eq!(kinds(&run), ["retry", "retry", "dead"]);
    assert_eq!(run.assert_dead(0, "away"), DeadReason::AttemptsExhausted);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_succeeds_is_acknowledged_and_knows_its_attempt() {
    async fn handler(job: Job<u32>) -> Outcome {
        match job.attempt() {
            3 => Ok(()),
            n => Err(Failure::transient(format!("attempt {n}"))),
        }
    }
    let run = run_with(|b| b.retry(three_attempts()).handler(handler), ["1"]).await;
    assert_eq!(kinds(&run), ["retry", "retry", "ack"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_retried_like_a_transient_failure() {
    async fn handler(job: Job<u32>) -> Outcome {
        assert!(job.attempt() > 1, "not the first time");
        Ok(())
    }
    let run = run_with(|b| b.retry(three_attempts()).handler(handler), ["1"]).await;
    assert_eq!(kinds(&run), ["retry", "ack"]);
    let Verdict::Retry { note, .. } = run.verdicts(0)[0] else { panic!() };
    assert_eq!(note.kind, FailureKind::Panic);
    assert!(note.error.contains("not the first time"), "{}", note.error);
}

#[tokio::test(start_paused = true)]
async fn a_panic_after_waiting_is_caught_too() {
    async fn handler(job: Job<u32>) -> Outcome {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(job.attempt() > 1, "late");
        Ok(())
    }
    let run = run_with(|b| b.retry(three_attempts()).handler(handler), ["1"]).await;
    assert_eq!(kinds(&run), ["retry", "ack"]);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_retried_like_a_transient_failure() {
    async fn handler(job: Job<u32>) -> Outcome {
        assert!(job.time_left() <= Some(Duration::from_secs(2)));
        if job.attempt() == 1 {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
    let build = |b: forebay::Builder<_>| {
        b.retry(three_attempts()).timeout(Duration::from_secs(2)).handler(handler)
    };
    let run = run_with(build, ["1"]).await;
    assert_eq!(kinds(&run), ["retry", "ack"]);
    let Verdict::Retry { note, .. } = run.verdicts(0)[0] else { panic!() };
    assert_eq!(note.kind, FailureKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn throttled_is_postponed_as_asked_and_charges_no_attempt() {
    async fn handler(job: Job<u32>) -> Outcome {
        assert_eq!(job.attempt(), 1);
        if job.message().history.notes().len() < 5 {
            return Err(Failure::throttled("429", Duration::from_secs(7)));
        }
        Ok(())
    }
    let began = tokio::time::Instant::now();
    let run = run_with(|b| b.retry(three_attempts()).handler(handler), ["1"]).await;
    assert_eq!(kinds(&run), ["postpone", "postpone", "postpone", "postpone", "postpone", "ack"]);
    assert!(began.elapsed() >= Duration::from_secs(35), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn discard_is_dropped() {
    async fn handler(_: Job<u32>) -> Outcome {
        Err(Failure::discard("an old version"))
    }
    let run = run(handler, ["1"]).await;
    run.assert_dropped(0);
    assert_eq!(run.verdicts(0), [&Verdict::Drop("an old version".into())]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_releases_what_has_not_started_without_charging_it() {
    async fn handler(_: Job<u32>) -> Outcome {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }
    let queue = MemoryQueue::new();
    publish(&queue, (0..10).map(|n| n.to_string())).await;
    let worker =
        start(Worker::builder(queue.source()).concurrency(common::at_once(2)).handler(handler));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let report = worker.drain().await;
    assert_eq!((report.finished, report.released, report.abandoned), (2, 6, 0));
    let verdicts = queue.verdicts();
    assert_eq!(common::kinds(&verdicts).iter().filter(|kind| **kind == "release").count(), 6);
    assert_eq!(queue.backlog().outstanding(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_drain_calls_off_what_does_not_end_and_keeps_it() {
    async fn handler(job: Job<u32>) -> Outcome {
        if job.payload == 0 {
            job.cancellation().cancelled().await;
            return Err(Failure::transient("called off"));
        }
        std::future::pending().await
    }
    let queue = MemoryQueue::new();
    publish(&queue, ["0".into(), "1".into()]).await;
    let builder = Worker::builder(queue.source()).timeout(None).handler(handler);
    let worker = start(builder.drain_timeout(Duration::from_secs(5)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = tokio::time::Instant::now();
    worker.drain().await;
    assert!(began.elapsed() >= Duration::from_secs(5));
    assert!(began.elapsed() <= Duration::from_secs(9), "{:?}", began.elapsed());
    assert_eq!(common::kinds(&queue.verdicts()), ["release", "release"]);
    assert_eq!(queue.backlog().outstanding(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_second_drain_hurries() {
    async fn handler(_: Job<u32>) -> Outcome {
        std::future::pending().await
    }
    let queue = MemoryQueue::new();
    publish(&queue, ["0".into()]).await;
    let worker = start(Worker::builder(queue.source()).timeout(None).handler(handler));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = tokio::time::Instant::now();
    worker.control.drain();
    tokio::time::sleep(Duration::from_millis(100)).await;
    worker.drain().await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(queue.backlog().outstanding(), 1);
}
