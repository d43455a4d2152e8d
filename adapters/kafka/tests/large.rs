//! Messages that others have published, so large that their topic has no room for what copies carry.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_contract::{DeadFilter, DeadLetters, DeadReason, SettleError, Source, Verdict};
use forebay_kafka::{Create, KafkaOptions};
use rdkafka::{
    admin::{AdminOptions, NewTopic, TopicReplication},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use std::time::Duration;
use support::{Topic, ack, admin, client, note, options, receive_n, retry, settle};

const SECOND: Duration = Duration::from_secs(1);
/// What a topic takes unless told otherwise, less what frames a record.
const LARGE: usize = 1_048_588 - 100;

/// Topics with Kafka's own limit, made by somebody else.
async fn made_by_others(names: &[&str]) {
    let new = names.iter().map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1)));
    let new: Vec<_> = new.collect();
    for made in admin().create_topics(&new, &AdminOptions::new()).await.unwrap() {
        made.unwrap();
    }
}

fn produce(topic: &str) {
    let mut config = client();
    config.set("message.max.bytes", "2000000");
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
    let payload = vec![b'x'; LARGE];
    producer.send(BaseRecord::<(), [u8]>::to(topic).payload(&payload)).unwrap();
    producer.flush(10 * SECOND).unwrap();
}

fn own() -> KafkaOptions {
    let mut own = options("large");
    own.create = Some(Create { partitions: 1, replication: 1 });
    own.retry_steps.truncate(1);
    own
}

fn dead() -> Verdict {
    Verdict::DeadLetter { reason: DeadReason::AttemptsExhausted, note: note("too much") }
}

/// It fails, is tried again, dies, and is redriven.
async fn go_through_all(own: KafkaOptions, reason: DeadReason, redrives: u32) {
    produce(&own.topic);
    let topic = Topic::open(own).await.unwrap();
    let source = topic.queue.source().await.unwrap();
    let first = receive_n(&source, 1).await;
    let id = first[0].message.id.clone();
    settle(&source, &first, retry(SECOND / 10)).await.remove(0).unwrap();
    let second = receive_n(&source, 1).await;
    assert_eq!((&second[0].message.id, second[0].message.attempt), (&id, 1));
    assert_eq!(second[0].message.history.notes().len(), 1);
    settle(&source, &second, dead()).await.remove(0).unwrap();

    let letter = topic.queue.list(&DeadFilter::default(), None, 9).await.unwrap().remove(0);
    assert_eq!((letter.message.payload.len(), letter.reason), (LARGE, reason));
    let redriven = topic.queue.redrive(&DeadFilter::default(), 9).await.unwrap();
    assert!(redriven.moved.len() == 1 && redriven.stopped.is_none(), "{:?}", redriven.stopped);
    let third = receive_n(&source, 1).await;
    assert_eq!((third[0].message.attempt, third[0].message.redrives), (0, redrives));
    ack(&source, &third).await;
    source.close(5 * SECOND).await.unwrap();
    // Nothing is left, and nothing is stuck.
    assert_eq!(topic.queue.backlog().await.unwrap().outstanding(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_are_created_have_room_for_what_others_publish() {
    let own = own();
    made_by_others(&[&own.topic]).await;
    // Its own topic has no room for the count of a redrive.
    go_through_all(own, DeadReason::AttemptsExhausted, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_a_state_a_retry_waits_here_and_a_dead_letter_is_bare() {
    let own = own();
    let name = |suffix: &str| format!("{}{suffix}", own.topic);
    made_by_others(&[&own.topic, &name(".retry.100ms"), &name(".dead")]).await;
    go_through_all(own, DeadReason::Permanent, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_topic_that_is_too_small_is_named_with_its_setting() {
    let own = own();
    made_by_others(&[&own.topic]).await;
    let name = format!("{}.dead", own.topic);
    let small = NewTopic::new(&name, 1, TopicReplication::Fixed(1));
    admin()
        .create_topics([&small.set("max.message.bytes", "100000")], &AdminOptions::new())
        .await
        .unwrap();
    produce(&own.topic);
    let topic = Topic::open(own).await.unwrap();
    let source = topic.queue.source().await.unwrap();
    let out = receive_n(&source, 1).await;
    let error = settle(&source, &out, dead()).await.remove(0).unwrap_err();
    assert!(matches!(error, SettleError::Refused(_)), "{error}");
    let said = error.to_string();
    for word in [&*name, "`max.message.bytes`", "`max_message_bytes`"] {
        assert!(said.contains(word), "{said}");
    }
    ack(&source, &out).await;
    source.close(5 * SECOND).await.unwrap();
}
