//! Dead letters that were taken out: of the midst of others, until there is no room to say which; and
//! for longer than the broker remembers it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_contract::{
    Carried, DeadFilter, DeadLetters, DeadLettersError, DeadOrigin, DeadReason, FOREBAY_STATE,
    Source, Verdict,
};
use forebay_kafka::{Create, KafkaError, KafkaQueue};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    admin::AdminOptions,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError as KafkaFault,
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use std::time::{Duration, SystemTime};
use support::{Topic, admin, client, note, numbered, options, publish, receive_n, settle};

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

/// Five dead letters, of which the second and the fourth are `TooOld`.
async fn five(what: &str) -> Topic {
    let mut own = options(what);
    own.create = Some(Create { partitions: 1, replication: 1 });
    let topic = Topic::open(own).await.unwrap();
    let source = topic.queue.source().await.unwrap();
    publish(&topic.queue, &numbered(5)).await;
    for (n, out) in receive_n(&source, 5).await.into_iter().enumerate() {
        let reason = if n % 2 == 1 { DeadReason::TooOld } else { DeadReason::Permanent };
        let verdict = Verdict::DeadLetter { reason, note: note("no") };
        settle(&source, &[out], verdict).await.remove(0).unwrap();
    }
    source.close(Duration::from_secs(5)).await.unwrap();
    topic
}

fn lowest(topic: &Topic) -> i64 {
    let consumer: BaseConsumer = client().create().unwrap();
    let dead = format!("{}.dead", topic.options.topic);
    consumer.fetch_watermarks(&dead, 0, Duration::from_secs(10)).unwrap().0
}

/// What the broker does of itself when the group's last commit is `offsets.retention.minutes` old.
async fn forget_commits(topic: &Topic) {
    let group = format!("{}.dead", topic.options.group);
    let answers = admin().delete_groups(&[&group], &AdminOptions::new()).await.unwrap();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

async fn count(topic: &Topic) -> u64 {
    topic.queue.backlog().await.unwrap().dead.unwrap().value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_redriven_does_not_come_back_when_the_broker_forgets_the_group() {
    let all = DeadFilter::default();
    let topic = five("forgotten").await;
    assert_eq!((lowest(&topic), count(&topic).await), (0, 5));
    let moved = topic.queue.redrive(&all, usize::MAX).await.unwrap().moved;
    assert_eq!((moved.len(), lowest(&topic)), (5, 5));
    forget_commits(&topic).await;
    assert_eq!(count(&topic).await, 0);
    assert!(topic.queue.list(&all, None, 10).await.unwrap().is_empty());
    assert!(topic.queue.redrive(&all, usize::MAX).await.unwrap().moved.is_empty());
}

/// Those that are left stay, and so does what lies between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_lies_before_all_that_are_left_is_deleted() {
    let all = DeadFilter::default();
    let topic = five("between").await;
    let too_old = DeadFilter { reason: Some(DeadReason::TooOld), ..DeadFilter::default() };
    assert_eq!(topic.queue.purge(&too_old).await.unwrap(), 2);
    assert_eq!((lowest(&topic), count(&topic).await), (0, 3));
    assert_eq!(topic.queue.redrive(&all, 1).await.unwrap().moved.len(), 1);
    assert_eq!((lowest(&topic), count(&topic).await), (2, 2), "the first two have been taken out");
    let left = topic.queue.list(&all, None, 10).await.unwrap();
    let left: Vec<_> = left.iter().map(|letter| letter.id.to_string()).collect();
    assert_eq!(left, ["0:2", "0:4"]);
    forget_commits(&topic).await;
    assert_eq!(count(&topic).await, 3, "the fourth is forgotten, the first two are not there");
    assert_eq!(topic.queue.purge(&all).await.unwrap(), 3);
    assert_eq!((lowest(&topic), count(&topic).await), (5, 0));
}

/// As after an unclean leader election. Letters that are hidden are as good as lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_beyond_the_end_hides_no_letter() {
    let topic = five("beyond").await;
    let consumer: BaseConsumer =
        client().set("group.id", format!("{}.dead", topic.options.group)).create().unwrap();
    let mut list = TopicPartitionList::new();
    let dead = format!("{}.dead", topic.options.topic);
    list.add_partition_offset(&dead, 0, Offset::Offset(9)).unwrap();
    consumer.commit(&list, CommitMode::Sync).unwrap();
    assert_eq!(count(&topic).await, 5);
    assert_eq!(topic.queue.redrive(&DeadFilter::default(), 4).await.unwrap().moved.len(), 4);
    assert_eq!((lowest(&topic), count(&topic).await), (4, 1));
}

/// How many commits of a group have been written since these ends of the broker's own topic.
fn commits_since(ends: &[i64], group: &str) -> usize {
    let reader: BaseConsumer =
        client().set("group.id", "probe").set("enable.partition.eof", "true").create().unwrap();
    let mut list = TopicPartitionList::new();
    for (partition, end) in (0..).zip(ends) {
        let place =
            list.add_partition_offset("__consumer_offsets", partition, Offset::Offset(*end));
        place.unwrap();
    }
    reader.assign(&list).unwrap();
    let (mut found, mut left) = (0, ends.len());
    while left > 0 {
        match reader.poll(Duration::from_secs(10)).expect("an answer") {
            Err(KafkaFault::PartitionEOF(_)) => left -= 1,
            record => {
                let record = record.unwrap();
                let key = record.key().unwrap_or_default();
                found += usize::from(key.windows(group.len()).any(|part| part == group.as_bytes()));
            }
        }
    }
    found
}

fn ends() -> Vec<i64> {
    let consumer: BaseConsumer = client().create().unwrap();
    let topic = "__consumer_offsets";
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
    let count = i32::try_from(metadata.topics()[0].partitions().len()).unwrap();
    let end = |n| consumer.fetch_watermarks(topic, n, Duration::from_secs(10)).unwrap().1;
    (0..count).map(end).collect()
}

/// Whoever looks keeps the broker from forgetting, but not each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_out_of_the_midst_is_committed_once_more() {
    let topic = five("kept").await;
    let too_old = DeadFilter { reason: Some(DeadReason::TooOld), ..DeadFilter::default() };
    assert_eq!(topic.queue.purge(&too_old).await.unwrap(), 2);
    let later = KafkaQueue::open(topic.options.clone()).await.unwrap();
    let before = ends();
    for _ in 0..3 {
        assert_eq!(later.backlog().await.unwrap().dead.unwrap().value, 3);
    }
    assert_eq!(commits_since(&before, &format!("{}.dead", topic.options.group)), 1);
    // Where nothing is marked, nothing is kept.
    assert_eq!(topic.queue.purge(&DeadFilter::default()).await.unwrap(), 3);
    let (later, before) = (KafkaQueue::open(topic.options.clone()).await.unwrap(), ends());
    assert_eq!(later.backlog().await.unwrap().dead.unwrap().value, 0);
    assert_eq!(commits_since(&before, &format!("{}.dead", topic.options.group)), 0);
}
