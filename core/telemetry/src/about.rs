//! Whose telemetry it is: the attributes that every metric and span of a worker carries.

use forebay::Capabilities;
use opentelemetry::{KeyValue, Value};
use std::borrow::Cow;

/// What a worker takes its messages from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    system: Cow<'static, str>,
    destination: String,
    group: Option<String>,
}

impl About {
    /// Of a messaging system, by the name that the conventions give it (`kafka`, `rabbitmq`,
    /// `aws_sqs`), and a queue or topic of it.
    #[must_use]
    pub fn new(system: impl Into<Cow<'static, str>>, destination: impl Into<String>) -> Self {
        Self { system: system.into(), destination: destination.into(), group: None }
    }

    /// Of a queue of the broker that a source is for.
    #[must_use]
    pub fn of(capabilities: &Capabilities, destination: impl Into<String>) -> Self {
        let system = match capabilities.broker {
            "sqs" => "aws_sqs",
            broker => broker,
        };
        Self::new(system, destination)
    }

    /// As a member of a consumer group.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// The queue's or topic's name.
    #[must_use]
    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// Its attributes, and `more`.
    pub(crate) fn with(&self, more: &[(&'static str, Value)]) -> Vec<KeyValue> {
        let mut all = vec![
            KeyValue::new("messaging.system", self.system.clone()),
            KeyValue::new("messaging.destination.name", self.destination.clone()),
        ];
        if let Some(group) = &self.group {
            all.push(KeyValue::new("messaging.consumer.group.name", group.clone()));
        }
        all.extend(more.iter().map(|(key, value)| KeyValue::new(*key, value.clone())));
        all
    }
}
