//! Which dead letters have been taken out: the commit of their group.
//!
//! Nobody is a member of that group, so the broker forgets its commit 7 days after it was made
//! (`offsets.retention.minutes`), and what was taken out would be there again. Hence
//!
//! - what lies below the commit is deleted, once the commit is answered;
//! - what is marked beyond it is committed once more now and then, as long as anybody looks: each
//!   worker does, for its backlog.

use super::Graveyard;
use crate::{
    KafkaError,
    committed::{self, Committed},
    config,
    reader::Reader,
};
use forebay_policy::{Commit, Ledger};
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{CommitMode, Consumer},
    error::{KafkaError as Fault, KafkaResult},
    topic_partition_list::TopicPartitionListElem,
};
use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

/// How often the marks are committed once more. Seldom: what another program marks in the moment between
/// reading and committing them would be marked no longer, and those letters would be there again.
const KEEP_EVERY: Duration = Duration::from_secs(3600);

/// What has been taken out, and what is there to be read.
pub(super) struct Marks {
    pub(super) ledger: Ledger,
    /// The lowest offset that may be left.
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Graveyard {
    /// Asks for what the group has committed.
    pub(super) fn marks(&self, reader: &Reader) -> Result<Marks, KafkaError> {
        let (topic, timeout) = (&self.topics.dead, self.options.request_timeout);
        let committed = self.committed(reader)?;
        let ends = committed::ends(&reader.consumer, &[(topic.to_string(), 0)], timeout)?;
        let (low, end) = ends.first().copied().unwrap_or_default();
        let commit = committed
            .as_ref()
            .and_then(|Committed { offset, metadata, .. }| Some(((*offset)?, metadata.as_deref())));
        let commit = match commit {
            Some((offset, _)) if offset > end => {
                tracing::warn!(
                    topic = %topic,
                    committed = offset,
                    end,
                    "the log of the dead letters has gone back: which of them were taken out is not \
                     known, so all are shown"
                );
                None
            }
            commit => commit,
        };
        let (offset, metadata) = commit.map_or((None, None), |(offset, map)| (Some(offset), map));
        let (ledger, note) = Ledger::assign(0, offset, metadata);
        tracing::debug!(topic = %topic, "dead letters: {note}");
        let start = offset.unwrap_or(0).max(low);
        // Where all that is marked has been deleted, there is nothing to keep.
        if let Some((offset, Some(map))) = commit
            && (low < offset || !map.is_empty())
        {
            self.keep(reader, offset, map);
        }
        Ok(Marks { ledger, start, end })
    }

    /// Commits once more what is committed, if it is time.
    fn keep(&self, reader: &Reader, offset: i64, metadata: &str) {
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.is_some_and(|kept| kept.elapsed() < KEEP_EVERY) {
                return;
            }
            *kept = Some(Instant::now());
        }
        // Another program may have marked something since.
        let is_still = self.committed(reader).ok().flatten().is_some_and(|now| {
            now.offset == Some(offset) && now.metadata.as_deref() == Some(metadata)
        });
        if !is_still {
            return;
        }
        if let Err(fault) = self.send_commit(reader, offset, metadata) {
            tracing::debug!(topic = %self.topics.dead, "the marks were not committed again: {fault}");
        }
    }

    /// What the group has committed.
    fn committed(&self, reader: &Reader) -> Result<Option<Committed>, KafkaError> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&self.topics.dead, 0);
        let all = committed::read(&reader.consumer, list, self.options.request_timeout)?;
        Ok(all.into_iter().next())
    }

    /// Commits what has been taken out.
    pub(super) fn commit(&self, reader: &Reader, ledger: &mut Ledger) -> Result<(), KafkaError> {
        let Some(Commit { offset, metadata }) = noted(ledger)? else { return Ok(()) };
        let end = Instant::now() + self.options.request_timeout;
        loop {
            match self.send_commit(reader, offset, &metadata) {
                Ok(()) => break,
                Err(fault) if Instant::now() > end => {
                    return Err(KafkaError::new(
                        "noting which dead letters were taken out",
                        &fault,
                    ));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        ledger.committed(offset);
        Ok(())
    }

    fn send_commit(&self, reader: &Reader, offset: i64, metadata: &str) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(1);
        let mut element = list.add_partition(&self.topics.dead, 0);
        element.set_offset(Offset::Offset(offset))?;
        element.set_metadata(metadata);
        reader.consumer.commit(&list, CommitMode::Sync)
    }

    /// Deletes what lies below the commit that the broker has: all of it was taken out. Where that may
    /// not be, the marks say so as long as the broker knows them.
    pub(super) fn delete_below_commit(&self, ledger: &Ledger) {
        let Some(offset) = ledger.confirmed().filter(|offset| *offset > 0) else { return };
        if let Err(error) = self.delete_below(offset) {
            tracing::warn!(
                topic = %self.topics.dead,
                below = offset,
                "{error}. Dead letters that were taken out stay in the topic, and are shown again when \
                 the broker forgets the commit of `{}.dead`",
                self.options.group
            );
        }
    }

    fn delete_below(&self, offset: i64) -> Result<(), KafkaError> {
        let what = format!("deleting from the topic `{}`", self.topics.dead);
        let fail = |fault: Fault| KafkaError::new(&*what, &fault);
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&self.topics.dead, 0, Offset::Offset(offset)).map_err(fail)?;
        let admin: AdminClient<DefaultClientContext> =
            config::admin(&self.options)?.create().map_err(fail)?;
        let timeout = Some(self.options.request_timeout);
        let asked = AdminOptions::new().request_timeout(timeout).operation_timeout(timeout);
        // The thread is one for what blocks.
        let answer =
            Handle::current().block_on(admin.delete_records(&list, &asked)).map_err(fail)?;
        answer.elements().iter().try_for_each(TopicPartitionListElem::error).map_err(fail)
    }
}

/// The commit that notes what is done, if anything has changed and there is room for it.
pub(super) fn noted(ledger: &mut Ledger) -> Result<Option<Commit>, KafkaError> {
    match ledger.commit() {
        Some(commit) if ledger.is_unmapped(&commit) => {
            Err(KafkaError::Scattered { open: ledger.outstanding() })
        }
        commit => Ok(commit),
    }
}
