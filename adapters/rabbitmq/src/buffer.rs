//! What has come from the broker and not gone to the worker yet.
//!
//! Without order it is a queue. In key order it also keeps the messages that came back for a while: a
//! retried one waits here, unacked, and while it waits, nothing later of its key is handed out.
//!
//! ```text
//!             take                           hold (retry, release)
//!   ready ----------> worker        worker ------------------------> away, by key and number
//!     ^                                                                |
//!     |  when the last of its key has gone out again                   | when due, lowest number first
//!     +------------------------- behind, by key                        +----------------------> worker
//! ```

use crate::stall::Full;
use bytes::Bytes;
use forebay_contract::{Delivery, Want};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Instant,
};

/// What settles one hand-out: a number on a channel, in one of its turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The channel; each has another number.
    pub(crate) epoch: u64,
    /// The broker's number of the delivery.
    pub(crate) tag: u64,
    /// How often it was taken back and handed out again.
    pub(crate) turn: u32,
}

pub(crate) type Out = Delivery<Receipt>;

/// The messages of one key while some of them wait.
#[derive(Debug, Default)]
struct Waiting {
    /// Those that came back, with the time from which they may go out.
    away: BTreeMap<u64, (Instant, Out)>,
    /// Those that came after them.
    behind: VecDeque<Out>,
}

/// The buffer of one channel.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    ready: VecDeque<Out>,
    waiting: HashMap<Bytes, Waiting>,
    /// The lowest number away of each key, by its time.
    heads: BTreeSet<(Instant, u64, Bytes)>,
}

impl Buffer {
    /// A message has come.
    pub(crate) fn push(&mut self, out: Out) {
        let waiting = match &out.message.key {
            Some(key) if !self.waiting.is_empty() => self.waiting.get_mut(key),
            _ => None,
        };
        match waiting {
            Some(waiting) => waiting.behind.push_back(out),
            None => self.ready.push_back(out),
        }
    }

    /// A message with a key has come back, to go out again at a time.
    pub(crate) fn hold(&mut self, key: &Bytes, due: Instant, out: Out) {
        let waiting = self.waiting.entry(key.clone()).or_insert_with(|| {
            let ours = |out: &Out| out.message.key.as_ref() == Some(key);
            let (behind, ready) = std::mem::take(&mut self.ready).into_iter().partition(ours);
            self.ready = ready;
            Waiting { away: BTreeMap::new(), behind }
        });
        if let Some((tag, (due, _))) = waiting.away.first_key_value() {
            self.heads.remove(&(*due, *tag, key.clone()));
        }
        waiting.away.insert(out.receipt.tag, (due, out));
        self.note_head(key);
    }

    fn note_head(&mut self, key: &Bytes) {
        let first = self.waiting.get(key).and_then(|waiting| waiting.away.first_key_value());
        if let Some((tag, (due, _))) = first {
            self.heads.insert((*due, *tag, key.clone()));
        }
    }

    /// Takes out what is wanted and may go, and tells of each.
    pub(crate) fn take(
        &mut self,
        want: Want,
        now: Instant,
        out: &mut Vec<Out>,
        mut taken: impl FnMut(u64),
    ) -> usize {
        let (mut messages, mut bytes) = (0, 0_usize);
        while messages < want.messages.max(1) {
            let due = self.heads.first().is_some_and(|(due, ..)| *due <= now);
            let next = if due { self.due_head() } else { self.ready.front() };
            let Some(next) = next else { break };
            bytes = bytes.saturating_add(next.message.size());
            if messages > 0 && bytes > want.bytes {
                break;
            }
            let next = if due { self.take_head() } else { self.ready.pop_front() };
            let Some(next) = next else { break };
            taken(next.receipt.tag);
            out.push(next);
            messages += 1;
        }
        messages
    }

    fn due_head(&self) -> Option<&Out> {
        let (_, tag, key) = self.heads.first()?;
        self.waiting.get(key)?.away.get(tag).map(|(_, out)| out)
    }

