//! What a group has committed, with the metadata beside it.
//!
//! rdkafka 0.39 panics when it is asked for metadata that is not UTF-8, which any other tool may have
//! written. The policy for metadata that is not ours: it is ignored, with a warning, and its offset is
//! honoured. So the panic is caught, and means just that.

use crate::KafkaError;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    topic_partition_list::TopicPartitionListElem,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

/// The commit of one partition.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: Option<i64>,
    /// `None`: none, or none that can be read.
    pub(crate) metadata: Option<String>,
}

/// Asks the group's coordinator. The group is that of the consumer.
pub(crate) fn read<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: TopicPartitionList,
    timeout: Duration,
) -> Result<Vec<Committed>, KafkaError> {
    let what = "reading the committed offsets";
    let list = consumer
        .committed_offsets(partitions, timeout)
        .map_err(|fault| KafkaError::new(what, &fault))?;
    let one = |element: &TopicPartitionListElem<'_>| {
        element.error().map_err(|fault| KafkaError::new(what, &fault))?;
        let offset = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        Ok(Committed {
            topic: element.topic().to_owned(),
            partition: element.partition(),
            offset,
            metadata: metadata(element),
        })
    };
    list.elements().iter().map(one).collect()
}

/// The metadata, if it is text.
fn metadata(element: &TopicPartitionListElem<'_>) -> Option<String> {
    let text = catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned()));
    if text.is_err() {
        tracing::warn!(
            topic = element.topic(),
            partition = element.partition(),
            "the metadata of the committed offset is not ours (not even text): ignored, the offset \
             is honoured"
        );
    }
    text.ok()
}

/// The lowest and the highest offset, of each partition that has an answer. One request for each
/// broker and end.
pub(crate) fn ends<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[(String, i32)],
    timeout: Duration,
) -> Result<Vec<(i64, i64)>, KafkaError> {
    let ask = |end: Offset| {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            list.add_partition_offset(topic, *partition, end)
                .map_err(|fault| KafkaError::new("asking for offsets", &fault))?;
        }
        let list = consumer
            .offsets_for_times(list, timeout)
            .map_err(|fault| KafkaError::new("asking for offsets", &fault))?;
        let found = partitions.iter().map(|(topic, partition)| {
            let Some(element) = list.find_partition(topic, *partition) else { return Ok(0) };
            element.error().map_err(|fault| KafkaError::new("asking for offsets", &fault))?;
            Ok(match element.offset() {
                Offset::Offset(offset) => offset,
                _ => 0,
            })
        });
        found.collect::<Result<Vec<_>, _>>()
    };
    let (low, high) = (ask(Offset::Beginning)?, ask(Offset::End)?);
    Ok(low.into_iter().zip(high).collect())
}
