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
//!
//! A message knows its line by number, so that a key is hashed only when its first message comes and
//! when its last one goes.

use crate::table::WorkerId;
use forebay_contract::Bytes;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// A message that looked ready: slot and sequence number.
pub(crate) type Token = (u32, u64);

/// Which line; used again once it is empty.
pub(crate) type LineId = u32;

/// The messages of one key. One line of a cache: with very many keys, each is out of the caches when
/// its next message comes.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The first that waits, due or not, but not out.
    first: Option<Token>,
    /// How many are out.
    pub(crate) out: u32,
    /// In lanes: to whom it belongs, while that worker holds or has returned some of it.
    pub(crate) owner: Option<WorkerId>,
    /// Kept though nothing is in it: the templates of a replay name it.
    pinned: bool,
    /// What most lines never have.
    more: Option<Box<More>>,
}

/// What a line has besides its first message.
#[derive(Debug, Default)]
struct More {
    /// What waits behind the first, sorted by sequence number.
    waiting: VecDeque<Token>,
    /// In lanes: what the owner has returned, and is to get again.
    returned: BTreeSet<u64>,
}

impl Line {
    pub(crate) fn first(&self) -> Option<Token> {
        self.first
    }

    pub(crate) fn pop_first(&mut self) {
        self.first = self.more.as_mut().and_then(|more| more.waiting.pop_front());
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Puts a message where it belongs: at the end if it is new, near the front if it comes back.
    pub(crate) fn enter(&mut self, token: Token) {
        let Some(first) = self.first else {
            self.first = Some(token);
            return;
        };
        let waiting = &mut self.more.get_or_insert_default().waiting;
        if token.1 < first.1 {
            self.first = Some(token);
            waiting.push_front(first);
        } else if waiting.back().is_none_or(|(_, last)| *last < token.1) {
            waiting.push_back(token); // as every message that is new
        } else {
            let at = waiting.partition_point(|(_, other)| *other < token.1);
            waiting.insert(at, token);
        }
    }

    /// Notes that the owner has returned a message.
    pub(crate) fn note_returned(&mut self, seq: u64) {
        self.more.get_or_insert_default().returned.insert(seq);
    }

    /// Notes that a message is out, and so not expected by anybody.
    pub(crate) fn take_returned(&mut self, seq: u64) {
        if let Some(more) = &mut self.more {
            more.returned.remove(&seq);
        }
    }

    /// Expects nothing back any more.
    pub(crate) fn forget_returned(&mut self) {
        if let Some(more) = &mut self.more {
            more.returned.clear();
        }
    }

    fn has_returned(&self) -> bool {
        self.more.as_ref().is_some_and(|more| !more.returned.is_empty())
    }

    /// All that waits, and all that is expected back.
    #[cfg(test)]
    pub(crate) fn all(&self) -> (Vec<Token>, Vec<u64>) {
        let Some(more) = &self.more else { return (Vec::from_iter(self.first), Vec::new()) };
        let waiting = self.first.iter().chain(&more.waiting).copied();
        (waiting.collect(), more.returned.iter().copied().collect())
    }
}

/// All lines, and the tokens of all that looks ready.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    ids: HashMap<Bytes, LineId>,
    lines: Vec<Line>,
    /// The key of each line, asked for when it ends.
    keys: Vec<Bytes>,
    free: Vec<LineId>,
    /// Handed out before: they go first.
    pub(crate) returned: VecDeque<Token>,
    pub(crate) ready: VecDeque<Token>,
}

impl Lines {
    /// The line of a key, made if need be.
    pub(crate) fn of(&mut self, key: &Bytes) -> LineId {
        if let Some(id) = self.ids.get(key) {
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.lines.push(Line::default());
            self.keys.push(Bytes::new());
            LineId::try_from(self.lines.len() - 1)
                .expect("four billion keys do not fit into memory")
        });
        self.keys[id as usize] = key.clone();
        self.ids.insert(key.clone(), id);
        id
    }

    /// The line of a key, kept until it is let go of: so whoever asks for it time and again asks
    /// once.
    pub(crate) fn pin(&mut self, key: &Bytes) -> LineId {
        let id = self.of(key);
        self.at(id).pinned = true;
        id
    }

    pub(crate) fn unpin(&mut self, id: LineId) {
        if std::mem::take(&mut self.at(id).pinned) {
            self.tidy(id);
        }
    }

    /// A line that some message names.
    pub(crate) fn at(&mut self, id: LineId) -> &mut Line {
        &mut self.lines[id as usize]
    }

    pub(crate) fn get(&self, id: LineId) -> &Line {
        &self.lines[id as usize]
    }

    /// Forgets a line once nothing is in it.
    pub(crate) fn tidy(&mut self, id: LineId) {
        let line = &mut self.lines[id as usize];
        if line.is_empty() && line.out == 0 && !line.pinned {
            self.ids.remove(&std::mem::take(&mut self.keys[id as usize]));
            self.free.push(id);
        }
    }

    /// The lines that belong to a worker.
    pub(crate) fn owned_by(&self, worker: WorkerId) -> Vec<LineId> {
        let owned = |id: &LineId| self.get(*id).owner == Some(worker);
        self.ids.values().copied().filter(owned).collect()
    }

    /// All lines with something in them.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LineId, &Line)> {
        let lines = self.ids.values().map(|id| (*id, self.get(*id)));
        lines.filter(|(_, line)| !line.is_empty() || line.out > 0)
    }
}

impl Line {
    /// Whether this message may be handed out to this worker now, if it is due.
    pub(crate) fn may_go(&self, token: Token, worker: WorkerId, at_source: bool) -> bool {
        self.next(at_source) == Some(token) && self.owner.is_none_or(|owner| owner == worker)
    }

    /// The message that may go next, if nothing of the line stands in its way.
    pub(crate) fn next(&self, at_source: bool) -> Option<Token> {
        if at_source && self.out > 0 { None } else { self.first }
    }

    /// Lets go of the owner once it holds nothing of this line and awaits nothing back.
    pub(crate) fn free_if_done(&mut self) {
        if self.out == 0 && !self.has_returned() {
            self.owner = None;
        }
    }
}
