//! The first of the two budgets: what has been received and is not yet settled.
//!
//! It bounds memory, and with it how much one worker takes away from the others. The pump takes from
//! it when it receives, the settler gives back when the source has confirmed; neither waits for
//! the other.

use forebay_contract::Want;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Counts what is out, against what may be.
#[derive(Debug)]
pub(crate) struct Window {
    max_messages: AtomicUsize,
    /// The most that `max_messages` ever was.
    largest: AtomicUsize,
    max_bytes: usize,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// Set off whenever something is given back.
    freed: Notify,
}

impl Window {
    pub(crate) fn new(max: Want) -> Self {
        Self {
            max_messages: AtomicUsize::new(max.messages),
            largest: AtomicUsize::new(max.messages),
            max_bytes: max.bytes,
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// What may still be received; `None` when that is nothing.
    pub(crate) fn left(&self) -> Option<Want> {
        let messages = self
            .max_messages
            .load(Ordering::Acquire)
            .saturating_sub(self.messages.load(Ordering::Acquire));
        let bytes = self.max_bytes.saturating_sub(self.bytes.load(Ordering::Acquire));
        (messages > 0 && bytes > 0).then_some(Want { messages, bytes })
    }

    /// What may be received though nothing is left, so that what fills the window does not wait for
    /// ever for a message that is not in it: one more, as long as a larger window would have room.
    pub(crate) fn beyond(&self) -> Option<Want> {
        let has_room = self.used() < self.largest.load(Ordering::Acquire);
        has_room.then_some(Want { messages: 1, bytes: 1 })
    }

    /// How many messages it holds in all.
    pub(crate) fn messages(&self) -> usize {
        self.max_messages.load(Ordering::Acquire)
    }

    /// Lets it grow or shrink, as the limit behind it does.
    pub(crate) fn set_messages(&self, max: usize) {
        self.max_messages.store(max, Ordering::Release);
        self.largest.fetch_max(max, Ordering::AcqRel);
    }

    /// Takes what has been received. A single message may overdraw the bytes.
    pub(crate) fn take(&self, messages: usize, bytes: usize) {
        self.messages.fetch_add(messages, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Gives back what has been settled.
    pub(crate) fn give_back(&self, messages: usize, bytes: usize) {
        self.messages.fetch_sub(messages, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.freed.notify_one();
    }

    /// How many messages are received and not settled.
    pub(crate) fn used(&self) -> usize {
        self.messages.load(Ordering::Acquire)
    }

    /// Waits until something is given back. For the pump alone: one waiter.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_budget_closes_it() {
        let window = Window::new(Want { messages: 2, bytes: 100 });
        assert_eq!(window.left(), Some(Want { messages: 2, bytes: 100 }));
        window.take(1, 150);
        assert_eq!(window.left(), None, "out of bytes");
        window.give_back(1, 150);
        window.take(2, 10);
        assert_eq!(window.left(), None, "out of messages");
        window.give_back(1, 5);
        assert_eq!(window.left(), Some(Want { messages: 1, bytes: 95 }));
        assert_eq!(window.used(), 1);
    }

    #[test]
    fn beyond_it_there_is_what_was_room_once() {
        let window = Window::new(Want { messages: 1, bytes: 100 });
        window.set_messages(3);
        window.take(2, 200);
        window.set_messages(1);
        assert_eq!((window.left(), window.beyond()), (None, Some(Want { messages: 1, bytes: 1 })));
        window.take(1, 10);
        assert_eq!(window.beyond(), None);
    }
}
