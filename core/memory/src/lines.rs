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

/// The messages of one key.
#[derive(Debug, Default)]
pub(crate) struct Line {
    key: Bytes,
    /// Due or not, but not out; sorted by sequence number.
    pub(crate) waiting: Waiting,
    /// Kept though nothing is in it: the templates of a replay name it.
    pinned: bool,
    /// How many are out.
    pub(crate) out: usize,
    /// In lanes: to whom it belongs, while that worker holds or has returned some of it.
    pub(crate) owner: Option<WorkerId>,
    /// In lanes: what the owner has returned, and is to get again.
    pub(crate) returned: BTreeSet<u64>,
}

/// What waits in a line. Mostly it is one message, which lies here, and not in memory of its own.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    first: Option<Token>,
    rest: VecDeque<Token>,
}

impl Waiting {
    pub(crate) fn first(&self) -> Option<Token> {
        self.first
    }

    pub(crate) fn pop_first(&mut self) {
        self.first = self.rest.pop_front();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Puts a message where it belongs: at the end if it is new, near the front if it comes back.
    pub(crate) fn enter(&mut self, token: Token) {
        match self.first {
            None => self.first = Some(token),
            Some(first) if token.1 < first.1 => {
                self.first = Some(token);
                self.rest.push_front(first);
            }
            // As every message that is new.
            Some(_) if self.rest.back().is_none_or(|(_, last)| *last < token.1) => {
                self.rest.push_back(token);
            }
            Some(_) => {
                let at = self.rest.partition_point(|(_, other)| *other < token.1);
                self.rest.insert(at, token);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Token> {
        self.first.iter().chain(&self.rest)
    }
}

/// All lines, and the tokens of all that looks ready.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    ids: HashMap<Bytes, LineId>,
    lines: Vec<Line>,
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
            LineId::try_from(self.lines.len() - 1)
                .expect("four billion keys do not fit into memory")
        });
        self.at(id).key = key.clone();
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
        if line.waiting.is_empty() && line.out == 0 && !line.pinned {
            self.ids.remove(&std::mem::take(&mut line.key));
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
        lines.filter(|(_, line)| !line.waiting.is_empty() || line.out > 0)
    }
}

impl Line {
    /// Whether this message may be handed out to this worker now, if it is due.
    pub(crate) fn may_go(&self, token: Token, worker: WorkerId, at_source: bool) -> bool {
        self.next(at_source) == Some(token) && self.owner.is_none_or(|owner| owner == worker)
    }

    /// The message that may go next, if nothing of the line stands in its way.
    pub(crate) fn next(&self, at_source: bool) -> Option<Token> {
        if at_source && self.out > 0 { None } else { self.waiting.first() }
    }

    /// Lets go of the owner once it holds nothing of this line and awaits nothing back.
    pub(crate) fn free_if_done(&mut self) {
        if self.out == 0 && self.returned.is_empty() {
            self.owner = None;
        }
    }
}
