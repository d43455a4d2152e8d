//! What producers of any language set on their messages: it survives retry, dead letter and redrive,
//! and what must not be copied is not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_contract::{
    DeadFilter, DeadLetters, DeadReason, MessageId, Outgoing, PublishError, Sink, Verdict,
};
use forebay_rabbitmq::{Identity, RabbitOptions};
use lapin::{
    BasicProperties, Channel,
    options::{BasicGetOptions, BasicPublishOptions},
    types::{AMQPValue, FieldTable},
};
use std::time::{Duration, UNIX_EPOCH};
use support::{
    CleanUp, channel, dead_letter, open, options, receive, receive_for, retry, settle, url,
};

async fn send(channel: &Channel, queue: &str, payload: &[u8], properties: BasicProperties) {
    let options = BasicPublishOptions::default();
    channel.basic_publish("".into(), queue.into(), options, payload, properties).await.unwrap();
}

/// Everything that a producer can set, with headers of several types.
fn everything(copied_to: &str) -> BasicProperties {
    let mut nested = FieldTable::default();
    nested.insert("deep".into(), AMQPValue::Double(0.5));
    let mut headers = FieldTable::default();
    headers.insert("number".into(), AMQPValue::LongInt(-7));
    headers.insert("flag".into(), AMQPValue::Boolean(true));
    headers.insert("text".into(), AMQPValue::LongString("ü".into()));
    headers.insert("table".into(), AMQPValue::FieldTable(nested));
    headers.insert("bytes".into(), AMQPValue::ByteArray(vec![0, 255].into()));
    let copied_to = vec![AMQPValue::LongString(copied_to.into())];
    headers.insert("CC".into(), AMQPValue::FieldArray(copied_to.into()));
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("gzip".into())
        .with_correlation_id("c-1".into())
        .with_reply_to("answers".into())
        .with_message_id("order-17".into())
        .with_timestamp(1_700_000_000)
        .with_type("order.created".into())
        .with_user_id("guest".into())
        .with_app_id("shop".into())
        .with_priority(3)
        .with_expiration("600000".into())
        .with_headers(headers)
}

/// What is the same on each copy: all but the headers of Forebay and of the broker.
fn kept(properties: &BasicProperties) -> (Vec<String>, Vec<(String, AMQPValue)>) {
    let of = |text: &Option<lapin::types::ShortString>| format!("{text:?}");
    let p = properties;
    let fields = vec![
        of(p.content_type()),
        of(p.content_encoding()),
        of(p.correlation_id()),
        of(p.reply_to()),
        of(p.message_id()),
        of(p.kind()),
        of(p.user_id()),
        of(p.app_id()),
        format!("{:?} {:?}", p.timestamp(), p.priority()),
    ];
    let headers = p.headers().iter().flatten();
    let headers = headers.map(|(name, value)| (name.to_string(), value.clone()));
    let ours =
        |name: &str| name.starts_with("forebay-") || ["CC", "x-delivery-count"].contains(&name);
    (fields, headers.filter(|(name, _)| !ours(name)).collect())
}

