//! Reads a partition from an offset to its end, without a group's rebalances: for dead letters, for
//! noted attempts, and for how old the oldest message is. Blocks.

use crate::{
    KafkaError, KafkaOptions, config,
    context::Context,
    records::{self, Read},
};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError as Fault,
};
use std::{
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
        config.set("enable.partition.eof", "true");
        let consumer = config
            .create_with_context(context.clone())
            .map_err(|fault| KafkaError::new("making a consumer", &fault))?;
        Ok(Self { consumer, context, timeout: options.request_timeout })
    }

    /// Shows each record from an offset on, until the end that is met, or until `see` has seen
    /// enough and returns false.
    pub(crate) fn read(
        &mut self,
        topic: &str,
        partition: i32,
        from: i64,
        mut see: impl FnMut(Read) -> bool,
    ) -> Result<(), KafkaError> {
        let what = || format!("reading the topic `{topic}`");
        let fail = |fault: &Fault| KafkaError::new(what(), fault);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(from))
            .map_err(|fault| fail(&fault))?;
        self.consumer.assign(&list).map_err(|fault| fail(&fault))?;
        let mut heard = Instant::now();
        let result = loop {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(record)) => {
                    heard = Instant::now();
                    if record.topic() == topic && !see(records::read(&record, topic)) {
                        break Ok(());
                    }
                }
                Some(Err(Fault::PartitionEOF(at))) if at == partition => break Ok(()),
                Some(Err(fault)) => {
                    let error = fail(&fault);
                    if error.is_fatal() {
                        break Err(error);
                    }
                }
                None => {}
            }
            if heard.elapsed() > self.timeout {
                let detail = format!("no answer within {:?}", self.timeout);
                break Err(KafkaError::Broker { what: what(), detail, passing: true });
            }
        };
        while self.context.next().is_some() {}
        self.consumer.unassign().map_err(|fault| fail(&fault))?;
        result
    }
}
