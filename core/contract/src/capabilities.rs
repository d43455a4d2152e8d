//! What a broker can do. Settings that it cannot honour are refused at start, never quietly bent.

use std::time::Duration;

/// Whether a count is exact, or which way it can err.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// Exact.
    Exact,
    /// At least the true number: say, SQS counts every receive.
    UpperBound,
    /// At most the true number: say, what a worker counts in its memory ends with it.
    LowerBound,
}

/// What order a source keeps between messages, also across retries and releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderSupport {
    /// None.
    None,
    /// Messages with one key come one after the other; a later one is not handed out before an
    /// earlier one is settled for good (the source holds the key).
    KeyAtSource,
    /// Messages with one key come in order, and several may be out at once: the runtime's lanes keep
    /// them apart. A message that was retried or released comes back to the same worker.
    KeyInLanes,
}

/// How the hand-outs of a source expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    /// For how long a hand-out is ours at first, and by default at each extension.
    pub length: Duration,
    /// The longest that a message can be held in all; `None`: no limit.
    pub max_hold: Option<Duration>,
}

/// What a source can do, as it is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The broker's name, for messages to people: `embedded`, `kafka`, …
    pub broker: &'static str,
    /// How [`Message::attempt`](crate::Message::attempt) counts.
    pub attempts: Exactness,
    /// Whether a released message comes back with `attempt` unchanged; else it may have grown.
    pub release_keeps_attempt: bool,
    /// The longest delay of a retry or release; `None`: any.
    pub max_delay: Option<Duration>,
    /// The order that it keeps.
    pub order: OrderSupport,
    /// How hand-outs expire; `None`: they last as long as the connection, or for ever.
    pub lease: Option<LeaseTerms>,
    /// Whether [`Message::id`](crate::Message::id) is the same at every redelivery, so that an inbox
    /// may rest on it.
    pub stable_identity: bool,
    /// Whether [`Message::interrupted`](crate::Message::interrupted) is known: without it, a message
    /// that kills its worker cannot be told from its neighbours.
    pub counts_interruptions: bool,
    /// Whether [`Message::history`](crate::Message::history) survives a change of worker on a message
    /// that is retried in place; without it, each worker knows only what it noted itself. A dead
    /// letter always carries the history that its worker knew.
    pub durable_history: bool,
    /// Whether publishing can be delayed.
    pub delayed_publish: bool,
    /// The largest payload that it takes, in bytes; `None`: no limit of its own.
    pub max_payload: Option<usize>,
    /// Whether [`Source::backlog`](crate::Source::backlog) is exact.
    pub backlog: Exactness,
}
