//! What the inbox holds: what is ready, the groups of a FIFO queue, and what is out.

use super::Held;
use crate::{Fault, handout::Handout};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

/// A FIFO queue's group of which something is here.
#[derive(Debug)]
pub(super) struct Group {
    /// The one that is ready, or out.
    pub(super) head: Arc<Handout>,
    /// Those behind it, in order.
    pub(super) rest: VecDeque<Held>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Just come.
    pub(super) ready: VecDeque<Held>,
    /// Bytes in `ready`.
    pub(super) ready_bytes: usize,
    /// The size of messages, as a running mean; `None` before the first.
    pub(super) mean_size: Option<usize>,
    /// Ready since the one before it in its group is gone.
    pub(super) following: VecDeque<Held>,
    /// Whose turn it is.
    pub(super) following_first: bool,
    pub(super) groups: HashMap<Arc<str>, Group>,
    /// What is out, by address: that is, by itself.
    pub(super) out: HashMap<usize, Arc<Handout>>,
    /// To be given back by the poller.
    pub(super) unwanted: Vec<Arc<Handout>>,
    pub(super) fault: Option<Fault>,
    /// How many messages the last receive wanted, and bytes; when; and how many receives wait.
    pub(super) wanted: usize,
    pub(super) wanted_bytes: usize,
    pub(super) wanted_at: Option<Instant>,
    pub(super) waiting: usize,
    pub(super) closed: bool,
    /// No poll is under way, and none will be.
    pub(super) ended: bool,
}

impl State {
    /// Whether the next message is one that follows: they take turns with those that have just come.
    fn is_following_next(&self) -> bool {
        match (self.ready.is_empty(), self.following.is_empty()) {
            (false, false) => self.following_first,
            (ready_is_empty, _) => ready_is_empty,
        }
    }

    /// The size of the next message.
    pub(super) fn next_size(&self) -> Option<usize> {
        let queue = if self.is_following_next() { &self.following } else { &self.ready };
        queue.front().map(|next| next.message.size())
    }

    /// Takes the next message.
    pub(super) fn pop(&mut self) -> Option<Held> {
        if self.is_following_next() {
            return self.following.pop_front();
        }
        let next = self.ready.pop_front()?;
        self.ready_bytes = self.ready_bytes.saturating_sub(next.message.size());
        Some(next)
    }

    /// Takes a size into the mean: the last eight or so decide.
    pub(super) fn measure(&mut self, size: usize) {
        let mean = self.mean_size.unwrap_or(size);
        self.mean_size = Some(mean - mean / 8 + size / 8);
    }

    /// Puts a message to those that have just come.
    fn push(&mut self, held: Held) {
        self.ready_bytes += held.message.size();
        self.ready.push_back(held);
    }

    /// Makes a message ready, or has it wait behind the first of its group.
    pub(super) fn put(&mut self, held: Held) {
        let handout = Arc::clone(&held.receipt.0);
        let Some(name) = handout.group.clone() else {
            self.push(held);
            return;
        };
        let now = Instant::now();
        if let Some(group) = self.groups.get_mut(&name) {
            // SQS hands out no more of a group while one of it is out: our book is behind, or the first
            // itself has come again.
            let again = group.head.message_id == handout.message_id;
            if !again && group.head.is_ours(now) {
                group.rest.push_back(held);
                return;
            }
            let old = Arc::clone(&group.head);
            self.ready.retain(|held| !Arc::ptr_eq(&held.receipt.0, &old));
            self.ready_bytes = self.ready.iter().map(|held| held.message.size()).sum();
            self.following.retain(|held| !Arc::ptr_eq(&held.receipt.0, &old));
            self.drop_group(&old);
        }
        self.groups.insert(name, Group { head: handout, rest: VecDeque::new() });
        self.push(held);
    }

    /// Forgets a group by its first, and has the rest given back.
    pub(super) fn drop_group(&mut self, head: &Arc<Handout>) {
        let rest = self.take_group(head);
        self.unwanted.extend(rest);
    }

    /// Forgets a group by its first; those behind it that are still ours.
    pub(super) fn take_group(&mut self, head: &Arc<Handout>) -> Vec<Arc<Handout>> {
        let Some(name) = &head.group else { return Vec::new() };
        if !self.groups.get(name).is_some_and(|group| Arc::ptr_eq(&group.head, head)) {
            return Vec::new();
        }
        let rest = self.groups.remove(name).map(|group| group.rest).unwrap_or_default();
        let now = Instant::now();
        rest.into_iter().map(|held| held.receipt.0).filter(|it| it.is_ours(now)).collect()
    }

    /// All that is held and not out, the first of each group first.
    pub(super) fn take_held(&mut self) -> Vec<Arc<Handout>> {
        self.ready_bytes = 0;
        let ready = self.ready.drain(..).chain(self.following.drain(..)).map(|held| held.receipt.0);
        let groups = self.groups.drain().flat_map(|(_, group)| group.rest);
        let now = Instant::now();
        let all = ready.chain(groups.map(|held| held.receipt.0));
        all.chain(self.unwanted.drain(..)).filter(|handout| handout.is_ours(now)).collect()
    }
}
