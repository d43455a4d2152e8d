//! Settings of a topic, with their defaults, and which of them cannot be.

use crate::KafkaError;
use std::{collections::BTreeMap, fmt::Display, path::PathBuf, time::Duration};

/// What order is kept between messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// None: as many at a time as the worker likes, retries by retry topics.
    #[default]
    None,
    /// Per key, beyond the number of partitions: messages of different keys of one partition run
    /// side by side, in the worker's lanes. A retried message waits in its lane.
    Key,
    /// Per partition: one message of a partition is out at a time. A retried message holds up its
    /// partition.
    Partition,
}

/// How the members of the group share out the partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupProtocol {
    /// The classic protocol, with the cooperative-sticky assignor.
    #[default]
    Classic,
    /// The protocol of KIP-848: the broker assigns. Kafka 4.0 or newer.
    Consumer,
}

/// What topics that are missing are created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Create {
    /// Partitions of the topic itself. The dead-letter topic has one; retry topics have
    /// [`KafkaOptions::retry_partitions`].
    pub partitions: i32,
    /// Copies of each partition, on as many brokers.
    pub replication: i32,
}

/// How SASL proves who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// Name and password in the clear: over TLS only, if you can.
    Plain,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

impl Mechanism {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A name and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Sasl {
    /// How.
    pub mechanism: Mechanism,
    /// Who.
    pub username: String,
    /// The password; not shown by `Debug`.
    pub password: String,
}

impl std::fmt::Debug for Sasl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut f = f.debug_struct("Sasl");
        f.field("mechanism", &self.mechanism).field("username", &self.username);
        f.finish_non_exhaustive()
    }
}

/// TLS to the brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates (PEM) of the authorities to trust. Default: those of the system.
    pub ca: Option<PathBuf>,
    /// The client's own certificate (PEM), where the broker asks for one.
    pub certificate: Option<PathBuf>,
    /// The key (PEM) of `certificate`.
    pub key: Option<PathBuf>,
}

/// How the brokers are spoken to. Default: in the clear, without a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// Over TLS.
    pub tls: Option<Tls>,
    /// With a name and a password.
    pub sasl: Option<Sasl>,
}

/// How a topic is opened. Every field has a default but the first two.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Where to find brokers: `host:port`, several separated by commas.
    pub brokers: String,
    /// The topic. Its retry topics are `<topic>.retry.<step>`, its dead letters `<topic>.dead`.
    pub topic: String,
    /// The consumer group. Two groups at one topic need an `own_topics` each. Default:
    /// `forebay-<topic>`.
    pub group: String,
    /// What the names of our own topics begin with. Default: the topic's name.
    pub own_topics: String,
    /// What order is kept. Default: none.
    pub order: Order,
    /// Create the topics that are missing. Default: no, a missing topic is an error.
    pub create: Option<Create>,
    /// The delays of the retry topics, ascending, in whole milliseconds. A retry waits in the first
    /// topic whose delay is not shorter than its own, and comes when it is due, not when the topic's
    /// delay ends. Default: 1 s, 10 s, 1 min, 10 min, 1 h.
    pub retry_steps: Vec<Duration>,
    /// Partitions of each retry topic that is created. Default: 1.
    pub retry_partitions: i32,
    /// TLS, name and password. Default: neither.
    pub security: Security,
    /// The group protocol. Default: classic, cooperative-sticky.
    pub protocol: GroupProtocol,
    /// A name of this worker within the group that survives a restart (static membership): a
    /// worker that is back within the session timeout gets its partitions back without a
    /// rebalance. Must differ between workers. Default: none.
    pub instance_id: Option<String>,
    /// A worker that is not heard of for so long loses its partitions. With
    /// [`GroupProtocol::Consumer`] the broker decides, and this is not used. Default: 30 s.
    pub session_timeout: Duration,
    /// How long a partition that is taken away waits for its messages that are out. Other
    /// partitions receive nothing meanwhile. Default: 1 s, most: 60 s.
    pub revoke_wait: Duration,
    /// Messages of a partition that are read ahead and ready. Default: 500.
    pub buffer_messages: usize,
    /// Messages of a partition that are read and wait for their time or for their key. When they are
    /// so many, the partition is not read on. Default: 10,000.
    pub waiting_messages: usize,
    /// Bytes of a partition that are read and not handed out. Default: 8 MiB.
    pub buffer_bytes: usize,
    /// Bytes of a partition that librdkafka fetches ahead, in KiB. Default: 1,024.
    pub fetch_kbytes: usize,
    /// The largest record that is published, in bytes with key and headers: what the topics'
    /// `max.message.bytes` allow. 16 KiB of it are kept free for the history that retries and dead
    /// letters carry. What others have published may be larger. Default: 1,000,000.
    pub max_message_bytes: usize,
    /// How long a publish waits for its confirmation. Default: 30 s.
    pub publish_timeout: Duration,
    /// How long to wait for the brokers when opening, and for an answer of theirs. Default: 10 s.
    pub request_timeout: Duration,
    /// Settings of librdkafka that are not named here, by its own names. Those that the adapter must
    /// decide itself are refused.
    pub raw: BTreeMap<String, String>,
}

/// Kept free in each record, for what copies carry besides the message.
pub(crate) const STATE_ROOM: usize = 16 << 10;

