//! With order: the attempts of messages that wait in their lanes, noted in a topic of their own, each
//! in the partition with the number of the message's own.

use crate::{
    KafkaError,
    committed::Committed,
    poller::{Noted, Poller},
    records::Read,
    topology,
};
use rdkafka::{TopicPartitionList, topic_partition_list::TopicPartitionListElem};
use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

impl Poller {
    /// Makes sure that attempts of these partitions can be noted: partitions may have been added to the
    /// topic since it was opened. Where that cannot be found out now, work goes on.
    pub(crate) fn room_for_attempts(&self, list: &TopicPartitionList) -> Result<(), KafkaError> {
        let Some(attempts) = &self.topics.attempts else { return Ok(()) };
        let Some(highest) = list.elements().iter().map(TopicPartitionListElem::partition).max()
        else {
            return Ok(());
        };
        let end = Instant::now() + self.options.request_timeout;
        loop {
            match self.try_room(attempts, highest) {
                Ok(true) => return Ok(()),
                Err(error) if error.is_fatal() => return Err(error),
                answer if Instant::now() > end => {
                    let why = answer.err().map(|error| error.to_string()).unwrap_or_default();
                    tracing::warn!(topic = %attempts, "its partitions could not be checked: {why}");
                    return Ok(());
                }
                _ => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Whether there is room; where `create` allows it, it is made, and there in a moment.
    fn try_room(&self, attempts: &str, highest: i32) -> Result<bool, KafkaError> {
        let timeout = self.options.request_timeout;
        // The producer is asked, since it has to know the partitions too.
        let there = self.producer.partitions(attempts, timeout)?;
        if highest < there {
            return Ok(true);
        }
        let main = self.topics.main();
        let needed = self.producer.partitions(main, timeout)?.max(highest + 1);
        topology::grow_attempts(&self.options, attempts, there, main, needed).map(|()| false)
    }

    /// With order: the attempts of messages that waited in their lanes when their worker went, by
    /// partition and offset.
    pub(crate) fn noted_attempts(
        &mut self,
        commits: &[Committed],
    ) -> HashMap<i32, HashMap<i64, Noted>> {
        let mut noted: HashMap<i32, HashMap<i64, Noted>> = HashMap::new();
        let (Some(reader), Some(topic)) = (&mut self.attempts, &self.topics.attempts) else {
            return noted;
        };
        let places: Vec<_> = commits.iter().map(|commit| (commit.partition, 0)).collect();
        let result = reader.read(topic, &places, |partition, read| {
            let key = read.message.key.as_ref().and_then(|key| std::str::from_utf8(key).ok());
            if let Some(offset) = key.and_then(|key| key.parse::<i64>().ok()) {
                let noted = noted.entry(partition).or_default();
                // One without a history deletes what was noted.
                match read.message.history.notes().is_empty() {
                    true => drop(noted.remove(&offset)),
                    false => {
                        let Read { message, due, .. } = read;
                        noted.insert(offset, Noted { message, due });
                    }
                }
            }
            true
        });
        if let Err(error) = result {
            tracing::warn!("attempts of waiting messages begin anew: {error}");
        }
        for commit in commits {
            let next = commit.offset.unwrap_or(0);
            if let Some(noted) = noted.get_mut(&commit.partition) {
                noted.retain(|offset, _| *offset >= next);
            }
        }
        noted
    }
}
