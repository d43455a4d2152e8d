//! A queue that is open, at whatever broker: to send to, look into, and take from.

use super::unopened::Unopened;
use crate::error::CliError;
use forebay::{
    AnyDeadLetters, AnySink, AnySource, Backlog, BoxError, Capabilities, DeadFilter, DeadId,
    DeadLetter, DeadLetters, DeadLettersError, MessageId, Outgoing, PublishError, Redriven, Sink,
};
use forebay_telemetry::{About, Telemetry};
use std::{pin::Pin, sync::Arc};

/// A future without its type.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What each adapter offers beside the traits of the contract.
pub(crate) trait Adapter: Send + Sync + 'static {
    /// A worker's end of the queue.
    fn source(&self) -> Boxed<'_, Result<AnySource, BoxError>>;

    /// What a source of it can do.
    fn capabilities(&self) -> Capabilities;

    /// The consumer group that its sources share it out in, where there is such a thing.
    fn group(&self) -> Option<&str> {
        None
    }

    /// What is in the queue, without being one of its workers.
    fn backlog(&self) -> Boxed<'_, Result<Backlog, BoxError>>;
}

/// A queue that is open.
#[derive(Clone)]
pub(crate) struct Queue {
    name: String,
    adapter: Arc<dyn Adapter>,
    sink: AnySink,
    dead: AnyDeadLetters,
}

impl Queue {
    /// The queue called `name`; `handle` puts into it and knows its dead letters.
    pub(crate) fn new(
        name: &str,
        adapter: impl Adapter,
        handle: impl Sink + DeadLetters + Clone,
    ) -> Self {
        Self {
            name: name.to_owned(),
            adapter: Arc::new(adapter),
            sink: AnySink::new(handle.clone()),
            dead: AnyDeadLetters::new(handle),
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A way into it.
    pub(crate) fn sink(&self) -> AnySink {
        self.sink.clone()
    }

    /// A worker's end of it.
    ///
    /// # Errors
    /// Faults of the broker, and settings that it cannot honour.
    pub(crate) async fn source(&self) -> Result<AnySource, CliError> {
        let opened = self.adapter.source().await;
        opened.map_err(|error| CliError::failed(format!("cannot take from {}", self.name), error))
    }

    /// What stands in for a source where it is only asked what it can do.
    pub(crate) fn unopened(&self) -> AnySource {
        AnySource::new(Unopened(self.adapter.capabilities()))
    }

    /// What measures a worker of it, to be built.
    pub(crate) fn telemetry(&self) -> forebay_telemetry::Builder {
        let about = About::of(&self.adapter.capabilities(), &*self.name);
        Telemetry::builder(match self.adapter.group() {
            Some(group) => about.group(group),
            None => about,
        })
    }

    /// How much is waiting.
    ///
    /// # Errors
    /// Faults of the broker.
    pub(crate) async fn backlog(&self) -> Result<Backlog, CliError> {
        let backlog = self.adapter.backlog().await;
        backlog.map_err(|error| {
            CliError::failed(format!("cannot read the depth of {}", self.name), error)
        })
    }
}

impl Sink for Queue {
    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<MessageId, PublishError>> {
        self.sink.publish(batch).await
    }
}

impl DeadLetters for Queue {
    async fn list(
        &self,
        filter: &DeadFilter,
        after: Option<&DeadId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, DeadLettersError> {
        self.dead.list(filter, after, limit).await
    }

    async fn redrive(
        &self,
        filter: &DeadFilter,
        limit: usize,
    ) -> Result<Redriven, DeadLettersError> {
        self.dead.redrive(filter, limit).await
    }

    async fn purge(&self, filter: &DeadFilter) -> Result<u64, DeadLettersError> {
        self.dead.purge(filter).await
    }
}
