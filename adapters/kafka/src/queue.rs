//! A topic opened as a queue: publishing into it, its backlog, its dead letters.

use crate::{
    KafkaError, KafkaOptions, KafkaSource, Order, backlog, config,
    dead::Graveyard,
    producer::Producer,
    publish, retention,
    topics::Topics,
    topology::{self, Inspector, asking, blocking},
};
use forebay_contract::{
    Backlog, Capabilities, DeadFilter, DeadId, DeadLetter, DeadLetters, DeadLettersError,
    Exactness, MessageId, OrderSupport, Outgoing, PublishError, Redriven, Sink, SourceError,
};
use std::{sync::Arc, time::Duration};

/// A topic, with its retry topics and dead letters. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KafkaQueue(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: Arc<KafkaOptions>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) producer: Producer,
    pub(crate) inspector: Arc<Inspector>,
    pub(crate) graveyard: Arc<Graveyard>,
    pub(crate) capabilities: Capabilities,
}

impl KafkaQueue {
    /// Connects, and makes sure of the topics.
    ///
    /// # Errors
    /// [`KafkaError`]: a setting that cannot be, a missing topic, refused credentials, no broker.
    pub async fn open(options: KafkaOptions) -> Result<Self, KafkaError> {
        options.validate()?;
        let options = Arc::new(options);
        // What is wrong with the settings of a worker is told here, not when one starts.
        config::worker(&options)?
            .create_native_config()
            .map_err(|fault| KafkaError::new("settings", &fault))?;
        let topics = Arc::new(Topics::new(&options));
        let inspector = Arc::new(Inspector::new(&options, &options.group)?);
        topology::ensure(&inspector, &options, &topics).await?;
        let producer = Producer::new(&options, Some(options.publish_timeout))?;
        let graveyard = Arc::new(Graveyard::new(&options, &topics)?);
        let max_delay = retention::max_delay(&options, &topics).await?;
        let capabilities = capabilities(&options, max_delay);
        Ok(Self(Arc::new(Inner { options, topics, producer, inspector, graveyard, capabilities })))
    }

    /// Joins the group, and waits until the group has let it in.
    ///
    /// # Errors
    /// [`KafkaError`]
    pub async fn source(&self) -> Result<KafkaSource, KafkaError> {
        KafkaSource::open(&self.0).await
    }

    /// How much is waiting, without being a consumer.
    ///
    /// # Errors
    /// Faults of the broker.
    pub async fn backlog(&self) -> Result<Backlog, SourceError> {
        let inner = self.0.clone();
        Ok(asking(inner.options.request_timeout, move || backlog::of_queue(&inner)).await?)
    }

    /// The consumer group of its sources.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.0.options.group
    }

    /// What a source of it can do.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }
}

fn capabilities(options: &KafkaOptions, max_delay: Option<Duration>) -> Capabilities {
    Capabilities {
        broker: "kafka",
        attempts: Exactness::Exact,
        release_keeps_attempt: true,
        max_delay,
        order: match options.order {
            Order::None => OrderSupport::None,
            Order::Key => OrderSupport::KeyInLanes,
            Order::Partition => OrderSupport::KeyAtSource,
        },
        lease: None,
        durable_history: true,
        stable_identity: true,
        counts_interruptions: false,
        delayed_publish: options.order == Order::None,
        max_payload: Some(options.max_payload()),
        backlog: Exactness::UpperBound,
    }
}

impl Sink for KafkaQueue {
    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<MessageId, PublishError>> {
        publish::publish(&self.0, batch).await
    }
}

impl DeadLetters for KafkaQueue {
    async fn list(
        &self,
        filter: &DeadFilter,
        after: Option<&DeadId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, DeadLettersError> {
        let (graveyard, filter, after) = (self.0.graveyard.clone(), filter.clone(), after.cloned());
        let list = move || graveyard.list(&filter, after.as_ref(), limit);
        Ok(asking(self.0.options.request_timeout, list).await?)
    }

    async fn redrive(
        &self,
        filter: &DeadFilter,
        limit: usize,
    ) -> Result<Redriven, DeadLettersError> {
        let (inner, filter) = (self.0.clone(), filter.clone());
        let work = move || inner.graveyard.redrive(&inner.producer, &filter, limit);
        Ok(blocking(work).await?)
    }

    async fn purge(&self, filter: &DeadFilter) -> Result<u64, DeadLettersError> {
        let (graveyard, filter) = (self.0.graveyard.clone(), filter.clone());
        Ok(blocking(move || graveyard.purge(&filter)).await?)
    }
}
