//! Schedules that once went wrong, each named after what it did.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{at_once, publish, publish_keyed, start, three_attempts};
use forebay::{
    Backlog, BatchOptions, BatchOutcome, Capabilities, Delivery, Failure, Gate, Job, Lease,
    LeaseError, OrderSupport, SettleError, Settled, Settlement, Source, SourceError, Verdict, Want,
    Worker,
    testing::{MemoryOptions, MemoryQueue, MemorySource, until_done},
};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const LONG: Duration = Duration::from_secs(600);

fn numbers(numbers: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    numbers.map(|n| n.to_string())
}

async fn all_fine(jobs: Vec<Job<u32>>) -> BatchOutcome {
    jobs.iter().map(|_| Ok::<_, Failure>(())).collect::<Vec<_>>().into()
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_failed_while_a_suspect_waited_stood_still_with_it() {
    async fn handler(jobs: Vec<Job<u32>>) -> BatchOutcome {
        if jobs.len() > 1 {
            sleep(Duration::from_secs(5)).await;
            return BatchOutcome::Failed(Failure::transient("together"));
        }
        all_fine(jobs).await
    }
    let queue = MemoryQueue::with(MemoryOptions::default().lease(Duration::from_secs(2)));
    publish(&queue, numbers(0..1)).await;
    let killed = queue.source();
    killed.receive(Want { messages: 1, bytes: 1000 }, &mut Vec::new()).await.unwrap();
    drop(killed);
    publish(&queue, numbers(1..11)).await;
    let options = BatchOptions::of(10);
    let worker = start(Worker::builder(queue.source()).batch_handler(options, handler));
    timeout(LONG, until_done(&queue)).await.expect("it goes on");
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_that_went_with_its_scope_left_the_worker_standing() {
    async fn slow(jobs: Vec<Job<u32>>) -> BatchOutcome {
        sleep(Duration::from_secs(5)).await;
        all_fine(jobs).await
    }
    let queue = MemoryQueue::new();
    publish(&queue, numbers(0..40)).await;
    let builder = Worker::builder(queue.source()).concurrency(at_once(1));
    let worker = start(builder.batch_handler(BatchOptions::of(10), slow));
    sleep(Duration::from_secs(1)).await;
    queue.sever();
    timeout(LONG, until_done(&queue)).await.expect("it goes on");
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_younger_than_a_round_was_never_due() {
    let queue = MemoryQueue::new();
    let options = BatchOptions::of(10).age(Duration::from_nanos(1));
    let worker = start(Worker::builder(queue.source()).batch_handler(options, all_fine));
    for n in 0..50 {
        publish(&queue, numbers(n..n + 1)).await;
        sleep(Duration::from_millis(10)).await;
    }
    timeout(LONG, until_done(&queue)).await.expect("it goes on");
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_counted_its_time_from_when_the_worker_last_woke() {
    async fn handler(_: Job<u32>) -> Result<(), Failure> {
        Ok(())
    }
    let queue = MemoryQueue::new();
    queue.settle_latency(Duration::from_secs(40));
    publish(&queue, numbers(0..1)).await;
    let worker = start(Worker::builder(queue.source()).handler(handler));
    sleep(Duration::from_secs(35)).await;
    let report = worker.drain().await;
    assert_eq!((report.finished, report.abandoned), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hung_while_settling_could_not_be_drained() {
    async fn handler(_: Job<u32>) -> Result<(), Failure> {
        Ok(())
    }
    let queue = MemoryQueue::new();
    queue.settle_latency(LONG * 100);
    publish(&queue, numbers(0..3)).await;
    let builder = Worker::builder(queue.source()).drain_timeout(Duration::from_secs(5));
    let worker = start(builder.handler(handler));
    sleep(Duration::from_secs(1)).await;
    let report = timeout(Duration::from_secs(15), worker.drain()).await.expect("it ends");
    assert_eq!((report.finished, report.abandoned), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_worker_kept_its_permits_of_a_shared_gate() {
    let gate = Gate::new(at_once(2));
    let stuck = MemoryQueue::new();
    publish(&stuck, numbers(0..2)).await;
    let builder = Worker::builder(stuck.source()).gate(gate.clone()).timeout(None);
    let worker = builder.handler(async |_: Job<u32>| {
        std::future::pending::<()>().await;
        Ok::<_, Failure>(())
    });
    let worker = worker.build().unwrap();
    let _ = timeout(Duration::from_secs(1), worker.run_until_drained()).await;
    tokio::task::yield_now().await;
    assert_eq!(gate.status().in_flight, 0);

    let queue = MemoryQueue::new();
    publish(&queue, numbers(0..5)).await;
    let worker = start(
        Worker::builder(queue.source())
            .gate(gate)
            .handler(async |_: Job<u32>| Ok::<_, Failure>(())),
    );
    timeout(LONG, until_done(&queue)).await.expect("it goes on");
    worker.drain().await;
}

/// A lane awaits a failed message that its source will not hand out again: it answered the retry with
/// an error for good. Whatever is parked behind it goes on at once.
async fn a_lane_goes_on_after(error: fn() -> SettleError) {
    async fn first_fails(job: Job<u32>) -> Result<(), Failure> {
        if job.payload == 0 { Err(Failure::transient("the first")) } else { Ok(()) }
    }
    let queue = MemoryQueue::with(MemoryOptions::default().order(OrderSupport::KeyInLanes));
    publish_keyed(&queue, "a", 0..3).await;
    queue.fail_settles(1, error);
    let builder = Worker::builder(queue.source()).ordered().retry(three_attempts());
    let worker = start(builder.handler(first_fails));
    sleep(Duration::from_secs(1)).await;
    let counts = worker.control.status().counts;
    assert_eq!((counts.acked, counts.stale + counts.refused), (2, 1), "{counts:?}");
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_was_refused_held_its_lane() {
    a_lane_goes_on_after(|| SettleError::Refused("no".into())).await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_came_too_late_held_its_lane() {
    a_lane_goes_on_after(|| SettleError::Stale).await;
}

/// The limit falls while keys wait for their first messages, as in a trouble: what is parked behind them
/// fills the smaller window, and the first ones, which come again, have to find room all the same.
#[tokio::test(start_paused = true)]
async fn a_window_that_shrank_left_no_room_for_what_its_lanes_waited_for() {
    async fn first_try_hangs(job: Job<u32>) -> Result<(), Failure> {
        if job.attempt() > 1 {
            return Ok(());
        }
        sleep(Duration::from_secs(2)).await;
        Err(Failure::transient("hung"))
    }
    let queue = MemoryQueue::with(MemoryOptions::default().order(OrderSupport::KeyInLanes));
    for key in ["a", "b", "c"] {
        publish_keyed(&queue, key, 0..9).await;
    }
    let builder = Worker::builder(queue.source()).ordered().retry(three_attempts());
    let worker = start(builder.concurrency(at_once(16)).handler(first_try_hangs));
    sleep(Duration::from_secs(1)).await;
    worker.control.gate().set_limit(1);
    // Nine tries that hang for each key, three keys, one at a time.
    timeout(Duration::from_secs(70), until_done(&queue)).await.expect("it goes on");
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn an_error_that_panicked_when_it_was_shown_ended_the_worker() {
    struct Mute;
    impl std::fmt::Debug for Mute {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Mute")
        }
    }
    impl std::fmt::Display for Mute {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("no words");
        }
    }
    impl std::error::Error for Mute {}
    let queue = MemoryQueue::new();
    publish(&queue, numbers(0..3)).await;
    let builder = Worker::builder(queue.source()).retry(three_attempts());
    let worker = start(builder.handler(async |_: Job<u32>| Err(Failure::permanent(Mute))));
    timeout(LONG, until_done(&queue)).await.expect("it goes on");
    assert_eq!(worker.control.status().counts.dead, 3);
    worker.drain().await;

    // A batch that cannot be split, as the system behind is overloaded: each has the error then.
    publish(&queue, numbers(0..3)).await;
    let busy = async |_: Vec<Job<u32>>| BatchOutcome::Failed(Failure::throttled(Mute, None));
    let worker = start(Worker::builder(queue.source()).batch_handler(BatchOptions::of(3), busy));
    sleep(Duration::from_secs(1)).await;
    assert!(worker.control.status().counts.postponed > 0);
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_timeout_without_end_ended_the_worker() {
    async fn waits(job: Job<u32>) -> Result<(), Failure> {
        assert_eq!(job.deadline(), None);
        sleep(Duration::from_secs(1)).await;
        Ok(())
    }
    let queue = MemoryQueue::new();
    publish(&queue, numbers(0..3)).await;
    let worker = start(Worker::builder(queue.source()).timeout(Duration::MAX).handler(waits));
    timeout(LONG, until_done(&queue)).await.expect("it goes on");
    worker.drain().await;
}

/// The broker has no place for a copy, and takes its time to say so, as long as it lasts.
struct NoPlaceForCopies(MemorySource);

impl Source for NoPlaceForCopies {
    type Receipt = <MemorySource as Source>::Receipt;

    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    async fn receive(
        &self,
        want: Want,
        out: &mut Vec<Delivery<Self::Receipt>>,
    ) -> Result<(), SourceError> {
        self.0.receive(want, out).await
    }

    async fn settle(
        &self,
        batch: &[Settlement<Self::Receipt>],
    ) -> Vec<Result<Settled, SettleError>> {
        let is_copy = |settlement: &Settlement<_>| settlement.verdict != Verdict::Ack;
        if !batch.iter().any(is_copy) {
            return self.0.settle(batch).await;
        }
        sleep(Duration::from_secs(10)).await;
        let mut answers = Vec::new();
        for settlement in batch {
            answers.push(match is_copy(settlement) {
                true => Err(SettleError::Unavailable("no leader".into())),
                false => self.0.settle(std::slice::from_ref(settlement)).await.remove(0),
            });
        }
        answers
    }

    async fn extend(&self, batch: &[(Self::Receipt, Duration)]) -> Vec<Result<Lease, LeaseError>> {
        self.0.extend(batch).await
    }

    async fn backlog(&self) -> Result<Backlog, SourceError> {
        self.0.backlog().await
    }

    async fn close(&self, within: Duration) -> Result<(), SourceError> {
        self.0.close(within).await
    }
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_waited_for_a_copy_that_the_broker_had_no_place_for() {
    async fn the_seventh_fails(job: Job<u32>) -> Result<(), Failure> {
        if job.payload == 7 { Err(Failure::transient("seven")) } else { Ok(()) }
    }
    let queue = MemoryQueue::new();
    publish(&queue, numbers(0..1000)).await;
    let builder = Worker::builder(NoPlaceForCopies(queue.source())).concurrency(at_once(4));
    let worker = start(builder.drain_timeout(Duration::from_secs(5)).handler(the_seventh_fails));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(worker.control.status().counts.acked, 999);
    let report = worker.drain().await;
    assert_eq!(report.abandoned, 1, "the copy is told as such");
}
