//! How much is waiting: what the brokers tell of the whole group, corrected by what this worker knows
//! of its own partitions.
//!
//! A partition has as much to do as lies between its commit and its end, less what its done map says
//! is done. That counts transaction markers and what compaction has left out, so it is about right,
//! and never too low.

use crate::{
    KafkaError, KafkaOptions, committed, queue,
    reader::Reader,
    records::Read,
    source::{self, PartitionStatus},
    topics::{TopicIndex, Topics},
    topology::Inspector,
};
use forebay_contract::{Backlog, Count};
use forebay_policy::Ledger;
use rdkafka::TopicPartitionList;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How many partitions are looked into for their oldest message, when nobody has it in memory.
const PEEKS: usize = 32;

/// One partition, as its commit says.
struct Place {
    topic: TopicIndex,
    partition: i32,
    /// The lowest offset that is not done, or the start.
    next: i64,
    end: i64,
    /// Not done, up to the end.
    open: u64,
}

/// All partitions that the group reads.
fn places(inspector: &Inspector, topics: &Topics) -> Result<Vec<Place>, KafkaError> {
    let mut all = Vec::new();
    for topic in &topics.read {
        let count = inspector.partitions(topic)?.unwrap_or(0);
        all.extend((0..count).map(|partition| (topic.to_string(), partition)));
    }
    let mut list = TopicPartitionList::with_capacity(all.len());
    for (topic, partition) in &all {
        list.add_partition(topic, *partition);
    }
    let commits = committed::read(&inspector.consumer, list, inspector.timeout())?;
    // After the commits, so that none lies beyond its end because of what has come meanwhile.
    let ends = inspector.ends(&all)?;
    let place = |((topic, partition), (low, high)): ((String, i32), (i64, i64))| {
        let commit = commits.iter().find(|c| c.topic == topic && c.partition == partition);
        // One that does is of a log that has gone back: a worker begins at the start.
        let offset = commit.and_then(|commit| commit.offset).filter(|offset| *offset <= high);
        let metadata = commit.and_then(|commit| commit.metadata.as_deref());
        let (ledger, _) = Ledger::assign(0, offset, metadata);
        let next = offset.unwrap_or(low).max(low);
        let done = ledger.gap() - ledger.outstanding();
        let open = high.saturating_sub(next).max(0).unsigned_abs().saturating_sub(done);
        let topic = topics.index(&topic).unwrap_or(0);
        Place { topic, partition, next, end: high, open }
    };
    Ok(all.into_iter().zip(ends).map(place).collect())
}

#[derive(Default)]
struct Sums {
    ready: u64,
    delayed: u64,
    leased: u64,
    oldest: Option<SystemTime>,
}

