//! The last step of a message's path: verdicts go to the source, in batches of what is ready.
//!
//! One task per worker. While the source is busy with one batch, the next gathers by itself, so the
//! batches grow just as the load does and no timer is needed. What the broker could not take for the
//! moment is settled again, with backoff, ahead of what came later; no attempt is charged for that.
//! A message's room in the window is given back only here.

use crate::{backoff::Backoff, keeper::Keeper, stats::Stats, window::Window};
use forebay_contract::{SettleError, Settlement, Source};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::Instant};

/// How many verdicts go to the source at once, at most.
const BATCH: usize = 1024;

/// A verdict on its way, with what it will give back.
#[derive(Debug)]
pub(crate) struct Settling<R> {
    pub(crate) settlement: Settlement<R>,
    pub(crate) ticket: u64,
}

/// Carries verdicts to the source until all senders are gone.
pub(crate) struct Settler<S: Source> {
    pub(crate) source: Arc<S>,
    pub(crate) inbox: mpsc::UnboundedReceiver<Vec<Settling<S::Receipt>>>,
    /// Emptied vectors go back to the pump, to be filled again.
    pub(crate) empties: mpsc::UnboundedSender<Vec<Settling<S::Receipt>>>,
    pub(crate) window: Arc<Window>,
    pub(crate) keeper: Arc<Keeper<S::Receipt>>,
    pub(crate) stats: Arc<Stats>,
    /// When to stop trying against a broker that is away; set by the drain.
    pub(crate) give_up_at: tokio::sync::watch::Receiver<Option<Instant>>,
}

impl<S: Source> Settler<S> {
    /// Runs until the pump has gone and everything is settled, or until it is time to give up.
    /// Returns how many verdicts could not be delivered.
    pub(crate) async fn run(mut self) -> usize {
        let mut pending = VecDeque::new();
        let mut batch = Vec::new();
        let mut tickets = Vec::new();
        let mut backoff = Backoff::default();
        loop {
            if pending.is_empty() {
                match self.inbox.recv().await {
                    Some(more) => self.take_in(more, &mut pending),
                    None => return 0,
                }
            }
            while let Ok(more) = self.inbox.try_recv() {
                self.take_in(more, &mut pending);
            }
            for Settling { settlement, ticket } in pending.drain(..pending.len().min(BATCH)) {
                batch.push(settlement);
                tickets.push(ticket);
            }
            let again = self.settle(&mut batch, &mut tickets).await;
            if again.is_empty() {
                backoff.reset();
                continue;
            }
            for settling in again.into_iter().rev() {
                pending.push_front(settling);
            }
            if self.wait(backoff.next()).await.is_none() {
                let lost = pending.len() + self.drain_inbox();
                tracing::error!(verdicts = lost, "gave up settling: the messages will come back");
                return lost;
            }
        }
    }

    fn take_in(
        &self,
        mut more: Vec<Settling<S::Receipt>>,
        pending: &mut VecDeque<Settling<S::Receipt>>,
    ) {
        pending.extend(more.drain(..));
        // The pump may be gone already; then nobody needs the vector.
        let _ = self.empties.send(more);
    }

    fn drain_inbox(&mut self) -> usize {
        std::iter::from_fn(|| self.inbox.try_recv().ok()).map(|more| more.len()).sum()
    }

    /// Settles one batch; returns what is to be settled again.
    async fn settle(
        &self,
        batch: &mut Vec<Settlement<S::Receipt>>,
        tickets: &mut Vec<u64>,
    ) -> Vec<Settling<S::Receipt>> {
        let mut results = self.source.settle(batch).await.into_iter();
        let (mut messages, mut bytes) = (0, 0);
        let mut again = Vec::new();
        for (settlement, ticket) in batch.drain(..).zip(tickets.drain(..)) {
            let size = settlement.message.size();
            match results.next() {
                Some(Ok(_)) => self.stats.settled(&settlement.verdict),
                Some(Err(SettleError::Stale)) => {
                    self.stats.stale.add(1);
                    tracing::debug!(id = %settlement.message.id, "settled too late: it comes again");
                }
                Some(Err(error @ SettleError::Refused(_))) => {
                    self.stats.refused.add(1);
                    tracing::error!(
                        id = %settlement.message.id,
                        "{error}; the message stays in its queue"
                    );
                }
                Some(Err(error)) => {
                    self.stats.settle_errors.add(1);
                    tracing::warn!(id = %settlement.message.id, "not settled yet: {error}");
                    again.push(Settling { settlement, ticket });
                    continue;
                }
                // An adapter that answers too few: settle again what it did not answer.
                None => {
                    again.push(Settling { settlement, ticket });
                    continue;
                }
            }
            self.keeper.forget(ticket);
            messages += 1;
            bytes += size;
        }
        if messages > 0 {
            self.window.give_back(messages, bytes);
        }
        again
    }

    /// Waits before the next try; `None` when there will be none.
    async fn wait(&mut self, pause: Duration) -> Option<()> {
        let next = Instant::now() + pause;
        loop {
            let give_up_at = *self.give_up_at.borrow_and_update();
            if give_up_at.is_some_and(|at| at <= Instant::now()) {
                return None;
            }
            let until = give_up_at.map_or(next, |at| at.min(next));
            tokio::select! {
                () = tokio::time::sleep_until(until) => {
                    if until == next {
                        return Some(());
                    }
                }
                changed = self.give_up_at.changed() => changed.ok()?,
            }
        }
    }
}
