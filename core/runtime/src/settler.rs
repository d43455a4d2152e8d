//! The last step of a message's path: verdicts go to the source, in batches of what is ready.
//!
//! One per worker, in the pump's task. While the source is busy with one batch, the next gathers by
//! itself, so the batches grow just as the load does and no timer is needed. What the broker could not take for the
//! moment is settled again, with backoff, ahead of what came later; no attempt is charged for that.
//! A message's room in the window is given back only here.

use crate::{
    backoff::Backoff,
    keeper::Keeper,
    observe::{self, Observed},
    stats::Stats,
    verdict::comes_back,
    window::Window,
};
use forebay_contract::{Message, Scope, SettleError, Settlement, Source, Verdict};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

/// What a verdict is about, besides its message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// The hand-out's number, in the order of receipt.
    pub(crate) number: u64,
    pub(crate) scope: Scope,
}

/// A hand-out that was to come back, and will not as far as its source knows: the verdict came too
/// late, or was refused.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) ticket: Ticket,
    pub(crate) message: Arc<Message>,
}

/// Verdicts on their way, each with the ticket of its message. Two lists, so that the source sees
/// just what concerns it, and nothing is moved on the way.
#[derive(Debug)]
pub(crate) struct Outbox<R> {
    settlements: Vec<Settlement<R>>,
    tickets: Vec<Ticket>,
}

impl<R> Default for Outbox<R> {
    fn default() -> Self {
        Self { settlements: Vec::new(), tickets: Vec::new() }
    }
}

impl<R> Outbox<R> {
    #[inline]
    pub(crate) fn push(&mut self, settlement: Settlement<R>, ticket: Ticket) {
        self.settlements.push(settlement);
        self.tickets.push(ticket);
    }

    pub(crate) fn len(&self) -> usize {
        self.tickets.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Removes all but those at `kept`, which is sorted. Returns the tickets of what is gone.
    fn clear_but(&mut self, kept: &[usize]) -> impl Iterator<Item = Ticket> {
        for (to, at) in kept.iter().enumerate() {
            self.settlements.swap(to, *at);
            self.tickets.swap(to, *at);
        }
        self.settlements.truncate(kept.len());
        self.tickets.drain(kept.len()..)
    }

    fn iter(&self) -> impl Iterator<Item = (&Settlement<R>, Ticket)> {
        self.settlements.iter().zip(self.tickets.iter().copied())
    }

    fn append(&mut self, other: &mut Self) {
        self.settlements.append(&mut other.settlements);
        self.tickets.append(&mut other.tickets);
    }
}

/// Carries verdicts to the source until the pump is gone.
pub(crate) struct Settler<S: Source> {
    pub(crate) source: Arc<S>,
    pub(crate) inbox: mpsc::UnboundedReceiver<Outbox<S::Receipt>>,
    /// Emptied outboxes go back to the pump, to be filled again.
    pub(crate) empties: mpsc::UnboundedSender<Outbox<S::Receipt>>,
    /// What will not come back, for the pump, whose lanes wait for it.
    pub(crate) gone: mpsc::UnboundedSender<Gone>,
    pub(crate) window: Arc<Window>,
    pub(crate) keeper: Arc<Keeper<S::Receipt>>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) observed: Observed,
    /// When to stop trying against a broker that is away; set by the drain.
    pub(crate) give_up_at: watch::Receiver<Option<Instant>>,
}