    fn take_head(&mut self) -> Option<Out> {
        let (_, tag, key) = self.heads.pop_first()?;
        let waiting = self.waiting.get_mut(&key)?;
        let (_, out) = waiting.away.remove(&tag)?;
        if waiting.away.is_empty() {
            let behind = self.waiting.remove(&key).map(|waiting| waiting.behind);
            for later in behind.into_iter().flatten().rev() {
                self.ready.push_front(later);
            }
        } else {
            self.note_head(&key);
        }
        Some(out)
    }

    /// When the next that waits may go.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.heads.first().map(|(due, ..)| *due)
    }

    /// Whether something could go out now.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether something of this key could.
    pub(crate) fn has_ready_of(&self, key: &Bytes) -> bool {
        self.ready.iter().any(|out| out.message.key.as_ref() == Some(key))
    }

    /// What waits, and behind how many keys.
    pub(crate) fn waiting(&self) -> Full {
        let waiting = self.waiting.values().map(|w| w.away.len() + w.behind.len());
        Full { keys: self.waiting.len(), messages: waiting.sum() }
    }

    /// All that is here.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.waiting().messages
    }

    /// Takes out all that has never been handed out.
    pub(crate) fn drain_ready(&mut self) -> impl Iterator<Item = Out> {
        self.ready.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_contract::{Message, Scope};
    use std::{sync::Arc, time::Duration};

    fn out(tag: u64, key: &str) -> Out {
        let mut message = Message::new(tag, "12345678");
        message.key = Some(Bytes::copy_from_slice(key.as_bytes()));
        let receipt = Receipt { epoch: 1, tag, turn: 0 };
        Delivery { message: Arc::new(message), receipt, scope: Scope(1), lease: None }
    }

    fn take(buffer: &mut Buffer, messages: usize, now: Instant) -> Vec<u64> {
        let (mut taken, mut outs) = (Vec::new(), Vec::new());
        buffer.take(Want { messages, bytes: 1 << 20 }, now, &mut outs, |tag| taken.push(tag));
        assert_eq!(outs.iter().map(|out| out.receipt.tag).collect::<Vec<_>>(), taken);
        taken
    }

    #[test]
    fn what_waits_holds_back_all_that_is_later_of_its_key() {
        let (mut buffer, now) = (Buffer::default(), Instant::now());
        for (tag, key) in [(1, "a"), (2, "a"), (3, "b"), (4, "a")] {
            buffer.push(out(tag, key));
        }
        assert_eq!(take(&mut buffer, 2, now), [1, 2]);
        let (soon, late) = (now + Duration::from_secs(1), now + Duration::from_secs(9));
        let key = Bytes::from_static(b"a");
        buffer.hold(&key, soon, out(2, "a"));
        buffer.hold(&key, late, out(1, "a"));
        buffer.push(out(5, "a"));
        assert_eq!(take(&mut buffer, 9, now), [3]);
        assert_eq!(buffer.next_due(), Some(late), "2 is due sooner, but comes after 1");
        assert!(take(&mut buffer, 9, soon).is_empty());
        assert_eq!(take(&mut buffer, 9, late), [1, 2, 4, 5]);
        assert_eq!(buffer.next_due(), None);
    }

    #[test]
    fn no_more_than_wanted_but_a_large_one_comes_alone() {
        let (mut buffer, now) = (Buffer::default(), Instant::now());
        (1..=4).for_each(|tag| buffer.push(out(tag, "a")));
        let mut outs = Vec::new();
        assert_eq!(buffer.take(Want { messages: 9, bytes: 1 }, now, &mut outs, |_| ()), 1);
        assert_eq!(buffer.take(Want { messages: 9, bytes: 20 }, now, &mut outs, |_| ()), 2);
        assert_eq!(buffer.take(Want { messages: 1, bytes: 99 }, now, &mut outs, |_| ()), 1);
        assert!(!buffer.has_ready());
    }
}
