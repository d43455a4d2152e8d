//! The one place that knows which brokers there are. A new one is a variant and an arm in each
//! `match` here; nothing else in this program changes.

use crate::{
    config::{SourceConfig, nearest},
    error::CliError,
};
use forebay::{
    Backlog, DeadFilter, DeadId, DeadLetter, DeadLetters, DeadLettersError, MessageId, Outgoing,
    PublishError, Redriven, Sink, Source,
};
use forebay_embedded::{OpenError, QueueError, SourceOptions, Store};

/// A queue, opened for producers and operators.
pub(crate) enum Queue {
    /// A queue in a file on local disk.
    Embedded(forebay_embedded::Queue),
}

/// Takes over a source, whatever its type.
pub(crate) trait Consumer {
    /// Does with it what it was made for.
    async fn consume<S: Source>(self, source: S) -> Result<(), CliError>;
}

impl Queue {
    /// Opens it, and makes it if it is not there.
    ///
    /// # Errors
    /// Faults of the broker.
    pub(crate) async fn create(config: &SourceConfig) -> Result<Self, CliError> {
        match config {
            SourceConfig::Embedded(config) => {
                let store = Store::open(&config.path).map_err(cannot_open)?;
                embedded(&store, &config.queue).await
            }
        }
    }

    /// Opens it if it is there; else says what is not, for people. Makes nothing: a name misspelt
    /// must not become a queue.
    ///
    /// # Errors
    /// Faults of the broker.
    pub(crate) async fn find(config: &SourceConfig) -> Result<Result<Self, String>, CliError> {
        match config {
            SourceConfig::Embedded(config) => {
                let path = config.path.display();
                let store = match Store::options().create(false).open(&config.path) {
                    Ok(store) => store,
                    Err(OpenError::Missing(_)) => {
                        return Ok(Err(format!(
                            "{path} is not there: the first `send` or `run` makes it"
                        )));
                    }
                    Err(error) => return Err(cannot_open(error)),
                };
                match missing(&store, &config.queue).await? {
                    Some(why) => Ok(Err(why)),
                    None => embedded(&store, &config.queue).await.map(Ok),
                }
            }
        }
    }

    /// Hands a source of it to a consumer.
    ///
    /// # Errors
    /// Those of the consumer.
    pub(crate) async fn consume(
        &self,
        config: &SourceConfig,
        consumer: impl Consumer,
    ) -> Result<(), CliError> {
        match (self, config) {
            (Self::Embedded(queue), SourceConfig::Embedded(config)) => {
                let mut options = SourceOptions::default();
                if let Some(lease) = config.lease {
                    options = options.lease(lease);
                }
                consumer.consume(queue.source(&options)).await
            }
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Embedded(queue) => queue.name(),
        }
    }

    /// How much is waiting.
    ///
    /// # Errors
    /// Faults of the broker.
    pub(crate) async fn backlog(&self) -> Result<Backlog, CliError> {
        match self {
            Self::Embedded(queue) => queue.backlog().await.map_err(|error| {
                CliError::failed(format!("cannot read the depth of {}", queue.name()), error)
            }),
        }
    }
}

fn cannot_open(error: OpenError) -> CliError {
    match error {
        OpenError::Store(error) => CliError::failed("cannot open the queue", error),
        other => CliError::Usage(format!("cannot open the queue: {other}")),
    }
}

async fn embedded(store: &Store, name: &str) -> Result<Queue, CliError> {
    match store.queue(name).await {
        Ok(queue) => Ok(Queue::Embedded(queue)),
        Err(error @ QueueError::Invalid(_)) => Err(CliError::Usage(error.to_string())),
        Err(error) => Err(CliError::failed("cannot open the queue", error)),
    }
}

/// Why the file does not have this queue; `None` when it does.
async fn missing(store: &Store, name: &str) -> Result<Option<String>, CliError> {
    let queues = store.queues().await;
    let queues = queues.map_err(|error| CliError::failed("cannot read the queues", error))?;
    let names: Vec<String> = queues.into_iter().map(|queue| queue.name).collect();
    if names.iter().any(|known| known == name) {
        return Ok(None);
    }
    let path = store.path().display();
    let help = match nearest(name, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "it has none yet".to_owned(),
        None => format!("it has {}", names.join(", ")),
    };
    Ok(Some(format!("{path} has no queue `{name}`: {help}")))
}

impl Sink for Queue {
    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<MessageId, PublishError>> {
        match self {
            Self::Embedded(queue) => queue.publish(batch).await,
        }
    }
}

impl DeadLetters for Queue {
    async fn list(
        &self,
        filter: &DeadFilter,
        after: Option<&DeadId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, DeadLettersError> {
        match self {
            Self::Embedded(queue) => queue.list(filter, after, limit).await,
        }
    }

    async fn redrive(
        &self,
        filter: &DeadFilter,
        limit: usize,
    ) -> Result<Redriven, DeadLettersError> {
        match self {
            Self::Embedded(queue) => queue.redrive(filter, limit).await,
        }
    }

    async fn purge(&self, filter: &DeadFilter) -> Result<u64, DeadLettersError> {
        match self {
            Self::Embedded(queue) => queue.purge(filter).await,
        }
    }
}
