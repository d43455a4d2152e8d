//! `[source.sqs]`: a queue of Amazon SQS. Credentials come by the SDK's own chain, not from the config.

use super::{
    Adapter, Boxed, Broker, Missing, Opened, Place, Queue, QueueConfig, RawTable, Table, set,
};
use crate::{
    config::{ConfigError, Size, Span},
    error::CliError,
};
use forebay::{AnySource, Backlog, BoxError, Capabilities};
use forebay_sqs::{SqsError, SqsOptions, SqsQueue, Topology};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};

/// The table, as it is written. What is left out keeps the adapter's default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    queue: String,
    dead_queue: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
    profile: Option<String>,
    topology: Option<RawTopology>,
    lease: Option<Span>,
    max_hold: Option<Span>,
    wait: Option<Span>,
    max_pollers: Option<usize>,
    max_calls: Option<usize>,
    release_room: Option<u32>,
    max_message: Option<Size>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawTopology {
    Create,
    Verify,
    Trust,
}

/// A queue of SQS, validated.
#[derive(Debug)]
struct Sqs {
    options: SqsOptions,
    place: Place,
}

impl RawTable for Raw {
    fn check(self, table: Table<'_>) -> Result<QueueConfig, ConfigError> {
        let help = "give the queue's name or URL, such as \"orders\" or \"orders.fifo\"";
        table.filled("queue", &self.queue, help)?;
        let mut options = SqsOptions::new(self.queue);
        options.dead_queue = self.dead_queue;
        options.endpoint = self.endpoint;
        options.region = self.region;
        options.profile = self.profile;
        let topology = self.topology.map(|topology| match topology {
            RawTopology::Create => Topology::Create,
            RawTopology::Verify => Topology::Verify,
            RawTopology::Trust => Topology::Trust,
        });
        set(&mut options.topology, topology);
        set(&mut options.lease, self.lease.map(Duration::from));
        set(&mut options.max_hold, self.max_hold.map(Duration::from));
        set(&mut options.wait, self.wait.map(Duration::from));
        set(&mut options.max_pollers, self.max_pollers);
        set(&mut options.max_calls, self.max_calls);
        set(&mut options.release_room, self.release_room);
        set(&mut options.max_message, self.max_message.map(|Size(bytes)| bytes));
        let worker = table.worker();
        set(&mut options.attempts, worker.attempts);
        set(&mut options.drain_timeout, worker.drain_timeout);
        Ok(Arc::new(Sqs { options, place: table.place() }))
    }
}

impl Broker for Sqs {
    fn queue(&self) -> &str {
        // The last part of a URL is the queue's name.
        self.options.queue.rsplit('/').next().unwrap_or(&self.options.queue)
    }

    fn describe(&self) -> String {
        let SqsOptions { queue, endpoint, region, .. } = &self.options;
        let endpoint = endpoint.as_deref().unwrap_or("AWS");
        let region = region.as_ref().map(|region| format!(", {region}")).unwrap_or_default();
        format!("sqs: {endpoint}{region}, queue `{queue}`")
    }

    fn open(&self, missing: Missing) -> Boxed<'_, Result<Opened, CliError>> {
        Box::pin(async move {
            let mut options = self.options.clone();
            if missing == Missing::Say && options.topology == Topology::Create {
                options.topology = Topology::Verify;
            }
            match SqsQueue::open(options).await {
                Ok(queue) => Ok(Opened::Queue(Queue::new(self.queue(), queue.clone(), queue))),
                Err(error @ SqsError::Missing { .. }) if missing == Missing::Say => {
                    Ok(Opened::Missing(error.to_string()))
                }
                Err(SqsError::Setting { setting, value, allowed }) => {
                    let problem = format!("it is {value}");
                    let error = match setting {
                        "attempts" => self.place.elsewhere("retry.attempts", problem),
                        "drain_timeout" => self.place.elsewhere("worker.drain_timeout", problem),
                        key => self.place.error(key, problem),
                    };
                    Err(error.help(allowed).into())
                }
                Err(error @ SqsError::RedrivePolicy { .. }) => {
                    Err(self.place.elsewhere("retry.attempts", error.to_string()).into())
                }
                Err(error @ (SqsError::DeadMoves { .. } | SqsError::Kinds { .. })) => {
                    Err(self.place.error("dead_queue", error.to_string()).into())
                }
                Err(error) => Err(self.place.cannot_open(error)),
            }
        })
    }
}

impl Adapter for SqsQueue {
    fn source(&self) -> Boxed<'_, Result<AnySource, BoxError>> {
        Box::pin(async { Ok(AnySource::new(Self::source(self).await?)) })
    }

    fn capabilities(&self) -> Capabilities {
        Self::capabilities(self).clone()
    }

    fn backlog(&self) -> Boxed<'_, Result<Backlog, BoxError>> {
        Box::pin(async { Ok(Self::backlog(self).await?) })
    }
}
