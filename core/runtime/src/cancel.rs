//! How a running handler learns that its work is no longer wanted.
//!
//! A flag and a waker list behind one pointer, rather than a tree of tokens: almost every job ends
//! without anyone looking, so the cell is made to be reused. The pump keeps those that no handler
//! has held on to, and a message costs no allocation for being cancellable.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::Notify;

/// Tells a handler that its work is no longer wanted: its lease is lost, its partition is gone, or
/// the worker's drain deadline has passed. Its future is dropped a moment later.
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<Cell>);

#[derive(Debug, Default)]
struct Cell {
    cancelled: AtomicBool,
    waiting: Notify,
}

impl Cancellation {
    /// Whether it has happened.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Waits until it happens. Cancel-safe.
    pub async fn cancelled(&self) {
        let waiting = self.0.waiting.notified();
        tokio::pin!(waiting);
        // Registered before the flag is read: a cancellation in between is not missed.
        waiting.as_mut().enable();
        if !self.is_cancelled() {
            waiting.await;
        }
    }

    pub(crate) fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
        self.0.waiting.notify_waiters();
    }

    /// Whether nobody else holds it and nothing has happened: it can serve another job.
    pub(crate) fn is_fresh(&self) -> bool {
        // Nobody else can come by a handle while ours is the only one, so a plain look is enough.
        Arc::strong_count(&self.0) == 1 && !self.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiters_wake_and_late_comers_do_not_wait() {
        let cancellation = Cancellation::default();
        let waiter = tokio::spawn({
            let cancellation = cancellation.clone();
            async move { cancellation.cancelled().await }
        });
        tokio::task::yield_now().await;
        assert!(!cancellation.is_cancelled() && !waiter.is_finished());
        cancellation.cancel();
        waiter.await.unwrap();
        cancellation.cancelled().await;
    }

    #[test]
    fn a_cell_is_reused_only_when_nobody_holds_it() {
        let cancellation = Cancellation::default();
        assert!(cancellation.is_fresh());
        let held = cancellation.clone();
        assert!(!cancellation.is_fresh());
        drop(held);
        cancellation.cancel();
        assert!(!cancellation.is_fresh());
    }
}
