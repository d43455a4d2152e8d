//! A message as the runtime and its handlers see it, whatever broker it came from.

use crate::{Headers, History};
use bytes::Bytes;
use std::{convert::Infallible, fmt, str::FromStr, sync::Arc, time::SystemTime};

/// The header under which a message's identity travels on every copy that Forebay makes of it.
///
/// A retry copy or a redriven dead letter is a new message to its broker. This header keeps it the
/// same one to the inbox and to its failure history.
pub const FOREBAY_ID: &str = "forebay-id";

/// What makes a message the same message across redeliveries, retries, dead letter and redrive.
///
/// Taken from the [`FOREBAY_ID`] header, else from what the adapter was told to use, else from the
/// broker's own identity at first sight. Cheap to clone; a number costs no allocation.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Number(u64),
    Text(Arc<str>),
}

impl MessageId {
    /// The number that a text is, if it is written as one would be.
    fn number(text: &str) -> Option<u64> {
        text.parse().ok().filter(|number: &u64| number.to_string() == text)
    }

    /// The identity as a number, where it is one.
    #[must_use]
    pub fn as_number(&self) -> Option<u64> {
        match self.0 {
            Repr::Number(number) => Some(number),
            Repr::Text(_) => None,
        }
    }
}

impl From<u64> for MessageId {
    fn from(number: u64) -> Self {
        Self(Repr::Number(number))
    }
}

/// Text that is a plain decimal number becomes that number, so that an identity survives being
/// written into a header and read back: `"17"` and `17` are the same message.
impl From<&str> for MessageId {
    fn from(text: &str) -> Self {
        match Self::number(text) {
            Some(number) => Self(Repr::Number(number)),
            None => Self(Repr::Text(text.into())),
        }
    }
}

/// As from the text, without a copy of it.
impl From<Arc<str>> for MessageId {
    fn from(text: Arc<str>) -> Self {
        match Self::number(&text) {
            Some(number) => Self(Repr::Number(number)),
            None => Self(Repr::Text(text)),
        }
    }
}

impl From<String> for MessageId {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl FromStr for MessageId {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from(text))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Number(number) => number.fmt(f),
            Repr::Text(text) => text.fmt(f),
        }
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

/// A message: what its producer said, and what has become of it so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The same across every copy of this message.
    pub id: MessageId,
    /// What orders it: messages with one key are handled one at a time, oldest first, where the
    /// source keeps order. `None`: it has no order to keep.
    pub key: Option<Bytes>,
    /// The body, untouched from producer to handler to dead letter.
    pub payload: Bytes,
    /// The producer's headers, and those that Forebay carries along.
    pub headers: Headers,
    /// How many attempts at it have failed and been recorded as failed; 0 at first sight. Durable:
    /// it survives a crash and a change of worker. Exact, or an upper bound, as
    /// [`Capabilities::attempts`](crate::Capabilities::attempts) says.
    pub attempt: u32,
    /// How many hand-outs ended without any verdict, as far as the broker knows: the worker was
    /// killed, or lost its lease. More than 0 makes it a suspect, which is run alone.
    pub interrupted: u32,
    /// How often the broker has handed it out, this time included; `None` where it does not count.
    pub deliveries: Option<u32>,
    /// When it was first enqueued, by the broker's clock; `None` where the broker does not say.
    pub enqueued_at: Option<SystemTime>,
    /// Its recorded failures, oldest first.
    pub history: History,
    /// How often it has been moved from the dead letters back into its queue.
    pub redrives: u32,
}

impl Message {
    /// A message at first sight: no key, no headers, nothing failed.
    #[must_use]
    pub fn new(id: impl Into<MessageId>, payload: impl Into<Bytes>) -> Self {
        Self {
            id: id.into(),
            key: None,
            payload: payload.into(),
            headers: Headers::new(),
            attempt: 0,
            interrupted: 0,
            deliveries: None,
            enqueued_at: None,
            history: History::new(),
            redrives: 0,
        }
    }

    /// Bytes that it holds in memory, roughly: payload, key and headers. What the window counts.
    #[must_use]
    pub fn size(&self) -> usize {
        self.payload.len() + self.key.as_ref().map_or(0, Bytes::len) + self.headers.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_being_written_and_read() {
        for id in [MessageId::from(17), MessageId::from("order-17"), MessageId::from("017")] {
            assert_eq!(MessageId::from(id.to_string()), id);
            assert_eq!(MessageId::from(Arc::<str>::from(id.to_string())), id);
        }
        assert_eq!(MessageId::from("17"), MessageId::from(17));
        assert_ne!(MessageId::from("017"), MessageId::from(17));
    }

    #[test]
    fn size_counts_payload_key_and_headers() {
        let mut message = Message::new(1, "12345");
        message.key = Some(Bytes::from_static(b"key"));
        message.headers.insert("a", "bc");
        assert_eq!(message.size(), 5 + 3 + 3);
    }
}
