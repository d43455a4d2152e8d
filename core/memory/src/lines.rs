//! Who may go next: the order between messages.
//!
//! A message without a key (or in a queue without order) is ready as soon as it is due. Those of one
//! key form a *line*, sorted by publishing, and only the first that waits in it may go, which is
//! what keeps order across retries: a retried message is again the first that waits.
//!
//! `ready` holds *tokens*, not messages: a token says that a message looked ready when it was put
//! there. Whoever takes one asks again (`may_go`), so nothing has to be searched and removed when a
//! line changes. Tokens are served first in, first out, and a line has one at a time: so a hot key
//! takes turns with all others, however much of it there is.

use crate::table::WorkerId;
use forebay_contract::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// A message that looked ready: slot and sequence number.
pub(crate) type Token = (u32, u64);

/// The messages of one key.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Due or not, but not out: sequence number to slot.
    pub(crate) waiting: BTreeMap<u64, u32>,
    /// How many are out.
    pub(crate) out: usize,
    /// In lanes: to whom it belongs, while that worker holds or has returned some of it.
    pub(crate) owner: Option<WorkerId>,
    /// In lanes: what the owner has returned, and is to get again.
    pub(crate) returned: BTreeSet<u64>,
}

/// All lines, and the tokens of all that looks ready.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pub(crate) by_key: HashMap<Bytes, Line>,
    /// Handed out before: they go first.
    pub(crate) returned: VecDeque<Token>,
    pub(crate) ready: VecDeque<Token>,
}

impl Lines {
    /// The line of a key, made if need be.
    pub(crate) fn of(&mut self, key: &Bytes) -> &mut Line {
        if !self.by_key.contains_key(key) {
            self.by_key.insert(key.clone(), Line::default());
        }
        self.by_key.get_mut(key).expect("it was put there just now")
    }

    /// Forgets the line of a key once nothing is in it.
    pub(crate) fn tidy(&mut self, key: &Bytes) {
        if self.by_key.get(key).is_some_and(|line| line.waiting.is_empty() && line.out == 0) {
            self.by_key.remove(key);
        }
    }
}

impl Line {
    /// Whether this message may be handed out to this worker now, if it is due.
    pub(crate) fn may_go(&self, seq: u64, worker: WorkerId, at_source: bool) -> bool {
        let first = self.waiting.first_key_value().is_some_and(|(first, _)| *first == seq);
        first && !(at_source && self.out > 0) && self.owner.is_none_or(|owner| owner == worker)
    }

    /// The message that may go next, if nothing of the line stands in its way.
    pub(crate) fn next(&self, at_source: bool) -> Option<Token> {
        if at_source && self.out > 0 {
            return None;
        }
        self.waiting.first_key_value().map(|(seq, slot)| (*slot, *seq))
    }

    /// Lets go of the owner once it holds nothing of this line and awaits nothing back.
    pub(crate) fn free_if_done(&mut self) {
        if self.out == 0 && self.returned.is_empty() {
            self.owner = None;
        }
    }
}
