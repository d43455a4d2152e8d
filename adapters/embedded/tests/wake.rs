//! An idle receiver is woken: by another process, by time, and, if all else fails, by polling.
//!
//! The poll interval is set to minutes where something else is to do the waking.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::Process;
use forebay_contract::{Outgoing, Verdict};
use forebay_embedded::{EmbeddedSource, Queue, SourceOptions, Store};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use support::{publish, queue, receive, retry, settle, variable};

/// A queue that polls only every five minutes.
async fn deaf(file: &Path) -> Queue {
    let options = Store::options().poll(Duration::from_secs(300));
    options.open(file).unwrap().queue("orders").await.unwrap()
}

fn source(queue: &Queue) -> EmbeddedSource {
    queue.source(&SourceOptions::default())
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn child_that_publishes() {
    let Some(file) = variable("WAKE_TEST") else { return };
    let queue = queue(&file).await;
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        let sent = since_epoch().as_micros().to_string();
        publish(&queue, &[Outgoing::new(sent)]).await;
    }
}

#[tokio::test]
async fn a_publish_in_another_process_wakes_within_50_ms() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("q.db");
    let source = source(&deaf(&file).await);
    let process = Process::start("child_that_publishes", &[("WAKE_TEST", &file)]);
    let mut took = Vec::new();
    while took.len() < 9 {
        for out in receive(&source, 10).await {
            let sent = std::str::from_utf8(&out.message.payload).unwrap().parse().unwrap();
            took.push(since_epoch() - Duration::from_micros(sent));
            settle(&source, &[out], Verdict::Ack).await;
        }
    }
    process.finish();
    took.sort();
    println!("from before the publish to after the receive: {took:?}");
    assert!(took[4] < Duration::from_millis(50), "the median took {:?}", took[4]);
}

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn child_that_waits() {
    let Some(file) = variable("WAKE_TEST") else { return };
    let source = source(&queue(&file).await);
    println!("waiting");
    receive(&source, 1).await;
}

#[tokio::test]
async fn the_socket_of_a_killed_process_is_cleaned_up() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("q.db");
    let process = Process::start("child_that_waits", &[("WAKE_TEST", &file)]);
    let sockets = || fs::read_dir(directory.path().join("q.db.wake")).map_or(0, Iterator::count);
    while sockets() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    process.kill();
    assert_eq!(sockets(), 1);
    publish(&queue(&file).await, &[Outgoing::new("x")]).await;
    let start = Instant::now();
    while sockets() > 0 {
        assert!(start.elapsed() < Duration::from_secs(5), "it is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_polled() {
    let directory = tempfile::tempdir().unwrap();
    let long = directory.path().join("d".repeat(100));
    fs::create_dir(&long).unwrap();
    let file = long.join("q.db");
    let source = source(&queue(&file).await);
    let other = queue(&file).await;
    let (out, ()) = tokio::join!(receive(&source, 1), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        publish(&other, &[Outgoing::new("x")]).await;
    });
    assert_eq!(out.len(), 1);
}

#[tokio::test]
async fn a_delayed_message_and_a_retry_come_when_due() {
    let directory = tempfile::tempdir().unwrap();
    let queue = deaf(&directory.path().join("q.db")).await;
    let source = source(&queue);
    let delay = Duration::from_millis(80);
    let start = Instant::now();
    publish(&queue, &[Outgoing::new("x").delay(delay)]).await;
    let out = receive(&source, 1).await;
    assert!(start.elapsed() >= delay, "too early: {:?}", start.elapsed());
    let start = Instant::now();
    settle(&source, &out, retry(delay)).await;
    receive(&source, 1).await;
    assert!(start.elapsed() >= delay, "too early: {:?}", start.elapsed());
}

#[tokio::test]
async fn an_idle_receiver_takes_over_when_a_lease_ends() {
    let directory = tempfile::tempdir().unwrap();
    let queue = deaf(&directory.path().join("q.db")).await;
    publish(&queue, &[Outgoing::new("x")]).await;
    let dying = queue.source(&SourceOptions::default().lease(Duration::from_millis(100)));
    let out = receive(&dying, 1).await;
    let next = receive(&source(&queue), 1).await;
    assert_eq!(next[0].message.interrupted, 1);
    assert_eq!(next[0].message.deliveries, Some(2));
    assert_eq!(settle(&dying, &out, Verdict::Ack).await, [false], "a stale receipt settled");
}
