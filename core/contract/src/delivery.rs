//! A message in the worker's hands, and what the hand-out is bound to.

use crate::Message;
use std::{sync::Arc, time::Instant};

/// A message handed out, with the receipt that settles it.
///
/// Dropping one settles nothing: the message stays in its queue.
#[must_use = "a delivery that is not settled comes back"]
#[derive(Clone, Debug)]
pub struct Delivery<R> {
    /// The message.
    pub message: Arc<Message>,
    /// What the source needs to settle just this hand-out.
    pub receipt: R,
    /// What can be taken away from this worker as a whole, with all that came through it.
    pub scope: Scope,
    /// Until when the broker hides the message from others; `None` where a hand-out does not expire.
    pub lease: Option<Lease>,
}

/// What a hand-out hangs on and can be lost with: a partition in one assignment, a channel between
/// two reconnects. The number is the adapter's own; a new epoch must be a new number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope(pub u64);

/// How long a hand-out stays ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// When it ends if it is not extended, by the worker's monotonic clock. An adapter counts from
    /// before it asked the broker, so that the true end is never earlier.
    pub expires_at: Instant,
}
