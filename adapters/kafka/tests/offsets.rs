//! Offsets on a real broker: what is done stays done across a restart, and nothing that Kafka does to
//! a partition (transactions, retention, compaction), nor what others leave in a commit, stalls it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_contract::{Outgoing, SettleError, Source, SourceEvent, Verdict};
use forebay_kafka::{Create, KafkaOptions};
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminOptions, NewTopic, TopicReplication},
    consumer::{BaseConsumer, CommitMode, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};
use std::{collections::BTreeSet, time::Duration};
use support::{
    Topic, ack, client, fresh, numbered, options, publish, receive_for, receive_n, settle, text,
    until,
};

const SECOND: Duration = Duration::from_secs(1);

/// Options for a topic with one partition, so that offsets are easy to tell.
fn one(what: &str) -> KafkaOptions {
    let mut options = options(what);
    options.create = Some(Create { partitions: 1, replication: 1 });
    options
}

/// A member-less consumer of the group, to look at its commits and to meddle with them.
fn group(options: &KafkaOptions) -> BaseConsumer {
    client().set("group.id", &options.group).create().unwrap()
}

/// What is committed for partition 0.
fn committed(options: &KafkaOptions) -> Option<i64> {
    let mut list = TopicPartitionList::new();
    list.add_partition(&options.topic, 0);
    let list = group(options).committed_offsets(list, 5 * SECOND).unwrap();
    match list.elements()[0].offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

fn commit(options: &KafkaOptions, offset: i64, metadata: &str) {
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(&options.topic, 0);
    element.set_offset(Offset::Offset(offset)).unwrap();
    element.set_metadata(metadata);
    group(options).commit(&list, CommitMode::Sync).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_clean_stop_only_what_was_not_done_comes_again() {
    let topic = Topic::open(one("gaps")).await.unwrap();
    let source = topic.queue.source().await.unwrap();
    publish(&topic.queue, &numbered(1000)).await;
    let out = receive_n(&source, 1000).await;
    let (open, done): (Vec<_>, Vec<_>) =
        out.into_iter().partition(|out| text(out).parse::<u32>().unwrap() % 97 == 5);
    ack(&source, &done).await;
    source.close(5 * SECOND).await.unwrap();

    let next = topic.queue.source().await.unwrap();
    let expected: BTreeSet<_> = open.iter().map(text).collect();
    let out = receive_n(&next, open.len()).await;
    assert_eq!(out.iter().map(text).collect::<BTreeSet<_>>(), expected);
    assert!(receive_for(&next, SECOND, 1).await.is_empty(), "something done came again");
    ack(&next, &out).await;
    until("the commit is at the end", async || committed(&topic.options) == Some(1000)).await;
    next.close(5 * SECOND).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_of_others_is_ignored_and_its_offset_is_honoured() {
    let topic = Topic::open(one("foreign")).await.unwrap();
    publish(&topic.queue, &numbered(10)).await;
    commit(&topic.options, 4, r#"{"owner":"someone else"}"#);
    let source = topic.queue.source().await.unwrap();
    let out = receive_n(&source, 6).await;
    assert_eq!(text(&out[0]), "4");
    ack(&source, &out).await;
    until("the commit is at the end", async || committed(&topic.options) == Some(10)).await;
    source.close(5 * SECOND).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_that_was_moved_is_honoured_and_its_map_discarded() {
    let topic = Topic::open(one("moved")).await.unwrap();
    let source = topic.queue.source().await.unwrap();
    publish(&topic.queue, &numbered(10)).await;
    let out = receive_n(&source, 10).await;
    ack(&source, &out[1..]).await;
    source.close(5 * SECOND).await.unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition(&topic.options.topic, 0);
    let list = group(&topic.options).committed_offsets(list, 5 * SECOND).unwrap();
    let metadata = list.elements()[0].metadata().to_owned();
    assert!(metadata.starts_with("v1:0:"), "{metadata}");

    // Back to an earlier place by hand, as `kafka-consumer-groups --reset-offsets` would, but with
    // the map still there.
    commit(&topic.options, 3, &metadata);
    let next = topic.queue.source().await.unwrap();
    let out = receive_n(&next, 7).await;
    assert_eq!(text(&out[0]), "3", "all is replayed from where the offset was set");
    next.close(5 * SECOND).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transaction_markers_and_aborted_messages_stall_nothing() {
    let topic = Topic::open(one("transactions")).await.unwrap();
    let name = topic.options.topic.clone();
    let producing = tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = client().set("transactional.id", &name).create().unwrap();
        producer.init_transactions(10 * SECOND).unwrap();
        for round in 0..6 {
            producer.begin_transaction().unwrap();
            for n in 0..5 {
                let text = format!("{round}/{n}");
                let record = BaseRecord::to(&name).payload(&text).key("k");
                producer.send(record).map_err(|(fault, _)| fault).unwrap();
            }
            if round % 2 == 0 {
                producer.commit_transaction(10 * SECOND).unwrap();
            } else {
                producer.flush(10 * SECOND).unwrap();
                producer.abort_transaction(10 * SECOND).unwrap();
            }
        }
    });
    producing.await.unwrap();
    // The broker writes the marker of an abort after it has answered.
    let end = async || group(&topic.options).fetch_watermarks(&topic.options.topic, 0, 5 * SECOND);
    until("the last marker is written", async || end().await.is_ok_and(|ends| ends.1 == 36)).await;
    publish(&topic.queue, &[Outgoing::new("last")]).await;
    let source = topic.queue.source().await.unwrap();
    let out = receive_n(&source, 16).await;
    let aborted =
        out.iter().filter(|out| ["1/", "3/", "5/"].iter().any(|r| text(out).starts_with(r)));
    assert_eq!(aborted.count(), 0, "aborted messages came");
    ack(&source, &out).await;
    // 30 messages, 6 markers, and the last.
    until("the commit is at the end", async || committed(&topic.options) == Some(37)).await;
    let status = source.partitions().await.unwrap();
    let main = status.iter().find(|status| status.topic == topic.options.topic).unwrap();
    assert_eq!((main.lag, main.incomplete, main.gap, main.oldest_age), (Some(0), 0, 0, None));
    source.close(5 * SECOND).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_deleted_past_the_commit_stall_nothing() {
    let topic = Topic::open(one("deleted")).await.unwrap();
    let source = topic.queue.source().await.unwrap();
    publish(&topic.queue, &numbered(20)).await;
    let out = receive_n(&source, 20).await;
    ack(&source, &out[5..10]).await;
    source.close(5 * SECOND).await.unwrap();
    assert_eq!(committed(&topic.options), Some(0));
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic.options.topic, 0, Offset::Offset(15)).unwrap();
    support::admin().delete_records(&list, &AdminOptions::new()).await.unwrap();

    let next = topic.queue.source().await.unwrap();
    let out = receive_n(&next, 5).await;
    assert_eq!(text(&out[0]), "15");
    ack(&next, &out).await;
    until("the commit is at the end", async || committed(&topic.options) == Some(20)).await;
    assert_eq!(next.backlog().await.unwrap().outstanding(), 0);
    next.close(5 * SECOND).await.unwrap();
}

/// Deletes a topic, and makes it anew before anybody looks.
async fn make_anew(name: &str) {
    let (admin, asked) = (support::admin(), AdminOptions::new());
    admin.delete_topics(&[name], &asked).await.unwrap().remove(0).unwrap();
    let new = NewTopic::new(name, 1, TopicReplication::Fixed(1));
    until("the topic is there again", async || {
        admin.create_topics([&new], &asked).await.unwrap().remove(0).is_ok()
    })
    .await;
}

/// What is in it then has offsets that were read and done before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_of_a_topic_that_is_made_anew_under_its_worker() {
    let topic = Topic::open(one("anew")).await.unwrap();
    let source = topic.queue.source().await.unwrap();
    publish(&topic.queue, &numbered(30)).await;
    let before = receive_n(&source, 30).await;
    ack(&source, &before[..20]).await;
    until("what is done is committed", async || committed(&topic.options) == Some(20)).await;
    make_anew(&topic.options.topic).await;

    let named = |range: std::ops::Range<usize>| -> Vec<_> {
        range.map(|n| Outgoing::new(format!("new {n}"))).collect()
    };
    let mut missing: BTreeSet<_> = (0..60).map(|n| format!("new {n}")).collect();
    publish(&topic.queue, &named(0..10)).await;
    let first = receive_n(&source, 10).await;
    for out in &first {
        missing.remove(&text(out));
    }
    assert_eq!(missing.len(), 50, "{:?}", first.iter().map(text).collect::<Vec<_>>());
    ack(&source, &first).await;
    let event = async { while !matches!(source.event().await, SourceEvent::Lost(_)) {} };
    tokio::time::timeout(SECOND, event).await.expect("the runtime is told");
    for answer in settle(&source, &before[20..], Verdict::Ack).await {
        assert!(matches!(answer, Err(SettleError::Stale)), "of the topic before: {answer:?}");
    }
    until("the commit has gone back", async || committed(&topic.options) == Some(10)).await;

    publish(&topic.queue, &named(10..60)).await;
    let rest = receive_n(&source, 50).await;
    for out in &rest {
        missing.remove(&text(out));
    }
    assert_eq!(missing, BTreeSet::new());
    ack(&source, &rest).await;
    until("the commit is at the end", async || committed(&topic.options) == Some(60)).await;
    source.close(5 * SECOND).await.unwrap();
    let next = topic.queue.source().await.unwrap();
    assert!(receive_for(&next, SECOND, 1).await.is_empty(), "something done came again");
    next.close(5 * SECOND).await.unwrap();
}

/// The same while no worker is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_beyond_the_end_of_a_topic_hides_nothing() {
    let topic = Topic::open(one("beyond")).await.unwrap();
    commit(&topic.options, 30, "");
    make_anew(&topic.options.topic).await;
    until("Kafka forgets it with the topic", async || committed(&topic.options).is_none()).await;
    // Where a log was truncated, Kafka does not.
    publish(&topic.queue, &numbered(10)).await;
    commit(&topic.options, 30, "");
    assert_eq!(topic.queue.backlog().await.unwrap().outstanding(), 10);
    let source = topic.queue.source().await.unwrap();
    let out = receive_n(&source, 10).await;
    ack(&source, &out).await;
    until("the commit is at the end", async || committed(&topic.options) == Some(10)).await;
    source.close(5 * SECOND).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holes_left_by_compaction_stall_nothing() {
    let name = fresh("compacted");
    let new = NewTopic::new(&name, 1, TopicReplication::Fixed(1))
        .set("cleanup.policy", "compact")
        .set("segment.ms", "300")
        .set("min.cleanable.dirty.ratio", "0.01");
    support::admin().create_topics([&new], &AdminOptions::new()).await.unwrap();
    let mut own = one("compacted");
    (own.group, own.own_topics, own.topic) =
        (format!("forebay-{name}"), name.clone(), name.clone());
    let topic = Topic::open(own).await.unwrap();
    let keyed = |n: usize| Outgoing::new(n.to_string()).key((n % 3).to_string());
    publish(&topic.queue, &(0..300).map(keyed).collect::<Vec<_>>()).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    // A new segment, so that the one before can be cleaned.
    publish(&topic.queue, &(300..303).map(keyed).collect::<Vec<_>>()).await;
    let probe = || {
        let reader: BaseConsumer = client().set("group.id", "probe").create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&name, 0, Offset::Offset(0)).unwrap();
        reader.assign(&list).unwrap();
        let first = (0..50).find_map(|_| reader.poll(Duration::from_millis(100)));
        first.is_some_and(|record| rdkafka::Message::offset(&record.unwrap()) > 200)
    };
    until("the topic is compacted", async || tokio::task::block_in_place(probe)).await;

    let source = topic.queue.source().await.unwrap();
    let out = receive_for(&source, 2 * SECOND, 303).await;
    assert!((3..100).contains(&out.len()), "{} are left", out.len());
    ack(&source, &out).await;
    until("the commit is at the end", async || committed(&topic.options) == Some(303)).await;
    source.close(5 * SECOND).await.unwrap();
}

/// The done map has 4096 bytes. When it fills up, nothing more is taken in; what is out goes on, and
/// then so does all else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_done_map_stops_the_intake_and_nothing_else() {
    const N: usize = 60_000;
    let mut own = one("full");
    own.buffer_messages = 2000;
    let topic = Topic::open(own).await.unwrap();
    let source = topic.queue.source().await.unwrap();
    for batch in numbered(N).chunks(5000) {
        publish(&topic.queue, batch).await;
    }
    // Two of three are done, in a pattern that no encoding makes small.
    let (mut open, mut received) = (Vec::new(), 0);
    loop {
        let out = receive_for(&source, 2 * SECOND, 500).await;
        if out.is_empty() {
            break;
        }
        received += out.len();
        let (keep, done): (Vec<_>, Vec<_>) = out.into_iter().partition(|out| {
            text(out).parse::<usize>().unwrap().wrapping_mul(2_654_435_761) >> 7 & 3 == 0
        });
        ack(&source, &done).await;
        open.extend(keep);
    }
    println!("the intake stopped after {received}, of which {} are out", open.len());
    assert!(received < N, "the intake never stopped");
    assert!(received > 5000, "it stopped after {received} already");
    ack(&source, &open).await;
    // Nor are so many in flight that their map could overflow.
    let left = N - received;
    let out = receive_for(&source, 4 * SECOND, left).await;
    assert!((20_000..left).contains(&out.len()), "{} of {left} are out at a time", out.len());
    ack(&source, &out).await;
    let rest = receive_n(&source, left - out.len()).await;
    ack(&source, &rest).await;
    until("the commit is at the end", async || committed(&topic.options) == Some(N as i64)).await;
    source.close(5 * SECOND).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_message_holds_up_nobody_and_shows_in_the_status() {
    let topic = Topic::open(one("stuck")).await.unwrap();
    let source = topic.queue.source().await.unwrap();
    publish(&topic.queue, &numbered(500)).await;
    let out = receive_n(&source, 500).await;
    ack(&source, &out[1..]).await;
    publish(&topic.queue, &numbered(100)).await;
    let more = receive_n(&source, 100).await;
    ack(&source, &more).await;
    let status = source.partitions().await.unwrap();
    let main = status.iter().find(|status| status.topic == topic.options.topic).unwrap();
    assert_eq!((main.incomplete, main.gap, main.lag), (1, 600, Some(1)));
    assert!(main.oldest_age.unwrap() > Duration::from_millis(1));
    settle(&source, &out[..1], Verdict::Ack).await.remove(0).unwrap();
    until("the commit is at the end", async || committed(&topic.options) == Some(600)).await;
    source.close(5 * SECOND).await.unwrap();
}
