//! The faults of brokers. None of them is a message's fault: none counts as an attempt.

use crate::BoxError;

/// Why a source could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The broker cannot be reached, or cannot serve now. The runtime tries again with backoff.
    #[error("the broker is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// It will not get better by waiting: a corrupt file, a missing queue, refused credentials.
    /// The runtime drains and ends with this error.
    #[error("the source failed: {0}")]
    Fatal(#[source] BoxError),
    /// The source has been closed.
    #[error("the source is closed")]
    Closed,
}

/// Why one settlement was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// The broker cannot be reached, or cannot serve now. Settle it again: that resumes where it
    /// stopped, and never makes a second copy.
    #[error("the broker is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// The hand-out is no longer ours: the lease ran out, the partition moved, the channel closed.
    /// Nothing was done; the message is, or will be, with somebody else.
    #[error("the receipt is stale: the message has been handed out again or is about to be")]
    Stale,
    /// The broker will never accept it: say, a copy that it finds too large. The message stays
    /// where it is.
    #[error("the broker refused: {0}")]
    Refused(#[source] BoxError),
}

/// Why a lease was not extended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// It is no longer ours: stop working on the message.
    #[error("the lease is lost")]
    Lost,
    /// The broker cannot serve now; the lease may still be ours until it expires.
    #[error("the broker is unavailable: {0}")]
    Unavailable(#[source] BoxError),
}

/// Why a message was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The broker cannot be reached, or cannot serve now. Whether the message arrived may be
    /// unknown: publishing again may double it, not doing so may lose it.
    #[error("the broker is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// The broker will never accept this message; the text says what to change.
    #[error("the broker refused the message: {0}")]
    Refused(#[source] BoxError),
    /// The sink has been closed.
    #[error("the sink is closed")]
    Closed,
}

/// Why dead letters could not be read or moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeadLettersError {
    /// The broker cannot be reached, or cannot serve now.
    #[error("the broker is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// It will not get better by waiting.
    #[error("the dead letters cannot be read: {0}")]
    Fatal(#[source] BoxError),
}
