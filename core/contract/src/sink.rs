//! Where messages go: the producer's side of a queue.

use crate::{Headers, MessageId, PublishError};
use bytes::Bytes;
use std::{future::Future, time::Duration};

/// A message on its way into a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// Its identity, kept across retries, dead letter and redrive. `None`: the broker gives it one.
    pub id: Option<MessageId>,
    /// What orders it among its like; `None`: no order to keep.
    pub key: Option<Bytes>,
    /// The body.
    pub payload: Bytes,
    /// Headers, as they are to arrive.
    pub headers: Headers,
    /// Not to be handed out before this has passed.
    pub delay: Option<Duration>,
}

impl Outgoing {
    /// A message of just a payload.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), ..Self::default() }
    }

    /// With a key, which orders it.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// With an identity.
    #[must_use]
    pub fn id(mut self, id: impl Into<MessageId>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Bytes>) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Not to be handed out before `delay` has passed.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }
}

/// A queue to put messages into.
pub trait Sink: Send + Sync + 'static {
    /// Publishes messages, in order. Result `i` answers `batch[i]`: `Ok` once the broker has
    /// confirmed that the message will survive its crash.
    fn publish(
        &self,
        batch: &[Outgoing],
    ) -> impl Future<Output = Vec<Result<MessageId, PublishError>>> + Send;
}
