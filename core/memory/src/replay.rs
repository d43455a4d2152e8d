//! Messages made when they are asked for: millions of them, in flat memory.
//!
//! The queue is there to measure the runtime, so it should cost little beside it: the memory of a
//! message that is done, and that nobody holds any more, is used for a later one.

use crate::lines::LineId;
use forebay_contract::{Bytes, History, Message};
use std::{collections::VecDeque, sync::Arc};

/// How many made messages may wait for their turn, so that in key order a blocked key does not hide
/// all others.
const AHEAD: usize = 1024;

/// How many messages that are done are kept for their memory.
const SPENT: usize = 1024;

/// Copies of a few templates, in turn, each with an identity of its own.
#[derive(Debug)]
pub(crate) struct Replay {
    templates: Vec<Message>,
    /// What is looked at for every message, so that of very many templates little is touched.
    turns: Vec<Turn>,
    /// Further copies of each that are done, the longest ago first.
    more: Vec<VecDeque<Arc<Message>>>,
    next: u64,
    left: u64,
}

/// What a template needs when its turn comes.
#[derive(Debug, Default)]
struct Turn {
    /// A copy that is done; whoever settled it may still hold it for a moment.
    spent: Option<Arc<Message>>,
    /// The line of its key, where there is order.
    line: Option<LineId>,
    /// Whether there are more such copies.
    has_more: bool,
}

impl Replay {
    pub(crate) fn new(templates: Vec<Message>, count: u64) -> Self {
        let left = if templates.is_empty() { 0 } else { count };
        let turns = templates.iter().map(|_| Turn::default()).collect();
        let more = templates.iter().map(|_| VecDeque::new()).collect();
        Self { templates, turns, more, next: 0, left }
    }

    /// Asks for the line of each key.
    pub(crate) fn enter_lines(&mut self, mut line_of: impl FnMut(&Bytes) -> LineId) {
        for (template, turn) in self.templates.iter().zip(&mut self.turns) {
            turn.line = template.key.as_ref().map(&mut line_of);
        }
    }

    /// The line of a template's key, where there is order.
    pub(crate) fn line(&self, template: u32) -> Option<LineId> {
        self.turns.get(template as usize)?.line
    }

    /// All lines that its templates name.
    pub(crate) fn lines(&self) -> impl Iterator<Item = LineId> {
        self.turns.iter().filter_map(|turn| turn.line)
    }

    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// How many more are to be made now, in key order.
    pub(crate) fn missing(&self, waiting: usize, wanted: usize) -> usize {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        wanted.max(AHEAD).saturating_sub(waiting).min(left)
    }

    /// How large the next message is.
    pub(crate) fn next_size(&self) -> usize {
        let i = (self.next % self.templates.len().max(1) as u64) as usize;
        self.templates.get(i).map_or(0, Message::size)
    }

    /// The next message, and its template; `None` once all are made.
    pub(crate) fn make(&mut self) -> Option<(Arc<Message>, u32)> {
        self.left = self.left.checked_sub(1)?;
        let id = self.next.into();
        let i = (self.next % self.templates.len() as u64) as u32;
        self.next += 1;
        if let Some(mut spent) = self.take_spent(i)
            && let Some(message) = Arc::get_mut(&mut spent)
        {
            // All else is as the template has it: nothing here changes it.
            message.id = id;
            (message.attempt, message.interrupted, message.deliveries) = (0, 0, Some(1));
            message.history = History::new();
            return Some((spent, i));
        }
        let template = self.templates[i as usize].clone();
        Some((Arc::new(Message { id, deliveries: Some(1), ..template }), i))
    }

    fn take_spent(&mut self, template: u32) -> Option<Arc<Message>> {
        let turn = &mut self.turns[template as usize];
        let spent = turn.spent.take()?;
        if turn.has_more {
            let more = &mut self.more[template as usize];
            turn.spent = more.pop_front();
            turn.has_more = !more.is_empty();
        }
        Some(spent)
    }

    /// Takes back a message that is done.
    pub(crate) fn spend(&mut self, message: Arc<Message>, template: u32) {
        let Some(turn) = self.turns.get_mut(template as usize) else { return };
        if turn.spent.is_none() {
            turn.spent = Some(message);
            return;
        }
        let more = &mut self.more[template as usize];
        if more.len() < SPENT {
            more.push_back(message);
            turn.has_more = true;
        }
    }
}
