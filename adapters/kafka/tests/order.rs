//! Order: per partition, per key, and what is known of a message that waited when its worker went.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_contract::{
    OrderSupport, Outgoing, PublishError, Sink, Source, SourceError, Verdict, Want,
};
use forebay_kafka::{Create, KafkaOptions, KafkaQueue, KafkaSource, Order};
use rdkafka::{
    admin::{AdminOptions, NewPartitions},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use std::time::{Duration, Instant};
use support::{
    Topic, ack, admin, client, options, publish, receive_for, receive_n, retry, settle, text, until,
};

const SECOND: Duration = Duration::from_secs(1);

fn ordered(what: &str, order: Order) -> KafkaOptions {
    let mut options = options(what);
    options.create = Some(Create { partitions: 1, replication: 1 });
    options.order = order;
    options
}

fn keyed(keys: &[&str], each: usize) -> Vec<Outgoing> {
    let all = (0..each).flat_map(|n| keys.iter().map(move |key| (*key, n)));
    all.map(|(key, n)| Outgoing::new(format!("{key}{n}")).key(key.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn per_partition_one_message_is_out_at_a_time_whatever_becomes_of_it() {
    let topic = Topic::open(ordered("partition", Order::Partition)).await.unwrap();
    let source = topic.queue.source().await.unwrap();
    assert_eq!(source.capabilities().order, OrderSupport::KeyAtSource);
    publish(&topic.queue, &keyed(&["a", "b"], 4)).await;
    let mut seen = Vec::new();
    while seen.len() < 9 {
        let out = receive_for(&source, SECOND / 2, 10).await;
        assert_eq!(out.len(), 1, "more than one is out, or none came: {seen:?}");
        let first_try = out[0].message.attempt == 0;
        let verdict = match text(&out[0]).as_str() {
            "b0" if first_try => retry(Duration::from_millis(100)),
            _ => Verdict::Ack,
        };
        seen.push(text(&out[0]));
        settle(&source, &out, verdict).await.remove(0).unwrap();
    }
    assert_eq!(seen, ["a0", "b0", "b0", "a1", "b1", "a2", "b2", "a3", "b3"]);
    source.close(5 * SECOND).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn per_key_a_waiting_message_holds_up_its_key_alone() {
    let topic = Topic::open(ordered("key", Order::Key)).await.unwrap();
    let source = topic.queue.source().await.unwrap();
    publish(&topic.queue, &keyed(&["a", "b"], 1)).await;
    let out = receive_n(&source, 2).await;
    settle(&source, &out[..1], retry(2 * SECOND)).await.remove(0).unwrap();
    ack(&source, &out[1..]).await;
    publish(&topic.queue, &keyed(&["a", "b"], 20)).await;
    let start = Instant::now();
    let others = receive_n(&source, 20).await;
    assert!(others.iter().all(|out| text(out).starts_with('b')));
    assert!(start.elapsed() < SECOND, "the other key had to wait: {:?}", start.elapsed());
    let of_a = receive_n(&source, 21).await;
    assert!(start.elapsed() > SECOND, "{:?}", start.elapsed());
    assert_eq!(of_a[0].message.attempt, 1);
    assert_eq!(text(&of_a[0]), "a0");
    let rest: Vec<_> = of_a[1..].iter().map(text).collect();
    assert_eq!(rest, (0..20).map(|n| format!("a{n}")).collect::<Vec<_>>());
    source.close(5 * SECOND).await.unwrap();
}

/// The worker goes without a word, as far as the message is concerned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_of_a_message_that_waits_in_its_lane_survive_its_worker() {
    for order in [Order::Key, Order::Partition] {
        let topic = Topic::open(ordered("attempts", order)).await.unwrap();
        let source = topic.queue.source().await.unwrap();
        publish(&topic.queue, &keyed(&["a"], 3)).await;
        let out = receive_n(&source, 1).await;
        settle(&source, &out, retry(Duration::ZERO)).await.remove(0).unwrap();
        let out = receive_n(&source, 1).await;
        assert_eq!((text(&out[0]).as_str(), out[0].message.attempt), ("a0", 1));
        let (start, after) = (Instant::now(), Duration::from_millis(1500));
        settle(&source, &out, retry(after)).await.remove(0).unwrap();
        drop(source);

        let next = topic.queue.source().await.unwrap();
        let out = receive_n(&next, 1).await;
        assert_eq!((text(&out[0]).as_str(), out[0].message.attempt), ("a0", 2), "{order:?}");
        assert_eq!(out[0].message.history.notes().len(), 2);
        assert!(
            start.elapsed() + Duration::from_millis(2) >= after,
            "early: {:?}",
            start.elapsed()
        );
        ack(&next, &out).await;
        let out = receive_n(&next, 1).await;
        assert_eq!((text(&out[0]).as_str(), out[0].message.attempt), ("a1", 0));
        next.close(5 * SECOND).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_is_refused_where_order_is_kept() {
    let topic = Topic::open(ordered("delay", Order::Key)).await.unwrap();
    let answer = topic.queue.publish(&[Outgoing::new("x").delay(SECOND)]).await.remove(0);
    assert!(
        matches!(&answer, Err(PublishError::Refused(why)) if why.to_string().contains("delay"))
    );
}

/// Someone gives the topic more partitions while a worker runs; what fails there is noted all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_added_while_running_are_in_order_too() {
    for created in [true, false] {
        let mut own = ordered("added", Order::Key);
        own.raw.insert("topic.metadata.refresh.interval.ms".into(), "500".into());
        let topic = Topic::open(own.clone()).await.unwrap();
        if !created {
            own.create = None;
        }
        let source = KafkaQueue::open(own).await.unwrap().source().await.unwrap();
        let name = &topic.options.topic;
        // The producer for attempts knows how many there were.
        publish(&topic.queue, &keyed(&["a"], 1)).await;
        let out = receive_n(&source, 1).await;
        settle(&source, &out, retry(Duration::ZERO)).await.remove(0).unwrap();
        ack(&source, &receive_n(&source, 1).await).await;

        let three = [NewPartitions::new(name, 3)];
        admin().create_partitions(&three, &AdminOptions::new()).await.unwrap();
        if !created {
            let received = receive_error(&source).await;
            assert!(received.contains("order") && received.contains("`create`"), "{received}");
            continue;
        }
        until("all are assigned", async || source.assigned().len() == 3).await;
        let producer: ThreadedProducer<DefaultProducerContext> = client().create().unwrap();
        producer.send(BaseRecord::<(), str>::to(name).payload("new").partition(2)).unwrap();
        producer.flush(5 * SECOND).unwrap();
        let out = receive_n(&source, 1).await;
        settle(&source, &out, retry(SECOND / 10)).await.remove(0).unwrap();
        let out = receive_n(&source, 1).await;
        assert_eq!((text(&out[0]).as_str(), out[0].message.attempt), ("new", 1));
        ack(&source, &out).await;
        source.close(5 * SECOND).await.unwrap();
    }
}

async fn receive_error(source: &KafkaSource) -> String {
    let mut out = Vec::new();
    let received = source.receive(Want { messages: 1, bytes: 1 << 20 }, &mut out);
    let received = tokio::time::timeout(20 * SECOND, received).await.expect("a word");
    let Err(SourceError::Fatal(error)) = received else { panic!("{received:?}") };
    error.to_string()
}
