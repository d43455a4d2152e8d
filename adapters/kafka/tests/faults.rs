//! What goes wrong, and what is said about it: settings, topics, brokers, credentials, sizes, and
//! bytes that nobody expects.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod raw;
mod support;

use forebay_contract::{
    DeadFilter, DeadLetters, DeadReason, FailureKind, FailureNote, Outgoing, SettleError, Sink,
    Source, Verdict,
};
use forebay_kafka::{KafkaError, KafkaOptions, KafkaQueue, Mechanism, Sasl, Security, Tls};
use rdkafka::{
    admin::{AdminOptions, NewTopic, TopicReplication},
    mocking::MockCluster,
};
use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};
use support::{
    Topic, ack, admin, fresh, numbered, options, publish, receive_for, receive_n, settle, text,
    variable,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_topic_is_named_with_the_ways_out() {
    let mut own = options("missing");
    own.create = None;
    let name = own.topic.clone();
    let error = KafkaQueue::open(own).await.unwrap_err();
    assert!(matches!(&error, KafkaError::MissingTopic { topic, .. } if *topic == name), "{error}");
    assert!(error.to_string().contains("`create`"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_not_there_is_named() {
    let mut own = KafkaOptions::new("127.0.0.1:1", "orders");
    own.request_timeout = SECOND;
    let error = KafkaQueue::open(own).await.unwrap_err();
    assert!(matches!(error, KafkaError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_are_ours_are_refused_by_name() {
    for setting in ["enable.auto.commit", "acks", "isolation.level", "delivery.report.only.error"] {
        let mut own = options("raw");
        own.raw.insert(setting.into(), "true".into());
        let error = KafkaQueue::open(own).await.unwrap_err();
        assert!(matches!(error, KafkaError::Owned { .. }), "{error}");
        assert!(error.to_string().contains(setting), "{error}");
    }
    let mut own = options("raw");
    own.raw.insert("fetch.wait.maximum".into(), "1".into());
    let error = KafkaQueue::open(own).await.unwrap_err().to_string();
    assert!(error.contains("fetch.wait.maximum"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_its_topic_forgets_is_refused_and_the_longest_delay_is_told() {
    let own = options("retention");
    let day = Duration::from_secs(86_400);
    let topic = Topic::open(own.clone()).await.unwrap();
    assert_eq!(topic.queue.capabilities().max_delay, Some(7 * day));
    let mut short = options("retention");
    let name = format!("{}.retry.1m", short.topic);
    let new = NewTopic::new(&name, 1, TopicReplication::Fixed(1)).set("retention.ms", "90000");
    admin().create_topics([&new], &AdminOptions::new()).await.unwrap();
    let error = Topic::open(short.clone()).await.err().unwrap().to_string();
    assert!(error.contains("`retention.ms`") && error.contains(&name), "{error}");
    short.retry_steps.pop();
    let rest = Topic::open(short).await.unwrap();
    assert_eq!(rest.queue.capabilities().max_delay, Some(7 * day));
    admin().delete_topics(&[&name], &AdminOptions::new()).await.unwrap();
}

/// Options for the listener that speaks TLS and wants a name.
fn secure(mechanism: Mechanism, password: &str) -> KafkaOptions {
    let variable = |name, default: &str| variable(name).unwrap_or_else(|| default.into());
    let ca = "../../.run/brokers/tls/ca.pem";
    let mut own = options("secure");
    own.brokers = variable("FOREBAY_TEST_KAFKA_TLS", "127.0.0.1:29093");
    own.request_timeout = 5 * SECOND;
    own.security = Security {
        tls: Some(Tls {
            ca: Some(PathBuf::from(variable("FOREBAY_TEST_CA", ca))),
            ..Tls::default()
        }),
        sasl: Some(Sasl {
            mechanism,
            username: variable("FOREBAY_TEST_KAFKA_USER", "forebay"),
            password: password.into(),
        }),
    };
    own
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_a_name_and_a_password_works() {
    let password = variable("FOREBAY_TEST_KAFKA_PASSWORD").unwrap_or("forebay-secret".into());
    for mechanism in [Mechanism::ScramSha256, Mechanism::Plain] {
        let topic = Topic::open(secure(mechanism, &password)).await.unwrap();
        let source = topic.queue.source().await.unwrap();
        publish(&topic.queue, &numbered(10)).await;
        let out = receive_n(&source, 10).await;
        ack(&source, &out).await;
        source.close(5 * SECOND).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_called_that() {
    let error = KafkaQueue::open(secure(Mechanism::ScramSha256, "wrong")).await.unwrap_err();
    assert!(matches!(error, KafkaError::Credentials { .. }), "{error}");
    assert!(!error.to_string().contains("wrong)"), "{error}");
    let mut own = secure(Mechanism::Plain, "x");
    own.security.tls = Some(Tls { ca: Some("/no/such/file.pem".into()), ..Tls::default() });
    let error = KafkaQueue::open(own).await.unwrap_err().to_string();
    assert!(error.contains("/no/such/file.pem"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_nobody_vouches_for_is_called_that() {
    let mut own = secure(Mechanism::Plain, "x");
    own.security.tls = Some(Tls::default());
    let error = KafkaQueue::open(own).await.unwrap_err();
    assert!(matches!(error, KafkaError::Tls { .. }) && !error.is_fatal(), "{error}");
    let error = error.to_string();
    assert!(error.contains("certificate") && error.contains("`ca` of `tls`"), "{error}");
}

fn long_note(n: usize) -> FailureNote {
    let text = format!("{n} {}", "error ".repeat(150));
    FailureNote::new(FailureKind::Transient, text, SystemTime::now())
}

/// Where a copy is too large for its topic, the history is cut, never the payload; and where that is
/// not enough, the message stays, and the error says what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_too_large_costs_the_history_first() {
    let own = options("large");
    let small = |name: String| async move {
        let new =
            NewTopic::new(&name, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "6000");
        admin().create_topics([&new], &AdminOptions::new()).await.unwrap();
    };
    small(format!("{}.dead", own.topic)).await;
    small(format!("{}.retry.100ms", own.topic)).await;
    let topic = Topic::open(own).await.unwrap();
    let source = topic.queue.source().await.unwrap();
    publish(&topic.queue, &[Outgoing::new(vec![b'x'; 2000]).id("fits")]).await;
    let mut out = receive_n(&source, 1).await;
    for n in 0..6 {
        let verdict = Verdict::Retry { after: Duration::ZERO, note: long_note(n) };
        settle(&source, &out, verdict).await.remove(0).unwrap();
        out = receive_n(&source, 1).await;
        assert_eq!(out[0].message.attempt, n as u32 + 1);
        assert_eq!(out[0].message.payload.len(), 2000);
    }
    assert!(out[0].message.history.notes().len() < 6);
    let dead = || Verdict::DeadLetter { reason: DeadReason::Permanent, note: long_note(9) };
    settle(&source, &out, dead()).await.remove(0).unwrap();
    let letters = topic.queue.list(&DeadFilter::default(), None, 10).await.unwrap();
    assert_eq!((letters.len(), letters[0].message.payload.len()), (1, 2000));

    publish(&topic.queue, &[Outgoing::new(vec![b'x'; 10_000])]).await;
    let out = receive_n(&source, 1).await;
    let answer = settle(&source, &out, dead()).await.remove(0);
    let Err(SettleError::Refused(why)) = answer else { panic!("{answer:?}") };
    assert!(why.to_string().contains("max.message.bytes"), "{why}");
    source.close(5 * SECOND).await.unwrap();
    let next = topic.queue.source().await.unwrap();
    assert_eq!(receive_n(&next, 1).await[0].message.payload.len(), 10_000, "it stays");
    next.close(5 * SECOND).await.unwrap();
}

/// A tombstone, a header without a value, a header whose name is no text, a state that is no JSON.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_records_are_messages_all_the_same() {
    let topic = Topic::open(options("odd")).await.unwrap();
    let records = [
        raw::Record { key: Some(b"k"), value: None, headers: &[] },
        raw::Record { key: None, value: Some(b"null"), headers: &[(b"h", None)] },
        raw::Record {
            key: None,
            value: Some(b"bytes"),
            headers: &[(b"good", Some(b"1")), (b"\xff\xfe", Some(b"2"))],
        },
        raw::Record {
            key: None,
            value: Some(b"state"),
            headers: &[(b"forebay-state", Some(b"{"))],
        },
    ];
    raw::produce(&support::brokers(), &topic.options.topic, &records);
    let source = topic.queue.source().await.unwrap();
    let out = receive_n(&source, 4).await;
    let found = |payload: &str| out.iter().find(|out| text(out) == payload).unwrap();
    assert_eq!(found("").message.key.as_deref(), Some(b"k".as_slice()));
    assert_eq!(found("null").message.headers.get("h").map(AsRef::as_ref), Some(b"".as_slice()));
    assert_eq!(found("bytes").message.headers.get_str("good"), Some("1"));
    assert_eq!(found("bytes").message.headers.len(), 1);
    assert_eq!(found("state").message.attempt, 0);
    // Each can fail, and die, and come back.
    let verdict = Verdict::DeadLetter { reason: DeadReason::Permanent, note: support::note("odd") };
    for answer in settle(&source, &out, verdict).await {
        answer.unwrap();
    }
    assert_eq!(topic.queue.redrive(&DeadFilter::default(), 10).await.unwrap().moved.len(), 4);
    let out = receive_n(&source, 4).await;
    ack(&source, &out).await;
    source.close(5 * SECOND).await.unwrap();
}

/// Apache Kafka replaces what is no UTF-8 in a commit's metadata, so this takes librdkafka's mock
/// broker, which keeps it, as brokers of other makes may. rdkafka panics on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_that_is_no_text_is_ignored_and_its_offset_honoured() {
    let cluster = MockCluster::new(1).unwrap();
    let mut own = options("mock");
    own.brokers = cluster.bootstrap_servers();
    own.create = None;
    own.retry_steps = vec![SECOND];
    for name in
        [own.topic.clone(), format!("{}.retry.1s", own.topic), format!("{}.dead", own.topic)]
    {
        cluster.create_topic(&name, 1, 1).unwrap();
    }
    let queue = KafkaQueue::open(own.clone()).await.unwrap();
    publish(&queue, &numbered(5)).await;
    raw::commit(&own.brokers, &own.group, &own.topic, 3, b"\xff\xfe\x00");
    let source = queue.source().await.unwrap();
    let out = receive_n(&source, 2).await;
    assert_eq!(out.iter().map(text).collect::<Vec<_>>(), ["3", "4"]);
    assert!(receive_for(&source, SECOND, 1).await.is_empty());
    source.close(5 * SECOND).await.unwrap();
}

/// Two names in one process, one of them unknown to Kafka: what is too long is told by its limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_on_publishing_says_why() {
    let topic = Topic::open(options("refused")).await.unwrap();
    let large = vec![0; topic.queue.capabilities().max_payload.unwrap() + 1];
    let longest = topic.queue.capabilities().max_delay.unwrap();
    let batch = [
        Outgoing::new(large),
        Outgoing::new("x").header("a\0b", "1"),
        Outgoing::new("x").header("big", vec![0; 999_000]),
        Outgoing::new(fresh("fine")),
        Outgoing::new("x").delay(longest + Duration::from_nanos(1)),
        Outgoing::new("x").delay(Duration::MAX),
        Outgoing::new("x").delay(longest),
    ];
    let answers = topic.queue.publish(&batch).await;
    let says = |i: usize, what: &str| {
        let why = answers[i].as_ref().unwrap_err().to_string();
        assert!(why.contains(what), "{why}");
    };
    says(0, "max_message_bytes");
    says(1, "zero byte");
    says(2, "headers");
    assert!(answers[3].is_ok());
    says(4, "`retention.ms`");
    says(5, "`retention.ms`");
    assert!(answers[6].is_ok());
}

/// Retry topics that keep their messages for ever allow any delay that there is a time for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_beyond_all_time_is_refused() {
    let mut own = options("forever");
    own.retry_steps = vec![SECOND];
    let name = format!("{}.retry.1s", own.topic);
    let new = NewTopic::new(&name, 1, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    admin().create_topics([&new], &AdminOptions::new()).await.unwrap();
    let topic = Topic::open(own).await.unwrap();
    assert_eq!(topic.queue.capabilities().max_delay, None);
    let year = Duration::from_secs(365 * 86_400);
    let batch = [Duration::MAX, 100 * year].map(|delay| Outgoing::new("x").delay(delay));
    let answers = topic.queue.publish(&batch).await;
    let why = answers[0].as_ref().unwrap_err().to_string();
    assert!(why.contains("no clock"), "{why}");
    assert!(answers[1].is_ok());
    let source = topic.queue.source().await.unwrap();
    assert!(receive_for(&source, SECOND, 1).await.is_empty(), "it is not due");
    source.close(5 * SECOND).await.unwrap();
}
