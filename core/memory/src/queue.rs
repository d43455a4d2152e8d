//! The handle of a queue in memory: publish, look at the dead letters, and cause trouble.

use crate::{MemoryOptions, MemorySource, replay::Replay, state::State};
use forebay_contract::{
    Backlog, DeadFilter, DeadId, DeadLetter, DeadLetters, DeadLettersError, Message, MessageId,
    Outgoing, PublishError, Redriven, SettleError, Sink, SourceError, SourceEvent, Verdict,
};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// What all handles of a queue share.
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) news: Notify,
}

impl Shared {
    /// Does something to the queue, and wakes those who wait for it.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut State, Instant) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut state, Instant::now());
        let news = std::mem::take(&mut state.news);
        drop(state);
        if news {
            self.news.notify_waiters();
        }
        result
    }
}

/// A queue in memory. Cloning gives another handle to the same queue; a [`Sink`], and the
/// [`DeadLetters`] too.
#[derive(Clone)]
pub struct MemoryQueue {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: MemoryOptions,
}

impl Default for MemoryQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryQueue").field("options", &self.options).finish_non_exhaustive()
    }
}

impl MemoryQueue {
    /// An empty queue, without order and without leases.
    #[must_use]
    pub fn new() -> Self {
        Self::with(MemoryOptions::default())
    }

    /// An empty queue that behaves as told.
    #[must_use]
    pub fn with(options: MemoryOptions) -> Self {
        let state = Mutex::new(State::new(options.clone(), Instant::now()));
        Self { shared: Arc::new(Shared { state, news: Notify::new() }), options }
    }

    /// Opens the queue to take messages from. Each source is a worker of its own.
    #[must_use]
    pub fn source(&self) -> MemorySource {
        MemorySource::new(self)
    }

    /// Lets the queue hand out `count` messages beside those published, which go first: copies of the
    /// templates in turn, with the identities 0, 1, …, each made when it is asked for, so that the
    /// run needs no more memory than its window. Ends an earlier replay.
    pub fn replay(&self, templates: Vec<Message>, count: u64) {
        self.shared.with(|state, _| {
            state.start_replay(Replay::new(templates, count));
            state.news = true;
        });
    }

    /// The verdicts carried out so far, in order.
    #[must_use]
    pub fn verdicts(&self) -> Vec<(MessageId, Verdict)> {
        self.shared.with(|state, _| state.notes.clone())
    }

    /// What is in the queue.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.shared.with(|state, now| {
            state.advance(now);
            state.backlog(now)
        })
    }

    /// Lets the next `times` calls of `receive` fail with what `error` makes.
    pub fn fail_receives(&self, times: usize, error: impl FnMut() -> SourceError + Send + 'static) {
        self.shared.with(|state, _| {
            state.faults.receives.add(times, Box::new(error));
            state.news = true;
        });
    }

    /// Lets the next `times` settlements fail with what `error` makes; nothing is done for them.
    pub fn fail_settles(&self, times: usize, error: impl FnMut() -> SettleError + Send + 'static) {
        self.shared.with(|state, _| state.faults.settles.add(times, Box::new(error)));
    }

    /// Lets the next `times` settlements be carried out, but answered as
    /// [`SettleError::Unavailable`]. Settling them again answers the truth.
    pub fn lose_answers(&self, times: usize) {
        self.shared.with(|state, _| state.faults.lost_answers += times);
    }

    /// Lets each call of `settle` take this long before it does anything.
    pub fn settle_latency(&self, latency: Duration) {
        self.shared.with(|state, _| {
            state.faults.settle_latency = (!latency.is_zero()).then_some(latency);
        });
    }

    /// Cuts every connection for a moment: all receipts are stale, what was out is back in the queue,
    /// interrupted once more, and each source reports [`SourceEvent::Down`], [`SourceEvent::Lost`]
    /// and [`SourceEvent::Up`].
    pub fn sever(&self) {
        self.shared.with(State::sever);
    }

    /// Takes the broker away until [`MemoryQueue::up`]: every call answers that it is unavailable.
    /// Leases go on running.
    pub fn down(&self, why: &str) {
        self.shared.with(|state, _| {
            state.faults.down = Some(why.to_owned());
            for id in state.worker_ids() {
                state.tell(id, SourceEvent::Down(why.to_owned()));
            }
        });
    }

    /// Brings the broker back.
    pub fn up(&self) {
        self.shared.with(|state, _| {
            if state.faults.down.take().is_some() {
                for id in state.worker_ids() {
                    state.tell(id, SourceEvent::Up);
                }
            }
        });
    }

    /// Takes every source's scope away: [`SourceEvent::Revoking`] now, [`SourceEvent::Lost`] once
    /// `within` has passed. Nothing is handed out in between; what is out then goes back.
    pub fn revoke(&self, within: Duration) {
        self.shared.with(|state, now| state.revoke(within, now));
    }
}

impl Sink for MemoryQueue {
    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<MessageId, PublishError>> {
        self.shared.with(|state, now| {
            batch.iter().map(|outgoing| state.try_publish(outgoing, now)).collect()
        })
    }
}

/// An error while the broker is away.
fn reachable(state: &State) -> Result<(), DeadLettersError> {
    match &state.faults.down {
        Some(why) => Err(DeadLettersError::Unavailable(why.clone().into())),
        None => Ok(()),
    }
}

impl DeadLetters for MemoryQueue {
    async fn list(
        &self,
        filter: &DeadFilter,
        after: Option<&DeadId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, DeadLettersError> {
        self.shared.with(|state, _| {
            reachable(state)?;
            state.graveyard.list(filter, after, limit).ok_or_else(|| {
                let id = after.map(ToString::to_string).unwrap_or_default();
                DeadLettersError::Fatal(format!("no dead letter is called `{id}`").into())
            })
        })
    }

    async fn redrive(
        &self,
        filter: &DeadFilter,
        limit: usize,
    ) -> Result<Redriven, DeadLettersError> {
        self.shared.with(|state, now| {
            reachable(state)?;
            Ok(Redriven::all(state.redrive(filter, limit, now)))
        })
    }

    async fn purge(&self, filter: &DeadFilter) -> Result<u64, DeadLettersError> {
        self.shared.with(|state, _| {
            reachable(state)?;
            Ok(state.graveyard.take(filter, usize::MAX).len() as u64)
        })
    }
}
