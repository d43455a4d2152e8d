//! What librdkafka tells a consumer: rebalances, commits, errors. All of it is only noted here, and
//! acted upon by whoever polls: a rebalance can then take its time without blocking the poll.

use crate::{commit::Answer, producer::log};
use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError as Fault,
    types::{RDKafkaErrorCode as Code, RDKafkaRespErr},
};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// What has to be acted upon.
#[derive(Debug)]
pub(crate) enum Note {
    /// These partitions are given to us.
    Assign(TopicPartitionList),
    /// These are taken away.
    Revoke(TopicPartitionList),
    /// A commit has been answered.
    Committed(Answer),
    /// The brokers have been asked whether they are there.
    Asked { there: bool },
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
    /// Calls so far.
    heard: AtomicU64,
}

impl Context {
    fn notes(&self) -> MutexGuard<'_, VecDeque<Note>> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a note.
    pub(crate) fn note(&self, note: Note) {
        self.0.heard.fetch_add(1, Ordering::Relaxed);
        self.notes().push_back(note);
    }

    /// Grows with each call of librdkafka's, log lines included: a poll that makes it grow has taken
    /// something out of the queue.
    pub(crate) fn heard(&self) -> u64 {
        self.0.heard.load(Ordering::Relaxed)
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
        self.0.heard.fetch_add(1, Ordering::Relaxed);
        log(level, facility, message);
    }

    fn error(&self, fault: Fault, reason: &str) {
        let code = fault.rdkafka_error_code().unwrap_or(Code::Unknown);
        self.note(Note::Trouble(code, reason.to_owned()));
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
        self.note(if assign { Note::Assign(list) } else { Note::Revoke(list) });
    }
}
