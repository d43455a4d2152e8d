//! How much is waiting in a queue, as far as its broker tells.

use std::time::Duration;

/// A number, and whether it is to be trusted to the last digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub value: u64,
    /// Whether the broker knows it exactly, at the moment it was asked.
    pub exact: bool,
}

impl Count {
    /// A number that is right.
    #[must_use]
    pub const fn exact(value: u64) -> Self {
        Self { value, exact: true }
    }

    /// A number that is about right.
    #[must_use]
    pub const fn about(value: u64) -> Self {
        Self { value, exact: false }
    }
}

/// What is in a queue. A field is `None` where the broker does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Could be handed out now, if a worker asked.
    pub ready: Option<Count>,
    /// Waits for its time: delayed when published, or between attempts. In key order, a message
    /// behind a waiting one of its key counts as `ready`.
    pub delayed: Option<Count>,
    /// Handed out and not settled.
    pub leased: Option<Count>,
    /// In the dead letters.
    pub dead: Option<Count>,
    /// Since when the oldest message that is not settled has been due.
    pub oldest_age: Option<Duration>,
}

impl Backlog {
    /// All that is still to be done: ready, delayed and leased, as far as known.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        [self.ready, self.delayed, self.leased].into_iter().flatten().map(|count| count.value).sum()
    }
}
