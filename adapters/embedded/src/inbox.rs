//! Where the writer leaves what it claimed for a source, and receivers take it from.
//!
//! A receiver that finds nothing has one claim made, by the writer's thread, and waits. If its
//! future is dropped meanwhile, the claimed messages are simply there for the next call: receiving
//! is cancel-safe because no future ever holds a message. Nothing is claimed that was not wanted.
//!
//! ```text
//!            claim sent             nothing there
//!   idle ------------------> claiming -----------> empty
//!    ^ ^                        |                    |
//!    | +-- messages, or fault --+                    |
//!    +------------- the bell rings ------------------+
//! ```

use crate::{Receipt, StoreError, claim::Claimed};
use forebay_contract::{Delivery, Want};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Notify, futures::Notified};

/// What a receiver is to do.
#[derive(Debug)]
pub(crate) enum Step {
    /// It has messages.
    Taken,
    /// Have a claim made, and wait.
    Claim,
    /// Wait for a change.
    Wait,
    /// Report this.
    Failed(StoreError),
    /// The source is closed.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// `rung`: the bell rang meanwhile, so a claim that finds nothing may have been too early.
    Claiming {
        rung: bool,
    },
    Empty,
}

#[derive(Debug)]
struct State {
    buffer: VecDeque<Delivery<Receipt>>,
    phase: Phase,
    fault: Option<StoreError>,
    life: Life,
}

/// Whether anybody is left to take messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Open,
    /// Nobody receives any more; the closer takes what is there.
    Closing,
    /// Nobody is left.
    Gone,
}

/// The buffer between the writer and the receivers of one source.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Notify,
    /// What is left of the lease of a message that has lain here for too long.
    half_lease: Duration,
}

impl Inbox {
    pub(crate) fn new(lease: Duration) -> Self {
        let (buffer, phase, life) = (VecDeque::new(), Phase::Idle, Life::Open);
        let state = State { buffer, phase, fault: None, life };
        Self { state: Mutex::new(state), changed: Notify::new(), half_lease: lease / 2 }
    }

    /// The next change; counts from the moment that it is enabled.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Takes what is buffered, or says what to do to get something.
    pub(crate) fn take(&self, want: Want, out: &mut Vec<Delivery<Receipt>>) -> Step {
        let mut state = self.lock();
        if state.life != Life::Open {
            return Step::Closed;
        }
        let now = Instant::now();
        let (mut messages, mut bytes) = (0, 0_usize);
        while let Some(next) = state.buffer.front() {
            bytes = bytes.saturating_add(next.message.size());
            if messages > 0 && (messages >= want.messages || bytes > want.bytes) {
                break;
            }
            let Some(delivery) = state.buffer.pop_front() else { break };
            // One that lay here until its lease ran out is on its way to somebody else.
            if delivery.lease.is_none_or(|lease| lease.expires_at > now) {
                messages += 1;
                out.push(delivery);
            }
        }
        if messages > 0 {
            return Step::Taken;
        }
        if let Some(fault) = state.fault.take() {
            return Step::Failed(fault);
        }
        match state.phase {
            Phase::Idle => {
                state.phase = Phase::Claiming { rung: false };
                Step::Claim
            }
            Phase::Claiming { .. } | Phase::Empty => Step::Wait,
        }
    }

    /// The claim is done. Gives back what nobody will take any more.
    pub(crate) fn fill(
        &self,
        outcome: Result<Claimed, StoreError>,
    ) -> Option<Vec<Delivery<Receipt>>> {
        let mut state = self.lock();
        let rung = state.phase == Phase::Claiming { rung: true };
        state.phase = Phase::Idle;
        let mut unwanted = None;
        match outcome {
            Ok(claimed) if state.life == Life::Gone => unwanted = Some(claimed.deliveries),
            Ok(claimed) if claimed.deliveries.is_empty() && !rung => state.phase = Phase::Empty,
            Ok(claimed) => state.buffer.extend(claimed.deliveries),
            Err(error) => state.fault = Some(error),
        }
        drop(state);
        self.changed.notify_waiters();
        unwanted
    }

    /// There may be something to claim.
    pub(crate) fn ring(&self) {
        let mut state = self.lock();
        match state.phase {
            Phase::Idle => return,
            Phase::Claiming { .. } => state.phase = Phase::Claiming { rung: true },
            Phase::Empty => state.phase = Phase::Idle,
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Takes what has lain here for half its lease: nobody seems to receive any more, and if its
    /// lease ended here it would look like a message that stopped its worker.
    pub(crate) fn take_stale(&self) -> Vec<Delivery<Receipt>> {
        let soon = Instant::now() + self.half_lease;
        let stale = |delivery: &Delivery<Receipt>| {
            delivery.lease.is_some_and(|lease| lease.expires_at < soon)
        };
        let mut state = self.lock();
        if !state.buffer.front().is_some_and(stale) {
            return Vec::new();
        }
        let (stale, fresh): (VecDeque<_>, _) = state.buffer.drain(..).partition(stale);
        state.buffer = fresh;
        stale.into()
    }

    /// Ends all receiving.
    pub(crate) fn close(&self) {
        self.end(Life::Closing);
    }

    /// Takes what is buffered, for the closer; `None` while a claim is on its way.
    pub(crate) fn take_rest(&self) -> Option<Vec<Delivery<Receipt>>> {
        let mut state = self.lock();
        let claiming = matches!(state.phase, Phase::Claiming { .. });
        (!claiming).then(|| std::mem::take(&mut state.buffer).into())
    }

    /// Nobody is left, not even to close: takes what is buffered.
    pub(crate) fn abandon(&self) -> Vec<Delivery<Receipt>> {
        self.end(Life::Gone);
        std::mem::take(&mut self.lock().buffer).into()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().life != Life::Open
    }

    fn end(&self, life: Life) {
        self.lock().life = life;
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
