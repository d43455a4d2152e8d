//! Queues that are missing, other than expected, or taken away while they are used.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_contract::{Outgoing, SettleError, Source, SourceError, SourceEvent, Want};
use forebay_rabbitmq::{QueueKind, RabbitError, RabbitOptions, RabbitQueue, Topology};
use lapin::{
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use std::time::Duration;
use support::{
    CleanUp, channel, event, open, options, publish, receive, receive_n, retry, settle, settlement,
    url,
};

/// Declares a queue as somebody else would.
async fn declare(name: &str, arguments: &[(&str, AMQPValue)]) {
    let (_connection, channel) = channel(&url()).await;
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), durable, table).await.unwrap();
}

async fn delete(name: &str) {
    let (_connection, channel) = channel(&url()).await;
    channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
}

async fn refusal(options: &RabbitOptions) -> RabbitError {
    RabbitQueue::open(options.clone()).await.expect_err("it cannot be opened")
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// A short ladder, so that little needs to be declared by hand.
fn by_hand(topology: Topology) -> RabbitOptions {
    let delays = vec![Duration::from_millis(50)];
    RabbitOptions { delays, ..options() }.topology(topology)
}

#[tokio::test]
async fn a_missing_queue_is_an_error_that_names_it() {
    let options = by_hand(Topology::Verify);
    let _clean_up = CleanUp(options.clone());
    let names = [".dead", ".retry.50"].map(|suffix| format!("{}{suffix}", options.queue));
    for name in [options.queue.clone()].iter().chain(&names) {
        let error = refusal(&options).await;
        assert!(matches!(&error, RabbitError::NoQueue { queue, .. } if queue == name), "{error}");
        assert!(error.is_fatal() && error.to_string().contains("Topology::Declare"), "{error}");
        declare(name, &[]).await;
    }
    open(&options).await;
}

#[tokio::test]
async fn a_queue_that_throws_messages_away_is_refused() {
    let options = by_hand(Topology::Verify);
    let _clean_up = CleanUp(options.clone());
    let (queue, dead) = (&options.queue, format!("{}.dead", options.queue));
    let limited =
        [("x-queue-type", text("quorum")), ("x-delivery-limit", AMQPValue::LongLongInt(3))];
    declare(queue, &limited).await;
    declare(&dead, &[]).await;
    declare(&format!("{queue}.retry.50"), &[]).await;
    let error = refusal(&options).await;
    assert!(matches!(&error, RabbitError::Discards { limit, .. } if limit == "3"), "{error}");
    delete(queue).await;
    let [kind, limit] = limited;
    let leads = [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text(&dead))];
    let [exchange, key] = leads;
    declare(queue, &[kind, limit, exchange, key]).await;
    open(&options).await;
}

/// On RabbitMQ 4, a quorum queue has a limit of 20 if none is set.
#[tokio::test]
async fn a_quorum_queue_without_a_limit_of_its_own_is_refused() {
    let options = by_hand(Topology::Verify);
    let _clean_up = CleanUp(options.clone());
    let (queue, dead) = (&options.queue, format!("{}.dead", options.queue));
    let kind = || ("x-queue-type", text("quorum"));
    let limit = |limit| ("x-delivery-limit", AMQPValue::LongLongInt(limit));
    declare(queue, &[kind(), ("x-dead-letter-exchange", text(""))]).await;
    declare(&format!("{queue}.retry.50"), &[]).await;
    declare(&dead, &[kind()]).await;
    let error = refusal(&options).await;
    assert!(matches!(&error, RabbitError::DiscardsFrom4 { queue } if *queue == dead), "{error}");
    assert!(error.is_fatal() && error.to_string().contains("x-delivery-limit=1000000000"));
    delete(&dead).await;
    declare(&dead, &[kind(), limit(100)]).await;
    let error = refusal(&options).await;
    assert!(matches!(&error, RabbitError::Discards { queue, .. } if *queue == dead), "{error}");
    delete(&dead).await;
    declare(&dead, &[kind(), limit(1_000_000_000)]).await;
    open(&options).await;
    delete(queue).await;
    declare(queue, &[kind()]).await;
    let error = refusal(&options).await;
    assert!(matches!(&error, RabbitError::DiscardsFrom4 { queue: q } if q == queue), "{error}");
}

#[tokio::test]
async fn order_wants_a_single_active_consumer() {
    let options = by_hand(Topology::Verify).ordered(true);
    let _clean_up = CleanUp(options.clone());
    let (queue, single) = (&options.queue, ("x-single-active-consumer", AMQPValue::Boolean(true)));
    for suffix in ["", ".dead", ".retry.50"] {
        declare(&format!("{queue}{suffix}"), &[]).await;
    }
    let error = refusal(&options).await;
    assert!(matches!(error, RabbitError::ManyConsumers { .. }), "{error}");
    delete(queue).await;
    declare(queue, &[single]).await;
    open(&options).await;
}

