//! While handlers hog the processor, the pump has a thread of its own: it finds it, and leaves it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{at_once, publish, start};
use forebay::{
    Failure, Job, Worker,
    testing::{MemoryQueue, until_done},
};
use std::{fs, thread, time::Duration};
use tokio::time::{sleep, timeout};

/// Blocks its thread, as a handler should not.
async fn hog(_: Job<u32>) -> Result<(), Failure> {
    thread::sleep(Duration::from_millis(5));
    Ok(())
}

/// Whether this process has a thread for a pump.
fn is_aside() -> bool {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let mut names =
        tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.any(|name| name.trim() == "forebay-pump")
}

async fn until_aside(wanted: bool) {
    let reached = async {
        while is_aside() != wanted {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(20), reached).await.unwrap();
}

// One test, since all tests of a program are one process.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_pump_goes_aside_while_handlers_block_and_ends_with_its_worker() {
    let queue = MemoryQueue::new();
    publish(&queue, (0..300).map(|n| n.to_string())).await;
    let worker = start(Worker::builder(queue.source()).concurrency(at_once(4)).handler(hog));
    until_aside(true).await;
    timeout(Duration::from_secs(20), until_done(&queue)).await.unwrap();
    assert_eq!(worker.control.status().counts.acked, 300);
    worker.drain().await;
    until_aside(false).await;

    publish(&queue, (0..10_000).map(|n| n.to_string())).await;
    let worker = start(Worker::builder(queue.source()).concurrency(at_once(4)).handler(hog));
    until_aside(true).await;
    worker.task.abort();
    until_aside(false).await;
    let settled = queue.verdicts().len();
    assert!(settled < 10_300, "a worker that is dropped stops");
}
