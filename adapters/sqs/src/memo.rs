//! What this process knows of messages that it has given back: SQS counts receives, and keeps nothing
//! else on a message that is retried by its visibility timeout.
//!
//! So the notes of failures are kept here, and which receives were no attempt (releases, messages that
//! were throttled or never started). Best effort: another process does not know them. It counts every
//! receive as an attempt, and sees no notes. The memory is bounded: the oldest goes first.

use forebay_contract::History;
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

/// How many messages are remembered.
const MOST: usize = 100_000;

/// What is known of one message.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Note {
    /// Its history with what was noted here; `None`: nothing was.
    pub(crate) history: Option<History>,
    /// How many of its receives were no attempt.
    pub(crate) uncharged: u32,
    /// How many attempts have failed here.
    pub(crate) failures: u32,
    /// Until when it is hidden, if it waits for a retry.
    pub(crate) due: Option<Instant>,
}

impl Note {
    /// Failed attempts of a message that SQS has handed out so often: an upper bound.
    pub(crate) fn attempts(&self, receives: u32) -> u32 {
        receives.saturating_sub(1).saturating_sub(self.uncharged).max(self.failures)
    }
}

/// The notes of all messages that were given back, by the identity that SQS gives them.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    notes: Mutex<Notes>,
    /// How many there are: mostly none, and then no message needs the lock.
    known: AtomicUsize,
}

#[derive(Debug, Default)]
struct Notes {
    by_id: HashMap<Arc<str>, Note>,
    /// In the order in which they came; ids that are forgotten meanwhile stay until their turn.
    order: VecDeque<Arc<str>>,
}

impl Memo {
    /// What is known of a message that has just been handed out: it no longer waits.
    pub(crate) fn recall(&self, id: &str) -> Note {
        if self.knows_nothing() {
            return Note::default();
        }
        let mut notes = self.lock();
        let Some(note) = notes.by_id.get_mut(id) else { return Note::default() };
        note.due = None;
        note.clone()
    }

    /// Remembers a message that is given back, in place of what was known of it.
    pub(crate) fn note(&self, id: &Arc<str>, note: Note) {
        let mut notes = self.lock();
        if notes.by_id.insert(Arc::clone(id), note).is_none() {
            notes.order.push_back(Arc::clone(id));
        }
        while notes.order.len() > MOST {
            if let Some(oldest) = notes.order.pop_front() {
                notes.by_id.remove(&oldest);
            }
        }
        self.known.store(notes.by_id.len(), Ordering::Release);
    }

    /// Forgets a message that is gone.
    pub(crate) fn forget(&self, id: &str) {
        if self.knows_nothing() {
            return;
        }
        let mut notes = self.lock();
        if notes.by_id.remove(id).is_some() && notes.order.len() > 2 * notes.by_id.len() + 64 {
            let Notes { by_id, order } = &mut *notes;
            order.retain(|id| by_id.contains_key(id));
        }
        self.known.store(notes.by_id.len(), Ordering::Release);
    }

    /// How many messages wait for a retry that was ordered here.
    pub(crate) fn waiting(&self) -> u64 {
        let now = Instant::now();
        let waits = |note: &&Note| note.due.is_some_and(|due| due > now);
        self.lock().by_id.values().filter(waits).count() as u64
    }

    fn knows_nothing(&self) -> bool {
        self.known.load(Ordering::Acquire) == 0
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn attempts_are_receives_without_those_that_were_none() {
        let note = Note { uncharged: 2, failures: 1, ..Note::default() };
        assert_eq!(Note::default().attempts(1), 0);
        assert_eq!(Note::default().attempts(5), 4);
        assert_eq!(note.attempts(5), 2);
        assert_eq!(note.attempts(1), 1, "what is known to have failed is never forgotten");
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_what_is_gone() {
        let memo = Memo::default();
        let id = |n: usize| -> Arc<str> { n.to_string().into() };
        for n in 0..MOST + 10 {
            memo.note(&id(n), Note { uncharged: 1, ..Note::default() });
        }
        assert_eq!(memo.recall("5").uncharged, 0, "the oldest are gone");
        assert_eq!(memo.recall("15").uncharged, 1);
        for n in 0..MOST + 10 {
            memo.forget(&id(n));
        }
        let notes = memo.lock();
        assert!(notes.by_id.is_empty() && notes.order.len() <= 64);
    }

    #[test]
    fn what_waits_is_counted_until_it_is_handed_out() {
        let memo = Memo::default();
        let due = Some(Instant::now() + Duration::from_secs(60));
        memo.note(&"a".into(), Note { due, ..Note::default() });
        assert_eq!(memo.waiting(), 1);
        memo.recall("a");
        assert_eq!(memo.waiting(), 0);
    }
}
