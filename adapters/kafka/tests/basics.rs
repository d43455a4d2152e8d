//! What Kafka alone asks of its adapter.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_contract::Source;
use std::time::{Duration, Instant};
use support::{Topic, ack, numbered, options, publish, receive_n};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_takes_no_time() {
    let topic = Topic::open(options("close")).await.unwrap();
    let source = topic.queue.source().await.unwrap();
    publish(&topic.queue, &numbered(20)).await;
    let out = receive_n(&source, 20).await;
    ack(&source, &out).await;
    let start = Instant::now();
    source.close(Duration::from_secs(10)).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}
