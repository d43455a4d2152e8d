//! What a handler gets: the decoded payload, and all that is known about the message around it.

use crate::Cancellation;
use bytes::Bytes;
use forebay_contract::{Headers, Message, MessageId};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// One message for a handler: its payload as a `T`, and shared state of type `S`.
///
/// Dropping a job decides nothing; only what the handler returns does.
#[derive(Clone, Debug)]
pub struct Job<T, S = ()> {
    /// The decoded payload.
    pub payload: T,
    context: Context,
    state: S,
}

/// What a job knows besides payload and state.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) message: Arc<Message>,
    pub(crate) started: Instant,
    pub(crate) timeout: Option<Duration>,
    pub(crate) cancellation: Cancellation,
}

impl<T, S> Job<T, S> {
    pub(crate) fn new(payload: T, context: Context, state: S) -> Self {
        Self { payload, context, state }
    }

    /// The shared state that the worker was built with.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The same for every attempt at this message, and after a redrive: what an idempotent effect
    /// is keyed by.
    pub fn id(&self) -> &MessageId {
        &self.context.message.id
    }

    /// The message's key, if it has one.
    pub fn key(&self) -> Option<&Bytes> {
        self.context.message.key.as_ref()
    }

    /// The message's headers.
    pub fn headers(&self) -> &Headers {
        &self.context.message.headers
    }

    /// Which attempt this is, counting from 1. See [`Message::attempt`] for how exact it is.
    pub fn attempt(&self) -> u32 {
        self.context.message.attempt.saturating_add(1)
    }

    /// When the handler's time is up; `None` without a timeout.
    pub fn deadline(&self) -> Option<Instant> {
        self.context.timeout.and_then(|timeout| self.context.started.checked_add(timeout))
    }

    /// How much of its time the handler has left; `None` without a timeout.
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline().map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Tells when the work is no longer wanted. Worth watching in handlers that run for long.
    pub fn cancellation(&self) -> &Cancellation {
        &self.context.cancellation
    }

    /// The message as it was received, raw payload and failure history included.
    pub fn message(&self) -> &Message {
        &self.context.message
    }

    /// The same job around another payload, for layers that change it.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Job<U, S> {
        Job { payload: f(self.payload), context: self.context, state: self.state }
    }
}
