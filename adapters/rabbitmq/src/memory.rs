//! What a process remembers of messages beyond a channel's life, in bounded room.
//!
//! Two things would otherwise be told wrongly when a channel is lost:
//!
//! - **Returns that are no interruptions.** A quorum queue counts every return of a message, also
//!   those of a worker that lives and only lost its connection, or gave the message back. What this
//!   process did itself is remembered, and not counted as an interruption.
//! - **Copies whose original could not be acked.** If the copy was confirmed and then the channel was
//!   lost, the original comes back and would be copied twice. If it comes back to this process, it is
//!   known again, and acked.
//!
//! Both are an improvement where they work. Nothing is lost, at worst repeated, where they do not:
//! after a restart, in another process, or when there is too much to remember.

use bytes::Bytes;
use forebay_contract::{Message, MessageId};
use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher, Hash, Hasher},
    sync::LazyLock,
    time::Instant,
};

/// How many messages are remembered of each sort; what is beyond is forgotten all at once.
const MOST: usize = 50_000;

/// What makes two deliveries the same state of the same message: identity, attempts, payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Print(u64);

impl Print {
    /// Of a message as it was received.
    pub(crate) fn of(message: &Message) -> Self {
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let mut hasher = KEYS.build_hasher();
        let Message { id, key, payload, attempt, redrives, history, .. } = message;
        (id, key, payload, attempt, redrives).hash(&mut hasher);
        history.notes().len().hash(&mut hasher);
        history.last().map(|note| (&note.error, note.at)).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// The memory of one process for one queue.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Returns to the queue that this process knows the reason of.
    explained: HashMap<MessageId, u32>,
    /// Originals that have a confirmed copy and were not acked; how many of each.
    copied: HashMap<Print, u32>,
    /// In key order, messages that wait or waited in this process, with what was noted of them, and
    /// until when they wait.
    kept: HashMap<MessageId, (Message, Instant)>,
}

impl Memory {
    /// This many returns of a message are explained.
    pub(crate) fn explain(&mut self, id: MessageId, returns: u32) {
        bound(&mut self.explained);
        self.explained.insert(id, returns);
    }

    /// How many of a message's returns are explained. It is out again, so that is forgotten here.
    pub(crate) fn explained(&mut self, id: &MessageId) -> u32 {
        self.explained.remove(id).unwrap_or(0)
    }

    /// The copy of this one is confirmed, and the original is on its way back.
    pub(crate) fn copied(&mut self, print: Print) {
        bound(&mut self.copied);
        *self.copied.entry(print).or_insert(0) += 1;
    }

    /// Whether this one, which came back, has its copy. True once for each copy.
    pub(crate) fn was_copied(&mut self, message: &Message) -> bool {
        if self.copied.is_empty() {
            return false;
        }
        let print = Print::of(message);
        let Some(times) = self.copied.get_mut(&print) else { return false };
        *times -= 1;
        if *times == 0 {
            self.copied.remove(&print);
        }
        true
    }

    /// What this process noted of a message goes back to the broker without it.
    pub(crate) fn keep(&mut self, message: Message, due: Instant) {
        bound(&mut self.kept);
        // Its payload comes again with it.
        let id = message.id.clone();
        self.kept.insert(id, (Message { payload: Bytes::new(), ..message }, due));
    }

    /// Takes up again what was noted of a message that has come back; if something was, until when it
    /// waits.
    pub(crate) fn take_up(&mut self, message: &mut Message) -> Option<Instant> {
        let (kept, due) = self.kept.remove(&message.id)?;
        if kept.redrives != message.redrives || kept.attempt < message.attempt {
            return None;
        }
        (message.attempt, message.history) = (kept.attempt, kept.history);
        Some(due)
    }
}

/// Makes room: better to forget than to grow without end.
fn bound<K, V>(map: &mut HashMap<K, V>) {
    if map.len() >= MOST {
        tracing::debug!("{MOST} returned messages remembered: forgetting them");
        map.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copied_original_is_known_again_once_for_each_copy() {
        let mut memory = Memory::default();
        let message = Message::new("a", "x");
        assert!(!memory.was_copied(&message));
        memory.copied(Print::of(&message));
        let mut other = message.clone();
        other.attempt = 1;
        assert!(!memory.was_copied(&other), "its copy is another state of it");
        assert!(memory.was_copied(&message));
        assert!(!memory.was_copied(&message));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut memory = Memory::default();
        for n in 0..(2 * MOST as u64 + 5) {
            memory.explain(MessageId::from(n), 1);
        }
        assert!(memory.explained.len() <= MOST);
        assert_eq!(memory.explained(&MessageId::from(2 * MOST as u64 + 4)), 1);
        assert_eq!(memory.explained(&MessageId::from(2 * MOST as u64 + 4)), 0);
    }
}
