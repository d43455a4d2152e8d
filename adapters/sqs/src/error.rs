//! Why a queue was not opened, in words that name the setting, the limit and the way out.

use crate::Fault;

/// Why a queue was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqsError {
    /// A setting that makes no sense, or that SQS cannot honour.
    #[error("`{setting}` is {value}: {allowed}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What it is set to.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// The queue's own redrive policy takes messages away before their attempts are used up.
    #[error(
        "the queue `{queue}` has a redrive policy with `maxReceiveCount` {max_receives}, and \
         `attempts` is {attempts}: SQS counts each receive, also those of messages that are given \
         back unhandled, so it would take messages away too early; set `maxReceiveCount` to {needed} \
         or more, or lower `attempts`"
    )]
    RedrivePolicy {
        /// The queue.
        queue: String,
        /// What its redrive policy says.
        max_receives: u32,
        /// What the settings say.
        attempts: u32,
        /// The least that fits them.
        needed: u32,
    },
    /// The dead-letter queue has a redrive policy of its own.
    #[error(
        "the dead-letter queue `{queue}` has a redrive policy of its own, and looking at dead letters \
         would move them on: remove the policy, or name another queue in `dead_queue`"
    )]
    DeadMoves {
        /// The dead-letter queue.
        queue: String,
    },
    /// A dead-letter queue of the other kind.
    #[error(
        "`{queue}` and its dead-letter queue `{dead}` must both be FIFO queues or both not: \
         name another in `dead_queue`"
    )]
    Kinds {
        /// The queue.
        queue: String,
        /// The dead-letter queue.
        dead: String,
    },
    /// A queue that is not there.
    #[error(
        "there is no {what} `{queue}` at {place}: create it, have it created (`topology`), or correct \
         its name, region and account"
    )]
    Missing {
        /// Queue, or dead-letter queue.
        what: &'static str,
        /// Its name.
        queue: String,
        /// Where it was looked for.
        place: String,
    },
    /// The service said no, or nothing.
    #[error(transparent)]
    Fault(#[from] Fault),
}
