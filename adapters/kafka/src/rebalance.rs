//! Partitions that come and go, and what is committed of them.
//!
//! | event | what happens |
//! |---|---|
//! | given to us | the commit is read, its done map taken over; reading starts there, in a new scope |
//! | taken away | the runtime is told; what is not out is dropped; what is out may end within a bound; commit; gone |
//! | lost (too late to commit) | gone at once |
//! | its log goes back | gone at once, and ours again in a new scope: see [`rewind`](crate::rewind) |
//! | closed | as taken away, without the wait: the runtime has drained |
//!
//! librdkafka fetches nothing for any partition while it waits for us to let go of some. So the bound
//! is what the others stall at most.

use crate::{
    KafkaError,
    assigned::Assigned,
    commit::{Answer, Entry},
    committed::{self, Committed},
    poller::{COMMIT_EVERY, Noted, Poller, Queue},
};
use forebay_contract::{Scope, SourceEvent};
use forebay_policy::{AssignNote, Commit, Ledger};
use rdkafka::{Offset, TopicPartitionList, consumer::Consumer, error::KafkaError as Fault};
use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

/// How often the committed offsets are asked for before a partition is taken without its done map.
const TRIES: u32 = 3;

/// For so long commits may fail before that is worth a warning.
const COMMITS_FAIL: Duration = Duration::from_secs(30);

/// Partitions on their way out.
pub(crate) struct Revoking {
    list: TopicPartitionList,
    scopes: Vec<u64>,
    until: Instant,
    /// The last commit for them has been sent.
    committed: Option<Instant>,
}

