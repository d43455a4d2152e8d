//! What a worker shows of itself to who looks from outside: whether its loop turns, whether its broker
//! is away.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{publish, start};
use forebay::{
    Failure, Job, Status, Worker,
    testing::{MemoryQueue, until_done},
};
use std::{thread, time::Duration};
use tokio::time::{sleep, timeout};

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let reached = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), reached).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_goes_and_comes_back_is_shown_as_such() {
    let queue = MemoryQueue::new();
    let handler = async |_: Job<u32>| Ok::<_, Failure>(());
    let worker = start(Worker::builder(queue.source()).handler(handler));
    let status = || worker.control.status();
    assert!(!status().away);
    queue.down("being restarted");
    until("it is away", || status().away).await;
    queue.up();
    until("it is back", || !status().away).await;
    worker.drain().await;
}

/// On a runtime of one thread the loop has its turn only when the test waits.
#[tokio::test]
async fn a_loop_that_stands_still_does_not_answer_and_one_that_turns_does() {
    let queue = MemoryQueue::new();
    let handler = async |_: Job<u32>| {
        thread::sleep(Duration::from_millis(100));
        Ok::<_, Failure>(())
    };
    let worker = start(Worker::builder(queue.source()).handler(handler));
    let status: &dyn Fn() -> Status = &|| worker.control.status();
    // Nothing has been awaited: the loop has not had its turn.
    worker.control.ping();
    assert_eq!(status().beats, 0);
    until("it has answered", || status().beats == 1).await;
    publish(&queue, ["1".to_owned()]).await;
    worker.control.ping();
    until_done(&queue).await;
    until("it answers beside its work", || status().beats == 2).await;
    worker.drain().await;
}
