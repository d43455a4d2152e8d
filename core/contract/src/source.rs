//! Where messages come from: the trait that each broker adapter implements.

use crate::{
    Backlog, Capabilities, Delivery, Lease, LeaseError, Scope, SettleError, Settled, Settlement,
    SourceError,
};
use std::{future::Future, time::Duration};

/// How much the runtime has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Messages, at most; at least 1.
    pub messages: usize,
    /// Bytes of payload, key and headers, at most. A single message may exceed it, alone: else a
    /// large one could never be received.
    pub bytes: usize,
}

/// What happened to a source outside of any call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceEvent {
    /// A scope is about to be taken away. What is settled within `within` still counts.
    Revoking {
        /// What goes.
        scope: Scope,
        /// How long there is.
        within: Duration,
    },
    /// A scope is gone: its receipts are stale, and its messages go to somebody else.
    Lost(Scope),
    /// The broker is away, for this reason.
    Down(String),
    /// The broker is back.
    Up,
}

/// A queue to take messages from.
///
/// An adapter owns its I/O: it has tasks (or a thread) of its own and a bounded buffer, and these
/// methods talk to them. So every future here can be dropped at any point without losing anything.
/// Implementors may write plain `async fn`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a queue that a worker can take messages from",
    note = "a worker wants a `Source`: open one with an adapter, such as `forebay_embedded::Queue`"
)]
pub trait Source: Send + Sync + 'static {
    /// What settles one hand-out; cheap to clone.
    type Receipt: Clone + Send + Sync + 'static;

    /// What this broker can do, as this source is set up. Does not change while it is open.
    fn capabilities(&self) -> &Capabilities;

    /// Waits until there is at least one message, then appends what is there to `out`, up to `want`.
    ///
    /// Cancel-safe: what has not been appended when the future is dropped is there for the next
    /// call. Waits without end on an empty queue.
    ///
    /// # Errors
    /// [`SourceError::Closed`] after [`Source::close`]; faults of the broker.
    fn receive(
        &self,
        want: Want,
        out: &mut Vec<Delivery<Self::Receipt>>,
    ) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Carries out verdicts. Result `i` answers `batch[i]`; there are as many results as settlements.
    ///
    /// A message leaves its queue only after its copy (retry, dead letter) is confirmed. Settling
    /// again what failed with [`SettleError::Unavailable`] resumes, and never copies twice. If the
    /// future is dropped, each settlement is either carried out or not. May be called while another call
    /// is under way: a worker has one for acknowledgements and drops, and one for all else, so that a
    /// copy that cannot be confirmed for the moment holds up no acknowledgement.
    fn settle(
        &self,
        batch: &[Settlement<Self::Receipt>],
    ) -> impl Future<Output = Vec<Result<Settled, SettleError>>> + Send;

    /// Makes hand-outs ours for the given time from now on; it does not add to what is left.
    /// Result `i` answers `batch[i]`.
    fn extend(
        &self,
        batch: &[(Self::Receipt, Duration)],
    ) -> impl Future<Output = Vec<Result<Lease, LeaseError>>> + Send;

    /// Waits for the next event. Cancel-safe. One caller at a time.
    fn event(&self) -> impl Future<Output = SourceEvent> + Send {
        std::future::pending()
    }

    /// How much is waiting, as far as the broker tells.
    ///
    /// # Errors
    /// Faults of the broker.
    fn backlog(&self) -> impl Future<Output = Result<Backlog, SourceError>> + Send;

    /// Gives back what is buffered and not handed out, makes deferred settlements durable, and lets
    /// go of the broker, within the time given. Deliveries still out become stale.
    ///
    /// # Errors
    /// Faults of the broker. What could not be given back comes back by itself when its lease ends.
    fn close(&self, within: Duration) -> impl Future<Output = Result<(), SourceError>> + Send;
}
