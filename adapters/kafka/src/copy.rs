//! A copy on its way to the broker: a retry, a dead letter, a noted attempt, a published message.
//!
//! What becomes of it is decided by the delivery report, not by whoever waits: a caller that goes
//! away, or waits too short, finds the answer when it asks again. That is what keeps a settlement
//! that is repeated from copying twice.

use rdkafka::types::RDKafkaErrorCode as Code;
use std::sync::OnceLock;
use tokio::sync::Notify;

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is there, confirmed by all replicas in sync.
    Confirmed {
        /// The partition.
        partition: i32,
        /// Its place there.
        offset: i64,
    },
    /// It is there, but what it was made of has gone to somebody else meanwhile.
    TooLate,
    /// It is not there, or may be but nobody knows.
    Failed(Code),
}

/// One copy. Shared by the one who waits and the delivery report.
#[derive(Debug, Default)]
pub(crate) struct Copy {
    outcome: OnceLock<Outcome>,
    changed: Notify,
}

impl Copy {
    /// Says what became of it. The first word holds.
    pub(crate) fn finish(&self, outcome: Outcome) {
        if self.outcome.set(outcome).is_ok() {
            self.changed.notify_waiters();
        }
    }

    /// Waits for what becomes of it. Cancel-safe.
    pub(crate) async fn outcome(&self) -> Outcome {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(outcome) = self.outcome.get() {
                return *outcome;
            }
            changed.await;
        }
    }
}
