//! A queue: publishing into it, and its dead letters.

use crate::{
    EmbeddedSource, SourceOptions, StoreError, backlog, dead, publish, store::Inner, writer::Need,
};
use bytes::Bytes;
use forebay_contract::{
    Backlog, DeadFilter, DeadId, DeadLetter, DeadLetters, DeadLettersError, MessageId, Outgoing,
    PublishError, Redriven, Sink,
};
use std::sync::Arc;

/// A queue of a [`Store`](crate::Store). Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    store: Arc<Inner>,
    id: i64,
    name: Arc<str>,
}

impl Queue {
    pub(crate) fn new(store: Arc<Inner>, id: i64, name: &str) -> Self {
        Self { store, id, name: name.into() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens it for taking messages.
    #[must_use]
    pub fn source(&self, options: &SourceOptions) -> EmbeddedSource {
        EmbeddedSource::new(Arc::clone(&self.store), self.id, options)
    }

    /// How much is waiting, exactly.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        let id = self.id;
        self.store.read(move |conn| backlog::one(conn, id)).await
    }

    fn refusal(&self, message: &Outgoing) -> Option<PublishError> {
        let (size, most) = (message.payload.len(), self.store.max_payload);
        // What else is in the row shares the rest of SQLite's limit of 1,000,000,000 bytes.
        let around = message.headers.size()
            + message.headers.len() * 8
            + message.key.as_ref().map_or(0, Bytes::len);
        let text = if size > most {
            format!(
                "its payload has {size} bytes, and this store takes {most} at most: \
                     put the data elsewhere and publish a reference to it"
            )
        } else if around > 900_000 {
            format!(
                "its key and headers have {around} bytes, and 900000 is the most: \
                     put the data into the payload"
            )
        } else {
            return None;
        };
        Some(PublishError::Refused(text.into()))
    }
}

impl Sink for Queue {
    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<MessageId, PublishError>> {
        let refusals: Vec<_> = batch.iter().map(|message| self.refusal(message)).collect();
        let accepted = batch.iter().zip(&refusals).filter(|(_, refusal)| refusal.is_none());
        let accepted: Vec<_> = accepted.map(|(message, _)| message.clone()).collect();
        let (id, size) = (self.id, accepted.len());
        let work = move |tx: &mut crate::tx::Tx<'_>| publish::publish(tx, id, &accepted);
        let outcome =
            if size == 0 { Ok(Vec::new()) } else { self.store.write(Need::Room, size, work).await };
        let mut ids = outcome.map(Vec::into_iter);
        let mut next = || match &mut ids {
            Ok(ids) => ids.next().ok_or_else(|| StoreError::Ended.into()),
            Err(error) => Err(error.clone().into()),
        };
        refusals.into_iter().map(|refusal| refusal.map_or_else(&mut next, Err)).collect()
    }
}

impl DeadLetters for Queue {
    async fn list(
        &self,
        filter: &DeadFilter,
        after: Option<&DeadId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, DeadLettersError> {
        let after = after.map_or(Ok(0), dead::position)?;
        let query = dead::Query::new(self.id, &self.name, filter, limit);
        Ok(self.store.read(move |conn| query.read(conn, after)).await?)
    }

    async fn redrive(
        &self,
        filter: &DeadFilter,
        limit: usize,
    ) -> Result<Redriven, DeadLettersError> {
        let query = dead::Query::new(self.id, &self.name, filter, limit);
        let work = move |tx: &mut crate::tx::Tx<'_>| dead::redrive(tx, &query);
        let moved = self.store.write(Need::Room, limit, work).await?;
        Ok(Redriven::all(moved))
    }

    async fn purge(&self, filter: &DeadFilter) -> Result<u64, DeadLettersError> {
        let mut purged = 0;
        loop {
            let query = dead::Query::new(self.id, &self.name, filter, dead::CHUNK);
            let work = move |tx: &mut crate::tx::Tx<'_>| dead::purge(tx, &query);
            let chunk = self.store.write(Need::Sure, dead::CHUNK, work).await?;
            purged += chunk as u64;
            if chunk < dead::CHUNK {
                return Ok(purged);
            }
        }
    }
}
