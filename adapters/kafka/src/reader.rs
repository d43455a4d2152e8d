//! Reads a partition from an offset to its end, without a group's rebalances: for dead letters, for
//! noted attempts, and for how old the oldest message is. Blocks.

use crate::{
    KafkaError, KafkaOptions, committed, config,
    context::Context,
    records::{self, Read},
};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError as Fault,
};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// A consumer that is told what to read.
pub(crate) struct Reader {
    pub(crate) consumer: BaseConsumer<Context>,
    context: Context,
    timeout: Duration,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    pub(crate) fn new(options: &Arc<KafkaOptions>, group: &str) -> Result<Self, KafkaError> {
        let context = Context::default();
        let mut config = config::reader(options, group)?;
        config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "50");
        let consumer = config
            .create_with_context(context.clone())
            .map_err(|fault| KafkaError::new("making a consumer", &fault))?;
        Ok(Self { consumer, context, timeout: options.request_timeout })
    }

    /// Shows each record of these partitions, each from an offset on to the end that it has now, or
    /// until `see` has seen enough and returns false. Those of one partition come in order.
    pub(crate) fn read(
        &mut self,
        topic: &str,
        places: &[(i32, i64)],
        mut see: impl FnMut(i32, Read) -> bool,
    ) -> Result<(), KafkaError> {
        let fail = |fault: &Fault| KafkaError::new(format!("reading the topic `{topic}`"), fault);
        let mut left = self.not_empty(topic, places)?;
        if left.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(left.len());
        for (partition, Span { from, .. }) in &left {
            list.add_partition_offset(topic, *partition, Offset::Offset(*from))
                .map_err(|fault| fail(&fault))?;
        }
        self.consumer.assign(&list).map_err(|fault| fail(&fault))?;
        let mut heard = Instant::now();
        let result = loop {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(record)) if record.topic() == topic => {
                    heard = Instant::now();
                    let (partition, next) = (record.partition(), record.offset() + 1);
                    if !see(partition, records::read(&record, topic)) {
                        break Ok(());
                    }
                    if left.get(&partition).is_some_and(|span| span.end <= next) {
                        left.remove(&partition);
                    }
                }
                // The last offsets need not be messages.
                Some(Err(Fault::PartitionEOF(partition))) => drop(left.remove(&partition)),
                Some(Err(fault)) if fail(&fault).is_fatal() => break Err(fail(&fault)),
                _ => {}
            }
            if left.is_empty() {
                break Ok(());
            }
            if heard.elapsed() > self.timeout {
                let what = format!("reading the topic `{topic}`");
                let detail = format!("no answer within {:?}", self.timeout);
                break Err(KafkaError::Broker { what, detail, passing: true });
            }
        };
        while self.context.next().is_some() {}
        self.consumer.unassign().map_err(|fault| fail(&fault))?;
        result
    }

    /// The partitions that have something to read.
    fn not_empty(
        &self,
        topic: &str,
        places: &[(i32, i64)],
    ) -> Result<HashMap<i32, Span>, KafkaError> {
        let names: Vec<_> = places.iter().map(|(at, _)| (topic.to_owned(), *at)).collect();
        let ends = committed::ends(&self.consumer, &names, self.timeout)?;
        let spans = places.iter().zip(ends).map(|((partition, from), (low, end))| {
            let from = (*from).max(low);
            (*partition, Span { from, end })
        });
        Ok(spans.filter(|(_, span)| span.from < span.end).collect())
    }
}

/// What is to be read of a partition.
struct Span {
    from: i64,
    end: i64,
}
