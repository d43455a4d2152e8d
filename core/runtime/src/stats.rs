//! What a worker counts about itself: plain atomics that anyone may read while it runs.

use forebay_contract::Verdict;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters, as they are written.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) received: Counter,
    pub(crate) acked: Counter,
    pub(crate) retried: Counter,
    pub(crate) postponed: Counter,
    pub(crate) released: Counter,
    pub(crate) dead: Counter,
    pub(crate) dropped: Counter,
    pub(crate) stale: Counter,
    pub(crate) refused: Counter,
    pub(crate) settle_errors: Counter,
    pub(crate) receive_errors: Counter,
    pub(crate) leases_lost: Counter,
}

/// The counters of a worker, as read at one moment; each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Deliveries taken from the source.
    pub received: u64,
    /// Messages acknowledged.
    pub acked: u64,
    /// Failed attempts that will be made again.
    pub retried: u64,
    /// Put off because the system behind asked for less.
    pub postponed: u64,
    /// Given back unhandled.
    pub released: u64,
    /// Moved to the dead letters.
    pub dead: u64,
    /// Dropped because the handler said so.
    pub dropped: u64,
    /// Verdicts that came too late: the message is with somebody else.
    pub stale: u64,
    /// Verdicts that the broker refused for good: the message stays in its queue.
    pub refused: u64,
    /// Tries to settle that failed and were made again.
    pub settle_errors: u64,
    /// Tries to receive that failed and were made again.
    pub receive_errors: u64,
    /// Leases lost while the message was in hand.
    pub leases_lost: u64,
}

impl Stats {
    /// Counts a verdict that the source has confirmed.
    pub(crate) fn settled(&self, verdict: &Verdict) {
        match verdict {
            Verdict::Ack => &self.acked,
            Verdict::Retry { .. } => &self.retried,
            Verdict::Postpone { .. } => &self.postponed,
            Verdict::Release { .. } => &self.released,
            Verdict::DeadLetter { .. } => &self.dead,
            Verdict::Drop(_) => &self.dropped,
        }
        .add(1);
    }

    pub(crate) fn read(&self) -> Counts {
        Counts {
            received: self.received.get(),
            acked: self.acked.get(),
            retried: self.retried.get(),
            postponed: self.postponed.get(),
            released: self.released.get(),
            dead: self.dead.get(),
            dropped: self.dropped.get(),
            stale: self.stale.get(),
            refused: self.refused.get(),
            settle_errors: self.settle_errors.get(),
            receive_errors: self.receive_errors.get(),
            leases_lost: self.leases_lost.get(),
        }
    }
}
