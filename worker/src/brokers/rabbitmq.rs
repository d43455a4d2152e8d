//! `[source.rabbitmq]`: a queue of RabbitMQ.

use super::{
    Adapter, Boxed, Broker, Missing, Opened, Place, Queue, QueueConfig, RawTable, Table, set,
};
use crate::{
    config::{ConfigError, Secret, Size, Span, masked_url},
    error::CliError,
};
use forebay::{AnySource, Backlog, BoxError, Capabilities, SourceError};
use forebay_rabbitmq::{Identity, QueueKind, RabbitError, RabbitOptions, RabbitQueue, Topology};
use serde::Deserialize;
use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

/// The table, as it is written. What is left out keeps the adapter's default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    url: Secret,
    queue: String,
    kind: Option<RawKind>,
    topology: Option<RawTopology>,
    ordered: Option<bool>,
    prefetch: Option<u16>,
    max_prefetch: Option<u16>,
    delivery_limit: Option<u32>,
    delays: Option<Vec<Span>>,
    max_priority: Option<u8>,
    identity: Option<RawIdentity>,
    idle_after: Option<Span>,
    confirm_timeout: Option<Span>,
    connect_timeout: Option<Span>,
    consumer_timeout: Option<Span>,
    heartbeat: Option<Span>,
    publish_channels: Option<usize>,
    ca_file: Option<PathBuf>,
    max_payload: Option<Size>,
    connection_name: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawKind {
    Quorum,
    Classic,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawTopology {
    Declare,
    Verify,
    Leave,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawIdentity {
    MessageId,
    Required,
    Header,
}

/// A queue of RabbitMQ, validated.
struct Rabbit {
    options: RabbitOptions,
    /// The URL, without its password and what came from the environment.
    shown_url: String,
    place: Place,
}

impl fmt::Debug for Rabbit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl RawTable for Raw {
    fn check(self, table: Table<'_>) -> Result<QueueConfig, ConfigError> {
        table.filled("queue", &self.queue, "give the queue's name, such as \"orders\"")?;
        let url = table.reveal("url", &self.url)?;
        table.filled("url", &url, "write it whole: \"amqp://user:${PASSWORD}@host:5672/%2f\"")?;
        let shown_url = match &self.url {
            Secret::Text(text) => masked_url(table.shown("url", text)),
            Secret::File(_) => "***".to_owned(),
        };
        let mut options = RabbitOptions::new(url, self.queue);
        options.ordered = self.ordered.unwrap_or(table.worker().ordered);
        let kind = self.kind.map(|kind| match kind {
            RawKind::Quorum => QueueKind::Quorum,
            RawKind::Classic => QueueKind::Classic,
        });
        set(&mut options.kind, kind);
        let topology = self.topology.map(|topology| match topology {
            RawTopology::Declare => Topology::Declare,
            RawTopology::Verify => Topology::Verify,
            RawTopology::Leave => Topology::Leave,
        });
        set(&mut options.topology, topology);
        let identity = self.identity.map(|identity| match identity {
            RawIdentity::MessageId => Identity::MessageId,
            RawIdentity::Required => Identity::Required,
            RawIdentity::Header => Identity::Header,
        });
        set(&mut options.identity, identity);
        options.prefetch = self.prefetch;
        options.max_priority = self.max_priority;
        options.name = self.connection_name;
        options.ca_file = self.ca_file.map(|path| table.resolve(&path));
        set(&mut options.max_prefetch, self.max_prefetch);
        set(&mut options.delivery_limit, self.delivery_limit);
        let delays = |delays: Vec<Span>| delays.into_iter().map(Duration::from).collect();
        set(&mut options.delays, self.delays.map(delays));
        set(&mut options.idle_after, self.idle_after.map(Duration::from));
        set(&mut options.confirm_timeout, self.confirm_timeout.map(Duration::from));
        set(&mut options.connect_timeout, self.connect_timeout.map(Duration::from));
        set(&mut options.consumer_timeout, self.consumer_timeout.map(Duration::from));
        set(&mut options.heartbeat, self.heartbeat.map(Duration::from));
        set(&mut options.publish_channels, self.publish_channels);
        set(&mut options.max_payload, self.max_payload.map(|Size(bytes)| bytes));
        Ok(Arc::new(Rabbit { options, shown_url, place: table.place() }))
    }
}

impl Broker for Rabbit {
    fn queue(&self) -> &str {
        &self.options.queue
    }

    fn describe(&self) -> String {
        let RabbitOptions { queue, kind, ordered, .. } = &self.options;
        let kind = match kind {
            QueueKind::Quorum => "quorum",
            QueueKind::Classic => "classic",
        };
        let order = if *ordered { ", in order" } else { "" };
        format!("rabbitmq: {}, {kind} queue `{queue}`{order}", self.shown_url)
    }

    fn open(&self, missing: Missing) -> Boxed<'_, Result<Opened, CliError>> {
        Box::pin(async move {
            let mut options = self.options.clone();
            let looks_only = missing == Missing::Say && options.topology == Topology::Declare;
            if looks_only {
                options.topology = Topology::Leave;
            }
            let queue = match RabbitQueue::open(options).await {
                Ok(queue) => queue,
                Err(RabbitError::Option { option, why }) => {
                    return Err(self.place.error(option, why).into());
                }
                Err(RabbitError::NoQueue { queue, .. }) if missing == Missing::Say => {
                    return Ok(Opened::Missing(self.missing(&queue)));
                }
                Err(RabbitError::NoQueue { queue, .. }) => {
                    return Err(CliError::Usage(self.missing(&queue)));
                }
                Err(RabbitError::OtherArguments { queue, why }) => {
                    let problem = format!("the queue `{queue}` has other arguments: {why}");
                    let help = "match the settings to it, or use it as it is by topology = \"verify\" \
                                or \"leave\", or delete it when it is empty";
                    return Err(self.place.error("topology", problem).help(help).into());
                }
                Err(error) => return Err(self.place.cannot_open(error)),
            };
            if looks_only && let Err(error) = queue.backlog().await {
                if let SourceError::Fatal(fault) = &error
                    && let Some(RabbitError::NoQueue { queue, .. }) = fault.downcast_ref()
                {
                    return Ok(Opened::Missing(self.missing(queue)));
                }
                return Err(self.place.cannot_open(error));
            }
            Ok(Opened::Queue(Queue::new(self.queue(), queue.clone(), queue)))
        })
    }
}

impl Rabbit {
    fn missing(&self, queue: &str) -> String {
        let way_out = match self.options.topology {
            Topology::Declare => "the first `send` or `run` makes it",
            Topology::Verify | Topology::Leave => {
                "create it, or let forebay do it by topology = \"declare\""
            }
        };
        format!("{} has no queue `{queue}`: {way_out}", self.shown_url)
    }
}

impl Adapter for RabbitQueue {
    fn source(&self) -> Boxed<'_, Result<AnySource, BoxError>> {
        Box::pin(async { Ok(AnySource::new(Self::source(self).await?)) })
    }

    fn capabilities(&self) -> Capabilities {
        Self::capabilities(self)
    }

    fn backlog(&self) -> Boxed<'_, Result<Backlog, BoxError>> {
        Box::pin(async { Ok(Self::backlog(self).await?) })
    }
}