#[tokio::test]
async fn a_queue_with_other_arguments_is_told_with_what_differs() {
    let options = options();
    let _clean_up = CleanUp(options.clone());
    declare(&options.queue, &[("x-queue-type", text("classic"))]).await;
    let error = refusal(&options).await;
    assert!(matches!(error, RabbitError::OtherArguments { .. }), "{error}");
    assert!(error.to_string().contains("inequivalent arg 'x-"), "{error}");
    open(&options.clone().topology(Topology::Leave)).await;
}

#[tokio::test]
async fn a_declared_queue_that_is_deleted_while_consuming_is_declared_again() {
    let options = options();
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    publish(&queue, &[Outgoing::new("1")]).await;
    let one = receive(&source, 10).await;
    delete(&options.queue).await;
    assert_eq!(event(&source).await, SourceEvent::Lost(one[0].scope));
    let SourceEvent::Down(why) = event(&source).await else { panic!("not down") };
    assert!(why.contains("cancelled the consumer"), "{why}");
    let (received, ()) = tokio::join!(receive(&source, 10), async {
        assert_eq!(event(&source).await, SourceEvent::Up);
        publish(&queue, &[Outgoing::new("2")]).await;
    });
    assert_eq!(&received[0].message.payload[..], b"2");
    assert_eq!(settle(&source, &one, retry(Duration::ZERO)).await, [false], "a stale receipt");
    assert_eq!(settle(&source, &received, forebay_contract::Verdict::Ack).await, [true]);
}

#[tokio::test]
async fn a_queue_of_somebody_else_that_is_deleted_ends_the_worker_with_a_clear_error() {
    let options = options().topology(Topology::Leave);
    let _clean_up = CleanUp(options.clone());
    declare(&options.queue, &[("x-queue-type", text("quorum"))]).await;
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    publish(&queue, &[Outgoing::new("1")]).await;
    receive(&source, 10).await;
    delete(&options.queue).await;
    let mut out = Vec::new();
    let received = source.receive(Want { messages: 1, bytes: 1 << 20 }, &mut out);
    let received = tokio::time::timeout(Duration::from_secs(10), received).await.unwrap();
    let Err(SourceError::Fatal(error)) = received else { panic!("{received:?}") };
    assert!(error.to_string().contains(&options.queue), "{error}");
    let published = forebay_contract::Sink::publish(&queue, &[Outgoing::new("2")]).await;
    let said = format!("{:?}", published[0]);
    assert!(published[0].is_err() && said.contains("NoQueue"), "an unroutable publish: {said}");
}

#[tokio::test]
async fn a_retry_that_finds_no_queue_keeps_its_message() {
    let options = by_hand(Topology::Leave);
    let _clean_up = CleanUp(options.clone());
    declare(&options.queue, &[("x-queue-type", text("quorum"))]).await;
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    publish(&queue, &[Outgoing::new("1"), Outgoing::new("2"), Outgoing::new("3")]).await;
    let out = receive_n(&source, 3).await;
    // Those that lead somewhere are done, though confirmed together with the one that does not.
    let lost = retry(Duration::from_millis(50));
    let batch = [
        settlement(&out[0], retry(Duration::ZERO)),
        settlement(&out[1], lost.clone()),
        settlement(&out[2], retry(Duration::ZERO)),
    ];
    let results = source.settle(&batch).await;
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    let Err(SettleError::Unavailable(error)) = &results[1] else { panic!("{results:?}") };
    assert!(error.to_string().contains(".retry.50"), "{error}");
    let back = receive_n(&source, 2).await;
    let mut payloads: Vec<_> = back.iter().map(|out| &out.message.payload[..]).collect();
    payloads.sort();
    assert_eq!(payloads, [b"1", b"3"]);
    // Once somebody has made the queue, settling again works.
    let leads = [
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(&options.queue)),
        ("x-message-ttl", AMQPValue::LongLongInt(50)),
    ];
    declare(&format!("{}.retry.50", options.queue), &leads).await;
    assert_eq!(settle(&source, &out[1..2], lost).await, [true]);
    let two = receive(&source, 1).await;
    assert_eq!((&two[0].message.payload[..], two[0].message.attempt), (&b"2"[..], 1));
}

#[tokio::test]
async fn a_delay_that_was_deleted_is_declared_again() {
    let options = options();
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    publish(&queue, &[Outgoing::new("1")]).await;
    for n in 1..=2 {
        let out = receive(&source, 1).await;
        assert_eq!(settle(&source, &out, retry(Duration::from_millis(100))).await, [true]);
        let again = receive(&source, 1).await;
        assert_eq!(again[0].message.attempt, 2 * n - 1);
        delete(&format!("{}.retry.100", options.queue)).await;
        assert_eq!(settle(&source, &again, retry(Duration::from_millis(100))).await, [true]);
    }
}

