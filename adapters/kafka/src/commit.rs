//! Commits, on a thread of their own: rdkafka 0.39 tells of a commit's fate only to who waits for it,
//! and the thread that polls must not wait. For the same reason brokers that are away are asked here
//! whether they are back.
//!
//! One commit is on its way at a time. Kafka answers for each partition, but rdkafka only tells of
//! a failure when all of them have failed. The one failure that can concern a single partition is
//! a done map that the broker finds too large, so a large map is committed by itself; if it is refused,
//! the offset is committed without it.

use crate::{
    context::{Context, Note},
    producer::Producer,
    state::Shared,
};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError as Fault, KafkaResult},
    types::RDKafkaErrorCode as Code,
};
use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

/// How long the brokers may take to say that they are there.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// A done map from this size on, in bytes, is committed by itself.
const LARGE: usize = 1024;

/// What to commit of one partition.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) scope: u64,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) metadata: String,
}

/// How a commit ended.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// What the broker has taken: scope and offset.
    pub(crate) taken: Vec<(u64, i64)>,
    pub(crate) fault: Option<Fault>,
}

/// The way to the thread.
#[derive(Debug)]
pub(crate) struct Committer(mpsc::Sender<Job>);

enum Job {
    Commit {
        /// Held for the time of the job only: the consumer ends when its poller lets it go.
        consumer: Arc<BaseConsumer<Context>>,
        entries: Vec<Entry>,
    },
    /// Ask for this topic. By the producer, whose requests mean nothing to the consumer's group.
    Ask { producer: Arc<Producer>, topic: Arc<str> },
}

impl Committer {
    /// Starts the thread; it ends with the committer. Answers go to the context's notes.
    pub(crate) fn start(context: Context, shared: Arc<Shared>) -> std::io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::Builder::new().name("forebay-kafka-commit".into()).spawn(move || {
            for job in jobs {
                let note = match job {
                    Job::Commit { consumer, entries } => {
                        Note::Committed(commit(&consumer, entries))
                    }
                    Job::Ask { producer, topic } => {
                        let partitions = producer.partitions(&topic, ANSWER_WITHIN);
                        Note::Asked { there: partitions.is_ok_and(|count| count > 0) }
                    }
                };
                context.note(note);
                shared.wake_thread();
            }
        })?;
        Ok(Self(sender))
    }

    /// Sends a commit off. Returns whether it is on its way.
    pub(crate) fn send(&self, consumer: &Arc<BaseConsumer<Context>>, entries: Vec<Entry>) -> bool {
        self.0.send(Job::Commit { consumer: consumer.clone(), entries }).is_ok()
    }

    /// Asks whether the brokers are there, and know this topic.
    pub(crate) fn ask(&self, producer: &Arc<Producer>, topic: &Arc<str>) {
        // Where the thread has gone, commits fail, and say so.
        let _ = self.0.send(Job::Ask { producer: producer.clone(), topic: topic.clone() });
    }
}

fn commit(consumer: &BaseConsumer<Context>, entries: Vec<Entry>) -> Answer {
    let mut answer = Answer::default();
    let (large, small): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| entry.metadata.len() >= LARGE);
    answer.add(&small, commit_list(consumer, &small));
    for mut entry in large {
        let mut result = commit_list(consumer, std::slice::from_ref(&entry));
        let code = result.as_ref().err().and_then(Fault::rdkafka_error_code);
        if code == Some(Code::OffsetMetadataTooLarge) {
            tracing::warn!(
                topic = &*entry.topic,
                partition = entry.partition,
                "the broker's `offset.metadata.max.bytes` is less than the {} bytes of a done map: \
                 the offset is committed without it, and a restart repeats what is done beyond it; \
                 4096 is the default",
                entry.metadata.len()
            );
            entry.metadata.clear();
            result = commit_list(consumer, std::slice::from_ref(&entry));
        }
        answer.add(std::slice::from_ref(&entry), result);
    }
    answer
}

impl Answer {
    fn add(&mut self, entries: &[Entry], result: KafkaResult<()>) {
        match result {
            Ok(()) => self.taken.extend(entries.iter().map(|entry| (entry.scope, entry.offset))),
            Err(fault) => self.fault = Some(fault),
        }
    }
}

fn commit_list(consumer: &BaseConsumer<Context>, entries: &[Entry]) -> KafkaResult<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut list = TopicPartitionList::with_capacity(entries.len());
    for entry in entries {
        let mut element = list.add_partition(&entry.topic, entry.partition);
        element.set_offset(Offset::Offset(entry.offset))?;
        element.set_metadata(&entry.metadata);
    }
    consumer.commit(&list, CommitMode::Sync)
}
