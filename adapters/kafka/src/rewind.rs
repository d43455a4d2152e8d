//! A partition whose log goes back: after an unclean leader election or a power cut, which cost its
//! end, or when its topic was deleted and made anew under a worker. librdkafka finds out that its place
//! is no longer there, and goes on at the new end, or at the start.
//!
//! What is read then are other messages at the offsets of those before. So the partition is taken over
//! anew: what is out of it belongs to a scope that is over, and what was done from there on is forgotten.
//! Reading goes on at the lowest offset that was not done: below where the log has gone back to, those
//! that were out are still there, and nobody else would do them.
//!
//! Otherwise offsets only ascend within an assignment. Were that ever not so, some would be read again,
//! and none lost. What cannot be seen is a new log that has grown beyond the old place before anybody
//! looks: librdkafka just reads on there.

use crate::{committed::Committed, poller::Poller};
use rdkafka::{
    Offset, TopicPartitionList, consumer::Consumer, error::KafkaResult,
    topic_partition_list::TopicPartitionListElem,
};
use std::sync::{Arc, atomic::Ordering};

impl Poller {
    /// Takes over a partition of which `offset` came when it had been read already.
    pub(crate) fn rewind(&mut self, scope: u64, offset: i64) {
        self.scopes += 1;
        let again = self.scopes;
        let (topic, partition, last, start) = {
            let mut state = self.shared.lock();
            let Some((own, last)) = state.rewind(scope, again, offset) else { return };
            (self.topics.read[own.topic].clone(), own.partition, last, own.ledger.next())
        };
        self.shared.happened.notify_one();
        tracing::warn!(
            topic = &*topic,
            partition,
            read = last,
            came = offset,
            "the log of a partition has gone back: {offset} came when {last} had been read. It is taken \
             over anew from {start}, and what is out of it repeats"
        );
        let commit =
            Committed { topic: topic.to_string(), partition, offset: Some(start), metadata: None };
        let mut attempts = self.noted_attempts(&[commit]).remove(&partition).unwrap_or_default();
        // From there on, they were noted of other messages.
        attempts.retain(|noted, _| *noted < offset);
        if let Some(queue) = self.queues.iter_mut().find(|queue| queue.scope == scope) {
            (queue.scope, queue.attempts) = (again, attempts);
            queue.filled.store(true, Ordering::Release);
        }
        if let Err(fault) = self.seek(&topic, partition, start) {
            self.not_taken(format!("{topic}:{partition} from {start}: {fault}"));
        }
    }

    /// Has librdkafka read on at an offset. What it has fetched of the partition is dropped.
    fn seek(&self, topic: &Arc<str>, partition: i32, offset: i64) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        let list = self.consumer.seek_partitions(list, self.options.request_timeout)?;
        list.elements().iter().try_for_each(TopicPartitionListElem::error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Create, KafkaOptions, KafkaQueue, Receipt,
        producer::Producer,
        state::{Begun, Shared},
        topics::Topics,
    };
    use forebay_contract::{Delivery, Outgoing, Scope, Sink, SourceEvent, Want};
    use std::{
        env,
        time::{Duration, Instant, UNIX_EPOCH},
    };

    const SECOND: Duration = Duration::from_secs(1);

    /// Reads on until so many are out.
    fn receive(poller: &mut Poller, n: usize) -> Vec<Delivery<Receipt>> {
        let (mut out, end) = (Vec::new(), Instant::now() + 20 * SECOND);
        while out.len() < n {
            if Instant::now() > end {
                poller.context.close();
                panic!("{} of {n} messages came", out.len());
            }
            poller.serve();
            poller.read_all();
            let want = Want { messages: n - out.len(), bytes: 1 << 20 };
            poller.shared.lock().hand_out(want, &mut out);
            std::thread::sleep(SECOND / 100);
        }
        out
    }

    fn offsets(out: &[Delivery<Receipt>]) -> Vec<i64> {
        out.iter().map(|out| out.receipt.offset).collect()
    }

    /// A topic on the real broker, with these messages in its one partition.
    async fn topic_with(messages: &[Outgoing]) -> KafkaOptions {
        let broker = env::var("FOREBAY_TEST_KAFKA").unwrap_or("127.0.0.1:29092".into());
        let fresh = UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let mut options = KafkaOptions::new(broker, format!("test-rewind-{fresh}"));
        options.create = Some(Create { partitions: 1, replication: 1 });
        let opened = KafkaQueue::open(options.clone()).await;
        let queue = opened.expect("a broker: `scripts/brokers up kafka` starts one");
        for published in queue.publish(messages).await {
            published.unwrap();
        }
        // So that this is the one topic that is read.
        options.retry_steps.clear();
        options
    }

    /// By a seek that the ledger knows nothing of, as librdkafka makes it when a log was truncated.
    #[test]
    fn what_was_out_below_where_the_log_goes_back_to_is_read_again() {
        let messages: Vec<_> = (0..10).map(|n| Outgoing::new(n.to_string())).collect();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let options = Arc::new(runtime.block_on(topic_with(&messages)));
        let (topics, shared) = (Arc::new(Topics::new(&options)), Arc::new(Shared::default()));
        let producer = Arc::new(Producer::new(&options, None).unwrap());
        let mut poller = Poller::new(&options, &topics, &shared, &producer).unwrap();
        let out = receive(&mut poller, 10);
        // Else its end would wait for somebody to let go of its partition.
        poller.context.close();
        assert_eq!(offsets(&out), (0..10).collect::<Vec<_>>());
        for n in [0, 1, 3, 8] {
            assert!(matches!(shared.lock().done(out[n].receipt), Begun::Over));
        }
        shared.lock().events.clear();

        poller.seek(&topics.read[0], 0, 6).unwrap();
        let again = receive(&mut poller, 7);
        assert_eq!(offsets(&again), [2, 4, 5, 6, 7, 8, 9], "8 is another one, for all we know");
        let before = out[2].receipt;
        assert_eq!(shared.lock().events.pop_front(), Some(SourceEvent::Lost(Scope(before.scope))));
        assert!(again[0].receipt.scope > before.scope);
        assert!(matches!(shared.lock().done(before), Begun::Stale), "a verdict from before");
        for out in &again {
            assert!(matches!(shared.lock().done(out.receipt), Begun::Over));
        }
        assert_eq!(shared.lock().partitions[0].ledger.next(), 10);
        assert_eq!(shared.lock().partitions.len(), 1);
        assert!(shared.lock().failed.is_none());
    }
}
