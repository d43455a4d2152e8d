//! What a source holds: messages that wait to be taken, and those that are out.
//!
//! Pollers put in, receivers take out; no future ever holds a message, so receiving can be given up at
//! any point. On a FIFO queue SQS hands out several messages of one group at once; only the first of a
//! group is handed on, the rest waits for it:
//!
//! ```text
//!  arrived --> ready --> out --> acknowledged: the next of its group is ready
//!         \--> rest of its group --> ^
//!              `-- its first failed, was given back or is lost: the rest goes back, too
//! ```
//!
//! Those that follow another of their group do not count as here when messages are wanted, and take
//! turns with those that have just come: else a group that always has a next would be all that is ever
//! received.

use crate::{Fault, Receipt, handout::Handout};
use forebay_contract::{Delivery, Lease, Want};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Notify, futures::Notified};

/// For how long a receive that was given up still counts as wanting messages: a worker gives one up
/// whenever it has something else to do, and comes back at once.
const FRESH: Duration = Duration::from_millis(250);

/// For how long what is ready waits for somebody to come back: a worker that is full does, one whose
/// gate is closed does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// A message and the hand-out that it came by.
pub(crate) type Held = Delivery<Receipt>;

/// What a receiver is to do.
#[derive(Debug)]
pub(crate) enum Step {
    /// It has messages.
    Taken,
    /// Wait for a change.
    Wait,
    /// Report this.
    Failed(Fault),
    /// The source is closed.
    Closed,
}

/// A FIFO queue's group of which something is here.
#[derive(Debug)]
struct Group {
    /// The one that is ready, or out.
    head: Arc<Handout>,
    /// Those behind it, in order.
    rest: VecDeque<Held>,
}

#[derive(Debug, Default)]
struct State {
    /// Just come.
    ready: VecDeque<Held>,
    /// Ready since the one before it in its group is gone.
    following: VecDeque<Held>,
    /// Whose turn it is.
    following_first: bool,
    groups: HashMap<Arc<str>, Group>,
    /// What is out, by address: that is, by itself.
    out: HashMap<usize, Arc<Handout>>,
    /// To be given back by the poller.
    unwanted: Vec<Arc<Handout>>,
    fault: Option<Fault>,
    /// How many messages the last receive wanted; when; and how many receives wait.
    wanted: usize,
    wanted_at: Option<Instant>,
    waiting: usize,
    closed: bool,
    /// No poll is under way, and none will be.
    ended: bool,
}

/// The buffer between pollers, receivers and settlements of one source.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Notify,
    nudged: Notify,
}

/// A receive that waits.
pub(crate) struct Waiting<'a>(&'a Inbox);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting -= 1;
        state.wanted_at = Some(Instant::now());
    }
}

impl Inbox {
    /// The next change for receivers and the closer; counts from the moment that it is enabled.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Waits until the poller has something to look at.
    pub(crate) async fn nudged(&self) {
        self.nudged.notified().await;
    }

