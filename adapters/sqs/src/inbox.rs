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

use self::state::State;
use crate::{Fault, Receipt, handout::Handout};
use forebay_contract::{Delivery, Lease, Want};
use std::{
    collections::VecDeque,
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

/// What there is room for and not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// Messages that are wanted.
    pub(crate) messages: usize,
    /// How many messages of the size that they have had of late fit into the bytes that are wanted.
    pub(crate) fit: usize,
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
        while let Some(size) = state.next_size() {
            let with_it = bytes.saturating_add(size);
            if messages > 0 && (messages >= want.messages || with_it > want.bytes) {
                break;
            }
            let Some(mut held) = state.pop() else { break };
            state.following_first = !state.following_first;
            let handout = Arc::clone(&held.receipt.0);
            if !handout.is_ours(now) {
                state.drop_group(&handout);
                continue;
            }
            held.lease = Some(Lease { expires_at: handout.expires_at() });
            state.out.insert(address(&handout), handout);
            out.push(held);
            (messages, bytes) = (messages + 1, with_it);
        }
        state.wanted = want.messages.saturating_sub(messages);
        state.wanted_bytes = want.bytes.saturating_sub(bytes);
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

    /// How many messages are wanted and not here. Before the first message each is taken to be as large
    /// as it may be. Where nothing is here, one is asked for whatever its size: else a large one would
    /// never come.
    pub(crate) fn missing(&self, largest: usize) -> Missing {
        let state = self.lock();
        let fresh = state.wanted_at.is_some_and(|at| at.elapsed() < FRESH);
        if state.closed || (state.waiting == 0 && !fresh) {
            return Missing { messages: 0, fit: 0 };
        }
        let messages = state.wanted.saturating_sub(state.ready.len());
        let size = state.mean_size.unwrap_or(largest).max(1);
        let fit = state.wanted_bytes.saturating_sub(state.ready_bytes) / size;
        Missing { messages, fit: fit.max(usize::from(state.ready.is_empty())) }
    }

    /// Messages have come. A source that is closed gives them back.
    pub(crate) fn arrived(&self, messages: Vec<Held>) {
        let mut state = self.lock();
        for held in messages {
            state.measure(held.message.size());
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
        state.ready_bytes = fresh.iter().map(|held: &Held| held.message.size()).sum();
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

/// What tells a hand-out from all others that are alive.
fn address(handout: &Arc<Handout>) -> usize {
    Arc::as_ptr(handout).addr()
}

mod state;
#[cfg(test)]
mod tests;
