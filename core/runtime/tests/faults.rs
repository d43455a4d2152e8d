//! Brokers that are away, leases that end, workers that die: nothing is lost, nothing is done twice
//! that need not be.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{at_once, kinds, publish, publish_keyed, start, three_attempts};
use forebay::{
    Failure, Job, OrderSupport, SettleError, SourceError, Verdict, Worker,
    testing::{MemoryOptions, MemoryQueue, until_done},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// What was handled, in order.
type Log = Arc<Mutex<Vec<u32>>>;

async fn note(job: Job<u32, Log>) -> Result<(), Failure> {
    job.state().lock().unwrap().push(job.payload);
    Ok(())
}

fn numbers(n: u32) -> impl Iterator<Item = String> {
    (0..n).map(|n| n.to_string())
}

fn leased(lease: Duration) -> MemoryQueue {
    MemoryQueue::with(MemoryOptions::default().lease(lease))
}

#[tokio::test(start_paused = true)]
async fn receiving_goes_on_when_the_broker_is_back() {
    let (queue, log) = (MemoryQueue::new(), Log::default());
    queue.fail_receives(5, || SourceError::Unavailable("away".into()));
    publish(&queue, numbers(10)).await;
    let worker = start(Worker::builder(queue.source()).state(log.clone()).handler(note));
    until_done(&queue).await;
    assert_eq!(worker.control.status().counts.receive_errors, 5);
    worker.drain().await;
    assert_eq!(log.lock().unwrap().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_for_good_ends_the_worker_with_its_error() {
    let (queue, log) = (MemoryQueue::new(), Log::default());
    queue.fail_receives(1, || SourceError::Fatal("the file is corrupt".into()));
    let worker = start(Worker::builder(queue.source()).state(log).handler(note));
    let error = worker.task.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("the file is corrupt"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn verdicts_are_settled_again_until_the_broker_takes_them() {
    let (queue, log) = (MemoryQueue::new(), Log::default());
    queue.fail_settles(7, || SettleError::Unavailable("away".into()));
    queue.lose_answers(3);
    publish(&queue, numbers(10)).await;
    let worker = start(Worker::builder(queue.source()).state(log.clone()).handler(note));
    until_done(&queue).await;
    assert!(worker.control.status().counts.settle_errors >= 7);
    worker.drain().await;
    assert_eq!(log.lock().unwrap().len(), 10, "nothing was handled twice");
    assert_eq!(kinds(&queue.verdicts()), ["ack"; 10], "and nothing settled twice");
}

#[tokio::test(start_paused = true)]
async fn a_refused_verdict_gives_its_room_back_and_is_counted() {
    let (queue, log) = (leased(Duration::from_secs(10)), Log::default());
    queue.fail_settles(1, || SettleError::Refused("too large".into()));
    publish(&queue, numbers(1)).await;
    let worker = start(Worker::builder(queue.source()).state(log).handler(note));
    sleep(Duration::from_secs(1)).await;
    let status = worker.control.status();
    assert_eq!((status.counts.refused, status.in_hand), (1, 0));
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn leases_are_kept_for_as_long_as_the_handler_runs_and_while_messages_wait() {
    async fn handler(job: Job<u32, Log>) -> Result<(), Failure> {
        sleep(Duration::from_secs(60)).await;
        job.state().lock().unwrap().push(job.payload);
        Ok(())
    }
    let (queue, log) = (leased(Duration::from_secs(5)), Log::default());
    publish(&queue, numbers(4)).await;
    let builder = Worker::builder(queue.source()).state(log.clone()).timeout(None);
    let worker = start(builder.concurrency(at_once(1)).handler(handler));
    until_done(&queue).await;
    worker.drain().await;
    assert_eq!(log.lock().unwrap().len(), 4);
    assert_eq!(kinds(&queue.verdicts()), ["ack"; 4]);
}

#[tokio::test(start_paused = true)]
async fn leases_are_kept_through_a_drain() {
    async fn handler(_: Job<u32>) -> Result<(), Failure> {
        sleep(Duration::from_secs(20)).await;
        Ok(())
    }
    let queue = leased(Duration::from_secs(3));
    publish(&queue, numbers(1)).await;
    let worker = start(Worker::builder(queue.source()).handler(handler));
    sleep(Duration::from_secs(1)).await;
    let report = worker.drain().await;
    assert_eq!((report.finished, report.abandoned), (1, 0));
    assert_eq!(kinds(&queue.verdicts()), ["ack"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_scope_calls_its_handlers_off() {
    async fn handler(job: Job<u32, Log>) -> Result<(), Failure> {
        job.state().lock().unwrap().push(0);
        if job.message().deliveries == Some(1) {
            job.cancellation().cancelled().await;
            job.state().lock().unwrap().push(1);
        }
        Ok(())
    }
    let (queue, log) = (MemoryQueue::new(), Log::default());
    publish(&queue, numbers(1)).await;
    let builder = Worker::builder(queue.source()).state(log.clone()).timeout(None);
    let worker = start(builder.handler(handler));
    sleep(Duration::from_secs(1)).await;
    queue.sever();
    until_done(&queue).await;
    worker.drain().await;
    assert_eq!(*log.lock().unwrap(), [0, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_calls_its_handler_off() {
    async fn handler(job: Job<u32, Log>) -> Result<(), Failure> {
        if job.message().interrupted == 0 {
            job.cancellation().cancelled().await;
        }
        job.state().lock().unwrap().push(job.message().interrupted);
        Ok(())
    }
    let (queue, log) = (leased(Duration::from_secs(2)), Log::default());
    publish(&queue, numbers(1)).await;
    let builder = Worker::builder(queue.source()).state(log.clone()).timeout(None);
    let worker = start(builder.handler(handler));
    sleep(Duration::from_millis(500)).await;
    queue.down("away");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(*log.lock().unwrap(), [0], "called off when its lease could not be renewed");
    assert_eq!(worker.control.status().counts.leases_lost, 1);
    queue.up();
    until_done(&queue).await;
    worker.drain().await;
    assert_eq!(*log.lock().unwrap(), [0, 1], "and done again, since nobody knew that it was done");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_dropped_loses_nothing() {
    let queue = leased(Duration::from_secs(2));
    publish(&queue, numbers(100)).await;
    let builder = Worker::builder(queue.source()).handler(async |_: Job<u32>| {
        std::future::pending::<()>().await;
        Ok::<_, Failure>(())
    });
    let worker = builder.build().unwrap();
    let _ = tokio::time::timeout(Duration::from_secs(1), worker.run_until_drained()).await;
    let log = Log::default();
    let worker = start(Worker::builder(queue.source()).state(log.clone()).handler(note));
    until_done(&queue).await;
    worker.drain().await;
    let mut handled = log.lock().unwrap().clone();
    handled.sort_unstable();
    assert_eq!(handled, (0..100).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_out_when_its_worker_died_runs_alone() {
    /// How many run, and, of each suspect, how many ran beside it.
    type Beside = (i32, Vec<(u32, i32)>);
    #[derive(Clone, Default)]
    struct Alone(Arc<Mutex<Beside>>);
    async fn handler(job: Job<u32, Alone>) -> Result<(), Failure> {
        job.state().0.lock().unwrap().0 += 1;
        sleep(Duration::from_millis(10)).await;
        let mut state = job.state().0.lock().unwrap();
        let running = state.0;
        if job.message().interrupted > 0 {
            state.1.push((job.payload, running));
        }
        state.0 -= 1;
        Ok(())
    }
    let queue = leased(Duration::from_secs(2));
    publish(&queue, numbers(3)).await;
    let killed = queue.source();
    let mut out = Vec::new();
    let want = forebay::Want { messages: 3, bytes: 1 << 20 };
    forebay::Source::receive(&killed, want, &mut out).await.unwrap();
    drop(killed);
    sleep(Duration::from_secs(3)).await;
    publish(&queue, (3..40).map(|n| n.to_string())).await;
    let state = Alone::default();
    let worker = start(Worker::builder(queue.source()).state(state.clone()).handler(handler));
    until_done(&queue).await;
    worker.drain().await;
    let mut suspects = state.0.lock().unwrap().1.clone();
    suspects.sort_unstable();
    assert_eq!(suspects, [(0, 1), (1, 1), (2, 1)], "each with nothing beside it");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_kills_its_worker_each_time_ends_in_the_dead_letters() {
    let queue = leased(Duration::from_secs(2));
    publish(&queue, numbers(1)).await;
    for _ in 0..3 {
        let builder = Worker::builder(queue.source()).retry(three_attempts());
        let worker = builder.handler(async |_: Job<u32>| {
            std::future::pending::<()>().await;
            Ok::<_, Failure>(())
        });
        let worker = worker.build().unwrap();
        // Killed in the middle of its work.
        let _ = tokio::time::timeout(Duration::from_secs(1), worker.run_until_drained()).await;
        sleep(Duration::from_secs(3)).await;
    }
    let log = Log::default();
    let builder = Worker::builder(queue.source()).retry(three_attempts()).state(log.clone());
    let worker = start(builder.handler(note));
    until_done(&queue).await;
    worker.drain().await;
    assert!(log.lock().unwrap().is_empty(), "not run a fourth time");
    let verdicts = queue.verdicts();
    let Some((_, Verdict::DeadLetter { reason, .. })) = verdicts.last() else { panic!() };
    assert_eq!(*reason, forebay::DeadReason::KilledWorker);
}

#[tokio::test(start_paused = true)]
async fn order_by_key_holds_across_retries_and_keys_do_not_wait_for_each_other() {
    type Seen = Arc<Mutex<HashMap<String, Vec<u32>>>>;
    async fn handler(job: Job<u32, Seen>) -> Result<(), Failure> {
        sleep(Duration::from_millis(u64::from(job.payload % 3))).await;
        if job.payload.is_multiple_of(5) && job.attempt() == 1 {
            return Err(Failure::transient("once"));
        }
        let key = String::from_utf8(job.key().unwrap().to_vec()).unwrap();
        job.state().lock().unwrap().entry(key).or_default().push(job.payload);
        Ok(())
    }
    for order in [OrderSupport::KeyAtSource, OrderSupport::KeyInLanes] {
        let queue = MemoryQueue::with(MemoryOptions::default().order(order));
        for key in ["a", "b", "c"] {
            publish_keyed(&queue, key, 0..100).await;
        }
        let seen = Seen::default();
        let builder = Worker::builder(queue.source()).state(seen.clone()).ordered();
        let worker = start(builder.retry(three_attempts()).handler(handler));
        let began = Instant::now();
        until_done(&queue).await;
        worker.drain().await;
        for (key, handled) in seen.lock().unwrap().iter() {
            assert_eq!(*handled, (0..100).collect::<Vec<_>>(), "key {key}, {order:?}");
        }
        assert!(began.elapsed() < Duration::from_secs(25), "{order:?}: {:?}", began.elapsed());
    }
}
