//! What librdkafka tells a consumer: rebalances, commits, errors. All of it is only noted here, and
//! acted upon by whoever polls: a rebalance can then take its time without blocking the poll.

use crate::producer::log;
use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError as Fault, KafkaResult},
    types::{RDKafkaErrorCode as Code, RDKafkaRespErr},
};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// What has to be acted upon.
#[derive(Debug)]
pub(crate) enum Note {
    /// These partitions are given to us.
    Assign(TopicPartitionList),
    /// These are taken away.
    Revoke(TopicPartitionList),
    /// A commit has been answered: topic, partition and offset of what was taken.
    Committed(Result<Vec<(String, i32, i64)>, Fault>),
    /// All brokers are away, or a connection has failed, with a reason.
    Trouble(Code, String),
}

/// Notes it all down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    notes: Mutex<VecDeque<Note>>,
    closing: AtomicBool,
}

impl Context {
    fn notes(&self) -> MutexGuard<'_, VecDeque<Note>> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest note.
    pub(crate) fn next(&self) -> Option<Note> {
        self.notes().pop_front()
    }

    /// From now on partitions that are taken away are let go at once, since nobody reads the notes.
    pub(crate) fn close(&self) {
        self.0.closing.store(true, Ordering::Release);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, fault: Fault, reason: &str) {
        let code = fault.rdkafka_error_code().unwrap_or(Code::Unknown);
        self.notes().push_back(Note::Trouble(code, reason.to_owned()));
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assign = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.0.closing.load(Ordering::Acquire) {
            let list = if assign { TopicPartitionList::new() } else { partitions.clone() };
            let let_go = if assign {
                consumer.incremental_assign(&list)
            } else {
                consumer.incremental_unassign(&list)
            };
            if let_go.is_err()
                && let Err(fault) = consumer.unassign()
            {
                tracing::warn!("leaving the group: {fault}");
            }
            return;
        }
        let list = partitions.clone();
        self.notes().push_back(if assign { Note::Assign(list) } else { Note::Revoke(list) });
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let taken = |list: &TopicPartitionList| {
            let taken = list.elements().into_iter().filter_map(|element| {
                element.error().ok()?;
                let offset = element.offset().to_raw()?;
                Some((element.topic().to_owned(), element.partition(), offset))
            });
            taken.collect::<Vec<_>>()
        };
        // Partly refused: the result is an error, and each element tells for itself.
        let answer = match result {
            Ok(()) => Ok(taken(offsets)),
            Err(fault) => match taken(offsets) {
                some if some.len() < offsets.count() && !some.is_empty() => Ok(some),
                _ => Err(fault),
            },
        };
        self.notes().push_back(Note::Committed(answer));
    }
}