impl Sums {
    fn oldest(&mut self, since: Option<SystemTime>) {
        self.oldest = match (self.oldest, since) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// A partition that nobody here has in memory. What is in a retry topic waits.
    fn other(&mut self, place: &Place) {
        match place.topic {
            0 => self.ready += place.open,
            _ => self.delayed += place.open,
        }
    }

    fn backlog(&self, dead: u64, now: SystemTime) -> Backlog {
        let age = |since: SystemTime| now.duration_since(since).unwrap_or_default();
        Backlog {
            ready: Some(Count::about(self.ready)),
            delayed: Some(Count::about(self.delayed)),
            leased: Some(Count::about(self.leased)),
            dead: Some(Count::about(dead)),
            oldest_age: Some(self.oldest.map_or(Duration::ZERO, age)),
        }
    }
}

/// As one worker sees it.
pub(crate) fn of_source(inner: &source::Inner) -> Result<Backlog, KafkaError> {
    let places = places(&inner.queue.inspector, &inner.topics)?;
    let dead = inner.queue.graveyard.count()?;
    let (mut sums, mut unseen) = (Sums::default(), Vec::new());
    let mut state = inner.shared.lock();
    for place in &places {
        let scope = state.scope_of(place.topic, place.partition);
        let Some(own) = scope.and_then(|scope| state.partition(scope)) else {
            sums.other(place);
            continue;
        };
        let unread = unread(&own.ledger, place.end);
        let (out, waiting) = (own.out as u64, own.waiting() as u64);
        let here = (own.ledger.incomplete() as u64).saturating_sub(out + waiting);
        sums.leased += out;
        sums.delayed += waiting;
        sums.ready += here;
        // Of a retry topic, what is not read is taken to wait.
        if place.topic == 0 {
            sums.ready += unread;
        } else {
            sums.delayed += unread;
        }
        match own.oldest() {
            None if unread > 0 && own.ledger.incomplete() == 0 => {
                unseen.push((place.topic, place.partition, own.ledger.next()));
            }
            since => sums.oldest(since),
        }
    }
    drop(state);
    peek(&inner.options, &inner.topics, &unseen, &mut sums)?;
    Ok(sums.backlog(dead, SystemTime::now()))
}

/// Looks into partitions for since when their oldest message has been due.
fn peek(
    options: &Arc<KafkaOptions>,
    topics: &Topics,
    places: &[(TopicIndex, i32, i64)],
    sums: &mut Sums,
) -> Result<(), KafkaError> {
    if places.is_empty() {
        return Ok(());
    }
    let mut reader = Reader::new(options, &format!("{}.peek", options.group))?;
    for (topic, partition, next) in places.iter().take(PEEKS) {
        let topic = &topics.read[*topic];
        reader.read(topic, &[(*partition, *next)], |_, Read { due, since, .. }| {
            sums.oldest(due.or(since));
            false
        })?;
    }
    Ok(())
}

/// What is open and was not received: owed by the last owner, or beyond all that is known.
fn unread(ledger: &Ledger, end: i64) -> u64 {
    let high = ledger.next().saturating_add_unsigned(ledger.gap());
    let owed = ledger.outstanding().saturating_sub(ledger.incomplete() as u64);
    owed + end.saturating_sub(high).max(0).unsigned_abs()
}

/// As somebody sees it who is no consumer.
pub(crate) fn of_queue(inner: &queue::Inner) -> Result<Backlog, KafkaError> {
    let places = places(&inner.inspector, &inner.topics)?;
    let dead = inner.graveyard.count()?;
    let mut sums = Sums::default();
    let open = places.iter().filter(|place| place.open > 0);
    let open: Vec<_> = open.map(|place| (place.topic, place.partition, place.next)).collect();
    places.iter().for_each(|place| sums.other(place));
    peek(&inner.options, &inner.topics, &open, &mut sums)?;
    Ok(sums.backlog(dead, SystemTime::now()))
}

/// How each partition of a worker stands.
pub(crate) fn of_partitions(
    inner: &source::Inner,
    now: SystemTime,
) -> Result<Vec<PartitionStatus>, KafkaError> {
    let own: Vec<_> = {
        let state = inner.shared.lock();
        let place =
            |p: &crate::assigned::Assigned| (inner.topics.read[p.topic].to_string(), p.partition);
        state.partitions.iter().map(place).collect()
    };
    let ends = inner.queue.inspector.ends(&own).ok();
    let mut state = inner.shared.lock();
    let mut all = Vec::with_capacity(own.len());
    for (i, (topic, partition)) in own.into_iter().enumerate() {
        let index = inner.topics.index(&topic).unwrap_or(0);
        let Some(scope) = state.scope_of(index, partition) else { continue };
        let Some(own) = state.partition(scope) else { continue };
        let end = ends.as_ref().and_then(|ends| ends.get(i));
        all.push(PartitionStatus {
            topic,
            partition,
            lag: end.map(|(_, end)| unread(&own.ledger, *end) + own.ledger.incomplete() as u64),
            incomplete: own.ledger.incomplete(),
            gap: own.ledger.gap(),
            oldest_age: own.oldest().map(|since| now.duration_since(since).unwrap_or_default()),
        });
    }
    Ok(all)
}