impl KafkaOptions {
    /// A topic at these brokers, with all else at its default.
    #[must_use]
    pub fn new(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        let topic = topic.into();
        let seconds = Duration::from_secs;
        Self {
            brokers: brokers.into(),
            group: format!("forebay-{topic}"),
            own_topics: topic.clone(),
            topic,
            order: Order::None,
            create: None,
            retry_steps: [1, 10, 60, 600, 3600].map(seconds).to_vec(),
            retry_partitions: 1,
            security: Security::default(),
            protocol: GroupProtocol::Classic,
            instance_id: None,
            session_timeout: seconds(30),
            revoke_wait: seconds(1),
            buffer_messages: 500,
            waiting_messages: 10_000,
            buffer_bytes: 8 << 20,
            fetch_kbytes: 1024,
            max_message_bytes: 1_000_000,
            publish_timeout: seconds(30),
            request_timeout: seconds(10),
            raw: BTreeMap::new(),
        }
    }

    /// The largest payload that is taken.
    pub(crate) const fn max_payload(&self) -> usize {
        self.max_message_bytes - STATE_ROOM
    }

    /// Refuses what cannot be.
    pub(crate) fn validate(&self) -> Result<(), KafkaError> {
        if self.brokers.trim().is_empty() {
            return Err(bad("brokers", "empty", "name at least one as `host:port`"));
        }
        name("topic", &self.topic)?;
        name("own_topics", &self.own_topics)?;
        if self.group.is_empty() {
            return Err(bad("group", "empty", "a consumer group needs a name"));
        }
        self.validate_retries()?;
        if let Some(Create { partitions, replication }) = self.create {
            positive("create.partitions", partitions)?;
            positive("create.replication", replication)?;
        }
        positive("retry_partitions", self.retry_partitions)?;
        for (setting, value) in [
            ("buffer_messages", self.buffer_messages),
            ("waiting_messages", self.waiting_messages),
            ("buffer_bytes", self.buffer_bytes),
            ("fetch_kbytes", self.fetch_kbytes),
        ] {
            if value == 0 {
                return Err(bad(setting, "0", "nothing could be received; at least 1"));
            }
        }
        if self.fetch_kbytes > 2_097_151 {
            return Err(bad(
                "fetch_kbytes",
                self.fetch_kbytes,
                "librdkafka takes 2,097,151 at most",
            ));
        }
        let (size, least) = (self.max_message_bytes, 2 * STATE_ROOM);
        if !(least..=1_000_000_000).contains(&size) {
            let why = format!("{least} to 1,000,000,000 bytes are possible");
            return Err(bad("max_message_bytes", size, why));
        }
        let second = Duration::from_secs(1);
        for (setting, value, least, most) in [
            ("session_timeout", self.session_timeout, second, 3600 * second),
            ("revoke_wait", self.revoke_wait, Duration::ZERO, 60 * second),
            ("publish_timeout", self.publish_timeout, Duration::from_millis(10), 86_400 * second),
            ("request_timeout", self.request_timeout, Duration::from_millis(10), 300 * second),
        ] {
            if value < least || value > most {
                return Err(bad(setting, format!("{value:?}"), format!("{least:?} to {most:?}")));
            }
        }
        Ok(())
    }

    fn validate_retries(&self) -> Result<(), KafkaError> {
        let steps = &self.retry_steps;
        let shown = format!("{steps:?}");
        if steps.is_empty() || steps.len() > 20 {
            return Err(bad("retry_steps", shown, "1 to 20 delays are possible"));
        }
        if !steps.is_sorted_by(|a, b| a < b) {
            return Err(bad("retry_steps", shown, "the delays have to ascend"));
        }
        let whole =
            |step: &Duration| step.as_millis() > 0 && step.subsec_nanos().is_multiple_of(1_000_000);
        if !steps.iter().all(whole) {
            return Err(bad("retry_steps", shown, "a delay is whole milliseconds, at least 1"));
        }
        Ok(())
    }
}

fn bad(setting: &str, value: impl Display, why: impl Into<String>) -> KafkaError {
    KafkaError::Setting { setting: setting.into(), value: format!("{value}"), why: why.into() }
}

fn positive(setting: &str, value: i32) -> Result<(), KafkaError> {
    if value > 0 { Ok(()) } else { Err(bad(setting, value, "at least 1")) }
}

/// What Kafka takes as a topic's name, with room for `.retry.` and a step.
fn name(setting: &str, name: &str) -> Result<(), KafkaError> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > 220 || !name.bytes().all(fine) || [".", ".."].contains(&name)
    {
        let why = "1 to 220 ASCII letters, digits, and any of `._-` make the name of a topic";
        return Err(bad(setting, format!("`{name}`"), why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: fn(&mut KafkaOptions)) -> String {
        let mut options = KafkaOptions::new("localhost:9092", "orders");
        options.validate().unwrap();
        change(&mut options);
        options.validate().unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        type Change = fn(&mut KafkaOptions);
        let changes: [(&str, Change); 12] = [
            ("brokers", |o| o.brokers.clear()),
            ("topic", |o| o.topic = "a b".into()),
            ("own_topics", |o| o.own_topics = "x".repeat(221)),
            ("group", |o| o.group.clear()),
            ("retry_steps", |o| o.retry_steps.clear()),
            ("retry_steps", |o| o.retry_steps.reverse()),
            ("retry_steps", |o| o.retry_steps = vec![Duration::from_micros(1)]),
            ("create.partitions", |o| o.create = Some(Create { partitions: 0, replication: 1 })),
            ("buffer_messages", |o| o.buffer_messages = 0),
            ("max_message_bytes", |o| o.max_message_bytes = 100),
            ("session_timeout", |o| o.session_timeout = Duration::ZERO),
            ("revoke_wait", |o| o.revoke_wait = Duration::from_secs(100)),
        ];
        for (setting, change) in changes {
            let said = refused(change);
            assert!(said.contains(&format!("`{setting}`")), "{said}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let sasl = Sasl {
            mechanism: Mechanism::Plain,
            username: "worker".into(),
            password: "hush".into(),
        };
        assert!(!format!("{sasl:?}").contains("hush"));
    }
}