impl Poller {
    /// Partitions are given to us.
    pub(crate) fn assign(&mut self, list: &TopicPartitionList) {
        if let Err(error) = self.room_for_attempts(list) {
            self.shared.fail(error);
        }
        let commits = self.ask_committed(list);
        let known = commits.len() >= list.count();
        // With order, the topic itself is all that is read.
        let mut noted = self.noted_attempts(&commits);
        let mut starts = TopicPartitionList::with_capacity(list.count());
        for element in list.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            let commit = commits.iter().find(|c| c.topic == topic && c.partition == partition);
            let attempts = noted.remove(&partition).unwrap_or_default();
            self.take_over(topic, partition, commit, attempts);
            let start = match commit.and_then(|commit| commit.offset) {
                Some(offset) => Offset::Offset(offset),
                // What was never committed begins at the start.
                None if known => Offset::Beginning,
                // librdkafka asks again.
                None => Offset::Invalid,
            };
            if let Err(fault) = starts.add_partition_offset(topic, partition, start) {
                self.not_taken(format!("{topic}:{partition}: {fault}"));
            }
        }
        if let Err(fault) = self.consumer.incremental_assign(&starts) {
            self.not_taken(fault.to_string());
        }
        self.shared.lock().rebalances += 1;
        self.shared.assigned.notify_waiters();
        self.is_up();
        tracing::info!(
            group = self.options.group,
            partitions = list.count(),
            "partitions were given to this worker"
        );
    }

    /// A partition that is ours and is not read would stand still without a word: rather end, and let
    /// another worker have it.
    pub(crate) fn not_taken(&self, detail: String) {
        let what = format!("taking partitions in `{}`", self.options.group);
        self.shared.fail(KafkaError::Broker { what, detail, passing: false });
    }

    fn ask_committed(&self, list: &TopicPartitionList) -> Vec<Committed> {
        if list.count() == 0 {
            return Vec::new();
        }
        for _ in 0..TRIES {
            let mut ask = TopicPartitionList::with_capacity(list.count());
            for element in list.elements() {
                ask.add_partition(element.topic(), element.partition());
            }
            match committed::read(&self.consumer, ask, self.options.request_timeout / TRIES) {
                Ok(commits) => return commits,
                Err(error) => tracing::warn!("{error}"),
            }
        }
        tracing::warn!("what was done beyond the commits is not known, and may come again");
        Vec::new()
    }

    /// Makes a partition ours: its ledger, its queue.
    fn take_over(
        &mut self,
        topic: &str,
        partition: i32,
        commit: Option<&Committed>,
        attempts: HashMap<i64, Noted>,
    ) {
        let Some(index) = self.topics.index(topic) else { return };
        self.scopes += 1;
        let scope = self.scopes;
        let offset = commit.and_then(|commit| commit.offset);
        let metadata = commit.and_then(|commit| commit.metadata.as_deref());
        let (ledger, note) = Ledger::assign(scope, offset, metadata);
        match note {
            AssignNote::NoCommit | AssignNote::NoMap | AssignNote::Restored { .. } => {
                tracing::debug!(topic, partition, ?offset, "{note}");
            }
            // Messages may repeat; an operator may want to know why.
            _ => tracing::warn!(topic, partition, ?offset, "{note}; the offset is honoured"),
        }
        let Some(mut queue) = self.consumer.split_partition_queue(topic, partition) else {
            return self.not_taken(format!("librdkafka has no queue for {topic}:{partition}"));
        };
        let filled = Arc::new(AtomicBool::new(true));
        let (flag, waker) = (filled.clone(), self.shared.clone());
        queue.set_nonempty_callback(move || {
            flag.store(true, std::sync::atomic::Ordering::Release);
            waker.wake_thread();
        });
        let topic = self.topics.read[index].clone();
        self.queues.push(Queue { scope, topic, queue, filled, attempts });
        let assigned = Assigned::new(index, partition, ledger, self.options.order);
        self.shared.lock().assign(assigned);
    }

    /// Partitions are taken away.
    pub(crate) fn begin_revoking(&mut self, list: TopicPartitionList) {
        let lost = self.consumer.assignment_lost();
        let within = if lost { Duration::ZERO } else { self.options.revoke_wait };
        let until = Instant::now() + within;
        let mut scopes = Vec::new();
        {
            let mut state = self.shared.lock();
            for element in list.elements() {
                let Some(index) = self.topics.index(element.topic()) else { continue };
                if let Some(scope) = state.scope_of(index, element.partition()) {
                    state.leave(scope);
                    scopes.push(scope);
                    state.events.push_back(SourceEvent::Revoking { scope: Scope(scope), within });
                }
            }
        }
        self.shared.happened.notify_one();
        self.queues.retain(|queue| !scopes.contains(&queue.scope));
        tracing::info!(
            group = self.options.group,
            partitions = scopes.len(),
            lost,
            "partitions are taken away"
        );
        let committed = lost.then(Instant::now);
        self.revoking = Some(Revoking { list, scopes, until, committed });
    }

    /// Lets go of partitions once nothing of them is out, or their time is up.
    pub(crate) fn go_on_revoking(&mut self, now: Instant) {
        let Some(revoking) = &mut self.revoking else { return };
        if revoking.committed.is_none() {
            let out: usize = {
                let mut state = self.shared.lock();
                let out =
                    |scope: &u64| state.partition(*scope).map_or(0, |partition| partition.out);
                revoking.scopes.iter().map(out).sum()
            };
            if (out > 0 && now < revoking.until)
                || self.committing.is_some_and(|_| now < revoking.until)
            {
                return;
            }
            if out > 0 {
                tracing::warn!(
                    messages = out,
                    "partitions go while messages of theirs are out: those will repeat"
                );
            }
            revoking.committed = Some(now);
            self.send_commit(now);
        }
        // The answer, or a moment.
        let Some(revoking) = &self.revoking else { return };
        let waited = revoking.committed.map(|sent| now.saturating_duration_since(sent));
        if self.committing.is_some()
            && waited.is_some_and(|waited| waited < Duration::from_millis(500))
        {
            return;
        }
        let Some(revoking) = self.revoking.take() else { return };
        {
            let mut state = self.shared.lock();
            for scope in revoking.scopes {
                state.lose(scope);
                state.events.push_back(SourceEvent::Lost(Scope(scope)));
            }
            state.rebalances += 1;
        }
        self.shared.happened.notify_one();
        self.shared.assigned.notify_waiters();
        if let Err(fault) = self.consumer.incremental_unassign(&revoking.list) {
            tracing::error!("letting go of partitions: {fault}");
        }
    }

    /// Commits what has changed, if it is time and no commit is on its way.
    pub(crate) fn commit(&mut self, now: Instant) {
        if now >= self.commit_at && self.committing.is_none() {
            self.send_commit(now);
            self.commit_at = now + COMMIT_EVERY;
        }
    }

    fn send_commit(&mut self, now: Instant) {
        let mut entries = Vec::new();
        {
            let mut state = self.shared.lock();
            for partition in &mut state.partitions {
                partition.trim();
                let Some(Commit { offset, metadata }) = partition.commit() else { continue };
                let topic = self.topics.read[partition.topic].clone();
                let (scope, partition) = (partition.scope, partition.partition);
                entries.push(Entry { scope, topic, partition, offset, metadata });
            }
        }
        if !entries.is_empty() && self.committer.send(&self.consumer, entries) {
            self.committing = Some(now);
        }
    }

    /// A commit is answered.
    pub(crate) fn committed(&mut self, answer: Answer) {
        self.committing = None;
        match answer.fault {
            Some(fault) => self.not_committed(&fault),
            None => self.commits_fail_since = None,
        }
        if !answer.taken.is_empty() {
            self.is_up();
        }
        let mut state = self.shared.lock();
        for (scope, offset) in answer.taken {
            if let Some(partition) = state.partition(scope) {
                partition.ledger.committed(offset);
            }
        }
    }

    /// A commit fails in a rebalance, or while the coordinator moves: what is still ours is committed
    /// again. When it goes on for long, somebody should know.
    fn not_committed(&mut self, fault: &Fault) {
        let error = KafkaError::new(format!("committing in `{}`", self.options.group), fault);
        if matches!(error, KafkaError::NotAllowed { .. } | KafkaError::Fenced) {
            return self.shared.fail(error);
        }
        let now = Instant::now();
        let since = *self.commits_fail_since.get_or_insert(now);
        if now.saturating_duration_since(since) < COMMITS_FAIL {
            return tracing::debug!("{error}; the next commit covers it");
        }
        self.commits_fail_since = Some(now);
        tracing::warn!(
            "{error}: no commit has been taken for {COMMITS_FAIL:?}; a restart now would repeat what \
             was done meanwhile"
        );
    }

    /// Commits all that is done, and leaves the group.
    pub(crate) fn leave(&mut self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        self.producer.flush(left / 2);
        while self.committing.is_some() && Instant::now() < deadline {
            self.wait_a_little();
        }
        loop {
            if self.committing.is_none() {
                self.send_commit(Instant::now());
            }
            while self.committing.is_some() && Instant::now() < deadline {
                self.wait_a_little();
            }
            let behind = |partition: &mut Assigned| partition.ledger.commit().is_some();
            let more = self.shared.lock().partitions.iter_mut().any(behind);
            if !more || Instant::now() >= deadline {
                break;
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        {
            let mut state = self.shared.lock();
            let scopes: Vec<_> = state.partitions.iter().map(|partition| partition.scope).collect();
            for scope in scopes {
                state.lose(scope);
            }
        }
        self.context.close();
        self.queues.clear();
        if let Some(Revoking { list, .. }) = self.revoking.take()
            && let Err(fault) = self.consumer.incremental_unassign(&list)
        {
            tracing::debug!("leaving the group: {fault}");
        }
    }

    fn wait_a_little(&mut self) {
        thread::park_timeout(Duration::from_millis(10));
        drop(self.consumer.poll(Duration::ZERO));
        while let Some(note) = self.context.next() {
            match note {
                crate::context::Note::Committed(answer) => self.committed(answer),
                crate::context::Note::Revoke(list) => self.begin_revoking(list),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KafkaOptions, producer::Producer, state::Shared, topics::Topics};

    /// librdkafka refuses a partition that it has been given already.
    #[test]
    fn a_partition_that_cannot_be_taken_ends_the_worker() {
        let mut options = KafkaOptions::new("127.0.0.1:1", "orders");
        options.request_timeout = Duration::from_millis(30);
        let (options, shared) = (Arc::new(options), Arc::new(Shared::default()));
        let topics = Arc::new(Topics::new(&options));
        let producer = Arc::new(Producer::new(&options, None).unwrap());
        let mut poller = Poller::new(&options, &topics, &shared, &producer).unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition("orders", 0);
        poller.assign(&list);
        assert!(shared.lock().failed.is_none());
        poller.assign(&list);
        let error = shared.lock().failed.clone().unwrap();
        assert!(error.is_fatal() && error.to_string().contains("taking partitions"), "{error}");
    }
}