/// A list would have the broker copy the message elsewhere; anything else has it close the channel.
#[tokio::test]
async fn a_header_that_is_the_brokers_own_is_refused() {
    let options = options();
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let batch = [
        Outgoing::new("1"),
        Outgoing::new("2").header("CC", "elsewhere"),
        Outgoing::new("3").header("BCC", "a").header("BCC", "b"),
    ];
    let results = queue.publish(&batch).await;
    assert!(results[0].is_ok(), "{results:?}");
    for (result, name) in results[1..].iter().zip(["CC", "BCC"]) {
        let Err(PublishError::Refused(error)) = result else { panic!("{results:?}") };
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn what_producers_set_survives_retry_dead_letter_and_redrive() {
    let options = options();
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    let (_connection, channel) = channel(&url()).await;
    let aside = channel.queue_declare("".into(), Default::default(), FieldTable::default()).await;
    let aside = aside.unwrap().name().to_string();
    let sent = everything(&aside);
    send(&channel, &options.queue, b"body", sent.clone()).await;

    let first = receive(&source, 1).await;
    let message = &first[0].message;
    let shown: Vec<_> = message.headers.iter().map(|(n, v)| (n, v.as_ref())).collect();
    let expected: [(&str, &[u8]); 5] = [
        ("bytes", &[0, 255]),
        ("flag", b"true"),
        ("number", b"-7"),
        ("table", b"{\"deep\":0.5}"),
        ("text", "ü".as_bytes()),
    ];
    assert_eq!(shown, expected);
    assert_eq!(message.id, MessageId::from("order-17"));
    assert_eq!(message.enqueued_at, Some(UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
    settle(&source, &first, retry(Duration::from_millis(100))).await;
    let second = receive(&source, 1).await;
    assert_eq!(second[0].message.headers, message.headers);
    settle(&source, &second, dead_letter()).await;
    let moved = queue.redrive(&DeadFilter::default(), 1).await.unwrap().moved;
    assert_eq!(moved[0].message.headers, message.headers);
    source_gone(source).await;

    let got = channel.basic_get(options.queue.as_str().into(), BasicGetOptions::default()).await;
    let got = got.unwrap().expect("the redriven one").delivery;
    assert_eq!(kept(&got.properties), kept(&sent));
    assert_eq!(got.properties.delivery_mode(), &Some(2), "copies are persistent");
    assert_eq!(got.properties.expiration(), &None, "a copy waits its own time");
    let headers = got.properties.headers().as_ref().unwrap();
    let brokers = headers.into_iter().filter(|(name, _)| name.as_str().starts_with("x-"));
    let brokers: Vec<_> = brokers.map(|(name, _)| name.as_str()).collect();
    assert!(brokers.is_empty() || brokers == ["x-delivery-count"], "{brokers:?}");
    let aside = channel.queue_declare(
        aside.into(),
        lapin::options::QueueDeclareOptions { passive: true, ..Default::default() },
        FieldTable::default(),
    );
    assert_eq!(aside.await.unwrap().message_count(), 1, "only the producer's own copy went aside");
}

async fn source_gone(source: forebay_rabbitmq::RabbitSource) {
    forebay_contract::Source::close(&source, Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn an_identity_is_required_where_it_is_asked_for() {
    let options = RabbitOptions { identity: Identity::Required, ..options() };
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    assert!(queue.capabilities().stable_identity);
    let (_connection, channel) = channel(&url()).await;
    send(&channel, &options.queue, b"nobody", BasicProperties::default()).await;
    let named = BasicProperties::default().with_message_id("a".into());
    send(&channel, &options.queue, b"somebody", named).await;
    let out = receive_for(&source, Duration::from_millis(700)).await;
    assert_eq!(out.len(), 1);
    assert_eq!(&out[0].message.payload[..], b"somebody");
    let letters = queue.list(&DeadFilter::default(), None, 10).await.unwrap();
    assert_eq!((letters.len(), letters[0].reason), (1, DeadReason::Undecodable));
    let error = &letters[0].last_failure().unwrap().error;
    assert!(error.contains("forebay-id") && error.contains("message-id"), "{error}");
}

#[tokio::test]
async fn message_ids_that_tell_nothing_apart_can_be_ignored() {
    let options = RabbitOptions { identity: Identity::Header, ..options() };
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    let (_connection, channel) = channel(&url()).await;
    for _ in 0..2 {
        let same = BasicProperties::default().with_message_id("same".into());
        send(&channel, &options.queue, b"x", same).await;
    }
    let out = receive_for(&source, Duration::from_millis(500)).await;
    assert_eq!(out.len(), 2);
    assert_ne!(out[0].message.id, out[1].message.id);
    // From its first copy on, an identity stays.
    let id = out[0].message.id.clone();
    settle(&source, &out[1..], Verdict::Ack).await;
    settle(&source, &out[..1], retry(Duration::from_millis(100))).await;
    assert_eq!(receive(&source, 1).await[0].message.id, id);
}

#[tokio::test]
async fn headers_of_ours_that_cannot_be_read_cost_no_message() {
    let options = options();
    let _clean_up = CleanUp(options.clone());
    let queue = open(&options).await;
    let source = queue.source().await.unwrap();
    let (_connection, channel) = channel(&url()).await;
    for state in [AMQPValue::LongString("nonsense".into()), AMQPValue::Boolean(true)] {
        let mut headers = FieldTable::default();
        headers.insert("forebay-state".into(), state);
        headers.insert("forebay-id".into(), AMQPValue::FieldArray(Vec::new().into()));
        let properties = BasicProperties::default().with_headers(headers);
        send(&channel, &options.queue, b"x", properties).await;
        let out = receive(&source, 1).await;
        assert_eq!(out[0].message.attempt, 0);
        settle(&source, &out, retry(Duration::ZERO)).await;
        let again = receive(&source, 1).await;
        assert_eq!((again[0].message.attempt, &again[0].message.id), (1, &out[0].message.id));
        settle(&source, &again, Verdict::Ack).await;
    }
}
