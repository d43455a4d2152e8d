//! Tells idle receivers that a queue may have something for them.
//!
//! Rung by the writer after each commit that made something claimable, by a datagram from another
//! process, and by the thread here: when a message falls due or a lease runs out, and, as the net
//! beneath it all, when SQLite reports that somebody else has committed. A thread of our own rather
//! than an async timer, so that the store needs no particular runtime and no paused clock of a
//! test can stop it.

use crate::{Receipt, inbox::Inbox, place::Place, time, writer::data_version};
use forebay_contract::Delivery;
use rusqlite::Connection;
use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

#[derive(Default)]
struct State {
    /// Who listens, by queue.
    ears: HashMap<i64, Vec<Weak<Inbox>>>,
    /// When the next message of a queue falls due, or its next lease ends.
    due: HashMap<i64, i64>,
    /// Who waits for a time of the monotonic clock.
    sleepers: Vec<(Instant, oneshot::Sender<()>)>,
    stopped: bool,
}

/// The bells of all queues of a store.
#[derive(Default)]
pub(crate) struct Bells {
    state: Mutex<State>,
    changed: Condvar,
}

impl Bells {
    /// From now on, `ear` hears of `queue`.
    pub(crate) fn listen(&self, queue: i64, ear: &Arc<Inbox>) {
        let mut state = self.lock();
        let ears = state.ears.entry(queue).or_default();
        ears.retain(|ear| ear.strong_count() > 0);
        ears.push(Arc::downgrade(ear));
        self.changed.notify_one();
    }

    /// Rings at `due`, or now if that has passed.
    pub(crate) fn due(&self, queue: i64, due: i64) {
        if due <= time::now() {
            self.ring(Some(queue));
            return;
        }
        let mut state = self.lock();
        let next = state.due.entry(queue).or_insert(i64::MAX);
        if due < *next {
            *next = due;
            self.changed.notify_one();
        }
    }

    /// Rings now: for one queue, or for all.
    pub(crate) fn ring(&self, queue: Option<i64>) {
        self.ears(queue).iter().for_each(|ear| ear.ring());
    }

    fn ears(&self, queue: Option<i64>) -> Vec<Arc<Inbox>> {
        let state = self.lock();
        let heard = state.ears.iter().filter(|(id, _)| queue.is_none_or(|queue| queue == **id));
        heard.flat_map(|(_, ears)| ears).filter_map(Weak::upgrade).collect()
    }

    /// Ends when `at` has come (or the store is gone).
    pub(crate) fn sleep_until(&self, at: Instant) -> oneshot::Receiver<()> {
        let (wake, woken) = oneshot::channel();
        self.lock().sleepers.push((at, wake));
        self.changed.notify_one();
        woken
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_one();
    }

    /// The thread: rings what is due, and every `poll` looks whether somebody else has committed.
    ///
    /// What then lies unclaimed in an inbox for too long goes to `give_back`.
    pub(crate) fn run(
        &self,
        conn: &Connection,
        place: &Place,
        poll: Duration,
        give_back: impl Fn(Vec<Delivery<Receipt>>),
    ) {
        let mut seen = data_version(conn).ok();
        let mut polled = Instant::now();
        while self.wait(poll) {
            let now = time::now();
            let due = self.take_due(now);
            due.into_iter().for_each(|queue| self.ring(Some(queue)));
            if polled.elapsed() >= poll {
                polled = Instant::now();
                // A file that cannot be read is reported by the claims themselves.
                let version = data_version(conn).ok();
                if version != seen || place.is_left() {
                    seen = version;
                    self.ring(None);
                }
                self.ears(None).iter().map(|ear| ear.take_stale()).for_each(&give_back);
            }
        }
    }

    /// Waits for the next thing to do; `false`: there will be none.
    fn wait(&self, poll: Duration) -> bool {
        let mut state = self.lock();
        if state.stopped {
            return false;
        }
        let now = time::now();
        let mut wait = poll;
        if let Some(due) = state.due.values().min() {
            wait = wait.min(Duration::from_millis((due - now).max(0).unsigned_abs()));
        }
        if let Some((at, _)) = state.sleepers.iter().min_by_key(|(at, _)| *at) {
            wait = wait.min(at.saturating_duration_since(Instant::now()));
        }
        state.ears.retain(|_, ears| ears.iter().any(|ear| ear.strong_count() > 0));
        let idle = state.ears.is_empty() && state.sleepers.is_empty();
        let state = if idle {
            state.due.clear();
            self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
        } else {
            let waited = self.changed.wait_timeout(state, wait);
            waited.unwrap_or_else(PoisonError::into_inner).0
        };
        !state.stopped
    }

    fn take_due(&self, now: i64) -> Vec<i64> {
        let mut state = self.lock();
        let instant = Instant::now();
        for (_, wake) in state.sleepers.extract_if(.., |(at, _)| *at <= instant) {
            // Whoever slept may have left.
            let _ = wake.send(());
        }
        state.due.extract_if(|_, due| *due <= now).map(|(queue, _)| queue).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
