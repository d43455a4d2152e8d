//! Membership of the group: revoked partitions, static members, long handlers, the newer protocol.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_contract::{Outgoing, SettleError, Source, SourceError, SourceEvent, Verdict, Want};
use forebay_kafka::{Create, GroupProtocol, KafkaError, KafkaOptions, KafkaQueue, KafkaSource};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use support::{
    Topic, ack, numbered, options, publish, receive_for, receive_n, settle, text, until,
};

const SECOND: Duration = Duration::from_secs(1);

fn partitions(what: &str, partitions: i32) -> KafkaOptions {
    let mut options = options(what);
    options.create = Some(Create { partitions, replication: 1 });
    options.retry_steps = vec![Duration::from_millis(100)];
    options
}

fn keyed(n: usize) -> Vec<Outgoing> {
    (0..n).map(|i| Outgoing::new(i.to_string()).key(i.to_string())).collect()
}

/// The next event of a kind.
async fn event(source: &KafkaSource, wanted: fn(&SourceEvent) -> bool) -> SourceEvent {
    let found = async {
        loop {
            let event = source.event().await;
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(20 * SECOND, found).await.expect("an event")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_protocol_of_kip_848_works() {
    let mut own = partitions("kip848", 4);
    own.protocol = GroupProtocol::Consumer;
    let topic = Topic::open(own).await.unwrap();
    let (a, b) = (topic.queue.source().await.unwrap(), topic.queue.source().await.unwrap());
    until("both have partitions of the topic", async || {
        let mains = |source: &KafkaSource| {
            source.assigned().iter().filter(|(name, _)| *name == topic.options.topic).count()
        };
        mains(&a) > 0 && mains(&b) > 0 && mains(&a) + mains(&b) == 4
    })
    .await;
    publish(&topic.queue, &keyed(200)).await;
    let (from_a, from_b) =
        tokio::join!(receive_for(&a, 3 * SECOND, 200), receive_for(&b, 3 * SECOND, 200));
    let seen: BTreeSet<_> = from_a.iter().chain(&from_b).map(text).collect();
    assert_eq!((from_a.len() + from_b.len(), seen.len()), (200, 200));
    ack(&a, &from_a).await;
    a.close(5 * SECOND).await.unwrap();
    // What b has is not settled: it stays with b, and what a has done stays done.
    assert!(receive_for(&b, 3 * SECOND, 1).await.is_empty());
    ack(&b, &from_b).await;
    b.close(5 * SECOND).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_partition_waits_for_what_is_out_and_nothing_is_done_twice() {
    let topic = Topic::open(partitions("revoked", 4)).await.unwrap();
    let first = topic.queue.source().await.unwrap();
    publish(&topic.queue, &keyed(100)).await;
    let out = receive_n(&first, 100).await;
    let joining = topic.queue.source();
    let settling = async {
        let SourceEvent::Revoking { within, .. } =
            event(&first, |event| matches!(event, SourceEvent::Revoking { .. })).await
        else {
            unreachable!()
        };
        assert_eq!(within, SECOND);
        tokio::time::sleep(Duration::from_millis(300)).await;
        ack(&first, &out).await; // all in time
    };
    let (second, ()) = tokio::join!(joining, settling);
    let second = second.unwrap();
    event(&first, |event| matches!(event, SourceEvent::Lost(_))).await;
    until("the second has partitions", async || !second.assigned().is_empty()).await;
    assert!(receive_for(&second, 2 * SECOND, 1).await.is_empty(), "something done came again");
    first.close(5 * SECOND).await.unwrap();
    second.close(5 * SECOND).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_after_the_bound_is_fenced() {
    let topic = Topic::open(partitions("fenced", 4)).await.unwrap();
    let first = topic.queue.source().await.unwrap();
    publish(&topic.queue, &keyed(100)).await;
    let out = receive_n(&first, 100).await;
    let second = topic.queue.source().await.unwrap();
    event(&first, |event| matches!(event, SourceEvent::Lost(_))).await;
    let moved = receive_for(&second, 5 * SECOND, 100).await;
    assert!(!moved.is_empty() && moved.len() < 100, "{} moved", moved.len());
    let moved: BTreeSet<_> = moved.iter().map(text).collect();
    for (out, answer) in out.iter().zip(settle(&first, &out, Verdict::Ack).await) {
        match answer {
            Ok(_) => assert!(!moved.contains(&text(out)), "{} is with the other", text(out)),
            Err(SettleError::Stale) => {}
            Err(error) => panic!("{error}"),
        }
    }
    first.close(5 * SECOND).await.unwrap();
    second.close(5 * SECOND).await.unwrap();
}

/// Polling goes on while nothing is received and nothing settled: the group never takes the worker
/// for dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_handler_or_a_shut_gate_costs_no_membership() {
    let mut own = partitions("long", 2);
    own.session_timeout = 2 * SECOND;
    own.raw.insert("max.poll.interval.ms".into(), "3000".into());
    own.buffer_messages = 10;
    let topic = Topic::open(own).await.unwrap();
    let source = topic.queue.source().await.unwrap();
    publish(&topic.queue, &keyed(200)).await;
    let out = receive_n(&source, 5).await;
    let mut events = Vec::new();
    let quiet = async {
        loop {
            events.push(source.event().await);
        }
    };
    let _: Result<(), _> = tokio::time::timeout(8 * SECOND, quiet).await;
    assert_eq!(events, []);
    ack(&source, &out).await;
    let rest = receive_n(&source, 195).await;
    ack(&source, &rest).await;
    source.close(5 * SECOND).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_member_that_comes_back_disturbs_nobody() {
    let mut own = partitions("static", 4);
    own.instance_id = Some("a".into());
    let topic = Topic::open(own.clone()).await.unwrap();
    let mut other = own;
    other.instance_id = Some("b".into());
    let other = KafkaQueue::open(other).await.unwrap();
    let (a, b) = (topic.queue.source().await.unwrap(), other.source().await.unwrap());
    until("both have partitions", async || !a.assigned().is_empty() && !b.assigned().is_empty())
        .await;
    tokio::time::sleep(2 * SECOND).await;
    let names = |source: &KafkaSource| source.assigned().into_iter().collect::<BTreeSet<_>>();
    let (of_a, of_b) = (names(&a), names(&b));
    while tokio::time::timeout(SECOND / 10, b.event()).await.is_ok() {}
    a.close(5 * SECOND).await.unwrap();
    let a = topic.queue.source().await.unwrap();
    until("it has its partitions back", async || names(&a) == of_a).await;
    let disturbed = tokio::time::timeout(2 * SECOND, b.event()).await;
    assert!(disturbed.is_err(), "the other noticed: {disturbed:?}");
    assert_eq!(names(&b), of_b);

    // A second worker with the same id takes its place, and the first one says so.
    let _usurper = topic.queue.source().await.unwrap();
    let mut out = Vec::new();
    let received = a.receive(Want { messages: 1, bytes: 1 << 20 }, &mut out);
    let received = tokio::time::timeout(20 * SECOND, received).await.expect("a word");
    let Err(SourceError::Fatal(error)) = received else { panic!("{received:?}") };
    let fenced = matches!(error.downcast_ref(), Some(KafkaError::Fenced));
    assert!(fenced, "{error}");
    b.close(5 * SECOND).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_message_stalls_neither_its_partition_nor_the_group() {
    let topic = Topic::open(partitions("poison", 1)).await.unwrap();
    let source = topic.queue.source().await.unwrap();
    publish(&topic.queue, &numbered(300)).await;
    let start = Instant::now();
    let (mut done, mut attempts) = (BTreeSet::new(), 0);
    while done.len() < 299 || attempts < 5 {
        let out = receive_n(&source, 1).await;
        let (poison, good): (Vec<_>, Vec<_>) = out.into_iter().partition(|out| text(out) == "7");
        ack(&source, &good).await;
        done.extend(good.iter().map(text));
        attempts += poison.len();
        for answer in settle(&source, &poison, support::retry(Duration::from_millis(50))).await {
            answer.unwrap();
        }
    }
    assert!(start.elapsed() < 10 * SECOND, "{:?}", start.elapsed());
    source.close(5 * SECOND).await.unwrap();
}
