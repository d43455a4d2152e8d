//! What can go wrong with a broker, in words that say what to do.
//!
//! Two questions are asked of each error: is it worth trying again ([`RabbitError::is_fatal`]), and
//! what did the broker mean. lapin passes the broker's reply on as a code and a text; the codes that
//! people meet (404, 403, 406, 530) are told here by name.

use forebay_contract::{DeadLettersError, PublishError, SettleError, SourceError};
use lapin::ErrorKind;

/// A fault of RabbitMQ, or of how it is used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RabbitError {
    /// A setting cannot be honoured.
    #[error("the option `{option}` cannot be honoured: {why}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What is wrong with it, and the way out.
        why: String,
    },
    /// Nobody answers.
    #[error("RabbitMQ does not answer at {address}: {why}")]
    Unreachable {
        /// Where.
        address: String,
        /// What was tried.
        why: String,
    },
    /// The broker has all the connections that it may have.
    #[error(
        "RabbitMQ at {address} takes no more connections for the moment: {why}; close some, or raise \
         the limit"
    )]
    Limited {
        /// Where.
        address: String,
        /// The broker's words.
        why: String,
    },
    /// The broker does not let this user in.
    #[error(
        "RabbitMQ at {address} refuses the user `{user}`: {why}; check user, password and the \
         user's rights on the vhost"
    )]
    Credentials {
        /// Where.
        address: String,
        /// Who.
        user: String,
        /// The broker's words.
        why: String,
    },
    /// A queue is not there.
    #[error(
        "the queue `{queue}` is not there: create it, or open it with Topology::Declare ({why})"
    )]
    NoQueue {
        /// Which.
        queue: String,
        /// The broker's words.
        why: String,
    },
    /// A queue is there, and is another than was asked for.
    #[error(
        "the queue `{queue}` has other arguments than this worker would give it ({why}): match the \
         options, or use Topology::Verify or Topology::Leave, or delete the queue when it is empty"
    )]
    OtherArguments {
        /// Which.
        queue: String,
        /// The broker's words.
        why: String,
    },
    /// A queue that throws messages away.
    #[error(
        "the queue `{queue}` has a delivery limit of {limit} and no dead-letter exchange: RabbitMQ \
         would throw away what is delivered more often. Give it a dead-letter exchange, or, where it \
         holds the dead letters, x-delivery-limit={}",
        crate::topology::NEVER
    )]
    Discards {
        /// Which.
        queue: String,
        /// After how many deliveries.
        limit: String,
    },
    /// A queue that RabbitMQ 4 has throw messages away.
    #[error(
        "the queue `{queue}` is a quorum queue with neither a delivery limit nor a dead-letter \
         exchange: RabbitMQ 4 gives it a limit of 20, and throws away what is delivered more often. \
         Give it a dead-letter exchange, or, where it holds the dead letters, x-delivery-limit={}",
        crate::topology::NEVER
    )]
    DiscardsFrom4 {
        /// Which.
        queue: String,
    },
    /// In key order, with more than one worker active.
    #[error(
        "the queue `{queue}` has no single active consumer, so its workers would overtake each \
         other: create it with x-single-active-consumer=true, or open it without order"
    )]
    ManyConsumers {
        /// Which.
        queue: String,
    },
    /// The user lacks a right.
    #[error("the user lacks a right on RabbitMQ: {why}")]
    NotAllowed {
        /// The broker's words.
        why: String,
    },
    /// The broker takes no messages for the moment.
    #[error("RabbitMQ blocks publishing: {reason}")]
    Blocked {
        /// The broker's words: low on memory, low on disk.
        reason: String,
    },
    /// The broker did not confirm in time. Whether the message arrived is not known.
    #[error("RabbitMQ has not confirmed within {after:?}")]
    Unconfirmed {
        /// How long was waited.
        after: std::time::Duration,
    },
    /// The broker said no to one message, as a full queue does.
    #[error("RabbitMQ did not take the message into `{queue}` (nack): is the queue full?")]
    Nacked {
        /// Where it was to go.
        queue: String,
    },
    /// A message that the broker does not take as it is. It closes the channel over it.
    #[error(
        "RabbitMQ does not take the message into `{queue}`: {why}; if it is too large, send less, or \
         raise the broker's `max_message_size` and keep `max_payload` below it"
    )]
    Unacceptable {
        /// Where it was to go.
        queue: String,
        /// The broker's words.
        why: String,
    },
    /// A header that means something to the broker.
    #[error(
        "the header `{name}` is RabbitMQ's own: it would send the message to other queues, too; use \
         another name"
    )]
    Header {
        /// Its name.
        name: String,
    },
    /// A message larger than the broker, or a frame, takes.
    #[error("{0}")]
    TooLarge(String),
    /// Anything else that the broker or the connection said.
    #[error("RabbitMQ: {0}")]
    Broker(String),
    /// Closed by its owner.
    #[error("the queue is closed")]
    Closed,
}

/// AMQP's reply codes that are told apart.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

impl RabbitError {
    /// What lapin reports about a queue.
    pub(crate) fn about(queue: &str, error: &lapin::Error) -> Self {
        let Some((code, why)) = reply(error) else { return error.into() };
        let queue = queue.to_owned();
        match code {
            // A node that is down answers the same, and comes back.
            NOT_FOUND if why.contains("down or inaccessible") => Self::Broker(why),
            NOT_FOUND => Self::NoQueue { queue, why },
            PRECONDITION_FAILED if why.contains("inequivalent arg") => {
                Self::OtherArguments { queue, why }
            }
            _ => error.into(),
        }
    }

    /// What lapin reports about a message that was published.
    pub(crate) fn publishing(queue: &str, error: &lapin::Error) -> Self {
        match reply(error) {
            Some((PRECONDITION_FAILED, why)) => Self::Unacceptable { queue: queue.to_owned(), why },
            _ => Self::about(queue, error),
        }
    }