    /// A receive begins to wait.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.lock().waiting += 1;
        Waiting(self)
    }

    /// Takes what is ready, or says what to do to get something.
    pub(crate) fn take(&self, want: Want, out: &mut Vec<Held>) -> Step {
        let mut state = self.lock();
        if state.closed {
            return Step::Closed;
        }
        let now = Instant::now();
        let (mut messages, mut bytes) = (0, 0_usize);
        loop {
            let queue = state.queue();
            let Some(next) = queue.front() else { break };
            bytes = bytes.saturating_add(next.message.size());
            if messages > 0 && (messages >= want.messages || bytes > want.bytes) {
                break;
            }
            let Some(mut held) = queue.pop_front() else { break };
            state.following_first = !state.following_first;
            let handout = Arc::clone(&held.receipt.0);
            if !handout.is_ours(now) {
                state.drop_group(&handout);
                continue;
            }
            held.lease = Some(Lease { expires_at: handout.expires_at() });
            state.out.insert(address(&handout), handout);
            out.push(held);
            messages += 1;
        }
        state.wanted = want.messages.saturating_sub(messages);
        state.wanted_at = Some(now);
        let step = if messages > 0 {
            Step::Taken
        } else {
            state.fault.take().map_or(Step::Wait, Step::Failed)
        };
        let nudge = state.wanted > state.ready.len() || !state.unwanted.is_empty();
        drop(state);
        if nudge {
            self.nudged.notify_one();
        }
        step
    }

    /// How many messages are wanted and not here.
    pub(crate) fn missing(&self) -> usize {
        let state = self.lock();
        let fresh = state.wanted_at.is_some_and(|at| at.elapsed() < FRESH);
        if state.closed || (state.waiting == 0 && !fresh) {
            return 0;
        }
        state.wanted.saturating_sub(state.ready.len())
    }

    /// Messages have come. A source that is closed gives them back.
    pub(crate) fn arrived(&self, messages: Vec<Held>) {
        let mut state = self.lock();
        for held in messages {
            if state.closed {
                state.unwanted.push(held.receipt.0);
            } else {
                state.put(held);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// A poll has failed.
    pub(crate) fn failed(&self, fault: Fault) {
        self.lock().fault = Some(fault);
        self.changed.notify_waiters();
    }

    /// A poll has worked.
    pub(crate) fn works(&self) {
        self.lock().fault = None;
    }

    /// A hand-out is settled. `gone`: so is its message, and the next of its group may come; else the
    /// rest of its group is to be given back, and is returned.
    pub(crate) fn settled(&self, handout: &Arc<Handout>, gone: bool) -> Vec<Arc<Handout>> {
        let mut state = self.lock();
        state.out.remove(&address(handout));
        let Some(name) = &handout.group else { return Vec::new() };
        if !gone {
            return state.take_group(handout);
        }
        let Some(group) = state.groups.get_mut(name) else { return Vec::new() };
        if !Arc::ptr_eq(&group.head, handout) {
            return Vec::new();
        }
        let now = Instant::now();
        match group.rest.pop_front() {
            Some(next) if next.receipt.0.is_ours(now) => {
                group.head = Arc::clone(&next.receipt.0);
                state.following.push_back(next);
                drop(state);
                self.changed.notify_waiters();
                Vec::new()
            }
            _ => state.take_group(handout),
        }
    }

    /// Those that wait behind a hand-out in its group: their leases are kept as long as its own.
    pub(crate) fn behind(&self, handout: &Arc<Handout>) -> Vec<Arc<Handout>> {
        let Some(name) = &handout.group else { return Vec::new() };
        let state = self.lock();
        let group = state.groups.get(name).filter(|group| Arc::ptr_eq(&group.head, handout));
        group.map_or_else(Vec::new, |group| {
            group.rest.iter().map(|held| Arc::clone(&held.receipt.0)).collect()
        })
    }

    /// Lets go of hand-outs whose leases have ended, and of what nobody seems to take: nobody has asked
    /// for a while, or less than `least` of its lease is left.
    pub(crate) fn sweep(&self, now: Instant, least: Duration) {
        let mut state = self.lock();
        let ended: Vec<_> =
            state.out.values().filter(|handout| !handout.is_ours(now)).cloned().collect();
        for handout in ended {
            state.out.remove(&address(&handout));
            state.drop_group(&handout);
        }
        let given_up = state.waiting == 0
            && state.wanted_at.is_some_and(|at| now.saturating_duration_since(at) > PATIENCE);
        let is_stale = |held: &Held| given_up || held.receipt.0.expires_at() < now + least;
        if !state.ready.iter().chain(&state.following).any(is_stale) {
            return;
        }
        let (mut stale, fresh): (VecDeque<_>, _) = state.ready.drain(..).partition(is_stale);
        state.ready = fresh;
        let (following, fresh): (VecDeque<_>, _) = state.following.drain(..).partition(is_stale);
        state.following = fresh;
        stale.extend(following);
        for held in stale {
            let handout = held.receipt.0;
            if handout.is_ours(now) {
                state.unwanted.push(Arc::clone(&handout));
            }
            state.drop_group(&handout);
        }
    }

    /// What the poller is to give back.
    pub(crate) fn take_unwanted(&self) -> Vec<Arc<Handout>> {
        std::mem::take(&mut self.lock().unwanted)
    }

    /// Ends all receiving, and takes what is held for giving it back: what is out, too, which is stale
    /// from here on. `None`: it was closed before.
    pub(crate) fn close(&self) -> Option<Vec<Arc<Handout>>> {
        let mut state = self.lock();
        if std::mem::replace(&mut state.closed, true) {
            return None;
        }
        let now = Instant::now();
        let mut out: Vec<_> = state.out.drain().map(|(_, handout)| handout).collect();
        out.retain(|handout| handout.is_ours(now));
        // The first of a group goes back before those behind it.
        out.sort_by_key(|handout| handout.asked);
        out.extend(state.take_held());
        out.iter().for_each(|handout| handout.lose());
        drop(state);
        self.changed.notify_waiters();
        self.nudged.notify_one();
        Some(out)
    }

    /// Nobody is left to take anything: what is held and not out goes back.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.closed, true) {
            let held = state.take_held();
            state.unwanted.extend(held);
        }
        drop(state);
        self.nudged.notify_one();
    }

    /// No poll is under way any more.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_waiters();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// From where the next message is taken: they take turns.
    fn queue(&mut self) -> &mut VecDeque<Held> {
        let following = match (self.ready.is_empty(), self.following.is_empty()) {
            (false, false) => self.following_first,
            (ready_is_empty, _) => ready_is_empty,
        };
        if following { &mut self.following } else { &mut self.ready }
    }

    /// Makes a message ready, or has it wait behind the first of its group.
    fn put(&mut self, held: Held) {
        let handout = Arc::clone(&held.receipt.0);
        let Some(name) = handout.group.clone() else {
            self.ready.push_back(held);
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
            self.following.retain(|held| !Arc::ptr_eq(&held.receipt.0, &old));
            self.drop_group(&old);
        }
        self.groups.insert(name, Group { head: handout, rest: VecDeque::new() });
        self.ready.push_back(held);
    }

    /// Forgets a group by its first, and has the rest given back.
    fn drop_group(&mut self, head: &Arc<Handout>) {
        let rest = self.take_group(head);
        self.unwanted.extend(rest);
    }

    /// Forgets a group by its first; those behind it that are still ours.
    fn take_group(&mut self, head: &Arc<Handout>) -> Vec<Arc<Handout>> {
        let Some(name) = &head.group else { return Vec::new() };
        if !self.groups.get(name).is_some_and(|group| Arc::ptr_eq(&group.head, head)) {
            return Vec::new();
        }
        let rest = self.groups.remove(name).map(|group| group.rest).unwrap_or_default();
        let now = Instant::now();
        rest.into_iter().map(|held| held.receipt.0).filter(|it| it.is_ours(now)).collect()
    }

    /// All that is held and not out, the first of each group first.
    fn take_held(&mut self) -> Vec<Arc<Handout>> {
        let ready = self.ready.drain(..).chain(self.following.drain(..)).map(|held| held.receipt.0);
        let groups = self.groups.drain().flat_map(|(_, group)| group.rest);
        let now = Instant::now();
        let all = ready.chain(groups.map(|held| held.receipt.0));
        all.chain(self.unwanted.drain(..)).filter(|handout| handout.is_ours(now)).collect()
    }
}

/// What tells a hand-out from all others that are alive.
fn address(handout: &Arc<Handout>) -> usize {
    Arc::as_ptr(handout).addr()
}

#[cfg(test)]
mod tests;
