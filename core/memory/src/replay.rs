//! Messages made when they are asked for: millions of them, in flat memory.

use forebay_contract::Message;
use std::sync::Arc;

/// How many made messages may wait for their turn, so that in key order a blocked key does not hide
/// all others.
const AHEAD: usize = 1024;

/// Copies of a few templates, in turn, each with an identity of its own.
#[derive(Debug)]
pub(crate) struct Replay {
    templates: Vec<Message>,
    next: u64,
    left: u64,
}

impl Replay {
    pub(crate) fn new(templates: Vec<Message>, count: u64) -> Self {
        let left = if templates.is_empty() { 0 } else { count };
        Self { templates, next: 0, left }
    }

    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// How many more are to be made now.
    pub(crate) fn missing(&self, waiting: usize, wanted: usize, ordered: bool) -> usize {
        let level = if ordered { wanted.max(AHEAD) } else { wanted };
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        level.saturating_sub(waiting).min(left)
    }

    /// The next message; one allocation.
    pub(crate) fn make(&mut self) -> Arc<Message> {
        let template = &self.templates[(self.next % self.templates.len() as u64) as usize];
        let message = Message { id: self.next.into(), deliveries: Some(1), ..template.clone() };
        self.next += 1;
        self.left -= 1;
        Arc::new(message)
    }
}
