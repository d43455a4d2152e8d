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
    templates: Vec<Template>,
    next: u64,
    left: u64,
}

#[derive(Debug)]
struct Template {
    message: Message,
    /// The line of its key, where there is order.
    line: Option<LineId>,
    /// Copies that are done; whoever settled them may still hold them for a moment. With many
    /// templates there is one of each, which lies here, and not in memory of its own.
    spent: Option<Arc<Message>>,
    more: VecDeque<Arc<Message>>,
}

impl Template {
    fn new(message: Message) -> Self {
        Self { message, line: None, spent: None, more: VecDeque::new() }
    }

    fn take_spent(&mut self) -> Option<Arc<Message>> {
        let spent = self.spent.take()?;
        self.spent = self.more.pop_front();
        Some(spent)
    }
}

impl Replay {
    pub(crate) fn new(templates: Vec<Message>, count: u64) -> Self {
        let left = if templates.is_empty() { 0 } else { count };
        Self { templates: templates.into_iter().map(Template::new).collect(), next: 0, left }
    }

    /// Asks for the line of each key.
    pub(crate) fn enter_lines(&mut self, mut line_of: impl FnMut(&Bytes) -> LineId) {
        for template in &mut self.templates {
            template.line = template.message.key.as_ref().map(&mut line_of);
        }
    }

    /// The line of a template's key, where there is order.
    pub(crate) fn line(&self, template: u32) -> Option<LineId> {
        self.templates.get(template as usize)?.line
    }

    /// All lines that its templates name.
    pub(crate) fn lines(&self) -> impl Iterator<Item = LineId> {
        self.templates.iter().filter_map(|template| template.line)
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
        self.templates.get(i).map_or(0, |template| template.message.size())
    }

    /// The next message, and its template; `None` once all are made.
    pub(crate) fn make(&mut self) -> Option<(Arc<Message>, u32)> {
        self.left = self.left.checked_sub(1)?;
        let id = self.next.into();
        let i = (self.next % self.templates.len() as u64) as u32;
        self.next += 1;
        let template = &mut self.templates[i as usize];
        if let Some(mut spent) = template.take_spent()
            && let Some(message) = Arc::get_mut(&mut spent)
        {
            // All else is as the template has it: nothing here changes it.
            message.id = id;
            (message.attempt, message.interrupted, message.deliveries) = (0, 0, Some(1));
            message.history = History::new();
            return Some((spent, i));
        }
        let message = Message { id, deliveries: Some(1), ..template.message.clone() };
        Some((Arc::new(message), i))
    }

    /// Takes back a message that is done.
    pub(crate) fn spend(&mut self, message: Arc<Message>, template: u32) {
        let Some(template) = self.templates.get_mut(template as usize) else { return };
        if template.spent.is_none() {
            template.spent = Some(message);
        } else if template.more.len() < SPENT {
            template.more.push_back(message);
        }
    }
}