impl<S: Source> Settler<S> {
    /// Runs until the pump has gone and everything is settled, or until it is time to give up.
    /// Returns how many verdicts could not be delivered.
    pub(crate) async fn run(mut self) -> usize {
        let mut pending = Outbox::default();
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
            // A broker that hangs must not hold up the drain: dropped, each settlement is either
            // carried out or not.
            let mut give_up_at = self.give_up_at.clone();
            let in_time = tokio::select! {
                () = self.settle(&mut pending) => true,
                () = time_is_up(&mut give_up_at) => false,
            };
            if pending.is_empty() {
                backoff.reset();
            } else if !in_time || !self.wait(backoff.next()).await {
                let lost = pending.len() + self.drain_inbox();
                tracing::error!(verdicts = lost, "gave up settling: the messages will come back");
                return lost;
            }
        }
    }

    fn take_in(&self, mut more: Outbox<S::Receipt>, pending: &mut Outbox<S::Receipt>) {
        match pending.is_empty() {
            true => std::mem::swap(pending, &mut more),
            false => pending.append(&mut more),
        }
        // The pump may be gone already; then nobody needs it.
        let _ = self.empties.send(more);
    }

    fn drain_inbox(&mut self) -> usize {
        std::iter::from_fn(|| self.inbox.try_recv().ok()).map(|more| more.len()).sum()
    }

    /// Settles all that is pending; leaves what is to be settled again.
    async fn settle(&self, pending: &mut Outbox<S::Receipt>) {
        let begun = self.observed.is_on().then(Instant::now);
        let results = self.source.settle(&pending.settlements).await;
        if let Some(begun) = begun {
            self.tell(pending, &results, begun.elapsed());
        }
        let (mut messages, mut bytes, mut acked) = (0, 0, 0);
        // Where each stands that is to be settled again.
        let mut again = Vec::new();
        let mut results = results.into_iter();
        for (at, (settlement, ticket)) in pending.iter().enumerate() {
            let over = match results.next() {
                // What nearly all are, counted once for all of them.
                Some(Ok(_)) if settlement.verdict == Verdict::Ack => {
                    acked += 1;
                    true
                }
                Some(result) => self.is_over(settlement, ticket, result),
                // An adapter that answers too few has not settled the rest.
                None => false,
            };
            if over {
                messages += 1;
                bytes += settlement.message.size();
            } else {
                again.push(at);
            }
        }
        self.stats.acked.add(acked);
        self.keeper.forget(pending.clear_but(&again).map(|ticket| ticket.number));
        if messages > 0 {
            self.window.give_back(messages, bytes);
        }
    }

    /// Tells the observer what the source answered, as far as it did.
    fn tell<T>(
        &self,
        pending: &Outbox<S::Receipt>,
        results: &[Result<T, SettleError>],
        took: Duration,
    ) {
        let answered = pending.settlements.iter().zip(&pending.tickets).zip(results);
        let mut batch = answered.map(|((settlement, ticket), result)| observe::Settling {
            hand_out: ticket.number,
            message: &settlement.message,
            verdict: &settlement.verdict,
            error: result.as_ref().err(),
        });
        self.observed.tell(|observer| observer.settled(&mut batch, took));
    }

    /// Notes what the source answered. Returns whether that is the last word.
    fn is_over<R>(
        &self,
        settlement: &Settlement<S::Receipt>,
        ticket: Ticket,
        result: Result<R, SettleError>,
    ) -> bool {
        let id = &settlement.message.id;
        match result {
            Ok(_) => self.stats.settled(&settlement.verdict),
            Err(SettleError::Stale) => {
                self.stats.stale.add(1);
                self.is_gone(settlement, ticket);
                tracing::debug!(%id, "settled too late: it comes again");
            }
            Err(error @ SettleError::Refused(_)) => {
                self.stats.refused.add(1);
                self.is_gone(settlement, ticket);
                tracing::error!(%id, "{error}; the message stays in its queue");
            }
            Err(error) => {
                self.stats.settle_errors.add(1);
                tracing::warn!(%id, "not settled yet: {error}");
                return false;
            }
        }
        true
    }

    /// Tells the pump of what was to come back, and will not.
    fn is_gone(&self, settlement: &Settlement<S::Receipt>, ticket: Ticket) {
        if comes_back(&settlement.verdict) {
            // Without a pump nobody waits for it.
            let _ = self.gone.send(Gone { ticket, message: settlement.message.clone() });
        }
    }

    /// Waits before the next try. Returns whether there will be one.
    async fn wait(&mut self, pause: Duration) -> bool {
        tokio::select! {
            biased;
            () = time_is_up(&mut self.give_up_at) => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

/// Waits for the end of the time that a drain sets; for ever without a drain.
async fn time_is_up(give_up_at: &mut watch::Receiver<Option<Instant>>) {
    loop {
        let at = *give_up_at.borrow_and_update();
        let changed = async {
            // The pump has gone, and with it any later change.
            if give_up_at.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        match at {
            Some(at) => {
                tokio::select! {
                    () = tokio::time::sleep_until(at) => return,
                    () = changed => {}
                }
            }
            None => changed.await,
        }
    }
}
