//! How a queue in memory behaves.

use forebay_contract::{Capabilities, Exactness, LeaseTerms, OrderSupport};
use std::time::Duration;

/// How a [`MemoryQueue`](crate::MemoryQueue) behaves: by default without order and without leases,
/// noting every verdict.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    pub(crate) name: String,
    pub(crate) order: OrderSupport,
    pub(crate) lease: Option<Duration>,
    pub(crate) max_payload: Option<usize>,
    pub(crate) note_verdicts: bool,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            name: "memory".to_owned(),
            order: OrderSupport::None,
            lease: None,
            max_payload: None,
            note_verdicts: true,
        }
    }
}

impl MemoryOptions {
    /// Its name, as dead letters tell it.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The order that it keeps within a key.
    #[must_use]
    pub fn order(mut self, order: OrderSupport) -> Self {
        self.order = order;
        self
    }

    /// For how long a hand-out lasts; without this, until its source is closed or dropped.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Refuses larger payloads, in bytes.
    #[must_use]
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = Some(bytes);
        self
    }

    /// Notes no verdicts: for runs of millions of messages, where the notes would fill the memory.
    #[must_use]
    pub fn without_notes(mut self) -> Self {
        self.note_verdicts = false;
        self
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities {
            broker: "memory",
            attempts: Exactness::Exact,
            release_keeps_attempt: true,
            max_delay: None,
            order: self.order,
            lease: self.lease.map(|length| LeaseTerms { length, max_hold: None }),
            stable_identity: true,
            counts_interruptions: true,
            durable_history: true,
            delayed_publish: true,
            max_payload: self.max_payload,
            backlog: Exactness::Exact,
        }
    }
}
