//! `[source.kafka]`: a topic of Apache Kafka, through a consumer group.

use super::{
    Adapter, Boxed, Broker, Missing, Opened, Place, Queue, QueueConfig, RawTable, Table, set,
};
use crate::{
    config::{ConfigError, Secret, Size, Span},
    error::CliError,
};
use forebay::{AnySource, Backlog, BoxError, Capabilities};
use forebay_kafka::{
    Create, GroupProtocol, KafkaError, KafkaOptions, KafkaQueue, Mechanism, Order, Sasl, Security,
    Tls,
};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

/// The table, as it is written. What is left out keeps the adapter's default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    brokers: String,
    topic: String,
    group: Option<String>,
    own_topics: Option<String>,
    order: Option<RawOrder>,
    create: Option<RawCreate>,
    retry_steps: Option<Vec<Span>>,
    retry_partitions: Option<i32>,
    tls: Option<RawTls>,
    sasl: Option<RawSasl>,
    protocol: Option<RawProtocol>,
    instance_id: Option<String>,
    session_timeout: Option<Span>,
    revoke_wait: Option<Span>,
    buffer_messages: Option<usize>,
    waiting_messages: Option<usize>,
    buffer_bytes: Option<Size>,
    fetch_kbytes: Option<usize>,
    max_message_bytes: Option<Size>,
    publish_timeout: Option<Span>,
    request_timeout: Option<Span>,
    #[serde(default)]
    librdkafka: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawOrder {
    None,
    Key,
    Partition,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawProtocol {
    Classic,
    Consumer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCreate {
    partitions: i32,
    replication: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSasl {
    mechanism: RawMechanism,
    username: String,
    password: Secret,
}

#[derive(Deserialize)]
enum RawMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// A topic, validated.
struct Kafka {
    options: KafkaOptions,
    place: Place,
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Settings of librdkafka may be secret.
        f.write_str(&self.describe())
    }
}

impl RawTable for Raw {
    fn check(self, table: Table<'_>) -> Result<QueueConfig, ConfigError> {
        table.filled("brokers", &self.brokers, "name at least one as \"host:9092\"")?;
        table.filled("topic", &self.topic, "give the topic's name, such as \"orders\"")?;
        let mut options = KafkaOptions::new(self.brokers, self.topic);
        options.order = match self.order {
            Some(RawOrder::None) => Order::None,
            Some(RawOrder::Partition) => Order::Partition,
            Some(RawOrder::Key) => Order::Key,
            None if table.worker().ordered => Order::Key,
            None => Order::None,
        };
        options.create = self
            .create
            .map(|RawCreate { partitions, replication }| Create { partitions, replication });
        let path = |path: Option<PathBuf>| path.map(|path| table.resolve(&path));
        options.security = Security {
            tls: self.tls.map(|tls| Tls {
                ca: path(tls.ca),
                certificate: path(tls.certificate),
                key: path(tls.key),
            }),
            sasl: self.sasl.map(|sasl| sasl.check(&table)).transpose()?,
        };
        options.protocol = match self.protocol {
            Some(RawProtocol::Consumer) => GroupProtocol::Consumer,
            Some(RawProtocol::Classic) | None => options.protocol,
        };
        options.instance_id = self.instance_id;
        set(&mut options.group, self.group);
        set(&mut options.own_topics, self.own_topics);
        let steps = |steps: Vec<Span>| steps.into_iter().map(Duration::from).collect();
        set(&mut options.retry_steps, self.retry_steps.map(steps));
        set(&mut options.retry_partitions, self.retry_partitions);
        set(&mut options.session_timeout, self.session_timeout.map(Duration::from));
        set(&mut options.revoke_wait, self.revoke_wait.map(Duration::from));
        set(&mut options.publish_timeout, self.publish_timeout.map(Duration::from));
        set(&mut options.request_timeout, self.request_timeout.map(Duration::from));
        let size = |size: Option<Size>| size.map(|Size(bytes)| bytes);
        set(&mut options.buffer_bytes, size(self.buffer_bytes));
        set(&mut options.max_message_bytes, size(self.max_message_bytes));
        set(&mut options.buffer_messages, self.buffer_messages);
        set(&mut options.waiting_messages, self.waiting_messages);
        set(&mut options.fetch_kbytes, self.fetch_kbytes);
        options.raw = self.librdkafka;
        Ok(Arc::new(Kafka { options, place: table.place() }))
    }
}

impl RawSasl {
    fn check(self, table: &Table<'_>) -> Result<Sasl, ConfigError> {
        let mechanism = match self.mechanism {
            RawMechanism::Plain => Mechanism::Plain,
            RawMechanism::ScramSha256 => Mechanism::ScramSha256,
            RawMechanism::ScramSha512 => Mechanism::ScramSha512,
        };
        let password = table.reveal("sasl.password", &self.password)?;
        Ok(Sasl { mechanism, username: self.username, password })
    }
}

impl Broker for Kafka {
    fn queue(&self) -> &str {
        &self.options.topic
    }

    fn describe(&self) -> String {
        let KafkaOptions { brokers, topic, group, order, security, .. } = &self.options;
        let order = match order {
            Order::None => "",
            Order::Key => ", in order by key",
            Order::Partition => ", in order by partition",
        };
        let tls = if security.tls.is_some() { ", over TLS" } else { "" };
        let user = security.sasl.as_ref().map(|sasl| format!(", as {}", sasl.username));
        let user = user.unwrap_or_default();
        format!("kafka: {brokers}, topic `{topic}`, group `{group}`{order}{tls}{user}")
    }

    fn open(&self, missing: Missing) -> Boxed<'_, Result<Opened, CliError>> {
        Box::pin(async move {
            let mut options = self.options.clone();
            if missing == Missing::Say {
                options.create = None;
            }
            match KafkaQueue::open(options).await {
                Ok(queue) => Ok(Opened::Queue(Queue::new(self.queue(), queue.clone(), queue))),
                Err(error @ KafkaError::MissingTopic { .. }) if missing == Missing::Say => {
                    Ok(Opened::Missing(error.to_string()))
                }
                Err(KafkaError::Setting { setting, value, why }) => {
                    let key = if self.options.raw.contains_key(&setting) {
                        format!("librdkafka.{setting}")
                    } else {
                        setting
                    };
                    Err(self.place.error(&key, format!("it is {value}")).help(why).into())
                }
                Err(KafkaError::Owned { setting, why }) => {
                    let key = format!("librdkafka.{setting}");
                    Err(self.place.error(&key, "it cannot be set").help(why).into())
                }
                Err(error) => Err(self.place.cannot_open(error)),
            }
        })
    }
}

impl Adapter for KafkaQueue {
    fn source(&self) -> Boxed<'_, Result<AnySource, BoxError>> {
        Box::pin(async { Ok(AnySource::new(Self::source(self).await?)) })
    }

    fn capabilities(&self) -> Capabilities {
        Self::capabilities(self).clone()
    }

    fn group(&self) -> Option<&str> {
        Some(Self::group(self))
    }

    fn backlog(&self) -> Boxed<'_, Result<Backlog, BoxError>> {
        Box::pin(async { Ok(Self::backlog(self).await?) })
    }
}
