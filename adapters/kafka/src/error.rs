//! What can go wrong with Kafka, in words that name the place and the way out.
//!
//! librdkafka's codes are sorted here, once, into what passes by waiting and what does not; each
//! method of the contract then wraps the same [`KafkaError`] in its own error.

use forebay_contract::{DeadLettersError, PublishError, SourceError};
use rdkafka::{error::KafkaError as Fault, types::RDKafkaErrorCode as Code};

/// What is wrong, and what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaError {
    /// A setting that cannot be.
    #[error("the Kafka setting `{setting}` is {value}: {why}")]
    Setting {
        /// Its name in [`KafkaOptions`](crate::KafkaOptions), or librdkafka's.
        setting: String,
        /// What it is.
        value: String,
        /// Why that cannot be, and what can.
        why: String,
    },
    /// A setting of librdkafka that the adapter must decide itself.
    #[error("the librdkafka setting `{setting}` cannot be set: {why}")]
    Owned {
        /// Its name.
        setting: String,
        /// Why, and what to use in its place.
        why: &'static str,
    },
    /// A topic is not there.
    #[error(
        "the topic `{topic}` does not exist at {brokers}: create it, correct the name, or let Forebay \
         create what is missing with `create` (partitions and replication)"
    )]
    MissingTopic {
        /// Its name.
        topic: String,
        /// Where it was looked for.
        brokers: String,
    },
    /// The credentials are not accepted.
    #[error("{brokers} does not accept these credentials ({detail}): check `sasl` of the options")]
    Credentials {
        /// The brokers.
        brokers: String,
        /// What the broker says.
        detail: String,
    },
    /// The credentials are fine, but do not allow this.
    #[error(
        "not allowed: {what} ({detail}). Grant the rights that docs/kafka.md lists for topics and \
         groups"
    )]
    NotAllowed {
        /// What was tried.
        what: String,
        /// What the broker says.
        detail: String,
    },
    /// No broker answers.
    #[error(
        "no Kafka broker answers at {brokers} ({detail}): check the address, the firewall, and \
         that the listener speaks what `tls` and `sasl` of the options say"
    )]
    Unreachable {
        /// The brokers.
        brokers: String,
        /// What was seen last.
        detail: String,
    },
    /// A broker answers, but not by TLS, or with a certificate that nobody trusted has signed.
    #[error(
        "no TLS with {brokers} ({detail}): if nobody whom the system trusts has signed its \
         certificate, name who has with `ca` of `tls`; if the listener speaks in the clear, leave \
         `tls` out"
    )]
    Tls {
        /// The brokers.
        brokers: String,
        /// What was seen last.
        detail: String,
    },
    /// Another member with the same `group.instance.id` has come.
    #[error(
        "another consumer of the group has the instance id of this one: give each worker an \
         `instance_id` of its own"
    )]
    Fenced,
    /// The done map of the dead letters is full.
    #[error(
        "too many dead letters were taken out of the midst of others ({open} are left): redrive or \
         purge the oldest, without a filter, and go on then"
    )]
    Scattered {
        /// How many dead letters are left.
        open: u64,
    },
    /// Anything else.
    #[error("{what}: {detail}")]
    Broker {
        /// What was tried.
        what: String,
        /// What the broker says.
        detail: String,
        /// Whether waiting may help.
        passing: bool,
    },
}

impl KafkaError {
    /// Sorts an error of librdkafka.
    pub(crate) fn new(what: impl Into<String>, fault: &Fault) -> Self {
        let what = what.into();
        if let Fault::ClientConfig(_, why, setting, _) = fault {
            // What it is may be secret: `ssl.key.pasword`, say.
            let value = "nothing that librdkafka takes".to_owned();
            return Self::Setting { setting: setting.clone(), value, why: why.clone() };
        }
        let code = match fault {
            Fault::AdminOp(code) => Some(*code),
            fault => fault.rdkafka_error_code(),
        };
        match code {
            Some(code) => Self::from_code(what, code),
            None => Self::Broker { what, detail: fault.to_string(), passing: false },
        }
    }

    /// Sorts a code of librdkafka.
    pub(crate) fn from_code(what: impl Into<String>, code: Code) -> Self {
        let (what, detail) = (what.into(), code.to_string());
        match code {
            Code::FencedInstanceId => Self::Fenced,
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed => Self::NotAllowed { what, detail },
            _ => Self::Broker { what, detail, passing: !is_final(code) },
        }
    }

    /// Whether waiting will not help.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(
            self,
            Self::Unreachable { .. } | Self::Tls { .. } | Self::Broker { passing: true, .. }
        )
    }
}

/// Codes that mean the same tomorrow.
fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::InvalidGroupId
            | Code::InvalidSessionTimeout
            | Code::InconsistentGroupProtocol
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::InvalidTopic
            | Code::MessageSizeTooLarge
            | Code::PolicyViolation
            | Code::InvalidReplicationFactor
            | Code::InvalidPartitions
            | Code::Fatal
    )
}

impl From<KafkaError> for SourceError {
    fn from(error: KafkaError) -> Self {
        if error.is_fatal() { Self::Fatal(error.into()) } else { Self::Unavailable(error.into()) }
    }
}

impl From<KafkaError> for DeadLettersError {
    fn from(error: KafkaError) -> Self {
        if error.is_fatal() { Self::Fatal(error.into()) } else { Self::Unavailable(error.into()) }
    }
}

impl From<KafkaError> for PublishError {
    fn from(error: KafkaError) -> Self {
        if error.is_fatal() { Self::Refused(error.into()) } else { Self::Unavailable(error.into()) }
    }
}