    /// What lapin reports about a connection that was to be opened.
    pub(crate) fn connecting(address: &str, user: &str, error: &lapin::Error) -> Self {
        let (address, user) = (address.to_owned(), user.to_owned());
        match reply(error) {
            Some((NOT_ALLOWED, why)) if is_limit(&why) => Self::Limited { address, why },
            Some((ACCESS_REFUSED | NOT_ALLOWED, why)) => Self::Credentials { address, user, why },
            Some((_, why)) => Self::Unreachable { address, why },
            None => Self::Unreachable { address, why: error.to_string() },
        }
    }

    /// Whether it will not get better by waiting.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Option { .. }
            | Self::Credentials { .. }
            | Self::NoQueue { .. }
            | Self::OtherArguments { .. }
            | Self::Discards { .. }
            | Self::DiscardsFrom4 { .. }
            | Self::ManyConsumers { .. }
            | Self::NotAllowed { .. }
            | Self::Unacceptable { .. }
            | Self::Header { .. }
            | Self::TooLarge(_) => true,
            Self::Unreachable { .. }
            | Self::Limited { .. }
            | Self::Blocked { .. }
            | Self::Unconfirmed { .. }
            | Self::Nacked { .. }
            | Self::Broker(_)
            | Self::Closed => false,
        }
    }
}

/// The broker's reply, if it is one: code and text.
pub(crate) fn reply(error: &lapin::Error) -> Option<(u16, String)> {
    match error.kind() {
        ErrorKind::ProtocolError(reply) => Some((reply.get_id(), reply.get_message().to_string())),
        _ => None,
    }
}

/// Whether the broker refuses a connection for being one too many: of a vhost, a user or a node. The
/// words end the text, so a name cannot be taken for them.
fn is_limit(why: &str) -> bool {
    why.contains("connection limit (") && why.ends_with("is reached")
}

/// Whether the broker closed a channel because a message was out for too long.
pub(crate) fn is_consumer_timeout(error: &lapin::Error) -> bool {
    reply(error).is_some_and(|(code, why)| {
        code == PRECONDITION_FAILED && why.contains("acknowledgement") && why.contains("timed out")
    })
}

impl From<&lapin::Error> for RabbitError {
    fn from(error: &lapin::Error) -> Self {
        match reply(error) {
            Some((ACCESS_REFUSED, why)) => Self::NotAllowed { why },
            Some((_, why)) => Self::Broker(why),
            None if matches!(error.kind(), ErrorKind::ParsingError(_)) => Self::Broker(format!(
                "the client library cannot read what came; is a name or a property of a message \
                 not UTF-8? ({error})"
            )),
            None => Self::Broker(error.to_string()),
        }
    }
}

impl From<lapin::Error> for RabbitError {
    fn from(error: lapin::Error) -> Self {
        Self::from(&error)
    }
}

impl From<RabbitError> for SourceError {
    fn from(error: RabbitError) -> Self {
        match error {
            RabbitError::Closed => Self::Closed,
            error if error.is_fatal() => Self::Fatal(error.into()),
            error => Self::Unavailable(error.into()),
        }
    }
}

impl From<RabbitError> for SettleError {
    fn from(error: RabbitError) -> Self {
        match error {
            error @ (RabbitError::TooLarge(_)
            | RabbitError::Unacceptable { .. }
            | RabbitError::Header { .. }) => Self::Refused(error.into()),
            // A queue that is missing, a right that is lacking: somebody can mend it, and until then
            // the message stays where it is.
            error => Self::Unavailable(error.into()),
        }
    }
}

impl From<RabbitError> for PublishError {
    fn from(error: RabbitError) -> Self {
        match error {
            RabbitError::Closed => Self::Closed,
            error if error.is_fatal() => Self::Refused(error.into()),
            error => Self::Unavailable(error.into()),
        }
    }
}

impl From<RabbitError> for DeadLettersError {
    fn from(error: RabbitError) -> Self {
        match error.is_fatal() {
            true => Self::Fatal(error.into()),
            false => Self::Unavailable(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPHardError};

    fn refused(kind: AMQPHardError, why: &str) -> RabbitError {
        let reply = AMQPError::new(AMQPErrorKind::Hard(kind), why.into());
        RabbitError::connecting("here", "me", &ErrorKind::ProtocolError(reply).into())
    }

    #[test]
    fn one_connection_too_many_is_waited_for_and_does_not_blame_the_password() {
        for why in [
            "NOT_ALLOWED - access to vhost '/' refused for user 'me': connection limit (2) is reached",
            "NOT_ALLOWED - Connection refused for user 'me': user connection limit (10) is reached",
            "NOT_ALLOWED - connection refused: node connection limit (1000) is reached",
        ] {
            let error = refused(AMQPHardError::NOTALLOWED, why);
            assert!(matches!(error, RabbitError::Limited { .. }) && !error.is_fatal(), "{error}");
            assert!(error.to_string().contains(why), "{error}");
            assert!(!error.to_string().contains("password"), "{error}");
            assert!(matches!(SourceError::from(error), SourceError::Unavailable(_)));
        }
    }

    #[test]
    fn who_may_not_come_in_at_all_is_told_to_look_at_his_rights() {
        for why in [
            "NOT_ALLOWED - vhost connection limit not found",
            "NOT_ALLOWED - access to vhost 'limit (x) is reached' refused for user 'me'",
        ] {
            let error = refused(AMQPHardError::NOTALLOWED, why);
            assert!(
                matches!(error, RabbitError::Credentials { .. }) && error.is_fatal(),
                "{error}"
            );
        }
    }
}
