//! A broker that is killed (SIGKILL) three times, and started again, while a worker is under load.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::{Broker, nothing_is_lost_when_killed};
use forebay_contract::Source;
use forebay_kafka::KafkaQueue;
use std::{sync::Arc, time::Duration};
use support::options;

/// It is let in again soon after a kill, and, living for seconds, rather starts soon than runs fast.
const LIVES_SHORTLY: [(&str, &str); 2] = [
    ("FOREBAY_KAFKA_SESSION_MS", "2000"),
    ("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_when_the_broker_is_killed() {
    let broker = Arc::new(Broker::start("kafka", &LIVES_SHORTLY));
    let mut own = options("restarts");
    own.brokers = broker.address(29_092);
    own.publish_timeout = Duration::from_secs(2);
    let queue = KafkaQueue::open(own).await.unwrap();
    let source = queue.source().await.unwrap();
    nothing_is_lost_when_killed(&broker, &queue, &source).await;
    source.close(Duration::from_secs(5)).await.unwrap();
}
