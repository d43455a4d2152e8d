//! Dead letters taken out of the midst of others, until there is no room to say which.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_contract::{
    Carried, DeadFilter, DeadLetters, DeadLettersError, DeadOrigin, DeadReason, FOREBAY_STATE,
};
use forebay_kafka::{Create, KafkaError};
use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use std::time::{Duration, SystemTime};
use support::{Topic, client, options};

/// More than a bitset of 4,096 bytes of text has room for.
const LETTERS: usize = 26_000;

fn fill(topic: &str) {
    let producer: ThreadedProducer<DefaultProducerContext> = client().create().unwrap();
    let origin = DeadOrigin { queue: "q".into(), position: "q:0:0".into() };
    let carried = Carried::default().died(DeadReason::TooOld, origin, SystemTime::now());
    let state = carried.state(usize::MAX).unwrap();
    for n in 0..LETTERS {
        let mut record = BaseRecord::<(), str>::to(topic).payload("x").partition(0);
        if n % 3 == 1 {
            record = record.headers(
                OwnedHeaders::new().insert(Header { key: FOREBAY_STATE, value: Some(&state) }),
            );
        }
        producer.send(record).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
}

fn is_scattered(error: &DeadLettersError) -> bool {
    let DeadLettersError::Fatal(why) = error else { return false };
    matches!(why.downcast_ref(), Some(KafkaError::Scattered { .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_noted_is_not_moved() {
    let mut own = options("scattered");
    own.create = Some(Create { partitions: 1, replication: 1 });
    let topic = Topic::open(own).await.unwrap();
    let name = topic.options.topic.clone();
    fill(&format!("{name}.dead"));
    let consumer: BaseConsumer = client().create().unwrap();
    let moved =
        || consumer.fetch_watermarks(&name, 0, Duration::from_secs(10)).unwrap().1.unsigned_abs();

    let filter = DeadFilter { reason: Some(DeadReason::TooOld), ..DeadFilter::default() };
    let redriven = topic.queue.redrive(&filter, usize::MAX).await.unwrap();
    assert!(redriven.stopped.as_ref().is_some_and(is_scattered), "{:?}", redriven.stopped);
    let told = redriven.moved.len() as u64;
    assert!((1_000..8_600).contains(&told), "{told}");
    assert_eq!(moved(), told, "what was moved was told");

    let again = topic.queue.redrive(&filter, usize::MAX).await.unwrap_err();
    assert!(is_scattered(&again), "{again}");
    assert_eq!(moved(), told, "nothing is moved once more");

    // The way out that the error names.
    let oldest = topic.queue.redrive(&DeadFilter::default(), 2_000).await.unwrap();
    assert_eq!((oldest.moved.len(), oldest.stopped.is_none()), (2_000, true));
    let rest = topic.queue.redrive(&filter, 200).await.unwrap();
    assert_eq!((rest.moved.len(), rest.stopped.is_none()), (200, true));
}