#[tokio::test]
async fn a_delay_that_cannot_be_declared_fails_only_its_own_copies() {
    let delays = [50, 100].map(Duration::from_millis).to_vec();
    let options = RabbitOptions { delays, ..options() };
    let _clean_up = CleanUp(options.clone());
    declare(&format!("{}.retry.50", options.queue), &[]).await;
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    publish(&queue, &[Outgoing::new("1"), Outgoing::new("2")]).await;
    let out = receive_n(&source, 2).await;
    let batch = [50, 100].map(Duration::from_millis).map(retry);
    let batch: Vec<_> = out.iter().zip(batch).map(|(out, retry)| settlement(out, retry)).collect();
    let results = source.settle(&batch).await;
    let Err(SettleError::Unavailable(error)) = &results[0] else { panic!("{results:?}") };
    assert!(error.to_string().contains(".retry.50"), "{error}");
    assert!(results[1].is_ok(), "{results:?}");
    assert_eq!(receive(&source, 1).await[0].message.payload, out[1].message.payload);
}

#[tokio::test]
async fn a_classic_queue_works_the_same() {
    let options = RabbitOptions { max_priority: Some(5), ..options() }.kind(QueueKind::Classic);
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    assert!(!queue.capabilities().counts_interruptions);
    let (_connection, channel) = channel(&url()).await;
    for priority in [1, 5] {
        let properties = lapin::BasicProperties::default().with_priority(priority);
        let payload = [priority];
        let options_ = lapin::options::BasicPublishOptions::default();
        let name = options.queue.as_str().into();
        let sent = channel.basic_publish("".into(), name, options_, &payload, properties).await;
        sent.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let first = receive(&source, 1).await;
    assert_eq!(first[0].message.payload[..], [5], "the higher priority first");
    settle(&source, &first, retry(Duration::from_millis(100))).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let low = receive(&source, 1).await;
    assert_eq!(low[0].message.payload[..], [1]);
    let again = receive(&source, 1).await;
    assert_eq!((again[0].message.payload[0], again[0].message.attempt), (5, 1));
}

#[tokio::test]
async fn whom_the_broker_does_not_let_in_is_told_so_without_the_password() {
    let with = |url: &str| RabbitOptions { url: url.into(), ..options() };
    let address = url().rsplit_once('@').unwrap().1.to_owned();
    let error = refusal(&with(&format!("amqp://guest:secret@{address}"))).await;
    assert!(matches!(error, RabbitError::Credentials { .. }) && error.is_fatal(), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    let host = address.split_once('/').unwrap().0;
    let error = refusal(&with(&format!("amqp://guest:guest@{host}/nowhere"))).await;
    assert!(matches!(error, RabbitError::Credentials { .. }), "{error}");
    assert!(error.to_string().contains("nowhere"), "{error}");
    let error = refusal(&with("amqp://guest:guest@127.0.0.1:1/%2f")).await;
    assert!(matches!(error, RabbitError::Unreachable { .. }) && !error.is_fatal(), "{error}");
}

#[tokio::test]
async fn tls_wants_a_certificate_that_is_trusted() {
    let url = std::env::var("FOREBAY_TEST_AMQPS")
        .unwrap_or_else(|_| "amqps://guest:guest@127.0.0.1:25671/%2f".into());
    let ca = std::env::var_os("FOREBAY_TEST_CA")
        .map_or_else(|| std::path::PathBuf::from("../../.run/brokers/tls/ca.pem"), Into::into);
    assert!(ca.exists(), "{} is missing; scripts/brokers up rabbitmq makes it", ca.display());
    let options = RabbitOptions { url, ..options() };
    let _clean_up = CleanUp(options.clone());
    let error = refusal(&options).await;
    assert!(matches!(error, RabbitError::Unreachable { .. }), "{error}");
    assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
    let trusting = RabbitOptions { ca_file: Some(ca), ..options.clone() };
    let queue = open(&trusting).await;
    let source = queue.source().await.unwrap();
    publish(&queue, &[Outgoing::new("1")]).await;
    assert_eq!(&receive(&source, 1).await[0].message.payload[..], b"1");
    for (file, says) in [("/nowhere/ca.pem", "cannot be read"), ("Cargo.toml", "no certificate")] {
        let error = refusal(&RabbitOptions { ca_file: Some(file.into()), ..options.clone() }).await;
        assert!(error.to_string().contains(says) && error.is_fatal(), "{error}");
    }
}
