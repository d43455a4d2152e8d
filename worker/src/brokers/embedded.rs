//! `[source.embedded]`: a queue in a file on local disk.

use super::{Adapter, Boxed, Broker, Missing, Opened, Queue, QueueConfig, RawTable, Table};
use crate::{
    config::{ConfigError, Span, nearest},
    error::CliError,
};
use forebay::{AnySource, Backlog, BoxError, Capabilities, Source};
use forebay_embedded::{OpenError, QueueError, SourceOptions, Store};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The table, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    path: PathBuf,
    queue: String,
    lease: Option<Span>,
}

/// A queue in a file, validated.
#[derive(Debug)]
struct Embedded {
    /// The file; it is made by the first `send` or `run`.
    path: PathBuf,
    /// The queue in it.
    queue: String,
    /// For how long a message is ours before it goes to another worker; `None`: the adapter's default.
    lease: Option<Duration>,
}

/// A queue in a file, named on the command line.
pub(super) fn at(path: &Path, queue: &str) -> QueueConfig {
    Arc::new(Embedded { path: path.to_owned(), queue: queue.to_owned(), lease: None })
}

impl RawTable for Raw {
    fn check(self, table: Table<'_>) -> Result<QueueConfig, ConfigError> {
        table.filled("queue", &self.queue, "give the queue a name, such as \"orders\"")?;
        if self.lease.is_some_and(|lease| lease.0 < Duration::from_secs(1)) {
            return Err(table
                .error("lease", "it is too short to be kept up")
                .help("a lease of \"30s\" suits most handlers: it is extended while they run"));
        }
        Ok(Arc::new(Embedded {
            path: table.resolve(&self.path),
            queue: self.queue,
            lease: self.lease.map(|lease| lease.0),
        }))
    }
}

impl Broker for Embedded {
    fn queue(&self) -> &str {
        &self.queue
    }

    fn describe(&self) -> String {
        format!("embedded: {}, queue `{}`", self.path.display(), self.queue)
    }

    fn open(&self, missing: Missing) -> Boxed<'_, Result<Opened, CliError>> {
        Box::pin(async move {
            let create = missing == Missing::Make;
            let store = match Store::options().create(create).open(&self.path) {
                Ok(store) => store,
                Err(OpenError::Missing(_)) => {
                    let path = self.path.display();
                    return Ok(Opened::Missing(format!(
                        "{path} is not there: the first `send` or `run` makes it"
                    )));
                }
                Err(OpenError::Store(error)) => {
                    return Err(CliError::failed("cannot open the queue", error));
                }
                Err(other) => {
                    return Err(CliError::Usage(format!("cannot open the queue: {other}")));
                }
            };
            if !create && let Some(why) = self.missing(&store).await? {
                return Ok(Opened::Missing(why));
            }
            match store.queue(&self.queue).await {
                Ok(queue) => {
                    let mut options = SourceOptions::default();
                    if let Some(lease) = self.lease {
                        options = options.lease(lease);
                    }
                    let adapter = Open { queue: queue.clone(), options };
                    Ok(Opened::Queue(Queue::new(&self.queue, adapter, queue)))
                }
                Err(error @ QueueError::Invalid(_)) => Err(CliError::Usage(error.to_string())),
                Err(error) => Err(CliError::failed("cannot open the queue", error)),
            }
        })
    }
}

impl Embedded {
    /// Why the file does not have this queue; `None` when it does.
    async fn missing(&self, store: &Store) -> Result<Option<String>, CliError> {
        let queues = store.queues().await;
        let queues = queues.map_err(|error| CliError::failed("cannot read the queues", error))?;
        let names: Vec<String> = queues.into_iter().map(|queue| queue.name).collect();
        if names.contains(&self.queue) {
            return Ok(None);
        }
        let (path, name) = (store.path().display(), &self.queue);
        let help = match nearest(name, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => "it has none yet".to_owned(),
            None => format!("it has {}", names.join(", ")),
        };
        Ok(Some(format!("{path} has no queue `{name}`: {help}")))
    }
}

/// A queue that is open, and how its sources are to be.
struct Open {
    queue: forebay_embedded::Queue,
    options: SourceOptions,
}

impl Adapter for Open {
    fn source(&self) -> Boxed<'_, Result<AnySource, BoxError>> {
        Box::pin(async { Ok(AnySource::new(self.queue.source(&self.options))) })
    }

    fn capabilities(&self) -> Capabilities {
        // Opening one takes nothing.
        self.queue.source(&self.options).capabilities().clone()
    }

    fn backlog(&self) -> Boxed<'_, Result<Backlog, BoxError>> {
        Box::pin(async { Ok(self.queue.backlog().await?) })
    }
}
