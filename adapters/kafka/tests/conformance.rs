//! The contract, case by case, on a real broker; each case has topics and a group of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_conformance::{
    Harness, Setup, Stop, kill_redrive_halfway, queue_to_redrive, redrive_slowly,
};
use forebay_kafka::{Create, KafkaOptions, KafkaQueue, KafkaSource, Order};
use std::time::{Duration, Instant};
use support::Topic;

struct Kafka;

impl Harness for Kafka {
    type Queue = Topic;
    type Source = KafkaSource;
    type Sink = KafkaQueue;
    type Dead = KafkaQueue;

    async fn fresh(&self, setup: &Setup) -> Result<Topic, Stop> {
        let mut options = support::options("conformance");
        options.order = if setup.ordered { Order::Key } else { Order::None };
        // Some cases take for granted that messages come in about the order in which they were
        // published, which several partitions do not keep.
        let partitions = if setup.ordered { 2 } else { 1 };
        options.create = Some(Create { partitions, replication: 1 });
        Ok(Topic::open(options).await?)
    }

    async fn open(&self, topic: &Topic, setup: &Setup) -> Result<KafkaSource, Stop> {
        let source = topic.queue.source().await?;
        if setup.ordered {
            // Until each worker has its share: messages that are out when a partition moves come to
            // both, as they do on Kafka.
            let end = Instant::now() + Duration::from_secs(8);
            while source.assigned().is_empty() && Instant::now() < end {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(source)
    }

    async fn sink(&self, topic: &Topic) -> Result<KafkaQueue, Stop> {
        Ok(topic.queue.clone())
    }

    async fn dead(&self, topic: &Topic) -> Result<KafkaQueue, Stop> {
        Ok(topic.queue.clone())
    }

    async fn restart(&self, topic: Topic) -> Result<Topic, Stop> {
        Ok(topic.reopen().await?)
    }

    async fn redrive_killed_halfway(&self, topic: &Topic) -> Result<(), Stop> {
        kill_redrive_halfway("child_that_redrives", &topic.options.topic)
    }
}

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn child_that_redrives() {
    let Some(name) = queue_to_redrive() else { return };
    let mut options: KafkaOptions = support::options("conformance");
    options.group = format!("forebay-{name}");
    (options.own_topics, options.topic) = (name.clone(), name);
    let queue = KafkaQueue::open(options).await.unwrap();
    redrive_slowly(&queue).await;
}

forebay_conformance::conformance_tests!(Kafka);
